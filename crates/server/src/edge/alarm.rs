//! How long a connection waits for the head of its next request.
//!
//! hyper sets a timer each time it begins to wait, and drops it when a request comes. The timers of the runtime are in one
//! place, and all threads would take its lock twice a request. So a connection has one timer, which stays as it is while
//! the deadlines move on: it goes off once in a while, and only then looks which deadline there is now.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt;
use tokio::time::{Sleep, sleep_until};

/// The timer of a connection, set when it is first needed.
#[derive(Clone, Debug, Default)]
pub(super) struct Alarm(Arc<Mutex<Option<Pin<Box<Sleep>>>>>);

impl rt::Timer for Alarm {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn rt::Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(Deadline { alarm: self.clone(), at: deadline.into() })
    }
}

/// A moment that the connection does not wait beyond.
struct Deadline {
    alarm: Alarm,
    at: tokio::time::Instant,
}

impl rt::Sleep for Deadline {}

impl Future for Deadline {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut timer = self.alarm.0.lock().unwrap_or_else(PoisonError::into_inner);
        let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(self.at)));
        if timer.deadline() > self.at {
            timer.as_mut().reset(self.at);
        }
        loop {
            ready!(timer.as_mut().poll(context));
            if timer.deadline() >= self.at {
                return Poll::Ready(());
            }
            timer.as_mut().reset(self.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use hyper::rt::Timer;

    use super::*;

    #[tokio::test]
    async fn a_deadline_is_kept_whatever_the_one_before_was() {
        let alarm = Alarm::default();
        let in_an_hour = || alarm.sleep(Duration::from_hours(1));
        assert!(in_an_hour().now_or_never().is_none());
        for millis in [20, 5, 10] {
            let at = Instant::now() + Duration::from_millis(millis);
            alarm.sleep_until(at).await;
            assert!(Instant::now() >= at, "not before its time");
            assert!(in_an_hour().now_or_never().is_none(), "not at that of the one before");
            let sooner = Instant::now() + Duration::from_millis(1);
            alarm.sleep_until(sooner).await;
            assert!(alarm.sleep_until(sooner).now_or_never().is_some(), "what is over is over");
        }
    }
}

//! When requests leave: as soon as their connection has its answer (a closed loop), or at times that were fixed
//! beforehand, whatever the server does (an open loop).

use std::collections::VecDeque;
use std::time::Duration;

/// Requests of an open loop fall due in steps of this length.
const TICK: Duration = Duration::from_micros(100);

/// How long and how fast a run goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// As fast as the answers come; no request starts later than this.
    For(Duration),
    /// As fast as the answers come, so many in flight on each connection, until the requests run out.
    All { depth: usize },
    /// So many requests a second over all connections; a latency counts from when its request was due.
    Open { rate: u64, lasts: Duration },
}

impl Pace {
    /// The part of one of so many threads.
    pub(crate) fn share(self, threads: u64) -> Self {
        match self {
            Self::Open { rate, lasts } => Self::Open { rate: rate / threads.max(1), lasts },
            closed => closed,
        }
    }

    /// Requests in flight on each connection.
    pub(crate) fn depth(self) -> usize {
        match self {
            Self::All { depth } => depth,
            Self::For(_) | Self::Open { .. } => 1,
        }
    }
}

/// The times at which the requests of an open loop fall due. A slow server cannot hide its queue behind a patient
/// client, for each request counts from its own time, and none is left out because no connection was free.
#[derive(Debug)]
pub(crate) struct Schedule {
    rate: u64,
    lasts: Duration,
    fallen_due: u64,
    next: Duration,
    /// What has fallen due and no connection has taken yet, oldest first.
    waiting: VecDeque<Duration>,
}

impl Schedule {
    pub(crate) fn new(rate: u64, lasts: Duration) -> Self {
        let rate = rate.max(1);
        Self { rate, lasts, fallen_due: 0, next: due(0, rate), waiting: VecDeque::new() }
    }

    /// When the next request falls due.
    pub(crate) fn next(&self) -> Option<Duration> {
        (self.next <= self.lasts).then_some(self.next)
    }

    /// Lets all fall due that is; `seen` is told when each did.
    pub(crate) fn fall_due(&mut self, now: Duration, mut seen: impl FnMut(Duration)) {
        while let Some(next) = self.next().filter(|next| *next <= now) {
            seen(next);
            self.waiting.push_back(next);
            self.fallen_due += 1;
            self.next = due(self.fallen_due, self.rate);
        }
    }

    /// Whether a request waits for a connection.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes the request that has waited longest, and says when it was due.
    pub(crate) fn take(&mut self) -> Option<Duration> {
        self.waiting.pop_front()
    }

    /// Whether every request has been taken.
    pub(crate) fn is_over(&self) -> bool {
        !self.has_waiting() && self.next().is_none()
    }
}

/// The end of the tick in which the request numbered `number`, from 0, would be due if there were no ticks.
fn due(number: u64, rate: u64) -> Duration {
    let ticks_a_second = Duration::from_secs(1).as_nanos() / TICK.as_nanos();
    let tick = ((u128::from(number) + 1) * ticks_a_second).div_ceil(u128::from(rate));
    TICK.saturating_mul(u32::try_from(tick).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    /// What has fallen due by `now`.
    fn fallen(schedule: &mut Schedule, now: Duration) -> Vec<Duration> {
        let mut seen = Vec::new();
        schedule.fall_due(now, |due| seen.push(due));
        seen
    }

    #[test]
    fn what_fell_due_during_a_pause_counts_from_its_own_time() {
        let mut schedule = Schedule::new(1_000, MILLI * 10);
        assert_eq!(schedule.next(), Some(MILLI));
        assert_eq!(fallen(&mut schedule, MILLI * 2), [MILLI, MILLI * 2]);
        assert_eq!(fallen(&mut schedule, MILLI * 5), [MILLI * 3, MILLI * 4, MILLI * 5]);
        assert_eq!(schedule.take(), Some(MILLI));
        assert!(fallen(&mut schedule, MILLI * 5).is_empty());
        // Requests still queued when the time is over are still to be sent.
        assert_eq!(fallen(&mut schedule, MILLI * 50).len(), 5);
        assert_eq!(schedule.next(), None);
        let taken: Vec<Duration> = std::iter::from_fn(|| schedule.take()).collect();
        assert_eq!(taken, (2..=10).map(|number| MILLI * number).collect::<Vec<_>>());
        assert!(schedule.is_over());
    }

    #[test]
    fn requests_come_in_ticks_and_all_of_them_do() {
        for rate in [1, 999, 10_000, 22_137, 1_000_000] {
            let mut schedule = Schedule::new(rate, Duration::from_secs(2));
            let all = fallen(&mut schedule, Duration::from_secs(60));
            assert_eq!(u64::try_from(all.len()).unwrap(), rate * 2);
            assert!(all.iter().all(|due| due.as_nanos() % TICK.as_nanos() == 0));
            assert!(all.is_sorted());
        }
    }
}

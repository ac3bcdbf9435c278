//! The one clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tollgate_domain::Timestamp;

/// Where the time comes from.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// A time that is set by hand, in microseconds since 1970: for demonstrations and tests of months to come.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that stands at a time until it is set.
    #[must_use]
    pub fn manual(at: Timestamp) -> Self {
        let clock = Self::Manual(Arc::new(AtomicI64::new(0)));
        clock.set(at);
        clock
    }

    /// Sets a manual clock; the machine's clock is left alone.
    pub fn set(&self, at: Timestamp) {
        if let Self::Manual(microseconds) = self {
            microseconds.store(at.as_microsecond(), Ordering::SeqCst);
        }
    }

    /// The time, in whole microseconds: no finer time is in the ledger or in an answer.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place where the machine's clock is read")]
    pub fn now(&self) -> Timestamp {
        let microseconds = match self {
            Self::System => Timestamp::now().as_microsecond(),
            Self::Manual(microseconds) => microseconds.load(Ordering::SeqCst),
        };
        Timestamp::from_microsecond(microseconds).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_finer_than_a_microsecond() {
        let at: Timestamp = "2026-11-21T10:00:00.123456789Z".parse().expect("a time");
        assert_eq!(Clock::manual(at).now().to_string(), "2026-11-21T10:00:00.123456Z");
        assert_eq!(Clock::System.now().subsec_nanosecond() % 1_000, 0);
    }
}

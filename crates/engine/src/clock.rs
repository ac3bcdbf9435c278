//! The one clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tollgate_domain::Timestamp;

/// Where the time comes from.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// A time that is set by hand, in nanoseconds since 1970: for demonstrations and tests of months to come.
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
        if let Self::Manual(nanoseconds) = self {
            nanoseconds.store(i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }

    /// The time.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place where the machine's clock is read")]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => Timestamp::now(),
            Self::Manual(nanoseconds) => {
                let nanoseconds = i128::from(nanoseconds.load(Ordering::SeqCst));
                Timestamp::from_nanosecond(nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH)
            }
        }
    }
}

//! A condition that can be waited for up to some time, as the checker sees time: a wait is over at once, or it has all
//! the time there is. So a wait that only its end in time would wake is a deadlock, and is found.

use std::sync::{LockResult, PoisonError};
use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::{self, MutexGuard};

/// One wait in so many is over at once.
const OVER_AT_ONCE: u32 = 4;

/// A condition, with the interface of [`std::sync::Condvar`] as far as it is used.
#[derive(Debug, Default)]
pub struct Condvar(sync::Condvar);

/// Whether a wait ended because its time was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Whether a wait ended because its time was over.
    #[must_use]
    pub const fn timed_out(self) -> bool {
        self.0
    }
}

impl Condvar {
    /// A condition that nobody waits for.
    #[must_use]
    pub const fn new() -> Self {
        Self(sync::Condvar::new())
    }

    /// Wakes everybody who waits.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }

    /// Waits to be woken.
    ///
    /// # Errors
    /// When the lock is poisoned.
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        self.0.wait(guard)
    }

    /// Waits to be woken, or for some time.
    ///
    /// # Errors
    /// When the lock is poisoned.
    pub fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        time: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let mut first = true;
        self.wait_timeout_while(guard, time, |_| std::mem::take(&mut first))
    }

    /// Waits while a condition holds, or for some time.
    ///
    /// # Errors
    /// When the lock is poisoned.
    pub fn wait_timeout_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        time: Duration,
        mut goes_on: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let over = time.is_zero() || thread_rng().gen_ratio(1, OVER_AT_ONCE);
        while goes_on(&mut guard) {
            if over {
                return Ok((guard, WaitTimeoutResult(true)));
            }
            guard = self.0.wait(guard).map_err(poisoned)?;
        }
        Ok((guard, WaitTimeoutResult(false)))
    }
}

fn poisoned<G>(error: PoisonError<G>) -> PoisonError<(G, WaitTimeoutResult)> {
    PoisonError::new((error.into_inner(), WaitTimeoutResult(false)))
}

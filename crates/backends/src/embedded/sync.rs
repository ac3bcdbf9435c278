//! Locks, conditions and threads of the store: the real ones, or, with the feature `shuttle`, such as a model
//! checker can schedule. What uses them is the same code.
//!
//! Numbers that only count, the bits of the filters and the table engine stay as they are: to the checker each call of
//! theirs belongs to the step before it.

#[cfg(not(feature = "shuttle"))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard};
#[cfg(not(feature = "shuttle"))]
pub(crate) use std::thread;

#[cfg(feature = "shuttle")]
pub(crate) use tollgate_schedules::shuttle::{
    sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard},
    thread,
};
#[cfg(feature = "shuttle")]
pub(crate) use tollgate_schedules::timed::Condvar;

/// Lets this thread, and those it starts, yield to the threads that answer. All threads of a model checker are one.
pub(crate) fn yield_to_callers() {
    if cfg!(not(feature = "shuttle")) {
        tollgate_threads::yield_to_callers(super::limits::BACKGROUND_NICENESS);
    }
}

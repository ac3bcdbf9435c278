//! Locks, conditions, threads and the cache of the store: the real ones, or, with the feature `shuttle`, such as a model
//! checker can schedule. What uses them is the same code.
//!
//! Numbers that only count, the bits of the filters and the table engine stay as they are: to the checker each call of
//! theirs belongs to the step before it.

#[cfg(not(feature = "shuttle"))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
#[cfg(not(feature = "shuttle"))]
pub(crate) use std::thread;

#[cfg(not(feature = "shuttle"))]
pub(crate) use quick_cache::sync::Cache;

#[cfg(feature = "shuttle")]
pub(crate) use checked::Cache;
#[cfg(feature = "shuttle")]
pub(crate) use tollgate_schedules::shuttle::{
    sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard},
    thread,
};
#[cfg(feature = "shuttle")]
pub(crate) use tollgate_schedules::timed::Condvar;

#[cfg(feature = "shuttle")]
mod checked {
    use std::hash::Hash;

    use quick_cache::Weighter;
    use tollgate_schedules::shuttle::sync::atomic::{AtomicUsize, Ordering};

    /// The real cache, each call of which is a step of the checker.
    pub(crate) struct Cache<Key, Val, We> {
        cache: quick_cache::sync::Cache<Key, Val, We>,
        step: AtomicUsize,
    }

    impl<Key: Eq + Hash, Val: Clone, We: Weighter<Key, Val> + Clone> Cache<Key, Val, We> {
        pub(crate) fn with_weighter(items: usize, weight: u64, weighter: We) -> Self {
            let cache = quick_cache::sync::Cache::with_weighter(items, weight, weighter);
            Self { cache, step: AtomicUsize::new(0) }
        }

        pub(crate) fn get(&self, key: &Key) -> Option<Val> {
            self.step.fetch_add(1, Ordering::SeqCst);
            self.cache.get(key)
        }

        pub(crate) fn insert(&self, key: Key, value: Val) {
            self.step.fetch_add(1, Ordering::SeqCst);
            self.cache.insert(key, value);
        }

        #[cfg(test)]
        pub(crate) fn clear(&self) {
            self.cache.clear();
        }
    }
}

//! Prepares the next segment while the current one fills, so that a commit never waits for zeros to be written.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tollgate_storage::StoreError;

use super::error::{full, io_error, stopped};
use super::io::Disk;
use super::limits::{RETRY_MILLIS, WAIT_SECS};
use super::options::Work;
use super::segment::{CreateError, Segment};
use super::sync::thread::{self, JoinHandle};
use super::sync::{Condvar, Mutex, MutexGuard};

#[derive(Debug)]
enum State {
    /// A segment of this ordinal is wanted.
    Wanted(u32),
    /// It is here.
    Ready(Arc<Segment>),
    /// It could not be made for now.
    Failed(u32, String),
    /// It will never be made.
    Stopped(String),
    /// Nobody wants one any more.
    Closed,
}

#[derive(Debug)]
struct Shared {
    disk: Disk,
    dir: std::path::PathBuf,
    bytes: u64,
    work: Work,
    state: Mutex<State>,
    changed: Condvar,
    /// Whether the last commit was refused for want of a segment.
    refused: AtomicBool,
}

/// Tells whether there is room for commits.
#[derive(Clone, Debug)]
pub(crate) struct Room(Arc<Shared>);

impl Room {
    /// Whether the last commit was refused because there was no room, and there still is none.
    pub(crate) fn is_lacking(&self) -> bool {
        self.0.refused.load(Ordering::Relaxed) && !matches!(*self.0.lock(), State::Ready(_))
    }
}

/// Keeps one segment in hand.
#[derive(Debug)]
pub(crate) struct Preparer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Preparer {
    /// Starts with `ready` in hand, or else by making segment `next`.
    pub(crate) fn start(
        disk: Disk,
        dir: &Path,
        bytes: u64,
        next: u32,
        ready: Option<Arc<Segment>>,
        work: Work,
    ) -> Result<Self, StoreError> {
        let state = Mutex::new(ready.map_or(State::Wanted(next), State::Ready));
        let (dir_of, changed) = (dir.to_owned(), Condvar::new());
        let refused = AtomicBool::default();
        let shared = Arc::new(Shared { disk, dir: dir_of, bytes, work, state, changed, refused });
        let thread = match work {
            Work::Inline => None,
            Work::Background => {
                let shared = Arc::clone(&shared);
                let spawned =
                    thread::Builder::new().name("tollgate-segments".into()).spawn(move || shared.run());
                Some(spawned.map_err(|source| io_error("start a thread for", dir, source))?)
            }
        };
        Ok(Self { shared, thread })
    }

    /// Hands over the prepared segment and has the next one made.
    ///
    /// # Errors
    /// Full, before anything was changed, when there is no room for it; stopped when it can never be made.
    pub(crate) fn take(&self) -> Result<Arc<Segment>, StoreError> {
        let taken = self.take_or_refuse();
        self.shared.refused.store(taken.is_err(), Ordering::Relaxed);
        taken
    }

    /// Notes that a commit found room in the segment that is being filled.
    pub(crate) fn found_room(&self) {
        self.shared.refused.store(false, Ordering::Relaxed);
    }

    /// Tells others whether there is room.
    pub(crate) fn room(&self) -> Room {
        Room(Arc::clone(&self.shared))
    }

    fn take_or_refuse(&self) -> Result<Arc<Segment>, StoreError> {
        let shared = &self.shared;
        let mut state = shared.lock();
        if self.thread.is_none() {
            state = shared.make(state);
        } else if matches!(*state, State::Wanted(_)) {
            let waited = shared.changed.wait_timeout_while(state, Duration::from_secs(WAIT_SECS), |state| {
                matches!(state, State::Wanted(_))
            });
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let segment = match &*state {
            State::Ready(segment) => Arc::clone(segment),
            State::Wanted(_) => return Err(full(&shared.dir, "the next segment is not ready in time")),
            State::Failed(ordinal, why) => {
                let refused = Err(full(&shared.dir, why));
                *state = State::Wanted(*ordinal);
                shared.changed.notify_all();
                return refused;
            }
            State::Stopped(why) => return Err(stopped(why)),
            State::Closed => return Err(stopped("it was closed")),
        };
        *state = State::Wanted(segment.ordinal + 1);
        shared.changed.notify_all();
        Ok(segment)
    }

    /// Lets the thread end.
    pub(crate) fn close(&mut self) {
        *self.shared.lock() = State::Closed;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Drop for Preparer {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        tollgate_threads::work_beside();
        let mut state = self.lock();
        loop {
            state = match *state {
                State::Closed | State::Stopped(_) => return,
                State::Wanted(_) => self.make(state),
                State::Ready(_) => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                State::Failed(ordinal, _) => {
                    let pause = Duration::from_millis(RETRY_MILLIS);
                    let (mut state, waited) =
                        self.changed.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner);
                    if waited.timed_out() && matches!(*state, State::Failed(..)) {
                        // The failure stays visible while it is tried again: commits are refused at once, not after a wait.
                        drop(state);
                        let made = Segment::create(&self.disk, &self.dir, ordinal, self.bytes, self.work);
                        state = self.lock();
                        if matches!(*state, State::Failed(..) | State::Wanted(_)) {
                            *state = made.map_or_else(
                                |error| failed(ordinal, error),
                                |made| State::Ready(Arc::new(made)),
                            );
                            self.changed.notify_all();
                        }
                    }
                    state
                }
            };
        }
    }

    /// Makes the wanted segment, if one is wanted or failed; the lock is free meanwhile.
    fn make<'a>(&'a self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let (State::Wanted(ordinal) | State::Failed(ordinal, _)) = *state else {
            return state;
        };
        drop(state);
        let made = Segment::create(&self.disk, &self.dir, ordinal, self.bytes, self.work);
        let mut state = self.lock();
        if !matches!(*state, State::Closed) {
            *state = made.map_or_else(|error| failed(ordinal, error), |made| State::Ready(Arc::new(made)));
        }
        self.changed.notify_all();
        state
    }
}

fn failed(ordinal: u32, error: CreateError) -> State {
    match error {
        CreateError::Retry(path, source) => State::Failed(ordinal, format!("{}: {source}", path.display())),
        CreateError::Stop(path, source) => State::Stopped(format!("{}: {source}", path.display())),
    }
}

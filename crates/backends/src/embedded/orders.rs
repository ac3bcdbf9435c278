//! Work that a call leaves to a thread of the store, and waits for without holding its own.

use std::collections::VecDeque;
use std::sync::PoisonError;

use tokio::sync::oneshot;

use super::sync::{Condvar, Mutex, MutexGuard};

/// Orders for one thread, done in the order in which they were placed.
#[derive(Debug)]
pub(crate) struct Orders<T, R> {
    queue: Mutex<Queue<T, R>>,
    wanted: Condvar,
}

#[derive(Debug)]
struct Queue<T, R> {
    waiting: VecDeque<(T, oneshot::Sender<R>)>,
    closed: bool,
}

impl<T, R> Default for Orders<T, R> {
    fn default() -> Self {
        let queue = Queue { waiting: VecDeque::new(), closed: false };
        Self { queue: Mutex::new(queue), wanted: Condvar::default() }
    }
}

impl<T, R> Orders<T, R> {
    /// Has something done; `None` when nobody does it any more.
    pub(crate) async fn place(&self, order: T) -> Option<R> {
        let (done, answered) = oneshot::channel();
        {
            let mut queue = self.queue();
            if queue.closed {
                return None;
            }
            queue.waiting.push_back((order, done));
        }
        self.wanted.notify_all();
        answered.await.ok()
    }

    /// Does what is ordered; ends when no more is taken and nothing waits.
    pub(crate) fn serve(&self, mut work: impl FnMut(T) -> R) {
        loop {
            let mut queue = self.queue();
            while queue.waiting.is_empty() && !queue.closed {
                queue = self.wanted.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            let order = queue.waiting.pop_front();
            drop(queue);
            let Some((order, done)) = order else { return };
            // Whoever went away does not care.
            let _ = done.send(work(order));
        }
    }

    /// Takes no more orders.
    pub(crate) fn close(&self) {
        self.queue().closed = true;
        self.wanted.notify_all();
    }

    fn queue(&self) -> MutexGuard<'_, Queue<T, R>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

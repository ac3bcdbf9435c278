//! Reads beside the gate: a few threads of low priority on which requests that read run to their end.
//!
//! A store on this machine answers a read at once, so a handler that reads much holds its thread until it is done. On
//! these threads nobody waits behind it but other reads; the threads that answer the gate never run one. What more
//! reads ask than may wait is refused at once.

use std::any::Any;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tollgate_engine::EngineError;

use crate::limits::{
    BACKGROUND_THREADS, READER_NICENESS, READER_THREADS, READS_WAITING_MAX, REPORT_THREADS,
    REPORTS_WAITING_MAX,
};

/// The threads on which the server does what the gate must not wait for.
#[derive(Debug)]
pub(crate) struct Readers {
    /// Pages, balances, bills, series.
    reads: Lane,
    /// What goes through all organizations: one at a time.
    reports: Lane,
    /// What the server does unasked.
    background: Lane,
}

impl Readers {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system gives none.
    pub(crate) fn start() -> io::Result<Self> {
        Ok(Self {
            reads: Lane::start("tollgate-reads", READER_THREADS, READS_WAITING_MAX)?,
            reports: Lane::start("tollgate-report", REPORT_THREADS, REPORTS_WAITING_MAX)?,
            background: Lane::start("tollgate-work", BACKGROUND_THREADS, BACKGROUND_THREADS)?,
        })
    }

    /// Reads; what it takes is bounded by a page or an organization.
    ///
    /// # Errors
    /// Overloaded when too many reads wait; nothing was read.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, EngineError> {
        self.reads.run(work).await
    }

    /// Goes through all organizations.
    ///
    /// # Errors
    /// Overloaded when others wait for the same; nothing was read.
    pub(crate) async fn report<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, EngineError> {
        self.reports.run(work).await
    }

    /// Does what nobody asked for, until it ends or the readers are closed.
    pub(crate) async fn work(&self, work: impl Future<Output = ()> + Send + 'static) {
        // Closed meanwhile: the server is shutting down.
        let _ = self.background.run(work).await;
    }

    /// Drops what still runs at its next pause, and waits until all threads have ended.
    pub(crate) async fn close(&self) {
        for lane in [&self.reads, &self.reports, &self.background] {
            lane.close().await;
        }
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// Threads that take one job after the other from a queue.
struct Lane {
    queue: Mutex<Option<mpsc::Sender<Job>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    closing: watch::Sender<bool>,
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Lane").finish_non_exhaustive()
    }
}

impl Lane {
    fn start(name: &str, threads: usize, waiting_max: usize) -> io::Result<Self> {
        let (queue, jobs) = mpsc::channel::<Job>(waiting_max);
        let jobs = Arc::new(Mutex::new(jobs));
        let work = |jobs: Arc<Mutex<mpsc::Receiver<Job>>>| {
            move || {
                tollgate_threads::yield_to_callers(READER_NICENESS);
                while let Some(job) = next(&jobs) {
                    job();
                }
            }
        };
        let threads = (0..threads)
            .map(|_| thread::Builder::new().name(name.to_owned()).spawn(work(Arc::clone(&jobs))))
            .collect::<io::Result<_>>()?;
        Ok(Self {
            queue: Mutex::new(Some(queue)),
            threads: Mutex::new(threads),
            closing: watch::Sender::default(),
        })
    }

    /// Runs a future to its end on one of the threads. It is dropped at its next pause when the caller goes away, or
    /// when the lane is closed.
    async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, EngineError> {
        let (answer, answered) = oneshot::channel::<Result<T, Box<dyn Any + Send>>>();
        let runtime = Handle::current();
        let mut closing = self.closing.subscribe();
        let job: Job = Box::new(move || {
            runtime.block_on(async move {
                let mut answer = answer;
                let ended = tokio::select! {
                    biased;
                    () = answer.closed() => return,
                    _ = closing.wait_for(|closing| *closing) => return,
                    ended = AssertUnwindSafe(work).catch_unwind() => ended,
                };
                // A caller that went away does not care.
                let _ = answer.send(ended);
            });
        });
        let queue = locked(&self.queue).clone().ok_or(EngineError::ShuttingDown)?;
        queue.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => EngineError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => EngineError::ShuttingDown,
        })?;
        drop(queue);
        match answered.await {
            Ok(Ok(value)) => Ok(value),
            // As if it had run here.
            Ok(Err(panic)) => resume_unwind(panic),
            Err(_) => Err(EngineError::ShuttingDown),
        }
    }

    async fn close(&self) {
        self.closing.send_replace(true);
        drop(locked(&self.queue).take());
        let threads = std::mem::take(&mut *locked(&self.threads));
        let joined = tokio::task::spawn_blocking(move || {
            // A job that panics has said so to its caller.
            threads.into_iter().for_each(|thread| drop(thread.join()));
        });
        drop(joined.await);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn next(jobs: &Mutex<mpsc::Receiver<Job>>) -> Option<Job> {
    locked(jobs).blocking_recv()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc as blocking;
    use std::task::Poll;

    use super::*;

    /// A runtime with two threads, as a server on two cores has.
    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
    }

    #[test]
    fn reads_that_are_stuck_hold_nobody_but_reads() {
        let readers = Readers::start().expect("threads");
        let (begun, begins) = blocking::channel::<()>();
        let (release, held) = blocking::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let stuck = || {
            let (begun, held) = (begun.clone(), Arc::clone(&held));
            Box::pin(readers.read(async move {
                begun.send(()).expect("it is awaited");
                locked(&held).recv().is_ok()
            }))
        };
        runtime().block_on(async {
            let mut reads = Vec::new();
            for number in 0..READER_THREADS + READS_WAITING_MAX {
                let mut read = stuck();
                let waits =
                    std::future::poll_fn(|context| Poll::Ready(read.as_mut().poll(context).is_pending()));
                assert!(waits.await);
                reads.push(read);
                if number < READER_THREADS {
                    begins.recv().expect("a thread takes it");
                }
            }
            // One more than may wait is refused, and what is not a read is answered: on each thread of the runtime.
            assert!(matches!(stuck().await, Err(EngineError::Overloaded)));
            let others: Vec<_> = (0..64).map(|number| tokio::spawn(async move { number })).collect();
            for (number, other) in others.into_iter().enumerate() {
                assert_eq!(other.await.ok(), Some(number));
            }
            assert!(matches!(readers.report(async { 7 }).await, Ok(7)), "reports have a thread of their own");
            drop(release);
            for read in reads {
                assert!(matches!(read.await, Ok(false)), "each read ends");
            }
            readers.close().await;
            assert!(matches!(readers.read(async {}).await, Err(EngineError::ShuttingDown)));
        });
    }

    #[test]
    fn a_read_that_nobody_waits_for_ends_at_its_next_pause() {
        let readers = Arc::new(Readers::start().expect("threads"));
        runtime().block_on(async {
            for _ in 0..READER_THREADS + 1 {
                let endless = async {
                    loop {
                        tokio::task::yield_now().await;
                    }
                };
                let began = readers.read(endless).now_or_never();
                assert!(began.is_none(), "it runs until it is dropped, which it is here");
            }
            assert!(matches!(readers.read(async { 7 }).await, Ok(7)));
            readers.close().await;
        });
    }
}

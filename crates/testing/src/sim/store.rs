//! A store as an engine sees it in the simulation: slow, refusing, failing, and sometimes the end of the process.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use tollgate_backends::embedded::EmbeddedStore;
use tollgate_backends::embedded::io::fault::FaultDisk;
use tollgate_domain::{Partition, Record, RecordKey};
use tollgate_storage::{
    Batch, Capabilities, Committed, Cursor, EntryChange, MemoryStore, Page, Scan, Store, StoreError,
    StoreErrorKind,
};

use super::executor::Sim;
use super::faults::{Fault, Faults};
use super::log::Log;

/// The end of one process; clones are the same process.
#[derive(Clone, Debug, Default)]
pub(super) struct Crash {
    inner: Arc<Mutex<(bool, Option<Waker>)>>,
}

impl Crash {
    fn inner(&self) -> MutexGuard<'_, (bool, Option<Waker>)> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process ends now.
    pub(super) fn now(&self) {
        let mut inner = self.inner();
        inner.0 = true;
        let waker = inner.1.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Runs a part of the process; `None` when the process ended first.
    pub(super) async fn outlives<T>(&self, faults: &Faults, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        std::future::poll_fn(|context| {
            if self.inner().0 || faults.fires(Fault::CrashAnywhere) {
                return Poll::Ready(None);
            }
            let polled = future.as_mut().poll(context);
            let mut inner = self.inner();
            if inner.0 {
                return Poll::Ready(None);
            }
            inner.1 = Some(context.waker().clone());
            polled.map(Some)
        })
        .await
    }
}

/// Where the records really are.
#[derive(Debug)]
pub(super) enum Inner {
    /// In memory, for all engines.
    Memory(Arc<MemoryStore>),
    /// In the embedded store on a disk at its worst.
    Embedded(EmbeddedStore, FaultDisk),
}

/// The store of one engine.
#[derive(Debug)]
pub(super) struct SimStore {
    pub(super) sim: Sim,
    pub(super) faults: Faults,
    pub(super) log: Log,
    pub(super) crash: Crash,
    pub(super) inner: Inner,
}

fn failed() -> StoreError {
    StoreError::new(StoreErrorKind::Io, "the store cannot be reached")
}

impl SimStore {
    async fn wait(&self, slow: Fault) {
        let length =
            if self.faults.fires(slow) { self.sim.millis(1_000, 8_000) } else { self.sim.millis(0, 40) };
        self.sim.sleep(length).await;
    }

    /// The process ends, and nobody hears of it.
    async fn end<T>(&self) -> T {
        self.crash.now();
        std::future::pending().await
    }

    /// A power cut is the end of the process, too.
    async fn unless_off<T>(&self, value: T) -> T {
        match &self.inner {
            Inner::Embedded(_, disk) if disk.is_off() => self.end().await,
            _ => value,
        }
    }

    async fn write(&self, batch: Batch) -> Result<Vec<Committed>, StoreError> {
        match &self.inner {
            Inner::Memory(store) => write(store.as_ref(), &self.log, batch).await,
            Inner::Embedded(store, _) => {
                let result = write(store, &self.log, batch).await;
                if matches!(&result, Err(error) if error.kind() == StoreErrorKind::Full) {
                    self.faults.count(Fault::DiskFull, 1);
                }
                self.unless_off(result).await
            }
        }
    }

    /// A fault in place of the commit, if one is due.
    async fn instead(&self, batch: &Batch) -> Option<StoreError> {
        let Inner::Memory(store) = &self.inner else { return None };
        if self.faults.fires(Fault::Full) {
            return Some(StoreError::new(StoreErrorKind::Full, "no room"));
        }
        if batch.changes.len() > 1 && self.faults.fires(Fault::TooLarge) {
            return Some(StoreError::new(StoreErrorKind::TooLarge, "too much at once"));
        }
        if self.faults.fires(Fault::FailedBefore) {
            return Some(failed());
        }
        if self.faults.fires(Fault::AnswerLost) {
            drop(write(store.as_ref(), &self.log, batch.clone()).await);
            return Some(failed());
        }
        if self.faults.fires(Fault::LateWrite) {
            let (sim, store, log, batch) =
                (self.sim.clone(), Arc::clone(store), self.log.clone(), batch.clone());
            self.sim.spawn(async move {
                let length = sim.millis(1, 3_000);
                sim.sleep(length).await;
                drop(write(store.as_ref(), &log, batch).await);
            });
            return Some(failed());
        }
        None
    }
}

/// Commits, and writes down what is durable.
async fn write<S: Store>(store: &S, log: &Log, batch: Batch) -> Result<Vec<Committed>, StoreError> {
    let entries: Vec<_> = batch
        .changes
        .iter()
        .map(|change| {
            let numbers = change.entries.iter().filter_map(|entry| match entry {
                EntryChange::Org(entry) => Some(entry.number),
                EntryChange::System(_) => None,
            });
            (change.partition.clone(), numbers.collect::<Vec<_>>())
        })
        .collect();
    let answers = store.commit(batch).await?;
    for ((partition, numbers), answer) in entries.into_iter().zip(&answers) {
        if let (Partition::Org(org), Committed::Done) = (partition, answer) {
            numbers.into_iter().for_each(|number| log.committed(&org, number));
        }
    }
    Ok(answers)
}

impl Store for SimStore {
    async fn load(&self, keys: &[RecordKey]) -> Result<Vec<Option<Record>>, StoreError> {
        self.wait(Fault::SlowLoad).await;
        let loaded = match &self.inner {
            Inner::Memory(_) if self.faults.fires(Fault::LoadFailed) => return Err(failed()),
            Inner::Memory(store) => store.load(keys).await,
            Inner::Embedded(store, _) => store.load(keys).await,
        };
        let loaded = self.unless_off(loaded).await;
        self.wait(Fault::SlowLoad).await;
        loaded
    }

    async fn scan(&self, scan: &Scan, from: Option<&Cursor>, limit: usize) -> Result<Page, StoreError> {
        self.wait(Fault::SlowLoad).await;
        let page = match &self.inner {
            Inner::Memory(store) => store.scan(scan, from, limit).await,
            Inner::Embedded(store, _) => store.scan(scan, from, limit).await,
        };
        self.unless_off(page).await
    }

    async fn commit(&self, mut batch: Batch) -> Result<Vec<Committed>, StoreError> {
        // The order in a batch means nothing; it comes from hash maps that differ from process to process.
        let mut order: Vec<usize> = (0..batch.changes.len()).collect();
        order.sort_by(|a, b| {
            let partition = |place: &usize| batch.changes.get(*place).map(|change| &change.partition);
            partition(a).cmp(&partition(b))
        });
        batch.changes.sort_by(|a, b| a.partition.cmp(&b.partition));
        for change in &mut batch.changes {
            change.records.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        self.wait(Fault::SlowCommit).await;
        if self.faults.fires(Fault::CrashBefore) {
            return self.end().await;
        }
        if let Some(error) = self.instead(&batch).await {
            self.wait(Fault::SlowCommit).await;
            return Err(error);
        }
        let answers = self.write(batch).await?;
        if self.faults.fires(Fault::CrashAfter) {
            return self.end().await;
        }
        self.wait(Fault::SlowCommit).await;
        let mut in_order: Vec<(usize, Committed)> = order.into_iter().zip(answers).collect();
        in_order.sort_by_key(|(place, _)| *place);
        let answers: Vec<Committed> = in_order.into_iter().map(|(_, answer)| answer).collect();
        let lost = answers.iter().filter(|answer| **answer == Committed::Conflict).count();
        self.faults.count(Fault::RaceLost, u64::try_from(lost).unwrap_or(0));
        Ok(answers)
    }

    fn capabilities(&self) -> Capabilities {
        match &self.inner {
            Inner::Memory(store) => Capabilities { shared: true, ..store.capabilities() },
            Inner::Embedded(store, _) => store.capabilities(),
        }
    }

    async fn close(&self) -> Result<(), StoreError> {
        match &self.inner {
            Inner::Memory(_) => Ok(()),
            Inner::Embedded(store, _) => store.close().await,
        }
    }
}

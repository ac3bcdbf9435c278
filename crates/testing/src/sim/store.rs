//! A store as an engine sees it in the simulation: slow, refusing, failing, and sometimes the end of the process.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use tollgate_backends::embedded::EmbeddedStore;
use tollgate_backends::embedded::io::fault::FaultDisk;
use tollgate_domain::{KeyId, KeyRecord, Partition};
use tollgate_storage::{
    Append, Appended, Appends, Capabilities, Cursor, EntryChange, Image, Loaded, MemoryStore, Opened, Page,
    Parts, Scan, Store, StoreError, StoreErrorKind,
};

use super::executor::Sim;
use super::faults::{Fault, Faults};
use super::log::Log;

/// The end of one process, and when it is stopped; clones are the same process.
#[derive(Clone, Debug, Default)]
pub(super) struct Crash {
    inner: Arc<Mutex<Process>>,
}

#[derive(Debug, Default)]
struct Process {
    ended: bool,
    waker: Option<Waker>,
    /// Until when it is stopped.
    stopped: Duration,
}

impl Crash {
    fn inner(&self) -> MutexGuard<'_, Process> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process ends now.
    pub(super) fn now(&self) {
        let mut inner = self.inner();
        inner.ended = true;
        let waker = inner.waker.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The process does nothing until a time, and then goes on as if nothing had happened.
    pub(super) fn stop_until(&self, until: Duration) {
        let mut inner = self.inner();
        inner.stopped = inner.stopped.max(until);
    }

    /// Runs a part of the process; `None` when the process ended first.
    pub(super) async fn outlives<T>(&self, faults: &Faults, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        let mut stopped = None;
        std::future::poll_fn(|context| {
            if self.inner().ended || faults.fires(Fault::CrashAnywhere) {
                return Poll::Ready(None);
            }
            let until = self.inner().stopped;
            if faults.active() && faults.sim().now() < until {
                self.inner().waker = Some(context.waker().clone());
                let sleep = stopped.insert(faults.sim().sleep(until - faults.sim().now()));
                if Pin::new(sleep).poll(context).is_pending() {
                    return Poll::Pending;
                }
            }
            let polled = future.as_mut().poll(context);
            let mut inner = self.inner();
            if inner.ended {
                return Poll::Ready(None);
            }
            inner.waker = Some(context.waker().clone());
            polled.map(Some)
        })
        .await
    }
}

/// Where everything really is.
#[derive(Debug)]
pub(super) enum Inner {
    /// In memory; and whether other engines use it, too.
    Memory(Arc<MemoryStore>, bool),
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

/// Calls the store where everything really is.
macro_rules! of_inner {
    ($of:expr, $store:ident => $call:expr) => {
        match &$of.inner {
            Inner::Memory($store, _) => $call,
            Inner::Embedded($store, _) => $call,
        }
    };
}

fn failed() -> StoreError {
    StoreError::new(StoreErrorKind::Io, "the store cannot be reached")
}

impl SimStore {
    async fn wait(&self, slow: Fault) {
        if self.faults.fires(Fault::ProcessStopped) {
            self.crash.stop_until(self.sim.now() + self.sim.millis(1_000, 8_000));
        }
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

    /// What may go wrong before a read.
    async fn before_read(&self, fails: Fault) -> Result<(), StoreError> {
        self.wait(Fault::SlowRead).await;
        if self.faults.fires(fails) { Err(failed()) } else { Ok(()) }
    }

    /// What was read may be old when it arrives.
    async fn after_read<T>(&self, read: T) -> T {
        let read = self.unless_off(read).await;
        self.wait(Fault::SlowRead).await;
        read
    }

    async fn write(&self, appends: Vec<Append>) -> Result<Appends, StoreError> {
        let result = match &self.inner {
            Inner::Memory(store, _) => write(store.as_ref(), &self.log, appends).await,
            Inner::Embedded(store, _) => write(store, &self.log, appends).await,
        };
        let is_full = matches!(&result, Err(error) if error.kind() == StoreErrorKind::Full);
        self.faults.count(Fault::DiskFull, u64::from(is_full));
        self.unless_off(result).await
    }

    /// A fault in place of the append, if one is due.
    async fn instead(&self, appends: &[Append]) -> Option<StoreError> {
        let Inner::Memory(store, shared) = &self.inner else { return None };
        if self.faults.fires(Fault::Full) {
            return Some(StoreError::new(StoreErrorKind::Full, "no room"));
        }
        if appends.len() > 1 && self.faults.fires(Fault::TooLarge) {
            return Some(StoreError::new(StoreErrorKind::TooLarge, "too much at once"));
        }
        if self.faults.fires(Fault::FailedBefore) {
            return Some(failed());
        }
        if self.faults.fires(Fault::AnswerLost) {
            drop(write(store.as_ref(), &self.log, appends.to_vec()).await);
            return Some(failed());
        }
        if *shared && self.faults.fires(Fault::LateWrite) {
            let (sim, store, log, appends) =
                (self.sim.clone(), Arc::clone(store), self.log.clone(), appends.to_vec());
            self.sim.spawn(async move {
                let length = sim.millis(1, 3_000);
                sim.sleep(length).await;
                drop(write(store.as_ref(), &log, appends).await);
            });
            return Some(failed());
        }
        None
    }
}

/// Appends, and writes down what is durable.
async fn write<S: Store>(store: &S, log: &Log, appends: Vec<Append>) -> Result<Appends, StoreError> {
    let entries: Vec<(Partition, Vec<u64>)> = appends
        .iter()
        .map(|append| (append.partition.clone(), append.entries.iter().map(EntryChange::number).collect()))
        .collect();
    let appended = store.append(appends).await?;
    for ((partition, numbers), answer) in entries.into_iter().zip(&appended.answers) {
        if let (Partition::Org(org), Appended::Done) = (partition, answer) {
            numbers.into_iter().for_each(|number| log.committed(&org, number));
        }
    }
    Ok(appended)
}

/// Claims a lease, and writes down who got it. The clocks of machines may differ, and some stores go by those.
fn claim(
    sim: &Sim,
    faults: &Faults,
    log: &Log,
    store: &MemoryStore,
    lease: &str,
    holder: u64,
    time: Duration,
) -> Option<u64> {
    let skewed = faults.fires(Fault::LeaseClockSkew);
    let now = sim.now() + if skewed { sim.millis(0, 20_000) } else { Duration::ZERO };
    let given = store.claim_at(now, lease, holder, time);
    log.claimed(lease, holder, (now, now + time), given);
    given
}

impl Store for SimStore {
    async fn append(&self, mut appends: Vec<Append>) -> Result<Appends, StoreError> {
        // The order of appends means nothing, and may differ from process to process.
        let mut order: Vec<usize> = (0..appends.len()).collect();
        order.sort_by_key(|place| appends.get(*place).map(|append| append.partition.clone()));
        appends.sort_by(|a, b| a.partition.cmp(&b.partition));
        self.wait(Fault::SlowAppend).await;
        if self.faults.fires(Fault::CrashBefore) {
            return self.end().await;
        }
        if let Some(error) = self.instead(&appends).await {
            self.wait(Fault::SlowAppend).await;
            return Err(error);
        }
        let Appends { answers, position } = self.write(appends).await?;
        if self.faults.fires(Fault::CrashAfter) {
            return self.end().await;
        }
        self.wait(Fault::SlowAppend).await;
        let mut in_order: Vec<(usize, Appended)> = order.into_iter().zip(answers).collect();
        in_order.sort_by_key(|(place, _)| *place);
        let answers: Vec<Appended> = in_order.into_iter().map(|(_, answer)| answer).collect();
        let lost = answers.iter().filter(|answer| **answer == Appended::Conflict).count();
        self.faults.count(Fault::RaceLost, u64::try_from(lost).unwrap_or(0));
        Ok(Appends { answers, position })
    }

    async fn open(&self, partitions: &[Partition]) -> Result<Vec<Opened>, StoreError> {
        self.before_read(Fault::OpenFailed).await?;
        let opened = of_inner!(self, store => store.open(partitions).await);
        let opened = self.after_read(opened).await?;
        let behind = opened.iter().filter(|opened| !opened.entries.is_empty()).count();
        self.faults.count(Fault::OpenedBehind, u64::try_from(behind).unwrap_or(0));
        Ok(opened)
    }

    async fn versions(&self, partitions: &[Partition]) -> Result<Vec<u64>, StoreError> {
        self.before_read(Fault::OpenFailed).await?;
        let versions = of_inner!(self, store => store.versions(partitions).await);
        self.after_read(versions).await
    }

    async fn load(&self, asked: &[Parts]) -> Result<Vec<Loaded>, StoreError> {
        self.before_read(Fault::LoadFailed).await?;
        let loaded = of_inner!(self, store => store.load(asked).await);
        let loaded = self.after_read(loaded).await?;
        let moved = loaded.iter().filter(|loaded| loaded.is_none()).count();
        self.faults.count(Fault::ImageMoved, u64::try_from(moved).unwrap_or(0));
        Ok(loaded)
    }

    async fn find(&self, keys: &[KeyId]) -> Result<Vec<Option<KeyRecord>>, StoreError> {
        self.before_read(Fault::FindFailed).await?;
        let found = of_inner!(self, store => store.find(keys).await);
        self.after_read(found).await
    }

    async fn checkpoint(&self, images: Arc<[Image]>, whole_until: u64) -> Result<(), StoreError> {
        // So do their order and that of the records of each.
        let mut images = images.to_vec();
        images.sort_by(|a, b| a.partition.cmp(&b.partition));
        for image in &mut images {
            image.records.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        self.wait(Fault::SlowCheckpoint).await;
        if self.faults.fires(Fault::CrashBeforeCheckpoint) {
            return self.end().await;
        }
        if self.faults.fires(Fault::CheckpointFailed) {
            return Err(failed());
        }
        images.iter().for_each(|image| {
            self.sim.trace(&format!("{:?} saved at {}", image.partition, image.version));
        });
        let kept = of_inner!(self, store => store.checkpoint(images.into(), whole_until).await);
        self.unless_off(kept).await?;
        if self.faults.fires(Fault::CrashAfterCheckpoint) {
            return self.end().await;
        }
        self.wait(Fault::SlowCheckpoint).await;
        Ok(())
    }

    async fn behind(&self) -> Result<Vec<Partition>, StoreError> {
        self.before_read(Fault::OpenFailed).await?;
        let behind = of_inner!(self, store => store.behind().await);
        let mut behind = self.after_read(behind).await?;
        behind.sort();
        Ok(behind)
    }

    async fn scan(&self, scan: &Scan, from: Option<&Cursor>, limit: usize) -> Result<Page, StoreError> {
        self.before_read(Fault::ScanFailed).await?;
        let page = of_inner!(self, store => store.scan(scan, from, limit).await);
        self.after_read(page).await
    }

    async fn claim(&self, lease: &str, holder: u64, time: Duration) -> Result<Option<u64>, StoreError> {
        self.before_read(Fault::OpenFailed).await?;
        let Inner::Memory(store, _) = &self.inner else {
            let claimed = of_inner!(self, store => store.claim(lease, holder, time).await);
            return self.after_read(claimed).await;
        };
        if self.faults.fires(Fault::LateClaim) {
            let (sim, faults, log) = (self.sim.clone(), self.faults.clone(), self.log.clone());
            let (store, lease) = (Arc::clone(store), lease.to_owned());
            self.sim.spawn(async move {
                let length = sim.millis(1, 3_000);
                sim.sleep(length).await;
                claim(&sim, &faults, &log, &store, &lease, holder, time);
            });
            return Err(failed());
        }
        let claimed = claim(&self.sim, &self.faults, &self.log, store, lease, holder, time);
        if self.faults.fires(Fault::ClaimAnswerLost) {
            return self.after_read(Err(failed())).await;
        }
        self.after_read(Ok(claimed)).await
    }

    fn position(&self) -> u64 {
        match &self.inner {
            Inner::Memory(store, _) => store.position(),
            Inner::Embedded(store, _) => store.position(),
        }
    }

    fn capabilities(&self) -> Capabilities {
        match &self.inner {
            Inner::Memory(store, shared) => {
                // What another engine appends between the look-up of keys and the append moves the version.
                Capabilities { shared: *shared, knows_new: *shared, ..store.capabilities() }
            }
            Inner::Embedded(store, _) => store.capabilities(),
        }
    }

    async fn close(&self) -> Result<(), StoreError> {
        match &self.inner {
            Inner::Memory(..) => Ok(()),
            Inner::Embedded(store, _) => store.close().await,
        }
    }
}

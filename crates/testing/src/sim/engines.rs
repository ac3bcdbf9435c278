//! The engines: started, crashed, and started again, each as the only thing in its process.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tollgate_backends::embedded::io::Disk;
use tollgate_backends::embedded::io::fault::{self, FaultDisk, Operation};
use tollgate_backends::embedded::{EmbeddedOptions, EmbeddedStore, Work};
use tollgate_domain::{OrgId, Partition, Timestamp};
use tollgate_engine::{Clock, Engine, EngineOptions};
use tollgate_storage::{MemoryStore, Row, Scan, Store};

use super::faults::{Fault, Faults};
use super::log::Log;
use super::store::{Crash, Inner, SimStore};
use super::{Sim, World, at_once};

/// Rows read at a time.
const PAGE: usize = 100;

/// Where the embedded store has its tables.
const TABLES: &str = "tables";

/// Where tables are put aside to come back later; hidden, so that the store takes them for no files of somebody else.
const TABLES_BEFORE: &str = ".tables.before";

/// The engine of one process, as the clients reach it.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) clock: Clock,
    engine: Mutex<Option<Arc<Engine<SimStore>>>>,
}

impl Slot {
    pub(super) fn new(at: Timestamp) -> Self {
        Self { clock: Clock::manual(at), engine: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Option<Arc<Engine<SimStore>>>> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The engine, if it runs.
    pub(super) fn engine(&self) -> Option<Arc<Engine<SimStore>>> {
        self.inner().clone()
    }
}

/// Where the stores of a run keep what they keep.
#[derive(Clone, Debug)]
pub(super) enum Medium {
    /// A store in memory: it outlives the engines.
    Memory {
        /// The store.
        store: Arc<MemoryStore>,
        /// Whether several engines use it at a time.
        shared: bool,
    },
    /// A folder and a disk, for one engine.
    Embedded {
        /// Holds the tables.
        folder: PathBuf,
        /// Holds the ledger.
        disk: FaultDisk,
        /// How the store is opened.
        options: Box<EmbeddedOptions>,
    },
}

impl Medium {
    /// A disk at its worst, and a store that begins new segments often.
    pub(super) fn embedded(sim: &Sim, folder: PathBuf) -> Self {
        let disk = FaultDisk::new(sim.below(u64::MAX));
        let options = EmbeddedOptions {
            segment_bytes: 16_384 << sim.below(3),
            table_cache_bytes: 1_024 * 1_024,
            // Longer than any clock goes back: which rows are swept when depends on threads of the tables.
            key_keep_secs: 4_000 * 86_400,
            counter_keep_secs: 4_000 * 86_400,
            work: Work::Inline,
            disk: Disk::Fault(disk.clone()),
        };
        Self::Embedded { folder, disk, options: Box::new(options) }
    }
}

/// What a process needs to run an engine.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) sim: Sim,
    pub(super) faults: Faults,
    pub(super) log: Log,
    pub(super) medium: Medium,
    pub(super) options: EngineOptions,
}

impl Host {
    /// Starts the engine of a slot again and again until it was shut down.
    pub(super) async fn keep(self, slot: Arc<Slot>, world: Arc<World>) {
        loop {
            let crash = Crash::default();
            if self.faults.fires(Fault::CrashInStart) {
                let (sim, crash) = (self.sim.clone(), crash.clone());
                self.sim.spawn(async move {
                    let length = sim.millis(0, 60);
                    sim.sleep(length).await;
                    crash.now();
                });
            }
            let ended = match self.open() {
                Some(inner) => self.serve(&slot, &world, crash, inner).await,
                None => Ended::Crashed,
            };
            *slot.inner() = None;
            match ended {
                Ended::ShutDown => return,
                Ended::Stopped | Ended::Crashed => self.lose_power(),
            }
            if self.log.is_wrong() {
                return;
            }
            let pause = self.sim.millis(1, 400);
            self.sim.sleep(pause).await;
        }
    }

    /// Runs an engine until its process ends.
    async fn serve(&self, slot: &Slot, world: &Arc<World>, crash: Crash, inner: Inner) -> Ended {
        let store = Arc::new(SimStore {
            sim: self.sim.clone(),
            faults: self.faults.clone(),
            log: self.log.clone(),
            crash: crash.clone(),
            inner,
        });
        let held = Arc::downgrade(&store);
        // Whoever starts is another holder of leases.
        let holder = 1 + self.sim.below(u64::MAX);
        let options = EngineOptions { clock: slot.clock.clone(), holder, ..self.options.clone() };
        let ended = match crash.outlives(&self.faults, Engine::prepare(store, options)).await {
            None | Some(Err(_)) => Ended::Crashed,
            Some(Ok((engine, writer))) => {
                let engine = Arc::new(engine);
                *slot.inner() = Some(Arc::clone(&engine));
                let work = Arc::clone(world).work(Arc::clone(&engine), holder, crash.clone());
                let ran = crash.outlives(&self.faults, beside(writer.run(), work)).await;
                match ran {
                    None => Ended::Crashed,
                    Some(()) if engine.stopped().is_some() => Ended::Stopped,
                    Some(()) => Ended::ShutDown,
                }
            }
        };
        *slot.inner() = None;
        // A process that ended holds nothing: its callers notice when they are next polled.
        while matches!(ended, Ended::Crashed | Ended::Stopped) && held.strong_count() > 0 {
            self.sim.sleep(Duration::from_millis(1)).await;
        }
        ended
    }

    /// Opens the store; `None` when a fault did not let it.
    fn open(&self) -> Option<Inner> {
        let (folder, disk, options) = match &self.medium {
            Medium::Memory { store, shared } => return Some(Inner::Memory(Arc::clone(store), *shared)),
            Medium::Embedded { folder, disk, options } => (folder, disk, options),
        };
        if self.faults.fires(Fault::TablesLost) {
            drop(std::fs::remove_dir_all(folder.join(TABLES)));
        }
        if folder.join(TABLES_BEFORE).exists() && self.faults.fires(Fault::TablesBack) {
            drop(std::fs::remove_dir_all(folder.join(TABLES)));
            std::fs::rename(folder.join(TABLES_BEFORE), folder.join(TABLES)).expect("the tables come back");
        }
        let cut = self.faults.may(Fault::PowerCutInRecovery) && self.sim.chance(2_500);
        if cut {
            let fault = if self.sim.chance(5_000) { fault::Fault::CutBefore } else { fault::Fault::CutAfter };
            disk.plan(self.sim.place(40), fault);
        }
        let opened = EmbeddedStore::open(folder, (**options).clone());
        let hits = disk.take_hits();
        if cut {
            self.faults.count(Fault::PowerCutInRecovery, u64::from(!hits.is_empty()));
            disk.heal();
        } else {
            self.count(&hits);
        }
        match opened {
            Ok(store) if !disk.is_off() => {
                match versions(&store) {
                    Ok(found) => self.log.recovered(&found),
                    Err(error) => self.log.wrong(error),
                }
                Some(Inner::Embedded(store, disk.clone()))
            }
            Ok(_) => None,
            Err(error) => {
                if hits.is_empty() && !disk.is_off() {
                    self.log.wrong(format!("the store does not open: {error}"));
                }
                None
            }
        }
    }

    /// After the end of a process: what a power cut does to the disk, if it was one or comes along with it.
    fn lose_power(&self) {
        let Medium::Embedded { disk, folder, .. } = &self.medium else { return };
        if self.faults.may(Fault::TablesBack) && self.sim.chance(4_000) {
            drop(std::fs::remove_dir_all(folder.join(TABLES_BEFORE)));
            copy_folder(&folder.join(TABLES), &folder.join(TABLES_BEFORE)).expect("the tables are copied");
        }
        self.count(&disk.take_hits());
        if disk.is_off() || (self.faults.may(Fault::PowerCut) && self.sim.chance(5_000)) {
            let damage = disk.power_cycle(self.sim.below(u64::MAX));
            self.faults.count(Fault::WriteLost, damage.lost);
            self.faults.count(Fault::WriteTorn, damage.torn);
            self.faults.count(Fault::WriteReordered, damage.reordered);
        }
    }

    fn count(&self, hits: &[(Operation, fault::Fault)]) {
        for (operation, fault) in hits {
            let fault = match fault {
                fault::Fault::CutBefore | fault::Fault::CutAfter => Fault::PowerCut,
                fault::Fault::Short => Fault::ShortOperation,
                fault::Fault::Once(_) | fault::Fault::ForEver(_) if *operation == Operation::SyncData => {
                    Fault::SyncFailed
                }
                fault::Fault::Once(_) | fault::Fault::ForEver(_) => Fault::DiskError,
            };
            self.faults.count(fault, 1);
        }
    }

    /// Plans faults of the disk now and then, for ever.
    pub(super) async fn trouble_the_disk(self) {
        let Medium::Embedded { disk, .. } = &self.medium else { return };
        loop {
            let pause = self.sim.millis(100, 1_500);
            self.sim.sleep(pause).await;
            let skip = self.sim.place(8);
            match self.sim.below(5) {
                0 if self.faults.may(Fault::PowerCut) => {
                    let before = self.sim.chance(5_000);
                    disk.plan(skip, if before { fault::Fault::CutBefore } else { fault::Fault::CutAfter });
                }
                1 | 2 if self.faults.may(Fault::DiskError) => {
                    disk.plan(skip, fault::Fault::Once(std::io::ErrorKind::Other));
                }
                3 if self.faults.may(Fault::ShortOperation) => disk.plan(skip, fault::Fault::Short),
                4 if self.faults.may(Fault::DiskFull) => {
                    disk.set_capacity(Some(0));
                    let pause = self.sim.millis(100, 3_000);
                    self.sim.sleep(pause).await;
                    disk.set_capacity(None);
                }
                _ => {}
            }
            self.count(&disk.take_hits());
        }
    }

    /// Lets the disk work well from now on.
    pub(super) fn heal(&self) {
        if let Medium::Embedded { disk, .. } = &self.medium {
            disk.heal();
            disk.set_capacity(None);
        }
    }
}

/// Runs a future to its end, and another one beside it for as long.
async fn beside<T>(main: impl Future<Output = T>, other: impl Future<Output = ()>) -> T {
    let (mut main, mut other, mut is_over) = (pin!(main), pin!(other), false);
    std::future::poll_fn(|context| {
        is_over = is_over || other.as_mut().poll(context).is_ready();
        main.as_mut().poll(context)
    })
    .await
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// In the middle of anything.
    Crashed,
    /// After a failed write.
    Stopped,
    /// In order.
    ShutDown,
}

/// Copies a folder with all that is in it, if it is there.
fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    if !from.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(to)?;
    for found in std::fs::read_dir(from)? {
        let found = found?;
        let place = to.join(found.file_name());
        if found.file_type()?.is_dir() {
            copy_folder(&found.path(), &place)?;
        } else {
            std::fs::copy(found.path(), place)?;
        }
    }
    Ok(())
}

/// The orgs of a store, and the number of the latest entry of each.
fn versions(store: &EmbeddedStore) -> Result<BTreeMap<OrgId, u64>, String> {
    let failed = |error| format!("the orgs cannot be read after opening: {error}");
    let (mut found, mut cursor) = (BTreeMap::new(), None);
    loop {
        let page = at_once(store.scan(&Scan::Orgs, cursor.as_ref(), PAGE)).map_err(failed)?;
        found.extend(page.rows.into_iter().filter_map(|row| match row {
            Row::Org(org) => Some((org.id, org.version)),
            _ => None,
        }));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    // Their images lack entries.
    let behind = at_once(store.behind()).map_err(failed)?;
    let opened = at_once(store.open(&behind)).map_err(failed)?;
    found.extend(behind.into_iter().zip(opened).filter_map(|(partition, opened)| match partition {
        Partition::Org(org) => Some((org, opened.version())),
        Partition::System => None,
    }));
    Ok(found)
}

//! The ledger-first store: an append is one checksummed frame in a preallocated segment, durable before the answer. What
//! follows from entries alone is indexed as facts; images of what they add up to are rows of tables, written at leisure.
//!
//! ```text
//! DIR/LOCK               one process per folder
//! DIR/ledger/N.seg       the ledger, the only copy that counts      io, frame, segment, walk, prepare, ledger
//! DIR/ledger/N.facts     where keys, entries and notices are         facts, fingerprints
//! DIR/tables/            images, made anew at will                   tables, table_files, checkpoint, replay
//! ```
//! Start reading at [`EmbeddedStore`], then `store.rs` for an append's way, `walk.rs` for how damage is told from a frame
//! that was never finished.

mod checkpoint;
mod error;
mod facts;
mod fingerprints;
mod frame;
pub mod io;
mod ledger;
mod limits;
mod maintain;
mod metrics;
mod open;
mod options;
mod orders;
mod prepare;
mod replay;
mod scan;
mod segment;
mod store;
mod sync;
mod table_files;
mod tables;
mod verify;
mod versions;
mod walk;

#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(test)]
#[cfg(feature = "shuttle")]
mod models;
#[cfg(test)]
mod sweep_tests;

use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tollgate_domain::{KeyId, KeyRecord, Partition};
use tollgate_storage::{
    Append, Appends, Capabilities, Cursor, Image, Loaded, Opened, Page, Parts, Scan, Store, StoreError,
};

pub use metrics::{Gauge, Metrics, TIMING_BOUNDS_MICROS, Timing};
pub use options::{EmbeddedOptions, Work};
pub use verify::VerifyReport;

use self::store::Core;
use self::sync::Mutex;
use self::sync::thread::{self, JoinHandle};

/// The store of one machine. Dropping it without [`Store::close`] is like a crash: nothing appended is lost.
#[derive(Debug)]
pub struct EmbeddedStore {
    core: Arc<Core>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl EmbeddedStore {
    /// Opens the store in a folder, making it if need be. The ledger is read from where all images are whole on.
    ///
    /// # Errors
    /// Locked when another process has the folder; Corrupt with the file and the offset when something acknowledged is
    /// damaged; Format when a newer version wrote it; Full when there is no room.
    pub fn open(path: &Path, options: EmbeddedOptions) -> Result<Self, StoreError> {
        Self::start(open::open(path, options)?)
    }

    /// Starts the work in the background, if that is how it is done.
    fn start(core: Core) -> Result<Self, StoreError> {
        let store = Self { core: Arc::new(core), threads: Mutex::default() };
        if store.core.options.work == Work::Background {
            store.spawn("tollgate-rows", Core::keep_until_closed)?;
            store.spawn("tollgate-commit", Core::append_until_closed)?;
        }
        Ok(store)
    }

    fn spawn(&self, name: &str, work: impl FnOnce(&Core) + Send + 'static) -> Result<(), StoreError> {
        let core = Arc::clone(&self.core);
        let spawned = thread::Builder::new().name(name.into()).spawn(move || work(&core));
        let thread =
            spawned.map_err(|source| error::io_error("start a thread for", &self.core.path, source))?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    /// What the store knows of itself.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.core.metrics)
    }

    /// Why commits are refused for good, if they are: the store must be reopened.
    #[must_use]
    pub fn stopped(&self) -> Option<String> {
        self.core.stopped()
    }

    /// Whether the last commit was refused because the disk is full, and there still is no room.
    #[must_use]
    pub fn lacks_room(&self) -> bool {
        self.core.lacks_room()
    }

    /// Brings all images up to the ledger's end by going through what they lack, as an engine does it by deciding.
    ///
    /// # Errors
    /// When the ledger cannot be read, or the tables cannot be written.
    pub fn catch_up(&self) -> Result<(), StoreError> {
        self.core.catch_up()
    }

    /// Takes rows past their keep time out of the tables now; it happens by itself every 7 days.
    ///
    /// # Errors
    /// When the tables cannot be rewritten.
    pub fn sweep(&self) -> Result<(), StoreError> {
        self.core.tables.read().get()?.sweep()
    }

    /// Copies the ledger as it is at this moment into an empty or absent folder, while commits go on. A store opened on
    /// the copy makes its tables from it.
    ///
    /// # Errors
    /// When the folder is not empty, or copying fails; what is there then is not taken for a store.
    pub fn backup(&self, dir: &Path) -> Result<(), StoreError> {
        maintain::backup(&self.core, dir)
    }

    /// Copies the ledger of a store that another process may have open, as [`Self::backup`] does: up to the last whole
    /// frame at some moment during the call. Nothing is written to the store's folder.
    ///
    /// # Errors
    /// As [`Self::backup`]; Corrupt when a frame is damaged.
    pub fn backup_folder(path: &Path, dir: &Path, options: &EmbeddedOptions) -> Result<(), StoreError> {
        maintain::backup_folder(path, dir, options)
    }

    /// Makes the tables of a closed store anew from its ledger.
    ///
    /// # Errors
    /// As [`Self::open`]; the old tables stay until the new ones are whole.
    pub fn rebuild(path: &Path, options: &EmbeddedOptions) -> Result<(), StoreError> {
        maintain::rebuild(path, options)
    }

    /// Checks every frame and entry of a closed store, and that its tables are what a replay from empty makes.
    ///
    /// # Errors
    /// When the check itself cannot be made; what it finds is in the report.
    pub fn verify(path: &Path, options: &EmbeddedOptions) -> Result<VerifyReport, StoreError> {
        verify::verify(path, options)
    }

    /// Closes all but the tables.
    fn finish(&self) -> Result<(), StoreError> {
        self.stop_working();
        self.core.facts.settle()
    }

    fn stop_working(&self) {
        self.core.stop("it was closed");
        self.core.stop_keeping();
        self.core.stop_appending();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        threads.into_iter().for_each(|thread| drop(thread.join()));
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.stop_working();
    }
}

impl Store for EmbeddedStore {
    async fn append(&self, appends: Vec<Append>) -> Result<Appends, StoreError> {
        self.core.append_in_time(appends).await
    }

    async fn open(&self, partitions: &[Partition]) -> Result<Vec<Opened>, StoreError> {
        self.core.open(partitions)
    }

    async fn versions(&self, partitions: &[Partition]) -> Result<Vec<u64>, StoreError> {
        partitions.iter().map(|partition| self.core.version(partition)).collect()
    }

    async fn load(&self, asked: &[Parts]) -> Result<Vec<Loaded>, StoreError> {
        asked.iter().map(|Parts { partition, image, keys }| self.core.load(partition, *image, keys)).collect()
    }

    async fn find(&self, keys: &[KeyId]) -> Result<Vec<Option<KeyRecord>>, StoreError> {
        self.core.find(keys)
    }

    async fn checkpoint(&self, images: Arc<[Image]>, whole_until: u64) -> Result<(), StoreError> {
        self.core.checkpoint(images, whole_until).await
    }

    async fn behind(&self) -> Result<Vec<Partition>, StoreError> {
        Ok(self.core.behind().keys().cloned().collect())
    }

    async fn scan(&self, scan: &Scan, from: Option<&Cursor>, limit: usize) -> Result<Page, StoreError> {
        self.core.scan(scan, from, limit)
    }

    /// One process has the store: every lease is its own.
    async fn claim(&self, _lease: &str, _holder: u64, _time: Duration) -> Result<Option<u64>, StoreError> {
        Ok(Some(1))
    }

    fn position(&self) -> u64 {
        self.core.position()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            shared: false,
            knows_new: false,
            appends_max: limits::APPENDS_MAX,
            entries_max: limits::ENTRIES_MAX,
        }
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.finish()?;
        if tables::free_bytes(&self.core.path) < limits::CHECKPOINT_FREE_BYTES_MIN {
            // What the tables hold in memory is in their journal, too: the next start reads it there.
            return Ok(());
        }
        self.core.tables.read().get()?.flush()
    }
}

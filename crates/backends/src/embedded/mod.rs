//! The ledger-first store: a commit is one checksummed frame appended to a preallocated segment, durable before the
//! answer; in the background frames are folded into tables.
//!
//! ```text
//! DIR/LOCK               one process per folder
//! DIR/ledger/N.seg       the ledger, the only copy that counts      io, frame, segment, walk, prepare, ledger
//! DIR/tables/            what it adds up to, made anew at will       codec, tables, table_files, fold
//! in memory              what is not folded yet, hot records, and    overlay, core, filter
//!                        filters in front of the tables
//! ```
//! Start reading at [`EmbeddedStore`], then `core.rs` for a commit's way, `walk.rs` for how damage is told from a frame
//! that was never finished.

mod codec;
mod core;
mod error;
mod filter;
mod fold;
mod frame;
pub mod io;
mod ledger;
mod limits;
mod maintain;
mod metrics;
mod open;
mod options;
mod overlay;
mod prepare;
mod read;
mod replay;
mod scan;
mod segment;
mod sync;
mod table_files;
mod tables;
mod verify;
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
use std::time::Instant;

use tollgate_domain::{Record, RecordKey};
use tollgate_storage::{Batch, Capabilities, Committed, Cursor, Page, Scan, Store, StoreError};

pub use metrics::{Gauge, Metrics, TIMING_BOUNDS_MICROS, Timing};
pub use options::{EmbeddedOptions, Work};
pub use verify::VerifyReport;

use self::core::Core;
use self::sync::Mutex;
use self::sync::thread::{self, JoinHandle};

/// The store of one machine. Dropping it without [`Store::close`] is like a crash: nothing committed is lost, the next
/// start replays what was not folded.
#[derive(Debug)]
pub struct EmbeddedStore {
    core: Arc<Core>,
    folder: Mutex<Option<JoinHandle<()>>>,
}

impl EmbeddedStore {
    /// Opens the store in a folder, making it if need be; replays what the tables lack, making them if they are absent.
    ///
    /// # Errors
    /// Locked when another process has the folder; Corrupt with the file and the offset when something acknowledged is
    /// damaged; Format when a newer version wrote it; Full when there is no room.
    pub fn open(path: &Path, options: EmbeddedOptions) -> Result<Self, StoreError> {
        Self::start(open::open(path, options)?)
    }

    /// Starts the work in the background, if that is how it is done.
    fn start(core: Core) -> Result<Self, StoreError> {
        let core = Arc::new(core);
        let folder = match core.options.work {
            Work::Inline => None,
            Work::Background => {
                let folds = Arc::clone(&core);
                let spawned = thread::Builder::new()
                    .name("tollgate-fold".into())
                    .spawn(move || folds.fold_until_closed());
                let failed = |source| error::io_error("start a thread for", &core.path, source);
                Some(spawned.map_err(failed)?)
            }
        };
        Ok(Self { core, folder: Mutex::new(folder) })
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

    /// Folds everything committed before the call into the tables.
    ///
    /// # Errors
    /// When the tables refuse it; it will be tried again by itself.
    pub fn fold(&self) -> Result<(), StoreError> {
        self.core.fold_all()
    }

    /// Takes rows past their keep time out of the tables now; it happens by itself every 7 days.
    ///
    /// # Errors
    /// When the tables cannot be rewritten.
    pub fn sweep(&self) -> Result<(), StoreError> {
        self.core.fold_all()?;
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

    /// Folds what was committed, takes no more, and ends the work in the background.
    fn finish(&self) -> Result<(), StoreError> {
        let folded = self.core.fold_all();
        self.stop_working();
        folded
    }

    fn stop_working(&self) {
        self.core.stop("it was closed");
        let folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(folder) = folder {
            drop(folder.join());
        }
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.stop_working();
    }
}

impl Store for EmbeddedStore {
    async fn load(&self, keys: &[RecordKey]) -> Result<Vec<Option<Record>>, StoreError> {
        self.core.load(keys)
    }

    async fn scan(&self, scan: &Scan, from: Option<&Cursor>, limit: usize) -> Result<Page, StoreError> {
        self.core.scan(scan, from, limit)
    }

    async fn commit(&self, batch: Batch) -> Result<Vec<Committed>, StoreError> {
        self.core.commit(batch)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            shared: false,
            changes_max: limits::CHANGES_MAX,
            entries_max: limits::ENTRIES_MAX,
        }
    }

    async fn close(&self) -> Result<(), StoreError> {
        let (entries, began) = (self.core.metrics.fold_lag_entries.get(), Instant::now());
        self.finish()?;
        self.core.tables.read().get()?.flush()?;
        tracing::info!(
            entries,
            seconds = began.elapsed().as_secs_f64(),
            "the last entries are in the tables"
        );
        Ok(())
    }
}

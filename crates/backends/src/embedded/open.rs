//! Opening: lock the folder, find the end of the ledger, bring the tables up to it.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use tollgate_storage::{StoreError, StoreErrorKind};

use super::core::{Core, Opened};
use super::error::io_error;
use super::io::{FILE_MODE, create_folder};
use super::ledger::{Ledger, LedgerFiles};
use super::limits::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
use super::metrics::Metrics;
use super::options::EmbeddedOptions;
use super::replay::Replay;
use super::tables::{Keep, Tables};

pub(crate) const LEDGER_DIR: &str = "ledger";
pub(crate) const TABLES_DIR: &str = "tables";
/// What a rebuild makes before it takes the place of the tables.
pub(crate) const NEW_TABLES_DIR: &str = "tables.new";
/// What a rebuild puts aside.
pub(crate) const OLD_TABLES_DIR: &str = "tables.old";
/// What a verification replays into.
pub(crate) const VERIFY_TABLES_DIR: &str = "tables.verify";
/// What a backup writes before it is whole.
pub(crate) const PARTIAL_DIR: &str = "ledger.partial";
const LOCK_FILE: &str = "LOCK";

/// Opens the store in a folder.
pub(crate) fn open(path: &Path, options: EmbeddedOptions) -> Result<Core, StoreError> {
    check_options(&options)?;
    let lock = lock(path)?;
    remove_leftovers(path)?;
    open_locked(path, options, lock)
}

pub(crate) fn open_locked(path: &Path, options: EmbeddedOptions, lock: File) -> Result<Core, StoreError> {
    let files = open_ledger(path, &options)?;
    let keep = Arc::new(Keep::new(&options));
    let tables = Tables::open(&path.join(TABLES_DIR), &options, &keep)?;
    let folded = tables.folded()?;
    files.check_folded(&folded.position)?;
    keep.see(folded.latest_secs);
    let mut replay = Replay::new(&tables, &files.segments, folded, options.overlay_records_max);
    let end = files.recover(&folded.position, |position, frame| replay.frame(position, frame))?;
    let replayed = replay.entries;
    let (active, folded) = replay.finish();
    if replayed > 0 {
        tracing::info!(entries = replayed, "replayed what the tables did not hold yet");
    }
    let metrics = Arc::new(Metrics::default());
    metrics.tables_bytes.set(tables.bytes());
    let ledger = Ledger::new(files, end, options.segment_bytes, options.work, Arc::clone(&metrics))?;
    let path = path.to_owned();
    Ok(Core::new(Opened { path, options, ledger, tables, keep, active, folded, metrics, lock }))
}

pub(crate) fn check_options(options: &EmbeddedOptions) -> Result<(), StoreError> {
    let bytes = options.segment_bytes;
    if (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&bytes) && bytes.is_multiple_of(8) {
        return Ok(());
    }
    let text = format!(
        "a segment has {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX} bytes, in steps of 8; {bytes} is not one of them"
    );
    Err(StoreError::new(StoreErrorKind::Format, text))
}

/// Opens the ledger's files, making the folder if need be.
pub(crate) fn open_ledger(path: &Path, options: &EmbeddedOptions) -> Result<LedgerFiles, StoreError> {
    let dir = path.join(LEDGER_DIR);
    if !dir.exists() {
        create_folder(&dir).map_err(|source| io_error("create", &dir, source))?;
        File::open(path).and_then(|dir| dir.sync_all()).map_err(|source| io_error("sync", path, source))?;
    }
    LedgerFiles::open(options.disk.clone(), dir, options.segment_bytes)
}

/// Locks a folder, making it if need be, for as long as the file lives.
pub(crate) fn lock(path: &Path) -> Result<File, StoreError> {
    create_folder(path).map_err(|source| io_error("create", path, source))?;
    if path.join(PARTIAL_DIR).exists() {
        let text = format!("{} holds a backup that was not finished", path.display());
        return Err(StoreError::new(StoreErrorKind::Format, text));
    }
    let lock_path = path.join(LOCK_FILE);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(FILE_MODE)
        .open(&lock_path)
        .map_err(|source| io_error("open", &lock_path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let text = format!("another process has the store in {}", path.display());
            Err(StoreError::new(StoreErrorKind::Locked, text))
        }
        Err(TryLockError::Error(source)) => Err(io_error("lock", &lock_path, source)),
    }
}

/// Removes what an interrupted rebuild or verification left.
pub(crate) fn remove_leftovers(path: &Path) -> Result<(), StoreError> {
    [NEW_TABLES_DIR, OLD_TABLES_DIR, VERIFY_TABLES_DIR]
        .into_iter()
        .try_for_each(|name| remove_dir(&path.join(name)))
}

/// Removes a folder with all that is in it, if it is there.
pub(crate) fn remove_dir(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io_error("remove", path, error)),
        _ => Ok(()),
    }
}

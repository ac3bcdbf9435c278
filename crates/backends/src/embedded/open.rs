//! Opening: lock the folder, find the end of the ledger, and which images lag behind it.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use foldhash::fast::RandomState;
use tollgate_domain::{Partition, Record, RecordKey};
use tollgate_storage::codec::{Line, decode_line};
use tollgate_storage::{StoreError, StoreErrorKind};

use super::error::{bad_entry, corrupt, io_error};
use super::facts::{Facts, FactsOptions, Place};
use super::fingerprints::facts_of;
use super::io::{FILE_MODE, create_folder};
use super::ledger::{Ledger, LedgerEnd, LedgerFiles};
use super::limits::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
use super::metrics::Metrics;
use super::options::EmbeddedOptions;
use super::segment::SEGMENT_SUFFIX;
use super::store::{Behind, Core, Found, stored_record};
use super::tables::{Keep, Tables, TablesSlot};
use super::walk::Position;

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

/// What may lie in the folder of a store that is not made yet: what was made of one before the process died, and what the
/// file system of a new disk has.
const BEFORE_STORE: [&str; 7] =
    [LOCK_FILE, LEDGER_DIR, TABLES_DIR, NEW_TABLES_DIR, OLD_TABLES_DIR, VERIFY_TABLES_DIR, "lost+found"];

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
    files.check_folded(&folded.seen)?;
    keep.see(folded.latest_secs);
    let facts_options = FactsOptions::new(options.key_keep_secs, options.work);
    let (facts, missing) = Facts::open(Arc::clone(&files.segments), files.last, facts_options)?;
    let (end, newest, frames) = walk(&files, &facts, &missing, &folded.position, &keep)?;
    let view = tables.view();
    let mut behind = Behind::new();
    for (partition, number) in newest {
        let head = match &partition {
            Partition::Org(org) => RecordKey::Org(org.clone()),
            Partition::System => RecordKey::System,
        };
        if stored_record(&view, &head)?.as_ref().map_or(0, Record::version) < number {
            behind.insert(partition, number);
        }
    }
    drop(view);
    let metrics = Arc::new(Metrics::default());
    metrics.tables_bytes.set(tables.bytes());
    metrics.opening_frames.set(frames);
    let ledger = Ledger::new(files, end, options.segment_bytes, options.work, Arc::clone(&metrics))?;
    let (path, tables) = (path.to_owned(), TablesSlot::new(tables));
    Ok(Core::new(Found { path, options, ledger, facts, tables, keep, folded, behind, metrics, lock }))
}

/// The number of the latest entry of each partition that was met.
type Newest = HashMap<Partition, u64, RandomState>;

/// Goes through the frames whose facts are in no file, and those behind the frame up to which all images are whole, to the
/// ledger's end; says how many there were.
fn walk(
    files: &LedgerFiles,
    facts: &Facts,
    missing: &[u32],
    whole: &Position,
    keep: &Keep,
) -> Result<(LedgerEnd, Newest, u64), StoreError> {
    // Up to the end of the segment before the first that lacks facts, all facts are in files.
    let first = missing.first().copied().unwrap_or(files.last);
    let before = first.checked_sub(1).and_then(|before| facts.last_frame(before)).unwrap_or_default();
    let after = if before.sequence < whole.sequence { before } else { *whole };
    let (mut newest, mut frames) = (Newest::default(), 0);
    let end = files.recover(&after, |position, frame| {
        let path = || files.segments.path(position.segment);
        let mut found = Vec::new();
        frames += 1;
        for entry in frame.entries() {
            let (spot, blob) = entry.map_err(|error| corrupt(&path(), u64::from(position.offset), error))?;
            let place = Place { segment: position.segment, offset: position.offset + spot.offset };
            let line =
                decode_line(blob).map_err(|error| bad_entry(&path(), u64::from(place.offset), error))?;
            let facts = facts_of(line.lent(), place);
            keep.see(facts.at_secs);
            let number = facts.number;
            found.push(facts);
            let partition = match line {
                Line::Org(org, _) => Partition::Org(org),
                Line::System(_) => Partition::System,
            };
            newest.insert(partition, number);
        }
        if facts.last_frame(position.segment).is_none() {
            facts.add(position, found)?;
        }
        Ok(())
    })?;
    Ok((end, newest, frames))
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
    refuse_foreign(path)?;
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

/// Refuses a folder that has something else in it and no store. Hidden files, such as `.gitkeep`, are nobody's data.
fn refuse_foreign(path: &Path) -> Result<(), StoreError> {
    if names_in(&path.join(LEDGER_DIR))
        .is_ok_and(|mut names| names.any(|name| name.ends_with(SEGMENT_SUFFIX)))
    {
        return Ok(());
    }
    let names = names_in(path).map_err(|source| io_error("read", path, source))?;
    let foreign = names.filter(|name| !name.starts_with('.') && !BEFORE_STORE.contains(&name.as_str()));
    let Some(first) = foreign.min() else { return Ok(()) };
    let text = format!(
        "{} has other files in it, such as '{first}', and no store; name an empty folder, or one that is not there",
        path.display()
    );
    Err(StoreError::new(StoreErrorKind::Format, text))
}

/// The names of what is in a folder.
fn names_in(path: &Path) -> std::io::Result<impl Iterator<Item = String>> {
    let names = std::fs::read_dir(path)?.filter_map(Result::ok);
    Ok(names.map(|item| item.file_name().to_string_lossy().into_owned()))
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

//! Backup while running, and making the tables anew.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use tollgate_storage::{StoreError, StoreErrorKind};

use super::error::{corrupt, io_error};
use super::io::{Disk, create_folder, to_u64};
use super::open::{
    LEDGER_DIR, NEW_TABLES_DIR, OLD_TABLES_DIR, PARTIAL_DIR, TABLES_DIR, check_options, lock, open_ledger,
    remove_dir, remove_leftovers,
};
use super::options::EmbeddedOptions;
use super::replay::Replay;
use super::segment::{SEGMENT_HEADER_BYTES, Segment, Segments};
use super::store::Core;
use super::tables::{Folded, Keep, Tables};
use super::walk::{Position, Walker};

/// Bytes copied at once.
const COPY_CHUNK_BYTES: usize = 1024 * 1024;

/// Copies the ledger up to its last durable frame; see [`super::EmbeddedStore::backup`].
pub(crate) fn backup(core: &Core, dir: &Path) -> Result<(), StoreError> {
    let (last, end) = core.ledger().end();
    copy_ledger(&core.segments, last, end, dir)
}

/// Copies the ledger of another process; see [`super::EmbeddedStore::backup_folder`].
pub(crate) fn backup_folder(path: &Path, dir: &Path, options: &EmbeddedOptions) -> Result<(), StoreError> {
    let segments = Segments::new(options.disk.clone(), path.join(LEDGER_DIR));
    let mut last = Position::default();
    loop {
        let before = last.sequence;
        match last_whole_frame(&segments, &mut last) {
            Ok(()) => break,
            // A frame that was half written when it was read may be whole by now, and others may follow it.
            Err(_) if last.sequence > before => {}
            Err(error) => return Err(error),
        }
    }
    let end = if last.sequence == 0 { SEGMENT_HEADER_BYTES } else { last.end() };
    copy_ledger(&segments, last.segment.max(1), end, dir)
}

/// Goes on from `last` to the last frame that is whole.
fn last_whole_frame(segments: &Segments, last: &mut Position) -> Result<(), StoreError> {
    let Some(newest) = segments.ordinals()?.pop() else {
        let text = format!("{} holds no ledger", segments.dir.display());
        return Err(StoreError::new(StoreErrorKind::Format, text));
    };
    let mut walker = Walker::new(segments, newest, last)?;
    while let Some((position, _)) = walker.next()? {
        *last = position;
    }
    Ok(())
}

fn copy_ledger(segments: &Segments, last: u32, end: u64, dir: &Path) -> Result<(), StoreError> {
    create_folder(dir).map_err(|source| io_error("create", dir, source))?;
    let mut inside = std::fs::read_dir(dir).map_err(|source| io_error("list", dir, source))?;
    if inside.next().is_some() {
        let text = format!("{} is not empty: a backup needs a folder of its own", dir.display());
        return Err(StoreError::new(StoreErrorKind::Format, text));
    }
    let partial = dir.join(PARTIAL_DIR);
    create_folder(&partial).map_err(|source| io_error("create", &partial, source))?;
    for ordinal in 1..=last {
        let segment = segments.get(ordinal)?;
        let until = if ordinal == last { end } else { segment.bytes };
        copy(&segment, until, &partial)?;
    }
    let sync = |dir: &Path| Disk::Real.sync_dir(dir).map_err(|source| io_error("sync", dir, source));
    sync(&partial)?;
    let whole = dir.join(LEDGER_DIR);
    std::fs::rename(&partial, &whole).map_err(|source| io_error("rename", &partial, source))?;
    sync(dir)?;
    dir.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync)
}

/// Copies a segment up to `until`; behind it the copy has zeros, as the segment had before.
fn copy(segment: &Segment, until: u64, dir: &Path) -> Result<(), StoreError> {
    let Some(name) = segment.path.file_name() else {
        return Err(corrupt(&segment.path, 0, "the file has no name"));
    };
    let path = dir.join(name);
    let io = |source| io_error("write", &path, source);
    let file = Disk::Real.create(&path).map_err(io)?;
    let mut buffer = vec![0; COPY_CHUNK_BYTES];
    let mut at = 0;
    while at < until {
        let wanted = usize::try_from(until - at).unwrap_or(usize::MAX).min(COPY_CHUNK_BYTES);
        let chunk = buffer.get_mut(..wanted).unwrap_or_default();
        let read =
            segment.file.read_full_at(chunk, at).map_err(|source| io_error("read", &segment.path, source))?;
        if read < wanted {
            return Err(corrupt(&segment.path, at + to_u64(read), "the file is shorter than it should be"));
        }
        file.write_all_at(chunk, at).map_err(io)?;
        at += to_u64(wanted);
    }
    file.zero(until, segment.bytes).map_err(io)?;
    file.sync_data().map_err(io)
}

/// Makes the tables anew; see [`super::EmbeddedStore::rebuild`].
pub(crate) fn rebuild(path: &Path, options: &EmbeddedOptions) -> Result<(), StoreError> {
    check_options(options)?;
    let _lock = lock(path)?;
    remove_leftovers(path)?;
    let new = path.join(NEW_TABLES_DIR);
    drop(replay_into(path, &new, options)?);
    let (tables, old) = (path.join(TABLES_DIR), path.join(OLD_TABLES_DIR));
    if tables.exists() {
        std::fs::rename(&tables, &old).map_err(|source| io_error("rename", &tables, source))?;
    }
    std::fs::rename(&new, &tables).map_err(|source| io_error("rename", &new, source))?;
    File::open(path).and_then(|dir| dir.sync_all()).map_err(|source| io_error("sync", path, source))?;
    remove_dir(&old)
}

/// What a replay from empty found.
pub(crate) struct Replayed {
    pub(crate) tables: Tables,
    pub(crate) keep: Arc<Keep>,
    pub(crate) segments: u64,
    pub(crate) frames: u64,
    pub(crate) entries: u64,
    pub(crate) keys: u64,
}

/// Replays the whole ledger into new tables at `into`.
pub(crate) fn replay_into(
    path: &Path,
    into: &Path,
    options: &EmbeddedOptions,
) -> Result<Replayed, StoreError> {
    let files = open_ledger(path, options)?;
    let keep = Arc::new(Keep::new(options));
    let tables = Tables::open(into, options, &keep)?;
    let mut replay = Replay::new(&tables, &files.segments, Folded::default());
    files.recover(&Position::default(), |position, frame| replay.frame(position, frame))?;
    replay.save()?;
    let (frames, entries, keys) = (replay.frames, replay.entries, replay.keys);
    keep.see(replay.folded().latest_secs);
    tables.flush()?;
    Ok(Replayed { tables, keep, segments: u64::from(files.last), frames, entries, keys })
}

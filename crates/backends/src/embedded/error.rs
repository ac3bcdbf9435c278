//! The failures of this store, as the contract names them: each says the file and, where there is one, the offset.

use std::io;
use std::path::Path;

use tollgate_storage::codec::DecodeError;
use tollgate_storage::{ADVICE_ON_NEWER, StoreError, StoreErrorKind};

use super::frame::{FORMAT_VERSION, FrameError};

/// Reading or writing `path` failed.
pub(crate) fn io_error(action: &str, path: &Path, source: io::Error) -> StoreError {
    StoreError::new(StoreErrorKind::Io, format!("cannot {action} {}", path.display())).caused_by(source)
}

/// What `path` holds at `offset` is not what was written.
pub(crate) fn corrupt(path: &Path, offset: u64, what: impl std::fmt::Display) -> StoreError {
    StoreError::new(
        StoreErrorKind::Corrupt,
        format!("{} is damaged at byte {offset}: {what}", path.display()),
    )
}

/// A newer version of Tollgate wrote `path`.
pub(crate) fn newer(path: &Path, version: impl std::fmt::Display) -> StoreError {
    StoreError::new(
        StoreErrorKind::Format,
        format!(
            "a newer version of Tollgate wrote {} in format {version}; this version reads formats up to \
             {FORMAT_VERSION}: {ADVICE_ON_NEWER}",
            path.display()
        ),
    )
}

/// What stands in `path` at `offset` is no frame that can be read.
pub(crate) fn bad_frame(path: &Path, offset: u64, error: FrameError) -> StoreError {
    match error {
        FrameError::Version(version) => newer(path, version),
        damage => corrupt(path, offset, damage),
    }
}

/// There is no room; nothing was written.
pub(crate) fn full(path: &Path, source: impl std::fmt::Display) -> StoreError {
    StoreError::new(
        StoreErrorKind::Full,
        format!(
            "no room in {}: {source}; nothing was changed, service goes on when there is",
            path.display()
        ),
    )
}

/// An earlier failure stopped the store.
pub(crate) fn stopped(why: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Stopped, format!("the store has stopped and must be reopened: {why}"))
}

/// The tables failed.
pub(crate) fn tables_error(action: &str, source: fjall::Error) -> StoreError {
    let text = format!("cannot {action} the tables; if they are damaged, `tollgate rebuild` makes them anew");
    // What was read and cannot be is damage; the disk itself, and a table engine that gave up writing, are not.
    let kind = match &source {
        fjall::Error::Io(_) | fjall::Error::Storage(fjall::LsmError::Io(_)) | fjall::Error::Poisoned => {
            StoreErrorKind::Io
        }
        _ => StoreErrorKind::Corrupt,
    };
    StoreError::new(kind, text).caused_by(source)
}

/// A row of the tables does not decode.
pub(crate) fn bad_row(table: &str, key: &[u8], error: DecodeError) -> StoreError {
    let advice = match error {
        DecodeError::Newer(_) => "",
        DecodeError::Damaged => "; make the tables anew with `tollgate rebuild`",
    };
    let key = String::from_utf8_lossy(key);
    StoreError::new(error.kind(), format!("the row {key:?} of table {table}: {error}{advice}"))
}

/// The entry in `path` at `offset` does not decode.
pub(crate) fn bad_entry(path: &Path, offset: u64, error: DecodeError) -> StoreError {
    match error {
        DecodeError::Newer(_) => StoreError::new(
            error.kind(),
            format!("the entry of {} at byte {offset}: {error}", path.display()),
        ),
        DecodeError::Damaged => corrupt(path, offset, error),
    }
}

//! What a failed command says of what became of it.

use std::io;

use mongodb::error::{Error, ErrorKind, WriteFailure};
use tollgate_storage::StoreErrorKind;

use crate::asking::Outcome;
use crate::packs::table::Failure;

/// A document with the same id is there.
pub(crate) const fn is_duplicate(code: i32) -> bool {
    code == 11_000
}

/// The failure of a command.
pub(crate) fn failure(error: Error) -> Failure {
    use StoreErrorKind::{Format, Io, Unavailable};
    let (outcome, kind, text) = match error.kind.as_ref() {
        ErrorKind::ServerSelection { .. } => {
            (Outcome::Passing, Unavailable, "MongoDB has no primary that answers")
        }
        ErrorKind::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            (Outcome::Passing, Unavailable, "MongoDB cannot be reached")
        }
        ErrorKind::Authentication { .. } | ErrorKind::InvalidTlsConfig { .. } => {
            (Outcome::Refused, Unavailable, "MongoDB does not let us in")
        }
        ErrorKind::InvalidArgument { .. } | ErrorKind::IncompatibleServer { .. } => {
            (Outcome::Refused, Format, "MongoDB cannot be used as it is configured")
        }
        ErrorKind::Command(said) => return of_code(said.code).caused_by(error),
        ErrorKind::Write(WriteFailure::WriteError(said)) => return of_code(said.code).caused_by(error),
        _ => (Outcome::Unknown, Io, "MongoDB was lost while it was asked"),
    };
    Failure::new(outcome, kind, text).caused_by(error)
}

/// The failure of one document of several.
pub(crate) fn not_written(code: i32) -> Failure {
    of_code(code).caused_by(format!("code {code}"))
}

fn of_code(code: i32) -> Failure {
    use StoreErrorKind::{Format, Full, Io, TooLarge, Unavailable};
    let (outcome, kind, text) = match code {
        // Not allowed, or not logged in.
        13 | 18 => (Outcome::Refused, Unavailable, "MongoDB does not let us do that"),
        // The document, or the whole command.
        10_334 | 17_280 | 17_420 => {
            (Outcome::Refused, TooLarge, "a document is too large; nothing was changed")
        }
        14_031 => (Outcome::Refused, Full, "MongoDB has no room; nothing was changed"),
        // An index of another shape, an unknown command or option.
        85 | 86 | 59 | 72 | 9 => (Outcome::Refused, Format, "MongoDB cannot be used as it is"),
        11_000 => (Outcome::Passing, Unavailable, "another process was there at the same time"),
        // A primary that steps down, shuts down or takes too long may have done some of it, and may lose it yet; so may one that
        // says that it is none any more, of a command of many documents.
        _ => (Outcome::Unknown, Io, "MongoDB does not say what it did"),
    };
    Failure::new(outcome, kind, text)
}

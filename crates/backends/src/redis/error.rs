//! What a failed attempt says of what became of it, and the failures of this store as the contract names them.

use redis::{ErrorKind, RedisError, ServerError};
use tollgate_storage::{StoreError, StoreErrorKind};

use crate::asking::Outcome;

/// A failed attempt.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) outcome: Outcome,
    pub(crate) error: StoreError,
    pub(crate) cure: Cure,
}

/// What may help before the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cure {
    Nothing,
    /// The server lacks the functions.
    LoadFunctions,
    /// Who has which shard changed, or a server is gone.
    FindServers,
}

impl Failure {
    /// There is no connection: nothing was asked.
    pub(crate) fn not_sent(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let error = unavailable("Redis cannot be reached").caused_by(error);
        Self { outcome: Outcome::Passing, error, cure: Cure::FindServers }
    }

    /// The server cannot be used.
    pub(crate) fn refused(error: StoreError) -> Self {
        Self { outcome: Outcome::Refused, error, cure: Cure::Nothing }
    }

    /// The server did not answer in time, or the connection broke.
    pub(crate) fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let error = StoreError::new(StoreErrorKind::Io, "the connection to Redis broke").caused_by(error);
        Self { outcome: Outcome::Unknown, error, cure: Cure::FindServers }
    }

    /// What was appended is not on the disk.
    pub(crate) fn not_on_disk() -> Self {
        let error = StoreError::new(StoreErrorKind::Io, "Redis did not write to its disk in time");
        Self { outcome: Outcome::Unknown, error, cure: Cure::Nothing }
    }

    /// Connecting failed.
    pub(crate) fn connecting(error: RedisError) -> Self {
        let refused = error.kind() == ErrorKind::AuthenticationFailed
            || error.code().is_some_and(|code| matches!(code, "NOAUTH" | "WRONGPASS" | "NOPERM"));
        if refused {
            // What it says may name the user, and never the password.
            return Self::refused(unavailable("Redis refuses who asks").caused_by(error));
        }
        Self::not_sent(error)
    }

    /// The server said that it did not do it.
    pub(crate) fn said(error: &ServerError) -> Self {
        use Outcome::{Passing, Refused};
        let not_ready = "Redis is not ready; nothing was changed";
        let (outcome, cure, kind, text) = match error.code() {
            "MOVED" | "ASK" | "READONLY" | "CLUSTERDOWN" | "MASTERDOWN" => {
                (Passing, Cure::FindServers, StoreErrorKind::Unavailable, not_ready)
            }
            "TRYAGAIN" | "LOADING" | "BUSY" | "MISCONF" | "NOREPLICAS" => {
                (Passing, Cure::Nothing, StoreErrorKind::Unavailable, not_ready)
            }
            "OOM" => (
                Refused,
                Cure::Nothing,
                StoreErrorKind::Full,
                "Redis has no memory left; nothing was changed",
            ),
            _ if error.details().is_some_and(|details| details.contains("Function not found")) => {
                (Passing, Cure::LoadFunctions, StoreErrorKind::Unavailable, not_ready)
            }
            _ => (Refused, Cure::Nothing, StoreErrorKind::Unavailable, "Redis refused; nothing was changed"),
        };
        Self { outcome, error: StoreError::new(kind, text).caused_by(error.to_string()), cure }
    }
}

pub(crate) fn unavailable(text: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, text)
}

/// The server is of a kind that cannot be used.
pub(crate) fn unfit(text: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Format, text)
}

/// An answer is not what the function of that name gives.
pub(crate) fn bad_answer() -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, "Redis answered what no function of the store answers")
}

//! What a failed attempt says of what became of it, and the failures of this store as the contract names them.

use deadpool_postgres::PoolError;
use tokio_postgres::error::{DbError, Severity, SqlState};
use tollgate_storage::codec::DecodeError;
use tollgate_storage::{StoreError, StoreErrorKind};

use crate::asking::Outcome;

/// A failed attempt.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) outcome: Outcome,
    pub(crate) error: StoreError,
    /// Whether the connection is of no use any more.
    pub(crate) breaks: bool,
}

impl Failure {
    /// The server did not answer in time.
    pub(crate) fn timeout() -> Self {
        let text = "the database did not answer in time";
        Self { outcome: Outcome::Unknown, error: StoreError::new(StoreErrorKind::Io, text), breaks: true }
    }

    /// It was held up before it was sent: what it goes by may be true no more.
    pub(crate) fn late() -> Self {
        let error = unavailable("this server was held up for too long; nothing was changed");
        Self { outcome: Outcome::Refused, error, breaks: false }
    }

    /// There is no connection: nothing was asked.
    pub(crate) fn not_sent(error: PoolError) -> Self {
        let refused = match &error {
            PoolError::Backend(error) => error.code().is_some_and(is_misconfigured),
            _ => false,
        };
        let outcome = if refused { Outcome::Refused } else { Outcome::Passing };
        let error = match error {
            PoolError::Backend(source) => unavailable("the database cannot be reached").caused_by(source),
            error => unavailable("no connection to the database is free").caused_by(error),
        };
        Self { outcome, error, breaks: false }
    }

    /// The server, or the way to it, failed after it was asked.
    pub(crate) fn answered(error: tokio_postgres::Error) -> Self {
        let known = error.as_db_error().filter(|error| rolled_back(error));
        let Some(known) = known else {
            let text = "the connection to the database broke";
            let error = StoreError::new(StoreErrorKind::Io, text).caused_by(error);
            return Self { outcome: Outcome::Unknown, error, breaks: true };
        };
        let (outcome, kind, text) = sort(known.code());
        let breaks = *known.code() == SqlState::READ_ONLY_SQL_TRANSACTION;
        Self { outcome, error: StoreError::new(kind, text).caused_by(said(known)), breaks }
    }
}

/// What the server said, without the rows that it may quote.
fn said(error: &DbError) -> String {
    format!("{} (SQLSTATE {})", error.message(), error.code().code())
}

/// Whether the server says that it rolled back. Of a session that ends it is not known: a commit may have been made before.
/// So it is where a pooler in between speaks, which reports its own troubles as those of the connection.
fn rolled_back(error: &DbError) -> bool {
    let code = error.code().code();
    error.parsed_severity() == Some(Severity::Error) && !code.starts_with("08") && !code.starts_with("57P")
}

fn sort(code: &SqlState) -> (Outcome, StoreErrorKind, &'static str) {
    use Outcome::{Passing, Refused};
    match code.code() {
        "53100" => (Refused, StoreErrorKind::Full, "the database has no room; nothing was changed"),
        "XX001" | "XX002" => (Refused, StoreErrorKind::Corrupt, "the database is damaged"),
        "3F000" | "42P01" | "42883" | "42703" => (
            Refused,
            StoreErrorKind::Format,
            "the database lacks what the store needs; run `tollgate migrate`",
        ),
        // A failover, a lock that was waited for too long, a deadlock with what is not ours, a want of memory.
        "25006" | "40001" | "40P01" | "55P03" | "57014" | "53000" | "53200" | "53300" | "53400" => {
            (Passing, StoreErrorKind::Unavailable, "the database is not ready; nothing was changed")
        }
        _ => (Refused, StoreErrorKind::Unavailable, "the database refused; nothing was changed"),
    }
}

/// Whether connecting cannot succeed as it is configured: credentials, rights, or no such database.
fn is_misconfigured(code: &SqlState) -> bool {
    matches!(code.code(), "28000" | "28P01" | "3D000" | "42501")
}

pub(crate) fn unavailable(text: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, text)
}

/// A row does not decode.
pub(crate) fn bad_row(what: impl std::fmt::Display, error: DecodeError) -> StoreError {
    StoreError::new(error.kind(), format!("{what} in the database: {error}"))
}

/// A column is not of the type that the store gave it.
pub(crate) fn bad_column(error: tokio_postgres::Error) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, "a row of the database is not as the store wrote it")
        .caused_by(error)
}

/// The database is of a kind that cannot be used.
pub(crate) fn unfit(text: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Format, text)
}

//! What can go wrong, other than a denial, which is an answer.

use std::time::Duration;

use serde::Deserialize;

use crate::wire::Denied;

/// Why there is no answer that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Of [`Client::require`](crate::Client::require) alone: the usage was denied.
    #[error("{0}")]
    Denied(Box<Denied>),
    /// The call is wrong, or the server failed for good; sending it again does not help.
    #[error("{0}")]
    Api(Box<ApiError>),
    /// No answer within the patience of the client. The call may have been counted: send it again with the same key.
    #[error("{call}: no answer in {} s ({why})", .waited.as_secs())]
    Unreachable {
        /// Method and path.
        call: String,
        /// How long was waited between the attempts.
        waited: Duration,
        /// What became of the last attempt.
        why: String,
    },
    /// The answer is not what this version of the client reads.
    #[error("the answer cannot be read: {0}")]
    Answer(#[from] serde_json::Error),
    /// The address, the API key or the path cannot be used.
    #[error("{0}")]
    Settings(String),
}

impl Error {
    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

/// What the server says is wrong (`application/problem+json`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, thiserror::Error)]
#[error("{status} {code}: {detail}")]
#[serde(default)]
#[non_exhaustive]
pub struct ApiError {
    /// The status of the answer.
    pub status: u16,
    /// Stable, such as `unknown_meter`.
    pub code: String,
    /// The same for people.
    pub title: String,
    /// What of this call.
    pub detail: String,
    /// The field of the body that is wrong.
    pub field: Option<String>,
    /// To find it in the server's log.
    pub request_id: Option<String>,
}

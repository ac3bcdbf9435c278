//! What can go wrong in a store.

use std::error::Error;
use std::fmt;

/// A failure of a store: a kind for programs, a text for logs and operators.
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    text: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// What kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// No room; nothing was changed, and later calls may succeed.
    Full,
    /// The batch or record is larger than the store takes; nothing was changed.
    TooLarge,
    /// The store is somewhere else and cannot be reached, or does not take it now; nothing was changed, and later calls may
    /// succeed.
    Unavailable,
    /// What was read is damaged.
    Corrupt,
    /// An image changed while its parts were loaded: open the partition again.
    Moved,
    /// The cursor is not one of this scan.
    BadCursor,
    /// Another process has the store.
    Locked,
    /// The store was written by a newer version, or is not a store.
    Format,
    /// Reading or writing failed; of a commit it is not known what was made.
    Io,
    /// An earlier failure stopped the store; it must be reopened.
    Stopped,
}

/// What to do with data that a newer version wrote: the end of each sentence that refuses it.
pub const ADVICE_ON_NEWER: &str =
    "run that version again, or restore the backup that was made before the upgrade";

impl StoreErrorKind {
    /// Whether it is known that nothing was changed and the same call may succeed later.
    #[must_use]
    pub const fn is_refusal(self) -> bool {
        matches!(self, Self::Full | Self::TooLarge | Self::Unavailable)
    }
}

impl StoreError {
    /// A failure with a text for operators: what failed, where, what to do.
    pub fn new(kind: StoreErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), source: None }
    }

    /// The same with the error behind it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What kind of failure.
    #[must_use]
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)?;
        match &self.source {
            Some(source) => write!(formatter, ": {source}"),
            None => Ok(()),
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.source {
            Some(source) => Some(source.as_ref()),
            None => None,
        }
    }
}

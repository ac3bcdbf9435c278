//! Why bytes do not decode.

use std::error::Error;
use std::fmt;

use super::VERSION;
use crate::{ADVICE_ON_NEWER, StoreErrorKind};

/// Why bytes do not decode. The caller knows where they came from and says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// A newer version of Tollgate wrote them, in the format version given.
    Newer(u8),
    /// They are damaged, or a value of another type.
    Damaged,
}

impl DecodeError {
    /// The kind of store failure this amounts to.
    #[must_use]
    pub const fn kind(self) -> StoreErrorKind {
        match self {
            Self::Newer(_) => StoreErrorKind::Format,
            Self::Damaged => StoreErrorKind::Corrupt,
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newer(version) => write!(
                formatter,
                "it was written by a newer version of Tollgate in format {version}; this version reads formats up to {VERSION}: {ADVICE_ON_NEWER}"
            ),
            Self::Damaged => formatter.write_str("its bytes do not decode"),
        }
    }
}

impl Error for DecodeError {}

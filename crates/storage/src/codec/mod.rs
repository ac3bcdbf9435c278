//! The stored bytes of entries and of the state derived from them: a versioned format, the same in every store.
//!
//! A value is one version byte followed by that version's encoding. Each version has a module that lists every field, its
//! type and order, and the number of every enum variant. A domain type that changes no longer matches the list and fails
//! to compile, so a change of the domain cannot change the bytes silently. `golden/` holds files of every kind of value,
//! which must decode forever.
//!
//! The encoding is postcard's: variable-length integers, length-prefixed strings and lists, numbered variants. Encoding
//! borrows and never fails. Decoding validates: any bytes yield a value or a [`DecodeError`], never a panic, and memory
//! use is bounded by the length of the input.

mod error;
mod v1;
mod wire;

use tollgate_domain::{
    Account, ApiKey, Bill, CatalogVersion, Channel, Counter, Delivery, Entry, Groups, KeyRecord, Notice, Org,
    OrgId, Shipment, System, SystemEntry, Tally, Timestamp, Unsent,
};

pub use self::error::DecodeError;
use self::wire::{In, Wire};

/// The version this code writes, and the newest it reads.
pub const VERSION: u8 = v1::VERSION;

/// Types that are stored as a value of their own.
pub trait Stored: Wire {}

macro_rules! stored {
    ($($name:ident),+ $(,)?) => { $(impl Stored for $name {})+ };
}

stored!(
    Account,
    ApiKey,
    Bill,
    CatalogVersion,
    Channel,
    Counter,
    Delivery,
    Entry,
    Groups,
    KeyRecord,
    Org,
    Shipment,
    StoredNotice,
    System,
    Tally,
    Unsent,
);

/// A line of the ledger, which holds the entries of all orgs and of the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// An entry of an org.
    Org(OrgId, Box<Entry>),
    /// An entry of the system.
    System(SystemEntry),
}

/// A borrowed [`Line`], for encoding.
#[derive(Clone, Copy, Debug)]
pub enum LineRef<'a> {
    /// An entry of an org.
    Org(&'a OrgId, &'a Entry),
    /// An entry of the system.
    System(&'a SystemEntry),
}

impl Line {
    /// Borrows the line.
    #[must_use]
    pub const fn lent(&self) -> LineRef<'_> {
        match self {
            Self::Org(org, entry) => LineRef::Org(org, entry),
            Self::System(entry) => LineRef::System(entry),
        }
    }
}

/// A notice as it is stored apart from its entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredNotice {
    /// The org it is about.
    pub org: OrgId,
    /// The number of its entry.
    pub entry: u64,
    /// When the entry was decided.
    pub at: Timestamp,
    /// The notice.
    pub notice: Notice,
}

/// Appends a value to `bytes`.
pub fn encode<T: Stored>(value: &T, bytes: &mut Vec<u8>) {
    bytes.push(VERSION);
    value.put(bytes);
}

/// Decodes a value from all of `bytes`.
///
/// # Errors
/// [`DecodeError`].
pub fn decode<T: Stored>(bytes: &[u8]) -> Result<T, DecodeError> {
    read(bytes)
}

/// Appends a line of the ledger to `bytes`.
pub fn encode_line(line: LineRef<'_>, bytes: &mut Vec<u8>) {
    bytes.push(VERSION);
    v1::put_line(line, bytes);
}

/// Decodes a line of the ledger from all of `bytes`.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_line(bytes: &[u8]) -> Result<Line, DecodeError> {
    read(bytes)
}

fn read<T: Wire>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (version, value) = bytes.split_first().ok_or(DecodeError::Damaged)?;
    match *version {
        v1::VERSION => {
            let mut from = In::from_bytes(value);
            let value = T::take(&mut from).map_err(|_| DecodeError::Damaged)?;
            // Nothing is ever written behind a value.
            if from.finalize().is_ok_and(<[u8]>::is_empty) { Ok(value) } else { Err(DecodeError::Damaged) }
        }
        0 => Err(DecodeError::Damaged),
        newer => Err(DecodeError::Newer(newer)),
    }
}

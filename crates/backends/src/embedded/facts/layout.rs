//! What lies where in a facts file, `NNNNNNNNNNNNNNNN.facts` beside the segment of that ordinal.
//!
//! ```text
//! header   128 B  magic 8 · version u32 · 0 u32 · ordinal u64 · the segment's last frame: sequence u64, offset u32,
//!                 length u32, checksum u64 · latest entry in seconds i64 · keys, orgs, entries, notices u64 each ·
//!                 checksum of the index u64 · zeros · checksum u64
//! index           per block of keys: the first half of its first fingerprint
//! keys            fingerprint 16 · offset u32                           sorted
//! orgs            fingerprint 16 · first number u64 · entries u32 · which of the offsets is its first u32   sorted
//! offsets         offset u32                                            of each org's entries, ascending
//! notices         offset u32 · how many u32                             ascending
//! ```
//! Numbers are little-endian, fingerprints (and their halves in the index) big-endian, as they sort. Keys, orgs, offsets
//! and notices lie in blocks, each followed by a checksum that depends on its place and the ordinal.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::super::io::to_u64;
use super::super::walk::Position;
use super::table::Counts;

pub(super) const HEADER_BYTES: usize = 128;
pub(super) const CHECKSUM_BYTES: usize = 8;
/// Bytes of one place in the index.
pub(super) const INDEX_BYTES: usize = 8;

const CHECKED_BYTES: usize = HEADER_BYTES - CHECKSUM_BYTES;
const MAGIC: [u8; 8] = *b"TollgFct";
const VERSION: u32 = 1;

/// A kind of records in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Keys,
    Orgs,
    Offsets,
    Notices,
}

impl Part {
    pub(super) const fn record_bytes(self) -> usize {
        match self {
            Self::Keys => 20,
            Self::Orgs => 32,
            Self::Offsets => 4,
            Self::Notices => 8,
        }
    }

    /// Records that share a checksum; they are read together.
    pub(super) const fn block_records(self) -> u64 {
        match self {
            Self::Keys => 128,
            Self::Orgs => 64,
            Self::Offsets => 512,
            Self::Notices => 256,
        }
    }

    const fn seed(self) -> u64 {
        match self {
            Self::Keys => 1 << 60,
            Self::Orgs => 2 << 60,
            Self::Offsets => 3 << 60,
            Self::Notices => 4 << 60,
        }
    }

    /// Checksum of the block `number` of the file `ordinal`.
    pub(super) fn checksum(self, ordinal: u32, number: u64, records: &[u8]) -> u64 {
        xxh3_64_with_seed(records, self.seed() ^ (u64::from(ordinal) << 28) ^ number)
    }
}

/// Records of one kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section {
    pub(super) part: Part,
    /// Offset of the first block.
    pub(super) start: u64,
    pub(super) records: u64,
}

impl Section {
    pub(super) const fn blocks(&self) -> u64 {
        self.records.div_ceil(self.part.block_records())
    }

    /// Where a block is, and how many bytes its records have.
    pub(super) fn block(&self, number: u64) -> (u64, usize) {
        let before = number.saturating_mul(self.part.block_records());
        let records = self.records.saturating_sub(before).min(self.part.block_records());
        let full = self.part.block_records() * to_u64(self.part.record_bytes()) + to_u64(CHECKSUM_BYTES);
        let bytes = usize::try_from(records).unwrap_or(0) * self.part.record_bytes();
        (self.start + number.saturating_mul(full), bytes)
    }

    fn end(&self) -> u64 {
        let records = self.records * to_u64(self.part.record_bytes());
        self.start + records + self.blocks() * to_u64(CHECKSUM_BYTES)
    }
}

/// A header that passed its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) last: Position,
    pub(super) latest_secs: i64,
    pub(super) counts: Counts,
    pub(super) index_checksum: u64,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&u64::from(VERSION).to_le_bytes());
        let Position { sequence, segment, offset, len, checksum } = self.last;
        bytes.extend_from_slice(&u64::from(segment).to_le_bytes());
        bytes.extend_from_slice(&sequence.to_le_bytes());
        bytes.extend_from_slice(&offset.to_le_bytes());
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.extend_from_slice(&self.latest_secs.to_le_bytes());
        let Counts { keys, orgs, entries, notices } = self.counts;
        for number in [keys, orgs, entries, notices, self.index_checksum] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.resize(CHECKED_BYTES, 0);
        let checksum = xxh3_64(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.try_into().unwrap_or([0; HEADER_BYTES])
    }

    /// The header of the file `ordinal`; `None` when it is not one of this version.
    pub(super) fn decode(bytes: &[u8; HEADER_BYTES], ordinal: u32) -> Option<Self> {
        let (checked, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
        let mut rest = checked.strip_prefix(&MAGIC)?;
        if xxh3_64(checked) != u64::from_le_bytes(*checksum) || take_u64(&mut rest)? != u64::from(VERSION) {
            return None;
        }
        if take_u64(&mut rest)? != u64::from(ordinal) {
            return None;
        }
        let sequence = take_u64(&mut rest)?;
        let (offset, len) = (take_u32(&mut rest)?, take_u32(&mut rest)?);
        let last = Position { sequence, segment: ordinal, offset, len, checksum: take_u64(&mut rest)? };
        let latest_secs = i64::from_le_bytes(take_u64(&mut rest)?.to_le_bytes());
        let mut count = || take_u64(&mut rest).filter(|count| *count <= u64::from(u32::MAX));
        let counts = Counts { keys: count()?, orgs: count()?, entries: count()?, notices: count()? };
        Some(Self { last, latest_secs, counts, index_checksum: take_u64(&mut rest)? })
    }
}

pub(super) fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u64::from_le_bytes(*bytes))
}

pub(super) fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u32::from_le_bytes(*bytes))
}

/// Where the sections are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) keys: Section,
    pub(super) orgs: Section,
    pub(super) offsets: Section,
    pub(super) notices: Section,
}

impl Layout {
    /// That of a file with so much in it.
    pub(super) fn of(counts: &Counts) -> Self {
        let index = counts.keys.div_ceil(Part::Keys.block_records()) * to_u64(INDEX_BYTES);
        let start = to_u64(HEADER_BYTES) + index;
        let keys = Section { part: Part::Keys, start, records: counts.keys };
        let orgs = Section { part: Part::Orgs, start: keys.end(), records: counts.orgs };
        let offsets = Section { part: Part::Offsets, start: orgs.end(), records: counts.entries };
        let notices = Section { part: Part::Notices, start: offsets.end(), records: counts.notices };
        Self { keys, orgs, offsets, notices }
    }

    /// Bytes of the whole file.
    pub(super) fn file_bytes(&self) -> u64 {
        self.notices.end()
    }

    pub(super) const fn sections(&self) -> [Section; 4] {
        [self.keys, self.orgs, self.offsets, self.notices]
    }
}

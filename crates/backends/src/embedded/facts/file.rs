//! The facts of a sealed segment, read from its file a block at a time. Only the index of the keys is in memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tollgate_storage::{StoreError, StoreErrorKind};
use xxhash_rust::xxh3::xxh3_64;

use super::super::error::{corrupt, io_error};
use super::super::io::{Disk, DiskFile, to_u64};
use super::super::limits::FACTS_FILES_OPEN_MAX;
use super::super::sync::RwLock;
use super::layout::{CHECKSUM_BYTES, HEADER_BYTES, Header, INDEX_BYTES, Layout, Part, Section};
use super::{Fingerprint, Notices, Place, facts_name, half_of, unpoisoned};

/// Steps by which a search goes where the fingerprints say; then it halves, so that made-up ones do not slow it down.
const GUESSES_MAX: u32 = 4;

/// Blocks before and behind the expected one that are looked at first: of half a million keys nearly all are within ten.
const INDEX_NEAR: usize = 32;

/// The files of one folder; those used are open, the newest of them stay so.
#[derive(Debug)]
pub(super) struct Files {
    disk: Disk,
    dir: PathBuf,
    open: RwLock<BTreeMap<u32, Arc<DiskFile>>>,
}

impl Files {
    pub(super) const fn new(disk: Disk, dir: PathBuf) -> Self {
        Self { disk, dir, open: RwLock::new(BTreeMap::new()) }
    }

    pub(super) fn path(&self, ordinal: u32) -> PathBuf {
        self.dir.join(facts_name(ordinal))
    }

    fn get(&self, ordinal: u32) -> Result<Arc<DiskFile>, StoreError> {
        let known = unpoisoned(self.open.read()).get(&ordinal).cloned();
        if let Some(file) = known {
            return Ok(file);
        }
        let path = self.path(ordinal);
        let file = self.disk.open(&path).map(Arc::new).map_err(|source| io_error("open", &path, source))?;
        let mut open = unpoisoned(self.open.write());
        open.insert(ordinal, Arc::clone(&file));
        while open.len() > FACTS_FILES_OPEN_MAX {
            open.pop_first();
        }
        Ok(file)
    }

    /// Reads up to the length of `buffer`; says how much there was.
    fn read(&self, ordinal: u32, offset: u64, buffer: &mut [u8]) -> Result<usize, StoreError> {
        let file = self.get(ordinal)?;
        file.read_full_at(buffer, offset).map_err(|source| io_error("read", &self.path(ordinal), source))
    }

    /// Keeps a file open no longer that is another one from now on.
    pub(super) fn forget(&self, ordinal: u32) {
        unpoisoned(self.open.write()).remove(&ordinal);
    }

    /// Takes a file away when it is damaged, so that it is made again when the store is opened next; who has it open
    /// reads the rest of it.
    pub(super) fn heal(&self, ordinal: u32, error: StoreError) -> StoreError {
        if error.kind() != StoreErrorKind::Corrupt {
            return error;
        }
        // Removed before, or it stays and is refused again.
        drop(self.disk.remove(&self.path(ordinal)));
        let text = format!("{error}; it is made again from its segment when the store is opened next");
        StoreError::new(StoreErrorKind::Corrupt, text)
    }
}

/// One file.
#[derive(Clone, Debug)]
pub(super) struct FactsFile {
    pub(super) header: Header,
    layout: Layout,
    /// First half of the first fingerprint of each block of keys; `None` once the keys have expired.
    index: Option<Arc<[u64]>>,
}

/// Entries of an org in one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: u64,
    pub(super) count: u64,
    /// Which of the file's offsets is that of the first.
    pub(super) start: u64,
}

impl FactsFile {
    /// One that was just written.
    pub(super) fn written(header: Header, index: Vec<u64>) -> Self {
        Self { header, layout: Layout::of(&header.counts), index: Some(index.into()) }
    }

    /// Opens the file of a segment.
    ///
    /// # Errors
    /// Corrupt when it is not whole; Io when it cannot be read.
    pub(super) fn open(files: &Files, ordinal: u32) -> Result<Self, StoreError> {
        let path = files.path(ordinal);
        let mut header = [0; HEADER_BYTES];
        files.read(ordinal, 0, &mut header)?;
        let header = Header::decode(&header, ordinal)
            .ok_or_else(|| corrupt(&path, 0, "not the header of the facts of its segment"))?;
        let layout = Layout::of(&header.counts);
        let len = files.get(ordinal)?.len().map_err(|source| io_error("measure", &path, source))?;
        let wanted = layout.file_bytes();
        if len != wanted {
            let what = format!("the file has {len} bytes and should have {wanted}");
            return Err(corrupt(&path, len.min(wanted), what));
        }
        let index_bytes = to_usize(layout.keys.blocks()).saturating_mul(INDEX_BYTES);
        let mut bytes = vec![0; index_bytes];
        files.read(ordinal, to_u64(HEADER_BYTES), &mut bytes)?;
        if xxh3_64(&bytes) != header.index_checksum {
            return Err(corrupt(&path, to_u64(HEADER_BYTES), "the index of its keys"));
        }
        let index = bytes.as_chunks::<INDEX_BYTES>().0.iter().map(|half| u64::from_be_bytes(*half)).collect();
        Ok(Self { header, layout, index: Some(index) })
    }

    pub(super) const fn ordinal(&self) -> u32 {
        self.header.last.segment
    }

    /// Whether its keys are searched.
    pub(super) const fn has_live_keys(&self) -> bool {
        self.index.is_some() && self.header.counts.keys > 0
    }

    /// The same without its keys.
    pub(super) fn without_keys(&self) -> Self {
        Self { index: None, ..*self }
    }

    /// Checks every block.
    pub(super) fn check(&self, files: &Files) -> Result<(), StoreError> {
        for section in self.layout.sections() {
            for number in 0..section.blocks() {
                self.block(files, section, number)?;
            }
        }
        Ok(())
    }

    /// The records of a block.
    fn block(&self, files: &Files, section: Section, number: u64) -> Result<Vec<u8>, StoreError> {
        let (offset, len) = section.block(number);
        let mut bytes = vec![0; len + CHECKSUM_BYTES];
        let read = files.read(self.ordinal(), offset, &mut bytes)?;
        let damaged = |what: &str| corrupt(&files.path(self.ordinal()), offset, what);
        let whole = bytes.get(..read).and_then(|bytes| bytes.split_last_chunk::<CHECKSUM_BYTES>());
        let (records, checksum) = whole.ok_or_else(|| damaged("a block is cut short"))?;
        if section.part.checksum(self.ordinal(), number, records) != u64::from_le_bytes(*checksum) {
            return Err(damaged("the checksum of a block does not match its content"));
        }
        bytes.truncate(len);
        Ok(bytes)
    }

    /// Adds the places of a key's entries, oldest first.
    pub(super) fn find_key(
        &self,
        files: &Files,
        fingerprint: Fingerprint,
        found: &mut Vec<Place>,
    ) -> Result<(), StoreError> {
        let Some(index) = self.index.as_deref() else { return Ok(()) };
        let half = half_of(fingerprint);
        // The last block that starts before it, and all that start with the same half.
        let (start, near) = near(index, half);
        let from = start + near.partition_point(|first| *first < half).saturating_sub(1);
        let to = start + near.partition_point(|first| *first <= half);
        for number in from..to {
            let block = self.block(files, self.layout.keys, to_u64(number))?;
            let records = block.as_chunks::<20>().0;
            let start = records.partition_point(|record| key_of(record) < fingerprint);
            let rest = records.get(start..).unwrap_or_default();
            let same = rest.iter().take_while(|record| key_of(*record) == fingerprint);
            found.extend(same.map(|record| Place { segment: self.ordinal(), offset: last_u32(record) }));
        }
        Ok(())
    }

    /// Gives the fingerprints of a block of keys; `None` behind the last.
    pub(super) fn key_block(
        &self,
        files: &Files,
        number: u64,
    ) -> Result<Option<Vec<Fingerprint>>, StoreError> {
        self.fingerprints(files, self.layout.keys, number)
    }

    /// Gives the fingerprints of a block of orgs; `None` behind the last.
    pub(super) fn org_block(
        &self,
        files: &Files,
        number: u64,
    ) -> Result<Option<Vec<Fingerprint>>, StoreError> {
        self.fingerprints(files, self.layout.orgs, number)
    }

    fn fingerprints(
        &self,
        files: &Files,
        section: Section,
        number: u64,
    ) -> Result<Option<Vec<Fingerprint>>, StoreError> {
        if number >= section.blocks() {
            return Ok(None);
        }
        let block = self.block(files, section, number)?;
        Ok(Some(block.chunks_exact(section.part.record_bytes()).map(key_of).collect()))
    }

    /// Where an org's entries are. Orgs are sorted by fingerprints that are spread evenly, so it is known about where.
    pub(super) fn run(&self, files: &Files, org: Fingerprint) -> Result<Option<Run>, StoreError> {
        let section = self.layout.orgs;
        let (mut from, mut to) = (0, section.blocks());
        let spread = |fingerprint: Fingerprint| {
            let records = (u128::from(half_of(fingerprint)) * u128::from(section.records)) >> 64;
            u64::try_from(records).unwrap_or(u64::MAX) / Part::Orgs.block_records()
        };
        let mut guess = spread(org);
        let mut guesses = 0;
        while from < to {
            let number = if guesses < GUESSES_MAX { guess.clamp(from, to - 1) } else { from.midpoint(to) };
            guesses += 1;
            let block = self.block(files, section, number)?;
            let records = block.as_chunks::<32>().0;
            let (Some(first), Some(last)) = (records.first(), records.last()) else { break };
            if org < key_of(first) {
                to = number;
                guess = number.saturating_sub(spread(key_of(first)).saturating_sub(spread(org)).max(1));
            } else if org > key_of(last) {
                from = number + 1;
                guess = number.saturating_add(spread(org).saturating_sub(spread(key_of(last))).max(1));
            } else {
                let place = records.binary_search_by_key(&org, |record| key_of(record)).ok();
                return Ok(place.and_then(|place| records.get(place)).and_then(decode_run));
            }
        }
        Ok(None)
    }

    /// Offsets of an org's entries: `count` of them, from the `skip`-th on.
    pub(super) fn offsets(
        &self,
        files: &Files,
        run: Run,
        skip: u64,
        count: u64,
    ) -> Result<Vec<u32>, StoreError> {
        let section = self.layout.offsets;
        let from = run.start.saturating_add(skip);
        let to = from.saturating_add(count).min(run.start.saturating_add(run.count)).min(section.records);
        let each = section.part.block_records();
        let mut found = Vec::with_capacity(to_usize(to.saturating_sub(from)));
        let mut at = from;
        while at < to {
            let block = self.block(files, section, at / each)?;
            let until = to.min((at / each + 1) * each);
            let records = block.as_chunks::<4>().0.get(to_usize(at % each)..).unwrap_or_default();
            found.extend(records.iter().take(to_usize(until - at)).map(|bytes| u32::from_le_bytes(*bytes)));
            at = until;
        }
        Ok(found)
    }

    /// Adds the entries with notices at or behind an offset, up to a limit for all.
    pub(super) fn notices_from(
        &self,
        files: &Files,
        offset: u32,
        limit: usize,
        found: &mut Vec<Notices>,
    ) -> Result<(), StoreError> {
        let section = self.layout.notices;
        let (mut from, mut to) = (0, section.blocks());
        // The block before the first that starts at or behind the offset may end behind it.
        while offset > 0 && from < to {
            let number = from.midpoint(to);
            let block = self.block(files, section, number)?;
            if block.as_chunks::<8>().0.first().is_some_and(|record| notice_of(*record).0 < offset) {
                from = number + 1;
            } else {
                to = number;
            }
        }
        for number in from.saturating_sub(1)..section.blocks() {
            if found.len() >= limit {
                break;
            }
            let block = self.block(files, section, number)?;
            let records = block.as_chunks::<8>().0.iter().map(|record| notice_of(*record));
            let wanted = records.filter(|(at, _)| *at >= offset).take(limit - found.len());
            found.extend(
                wanted.map(|(offset, count)| Notices {
                    place: Place { segment: self.ordinal(), offset },
                    count,
                }),
            );
        }
        Ok(())
    }
}

/// The part of an index around where a fingerprint is to be expected, which spares the memory of the rest, and where it
/// starts; all of it if the fingerprint is elsewhere.
fn near(index: &[u64], half: u64) -> (usize, &[u64]) {
    let expected =
        to_usize(u64::try_from((u128::from(half) * u128::from(to_u64(index.len()))) >> 64).unwrap_or(0));
    let (start, end) =
        (expected.saturating_sub(INDEX_NEAR), expected.saturating_add(INDEX_NEAR).min(index.len()));
    let part = index.get(start..end).unwrap_or_default();
    let begins_before = start == 0 || part.first().is_some_and(|first| *first < half);
    let ends_behind = end == index.len() || part.last().is_some_and(|last| *last > half);
    if begins_before && ends_behind { (start, part) } else { (0, index) }
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The fingerprint that a record starts with.
fn key_of(record: &[u8]) -> Fingerprint {
    record.first_chunk().copied().unwrap_or_default()
}

fn last_u32(record: &[u8]) -> u32 {
    record.last_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn decode_run(record: &[u8; 32]) -> Option<Run> {
    let mut rest = record.get(16..)?;
    let first = super::layout::take_u64(&mut rest)?;
    let [count, start] = [super::layout::take_u32(&mut rest)?, super::layout::take_u32(&mut rest)?];
    Some(Run { first, count: count.into(), start: start.into() })
}

fn notice_of(record: [u8; 8]) -> (u32, u32) {
    let mut rest = &record[..];
    let offset = super::layout::take_u32(&mut rest).unwrap_or(0);
    (offset, super::layout::take_u32(&mut rest).unwrap_or(0))
}

/// Removes files by name whose content is of no use any more.
pub(super) fn remove_stale(disk: &Disk, path: &Path, why: &StoreError) -> Result<(), StoreError> {
    tracing::warn!(error = %why, "a file of facts is damaged; it is made again");
    disk.remove(path).map_err(|source| io_error("remove", path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_an_index_answers_as_all_of_it() {
        let mut rng = fastrand::Rng::with_seed(12);
        for round in 0..60 {
            // Spread evenly, with many of the same, or all in one place.
            let bits = [0, 0, 58, 40][round % 4];
            let mut index: Vec<u64> =
                (0..rng.usize(..4_000)).map(|_| rng.u64(..) >> bits << (bits / 2)).collect();
            index.sort_unstable();
            for _ in 0..200 {
                let half = if rng.bool() { rng.u64(..) } else { rng.choice(&index).copied().unwrap_or(7) };
                let (start, part) = near(&index, half);
                let before = index.partition_point(|first| *first < half);
                let behind = index.partition_point(|first| *first <= half);
                let from = start + part.partition_point(|first| *first < half).saturating_sub(1);
                assert_eq!(from, before.saturating_sub(1));
                assert_eq!(start + part.partition_point(|first| *first <= half), behind);
            }
        }
    }
}

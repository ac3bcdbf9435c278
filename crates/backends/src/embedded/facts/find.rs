//! Queries: one view of all facts, newest first.

use std::ops::RangeInclusive;
use std::sync::Arc;

use tollgate_storage::StoreError;

use super::super::error::{corrupt, io_error};
use super::super::frame::{ENTRY_PREFIX_BYTES, decode_entry};
use super::file::{FactsFile, Files, Run};
use super::group::Group;
use super::keep::Keeping;
use super::table::Table;
use super::{Facts, Fingerprint, Notices, Place, View};

/// Bytes read for an entry before its length is known: most are shorter.
const ENTRY_READ_BYTES: usize = 1024;

/// Where the entries may be that a key made, newest first; files are read as it goes on.
#[derive(Debug)]
pub(crate) struct KeyPlaces<'a> {
    keeping: &'a Keeping,
    fingerprint: Fingerprint,
    /// Places of one segment, and segments still to be looked into: the next is last.
    found: Vec<Place>,
    left: Vec<Source>,
}

/// The facts of one segment.
#[derive(Clone, Debug)]
enum Source {
    Table(Arc<Table>),
    File(Arc<FactsFile>),
}

impl Iterator for KeyPlaces<'_> {
    type Item = Result<Place, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(place) = self.found.pop() {
                return Some(Ok(place));
            }
            match self.left.pop()? {
                Source::Table(table) => table.find_key(self.fingerprint, &mut self.found),
                Source::File(file) => {
                    let files = &self.keeping.files;
                    if let Err(error) = file.find_key(files, self.fingerprint, &mut self.found) {
                        self.left.clear();
                        return Some(Err(files.heal(file.ordinal(), error)));
                    }
                }
            }
        }
    }
}

impl Source {
    fn ordinal(&self) -> u32 {
        match self {
            Self::Table(table) => table.ordinal,
            Self::File(file) => file.ordinal(),
        }
    }

    fn run(&self, files: &Files, org: Fingerprint) -> Result<Option<Run>, StoreError> {
        match self {
            Self::Table(table) => Ok(table.run(org)),
            Self::File(file) => file.run(files, org).map_err(|error| files.heal(file.ordinal(), error)),
        }
    }

    fn offsets(
        &self,
        files: &Files,
        org: Fingerprint,
        run: Run,
        numbers: RangeInclusive<u64>,
    ) -> Result<Vec<u32>, StoreError> {
        let skip = numbers.start().saturating_sub(run.first);
        let count = numbers.end().saturating_sub(*numbers.start()).saturating_add(1);
        match self {
            Self::Table(table) => Ok(table.offsets(org, skip, count)),
            Self::File(file) => {
                file.offsets(files, run, skip, count).map_err(|error| files.heal(file.ordinal(), error))
            }
        }
    }

    fn notices_from(
        &self,
        files: &Files,
        offset: u32,
        limit: usize,
        found: &mut Vec<Notices>,
    ) -> Result<(), StoreError> {
        match self {
            Self::Table(table) => {
                table.notices_from(offset, limit, found);
                Ok(())
            }
            Self::File(file) => {
                let read = file.notices_from(files, offset, limit, found);
                read.map_err(|error| files.heal(file.ordinal(), error))
            }
        }
    }
}

impl Facts {
    /// Where the entries may be that a key made, newest first: of keys with this fingerprint, which is another key's
    /// once in 2^128.
    pub(crate) fn find_key(&self, fingerprint: u128) -> KeyPlaces<'_> {
        self.find_key_in(&self.keeping.view(), fingerprint)
    }

    /// The same for many keys, one after the other; what is added meanwhile is not found.
    pub(crate) fn find_keys<'a>(&'a self) -> impl Fn(u128) -> KeyPlaces<'a> {
        let view = self.keeping.view();
        move |fingerprint| self.find_key_in(&view, fingerprint)
    }

    fn find_key_in(&self, view: &View, fingerprint: u128) -> KeyPlaces<'_> {
        let fingerprint = fingerprint.to_be_bytes();
        let mut left = Vec::new();
        for group in Group::that_may_hold_key(&view.groups, fingerprint) {
            let files = group.files.values().filter(|file| file.has_live_keys());
            left.extend(files.map(|file| Source::File(Arc::clone(file))));
        }
        let tables = view.tables.iter().filter(|table| table.holds_key(fingerprint));
        left.extend(tables.map(|table| Source::Table(Arc::clone(table))));
        left.sort_by_key(Source::ordinal);
        KeyPlaces { keeping: &self.keeping, fingerprint, found: Vec::new(), left }
    }

    /// Where the entries of an org with these numbers are, sorted; the range bounds how many. Segments before `since`
    /// are not looked into: who knows that all of them are later saves what it costs to find that out.
    ///
    /// # Errors
    /// When a file is damaged or cannot be read, or when entries between others are nowhere.
    pub(crate) fn locate(
        &self,
        org: u128,
        numbers: RangeInclusive<u64>,
        since: u32,
    ) -> Result<Vec<(u64, Place)>, StoreError> {
        let view = self.keeping.view();
        let mut search = OrgSearch::new(&self.keeping.files, &view, org.to_be_bytes(), since);
        let start = search.newest_up_to(*numbers.end())?;
        search.collect(start, &numbers)
    }

    /// The number of an org's newest entry, unless that is in a segment before `since`: those are not looked into.
    ///
    /// # Errors
    /// As [`Self::locate`].
    pub(crate) fn newest(&self, org: u128, since: u32) -> Result<Option<u64>, StoreError> {
        let view = self.keeping.view();
        let mut search = OrgSearch::new(&self.keeping.files, &view, org.to_be_bytes(), since);
        let end = search.sources.len();
        Ok(search.holder(0, end)?.map(|(_, run)| run.first + run.count - 1))
    }

    /// Entries with notices, at a place or behind it, in the ledger's order; at most `limit` of them.
    ///
    /// # Errors
    /// When a file is damaged or cannot be read.
    pub(crate) fn notices_from(&self, place: Place, limit: usize) -> Result<Vec<Notices>, StoreError> {
        let view = self.keeping.view();
        let groups = view.groups.iter().filter(|group| group.last >= place.segment);
        let files = groups.flat_map(|group| group.files.range(place.segment..));
        let files = files.filter(|(_, file)| file.header.counts.notices > 0);
        let mut sources: Vec<_> = files.map(|(_, file)| Source::File(Arc::clone(file))).collect();
        let tables = view.tables.iter().filter(|table| table.ordinal >= place.segment);
        sources.extend(tables.map(|table| Source::Table(Arc::clone(table))));
        sources.sort_by_key(Source::ordinal);
        let mut found = Vec::new();
        for source in sources {
            if found.len() >= limit {
                break;
            }
            let offset = if source.ordinal() == place.segment { place.offset } else { 0 };
            source.notices_from(&self.keeping.files, offset, limit, &mut found)?;
        }
        Ok(found)
    }
}

impl Facts {
    /// Reads the entry at a place and checks it.
    ///
    /// # Errors
    /// When it is damaged or cannot be read.
    pub(crate) fn read_entry(&self, place: Place) -> Result<Vec<u8>, StoreError> {
        let segment = self.keeping.segments.get(place.segment)?;
        let offset = u64::from(place.offset);
        let room = usize::try_from(segment.bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; ENTRY_READ_BYTES.min(room)];
        let read = |bytes: &mut Vec<u8>| -> Result<(), StoreError> {
            let read = segment.file.read_full_at(bytes, offset);
            bytes.truncate(read.map_err(|source| io_error("read", &segment.path, source))?);
            Ok(())
        };
        read(&mut bytes)?;
        let len = bytes.first_chunk().map_or(0, |len| u32::from_le_bytes(*len));
        let whole = usize::try_from(len).unwrap_or(usize::MAX).saturating_add(ENTRY_PREFIX_BYTES);
        if whole > bytes.len() && whole <= room {
            bytes.resize(whole, 0);
            read(&mut bytes)?;
        }
        let damaged = |error| corrupt(&segment.path, offset, error);
        let blob_len = decode_entry(&bytes).map_err(damaged)?.len();
        bytes.truncate(ENTRY_PREFIX_BYTES + blob_len);
        Ok(bytes.split_off(ENTRY_PREFIX_BYTES))
    }
}

/// A search for entries of one org. Each segment says itself whether it holds some; each is asked once.
struct OrgSearch<'a> {
    files: &'a Files,
    org: Fingerprint,
    /// Newest first: those that may hold some.
    sources: Vec<Source>,
    asked: Vec<Option<Option<Run>>>,
}

impl<'a> OrgSearch<'a> {
    fn new(files: &'a Files, view: &View, org: Fingerprint, since: u32) -> Self {
        let groups = view.groups.iter().filter(|group| group.last >= since && group.may_hold_org(org));
        let held = groups.flat_map(|group| group.files.range(since..));
        let mut sources: Vec<_> = held.map(|(_, file)| Source::File(Arc::clone(file))).collect();
        let tables = view.tables.iter().filter(|table| table.ordinal >= since);
        sources.extend(tables.map(|table| Source::Table(Arc::clone(table))));
        sources.sort_by_key(|source| std::cmp::Reverse(source.ordinal()));
        let asked = vec![None; sources.len()];
        Self { files, org, sources, asked }
    }

    fn ask(&mut self, at: usize) -> Result<Option<Run>, StoreError> {
        let (Some(source), Some(asked)) = (self.sources.get(at), self.asked.get_mut(at)) else {
            return Ok(None);
        };
        if let Some(answer) = asked {
            return Ok(*answer);
        }
        let answer = source.run(self.files, self.org)?;
        *asked = Some(answer);
        Ok(answer)
    }

    /// The first source in a range that holds some, and which.
    fn holder(&mut self, from: usize, to: usize) -> Result<Option<(usize, Run)>, StoreError> {
        for at in from..to {
            if let Some(run) = self.ask(at)? {
                return Ok(Some((at, run)));
            }
        }
        Ok(None)
    }

    /// The newest source with an entry that has this number or an earlier one. What is new is near: it goes back in
    /// steps that double, then halves the last of them.
    fn newest_up_to(&mut self, number: u64) -> Result<usize, StoreError> {
        let end = self.sources.len();
        let (mut low, mut high, mut step) = (0, end, 1);
        let mut at = 0;
        while at < end {
            let Some((holder, run)) = self.holder(at, end)? else {
                high = at;
                break;
            };
            if run.first <= number {
                high = holder;
                break;
            }
            low = holder + 1;
            at = holder.saturating_add(step).min(end);
            step *= 2;
        }
        while low < high {
            let middle = low.midpoint(high);
            match self.holder(middle, high)? {
                Some((holder, run)) if run.first > number => low = holder + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// The entries of these numbers from a source on, back to the first of them.
    fn collect(
        &mut self,
        mut at: usize,
        numbers: &RangeInclusive<u64>,
    ) -> Result<Vec<(u64, Place)>, StoreError> {
        let mut pieces = Vec::new();
        let mut newer: Option<u64> = None;
        while let Some((holder, run)) = self.holder(at, self.sources.len())? {
            let Some(source) = self.sources.get(holder) else { break };
            if newer.is_some_and(|newer| run.first + run.count != newer) {
                let what = "entries of an org between others are in no segment";
                return Err(corrupt(&self.files.path(source.ordinal()), 0, what));
            }
            newer = Some(run.first);
            let from = run.first.max(*numbers.start());
            let to = (run.first + run.count - 1).min(*numbers.end());
            if from <= to {
                let offsets = source.offsets(self.files, self.org, run, from..=to)?;
                pieces.push((from, source.ordinal(), offsets));
            }
            if run.first <= *numbers.start() {
                break;
            }
            at = holder + 1;
        }
        let places = pieces.into_iter().rev().flat_map(|(from, segment, offsets)| {
            (from..).zip(offsets.into_iter().map(move |offset| Place { segment, offset }))
        });
        Ok(places.collect())
    }
}

//! Facts: what never changes once an entry is written. Which entry a key made, where an org's entries are, which of them
//! hold notices. All of it follows from the segments, so a file that is missing or damaged is made again.
//!
//! ```text
//! in memory                open and sealing tables: the facts of segments that have no file yet      table
//! DIR/ledger/N.facts       of a segment that is left, sorted; read a block at a time                  layout, write, file
//! DIR/ledger/N.filter      filters over consecutive segments, all in memory                           group, filter
//! ```
//! The writer adds the facts of each frame to the open table. When the ledger goes on to the next segment, the keeper
//! (`keep.rs`) writes the table's file and exchanges one for the other in one step, so that at every moment a query
//! (`find.rs`) finds each fact in one place. Queries take a view, and hold no lock while they read files.
//!
//! A key past its keep time is found until all of its segment is: whoever asks judges by the entry.

mod file;
mod filter;
mod find;
mod group;
mod keep;
mod layout;
mod open;
mod table;
mod write;

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod tests;

use std::sync::{Arc, LockResult, PoisonError};

use tollgate_storage::StoreError;

pub(crate) use self::find::KeyPlaces;
use self::group::Group;
use self::keep::Keeping;
use self::table::Table;
use super::error::{corrupt, io_error};
use super::limits::FACTS_GROUP_FILES_MAX;
use super::options::Work;
use super::segment::Segments;
use super::sync::thread::{self, JoinHandle};
use super::walk::Position;

/// 128 bits of hash as they sort.
type Fingerprint = [u8; 16];

/// What follows from one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryFacts {
    /// Fingerprint of its org.
    pub(crate) org: u128,
    /// Its number in the org; each org's numbers are consecutive.
    pub(crate) number: u64,
    /// Where it is.
    pub(crate) place: Place,
    /// Fingerprint of the key that made it.
    pub(crate) key: Option<u128>,
    /// Fingerprint, among reversals, of the key of the usage that it takes back.
    pub(crate) reverses: Option<u128>,
    /// How many notices it holds.
    pub(crate) notices: u32,
    /// Its time in seconds since 1970.
    pub(crate) at_secs: i64,
}

/// Where an entry is; its length stands there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Which segment.
    pub(crate) segment: u32,
    /// Offset of the entry's prefix in it.
    pub(crate) offset: u32,
}

/// An entry that holds notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Notices {
    pub(crate) place: Place,
    /// How many.
    pub(crate) count: u32,
}

/// What may be set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FactsOptions {
    /// How long keys are searched after their time, in seconds of the ledger.
    pub(crate) key_keep_secs: i64,
    /// Most segments in a group.
    pub(crate) group_files_max: usize,
    /// Who seals.
    pub(crate) work: Work,
}

impl FactsOptions {
    /// The usual ones.
    pub(crate) const fn new(key_keep_secs: i64, work: Work) -> Self {
        Self { key_keep_secs, group_files_max: FACTS_GROUP_FILES_MAX, work }
    }
}

/// The facts of a ledger. One thread adds; any ask.
#[derive(Debug)]
pub(crate) struct Facts {
    keeping: Arc<Keeping>,
    keeper: Option<JoinHandle<()>>,
    damaged: Vec<StoreError>,
}

/// The facts of one moment.
#[derive(Clone, Debug, Default)]
struct View {
    /// By segment; the last is the open one.
    tables: Vec<Arc<Table>>,
    /// By segment.
    groups: Vec<Arc<Group>>,
}

impl Facts {
    /// Opens the facts of the segments up to `last`; those it says lack a file are to be walked, in order, and what is
    /// found to be [added](Self::add) before anything is asked.
    ///
    /// # Errors
    /// When a file cannot be read; one that is damaged is removed, and its segment lacks it.
    pub(crate) fn open(
        segments: Arc<Segments>,
        last: u32,
        options: FactsOptions,
    ) -> Result<(Self, Vec<u32>), StoreError> {
        let open::Opened { keeping, missing, damaged } = open::open(segments, last, options)?;
        let keeping = Arc::new(keeping);
        let keeper = match options.work {
            Work::Inline => {
                keeping.work_off();
                None
            }
            Work::Background => {
                let keeps = Arc::clone(&keeping);
                let spawned = thread::Builder::new()
                    .name("tollgate-facts".into())
                    .spawn(move || keeps.keep_until_closed());
                Some(
                    spawned
                        .map_err(|source| io_error("start a thread for", &keeping.segments.dir, source))?,
                )
            }
        };
        Ok((Self { keeping, keeper, damaged }, missing))
    }

    /// Why files were removed at opening and are made again. Files are renamed into place when they are durable, so
    /// neither a kill nor a power cut leads here: the disk changed what was written.
    pub(crate) fn damaged_at_opening(&self) -> &[StoreError] {
        &self.damaged
    }

    /// The last frame of a segment that has a file.
    pub(crate) fn last_frame(&self, ordinal: u32) -> Option<Position> {
        let view = self.keeping.view();
        let file = view.groups.iter().find_map(|group| group.files.get(&ordinal))?;
        Some(file.header.last)
    }

    /// Takes the facts of a frame that is durable. The first of a further segment seals the one before.
    ///
    /// # Errors
    /// Corrupt when the segment was left, or an entry does not follow its org's one before it in the segment: the
    /// ledger is not the one that it was.
    pub(crate) fn add(
        &self,
        frame: &Position,
        facts: impl IntoIterator<Item = EntryFacts>,
    ) -> Result<(), StoreError> {
        let path = self.keeping.segments.path(frame.segment);
        let open = self.keeping.view().tables.last().map(Arc::clone);
        if let Some(table) = open.as_ref().filter(|table| table.ordinal == frame.segment) {
            return table.add(&path, frame, facts);
        }
        let left = open.is_some_and(|table| table.ordinal > frame.segment);
        if left || self.last_frame(frame.segment).is_some() {
            return Err(corrupt(&path, u64::from(frame.offset), "a frame in a segment that was left"));
        }
        let table = Arc::new(Table::new(frame.segment));
        table.add(&path, frame, facts)?;
        self.keeping.publish(|view| view.tables.push(table));
        self.keeping.wake();
        if self.keeper.is_none() {
            self.keeping.work_off();
        }
        Ok(())
    }

    /// Reads all files through.
    ///
    /// # Errors
    /// Corrupt when one is damaged, naming the first place: it is made again when the store is opened next. Io when one
    /// cannot be read.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let view = self.keeping.view();
        let mut files = view.groups.iter().flat_map(|group| group.files.values());
        let files_of = &self.keeping.files;
        files.try_for_each(|file| file.check(files_of).map_err(|error| files_of.heal(file.ordinal(), error)))
    }

    /// Seals and stores all there is to seal and store, on this thread.
    ///
    /// # Errors
    /// When a file cannot be written; it is tried again by itself.
    pub(crate) fn settle(&self) -> Result<(), StoreError> {
        while self.keeping.step()? {}
        Ok(())
    }
}

impl Drop for Facts {
    fn drop(&mut self) {
        self.keeping.close();
        if let Some(keeper) = self.keeper.take() {
            drop(keeper.join());
        }
    }
}

fn facts_name(ordinal: u32) -> String {
    format!("{ordinal:016x}{FACTS_SUFFIX}")
}

const FACTS_SUFFIX: &str = ".facts";

/// The first half of a fingerprint.
fn half_of(fingerprint: Fingerprint) -> u64 {
    fingerprint.first_chunk().map_or(0, |half| u64::from_be_bytes(*half))
}

/// The second half: in a table, the first says which sub-table.
fn hash_of(fingerprint: Fingerprint) -> u64 {
    fingerprint.last_chunk().map_or(0, |half| u64::from_be_bytes(*half))
}

impl View {
    /// The place of a group that holds the facts of a segment, or where one that does belongs.
    fn group_of(&self, ordinal: u32) -> Result<usize, usize> {
        let behind = self.groups.partition_point(|group| group.first <= ordinal);
        match behind.checked_sub(1).and_then(|place| Some((place, self.groups.get(place)?))) {
            Some((place, group)) if group.last >= ordinal => Ok(place),
            _ => Err(behind),
        }
    }
}

/// The lock's content, whoever panicked with it.
fn unpoisoned<T>(locked: LockResult<T>) -> T {
    locked.unwrap_or_else(PoisonError::into_inner)
}

//! Records that are durable in the ledger and not yet in the tables.

use std::collections::{BTreeSet, HashMap};

use foldhash::fast::RandomState;
use tollgate_domain::{Entry, OrgId, Partition, Record, RecordKey};
use tollgate_storage::codec::StoredNotice;

use super::segment::Location;
use super::walk::Position;

/// What is not folded of one partition.
#[derive(Debug, Default)]
pub(crate) struct PartOverlay {
    /// The records as they are.
    pub(crate) records: HashMap<RecordKey, Record, RandomState>,
    /// The number of the first of `entries`.
    pub(crate) first_entry: u64,
    /// Where the entries lie, by number, without gaps.
    pub(crate) entries: Vec<Location>,
    /// The notices of those entries, each with where its entry lies and its place in it.
    pub(crate) notices: Vec<(Location, u32, StoredNotice)>,
}

/// What is not folded.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    pub(crate) orgs: HashMap<OrgId, PartOverlay, RandomState>,
    pub(crate) system: PartOverlay,
    /// Which of the records say what is unsent.
    pub(crate) unsent: BTreeSet<RecordKey>,
    /// Records in all partitions.
    pub(crate) records: usize,
    /// Entries in all partitions.
    pub(crate) entries: u64,
    /// The newest frame in here.
    pub(crate) position: Position,
    /// The latest time of an entry in here, in seconds since 1970.
    pub(crate) latest_secs: i64,
}

impl PartOverlay {
    /// Where an entry lies.
    pub(crate) fn location(&self, number: u64) -> Option<Location> {
        let index = usize::try_from(number.checked_sub(self.first_entry)?).ok()?;
        self.entries.get(index).copied()
    }

    /// Adds an entry with its notices; entries come in the order of their numbers.
    pub(crate) fn add_entry(&mut self, org: &OrgId, entry: &Entry, location: Location) {
        if self.entries.is_empty() {
            self.first_entry = entry.number;
        }
        self.entries.push(location);
        for (index, notice) in (0..).zip(&entry.notices) {
            let (org, notice) = (org.clone(), notice.clone());
            let stored = StoredNotice { org, entry: entry.number, at: entry.at, notice };
            self.notices.push((location, index, stored));
        }
    }
}

impl Overlay {
    /// What is here of a partition, if anything.
    pub(crate) fn part(&self, org: Option<&OrgId>) -> Option<&PartOverlay> {
        org.map_or(Some(&self.system), |org| self.orgs.get(org))
    }

    /// What is here of a partition, to change it.
    pub(crate) fn part_mut(&mut self, partition: &Partition) -> &mut PartOverlay {
        match partition {
            Partition::System => &mut self.system,
            Partition::Org(org) => self.orgs.entry(org.clone()).or_default(),
        }
    }

    /// A record, if it is here.
    pub(crate) fn get(&self, key: &RecordKey) -> Option<&Record> {
        self.part(key.org())?.records.get(key)
    }

    /// Remembers records as they are now.
    pub(crate) fn put(
        &mut self,
        partition: &Partition,
        records: impl IntoIterator<Item = (RecordKey, Record)>,
    ) {
        let part = match partition {
            Partition::System => &mut self.system,
            Partition::Org(org) => self.orgs.entry(org.clone()).or_default(),
        };
        let before = part.records.len();
        for (key, record) in records {
            if let RecordKey::Unsent(..) = key {
                self.unsent.insert(key.clone());
            }
            part.records.insert(key, record);
        }
        self.records += part.records.len() - before;
    }

    /// Counts entries that were added, and the latest second at which one of them was decided.
    pub(crate) fn count(&mut self, entries: u64, latest_secs: i64) {
        self.entries += entries;
        self.latest_secs = self.latest_secs.max(latest_secs);
    }

    /// Whether there is nothing to fold.
    pub(crate) const fn is_empty(&self) -> bool {
        self.entries == 0
    }
}

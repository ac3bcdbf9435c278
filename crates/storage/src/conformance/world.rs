//! What a store should hold: a naive model, and the builder of the appends that lead there.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;

use tollgate_domain::{
    Actor, ApiKeyId, Entry, EntryKind, KeyId, KeyRecord, KeySpace, Notice, OrgId, OrgState, Partition,
    Record, RecordKey, SystemEntry, SystemEntryKind, SystemRecords, Timestamp, UsageKey, apply_system,
    load_and_apply, touched_by_system,
};

use super::samples::moment;
use crate::{Append, EntryChange, Image, NoticeRow, Opened};

/// All that was appended, and all images that were kept, in the plainest way.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    /// As of now, those that are nothing among them.
    pub(super) records: BTreeMap<RecordKey, Record>,
    /// The versions at which they were last changed.
    changed_at: BTreeMap<RecordKey, u64>,
    /// As of the images.
    pub(super) imaged: BTreeMap<RecordKey, Record>,
    /// The number of each partition's latest entry.
    versions: BTreeMap<Partition, u64>,
    /// The versions of the images.
    images: BTreeMap<Partition, u64>,
    pub(super) entries: BTreeMap<(OrgId, u64), Arc<Entry>>,
    pub(super) system: Vec<SystemEntry>,
    keys: BTreeMap<KeyId, KeyRecord>,
    /// As they were appended.
    pub(super) notices: Vec<NoticeRow>,
    ticks: u32,
}

/// A line of an org's ledger, before it has a number and a time.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) kind: EntryKind,
    pub(super) notices: Vec<Notice>,
}

impl From<EntryKind> for Line {
    fn from(kind: EntryKind) -> Self {
        Self { kind, notices: Vec::new() }
    }
}

impl World {
    /// The next moment: all are different.
    pub(super) fn tick(&mut self) -> Timestamp {
        self.ticks += 1;
        moment(self.ticks)
    }

    /// An append to an org decided on what was appended, at the next moment.
    pub(super) fn append<L: Into<Line>>(
        &mut self,
        org: &OrgId,
        lines: impl IntoIterator<Item = L>,
    ) -> Append {
        let at = self.tick();
        self.append_at(at, org, lines)
    }

    /// An append to an org decided on what was appended.
    pub(super) fn append_at<L: Into<Line>>(
        &self,
        at: Timestamp,
        org: &OrgId,
        lines: impl IntoIterator<Item = L>,
    ) -> Append {
        append_of(org, at, self.org_version(org), lines.into_iter().map(Into::into))
    }

    /// An append to the system decided on what was appended, at the next moment.
    pub(super) fn system_append(&mut self, kinds: impl IntoIterator<Item = SystemEntryKind>) -> Append {
        let at = self.tick();
        let expected_version = self.version(&Partition::System);
        let entry = |(number, kind)| SystemEntry { number, at, actor: Actor::Local, kind };
        let entries = (expected_version + 1..).zip(kinds).map(entry).map(EntryChange::System).collect();
        Append { partition: Partition::System, expected_version, entries }
    }

    /// Remembers an append as made.
    pub(super) fn take(&mut self, append: &Append) {
        let changed = match &append.partition {
            Partition::Org(org) => self.take_org(org, &append.entries),
            Partition::System => self.take_system(&append.entries),
        };
        let version = append.entries.last().expect("an append has an entry").number();
        self.versions.insert(append.partition.clone(), version);
        self.changed_at.extend(changed.iter().map(|(key, _)| (key.clone(), version)));
        self.records.extend(changed);
    }

    fn take_org(&mut self, org: &OrgId, entries: &[EntryChange]) -> Vec<(RecordKey, Record)> {
        let mut state = OrgState::of(org.clone(), self.record(&RecordKey::Org(org.clone())));
        for entry in entries.iter().filter_map(of_org) {
            let found: Result<(), Infallible> = load_and_apply(&mut state, entry, |key| Ok(self.record(key)));
            let Ok(()) = found;
            let id = |space, key: &UsageKey| KeyId { org: org.clone(), space, key: key.clone() };
            if let Some((space, key, record)) = entry.made_key() {
                self.keys.insert(id(space, key), record);
            }
            if let Some(key) = entry.took_back_key() {
                let known = self.keys.get_mut(&id(KeySpace::Use, key)).expect("what was used is taken back");
                known.reversed_by = Some(entry.number);
            }
            for (index, notice) in (0..).zip(&entry.notices) {
                let (org, notice) = (org.clone(), notice.clone());
                self.notices.push(NoticeRow { org, entry: entry.number, index, at: entry.at, notice });
            }
            self.entries.insert((org.clone(), entry.number), Arc::new(entry.clone()));
        }
        state.take_changed()
    }

    fn take_system(&mut self, entries: &[EntryChange]) -> Vec<(RecordKey, Record)> {
        let mut records = SystemRecords::default();
        for entry in entries.iter().filter_map(of_system) {
            for key in touched_by_system(entry) {
                let record = self.record(&key);
                records.put(key, record);
            }
            apply_system(&mut records, entry);
            self.system.push(entry.clone());
        }
        records.changed().map(|(key, record)| (key.clone(), record.clone())).collect()
    }

    /// A record as of now.
    pub(super) fn record(&self, key: &RecordKey) -> Option<Record> {
        match key {
            RecordKey::Entry(org, number) => {
                self.entries.get(&(org.clone(), *number)).cloned().map(Record::Entry)
            }
            _ => self.records.get(key).filter(|record| !record.is_nothing()).cloned(),
        }
    }

    /// A record as the image of its partition has it; entries as of now.
    pub(super) fn in_image(&self, key: &RecordKey) -> Option<Record> {
        match key {
            RecordKey::Entry(..) => self.record(key),
            _ => self.imaged.get(key).filter(|record| !record.is_nothing()).cloned(),
        }
    }

    /// The keys of everything there is.
    pub(super) fn keys(&self) -> Vec<RecordKey> {
        let entries = self.entries.keys().map(|(org, number)| RecordKey::Entry(org.clone(), *number));
        self.records.keys().cloned().chain(entries).collect()
    }

    /// What is remembered of a caller's key.
    pub(super) fn find(&self, id: &KeyId) -> Option<KeyRecord> {
        self.keys.get(id).cloned()
    }

    /// All callers' keys.
    pub(super) fn key_ids(&self) -> Vec<KeyId> {
        self.keys.keys().cloned().collect()
    }

    /// All partitions that have entries.
    pub(super) fn partitions(&self) -> Vec<Partition> {
        self.versions.keys().cloned().collect()
    }

    /// The number of the latest entry of a partition.
    pub(super) fn version(&self, of: &Partition) -> u64 {
        self.versions.get(of).copied().unwrap_or(0)
    }

    /// The number of an org's latest entry.
    pub(super) fn org_version(&self, of: &OrgId) -> u64 {
        self.version(&Partition::Org(of.clone()))
    }

    /// One entry of an org.
    pub(super) fn entry(&self, of: &OrgId, number: u64) -> Option<Entry> {
        self.entries.get(&(of.clone(), number)).map(|entry| Entry::clone(entry))
    }

    /// The entries of an org.
    pub(super) fn entries(&self, of: &OrgId) -> Vec<Entry> {
        let range = (of.clone(), 0)..=(of.clone(), u64::MAX);
        self.entries.range(range).map(|(_, entry)| Entry::clone(entry)).collect()
    }

    /// The version of the image of a partition.
    pub(super) fn image_version(&self, of: &Partition) -> u64 {
        self.images.get(of).copied().unwrap_or(0)
    }

    /// As what a partition should be found.
    pub(super) fn opened(&self, of: &Partition) -> Opened {
        let image = self.image_version(of);
        let (head, entries) = match of {
            Partition::Org(org) => {
                let since = (org.clone(), image + 1)..=(org.clone(), u64::MAX);
                let since = self.entries.range(since).map(|(_, entry)| EntryChange::Org(Entry::clone(entry)));
                (RecordKey::Org(org.clone()), since.collect())
            }
            Partition::System => {
                let since = self.system.iter().filter(|entry| entry.number > image);
                (RecordKey::System, since.cloned().map(EntryChange::System).collect())
            }
        };
        Opened { head: self.imaged.get(&head).cloned(), entries }
    }

    /// The partitions whose images lack entries.
    pub(super) fn lacking(&self) -> BTreeSet<Partition> {
        let lacks = |(of, version): &(&Partition, &u64)| self.image_version(of) < **version;
        self.versions.iter().filter(lacks).map(|(of, _)| of.clone()).collect()
    }

    /// The image of a partition as it is now, if the one that was kept lacks entries.
    pub(super) fn image(&self, of: &Partition) -> Option<Image> {
        self.images_of([of.clone()]).pop()
    }

    /// The images as they are now of those partitions whose images lack entries.
    pub(super) fn images_of(&self, partitions: impl IntoIterator<Item = Partition>) -> Vec<Image> {
        let image = |partition: Partition| {
            let version = self.version(&partition);
            (partition.clone(), Image { partition, version, records: Vec::new() })
        };
        let mut images: BTreeMap<Partition, Image> = partitions.into_iter().map(image).collect();
        images.retain(|partition, image| self.image_version(partition) < image.version);
        let oldest = images.keys().map(|partition| self.image_version(partition)).min().unwrap_or(u64::MAX);
        for (key, changed_at) in self.changed_at.iter().filter(|(_, at)| **at > oldest) {
            let partition = key.partition();
            if let Some(image) = images.get_mut(&partition)
                && *changed_at > self.image_version(&partition)
            {
                image.records.push((key.clone(), self.records[key].clone()));
            }
        }
        images.into_values().collect()
    }

    /// Remembers images as kept, those that are newer.
    pub(super) fn keep(&mut self, images: &[Image]) {
        for image in images {
            if image.version > self.image_version(&image.partition) {
                self.images.insert(image.partition.clone(), image.version);
                self.imaged.extend(image.records.iter().cloned());
            }
        }
    }
}

/// An append to an org decided on a version.
pub(super) fn append_of(
    org: &OrgId,
    at: Timestamp,
    expected_version: u64,
    lines: impl IntoIterator<Item = Line>,
) -> Append {
    let entry = |(number, line): (u64, Line)| Entry {
        number,
        at,
        actor: Actor::Key(ApiKeyId(format!("{number:016x}"))),
        catalog: 1,
        kind: line.kind,
        settled: Vec::new(),
        notices: line.notices,
    };
    let entries = (expected_version + 1..).zip(lines).map(entry).map(EntryChange::Org).collect();
    Append { partition: Partition::Org(org.clone()), expected_version, entries }
}

/// The callers' keys that the entries of an append name.
pub(super) fn key_ids_of(append: &Append) -> Vec<KeyId> {
    let Partition::Org(org) = &append.partition else { return Vec::new() };
    let made = append.entries.iter().filter_map(of_org).filter_map(Entry::made_key);
    made.map(|(space, key, _)| KeyId { org: org.clone(), space, key: key.clone() }).collect()
}

fn of_org(change: &EntryChange) -> Option<&Entry> {
    if let EntryChange::Org(entry) = change { Some(entry) } else { None }
}

fn of_system(change: &EntryChange) -> Option<&SystemEntry> {
    if let EntryChange::System(entry) = change { Some(entry) } else { None }
}

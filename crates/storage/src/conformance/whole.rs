//! What a partition comes to: its image, and the entries since, put together the way every user of a store does.

use std::collections::BTreeMap;

use tollgate_domain::{
    OrgId, OrgState, PartKey, Partition, Record, RecordKey, SystemRecords, apply_system, load_and_apply,
    touched_by_system,
};

use super::Subject;
use super::harness::{Harness, by_partition};
use crate::{EntryChange, Image, Opened};

/// Openings after which an image that is always found to have moved is not believed.
const MOVES_MAX: u32 = 10_000;

/// The image that was opened is not there any more.
struct Moved;

impl<S: Subject> Harness<'_, S> {
    /// Records as of now: one answer per key.
    pub(super) fn records(&self, keys: &[RecordKey]) -> Vec<Option<Record>> {
        let grouped = by_partition(keys);
        let partitions: Vec<Partition> = grouped.keys().cloned().collect();
        let mut found = BTreeMap::new();
        for ((partition, keys), opened) in grouped.iter().zip(self.open_all(&partitions)) {
            found.extend(self.until_it_stays(partition, opened, |opened| match partition {
                Partition::Org(org) => self.org_records(org, opened, keys),
                Partition::System => self.system_records(opened, keys),
            }));
        }
        let whole = |record: &Record| !record.is_nothing();
        keys.iter().map(|key| found.get(key).cloned().flatten().filter(whole)).collect()
    }

    /// One record as of now.
    pub(super) fn record(&self, key: &RecordKey) -> Option<Record> {
        self.records(std::slice::from_ref(key)).remove(0)
    }

    /// The image of an org as it is now, made of what the store has; `None`: its image lacks nothing.
    pub(super) fn image_of(&self, org: &OrgId) -> Option<Image> {
        let partition = Partition::Org(org.clone());
        let opened = self.open_one(&partition);
        let mut state = self.until_it_stays(&partition, opened, |opened| self.org_state(org, opened, &[]));
        let records = state.take_changed();
        (!records.is_empty()).then(|| Image { partition, version: state.version(), records })
    }

    /// Tries on what was opened, and opens again while the image moves.
    fn until_it_stays<T>(
        &self,
        partition: &Partition,
        mut opened: Opened,
        attempt: impl Fn(&Opened) -> Result<T, Moved>,
    ) -> T {
        for _ in 0..MOVES_MAX {
            match attempt(&opened) {
                Ok(found) => return found,
                Err(Moved) => opened = self.open_one(partition),
            }
        }
        panic!("the image of {partition:?} is always found to have moved");
    }

    fn org_records(
        &self,
        org: &OrgId,
        opened: &Opened,
        keys: &[RecordKey],
    ) -> Result<Vec<(RecordKey, Option<Record>)>, Moved> {
        let asked: Vec<RecordKey> =
            keys.iter().filter(|key| !matches!(key, RecordKey::Org(_))).cloned().collect();
        let state = self.org_state(org, opened, &asked)?;
        let record = |key: &RecordKey| match PartKey::in_org(key) {
            Some((_, part)) => state.record(&part),
            None => state.head(),
        };
        Ok(keys.iter().map(|key| (key.clone(), record(key))).collect())
    }

    /// An org with parts of it.
    fn org_state(&self, org: &OrgId, opened: &Opened, asked: &[RecordKey]) -> Result<OrgState, Moved> {
        let partition = Partition::Org(org.clone());
        let load = |keys: &[RecordKey]| self.load(&partition, opened.image(), keys).ok_or(Moved);
        let mut state = OrgState::of(org.clone(), opened.head.clone());
        for (key, record) in asked.iter().zip(load(asked)?) {
            let (_, part) = PartKey::in_org(key).expect("a part of an org");
            state.put(part, record);
        }
        for change in &opened.entries {
            let EntryChange::Org(entry) = change else { panic!("not of an org: {change:?}") };
            load_and_apply(&mut state, entry, |key| Ok(load(std::slice::from_ref(key))?.remove(0)))?;
        }
        Ok(state)
    }

    fn system_records(
        &self,
        opened: &Opened,
        keys: &[RecordKey],
    ) -> Result<Vec<(RecordKey, Option<Record>)>, Moved> {
        let mut records = SystemRecords::default();
        records.put(RecordKey::System, opened.head.clone());
        let load = |records: &mut SystemRecords, mut keys: Vec<RecordKey>| {
            keys.retain(|key| *key != RecordKey::System && !records.holds(key));
            let loaded = self.load(&Partition::System, opened.image(), &keys).ok_or(Moved)?;
            keys.into_iter().zip(loaded).for_each(|(key, record)| records.put(key, record));
            Ok(())
        };
        load(&mut records, keys.to_vec())?;
        for change in &opened.entries {
            let EntryChange::System(entry) = change else { panic!("not of the system: {change:?}") };
            load(&mut records, touched_by_system(entry))?;
            apply_system(&mut records, entry);
        }
        Ok(keys.iter().map(|key| (key.clone(), records.get(key).cloned())).collect())
    }
}

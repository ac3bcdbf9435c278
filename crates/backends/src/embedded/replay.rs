//! Replaying the ledger: entries become records by the domain's own `apply`, as they did when they were decided. Images are
//! made anew by it, and brought up to the ledger's end where no engine does it.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;

use foldhash::fast::RandomState;
use tollgate_domain::{
    Entry, OrgId, OrgState, Record, RecordKey, SystemEntry, SystemRecords, apply_system, load_and_apply,
    touched_by_system,
};
use tollgate_storage::StoreError;
use tollgate_storage::codec::{Line, decode_line};

use super::error::{bad_entry, corrupt, full, tables_error};
use super::frame::Frame;
use super::limits::REPLAY_ENTRIES_MAX;
use super::segment::Segments;
use super::store::{Core, stored_record};
use super::tables::{Folded, Tables, is_full};
use super::walk::{Position, Walker};
use crate::rows::{encode_record, row_key};

/// Replays frames over tables.
pub(crate) struct Replay<'a> {
    tables: &'a Tables,
    segments: &'a Arc<Segments>,
    /// Orgs in memory, some of them changed and not in the tables yet.
    orgs: HashMap<OrgId, OrgState, RandomState>,
    system: SystemRecords,
    entries_unsaved: usize,
    /// How far the tables are.
    folded: Folded,
    /// Frames and entries replayed, and callers' keys in them.
    pub(crate) frames: u64,
    pub(crate) entries: u64,
    pub(crate) keys: u64,
}

impl<'a> Replay<'a> {
    pub(crate) fn new(tables: &'a Tables, segments: &'a Arc<Segments>, folded: Folded) -> Self {
        Self {
            tables,
            segments,
            orgs: HashMap::default(),
            system: SystemRecords::default(),
            entries_unsaved: 0,
            folded,
            frames: 0,
            entries: 0,
            keys: 0,
        }
    }

    /// Replays one frame; entries that the images hold are passed over.
    pub(crate) fn frame(&mut self, position: &Position, frame: &Frame<'_>) -> Result<(), StoreError> {
        let path = || self.segments.path(position.segment);
        for entry in frame.entries() {
            let (spot, blob) = entry.map_err(|error| corrupt(&path(), u64::from(position.offset), error))?;
            let offset = u64::from(position.offset + spot.offset);
            let line = decode_line(blob).map_err(|error| bad_entry(&path(), offset, error))?;
            let follows = match &line {
                Line::Org(org, entry) => self.org_entry(org, entry)?,
                Line::System(entry) => self.system_entry(entry)?,
            };
            if !follows {
                let what = "an entry does not follow the one before it in its ledger";
                return Err(corrupt(&path(), offset, what));
            }
            self.entries += 1;
            self.entries_unsaved += 1;
        }
        self.frames += 1;
        (self.folded.position, self.folded.seen) = (*position, *position);
        if self.entries_unsaved >= REPLAY_ENTRIES_MAX {
            self.save()?;
        }
        Ok(())
    }

    fn org_entry(&mut self, org: &OrgId, entry: &Entry) -> Result<bool, StoreError> {
        let Self { tables, orgs, .. } = self;
        let state = match orgs.entry(org.clone()) {
            Slot::Occupied(slot) => slot.into_mut(),
            Slot::Vacant(slot) => {
                let record = stored_record(&tables.view(), &RecordKey::Org(org.clone()))?;
                slot.insert(OrgState::of(org.clone(), record))
            }
        };
        self.folded.latest_secs = self.folded.latest_secs.max(entry.at.as_second());
        self.keys += u64::from(entry.named_key().is_some());
        if entry.number <= state.version() {
            return Ok(true);
        }
        if entry.number != state.version() + 1 {
            return Ok(false);
        }
        load_and_apply(state, entry, |key| stored_record(&tables.view(), key))?;
        state.forget_facts();
        Ok(true)
    }

    fn system_entry(&mut self, entry: &SystemEntry) -> Result<bool, StoreError> {
        for key in touched_by_system(entry) {
            if !self.system.holds(&key) {
                let record = stored_record(&self.tables.view(), &key)?;
                self.system.put(key, record);
            }
        }
        self.folded.latest_secs = self.folded.latest_secs.max(entry.at.as_second());
        let version = self.system.system().version;
        if entry.number <= version {
            return Ok(true);
        }
        if entry.number != version + 1 {
            return Ok(false);
        }
        apply_system(&mut self.system, entry);
        Ok(true)
    }

    /// Writes what was replayed so far into the tables.
    pub(crate) fn save(&mut self) -> Result<(), StoreError> {
        let mut changed: Vec<(RecordKey, Record)> = Vec::new();
        for (_, mut state) in std::mem::take(&mut self.orgs) {
            changed.extend(state.take_changed());
        }
        let system = std::mem::take(&mut self.system);
        changed.extend(system.changed().map(|(key, record)| (key.clone(), record.clone())));
        self.entries_unsaved = 0;
        let mut batch = self.tables.batch(changed.len() + 16);
        for (key, record) in changed {
            let Some((table, row_key)) = row_key(&key) else { continue };
            if record.is_nothing() {
                batch.remove(table, row_key);
            } else {
                batch.put(table, &row_key, &encode_record(&record));
            }
        }
        self.folded.count += 1;
        batch.commit(&self.folded).map_err(|error| {
            if is_full(&error) { full(&self.segments.dir, error) } else { tables_error("write into", error) }
        })
    }

    /// How far the tables are.
    pub(crate) const fn folded(&self) -> Folded {
        self.folded
    }
}

impl Core {
    /// Brings all images up to the ledger's end.
    pub(crate) fn catch_up(&self) -> Result<(), StoreError> {
        let mut broken = self.tables_to_write()?;
        let (last, _) = self.ledger().end();
        let known = self.folded();
        let tables = self.tables.read();
        let mut replay = Replay::new(tables.get()?, &self.segments, known);
        let mut walker = Walker::new(&self.segments, last, &known.position)?;
        while let Some((position, frame)) = walker.next()? {
            replay.frame(&position, &frame)?;
        }
        replay.save().inspect_err(|_| *broken = true)?;
        self.set_folded(replay.folded());
        self.behind().clear();
        Ok(())
    }
}

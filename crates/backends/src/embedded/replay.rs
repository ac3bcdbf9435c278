//! Replaying the ledger: entries become changed records by the domain's own `apply`, as they did when they were decided.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use tollgate_domain::{
    Entry, OrgId, OrgState, Partition, RecordKey, SystemEntry, SystemRecords, apply_system, load_and_apply,
    touched_by_system,
};
use tollgate_storage::StoreError;
use tollgate_storage::codec::{Line, decode_line};

use super::core::version_of;
use super::error::{bad_entry, corrupt, full, tables_error};
use super::fold::{FoldError, fold};
use super::frame::Frame;
use super::limits::REPLAY_ENTRIES_MAX;
use super::overlay::Overlay;
use super::read::stored_record;
use super::segment::{Location, Segments};
use super::tables::{Folded, Tables, is_full};
use super::walk::Position;

/// Replays frames over tables, folding whenever much has come together.
pub(crate) struct Replay<'a> {
    tables: &'a Tables,
    segments: &'a Arc<Segments>,
    /// What is not in the tables.
    overlay: Overlay,
    /// Orgs in memory, some of them changed and not in the overlay yet.
    orgs: HashMap<OrgId, OrgState, RandomState>,
    system: SystemRecords,
    entries_at_hand: usize,
    overlay_records_max: usize,
    /// How far the tables are.
    folded: Folded,
    /// Frames and entries replayed.
    pub(crate) frames: u64,
    pub(crate) entries: u64,
}

impl<'a> Replay<'a> {
    pub(crate) fn new(tables: &'a Tables, segments: &'a Arc<Segments>, folded: Folded, most: usize) -> Self {
        Self {
            tables,
            segments,
            overlay: Overlay::default(),
            orgs: HashMap::default(),
            system: SystemRecords::default(),
            entries_at_hand: 0,
            overlay_records_max: most,
            folded,
            frames: 0,
            entries: 0,
        }
    }

    /// Replays one frame.
    pub(crate) fn frame(&mut self, position: &Position, frame: &Frame<'_>) -> Result<(), StoreError> {
        let path = || self.segments.path(position.segment);
        for entry in frame.entries() {
            let (spot, blob) = entry.map_err(|error| corrupt(&path(), u64::from(position.offset), error))?;
            let location =
                Location { segment: position.segment, offset: position.offset + spot.offset, len: spot.len };
            let damaged = |what: &str| corrupt(&path(), u64::from(location.offset), what);
            let line =
                decode_line(blob).map_err(|error| bad_entry(&path(), u64::from(location.offset), error))?;
            let applied = match &line {
                Line::Org(org, entry) => self.org_entry(org, entry, location)?,
                Line::System(entry) => self.system_entry(entry)?,
            };
            if !applied {
                return Err(damaged("an entry does not follow the one before it in its ledger"));
            }
            self.entries += 1;
            self.entries_at_hand += 1;
        }
        self.frames += 1;
        self.overlay.position = *position;
        if self.entries_at_hand >= REPLAY_ENTRIES_MAX {
            self.settle();
            if self.overlay.records >= self.overlay_records_max {
                self.fold()?;
            }
        }
        Ok(())
    }

    fn org_entry(&mut self, org: &OrgId, entry: &Entry, location: Location) -> Result<bool, StoreError> {
        let Self { tables, segments, overlay, orgs, .. } = self;
        let find = |key: &RecordKey| match overlay.get(key) {
            Some(record) => Ok(Some(record.clone())),
            None => stored_record(&tables.view(), segments, key),
        };
        if !orgs.contains_key(org) {
            let record = find(&RecordKey::Org(org.clone()))?;
            orgs.insert(org.clone(), OrgState::of(org.clone(), record));
        }
        let Some(state) = orgs.get_mut(org).filter(|state| state.version() + 1 == entry.number) else {
            return Ok(false);
        };
        load_and_apply(state, entry, find)?;
        let part = self.overlay.part_mut(&Partition::Org(org.clone()));
        part.add_entry(org, entry, location);
        self.overlay.count(1, entry.at.as_second());
        Ok(true)
    }

    fn system_entry(&mut self, entry: &SystemEntry) -> Result<bool, StoreError> {
        for key in touched_by_system(entry) {
            self.fetch(key)?;
        }
        if self.system.get(&RecordKey::System).map_or(0, version_of) + 1 != entry.number {
            return Ok(false);
        }
        apply_system(&mut self.system, entry);
        self.overlay.count(1, entry.at.as_second());
        Ok(true)
    }

    fn fetch(&mut self, key: RecordKey) -> Result<(), StoreError> {
        if self.system.holds(&key) {
            return Ok(());
        }
        let record = match self.overlay.get(&key) {
            Some(record) => Some(record.clone()),
            None => stored_record(&self.tables.view(), self.segments, &key)?,
        };
        self.system.put(key, record);
        Ok(())
    }

    /// Moves what changed into the overlay.
    fn settle(&mut self) {
        for (org, mut state) in std::mem::take(&mut self.orgs) {
            self.overlay.put(&Partition::Org(org), state.take_changed());
        }
        let system = std::mem::take(&mut self.system);
        let changed = system.changed().map(|(key, record)| (key.clone(), record.clone()));
        self.overlay.put(&Partition::System, changed);
        self.entries_at_hand = 0;
    }

    /// Folds everything replayed so far into the tables.
    pub(crate) fn fold(&mut self) -> Result<(), StoreError> {
        self.settle();
        if self.overlay.is_empty() {
            return Ok(());
        }
        let overlay = std::mem::take(&mut self.overlay);
        self.folded.position = overlay.position;
        self.folded.latest_secs = self.folded.latest_secs.max(overlay.latest_secs);
        fold(self.tables, &overlay, &self.folded, |_| {}).map_err(|error| match error {
            FoldError::Encode(error) => error,
            FoldError::Tables(error) if is_full(&error) => full(&self.segments.dir, error),
            FoldError::Tables(error) => tables_error("fold into", error),
        })
    }

    /// What is left to fold, and how far the tables are.
    pub(crate) fn finish(mut self) -> (Overlay, Folded) {
        self.settle();
        (self.overlay, self.folded)
    }
}

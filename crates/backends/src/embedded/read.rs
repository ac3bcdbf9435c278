//! Loading records: from what is not folded, then from the cache, then from the tables.

use std::sync::Arc;

use tollgate_domain::{Entry, KeyId, OrgId, Record, RecordKey};
use tollgate_storage::StoreError;
use tollgate_storage::codec::{DecodeError, Line, decode_line};

use super::codec::{
    KeyRow, Table, decode_key_row, decode_locations, decode_record, entries_key, first_entry_of,
    key_record_of, org_prefix, row_key,
};
use super::core::{Core, State, is_cached};
use super::error::{bad_entry, bad_row, corrupt};
use super::segment::{Location, Segments};
use super::tables::TablesView;

use std::ops::Bound::Included;

/// What is known of a record without the tables.
enum Found {
    Record(Record),
    Entry(Location),
}

impl State {
    /// A record that is not folded yet.
    pub(crate) fn record(&self, key: &RecordKey) -> Option<&Record> {
        self.active.get(key).or_else(|| self.frozen.as_ref()?.get(key))
    }

    /// Where an entry lies that is not folded yet.
    pub(crate) fn location(&self, org: &OrgId, number: u64) -> Option<Location> {
        let frozen = || self.frozen.as_ref()?.part(Some(org))?.location(number);
        self.active.part(Some(org)).and_then(|part| part.location(number)).or_else(frozen)
    }
}

impl Core {
    /// Loads records by key; see [`tollgate_storage::Store::load`].
    pub(crate) fn load(&self, keys: &[RecordKey]) -> Result<Vec<Option<Record>>, StoreError> {
        let mut answers = Vec::with_capacity(keys.len());
        let mut missing = Vec::new();
        let state = self.state();
        for (index, key) in keys.iter().enumerate() {
            let found = match key {
                RecordKey::Entry(org, number) => state.location(org, *number).map(Found::Entry),
                key => state.record(key).cloned().or_else(|| self.cached(key)).map(Found::Record),
            };
            if found.is_none() && self.may_be_stored(key) {
                missing.push(index);
            }
            answers.push(found);
        }
        let generation = state.generation;
        // The view is of the same moment as the overlays: what is in neither is in it.
        let tables = self.tables.read();
        let view = if missing.is_empty() { None } else { Some(tables.get()?.view()) };
        drop(state);
        if let Some(view) = view {
            for index in missing {
                let (Some(key), Some(answer)) = (keys.get(index), answers.get_mut(index)) else { continue };
                *answer = self.stored(&view, key)?;
                if let Some(Found::Record(record)) = answer
                    && is_cached(key)
                {
                    self.remember(generation, key, record);
                }
            }
        }
        let answer = |(key, found): (&RecordKey, Option<Found>)| match (key, found) {
            (_, None) => Ok(None),
            (_, Some(Found::Record(record))) => Ok((!record.is_nothing()).then_some(record)),
            (RecordKey::Entry(org, number), Some(Found::Entry(location))) => {
                let entry = read_entry(&self.segments, org, *number, location)?;
                Ok(Some(Record::Entry(Arc::new(entry))))
            }
            (_, Some(Found::Entry(_))) => Ok(None),
        };
        keys.iter().zip(answers).map(answer).collect()
    }

    fn cached(&self, key: &RecordKey) -> Option<Record> {
        if is_cached(key) { self.cache.get(key) } else { None }
    }

    /// Whether a record that is in no overlay may be in the tables; asked while the state is held.
    fn may_be_stored(&self, key: &RecordKey) -> bool {
        let filtered = matches!(key, RecordKey::Key(_) | RecordKey::Tally(..));
        !filtered || row_key(key).is_none_or(|(table, row_key)| self.filters.may_hold(table, &row_key))
    }

    /// Keeps a clean record at hand, unless it may have changed since it was read: everything that changed went through
    /// a freeze, which counts the generation up, and the cache is told of it before what was frozen is let go.
    fn remember(&self, generation: u64, key: &RecordKey, record: &Record) {
        let state = self.state();
        if state.generation == generation {
            self.cache.insert(key.clone(), record.clone());
        }
    }

    /// A record in the tables.
    fn stored(&self, view: &TablesView<'_>, key: &RecordKey) -> Result<Option<Found>, StoreError> {
        if let RecordKey::Entry(org, number) = key {
            return Ok(stored_locations(view, org, *number, *number)?
                .pop()
                .map(|(_, location)| Found::Entry(location)));
        }
        stored_record(view, &self.segments, key).map(|found| found.map(Found::Record))
    }
}

/// A record that is not an entry, from the tables.
pub(crate) fn stored_record(
    view: &TablesView<'_>,
    segments: &Segments,
    key: &RecordKey,
) -> Result<Option<Record>, StoreError> {
    let Some((table, row_key)) = row_key(key) else { return Ok(None) };
    let Some(row) = view.get(table, &row_key)? else { return Ok(None) };
    if let RecordKey::Key(id) = key {
        return seen_key(segments, id, &row_key, &row);
    }
    decode_record(key, &row).map(Some).map_err(|error| bad_row(table.name(), &row_key, error))
}

fn seen_key(
    segments: &Segments,
    id: &KeyId,
    row_key: &[u8],
    row: &[u8],
) -> Result<Option<Record>, StoreError> {
    let record = match decode_key_row(row).map_err(|error| bad_row(Table::Keys.name(), row_key, error))? {
        KeyRow::Whole(record) => Some(record),
        KeyRow::InEntry(location) => {
            let (org, entry) = read_line(segments, location)?;
            // Another key with the same 128 bits is another key.
            if org == id.org { key_record_of(id, &entry) } else { None }
        }
    };
    Ok(record.map(|record| Record::Key(Arc::new(record))))
}

/// Reads an entry that should be a given one.
pub(crate) fn read_entry(
    segments: &Segments,
    org: &OrgId,
    number: u64,
    location: Location,
) -> Result<Entry, StoreError> {
    let (found_org, entry) = read_line(segments, location)?;
    if found_org == *org && entry.number == number {
        return Ok(entry);
    }
    let what = format!(
        "entry {number} of {org} should be here, and another is; make the tables anew with `tollgate rebuild`"
    );
    Err(corrupt(&segments.path(location.segment), u64::from(location.offset), what))
}

fn read_line(segments: &Segments, location: Location) -> Result<(OrgId, Entry), StoreError> {
    let (path, offset) = (segments.path(location.segment), u64::from(location.offset));
    match decode_line(&segments.read_entry(location)?).map_err(|error| bad_entry(&path, offset, error))? {
        Line::Org(org, entry) => Ok((org, *entry)),
        Line::System(_) => Err(corrupt(&path, offset, "an entry of an org should be here")),
    }
}

/// Where the entries `from` to `to` of an org lie, as far as the tables know them, by number.
pub(crate) fn stored_locations(
    view: &TablesView<'_>,
    org: &OrgId,
    from: u64,
    to: u64,
) -> Result<Vec<(u64, Location)>, StoreError> {
    let prefix = org_prefix(org);
    let mut located = Vec::new();
    // The row that holds `from` is the last that starts at or before it.
    let until = Included(entries_key(org, to));
    for row in view.range(Table::Entries, Included(prefix), until).rev() {
        let (key, row) = row?;
        let damaged = || bad_row(Table::Entries.name(), &key, DecodeError::Damaged);
        let first = first_entry_of(&key).ok_or_else(damaged)?;
        let locations = decode_locations(&row).ok_or_else(damaged)?;
        located.extend((first..).zip(locations).filter(|(number, _)| (from..=to).contains(number)));
        if first <= from {
            break;
        }
    }
    located.sort_unstable_by_key(|(number, _)| *number);
    Ok(located)
}

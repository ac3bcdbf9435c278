//! Scans: rows of the tables in order, with what is not folded yet laid over them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::ops::Bound::{self, Excluded, Included, Unbounded};
use std::sync::Arc;

use tollgate_domain::{CounterId, OrgId, Period, Record, RecordKey, Scope};
use tollgate_storage::codec::{DecodeError, StoredNotice, decode};
use tollgate_storage::{
    CounterRow, Cursor, NoticeRow, Order, Page, Row, Scan, StoreError, StoreErrorKind, TallyRow, UnsentRow,
};
use xxhash_rust::xxh3::xxh3_64;

use super::codec::{
    API_KEY_PREFIX, CATALOG_PREFIX, Table, meter_prefix, notice_index_of, notice_key, org_counter_key,
    org_day_of, org_prefix, period_number_of, row_key, user_of,
};
use super::core::Core;
use super::error::bad_row;
use super::io::to_u64;
use super::overlay::{Overlay, PartOverlay};
use super::read::{read_entry, stored_locations, stored_record};

/// The rows of one table that a scan reads.
struct Span {
    table: Table,
    from: Bound<Vec<u8>>,
    until: Bound<Vec<u8>>,
}

impl Core {
    /// Reads rows in order; see [`tollgate_storage::Store::scan`].
    pub(crate) fn scan(&self, scan: &Scan, from: Option<&Cursor>, limit: usize) -> Result<Page, StoreError> {
        assert!(limit > 0, "a page has room for a row");
        let after = from.map(|cursor| key_in(scan, cursor)).transpose()?;
        if let Scan::Entries { org, order } = scan {
            return self.scan_entries(scan, org, *order, after, limit);
        }
        let Some(span) = span_of(scan, after)? else { return Ok(Page { rows: Vec::new(), next: None }) };
        let mut fresh = Fresh { scan, span: &span, most: limit.saturating_add(1), rows: BTreeMap::new() };
        let state = self.state();
        fresh.add_all(&state.active);
        let frozen = state.frozen.clone();
        let tables = self.tables.read();
        let view = tables.get()?.view();
        drop(state);
        // What is frozen does not change, so commits need not wait for this.
        if let Some(frozen) = frozen {
            fresh.add_all(&frozen);
        }
        let mut fresh = fresh.rows;
        let mut rows: Vec<(Vec<u8>, Row)> = Vec::new();
        for stored in view.range(span.table, span.from.clone(), span.until.clone()) {
            let (key, row) = stored?;
            while rows.len() <= limit
                && let Some(first) = fresh.first_entry()
                && *first.key() < key
            {
                let (key, row) = first.remove_entry();
                rows.extend(row.map(|row| (key, row)));
            }
            if rows.len() > limit {
                break;
            }
            let row = match fresh.remove(&key) {
                Some(None) => continue,
                Some(Some(row)) => row,
                None => {
                    stored_row(scan, &key, &row).map_err(|error| bad_row(span.table.name(), &key, error))?
                }
            };
            rows.push((key, row));
        }
        let room = limit.saturating_add(1).saturating_sub(rows.len());
        rows.extend(fresh.into_iter().filter_map(|(key, row)| Some((key, row?))).take(room));
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|(key, _)| cursor_at(scan, key));
        Ok(Page { rows: rows.into_iter().map(|(_, row)| row).collect(), next })
    }

    fn scan_entries(
        &self,
        scan: &Scan,
        org: &OrgId,
        order: Order,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let after = match after {
            Some(key) => Some(u64::from_be_bytes(key.try_into().map_err(|_| bad_cursor(scan))?)),
            None => None,
        };
        let key = RecordKey::Org(org.clone());
        let state = self.state();
        let fresh = state.record(&key).cloned();
        let span = |last: u64| entry_span(order, after, last, to_u64(limit));
        // Where the entries lie that are not folded; they are the newest.
        let known: BTreeMap<u64, _> = match &fresh {
            Some(Record::Org(record)) => {
                let (from, to) = span(record.version);
                let parts = [Some(&state.active), state.frozen.as_deref()];
                let parts = parts.into_iter().flatten().filter_map(|overlay| overlay.orgs.get(org));
                parts
                    .flat_map(|part| (part.first_entry..).zip(&part.entries))
                    .filter(|(number, _)| (from..=to).contains(number))
                    .map(|(number, location)| (number, *location))
                    .collect()
            }
            _ => BTreeMap::new(),
        };
        let tables = self.tables.read();
        let view = tables.get()?.view();
        drop(state);
        let record = match fresh {
            Some(record) => Some(record),
            None => stored_record(&view, &self.segments, &key)?,
        };
        let Some(Record::Org(record)) = record else { return Ok(Page { rows: Vec::new(), next: None }) };
        let (from, to) = span(record.version);
        let mut located = known;
        let stored_to = located.first_key_value().map_or(to, |(first, _)| first.saturating_sub(1).min(to));
        if from <= stored_to {
            located.extend(stored_locations(&view, org, from, stored_to)?);
        }
        let read = |(number, location)| read_entry(&self.segments, org, number, location).map(Row::Entry);
        let expected = (to + 1).saturating_sub(from);
        if to_u64(located.len()) != expected {
            let what = format!("the tables do not know all of the entries {from} to {to} of {org}");
            return Err(StoreError::new(
                StoreErrorKind::Corrupt,
                format!("{what}; make them anew with `tollgate rebuild`"),
            ));
        }
        let (last, rows) = match order {
            Order::Oldest => (to, located.into_iter().map(read).collect::<Result<Vec<_>, _>>()?),
            Order::Newest => (from, located.into_iter().rev().map(read).collect::<Result<Vec<_>, _>>()?),
        };
        let more = match order {
            Order::Oldest => to < record.version,
            Order::Newest => from > 1,
        };
        let next = (more && !rows.is_empty()).then(|| cursor_at(scan, &last.to_be_bytes()));
        Ok(Page { rows, next })
    }
}

/// The numbers of a page of entries, lowest and highest; none when the first is above the second.
fn entry_span(order: Order, after: Option<u64>, newest: u64, limit: u64) -> (u64, u64) {
    match order {
        Order::Oldest => {
            let from = after.map_or(1, |number| number.saturating_add(1));
            (from, from.saturating_add(limit - 1).min(newest))
        }
        Order::Newest => {
            let to = after.map_or(newest, |number| number.saturating_sub(1).min(newest));
            ((to.saturating_add(1)).saturating_sub(limit).max(1), to)
        }
    }
}

fn bad_cursor(scan: &Scan) -> StoreError {
    StoreError::new(StoreErrorKind::BadCursor, format!("the cursor was not given by the scan {scan:?}"))
}

/// A cursor holds which scan it belongs to and the row key it stopped at.
fn cursor_at(scan: &Scan, key: &[u8]) -> Cursor {
    Cursor([scan_id(scan).as_slice(), key].concat())
}

fn scan_id(scan: &Scan) -> [u8; 8] {
    xxh3_64(format!("{scan:?}").as_bytes()).to_be_bytes()
}

fn key_in<'a>(scan: &Scan, cursor: &'a Cursor) -> Result<&'a [u8], StoreError> {
    cursor.0.strip_prefix(&scan_id(scan)).ok_or_else(|| bad_cursor(scan))
}

/// The rows a scan reads, behind `after`; `None` when there can be none.
fn span_of(scan: &Scan, after: Option<&[u8]>) -> Result<Option<Span>, StoreError> {
    let (table, from, until) = match scan {
        Scan::Entries { .. } => return Ok(None),
        Scan::Orgs => (Table::Orgs, Unbounded, Unbounded),
        Scan::Notices => (Table::Notices, Unbounded, Unbounded),
        Scan::OrgCounters { org, meter, window, from, until } => {
            let key = |number| org_counter_key(org, meter, Period { window: *window, number });
            if from >= until {
                return Ok(None);
            }
            (Table::Counters, Included(key(*from)), Excluded(key(*until)))
        }
        Scan::Tallies { org, meter } => {
            let prefix = meter_prefix(org, meter);
            // No user's bytes start with this one.
            let end = [prefix.as_slice(), &[0xFF]].concat();
            (Table::Tallies, Included(prefix), Excluded(end))
        }
        Scan::Unsent { org: None } => (Table::Unsent, Unbounded, Unbounded),
        Scan::Unsent { org: Some(org) } => {
            let prefix = org_prefix(org);
            let end = [prefix.as_slice(), &[0xFF; 5]].concat();
            (Table::Unsent, Included(prefix), Excluded(end))
        }
        Scan::ApiKeys => {
            (Table::System, Included(API_KEY_PREFIX.to_vec()), Excluded(next_prefix(API_KEY_PREFIX)))
        }
        Scan::Catalogs => {
            (Table::System, Included(CATALOG_PREFIX.to_vec()), Excluded(next_prefix(CATALOG_PREFIX)))
        }
    };
    let Some(after) = after else { return Ok(Some(Span { table, from, until })) };
    if !is_above(after, &from) || !is_below(after, &until) {
        return Err(bad_cursor(scan));
    }
    Ok(Some(Span { table, from: Excluded(after.to_vec()), until }))
}

fn next_prefix(prefix: &[u8]) -> Vec<u8> {
    prefix.iter().map(|byte| byte + 1).collect()
}

fn is_above(key: &[u8], from: &Bound<Vec<u8>>) -> bool {
    match from {
        Unbounded => true,
        Included(from) => key >= from.as_slice(),
        Excluded(from) => key > from.as_slice(),
    }
}

fn is_below(key: &[u8], until: &Bound<Vec<u8>>) -> bool {
    match until {
        Unbounded => true,
        Included(until) => key <= until.as_slice(),
        Excluded(until) => key < until.as_slice(),
    }
}

/// The first rows of a scan that are not folded yet.
struct Fresh<'a> {
    scan: &'a Scan,
    span: &'a Span,
    most: usize,
    /// `None`: what is stored under the key is gone.
    rows: BTreeMap<Vec<u8>, Option<Row>>,
}

impl Fresh<'_> {
    /// Whether a row may be among the first. Asked before a row is made: most of what is not folded is not.
    fn wants(&self, key: &[u8]) -> bool {
        let has_room = || {
            // What is gone takes no room from what is there.
            matches!(self.scan, Scan::Unsent { .. })
                || self.rows.len() < self.most
                || self.rows.last_key_value().is_some_and(|(last, _)| key < last.as_slice())
        };
        is_above(key, &self.span.from) && is_below(key, &self.span.until) && has_room()
    }

    /// Adds what an overlay has; what was added from a newer one stays.
    fn add_all(&mut self, overlay: &Overlay) {
        match self.scan {
            Scan::Orgs => {
                for org in
                    overlay.orgs.keys().filter(|org| self.wants(org.as_str().as_bytes())).collect::<Vec<_>>()
                {
                    self.add_record(overlay, &RecordKey::Org(org.clone()));
                }
            }
            Scan::Notices => {
                for part in overlay.orgs.values() {
                    self.add_notices(part);
                }
            }
            Scan::Unsent { .. } => {
                // Those of other orgs are beyond the span.
                overlay.unsent.iter().for_each(|key| self.add_record(overlay, key));
            }
            Scan::OrgCounters { org, .. } | Scan::Tallies { org, .. } => {
                let keys = overlay.orgs.get(org).into_iter().flat_map(|part| part.records.keys());
                keys.filter(|key| is_of(self.scan, key)).for_each(|key| self.add_record(overlay, key));
            }
            Scan::ApiKeys | Scan::Catalogs => {
                overlay.system.records.keys().for_each(|key| self.add_record(overlay, key));
            }
            Scan::Entries { .. } => {}
        }
    }

    fn add_record(&mut self, overlay: &Overlay, key: &RecordKey) {
        if let Some((table, row_key)) = row_key(key)
            && table == self.span.table
            && let Some(record) = overlay.get(key)
        {
            self.add(row_key, row_of(key, record));
        }
    }

    fn add_notices(&mut self, part: &PartOverlay) {
        for (location, index, stored) in &part.notices {
            let key = notice_key(*location, *index);
            if self.wants(&key) {
                self.add(key, Some(Row::Notice(notice_row(*index, stored.clone()))));
            }
        }
    }

    fn add(&mut self, key: Vec<u8>, row: Option<Row>) {
        if self.wants(&key)
            && let Slot::Vacant(slot) = self.rows.entry(key)
        {
            slot.insert(row);
            if self.rows.len() > self.most && !matches!(self.scan, Scan::Unsent { .. }) {
                self.rows.pop_last();
            }
        }
    }
}

/// Whether a record of an org may be a row of a scan of that org.
fn is_of(scan: &Scan, key: &RecordKey) -> bool {
    match (scan, key) {
        (Scan::OrgCounters { meter, window, .. }, RecordKey::Counter(id)) => {
            id.meter == *meter && id.period.window == *window && id.scope == Scope::Org
        }
        (Scan::Tallies { meter, .. }, RecordKey::Tally(_, of, _)) => of == meter,
        _ => false,
    }
}

/// The row that a record is.
fn row_of(key: &RecordKey, record: &Record) -> Option<Row> {
    Some(match (record, key) {
        (Record::Org(org), _) => Row::Org(org.as_ref().clone()),
        (Record::Counter(counter), RecordKey::Counter(id)) => {
            Row::Counter(CounterRow { id: id.clone(), counter: counter.as_ref().clone() })
        }
        (Record::Tally(tally), RecordKey::Tally(_, _, user)) => {
            Row::Tally(TallyRow { user: user.clone(), tally: Arc::clone(tally) })
        }
        (Record::Unsent(unsent), RecordKey::Unsent(org, day)) if !unsent.is_empty() => {
            Row::Unsent(UnsentRow { org: org.clone(), day: *day, unsent: Arc::clone(unsent) })
        }
        (Record::ApiKey(api_key), _) => Row::ApiKey(api_key.as_ref().clone()),
        (Record::Catalog(catalog), _) => Row::Catalog(catalog.as_ref().clone()),
        _ => return None,
    })
}

fn notice_row(index: u32, stored: StoredNotice) -> NoticeRow {
    let StoredNotice { org, entry, at, notice } = stored;
    NoticeRow { org, entry, index, at, notice }
}

/// The row of a scan in a row of a table.
fn stored_row(scan: &Scan, key: &[u8], row: &[u8]) -> Result<Row, DecodeError> {
    let damaged = DecodeError::Damaged;
    Ok(match scan {
        Scan::Orgs => Row::Org(decode(row)?),
        Scan::OrgCounters { org, meter, window, .. } => {
            let period = Period { window: *window, number: period_number_of(key).ok_or(damaged)? };
            let id = CounterId { org: org.clone(), meter: meter.clone(), scope: Scope::Org, period };
            Row::Counter(CounterRow { id, counter: decode(row)? })
        }
        Scan::Tallies { org, meter } => {
            let user = user_of(key, &meter_prefix(org, meter)).ok_or(damaged)?;
            Row::Tally(TallyRow { user, tally: Arc::new(decode(row)?) })
        }
        Scan::Notices => Row::Notice(notice_row(notice_index_of(key).ok_or(damaged)?, decode(row)?)),
        Scan::Unsent { .. } => {
            let (org, day) = org_day_of(key).ok_or(damaged)?;
            Row::Unsent(UnsentRow { org, day, unsent: Arc::new(decode(row)?) })
        }
        Scan::ApiKeys => Row::ApiKey(decode(row)?),
        Scan::Catalogs => Row::Catalog(decode(row)?),
        // Entries are read from the segments.
        Scan::Entries { .. } => return Err(damaged),
    })
}

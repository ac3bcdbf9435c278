//! Which rows of the tables a scan reads, what it makes of them, and the cursors between its pages.

use std::ops::Bound::{self, Excluded, Included, Unbounded};
use std::sync::Arc;

use tollgate_domain::{CounterId, Period, Scope};
use tollgate_storage::codec::{DecodeError, decode};
use tollgate_storage::{
    CounterRow, Cursor, PathTallyRow, Row, Scan, StoreError, StoreErrorKind, TallyRow, UnsentRow,
};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    API_KEY_PREFIX, CATALOG_PREFIX, Table, meter_prefix, org_counter_key, org_day_of, org_prefix, path_of,
    path_tally_prefix, period_number_of, user_of,
};

/// The rows of one table that a scan reads.
pub(crate) struct Span {
    pub(crate) table: Table,
    pub(crate) from: Bound<Vec<u8>>,
    pub(crate) until: Bound<Vec<u8>>,
}

/// The rows a scan reads, behind `after`; `None` when there can be none.
pub(crate) fn span_of(scan: &Scan, after: Option<&[u8]>) -> Result<Option<Span>, StoreError> {
    let (table, from, until) = match scan {
        Scan::Entries { .. } | Scan::SystemEntries | Scan::Notices => return Ok(None),
        Scan::Orgs => (Table::Orgs, Unbounded, Unbounded),
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
        Scan::PathTallies { org, meter } => {
            let prefix = path_tally_prefix(org, meter);
            let end = [prefix.as_slice(), &[0xFF]].concat();
            (Table::Counters, Included(prefix), Excluded(end))
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

/// The row of a scan in a row of a table.
pub(crate) fn stored_row(scan: &Scan, key: &[u8], row: &[u8]) -> Result<Row, DecodeError> {
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
        Scan::PathTallies { org, meter } => {
            let path = path_of(key, &path_tally_prefix(org, meter)).ok_or(damaged)?;
            Row::PathTally(PathTallyRow { path, tally: Arc::new(decode(row)?) })
        }
        Scan::Unsent { .. } => {
            let (org, day) = org_day_of(key).ok_or(damaged)?;
            Row::Unsent(UnsentRow { org, day, unsent: Arc::new(decode(row)?) })
        }
        Scan::ApiKeys => Row::ApiKey(decode(row)?),
        Scan::Catalogs => Row::Catalog(decode(row)?),
        // Facts.
        Scan::Entries { .. } | Scan::SystemEntries | Scan::Notices => return Err(damaged),
    })
}
pub(crate) fn bad_cursor(scan: &Scan) -> StoreError {
    StoreError::new(StoreErrorKind::BadCursor, format!("the cursor was not given by the scan {scan:?}"))
}

/// A cursor holds which scan it belongs to and the row key it stopped at.
pub(crate) fn cursor_at(scan: &Scan, key: &[u8]) -> Cursor {
    Cursor([scan_id(scan).as_slice(), key].concat())
}

fn scan_id(scan: &Scan) -> [u8; 8] {
    xxh3_64(format!("{scan:?}").as_bytes()).to_be_bytes()
}

pub(crate) fn key_in<'a>(scan: &Scan, cursor: &'a Cursor) -> Result<&'a [u8], StoreError> {
    cursor.0.strip_prefix(&scan_id(scan)).ok_or_else(|| bad_cursor(scan))
}

//! Scans: rows of the tables in order, and entries and notices as the facts find them.

use tollgate_domain::Partition;
use tollgate_storage::codec::Line;
use tollgate_storage::{Cursor, EntryChange, NoticeRow, Order, Page, Row, Scan, StoreError, StoreErrorKind};

use super::error::bad_row;
use super::facts::Place;
use super::fingerprints::of_partition;
use super::io::to_u64;
use super::store::Core;
use crate::rows::scan::{bad_cursor, cursor_at, key_in, span_of, stored_row};

impl Core {
    /// Reads rows in order; see [`tollgate_storage::Store::scan`].
    pub(crate) fn scan(&self, scan: &Scan, from: Option<&Cursor>, limit: usize) -> Result<Page, StoreError> {
        assert!(limit > 0, "a page has room for a row");
        let after = from.map(|cursor| key_in(scan, cursor)).transpose()?;
        match scan {
            Scan::Entries { org, order } => {
                self.scan_entries(scan, &Partition::Org(org.clone()), *order, after, limit)
            }
            Scan::SystemEntries => self.scan_entries(scan, &Partition::System, Order::Oldest, after, limit),
            Scan::Notices => self.scan_notices(scan, after, limit),
            _ => self.scan_table(scan, after, limit),
        }
    }

    fn scan_table(&self, scan: &Scan, after: Option<&[u8]>, limit: usize) -> Result<Page, StoreError> {
        let Some(span) = span_of(scan, after)? else { return Ok(Page { rows: Vec::new(), next: None }) };
        let tables = self.tables.read();
        let view = tables.get()?.view();
        let mut rows = Vec::new();
        let mut last = None;
        let mut next = None;
        for stored in view.range(span.table, span.from, span.until) {
            let (key, row) = stored?;
            if rows.len() == limit {
                next = last.map(|key: Vec<u8>| cursor_at(scan, &key));
                break;
            }
            rows.push(stored_row(scan, &key, &row).map_err(|error| bad_row(span.table.name(), &key, error))?);
            last = Some(key);
        }
        Ok(Page { rows, next })
    }

    fn scan_entries(
        &self,
        scan: &Scan,
        partition: &Partition,
        order: Order,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let after = match after {
            Some(key) => Some(u64::from_be_bytes(key.try_into().map_err(|_| bad_cursor(scan))?)),
            None => None,
        };
        let fingerprint = of_partition(partition);
        let newest = self.facts.newest(fingerprint, 1)?.unwrap_or(0);
        let (from, to) = entry_span(order, after, newest, to_u64(limit));
        if from > to {
            return Ok(Page { rows: Vec::new(), next: None });
        }
        let located = self.facts.locate(fingerprint, from..=to, 1)?;
        if to_u64(located.len()) != to - from + 1 {
            let text = format!("the facts do not know all of the entries {from} to {to} of {partition:?}");
            return Err(StoreError::new(StoreErrorKind::Corrupt, text));
        }
        let read = |(number, place)| {
            Ok(match self.entry_at(partition, number, place)? {
                EntryChange::Org(entry) => Row::Entry(entry),
                EntryChange::System(entry) => Row::SystemEntry(entry),
            })
        };
        let (last, rows) = match order {
            Order::Oldest => (to, located.into_iter().map(read).collect::<Result<Vec<_>, _>>()?),
            Order::Newest => (from, located.into_iter().rev().map(read).collect::<Result<Vec<_>, _>>()?),
        };
        let more = match order {
            Order::Oldest => to < newest,
            Order::Newest => from > 1,
        };
        let next = (more && !rows.is_empty()).then(|| cursor_at(scan, &last.to_be_bytes()));
        Ok(Page { rows, next })
    }

    fn scan_notices(&self, scan: &Scan, after: Option<&[u8]>, limit: usize) -> Result<Page, StoreError> {
        let (from, passed) = match after {
            None => (Place::default(), 0),
            Some(key) => notice_place(key).ok_or_else(|| bad_cursor(scan))?,
        };
        let mut rows = Vec::new();
        let mut last = None;
        // One entry more than rows are wanted: each has a notice at least, and the first may be passed.
        for noticed in self.facts.notices_from(from, limit.saturating_add(2))? {
            let Line::Org(org, entry) = self.line_at(noticed.place)? else { continue };
            for (index, notice) in (0..).zip(&entry.notices) {
                if noticed.place == from && index < passed {
                    continue;
                }
                if rows.len() == limit {
                    let next = last.map(|key: [u8; 12]| cursor_at(scan, &key));
                    return Ok(Page { rows, next });
                }
                let (org, notice) = (org.clone(), notice.clone());
                rows.push(Row::Notice(NoticeRow { org, entry: entry.number, index, at: entry.at, notice }));
                last = Some(notice_key(noticed.place, index));
            }
        }
        Ok(Page { rows, next: None })
    }
}

/// Names a notice in a cursor: where its entry lies, and its place in it.
fn notice_key(place: Place, index: u32) -> [u8; 12] {
    let mut key = [0; 12];
    let parts = [place.segment, place.offset, index].map(u32::to_be_bytes);
    key.iter_mut().zip(parts.iter().flatten()).for_each(|(to, from)| *to = *from);
    key
}

/// The entry that a cursor names, and how many of its notices were read.
fn notice_place(key: &[u8]) -> Option<(Place, u32)> {
    let (segment, rest) = key.split_first_chunk::<4>()?;
    let (offset, rest) = rest.split_first_chunk::<4>()?;
    let (index, []) = rest.split_first_chunk::<4>()? else { return None };
    let [segment, offset, index] = [segment, offset, index].map(|bytes| u32::from_be_bytes(*bytes));
    Some((Place { segment, offset }, index.checked_add(1)?))
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

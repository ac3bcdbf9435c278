//! The reference store: ordered maps behind one lock.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{self, Excluded, Included, Unbounded};
use std::str;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tollgate_domain::{
    ApiKey, ApiKeyId, CatalogVersion, Counter, CounterId, Entry, Org, OrgId, Partition, Period, Record,
    RecordKey, Scope, UserId,
};

use crate::{
    Batch, Capabilities, Change, Committed, CounterRow, Cursor, EntryChange, NoticeRow, Order, Page, Row,
    Scan, Store, StoreError, StoreErrorKind, TallyRow, UnsentRow,
};

/// Most changes in one batch: one for each record of the largest request.
const CHANGES_MAX: usize = 10_000;

/// Most entries in one batch: far beyond what one commit gathers, small enough that a test can exceed it.
const ENTRIES_MAX: usize = 20_000;

/// No id comes before this one: those that would hold a control character.
const FIRST_ID: &str = " ";

/// Keeps everything in memory and loses it with the process.
///
/// The simplest thing that keeps the contract: the other stores are measured against it, and the layers above are
/// tested on it. Not for production.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// All records, the entries among them.
    records: BTreeMap<RecordKey, Record>,
    /// The notices of all entries, as they were committed.
    notices: Vec<NoticeRow>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A commit changes the state only after everything was checked, so a lock left by a panic guards a whole state.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    async fn load(&self, keys: &[RecordKey]) -> Result<Vec<Option<Record>>, StoreError> {
        let state = self.state();
        Ok(keys
            .iter()
            .map(|key| state.records.get(key).filter(|record| !record.is_nothing()).cloned())
            .collect())
    }

    async fn scan(&self, scan: &Scan, from: Option<&Cursor>, limit: usize) -> Result<Page, StoreError> {
        assert!(limit > 0, "a page has room for a row");
        let state = self.state();
        let after = from.map(|cursor| key_in(scan, cursor)).transpose()?;
        let mut rows = state.rows(scan, after)?;
        let page: Vec<Row> = rows.by_ref().take(limit).collect();
        let next = match (page.last(), rows.next()) {
            (Some(last), Some(_)) => Some(cursor_after(scan, last)),
            _ => None,
        };
        Ok(Page { rows: page, next })
    }

    async fn commit(&self, batch: Batch) -> Result<Vec<Committed>, StoreError> {
        check_batch(&batch)?;
        let mut state = self.state();
        Ok(batch.changes.into_iter().map(|change| state.commit(change)).collect())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { durable: false, shared: false, changes_max: CHANGES_MAX, entries_max: ENTRIES_MAX }
    }

    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl State {
    fn version(&self, partition: &Partition) -> u64 {
        let key = match partition {
            Partition::Org(org) => RecordKey::Org(org.clone()),
            Partition::System => RecordKey::System,
        };
        self.records.get(&key).map_or(0, version_of)
    }

    fn commit(&mut self, change: Change) -> Committed {
        if self.version(&change.partition) != change.expected_version {
            return Committed::Conflict;
        }
        for entry in change.entries {
            // What a line of the system's ledger says is in the records that came with it.
            if let (EntryChange::Org(entry), Partition::Org(org)) = (entry, &change.partition) {
                self.append(org, entry);
            }
        }
        self.records.extend(change.records);
        Committed::Done
    }

    fn append(&mut self, org: &OrgId, entry: Entry) {
        for (index, notice) in (0..).zip(&entry.notices) {
            let (org, notice) = (org.clone(), notice.clone());
            self.notices.push(NoticeRow { org, entry: entry.number, index, at: entry.at, notice });
        }
        self.records.insert(RecordKey::Entry(org.clone(), entry.number), Record::Entry(Arc::new(entry)));
    }

    /// How many notices there are up to the one that a cursor names.
    fn notices_until(&self, text: &str) -> Result<usize, StoreError> {
        let place = self.notices.iter().position(|row| notice_text(row) == text);
        place.map(|place| place + 1).ok_or_else(|| bad_cursor(&Scan::Notices))
    }

    /// The rows of a scan, in order, from the first or from after the one a cursor names.
    fn rows<'a>(
        &'a self,
        scan: &'a Scan,
        after: Option<&str>,
    ) -> Result<Box<dyn Iterator<Item = Row> + 'a>, StoreError> {
        if matches!(scan, Scan::Notices) {
            let read = after.map(|text| self.notices_until(text)).transpose()?.unwrap_or(0);
            return Ok(Box::new(self.notices.iter().skip(read).cloned().map(Row::Notice)));
        }
        let after = after.map(|text| record_key(scan, text)).transpose()?;
        let row = |(key, record)| row(scan, key, record);
        if let Scan::Entries { org, order: Order::Newest } = scan {
            let end = after.map_or_else(|| Included(RecordKey::Entry(org.clone(), u64::MAX)), Excluded);
            let range = (Included(RecordKey::Entry(org.clone(), 0)), end);
            return Ok(Box::new(self.records.range(range).rev().map_while(row).flatten()));
        }
        let start = after.map_or_else(|| start_of(scan), Excluded);
        Ok(Box::new(self.records.range((start, Unbounded)).map_while(row).flatten()))
    }
}

/// Where in the order of all records a scan starts.
fn start_of(scan: &Scan) -> Bound<RecordKey> {
    match scan {
        Scan::Orgs | Scan::Notices => Unbounded,
        Scan::Entries { org, .. } => Included(RecordKey::Entry(org.clone(), 0)),
        Scan::OrgCounters { org, meter, window, from, .. } => {
            let period = Period { window: *window, number: *from };
            let id = CounterId { org: org.clone(), meter: meter.clone(), scope: Scope::Org, period };
            Included(RecordKey::Counter(id))
        }
        Scan::Tallies { org, meter } => UserId::new(FIRST_ID)
            .map_or(Unbounded, |user| Included(RecordKey::Tally(org.clone(), meter.clone(), user))),
        Scan::Unsent { org: Some(org) } => Included(RecordKey::Unsent(org.clone(), i32::MIN)),
        Scan::Unsent { org: None } => {
            OrgId::new(FIRST_ID).map_or(Unbounded, |org| Included(RecordKey::Unsent(org, i32::MIN)))
        }
        Scan::ApiKeys => Included(RecordKey::ApiKey(ApiKeyId(String::new()))),
        Scan::Catalogs => Included(RecordKey::Catalog(0)),
    }
}

/// The row a record is in a scan; `Some(None)` where the scan passes over it, `None` where the scan ends.
#[expect(clippy::option_option, reason = "reads best where it is used, once")]
fn row(scan: &Scan, key: &RecordKey, record: &Record) -> Option<Option<Row>> {
    match (scan, key, record) {
        (Scan::Orgs, _, Record::Org(org)) => Some(Some(Row::Org(Org::clone(org)))),
        (Scan::Entries { org, .. }, RecordKey::Entry(of, _), Record::Entry(entry)) if of == org => {
            Some(Some(Row::Entry(Entry::clone(entry))))
        }
        (
            Scan::OrgCounters { org, meter, window, until, .. },
            RecordKey::Counter(id),
            Record::Counter(counter),
        ) => {
            let inside = id.scope == Scope::Org && id.period.window == *window && id.period.number < *until;
            (id.org == *org && id.meter == *meter && inside)
                .then(|| Some(counter_row(id, Counter::clone(counter))))
        }
        (Scan::Tallies { org, meter }, RecordKey::Tally(of, on, user), Record::Tally(tally)) => {
            let row = || Some(Row::Tally(TallyRow { user: user.clone(), tally: Arc::clone(tally) }));
            (of == org && on == meter).then(row)
        }
        (Scan::Unsent { org }, RecordKey::Unsent(of, day), Record::Unsent(unsent)) => {
            let row = || UnsentRow { org: of.clone(), day: *day, unsent: Arc::clone(unsent) };
            org.as_ref().is_none_or(|org| org == of).then(|| (!unsent.is_empty()).then(|| Row::Unsent(row())))
        }
        (Scan::ApiKeys, _, Record::ApiKey(api_key)) => Some(Some(Row::ApiKey(ApiKey::clone(api_key)))),
        (Scan::Catalogs, _, Record::Catalog(catalog)) => {
            Some(Some(Row::Catalog(CatalogVersion::clone(catalog))))
        }
        _ => None,
    }
}

fn counter_row(id: &CounterId, counter: Counter) -> Row {
    Row::Counter(CounterRow { id: id.clone(), counter })
}

/// A cursor holds the scan it belongs to and the key of the last row it gave, both as text.
fn cursor_after(scan: &Scan, last: &Row) -> Cursor {
    let key = match last {
        Row::Org(org) => org.id.to_string(),
        Row::Entry(entry) => entry.number.to_string(),
        Row::Counter(row) => row.id.period.number.to_string(),
        Row::Tally(row) => row.user.to_string(),
        Row::Notice(row) => notice_text(row),
        Row::Unsent(row) => format!("{} {}", row.day, row.org),
        Row::ApiKey(api_key) => api_key.id.0.clone(),
        Row::Catalog(catalog) => catalog.version.to_string(),
    };
    Cursor(format!("{scan:?}\n{key}").into_bytes())
}

/// Names a notice.
fn notice_text(row: &NoticeRow) -> String {
    format!("{} {} {}", row.entry, row.index, row.org)
}

/// The text of the key in a cursor of this scan.
fn key_in<'a>(scan: &Scan, cursor: &'a Cursor) -> Result<&'a str, StoreError> {
    let text = str::from_utf8(&cursor.0).map_err(|error| bad_cursor(scan).caused_by(error))?;
    let key = text.strip_prefix(&format!("{scan:?}")).and_then(|rest| rest.strip_prefix('\n'));
    key.ok_or_else(|| bad_cursor(scan))
}

/// The key that the text in a cursor of this scan names.
fn record_key(scan: &Scan, text: &str) -> Result<RecordKey, StoreError> {
    let key = match scan {
        Scan::Orgs => OrgId::new(text).ok().map(RecordKey::Org),
        Scan::Entries { org, .. } => text.parse().ok().map(|number| RecordKey::Entry(org.clone(), number)),
        Scan::OrgCounters { org, meter, window, .. } => text.parse().ok().map(|number| {
            let period = Period { window: *window, number };
            RecordKey::Counter(CounterId {
                org: org.clone(),
                meter: meter.clone(),
                scope: Scope::Org,
                period,
            })
        }),
        Scan::Tallies { org, meter } => {
            UserId::new(text).ok().map(|user| RecordKey::Tally(org.clone(), meter.clone(), user))
        }
        Scan::Unsent { .. } => text
            .split_once(' ')
            .and_then(|(day, org)| Some(RecordKey::Unsent(OrgId::new(org).ok()?, day.parse().ok()?))),
        Scan::ApiKeys => Some(RecordKey::ApiKey(ApiKeyId(text.to_owned()))),
        Scan::Catalogs => text.parse().ok().map(RecordKey::Catalog),
        Scan::Notices => None,
    };
    key.ok_or_else(|| bad_cursor(scan))
}

fn bad_cursor(scan: &Scan) -> StoreError {
    StoreError::new(StoreErrorKind::BadCursor, format!("the cursor was not given by the scan {scan:?}"))
}

/// What is larger than declared is refused; what must be true of a batch, whoever commits it, is asserted.
fn check_batch(batch: &Batch) -> Result<(), StoreError> {
    let entries: usize = batch.changes.iter().map(|change| change.entries.len()).sum();
    if batch.changes.len() > CHANGES_MAX || entries > ENTRIES_MAX {
        let text = format!(
            "{} changes with {entries} entries are more than the {CHANGES_MAX} and {ENTRIES_MAX} of one batch",
            batch.changes.len()
        );
        return Err(StoreError::new(StoreErrorKind::TooLarge, text));
    }
    let partitions: BTreeSet<&Partition> = batch.changes.iter().map(|change| &change.partition).collect();
    assert_eq!(partitions.len(), batch.changes.len(), "a batch has at most one change of a partition");
    batch.changes.iter().for_each(check_change);
    Ok(())
}

fn check_change(change: &Change) {
    let partition = &change.partition;
    assert!(!change.entries.is_empty(), "a change of {partition:?} has an entry");
    let mut version = change.expected_version;
    for entry in &change.entries {
        let number = match (entry, partition) {
            (EntryChange::Org(entry), Partition::Org(_)) => Some(entry.number),
            (EntryChange::System(entry), Partition::System) => Some(entry.number),
            _ => None,
        };
        assert_eq!(
            number,
            Some(version + 1),
            "the entries of {partition:?} are its own and numbered without gaps"
        );
        version += 1;
    }
    let mut versioned = false;
    for (key, record) in &change.records {
        assert_eq!(key.partition(), *partition, "a record of a change belongs to its partition");
        assert!(is_kind_of(key, record), "the record of {key:?} is of its kind");
        if matches!(record, Record::Org(_) | Record::System(_)) {
            assert_eq!(
                version_of(record),
                version,
                "the version of {partition:?} is the number of its latest entry"
            );
            versioned = true;
        }
    }
    assert!(versioned, "a change of {partition:?} holds the record with its version");
    let keys: BTreeSet<&RecordKey> = change.records.iter().map(|(key, _)| key).collect();
    assert_eq!(keys.len(), change.records.len(), "a change of {partition:?} holds a record once");
}

/// Entries are no records of a change: they are its entries.
fn is_kind_of(key: &RecordKey, record: &Record) -> bool {
    match (key, record) {
        (RecordKey::Org(id), Record::Org(org)) => *id == org.id,
        (RecordKey::Catalog(version), Record::Catalog(catalog)) => *version == catalog.version,
        (RecordKey::ApiKey(id), Record::ApiKey(api_key)) => *id == api_key.id,
        (RecordKey::Bill(_, month), Record::Bill(bill)) => *month == bill.rated.month.number,
        (RecordKey::Account(..), Record::Account(_))
        | (RecordKey::Tally(..) | RecordKey::Seen(..), Record::Tally(_))
        | (RecordKey::Counter(_), Record::Counter(_))
        | (RecordKey::Groups(..), Record::Groups(_))
        | (RecordKey::Unsent(..), Record::Unsent(_))
        | (RecordKey::Shipment, Record::Shipment(_))
        | (RecordKey::Key(_), Record::Key(_))
        | (RecordKey::System, Record::System(_)) => true,
        _ => false,
    }
}

fn version_of(record: &Record) -> u64 {
    match record {
        Record::Org(org) => org.version,
        Record::System(system) => system.version,
        _ => 0,
    }
}

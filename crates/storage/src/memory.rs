//! The reference store: ordered maps behind one lock.

use std::collections::BTreeMap;
use std::ops::Bound::{self, Excluded, Included, Unbounded};
use std::str;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tollgate_domain::{
    ApiKey, ApiKeyId, CatalogVersion, Counter, CounterId, Entry, KeyId, KeyRecord, KeySpace, Org, OrgId,
    Partition, Period, Record, RecordKey, Scope, ScopePath, SystemEntry, UsageKey, UserId,
};

use crate::check::{check_appends, check_image};
use crate::{
    Append, Appended, Appends, Capabilities, CounterRow, Cursor, EntryChange, Image, Loaded, NoticeRow,
    Opened, Order, Page, Parts, PathTallyRow, Row, Scan, Store, StoreError, StoreErrorKind, TallyRow,
    UnsentRow,
};

/// Most appends in one call: one for each record of the largest request.
const APPENDS_MAX: usize = 10_000;

/// Most entries in one call: far beyond what one commit gathers, small enough that a test can exceed it.
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
    /// The images, and the entries of orgs among them.
    records: BTreeMap<RecordKey, Record>,
    /// The entries of the system.
    system: Vec<SystemEntry>,
    /// The number of each org's latest entry.
    versions: BTreeMap<OrgId, u64>,
    /// What is remembered of callers' keys.
    keys: BTreeMap<KeyId, KeyRecord>,
    /// The notices of all entries, as they were appended.
    notices: Vec<NoticeRow>,
    /// How many calls appended something.
    position: u64,
    /// Who has which lease.
    leases: BTreeMap<String, Held>,
    /// From when on the time of leases is told.
    since: Option<Instant>,
}

/// A lease that somebody has, or had.
#[derive(Debug)]
struct Held {
    holder: u64,
    number: u64,
    until: Duration,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// [`Store::claim`] at a moment, as a time since some other: whoever simulates has a time of their own.
    pub fn claim_at(&self, now: Duration, lease: &str, holder: u64, time: Duration) -> Option<u64> {
        self.state().claim(now, lease, holder, time)
    }

    /// A call changes the state only after everything was checked, so a lock left by a panic guards a whole state.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    async fn append(&self, appends: Vec<Append>) -> Result<Appends, StoreError> {
        check_appends(&appends, APPENDS_MAX, ENTRIES_MAX)?;
        let mut state = self.state();
        let answers = appends.into_iter().map(|append| state.append(append)).collect();
        state.position += 1;
        Ok(Appends { answers, position: state.position })
    }

    async fn open(&self, partitions: &[Partition]) -> Result<Vec<Opened>, StoreError> {
        let state = self.state();
        Ok(partitions.iter().map(|partition| state.open(partition)).collect())
    }

    async fn versions(&self, partitions: &[Partition]) -> Result<Vec<u64>, StoreError> {
        let state = self.state();
        Ok(partitions.iter().map(|partition| state.version(partition)).collect())
    }

    async fn load(&self, asked: &[Parts]) -> Result<Vec<Loaded>, StoreError> {
        let state = self.state();
        let record = |key: &RecordKey| state.records.get(key).filter(|record| !record.is_nothing()).cloned();
        let loaded = |Parts { partition, image, keys }: &Parts| {
            (state.image(partition) == *image).then(|| keys.iter().map(record).collect())
        };
        Ok(asked.iter().map(loaded).collect())
    }

    async fn find(&self, keys: &[KeyId]) -> Result<Vec<Option<KeyRecord>>, StoreError> {
        let state = self.state();
        Ok(keys.iter().map(|key| state.keys.get(key).cloned()).collect())
    }

    async fn checkpoint(&self, images: Arc<[Image]>, _whole_until: u64) -> Result<(), StoreError> {
        images.iter().for_each(check_image);
        let mut state = self.state();
        for image in images.iter() {
            assert!(
                image.version <= state.version(&image.partition),
                "an image is of entries that are there"
            );
            if image.version > state.image(&image.partition) {
                state.records.extend(image.records.iter().cloned());
            }
        }
        Ok(())
    }

    async fn behind(&self) -> Result<Vec<Partition>, StoreError> {
        let state = self.state();
        let orgs = state.versions.keys().cloned().map(Partition::Org);
        let all = std::iter::once(Partition::System).chain(orgs);
        Ok(all.filter(|partition| state.image(partition) < state.version(partition)).collect())
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

    async fn claim(&self, lease: &str, holder: u64, time: Duration) -> Result<Option<u64>, StoreError> {
        let mut state = self.state();
        let now = state.since.get_or_insert_with(Instant::now).elapsed();
        Ok(state.claim(now, lease, holder, time))
    }

    fn position(&self) -> u64 {
        self.state().position
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: false,
            shared: false,
            knows_new: false,
            appends_max: APPENDS_MAX,
            entries_max: ENTRIES_MAX,
        }
    }

    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl State {
    fn claim(&mut self, now: Duration, lease: &str, holder: u64, time: Duration) -> Option<u64> {
        let held = self.leases.entry(lease.to_owned());
        let held = held.or_insert(Held { holder, number: 1, until: now });
        if held.holder != holder {
            if now < held.until {
                return None;
            }
            held.number += 1;
        }
        (held.holder, held.until) = (holder, now + time);
        Some(held.number)
    }

    /// The number of a partition's latest entry.
    fn version(&self, partition: &Partition) -> u64 {
        match partition {
            Partition::Org(org) => self.versions.get(org).copied().unwrap_or(0),
            Partition::System => self.system.last().map_or(0, |entry| entry.number),
        }
    }

    fn head(&self, partition: &Partition) -> Option<&Record> {
        self.records.get(&match partition {
            Partition::Org(org) => RecordKey::Org(org.clone()),
            Partition::System => RecordKey::System,
        })
    }

    /// The version of a partition's image.
    fn image(&self, partition: &Partition) -> u64 {
        self.head(partition).map_or(0, Record::version)
    }

    fn open(&self, partition: &Partition) -> Opened {
        let head = self.head(partition).cloned();
        let image = self.image(partition);
        let entries = match partition {
            Partition::Org(org) => {
                let from = RecordKey::Entry(org.clone(), image + 1);
                let since = self.records.range(from..=RecordKey::Entry(org.clone(), u64::MAX));
                let entries = since.filter_map(|(_, record)| match record {
                    Record::Entry(entry) => Some(EntryChange::Org(Entry::clone(entry))),
                    _ => None,
                });
                entries.collect()
            }
            Partition::System => {
                let since = self.system.iter().filter(|entry| entry.number > image);
                since.cloned().map(EntryChange::System).collect()
            }
        };
        Opened { head, entries }
    }

    fn append(&mut self, append: Append) -> Appended {
        if self.version(&append.partition) != append.expected_version {
            return Appended::Conflict;
        }
        for entry in append.entries {
            match (entry, &append.partition) {
                (EntryChange::Org(entry), Partition::Org(org)) => self.append_entry(org, entry),
                (EntryChange::System(entry), _) => self.system.push(entry),
                (EntryChange::Org(_), Partition::System) => {}
            }
        }
        Appended::Done
    }

    fn append_entry(&mut self, org: &OrgId, entry: Entry) {
        for (index, notice) in (0..).zip(&entry.notices) {
            let (org, notice) = (org.clone(), notice.clone());
            self.notices.push(NoticeRow { org, entry: entry.number, index, at: entry.at, notice });
        }
        let id = |space, key: &UsageKey| KeyId { org: org.clone(), space, key: key.clone() };
        if let Some((space, key, record)) = entry.made_key() {
            self.keys.insert(id(space, key), record);
        }
        if let Some(known) = entry.took_back_key().and_then(|key| self.keys.get_mut(&id(KeySpace::Use, key)))
        {
            known.reversed_by = Some(entry.number);
        }
        self.versions.insert(org.clone(), entry.number);
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
        if matches!(scan, Scan::SystemEntries) {
            let read = after.map(|text| text.parse::<u64>().map_err(|_| bad_cursor(scan))).transpose()?;
            let since = self.system.iter().filter(move |entry| entry.number > read.unwrap_or(0));
            return Ok(Box::new(since.cloned().map(Row::SystemEntry)));
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
        Scan::Orgs | Scan::Notices | Scan::SystemEntries => Unbounded,
        Scan::Entries { org, .. } => Included(RecordKey::Entry(org.clone(), 0)),
        Scan::OrgCounters { org, meter, window, from, .. } => {
            let period = Period { window: *window, number: *from };
            let id = CounterId { org: org.clone(), meter: meter.clone(), scope: Scope::Org, period };
            Included(RecordKey::Counter(id))
        }
        Scan::Tallies { org, meter } => UserId::new(FIRST_ID)
            .map_or(Unbounded, |user| Included(RecordKey::Tally(org.clone(), meter.clone(), user))),
        Scan::PathTallies { org, meter } => ScopePath::new(FIRST_ID)
            .map_or(Unbounded, |path| Included(RecordKey::PathTally(org.clone(), meter.clone(), path))),
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
        (Scan::PathTallies { org, meter }, RecordKey::PathTally(of, on, path), Record::Tally(tally)) => {
            let row = || Some(Row::PathTally(PathTallyRow { path: path.clone(), tally: Arc::clone(tally) }));
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
        Row::SystemEntry(entry) => entry.number.to_string(),
        Row::Counter(row) => row.id.period.number.to_string(),
        Row::Tally(row) => row.user.to_string(),
        Row::PathTally(row) => row.path.to_string(),
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
        Scan::PathTallies { org, meter } => {
            ScopePath::new(text).ok().map(|path| RecordKey::PathTally(org.clone(), meter.clone(), path))
        }
        Scan::Unsent { .. } => text
            .split_once(' ')
            .and_then(|(day, org)| Some(RecordKey::Unsent(OrgId::new(org).ok()?, day.parse().ok()?))),
        Scan::ApiKeys => Some(RecordKey::ApiKey(ApiKeyId(text.to_owned()))),
        Scan::Catalogs => text.parse().ok().map(RecordKey::Catalog),
        Scan::Notices | Scan::SystemEntries => None,
    };
    key.ok_or_else(|| bad_cursor(scan))
}

fn bad_cursor(scan: &Scan) -> StoreError {
    StoreError::new(StoreErrorKind::BadCursor, format!("the cursor was not given by the scan {scan:?}"))
}

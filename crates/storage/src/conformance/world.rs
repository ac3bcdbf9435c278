//! What a store should hold: a naive model, and the builder of the changes that lead there.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;

use tollgate_domain::{
    Actor, ApiKeyId, CounterId, Entry, EntryKind, MeterId, Notice, OrgId, OrgState, Partition, Period,
    Record, RecordKey, Scope, SystemEntry, SystemEntryKind, SystemRecords, Timestamp, Window, apply_system,
    load_and_apply, touched_by_system,
};

use super::samples::moment;
use crate::{Change, CounterRow, EntryChange, NoticeRow, Order, Row, Scan, TallyRow, UnsentRow};

/// All that was committed, kept in the plainest way: scans look at everything and sort.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    records: BTreeMap<RecordKey, Record>,
    entries: BTreeMap<(OrgId, u64), Arc<Entry>>,
    /// As they were committed.
    notices: Vec<NoticeRow>,
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

    /// A change of an org decided on what is committed, at the next moment.
    pub(super) fn change<L: Into<Line>>(
        &mut self,
        org: &OrgId,
        lines: impl IntoIterator<Item = L>,
    ) -> Change {
        let at = self.tick();
        self.change_at(at, org, lines)
    }

    /// A change of an org decided on what is committed.
    pub(super) fn change_at<L: Into<Line>>(
        &self,
        at: Timestamp,
        org: &OrgId,
        lines: impl IntoIterator<Item = L>,
    ) -> Change {
        change_of(org, at, lines.into_iter().map(Into::into), |key| self.record(key))
    }

    /// A change of the system decided on what is committed, at the next moment.
    pub(super) fn system_change(&mut self, kinds: impl IntoIterator<Item = SystemEntryKind>) -> Change {
        let at = self.tick();
        let mut records = SystemRecords::default();
        records.put(RecordKey::System, self.record(&RecordKey::System));
        let expected_version = records.system().version;
        let mut entries = Vec::new();
        for (number, kind) in (expected_version + 1..).zip(kinds) {
            let entry = SystemEntry { number, at, actor: Actor::Local, kind };
            for key in touched_by_system(&entry) {
                let record = self.record(&key);
                records.put(key, record);
            }
            apply_system(&mut records, &entry);
            entries.push(EntryChange::System(entry));
        }
        Change { partition: Partition::System, expected_version, entries, records: changed(&records) }
    }

    /// Remembers a change as made.
    pub(super) fn take(&mut self, change: &Change) {
        self.records.extend(change.records.iter().cloned());
        for entry in &change.entries {
            if let (EntryChange::Org(entry), Partition::Org(org)) = (entry, &change.partition) {
                self.entries.insert((org.clone(), entry.number), Arc::new(entry.clone()));
                for (index, notice) in (0..).zip(&entry.notices) {
                    let (org, notice) = (org.clone(), notice.clone());
                    self.notices.push(NoticeRow { org, entry: entry.number, index, at: entry.at, notice });
                }
            }
        }
    }

    pub(super) fn record(&self, key: &RecordKey) -> Option<Record> {
        match key {
            RecordKey::Entry(org, number) => {
                self.entries.get(&(org.clone(), *number)).cloned().map(Record::Entry)
            }
            _ => self.records.get(key).filter(|record| !record.is_nothing()).cloned(),
        }
    }

    /// The keys of everything there is.
    pub(super) fn keys(&self) -> Vec<RecordKey> {
        let entries = self.entries.keys().map(|(org, number)| RecordKey::Entry(org.clone(), *number));
        self.records.keys().cloned().chain(entries).collect()
    }

    /// The number of an org's latest entry.
    pub(super) fn version(&self, of: &OrgId) -> u64 {
        match self.records.get(&RecordKey::Org(of.clone())) {
            Some(Record::Org(org)) => org.version,
            _ => 0,
        }
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

    /// Every scan that gives something.
    pub(super) fn scans(&self) -> Vec<Scan> {
        let mut scans =
            vec![Scan::Orgs, Scan::Unsent { org: None }, Scan::Notices, Scan::ApiKeys, Scan::Catalogs];
        let orgs: BTreeSet<&OrgId> = self.entries.keys().map(|(org, _)| org).collect();
        for org in orgs {
            scans.push(Scan::Entries { org: org.clone(), order: Order::Oldest });
            scans.push(Scan::Entries { org: org.clone(), order: Order::Newest });
            scans.push(Scan::Unsent { org: Some(org.clone()) });
        }
        let (mut of_orgs, mut of_users) = (BTreeSet::new(), BTreeSet::new());
        for key in self.records.keys() {
            match key {
                RecordKey::Counter(id) if id.scope == Scope::Org => {
                    of_orgs.insert((&id.org, &id.meter, id.period.window));
                }
                RecordKey::Tally(org, meter, _) => {
                    of_users.insert((org, meter));
                }
                _ => {}
            }
        }
        scans.extend(of_orgs.into_iter().map(|(org, meter, window)| {
            let (org, meter) = (org.clone(), meter.clone());
            Scan::OrgCounters { org, meter, window, from: i32::MIN, until: i32::MAX }
        }));
        scans.extend(of_users.into_iter().map(|(org, meter)| {
            let (org, meter) = (org.clone(), meter.clone());
            Scan::Tallies { org, meter }
        }));
        scans
    }

    /// What a scan should give.
    pub(super) fn rows(&self, scan: &Scan) -> Vec<Row> {
        match scan {
            Scan::Orgs => self.sorted(
                |_, record| {
                    if let Record::Org(org) = record { Some(Row::Org(org.as_ref().clone())) } else { None }
                },
                |row| if let Row::Org(org) = row { org.id.as_str().as_bytes().to_vec() } else { Vec::new() },
            ),
            Scan::Entries { org, order } => {
                let mut entries = self.entries(org);
                match order {
                    Order::Oldest => entries.sort_by_key(|entry| entry.number),
                    Order::Newest => entries.sort_by_key(|entry| Reverse(entry.number)),
                }
                entries.into_iter().map(Row::Entry).collect()
            }
            Scan::OrgCounters { org, meter, window, from, until } => self.counters(org, meter, |id| {
                let period = id.period;
                id.scope == Scope::Org
                    && period.window == *window
                    && *from <= period.number
                    && period.number < *until
            }),
            Scan::Tallies { org, meter } => self.tallies(org, meter),
            Scan::Unsent { org } => self.unsent(org.as_ref()),
            Scan::Notices => self.notices.iter().cloned().map(Row::Notice).collect(),
            Scan::ApiKeys => self.sorted(
                |_, record| match record {
                    Record::ApiKey(api_key) => Some(Row::ApiKey(api_key.as_ref().clone())),
                    _ => None,
                },
                |row| {
                    if let Row::ApiKey(api_key) = row { api_key.id.0.as_bytes().to_vec() } else { Vec::new() }
                },
            ),
            Scan::Catalogs => self.sorted(
                |_, record| match record {
                    Record::Catalog(catalog) => Some(Row::Catalog(catalog.as_ref().clone())),
                    _ => None,
                },
                |row| if let Row::Catalog(catalog) = row { catalog.version } else { 0 },
            ),
        }
    }

    fn sorted<K: Ord>(
        &self,
        row: impl Fn(&RecordKey, &Record) -> Option<Row>,
        order: impl Fn(&Row) -> K,
    ) -> Vec<Row> {
        let mut rows: Vec<Row> = self.records.iter().filter_map(|(key, record)| row(key, record)).collect();
        rows.sort_by_key(order);
        rows
    }

    fn tallies(&self, org: &OrgId, meter: &MeterId) -> Vec<Row> {
        let mut rows: Vec<TallyRow> = self
            .records
            .iter()
            .filter_map(|(key, record)| match (key, record) {
                (RecordKey::Tally(of, on, user), Record::Tally(tally)) if of == org && on == meter => {
                    Some(TallyRow { user: user.clone(), tally: Arc::clone(tally) })
                }
                _ => None,
            })
            .collect();
        rows.sort_by_key(|row| row.user.as_str().as_bytes().to_vec());
        rows.into_iter().map(Row::Tally).collect()
    }

    /// By org and day.
    fn unsent(&self, org: Option<&OrgId>) -> Vec<Row> {
        let mut rows: Vec<UnsentRow> = self
            .records
            .iter()
            .filter_map(|(key, record)| match (key, record) {
                (RecordKey::Unsent(of, day), Record::Unsent(unsent))
                    if !unsent.is_empty() && org.is_none_or(|org| org == of) =>
                {
                    Some(UnsentRow { org: of.clone(), day: *day, unsent: Arc::clone(unsent) })
                }
                _ => None,
            })
            .collect();
        rows.sort_by_key(|row| (row.org.as_str().as_bytes().to_vec(), row.day));
        rows.into_iter().map(Row::Unsent).collect()
    }

    /// By period.
    fn counters(&self, org: &OrgId, meter: &MeterId, wanted: impl Fn(&CounterId) -> bool) -> Vec<Row> {
        let period = Period { window: Window::Minute, number: i32::MIN };
        let first = CounterId { org: org.clone(), meter: meter.clone(), scope: Scope::Org, period };
        let mut rows = Vec::new();
        for (key, record) in self.records.range(RecordKey::Counter(first)..) {
            match (key, record) {
                (RecordKey::Counter(id), Record::Counter(counter))
                    if id.org == *org && id.meter == *meter =>
                {
                    if wanted(id) {
                        rows.push(CounterRow { id: id.clone(), counter: counter.as_ref().clone() });
                    }
                }
                _ => break,
            }
        }
        rows.sort_by_key(|row| row.id.period.number);
        rows.into_iter().map(Row::Counter).collect()
    }
}

/// A change of an org decided on the records that `find` finds.
pub(super) fn change_of(
    org: &OrgId,
    at: Timestamp,
    lines: impl IntoIterator<Item = Line>,
    find: impl Fn(&RecordKey) -> Option<Record>,
) -> Change {
    let mut state = OrgState::of(org.clone(), find(&RecordKey::Org(org.clone())));
    let expected_version = state.version();
    let mut entries = Vec::new();
    for (number, line) in (expected_version + 1..).zip(lines) {
        let entry = Entry {
            number,
            at,
            actor: Actor::Key(ApiKeyId(format!("{number:016x}"))),
            catalog: 1,
            kind: line.kind,
            settled: Vec::new(),
            notices: line.notices,
        };
        let found: Result<(), Infallible> = load_and_apply(&mut state, &entry, |key| Ok(find(key)));
        let Ok(()) = found;
        entries.push(EntryChange::Org(entry));
    }
    let changed: BTreeMap<RecordKey, Record> = state.take_changed().into_iter().collect();
    let records = changed.into_iter().collect();
    Change { partition: Partition::Org(org.clone()), expected_version, entries, records }
}

/// In a fixed order: that of a hash map would not repeat.
fn changed(records: &SystemRecords) -> Vec<(RecordKey, Record)> {
    let changed: BTreeMap<_, _> =
        records.changed().map(|(key, record)| (key.clone(), record.clone())).collect();
    changed.into_iter().collect()
}

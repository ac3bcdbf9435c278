//! What scans should give: the model looks at everything and sorts.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use tollgate_domain::{CounterId, MeterId, OrgId, Partition, Period, Record, RecordKey, Scope, Window};

use super::world::World;
use crate::{CounterRow, Order, PathTallyRow, Row, Scan, TallyRow, UnsentRow};

impl World {
    /// Every scan that gives something.
    pub(super) fn scans(&self) -> Vec<Scan> {
        let mut scans =
            vec![Scan::Orgs, Scan::Unsent { org: None }, Scan::Notices, Scan::ApiKeys, Scan::Catalogs];
        scans.push(Scan::SystemEntries);
        for partition in self.partitions() {
            let Partition::Org(org) = partition else { continue };
            scans.push(Scan::Entries { org: org.clone(), order: Order::Oldest });
            scans.push(Scan::Entries { org: org.clone(), order: Order::Newest });
            scans.push(Scan::Unsent { org: Some(org.clone()) });
        }
        let (mut of_orgs, mut of_users, mut of_paths) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for key in self.records.keys() {
            match key {
                RecordKey::Counter(id) if id.scope == Scope::Org => {
                    of_orgs.insert((&id.org, &id.meter, id.period.window));
                }
                RecordKey::Tally(org, meter, _) => {
                    of_users.insert((org, meter));
                }
                RecordKey::PathTally(org, meter, _) => {
                    of_paths.insert((org, meter));
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
        scans.extend(of_paths.into_iter().map(|(org, meter)| {
            let (org, meter) = (org.clone(), meter.clone());
            Scan::PathTallies { org, meter }
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
            Scan::SystemEntries => self.system.iter().cloned().map(Row::SystemEntry).collect(),
            Scan::OrgCounters { org, meter, window, from, until } => self.counters(org, meter, |id| {
                let period = id.period;
                id.scope == Scope::Org
                    && period.window == *window
                    && *from <= period.number
                    && period.number < *until
            }),
            Scan::Tallies { org, meter } => self.tallies(org, meter),
            Scan::PathTallies { org, meter } => self.path_tallies(org, meter),
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
        let mut rows: Vec<Row> = self.imaged.iter().filter_map(|(key, record)| row(key, record)).collect();
        rows.sort_by_key(order);
        rows
    }

    fn tallies(&self, org: &OrgId, meter: &MeterId) -> Vec<Row> {
        let mut rows: Vec<TallyRow> = self
            .imaged
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

    fn path_tallies(&self, org: &OrgId, meter: &MeterId) -> Vec<Row> {
        self.sorted(
            |key, record| match (key, record) {
                (RecordKey::PathTally(of, on, path), Record::Tally(tally)) if of == org && on == meter => {
                    Some(Row::PathTally(PathTallyRow { path: path.clone(), tally: Arc::clone(tally) }))
                }
                _ => None,
            },
            |row| match row {
                Row::PathTally(row) => row.path.as_str().as_bytes().to_vec(),
                _ => Vec::new(),
            },
        )
    }

    /// By org and day.
    fn unsent(&self, org: Option<&OrgId>) -> Vec<Row> {
        let mut rows: Vec<UnsentRow> = self
            .imaged
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
        for (key, record) in self.imaged.range(RecordKey::Counter(first)..) {
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

//! A random history, compared with the model all the way.

use std::sync::Arc;

use fastrand::Rng;
use tollgate_domain::{
    Among, ApiKeyId, CounterId, Counting, EntryKind, KeyId, KeySpace, LimitScope, NewMeter, OrgId, Partition,
    Period, RecordKey, Role, Scope, Seen, SystemEntryKind, UsedEntry, Window,
};

use super::Subject;
use super::harness::{End, Harness};
use super::samples::{self, api_key, meter, org, period, put, used, used_once, user};
use super::world::{Line, World};
use crate::{Change, Committed, EntryChange, Order, Scan, Store};

/// Batches in a history.
const STEPS: usize = 2_000;

/// Steps between comparisons of everything.
const FULL_CHECK_STEPS: usize = 500;

/// Steps between ends of a durable store, on average.
const REOPEN_STEPS: usize = 200;

/// The changes made lately, to be sent again.
const STALE_KEPT: usize = 16;

const ORGS: [&str; 6] = ["a", "a!", "ab", "b", "é", "\u{10348}"];
const USERS: [&str; 4] = ["u", "u ", "uu", "Ü"];
const METERS: [&str; 3] = ["m", "m/", "n"];

/// Few keys in all: some come again, in the same change too.
const KEYS: u32 = 5_000;
const CATALOGS: u32 = 300;
const API_KEYS: u8 = 40;

struct History {
    rng: Rng,
    world: World,
    /// Changes made lately: sent again, they conflict.
    stale: Vec<Change>,
    names: usize,
}

pub(super) fn a_random_history_matches_the_model<S: Subject>(mut harness: Harness<'_, S>) {
    let rng = Rng::with_seed(harness.seed());
    let mut history = History { rng, world: World::default(), stale: Vec::new(), names: 0 };
    let durable = harness.store().capabilities().durable;
    for step in 1..=STEPS {
        let (changes, wanted) = history.batch();
        let answers = harness.commit(changes.clone());
        assert_eq!(
            answers,
            wanted,
            "step {step}: {:?}",
            changes.iter().map(|change| &change.partition).collect::<Vec<_>>()
        );
        history.compare_some(&harness);
        if durable && history.rng.usize(..REOPEN_STEPS) == 0 {
            let end = if history.rng.bool() { End::Close } else { End::Crash };
            harness = harness.reopen(end);
            history.compare_some(&harness);
        }
        if step % FULL_CHECK_STEPS == 0 {
            harness.check(&history.world);
        }
    }
    harness.finish();
}

impl History {
    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.rng.usize(..from.len())]
    }

    /// Some changes of different partitions, and what becomes of each; those made are in the model.
    fn batch(&mut self) -> (Vec<Change>, Vec<Committed>) {
        let mut partitions: Vec<Option<&str>> = ORGS.map(Some).into_iter().chain([None]).collect();
        self.rng.shuffle(&mut partitions);
        partitions.truncate(self.rng.usize(1..=4));
        let (mut changes, mut wanted) = (Vec::new(), Vec::new());
        for partition in partitions {
            let (change, answer) = self.change(partition);
            changes.push(change);
            wanted.push(answer);
        }
        for (change, answer) in changes.iter().zip(&wanted) {
            if *answer == Committed::Done {
                self.world.take(change);
                self.stale.push(change.clone());
            }
        }
        let surplus = self.stale.len().saturating_sub(STALE_KEPT);
        self.stale.drain(..surplus);
        (changes, wanted)
    }

    fn change(&mut self, partition: Option<&str>) -> (Change, Committed) {
        let wanted = partition.map_or(Partition::System, |id| Partition::Org(org(id)));
        if self.rng.u8(..8) == 0
            && let Some(stale) = self.stale.iter().find(|change| change.partition == wanted)
        {
            return (stale.clone(), Committed::Conflict);
        }
        let change = match partition {
            Some(id) => {
                let id = org(id);
                let count = self.rng.usize(1..=4);
                let lines: Vec<Line> = (0..count).map(|_| self.line(&id)).collect();
                self.world.change(&id, lines)
            }
            None => {
                let kind = self.system_kind();
                self.world.system_change([kind])
            }
        };
        if self.rng.u8(..16) == 0 && change.entries.len() > 1 {
            return (ahead(change), Committed::Conflict);
        }
        (change, Committed::Done)
    }

    fn line(&mut self, id: &OrgId) -> Line {
        if self.rng.u8(..20) > 0 {
            return self.kind(id).into();
        }
        let mut notices = samples::notices_of_every_kind();
        self.rng.shuffle(&mut notices);
        notices.truncate(self.rng.usize(1..4));
        samples::noticed(notices)
    }

    fn kind(&mut self, id: &OrgId) -> EntryKind {
        self.names += 1;
        let name = format!("name {}", self.names);
        let of = self.pick(&METERS);
        match self.rng.u8(..20) {
            0 => put(&name),
            1 => samples::plan_set("basic"),
            2 => {
                let scope = match self.rng.u8(..3) {
                    0 => LimitScope::Org,
                    1 => LimitScope::EachUser,
                    _ => LimitScope::User(user(self.pick(&USERS))),
                };
                let whole = self.rng.bool().then(|| self.rng.i64(1..1_000));
                samples::limit_set(of, scope, whole)
            }
            3 if self.rng.u8(..4) == 0 => samples::bill_closed(self.rng.i32(-3..3), self.rng.u32(..9)),
            3 => samples::topped_up(of, Some(&name), self.rng.u64(1..100)),
            4 => samples::refused(of, Some(self.pick(&USERS))),
            5..8 => self.reversal(id).unwrap_or_else(|| put(&name)),
            _ => {
                let by = self.rng.bool().then(|| self.pick(&USERS));
                let periods = Window::ALL.map(|window| period(window, self.rng.i32(-3..3)));
                let with = format!("key {}", self.rng.u32(..KEYS));
                let count = self.rng.usize(..=periods.len());
                let values = [("model", self.pick(&USERS))];
                let group = self.rng.bool().then(|| samples::group(&values[..self.rng.usize(..=1)]));
                let counting = match self.rng.u8(..6) {
                    0 => Counting::Max,
                    1 => Counting::Unique { value: Some(Arc::from(self.pick(&USERS))) },
                    _ => Counting::Sum,
                };
                let once = UsedEntry { group, counting, ..used_once(of, by, &with) };
                used(UsedEntry { periods: periods[..count].to_vec(), ..once })
            }
        }
    }

    /// Takes back one of an org's usages, whether it was taken back before or not.
    fn reversal(&mut self, id: &OrgId) -> Option<EntryKind> {
        let numbers = 1..=self.world.version(id);
        if numbers.is_empty() {
            return None;
        }
        let number = self.rng.u64(numbers);
        match self.world.entry(id, number)?.kind {
            EntryKind::Used(used) => Some(EntryKind::Reversed { entry: number, used }),
            _ => None,
        }
    }

    fn system_kind(&mut self) -> SystemEntryKind {
        let id = format!("{:02x}", self.rng.u8(..API_KEYS));
        match self.rng.u8(..4) {
            3 => SystemEntryKind::MetersCreated(vec![
                NewMeter::from(&meter(&id)),
                NewMeter::from(&meter("more")),
            ]),
            0 => SystemEntryKind::ApiKeyMade(api_key(&id, Role::ALL[self.rng.usize(..4)], None)),
            1 => SystemEntryKind::ApiKeyRevoked(ApiKeyId(id)),
            _ => SystemEntryKind::CatalogApplied {
                version: self.rng.u32(..CATALOGS),
                text: format!("# {}", self.names),
            },
        }
    }

    /// Compares a few records and one scan with the model.
    fn compare_some<S: Subject>(&mut self, harness: &Harness<'_, S>) {
        let mut keys: Vec<RecordKey> = (0..12).map(|_| self.key()).collect();
        if let Some(latest) = self.stale.last() {
            keys.extend(latest.records.iter().map(|(key, _)| key.clone()));
        }
        for (key, found) in keys.iter().zip(harness.load(&keys)) {
            assert_eq!(found, self.world.record(key), "{key:?} (left: the store's, right: expected)");
        }
        let scan = self.scan();
        let limit = match scan {
            // Long ones, by few pages.
            Scan::Notices | Scan::Entries { .. } => self.rng.usize(100..1_000),
            _ => self.rng.usize(1..20),
        };
        harness.check_scan(&self.world, &scan, limit);
    }

    /// The key of a record that may be there.
    fn key(&mut self) -> RecordKey {
        let (id, of) = (org(self.pick(&ORGS)), meter(self.pick(&METERS)));
        match self.rng.u8(..14) {
            0 => RecordKey::Org(id),
            1 => RecordKey::Account(id, of),
            2 => {
                let scope = if self.rng.bool() { Scope::Org } else { Scope::User(user(self.pick(&USERS))) };
                RecordKey::Counter(CounterId { org: id, meter: of, scope, period: self.period() })
            }
            3 => {
                let key = samples::key(&format!("key {}", self.rng.u32(..KEYS)));
                RecordKey::Key(KeyId { org: id, space: KeySpace::Use, key })
            }
            4 => {
                let latest = self.world.version(&id);
                RecordKey::Entry(id, self.rng.u64(..=latest + 1))
            }
            5 => RecordKey::System,
            6 => RecordKey::Catalog(self.rng.u32(..CATALOGS)),
            7 => RecordKey::Groups(id, of, self.period()),
            8 => RecordKey::Bill(id, self.rng.i32(-3..3)),
            9 => RecordKey::Tally(id, of, user(self.pick(&USERS))),
            10 => {
                let value = Arc::from(self.pick(&USERS));
                RecordKey::Seen(id, of, Arc::new(Seen { among: Among::Org, value }))
            }
            11 => RecordKey::Unsent(id, self.rng.i32(-3..3)),
            12 => RecordKey::Shipment,
            _ => RecordKey::ApiKey(ApiKeyId(format!("{:02x}", self.rng.u8(..API_KEYS)))),
        }
    }

    fn scan(&mut self) -> Scan {
        let (org, meter) = (org(self.pick(&ORGS)), meter(self.pick(&METERS)));
        match self.rng.u8(..16) {
            0 => Scan::Orgs,
            1 => Scan::Entries { org, order: Order::Oldest },
            2 => Scan::Entries { org, order: Order::Newest },
            // The long ones are read more seldom.
            3..8 => {
                let (from, until) = (self.rng.i32(-5..5), self.rng.i32(-5..5));
                Scan::OrgCounters { org, meter, window: self.period().window, from, until }
            }
            8..13 => Scan::Tallies { org, meter },
            13 => Scan::Notices,
            14 => Scan::ApiKeys,
            _ => Scan::Catalogs,
        }
    }

    fn period(&mut self) -> Period {
        let window = Window::ALL[self.rng.usize(..Window::ALL.len())];
        period(window, self.rng.i32(-3..3))
    }
}

/// A change as one decided too far ahead: its first entry is missing.
fn ahead(mut change: Change) -> Change {
    let first: EntryChange = change.entries.remove(0);
    change.expected_version = match first {
        EntryChange::Org(entry) => entry.number,
        EntryChange::System(entry) => entry.number,
    };
    change
}

//! A random history, compared with the model all the way.

use std::sync::Arc;

use fastrand::Rng;
use tollgate_domain::{
    Along, Among, ApiKeyId, ChannelId, CounterId, Counting, EntryKind, KeyId, KeySpace, LimitScope, NewMeter,
    OrgId, Partition, Period, RecordKey, Role, Scope, Seen, SystemEntryKind, UsedEntry, Window,
};

use super::Subject;
use super::harness::{End, Harness};
use super::samples::{self, api_key, key_id, meter, org, path, period, put, used, used_once, user};
use super::world::{Line, World, key_ids_of};
use crate::{Append, Appended, EntryChange, Image, Order, Scan, Store};

/// Calls in a history.
const STEPS: usize = 2_000;

/// Steps between comparisons of everything.
const FULL_CHECK_STEPS: usize = 500;

/// Steps between ends of a durable store, on average.
const REOPEN_STEPS: usize = 200;

/// Steps between checkpoints, on average.
const CHECKPOINT_STEPS: usize = 6;

/// The appends made lately, to be sent again, and the images taken lately, to be kept late.
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
    /// Appends made lately: sent again, they conflict.
    stale: Vec<Append>,
    /// Images that were taken and not kept yet.
    taken: Vec<Image>,
    names: usize,
}

pub(super) fn a_random_history_matches_the_model<S: Subject>(mut harness: Harness<'_, S>) {
    let rng = Rng::with_seed(harness.seed());
    let mut history =
        History { rng, world: World::default(), stale: Vec::new(), taken: Vec::new(), names: 0 };
    let durable = harness.store().capabilities().durable;
    for step in 1..=STEPS {
        if history.rng.bool() {
            harness.turn();
        }
        let (appends, wanted) = history.appends();
        let answers = harness.append(&appends);
        let partitions: Vec<_> = appends.iter().map(|append| &append.partition).collect();
        assert_eq!(answers, wanted, "step {step}: {partitions:?}");
        if history.rng.usize(..CHECKPOINT_STEPS) == 0 {
            history.checkpoint(&harness);
        }
        history.compare_some(&harness);
        if durable && history.rng.usize(..REOPEN_STEPS) == 0 {
            let end = if history.rng.bool() { End::Close } else { End::Crash };
            harness = harness.reopen(&history.world, end);
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

    /// Some appends to different partitions, and what becomes of each; those made are in the model.
    fn appends(&mut self) -> (Vec<Append>, Vec<Appended>) {
        let mut partitions: Vec<Option<&str>> = ORGS.map(Some).into_iter().chain([None]).collect();
        self.rng.shuffle(&mut partitions);
        partitions.truncate(self.rng.usize(1..=4));
        let (mut appends, mut wanted) = (Vec::new(), Vec::new());
        for partition in partitions {
            let (append, answer) = self.append(partition);
            appends.push(append);
            wanted.push(answer);
        }
        for (append, answer) in appends.iter().zip(&wanted) {
            if *answer == Appended::Done {
                self.world.take(append);
                self.stale.push(append.clone());
            }
        }
        let surplus = self.stale.len().saturating_sub(STALE_KEPT);
        self.stale.drain(..surplus);
        (appends, wanted)
    }

    fn append(&mut self, partition: Option<&str>) -> (Append, Appended) {
        let wanted = partition.map_or(Partition::System, |id| Partition::Org(org(id)));
        if self.rng.u8(..8) == 0
            && let Some(stale) = self.stale.iter().find(|append| append.partition == wanted)
        {
            return (stale.clone(), Appended::Conflict);
        }
        let append = match partition {
            Some(id) => {
                let id = org(id);
                let count = self.rng.usize(1..=4);
                let lines: Vec<Line> = (0..count).map(|_| self.line(&id)).collect();
                self.world.append(&id, decidable(lines))
            }
            None => {
                let kind = self.system_kind();
                self.world.system_append([kind])
            }
        };
        if self.rng.u8(..16) == 0 && append.entries.len() > 1 {
            return (ahead(append), Appended::Conflict);
        }
        (append, Appended::Done)
    }

    /// Takes images of some partitions, and keeps some that were taken now or before; says of no more entries than it may
    /// that images hold them.
    fn checkpoint<S: Subject>(&mut self, harness: &Harness<'_, S>) {
        let mut lacking = self.world.lacking();
        lacking.retain(|_| self.rng.bool());
        self.taken.extend(self.world.images_of(lacking));
        let mut images: Vec<Image> = Vec::new();
        let mut later = Vec::new();
        for image in std::mem::take(&mut self.taken) {
            let another = images.iter().any(|other| other.partition == image.partition);
            if another || self.rng.u8(..4) == 0 {
                later.push(image);
            } else {
                images.push(image);
            }
        }
        let surplus = later.len().saturating_sub(STALE_KEPT);
        self.taken = later.split_off(surplus);
        self.world.keep(&images);
        let whole_until = harness.whole_until(&self.world);
        harness.keep_until(images, self.rng.u64(whole_until / 2..=whole_until));
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
                let path = self.rng.bool().then(|| {
                    let path = path(self.pick(&USERS));
                    let counted = periods[..count].iter().map(|period| (1, *period)).collect();
                    Box::new(Along { path, counted })
                });
                used(UsedEntry { periods: periods[..count].into(), path, ..once })
            }
        }
    }

    /// Takes back one of an org's usages, if its key still stands for it and it was not taken back before.
    fn reversal(&mut self, id: &OrgId) -> Option<EntryKind> {
        let numbers = 1..=self.world.org_version(id);
        if numbers.is_empty() {
            return None;
        }
        let number = self.rng.u64(numbers);
        let EntryKind::Used(used) = self.world.entry(id, number)?.kind else { return None };
        let known =
            self.world.find(&KeyId { org: id.clone(), space: KeySpace::Use, key: used.key.clone() })?;
        let stands = known.entry == number && known.reversed_by.is_none();
        stands.then_some(EntryKind::Reversed { entry: number, used })
    }

    fn system_kind(&mut self) -> SystemEntryKind {
        let id = format!("{:02x}", self.rng.u8(..API_KEYS));
        match self.rng.u8(..6) {
            4 => samples::channel_changed(&id, self.rng.u8(..4)),
            5 => samples::delivered(&id, self.rng.usize(..4)),
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

    /// Compares a few records, keys and one scan with the model.
    fn compare_some<S: Subject>(&mut self, harness: &Harness<'_, S>) {
        let of = [self.pick(&ORGS), self.pick(&ORGS)].map(org);
        let mut keys: Vec<RecordKey> = (0..12).map(|place| self.record_key(&of[place % 2])).collect();
        let mut ids: Vec<KeyId> = (0..4).map(|_| self.key_id()).collect();
        if let Some(latest) = self.stale.last() {
            ids.extend(key_ids_of(latest));
            let images = self.world.image(&latest.partition);
            keys.extend(images.into_iter().flat_map(|image| image.records).map(|(key, _)| key).take(20));
        }
        for (key, found) in keys.iter().zip(harness.records(&keys)) {
            assert_eq!(found, self.world.record(key), "{key:?} (left: the store's, right: expected)");
        }
        for (id, found) in ids.iter().zip(harness.find_now(&ids)) {
            assert_eq!(found, self.world.find(id), "{id:?} (left: the store's, right: expected)");
        }
        harness.check_behind(&self.world);
        let scan = self.scan();
        let limit = match scan {
            // Long ones, by few pages.
            Scan::Notices | Scan::Entries { .. } => self.rng.usize(100..1_000),
            _ => self.rng.usize(1..20),
        };
        harness.check_scan(&self.world, &scan, limit);
    }

    /// A caller's key that may be known.
    fn key_id(&mut self) -> KeyId {
        let space = if self.rng.u8(..4) == 0 { KeySpace::TopUp } else { KeySpace::Use };
        let name = match space {
            KeySpace::Use => format!("key {}", self.rng.u32(..KEYS)),
            KeySpace::TopUp | KeySpace::Told => format!("name {}", self.rng.usize(..=self.names)),
        };
        key_id(self.pick(&ORGS), space, &name)
    }

    /// The key of a record that may be there.
    fn record_key(&mut self, id: &OrgId) -> RecordKey {
        let (id, of) = (id.clone(), meter(self.pick(&METERS)));
        match self.rng.u8(..15) {
            0 => RecordKey::Org(id),
            1 => RecordKey::Account(id, of),
            2 => {
                let scope = if self.rng.bool() { Scope::Org } else { Scope::User(user(self.pick(&USERS))) };
                RecordKey::Counter(CounterId { org: id, meter: of, scope, period: self.period() })
            }
            3 => {
                let latest = self.world.org_version(&id);
                RecordKey::Entry(id, self.rng.u64(..=latest + 1))
            }
            4 => RecordKey::System,
            5 => RecordKey::Catalog(self.rng.u32(..CATALOGS)),
            6 => RecordKey::Groups(id, of, self.period()),
            7 => RecordKey::Bill(id, self.rng.i32(-3..3)),
            8 if self.rng.bool() => RecordKey::PathTally(id, of, path(self.pick(&USERS))),
            8 => RecordKey::Tally(id, of, user(self.pick(&USERS))),
            9 => {
                let value = Arc::from(self.pick(&USERS));
                RecordKey::Seen(id, of, Arc::new(Seen { among: Among::Org, value }))
            }
            10 => RecordKey::Unsent(id, self.rng.i32(-3..3)),
            11 => RecordKey::Shipment,
            12 => RecordKey::Channel(ChannelId(format!("{:02x}", self.rng.u8(..API_KEYS)))),
            13 => {
                RecordKey::Delivery(ChannelId(format!("{:02x}", self.rng.u8(..API_KEYS))), self.rng.u64(..4))
            }
            _ => RecordKey::ApiKey(ApiKeyId(format!("{:02x}", self.rng.u8(..API_KEYS)))),
        }
    }

    fn scan(&mut self) -> Scan {
        let (org, meter) = (org(self.pick(&ORGS)), meter(self.pick(&METERS)));
        match self.rng.u8(..19) {
            0 => Scan::Orgs,
            1 => Scan::Entries { org, order: Order::Oldest },
            2 => Scan::Entries { org, order: Order::Newest },
            // The long ones are read more seldom.
            3..8 => {
                let (from, until) = (self.rng.i32(-5..5), self.rng.i32(-5..5));
                Scan::OrgCounters { org, meter, window: self.period().window, from, until }
            }
            8..11 => Scan::Tallies { org, meter },
            11..13 => Scan::PathTallies { org, meter },
            13 => Scan::Notices,
            14 => Scan::ApiKeys,
            15 => Scan::Unsent { org: None },
            16 => Scan::Unsent { org: Some(org) },
            17 => Scan::SystemEntries,
            _ => Scan::Catalogs,
        }
    }

    fn period(&mut self) -> Period {
        let window = Window::ALL[self.rng.usize(..Window::ALL.len())];
        period(window, self.rng.i32(-3..3))
    }
}

/// The lines without those that take back what a line before them has used again, or taken back.
fn decidable(mut lines: Vec<Line>) -> Vec<Line> {
    let mut named = Vec::new();
    lines.retain(|line| match &line.kind {
        EntryKind::Used(used) => {
            named.push(used.key.clone());
            true
        }
        EntryKind::Reversed { used, .. } => {
            let first = !named.contains(&used.key);
            named.push(used.key.clone());
            first
        }
        _ => true,
    });
    lines
}

/// An append as one decided too far ahead: its first entry is missing.
fn ahead(mut append: Append) -> Append {
    let first: EntryChange = append.entries.remove(0);
    append.expected_version = first.number();
    append
}

//! What the tests share: running futures that never wait, and a made-up world of orgs whose changes the domain applies.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use fastrand::Rng;
use tollgate_backends::embedded::EmbeddedStore;
use tollgate_domain::{
    Actor, Amount, Burn, Counting, Entry, EntryKind, Grant, MeterId, OrgId, OrgState, Partition, Period,
    Quantity, Record, RecordKey, Source, Standing, Timestamp, UsageKey, UsedEntry, UserId, Zone,
    load_and_apply,
};
use tollgate_storage::{Batch, Change, Committed, EntryChange, Store, StoreError};

/// Runs a future of the embedded store: its calls never wait.
pub(crate) fn run<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the embedded store's futures are ready at once"),
    }
}

pub(crate) fn org(text: &str) -> OrgId {
    OrgId::new(text).expect("an id")
}

/// 2026-11-01, and some seconds.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_793_491_200 + seconds).expect("a time")
}

/// All records as they should be.
#[derive(Clone, Default)]
pub(crate) struct World {
    pub(crate) records: BTreeMap<RecordKey, Record>,
}

impl World {
    /// The change that some entries of an org make, decided at a time; it is made.
    pub(crate) fn change(&mut self, org: &OrgId, at: Timestamp, kinds: Vec<EntryKind>) -> Change {
        let change = self.plan(org, at, kinds);
        self.take(&change);
        change
    }

    /// Takes a change as made.
    pub(crate) fn take(&mut self, change: &Change) {
        self.records.extend(change.records.iter().cloned());
    }

    /// The change that some entries of an org would make.
    pub(crate) fn plan(&self, org: &OrgId, at: Timestamp, kinds: Vec<EntryKind>) -> Change {
        let version_key = RecordKey::Org(org.clone());
        let expected_version = match self.records.get(&version_key) {
            Some(Record::Org(org)) => org.version,
            _ => 0,
        };
        let mut state = OrgState::of(org.clone(), self.records.get(&version_key).cloned());
        let mut entries = Vec::new();
        for (number, kind) in (expected_version + 1..).zip(kinds) {
            let entry = Entry {
                number,
                at,
                actor: Actor::Local,
                catalog: 1,
                kind,
                settled: Vec::new(),
                notices: Vec::new(),
            };
            let find = |key: &RecordKey| Ok::<_, Infallible>(self.records.get(key).cloned());
            let Ok(()) = load_and_apply(&mut state, &entry, find);
            entries.push(EntryChange::Org(entry));
        }
        let records = state.take_changed();
        Change { partition: Partition::Org(org.clone()), expected_version, entries, records }
    }

    /// Some change of some org, as a generator has it.
    pub(crate) fn some_change(&mut self, rng: &mut Rng, orgs: usize, step: i64) -> Change {
        let id = org(&format!("org-{}", rng.usize(..orgs)));
        let count = rng.usize(1..4);
        let kinds = (0..count).map(|index| self.some_kind(rng, &id, step, index)).collect();
        self.change(&id, at(step), kinds)
    }

    fn some_kind(&self, rng: &mut Rng, of: &OrgId, step: i64, index: usize) -> EntryKind {
        match rng.u8(..12) {
            0 => EntryKind::Put {
                name: Some(format!("name {step}")),
                zone: Zone::UTC,
                metadata: BTreeMap::new(),
            },
            1 => topped_up(&format!("top-up {step} {index}"), step),
            2 => self.some_used(rng, of).map_or_else(
                || EntryKind::Put { name: None, zone: Zone::UTC, metadata: BTreeMap::new() },
                |(entry, used)| EntryKind::Reversed { entry, used: Box::new(used) },
            ),
            _ => used(rng.bool().then_some("ann"), &format!("key {step} {index}")),
        }
    }

    /// A usage made before whose key still stands.
    fn some_used(&self, rng: &mut Rng, of: &OrgId) -> Option<(u64, UsedEntry)> {
        let mut keys: Vec<_> = self
            .records
            .iter()
            .filter_map(|(key, record)| match (key, record) {
                (RecordKey::Key(id), Record::Key(seen)) if id.org == *of && seen.reversed_by.is_none() => {
                    Some((id, seen))
                }
                _ => None,
            })
            .collect();
        keys.retain(|(id, _)| id.space == tollgate_domain::KeySpace::Use);
        let (id, seen) = keys.get(rng.usize(..keys.len().max(1)))?;
        let EntryKind::Used(used) = used(None, id.key.as_str()) else { return None };
        Some((seen.entry, *used))
    }

    /// Compares everything with what a store answers.
    pub(crate) fn differs_from(&self, store: &EmbeddedStore, keys: &[RecordKey]) -> Option<String> {
        let found = match run(store.load(keys)) {
            Ok(found) => found,
            Err(error) => return Some(error.to_string()),
        };
        let mut pairs = keys.iter().zip(found);
        pairs.find_map(|(key, found)| {
            let wanted = self.records.get(key);
            (found.as_ref() != wanted).then(|| format!("{key:?}: found {found:?}, expected {wanted:?}"))
        })
    }

    pub(crate) fn keys(&self) -> Vec<RecordKey> {
        self.records.keys().cloned().collect()
    }
}

pub(crate) fn used(user: Option<&str>, key: &str) -> EntryKind {
    used_on(20_758, user, key)
}

/// A usage on a day, in the month of the others.
pub(crate) fn used_on(day: i32, user: Option<&str>, key: &str) -> EntryKind {
    EntryKind::Used(Box::new(UsedEntry {
        user: user.map(|user| UserId::new(user).expect("an id")),
        meter: MeterId::new("reports").expect("an id"),
        quantity: Quantity::ONE,
        key: UsageKey::new(key).expect("an id"),
        fingerprint: 7,
        occurred_at: None,
        recorded: false,
        properties: BTreeMap::new(),
        burns: vec![Burn { source: Source::Allowance(24_322), amount: Amount::from_whole(1) }],
        periods: vec![Period::day(day), Period::month(24_322)],
        group: None,
        sink: None,
        counting: Counting::Sum,
        standing: standing(),
    }))
}

fn standing() -> Standing {
    Standing {
        granted: Amount::from_whole(1_000),
        used: Amount::from_whole(1),
        remaining: Some(Amount::from_whole(999)),
        user_used: None,
    }
}

fn topped_up(key: &str, step: i64) -> EntryKind {
    let grant = Grant {
        entry: u64::try_from(step).expect("a step"),
        key: Some(UsageKey::new(key).expect("an id")),
        amount: Amount::from_whole(10),
        burned: Amount::ZERO,
        corrected: Amount::ZERO,
        closed: false,
        priority: 1,
        effective_at: at(0),
        expires_at: None,
        reason: None,
    };
    EntryKind::ToppedUp {
        meter: MeterId::new("reports").expect("an id"),
        fingerprint: 8,
        grant,
        metadata: BTreeMap::new(),
        standing: standing(),
    }
}

pub(crate) fn commit(store: &EmbeddedStore, changes: Vec<Change>) -> Result<(), StoreError> {
    let answers = run(store.commit(Batch { changes }))?;
    assert!(answers.iter().all(|answer| *answer == Committed::Done), "{answers:?}");
    Ok(())
}

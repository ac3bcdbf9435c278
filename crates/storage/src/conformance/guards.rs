//! Cases on versions, conflicts and sizes.

use tollgate_domain::{OrgId, RecordKey, Role};

use super::Subject;
use super::harness::Harness;
use super::samples::{self, api_key, org, put, used, used_once};
use super::world::{Line, World};
use crate::{Change, Committed, EntryChange, Store, StoreErrorKind};

/// Most changes, and most entries, that a case makes up to fill a batch; larger stores are filled this far.
const FULL_BATCH_MAX: usize = 20_000;

/// A change that touches something of everything.
fn broad_change(world: &mut World, org: &OrgId, name: &str) -> Change {
    let mut lines = vec![
        Line::from(used(used_once("reports", Some("ann"), &format!("{name} use")))),
        Line::from(samples::topped_up("reports", Some(&format!("{name} top-up")), 1)),
        Line::from(put(name)),
    ];
    lines.push(samples::noticed(samples::notices_of_every_kind()));
    world.change(org, lines)
}

/// The same change as if decided on another version.
fn moved(change: &Change, by: i64) -> Change {
    let mut change = change.clone();
    let shift = |number: u64| number.checked_add_signed(by).expect("a version");
    change.expected_version = shift(change.expected_version);
    for entry in &mut change.entries {
        match entry {
            EntryChange::Org(entry) => entry.number = shift(entry.number),
            EntryChange::System(entry) => entry.number = shift(entry.number),
        }
    }
    for (_, record) in &mut change.records {
        match record {
            tollgate_domain::Record::Org(org) => {
                let org = std::sync::Arc::make_mut(org);
                org.version = shift(org.version);
            }
            tollgate_domain::Record::System(system) => {
                let system = std::sync::Arc::make_mut(system);
                system.version = shift(system.version);
            }
            _ => {}
        }
    }
    change
}

pub(super) fn a_wrong_version_leaves_nothing<S: Subject>(harness: Harness<'_, S>) {
    let mut world = World::default();
    let acme = org("acme");
    // Of an org nobody knows: too far ahead.
    let ahead = moved(&broad_change(&mut world, &acme, "ahead"), 1);
    assert_eq!(harness.commit(vec![ahead]), [Committed::Conflict]);
    harness.check(&world);
    assert_eq!(harness.load_one(&RecordKey::Org(acme.clone())), None, "a conflict makes no org");
    let first = broad_change(&mut world, &acme, "first");
    let rival = broad_change(&mut world, &acme, "rival");
    harness.make(&mut world, vec![first.clone()]);
    for by in 0..2 {
        // The first again, one from nothing, one decided beside it; behind by all, then by less.
        for stale in [&first, &rival] {
            assert_eq!(
                harness.commit(vec![moved(stale, by)]),
                [Committed::Conflict],
                "{by} ahead of nothing"
            );
        }
        harness.check(&world);
    }
    let next = broad_change(&mut world, &acme, "next");
    for by in [-1, 1, 1 << 40] {
        assert_eq!(harness.commit(vec![moved(&next, by)]), [Committed::Conflict], "off by {by}");
        harness.check(&world);
    }
    for key in next.records.iter().map(|(key, _)| key) {
        assert_eq!(harness.load_one(key), world.record(key), "{key:?} is not of a change that was not made");
    }
    harness.make(&mut world, vec![next]);
    harness.check(&world);
    harness.finish();
}

pub(super) fn conflicts_do_not_hold_up_the_others<S: Subject>(harness: Harness<'_, S>) {
    let mut world = World::default();
    let orgs: Vec<OrgId> = (0..12).map(|number| org(&format!("org {number}"))).collect();
    for round in 0..4 {
        let mut changes = Vec::new();
        let mut wanted = Vec::new();
        for (place, id) in orgs.iter().enumerate() {
            let change = broad_change(&mut world, id, &format!("round {round} of {place}"));
            let conflicts = (place + round) % 3 == 1;
            wanted.push(if conflicts { Committed::Conflict } else { Committed::Done });
            changes.push(if conflicts { moved(&change, 1) } else { change });
        }
        let key = samples::api_key(&format!("key {round}"), Role::Read, None);
        let system = world.system_change([tollgate_domain::SystemEntryKind::ApiKeyMade(key)]);
        let system_conflicts = round % 2 == 0;
        wanted.insert(5, if system_conflicts { Committed::Conflict } else { Committed::Done });
        changes.insert(5, if system_conflicts { moved(&system, 2) } else { system });
        for (change, _) in changes.iter().zip(&wanted).filter(|(_, wanted)| **wanted == Committed::Done) {
            world.take(change);
        }
        assert_eq!(harness.commit(changes), wanted);
        harness.check(&world);
    }
    harness.finish();
}

pub(super) fn versions_are_per_partition<S: Subject>(harness: Harness<'_, S>) {
    let mut world = World::default();
    for round in 0..5 {
        // All are decided on the same moment, then committed one by one, the last decided first.
        let mut changes = Vec::new();
        for id in ["a", "ab", "b"] {
            let lines = (0..=round).map(|place| put(&format!("{id} {place}")));
            changes.push(world.change(&org(id), lines));
        }
        let key = api_key(&format!("key {round}"), Role::Manage, Some("a"));
        changes.push(world.system_change([tollgate_domain::SystemEntryKind::ApiKeyMade(key)]));
        while let Some(change) = changes.pop() {
            harness.make(&mut world, vec![change]);
        }
    }
    harness.check(&world);
    harness.finish();
}

pub(super) fn full_batches_fit_and_larger_ones_are_refused_whole<S: Subject>(harness: Harness<'_, S>) {
    let capabilities = harness.store().capabilities();
    let (changes_max, entries_max) = (capabilities.changes_max, capabilities.entries_max);
    assert!(
        changes_max > 0 && entries_max >= changes_max,
        "every change of a full batch has an entry: {capabilities:?}"
    );
    let mut world = World::default();
    let change_of = |world: &mut World, place: usize, entries: usize| {
        world.change(&org(&format!("org {place:05}")), (0..entries).map(|_| put("a name")))
    };
    let full = changes_max.min(FULL_BATCH_MAX);
    let batch: Vec<Change> = (0..full).map(|place| change_of(&mut world, place, 1)).collect();
    harness.make(&mut world, batch);
    let batch = vec![change_of(&mut world, 0, entries_max.min(FULL_BATCH_MAX))];
    harness.make(&mut world, batch);
    let refused = |batch: Vec<Change>| match harness.try_commit(batch) {
        Err(error) => assert_eq!(error.kind(), StoreErrorKind::TooLarge, "{error}"),
        Ok(_) => panic!("a batch larger than declared was taken: {capabilities:?}"),
    };
    if changes_max < FULL_BATCH_MAX {
        refused((0..=changes_max).map(|place| change_of(&mut world, place, 1)).collect());
    }
    if entries_max <= FULL_BATCH_MAX {
        refused(vec![change_of(&mut world, 1, entries_max), change_of(&mut world, 2, 1)]);
    }
    // Nothing of them was made: the orgs are where they were.
    let keys: Vec<RecordKey> =
        (0..=full).map(|place| RecordKey::Org(org(&format!("org {place:05}")))).collect();
    for (key, found) in keys.iter().zip(harness.load(&keys)) {
        assert_eq!(found, world.record(key), "{key:?}");
    }
    harness.check_scan(&world, &crate::Scan::Orgs, 1_000);
    harness.finish();
}

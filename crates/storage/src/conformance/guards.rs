//! Cases on versions, conflicts and sizes.

use tollgate_domain::{KeySpace, OrgId, Partition, RecordKey, Role, SystemEntryKind};

use super::Subject;
use super::harness::{Harness, Saving};
use super::samples::{self, api_key, key_id, moment, org, put, used, used_once};
use super::world::{Line, World, append_of, key_ids_of};
use crate::{Append, Appended, EntryChange, Opened, Scan, Store, StoreErrorKind};

/// Most appends, and most entries, that a case makes up to fill a call; larger stores are filled this far.
const FULL_CALL_MAX: usize = 20_000;

/// An append that touches something of everything.
fn broad_append(world: &mut World, org: &OrgId, name: &str) -> Append {
    let mut lines = vec![
        Line::from(used(used_once("reports", Some("ann"), &format!("{name} use")))),
        Line::from(samples::topped_up("reports", Some(&format!("{name} top-up")), 1)),
        Line::from(put(name)),
    ];
    lines.push(samples::noticed(samples::notices_of_every_kind()));
    world.append(org, lines)
}

/// The same append as if decided on another version.
fn moved(append: &Append, by: i64) -> Append {
    let mut append = append.clone();
    let shift = |number: u64| number.checked_add_signed(by).expect("a version");
    append.expected_version = shift(append.expected_version);
    for entry in &mut append.entries {
        match entry {
            EntryChange::Org(entry) => entry.number = shift(entry.number),
            EntryChange::System(entry) => entry.number = shift(entry.number),
        }
    }
    append
}

/// Makes an append that conflicts, and sees that nothing of it is there: no entry, no notice, no key, nothing counted.
fn refuse<S: Subject>(harness: &Harness<'_, S>, world: &World, append: &Append, why: &str) {
    assert_eq!(harness.append(std::slice::from_ref(append)), [Appended::Conflict], "{why}");
    for key in key_ids_of(append) {
        let found = harness.find(std::slice::from_ref(&key));
        assert_eq!(found, [world.find(&key)], "{key:?} is not of an append that was not made");
    }
    if let Partition::Org(id) = &append.partition {
        let numbers = append.entries.iter().map(EntryChange::number);
        let keys: Vec<RecordKey> = numbers.map(|number| RecordKey::Entry(id.clone(), number)).collect();
        for (key, found) in keys.iter().zip(harness.records(&keys)) {
            assert_eq!(found, world.record(key), "{key:?} is not of an append that was not made");
        }
    }
    harness.check(world);
}

pub(super) fn a_wrong_version_leaves_nothing<S: Subject>(harness: Harness<'_, S>) {
    for saving in Saving::ALL {
        let (harness, mut world) = (harness.anew(saving), World::default());
        let acme = org("acme");
        // Of an org nobody knows: too far ahead.
        let ahead = moved(&broad_append(&mut world, &acme, "ahead"), 1);
        refuse(&harness, &world, &ahead, "ahead of nothing");
        let none = harness.open_one(&Partition::Org(acme.clone()));
        assert_eq!(none, Opened::default(), "a conflict makes no org");
        let first = broad_append(&mut world, &acme, "first");
        let rival = broad_append(&mut world, &acme, "rival");
        harness.make(&mut world, std::slice::from_ref(&first));
        for by in 0..2 {
            // The first again, one from nothing, one decided beside it; behind by all, then by less.
            for stale in [&first, &rival] {
                refuse(&harness, &world, &moved(stale, by), &format!("{by} ahead of nothing"));
            }
        }
        let next = broad_append(&mut world, &acme, "next");
        for by in [-1, 1, 1 << 40] {
            refuse(&harness, &world, &moved(&next, by), &format!("off by {by}"));
        }
        harness.make(&mut world, &[next]);
        harness.check(&world);
        harness.finish();
    }
    harness.finish();
}

pub(super) fn conflicts_do_not_hold_up_the_others<S: Subject>(harness: Harness<'_, S>) {
    let mut world = World::default();
    let orgs: Vec<OrgId> = (0..12).map(|number| org(&format!("org {number}"))).collect();
    for round in 0..4 {
        let mut appends = Vec::new();
        let mut wanted = Vec::new();
        for (place, id) in orgs.iter().enumerate() {
            let append = broad_append(&mut world, id, &format!("round {round} of {place}"));
            let conflicts = (place + round) % 3 == 1;
            wanted.push(if conflicts { Appended::Conflict } else { Appended::Done });
            appends.push(if conflicts { moved(&append, 1) } else { append });
        }
        let key = samples::api_key(&format!("key {round}"), Role::Read, None);
        let system = world.system_append([SystemEntryKind::ApiKeyMade(key)]);
        let system_conflicts = round % 2 == 0;
        wanted.insert(5, if system_conflicts { Appended::Conflict } else { Appended::Done });
        appends.insert(5, if system_conflicts { moved(&system, 2) } else { system });
        for (append, _) in appends.iter().zip(&wanted).filter(|(_, wanted)| **wanted == Appended::Done) {
            world.take(append);
        }
        assert_eq!(harness.append(&appends), wanted);
        harness.check(&world);
        if round % 2 == 1 {
            harness.save(&mut world);
        }
    }
    harness.check(&world);
    harness.finish();
}

pub(super) fn versions_are_per_partition<S: Subject>(harness: Harness<'_, S>) {
    let mut world = World::default();
    for round in 0..5 {
        // All are decided on the same moment, then appended one by one, the last decided first.
        let mut appends = Vec::new();
        for id in ["a", "ab", "b"] {
            let lines = (0..=round).map(|place| put(&format!("{id} {place}")));
            appends.push(world.append(&org(id), lines));
        }
        let key = api_key(&format!("key {round}"), Role::Manage, Some("a"));
        appends.push(world.system_append([SystemEntryKind::ApiKeyMade(key)]));
        while let Some(append) = appends.pop() {
            harness.make(&mut world, &[append]);
        }
    }
    harness.check(&world);
    harness.finish();
}

/// Two deciders take turns, through store objects of their own where the store may have several. Both decide on the same
/// version; the one that loses reads what won, and decides again on it.
pub(super) fn a_loser_reads_the_entries_that_won<S: Subject>(mut harness: Harness<'_, S>) {
    let (mut world, acme) = (World::default(), org("acme"));
    let partition = Partition::Org(acme.clone());
    for round in 0..12_u32 {
        let seen = harness.open_one(&partition);
        harness.turn();
        assert_eq!(harness.open_one(&partition), seen, "both read the same");
        let line = |who: &str| {
            let usage = used_once("reports", Some(who), &format!("{who} {round}"));
            [Line::from(used(usage)), samples::noticed(vec![samples::top_up_notice("reports")])]
        };
        let won = append_of(&acme, moment(round), seen.version(), line("winner"));
        let lost = append_of(&acme, moment(round), seen.version(), line("loser"));
        harness.make(&mut world, std::slice::from_ref(&won));
        // What won may be in an image before the loser comes.
        if round % 3 == 1 {
            harness.save(&mut world);
        }
        harness.turn();
        assert_eq!(harness.append(std::slice::from_ref(&lost)), [Appended::Conflict]);
        let found = harness.open_one(&partition);
        assert_eq!(found, world.opened(&partition), "the loser reads what won");
        assert_eq!(found.version(), seen.version() + 2);
        let keys = ["winner", "loser"].map(|who| key_id("acme", KeySpace::Use, &format!("{who} {round}")));
        assert_eq!(harness.find(&keys), [world.find(&keys[0]), None], "the keys of both");
        let again = append_of(&acme, moment(round), found.version(), line("loser"));
        harness.make(&mut world, &[again]);
        harness.check(&world);
        harness.turn();
        harness.check(&world);
        // The loser and the winner change places.
        if round % 2 == 0 {
            harness.turn();
        }
    }
    harness.finish();
}

pub(super) fn full_calls_fit_and_larger_ones_are_refused_whole<S: Subject>(harness: Harness<'_, S>) {
    let capabilities = harness.store().capabilities();
    let (appends_max, entries_max) = (capabilities.appends_max, capabilities.entries_max);
    assert!(
        appends_max > 0 && entries_max >= appends_max,
        "every append of a full call has an entry: {capabilities:?}"
    );
    let mut world = World::default();
    let append_to = |world: &mut World, place: usize, entries: usize| {
        world.append(&org(&format!("org {place:05}")), (0..entries).map(|_| put("a name")))
    };
    let full = appends_max.min(FULL_CALL_MAX);
    let appends: Vec<Append> = (0..full).map(|place| append_to(&mut world, place, 1)).collect();
    harness.make(&mut world, &appends);
    let appends = vec![append_to(&mut world, 0, entries_max.min(FULL_CALL_MAX))];
    harness.make(&mut world, &appends);
    let refused = |appends: Vec<Append>| match harness.try_append(appends) {
        Err(error) => assert_eq!(error.kind(), StoreErrorKind::TooLarge, "{error}"),
        Ok(_) => panic!("a call larger than declared was taken: {capabilities:?}"),
    };
    if appends_max < FULL_CALL_MAX {
        refused((0..=appends_max).map(|place| append_to(&mut world, place, 1)).collect());
    }
    if entries_max <= FULL_CALL_MAX {
        refused(vec![append_to(&mut world, 1, entries_max), append_to(&mut world, 2, 1)]);
    }
    // Nothing of them was made: the orgs are where they were.
    let partitions: Vec<Partition> =
        (0..=full).map(|place| Partition::Org(org(&format!("org {place:05}")))).collect();
    for (partition, opened) in partitions.iter().zip(harness.open_all(&partitions)) {
        assert_eq!(opened, world.opened(partition), "{partition:?}");
    }
    harness.save(&mut world);
    harness.check_scan(&world, &Scan::Orgs, 1_000);
    harness.check_behind(&world);
    harness.finish();
}

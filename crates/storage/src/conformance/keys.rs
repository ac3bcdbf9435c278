//! Cases on what is remembered of callers' keys: it follows from the entries, whatever the images are.

use tollgate_domain::{
    EntryKind, KeyId, KeyRecord, KeySpace, OrgId, Partition, RecordKey, Role, SystemEntryKind, UsedEntry,
};

use super::Subject;
use super::harness::{Harness, Saving};
use super::samples::{self, key_id, org, put, used, used_once};
use super::world::{Line, World, append_of, key_ids_of};
use crate::Appended;

/// Compares what is remembered of keys with the model, after what another object appended.
fn check_keys_now<S: Subject>(harness: &Harness<'_, S>, world: &World, keys: &[KeyId]) {
    for (key, found) in keys.iter().zip(harness.find_now(keys)) {
        assert_eq!(found, world.find(key), "{key:?} (left: the store's, right: expected)");
    }
}

/// Compares what is remembered of keys with the model.
fn check_keys<S: Subject>(harness: &Harness<'_, S>, world: &World, keys: &[KeyId]) {
    for (key, found) in keys.iter().zip(harness.find(keys)) {
        assert_eq!(found, world.find(key), "{key:?} (left: the store's, right: expected)");
    }
}

pub(super) fn keys_are_found_at_once<S: Subject>(mut harness: Harness<'_, S>) {
    let mut world = World::default();
    let mut all = Vec::new();
    for round in 0..60 {
        let id = org(["a", "b", "a b"][round % 3]);
        let usage = |place: usize| used(used_once("reports", None, &format!("use {round} {place}")));
        let top_up = samples::topped_up("reports", Some(&format!("top-up {round}")), 1);
        let lines = (0..round % 5).map(usage).chain([top_up, put("without a key")]);
        let append = world.append(&id, lines);
        let keys = key_ids_of(&append);
        assert!(harness.find(&keys).iter().all(Option::is_none), "keys that nobody has used yet");
        harness.make(&mut world, &[append]);
        check_keys(&harness, &world, &keys);
        harness.turn();
        check_keys_now(&harness, &world, &keys);
        all.extend(keys);
        if round % 7 == 6 {
            harness.save_some(&mut world, [Partition::Org(id)]);
            check_keys_now(&harness, &world, &all);
        }
    }
    harness.save(&mut world);
    check_keys_now(&harness, &world, &all);
    harness.finish();
}

pub(super) fn keys_of_usages_and_of_top_ups_are_apart<S: Subject>(harness: Harness<'_, S>) {
    let mut world = World::default();
    for (id, only_used, only_topped_up) in [("a", "x", "y"), ("b", "y", "x")] {
        let lines = [
            used(used_once("reports", None, only_used)),
            samples::topped_up("reports", Some(only_topped_up), 2),
            used(used_once("reports", None, "both")),
            samples::topped_up("reports", Some("both"), 4),
        ];
        let append = world.append(&org(id), lines);
        harness.make(&mut world, &[append]);
    }
    let spaces = [KeySpace::Use, KeySpace::TopUp];
    let ids = ["a", "b", "c"].into_iter();
    let keys: Vec<KeyId> = ids
        .flat_map(|id| ["x", "y", "both", "none"].map(|key| (id, key)))
        .flat_map(|(id, key)| spaces.map(|space| key_id(id, space, key)))
        .collect();
    let entries = |found: Vec<Option<KeyRecord>>| -> Vec<u64> {
        found.into_iter().map(|known| known.map_or(0, |known| known.entry)).collect()
    };
    let wanted = [[1, 0, 0, 2, 3, 4, 0, 0], [0, 2, 1, 0, 3, 4, 0, 0], [0; 8]].concat();
    assert_eq!(entries(harness.find(&keys)), wanted);
    harness.save(&mut world);
    assert_eq!(entries(harness.find(&keys)), wanted);
    check_keys(&harness, &world, &keys);
    harness.finish();
}

/// Appends usages with keys; gives the numbers of their entries.
fn use_all<S: Subject>(harness: &Harness<'_, S>, world: &mut World, id: &OrgId, keys: &[&str]) -> Vec<u64> {
    let latest = world.org_version(id);
    let lines = keys.iter().map(|key| used(used_once("reports", Some("ann"), key)));
    let append = world.append(id, lines);
    harness.make(world, &[append]);
    (latest + 1..=world.org_version(id)).collect()
}

fn taken_back(world: &World, id: &OrgId, number: u64) -> Line {
    match world.entry(id, number).map(|entry| entry.kind) {
        Some(EntryKind::Used(used)) => EntryKind::Reversed { entry: number, used }.into(),
        other => panic!("not a usage: {other:?}"),
    }
}

pub(super) fn a_reversed_key_says_so<S: Subject>(harness: Harness<'_, S>) {
    for saving in Saving::ALL {
        let (harness, mut world) = (harness.anew(saving), World::default());
        let acme = org("acme");
        let keys = ["stays", "at once", "later", "much later"];
        let ids = keys.map(|key| key_id("acme", KeySpace::Use, key));
        // In the same append.
        let usage = used_once("reports", Some("ann"), "at once");
        let reversal = EntryKind::Reversed { entry: 1, used: Box::new(usage.clone()) };
        let append = world.append(&acme, [used(usage), reversal]);
        harness.make(&mut world, &[append]);
        let numbers = use_all(&harness, &mut world, &acme, &["stays", "later", "much later"]);
        check_keys(&harness, &world, &ids);
        // In a later one, beside the same key of another org.
        use_all(&harness, &mut world, &org("other"), &keys);
        let line = taken_back(&world, &acme, numbers[1]);
        let append = world.append(&acme, [line]);
        harness.make(&mut world, &[append]);
        check_keys(&harness, &world, &ids);
        // When its usage is in an image, and the reversal is not, and is.
        harness.save(&mut world);
        check_keys(&harness, &world, &ids);
        let line = taken_back(&world, &acme, numbers[2]);
        let append = world.append(&acme, [line]);
        harness.make(&mut world, &[append]);
        check_keys(&harness, &world, &ids);
        harness.save(&mut world);
        check_keys(&harness, &world, &ids);
        let reversed = harness.find(&ids).into_iter().map(|known| known.expect("it is known").reversed_by);
        assert_eq!(reversed.collect::<Vec<_>>(), [None, Some(2), Some(6), Some(7)]);
        harness.check(&world);
        harness.finish();
    }
    harness.finish();
}

/// A store may remember a key for longer than it answers replays: then it is used again.
pub(super) fn of_a_key_made_again_the_latest_is_found<S: Subject>(harness: Harness<'_, S>) {
    for saving in Saving::ALL {
        let (harness, mut world) = (harness.anew(saving), World::default());
        let acme = org("acme");
        let id = key_id("acme", KeySpace::Use, "again");
        for round in 0..8_u64 {
            let usage = UsedEntry { fingerprint: round, ..used_once("reports", None, "again") };
            let append = world.append(&acme, [used(usage)]);
            harness.make(&mut world, &[append]);
            let number = world.org_version(&acme);
            let found = harness.find(std::slice::from_ref(&id)).remove(0).expect("it is known");
            assert_eq!((found.entry, found.fingerprint, found.reversed_by), (number, round, None));
            if round % 2 == 0 {
                let line = taken_back(&world, &acme, number);
                let append = world.append(&acme, [line]);
                harness.make(&mut world, &[append]);
                let found = harness.find(std::slice::from_ref(&id)).remove(0).expect("it is known");
                assert_eq!((found.entry, found.reversed_by), (number, Some(number + 1)));
            }
            let entry = harness.record(&RecordKey::Entry(acme.clone(), number));
            assert_eq!(entry, world.record(&RecordKey::Entry(acme.clone(), number)));
        }
        harness.check(&world);
        harness.finish();
    }
    harness.finish();
}

/// Whoever takes a known key for new makes nothing of its org; the other orgs of the call are made all the same.
pub(super) fn nothing_is_made_where_a_key_is_not_new<S: Subject>(harness: Harness<'_, S>) {
    let usages = |keys: &[&str]| -> Vec<Line> {
        keys.iter().map(|key| used(used_once("reports", Some("ann"), key))).map(Line::from).collect()
    };
    for saving in Saving::ALL {
        let (mut harness, mut world) = (harness.anew(saving), World::default());
        let (acme, other) = (org("acme"), org("other"));
        let numbers = use_all(&harness, &mut world, &acme, &["known", "taken back"]);
        let line = taken_back(&world, &acme, numbers[1]);
        let append = world.append(&acme, [line]);
        harness.make(&mut world, &[append]);
        for known in ["known", "taken back"] {
            let fails = world.append(&acme, usages(&["fresh", known]));
            // In another org the key is new.
            let made = world.append(&other, usages(&[known]));
            let keys = [key_ids_of(&fails), key_ids_of(&made)].concat();
            let answers = harness.append_new(&[fails, made.clone()], &keys);
            assert_eq!(answers, [Appended::Conflict, Appended::Done], "{known}");
            world.take(&made);
            check_keys(&harness, &world, &keys);
            harness.check(&world);
        }
        // By another process too, which opens the org before it decides. Keys of different kinds are apart.
        harness.turn();
        harness.open_one(&Partition::Org(acme.clone()));
        let fails = world.append(&acme, usages(&["known"]));
        assert_eq!(
            harness.append_new(std::slice::from_ref(&fails), &key_ids_of(&fails)),
            [Appended::Conflict]
        );
        let next = world.org_version(&acme) + 1;
        let top_up = world.append(&acme, [samples::topped_up("reports", Some("known"), next)]);
        let keys = key_ids_of(&top_up);
        assert_eq!(harness.append_new(std::slice::from_ref(&top_up), &keys), [Appended::Done]);
        world.take(&top_up);
        check_keys(&harness, &world, &keys);
        // What is new is made, beside a key that is not taken for new.
        let append = world.append(&acme, usages(&["fresh", "known"]));
        let keys = key_ids_of(&append);
        assert_eq!(harness.append_new(std::slice::from_ref(&append), &keys[..1]), [Appended::Done]);
        world.take(&append);
        check_keys(&harness, &world, &keys);
        // A wrong version stays one.
        let late = append_of(&acme, samples::moment(9), 1, usages(&["never seen"]));
        assert_eq!(harness.append_new(std::slice::from_ref(&late), &key_ids_of(&late)), [Appended::Conflict]);
        // The system has no keys, and is appended to beside an org that is not.
        let fails = world.append(&acme, usages(&["known"]));
        let key = samples::api_key("key", Role::Read, None);
        let made = world.system_append([SystemEntryKind::ApiKeyMade(key)]);
        let answers = harness.append_new(&[fails.clone(), made.clone()], &key_ids_of(&fails));
        assert_eq!(answers, [Appended::Conflict, Appended::Done]);
        world.take(&made);
        harness.save(&mut world);
        harness.check(&world);
        harness.finish();
    }
    harness.finish();
}

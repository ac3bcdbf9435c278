//! Cases on images: whenever they are kept, with the entries since they come to the same.

use tollgate_domain::{Partition, RecordKey, Role, SystemEntryKind};

use super::Subject;
use super::harness::{Harness, by_partition};
use super::samples::{self, api_key, meter, org, put, used, used_once, user};
use super::world::World;
use crate::{Append, EntryChange, Image, Parts};

fn of(id: &str) -> Partition {
    Partition::Org(org(id))
}

/// An append of some usages, each by a user of its own.
fn usages(world: &mut World, id: &str, name: &str, count: u32) -> Append {
    let usage =
        |place| used(used_once("reports", Some(&format!("{name} {place}")), &format!("{name} {place}")));
    world.append(&org(id), (0..count).map(usage).chain([put(name)]))
}

/// The image of a partition as it would be kept now.
fn image(world: &World, partition: &Partition) -> Image {
    world.image(partition).expect("the image that is kept lacks entries")
}

pub(super) fn what_an_image_lacks_is_answered_by_the_entries_since<S: Subject>(mut harness: Harness<'_, S>) {
    let mut world = World::default();
    let mut ends = vec![0];
    for round in 0..8_u8 {
        let key = api_key(&format!("key {round}"), Role::Read, None);
        let appends = vec![
            usages(&mut world, "always", &format!("round {round}"), 2),
            usages(&mut world, "seldom", &format!("round {round}"), 1),
            usages(&mut world, "never", &format!("round {round}"), 3),
            world.system_append([SystemEntryKind::ApiKeyMade(key)]),
        ];
        harness.make(&mut world, &appends);
        harness.check(&world);
        harness.save_some(&mut world, [of("always")]);
        if round % 3 == 1 {
            // Several appends in one image, and several images in one call.
            harness.save_some(&mut world, [of("seldom"), Partition::System]);
        }
        harness.turn();
        harness.check(&world);
        // Whoever had it in memory at the end of a former append.
        let (always, latest) = (of("always"), world.version(&of("always")));
        let all: Vec<EntryChange> = world.entries(&org("always")).into_iter().map(EntryChange::Org).collect();
        ends.push(latest);
        for end in &ends {
            let behind: Vec<EntryChange> =
                all.iter().filter(|change| change.number() > *end).cloned().collect();
            let since = harness.since(&always, *end);
            assert!(since.is_none_or(|since| since == behind), "entries behind {end}");
        }
        assert_eq!(harness.since(&of("never"), world.version(&of("never"))), Some(Vec::new()));
    }
    let versions = ["always", "seldom", "never"].map(|id| {
        let opened = harness.open_one(&of(id));
        (opened.image(), opened.version())
    });
    assert_eq!(versions, [(24, 24), (16, 16), (0, 32)]);
    harness.finish();
}

pub(super) fn an_image_that_is_not_newer_changes_nothing<S: Subject>(mut harness: Harness<'_, S>) {
    let mut world = World::default();
    let mut former: Vec<Image> = Vec::new();
    for round in 0..6 {
        let appends = ["a", "b"].map(|id| usages(&mut world, id, &format!("round {round}"), 2));
        harness.make(&mut world, &appends);
        // Those of other rounds are late; of the other org there is a newer one in the same call.
        let (newer, other) = (image(&world, &of("a")), image(&world, &of("b")));
        former.push(newer.clone());
        if round % 2 == 0 {
            harness.keep(&mut world, std::slice::from_ref(&newer));
            harness.turn();
            for late in &former {
                harness.keep(&mut world, std::slice::from_ref(late));
                harness.check(&world);
            }
            harness.keep(&mut world, &[former[0].clone(), other]);
            harness.check(&world);
        }
    }
    harness.save(&mut world);
    for late in former {
        harness.keep(&mut world, &[late]);
    }
    harness.check(&world);
    harness.finish();
}

pub(super) fn what_an_image_does_not_name_stays<S: Subject>(harness: Harness<'_, S>) {
    let mut world = World::default();
    let users = ["ann", "bob", "eve"];
    for by in users {
        let append = world.append(&org("a"), [used(used_once("reports", Some(by), by))]);
        let key = SystemEntryKind::ApiKeyMade(api_key(by, Role::Admin, None));
        let system = world.system_append([key]);
        harness.make(&mut world, &[append, system]);
        let named = |key: &RecordKey| image(&world, &of("a")).records.iter().any(|(named, _)| named == key);
        let tally = |by: &str| RecordKey::Tally(org("a"), meter("reports"), user(by));
        assert!(named(&tally(by)) && users.iter().filter(|by| named(&tally(by))).count() == 1);
        harness.save(&mut world);
        harness.check(&world);
    }
    harness.finish();
}

pub(super) fn a_load_is_of_the_image_that_was_opened<S: Subject>(mut harness: Harness<'_, S>) {
    let mut world = World::default();
    let keys = [RecordKey::Org(org("a")), RecordKey::Account(org("a"), meter("reports")), RecordKey::System];
    for round in 0..6 {
        let append = usages(&mut world, "a", &format!("round {round}"), 1);
        let key = api_key(&format!("key {round}"), Role::Read, None);
        let system = world.system_append([SystemEntryKind::ApiKeyMade(key)]);
        harness.make(&mut world, &[append, system]);
        if round % 2 == 1 {
            harness.save(&mut world);
        }
        harness.turn();
        for (partition, keys) in by_partition(&keys) {
            let image = world.image_version(&partition);
            for other in (0..world.version(&partition) + 2).chain([u64::MAX]).filter(|other| *other != image)
            {
                let loaded = harness.load(&partition, other, &keys);
                assert_eq!(loaded, None, "{partition:?}: the image is of {image}, not of {other}");
            }
            let wanted = keys.iter().map(|key| world.in_image(key)).collect();
            assert_eq!(harness.load(&partition, image, &keys), Some(wanted), "{partition:?} at {image}");
        }
        // In one call, each is answered by its own image.
        let (mut asked, mut wanted) = (Vec::new(), Vec::new());
        for (partition, keys) in by_partition(&keys) {
            let image = world.image_version(&partition);
            for other in [image + 1, image] {
                wanted.push((other == image).then(|| keys.iter().map(|key| world.in_image(key)).collect()));
                asked.push(Parts { partition: partition.clone(), image: other, keys: keys.clone() });
            }
        }
        assert_eq!(harness.load_all(&asked), wanted, "{asked:?}");
    }
    harness.finish();
}

pub(super) fn behind_are_those_whose_images_lack_entries<S: Subject>(mut harness: Harness<'_, S>) {
    let mut world = World::default();
    for round in 0..4 {
        let mut appends: Vec<Append> = ["a", "b", "c", "d"]
            .iter()
            .map(|id| usages(&mut world, id, &format!("{id} {round}"), 1))
            .collect();
        appends.push(world.system_append([samples::shipment_made(round + 1)]));
        harness.make(&mut world, &appends);
        let turned = |harness: &mut Harness<'_, S>, world: &World| {
            harness.check_behind(world);
            harness.turn();
            harness.check_behind(world);
        };
        turned(&mut harness, &world);
        // An image that was taken before another append does not make its org whole.
        let early = image(&world, &of("a"));
        let append = usages(&mut world, "a", &format!("again {round}"), 1);
        harness.make(&mut world, &[append]);
        harness.keep(&mut world, &[early]);
        turned(&mut harness, &world);
        harness.save_some(&mut world, [of("b"), Partition::System]);
        turned(&mut harness, &world);
        // Some stay behind until the next round.
        harness.save_some(&mut world, [of("a"), of("c")]);
        turned(&mut harness, &world);
    }
    harness.save(&mut world);
    assert!(harness.behind().is_empty(), "all images are whole");
    harness.check(&world);
    harness.finish();
}

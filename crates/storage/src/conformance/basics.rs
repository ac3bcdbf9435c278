//! Cases on reading what was appended, wherever it is: in images, or in the entries since.

use std::collections::BTreeSet;

use tollgate_domain::{
    Among, ApiKeyId, ChannelId, CounterId, EntryKind, KeySpace, OrgId, Partition, RecordKey, Role, Scope,
    SystemEntryKind, UsedEntry, Window,
};

use super::Subject;
use super::harness::{Harness, Saving, by_partition};
use super::samples::{
    self, DAY, IDS, MONTH, api_key, key_id, longest, meter, org, put, used, used_once, user,
};
use super::world::{Line, World};
use crate::{Opened, Order, Scan, Store};

/// Most entries in the large append: what a full turn on one hot org brings.
const LARGE_APPEND_ENTRIES: usize = 1_000;

/// Plays a story on stores whose images are kept at once, late and not at all, and looks at everything after it, after all
/// images were kept, and from the other side.
fn with_each_saving<S: Subject>(harness: Harness<'_, S>, story: impl Fn(&Harness<'_, S>, &mut World)) {
    for saving in Saving::ALL {
        let (mut harness, mut world) = (harness.anew(saving), World::default());
        story(&harness, &mut world);
        harness.check(&world);
        harness.save(&mut world);
        harness.check(&world);
        harness.turn();
        harness.check(&world);
        harness.finish();
    }
    harness.finish();
}

/// A key of every kind of record.
fn keys_of_every_kind(of: &str) -> Vec<RecordKey> {
    let counter = |meter, scope, period| RecordKey::Counter(CounterId { org: org(of), meter, scope, period });
    let mut keys = vec![
        RecordKey::Org(org(of)),
        RecordKey::Account(org(of), meter("tokens")),
        RecordKey::Tally(org(of), meter("tokens"), user("ann")),
        RecordKey::PathTally(org(of), meter("tokens"), samples::path("a")),
        RecordKey::PathTally(org(of), meter("tokens"), samples::path("a/b|c/a")),
        RecordKey::Seen(org(of), meter("users"), samples::seen(Among::Org)),
        RecordKey::Seen(org(of), meter("users"), samples::seen(Among::Path(samples::path("a")))),
        RecordKey::Seen(org(of), meter("users"), samples::seen(Among::User(user("ann")))),
        RecordKey::Groups(org(of), meter("tokens"), samples::period(Window::Day, 20_756)),
        RecordKey::Groups(org(of), meter("tokens"), samples::period(Window::Month, MONTH)),
        RecordKey::Groups(org(of), meter("tokens"), samples::period(Window::Month, i32::MIN)),
        RecordKey::Bill(org(of), MONTH),
        RecordKey::Bill(org(of), i32::MAX),
        RecordKey::Unsent(org(of), DAY),
        RecordKey::Unsent(org(of), i32::MIN),
        RecordKey::Entry(org(of), 1),
        RecordKey::Entry(org(of), u64::MAX),
        RecordKey::System,
        RecordKey::Catalog(1),
        RecordKey::Catalog(u32::MAX),
        RecordKey::ApiKey(ApiKeyId("0123456789abcdef".to_owned())),
        RecordKey::Shipment,
        RecordKey::Channel(ChannelId("0123456789abcdef".to_owned())),
        RecordKey::Delivery(ChannelId("0123456789abcdef".to_owned()), 1),
    ];
    for period in samples::periods() {
        keys.push(counter(meter("tokens"), Scope::Org, period));
        keys.push(counter(meter("tokens"), Scope::User(user("ann")), period));
        keys.push(counter(meter("tokens"), Scope::Path(samples::path("a")), period));
        keys.push(counter(meter("users"), Scope::Seen(samples::seen(Among::Org)), period));
    }
    keys
}

/// Every kind of scan.
fn scans_of_every_kind(of: &str) -> Vec<Scan> {
    let mut scans = vec![
        Scan::Orgs,
        Scan::Entries { org: org(of), order: Order::Oldest },
        Scan::Entries { org: org(of), order: Order::Newest },
        Scan::SystemEntries,
        Scan::Tallies { org: org(of), meter: meter("tokens") },
        Scan::PathTallies { org: org(of), meter: meter("tokens") },
        Scan::Notices,
        Scan::Unsent { org: None },
        Scan::Unsent { org: Some(org(of)) },
        Scan::ApiKeys,
        Scan::Catalogs,
    ];
    scans.extend(Window::ALL.map(|window| {
        let (org, meter) = (org(of), meter("tokens"));
        Scan::OrgCounters { org, meter, window, from: i32::MIN, until: i32::MAX }
    }));
    scans
}

pub(super) fn an_empty_store_holds_nothing<S: Subject>(harness: Harness<'_, S>) {
    assert!(harness.open(&[]).is_empty());
    assert_eq!(harness.behind(), BTreeSet::new());
    let keys = keys_of_every_kind("acme");
    for (partition, keys) in by_partition(&keys) {
        assert_eq!(harness.open_one(&partition), Opened::default(), "{partition:?}");
        assert_eq!(harness.versions(std::slice::from_ref(&partition)), [0], "{partition:?}");
        let loaded = harness.load(&partition, 0, &keys).expect("no image is an image of version zero");
        assert!(loaded.iter().all(Option::is_none), "{partition:?}: {loaded:?}");
        assert_eq!(harness.load(&partition, 1, &keys), None, "{partition:?} has no image");
    }
    let ids = [KeySpace::Use, KeySpace::TopUp].map(|space| key_id("acme", space, "use-1"));
    assert_eq!(harness.find(&ids), [None, None]);
    for scan in scans_of_every_kind("acme") {
        let page = harness.page(&scan, None, 10);
        assert!(page.rows.is_empty() && page.next.is_none(), "{scan:?}: {page:?}");
    }
    assert!(harness.append(&[]).is_empty(), "a call of nothing answers nothing");
    harness.keep_until(Vec::new(), 0);
    harness.check(&World::default());
    harness.finish();
}

fn catalog(version: u32) -> SystemEntryKind {
    SystemEntryKind::CatalogApplied { version, text: format!("# version {version}\n[meters.\"tökens\"]\n") }
}

pub(super) fn every_kind_of_record_comes_back<S: Subject>(harness: Harness<'_, S>) {
    with_each_saving(harness, |harness, world| {
        // Later usages close the counters of the earlier.
        let value = samples::seen(Among::Org).value.clone();
        let later =
            [samples::used_fully("ann", "later"), samples::used_by_value("ann", "later-value", &value)];
        let later = later.map(|mut used| {
            used.periods.iter_mut().for_each(|period| period.number += 1);
            if let Some(along) = &mut used.path {
                along.counted.iter_mut().for_each(|(_, period)| period.number += 1);
            }
            samples::used(used).into()
        });
        let lines = samples::lines_of_every_kind().into_iter().chain(later);
        let append = world.append(&org("acme"), lines);
        let system = world.system_append([
            catalog(1),
            SystemEntryKind::ApiKeyMade(api_key("0123456789abcdef", Role::Ingest, None)),
            SystemEntryKind::ApiKeyMade(api_key("fedcba9876543210", Role::Admin, Some("acmé"))),
            catalog(2),
            SystemEntryKind::ApiKeyRevoked(ApiKeyId("fedcba9876543210".to_owned())),
            samples::shipment_made(1),
            SystemEntryKind::ShipmentSent(1),
            samples::shipment_made(2),
            samples::channel_changed("0123456789abcdef", 0),
            samples::delivered("0123456789abcdef", 2),
        ]);
        harness.make(world, &[append, system]);
        let keys = keys_of_every_kind("acme");
        let found = harness.records(&keys);
        let absent = keys.into_iter().zip(&found).filter(|(_, found)| found.is_none()).map(|(key, _)| key);
        let expected = [
            RecordKey::Groups(org("acme"), meter("tokens"), samples::period(Window::Month, i32::MIN)),
            RecordKey::Bill(org("acme"), i32::MAX),
            RecordKey::Unsent(org("acme"), i32::MIN),
            RecordKey::Entry(org("acme"), u64::MAX),
            RecordKey::Catalog(u32::MAX),
        ];
        assert_eq!(absent.collect::<Vec<_>>(), expected, "numbers are exact");
    });
}

pub(super) fn every_kind_of_entry_and_notice_comes_back<S: Subject>(harness: Harness<'_, S>) {
    with_each_saving(harness, |harness, world| {
        for line in samples::lines_of_every_kind() {
            let append = world.append(&org("acme"), [line]);
            harness.make(world, &[append]);
        }
        let mut lines = vec![samples::noticed(samples::notices_of_every_kind())];
        for notice in samples::notices_of_every_kind() {
            lines.push(samples::noticed(vec![notice]));
        }
        let append = world.append(&org("acme"), lines);
        harness.make(world, &[append]);
    });
}

pub(super) fn records_are_replaced<S: Subject>(harness: Harness<'_, S>) {
    with_each_saving(harness, |harness, world| {
        for round in 0..20 {
            let latest = world.org_version(&org("acme"));
            let usage = used_once("reports", Some("ann"), &format!("use-{}", round / 2));
            let mut kinds = vec![put(&format!("name {round}")), used(usage.clone())];
            if round % 2 == 1 {
                kinds.push(EntryKind::Reversed { entry: latest + 2, used: Box::new(usage) });
            }
            let append = world.append(&org("acme"), kinds);
            let system = world.system_append([catalog(1)]);
            harness.make(world, &[append, system]);
            harness.check(world);
        }
    });
}

pub(super) fn answers_come_in_the_order_asked<S: Subject>(harness: Harness<'_, S>) {
    let mut world = World::default();
    for name in ["b", "a", "c", "d"] {
        let append = world.append(&org(name), samples::lines_of_every_kind());
        harness.make(&mut world, &[append]);
    }
    // Of some there is an image, of some not.
    harness.save_some(&mut world, ["a", "c"].map(|name| Partition::Org(org(name))));
    let names = ["c", "nobody", "d", "a", "c", "b", "a", "c"];
    let mut partitions = names.map(|name| Partition::Org(org(name))).to_vec();
    partitions.insert(2, Partition::System);
    for (partition, opened) in partitions.iter().zip(harness.open(&partitions)) {
        assert_eq!(opened, world.opened(partition), "{partition:?}");
    }
    for (partition, mut keys) in by_partition(&keys_of_every_kind("c")) {
        keys.reverse();
        keys.extend_from_within(2..keys.len() - 1);
        let loaded = harness.load(&partition, world.image_version(&partition), &keys).expect("its image");
        for (key, found) in keys.iter().zip(loaded) {
            assert_eq!(found, world.in_image(key), "{key:?}");
        }
    }
    let spaces = [KeySpace::TopUp, KeySpace::Use];
    let ids = names.iter().flat_map(|name| {
        let keys = ["use-2", "top-up-1", "none", "use-1"].into_iter();
        keys.flat_map(move |key| spaces.map(|space| key_id(name, space, key)))
    });
    let ids: Vec<_> = ids.collect();
    for (id, found) in ids.iter().zip(harness.find(&ids)) {
        assert_eq!(found, world.find(id), "{id:?}");
    }
    harness.finish();
}

pub(super) fn ids_are_never_taken_for_one_another<S: Subject>(harness: Harness<'_, S>) {
    with_each_saving(harness, |harness, world| {
        for (place, id) in (1..).zip(IDS) {
            // As many entries as its place in the list, so that no two of its records are the same.
            let usage = |round: i32| UsedEntry {
                fingerprint: place,
                ..used_once(id, Some(IDS[usize::try_from(round).unwrap_or(0) % IDS.len()]), id)
            };
            let append = world.append(&org(id), (0..3).map(usage).map(used).chain([put(id)]));
            harness.make(world, &[append]);
        }
        // In one org, all users, meters and keys.
        let mut kinds = Vec::new();
        for id in IDS {
            kinds.push(used(used_once("a", Some(id), &format!("{id} by user"))));
            kinds.push(used(used_once(id, None, id)));
            kinds.push(samples::topped_up(id, Some(id), 1));
        }
        for some in kinds.chunks(20) {
            let append = world.append(&org("everything"), some.to_vec());
            harness.make(world, &[append]);
        }
    });
}

pub(super) fn the_longest_ids_fit<S: Subject>(harness: Harness<'_, S>) {
    with_each_saving(harness, |harness, world| {
        for start in ["a", "b", "😀"] {
            let id: OrgId = org(&longest(start));
            for part in ["x", "y", "😀"] {
                let part = longest(part);
                let usage = UsedEntry { periods: samples::periods(), ..used_once(&part, Some(&part), &part) };
                let append = world.append(&id, [used(usage), samples::topped_up(&part, Some(&part), 1)]);
                harness.make(world, &[append]);
            }
        }
    });
}

pub(super) fn large_appends_are_whole<S: Subject>(harness: Harness<'_, S>) {
    with_each_saving(harness, |harness, world| {
        let count = harness.store().capabilities().entries_max.min(LARGE_APPEND_ENTRIES);
        for round in 0..3 {
            let line = |place: usize| Line {
                kind: used(used_once(
                    "reports",
                    Some(&format!("user {}", place % 50)),
                    &format!("use {round} {place}"),
                )),
                notices: if place.is_multiple_of(100) {
                    vec![samples::top_up_notice("reports")]
                } else {
                    Vec::new()
                },
            };
            let append = world.append(&org("hot"), (0..count).map(line));
            harness.make(world, &[append]);
        }
    });
}

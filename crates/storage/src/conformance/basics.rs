//! Cases on loading what was committed.

use tollgate_domain::{
    Among, ApiKeyId, CounterId, EntryKind, KeyId, KeySpace, OrgId, RecordKey, Role, Scope, SystemEntryKind,
    UsedEntry, Window,
};

use super::Subject;
use super::harness::Harness;
use super::samples::{self, DAY, IDS, MONTH, api_key, key, longest, meter, org, put, used, used_once, user};
use super::world::{Line, World};
use crate::{Order, Scan, Store};

/// Most entries in the large change: what a full turn on one hot org brings.
const LARGE_CHANGE_ENTRIES: usize = 1_000;

/// A key of every kind of record.
fn keys_of_every_kind(of: &str) -> Vec<RecordKey> {
    let counter = |meter, scope, period| RecordKey::Counter(CounterId { org: org(of), meter, scope, period });
    let key_id = |space| RecordKey::Key(KeyId { org: org(of), space, key: key("use-1") });
    let mut keys = vec![
        RecordKey::Org(org(of)),
        RecordKey::Account(org(of), meter("tokens")),
        RecordKey::Tally(org(of), meter("tokens"), user("ann")),
        RecordKey::Seen(org(of), meter("users"), samples::seen(Among::Org)),
        RecordKey::Seen(org(of), meter("users"), samples::seen(Among::User(user("ann")))),
        RecordKey::Groups(org(of), meter("tokens"), samples::period(Window::Day, 20_756)),
        RecordKey::Groups(org(of), meter("tokens"), samples::period(Window::Month, MONTH)),
        RecordKey::Groups(org(of), meter("tokens"), samples::period(Window::Month, i32::MIN)),
        RecordKey::Bill(org(of), MONTH),
        RecordKey::Bill(org(of), i32::MAX),
        RecordKey::Unsent(org(of), DAY),
        RecordKey::Unsent(org(of), i32::MIN),
        key_id(KeySpace::Use),
        key_id(KeySpace::TopUp),
        RecordKey::Entry(org(of), 1),
        RecordKey::Entry(org(of), u64::MAX),
        RecordKey::System,
        RecordKey::Catalog(1),
        RecordKey::Catalog(u32::MAX),
        RecordKey::ApiKey(ApiKeyId("0123456789abcdef".to_owned())),
        RecordKey::Shipment,
    ];
    for period in samples::periods() {
        keys.push(counter(meter("tokens"), Scope::Org, period));
        keys.push(counter(meter("tokens"), Scope::User(user("ann")), period));
        keys.push(counter(meter("users"), Scope::Seen(samples::seen(Among::Org)), period));
    }
    keys
}

pub(super) fn an_empty_store_holds_nothing<S: Subject>(harness: Harness<'_, S>) {
    assert!(harness.load(&[]).is_empty());
    for (key, record) in keys_of_every_kind("acme").iter().zip(harness.load(&keys_of_every_kind("acme"))) {
        assert_eq!(record, None, "{key:?}");
    }
    let period = samples::periods().remove(0);
    for scan in [
        Scan::Orgs,
        Scan::Entries { org: org("acme"), order: Order::Oldest },
        Scan::Entries { org: org("acme"), order: Order::Newest },
        Scan::OrgCounters {
            org: org("acme"),
            meter: meter("tokens"),
            window: period.window,
            from: i32::MIN,
            until: i32::MAX,
        },
        Scan::Tallies { org: org("acme"), meter: meter("tokens") },
        Scan::Notices,
        Scan::ApiKeys,
        Scan::Catalogs,
    ] {
        let page = harness.page(&scan, None, 10);
        assert!(page.rows.is_empty() && page.next.is_none(), "{scan:?}: {page:?}");
    }
    assert!(harness.commit(Vec::new()).is_empty(), "a batch of nothing answers nothing");
    harness.finish();
}

fn catalog(version: u32) -> SystemEntryKind {
    SystemEntryKind::CatalogApplied { version, text: format!("# version {version}\n[meters.\"tökens\"]\n") }
}

pub(super) fn every_kind_of_record_comes_back<S: Subject>(harness: Harness<'_, S>) {
    let mut world = World::default();
    // Later usages close the counters of the earlier.
    let value = samples::seen(Among::Org).value.clone();
    let later = [samples::used_fully("ann", "later"), samples::used_by_value("ann", "later-value", &value)];
    let later = later.map(|mut used| {
        used.periods.iter_mut().for_each(|period| period.number += 1);
        samples::used(used).into()
    });
    let lines = samples::lines_of_every_kind().into_iter().chain(later);
    let change = world.change(&org("acme"), lines);
    let system = world.system_change([
        catalog(1),
        SystemEntryKind::ApiKeyMade(api_key("0123456789abcdef", Role::Ingest, None)),
        SystemEntryKind::ApiKeyMade(api_key("fedcba9876543210", Role::Admin, Some("acmé"))),
        catalog(2),
        SystemEntryKind::ApiKeyRevoked(ApiKeyId("fedcba9876543210".to_owned())),
        samples::shipment_made(1),
        SystemEntryKind::ShipmentSent(1),
        samples::shipment_made(2),
    ]);
    harness.make(&mut world, vec![change, system]);
    let found = harness.load(&keys_of_every_kind("acme"));
    let absent: Vec<RecordKey> = keys_of_every_kind("acme")
        .into_iter()
        .zip(&found)
        .filter(|(_, found)| found.is_none())
        .map(|(key, _)| key)
        .collect();
    let expected = [
        RecordKey::Groups(org("acme"), meter("tokens"), samples::period(Window::Month, i32::MIN)),
        RecordKey::Bill(org("acme"), i32::MAX),
        RecordKey::Unsent(org("acme"), i32::MIN),
        RecordKey::Key(KeyId { org: org("acme"), space: KeySpace::TopUp, key: key("use-1") }),
        RecordKey::Entry(org("acme"), u64::MAX),
        RecordKey::Catalog(u32::MAX),
    ];
    assert_eq!(absent, expected, "keys of usages and top-ups are apart, numbers are exact");
    harness.check(&world);
    harness.finish();
}

pub(super) fn every_kind_of_entry_and_notice_comes_back<S: Subject>(harness: Harness<'_, S>) {
    let mut world = World::default();
    for line in samples::lines_of_every_kind() {
        let change = world.change(&org("acme"), [line]);
        harness.make(&mut world, vec![change]);
    }
    let mut lines = vec![samples::noticed(samples::notices_of_every_kind())];
    for notice in samples::notices_of_every_kind() {
        lines.push(samples::noticed(vec![notice]));
    }
    let change = world.change(&org("acme"), lines);
    harness.make(&mut world, vec![change]);
    harness.check(&world);
    harness.finish();
}

pub(super) fn records_are_replaced<S: Subject>(harness: Harness<'_, S>) {
    let mut world = World::default();
    for round in 0..20 {
        let usage = used_once("reports", Some("ann"), &format!("use-{}", round / 2));
        let mut kinds = vec![put(&format!("name {round}")), used(usage.clone())];
        if round % 2 == 1 {
            kinds.push(EntryKind::Reversed { entry: round * 2 + 1, used: Box::new(usage) });
        }
        let change = world.change(&org("acme"), kinds);
        let system = world.system_change([catalog(1)]);
        harness.make(&mut world, vec![change, system]);
        harness.check(&world);
    }
    harness.finish();
}

pub(super) fn answers_come_in_the_order_asked<S: Subject>(harness: Harness<'_, S>) {
    let mut world = World::default();
    for name in ["b", "a", "c"] {
        let change = world.change(&org(name), samples::lines_of_every_kind());
        harness.make(&mut world, vec![change]);
    }
    let mut keys = Vec::new();
    for name in ["c", "nobody", "a", "c", "b", "a", "c"] {
        let mut some = keys_of_every_kind(name);
        some.reverse();
        keys.extend(some);
        keys.push(RecordKey::Org(org(name)));
    }
    for (key, found) in keys.iter().zip(harness.load(&keys)) {
        assert_eq!(found, world.record(key), "{key:?}");
    }
    harness.finish();
}

pub(super) fn ids_are_never_taken_for_one_another<S: Subject>(harness: Harness<'_, S>) {
    let mut world = World::default();
    for (place, id) in (1..).zip(IDS) {
        // As many entries as its place in the list, so that no two of its records are the same.
        let usage = |round: i32| UsedEntry {
            fingerprint: place,
            ..used_once(id, Some(IDS[usize::try_from(round).unwrap_or(0) % IDS.len()]), id)
        };
        let change = world.change(&org(id), (0..3).map(usage).map(used).chain([put(id)]));
        harness.make(&mut world, vec![change]);
    }
    // In one org, all users, meters and keys.
    let mut kinds = Vec::new();
    for id in IDS {
        kinds.push(used(used_once("a", Some(id), &format!("{id} by user"))));
        kinds.push(used(used_once(id, None, id)));
        kinds.push(samples::topped_up(id, Some(id), 1));
    }
    for some in kinds.chunks(20) {
        let change = world.change(&org("everything"), some.to_vec());
        harness.make(&mut world, vec![change]);
    }
    harness.check(&world);
    harness.finish();
}

pub(super) fn the_longest_ids_fit<S: Subject>(harness: Harness<'_, S>) {
    let mut world = World::default();
    for start in ["a", "b", "😀"] {
        let id: OrgId = org(&longest(start));
        for part in ["x", "y", "😀"] {
            let part = longest(part);
            let usage = UsedEntry { periods: samples::periods(), ..used_once(&part, Some(&part), &part) };
            let change = world.change(&id, [used(usage), samples::topped_up(&part, Some(&part), 1)]);
            harness.make(&mut world, vec![change]);
        }
    }
    harness.check(&world);
    harness.finish();
}

pub(super) fn large_changes_are_whole<S: Subject>(harness: Harness<'_, S>) {
    let mut world = World::default();
    let count = harness.store().capabilities().entries_max.min(LARGE_CHANGE_ENTRIES);
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
        let change = world.change(&org("hot"), (0..count).map(line));
        harness.make(&mut world, vec![change]);
    }
    harness.check(&world);
    harness.finish();
}

//! Cases on reading in order, with cursors: images as they were kept, entries and notices as they were appended.

use tollgate_domain::{
    Amount, EntryKind, KeySpace, Partition, RecordKey, Role, SystemEntryKind, UsedEntry, Window,
};

use super::Subject;
use super::harness::{Harness, same};
use super::samples::{
    self, IDS, MONTH, api_key, meter, moment, org, period, put, top_up_notice, used, used_once, user,
};
use super::world::{Line, World};
use crate::{Cursor, NoticeRow, Order, Row, Scan, StoreErrorKind};

/// Compares a scan with the model at every page size up to one more than there are rows.
fn check_every_page_size<S: Subject>(harness: &Harness<'_, S>, world: &World, scan: &Scan) {
    let count = world.rows(scan).len();
    for limit in (1..=count + 1).chain([usize::MAX]) {
        harness.check_scan(world, scan, limit);
    }
}

pub(super) fn orgs_come_by_id<S: Subject>(harness: Harness<'_, S>) {
    let mut world = World::default();
    // Not in order, and changed again later.
    for id in IDS.iter().rev().chain(IDS.iter().step_by(3)) {
        let append = world.append(&org(id), [put(id)]);
        harness.make(&mut world, &[append]);
    }
    harness.check_scan(&world, &Scan::Orgs, 10);
    harness.save(&mut world);
    assert_eq!(world.rows(&Scan::Orgs).len(), IDS.len(), "the ids differ");
    check_every_page_size(&harness, &world, &Scan::Orgs);
    // What images lack is not shown: an org that is new, one that is not.
    let appends = ["new", "a"].map(|id| world.append(&org(id), [put("later")]));
    harness.make(&mut world, &appends);
    check_every_page_size(&harness, &world, &Scan::Orgs);
    harness.save_some(&mut world, [Partition::Org(org("a"))]);
    check_every_page_size(&harness, &world, &Scan::Orgs);
    // An org that comes in before the cursor is not given any more; one behind it is.
    let page = harness.page(&Scan::Orgs, None, 10);
    let mut wanted = world.rows(&Scan::Orgs).split_off(10);
    for id in [" ", "\u{10ffff}"] {
        let append = world.append(&org(id), [put(id)]);
        harness.make(&mut world, &[append]);
        harness.save_some(&mut world, [Partition::Org(org(id))]);
    }
    wanted.extend(world.rows(&Scan::Orgs).pop());
    same("orgs after a cursor", &harness.rows_after(&Scan::Orgs, page.next, 7), &wanted);
    harness.finish();
}

fn entries_of(id: &str, order: Order) -> Scan {
    Scan::Entries { org: org(id), order }
}

pub(super) fn entries_come_from_either_end<S: Subject>(harness: Harness<'_, S>) {
    let mut world = World::default();
    // Over 9, 10 and 11, where numbers kept as text fall out of order; several to an append.
    for count in [1, 4, 1, 7, 2] {
        let lines = (0..count).map(|place| put(&format!("{place} of {count}")));
        let append = world.append(&org("acme"), lines);
        harness.make(&mut world, &[append]);
        if count == 4 {
            harness.save(&mut world);
        }
    }
    for order in [Order::Oldest, Order::Newest] {
        check_every_page_size(&harness, &world, &entries_of("acme", order));
    }
    // Over 255, 256 and 257, where bytes the wrong way round do.
    for _ in 0..5 {
        let append = world.append(&org("acme"), (0..60).map(|_| put("many")));
        harness.make(&mut world, &[append]);
    }
    for order in [Order::Oldest, Order::Newest] {
        for limit in [1, 7, 100, 1_000] {
            harness.check_scan(&world, &entries_of("acme", order), limit);
        }
    }
    harness.finish();
}

pub(super) fn entries_go_on_under_later_appends<S: Subject>(harness: Harness<'_, S>) {
    let (mut world, acme) = (World::default(), org("acme"));
    let append = world.append(&acme, (0..12).map(|_| put("before")));
    harness.make(&mut world, &[append]);
    let mut newest_wanted = world.rows(&entries_of("acme", Order::Newest));
    let (mut oldest, mut newest) = (Vec::new(), Vec::new());
    let (mut oldest_from, mut newest_from) = (None, None);
    for round in 0..4 {
        let page = harness.page(&entries_of("acme", Order::Oldest), oldest_from.as_ref(), 3);
        oldest.extend(page.rows);
        oldest_from = page.next;
        let page = harness.page(&entries_of("acme", Order::Newest), newest_from.as_ref(), 2);
        newest.extend(page.rows);
        newest_from = page.next;
        assert!(oldest_from.is_some() && newest_from.is_some(), "there is more");
        let append =
            world.append(&acme, [put(&format!("during {round}")), samples::refused("reports", None)]);
        harness.make(&mut world, &[append]);
        if round % 2 == 0 {
            harness.save(&mut world);
        }
    }
    oldest.extend(harness.rows_after(&entries_of("acme", Order::Oldest), oldest_from, 3));
    newest.extend(harness.rows_after(&entries_of("acme", Order::Newest), newest_from, 3));
    same(
        "oldest first, with those that came in between",
        &oldest,
        &world.rows(&entries_of("acme", Order::Oldest)),
    );
    newest_wanted.truncate(newest.len());
    assert_eq!(newest.len(), 12, "newest first, without those that came in between");
    same("newest first, without those that came in between", &newest, &newest_wanted);
    harness.finish();
}

fn in_periods(usage: UsedEntry, numbers: &[i32], window: Window) -> Line {
    let periods = numbers.iter().map(|number| period(window, *number)).collect();
    used(UsedEntry { periods, ..usage }).into()
}

pub(super) fn org_counters_come_by_period<S: Subject>(harness: Harness<'_, S>) {
    const NUMBERS: [i32; 12] = [i32::MIN, -65_536, -256, -10, -9, -1, 0, 1, 9, 10, 256, i32::MAX];
    let mut world = World::default();
    for window in Window::ALL {
        for (id, of) in [("a", "m"), ("a", "m "), ("a", "mm"), ("a ", "m"), ("aa", "m")] {
            let some = if of == "m" { &NUMBERS[..] } else { &[-9, 0, 9] };
            let lines = [
                in_periods(used_once(of, Some("ann"), &window.name()), some, window),
                in_periods(used_once(of, None, &format!("{window} again")), &[0], window),
            ];
            let append = world.append(&org(id), lines);
            harness.make(&mut world, &[append]);
        }
    }
    harness.save(&mut world);
    let ranges = [
        (i32::MIN, i32::MAX, 11),
        (i32::MIN, i32::MIN, 0),
        (i32::MIN, i32::MIN + 1, 1),
        (i32::MAX, i32::MAX, 0),
        (-10, 10, 6),
        (-9, 9, 4),
        (-8, 1, 2),
        (0, 0, 0),
        (0, 1, 1),
        (9, 0, 0),
        (10, -10, 0),
        (2, 9, 0),
        (257, i32::MAX, 0),
    ];
    for window in Window::ALL {
        for (from, until, count) in ranges {
            let scan = Scan::OrgCounters { org: org("a"), meter: meter("m"), window, from, until };
            assert_eq!(world.rows(&scan).len(), count, "{scan:?}");
            check_every_page_size(&harness, &world, &scan);
        }
    }
    harness.check(&world);
    harness.finish();
}

pub(super) fn tallies_come_by_user<S: Subject>(harness: Harness<'_, S>) {
    let mut world = World::default();
    let numbers = [-1, 0, MONTH];
    for (place, id) in IDS.iter().rev().enumerate() {
        let some = &numbers[place % 3..];
        let mut lines = Vec::new();
        for of in ["m", "mm"] {
            lines.push(in_periods(used_once(of, Some(id), &format!("{of} {id}")), some, Window::Month));
            lines.push(in_periods(
                used_once(of, Some(id), &format!("{of} {id} by day")),
                &[MONTH],
                Window::Day,
            ));
        }
        let append = world.append(&org("a"), lines);
        let other = world.append(&org("ab"), [in_periods(used_once("m", Some(id), id), &[0], Window::Month)]);
        harness.make(&mut world, &[append, other]);
    }
    harness.save(&mut world);
    for (id, of, count) in [("a", "m", 46), ("a", "mm", 46), ("ab", "m", 46), ("a", "mmm", 0), ("b", "m", 0)]
    {
        let scan = Scan::Tallies { org: org(id), meter: meter(of) };
        assert_eq!(world.rows(&scan).len(), count, "{scan:?}");
        check_every_page_size(&harness, &world, &scan);
    }
    harness.check(&world);
    harness.finish();
}

pub(super) fn notices_come_as_they_were_appended<S: Subject>(harness: Harness<'_, S>) {
    let mut world = World::default();
    let line = |count: usize| {
        samples::noticed(samples::notices_of_every_kind().into_iter().cycle().take(count).collect())
    };
    // Clocks that differ or are set back: what is committed later may be of an earlier time, and of the same.
    let steps = [
        (5, "b", vec![1, 0, 2]),
        (3, "a", vec![11]),
        (5, "a b", vec![1]),
        (5, "a", vec![2, 1]),
        (4, "é", vec![1]),
        (5, "B", vec![0]),
        (120, "a", vec![1]),
        (1_000_000_200, "a", vec![3]),
        (6, "b", vec![1]),
        (2_000_000_100, "b", vec![1]),
        (1_000_000_199, "z", vec![1]),
    ];
    for (place, (ticks, id, counts)) in steps.into_iter().enumerate() {
        let append = world.append_at(moment(ticks), &org(id), counts.into_iter().map(line));
        harness.make(&mut world, &[append]);
        // They do not come by their images either.
        if place % 4 == 2 {
            harness.save_some(&mut world, [Partition::Org(org(id))]);
        }
    }
    assert_eq!(world.rows(&Scan::Notices).len(), 26);
    check_every_page_size(&harness, &world, &Scan::Notices);
    // What comes in behind the cursor is given.
    let page = harness.page(&Scan::Notices, None, 20);
    let append = world.append_at(moment(3_000_000_000), &org("a"), [line(2)]);
    harness.make(&mut world, &[append]);
    let wanted = world.rows(&Scan::Notices).split_off(20);
    same("notices after a cursor", &harness.rows_after(&Scan::Notices, page.next, 3), &wanted);
    harness.finish();
}

pub(super) fn what_is_unsent_comes_by_org_and_day<S: Subject>(harness: Harness<'_, S>) {
    let mut world = World::default();
    let sent = |number: u32| {
        let key = format!("use {number}");
        used(UsedEntry {
            periods: samples::periods(),
            sink: Some(samples::sku("hour")),
            ..used_once("m", None, &key)
        })
    };
    let shipped = |shipment: u64, day: i32| {
        let lines = vec![(samples::sku("hour"), Amount::from_whole(1))];
        EntryKind::Shipped { shipment, day, lines }
    };
    let ids = ["b", "a", "a b", "é", "ab"];
    for id in ids {
        let append = world.append(&org(id), [sent(1), shipped(1, samples::DAY - 3)]);
        harness.make(&mut world, &[append]);
    }
    harness.save(&mut world);
    let all = Scan::Unsent { org: None };
    assert_eq!(world.rows(&all).len(), 2 * ids.len());
    check_every_page_size(&harness, &world, &all);
    // A day is gone once all of it was sent, and is there again when more is counted.
    for (id, left) in [("a", 9), ("é", 8), ("b", 7)] {
        let append = world.append(&org(id), [shipped(2, samples::DAY)]);
        harness.make(&mut world, &[append]);
        check_every_page_size(&harness, &world, &all);
        harness.save(&mut world);
        assert_eq!(world.rows(&all).len(), left);
        check_every_page_size(&harness, &world, &all);
        check_every_page_size(&harness, &world, &Scan::Unsent { org: Some(org(id)) });
    }
    let append = world.append(&org("a"), [sent(2)]);
    harness.make(&mut world, &[append]);
    harness.save(&mut world);
    check_every_page_size(&harness, &world, &all);
    harness.check(&world);
    harness.finish();
}

pub(super) fn the_system_is_listed<S: Subject>(harness: Harness<'_, S>) {
    let mut world = World::default();
    for version in 1..=12 {
        let text = format!("# {version}\n").repeat(100);
        let mut kinds = vec![SystemEntryKind::CatalogApplied { version, text }];
        for role in Role::ALL {
            let id = format!("{:08x}{}", version.wrapping_mul(2_654_435_761), role.name());
            kinds.push(SystemEntryKind::ApiKeyMade(api_key(&id, role, (version % 2 == 0).then_some("acme"))));
        }
        let append = world.system_append(kinds);
        harness.make(&mut world, &[append]);
    }
    harness.check_scan(&world, &Scan::Catalogs, 5);
    // Its ledger is as new as the latest append, whatever its image lacks.
    check_every_page_size(&harness, &world, &Scan::SystemEntries);
    harness.save(&mut world);
    check_every_page_size(&harness, &world, &Scan::SystemEntries);
    check_every_page_size(&harness, &world, &Scan::Catalogs);
    check_every_page_size(&harness, &world, &Scan::ApiKeys);
    harness.check(&world);
    harness.finish();
}

pub(super) fn neighbours_do_not_leak<S: Subject>(harness: Harness<'_, S>) {
    let mut world = World::default();
    let ids = ["a", "a ", "a!", "a/", "a/m", "a:", "a~", "aa", "ab"];
    for id in ids {
        let mut kinds = Vec::new();
        for of in ["m", "m/", "a", "/m"] {
            kinds.push(used(used_once(of, Some("u"), of)));
            kinds.push(used(used_once(of, Some("m/u"), &format!("{of} again"))));
        }
        let append = world.append(&org(id), kinds);
        harness.make(&mut world, &[append]);
    }
    harness.save(&mut world);
    for scan in world.scans() {
        check_every_page_size(&harness, &world, &scan);
    }
    // Of those that have nothing, nothing is found.
    for id in ["", "a", "b"].map(|end| format!("a{end}\"")) {
        for order in [Order::Oldest, Order::Newest] {
            harness.check_scan(&world, &entries_of(&id, order), 5);
        }
        harness.check_scan(&world, &Scan::Tallies { org: org(&id), meter: meter("m") }, 5);
    }
    harness.finish();
}

/// Scans that differ, each with more than one row in the world of [`foreign_cursors_are_refused`].
fn different_scans() -> Vec<Scan> {
    let mut scans = vec![Scan::Orgs, Scan::Notices, Scan::ApiKeys, Scan::Catalogs, Scan::SystemEntries];
    for id in ["a", "b"] {
        for order in [Order::Oldest, Order::Newest] {
            scans.push(entries_of(id, order));
        }
        for of in ["m", "n"] {
            for window in [Window::Day, Window::Month] {
                let (from, until) = (0, 100);
                scans.push(Scan::OrgCounters { org: org(id), meter: meter(of), window, from, until });
            }
            scans.push(Scan::Tallies { org: org(id), meter: meter(of) });
        }
    }
    scans
}

pub(super) fn foreign_cursors_are_refused<S: Subject>(harness: Harness<'_, S>) {
    let mut world = World::default();
    for id in ["a", "b"] {
        let mut lines = Vec::new();
        for of in ["m", "n"] {
            for by in ["u", "v"] {
                for window in [Window::Day, Window::Month] {
                    lines.push(in_periods(used_once(of, Some(by), &window.name()), &[7, 8, 9], window));
                }
            }
        }
        lines.push(Line { kind: put("name"), notices: vec![top_up_notice("m")] });
        let append = world.append(&org(id), lines);
        harness.make(&mut world, &[append]);
    }
    let keys = ["1", "2"].map(|id| SystemEntryKind::ApiKeyMade(api_key(id, Role::Read, None)));
    let catalogs = [1, 2].map(|version| SystemEntryKind::CatalogApplied { version, text: String::new() });
    let system = world.system_append(keys.into_iter().chain(catalogs));
    harness.make(&mut world, &[system]);
    harness.save(&mut world);

    let refuse = |scan: &Scan, cursor: &Cursor| match harness.try_page(scan, Some(cursor), 10) {
        Err(error) => assert_eq!(error.kind(), StoreErrorKind::BadCursor, "{scan:?}, {cursor:?}: {error}"),
        Ok(page) => panic!("{scan:?} went on from {cursor:?}: {page:?}"),
    };
    let given: Vec<(Scan, Cursor)> = different_scans()
        .into_iter()
        .map(|scan| {
            let next = harness.page(&scan, None, 1).next;
            let cursor = next.unwrap_or_else(|| panic!("{scan:?} has more than one row"));
            (scan, cursor)
        })
        .collect();
    for (scan, own) in &given {
        for (other, cursor) in &given {
            if other != scan {
                refuse(scan, cursor);
            }
        }
        for bytes in [Vec::new(), vec![0], vec![0xff; 40], b"bad".to_vec()] {
            refuse(scan, &Cursor(bytes));
        }
        let rest = harness.rows_after(scan, Some(own.clone()), 10);
        same(&format!("{scan:?} with its own cursor"), &rest, &world.rows(scan)[1..]);
    }
    harness.finish();
}

/// The org and the entry of each notice.
fn places(rows: &[Row]) -> Vec<(String, u64)> {
    let place = |row: &Row| match row {
        Row::Notice(NoticeRow { org, entry, .. }) => (org.to_string(), *entry),
        _ => panic!("not a notice: {row:?}"),
    };
    rows.iter().map(place).collect()
}

pub(super) fn what_is_appended_is_seen_at_once<S: Subject>(mut harness: Harness<'_, S>) {
    let mut world = World::default();
    let mut notices_from = None;
    for round in 0..200 {
        let id = format!("org {round:03}");
        let lines = [
            Line { kind: used(used_once("m", Some("u"), "k")), notices: vec![top_up_notice("m")] },
            Line { kind: put(&id), notices: vec![top_up_notice("m")] },
        ];
        let append = world.append(&org(&id), lines);
        harness.make(&mut world, &[append]);
        harness.turn();
        let partition = Partition::Org(org(&id));
        assert_eq!(harness.open_one(&partition), world.opened(&partition), "the entries of an append");
        let entries = [1, 2, 3].map(|number| RecordKey::Entry(org(&id), number));
        let wanted = entries.iter().map(|key| world.record(key)).collect();
        assert_eq!(
            harness.load(&partition, 0, &entries),
            Some(wanted),
            "the entries of an append, one by one"
        );
        let key = samples::key_id(&id, KeySpace::Use, "k");
        assert_eq!(harness.find(std::slice::from_ref(&key)), [world.find(&key)], "the key of an append");
        harness.check_scan(&world, &entries_of(&id, Order::Newest), 2);
        // One page of one notice leaves the second of the round, and the first of the next, behind the cursor.
        let page = harness.page(&Scan::Notices, notices_from.as_ref(), 2);
        if round == 0 {
            assert_eq!(places(&page.rows), [(id.clone(), 1), (id.clone(), 2)]);
            notices_from = harness.page(&Scan::Notices, None, 1).next;
        } else {
            assert_eq!(places(&page.rows), [(format!("org {:03}", round - 1), 2), (id.clone(), 1)]);
            notices_from = page.next;
        }
        assert!(notices_from.is_some(), "the second notice of the round is behind the cursor");
        // An image is seen as soon as it is kept.
        harness.save(&mut world);
        harness.turn();
        let tallies = harness.rows(&Scan::Tallies { org: org(&id), meter: meter("m") }, 2);
        assert!(matches!(&tallies[..], [Row::Tally(row)] if row.user == user("u")), "{tallies:?}");
        assert_eq!(harness.open_one(&partition), world.opened(&partition), "the image with all entries");
    }
    assert_eq!(harness.rows(&Scan::Orgs, 64).len(), 200);
    harness.finish();
}

//! Cases on what outlives the process; for durable stores.

use tollgate_domain::{Partition, Role, SystemEntryKind};

use super::Subject;
use super::harness::{End, Harness, Saving, same};
use super::samples::{self, api_key, org, put};
use super::world::World;
use crate::{Appended, Order, Scan};

pub(super) fn closing_and_reopening_keeps_everything<S: Subject>(harness: Harness<'_, S>) {
    Saving::ALL.into_iter().for_each(|saving| keeps_everything(harness.anew(saving), End::Close));
    harness.finish();
}

pub(super) fn a_crash_keeps_everything<S: Subject>(harness: Harness<'_, S>) {
    [Saving::AtOnce, Saving::Late].into_iter().for_each(|saving| {
        keeps_everything(harness.anew(saving), End::Crash);
    });
    harness.finish();
}

pub(super) fn a_crash_before_any_checkpoint_keeps_everything<S: Subject>(harness: Harness<'_, S>) {
    keeps_everything(harness, End::Crash);
}

fn keeps_everything<S: Subject>(mut harness: Harness<'_, S>, end: End) {
    let mut world = World::default();
    for round in 0..6 {
        let text = format!("# {round}");
        let system = world.system_append([
            SystemEntryKind::CatalogApplied { version: round + 1, text },
            SystemEntryKind::ApiKeyMade(api_key(&format!("key {round}"), Role::Admin, None)),
        ]);
        let lines = |version| {
            let noticed = samples::noticed(samples::notices_of_every_kind());
            samples::lines_of_every_kind_after(version).into_iter().chain([noticed])
        };
        let old = world.append(&org("old"), lines(world.org_version(&org("old"))));
        let new = world.append(&org(&format!("org {round}")), lines(0));
        harness.make(&mut world, &[system.clone(), old.clone(), new.clone()]);
        // Reopened twice: what is put right on opening must stay right.
        harness = harness.reopen(&world, end).reopen(&world, end);
        harness.check(&world);
        assert_eq!(harness.append(&[system, old, new]), [Appended::Conflict; 3], "the versions are kept");
        // Not closed, not written to.
        if round % 2 == 0 {
            harness = harness.reopen(&world, End::Crash);
        }
    }
    harness.check(&world);
    harness.save(&mut world);
    harness = harness.reopen(&world, end);
    harness.check(&world);
    harness.finish();
}

fn of(id: &str) -> Partition {
    Partition::Org(org(id))
}

fn append<S: Subject>(harness: &Harness<'_, S>, world: &mut World, id: &str) {
    let append = world.append(&org(id), samples::lines_of_every_kind().into_iter().take(4));
    harness.make(world, &[append]);
}

/// Images of some partitions are kept, of others not, and what is said to be whole goes just as far as it may.
pub(super) fn what_is_behind_is_known_after_reopening<S: Subject>(harness: Harness<'_, S>) {
    let steps: [&[&str]; 4] = [&["a", "b"], &["first"], &["a"], &["last"]];
    for end in End::ALL {
        for count in 0..=steps.len() {
            let (mut harness, mut world) = (harness.anew(Saving::OnDemand), World::default());
            ["first", "a", "b"].iter().for_each(|id| append(&harness, &mut world, id));
            let key = SystemEntryKind::ApiKeyMade(api_key("key", Role::Read, None));
            let system = world.system_append([key]);
            harness.make(&mut world, &[system]);
            ["last", "a"].iter().for_each(|id| append(&harness, &mut world, id));
            for ids in &steps[..count] {
                harness.save_some(&mut world, ids.iter().map(|id| of(id)));
            }
            harness = harness.reopen(&world, end);
            assert_eq!(harness.behind(), world.lacking(), "after {count} images and {end:?}");
            harness.check(&world);
            harness.save(&mut world);
            assert!(harness.behind().is_empty(), "all images are whole");
            harness = harness.reopen(&world, end);
            assert!(harness.behind().is_empty(), "all images are whole after {end:?}");
            harness.check(&world);
            harness.finish();
        }
    }
    harness.finish();
}

/// What a store object found behind stays so, however whole it is told that its own entries are.
pub(super) fn what_was_found_behind_stays_so<S: Subject>(harness: Harness<'_, S>) {
    for end in End::ALL {
        let (mut harness, mut world) = (harness.anew(Saving::OnDemand), World::default());
        ["found", "a"].iter().for_each(|id| append(&harness, &mut world, id));
        let system = world.system_append([samples::shipment_made(1)]);
        harness.make(&mut world, &[system]);
        harness.save_some(&mut world, [of("a")]);
        harness = harness.reopen(&world, end);
        for id in ["a", "new"] {
            append(&harness, &mut world, id);
            let images = world.images_of([of(id)]);
            world.keep(&images);
            harness.keep_until(images, harness.latest());
            assert_eq!(harness.behind(), [of("found"), Partition::System].into());
            harness = harness.reopen(&world, end);
            assert_eq!(harness.behind(), [of("found"), Partition::System].into());
            harness.check(&world);
        }
        let append = world.append(&org("found"), [put("whole")]);
        harness.make(&mut world, &[append]);
        harness.save(&mut world);
        assert!(harness.behind().is_empty(), "all images are whole");
        harness.finish();
    }
    harness.finish();
}

pub(super) fn cursors_outlive_the_process<S: Subject>(mut harness: Harness<'_, S>) {
    let mut world = World::default();
    for id in ["a", "b", "c"] {
        let line = || samples::noticed(samples::notices_of_every_kind());
        let append = world.append(&org(id), [line(), line(), line()]);
        harness.make(&mut world, &[append]);
    }
    harness.save(&mut world);
    let scans =
        [Scan::Orgs, Scan::Notices, Scan::Entries { org: org("b"), order: Order::Newest }].map(|scan| {
            let page = harness.page(&scan, None, 2);
            (scan, page.next)
        });
    for end in End::ALL {
        harness = harness.reopen(&world, end);
        for (scan, next) in &scans {
            assert!(next.is_some(), "{scan:?} goes on");
            let rest = harness.rows_after(scan, next.clone(), 2);
            same(&format!("{scan:?} after {end:?}"), &rest, &world.rows(scan)[2..]);
        }
    }
    harness.finish();
}

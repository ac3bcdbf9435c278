//! Cases on what outlives the process; for durable stores.

use tollgate_domain::{Role, SystemEntryKind};

use super::Subject;
use super::harness::{End, Harness, same};
use super::samples::{self, api_key, org};
use super::world::World;
use crate::{Committed, Order, Scan};

pub(super) fn closing_and_reopening_keeps_everything<S: Subject>(harness: Harness<'_, S>) {
    keeps_everything(harness, End::Close);
}

pub(super) fn a_crash_keeps_everything<S: Subject>(harness: Harness<'_, S>) {
    keeps_everything(harness, End::Crash);
}

fn keeps_everything<S: Subject>(mut harness: Harness<'_, S>, end: End) {
    let mut world = World::default();
    for round in 0..6 {
        let text = format!("# {round}");
        let system = world.system_change([
            SystemEntryKind::CatalogApplied { version: round + 1, text },
            SystemEntryKind::ApiKeyMade(api_key(&format!("key {round}"), Role::Admin, None)),
        ]);
        let lines = samples::lines_of_every_kind()
            .into_iter()
            .chain([samples::noticed(samples::notices_of_every_kind())]);
        let old = world.change(&org("old"), lines.clone());
        let new = world.change(&org(&format!("org {round}")), lines);
        harness.make(&mut world, vec![system.clone(), old.clone(), new.clone()]);
        // Reopened twice: what is put right on opening must stay right.
        harness = harness.reopen(end).reopen(end);
        harness.check(&world);
        let stale = vec![system, old, new];
        assert_eq!(harness.commit(stale), [Committed::Conflict; 3], "the versions are kept");
        // Not closed, not written to.
        if round % 2 == 0 {
            harness = harness.reopen(End::Crash);
        }
    }
    harness.check(&world);
    harness.finish();
}

pub(super) fn cursors_outlive_the_process<S: Subject>(mut harness: Harness<'_, S>) {
    let mut world = World::default();
    for id in ["a", "b", "c"] {
        let line = || samples::noticed(samples::notices_of_every_kind());
        let change = world.change(&org(id), [line(), line(), line()]);
        harness.make(&mut world, vec![change]);
    }
    let scans =
        [Scan::Orgs, Scan::Notices, Scan::Entries { org: org("b"), order: Order::Newest }].map(|scan| {
            let page = harness.page(&scan, None, 2);
            (scan, page.next)
        });
    for end in [End::Close, End::Crash] {
        harness = harness.reopen(end);
        for (scan, next) in &scans {
            assert!(next.is_some(), "{scan:?} goes on");
            let rest = harness.rows_after(scan, next.clone(), 2);
            same(&format!("{scan:?} after {end:?}"), &rest, &world.rows(scan)[2..]);
        }
    }
    harness.finish();
}

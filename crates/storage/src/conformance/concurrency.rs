//! Cases with several threads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use tollgate_domain::{Amount, KeyId, KeySpace, OrgId, Place, Record, RecordKey, Window};

use super::Subject;
use super::harness::Harness;
use super::samples::{MONTH, key, meter, moment, org, period, put, used, used_once};
use super::world::{Line, World, change_of};
use crate::{Committed, Order, Row, Scan};

/// Commits that the readers watch.
const WATCHED_COMMITS: u32 = 3_000;

/// Loads that each reader makes at least, and the commits after which it has had its chance.
const LOADS_MIN: u64 = 200;
const WATCHED_COMMITS_MAX: u32 = 200_000;

/// Changes that the racing writers make together.
const RACED_CHANGES: u64 = 400;

/// Holds the org's open counters.
fn account_of(of: &OrgId) -> RecordKey {
    RecordKey::Account(of.clone(), meter("reports"))
}

fn version(record: Option<&Record>) -> u64 {
    match record {
        None => 0,
        Some(Record::Org(org)) => org.version,
        Some(other) => panic!("not an org: {other:?}"),
    }
}

fn count(record: Option<&Record>) -> Amount {
    match record {
        None => Amount::ZERO,
        Some(Record::Account(account)) => match account.tally.place(period(Window::Month, MONTH)) {
            Place::Open(counter) => counter.value,
            other => panic!("not open: {other:?}"),
        },
        Some(other) => panic!("not an account: {other:?}"),
    }
}

/// What a reader saw of an org, checked: as many usages counted as the version says, and its key and entry there.
fn watch<S: Subject>(harness: &Harness<'_, S>, id: &OrgId, seen: u64) -> u64 {
    let use_key = |number: u64| {
        let key = key(&format!("use {number}"));
        RecordKey::Key(KeyId { org: id.clone(), space: KeySpace::Use, key })
    };
    let next = seen + 1;
    // The org first and last: a store that answers key by key is caught either way.
    let keys = [
        RecordKey::Org(id.clone()),
        account_of(id),
        use_key(next),
        RecordKey::Entry(id.clone(), next),
        account_of(id),
        RecordKey::Org(id.clone()),
    ];
    let found = harness.load(&keys);
    let [first, counted, key, entry, counted_again, last] = &found[..] else { panic!("six answers") };
    let at = version(first.as_ref());
    assert_eq!(at, version(last.as_ref()), "one call, one moment: two versions of {id}");
    let value = Amount::from_whole(i64::try_from(at).expect("a count"));
    assert_eq!(
        (count(counted.as_ref()), count(counted_again.as_ref())),
        (value, value),
        "{id} at {at}: the counter"
    );
    assert_eq!(key.is_some(), at >= next, "{id} at {at}: the key of usage {next}");
    assert_eq!(entry.is_some(), at >= next, "{id} at {at}: the entry {next}");
    assert!(at >= seen, "{id} went back from {seen} to {at}");
    at
}

/// The newest entries in one page: without gaps, and none older than what was seen.
fn watch_entries<S: Subject>(harness: &Harness<'_, S>, id: &OrgId, seen: u64) {
    let page = harness.page(&Scan::Entries { org: id.clone(), order: Order::Newest }, None, 5);
    let numbers: Vec<u64> = page
        .rows
        .iter()
        .filter_map(|row| if let Row::Entry(entry) = row { Some(entry.number) } else { None })
        .collect();
    let newest = numbers.first().copied().unwrap_or(0);
    assert!(newest >= seen, "{id}: the newest entry is {newest} after {seen} was seen");
    assert!(numbers.windows(2).all(|pair| pair[0] == pair[1] + 1), "{id}: entries {numbers:?}");
}

pub(super) fn loads_never_see_half_a_change<S: Subject>(harness: Harness<'_, S>) {
    let ids = [org("left"), org("right")];
    let done = AtomicBool::new(false);
    let loads = [AtomicU64::new(0), AtomicU64::new(0)];
    let world = thread::scope(|scope| {
        for (id, loads) in ids.iter().zip(&loads) {
            let (harness, done) = (&harness, &done);
            scope.spawn(move || {
                // The writer stops when a reader has failed: it may wait for its loads otherwise.
                let finished = Finished(done);
                let mut seen = 0;
                while !done.load(Ordering::Acquire) {
                    seen = watch(harness, id, seen);
                    watch_entries(harness, id, seen);
                    loads.fetch_add(1, Ordering::Relaxed);
                }
                drop(finished);
            });
        }
        let finished = Finished(&done);
        let world = write_while_watched(&harness, &ids, &loads, &done);
        drop(finished);
        world
    });
    harness.check_scan(&world, &Scan::Orgs, 10);
    for id in ids {
        harness.check_scan(&world, &Scan::Entries { org: id, order: Order::Oldest }, 1_000);
    }
    harness.finish();
}

/// Sets the flag when it goes, also when a panic takes it.
struct Finished<'a>(&'a AtomicBool);

impl Drop for Finished<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn write_while_watched<S: Subject>(
    harness: &Harness<'_, S>,
    ids: &[OrgId; 2],
    loads: &[AtomicU64; 2],
    done: &AtomicBool,
) -> World {
    let mut world = World::default();
    for round in 1..=WATCHED_COMMITS_MAX {
        let mut changes = Vec::new();
        for id in ids {
            let next = world.version(id) + 1;
            let entries = u64::from(round % 3) + 1;
            let usage = |number: u64| used(used_once("reports", None, &format!("use {number}")));
            changes.push(world.change(id, (next..next + entries).map(usage)));
        }
        harness.make(&mut world, changes);
        let watched = loads.iter().all(|loads| loads.load(Ordering::Relaxed) >= LOADS_MIN);
        if done.load(Ordering::Acquire) || (watched && round >= WATCHED_COMMITS) {
            return world;
        }
    }
    panic!("in {WATCHED_COMMITS_MAX} commits the readers did not make {LOADS_MIN} loads each: {loads:?}");
}

pub(super) fn one_of_many_writers_wins_each_version<S: Subject>(harness: Harness<'_, S>) {
    let id = org("raced");
    let made = AtomicU64::new(0);
    thread::scope(|scope| {
        for writer in 0..4 {
            let (harness, id, made) = (&harness, &id, &made);
            scope.spawn(move || {
                for attempt in 0..u32::MAX {
                    if made.load(Ordering::Acquire) >= RACED_CHANGES {
                        return;
                    }
                    let usage = used_once("reports", None, &format!("use {attempt} of {writer}"));
                    let lines = [Line::from(used(usage)), Line::from(put(&format!("writer {writer}")))];
                    let change = change_of(id, moment(attempt), lines, |key| harness.load_one(key));
                    if harness.commit(vec![change]) == [Committed::Done] {
                        made.fetch_add(1, Ordering::AcqRel);
                    }
                }
            });
        }
    });
    let made = made.into_inner();
    assert!(made >= RACED_CHANGES);
    let found = harness.load(&[RecordKey::Org(id.clone()), account_of(&id)]);
    assert_eq!(version(found[0].as_ref()), made * 2, "a version for each entry of each change made");
    let value = Amount::from_whole(i64::try_from(made).expect("a count"));
    assert_eq!(count(found[1].as_ref()), value, "each change made is counted once");
    let rows = harness.rows(&Scan::Entries { org: id, order: Order::Oldest }, 100);
    let numbers: Vec<u64> = rows
        .iter()
        .filter_map(|row| if let Row::Entry(entry) = row { Some(entry.number) } else { None })
        .collect();
    assert!(numbers.iter().copied().eq(1..=made * 2), "the ledger has no gap and no double: {numbers:?}");
    harness.finish();
}

//! Cases with several threads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use tollgate_domain::{
    Amount, EntryKind, KeyId, KeySpace, OrgId, Partition, Place, Record, RecordKey, Window,
};

use super::Subject;
use super::harness::Harness;
use super::samples::{MONTH, key_id, meter, moment, org, period, put, used, used_once};
use super::world::{Line, World, append_of, key_ids_of};
use crate::{Appended, Opened, Order, Row, Scan};

/// Rounds of appends that the readers watch.
const WATCHED_ROUNDS: u32 = 1_500;

/// Looks that each reader takes at least, and the rounds after which it has had its chance.
const LOOKS_MIN: u64 = 200;
const WATCHED_ROUNDS_MAX: u32 = 100_000;

/// Appends from one image to the next: odd, so that images come after appends to either org.
const WATCHED_IMAGE_APPENDS: u32 = 5;

/// Appends that the racing writers make together.
const RACED_APPENDS: u64 = 400;

/// Appends between the images that they keep.
const RACED_IMAGE_APPENDS: u64 = 8;

/// The watched orgs. Each append counts usages of one, and nothing else; the same are appended to the first, then to the
/// second.
const WATCHED: [&str; 2] = ["left", "right"];

/// How many entries an append of a round has: with 2, 3 and 1 in turn, versions are 0, 2 or 5 more than a multiple of 6.
fn entries_in(round: u32) -> u64 {
    u64::from(round % 3) + 1
}

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

/// How many usages are counted.
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

fn whole(count: u64) -> Amount {
    Amount::from_whole(i64::try_from(count).expect("a count"))
}

fn use_key(id: &str, number: u64) -> KeyId {
    key_id(id, KeySpace::Use, &format!("use {number}"))
}

/// Opens both orgs, in either order, and checks that each is whole and of one moment; gives their versions.
fn watch<S: Subject>(harness: &Harness<'_, S>, look: u64, seen: [u64; 2]) -> [u64; 2] {
    let mut places = [0, 1];
    if look % 2 == 1 {
        places.reverse();
    }
    let keys = [0, 1].map(|place| use_key(WATCHED[place], seen[place] + 1));
    let found = harness.find(&keys);
    let asked = places.map(|place| Partition::Org(org(WATCHED[place])));
    let mut opened = harness.open(&asked);
    if look % 2 == 1 {
        opened.reverse();
    }
    let at = [opened[0].version(), opened[1].version()];
    for (place, id) in WATCHED.iter().enumerate() {
        let [now, before] = [at[place], seen[place]];
        assert!(now >= before, "{id} went back from {before} to {now}");
        assert!([0, 2, 5].contains(&(now % 6)), "{id} at {now}: half an append");
        assert!(found[place].is_none() || now > before, "{id} at {now}: a key of what is not there");
        watch_image(harness, &org(id), &opened[place]);
        watch_whole(harness, id, now);
    }
    at
}

/// The parts of an image go with the head that was opened.
fn watch_image<S: Subject>(harness: &Harness<'_, S>, id: &OrgId, opened: &Opened) {
    let partition = Partition::Org(id.clone());
    let keys = [account_of(id), RecordKey::Org(id.clone()), account_of(id)];
    match harness.load(&partition, opened.image(), &keys) {
        Some(loaded) => {
            let counted = whole(opened.image());
            assert_eq!(version(loaded[1].as_ref()), opened.image(), "{id}: another image was loaded");
            assert_eq!(count(loaded[0].as_ref()), counted, "{id}: a part of another image");
            assert_eq!(count(loaded[2].as_ref()), counted, "{id}: a part of another image");
        }
        None => {
            let now = harness.open_one(&partition).image();
            assert!(now > opened.image(), "{id}: the image of {} went to {now}", opened.image());
        }
    }
}

/// What is put together counts as many usages as it has entries; what was opened is found in every way.
fn watch_whole<S: Subject>(harness: &Harness<'_, S>, id: &str, at: u64) {
    let of = org(id);
    let found =
        harness.records(&[RecordKey::Org(of.clone()), account_of(&of), RecordKey::Entry(of.clone(), at)]);
    let now = version(found[0].as_ref());
    assert!(now >= at, "{id} went back from {at} to {now}");
    assert_eq!(count(found[1].as_ref()), whole(now), "{id} at {now}: the counter");
    assert_eq!(found[2].is_some(), at > 0, "{id} at {at}: its latest entry");
    if at > 0 {
        let known = harness.find(&[use_key(id, at)]).remove(0);
        assert_eq!(known.map(|known| known.entry), Some(at), "{id} at {at}: the key of its latest entry");
    }
    let page = harness.page(&Scan::Entries { org: of, order: Order::Newest }, None, 5);
    let numbers = numbers(&page.rows);
    let newest = numbers.first().copied().unwrap_or(0);
    assert!(newest >= at, "{id}: the newest entry is {newest} after {at} was seen");
    assert!(numbers.windows(2).all(|pair| pair[0] == pair[1] + 1), "{id}: entries {numbers:?}");
}

fn numbers(rows: &[Row]) -> Vec<u64> {
    let number = |row: &Row| if let Row::Entry(entry) = row { Some(entry.number) } else { None };
    rows.iter().filter_map(number).collect()
}

pub(super) fn readers_never_see_half_an_append_or_half_an_image<S: Subject>(harness: Harness<'_, S>) {
    let done = AtomicBool::new(false);
    let looks = [AtomicU64::new(0), AtomicU64::new(0)];
    let world = thread::scope(|scope| {
        for looks in &looks {
            let (harness, done) = (&harness, &done);
            scope.spawn(move || {
                // The writer stops when a reader has failed: it may wait for its looks otherwise.
                let finished = Finished(done);
                let mut seen = [0, 0];
                while !done.load(Ordering::Acquire) {
                    seen = watch(harness, looks.load(Ordering::Relaxed), seen);
                    looks.fetch_add(1, Ordering::Relaxed);
                }
                drop(finished);
            });
        }
        let finished = Finished(&done);
        let world = write_while_watched(&harness, &looks, &done);
        drop(finished);
        world
    });
    for id in WATCHED {
        let partition = Partition::Org(org(id));
        assert_eq!(harness.open_one(&partition), world.opened(&partition));
        harness.check_scan(&world, &Scan::Entries { org: org(id), order: Order::Oldest }, 1_000);
    }
    harness.check_scan(&world, &Scan::Orgs, 10);
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
    looks: &[AtomicU64; 2],
    done: &AtomicBool,
) -> World {
    let mut world = World::default();
    for round in 1..=WATCHED_ROUNDS_MAX {
        for (place, id) in (0..).zip(WATCHED.map(org)) {
            let next = world.org_version(&id) + 1;
            let usage = |number: u64| used(used_once("reports", None, &format!("use {number}")));
            let append = world.append(&id, (next..next + entries_in(round)).map(usage));
            harness.make(&mut world, &[append]);
            if (round * 2 + place).is_multiple_of(WATCHED_IMAGE_APPENDS) {
                harness.save(&mut world);
            }
        }
        let watched = looks.iter().all(|looks| looks.load(Ordering::Relaxed) >= LOOKS_MIN);
        if done.load(Ordering::Acquire) || (watched && round >= WATCHED_ROUNDS) {
            return world;
        }
    }
    panic!("in {WATCHED_ROUNDS_MAX} rounds the readers did not look {LOOKS_MIN} times each: {looks:?}");
}

/// Appends to one org until the writers together have made enough, and keeps an image now and then, and the former one after
/// it: by then others may have kept newer ones. Gives the keys of all attempts.
fn race<S: Subject>(harness: &Harness<'_, S>, id: &OrgId, writer: u32, made: &AtomicU64) -> Vec<KeyId> {
    let partition = Partition::Org(id.clone());
    let mut keys = Vec::new();
    let (mut kept, mut former) = (0, None);
    for attempt in 0..u32::MAX {
        if made.load(Ordering::Acquire) >= RACED_APPENDS {
            break;
        }
        let opened = harness.open_one(&partition);
        assert!(opened.image() >= kept, "the image went back from {kept} to {}", opened.image());
        kept = opened.image();
        let usage = used_once("reports", None, &format!("use {attempt} of {writer}"));
        let lines = [Line::from(used(usage)), Line::from(put(&format!("writer {writer}")))];
        let append = append_of(id, moment(attempt), opened.version(), lines);
        keys.extend(key_ids_of(&append));
        if harness.append(&[append]) == [Appended::Done]
            && made.fetch_add(1, Ordering::AcqRel).is_multiple_of(RACED_IMAGE_APPENDS)
            && let Some(image) = harness.image_of(id)
        {
            kept = kept.max(image.version);
            harness.keep_until(vec![image.clone()], 0);
            harness.keep_until(former.replace(image).into_iter().collect(), 0);
        }
    }
    keys
}

pub(super) fn one_of_many_writers_wins_each_version<S: Subject>(harness: Harness<'_, S>) {
    let id = org("raced");
    let made = AtomicU64::new(0);
    let keys = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for writer in 0..4 {
            let (harness, id, made, keys) = (&harness, &id, &made, &keys);
            scope.spawn(move || {
                let own = race(harness, id, writer, made);
                keys.lock().expect("no writer failed").extend(own);
            });
        }
    });
    let (made, keys) = (made.into_inner(), keys.into_inner().expect("no writer failed"));
    assert!(made >= RACED_APPENDS);
    let found = harness.records(&[RecordKey::Org(id.clone()), account_of(&id)]);
    assert_eq!(version(found[0].as_ref()), made * 2, "a version for each entry of each append made");
    assert_eq!(count(found[1].as_ref()), whole(made), "each append made is counted once");
    let rows = harness.rows(&Scan::Entries { org: id.clone(), order: Order::Oldest }, 100);
    let numbers = numbers(&rows);
    assert!(numbers.iter().copied().eq(1..=made * 2), "the ledger has no gap and no double: {numbers:?}");
    for (key, known) in keys.iter().zip(harness.find(&keys)) {
        let entry = rows.iter().find_map(|row| match row {
            Row::Entry(entry) => match &entry.kind {
                EntryKind::Used(used) if used.key == key.key => Some(entry.number),
                _ => None,
            },
            _ => None,
        });
        assert_eq!(known.map(|known| known.entry), entry, "{key:?}: the key of an append that won, or none");
    }
    let opened = harness.open_one(&Partition::Org(id));
    assert!(opened.image() > 0, "images were kept");
    harness.finish();
}

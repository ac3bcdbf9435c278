//! Images: which are kept, where the next start begins to read because of them, and how they catch up.

use std::fs;
use std::sync::Arc;

use fastrand::Rng;
use tollgate_backends::embedded::{EmbeddedOptions, EmbeddedStore, Work};
use tollgate_domain::Partition;
use tollgate_storage::{Image, Row, Scan, Store};

use crate::faults::copy_dir;
use crate::support::{
    World, at, check_behind, checkpoint, checkpoint_of, close, commit, org, put, quick_folder, read_to_end,
    run, used,
};

fn options() -> EmbeddedOptions {
    EmbeddedOptions { segment_bytes: 16 * 1024, work: Work::Inline, ..EmbeddedOptions::default() }
}

fn append(store: &EmbeddedStore, world: &mut World, id: &str, key: &str) {
    let append = world.plan(&org(id), at(0), vec![used(Some("ann"), key)]);
    commit(store, world, &[append]).expect("appends");
}

fn image_of(store: &EmbeddedStore, id: &str) -> u64 {
    run(store.open(&[Partition::Org(org(id))])).expect("opens")[0].image()
}

#[test]
fn an_older_image_does_not_take_the_place_of_a_newer_one() {
    let folder = quick_folder();
    let store = EmbeddedStore::open(folder.path(), options()).expect("opens");
    let mut world = World::default();
    append(&store, &mut world, "a", "1");
    let (older, _) = world.images(|_| true);
    append(&store, &mut world, "a", "2");
    append(&store, &mut world, "b", "1");
    checkpoint_of(&store, &mut world, |id| id.as_str() == "a").expect("keeps images");
    let (other, _) = world.images(|_| true);
    // Beside one that is new, too.
    let both: Arc<[Image]> = older.iter().chain(other.iter()).cloned().collect();
    for images in [older, both] {
        run(store.checkpoint(images, 0)).expect("keeps images");
        assert_eq!(image_of(&store, "a"), 2);
        assert_eq!(world.differs_from(&store, &world), None);
    }
    assert_eq!(image_of(&store, "b"), 1);
}

#[test]
fn the_next_start_reads_from_where_all_images_are_whole() {
    const APPENDS: usize = 400;
    let folder = quick_folder();
    let small = EmbeddedOptions { segment_bytes: 4 * 1024, ..options() };
    let opened = || {
        let store = EmbeddedStore::open(folder.path(), small.clone()).expect("opens");
        let frames = usize::try_from(store.metrics().opening_frames.get()).expect("a count");
        (store, frames)
    };
    let (store, none) = opened();
    assert_eq!(none, 0);
    let mut world = World::default();
    for step in 0..APPENDS {
        append(&store, &mut world, ["a", "b", "c"][step % 3], &step.to_string());
        if step == APPENDS / 2 {
            checkpoint(&store, &mut world);
        }
    }
    drop(store);
    let (store, frames) = opened();
    assert!((APPENDS / 2 - 1..APPENDS / 2 + 8).contains(&frames), "{frames} frames behind the images");
    check_behind(&store, &world, "after a crash");
    world.reopened();
    checkpoint_of(&store, &mut world, |id| id.as_str() != "b").expect("keeps images");
    drop(store);
    let (store, again) = opened();
    assert_eq!(again, frames, "an image that lacks what was before is found again");
    assert_eq!(run(store.behind()).expect("says what lags"), [Partition::Org(org("b"))]);
    checkpoint(&store, &mut world);
    assert_eq!(run(store.behind()).expect("says what lags"), []);
    drop(store);
    let (store, few) = opened();
    assert!(few < 40, "{few} frames are read of the segment that has no facts yet");
    assert_eq!(run(store.behind()).expect("says what lags"), []);
    assert_eq!(world.differs_from(&store, &world), None);
}

#[test]
fn images_catch_up_however_old_the_tables_are() {
    let folder = quick_folder();
    let path = folder.path().join("data");
    let (mut world, mut rng) = (World::default(), Rng::with_seed(3));
    let mut store = EmbeddedStore::open(&path, options()).expect("opens");
    for step in 1..=90 {
        if step % 30 == 0 {
            close(store, &mut world);
            copy_dir(&path.join("tables"), &folder.path().join(format!("tables-{step}")));
            store = EmbeddedStore::open(&path, options()).expect("opens");
        }
        let appends = world.some_appends(&mut rng, 4, step);
        commit(&store, &mut world, &appends).expect("appends");
        if step % 7 == 0 {
            checkpoint_of(&store, &mut world, |id| id.as_str() < "org-2").expect("keeps images");
        }
    }
    drop(store);
    for moment in ["30", "60", "90", "none"] {
        for with_catch_up in [true, false] {
            let _ = fs::remove_dir_all(path.join("tables"));
            if moment != "none" {
                copy_dir(&folder.path().join(format!("tables-{moment}")), &path.join("tables"));
            }
            let store = EmbeddedStore::open(&path, options()).expect("opens");
            let case = format!("tables as of step {moment}");
            assert_eq!(world.differs_from(&store, &world), None, "{case}");
            check_behind(&store, &world, &case);
            if with_catch_up {
                store.catch_up().expect("catches up");
                world.caught_up();
            } else {
                bring_up(&store, &world);
            }
            assert_eq!(run(store.behind()).expect("says what lags"), [], "{case}");
            assert_eq!(world.differs_from(&store, &world), None, "{case}, brought up");
            let orgs: Vec<_> = read_to_end(&store, &Scan::Orgs).expect("scans");
            let versions = orgs.iter().map(|row| match row {
                Row::Org(org) => (org.id.clone(), org.version),
                row => panic!("not an org: {row:?}"),
            });
            assert!(
                versions.eq(world.orgs().into_iter().map(|id| (id.clone(), world.version(&id)))),
                "{case}"
            );
            // It goes on from there.
            let mut after = world.clone();
            after.reopened();
            let appends = after.some_appends(&mut rng, 4, 91);
            commit(&store, &mut after, &appends).expect("appends");
            checkpoint(&store, &mut after);
            world = after;
            drop(store);
            let report = EmbeddedStore::verify(&path, &options()).expect("verifies");
            assert!(report.is_clean(), "{case}: {:?}", report.differences);
        }
    }
}

/// Keeps the images of all that lag, as whoever opens them makes them.
fn bring_up(store: &EmbeddedStore, world: &World) {
    for partition in run(store.behind()).expect("says what lags") {
        let Partition::Org(org) = &partition else { panic!("not an org: {partition:?}") };
        let records = world.records.iter().filter(|(key, _)| key.partition() == partition);
        let records = records.map(|(key, record)| (key.clone(), record.clone())).collect();
        let version = world.version(org);
        let image = Image { partition: partition.clone(), version, records };
        run(store.checkpoint(Arc::new([image]), u64::MAX)).expect("keeps an image");
    }
}

#[test]
fn images_are_kept_while_appends_go_on() {
    let folder = quick_folder();
    let background = EmbeddedOptions { work: Work::Background, ..options() };
    let store = EmbeddedStore::open(folder.path(), background.clone()).expect("opens");
    let ids = ["a", "b", "c", "d"];
    let worlds = std::thread::scope(|scope| {
        let threads = ids.map(|id| {
            let store = &store;
            scope.spawn(move || {
                let mut world = World::default();
                for step in 0..150 {
                    append(store, &mut world, id, &step.to_string());
                    if step % 10 == 9 {
                        let (images, _) = world.images(|_| true);
                        run(store.checkpoint(images, 0)).expect("keeps images");
                        assert_eq!(image_of(store, id), world.version(&org(id)));
                        world.caught_up();
                    }
                }
                let append = world.plan(&org(id), at(1), vec![put("last")]);
                commit(store, &mut world, &[append]).expect("appends");
                world
            })
        });
        threads.map(|thread| thread.join().expect("it appends"))
    });
    check_all(&store, &worlds);
    drop(store);
    check_all(&EmbeddedStore::open(folder.path(), background).expect("opens"), &worlds);
}

/// Of worlds of one org each; the notices are those of all.
fn check_all(store: &EmbeddedStore, worlds: &[World]) {
    let notices = worlds.iter().map(|world| world.notices.len()).sum::<usize>();
    assert_eq!(read_to_end(store, &Scan::Notices).expect("scans").len(), notices);
    for world in worlds {
        let difference = world.differs_from(store, world);
        assert!(difference.as_ref().is_none_or(|text| text.starts_with("the notices")), "{difference:?}");
    }
}

//! A store's life beside its appends: the lock, backups under load, a full disk, expiry.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tollgate_backends::embedded::io::Disk;
use tollgate_backends::embedded::io::fault::FaultDisk;
use tollgate_backends::embedded::{EmbeddedOptions, EmbeddedStore, Work};
use tollgate_domain::{Partition, RecordKey};
use tollgate_storage::{Append, Parts, Store, StoreErrorKind};

use crate::support::{
    World, at, checkpoint, checkpoint_of, close, commit, key_id, org, put, run, used, used_on,
};

fn small() -> EmbeddedOptions {
    EmbeddedOptions { segment_bytes: 256 * 1024, ..EmbeddedOptions::default() }
}

#[test]
fn one_process_has_a_folder() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = EmbeddedStore::open(folder.path(), small()).expect("opens");
    let error = EmbeddedStore::open(folder.path(), small()).expect_err("locked");
    assert_eq!(error.kind(), StoreErrorKind::Locked);
    assert!(error.to_string().contains(&folder.path().display().to_string()), "{error}");
    run(store.close()).expect("closes");
    drop(store);
    EmbeddedStore::open(folder.path(), small()).expect("opens");
}

#[test]
fn a_folder_with_something_else_in_it_is_not_taken() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("etc");
    fs::create_dir(&path).expect("a folder");
    fs::write(path.join("passwd"), "root").expect("a file");
    fs::create_dir(path.join("init.d")).expect("a folder");
    let error = EmbeddedStore::open(&path, small()).expect_err("not a store");
    assert_eq!(error.kind(), StoreErrorKind::Format);
    let text = error.to_string();
    assert!(text.contains(&path.display().to_string()) && text.contains("'init.d'"), "{text}");
    assert_eq!(fs::read_dir(&path).expect("a folder").count(), 2, "nothing is made");
    for name in ["init.d", "passwd"] {
        let path = path.join(name);
        if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) }.expect("removed");
    }

    // A new disk, a file that keeps a folder, and what a process made that was killed at its first start.
    for before in [".keep", ".DS_Store", "LOCK"] {
        fs::write(path.join(before), "").expect("a file");
    }
    for before in ["lost+found", "ledger", "tables"] {
        fs::create_dir(path.join(before)).expect("a folder");
    }
    fs::write(path.join("ledger").join("0000000000000001.tmp"), "half").expect("a file");
    let store = EmbeddedStore::open(&path, small()).expect("opens");
    run(store.close()).expect("closes");
    drop(store);
    // What somebody puts beside a store is left alone.
    fs::write(path.join("notes.txt"), "ours").expect("a file");
    EmbeddedStore::open(&path, small()).expect("opens");
}

/// Whatever the umask: what the ledger says of organizations is for nobody else on the machine.
#[test]
fn only_the_user_of_the_server_reads_the_files() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().expect("a temporary folder");
    let (path, backup) = (folder.path().join("above").join("data"), folder.path().join("backup"));
    let store = EmbeddedStore::open(&path, small()).expect("opens");
    let (mut world, mut rng) = (World::default(), Rng::with_seed(1));
    let appends = world.some_appends(&mut rng, 4, 1);
    commit(&store, &mut world, &appends).expect("appends");
    store.backup(&backup).expect("backs up");
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    let ledgers = [path.join("ledger"), backup.join("ledger")];
    for folder in
        [&folder.path().join("above"), &path, &path.join("tables"), &backup, &ledgers[0], &ledgers[1]]
    {
        assert_eq!(mode(folder), 0o700, "{}", folder.display());
    }
    let inside = ledgers.iter().flat_map(|ledger| fs::read_dir(ledger).expect("a folder"));
    let files: Vec<_> = inside.map(|file| file.expect("a file").path()).chain([path.join("LOCK")]).collect();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    run(store.close()).expect("closes");
}

#[test]
fn a_backup_under_load_is_a_moment_of_the_store() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("data");
    let store = EmbeddedStore::open(&path, small()).expect("opens");
    let done = AtomicBool::new(false);
    let backups: Vec<_> = (0..6).map(|number| folder.path().join(format!("backup-{number}"))).collect();
    let worlds = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let (mut world, mut rng) = (World::default(), Rng::with_seed(1));
            let mut worlds = vec![World::default()];
            let mut step = 0;
            while !done.load(Ordering::Relaxed) || step < 300 {
                step += 1;
                let appends = world.some_appends(&mut rng, 4, step);
                commit(&store, &mut world, &appends).expect("appends");
                worlds.push(world.clone());
                if step % 20 == 0 {
                    checkpoint(&store, &mut world);
                }
            }
            worlds
        });
        for (number, backup) in backups.iter().enumerate() {
            if number % 2 == 0 {
                store.backup(backup).expect("backs up");
            } else {
                EmbeddedStore::backup_folder(&path, backup, &small()).expect("backs up beside");
            }
        }
        done.store(true, Ordering::Relaxed);
        writer.join().expect("writes")
    });
    let all = worlds.last().expect("a world");
    let mut at_least = 0;
    for backup in &backups {
        let restored = EmbeddedStore::open(backup, small()).expect("opens");
        let orgs = run(restored.behind()).expect("says what lags");
        let opened = run(restored.open(&orgs)).expect("opens");
        let total = opened.iter().map(|opened| opened.entries.len()).sum();
        let moment =
            worlds.iter().find(|world| world.count() == total).expect("a moment with as many entries");
        assert_eq!(moment.differs_from(&restored, all), None);
        assert!(total >= at_least, "later backups hold as much or more");
        at_least = total;
        drop(restored);
        assert!(EmbeddedStore::verify(backup, &small()).expect("verifies").is_clean());
    }
    let error = store.backup(&backups[0]).expect_err("not empty");
    assert!(error.to_string().contains("not empty"), "{error}");
}

#[test]
fn a_backup_that_was_not_finished_is_not_taken_for_a_store() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir_all(folder.path().join("ledger.partial")).expect("a folder");
    let error = EmbeddedStore::open(folder.path(), small()).expect_err("refuses");
    assert_eq!(error.kind(), StoreErrorKind::Format);
}

/// A file system of a given size, unmounted at the end.
struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    fn new(path: &'a Path, options: &str) -> Option<Self> {
        let status =
            Command::new("mount").args(["-t", "tmpfs", "-o", options, "tollgate"]).arg(path).output().ok()?;
        status.status.success().then_some(Self(path))
    }

    fn resize(&self, options: &str) {
        let status = Command::new("mount").args(["-o", options]).arg(self.0).status().expect("mount runs");
        assert!(status.success());
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        assert!(Command::new("umount").arg("-l").arg(self.0).status().expect("umount runs").success());
    }
}

#[test]
fn a_full_disk_refuses_appends_keeps_reads_and_resumes_without_restart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    if let Some(mount) = Mount::new(folder.path(), "size=48m") {
        println!("disk full: on a tmpfs of 48 MB");
        let options = EmbeddedOptions { segment_bytes: 4 * 1024 * 1024, ..small() };
        fill_and_free(folder.path(), options, true, || mount.resize("remount,size=160m"));
    } else {
        println!("disk full: no mount allowed here, by a disk in memory that refuses");
        let disk = FaultDisk::new(0);
        disk.set_capacity(Some(1024 * 1024));
        let options = EmbeddedOptions { disk: Disk::Fault(disk.clone()), ..small() };
        fill_and_free(folder.path(), options, false, || disk.set_capacity(None));
    }
}

/// Whether the tables are on the disk that is full too.
fn fill_and_free(path: &Path, options: EmbeddedOptions, tables_too: bool, free: impl FnOnce()) {
    let data = path.join("data");
    let store = EmbeddedStore::open(&data, options.clone()).expect("opens");
    let (mut world, mut rng) = (World::default(), Rng::with_seed(2));
    let mut step = 0;
    let refused = loop {
        step += 1;
        let append = plan(&world, &mut rng, step);
        if let Err(error) = commit(&store, &mut world, &[append]) {
            break error;
        }
        assert!(step < 20_000, "the disk is never full");
    };
    assert_eq!(refused.kind(), StoreErrorKind::Full, "{refused}");
    assert_eq!(world.differs_from(&store, &world), None, "reads go on");
    assert_eq!(store.stopped(), None, "nothing needs a restart");
    let kept = checkpoint_of(&store, &mut world, |_| true).map_err(|error| error.kind());
    assert_eq!(kept, if tables_too { Err(StoreErrorKind::Full) } else { Ok(()) });
    assert_eq!(store.metrics().checkpoint_failures.get(), u64::from(tables_too));
    free();
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut more = 0;
    while more < 50 {
        step += 1;
        let append = plan(&world, &mut rng, step);
        match commit(&store, &mut world, &[append]) {
            Ok(_) => more += 1,
            Err(error) => {
                assert_eq!(error.kind(), StoreErrorKind::Full, "{error}");
                assert!(Instant::now() < deadline, "service does not go on: {error}");
                std::thread::yield_now();
            }
        }
    }
    close(store, &mut world);
    let store = EmbeddedStore::open(&data, options).expect("opens");
    assert_eq!(world.differs_from(&store, &world), None, "nothing acknowledged was lost");
    assert_eq!(run(store.behind()).expect("says what lags"), [], "the images were given again");
}

/// A usage with so much told about it that a disk is full soon.
fn plan(world: &World, rng: &mut Rng, step: i64) -> Append {
    let id = org(&format!("org-{}", rng.u8(..50)));
    let mut kind = used(None, &format!("key {step}"));
    if let tollgate_domain::EntryKind::Used(used) = &mut kind {
        used.properties.insert("story".into(), "x".repeat(20_000));
    }
    world.plan(&id, at(step), vec![kind])
}

const DAY: i64 = 86_400;

#[test]
fn keys_are_found_for_35_days_and_forgotten_after() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let options = EmbeddedOptions { segment_bytes: 4 * 1024, work: Work::Inline, ..small() };
    let mut store = EmbeddedStore::open(folder.path(), options.clone()).expect("opens");
    let mut world = World::default();
    let id = org("acme");
    let go = |store: &EmbeddedStore, world: &mut World, day: i64, keys: &[&str]| {
        // With so much beside them that the keys of a day have segments of their own.
        for key in keys {
            let mut kind = used_on(20_758, None, key);
            if let tollgate_domain::EntryKind::Used(used) = &mut kind {
                used.properties.insert("story".into(), "x".repeat(3_000));
            }
            let append = world.plan(&id, at(day * DAY), vec![kind]);
            commit(store, world, &[append]).expect("appends");
        }
    };
    let present = |store: &EmbeddedStore, keys: &[&str]| -> Vec<bool> {
        let ids: Vec<_> = keys.iter().map(|key| key_id(&org("acme"), key)).collect();
        run(store.find(&ids)).expect("finds").iter().map(Option::is_some).collect()
    };
    go(&store, &mut world, 0, &["old"]);
    for day in [1, 20, 34] {
        go(&store, &mut world, day, &[&format!("at {day}")]);
        assert_eq!(present(&store, &["old"]), [true], "on day {day}");
    }
    go(&store, &mut world, 37, &["young"]);
    go(&store, &mut world, 37, &["youngest"]);
    for _ in 0..2 {
        let found = present(&store, &["old", "at 1", "at 20", "at 34", "young", "youngest"]);
        assert_eq!(found, [false, false, true, true, true, true], "what is older than 35 days is forgotten");
        close(store, &mut world);
        store = EmbeddedStore::open(folder.path(), options.clone()).expect("opens");
    }
    // An old key counts anew, and is found as what it is now.
    go(&store, &mut world, 37, &["old"]);
    let found = run(store.find(&[key_id(&id, "old")])).expect("finds").remove(0);
    assert_eq!(found.map(|found| found.entry), Some(7));
    drop(store);
    let report = EmbeddedStore::verify(folder.path(), &options).expect("verifies");
    assert!(report.is_clean(), "{:?}", report.differences);
}

#[test]
fn counters_past_their_keep_time_leave_the_tables() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let options = EmbeddedOptions { work: Work::Inline, ..small() };
    let mut store = EmbeddedStore::open(folder.path(), options.clone()).expect("opens");
    let mut world = World::default();
    let id = org("acme");
    for (day, kind) in [(0, used(None, "old")), (36, used_on(20_794, None, "young"))] {
        let append = world.plan(&id, at(day * DAY), vec![kind]);
        commit(&store, &mut world, &[append]).expect("appends");
        checkpoint(&store, &mut world);
    }
    let counters: Vec<_> =
        world.records.keys().filter(|key| matches!(key, RecordKey::Counter(_))).cloned().collect();
    assert!(!counters.is_empty());
    let counted = |store: &EmbeddedStore| {
        let partition = Partition::Org(org("acme"));
        let image = run(store.open(std::slice::from_ref(&partition))).expect("opens")[0].image();
        let asked = Parts { partition, image, keys: counters.clone() };
        let loaded = run(store.load_one(&asked)).expect("loads").expect("this image");
        loaded.iter().filter(|found| found.is_some()).count()
    };
    store.sweep().expect("sweeps");
    assert_eq!(counted(&store), counters.len(), "counters stay for 24 months");
    let append = world.plan(&id, at(800 * DAY), vec![put("later")]);
    commit(&store, &mut world, &[append]).expect("appends");
    close(store, &mut world);
    store = EmbeddedStore::open(folder.path(), options.clone()).expect("opens");
    store.sweep().expect("sweeps");
    assert_eq!(counted(&store), 0, "counters are gone after 24 months");
    drop(store);
    let report = EmbeddedStore::verify(folder.path(), &options).expect("verifies");
    assert!(report.is_clean(), "{:?}", report.differences);
}

#[test]
fn the_store_tells_what_it_does() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store =
        EmbeddedStore::open(folder.path(), EmbeddedOptions { work: Work::Inline, ..small() }).expect("opens");
    let mut world = World::default();
    let metrics = store.metrics();
    for step in 0..5 {
        let append = world.plan(&org("acme"), at(step), vec![used(None, &format!("{step}"))]);
        commit(&store, &mut world, &[append]).expect("appends");
    }
    assert_eq!((metrics.commits.get(), metrics.entries.get()), (5, 5));
    assert_eq!(metrics.sync_seconds.buckets().iter().sum::<u64>(), 5);
    assert!(metrics.commit_seconds.total() >= metrics.sync_seconds.total());
    checkpoint(&store, &mut world);
    assert_eq!(metrics.checkpoint_seconds.buckets().iter().sum::<u64>(), 1);
    assert_eq!(metrics.checkpoint_failures.get(), 0);
    assert!(metrics.ledger_bytes.get() > 500 && metrics.tables_bytes.get() > 0);
}

#[test]
fn a_closed_store_refuses_appends_and_images() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = EmbeddedStore::open(folder.path(), small()).expect("opens");
    let mut world = World::default();
    let append = world.plan(&org("acme"), at(0), vec![used(None, "before")]);
    commit(&store, &mut world, &[append]).expect("appends");
    run(store.close()).expect("closes");
    let append = world.plan(&org("acme"), at(0), vec![used(None, "after")]);
    let refused = commit(&store, &mut world, &[append]).expect_err("it was closed");
    assert_eq!(refused.kind(), StoreErrorKind::Stopped);
    let refused = checkpoint_of(&store, &mut world, |_| true).expect_err("it was closed");
    assert_eq!(refused.kind(), StoreErrorKind::Stopped);
    drop(store);
    let store = EmbeddedStore::open(folder.path(), small()).expect("opens");
    assert_eq!(world.differs_from(&store, &world), None);
}

//! A store's life beside its commits: the lock, backups under load, a full disk, expiry.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tollgate_backends::embedded::io::Disk;
use tollgate_backends::embedded::io::fault::FaultDisk;
use tollgate_backends::embedded::{EmbeddedOptions, EmbeddedStore, Work};
use tollgate_domain::{KeyId, KeySpace, Record, RecordKey, UsageKey};
use tollgate_storage::{Scan, Store, StoreErrorKind};

use crate::support::{World, at, commit, org, run, used, used_on};

fn small() -> EmbeddedOptions {
    EmbeddedOptions { segment_bytes: 256 * 1024, overlay_records_max: 2_000, ..EmbeddedOptions::default() }
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

/// Whatever the umask: what the ledger says of organizations is for nobody else on the machine.
#[test]
fn only_the_user_of_the_server_reads_the_files() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().expect("a temporary folder");
    let (path, backup) = (folder.path().join("above").join("data"), folder.path().join("backup"));
    let store = EmbeddedStore::open(&path, small()).expect("opens");
    let (mut world, mut rng) = (World::default(), Rng::with_seed(1));
    commit(&store, vec![world.some_change(&mut rng, 4, 1)]).expect("commits");
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
                let change = world.some_change(&mut rng, 4, step);
                commit(&store, vec![change]).expect("commits");
                worlds.push(world.clone());
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
    let keys = worlds.last().expect("a world").keys();
    let mut at_least = 0;
    for backup in &backups {
        let restored = EmbeddedStore::open(backup, small()).expect("opens");
        let version = |world: &World| {
            world
                .records
                .values()
                .map(|record| if let Record::Org(org) = record { org.version } else { 0 })
                .sum::<u64>()
        };
        let orgs = run(restored.scan(&Scan::Orgs, None, 100)).expect("scans").rows;
        let total = orgs
            .iter()
            .map(|row| if let tollgate_storage::Row::Org(org) = row { org.version } else { 0 })
            .sum::<u64>();
        let moment =
            worlds.iter().find(|world| version(world) == total).expect("a moment with as many entries");
        assert_eq!(moment.differs_from(&restored, &keys), None);
        assert!(total >= at_least, "later backups hold as much or more");
        at_least = total;
        drop(restored);
        assert!(EmbeddedStore::verify(backup, &small()).expect("verifies").is_clean());
    }
    let error = store.backup(&backups[0]).expect_err("not empty");
    assert!(error.to_string().contains("not empty"), "{error}");
}

#[test]
fn a_fold_takes_what_was_committed_before_it_and_no_more() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let options = EmbeddedOptions { overlay_records_max: 1_000_000, ..small() };
    let store = EmbeddedStore::open(folder.path(), options).expect("opens");
    let (mut world, mut rng) = (World::default(), Rng::with_seed(2));
    let changes: Vec<_> = (1..3_000).map(|step| world.some_change(&mut rng, 4, step)).collect();
    let folds = || store.metrics().fold_seconds.buckets().iter().sum::<u64>();
    let most = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            changes.into_iter().for_each(|change| commit(&store, vec![change]).expect("commits"));
        });
        let mut most = 0;
        while !writer.is_finished() {
            let before = folds();
            store.fold().expect("folds");
            most = most.max(folds() - before);
        }
        most
    });
    // That which was asked for, and those that come by themselves every two seconds.
    assert!(most < 10, "{most} folds at once");
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
fn a_full_disk_refuses_commits_keeps_reads_and_resumes_without_restart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    if let Some(mount) = Mount::new(folder.path(), "size=48m") {
        println!("disk full: on a tmpfs of 48 MB");
        let options = EmbeddedOptions { segment_bytes: 4 * 1024 * 1024, ..small() };
        fill_and_free(folder.path(), options, || mount.resize("remount,size=160m"));
    } else {
        println!("disk full: no mount allowed here, by a disk in memory that refuses");
        let disk = FaultDisk::new(0);
        disk.set_capacity(Some(1024 * 1024));
        let options = EmbeddedOptions { disk: Disk::Fault(disk.clone()), ..small() };
        fill_and_free(folder.path(), options, || disk.set_capacity(None));
    }
}

fn fill_and_free(path: &Path, options: EmbeddedOptions, free: impl FnOnce()) {
    let data = path.join("data");
    let store = EmbeddedStore::open(&data, options.clone()).expect("opens");
    let (mut world, mut rng) = (World::default(), Rng::with_seed(2));
    let mut step = 0;
    let refused = loop {
        step += 1;
        let change = plan(&world, &mut rng, step);
        if let Err(error) = commit(&store, vec![change.clone()]) {
            break error;
        }
        world.take(&change);
        assert!(step < 20_000, "the disk is never full");
    };
    assert_eq!(refused.kind(), StoreErrorKind::Full, "{refused}");
    let keys = world.keys();
    assert_eq!(world.differs_from(&store, &keys), None, "reads go on");
    assert_eq!(store.stopped(), None, "nothing needs a restart");
    free();
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut more = 0;
    while more < 50 {
        step += 1;
        let change = plan(&world, &mut rng, step);
        match commit(&store, vec![change.clone()]) {
            Ok(()) => {
                world.take(&change);
                more += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), StoreErrorKind::Full, "{error}");
                assert!(Instant::now() < deadline, "service does not go on: {error}");
                std::thread::yield_now();
            }
        }
    }
    run(store.close()).expect("closes");
    drop(store);
    let store = EmbeddedStore::open(&data, options).expect("opens");
    assert_eq!(world.differs_from(&store, &world.keys()), None, "nothing acknowledged was lost");
}

/// A usage with so much told about it that a disk is full soon.
fn plan(world: &World, rng: &mut Rng, step: i64) -> tollgate_storage::Change {
    let id = org(&format!("org-{}", rng.u8(..50)));
    let mut kind = used(None, &format!("key {step}"));
    if let tollgate_domain::EntryKind::Used(used) = &mut kind {
        used.properties.insert("story".into(), "x".repeat(20_000));
    }
    world.plan(&id, at(step), vec![kind])
}

#[test]
fn what_is_past_its_keep_time_leaves_the_tables() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let options = EmbeddedOptions { work: Work::Inline, ..small() };
    let store = EmbeddedStore::open(folder.path(), options.clone()).expect("opens");
    let mut world = World::default();
    let id = org("acme");
    let key = |text: &str| {
        RecordKey::Key(KeyId {
            org: id.clone(),
            space: KeySpace::Use,
            key: UsageKey::new(text).expect("an id"),
        })
    };
    let keys = [key("old"), key("young")];
    let present = |store: &EmbeddedStore| -> Vec<bool> {
        run(store.load(&keys)).expect("loads").iter().map(Option::is_some).collect()
    };
    let day = 86_400;
    commit(&store, vec![world.change(&id, at(0), vec![used(None, "old")])]).expect("commits");
    store.sweep().expect("sweeps");
    assert_eq!(present(&store), [true, false], "nothing is past its time");
    commit(&store, vec![world.change(&id, at(36 * day), vec![used_on(20_794, None, "young")])])
        .expect("commits");
    store.sweep().expect("sweeps");
    assert_eq!(present(&store), [false, true], "the old key is gone");
    let counters =
        world.keys().into_iter().filter(|key| matches!(key, RecordKey::Counter(_))).collect::<Vec<_>>();
    let counted = |store: &EmbeddedStore| {
        run(store.load(&counters)).expect("loads").iter().filter(|found| found.is_some()).count()
    };
    assert_eq!(counted(&store), counters.len(), "counters stay for 24 months");
    let put = tollgate_domain::EntryKind::Put {
        name: None,
        zone: tollgate_domain::Zone::UTC,
        metadata: std::collections::BTreeMap::new(),
    };
    commit(&store, vec![world.change(&id, at(800 * day), vec![put])]).expect("commits");
    run(store.close()).expect("closes");
    drop(store);
    let store = EmbeddedStore::open(folder.path(), options.clone()).expect("opens");
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
        let change = world.change(&org("acme"), at(step), vec![used(None, &format!("{step}"))]);
        commit(&store, vec![change]).expect("commits");
    }
    assert_eq!((metrics.commits.get(), metrics.entries.get(), metrics.fold_lag_entries.get()), (5, 5, 5));
    assert_eq!(metrics.sync_seconds.buckets().iter().sum::<u64>(), 5);
    assert!(metrics.commit_seconds.total() >= metrics.sync_seconds.total());
    store.fold().expect("folds");
    assert_eq!((metrics.fold_lag_entries.get(), metrics.overlay_records.get()), (0, 0));
    assert!(metrics.ledger_bytes.get() > 500 && metrics.tables_bytes.get() > 0);
}

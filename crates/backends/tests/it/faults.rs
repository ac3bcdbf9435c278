//! The whole store against a disk at its worst. The ledger alone is swept exhaustively in its own module; here the tables
//! come in: absent, or as they were at some moment before the power went.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use tollgate_backends::embedded::io::Disk;
use tollgate_backends::embedded::io::fault::{Fault, FaultDisk};
use tollgate_backends::embedded::{EmbeddedOptions, EmbeddedStore, Work};
use tollgate_domain::RecordKey;
use tollgate_storage::{Store, StoreErrorKind};

use crate::support::{World, commit, run};

fn options(disk: &FaultDisk) -> EmbeddedOptions {
    EmbeddedOptions {
        segment_bytes: 16 * 1024,
        overlay_records_max: 60,
        work: Work::Inline,
        disk: Disk::Fault(disk.clone()),
        ..EmbeddedOptions::default()
    }
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for found in fs::read_dir(from).expect("lists") {
        let found = found.expect("lists");
        let target = to.join(found.file_name());
        if found.file_type().expect("a type").is_dir() {
            copy_dir(&found.path(), &target);
        } else {
            fs::copy(found.path(), target).expect("copies");
        }
    }
}

/// The same folder for all states: segments in memory are found by path.
struct Place {
    folder: tempfile::TempDir,
    data: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data = folder.path().join("data");
        Self { folder, data }
    }

    fn tables_copy(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("tables-{number}"))
    }

    /// Puts the tables as they were in a copy, or none.
    fn set_tables(&self, copy: Option<usize>) {
        let tables = self.data.join("tables");
        if tables.exists() {
            fs::remove_dir_all(&tables).expect("removes");
        }
        if let Some(copy) = copy {
            copy_dir(&self.tables_copy(copy), &tables);
        }
    }
}

#[test]
fn a_power_cut_at_any_operation_leaves_a_store_as_before_or_after_the_commit() {
    let place = Place::new();
    let disk = FaultDisk::new(0);
    disk.record();
    let mut rng = Rng::with_seed(5);
    let (mut world, mut worlds) = (World::default(), vec![World::default()]);
    let mut acknowledged_at = Vec::new();
    let mut copies: Vec<usize> = Vec::new();
    let mut store = EmbeddedStore::open(&place.data, options(&disk)).expect("opens");
    for step in 1..=200 {
        if step % 70 == 0 {
            drop(store);
            store = EmbeddedStore::open(&place.data, options(&disk)).expect("opens");
        }
        if step % 40 == 0 {
            copy_dir(&place.data.join("tables"), &place.tables_copy(copies.len()));
            copies.push(disk.operations().len());
        }
        let change = world.some_change(&mut rng, 5, step);
        commit(&store, vec![change]).expect("commits");
        worlds.push(world.clone());
        acknowledged_at.push(disk.operations().len());
    }
    drop(store);
    let keys = world.keys();
    let states = disk.history();
    let mut checked = 0;
    for (number, state) in states.iter().enumerate().step_by(4) {
        let acknowledged = acknowledged_at.iter().filter(|at| **at <= number).count();
        let disk = state.copy();
        disk.power_cycle(u64::try_from(number).expect("a number"));
        // Tables as of some moment before the cut: they are not synced, and may have lost their latest rows.
        let known = copies.iter().filter(|at| **at <= number).count();
        let tables = if number % 2 == 0 { None } else { known.checked_sub(1 + number % 4 / 3) };
        place.set_tables(tables);
        let case = format!("cut before operation {number}, tables {tables:?}");
        let store = EmbeddedStore::open(&place.data, options(&disk))
            .unwrap_or_else(|error| panic!("{case}: {error}"));
        check_one_of(&store, &worlds, acknowledged, &keys, &case);
        drop(store);
        if checked % 25 == 0 {
            let report = EmbeddedStore::verify(&place.data, &options(&disk)).expect("verifies");
            assert!(report.is_clean(), "{case}: {:?}", report.differences);
        }
        checked += 1;
    }
    println!("{checked} states of {} operations", states.len());
    assert!(checked > 100, "{checked} states were checked");
}

fn check_one_of(
    store: &EmbeddedStore,
    worlds: &[World],
    acknowledged: usize,
    keys: &[RecordKey],
    case: &str,
) {
    let before = worlds[acknowledged].differs_from(store, keys);
    let Some(before) = before else { return };
    let after = worlds.get(acknowledged + 1).map(|after| after.differs_from(store, keys));
    if let Some(None) = after {
        return;
    }
    panic!("{case}: neither as after {acknowledged} commits ({before}) nor as after the next ({after:?})");
}

#[test]
fn an_error_of_any_operation_is_reported_and_loses_nothing() {
    const COMMITS: i64 = 40;
    /// Commits until something fails; how many were acknowledged, and the worlds after each.
    fn script(place: &Place, disk: &FaultDisk) -> (usize, Vec<World>, Option<StoreErrorKind>) {
        let mut rng = Rng::with_seed(6);
        let (mut world, mut worlds) = (World::default(), vec![World::default()]);
        let mut acknowledged = 0;
        let mut kind = None;
        match EmbeddedStore::open(&place.data, options(disk)) {
            Err(error) => kind = Some(error.kind()),
            Ok(store) => {
                for step in 1..=COMMITS {
                    let change = world.some_change(&mut rng, 3, step);
                    worlds.push(world.clone());
                    if let Err(error) = commit(&store, vec![change]) {
                        kind = Some(error.kind());
                        let again = world.some_change(&mut rng, 3, step);
                        if !error.kind().is_refusal() {
                            let after = commit(&store, vec![again])
                                .expect_err("nothing is taken after an unknown outcome");
                            assert_eq!(after.kind(), StoreErrorKind::Stopped);
                            assert!(store.stopped().is_some());
                        }
                        // Reads go on.
                        let keys: Vec<_> = worlds[acknowledged].keys();
                        if !disk.is_off() {
                            drop(run(store.load(&keys)));
                        }
                        break;
                    }
                    acknowledged += 1;
                }
            }
        }
        (acknowledged, worlds, kind)
    }
    let place = Place::new();
    let disk = FaultDisk::new(0);
    let (acknowledged, ..) = script(&place, &disk);
    assert_eq!(acknowledged, 40);
    let operations = disk.operations().len();
    let faults = [Fault::Once(ErrorKind::Other), Fault::ForEver(ErrorKind::StorageFull), Fault::Short];
    let mut runs = 0;
    for at in (0..operations).step_by(3) {
        let fault = faults[at / 3 % faults.len()];
        let case = format!("{fault:?} at operation {at}");
        fs::remove_dir_all(&place.data).expect("removes");
        let disk = FaultDisk::new(1);
        disk.plan(at, fault);
        let (acknowledged, worlds, kind) = script(&place, &disk);
        assert!(fault != Fault::Short || kind.is_none(), "{case}: {kind:?}");
        disk.heal();
        let keys = worlds.last().map(World::keys).unwrap_or_default();
        let store = EmbeddedStore::open(&place.data, options(&disk))
            .unwrap_or_else(|error| panic!("{case}: {error}"));
        check_one_of(&store, &worlds, acknowledged, &keys, &case);
        runs += 1;
    }
    println!("{runs} runs with an error, of {operations} operations");
}

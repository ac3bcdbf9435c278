//! The whole store against a disk at its worst. The ledger alone is swept exhaustively in its own module; here the facts and
//! the tables come in: the tables absent, or as they were at some moment before the power went.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use tollgate_backends::embedded::io::Disk;
use tollgate_backends::embedded::io::fault::{Fault, FaultDisk, Operation};
use tollgate_backends::embedded::{EmbeddedOptions, EmbeddedStore, Work};
use tollgate_storage::{Store, StoreErrorKind};

use crate::support::{World, check_behind, checkpoint_of, commit, quick_folder, run};

fn options(disk: &FaultDisk) -> EmbeddedOptions {
    EmbeddedOptions {
        segment_bytes: 4 * 1024,
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
        let folder = quick_folder();
        let data = folder.path().join("data");
        Self { folder, data }
    }

    fn open(&self, disk: &FaultDisk, case: &str) -> EmbeddedStore {
        EmbeddedStore::open(&self.data, options(disk)).unwrap_or_else(|error| panic!("{case}: {error}"))
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

/// What happened to a store, and every state of its disk.
struct History {
    place: Place,
    disk: FaultDisk,
    /// What there was after each append.
    worlds: Vec<World>,
    /// For each append, how many operations there had been when it was acknowledged.
    acknowledged_at: Vec<usize>,
    /// The same for each copy of the tables.
    copied_at: Vec<usize>,
}

impl History {
    /// Appends, images kept of some orgs now and then, reopenings.
    fn new(steps: i64) -> Self {
        let (place, disk) = (Place::new(), FaultDisk::new(0));
        disk.record();
        let mut rng = Rng::with_seed(5);
        let mut world = World::default();
        let mut worlds = vec![world.clone()];
        let (mut acknowledged_at, mut copied_at) = (Vec::new(), Vec::new());
        let mut store = place.open(&disk, "the first time");
        for step in 1..=steps {
            if step % 70 == 0 {
                drop(store);
                store = place.open(&disk, "again");
                world.reopened();
            }
            if step % 9 == 0 {
                let one_in = rng.u8(1..4);
                let wanted = |org: &tollgate_domain::OrgId| org.as_str().as_bytes()[4].is_multiple_of(one_in);
                checkpoint_of(&store, &mut world, wanted).expect("keeps images");
            }
            if step % 20 == 0 {
                copy_dir(&place.data.join("tables"), &place.tables_copy(copied_at.len()));
                copied_at.push(disk.operations().len());
            }
            let appends = world.some_appends(&mut rng, 5, step);
            commit(&store, &mut world, &appends).expect("appends");
            worlds.push(world.clone());
            acknowledged_at.push(disk.operations().len());
        }
        drop(store);
        Self { place, disk, worlds, acknowledged_at, copied_at }
    }

    fn all(&self) -> &World {
        self.worlds.last().expect("a world")
    }

    fn acknowledged_before(&self, operation: usize) -> usize {
        self.acknowledged_at.iter().filter(|at| **at <= operation).count()
    }

    /// Tables as of some moment before an operation, or none.
    fn some_tables(&self, operation: usize) -> Option<usize> {
        let known = self.copied_at.iter().filter(|at| **at <= operation).count();
        if operation.is_multiple_of(3) { None } else { known.checked_sub(operation % 3) }
    }
}

#[test]
fn a_power_cut_at_any_operation_leaves_a_store_as_before_or_after_the_append() {
    let history = History::new(200);
    let states = history.disk.history();
    let (mut checked, mut facts) = (0, 0);
    for (number, state) in states.iter().enumerate().step_by(2) {
        let acknowledged = history.acknowledged_before(number);
        let disk = state.copy();
        disk.power_cycle(u64::try_from(number).expect("a number"));
        let tables = history.some_tables(number);
        history.place.set_tables(tables);
        let case = format!("cut before operation {number}, tables {tables:?}");
        let store = history.place.open(&disk, &case);
        check_one_of(&store, &history.worlds, acknowledged, &case);
        check_behind(&store, history.all(), &case);
        if checked % 20 == 0 {
            store.catch_up().unwrap_or_else(|error| panic!("{case}: {error}"));
            assert_eq!(run(store.behind()).expect("says what lags"), [], "{case}: brought up");
            check_one_of(&store, &history.worlds, acknowledged, &case);
            drop(store);
            let report = EmbeddedStore::verify(&history.place.data, &options(&disk)).expect("verifies");
            assert!(report.is_clean(), "{case}: {:?}", report.differences);
        }
        facts = facts
            .max(disk.paths().iter().filter(|path| path.extension().is_some_and(|is| is == "facts")).count());
        checked += 1;
    }
    println!("{checked} states of {} operations", states.len());
    assert!(checked > 300 && facts > 10, "{checked} states were checked, of up to {facts} sealed segments");
}

#[test]
fn a_power_cut_while_a_store_is_opened_loses_nothing() {
    let history = History::new(90);
    let states = history.disk.history();
    let mut checked = 0;
    for (number, state) in states.iter().enumerate().step_by(9) {
        let acknowledged = history.acknowledged_before(number);
        let tables = history.some_tables(number);
        let first = state.copy();
        first.power_cycle(u64::try_from(number).expect("a number"));
        history.place.set_tables(tables);
        let opening = first.copy();
        opening.record();
        drop(history.place.open(&opening, &format!("cut before operation {number}")));
        for (step, (second, operation)) in opening.history().iter().zip(opening.operations()).enumerate() {
            if matches!(operation, Operation::Read | Operation::Len | Operation::Open | Operation::List) {
                continue;
            }
            let second = second.copy();
            second.power_cycle(u64::try_from(step).expect("a number"));
            history.place.set_tables(tables);
            let case = format!("cut before operation {number}, then before {step} of opening");
            let store = history.place.open(&second, &case);
            check_one_of(&store, &history.worlds, acknowledged, &case);
            check_behind(&store, history.all(), &case);
            checked += 1;
        }
    }
    println!("{checked} states of stores that were being opened");
    assert!(checked > 100, "{checked} states were checked");
}

fn check_one_of(store: &EmbeddedStore, worlds: &[World], acknowledged: usize, case: &str) {
    let all = worlds.last().expect("a world");
    let Some(before) = worlds[acknowledged].differs_from(store, all) else { return };
    let after = worlds.get(acknowledged + 1).map(|after| after.differs_from(store, all));
    if after == Some(None) {
        return;
    }
    panic!("{case}: neither as after {acknowledged} appends ({before}) nor as after the next ({after:?})");
}

/// What came of a script that stops at the first error.
struct Run {
    acknowledged: usize,
    /// What there was after each append that was acknowledged or tried.
    worlds: Vec<World>,
    kind: Option<StoreErrorKind>,
}

/// Appends, images and a reopening, until something fails.
fn script(place: &Place, disk: &FaultDisk, appends: i64) -> Run {
    let mut rng = Rng::with_seed(6);
    let mut world = World::default();
    let mut run = Run { acknowledged: 0, worlds: vec![world.clone()], kind: None };
    let mut opened = EmbeddedStore::open(&place.data, options(disk));
    for step in 1..=appends {
        if step == appends / 2 {
            drop(opened);
            opened = EmbeddedStore::open(&place.data, options(disk));
            world.reopened();
        }
        let store = match &opened {
            Ok(store) => store,
            Err(error) => {
                run.kind = Some(error.kind());
                return run;
            }
        };
        if step % 5 == 0 {
            checkpoint_of(store, &mut world, |org| step % 2 == 0 || org.as_str() == "org-1")
                .expect("tables are on another disk");
        }
        let appends = world.some_appends(&mut rng, 3, step);
        let mut after = world.clone();
        after.take(&appends, 0);
        run.worlds.push(after.clone());
        if let Err(error) = commit(store, &mut world, &appends) {
            run.kind = Some(error.kind());
            if !error.kind().is_refusal() {
                let more = after.some_appends(&mut rng, 3, step);
                let refused =
                    commit(store, &mut after, &more).expect_err("nothing is taken after an unknown outcome");
                assert_eq!(refused.kind(), StoreErrorKind::Stopped);
                assert!(store.stopped().is_some());
            }
            disk.heal();
            assert_eq!(world.differs_from(store, &after), None, "reads go on");
            return run;
        }
        run.acknowledged += 1;
    }
    run
}

#[test]
fn an_error_of_any_operation_is_reported_and_loses_nothing() {
    const APPENDS: i64 = 60;
    let place = Place::new();
    let disk = FaultDisk::new(0);
    let sound = script(&place, &disk, APPENDS);
    assert_eq!((sound.acknowledged, sound.kind), (60, None));
    let operations = disk.operations().len();
    let faults = [Fault::Once(ErrorKind::Other), Fault::ForEver(ErrorKind::StorageFull), Fault::Short];
    let (mut runs, mut reported) = (0, 0);
    for at in (0..operations).step_by(2) {
        let fault = faults[at / 2 % faults.len()];
        let case = format!("{fault:?} at operation {at}");
        fs::remove_dir_all(&place.data).expect("removes");
        let disk = FaultDisk::new(1);
        disk.plan(at, fault);
        let run = script(&place, &disk, APPENDS);
        assert!(fault != Fault::Short || run.kind.is_none(), "{case}: {:?}", run.kind);
        disk.heal();
        let store = place.open(&disk, &case);
        check_one_of(&store, &run.worlds, run.acknowledged, &case);
        check_behind(&store, run.worlds.last().expect("a world"), &case);
        runs += 1;
        reported += usize::from(run.kind.is_some());
    }
    println!("{runs} runs with an error, of {operations} operations; {reported} were reported");
    assert!(reported * 3 > runs, "{reported} of {runs} errors were reported");
}

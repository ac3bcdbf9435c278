//! The ledger alone against a disk at its worst: a power cut at every operation, in recovery too, an error at every
//! operation, and every byte damaged.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastrand::Rng;
use tollgate_storage::{StoreError, StoreErrorKind};

use super::io::Disk;
use super::io::fault::{Fault, FaultDisk, Operation};
use super::ledger::{Ledger, LedgerFiles};
use super::options::Work;
use super::walk::Position;

const SEGMENT_BYTES: u64 = 8 * 1024;

fn dir() -> PathBuf {
    PathBuf::from("/ledger")
}

/// Opens the ledger; the numbers in its frames are what it holds.
fn open(disk: &FaultDisk, segment_bytes: u64) -> Result<(Ledger, Vec<u64>), StoreError> {
    let files = LedgerFiles::open(Disk::Fault(disk.clone()), dir(), segment_bytes)?;
    let mut found = Vec::new();
    let end = files.recover(&Position::default(), |_, frame| {
        for entry in frame.entries() {
            let (_, blob) = entry.expect("an entry of a whole frame");
            found.push(u64::from_le_bytes(*blob.first_chunk().expect("a number")));
        }
        Ok(())
    })?;
    Ok((Ledger::new(files, end, segment_bytes, Work::Inline, Arc::default())?, found))
}

fn append(ledger: &mut Ledger, number: u64) -> Result<(), StoreError> {
    let mut rng = Rng::with_seed(number);
    let len = if rng.u8(..8) == 0 { rng.usize(1_000..3_000) } else { rng.usize(..400) };
    let builder = ledger.begin()?;
    builder.push(|buffer| {
        buffer.extend_from_slice(&number.to_le_bytes());
        buffer.extend((0..len).map(|_| rng.u8(1..)));
    });
    ledger.append().map(|_| ())
}

/// What a run of the script came to.
#[derive(Debug, Default)]
struct Run {
    acknowledged: u64,
    attempted: u64,
    /// For each acknowledged number, how many operations there had been.
    acknowledged_at: Vec<usize>,
    error: Option<StoreErrorKind>,
}

/// Appends numbers, with the ledger opened anew now and then, until something fails.
fn script(disk: &FaultDisk, numbers: u64, run: &mut Run) -> Result<(), StoreError> {
    let (mut ledger, found) = open(disk, SEGMENT_BYTES)?;
    assert!(found.is_empty());
    for number in 1..=numbers {
        if number.is_multiple_of(25) {
            drop(ledger);
            let reopened = open(disk, SEGMENT_BYTES)?;
            assert_eq!(reopened.1, (1..number).collect::<Vec<_>>(), "everything acknowledged is found");
            ledger = reopened.0;
        }
        run.attempted = number;
        let answer = append(&mut ledger, number);
        if let Err(error) = answer {
            if !error.kind().is_refusal() {
                let after =
                    append(&mut ledger, number).expect_err("nothing is taken after an unknown outcome");
                assert_eq!(after.kind(), StoreErrorKind::Stopped);
            }
            return Err(error);
        }
        run.acknowledged = number;
        run.acknowledged_at.push(disk.operations().len());
    }
    Ok(())
}

/// Opens what a disk kept and checks it against what was acknowledged and attempted; then it takes more.
fn check(disk: &FaultDisk, acknowledged: u64, attempted: u64, case: &str) {
    let (mut ledger, found) = open(disk, SEGMENT_BYTES).unwrap_or_else(|error| panic!("{case}: {error}"));
    let count = u64::try_from(found.len()).expect("a count");
    assert_eq!(found, (1..=count).collect::<Vec<_>>(), "{case}: found in order");
    assert!(
        (acknowledged..=attempted).contains(&count),
        "{case}: {acknowledged} acknowledged, {count} found, {attempted} attempted"
    );
    append(&mut ledger, count + 1).unwrap_or_else(|error| panic!("{case}: {error}"));
    drop(ledger);
    disk.power_cycle(1);
    let (_, found) = open(disk, SEGMENT_BYTES).unwrap_or_else(|error| panic!("{case}, once more: {error}"));
    assert_eq!(found, (1..=count + 1).collect::<Vec<_>>(), "{case}: durable after it was opened");
}

#[test]
fn a_power_cut_at_every_operation_loses_nothing_acknowledged() {
    let disk = FaultDisk::new(0);
    disk.record();
    let mut run = Run::default();
    script(&disk, 150, &mut run).expect("nothing is planned");
    let states = disk.history();
    assert!(states.len() > 400, "the script does {} operations", states.len());
    let seeds = 24;
    for (number, state) in states.iter().enumerate() {
        let acknowledged = run.acknowledged_at.iter().filter(|at| **at <= number).count();
        let acknowledged = u64::try_from(acknowledged).expect("a count");
        for seed in 0..seeds {
            let disk = state.copy();
            disk.power_cycle(seed);
            check(
                &disk,
                acknowledged,
                acknowledged + 1,
                &format!("cut before operation {number}, seed {seed}"),
            );
        }
    }
    eprintln!("{} states after a power cut", states.len() * 24);
}

#[test]
fn a_power_cut_in_recovery_loses_nothing_acknowledged() {
    let disk = FaultDisk::new(0);
    disk.record();
    let mut run = Run::default();
    script(&disk, 60, &mut run).expect("nothing is planned");
    let mut states = 0;
    for (number, state) in disk.history().iter().enumerate() {
        let acknowledged = run.acknowledged_at.iter().filter(|at| **at <= number).count();
        let acknowledged = u64::try_from(acknowledged).expect("a count");
        for seed in 0..3_u64 {
            let first = state.copy();
            first.power_cycle(seed);
            let recovery = first.copy();
            recovery.record();
            drop(open(&recovery, SEGMENT_BYTES).expect("opens"));
            let changing = |operation: &Operation| {
                !matches!(operation, Operation::Read | Operation::Len | Operation::Open | Operation::List)
            };
            for (step, (second, operation)) in
                recovery.history().iter().zip(recovery.operations()).enumerate()
            {
                if step > 0 && !changing(&operation) {
                    continue;
                }
                let second = second.copy();
                second.power_cycle(seed + 100);
                let case = format!(
                    "cut before operation {number}, seed {seed}, then before step {step} of recovery"
                );
                check(&second, acknowledged, acknowledged + 1, &case);
                states += 1;
            }
        }
    }
    assert!(states >= 1_000, "{states} states of an interrupted recovery");
    eprintln!("{states} states after a power cut in recovery");
}

#[test]
fn an_error_at_every_operation_is_reported_and_loses_nothing() {
    let disk = FaultDisk::new(0);
    script(&disk, 40, &mut Run::default()).expect("nothing is planned");
    let operations = disk.operations().len();
    let faults = [
        Fault::Once(ErrorKind::Other),
        Fault::ForEver(ErrorKind::Other),
        Fault::Once(ErrorKind::StorageFull),
        Fault::ForEver(ErrorKind::StorageFull),
        Fault::Once(ErrorKind::Interrupted),
        Fault::Short,
    ];
    let mut runs = 0;
    for at in 0..operations {
        for fault in faults {
            let case = format!("{fault:?} at operation {at}");
            let disk = FaultDisk::new(u64::try_from(at).expect("a count"));
            disk.plan(at, fault);
            let mut run = Run::default();
            run.error = script(&disk, 40, &mut run).err().map(|error| error.kind());
            let hit = disk.operations().get(at).copied();
            let harmless = fault == Fault::Short
                || (fault == Fault::Once(ErrorKind::Interrupted)
                    && matches!(hit, Some(Operation::Write | Operation::Read)))
                || hit == Some(Operation::Remove);
            if harmless {
                assert_eq!(run.error, None, "{case}: {hit:?}");
            }
            disk.heal();
            let restarted = disk.copy();
            check(&restarted, run.acknowledged, run.attempted, &format!("{case}, process restarted"));
            disk.power_cycle(7);
            check(&disk, run.acknowledged, run.attempted, &format!("{case}, power cut"));
            runs += 1;
        }
    }
    eprintln!("{runs} runs with an error");
}

#[test]
fn service_goes_on_without_restart_when_room_returns() {
    let disk = FaultDisk::new(0);
    disk.set_capacity(Some(2 * SEGMENT_BYTES));
    let (mut ledger, _) = open(&disk, SEGMENT_BYTES).expect("opens");
    let (mut number, mut refused) = (1, 0_u32);
    while number <= 200 {
        match append(&mut ledger, number) {
            Ok(()) => number += 1,
            Err(error) => {
                assert_eq!(error.kind(), StoreErrorKind::Full, "{error}");
                refused += 1;
                if refused % 3 == 0 {
                    disk.set_capacity(Some(u64::from(refused) * SEGMENT_BYTES));
                }
            }
        }
    }
    assert!(refused > 3, "the disk was full {refused} times");
    drop(ledger);
    disk.power_cycle(3);
    let (_, found) = open(&disk, SEGMENT_BYTES).expect("opens");
    assert_eq!(found, (1..=200).collect::<Vec<_>>());
}

/// A ledger of a few small segments, and the numbers in it.
fn small_ledger() -> (FaultDisk, u64) {
    const SMALL: u64 = 4 * 1024;
    let disk = FaultDisk::new(0);
    let (mut ledger, _) = open(&disk, SMALL).expect("opens");
    for number in 1..=21 {
        append(&mut ledger, number).expect("appends");
    }
    (disk, 21)
}

/// Opens a damaged ledger: all is found, or it is refused with the name of the file.
fn refused_or_whole(disk: &FaultDisk, path: &Path, count: u64, case: &str) -> bool {
    match open(disk, 4 * 1024) {
        Ok((_, found)) => {
            assert_eq!(found, (1..=count).collect::<Vec<_>>(), "{case}: silently changed");
            false
        }
        Err(error) => {
            assert!(
                matches!(error.kind(), StoreErrorKind::Corrupt | StoreErrorKind::Format),
                "{case}: {error}"
            );
            let text = error.to_string();
            assert!(text.contains(&path.display().to_string()), "{case} does not name the file: {text}");
            assert!(
                error.kind() == StoreErrorKind::Format || text.contains("at byte"),
                "{case}: no offset: {text}"
            );
            true
        }
    }
}

#[test]
fn every_flipped_byte_is_refused_or_harmless() {
    let (disk, count) = small_ledger();
    let mut rng = Rng::with_seed(9);
    let (mut refused, mut damages) = (0, 0);
    for path in disk.paths() {
        let content = disk.content(&path).expect("a file");
        for place in 0..content.len() {
            let flips = [0xFF, content[place], 1 << rng.u8(..8)];
            for flip in flips.into_iter().filter(|flip| *flip != 0) {
                let damaged = disk.copy();
                let mut content = content.clone();
                content[place] ^= flip;
                damaged.damage(&path, content);
                let case = format!("{} byte {place} flipped by {flip:#x}", path.display());
                refused += u32::from(refused_or_whole(&damaged, &path, count, &case));
                damages += 1;
            }
        }
    }
    assert!(refused > 10_000, "{refused} of {damages} damages were refused");
    eprintln!("{damages} flipped bytes, {refused} refused, the others harmless");
}

#[test]
fn every_truncation_is_refused() {
    let (disk, count) = small_ledger();
    for path in disk.paths() {
        let content = disk.content(&path).expect("a file");
        for len in 0..content.len() {
            let damaged = disk.copy();
            damaged.damage(&path, content[..len].to_vec());
            let case = format!("{} cut to {len} bytes", path.display());
            assert!(refused_or_whole(&damaged, &path, count, &case), "{case} is refused");
        }
    }
}

#[test]
fn a_missing_segment_is_refused() {
    let (disk, _) = small_ledger();
    let paths = disk.paths();
    for path in &paths[..paths.len() - 1] {
        let damaged = disk.copy();
        Disk::Fault(damaged.clone()).remove(path).expect("removes");
        let error = open(&damaged, SEGMENT_BYTES).expect_err("a segment is missing");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
}

#[test]
fn swapped_and_stale_blocks_are_refused_or_harmless() {
    let (disk, count) = small_ledger();
    let mut rng = Rng::with_seed(11);
    let last_full = disk.paths().len() - 2;
    for round in 0..3_000 {
        let damaged = disk.copy();
        let paths = disk.paths();
        // The last frames' segment is left alone: there, a block of zeros is what an unfinished frame looks like.
        let [from, to] = [(); 2].map(|()| (&paths[rng.usize(..last_full)], rng.usize(..8) * 512));
        let (mut source, mut target) =
            (disk.content(from.0).expect("a file"), disk.content(to.0).expect("a file"));
        let same = from.0 == to.0;
        let (block, other) = (source[from.1..from.1 + 512].to_vec(), target[to.1..to.1 + 512].to_vec());
        if block == other {
            continue;
        }
        target[to.1..to.1 + 512].copy_from_slice(&block);
        damaged.damage(to.0, target.clone());
        if rng.bool() {
            let other_side = if same { &mut target } else { &mut source };
            other_side[from.1..from.1 + 512].copy_from_slice(&other);
            damaged.damage(from.0, other_side.clone());
        }
        match open(&damaged, 4 * 1024) {
            Ok((_, found)) => {
                assert_eq!(found, (1..=count).collect::<Vec<_>>(), "round {round}: silently changed");
            }
            Err(error) => assert_eq!(error.kind(), StoreErrorKind::Corrupt, "round {round}: {error}"),
        }
    }
}

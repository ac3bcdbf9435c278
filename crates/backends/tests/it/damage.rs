//! Damage to closed stores: found, healed or refused, never silent. And what heals: rebuild, replay, backup.

use std::fs;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use tempfile::TempDir;
use tollgate_backends::embedded::{EmbeddedOptions, EmbeddedStore, Work};
use tollgate_storage::codec::VERSION;
use tollgate_storage::{Store, StoreErrorKind};

use crate::faults::copy_dir;
use crate::support::{World, at, commit, org, run, used};

fn options() -> EmbeddedOptions {
    EmbeddedOptions {
        segment_bytes: 16 * 1024,
        overlay_records_max: 100,
        work: Work::Inline,
        ..EmbeddedOptions::default()
    }
}

/// A closed store with something in it.
fn closed_store(folder: &TempDir) -> (PathBuf, World) {
    let path = folder.path().join("data");
    let store = EmbeddedStore::open(&path, options()).expect("opens");
    let (mut world, mut rng) = (World::default(), Rng::with_seed(3));
    for step in 1..=120 {
        let change = world.some_change(&mut rng, 6, step);
        commit(&store, vec![change]).expect("commits");
    }
    run(store.close()).expect("closes");
    (path, world)
}

pub(crate) fn files_in(path: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for found in fs::read_dir(path).expect("lists") {
        let path = found.expect("lists").path();
        if path.is_dir() {
            files.extend(files_in(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

#[test]
fn a_sound_store_verifies_and_says_what_it_holds() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (path, world) = closed_store(&folder);
    let report = EmbeddedStore::verify(&path, &options()).expect("verifies");
    assert!(report.is_clean(), "{:?}", report.differences);
    assert_eq!((report.frames, report.orgs), (120, 6));
    let keys = world.records.keys().filter(|key| matches!(key, tollgate_domain::RecordKey::Key(_))).count();
    assert_eq!(report.keys, u64::try_from(keys).expect("a count"));
    assert!(report.segments >= 2 && report.entries > 120 && report.tallies >= 6, "{report:?}");
}

#[test]
fn a_flipped_byte_in_a_folded_segment_is_found_by_verify_with_file_and_offset() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (path, _) = closed_store(&folder);
    let segment = path.join("ledger/0000000000000001.seg");
    let sound = fs::read(&segment).expect("reads");
    let mut rng = Rng::with_seed(4);
    for _ in 0..12 {
        let place = rng.usize(64..12_000);
        let mut damaged = sound.clone();
        damaged[place] ^= rng.u8(1..);
        fs::write(&segment, damaged).expect("writes");
        let report = EmbeddedStore::verify(&path, &options()).expect("verifies");
        assert!(!report.is_clean(), "byte {place}");
        let named = report
            .differences
            .iter()
            .any(|text| text.contains("0000000000000001.seg") && text.contains("at byte"));
        assert!(named, "byte {place}: {:?}", report.differences);
    }
}

#[test]
fn the_last_frame_is_known_by_the_tables_and_never_taken_for_unfinished() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (path, _) = closed_store(&folder);
    let segment = files_in(&path.join("ledger"))
        .into_iter()
        .rev()
        .find(|path| fs::read(path).expect("reads")[64..].iter().any(|byte| *byte != 0));
    let segment = segment.expect("a segment with frames");
    let sound = fs::read(&segment).expect("reads");
    let end = sound.iter().rposition(|byte| *byte != 0).expect("something") + 1;
    // Zeros at the end are what an unfinished frame leaves; the tables know better.
    for cut in [1, 9, 100] {
        let mut damaged = sound.clone();
        damaged[end - cut..end].fill(0);
        fs::write(&segment, damaged).expect("writes");
        let error = EmbeddedStore::open(&path, options()).expect_err("refuses");
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains(&segment.display().to_string()), "{error}");
    }
}

#[test]
fn tables_that_are_damaged_are_found_refused_or_healed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (path, world) = closed_store(&folder);
    let sound = folder.path().join("sound");
    copy_dir(&path, &sound);
    let keys = world.keys();
    let tables: Vec<_> = files_in(&path.join("tables"))
        .into_iter()
        .filter(|path| fs::metadata(path).expect("a file").len() > 0)
        .collect();
    let mut rng = Rng::with_seed(5);
    let (mut refused, mut found, mut harmless) = (0, 0, 0);
    for round in 0..24 {
        fs::remove_dir_all(&path).expect("removes");
        copy_dir(&sound, &path);
        let file = &tables[rng.usize(..tables.len())];
        let mut content = fs::read(file).expect("reads");
        // Journals are long and mostly zeros; what was written is at their start.
        let written = content.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
        let place = rng.usize(..written);
        content[place] ^= rng.u8(1..);
        fs::write(file, content).expect("writes");
        let case = format!("round {round}: {} byte {place}", file.display());
        let report =
            EmbeddedStore::verify(&path, &options()).unwrap_or_else(|error| panic!("{case}: {error}"));
        if !report.is_clean() {
            found += 1;
            EmbeddedStore::rebuild(&path, &options()).unwrap_or_else(|error| panic!("{case}: {error}"));
        }
        match EmbeddedStore::open(&path, options()) {
            Err(error) => {
                refused += 1;
                assert!(error.to_string().contains("rebuild"), "{case}: {error}");
            }
            Ok(store) => {
                let difference = world.differs_from(&store, &keys);
                assert_eq!(difference, None, "{case}: neither found nor healed");
                harmless += 1;
            }
        }
    }
    println!(
        "24 damages of the tables: {found} found by verify, {refused} refused, {harmless} right after all"
    );
    assert!(found > 0);
}

/// Tables are written out one by one, and their journal later: when that is gone, some are ahead of others.
#[test]
fn tables_of_different_moments_are_refused_or_right() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("data");
    let (mut world, mut rng) = (World::default(), Rng::with_seed(3));
    let store = EmbeddedStore::open(&path, options()).expect("opens");
    for step in 1..=40 {
        let change = world.some_change(&mut rng, 6, step);
        commit(&store, vec![change]).expect("commits");
    }
    store.sweep().expect("writes out the keys and counters");
    // As a crash: closing would write out the others too.
    drop(store);
    let sound = folder.path().join("sound");
    copy_dir(&path, &sound);
    let journal = path.join("tables/0.jnl");
    let content = fs::read(&journal).expect("reads");
    let written = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let (mut refused, mut right) = (0, 0);
    for len in (0..written).step_by(509) {
        fs::remove_dir_all(&path).expect("removes");
        copy_dir(&sound, &path);
        fs::write(&journal, &content[..len]).expect("writes");
        match EmbeddedStore::open(&path, options()) {
            Err(error) => {
                assert!(error.to_string().contains("rebuild"), "{len} bytes of the journal: {error}");
                EmbeddedStore::rebuild(&path, &options()).expect("rebuilds");
                refused += 1;
            }
            Ok(store) => {
                assert_eq!(world.differs_from(&store, &world.keys()), None, "{len} bytes of the journal");
                right += 1;
            }
        }
        let store = EmbeddedStore::open(&path, options()).expect("opens");
        assert_eq!(world.differs_from(&store, &world.keys()), None, "{len} bytes of the journal, in the end");
    }
    println!("{} lengths of the tables' journal: {refused} refused, {right} right", refused + right);
    assert!(refused > 0, "no table was ahead of another");
}

#[test]
fn tables_that_went_back_are_brought_up_from_the_ledger() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("data");
    let (mut world, mut rng) = (World::default(), Rng::with_seed(3));
    let mut store = EmbeddedStore::open(&path, options()).expect("opens");
    for step in 1..=90 {
        if step % 30 == 0 {
            run(store.close()).expect("closes");
            drop(store);
            copy_dir(&path.join("tables"), &folder.path().join(format!("tables-{step}")));
            store = EmbeddedStore::open(&path, options()).expect("opens");
        }
        let change = world.some_change(&mut rng, 4, step);
        commit(&store, vec![change]).expect("commits");
    }
    drop(store);
    for step in [30, 60, 90] {
        fs::remove_dir_all(path.join("tables")).expect("removes");
        copy_dir(&folder.path().join(format!("tables-{step}")), &path.join("tables"));
        let store = EmbeddedStore::open(&path, options()).expect("opens");
        assert_eq!(world.differs_from(&store, &world.keys()), None, "tables as of step {step}");
    }
}

#[test]
fn tables_of_another_ledger_are_refused_and_rebuild_makes_them_anew() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (path, world) = closed_store(&folder);
    fs::remove_dir_all(path.join("ledger")).expect("removes");
    let error = EmbeddedStore::open(&path, options()).expect_err("the ledger is gone");
    assert!(error.to_string().contains("rebuild"), "{error}");
    let other = tempfile::tempdir().expect("a temporary folder");
    let (sound, _) = closed_store(&other);
    fs::remove_dir_all(path.join("ledger")).expect("removes");
    copy_dir(&sound.join("ledger"), &path.join("ledger"));
    fs::remove_dir_all(path.join("tables")).expect("removes");
    fs::create_dir_all(path.join("tables")).expect("a folder");
    fs::write(path.join("tables/version"), b"nonsense").expect("writes");
    EmbeddedStore::rebuild(&path, &options()).expect("rebuilds");
    let store = EmbeddedStore::open(&path, options()).expect("opens");
    assert_eq!(world.differs_from(&store, &world.keys()), None);
}

#[test]
fn a_newer_format_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (path, _) = closed_store(&folder);
    let segment = path.join("ledger/0000000000000001.seg");
    let mut content = fs::read(&segment).expect("reads");
    content[8] = 2;
    let checksum = xxhash_rust::xxh3::xxh3_64(&content[..56]);
    content[56..64].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&segment, content).expect("writes");
    let error = EmbeddedStore::open(&path, options()).expect_err("refuses");
    assert_eq!(error.kind(), StoreErrorKind::Format, "{error}");
}

#[test]
fn an_entry_of_a_newer_format_is_refused() {
    const FRAME: usize = 64;
    const ENTRY: usize = FRAME + 40;
    const VALUE: usize = ENTRY + 12;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("data");
    let store = EmbeddedStore::open(&path, options()).expect("opens");
    let change = World::default().some_change(&mut Rng::with_seed(3), 1, 1);
    commit(&store, vec![change]).expect("commits");
    run(store.close()).expect("closes");
    drop(store);
    let segment = path.join("ledger/0000000000000001.seg");
    let mut content = fs::read(&segment).expect("reads");
    let number = |content: &[u8], at: usize| {
        let bytes = content[at..].first_chunk().expect("a number");
        usize::try_from(u32::from_le_bytes(*bytes)).expect("a length")
    };
    let newer = VERSION + 1;
    assert_eq!(content[VALUE], VERSION);
    content[VALUE] = newer;
    // The checksums of entry and frame hold: this is no damage.
    let entry_end = VALUE + number(&content, ENTRY);
    let checksum = xxhash_rust::xxh3::xxh3_64(&content[VALUE..entry_end]);
    content[ENTRY + 4..VALUE].copy_from_slice(&checksum.to_le_bytes());
    let frame_end = ENTRY + number(&content, FRAME + 16);
    let checksum = xxhash_rust::xxh3::xxh3_64(&content[ENTRY - 8..frame_end]);
    content[frame_end..frame_end + 8].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&segment, content).expect("writes");
    let error = EmbeddedStore::rebuild(&path, &options()).expect_err("refuses");
    assert_eq!(error.kind(), StoreErrorKind::Format, "{error}");
    let text = error.to_string();
    let said = [format!("in format {newer}"), format!("at byte {ENTRY}"), segment.display().to_string()];
    assert!(said.iter().all(|part| text.contains(part)), "{text}");
}

#[test]
fn a_long_ledger_is_replayed_in_parts() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("data");
    let roomy = EmbeddedOptions {
        segment_bytes: 1024 * 1024,
        overlay_records_max: 1_000,
        ..EmbeddedOptions::default()
    };
    let store = EmbeddedStore::open(&path, roomy.clone()).expect("opens");
    let mut world = World::default();
    let (orgs, users) = (["a", "b", "c"].map(org), ["ada", "ben", "cleo", "dora", "eve"]);
    for step in 0..52 {
        let of = &orgs[step % orgs.len()];
        let usage = |place: usize| used(users.get(place % 7).copied(), &format!("{step}-{place}"));
        let at = at(i64::try_from(step).expect("a step"));
        let change = world.change(of, at, (0..500).map(usage).collect());
        commit(&store, vec![change]).expect("commits");
    }
    run(store.close()).expect("closes");
    drop(store);
    fs::remove_dir_all(path.join("tables")).expect("removes");
    EmbeddedStore::rebuild(&path, &roomy).expect("rebuilds");
    let report = EmbeddedStore::verify(&path, &roomy).expect("verifies");
    assert!(report.is_clean(), "{:?}", report.differences);
    assert_eq!((report.frames, report.entries, report.keys, report.tallies), (52, 26_000, 26_000, 15));
    let store = EmbeddedStore::open(&path, roomy).expect("opens");
    assert_eq!(world.differs_from(&store, &world.keys()), None);
}

#[test]
fn verify_names_each_row_that_the_ledger_does_not_make() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (path, _) = closed_store(&folder);
    let tables = fjall::Database::builder(path.join("tables")).open().expect("the tables open");
    let orgs = tables.keyspace("orgs", fjall::KeyspaceCreateOptions::default).expect("the table opens");
    let rows: Vec<_> = orgs.iter().map(|row| row.into_inner().expect("a row")).collect();
    // The last row says how far the table is.
    let [(_, first), (second, _), (third, _), .., _] = rows.as_slice() else { panic!("{} rows", rows.len()) };
    orgs.insert(second.clone(), first.clone()).expect("writes");
    orgs.remove(third.clone()).expect("removes");
    orgs.insert(b"stranger\0", first.clone()).expect("writes");
    tables.persist(fjall::PersistMode::SyncAll).expect("syncs");
    drop((orgs, tables));
    let report = EmbeddedStore::verify(&path, &options()).expect("verifies");
    let found = report.differences.join("\n");
    for says in ["is not what the ledger makes", "it is missing", "the ledger does not make it"] {
        assert!(found.contains(says), "{says:?} is not in\n{found}");
    }
    assert_eq!(report.differences_count, 3, "{found}");
    EmbeddedStore::rebuild(&path, &options()).expect("rebuilds");
    assert!(EmbeddedStore::verify(&path, &options()).expect("verifies").is_clean());
}

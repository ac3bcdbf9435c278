//! Damage to closed stores: found, healed or refused, never silent. And what heals: rebuild, replay, facts made again.

use std::fs;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use tempfile::TempDir;
use tollgate_backends::embedded::{EmbeddedOptions, EmbeddedStore, Work};
use tollgate_storage::codec::VERSION;
use tollgate_storage::{Store, StoreErrorKind};

use crate::faults::copy_dir;
use crate::support::{World, at, checkpoint, close, commit, org, put, quick_folder, run, used};

fn options() -> EmbeddedOptions {
    EmbeddedOptions { segment_bytes: 16 * 1024, work: Work::Inline, ..EmbeddedOptions::default() }
}

fn append_some(store: &EmbeddedStore, world: &mut World, rng: &mut Rng, orgs: usize, step: i64) {
    let appends = world.some_appends(rng, orgs, step);
    commit(store, world, &appends).expect("appends");
}

/// A closed store with something in it.
fn closed_store(folder: &TempDir) -> (PathBuf, World) {
    let path = folder.path().join("data");
    let store = EmbeddedStore::open(&path, options()).expect("opens");
    let (mut world, mut rng) = (World::default(), Rng::with_seed(3));
    for step in 1..=120 {
        append_some(&store, &mut world, &mut rng, 6, step);
        if step % 50 == 0 {
            checkpoint(&store, &mut world);
        }
    }
    close(store, &mut world);
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
    let folder = quick_folder();
    let (path, world) = closed_store(&folder);
    let report = EmbeddedStore::verify(&path, &options()).expect("verifies");
    assert!(report.is_clean(), "{:?}", report.differences);
    assert_eq!((report.frames, report.orgs), (120, 6));
    let counts = [world.keys.len(), world.count()].map(|count| u64::try_from(count).expect("a count"));
    assert_eq!([report.keys, report.entries], counts);
    assert!(report.segments >= 2 && report.entries > 120 && report.tallies >= 6, "{report:?}");
}

#[test]
fn a_flipped_byte_in_a_segment_that_was_left_is_found_by_verify_with_file_and_offset() {
    let folder = quick_folder();
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
    let folder = quick_folder();
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
    let folder = quick_folder();
    let (path, world) = closed_store(&folder);
    let sound = folder.path().join("sound");
    copy_dir(&path, &sound);
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
                let difference = world.differs_from(&store, &world);
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
    let folder = quick_folder();
    let path = folder.path().join("data");
    let (mut world, mut rng) = (World::default(), Rng::with_seed(3));
    let store = EmbeddedStore::open(&path, options()).expect("opens");
    for step in 1..=40 {
        append_some(&store, &mut world, &mut rng, 6, step);
        if step % 2 == 0 {
            checkpoint(&store, &mut world);
        }
    }
    store.sweep().expect("writes out the counters");
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
                assert_eq!(world.differs_from(&store, &world), None, "{len} bytes of the journal");
                right += 1;
            }
        }
        let store = EmbeddedStore::open(&path, options()).expect("opens");
        assert_eq!(world.differs_from(&store, &world), None, "{len} bytes of the journal, in the end");
    }
    println!("{} lengths of the tables' journal: {refused} refused, {right} right", refused + right);
    assert!(refused > 0, "no table was ahead of another");
}

#[test]
fn tables_of_another_ledger_are_refused_and_rebuild_makes_them_anew() {
    let folder = quick_folder();
    let (path, world) = closed_store(&folder);
    fs::remove_dir_all(path.join("ledger")).expect("removes");
    let error = EmbeddedStore::open(&path, options()).expect_err("the ledger is gone");
    assert!(error.to_string().contains("rebuild"), "{error}");
    let other = quick_folder();
    let (sound, _) = closed_store(&other);
    fs::remove_dir_all(path.join("ledger")).expect("removes");
    copy_dir(&sound.join("ledger"), &path.join("ledger"));
    fs::remove_dir_all(path.join("tables")).expect("removes");
    fs::create_dir_all(path.join("tables")).expect("a folder");
    fs::write(path.join("tables/version"), b"nonsense").expect("writes");
    EmbeddedStore::rebuild(&path, &options()).expect("rebuilds");
    let store = EmbeddedStore::open(&path, options()).expect("opens");
    assert_eq!(world.differs_from(&store, &world), None);
}

#[test]
fn a_newer_format_is_refused() {
    let folder = quick_folder();
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
    let folder = quick_folder();
    let path = folder.path().join("data");
    let store = EmbeddedStore::open(&path, options()).expect("opens");
    let mut world = World::default();
    let append = world.plan(&org("acme"), at(0), vec![put("a name")]);
    commit(&store, &mut world, &[append]).expect("appends");
    close(store, &mut world);
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
    let folder = quick_folder();
    let path = folder.path().join("data");
    let roomy = EmbeddedOptions { segment_bytes: 1024 * 1024, ..EmbeddedOptions::default() };
    let store = EmbeddedStore::open(&path, roomy.clone()).expect("opens");
    let mut world = World::default();
    let (orgs, users) = (["a", "b", "c"].map(org), ["ada", "ben", "cleo", "dora", "eve"]);
    for step in 0..52 {
        let of = &orgs[step % orgs.len()];
        let usage = |place: usize| used(users.get(place % 7).copied(), &format!("{step}-{place}"));
        let at = at(i64::try_from(step).expect("a step"));
        let append = world.plan(of, at, (0..500).map(usage).collect());
        commit(&store, &mut world, &[append]).expect("appends");
    }
    close(store, &mut world);
    fs::remove_dir_all(path.join("tables")).expect("removes");
    EmbeddedStore::rebuild(&path, &roomy).expect("rebuilds");
    let report = EmbeddedStore::verify(&path, &roomy).expect("verifies");
    assert!(report.is_clean(), "{:?}", report.differences);
    assert_eq!((report.frames, report.entries, report.keys, report.tallies), (52, 26_000, 26_000, 15));
    let store = EmbeddedStore::open(&path, roomy).expect("opens");
    assert_eq!(world.differs_from(&store, &world), None);
}

#[test]
fn verify_names_each_row_that_the_ledger_does_not_make() {
    let folder = quick_folder();
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

/// A closed store of so many segments that filters of the first are in a file.
fn store_with_filters(folder: &TempDir) -> (PathBuf, World, EmbeddedOptions) {
    let path = folder.path().join("data");
    let options = EmbeddedOptions { segment_bytes: 4 * 1024, ..options() };
    let store = EmbeddedStore::open(&path, options.clone()).expect("opens");
    let (mut world, mut rng) = (World::default(), Rng::with_seed(8));
    let is_filter = |path: &PathBuf| path.extension().is_some_and(|is| is == "filter");
    for step in 1.. {
        append_some(&store, &mut world, &mut rng, 6, step);
        if step % 50 == 0 && files_in(&path.join("ledger")).iter().any(is_filter) {
            break;
        }
    }
    close(store, &mut world);
    (path, world, options)
}

fn facts_in(path: &Path) -> Vec<PathBuf> {
    let files = files_in(&path.join("ledger")).into_iter();
    files.filter(|path| path.extension().is_some_and(|is| is != "seg")).collect()
}

#[test]
fn facts_that_are_gone_are_made_again_from_the_segments() {
    let folder = quick_folder();
    let (path, world, options) = store_with_filters(&folder);
    let files = facts_in(&path);
    assert!(files.len() > 60, "{files:?}");
    let store = EmbeddedStore::open(&path, options.clone()).expect("opens");
    let few = store.metrics().opening_frames.get();
    assert_eq!(world.differs_from(&store, &world), None);
    drop(store);
    files.iter().for_each(|file| fs::remove_file(file).expect("removes"));
    let store = EmbeddedStore::open(&path, options.clone()).expect("opens");
    let all = store.metrics().opening_frames.get();
    assert!(few < 20 && all > 200, "{few} frames are read to open, {all} without facts");
    assert_eq!(world.differs_from(&store, &world), None);
    run(store.close()).expect("closes");
    drop(store);
    assert_eq!(facts_in(&path), files, "they are there again");
    let report = EmbeddedStore::verify(&path, &options).expect("verifies");
    assert!(report.is_clean(), "{:?}", report.differences);
}

#[test]
fn facts_that_are_damaged_are_found_or_healed_and_right_at_the_next_opening() {
    let folder = quick_folder();
    let (path, world, options) = store_with_filters(&folder);
    let files = facts_in(&path);
    let filters: Vec<_> =
        files.iter().filter(|path| path.extension().is_some_and(|is| is == "filter")).collect();
    let mut rng = Rng::with_seed(9);
    let (mut healed, mut met) = (0, 0);
    for round in 0..60 {
        let file = if round % 4 == 0 {
            filters[rng.usize(..filters.len())]
        } else {
            &files[rng.usize(..files.len())]
        };
        let mut content = fs::read(file).expect("reads");
        let place = rng.usize(..content.len());
        match round % 5 {
            0 => content.truncate(place),
            1 => content[place..].fill(0),
            2 => content.clone_from(&fs::read(&files[rng.usize(..files.len())]).expect("reads")),
            _ => content[place] ^= rng.u8(1..),
        }
        fs::write(file, content).expect("writes");
        let case = format!("round {round}: {} from byte {place} on", file.display());
        let open =
            || EmbeddedStore::open(&path, options.clone()).unwrap_or_else(|error| panic!("{case}: {error}"));
        let store = open();
        match world.differs_from(&store, &world) {
            None => healed += 1,
            Some(text) => {
                let named = text.contains(&file.display().to_string()) && text.contains("at byte");
                assert!(named, "{case}: {text}");
                met += 1;
            }
        }
        drop(store);
        // What no query met is found here, and made good.
        let report = EmbeddedStore::verify(&path, &options).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert!(
            report.differences.iter().all(|text| text.contains(&file.display().to_string())),
            "{case}: {report:?}"
        );
        let store = open();
        assert_eq!(world.differs_from(&store, &world), None, "{case}: opened again");
        run(store.close()).expect("closes");
        drop(store);
        let report = EmbeddedStore::verify(&path, &options).expect("verifies");
        assert!(report.is_clean(), "{case}: {:?}", report.differences);
    }
    println!("60 damages of facts: {healed} made good at opening or right, {met} met by a query");
    assert!(healed > 0 && met > 0);
}

#[test]
fn verify_tells_of_damaged_facts_that_opening_made_again() {
    let folder = quick_folder();
    let (path, _, options) = store_with_filters(&folder);
    let files = facts_in(&path);
    let file = files.iter().find(|path| path.extension().is_some_and(|is| is == "facts")).expect("facts");
    let sound = fs::read(file).expect("reads");
    let verify = || EmbeddedStore::verify(&path, &options).expect("verifies").differences;
    // All of these are in the header, which opening reads: no query can meet the damage.
    for place in [0, 9, 24, 40, 71, 79] {
        let mut damaged = sound.clone();
        damaged[place] ^= 1;
        fs::write(file, damaged).expect("writes");
        let found = verify();
        let [only] = found.as_slice() else { panic!("byte {place}: {found:?}") };
        let told = only.contains(&file.display().to_string()) && only.contains("it was made again");
        assert!(told, "byte {place}: {only}");
        assert_eq!(verify(), [""; 0], "byte {place}: nothing is left to tell");
        assert_eq!(fs::read(file).expect("reads"), sound, "byte {place}: it is as it was");
    }
}

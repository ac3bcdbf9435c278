//! Every kind of damage to a file of facts or of filters is found or harmless, and made good at the next opening.

use std::path::{Path, PathBuf};

use fastrand::Rng;
use tollgate_storage::StoreErrorKind;

use super::super::io::Disk;
use super::super::io::fault::FaultDisk;
use super::tests::{OPTIONS, Stage};

/// A disk with some sealed segments.
fn sealed() -> FaultDisk {
    let mut rng = Rng::with_seed(4);
    let mut stage = Stage::on(FaultDisk::new(0), OPTIONS).expect("opens");
    for _ in 0..60 {
        stage.append(&mut rng).expect("appends");
    }
    stage.facts().settle().expect("settles");
    stage.disk.clone()
}

fn paths(disk: &FaultDisk, extension: &str) -> Vec<PathBuf> {
    let paths = disk.paths().into_iter();
    paths.filter(|path| path.extension().is_some_and(|is| is == extension)).collect()
}

/// Opens a damaged store until all is found; says at which step the damage was met.
fn found_or_healed(disk: FaultDisk, path: &Path, case: &str) -> &'static str {
    let mut rng = Rng::with_seed(5);
    let stage = Stage::on(disk.clone(), OPTIONS).unwrap_or_else(|error| panic!("{case}: {error}"));
    let healed = stage.walked.len() > 1;
    let checked = stage.facts().check();
    let Err(error) = stage.check(&mut rng, true) else {
        checked.unwrap_or_else(|error| panic!("{case}: met by no query: {error}"));
        return if healed { "opening" } else { "nowhere" };
    };
    assert_eq!(checked.err().map(|error| error.kind()), Some(StoreErrorKind::Corrupt), "{case}");
    let text = error.to_string();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{case}: {text}");
    let named = text.contains(&path.display().to_string()) && text.contains("at byte");
    assert!(named && text.contains("when the store is opened next"), "{case}: {text}");
    drop(stage);
    let stage = Stage::on(disk, OPTIONS).unwrap_or_else(|error| panic!("{case}: {error}"));
    stage.check(&mut rng, true).unwrap_or_else(|error| panic!("{case}, opened again: {error}"));
    "query"
}

#[test]
fn every_flipped_byte_of_facts_is_found() {
    let disk = sealed();
    let mut rng = Rng::with_seed(6);
    let (mut opening, mut query) = (0, 0);
    let paths = paths(&disk, "facts");
    assert!(paths.len() > 8, "{} files", paths.len());
    for path in [&paths[0], &paths[paths.len() - 1]] {
        let content = disk.content(path).expect("a file");
        // Each byte of the header and the index, and some of each block.
        let places = (0..160).chain((160..content.len()).step_by(3));
        for place in places {
            let mut damaged = content.clone();
            damaged[place] ^= 1 << rng.u8(..8);
            let copy = disk.copy();
            copy.damage(path, damaged);
            let case = format!("{} byte {place}", path.display());
            match found_or_healed(copy, path, &case) {
                "opening" => opening += 1,
                "query" => query += 1,
                met => panic!("{case}: met {met}"),
            }
        }
    }
    assert!(opening > 250 && query > 300, "{opening} met at opening, {query} by a query");
}

#[test]
fn every_flipped_byte_of_filters_is_healed() {
    let disk = sealed();
    let mut rng = Rng::with_seed(7);
    let paths = paths(&disk, "filter");
    assert!(paths.len() > 2, "{} files", paths.len());
    for path in [&paths[0], &paths[paths.len() - 1]] {
        let content = disk.content(path).expect("a file");
        let places = (0..96).chain((0..30).map(|_| rng.usize(96..content.len()))).collect::<Vec<_>>();
        for place in places {
            let mut damaged = content.clone();
            damaged[place] ^= 1 << rng.u8(..8);
            let copy = disk.copy();
            copy.damage(path, damaged);
            let case = format!("{} byte {place}", path.display());
            assert_eq!(found_or_healed(copy.clone(), path, &case), "nowhere", "{case}");
            let stage = Stage::on(copy, OPTIONS).unwrap_or_else(|error| panic!("{case}: {error}"));
            assert!(stage.all_is_stored(), "{case}: made again");
        }
    }
}

#[test]
fn files_cut_short_exchanged_or_gone_are_made_again() {
    let disk = sealed();
    let mut rng = Rng::with_seed(8);
    let facts = paths(&disk, "facts");
    let filters = paths(&disk, "filter");
    for round in 0..150 {
        let copy = disk.copy();
        let group = if rng.bool() { &facts } else { &filters };
        for _ in 0..rng.usize(1..4) {
            let [path, other] = [(); 2].map(|()| &group[rng.usize(..group.len())]);
            let content = disk.content(path).expect("a file");
            match rng.u8(..4) {
                0 => copy.damage(path, content[..rng.usize(..content.len())].to_vec()),
                1 => copy.damage(path, disk.content(other).expect("a file")),
                2 => copy.damage(path, [content, vec![0; 9]].concat()),
                _ => drop(Disk::Fault(copy.clone()).remove(path)),
            }
        }
        let stage = Stage::on(copy.clone(), OPTIONS).unwrap_or_else(|error| panic!("round {round}: {error}"));
        stage.check(&mut rng, true).unwrap_or_else(|error| panic!("round {round}: {error}"));
        stage.facts().settle().unwrap_or_else(|error| panic!("round {round}: {error}"));
        for path in &facts {
            let same = copy.content(path) == disk.content(path);
            assert!(same, "round {round}: {} is made again as it was", path.display());
        }
    }
}

#[test]
fn facts_of_another_ledger_are_not_believed() {
    let disk = sealed();
    let mut rng = Rng::with_seed(9);
    let mut stage = Stage::on(FaultDisk::new(1), OPTIONS).expect("opens");
    for _ in 0..90 {
        stage.append(&mut rng).expect("appends");
    }
    let other = stage.disk.clone();
    drop(stage);
    for path in paths(&disk, "facts").into_iter().chain(paths(&disk, "filter")) {
        other.damage(&path, disk.content(&path).expect("a file"));
    }
    let stage = Stage::on(other, OPTIONS).expect("opens");
    assert!(stage.walked.len() > 8);
    stage.check(&mut rng, true).expect("is found");
}

//! Golden files: encoded values that must decode forever, and that must encode to the same bytes while their version is
//! the one that is written.
//!
//! To add one, add a sample and run `TOLLGATE_WRITE_GOLDEN=1 cargo test -p tollgate-storage --test it golden`, which
//! writes missing files and never overwrites one. If an existing file fails, the change is wrong, not the file.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::{env, fs, io};

use crate::samples::samples;

/// When set, missing files are written.
const WRITE: &str = "TOLLGATE_WRITE_GOLDEN";

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join("v1")
}

#[test]
fn golden_files_decode_and_encode_to_the_same_bytes() {
    for sample in samples() {
        let path = folder().join(&sample.name);
        let stored = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                assert!(env::var_os(WRITE).is_some(), "{} is missing: {WRITE}=1 writes it", sample.name);
                fs::write(&path, &sample.bytes).expect("writes");
                continue;
            }
            read => read.expect("reads"),
        };
        sample.check(&stored);
        assert_eq!(stored, sample.bytes, "{} encodes differently now", sample.name);
    }
}

#[test]
fn every_golden_file_has_a_sample() {
    let named: BTreeSet<String> = samples().into_iter().map(|sample| sample.name).collect();
    assert_eq!(named.len(), samples().len(), "two samples share a file");
    for file in fs::read_dir(folder()).expect("a folder") {
        let name = file.expect("a file").file_name().into_string().expect("a name");
        assert!(named.contains(&name), "{name} has no sample");
    }
}

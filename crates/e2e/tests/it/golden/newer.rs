//! Data that a version to come wrote: the golden folder with a format number that nobody knows yet, and checksums that hold.

use std::fs;
use std::path::Path;

use serde_json::json;
use tollgate_e2e::{Result, Tollgate};
use xxhash_rust::xxh3::xxh3_64;

use super::{DATA, copied, files, of_today, served, story};

/// What the sentence that refuses it says to do.
const ADVICE: &str = "run that version again, or restore the backup that was made before the upgrade";

/// Bytes of a segment's header, of a frame's, and of what stands before an entry.
const SEGMENT_HEADER: usize = 64;
const FRAME_HEADER: usize = 40;
const ENTRY_PREFIX: usize = 12;

fn number(bytes: &[u8], at: usize) -> usize {
    let four = bytes[at..at + 4].try_into().expect("four bytes");
    usize::try_from(u32::from_le_bytes(four)).expect("a length")
}

fn put(bytes: &mut [u8], at: usize, checksum: u64) {
    bytes[at..at + 8].copy_from_slice(&checksum.to_le_bytes());
}

/// Where the last frame of a segment begins.
fn last_frame(segment: &[u8]) -> Option<usize> {
    let (mut at, mut last) = (SEGMENT_HEADER, None);
    while segment.get(at..at + 4) == Some(b"TGfr") {
        last = Some(at);
        at += (FRAME_HEADER + number(segment, at + 16) + 8 + 1).next_multiple_of(8);
    }
    last
}

/// Makes the checksums of a frame hold.
fn sealed(segment: &mut [u8], frame: usize) {
    let header = xxh3_64(&segment[frame..frame + 32]);
    put(segment, frame + 32, header);
    // That of the frame is of the header's checksum, which stands right before the payload, and the payload.
    let end = frame + FRAME_HEADER + number(segment, frame + 16);
    let whole = xxh3_64(&segment[frame + 32..end]);
    put(segment, end, whole);
}

fn newer_segment(segment: &mut [u8]) {
    segment[8] += 1;
    let checksum = xxh3_64(&segment[..56]);
    put(segment, 56, checksum);
}

fn newer_frame(segment: &mut [u8]) {
    let frame = last_frame(segment).expect("a frame");
    segment[frame + 4] += 1;
    sealed(segment, frame);
}

fn newer_entry(segment: &mut [u8]) {
    let frame = last_frame(segment).expect("a frame");
    let prefix = frame + FRAME_HEADER;
    let entry = prefix + ENTRY_PREFIX;
    segment[entry] += 1;
    let checksum = xxh3_64(&segment[entry..entry + number(segment, prefix)]);
    put(segment, prefix + 4, checksum);
    sealed(segment, frame);
}

/// Changes the last segment with a frame in it; says its name.
fn changed(data: &Path, change: fn(&mut [u8])) -> Result<String> {
    let segments = files(&data.join("ledger"))?.into_iter().rev();
    let mut segments = segments.filter(|(path, _)| path.extension().is_some_and(|suffix| suffix == "seg"));
    let (path, mut bytes) = segments.find(|(_, bytes)| last_frame(bytes).is_some()).ok_or("a segment")?;
    change(&mut bytes);
    fs::write(&path, bytes)?;
    Ok(path.file_name().ok_or("a name")?.to_string_lossy().into_owned())
}

/// Refused by the server and by `tollgate verify`, with what to do, and nothing in the ledger is changed.
fn refused(data: &Path, change: fn(&mut [u8]), what: &str) -> Result<()> {
    let name = changed(data, change)?;
    let before = files(&data.join("ledger"))?;
    let store = format!("embedded:{}", data.display());
    for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["verify"]] {
        let run = Tollgate::command(command).arg("--store").arg(&store).run()?;
        let said = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
        assert!(!run.status.success(), "{what}: {command:?} takes it:\n{said}");
        for part in [name.as_str(), "newer version of Tollgate", "format 2", ADVICE] {
            assert!(said.contains(part), "{what}: {command:?} does not say {part:?}:\n{said}");
        }
    }
    assert!(files(&data.join("ledger"))? == before, "{what}: the ledger was changed");
    Ok(())
}

#[test]
fn data_of_a_newer_format_is_refused_with_what_to_do_and_nothing_is_changed() -> Result<()> {
    let _machine = crate::beside_others();
    let folder = tempfile::tempdir()?;
    let data = |name: &str| {
        let data = folder.path().join(name);
        copied(&of_today().join(DATA), &data).map(|()| data)
    };
    refused(&data("segment")?, newer_segment, "a ledger file")?;
    refused(&data("frame")?, newer_frame, "a frame")?;
    refused(&data("entry")?, newer_entry, "an entry that no image has")?;

    // A version that stopped in order left nothing to catch up on.
    let stopped = data("stopped")?;
    let server = served(&stopped, story::OPENED_SECS, folder.path())?;
    let usage = json!({"org": "acme", "meter": "tokens", "quantity": 1, "key": "tokens-2"});
    server.client().expect_ok("POST", "/v1/usage", Some(&usage))?;
    server.stop()?;
    refused(&stopped, newer_entry, "an entry that all images have")
}

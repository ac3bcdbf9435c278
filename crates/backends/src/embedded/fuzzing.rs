//! What fuzzing and the property tests of decoding reach into: the decoders of all that lies on disk, and a recovery of a
//! ledger in memory. Not part of this crate's interface.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tollgate_domain::{
    Account, ApiKey, Bill, CatalogVersion, Counter, Entry, Groups, KeyRecord, Org, Shipment, System, Tally,
    Unsent,
};
use tollgate_storage::StoreError;
use tollgate_storage::codec::{self, Stored, decode_line};

use super::frame::{Frame, FrameHeader, decode_entry};
use super::io::Disk;
use super::io::fault::FaultDisk;
use super::ledger::{Ledger, LedgerFiles};
use super::options::Work;
use super::tables::Stamp;
use super::walk::Position;
use crate::rows::{counter_end_secs, org_day_of, period_number_of, user_of};

const SEGMENT_BYTES: u64 = 16 * 1024;

/// Bytes of entries that a segment surely takes.
const ENTRIES_BYTES_MAX: usize = 8 * 1024;

fn first_segment() -> PathBuf {
    Path::new("/ledger").join("0000000000000001.seg")
}

/// Decodes bytes as everything that is read from disk: a frame with its entries, an entry alone, a line of the ledger, a
/// row and a row key of every table. Says how many of these they are.
#[must_use]
pub fn decode(bytes: &[u8]) -> usize {
    let frame = Frame::decode(bytes);
    if let Ok(frame) = &frame {
        let inside = |(spot, blob): (super::frame::EntrySpot, &[u8])| {
            usize::try_from(spot.offset).is_ok_and(|offset| offset + blob.len() <= bytes.len())
        };
        assert!(frame.entries().filter_map(Result::ok).all(inside), "entries lie inside their frame");
    }
    let decoded = [
        FrameHeader::decode(bytes).is_ok(),
        frame.is_ok(),
        decode_entry(bytes).is_ok(),
        decode_line(bytes).is_ok(),
        is_value::<Org>(bytes),
        is_value::<Account>(bytes),
        is_value::<Tally>(bytes),
        is_value::<Counter>(bytes),
        is_value::<Groups>(bytes),
        is_value::<Bill>(bytes),
        is_value::<Unsent>(bytes),
        is_value::<KeyRecord>(bytes),
        is_value::<Entry>(bytes),
        is_value::<System>(bytes),
        is_value::<CatalogVersion>(bytes),
        is_value::<ApiKey>(bytes),
        is_value::<Shipment>(bytes),
        Stamp::decode(bytes).is_some(),
        counter_end_secs(bytes).is_some(),
        period_number_of(bytes).is_some(),
        org_day_of(bytes).is_some(),
        user_of(bytes, b"org\0").is_some(),
    ];
    decoded.into_iter().filter(|decoded| *decoded).count()
}

/// Whether bytes decode; what decodes must encode and decode again.
fn is_value<T: Stored + PartialEq>(bytes: &[u8]) -> bool {
    let Ok(value) = codec::decode::<T>(bytes) else { return false };
    let mut again = Vec::new();
    codec::encode(&value, &mut again);
    assert!(
        codec::decode::<T>(&again).is_ok_and(|read| read == value),
        "a decoded value encodes and decodes again"
    );
    true
}

/// A segment with a frame for each of the entries, as far as there is room, and how many that are.
///
/// # Errors
/// When the ledger in memory fails, which it does not.
pub fn segment(entries: &[&[u8]]) -> Result<(Vec<u8>, usize), StoreError> {
    let disk = FaultDisk::new(0);
    let files = open(&disk)?;
    let end = files.recover(&Position::default(), |_, _| Ok(()))?;
    let mut ledger = Ledger::new(files, end, SEGMENT_BYTES, Work::Inline, Arc::default())?;
    let (mut bytes, mut count) = (0, 0);
    for entry in entries {
        // With what a frame takes besides.
        bytes += entry.len() + 80;
        if bytes > ENTRIES_BYTES_MAX {
            break;
        }
        ledger.begin()?.push(|buffer| buffer.extend_from_slice(entry));
        ledger.append()?;
        count += 1;
    }
    Ok((disk.content(&first_segment()).unwrap_or_default(), count))
}

/// Recovers a ledger whose only segment has this content: the entries found.
///
/// # Errors
/// Why it is refused.
pub fn recover(segment: Vec<u8>) -> Result<Vec<Vec<u8>>, StoreError> {
    let disk = FaultDisk::new(0);
    drop(open(&disk)?);
    disk.damage(&first_segment(), segment);
    let mut found = Vec::new();
    open(&disk)?.recover(&Position::default(), |_, frame| {
        found.extend(frame.entries().filter_map(Result::ok).map(|(_, blob)| blob.to_vec()));
        Ok(())
    })?;
    Ok(found)
}

fn open(disk: &FaultDisk) -> Result<LedgerFiles, StoreError> {
    LedgerFiles::open(Disk::Fault(disk.clone()), PathBuf::from("/ledger"), SEGMENT_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tollgate_domain::{Actor, EntryKind, OrgId, Timestamp, Zone};
    use tollgate_storage::codec::LineRef;

    use crate::rows::row;

    fn line() -> Vec<u8> {
        let kind = EntryKind::Put {
            name: Some("a name".into()),
            zone: Zone::UTC,
            metadata: std::collections::BTreeMap::new(),
        };
        let entry = Entry {
            number: 7,
            at: Timestamp::UNIX_EPOCH,
            actor: Actor::Local,
            catalog: 1,
            kind,
            settled: Vec::new(),
            notices: Vec::new(),
        };
        let org = OrgId::new("acme").expect("an id");
        let mut line = Vec::new();
        codec::encode_line(LineRef::Org(&org, &entry), &mut line);
        line
    }

    /// More than any bytes are at once.
    const KINDS: usize = 22;

    proptest! {
        #[test]
        fn any_bytes_are_decoded_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(decode(&bytes) < KINDS);
        }

        /// Damage of what is right goes deeper than bytes at random.
        #[test]
        fn damaged_lines_and_rows_are_decoded_without_panic(
            places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            cut in any::<prop::sample::Index>(),
        ) {
            for sound in [line(), row(&System::default()), row(&Account::default())] {
                prop_assert!(decode(&sound) > 0);
                let mut damaged = sound.clone();
                for (place, by) in &places {
                    let place = place.index(damaged.len());
                    damaged[place] ^= by;
                }
                damaged.truncate(cut.index(damaged.len()) + 1);
                prop_assert!(decode(&damaged) < KINDS);
            }
        }

        #[test]
        fn a_segment_of_any_bytes_is_refused_or_recovered(
            bytes in prop::collection::vec(any::<u8>(), 0..600), sound_header: bool,
        ) {
            let (mut segment, _) = segment(&[]).expect("a segment");
            let from = if sound_header { 64 } else { 0 };
            segment[from..from + bytes.len()].copy_from_slice(&bytes);
            // What is there was never written as a frame.
            prop_assert!(recover(segment).is_ok_and(|found| found.is_empty()) || !bytes.is_empty());
        }

        #[test]
        fn flips_lose_no_entry_but_the_last(
            entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..12),
            flips in prop::collection::vec((64_usize..4_096, any::<u8>()), 0..4),
        ) {
            let entries: Vec<&[u8]> = entries.iter().map(Vec::as_slice).collect();
            let (mut segment, count) = segment(&entries).expect("a segment");
            prop_assert_eq!(count, entries.len());
            for (place, by) in flips {
                segment[place] ^= by;
            }
            if let Ok(found) = recover(segment) {
                prop_assert!(found.len() + 1 >= count && found.len() <= count, "{} of {count}", found.len());
                prop_assert!(found.iter().zip(&entries).all(|(found, wanted)| found == wanted));
            }
        }
    }
}

//! Bytes that are not a whole, valid value are refused.

use proptest::prelude::*;
use tollgate_domain::{Account, Counter, Groups, Org, Tally};
use tollgate_storage::StoreErrorKind;
use tollgate_storage::codec::{DecodeError, VERSION, decode, decode_line, encode};

use crate::samples::samples;

#[test]
fn a_newer_version_is_named() {
    let newer = VERSION + 1;
    let error = DecodeError::Newer(newer);
    assert_eq!(decode::<Org>(&[newer, 1, 2, 3]), Err(error));
    assert_eq!(decode_line(&[newer]), Err(error));
    assert_eq!(error.kind(), StoreErrorKind::Format);
    let text = error.to_string();
    assert!(text.contains("a newer version") && text.contains(&format!("format {newer}")), "{text}");
}

#[test]
fn truncated_and_trailing_bytes_are_refused() {
    assert_eq!(decode::<Org>(&[]), Err(DecodeError::Damaged));
    assert_eq!(decode::<Org>(&[0]), Err(DecodeError::Damaged));
    assert_eq!(DecodeError::Damaged.kind(), StoreErrorKind::Corrupt);
    for sample in samples() {
        for len in 0..sample.bytes.len() {
            assert_eq!(sample.refusal(&sample.bytes[..len]), Some(DecodeError::Damaged), "{}", sample.name);
        }
        let longer = [sample.bytes.as_slice(), &[0]].concat();
        assert_eq!(sample.refusal(&longer), Some(DecodeError::Damaged), "{}", sample.name);
    }
}

#[test]
fn a_huge_list_length_allocates_nothing() {
    // The largest length, and a few items.
    let mut endless = vec![VERSION];
    endless.extend([0xFF; 9]);
    endless.push(1);
    endless.extend([0; 60]);
    assert_eq!(decode::<Tally>(&endless), Err(DecodeError::Damaged));
    assert_eq!(decode::<Groups>(&endless), Err(DecodeError::Damaged));
    assert_eq!(decode::<Account>(&endless), Err(DecodeError::Damaged));
}

#[test]
fn an_unknown_variant_is_refused() {
    let mut bytes = Vec::new();
    encode(&Tally::default(), &mut bytes);
    assert_eq!(bytes, [VERSION, 0]);
    // One open counter of a twelfth window.
    assert_eq!(decode::<Tally>(&[VERSION, 1, 11, 0, 0, 0, 0, 0]), Err(DecodeError::Damaged));
    assert!(decode::<Tally>(&[VERSION, 1, 7, 0, 0, 0, 0, 0]).is_ok());
    // Months from days that none has, and windows of no hours or too many; slots that are not in order.
    for (window, bytes, good) in [(8, [31, 0], true), (8, [32, 0], false), (8, [0, 0], false)] {
        let read = decode::<Tally>(&[&[VERSION, 1, window][..], &bytes, &[0, 0, 0, 0]].concat());
        assert_eq!(read.is_ok(), good, "{window} {bytes:?}");
    }
    for (hours, good) in
        [([1, 0].as_slice(), true), (&[0, 0], false), (&[0xd0, 0x44, 0], true), (&[0xd1, 0x44, 0], false)]
    {
        for window in [9, 10] {
            let read = decode::<Tally>(&[&[VERSION, 1, window][..], hours, &[0, 0, 0, 0]].concat());
            assert_eq!(read.is_ok(), good, "{window} {hours:?}");
        }
    }
    let slots = |slots: &[u8]| decode::<Counter>(&[&[VERSION, 0, 0, 0, 2][..], slots].concat());
    assert!(slots(&[2, 2, 2, 4, 2]).is_ok());
    assert!(slots(&[2, 4, 2, 2, 2]).is_err());
}

proptest! {
    /// Damaged values reach deeper than random bytes.
    #[test]
    fn damaged_values_never_panic(
        which in any::<prop::sample::Index>(),
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let samples = samples();
        let sample = which.get(&samples);
        let mut damaged = sample.bytes.clone();
        for (place, by) in places {
            let place = place.index(damaged.len());
            damaged[place] ^= by;
        }
        let _ = sample.refusal(&damaged);
    }
}

//! Recovery of a segment. The first byte says how: 255 takes the rest as a segment, anything else makes a sound segment
//! of the rest (entries end with a zero byte) and damages that many of its bytes, three bytes of input each.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_backends::embedded::fuzzing::{recover, segment};

const DAMAGES_MAX: u8 = 6;

fuzz_target!(|bytes: &[u8]| {
    let Some((how, rest)) = bytes.split_first() else { return };
    if *how == 255 {
        let _ = recover(rest.to_vec());
        return;
    }
    let damages = usize::from(*how % (DAMAGES_MAX + 1)) * 3;
    let Some((damages, rest)) = rest.split_at_checked(damages) else { return };
    let entries: Vec<&[u8]> = rest.split(|byte| *byte == 0).collect();
    let (mut content, count) = segment(&entries).expect("a ledger in memory");
    for damage in damages.chunks_exact(3) {
        // Only behind the header of the segment: a damaged one is always refused.
        let place = 64 + usize::from(u16::from_le_bytes([damage[0], damage[1]])) % (content.len() - 64);
        content[place] ^= damage[2];
    }
    match recover(content) {
        Ok(found) => {
            assert!(
                found.iter().zip(&entries).all(|(found, wanted)| found == wanted),
                "an entry has changed"
            );
            // A frame that was never finished looks like damage to the last one, and only to that.
            assert!(
                found.len() == count || (!damages.is_empty() && found.len() + 1 == count),
                "entries are lost"
            );
        }
        Err(error) => assert!(!damages.is_empty(), "a sound segment is refused: {error}"),
    }
});

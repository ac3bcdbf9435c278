//! When to try again: a plan, without a clock.

use std::time::Duration;

use crate::limits::{PAUSE_MAX, PAUSE_MIN};

/// The pause after so many failed attempts (1, 2, 3 …): twice as long each time, up to [`PAUSE_MAX`], of which `draw`
/// leaves between half and all, so that many who failed together do not come back together.
pub(crate) fn pause(failed: u32, draw: u16) -> Duration {
    let doubled = 1_u32.checked_shl(failed.saturating_sub(1)).filter(|factor| *factor != 0);
    let whole = doubled.and_then(|factor| PAUSE_MIN.checked_mul(factor)).unwrap_or(PAUSE_MAX).min(PAUSE_MAX);
    let half = whole / 2;
    half + half * u32::from(draw) / u32::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_are_spread() {
        let millis = |failed, draw| pause(failed, draw).as_millis();
        for (failed, least, most) in [
            (1, 100, 200),
            (2, 200, 400),
            (3, 400, 800),
            (6, 2_500, 5_000),
            (33, 2_500, 5_000),
            (u32::MAX, 2_500, 5_000),
        ] {
            assert_eq!((millis(failed, 0), millis(failed, u16::MAX)), (least, most), "{failed}");
            assert!((least..=most).contains(&millis(failed, 31_000)), "{failed}");
        }
    }
}

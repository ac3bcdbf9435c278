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

/// When a message is tried again, by how many attempts of it failed: over 27 hours, as Standard Webhooks has it.
const PLAN: [Duration; 7] = [
    Duration::from_secs(5),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(5),
    Duration::from_hours(10),
    Duration::from_hours(10),
];

/// The pause before a message is tried again, after so many failed attempts (1, 2, 3 …): as planned, and up to a tenth
/// longer, as `draw` has it. `None`: it is given up.
pub(crate) fn message_pause(failed: u32, draw: u16) -> Option<Duration> {
    let planned = PLAN.get(usize::try_from(failed.checked_sub(1)?).ok()?)?;
    // Whole milliseconds, so that every clock can tell when it is due.
    let tenth = u64::try_from(planned.as_millis() / 10).unwrap_or_default();
    Some(*planned + Duration::from_millis(tenth * u64::from(draw) / u64::from(u16::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_tried_for_more_than_a_day_and_then_given_up() {
        let pauses = |draw| (1..).map_while(|failed| message_pause(failed, draw)).collect::<Vec<_>>();
        let minutes = |draw| pauses(draw).iter().sum::<Duration>().as_secs() / 60;
        assert_eq!((pauses(0).len(), minutes(0), minutes(u16::MAX)), (7, 1_655, 1_820));
        assert!(pauses(40_000).is_sorted() && message_pause(0, 0).is_none());
    }

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

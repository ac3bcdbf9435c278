//! Numbers and times as people read them.

use std::borrow::Borrow;
use std::fmt::Display;

pub(crate) use tollgate_api::{grouped as num, noun};
use tollgate_domain::{Amount, Timestamp, Zone};

/// A difference: with its sign, above zero, too.
pub(crate) fn signed(number: impl Display) -> String {
    let text = number.to_string();
    let is_some = text.bytes().any(|byte| (b'1'..=b'9').contains(&byte));
    if is_some && !text.starts_with('-') { format!("+{}", num(text)) } else { num(text) }
}

/// A time as the clocks of a zone show it, to the minute: `2026-11-21 14:05`. What is no time stays as it is.
pub(crate) fn time(at: impl AsRef<str>, zone: impl AsRef<str>) -> String {
    let at = at.as_ref();
    let Ok(moment) = at.parse::<Timestamp>() else { return at.to_owned() };
    let zone = Zone::new(zone.as_ref()).unwrap_or(Zone::UTC);
    let text = zone.text(moment);
    text.get(..16).map_or_else(|| text.clone(), |minute| minute.replace('T', " "))
}

/// An estimate, without the digits that say nothing: whole from ten on, else to a hundredth.
pub(crate) fn about(estimate: impl Borrow<Amount>) -> String {
    let billionths = estimate.borrow().billionths();
    let step = if billionths.abs() >= 10_000_000_000 { 1_000_000_000 } else { 10_000_000 };
    let steps = (billionths + step / 2).div_euclid(step);
    match step {
        1_000_000_000 => num(steps),
        _ if steps % 100 == 0 => num(steps / 100),
        _ => format!("{}.{:02}", num(steps / 100), steps.rem_euclid(100)),
    }
}

/// How much of a whole a part is, in percent; above a hundred where it is more than the whole, and of nothing all.
#[must_use]
pub fn percent(part: impl Borrow<Amount>, whole: impl Borrow<Amount>) -> i128 {
    let (part, whole) = (*part.borrow(), *whole.borrow());
    match whole.billionths() {
        ..=0 if part.is_positive() => 100,
        ..=0 => 0,
        whole => part.billionths().saturating_mul(100) / whole,
    }
}

/// A sentence of the API as people read it: its long numbers in groups, its times as the clocks of a zone show them. What
/// stands in quotes was written by somebody else, and stays.
pub(crate) fn prose(sentence: impl AsRef<str>, zone: impl AsRef<str>) -> String {
    let mut quoted = false;
    let words = sentence.as_ref().split(' ').map(|word| {
        let was_quoted = quoted;
        quoted ^= word.matches('\'').count() % 2 == 1;
        if was_quoted || word.contains('\'') { word.to_owned() } else { told(word, zone.as_ref()) }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A number or a time among words, with what stands around it.
fn told(word: &str, zone: &str) -> String {
    let inner = word.trim_matches(['(', ')', ',', ';', ':']);
    let Some((before, after)) =
        Some(inner).filter(|inner| !inner.is_empty()).and_then(|inner| word.split_once(inner))
    else {
        return word.to_owned();
    };
    let digits = inner.split('.').next().unwrap_or_default();
    let is_number = digits.len() >= 5
        && inner.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        && inner.matches('.').count() <= 1;
    match inner {
        number if is_number => format!("{before}{}{after}", num(number)),
        at if at.ends_with('Z') && at.contains('T') => format!("{before}{}{after}", time(at, zone)),
        other => format!("{before}{other}{after}"),
    }
}

/// Words of the API as people write them: `top_up` becomes `top up`.
pub(crate) fn words(text: impl AsRef<str>) -> String {
    text.as_ref().replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped() {
        for (number, text) in [
            ("0", "0"),
            ("999", "999"),
            ("1000", "1,000"),
            ("-1234567.125", "−1,234,567.125"),
            ("123456", "123,456"),
            ("0.000000001", "0.000000001"),
        ] {
            assert_eq!(num(number), text);
        }
    }

    #[test]
    fn a_difference_has_its_sign() {
        for (number, text) in [
            ("0", "0"),
            ("0.00 EUR", "0.00 EUR"),
            ("1234.50 EUR", "+1,234.50 EUR"),
            ("-0.50 EUR", "−0.50 EUR"),
        ] {
            assert_eq!(signed(number), text);
        }
    }

    #[test]
    fn times_are_those_of_the_zone() {
        for (at, zone, text) in [
            ("2026-11-21T13:05:59Z", "Europe/Berlin", "2026-11-21 14:05"),
            ("2026-11-21T13:05:59Z", "UTC", "2026-11-21 13:05"),
            ("2026-11-21T13:05:59Z", "Nowhere/Else", "2026-11-21 13:05"),
            ("2026-12-01T00:00:00+01:00", "Europe/Berlin", "2026-12-01 00:00"),
            ("2026-11-21", "Europe/Berlin", "2026-11-21"),
        ] {
            assert_eq!(time(at, zone), text);
        }
    }

    #[test]
    fn sentences_are_told_with_numbers_and_times_that_a_person_reads() {
        for (sentence, text) in [
            (
                "100 % of the tokens are used: 2083833 of 2000000",
                "100 % of the tokens are used: 2,083,833 of 2,000,000",
            ),
            ("the credit (2083833.5 used), 1234 left", "the credit (2,083,833.5 used), 1234 left"),
            (
                "5 reports were added until 2026-12-01T00:00:00Z",
                "5 reports were added until 2026-12-01 01:00",
            ),
            ("user '1234567' and '12345 67890' of 12345", "user '1234567' and '12345 67890' of 12,345"),
            ("it\u{2019}s ( ) , 1.2.34567 and 12345x", "it\u{2019}s ( ) , 1.2.34567 and 12345x"),
            ("", ""),
        ] {
            assert_eq!(prose(sentence, "Europe/Berlin"), text);
        }
    }

    #[test]
    fn estimates_say_no_more_than_they_know() {
        for (estimate, text) in [
            ("61.714285714", "62"),
            ("1234.5", "1,235"),
            ("9.999", "10"),
            ("0.125", "0.13"),
            ("3", "3"),
            ("0", "0"),
        ] {
            assert_eq!(about(Amount::parse(estimate).expect("an amount")), text);
        }
    }

    #[test]
    fn a_share_of_nothing_is_all_of_it() {
        let whole = Amount::from_whole;
        for (part, of, share) in [(0, 0, 0), (1, 0, 100), (1, 3, 33), (3, 3, 100), (9, 3, 300)] {
            assert_eq!(percent(whole(part), whole(of)), share, "{part} of {of}");
        }
    }
}

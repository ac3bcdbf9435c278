//! Reading the values of a catalog, and the checks that several of them share.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer};

use super::CatalogError;
use crate::limits::{LIKE_IDS_COMPARED_MAX, TEXT_CHARS_MAX};
use crate::{Amount, Period};

/// The items of a list that are there already, with their places.
pub(super) fn repeated<'a>(ids: impl Iterator<Item = &'a str>) -> impl Iterator<Item = (usize, &'a str)> {
    let mut seen = BTreeSet::new();
    ids.enumerate().filter(move |(_, id)| !seen.insert(*id))
}

/// Refuses what is in a list twice.
pub(super) fn unique<'a>(place: &str, ids: impl Iterator<Item = &'a str>) -> Result<(), CatalogError> {
    match repeated(ids).next() {
        Some((_, id)) => Err(CatalogError(format!("{place}: '{id}' appears twice"))),
        None => Ok(()),
    }
}

/// The id most like a text, whatever the case of its letters; `None` if none is like it.
pub(super) fn nearest<'a, T: 'a>(
    text: &str,
    ids: impl Iterator<Item = &'a T>,
    id: impl Fn(&T) -> &str,
) -> Option<&'a T> {
    const LIKE: f64 = 0.8;
    let text = text.to_lowercase();
    let likeness = |other: &T| strsim::jaro_winkler(&text, &id(other).to_lowercase());
    let like = closest(&text, ids, &id).map(|other| (likeness(other), other));
    let like = like.filter(|(likeness, _)| *likeness >= LIKE);
    like.max_by(|(one, _), (two, _)| one.total_cmp(two)).map(|(_, id)| id)
}

/// The items whose ids share the most with a text at their beginning and end, the closest last. To compare two ids in
/// full takes as long as the product of their lengths: too long for each of a thousand.
fn closest<'a, T: 'a>(
    text: &str,
    ids: impl Iterator<Item = &'a T>,
    id: impl Fn(&T) -> &str,
) -> impl Iterator<Item = &'a T> {
    let mut by_distance: Vec<_> = ids.map(|other| (distance(text, id(other)), other)).collect();
    by_distance.sort_by_key(|(distance, _)| Reverse(*distance));
    let left_out = by_distance.len().saturating_sub(LIKE_IDS_COMPARED_MAX);
    by_distance.into_iter().skip(left_out).map(|(_, other)| other)
}

/// The bytes of the longer of two texts that lie between a beginning and an end that both have.
fn distance(one: &str, two: &str) -> usize {
    let longer = one.len().max(two.len());
    let same = |(one, two): &(u8, u8)| one.eq_ignore_ascii_case(two);
    let begin = one.bytes().zip(two.bytes()).take_while(same).count();
    let end = one.bytes().rev().zip(two.bytes().rev()).take_while(same).count();
    longer.saturating_sub(begin + end)
}

/// Refuses what is not a line of text for people.
pub(super) fn text_line(place: &str, field: &str, text: &str) -> Result<(), CatalogError> {
    let length = text.chars().count();
    if length == 0 || length > TEXT_CHARS_MAX || text.chars().any(char::is_control) {
        return Err(CatalogError(format!(
            "{place}: {field} must be a line of 1 to {TEXT_CHARS_MAX} characters"
        )));
    }
    Ok(())
}

/// Reads amounts by id.
pub(super) fn amounts<'de, D: Deserializer<'de>, K: Deserialize<'de> + Ord>(
    deserializer: D,
) -> Result<BTreeMap<K, Amount>, D::Error> {
    #[derive(Deserialize)]
    struct Written(#[serde(deserialize_with = "amount")] Amount);
    let written = BTreeMap::<K, Written>::deserialize(deserializer)?;
    Ok(written.into_iter().map(|(id, Written(amount))| (id, amount)).collect())
}

/// Reads an amount written as a whole number, or as text where it has decimals.
pub(super) fn amount<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Amount, D::Error> {
    struct AmountVisitor;
    impl Visitor<'_> for AmountVisitor {
        type Value = Amount;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a whole number, or a decimal written as text such as \"0.5\"")
        }

        fn visit_i64<E: serde::de::Error>(self, whole: i64) -> Result<Amount, E> {
            self.visit_str(&whole.to_string())
        }

        fn visit_u64<E: serde::de::Error>(self, whole: u64) -> Result<Amount, E> {
            self.visit_str(&whole.to_string())
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Amount, E> {
            Amount::parse(text).map_err(E::custom)
        }
    }
    deserializer.deserialize_any(AmountVisitor).map_err(D::Error::custom)
}

/// Reads whole numbers, and puts them in order, each once.
pub(super) fn sorted<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let mut numbers = <Vec<u8>>::deserialize(deserializer)?;
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

/// As [`amount`], of a field that may be left out.
pub(super) fn some_amount<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Amount>, D::Error> {
    amount(deserializer).map(Some)
}

/// Reads a month of a field that may be left out.
pub(super) fn some_month<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Period>, D::Error> {
    let check = |text: &str| Period::parse_month(text).ok_or("is not a month such as 2026-10");
    crate::text::parse(deserializer, "a month such as \"2026-10\"", check).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_ids_the_closest_alone_are_compared_in_full() {
        let ids: Vec<String> =
            (0..1_000).map(|number| format!("{}-{number:04}-{}", "a".repeat(60), "b".repeat(60))).collect();
        let compared = |text: &str| -> Vec<&str> {
            closest(text, ids.iter(), String::as_str).map(String::as_str).collect()
        };
        let text = format!("{}-0815-{}", "a".repeat(60), "b".repeat(59));
        let found = compared(&text);
        assert_eq!(found.len(), LIKE_IDS_COMPARED_MAX);
        assert_eq!(found.last(), ids.get(815).map(String::as_str).as_ref());
        assert_eq!(compared("x").len(), LIKE_IDS_COMPARED_MAX);
        assert_eq!(nearest(&text.to_uppercase(), ids.iter(), String::as_str), ids.get(815));
    }
}

//! Reading the values of a catalog, and the checks that several of them share.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer};

use super::CatalogError;
use crate::limits::TEXT_CHARS_MAX;
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
    let like = ids.map(|other| (likeness(other), other)).filter(|(likeness, _)| *likeness >= LIKE);
    like.max_by(|(one, _), (two, _)| one.total_cmp(two)).map(|(_, id)| id)
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

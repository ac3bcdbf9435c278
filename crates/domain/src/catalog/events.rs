//! Events of other systems: which become usage of which meter, and where in them the quantity stands.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::CatalogError;
use super::faults::{Faults, Place};
use super::read::{repeated, text_line};
use crate::MeterId;
use crate::limits::{CATALOG_EVENTS_MAX, PROPERTIES_MAX, TEXT_CHARS_MAX};

/// How events of one type become usage of a meter.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventMapping {
    /// The type of the events.
    pub r#type: String,
    /// What they use.
    pub meter: MeterId,
    /// Where the quantity stands; without it each event uses 1.
    pub quantity: Option<DataPath>,
    /// Where the user stands.
    pub user: Option<DataPath>,
    /// Where properties stand, by their names.
    #[serde(default)]
    pub properties: BTreeMap<String, DataPath>,
}

/// What becomes of events whose type has no mapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownEvents {
    /// They are refused.
    #[default]
    Reject,
    /// They are taken and count nothing.
    Ignore,
}

/// A place in the data of an event, written `$.tokens`, `$.usage.input` or `$.items[0]['a name']`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataPath(Vec<PathStep>);

/// One step from a value to one within it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathStep {
    /// The member of an object.
    Member(String),
    /// The element of an array, from 0.
    Element(usize),
}

impl DataPath {
    /// Reads a path.
    ///
    /// # Errors
    /// Text that is not a path: what a path looks like.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const WRONG: &str = "is not a path such as $.tokens, $.usage.input or $.items[0]['a name']";
        if text.chars().count() > TEXT_CHARS_MAX {
            return Err(WRONG);
        }
        let mut rest = text.strip_prefix('$').ok_or(WRONG)?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let step;
            if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[']).unwrap_or(after.len());
                let (name, left) = after.split_at(end);
                let plain = !name.is_empty() && !name.contains([']', '\'', '"', '*', ' ']);
                step = plain.then(|| PathStep::Member(name.to_owned()));
                rest = left;
            } else {
                let (inner, left) = bracketed(rest).ok_or(WRONG)?;
                let quoted = ['\'', '"'].into_iter().find_map(|quote| {
                    let name = inner.strip_prefix(quote)?.strip_suffix(quote)?;
                    (!name.is_empty() && !name.contains(quote)).then_some(name)
                });
                let digits = !inner.is_empty() && inner.bytes().all(|byte| byte.is_ascii_digit());
                step = match quoted {
                    Some(name) => Some(PathStep::Member(name.to_owned())),
                    None if digits => inner.parse().ok().map(PathStep::Element),
                    None => None,
                };
                rest = left;
            }
            steps.push(step.ok_or(WRONG)?);
        }
        if steps.is_empty() { Err(WRONG) } else { Ok(Self(steps)) }
    }

    /// Its steps, outermost first.
    #[must_use]
    pub fn steps(&self) -> &[PathStep] {
        &self.0
    }
}

/// What stands in the brackets that a text begins with, and what follows them.
fn bracketed(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('[')?;
    let quote = inner.chars().next().filter(|first| ['\'', '"'].contains(first));
    let end = match quote {
        Some(quote) => inner.get(1..)?.find(&format!("{quote}]"))? + 2,
        None => inner.find(']')?,
    };
    Some((inner.get(..end)?, inner.get(end + 1..)?))
}

impl std::fmt::Display for DataPath {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("$")?;
        self.0.iter().try_for_each(|step| match step {
            PathStep::Member(name) if name.contains(['.', '[', ']', '\'', '"', '*', ' ']) => {
                let quote = if name.contains('\'') { '"' } else { '\'' };
                write!(formatter, "[{quote}{name}{quote}]")
            }
            PathStep::Member(name) => write!(formatter, ".{name}"),
            PathStep::Element(number) => write!(formatter, "[{number}]"),
        })
    }
}

impl<'de> Deserialize<'de> for DataPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::parse(deserializer, "a path such as \"$.tokens\"", Self::parse)
    }
}

/// Checks the mappings of a catalog against its meters.
pub(super) fn check(events: &[EventMapping], has_meter: impl Fn(&MeterId) -> bool, faults: &mut Faults) {
    if events.len() > CATALOG_EVENTS_MAX {
        let says = format!("events: at most {CATALOG_EVENTS_MAX}");
        return faults.note(Place::Whole, Err(CatalogError(says)));
    }
    for (index, mapping) in events.iter().enumerate() {
        let place = format!("event '{}'", mapping.r#type);
        let mut note = |checked| faults.note(Place::Event(index), checked);
        note(text_line(&place, "type", &mapping.r#type));
        if !has_meter(&mapping.meter) {
            note(Err(CatalogError(format!("{place}: meter '{}' is not in the catalog", mapping.meter))));
        }
        if mapping.properties.len() > PROPERTIES_MAX {
            note(Err(CatalogError(format!("{place}: properties: at most {PROPERTIES_MAX}"))));
        }
        mapping.properties.keys().for_each(|name| note(text_line(&place, "a property", name)));
    }
    let pairs: Vec<_> = events.iter().map(|event| format!("{} → {}", event.r#type, event.meter)).collect();
    for (index, pair) in repeated(pairs.iter().map(String::as_str)) {
        faults.note(Place::Event(index), Err(CatalogError(format!("events: '{pair}' appears twice"))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_and_written() {
        for text in ["$.tokens", "$.usage.input", "$.items[0]['a name']", "$['a.b'].c", "$[3]", "$[\"it's\"]"]
        {
            let path = DataPath::parse(text).expect(text);
            assert_eq!(path.to_string(), text);
        }
        for text in [
            "", "$", "tokens", "$tokens", "$.", "$..a", "$.a[", "$.a[]", "$.a[-1]", "$.a[x]", "$.a['b]",
            "$.*", "$.a b",
        ] {
            assert!(DataPath::parse(text).is_err(), "{text}");
        }
    }
}

//! Groups: the usage of a meter in a month by the values of the properties it is counted by.
//!
//! A meter that declares properties has, for each org and month, one record with the sum of each combination of values
//! that occurred. One record, because a bill needs all of them as of one moment, and because how many there may be is
//! then known where it is decided.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Amount;
use crate::catalog::Meter;
use crate::limits::{GROUP_CHARS_MAX, GROUPS_MAX};

/// Values of the properties that a meter is counted by; a property that usage does not have is left out.
///
/// The one without any values is that of usage with none of the properties, and of usage for which there is no room.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Group(Arc<BTreeMap<String, String>>);

/// What was used in a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupCounter {
    /// The sum of the quantities.
    pub value: Amount,
    /// The part of it that no credit covered.
    pub overage: Amount,
}

/// The groups of a meter in a month of an org.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Groups {
    counters: BTreeMap<Group, GroupCounter>,
}

impl Group {
    /// The group of usage of a meter: the values of the properties it declares.
    ///
    /// Usage whose values are longer than [`GROUP_CHARS_MAX`] together counts in the group without values.
    #[must_use]
    pub fn of(meter: &Meter, properties: &BTreeMap<String, String>) -> Self {
        let declared = properties.iter().filter(|(name, _)| meter.properties.contains(name));
        let values: BTreeMap<_, _> = declared.map(|(name, value)| (name.clone(), value.clone())).collect();
        let chars: usize = values.values().map(|value| value.chars().count()).sum();
        if chars > GROUP_CHARS_MAX { Self::default() } else { Self(Arc::new(values)) }
    }

    /// The values.
    #[must_use]
    pub fn values(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

impl Groups {
    /// Where usage of a group is counted: there, or without values when there are [`GROUPS_MAX`] others.
    #[must_use]
    pub fn place(&self, group: Group) -> Group {
        if self.counters.len() < GROUPS_MAX || self.counters.contains_key(&group) {
            return group;
        }
        Group::default()
    }

    /// The groups with what was used in each, by their values.
    pub fn iter(&self) -> impl Iterator<Item = (&Group, &GroupCounter)> {
        self.counters.iter()
    }

    /// Counts in a group (with negated amounts: takes back).
    pub(crate) fn count(&mut self, group: &Group, quantity: Amount, overage: Amount) {
        let counter = self.counters.entry(group.clone()).or_default();
        counter.value += quantity;
        counter.overage += overage;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn meter(properties: &str) -> Meter {
        let text = format!("id = \"m\"\nname = \"M\"\nunit = \"u\"\nproperties = {properties}");
        toml::from_str(&text).expect("a meter")
    }

    #[test]
    fn a_group_is_of_declared_properties_only() {
        let meter = meter(r#"["model", "region"]"#);
        let group = Group::of(&meter, &values(&[("model", "a"), ("session", "7")]));
        assert_eq!(group.values(), &values(&[("model", "a")]));
        assert_eq!(Group::of(&meter, &values(&[("session", "7")])), Group::default());
        let long = "ü".repeat(GROUP_CHARS_MAX);
        assert_eq!(Group::of(&meter, &values(&[("model", &long)])).values(), &values(&[("model", &long)]));
        assert_eq!(Group::of(&meter, &values(&[("model", &long), ("region", "x")])), Group::default());
    }

    #[test]
    fn beyond_the_bound_new_groups_count_without_values() {
        let meter = meter(r#"["model"]"#);
        let group = |number: usize| Group::of(&meter, &values(&[("model", &number.to_string())]));
        let mut groups = Groups::default();
        for number in 0..GROUPS_MAX {
            let place = groups.place(group(number));
            assert_eq!(place, group(number));
            groups.count(&place, Amount::from_whole(1), Amount::ZERO);
        }
        assert_eq!(groups.place(group(3)), group(3), "a known group goes on");
        let beyond = groups.place(group(GROUPS_MAX));
        assert_eq!(beyond, Group::default());
        groups.count(&beyond, Amount::from_whole(2), Amount::ZERO);
        groups.count(&beyond, Amount::from_whole(3), Amount::ZERO);
        let sum: Amount = groups.iter().map(|(_, counter)| counter.value).sum();
        assert_eq!(sum.as_whole(), Some(i64::try_from(GROUPS_MAX).expect("small") + 5));
    }
}

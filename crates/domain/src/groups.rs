//! Groups: the usage of a meter in a day or month by the values of the properties it is counted by.
//!
//! A meter that declares properties has, for each org, day, month and segment of a month, one record with a counter for
//! each combination of values that occurred. One record, because a bill needs all of a month as of one moment, and because
//! how many there may be is then known where it is decided. The groups of a day or segment are among those of its month.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::catalog::Meter;
use crate::limits::{GROUP_CHARS_MAX, GROUPS_MAX};
use crate::{Amount, Counter, OrgState, Period, Scope, Window};

/// Values of the properties that a meter is counted by; a property that usage does not have is left out.
///
/// The one without any values is that of usage with none of the properties, and of usage for which there is no room. An org
/// has many: they lie close together, sorted by the names of the properties.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(Arc<[(String, String)]>);

/// The windows that usage is counted by properties in.
pub const GROUPED: [Window; 3] = [Window::Day, Window::Month, Window::Segment];

/// The groups of a meter in a period of an org.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    counters: BTreeMap<Group, Counter>,
}

impl Group {
    /// The group of usage of a meter: the values of the properties it declares.
    ///
    /// Usage whose values are longer than [`GROUP_CHARS_MAX`] together counts in the group without values.
    #[must_use]
    pub fn of(meter: &Meter, properties: &BTreeMap<String, String>) -> Self {
        let declared = properties.iter().filter(|(name, _)| meter.properties.contains(name));
        let values: Arc<[_]> = declared.map(|(name, value)| (name.clone(), value.clone())).collect();
        let chars: usize = values.iter().map(|(_, value)| value.chars().count()).sum();
        if chars > GROUP_CHARS_MAX { Self::default() } else { Self(values) }
    }

    /// The names of the properties with their values, sorted.
    #[must_use]
    pub fn values(&self) -> &[(String, String)] {
        &self.0
    }

    /// The same as a map.
    #[must_use]
    pub fn to_map(&self) -> BTreeMap<String, String> {
        self.0.iter().cloned().collect()
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
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Group, &Counter)> {
        self.counters.iter()
    }

    /// How much of memory they take, in parts of an org of the usual size: five groups are one.
    pub(crate) fn weight(&self) -> usize {
        1 + self.counters.len() / 5
    }

    /// The counter of a group.
    #[must_use]
    pub fn counter(&self, group: &Group) -> Option<&Counter> {
        self.counters.get(group)
    }

    /// Changes the counter of a group.
    pub(crate) fn change(&mut self, group: &Group, change: impl FnOnce(&mut Counter)) {
        change(self.counters.entry(group.clone()).or_default());
    }
}

impl From<BTreeMap<String, String>> for Group {
    fn from(values: BTreeMap<String, String>) -> Self {
        Self(values.into_iter().collect())
    }
}

impl FromIterator<(Group, Counter)> for Groups {
    fn from_iter<I: IntoIterator<Item = (Group, Counter)>>(counters: I) -> Self {
        Self { counters: counters.into_iter().collect() }
    }
}

/// The usage of a period in parts: what each group counts, and in the group without values what was counted while the
/// meter declared no properties. Sums add up to the whole; what does not add up is counted by properties always or never.
pub(crate) fn parts(adds_up: bool, whole: &Counter, groups: Option<&Groups>) -> BTreeMap<Group, Counter> {
    let mut parts = groups.map(|groups| groups.counters.clone()).unwrap_or_default();
    if !adds_up && !parts.is_empty() {
        return parts;
    }
    let sum = |of: fn(&Counter) -> Amount| parts.values().map(of).sum::<Amount>();
    let value = whole.value - sum(|counter| counter.value);
    let overage = whole.extras().overage - sum(|counter| counter.extras().overage);
    if value != Amount::ZERO || overage != Amount::ZERO {
        let rest = parts.entry(Group::default()).or_default();
        rest.value += value;
        rest.change_extras(|extras| extras.overage += overage);
    }
    parts
}

/// By which properties usage is told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupBy {
    /// Their names: usage of each combination of their values by itself.
    pub names: Vec<String>,
    /// Only usage with these values.
    pub only: BTreeMap<String, String>,
}

/// What an org used of a meter in a day or month by properties: for the values of those it is told apart by (`None` where
/// usage has none) how much. The groups of the period, the account and the counter of the org must be at hand. Of a meter
/// that does not add up, each of its properties must be named, or have one value.
#[must_use]
pub fn usage_by(
    state: &OrgState,
    meter: &Meter,
    period: Period,
    by: &GroupBy,
) -> BTreeMap<BTreeMap<String, Option<String>>, Amount> {
    let whole = state.counter(&meter.id, &Scope::Org, period);
    let mut usage = BTreeMap::new();
    for (group, counter) in parts(meter.aggregation.adds_up(), whole, state.groups(&meter.id, period)) {
        let values = group.to_map();
        if by.only.iter().all(|(name, value)| values.get(name) == Some(value)) {
            let told = by.names.iter().map(|name| (name.clone(), values.get(name).cloned())).collect();
            *usage.entry(told).or_default() += counter.value;
        }
    }
    usage
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
        assert_eq!(group.to_map(), values(&[("model", "a")]));
        assert_eq!(Group::of(&meter, &values(&[("session", "7")])), Group::default());
        let long = "ü".repeat(GROUP_CHARS_MAX);
        assert_eq!(Group::of(&meter, &values(&[("model", &long)])).to_map(), values(&[("model", &long)]));
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
            groups.change(&place, |counter| counter.value += Amount::from_whole(1));
        }
        assert_eq!(groups.place(group(3)), group(3), "a known group goes on");
        let beyond = groups.place(group(GROUPS_MAX));
        assert_eq!(beyond, Group::default());
        groups.change(&beyond, |counter| counter.value += Amount::from_whole(2));
        groups.change(&beyond, |counter| counter.value += Amount::from_whole(3));
        let sum: Amount = groups.iter().map(|(_, counter)| counter.value).sum();
        assert_eq!(sum.as_whole(), Some(i64::try_from(GROUPS_MAX).expect("small") + 5));
    }
}

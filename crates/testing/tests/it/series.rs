//! Usage over time, against every usage added up anew.

use std::collections::{BTreeMap, BTreeSet};

use tollgate_domain::{Amount, GroupBy, MeterId, OrgState, PartKey, Period, Scope, UserId, Window, usage_by};
use tollgate_testing::hold;
use tollgate_testing::invariants::Stored;
use tollgate_testing::oracle::{Counted, History, total};

use crate::world::World;

/// Every point of every series: of orgs, users and properties, in each window that was counted.
pub(crate) fn check(world: &World, stored: &Stored) -> Result<(), String> {
    for org in world.ledgers.keys() {
        let mut state = OrgState::complete(org.clone());
        for (key, record) in stored {
            if let Some((_, part)) = PartKey::in_org(key).filter(|(of, _)| *of == org) {
                state.put(part, Some(record.clone()));
            }
        }
        let history = world.oracle.history(org).ok_or("the oracle knows the org")?;
        let mut parts: BTreeSet<(&MeterId, Option<&UserId>, _)> = BTreeSet::new();
        for counted in &history.uses {
            for label in &counted.labels {
                parts.insert((&counted.usage.meter, None, *label));
                parts.insert((&counted.usage.meter, counted.user, *label));
            }
        }
        for (meter, user, label) in parts {
            let period = label.period();
            let scope = user.cloned().map_or(Scope::Org, Scope::User);
            let found = state.counter(meter, &scope, period).value;
            let wanted = history.counted(meter, user, label);
            hold!(
                found == wanted,
                "{org} {meter} {user:?} {}: {found}, the oracle says {wanted}",
                period.label()
            );
        }
        properties(world, &state, &history)?;
    }
    Ok(())
}

/// The months and days of meters that are counted by the model of a usage.
fn properties(world: &World, state: &OrgState, history: &History<'_>) -> Result<(), String> {
    let by = GroupBy { names: vec!["model".to_owned()], only: BTreeMap::new() };
    let only_a = GroupBy { names: Vec::new(), only: BTreeMap::from([("model".to_owned(), "a".to_owned())]) };
    let org = state.id();
    for meter in &world.catalog.meters {
        if meter.properties != ["model"] {
            continue;
        }
        for (period, uses) in by_period(history, &meter.id) {
            let mut wanted: BTreeMap<Option<String>, Vec<&Counted<'_>>> = BTreeMap::new();
            for counted in uses {
                let declared = world.declared(counted.entry, org, &meter.id);
                let model = counted.usage.properties.get("model").filter(|_| declared);
                wanted.entry(model.cloned()).or_default().push(counted);
            }
            let mut wanted: BTreeMap<Option<String>, Amount> =
                wanted.into_iter().map(|(model, uses)| (model, total(uses.into_iter()))).collect();
            wanted.retain(|_, value| !value.is_zero());
            assert!(state.holds(&PartKey::Account(meter.id.clone())), "it was used");
            let found = usage_by(state, meter, period, &by).into_iter().filter_map(|(values, value)| {
                let model = values.get("model").cloned().flatten();
                (!value.is_zero()).then_some((model, value))
            });
            let found: BTreeMap<Option<String>, Amount> = found.collect();
            let told = format!("{org} {} {}", meter.id, period.label());
            hold!(found == wanted, "{told}: {found:?}, the oracle says {wanted:?}");
            let found: Amount = usage_by(state, meter, period, &only_a).into_values().sum();
            let wanted = wanted.get(&Some("a".to_owned())).copied().unwrap_or_default();
            hold!(found == wanted, "{told} of a: {found}, the oracle says {wanted}");
        }
    }
    Ok(())
}

/// The usage of a meter that was not taken back, by day and month.
fn by_period<'a, 'h>(history: &'h History<'a>, meter: &MeterId) -> BTreeMap<Period, Vec<&'h Counted<'a>>> {
    let mut found: BTreeMap<Period, Vec<&Counted<'a>>> = BTreeMap::new();
    let standing = |counted: &&Counted<'a>| counted.usage.meter == *meter && counted.reversed_by.is_none();
    for counted in history.uses.iter().filter(standing) {
        for period in counted.labels.iter().map(|label| label.period()) {
            if matches!(period.window, Window::Day | Window::Month) {
                found.entry(period).or_default().push(counted);
            }
        }
    }
    found
}

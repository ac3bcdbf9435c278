//! How the prices of a plan stand to its meters and to each other: each usage has one price, in each month.

use std::collections::BTreeMap;

use super::faults::{Faults, Place};
use super::read::text_line;
use super::{Catalog, CatalogError, Enforcement, Plan, Portion, Price};
use crate::limits::{CATALOG_FAULTS_MAX, PLAN_PRICES_MAX};

/// Checks the prices of a plan.
pub(super) fn prices(catalog: &Catalog, index: usize, plan: &Plan, faults: &mut Faults) {
    let place = format!("plan '{}'", plan.id);
    if plan.prices.len() > PLAN_PRICES_MAX {
        let says = format!("{place}: prices: at most {PLAN_PRICES_MAX}");
        return faults.note(Place::Plan(index), Err(CatalogError(says)));
    }
    for (number, price) in plan.prices.iter().enumerate() {
        if faults.is_full() {
            return;
        }
        let place = format!("{place}: price {}", number + 1);
        let mut note = |checked| faults.note(Place::Price(index, number), checked);
        note(check_meter(catalog, plan, price, &place));
        note(price.name.as_ref().map_or(Ok(()), |name| text_line(&place, "name", name)));
        let earlier = plan.prices.iter().enumerate().take(number);
        let wrong =
            earlier.filter_map(|(other, earlier)| Some((other, check_pair(plan, earlier, price).err()?)));
        for (other, says) in wrong.take(CATALOG_FAULTS_MAX + 1) {
            note(Err(CatalogError(format!("{place} and price {}: {says}", other + 1))));
        }
    }
}

fn check_meter(catalog: &Catalog, plan: &Plan, price: &Price, place: &str) -> Result<(), CatalogError> {
    let Some(id) = &price.meter else { return Ok(()) };
    let Some(meter) = catalog.meter(id) else {
        return Err(CatalogError(format!("{place}: {}", catalog.unknown_meter(id))));
    };
    if let Some(name) = price.matches.keys().find(|name| !meter.properties.contains(name)) {
        return Err(CatalogError(format!(
            "{place}: where: '{name}' is not among the properties of the meter '{id}'"
        )));
    }
    let has_overage = plan.allowance(id).is_some_and(|allowance| allowance.enforcement == Enforcement::Soft);
    if price.portion == Portion::Overage && !has_overage {
        return Err(CatalogError(format!(
            "{place}: quantity = \"overage\" needs an allowance of '{id}' with enforcement = \"soft\""
        )));
    }
    Ok(())
}

/// Two prices of one meter must never take the same usage in the same month with equal right.
fn check_pair(plan: &Plan, one: &Price, two: &Price) -> Result<(), String> {
    let same_right = one.meter.is_some() && one.meter == two.meter && one.matches.len() == two.matches.len();
    let Some(months) = one.months.common(&two.months).filter(|_| same_right) else { return Ok(()) };
    let Some(both) = union(&one.matches, &two.matches) else { return Ok(()) };
    if one.matches == two.matches {
        return Err("the same usage in the same months; part them by where, or by from and until".to_owned());
    }
    let settles = |price: &Price| {
        price.matches.len() > one.matches.len()
            && price.meter == one.meter
            && price.takes(&both)
            && price.months.covers(&months)
    };
    if plan.prices.iter().any(settles) {
        return Ok(());
    }
    let both: Vec<_> = both.iter().map(|(name, value)| format!("{name} = \"{value}\"")).collect();
    Err(format!("usage with {} would have both; add a price for it", both.join(", ")))
}

/// What usage has that both take; `None` if no usage can have it.
fn union(one: &BTreeMap<String, String>, two: &BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    let agrees = |(name, value): (&String, &String)| two.get(name).is_none_or(|other| other == value);
    one.iter().all(agrees).then(|| one.iter().chain(two).map(|(n, v)| (n.clone(), v.clone())).collect())
}

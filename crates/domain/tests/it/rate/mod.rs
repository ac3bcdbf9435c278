//! Rating, in tables, against numbers of any size, and on whole price lists.

mod examples;
mod random;
mod tables;

use std::collections::BTreeMap;

use tollgate_domain::{
    Amount, Catalog, MeterUsage, Period, PlanId, RateError, RatedSegment, Terms, UsageGroup, rate,
};

use crate::world::meter;

fn amount(text: &str) -> Amount {
    Amount::parse(text).expect("an amount")
}

fn month(text: &str) -> Period {
    Period::parse_month(text).expect("a month")
}

fn properties(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// One group of usage without overage.
fn usage(id: &str, pairs: &[(&str, &str)], quantity: &str) -> MeterUsage {
    let group =
        UsageGroup { properties: properties(pairs), quantity: amount(quantity), overage: Amount::ZERO };
    MeterUsage { meter: meter(id), groups: vec![group] }
}

/// Rates a month by version 7 of a catalog.
fn rated(
    catalog: &Catalog,
    plan: &str,
    in_month: &str,
    usage: &[MeterUsage],
) -> Result<RatedSegment, RateError> {
    let plan = catalog.plan(&PlanId::new(plan).expect("an id")).expect("the plan is in the catalog");
    rate(&Terms::of_month(catalog, 7, plan, month(in_month)), usage)
}

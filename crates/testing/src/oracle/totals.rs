//! What usage comes to: every usage looked at, each time anew.

use std::collections::BTreeSet;

use tollgate_domain::catalog::{Aggregation, Meter, UniqueBy, UnknownProperties};
use tollgate_domain::{Amount, Catalog, MeterId, Use};

use super::{Counted, sum};

/// What some usage of one meter comes to.
pub fn total<'a>(uses: impl Iterator<Item = &'a Counted<'a>>) -> Amount {
    let uses: Vec<&Counted<'_>> = uses.collect();
    let Some(first) = uses.first() else { return Amount::ZERO };
    match &first.aggregation {
        Aggregation::Sum | Aggregation::Count => sum(uses.iter().map(|counted| counted.quantity)),
        Aggregation::Max => uses.iter().map(|counted| counted.quantity).max().unwrap_or_default(),
        Aggregation::Last => {
            let last = uses.iter().max_by_key(|counted| (counted.at, counted.entry));
            last.map_or(Amount::ZERO, |counted| counted.quantity)
        }
        Aggregation::Unique(by) => {
            let value = |counted: &&Counted<'_>| match by {
                UniqueBy::User => counted.usage.user.as_ref().map(ToString::to_string),
                UniqueBy::Property(name) => counted.usage.properties.get(name).cloned(),
            };
            let values: BTreeSet<String> = uses.iter().filter_map(value).collect();
            Amount::from_whole(i64::try_from(values.len()).unwrap_or(i64::MAX))
        }
    }
}

/// How a meter counts; as a sum where the catalog has it not.
pub(super) fn aggregation(catalog: &Catalog, meter: &MeterId) -> Aggregation {
    known(catalog, meter).map_or(Aggregation::Sum, |meter| meter.aggregation.clone())
}

/// How much a usage counts: where usages or their values are counted, each is one.
pub(super) fn quantity(catalog: &Catalog, usage: &Use) -> Amount {
    match aggregation(catalog, &usage.meter) {
        Aggregation::Count | Aggregation::Unique(_) => Amount::from_whole(1),
        Aggregation::Sum | Aggregation::Max | Aggregation::Last => usage.quantity.amount(),
    }
}

/// Whether a meter burns credit.
pub(super) fn burns(aggregation: &Aggregation) -> bool {
    matches!(aggregation, Aggregation::Sum | Aggregation::Count)
}

/// The first property, by name, for which a meter refuses a usage.
pub(super) fn refused_property(catalog: &Catalog, usage: &Use) -> Option<String> {
    let meter = known(catalog, &usage.meter)?;
    if meter.unknown_properties == UnknownProperties::Keep {
        return None;
    }
    let mut declared = meter.properties.clone();
    if let Aggregation::Unique(UniqueBy::Property(name)) = &meter.aggregation {
        declared.push(name.clone());
    }
    usage.properties.keys().find(|name| !declared.contains(name)).cloned()
}

fn known<'c>(catalog: &'c Catalog, id: &MeterId) -> Option<&'c Meter> {
    catalog.meters.iter().find(|meter| meter.id == *id)
}

//! The catalog as a price list.

use tollgate_domain::catalog::{
    Allowance, Enforcement, Meter, Model, Plan, PlanLimit, PlanLimitScope, Portion, Price, Tier,
};
use tollgate_domain::{Catalog, Currency};

use crate::text::num;

/// What a plan gives of a meter, in a line.
pub(crate) fn allowance(catalog: &Catalog, plan: &Plan, allowance: &Allowance) -> String {
    let unit = units(catalog.meter(&allowance.meter));
    let amount = num(allowance.amount);
    let when = if plan.trial_days.is_some() { "for the whole trial" } else { "a month" };
    match allowance.enforcement {
        Enforcement::Hard => format!("{amount} {unit} {when}, then no more"),
        Enforcement::Overdraft => format!("{amount} {unit} {when}; the last usage may take it below zero"),
        Enforcement::Soft => format!("{amount} {unit} {when}, then by use"),
        Enforcement::None => format!("{unit} by use"),
    }
}

fn units(meter: Option<&Meter>) -> String {
    meter.map_or_else(|| "units".to_owned(), |meter| meter.name.to_lowercase())
}

/// A limit that comes with a plan, in a line.
pub(crate) fn limit(catalog: &Catalog, limit: &PlanLimit) -> String {
    let unit = units(catalog.meter(&limit.meter));
    let whose = match limit.scope {
        PlanLimitScope::Org => String::new(),
        PlanLimitScope::User => " for each user".to_owned(),
        PlanLimitScope::Path => {
            limit.path.as_ref().map(|path| format!(" for {}", path.phrase())).unwrap_or_default()
        }
    };
    format!("at most {} {unit} {}{whose}", num(limit.amount), limit.window.phrase())
}

/// What a plan's price are in.
pub(crate) fn currency(catalog: &Catalog, plan: &Plan) -> Currency {
    plan.currency.unwrap_or(catalog.currency)
}

/// What a price is for.
pub(crate) fn subject(catalog: &Catalog, price: &Price) -> String {
    let meter = price.meter.as_ref();
    let named = price.name.clone().or_else(|| Some(catalog.meter(meter?)?.name.clone()));
    let mut subject =
        named.or_else(|| meter.map(ToString::to_string)).unwrap_or_else(|| "Plan fee".to_owned());
    let values: Vec<String> = price.matches.iter().map(|(name, value)| format!("{name} {value}")).collect();
    if !values.is_empty() {
        subject = format!("{subject} ({})", values.join(", "));
    }
    subject
}

/// What it costs, a line for each step.
pub(crate) fn lines(catalog: &Catalog, plan: &Plan, price: &Price) -> Vec<String> {
    let currency = currency(catalog, plan);
    let meter = price.meter.as_ref().and_then(|meter| catalog.meter(meter));
    let unit = meter.map_or("unit", |meter| meter.unit.as_str());
    let mut lines = match &price.model {
        Model::Flat { fee } => vec![format!("{} {currency} a month", num(fee))],
        Model::PerUnit { unit_price } => vec![format!("{} {currency} each {unit}", num(unit_price))],
        Model::Package { size, price } => {
            vec![format!("{} {currency} for each {} {unit} begun", num(price), num(size))]
        }
        Model::Graduated { tiers } => steps(tiers, unit, currency, ""),
        Model::Volume { tiers } => steps(tiers, unit, currency, ", all of it"),
    };
    if price.portion == Portion::Overage {
        lines.push("of what no credit covered".to_owned());
    }
    if price.included.is_positive() {
        lines.push(format!("the first {} are free", num(price.included)));
    }
    if price.discount_percent.is_positive() {
        lines.push(format!("less {} %", num(price.discount_percent)));
    }
    lines.extend(price.minimum.map(|minimum| format!("at least {} {currency} a month", num(minimum))));
    lines.extend(price.maximum.map(|maximum| format!("at most {} {currency} a month", num(maximum))));
    if let Some(from) = price.months.from {
        lines.push(format!("from {}", from.label()));
    }
    if let Some(until) = price.months.until {
        lines.push(format!("until {}", until.label()));
    }
    lines
}

fn steps(tiers: &[Tier], unit: &str, currency: Currency, how: &str) -> Vec<String> {
    let step = |tier: &Tier| {
        let until = tier.up_to.map_or_else(|| "beyond".to_owned(), |up_to| format!("up to {}", num(up_to)));
        let fee = if tier.flat_fee.is_positive() {
            format!(" and {} {currency} once", num(tier.flat_fee))
        } else {
            String::new()
        };
        format!("{until}: {} {currency} each {unit}{fee}{how}", num(tier.unit_price))
    };
    tiers.iter().map(step).collect()
}

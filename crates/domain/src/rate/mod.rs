//! Rating: what an org owes for a month, from its usage and the prices of its plan.
//!
//! [`rate`] is a pure function and exact. For each price, in this order:
//!
//! 1. the quantities of the usage it takes are added up: all of them, or what no credit covered;
//! 2. the included quantity is taken off;
//! 3. the model makes money of what is left: unit prices, packages, tiers;
//! 4. the discount is taken off;
//! 5. the minimum is owed at least, then the maximum at most: a discount does not go below a minimum;
//! 6. the amount is rounded once, half to even, to the minor unit of the currency.
//!
//! The total is the sum of the rounded lines. Only sums of quantities go in, so it is the same however usage was cut
//! into batches and in whichever order it came.

mod arithmetic;
mod bill;

use std::collections::BTreeMap;

pub use bill::{BillLine, Bound, MeterUsage, Part, PriceRef, Rated, Unpriced, UsageGroup};

use crate::catalog::{Catalog, Meter, Model, Plan, Portion, Price, Tier};
use crate::{Amount, Exact, MeterId, Money, Period, Window};

/// What a month is rated by.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The catalog, of which the plan is one.
    pub catalog: &'a Catalog,
    /// Its version.
    pub version: u32,
    /// The plan.
    pub plan: &'a Plan,
    /// The month: which prices are in force.
    pub month: Period,
}

/// Why a month cannot be rated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// The period is not a month.
    #[error("{} is not a month", .0.label())]
    NotAMonth(Period),
    /// A quantity or an overage is below zero.
    #[error("usage of '{0}' is below zero")]
    Negative(MeterId),
    /// A sum of quantities is beyond what can be kept.
    #[error("usage of '{0}' is more than can be counted")]
    TooMuch(MeterId),
    /// The amount of a line is beyond 3 × 10^20, or a number of packages beyond 10^29.
    #[error("price {} of plan '{}' makes more money than can be counted", .0.number, .0.plan)]
    TooLarge(PriceRef),
    /// The sum of the lines is beyond what can be kept.
    #[error("the total is more money than can be counted")]
    TotalTooLarge,
}

/// Rates the usage of a month.
///
/// Usage of one meter, and of one group of properties, may stand there several times: it is added up. Usage of a meter
/// that the plan has no price for costs nothing.
///
/// # Errors
/// [`RateError`], when an amount cannot be kept exactly; it is never rounded to fit.
pub fn rate(terms: &Terms<'_>, usage: &[MeterUsage]) -> Result<Rated, RateError> {
    let Terms { catalog, version, plan, month } = *terms;
    if month.window != Window::Month {
        return Err(RateError::NotAMonth(month));
    }
    let (quantities, unpriced) = assign(terms, usage)?;
    let currency = plan.currency(catalog);
    let in_force = plan.prices.iter().enumerate().filter(|(_, price)| price.months.contains(month));
    let mut lines = Vec::new();
    let mut total = Money::zero(currency);
    for (place, price) in in_force {
        let number = u32::try_from(place).unwrap_or(u32::MAX).saturating_add(1);
        let reference = PriceRef { catalog: version, plan: plan.id.clone(), number };
        let quantity = quantities.get(&place).copied().unwrap_or_default();
        let line = line(terms, price, reference.clone(), quantity).ok_or(RateError::TooLarge(reference))?;
        total = total.checked_add(line.amount).ok_or(RateError::TotalTooLarge)?;
        if price.meter.is_none() || line.quantity.is_positive() || line.exact != Exact::ZERO {
            lines.push(line);
        }
    }
    Ok(Rated { catalog: version, plan: plan.id.clone(), month, lines, total, unpriced })
}

/// Gives each group of usage to the one price that takes it: the sum for each price, by its place in the plan, and
/// what no price takes.
fn assign(
    terms: &Terms<'_>,
    usage: &[MeterUsage],
) -> Result<(BTreeMap<usize, Amount>, Vec<Unpriced>), RateError> {
    let Terms { catalog, plan, month, .. } = *terms;
    let mut quantities = BTreeMap::new();
    let mut unpriced: BTreeMap<(&MeterId, BTreeMap<String, String>), Amount> = BTreeMap::new();
    for MeterUsage { meter, groups } in usage {
        let is_priced = |price: &Price| price.meter.as_ref() == Some(meter) && price.months.contains(month);
        let has_prices = plan.prices.iter().any(is_priced);
        for group in groups {
            if group.quantity < Amount::ZERO || group.overage < Amount::ZERO {
                return Err(RateError::Negative(meter.clone()));
            }
            let (sum, quantity) = match plan.price(meter, &group.properties, month) {
                Some((place, price)) => (quantities.entry(place).or_default(), portion(price, group)),
                None if has_prices && group.quantity.is_positive() => {
                    let properties = declared(catalog.meter(meter), &group.properties);
                    (unpriced.entry((meter, properties)).or_default(), group.quantity)
                }
                None => continue,
            };
            *sum = add(*sum, quantity).ok_or_else(|| RateError::TooMuch(meter.clone()))?;
        }
    }
    let unpriced = unpriced.into_iter().map(|((meter, properties), quantity)| Unpriced {
        meter: meter.clone(),
        properties,
        quantity,
    });
    Ok((quantities, unpriced.collect()))
}

fn portion(price: &Price, group: &UsageGroup) -> Amount {
    match price.portion {
        Portion::All => group.quantity,
        Portion::Overage => group.overage,
    }
}

/// The properties that the meter is counted by.
fn declared(meter: Option<&Meter>, properties: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let names = meter.map(|meter| meter.properties.as_slice()).unwrap_or_default();
    let kept = properties.iter().filter(|(name, _)| names.contains(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The line of one price; `None` if an amount cannot be kept.
fn line(terms: &Terms<'_>, price: &Price, reference: PriceRef, quantity: Amount) -> Option<BillLine> {
    let currency = terms.plan.currency(terms.catalog);
    let included = price.included.min(quantity);
    let billable = quantity - included;
    let parts = match &price.meter {
        None => fee_of_plan(&price.model)?,
        Some(_) => parts(&price.model, billable)?,
    };
    let subtotal =
        parts.iter().try_fold(Exact::ZERO, |sum: Exact, part: &Part| sum.checked_add(part.amount))?;
    let discounted = subtotal.less_percent(price.discount_percent);
    let (exact, bound) = bounded(discounted, price)?;
    let mut line = BillLine {
        description: arithmetic::description(terms, price),
        price: reference,
        meter: price.meter.clone(),
        properties: price.matches.clone(),
        portion: price.portion,
        quantity,
        included,
        billable,
        model: price.model.name().to_owned(),
        parts,
        subtotal,
        discount_percent: price.discount_percent,
        discounted,
        bound,
        exact,
        amount: exact.round_half_even(currency),
        arithmetic: String::new(),
    };
    line.arithmetic = arithmetic::of_line(&line, price, currency);
    Some(line)
}

/// A fee of the plan is owed each month.
fn fee_of_plan(model: &Model) -> Option<Vec<Part>> {
    match model {
        Model::Flat { fee } => Some(vec![Part::fee(Amount::ZERO, *fee)?]),
        // Reading the catalog refuses these without a meter; nothing is used, so nothing is owed.
        Model::PerUnit { .. } | Model::Package { .. } | Model::Graduated { .. } | Model::Volume { .. } => {
            Some(Vec::new())
        }
    }
}

/// What the model makes of a quantity, part by part; `None` if an amount cannot be kept.
fn parts(model: &Model, billable: Amount) -> Option<Vec<Part>> {
    if !billable.is_positive() {
        return Some(Vec::new());
    }
    match model {
        Model::Flat { fee } => Some(vec![Part::fee(billable, *fee)?]),
        Model::PerUnit { unit_price } => Some(vec![Part::of_units(billable, *unit_price)?]),
        Model::Package { size, price } => {
            let begun = packages(billable, *size)?;
            Some(vec![Part { quantity: billable, ..Part::of_units(begun, *price)? }])
        }
        Model::Graduated { tiers } => {
            let mut parts = Vec::new();
            for (from, tier) in steps(tiers).filter(|(from, _)| *from < billable) {
                let end = tier.up_to.map_or(billable, |up_to| up_to.min(billable));
                parts.push(Part::of_tier(from, tier, end - from)?);
            }
            Some(parts)
        }
        Model::Volume { tiers } => {
            let holds = |tier: &Tier| tier.up_to.is_none_or(|up_to| billable <= up_to);
            let (from, tier) = steps(tiers).find(|(_, tier)| holds(tier))?;
            Some(vec![Part::of_tier(from, tier, billable)?])
        }
    }
}

/// The tiers with the quantity each begins after.
fn steps(tiers: &[Tier]) -> impl Iterator<Item = (Amount, &Tier)> {
    let ends = tiers.iter().map(|tier| tier.up_to.unwrap_or_default());
    std::iter::once(Amount::ZERO).chain(ends).zip(tiers)
}

/// How many packages are begun; `None` if it cannot be kept.
fn packages(quantity: Amount, size: Amount) -> Option<Amount> {
    let (quantity, size) = (quantity.billionths(), size.billionths());
    let whole = quantity.checked_div(size)?;
    let begun = whole + i128::from(whole * size < quantity);
    begun.checked_mul(Amount::from_whole(1).billionths()).map(Amount::from_billionths)
}

/// The minimum first, then the maximum.
fn bounded(amount: Exact, price: &Price) -> Option<(Exact, Option<Bound>)> {
    if let Some(minimum) = price.minimum {
        let least = Exact::of(minimum)?;
        if amount < least {
            return Some((least, Some(Bound::Minimum(minimum))));
        }
    }
    if let Some(maximum) = price.maximum {
        let most = Exact::of(maximum)?;
        if amount > most {
            return Some((most, Some(Bound::Maximum(maximum))));
        }
    }
    Some((amount, None))
}

fn add(one: Amount, two: Amount) -> Option<Amount> {
    one.billionths().checked_add(two.billionths()).map(Amount::from_billionths)
}

impl Part {
    /// A fee, for a quantity that is not multiplied by anything.
    fn fee(quantity: Amount, flat_fee: Amount) -> Option<Self> {
        let amount = Exact::of(flat_fee)?;
        Some(Self { quantity, flat_fee, amount, ..Self::default() })
    }

    fn of_units(units: Amount, unit_price: Amount) -> Option<Self> {
        let amount = Exact::product(units, unit_price)?;
        Some(Self { quantity: units, units, unit_price, amount, ..Self::default() })
    }

    fn of_tier(from: Amount, tier: &Tier, quantity: Amount) -> Option<Self> {
        let part = Self::of_units(quantity, tier.unit_price)?;
        let amount = part.amount.checked_add(Exact::of(tier.flat_fee)?)?;
        Some(Self { from, to: tier.up_to, flat_fee: tier.flat_fee, amount, ..part })
    }
}

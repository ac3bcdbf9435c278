//! Rating: what an org owes for a month, or a part of one, from its usage and the prices of its plan.
//!
//! [`rate`] is a pure function and exact. For each price, in this order:
//!
//! 1. the quantities of the usage it takes are added up: all of them, or what no credit covered;
//! 2. the included quantity is taken off;
//! 3. the model makes money of what is left: unit prices, packages, tiers; of a fee the share of the days;
//! 4. the discount is taken off;
//! 5. the minimum is owed at least, then the maximum at most, or their shares: a discount does not go below a minimum;
//! 6. the amount is rounded once, half to even, to the minor unit of the currency.
//!
//! The total is the sum of the rounded lines. Only sums of quantities go in, so it is the same however usage was cut
//! into batches and in whichever order it came.

mod arithmetic;
mod bill;

use std::collections::BTreeMap;

pub use bill::{
    BillLine, Bound, MeterUsage, Part, PriceRef, Rated, RatedSegment, Segment, Share, Unbilled, UsageGroup,
};

use crate::catalog::{
    Aggregation, Allowance, Catalog, Enforcement, Meter, Model, Plan, Portion, Price, Proration, Tier,
};
use crate::{Amount, Currency, Exact, MeterId, Money, Period, Timestamp, Window};

/// What a month, or a part of one, is rated by.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The catalog, of which the plan is one.
    pub catalog: &'a Catalog,
    /// Its version.
    pub version: u32,
    /// The plan; `None`: there was none, so that nothing has a price.
    pub plan: Option<&'a Plan>,
    /// The month: which prices are in force.
    pub month: Period,
    /// The share of fees, minimums and maximums that is owed.
    pub fees: Share,
    /// First moment of the part of the month.
    pub from: Option<Timestamp>,
    /// First moment after it.
    pub until: Option<Timestamp>,
    /// The lines of the parts of the month before it: a plan that shares nothing by days owes its fees once.
    pub before: &'a [BillLine],
}

impl<'a> Terms<'a> {
    /// A plan for a whole month.
    #[must_use]
    pub const fn of_month(catalog: &'a Catalog, version: u32, plan: &'a Plan, month: Period) -> Self {
        let fees = Share::WHOLE;
        Self { catalog, version, plan: Some(plan), month, fees, from: None, until: None, before: &[] }
    }
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
    /// The prices of the month's plans are in two currencies.
    #[error("the prices of the month are in {0} and in {1}")]
    TwoCurrencies(Currency, Currency),
    /// The sum of the lines is beyond what can be kept.
    #[error("the total is more money than can be counted")]
    TotalTooLarge,
}

/// Rates the usage of a month, or of a part of one.
///
/// Usage of one meter, and of one group of properties, may stand there several times: it is added up. What no price takes
/// is listed: as included where credit covered it, otherwise as unpriced.
///
/// # Errors
/// [`RateError`], when an amount cannot be kept exactly; it is never rounded to fit.
pub fn rate(terms: &Terms<'_>, usage: &[MeterUsage]) -> Result<RatedSegment, RateError> {
    let Terms { catalog, version, plan, month, .. } = *terms;
    if month.window != Window::Month {
        return Err(RateError::NotAMonth(month));
    }
    let mut assigned = Assigned::default();
    for meter in usage {
        assign(terms, meter, &mut assigned)?;
    }
    if let Some(plan) = plan {
        include_given(plan, month, &mut assigned);
    }
    let Assigned { quantities, included, unpriced } = assigned;
    let currency = plan.map_or(catalog.currency, |plan| plan.currency(catalog));
    let mut lines = Vec::new();
    let mut total = Money::zero(currency);
    for (number, price) in (1..).zip(plan.map(|plan| plan.prices.as_slice()).unwrap_or_default()) {
        let Some(plan) = plan.filter(|_| price.months.contains(month)) else { continue };
        let reference = PriceRef { catalog: version, plan: plan.id.clone(), number };
        let quantity = quantities.get(&number).copied().unwrap_or_default();
        let line =
            line(terms, plan, price, reference.clone(), quantity).ok_or(RateError::TooLarge(reference))?;
        total = total.checked_add(line.amount).ok_or(RateError::TotalTooLarge)?;
        let is_fee = price.meter.is_none() && terms.fees.days > 0;
        if is_fee || line.quantity.is_positive() || line.exact != Exact::ZERO {
            lines.push(line);
        }
    }
    Ok(RatedSegment {
        lines,
        total,
        included: unbilled(terms, included),
        unpriced: unbilled(terms, unpriced),
    })
}

/// Sums of usage by meter and the values of its properties.
type Sums<'a> = BTreeMap<(&'a MeterId, BTreeMap<String, String>), Amount>;

/// What was used, by what becomes of it.
#[derive(Default)]
struct Assigned<'a> {
    /// What each price takes, by its number in the plan.
    quantities: BTreeMap<u32, Amount>,
    included: Sums<'a>,
    unpriced: Sums<'a>,
}

/// Gives each group of usage of a meter to the one price that takes it, and what no price takes to what credit covered or
/// to what has no price.
fn assign<'a>(
    terms: &Terms<'_>,
    usage: &'a MeterUsage,
    assigned: &mut Assigned<'a>,
) -> Result<(), RateError> {
    let Terms { catalog, plan, month, .. } = *terms;
    let MeterUsage { meter, groups } = usage;
    let is_priced = |price: &Price| price.meter.as_ref() == Some(meter) && price.months.contains(month);
    let has_prices = plan.is_some_and(|plan| plan.prices.iter().any(is_priced));
    let all_but_overage = covers_all_but_overage(terms, meter);
    for group in groups {
        if group.quantity < Amount::ZERO || group.overage < Amount::ZERO {
            return Err(RateError::Negative(meter.clone()));
        }
        let price = plan.and_then(|plan| plan.price(meter, &group.properties, month));
        let (included, unpriced) = match price {
            Some((place, price)) => {
                let number = u32::try_from(place).unwrap_or(u32::MAX).saturating_add(1);
                let sum = assigned.quantities.entry(number).or_default();
                let taken = portion(price, group);
                *sum = add(*sum, taken).ok_or_else(|| RateError::TooMuch(meter.clone()))?;
                ((group.quantity - taken).at_least_zero(), Amount::ZERO)
            }
            None if all_but_overage && !has_prices => {
                let covered = (group.quantity - group.overage).at_least_zero();
                (covered, group.quantity - covered)
            }
            None => (Amount::ZERO, group.quantity),
        };
        for (sums, quantity) in [(&mut assigned.included, included), (&mut assigned.unpriced, unpriced)] {
            if quantity.is_positive() {
                let properties = declared(catalog.meter(meter), &group.properties);
                let sum = sums.entry((meter, properties)).or_default();
                *sum = add(*sum, quantity).ok_or_else(|| RateError::TooMuch(meter.clone()))?;
            }
        }
    }
    Ok(())
}

/// Whether credit covers of a meter what is no overage: it does not of one that burns none, and is not asked of one whose
/// allowance has no enforcement.
fn covers_all_but_overage(terms: &Terms<'_>, meter: &MeterId) -> bool {
    let counted = terms.catalog.meter(meter).map(|meter| &meter.aggregation);
    let allowance = terms.plan.and_then(|plan| plan.allowance(meter));
    counted.is_none_or(Aggregation::adds_up)
        && allowance.is_none_or(|allowance| allowance.enforcement != Enforcement::None)
}

/// Where credit is not asked, as much is included as the plan gives, in the order of the properties' values.
fn include_given(plan: &Plan, month: Period, assigned: &mut Assigned<'_>) {
    let given = plan.allowances.iter().filter(|allowance| allowance.enforcement == Enforcement::None);
    for Allowance { meter, amount, .. } in given {
        let is_priced = |price: &Price| price.meter.as_ref() == Some(meter) && price.months.contains(month);
        let mut left = if plan.prices.iter().any(is_priced) { Amount::ZERO } else { *amount };
        for (key, quantity) in assigned.unpriced.iter_mut().filter(|((of, _), _)| *of == meter) {
            let covered = left.min(*quantity);
            if covered.is_positive() {
                left -= covered;
                *quantity -= covered;
                *assigned.included.entry(key.clone()).or_default() += covered;
            }
        }
    }
    assigned.unpriced.retain(|_, quantity| quantity.is_positive());
}

fn unbilled(terms: &Terms<'_>, sums: Sums<'_>) -> Vec<Unbilled> {
    let unbilled = sums.into_iter().map(|((meter, properties), quantity)| Unbilled {
        meter: meter.clone(),
        properties,
        quantity,
        from: terms.from,
        until: terms.until,
    });
    unbilled.collect()
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
fn line(
    terms: &Terms<'_>,
    plan: &Plan,
    price: &Price,
    reference: PriceRef,
    quantity: Amount,
) -> Option<BillLine> {
    let currency = plan.currency(terms.catalog);
    let included = price.included.min(quantity);
    let billable = quantity - included;
    let fees = match (&price.meter, &price.model) {
        (Some(_), Model::Flat { .. }) => fee_of_usage(terms, plan, &reference),
        _ => terms.fees,
    };
    let parts = match &price.meter {
        None => fee_of_plan(&price.model, fees)?,
        Some(_) => parts(&price.model, billable, fees)?,
    };
    let subtotal =
        parts.iter().try_fold(Exact::ZERO, |sum: Exact, part: &Part| sum.checked_add(part.amount))?;
    let discounted = subtotal.less_percent(price.discount_percent);
    let (exact, bound) = bounded(discounted, price, terms.fees, cap(plan, terms.fees))?;
    let mut line = BillLine {
        description: arithmetic::description(terms, plan, price),
        price: reference,
        from: terms.from,
        until: terms.until,
        fees,
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
    line.arithmetic = arithmetic::of_line(terms, plan, &line, price);
    Some(line)
}

/// A fee of the plan is owed each month.
fn fee_of_plan(model: &Model, fees: Share) -> Option<Vec<Part>> {
    match model {
        Model::Flat { fee } => Some(vec![Part::fee(Amount::ZERO, *fee, fees)?]),
        // Reading the catalog refuses these without a meter; nothing is used, so nothing is owed.
        Model::PerUnit { .. } | Model::Package { .. } | Model::Graduated { .. } | Model::Volume { .. } => {
            Some(Vec::new())
        }
    }
}

/// What the model makes of a quantity, part by part; `None` if an amount cannot be kept.
fn parts(model: &Model, billable: Amount, fees: Share) -> Option<Vec<Part>> {
    if !billable.is_positive() {
        return Some(Vec::new());
    }
    match model {
        Model::Flat { fee } => Some(vec![Part::fee(billable, *fee, fees)?]),
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

/// The share of a maximum: what was used when no day was the plan's own is capped as on one day. A maximum of nothing
/// would make it free.
fn cap(plan: &Plan, fees: Share) -> Share {
    match plan.proration {
        Proration::Daily => Share { days: fees.days.max(1), ..fees },
        Proration::None => Share::WHOLE,
    }
}

/// The share of a flat fee for usage, which is owed where something is used: by days as a maximum is, or whole and once,
/// with the first usage of the month.
fn fee_of_usage(terms: &Terms<'_>, plan: &Plan, price: &PriceRef) -> Share {
    let Share { of, .. } = terms.fees;
    let is_same = |line: &BillLine| line.price.plan == price.plan && line.price.number == price.number;
    let is_charged = |line: &BillLine| is_same(line) && line.fees.days > 0 && !line.parts.is_empty();
    match plan.proration {
        Proration::Daily => cap(plan, terms.fees),
        Proration::None if terms.before.iter().any(is_charged) => Share { days: 0, of },
        Proration::None => Share { days: of, of },
    }
}

/// The minimum first, then the maximum.
fn bounded(amount: Exact, price: &Price, fees: Share, cap: Share) -> Option<(Exact, Option<Bound>)> {
    if let Some(minimum) = price.minimum {
        let least = shared(minimum, fees)?;
        if amount < least {
            return Some((least, Some(Bound::Minimum(minimum))));
        }
    }
    if let Some(maximum) = price.maximum {
        let most = shared(maximum, cap)?;
        if amount > most {
            return Some((most, Some(Bound::Maximum(maximum))));
        }
    }
    Some((amount, None))
}

/// The share of an amount of money.
fn shared(amount: Amount, share: Share) -> Option<Exact> {
    Some(Exact::of(amount)?.of_days(share.days, share.of))
}

fn add(one: Amount, two: Amount) -> Option<Amount> {
    one.billionths().checked_add(two.billionths()).map(Amount::from_billionths)
}

impl Part {
    /// A fee, for a quantity that is not multiplied by anything.
    fn fee(quantity: Amount, flat_fee: Amount, fees: Share) -> Option<Self> {
        let amount = shared(flat_fee, fees)?;
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

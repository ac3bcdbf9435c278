//! What goes into rating, and the lines that come out of it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::catalog::Portion;
use crate::{Amount, Exact, MeterId, Money, Period, PlanId};

/// What an org used of a meter in a month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterUsage {
    /// Of what.
    pub meter: MeterId,
    /// By the values of the properties that the meter is counted by; a meter without any has one group without any.
    pub groups: Vec<UsageGroup>,
}

/// Usage that agrees in the properties its meter is counted by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageGroup {
    /// The values; a property that the usage did not have is left out.
    pub properties: BTreeMap<String, String>,
    /// What the meter's aggregation made of the quantities, less what was reversed.
    pub quantity: Amount,
    /// The part of it that no credit covered.
    pub overage: Amount,
}

/// How many of a month's days, of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The days.
    pub days: u32,
    /// Those of the month.
    pub of: u32,
}

impl Share {
    /// The whole month.
    pub const WHOLE: Self = Self { days: 1, of: 1 };

    /// Whether it is the whole month.
    #[must_use]
    pub const fn is_whole(self) -> bool {
        self.days >= self.of
    }
}

/// A month, rated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rated {
    /// Which month.
    pub month: Period,
    /// The parts of the month in which one plan, or none, was in force, in order.
    pub segments: Vec<Segment>,
    /// By segment and in the order of the plan's prices; those that nothing was used of, and nothing is owed for, are left
    /// out.
    pub lines: Vec<BillLine>,
    /// The sum of the lines.
    pub total: Money,
    /// Usage that no price takes because the plan's credit, or a top-up, covered it.
    pub included: Vec<Unbilled>,
    /// Usage that no price takes and no credit covered: a gap in the catalog, or free on purpose.
    pub unpriced: Vec<Unbilled>,
}

impl Rated {
    /// The last plan of the month.
    #[must_use]
    pub fn plan(&self) -> Option<&PlanId> {
        self.segments.iter().rev().find_map(|segment| segment.plan.as_ref())
    }

    /// The version of the catalog that the end of the month was rated by.
    #[must_use]
    pub fn catalog(&self) -> u32 {
        self.segments.last().map_or(0, |segment| segment.catalog)
    }
}

/// A part of a month in which one plan, or none, was in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The number of the plan in the org's history, under which its usage is counted; zero: before the first.
    pub number: u32,
    /// The plan; `None`: there was none, or the catalog lacks it.
    pub plan: Option<PlanId>,
    /// The version of the catalog that it is rated by: the one in force at its end.
    pub catalog: u32,
    /// Its first moment.
    pub from: Option<Timestamp>,
    /// The first moment after it.
    pub until: Option<Timestamp>,
    /// The calendar days that are its own: a day is that of the first plan in force on it.
    pub days: Share,
    /// The share of its fees, minimums and maximums that is owed.
    pub fees: Share,
}

/// What usage of a segment of a month comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RatedSegment {
    /// In the order of the plan's prices.
    pub lines: Vec<BillLine>,
    /// The sum of the lines, in the plan's currency.
    pub total: Money,
    /// See [`Rated::included`].
    pub included: Vec<Unbilled>,
    /// See [`Rated::unpriced`].
    pub unpriced: Vec<Unbilled>,
}

/// Usage that no price takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unbilled {
    /// Of what.
    pub meter: MeterId,
    /// The values of the properties that the meter is counted by.
    pub properties: BTreeMap<String, String>,
    /// How much.
    pub quantity: Amount,
    /// The first moment of the part of the month in which it was used.
    pub from: Option<Timestamp>,
    /// The first moment after it.
    pub until: Option<Timestamp>,
}

/// Which price: it stays to be found as long as the catalog's version does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceRef {
    /// The version of the catalog.
    pub catalog: u32,
    /// The plan.
    pub plan: PlanId,
    /// Its place in the plan's list: 1, 2, 3 …
    pub number: u32,
}

/// What one price made of a month's usage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BillLine {
    /// What it is for, for people.
    pub description: String,
    /// The price.
    pub price: PriceRef,
    /// First moment of the part of the month that it is of.
    pub from: Option<Timestamp>,
    /// First moment after it.
    pub until: Option<Timestamp>,
    /// The share of the fee, minimum and maximum that is owed.
    pub fees: Share,
    /// Usage of what; `None`: a fee of the plan itself.
    pub meter: Option<MeterId>,
    /// The values of properties that the price asks for.
    pub properties: BTreeMap<String, String>,
    /// Which part of the usage is billed.
    pub portion: Portion,
    /// How much there was of it.
    pub quantity: Amount,
    /// How much of that was free.
    pub included: Amount,
    /// How much of it is paid for: quantity less included.
    pub billable: Amount,
    /// The name of the model: `per_unit`.
    pub model: String,
    /// What the model made of it, tier by tier.
    pub parts: Vec<Part>,
    /// The sum of the parts.
    pub subtotal: Exact,
    /// Percent taken off the subtotal.
    pub discount_percent: Amount,
    /// What they left.
    pub discounted: Exact,
    /// The minimum or maximum that took its place.
    pub bound: Option<Bound>,
    /// What is owed, before rounding.
    pub exact: Exact,
    /// What is owed: rounded once, half to even.
    pub amount: Money,
    /// The whole calculation in a line: `1,200 reports − 200 included = 1,000 × 0.01 USD = 10.00 USD`.
    pub arithmetic: String,
}

/// What one tier, or a model without tiers, made of a quantity: `units × unit_price + flat_fee`; of a fee that is shared by
/// days its share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// The quantity after which the tier begins; zero without tiers.
    pub from: Amount,
    /// The last quantity in it; `None`: no end.
    pub to: Option<Amount>,
    /// How much of the quantity falls in it.
    pub quantity: Amount,
    /// What the unit price is multiplied by: the quantity, or the number of packages.
    pub units: Amount,
    /// The price of a unit, or of a package.
    pub unit_price: Amount,
    /// What is owed once.
    pub flat_fee: Amount,
    /// What it comes to.
    pub amount: Exact,
}

/// What took the place of the calculated amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The amount was below it, or below its share.
    Minimum(Amount),
    /// The amount was above it, or above its share.
    Maximum(Amount),
}

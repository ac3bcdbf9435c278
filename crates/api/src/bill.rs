//! Bills.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Decimal, Month};

/// What an organization owes for a month. Amounts of money are texts with all digits of the currency's minor unit.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BillReply {
    /// The organization.
    pub org: String,
    /// Its name.
    pub name: Option<String>,
    /// The month, such as `2026-11`, in the organization's time zone.
    pub month: String,
    /// `estimate`: it changes with usage and prices; `closed`: it never changes.
    pub status: BillStatus,
    /// Its number among the closed bills of the organization; null in an estimate.
    pub number: Option<u32>,
    /// When it was closed; null in an estimate.
    pub closed_at: Option<String>,
    /// First moment of the month, by the organization's clocks.
    #[schema(example = "2026-10-01T00:00:00+02:00")]
    pub from: Option<String>,
    /// First moment after it.
    pub until: Option<String>,
    /// The last plan of the month; null: there was none.
    pub plan: Option<String>,
    /// The version of the catalog whose prices the end of the month was rated by.
    pub catalog: u32,
    /// The parts of the month in which one plan, or none, was in force, in order.
    pub segments: Vec<SegmentItem>,
    /// What the money is in: a code of ISO 4217.
    pub currency: String,
    /// A line for each price that something is owed for.
    pub lines: Vec<BillLineItem>,
    /// What closed months came to differ by since, because usage was taken back or came late.
    pub adjustments: Vec<AdjustmentItem>,
    /// The sum of the lines and adjustments.
    #[schema(example = "65.50")]
    pub total: String,
    /// Usage that no price takes, because the plan's credit or a top-up covered it.
    pub included: Vec<UnbilledItem>,
    /// Usage that no price takes and no credit covered.
    pub unpriced: Vec<UnbilledItem>,
}

/// A part of a month in which one plan, or none, was in force.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SegmentItem {
    /// The plan; null: there was none.
    pub plan: Option<String>,
    /// First moment, by the organization's clocks.
    pub from: Option<String>,
    /// First moment after it.
    pub until: Option<String>,
    /// How many days of the month are charged to the plan: a day is that of the first plan in force on it.
    pub days: u32,
    /// The days of the month.
    pub days_of_month: u32,
    /// The version of the catalog whose prices were taken.
    pub catalog: u32,
}

/// Whether a bill still changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BillStatus {
    /// It changes with usage and prices.
    Estimate,
    /// It never changes.
    Closed,
}

/// How a bill is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BillFormat {
    /// JSON.
    Json,
    /// A table: comma-separated values, a row for each line and adjustment.
    Csv,
    /// A page that prints.
    Html,
    /// Rows of FOCUS 1.2, the FinOps Open Cost and Usage Specification, as comma-separated values.
    Focus,
}

impl BillFormat {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Json, Self::Csv, Self::Html, Self::Focus];

    /// Its name.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Html => "html",
            Self::Focus => "focus",
        }
    }
}

/// What one price made of a month's usage.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BillLineItem {
    /// What it is for, for people.
    pub description: String,
    /// The plan whose price it is.
    pub plan: String,
    /// First moment of the part of the month that it is of, by the organization's clocks.
    pub from: Option<String>,
    /// First moment after it.
    pub until: Option<String>,
    /// The meter; null: a fee of the plan itself.
    pub meter: Option<String>,
    /// The values of properties that the price asks for.
    pub properties: BTreeMap<String, String>,
    /// `all` usage is billed, or the `overage`.
    pub portion: String,
    /// How much was used.
    pub quantity: Decimal,
    /// How much of that was free.
    pub included: Decimal,
    /// How much of it is paid for.
    pub billable: Decimal,
    /// `flat`, `per_unit`, `package`, `graduated` or `volume`.
    pub model: String,
    /// What the model made of it, tier by tier.
    pub parts: Vec<BillPart>,
    /// Percent taken off the parts' sum.
    pub discount_percent: Decimal,
    /// What is owed, before it was rounded; the first 29 decimals where days of a month make a fraction without end.
    pub exact: String,
    /// What is owed.
    #[schema(example = "10.00")]
    pub amount: String,
    /// The whole calculation.
    #[schema(example = "1,200 reports − 200 included = 1,000 × 0.01 USD = 10.00 USD")]
    pub arithmetic: String,
    /// The price's place in the plan's list: 1, 2, 3 …
    pub price: u32,
}

/// What one tier, or a model without tiers, made of a quantity.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BillPart {
    /// The quantity after which the tier begins.
    pub from: Decimal,
    /// The last quantity in it; null: no end.
    pub to: Option<Decimal>,
    /// How much of the quantity falls in it.
    pub quantity: Decimal,
    /// What the unit price is multiplied by: the quantity, or the number of packages.
    pub units: Decimal,
    /// The price of a unit, or of a package.
    #[schema(example = "0.00000015")]
    pub unit_price: String,
    /// What is owed once, for a whole month.
    #[schema(example = "49.00")]
    pub flat_fee: String,
    /// What it comes to, exactly; of a fee the share of the days.
    pub amount: String,
}

/// What a closed month came to differ by.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AdjustmentItem {
    /// What it is for, for people.
    pub description: String,
    /// The month.
    pub month: String,
    /// The number of its bill.
    pub bill: u32,
    /// What was billed for it so far.
    pub billed: String,
    /// What its usage is worth now, by the prices it was billed by.
    pub now: String,
    /// The difference; below zero where usage was taken back.
    #[schema(example = "-1.20")]
    pub amount: String,
}

/// Usage that no price takes.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct UnbilledItem {
    /// The meter.
    pub meter: String,
    /// The values of the properties that the meter is counted by.
    pub properties: BTreeMap<String, String>,
    /// How much.
    pub quantity: Decimal,
    /// First moment of the part of the month in which it was used, by the organization's clocks.
    pub from: Option<String>,
    /// First moment after it.
    pub until: Option<String>,
}

/// The bills of an organization, the latest month first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BillPage {
    /// The organization.
    pub org: String,
    /// The bills.
    pub bills: Vec<BillItem>,
    /// From where the next page is read; null when there is nothing more.
    pub next: Option<String>,
}

/// A bill in a list.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BillItem {
    /// The month, such as `2026-11`.
    pub month: String,
    /// Whether it still changes.
    pub status: BillStatus,
    /// Its number among the closed bills of the organization; null in an estimate.
    pub number: Option<u32>,
    /// What the money is in: a code of ISO 4217; null where the month cannot be rated.
    pub currency: Option<String>,
    /// The sum of its lines and adjustments; null where the month cannot be rated.
    #[schema(example = "65.50")]
    pub total: Option<String>,
    /// Why the month cannot be rated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Closes the bill of a month.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CloseRequest {
    /// The month, such as `2026-10`; it must be over in the organization's time zone.
    #[schema(value_type = Month)]
    pub month: String,
}

/// Asks what another catalog would change.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WhatIfRequest {
    /// The catalog as TOML.
    pub catalog: String,
    /// The month whose usage is rated, such as `2026-10`.
    #[schema(value_type = Month)]
    pub month: String,
}

/// What another catalog would change.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct WhatIfReply {
    /// The month whose usage was rated.
    pub month: String,
    /// How many organizations have a plan with prices, now or by the other catalog.
    pub orgs: u64,
    /// How many of them would owe something else.
    pub changed: u64,
    /// The sums over all organizations, by currency.
    pub totals: Vec<WhatIfTotal>,
    /// How many organizations would have been denied otherwise than by the catalog in force.
    pub denied_otherwise: u64,
    /// What would have been denied, over all organizations, by meter and reason. Only usage is known that was asked for
    /// and allowed: what was denied at the time is in no ledger.
    pub would_be_denied: Vec<WhatIfDenied>,
    /// Those that would owe something else or would have been denied otherwise, by id; at most 1,000 are listed.
    pub items: Vec<WhatIfItem>,
}

/// The sums in a currency.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct WhatIfTotal {
    /// The currency.
    pub currency: String,
    /// What is owed by the catalog in force.
    pub now: String,
    /// What would be owed by the other.
    pub then: String,
    /// The difference.
    pub difference: String,
}

/// What another catalog would change for an organization.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct WhatIfItem {
    /// The organization.
    pub org: String,
    /// What is owed by the catalog in force, with its currency; null: nothing can be said, see `problem`.
    pub now: Option<String>,
    /// What would be owed by the other.
    pub then: Option<String>,
    /// The difference, where both are in one currency.
    pub difference: Option<String>,
    /// Why there is no amount: the other catalog lacks the plan, say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What would have been denied of the usage that was asked for and allowed, by meter and reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub would_be_denied: Vec<WhatIfDenied>,
}

/// Usage that was allowed, and would have been denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhatIfDenied {
    /// Of which meter.
    pub meter: String,
    /// The code of the denial.
    #[schema(example = "org_limit_reached")]
    pub reason: String,
    /// How many usages the catalog in force would deny.
    pub usages_now: u64,
    /// How many the other would deny.
    pub usages_then: u64,
    /// How much the catalog in force would deny.
    pub quantity_now: Decimal,
    /// How much the other would deny.
    pub quantity_then: Decimal,
}

//! Bills as rows of FOCUS 1.2, the FinOps Open Cost and Usage Specification: a row for each line and adjustment.
//!
//! What each column holds, and why, is in `docs/focus.md`. Costs are exact: `BilledCost` adds up to the bill's total.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tollgate_domain::catalog::Portion;
use tollgate_domain::{Adjustment, Bill, BillLine, Catalog, MeterId, Org, Period, PlanId, Timestamp};

use super::adjustment_item;
use crate::csv::{Cell, Table};

/// Who sells, to whom, by what.
pub(crate) struct Seller<'a> {
    /// The name of who sells.
    pub(crate) provider: &'a str,
    /// Who buys.
    pub(crate) org: &'a Org,
    /// The catalog in force, for names and units.
    pub(crate) catalog: &'a Catalog,
}

/// What all rows of a bill have in common.
struct Account<'a> {
    seller: &'a Seller<'a>,
    bill: &'a Bill,
    invoice: String,
}

/// One row.
struct Charge<'a> {
    account: &'a Account<'a>,
    /// The plan's id, its name, and the version of the catalog.
    plan: &'a str,
    service: &'a str,
    catalog: u32,
    category: &'static str,
    frequency: &'static str,
    description: Cow<'a, str>,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
    billed: String,
    /// By the price list, before discounts, minimum and maximum.
    list: String,
    /// After them, before rounding.
    contracted: String,
    arithmetic: Cow<'a, str>,
    /// The bill that is put right, if one is.
    corrects: Option<String>,
    priced: Option<Priced<'a>>,
}

/// What a charge is a price of.
struct Priced<'a> {
    quantity: String,
    unit: Cow<'a, str>,
    list_price: String,
    contracted_price: String,
    /// How much was used, in which unit; a fee of the plan has none.
    consumed: Option<(String, String)>,
    sku: String,
    meter: &'a str,
    price: String,
    details: Value,
    tags: &'a BTreeMap<String, String>,
}

/// A column: its name, and what a charge says in it.
type Column = (&'static str, fn(&'_ Charge<'_>) -> Cell<'static>);

const COLUMNS: [Column; 47] = [
    ("BilledCost", |charge| decimal(&charge.billed)),
    ("BillingAccountId", |charge| text(charge.account.seller.org.id.as_str())),
    ("BillingAccountName", |charge| {
        let name = charge.account.bill.name.as_deref();
        text(name.unwrap_or(charge.account.seller.org.id.as_str()))
    }),
    ("BillingAccountType", |_| Cell::plain("Organization")),
    ("BillingCurrency", |charge| Cell::plain(charge.account.bill.total.currency)),
    ("BillingPeriodEnd", |charge| Cell::maybe(charge.account.bill.until)),
    ("BillingPeriodStart", |charge| Cell::maybe(charge.account.bill.from)),
    ("ChargeCategory", |charge| Cell::plain(charge.category)),
    ("ChargeClass", |charge| Cell::maybe(charge.corrects.as_ref().map(|_| "Correction"))),
    ("ChargeDescription", |charge| text(&charge.description)),
    ("ChargeFrequency", |charge| Cell::plain(charge.frequency)),
    ("ChargePeriodEnd", |charge| Cell::maybe(charge.until)),
    ("ChargePeriodStart", |charge| Cell::maybe(charge.from)),
    // Rules about ConsumedQuantity ask for it: nothing here is used up by a commitment.
    ("CommitmentDiscountStatus", |_| Cell::Empty),
    ("ConsumedQuantity", |charge| {
        charge.priced(|priced| priced.consumed.as_ref().map(|(much, _)| decimal(much)))
    }),
    ("ConsumedUnit", |charge| charge.priced(|priced| priced.consumed.as_ref().map(|(_, unit)| text(unit)))),
    ("ContractedCost", |charge| decimal(&charge.contracted)),
    ("ContractedUnitPrice", |charge| charge.priced(|priced| Some(decimal(&priced.contracted_price)))),
    ("EffectiveCost", |charge| decimal(&charge.billed)),
    ("InvoiceId", |charge| text(&charge.account.invoice)),
    ("InvoiceIssuerName", |charge| text(charge.account.seller.provider)),
    ("ListCost", |charge| decimal(&charge.list)),
    ("ListUnitPrice", |charge| charge.priced(|priced| Some(decimal(&priced.list_price)))),
    ("PricingCategory", |charge| charge.priced(|_| Some(Cell::plain("Standard")))),
    ("PricingCurrency", |charge| Cell::plain(charge.account.bill.total.currency)),
    ("PricingCurrencyContractedUnitPrice", |charge| {
        charge.priced(|priced| Some(decimal(&priced.contracted_price)))
    }),
    ("PricingCurrencyEffectiveCost", |charge| decimal(&charge.billed)),
    ("PricingCurrencyListUnitPrice", |charge| charge.priced(|priced| Some(decimal(&priced.list_price)))),
    ("PricingQuantity", |charge| charge.priced(|priced| Some(decimal(&priced.quantity)))),
    ("PricingUnit", |charge| charge.priced(|priced| Some(text(&priced.unit)))),
    ("ProviderName", |charge| text(charge.account.seller.provider)),
    ("PublisherName", |charge| text(charge.account.seller.provider)),
    ("ServiceCategory", |_| Cell::plain("Other")),
    ("ServiceName", |charge| text(charge.service)),
    ("ServiceSubcategory", |_| Cell::plain("Other (Other)")),
    ("SkuId", |charge| charge.priced(|priced| Some(text(&priced.sku)))),
    ("SkuMeter", |charge| charge.priced(|priced| Some(text(priced.meter)))),
    ("SkuPriceDetails", |charge| charge.priced(|priced| Some(Cell::plain(&priced.details)))),
    ("SkuPriceId", |charge| charge.priced(|priced| Some(text(&priced.price)))),
    ("Tags", |charge| {
        charge.priced(|priced| (!priced.tags.is_empty()).then(|| Cell::plain(json!(priced.tags))))
    }),
    ("x_Arithmetic", |charge| text(&charge.arithmetic)),
    ("x_BillNumber", |charge| Cell::maybe(charge.account.bill.number)),
    ("x_BillStatus", |charge| {
        Cell::plain(if charge.account.bill.number.is_some() { "closed" } else { "estimate" })
    }),
    ("x_CatalogVersion", |charge| Cell::plain(charge.catalog)),
    ("x_CorrectedInvoiceId", |charge| charge.corrects.as_deref().map_or(Cell::Empty, text)),
    ("x_Month", |charge| Cell::plain(charge.account.bill.rated.month.label())),
    ("x_Plan", |charge| text(charge.plan)),
];

/// A bill as a table of FOCUS.
pub(crate) fn focus(seller: &Seller<'_>, bill: &Bill) -> String {
    let account = Account { seller, bill, invoice: invoice_id(seller.org, bill.rated.month) };
    let mut table = Table::new(COLUMNS.map(|(name, _)| name));
    let lines = bill.rated.lines.iter().map(|line| account.line(line));
    let adjustments = bill.adjustments.iter().map(|adjustment| account.adjustment(adjustment));
    for charge in lines.chain(adjustments) {
        table.row(COLUMNS.map(|(_, says)| says(&charge)));
    }
    table.into_text()
}

/// The id of a bill among those of all orgs and months; the same while it is an estimate.
fn invoice_id(org: &Org, month: Period) -> String {
    format!("{}/{}", org.id, month.label())
}

impl Account<'_> {
    fn line<'a>(&'a self, line: &'a BillLine) -> Charge<'a> {
        let is_usage = line.meter.is_some();
        Charge {
            account: self,
            plan: line.price.plan.as_str(),
            service: self.service(&line.price.plan),
            catalog: line.price.catalog,
            category: if is_usage { "Usage" } else { "Purchase" },
            frequency: if is_usage { "Usage-Based" } else { "Recurring" },
            description: line.description.as_str().into(),
            from: line.from.or(self.bill.from),
            until: line.until.or(self.bill.until),
            billed: line.amount.number(),
            list: line.subtotal.to_string(),
            contracted: line.exact.to_string(),
            arithmetic: line.arithmetic.as_str().into(),
            corrects: None,
            priced: Some(self.priced(line)),
        }
    }

    fn adjustment<'a>(&'a self, adjustment: &Adjustment) -> Charge<'a> {
        let item = adjustment_item(adjustment);
        let (from, until) = self.bill.zone.bounds(adjustment.month);
        let plan = self.bill.rated.plan();
        Charge {
            account: self,
            plan: plan.map_or("none", PlanId::as_str),
            service: plan.map_or("none", |plan| self.service(plan)),
            catalog: self.bill.rated.catalog(),
            category: "Adjustment",
            frequency: "One-Time",
            from,
            until,
            billed: item.amount.clone(),
            list: item.amount.clone(),
            contracted: item.amount.clone(),
            arithmetic: super::arithmetic_of(&item, self.bill.total.currency.code()).into(),
            description: item.description.into(),
            corrects: Some(invoice_id(self.seller.org, adjustment.month)),
            priced: None,
        }
    }

    /// The plan's name.
    fn service<'a>(&'a self, plan: &'a PlanId) -> &'a str {
        self.seller.catalog.plan(plan).map_or(plan.as_str(), |plan| plan.name.as_str())
    }

    /// Where one unit price makes the whole amount, it is the price; else the price is that of the month, once: tiers,
    /// fees, discounts and bounds come to no unit price.
    fn priced<'a>(&'a self, line: &'a BillLine) -> Priced<'a> {
        let unit = line.meter.as_ref().map(|meter| self.unit(meter));
        let by_unit = match (&line.parts[..], &unit) {
            ([part], Some(unit))
                if part.flat_fee.is_zero() && line.exact == part.amount && part.units.is_positive() =>
            {
                Some((part, if line.model == "package" { "Packages" } else { unit }))
            }
            _ => None,
        };
        let (quantity, priced_in, list_price, contracted_price) = match by_unit {
            Some((part, unit)) => {
                let price = part.unit_price.to_string();
                (part.units.to_string(), unit.to_owned().into(), price.clone(), price)
            }
            None => ("1".to_owned(), "Months".into(), line.subtotal.to_string(), line.exact.to_string()),
        };
        Priced {
            quantity,
            unit: priced_in,
            list_price,
            contracted_price,
            sku: sku(line),
            meter: line.meter.as_ref().map_or("subscription", MeterId::as_str),
            price: format!("{}/{}/{}", line.price.plan, line.price.catalog, line.price.number),
            details: details(line),
            tags: &line.properties,
            consumed: unit.map(|unit| (line.quantity.to_string(), unit)),
        }
    }

    /// The unit of a meter as FOCUS writes units, a plural with capitals: `Tokens`.
    fn unit(&self, meter: &MeterId) -> String {
        let unit = self.seller.catalog.meter(meter).map_or(meter.as_str(), |meter| meter.unit.as_str());
        let words = unit.split(' ').map(|word| {
            let mut letters = word.chars();
            letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect::<String>()
        });
        let mut unit = words.collect::<Vec<_>>().join(" ");
        if !unit.ends_with('s') {
            unit.push('s');
        }
        unit
    }
}

impl Charge<'_> {
    fn priced(&self, says: impl Fn(&Priced<'_>) -> Option<Cell<'static>>) -> Cell<'static> {
        self.priced.as_ref().and_then(says).unwrap_or_default()
    }
}

/// What is sold: the meter with the values that the price asks for, or the plan itself.
fn sku(line: &BillLine) -> String {
    let Some(meter) = &line.meter else { return line.price.plan.to_string() };
    let values: Vec<String> =
        line.properties.iter().map(|(name, value)| format!("/{name}={value}")).collect();
    format!("{meter}{}", values.concat())
}

/// The terms of the price; names of our own begin with `x_`, as FOCUS asks.
fn details(line: &BillLine) -> Value {
    let mut details = Map::from_iter([("x_Model".to_owned(), json!(line.model))]);
    if line.portion == Portion::Overage {
        details.insert("x_Portion".to_owned(), json!("overage"));
    }
    Value::Object(details)
}

fn text(text: &str) -> Cell<'static> {
    Cell::text(text.to_owned())
}

/// A decimal always has a point: readers that guess a column's type from its values must not take it for whole numbers.
fn decimal(number: &str) -> Cell<'static> {
    let point = if number.contains('.') { "" } else { ".0" };
    Cell::Plain(format!("{number}{point}").into())
}

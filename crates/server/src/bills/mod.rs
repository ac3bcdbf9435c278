//! A bill as it leaves: JSON here, a table, a page to print, and rows of FOCUS beside it.

mod focus;
mod page;
mod table;

use std::collections::BTreeMap;

use tollgate_api::{AdjustmentItem, BillLineItem, BillPart, BillReply, BillStatus, UnpricedItem};
use tollgate_domain::catalog::Portion;
use tollgate_domain::{Adjustment, Bill, BillLine, OrgId, Part};

pub(crate) use focus::{Seller, focus};
pub(crate) use page::html;
pub(crate) use table::csv;

/// A bill as JSON.
pub(crate) fn bill_reply(org: &OrgId, bill: &Bill) -> BillReply {
    let rated = &bill.rated;
    let time = |at: tollgate_domain::Timestamp| at.to_string();
    BillReply {
        org: org.to_string(),
        month: rated.month.label(),
        status: if bill.number.is_some() { BillStatus::Closed } else { BillStatus::Estimate },
        number: bill.number,
        closed_at: bill.closed_at.map(time),
        from: bill.from.map(time),
        until: bill.until.map(time),
        plan: rated.plan.to_string(),
        catalog: rated.catalog,
        currency: bill.total.currency.to_string(),
        lines: rated.lines.iter().map(line_item).collect(),
        adjustments: bill.adjustments.iter().map(adjustment_item).collect(),
        total: bill.total.number(),
        unpriced: rated
            .unpriced
            .iter()
            .map(|unpriced| UnpricedItem {
                meter: unpriced.meter.to_string(),
                properties: unpriced.properties.clone(),
                quantity: unpriced.quantity.into(),
            })
            .collect(),
    }
}

fn line_item(line: &BillLine) -> BillLineItem {
    BillLineItem {
        description: line.description.clone(),
        meter: line.meter.as_ref().map(ToString::to_string),
        properties: line.properties.clone(),
        portion: match line.portion {
            Portion::All => "all",
            Portion::Overage => "overage",
        }
        .to_owned(),
        quantity: line.quantity.into(),
        included: line.included.into(),
        billable: line.billable.into(),
        model: line.model.clone(),
        parts: line.parts.iter().map(part_item).collect(),
        discount_percent: line.discount_percent.into(),
        exact: line.exact.to_string(),
        amount: line.amount.number(),
        arithmetic: line.arithmetic.clone(),
        price: line.price.number,
    }
}

fn part_item(part: &Part) -> BillPart {
    BillPart {
        from: part.from.into(),
        to: part.to.map(Into::into),
        quantity: part.quantity.into(),
        units: part.units.into(),
        unit_price: part.unit_price.into(),
        flat_fee: part.flat_fee.into(),
        amount: part.amount.to_string(),
    }
}

fn adjustment_item(adjustment: &Adjustment) -> AdjustmentItem {
    let month = adjustment.month.label();
    AdjustmentItem {
        description: format!("Adjustment for {month}"),
        month,
        bill: adjustment.bill,
        billed: adjustment.billed.number(),
        now: adjustment.now.number(),
        amount: adjustment.amount.number(),
    }
}

/// How an adjustment came about, for people.
fn arithmetic_of(item: &AdjustmentItem, currency: &str) -> String {
    let AdjustmentItem { bill, billed, now, amount, .. } = item;
    format!("now {now} − billed {billed} (bill {bill}) = {amount} {currency}")
}

/// `model=a; region=x`
fn values(properties: &BTreeMap<String, String>) -> String {
    let values: Vec<String> = properties.iter().map(|(name, value)| format!("{name}={value}")).collect();
    values.join("; ")
}

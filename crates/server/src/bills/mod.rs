//! A bill as it leaves: JSON here, a table, a page to print, and rows of FOCUS beside it.

mod focus;
mod page;
mod table;

use std::collections::BTreeMap;

use tollgate_api::{
    AdjustmentItem, BillLineItem, BillPart, BillReply, BillStatus, SegmentItem, UnbilledItem,
};
use tollgate_domain::catalog::Portion;
use tollgate_domain::{
    Adjustment, Bill, BillLine, Currency, Exact, OrgId, Part, Segment, Timestamp, Unbilled,
};

pub(crate) use focus::{Seller, focus};
pub(crate) use page::html;
pub(crate) use table::csv;

/// A bill as JSON.
pub(crate) fn bill_reply(org: &OrgId, bill: &Bill) -> BillReply {
    let rated = &bill.rated;
    let time = |at: Timestamp| bill.zone.text(at);
    let unbilled = |unbilled: &Unbilled| UnbilledItem {
        meter: unbilled.meter.to_string(),
        properties: unbilled.properties.clone(),
        quantity: unbilled.quantity.into(),
        from: unbilled.from.map(time),
        until: unbilled.until.map(time),
    };
    let segment = |segment: &Segment| SegmentItem {
        plan: segment.plan.as_ref().map(ToString::to_string),
        from: segment.from.map(time),
        until: segment.until.map(time),
        days: segment.days.days,
        days_of_month: segment.days.of,
        catalog: segment.catalog,
    };
    BillReply {
        org: org.to_string(),
        name: bill.name.clone(),
        month: rated.month.label(),
        status: if bill.number.is_some() { BillStatus::Closed } else { BillStatus::Estimate },
        number: bill.number,
        closed_at: bill.closed_at.map(|at| at.to_string()),
        from: bill.from.map(time),
        until: bill.until.map(time),
        plan: rated.plan().map(ToString::to_string),
        catalog: rated.catalog(),
        segments: rated.segments.iter().map(segment).collect(),
        currency: bill.total.currency.to_string(),
        lines: rated.lines.iter().map(|line| line_item(bill, line)).collect(),
        adjustments: bill.adjustments.iter().map(adjustment_item).collect(),
        total: bill.total.number(),
        included: rated.included.iter().map(unbilled).collect(),
        unpriced: rated.unpriced.iter().map(unbilled).collect(),
    }
}

fn line_item(bill: &Bill, line: &BillLine) -> BillLineItem {
    let currency = line.amount.currency;
    BillLineItem {
        description: line.description.clone(),
        plan: line.price.plan.to_string(),
        from: line.from.map(|at| bill.zone.text(at)),
        until: line.until.map(|at| bill.zone.text(at)),
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
        parts: line.parts.iter().map(|part| part_item(part, currency)).collect(),
        discount_percent: line.discount_percent.into(),
        exact: line.exact.number(currency),
        amount: line.amount.number(),
        arithmetic: line.arithmetic.clone(),
        price: line.price.number,
    }
}

fn part_item(part: &Part, currency: Currency) -> BillPart {
    let fee = Exact::of(part.flat_fee).unwrap_or(Exact::ZERO);
    BillPart {
        from: part.from.into(),
        to: part.to.map(Into::into),
        quantity: part.quantity.into(),
        units: part.units.into(),
        unit_price: part.unit_price.to_string(),
        flat_fee: fee.number(currency),
        amount: part.amount.number(currency),
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

//! A bill as a table.

use tollgate_api::{BillReply, BillStatus};

use super::{arithmetic_of, values};
use crate::csv::{Cell, Table};

const COLUMNS: [&str; 20] = [
    "org",
    "name",
    "month",
    "status",
    "number",
    "plan",
    "catalog",
    "currency",
    "kind",
    "from",
    "until",
    "description",
    "meter",
    "properties",
    "quantity",
    "included",
    "billable",
    "unit_price",
    "amount",
    "arithmetic",
];

/// A bill as comma-separated values: a row for each line and adjustment, their amounts add up to the total.
pub(crate) fn csv(bill: &BillReply) -> String {
    let mut table = Table::new(COLUMNS);
    let status = match bill.status {
        BillStatus::Estimate => "estimate",
        BillStatus::Closed => "closed",
    };
    let mut row = |plan: Option<&str>, cells: [Cell<'_>; 12]| {
        let [
            kind,
            from,
            until,
            description,
            meter,
            properties,
            quantity,
            included,
            billable,
            price,
            amount,
            arithmetic,
        ] = cells;
        table.row([
            Cell::text(&bill.org),
            Cell::text(bill.name.as_deref().unwrap_or_default()),
            Cell::plain(&bill.month),
            Cell::plain(status),
            Cell::maybe(bill.number),
            Cell::text(plan.unwrap_or_default()),
            Cell::plain(bill.catalog),
            Cell::plain(&bill.currency),
            kind,
            from,
            until,
            description,
            meter,
            properties,
            quantity,
            included,
            billable,
            price,
            amount,
            arithmetic,
        ]);
    };
    for line in &bill.lines {
        let unit_price = match &line.parts[..] {
            [part] if part.unit_price != "0" => Cell::plain(&part.unit_price),
            _ => Cell::Empty,
        };
        row(
            Some(&line.plan),
            [
                Cell::plain(if line.meter.is_some() { "usage" } else { "fee" }),
                Cell::maybe(line.from.as_deref()),
                Cell::maybe(line.until.as_deref()),
                Cell::text(&line.description),
                Cell::text(line.meter.as_deref().unwrap_or_default()),
                Cell::text(values(&line.properties)),
                Cell::plain(line.quantity.0),
                Cell::plain(line.included.0),
                Cell::plain(line.billable.0),
                unit_price,
                Cell::plain(&line.amount),
                Cell::text(&line.arithmetic),
            ],
        );
    }
    for item in &bill.adjustments {
        row(
            bill.plan.as_deref(),
            [
                Cell::plain("adjustment"),
                Cell::Empty,
                Cell::Empty,
                Cell::text(&item.description),
                Cell::Empty,
                Cell::Empty,
                Cell::Empty,
                Cell::Empty,
                Cell::Empty,
                Cell::Empty,
                Cell::plain(&item.amount),
                Cell::text(arithmetic_of(item, &bill.currency)),
            ],
        );
    }
    table.into_text()
}

//! A bill as it leaves: JSON, a table of comma-separated values, a page to print.

use std::collections::BTreeMap;
use std::fmt::Write;

use tollgate_api::{AdjustmentItem, BillLineItem, BillPart, BillReply, BillStatus, UnpricedItem};
use tollgate_domain::catalog::Portion;
use tollgate_domain::{Adjustment, Bill, BillLine, OrgId, Part};

use crate::csv::cell;

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

/// A bill as comma-separated values (RFC 4180): a row for each line and adjustment, their amounts add up to the total.
pub(crate) fn csv(bill: &BillReply) -> String {
    let mut text = String::from(
        "org,month,status,number,plan,catalog,currency,kind,description,meter,properties,quantity,included,billable,\
         unit_price,amount,arithmetic\r\n",
    );
    let status = match bill.status {
        BillStatus::Estimate => "estimate",
        BillStatus::Closed => "closed",
    };
    let number = bill.number.map(|number| number.to_string()).unwrap_or_default();
    let catalog = bill.catalog.to_string();
    let head: [&str; 7] = [&bill.org, &bill.month, status, &number, &bill.plan, &catalog, &bill.currency];
    let head = head.map(cell).join(",");
    let mut row = |cells: [String; 10]| {
        text.push_str(&head);
        for cell in cells {
            text.push(',');
            text.push_str(&cell);
        }
        text.push_str("\r\n");
    };
    for line in &bill.lines {
        let unit_price = match &line.parts[..] {
            [part] if !part.unit_price.0.is_zero() => part.unit_price.0.to_string(),
            _ => String::new(),
        };
        row([
            if line.meter.is_some() { "usage" } else { "fee" }.to_owned(),
            cell(&line.description),
            cell(line.meter.as_deref().unwrap_or_default()),
            cell(values(&line.properties)),
            line.quantity.0.to_string(),
            line.included.0.to_string(),
            line.billable.0.to_string(),
            unit_price,
            line.amount.clone(),
            cell(&line.arithmetic),
        ]);
    }
    for item in &bill.adjustments {
        let arithmetic = arithmetic_of(item, &bill.currency);
        let [kind, description] = ["adjustment".to_owned(), cell(&item.description)];
        let [a, b, c, d, e, f] = [const { String::new() }; 6];
        row([kind, description, a, b, c, d, e, f, item.amount.clone(), cell(&arithmetic)]);
    }
    text
}

/// `model=a; region=x`
fn values(properties: &BTreeMap<String, String>) -> String {
    let values: Vec<String> = properties.iter().map(|(name, value)| format!("{name}={value}")).collect();
    values.join("; ")
}

const STYLE: &str = "body{font:14px/1.45 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;\
color:#1a1a1a}h1{font-size:1.5rem;margin:0 0 .25rem}table{border-collapse:collapse;width:100%;margin:1.5rem 0}\
th,td{text-align:left;padding:.4rem .5rem;border-bottom:1px solid #ccc;vertical-align:top}\
.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}small{color:#555;display:block}\
tfoot td{font-weight:600;border-bottom:0;border-top:2px solid #1a1a1a}dl{display:grid;\
grid-template-columns:max-content 1fr;gap:.15rem 1rem}dt{color:#555}dd{margin:0}\
@media print{body{margin:0;max-width:none}tr{break-inside:avoid}}";

/// A bill as a page that prints well: no scripts, nothing from elsewhere.
pub(crate) fn html(bill: &BillReply) -> String {
    let title = match bill.number {
        Some(number) => format!("Bill {number}"),
        None => "Estimate".to_owned(),
    };
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title} · {} · {}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<dl>\n",
        escaped(&bill.org),
        escaped(&bill.month)
    );
    let prices = format!("{}, catalogue version {}", bill.plan, bill.catalog);
    let period = [&bill.from, &bill.until].map(|at| at.as_deref().unwrap_or("-")).join(" until ");
    for (name, value) in [
        ("Organisation", Some(bill.org.as_str())),
        ("Month", Some(bill.month.as_str())),
        ("Period", Some(period.as_str())),
        ("Closed", bill.closed_at.as_deref()),
        ("Prices", Some(prices.as_str())),
    ] {
        if let Some(value) = value {
            let _ = writeln!(page, "<dt>{name}</dt><dd>{}</dd>", escaped(value));
        }
    }
    let currency = escaped(&bill.currency);
    let _ = write!(
        page,
        "</dl>\n<table>\n<thead><tr><th>Description</th><th class=\"n\">Quantity</th>\
         <th class=\"n\">{currency}</th></tr></thead>\n<tbody>\n"
    );
    for line in &bill.lines {
        let quantity = if line.meter.is_some() { line.quantity.0.to_string() } else { String::new() };
        html_row(&mut page, &line.description, &line.arithmetic, &quantity, &line.amount);
    }
    for item in &bill.adjustments {
        let arithmetic = arithmetic_of(item, &bill.currency);
        html_row(&mut page, &item.description, &arithmetic, "", &item.amount);
    }
    let total = escaped(&bill.total);
    let _ = write!(
        page,
        "</tbody>\n<tfoot><tr><td colspan=\"2\">Total</td><td class=\"n\">{total}</td></tr></tfoot>\n</table>\n"
    );
    if !bill.unpriced.is_empty() {
        page.push_str("<p>Used, and under no price:</p>\n<ul>\n");
        for item in &bill.unpriced {
            let text = format!("{} {} {}", item.quantity.0, item.meter, values(&item.properties));
            let _ = writeln!(page, "<li>{}</li>", escaped(text.trim_end()));
        }
        page.push_str("</ul>\n");
    }
    if bill.number.is_none() {
        page.push_str("<p>An estimate: it changes with usage and prices until the month is closed.</p>\n");
    }
    page.push_str("</body>\n</html>\n");
    page
}

fn html_row(page: &mut String, description: &str, arithmetic: &str, quantity: &str, amount: &str) {
    let [description, arithmetic, quantity, amount] =
        [description, arithmetic, quantity, amount].map(escaped);
    let _ = writeln!(
        page,
        "<tr><td>{description}<small>{arithmetic}</small></td><td class=\"n\">{quantity}</td>\
         <td class=\"n\">{amount}</td></tr>"
    );
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_hold_no_formulas() {
        for (text, wanted) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"a\"", "\"say \"\"a\"\"\""),
            ("=1+1", "'=1+1"),
            ("-x,y", "\"'-x,y\""),
            ("", ""),
        ] {
            assert_eq!(cell(text), wanted);
        }
    }

    #[test]
    fn what_callers_wrote_is_text_in_a_page() {
        assert_eq!(escaped("<b onclick='x'>&\"</b>"), "&lt;b onclick=&#39;x&#39;&gt;&amp;&quot;&lt;/b&gt;");
    }
}

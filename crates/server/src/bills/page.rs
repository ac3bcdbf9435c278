//! A bill as a page that prints well.

use std::fmt::Write;

use tollgate_api::{BillReply, UnbilledItem};

use super::{arithmetic_of, values};

const STYLE: &str = "body{font:14px/1.45 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;\
color:#1a1a1a}h1{font-size:1.5rem;margin:0 0 .25rem}table{border-collapse:collapse;width:100%;margin:1.5rem 0}\
th,td{text-align:left;padding:.4rem .5rem;border-bottom:1px solid #ccc;vertical-align:top}\
.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}small{color:#555;display:block}\
tfoot td{font-weight:600;border-bottom:0;border-top:2px solid #1a1a1a}dl{display:grid;\
grid-template-columns:max-content 1fr;gap:.15rem 1rem}dt{color:#555}dd{margin:0}\
@page{margin:18mm}@media print{body{margin:0;padding:0;max-width:none}h1,dl{break-after:avoid}tr,li{break-inside:avoid}\
thead{display:table-header-group}tfoot{display:table-row-group;break-before:avoid}}";

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
        escaped(bill.name.as_ref().unwrap_or(&bill.org)),
        escaped(&bill.month)
    );
    let prices = bill.plan.as_ref().map(|plan| format!("{plan}, catalog version {}", bill.catalog));
    let period = period(bill.from.as_deref(), bill.until.as_deref());
    for (name, value) in [
        ("Name", bill.name.as_deref()),
        ("Organization", Some(bill.org.as_str())),
        ("Month", Some(bill.month.as_str())),
        ("Period", Some(period.as_str())),
        ("Closed", bill.closed_at.as_deref()),
        ("Prices", prices.as_deref()),
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
    let changes = bill.segments.len() > 1;
    for line in &bill.lines {
        let mut arithmetic = line.arithmetic.clone();
        if changes {
            let period = self::period(line.from.as_deref(), line.until.as_deref());
            arithmetic = format!("{arithmetic} · {}, {period}", line.plan);
        }
        let quantity = if line.meter.is_some() { line.quantity.0.to_string() } else { String::new() };
        html_row(&mut page, &line.description, &arithmetic, &quantity, &line.amount);
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
    unbilled(&mut page, "Included, without a price of its own:", &bill.included);
    unbilled(&mut page, "Used, and under no price:", &bill.unpriced);
    if bill.number.is_none() {
        page.push_str("<p>An estimate: it changes with usage and prices until the month is closed.</p>\n");
    }
    page.push_str("</body>\n</html>\n");
    page
}

fn period(from: Option<&str>, until: Option<&str>) -> String {
    [from, until].map(|at| at.unwrap_or("-")).join(" until ")
}

/// A list of usage that makes no line.
fn unbilled(page: &mut String, heading: &str, items: &[UnbilledItem]) {
    if items.is_empty() {
        return;
    }
    let _ = writeln!(page, "<p>{heading}</p>\n<ul>");
    for item in items {
        let text = format!("{} {} {}", item.quantity.0, item.meter, values(&item.properties));
        let _ = writeln!(page, "<li>{}</li>", escaped(text.trim_end()));
    }
    page.push_str("</ul>\n");
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
    use std::collections::BTreeMap;

    use tollgate_api::{AdjustmentItem, BillLineItem, BillStatus, Decimal};
    use tollgate_domain::Amount;

    use super::*;

    /// A bill in which every text is one that would be markup.
    fn hostile() -> BillReply {
        let text = || "</td><script>'&\"".to_owned();
        let none = || Decimal(Amount::ZERO);
        let properties = BTreeMap::from([(text(), text())]);
        BillReply {
            org: text(),
            name: Some(text()),
            month: text(),
            status: BillStatus::Estimate,
            number: None,
            closed_at: Some(text()),
            from: Some(text()),
            until: Some(text()),
            plan: Some(text()),
            catalog: 1,
            segments: Vec::new(),
            currency: text(),
            lines: vec![BillLineItem {
                description: text(),
                plan: text(),
                from: Some(text()),
                until: Some(text()),
                meter: Some(text()),
                properties: properties.clone(),
                portion: text(),
                quantity: none(),
                included: none(),
                billable: none(),
                model: text(),
                parts: Vec::new(),
                discount_percent: none(),
                exact: text(),
                amount: text(),
                arithmetic: text(),
                price: 1,
            }],
            adjustments: vec![AdjustmentItem {
                description: text(),
                month: text(),
                bill: 1,
                billed: text(),
                now: text(),
                amount: text(),
            }],
            total: text(),
            included: Vec::new(),
            unpriced: vec![UnbilledItem {
                meter: text(),
                properties,
                quantity: none(),
                from: Some(text()),
                until: Some(text()),
            }],
        }
    }

    #[test]
    fn what_callers_wrote_is_text_in_a_page() {
        assert_eq!(escaped("<b onclick='x'>&\"</b>"), "&lt;b onclick=&#39;x&#39;&gt;&amp;&quot;&lt;/b&gt;");
        let page = html(&hostile());
        assert!(!page.contains("<script") && !page.contains("'&"), "{page}");
        assert_eq!(page.matches("&lt;script&gt;&#39;&amp;&quot;").count(), 23, "{page}");
        let tags =
            ["html", "head", "body", "table", "thead", "tbody", "tfoot", "tr", "td", "th", "dl", "ul", "li"];
        for tag in tags {
            let [open, close] = [format!("<{tag}"), format!("</{tag}>")];
            let opened =
                [">", " "].map(|end| page.matches(&format!("{open}{end}")).count()).iter().sum::<usize>();
            assert_eq!(opened, page.matches(&close).count(), "{tag}: {page}");
        }
    }

    #[test]
    fn a_page_prints_its_total_once_and_breaks_between_rows() {
        for rule in [
            "@page{",
            "tr,li{break-inside:avoid}",
            "thead{display:table-header-group}",
            // A foot is repeated on every page unless it is told to be a row like others.
            "tfoot{display:table-row-group;break-before:avoid}",
        ] {
            assert!(STYLE.contains(rule), "{rule}");
        }
    }
}

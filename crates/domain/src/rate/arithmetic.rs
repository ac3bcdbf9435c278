//! The calculation of a line as people write it.

use super::{BillLine, Bound, Part, Terms};
use crate::catalog::{Model, Portion, Price};
use crate::{Amount, Currency, Exact};

/// What a line is for: the price's own name, or one made from the meter's.
pub(super) fn description(terms: &Terms<'_>, price: &Price) -> String {
    if let Some(name) = &price.name {
        return name.clone();
    }
    let Some(id) = &price.meter else { return format!("{}, a month", terms.plan.name) };
    let name = terms.catalog.meter(id).map_or(id.as_str(), |meter| meter.name.as_str());
    let values: Vec<_> = price.matches.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let values = if values.is_empty() { String::new() } else { format!(", {}", values.join(", ")) };
    format!("{name}{values}{}", beyond(price.portion))
}

/// `1,200 reports − 200 included = 1,000 × 0.01 USD = 10.00 USD`, and what came after it.
pub(super) fn of_line(line: &BillLine, price: &Price, currency: Currency) -> String {
    let mut text = quantity(line);
    let made = match (&price.model, line.parts.as_slice()) {
        (_, []) => String::new(),
        (Model::Flat { fee }, _) => format!("a fee of {fee} {currency}"),
        (Model::PerUnit { unit_price }, _) => format!("× {unit_price} {currency}"),
        (Model::Package { size, price }, parts) => {
            let begun: Amount = parts.iter().map(|part| part.units).sum();
            format!("{} × {} at {price} {currency}", grouped(begun), grouped(*size))
        }
        (Model::Graduated { .. } | Model::Volume { .. }, parts) => tiers(parts, currency),
    };
    let joint = match (&price.model, text.is_empty() || made.is_empty()) {
        (_, true) => "",
        (Model::PerUnit { .. }, false) => " ",
        (_, false) => ": ",
    };
    text = format!("{text}{joint}{made} = {}", money(line.subtotal, currency));
    if !line.discount_percent.is_zero() {
        text += &format!("; less {} % = {}", line.discount_percent, money(line.discounted, currency));
    }
    match line.bound {
        Some(Bound::Minimum(_)) => text += &format!("; at least {}", money(line.exact, currency)),
        Some(Bound::Maximum(_)) => text += &format!("; at most {}", money(line.exact, currency)),
        None => {}
    }
    if !line.exact.is_round(currency) {
        text += &format!("; rounded {}", line.amount);
    }
    text
}

/// What was used, and what is left of it: nothing for a fee of the plan.
fn quantity(line: &BillLine) -> String {
    let Some(meter) = &line.meter else { return line.description.clone() };
    let used = format!("{} {meter}{}", grouped(line.quantity), beyond(line.portion));
    if line.included.is_zero() {
        return used;
    }
    if line.billable.is_zero() {
        return format!("{used}, all included");
    }
    format!("{used} − {} included = {}", grouped(line.included), grouped(line.billable))
}

const fn beyond(portion: Portion) -> &'static str {
    match portion {
        Portion::All => "",
        Portion::Overage => " beyond the credit",
    }
}

fn tiers(parts: &[Part], currency: Currency) -> String {
    let part = |part: &Part| {
        let units = format!("{} × {} {currency}", grouped(part.units), part.unit_price);
        match (part.unit_price.is_zero(), part.flat_fee.is_zero()) {
            (_, true) => units,
            (true, false) => format!("{} {currency}", part.flat_fee),
            (false, false) => format!("{units} + {} {currency}", part.flat_fee),
        }
    };
    parts.iter().map(part).collect::<Vec<_>>().join(" + ")
}

/// All digits, and at least those of the currency's minor unit.
fn money(exact: Exact, currency: Currency) -> String {
    if exact.is_round(currency) {
        return exact.round_half_even(currency).to_string();
    }
    format!("{exact} {currency}")
}

/// With commas: `1,200.5`.
fn grouped(amount: Amount) -> String {
    let text = amount.to_string();
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(w, f)| (w, Some(f)));
    let mut shown = String::with_capacity(text.len() + text.len() / 3);
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    if let Some(fraction) = fraction {
        shown.push('.');
        shown.push_str(fraction);
    }
    shown
}

//! The calculation of a line as people write it.

use super::{BillLine, Bound, Part, Share, Terms, cap};
use crate::catalog::{Model, Plan, Portion, Price, units};
use crate::{Amount, Currency, Exact};

/// Digits after the point of an amount that are written out.
const DIGITS_SHOWN: usize = 18;

/// Digits that are shown of a fraction without end.
const DIGITS_OF_ENDLESS: usize = 6;

/// What a line is for: the price's own name, or one made from the meter's.
pub(super) fn description(terms: &Terms<'_>, plan: &Plan, price: &Price) -> String {
    if let Some(name) = &price.name {
        return name.clone();
    }
    let Some(id) = &price.meter else {
        let Share { days, of } = terms.fees;
        let how_long =
            if terms.fees.is_whole() { "a month".to_owned() } else { format!("{days} of {of} days") };
        return format!("{}, {how_long}", plan.name);
    };
    let name = terms.catalog.meter(id).map_or(id.as_str(), |meter| meter.name.as_str());
    let values: Vec<_> = price.matches.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let values = if values.is_empty() { String::new() } else { format!(", {}", values.join(", ")) };
    format!("{name}{values}{}", beyond(price.portion))
}

/// `1,200 reports − 200 included = 1,000 × 0.01 USD = 10.00 USD`, and what came after it.
pub(super) fn of_line(terms: &Terms<'_>, plan: &Plan, line: &BillLine, price: &Price) -> String {
    let currency = plan.currency(terms.catalog);
    let mut text = quantity(terms, line);
    let result = money(line.subtotal, currency);
    let made = match (&price.model, line.parts.as_slice()) {
        (_, []) => format!(" = {result}"),
        (Model::Flat { fee }, _) if line.fees.is_whole() => format!(": a fee of {}", whole(*fee, currency)),
        (Model::Flat { fee }, _) => format!(": {} = {result}", share(*fee, line.fees, currency)),
        (Model::PerUnit { unit_price }, _) => format!(" × {unit_price} {currency} = {result}"),
        (Model::Package { size, price }, parts) => {
            let begun: Amount = parts.iter().map(|part| part.units).sum();
            format!(": {} × {} at {price} {currency} = {result}", grouped(begun), grouped(*size))
        }
        (Model::Graduated { .. } | Model::Volume { .. }, parts) => {
            format!(": {} = {result}", tiers(parts, currency))
        }
    };
    text += &made;
    if !line.discount_percent.is_zero() {
        text += &format!("; less {} % = {}", line.discount_percent, money(line.discounted, currency));
    }
    match line.bound {
        Some(Bound::Minimum(minimum)) => text += &bound("at least", minimum, line.fees, line.exact, currency),
        Some(Bound::Maximum(maximum)) => {
            text += &bound("at most", maximum, cap(plan, line.fees), line.exact, currency);
        }
        None => {}
    }
    if !line.exact.is_round(currency) {
        text += &format!("; rounded {}", line.amount);
    }
    text
}

/// What was used, and what is left of it: nothing for a fee of the plan.
fn quantity(terms: &Terms<'_>, line: &BillLine) -> String {
    let Some(meter) = &line.meter else { return line.description.clone() };
    let unit = terms.catalog.meter(meter).map_or(meter.as_str(), |meter| meter.unit.as_str());
    let used = format!("{} {}{}", grouped(line.quantity), units(unit, line.quantity), beyond(line.portion));
    if line.included.is_zero() {
        return used;
    }
    if line.billable.is_zero() {
        return format!("{used}, all included");
    }
    format!("{used} − {} included = {}", grouped(line.included), grouped(line.billable))
}

/// `; at least 20.00 USD × 12/30 days = 8.00 USD`
fn bound(which: &str, amount: Amount, fees: Share, exact: Exact, currency: Currency) -> String {
    let result = money(exact, currency);
    if fees.is_whole() {
        return format!("; {which} {result}");
    }
    format!("; {which} {} = {result}", share(amount, fees, currency))
}

/// `49.00 USD × 12/30 days`
fn share(amount: Amount, Share { days, of }: Share, currency: Currency) -> String {
    format!("{} × {days}/{of} days", whole(amount, currency))
}

/// An amount of money of the catalog.
fn whole(amount: Amount, currency: Currency) -> String {
    Exact::of(amount).map_or_else(|| format!("{amount} {currency}"), |exact| money(exact, currency))
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
            (true, false) => whole(part.flat_fee, currency),
            (false, false) => format!("{units} + {}", whole(part.flat_fee, currency)),
        }
    };
    parts.iter().map(part).collect::<Vec<_>>().join(" + ")
}

/// All digits, and at least those of the currency's minor unit; the first of a fraction without end.
fn money(exact: Exact, currency: Currency) -> String {
    let number = exact.number(currency);
    let fraction = number.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let endless = fraction > DIGITS_SHOWN;
    let cut = if endless { number.len() - (fraction - DIGITS_OF_ENDLESS) } else { number.len() };
    let shown = number.get(..cut).unwrap_or(&number);
    format!("{shown}{} {currency}", if endless { "…" } else { "" })
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

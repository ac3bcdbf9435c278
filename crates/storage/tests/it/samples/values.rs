//! Parts of samples.

use std::collections::BTreeMap;

use tollgate_domain::{
    Amount, Burn, Currency, Exact, Group, Money, MonthDay, Period, Quantity, Sku, Source, Standing,
    Timestamp, WeekDay, Window, WindowHours,
};

use super::every;

/// An id of any type.
pub(super) fn id<T: for<'a> TryFrom<&'a str, Error: std::fmt::Debug>>(text: &str) -> T {
    T::try_from(text).expect("an id")
}

pub(super) fn at(seconds: i64, nanoseconds: i32) -> Timestamp {
    Timestamp::new(seconds, nanoseconds).expect("a time")
}

pub(super) fn amount(text: &str) -> Amount {
    Amount::parse_sum(text).expect("an amount")
}

pub(super) fn quantity(text: &str) -> Quantity {
    Quantity::parse(text).expect("a quantity")
}

pub(super) fn money(code: &str, minor: i128) -> Money {
    Money { currency: Currency::new(code).expect("a currency"), minor }
}

pub(super) fn exact(atto: u128, rest: u128) -> Exact {
    Exact::from_parts(atto, rest).expect("a part")
}

pub(super) fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

pub(super) fn group(pairs: &[(&str, &str)]) -> Group {
    Group::from(texts(pairs))
}

pub(super) fn sku(product: &str, unit: &str) -> Sku {
    Sku { product: product.to_owned(), unit: unit.to_owned() }
}

/// Pairs each value with something of its own.
pub(super) fn each_with<T, U, const N: usize>(
    values: Vec<T>,
    others: [U; N],
) -> impl Iterator<Item = (T, U)> {
    assert_eq!(values.len(), N, "none is left out");
    values.into_iter().zip(others)
}

every! {
    windows: Window {
        Window::Minute => Window::Minute,
        Window::Hour => Window::Hour,
        Window::Day => Window::Day,
        Window::Month => Window::Month,
        Window::Lifetime => Window::Lifetime,
        Window::Segment => Window::Segment,
        Window::Week => Window::Week,
        Window::PlanMonth => Window::PlanMonth,
        Window::MonthFrom(_) => Window::MonthFrom(MonthDay::new(31).expect("a day")),
        Window::Rolling(_) => Window::Rolling(WindowHours::new(5).expect("hours")),
        Window::FirstUse(_) => Window::FirstUse(WindowHours::new(168).expect("hours")),
        Window::WeekFrom(_) => Window::WeekFrom(WeekDay::new(6).expect("a day")),
    }
}

every! {
    sources: Source {
        Source::Allowance(_) => Source::Allowance(398_491_651),
        Source::Trial => Source::Trial,
        Source::Grant(_) => Source::Grant(300),
        Source::Overdraft => Source::Overdraft,
        Source::Overage => Source::Overage,
    }
}

/// A period of each window of the first files; others have files of their own.
pub(super) fn periods() -> Vec<Period> {
    let numbers = [29_900_000, 498_000, 20_775, 24_322, 0, 398_491_651];
    let first = windows().into_iter().take(6).collect();
    each_with(first, numbers).map(|(window, number)| Period { window, number }).collect()
}

/// Burns of each source.
pub(super) fn burns() -> Vec<Burn> {
    let amounts = ["1", "0.5", "0.000000001", "-2", "123456789012345.678901234"];
    each_with(sources(), amounts).map(|(source, text)| Burn { source, amount: amount(text) }).collect()
}

/// With everything that is optional.
pub(super) fn standing() -> Standing {
    Standing {
        granted: amount("1000"),
        used: amount("17.25"),
        held: amount("4.5"),
        remaining: Some(amount("-982.75")),
        user_used: Some(amount("3")),
    }
}

/// With nothing that is optional.
pub(super) const NO_STANDING: Standing = Standing {
    granted: Amount::ZERO,
    used: Amount::ZERO,
    held: Amount::ZERO,
    remaining: None,
    user_used: None,
};

//! The prices of the catalog a second time, as plain integer arithmetic on the sums.

use super::sums::Sum;
use super::world::Org;

/// Exact money: of so many parts is one unit of the currency. Quantities and prices have nine decimals each, a percent two.
const UNIT: i128 = 100_000_000_000_000_000_000;
/// A price of a billionth of the currency for a billionth of the unit.
const LEAST: i128 = 100;
const NANOS: i128 = 1_000_000_000;

/// What an org owes for a month of usage, in the minor unit of its currency: cents, or yen.
pub(super) fn owed(org: &Org, month: &str, sums: &[Sum]) -> i128 {
    let in_month: Vec<&Sum> = sums.iter().filter(|sum| sum.month == month).collect();
    if org.is_team { team(&in_month) } else { solo(&in_month) }
}

fn of(sums: &[&Sum], is: impl Fn(&Sum) -> bool) -> i128 {
    sums.iter().filter(|sum| is(sum)).map(|sum| i128::from(sum.nanos)).sum()
}

fn of_meter(sums: &[&Sum], meter: &str) -> i128 {
    of(sums, |sum| sum.meter == meter)
}

fn team(sums: &[&Sum]) -> i128 {
    let is_large = |sum: &Sum| sum.meter == "tokens" && sum.model.as_deref() == Some("large");
    let is_eu = |sum: &Sum| sum.region.as_deref() == Some("eu");
    let large_eu = of(sums, |sum| is_large(sum) && is_eu(sum));
    let large = of(sums, |sum| is_large(sum) && !is_eu(sum));
    let other = of(sums, |sum| sum.meter == "tokens" && !is_large(sum));
    let calls = of_meter(sums, "calls");
    let storage = (of_meter(sums, "storage") - 10 * NANOS).max(0);
    let reports = (of_meter(sums, "reports") - 100 * NANOS).max(0);

    let calls = if calls <= 100 * NANOS {
        calls * 10_000_000 * LEAST
    } else if calls <= 2_000 * NANOS {
        calls * 8_000_000 * LEAST + 5 * UNIT
    } else {
        calls * 5_000_000 * LEAST
    };
    let first = storage.min(100 * NANOS);
    let first_fee = if storage > 0 { UNIT } else { 0 };
    let storage = first * 100_000_000 * LEAST + first_fee + (storage - first) * 70_000_500 * LEAST;
    let packages = -(-reports).div_euclid(10 * NANOS);
    let lines = [
        49 * UNIT,
        large * 15_000 * LEAST,
        large_eu * 18_500 * 90,
        (other - 100_000 * NANOS).max(0) * 400 * LEAST,
        calls,
        storage.min(500 * UNIT),
        packages * 5 * UNIT,
    ];
    lines.into_iter().map(|line| rounded(line, UNIT / 100)).sum()
}

fn solo(sums: &[&Sum]) -> i128 {
    let tokens = of_meter(sums, "tokens") * 3_100_000 * LEAST;
    let storage = of_meter(sums, "storage") * 1_500_000_000 * LEAST;
    let packages = -(-of_meter(sums, "reports")).div_euclid(100 * NANOS);
    let lines = [tokens.max(300 * UNIT), storage, packages * 1_200 * UNIT];
    lines.into_iter().map(|line| rounded(line, UNIT)).sum()
}

/// So many whole steps: the nearest, and of two that are equally near the even one.
fn rounded(exact: i128, step: i128) -> i128 {
    let (whole, rest) = (exact.div_euclid(step), exact.rem_euclid(step));
    match (rest * 2).cmp(&step) {
        std::cmp::Ordering::Less => whole,
        std::cmp::Ordering::Equal => whole + whole % 2,
        std::cmp::Ordering::Greater => whole + 1,
    }
}

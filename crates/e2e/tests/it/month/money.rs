//! The prices of the catalog a second time, as plain integer arithmetic on the sums.

use std::collections::BTreeMap;

use super::sums::Sum;
use super::world::{Org, Plan};

/// Exact money: of so many parts is one unit of the currency. Quantities and prices have nine decimals each, a percent two.
const UNIT: i128 = 100_000_000_000_000_000_000;
/// A price of a billionth of the currency for a billionth of the unit.
const LEAST: i128 = 100;
const NANOS: i128 = 1_000_000_000;

/// A share of a month: so many days, of so many.
#[derive(Clone, Copy)]
struct Share {
    days: i128,
    of: i128,
}

/// What an org owes for a month of usage, in the minor unit of its currency: cents, or yen. Each of its plans by itself.
pub(super) fn owed(org: &Org, month: &str, sums: &[Sum]) -> i128 {
    by_plan(org, month, sums)
        .map(|(plan, share, sums)| match plan {
            Some(Plan::Team) => team(&sums, share),
            Some(Plan::Plus) => plus(&sums, share),
            Some(Plan::Solo) => solo(&sums, share),
            None => 0,
        })
        .sum()
}

/// What stands on the bill without a price: included, and unpriced, by meter, in billionths.
pub(super) fn unbilled(org: &Org, month: &str, sums: &[Sum]) -> [BTreeMap<String, i128>; 2] {
    let (mut included, mut unpriced) = (BTreeMap::new(), BTreeMap::new());
    for (plan, _, sums) in by_plan(org, month, sums) {
        let meters: &[&str] = match plan {
            Some(Plan::Team) => &[],
            Some(Plan::Plus) => &["reports"],
            Some(Plan::Solo) => &["calls"],
            None => &["tokens", "calls", "storage", "reports"],
        };
        for meter in meters {
            *unpriced.entry((*meter).to_owned()).or_insert(0) += of_meter(&sums, meter);
        }
        if plan == Some(Plan::Team) {
            let covered = of_meter(&sums, "reports").min(100 * NANOS);
            *included.entry("reports".to_owned()).or_insert(0) += covered;
        }
    }
    [included, unpriced].map(|mut sums| {
        sums.retain(|_, nanos| *nanos > 0);
        sums
    })
}

/// The plans of a month, each with its days and usage.
fn by_plan<'a>(
    org: &'a Org,
    month: &'a str,
    sums: &'a [Sum],
) -> impl Iterator<Item = (Option<Plan>, Share, Vec<&'a Sum>)> {
    let (days, of) = org.days(month);
    org.stretches().into_iter().zip(days).enumerate().map(move |(number, (stretch, days))| {
        let own = sums.iter().filter(|sum| sum.month == month && sum.stretch == number);
        (stretch.plan, Share { days, of }, own.collect())
    })
}

fn of(sums: &[&Sum], is: impl Fn(&Sum) -> bool) -> i128 {
    sums.iter().filter(|sum| is(sum)).map(|sum| i128::from(sum.nanos)).sum()
}

fn of_meter(sums: &[&Sum], meter: &str) -> i128 {
    of(sums, |sum| sum.meter == meter)
}

fn team(sums: &[&Sum], share: Share) -> i128 {
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
    share.sum(
        UNIT / 100,
        [
            share.of_fee(49 * UNIT),
            share.of_usage(large * 15_000 * LEAST),
            share.of_usage(large_eu * 18_500 * 90),
            share.of_usage((other - 100_000 * NANOS).max(0) * 400 * LEAST),
            share.of_usage(calls),
            share.of_usage(storage).min(share.of_maximum(500 * UNIT)),
            share.of_usage(packages * 5 * UNIT),
        ],
    )
}

fn plus(sums: &[&Sum], share: Share) -> i128 {
    let packages = -(-of_meter(sums, "calls")).div_euclid(50 * NANOS);
    let calls = share.of_usage(packages * UNIT).max(share.of_fee(6 * UNIT)).min(share.of_maximum(60 * UNIT));
    let storage = of_meter(sums, "storage");
    let first = storage.min(50 * NANOS);
    let storage = first * 90_000_000 * LEAST + (storage - first) * 50_000_000 * LEAST;
    share.sum(
        UNIT / 100,
        [
            share.of_fee(149 * UNIT / 100 * 95),
            share.of_usage(of_meter(sums, "tokens") * 10_000 * LEAST),
            calls,
            share.of_usage(storage),
        ],
    )
}

fn solo(sums: &[&Sum], share: Share) -> i128 {
    let tokens = share.of_usage(of_meter(sums, "tokens") * 3_100_000 * LEAST);
    let storage = of_meter(sums, "storage") * 1_500_000_000 * LEAST;
    let packages = -(-of_meter(sums, "reports")).div_euclid(100 * NANOS);
    share.sum(
        UNIT,
        [
            tokens.max(share.of_fee(300 * UNIT)),
            share.of_usage(storage),
            share.of_usage(packages * 1_200 * UNIT),
        ],
    )
}

/// Money times the days of the month, so that every share of it is whole.
impl Share {
    /// What usage is worth is not shared.
    fn of_usage(self, exact: i128) -> i128 {
        exact * self.of
    }

    /// A fee or a minimum.
    fn of_fee(self, exact: i128) -> i128 {
        exact * self.days
    }

    /// A maximum is that of one day at least.
    fn of_maximum(self, exact: i128) -> i128 {
        exact * self.days.max(1)
    }

    /// Each line rounded to the least coin.
    fn sum<const LINES: usize>(self, coin: i128, lines: [i128; LINES]) -> i128 {
        lines.into_iter().map(|line| rounded(line, coin * self.of)).sum()
    }
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

//! The forecast against a straight line, on made-up months of eight shapes. The table stands in docs/notices.md.

use std::fmt::Write;

use fastrand::Rng;
use tollgate_domain::limits::FORECAST_DAYS;
use tollgate_domain::{Account, Amount, DayUse, Moment, Period, Zone, project};

/// Histories of each shape.
const HISTORIES: u64 = 200;

/// Days of a history before its month.
const DAYS_BEFORE: i32 = 60;

/// Days of the month that have passed when it is asked.
const ASKED_AFTER: [i32; 6] = [3, 5, 10, 15, 20, 25];

/// What is used on a day, by the number of the day within its history, in hundredths.
type Shape = fn(i32, bool, &mut Rng) -> f64;

/// Each is spread by a fifth to both sides.
const SHAPES: [(&str, Shape); 8] = [
    ("the same every day", |_, _, _| 100.0),
    ("working days", |_, weekend, _| if weekend { 10.0 } else { 120.0 }),
    ("weekends", |_, weekend, _| if weekend { 200.0 } else { 40.0 }),
    ("2 % more each day", |day, _, _| 100.0 * 1.02_f64.powi(day - DAYS_BEFORE)),
    ("2 % less each day", |day, _, _| 100.0 * 0.98_f64.powi(day - DAYS_BEFORE)),
    ("bursts", |_, _, rng| if rng.u8(..10) == 0 { 630.0 } else { 30.0 }),
    ("three times as much from the 7th on", |day, _, _| if day < DAYS_BEFORE + 6 { 50.0 } else { 150.0 }),
    ("most on the 1st", |day, _, _| if day % 30 == 0 { 900.0 } else { 60.0 }),
];

/// By how much two forecasts of all histories of a shape are wrong on average, in percent of the month: ours and a
/// straight line.
fn errors(shape: Shape) -> [f64; 2] {
    let month = Moment::new(&Zone::UTC, "2026-11-15T00:00:00Z".parse().expect("a time")).month;
    let (first, next) = Period::days_of_month(month.number);
    let length = next - first;
    let mut wrong = [0.0; 2];
    for seed in 0..HISTORIES {
        let mut rng = Rng::with_seed(seed);
        let day_of = |number: i32| first - DAYS_BEFORE + number;
        let mut used_on = |number: i32| {
            // Day 0 was a Thursday.
            let weekend = (day_of(number) + 3).rem_euclid(7) >= 5;
            (shape(number, weekend, &mut rng) * (0.8 + 0.4 * rng.f64())).round()
        };
        let history: Vec<f64> = (0..DAYS_BEFORE + length).map(&mut used_on).collect();
        let sum = |from: i32, until: i32| -> f64 {
            let place = |number: i32| usize::try_from(number).expect("a day of the history");
            history[place(from)..place(until)].iter().sum()
        };
        let whole = sum(DAYS_BEFORE, DAYS_BEFORE + length);
        for passed in ASKED_AFTER {
            let today = DAYS_BEFORE + passed;
            let kept = today - i32::try_from(FORECAST_DAYS).expect("days")..today;
            let mut account = Account { first_day: Some(day_of(0)), ..Account::default() };
            account.days = kept
                .map(|number| DayUse { day: day_of(number), amount: amount(sum(number, number + 1)) })
                .collect();
            let at = Zone::UTC.bounds(Period::day(day_of(today))).0.expect("a day begins");
            let used = sum(DAYS_BEFORE, today);
            let pace = project(&account, &Moment::new(&Zone::UTC, at), amount(used), Amount::ZERO);
            let projected: f64 = pace.projected.to_string().parse().expect("a number");
            let straight = used * f64::from(length) / f64::from(passed);
            wrong[0] += (projected - whole).abs() / whole;
            wrong[1] += (straight - whole).abs() / whole;
        }
    }
    let asked = HISTORIES * u64::try_from(ASKED_AFTER.len()).expect("a number");
    wrong.map(|wrong| 100.0 * wrong / f64::from(u32::try_from(asked).expect("a number")))
}

fn amount(number: f64) -> Amount {
    Amount::parse(&number.to_string()).expect("a whole number")
}

#[test]
fn the_forecast_is_nearer_than_a_straight_line() {
    let mut table = String::from("| usage | forecast | straight line |\n| --- | --- | --- |\n");
    let mut sums = [0.0; 2];
    for (name, shape) in SHAPES {
        let wrong = errors(shape);
        writeln!(table, "| {name} | {:.1} % | {:.1} % |", wrong[0], wrong[1]).expect("written");
        sums = [sums[0] + wrong[0], sums[1] + wrong[1]];
    }
    let [ours, straight] = sums.map(|sum| sum / 8.0);
    writeln!(table, "| all | {ours:.1} % | {straight:.1} % |").expect("written");
    assert!(ours < straight, "{table}");
    let docs = include_str!("../../../../docs/notices.md");
    assert!(docs.contains(&table), "docs/notices.md has another table than\n{table}");
}

//! Every zone and month against a second calendar library with its own copy of the tables.

use std::time::Instant;

use chrono::offset::LocalResult;
use chrono::{NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone as _};
use chrono_tz::Tz;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tollgate_domain::{Period, WeekDay, Window, Zone};
use tollgate_testing::oracle::Calendar;

use crate::months::before;

const YEARS: std::ops::Range<i32> = 2024..2041;
const MINUTE: i64 = 60;

pub(crate) const SUNDAY: WeekDay = WeekDay::new(6).expect("a day");

/// Zones whose rules changed after the tables of the second library were made, all of them later than
/// [`TABLES_AGREE_UNTIL`]. From there on these are compared with what the wall clock shows of the first library's own
/// tables; each must really differ, so that this list cannot outlive its reason.
pub(crate) const TABLES_DIFFER: [&str; 11] = [
    "Africa/Casablanca",
    "Africa/El_Aaiun",
    "America/Edmonton",
    "America/Inuvik",
    "America/Rainy_River",
    "America/Vancouver",
    "America/Winnipeg",
    "America/Yellowknife",
    "Canada/Central",
    "Canada/Mountain",
    "Canada/Pacific",
];

/// September 2026, as a month's number.
const TABLES_AGREE_UNTIL: i32 = 2026 * 12 + 8;

pub(crate) fn nanosecond(at: i64, nudge: i128) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(at) * 1_000_000_000 + nudge).expect("a time")
}

/// First second at which a wall clock shows a date or a later one.
fn first_second(tz: Tz, date: NaiveDate) -> i64 {
    let midnight = date.and_time(NaiveTime::MIN);
    match tz.from_local_datetime(&midnight) {
        LocalResult::Single(at) => at.timestamp(),
        LocalResult::Ambiguous(first, second) => first.timestamp().min(second.timestamp()),
        LocalResult::None => first_after_gap(tz, midnight),
    }
}

/// Where clocks skip a midnight: the first second after the gap, looked for minute by minute.
fn first_after_gap(tz: Tz, midnight: NaiveDateTime) -> i64 {
    let shows = |second: i64| {
        let utc = chrono::DateTime::from_timestamp(second, 0).expect("a time");
        utc.with_timezone(&tz).naive_local()
    };
    let mut second = midnight.and_utc().timestamp() - 26 * 60 * MINUTE;
    while shows(second) < midnight {
        second += MINUTE;
    }
    second
}

fn first_of(number: i32) -> NaiveDate {
    NaiveDate::from_ymd_opt(number.div_euclid(12), number.rem_euclid(12).unsigned_abs() + 1, 1)
        .expect("a date")
}

fn day_number(date: NaiveDate) -> i32 {
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).expect("a date");
    i32::try_from((date - epoch).num_days()).expect("a number of days")
}

/// Every name of the tables, with the zone of the second library where it knows the name.
fn names() -> Vec<(Zone, Option<Tz>)> {
    let names: Vec<String> = jiff::tz::db().available().map(|name| name.as_str().to_owned()).collect();
    names.iter().map(|name| (Zone::new(name).expect("a zone"), name.parse::<Tz>().ok())).collect()
}

/// Every name both libraries know.
pub(crate) fn zones() -> Vec<(Zone, Tz)> {
    names().into_iter().filter_map(|(zone, tz)| Some((zone, tz?))).collect()
}

/// The day that begins last before a moment, as the second library has it.
pub(crate) fn day_of(tz: Tz, at: Timestamp) -> NaiveDate {
    let utc = chrono::DateTime::from_timestamp(at.as_second(), 0).expect("a time");
    let shown = utc.with_timezone(&tz).date_naive();
    let mut near = (-1..=1).rev().map(|days| shown + TimeDelta::days(days));
    near.find(|date| nanosecond(first_second(tz, *date), 0) <= at).expect("some day has begun")
}

/// Changes of a zone's clocks in the years looked at.
pub(crate) fn changes(zone: &Zone) -> Vec<Timestamp> {
    let from = Timestamp::from_second(1_704_067_200).expect("a time");
    let until = Timestamp::from_second(2_240_524_800).expect("a time");
    let own = TimeZone::get(zone.name()).expect("a zone");
    own.following(from).map(|change| change.timestamp()).take_while(|at| *at < until).collect()
}

/// The first month in which a zone differs, and how.
fn difference(zone: &Zone, tz: Tz) -> Option<(i32, String)> {
    let months = YEARS.start * 12..YEARS.end * 12;
    let mut start = first_second(tz, first_of(months.start));
    for number in months {
        let end = first_second(tz, first_of(number + 1));
        let period = Period::month(number);
        let wanted = (Some(nanosecond(start, 0)), Some(nanosecond(end, 0)));
        let bounds = zone.bounds(period);
        if bounds != wanted {
            return Some((number, format!("month {}: {bounds:?}, not {wanted:?}", period.label())));
        }
        let today = day_number(first_of(number));
        for (nudge, month, day) in [(-1, number - 1, today - 1), (0, number, today), (1, number, today)] {
            let at = nanosecond(start, nudge);
            let found = (zone.period_at(Window::Month, at).number, zone.period_at(Window::Day, at).number);
            if found != (month, day) {
                return Some((number, format!("at {at}: month and day {found:?}, not {:?}", (month, day))));
            }
        }
        start = end;
    }
    None
}

/// Months from one on, compared with where the label that the wall clock shows changes.
fn check_by_wall_clock(zone: &Zone, from: i32) {
    let calendar = Calendar::default();
    for number in from..YEARS.end * 12 {
        let period = Period::month(number);
        let (Some(start), Some(end)) = zone.bounds(period) else { panic!("{zone:?} {period:?} has bounds") };
        for (at, month) in
            [(before(start), number - 1), (start, number), (before(end), number), (end, number + 1)]
        {
            assert_eq!(calendar.label(zone, Window::Month, at).period().number, month, "{zone:?} {at}");
            assert_eq!(zone.period_at(Window::Month, at).number, month, "{zone:?} {at}");
        }
    }
}

#[test]
fn months_of_every_zone_are_those_of_a_second_library() {
    let started = Instant::now();
    let zones = zones();
    assert!(zones.len() > 550, "only {} zones are known to both libraries", zones.len());
    let differences: Vec<_> =
        zones.iter().filter_map(|(zone, tz)| Some((zone.name(), difference(zone, *tz)?))).collect();
    let differing: Vec<_> = differences.iter().map(|(zone, _)| *zone).collect();
    assert_eq!(differing, TABLES_DIFFER, "{differences:#?}");
    for (name, (number, says)) in &differences {
        assert!(*number >= TABLES_AGREE_UNTIL, "{name}: {says}");
        check_by_wall_clock(&Zone::new(name).expect("a zone"), *number);
    }
    println!("{} zones, {} months each, in {:?}", zones.len(), YEARS.len() * 12, started.elapsed());
}

/// Names that only the first library has: months are where the label that the wall clock shows changes.
#[test]
fn months_of_zones_that_the_second_library_lacks_are_those_of_the_wall_clock() {
    let lacking: Vec<_> = names().into_iter().filter(|(_, tz)| tz.is_none()).collect();
    lacking.iter().for_each(|(zone, _)| check_by_wall_clock(zone, YEARS.start * 12));
    let all = names().len();
    println!("{} of {all} names are not known to the second library: {:?}", lacking.len(), lacking);
    assert_eq!(lacking.len() + zones().len(), all);
}

/// Around every change of the clocks of every zone: which day it is, and where that day begins and ends.
#[test]
fn days_with_a_change_of_clocks_are_those_of_a_second_library() {
    let agreed_until = nanosecond(first_second(Tz::UTC, first_of(TABLES_AGREE_UNTIL)), 0);
    let mut looked_at = 0;
    for (zone, tz) in zones() {
        for change in changes(&zone) {
            if TABLES_DIFFER.contains(&zone.name()) && change >= agreed_until {
                continue;
            }
            looked_at += 1;
            for nudge in [-1, 0, 1] {
                let at = nanosecond(change.as_second(), nudge);
                let date = day_of(tz, at);
                let period = zone.period_at(Window::Day, at);
                assert_eq!(period.number, day_number(date), "{zone:?} {at}");
                let wanted =
                    [date, date + TimeDelta::days(1)].map(|date| Some(nanosecond(first_second(tz, date), 0)));
                assert_eq!(zone.bounds(period), (wanted[0], wanted[1]), "{zone:?} {at}");
            }
        }
    }
    println!("{looked_at} changes of clocks");
    assert!(looked_at > 5_000, "only {looked_at} changes of clocks were looked at");
}

/// Windows of a kind touch: each begins where the one before ends, and a moment in it is in it. Returns where the
/// window after the last one begins.
fn walk(zone: &Zone, window: Window, from: Timestamp, count: usize) -> Timestamp {
    let mut at = from;
    for _ in 0..count {
        let period = zone.period_at(window, at);
        let (Some(start), Some(end)) = zone.bounds(period) else { panic!("{zone:?} {period:?} has bounds") };
        assert!(start <= at && at < end, "{zone:?} {period:?} {at}");
        let next = zone.period_at(window, end);
        assert_eq!(next.number, period.number + 1, "{zone:?} {end}");
        assert_eq!(zone.bounds(next).0, Some(end), "{zone:?} {end}");
        assert_eq!(zone.period_at(window, before(end)), period, "{zone:?} {end}");
        at = end;
    }
    at
}

fn start_of_years() -> Timestamp {
    nanosecond(first_second(Tz::UTC, first_of(YEARS.start * 12)), 0)
}

/// Every month of every zone, and every day of the odd ones; `TOLLGATE_FULL` walks every day of every zone.
#[test]
fn periods_cover_the_line_exactly_once() {
    let full = std::env::var_os("TOLLGATE_FULL").is_some();
    let (names, started) = (names(), Instant::now());
    let (mut months, mut days) = (0, 0);
    for (zone, _) in &names {
        let odd = tollgate_testing::generate::ZONES.contains(&zone.name());
        let end = walk(zone, Window::Month, start_of_years(), YEARS.len() * 12);
        months += YEARS.len() * 12;
        if odd {
            walk(zone, Window::Minute, start_of_years(), 200);
            walk(zone, Window::Hour, start_of_years(), 400);
        }
        if odd || full {
            let count =
                usize::try_from((end.as_second() - start_of_years().as_second()) / 86_400).expect("days");
            walk(zone, Window::Day, start_of_years(), count);
            walk(zone, Window::Week, start_of_years(), count / 7);
            walk(zone, Window::WeekFrom(SUNDAY), start_of_years(), count / 7);
            days += count;
        } else {
            // Three days around each change: all others have 24 hours.
            for change in changes(zone) {
                walk(zone, Window::Day, change - jiff::SignedDuration::from_hours(26), 3);
                days += 3;
            }
        }
    }
    println!("{} zones: {months} months and {days} days touch, in {:?}", names.len(), started.elapsed());
    assert!(months > 120_000 && days > 80_000, "{months} months, {days} days");
}

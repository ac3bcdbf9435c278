//! The calendar, by the labels that a wall clock shows rather than by the bounds of periods.

use std::cell::RefCell;
use std::collections::BTreeMap;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use tollgate_domain::{MonthDay, Period, PlanTime, WeekDay, Window, Zone};

/// What a window that holds a moment is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Label {
    /// Hour and minute of a date in UTC.
    Minute(DateTime),
    /// Hour of a date in UTC.
    Hour(DateTime),
    /// A date on the org's calendar.
    Day(Date),
    /// The Monday of a week on the org's calendar.
    Week(Date),
    /// A day of the week, and the date on which such a week began.
    WeekFrom(WeekDay, Date),
    /// Year and month on the org's calendar.
    Month(i16, i8),
    /// A day of the month, year and month in which such a month began.
    MonthFrom(MonthDay, i16, i8),
    /// The one lifetime.
    Lifetime,
}

impl Label {
    /// The number by which the domain names the same window.
    #[must_use]
    pub fn period(self) -> Period {
        let (window, number) = match self {
            Self::Minute(time) => {
                (Window::Minute, days_from_civil(time.date()) * 1_440 + minute_of_day(time))
            }
            Self::Hour(time) => (Window::Hour, days_from_civil(time.date()) * 24 + i64::from(time.hour())),
            Self::Day(date) => (Window::Day, days_from_civil(date)),
            Self::Week(monday) => (Window::Week, (days_from_civil(monday) + 3).div_euclid(7)),
            Self::WeekFrom(day, first) => {
                let monday = days_from_civil(first) - i64::from(day.get());
                (Window::WeekFrom(day), (monday + 3).div_euclid(7))
            }
            Self::Month(year, month) => (Window::Month, i64::from(year) * 12 + i64::from(month) - 1),
            Self::MonthFrom(day, year, month) => {
                (Window::MonthFrom(day), i64::from(year) * 12 + i64::from(month) - 1)
            }
            Self::Lifetime => (Window::Lifetime, 0),
        };
        Period { window, number: i32::try_from(number).unwrap_or(i32::MAX) }
    }
}

fn minute_of_day(time: DateTime) -> i64 {
    i64::from(time.hour()) * 60 + i64::from(time.minute())
}

/// Days since 1970-01-01, by counting leap days in eras of 400 years.
fn days_from_civil(date: Date) -> i64 {
    let (month, day) = (i64::from(date.month()), i64::from(date.day()));
    let year = i64::from(date.year()) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Reads wall clocks; remembers where labels change, as finding that is slow.
#[derive(Debug, Default)]
pub struct Calendar {
    clocks: RefCell<Vec<WallClock>>,
}

/// The wall clock of a zone.
#[derive(Debug)]
struct WallClock {
    zone: String,
    tz: TimeZone,
    ends: BTreeMap<Label, Option<Timestamp>>,
}

impl Calendar {
    /// The label of the window that holds a moment.
    #[must_use]
    pub fn label(&self, zone: &Zone, window: Window, at: Timestamp) -> Label {
        self.with_clock(zone, |clock| clock.label(window, at))
    }

    /// First moment at which the wall clock shows a later label than it does at a moment; `None` is never.
    #[must_use]
    pub fn end(&self, zone: &Zone, window: Window, at: Timestamp) -> Option<Timestamp> {
        self.with_clock(zone, |clock| clock.end(window, at))
    }

    /// First moment at which the wall clock shows the day with a number, or a later one.
    #[must_use]
    pub fn start_of_day(&self, zone: &Zone, day: i32) -> Option<Timestamp> {
        let around = Timestamp::from_second(i64::from(day) * 86_400).ok()?;
        let (mut before, mut after) = (around.as_nanosecond(), around.as_nanosecond());
        let two_days = SignedDuration::from_hours(48).as_nanos();
        before -= two_days;
        after += two_days;
        while after - before > 1 {
            let middle = before + (after - before) / 2;
            let label = self.label(zone, Window::Day, Timestamp::from_nanosecond(middle).ok()?);
            if label.period().number >= day { after = middle } else { before = middle }
        }
        Timestamp::from_nanosecond(after).ok()
    }

    /// When a change of plan that is asked for at a moment takes effect.
    #[must_use]
    pub fn takes_effect(&self, zone: &Zone, at: Timestamp, from: PlanTime) -> Option<Timestamp> {
        match from {
            PlanTime::Now => Some(at),
            PlanTime::At(moment) => Some(moment),
            PlanTime::Day(day) => self.start_of_day(zone, day),
            PlanTime::NextMonth => self.end(zone, Window::Month, at),
        }
    }

    fn with_clock<T>(&self, zone: &Zone, look: impl FnOnce(&mut WallClock) -> T) -> T {
        let mut clocks = self.clocks.borrow_mut();
        if let Some(clock) = clocks.iter_mut().find(|clock| clock.zone == zone.name()) {
            return look(clock);
        }
        let tz = TimeZone::get(zone.name()).unwrap_or(TimeZone::UTC);
        let mut clock = WallClock { zone: zone.name().to_owned(), tz, ends: BTreeMap::new() };
        let seen = look(&mut clock);
        clocks.push(clock);
        seen
    }
}

impl WallClock {
    fn label(&self, window: Window, at: Timestamp) -> Label {
        let utc = || TimeZone::UTC.to_datetime(at);
        match window {
            Window::Minute => Label::Minute(truncated(utc(), true)),
            Window::Hour => Label::Hour(truncated(utc(), false)),
            Window::Day => Label::Day(self.tz.to_datetime(at).date()),
            Window::Week => {
                let date = self.tz.to_datetime(at).date();
                let since_monday = i64::from(date.weekday().to_monday_zero_offset());
                Label::Week(date.saturating_sub(since_monday.days()))
            }
            Window::WeekFrom(day) => {
                let mut date = self.tz.to_datetime(at).date();
                while date.weekday().to_monday_zero_offset() != day.get().cast_signed() {
                    date = date.saturating_sub(1.day());
                }
                Label::WeekFrom(day, date)
            }
            Window::Month => {
                let date = self.tz.to_datetime(at).date();
                Label::Month(date.year(), date.month())
            }
            Window::MonthFrom(day) => {
                let date = self.tz.to_datetime(at).date();
                let begun = date.day() >= day.get().cast_signed() || date == date.last_of_month();
                let start = if begun { date } else { date.first_of_month().saturating_sub(1.day()) };
                Label::MonthFrom(day, start.year(), start.month())
            }
            // Bills go by segments, and the oracle makes bills of usages; what goes by usage has no label.
            Window::Lifetime
            | Window::Segment
            | Window::PlanMonth
            | Window::Rolling(_)
            | Window::FirstUse(_) => Label::Lifetime,
        }
    }

    fn end(&mut self, window: Window, at: Timestamp) -> Option<Timestamp> {
        let label = self.label(window, at);
        if let Some(end) = self.ends.get(&label) {
            return *end;
        }
        let longest_secs = match window {
            Window::Minute => 60,
            Window::Hour => 3_600,
            Window::Day => 50 * 3_600,
            Window::Week | Window::WeekFrom(_) => 9 * 86_400,
            Window::Month | Window::MonthFrom(_) => 33 * 86_400,
            _ => return None,
        };
        let end = self.first_after(window, at, label, longest_secs);
        self.ends.insert(label, end);
        end
    }

    /// Halves the stretch between a moment with the label and one after it until a nanosecond is left.
    fn first_after(
        &self,
        window: Window,
        at: Timestamp,
        label: Label,
        longest_secs: i64,
    ) -> Option<Timestamp> {
        let mut before = at.as_nanosecond();
        let mut after = at.checked_add(SignedDuration::from_secs(longest_secs)).ok()?.as_nanosecond();
        while after - before > 1 {
            let middle = before + (after - before) / 2;
            if self.label(window, Timestamp::from_nanosecond(middle).ok()?) > label {
                after = middle;
            } else {
                before = middle;
            }
        }
        Timestamp::from_nanosecond(after).ok()
    }
}

fn truncated(time: DateTime, to_minute: bool) -> DateTime {
    let minute = if to_minute { time.minute() } else { 0 };
    time.date().at(time.hour(), minute, 0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_from_1970() {
        for (date, days) in [
            ("1970-01-01", 0),
            ("1969-12-31", -1),
            ("2000-02-29", 11_016),
            ("2000-03-01", 11_017),
            ("2100-03-01", 47_541),
        ] {
            assert_eq!(days_from_civil(date.parse().expect("a date")), days, "{date}");
        }
    }

    #[test]
    fn labels_end_where_the_wall_clock_says() {
        let calendar = Calendar::default();
        for (zone, window, at, end) in [
            ("Europe/Berlin", Window::Month, "2026-10-05T00:00:00Z", "2026-10-31T23:00:00Z"),
            ("Europe/Berlin", Window::Day, "2026-10-25T00:00:00Z", "2026-10-25T23:00:00Z"),
            ("UTC", Window::Hour, "2026-10-25T23:59:59.999999999Z", "2026-10-26T00:00:00Z"),
            ("UTC", Window::Minute, "2026-10-25T23:58:00Z", "2026-10-25T23:59:00Z"),
        ] {
            let zone = Zone::new(zone).expect("a zone");
            let found = calendar.end(&zone, window, at.parse().expect("a time"));
            assert_eq!(found, end.parse().ok(), "{zone:?} {at}");
        }
    }
}

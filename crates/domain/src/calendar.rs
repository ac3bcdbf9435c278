//! Periods of windows on the calendar of a time zone.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::limits::SEGMENTS_OF_MONTH;
use crate::{MonthDay, WeekDay, Window};

/// One window on the calendar, named by its number so that it stays the same window when the org's time zone changes.
///
/// The number is minutes or hours since 1970 in UTC, days since 1970-01-01, weeks since that of 1970-01-01, months since year 0 (of a week or
/// month from a day on that in which it begins), zero for the lifetime, or of a segment its month and plan in one ([`Period::segment`]). A
/// window that goes by usage is named by the usage: of a rolling one by its slot since 1970 ([`Period::minute_in`]), of one from the first use
/// by its minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period {
    /// Which kind of window.
    pub window: Window,
    /// Which one of its kind.
    pub number: i32,
}

/// A time zone of the IANA database, known by its name.
#[derive(Clone, Debug)]
pub struct Zone {
    tz: TimeZone,
}

/// A name that the time zone database does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a time zone of the IANA database, such as Europe/Berlin or UTC")]
pub struct ZoneError;

impl Zone {
    /// UTC.
    pub const UTC: Self = Self { tz: TimeZone::UTC };

    /// Looks a zone up by its IANA name.
    ///
    /// # Errors
    /// [`ZoneError`] for an unknown name.
    pub fn new(name: &str) -> Result<Self, ZoneError> {
        if name == "UTC" {
            return Ok(Self::UTC);
        }
        // The database has a name for not knowing the zone.
        let known = TimeZone::get(name).ok().filter(|tz| !tz.is_unknown());
        known.map(|tz| Self { tz }).ok_or(ZoneError)
    }

    /// Looks up the zone that somebody is to have.
    ///
    /// # Errors
    /// [`ZoneError`] for an unknown name, and for `Factory`: the name of clocks that nobody has set.
    pub fn chosen(name: &str) -> Result<Self, ZoneError> {
        Self::new(name).ok().filter(|zone| zone.name() != "Factory").ok_or(ZoneError)
    }

    /// The IANA name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.tz.iana_name().unwrap_or("UTC")
    }

    /// A moment as the zone's clocks show it: `2026-10-01T00:00:00+02:00`.
    #[must_use]
    pub fn text(&self, at: Timestamp) -> String {
        if self.tz == TimeZone::UTC {
            return at.to_string();
        }
        at.display_with_offset(self.tz.to_offset(at)).to_string()
    }

    /// The period of a window that holds a moment.
    #[must_use]
    pub fn period_at(&self, window: Window, at: Timestamp) -> Period {
        let number = match window {
            Window::Minute => whole(at.as_second().div_euclid(60)),
            Window::Hour => whole(at.as_second().div_euclid(3_600)),
            Window::Day => self.day_at(at),
            Window::Week => week_of_day(self.day_at(at)),
            Window::WeekFrom(day) => return Period::week_from(day, self.day_at(at)),
            Window::Month | Window::PlanMonth => month_number(date_of_day(self.day_at(at))),
            Window::MonthFrom(day) => return Period::month_from(day, self.day_at(at)),
            Window::Lifetime => 0,
            Window::Rolling(_) | Window::FirstUse(_) => {
                return Period::minute_in(window, whole(at.as_second().div_euclid(60)));
            }
            // Before the first plan: which one was in force is known to the org alone.
            Window::Segment => return Period::segment(self.period_at(Window::Month, at).number, 0),
        };
        Period { window, number }
    }

    /// First moment of a period, and the first moment after it (`None`: it never begins or ends).
    #[must_use]
    pub fn bounds(&self, period: Period) -> (Option<Timestamp>, Option<Timestamp>) {
        let number = period.number;
        match period.window {
            Window::Minute => (second(i64::from(number) * 60), second((i64::from(number) + 1) * 60)),
            Window::Hour => (second(i64::from(number) * 3_600), second((i64::from(number) + 1) * 3_600)),
            Window::Day => (self.start_of(date_of_day(number)), self.start_of(date_of_day(number + 1))),
            Window::Week => self.week_of_days(first_day_of_week(number)),
            Window::WeekFrom(day) => self.week_of_days(first_day_of_week_from(number, day)),
            Window::Month | Window::PlanMonth => {
                (self.start_of(date_of_month(number)), self.start_of(date_of_month(number + 1)))
            }
            Window::MonthFrom(day) => {
                let [first, next] = [number, number + 1].map(|month| day_in_month(month, day));
                (self.start_of(first), self.start_of(next))
            }
            Window::Rolling(hours) => {
                let minute = |slot: i64| second(slot * i64::from(hours.get()) * 60);
                (minute(number.into()), minute(i64::from(number) + 1))
            }
            Window::FirstUse(hours) => {
                let start = i64::from(number) * 60;
                (second(start), second(start + i64::from(hours.secs())))
            }
            Window::Lifetime => (None, None),
            Window::Segment => self.bounds(Period::month_of_segment(number)),
        }
    }

    /// Days since 1970-01-01 of the calendar day that holds a moment.
    ///
    /// A day runs from its first instant to the first instant of the next, so that days cover the line once even where
    /// clocks go back over midnight.
    fn day_at(&self, at: Timestamp) -> i32 {
        if self.tz == TimeZone::UTC {
            return whole(at.as_second().div_euclid(86_400));
        }
        let mut day = day_number(self.tz.to_datetime(at).date());
        if self.start_of(date_of_day(day)).is_some_and(|start| at < start) {
            day -= 1;
        } else if self.start_of(date_of_day(day + 1)).is_some_and(|next| at >= next) {
            day += 1;
        }
        day
    }

    /// The moment at which clocks show a minute of a day: the first one, where they show it twice; as much later as they
    /// skip, where they skip it.
    pub(crate) fn at_clock(&self, day: i32, minute: u32) -> Option<Timestamp> {
        let [hour, minute] = [minute / 60, minute % 60].map(|part| i8::try_from(part).ok());
        let time = Time::new(hour?, minute?, 0, 0).ok()?;
        Some(date_of_day(day).to_datetime(time).to_zoned(self.tz.clone()).ok()?.timestamp())
    }

    /// The day of the month that a moment lies in.
    pub(crate) fn month_day(&self, at: Timestamp) -> MonthDay {
        let day = date_of_day(self.day_at(at)).day();
        MonthDay::new(day.cast_unsigned()).unwrap_or(MonthDay::FIRST)
    }

    /// First instants of a day and of that seven days later.
    fn week_of_days(&self, first: i32) -> (Option<Timestamp>, Option<Timestamp>) {
        (self.start_of(date_of_day(first)), self.start_of(date_of_day(first.saturating_add(7))))
    }

    /// First instant of a date; where clocks skip midnight, the first instant after the gap.
    fn start_of(&self, date: Date) -> Option<Timestamp> {
        let zoned = date.to_zoned(self.tz.clone()).ok()?;
        Some(zoned.start_of_day().ok()?.timestamp())
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Zone {}

impl Period {
    /// The segment of a month in which the plan with a number in the org's history was in force.
    #[must_use]
    pub const fn segment(month: i32, plan: u32) -> Self {
        let plan = (plan % SEGMENTS_OF_MONTH).cast_signed();
        let number = month.saturating_mul(SEGMENTS_OF_MONTH.cast_signed()).saturating_add(plan);
        Self { window: Window::Segment, number }
    }

    /// The month that a segment is a part of.
    #[must_use]
    pub const fn month_of_segment(number: i32) -> Self {
        Self::month(number.div_euclid(SEGMENTS_OF_MONTH.cast_signed()))
    }

    /// The month with a number.
    #[must_use]
    pub const fn month(number: i32) -> Self {
        Self { window: Window::Month, number }
    }

    /// The week that holds a day.
    #[must_use]
    pub(crate) const fn week_of(day: i32) -> Self {
        Self { window: Window::Week, number: week_of_day(day) }
    }

    /// The week from a day of the week on that holds a day of the calendar.
    #[must_use]
    pub(crate) fn week_from(from: WeekDay, day: i32) -> Self {
        let number = week_of_day(day.saturating_sub(from.get().into()));
        Self { window: Window::WeekFrom(from), number }
    }

    /// The month from a day on that holds a day of the calendar.
    #[must_use]
    pub(crate) fn month_from(from: MonthDay, day: i32) -> Self {
        let date = date_of_day(day);
        let month = month_number(date);
        let begun = date >= day_in_month(month, from);
        Self { window: Window::MonthFrom(from), number: if begun { month } else { month - 1 } }
    }

    /// What names a minute of UTC in a window that goes by usage: of a rolling one the slot that holds it, which is a sixtieth
    /// of the window, of one from the first use the minute itself.
    #[must_use]
    pub(crate) fn minute_in(window: Window, minute: i32) -> Self {
        let number = match window {
            Window::Rolling(hours) => minute.div_euclid(hours.get().into()),
            _ => minute,
        };
        Self { window, number }
    }

    /// The day with a number.
    #[must_use]
    pub const fn day(number: i32) -> Self {
        Self { window: Window::Day, number }
    }

    /// The days of the week of a day period: 0 is Monday.
    #[must_use]
    pub(crate) fn weekday(day: i32) -> usize {
        usize::try_from(date_of_day(day).weekday().to_monday_zero_offset()).unwrap_or_default()
    }

    /// Day numbers of a month: its first day and the first day of the next month.
    #[must_use]
    pub fn days_of_month(month: i32) -> (i32, i32) {
        (day_number(date_of_month(month)), day_number(date_of_month(month + 1)))
    }

    /// The calendar name of the period, of a segment that of its month, of others the time that names them: `2026-10`, `2026-W44`,
    /// `2026-10-31`, `2026-10-31T09:00Z`, `lifetime`.
    #[must_use]
    pub fn label(self) -> String {
        match self.window {
            Window::Minute => stamp_label(i64::from(self.number) * 60),
            Window::Hour => stamp_label(i64::from(self.number) * 3_600),
            Window::Day => date_of_day(self.number).to_string(),
            Window::Week => {
                let week = date_of_day(first_day_of_week(self.number)).iso_week_date();
                format!("{:04}-W{:02}", week.year(), week.week())
            }
            Window::Month | Window::PlanMonth => {
                let date = date_of_month(self.number);
                format!("{:04}-{:02}", date.year(), date.month())
            }
            Window::WeekFrom(day) => date_of_day(first_day_of_week_from(self.number, day)).to_string(),
            Window::MonthFrom(day) => day_in_month(self.number, day).to_string(),
            Window::Rolling(hours) => stamp_label(i64::from(self.number) * i64::from(hours.get()) * 60),
            Window::FirstUse(_) => stamp_label(i64::from(self.number) * 60),
            Window::Lifetime => "lifetime".to_owned(),
            Window::Segment => Self::month_of_segment(self.number).label(),
        }
    }

    /// Reads a month written `2026-10`.
    #[must_use]
    pub fn parse_month(text: &str) -> Option<Self> {
        let (year, month) = text.split_once('-')?;
        if year.len() != 4
            || month.len() != 2
            || !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
        {
            return None;
        }
        let date = Date::new(year.parse().ok()?, month.parse().ok()?, 1).ok()?;
        Some(Self::month(month_number(date)))
    }

    /// Reads a day written `2026-10-31`.
    #[must_use]
    pub fn parse_day(text: &str) -> Option<Self> {
        if text.len() != 10 || !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
            return None;
        }
        let date: Date = text.parse().ok()?;
        Some(Self::day(day_number(date)))
    }
}

fn stamp_label(seconds: i64) -> String {
    second(seconds).map_or_else(String::new, |at| at.strftime("%Y-%m-%dT%H:%MZ").to_string())
}

fn second(seconds: i64) -> Option<Timestamp> {
    Timestamp::from_second(seconds).ok()
}

/// Saturates; every moment the calendar can name fits.
fn whole(number: i64) -> i32 {
    i32::try_from(number).unwrap_or(if number < 0 { i32::MIN } else { i32::MAX })
}

fn day_number(date: Date) -> i32 {
    let epoch = Date::constant(1970, 1, 1);
    date.since((jiff::Unit::Day, epoch)).map_or(0, |span| span.get_days())
}

fn date_of_day(day: i32) -> Date {
    Date::constant(1970, 1, 1).saturating_add(i64::from(day).days())
}

/// Weeks from Monday to Monday; that of 1970-01-01, a Thursday, has number zero.
const fn week_of_day(day: i32) -> i32 {
    day.saturating_add(3).div_euclid(7)
}

/// Its Monday.
const fn first_day_of_week(week: i32) -> i32 {
    week.saturating_mul(7).saturating_sub(3)
}

/// The day of the week with a number from which another kind of week goes.
fn first_day_of_week_from(week: i32, from: WeekDay) -> i32 {
    first_day_of_week(week).saturating_add(from.get().into())
}

fn month_number(date: Date) -> i32 {
    i32::from(date.year()) * 12 + i32::from(date.month()) - 1
}

fn date_of_month(month: i32) -> Date {
    let year = i16::try_from(month.div_euclid(12)).unwrap_or(i16::MAX);
    let month = i8::try_from(month.rem_euclid(12) + 1).unwrap_or(1);
    Date::new(year, month, 1).unwrap_or(Date::MAX)
}

/// A day of a month, or its last one.
fn day_in_month(month: i32, day: MonthDay) -> Date {
    let first = date_of_month(month);
    let day = day.get().cast_signed().min(first.days_in_month());
    Date::new(first.year(), first.month(), day).unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn weeks_go_from_monday_to_monday_in_the_zone_of_the_org() {
        for (zone, moment, label, start, end) in [
            ("UTC", "1970-01-01T00:00:00Z", "1970-W01", "1969-12-29T00:00:00Z", "1970-01-05T00:00:00Z"),
            ("UTC", "1969-12-28T23:59:59Z", "1969-W52", "1969-12-22T00:00:00Z", "1969-12-29T00:00:00Z"),
            // A week belongs to the year of its Thursday.
            ("UTC", "2027-01-03T23:59:59Z", "2026-W53", "2026-12-28T00:00:00Z", "2027-01-04T00:00:00Z"),
            // The clocks go back in the night to Sunday: a week of 169 hours.
            (
                "Europe/Berlin",
                "2026-10-25T22:59:59Z",
                "2026-W43",
                "2026-10-18T22:00:00Z",
                "2026-10-25T23:00:00Z",
            ),
            (
                "Asia/Kathmandu",
                "2026-11-01T18:15:00Z",
                "2026-W45",
                "2026-11-01T18:15:00Z",
                "2026-11-08T18:15:00Z",
            ),
        ] {
            let zone = Zone::new(zone).expect("a zone");
            let week = zone.period_at(Window::Week, at(moment));
            assert_eq!(week.label(), label, "{moment}");
            assert_eq!(zone.bounds(week), (Some(at(start)), Some(at(end))), "{moment}");
            assert_eq!(zone.period_at(Window::Week, at(start)), week, "{moment}");
            assert_eq!(zone.period_at(Window::Week, at(end)).number, week.number + 1, "{moment}");
        }
    }

    #[test]
    fn weeks_from_another_day_go_to_that_day() {
        for (day, zone, moment, label, start, end) in [
            (
                "sunday",
                "UTC",
                "1970-01-01T00:00:00Z",
                "1969-12-28",
                "1969-12-28T00:00:00Z",
                "1970-01-04T00:00:00Z",
            ),
            (
                "sunday",
                "UTC",
                "2026-11-28T23:59:59Z",
                "2026-11-22",
                "2026-11-22T00:00:00Z",
                "2026-11-29T00:00:00Z",
            ),
            (
                "monday",
                "UTC",
                "2026-11-29T23:59:59Z",
                "2026-11-23",
                "2026-11-23T00:00:00Z",
                "2026-11-30T00:00:00Z",
            ),
            // The clocks go back in the night to its first day.
            (
                "sunday",
                "Europe/Berlin",
                "2026-10-25T22:59:59Z",
                "2026-10-25",
                "2026-10-24T22:00:00Z",
                "2026-10-31T23:00:00Z",
            ),
            (
                "saturday",
                "Asia/Kathmandu",
                "2026-10-30T18:15:00Z",
                "2026-10-31",
                "2026-10-30T18:15:00Z",
                "2026-11-06T18:15:00Z",
            ),
        ] {
            let zone = Zone::new(zone).expect("a zone");
            let window = format!("week_from_{day}").parse().expect("a window");
            let week = zone.period_at(window, at(moment));
            assert_eq!(week.label(), label, "{moment}");
            assert_eq!(zone.bounds(week), (Some(at(start)), Some(at(end))), "{moment}");
            assert_eq!(zone.period_at(window, at(start)), week, "{moment}");
            assert_eq!(zone.period_at(window, at(end)).number, week.number + 1, "{moment}");
            assert_eq!(crate::Moment::new(&zone, at(moment)).period(window), week, "{moment}");
        }
    }

    /// The clocks went back at a minute past midnight: 23:01 to 24:00 came again when the next day had begun.
    #[test]
    fn a_day_that_has_begun_is_not_left_again() {
        let zone = Zone::new("America/St_Johns").expect("a zone");
        for (moment, day) in [
            ("2010-11-07T02:29:59Z", "2010-11-06"),
            ("2010-11-07T02:30:00Z", "2010-11-07"),
            ("2010-11-07T02:31:00Z", "2010-11-07"),
            ("2010-11-07T03:29:59Z", "2010-11-07"),
            ("2010-11-08T03:29:59Z", "2010-11-07"),
            ("2010-11-08T03:30:00Z", "2010-11-08"),
        ] {
            assert_eq!(zone.period_at(Window::Day, at(moment)).label(), day, "{moment}");
        }
    }

    #[test]
    fn what_names_no_zone_is_refused() {
        for name in ["", "Mars/Olympus", "Etc/Unknown", "EtC/unknown", "+02:00", "Europe/Berlin "] {
            assert_eq!(Zone::new(name), Err(ZoneError), "{name:?}");
        }
        for name in ["Factory", "factory", "Mars/Olympus"] {
            assert_eq!(Zone::chosen(name), Err(ZoneError), "{name:?}");
        }
        assert_eq!(Zone::chosen("Europe/Berlin"), Zone::new("Europe/Berlin"));
        for name in ["UTC", "Etc/UTC", "GMT", "Europe/Berlin", "Asia/Kathmandu"] {
            assert_eq!(Zone::new(name).map(|zone| zone.name().to_owned()), Ok(name.to_owned()));
        }
    }

    #[test]
    fn months_begin_and_end_in_the_zone_of_the_org() {
        for (zone, moment, month, start, end) in [
            (
                "UTC",
                "2026-10-31T23:59:59.999999999Z",
                "2026-10",
                "2026-10-01T00:00:00Z",
                "2026-11-01T00:00:00Z",
            ),
            ("UTC", "2026-11-01T00:00:00Z", "2026-11", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"),
            (
                "Europe/Berlin",
                "2026-10-31T22:59:59Z",
                "2026-10",
                "2026-09-30T22:00:00Z",
                "2026-10-31T23:00:00Z",
            ),
            (
                "Europe/Berlin",
                "2026-10-31T23:00:00Z",
                "2026-11",
                "2026-10-31T23:00:00Z",
                "2026-11-30T23:00:00Z",
            ),
            (
                "Pacific/Kiritimati",
                "2026-12-31T10:00:00Z",
                "2027-01",
                "2026-12-31T10:00:00Z",
                "2027-01-31T10:00:00Z",
            ),
            (
                "Asia/Kathmandu",
                "2028-02-29T18:14:59Z",
                "2028-02",
                "2028-01-31T18:15:00Z",
                "2028-02-29T18:15:00Z",
            ),
        ] {
            let zone = Zone::new(zone).expect("a zone");
            let period = zone.period_at(Window::Month, at(moment));
            assert_eq!(period.label(), month, "{zone:?} {moment}");
            assert_eq!(zone.bounds(period), (Some(at(start)), Some(at(end))), "{zone:?} {moment}");
        }
    }

    #[test]
    fn days_of_23_and_25_hours_cover_the_line_once() {
        for (zone, day, hours) in [
            ("Europe/Berlin", "2026-03-29", 23),
            ("Europe/Berlin", "2026-10-25", 25),
            ("America/Sao_Paulo", "2017-10-15", 23),
            ("Australia/Lord_Howe", "2026-06-01", 24),
        ] {
            let zone = Zone::new(zone).expect("a zone");
            let noon =
                day.parse::<Date>().expect("a date").at(12, 0, 0, 0).to_zoned(zone.tz.clone()).expect("noon");
            let period = zone.period_at(Window::Day, noon.timestamp());
            let (Some(start), Some(end)) = zone.bounds(period) else { panic!("a day has bounds") };
            assert_eq!(end.as_second() - start.as_second(), hours * 3_600, "{zone:?} {day}");
            assert_eq!(zone.period_at(Window::Day, start), period);
            assert_eq!(zone.period_at(Window::Day, end).number, period.number + 1);
        }
    }

    #[test]
    fn a_month_is_read_only_as_written() {
        assert_eq!(Period::parse_month("2026-10").map(Period::label).as_deref(), Some("2026-10"));
        for text in ["2026-13", "2026-1", "26-10", "2026-10-01", "", "-", "2026-00", "+026-10"] {
            assert_eq!(Period::parse_month(text), None, "{text}");
        }
    }
}

//! The moment of a decision, seen from a time zone.

use std::cell::RefCell;

use jiff::Timestamp;

use crate::limits::DAYS_SEEN_MAX;
use crate::{Period, Window, Zone};

/// A moment with the periods that hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The moment.
    pub at: Timestamp,
    /// The minute of UTC.
    pub minute: Period,
    /// The hour of UTC.
    pub hour: Period,
    /// The day of the org's calendar.
    pub day: Period,
    /// The month of the org's calendar.
    pub month: Period,
    /// The number of the plan in force, in the org's history; zero: none was set before.
    pub plan: u32,
    /// First instant of the month.
    pub month_start: Timestamp,
    /// First instant after the month.
    pub month_end: Timestamp,
    /// First instant after the day.
    pub day_end: Timestamp,
    /// First instant after the week.
    pub week_end: Timestamp,
}

impl Moment {
    /// Looks at a moment from a zone, before any plan.
    #[must_use]
    pub fn new(zone: &Zone, at: Timestamp) -> Self {
        let month = zone.period_at(Window::Month, at);
        let (start, end) = zone.bounds(month);
        let day = zone.period_at(Window::Day, at);
        Self {
            at,
            minute: Zone::UTC.period_at(Window::Minute, at),
            hour: Zone::UTC.period_at(Window::Hour, at),
            day,
            month,
            plan: 0,
            month_start: start.unwrap_or(Timestamp::MIN),
            month_end: end.unwrap_or(Timestamp::MAX),
            day_end: zone.bounds(day).1.unwrap_or(Timestamp::MAX),
            week_end: zone.bounds(Period::week_of(day.number)).1.unwrap_or(Timestamp::MAX),
        }
    }

    /// Another moment of the same day.
    fn at_that_day(self, at: Timestamp) -> Self {
        let minute = Zone::UTC.period_at(Window::Minute, at);
        let hour = Zone::UTC.period_at(Window::Hour, at);
        Self { at, minute, hour, ..self }
    }

    /// The first instant after a period of this moment, as an org sees it; `None`: it has no end.
    #[must_use]
    pub(crate) fn end(&self, zone: &Zone, period: Period) -> Option<Timestamp> {
        let end = match period.window {
            Window::Day => self.day_end,
            Window::Week => self.week_end,
            Window::Month | Window::Segment => self.month_end,
            _ => return zone.bounds(period).1,
        };
        (end < Timestamp::MAX).then_some(end)
    }

    /// The period of a window that holds this moment.
    #[must_use]
    pub fn period(&self, window: Window) -> Period {
        match window {
            Window::Minute => self.minute,
            Window::Hour => self.hour,
            Window::Day => self.day,
            Window::Week => Period::week_of(self.day.number),
            Window::WeekFrom(from) => Period::week_from(from, self.day.number),
            Window::Month | Window::PlanMonth => self.month,
            Window::MonthFrom(day) => Period::month_from(day, self.day.number),
            Window::Rolling(_) | Window::FirstUse(_) => Period::minute_in(window, self.minute.number),
            Window::Lifetime => Period { window: Window::Lifetime, number: 0 },
            Window::Segment => Period::segment(self.month.number, self.plan),
        }
    }
}

/// The minute of UTC that holds a moment.
pub(crate) fn minute_of(at: Timestamp) -> i32 {
    Zone::UTC.period_at(Window::Minute, at).number
}

/// One moment as seen from every zone that asked, and others of the days around it: calendar arithmetic is done once for
/// each zone and day, not once for each command.
#[derive(Debug)]
pub struct Moments {
    at: Timestamp,
    seen: RefCell<Vec<(Zone, Moment)>>,
    days: RefCell<Vec<SeenDay>>,
}

/// A day of a zone's calendar.
#[derive(Debug)]
struct SeenDay {
    from: Timestamp,
    until: Timestamp,
    zone: Zone,
    /// Some moment of it.
    moment: Moment,
}

impl SeenDay {
    fn holding(zone: &Zone, at: Timestamp) -> Self {
        let moment = Moment::new(zone, at);
        let (from, until) = zone.bounds(moment.day);
        let (from, until) = (from.unwrap_or(Timestamp::MIN), until.unwrap_or(Timestamp::MAX));
        Self { from, until, zone: zone.clone(), moment }
    }

    fn holds(&self, zone: &Zone, at: Timestamp) -> bool {
        (self.from..self.until).contains(&at) && self.zone == *zone
    }
}

impl Moments {
    /// For one moment.
    #[must_use]
    pub const fn new(at: Timestamp) -> Self {
        Self { at, seen: RefCell::new(Vec::new()), days: RefCell::new(Vec::new()) }
    }

    /// The moment itself.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// Another moment, from a zone.
    #[must_use]
    pub fn other_in_zone(&self, zone: &Zone, at: Timestamp) -> Moment {
        if at == self.at {
            return self.in_zone(zone);
        }
        let mut days = self.days.borrow_mut();
        if let Some(day) = days.iter().find(|day| day.holds(zone, at)) {
            return day.moment.at_that_day(at);
        }
        let day = SeenDay::holding(zone, at);
        let moment = day.moment;
        if days.len() < DAYS_SEEN_MAX {
            days.push(day);
        }
        moment
    }

    /// The moment from a zone.
    #[must_use]
    pub fn in_zone(&self, zone: &Zone) -> Moment {
        let mut seen = self.seen.borrow_mut();
        if let Some((_, moment)) = seen.iter().find(|(known, _)| known == zone) {
            return *moment;
        }
        let moment = Moment::new(zone, self.at);
        seen.push((zone.clone(), moment));
        moment
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_of_a_day_that_was_seen_is_the_moment_itself() {
        let zones = ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/Sao_Paulo", "Pacific/Apia"];
        let zones = zones.map(|name| Zone::new(name).expect("a zone"));
        // Two days around a change of clocks and the end of a month, in steps that meet midnight nowhere and everywhere.
        let first: Timestamp = "2026-10-24T12:00:00Z".parse().expect("a time");
        let moments = Moments::new(first);
        for step_secs in [3_600, 5_471] {
            for step in 0..(9 * 86_400 / step_secs) {
                let at = Timestamp::from_second(first.as_second() + step * step_secs).expect("a time");
                for zone in &zones {
                    assert_eq!(moments.other_in_zone(zone, at), Moment::new(zone, at), "{zone:?} {at}");
                }
            }
        }
        assert!(moments.days.borrow().len() <= zones.len() * 10);
    }
}

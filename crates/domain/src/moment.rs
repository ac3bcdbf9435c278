//! The moment of a decision, seen from a time zone.

use std::cell::RefCell;

use jiff::Timestamp;

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
    /// First instant of the month.
    pub month_start: Timestamp,
    /// First instant after the month.
    pub month_end: Timestamp,
}

impl Moment {
    /// Looks at a moment from a zone.
    #[must_use]
    pub fn new(zone: &Zone, at: Timestamp) -> Self {
        let month = zone.period_at(Window::Month, at);
        let (start, end) = zone.bounds(month);
        Self {
            at,
            minute: zone.period_at(Window::Minute, at),
            hour: zone.period_at(Window::Hour, at),
            day: zone.period_at(Window::Day, at),
            month,
            month_start: start.unwrap_or(Timestamp::MIN),
            month_end: end.unwrap_or(Timestamp::MAX),
        }
    }

    /// The period of a window that holds this moment.
    #[must_use]
    pub const fn period(&self, window: Window) -> Period {
        match window {
            Window::Minute => self.minute,
            Window::Hour => self.hour,
            Window::Day => self.day,
            Window::Month => self.month,
            Window::Lifetime => Period { window: Window::Lifetime, number: 0 },
        }
    }
}

/// One moment as seen from every zone that asked: calendar arithmetic is done once per zone, not once per command.
#[derive(Debug)]
pub struct Moments {
    at: Timestamp,
    seen: RefCell<Vec<(Zone, Moment)>>,
}

impl Moments {
    /// For one moment.
    #[must_use]
    pub const fn new(at: Timestamp) -> Self {
        Self { at, seen: RefCell::new(Vec::new()) }
    }

    /// The moment itself.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// Another moment, from a zone.
    #[must_use]
    pub fn other_in_zone(&self, zone: &Zone, at: Timestamp) -> Moment {
        if at == self.at { self.in_zone(zone) } else { Moment::new(zone, at) }
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

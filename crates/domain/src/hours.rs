//! Hours: when a channel for people delivers. During quiet hours everything waits; with a digest, the notices of a day
//! come as one message at one time of the day.
//!
//! Times of the day are those of a zone's clocks. One that the clocks skip counts as much later as they skip; one that
//! they show twice counts the first time.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use crate::Zone;

/// A time of the day, to the minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClockTime(u32);

const MINUTES_OF_DAY: u32 = 24 * 60;

impl ClockTime {
    /// The time that begins with a minute of the day; `None`: a day has no such minute.
    #[must_use]
    pub const fn from_minute(minute: u32) -> Option<Self> {
        if minute < MINUTES_OF_DAY { Some(Self(minute)) } else { None }
    }

    /// Minutes since midnight, as clocks show it.
    #[must_use]
    pub const fn minute(self) -> u32 {
        self.0
    }
}

impl FromStr for ClockTime {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let two = |text: &str, end: u32| {
            let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u32>().ok().filter(|number| digits && *number < end)
        };
        let parts = text.split_once(':').and_then(|(hour, minute)| Some((two(hour, 24)?, two(minute, 60)?)));
        let (hour, minute) = parts.ok_or("must be a time of the day such as 22:00")?;
        Ok(Self(hour * 60 + minute))
    }
}

impl fmt::Display for ClockTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// A part of each day in which nothing is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuietHours {
    /// When they begin.
    pub from: ClockTime,
    /// When they end: on the next day, if that is earlier.
    pub to: ClockTime,
}

impl QuietHours {
    fn has(self, time: ClockTime) -> bool {
        let (after, before) = (time >= self.from, time < self.to);
        if self.from < self.to { after && before } else { after || before }
    }
}

/// When a channel delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hours {
    /// Whose clocks the times of the day are of.
    pub zone: Zone,
    /// When nothing is delivered.
    pub quiet: Option<QuietHours>,
    /// When the notices since the last time are delivered as one message.
    pub digest: Option<ClockTime>,
}

/// Why hours are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HoursError {
    /// They are the whole day, or nothing of it.
    #[error("must end at another time than they begin")]
    AllDay,
    /// The digest would never be delivered when it should be.
    #[error("must not be in the quiet hours")]
    QuietDigest,
}

impl Hours {
    /// Whether there is a time for everything.
    ///
    /// # Errors
    /// [`HoursError`].
    pub fn check(&self) -> Result<(), HoursError> {
        let Some(quiet) = self.quiet else { return Ok(()) };
        if quiet.from == quiet.to {
            return Err(HoursError::AllDay);
        }
        if self.digest.is_some_and(|digest| quiet.has(digest)) {
            return Err(HoursError::QuietDigest);
        }
        Ok(())
    }

    /// The end of the quiet hours that a moment is in, if it is in any.
    #[must_use]
    pub fn quiet_until(&self, now: Timestamp) -> Option<Timestamp> {
        let QuietHours { from, to } = self.quiet?;
        let span = |day: i32| {
            let last = if from < to { day } else { day + 1 };
            Some((self.zone.at_clock(day, from.0)?, self.zone.at_clock(last, to.0)?))
        };
        let spans = self.days_around(now).filter_map(span);
        spans.filter(|(start, end)| *start <= now && now < *end).map(|(_, end)| end).max()
    }

    /// When the latest digest before a moment was due, or at that very moment.
    #[must_use]
    pub fn last_digest(&self, now: Timestamp) -> Option<Timestamp> {
        self.digests(now).filter(|at| *at <= now).max()
    }

    /// When the first digest after a moment is due.
    #[must_use]
    pub fn next_digest(&self, now: Timestamp) -> Option<Timestamp> {
        self.digests(now).filter(|at| *at > now).min()
    }

    fn digests(&self, now: Timestamp) -> impl Iterator<Item = Timestamp> {
        let days = self.days_around(now);
        self.digest
            .into_iter()
            .flat_map(move |time| days.clone().filter_map(move |day| self.zone.at_clock(day, time.0)))
    }

    /// The days whose hours may matter at a moment: clocks may skip a whole day.
    fn days_around(&self, now: Timestamp) -> std::ops::RangeInclusive<i32> {
        let today = self.zone.period_at(crate::Window::Day, now).number;
        today - 2..=today + 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> ClockTime {
        text.parse().expect("a time of the day")
    }

    fn hours(zone: &str, quiet: Option<(&str, &str)>, digest: Option<&str>) -> Hours {
        let quiet = quiet.map(|(from, to)| QuietHours { from: time(from), to: time(to) });
        Hours { zone: Zone::new(zone).expect("a zone"), quiet, digest: digest.map(time) }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn times_of_the_day_are_read_and_shown() {
        for text in ["00:00", "07:05", "23:59"] {
            assert_eq!(time(text).to_string(), text);
        }
        for wrong in ["", "7:00", "24:00", "12:60", "12", "12:00:00", "+1:00", "1a:00", "12: 5"] {
            assert!(wrong.parse::<ClockTime>().is_err(), "{wrong}");
        }
        assert_eq!(
            (ClockTime::from_minute(1_439).map(ClockTime::minute), ClockTime::from_minute(1_440)),
            (Some(1_439), None)
        );
    }

    #[test]
    fn quiet_hours_begin_and_end_by_the_clocks_of_their_zone() {
        let night = Some(("22:00", "07:00"));
        for (zone, quiet, now, until) in [
            ("UTC", night, "2026-11-02T21:59:59Z", None),
            ("UTC", night, "2026-11-02T22:00:00Z", Some("2026-11-03T07:00:00Z")),
            ("UTC", night, "2026-11-03T06:59:59Z", Some("2026-11-03T07:00:00Z")),
            ("UTC", night, "2026-11-03T07:00:00Z", None),
            ("UTC", Some(("12:00", "13:30")), "2026-11-03T13:00:00Z", Some("2026-11-03T13:30:00Z")),
            ("UTC", Some(("12:00", "13:30")), "2026-11-03T14:00:00Z", None),
            ("America/New_York", night, "2026-11-03T03:00:00Z", Some("2026-11-03T12:00:00Z")),
            ("Asia/Kolkata", night, "2026-11-03T01:00:00Z", Some("2026-11-03T01:30:00Z")),
            ("UTC", None, "2026-11-03T01:00:00Z", None),
            // In the night of 2026-10-25 clocks go back from 03:00 to 02:00, on 2026-03-29 forward from 02:00 to 03:00.
            ("Europe/Berlin", night, "2026-10-24T20:00:00Z", Some("2026-10-25T06:00:00Z")),
            ("Europe/Berlin", night, "2026-03-28T21:00:00Z", Some("2026-03-29T05:00:00Z")),
            // An end that comes twice is the first one; one that is skipped comes as much later.
            ("Europe/Berlin", Some(("22:00", "02:30")), "2026-10-25T00:00:00Z", Some("2026-10-25T00:30:00Z")),
            ("Europe/Berlin", Some(("22:00", "02:30")), "2026-10-25T00:45:00Z", None),
            ("Europe/Berlin", Some(("22:00", "02:30")), "2026-10-25T01:15:00Z", None),
            ("Europe/Berlin", Some(("22:00", "02:30")), "2026-03-29T00:59:00Z", Some("2026-03-29T01:30:00Z")),
            // Hours that the clocks skip whole are none.
            ("Europe/Berlin", Some(("02:00", "03:00")), "2026-03-29T01:00:00Z", None),
        ] {
            let until = until.map(at);
            assert_eq!(hours(zone, quiet, None).quiet_until(at(now)), until, "{zone} {quiet:?} {now}");
        }
    }

    #[test]
    fn a_digest_is_due_once_a_day_by_the_clocks_of_its_zone() {
        for (zone, digest, now, last, next) in [
            ("UTC", "09:00", "2026-11-02T09:00:00Z", "2026-11-02T09:00:00Z", "2026-11-03T09:00:00Z"),
            ("UTC", "09:00", "2026-11-02T08:59:59Z", "2026-11-01T09:00:00Z", "2026-11-02T09:00:00Z"),
            // A day of 25 hours, and one of 23.
            (
                "Europe/Berlin",
                "09:00",
                "2026-10-24T12:00:00Z",
                "2026-10-24T07:00:00Z",
                "2026-10-25T08:00:00Z",
            ),
            (
                "Europe/Berlin",
                "09:00",
                "2026-03-28T12:00:00Z",
                "2026-03-28T08:00:00Z",
                "2026-03-29T07:00:00Z",
            ),
            (
                "Europe/Berlin",
                "02:30",
                "2026-10-25T01:45:00Z",
                "2026-10-25T00:30:00Z",
                "2026-10-26T01:30:00Z",
            ),
            (
                "Europe/Berlin",
                "02:30",
                "2026-03-29T01:00:00Z",
                "2026-03-28T01:30:00Z",
                "2026-03-29T01:30:00Z",
            ),
            // Clocks skipped the whole 2011-12-30.
            ("Pacific/Apia", "09:00", "2011-12-29T20:00:00Z", "2011-12-29T19:00:00Z", "2011-12-30T19:00:00Z"),
        ] {
            let hours = hours(zone, None, Some(digest));
            let found = (hours.last_digest(at(now)), hours.next_digest(at(now)));
            assert_eq!(found, (Some(at(last)), Some(at(next))), "{zone} {digest} {now}");
        }
        assert_eq!(hours("UTC", None, None).next_digest(at("2026-11-02T09:00:00Z")), None);
    }

    #[test]
    fn hours_leave_a_time_for_everything() {
        for (quiet, digest, told) in [
            (Some(("22:00", "07:00")), Some("07:00"), Ok(())),
            (Some(("22:00", "07:00")), Some("21:59"), Ok(())),
            (Some(("22:00", "07:00")), Some("22:00"), Err(HoursError::QuietDigest)),
            (Some(("22:00", "07:00")), Some("00:00"), Err(HoursError::QuietDigest)),
            (Some(("12:00", "13:00")), Some("12:30"), Err(HoursError::QuietDigest)),
            (Some(("12:00", "13:00")), Some("13:00"), Ok(())),
            (Some(("07:00", "07:00")), None, Err(HoursError::AllDay)),
            (None, Some("09:00"), Ok(())),
        ] {
            assert_eq!(hours("UTC", quiet, digest).check(), told, "{quiet:?} {digest:?}");
        }
    }
}

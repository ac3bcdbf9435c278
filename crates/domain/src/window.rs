//! Windows: the stretches of time that counters and limits go by, and their names.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::WINDOW_HOURS_MAX;

/// A stretch of time that counters and limits go by.
///
/// Minutes and hours are those of UTC: a day of 23 or 25 hours moves none of them. Days, weeks and months are those of the
/// org's own calendar. What is counted in hours is so long whatever the clocks do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Window {
    /// From full minute to full minute.
    Minute,
    /// From full hour to full hour.
    Hour,
    /// A day of the org's calendar.
    Day,
    /// A week of the org's calendar, from Monday on.
    Week,
    /// A week of the org's calendar, from a day of the week on.
    WeekFrom(WeekDay),
    /// A month of the org's calendar.
    Month,
    /// From the first usage on, without end.
    Lifetime,
    /// The part of a month in which one plan was in force: what bills go by. Nobody asks for it by name.
    Segment,
    /// A month from the day on which the org's plan began: of each org that has the limit a [`Self::MonthFrom`].
    PlanMonth,
    /// A month from a day of the org's calendar on.
    MonthFrom(MonthDay),
    /// The last hours, at any moment.
    Rolling(WindowHours),
    /// WindowHours from the first usage on; the next usage after them begins the next ones.
    FirstUse(WindowHours),
}

/// How long a window that moves with usage is, in hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowHours(u16);

/// A day of a month: in a month that is too short its last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonthDay(u8);

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WeekDay(u8);

impl WeekDay {
    /// The days by their names, from Monday on.
    const NAMES: [&'static str; 7] =
        ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

    /// The day that comes so many days after a Monday; `None`: that is another week.
    #[must_use]
    pub const fn new(after_monday: u8) -> Option<Self> {
        if after_monday < 7 { Some(Self(after_monday)) } else { None }
    }

    /// How many days it comes after a Monday.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The day by its name on the wire: `sunday`.
    fn named(name: &str) -> Option<Self> {
        (0..7).filter_map(Self::new).find(|day| day.name().to_lowercase() == name)
    }

    fn name(self) -> &'static str {
        Self::NAMES.get(usize::from(self.0)).copied().unwrap_or_default()
    }
}

impl WindowHours {
    /// So many hours; `None`: no window is so short or so long.
    #[must_use]
    pub const fn new(hours: u16) -> Option<Self> {
        if hours >= 1 && hours <= WINDOW_HOURS_MAX { Some(Self(hours)) } else { None }
    }

    /// How many.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// In minutes.
    #[must_use]
    pub fn minutes(self) -> i32 {
        i32::from(self.0) * 60
    }

    /// In seconds.
    #[must_use]
    pub fn secs(self) -> u32 {
        u32::from(self.0) * 3_600
    }
}

/// Whole days where there are some: `5h`, `7d`.
impl fmt::Display for WindowHours {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 % 24 {
            0 => write!(formatter, "{}d", self.0 / 24),
            _ => write!(formatter, "{}h", self.0),
        }
    }
}

impl MonthDay {
    /// The first.
    pub const FIRST: Self = Self(1);

    /// The day with a number, from 1 to 31.
    #[must_use]
    pub const fn new(day: u8) -> Option<Self> {
        if day >= 1 && day <= 31 { Some(Self(day)) } else { None }
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Window {
    /// All windows of the calendar, narrowest first: those that series are told in, and few enough to be listed.
    pub const ALL: [Self; 6] = [Self::Minute, Self::Hour, Self::Day, Self::Week, Self::Month, Self::Lifetime];

    /// Those of the calendar that are counted only where a limit or a meter asks for them.
    pub const ON_REQUEST: [Self; 3] = [Self::Minute, Self::Hour, Self::Week];

    /// What the names of windows look like.
    pub const NAMES: &'static str = "must be one of 'minute', 'hour', 'day', 'week', 'month', 'lifetime', 'plan_month', or such as \
         'week_from_sunday', 'month_from_15', 'rolling_5h', 'first_use_7d'";

    /// Whether only a limit asks for it, so that usage is counted in it only while one is there.
    pub(crate) const fn is_of_limits(self) -> bool {
        matches!(
            self,
            Self::WeekFrom(_) | Self::PlanMonth | Self::MonthFrom(_) | Self::Rolling(_) | Self::FirstUse(_)
        )
    }

    /// Whether it goes by usage, not by the calendar.
    #[must_use]
    pub const fn moves(self) -> bool {
        matches!(self, Self::Rolling(_) | Self::FirstUse(_))
    }

    /// How long it is, about: what the order goes by in which limits are checked.
    pub(crate) fn width_secs(self) -> u64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
            Self::Week | Self::WeekFrom(_) => 7 * 86_400,
            Self::Segment | Self::Month | Self::PlanMonth | Self::MonthFrom(_) => 31 * 86_400,
            Self::Rolling(hours) | Self::FirstUse(hours) => hours.secs().into(),
            Self::Lifetime => u64::MAX,
        }
    }

    /// The name on the wire.
    #[must_use]
    pub fn name(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Lifetime => "lifetime",
            Self::Segment => "segment",
            Self::PlanMonth => "plan_month",
            Self::WeekFrom(day) => return Cow::Owned(format!("week_from_{}", day.name().to_lowercase())),
            Self::MonthFrom(day) => return Cow::Owned(format!("month_from_{}", day.get())),
            Self::Rolling(hours) => return Cow::Owned(format!("rolling_{hours}")),
            Self::FirstUse(hours) => return Cow::Owned(format!("first_use_{hours}")),
        })
    }

    /// How a limit over it is said: so much "a month", "in any 5 hours".
    #[must_use]
    pub fn phrase(self) -> String {
        let long = |hours: WindowHours| match (hours.get(), hours.get() / 24, hours.get() % 24) {
            (1, ..) => "hour".to_owned(),
            (_, 1, 0) => "day".to_owned(),
            (_, days, 0) => format!("{days} days"),
            (hours, ..) => format!("{hours} hours"),
        };
        match self {
            Self::PlanMonth => "a month of the plan".to_owned(),
            Self::WeekFrom(day) => format!("a week from {}", day.name()),
            Self::MonthFrom(day) => format!("a month from day {}", day.get()),
            Self::Rolling(hours) => format!("in any {}", long(hours)),
            Self::FirstUse(hours) => format!("in the {} from the first use", long(hours)),
            calendar => format!("a {}", calendar.name()),
        }
    }
}

/// Text that names no window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", Window::NAMES)]
pub struct WindowError;

/// Reads a name on the wire.
impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        let of_calendar = Self::ALL.into_iter().chain([Self::PlanMonth]);
        if let Some(known) = of_calendar.into_iter().find(|window| window.name() == text) {
            return Ok(known);
        }
        let read = || {
            if let Some(day) = text.strip_prefix("month_from_") {
                return MonthDay::new(number(day)?.try_into().ok()?).map(Self::MonthFrom);
            }
            if let Some(day) = text.strip_prefix("week_from_") {
                return WeekDay::named(day).map(Self::WeekFrom);
            }
            match text.strip_prefix("rolling_") {
                Some(long) => hours(long).map(Self::Rolling),
                None => hours(text.strip_prefix("first_use_")?).map(Self::FirstUse),
            }
        };
        read().ok_or(WindowError)
    }
}

/// A number without sign, space and leading zeros.
fn number(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|_| plain)
}

/// WindowHours, as they are or in days.
fn hours(text: &str) -> Option<WindowHours> {
    let hours = match text.strip_suffix('d') {
        Some(days) => number(days)?.checked_mul(24)?,
        None => number(text.strip_suffix('h')?)?,
    };
    WindowHours::new(hours)
}

impl fmt::Display for Window {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name())
    }
}

impl Serialize for Window {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name())
    }
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = Window;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("the name of a window")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Window, E> {
                text.parse().map_err(|error| E::custom(format_args!("{error}, not '{text}'")))
            }
        }
        deserializer.deserialize_str(Name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written_and_nothing_else_is() {
        let hours = |hours| WindowHours::new(hours).expect("hours");
        for (text, window, phrase) in [
            ("minute", Window::Minute, "a minute"),
            ("lifetime", Window::Lifetime, "a lifetime"),
            ("plan_month", Window::PlanMonth, "a month of the plan"),
            ("week_from_monday", Window::WeekFrom(WeekDay(0)), "a week from Monday"),
            ("week_from_sunday", Window::WeekFrom(WeekDay(6)), "a week from Sunday"),
            ("month_from_1", Window::MonthFrom(MonthDay::FIRST), "a month from day 1"),
            ("month_from_31", Window::MonthFrom(MonthDay(31)), "a month from day 31"),
            ("rolling_1h", Window::Rolling(hours(1)), "in any hour"),
            ("rolling_5h", Window::Rolling(hours(5)), "in any 5 hours"),
            ("rolling_7d", Window::Rolling(hours(168)), "in any 7 days"),
            ("rolling_366d", Window::Rolling(hours(8_784)), "in any 366 days"),
            ("first_use_1d", Window::FirstUse(hours(24)), "in the day from the first use"),
            ("first_use_25h", Window::FirstUse(hours(25)), "in the 25 hours from the first use"),
        ] {
            assert_eq!(text.parse(), Ok(window), "{text}");
            assert_eq!(window.to_string(), text);
            assert_eq!(window.phrase(), phrase);
        }
        assert_eq!("rolling_24h".parse(), Ok(Window::Rolling(hours(24))), "a day is 24 hours");
        for text in [
            "",
            "segment",
            "year",
            "Month",
            "week_from_",
            "week_from_Sunday",
            "week_from_sun",
            "week_from_6",
            "month_from_0",
            "month_from_32",
            "month_from_01",
            "month_from_",
            "rolling_",
            "rolling_h",
            "rolling_0h",
            "rolling_05h",
            "rolling_5",
            "rolling_+5h",
            "rolling_ 5h",
            "rolling_5m",
            "rolling_367d",
            "rolling_8785h",
            "rolling_65535h",
            "rolling_99999d",
            "first_use_0d",
            "first_use_5H",
        ] {
            assert_eq!(text.parse::<Window>(), Err(WindowError), "{text}");
        }
    }

    /// Each usage has several of them.
    #[test]
    fn a_period_is_two_words_of_four_bytes() {
        assert_eq!(size_of::<crate::Period>(), 8);
    }
}

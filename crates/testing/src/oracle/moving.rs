//! Windows that go by usage: every usage gone through, each time anew.

use jiff::Timestamp;
use tollgate_domain::{Amount, MeterId, Period, ScopePath, Window};

use super::plans::Whose;
use super::{Counted, History, sum};

/// Into how many parts a rolling window is cut.
const PARTS: i64 = 60;

/// A window that goes by usage, as usage finds it.
pub(super) struct Running {
    /// The period that names it.
    pub(super) period: Period,
    /// What was counted in it.
    pub(super) used: Amount,
    /// When nothing of it counts any more.
    pub(super) ends_at: Option<Timestamp>,
    /// What is counted in it, by when it leaves.
    leaving: Vec<(Timestamp, Amount)>,
}

impl Running {
    /// When so much of it does not count any more, or all.
    pub(super) fn frees_at(&self, amount: Amount) -> Option<Timestamp> {
        let enough = |until: &Timestamp| {
            sum(self.leaving.iter().filter(|(at, _)| at <= until).map(|(_, amount)| *amount)) >= amount
        };
        self.leaving.iter().map(|(at, _)| *at).filter(enough).min().or(self.ends_at)
    }
}

/// How many seconds the part of a window is that usage is named by.
fn part_secs(window: Window) -> i64 {
    match window {
        Window::Rolling(hours) => i64::from(hours.get()) * 3_600 / PARTS,
        _ => 60,
    }
}

fn part_at(window: Window, at: Timestamp) -> i64 {
    at.as_second().div_euclid(part_secs(window))
}

fn start_of(window: Window, part: i64) -> Option<Timestamp> {
    Timestamp::from_second(part * part_secs(window)).ok()
}

/// The parts of a window from the first use.
fn length(window: Window) -> i64 {
    match window {
        Window::FirstUse(hours) => i64::from(hours.get()) * 60,
        _ => PARTS,
    }
}

impl<'a> History<'a> {
    /// The usage of a meter that was counted in a window, in order, what was taken back included.
    fn in_window<'h>(
        &'h self,
        meter: &'h MeterId,
        whose: &'h Whose,
        window: Window,
    ) -> impl Iterator<Item = (i64, &'h Counted<'a>)> {
        let of_meter = self.uses.iter().filter(move |counted| counted.usage.meter == *meter);
        of_meter.filter_map(move |counted| {
            let here = |(of, path, _): &&(Window, Option<ScopePath>, i64)| {
                *of == window && path.as_ref() == whose.path()
            };
            let mine = whose.user().is_none() || counted.user == whose.user();
            let named = counted.parts.iter().find(here).filter(|_| mine);
            named.map(|(_, _, part)| (*part, counted))
        })
    }

    /// By which part usage that happens now is named: never by one before what was counted.
    pub(super) fn part_now(&self, (meter, whose): (&MeterId, &Whose), window: Window, now: Timestamp) -> i64 {
        let own = self.last_part(meter, whose, window);
        // What is counted for a user is counted for the org, too, under one name.
        let of_org = self.last_part(meter, &Whose::Org, window).filter(|_| whose.path().is_none());
        let latest = of_org.max(own);
        part_at(window, now).max(latest.unwrap_or(i64::MIN))
    }

    /// By which part usage is named that is told of after it happened.
    pub(super) fn part_then(window: Window, at: Timestamp, now: Timestamp) -> i64 {
        part_at(window, at).min(part_at(window, now))
    }

    /// The part that the window was last moved to.
    fn last_part(&self, meter: &MeterId, whose: &Whose, window: Window) -> Option<i64> {
        let parts = self.in_window(meter, whose, window).map(|(part, _)| part);
        match window {
            Window::FirstUse(_) => begun(parts, window),
            _ => parts.max(),
        }
    }

    /// The window that a part lies in.
    pub(super) fn running(&self, meter: &MeterId, whose: &Whose, window: Window, part: i64) -> Running {
        let last = self.last_part(meter, whose, window);
        let (from, until) = match (window, last) {
            (Window::FirstUse(_), Some(begun)) if part < begun + length(window) => {
                (begun, begun + length(window))
            }
            (Window::FirstUse(_), _) => (part, part),
            (_, last) => {
                let end = last.unwrap_or(part).max(part);
                (end - PARTS, end + 1)
            }
        };
        let uses: Vec<_> = match window {
            Window::FirstUse(_) => self.since_begun(meter, whose, window, from),
            _ => self.in_window(meter, whose, window).collect(),
        };
        let counted = uses
            .into_iter()
            .filter(|(at, counted)| (from..until).contains(at) && counted.reversed_by.is_none());
        let leaves = |at: i64| match window {
            Window::FirstUse(_) => start_of(window, until),
            _ => start_of(window, at + PARTS + 1),
        };
        let leaving: Vec<(Timestamp, Amount)> =
            counted.filter_map(|(at, counted)| Some((leaves(at)?, counted.quantity))).collect();
        let named = if matches!(window, Window::FirstUse(_)) { from } else { until - 1 };
        let begun = matches!(window, Window::FirstUse(_)) && until > from;
        let end = leaving.iter().map(|(at, _)| *at).max();
        Running {
            period: Period { window, number: i32::try_from(named).unwrap_or(i32::MAX) },
            used: sum(leaving.iter().map(|(_, amount)| *amount)),
            ends_at: if begun { start_of(window, until) } else { end },
            leaving,
        }
    }

    /// The usage in a window since it begun: what came before, of the window before, is not of it.
    fn since_begun<'h>(
        &'h self,
        meter: &'h MeterId,
        whose: &'h Whose,
        window: Window,
        from: i64,
    ) -> Vec<(i64, &'h Counted<'a>)> {
        let uses: Vec<_> = self.in_window(meter, whose, window).collect();
        let parts = |until: usize| uses.iter().take(until).map(|(part, _)| *part);
        let first = (0..=uses.len()).find(|until| begun(parts(*until), window) == Some(from));
        uses.iter().skip(first.map_or(uses.len(), |until| until - 1)).copied().collect()
    }
}

/// Where the last of the windows began that usage began one after the other.
fn begun(parts: impl Iterator<Item = i64>, window: Window) -> Option<i64> {
    parts.fold(None, |begun, part| match begun {
        Some(begun) if part < begun + length(window) => Some(begun),
        _ => Some(part),
    })
}

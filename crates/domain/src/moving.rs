//! Windows that go by usage: rolling ones, and those that begin at first use.
//!
//! Of each there is one counter in a tally, which is never closed: what no decision looks at any more is forgotten. A usage
//! names its minute, or the slot of a rolling window that holds it, and which window that is follows from what was counted
//! before. So a replay of the entries makes the same counters.
//!
//! A rolling window is counted in slots, a sixtieth of it each. At any moment it is the slot of the moment and the sixty before
//! it: never less than its length, and at most a slot more.

use std::sync::Arc;

use crate::limits::ROLLING_SLOTS;
use crate::moment::Moment;
use crate::{Amount, Counter, OpenCounter, Period, Tally, Timestamp, Window, WindowHours};

/// What was counted in the slots of a rolling window, the oldest first. Slots without anything are not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots(Vec<(i32, Amount)>);

impl Slots {
    /// Takes slots as a store keeps them; `None`: they are not in order.
    #[must_use]
    pub fn from_parts(slots: Vec<(i32, Amount)>) -> Option<Self> {
        slots.is_sorted_by(|(slot, _), (next, _)| slot < next).then_some(Self(slots))
    }

    /// The slots.
    #[must_use]
    pub fn parts(&self) -> &[(i32, Amount)] {
        &self.0
    }

    /// Those from one on.
    fn since(&self, oldest: i32) -> &[(i32, Amount)] {
        let (_, since) = self.0.split_at(self.0.partition_point(|(slot, _)| *slot < oldest));
        since
    }

    fn add(&mut self, slot: i32, amount: Amount) {
        let place = self.0.partition_point(|(known, _)| *known < slot);
        match self.0.get_mut(place).filter(|(known, _)| *known == slot) {
            Some((_, sum)) => *sum += amount,
            None => self.0.insert(place, (slot, amount)),
        }
        self.0.retain(|(_, sum)| !sum.is_zero());
    }

    /// Forgets all before a slot; how much that was.
    fn forget_before(&mut self, oldest: i32) -> Amount {
        let gone = self.0.partition_point(|(slot, _)| *slot < oldest);
        self.0.drain(..gone).map(|(_, amount)| amount).sum()
    }
}

/// The oldest slot of a rolling window that ends with a slot.
const fn oldest(slot: i32) -> i32 {
    slot.saturating_sub(ROLLING_SLOTS)
}

/// The first instant at which a slot has left a rolling window.
fn leaves_at(hours: WindowHours, slot: i32) -> Option<Timestamp> {
    let minute = (i64::from(slot) + i64::from(ROLLING_SLOTS) + 1) * i64::from(hours.get());
    Timestamp::from_second(minute * 60).ok()
}

impl OpenCounter {
    /// Changes the counter of a rolling window by what is in a slot.
    pub(crate) fn roll(&mut self, slot: i32, change: impl FnOnce(&mut Counter)) {
        let Self { period, counter } = self;
        if slot < oldest(period.number) {
            return;
        }
        if slot > period.number {
            period.number = slot;
            let gone = change_slots(counter, |slots| slots.forget_before(oldest(slot)));
            counter.value -= gone;
            // It has left the limit: reaching it again is news.
            if counter.value < counter.extras().reached_of {
                counter.change_extras(|extras| extras.reached_of = Amount::ZERO);
            }
        }
        let before = counter.value;
        change(counter);
        let more = counter.value - before;
        if !more.is_zero() {
            change_slots(counter, |slots| slots.add(slot, more));
        }
    }

    /// Changes the counter of the window that a usage of a minute falls in, or that it begins; one of a window that was over
    /// when this one began is gone.
    pub(crate) fn begin(&mut self, minute: i32, hours: WindowHours, change: impl FnOnce(&mut Counter)) {
        if minute >= self.period.number.saturating_add(hours.minutes()) {
            self.period.number = minute;
            self.counter = Counter::default();
        }
        if minute >= self.period.number {
            change(&mut self.counter);
        }
    }
}

fn change_slots<T>(counter: &mut Counter, change: impl FnOnce(&mut Slots) -> T) -> T {
    counter.change_extras(|extras| {
        let slots = extras.slots.get_or_insert_default();
        let made = change(Arc::make_mut(slots));
        if slots.0.is_empty() {
            extras.slots = None;
        }
        made
    })
}

/// What windows that go by usage go by: a minute, and what was counted before of all that a usage counts for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moves<'a> {
    /// The minute of UTC.
    pub(crate) minute: i32,
    /// Whether the minute is that of the server's clock: where it steps back, windows stay where they are.
    pub(crate) now: bool,
    /// The counters of the org, and of the user if there is one.
    pub(crate) tallies: [Option<&'a Tally>; 2],
}

impl<'a> Moves<'a> {
    /// By the server's clock.
    pub(crate) const fn now(moment: &Moment, tallies: [Option<&'a Tally>; 2]) -> Self {
        Self { minute: moment.minute.number, now: true, tallies }
    }

    /// What a usage is counted under in a window.
    pub(crate) fn period(&self, window: Window) -> Period {
        let period = Period::minute_in(window, self.minute);
        let latest =
            self.tallies.iter().flatten().filter_map(|tally| Some(tally.of_window(window)?.period.number));
        let number = latest.filter(|_| self.now).fold(period.number, Ord::max);
        Period { window, number }
    }
}

/// A window that goes by usage, as a usage finds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running<'a> {
    /// Which it is: of a rolling one the slot it ends with, of one from the first use its first minute.
    pub(crate) period: Period,
    /// What was counted in it.
    pub(crate) used: Amount,
    /// The limit on it that was reported as reached.
    pub(crate) reached_of: Amount,
    /// Whether a usage would count in it, rather than come too late.
    pub(crate) takes: bool,
    /// Its slots with something in them, if it has slots.
    slots: &'a [(i32, Amount)],
    /// Whether anything was counted in it, so that it has begun.
    begun: bool,
}

impl<'a> Running<'a> {
    /// The window that holds a period that a usage is counted under.
    pub(crate) fn of(tally: Option<&'a Tally>, period: Period) -> Self {
        let fresh = Self {
            period,
            used: Amount::ZERO,
            reached_of: Amount::ZERO,
            takes: true,
            slots: &[],
            begun: false,
        };
        let Some(open) = tally.and_then(|tally| tally.of_window(period.window)) else { return fresh };
        let (extras, latest) = (open.counter.extras(), open.period.number);
        match period.window {
            Window::FirstUse(hours) if period.number >= latest.saturating_add(hours.minutes()) => fresh,
            Window::FirstUse(_) => Self {
                period: open.period,
                used: open.counter.value,
                reached_of: extras.reached_of,
                takes: period.number >= latest,
                begun: true,
                ..fresh
            },
            _ => {
                let last = period.number.max(latest);
                let slots = extras.slots.as_ref().map_or(&[][..], |slots| slots.since(oldest(last)));
                let used = slots.iter().map(|(_, amount)| *amount).sum();
                let kept = last == latest || used >= extras.reached_of;
                Self {
                    period: Period { number: last, ..period },
                    used,
                    reached_of: if kept { extras.reached_of } else { Amount::ZERO },
                    takes: period.number >= oldest(last),
                    slots,
                    begun: !slots.is_empty(),
                }
            }
        }
    }

    /// The first instant at which nothing is counted in it any more; `None`: nothing is, nor would be if a usage is not taken.
    pub(crate) fn ends_at(&self, taken: bool) -> Option<Timestamp> {
        let last = self.slots.last().map(|(slot, _)| *slot);
        match self.period.window {
            Window::Rolling(hours) if taken => leaves_at(hours, self.period.number),
            Window::Rolling(hours) => leaves_at(hours, last?),
            Window::FirstUse(hours) if taken || self.begun => {
                let minute = i64::from(self.period.number) + i64::from(hours.minutes());
                Timestamp::from_second(minute * 60).ok()
            }
            _ => None,
        }
    }

    /// The first instant at which so much less is counted in it, or nothing any more.
    pub(crate) fn frees_at(&self, amount: Amount) -> Option<Timestamp> {
        let Window::Rolling(hours) = self.period.window else { return self.ends_at(false) };
        let mut short = amount;
        let leaves = self.slots.iter().find(|(_, counted)| {
            short -= *counted;
            !short.is_positive()
        });
        leaves.or(self.slots.last()).and_then(|(slot, _)| leaves_at(hours, *slot))
    }
}

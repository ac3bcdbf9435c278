//! Counters: what usage of a meter comes to, for a scope in a period.
//!
//! A usage moves a counter in each window, but of each window only the latest period is still open. The open counters
//! of a scope are kept together in its [`Tally`], one record however many windows there are; when a later period
//! begins, the counter of the one before is closed into a record of its own. Windows that go by usage are kept in the tally
//! alone ([`crate::moving`]).

use std::sync::Arc;

use smallvec::SmallVec;

use crate::{Among, Amount, MeterId, OrgId, Period, Ranks, ScopePath, Seen, Slots, UserId, Window};

/// Which counter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CounterId {
    /// Whose org.
    pub org: OrgId,
    /// What is counted.
    pub meter: MeterId,
    /// Whose usage.
    pub scope: Scope,
    /// In which period.
    pub period: Period,
}

/// Whose usage a counter counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The whole org's.
    Org,
    /// One user's.
    User(UserId),
    /// That at a path and below it.
    Path(ScopePath),
    /// That which has a value counted once: how many usages there are.
    Seen(Arc<Seen>),
}

/// A scope that is looked up: named by what is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScopeRef<'a> {
    Org,
    User(&'a UserId),
    /// A path, or the first names of one.
    Path(&'a str),
    Seen(&'a Arc<Seen>),
}

impl<'a> ScopeRef<'a> {
    /// That of a user if there is one, or else the org's.
    pub(crate) fn of(user: Option<&'a UserId>) -> Self {
        user.map_or(Self::Org, Self::User)
    }

    /// Among which usage values are counted once; `None`: it counts how many usages have one.
    pub(crate) fn among(self) -> Option<Among> {
        match self {
            Self::Org => Some(Among::Org),
            Self::User(user) => Some(Among::User(user.clone())),
            Self::Path(path) => Some(Among::Path(ScopePath::of_prefix(path))),
            Self::Seen(_) => None,
        }
    }

    pub(crate) fn to_scope(self) -> Scope {
        match self {
            Self::Org => Scope::Org,
            Self::User(user) => Scope::User(user.clone()),
            Self::Path(path) => Scope::Path(ScopePath::of_prefix(path)),
            Self::Seen(seen) => Scope::Seen(Arc::clone(seen)),
        }
    }
}

impl<'a> From<&'a Scope> for ScopeRef<'a> {
    fn from(scope: &'a Scope) -> Self {
        match scope {
            Scope::Org => Self::Org,
            Scope::User(user) => Self::User(user),
            Scope::Path(path) => Self::Path(path.as_str()),
            Scope::Seen(seen) => Self::Seen(seen),
        }
    }
}

/// The open counters of a scope on a meter: of each window that of the latest period in which something was counted.
///
/// The org's own is in its [`crate::Account`], that of a user, of a path, or of a value that is counted once, is a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// At most one counter of each window.
    open: OpenCounters,
}

/// Open counters, in place: those of day, month and lifetime are always counted, and the org's of the segment.
type OpenCounters = SmallVec<[OpenCounter; 4]>;

/// A counter with the period it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenCounter {
    /// Which period.
    pub period: Period,
    /// What it holds.
    pub counter: Counter,
}

/// Where the counter of a period is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// Here.
    Open(&'a Counter),
    /// Nowhere: nothing was counted in the period, nor in any later one of its window.
    NotYet,
    /// In a record of its own, if anything was counted in it: a later period is open.
    Closed,
}

impl Tally {
    /// Where the counter of a period is.
    #[must_use]
    pub fn place(&self, period: Period) -> Place<'_> {
        match self.of_window(period.window) {
            Some(open) if open.period.number == period.number => Place::Open(&open.counter),
            Some(open) if open.period.number > period.number && !period.window.moves() => Place::Closed,
            _ => Place::NotYet,
        }
    }

    /// The open counters.
    #[must_use]
    pub fn open(&self) -> &[OpenCounter] {
        &self.open
    }

    /// The open counter of a window.
    pub(crate) fn of_window(&self, window: Window) -> Option<&OpenCounter> {
        self.open.iter().find(|open| open.period.window == window)
    }

    /// Changes the counter of a period, opened if need be; adds what that closed. False: it is closed itself, and not changed.
    pub(crate) fn change(
        &mut self,
        period: Period,
        closed: &mut Vec<OpenCounter>,
        change: impl FnOnce(&mut Counter),
    ) -> bool {
        let fresh = || OpenCounter { period, counter: Counter::default() };
        let known = self.open.iter().position(|open| open.period.window == period.window);
        let place = known.unwrap_or_else(|| {
            self.open.push(fresh());
            self.open.len() - 1
        });
        let Some(open) = self.open.get_mut(place) else { return true };
        match period.window {
            Window::Rolling(_) => open.roll(period.number, change),
            Window::FirstUse(hours) => open.begin(period.number, hours, change),
            _ if open.period.number > period.number => return false,
            _ => {
                if open.period.number < period.number {
                    closed.push(std::mem::replace(open, fresh()));
                }
                change(&mut open.counter);
            }
        }
        true
    }
}

/// At most one counter of each window.
impl FromIterator<OpenCounter> for Tally {
    fn from_iter<I: IntoIterator<Item = OpenCounter>>(open: I) -> Self {
        Self { open: open.into_iter().collect() }
    }
}

/// What a counter holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// What usage comes to: the sum of the quantities, the largest or last of them, or the number of different values.
    pub value: Amount,
    /// `None` where there is nothing in them: counters are many, and those that hold more are few.
    extras: Option<Box<CounterExtras>>,
}

/// What few counters hold besides their value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CounterExtras {
    /// The part of the value that no credit covered (soft enforcement; kept on the org's months).
    pub overage: Amount,
    /// The limit on this counter that was reported as reached; a raised one is reported anew.
    pub reached_of: Amount,
    /// What the largest or last quantity is found by.
    pub ranks: Option<Arc<Ranks>>,
    /// When the usage of a rolling window was counted.
    pub slots: Option<Arc<Slots>>,
}

impl Counter {
    /// Nothing was counted.
    pub const NOTHING: &'static Self = &Self { value: Amount::ZERO, extras: None };

    /// Builds a counter from its parts.
    #[must_use]
    pub fn from_parts(value: Amount, extras: CounterExtras) -> Self {
        let extras = (extras != *CounterExtras::NOTHING).then(|| Box::new(extras));
        Self { value, extras }
    }

    /// What it holds besides its value.
    #[must_use]
    pub fn extras(&self) -> &CounterExtras {
        self.extras.as_deref().unwrap_or(CounterExtras::NOTHING)
    }

    /// Changes what it holds besides its value.
    pub(crate) fn change_extras<T>(&mut self, change: impl FnOnce(&mut CounterExtras) -> T) -> T {
        let mut extras = self.extras.take().unwrap_or_default();
        let made = change(&mut extras);
        self.extras = Some(extras).filter(|extras| **extras != *CounterExtras::NOTHING);
        made
    }
}

impl CounterExtras {
    const NOTHING: &'static Self =
        &Self { overage: Amount::ZERO, reached_of: Amount::ZERO, ranks: None, slots: None };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However it came about, what holds nothing more takes no room for it, and is equal to what never did.
    #[test]
    fn extras_that_come_and_go_leave_no_trace() {
        let one = Amount::from_whole(1);
        let mut counter = Counter { value: one, extras: None };
        counter.change_extras(|extras| extras.overage += one);
        assert_eq!(counter.extras().overage, one);
        assert_eq!(counter, Counter::from_parts(one, counter.extras().clone()));
        counter.change_extras(|extras| extras.overage -= one);
        assert_eq!(counter, Counter::from_parts(one, CounterExtras::default()));
        assert_eq!(counter.extras, None);
    }

    /// Every user of every org has some of them.
    #[test]
    fn counters_are_small() {
        assert_eq!(size_of::<Counter>(), 24);
        assert_eq!(size_of::<Tally>(), 4 * size_of::<OpenCounter>() + 16);
    }
}

//! Counters of a meter of an org, as questions look at them.

use std::sync::Arc;

use super::{MeterState, OrgState};
use crate::counter::{Place, ScopeRef};
use crate::counting::Move;
use crate::{Account, Amount, Counter, MeterId, PartKey, Period, Record, ScopePath, Seen, Tally};

/// What is known of a meter of an org.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnMeter<'s, 'a> {
    pub(super) state: &'s OrgState,
    pub(super) meter: &'a MeterId,
    pub(super) known: Option<&'s MeterState>,
}

impl<'s, 'a> OnMeter<'s, 'a> {
    /// How the org stands on it.
    pub(crate) fn account(&self) -> Option<&'s Account> {
        match self.known.and_then(|known| known.account.as_ref()) {
            Some(slot) => slot.value.as_ref(),
            None => {
                self.state.lacks(PartKey::Account(self.meter.clone()));
                None
            }
        }
    }

    /// The open counters of a scope.
    pub(super) fn tally(&self, scope: ScopeRef<'_>) -> Option<&'s Tally> {
        match scope {
            ScopeRef::Org => self.account().map(|account| &account.tally),
            ScopeRef::User(user) => match self.known.and_then(|known| known.users.get(user)) {
                Some(slot) => slot.value.as_ref(),
                None => {
                    self.state.lacks(PartKey::Tally(self.meter.clone(), user.clone()));
                    None
                }
            },
            ScopeRef::Path(path) => match self.known.and_then(|known| known.path(path)) {
                Some(slot) => slot.value.as_ref(),
                None => {
                    self.state.lacks(PartKey::PathTally(self.meter.clone(), ScopePath::of_prefix(path)));
                    None
                }
            },
            ScopeRef::Seen(seen) => {
                match self.state.part(PartKey::Seen(self.meter.clone(), Arc::clone(seen))) {
                    Some(Record::Tally(tally)) => Some(tally),
                    _ => None,
                }
            }
        }
    }

    /// The counters of a scope.
    pub(crate) fn counters(&self, scope: ScopeRef<'a>) -> Counters<'s, 'a> {
        Counters { state: self.state, meter: self.meter, scope, tally: self.tally(scope) }
    }
}

/// The counters of a scope on a meter: found once, for all periods.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counters<'s, 'a> {
    state: &'s OrgState,
    meter: &'a MeterId,
    scope: ScopeRef<'a>,
    pub(crate) tally: Option<&'s Tally>,
}

impl<'s, 'a> Counters<'s, 'a> {
    /// The counter of a period, open or closed; zero where nothing was counted.
    pub(crate) fn of(&self, period: Period) -> &'s Counter {
        match self.tally.map_or(Place::NotYet, |tally| tally.place(period)) {
            Place::Open(counter) => counter,
            Place::NotYet => Counter::NOTHING,
            Place::Closed => match self.state.part(self.closed(period)) {
                Some(Record::Counter(counter)) => counter,
                _ => Counter::NOTHING,
            },
        }
    }

    /// Looks at the counters of periods as they are changed: one that is open changes with its tally, one that is closed is
    /// a part of its own.
    pub(crate) fn touch(&self, periods: impl Iterator<Item = Period>) {
        let Some(tally) = self.tally else { return };
        for period in periods.filter(|period| matches!(tally.place(*period), Place::Closed)) {
            self.state.want(self.closed(period));
        }
    }

    /// Whose they are.
    pub(crate) const fn scope(&self) -> ScopeRef<'a> {
        self.scope
    }

    /// What a usage would make of the counter of a period.
    pub(crate) fn after(&self, usage: &Move<'_>, period: Period, counter: &Counter) -> Amount {
        usage.after(counter, |value| {
            let Some(among) = self.scope.among() else { return Amount::ZERO };
            let seen = Seen::new(among, value);
            self.state.counters(self.meter, ScopeRef::Seen(&seen)).of(period).value
        })
    }

    fn closed(&self, period: Period) -> PartKey {
        PartKey::Counter(self.meter.clone(), self.scope.to_scope(), period)
    }
}

//! Limits: which apply, and whether each leaves room.

use smallvec::SmallVec;

use crate::catalog::{Meter, MeterRules, Plan, PlanLimit};
use crate::counter::ScopeRef;
use crate::counting::Move;
use crate::moment::Moment;
use crate::moving::{Moves, Running};
use crate::state::Counters;
use crate::{
    Amount, Counting, Hold, Limit, LimitPath, LimitScope, MeterId, Org, Period, ScopePath, Timestamp, UserId,
    Window,
};

/// The limits on a meter that apply to a user and along a path, the org's own and those of its plan, in the order they are
/// checked in.
///
/// An org's own limit takes the place of its plan's on the same scope and window; a limit named for one user or path takes
/// the place of the limit for each on the same window. Everything else applies together.
pub(crate) fn limits_in_force<'a>(
    org: &'a Org,
    plan: &'a MeterRules,
    meter: &MeterId,
    (user, path): (Option<&UserId>, Option<&ScopePath>),
) -> SmallVec<[&'a Limit; 4]> {
    let is_named = |limit: &Limit| matches!(&limit.scope, LimitScope::User(named) if Some(named) == user);
    let own = || org.limits.iter().filter(|limit| limit.meter == *meter);
    let of_plan = plan.limits.iter().filter(|limit| !own().any(|own| takes_the_place_of(own, limit)));
    let applies = |limit: &&Limit| {
        match &limit.scope {
        LimitScope::Org => true,
        LimitScope::EachUser => !own().any(|own| is_named(own) && own.window == limit.window),
        LimitScope::User(_) => is_named(limit),
        LimitScope::Path(on) => path.is_some_and(|path| {
            let names_it = |other: &Limit, depth| {
                let is_it = |named: &LimitPath| matches!(named, LimitPath::Named(named) if named.as_str() == path.first(depth));
                other.window == limit.window && other.path().is_some_and(is_it)
            };
            on.depth_in(path).is_some_and(|depth| {
                let mut named = own().chain(&plan.limits).filter(|_| matches!(on, LimitPath::Each(_)));
                !named.any(|other| names_it(other, depth))
            })
        }),
    }
    };
    let mut found: SmallVec<[&Limit; 4]> = own().chain(of_plan).filter(applies).collect();
    found.sort_by(|limit, other| limit.checked_before(other));
    found
}

/// The limits on paths of a meter, the org's own and those of its plan that none of them takes the place of, in the order
/// they are checked in.
pub(crate) fn limits_on_paths<'a>(
    org: &'a Org,
    plan: &'a MeterRules,
    meter: &'a MeterId,
) -> SmallVec<[&'a Limit; 4]> {
    let own = || org.limits.iter().filter(|limit| limit.meter == *meter);
    let of_plan = plan.limits.iter().filter(|limit| !own().any(|own| takes_the_place_of(own, limit)));
    let on_paths = own().chain(of_plan).filter(|limit| limit.path().is_some());
    let mut found: SmallVec<[&Limit; 4]> = on_paths.collect();
    found.sort_by(|limit, other| limit.checked_before(other));
    found
}

/// A limit that an org or its plan gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenLimit {
    /// The limit.
    pub limit: Limit,
    /// Whether its plan gives it, rather than the org itself.
    pub by_plan: bool,
    /// Whether usage goes by it: not where the org's own takes the place of its plan's.
    pub in_force: bool,
}

/// All limits that an org and its plan give, the org's own first.
#[must_use]
pub fn given_limits(org: &Org, plan: Option<&Plan>) -> Vec<GivenLimit> {
    let own = org.limits.iter().cloned().map(|limit| GivenLimit { limit, by_plan: false, in_force: true });
    let of_plan = plan.into_iter().flat_map(|plan| &plan.limits).map(PlanLimit::as_of_org).map(|limit| {
        let in_force = !org.limits.iter().any(|own| takes_the_place_of(own, &limit));
        GivenLimit { limit, by_plan: true, in_force }
    });
    own.chain(of_plan).collect()
}

/// Whether an org's own limit takes the place of its plan's.
fn takes_the_place_of(own: &Limit, of_plan: &Limit) -> bool {
    own.meter == of_plan.meter && own.scope == of_plan.scope && own.window == of_plan.window
}

/// Whether a limit on users is in force on a meter, so that a usage must name its user.
pub(crate) fn needs_user(org: &Org, plan: &MeterRules, meter: &MeterId) -> bool {
    let own = org.limits.iter().any(|limit| limit.meter == *meter && limit.is_on_users());
    own || plan.limits.iter().any(Limit::is_on_users)
}

/// Windows whose counters every usage moves; the others are counted only where a limit or the meter asks.
pub(crate) const ALWAYS_COUNTED: [Window; 4] =
    [Window::Day, Window::Month, Window::Lifetime, Window::Segment];

/// The windows whose counters of the org and its user a usage of a meter moves: days, months with their segments and the lifetime, and those that
/// the meter or a limit on it asks for, under the plan with a number in the history of the org. What does not add up is not counted in windows that go by usage.
pub(crate) fn windows_counted<'a>(
    org: &'a Org,
    (plan, number): (&'a MeterRules, u32),
    meter: &'a Meter,
) -> SmallVec<[Window; 7]> {
    let asked = move |window: &Window| {
        let caps = |limit: &Limit| limit.window == *window && limit.path().is_none();
        meter.windows.contains(window)
            || plan.limits.iter().any(caps)
            || org.limits.iter().any(|limit| limit.meter == meter.id && caps(limit))
    };
    let mut windows = SmallVec::from_slice(&ALWAYS_COUNTED);
    windows.extend(Window::ON_REQUEST.into_iter().filter(asked));
    let limits = org.limits.iter().filter(|limit| limit.meter == meter.id).chain(&plan.limits);
    for limit in limits.filter(|limit| limit.window.is_of_limits() && limit.path().is_none()) {
        let window = org.window(limit.window, number);
        let counted = !window.moves() || meter.aggregation.adds_up();
        if counted && !windows.contains(&window) {
            windows.push(window);
        }
    }
    windows
}

/// The period of a window that a usage is counted under.
pub(crate) fn period_of(org: &Org, moment: &Moment, moves: &Moves<'_>, window: Window) -> Period {
    if window.moves() { moves.period(window) } else { moment.period(org.window(window, moment.plan)) }
}

/// A limit in force with the counter it goes by.
#[derive(Debug)]
pub(crate) struct InForce<'a> {
    pub(crate) limit: &'a Limit,
    /// Whose counter it is.
    pub(crate) scope: ScopeRef<'a>,
    /// The period that it is of.
    pub(crate) period: Period,
    /// The period that a usage is counted under.
    pub(crate) counted_in: Period,
    /// The same of a window that goes by usage: few do.
    running: Option<Box<Running<'a>>>,
    /// The limit on the counter that was reported as reached.
    pub(crate) reached_of: Amount,
    /// What was used of it.
    pub(crate) used: Amount,
    /// What is held of it.
    pub(crate) held: Amount,
    /// What a usage would make of that; the same where there is none.
    pub(crate) after: Amount,
}

impl<'a> InForce<'a> {
    /// A limit on an org, on a path or on a user of it, by the counters of that, as a usage finds it.
    pub(crate) fn load(
        counters: &Counters<'a, 'a>,
        org: &Org,
        (moment, moves): (&Moment, &Moves<'_>),
        limit: &'a Limit,
        usage: Option<&Move<'_>>,
    ) -> Self {
        let (scope, counted_in) = (counters.scope(), period_of(org, moment, moves, limit.window));
        let period = counted_in;
        let held = org.held_in(&limit.meter, scope, period);
        if limit.window.moves() {
            let running = Running::of(counters.tally, period);
            let Running { period, used, reached_of, takes, .. } = running;
            let more = usage.filter(|usage| takes && *usage.counting == Counting::Sum);
            let after = used + more.map_or(Amount::ZERO, |usage| usage.quantity);
            let running = Some(Box::new(running));
            return Self { limit, scope, period, counted_in, running, reached_of, used, held, after };
        }
        let counter = counters.of(period);
        let after = usage.map_or(counter.value, |usage| counters.after(usage, period, counter));
        let reached_of = counter.extras().reached_of;
        let (used, running) = (counter.value, None);
        Self { limit, scope, period, counted_in, running, reached_of, used, held, after }
    }

    /// Whether a usage may pass: it raises the counter not at all, or not above the limit.
    pub(crate) fn passes(&self) -> bool {
        self.after <= self.used || self.after + self.held <= self.limit.amount
    }

    /// Counts, in the view of a decision, the usage that it was loaded with.
    pub(crate) fn take(&mut self) {
        self.used = self.after;
    }

    /// How many names the path has that it is on, if it is on one.
    pub(crate) fn depth(&self) -> Option<u8> {
        self.limit.path().map(LimitPath::depth)
    }

    /// Whether a hold reserves room in it.
    pub(crate) fn holds(&self, hold: &Hold) -> bool {
        hold.is_held_in(self.depth(), self.period)
    }

    /// The user that it is on.
    pub(crate) fn user(&self) -> Option<&'a UserId> {
        match self.scope {
            ScopeRef::User(user) => Some(user),
            ScopeRef::Org | ScopeRef::Path(_) | ScopeRef::Seen(_) => None,
        }
    }

    /// The path that it is on.
    pub(crate) fn path(&self) -> Option<ScopePath> {
        match self.scope {
            ScopeRef::Path(path) => Some(ScopePath::of_prefix(path)),
            ScopeRef::Org | ScopeRef::User(_) | ScopeRef::Seen(_) => None,
        }
    }

    /// When it starts afresh, after what was taken: of a rolling window when nothing of now is in it any more.
    pub(crate) fn resets_at(&self, org: &Org, moment: &Moment) -> Option<Timestamp> {
        match &self.running {
            Some(running) => running.ends_at(self.used > running.used),
            None => moment.end(&org.zone, self.period),
        }
    }

    /// When a usage that does not pass would: of a rolling window when enough has left it.
    pub(crate) fn passes_at(&self, org: &Org, moment: &Moment) -> Option<Timestamp> {
        match &self.running {
            Some(running) => running.frees_at(self.after + self.held - self.limit.amount),
            None => moment.end(&org.zone, self.period),
        }
    }

    /// What may still be used.
    pub(crate) fn remaining(&self) -> Amount {
        (self.limit.amount - self.used - self.held).at_least_zero()
    }
}

//! Limits: which apply, and whether each leaves room.

use crate::catalog::{Meter, Plan};
use crate::counting::Move;
use crate::moment::Moment;
use crate::{Amount, Counter, Limit, LimitScope, MeterId, Org, OrgState, Scope, UserId, Window};

/// The limits on a meter that apply to a user, the org's own and those of its plan.
///
/// An org's own limit takes the place of its plan's on the same scope and window; a limit named for one user takes the
/// place of the limit for each user on the same window. Everything else applies together.
pub(crate) fn limits_in_force(
    org: &Org,
    plan: Option<&Plan>,
    meter: &MeterId,
    user: Option<&UserId>,
) -> Vec<Limit> {
    let mut found: Vec<Limit> = org.limits.iter().filter(|limit| limit.meter == *meter).cloned().collect();
    if let Some(plan) = plan {
        for limit in plan.limits().filter(|limit| limit.meter == *meter) {
            let replaced = found.iter().any(|own| takes_the_place_of(own, &limit));
            if !replaced {
                found.push(limit);
            }
        }
    }
    let named: Vec<Window> = found
        .iter()
        .filter(|limit| matches!(&limit.scope, LimitScope::User(named) if Some(named) == user))
        .map(|limit| limit.window)
        .collect();
    found.retain(|limit| match &limit.scope {
        LimitScope::Org => true,
        LimitScope::EachUser => !named.contains(&limit.window),
        LimitScope::User(name) => Some(name) == user,
    });
    found.sort_by(|a, b| (is_user(&a.scope), b.window).cmp(&(is_user(&b.scope), a.window)));
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
    let of_plan = plan.into_iter().flat_map(Plan::limits).map(|limit| {
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
pub(crate) fn needs_user(org: &Org, plan: Option<&Plan>, meter: &MeterId) -> bool {
    let own = org.limits.iter().any(|limit| limit.meter == *meter && is_user(&limit.scope));
    own || plan.is_some_and(|plan| plan.limits().any(|limit| limit.meter == *meter && is_user(&limit.scope)))
}

/// Windows whose counters every usage moves; minutes and hours are counted only where a limit or the meter asks.
pub(crate) const ALWAYS_COUNTED: [Window; 4] =
    [Window::Day, Window::Month, Window::Lifetime, Window::Segment];

/// The windows whose counters a usage of a meter moves: days, months with their segments and the lifetime, and those that
/// the meter or a limit on it asks for.
pub(crate) fn windows_counted<'a>(
    org: &'a Org,
    plan: Option<&'a Plan>,
    meter: &'a MeterId,
    counted: Option<&'a Meter>,
) -> impl Iterator<Item = Window> + 'a {
    let asked = move |window: &Window| {
        let window = *window;
        if counted.is_some_and(|meter| meter.windows.contains(&window)) {
            return true;
        }
        let own = org.limits.iter().any(|limit| limit.meter == *meter && limit.window == window);
        own || plan.is_some_and(|plan| {
            plan.limits.iter().any(|limit| limit.meter == *meter && limit.window == window)
        })
    };
    ALWAYS_COUNTED.into_iter().chain([Window::Minute, Window::Hour].into_iter().filter(asked))
}

/// A limit in force with the counter it goes by.
#[derive(Debug)]
pub(crate) struct InForce {
    pub(crate) limit: Limit,
    /// The user whose counter it is, for a limit on users.
    pub(crate) user: Option<UserId>,
    pub(crate) counter: Counter,
    /// What a usage would make of it; the same where there is none.
    pub(crate) after: Counter,
}

impl InForce {
    /// A limit on an org, or on a user of it, as a usage finds it.
    pub(crate) fn load(
        state: &OrgState,
        user: Option<&UserId>,
        moment: &Moment,
        limit: Limit,
        usage: Option<&Move<'_>>,
    ) -> Self {
        let user = if is_user(&limit.scope) { user.cloned() } else { None };
        let scope = user.clone().map_or(Scope::Org, Scope::User);
        let period = moment.period(limit.window);
        let counter = state.counter(&limit.meter, &scope, period);
        let after = usage.map_or_else(
            || counter.clone(),
            |usage| usage.after(state, &limit.meter, user.as_ref(), period, &counter),
        );
        Self { limit, user, counter, after }
    }

    /// Whether a usage may pass: it raises the counter not at all, or not above the limit.
    pub(crate) fn passes(&self) -> bool {
        self.after.value <= self.counter.value || self.after.value <= self.limit.amount
    }

    /// What may still be used.
    pub(crate) fn remaining(&self) -> Amount {
        (self.limit.amount - self.counter.value).at_least_zero()
    }
}

fn is_user(scope: &LimitScope) -> bool {
    !matches!(scope, LimitScope::Org)
}

//! Which plan an org has at a moment, and the limits that hold with it.

use jiff::{SignedDuration, Timestamp};
use tollgate_domain::catalog::{Plan, PlanLimitScope};
use tollgate_domain::{Amount, Catalog, LimitScope, MeterId, MonthDay, PlanId, PlanTime, UserId, Window};

use super::{History, Label};

/// A plan, or none, from a moment on.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// Which: the first that was set is 1.
    pub number: u32,
    /// The plan.
    pub plan: Option<&'a PlanId>,
    /// From when.
    pub since: Timestamp,
    /// Whether it was to be so at once: then it is so whatever the clock shows later.
    pub at_once: bool,
    /// Whether it was called off before it came into force.
    pub off: bool,
}

/// Who looks at the allowance of a month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// The gate: all that was burned of the month counts.
    Gate,
    /// Usage that has happened: what was burned under later plans does not matter to it.
    Record,
}

impl<'a> History<'a> {
    /// Setting the plan that is in force calls off what was scheduled, and is no change.
    pub(super) fn set_plan(
        &mut self,
        at: Timestamp,
        catalog: &Catalog,
        plan: Option<&'a PlanId>,
        from: PlanTime,
    ) {
        let stays = self.plan_at(at, Look::Gate) == plan;
        self.call_off(at);
        let since = self.takes_effect(at, from).filter(|_| !stays);
        let Some(since) = since else { return };
        let at_once = from == PlanTime::Now;
        let number = u32::try_from(self.plans.len()).unwrap_or(u32::MAX) + 1;
        self.plans.push(Setting { number, plan, since, at_once, off: false });
        if let Some(days) = plan.and_then(|plan| catalog.plan(plan)).and_then(|plan| plan.trial_days) {
            let length = SignedDuration::from_hours(24 * i64::from(days));
            self.trial = Some((at, at.checked_add(length).unwrap_or(Timestamp::MAX)));
        }
    }

    pub(super) fn call_off(&mut self, at: Timestamp) {
        for setting in self.plans.iter_mut().filter(|setting| !setting.at_once && setting.since > at) {
            setting.off = true;
        }
    }

    /// What is scheduled for after a moment.
    pub(super) fn pending(&self, at: Timestamp) -> Option<(Option<&'a PlanId>, Timestamp)> {
        let pending =
            self.plans.iter().find(|setting| !setting.off && !setting.at_once && setting.since > at);
        pending.map(|setting| (setting.plan, setting.since))
    }

    /// When a change asked for at a moment takes effect: never before one that was so at once.
    pub(super) fn takes_effect(&self, at: Timestamp, from: PlanTime) -> Option<Timestamp> {
        let since = self.calendar.takes_effect(&self.zone, at, from).filter(|since| *since >= at)?;
        let at_once = self.plans.iter().filter(|setting| setting.at_once).map(|setting| setting.since);
        Some(at_once.fold(since, Ord::max))
    }

    /// Which setting was in force at a moment.
    pub(super) fn setting_at(&self, at: Timestamp, look: Look) -> Option<&Setting<'a>> {
        let holds = |setting: &&Setting<'a>| {
            !setting.off && (setting.since <= at || look == Look::Gate && setting.at_once)
        };
        self.plans.iter().rfind(holds)
    }

    /// The plan in force at a moment.
    pub(super) fn plan_at(&self, at: Timestamp, look: Look) -> Option<&'a PlanId> {
        self.setting_at(at, look)?.plan
    }

    /// The plan in force at a moment, as a catalog has it.
    pub(super) fn plan_in<'c>(&self, catalog: &'c Catalog, at: Timestamp, look: Look) -> Option<&'c Plan> {
        let id = self.plan_at(at, look)?;
        catalog.plans.iter().find(|plan| plan.id == *id)
    }

    /// The limits that hold for a user on a meter: for each window, the org's, then the user's; widest first.
    pub(super) fn limits_on(
        &self,
        catalog: &Catalog,
        at: Timestamp,
        meter: &MeterId,
        user: Option<&UserId>,
    ) -> Vec<LimitOn> {
        let own = |scope: LimitScope, window| self.limits.get(&(meter, scope, window)).copied();
        let planned = |scope, window| {
            let limits = &self.plan_in(catalog, at, Look::Gate)?.limits;
            let is_it = |limit: &&tollgate_domain::catalog::PlanLimit| {
                limit.meter == *meter && limit.scope == scope && limit.window == window
            };
            limits.iter().find(is_it).map(|limit| limit.amount)
        };
        let limited = self.windows_limited(catalog, at, meter, Look::Gate);
        let widest_first = || limited.iter().rev().copied();
        let of_org = widest_first().filter_map(|window| {
            let amount = own(LimitScope::Org, window).or_else(|| planned(PlanLimitScope::Org, window))?;
            Some(LimitOn { user: None, window, amount })
        });
        let of_user = widest_first().filter_map(|window| {
            let user = user?;
            let amount = own(LimitScope::User(user.clone()), window)
                .or_else(|| own(LimitScope::EachUser, window))
                .or_else(|| planned(PlanLimitScope::User, window))?;
            Some(LimitOn { user: Some(user.clone()), window, amount })
        });
        of_org.chain(of_user).collect()
    }

    /// The windows of limits on a meter, the org's and its plan's, narrowest first.
    pub(super) fn windows_limited(
        &self,
        catalog: &Catalog,
        at: Timestamp,
        meter: &MeterId,
        look: Look,
    ) -> Vec<Window> {
        let own = self.limits.keys().filter(|(on, ..)| *on == meter).map(|(_, _, window)| *window);
        let plan = self.plan_in(catalog, at, look).into_iter().flat_map(|plan| &plan.limits);
        let planned = plan.filter(|limit| limit.meter == *meter).map(|limit| limit.window);
        let mut windows: Vec<Window> = own.chain(planned).collect();
        windows.sort_by_key(|window| (minutes(*window), *window));
        windows.dedup();
        windows
    }

    /// The label of a window that holds a moment; the month of a plan begins on the day that the first of the plans was set on
    /// that the org has had since it had none.
    pub(super) fn label(&self, window: Window, at: Timestamp, look: Look) -> Label {
        let Window::PlanMonth = window else { return self.calendar.label(&self.zone, window, at) };
        let number = self.setting_at(at, look).map_or(0, |setting| setting.number);
        let until = self.plans.iter().filter(|setting| !setting.off && setting.number <= number);
        let mut began = None;
        for setting in until {
            began = setting.plan.map(|_| began.unwrap_or(setting.since));
        }
        let day = match began.map(|began| self.calendar.label(&self.zone, Window::Day, began)) {
            Some(Label::Day(date)) => MonthDay::new(date.day().cast_unsigned()),
            _ => MonthDay::new(1),
        };
        self.calendar.label(&self.zone, Window::MonthFrom(day.unwrap_or(MonthDay::FIRST)), at)
    }

    /// Whether some user of a meter is limited.
    pub(super) fn limits_users(&self, catalog: &Catalog, at: Timestamp, meter: &MeterId) -> bool {
        let own = self.limits.keys().any(|(on, scope, _)| *on == meter && *scope != LimitScope::Org);
        let plan = self.plan_in(catalog, at, Look::Gate);
        own || plan.is_some_and(|plan| {
            plan.limits.iter().any(|limit| limit.meter == *meter && limit.scope == PlanLimitScope::User)
        })
    }
}

/// How long a window is, a month being 31 days and the lifetime longer than all.
fn minutes(window: Window) -> u32 {
    match window {
        Window::Minute => 1,
        Window::Hour => 60,
        Window::Day => 24 * 60,
        Window::Week => 7 * 24 * 60,
        Window::Month | Window::PlanMonth | Window::MonthFrom(_) | Window::Segment => 31 * 24 * 60,
        Window::Rolling(hours) | Window::FirstUse(hours) => u32::from(hours.get()) * 60,
        Window::Lifetime => u32::MAX,
    }
}

/// A limit that holds.
pub(super) struct LimitOn {
    /// Whose counter, unless it is the org's.
    pub(super) user: Option<UserId>,
    pub(super) window: Window,
    pub(super) amount: Amount,
}

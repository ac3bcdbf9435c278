//! Which plan an org has at a moment, and the limits that hold with it.

use jiff::{SignedDuration, Timestamp};
use tollgate_domain::catalog::{Plan, PlanLimit, PlanLimitScope};
use tollgate_domain::{
    Amount, Catalog, LimitPath, LimitScope, MeterId, MonthDay, PlanId, PlanTime, ScopePath, UserId, Window,
};

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

    /// The limits that hold for a user and along a path on a meter: the org's, then those of each path from the outermost on, then
    /// the user's; of each widest first.
    pub(super) fn limits_on(
        &self,
        catalog: &Catalog,
        at: Timestamp,
        meter: &MeterId,
        (user, path): (Option<&UserId>, Option<&ScopePath>),
        look: Look,
    ) -> Vec<LimitOn> {
        let own = |scope: &LimitScope, window| self.limits.get(&(meter, scope.clone(), window)).copied();
        let planned = |scope: &LimitScope, window| {
            let limits = &self.plan_in(catalog, at, look)?.limits;
            let is_it = |limit: &&PlanLimit| {
                limit.meter == *meter && as_of_org(limit) == *scope && limit.window == window
            };
            limits.iter().find(is_it).map(|limit| limit.amount)
        };
        let given = |scope: &LimitScope, window| own(scope, window).or_else(|| planned(scope, window));
        let mut windows = self.windows_of(catalog, at, meter, look, |_| true);
        windows.reverse();
        let mut found = Vec::new();
        for window in &windows {
            found.extend(given(&LimitScope::Org, *window).map(|amount| (Whose::Org, *window, amount)));
        }
        let names: Vec<&str> = path.map(|path| path.as_str().split('/').collect()).unwrap_or_default();
        for depth in 1..=names.len() {
            let joined = |names: Option<&[&str]>| ScopePath::new(&names.unwrap_or_default().join("/")).ok();
            let Some(here) = joined(names.get(..depth)) else { continue };
            let named = LimitScope::Path(LimitPath::Named(here.clone()));
            let each = LimitScope::Path(LimitPath::Each(joined(names.get(..depth - 1))));
            for window in &windows {
                let amount = given(&named, *window).or_else(|| given(&each, *window));
                found.extend(amount.map(|amount| (Whose::Path(here.clone()), *window, amount)));
            }
        }
        for window in &windows {
            let Some(user) = user else { break };
            let amount = given(&LimitScope::User(user.clone()), *window)
                .or_else(|| given(&LimitScope::EachUser, *window));
            found.extend(amount.map(|amount| (Whose::User(user.clone()), *window, amount)));
        }
        found.into_iter().map(|(whose, window, amount)| LimitOn { whose, window, amount }).collect()
    }

    /// The windows of limits on a meter that are not on paths, the org's and its plan's, narrowest first.
    pub(super) fn windows_limited(
        &self,
        catalog: &Catalog,
        at: Timestamp,
        meter: &MeterId,
        look: Look,
    ) -> Vec<Window> {
        self.windows_of(catalog, at, meter, look, |scope| !matches!(scope, LimitScope::Path(_)))
    }

    fn windows_of(
        &self,
        catalog: &Catalog,
        at: Timestamp,
        meter: &MeterId,
        look: Look,
        takes: impl Fn(&LimitScope) -> bool,
    ) -> Vec<Window> {
        let own = self.limits.keys().filter(|(on, scope, _)| *on == meter && takes(scope));
        let own = own.map(|(_, _, window)| *window);
        let plan = self.plan_in(catalog, at, look).into_iter().flat_map(|plan| &plan.limits);
        let planned = plan.filter(|limit| limit.meter == *meter && takes(&as_of_org(limit)));
        let mut windows: Vec<Window> = own.chain(planned.map(|limit| limit.window)).collect();
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
        let on_users = |scope: &LimitScope| matches!(scope, LimitScope::EachUser | LimitScope::User(_));
        let own = self.limits.keys().any(|(on, scope, _)| *on == meter && on_users(scope));
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
        Window::Week | Window::WeekFrom(_) => 7 * 24 * 60,
        Window::Month | Window::PlanMonth | Window::MonthFrom(_) | Window::Segment => 31 * 24 * 60,
        Window::Rolling(hours) | Window::FirstUse(hours) => u32::from(hours.get()) * 60,
        Window::Lifetime => u32::MAX,
    }
}

/// A limit of a plan as an org would set it.
fn as_of_org(limit: &PlanLimit) -> LimitScope {
    match (limit.scope, &limit.path) {
        (PlanLimitScope::Path, Some(path)) => LimitScope::Path(path.clone()),
        (PlanLimitScope::User, _) => LimitScope::EachUser,
        _ => LimitScope::Org,
    }
}

/// A limit that holds.
pub(super) struct LimitOn {
    pub(super) whose: Whose,
    pub(super) window: Window,
    pub(super) amount: Amount,
}

/// Whose usage is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// The whole org's.
    Org,
    /// A user's.
    User(UserId),
    /// That at a path and below it, as far as it was counted there.
    Path(ScopePath),
}

impl Whose {
    /// The user, if there is one.
    pub(super) fn user(&self) -> Option<&UserId> {
        if let Self::User(user) = self { Some(user) } else { None }
    }

    /// The path, if it is one.
    pub(super) fn path(&self) -> Option<&ScopePath> {
        if let Self::Path(path) = self { Some(path) } else { None }
    }
}

impl From<Option<&UserId>> for Whose {
    fn from(user: Option<&UserId>) -> Self {
        user.cloned().map_or(Self::Org, Self::User)
    }
}

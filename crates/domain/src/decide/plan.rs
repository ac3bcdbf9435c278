//! Setting, scheduling, leaving and calling off a plan.

use jiff::SignedDuration;

use crate::catalog::Plan;
use crate::decide::config::{ChangeResult, change, changed, unchanged};
use crate::decide::{ConfigDenial, Context, Outcome};
use crate::limits::PLANS_KEPT_MAX;
use crate::{Currency, EntryKind, Org, OrgState, Period, PlanTime, SetPlan, Timestamp, Trial, Window, Zone};

pub(super) fn decide_plan(state: &OrgState, context: &Context<'_>, set: &SetPlan) -> Outcome {
    change(set_plan(state.org(), context, set))
}

pub(super) fn decide_call_off(state: &OrgState, context: &Context<'_>) -> Outcome {
    change(match state.org() {
        None => Err(ConfigDenial::UnknownOrg),
        Some(known) => Ok(stay(known, context, false)),
    })
}

/// The plan in force stays, and what is scheduled is called off.
fn stay(org: &Org, context: &Context<'_>, deprecated: bool) -> (super::Changed, Option<crate::Entry>) {
    match org.plans.scheduled(context.at()) {
        None => unchanged(deprecated),
        Some(_) => changed(context.entry(Some(org), EntryKind::PlanCalledOff, Vec::new()), deprecated),
    }
}

pub(super) fn set_plan(org: Option<&Org>, context: &Context<'_>, set: &SetPlan) -> ChangeResult {
    let plan = match &set.plan {
        None => None,
        Some(id) => Some(context.catalog.plan(id).ok_or_else(|| ConfigDenial::UnknownPlan(id.clone()))?),
    };
    if org.is_none() && plan.is_none() {
        return Err(ConfigDenial::UnknownOrg);
    }
    let deprecated = plan.is_some_and(|plan| plan.deprecated);
    let since = starts_at(org, context, set.from)?;
    if let Some(org) = org {
        let in_force = org.plans.in_force(context.at()).and_then(|change| change.plan.as_ref());
        let scheduled = org.plans.scheduled(context.at());
        if in_force == set.plan.as_ref() {
            return Ok(stay(org, context, deprecated));
        }
        if scheduled.is_some_and(|known| known.since == since && known.plan == set.plan) {
            return Ok(unchanged(deprecated));
        }
    }
    if let Some(plan) = plan.filter(|plan| plan.retired) {
        return Err(ConfigDenial::PlanRetired(plan.id.clone()));
    }
    let trial = match plan {
        Some(plan) => trial_of(org, context, plan, set.from)?,
        None => None,
    };
    if let (Some(org), Some(plan)) = (org, plan) {
        keeps_currency(org, context, plan, since)?;
    }
    if org.is_some_and(|org| org.plans.changes().len() >= PLANS_KEPT_MAX) {
        return Err(ConfigDenial::TooMany);
    }
    let at_once = matches!(set.from, PlanTime::Now);
    let kind = EntryKind::PlanSet { plan: set.plan.clone(), since, at_once, trial };
    Ok(changed(context.entry(org, kind, Vec::new()), deprecated))
}

/// When a change takes effect: not before now, and not before the one that took effect at once by a clock that has stepped
/// back since.
fn starts_at(org: Option<&Org>, context: &Context<'_>, from: PlanTime) -> Result<Timestamp, ConfigDenial> {
    let zone = org.map_or(Zone::UTC, |org| org.zone.clone());
    let starts = match from {
        PlanTime::Now => Some(context.at()),
        PlanTime::At(at) => Some(at),
        PlanTime::Day(day) => zone.bounds(Period::day(day)).0,
        PlanTime::NextMonth => zone.bounds(zone.period_at(Window::Month, context.at())).1,
    };
    let starts = starts.filter(|starts| *starts >= context.at()).ok_or(ConfigDenial::PlanInPast)?;
    Ok(org.and_then(|org| org.plans.latest_at_once()).map_or(starts, |latest| starts.max(latest)))
}

/// The trial that begins with a plan, if it is one.
fn trial_of(
    org: Option<&Org>,
    context: &Context<'_>,
    plan: &Plan,
    from: PlanTime,
) -> Result<Option<Trial>, ConfigDenial> {
    let Some(days) = plan.trial_days else { return Ok(None) };
    if org.is_some_and(|org| org.trial.is_some()) {
        return Err(ConfigDenial::TrialUsed);
    }
    if from != PlanTime::Now {
        return Err(ConfigDenial::TrialScheduled);
    }
    Ok(Some(Trial {
        started_at: context.at(),
        ends_at: later(context.at(), i64::from(days) * 24 * 3_600),
        ending_noticed: false,
        ended_noticed: false,
    }))
}

/// A month is billed in one currency: the prices of a plan that joins others in it must be in theirs.
fn keeps_currency(
    org: &Org,
    context: &Context<'_>,
    plan: &Plan,
    since: Timestamp,
) -> Result<(), ConfigDenial> {
    let of = |plan: &Plan| (!plan.prices.is_empty()).then(|| plan.currency(context.catalog));
    let Some(next) = of(plan) else { return Ok(()) };
    let month = org.zone.period_at(Window::Month, since);
    let (start, _) = org.zone.bounds(month);
    let mut plans = org.plans.clone();
    plans.call_off(context.at());
    let before = plans.stretches().filter(|stretch| stretch.meets(start, Some(since)));
    let currency = |stretch: crate::Stretch<'_>| of(context.catalog.plan(stretch.plan()?)?);
    match before.filter_map(currency).find(|known: &Currency| *known != next) {
        Some(known) => Err(ConfigDenial::CurrencyChange { from: known, to: next }),
        None => Ok(()),
    }
}

/// A moment some seconds later; the end of time if there is none.
fn later(at: Timestamp, secs: i64) -> Timestamp {
    at.checked_add(SignedDuration::from_secs(secs)).unwrap_or(Timestamp::MAX)
}

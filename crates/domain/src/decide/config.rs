//! Setting what an org is and may: name and zone, plan, limits; and what a gateway told of it.

use crate::decide::plan::set_plan;
use crate::decide::{Changed, ConfigDenial, Context, OrgDecision, Outcome};
use crate::limits::ORG_LIMITS_MAX;
use crate::{
    Entry, EntryKind, KeySpace, Notice, NoticeKind, Org, OrgState, PutOrg, SetLimit, SetPlan, TellBudget,
    Welcome, Window, Zone,
};

pub(super) type ChangeResult = Result<(Changed, Option<Entry>), ConfigDenial>;

pub(super) fn change(result: ChangeResult) -> Outcome {
    match result {
        Ok((changed, entry)) => Outcome { decision: OrgDecision::Change(Ok(changed)), entry },
        Err(denial) => Outcome { decision: OrgDecision::Change(Err(denial)), entry: None },
    }
}

pub(super) fn changed(entry: Entry, deprecated: bool) -> (Changed, Option<Entry>) {
    (Changed { entry: Some(entry.number), deprecated }, Some(entry))
}

pub(super) const fn unchanged(deprecated: bool) -> (Changed, Option<Entry>) {
    (Changed { entry: None, deprecated }, None)
}

pub(super) fn decide_put(state: &OrgState, context: &Context<'_>, put: &PutOrg) -> Outcome {
    let known = state.org();
    let name = put.name.clone().unwrap_or_else(|| known.and_then(|org| org.name.clone()));
    let zone = put.zone.clone().or_else(|| known.map(|org| org.zone.clone())).unwrap_or(Zone::UTC);
    let metadata = put.metadata.clone().or_else(|| known.map(|org| org.metadata.clone())).unwrap_or_default();
    if known.is_some_and(|org| org.name == name && org.zone == zone && org.metadata == metadata) {
        return change(Ok(unchanged(false)));
    }
    change(Ok(changed(context.entry(known, EntryKind::Put { name, zone, metadata }, Vec::new()), false)))
}

pub(super) fn decide_welcome(state: &OrgState, context: &Context<'_>, welcome: &Welcome) -> Outcome {
    match (state.org(), &welcome.plan) {
        (Some(_), _) => change(Ok(unchanged(false))),
        (None, Some(plan)) => change(set_plan(None, context, &SetPlan::now(plan.clone()))),
        (None, None) => decide_put(state, context, &PutOrg { name: None, zone: None, metadata: None }),
    }
}

pub(super) fn decide_limit(state: &OrgState, context: &Context<'_>, set: &SetLimit) -> Outcome {
    change(set_limit(state.org(), context, set))
}

pub(super) fn decide_thresholds(
    state: &OrgState,
    context: &Context<'_>,
    thresholds: Option<&Vec<u8>>,
) -> Outcome {
    change(match state.org() {
        None => Err(ConfigDenial::UnknownOrg),
        Some(org) if org.thresholds.as_ref() == thresholds => Ok(unchanged(false)),
        Some(org) => {
            let kind = EntryKind::ThresholdsSet { thresholds: thresholds.cloned() };
            Ok(changed(context.entry(Some(org), kind, Vec::new()), false))
        }
    })
}

pub(super) fn decide_tell_budget(state: &OrgState, context: &Context<'_>, tell: &TellBudget) -> Outcome {
    let Some(org) = state.org() else { return change(Err(ConfigDenial::UnknownOrg)) };
    let day = |at| org.zone.period_at(Window::Day, at);
    let today = day(context.at());
    if state.key(KeySpace::Told, &tell.key).is_some_and(|known| day(known.at) == today) {
        return change(Ok(unchanged(false)));
    }
    let kind = NoticeKind::GatewayBudget(Box::new(tell.budget.clone()));
    let notice = Notice { meter: None, user: tell.user.clone(), path: None, period: Some(today), kind };
    let kind = EntryKind::BudgetTold { key: tell.key.clone() };
    change(Ok(changed(context.entry(Some(org), kind, vec![notice]), false)))
}

fn set_limit(org: Option<&Org>, context: &Context<'_>, set: &SetLimit) -> ChangeResult {
    let Some(meter) = context.catalog.meter(&set.meter) else { return Err(ConfigDenial::UnknownMeter) };
    if set.amount.is_some() && set.window.moves() && !meter.aggregation.adds_up() {
        return Err(ConfigDenial::MeterWithoutSum);
    }
    let Some(org) = org else { return Err(ConfigDenial::UnknownOrg) };
    let known = org
        .limits
        .iter()
        .find(|limit| limit.meter == set.meter && limit.scope == set.scope && limit.window == set.window);
    if known.map(|limit| limit.amount) == set.amount {
        return Ok(unchanged(false));
    }
    if known.is_none() && org.limits.len() >= ORG_LIMITS_MAX {
        return Err(ConfigDenial::TooMany);
    }
    let SetLimit { meter, scope, window, amount } = set.clone();
    Ok(changed(
        context.entry(Some(org), EntryKind::LimitSet { meter, scope, window, amount }, Vec::new()),
        false,
    ))
}

//! Setting what an org is and may: name and zone, plan, limits, top-ups.

use std::hash::Hasher;

use xxhash_rust::xxh3::Xxh3Default;

use crate::decide::plan::set_plan;
use crate::decide::usage::trial_over;
use crate::decide::{Changed, ConfigDenial, Context, Credit, OrgDecision, Outcome, ToppedUp};
use crate::limits::{GRANTS_MAX, OPEN_GRANTS_MAX, ORG_LIMITS_MAX};
use crate::moment::Moment;
use crate::{
    Entry, EntryKind, Grant, KeyId, KeySpace, Notice, NoticeKind, Org, OrgId, PutOrg, Records, Scope,
    SetLimit, SetPlan, TopUp, TopUpExpiry, Welcome, Zone,
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

pub(super) fn decide_put(records: &Records, context: &Context<'_>, org: &OrgId, put: &PutOrg) -> Outcome {
    let known = records.org(org);
    let name = put.name.clone().unwrap_or_else(|| known.and_then(|org| org.name.clone()));
    let zone = put.zone.clone().or_else(|| known.map(|org| org.zone.clone())).unwrap_or(Zone::UTC);
    let metadata = put.metadata.clone().or_else(|| known.map(|org| org.metadata.clone())).unwrap_or_default();
    if known.is_some_and(|org| org.name == name && org.zone == zone && org.metadata == metadata) {
        return change(Ok(unchanged(false)));
    }
    change(Ok(changed(context.entry(known, EntryKind::Put { name, zone, metadata }, Vec::new()), false)))
}

pub(super) fn decide_welcome(
    records: &Records,
    context: &Context<'_>,
    org: &OrgId,
    welcome: &Welcome,
) -> Outcome {
    match (records.org(org), &welcome.plan) {
        (Some(_), _) => change(Ok(unchanged(false))),
        (None, Some(plan)) => change(set_plan(None, context, &SetPlan::now(plan.clone()))),
        (None, None) => decide_put(records, context, org, &PutOrg { name: None, zone: None, metadata: None }),
    }
}

pub(super) fn decide_limit(records: &Records, context: &Context<'_>, org: &OrgId, set: &SetLimit) -> Outcome {
    change(set_limit(records.org(org), context, set))
}

fn set_limit(org: Option<&Org>, context: &Context<'_>, set: &SetLimit) -> ChangeResult {
    if context.catalog.meter(&set.meter).is_none() {
        return Err(ConfigDenial::UnknownMeter);
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

pub(super) fn decide_top_up(
    records: &Records,
    context: &Context<'_>,
    org: &OrgId,
    top_up: &TopUp,
) -> Outcome {
    let (result, entry) = match add_credit(records, context, org, top_up) {
        Ok((topped_up, entry)) => (Ok(topped_up), entry),
        Err(denial) => (Err(denial), None),
    };
    Outcome { decision: OrgDecision::TopUp(result), entry }
}

fn add_credit(
    records: &Records,
    context: &Context<'_>,
    org: &OrgId,
    top_up: &TopUp,
) -> Result<(ToppedUp, Option<Entry>), ConfigDenial> {
    let fingerprint = fingerprint(top_up);
    if let Some(replay) = replay(records, context, org, top_up, fingerprint)? {
        return Ok((replay, None));
    }
    let meter = context.catalog.meter(&top_up.meter).ok_or(ConfigDenial::UnknownMeter)?;
    if !meter.aggregation.adds_up() {
        return Err(ConfigDenial::MeterWithoutCredit);
    }
    let Some(org) = records.org(org) else { return Err(ConfigDenial::UnknownOrg) };
    let Some(plan) = context.plan_of(org) else {
        return Err(ConfigDenial::NoPlan);
    };
    let moment = context.now_of(org);
    let mut account = records.account(&org.id, &top_up.meter).cloned().unwrap_or_default();
    let month = records.counter(&org.id, &top_up.meter, &Scope::Org, moment.month);
    if trial_over(
        org,
        plan,
        &Credit::new(org, Some(plan), &account, &top_up.meter, &moment, month.clone()),
        &moment,
    ) {
        return Err(ConfigDenial::TrialEnded);
    }
    account.forget_expired(context.at());
    let grant = grant(org, &moment, top_up)?;
    let open = account.grants.iter().filter(|grant| grant.expires_at.is_none_or(|expiry| moment.at < expiry));
    if open.count() >= OPEN_GRANTS_MAX || account.grants.len() >= GRANTS_MAX {
        return Err(ConfigDenial::TooMany);
    }
    account.grants.push(grant.clone());
    let standing = Credit::new(org, Some(plan), &account, &top_up.meter, &moment, month).standing(None);
    let expires_at = grant.expires_at;
    let kind = NoticeKind::TopUpGranted { amount: grant.amount, expires_at, plan: Some(plan.id.clone()) };
    let notice = Notice { meter: Some(top_up.meter.clone()), user: None, period: Some(moment.month), kind };
    let kind = EntryKind::ToppedUp {
        meter: top_up.meter.clone(),
        key: top_up.key.clone(),
        fingerprint,
        grant,
        metadata: top_up.metadata.clone(),
        standing,
    };
    let entry = context.entry(Some(org), kind, vec![notice]);
    Ok((ToppedUp { entry: entry.number, replayed: false, standing, expires_at }, Some(entry)))
}

fn replay(
    records: &Records,
    context: &Context<'_>,
    org: &OrgId,
    top_up: &TopUp,
    fingerprint: u64,
) -> Result<Option<ToppedUp>, ConfigDenial> {
    let Some(key) = &top_up.key else { return Ok(None) };
    let id = KeyId { org: org.clone(), space: KeySpace::TopUp, key: key.clone() };
    let Some(known) = records.key(id).filter(|known| context.remembers(known.at)) else { return Ok(None) };
    if known.fingerprint != fingerprint {
        return Err(ConfigDenial::KeyReused);
    }
    Ok(Some(ToppedUp { entry: known.entry, replayed: true, standing: known.standing, expires_at: None }))
}

fn grant(org: &Org, moment: &Moment, top_up: &TopUp) -> Result<Grant, ConfigDenial> {
    let effective_at = top_up.effective_at.unwrap_or(moment.at).max(moment.at);
    let expires_at = match top_up.expiry {
        TopUpExpiry::EndOfMonth => Some(Moment::new(&org.zone, effective_at).month_end),
        TopUpExpiry::At(expiry) => Some(expiry),
        TopUpExpiry::Never => None,
    };
    if expires_at.is_some_and(|expiry| expiry <= effective_at) {
        return Err(ConfigDenial::ExpiryPassed);
    }
    Ok(Grant {
        entry: org.next_entry(),
        amount: top_up.amount.amount(),
        burned: crate::Amount::ZERO,
        priority: top_up.priority,
        effective_at,
        expires_at,
        reason: top_up.reason.clone(),
    })
}

/// Which content a key stands for.
fn fingerprint(top_up: &TopUp) -> u64 {
    let mut hash = Xxh3Default::new();
    hash.write_usize(top_up.meter.as_str().len());
    hash.write(top_up.meter.as_str().as_bytes());
    hash.write_i128(top_up.amount.amount().billionths());
    hash.write_u8(top_up.priority);
    match top_up.expiry {
        TopUpExpiry::EndOfMonth => hash.write_u8(0),
        TopUpExpiry::At(expiry) => hash.write_i128(expiry.as_nanosecond()),
        TopUpExpiry::Never => hash.write_u8(1),
    }
    if let Some(effective_at) = top_up.effective_at {
        hash.write_i128(effective_at.as_nanosecond());
    }
    hash.digest()
}

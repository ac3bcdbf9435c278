//! Adding credit: top-ups and prepaid pots.

use std::borrow::Cow;
use std::hash::Hasher;

use xxhash_rust::xxh3::Xxh3Default;

use crate::catalog::{MeterRules, Plan};
use crate::decide::settle::settled;
use crate::decide::{ConfigDenial, Context, Credit, OrgDecision, Outcome, ToppedUp};
use crate::limits::{GRANTS_MAX, OPEN_GRANTS_MAX};
use crate::moment::Moment;
use crate::{
    Account, Amount, Entry, EntryKind, Grant, KeyRecord, KeySpace, Notice, NoticeKind, Org, OrgState, Period,
    Scope, Timestamp, TopUp, TopUpExpiry, TopUpStart, ToppedUpEntry, UsageKey, Window,
};

pub(super) fn decide_top_up(state: &OrgState, context: &Context<'_>, top_up: &TopUp) -> Outcome {
    let (result, entry) = match add_credit(state, context, top_up) {
        Ok((topped_up, entry)) => (Ok(Box::new(topped_up)), entry),
        Err(denial) => (Err(denial), None),
    };
    Outcome { decision: OrgDecision::TopUp(result), entry }
}

fn add_credit(
    state: &OrgState,
    context: &Context<'_>,
    top_up: &TopUp,
) -> Result<(ToppedUp, Option<Entry>), ConfigDenial> {
    let fingerprint = fingerprint(top_up);
    if let Some(known) = known_key(state, context, top_up.key.as_ref()) {
        let replay = replay(state, top_up, known, fingerprint)?;
        return Ok((replay, None));
    }
    let meter = context.catalog.meter(&top_up.meter).ok_or(ConfigDenial::UnknownMeter)?;
    if !meter.aggregation.adds_up() {
        return Err(ConfigDenial::MeterWithoutCredit);
    }
    let Some(org) = state.org() else { return Err(ConfigDenial::UnknownOrg) };
    let Some(plan) = context.plan_of(org) else {
        return Err(ConfigDenial::NoPlan);
    };
    let moment = context.now_of(org);
    if trial_time_over(org, plan, &moment) {
        return Err(ConfigDenial::TrialEnded);
    }
    let mut account = state.account(&top_up.meter).cloned().unwrap_or_default();
    account.forget_expired(context.at());
    let grant = grant(org, &moment, top_up)?;
    // One that is used up is not looked at for long, and makes room for another.
    let open = account.grants.iter().filter(|grant| grant.unused(moment.at).is_positive());
    if open.count() >= OPEN_GRANTS_MAX || account.grants.len() >= GRANTS_MAX {
        return Err(ConfigDenial::TooMany);
    }
    account.grants.push(grant.clone());
    let (account, settled) = settled(context, org, &top_up.meter, Cow::Owned(account));
    let month = state.counter(&top_up.meter, &Scope::Org, moment.month);
    let rules = MeterRules::of(Some(plan), &top_up.meter);
    let standing = Credit::new(org, &top_up.meter, rules, &account, &moment, month).standing(None);
    let expires_at = grant.expires_at;
    let kind = NoticeKind::TopUpGranted { amount: grant.amount, expires_at, plan: Some(plan.id.clone()) };
    let notice = Notice {
        meter: Some(top_up.meter.clone()),
        user: None,
        path: None,
        period: Some(moment.month),
        kind,
    };
    let kind = EntryKind::ToppedUp(Box::new(ToppedUpEntry {
        meter: top_up.meter.clone(),
        fingerprint,
        grant,
        metadata: top_up.metadata.clone(),
        standing,
    }));
    let entry = Entry { settled, ..context.entry(Some(org), kind, vec![notice]) };
    Ok((ToppedUp { entry: entry.number, replayed: false, standing, expires_at }, Some(entry)))
}

/// Whether an org is on a trial whose time is over: credit could not be used until it has a plan.
fn trial_time_over(org: &Org, plan: &Plan, moment: &Moment) -> bool {
    plan.trial_days.is_some() && org.trial.as_ref().is_none_or(|trial| trial.ends_at <= moment.at)
}

/// What is remembered of the key of a top-up or of a correction.
pub(super) fn known_key<'a>(
    state: &'a OrgState,
    context: &Context<'_>,
    key: Option<&UsageKey>,
) -> Option<&'a KeyRecord> {
    state.key(KeySpace::TopUp, key?).filter(|known| context.remembers(known.at))
}

/// The first answer again. The grant is there for longer than its key.
fn replay(
    state: &OrgState,
    top_up: &TopUp,
    known: &KeyRecord,
    fingerprint: u64,
) -> Result<ToppedUp, ConfigDenial> {
    if known.fingerprint != fingerprint {
        return Err(ConfigDenial::KeyReused);
    }
    let grants = state.account(&top_up.meter).map_or(&[][..], |account| &account.grants);
    let grant = grants.iter().find(|grant| grant.entry == known.entry);
    let expires_at = grant.and_then(|grant| grant.expires_at);
    Ok(ToppedUp { entry: known.entry, replayed: true, standing: known.standing, expires_at })
}

fn grant(org: &Org, moment: &Moment, top_up: &TopUp) -> Result<Grant, ConfigDenial> {
    let effective_at = match top_up.start {
        TopUpStart::Now => moment.at,
        TopUpStart::At { at, .. } => at.max(moment.at),
        TopUpStart::Day(day) => org.zone.bounds(Period::day(day)).0.unwrap_or(moment.at).max(moment.at),
    };
    let expires_at = match top_up.expiry {
        TopUpExpiry::EndOfMonth => Some(end_of_month(org, effective_at, top_up.start)),
        TopUpExpiry::At(expiry) => Some(expiry),
        TopUpExpiry::Day(day) => Some(org.zone.bounds(Period::day(day)).1.unwrap_or(Timestamp::MAX)),
        TopUpExpiry::Never => None,
    };
    if expires_at.is_some_and(|expiry| expiry <= effective_at) {
        return Err(ConfigDenial::ExpiryPassed);
    }
    Ok(Grant {
        entry: org.next_entry(),
        key: top_up.key.clone(),
        amount: top_up.amount.amount(),
        burned: Amount::ZERO,
        corrected: Amount::ZERO,
        closed: false,
        priority: top_up.priority,
        effective_at,
        expires_at,
        reason: top_up.reason.clone(),
    })
}

/// The end of the month that credit begins in, in the org's zone. A caller who writes the first of a month in another zone
/// means that month, not the last hours of the one before.
fn end_of_month(org: &Org, effective_at: Timestamp, start: TopUpStart) -> Timestamp {
    let begins = org.zone.period_at(Window::Month, effective_at).number;
    let meant = match start {
        TopUpStart::At { at, written_month } if at == effective_at => written_month.max(begins),
        _ => begins,
    };
    org.zone.bounds(Period::month(meant)).1.unwrap_or(Timestamp::MAX)
}

/// The grant of an entry, if the account still knows it.
pub(super) fn grant_of(account: &Account, entry: u64) -> Option<&Grant> {
    account.grants.iter().find(|grant| grant.entry == entry)
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
        TopUpExpiry::Day(day) => hash.write_i32(day),
        TopUpExpiry::Never => hash.write_u8(1),
    }
    match top_up.start {
        TopUpStart::Now => {}
        TopUpStart::At { at, .. } => hash.write_i128(at.as_nanosecond()),
        TopUpStart::Day(day) => hash.write_i32(day),
    }
    hash.digest()
}

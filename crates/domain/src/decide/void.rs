//! Taking credit back: voiding what is unused of a top-up, and corrections. What was burned stays burned.

use std::borrow::Cow;
use std::hash::Hasher;

use xxhash_rust::xxh3::Xxh3Default;

use crate::catalog::MeterRules;
use crate::decide::settle::settled;
use crate::decide::top_up::{grant_of, known_key};
use crate::decide::{ConfigDenial, Context, Credit, OrgDecision, Outcome, Voided};
use crate::records::Standing;
use crate::{
    Account, Amount, Counter, Entry, EntryKind, Grant, MeterId, Org, OrgState, Scope, Source, Void,
    VoidTarget, VoidedEntry,
};

pub(super) fn decide_void(state: &OrgState, context: &Context<'_>, void: &Void) -> Outcome {
    let (result, entry) = match take_back(state, context, void) {
        Ok((voided, entry)) => (Ok(Box::new(voided)), entry),
        Err(denial) => (Err(denial), None),
    };
    Outcome { decision: OrgDecision::Void(result), entry }
}

fn take_back(
    state: &OrgState,
    context: &Context<'_>,
    void: &Void,
) -> Result<(Voided, Option<Entry>), ConfigDenial> {
    let fingerprint = fingerprint(void);
    if let Some(known) = known_key(state, context, void.key.as_ref()) {
        let before = state.entry(known.entry).map(|entry| &entry.kind);
        return match before {
            Some(EntryKind::Voided(voided)) if known.fingerprint == fingerprint => {
                let (amount, standing) = (voided.amount(), voided.standing);
                Ok((Voided { entry: Some(known.entry), replayed: true, amount, standing }, None))
            }
            _ => Err(ConfigDenial::KeyReused),
        };
    }
    let Some(known) = state.org() else { return Err(ConfigDenial::UnknownOrg) };
    let only = void.target.top_up(state);
    let meter = void.target.meter(state).ok_or(ConfigDenial::UnknownTopUp)?;
    if only.is_none() && context.catalog.meter(meter).is_none() {
        return Err(ConfigDenial::UnknownMeter);
    }
    let account = state.account(meter).map_or_else(Cow::default, Cow::Borrowed);
    let (account, settled) = settled(context, known, meter, account);
    let grants = parts(context, known, meter, &account, only, void.amount.map(crate::Quantity::amount))?;
    // All that is unused now, and whatever comes back to it from usage that is taken back later.
    let runs = |grant: &&Grant| !grant.closed && grant.expires_at.is_none_or(|expiry| context.at() < expiry);
    let open = only.filter(|_| void.amount.is_none()).and_then(|entry| grant_of(&account, entry));
    let open = open.filter(runs).map(|grant| grant.entry);
    if grants.is_empty() && open.is_none() {
        let standing = standing(state, context, known, meter, &account);
        return Ok((Voided { entry: None, replayed: true, amount: Amount::ZERO, standing }, None));
    }
    let mut after = account.into_owned();
    after.void(&grants, open);
    let standing = standing(state, context, known, meter, &after);
    let voided = VoidedEntry {
        meter: meter.clone(),
        key: void.key.clone(),
        fingerprint,
        grants,
        closes: open,
        reason: void.reason.clone(),
        standing,
    };
    let amount = voided.amount();
    let kind = EntryKind::Voided(Box::new(voided));
    let entry = Entry { settled, ..context.entry(Some(known), kind, Vec::new()) };
    Ok((Voided { entry: Some(entry.number), replayed: false, amount, standing }, Some(entry)))
}

/// How much is taken back of which top-ups: of those that burn last, first.
fn parts(
    context: &Context<'_>,
    org: &Org,
    meter: &MeterId,
    account: &Account,
    only: Option<u64>,
    amount: Option<Amount>,
) -> Result<Vec<(u64, Amount)>, ConfigDenial> {
    let grants: Vec<(u64, Amount)> = match only {
        Some(entry) => {
            let unused = |grant: &Grant| {
                let held = org.held_of(meter, Source::Grant(entry));
                (grant.unused(context.at()) - held).at_least_zero()
            };
            grant_of(account, entry).map(|grant| (entry, unused(grant))).into_iter().collect()
        }
        None => {
            let moment = context.now_of(org);
            let credit = Credit::new(
                org,
                meter,
                MeterRules::of(context.plan_of(org), meter),
                account,
                &moment,
                Counter::NOTHING,
            );
            let of_pot = credit.pots.iter().rev().filter_map(|pot| match pot.source {
                Source::Grant(entry) => Some((entry, pot.remaining())),
                _ => None,
            });
            of_pot.collect()
        }
    };
    let unused: Amount = grants.iter().map(|(_, amount)| *amount).sum();
    let mut left = amount.unwrap_or(unused);
    if left > unused {
        return Err(ConfigDenial::MoreThanUnused { unused });
    }
    let taken = grants.into_iter().map(|(entry, amount)| {
        let amount = amount.min(left);
        left -= amount;
        (entry, amount)
    });
    Ok(taken.filter(|(_, amount)| amount.is_positive()).collect())
}

pub(super) fn standing(
    state: &OrgState,
    context: &Context<'_>,
    org: &Org,
    meter: &MeterId,
    account: &Account,
) -> Standing {
    credit_now(state, context, org, meter, account).standing(None)
}

/// The credit of an org on a meter now.
pub(super) fn credit_now(
    state: &OrgState,
    context: &Context<'_>,
    org: &Org,
    meter: &MeterId,
    account: &Account,
) -> Credit {
    let plan = MeterRules::of(context.plan_of(org), meter);
    let moment = context.now_of(org);
    let month = state.counter(meter, &Scope::Org, moment.month);
    Credit::new(org, meter, plan, account, &moment, month)
}

/// Which content a key stands for; never that of a top-up.
fn fingerprint(void: &Void) -> u64 {
    let mut hash = Xxh3Default::new();
    hash.write(b"void");
    match &void.target {
        VoidTarget::Entry(entry) => hash.write_u64(*entry),
        VoidTarget::Key(key) => hash.write(key.as_str().as_bytes()),
        VoidTarget::Meter(meter) => hash.write(meter.as_str().as_bytes()),
    }
    hash.write_i128(void.amount.map_or(0, |amount| amount.amount().billionths()));
    hash.digest()
}

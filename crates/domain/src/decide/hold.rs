//! Holds: reserve, capture, give back, expire.
//!
//! A hold passes the gate as a usage does, and reserves what that would burn. What is captured of it is a usage that was
//! allowed already: it counts in the periods and burns the credit that the hold reserved.

use std::borrow::Cow;
use std::hash::Hasher;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3Default;

use crate::catalog::{Aggregation, Meter, MeterRules};
use crate::decide::settle::{add_burn, settled, settled_after};
use crate::decide::usage::{Counted, Gate, Tense, deny, fingerprint, gate, used_entry};
use crate::decide::void::{credit_now, standing};
use crate::decide::{
    Ask, CapturedHold, Context, Denial, Denied, EndedHold, HoldDenial, HoldRefused, OrgDecision, Outcome,
    Policies, ReachedLimit, TakenHold,
};
use crate::limits::HOLDS_OPEN_MAX;
use crate::records::Standing;
use crate::{
    Account, Along, Amount, Burn, Burns, Capture, Captured, EndedBy, Entry, EntryKind, HeldEntry, Hold,
    HoldEnd, HoldEndedEntry, KeyRecord, KeySpace, MeterId, OnExpiry, Org, OrgState, Periods, Quantity,
    SignedDuration, Source, TakeHold, Timestamp, UsageKey, Use,
};

pub(super) fn decide_hold(state: &OrgState, context: &Context<'_>, take: &TakeHold) -> Outcome {
    let (result, entry) = match hold(state, context, take) {
        Ok((taken, entry)) => (Ok(Box::new(taken)), entry),
        Err(HoldRefused::Gate(denied)) => {
            let entry = deny(state, context, &Ask::from(&take.usage), &denied);
            (Err(HoldRefused::Gate(denied)), entry)
        }
        Err(refused) => (Err(refused), None),
    };
    Outcome { decision: OrgDecision::Hold(result), entry }
}

/// What a new hold reserves.
struct Room {
    periods: Periods,
    path: Option<Box<Along>>,
    reserve: Burns,
    settled: Vec<Burn>,
    standing: Standing,
    policies: Policies,
}

fn hold(
    state: &OrgState,
    context: &Context<'_>,
    take: &TakeHold,
) -> Result<(TakenHold, Option<Entry>), HoldRefused> {
    let content = content(take);
    let Use { meter: id, key, .. } = &take.usage;
    if let Some(known) = known(state, context, key) {
        let taken = replayed(state, known, content).map_err(denied)?;
        return Ok((taken, None));
    }
    let meter = context.catalog.meter(id).ok_or_else(|| denied(Denial::UnknownMeter))?;
    if let Some(name) = meter.refused_property(&take.usage.properties) {
        return Err(denied(Denial::UnknownProperty(name.clone())));
    }
    if meter.aggregation != Aggregation::Sum {
        return Err(HoldRefused::NotHeld);
    }
    let org = state.org().ok_or_else(|| denied(Denial::UnknownOrg))?;
    if org.holds.as_ref().is_some_and(|holds| holds.len() >= HOLDS_OPEN_MAX) {
        return Err(HoldRefused::TooMany);
    }
    let parent = match take.within {
        Some(number) => Some(parent(context, org, take, number)?),
        None => None,
    };
    let room = match parent {
        Some(parent) => room_within(state, context, (org, meter), parent, &take.usage)?,
        None => room(state, context, &take.usage).map_err(|denied| HoldRefused::Gate(Box::new(denied)))?,
    };
    let mut hold = new_hold(context, org, (take, content), (room.periods, room.path), room.reserve);
    if let Some(parent) = parent {
        hold.user.clone_from(&parent.user);
        hold.counts_at = parent.counts_at;
        hold.expires_at = hold.expires_at.min(parent.expires_at);
    }
    let (hold, standing) = (Arc::new(hold), room.standing);
    let taken = TakenHold { hold: Arc::clone(&hold), replayed: false, standing, policies: room.policies };
    let kind = EntryKind::Held(Box::new(HeldEntry { hold, standing }));
    let entry = Entry { settled: room.settled, ..context.entry(Some(org), kind, Vec::new()) };
    Ok((taken, Some(entry)))
}

/// A refusal as of a usage, before it is known how the org stands.
fn denied(denial: Denial) -> HoldRefused {
    HoldRefused::Gate(Box::new(Denied { denial, standing: None }))
}

/// What is remembered of a key.
fn known<'a>(state: &'a OrgState, context: &Context<'_>, key: &UsageKey) -> Option<&'a KeyRecord> {
    state.key(KeySpace::Use, key).filter(|known| context.remembers(known.at))
}

/// The first answer to a hold again, with the hold as it is now.
fn replayed(state: &OrgState, known: &KeyRecord, content: u64) -> Result<TakenHold, Denial> {
    if known.fingerprint != content {
        return Err(Denial::KeyReused);
    }
    if known.reversed_by.is_some() {
        return Err(Denial::KeyReversed);
    }
    // Its own entry, or the one that ended it.
    let number = match state.entry(known.entry).map(|entry| &entry.kind) {
        Some(EntryKind::Used(used)) => used.captured.map(|captured| captured.hold),
        Some(EntryKind::HoldEnded(ended)) => Some(ended.hold),
        _ => Some(known.entry),
    };
    let hold = number.and_then(|number| state.hold(number)).ok_or(Denial::KeyReused)?;
    let standing = match state.entry(hold.number).map(|entry| &entry.kind) {
        Some(EntryKind::Held(held)) => held.standing,
        _ => known.standing,
    };
    let hold = Arc::new(hold.into_owned());
    Ok(TakenHold { hold, replayed: true, standing, policies: Policies::new() })
}

/// The room that the gate leaves.
fn room<'a>(state: &'a OrgState, context: &Context<'a>, usage: &'a Use) -> Result<Room, Denied> {
    let mut gate = gate(state, context, &Ask::from(usage))?;
    let reserve = gate.reserve();
    let standing = gate.standing();
    let (periods, path, policies) =
        (gate.periods(), gate.along(usage.path.as_ref()), gate.policies(&standing));
    Ok(Room { periods, path, reserve, settled: gate.settled(), standing, policies })
}

/// The open hold that another is to be carved out of.
fn parent<'a>(
    context: &Context<'_>,
    org: &'a Org,
    take: &TakeHold,
    number: u64,
) -> Result<&'a Hold, HoldRefused> {
    let Use { meter, user, path, .. } = &take.usage;
    let lies_within = |hold: &Hold| match (path, &hold.path) {
        (Some(path), Some(along)) => path.is_within(along.path.as_str()),
        _ => true,
    };
    let fits =
        |hold: &&Hold| hold.meter == *meter && (user.is_none() || *user == hold.user) && lies_within(hold);
    let open = org.hold(number).filter(|hold| !hold.is_due(context.at()));
    open.filter(fits).ok_or(HoldRefused::NoParent)
}

/// The room that another hold leaves: what it reserved passed the gate, but for limits on paths below its own.
fn room_within(
    state: &OrgState,
    context: &Context<'_>,
    (org, meter): (&Org, &Meter),
    parent: &Hold,
    usage: &Use,
) -> Result<Room, HoldRefused> {
    let account = state.account(&parent.meter).unwrap_or_else(|| Account::nothing());
    let (account, settled) = settled(context, org, &parent.meter, Cow::Borrowed(account));
    let standing = standing(state, context, org, &parent.meter, &account);
    let quantity = usage.quantity;
    if quantity.amount() > parent.free() {
        let reached = ReachedLimit {
            user: None,
            path: None,
            window: None,
            amount: parent.quantity.amount(),
            used: parent.captured - parent.overran,
            held: parent.carved,
            resets_at: None,
        };
        return Err(HoldRefused::ParentReached(Box::new(reached)));
    }
    let mut path = parent.path.clone();
    let above = path.as_ref().map_or(0, |along| along.path.depth());
    if usage.path.as_ref().is_some_and(|path| path.depth() > above) {
        let moment = context.moment_at(org, parent.counts_at);
        let plan = MeterRules::of(context.plan_in(org, &moment), &parent.meter);
        let ask = Ask { user: parent.user.as_ref(), ..Ask::from(usage) };
        let gate = Gate::load(Tense::Asked, state, context, &ask, (org, meter, plan), moment);
        if let Some(denial) = gate.refusal_below(above) {
            return Err(HoldRefused::Gate(Box::new(Denied { denial, standing: Some(standing) })));
        }
        path = gate.along(usage.path.as_ref());
        if let Some(along) = &mut path {
            along.counted.retain(|(depth, _)| *depth > above);
            along.counted.insert_many(0, parent.path.iter().flat_map(|along| along.counted.iter().copied()));
        }
    }
    let (reserve, _) = parent.drawn(quantity.amount());
    let (periods, policies) = (parent.periods.clone(), Policies::new());
    Ok(Room { periods, path, reserve, settled, standing, policies })
}

fn new_hold(
    context: &Context<'_>,
    org: &Org,
    (take, fingerprint): (&TakeHold, u64),
    (periods, path): (Periods, Option<Box<Along>>),
    reserve: Burns,
) -> Hold {
    let Use { user, meter, quantity, key, properties, .. } = take.usage.clone();
    let at = context.at();
    let lasts = SignedDuration::from_secs(take.secs.into());
    Hold {
        number: org.next_entry(),
        key,
        fingerprint,
        parent: take.within,
        user,
        path,
        meter,
        quantity,
        overrun: take.overrun,
        on_expiry: take.on_expiry,
        properties,
        made_at: at,
        counts_at: at,
        periods,
        expires_at: at.checked_add(lasts).unwrap_or(Timestamp::MAX),
        captured: Amount::ZERO,
        overran: Amount::ZERO,
        carved: Amount::ZERO,
        reserve,
        end: None,
    }
}

pub(super) fn decide_capture(state: &OrgState, context: &Context<'_>, capture: &Capture) -> Outcome {
    let (result, entry) = match take(state, context, capture) {
        Ok((captured, entry)) => (Ok(Box::new(captured)), entry),
        Err(denial) => (Err(denial), None),
    };
    Outcome { decision: OrgDecision::Capture(result), entry }
}

fn take(
    state: &OrgState,
    context: &Context<'_>,
    capture: &Capture,
) -> Result<(CapturedHold, Option<Entry>), HoldDenial> {
    let Some(org) = state.org() else { return Err(HoldDenial::UnknownOrg) };
    let hold = state.hold(capture.hold).ok_or(HoldDenial::UnknownHold)?;
    let content = match &capture.part {
        Some(_) => content_of_part(capture),
        None => hold.fingerprint,
    };
    if let Some(before) = captured_before(state, context, capture, &hold, content)? {
        return Ok((before, None));
    }
    let quantity = capture.quantity.unwrap_or_else(|| hold.free());
    if quantity > hold.most() {
        return Err(HoldDenial::MoreThanHeld { most: hold.most() });
    }
    let ends = capture.part.is_none().then_some(EndedBy::Capture);
    let entry = match (Quantity::new(quantity), ends) {
        (Ok(counted), _) => {
            let key = (capture.part.as_ref().unwrap_or(&hold.key), content);
            let entry = captured_entry(state, context, org, &hold, (counted, key), ends);
            entry.ok_or_else(|| HoldDenial::UnknownMeter(hold.meter.clone()))?
        }
        (Err(_), Some(by)) => ended_entry(state, context, org, &hold, by),
        (Err(_), None) => return Err(HoldDenial::NothingToCapture),
    };
    let standing = entry.made_key().map_or_else(Standing::default, |(_, _, made)| made.standing);
    let hold = Arc::new(after(&hold, quantity, &entry));
    Ok((CapturedHold { hold, quantity, entry: entry.number, replayed: false, standing }, Some(entry)))
}

/// The answer to a capture that was made before; `None`: it is to be made now.
fn captured_before(
    state: &OrgState,
    context: &Context<'_>,
    capture: &Capture,
    hold: &Hold,
    content: u64,
) -> Result<Option<CapturedHold>, HoldDenial> {
    let Some(key) = &capture.part else {
        let Some(end) = hold.end else { return Ok(None) };
        let known = state.key(KeySpace::Use, &hold.key).filter(|known| known.entry == end.entry);
        let quantity = quantity_of(state, end.entry);
        let same = capture.quantity.is_none_or(|asked| asked == quantity);
        return match known.filter(|_| same && end.by == EndedBy::Capture) {
            Some(known) if known.reversed_by.is_some() => Err(HoldDenial::KeyReversed),
            Some(known) => Ok(Some(again(hold, quantity, known))),
            None => Err(HoldDenial::Ended(Arc::new(hold.clone()))),
        };
    };
    let known = known(state, context, key);
    match known.filter(|known| known.fingerprint == content) {
        Some(known) if known.reversed_by.is_some() => Err(HoldDenial::KeyReversed),
        Some(known) => Ok(Some(again(hold, quantity_of(state, known.entry), known))),
        None if hold.end.is_some() => Err(HoldDenial::Ended(Arc::new(hold.clone()))),
        None if known.is_some() => Err(HoldDenial::KeyReused),
        None => Ok(None),
    }
}

/// How much an entry captured.
fn quantity_of(state: &OrgState, entry: u64) -> Amount {
    match state.entry(entry).map(|entry| &entry.kind) {
        Some(EntryKind::Used(used)) => used.quantity.amount(),
        _ => Amount::ZERO,
    }
}

fn again(hold: &Hold, quantity: Amount, known: &KeyRecord) -> CapturedHold {
    let (hold, entry, standing) = (Arc::new(hold.clone()), known.entry, known.standing);
    CapturedHold { hold, quantity, entry, replayed: true, standing }
}

/// A hold after an entry that captured something of it, or ended it.
fn after(hold: &Hold, quantity: Amount, entry: &Entry) -> Hold {
    let mut after = hold.clone();
    match entry.ends_hold(hold.number) {
        Some(sum) => after.end(entry, sum),
        None => after.capture(quantity),
    }
    after
}

/// The usage that a capture counts; `None` if its meter is not counted any more.
fn captured_entry(
    state: &OrgState,
    context: &Context<'_>,
    org: &Org,
    hold: &Hold,
    (quantity, (key, fingerprint)): (Quantity, (&UsageKey, u64)),
    ends: Option<EndedBy>,
) -> Option<Entry> {
    let meter = context.catalog.meter(&hold.meter).filter(|meter| meter.aggregation == Aggregation::Sum)?;
    let moment = context.moment_at(org, hold.counts_at);
    let plan = MeterRules::of(context.plan_in(org, &moment), &hold.meter);
    let usage = Use {
        user: hold.user.clone(),
        path: hold.path.as_ref().map(|along| along.path.clone()),
        meter: hold.meter.clone(),
        quantity,
        key: key.clone(),
        occurred_at: Some(hold.counts_at),
        properties: hold.properties.clone(),
    };
    let ask = Ask::from(&usage);
    let mut gate = Gate::load(Tense::Captured, state, context, &ask, (org, meter, plan), moment);
    let burns = gate.capture(hold, quantity.amount(), ends.is_some());
    let captured = Captured { hold: hold.number, ends: ends.map(|by| hold.sum(by, quantity.amount())) };
    let standing = gate.standing();
    let taken = burns.clone();
    let counted = Counted { usage: &usage, fingerprint, burns, standing, captured: Some((hold, captured)) };
    let mut entry = used_entry(state, context, &mut gate, counted);
    let after = || {
        let mut org = org.clone();
        org.change_holds(|holds| captured.apply(holds, quantity.amount()));
        org
    };
    let paid = settle(state, context, (after, &hold.meter), &mut entry, &taken);
    if let EntryKind::Used(used) = &mut entry.kind {
        used.standing = gate.standing_paid(used.standing, &paid);
    }
    Some(entry)
}

/// The entry that ends a hold without a capture.
fn ended_entry(state: &OrgState, context: &Context<'_>, org: &Org, hold: &Hold, by: EndedBy) -> Entry {
    let account = state.account(&hold.meter).unwrap_or_else(|| Account::nothing());
    let (account, settled) = settled(context, org, &hold.meter, Cow::Borrowed(account));
    let mut credit = credit_now(state, context, org, &hold.meter, &account);
    if let Some(freed) = hold.frees(org) {
        let now = hold.month() == Some(context.now_of(org).month);
        credit.release(if now { freed } else { Amount::ZERO }, &hold.reserve);
    }
    let ended = HoldEndedEntry {
        hold: hold.number,
        key: hold.key.clone(),
        fingerprint: hold.fingerprint,
        user: hold.user.clone(),
        path: hold.path.as_ref().map(|along| along.path.clone()),
        meter: hold.meter.clone(),
        amount: hold.free(),
        ends: hold.sum(by, Amount::ZERO),
        standing: credit.standing(None),
    };
    let kind = EntryKind::HoldEnded(Box::new(ended));
    let mut entry = Entry { settled, ..context.entry(Some(org), kind, Vec::new()) };
    let after = || {
        let mut org = org.clone();
        org.change_holds(|holds| holds.end(hold.number, Amount::ZERO));
        org
    };
    settle(state, context, (after, &hold.meter), &mut entry, &[]);
    entry
}

/// Settles what is owed after an entry of a hold, by the org as it is then: what the hold gives back pays, and what it took
/// beyond all credit may be covered by now. What paid.
fn settle(
    state: &OrgState,
    context: &Context<'_>,
    (after, meter): (impl FnOnce() -> Org, &MeterId),
    entry: &mut Entry,
    burns: &[Burn],
) -> Burns {
    let Some(account) = state.account(meter) else { return Burns::new() };
    let overdraft: Amount =
        burns.iter().filter(|burn| burn.source == Source::Overdraft).map(|burn| burn.amount).sum();
    if !account.debt().is_positive() && !overdraft.is_positive() {
        return Burns::new();
    }
    let mut account = account.clone();
    account.settle(&entry.settled);
    burns.iter().for_each(|burn| account.burn(*burn));
    if overdraft.is_positive() {
        account.overdraw(entry.number, overdraft);
    }
    let paid = settled_after(context, &after(), meter, &mut account);
    paid.iter().for_each(|burn| add_burn(&mut entry.settled, burn.source, burn.amount));
    paid
}

pub(super) fn decide_release(state: &OrgState, context: &Context<'_>, number: u64) -> Outcome {
    let (result, entry) = match release(state, context, number) {
        Ok((ended, entry)) => (Ok(ended), entry),
        Err(denial) => (Err(denial), None),
    };
    Outcome { decision: OrgDecision::Release(result), entry }
}

fn release(
    state: &OrgState,
    context: &Context<'_>,
    number: u64,
) -> Result<(EndedHold, Option<Entry>), HoldDenial> {
    let Some(org) = state.org() else { return Err(HoldDenial::UnknownOrg) };
    let hold = state.hold(number).ok_or(HoldDenial::UnknownHold)?;
    match hold.end {
        Some(HoldEnd { by: EndedBy::Release, .. }) => {
            Ok((EndedHold { hold: Arc::new(hold.into_owned()), replayed: true }, None))
        }
        Some(_) => Err(HoldDenial::Ended(Arc::new(hold.into_owned()))),
        None => {
            let entry = ended_entry(state, context, org, &hold, EndedBy::Release);
            let hold = Arc::new(after(&hold, Amount::ZERO, &entry));
            Ok((EndedHold { hold, replayed: false }, Some(entry)))
        }
    }
}

/// Ends the hold that has expired first: gives back what is left of it, or charges it.
pub(super) fn decide_expire(state: &OrgState, context: &Context<'_>) -> Outcome {
    let due = state.org().and_then(|org| Some((org, org.holds.as_ref()?.due(context.at())?)));
    let entry = due.map(|(org, hold)| {
        let charged = match (hold.on_expiry, Quantity::new(hold.free())) {
            (OnExpiry::Charge, Ok(left)) => {
                let named = (left, (&hold.key, hold.fingerprint));
                captured_entry(state, context, org, hold, named, Some(EndedBy::Expiry))
            }
            _ => None,
        };
        charged.unwrap_or_else(|| ended_entry(state, context, org, hold, EndedBy::Expiry))
    });
    Outcome { decision: OrgDecision::Expire(entry.is_some()), entry }
}

/// Which content the key of a hold stands for.
fn content(take: &TakeHold) -> u64 {
    let mut hash = Xxh3Default::new();
    hash.write(b"hold");
    hash.write_u64(fingerprint(&take.usage));
    hash.write_u64(take.within.unwrap_or_default());
    hash.write_u32(take.secs);
    hash.write_i128(take.overrun.billionths());
    hash.write(take.on_expiry.name().as_bytes());
    hash.digest()
}

/// Which content the key of a part stands for.
fn content_of_part(capture: &Capture) -> u64 {
    let mut hash = Xxh3Default::new();
    hash.write(b"part");
    hash.write_u64(capture.hold);
    hash.write_i128(capture.quantity.map_or(-1, Amount::billionths));
    hash.digest()
}

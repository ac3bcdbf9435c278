//! Which records a decision needs.

use crate::decide::Context;
use crate::decide::limits::windows_counted;
use crate::shipment::unsent_day;
use crate::{
    CounterId, EntryKind, Group, KeyId, KeySpace, MeterId, Moment, Org, OrgCommand, OrgId, Period, Place,
    RecordKey, Records, Scope, Sku, UsageKey, Use, UsedEntry, UserId, Window,
};

/// Adds the keys of the records that a decision needs and that are not at hand yet.
///
/// What is needed may depend on what is loaded: true when nothing more will be needed once these are loaded, otherwise
/// call again after loading them.
pub fn missing(
    records: &Records,
    context: &Context<'_>,
    org: &OrgId,
    command: &OrgCommand,
    keys: &mut Vec<RecordKey>,
) -> bool {
    let mut need = |key: RecordKey| {
        let absent = !records.holds(&key);
        if absent {
            keys.push(key);
        }
    };
    need(RecordKey::Org(org.clone()));
    match command {
        OrgCommand::Use(usage) => {
            need(key_of(org, KeySpace::Use, &usage.key));
            let moment = |known: &Org| context.moments.in_zone(&known.zone);
            new_group_needs(records, context, org, &usage.meter, moment, &mut need);
            new_unsent_needs(records, org, &usage.meter, moment, &mut need);
            gate_needs(records, context, org, usage.user.as_ref(), &usage.meter, moment, &mut need)
        }
        OrgCommand::Record(usage) => {
            need(key_of(org, KeySpace::Use, &usage.key));
            let moment = |known: &Org| context.moment_of(known, usage);
            new_group_needs(records, context, org, &usage.meter, moment, &mut need);
            new_unsent_needs(records, org, &usage.meter, moment, &mut need);
            gate_needs(records, context, org, usage.user.as_ref(), &usage.meter, moment, &mut need)
        }
        OrgCommand::Check(check) => {
            let moment = |known: &Org| context.moments.in_zone(&known.zone);
            gate_needs(records, context, org, check.user.as_ref(), &check.meter, moment, &mut need)
        }
        OrgCommand::Reverse(reverse) => {
            let key = KeyId { org: org.clone(), space: KeySpace::Use, key: reverse.key.clone() };
            need(RecordKey::Key(key.clone()));
            if let Some(known) = records.key(key) {
                need(RecordKey::Entry(org.clone(), known.entry));
                if let Some(EntryKind::Used(used)) = records.entry(org, known.entry).map(|entry| &entry.kind)
                {
                    group_needs(org, used, &mut need);
                    unsent_needs(org, used, &mut need);
                    return counters_need(
                        records,
                        org,
                        &used.meter,
                        used.user.as_ref(),
                        &used.periods,
                        &mut need,
                    );
                }
            }
            false
        }
        OrgCommand::TopUp(top_up) => {
            need(RecordKey::Account(org.clone(), top_up.meter.clone()));
            if let Some(key) = &top_up.key {
                need(key_of(org, KeySpace::TopUp, key));
            }
            records.org(org).is_some_and(|known| {
                let month = context.moments.in_zone(&known.zone).month;
                counters_need(records, org, &top_up.meter, None, &[month], &mut need)
            })
        }
        OrgCommand::CloseMonth(close) => crate::bill_needs(records, context, org, close.month, &mut need),
        OrgCommand::Settle(settle) => {
            need(RecordKey::Unsent(org.clone(), settle.day));
            true
        }
        OrgCommand::Put(_) | OrgCommand::Welcome(_) | OrgCommand::SetPlan(_) | OrgCommand::SetLimit(_) => {
            true
        }
    }
}

fn gate_needs(
    records: &Records,
    context: &Context<'_>,
    org: &OrgId,
    user: Option<&UserId>,
    meter: &MeterId,
    moment: impl Fn(&Org) -> Moment,
    need: &mut impl FnMut(RecordKey),
) -> bool {
    let mut periods = Vec::new();
    if let Some(known) = records.org(org) {
        let moment = moment(known);
        let plan = context.plan_of(known);
        periods.extend(windows_counted(known, plan, meter).map(|window| moment.period(window)));
    }
    let complete = counters_need(records, org, meter, user, &periods, need);
    complete && !periods.is_empty()
}

/// Needs the counters of an org, and of a user if one is given, in some periods: the open ones, and of those that are
/// closed their own records. False while it is not known which are closed.
pub(crate) fn counters_need(
    records: &Records,
    org: &OrgId,
    meter: &MeterId,
    user: Option<&UserId>,
    periods: &[Period],
    need: &mut impl FnMut(RecordKey),
) -> bool {
    let account = RecordKey::Account(org.clone(), meter.clone());
    let mut complete = records.holds(&account);
    need(account);
    let mut closed = |scope: Scope| {
        let Some(tally) = records.tally(org, meter, &scope) else { return };
        for period in periods.iter().filter(|period| tally.place(**period) == Place::Closed) {
            let (org, meter, scope) = (org.clone(), meter.clone(), scope.clone());
            need(RecordKey::Counter(CounterId { org, meter, scope, period: *period }));
        }
    };
    closed(Scope::Org);
    if let Some(user) = user {
        closed(Scope::User(user.clone()));
        let tally = RecordKey::Tally(org.clone(), meter.clone(), user.clone());
        complete &= records.holds(&tally);
        need(tally);
    }
    complete
}

/// Needs the groups that a usage was counted in.
pub(crate) fn group_needs(org: &OrgId, used: &UsedEntry, need: &mut impl FnMut(RecordKey)) {
    if let (Some(_), Some(month)) = (&used.group, used.month()) {
        need(RecordKey::Groups(org.clone(), used.meter.clone(), month));
    }
}

/// Needs what is unsent of the day that a usage of a SKU was counted in.
pub(crate) fn unsent_needs(org: &OrgId, used: &UsedEntry, need: &mut impl FnMut(RecordKey)) {
    if let Some(day) = unsent_day(used) {
        need(RecordKey::Unsent(org.clone(), day));
    }
}

/// Needs what is unsent of the day that a usage of a SKU would be counted in.
fn new_unsent_needs(
    records: &Records,
    org: &OrgId,
    meter: &MeterId,
    moment: impl FnOnce(&Org) -> Moment,
    need: &mut impl FnMut(RecordKey),
) {
    if let (Some(_), Some(known)) = (Sku::of(meter), records.org(org)) {
        need(RecordKey::Unsent(org.clone(), moment(known).day.number));
    }
}

/// Needs the groups that a usage would be counted in: of its month, if its meter is counted by properties.
fn new_group_needs(
    records: &Records,
    context: &Context<'_>,
    org: &OrgId,
    meter: &MeterId,
    moment: impl FnOnce(&Org) -> Moment,
    need: &mut impl FnMut(RecordKey),
) {
    let declares = context.catalog.meter(meter).is_some_and(|meter| !meter.properties.is_empty());
    if let (true, Some(known)) = (declares, records.org(org)) {
        let month = moment(known).month.number;
        need(RecordKey::Groups(org.clone(), meter.clone(), month));
    }
}

/// The group that a usage of a meter is counted in, in a month; `None` if the meter is counted by no properties.
pub(crate) fn group_of(
    records: &Records,
    context: &Context<'_>,
    org: &OrgId,
    usage: &Use,
    month: i32,
) -> Option<Group> {
    let meter = context.catalog.meter(&usage.meter).filter(|meter| !meter.properties.is_empty())?;
    let group = Group::of(meter, &usage.properties);
    Some(match records.groups(org, &usage.meter, month) {
        Some(groups) => groups.place(group),
        None => group,
    })
}

fn key_of(org: &OrgId, space: KeySpace, key: &UsageKey) -> RecordKey {
    RecordKey::Key(KeyId { org: org.clone(), space, key: key.clone() })
}

/// Windows whose counters every usage moves; minutes and hours are counted only where a limit asks for them.
pub(crate) const ALWAYS_COUNTED: [Window; 3] = [Window::Day, Window::Month, Window::Lifetime];

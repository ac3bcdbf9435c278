//! Which records a decision needs.

use crate::decide::Context;
use crate::decide::limits::windows_counted;
use crate::{
    CounterId, EntryKind, KeyId, KeySpace, MeterId, OrgCommand, OrgId, Period, RecordKey, Records, Scope,
    UsageKey, UsedEntry, UserId, Window,
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
    let org_at_hand = records.holds(&RecordKey::Org(org.clone()));
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
            gate_needs(records, context, org, usage.user.as_ref(), &usage.meter, &mut need);
            org_at_hand
        }
        OrgCommand::Check(check) => {
            gate_needs(records, context, org, check.user.as_ref(), &check.meter, &mut need);
            org_at_hand
        }
        OrgCommand::Reverse(reverse) => {
            let key = KeyId { org: org.clone(), space: KeySpace::Use, key: reverse.key.clone() };
            need(RecordKey::Key(key.clone()));
            if let Some(known) = records.key(key) {
                need(RecordKey::Entry(org.clone(), known.entry));
                if let Some(EntryKind::Used(used)) = records.entry(org, known.entry).map(|entry| &entry.kind)
                {
                    need(RecordKey::Account(org.clone(), used.meter.clone()));
                    counters_of(org, used).map(RecordKey::Counter).for_each(need);
                    return true;
                }
            }
            false
        }
        OrgCommand::TopUp(top_up) => {
            need(RecordKey::Account(org.clone(), top_up.meter.clone()));
            if let Some(key) = &top_up.key {
                need(key_of(org, KeySpace::TopUp, key));
            }
            if let Some(known) = records.org(org) {
                let period = context.moments.in_zone(&known.zone).month;
                need(RecordKey::Counter(counter(org, &top_up.meter, Scope::Org, period)));
            }
            org_at_hand
        }
        OrgCommand::Put(_) | OrgCommand::SetPlan(_) | OrgCommand::SetLimit(_) => true,
    }
}

fn gate_needs(
    records: &Records,
    context: &Context<'_>,
    org: &OrgId,
    user: Option<&UserId>,
    meter: &MeterId,
    need: &mut impl FnMut(RecordKey),
) {
    need(RecordKey::Account(org.clone(), meter.clone()));
    let Some(known) = records.org(org) else { return };
    let moment = context.moments.in_zone(&known.zone);
    let plan = known.plan.as_ref().and_then(|plan| context.catalog.plan(&plan.id));
    for window in windows_counted(known, plan, meter) {
        let period = moment.period(window);
        need(RecordKey::Counter(counter(org, meter, Scope::Org, period)));
        if let Some(user) = user {
            need(RecordKey::Counter(counter(org, meter, Scope::User(user.clone()), period)));
        }
    }
}

/// The counters that a usage moved.
pub fn counters_of<'a>(org: &'a OrgId, used: &'a UsedEntry) -> impl Iterator<Item = CounterId> + 'a {
    used.periods.iter().flat_map(move |period| {
        let own = counter(org, &used.meter, Scope::Org, *period);
        let users =
            used.user.iter().map(|user| counter(org, &used.meter, Scope::User(user.clone()), *period));
        std::iter::once(own).chain(users)
    })
}

pub(crate) fn counter(org: &OrgId, meter: &MeterId, scope: Scope, period: Period) -> CounterId {
    CounterId { org: org.clone(), meter: meter.clone(), scope, period }
}

fn key_of(org: &OrgId, space: KeySpace, key: &UsageKey) -> RecordKey {
    RecordKey::Key(KeyId { org: org.clone(), space, key: key.clone() })
}

/// Windows whose counters every usage moves; minutes and hours are counted only where a limit asks for them.
pub(crate) const ALWAYS_COUNTED: [Window; 3] = [Window::Day, Window::Month, Window::Lifetime];

//! Which records a decision needs.

use crate::decide::Context;
use crate::decide::limits::windows_counted;
use crate::{
    CounterId, EntryKind, KeyId, KeySpace, MeterId, Moment, Org, OrgCommand, OrgId, Period, Place, RecordKey,
    Records, Scope, UsageKey, UserId, Window,
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
            gate_needs(records, context, org, usage.user.as_ref(), &usage.meter, moment, &mut need)
        }
        OrgCommand::Record(usage) => {
            need(key_of(org, KeySpace::Use, &usage.key));
            let moment = |known: &Org| context.moment_of(known, usage);
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
        OrgCommand::Put(_) | OrgCommand::SetPlan(_) | OrgCommand::SetLimit(_) => true,
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
        let plan = known.plan.as_ref().and_then(|plan| context.catalog.plan(&plan.id));
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
        for period in periods {
            if records.place(org, meter, &scope, *period) == Place::Closed {
                let (org, meter, scope) = (org.clone(), meter.clone(), scope.clone());
                need(RecordKey::Counter(CounterId { org, meter, scope, period: *period }));
            }
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

fn key_of(org: &OrgId, space: KeySpace, key: &UsageKey) -> RecordKey {
    RecordKey::Key(KeyId { org: org.clone(), space, key: key.clone() })
}

/// Windows whose counters every usage moves; minutes and hours are counted only where a limit asks for them.
pub(crate) const ALWAYS_COUNTED: [Window; 3] = [Window::Day, Window::Month, Window::Lifetime];

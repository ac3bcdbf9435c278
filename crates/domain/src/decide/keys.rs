//! Which records a decision needs.

use crate::decide::limits::windows_counted;
use crate::decide::{Ask, Context};
use crate::shipment::unsent_day;
use crate::{
    Among, CounterId, Counting, EntryKind, GROUPED, Group, KeyId, KeySpace, MeterId, Moment, Org, OrgCommand,
    OrgId, Period, Place, RecordKey, Records, Scope, UsageKey, Use, UsedEntry, UserId, Void, Window,
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
            let moment = |known: &Org| context.now_of(known);
            let grouped = new_group_needs(records, context, org, &Ask::from(usage), moment, &mut need);
            new_unsent_needs(records, context, org, &usage.meter, moment, &mut need);
            gate_needs(records, context, org, &Ask::from(usage), moment, &mut need) && grouped
        }
        OrgCommand::Record(usage) => {
            need(key_of(org, KeySpace::Use, &usage.key));
            let moment = |known: &Org| context.moment_of(known, usage);
            let grouped = new_group_needs(records, context, org, &Ask::from(usage), moment, &mut need);
            new_unsent_needs(records, context, org, &usage.meter, moment, &mut need);
            gate_needs(records, context, org, &Ask::from(usage), moment, &mut need) && grouped
        }
        OrgCommand::Check(check) => {
            let moment = |known: &Org| context.now_of(known);
            gate_needs(records, context, org, &Ask::from(check), moment, &mut need)
        }
        OrgCommand::Reverse(reverse) => {
            let key = KeyId { org: org.clone(), space: KeySpace::Use, key: reverse.key.clone() };
            need(RecordKey::Key(key.clone()));
            if let Some(known) = records.key(key) {
                need(RecordKey::Entry(org.clone(), known.entry));
                if let Some(EntryKind::Used(used)) = records.entry(org, known.entry).map(|entry| &entry.kind)
                {
                    unsent_needs(org, used, &mut need);
                    return used_needs(records, org, used, &mut need);
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
                let month = context.now_of(known).month;
                counters_need(records, org, &top_up.meter, None, &[month], &mut need)
            })
        }
        OrgCommand::Void(void) => void_needs(records, context, org, void, &mut need),
        OrgCommand::CloseMonth(close) => crate::bill_needs(records, context, org, close.month, &mut need),
        OrgCommand::Settle(settle) => {
            need(RecordKey::Unsent(org.clone(), settle.day));
            true
        }
        OrgCommand::Put(_)
        | OrgCommand::Welcome(_)
        | OrgCommand::SetPlan(_)
        | OrgCommand::CallOffPlan
        | OrgCommand::SetLimit(_) => true,
    }
}

/// Needs what taking credit back looks at: the top-up's entry, found by its number or its key, and the account. An entry
/// that is not written yet is not looked for: what is known to be absent would stay so.
fn void_needs(
    records: &Records,
    context: &Context<'_>,
    org: &OrgId,
    void: &Void,
    need: &mut impl FnMut(RecordKey),
) -> bool {
    let keys = [void.key.as_ref(), void.target.key()];
    let named: Vec<KeyId> = keys
        .into_iter()
        .flatten()
        .map(|key| KeyId { org: org.clone(), space: KeySpace::TopUp, key: key.clone() })
        .collect();
    named.iter().for_each(|id| need(RecordKey::Key(id.clone())));
    let Some(known) = records.org(org) else { return false };
    let mut complete = named.iter().all(|id| records.holds(&RecordKey::Key(id.clone())));
    let found = named.into_iter().filter_map(|id| records.key(id).map(|key| key.entry));
    for entry in found.chain(void.target.entry()).filter(|entry| (1..=known.version).contains(entry)) {
        let key = RecordKey::Entry(org.clone(), entry);
        complete &= records.holds(&key);
        need(key);
    }
    let Some(meter) = void.target.meter(records, org) else { return complete };
    need(RecordKey::Account(org.clone(), meter.clone()));
    let month = context.now_of(known).month;
    counters_need(records, org, meter, None, &[month], need) && complete
}

fn gate_needs(
    records: &Records,
    context: &Context<'_>,
    org: &OrgId,
    ask: &Ask<'_>,
    moment: impl Fn(&Org) -> Moment,
    need: &mut impl FnMut(RecordKey),
) -> bool {
    let Some(known) = records.org(org) else {
        counters_need(records, org, ask.meter, ask.user, &[], need);
        return false;
    };
    let (moment, meter) = (moment(known), context.catalog.meter(ask.meter));
    let windows = windows_counted(known, context.plan_in(known, &moment), ask.meter, meter);
    let periods: Vec<Period> = windows.map(|window| moment.period(window)).collect();
    let mut complete = counters_need(records, org, ask.meter, ask.user, &periods, need);
    if let Some(counting) = meter.map(|meter| meter.counting(ask.user, ask.properties, moment.at)) {
        let users = ask.user.cloned().map(Among::User);
        for among in std::iter::once(Among::Org).chain(users) {
            complete &= seen_needs(records, org, ask.meter, among, &counting, &periods, need);
        }
    }
    complete
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
    let mut complete = scope_needs(records, org, meter, &Scope::Org, periods, need);
    if let Some(user) = user {
        complete &= scope_needs(records, org, meter, &Scope::User(user.clone()), periods, need);
    }
    complete
}

pub(crate) fn scope_needs(
    records: &Records,
    org: &OrgId,
    meter: &MeterId,
    scope: &Scope,
    periods: &[Period],
    need: &mut impl FnMut(RecordKey),
) -> bool {
    let key = RecordKey::tally(org, meter, scope);
    if !records.holds(&key) {
        need(key);
        return false;
    }
    let tally = records.tally(org, meter, scope);
    let closed = |period: &&Period| tally.is_some_and(|tally| tally.place(**period) == Place::Closed);
    for period in periods.iter().filter(closed) {
        let (org, meter, scope) = (org.clone(), meter.clone(), scope.clone());
        need(RecordKey::Counter(CounterId { org, meter, scope, period: *period }));
    }
    true
}

/// Needs the counters of the value that a usage counts once, among some usage.
fn seen_needs(
    records: &Records,
    org: &OrgId,
    meter: &MeterId,
    among: Among,
    counting: &Counting,
    periods: &[Period],
    need: &mut impl FnMut(RecordKey),
) -> bool {
    counting
        .value()
        .is_none_or(|value| scope_needs(records, org, meter, &Scope::seen(among, value), periods, need))
}

/// Needs what a usage that was counted moved.
pub(crate) fn used_needs(
    records: &Records,
    org: &OrgId,
    used: &UsedEntry,
    need: &mut impl FnMut(RecordKey),
) -> bool {
    let UsedEntry { meter, user, counting, periods, .. } = used;
    let mut complete = counters_need(records, org, meter, user.as_ref(), periods, need);
    for among in std::iter::once(Among::Org).chain(user.clone().map(Among::User)) {
        complete &= seen_needs(records, org, meter, among, counting, periods, need);
    }
    for (group, period) in used.grouped() {
        need(RecordKey::Groups(org.clone(), meter.clone(), period));
        let among = Among::Group(group.clone());
        complete &= seen_needs(records, org, meter, among, counting, &[period], need);
    }
    complete
}

/// Needs what is unsent of the day that a usage was counted in, if it is sent.
pub(crate) fn unsent_needs(org: &OrgId, used: &UsedEntry, need: &mut impl FnMut(RecordKey)) {
    if let Some(day) = unsent_day(used) {
        need(RecordKey::Unsent(org.clone(), day));
    }
}

/// Needs what is unsent of the day that a usage would be counted in, if its meter is sent.
fn new_unsent_needs(
    records: &Records,
    context: &Context<'_>,
    org: &OrgId,
    meter: &MeterId,
    moment: impl FnOnce(&Org) -> Moment,
    need: &mut impl FnMut(RecordKey),
) {
    let is_sent = context.catalog.meter(meter).is_some_and(|meter| meter.sink.is_some());
    if let (true, Some(known)) = (is_sent, records.org(org)) {
        need(RecordKey::Unsent(org.clone(), moment(known).day.number));
    }
}

/// Needs the groups that a usage would be counted in: of its day, month and segment, if its meter is counted by properties. Which
/// group it is is decided once they are at hand: its own, or that without values.
fn new_group_needs(
    records: &Records,
    context: &Context<'_>,
    org: &OrgId,
    ask: &Ask<'_>,
    moment: impl FnOnce(&Org) -> Moment,
    need: &mut impl FnMut(RecordKey),
) -> bool {
    let meter = context.catalog.meter(ask.meter).filter(|meter| !meter.properties.is_empty());
    let (Some(meter), Some(known)) = (meter, records.org(org)) else { return true };
    let moment = moment(known);
    let periods = GROUPED.map(|window| moment.period(window));
    for period in periods {
        need(RecordKey::Groups(org.clone(), ask.meter.clone(), period));
    }
    let counting = meter.counting(ask.user, ask.properties, moment.at);
    let mut complete = true;
    for group in [Group::of(meter, ask.properties), Group::default()] {
        let among = Among::Group(group);
        complete &= seen_needs(records, org, ask.meter, among, &counting, &periods, need);
    }
    complete
}

/// The group that a usage of a meter is counted in, in a month; `None` if the meter is counted by no properties.
pub(crate) fn group_of(
    records: &Records,
    context: &Context<'_>,
    org: &OrgId,
    usage: &Use,
    month: Period,
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

/// Windows whose counters every usage moves; minutes and hours are counted only where a limit or the meter asks.
pub(crate) const ALWAYS_COUNTED: [Window; 4] =
    [Window::Day, Window::Month, Window::Lifetime, Window::Segment];

//! What an entry changes: the only way any record changes, when it is decided and when the ledger is replayed.

use std::sync::Arc;

use crate::counting::{Motion, Move, ONE};
use crate::decide::keys::{counters_need, unsent_needs, used_needs};
use crate::shipment::unsent_day;
use crate::{
    Account, Among, Amount, ApiKey, Burn, CatalogVersion, Counter, CreatedMeter, Entry, EntryKind, KeyId,
    KeyRecord, KeySpace, Limit, MeterId, NewMeter, Notice, NoticeKind, OrgId, Period, Record, RecordKey,
    Records, Scope, Sku, Standing, System, SystemEntry, SystemEntryKind, Timestamp, UsageKey, UsedEntry,
    Window,
};

/// Changes the records of an org as an entry says.
///
/// Every record named by [`touched`] must be at hand (loaded, or known to be absent).
pub fn apply(records: &mut Records, org: &OrgId, entry: &Entry) {
    match &entry.kind {
        EntryKind::Used(used) => {
            apply_used(records, org, entry, used);
            let adds_up = used.counting.adds_up();
            records.change_org(org, entry.at, |org| org.note_used(&used.meter, adds_up));
        }
        EntryKind::Refused { .. } => {}
        EntryKind::Reversed { entry: counted_by, used } => {
            apply_reversed(records, org, entry, *counted_by, used);
        }
        EntryKind::Put { name, zone, metadata } => records.change_org(org, entry.at, |org| {
            org.name.clone_from(name);
            org.zone.clone_from(zone);
            org.metadata.clone_from(metadata);
        }),
        EntryKind::PlanSet { plan, since, at_once, trial } => records.change_org(org, entry.at, |org| {
            org.plans.change(plan.clone(), *since, *at_once, entry.at);
            if trial.is_some() {
                org.trial.clone_from(trial);
            }
        }),
        EntryKind::PlanCalledOff => records.change_org(org, entry.at, |org| org.plans.call_off(entry.at)),
        EntryKind::LimitSet { meter, scope, window, amount } => records.change_org(org, entry.at, |org| {
            org.limits
                .retain(|limit| limit.meter != *meter || limit.scope != *scope || limit.window != *window);
            if let Some(amount) = *amount {
                org.limits.push(Limit {
                    meter: meter.clone(),
                    scope: scope.clone(),
                    window: *window,
                    amount,
                });
            }
        }),
        EntryKind::ToppedUp { meter, fingerprint, grant, standing, .. } => {
            records.change_account(org, meter, |account| {
                account.forget_expired(entry.at);
                account.grants.push(grant.clone());
            });
            remember_top_up(records, org, entry, grant.key.as_ref(), *fingerprint, *standing);
        }
        EntryKind::Voided { meter, key, fingerprint, grants, closes, standing, .. } => {
            records.change_account(org, meter, |account| account.void(grants, *closes));
            remember_top_up(records, org, entry, key.as_ref(), *fingerprint, *standing);
        }
        EntryKind::BillClosed(bill) => {
            let key = RecordKey::Bill(org.clone(), bill.rated.month.number);
            records.set(key, Record::Bill(Arc::clone(bill)));
            records.change_org(org, entry.at, |org| org.close_month(bill.rated.month.number));
        }
        EntryKind::Shipped { shipment, day, lines } => {
            apply_shipped(records, org, entry.at, *shipment, *day, lines);
        }
    }
    if let Some(meter) = entry.kind.meter() {
        settle(records, org, meter, entry);
    }
    for notice in &entry.notices {
        mark(records, org, entry, notice);
    }
    records.change_org(org, entry.at, |org| {
        assert_eq!(org.next_entry(), entry.number, "entries of an org are applied in order");
        org.version = entry.number;
    });
}

/// Settles debt, and notes that all credit in force has settled what it could.
fn settle(records: &mut Records, org: &OrgId, meter: &MeterId, entry: &Entry) {
    let owes = |account: &Account| account.debt().is_positive() || account.debt_since.is_some();
    if entry.settled.is_empty() && !records.account(org, meter).is_some_and(owes) {
        return;
    }
    records.change_account(org, meter, |account| {
        account.settle(&entry.settled);
        account.note_debt(entry.at);
    });
}

/// Remembers the key of a top-up or of a correction.
fn remember_top_up(
    records: &mut Records,
    org: &OrgId,
    entry: &Entry,
    key: Option<&UsageKey>,
    fingerprint: u64,
    standing: Standing,
) {
    let Some(key) = key else { return };
    let id = KeyId { org: org.clone(), space: KeySpace::TopUp, key: key.clone() };
    let record = KeyRecord { entry: entry.number, fingerprint, at: entry.at, standing, reversed_by: None };
    records.set(RecordKey::Key(id), Record::Key(Arc::new(record)));
}

fn apply_used(records: &mut Records, org: &OrgId, entry: &Entry, used: &UsedEntry) {
    records.change_account(org, &used.meter, |account| {
        used.burns.iter().for_each(|burn| account.burn(*burn));
        if used.overdraft().is_positive() {
            account.overdraw(entry.number, used.overdraft());
        }
        count_day(account, used, Motion::Count);
    });
    count(records, org, used, &used.moves(entry.number, Motion::Count));
    queue_unsent(records, org, used, used.quantity.amount());
    let record = KeyRecord {
        entry: entry.number,
        fingerprint: used.fingerprint,
        at: entry.at,
        standing: used.standing,
        reversed_by: None,
    };
    records.set(RecordKey::Key(used_key(org, used)), Record::Key(Arc::new(record)));
}

fn apply_reversed(records: &mut Records, org: &OrgId, entry: &Entry, counted_by: u64, used: &UsedEntry) {
    records.change_account(org, &used.meter, |account| {
        for burn in &used.burns {
            account.burn(Burn { source: burn.source, amount: -burn.amount });
        }
        account.overdrafts.retain(|overdraft| overdraft.entry != counted_by);
        count_day(account, used, Motion::TakeBack);
    });
    count(records, org, used, &used.moves(counted_by, Motion::TakeBack));
    queue_unsent(records, org, used, -used.quantity.amount());
    records.change_key(used_key(org, used), |key| key.reversed_by = Some(entry.number));
}

/// The forecast goes by the days of what adds up.
fn count_day(account: &mut Account, used: &UsedEntry, motion: Motion) {
    let day = used.periods.iter().find(|period| period.window == Window::Day);
    if let Some(day) = day.filter(|_| used.counting.adds_up()) {
        account.count_day(day.number, motion.signed(used.quantity.amount()));
    }
}

/// Moves the counters of the org, of the user if one was given, and of the group if there is one.
fn count(records: &mut Records, org: &OrgId, used: &UsedEntry, by: &Move<'_>) {
    let overage = by.motion.signed(used.overage());
    let scopes = std::iter::once(Scope::Org).chain(used.user.clone().map(Scope::User));
    for scope in scopes {
        let among = || scope.user().map_or(Among::Org, |user| Among::User(user.clone()));
        let periods: Vec<Period> = used.periods_of(&scope).collect();
        let seen = see(records, org, used, by, among, &periods);
        records.change_counters(org, &used.meter, &scope, &periods, |period, counter| {
            by.make(counter, seen_in(&seen, period));
            if scope == Scope::Org {
                add_overage(counter, period, overage);
            }
        });
    }
    for (group, period) in used.grouped() {
        let seen = see(records, org, used, by, || Among::Group(group.clone()), &[period]);
        records.change_groups(org, &used.meter, period, |groups| {
            groups.change(group, |counter| {
                by.make(counter, seen_in(&seen, period));
                add_overage(counter, period, overage);
            });
        });
    }
}

/// Overage is kept on the org's months, their segments, and the groups of both.
fn add_overage(counter: &mut Counter, period: Period, overage: Amount) {
    if matches!(period.window, Window::Month | Window::Segment) {
        counter.overage += overage;
    }
}

/// Moves the counters of the value that a usage counts once; how many usages had it before, in each period.
fn see(
    records: &mut Records,
    org: &OrgId,
    used: &UsedEntry,
    by: &Move<'_>,
    among: impl FnOnce() -> Among,
    periods: &[Period],
) -> Vec<(Period, Amount)> {
    let Some(value) = used.counting.value() else { return Vec::new() };
    let scope = Scope::seen(among(), value);
    let held = |period: &Period| (*period, records.counter(org, &used.meter, &scope, *period).value);
    let before = periods.iter().map(held).collect();
    let one = by.motion.signed(ONE);
    records.change_counters(org, &used.meter, &scope, periods, |_, counter| counter.value += one);
    before
}

fn seen_in(seen: &[(Period, Amount)], period: Period) -> Amount {
    seen.iter().find(|(of, _)| *of == period).map_or(Amount::ZERO, |(_, seen)| *seen)
}

/// Adds usage that is sent to the processor to what is not sent yet.
fn queue_unsent(records: &mut Records, org: &OrgId, used: &UsedEntry, quantity: Amount) {
    let (Some(sku), Some(day)) = (&used.sink, unsent_day(used)) else { return };
    records.change_unsent(org, day, |unsent| unsent.add(sku, quantity));
}

/// Takes off what the processor has.
fn apply_shipped(
    records: &mut Records,
    org: &OrgId,
    at: Timestamp,
    shipment: u64,
    day: i32,
    lines: &[(Sku, Amount)],
) {
    records.change_unsent(org, day, |unsent| {
        lines.iter().for_each(|(sku, amount)| unsent.add(sku, -*amount));
    });
    records.change_org(org, at, |org| org.settled = shipment);
}

fn used_key(org: &OrgId, used: &UsedEntry) -> KeyId {
    KeyId { org: org.clone(), space: KeySpace::Use, key: used.key.clone() }
}

/// Remembers that a notice has gone out.
fn mark(records: &mut Records, org: &OrgId, entry: &Entry, notice: &Notice) {
    let month = notice.period.filter(|period| period.window == Window::Month).map(|period| period.number);
    let mut mark_credit = |change: &dyn Fn(&mut crate::CreditMarks)| {
        if let Some(meter) = &notice.meter {
            records.change_account(org, meter, |account| {
                let mut marks = account.marks_of(month);
                change(&mut marks);
                account.set_marks(marks);
            });
        }
    };
    match &notice.kind {
        NoticeKind::ThresholdCrossed { percent, limit, .. } => mark_credit(&|marks| {
            marks.percent = *percent;
            marks.percent_of = *limit;
        }),
        NoticeKind::OnTrackToRunOut { limit, .. } => mark_credit(&|marks| marks.on_track_of = *limit),
        NoticeKind::LimitReached { limit, credit: true, .. } => {
            mark_credit(&|marks| marks.reached_of = *limit);
        }
        NoticeKind::FirstDenial { .. } => mark_credit(&|marks| marks.denied = true),
        NoticeKind::LimitReached { limit, credit: false, .. } => {
            if let (Some((meter, scope, period)), limit) = (limit_counter(notice), *limit) {
                records.change_counters(org, meter, &scope, &[period], |_, counter| {
                    counter.marks.reached_of = limit;
                });
            }
        }
        NoticeKind::TrialEnding { .. } => {
            mark_trial(records, org, entry, |trial| trial.ending_noticed = true);
        }
        NoticeKind::TrialEnded { .. } => mark_trial(records, org, entry, |trial| trial.ended_noticed = true),
        NoticeKind::TopUpGranted { .. } | NoticeKind::BillClosed { .. } => {}
    }
}

fn mark_trial(records: &mut Records, org: &OrgId, entry: &Entry, change: impl FnOnce(&mut crate::Trial)) {
    records.change_org(org, entry.at, |org| {
        if let Some(trial) = &mut org.trial {
            change(trial);
        }
    });
}

/// The counter whose limit a notice reports as reached.
fn limit_counter(notice: &Notice) -> Option<(&MeterId, Scope, Period)> {
    let scope = notice.user.clone().map_or(Scope::Org, Scope::User);
    Some((notice.meter.as_ref()?, scope, notice.period?))
}

/// The records that [`apply`] needs at hand for an entry and that are not, besides making what is absent.
///
/// What is needed may depend on what is loaded: call again after loading them, until it names none.
#[must_use]
pub fn touched(records: &Records, org: &OrgId, entry: &Entry) -> Vec<RecordKey> {
    let mut keys = Vec::new();
    let mut need = |key: RecordKey| {
        if !records.holds(&key) && !keys.contains(&key) {
            keys.push(key);
        }
    };
    need(RecordKey::Org(org.clone()));
    let account = |meter: &MeterId| RecordKey::Account(org.clone(), meter.clone());
    match &entry.kind {
        EntryKind::Used(used) | EntryKind::Reversed { used, .. } => {
            need(RecordKey::Key(used_key(org, used)));
            used_needs(records, org, used, &mut need);
            unsent_needs(org, used, &mut need);
        }
        EntryKind::Shipped { day, .. } => need(RecordKey::Unsent(org.clone(), *day)),
        EntryKind::Refused { meter, .. }
        | EntryKind::ToppedUp { meter, .. }
        | EntryKind::Voided { meter, .. } => need(account(meter)),
        EntryKind::Put { .. }
        | EntryKind::PlanSet { .. }
        | EntryKind::PlanCalledOff
        | EntryKind::LimitSet { .. }
        | EntryKind::BillClosed(_) => {}
    }
    for notice in &entry.notices {
        notice.meter.as_ref().map(account).into_iter().for_each(&mut need);
        if let NoticeKind::LimitReached { credit: false, .. } = notice.kind
            && let Some((meter, _, period)) = limit_counter(notice)
        {
            counters_need(records, org, meter, notice.user.as_ref(), &[period], &mut need);
        }
    }
    keys
}

/// Changes the records of the system as an entry says; those named by [`touched_by_system`] must be at hand.
pub fn apply_system(records: &mut Records, entry: &SystemEntry) {
    let mut system: System = records.system();
    assert_eq!(system.version + 1, entry.number, "entries of the system are applied in order");
    system.version = entry.number;
    match &entry.kind {
        SystemEntryKind::CatalogApplied { version, text } => {
            system.catalog = *version;
            system.catalog_since = entry.at.max(system.catalog_since);
            let catalog = CatalogVersion::new(*version, system.catalog_since, text.clone());
            records.set(RecordKey::Catalog(*version), Record::Catalog(Arc::new(catalog)));
        }
        SystemEntryKind::MetersCreated(meters) => {
            let created = meters.iter().cloned();
            let created = created.map(|NewMeter { id, sink }| CreatedMeter { id, at: entry.at, sink });
            system.created_meters.extend(created);
        }
        SystemEntryKind::ApiKeyMade(api_key) => {
            system.admin_keys += u32::from(api_key.makes_others());
            records.set(RecordKey::ApiKey(api_key.id.clone()), Record::ApiKey(Arc::new(api_key.clone())));
        }
        SystemEntryKind::ApiKeyRevoked(id) => {
            if let Some(api_key) = records.api_key(id) {
                system.admin_keys = system.admin_keys.saturating_sub(u32::from(api_key.makes_others()));
                let revoked = ApiKey { revoked_at: Some(entry.at), ..api_key.clone() };
                records.set(RecordKey::ApiKey(id.clone()), Record::ApiKey(Arc::new(revoked)));
            }
        }
        SystemEntryKind::ShipmentMade(shipment) => {
            system.shipments = shipment.number;
            records.set(RecordKey::Shipment, Record::Shipment(Arc::clone(shipment)));
        }
        SystemEntryKind::ShipmentSent(number) => system.shipped = *number,
    }
    records.set(RecordKey::System, Record::System(Arc::new(system)));
}

/// The records that [`apply_system`] needs at hand for an entry.
#[must_use]
pub fn touched_by_system(entry: &SystemEntry) -> Vec<RecordKey> {
    let mut keys = vec![RecordKey::System];
    if let SystemEntryKind::ApiKeyRevoked(id) = &entry.kind {
        keys.push(RecordKey::ApiKey(id.clone()));
    }
    keys
}

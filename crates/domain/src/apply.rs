//! What an entry changes: the only way any state changes, when it is decided and when the ledger is replayed.

use std::sync::Arc;

use crate::channel::{change_channel, deliver};
use crate::counter::ScopeRef;
use crate::counting::{Motion, Move, ONE};
use crate::shipment::unsent_day;
use crate::{
    Account, Among, Amount, ApiKey, Burn, CatalogVersion, Counter, CreatedMeter, Entry, EntryKind, Hold,
    Limit, MeterId, NewMeter, Notice, NoticeKind, OrgState, PartKey, Period, Record, RecordKey, Seen, Sku,
    System, SystemEntry, SystemEntryKind, SystemRecords, Timestamp, UsedEntry, Wants, Window,
};

/// Changes the state of an org as an entry says.
///
/// Every record named by [`touched`] must be at hand (loaded, or known to be absent).
pub fn apply(state: &mut OrgState, entry: &Entry) {
    match &entry.kind {
        EntryKind::Used(used) => {
            apply_used(state, entry, used);
        }
        EntryKind::Refused { .. } | EntryKind::BudgetTold { .. } => {}
        EntryKind::Reversed { entry: counted_by, used } => {
            apply_reversed(state, entry, *counted_by, used);
        }
        EntryKind::Held(held) => apply_held(state, entry, &held.hold),
        EntryKind::HoldEnded(ended) => {
            state.change_org(entry.at, |org| org.change_holds(|holds| holds.end(ended.hold, Amount::ZERO)));
        }
        EntryKind::Put { name, zone, metadata } => state.change_org(entry.at, |org| {
            org.name.clone_from(name);
            org.zone.clone_from(zone);
            org.metadata.clone_from(metadata);
        }),
        EntryKind::PlanSet { plan, since, at_once, trial } => state.change_org(entry.at, |org| {
            org.plans.change(plan.clone(), *since, *at_once, entry.at);
            if trial.is_some() {
                org.trial.clone_from(trial);
            }
        }),
        EntryKind::PlanCalledOff => state.change_org(entry.at, |org| org.plans.call_off(entry.at)),
        EntryKind::LimitSet { meter, scope, window, amount } => state.change_org(entry.at, |org| {
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
        EntryKind::ThresholdsSet { thresholds } => {
            state.change_org(entry.at, |org| org.thresholds.clone_from(thresholds));
        }
        EntryKind::ToppedUp(topped_up) => {
            state.change_account(&topped_up.meter, |account| {
                account.forget_expired(entry.at);
                account.grants.push(topped_up.grant.clone());
            });
        }
        EntryKind::Voided(voided) => {
            state.change_account(&voided.meter, |account| account.void(&voided.grants, voided.closes));
        }
        EntryKind::BillClosed(bill) => {
            state.set(PartKey::Bill(bill.rated.month.number), Record::Bill(Arc::clone(bill)));
            state.change_org(entry.at, |org| org.close_month(bill.rated.month.number));
        }
        EntryKind::Shipped { shipment, day, lines } => {
            apply_shipped(state, entry.at, *shipment, *day, lines);
        }
    }
    if let Some((space, key, record)) = entry.made_key() {
        state.remember_key(space, key, record);
    }
    if let Some(key) = entry.took_back_key() {
        state.take_back_key(key, entry.number);
    }
    if let Some(meter) = entry.kind.meter() {
        settle(state, meter, entry);
    }
    for notice in &entry.notices {
        mark(state, entry, notice);
    }
    state.change_org(entry.at, |org| {
        assert_eq!(org.next_entry(), entry.number, "entries of an org are applied in order");
        org.version = entry.number;
        org.latest_at = entry.at;
    });
}

/// Settles debt, and notes that all credit in force has settled what it could.
fn settle(state: &mut OrgState, meter: &MeterId, entry: &Entry) {
    let owes = |account: &Account| account.debt().is_positive() || account.debt_since.is_some();
    if entry.settled.is_empty() && !state.account(meter).is_some_and(owes) {
        return;
    }
    state.change_account(meter, |account| {
        account.settle(&entry.settled);
        account.note_debt(entry.at);
    });
}

fn apply_used(state: &mut OrgState, entry: &Entry, used: &UsedEntry) {
    let first = state.change_account(&used.meter, |account| {
        used.burns.iter().for_each(|burn| account.burn(*burn));
        if used.overdraft().is_positive() {
            account.overdraw(entry.number, used.overdraft());
        }
        count_day(account, used, Motion::Count);
        account.tally.open().is_empty()
    });
    // What was counted once has open counters ever after.
    if first {
        state.change_org(entry.at, |org| org.note_used(&used.meter, used.counting.adds_up()));
    }
    count(state, used, &used.moves(entry.number, Motion::Count));
    queue_unsent(state, used, used.quantity.amount());
    if let Some(captured) = used.captured {
        let quantity = used.quantity.amount();
        state.change_org(entry.at, |org| org.change_holds(|holds| captured.apply(holds, quantity)));
    }
}

/// Takes a hold, out of another if it is carved out of one.
fn apply_held(state: &mut OrgState, entry: &Entry, hold: &Arc<Hold>) {
    state.change_org(entry.at, |org| {
        org.change_holds(|holds| {
            if let Some(parent) = hold.parent {
                holds.carve(parent, hold.quantity.amount());
            }
            holds.put(Arc::clone(hold));
        });
    });
}

fn apply_reversed(state: &mut OrgState, _entry: &Entry, counted_by: u64, used: &UsedEntry) {
    state.change_account(&used.meter, |account| {
        for burn in &used.burns {
            account.burn(Burn { source: burn.source, amount: -burn.amount });
        }
        account.overdrafts.retain(|overdraft| overdraft.entry != counted_by);
        count_day(account, used, Motion::TakeBack);
    });
    count(state, used, &used.moves(counted_by, Motion::TakeBack));
    queue_unsent(state, used, -used.quantity.amount());
}

/// The forecast goes by the days of what adds up.
fn count_day(account: &mut Account, used: &UsedEntry, motion: Motion) {
    let day = used.periods.iter().find(|period| period.window == Window::Day);
    if let Some(day) = day.filter(|_| used.counting.adds_up()) {
        account.count_day(day.number, motion.signed(used.quantity.amount()));
    }
}

/// Moves the counters of the org, of the user and along the path if they were given, and of the group if there is one.
fn count(state: &mut OrgState, used: &UsedEntry, by: &Move<'_>) {
    let overage = by.motion.signed(used.overage());
    for user in std::iter::once(None).chain(used.user.as_ref().map(Some)) {
        let (scope, periods) = (ScopeRef::of(user), used.periods_of(user));
        let seen = see(state, used, by, || scope.among(), periods.clone());
        state.change_counters(&used.meter, scope, periods, |period, counter| {
            by.make(counter, seen_in(&seen, period));
            if user.is_none() {
                add_overage(counter, period, overage);
            }
        });
    }
    for (scope, periods) in used.paths() {
        let seen = see(state, used, by, || scope.among(), periods.clone());
        state.change_counters(&used.meter, scope, periods, |period, counter| {
            by.make(counter, seen_in(&seen, period));
        });
    }
    for (group, period) in used.grouped() {
        let among = || Some(Among::Group(group.clone()));
        let seen = see(state, used, by, among, std::iter::once(period));
        state.change_groups(&used.meter, period, |groups| {
            groups.change(group, |counter| {
                by.make(counter, seen_in(&seen, period));
                add_overage(counter, period, overage);
            });
        });
    }
}

/// Overage is kept on the org's months, their segments, and the groups of both.
fn add_overage(counter: &mut Counter, period: Period, overage: Amount) {
    if matches!(period.window, Window::Month | Window::Segment) && !overage.is_zero() {
        counter.change_extras(|extras| extras.overage += overage);
    }
}

/// Moves the counters of the value that a usage counts once; how many usages had it before, in each period.
fn see(
    state: &mut OrgState,
    used: &UsedEntry,
    by: &Move<'_>,
    among: impl FnOnce() -> Option<Among>,
    periods: impl Iterator<Item = Period> + Clone,
) -> Vec<(Period, Amount)> {
    let Some(value) = used.counting.value() else { return Vec::new() };
    let Some(among) = among() else { return Vec::new() };
    let seen = Seen::new(among, value);
    let counters = state.counters(&used.meter, ScopeRef::Seen(&seen));
    let before = periods.clone().map(|period| (period, counters.of(period).value)).collect();
    let one = by.motion.signed(ONE);
    state.change_counters(&used.meter, ScopeRef::Seen(&seen), periods, |_, counter| counter.value += one);
    before
}

fn seen_in(seen: &[(Period, Amount)], period: Period) -> Amount {
    seen.iter().find(|(of, _)| *of == period).map_or(Amount::ZERO, |(_, seen)| *seen)
}

/// Adds usage that is sent to the processor to what is not sent yet.
fn queue_unsent(state: &mut OrgState, used: &UsedEntry, quantity: Amount) {
    let (Some(sku), Some(day)) = (&used.sink, unsent_day(used)) else { return };
    state.change_unsent(day, |unsent| unsent.add(sku, quantity));
}

/// Takes off what the processor has.
fn apply_shipped(state: &mut OrgState, at: Timestamp, shipment: u64, day: i32, lines: &[(Sku, Amount)]) {
    state.change_unsent(day, |unsent| {
        lines.iter().for_each(|(sku, amount)| unsent.add(sku, -*amount));
    });
    state.change_org(at, |org| org.settled = shipment);
}

/// Remembers that a notice has gone out.
fn mark(state: &mut OrgState, entry: &Entry, notice: &Notice) {
    let month = notice.period.filter(|period| period.window == Window::Month).map(|period| period.number);
    let mut mark_credit = |change: &dyn Fn(&mut crate::CreditMarks)| {
        if let Some(meter) = &notice.meter {
            state.change_account(meter, |account| {
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
                state.change_counters(meter, scope, std::iter::once(period), |_, counter| {
                    counter.change_extras(|extras| extras.reached_of = limit);
                });
            }
        }
        NoticeKind::TrialEnding { .. } => {
            mark_trial(state, entry, |trial| trial.ending_noticed = true);
        }
        NoticeKind::TrialEnded { .. } => mark_trial(state, entry, |trial| trial.ended_noticed = true),
        // The caller's key remembers it, or nothing has to.
        NoticeKind::TopUpGranted { .. } | NoticeKind::BillClosed { .. } | NoticeKind::GatewayBudget(_) => {}
    }
}

fn mark_trial(state: &mut OrgState, entry: &Entry, change: impl FnOnce(&mut crate::Trial)) {
    state.change_org(entry.at, |org| {
        if let Some(trial) = &mut org.trial {
            change(trial);
        }
    });
}

/// The counter whose limit a notice reports as reached.
fn limit_counter(notice: &Notice) -> Option<(&MeterId, ScopeRef<'_>, Period)> {
    let scope = match &notice.path {
        Some(path) => ScopeRef::Path(path.as_str()),
        None => ScopeRef::of(notice.user.as_ref()),
    };
    Some((notice.meter.as_ref()?, scope, notice.period?))
}

/// Applies an entry after loading what it changes; `find` finds records.
///
/// # Errors
/// The first of `find`: nothing is changed.
pub fn load_and_apply<E>(
    state: &mut OrgState,
    entry: &Entry,
    mut find: impl FnMut(&RecordKey) -> Result<Option<Record>, E>,
) -> Result<(), E> {
    while let Err(wants) = touched(state, entry) {
        for key in wants.0 {
            let record = find(&key.clone().of(state.id()))?;
            state.put(key, record);
        }
    }
    apply(state, entry);
    Ok(())
}

/// Looks at every part that [`apply`] changes for an entry, besides those that it makes.
///
/// # Errors
/// The parts that are neither loaded nor known to be absent.
pub fn touched(state: &OrgState, entry: &Entry) -> Result<(), Wants> {
    state.ask(|state| touch(state, entry))
}

/// The same as part of a question.
pub(crate) fn touch(state: &OrgState, entry: &Entry) {
    match &entry.kind {
        EntryKind::Used(used) | EntryKind::Reversed { used, .. } => touch_used(state, used),
        EntryKind::Shipped { day, .. } => {
            state.want(PartKey::Unsent(*day));
        }
        EntryKind::Refused { .. }
        | EntryKind::ToppedUp(_)
        | EntryKind::Voided(_)
        | EntryKind::Held(_)
        | EntryKind::HoldEnded(_) => {
            if let Some(meter) = entry.kind.meter() {
                state.want(PartKey::Account(meter.clone()));
            }
        }
        EntryKind::Put { .. }
        | EntryKind::PlanSet { .. }
        | EntryKind::PlanCalledOff
        | EntryKind::LimitSet { .. }
        | EntryKind::ThresholdsSet { .. }
        | EntryKind::BudgetTold { .. }
        | EntryKind::BillClosed(_) => {}
    }
    for notice in &entry.notices {
        if let Some(meter) = &notice.meter {
            state.want(PartKey::Account(meter.clone()));
        }
        if let NoticeKind::LimitReached { credit: false, .. } = notice.kind
            && let Some((meter, scope, period)) = limit_counter(notice)
        {
            state.counters(meter, scope).touch(std::iter::once(period));
        }
    }
}

fn touch_used(state: &OrgState, used: &UsedEntry) {
    let touch_seen = |among: &dyn Fn() -> Option<Among>, periods: &mut dyn Iterator<Item = Period>| {
        if let Some(value) = used.counting.value()
            && let Some(among) = among()
        {
            let seen = Seen::new(among, value);
            state.counters(&used.meter, ScopeRef::Seen(&seen)).touch(periods);
        }
    };
    let on = state.on(&used.meter);
    for user in std::iter::once(None).chain(used.user.as_ref().map(Some)) {
        let scope = ScopeRef::of(user);
        on.counters(scope).touch(used.periods_of(user));
        touch_seen(&|| scope.among(), &mut used.periods_of(user));
    }
    for (scope, mut periods) in used.paths() {
        on.counters(scope).touch(periods.clone());
        touch_seen(&|| scope.among(), &mut periods);
    }
    for (group, period) in used.grouped() {
        state.want(PartKey::Groups(used.meter.clone(), period));
        touch_seen(&|| Some(Among::Group(group.clone())), &mut std::iter::once(period));
    }
    if let Some(day) = unsent_day(used) {
        state.want(PartKey::Unsent(day));
    }
}

/// Changes the records of the system as an entry says; those named by [`touched_by_system`] must be at hand.
pub fn apply_system(records: &mut SystemRecords, entry: &SystemEntry) {
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
        SystemEntryKind::ChannelChanged(change) => change_channel(records, &mut system, entry.at, change),
        SystemEntryKind::Delivered { round, disabled } => deliver(records, entry.at, round, *disabled),
        SystemEntryKind::DeliveryClaimed(claim) => system.delivery = Some(claim.clone()),
    }
    records.set(RecordKey::System, Record::System(Arc::new(system)));
}

/// The records that [`apply_system`] needs at hand for an entry.
#[must_use]
pub fn touched_by_system(entry: &SystemEntry) -> Vec<RecordKey> {
    let mut keys = vec![RecordKey::System];
    match &entry.kind {
        SystemEntryKind::ApiKeyRevoked(id) => keys.push(RecordKey::ApiKey(id.clone())),
        SystemEntryKind::ChannelChanged(change) => keys.push(RecordKey::Channel(change.id.clone())),
        SystemEntryKind::Delivered { round, .. } => keys.extend(round.channels()),
        _ => {}
    }
    keys
}

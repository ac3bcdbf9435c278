//! What the ledgers say by themselves, against the records.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a mistake of the checker stops the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tollgate_domain::catalog::Enforcement;
use tollgate_domain::{
    Account, Among, Amount, Catalog, Counter, CounterId, Counting, Entry, EntryKind, GROUPED, Group, MeterId,
    OrgId, OrgState, Period, PlanId, Plans, Record, RecordKey, Scope, ScopePath, Seen, Sku, Source,
    SystemRecords, Timestamp, UsageKey, UsedEntry, Window, apply_system, load_and_apply, touched_by_system,
};

use super::{Books, Stored, hold};

/// Every invariant that holds after any run.
///
/// # Errors
/// A sentence on the first that does not.
pub fn check(books: &Books<'_>) -> Result<(), String> {
    let all = books.records;
    replay(books, all)?;
    counters(books, all)?;
    for (org, entries) in books.ledgers {
        let burned = burns(books, org, entries)?;
        accounts(org, &burned, all)?;
        unsent(org, entries, all)?;
        keys(books.key_keep_secs, org, entries)?;
        super::holds::check(org, entries, all)?;
    }
    Ok(())
}

/// Replaying all entries, with nothing at hand but what each says it touches, gives the same records.
fn replay(books: &Books<'_>, all: &Stored) -> Result<(), String> {
    let mut stored = Stored::default();
    for entry in books.system {
        let mut records = SystemRecords::default();
        for key in touched_by_system(entry) {
            let record = stored.get(&key).cloned();
            records.put(key, record);
        }
        apply_system(&mut records, entry);
        stored.extend(records.changed().map(|(key, record)| (key.clone(), record.clone())));
    }
    for (org, entries) in books.ledgers {
        for entry in entries {
            let mut state = OrgState::of(org.clone(), stored.get(&RecordKey::Org(org.clone())).cloned());
            load_and_apply::<String>(&mut state, entry, |key| Ok(stored.get(key).cloned()))?;
            stored.extend(state.take_changed());
        }
    }
    stored.retain(|_, record| !record.is_nothing());
    let all: Vec<_> = all.iter().filter(|(_, record)| !record.is_nothing()).collect();
    for (key, record) in &all {
        hold!(
            stored.get(key) == Some(*record),
            "a replay gives another record {key:?}: {:?}\nit was {record:?}",
            stored.get(key)
        );
    }
    hold!(stored.len() == all.len(), "a replay gives {} records, there were {}", stored.len(), all.len());
    Ok(())
}

/// A usage that an entry counts (1) or takes back (-1).
fn counted(entry: &Entry) -> Option<(&UsedEntry, i128)> {
    match &entry.kind {
        EntryKind::Used(used) => Some((used, 1)),
        EntryKind::Reversed { used, .. } => Some((used, -1)),
        _ => None,
    }
}

fn times(amount: Amount, sign: i128) -> Amount {
    Amount::from_billionths(amount.billionths() * sign)
}

/// Usage that was counted and not taken back, by its entry.
type Uses<'a> = BTreeMap<u64, (Timestamp, &'a UsedEntry)>;

/// What some usage comes to: every one of it looked at.
fn total(uses: &Uses<'_>) -> Amount {
    let Some((_, first)) = uses.values().next() else { return Amount::ZERO };
    let quantities = uses.values().map(|(_, used)| used.quantity.amount());
    match &first.counting {
        Counting::Sum => quantities.sum(),
        Counting::Max => quantities.max().unwrap_or_default(),
        Counting::Last { .. } => {
            let own = |at: Timestamp, used: &UsedEntry| {
                if used.recorded { used.occurred_at.unwrap_or(at) } else { at }
            };
            let last = uses.iter().max_by_key(|(entry, (at, used))| (own(*at, used), **entry));
            last.map_or(Amount::ZERO, |(_, (_, used))| used.quantity.amount())
        }
        Counting::Unique { .. } => {
            let values: BTreeSet<_> = uses.values().filter_map(|(_, used)| used.counting.value()).collect();
            Amount::from_whole(i64::try_from(values.len()).expect("few values"))
        }
    }
}

fn overage(uses: &Uses<'_>) -> Amount {
    uses.values().map(|(_, used)| used.overage()).sum()
}

/// Each usage of an org that was not taken back.
fn standing(entries: &[Entry]) -> Uses<'_> {
    let mut uses = Uses::new();
    for entry in entries {
        match &entry.kind {
            EntryKind::Used(used) => {
                uses.insert(entry.number, (entry.at, used.as_ref()));
            }
            EntryKind::Reversed { entry, .. } => {
                uses.remove(entry);
            }
            _ => {}
        }
    }
    uses
}

/// What all counters say is what all ledgers say.
fn counters(books: &Books<'_>, all: &Stored) -> Result<(), String> {
    let mut wanted: BTreeMap<CounterId, Uses<'_>> = BTreeMap::new();
    for (org, entries) in books.ledgers {
        let standing = standing(entries);
        for entry in entries {
            let EntryKind::Used(used) = &entry.kind else { continue };
            for (scope, period) in moved(used) {
                let id = CounterId { org: org.clone(), meter: used.meter.clone(), scope, period };
                let uses = wanted.entry(id).or_default();
                uses.extend(standing.get(&entry.number).map(|usage| (entry.number, *usage)));
            }
        }
    }
    groups(books, all, &wanted)?;
    let found = held_counters(all)?;
    moving(books, &found)?;
    for (id, counter) in found.iter().filter(|(id, _)| !id.period.window.moves()) {
        let nothing = Uses::new();
        let uses = wanted.get(id).unwrap_or(&nothing);
        let of_month = id.scope == Scope::Org && matches!(id.period.window, Window::Month | Window::Segment);
        let overage = if of_month { overage(uses) } else { Amount::ZERO };
        let value = match &id.scope {
            Scope::Seen(_) => Amount::from_whole(i64::try_from(uses.len()).expect("few usages")),
            Scope::Org | Scope::User(_) | Scope::Path(_) => total(uses),
        };
        hold!(
            counter.value == value && counter.extras().overage == overage,
            "{id:?} holds {counter:?}, the ledger says {value} with overage {overage}"
        );
        hold!(value >= Amount::ZERO && overage >= Amount::ZERO, "{id:?} is below zero: {counter:?}");
    }
    let lost = wanted.keys().find(|id| !found.contains_key(id));
    hold!(lost.is_none(), "the ledger counts {lost:?}, there is no such counter");
    Ok(())
}

/// The counters that a usage moves: of the org and the user, and of the value that is counted once.
fn moved(used: &UsedEntry) -> Vec<(Scope, Period)> {
    let seen = |among, value: &Arc<str>| Scope::Seen(Arc::new(Seen { among, value: Arc::clone(value) }));
    let mut moved = Vec::new();
    for period in used.periods.iter().filter(|period| !period.window.moves()) {
        moved.push((Scope::Org, *period));
        // Segments are those of the org alone.
        let user = used.user.as_ref().filter(|_| period.window != Window::Segment);
        moved.extend(user.map(|user| (Scope::User(user.clone()), *period)));
        let Some(value) = used.counting.value() else { continue };
        moved.push((seen(Among::Org, value), *period));
        moved.extend(user.map(|user| (seen(Among::User(user.clone()), value), *period)));
        let group = used.group.iter().filter(|_| GROUPED.contains(&period.window));
        moved.extend(group.map(|group| (seen(Among::Group(group.clone()), value), *period)));
    }
    for (path, period) in along(used).filter(|(_, period)| !period.window.moves()) {
        let value = used.counting.value();
        moved.extend(value.map(|value| (seen(Among::Path(path.clone()), value), period)));
        moved.push((Scope::Path(path), period));
    }
    moved
}

/// Where along its path a usage was counted, and in which period: the path of so many of its names.
fn along(used: &UsedEntry) -> impl Iterator<Item = (ScopePath, Period)> + '_ {
    used.path.iter().flat_map(|along| {
        let names: Vec<&str> = along.path.as_str().split('/').collect();
        along.counted.iter().map(move |(depth, period)| {
            let here = names[..usize::from(*depth)].join("/");
            (ScopePath::new(&here).expect("a path"), *period)
        })
    })
}

/// Usage by which a window that goes by usage was moved: what it was counted under, and how much, if it was not taken back.
type Moved = Vec<(i32, Amount)>;

/// The counters of windows that go by usage say what the ledger says, gone through in order.
fn moving(books: &Books<'_>, found: &BTreeMap<CounterId, Counter>) -> Result<(), String> {
    let mut moved: BTreeMap<(OrgId, MeterId, Scope, Window), Moved> = BTreeMap::new();
    for (org, entries) in books.ledgers {
        let standing = standing(entries);
        for entry in entries {
            let EntryKind::Used(used) = &entry.kind else { continue };
            let kept = standing.contains_key(&entry.number);
            let amount = if kept { used.quantity.amount() } else { Amount::ZERO };
            for period in used.periods.iter().filter(|period| period.window.moves()) {
                let user = used.user.iter().map(|user| Scope::User(user.clone()));
                for scope in std::iter::once(Scope::Org).chain(user) {
                    let key = (org.clone(), used.meter.clone(), scope, period.window);
                    moved.entry(key).or_default().push((period.number, amount));
                }
            }
            for (path, period) in along(used).filter(|(_, period)| period.window.moves()) {
                let key = (org.clone(), used.meter.clone(), Scope::Path(path), period.window);
                moved.entry(key).or_default().push((period.number, amount));
            }
        }
    }
    let wanted = moved.into_iter().map(|((org, meter, scope, window), moved)| {
        let (number, value) = match window {
            Window::FirstUse(hours) => since_first_use(hours.minutes(), &moved),
            _ => {
                let last = moved.iter().map(|(slot, _)| *slot).max().unwrap_or_default();
                let kept = moved.iter().filter(|(slot, _)| *slot >= last - 60);
                (last, kept.map(|(_, amount)| *amount).sum())
            }
        };
        (CounterId { org, meter, scope, period: Period { window, number } }, value)
    });
    let wanted: BTreeMap<CounterId, Amount> = wanted.collect();
    let found = found.iter().filter(|(id, _)| id.period.window.moves());
    let found: BTreeMap<CounterId, Amount> = found.map(|(id, counter)| (id.clone(), counter.value)).collect();
    hold!(found == wanted, "windows that go by usage hold {found:#?}\nthe ledger says {wanted:#?}");
    Ok(())
}

/// When the last window of some minutes from the first use began, and what was used since.
fn since_first_use(minutes: i32, moved: &Moved) -> (i32, Amount) {
    let (mut begun, mut used) = (i32::MIN, Amount::ZERO);
    for (minute, amount) in moved {
        if begun == i32::MIN || *minute >= begun + minutes {
            (begun, used) = (*minute, Amount::ZERO);
        }
        if *minute >= begun {
            used += *amount;
        }
    }
    (begun, used)
}

/// The counters in records, open and closed.
fn held_counters(all: &Stored) -> Result<BTreeMap<CounterId, Counter>, String> {
    let mut found: BTreeMap<CounterId, Counter> = BTreeMap::new();
    for (key, record) in all {
        let (org, meter, scope, tally) = match (key, record) {
            (RecordKey::Counter(id), Record::Counter(counter)) => {
                hold!(
                    found.insert(id.clone(), counter.as_ref().clone()).is_none(),
                    "{id:?} is open and closed"
                );
                continue;
            }
            (RecordKey::Account(org, meter), Record::Account(account)) => {
                (org, meter, Scope::Org, &account.tally)
            }
            (RecordKey::Tally(org, meter, user), Record::Tally(tally)) => {
                (org, meter, Scope::User(user.clone()), tally.as_ref())
            }
            (RecordKey::PathTally(org, meter, path), Record::Tally(tally)) => {
                (org, meter, Scope::Path(path.clone()), tally.as_ref())
            }
            (RecordKey::Seen(org, meter, seen), Record::Tally(tally)) => {
                (org, meter, Scope::Seen(Arc::clone(seen)), tally.as_ref())
            }
            _ => continue,
        };
        for open in tally.open() {
            let (org, meter, scope) = (org.clone(), meter.clone(), scope.clone());
            let id = CounterId { org, meter, scope, period: open.period };
            hold!(found.insert(id.clone(), open.counter.clone()).is_none(), "{id:?} is open and closed");
        }
    }
    Ok(found)
}

/// What the groups of a day or month say is what the ledger says, and where every usage of it was counted by properties
/// sums add up to the org's own counter.
fn groups(books: &Books<'_>, all: &Stored, counters: &BTreeMap<CounterId, Uses<'_>>) -> Result<(), String> {
    type Key = (OrgId, MeterId, Period);
    let mut wanted: BTreeMap<Key, BTreeMap<Group, Uses<'_>>> = BTreeMap::new();
    let mut ungrouped: BTreeSet<Key> = BTreeSet::new();
    for (org, entries) in books.ledgers {
        let standing = standing(entries);
        for entry in entries {
            let EntryKind::Used(used) = &entry.kind else { continue };
            let in_groups = |period: &&Period| GROUPED.contains(&period.window);
            for period in used.periods.iter().filter(in_groups) {
                let key = (org.clone(), used.meter.clone(), *period);
                let Some(group) = &used.group else {
                    ungrouped.insert(key);
                    continue;
                };
                let has = |(name, value): &(String, String)| used.properties.get(name) == Some(value);
                hold!(group.values().iter().all(has), "{org}: {used:?} is in a group of other values");
                let uses = wanted.entry(key).or_default().entry(group.clone()).or_default();
                uses.extend(standing.get(&entry.number).map(|usage| (entry.number, *usage)));
            }
        }
    }
    let held = |counter: &Counter| (counter.value, counter.extras().overage);
    let found: BTreeMap<Key, BTreeMap<Group, (Amount, Amount)>> = all
        .iter()
        .filter_map(|(key, record)| match (key, record) {
            (RecordKey::Groups(org, meter, period), Record::Groups(groups)) => {
                let counters = groups.iter().map(|(group, counter)| (group.clone(), held(counter)));
                Some(((org.clone(), meter.clone(), *period), counters.collect()))
            }
            _ => None,
        })
        .collect();
    let told = |(key, groups): (&Key, &BTreeMap<Group, Uses<'_>>)| {
        let by_month = key.2.window != Window::Day;
        let told = groups.iter().map(|(group, uses)| {
            (group.clone(), (total(uses), if by_month { overage(uses) } else { Amount::ZERO }))
        });
        (key.clone(), told.collect())
    };
    let wanted: BTreeMap<Key, BTreeMap<Group, (Amount, Amount)>> = wanted.iter().map(told).collect();
    hold!(found == wanted, "the groups are {found:#?}\nthe ledger says {wanted:#?}");
    for (key, groups) in &found {
        hold!(
            groups.values().all(|(value, overage)| *value >= Amount::ZERO && *overage >= Amount::ZERO),
            "a group of {key:?} is below zero: {groups:?}"
        );
        let id = CounterId { org: key.0.clone(), meter: key.1.clone(), scope: Scope::Org, period: key.2 };
        let Some(uses) = counters.get(&id).filter(|_| !ungrouped.contains(key)) else { continue };
        if uses.values().all(|(_, used)| used.counting.adds_up()) {
            let sum: Amount = groups.values().map(|(value, _)| *value).sum();
            hold!(sum == total(uses), "the groups of {key:?} add up to {sum}, not {}", total(uses));
        }
    }
    Ok(())
}

type Burned = BTreeMap<(MeterId, Source), Amount>;

/// What the ledger burned from where. On the way: burns add up to the quantity, no grant gives more than it has, and
/// where all is hard nothing is taken beyond credit.
fn burns(books: &Books<'_>, org: &OrgId, entries: &[Entry]) -> Result<Burned, String> {
    let mut burned = Burned::new();
    let mut granted: BTreeMap<u64, Amount> = BTreeMap::new();
    let mut plans = Plans::new();
    // What was recorded afterwards is counted whatever is left.
    let recorded: BTreeSet<&MeterId> = entries
        .iter()
        .filter_map(counted)
        .filter(|(used, _)| used.recorded)
        .map(|(used, _)| &used.meter)
        .collect();
    for entry in entries {
        let at = format!("{org}: entry {} at {}", entry.number, entry.at);
        match &entry.kind {
            EntryKind::PlanSet { plan, since, at_once, .. } => {
                plans.change(plan.clone(), *since, *at_once, entry.at);
            }
            EntryKind::PlanCalledOff => plans.call_off(entry.at),
            EntryKind::ToppedUp(topped_up) => {
                granted.insert(entry.number, topped_up.grant.amount);
            }
            EntryKind::Voided(voided) => {
                for (grant, amount) in &voided.grants {
                    let left = granted.entry(*grant).or_default();
                    *left -= *amount;
                    hold!(*left >= Amount::ZERO, "{at}: more is taken back of {grant} than it granted");
                }
            }
            _ => {}
        }
        if let Some(meter) = entry.kind.meter() {
            for burn in &entry.settled {
                let sum = burned.entry((meter.clone(), burn.source)).or_default();
                *sum += burn.amount;
                // What a reversal gives back is burned again in the same entry.
                let reversed = matches!(entry.kind, EntryKind::Reversed { .. });
                if let (Source::Grant(number), false) = (burn.source, reversed) {
                    let most = granted.get(&number).copied().unwrap_or_default();
                    hold!(*sum <= most, "{at}: {sum} burned of the {most} that entry {number} granted");
                }
            }
            let sum: Amount = entry.settled.iter().map(|burn| burn.amount).sum();
            hold!(sum.is_zero(), "{at}: debt is settled from nowhere: {:?}", entry.settled);
        }
        let Some((used, sign)) = counted(entry) else { continue };
        if sign > 0 {
            let catalog = &books.catalogs[usize::try_from(entry.catalog).expect("a version") - 1];
            let change = match used.recorded {
                true => plans.at(used.occurred_at.unwrap_or(entry.at)),
                false => plans.in_force(entry.at),
            };
            let plan = change.and_then(|change| change.plan.as_ref());
            let enforcement = enforcement(catalog, plan, &used.meter);
            let sum: Amount = used.burns.iter().map(|burn| burn.amount).sum();
            let whole = sum == used.quantity.amount();
            let burns = used.counting.adds_up();
            // What was held may have been asked for under another enforcement.
            let of_hold = used.captured.is_some() && sum <= used.quantity.amount();
            hold!(
                whole && burns || of_hold || enforcement == Enforcement::None || !burns && sum.is_zero(),
                "{at}: burns of {sum} for {used:?}"
            );
            hold!(used.overage() >= Amount::ZERO, "{at}: overage below zero: {used:?}");
        }
        for burn in &used.burns {
            let sum = burned.entry((used.meter.clone(), burn.source)).or_default();
            *sum += times(burn.amount, sign);
            let (sum, source) = (*sum, burn.source);
            if source != Source::Overdraft {
                hold!(sum >= Amount::ZERO, "{at}: {source:?} is burned below zero: {sum}");
            }
            if let Source::Grant(number) = source {
                let most = granted.get(&number).copied().unwrap_or_default();
                hold!(sum <= most, "{at}: {sum} burned of the {most} that entry {number} granted");
            }
            if books.all_hard {
                let beyond = source == Source::Overdraft || (source == Source::Overage && !used.recorded);
                hold!(!beyond, "{at}: taken beyond hard credit: {used:?}");
                let of_trial = source == Source::Trial && !recorded.contains(&used.meter);
                if of_trial || matches!(source, Source::Allowance(_)) {
                    let most = largest_allowance(books.catalogs, &used.meter);
                    hold!(sum <= most, "{at}: {sum} burned of {source:?}, no plan gives more than {most}");
                }
            }
        }
    }
    Ok(burned)
}

fn enforcement(catalog: &Catalog, plan: Option<&PlanId>, meter: &MeterId) -> Enforcement {
    plan.and_then(|plan| catalog.plan(plan))
        .and_then(|plan| plan.allowance(meter))
        .map_or(Enforcement::Hard, |allowance| allowance.enforcement)
}

fn largest_allowance(catalogs: &[Arc<Catalog>], meter: &MeterId) -> Amount {
    let plans = catalogs.iter().flat_map(|catalog| &catalog.plans);
    plans.filter_map(|plan| plan.allowance(meter)).map(|allowance| allowance.amount).max().unwrap_or_default()
}

/// Accounts hold what the ledger burned, per grant and in sum.
fn accounts(org: &OrgId, burned: &Burned, all: &Stored) -> Result<(), String> {
    for ((meter, source), sum) in burned {
        if *source == Source::Overage {
            continue;
        }
        let Some(Record::Account(account)) = all.get(&RecordKey::Account(org.clone(), meter.clone())) else {
            return Err(format!("{org} burned {meter} and has no account of it"));
        };
        let found = held(account, *source);
        hold!(
            found.is_none_or(|found| found == *sum),
            "{org} {meter}: the account holds {found:?} of {source:?}, the ledger says {sum}"
        );
    }
    Ok(())
}

/// What an account says was burned of a source; `None` when it no longer remembers.
fn held(account: &Account, source: Source) -> Option<Amount> {
    match source {
        Source::Allowance(segment) => {
            account.allowances.iter().find(|known| known.segment == segment).map(|known| known.burned)
        }
        Source::Trial => Some(account.trial_burned),
        Source::Grant(entry) => {
            account.grants.iter().find(|grant| grant.entry == entry).map(|grant| grant.burned)
        }
        Source::Overdraft => Some(account.debt()),
        Source::Overage => None,
    }
}

/// What is unsent of an org is what it counted on the day, less what was shipped of it.
fn unsent(org: &OrgId, entries: &[Entry], all: &Stored) -> Result<(), String> {
    let mut wanted: BTreeMap<(i32, Sku), Amount> = BTreeMap::new();
    let mut settled = 0;
    for entry in entries {
        if let Some((used, sign)) = counted(entry)
            && let (Some(sku), Some(day)) = (&used.sink, used.day())
        {
            *wanted.entry((day, sku.clone())).or_default() += times(used.quantity.amount(), sign);
        }
        if let EntryKind::Shipped { shipment, day, lines } = &entry.kind {
            hold!(*shipment > settled, "{org}: entry {} settles {shipment} after {settled}", entry.number);
            settled = *shipment;
            for (sku, amount) in lines {
                *wanted.entry((*day, sku.clone())).or_default() -= *amount;
            }
        }
    }
    wanted.retain(|_, amount| !amount.is_zero());
    let mut found = BTreeMap::new();
    for (key, record) in all {
        if let (RecordKey::Unsent(of, day), Record::Unsent(unsent)) = (key, record)
            && of == org
        {
            found.extend(unsent.iter().map(|(sku, amount)| ((*day, sku.clone()), amount)));
        }
    }
    hold!(found == wanted, "{org}: unsent is {found:?}\nthe ledger says {wanted:?}");
    let Some(Record::Org(known)) = all.get(&RecordKey::Org(org.clone())) else { return Ok(()) };
    hold!(known.settled == settled, "{org} has settled {}, the ledger says {settled}", known.settled);
    Ok(())
}

/// A key counts once while it is remembered, and is taken back once. That of a hold stands for what ends it, too, whenever by the
/// clock that is.
fn keys(key_keep_secs: i64, org: &OrgId, entries: &[Entry]) -> Result<(), String> {
    let mut seen: BTreeMap<&UsageKey, (i64, Option<u64>)> = BTreeMap::new();
    let mut taken_back = BTreeSet::new();
    for entry in entries {
        let at = entry.at.as_second();
        let (key, makes, ends) = match &entry.kind {
            EntryKind::Used(used) => (&used.key, None, used.captured.map(|captured| captured.hold)),
            EntryKind::Held(held) => (&held.hold.key, Some(entry.number), None),
            EntryKind::HoldEnded(ended) => (&ended.key, None, Some(ended.hold)),
            EntryKind::Reversed { entry: number, .. } => {
                let first = taken_back.insert(*number);
                hold!(first, "{org}: entry {} takes back entry {number} again", entry.number);
                continue;
            }
            _ => continue,
        };
        if let Some((before, hold)) = seen.insert(key, (at, makes)) {
            let is_its_own = ends.is_some() && hold == ends;
            let forgotten = at - before >= key_keep_secs;
            hold!(is_its_own || forgotten, "{org}: entry {} counts {key} again", entry.number);
        }
    }
    Ok(())
}

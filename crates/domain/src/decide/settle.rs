//! Debt: what an overdraft took beyond all credit is settled by the next credit, at the moment that comes into force.
//!
//! Nothing runs at that moment. The next entry on the account settles as if it had: it goes through the moments at which
//! credit came into force since the last entry, in order, and lets each settle what it can, also where that credit has
//! expired since. A balance does the same without an entry.

use std::borrow::Cow;
use std::ops::DerefMut;

use crate::catalog::MeterRules;
use crate::decide::{Context, Credit};
use crate::limits::SETTLED_MONTHS_MAX;
use crate::moment::Moment;
use crate::{
    Account, Amount, Burn, Burns, Counter, EntryKind, MeterId, Org, Period, Source, Timestamp, UsedEntry,
    Window,
};

/// An account with its debt settled by all credit in force until now, and the burns that settle it.
pub(crate) fn settled<'a>(
    context: &Context<'_>,
    org: &Org,
    meter: &MeterId,
    account: Cow<'a, Account>,
) -> (Cow<'a, Account>, Vec<Burn>) {
    if !account.debt().is_positive() {
        return (account, Vec::new());
    }
    let mut account = account.into_owned();
    let mut burns: Vec<Burn> = Vec::new();
    for moment in credit_moments(context, org, &account) {
        for burn in settle_at(context, org, meter, &mut account, &moment) {
            add_burn(&mut burns, burn.source, burn.amount);
        }
        if !account.debt().is_positive() {
            break;
        }
    }
    (Cow::Owned(account), burns)
}

/// Settles what the credit in force at a moment can settle.
fn settle_at(
    context: &Context<'_>,
    org: &Org,
    meter: &MeterId,
    account: &mut Account,
    moment: &Moment,
) -> Burns {
    let plan = MeterRules::of(context.plan_in(org, moment), meter);
    let burns = Credit::new(org, meter, plan, account, moment, Counter::NOTHING).settle();
    account.settle(&burns);
    burns
}

/// The burns that settle what is owed now, on the account as it is after an entry.
pub(crate) fn settled_after(
    context: &Context<'_>,
    org: &Org,
    meter: &MeterId,
    account: &mut Account,
) -> Burns {
    if !account.debt().is_positive() {
        return Burns::new();
    }
    settle_at(context, org, meter, account, &context.now_of(org))
}

/// The burns that an entry of a kind settles, on the account as it is before the entry.
pub(crate) fn settled_by(context: &Context<'_>, org: &Org, account: &Account, kind: &EntryKind) -> Vec<Burn> {
    let Some(meter) = kind.meter() else { return Vec::new() };
    let mut account = Cow::Borrowed(account);
    if let EntryKind::ToppedUp(topped_up) = kind {
        account.to_mut().grants.push(topped_up.grant.clone());
    }
    let (account, mut burns) = settled(context, org, meter, account);
    if let EntryKind::Reversed { entry, used } = kind {
        let mut account = account.into_owned();
        burns.extend(given_back(&mut account, *entry, used));
        // What comes back settles what is still owed.
        burns.extend(settle_at(context, org, meter, &mut account, &context.now_of(org)));
    }
    burns
}

/// Takes a usage back from an account; the burns that give back the credit that settled what it took beyond all credit.
fn given_back(account: &mut Account, entry: u64, used: &UsedEntry) -> Vec<Burn> {
    used.burns.iter().for_each(|burn| account.burn(Burn { source: burn.source, amount: -burn.amount }));
    let known = account.overdrafts.iter().position(|overdraft| overdraft.entry == entry);
    let Some(overdraft) = known.map(|place| account.overdrafts.remove(place)) else { return Vec::new() };
    let mut burns: Vec<Burn> = Vec::new();
    for paid in overdraft.settled {
        account.burn(Burn { source: paid.source, amount: -paid.amount });
        add_burn(&mut burns, paid.source, -paid.amount);
        add_burn(&mut burns, Source::Overdraft, paid.amount);
    }
    burns
}

/// The moments since the last entry at which credit may have come into force, in order; now is the last. A plan may have
/// been set after that entry and at the same moment.
fn credit_moments(context: &Context<'_>, org: &Org, account: &Account) -> Vec<Moment> {
    let now = context.now_of(org);
    let since = account.debt_since.unwrap_or(now.at).min(now.at);
    let first = org.zone.period_at(Window::Month, since).number;
    let first = first.max(now.month.number.saturating_sub(SETTLED_MONTHS_MAX));
    let months = (first + 1..=now.month.number).filter_map(|month| org.zone.bounds(Period::month(month)).0);
    let grants = account.grants.iter().map(|grant| grant.effective_at);
    let after = months.chain(grants).filter(|time| since < *time);
    let plans = org.plans.stretches().filter_map(|stretch| stretch.from).filter(|time| since <= *time);
    let mut times: Vec<Timestamp> = after.chain(plans).filter(|time| *time < now.at).collect();
    times.sort_unstable();
    times.dedup();
    times.into_iter().map(|time| context.moment_at(org, time)).chain([now]).collect()
}

/// Adds a burn to those of the same source.
pub(crate) fn add_burn<B>(burns: &mut B, source: Source, amount: Amount)
where
    B: DerefMut<Target = [Burn]> + Extend<Burn>,
{
    match burns.iter_mut().find(|burn| burn.source == source) {
        Some(burn) => burn.amount += amount,
        None if amount.is_zero() => {}
        None => burns.extend([Burn { source, amount }]),
    }
}

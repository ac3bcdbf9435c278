//! Debt: what an overdraft took beyond all credit is settled by the next credit, at the moment that comes into force.
//!
//! Nothing runs at that moment. The next entry on the account settles as if it had: it goes through the moments at which
//! credit came into force since the last entry, in order, and lets each settle what it can, also where that credit has
//! expired since. A balance does the same without an entry.

use std::borrow::Cow;

use crate::decide::{Context, Credit};
use crate::limits::SETTLED_MONTHS_MAX;
use crate::moment::Moment;
use crate::{Account, Amount, Burn, Counter, EntryKind, MeterId, Org, Period, Source, Timestamp, Window};

/// An account with its debt settled by all credit in force until now, and the burns that settle it.
pub(crate) fn settled<'a>(
    context: &Context<'_>,
    org: &Org,
    meter: &MeterId,
    account: Cow<'a, Account>,
) -> (Cow<'a, Account>, Vec<Burn>) {
    if !account.debt.is_positive() {
        return (account, Vec::new());
    }
    let mut account = account.into_owned();
    let mut burns: Vec<Burn> = Vec::new();
    for moment in credit_moments(context, org, &account) {
        let plan = context.plan_in(org, &moment);
        let settles = Credit::new(org, plan, &account, meter, &moment, Counter::default()).settle();
        settles.iter().for_each(|burn| account.burn(*burn));
        settles.into_iter().for_each(|burn| add_burn(&mut burns, burn.source, burn.amount));
        if !account.debt.is_positive() {
            break;
        }
    }
    (Cow::Owned(account), burns)
}

/// The burns that an entry of a kind settles, on the account as it is before the entry.
pub(crate) fn settled_by(context: &Context<'_>, org: &Org, account: &Account, kind: &EntryKind) -> Vec<Burn> {
    let Some(meter) = kind.meter() else { return Vec::new() };
    let mut account = Cow::Borrowed(account);
    if let EntryKind::ToppedUp { grant, .. } = kind {
        account.to_mut().grants.push(grant.clone());
    }
    let (account, mut burns) = settled(context, org, meter, account);
    if let EntryKind::Reversed { used, .. } = kind {
        given_back(&account, used.overdraft()).into_iter().for_each(|burn| {
            add_burn(&mut burns, burn.source, burn.amount);
        });
    }
    burns
}

/// The moments since the last entry at which credit may have come into force, in order; now is the last.
fn credit_moments(context: &Context<'_>, org: &Org, account: &Account) -> Vec<Moment> {
    let now = context.now_of(org);
    let since = account.debt_since.unwrap_or(now.at).min(now.at);
    let first = org.zone.period_at(Window::Month, since).number;
    let first = first.max(now.month.number.saturating_sub(SETTLED_MONTHS_MAX));
    let months = (first + 1..=now.month.number).filter_map(|month| org.zone.bounds(Period::month(month)).0);
    let grants = account.grants.iter().map(|grant| grant.effective_at);
    let plans = org.plans.stretches().filter_map(|stretch| stretch.from);
    let mut times: Vec<Timestamp> =
        months.chain(grants).chain(plans).filter(|time| since < *time && *time < now.at).collect();
    times.sort_unstable();
    times.dedup();
    times.into_iter().map(|time| context.moment_at(org, time)).chain([now]).collect()
}

/// What comes back when usage is taken back that took an amount beyond all credit. What is still owed is owed no longer;
/// the credit that settled the rest is given back, the latest first.
fn given_back(account: &Account, overdraft: Amount) -> Vec<Burn> {
    let excess = (overdraft - account.debt).at_least_zero();
    let mut burns = Vec::new();
    let mut left = excess;
    for paid in account.paid.iter().rev() {
        let amount = paid.amount.min(left);
        if amount.is_positive() {
            left -= amount;
            add_burn(&mut burns, paid.source, -amount);
        }
    }
    add_burn(&mut burns, Source::Overdraft, excess);
    burns
}

/// Adds a burn to those of the same source.
pub(crate) fn add_burn(burns: &mut Vec<Burn>, source: Source, amount: Amount) {
    match burns.iter_mut().find(|burn| burn.source == source) {
        Some(burn) => burn.amount += amount,
        None if amount.is_zero() => {}
        None => burns.push(Burn { source, amount }),
    }
}

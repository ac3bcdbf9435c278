//! Closing a month: its bill is written down, and never changes again.

use std::sync::Arc;

use crate::decide::{CloseDenial, Closed, Context, OrgDecision, Outcome};
use crate::{
    Bill, BillError, Catalog, CloseMonth, Entry, EntryKind, Notice, NoticeKind, Org, OrgState, Period,
    Stretch, Window,
};

pub(super) fn decide_close(state: &OrgState, context: &Context<'_>, close: CloseMonth) -> Outcome {
    let (result, entry) = match close_month(state, context, close.month) {
        Ok((closed, entry)) => (Ok(closed), entry),
        Err(denial) => (Err(denial), None),
    };
    Outcome { decision: OrgDecision::Close(result), entry }
}

fn close_month(
    state: &OrgState,
    context: &Context<'_>,
    month: i32,
) -> Result<(Closed, Option<Entry>), CloseDenial> {
    let Some(known) = state.org() else { return Err(CloseDenial::Bill(BillError::UnknownOrg)) };
    if let Some(bill) = state.bill(month) {
        return Ok((Closed { entry: None, bill: Arc::clone(bill) }, None));
    }
    let period = Period::month(month);
    let (starts, ends) = known.zone.bounds(period);
    if starts.is_none_or(|starts| context.at() < starts) {
        return Err(CloseDenial::Bill(BillError::NotBegun));
    }
    if ends.is_none_or(|ends| context.at() < ends) {
        return Err(CloseDenial::MonthRuns);
    }
    if known.billed_until.is_some_and(|latest| latest > month) {
        return Err(CloseDenial::LaterClosed);
    }
    if let Some(open) = first_to_bill(known, context.catalog).filter(|open| *open < month) {
        return Err(CloseDenial::EarlierOpen(Period::month(open)));
    }
    let estimate = crate::bill(state, context, month).map_err(CloseDenial::Bill)?;
    let number = known.bills.saturating_add(1);
    let bill =
        Arc::new(Bill { number: Some(number), closed_at: Some(context.at()), ..Bill::clone(&estimate) });
    let kind = NoticeKind::BillClosed { number, total: bill.total };
    let notice = Notice { meter: None, user: None, path: None, period: Some(period), kind };
    let entry = context.entry(Some(known), EntryKind::BillClosed(Arc::clone(&bill)), vec![notice]);
    Ok((Closed { entry: Some(entry.number), bill }, Some(entry)))
}

/// The first month of an org that is not closed and has something to bill: a plan with prices was in force in it, or one
/// that the catalog no longer has.
#[must_use]
pub fn first_to_bill(org: &Org, catalog: &Catalog) -> Option<i32> {
    let may_bill = |stretch: &Stretch<'_>| {
        let priced = |plan| catalog.plan(plan).is_none_or(|plan| !plan.prices.is_empty());
        stretch.from != stretch.until && stretch.plan().is_some_and(priced)
    };
    let open = org.billed_until.map(|latest| latest.saturating_add(1));
    let opens = open.and_then(|open| org.zone.bounds(Period::month(open)).0);
    let first = org.plans.stretches().filter(may_bill).find(|stretch| stretch.meets(opens, None))?;
    Some(org.zone.period_at(Window::Month, first.from.max(opens)?).number)
}

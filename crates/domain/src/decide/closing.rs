//! Closing a month: its bill is written down, and never changes again.

use std::sync::Arc;

use crate::decide::{CloseDenial, Closed, Context, OrgDecision, Outcome};
use crate::{Bill, BillError, CloseMonth, Entry, EntryKind, Notice, NoticeKind, OrgId, Period, Records};

pub(super) fn decide_close(
    records: &Records,
    context: &Context<'_>,
    org: &OrgId,
    close: CloseMonth,
) -> Outcome {
    let (result, entry) = match close_month(records, context, org, close.month) {
        Ok((closed, entry)) => (Ok(closed), entry),
        Err(denial) => (Err(denial), None),
    };
    Outcome { decision: OrgDecision::Close(result), entry }
}

fn close_month(
    records: &Records,
    context: &Context<'_>,
    org: &OrgId,
    month: i32,
) -> Result<(Closed, Option<Entry>), CloseDenial> {
    let Some(known) = records.org(org) else { return Err(CloseDenial::Bill(BillError::UnknownOrg)) };
    if let Some(bill) = records.bill(org, month) {
        return Ok((Closed { entry: None, bill: Arc::clone(bill) }, None));
    }
    let period = Period::month(month);
    if known.zone.bounds(period).1.is_none_or(|end| context.at() < end) {
        return Err(CloseDenial::MonthRuns);
    }
    let estimate = crate::bill(records, context, org, month).map_err(CloseDenial::Bill)?;
    let number = known.bills.saturating_add(1);
    let bill =
        Arc::new(Bill { number: Some(number), closed_at: Some(context.at()), ..Bill::clone(&estimate) });
    let kind = NoticeKind::BillClosed { number, total: bill.total };
    let notice = Notice { meter: None, user: None, period: Some(period), kind };
    let entry = context.entry(Some(known), EntryKind::BillClosed(Arc::clone(&bill)), vec![notice]);
    Ok((Closed { entry: Some(entry.number), bill }, Some(entry)))
}

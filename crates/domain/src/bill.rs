//! Bills: what an org owes for a month; an estimate until the month is closed, then fixed.
//!
//! An estimate is made of the counters whenever it is asked for. Closing writes it down, and from then on what is
//! written is the bill. Usage that is taken back from a closed month, or comes late to it, is put right on the next
//! bill: by the difference between what the closed month would be billed now, by the prices it was billed by, and what
//! was billed for it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::catalog::{Aggregation, Catalog, Plan};
use crate::decide::Context;
use crate::decide::keys::counters_need;
use crate::groups::parts;
use crate::limits::ADJUSTED_MONTHS;
use crate::{
    MeterId, MeterUsage, Money, Org, OrgId, Period, RateError, Rated, RecordKey, Records, Scope, Terms,
    UsageGroup, rate,
};

/// What an org owes for a month.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bill {
    /// Its number among the closed bills of the org: 1, 2, 3 … `None`: an estimate.
    pub number: Option<u32>,
    /// When it was closed.
    #[serde(with = "crate::instant::option")]
    pub closed_at: Option<Timestamp>,
    /// First moment of the month in the org's zone.
    #[serde(with = "crate::instant::option")]
    pub from: Option<Timestamp>,
    /// First moment after it.
    #[serde(with = "crate::instant::option")]
    pub until: Option<Timestamp>,
    /// The month, rated.
    pub rated: Rated,
    /// What closed months before it came to differ by.
    pub adjustments: Vec<Adjustment>,
    /// What is owed: the rated lines and the adjustments.
    pub total: Money,
}

/// What a closed month came to differ by since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adjustment {
    /// The month.
    pub month: Period,
    /// The number of its bill.
    pub bill: u32,
    /// What was billed for it so far, earlier adjustments included.
    pub billed: Money,
    /// What its usage is worth now, by the prices it was billed by.
    pub now: Money,
    /// The difference; below zero where usage was taken back.
    pub amount: Money,
}

/// Why there is no bill.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BillError {
    /// Nobody has heard of the org.
    #[error("the organization is not known")]
    UnknownOrg,
    /// The org had no plan in the month, or one that the catalog no longer has.
    #[error("the organization had no plan in the month")]
    NoPlan,
    /// The month cannot be rated.
    #[error(transparent)]
    Rate(#[from] RateError),
}

/// Adds the keys of the records that [`bill`] needs and that are not at hand yet.
///
/// What is needed may depend on what is loaded: true when nothing more will be needed once these are loaded, otherwise
/// call again after loading them.
pub fn bill_needs(
    records: &Records,
    context: &Context<'_>,
    org: &OrgId,
    month: i32,
    need: &mut impl FnMut(RecordKey),
) -> bool {
    need(RecordKey::Org(org.clone()));
    let Some(known) = records.org(org) else { return records.holds(&RecordKey::Org(org.clone())) };
    let mut complete = true;
    for number in adjusted(month).chain([month]) {
        let key = RecordKey::Bill(org.clone(), number);
        complete &= records.holds(&key);
        need(key);
    }
    if let Some(plan) = plan_in(known, context, month) {
        complete &= usage_needs(records, org, plan, month, need);
    }
    for former in adjusted(month).filter_map(|number| records.bill(org, number)) {
        let version = former.rated.catalog;
        if version != context.catalog_version {
            let key = RecordKey::Catalog(version);
            complete &= records.holds(&key);
            need(key);
        }
        let catalog = catalog_of(records, context, version);
        if let Some(plan) = catalog.as_ref().and_then(|catalog| catalog.plan(&former.rated.plan)) {
            complete &= usage_needs(records, org, plan, former.rated.month.number, need);
        }
    }
    complete
}

/// The months that a bill puts right.
fn adjusted(month: i32) -> std::ops::Range<i32> {
    month.saturating_sub(ADJUSTED_MONTHS)..month
}

fn plan_in<'a>(org: &Org, context: &Context<'a>, month: i32) -> Option<&'a Plan> {
    context.catalog.plan(&org.plan_in(Period::month(month))?.id)
}

/// A version of the catalog; `None` if it is not at hand.
fn catalog_of<'a>(records: &Records, context: &Context<'a>, version: u32) -> Option<Cow<'a, Catalog>> {
    if version == context.catalog_version {
        return Some(Cow::Borrowed(context.catalog));
    }
    Catalog::from_toml(&records.catalog(version)?.text).ok().map(Cow::Owned)
}

/// The meters that a plan has prices of.
fn priced(plan: &Plan) -> BTreeSet<&MeterId> {
    plan.prices.iter().filter_map(|price| price.meter.as_ref()).collect()
}

fn usage_needs(
    records: &Records,
    org: &OrgId,
    plan: &Plan,
    month: i32,
    need: &mut impl FnMut(RecordKey),
) -> bool {
    let mut complete = true;
    for meter in priced(plan) {
        complete &= counters_need(records, org, meter, None, &[Period::month(month)], need);
        need(RecordKey::Groups(org.clone(), meter.clone(), Period::month(month)));
    }
    complete
}

/// What an org used in a month of the meters that a plan has prices of.
fn usage(records: &Records, org: &OrgId, catalog: &Catalog, plan: &Plan, month: i32) -> Vec<MeterUsage> {
    let usage = priced(plan).into_iter().map(|meter| {
        let whole = records.counter(org, meter, &Scope::Org, Period::month(month));
        let aggregation = catalog.meter(meter).map_or(&Aggregation::Sum, |meter| &meter.aggregation);
        let groups = parts(aggregation, &whole, records.groups(org, meter, Period::month(month))).into_iter();
        let groups = groups.map(|(group, counter)| UsageGroup {
            properties: group.values().clone(),
            quantity: counter.value,
            overage: counter.overage,
        });
        MeterUsage { meter: meter.clone(), groups: groups.collect() }
    });
    usage.collect()
}

/// What the usage of a month is worth by the catalog in force; the records named by [`bill_needs`] must be at hand.
///
/// # Errors
/// [`BillError`].
pub fn rate_month(
    records: &Records,
    context: &Context<'_>,
    org: &OrgId,
    month: i32,
) -> Result<Rated, BillError> {
    let known = records.org(org).ok_or(BillError::UnknownOrg)?;
    let plan = plan_in(known, context, month).ok_or(BillError::NoPlan)?;
    let Context { catalog, catalog_version: version, .. } = *context;
    let terms = Terms { catalog, version, plan, month: Period::month(month) };
    Ok(rate(&terms, &usage(records, org, catalog, plan, month))?)
}

/// The bill of a month: the closed one, or else an estimate by the catalog in force.
///
/// The records named by [`bill_needs`] must be at hand. Closed months are put right on a bill of a month after them.
///
/// # Errors
/// [`BillError`].
pub fn bill(
    records: &Records,
    context: &Context<'_>,
    org: &OrgId,
    month: i32,
) -> Result<Arc<Bill>, BillError> {
    if let Some(closed) = records.bill(org, month) {
        return Ok(Arc::clone(closed));
    }
    let known = records.org(org).ok_or(BillError::UnknownOrg)?;
    let rated = rate_month(records, context, org, month)?;
    let mut total = rated.total;
    let mut adjustments = Vec::new();
    if known.billed_until.is_none_or(|latest| latest < month) {
        for number in adjusted(month) {
            let Some(adjustment) = adjustment(records, context, org, number, month)? else { continue };
            // In another currency it waits for a bill in its own.
            let Some(sum) = total.checked_add(adjustment.amount) else { continue };
            total = sum;
            adjustments.push(adjustment);
        }
    }
    let (from, until) = known.zone.bounds(Period::month(month));
    Ok(Arc::new(Bill { number: None, closed_at: None, from, until, rated, adjustments, total }))
}

/// What a closed month differs by from what the bills before a month say.
fn adjustment(
    records: &Records,
    context: &Context<'_>,
    org: &OrgId,
    month: i32,
    before: i32,
) -> Result<Option<Adjustment>, BillError> {
    let Some(closed) = records.bill(org, month) else { return Ok(None) };
    let version = closed.rated.catalog;
    let Some(catalog) = catalog_of(records, context, version) else { return Ok(None) };
    let Some(plan) = catalog.plan(&closed.rated.plan) else { return Ok(None) };
    let terms = Terms { catalog: &catalog, version, plan, month: Period::month(month) };
    let now = rate(&terms, &usage(records, org, &catalog, plan, month))?.total;
    let later = (month..before).filter_map(|number| records.bill(org, number));
    let known = later.flat_map(|bill| &bill.adjustments).filter(|known| known.month.number == month);
    let too_large = || BillError::Rate(RateError::TotalTooLarge);
    let billed = known
        .map(|known| known.amount)
        .try_fold(closed.rated.total, Money::checked_add)
        .ok_or_else(too_large)?;
    let amount = now.checked_sub(billed).ok_or_else(too_large)?;
    let bill = closed.number.unwrap_or_default();
    Ok((amount.minor != 0).then_some(Adjustment { month: Period::month(month), bill, billed, now, amount }))
}

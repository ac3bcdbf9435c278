//! Bills: what an org owes for a month; an estimate until the month is closed, then fixed.
//!
//! An estimate is made of the counters whenever it is asked for. A month is a sequence of segments, in each of which one
//! plan, or none, was in force ([`crate::segments`]): each is rated by its own plan, as the catalog in force at the
//! segment's end has it. Closing writes the bill down, and from then on what is written is the bill. Usage that is taken
//! back from a closed month, or comes late to it, is put right on the next bill: by the difference between what the closed
//! month would be billed now, by the prices it was billed by, and what was billed for it.

use std::sync::Arc;

use jiff::Timestamp;

use crate::decide::Context;
use crate::groups::parts;
use crate::limits::ADJUSTED_MONTHS;
use crate::segments::{Versions, catalog_of, segments};
use crate::{
    MeterUsage, Money, Org, OrgState, Period, Place, RateError, Rated, Scope, Segment, Terms, UsageGroup,
    UsedMeter, Zone, rate,
};

/// What an org owes for a month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bill {
    /// Its number among the closed bills of the org: 1, 2, 3 … `None`: an estimate.
    pub number: Option<u32>,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// The org's name.
    pub name: Option<String>,
    /// The zone of the org's calendar.
    pub zone: Zone,
    /// First moment of the month in the zone.
    pub from: Option<Timestamp>,
    /// First moment after it.
    pub until: Option<Timestamp>,
    /// The month, rated.
    pub rated: Rated,
    /// What closed months before it came to differ by.
    pub adjustments: Vec<Adjustment>,
    /// What is owed: the rated lines and the adjustments.
    pub total: Money,
}

/// What a closed month came to differ by since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// The month has not begun.
    #[error("the month has not begun")]
    NotBegun,
    /// The org had no plan in the month and used nothing, and none of its closed months came to differ.
    #[error("the organization had no plan in the month")]
    NoPlan,
    /// The month cannot be rated.
    #[error(transparent)]
    Rate(#[from] RateError),
}

/// The months that a bill puts right.
fn adjusted(month: i32) -> std::ops::Range<i32> {
    month.saturating_sub(ADJUSTED_MONTHS)..month
}

/// What an org used in a segment of a month.
fn usage(state: &OrgState, org: &Org, period: Period) -> Vec<MeterUsage> {
    let usage = org.meters.iter().filter_map(|UsedMeter { id: meter, adds_up }| {
        if matches!(state.place(meter, &Scope::Org, period), Place::NotYet) {
            return None;
        }
        let whole = state.counter(meter, &Scope::Org, period);
        let groups = parts(*adds_up, whole, state.groups(meter, period)).into_iter();
        let groups = groups.map(|(group, counter)| UsageGroup {
            properties: group.to_map(),
            quantity: counter.value,
            overage: counter.extras().overage,
        });
        let groups: Vec<UsageGroup> = groups.collect();
        (!groups.is_empty()).then(|| MeterUsage { meter: meter.clone(), groups })
    });
    usage.collect()
}

/// Rates segments of a month by the catalogs that they name.
fn rate_segments(
    state: &OrgState,
    context: &Context<'_>,
    org: &Org,
    month: i32,
    segments: Vec<Segment>,
) -> Result<Rated, RateError> {
    let month = Period::month(month);
    let mut total = Money::zero(context.catalog.currency);
    let mut has_lines = false;
    let mut rated = Rated {
        month,
        segments: Vec::new(),
        lines: Vec::new(),
        total,
        included: Vec::new(),
        unpriced: Vec::new(),
    };
    for segment in segments {
        let catalog = catalog_of(state, context, segment.catalog).unwrap_or(context.catalog);
        let usage = usage(state, org, Period::segment(month.number, segment.number));
        let plan = segment.plan.as_ref().and_then(|plan| catalog.plan(plan));
        let Segment { catalog: version, fees, from, until, .. } = segment;
        let terms = Terms { catalog, version, plan, month, fees, from, until, before: &rated.lines };
        let part = rate(&terms, &usage)?;
        let is_used = usage.iter().flat_map(|meter| &meter.groups).any(|group| group.quantity.is_positive());
        // Without a moment, a day or any usage of its own it was not there.
        if from == until && segment.days.days == 0 && !is_used {
            continue;
        }
        if !has_lines && (!part.lines.is_empty() || plan.is_some()) {
            total = Money::zero(part.total.currency);
            has_lines = !part.lines.is_empty();
        }
        if !part.lines.is_empty() && part.total.currency != total.currency {
            return Err(RateError::TwoCurrencies(total.currency, part.total.currency));
        }
        if !part.lines.is_empty() {
            total = total.checked_add(part.total).ok_or(RateError::TotalTooLarge)?;
        }
        rated.lines.extend(part.lines);
        rated.included.extend(part.included);
        rated.unpriced.extend(part.unpriced);
        rated.segments.push(segment);
    }
    Ok(Rated { total, ..rated })
}

/// What the usage of a month is worth by the catalog in force. Put it by [`OrgState::ask`].
///
/// # Errors
/// [`BillError`].
pub fn rate_month(state: &OrgState, context: &Context<'_>, month: i32) -> Result<Rated, BillError> {
    let rated = rate_as(state, context, month, Versions::InForce)?;
    if is_empty(&rated) { Err(BillError::NoPlan) } else { Ok(rated) }
}

/// Whether there was no plan in a month, and nothing was used.
fn is_empty(rated: &Rated) -> bool {
    rated.plan().is_none() && rated.included.is_empty() && rated.unpriced.is_empty()
}

fn rate_as(
    state: &OrgState,
    context: &Context<'_>,
    month: i32,
    versions: Versions,
) -> Result<Rated, BillError> {
    let known = state.org().ok_or(BillError::UnknownOrg)?;
    let starts = known.zone.bounds(Period::month(month)).0;
    if starts.is_none_or(|starts| context.at() < starts) {
        return Err(BillError::NotBegun);
    }
    if versions == Versions::InForce && lacks_a_plan(known, context, month) {
        return Err(BillError::NoPlan);
    }
    let segments = segments(state, context, known, month, versions);
    Ok(rate_segments(state, context, known, month, segments)?)
}

/// Whether the catalog in force lacks a plan that an org had in a month.
fn lacks_a_plan(org: &Org, context: &Context<'_>, month: i32) -> bool {
    let (starts, ends) = org.zone.bounds(Period::month(month));
    let mut stretches = org.plans.stretches().filter(|stretch| stretch.meets(starts, ends));
    stretches.any(|stretch| stretch.plan().is_some_and(|plan| context.catalog.plan(plan).is_none()))
}

/// The bill of a month: the closed one, or else an estimate by the catalogs in force at the time.
///
/// Put it by [`OrgState::ask`]. Closed months are put right on a bill of a month after them.
///
/// # Errors
/// [`BillError`].
pub fn bill(state: &OrgState, context: &Context<'_>, month: i32) -> Result<Arc<Bill>, BillError> {
    if let Some(closed) = state.bill(month) {
        return Ok(Arc::clone(closed));
    }
    let known = state.org().ok_or(BillError::UnknownOrg)?;
    let rated = rate_as(state, context, month, Versions::AtTheTime)?;
    let mut total = rated.total;
    let mut adjustments = Vec::new();
    if known.billed_until.is_none_or(|latest| latest < month) {
        for number in adjusted(month) {
            let Some(adjustment) = adjustment(state, context, known, number, month)? else { continue };
            // Of an org that left nothing else is owed, so that its closed months say in what.
            if adjustments.is_empty() && rated.plan().is_none() {
                total = Money::zero(adjustment.amount.currency);
            }
            // In another currency it waits for a bill in its own.
            let Some(sum) = total.checked_add(adjustment.amount) else { continue };
            total = sum;
            adjustments.push(adjustment);
        }
    }
    if is_empty(&rated) && adjustments.is_empty() {
        return Err(BillError::NoPlan);
    }
    let (name, zone) = (known.name.clone(), known.zone.clone());
    let (from, until) = zone.bounds(Period::month(month));
    let (number, closed_at) = (None, None);
    Ok(Arc::new(Bill { number, closed_at, name, zone, from, until, rated, adjustments, total }))
}

/// What a closed month differs by from what the bills before a month say.
fn adjustment(
    state: &OrgState,
    context: &Context<'_>,
    org: &Org,
    month: i32,
    before: i32,
) -> Result<Option<Adjustment>, BillError> {
    let Some(closed) = state.bill(month) else { return Ok(None) };
    let now = rate_segments(state, context, org, month, closed.rated.segments.clone())?.total;
    let later = (month..before).filter_map(|number| state.bill(number));
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

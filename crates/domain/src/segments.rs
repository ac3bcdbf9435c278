//! Segments: a month as the sequence of the plans that were in force in it, with the days that each pays for.
//!
//! Usage is counted in the segment of its own time. Fees go by days: a calendar day of the org's zone is that of the first
//! plan in force on it, so the day on which an org joins is charged, a change takes effect in fees from the next day on,
//! and after the last day of a plan that was left there is no fee.

use std::sync::OnceLock;

use crate::catalog::{self, Proration};
use crate::decide::Context;
use crate::limits::SEGMENT_MARGIN_SECS;
use crate::{Catalog, Org, OrgState, Period, PlanId, Segment, Share, SignedDuration, Stretch, Timestamp};

/// Which versions of the catalog segments are rated by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Versions {
    /// Those in force at their ends.
    AtTheTime,
    /// The one in force now.
    InForce,
}

/// The segments of a month of an org, in order. Beside those of the month there are neighbors without a day: where the time
/// zone was changed, or the clock stepped back, usage of the month may have been counted in them.
pub(crate) fn segments(
    state: &OrgState,
    context: &Context<'_>,
    org: &Org,
    month: i32,
    versions: Versions,
) -> Vec<Segment> {
    let (starts, ends) = org.zone.bounds(Period::month(month));
    let margin = SignedDuration::from_secs(SEGMENT_MARGIN_SECS);
    let widest = (
        starts.and_then(|starts| starts.checked_sub(margin).ok()),
        ends.and_then(|ends| ends.checked_add(margin).ok()),
    );
    let near = |stretch: &Stretch<'_>| {
        let is_empty = stretch.from.is_some() && stretch.from == stretch.until;
        let begins_here = || stretch.from >= widest.0 && widest.1.is_none_or(|end| stretch.from < Some(end));
        stretch.meets(widest.0, widest.1) || is_empty && begins_here()
    };
    let near: Vec<Stretch<'_>> = org.plans.stretches().filter(near).collect();
    let days = days(org, month, &near);
    let of = u32::try_from(days.len()).unwrap_or(u32::MAX);
    let mut segments: Vec<Segment> = Vec::with_capacity(near.len());
    for stretch in near {
        let number = stretch.number();
        let own = days.iter().filter(|owner| **owner == Some(number)).count();
        let days = Share { days: u32::try_from(own).unwrap_or(u32::MAX), of };
        let until = within(stretch.until.or(ends), starts, ends);
        let version = match (versions, until) {
            (Versions::AtTheTime, Some(until)) => version_at(state, context, until),
            _ => context.catalog_version,
        };
        let catalog = catalog_of(state, context, version);
        let plan = stretch.plan().filter(|plan| catalog.is_none_or(|catalog| catalog.plan(plan).is_some()));
        let fees = catalog.map_or(days, |catalog| fees(catalog, plan, days, &segments));
        segments.push(Segment {
            number,
            plan: plan.cloned(),
            catalog: version,
            from: within(stretch.from.or(starts), starts, ends),
            until,
            days,
            fees,
        });
    }
    segments
}

/// A moment, or the edge of the month that is nearest to it.
fn within(at: Option<Timestamp>, starts: Option<Timestamp>, ends: Option<Timestamp>) -> Option<Timestamp> {
    let not_before = at.max(starts);
    [not_before, ends].into_iter().flatten().min()
}

/// Of each day of a month the number of the plan that it is charged to.
fn days(org: &Org, month: i32, near: &[Stretch<'_>]) -> Vec<Option<u32>> {
    let (first, next) = Period::days_of_month(month);
    let charged = near.iter().filter(|stretch| stretch.plan().is_some() && stretch.from != stretch.until);
    let charged: Vec<&Stretch<'_>> = charged.collect();
    let owner = |day| {
        let (Some(starts), Some(ends)) = org.zone.bounds(Period::day(day)) else { return None };
        let held = charged.iter().find(|stretch| stretch.holds(starts));
        let begun =
            || charged.iter().find(|stretch| stretch.from >= Some(starts) && stretch.from < Some(ends));
        held.or_else(begun).map(|stretch| stretch.number())
    };
    (first..next).map(owner).collect()
}

/// The share of fees that a segment owes, after those before it.
fn fees(catalog: &Catalog, plan: Option<&PlanId>, days: Share, before: &[Segment]) -> Share {
    let Some(plan) = plan.and_then(|plan| catalog.plan(plan)) else { return Share { days: 0, ..days } };
    match plan.proration {
        Proration::Daily => days,
        Proration::None => {
            let is_charged = |known: &Segment| known.plan.as_ref() == Some(&plan.id) && known.fees.is_whole();
            let first = days.days > 0 && !before.iter().any(is_charged);
            if first { Share { days: days.of, ..days } } else { Share { days: 0, ..days } }
        }
    }
}

/// A version of the catalog; `None` if it is not loaded.
pub(crate) fn catalog_of<'a>(
    state: &'a OrgState,
    context: &Context<'a>,
    version: u32,
) -> Option<&'a Catalog> {
    static FIRST: OnceLock<Option<Catalog>> = OnceLock::new();
    if version == context.catalog_version {
        return Some(context.catalog);
    }
    if version == 0 {
        return FIRST.get_or_init(|| Catalog::from_toml(catalog::DEFAULT).ok()).as_ref();
    }
    state.catalog(version)?.catalog()
}

/// The version of the catalog that was in force just before a moment: the latest that came into force before it.
fn version_at(state: &OrgState, context: &Context<'_>, until: Timestamp) -> u32 {
    if context.catalog_since < until {
        return context.catalog_version;
    }
    // Times never go down from version to version.
    let (mut before, mut after) = (0, context.catalog_version);
    while after - before > 1 {
        let middle = before + (after - before) / 2;
        if state.catalog(middle).is_some_and(|known| known.at < until) {
            before = middle;
        } else {
            after = middle;
        }
    }
    before
}

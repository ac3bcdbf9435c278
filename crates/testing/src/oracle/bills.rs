//! Closing months: every bill worked out anew from the commands before it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tollgate_domain::catalog::Plan;
use tollgate_domain::{
    Adjustment, Bill, BillError, Catalog, CloseDenial, Closed, MeterId, MeterUsage, Money, OrgCommand,
    OrgDecision, PlanId, Rated, Terms, UsageGroup, rate,
};

use super::history::Counted;
use super::{Fact, History, Label, Now, sum, total};

/// The oracle knows catalogs, not their versions.
const NO_VERSION: u32 = 0;

/// Months that a bill puts right.
const MONTHS_BACK: i32 = 12;

/// Takes the versions of the catalog out of an answer, as the oracle gives none.
pub fn without_versions(decision: &mut OrgDecision) {
    if let OrgDecision::Close(Ok(closed)) = decision {
        let bill = Arc::make_mut(&mut closed.bill);
        bill.rated.catalog = NO_VERSION;
        bill.rated.lines.iter_mut().for_each(|line| line.price.catalog = NO_VERSION);
    }
}

/// A bill that was closed, with the catalog it was rated by.
struct Known<'a> {
    bill: Arc<Bill>,
    catalog: &'a Catalog,
}

impl<'a> Now<'a> {
    pub(super) fn close(&self, month: i32) -> (OrgDecision, bool) {
        let deny = |denial| (OrgDecision::Close(Err(denial)), false);
        let Some(history) = self.history() else { return deny(CloseDenial::Bill(BillError::UnknownOrg)) };
        let known = self.closed_bills();
        if let Some(known) = known.iter().find(|known| known.bill.rated.month.number == month) {
            let closed = Closed { entry: None, bill: Arc::clone(&known.bill) };
            return (OrgDecision::Close(Ok(closed)), false);
        }
        let period = tollgate_domain::Period::month(month);
        if history.zone.bounds(period).1.is_none_or(|end| self.at < end) {
            return deny(CloseDenial::MonthRuns);
        }
        match self.make(&history, self.facts, &known, month) {
            Ok(bill) => {
                let bill = Bill {
                    number: Some(u32::try_from(known.len()).unwrap_or(u32::MAX) + 1),
                    closed_at: Some(self.at),
                    ..bill
                };
                let closed = Closed { entry: Some(self.entry), bill: Arc::new(bill) };
                (OrgDecision::Close(Ok(closed)), true)
            }
            Err(error) => deny(CloseDenial::Bill(error)),
        }
    }

    /// The bills that were closed, in order: each from what came before it.
    fn closed_bills(&self) -> Vec<Known<'a>> {
        let mut known: Vec<Known<'a>> = Vec::new();
        for (place, fact) in self.facts.iter().enumerate() {
            let Some(OrgCommand::CloseMonth(close)) = &fact.command else { continue };
            let (before, _) = self.facts.split_at(place);
            let then = Now { catalog: &fact.catalog, at: fact.at, entry: fact.entry, facts: before, ..*self };
            let history = History::of(before, self.calendar);
            if let Ok(bill) = then.make(&history, before, &known, close.month) {
                let number = Some(u32::try_from(known.len()).unwrap_or(u32::MAX) + 1);
                let bill = Arc::new(Bill { number, closed_at: Some(fact.at), ..bill });
                known.push(Known { bill, catalog: &fact.catalog });
            }
        }
        known
    }

    fn make(
        &self,
        history: &History<'_>,
        facts: &[Fact],
        known: &[Known<'_>],
        month: i32,
    ) -> Result<Bill, BillError> {
        let period = tollgate_domain::Period::month(month);
        let (from, until) = history.zone.bounds(period);
        let set = facts.iter().rev().find_map(|fact| match &fact.command {
            _ if until.is_some_and(|end| fact.at >= end) => None,
            Some(OrgCommand::SetPlan(set)) => Some(&set.plan),
            Some(OrgCommand::Welcome(welcome)) => welcome.plan.as_ref(),
            _ => None,
        });
        let plan = set.and_then(|id| plan(self.catalog, id)).ok_or(BillError::NoPlan)?;
        let rated = worth(history, facts, self.catalog, plan, month)?;
        let mut total = rated.total;
        let mut adjustments = Vec::new();
        let is_latest = known.iter().all(|known| known.bill.rated.month.number < month);
        for earlier in (month - MONTHS_BACK..month).filter(|_| is_latest) {
            let Some(closed) = known.iter().find(|known| known.bill.rated.month.number == earlier) else {
                continue;
            };
            let Some(plan) = plan_of(closed) else { continue };
            let now = worth(history, facts, closed.catalog, plan, earlier)?.total;
            let told = known.iter().flat_map(|known| &known.bill.adjustments);
            let told: i128 =
                told.filter(|known| known.month.number == earlier).map(|known| known.amount.minor).sum();
            let billed = Money { minor: closed.bill.rated.total.minor + told, ..now };
            let amount = Money { minor: now.minor - billed.minor, ..now };
            if amount.minor != 0 && amount.currency == total.currency {
                total.minor += amount.minor;
                let (month, bill) = (closed.bill.rated.month, closed.bill.number.unwrap_or_default());
                adjustments.push(Adjustment { month, bill, billed, now, amount });
            }
        }
        Ok(Bill { number: None, closed_at: None, from, until, rated, adjustments, total })
    }
}

fn plan<'c>(catalog: &'c Catalog, id: &PlanId) -> Option<&'c Plan> {
    catalog.plans.iter().find(|plan| plan.id == *id)
}

fn plan_of<'c>(closed: &Known<'c>) -> Option<&'c Plan> {
    plan(closed.catalog, &closed.bill.rated.plan)
}

/// What the usage of a month that was not taken back is worth, each usage by itself.
fn worth(
    history: &History<'_>,
    facts: &[Fact],
    catalog: &Catalog,
    plan: &Plan,
    month: i32,
) -> Result<Rated, BillError> {
    let in_month = |counted: &&Counted<'_>| {
        counted.reversed_by.is_none()
            && counted
                .labels
                .iter()
                .any(|label| matches!(label, Label::Month(..)) && label.period().number == month)
    };
    let mut parts: BTreeMap<(&MeterId, BTreeMap<String, String>), Vec<&Counted<'_>>> = BTreeMap::new();
    for counted in history.uses.iter().filter(in_month) {
        let then = facts.iter().find(|fact| fact.entry == counted.entry).map(|fact| &fact.catalog);
        let meter = then.and_then(|catalog| catalog.meter(&counted.usage.meter));
        let declared = meter.map(|meter| meter.properties.clone()).unwrap_or_default();
        let mut properties = counted.usage.properties.clone();
        properties.retain(|name, _| declared.contains(name));
        parts.entry((&counted.usage.meter, properties)).or_default().push(counted);
    }
    let usage: Vec<MeterUsage> = parts
        .into_iter()
        .map(|((meter, properties), uses)| {
            let overage = sum(uses.iter().map(|counted| counted.overage));
            let quantity = total(uses.into_iter());
            let group = UsageGroup { properties, quantity, overage };
            MeterUsage { meter: meter.clone(), groups: vec![group] }
        })
        .collect();
    let month = tollgate_domain::Period::month(month);
    Ok(rate(&Terms { catalog, version: NO_VERSION, plan, month }, &usage)?)
}

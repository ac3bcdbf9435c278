//! Closing months: every bill worked out anew from the commands before it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tollgate_domain::catalog::{self, Plan, Proration};
use tollgate_domain::{
    Adjustment, Amount, Bill, BillError, Catalog, CloseDenial, Closed, MeterId, MeterUsage, Money,
    OrgCommand, OrgDecision, Period, PlanId, RateError, Rated, Segment, Share, Terms, UsageGroup, Window,
    rate,
};

use super::history::Counted;
use super::{Fact, History, Label, Now, Setting, sum, total};

/// The oracle knows catalogs, not their versions.
const NO_VERSION: u32 = 0;

/// Months that a bill puts right.
const MONTHS_BACK: i32 = 12;

/// Takes the versions of the catalog out of an answer, as the oracle gives none.
pub fn without_versions(decision: &mut OrgDecision) {
    if let OrgDecision::Close(Ok(closed)) = decision {
        closed.bill = without_versions_of(&closed.bill);
    }
}

/// Takes the versions of the catalog out of a bill.
#[must_use]
pub fn without_versions_of(bill: &Bill) -> Arc<Bill> {
    let mut bill = bill.clone();
    bill.rated.segments.iter_mut().for_each(|segment| segment.catalog = NO_VERSION);
    bill.rated.lines.iter_mut().for_each(|line| line.price.catalog = NO_VERSION);
    Arc::new(bill)
}

/// A bill that was closed, with the catalogs that its segments were rated by.
struct Known {
    bill: Arc<Bill>,
    catalogs: Vec<Arc<Catalog>>,
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
        let here = self.calendar.label(&history.zone, Window::Month, self.at).period().number;
        if here <= month {
            return deny(if here == month {
                CloseDenial::MonthRuns
            } else {
                CloseDenial::Bill(BillError::NotBegun)
            });
        }
        let latest = known.iter().map(|known| known.bill.rated.month.number).max();
        if latest.is_some_and(|latest| latest > month) {
            return deny(CloseDenial::LaterClosed);
        }
        let first = history.plans.iter().map(|setting| setting.since).min().unwrap_or(self.at);
        let first = self.calendar.label(&history.zone, Window::Month, first).period().number;
        let open = latest.map_or(first, |latest| latest + 1);
        if let Some(open) = (open..month).find(|open| self.may_bill(&history, *open)) {
            return deny(CloseDenial::EarlierOpen(Period::month(open)));
        }
        match self.make(&history, self.facts, &known, month) {
            Ok((bill, _)) => {
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

    /// The bill of a month: the closed one, or what it comes to now.
    pub(super) fn bill(&self, month: i32) -> Result<Arc<Bill>, BillError> {
        let history = self.history().ok_or(BillError::UnknownOrg)?;
        let known = self.closed_bills();
        if let Some(known) = known.iter().find(|known| known.bill.rated.month.number == month) {
            return Ok(Arc::clone(&known.bill));
        }
        if self.calendar.label(&history.zone, Window::Month, self.at).period().number < month {
            return Err(BillError::NotBegun);
        }
        Ok(Arc::new(self.make(&history, self.facts, &known, month)?.0))
    }

    /// The bills that were closed, in order: each from what came before it.
    fn closed_bills(&self) -> Vec<Known> {
        let mut known: Vec<Known> = Vec::new();
        for (place, fact) in self.facts.iter().enumerate() {
            let Some(OrgCommand::CloseMonth(close)) = &fact.command else { continue };
            let (before, _) = self.facts.split_at(place);
            let then = Now { catalog: &fact.catalog, at: fact.at, entry: fact.entry, facts: before, ..*self };
            let history = History::of(before, self.calendar);
            if let Ok((bill, catalogs)) = then.make(&history, before, &known, close.month) {
                let number = Some(u32::try_from(known.len()).unwrap_or(u32::MAX) + 1);
                let bill = Arc::new(Bill { number, closed_at: Some(fact.at), ..bill });
                known.push(Known { bill, catalogs });
            }
        }
        known
    }

    /// Whether a plan with prices, or one that the catalog lost, was in force in a month.
    fn may_bill(&self, history: &History<'_>, month: i32) -> bool {
        stretches(&history.plans).any(|(setting, from, until)| {
            let priced = setting
                .and_then(|setting| setting.plan)
                .is_some_and(|id| plan(self.catalog, id).is_none_or(|plan| !plan.prices.is_empty()));
            let month_of = |at| self.calendar.label(&history.zone, Window::Month, at).period().number;
            let begins = from.is_none_or(|from| month_of(from) <= month);
            let last = until.map(|until| until - SignedDuration::from_nanos(1));
            priced && from != until && begins && last.is_none_or(|last| month_of(last) >= month)
        })
    }

    fn make(
        &self,
        history: &History<'_>,
        facts: &[Fact],
        known: &[Known],
        month: i32,
    ) -> Result<(Bill, Vec<Arc<Catalog>>), BillError> {
        let (from, until) = history.zone.bounds(Period::month(month));
        let parts = self.parts(history, month, from, until);
        let (rated, catalogs) = worth(history, facts, self.catalog, parts, month)?;
        let mut total = rated.total;
        let mut adjustments = Vec::new();
        let is_latest = known.iter().all(|known| known.bill.rated.month.number < month);
        for earlier in (month - MONTHS_BACK..month).filter(|_| is_latest) {
            let Some(closed) = known.iter().find(|known| known.bill.rated.month.number == earlier) else {
                continue;
            };
            let parts = closed.bill.rated.segments.iter().cloned().zip(closed.catalogs.iter().cloned());
            let now = worth(history, facts, self.catalog, parts.collect(), earlier)?.0.total;
            let told = known.iter().flat_map(|known| &known.bill.adjustments);
            let told: i128 =
                told.filter(|known| known.month.number == earlier).map(|known| known.amount.minor).sum();
            let billed = Money { minor: closed.bill.rated.total.minor + told, ..now };
            let amount = Money { minor: now.minor - billed.minor, ..now };
            if amount.minor != 0 && adjustments.is_empty() && rated.plan().is_none() {
                total = Money::zero(amount.currency);
            }
            if amount.minor != 0 && amount.currency == total.currency {
                total.minor += amount.minor;
                let (month, bill) = (closed.bill.rated.month, closed.bill.number.unwrap_or_default());
                adjustments.push(Adjustment { month, bill, billed, now, amount });
            }
        }
        let used = !rated.included.is_empty() || !rated.unpriced.is_empty();
        if rated.plan().is_none() && !used && adjustments.is_empty() {
            return Err(BillError::NoPlan);
        }
        let (name, zone) = (history.name.map(str::to_owned), history.zone.clone());
        let (number, closed_at) = (None, None);
        Ok((Bill { number, closed_at, name, zone, from, until, rated, adjustments, total }, catalogs))
    }

    /// The parts of a month, each with the catalog in force at its end.
    fn parts(
        &self,
        history: &History<'_>,
        month: i32,
        starts: Option<Timestamp>,
        ends: Option<Timestamp>,
    ) -> Vec<(Segment, Arc<Catalog>)> {
        let owners = self.owners(history, month);
        let of = u32::try_from(owners.len()).unwrap_or(u32::MAX);
        let clip = |at: Option<Timestamp>| match (at, starts, ends) {
            (Some(at), Some(starts), _) if at < starts => Some(starts),
            (Some(at), _, Some(ends)) if at > ends => Some(ends),
            _ => at,
        };
        let mut paid: Vec<&PlanId> = Vec::new();
        let mut parts = Vec::new();
        for (setting, from, until) in stretches(&history.plans) {
            let number = setting.map_or(0, |setting| setting.number);
            let own = owners.iter().filter(|owner| number > 0 && **owner == number).count();
            let days = Share { days: u32::try_from(own).unwrap_or(u32::MAX), of };
            let until = clip(until.or(ends));
            let catalog = self.catalog_before(until);
            let id = setting.and_then(|setting| setting.plan);
            let plan = id.and_then(|id| plan(&catalog, id));
            let fees = match plan {
                Some(plan) if plan.proration == Proration::Daily => days,
                Some(_) if own > 0 && id.is_some_and(|id| !paid.contains(&id)) => {
                    paid.extend(id);
                    Share { days: of, of }
                }
                _ => Share { days: 0, of },
            };
            let from = clip(from.or(starts));
            let plan = plan.map(|plan| plan.id.clone());
            parts.push((Segment { number, plan, catalog: NO_VERSION, from, until, days, fees }, catalog));
        }
        parts
    }

    /// The number of the setting that each day of a month is charged to; zero is none.
    fn owners(&self, history: &History<'_>, month: i32) -> Vec<u32> {
        let with_plan = || {
            stretches(&history.plans).filter_map(|(setting, from, until)| {
                let setting = setting.filter(|setting| setting.plan.is_some() && from != until)?;
                Some((setting.number, setting.since, until))
            })
        };
        let (mut day, mut owners) = (self.first_day(month), Vec::new());
        while self.first_day(month + 1) > day {
            let starts = self.calendar.start_of_day(&history.zone, day).unwrap_or(Timestamp::MIN);
            let ends = self.calendar.start_of_day(&history.zone, day + 1).unwrap_or(Timestamp::MAX);
            // Who was there when the day began, or else came first while it lasted: the earliest that is there at all.
            let there = with_plan()
                .filter(|(_, since, until)| *since < ends && until.is_none_or(|until| until > starts));
            let first = there.min_by_key(|(number, since, _)| ((*since).max(starts), *number));
            owners.push(first.map_or(0, |(number, ..)| number));
            day += 1;
        }
        owners
    }

    /// The number of the first day of a month.
    fn first_day(&self, month: i32) -> i32 {
        let (year, month) = (month.div_euclid(12), month.rem_euclid(12) + 1);
        let date = jiff::civil::Date::new(
            i16::try_from(year).unwrap_or(i16::MAX),
            i8::try_from(month).unwrap_or(1),
            1,
        );
        date.map_or(i32::MAX, |date| Label::Day(date).period().number)
    }

    /// The catalog in force just before a moment: the one in force now, or one of those before it.
    fn catalog_before(&self, until: Option<Timestamp>) -> Arc<Catalog> {
        let now = self.catalogs.iter().rposition(|(_, known)| Arc::ptr_eq(known, self.catalog));
        let Some((until, now)) = until.zip(now) else { return Arc::clone(self.catalog) };
        let until_now = self.catalogs.iter().take(now + 1).rev();
        let mut before = until_now.filter(|(since, _)| *since < until);
        before.next().map_or_else(first_catalog, |(_, catalog)| Arc::clone(catalog))
    }
}

/// What a store begins with.
fn first_catalog() -> Arc<Catalog> {
    Catalog::from_toml(catalog::DEFAULT).map_or_else(|_| unreachable!("it is in the binary"), Arc::new)
}

type Stretch<'a> = (Option<Setting<'a>>, Option<Timestamp>, Option<Timestamp>);

/// From when until when each setting was the latest, the time before the first among them; one that was called off was so
/// for no time.
fn stretches<'a>(plans: &'a [Setting<'a>]) -> impl Iterator<Item = Stretch<'a>> {
    let next =
        |number: u32| plans.iter().find(|next| next.number > number && !next.off).map(|next| next.since);
    let first = (None, None, next(0));
    let others = plans.iter().map(move |setting| {
        let until = if setting.off { Some(setting.since) } else { next(setting.number) };
        (Some(*setting), Some(setting.since), until)
    });
    std::iter::once(first).chain(others)
}

fn plan<'c>(catalog: &'c Catalog, id: &PlanId) -> Option<&'c Plan> {
    catalog.plans.iter().find(|plan| plan.id == *id)
}

/// What the usage of the parts of a month that was not taken back is worth, each usage by itself; parts of no time, no day
/// and no usage are none.
fn worth(
    history: &History<'_>,
    facts: &[Fact],
    now: &Catalog,
    parts: Vec<(Segment, Arc<Catalog>)>,
    month: i32,
) -> Result<(Rated, Vec<Arc<Catalog>>), BillError> {
    let mut rated = Rated {
        month: Period::month(month),
        segments: Vec::new(),
        lines: Vec::new(),
        total: Money::zero(now.currency),
        included: Vec::new(),
        unpriced: Vec::new(),
    };
    let mut catalogs = Vec::new();
    for (segment, catalog) in parts {
        let usage = usage(history, facts, month, segment.number);
        let plan = segment.plan.as_ref().and_then(|id| plan(&catalog, id));
        let terms = Terms {
            catalog: &catalog,
            version: NO_VERSION,
            plan,
            month: Period::month(month),
            fees: segment.fees,
            from: segment.from,
            until: segment.until,
            before: &rated.lines,
        };
        let part = rate(&terms, &usage)?;
        let used = usage.iter().any(|meter| meter.groups.iter().any(|group| group.quantity > Amount::ZERO));
        if !used && segment.days.days == 0 && segment.from == segment.until {
            continue;
        }
        if part.lines.is_empty() {
            if rated.lines.is_empty() && plan.is_some() {
                rated.total = part.total;
            }
        } else if rated.lines.is_empty() {
            rated.total = part.total;
        } else if rated.total.currency == part.total.currency {
            rated.total.minor += part.total.minor;
        } else {
            return Err(RateError::TwoCurrencies(rated.total.currency, part.total.currency).into());
        }
        rated.lines.extend(part.lines);
        rated.included.extend(part.included);
        rated.unpriced.extend(part.unpriced);
        rated.segments.push(segment);
        catalogs.push(catalog);
    }
    Ok((rated, catalogs))
}

/// What was used under a plan in a month, by meter and properties.
fn usage(history: &History<'_>, facts: &[Fact], month: i32, under: u32) -> Vec<MeterUsage> {
    let in_month = |counted: &&Counted<'_>| {
        counted.reversed_by.is_none()
            && counted.under == under
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
    let usage = parts.into_iter().map(|((meter, properties), uses)| {
        let overage = sum(uses.iter().map(|counted| counted.overage));
        let quantity = total(uses.into_iter());
        MeterUsage { meter: meter.clone(), groups: vec![UsageGroup { properties, quantity, overage }] }
    });
    usage.collect()
}

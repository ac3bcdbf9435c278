//! The catalog: meters, plans and prices, as a TOML file in versions.
//!
//! Prices are read in `price.rs` and compared with each other in `check.rs`; what they make of a month's usage is said
//! in [`crate::rate`](crate::rate()).

mod check;
mod events;
mod listed;
mod meter;
mod price;
mod read;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use crate::limits::{CATALOG_BYTES_MAX, CATALOG_METERS_MAX, CATALOG_PLANS_MAX};
use crate::{Amount, CreatedMeter, Currency, Limit, LimitScope, MeterId, Period, PlanId, Window};
use read::{amount, text_line, unique};

pub use events::{DataPath, EventMapping, PathStep, UnknownEvents};
pub use listed::{HasId, Listed};
pub use meter::{Aggregation, Meter, UniqueBy, UnknownMeters, UnknownProperties};
pub use price::{Model, Months, Portion, Price, Tier};

/// The catalog that a new store starts with.
pub const DEFAULT: &str = include_str!("../../../../catalog.toml");

/// The set of meters, plans and prices in force.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalog {
    /// How people are told.
    #[serde(default)]
    pub notices: NoticeSettings,
    /// What prices are in, unless a plan says otherwise.
    #[serde(default)]
    pub currency: Currency,
    /// What becomes of events whose type has no mapping.
    #[serde(default)]
    pub unknown_events: UnknownEvents,
    /// Where usage of a meter that is not in it creates the meter.
    #[serde(default)]
    pub unknown_meters: UnknownMeters,
    /// Settings of the compatible APIs.
    #[serde(default)]
    pub compat: CompatSettings,
    /// What is counted.
    pub meters: Listed<Meter>,
    /// What an org can buy.
    pub plans: Listed<Plan>,
    /// Which events of other systems become usage of which meter.
    #[serde(default)]
    pub events: Vec<EventMapping>,
}

/// How people are told.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoticeSettings {
    /// Shares of the credit, in percent, that cause a notice when crossed.
    pub thresholds: Vec<u8>,
}

impl Default for NoticeSettings {
    fn default() -> Self {
        Self { thresholds: vec![80, 100] }
    }
}

/// Settings of the compatible APIs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompatSettings {
    /// The billing API.
    #[serde(default)]
    pub billing: NewcomerSettings,
}

/// What a compatible API does with an org that does not exist yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewcomerSettings {
    /// The plan they get; none unless given.
    pub plan: Option<PlanId>,
}

/// What an org can buy.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Its id.
    pub id: PlanId,
    /// A name for people.
    pub name: String,
    /// Days after which the plan, and the allowance given once for all of it, is over: the plan is a trial.
    pub trial_days: Option<u16>,
    /// Whether it is on its way out; still offered, and marked in replies.
    #[serde(default)]
    pub deprecated: bool,
    /// Whether it is refused to orgs that do not have it already.
    #[serde(default)]
    pub retired: bool,
    /// How much of which meter it gives.
    #[serde(default)]
    pub allowances: Vec<Allowance>,
    /// The limits that come with it; an org's own limit on the same meter, scope and window takes the place of one.
    #[serde(default)]
    pub limits: Vec<PlanLimit>,
    /// What its prices are in, in place of the catalog's currency.
    pub currency: Option<Currency>,
    /// What is owed for it and for usage under it.
    #[serde(default)]
    pub prices: Vec<Price>,
}

/// How much of a meter a plan gives.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowance {
    /// Of what.
    pub meter: MeterId,
    /// How much a month (in a trial: once).
    #[serde(deserialize_with = "amount")]
    pub amount: Amount,
    /// What happens beyond it.
    #[serde(default)]
    pub enforcement: Enforcement,
    /// Lower burns first, top-ups included.
    #[serde(default = "default_priority")]
    pub priority: u8,
}

/// What happens when credit runs out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Enforcement {
    /// Refused: all of the quantity must be covered.
    #[default]
    Hard,
    /// Allowed while anything is left; the last usage may take the balance below zero.
    Overdraft,
    /// Allowed: what exceeds the credit is overage.
    Soft,
    /// Not asked.
    None,
}

/// A limit that comes with a plan.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanLimit {
    /// What is capped.
    pub meter: MeterId,
    /// Whose usage is capped.
    pub scope: PlanLimitScope,
    /// Over which stretch of time.
    pub window: Window,
    /// How much may be used in it.
    #[serde(deserialize_with = "amount")]
    pub amount: Amount,
}

/// Whose usage a plan's limit caps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanLimitScope {
    /// All usage of the org together.
    Org,
    /// That of each user by itself.
    User,
}

/// The priority of allowances and top-ups that name none.
pub const PRIORITY_DEFAULT: u8 = 100;

const fn default_priority() -> u8 {
    PRIORITY_DEFAULT
}

/// What is wrong with a catalog.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CatalogError(pub String);

impl Catalog {
    /// Reads and checks a catalog.
    ///
    /// # Errors
    /// [`CatalogError`] with the place and what is allowed there.
    pub fn from_toml(text: &str) -> Result<Self, CatalogError> {
        if text.len() > CATALOG_BYTES_MAX {
            return Err(CatalogError(format!("the catalog is larger than {CATALOG_BYTES_MAX} bytes")));
        }
        let catalog: Self = toml::from_str(text).map_err(|error| CatalogError(error.to_string()))?;
        catalog.check()?;
        Ok(catalog)
    }

    /// The same, and the meters that usage created beside it; one that it declares itself is as it says.
    #[must_use]
    pub fn with_created(&self, created: &[CreatedMeter]) -> Self {
        let mut catalog = self.clone();
        let beside = created.iter().filter(|created| self.meter(&created.id).is_none());
        catalog.meters.extend(beside.map(|created| Meter::created(created.id.clone())));
        catalog
    }

    /// A meter by its id.
    #[must_use]
    pub fn meter(&self, id: &MeterId) -> Option<&Meter> {
        self.meters.find(id)
    }

    /// A plan by its id.
    #[must_use]
    pub fn plan(&self, id: &PlanId) -> Option<&Plan> {
        self.plans.find(id)
    }

    /// The mappings of events of a type.
    pub fn events_of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a EventMapping> + 'a {
        self.events.iter().filter(move |event| event.r#type == kind)
    }

    /// What would change with another catalog, a line each, for people.
    #[must_use]
    pub fn diff(&self, next: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        diff_by(&self.meters, &next.meters, |meter| meter.id.to_string(), "meter", &mut lines);
        diff_by(&self.plans, &next.plans, |plan| plan.id.to_string(), "plan", &mut lines);
        diff_by(
            &self.events,
            &next.events,
            |event| format!("{} → {}", event.r#type, event.meter),
            "event",
            &mut lines,
        );
        if self.unknown_events != next.unknown_events {
            lines.push(
                format!("~ unknown_events {:?} → {:?}", self.unknown_events, next.unknown_events)
                    .to_lowercase(),
            );
        }
        if self.unknown_meters != next.unknown_meters {
            lines.push(
                format!("~ unknown_meters {:?} → {:?}", self.unknown_meters, next.unknown_meters)
                    .to_lowercase(),
            );
        }
        if self.compat != next.compat {
            let plan = |catalog: &Self| {
                catalog.compat.billing.plan.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string)
            };
            lines.push(format!("~ compat.billing.plan {} → {}", plan(self), plan(next)));
        }
        if self.currency != next.currency {
            lines.push(format!("~ currency {} → {}", self.currency, next.currency));
        }
        if self.notices != next.notices {
            lines.push(format!(
                "~ notices.thresholds {:?} → {:?}",
                self.notices.thresholds, next.notices.thresholds
            ));
        }
        lines
    }

    fn check(&self) -> Result<(), CatalogError> {
        let fail = |text: String| Err(CatalogError(text));
        if self.meters.is_empty() || self.meters.len() > CATALOG_METERS_MAX {
            return fail(format!("meters: between 1 and {CATALOG_METERS_MAX} are needed"));
        }
        if self.plans.is_empty() || self.plans.len() > CATALOG_PLANS_MAX {
            return fail(format!("plans: between 1 and {CATALOG_PLANS_MAX} are needed"));
        }
        if self.notices.thresholds.iter().any(|percent| !(1..=100).contains(percent)) {
            return fail("notices.thresholds: each must be between 1 and 100".to_owned());
        }
        unique("meters", self.meters.iter().map(|meter| meter.id.as_str()))?;
        unique("plans", self.plans.iter().map(|plan| plan.id.as_str()))?;
        self.meters.iter().try_for_each(Meter::check)?;
        self.check_compat()?;
        events::check(&self.events, |meter| self.meter(meter).is_some())?;
        self.plans.iter().try_for_each(|plan| self.check_plan(plan))
    }

    fn check_compat(&self) -> Result<(), CatalogError> {
        let Some(id) = &self.compat.billing.plan else { return Ok(()) };
        let says = match self.plan(id) {
            None => "is not in the catalog",
            Some(plan) if plan.retired => "is retired, so nobody new gets it",
            Some(_) => return Ok(()),
        };
        Err(CatalogError(format!("compat.billing: plan '{id}' {says}")))
    }

    fn check_plan(&self, plan: &Plan) -> Result<(), CatalogError> {
        let place = format!("plan '{}'", plan.id);
        text_line(&place, "name", &plan.name)?;
        if plan.trial_days == Some(0) {
            return Err(CatalogError(format!("{place}: trial_days must be at least 1")));
        }
        let meters = plan
            .allowances
            .iter()
            .map(|allowance| &allowance.meter)
            .chain(plan.limits.iter().map(|limit| &limit.meter));
        for meter in meters {
            if self.meter(meter).is_none() {
                return Err(CatalogError(format!("{place}: meter '{meter}' is not in the catalog")));
            }
        }
        unique(
            &format!("{place}: allowances"),
            plan.allowances.iter().map(|allowance| allowance.meter.as_str()),
        )?;
        let limits: Vec<_> = plan
            .limits
            .iter()
            .map(|limit| format!("{} {:?} {}", limit.meter, limit.scope, limit.window))
            .collect();
        unique(&format!("{place}: limits"), limits.iter().map(String::as_str))?;
        plan.allowances.iter().try_for_each(|allowance| self.check_allowance(&place, allowance))?;
        if plan.allowances.iter().any(|allowance| allowance.amount < Amount::ZERO) {
            return Err(CatalogError(format!("{place}: an allowance must not be negative")));
        }
        if plan.limits.iter().any(|limit| limit.amount < Amount::from_whole(1)) {
            return Err(CatalogError(format!("{place}: a limit must be at least 1")));
        }
        check::prices(self, plan)
    }

    /// Credit is burned by what adds up only: what a usage adds to a maximum depends on the others, and would have to be
    /// given back to another when one of them is taken back.
    fn check_allowance(&self, place: &str, allowance: &Allowance) -> Result<(), CatalogError> {
        let Allowance { meter, amount, enforcement, .. } = allowance;
        let burns = *enforcement != Enforcement::None || !amount.is_zero();
        match self.meter(meter).map(|meter| &meter.aggregation) {
            Some(aggregation) if burns && !aggregation.adds_up() => Err(CatalogError(format!(
                "{place}: an allowance of '{meter}' must have amount = 0 and enforcement = \"none\": credit is not burned \
                 by aggregation = \"{}\"; a limit can cap it",
                aggregation.name()
            ))),
            _ => Ok(()),
        }
    }
}

impl HasId for Plan {
    type Id = PlanId;

    fn id(&self) -> &PlanId {
        &self.id
    }
}

impl Plan {
    /// What its prices are in.
    #[must_use]
    pub fn currency(&self, catalog: &Catalog) -> Currency {
        self.currency.unwrap_or(catalog.currency)
    }

    /// The price of usage with these properties in a month, and its place in the list: the one in force that names the
    /// most of them.
    #[must_use]
    pub fn price(
        &self,
        meter: &MeterId,
        properties: &BTreeMap<String, String>,
        month: Period,
    ) -> Option<(usize, &Price)> {
        let takes = |price: &Price| {
            price.meter.as_ref() == Some(meter) && price.months.contains(month) && price.takes(properties)
        };
        let taking = self.prices.iter().enumerate().filter(|(_, price)| takes(price));
        taking.max_by_key(|(_, price)| price.matches.len())
    }

    /// What it gives of a meter.
    #[must_use]
    pub fn allowance(&self, meter: &MeterId) -> Option<&Allowance> {
        self.allowances.iter().find(|allowance| allowance.meter == *meter)
    }

    /// Its limits as an org would set them.
    pub fn limits(&self) -> impl Iterator<Item = Limit> + '_ {
        self.limits.iter().map(|limit| Limit {
            meter: limit.meter.clone(),
            scope: match limit.scope {
                PlanLimitScope::Org => LimitScope::Org,
                PlanLimitScope::User => LimitScope::EachUser,
            },
            window: limit.window,
            amount: limit.amount,
        })
    }
}

fn diff_by<T: PartialEq + fmt::Debug>(
    old: &[T],
    new: &[T],
    id: impl Fn(&T) -> String,
    what: &str,
    lines: &mut Vec<String>,
) {
    for gone in old.iter().filter(|gone| !new.iter().any(|kept| id(kept) == id(gone))) {
        lines.push(format!("- {what} {}", id(gone)));
    }
    for item in new {
        match old.iter().find(|known| id(known) == id(item)) {
            None => lines.push(format!("+ {what} {}", id(item))),
            Some(known) if known != item => lines.push(format!("~ {what} {}", id(item))),
            Some(_) => {}
        }
    }
}

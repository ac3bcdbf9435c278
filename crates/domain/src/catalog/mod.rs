//! The catalog: meters, plans and prices, as a TOML file in versions.
//!
//! Prices are read in `price.rs` and compared with each other in `check.rs`; what they make of a month's usage is said
//! in [`crate::rate`](crate::rate()).

mod changes;
mod check;
mod compat;
mod events;
mod faults;
mod listed;
mod meter;
mod models;
mod price;
mod read;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;
use serde::Deserialize;

use crate::limits::{
    CATALOG_BYTES_MAX, CATALOG_FAULTS_MAX, CATALOG_METERS_MAX, CATALOG_MODELS_MAX, CATALOG_PLANS_MAX,
};
use crate::{
    Amount, CreatedMeter, Currency, Limit, LimitPath, LimitScope, MeterId, Org, Period, PlanId, Sku, Window,
};
use faults::{Faults, Place};
use read::{amount, nearest, repeated, sorted, text_line, unique};

pub use changes::changes;
pub use compat::{
    CompatSettings, CreditsSettings, LagoMetric, LagoSettings, LitellmSettings, NewcomerSettings,
    PortkeySettings, StripeSettings,
};
pub use events::{DataPath, EventMapping, PathStep, UnknownEvents};
pub use listed::{HasId, Listed};
pub use meter::{Aggregation, Meter, UniqueBy, UnknownMeters, UnknownProperties, units};
pub use models::{
    CallPrice, ModelCall, ModelPrice, ModelPrices, NoPrice, PricedBy, Rate, ServiceTier, UnknownModels,
};
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
    /// Where the prices of models come from, and what becomes of calls of others.
    #[serde(default)]
    pub model_prices: ModelPrices,
    /// What calls of language models cost.
    #[serde(default)]
    pub models: Listed<ModelPrice>,
}

/// How people are told.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoticeSettings {
    /// Shares of the credit, in percent, that cause a notice when crossed; in order, each once.
    #[serde(deserialize_with = "sorted")]
    pub thresholds: Vec<u8>,
}

impl Default for NoticeSettings {
    fn default() -> Self {
        Self { thresholds: vec![80, 100] }
    }
}

impl NoticeSettings {
    /// Whether all thresholds are shares of something.
    fn are_shares(&self) -> bool {
        self.thresholds.iter().all(|percent| (1..=100).contains(percent))
    }
}

/// Who says which thresholds an org has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThresholdsFrom {
    /// The org itself.
    Org,
    /// Its plan.
    Plan,
    /// The catalog, for all orgs.
    Catalog,
}

/// What an org can buy.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "WrittenPlan")]
pub struct Plan {
    /// Its id.
    pub id: PlanId,
    /// A name for people.
    pub name: String,
    /// Days after which the plan, and the allowance given once for all of it, is over: the plan is a trial.
    pub trial_days: Option<u16>,
    /// Whether it is on its way out; still offered, and marked in replies.
    pub deprecated: bool,
    /// Whether it is refused to orgs that do not have it already.
    pub retired: bool,
    /// How much of which meter it gives.
    pub allowances: Vec<Allowance>,
    /// The limits that come with it; an org's own limit on the same meter, scope and window takes the place of one.
    pub limits: Vec<PlanLimit>,
    /// What its prices are in, in place of the catalog's currency.
    pub currency: Option<Currency>,
    /// What is owed of its fees, minimums and maximums for a part of a month.
    pub proration: Proration,
    /// What is owed for it and for usage under it.
    pub prices: Vec<Price>,
    /// How people are told of orgs on it, in place of the catalog's word.
    pub notices: Option<NoticeSettings>,
    /// What it says of each meter that it names, and of every other.
    rules: HashMap<MeterId, MeterRules, RandomState>,
    other_rules: MeterRules,
}

/// What a plan says of a meter: put together once, when the catalog is read, for every usage asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MeterRules {
    /// Whether the plan is a trial.
    pub(crate) trial: bool,
    pub(crate) allowance: Option<Allowance>,
    /// The limits as an org would set them, in the order they are checked in.
    pub(crate) limits: Vec<Limit>,
    /// The shares of credit that cause a notice, where the plan says which.
    pub(crate) thresholds: Option<Vec<u8>>,
}

impl MeterRules {
    const NONE: &'static Self = &Self { trial: false, allowance: None, limits: Vec::new(), thresholds: None };

    /// What a plan says of a meter; nothing, without a plan.
    pub(crate) fn of<'a>(plan: Option<&'a Plan>, meter: &MeterId) -> &'a Self {
        plan.map_or(Self::NONE, |plan| plan.rules.get(meter).unwrap_or(&plan.other_rules))
    }
}

/// A plan as it is written.
#[derive(Deserialize)]
#[serde(rename = "Plan", deny_unknown_fields)]
struct WrittenPlan {
    id: PlanId,
    name: String,
    trial_days: Option<u16>,
    #[serde(default)]
    deprecated: bool,
    #[serde(default)]
    retired: bool,
    #[serde(default)]
    allowances: Vec<Allowance>,
    #[serde(default)]
    limits: Vec<PlanLimit>,
    currency: Option<Currency>,
    #[serde(default)]
    proration: Proration,
    #[serde(default)]
    prices: Vec<Price>,
    notices: Option<NoticeSettings>,
}

impl From<WrittenPlan> for Plan {
    fn from(written: WrittenPlan) -> Self {
        let WrittenPlan { id, name, trial_days, deprecated, retired, allowances, limits, .. } = written;
        let WrittenPlan { currency, proration, prices, notices, .. } = written;
        let thresholds = notices.as_ref().map(|notices| notices.thresholds.clone());
        let other_rules = MeterRules { trial: trial_days.is_some(), thresholds, ..MeterRules::default() };
        let mut rules: HashMap<MeterId, MeterRules, RandomState> = HashMap::default();
        for allowance in &allowances {
            let rules = rules.entry(allowance.meter.clone()).or_insert_with(|| other_rules.clone());
            rules.allowance.get_or_insert_with(|| allowance.clone());
        }
        for limit in &limits {
            let rules = rules.entry(limit.meter.clone()).or_insert_with(|| other_rules.clone());
            rules.limits.push(limit.as_of_org());
        }
        rules.values_mut().for_each(|rules| rules.limits.sort_by(Limit::checked_before));
        Self {
            id,
            name,
            trial_days,
            deprecated,
            retired,
            allowances,
            limits,
            currency,
            proration,
            prices,
            notices,
            rules,
            other_rules,
        }
    }
}

/// What is owed of a plan's fees, minimums and maximums for a part of a month.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proration {
    /// Their share of the month's days.
    #[default]
    Daily,
    /// All of them, once.
    None,
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
    /// While less than this is left of it, it burns after everything else.
    #[serde(default, deserialize_with = "amount")]
    pub last_below: Amount,
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
    /// Which paths, with the scope of paths.
    pub path: Option<LimitPath>,
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
    /// That at a path, or at each below one.
    Path,
}

/// The priority of allowances and top-ups that name none.
pub const PRIORITY_DEFAULT: u8 = 100;

const fn default_priority() -> u8 {
    PRIORITY_DEFAULT
}

/// What is wrong with a catalog, a line for each fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CatalogError(pub String);

impl Catalog {
    /// Reads and checks a catalog.
    ///
    /// # Errors
    /// [`CatalogError`] with every fault: its line, its place, and what is allowed there.
    pub fn from_toml(text: &str) -> Result<Self, CatalogError> {
        if text.len() > CATALOG_BYTES_MAX {
            return Err(CatalogError(format!("the catalog is larger than {CATALOG_BYTES_MAX} bytes")));
        }
        let catalog: Self = toml::from_str(text).map_err(|error| faults::unreadable(text, &error))?;
        catalog.check().told(text)?;
        Ok(catalog)
    }

    /// The same, and the meters that usage created beside it; one that it declares itself is as it says.
    #[must_use]
    pub fn with_created(&self, created: &[CreatedMeter]) -> Self {
        let mut catalog = self.clone();
        let beside = created.iter().filter(|created| self.meter(&created.id).is_none());
        catalog.meters.extend(beside.map(|created| Meter::created(created.id.clone(), created.sink.clone())));
        catalog
    }

    /// A meter by its id.
    #[must_use]
    pub fn meter(&self, id: &MeterId) -> Option<&Meter> {
        self.meters.find(id)
    }

    /// The meter that is sent as a SKU.
    #[must_use]
    pub fn meter_sent_as(&self, sku: &Sku) -> Option<&Meter> {
        let is_sent = |meter: &&Meter| meter.sink.as_ref() == Some(sku);
        let usual = sku.meter().ok().and_then(|id| self.meter(&id)).filter(is_sent);
        usual.or_else(|| self.meters.iter().find(is_sent))
    }

    /// A plan by its id.
    #[must_use]
    pub fn plan(&self, id: &PlanId) -> Option<&Plan> {
        self.plans.find(id)
    }

    /// The meter whose id is most like a text that is no meter's id, if any is like it.
    #[must_use]
    pub fn nearest_meter(&self, text: &str) -> Option<&MeterId> {
        nearest(text, self.meters.iter().map(|meter| &meter.id), MeterId::as_str)
    }

    /// The plan that may be set whose id is most like a text that is no plan's id, if any is like it.
    #[must_use]
    pub fn nearest_plan(&self, text: &str) -> Option<&PlanId> {
        let offered = self.plans.iter().filter(|plan| !plan.retired);
        nearest(text, offered.map(|plan| &plan.id), PlanId::as_str)
    }

    /// The shares of credit that cause a notice of an org when crossed, in order, and who says so: the org, its plan, or
    /// the catalog for all.
    #[must_use]
    pub fn thresholds<'a>(&'a self, org: &'a Org, plan: Option<&'a Plan>) -> (&'a [u8], ThresholdsFrom) {
        let of_plan = plan.and_then(|plan| plan.notices.as_ref()).map(|notices| &*notices.thresholds);
        match (&org.thresholds, of_plan) {
            (Some(own), _) => (own, ThresholdsFrom::Org),
            (None, Some(of_plan)) => (of_plan, ThresholdsFrom::Plan),
            (None, None) => (&self.notices.thresholds, ThresholdsFrom::Catalog),
        }
    }

    /// The mappings of events of a type.
    pub fn events_of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a EventMapping> + 'a {
        self.events.iter().filter(move |event| event.r#type == kind)
    }

    fn check(&self) -> Faults {
        let mut faults = Faults::default();
        faults.note(Place::Whole, count("meters", self.meters.len(), CATALOG_METERS_MAX));
        faults.note(Place::Whole, count("plans", self.plans.len(), CATALOG_PLANS_MAX));
        if !self.notices.are_shares() {
            let says = "notices.thresholds: each must be between 1 and 100".to_owned();
            faults.note(Place::Whole, Err(CatalogError(says)));
        }
        let twice = |list: &str, id: &str| Err(CatalogError(format!("{list}: '{id}' appears twice")));
        for (index, id) in repeated(self.meters.iter().map(|meter| meter.id.as_str())) {
            faults.note(Place::Meter(index), twice("meters", id));
        }
        for (index, id) in repeated(self.plans.iter().map(|plan| plan.id.as_str())) {
            faults.note(Place::Plan(index), twice("plans", id));
        }
        for (index, meter) in self.meters.iter().enumerate() {
            faults.note(Place::Meter(index), meter.check());
        }
        if self.models.len() > CATALOG_MODELS_MAX {
            let says = format!("models: there may be at most {CATALOG_MODELS_MAX}");
            faults.note(Place::Whole, Err(CatalogError(says)));
        }
        for (_, id) in repeated(self.models.iter().map(|model| model.id.as_str())) {
            faults.note(Place::Whole, twice("models", id));
        }
        for model in &self.models {
            faults.note(Place::Whole, model.check());
        }
        faults.note(Place::Whole, self.check_model_prices());
        let sinks = self.meters.iter().filter_map(|meter| meter.sink.as_ref());
        let sinks: Vec<String> = sinks.map(|sku| format!("{:?} by {:?}", sku.product, sku.unit)).collect();
        faults.note(Place::Whole, unique("meters: sink", sinks.iter().map(String::as_str)));
        faults.note(Place::Whole, self.check_compat());
        events::check(&self.events, |meter| self.meter(meter).is_some(), &mut faults);
        for (index, plan) in self.plans.iter().enumerate() {
            if faults.is_full() {
                break;
            }
            self.check_plan(index, plan, &mut faults);
        }
        faults
    }

    fn check_plan(&self, index: usize, plan: &Plan, faults: &mut Faults) {
        let place = format!("plan '{}'", plan.id);
        let mut note = |checked| faults.note(Place::Plan(index), checked);
        let refuse = |is_wrong: bool, says: &str| {
            if is_wrong { Err(CatalogError(format!("{place}: {says}"))) } else { Ok(()) }
        };
        note(text_line(&place, "name", &plan.name));
        note(refuse(plan.trial_days == Some(0), "trial_days must be at least 1"));
        note(refuse(
            plan.notices.as_ref().is_some_and(|notices| !notices.are_shares()),
            "notices.thresholds: each must be between 1 and 100",
        ));
        let meters = plan
            .allowances
            .iter()
            .map(|allowance| &allowance.meter)
            .chain(plan.limits.iter().map(|limit| &limit.meter));
        // To say which meter may have been meant takes long.
        let unknown = meters.filter(|meter| self.meter(meter).is_none()).take(CATALOG_FAULTS_MAX + 1);
        for meter in unknown {
            note(Err(CatalogError(format!("{place}: {}", self.unknown_meter(meter)))));
        }
        note(unique(
            &format!("{place}: allowances"),
            plan.allowances.iter().map(|allowance| allowance.meter.as_str()),
        ));
        let limits: Vec<_> = plan
            .limits
            .iter()
            .map(|limit| {
                let path = limit.path.as_ref().map(ToString::to_string).unwrap_or_default();
                format!("{} {:?} {path} {}", limit.meter, limit.scope, limit.window)
            })
            .collect();
        note(unique(&format!("{place}: limits"), limits.iter().map(String::as_str)));
        plan.allowances.iter().for_each(|allowance| note(self.check_allowance(&place, allowance)));
        plan.limits.iter().for_each(|limit| note(self.check_limit(&place, limit)));
        note(refuse(
            plan.allowances.iter().any(|allowance| allowance.amount < Amount::ZERO),
            "an allowance must not be negative",
        ));
        note(refuse(
            plan.limits.iter().any(|limit| limit.amount < Amount::from_whole(1)),
            "a limit must be at least 1",
        ));
        check::prices(self, index, plan, faults);
    }

    /// That a meter is not in the catalog, and which one may have been meant.
    fn unknown_meter(&self, id: &MeterId) -> String {
        let meant = self.nearest_meter(id.as_str()).map(|near| format!("; did you mean '{near}'?"));
        format!("meter '{id}' is not in the catalog{}", meant.unwrap_or_default())
    }

    /// Limits on paths name them. Windows that go by usage forget it bit by bit, which only a sum survives.
    fn check_limit(&self, place: &str, limit: &PlanLimit) -> Result<(), CatalogError> {
        let PlanLimit { meter, scope, path, window, .. } = limit;
        if (*scope == PlanLimitScope::Path) != path.is_some() {
            return Err(CatalogError(format!(
                "{place}: a limit with scope = \"path\" needs a path, such as \"research\" or \"*\", and no other may have one"
            )));
        }
        match self.meter(meter).map(|meter| &meter.aggregation) {
            Some(aggregation) if window.moves() && !aggregation.adds_up() => Err(CatalogError(format!(
                "{place}: a limit of '{meter}' cannot go by '{window}': aggregation = \"{}\" does not add up; use a \
                 window of the calendar",
                aggregation.name()
            ))),
            _ => Ok(()),
        }
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
        MeterRules::of(Some(self), meter).allowance.as_ref()
    }
}

impl PlanLimit {
    /// The same as an org would set it.
    pub(crate) fn as_of_org(&self) -> Limit {
        let scope = match self.scope {
            PlanLimitScope::Org => LimitScope::Org,
            PlanLimitScope::User => LimitScope::EachUser,
            // No catalog without the path passes its check.
            PlanLimitScope::Path => LimitScope::Path(self.path.clone().unwrap_or(LimitPath::Each(None))),
        };
        Limit { meter: self.meter.clone(), scope, window: self.window, amount: self.amount }
    }
}

fn count(list: &str, items: usize, max: usize) -> Result<(), CatalogError> {
    if (1..=max).contains(&items) {
        return Ok(());
    }
    Err(CatalogError(format!("{list}: between 1 and {max} are needed")))
}

//! The org: who it is, what it bought, which limits it set.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::limits::FORMER_PLANS_KEPT;
use crate::{Amount, MeterId, OrgId, Period, PlanId, UserId, Window, Zone};

/// The paying organization.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Org {
    /// Its id.
    pub id: OrgId,
    /// A name for people.
    pub name: Option<String>,
    /// The zone of its calendar.
    pub zone: Zone,
    /// What its caller keeps with it for itself.
    pub metadata: BTreeMap<String, String>,
    /// The plan in force.
    pub plan: Option<PlanState>,
    /// The plans before it, oldest first: a past month is billed by the plan at its end. A few are kept.
    pub former_plans: Vec<PlanState>,
    /// How many bills of it are closed: the number of the latest.
    pub bills: u32,
    /// The number of the latest month with a closed bill.
    pub billed_until: Option<i32>,
    /// Its trial, running or over; an org has one at most, ever.
    pub trial: Option<Trial>,
    /// The limits it set itself; those of its plan are in the catalog.
    pub limits: Vec<Limit>,
    /// The number of the latest shipment with lines of it that was taken off what is unsent, zero before the first.
    pub settled: u64,
    /// The number of its latest entry, zero before the first: every change of anything of the org moves it.
    pub version: u64,
    /// When it was first heard of.
    #[serde(with = "crate::instant")]
    pub created_at: Timestamp,
}

/// Which plan, since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanState {
    /// The plan.
    pub id: PlanId,
    /// When it was set.
    #[serde(with = "crate::instant")]
    pub since: Timestamp,
}

/// A trial of an org.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// When it started.
    #[serde(with = "crate::instant")]
    pub started_at: Timestamp,
    /// First moment at which it is over.
    #[serde(with = "crate::instant")]
    pub ends_at: Timestamp,
    /// Whether its nearing end was noticed.
    pub ending_noticed: bool,
    /// Whether its end was noticed.
    pub ended_noticed: bool,
}

/// A cap on a counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// What is capped.
    pub meter: MeterId,
    /// Whose usage is capped.
    pub scope: LimitScope,
    /// Over which stretch of time.
    pub window: Window,
    /// How much may be used in it.
    pub amount: Amount,
}

/// Whose usage a limit caps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LimitScope {
    /// All usage of the org together.
    Org,
    /// That of each user by itself.
    EachUser,
    /// That of one user, in place of the number for each user of the same meter and window.
    User(UserId),
}

impl Org {
    /// An org nobody has heard of before.
    #[must_use]
    pub const fn new(id: OrgId, created_at: Timestamp) -> Self {
        Self {
            id,
            name: None,
            zone: Zone::UTC,
            metadata: BTreeMap::new(),
            plan: None,
            former_plans: Vec::new(),
            bills: 0,
            billed_until: None,
            trial: None,
            limits: Vec::new(),
            settled: 0,
            version: 0,
            created_at,
        }
    }

    /// The plan that a month is billed by: the one in force at its end, or now if it runs.
    #[must_use]
    pub fn plan_in(&self, month: Period) -> Option<&PlanState> {
        let end = self.zone.bounds(month).1;
        let begun = |plan: &&PlanState| end.is_none_or(|end| plan.since < end);
        self.plan.as_ref().filter(begun).or_else(|| self.former_plans.iter().rev().find(begun))
    }

    /// The plans that a catalog must not remove: those it has or will have.
    pub fn plans_in_use(&self) -> impl Iterator<Item = &PlanId> {
        self.plan.iter().map(|plan| &plan.id)
    }

    /// Sets the plan, and remembers the one before.
    pub(crate) fn set_plan(&mut self, plan: PlanState) {
        if let Some(before) = self.plan.replace(plan) {
            self.former_plans.push(before);
        }
        if self.former_plans.len() > FORMER_PLANS_KEPT {
            self.former_plans.remove(0);
        }
    }

    /// The number its next entry gets.
    #[must_use]
    pub const fn next_entry(&self) -> u64 {
        self.version + 1
    }
}

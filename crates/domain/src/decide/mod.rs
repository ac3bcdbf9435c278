//! Decisions: a command, the state and the time in; an answer and the entry that makes it true out.
//!
//! The order of the checks of a usage is the order of the variants of [`Denial`].

mod channel;
mod closing;
mod config;
mod credit;
mod hold;
mod limits;
mod outcome;
mod plan;
mod record;
mod reversal;
pub(crate) mod settle;
mod shipment;
mod system;
mod top_up;
mod usage;
mod void;

pub(crate) use credit::Credit;
pub(crate) use limits::{InForce, limits_in_force, limits_on_paths};
pub(crate) use usage::gate;

pub use closing::first_to_bill;
pub use limits::{GivenLimit, given_limits};
pub use outcome::{
    Allowed, CapturedHold, Changed, Checked, CloseDenial, Closed, ConfigDenial, Denial, Denied, EndedHold,
    HoldDenial, HoldRefused, OrgDecision, Outcome, Policies, Policy, PolicyScope, ReachedLimit, RecordDenial,
    Recorded, ReversalDenial, Reversed, TakenHold, ToppedUp, Voided,
};
pub use system::{SystemDenial, SystemOutcome, decide_system, read_by_system};

use std::collections::BTreeMap;

use crate::apply::touch;
use crate::catalog::Plan;
use crate::moment::{Moment, Moments};
use crate::{
    Actor, Catalog, Check, Entry, EntryKind, MeterId, Notice, Org, OrgCommand, OrgState, Quantity, ScopePath,
    Timestamp, Use, UserId, Wants,
};

/// What is asked for: a usage, but for what tells it from others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) user: Option<&'a UserId>,
    pub(crate) path: Option<&'a ScopePath>,
    pub(crate) meter: &'a MeterId,
    pub(crate) quantity: Quantity,
    pub(crate) properties: &'a BTreeMap<String, String>,
}

impl<'a> From<&'a Use> for Ask<'a> {
    fn from(usage: &'a Use) -> Self {
        let Use { user, path, meter, quantity, properties, .. } = usage;
        Self { user: user.as_ref(), path: path.as_ref(), meter, quantity: *quantity, properties }
    }
}

impl<'a> From<&'a Check> for Ask<'a> {
    fn from(check: &'a Check) -> Self {
        let Check { user, path, meter, quantity, properties } = check;
        Self { user: user.as_ref(), path: path.as_ref(), meter, quantity: *quantity, properties }
    }
}

/// What a decision goes by besides the state.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The catalog in force.
    pub catalog: &'a Catalog,
    /// Its version.
    pub catalog_version: u32,
    /// Since when it has been in force.
    pub catalog_since: Timestamp,
    /// The server's time, as seen from every zone.
    pub moments: &'a Moments,
    /// How long a key is remembered, in seconds.
    pub key_keep_secs: i64,
    /// Who asks.
    pub actor: &'a Actor,
}

impl<'a> Context<'a> {
    /// The server's time.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.moments.at()
    }

    /// The plan of an org that a moment lies under, as the catalog has it.
    pub(crate) fn plan_in(&self, org: &Org, moment: &Moment) -> Option<&'a Plan> {
        self.catalog.plan(org.plans.numbered(moment.plan)?.plan.as_ref()?)
    }

    /// The plan of an org in force now, as the catalog has it.
    pub(crate) fn plan_of(&self, org: &Org) -> Option<&'a Plan> {
        self.catalog.plan(org.plans.in_force(self.at())?.plan.as_ref()?)
    }

    /// Whether a key seen at a time is still remembered.
    pub(crate) fn remembers(&self, seen_at: Timestamp) -> bool {
        seen_at.as_second().saturating_add(self.key_keep_secs) > self.at().as_second()
    }

    /// The server's time, as an org sees it.
    pub(crate) fn now_of(&self, org: &Org) -> Moment {
        let plan = org.plans.in_force(self.at()).map_or(0, |change| change.number);
        Moment { plan, ..self.moments.in_zone(&org.zone) }
    }

    /// The moment a record is counted at: its own, or the server's if it names none.
    pub(crate) fn moment_of(&self, org: &Org, usage: &Use) -> Moment {
        self.moment_at(org, usage.occurred_at.unwrap_or_else(|| self.at()))
    }

    /// A moment, as an org sees it.
    pub(crate) fn moment_at(&self, org: &Org, at: Timestamp) -> Moment {
        let plan = org.plans.at(at).map_or(0, |change| change.number);
        Moment { plan, ..self.moments.other_in_zone(&org.zone, at) }
    }

    fn entry(&self, org: Option<&Org>, kind: EntryKind, notices: Vec<Notice>) -> Entry {
        let number = org.map_or(1, Org::next_entry);
        let (at, actor, catalog) = (self.at(), self.actor.clone(), self.catalog_version);
        Entry { number, at, actor, catalog, kind, settled: Vec::new(), notices }
    }
}

/// Answers a command of one org.
///
/// Pure: nothing is changed. Apply the entry of the outcome with [`crate::apply`] before the next decision on the same
/// org: all that it changes is loaded then.
///
/// # Errors
/// The parts that the decision lacked: load them, and decide again.
pub fn decide(state: &OrgState, context: &Context<'_>, command: &OrgCommand) -> Result<Outcome, Wants> {
    state.ask(|state| {
        let outcome = outcome(state, context, command);
        if let Some(entry) = &outcome.entry {
            touch(state, entry);
        }
        outcome
    })
}

/// The same where the state is complete.
pub(crate) fn outcome(state: &OrgState, context: &Context<'_>, command: &OrgCommand) -> Outcome {
    match command {
        OrgCommand::Use(usage) => usage::decide_use(state, context, usage),
        OrgCommand::Record(usage) => record::decide_record(state, context, usage),
        OrgCommand::Check(check) => usage::decide_check(state, context, check),
        OrgCommand::Hold(take) => hold::decide_hold(state, context, take),
        OrgCommand::Capture(capture) => hold::decide_capture(state, context, capture),
        OrgCommand::Release(number) => hold::decide_release(state, context, *number),
        OrgCommand::Expire => hold::decide_expire(state, context),
        OrgCommand::Reverse(reverse) => reversal::decide_reverse(state, context, reverse),
        OrgCommand::Put(put) => config::decide_put(state, context, put),
        OrgCommand::Welcome(welcome) => config::decide_welcome(state, context, welcome),
        OrgCommand::SetPlan(set) => plan::decide_plan(state, context, set),
        OrgCommand::CallOffPlan => plan::decide_call_off(state, context),
        OrgCommand::SetLimit(set) => config::decide_limit(state, context, set),
        OrgCommand::SetThresholds(set) => config::decide_thresholds(state, context, set.as_ref()),
        OrgCommand::TopUp(top_up) => top_up::decide_top_up(state, context, top_up),
        OrgCommand::Void(void) => void::decide_void(state, context, void),
        OrgCommand::CloseMonth(close) => closing::decide_close(state, context, *close),
        OrgCommand::Settle(settle) => shipment::decide_settle(state, context, settle),
        OrgCommand::TellBudget(tell) => config::decide_tell_budget(state, context, tell),
    }
}

//! Setting what an org is and may.

use tollgate_domain::{
    Changed, ConfigDenial, MeterId, OrgCommand, OrgDecision, PlanId, PutOrg, SetLimit, TopUp, ToppedUp,
    Welcome,
};

use super::totals::{aggregation, burns};
use super::{History, Now};

impl Now<'_> {
    pub(super) fn put(&self, put: &PutOrg) -> (OrgDecision, bool) {
        let history = self.history();
        let same_name =
            |history: &History<'_>| put.name.as_ref().is_none_or(|name| name.as_deref() == history.name);
        let same_zone =
            |history: &History<'_>| put.zone.as_ref().is_none_or(|zone| zone.name() == history.zone.name());
        let same_metadata = |history: &History<'_>| {
            let kept = history.metadata.cloned().unwrap_or_default();
            put.metadata.as_ref().is_none_or(|metadata| *metadata == kept)
        };
        let changes = history
            .is_none_or(|history| !same_name(&history) || !same_zone(&history) || !same_metadata(&history));
        self.changed(changes, false)
    }

    pub(super) fn welcome(&self, welcome: &Welcome) -> (OrgDecision, bool) {
        match &welcome.plan {
            _ if !self.facts.is_empty() => self.changed(false, false),
            Some(plan) => self.set_plan(plan),
            None => self.changed(true, false),
        }
    }

    pub(super) fn set_plan(&self, id: &PlanId) -> (OrgDecision, bool) {
        let history = self.history();
        let Some(plan) = self.catalog.plans.iter().find(|plan| plan.id == *id) else {
            return refused(ConfigDenial::UnknownPlan(id.clone()));
        };
        if history.as_ref().is_some_and(|history| history.plan == Some(id)) {
            return self.changed(false, plan.deprecated);
        }
        if plan.retired {
            return refused(ConfigDenial::PlanRetired(id.clone()));
        }
        let had_trial = history.is_some_and(|history| history.trial.is_some());
        if plan.trial_days.is_some() && had_trial {
            return refused(ConfigDenial::TrialUsed);
        }
        self.changed(true, plan.deprecated)
    }

    /// A shipment is settled once, and never after a later one.
    pub(super) fn settle(&self, shipment: u64) -> (OrgDecision, bool) {
        if self.facts.is_empty() {
            return refused(ConfigDenial::UnknownOrg);
        }
        let settled = self.facts.iter().filter_map(|fact| match &fact.command {
            Some(OrgCommand::Settle(settle)) => Some(settle.shipment),
            _ => None,
        });
        self.changed(settled.max().is_none_or(|latest| latest < shipment), false)
    }

    pub(super) fn set_limit(&self, set: &SetLimit) -> (OrgDecision, bool) {
        if !self.knows_meter(&set.meter) {
            return refused(ConfigDenial::UnknownMeter);
        }
        let Some(history) = self.history() else { return refused(ConfigDenial::UnknownOrg) };
        let known = history.limits.get(&(&set.meter, set.scope.clone(), set.window)).copied();
        self.changed(known != set.amount, false)
    }

    pub(super) fn top_up(&self, top_up: &TopUp) -> (OrgDecision, bool) {
        let result = match self.known_top_up(top_up) {
            Some(answer) => answer,
            None => self.new_top_up(top_up),
        };
        let accepted = matches!(&result, Ok(topped_up) if !topped_up.replayed);
        (OrgDecision::TopUp(result), accepted)
    }

    /// The answer to a top-up whose key was seen.
    fn known_top_up(&self, top_up: &TopUp) -> Option<Result<ToppedUp, ConfigDenial>> {
        let key = top_up.key.as_ref()?;
        let history = self.history()?;
        let known = history.grants.iter().rev().find(|grant| grant.top_up.key.as_ref() == Some(key))?;
        if !self.remembers(known.at) {
            return None;
        }
        let same = known.top_up.meter == top_up.meter
            && known.top_up.amount == top_up.amount
            && known.top_up.priority == top_up.priority
            && known.top_up.expiry == top_up.expiry
            && known.top_up.effective_at == top_up.effective_at;
        if !same {
            return Some(Err(ConfigDenial::KeyReused));
        }
        let fact = self.facts.iter().find(|fact| fact.entry == known.entry)?;
        let then = self.history_until(known.entry);
        let standing = then.standing(&fact.catalog, fact.at, &top_up.meter, None)?;
        Some(Ok(ToppedUp { entry: known.entry, replayed: true, standing, expires_at: None }))
    }

    fn new_top_up(&self, top_up: &TopUp) -> Result<ToppedUp, ConfigDenial> {
        if !self.knows_meter(&top_up.meter) {
            return Err(ConfigDenial::UnknownMeter);
        }
        if !burns(&aggregation(self.catalog, &top_up.meter)) {
            return Err(ConfigDenial::MeterWithoutCredit);
        }
        let command = OrgCommand::TopUp(top_up.clone());
        let Some(mut history) = self.history() else { return Err(ConfigDenial::UnknownOrg) };
        if history.plan_in(self.catalog).is_none() {
            return Err(ConfigDenial::NoPlan);
        }
        if self.trial_is_over(&history, &top_up.meter) {
            return Err(ConfigDenial::TrialEnded);
        }
        let (from, expires_at) = history.stretch(self.at, top_up);
        if expires_at.is_some_and(|until| until <= from) {
            return Err(ConfigDenial::ExpiryPassed);
        }
        history.follow(self.entry, self.at, self.catalog, &command);
        let standing = history.standing(self.catalog, self.at, &top_up.meter, None);
        let Some(standing) = standing else { return Err(ConfigDenial::NoPlan) };
        Ok(ToppedUp { entry: self.entry, replayed: false, standing, expires_at })
    }

    fn knows_meter(&self, id: &MeterId) -> bool {
        self.catalog.meters.iter().any(|meter| meter.id == *id)
    }

    fn changed(&self, changes: bool, deprecated: bool) -> (OrgDecision, bool) {
        (OrgDecision::Change(Ok(Changed { entry: changes.then_some(self.entry), deprecated })), changes)
    }
}

const fn refused(denial: ConfigDenial) -> (OrgDecision, bool) {
    (OrgDecision::Change(Err(denial)), false)
}

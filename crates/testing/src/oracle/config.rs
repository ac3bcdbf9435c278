//! Setting what an org is and may.

use jiff::{SignedDuration, Timestamp};
use tollgate_domain::catalog::Plan;
use tollgate_domain::{
    Changed, ConfigDenial, MeterId, OrgCommand, OrgDecision, PlanId, PlanTime, PutOrg, SetLimit, SetPlan,
    TopUp, TopUpStart, ToppedUp, UsageKey, Void, Voided, Welcome, Window, Zone,
};

use super::totals::{aggregation, burns};
use super::{Fact, History, Look, Now};

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
            Some(plan) => self.set_plan(&SetPlan::now(plan.clone())),
            None => self.changed(true, false),
        }
    }

    pub(super) fn set_plan(&self, set: &SetPlan) -> (OrgDecision, bool) {
        let history = self.history();
        let mut deprecated = false;
        if let Some(id) = &set.plan {
            let Some(plan) = self.plan(id) else { return refused(ConfigDenial::UnknownPlan(id.clone())) };
            deprecated = plan.deprecated;
        } else if history.is_none() {
            return refused(ConfigDenial::UnknownOrg);
        }
        let since = match &history {
            Some(history) => history.takes_effect(self.at, set.from),
            None => self.calendar.takes_effect(&Zone::UTC, self.at, set.from),
        };
        let Some(since) = since.filter(|since| *since >= self.at) else {
            return refused(ConfigDenial::PlanInPast);
        };
        if let Some(history) = &history {
            let pending = history.pending(self.at);
            if history.plan_at(self.at, Look::Gate) == set.plan.as_ref() {
                return self.changed(pending.is_some(), deprecated);
            }
            if pending.is_some_and(|(plan, from)| plan == set.plan.as_ref() && from == since) {
                return self.changed(false, deprecated);
            }
        }
        let Some(plan) = set.plan.as_ref().and_then(|id| self.plan(id)) else {
            return self.changed(true, deprecated);
        };
        if plan.retired {
            return refused(ConfigDenial::PlanRetired(plan.id.clone()));
        }
        if plan.trial_days.is_some() {
            if history.as_ref().is_some_and(|history| history.trial.is_some()) {
                return refused(ConfigDenial::TrialUsed);
            }
            if set.from != PlanTime::Now {
                return refused(ConfigDenial::TrialScheduled);
            }
        }
        match history.and_then(|history| self.other_currency(&history, plan, since)) {
            Some(denial) => refused(denial),
            None => self.changed(true, deprecated),
        }
    }

    /// A plan with prices that was in force, or will be, for some moment of the month before a change to one in another
    /// currency.
    fn other_currency(&self, history: &History<'_>, plan: &Plan, since: Timestamp) -> Option<ConfigDenial> {
        let currency = |plan: &Plan| plan.currency.unwrap_or(self.catalog.currency);
        let begun = history
            .plans
            .iter()
            .filter(|setting| !setting.off && (setting.at_once || setting.since <= self.at));
        let begun: Vec<_> = begun.collect();
        let month = self.calendar.label(&history.zone, Window::Month, since);
        for (place, setting) in begun.iter().enumerate() {
            let last = begun.get(place + 1).map_or(since, |next| next.since);
            // The last moment at which it is in force before the change.
            let Ok(last) = last.checked_sub(SignedDuration::from_nanos(1)) else { continue };
            let reaches =
                last >= setting.since && self.calendar.label(&history.zone, Window::Month, last) == month;
            let known = setting.plan.and_then(|id| self.plan(id)).filter(|plan| !plan.prices.is_empty());
            if let Some(known) =
                known.filter(|known| reaches && !plan.prices.is_empty() && currency(known) != currency(plan))
            {
                return Some(ConfigDenial::CurrencyChange { from: currency(known), to: currency(plan) });
            }
        }
        None
    }

    fn plan(&self, id: &PlanId) -> Option<&Plan> {
        self.catalog.plans.iter().find(|plan| plan.id == *id)
    }

    pub(super) fn call_off(&self) -> (OrgDecision, bool) {
        match self.history() {
            None => refused(ConfigDenial::UnknownOrg),
            Some(history) => self.changed(history.pending(self.at).is_some(), false),
        }
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
        let forgets = matches!(set.window, Window::Rolling(_) | Window::FirstUse(_));
        if set.amount.is_some() && forgets && !burns(&aggregation(self.catalog, &set.meter)) {
            return refused(ConfigDenial::MeterWithoutSum);
        }
        let Some(history) = self.history() else { return refused(ConfigDenial::UnknownOrg) };
        let known = history.limits.get(&(&set.meter, set.scope.clone(), set.window)).copied();
        self.changed(known != set.amount, false)
    }

    pub(super) fn set_thresholds(&self, set: Option<&Vec<u8>>) -> (OrgDecision, bool) {
        match self.history() {
            None => refused(ConfigDenial::UnknownOrg),
            Some(history) => self.changed(history.thresholds != set, false),
        }
    }

    pub(super) fn top_up(&self, top_up: &TopUp) -> (OrgDecision, bool) {
        let result = match self.known_top_up(top_up) {
            Some(answer) => answer,
            None => self.new_top_up(top_up),
        };
        let accepted = matches!(&result, Ok(topped_up) if !topped_up.replayed);
        (OrgDecision::TopUp(result.map(Box::new)), accepted)
    }

    /// The answer to a top-up whose key was seen.
    fn known_top_up(&self, top_up: &TopUp) -> Option<Result<ToppedUp, ConfigDenial>> {
        let key = top_up.key.as_ref()?;
        let history = self.history()?;
        let latest = self.last_with_key(key).filter(|latest| self.remembers(latest.at))?;
        let known = history.grants.iter().rev().find(|grant| grant.top_up.key.as_ref() == Some(key));
        let Some(known) = known.filter(|known| known.entry == latest.entry) else {
            return Some(Err(ConfigDenial::KeyReused));
        };
        let same = known.top_up.meter == top_up.meter
            && known.top_up.amount == top_up.amount
            && known.top_up.priority == top_up.priority
            && known.top_up.expiry == top_up.expiry
            && start_of(known.top_up) == start_of(top_up);
        if !same {
            return Some(Err(ConfigDenial::KeyReused));
        }
        let fact = self.facts.iter().find(|fact| fact.entry == known.entry)?;
        let then = self.history_until(known.entry);
        let standing = then.standing(&fact.catalog, fact.at, &top_up.meter, None)?;
        Some(Ok(ToppedUp { entry: known.entry, replayed: true, standing, expires_at: known.until }))
    }

    /// The last top-up or correction with a key.
    fn last_with_key(&self, key: &UsageKey) -> Option<&Fact> {
        self.facts.iter().rev().find(|fact| match &fact.command {
            Some(OrgCommand::TopUp(top_up)) => top_up.key.as_ref() == Some(key),
            Some(OrgCommand::Void(void)) => void.key.as_ref() == Some(key),
            _ => false,
        })
    }

    pub(super) fn void(&self, void: &Void) -> (OrgDecision, bool) {
        let result = self.try_void(void);
        let accepted = matches!(&result, Ok(voided) if !voided.replayed);
        (OrgDecision::Void(result.map(Box::new)), accepted)
    }

    fn try_void(&self, void: &Void) -> Result<Voided, ConfigDenial> {
        let known = void.key.as_ref().and_then(|key| self.last_with_key(key));
        if let Some(known) = known.filter(|known| self.remembers(known.at)) {
            return match &known.command {
                Some(OrgCommand::Void(before))
                    if before.target == void.target && before.amount == void.amount =>
                {
                    let (then, before) =
                        (self.history_until(known.entry - 1), self.history_until(known.entry));
                    let (mut then, at) = (then, known.at);
                    let (meter, parts) = then.unused_parts(at, &known.catalog, void)?;
                    let standing = before.standing_on_any_plan(&known.catalog, at, meter, None, Look::Gate);
                    let amount = super::sum(parts.iter().map(|(_, amount)| *amount));
                    Ok(Voided { entry: Some(known.entry), replayed: true, amount, standing })
                }
                _ => Err(ConfigDenial::KeyReused),
            };
        }
        let Some((mut history, mut after)) = self.history().zip(self.history()) else {
            return Err(ConfigDenial::UnknownOrg);
        };
        let (meter, parts) = history.unused_parts(self.at, self.catalog, void)?;
        let command = OrgCommand::Void(void.clone());
        after.follow(self.entry, self.at, self.catalog, &command);
        let standing = after.standing_on_any_plan(self.catalog, self.at, meter, None, Look::Gate);
        let amount = super::sum(parts.iter().map(|(_, amount)| *amount));
        let nothing = parts.is_empty() && history.closes(self.at, void).is_none();
        Ok(Voided { entry: (!nothing).then_some(self.entry), replayed: nothing, amount, standing })
    }

    fn trial_time_is_over(&self, history: &History<'_>) -> bool {
        let plan = history.plan_in(self.catalog, self.at, Look::Gate);
        plan.is_some_and(|plan| plan.trial_days.is_some())
            && history.trial.is_none_or(|(_, end)| self.at >= end)
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
        if history.plan_in(self.catalog, self.at, Look::Gate).is_none() {
            return Err(ConfigDenial::NoPlan);
        }
        if self.trial_time_is_over(&history) {
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

/// What tells the starts of two top-ups apart.
const fn start_of(top_up: &TopUp) -> (Option<Timestamp>, Option<i32>) {
    match top_up.start {
        TopUpStart::Now => (None, None),
        TopUpStart::At { at, .. } => (Some(at), None),
        TopUpStart::Day(day) => (None, Some(day)),
    }
}

const fn refused(denial: ConfigDenial) -> (OrgDecision, bool) {
    (OrgDecision::Change(Err(denial)), false)
}

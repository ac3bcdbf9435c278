//! Use and check.

use jiff::Timestamp;
use tollgate_domain::catalog::Enforcement;
use tollgate_domain::{
    Allowed, Amount, Check, Checked, Denial, Denied, MeterId, OrgCommand, OrgDecision, Policies, Policy,
    PolicyScope, ReachedLimit, RecordDenial, Recorded, ScopePath, UsageKey, Use, UserId, Window,
};

use super::plans::{LimitOn, Whose};
use super::totals::{quantity, refused_property};
use super::{History, Look, Now, Pot, PotInForce};

/// Who asks for how much of what.
pub(super) struct Ask<'a> {
    pub(super) user: Option<&'a UserId>,
    pub(super) path: Option<&'a ScopePath>,
    pub(super) meter: &'a MeterId,
    pub(super) quantity: Amount,
}

impl Now<'_> {
    pub(super) fn decide_use(&self, usage: &Use) -> (OrgDecision, bool) {
        if let Some(answer) = self.known_key(usage) {
            return (OrgDecision::Use(answer.map(Box::new).map_err(Box::new)), false);
        }
        let result = self.try_use(usage, self.entry);
        let accepted = result.is_ok();
        (OrgDecision::Use(result.map(Box::new).map_err(Box::new)), accepted)
    }

    /// What has been used is counted, whatever is left.
    pub(super) fn decide_record(&self, usage: &Use) -> (OrgDecision, bool) {
        let known = self.known_key(usage);
        let property = refused_property(self.catalog, usage);
        let accepted =
            known.is_none() && !self.facts.is_empty() && self.knows(&usage.meter) && property.is_none();
        let result = match known.map(|answer| answer.map_err(|denied| denied.denial)) {
            Some(Ok(allowed)) => {
                let at = self.last_made(&usage.key).map_or(self.at, |known| known.at);
                Ok(Recorded { entry: allowed.entry, at, duplicate: true })
            }
            Some(Err(Denial::KeyReused)) => Err(RecordDenial::KeyReused),
            Some(Err(_)) => Err(RecordDenial::KeyReversed),
            None if accepted => Ok(Recorded { entry: self.entry, at: self.at, duplicate: false }),
            None if !self.knows(&usage.meter) => Err(RecordDenial::UnknownMeter),
            None => Err(property.map_or(RecordDenial::UnknownOrg, RecordDenial::UnknownProperty)),
        };
        (OrgDecision::Record(result), accepted)
    }

    pub(super) fn knows(&self, meter: &MeterId) -> bool {
        self.catalog.meters.iter().any(|known| known.id == *meter)
    }

    pub(super) fn decide_check(&self, check: &Check) -> OrgDecision {
        let Check { user, path, meter, quantity, properties } = check.clone();
        let result = match UsageKey::new("a check") {
            Ok(key) => {
                let usage = Use { user, path, meter, quantity, key, occurred_at: None, properties };
                self.try_use(&usage, 0)
            }
            Err(_) => Err(Denied { denial: Denial::KeyReused, standing: None }),
        };
        OrgDecision::Check(Box::new(Checked { result, steps: Vec::new() }))
    }

    /// The answer to a usage whose key was seen.
    fn known_key(&self, usage: &Use) -> Option<Result<Allowed, Denied>> {
        let known = self.last_made(&usage.key).filter(|known| self.remembers(known.at))?;
        // It may be that of a hold.
        let Some(before) = known.usage() else {
            return Some(Err(Denied { denial: Denial::KeyReused, standing: None }));
        };
        let same = before.user == usage.user
            && before.path == usage.path
            && before.meter == usage.meter
            && before.quantity == usage.quantity
            && before.properties == usage.properties;
        if !same {
            return Some(Err(Denied { denial: Denial::KeyReused, standing: None }));
        }
        if self.reversal(known, &usage.key).is_some() {
            return Some(Err(Denied { denial: Denial::KeyReversed, standing: None }));
        }
        let then = self.history_until(known.entry);
        let at = known.counted_at();
        let look = match &known.command {
            Some(OrgCommand::Record(_)) => Look::Record,
            _ => Look::Gate,
        };
        let standing = then.standing_on_any_plan(&known.catalog, at, &usage.meter, usage.user.as_ref(), look);
        Some(Ok(Allowed { entry: known.entry, replayed: true, standing, policies: Policies::new() }))
    }

    fn try_use(&self, usage: &Use, entry: u64) -> Result<Allowed, Denied> {
        let refuse = |denial| Err(Denied { denial, standing: None });
        let ask = Ask {
            user: usage.user.as_ref(),
            path: usage.path.as_ref(),
            meter: &usage.meter,
            quantity: quantity(self.catalog, usage),
        };
        if !self.knows(&usage.meter) {
            return refuse(Denial::UnknownMeter);
        }
        if let Some(name) = refused_property(self.catalog, usage) {
            return refuse(Denial::UnknownProperty(name));
        }
        let command = OrgCommand::Use(usage.clone());
        let Some((mut history, mut after)) = self.history().zip(self.history()) else {
            return refuse(Denial::UnknownOrg);
        };
        history.pay(self.at, self.catalog, ask.meter);
        let Some(standing) = history.standing(self.catalog, self.at, ask.meter, ask.user) else {
            return refuse(Denial::NoPlan);
        };
        after.follow(self.entry, self.at, self.catalog, &command);
        if let Some(denial) = self.refusal(&history, Some(&after), &ask) {
            return Err(Denied { denial, standing: Some(standing) });
        }
        let Some(standing) = after.standing(self.catalog, self.at, ask.meter, ask.user) else {
            return refuse(Denial::NoPlan);
        };
        Ok(Allowed { entry, replayed: false, standing, policies: self.policies(&after, &ask) })
    }

    /// Why something is refused, from what is without it and what would be after it; of a hold there is no after: it is added.
    pub(super) fn refusal(
        &self,
        history: &History<'_>,
        after: Option<&History<'_>>,
        ask: &Ask<'_>,
    ) -> Option<Denial> {
        if self.trial_is_over(history, ask.meter) {
            return Some(Denial::TrialEnded);
        }
        if ask.user.is_none() && history.limits_users(self.catalog, self.at, ask.meter) {
            return Some(Denial::UserRequired);
        }
        let left = history.left(self.catalog, self.at, ask.meter);
        let covered = match history.enforcement(self.catalog, self.at, ask.meter, Look::Gate) {
            Enforcement::Hard => left >= ask.quantity,
            Enforcement::Overdraft => left > Amount::ZERO,
            Enforcement::Soft | Enforcement::None => true,
        };
        if !covered {
            let standing = history.standing(self.catalog, self.at, ask.meter, None)?;
            let month = !self.on_trial(history);
            return Some(Denial::OutOfCredit(ReachedLimit {
                user: None,
                path: None,
                window: month.then_some(Window::Month),
                amount: standing.granted,
                used: standing.used,
                held: standing.held,
                resets_at: if month { self.end_of(history, Window::Month) } else { None },
            }));
        }
        let limits = history.limits_on(self.catalog, self.at, ask.meter, (ask.user, ask.path), Look::Gate);
        limits.iter().find_map(|limit| self.reached((history, after), limit, ask, (self.at, Look::Gate)))
    }

    /// That a limit does not leave room, in the period that holds a moment.
    pub(super) fn reached(
        &self,
        (history, after): (&History<'_>, Option<&History<'_>>),
        limit: &LimitOn,
        ask: &Ask<'_>,
        (at, look): (Timestamp, Look),
    ) -> Option<Denial> {
        let (meter, quantity) = (ask.meter, ask.quantity);
        let (used, then, held, resets_at) = match limit.window.moves() {
            true => {
                let part = history.part_now((meter, &named_by(&limit.whose, ask)), limit.window, self.at);
                let look = |history: &History<'_>| history.running(meter, &limit.whose, limit.window, part);
                let before = look(history);
                let then = after.map_or(before.used + quantity, |after| look(after).used);
                let held = history.held_in(meter, &limit.whose, limit.window, None);
                (before.used, then, held, before.frees_at(then + held - limit.amount))
            }
            false => {
                let label = history.label(limit.window, at, look);
                let counted = |history: &History<'_>| history.counted_for(meter, &limit.whose, label);
                let used = counted(history);
                let held = history.held_in(meter, &limit.whose, limit.window, Some(label));
                let end = self.calendar.end(&history.zone, label.period().window, at);
                (used, after.map_or(used + quantity, counted), held, end)
            }
        };
        if then <= used || then + held <= limit.amount {
            return None;
        }
        let reached = ReachedLimit {
            user: limit.whose.user().cloned(),
            path: limit.whose.path().cloned(),
            window: Some(limit.window),
            amount: limit.amount,
            used,
            held,
            resets_at,
        };
        Some(match limit.whose {
            Whose::Org => Denial::OrgLimitReached(reached),
            Whose::Path(_) => Denial::PathLimitReached(reached),
            Whose::User(_) => Denial::UserLimitReached(reached),
        })
    }

    fn on_trial(&self, history: &History<'_>) -> bool {
        history.plan_in(self.catalog, self.at, Look::Gate).is_some_and(|plan| plan.trial_days.is_some())
    }

    /// A trial ends by time, or when the credit it gave on the meter is used up.
    pub(super) fn trial_is_over(&self, history: &History<'_>, meter: &MeterId) -> bool {
        if !self.on_trial(history) {
            return false;
        }
        if history.trial.is_none_or(|(_, end)| self.at >= end) {
            return true;
        }
        let asked = matches!(
            history.enforcement(self.catalog, self.at, meter, Look::Gate),
            Enforcement::Hard | Enforcement::Overdraft
        );
        let pots = history.pots(self.catalog, self.at, meter, Look::Gate);
        let given = pots.iter().any(|pot| pot.pot == Pot::Trial && pot.granted > Amount::ZERO);
        // What is held is not used.
        let unburned: Amount = pots.iter().map(PotInForce::unburned).sum();
        asked && given && unburned <= history.debt(meter)
    }

    fn end_of(&self, history: &History<'_>, window: Window) -> Option<tollgate_domain::Timestamp> {
        self.calendar.end(&history.zone, window, self.at)
    }

    /// The credit, then the limits that a usage went by, as they stand after it.
    pub(super) fn policies(&self, history: &History<'_>, ask: &Ask<'_>) -> Policies {
        let mut policies = Policies::new();
        let standing = history.standing(self.catalog, self.at, ask.meter, None);
        if let Some((amount, remaining)) =
            standing.and_then(|standing| Some((standing.granted, standing.remaining?)))
        {
            let resets_at = if self.on_trial(history) {
                let pots = history.pots(self.catalog, self.at, ask.meter, Look::Gate);
                pots.iter().find(|pot| pot.pot == Pot::Trial).and_then(|pot| pot.until)
            } else {
                self.end_of(history, Window::Month)
            };
            let remaining = if remaining < Amount::ZERO { Amount::ZERO } else { remaining };
            let scope = PolicyScope::Org;
            policies.push(Policy { scope, window: None, period: None, amount, remaining, resets_at });
        }
        for limit in history.limits_on(self.catalog, self.at, ask.meter, (ask.user, ask.path), Look::Gate) {
            let (used, held, period, resets_at) = match limit.window.moves() {
                true => {
                    let part =
                        history.part_now((ask.meter, &named_by(&limit.whose, ask)), limit.window, self.at);
                    let now = history.running(ask.meter, &limit.whose, limit.window, part);
                    let held = history.held_in(ask.meter, &limit.whose, limit.window, None);
                    (now.used, held, now.period, now.ends_at)
                }
                false => {
                    let label = history.label(limit.window, self.at, Look::Gate);
                    let used = history.counted_for(ask.meter, &limit.whose, label);
                    let held = history.held_in(ask.meter, &limit.whose, limit.window, Some(label));
                    (used, held, label.period(), self.end_of(history, label.period().window))
                }
            };
            policies.push(Policy {
                scope: match &limit.whose {
                    Whose::Org => PolicyScope::Org,
                    Whose::Path(path) => PolicyScope::Path(path.depth()),
                    Whose::User(_) => PolicyScope::User,
                },
                window: Some(limit.window),
                period: Some(period),
                amount: limit.amount,
                remaining: (limit.amount - used - held).at_least_zero(),
                resets_at,
            });
        }
        policies
    }
}

/// Whose part of time names a usage in a window of a limit: the user's and the org's have one name.
fn named_by(whose: &Whose, ask: &Ask<'_>) -> Whose {
    match whose {
        Whose::Path(_) => whose.clone(),
        Whose::Org | Whose::User(_) => ask.user.into(),
    }
}

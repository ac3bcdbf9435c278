//! Explanations: every check of a usage with the numbers it went by.

use std::borrow::Cow;

use crate::catalog::MeterRules;
use crate::counter::ScopeRef;
use crate::counting::{Motion, Move};
use crate::decide::settle::settled;
use crate::decide::{Ask, Context, Credit, InForce, gate, limits_in_force};
use crate::moving::Moves;
use crate::{Amount, Check, OrgState, Scope};

/// One check of a usage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which check.
    pub check: &'static str,
    /// Whether it lets the usage pass.
    pub passed: bool,
    /// The numbers it went by, for people.
    pub detail: String,
}

/// Lists the checks of a usage in their order, up to the first without which the next make no sense.
#[must_use]
pub fn explain(state: &OrgState, context: &Context<'_>, check: &Check) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut step = |check, passed, detail: String| {
        steps.push(Step { check, passed, detail });
        passed
    };
    let meter = &check.meter;
    let version = context.catalog_version;
    if !step(
        "meter",
        context.catalog.meter(meter).is_some(),
        format!("'{meter}' in catalog version {version}"),
    ) {
        return steps;
    }
    let Some(counted) = context.catalog.meter(meter) else { return steps };
    if let Some(name) = counted.refused_property(&check.properties) {
        step("properties", false, format!("'{meter}' does not declare '{name}'"));
        return steps;
    }
    let known = state.org();
    if !step("org", known.is_some(), format!("'{}'", state.id())) {
        return steps;
    }
    let Some(known) = known else { return steps };
    let plan = context.plan_of(known);
    if !step("plan", plan.is_some(), plan.map_or_else(|| "none set".to_owned(), |plan| plan.id.to_string())) {
        return steps;
    }
    let Some(plan) = plan else { return steps };
    let moment = context.now_of(known);
    let account = state.account(meter).map_or_else(Cow::default, Cow::Borrowed);
    let (account, _) = settled(context, known, meter, account);
    let month = state.counter(meter, &Scope::Org, moment.month);
    let rules = MeterRules::of(Some(plan), meter);
    let credit = Credit::new(known, meter, rules, &account, &moment, month);
    let gate = gate(state, context, &Ask::from(check));
    let code = gate.as_ref().err().map(|denied| denied.denial.code());
    if plan.trial_days.is_some() {
        let until = known
            .trial
            .as_ref()
            .map_or_else(|| "never begun".to_owned(), |trial| format!("until {}", trial.ends_at));
        step("trial", code != Some("trial_ended"), until);
    }
    let user = check.user.as_ref().map_or_else(|| "none given".to_owned(), ToString::to_string);
    step("user", code != Some("user_required"), user);
    let pots: Vec<_> = credit
        .pots
        .iter()
        .map(|pot| format!("{}: {} of {}", pot.source, pot.remaining(), pot.granted))
        .collect();
    let quantity = counted.counts(check.quantity).amount();
    let counting = counted.counting(check.user.as_ref(), &check.properties, moment.at);
    let usage = Move { counting: &counting, quantity, entry: known.next_entry(), motion: Motion::Count };
    let available = format!("{} left, {quantity} asked; {}", credit.available(), pots.join(", "));
    step("credit", credit.covers(quantity), available);
    for limit in limits_in_force(known, rules, meter, (check.user.as_ref(), check.path.as_ref())) {
        let user = check.user.as_ref().filter(|_| limit.is_on_users());
        let along = check.path.as_ref().zip(limit.path());
        let along = along.and_then(|(path, limit)| Some(path.first(limit.depth_in(path)?)));
        let counters = state.counters(meter, along.map_or_else(|| ScopeRef::of(user), ScopeRef::Path));
        let of_org = state.counters(meter, ScopeRef::Org);
        let tallies = match along {
            Some(_) => [counters.tally, None],
            None => [of_org.tally, user.and(counters.tally)],
        };
        let moves = Moves::now(&moment, tallies);
        let limit = InForce::load(&counters, known, (&moment, &moves), limit, Some(&usage));
        let passed = limit.passes();
        let whose = match limit.scope {
            ScopeRef::User(user) => format!("user '{user}'"),
            ScopeRef::Path(path) => format!("path '{path}'"),
            ScopeRef::Org | ScopeRef::Seen(_) => "org".to_owned(),
        };
        let (used, amount, window): (Amount, Amount, _) =
            (limit.used, limit.limit.amount, limit.limit.window.phrase());
        step("limit", passed, format!("{whose} {window}: {used} of {amount} used, {quantity} asked"));
    }
    steps
}

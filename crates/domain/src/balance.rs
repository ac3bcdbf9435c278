//! The balance of an org: what it has, what it used, what is left, per meter.

use std::borrow::Cow;

use crate::catalog::MeterRules;
use crate::counter::ScopeRef;
use crate::decide::settle::settled;
use crate::decide::{Context, Credit, InForce, limits_in_force, limits_on_paths};
use crate::moving::Moves;
use crate::state::Counters;
use crate::{
    Amount, Grant, Limit, LimitPath, LimitScope, MeterId, Moment, Org, OrgState, Pace, Scope, ScopePath,
    Source, Timestamp, UserId, Window, project,
};

/// The balance of an org.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    /// When it was looked at.
    pub at: Timestamp,
    /// A meter each, those of the plan first.
    pub meters: Vec<(MeterId, MeterBalance)>,
}

/// The balance of one meter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterBalance {
    /// The plan's allowance: of this month, or of the whole trial.
    pub allowance: Amount,
    /// Top-ups and prepaid pots in force.
    pub topped_up: Amount,
    /// Used of allowance and top-ups, and of an overdraft beyond them; with what is held and what remains it is all that was granted. Where
    /// credit is not asked, what was counted this month.
    pub used: Amount,
    /// What holds reserve of it, neither used nor remaining; where credit is not asked, what is held this month.
    pub held: Amount,
    /// What may still be used; `None` where credit is not asked.
    pub remaining: Option<Amount>,
    /// Billed beyond the credit this month.
    pub overage: Amount,
    /// Counted this month, whatever it was paid with.
    pub month: Amount,
    /// Counted ever.
    pub lifetime: Amount,
    /// When the allowance starts afresh; `None` in a trial.
    pub resets_at: Option<Timestamp>,
    /// The forecast of the month; `None` in a trial, and of what does not add up.
    pub pace: Option<Pace>,
    /// The credit in force, in the order it burns.
    pub credits: Vec<CreditLine>,
    /// Grants that come into force later, the first to do so first.
    pub future: Vec<CreditLine>,
    /// The limits on the org as a whole and on each user; those of single users name them.
    pub limits: Vec<LimitLine>,
}

/// One source of credit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreditLine {
    /// From where.
    pub source: Source,
    /// How much was granted.
    pub granted: Amount,
    /// How much of it is burned.
    pub burned: Amount,
    /// Lower burns first.
    pub priority: u8,
    /// From when it can be burned; of a grant.
    pub effective_at: Option<Timestamp>,
    /// When it expires; `None` is never.
    pub expires_at: Option<Timestamp>,
}

/// One limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitLine {
    /// Whose usage it caps.
    pub scope: LimitScope,
    /// Over which stretch of time.
    pub window: Window,
    /// How much may be used in it.
    pub amount: Amount,
    /// Used of it; `None` for a limit on each user or path, where it differs by those.
    pub used: Option<Amount>,
    /// Held of it; `None` likewise.
    pub held: Option<Amount>,
    /// When it starts afresh.
    pub resets_at: Option<Timestamp>,
}

/// The user a limit names.
const fn limited_user(limit: &Limit) -> Option<&UserId> {
    match &limit.scope {
        LimitScope::User(user) => Some(user),
        LimitScope::Org | LimitScope::EachUser | LimitScope::Path(_) => None,
    }
}

/// The balance of an org: the meters of its plan, and those it has used or been granted. Put it by [`OrgState::ask`].
#[must_use]
pub fn balance(state: &OrgState, context: &Context<'_>) -> Option<Balance> {
    let org = state.org()?;
    let plan = context.plan_of(org);
    let mut meters = Vec::new();
    for meter in &context.catalog.meters {
        let account = state.account(&meter.id);
        let planned = plan.is_some_and(|plan| plan.allowance(&meter.id).is_some());
        let limited = org.limits.iter().any(|limit| limit.meter == meter.id);
        if planned || limited || account.is_some() {
            meters.push((meter.id.clone(), meter_balance(state, context, org, &meter.id)));
        }
    }
    Some(Balance { at: context.at(), meters })
}

fn meter_balance(state: &OrgState, context: &Context<'_>, org: &Org, meter: &MeterId) -> MeterBalance {
    let plan = context.plan_of(org);
    let moment = context.now_of(org);
    let account = state.account(meter).map_or_else(Cow::default, Cow::Borrowed);
    let (account, _) = settled(context, org, meter, account);
    let value = |window| state.counter(meter, &Scope::Org, moment.period(window));
    let month = value(Window::Month);
    let overage = month.extras().overage;
    let rules = MeterRules::of(plan, meter);
    let credit = plan.map(|_| Credit::new(org, meter, rules, &account, &moment, month));
    let standing = credit.as_ref().map(|credit| credit.standing(None));
    let credits: Vec<_> = credit
        .iter()
        .flat_map(|credit| &credit.pots)
        .map(|pot| CreditLine {
            source: pot.source,
            granted: pot.granted,
            burned: pot.burned,
            priority: pot.priority,
            effective_at: matches!(pot.source, Source::Grant(_)).then_some(pot.effective_at),
            expires_at: pot.expires_at,
        })
        .collect();
    let of = |grants: bool| {
        let pots = credits.iter().filter(|line| matches!(line.source, Source::Grant(_)) == grants);
        pots.map(|line| line.granted).sum()
    };
    let trial = credit.as_ref().is_some_and(|credit| credit.trial);
    let adds_up = context.catalog.meter(meter).is_none_or(|meter| meter.aggregation.adds_up());
    let asked = credit.as_ref().is_some_and(Credit::is_asked);
    let pace = standing
        .filter(|_| !trial && adds_up)
        .map(|standing| (standing, project(&account, &moment, standing.used + overage, standing.granted)))
        // Who is out already, or is never asked, does not run out.
        .map(|(standing, pace)| Pace {
            runs_out_on: pace
                .runs_out_on
                .filter(|_| asked && standing.remaining.is_some_and(Amount::is_positive)),
            ..pace
        });
    let future =
        account.grants.iter().filter(|grant| moment.at < grant.effective_at).map(|grant| CreditLine {
            source: Source::Grant(grant.entry),
            granted: grant.granted(),
            burned: grant.burned,
            priority: grant.priority,
            effective_at: Some(grant.effective_at),
            expires_at: grant.expires_at,
        });
    let mut future: Vec<_> = future.collect();
    future.sort_by_key(|line| line.effective_at);
    MeterBalance {
        allowance: of(false),
        topped_up: of(true),
        used: standing.map_or(month.value, |standing| standing.used),
        held: standing
            .map_or_else(|| org.held_in(meter, ScopeRef::Org, moment.month), |standing| standing.held),
        remaining: standing.map_or(Some(Amount::ZERO), |standing| standing.remaining),
        overage,
        month: month.value,
        lifetime: value(Window::Lifetime).value,
        resets_at: (!trial).then_some(moment.month_end),
        pace,
        credits,
        future,
        limits: limit_lines(state, org, rules, meter, &moment),
    }
}

fn limit_lines(
    state: &OrgState,
    org: &Org,
    plan: &MeterRules,
    meter: &MeterId,
    moment: &Moment,
) -> Vec<LimitLine> {
    let mut lines: Vec<LimitLine> = limits_in_force(org, plan, meter, (None, None))
        .into_iter()
        .map(|limit| {
            let each_user = limit.scope == LimitScope::EachUser;
            let counters = state.counters(meter, ScopeRef::Org);
            let limit = in_force(&counters, org, moment, limit);
            let mut line = line(org, moment, &limit);
            if each_user {
                line = LimitLine { used: None, held: None, ..line };
                line.resets_at = line.resets_at.filter(|_| !line.window.moves());
            }
            line
        })
        .collect();
    for limit in org.limits.iter().filter(|limit| limit.meter == *meter) {
        if let Some(user) = limited_user(limit) {
            let counters = state.counters(meter, ScopeRef::User(user));
            lines.push(line(org, moment, &in_force(&counters, org, moment, limit)));
        }
    }
    lines.extend(path_lines(state, org, plan, meter, moment));
    lines
}

/// How a path stands on a meter: its own limits, those that usage at it and below it goes by. Put it by [`OrgState::ask`].
#[must_use]
pub fn path_limits(
    state: &OrgState,
    context: &Context<'_>,
    meter: &MeterId,
    path: &ScopePath,
) -> Vec<LimitLine> {
    let Some(org) = state.org() else { return Vec::new() };
    let moment = context.now_of(org);
    let rules = MeterRules::of(context.plan_of(org), meter);
    let along = limits_in_force(org, rules, meter, (None, Some(path)));
    let own = along.into_iter().filter(|limit| limit.path().is_some_and(|on| on.depth() == path.depth()));
    let counters = state.counters(meter, ScopeRef::Path(path.as_str()));
    own.map(|limit| line(org, &moment, &in_force(&counters, org, &moment, limit))).collect()
}

/// The limits on paths, outer ones first; of one on each path below another it differs by path what is used.
fn path_lines<'a>(
    state: &'a OrgState,
    org: &'a Org,
    plan: &'a MeterRules,
    meter: &'a MeterId,
    moment: &'a Moment,
) -> impl Iterator<Item = LimitLine> + 'a {
    limits_on_paths(org, plan, meter).into_iter().map(|limit| match limit.path() {
        Some(LimitPath::Named(path)) => {
            let counters = state.counters(meter, ScopeRef::Path(path.as_str()));
            line(org, moment, &in_force(&counters, org, moment, limit))
        }
        _ => {
            let counters = state.counters(meter, ScopeRef::Org);
            let line = line(org, moment, &in_force(&counters, org, moment, limit));
            let resets_at = line.resets_at.filter(|_| !line.window.moves());
            LimitLine { used: None, held: None, resets_at, ..line }
        }
    })
}

/// A limit as it stands now.
fn in_force<'a>(counters: &Counters<'a, 'a>, org: &Org, moment: &Moment, limit: &'a Limit) -> InForce<'a> {
    let moves = Moves::now(moment, [counters.tally, None]);
    InForce::load(counters, org, (moment, &moves), limit, None)
}

/// A limit with what is used and held of it.
fn line(org: &Org, moment: &Moment, limit: &InForce<'_>) -> LimitLine {
    let Limit { scope, window, amount, .. } = limit.limit.clone();
    let (used, held) = (Some(limit.used), Some(limit.held));
    LimitLine { scope, window, amount, used, held, resets_at: limit.resets_at(org, moment) }
}

/// A top-up of an org, and how much of it can still be used, now or later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopUpLine {
    /// On what.
    pub meter: MeterId,
    /// The credit, with the debt of its account settled.
    pub grant: Grant,
    /// What of it can still be used.
    pub unused: Amount,
}

/// The top-ups of an org, the latest first. Put it by [`OrgState::ask`].
#[must_use]
pub fn top_ups(state: &OrgState, context: &Context<'_>) -> Vec<TopUpLine> {
    let Some(org) = state.org() else { return Vec::new() };
    let mut lines = Vec::new();
    for meter in &context.catalog.meters {
        let Some(account) = state.account(&meter.id) else { continue };
        let (account, _) = settled(context, org, &meter.id, Cow::Borrowed(account));
        lines.extend(account.grants.iter().map(|grant| {
            TopUpLine {
                meter: meter.id.clone(),
                unused: (grant.unused(context.at()) - org.held_of(&meter.id, Source::Grant(grant.entry)))
                    .at_least_zero(),
                grant: grant.clone(),
            }
        }));
    }
    lines.sort_by_key(|line| std::cmp::Reverse(line.grant.entry));
    lines
}

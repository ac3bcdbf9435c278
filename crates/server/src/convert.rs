//! From the domain's answers to the wire.

use std::fmt::Write;

use tollgate_api::{
    BalanceReply, BurnLine, Code, CreditItem, Decimal, EntryItem, GivenLimitItem, LimitDetail, LimitGiver,
    LimitItem, MeterBalanceReply, OrgItem, OrgMeterItem, Problem, ScopeName, TrialItem, shortened,
};
use tollgate_domain::catalog::units;
use tollgate_domain::limits::{OPEN_GRANTS_MAX, ORG_LIMITS_MAX};
use tollgate_domain::{
    Along, Amount, Balance, Burn, Catalog, ConfigDenial, CreditLine, Denial, Denied, Entry, EntryKind,
    GivenLimit, HeldEntry, HoldEndedEntry, Limit, LimitScope, MeterBalance, MeterId, Org, OrgId, Period,
    PlanId, ReachedLimit, ReversalDenial, ScopePath, Source, Timestamp, ToppedUpEntry, UsageKey, UsedEntry,
    UserId, VoidedEntry, Window,
};
use tollgate_notifier::notice_summary;

use crate::reply::Failure;

/// An answer of the wrong kind: a defect.
pub(crate) fn conflict() -> Failure {
    Problem::new(Code::Internal, "the engine gave an answer of the wrong kind").into()
}

/// `used`, and how much is held besides, if anything.
fn used(limit: &ReachedLimit) -> String {
    match some_held(limit.held) {
        Some(_) => format!("used and {} held", limit.held),
        None => "used".to_owned(),
    }
}

/// How much of a limit is used, and by whom or where.
fn reached(limit: &ReachedLimit, meter: &MeterId, whose: &str) -> String {
    let window = limit.window.map(Window::phrase).unwrap_or_default();
    format!("{} of {} {meter} {window} are {} {whose}", limit.used, limit.amount, used(limit))
}

/// A denial as a problem.
pub(crate) fn denial_problem(denied: &Denied, org: &OrgId, meter: &MeterId) -> Problem {
    let (code, detail) = match &denied.denial {
        Denial::KeyReused => {
            (Code::KeyReused, "the key was used for another content; use a new key".to_owned())
        }
        Denial::KeyReversed => {
            (Code::KeyReversed, "the usage under this key was taken back; use a new key".to_owned())
        }
        Denial::UnknownMeter => (Code::UnknownMeter, format!("the catalog has no meter '{meter}'")),
        Denial::UnknownProperty(name) => {
            (Code::UnknownProperty, format!("the meter '{meter}' does not declare '{}'", shortened(name)))
        }
        Denial::UnknownOrg => (Code::UnknownOrg, format!("the organization '{org}' is not known")),
        Denial::NoPlan => (Code::NoPlan, format!("the organization '{org}' has no plan")),
        Denial::TrialEnded => (Code::TrialEnded, format!("the trial of '{org}' is over; set a plan")),
        Denial::UserRequired => {
            (Code::UserRequired, "a limit per user is in force, so the usage must name its user".to_owned())
        }
        Denial::OutOfCredit(limit) => {
            let detail = format!(
                "{} of {} {meter} are {}; top up, or set a larger plan",
                limit.used,
                limit.amount,
                used(limit)
            );
            (Code::OrgLimitReached, detail)
        }
        Denial::OrgLimitReached(limit) => {
            (Code::OrgLimitReached, reached(limit, meter, "by the organization"))
        }
        Denial::PathLimitReached(limit) => {
            let path = limit.path.as_ref().map(ScopePath::as_str).unwrap_or_default();
            (Code::PathLimitReached, reached(limit, meter, &format!("at path '{path}'")))
        }
        Denial::UserLimitReached(limit) => {
            let user = limit.user.as_ref().map(UserId::as_str).unwrap_or_default();
            (Code::UserLimitReached, reached(limit, meter, &format!("by user '{user}'")))
        }
    };
    let mut problem = Problem::new(code, detail);
    if matches!(denied.denial, Denial::OrgLimitReached(_)) {
        // Buying does not help against a limit that the organization set itself.
        problem.status = 403;
    }
    let field = match code {
        Code::KeyReused | Code::KeyReversed => Some("key"),
        Code::UnknownMeter => Some("meter"),
        Code::UnknownOrg => Some("org"),
        Code::UserRequired => Some("user"),
        _ => None,
    };
    problem.field = field.map(str::to_owned);
    if let Denial::UnknownProperty(name) = &denied.denial {
        problem.field = Some(format!("properties.{}", shortened(name)));
    }
    problem.allowed = Some(false);
    problem.remaining = denied.standing.and_then(|standing| standing.remaining).map(Into::into);
    problem.limit = denied.denial.limit().map(limit_detail);
    problem
}

/// What is held, if anything.
pub(crate) fn some_held(held: Amount) -> Option<Decimal> {
    (!held.is_zero()).then(|| held.into())
}

/// The limit, or the credit, that a denial names.
pub(crate) fn limit_detail(limit: &ReachedLimit) -> LimitDetail {
    LimitDetail {
        scope: match (&limit.user, &limit.path) {
            (Some(_), _) => "user",
            (None, Some(_)) => "path",
            (None, None) => "org",
        }
        .to_owned(),
        user: limit.user.clone().map(Into::into),
        path: limit.path.clone().map(Into::into),
        window: limit.window.map(|window| window.to_string()),
        amount: limit.amount.into(),
        used: limit.used.into(),
        held: some_held(limit.held),
        remaining: limit.remaining().into(),
        resets_at: limit.resets_at.map(|at| at.to_string()),
    }
}

/// The same, and which plan or meter may have been meant where there is none of the id.
pub(crate) fn with_suggestion(mut problem: Problem, catalog: &Catalog, id: &str) -> Problem {
    let near = match problem.code {
        Code::UnknownMeter => catalog.nearest_meter(id).map(MeterId::as_str),
        Code::UnknownPlan => catalog.nearest_plan(id).map(PlanId::as_str),
        _ => None,
    };
    if let Some(near) = near {
        // Writing to a string cannot fail.
        let _ = write!(problem.detail, "; did you mean '{near}'?");
    }
    problem
}

/// A refused setting as a problem.
pub(crate) fn config_problem(denial: &ConfigDenial, org: &OrgId) -> Problem {
    let on = |code, detail: String, field: &str| Problem::new(code, detail).on_field(field);
    match denial {
        ConfigDenial::KeyReused => {
            on(Code::KeyReused, "the key was used for another content; use a new key".to_owned(), "key")
        }
        ConfigDenial::UnknownMeter => {
            on(Code::UnknownMeter, "the catalog has no such meter".to_owned(), "meter")
        }
        ConfigDenial::MeterWithoutCredit => on(
            Code::InvalidField,
            "meter: is counted by max, last or unique; such meters burn no credit".to_owned(),
            "meter",
        ),
        ConfigDenial::MeterWithoutSum => on(
            Code::InvalidField,
            "window: the meter is counted by max, last or unique, which no rolling window and none from the first use \
             limits; use a window of the calendar"
                .to_owned(),
            "window",
        ),
        ConfigDenial::UnknownOrg => {
            on(Code::UnknownOrg, format!("the organization '{org}' is not known"), "org")
        }
        ConfigDenial::UnknownPlan(plan) => {
            on(Code::UnknownPlan, format!("the catalog has no plan '{plan}'"), "plan")
        }
        ConfigDenial::PlanRetired(plan) => {
            on(Code::PlanRetired, format!("the plan '{plan}' is not offered any more"), "plan")
        }
        ConfigDenial::PlanInPast => {
            on(Code::InvalidField, "at: is in the past; a plan changes now or later".to_owned(), "at")
        }
        ConfigDenial::TrialScheduled => {
            on(Code::InvalidField, "at: a trial begins at once, and cannot be scheduled".to_owned(), "at")
        }
        ConfigDenial::CurrencyChange { from, to } => {
            let detail = format!(
                "the month of the change has prices in {from}, those of the plan are in {to}: change with the first moment \
                 of a month, such as at \"next_month\""
            );
            on(Code::CurrencyChange, detail, "plan")
        }
        ConfigDenial::TrialUsed => {
            on(Code::TrialUsed, format!("the organization '{org}' has had its trial"), "plan")
        }
        ConfigDenial::NoPlan => {
            Problem::new(Code::NoPlan, format!("the organization '{org}' has no plan to top up"))
        }
        ConfigDenial::TrialEnded => {
            Problem::new(Code::TrialEnded, format!("the trial of '{org}' is over; set a plan first"))
        }
        ConfigDenial::UnknownTopUp => Problem::new(Code::UnknownTopUp, format!("'{org}' has no such top-up")),
        ConfigDenial::MoreThanUnused { unused } => {
            on(Code::MoreThanUnused, format!("amount: only {unused} of it is not used"), "amount")
        }
        ConfigDenial::ExpiryPassed => on(
            Code::InvalidField,
            "expires_at: must be after now, and after effective_at".to_owned(),
            "expires_at",
        ),
        ConfigDenial::TooMany => {
            let detail = format!(
                "an organization has at most {ORG_LIMITS_MAX} limits, and {OPEN_GRANTS_MAX} open top-ups on a meter: one \
                 must go first"
            );
            Problem::new(Code::TooMany, detail)
        }
    }
}

/// A refused reversal as a problem.
pub(crate) fn reversal_problem(denial: ReversalDenial, org: &OrgId, key: &UsageKey) -> Problem {
    match denial {
        ReversalDenial::UnknownOrg => {
            Problem::new(Code::UnknownOrg, format!("the organization '{org}' is not known")).on_field("org")
        }
        ReversalDenial::UnknownKey => {
            Problem::new(Code::UnknownKey, format!("no usage is remembered under the key '{key}'"))
                .on_field("key")
        }
        ReversalDenial::NotReversible => {
            let detail = format!(
                "the usage under the key '{key}' is the last that its meter's maximum or last value is known by, and \
                 others below it are only counted; it stays"
            );
            Problem::new(Code::NotReversible, detail).on_field("key")
        }
    }
}

/// The plan in force, by its id.
fn plan_at(org: &Org, now: Timestamp) -> Option<String> {
    org.plans.in_force(now)?.plan.as_ref().map(ToString::to_string)
}

pub(crate) fn org_item(org: &Org, balance: &Balance) -> OrgItem {
    let meters = balance.meters.iter().map(|(meter, line)| {
        let item = OrgMeterItem {
            used: line.used.into(),
            remaining: line.remaining.map(Into::into),
            projected: line.pace.map(|pace| pace.projected.into()),
        };
        (meter.to_string(), item)
    });
    OrgItem {
        org: org.id.to_string(),
        name: org.name.clone(),
        time_zone: org.zone.name().to_owned(),
        metadata: org.metadata.clone(),
        plan: plan_at(org, balance.at),
        trial: org.trial.as_ref().map(|trial| TrialItem {
            started_at: trial.started_at.to_string(),
            ends_at: trial.ends_at.to_string(),
        }),
        version: org.version,
        created_at: org.created_at.to_string(),
        meters: meters.collect(),
    }
}

pub(crate) fn balance_reply(org: &Org, balance: &Balance) -> BalanceReply {
    let meters = balance.meters.iter().map(|(meter, line)| (meter.to_string(), meter_reply(meter, line)));
    BalanceReply {
        org: org.id.to_string(),
        plan: plan_at(org, balance.at),
        at: balance.at.to_string(),
        meters: meters.collect(),
    }
}

fn credit_item(credit: &CreditLine) -> CreditItem {
    let source = match credit.source {
        Source::Allowance(_) => "allowance",
        Source::Trial => "trial",
        Source::Grant(_) => "top_up",
        Source::Overdraft => "overdraft",
        Source::Overage => "overage",
    };
    CreditItem {
        source: source.to_owned(),
        entry: match credit.source {
            Source::Grant(entry) => Some(entry),
            _ => None,
        },
        granted: credit.granted.into(),
        used: credit.burned.into(),
        priority: credit.priority,
        effective_at: credit.effective_at.map(|at| at.to_string()),
        expires_at: credit.expires_at.map(|at| at.to_string()),
    }
}

fn meter_reply(meter: &MeterId, line: &MeterBalance) -> MeterBalanceReply {
    let runs_out_on = line.pace.and_then(|pace| pace.runs_out_on);
    MeterBalanceReply {
        allowance: line.allowance.into(),
        topped_up: line.topped_up.into(),
        used: line.used.into(),
        held: line.held.into(),
        remaining: line.remaining.map(Into::into),
        overage: line.overage.into(),
        month: line.month.into(),
        lifetime: line.lifetime.into(),
        resets_at: line.resets_at.map(|at| at.to_string()),
        projected: line.pace.map(|pace| pace.projected.into()),
        runs_out_on: runs_out_on.map(day_label),
        credits: line.credits.iter().map(credit_item).collect(),
        future_credits: line.future.iter().map(credit_item).collect(),
        limits: line
            .limits
            .iter()
            .map(|limit| LimitItem {
                used: limit.used.map(Into::into),
                held: limit.held.and_then(some_held),
                resets_at: limit.resets_at.map(|at| at.to_string()),
                ..limit_parts(meter, &limit.scope, limit.window, limit.amount.into())
            })
            .collect(),
        users: Vec::new(),
        users_next: None,
    }
}

fn day_label(day: i32) -> String {
    Period::day(day).label()
}

/// A limit as it was set.
pub(crate) fn limit_item(limit: &Limit) -> LimitItem {
    limit_parts(&limit.meter, &limit.scope, limit.window, limit.amount.into())
}

/// A limit, and who gives it.
pub(crate) fn given_limit_item(given: &GivenLimit) -> GivenLimitItem {
    let LimitItem { meter, scope, user, path, window, amount, .. } = limit_item(&given.limit);
    let from = if given.by_plan { LimitGiver::Plan } else { LimitGiver::Org };
    GivenLimitItem { meter, scope, user, path, window, amount, from, in_force: given.in_force }
}

fn limit_parts(meter: &MeterId, scope: &LimitScope, window: Window, amount: Decimal) -> LimitItem {
    let (scope, user, path) = match scope {
        LimitScope::Org => (ScopeName::Org, None, None),
        LimitScope::EachUser => (ScopeName::User, None, None),
        LimitScope::User(user) => (ScopeName::User, Some(user.to_string()), None),
        LimitScope::Path(path) => (ScopeName::Path, None, Some(path.to_string())),
    };
    LimitItem {
        meter: meter.to_string(),
        scope,
        user,
        path,
        window,
        amount,
        used: None,
        held: None,
        resets_at: None,
    }
}

/// An entry as replies tell it; what was used is said in the units that a catalog has for it.
pub(crate) fn entry_item(entry: &Entry, catalog: &Catalog) -> EntryItem {
    let counted = |amount: Amount, meter: &MeterId| match catalog.meter(meter) {
        Some(meter) => format!("{amount} {}", units(&meter.unit, amount)),
        None => format!("{amount} {meter}"),
    };
    let mut item = EntryItem {
        entry: entry.number,
        at: entry.at.to_string(),
        kind: entry.kind.name().to_owned(),
        actor: entry.actor.to_string(),
        catalog: entry.catalog,
        notices: entry.notices.iter().map(notice_summary).collect(),
        ..EntryItem::default()
    };
    match &entry.kind {
        EntryKind::Used(used) => {
            used_item(&mut item, used, false);
            item.summary = format!("used {}", counted(used.quantity.amount(), &used.meter));
            if let Some(captured) = used.captured {
                item.hold = Some(captured.hold);
                // Writing to a string cannot fail.
                let _ = write!(item.summary, " of hold {}", captured.hold);
            }
        }
        EntryKind::Reversed { entry, used } => {
            used_item(&mut item, used, true);
            item.remaining = None;
            item.reverses = Some(*entry);
            item.summary =
                format!("took back {} of entry {entry}", counted(used.quantity.amount(), &used.meter));
        }
        EntryKind::Refused { user, path, meter, quantity, reason } => {
            item.user = user.clone().map(Into::into);
            item.path = path.as_ref().map(ToString::to_string);
            item.meter = Some(meter.to_string());
            item.quantity = Some(quantity.amount().into());
            item.reason = Some(reason.clone());
            item.summary = format!("refused {}: {reason}", counted(quantity.amount(), meter));
        }
        EntryKind::Held(held) => {
            let HeldEntry { hold, standing } = &**held;
            item.user = hold.user.clone().map(Into::into);
            item.path = path_of(hold.path.as_deref());
            item.meter = Some(hold.meter.to_string());
            item.quantity = Some(hold.quantity.amount().into());
            item.key = Some(hold.key.to_string());
            item.hold = Some(hold.number);
            item.properties.clone_from(&hold.properties);
            item.remaining = standing.remaining.map(Into::into);
            item.summary =
                format!("held {} until {}", counted(hold.quantity.amount(), &hold.meter), hold.expires_at);
        }
        EntryKind::HoldEnded(ended) => {
            item.user = ended.user.clone().map(Into::into);
            item.path = ended.path.clone().map(Into::into);
            item.meter = Some(ended.meter.to_string());
            item.quantity = Some(ended.amount.into());
            item.key = Some(ended.key.to_string());
            item.hold = Some(ended.hold);
            item.remaining = ended.standing.remaining.map(Into::into);
            let HoldEndedEntry { hold, amount, meter, .. } = &**ended;
            item.summary =
                format!("hold {hold} {}: {} given back", ended.ends.by.name(), counted(*amount, meter));
        }
        EntryKind::Put { name, zone, metadata } => {
            item.metadata.clone_from(metadata);
            let name = name.as_deref().unwrap_or("none");
            item.summary = format!("name {name}, time zone {}", zone.name());
        }
        EntryKind::PlanSet { plan, since, at_once, .. } => {
            item.plan = plan.as_ref().map(ToString::to_string);
            let what = plan.as_ref().map_or_else(|| "no plan".to_owned(), |plan| format!("plan {plan}"));
            item.summary = if *at_once { what } else { format!("{what} from {since}") };
        }
        EntryKind::PlanCalledOff => {
            "the scheduled change of plan is called off".clone_into(&mut item.summary);
        }
        EntryKind::LimitSet { meter, scope, window, amount } => {
            item.meter = Some(meter.to_string());
            item.quantity = amount.map(Into::into);
            let whose = match scope {
                LimitScope::Org => "the organization".to_owned(),
                LimitScope::EachUser => "each user".to_owned(),
                LimitScope::User(user) => {
                    item.user = Some(user.to_string());
                    format!("user {user}")
                }
                LimitScope::Path(path) => {
                    item.path = Some(path.to_string());
                    path.phrase()
                }
            };
            let most = amount.map_or_else(|| format!("no limit on {meter}"), |amount| counted(amount, meter));
            item.summary = format!("{most} a {window} for {whose}");
        }
        EntryKind::ThresholdsSet { thresholds: None } => {
            "notices go by the thresholds of the plan".clone_into(&mut item.summary);
        }
        EntryKind::ThresholdsSet { thresholds: Some(thresholds) } => {
            item.summary = match &**thresholds {
                [] => "no share of the credit causes a notice".to_owned(),
                thresholds => {
                    let shares: Vec<String> = thresholds.iter().map(ToString::to_string).collect();
                    format!("notices at {} % of the credit", shares.join(", "))
                }
            };
        }
        EntryKind::ToppedUp(topped_up) => {
            let ToppedUpEntry { meter, grant, metadata, standing, .. } = &**topped_up;
            item.metadata.clone_from(metadata);
            item.meter = Some(meter.to_string());
            item.quantity = Some(grant.amount.into());
            item.key = grant.key.clone().map(Into::into);
            item.remaining = standing.remaining.map(Into::into);
            item.reason.clone_from(&grant.reason);
            let until = grant.expires_at.map_or_else(|| "for ever".to_owned(), |at| format!("until {at}"));
            item.summary = format!("topped up {} {until}", counted(grant.amount, meter));
        }
        EntryKind::Voided(voided) => {
            let VoidedEntry { meter, key, grants, reason, standing, .. } = &**voided;
            let amount = voided.amount();
            item.meter = Some(meter.to_string());
            item.quantity = Some(amount.into());
            item.key = key.clone().map(Into::into);
            item.remaining = standing.remaining.map(Into::into);
            item.reason.clone_from(reason);
            item.burns = grants
                .iter()
                .map(|(entry, amount)| {
                    burn_line(Burn { source: Source::Grant(*entry), amount: *amount }, false)
                })
                .collect();
            item.summary = format!("took back {} of credit that was not used", counted(amount, meter));
        }
        EntryKind::BillClosed(bill) => {
            item.plan = bill.rated.plan().map(ToString::to_string);
            item.periods = vec![bill.rated.month.label()];
            let number = bill.number.unwrap_or_default();
            item.summary = format!("closed bill {number} of {}: {}", bill.rated.month.label(), bill.total);
        }
        EntryKind::Shipped { shipment, day, lines } => {
            let day = day_label(*day);
            item.summary =
                format!("batch {shipment} brought {} aggregates of {day} to the processor", lines.len());
            item.periods = vec![day];
        }
        EntryKind::BudgetTold { .. } => {
            let told = entry.notices.first();
            item.user = told.and_then(|notice| notice.user.clone()).map(Into::into);
            item.summary = told.map(notice_summary).unwrap_or_default();
        }
    }
    item.settled = entry.settled.iter().map(|burn| burn_line(*burn, false)).collect();
    item
}

/// The path of a usage or a hold, if it names one.
pub(crate) fn path_of(along: Option<&Along>) -> Option<String> {
    along.map(|along| along.path.to_string())
}

fn used_item(item: &mut EntryItem, used: &UsedEntry, negated: bool) {
    item.user = used.user.clone().map(Into::into);
    item.path = path_of(used.path.as_deref());
    item.meter = Some(used.meter.to_string());
    item.quantity = Some(used.quantity.amount().into());
    item.key = Some(used.key.to_string());
    item.time = used.occurred_at.map(|at| at.to_string());
    item.recorded = used.recorded;
    item.properties.clone_from(&used.properties);
    item.burns = used.burns.iter().map(|burn| burn_line(*burn, negated)).collect();
    // The segments of months are told by bills.
    let periods = used.periods.iter().filter(|period| period.window != Window::Segment);
    item.periods = periods.map(|period| period.label()).collect();
    item.remaining = used.standing.remaining.map(Into::into);
}

fn burn_line(burn: Burn, negated: bool) -> BurnLine {
    BurnLine {
        source: burn.source.to_string(),
        amount: if negated { -burn.amount } else { burn.amount }.into(),
    }
}

//! LiteLLM's budget alerts: `POST /litellm/budgets` makes a notice of what the proxy says of a budget of its own.
//!
//! The budgets are LiteLLM's: nothing is counted or limited by them here. LiteLLM says the same again for each of its processes,
//! after each restart and each day; here the same is told once a day.

use axum::extract::{Request, State};
use axum::response::Response;
use rust_decimal::RoundingStrategy;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tollgate_api::{Problem, shortened};
use tollgate_domain::{
    Amount, BudgetStage, GatewayBudget, OrgCommand, OrgId, Role, TellBudget, UsageKey, UserId,
};
use utoipa::ToSchema;

use super::{AMOUNT_DIGITS, missing, wrong};
use crate::app::App;
use crate::auth::{Caller, hexadecimal};
use crate::decimal;
use crate::extract::{NoQuery, parse, read_json};
use crate::native::orgs::change;
use crate::reply::{Failure, ok};

/// Takes what LiteLLM says of a budget of its own, and makes a notice of it: once a day for the same budget in the same state.
///
/// The organization is the alert's, else its team. Other events of LiteLLM's webhook, such as new keys, are let pass and tell nobody.
#[utoipa::path(
    post, path = "/litellm/budgets", tag = "LiteLLM", operation_id = "litellm_budgets",
    request_body = LitellmAlert,
    responses((status = 200, description = "It was taken", body = LitellmTold))
)]
pub(crate) async fn take(
    State(app): State<App>,
    caller: Caller,
    _: NoQuery,
    request: Request,
) -> Result<Response, Failure> {
    caller.require(Role::Ingest, caller.org.as_ref())?;
    let body = read_json(&app, request, app.settings.body_bytes_max).await?;
    let alert: Alert = parse(&body)?;
    let refused = |problem: Box<Problem>| Failure::from(*problem);
    let event = said(&alert.event).ok_or_else(|| refused(missing("event", "")))?;
    let Some(stage) = stage_of(event) else { return Ok(ok(&LitellmTold { told: false })) };
    let whose = alert.whose();
    let fallback = app.engine.catalog().declared.compat.litellm.org.clone();
    let org = alert.org(&whose, fallback).map_err(refused)?;
    caller.require(Role::Ingest, Some(&org))?;
    let tell = alert.tell(event, stage, &whose).map_err(refused)?;
    let changed = change(&app, &caller, &org, OrgCommand::TellBudget(Box::new(tell))).await?;
    Ok(ok(&LitellmTold { told: changed.entry.is_some() }))
}

/// How a budget stands by an event; `None`: the event is of something else.
fn stage_of(event: &str) -> Option<BudgetStage> {
    match event {
        "budget_crossed" => Some(BudgetStage::Reached),
        "threshold_crossed" | "max_budget_alert" => Some(BudgetStage::Nearly),
        "soft_budget_crossed" => Some(BudgetStage::Soft),
        "projected_limit_exceeded" => Some(BudgetStage::Projected),
        _ => None,
    }
}

/// What LiteLLM says, as the document describes it; it sends more.
#[derive(Serialize, ToSchema)]
pub(crate) struct LitellmAlert {
    /// `budget_crossed`, `threshold_crossed`, `max_budget_alert`, `soft_budget_crossed`, `projected_limit_exceeded`.
    event: String,
    /// Whose budget it is: `key`, `user`, `team`, `team_member`, `organization`, `proxy` …
    event_group: Option<String>,
    /// Spent, in USD.
    spend: f64,
    /// The budget.
    max_budget: Option<f64>,
    /// The budget that stops nobody.
    soft_budget: Option<f64>,
    /// What is expected to be spent.
    projected_spend: Option<f64>,
    /// The hash of the key.
    token: Option<String>,
    /// The name of the key.
    key_alias: Option<String>,
    /// The user.
    user_id: Option<String>,
    /// The team: the organization, where there is none.
    team_id: Option<String>,
    /// The name of the team.
    team_alias: Option<String>,
    /// The organization.
    organization_id: Option<String>,
    /// The customer.
    customer_id: Option<String>,
}

/// Whether people are told.
#[derive(Serialize, ToSchema)]
pub(crate) struct LitellmTold {
    /// False where they were told on the same day before, or where it is of something else than a budget.
    told: bool,
}

/// What LiteLLM sends; what else is in it is not looked at.
#[derive(Deserialize)]
struct Alert {
    event: Option<String>,
    event_group: Option<String>,
    spend: Option<Box<RawValue>>,
    max_budget: Option<Box<RawValue>>,
    soft_budget: Option<Box<RawValue>>,
    projected_spend: Option<Box<RawValue>>,
    token: Option<String>,
    key_alias: Option<String>,
    user_id: Option<String>,
    team_id: Option<String>,
    team_alias: Option<String>,
    organization_id: Option<String>,
    customer_id: Option<String>,
}

/// A member's text, if it says something.
fn said(text: &Option<String>) -> Option<&str> {
    text.as_deref().map(str::trim).filter(|text| !text.is_empty())
}

/// Whose a budget is.
enum Whose<'a> {
    Key(Option<&'a str>, Option<&'a str>),
    User(Option<&'a str>),
    Member(Option<&'a str>, Option<&'a str>),
    Team(Option<&'a str>),
    Org(Option<&'a str>),
    Proxy,
    Customer(Option<&'a str>),
    Other(&'a str),
}

impl Alert {
    fn whose(&self) -> Whose<'_> {
        let (user, team) = (said(&self.user_id), said(&self.team_id));
        match said(&self.event_group).unwrap_or("key") {
            "key" => Whose::Key(said(&self.token), said(&self.key_alias)),
            "user" | "internal_user" => Whose::User(user),
            "team_member" => Whose::Member(user, team),
            "team" => Whose::Team(team),
            "organization" => Whose::Org(said(&self.organization_id)),
            "proxy" => Whose::Proxy,
            "end_user" | "customer" => Whose::Customer(said(&self.customer_id).or(user)),
            other => Whose::Other(other),
        }
    }

    /// Who is told: the organization of the alert, or its team, or who is set in the catalog. What is of the whole proxy concerns
    /// no team, though LiteLLM names that of the call which it noticed it by.
    fn org(&self, whose: &Whose<'_>, fallback: Option<OrgId>) -> Result<OrgId, Box<Problem>> {
        let org = said(&self.organization_id).map(|id| ("organization_id", id));
        let own = org.or_else(|| said(&self.team_id).map(|id| ("team_id", id)));
        match (own.filter(|_| !matches!(whose, Whose::Proxy)), fallback) {
            (Some((field, id)), _) => OrgId::new(id).map_err(|error| wrong(field, &error.to_string())),
            (None, Some(org)) => Ok(org),
            (None, None) => Err(missing(
                "team_id",
                ": the budget is of no organization and no team, and compat.litellm names no org",
            )),
        }
    }

    fn tell(&self, event: &str, stage: BudgetStage, whose: &Whose<'_>) -> Result<TellBudget, Box<Problem>> {
        let (max, soft) = (
            usd("max_budget", self.max_budget.as_deref())?,
            usd("soft_budget", self.soft_budget.as_deref())?,
        );
        let limit = if stage == BudgetStage::Soft { soft.or(max) } else { max.or(soft) };
        let limit = limit.ok_or_else(|| missing("max_budget", ""))?;
        let spent = usd("spend", self.spend.as_deref())?.ok_or_else(|| missing("spend", ""))?;
        let projected = usd("projected_spend", self.projected_spend.as_deref())?;
        // A user that cannot be one here is left out: the budget is told all the same.
        let user = match whose {
            Whose::User(user) | Whose::Member(user, _) => *user,
            Whose::Key(..) => said(&self.user_id),
            _ => None,
        };
        let user = user.and_then(|id| UserId::new(id).ok());
        let name = line(&self.name(whose));
        let budget =
            GatewayBudget { gateway: "LiteLLM".to_owned(), whose: name, stage, spent, limit, projected };
        Ok(TellBudget { key: self.key(event, whose, limit)?, user, budget })
    }

    /// Stands for which budget it is, how large, and how it stands.
    fn key(&self, event: &str, whose: &Whose<'_>, limit: Amount) -> Result<UsageKey, Box<Problem>> {
        let group = said(&self.event_group);
        let ids = match whose {
            Whose::Key(Some(id), _) | Whose::Key(None, Some(id)) => [Some(*id), None],
            Whose::User(id) | Whose::Team(id) | Whose::Org(id) | Whose::Customer(id) => [*id, None],
            Whose::Member(user, team) => [*user, *team],
            Whose::Key(None, None) | Whose::Proxy => [None, None],
            Whose::Other(_) => [said(&self.token), said(&self.customer_id)],
        };
        let mut hash = Sha256::new();
        for part in [Some(event), group, Some(&*limit.to_string())].into_iter().chain(ids) {
            hash.update(part.unwrap_or_default());
            hash.update([0]);
        }
        let hash = hash.finalize();
        let key = format!("litellm:{}", hexadecimal(hash.get(..16).unwrap_or_default()));
        UsageKey::new(&key).map_err(|error| wrong("event", &error.to_string()))
    }

    /// Whose budget it is, for people.
    fn name(&self, whose: &Whose<'_>) -> String {
        let named = |what: &str, name: Option<&str>| match name {
            Some(name) => format!("{what} {name}"),
            None => format!("a {what}"),
        };
        let team = |id: Option<&str>| named("team", said(&self.team_alias).or(id));
        match whose {
            // The hash of a key says nothing to people, but its beginning tells two apart.
            Whose::Key(token, alias) => {
                let start = token.map(|token| token.chars().take(8).collect::<String>());
                named("key", alias.or(start.as_deref()))
            }
            Whose::User(user) => named("user", *user),
            Whose::Member(user, id) => format!("{} in {}", named("user", *user), team(*id)),
            Whose::Team(id) => team(*id),
            Whose::Org(id) => {
                id.map_or_else(|| "the organization".to_owned(), |id| format!("organization {id}"))
            }
            Whose::Proxy => "the whole proxy".to_owned(),
            Whose::Customer(id) => named("customer", *id),
            Whose::Other(group) => format!("a {}", group.replace('_', " ")),
        }
    }
}

/// A line of text for people.
fn line(text: &str) -> String {
    shortened(text).chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// An amount of USD, to a billionth.
fn usd(field: &str, json: Option<&RawValue>) -> Result<Option<Amount>, Box<Problem>> {
    let Some(json) = json else { return Ok(None) };
    let usd = decimal::read(json.get()).filter(|usd| !usd.is_sign_negative() || usd.is_zero());
    let rounded =
        usd.map(|usd| usd.abs().round_dp_with_strategy(AMOUNT_DIGITS, RoundingStrategy::MidpointNearestEven));
    let amount = rounded.and_then(|usd| Amount::parse(&usd.normalize().to_string()).ok());
    amount.map(Some).ok_or_else(|| wrong(field, "must be a number, zero or more"))
}

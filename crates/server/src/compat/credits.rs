//! The credits API: `POST /api/v1/token_used` charges a call of a language model to its user's credit.
//!
//! The trace of the call is the key: a retry is answered with what was charged. The call is priced by the gateway it went
//! through ([`crate::portkey`]), or by the cost in the body where no gateway is configured. Unknown fields are ignored.

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use tollgate_api::{Code, Id, Problem, PropertyValue, read_body};
use tollgate_domain::catalog::CreditsSettings;
use tollgate_domain::{
    Amount, Denial, OrgCommand, OrgDecision, OrgId, PlanId, Quantity, Role, UsageKey, Use, UsedEntry,
};
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::Caller;
use crate::convert::conflict;
use crate::decimal;
use crate::extract::read_json;
use crate::limit_headers::gate_problem;
use crate::native::problems::{P404, P409};
use crate::native::usage::properties;
use crate::portkey::{Cost, PortkeyError, Question};
use crate::refusals::note_refusal;
use crate::reply::{Failure, compat_response, json};

/// What this API says to a body that it cannot read.
const INVALID: &str = "Invalid request body";

/// The property that keeps what a call cost, in USD.
const COST: &str = "cost_usd";

/// Digits after the point of a cost.
const COST_DIGITS: u32 = 6;

/// An error of this API: a problem whose `detail` is in the API's words, and for some an `error` beside it.
#[derive(Debug)]
pub(crate) struct CreditsFailure {
    failure: Failure,
    error: Option<serde_json::Value>,
}

impl From<Failure> for CreditsFailure {
    fn from(failure: Failure) -> Self {
        Self { failure, error: None }
    }
}

impl IntoResponse for CreditsFailure {
    fn into_response(self) -> Response {
        match self.error {
            Some(error) => compat_response(self.failure, error),
            None => self.failure.into_response(),
        }
    }
}

/// A wrong request: 400 here also where it is 422 in the native API. A body that is too large, or late, is that.
fn invalid(mut failure: Failure) -> CreditsFailure {
    failure.problem.status = match failure.problem.status {
        422 => 400,
        status => status,
    };
    let error = matches!(failure.problem.status, 400 | 415).then(|| INVALID.into());
    CreditsFailure { failure, error }
}

fn told(status: u16, detail: String, mut problem: Problem) -> CreditsFailure {
    (problem.status, problem.detail) = (status, detail);
    Failure::from(problem).into()
}

fn no_package(problem: Problem) -> CreditsFailure {
    told(403, "User has no main package.".to_owned(), problem)
}

impl From<PortkeyError> for CreditsFailure {
    fn from(error: PortkeyError) -> Self {
        match error {
            PortkeyError::NoCost => {
                Failure::from(Problem::new(Code::NoCost, "No Portkey cost found for traceId.")).into()
            }
            PortkeyError::Unreachable(why) => {
                let detail = format!("Error connecting to Portkey: {why}");
                Failure::from(Problem::new(Code::GatewayFailed, detail)).into()
            }
            PortkeyError::Refused { status, body } => {
                let detail = format!("Portkey API error (status {status})");
                let problem = Problem::new(Code::GatewayFailed, detail.clone());
                // What is no error to a client would not be one here either.
                let status = if (400..600).contains(&status) { status } else { 502 };
                Self { error: Some(body), ..told(status, detail, problem) }
            }
        }
    }
}

/// USD, zero or more, exactly as they are written.
#[derive(Clone, Copy, Debug)]
struct Usd(Decimal);

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        let usd = decimal::read(json.get()).filter(|usd| !usd.is_sign_negative());
        usd.map(Self).ok_or_else(|| serde::de::Error::custom("must be a number, zero or more"))
    }
}

/// A call of a language model.
#[derive(Deserialize, ToSchema)]
#[schema(as = TokenUsedRequest)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Body {
    /// Whose credit pays for it.
    #[schema(value_type = Id)]
    user_id: OrgId,
    /// The gateway's trace of it: it is charged once however often it is sent.
    #[schema(value_type = Id)]
    trace_id: UsageKey,
    /// Which agent made it; kept as the property `agent_id`.
    agent_id: Option<String>,
    /// What searching the web cost besides, in USD.
    #[schema(value_type = Option<f64>, minimum = 0)]
    websearch_cost: Option<Usd>,
    /// What it cost in USD, where no gateway says so.
    #[schema(value_type = Option<f64>, minimum = 0)]
    cost_usd: Option<Usd>,
    /// The model, where no gateway says so.
    model: Option<String>,
    /// Tokens of the prompt; kept as the property `prompt_tokens`.
    prompt_tokens: Option<u64>,
    /// Tokens of the answer; kept as the property `completion_tokens`.
    completion_tokens: Option<u64>,
}

/// It was charged.
#[derive(Serialize, ToSchema)]
#[schema(as = TokenUsedReply)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reply {
    /// The trace.
    trace_id: String,
    /// What the call cost, with six decimals.
    #[serde(rename = "totalCostUsd")]
    total_cost_usd: String,
    /// What was taken of the credit: a whole number below zero.
    total_token: i64,
    /// `Success`.
    transaction_status: &'static str,
}

/// Charges a call to its user's credit; once for each trace.
#[utoipa::path(
    post, path = "/api/v1/token_used", tag = "Credits API", operation_id = "token_used",
    request_body = Body,
    responses((status = 201, description = "It was charged, now or before", body = Reply), P404, P409)
)]
pub(crate) async fn take(
    State(app): State<App>,
    caller: Result<Caller, Failure>,
    request: Request,
) -> Result<Response, CreditsFailure> {
    let caller = caller?;
    let body = read_json(&app, request, app.settings.body_bytes_max).await.map_err(invalid)?;
    let body: Body = read_body(&body).map_err(|error| {
        let mut problem = Problem::new(error.code, error.detail);
        problem.field = error.field;
        invalid(problem.into())
    })?;
    caller.require(Role::Ingest, Some(&body.user_id))?;
    let settings = app.engine.catalog().declared.compat.credits.clone();
    let plan = plan_of(&app, &settings, &body.user_id).await?;
    let question = app.portkey.as_ref().map(|portkey| {
        let now = app.engine.clock().now();
        portkey.question(body.trace_id.as_str(), now)
    });
    if let Some(charged) = charged(&app, &settings, &plan, &body).await? {
        return Ok(charged);
    }
    let cost = cost(question.as_ref(), &body).await?;
    let (user, trace) = (body.user_id.clone(), body.trace_id.clone());
    let usage = usage(&app, &settings, &plan, &body, &cost)?;
    let (quantity, reply) = (usage.quantity, reply(&usage.key, cost.usd, usage.quantity.amount()));
    #[cfg(feature = "otlp")]
    crate::telemetry::note_usage(&app, &user, &usage);
    match app
        .engine
        .submit(&caller.actor, user.clone(), OrgCommand::Use(usage))
        .await
        .map_err(Failure::from)?
    {
        OrgDecision::Use(Ok(_)) => Ok(json(StatusCode::CREATED, &reply)),
        OrgDecision::Use(Err(denied)) => {
            note_refusal(&app, &user, &denied.denial);
            let problem = gate_problem(&app, &denied, &user, &settings.meter, quantity);
            match denied.denial {
                // Another retry was priced otherwise, and came first.
                Denial::KeyReused => {
                    let first = charged(&app, &settings, &plan, &body).await?;
                    first.ok_or_else(|| {
                        told(422, format!("The traceId {trace} was used for another content."), problem)
                    })
                }
                Denial::UnknownOrg | Denial::NoPlan | Denial::TrialEnded | Denial::UnknownMeter => {
                    Err(no_package(problem))
                }
                Denial::OutOfCredit(_) => Err(told(403, "No token balance remaining.".to_owned(), problem)),
                _ => Err(Failure::from(problem).into()),
            }
        }
        _ => Err(conflict().into()),
    }
}

/// The plan of a user, which must have an allowance of the meter.
async fn plan_of(app: &App, settings: &CreditsSettings, user: &OrgId) -> Result<PlanId, CreditsFailure> {
    let denied = |code, detail: &str| no_package(Problem::new(code, detail));
    let org = app.engine.org(user).await.map_err(Failure::from)?;
    let org = org.ok_or_else(|| denied(Code::UnknownOrg, "unknown"))?;
    let now = org.now(app.engine.clock().now());
    let plan = org.plans.plan_at(now).ok_or_else(|| denied(Code::NoPlan, "no plan"))?;
    let catalog = app.engine.catalog().catalog;
    let allowance = catalog.plan(plan).and_then(|plan| plan.allowance(&settings.meter));
    allowance.map(|_| plan.clone()).ok_or_else(|| denied(Code::NoPlan, "no allowance"))
}

/// What a trace was answered, if it was charged before.
async fn charged(
    app: &App,
    settings: &CreditsSettings,
    plan: &PlanId,
    body: &Body,
) -> Result<Option<Response>, CreditsFailure> {
    let used = app.engine.usage_of_key(&body.user_id, &body.trace_id).await.map_err(Failure::from)?;
    let Some((_, UsedEntry { key, quantity, properties, .. })) = used else { return Ok(None) };
    let noted = properties.get(COST).and_then(|cost| cost.parse().ok());
    let cost = noted.or_else(|| usd(settings, plan, quantity.amount())).ok_or_else(conflict)?;
    Ok(Some(json(StatusCode::CREATED, &reply(&key, cost, quantity.amount()))))
}

/// What the call cost, with what searching the web cost.
async fn cost(question: Option<&Question<'_>>, body: &Body) -> Result<Cost, CreditsFailure> {
    let search = body.websearch_cost.map_or(Decimal::ZERO, |Usd(usd)| usd);
    let cost = match (question, body.cost_usd) {
        (Some(question), _) => question.answer().await?,
        (None, Some(Usd(usd))) => Cost { usd, model: body.model.clone() },
        (None, None) => return Err(PortkeyError::NoCost.into()),
    };
    let usd = cost.usd.checked_add(search).filter(|usd| !usd.is_zero());
    Ok(Cost { usd: usd.ok_or(PortkeyError::NoCost)?, ..cost })
}

/// The usage that a call is.
fn usage(
    app: &App,
    settings: &CreditsSettings,
    plan: &PlanId,
    body: &Body,
    cost: &Cost,
) -> Result<Use, CreditsFailure> {
    let too_much = || {
        let detail = "it costs more than can be counted".to_owned();
        CreditsFailure::from(Failure::from(Problem::new(Code::InvalidField, detail).on_field("costUsd")))
    };
    let number = |count: Option<u64>| count.map(|count| count.to_string());
    let given = [
        ("agent_id", body.agent_id.clone()),
        ("model", cost.model.clone()),
        ("prompt_tokens", number(body.prompt_tokens)),
        ("completion_tokens", number(body.completion_tokens)),
        (COST, Some(six_digits(cost.usd))),
    ];
    let catalog = app.engine.catalog().catalog;
    let meter = catalog.meter(&settings.meter);
    let takes = |name: &str| meter.is_none_or(|meter| meter.takes_property(name));
    let given = given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), PropertyValue(value?))));
    let given: BTreeMap<_, _> = given.filter(|(name, _)| takes(name)).collect();
    Ok(Use {
        user: None,
        path: None,
        meter: settings.meter.clone(),
        quantity: tokens(settings, plan, cost.usd).ok_or_else(too_much)?,
        key: body.trace_id.clone(),
        occurred_at: None,
        properties: properties(given).map_err(invalid)?,
    })
}

/// What USD are in units of the meter, rounded up once.
fn tokens(settings: &CreditsSettings, plan: &PlanId, usd: Decimal) -> Option<Quantity> {
    let rate = decimal::of_amount(settings.exchange_rate)?;
    let ratio = decimal::of_amount(settings.conversion_ratio(plan))?;
    let tokens = decimal::divided_up(usd.checked_mul(rate)?, ratio)?;
    Quantity::parse(&tokens.normalize().to_string()).ok()
}

/// What units of the meter are in USD.
fn usd(settings: &CreditsSettings, plan: &PlanId, tokens: Amount) -> Option<Decimal> {
    let ratio = decimal::of_amount(settings.conversion_ratio(plan))?;
    decimal::of_amount(tokens)?.checked_mul(ratio)?.checked_div(decimal::of_amount(settings.exchange_rate)?)
}

fn reply(trace: &UsageKey, usd: Decimal, tokens: Amount) -> Reply {
    Reply {
        trace_id: trace.to_string(),
        total_cost_usd: six_digits(usd),
        total_token: tokens.as_whole().map_or(0, |tokens| -tokens),
        transaction_status: "Success",
    }
}

fn six_digits(usd: Decimal) -> String {
    let mut rounded = usd.round_dp_with_strategy(COST_DIGITS, RoundingStrategy::MidpointAwayFromZero);
    rounded.rescale(COST_DIGITS);
    rounded.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_rounded_up_to_tokens_once_and_shown_with_six_decimals() {
        let plan = PlanId::new("p").expect("an id");
        let whole = |amount| Amount::from_whole(amount);
        for (usd, rate, ratio, wanted, shown) in [
            ("0.001234", whole(35), whole(1), "1", "0.001234"),
            ("0.5", whole(35), whole(1), "18", "0.500000"),
            ("1", whole(35), whole(1), "35", "1.000000"),
            ("1", whole(35), Amount::from_billionths(10_000_000), "3500", "1.000000"),
            ("0.0000005", whole(35), whole(1), "1", "0.000001"),
            ("2.0000000000000000001", whole(35), whole(1), "71", "2.000000"),
        ] {
            let settings = CreditsSettings {
                exchange_rate: rate,
                conversion_ratios: [(plan.clone(), ratio)].into(),
                ..CreditsSettings::default()
            };
            let usd: Decimal = usd.parse().expect("a decimal");
            assert_eq!(tokens(&settings, &plan, usd), Quantity::parse(wanted).ok(), "{usd}");
            assert_eq!(six_digits(usd), shown);
        }
    }
}

//! Portkey's webhook guardrail: `POST /portkey/guardrail` holds credit before a call of a model, and captures what it cost.
//!
//! The gateway reads a verdict and lets a call through whose webhook fails, unless it is told otherwise. So whatever is
//! wrong before a call is a verdict, too: 200 and `false`. After a call its answer is there and paid for: the verdict is
//! `true`, whatever becomes of the hold. Prompts and answers are looked at for their size alone, and kept nowhere.

mod call;

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use hyper::body::Body as _;
use serde::Serialize;
use serde_json::value::RawValue;
use tollgate_api::{Code, Decimal, HoldId, PositiveDecimal, Problem, PropertyValue};
use tollgate_domain::catalog::PortkeySettings;
use tollgate_domain::{
    Amount, Capture, EndedBy, Hold, HoldDenial, HoldRefused, OrgCommand, OrgDecision, OrgId, Quantity, Role,
    TakeHold, UsageKey, Use, UserId,
};
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::Caller;
use crate::compat::keys::new_key;
use crate::compat::portkey::call::{Call, Event, Hook};
use crate::compressed::Coding;
use crate::convert::conflict;
use crate::extract::{NoQuery, content_type};
use crate::limit_headers::gate_problem;
use crate::native::batch::{read_aside, record_all, wait_for_turn};
use crate::native::holds::{denial, refusal};
use crate::newcomers::Way;
use crate::pricing::{content, of_capture};
use crate::refusals::note_refusal;
use crate::reply::{Failure, answer_around, ok};

/// The key of the metadata that names the user, in Portkey's own words.
const USER: &str = "_user";

/// The key of the metadata with the client's id of the call.
const REQUEST_ID: &str = "request_id";

/// The key of the metadata with what the call may cost, in the unit of the meter.
const ESTIMATE: &str = "estimate";

/// How much more than its estimate a call may cost: more than any does.
const OVERRUN: Amount = Amount::from_billionths(1_000_000 * 1_000_000_000);

/// Something is wrong: the verdict that says so.
#[derive(Debug)]
pub(crate) struct PortkeyFailure {
    failure: Failure,
    verdict: bool,
}

impl From<Failure> for PortkeyFailure {
    fn from(mut failure: Failure) -> Self {
        let field = failure.problem.field.take();
        failure.problem.field = field.map(|field| own_name(&field).to_owned());
        Self { failure, verdict: false }
    }
}

impl From<Problem> for PortkeyFailure {
    fn from(problem: Problem) -> Self {
        Failure::from(problem).into()
    }
}

impl PortkeyFailure {
    /// It went wrong after the call: the answer is not withheld for that.
    fn after(self) -> Self {
        Self { verdict: true, ..self }
    }
}

impl IntoResponse for PortkeyFailure {
    fn into_response(self) -> Response {
        let body: fn(Problem) -> serde_json::Value = match self.verdict {
            true => |problem| verdict_of(true, problem),
            false => |problem| verdict_of(false, problem),
        };
        answer_around(self.failure, body)
    }
}

/// A verdict that goes by a problem.
fn verdict_of(verdict: bool, problem: Problem) -> serde_json::Value {
    let data = VerdictData::Problem(Box::new(problem));
    serde_json::to_value(Verdict { verdict, data, transformed_data: None }).unwrap_or_default()
}

/// What a field of the native API is called here.
fn own_name(field: &str) -> &str {
    match field {
        "user" => "metadata._user",
        "key" => "metadata.request_id",
        "quantity" => "metadata.estimate",
        "call.model" | "properties.model" => "request.json.model",
        "call.tier" => "request.json.service_tier",
        other => other,
    }
}

/// A verdict, and what it goes by.
#[derive(Serialize, ToSchema)]
#[schema(as = PortkeyVerdict)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Verdict {
    /// Whether the call may go on.
    pub(crate) verdict: bool,
    /// What it goes by; the gateway shows it in `hook_results`.
    pub(crate) data: VerdictData,
    /// What the gateway puts in place of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) transformed_data: Option<Transformed>,
}

/// What a verdict goes by.
#[derive(Serialize, ToSchema)]
#[schema(as = PortkeyVerdictData)]
#[serde(untagged)]
pub(crate) enum VerdictData {
    /// What is held or was charged.
    Call(CallData),
    /// What is wrong, or who denied it.
    Problem(Box<Problem>),
}

/// What is held for a call, or was charged for it.
#[derive(Serialize, ToSchema)]
#[schema(as = PortkeyCall)]
pub(crate) struct CallData {
    /// Its hold; none of an embedding.
    #[serde(skip_serializing_if = "Option::is_none")]
    hold: Option<HoldId>,
    /// How the hold is: `open`, `captured`, `released` or `expired`.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    /// How much is held, or was charged.
    quantity: Decimal,
    /// What the org may still use.
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining: Option<Decimal>,
}

/// What the gateway puts in place of the request.
#[derive(Serialize, ToSchema)]
#[schema(as = PortkeyTransformed)]
pub(crate) struct Transformed {
    /// In place of the request.
    request: TransformedRequest,
}

#[derive(Serialize, ToSchema)]
#[schema(as = PortkeyTransformedRequest)]
struct TransformedRequest {
    /// The request with its hold in `tollgate_hold`, which the gateway sends to no provider.
    #[schema(value_type = Object)]
    json: Box<RawValue>,
}

/// Holds credit before a call of a model, and captures what it cost after it, as Portkey's guardrail `default.webhook` asks.
///
/// `eventType` says which. Before the call `verdict` is true once credit and limits have room for the most that the call may
/// cost, and that room is held, durably. The hold travels in the request, as `transformedData`. After the call its cost is
/// captured. All that is wrong is a verdict, too: the status is 200, and `data` is a problem.
#[utoipa::path(
    post, path = "/portkey/guardrail", tag = "Portkey", operation_id = "portkey_guardrail",
    request_body = Hook,
    responses((status = 200, description = "The verdict", body = Verdict))
)]
pub(crate) async fn take(
    State(app): State<App>,
    caller: Result<Caller, Failure>,
    query: Result<NoQuery, Failure>,
    request: Request,
) -> Result<Response, PortkeyFailure> {
    let caller = caller?;
    query?;
    caller.require(Role::Ingest, caller.org.as_ref())?;
    let call = read(&app, request).await?;
    let settings = app.engine.catalog().declared.compat.portkey.clone();
    match call.event {
        Event::Before => before(&app, &caller, &settings, &call).await,
        Event::After => after(&app, &caller, &settings, &call).await.map_err(PortkeyFailure::after),
    }
}

/// Reads a call. Few are larger than other requests; those wait their turn, as batches do.
async fn read(app: &App, request: Request) -> Result<Call, Failure> {
    content_type(&request, |kind| kind == "application/json", "application/json")?;
    let coding = Coding::of(request.headers())?;
    let bytes = request.body().size_hint().upper().and_then(|bytes| usize::try_from(bytes).ok());
    let is_small =
        coding == Coding::Identity && bytes.is_some_and(|bytes| bytes <= app.settings.body_bytes_max);
    let _turn = if is_small { None } else { Some(wait_for_turn(app).await?) };
    read_aside(app, request, coding, Call::read).await
}

fn invalid(key: &str, text: &impl std::fmt::Display) -> Problem {
    let field = format!("metadata.{key}");
    Problem::new(Code::InvalidField, format!("{field}: {text}")).on_field(field)
}

/// Who pays for a call, and who makes it.
fn payer(
    caller: &Caller,
    settings: &PortkeySettings,
    call: &Call,
) -> Result<(OrgId, Option<UserId>), PortkeyFailure> {
    let key = &settings.org_key;
    let org = match (call.metadata(key)?, &settings.org) {
        (Some(id), _) => OrgId::new(id).map_err(|error| invalid(key, &error))?,
        (None, Some(org)) => org.clone(),
        (None, None) => {
            let field = format!("metadata.{key}");
            let detail = format!("the field '{field}' is missing, and compat.portkey names no org");
            return Err(Problem::new(Code::MissingField, detail).on_field(field).into());
        }
    };
    let user = call.metadata(USER)?.map(UserId::new).transpose();
    caller.require(Role::Ingest, Some(&org))?;
    Ok((org, user.map_err(|error| invalid(USER, &error))?))
}

/// The usage that a call may come to.
fn usage(
    app: &App,
    settings: &PortkeySettings,
    call: &Call,
    user: Option<UserId>,
) -> Result<Use, PortkeyFailure> {
    let key = match call.metadata(REQUEST_ID)? {
        Some(id) => UsageKey::new(id).map_err(|error| invalid(REQUEST_ID, &error))?,
        None => new_key()?,
    };
    let in_force = app.engine.catalog();
    let takes =
        |name: &str| in_force.catalog.meter(&settings.meter).is_none_or(|meter| meter.takes_property(name));
    let stated = call.metadata(ESTIMATE)?.map(Quantity::parse).transpose();
    let stated = stated.map_err(|error| invalid(ESTIMATE, &error))?;
    let priced = stated.is_none().then(|| call.estimated(&in_force.catalog, settings.max_tokens));
    let model = priced.is_none().then(|| ("model", call.model.clone()));
    let given = [model, call.provider.clone().map(|provider| ("provider", provider))];
    let given = given.into_iter().flatten().filter(|(name, _)| takes(name));
    let given: BTreeMap<_, _> = given.map(|(name, value)| (name.to_owned(), PropertyValue(value))).collect();
    let (quantity, properties) =
        content(|| in_force.clone(), stated.map(PositiveDecimal), priced.as_ref(), given)?;
    Ok(Use { user, path: None, meter: settings.meter.clone(), quantity, key, occurred_at: None, properties })
}

/// Holds the most that a call may cost; an embedding is charged at once, for the gateway asks nothing after it.
async fn before(
    app: &App,
    caller: &Caller,
    settings: &PortkeySettings,
    call: &Call,
) -> Result<Response, PortkeyFailure> {
    let (org, user) = payer(caller, settings, call)?;
    let usage = usage(app, settings, call, user.clone())?;
    let (meter, quantity, key) = (usage.meter.clone(), usage.quantity, usage.key.clone());
    #[cfg(feature = "otlp")]
    crate::telemetry::note_usage(app, &org, &usage);
    let command = if call.is_embedding {
        OrgCommand::Use(usage)
    } else {
        let on_expiry = settings.on_expiry;
        OrgCommand::Hold(TakeHold {
            usage,
            within: None,
            secs: settings.expires_in,
            overrun: OVERRUN,
            on_expiry,
        })
    };
    let decision = app.engine.submit(&caller.actor, org.clone(), command).await.map_err(Failure::from)?;
    let denied = match decision {
        OrgDecision::Hold(Ok(taken)) if taken.hold.end.is_none() => {
            let id = HoldId { number: taken.hold.number, org };
            let request = call.carrying(&id).ok_or_else(conflict)?;
            let data = CallData {
                hold: Some(id),
                state: Some(taken.hold.state().to_owned()),
                quantity: taken.hold.free().into(),
                remaining: taken.standing.remaining.map(Into::into),
            };
            let request = TransformedRequest { json: request };
            return Ok(said(data, Some(Transformed { request })));
        }
        OrgDecision::Use(Ok(allowed)) if !allowed.replayed => {
            let remaining = allowed.standing.remaining.map(Into::into);
            let quantity = quantity.amount().into();
            return Ok(said(CallData { hold: None, state: None, quantity, remaining }, None));
        }
        OrgDecision::Hold(Ok(_)) | OrgDecision::Use(Ok(_)) => return Err(made_before(&key).into()),
        OrgDecision::Hold(Err(HoldRefused::Gate(denied))) | OrgDecision::Use(Err(denied)) => denied,
        OrgDecision::Hold(Err(refused)) => {
            return Err(refusal(&refused, &meter, quantity.amount(), None).into());
        }
        _ => return Err(conflict().into()),
    };
    note_refusal(app, &org, &denied.denial);
    Err(gate_problem(app, &denied, &org, &meter, quantity).into())
}

/// A call under the id of one that was charged: it would be free.
fn made_before(key: &UsageKey) -> Problem {
    let detail = format!("the call '{key}' was made and charged; give each call a request_id of its own");
    Problem::new(Code::HoldEnded, detail).on_field("key")
}

/// Captures what a call cost; the estimate, where nobody says what it took.
async fn after(
    app: &App,
    caller: &Caller,
    settings: &PortkeySettings,
    call: &Call,
) -> Result<Response, PortkeyFailure> {
    let (org, _) = payer(caller, settings, call)?;
    let Some(id) = call.hold.clone().filter(|id| id.org == org) else {
        let field = format!("request.json.{}", call::HOLD);
        let detail = format!("the field '{field}' is missing: the call has no hold of '{org}' to capture");
        return Err(Problem::new(Code::MissingField, detail).on_field(field).into());
    };
    let submit = |command| app.engine.submit(&caller.actor, org.clone(), command);
    if call.has_failed {
        return match submit(OrgCommand::Release(id.number)).await.map_err(Failure::from)? {
            OrgDecision::Release(Ok(ended)) => Ok(charged(&id, &ended.hold, Amount::ZERO)),
            OrgDecision::Release(Err(denied)) => Err(denial(&id, &denied).into()),
            _ => Err(conflict().into()),
        };
    }
    let cost = cost(app, &id, call).await?;
    let capture = Capture { hold: id.number, quantity: cost, part: None };
    match submit(OrgCommand::Capture(capture)).await.map_err(Failure::from)? {
        OrgDecision::Capture(Ok(captured)) => Ok(charged(&id, &captured.hold, captured.quantity)),
        OrgDecision::Capture(Err(HoldDenial::Ended(hold))) if was_given_back(&hold) => {
            late(app, caller, &id, &hold, cost).await
        }
        // What was charged when it expired stays so: a charge too high is taken back by its key.
        OrgDecision::Capture(Err(HoldDenial::Ended(hold))) => Ok(charged(&id, &hold, hold.captured)),
        OrgDecision::Capture(Err(denied)) => Err(denial(&id, &denied).into()),
        _ => Err(conflict().into()),
    }
}

/// Whether a hold ended, and not by a capture, with nothing charged.
fn was_given_back(hold: &Hold) -> bool {
    hold.captured == Amount::ZERO && hold.end.is_some_and(|end| end.by != EndedBy::Capture)
}

/// What a call cost; `None` where its answer does not say, or there is no price of what it says.
async fn cost(app: &App, id: &HoldId, call: &Call) -> Result<Option<Amount>, Failure> {
    let Some(taken) = call.taken(&app.engine.catalog().catalog) else { return Ok(None) };
    match of_capture(app, id, &taken).await {
        Ok(cost) => Ok(Some(cost)),
        Err(failure) if matches!(failure.problem.code, Code::NoPrice | Code::InvalidField) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Records what was used of a hold that ended before, with nothing charged: the call was made.
async fn late(
    app: &App,
    caller: &Caller,
    id: &HoldId,
    hold: &Hold,
    cost: Option<Amount>,
) -> Result<Response, PortkeyFailure> {
    let cost = cost.unwrap_or_else(|| hold.quantity.amount());
    let Ok(quantity) = Quantity::new(cost) else { return Ok(charged(id, hold, Amount::ZERO)) };
    // Of one hold one is recorded, however often it is told.
    let key = UsageKey::new(&format!("hold-{}-late", id.number)).map_err(|_| conflict())?;
    let Hold { user, meter, properties, .. } = hold.clone();
    let usage = Use { user, path: None, meter, quantity, key, occurred_at: None, properties };
    let outcomes = record_all(app, &caller.actor, Way::Compat, vec![Ok((id.org.clone(), usage))]).await?;
    for outcome in outcomes {
        outcome.map_err(|problem| Failure::from(*problem))?;
    }
    Ok(charged(id, hold, cost))
}

fn charged(id: &HoldId, hold: &Hold, quantity: Amount) -> Response {
    let state = Some(hold.state().to_owned());
    said(CallData { hold: Some(id.clone()), state, quantity: quantity.into(), remaining: None }, None)
}

fn said(data: CallData, transformed_data: Option<Transformed>) -> Response {
    ok(&Verdict { verdict: true, data: VerdictData::Call(data), transformed_data })
}

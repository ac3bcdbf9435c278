//! LiteLLM's generic API callback: `POST /litellm/calls` takes the payloads that the proxy logs, and records what the calls cost.
//!
//! The calls were made, so they are recorded whatever credit and limits say. LiteLLM's id of a call is its key. LiteLLM drops a
//! batch that is refused, so each call stands by itself: what can be counted is counted, and the answer names the first
//! that cannot. Prompts and answers in a payload are not looked at, and kept nowhere. What LiteLLM says of its own budgets is in
//! [`budgets`].

pub(crate) mod budgets;

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use axum::response::Response;
use rust_decimal::prelude::ToPrimitive;
use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tollgate_api::{Code, Problem, PropertyValue, Time, shortened};
use tollgate_domain::catalog::LitellmSettings;
use tollgate_domain::{Catalog, OrgId, Quantity, Role, Timestamp, UsageKey, Use, UserId};
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::Caller;
use crate::compat::elements::Elements;
use crate::compressed::Coding;
use crate::decimal;
use crate::extract::{NoQuery, content_type};
use crate::native::batch::{elements, read_aside, record_all, too_many, wait_for_turn};
use crate::native::usage::{Times, properties};
use crate::newcomers::Way;
use crate::reply::Failure;

/// Digits after the point at which a cost is what was meant, and no noise of a float.
const MEANT_DIGITS: u32 = 12;

/// Digits after the point of an amount.
const AMOUNT_DIGITS: u32 = 9;

/// Takes what LiteLLM logs of calls of models, and records their cost as usage of the meter of `[compat.litellm]`.
///
/// The body is a JSON array of standard logging payloads, or one after the other. The id of a call is its key: it counts once however often it is sent.
/// A call that failed, or was answered from the cache, counts nothing. Where some calls cannot be counted the others are, and the
/// answer names the first of those.
#[utoipa::path(
    post, path = "/litellm/calls", tag = "LiteLLM", operation_id = "litellm_calls",
    request_body = Vec<LitellmCall>,
    responses((status = 204, description = "They were taken, now or before"))
)]
pub(crate) async fn take(
    State(app): State<App>,
    caller: Caller,
    _: NoQuery,
    request: Request,
) -> Result<Response, Failure> {
    caller.require(Role::Ingest, caller.org.as_ref())?;
    content_type(&request, |kind| kind == "application/json", "application/json")?;
    let coding = Coding::of(request.headers())?;
    let actor = caller.actor.clone();
    let _turn = wait_for_turn(&app).await?;
    let in_force = app.engine.catalog();
    let (catalog, settings) = (in_force.catalog, in_force.declared.compat.litellm.clone());
    let times = Times::of(&app);
    let read = move |body: &[u8]| {
        let reader = Reader { catalog: &catalog, settings: &settings, caller: &caller, times };
        let read = payloads(body)?
            .into_iter()
            .enumerate()
            .filter_map(|(place, payload)| Some((place, reader.read(payload).transpose()?)));
        Ok(read.collect::<Vec<_>>())
    };
    let calls = read_aside(&app, request, coding, read).await?;
    let (mut places, mut payers, mut usages) = (Vec::new(), Vec::new(), Vec::new());
    for (place, call) in calls {
        places.push(place);
        payers.push(call.as_ref().map_or(TEAM, |call| call.payer));
        usages.push(call.map(|call| (call.org, call.usage)));
    }
    let outcomes = record_all(&app, &actor, Way::Compat, usages).await?.into_iter().zip(payers);
    let outcomes = outcomes.map(|(outcome, payer)| {
        outcome.map_err(|mut problem| {
            if problem.field.as_deref() == Some("org") {
                problem.field = Some(payer.to_owned());
            }
            problem
        })
    });
    CALLS.on(&places, outcomes.collect())
}

/// What names the organization of a call.
const ORG: &str = "metadata.user_api_key_org_id";

/// What names it where the call has no organization of LiteLLM's.
const TEAM: &str = "metadata.user_api_key_team_id";

/// What was taken back stays so, and is known.
const CALLS: Elements = Elements {
    element: "call",
    counted: "call",
    is_known: |code| matches!(code, Code::KeyReversed),
    own_name,
};

/// What a field of the native API is called in a payload.
fn own_name(field: &str) -> &str {
    match field {
        "org" => TEAM,
        "user" => "metadata.user_api_key_user_id",
        "key" => "id",
        "quantity" => "response_cost",
        "time" => "endTime",
        other => other,
    }
}

/// The payloads of a body: the elements of an array, or one after the other.
fn payloads(body: &[u8]) -> Result<Vec<&[u8]>, Failure> {
    if body.trim_ascii_start().first().is_none_or(|first| *first == b'[') {
        return elements(body);
    }
    let stream = serde_json::Deserializer::from_slice(body).into_iter::<&RawValue>();
    let mut found = Vec::new();
    for payload in stream {
        if found.len() == crate::limits::BATCH_RECORDS_MAX {
            return Err(too_many());
        }
        let unreadable = |error| Problem::new(Code::Unreadable, format!("the body is not JSON: {error}"));
        found.push(payload.map_err(unreadable)?.get().as_bytes());
    }
    Ok(found)
}

/// A call, as the document describes it; LiteLLM sends much more.
#[derive(Serialize, ToSchema)]
#[expect(non_snake_case, reason = "LiteLLM's names")]
pub(crate) struct LitellmCall {
    /// Its id.
    id: String,
    /// `success` or `failure`.
    status: Option<String>,
    /// What it cost, in USD.
    response_cost: Option<f64>,
    /// Whether it was answered from the cache.
    cache_hit: Option<bool>,
    /// When it ended, in seconds since 1970.
    endTime: Option<f64>,
    /// The model.
    model: Option<String>,
    /// Who made the model.
    custom_llm_provider: Option<String>,
    /// What kind of call it was.
    call_type: Option<String>,
    /// Tokens of the prompt.
    prompt_tokens: Option<u64>,
    /// Tokens of the answer.
    completion_tokens: Option<u64>,
    /// Whose key it was made with.
    metadata: LitellmCallMetadata,
}

/// Whose key a call was made with.
#[derive(Serialize, ToSchema)]
pub(crate) struct LitellmCallMetadata {
    /// Its organization in LiteLLM: the organization.
    user_api_key_org_id: Option<String>,
    /// Its team: the organization, where it has none.
    user_api_key_team_id: Option<String>,
    /// Its user.
    user_api_key_user_id: Option<String>,
}

/// A payload as it is sent; what else is in it is not looked at. Older versions send all values as texts.
#[derive(Deserialize)]
struct Payload<'a> {
    id: Option<String>,
    status: Option<String>,
    #[serde(borrow)]
    response_cost: Option<&'a RawValue>,
    /// The name in an older form.
    #[serde(borrow)]
    cost: Option<&'a RawValue>,
    #[serde(borrow)]
    response_cost_failure_debug_info: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_hit: Option<&'a RawValue>,
    #[serde(borrow, rename = "endTime")]
    end_time: Option<&'a RawValue>,
    model: Option<String>,
    custom_llm_provider: Option<String>,
    call_type: Option<String>,
    #[serde(borrow)]
    prompt_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    completion_tokens: Option<&'a RawValue>,
    #[serde(default)]
    metadata: Option<PayloadMetadata>,
}

#[derive(Default, Deserialize)]
struct PayloadMetadata {
    user_api_key_org_id: Option<String>,
    user_api_key_team_id: Option<String>,
    user_api_key_user_id: Option<String>,
}

/// A call as usage.
struct Call {
    org: OrgId,
    /// What of the payload names the org.
    payer: &'static str,
    usage: Use,
}

/// What payloads are read by.
struct Reader<'a> {
    catalog: &'a Catalog,
    settings: &'a LitellmSettings,
    caller: &'a Caller,
    times: Times,
}

fn wrong(field: &str, text: &str) -> Box<Problem> {
    Box::new(Problem::new(Code::InvalidField, format!("{field}: {text}")).on_field(field))
}

fn missing(field: &str, text: &str) -> Box<Problem> {
    Box::new(
        Problem::new(Code::MissingField, format!("the field '{field}' is missing{text}")).on_field(field),
    )
}

impl Reader<'_> {
    /// The usage that a call is; `None` where it counts nothing.
    fn read(&self, payload: &[u8]) -> Result<Option<Call>, Box<Problem>> {
        let payload: Payload<'_> = tollgate_api::read_body(payload).map_err(|error| {
            let mut problem = Problem::new(error.code, error.detail);
            problem.field = error.field;
            Box::new(problem)
        })?;
        let is =
            |value: Option<&RawValue>| value.is_some_and(|value| value.get().to_lowercase().contains("true"));
        if payload.status.as_deref() == Some("failure") || is(payload.cache_hit) {
            return Ok(None);
        }
        let id = payload.id.as_deref().filter(|id| !id.is_empty()).ok_or_else(|| missing("id", ""))?;
        let key = UsageKey::new(id).map_err(|error| wrong("id", &error.to_string()))?;
        let Some(quantity) = cost(&payload)? else { return Ok(None) };
        let metadata = payload.metadata.as_ref();
        let (org, payer) = self.org(metadata)?;
        self.caller.require(Role::Ingest, Some(&org)).map_err(|failure| failure.problem)?;
        let user = metadata.and_then(|metadata| metadata.user_api_key_user_id.as_deref());
        let user = user.filter(|user| !user.is_empty()).map(UserId::new).transpose();
        let user = user.map_err(|error| wrong("user", &error.to_string()))?;
        let time = payload
            .end_time
            .map(|time| time_of(time).ok_or_else(|| wrong("time", "must be seconds since 1970")));
        let occurred_at = self.times.read(time.transpose()?).map_err(|failure| failure.problem)?;
        let usage = Use {
            user,
            path: None,
            meter: self.settings.meter.clone(),
            quantity,
            key,
            occurred_at,
            properties: self.properties(&payload)?,
        };
        Ok(Some(Call { org, payer, usage }))
    }

    /// Who pays: the organization of the key, or its team, or who is set in the catalog; and what says so.
    fn org(&self, metadata: Option<&PayloadMetadata>) -> Result<(OrgId, &'static str), Box<Problem>> {
        let named = |of: fn(&PayloadMetadata) -> &Option<String>| {
            metadata.and_then(|metadata| of(metadata).as_deref()).filter(|id| !id.is_empty())
        };
        let org = named(|metadata| &metadata.user_api_key_org_id).map(|id| (ORG, id));
        let payer = org.or_else(|| named(|metadata| &metadata.user_api_key_team_id).map(|id| (TEAM, id)));
        match (payer, &self.settings.org) {
            (Some((payer, id)), _) => {
                let org = OrgId::new(id).map_err(|error| wrong(payer, &error.to_string()));
                org.map(|org| (org, payer))
            }
            (None, Some(org)) => Ok((org.clone(), TEAM)),
            (None, None) => Err(missing(
                "org",
                ": the key has neither organization nor team, and compat.litellm names no org",
            )),
        }
    }

    fn properties(&self, payload: &Payload<'_>) -> Result<BTreeMap<String, String>, Box<Problem>> {
        let number = |count: Option<&RawValue>| count.map(|count| count.get().trim_matches('"').to_owned());
        let given = [
            ("model", payload.model.clone()),
            ("provider", payload.custom_llm_provider.clone()),
            ("call_type", payload.call_type.clone()),
            ("prompt_tokens", number(payload.prompt_tokens)),
            ("completion_tokens", number(payload.completion_tokens)),
        ];
        let meter = self.catalog.meter(&self.settings.meter);
        let takes = |name: &str| meter.is_none_or(|meter| meter.takes_property(name));
        let given = given.into_iter().filter(|(name, _)| takes(name));
        let given = given.filter_map(|(name, value)| Some((name.to_owned(), PropertyValue(value?))));
        properties(given.collect()).map_err(|failure| failure.problem)
    }
}

/// What a call cost, rounded up once; `None` where it is free. A call whose cost LiteLLM does not know is none.
fn cost(payload: &Payload<'_>) -> Result<Option<Quantity>, Box<Problem>> {
    let unknown = || {
        let model = shortened(payload.model.as_deref().unwrap_or_default());
        let detail = format!(
            "response_cost: LiteLLM knows no cost of a call of the model '{model}'; give the model a price there"
        );
        Box::new(Problem::new(Code::NoCost, detail).on_field("quantity"))
    };
    let json = payload.response_cost.or(payload.cost).ok_or_else(unknown)?;
    let usd = decimal::read(json.get()).filter(|usd| !usd.is_sign_negative() || usd.is_zero());
    let usd = usd.ok_or_else(|| wrong("quantity", "must be a number, zero or more"))?;
    if usd.is_zero() {
        return if payload.response_cost_failure_debug_info.is_some() { Err(unknown()) } else { Ok(None) };
    }
    let meant = usd
        .round_dp_with_strategy(MEANT_DIGITS, RoundingStrategy::MidpointNearestEven)
        .max(Decimal::new(1, MEANT_DIGITS));
    let counted = meant.round_dp_with_strategy(AMOUNT_DIGITS, RoundingStrategy::AwayFromZero).normalize();
    Quantity::parse(&counted.to_string()).map(Some).map_err(|error| wrong("quantity", &error.to_string()))
}

/// A time in seconds since 1970.
fn time_of(json: &RawValue) -> Option<Time> {
    let micros = decimal::read(json.get())?.checked_mul(Decimal::from(1_000_000))?.trunc().to_i64()?;
    Timestamp::from_microsecond(micros).ok().map(Time)
}

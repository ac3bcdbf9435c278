//! Stripe's meter events: `POST /v1/billing/meter_events` records usage, `POST /v1/billing/meter_event_adjustments` takes it back.
//!
//! Usage has happened when it comes here: it is recorded whatever credit and limits say. The catalog's `[compat.stripe]` says
//! how an event is read. The identifier of an event is its key; an event without one has that of its `Idempotency-Key`.
//! Stripe's clients try 409 again, so what another attempt cannot change is 400 here.

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tollgate_api::{Code, HeaderKey, Problem, PropertyValue, Time, shortened};
use tollgate_domain::catalog::{Aggregation, StripeSettings};
use tollgate_domain::{
    Catalog, MeterId, OrgCommand, OrgDecision, OrgId, Quantity, Reverse, Role, Timestamp, UsageKey, Use,
    UserId,
};
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::{Caller, brings_secret};
use crate::compat::keys::new_key;
use crate::convert::{conflict, reversal_problem};
use crate::extract::{IdempotencyKey, NoQuery, Query, content_type, read_decoded};
use crate::native::batch::record_all;
use crate::native::usage::{Times, properties};
use crate::newcomers::Way;
use crate::reply::{Failure, compat_response, ok};

/// The type of a body.
const FORM: &str = "application/x-www-form-urlencoded";

/// An error of this API.
#[derive(Debug)]
pub(crate) struct StripeFailure {
    failure: Failure,
    kind: Option<&'static str>,
    code: Option<&'static str>,
}

impl From<Failure> for StripeFailure {
    fn from(failure: Failure) -> Self {
        Self { failure, kind: None, code: None }
    }
}

impl From<Problem> for StripeFailure {
    fn from(problem: Problem) -> Self {
        Failure::from(problem).into()
    }
}

impl StripeFailure {
    /// A wrong request: 400 here, whatever it is in the native API.
    fn bad(mut problem: Problem) -> Self {
        if matches!(problem.status, 404 | 409 | 422) {
            problem.status = 400;
        }
        problem.into()
    }

    fn wrong(param: &str, text: &str) -> Self {
        Self::bad(Problem::new(Code::InvalidField, format!("{param}: {text}")).on_field(param))
    }

    fn missing(param: &str) -> Self {
        Self::bad(
            Problem::new(Code::MissingField, format!("Missing required param: {param}.")).on_field(param),
        )
    }

    /// With a code of Stripe's.
    fn coded(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }
}

/// What is wrong, in the words of Stripe's API.
#[derive(Serialize, ToSchema)]
#[schema(as = StripeError)]
pub(crate) struct ErrorItem {
    /// `invalid_request_error`, `idempotency_error` or `api_error`.
    r#type: &'static str,
    /// A code of Stripe's where there is one, else that of the problem.
    code: &'static str,
    /// What is wrong.
    message: String,
    /// The field that is wrong.
    param: Option<String>,
}

impl IntoResponse for StripeFailure {
    fn into_response(self) -> Response {
        let problem = &self.failure.problem;
        let kind = self.kind.unwrap_or(match problem.status {
            500.. => "api_error",
            _ => "invalid_request_error",
        });
        let code = self.code.unwrap_or(match problem.code {
            Code::MissingField => "parameter_missing",
            Code::UnknownOrg | Code::UnknownMeter | Code::UnknownKey => "resource_missing",
            Code::RateLimited => "rate_limit",
            other => other.text(),
        });
        let error =
            ErrorItem { r#type: kind, code, message: problem.detail.clone(), param: problem.field.clone() };
        let error = serde_json::to_value(error).unwrap_or_default();
        compat_response(self.failure, error)
    }
}

/// A meter event.
#[derive(Serialize, ToSchema)]
#[schema(as = StripeMeterEventRequest)]
pub(crate) struct EventBody {
    /// The meter: its id, or a name that the catalog's `[compat.stripe]` maps to one.
    event_name: String,
    /// The organization as `stripe_customer_id`, the quantity as `value`, and properties; sent as `payload[value]=25`.
    payload: BTreeMap<String, String>,
    /// It counts once however often it is sent. Without one it is that of the header `Idempotency-Key`, or a new one.
    identifier: Option<String>,
    /// When it happened, in seconds since 1970; now unless given.
    timestamp: Option<i64>,
}

/// A meter event that was recorded.
#[derive(Serialize, ToSchema)]
#[schema(as = StripeMeterEvent)]
pub(crate) struct EventItem {
    /// `billing.meter_event`.
    object: &'static str,
    /// When it was recorded, in seconds since 1970.
    created: i64,
    /// Its name.
    event_name: String,
    /// Its identifier.
    identifier: String,
    /// `true`.
    livemode: bool,
    /// What it holds.
    payload: BTreeMap<String, String>,
    /// When it happened, in seconds since 1970.
    timestamp: i64,
}

/// Takes back a meter event.
#[derive(Serialize, ToSchema)]
#[schema(as = StripeAdjustmentRequest)]
pub(crate) struct AdjustmentBody {
    /// The name of the event.
    event_name: String,
    /// `cancel`.
    r#type: String,
    /// Which event; sent as `cancel[identifier]=…`.
    cancel: CancelBody,
}

/// Which event is taken back.
#[derive(Serialize, ToSchema)]
#[schema(as = StripeCancelRequest)]
pub(crate) struct CancelBody {
    /// Its identifier.
    identifier: String,
    /// The organization; not needed with an API key that is bound to one.
    stripe_customer_id: Option<String>,
}

/// A meter event that was taken back.
#[derive(Serialize, ToSchema)]
#[schema(as = StripeAdjustment)]
pub(crate) struct AdjustmentItem {
    /// `billing.meter_event_adjustment`.
    object: &'static str,
    /// Which event.
    cancel: CancelItem,
    /// The name of the event.
    event_name: String,
    /// `true`.
    livemode: bool,
    /// `complete`.
    status: &'static str,
    /// `cancel`.
    r#type: &'static str,
}

/// Which event was taken back.
#[derive(Serialize, ToSchema)]
#[schema(as = StripeCancel)]
pub(crate) struct CancelItem {
    /// Its identifier.
    identifier: String,
}

/// Records a meter event as usage, by `[compat.stripe]` of the catalog.
#[utoipa::path(
    post, path = "/v1/billing/meter_events", tag = "Stripe API", operation_id = "stripe_meter_event",
    request_body(content = EventBody, content_type = "application/x-www-form-urlencoded"),
    params(("Idempotency-Key" = Option<HeaderKey>, Header, description = "The identifier of an event that has none")),
    responses((status = 200, description = "It was recorded, now or before", body = EventItem))
)]
pub(crate) async fn take(
    State(app): State<App>,
    caller: Result<Caller, Failure>,
    query: Result<NoQuery, Failure>,
    header: Result<IdempotencyKey, Failure>,
    request: Request,
) -> Result<Response, StripeFailure> {
    let caller = caller?;
    query?;
    let mut form = read(&app, request).await?;
    let in_force = app.engine.catalog();
    let (catalog, settings) = (in_force.catalog, &in_force.declared.compat.stripe);
    let event_name = needed(&mut form, "event_name")?;
    let identifier = form.take("identifier");
    let timestamp = form.take("timestamp");
    let payload = form.take_prefixed("payload[");
    end(form)?;
    let payload = bracketed("payload", payload)?;
    let org = org(&caller, &payload, "payload", settings)?;
    let meter = meter(settings, &event_name)?;
    let occurred_at = timestamp.map(|text| time(&text)).transpose()?;
    let occurred_at = Times::read_now(&app, occurred_at).map_err(|failure| {
        let detail = failure.problem.detail.replacen("time:", "timestamp:", 1);
        let field = Some("timestamp".to_owned());
        StripeFailure::bad(Problem { detail, field, ..*failure.problem })
    })?;
    let quantity = quantity(&catalog, settings, &meter, &payload)?;
    let header = header.map_err(|failure| StripeFailure::bad(*failure.problem))?;
    let is_named = identifier.is_some();
    let key = match identifier {
        Some(text) => UsageKey::new(&text)
            .map(Some)
            .map_err(|error| StripeFailure::wrong("identifier", &error.to_string()))?,
        None => header.0,
    };
    let key = key.map_or_else(new_key, Ok)?;
    let item = |at: Timestamp| EventItem {
        object: "billing.meter_event",
        created: at.as_second(),
        event_name: event_name.clone(),
        identifier: key.to_string(),
        livemode: true,
        payload: payload.clone(),
        timestamp: occurred_at.unwrap_or(at).as_second(),
    };
    let Some(quantity) = quantity else { return Ok(ok(&item(app.engine.clock().now()))) };
    let usage = Use {
        user: user(settings, &payload)?,
        path: None,
        meter: meter.clone(),
        quantity,
        key: key.clone(),
        occurred_at,
        properties: kept(&catalog, settings, &meter, &payload)?,
    };
    let recorded = record_all(&app, &caller.actor, Way::Native, vec![Ok((org, usage))]).await?;
    match recorded.into_iter().next().ok_or_else(conflict)? {
        Ok(recorded) => Ok(ok(&item(recorded.at))),
        Err(problem) => Err(refused(*problem, settings, &key, is_named)),
    }
}

/// Why an event was not recorded, with the names of its form.
fn refused(mut problem: Problem, settings: &StripeSettings, key: &UsageKey, is_named: bool) -> StripeFailure {
    problem.field = problem.field.map(|field| match field.as_str() {
        "org" => format!("payload[{}]", settings.customer),
        "meter" => "event_name".to_owned(),
        "key" if is_named => "identifier".to_owned(),
        "key" => "Idempotency-Key".to_owned(),
        other => other.to_owned(),
    });
    if problem.code != Code::KeyReused {
        return StripeFailure::bad(problem);
    }
    if !is_named {
        problem.detail = "the Idempotency-Key was used for another event; use a new one".to_owned();
        return StripeFailure { kind: Some("idempotency_error"), ..StripeFailure::bad(problem) };
    }
    // Callers look for these words.
    problem.detail = format!("An event already exists with identifier {key}.");
    StripeFailure::bad(problem).coded("duplicate_meter_event")
}

/// Takes a meter event back by its identifier.
///
/// An identifier is that of one organization's event, so the organization is named, too: as `cancel[stripe_customer_id]`, or by
/// an API key that is bound to it.
#[utoipa::path(
    post, path = "/v1/billing/meter_event_adjustments", tag = "Stripe API", operation_id = "stripe_meter_event_adjustment",
    request_body(content = AdjustmentBody, content_type = "application/x-www-form-urlencoded"),
    params(("Idempotency-Key" = Option<HeaderKey>, Header, description = "Taken, and not needed: sent again, the request changes nothing more")),
    responses((status = 200, description = "It was taken back, now or before", body = AdjustmentItem))
)]
pub(crate) async fn adjust(
    State(app): State<App>,
    caller: Result<Caller, Failure>,
    query: Result<NoQuery, Failure>,
    request: Request,
) -> Result<Response, StripeFailure> {
    let caller = caller?;
    query?;
    let mut form = read(&app, request).await?;
    let settings = app.engine.catalog().declared.compat.stripe.clone();
    let event_name = needed(&mut form, "event_name")?;
    let kind = needed(&mut form, "type")?;
    let mut cancel = form.take_prefixed("cancel[");
    end(form)?;
    if kind != "cancel" {
        return Err(StripeFailure::wrong("type", "must be 'cancel'"));
    }
    let identifier =
        cancel.remove("identifier]").ok_or_else(|| StripeFailure::missing("cancel[identifier]"))?;
    let cancel = bracketed("cancel", cancel)?;
    if let Some(name) = cancel.keys().find(|name| **name != settings.customer) {
        return Err(unknown(&format!("cancel[{name}]")));
    }
    let org = org(&caller, &cancel, "cancel", &settings)?;
    let meter = meter(&settings, &event_name)?;
    let wrong_key = |text: &str| StripeFailure::wrong("cancel[identifier]", text);
    let key = UsageKey::new(&identifier).map_err(|error| wrong_key(&error.to_string()))?;
    let used = app.engine.usage_of_key(&org, &key).await.map_err(Failure::from)?;
    if used.is_some_and(|(_, used)| used.meter != meter) {
        let text = format!("the event is not one of '{}'", shortened(&event_name));
        return Err(StripeFailure::wrong("event_name", &text).coded("resource_missing"));
    }
    let command = OrgCommand::Reverse(Reverse { key: key.clone() });
    match app.engine.submit(&caller.actor, org.clone(), command).await.map_err(Failure::from)? {
        OrgDecision::Reverse(Ok(_)) => Ok(ok(&AdjustmentItem {
            object: "billing.meter_event_adjustment",
            cancel: CancelItem { identifier: key.into() },
            event_name,
            livemode: true,
            status: "complete",
            r#type: "cancel",
        })),
        OrgDecision::Reverse(Err(denial)) => {
            let mut problem = reversal_problem(denial, &org, &key);
            let is_org = problem.code == Code::UnknownOrg;
            let name = if is_org { settings.customer.as_str() } else { "identifier" };
            problem.field = Some(format!("cancel[{name}]"));
            Err(StripeFailure::bad(problem))
        }
        _ => Err(conflict().into()),
    }
}

/// The fields of a body.
///
/// A page of another origin may send a form without asking first, but no API key: so there must be one, also where nobody
/// needs it.
async fn read(app: &App, request: Request) -> Result<Query, StripeFailure> {
    if !brings_secret(request.headers()) {
        let detail = "send an API key as 'Authorization: Bearer KEY'; a server without API keys takes any";
        return Err(Problem::new(Code::Unauthorized, detail).into());
    }
    content_type(&request, |kind| kind == FORM, FORM)?;
    let body = read_decoded(request, app.settings.body_bytes_max, app.settings.request_timeout).await?;
    let mut form = Query::parse(&body)?;
    // Which members of the answer are to be whole: they are, always.
    form.take_prefixed("expand[");
    Ok(form)
}

fn needed(form: &mut Query, param: &str) -> Result<String, StripeFailure> {
    form.take(param).filter(|text| !text.is_empty()).ok_or_else(|| StripeFailure::missing(param))
}

/// Refuses what nobody took.
fn end(form: Query) -> Result<(), StripeFailure> {
    form.end().map_err(|failure| unknown(failure.problem.field.as_deref().unwrap_or_default()))
}

fn unknown(param: &str) -> StripeFailure {
    let detail = format!("Received unknown parameter: {param}");
    StripeFailure::bad(Problem::new(Code::UnknownField, detail).on_field(param)).coded("parameter_unknown")
}

/// Members as `name[member]` by their names, of which the beginning was taken off.
fn bracketed(
    name: &str,
    members: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, StripeFailure> {
    let mut found = BTreeMap::new();
    for (rest, value) in members {
        let member =
            rest.strip_suffix(']').filter(|member| !member.is_empty() && !member.contains(['[', ']']));
        let member = member.ok_or_else(|| unknown(&shortened(&format!("{name}[{rest}"))))?;
        found.insert(member.to_owned(), value);
    }
    Ok(found)
}

/// The organization that a form names, or that the API key is bound to.
fn org(
    caller: &Caller,
    members: &BTreeMap<String, String>,
    of: &str,
    settings: &StripeSettings,
) -> Result<OrgId, StripeFailure> {
    let param = format!("{of}[{}]", settings.customer);
    let org = match (members.get(&settings.customer), &caller.org) {
        (Some(id), _) => OrgId::new(id).map_err(|error| StripeFailure::wrong(&param, &error.to_string()))?,
        (None, Some(bound)) => bound.clone(),
        (None, None) => return Err(StripeFailure::missing(&param)),
    };
    caller.require(Role::Ingest, Some(&org)).map_err(|mut failure| {
        failure.problem.field = failure.problem.field.map(|_| param);
        failure
    })?;
    Ok(org)
}

fn meter(settings: &StripeSettings, event_name: &str) -> Result<MeterId, StripeFailure> {
    let mapped = settings.meters.get(event_name).cloned().map(Ok);
    let meter = mapped.unwrap_or_else(|| MeterId::new(event_name));
    meter.map_err(|error| StripeFailure::wrong("event_name", &error.to_string()))
}

fn time(text: &str) -> Result<Time, StripeFailure> {
    let second = text.parse().ok().and_then(|second| Timestamp::from_second(second).ok());
    second.map(Time).ok_or_else(|| {
        let failure = StripeFailure::wrong("timestamp", "must be a whole number of seconds since 1970");
        failure.coded("parameter_invalid_integer")
    })
}

/// How much an event uses; `None` is nothing. Where a meter counts, it is the events.
fn quantity(
    catalog: &Catalog,
    settings: &StripeSettings,
    meter: &MeterId,
    payload: &BTreeMap<String, String>,
) -> Result<Option<Quantity>, StripeFailure> {
    if catalog.meter(meter).is_some_and(|meter| meter.aggregation == Aggregation::Count) {
        return Ok(Some(Quantity::ONE));
    }
    let param = format!("payload[{}]", settings.value);
    let text = payload.get(&settings.value).ok_or_else(|| StripeFailure::missing(&param))?;
    let amount = tollgate_domain::Amount::parse(text)
        .map_err(|error| StripeFailure::wrong(&param, &error.to_string()))?;
    if amount.is_zero() {
        return Ok(None);
    }
    Quantity::new(amount).map(Some).map_err(|error| StripeFailure::wrong(&param, &error.to_string()))
}

fn user(
    settings: &StripeSettings,
    payload: &BTreeMap<String, String>,
) -> Result<Option<UserId>, StripeFailure> {
    let Some(name) = &settings.user else { return Ok(None) };
    let given = payload.get(name).filter(|user| !user.is_empty());
    let user = given.map(|user| UserId::new(user)).transpose();
    user.map_err(|error| StripeFailure::wrong(&format!("payload[{name}]"), &error.to_string()))
}

/// What else is in a payload, where the meter takes it.
fn kept(
    catalog: &Catalog,
    settings: &StripeSettings,
    meter: &MeterId,
    payload: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, StripeFailure> {
    let meter = catalog.meter(meter);
    let is_own = |name: &str| {
        [Some(&settings.customer), Some(&settings.value), settings.user.as_ref()]
            .into_iter()
            .flatten()
            .any(|own| own == name)
    };
    let takes = |name: &str| !is_own(name) && meter.is_none_or(|meter| meter.takes_property(name));
    let given = payload.iter().filter(|(name, _)| takes(name));
    let given = given.map(|(name, value)| (name.clone(), PropertyValue(value.clone()))).collect();
    properties(given).map_err(|failure| {
        let mut problem = *failure.problem;
        problem.field = problem.field.map(|field| match field.strip_prefix("properties.") {
            Some(name) => format!("payload[{name}]"),
            None => "payload".to_owned(),
        });
        StripeFailure::bad(problem)
    })
}

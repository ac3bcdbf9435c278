//! Lago's events, under `/lago/`: `POST /lago/api/v1/events` and `…/events/batch` record usage, `GET …/events/{transaction_id}`
//! shows it.
//!
//! The catalog's `[compat.lago]` says which property of an event is its quantity. Usage has happened when it comes here: it is
//! recorded whatever credit and limits say. The transaction id of an event is its key within its subscription, which is the
//! organization here. All events of a batch are read before any is counted.

use std::collections::BTreeMap;

use axum::extract::{FromRequestParts, Request, State};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tollgate_api::{Code, Id, Members, Problem, PropertyValue, Time, counted, read_body, shortened};
use tollgate_domain::catalog::{Aggregation, LagoMetric, LagoSettings};
use tollgate_domain::{Catalog, MeterId, OrgId, Quantity, Role, Timestamp, UsageKey, Use, UsedEntry, UserId};
use utoipa::ToSchema;
use uuid::Builder;

use crate::app::App;
use crate::auth::Caller;
use crate::compat::elements::were;
use crate::compressed::Coding;
use crate::decimal;
use crate::extract::{NoQuery, Query, content_type, path_id};
use crate::native::batch::{read_aside, record_all, too_many, wait_for_turn};
use crate::native::problems::{P404, P422};
use crate::native::usage::{Times, properties};
use crate::newcomers::Way;
use crate::reply::{Failure, ok, own_response};

/// An error of this API: with what is wrong with each event, by its place in a batch.
#[derive(Debug)]
pub(crate) struct LagoFailure {
    failure: Failure,
    details: Option<Value>,
}

impl From<Failure> for LagoFailure {
    fn from(failure: Failure) -> Self {
        Self { failure, details: None }
    }
}

/// An error, as Lago words it.
#[derive(Serialize, ToSchema)]
#[schema(as = LagoError)]
pub(crate) struct ErrorBody {
    /// The status.
    status: u16,
    /// Its name.
    error: String,
    /// `validation_errors` where an event is wrong, else the code of the problem.
    code: &'static str,
    /// What is wrong, in words.
    detail: String,
    /// What is wrong with which field, by codes of Lago's; in a batch by the place of the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_details: Option<Value>,
}

impl IntoResponse for LagoFailure {
    fn into_response(self) -> Response {
        let problem = &self.failure.problem;
        let is_validation = problem.status == 422;
        let details = self.details.or_else(|| is_validation.then(|| details(problem)));
        let body = ErrorBody {
            status: problem.status,
            error: crate::reply::status(problem.status).canonical_reason().unwrap_or_default().to_owned(),
            code: if is_validation { "validation_errors" } else { problem.code.text() },
            detail: problem.detail.clone(),
            error_details: details,
        };
        own_response(self.failure, serde_json::to_value(body).unwrap_or_default())
    }
}

/// What is wrong with an event, by its fields.
fn details(problem: &Problem) -> Value {
    let code = match problem.code {
        Code::MissingField => "value_is_mandatory",
        Code::KeyReused | Code::KeyReversed => "value_already_exist",
        Code::UnknownOrg => "subscription_not_found",
        Code::UnknownMeter => "billable_metric_not_found",
        _ => "value_is_invalid",
    };
    json!({problem.field.as_deref().unwrap_or("base"): [code]})
}

/// A wrong event: 422 here, whatever it is in the native API, with the names of Lago's fields.
fn wrong_event(mut problem: Problem) -> Problem {
    if matches!(problem.status, 400 | 404 | 409) && problem.code != Code::Unreadable {
        problem.status = 422;
    }
    problem.field = problem.field.map(|field| match field.as_str() {
        "org" => "external_subscription_id".to_owned(),
        "meter" => "code".to_owned(),
        "key" => "transaction_id".to_owned(),
        "time" => "timestamp".to_owned(),
        _ => field,
    });
    problem
}

fn failed(problem: Problem) -> LagoFailure {
    Failure::from(wrong_event(problem)).into()
}

fn wrong(field: &str, text: &str) -> Box<Problem> {
    Box::new(Problem::new(Code::InvalidField, format!("{field}: {text}")).on_field(field))
}

/// One event.
#[derive(Deserialize, ToSchema)]
#[schema(as = LagoEventRequest)]
pub(crate) struct OneBody {
    /// The event.
    event: EventBody,
}

/// Many events.
#[derive(Deserialize, ToSchema)]
#[schema(as = LagoBatchRequest)]
pub(crate) struct ManyBody {
    /// The events.
    events: Vec<EventBody>,
}

/// Usage of a subscription; what else is in it is not looked at.
#[derive(Deserialize, ToSchema)]
#[schema(as = LagoEventInput)]
pub(crate) struct EventBody {
    /// The caller's id of the event: within its subscription it counts once however often it is sent.
    #[schema(value_type = Id)]
    transaction_id: Option<String>,
    /// The organization.
    #[schema(value_type = Id)]
    external_subscription_id: Option<String>,
    /// The meter: its id, or a metric of the catalog's `[compat.lago]`.
    #[schema(value_type = Id)]
    code: Option<String>,
    /// When it happened, in seconds since 1970, as a number or a text; now unless given.
    #[schema(value_type = Option<f64>)]
    timestamp: Option<Box<RawValue>>,
    /// The quantity, and properties.
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    properties: Option<Members<Box<RawValue>>>,
}

/// One event that was recorded.
#[derive(Serialize, ToSchema)]
#[schema(as = LagoEventReply)]
pub(crate) struct OneReply {
    /// The event.
    event: EventItem,
}

/// Events that were recorded.
#[derive(Serialize, ToSchema)]
#[schema(as = LagoBatchReply)]
pub(crate) struct ManyReply {
    /// The events, in the order of the request.
    events: Vec<EventItem>,
}

/// An event that was recorded.
#[derive(Serialize, ToSchema)]
#[schema(as = LagoEvent)]
pub(crate) struct EventItem {
    /// An id that is made of the organization and the transaction id.
    lago_id: String,
    /// The caller's id of the event.
    transaction_id: String,
    /// Null: an organization has one id.
    lago_customer_id: Option<String>,
    /// Null: an organization has one id.
    lago_subscription_id: Option<String>,
    /// The organization.
    external_subscription_id: String,
    /// The metric.
    code: String,
    /// When it happened.
    timestamp: String,
    /// Null: what an event costs is rated here.
    precise_total_amount_cents: Option<String>,
    /// Its properties, as they were sent.
    #[schema(value_type = BTreeMap<String, Value>)]
    properties: BTreeMap<String, Box<RawValue>>,
    /// When it was recorded.
    created_at: String,
}

/// An event that was read.
struct Event {
    org: OrgId,
    key: UsageKey,
    code: String,
    occurred_at: Option<Timestamp>,
    properties: BTreeMap<String, Box<RawValue>>,
    /// What it uses; an event of nothing uses nothing.
    usage: Option<Use>,
}

impl Event {
    fn item(self, at: Timestamp) -> EventItem {
        EventItem {
            lago_id: id_of(&self.org, &self.key),
            transaction_id: self.key.into(),
            lago_customer_id: None,
            lago_subscription_id: None,
            external_subscription_id: self.org.into(),
            code: self.code,
            timestamp: self.occurred_at.unwrap_or(at).to_string(),
            precise_total_amount_cents: None,
            properties: self.properties,
            created_at: at.to_string(),
        }
    }
}

/// An id in the form that Lago's have.
fn id_of(org: &OrgId, key: &UsageKey) -> String {
    let mut hash = Sha256::new();
    hash.update(u64::try_from(org.as_str().len()).unwrap_or(u64::MAX).to_be_bytes());
    hash.update(org.as_str());
    hash.update(key.as_str());
    let digest: [u8; 32] = hash.finalize().into();
    let bytes = digest.first_chunk::<16>().copied().unwrap_or_default();
    Builder::from_random_bytes(bytes).into_uuid().to_string()
}

/// Records an event as usage, by `[compat.lago]` of the catalog.
#[utoipa::path(
    post, path = "/lago/api/v1/events", tag = "Lago API", operation_id = "lago_event",
    request_body = OneBody,
    responses((status = 200, description = "It was recorded, now or before", body = OneReply), P422)
)]
pub(crate) async fn take(
    State(app): State<App>,
    caller: Result<Caller, Failure>,
    query: Result<NoQuery, Failure>,
    request: Request,
) -> Result<Response, LagoFailure> {
    let caller = caller?;
    query?;
    let one = |body: &[u8]| read_body(body).map(|OneBody { event }| vec![event]);
    let taken = take_all(&app, &caller, request, one).await?;
    let mut events = taken.map_err(|mut wrong| match wrong.pop() {
        Some((_, problem)) => failed(problem),
        None => Failure::from(Problem::new(Code::Internal, "the server failed")).into(),
    })?;
    let event = events.pop().ok_or_else(crate::convert::conflict)?;
    Ok(ok(&OneReply { event }))
}

/// Records many events as usage.
///
/// Where one cannot be read, none is counted. What only counting shows to be wrong, such as an organization that is not
/// known, is told of its event alone: the others are counted.
#[utoipa::path(
    post, path = "/lago/api/v1/events/batch", tag = "Lago API", operation_id = "lago_events",
    request_body = ManyBody,
    responses((status = 200, description = "They were recorded, now or before", body = ManyReply), P422)
)]
pub(crate) async fn take_many(
    State(app): State<App>,
    caller: Result<Caller, Failure>,
    query: Result<NoQuery, Failure>,
    request: Request,
) -> Result<Response, LagoFailure> {
    let caller = caller?;
    query?;
    let many = |body: &[u8]| read_body(body).map(|ManyBody { events }| events);
    match take_all(&app, &caller, request, many).await? {
        Ok(events) => Ok(ok(&ManyReply { events })),
        Err(wrong) => Err(refused(wrong)),
    }
}

/// The answer to a batch with wrong events.
fn refused(wrong: Vec<(usize, Problem)>) -> LagoFailure {
    let count = wrong.len();
    let wrong: Vec<_> = wrong.into_iter().map(|(place, problem)| (place, wrong_event(problem))).collect();
    let by_place = wrong.iter().map(|(place, problem)| (place.to_string(), details(problem)));
    let details = Some(Value::Object(by_place.collect()));
    let Some((place, problem)) = wrong.into_iter().next() else {
        return Failure::from(Problem::new(Code::Internal, "the server failed")).into();
    };
    let detail =
        format!("event {place}: {}; {} {} refused", problem.detail, counted(count, "event"), were(count));
    LagoFailure { failure: Problem { detail, ..problem }.into(), details }
}

/// Reads and counts events: all of them, or the places of those that are wrong.
async fn take_all<R>(
    app: &App,
    caller: &Caller,
    request: Request,
    parse: R,
) -> Result<Result<Vec<EventItem>, Vec<(usize, Problem)>>, LagoFailure>
where
    R: FnOnce(&[u8]) -> Result<Vec<EventBody>, tollgate_api::BodyError> + Send + 'static,
{
    caller.require(Role::Ingest, caller.org.as_ref())?;
    content_type(&request, |kind| kind == "application/json", "application/json")?;
    let coding = Coding::of(request.headers())?;
    let _turn = wait_for_turn(app).await?;
    let in_force = app.engine.catalog();
    let (catalog, settings) = (in_force.catalog, in_force.declared.compat.lago.clone());
    let (times, bound) = (Times::of(app), caller.clone());
    let read = move |body: &[u8]| {
        let bodies = parse(body).map_err(|error| {
            let mut problem = Problem::new(error.code, error.detail);
            problem.field = error.field;
            problem
        })?;
        if bodies.len() > crate::limits::BATCH_RECORDS_MAX {
            return Err(too_many());
        }
        let reader = Reader { catalog: &catalog, settings: &settings, caller: &bound, times };
        let read = bodies.into_iter().enumerate().map(|(place, body)| (place, reader.read(body)));
        let (mut events, mut wrong) = (Vec::new(), Vec::new());
        for (place, read) in read {
            match read {
                Ok(event) => events.push(event),
                // It is the caller that is wrong, not the event.
                Err(problem) if problem.code == Code::Forbidden => return Err((*problem).into()),
                Err(problem) => wrong.push((place, *problem)),
            }
        }
        Ok(if wrong.is_empty() { Ok(events) } else { Err(wrong) })
    };
    let mut events = match read_aside(app, request, coding, read).await? {
        Ok(events) => events,
        Err(wrong) => return Ok(Err(wrong)),
    };
    let mut places = Vec::new();
    let mut usages = Vec::new();
    for (place, event) in events.iter_mut().enumerate() {
        if let Some(usage) = event.usage.take() {
            places.push(place);
            usages.push(Ok((event.org.clone(), usage)));
        }
    }
    let outcomes = record_all(app, &caller.actor, Way::Native, usages).await?;
    let now = app.engine.clock().now();
    let mut recorded: BTreeMap<usize, Timestamp> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (place, outcome) in places.into_iter().zip(outcomes) {
        match outcome {
            Ok(done) => {
                recorded.insert(place, done.at);
            }
            Err(problem) => wrong.push((place, *problem)),
        }
    }
    let at = |place: usize| recorded.get(&place).copied().unwrap_or(now);
    let items = events.into_iter().enumerate().map(|(place, event)| event.item(at(place)));
    Ok(if wrong.is_empty() { Ok(items.collect()) } else { Err(wrong) })
}

/// What events are read by.
struct Reader<'a> {
    catalog: &'a Catalog,
    settings: &'a LagoSettings,
    caller: &'a Caller,
    times: Times,
}

impl Reader<'_> {
    fn read(&self, body: EventBody) -> Result<Event, Box<Problem>> {
        let transaction = needed("transaction_id", body.transaction_id)?;
        let key = UsageKey::new(&transaction).map_err(|error| wrong("transaction_id", &error.to_string()))?;
        let subscription = needed("external_subscription_id", body.external_subscription_id)?;
        let org = OrgId::new(&subscription)
            .map_err(|error| wrong("external_subscription_id", &error.to_string()))?;
        self.caller.require(Role::Ingest, Some(&org)).map_err(|failure| failure.problem)?;
        let code = needed("code", body.code)?;
        let occurred_at = body.timestamp.filter(|timestamp| timestamp.get() != "null");
        let occurred_at = occurred_at.map(|timestamp| time(&timestamp)).transpose()?;
        let occurred_at = self.times.read(occurred_at).map_err(|failure| {
            let detail = failure.problem.detail.replacen("time:", "timestamp:", 1);
            Box::new(Problem { detail, ..*failure.problem })
        })?;
        let Members(properties) = body.properties.unwrap_or_default();
        let (meter, metric) = self.metric(&code)?;
        let quantity = self.quantity(&meter, metric, &code, &properties)?;
        let user = metric.and_then(|metric| metric.user.as_deref());
        let usage = match quantity {
            None => None,
            Some(quantity) => Some(Use {
                user: self.user(user, &properties)?,
                path: None,
                quantity,
                key: key.clone(),
                occurred_at,
                properties: self.kept(&meter, metric, &properties)?,
                meter,
            }),
        };
        Ok(Event { org, key, code, occurred_at, properties, usage })
    }

    /// The meter of a code, and what the catalog says of it.
    fn metric(&self, code: &str) -> Result<(MeterId, Option<&LagoMetric>), Box<Problem>> {
        if let Some(metric) = self.settings.metrics.get(code) {
            return Ok((metric.meter.clone(), Some(metric)));
        }
        let meter = MeterId::new(code).map_err(|error| wrong("code", &error.to_string()))?;
        Ok((meter, None))
    }

    /// How much an event uses; `None` is nothing. Without a field an event is one, where that can be meant.
    fn quantity(
        &self,
        meter: &MeterId,
        metric: Option<&LagoMetric>,
        code: &str,
        properties: &BTreeMap<String, Box<RawValue>>,
    ) -> Result<Option<Quantity>, Box<Problem>> {
        let aggregation = self.catalog.meter(meter).map(|meter| &meter.aggregation);
        let Some(field) = metric.and_then(|metric| metric.field.as_ref()) else {
            let adds_quantities =
                matches!(aggregation, Some(Aggregation::Sum | Aggregation::Max | Aggregation::Last));
            if metric.is_none() && adds_quantities {
                let text = format!(
                    "the catalog does not say which property of '{}' is its quantity; add it to compat.lago.metrics",
                    shortened(code)
                );
                return Err(wrong("code", &text));
            }
            return Ok(Some(Quantity::ONE));
        };
        let name = format!("properties.{field}");
        let given =
            properties.get(field).filter(|value| value.get() != "null").ok_or_else(|| missing(&name))?;
        let amount = decimal::read(given.get())
            .and_then(|decimal| tollgate_domain::Amount::parse(&decimal.normalize().to_string()).ok());
        let amount = amount.ok_or_else(|| {
            wrong(&name, "must be a number of at most 15 digits before the point and 9 after")
        })?;
        if amount.is_zero() {
            return Ok(None);
        }
        Quantity::new(amount).map(Some).map_err(|error| wrong(&name, &error.to_string()))
    }

    fn user(
        &self,
        name: Option<&str>,
        properties: &BTreeMap<String, Box<RawValue>>,
    ) -> Result<Option<UserId>, Box<Problem>> {
        let Some(name) = name else { return Ok(None) };
        let Some(PropertyValue(user)) = properties.get(name).and_then(|value| scalar(value)) else {
            return Ok(None);
        };
        UserId::new(&user).map(Some).map_err(|error| wrong(&format!("properties.{name}"), &error.to_string()))
    }

    /// What else is in the properties, where the meter takes it. Objects, arrays and nulls are none.
    fn kept(
        &self,
        meter: &MeterId,
        metric: Option<&LagoMetric>,
        given: &BTreeMap<String, Box<RawValue>>,
    ) -> Result<BTreeMap<String, String>, Box<Problem>> {
        let meter = self.catalog.meter(meter);
        let own = metric.map(|metric| [metric.field.as_ref(), metric.user.as_ref()]).unwrap_or_default();
        let takes = |name: &String| {
            !own.contains(&Some(name)) && meter.is_none_or(|meter| meter.takes_property(name))
        };
        let given = given.iter().filter(|(name, _)| takes(name));
        let given = given.filter_map(|(name, value)| Some((name.clone(), scalar(value)?)));
        properties(given.collect()).map_err(|failure| failure.problem)
    }
}

fn needed(field: &str, value: Option<String>) -> Result<String, Box<Problem>> {
    value.filter(|value| !value.is_empty()).ok_or_else(|| missing(field))
}

fn missing(field: &str) -> Box<Problem> {
    Box::new(Problem::new(Code::MissingField, format!("the field '{field}' is missing")).on_field(field))
}

/// A text, a number or a boolean.
fn scalar(value: &RawValue) -> Option<PropertyValue> {
    serde_json::from_str(value.get()).ok()
}

/// Seconds since 1970, as a number or a text, with a fraction or without.
fn time(json: &RawValue) -> Result<Time, Box<Problem>> {
    let micros = decimal::read(json.get()).and_then(|seconds| {
        let micros = seconds.checked_mul(Decimal::from(1_000_000))?;
        micros.trunc().to_i64()
    });
    let time = micros.and_then(|micros| Timestamp::from_microsecond(micros).ok());
    time.map(Time).ok_or_else(|| wrong("timestamp", "must be seconds since 1970"))
}

/// Shows an event that was recorded.
///
/// A transaction id is that of one subscription's event, so the subscription is named, too: as a parameter, or by an API key that
/// is bound to the organization.
#[utoipa::path(
    get, path = "/lago/api/v1/events/{transaction_id}", tag = "Lago API", operation_id = "lago_show_event",
    params(
        ("transaction_id" = Id, Path, description = "The caller's id of the event"),
        ("external_subscription_id" = Option<Id>, Query, description = "The organization; not needed with an API key that is bound to one"),
    ),
    responses((status = 200, description = "The event", body = OneReply), P404, P422)
)]
pub(crate) async fn show(
    State(app): State<App>,
    caller: Result<Caller, Failure>,
    TransactionPath(key): TransactionPath,
    query: Result<Query, Failure>,
) -> Result<Response, LagoFailure> {
    let caller = caller?;
    let mut query = query?;
    let org = query.take_as("external_subscription_id", OrgId::new)?.or_else(|| caller.org.clone());
    query.end()?;
    let org = org.ok_or_else(|| failed(*missing("external_subscription_id")))?;
    caller.require_ingest_or_read(Some(&org))?;
    let found = app.engine.usage_of_key(&org, &key).await.map_err(Failure::from)?;
    let Some((at, used)) = found else {
        let detail = format!("no event is remembered under the transaction id '{key}'");
        return Err(Failure::from(Problem::new(Code::UnknownKey, detail).on_field("transaction_id")).into());
    };
    let settings = app.engine.catalog().declared.compat.lago.clone();
    Ok(ok(&OneReply { event: shown(&settings, org, &used).item(at) }))
}

/// An event as its usage tells it.
fn shown(settings: &LagoSettings, org: OrgId, used: &UsedEntry) -> Event {
    let metric = settings.metrics.iter().find(|(_, metric)| metric.meter == used.meter);
    let code = metric.map_or_else(|| used.meter.to_string(), |(code, _)| code.clone());
    let text = |text: &str| serde_json::value::to_raw_value(text).unwrap_or_default();
    let mut properties: BTreeMap<_, _> =
        used.properties.iter().map(|(name, value)| (name.clone(), text(value))).collect();
    if let Some((_, metric)) = metric {
        let number = || RawValue::from_string(used.quantity.amount().to_string()).unwrap_or_default();
        properties.extend(metric.field.clone().map(|field| (field, number())));
        let user = used.user.as_ref().map(|user| text(user.as_str()));
        properties.extend(metric.user.clone().zip(user));
    }
    Event { org, key: used.key.clone(), code, occurred_at: used.occurred_at, properties, usage: None }
}

/// The transaction id of the path.
pub(crate) struct TransactionPath(UsageKey);

impl FromRequestParts<App> for TransactionPath {
    type Rejection = LagoFailure;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, LagoFailure> {
        Ok(Self(path_id(&parts.extensions, "transaction_id", UsageKey::new)?))
    }
}

//! The events API: `POST /api/v1/events` takes `CloudEvents` 1.0, one or many, and records them as usage.
//!
//! The catalog's `[[events]]` say which type of event is usage of which meter. Source and id of an event are its key:
//! an event counts once, and one that is sent again is taken without a word, as its senders expect. All events of a
//! request are read before any is counted.

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use axum::response::Response;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tollgate_api::{Code, Id, Problem, PropertyValue, RequestDecimal, Time, repeated_member, shortened};
use tollgate_domain::catalog::{DataPath, EventMapping, PathStep, UnknownEvents};
use tollgate_domain::{Catalog, MeterId, OrgId, Quantity, Role, UsageKey, Use, UserId};
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::{Caller, hexadecimal};
use crate::compat::elements::Elements;
use crate::compressed::Coding;
use crate::extract::{NoQuery, content_type, percent_decoded};
use crate::native::batch::{elements, read_aside, record_all, too_many, wait_for_turn};
use crate::native::usage::{Times, properties};
use crate::newcomers::Way;
use crate::reply::Failure;

/// Takes `CloudEvents` 1.0, one or many, and records them as usage by the `[[events]]` of the catalog.
///
/// One event is `application/cloudevents+json`, many are a JSON array of `application/cloudevents-batch+json`, and
/// `application/json` may be either. In binary mode an event comes in `ce-` headers, and the body is its data. Source and id
/// are its key: it counts once however often it is sent.
#[utoipa::path(
    post, path = "/api/v1/events", tag = "Events API", operation_id = "events",
    request_body(content(
        (CloudEvent = "application/cloudevents+json"), (Vec<CloudEvent> = "application/cloudevents-batch+json"),
        (CloudEvents = "application/json"),
    )),
    responses((status = 204, description = "They were taken, now or before"))
)]
pub(crate) async fn take(
    State(app): State<App>,
    caller: Caller,
    _: NoQuery,
    request: Request,
) -> Result<Response, Failure> {
    caller.require(Role::Ingest, caller.org.as_ref())?;
    let actor = caller.actor.clone();
    let headers = request.headers().clone();
    let mode = Mode::of(&request)?;
    let coding = Coding::of(&headers)?;
    let _turn = wait_for_turn(&app).await?;
    let (catalog, times) = (app.engine.catalog().catalog, Times::of(&app));
    let read = move |body: &[u8]| {
        read_events(mode, &headers, body, &Reader { catalog: &catalog, caller: &caller, times })
    };
    let records = read_aside(&app, request, coding, read).await?;
    let (places, usages): (Vec<_>, Vec<_>) =
        records.into_iter().map(|record| (record.event, Ok((record.org, record.usage)))).unzip();
    EVENTS.on(&places, record_all(&app, &actor, Way::Native, usages).await?)
}

/// An event that is known is taken, whatever is in it now and whatever became of its usage.
const EVENTS: Elements = Elements {
    element: "event",
    counted: "usage",
    is_known: |code| matches!(code, Code::KeyReused | Code::KeyReversed),
    own_name,
};

/// What a field of the native API is called in an event.
fn own_name(field: &str) -> &str {
    match field {
        "org" => "subject",
        "key" => "id",
        "meter" => "type",
        other => other,
    }
}

/// The media type of one event.
const ONE: &str = "application/cloudevents+json";

/// The media type of an array of events.
const MANY: &str = "application/cloudevents-batch+json";

/// How events come in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// One event, the body is its JSON.
    One,
    /// A JSON array of events.
    Many,
    /// The one or the other, by its first character.
    Either,
    /// One event in headers, the body is its data.
    Binary { json: bool },
}

impl Mode {
    fn of(request: &Request) -> Result<Self, Failure> {
        let headers = request.headers();
        // These headers are not among those that a page may send without asking first.
        let binary = headers.contains_key("ce-specversion") || headers.contains_key("ce-id");
        let takes = |kind: &str| binary || ["application/json", ONE, MANY].contains(&kind);
        let expected = "application/cloudevents+json, application/cloudevents-batch+json or application/json";
        let kind = content_type(request, takes, expected)?;
        Ok(match kind.as_ref() {
            MANY => Self::Many,
            ONE => Self::One,
            _ if binary => Self::Binary { json: kind == "application/json" || kind.ends_with("+json") },
            _ => Self::Either,
        })
    }
}

/// An event, as the document describes it.
#[derive(Serialize, ToSchema)]
pub(crate) struct CloudEvent {
    /// Its id; unique with the source.
    id: String,
    /// Who made it.
    source: String,
    /// `1.0`.
    specversion: Option<String>,
    /// What kind of event: the catalog says of which meter it is usage.
    r#type: String,
    /// The organization.
    #[schema(value_type = Id)]
    subject: String,
    /// When it happened; now unless given.
    #[schema(format = DateTime)]
    time: Option<String>,
    /// What the catalog's mapping takes quantity, user and properties from.
    #[schema(value_type = Option<serde_json::Value>)]
    data: Option<serde_json::Value>,
}

/// One event or many.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is of use")]
pub(crate) enum CloudEvents {
    /// One.
    One(CloudEvent),
    /// Many.
    Many(Vec<CloudEvent>),
}

/// An event as it is sent; what else is in it is not looked at.
#[derive(Deserialize)]
struct Event<'a> {
    id: Option<String>,
    source: Option<String>,
    specversion: Option<String>,
    r#type: Option<String>,
    subject: Option<String>,
    time: Option<Time>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// A usage with the place of its event in the request.
struct Record {
    event: usize,
    org: OrgId,
    usage: Use,
}

/// What events are read by.
struct Reader<'a> {
    catalog: &'a Catalog,
    caller: &'a Caller,
    times: Times,
}

fn read_events(
    mode: Mode,
    headers: &HeaderMap,
    body: &[u8],
    reader: &Reader<'_>,
) -> Result<Vec<Record>, Failure> {
    let is_array = body.trim_ascii_start().first() == Some(&b'[');
    let mut records = Vec::new();
    match mode {
        Mode::Binary { json } => {
            let event = binary(headers, body, json)?;
            reader.read(0, &event, &mut records).map_err(|problem| EVENTS.wrong(0, *problem))?;
        }
        Mode::Many => read_array(body, reader, &mut records)?,
        Mode::Either if is_array => read_array(body, reader, &mut records)?,
        Mode::One | Mode::Either => read_one(0, body, reader, &mut records)?,
    }
    Ok(records)
}

fn read_array(body: &[u8], reader: &Reader<'_>, records: &mut Vec<Record>) -> Result<(), Failure> {
    for (place, text) in elements(body)?.into_iter().enumerate() {
        read_one(place, text, reader, records)?;
    }
    Ok(())
}

fn read_one(
    place: usize,
    text: &[u8],
    reader: &Reader<'_>,
    records: &mut Vec<Record>,
) -> Result<(), Failure> {
    let event: Event<'_> = tollgate_api::read_body(text).map_err(|error| {
        let mut problem = Problem::new(error.code, format!("event {place}: {}", error.detail));
        problem.field = error.field;
        EVENTS.wrong(place, problem)
    })?;
    reader.read(place, &event, records).map_err(|problem| {
        let detail = format!("event {place}: {}", problem.detail);
        EVENTS.wrong(place, Problem { detail, ..*problem })
    })
}

/// The event that headers carry.
fn binary<'a>(headers: &HeaderMap, body: &'a [u8], json: bool) -> Result<Event<'a>, Failure> {
    let text = |name: &str| {
        let value = headers.get(name)?.to_str().ok()?;
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        percent_decoded(value)
    };
    let time = text("ce-time").map(|time| time.parse::<Time>()).transpose();
    let time =
        time.map_err(|_| EVENTS.wrong(0, wrong("time", "must be a time such as 2026-11-21T00:00:00Z")))?;
    let data = if json && !body.trim_ascii().is_empty() {
        Some(serde_json::from_slice(body).map_err(|error| {
            EVENTS.wrong(0, Problem::new(Code::Unreadable, format!("the data is not JSON: {error}")))
        })?)
    } else {
        None
    };
    Ok(Event {
        id: text("ce-id"),
        source: text("ce-source"),
        specversion: text("ce-specversion"),
        r#type: text("ce-type"),
        subject: text("ce-subject"),
        time,
        data,
    })
}

fn wrong(field: &str, text: &str) -> Problem {
    Problem::new(Code::InvalidField, format!("{field}: {text}")).on_field(field)
}

fn needed<'a>(field: &str, value: Option<&'a String>) -> Result<&'a str, Box<Problem>> {
    value.filter(|value| !value.is_empty()).map(String::as_str).ok_or_else(|| {
        Box::new(Problem::new(Code::MissingField, format!("the field '{field}' is missing")).on_field(field))
    })
}

impl Reader<'_> {
    /// Adds the usage that an event is, of each meter that takes its type.
    fn read(&self, place: usize, event: &Event<'_>, records: &mut Vec<Record>) -> Result<(), Box<Problem>> {
        if let Some(member) = event.data.and_then(|data| repeated_member(data.get())) {
            return Err(Box::new(wrong(&shortened(&format!("data.{member}")), "is given twice")));
        }
        let id = needed("id", event.id.as_ref())?;
        let source = needed("source", event.source.as_ref())?;
        let kind = needed("type", event.r#type.as_ref())?;
        if event.specversion.as_ref().is_some_and(|version| version != "1.0") {
            return Err(Box::new(wrong("specversion", "must be 1.0")));
        }
        let subject = needed("subject", event.subject.as_ref())?;
        let org = OrgId::new(subject).map_err(|error| wrong("subject", &error.to_string()))?;
        self.caller.require(Role::Ingest, Some(&org)).map_err(|failure| failure.problem)?;
        let occurred_at = self.times.read(event.time).map_err(|failure| failure.problem)?;
        let mut is_known = false;
        for mapping in self.catalog.events_of(kind) {
            is_known = true;
            let Some(quantity) = quantity(mapping, event.data)? else { continue };
            let usage = Use {
                user: user(mapping, event.data)?,
                path: None,
                meter: mapping.meter.clone(),
                quantity,
                key: key(source, id, &mapping.meter)?,
                occurred_at,
                properties: mapped_properties(mapping, event.data)?,
            };
            records.push(Record { event: place, org: org.clone(), usage });
        }
        if records.len() > crate::limits::BATCH_RECORDS_MAX {
            return Err(too_many().problem);
        }
        if !is_known && self.catalog.unknown_events == UnknownEvents::Reject {
            let kind = shortened(kind);
            let text = format!(
                "the catalog maps no events of type '{kind}' to a meter; add [[events]], or set unknown_events"
            );
            return Err(Box::new(wrong("type", &text)));
        }
        Ok(())
    }
}

/// The key of an event's usage: its source, id and meter, or a hash of them where that is no key.
fn key(source: &str, id: &str, meter: &MeterId) -> Result<UsageKey, Box<Problem>> {
    let parts = [source, id, meter.as_str()];
    let plain = parts.iter().all(|part| !part.contains(' '));
    if let Some(key) = plain.then(|| UsageKey::new(&parts.join(" ")).ok()).flatten() {
        return Ok(key);
    }
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let bytes: [u8; 32] = hash.finalize().into();
    UsageKey::new(&format!("sha256:{}", hexadecimal(&bytes)))
        .map_err(|error| Box::new(wrong("id", &error.to_string())))
}

/// How much an event uses; `None` is nothing.
fn quantity(mapping: &EventMapping, data: Option<&RawValue>) -> Result<Option<Quantity>, Box<Problem>> {
    let Some(path) = &mapping.quantity else { return Ok(Some(Quantity::ONE)) };
    let field = in_data(path);
    let found = value_at(data, path).ok_or_else(|| {
        Problem::new(Code::MissingField, format!("{field}: there is no number")).on_field(field.clone())
    })?;
    let RequestDecimal(amount) = serde_json::from_str(found.get())
        .map_err(|_| wrong(&field, "must be a number of at most 15 digits before the point and 9 after"))?;
    if amount.is_zero() {
        return Ok(None);
    }
    Quantity::new(amount).map(Some).map_err(|error| Box::new(wrong(&field, &error.to_string())))
}

fn user(mapping: &EventMapping, data: Option<&RawValue>) -> Result<Option<UserId>, Box<Problem>> {
    let Some(path) = &mapping.user else { return Ok(None) };
    let Some(found) = value_at(data, path) else { return Ok(None) };
    let field = in_data(path);
    let text = scalar(found, &field)?;
    UserId::new(&text).map(Some).map_err(|error| Box::new(wrong(&field, &error.to_string())))
}

fn mapped_properties(
    mapping: &EventMapping,
    data: Option<&RawValue>,
) -> Result<BTreeMap<String, String>, Box<Problem>> {
    let mut found = BTreeMap::new();
    for (name, path) in &mapping.properties {
        if let Some(value) = value_at(data, path) {
            found.insert(name.clone(), PropertyValue(scalar(value, &in_data(path))?));
        }
    }
    properties(found).map_err(|failure| failure.problem)
}

fn scalar(value: &RawValue, field: &str) -> Result<String, Box<Problem>> {
    let read: Result<PropertyValue, _> = serde_json::from_str(value.get());
    read.map(|PropertyValue(text)| text)
        .map_err(|_| Box::new(wrong(field, "must be a string, a number or a boolean")))
}

/// How a place in the data is named in an error.
fn in_data(path: &DataPath) -> String {
    path.to_string().replacen('$', "data", 1)
}

/// The value at a place in the data; null is none.
fn value_at<'a>(data: Option<&'a RawValue>, path: &DataPath) -> Option<&'a RawValue> {
    let mut value = data?;
    for step in path.steps() {
        value = match step {
            PathStep::Member(name) => {
                let mut members: BTreeMap<String, &'a RawValue> = serde_json::from_str(value.get()).ok()?;
                members.remove(name.as_str())?
            }
            PathStep::Element(number) => {
                let elements: Vec<&'a RawValue> = serde_json::from_str(value.get()).ok()?;
                elements.into_iter().nth(*number)?
            }
        };
    }
    (value.get() != "null").then_some(value)
}

//! Usage that has happened, many records at once.

use std::fmt;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Deserializer as _;
use serde::de::{SeqAccess, Visitor};
use serde_json::value::RawValue;
use tollgate_api::{BatchReply, Code, Problem, RecordResult, RecordStatus, ResultsName, UsageRequest};
use tollgate_domain::{Actor, Denied, OrgCommand, OrgDecision, OrgId, RecordDenial, Role, Use};
use tollgate_engine::{CatalogInForce, EngineError};

use crate::app::App;
use crate::auth::Caller;
use crate::compressed::Coding;
use crate::convert::{conflict, denial_problem};
use crate::extract::{IdempotencyKey, Query, content_type, parse, read_limited};
use crate::limits::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX};
use crate::native::usage::{Times, read_usage};
use crate::newcomers::{Way, create_meters, no_room};
use crate::reply::{Failure, ok};

/// Counts usage that has happened, up to 10,000 records or 8 MiB at once.
///
/// Each record is counted, a duplicate, or rejected, and the others are not touched by it. It is counted whatever credit
/// and limits say, in the periods of its own `time` (at most 35 days back and 5 minutes ahead unless the server is set
/// otherwise). The answer is sent when all that was counted is durable. A meter that the catalog lacks is created where
/// its `unknown_meters` says `"create"`. Send a batch again that got no answer: each key counts once.
///
/// The body is a JSON array, or one JSON object a line (`application/x-ndjson` or `application/jsonl`);
/// `Content-Encoding` may be `gzip` or `zstd`. Every record needs a `key`. With an API key that is bound to an
/// organization, records of another one are rejected as `forbidden`.
#[utoipa::path(
    post, path = "/v1/usage/batch", tag = "Usage", operation_id = "record",
    request_body(content((Vec<UsageRequest> = "application/json"), (String = "application/x-ndjson"))),
    params(("results" = Option<ResultsName>, Query, description = "Which records are told one by one: `rejected` unless given, or `all`")),
    responses(
        (status = 200, description = "What became of the records", body = BatchReply),
    )
)]
pub(crate) async fn record(
    State(app): State<App>,
    caller: Caller,
    mut query: Query,
    request: Request,
) -> Result<Response, Failure> {
    let tells_all = query.take_as("results", |text| match text {
        "all" => Ok(true),
        "rejected" => Ok(false),
        _ => Err("must be 'rejected' or 'all'"),
    })?;
    query.end()?;
    caller.require(Role::Ingest, caller.org.as_ref())?;
    let shape = Shape::of(&request)?;
    let coding = Coding::of(request.headers())?;
    let _turn = wait_for_turn(&app).await?;
    let times = Times::of(&app);
    let actor = caller.actor.clone();
    let in_force = app.engine.catalog();
    let read = move |body: &[u8]| read_records(body, shape, &caller, &in_force, times);
    let records = read_aside(&app, request, coding, read).await?;
    let outcomes = record_all(&app, &actor, Way::Native, records).await?;
    Ok(ok(&reply(outcomes, tells_all.unwrap_or(false))))
}

/// Waits until one batch more may be in hand.
pub(crate) async fn wait_for_turn(app: &App) -> Result<tokio::sync::SemaphorePermit<'_>, Failure> {
    match tokio::time::timeout(app.settings.request_timeout, app.batches.acquire()).await {
        Ok(Ok(turn)) => Ok(turn),
        _ => Err(EngineError::Overloaded.into()),
    }
}

/// Receives a body, unpacks it, and reads it where no other request waits behind that: it is many milliseconds of work.
pub(crate) async fn read_aside<T: Send + 'static>(
    app: &App,
    request: Request,
    coding: Coding,
    read: impl FnOnce(&[u8]) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let body = read_limited(request.into_body(), BATCH_BYTES_MAX, app.settings.request_timeout).await?;
    let work = move || read(&coding.decompress(body, BATCH_BYTES_MAX)?);
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        Failure::from(Problem::new(Code::Internal, "the server failed")).caused_by(error.to_string())
    })?
}

/// A record that was read, or why it cannot be counted.
pub(crate) type Read = Result<(OrgId, Use), Box<Problem>>;

/// What became of a record: the entry that counted it and whether that was before, or why it was not counted.
pub(crate) type Recorded = Result<tollgate_domain::Recorded, Box<Problem>>;

/// How records follow one another in a body.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Array,
    Lines,
}

impl Shape {
    fn of(request: &Request) -> Result<Self, Failure> {
        const LINES: [&str; 3] = ["application/x-ndjson", "application/ndjson", "application/jsonl"];
        let takes = |kind: &str| kind == "application/json" || LINES.contains(&kind);
        let kind = content_type(request, takes, "application/json or application/x-ndjson")?;
        Ok(if LINES.contains(&kind.as_ref()) { Self::Lines } else { Self::Array })
    }
}

fn read_records(
    body: &[u8],
    shape: Shape,
    caller: &Caller,
    in_force: &CatalogInForce,
    times: Times,
) -> Result<Vec<Read>, Failure> {
    let texts = match shape {
        Shape::Array => elements(body)?,
        Shape::Lines => lines(body)?,
    };
    Ok(texts.into_iter().map(|text| read_record(text, caller, in_force, times)).collect())
}

pub(crate) fn too_many() -> Failure {
    let detail = format!("the batch has more than {BATCH_RECORDS_MAX} records");
    Problem::new(Code::BodyTooLarge, detail).into()
}

/// The lines that are not blank.
fn lines(body: &[u8]) -> Result<Vec<&[u8]>, Failure> {
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let found: Vec<&[u8]> = lines.take(BATCH_RECORDS_MAX + 1).collect();
    if found.len() > BATCH_RECORDS_MAX { Err(too_many()) } else { Ok(found) }
}

/// The elements of a JSON array, as they are written.
pub(crate) fn elements(body: &[u8]) -> Result<Vec<&[u8]>, Failure> {
    if body.trim_ascii_start().first().is_some_and(|byte| *byte != b'[') {
        serde_json::from_slice::<serde::de::IgnoredAny>(body).map_err(|error| not_json(&error))?;
        let detail = "the body must be a JSON array of records, or one record a line as application/x-ndjson";
        return Err(Problem::new(Code::InvalidField, detail).into());
    }
    let mut found = Elements { texts: Vec::new(), too_many: false };
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let read = deserializer.deserialize_seq(&mut found).and_then(|()| deserializer.end());
    if found.too_many {
        return Err(too_many());
    }
    match read {
        Ok(()) => Ok(found.texts.into_iter().map(|text| text.get().as_bytes()).collect()),
        Err(_) if body.trim_ascii().is_empty() => {
            Err(Problem::new(Code::Unreadable, "the body is empty").into())
        }
        Err(error) => Err(not_json(&error)),
    }
}

fn not_json(error: &serde_json::Error) -> Failure {
    Problem::new(Code::Unreadable, format!("the body is not JSON: {error}")).into()
}

/// Takes elements until there are too many.
struct Elements<'a> {
    texts: Vec<&'a RawValue>,
    too_many: bool,
}

impl<'a> Visitor<'a> for &mut Elements<'a> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of records")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(text) = elements.next_element()? {
            if self.texts.len() == BATCH_RECORDS_MAX {
                self.too_many = true;
                return Err(serde::de::Error::custom("too many records"));
            }
            self.texts.push(text);
        }
        Ok(())
    }
}

fn read_record(text: &[u8], caller: &Caller, in_force: &CatalogInForce, times: Times) -> Read {
    let usage = parse::<UsageRequest>(text).and_then(|request| {
        caller.require(Role::Ingest, Some(&request.org))?;
        if request.key.is_none() {
            let detail = "the field 'key' is missing; it makes a record that is sent again count once";
            return Err(Problem::new(Code::MissingField, detail).on_field("key").into());
        }
        read_usage(request, IdempotencyKey(None), || in_force.clone(), |time| times.read(time))
    });
    usage.map_err(|failure| failure.problem)
}

/// Counts what an actor sent, in order; what became of each, in the same order.
pub(crate) async fn record_all(
    app: &App,
    actor: &Actor,
    way: Way,
    records: Vec<Read>,
) -> Result<Vec<Recorded>, Failure> {
    let meters = records.iter().filter_map(|record| Some(&record.as_ref().ok()?.1.meter));
    let no_room_for = create_meters(app, actor, way, meters).await?;
    let mut commands = Vec::with_capacity(records.len());
    let mut places = Vec::with_capacity(records.len());
    let mut outcomes: Vec<Option<Recorded>> = Vec::with_capacity(records.len());
    for record in records {
        match record {
            Ok((_, usage)) if no_room_for.contains(&usage.meter) => {
                outcomes.push(Some(Err(Box::new(no_room(&usage.meter)))));
            }
            Ok((org, usage)) => {
                #[cfg(feature = "otlp")]
                crate::telemetry::note_record(app, &org, &usage.key);
                places.push((outcomes.len(), org.clone(), usage.meter.clone()));
                commands.push((org, OrgCommand::Record(usage)));
                outcomes.push(None);
            }
            Err(problem) => outcomes.push(Some(Err(problem))),
        }
    }
    let decisions = app.engine.submit_batch(actor, commands).await.map_err(partly)?;
    for ((place, org, meter), decision) in places.into_iter().zip(decisions) {
        let OrgDecision::Record(result) = decision else { return Err(conflict()) };
        if let Some(outcome) = outcomes.get_mut(place) {
            *outcome = Some(result.map_err(|denial| Box::new(record_problem(denial, &org, &meter))));
        }
    }
    outcomes.into_iter().map(|outcome| outcome.ok_or_else(conflict)).collect()
}

fn record_problem(denial: RecordDenial, org: &OrgId, meter: &tollgate_domain::MeterId) -> Problem {
    denial_problem(&Denied { denial: denial.into(), standing: None }, org, meter)
}

/// Pieces of a batch are committed one after the other: what came before a failure is counted.
fn partly(error: EngineError) -> Failure {
    let nothing_was_counted = matches!(error, EngineError::Overloaded);
    let mut failure = Failure::from(error);
    if !nothing_was_counted {
        let said = failure.problem.detail.split(';').next().unwrap_or_default();
        failure.problem.detail =
            format!("{said}; part of the batch may be counted: send it again, each key counts once");
    }
    failure
}

fn reply(outcomes: Vec<Recorded>, tells_all: bool) -> BatchReply {
    let mut reply = BatchReply::default();
    for (index, outcome) in (0_u64..).zip(outcomes) {
        let result = RecordResult {
            index,
            status: RecordStatus::Rejected,
            entry: None,
            code: None,
            field: None,
            detail: None,
        };
        let (count, result) = match outcome {
            Ok(recorded) if recorded.duplicate => {
                let (status, entry) = (RecordStatus::Duplicate, Some(recorded.entry));
                (&mut reply.duplicates, RecordResult { status, entry, ..result })
            }
            Ok(recorded) => {
                let (status, entry) = (RecordStatus::Counted, Some(recorded.entry));
                (&mut reply.counted, RecordResult { status, entry, ..result })
            }
            Err(problem) => {
                let (code, field, detail) = (Some(problem.code), problem.field, Some(problem.detail));
                (&mut reply.rejected, RecordResult { code, field, detail, ..result })
            }
        };
        *count += 1;
        if tells_all || result.status == RecordStatus::Rejected {
            reply.results.push(result);
        }
    }
    reply
}

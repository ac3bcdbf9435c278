//! A stream of events: what happens, as it happens.
//!
//! It is read from the store, a few rows at a time, when its client has taken those before: nothing is kept for it, and
//! a gate that nobody listens to does nothing for it.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::unfold;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tollgate_api::{Code, Id, Problem};
use tollgate_domain::{OrgId, ReadTo, Role};
use tollgate_engine::EngineError;
use tollgate_notifier::{end_of_notices, notice_item, notices_after};
use tollgate_storage::{NoticeRow, Store, StoreErrorKind};

use crate::app::App;
use crate::auth::{Caller, hexadecimal};
use crate::convert::entry_item;
use crate::extract::{Query, invalid_parameter};
use crate::limits::{STREAM_INTERVAL, STREAM_ROWS, STREAM_SILENCE_MAX};
use crate::native::orgs::unknown_org;
use crate::native::problems::P404;
use crate::reply::Failure;

const LAST_EVENT_ID: &str = "Last-Event-ID";

/// What happens, as server-sent events.
///
/// With `org`, the entries of its ledger, as `entry`: every decision that changed something, and denials that led to a
/// notice; and before each, its notices, as `notice`. Without, the notices of all organizations. It begins
/// with what comes next, or behind the event that `Last-Event-ID` names. An event without an id may come again when the
/// stream is resumed. A comment every 15 s says that it is still there.
#[utoipa::path(
    get, path = "/v1/stream", tag = "Ledger", operation_id = "stream",
    params(
        ("org" = Option<Id>, Query, description = "The organization"),
        ("Last-Event-ID" = Option<String>, Header, description = "The `id` of the latest event that was heard"),
    ),
    responses(
        (status = 200, description = "Events, until one of both sides ends it", body = String, content_type = "text/event-stream"),
        P404,
    )
)]
pub(crate) async fn stream(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    mut query: Query,
) -> Result<Response, Failure> {
    let org = query.take_as("org", OrgId::new)?;
    query.end()?;
    caller.require(Role::Read, org.as_ref())?;
    let last = headers.get(LAST_EVENT_ID).and_then(|value| value.to_str().ok());
    let permit = Arc::clone(&app.streams)
        .try_acquire_owned()
        .map_err(|_| Failure::from(Problem::new(Code::Overloaded, "too many event streams are open")))?;
    let source = Source::begin(&app, org, last).await?;
    let tail = Tail { app, headers, source, looked_at: None, said: Instant::now(), _permit: permit };
    let mut response = Response::new(Body::from_stream(unfold(tail, Tail::next)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// What a stream tells of, and how far it has come.
#[derive(Clone, Debug)]
enum Source {
    /// The entries of an org behind the one with a number.
    Entries(OrgId, u64),
    /// The notices of all orgs behind a place.
    Notices(ReadTo),
}

impl Source {
    /// Behind the event with an id, or behind all that there is.
    async fn begin(app: &App, org: Option<OrgId>, last: Option<&str>) -> Result<Self, Failure> {
        let wrong = || invalid_parameter(LAST_EVENT_ID, "is not the id of an event of this stream");
        match (org, last) {
            (Some(org), last) => {
                let known = app.engine.org(&org).await?.ok_or_else(|| unknown_org(&org))?;
                let after = last.map(|last| last.parse().map_err(|_| wrong())).transpose()?;
                Ok(Self::Entries(org, after.unwrap_or(known.version)))
            }
            (None, Some(last)) => {
                let place = place_of(last).ok_or_else(wrong)?;
                match notices_after(&app.engine, &mut place.clone(), 1, &mut false).await {
                    Err(EngineError::Store(error)) if error.kind() == StoreErrorKind::BadCursor => {
                        Err(wrong())
                    }
                    read => Ok(read.map(|_| Self::Notices(place))?),
                }
            }
            (None, None) => {
                let mut end = app.notices_end.lock().await;
                *end = end_of_notices(&app.engine, end.clone()).await?;
                Ok(Self::Notices(end.clone()))
            }
        }
    }

    /// The next events, and the source behind them.
    async fn read(self, app: App) -> Result<(Self, Vec<u8>), EngineError> {
        let mut events = Vec::new();
        match self {
            Self::Entries(org, mut after) => {
                let catalog = app.engine.catalog().catalog;
                for _ in 0..STREAM_ROWS {
                    let Some(entry) = app.engine.entry(&org, after + 1).await? else { break };
                    for (index, notice) in (0..).zip(&entry.notices) {
                        let notice = notice.clone();
                        let row =
                            NoticeRow { org: org.clone(), entry: entry.number, index, at: entry.at, notice };
                        event(&mut events, "notice", None, &notice_item(&row));
                    }
                    after = entry.number;
                    event(
                        &mut events,
                        "entry",
                        Some(after.to_string().as_str()),
                        &entry_item(&entry, &catalog),
                    );
                }
                Ok((Self::Entries(org, after), events))
            }
            Self::Notices(mut place) => {
                let rows = notices_after(&app.engine, &mut place, STREAM_ROWS, &mut false).await?;
                let id = id_of(&place);
                for (left, row) in rows.iter().enumerate().map(|(number, row)| (rows.len() - number, row)) {
                    event(&mut events, "notice", (left == 1).then_some(id.as_str()), &notice_item(row));
                }
                Ok((Self::Notices(place), events))
            }
        }
    }
}

/// The id of the event that ends at a place.
fn id_of(place: &ReadTo) -> String {
    format!("{}.{}", hexadecimal(place.cursor.as_deref().unwrap_or_default()), place.seen)
}

fn place_of(id: &str) -> Option<ReadTo> {
    let (cursor, seen) = id.split_once('.')?;
    let digits: Vec<u8> =
        cursor.chars().map(|digit| digit.to_digit(16)?.try_into().ok()).collect::<Option<_>>()?;
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high * 16 + low).collect();
    let seen = seen.parse().ok().filter(|seen| *seen <= SEEN_MAX)?;
    Some(ReadTo { cursor: (!bytes.is_empty()).then_some(bytes), seen, since: None })
}

/// Most rows behind a cursor that an id may count: what is read at a time, and what another reader of the same place may
/// have read.
const SEEN_MAX: u32 = 2_000;

/// One event.
fn event<T: Serialize>(events: &mut Vec<u8>, name: &str, id: Option<&str>, data: &T) {
    // JSON has no line break within.
    let data = serde_json::to_string(data).unwrap_or_default();
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    events.extend_from_slice(format!("{id}event: {name}\ndata: {data}\n\n").as_bytes());
}

/// A stream that is open.
struct Tail {
    app: App,
    /// Those of the request: its key may be revoked meanwhile.
    headers: HeaderMap,
    source: Source,
    /// The position of the store when nothing new was found.
    looked_at: Option<u64>,
    /// When the client was told something.
    said: Instant,
    _permit: OwnedSemaphorePermit,
}

impl Tail {
    /// The next piece of the stream; `None` ends it.
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        let mut closing = self.app.closing.subscribe();
        loop {
            if *closing.borrow() || self.app.api_keys.authenticate(&self.headers).is_err() {
                return None;
            }
            let position = self.app.engine.store().position();
            let shared = self.app.engine.store().capabilities().shared;
            if shared || self.looked_at != Some(position) {
                let reading = self.source.clone().read(Arc::clone(&self.app));
                match self.app.readers.read(reading).await.and_then(|read| read) {
                    Ok((_, events)) if events.is_empty() => self.looked_at = Some(position),
                    Ok((source, events)) => {
                        self.source = source;
                        return Some(self.say(events.into()));
                    }
                    Err(EngineError::Overloaded) => {}
                    Err(_) => return None,
                }
            }
            if self.said.elapsed() >= STREAM_SILENCE_MAX {
                return Some(self.say(Bytes::from_static(b":\n\n")));
            }
            tokio::select! {
                () = tokio::time::sleep(STREAM_INTERVAL) => {}
                _ = closing.wait_for(|closing| *closing) => {}
            }
        }
    }

    fn say(mut self, bytes: Bytes) -> (Result<Bytes, Infallible>, Self) {
        self.said = Instant::now();
        (Ok(bytes), self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_back_to_its_place_and_nothing_else_does() {
        for place in [
            ReadTo::default(),
            ReadTo { cursor: None, seen: 7, since: None },
            ReadTo { cursor: Some(vec![0, 255, 16]), seen: 0, since: None },
        ] {
            assert_eq!(place_of(&id_of(&place)), Some(place));
        }
        for id in ["", "7", "0.1", "zz.1", "00.-1", "00.2001", "00.x"] {
            assert_eq!(place_of(id), None, "{id}");
        }
    }
}

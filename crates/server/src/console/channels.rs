//! Channels: where notices go, what was tried of each, and what may be done with one.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use tollgate_api::{
    ChannelCreated, ChannelItem, ChannelKind, ChannelList, ChannelRequest, ChannelState, ChannelTested, Code,
    DeliveryItem, DeliveryList, DeliveryResult, Problem, ReplayRequest, RotateReply, RotateRequest,
};
use tollgate_console::{Answered, ChannelView, ChannelsView, Section, Told, Undelivered};
use tollgate_domain::{ChannelId, NoticeKind, SignedDuration, Timestamp, UsageKey};

use super::lists::kinds;
use super::session::{Sent, Visitor};
use super::{NO_QUERY, address, encoded, once, page, refused, request, said, see_other};
use crate::app::App;
use crate::auth::Caller;
use crate::extract::{IdempotencyKey, Json, NoQuery, Query, invalid_parameter, parse};
use crate::limits::{DELIVERIES_LISTED, SURVEY_LISTED_MAX, UNDELIVERED_SECS};
use crate::native;
use crate::native::channels::ChannelPath;
use crate::reply::Failure;

const PATH: &str = "/console/channels";

fn path_of(id: &ChannelId) -> String {
    format!("{PATH}/{}", encoded(&id.0))
}

/// All channels.
pub(crate) async fn list(
    State(app): State<App>,
    visitor: Visitor,
    mut query: Query,
) -> Result<Response, Failure> {
    let word = query.take("done");
    query.end()?;
    show_all(&app, &visitor, word.as_deref(), None, None).await
}

async fn show_all(
    app: &App,
    visitor: &Visitor,
    word: Option<&str>,
    made: Option<ChannelCreated>,
    sent: Option<Answered>,
) -> Result<Response, Failure> {
    let status = sent.as_ref().map_or(200, |sent| sent.problem.status);
    let view = ChannelsView {
        frame: visitor.frame_after(Section::Notices, "Channels", word),
        channels: all(app, &visitor.caller).await?,
        made,
        sent,
        once: once()?,
        notices: kinds(NoticeKind::NAMES),
    };
    page(StatusCode::from_u16(status).unwrap_or_default(), &view)
}

async fn all(app: &App, caller: &Caller) -> Result<Vec<ChannelItem>, Failure> {
    let list = native::channels::list(State(app.clone()), caller.clone(), NO_QUERY);
    Ok(said::<ChannelList>(list).await?.channels)
}

/// Makes a channel. Its secret is on the page that answers, and nowhere else.
pub(crate) async fn make(State(app): State<App>, sent: Sent) -> Result<Response, Failure> {
    let made = match setup(&sent.values, None) {
        Ok(request) => {
            let key = IdempotencyKey(UsageKey::new(sent.value("once")).ok());
            let (state, caller) = (State(app.clone()), sent.visitor.caller.clone());
            said(native::channels::create(state, caller, NoQuery, key, Json(request))).await.map_err(of_field)
        }
        Err(failure) => Err(failure),
    };
    let (made, answered) = match made {
        Ok(made) => (Some(made), None),
        Err(failure) => (None, Some(refused("channel", &sent.values, failure)?)),
    };
    let reader = app.clone();
    let again = async move { show_all(&reader, &sent.visitor, None, made, answered).await };
    app.readers.read(again).await?
}

/// A form as what people say of a channel; of one that is there, it keeps what the form does not say.
fn setup(values: &BTreeMap<String, String>, known: Option<&ChannelItem>) -> Result<ChannelRequest, Failure> {
    let lines = |field: &str| -> Vec<&str> {
        let text = values.get(field).map_or("", String::as_str);
        text.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
    };
    let checked = |kind: &&&str| values.contains_key(&format!("notice-{kind}"));
    let members = serde_json::json!({
        "notices": NoticeKind::NAMES.iter().filter(checked).collect::<Vec<_>>(),
        "orgs": lines("orgs"),
        "plans": lines("plans"),
        "meters": lines("meters"),
    });
    let typed = |field: &str| values.get(field).map(|value| value.trim()).filter(|value| !value.is_empty());
    let (from, to, digest) = (typed("quiet_from"), typed("quiet_to"), typed("digest_at"));
    let quiet = from
        .or(to)
        .map(|_| serde_json::json!({"from": from.unwrap_or_default(), "to": to.unwrap_or_default()}));
    let has_hours = quiet.is_some() || digest.is_some();
    let given = serde_json::json!({
        "name": typed("name"),
        "kind": known.map(kind_of).or_else(|| typed("kind").map(Into::into)),
        "url": typed("url"),
        "to": typed("to"),
        "topic": typed("topic"),
        "quiet_hours": quiet,
        "digest_at": digest,
        "time_zone": has_hours.then(|| typed("time_zone").unwrap_or("UTC")),
        "enabled": known.map(|known| known.state != ChannelState::Paused),
    });
    let members = with_given(members, given);
    parse(members.to_string().as_bytes()).map_err(of_field)
}

fn kind_of(known: &ChannelItem) -> serde_json::Value {
    serde_json::to_value::<ChannelKind>(known.kind).unwrap_or_default()
}

/// What is wrong with an element of a list is wrong with the list: it is one field of the form. Quiet hours are two.
fn of_field(mut failure: Failure) -> Failure {
    failure.problem.field = failure.problem.field.take().map(|field| match field.split_once('[') {
        Some((list, _)) => list.to_owned(),
        None => field.replace("quiet_hours.", "quiet_"),
    });
    failure
}

/// One channel.
pub(crate) async fn show(
    State(app): State<App>,
    visitor: Visitor,
    ChannelPath(id): ChannelPath,
    mut query: Query,
) -> Result<Response, Failure> {
    let (word, before) = (query.take("done"), query.take("before"));
    query.end()?;
    one(&app, &visitor, &id, Shown { word: word.as_deref(), before: before.as_deref(), ..Shown::default() })
        .await
}

/// What the page of a channel shows besides the channel.
#[derive(Default)]
struct Shown<'a> {
    word: Option<&'a str>,
    before: Option<&'a str>,
    told: Option<Told>,
    sent: Option<Answered>,
}

async fn one(app: &App, visitor: &Visitor, id: &ChannelId, shown: Shown<'_>) -> Result<Response, Failure> {
    let Shown { word, before, told, sent } = shown;
    let channel = known(app, &visitor.caller, id).await?;
    let mut asked = vec![("limit", DELIVERIES_LISTED), ("requests", "true")];
    asked.extend(before.map(|before| ("before", before)));
    let deliveries = log(app, &visitor.caller, id, asked).await?;
    let last = deliveries.last().map_or(0, |delivery| delivery.number);
    let is_full = deliveries.len().to_string() == DELIVERIES_LISTED && last > 1;
    let status = sent.as_ref().map_or(200, |sent| sent.problem.status);
    let view = ChannelView {
        frame: visitor.frame_after(Section::Notices, &channel.name, word),
        next: is_full.then(|| address(&path_of(id), [("before", last.to_string().as_str())]) + "#deliveries"),
        later: before.is_some(),
        channel,
        deliveries,
        told,
        sent,
        notices: kinds(NoticeKind::NAMES),
    };
    page(StatusCode::from_u16(status).unwrap_or_default(), &view)
}

async fn known(app: &App, caller: &Caller, id: &ChannelId) -> Result<ChannelItem, Failure> {
    let path = ChannelPath(id.clone());
    said(native::channels::show(State(app.clone()), caller.clone(), path, NO_QUERY)).await
}

async fn log<'a>(
    app: &App,
    caller: &Caller,
    id: &ChannelId,
    asked: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Vec<DeliveryItem>, Failure> {
    let (state, path) = (State(app.clone()), ChannelPath(id.clone()));
    let list = native::channels::deliveries(state, caller.clone(), path, Query::of(asked));
    Ok(said::<DeliveryList>(list).await?.deliveries)
}

/// What a form was answered: the word for what is done now, what was found out, or that there is no channel any more.
enum Acted {
    Done(&'static str),
    Told(Told),
    Removed,
}

/// Has a form act, and shows what it has changed, or the form again with what is wrong with it.
async fn answer(
    app: &App,
    id: &ChannelId,
    sent: &Sent,
    form: &str,
    acting: impl Future<Output = Result<Acted, Failure>>,
) -> Result<Response, Failure> {
    let (told, answered) = match acting.await {
        Ok(Acted::Done(word)) => return Ok(see_other(&address(&path_of(id), [("done", word)]))),
        Ok(Acted::Removed) => return Ok(see_other(&address(PATH, [("done", "removed")]))),
        Ok(Acted::Told(told)) => (Some(told), None),
        Err(failure) => (None, Some(refused(form, &sent.values, failure)?)),
    };
    let (reader, visitor, id) = (app.clone(), sent.visitor.clone(), id.clone());
    let again =
        async move { one(&reader, &visitor, &id, Shown { told, sent: answered, ..Shown::default() }).await };
    app.readers.read(again).await?
}

/// What a function of the API for a channel is called with, besides what is asked.
fn called(app: &App, id: &ChannelId, sent: &Sent) -> (State<App>, Caller, ChannelPath) {
    (State(app.clone()), sent.visitor.caller.clone(), ChannelPath(id.clone()))
}

/// Sets name, address and filter.
pub(crate) async fn change(
    State(app): State<App>,
    ChannelPath(id): ChannelPath,
    sent: Sent,
) -> Result<Response, Failure> {
    let acting = async {
        let known = known(&app, &sent.visitor.caller, &id).await?;
        put(&app, &id, &sent, setup(&sent.values, Some(&known))?).await.map_err(of_field)?;
        Ok(Acted::Done("channel"))
    };
    answer(&app, &id, &sent, "change", acting).await
}

async fn put(app: &App, id: &ChannelId, sent: &Sent, request: ChannelRequest) -> Result<Response, Failure> {
    let (state, caller, path) = called(app, id, sent);
    native::channels::put(state, caller, path, NoQuery, Json(request)).await
}

/// Has it deliver, or not.
pub(crate) async fn set_enabled(
    State(app): State<App>,
    ChannelPath(id): ChannelPath,
    sent: Sent,
) -> Result<Response, Failure> {
    let acting = async {
        // No field of the page is to blame: a button sends it.
        let wrong = || Problem::new(Code::InvalidField, "enabled: must be 'true' or 'false'");
        let enabled: bool = sent.value("enabled").parse().map_err(|_| Failure::from(wrong()))?;
        let known = known(&app, &sent.visitor.caller, &id).await?;
        let ChannelItem {
            name, kind, notices, orgs, plans, meters, quiet_hours, digest_at, time_zone, ..
        } = known;
        let members = serde_json::json!({
            "name": name, "kind": kind, "notices": notices, "orgs": orgs, "plans": plans, "meters": meters,
            "enabled": enabled,
        });
        let hours =
            serde_json::json!({"quiet_hours": quiet_hours, "digest_at": digest_at, "time_zone": time_zone});
        let members = with_given(members, hours);
        put(&app, &id, &sent, parse(members.to_string().as_bytes())?).await?;
        Ok(Acted::Done(if enabled { "enabled" } else { "paused" }))
    };
    answer(&app, &id, &sent, "state", acting).await
}

/// An object with the members of another that are not null.
fn with_given(mut members: serde_json::Value, others: serde_json::Value) -> serde_json::Value {
    if let (Some(members), serde_json::Value::Object(others)) = (members.as_object_mut(), others) {
        members.extend(others.into_iter().filter(|(_, value)| !value.is_null()));
    }
    members
}

/// Sends a message that tries it.
pub(crate) async fn test(
    State(app): State<App>,
    ChannelPath(id): ChannelPath,
    sent: Sent,
) -> Result<Response, Failure> {
    let acting = async {
        let (state, caller, path) = called(&app, &id, &sent);
        let tested = native::channels::test(state, caller, path, NoQuery, IdempotencyKey(None));
        Ok(Acted::Told(Told::Tested(said::<ChannelTested>(tested).await?)))
    };
    answer(&app, &id, &sent, "test", acting).await
}

/// Signs with a new secret, which is on the page that answers and nowhere else.
pub(crate) async fn rotate(
    State(app): State<App>,
    ChannelPath(id): ChannelPath,
    sent: Sent,
) -> Result<Response, Failure> {
    let acting = async {
        let hours = Some(sent.value("overlap_hours")).filter(|hours| !hours.is_empty());
        let hours = hours.map(|hours| {
            hours
                .parse::<u32>()
                .map_err(|_| invalid_parameter("overlap_hours", "must be a whole number from 0 to 720"))
        });
        let request = Json(RotateRequest { overlap_hours: hours.transpose()? });
        let (state, caller, path) = called(&app, &id, &sent);
        let rotated = native::channels::rotate(state, caller, path, NoQuery, IdempotencyKey(None), request);
        Ok(Acted::Told(Told::Rotated(said::<RotateReply>(rotated).await?)))
    };
    answer(&app, &id, &sent, "secret", acting).await
}

/// Delivers again.
pub(crate) async fn replay(
    State(app): State<App>,
    ChannelPath(id): ChannelPath,
    sent: Sent,
) -> Result<Response, Failure> {
    let acting = async {
        let request = Json(request::<ReplayRequest>(&sent.values, &["notice", "since"])?);
        let (state, caller, path) = called(&app, &id, &sent);
        native::channels::replay(state, caller, path, NoQuery, IdempotencyKey(None), request).await?;
        Ok(Acted::Done("replayed"))
    };
    answer(&app, &id, &sent, "replay", acting).await
}

/// Removes it.
pub(crate) async fn remove(
    State(app): State<App>,
    ChannelPath(id): ChannelPath,
    sent: Sent,
) -> Result<Response, Failure> {
    let acting = async {
        let (state, caller, path) = called(&app, &id, &sent);
        native::channels::remove(state, caller, path, NoQuery).await?;
        Ok(Acted::Removed)
    };
    answer(&app, &id, &sent, "remove", acting).await
}

/// The channels on which something did not arrive lately, for the overview.
pub(super) async fn undelivered(app: &App, caller: &Caller) -> Result<Vec<Undelivered>, Failure> {
    let now = app.engine.clock().now();
    let mut found = Vec::new();
    let suspects = all(app, caller).await?.into_iter().filter(|channel| channel.lost > 0 || fails(channel));
    // Those that fail now come first; of one that is well, only what it gave up lately counts.
    let (failing, well): (Vec<_>, Vec<_>) = suspects.partition(fails);
    for channel in failing.into_iter().chain(well).take(SURVEY_LISTED_MAX) {
        let tried = log(app, caller, &ChannelId(channel.id.clone()), [("limit", "500")]).await?;
        let is_well = !fails(&channel);
        let counts = |delivery: &DeliveryItem| match delivery.result {
            DeliveryResult::Delivered => false,
            DeliveryResult::Failed => !is_well,
            DeliveryResult::GivenUp | DeliveryResult::Gone => !is_well || is_recent(&delivery.at, now),
        };
        let latest = tried.into_iter().find(counts);
        if latest.is_some() || !is_well {
            found.push(Undelivered { channel, latest });
        }
    }
    Ok(found)
}

fn fails(channel: &ChannelItem) -> bool {
    matches!(channel.state, ChannelState::Failing | ChannelState::Disabled)
}

fn is_recent(at: &str, now: Timestamp) -> bool {
    let at = at.parse::<Timestamp>();
    at.is_ok_and(|at| now.duration_since(at) < SignedDuration::from_secs(UNDELIVERED_SECS))
}

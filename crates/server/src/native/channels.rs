//! Channels: made, changed, tried, replayed; and what was tried of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{FromRequestParts, State};
use axum::response::Response;
use http::request::Parts;
use http::{StatusCode, Uri};
use tollgate_api::{
    ChannelCreated, ChannelItem, ChannelKind, ChannelList, ChannelRequest, ChannelTested, Code, DeliveryItem,
    DeliveryList, HeaderKey, Problem, QuietTimes, ReplayRequest, RotateReply, RotateRequest, SentMessage,
    shortened,
};
use tollgate_domain::limits::CHANNEL_DELIVERIES_KEPT;
use tollgate_domain::{
    Actor, ChangeChannel, Channel, ChannelChange, ChannelId, ChannelSetup, ClockTime, Filter, Hours,
    HoursError, NoticeKind, NoticeRef, QuietHours, ReadTo, Replay, Role, SystemCommand, SystemDenial, Target,
    Zone,
};
use tollgate_notifier::{Courier, SigningKey, check_port, end_of_notices, is_address};

use crate::app::App;
use crate::auth::{Caller, id_for, new_secret};
use crate::channel_items::{channel_item, delivery_item};
use crate::extract::{IdempotencyKey, Json, NoQuery, Query, path_param};
use crate::limits::{
    DELIVERIES_DEFAULT, FILTER_NAMES_MAX, OVERLAP_HOURS_DEFAULT, OVERLAP_HOURS_MAX, URL_CHARS_MAX,
};
use crate::native::catalog::system_failure;
use crate::native::orgs::text_line;
use crate::native::problems::{P404, P409};
use crate::reply::{Failure, json, ok};

/// The id of a channel in the path.
pub(crate) struct ChannelPath(pub(crate) ChannelId);

impl FromRequestParts<App> for ChannelPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Failure> {
        path_param(&parts.extensions, "id").map(|id| Self(ChannelId(id)))
    }
}

fn unknown_channel() -> Failure {
    system_failure(SystemDenial::UnknownChannel)
}

fn wrong(field: &str, text: &str) -> Failure {
    Problem::new(Code::InvalidField, format!("{field}: {text}")).on_field(field).into()
}

fn item_of(app: &App, channel: &Channel) -> ChannelItem {
    channel_item(channel, app.engine.clock().now())
}

async fn known(app: &App, id: &ChannelId) -> Result<Channel, Failure> {
    app.engine.channel(id).await?.ok_or_else(unknown_channel)
}

pub(crate) async fn change(
    app: &App,
    actor: &Actor,
    id: &ChannelId,
    change: ChannelChange,
) -> Result<(), Failure> {
    let change = Box::new(ChangeChannel { id: id.clone(), change });
    app.engine.submit_system(actor, SystemCommand::ChangeChannel(change)).await?.map_err(system_failure)?;
    Ok(())
}

/// What people say of a channel, checked. It keeps its URL or address where none is given.
async fn setup(app: &App, request: ChannelRequest, former: Option<&Target>) -> Result<ChannelSetup, Failure> {
    let name = text_line("name", request.name)?;
    for (field, length) in [
        ("notices", request.notices.len()),
        ("orgs", request.orgs.len()),
        ("plans", request.plans.len()),
        ("meters", request.meters.len()),
    ] {
        if length > FILTER_NAMES_MAX {
            return Err(wrong(field, &format!("must be a list of at most {FILTER_NAMES_MAX}")));
        }
    }
    if let Some(unknown) = request.notices.iter().find(|kind| !NoticeKind::NAMES.contains(&kind.as_str())) {
        let names = NoticeKind::NAMES.join("', '");
        return Err(wrong("notices", &format!("'{}' is none of '{names}'", shortened(unknown))));
    }
    let hours = hours(request.kind, request.quiet_hours, request.digest_at, request.time_zone)?;
    let leads = Leads { kind: request.kind, url: request.url, to: request.to, topic: request.topic };
    let target = target(app, leads, former).await?;
    let filter = Filter {
        kinds: request.notices.into_iter().collect(),
        orgs: request.orgs.into_iter().collect(),
        plans: request.plans.into_iter().collect(),
        meters: BTreeSet::from_iter(request.meters),
    };
    Ok(ChannelSetup { name, target, filter, enabled: request.enabled, hours: hours.map(Box::new) })
}

/// When a channel delivers, if not always. Programs have no hours.
fn hours(
    kind: ChannelKind,
    quiet: Option<QuietTimes>,
    digest: Option<String>,
    zone: Option<String>,
) -> Result<Option<Hours>, Failure> {
    let given =
        [("quiet_hours", quiet.is_some()), ("digest_at", digest.is_some()), ("time_zone", zone.is_some())];
    let Some((first, _)) = given.iter().find(|(_, is_given)| *is_given) else { return Ok(None) };
    if !matches!(kind, ChannelKind::Slack | ChannelKind::Email) {
        return Err(wrong(first, "is for people only: for the kinds 'slack' and 'email'"));
    }
    if quiet.is_none() && digest.is_none() {
        return Err(wrong("time_zone", "is that of 'quiet_hours' or 'digest_at': give one of them, too"));
    }
    let time = |field: &str, text: String| text.parse::<ClockTime>().map_err(|error| wrong(field, error));
    let quiet = match quiet {
        Some(QuietTimes { from, to }) => {
            Some(QuietHours { from: time("quiet_hours.from", from)?, to: time("quiet_hours.to", to)? })
        }
        None => None,
    };
    let digest = digest.map(|text| time("digest_at", text)).transpose()?;
    let zone = zone.map_or(Ok(Zone::UTC), |name| {
        Zone::chosen(&name).map_err(|error| wrong("time_zone", &format!("'{}' {error}", shortened(&name))))
    });
    let hours = Hours { zone: zone?, quiet, digest };
    match hours.check() {
        Ok(()) => Ok(Some(hours)),
        Err(error @ HoursError::AllDay) => Err(wrong("quiet_hours.to", &error.to_string())),
        Err(error @ HoursError::QuietDigest) => Err(wrong("digest_at", &error.to_string())),
    }
}

/// Where people say that a channel leads.
struct Leads {
    kind: ChannelKind,
    url: Option<String>,
    to: Option<String>,
    topic: Option<String>,
}

impl Leads {
    /// What is said of another kind of channel is refused, not passed over.
    fn check(&self) -> Result<(), Failure> {
        use ChannelKind::{Email, Log, Sns};
        match self {
            Self { kind: Log, url: Some(_), .. } => Err(wrong("url", "the log has none")),
            Self { kind: Email, url: Some(_), .. } => {
                Err(wrong("url", "e-mail has none; its address is 'to'"))
            }
            Self { kind: Sns, url: Some(_), .. } => Err(wrong("url", "SNS has none; its topic is 'topic'")),
            Self { kind, to: Some(_), .. } if *kind != Email => Err(wrong("to", "is for e-mail only")),
            Self { kind, topic: Some(_), .. } if *kind != Sns => Err(wrong("topic", "is for SNS only")),
            _ => Ok(()),
        }
    }
}

/// Where a channel leads.
async fn target(app: &App, leads: Leads, former: Option<&Target>) -> Result<Target, Failure> {
    leads.check()?;
    let Leads { kind, url, to, topic } = leads;
    let was_email = matches!(former, Some(Target::Email { .. }));
    if former.is_some() && was_email != (kind == ChannelKind::Email) {
        return Err(wrong("kind", "cannot change from or to 'email'; make a new channel"));
    }
    if matches!(kind, ChannelKind::Sqs | ChannelKind::Sns) && !Courier::REACHES_AWS {
        return Err(wrong("kind", "this server is built without the feature 'aws'"));
    }
    let url = match (kind, url) {
        (ChannelKind::Sqs, Some(url)) => Some(checked_queue(url)?),
        (_, Some(url)) => Some(checked_url(app, url).await?),
        (_, None) => None,
    };
    Ok(match (kind, url, former) {
        (ChannelKind::Log, ..) => Target::Log,
        (ChannelKind::Email, ..) => Target::Email { to: checked_address(app, to, former)? },
        (ChannelKind::Sns, ..) => Target::Sns { topic_arn: checked_topic(topic, former)? },
        (ChannelKind::Webhook, Some(url), _) => Target::Webhook { url },
        (ChannelKind::Slack, Some(url), _) => Target::Slack { url },
        (ChannelKind::Sqs, Some(queue_url), _) => Target::Sqs { queue_url },
        (ChannelKind::Webhook, None, Some(former @ Target::Webhook { .. }))
        | (ChannelKind::Slack, None, Some(former @ Target::Slack { .. }))
        | (ChannelKind::Sqs, None, Some(former @ Target::Sqs { .. })) => former.clone(),
        (ChannelKind::Webhook | ChannelKind::Slack | ChannelKind::Sqs, None, _) => {
            return Err(wrong("url", "must be given for this kind of channel"));
        }
    })
}

/// The URL of a queue. It only names the queue: requests go to AWS, or to the endpoint of the settings.
fn checked_queue(url: String) -> Result<String, Failure> {
    let text = "must be the URL of a queue, such as https://sqs.eu-west-1.amazonaws.com/123456789012/notices";
    let parsed: Uri = url.parse().map_err(|_| wrong("url", text))?;
    let has_user = parsed.authority().is_none_or(|authority| authority.as_str().contains('@'));
    let is_http = matches!(parsed.scheme_str(), Some("http" | "https"));
    let names = parsed.path().trim_start_matches('/').split('/').filter(|name| !name.is_empty()).count();
    check_port(&parsed).map_err(|says| wrong("url", says))?;
    let is_queue = is_http && !has_user && names >= 2 && parsed.query().is_none();
    if is_queue && url.len() <= URL_CHARS_MAX { Ok(url) } else { Err(wrong("url", text)) }
}

/// The ARN of a topic.
fn checked_topic(topic: Option<String>, former: Option<&Target>) -> Result<String, Failure> {
    let text = "must be the ARN of a topic, such as arn:aws:sns:eu-west-1:123456789012:notices";
    let Some(topic) = topic else {
        return match former {
            Some(Target::Sns { topic_arn }) => Ok(topic_arn.clone()),
            _ => Err(wrong("topic", "must be given for SNS")),
        };
    };
    let parts: Vec<&str> = topic.split(':').collect();
    let is_topic = match parts.as_slice() {
        ["arn", partition, "sns", region, account, name] => {
            let plain =
                |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
            let is_one = |text: &&str| !text.is_empty() && plain(text);
            [partition, region, account, name].into_iter().all(is_one) && partition.starts_with("aws")
        }
        _ => false,
    };
    if is_topic && topic.len() <= URL_CHARS_MAX { Ok(topic) } else { Err(wrong("topic", text)) }
}

/// An address that mail may go to.
fn checked_address(app: &App, to: Option<String>, former: Option<&Target>) -> Result<String, Failure> {
    if !app.courier.sends_mail() {
        let text = "'email' needs an SMTP server: start the server with smtp-host, smtp-from and public-url";
        return Err(wrong("kind", text));
    }
    match (to, former) {
        (Some(to), _) if is_address(&to) => Ok(to),
        (Some(_), _) => Err(wrong("to", "must be one e-mail address such as ann@example.com")),
        (None, Some(Target::Email { to })) => Ok(to.clone()),
        (None, _) => Err(wrong("to", "must be given for e-mail")),
    }
}

/// A URL that requests may go to, as far as that is known now: it is looked at again with every request.
async fn checked_url(app: &App, url: String) -> Result<String, Failure> {
    let form = || wrong("url", "must be an http:// or https:// URL without user and password");
    let parsed: Uri = url.parse().map_err(|_| form())?;
    let has_user = parsed.authority().is_some_and(|authority| authority.as_str().contains('@'));
    let is_http = matches!(parsed.scheme_str(), Some("http" | "https"));
    if !is_http || has_user || parsed.host().is_none_or(str::is_empty) {
        return Err(form());
    }
    check_port(&parsed).map_err(|says| wrong("url", says))?;
    if url.chars().count() > URL_CHARS_MAX {
        return Err(wrong("url", &format!("has more than {URL_CHARS_MAX} characters")));
    }
    match app.courier.refusal(&parsed).await {
        Some(refusal) => Err(wrong("url", &refusal)),
        None => Ok(url),
    }
}

/// The channels, in the order they were made.
#[utoipa::path(
    get, path = "/v1/channels", tag = "Channels", operation_id = "list_channels",
    responses(
        (status = 200, description = "All of them", body = ChannelList),
    )
)]
pub(crate) async fn list(State(app): State<App>, caller: Caller, _: NoQuery) -> Result<Response, Failure> {
    caller.require(Role::Read, None)?;
    let (channels, _) = app.engine.channels().await?;
    let now = app.engine.clock().now();
    Ok(ok(&ChannelList { channels: channels.iter().map(|channel| channel_item(channel, now)).collect() }))
}

/// Makes a channel. It delivers the notices that come from then on.
#[utoipa::path(
    post, path = "/v1/channels", tag = "Channels", operation_id = "create_channel",
    params(("Idempotency-Key" = Option<HeaderKey>, Header, description = "Sent again with the same one, no second channel is made: the first is told, without its secret")),
    request_body = ChannelRequest,
    responses(
        (status = 200, description = "It was made before", body = ChannelCreated),
        (status = 201, description = "Made; the secret is shown this once", body = ChannelCreated),
        P409,
    )
)]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    _: NoQuery,
    header: IdempotencyKey,
    Json(request): Json<ChannelRequest>,
) -> Result<Response, Failure> {
    caller.require(Role::Manage, None)?;
    let id = match header.0 {
        Some(key) => ChannelId(id_for(&key).0),
        None => ChannelId(new_secret()?.2.0),
    };
    if let Some(made) = app.engine.channel(&id).await? {
        return Ok(ok(&ChannelCreated { secret: None, item: item_of(&app, &made) }));
    }
    let setup = setup(&app, request, None).await?;
    // What signs the links in e-mail is nobody's but the server's.
    let is_signed = matches!(setup.target, Target::Webhook { .. } | Target::Email { .. });
    let is_shown = matches!(setup.target, Target::Webhook { .. });
    let secret = is_signed.then(drawn_secret).transpose()?;
    let read = notices_end(&app).await?;
    change(&app, &caller.actor, &id, ChannelChange::Make { setup, secret: secret.clone(), read }).await?;
    let secret = secret.filter(|_| is_shown);
    let item: ChannelItem = item_of(&app, &known(&app, &id).await?);
    Ok(json(StatusCode::CREATED, &ChannelCreated { secret, item }))
}

/// The place behind all notices that there are. It is remembered, so that the next look begins there.
async fn notices_end(app: &App) -> Result<ReadTo, Failure> {
    let looking = Arc::clone(app);
    let look = async move {
        let mut end = looking.notices_end.lock().await;
        *end = end_of_notices(&looking.engine, end.clone()).await?;
        Ok(end.clone())
    };
    app.readers.report(look).await?
}

fn drawn_secret() -> Result<String, Failure> {
    SigningKey::draw().map_err(|error| {
        Failure::from(Problem::new(Code::Internal, "no randomness")).caused_by(error.to_string())
    })
}

/// A channel.
#[utoipa::path(
    get, path = "/v1/channels/{id}", tag = "Channels", operation_id = "get_channel",
    params(("id" = String, Path, description = "The id of the channel")),
    responses(
        (status = 200, description = "The channel", body = ChannelItem),
        P404,
    )
)]
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    ChannelPath(id): ChannelPath,
    _: NoQuery,
) -> Result<Response, Failure> {
    caller.require(Role::Read, None)?;
    Ok(ok(&item_of(&app, &known(&app, &id).await?)))
}

/// Says all of a channel that people say of it. One that was disabled delivers again.
#[utoipa::path(
    put, path = "/v1/channels/{id}", tag = "Channels", operation_id = "put_channel",
    params(("id" = String, Path, description = "The id of the channel")),
    request_body = ChannelRequest,
    responses(
        (status = 200, description = "As it is now", body = ChannelItem),
        P404,
    )
)]
pub(crate) async fn put(
    State(app): State<App>,
    caller: Caller,
    ChannelPath(id): ChannelPath,
    _: NoQuery,
    Json(request): Json<ChannelRequest>,
) -> Result<Response, Failure> {
    caller.require(Role::Manage, None)?;
    let former = known(&app, &id).await?;
    let setup = setup(&app, request, Some(&former.setup.target)).await?;
    if former.secrets.is_empty() && matches!(setup.target, Target::Webhook { .. }) {
        return Err(wrong("kind", "was another; make a new channel, which has a secret"));
    }
    change(&app, &caller.actor, &id, ChannelChange::Set(setup)).await?;
    Ok(ok(&item_of(&app, &known(&app, &id).await?)))
}

/// Removes a channel, and what was tried of it. Its queued messages are not delivered any more.
#[utoipa::path(
    delete, path = "/v1/channels/{id}", tag = "Channels", operation_id = "delete_channel",
    params(("id" = String, Path, description = "The id of the channel")),
    responses(
        (status = 200, description = "As it was", body = ChannelItem),
        P404,
    )
)]
pub(crate) async fn remove(
    State(app): State<App>,
    caller: Caller,
    ChannelPath(id): ChannelPath,
    _: NoQuery,
) -> Result<Response, Failure> {
    caller.require(Role::Manage, None)?;
    let former = known(&app, &id).await?;
    change(&app, &caller.actor, &id, ChannelChange::Remove).await?;
    Ok(ok(&item_of(&app, &former)))
}

/// Sends a message that tries the channel, once and at once, whatever its state; nothing is written down.
#[utoipa::path(
    post, path = "/v1/channels/{id}/test", tag = "Channels", operation_id = "test_channel",
    params(("id" = String, Path, description = "The id of the channel")),
    responses(
        (status = 200, description = "What came of it", body = ChannelTested),
        P404,
    )
)]
pub(crate) async fn test(
    State(app): State<App>,
    caller: Caller,
    ChannelPath(id): ChannelPath,
    _: NoQuery,
    _: IdempotencyKey,
) -> Result<Response, Failure> {
    caller.require(Role::Manage, None)?;
    let channel = known(&app, &id).await?;
    let outcome = app.courier.test(&channel, app.engine.clock().now()).await;
    let (delivered, status, reply) = (outcome.delivered, outcome.status, outcome.reply);
    Ok(ok(&ChannelTested { delivered, status, reply }))
}

/// Has the requests of a webhook signed with a new secret, and for a while with the old one, too.
#[utoipa::path(
    post, path = "/v1/channels/{id}/secret", tag = "Channels", operation_id = "rotate_channel_secret",
    params(("id" = String, Path, description = "The id of the channel")),
    request_body = RotateRequest,
    responses(
        (status = 200, description = "The new secret", body = RotateReply),
        P404,
    )
)]
pub(crate) async fn rotate(
    State(app): State<App>,
    caller: Caller,
    ChannelPath(id): ChannelPath,
    _: NoQuery,
    _: IdempotencyKey,
    Json(request): Json<RotateRequest>,
) -> Result<Response, Failure> {
    caller.require(Role::Manage, None)?;
    let channel = known(&app, &id).await?;
    if channel.secrets.is_empty() || matches!(channel.setup.target, Target::Email { .. }) {
        return Err(wrong("id", "the channel signs nothing"));
    }
    let hours = request.overlap_hours.unwrap_or(OVERLAP_HOURS_DEFAULT);
    if hours > OVERLAP_HOURS_MAX {
        let text = format!("must be a whole number from 0 to {OVERLAP_HOURS_MAX}");
        return Err(wrong("overlap_hours", &text));
    }
    let secret = drawn_secret()?;
    let overlap = std::time::Duration::from_secs(3_600 * u64::from(hours));
    let now = app.engine.clock().now();
    let old_until = now.checked_add(overlap).unwrap_or(now);
    change(&app, &caller.actor, &id, ChannelChange::Rotate { secret: secret.clone(), old_until }).await?;
    Ok(ok(&RotateReply { secret, old_until: old_until.to_string() }))
}

/// Delivers notices again, under their ids: one, or all since a time that the channel takes.
#[utoipa::path(
    post, path = "/v1/channels/{id}/replay", tag = "Channels", operation_id = "replay_channel",
    params(("id" = String, Path, description = "The id of the channel")),
    request_body = ReplayRequest,
    responses(
        (status = 200, description = "They are delivered again", body = ChannelItem),
        P404,
    )
)]
pub(crate) async fn replay(
    State(app): State<App>,
    caller: Caller,
    ChannelPath(id): ChannelPath,
    _: NoQuery,
    _: IdempotencyKey,
    Json(request): Json<ReplayRequest>,
) -> Result<Response, Failure> {
    caller.require(Role::Manage, None)?;
    known(&app, &id).await?;
    let replay = match (request.notice, request.since) {
        (Some(notice), None) => {
            let notice: NoticeRef = notice.parse().map_err(|text| wrong("notice", text))?;
            let entry = app.engine.entry(&notice.org, notice.entry).await?;
            let index = usize::try_from(notice.index).unwrap_or(usize::MAX);
            if entry.is_none_or(|entry| index >= entry.notices.len()) {
                let detail = format!("there is no notice '{notice}'");
                return Err(Problem::new(Code::UnknownNotice, detail).on_field("notice").into());
            }
            Replay::One(notice)
        }
        (None, Some(since)) => Replay::Since(since.0),
        _ => return Err(wrong("notice", "give either this or 'since'")),
    };
    change(&app, &caller.actor, &id, ChannelChange::Replay(replay)).await?;
    Ok(ok(&item_of(&app, &known(&app, &id).await?)))
}

/// What was tried of a channel, the latest first: the latest 500 attempts are kept.
#[utoipa::path(
    get, path = "/v1/channels/{id}/deliveries", tag = "Channels", operation_id = "channel_deliveries",
    params(
        ("id" = String, Path, description = "The id of the channel"),
        ("limit" = Option<u32>, Query, description = "Most attempts; 50 unless given", minimum = 1, maximum = 500),
        ("before" = Option<u64>, Query, description = "Only attempts with lower numbers"),
        ("requests" = Option<bool>, Query, description = "With `true`, what was sent, too"),
    ),
    responses(
        (status = 200, description = "Some attempts", body = DeliveryList),
        P404,
    )
)]
pub(crate) async fn deliveries(
    State(app): State<App>,
    caller: Caller,
    ChannelPath(id): ChannelPath,
    mut query: Query,
) -> Result<Response, Failure> {
    caller.require(Role::Read, None)?;
    let most = usize::try_from(CHANNEL_DELIVERIES_KEPT).unwrap_or(usize::MAX);
    let limit = query.take_as("limit", |text| match text.parse::<usize>() {
        Ok(limit) if (1..=most).contains(&limit) => Ok(limit),
        _ => Err(format!("must be a whole number from 1 to {most}")),
    })?;
    let before = query.take_as("before", |text| {
        text.parse::<u64>().map_err(|_| "must be the number of an attempt".to_owned())
    })?;
    let requests = query.take_as("requests", |text| match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("must be 'true' or 'false'"),
    })?;
    query.end()?;
    known(&app, &id).await?;
    let tried = app.engine.deliveries(&id).await?;
    let asked = tried.iter().filter(|delivery| before.is_none_or(|before| delivery.number < before));
    let mut deliveries = Vec::new();
    for delivery in asked.take(limit.unwrap_or(DELIVERIES_DEFAULT)) {
        let sent = match requests {
            Some(true) => app.courier.sent(&app.engine, &delivery.subject).await?,
            _ => None,
        };
        let request = sent.map(|(id, body)| SentMessage { id, body });
        deliveries.push(DeliveryItem { request, ..delivery_item(delivery) });
    }
    Ok(ok(&DeliveryList { deliveries }))
}

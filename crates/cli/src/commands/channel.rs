//! Channels, which deliver notices.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use tollgate_api::{
    ChannelCreated, ChannelItem, ChannelList, ChannelState, ChannelTested, DeliveryItem, DeliveryList,
    QuietTimes, RotateReply,
};
use ureq::http::Method;

use super::Session;
use crate::client::{Route, Sent, given};
use crate::failure::Failure;
use crate::table::{Field, pairs, parts, rows, time, time_or};

/// `tollgate channel`
#[derive(Debug, Subcommand)]
pub(crate) enum ChannelCommand {
    /// Create a channel; the secret of a webhook is shown only once.
    Create(Box<CreateArgs>),
    /// List all channels.
    List,
    /// Show a channel.
    Show {
        /// The id of the channel.
        id: String,
    },
    /// Deliver no more notices until the channel is enabled again.
    Disable {
        /// The id of the channel.
        id: String,
    },
    /// Deliver notices again, also after the channel was disabled by failures.
    Enable {
        /// The id of the channel.
        id: String,
    },
    /// Set the quiet hours and the digest of a channel for people; what is not given is removed.
    Hours {
        /// The id of the channel.
        id: String,
        #[command(flatten)]
        hours: HoursArgs,
    },
    /// Remove a channel.
    Remove {
        /// The id of the channel.
        id: String,
    },
    /// Send a test message.
    Test {
        /// The id of the channel.
        id: String,
    },
    /// Sign with a new secret, and for a while with the old one, too.
    Rotate {
        /// The id of the channel.
        id: String,
        /// Hours for which the old secret signs, too.
        #[arg(long)]
        overlap_hours: Option<u32>,
    },
    /// Deliver notices again.
    Replay {
        /// The id of the channel.
        id: String,
        /// The id of one notice, such as acme/5/0.
        #[arg(long, required_unless_present = "since", conflicts_with = "since")]
        notice: Option<String>,
        /// All notices decided at this time or later (RFC 3339).
        #[arg(long)]
        since: Option<String>,
    },
    /// List the latest attempts, or show one with what was sent.
    Deliveries {
        /// The id of the channel.
        id: String,
        /// The number of an attempt.
        number: Option<u64>,
        /// Most attempts to list.
        #[arg(long, conflicts_with = "number")]
        limit: Option<u32>,
    },
}

/// `tollgate channel create`
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// A name for the channel.
    name: String,
    #[command(flatten)]
    target: TargetArgs,
    /// Only notices of this kind; may be given several times.
    #[arg(long = "notice", value_name = "KIND")]
    notices: Vec<String>,
    /// Only notices of this organization; may be given several times.
    #[arg(long = "org", value_name = "ORG")]
    orgs: Vec<String>,
    /// Only notices of organizations with this plan; may be given several times.
    #[arg(long = "plan", value_name = "PLAN")]
    plans: Vec<String>,
    /// Only notices about this meter; may be given several times.
    #[arg(long = "meter", value_name = "METER")]
    meters: Vec<String>,
    #[command(flatten)]
    hours: HoursArgs,
}

/// When a channel for people delivers.
#[derive(Debug, Args)]
pub(crate) struct HoursArgs {
    /// Deliver nothing in these hours of each day, such as 22:00-07:00; Slack and e-mail only.
    #[arg(long, value_name = "FROM-TO", value_parser = quiet_times)]
    quiet_hours: Option<QuietTimes>,
    /// Deliver the notices of a day as one message at this time, such as 09:00; Slack and e-mail only.
    #[arg(long, value_name = "TIME")]
    digest_at: Option<String>,
    /// Time zone of these hours, such as Europe/Berlin; UTC unless given.
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
}

fn quiet_times(text: &str) -> Result<QuietTimes, String> {
    let (from, to) = text.split_once('-').ok_or("expected FROM-TO, such as 22:00-07:00")?;
    Ok(QuietTimes { from: from.to_owned(), to: to.to_owned() })
}

/// Where a channel leads.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct TargetArgs {
    /// An HTTP endpoint that takes signed requests.
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// An incoming webhook of Slack.
    #[arg(long, value_name = "URL")]
    slack: Option<String>,
    /// A mailbox.
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// A queue of AWS's SQS, by its URL.
    #[arg(long, value_name = "URL")]
    sqs: Option<String>,
    /// A topic of AWS's SNS, by its ARN.
    #[arg(long, value_name = "ARN")]
    sns: Option<String>,
    /// The server's log.
    #[arg(long)]
    log: bool,
}

/// Runs `tollgate channel`.
pub(crate) fn run(session: &mut Session, command: &ChannelCommand) -> Result<(), Failure> {
    let all = Route::v1(&["channels"]);
    let of = |id: &str| Route::v1(&["channels", id]);
    let doing = |id: &str, what: &str| Route::v1(&["channels", id, what]);
    let text = |channel: &ChannelItem| pairs(about(channel));
    match command {
        ChannelCommand::Create(args) => {
            session.show(Method::POST, &all, &Sent::Json(created(args)), created_text)
        }
        ChannelCommand::List => session.show(Method::GET, &all, &Sent::Nothing, list_text),
        ChannelCommand::Show { id } => session.show(Method::GET, &of(id), &Sent::Nothing, text),
        ChannelCommand::Remove { id } => session.show(Method::DELETE, &of(id), &Sent::Nothing, text),
        ChannelCommand::Enable { id } => {
            change(session, &of(id), |channel| channel.insert("enabled".to_owned(), true.into()))
        }
        ChannelCommand::Disable { id } => {
            change(session, &of(id), |channel| channel.insert("enabled".to_owned(), false.into()))
        }
        ChannelCommand::Hours { id, hours } => change(session, &of(id), |channel| {
            let HoursArgs { quiet_hours, digest_at, time_zone } = hours;
            channel.insert("quiet_hours".to_owned(), json!(quiet_hours));
            channel.insert("digest_at".to_owned(), json!(digest_at));
            channel.insert("time_zone".to_owned(), json!(time_zone))
        }),
        ChannelCommand::Test { id } => {
            session.show(Method::POST, &doing(id, "test"), &Sent::Nothing, tested_text)
        }
        ChannelCommand::Rotate { id, overlap_hours } => {
            let body = given(json!({"overlap_hours": overlap_hours}));
            session.show(Method::POST, &doing(id, "secret"), &Sent::Json(body), |reply: &RotateReply| {
                pairs(vec![("secret", (&reply.secret).into()), ("old until", time(&reply.old_until))])
            })
        }
        ChannelCommand::Replay { id, notice, since } => {
            let body = given(json!({"notice": notice, "since": since}));
            session.show(Method::POST, &doing(id, "replay"), &Sent::Json(body), text)
        }
        ChannelCommand::Deliveries { id, number: Some(number), .. } => {
            let before = number.saturating_add(1).to_string();
            let route = doing(id, "deliveries").with("before", Some(&before)).with("limit", Some("1"));
            let route = route.with("requests", Some("true"));
            session.show(Method::GET, &route, &Sent::Nothing, delivery_text)
        }
        ChannelCommand::Deliveries { id, number: None, limit } => {
            let limit = limit.map(|limit| limit.to_string());
            let route = doing(id, "deliveries").with("limit", limit.as_deref());
            session.show(Method::GET, &route, &Sent::Nothing, deliveries_text)
        }
    }
}

fn created(args: &CreateArgs) -> Value {
    let TargetArgs { webhook, slack, email, sqs, sns, log: _ } = &args.target;
    let given_as = [("webhook", webhook), ("slack", slack), ("email", email), ("sqs", sqs), ("sns", sns)];
    let kind = given_as.iter().find(|(_, target)| target.is_some()).map_or("log", |(kind, _)| *kind);
    let url = webhook.as_ref().or(slack.as_ref()).or(sqs.as_ref());
    given(json!({
        "name": args.name, "kind": kind, "url": url, "to": email, "topic": sns, "notices": args.notices, "orgs": args.orgs, "plans": args.plans,
        "meters": args.meters, "quiet_hours": args.hours.quiet_hours, "digest_at": args.hours.digest_at,
        "time_zone": args.hours.time_zone,
    }))
}

/// Says all of a channel as it is, but for a change.
fn change<T>(
    session: &mut Session,
    route: &Route,
    change: impl FnOnce(&mut Map<String, Value>) -> T,
) -> Result<(), Failure> {
    let reply = session.ask(Method::GET, route, &Sent::Nothing)?;
    let is = serde_json::from_str::<ChannelItem>(&reply)
        .map_err(|error| Failure::Other(format!("the server's answer cannot be read: {error}")))?;
    let ChannelItem { name, kind, notices, orgs, plans, meters, quiet_hours, digest_at, time_zone, .. } = is;
    let mut body = json!({"name": name, "kind": kind, "notices": notices, "orgs": orgs, "plans": plans,
        "meters": meters, "quiet_hours": quiet_hours, "digest_at": digest_at, "time_zone": time_zone,
        "enabled": is.state != ChannelState::Paused});
    if let Some(members) = body.as_object_mut() {
        change(members);
    }
    session.show(Method::PUT, route, &Sent::Json(given(body)), |channel: &ChannelItem| pairs(about(channel)))
}

/// A value as the word that JSON has for it.
fn word(value: impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn listed(names: &[String]) -> Field {
    if names.is_empty() { "all".into() } else { names.join(", ").into() }
}

fn about(channel: &ChannelItem) -> Vec<(&'static str, Field)> {
    let quiet = channel.quiet_hours.as_ref().map(|quiet| format!("{}-{}", quiet.from, quiet.to));
    vec![
        ("id", (&channel.id).into()),
        ("name", (&channel.name).into()),
        ("kind", word(channel.kind).into()),
        ("url", channel.url.as_deref().unwrap_or("-").into()),
        ("to", channel.to.as_deref().unwrap_or("-").into()),
        ("topic", channel.topic.as_deref().unwrap_or("-").into()),
        ("state", word(channel.state).into()),
        ("notices", listed(&channel.notices)),
        ("orgs", listed(&channel.orgs)),
        ("plans", listed(&channel.plans)),
        ("meters", listed(&channel.meters)),
        ("quiet hours", (&quiet).into()),
        ("digest at", channel.digest_at.as_deref().unwrap_or("-").into()),
        ("time zone", channel.time_zone.as_deref().unwrap_or("-").into()),
        ("waits until", time_or(channel.waits_until.as_ref(), "-")),
        ("waiting", channel.waiting.into()),
        ("delivered", channel.delivered.into()),
        ("lost", channel.lost.into()),
        ("failing since", time_or(channel.failing_since.as_ref(), "-")),
        ("created", time(&channel.created_at)),
    ]
}

fn created_text(made: &ChannelCreated) -> String {
    let mut text = Vec::new();
    if let Some(secret) = &made.secret {
        text.push(pairs(vec![("secret", secret.into())]));
        text.push("The secret is shown this once; requests are signed with it.\n".to_owned());
    }
    text.push(pairs(about(&made.item)));
    parts(text)
}

fn list_text(list: &ChannelList) -> String {
    let line = |channel: &ChannelItem| {
        vec![
            (&channel.id).into(),
            (&channel.name).into(),
            word(channel.kind).into(),
            word(channel.state).into(),
            channel.waiting.into(),
            channel.delivered.into(),
            channel.lost.into(),
        ]
    };
    let headings = ["id", "name", "kind", "state", "waiting", "delivered", "lost"];
    rows(&headings, list.channels.iter().map(line).collect(), "no channels")
}

fn tested_text(tested: &ChannelTested) -> String {
    let status = tested.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
    pairs(vec![
        ("delivered", tested.delivered.into()),
        ("status", status.into()),
        ("reply", (&tested.reply).into()),
    ])
}

fn attempt(delivery: &DeliveryItem) -> Vec<(&'static str, Field)> {
    let status = delivery.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
    let digest = (!delivery.digest.is_empty()).then(|| format!("digest of {}", delivery.digest.len()));
    let what = delivery.notice.as_ref().or(delivery.disabled_channel.as_ref()).or(digest.as_ref());
    vec![
        ("number", delivery.number.into()),
        ("at", time(&delivery.at)),
        ("notice", what.map_or("-", String::as_str).into()),
        ("attempt", u64::from(delivery.attempt).into()),
        ("result", word(delivery.result).into()),
        ("status", status.into()),
        ("ms", u64::from(delivery.millis).into()),
        ("next", time_or(delivery.next_at.as_ref(), "-")),
        ("reply", (&delivery.reply).into()),
    ]
}

fn deliveries_text(list: &DeliveryList) -> String {
    let lines =
        list.deliveries.iter().map(|each| attempt(each).into_iter().map(|(_, field)| field).collect());
    let headings = ["number", "at", "notice", "attempt", "result", "status", "ms", "next", "reply"];
    rows(&headings, lines.collect(), "no attempts")
}

fn delivery_text(list: &DeliveryList) -> String {
    let Some(delivery) = list.deliveries.first() else { return "no such attempt\n".to_owned() };
    let mut text = Vec::new();
    let mut lines = attempt(delivery);
    if let Some(request) = &delivery.request {
        lines.push(("message", (&request.id).into()));
        text.push(serde_json::to_string_pretty(&request.body).unwrap_or_default() + "\n");
    }
    text.insert(0, pairs(lines));
    parts(text)
}

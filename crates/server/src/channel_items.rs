//! Channels and their attempts, from the domain to the wire.

use http::Uri;
use tollgate_api::{ChannelItem, ChannelKind, ChannelState, DeliveryItem, DeliveryResult, QuietTimes};
use tollgate_domain::{AttemptResult, Channel, Delivery, QuietHours, Subject, Target, Timestamp};

/// A channel as it is at a moment.
pub(crate) fn channel_item(channel: &Channel, now: Timestamp) -> ChannelItem {
    let Channel { id, setup, created_at, progress, .. } = channel;
    let (mut url, mut to, mut topic) = (None, None, None);
    let kind = match &setup.target {
        Target::Webhook { url: known } => {
            url = Some(shown(known, true));
            ChannelKind::Webhook
        }
        Target::Slack { url: known } => {
            url = Some(shown(known, false));
            ChannelKind::Slack
        }
        Target::Log => ChannelKind::Log,
        Target::Email { to: known } => {
            to = Some(known.clone());
            ChannelKind::Email
        }
        Target::Sqs { queue_url } => {
            url = Some(queue_url.clone());
            ChannelKind::Sqs
        }
        Target::Sns { topic_arn } => {
            topic = Some(topic_arn.clone());
            ChannelKind::Sns
        }
    };
    let state = match (setup.enabled, progress.gave_up_at, progress.failing_since) {
        (false, ..) => ChannelState::Paused,
        (true, Some(_), _) => ChannelState::Disabled,
        (true, None, Some(_)) => ChannelState::Failing,
        (true, None, None) => ChannelState::Live,
    };
    let hours = setup.hours.as_deref();
    let quiet = |QuietHours { from, to }| QuietTimes { from: from.to_string(), to: to.to_string() };
    ChannelItem {
        id: id.0.clone(),
        name: setup.name.clone(),
        kind,
        url,
        to,
        topic,
        notices: setup.filter.kinds.iter().cloned().collect(),
        orgs: setup.filter.orgs.iter().map(ToString::to_string).collect(),
        plans: setup.filter.plans.iter().map(ToString::to_string).collect(),
        meters: setup.filter.meters.iter().map(ToString::to_string).collect(),
        quiet_hours: hours.and_then(|hours| hours.quiet).map(quiet),
        digest_at: hours.and_then(|hours| hours.digest).map(|time| time.to_string()),
        time_zone: hours.map(|hours| hours.zone.name().to_owned()),
        waits_until: channel.waits_until(now).map(|at| at.to_string()),
        state,
        created_at: created_at.to_string(),
        waiting: u64::try_from(progress.waiting.len()).unwrap_or(u64::MAX),
        delivered: progress.delivered,
        lost: progress.lost,
        failing_since: progress.failing_since.map(|at| at.to_string()),
        disabled_at: progress.gave_up_at.map(|at| at.to_string()),
    }
}

/// A URL without what may be secret: its query, and the path of one that is a secret itself.
fn shown(url: &str, with_path: bool) -> String {
    let Ok(url) = url.parse::<Uri>() else { return String::new() };
    let host = url.authority().map_or("", http::uri::Authority::as_str);
    let path = if with_path { url.path() } else { "/***" };
    let query = if with_path && url.query().is_some() { "?***" } else { "" };
    format!("{}://{host}{path}{query}", url.scheme_str().unwrap_or_default())
}

pub(crate) fn delivery_item(delivery: &Delivery) -> DeliveryItem {
    let (result, next_at) = match delivery.result {
        AttemptResult::Delivered => (DeliveryResult::Delivered, None),
        AttemptResult::Failed { next } => (DeliveryResult::Failed, Some(next.to_string())),
        AttemptResult::GivenUp => (DeliveryResult::GivenUp, None),
        AttemptResult::Gone => (DeliveryResult::Gone, None),
    };
    let (notice, disabled_channel) = match &delivery.subject {
        Subject::Notice(notice) => (Some(notice.to_string()), None),
        Subject::ChannelDisabled { channel, .. } => (None, Some(channel.0.clone())),
        Subject::Digest(_) => (None, None),
    };
    let digest = match &delivery.subject {
        Subject::Digest(digest) => digest.notices.iter().map(ToString::to_string).collect(),
        Subject::Notice(_) | Subject::ChannelDisabled { .. } => Vec::new(),
    };
    DeliveryItem {
        number: delivery.number,
        notice,
        digest,
        disabled_channel,
        attempt: delivery.attempt,
        at: delivery.at.to_string(),
        result,
        next_at,
        status: delivery.status,
        millis: delivery.millis,
        reply: delivery.reply.clone(),
        request: None,
    }
}

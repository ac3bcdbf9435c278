//! Channels and their attempts, from the domain to the wire.

use http::Uri;
use tollgate_api::{ChannelItem, ChannelKind, ChannelState, DeliveryItem, DeliveryResult};
use tollgate_domain::{AttemptResult, Channel, Delivery, Subject, Target};

pub(crate) fn channel_item(channel: &Channel) -> ChannelItem {
    let Channel { id, setup, created_at, progress, .. } = channel;
    let (kind, url, to) = match &setup.target {
        Target::Webhook { url } => (ChannelKind::Webhook, Some(shown(url, true)), None),
        Target::Slack { url } => (ChannelKind::Slack, Some(shown(url, false)), None),
        Target::Log => (ChannelKind::Log, None, None),
        Target::Email { to } => (ChannelKind::Email, None, Some(to.clone())),
    };
    let state = match (setup.enabled, progress.gave_up_at, progress.failing_since) {
        (false, ..) => ChannelState::Paused,
        (true, Some(_), _) => ChannelState::Disabled,
        (true, None, Some(_)) => ChannelState::Failing,
        (true, None, None) => ChannelState::Live,
    };
    ChannelItem {
        id: id.0.clone(),
        name: setup.name.clone(),
        kind,
        url,
        to,
        notices: setup.filter.kinds.iter().cloned().collect(),
        orgs: setup.filter.orgs.iter().map(ToString::to_string).collect(),
        plans: setup.filter.plans.iter().map(ToString::to_string).collect(),
        meters: setup.filter.meters.iter().map(ToString::to_string).collect(),
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
    };
    DeliveryItem {
        number: delivery.number,
        notice,
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

//! Small answers that templates ask for.

use std::fmt::Display;

use tollgate_api::{
    ChannelItem, ChannelKind, ChannelState, DeliveryResult, LimitGiver, MeterBalanceReply, OnExpiryName,
    OrgMeterItem, OrgNoticesReply, ScopeName, ThresholdsGiver, TopUpState,
};
use tollgate_domain::{LimitPath, NoticeRef};

use crate::text;

pub(crate) use crate::chart::gauge;

/// How much of its credit an organization used of a meter, in percent, where it has any.
pub(crate) fn share_of(meter: &OrgMeterItem) -> Option<i128> {
    meter.remaining.map(|remaining| text::percent(meter.used.0, meter.used.0 + remaining.0))
}

/// How much of a meter's credit is used, in percent, where it has any.
pub(crate) fn used_share(meter: &MeterBalanceReply) -> Option<i128> {
    meter.remaining.map(|remaining| text::percent(meter.used.0, meter.used.0 + remaining.0))
}

pub(crate) fn whose(scope: &ScopeName, user: &Option<String>, path: &Option<String>) -> String {
    match (scope, user) {
        (ScopeName::Org, _) => "the organization".to_owned(),
        (ScopeName::User, None) => "each user".to_owned(),
        (ScopeName::User, Some(user)) => user.clone(),
        (ScopeName::Path, _) => {
            let path = path.as_deref().and_then(|path| LimitPath::new(path).ok());
            path.map(|path| path.phrase()).unwrap_or_default()
        }
    }
}

pub(crate) fn state(state: &TopUpState) -> &'static str {
    match state {
        TopUpState::Active => "active",
        TopUpState::Scheduled => "scheduled",
        TopUpState::Exhausted => "used up",
        TopUpState::Expired => "expired",
    }
}

pub(crate) fn is_open(state: &TopUpState) -> bool {
    matches!(state, TopUpState::Active | TopUpState::Scheduled)
}

/// What becomes of a hold that expires.
pub(crate) fn on_expiry(policy: &OnExpiryName) -> &'static str {
    match policy {
        OnExpiryName::Release => "then given back",
        OnExpiryName::Charge => "then charged",
    }
}

/// The shares of its credit that an organization's notices tell of, as a form has them; those of others are not in its form.
pub(crate) fn own_shares(told_at: &OrgNoticesReply) -> String {
    match (told_at.from, &*told_at.thresholds) {
        (ThresholdsGiver::Org, []) => "none".to_owned(),
        (ThresholdsGiver::Org, shares) => listed(shares, ""),
        _ => String::new(),
    }
}

/// When people are told of an organization's credit, in a sentence.
pub(crate) fn told_at(told_at: &OrgNoticesReply) -> String {
    let from = match told_at.from {
        ThresholdsGiver::Org => "set here",
        ThresholdsGiver::Plan => "from the plan",
        ThresholdsGiver::Catalog => "from the catalog",
    };
    match &*told_at.thresholds {
        [] => format!("No share of the credit causes a notice, {from}."),
        shares => format!("Told at {} of the credit, {from}.", listed(shares, " %")),
    }
}

fn listed(shares: &[u8], unit: &str) -> String {
    let shares: Vec<String> = shares.iter().map(|share| format!("{share}{unit}")).collect();
    shares.join(", ")
}

pub(crate) fn giver(giver: &LimitGiver) -> &'static str {
    match giver {
        LimitGiver::Org => "set here",
        LimitGiver::Plan => "from the plan",
    }
}

/// Which notices a channel takes, in a line.
pub(crate) fn takes(channel: &ChannelItem) -> String {
    let kinds: Vec<String> = channel.notices.iter().map(text::words).collect();
    let mut parts = Vec::from_iter(Some(kinds.join(", ")).filter(|kinds| !kinds.is_empty()));
    for (name, list) in [("of", &channel.orgs), ("on plan", &channel.plans), ("about", &channel.meters)] {
        if !list.is_empty() {
            parts.push(format!("{name} {}", list.join(", ")));
        }
    }
    if is_filtered(channel) { parts.join("; ") } else { "all notices".to_owned() }
}

/// Whether a channel takes only some notices.
pub(crate) fn is_filtered(channel: &ChannelItem) -> bool {
    [&channel.notices, &channel.orgs, &channel.plans, &channel.meters].iter().any(|list| !list.is_empty())
}

pub(crate) fn channel_kind(kind: &ChannelKind) -> &'static str {
    match kind {
        ChannelKind::Webhook => "webhook",
        ChannelKind::Slack => "slack",
        ChannelKind::Log => "log",
        ChannelKind::Email => "e-mail",
        ChannelKind::Sqs => "SQS",
        ChannelKind::Sns => "SNS",
    }
}

pub(crate) fn channel_state(state: &ChannelState) -> &'static str {
    match state {
        ChannelState::Live => "live",
        ChannelState::Failing => "failing",
        ChannelState::Paused => "paused",
        ChannelState::Disabled => "disabled",
    }
}

/// How the state of a channel looks.
pub(crate) fn channel_class(state: &ChannelState) -> &'static str {
    match state {
        ChannelState::Live => "good",
        ChannelState::Failing => "warn",
        ChannelState::Paused => "rest",
        ChannelState::Disabled => "bad",
    }
}

pub(crate) fn result(result: &DeliveryResult) -> &'static str {
    match result {
        DeliveryResult::Delivered => "delivered",
        DeliveryResult::Failed => "failed, tried again",
        DeliveryResult::GivenUp => "given up",
        DeliveryResult::Gone => "refused for good (410)",
    }
}

/// How the result of an attempt looks.
pub(crate) fn result_class(result: &DeliveryResult) -> &'static str {
    match result {
        DeliveryResult::Delivered => "good",
        DeliveryResult::Failed => "warn",
        DeliveryResult::GivenUp | DeliveryResult::Gone => "bad",
    }
}

/// A body of JSON on lines of their own.
pub(crate) fn indented(body: &impl Display) -> String {
    format!("{body:#}")
}

/// Where the notice with an id stands.
pub(crate) fn place(notice: impl AsRef<str>) -> Option<NoticeRef> {
    notice.as_ref().parse().ok()
}

//! Channels: where notices go.

use serde::{Deserialize, Serialize};
use tollgate_domain::{MeterId, OrgId, PlanId};
use utoipa::ToSchema;

use crate::body::given;
use crate::text::word;
use crate::{Id, Line, Time};

/// Makes a channel, or says of one all that people say of it.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChannelRequest {
    /// A name for people.
    #[schema(value_type = Line)]
    pub name: String,
    /// To what it leads.
    #[serde(deserialize_with = "word")]
    pub kind: ChannelKind,
    /// The URL of a webhook, of Slack or of a queue of SQS. A channel that has one keeps it where none is given.
    #[serde(default, deserialize_with = "given")]
    #[schema(required = false, value_type = String)]
    pub url: Option<String>,
    /// The address that e-mail goes to. A channel that has one keeps it where none is given.
    #[serde(default, deserialize_with = "given")]
    #[schema(required = false, value_type = String, example = "ann@example.com")]
    pub to: Option<String>,
    /// The ARN of a topic of SNS. A channel that has one keeps it where none is given.
    #[serde(default, deserialize_with = "given")]
    #[schema(required = false, value_type = String, example = "arn:aws:sns:eu-west-1:123456789012:notices")]
    pub topic: Option<String>,
    /// Only notices of these kinds; all unless given.
    #[serde(default)]
    #[schema(required = false, example = json!(["limit_reached"]))]
    pub notices: Vec<String>,
    /// Only notices of these organizations.
    #[serde(default)]
    #[schema(required = false, value_type = Vec<Id>)]
    pub orgs: Vec<OrgId>,
    /// Only notices of organizations that had one of these plans at the time.
    #[serde(default)]
    #[schema(required = false, value_type = Vec<Id>)]
    pub plans: Vec<PlanId>,
    /// Only notices about these meters.
    #[serde(default)]
    #[schema(required = false, value_type = Vec<Id>)]
    pub meters: Vec<MeterId>,
    /// When nothing is delivered: only for people, which is Slack and e-mail.
    #[serde(default, deserialize_with = "given")]
    #[schema(required = false, value_type = QuietTimes)]
    pub quiet_hours: Option<QuietTimes>,
    /// The time of the day at which the notices since the day before are delivered as one message: only for people.
    #[serde(default, deserialize_with = "given")]
    #[schema(required = false, value_type = String, example = "09:00")]
    pub digest_at: Option<String>,
    /// The IANA time zone of `quiet_hours` and `digest_at`; UTC unless given.
    #[serde(default, deserialize_with = "given")]
    #[schema(required = false, value_type = String, example = "Europe/Berlin")]
    pub time_zone: Option<String>,
    /// Whether it delivers; it does unless this is `false`.
    #[serde(default = "yes")]
    #[schema(required = false, default = true)]
    pub enabled: bool,
}

const fn yes() -> bool {
    true
}

/// A part of each day: from a time to another, on the next day if that is earlier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuietTimes {
    /// When it begins.
    #[schema(example = "22:00")]
    pub from: String,
    /// When it ends.
    #[schema(example = "07:00")]
    pub to: String,
}

/// To what a channel leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChannelKind {
    /// An HTTP endpoint; requests are signed as Standard Webhooks says.
    Webhook,
    /// An incoming webhook of Slack.
    Slack,
    /// The server's log.
    Log,
    /// E-mail to one address.
    Email,
    /// A queue of AWS's SQS.
    Sqs,
    /// A topic of AWS's SNS.
    Sns,
}

/// How a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChannelState {
    /// It delivers.
    Live,
    /// Its latest attempt failed; it tries again.
    Failing,
    /// Somebody said that it must not deliver.
    Paused,
    /// It is disabled: every attempt failed for five days, or its receiver is gone. `PUT` it to have it deliver again.
    Disabled,
}

/// A channel.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ChannelItem {
    /// Its id.
    pub id: String,
    /// A name for people.
    pub name: String,
    /// To what it leads.
    pub kind: ChannelKind,
    /// Its URL, without what may be secret.
    pub url: Option<String>,
    /// The address that its e-mail goes to.
    pub to: Option<String>,
    /// The ARN of its topic.
    pub topic: Option<String>,
    /// Only notices of these kinds; all where there are none.
    pub notices: Vec<String>,
    /// Only notices of these organizations.
    pub orgs: Vec<String>,
    /// Only notices of organizations with these plans.
    pub plans: Vec<String>,
    /// Only notices about these meters.
    pub meters: Vec<String>,
    /// When nothing is delivered.
    pub quiet_hours: Option<QuietTimes>,
    /// The time of the day at which notices are delivered as one message.
    pub digest_at: Option<String>,
    /// The time zone of both.
    pub time_zone: Option<String>,
    /// Until when its notices wait for the end of the quiet hours, or for the digest.
    pub waits_until: Option<String>,
    /// How it is.
    pub state: ChannelState,
    /// When it was made.
    pub created_at: String,
    /// Messages that were read and are not delivered yet.
    pub waiting: u64,
    /// Messages that were delivered.
    pub delivered: u64,
    /// Messages that were given up.
    pub lost: u64,
    /// Since when every attempt failed.
    pub failing_since: Option<String>,
    /// When it was disabled because every attempt failed.
    pub disabled_at: Option<String>,
}

/// A channel was made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ChannelCreated {
    /// What its requests are signed with, if it is a webhook and was made by this very request. It is shown this once.
    pub secret: Option<String>,
    /// The channel.
    #[serde(flatten)]
    pub item: ChannelItem,
}

/// The channels, in the order they were made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ChannelList {
    /// The channels.
    pub channels: Vec<ChannelItem>,
}

/// Has the requests of a webhook signed with another secret.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateRequest {
    /// For how many hours requests are signed with the old one, too; 24 unless given.
    #[serde(default, deserialize_with = "given")]
    #[schema(required = false, value_type = u32, minimum = 0, maximum = 720)]
    pub overlap_hours: Option<u32>,
}

/// The secret of a webhook.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RotateReply {
    /// The new one. It is shown this once.
    pub secret: String,
    /// Until when requests are signed with the old one, too.
    pub old_until: String,
}

/// What a test of a channel came to.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ChannelTested {
    /// Whether the message was taken.
    pub delivered: bool,
    /// The status of the reply, if there was one: that of HTTP, or of SMTP for e-mail.
    pub status: Option<u16>,
    /// The beginning of the reply, or why there was none.
    pub reply: String,
}

/// Delivers notices again: one, or all since a time.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayRequest {
    /// The id of the notice.
    #[serde(default, deserialize_with = "given")]
    #[schema(required = false, value_type = String, example = "acme/5/0")]
    pub notice: Option<String>,
    /// All that the channel takes of those that were decided then or later.
    #[serde(default, deserialize_with = "given")]
    #[schema(required = false, value_type = String, format = DateTime)]
    pub since: Option<Time>,
}

/// What was tried of a channel, the latest first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeliveryList {
    /// The attempts.
    pub deliveries: Vec<DeliveryItem>,
}

/// An attempt to deliver a message.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeliveryItem {
    /// Its number among those of its channel.
    pub number: u64,
    /// The id of the notice; null where it was about a channel that was disabled, and for a digest.
    pub notice: Option<String>,
    /// The ids of the notices in a digest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub digest: Vec<String>,
    /// The channel that was disabled.
    pub disabled_channel: Option<String>,
    /// Which attempt of the message it was: 1, 2 …
    pub attempt: u32,
    /// When.
    pub at: String,
    /// What came of it.
    pub result: DeliveryResult,
    /// When it is tried again.
    pub next_at: Option<String>,
    /// The status of the reply, if there was one: that of HTTP, or of SMTP for e-mail.
    pub status: Option<u32>,
    /// How long it took, in milliseconds.
    pub millis: u32,
    /// The beginning of the reply, or why there was none.
    pub reply: String,
    /// What was sent, if it is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<SentMessage>,
}

/// What was sent to a receiver.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SentMessage {
    /// The header `webhook-id`.
    pub id: String,
    /// The body of the request to a webhook.
    #[schema(value_type = std::collections::HashMap<String, serde_json::Value>)]
    pub body: serde_json::Value,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryResult {
    /// It was taken.
    Delivered,
    /// It is tried again.
    Failed,
    /// It is not tried again.
    GivenUp,
    /// Its receiver wants no more messages (410): the channel is disabled.
    Gone,
}

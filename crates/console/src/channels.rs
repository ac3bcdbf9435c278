//! Channels: where notices go, what was tried, and what did not arrive.

use askama::Template;
use tollgate_api::{
    ChannelCreated, ChannelItem, ChannelKind, ChannelState, ChannelTested, DeliveryItem, RotateReply,
};

use crate::form::{Answered, Choice};
use crate::frame::Frame;
use crate::{show, text};

/// All channels.
#[derive(Debug, Template)]
#[template(path = "channels.html")]
pub struct ChannelsView {
    /// Around it.
    pub frame: Frame,
    /// In the order they were made.
    pub channels: Vec<ChannelItem>,
    /// The one that was just made, with its secret.
    pub made: Option<ChannelCreated>,
    /// What was sent and refused.
    pub sent: Option<Answered>,
    /// What makes a form count once.
    pub once: String,
    /// The kinds of notices.
    pub notices: Vec<Choice>,
}

impl ChannelsView {
    fn fields(&self) -> ChannelFields<'_> {
        ChannelFields { form: "channel", sent: &self.sent, channel: None }
    }

    fn kinds(&self) -> Vec<Choice> {
        [
            ("webhook", "webhook: signed JSON for a program"),
            ("slack", "slack: a message for people"),
            ("email", "email: a mail for people"),
            ("sqs", "sqs: a queue of AWS"),
            ("sns", "sns: a topic of AWS"),
            ("log", "log: a line of the server’s log"),
        ]
        .map(Choice::pair)
        .into()
    }
}

/// What came of a button that changes nothing that a page could show later.
#[derive(Debug)]
pub enum Told {
    /// A message was sent to try the channel.
    Tested(ChannelTested),
    /// Requests are signed with a new secret, which is shown this once.
    Rotated(RotateReply),
}

/// One channel, and what was tried of it.
#[derive(Debug, Template)]
#[template(path = "channel.html")]
pub struct ChannelView {
    /// Around it.
    pub frame: Frame,
    /// The channel.
    pub channel: ChannelItem,
    /// The latest attempts, or those before some other.
    pub deliveries: Vec<DeliveryItem>,
    /// The address of the next page.
    pub next: Option<String>,
    /// Whether this is not the first page.
    pub later: bool,
    /// What was just found out.
    pub told: Option<Told>,
    /// What was sent and refused.
    pub sent: Option<Answered>,
    /// The kinds of notices.
    pub notices: Vec<Choice>,
}

impl ChannelView {
    fn fields(&self) -> ChannelFields<'_> {
        ChannelFields { form: "change", sent: &self.sent, channel: Some(&self.channel) }
    }

    fn is_sent(&self, form: &str) -> bool {
        self.sent.as_ref().is_some_and(|sent| sent.form == form)
    }

    fn is_signed(&self) -> bool {
        self.channel.kind == ChannelKind::Webhook
    }

    fn has_url(&self) -> bool {
        matches!(self.channel.kind, ChannelKind::Webhook | ChannelKind::Slack | ChannelKind::Sqs)
    }

    fn is_topic(&self) -> bool {
        self.channel.kind == ChannelKind::Sns
    }

    fn is_mail(&self) -> bool {
        self.channel.kind == ChannelKind::Email
    }

    fn is_of_people(&self) -> bool {
        matches!(self.channel.kind, ChannelKind::Slack | ChannelKind::Email)
    }

    fn is_stopped(&self) -> bool {
        matches!(self.channel.state, ChannelState::Paused | ChannelState::Disabled)
    }
}

/// A channel on which something did not arrive.
#[derive(Clone, Debug)]
pub struct Undelivered {
    /// The channel.
    pub channel: ChannelItem,
    /// The latest attempt that failed.
    pub latest: Option<DeliveryItem>,
}

/// The fields of a channel's hours.
const HOURS: [&str; 4] = ["quiet_from", "quiet_to", "digest_at", "time_zone"];

/// What stands in the form of a channel: as it was sent and refused, as it is, or nothing.
struct ChannelFields<'a> {
    form: &'static str,
    sent: &'a Option<Answered>,
    channel: Option<&'a ChannelItem>,
}

impl ChannelFields<'_> {
    /// A list of the filter, a line for each.
    fn lines(&self, field: &str) -> String {
        let list = self.channel.map(|channel| match field {
            "orgs" => channel.orgs.join("\n"),
            "plans" => channel.plans.join("\n"),
            _ => channel.meters.join("\n"),
        });
        Answered::value(self.sent, self.form, field, &list.unwrap_or_default()).to_owned()
    }

    fn wrong(&self, field: &str) -> Option<&str> {
        Answered::wrong(self.sent, self.form, field)
    }

    /// Whether the box of a kind of notices is checked.
    fn takes(&self, kind: &str) -> bool {
        match self.sent.as_ref().filter(|sent| sent.form == self.form) {
            Some(sent) => sent.values.contains_key(&format!("notice-{kind}")),
            None => self.channel.is_some_and(|channel| channel.notices.iter().any(|notice| notice == kind)),
        }
    }

    /// What stands in a field of the hours.
    fn hour(&self, field: &str) -> String {
        let quiet = self.channel.and_then(|channel| channel.quiet_hours.as_ref());
        let known = match field {
            "quiet_from" => quiet.map(|quiet| &quiet.from),
            "quiet_to" => quiet.map(|quiet| &quiet.to),
            "digest_at" => self.channel.and_then(|channel| channel.digest_at.as_ref()),
            _ => self.channel.and_then(|channel| channel.time_zone.as_ref()),
        };
        Answered::value(self.sent, self.form, field, known.map_or("", String::as_str)).to_owned()
    }

    /// Whether the fields of the hours are shown: there is something in them.
    fn has_hours(&self) -> bool {
        HOURS.iter().any(|field| !self.hour(field).is_empty() || self.wrong(field).is_some())
    }

    /// Whether the lists of the filter are shown: there is something in them.
    fn filters(&self) -> bool {
        let is_sent = self.sent.as_ref().is_some_and(|sent| sent.form == self.form);
        is_sent || self.channel.is_some_and(show::is_filtered)
    }
}

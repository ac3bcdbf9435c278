//! Outlets: how one message leaves, by the kind of its channel.

use std::time::Duration;

use http::HeaderName;
use serde_json::json;
use tollgate_domain::{Channel, OrgId, Target};

use crate::SigningKey;
#[cfg(feature = "aws")]
use crate::aws::Aws;
use crate::limits::{SLACK_TEXT_CHARS_MAX, SLACK_TEXTS_MAX};
use crate::mail::Mailer;
use crate::message::Message;
use crate::post::{Poster, Reply, line};

/// What came of sending a message once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether it was taken.
    pub delivered: bool,
    /// Whether the receiver wants no more.
    pub gone: bool,
    /// The status of the reply, if there was one.
    pub status: Option<u16>,
    /// The beginning of the reply, or why there was none.
    pub reply: String,
    /// For how long the receiver wants to be left alone.
    pub retry_after: Option<Duration>,
}

impl Outcome {
    pub(crate) fn taken() -> Self {
        Self { delivered: true, ..Self::failed("") }
    }

    pub(crate) fn failed(why: &str) -> Self {
        let reply = line(why);
        Self { delivered: false, gone: false, status: None, reply, retry_after: None }
    }

    fn replied(reply: Reply) -> Self {
        let Reply { status, text, retry_after } = reply;
        Self {
            delivered: (200..300).contains(&status),
            gone: status == 410,
            status: Some(status),
            reply: text,
            retry_after,
        }
    }
}

/// Sends messages.
#[derive(Debug)]
pub(crate) struct Outlets {
    pub(crate) poster: Poster,
    /// Where there is an SMTP server.
    pub(crate) mailer: Option<Mailer>,
    #[cfg(feature = "aws")]
    pub(crate) aws: Aws,
}

impl Outlets {
    /// Sends a message to where a channel leads, signed with some secrets.
    ///
    /// To a webhook it carries on the trace that a header `traceparent` names.
    pub(crate) async fn send(
        &self,
        channel: &Channel,
        secrets: &[String],
        message: &Message,
        traceparent: Option<String>,
    ) -> Outcome {
        let posted = match &channel.setup.target {
            Target::Webhook { url } => {
                let body = message.document().to_string().into_bytes();
                let mut headers = signed(secrets, &message.id, &body);
                headers.extend(traceparent.map(|trace| (HeaderName::from_static("traceparent"), trace)));
                self.poster.post(url, &headers, body).await
            }
            Target::Slack { url } => self.poster.post(url, &[], slack(message)).await,
            Target::Email { to } => {
                let Some(mailer) = &self.mailer else {
                    return Outcome::failed("there is no SMTP server: set smtp-host");
                };
                return mailer.send(channel, to, message).await;
            }
            #[cfg(feature = "aws")]
            Target::Sqs { queue_url } => return Box::pin(self.aws.send(queue_url, message)).await,
            #[cfg(feature = "aws")]
            Target::Sns { topic_arn } => return Box::pin(self.aws.publish(topic_arn, message)).await,
            #[cfg(not(feature = "aws"))]
            Target::Sqs { .. } | Target::Sns { .. } => {
                return Outcome::failed("this server is built without the feature 'aws'");
            }
            Target::Log => {
                let org = message.org.as_ref().map(OrgId::as_str);
                tracing::info!(id = message.id, kind = message.kind, org, "{}", message.text);
                return Outcome::taken();
            }
        };
        posted.map_or_else(|error| Outcome::failed(&error.to_string()), Outcome::replied)
    }
}

/// The headers of Standard Webhooks, with a signature of each secret.
fn signed(secrets: &[String], id: &str, body: &[u8]) -> Vec<(HeaderName, String)> {
    let seconds = now_secs();
    let keys = secrets.iter().filter_map(|secret| secret.parse::<SigningKey>().ok());
    let signatures: Vec<String> = keys.map(|key| key.sign(id, seconds, body)).collect();
    vec![
        (HeaderName::from_static("webhook-id"), id.to_owned()),
        (HeaderName::from_static("webhook-timestamp"), seconds.to_string()),
        (HeaderName::from_static("webhook-signature"), signatures.join(" ")),
    ]
}

/// The time of a signature is that of the attempt: receivers compare it with their clocks.
#[expect(clippy::disallowed_methods, reason = "no decision goes by it")]
fn now_secs() -> i64 {
    tollgate_domain::Timestamp::now().as_second()
}

/// A message as an incoming webhook of Slack takes it. What Slack would read as markup is shown as it is.
fn slack(message: &Message) -> Vec<u8> {
    let plain = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let text = plain(&message.text);
    let about = format!("{} · {}", message.kind, message.at);
    let section =
        |text: &str| json!({"type": "section", "text": {"type": "plain_text", "text": text, "emoji": false}});
    let mut blocks = vec![section(&message.text)];
    blocks.extend(slack_texts(message).iter().map(|text| section(text)));
    blocks.push(
        json!({"type": "context", "elements": [{"type": "plain_text", "text": about, "emoji": false}]}),
    );
    json!({"text": text, "blocks": blocks}).to_string().into_bytes()
}

/// The lines of a digest, as many in a text as Slack takes, and how many are left out if it does not take so many texts.
fn slack_texts(message: &Message) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for (number, line) in message.lines.iter().enumerate() {
        let line: String = line.text.chars().take(SLACK_TEXT_CHARS_MAX).collect();
        let is_full = texts.len() == SLACK_TEXTS_MAX;
        let fits =
            |last: &&mut String| last.chars().count() + 1 + line.chars().count() <= SLACK_TEXT_CHARS_MAX;
        if let Some(last) = texts.last_mut().filter(fits) {
            last.push('\n');
            last.push_str(&line);
        } else if is_full {
            texts.push(format!("and {} more, which the console lists", message.lines.len() - number));
            break;
        } else {
            texts.push(line);
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::DigestLine;

    #[test]
    fn a_digest_for_slack_is_as_long_as_slack_takes_and_says_what_is_left_out() {
        let at = tollgate_domain::Timestamp::UNIX_EPOCH;
        let message = |count: usize, chars: usize| Message {
            id: String::new(),
            kind: String::new(),
            at,
            org: None,
            text: String::new(),
            data: json!({}),
            notice: None,
            cause: None,
            home: None,
            lines: vec![DigestLine { at, text: "界".repeat(chars) }; count],
        };
        assert_eq!(slack_texts(&message(3, 2)), ["界界\n界界\n界界"]);
        let long = slack_texts(&message(1_000, 1_400));
        assert_eq!(
            (long.len(), long.last().map(String::as_str)),
            (4, Some("and 994 more, which the console lists"))
        );
        assert!(long.iter().all(|text| text.chars().count() <= SLACK_TEXT_CHARS_MAX));
        assert_eq!(slack_texts(&message(1, 9_000)), ["界".repeat(SLACK_TEXT_CHARS_MAX)]);
    }
}

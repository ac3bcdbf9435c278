//! AWS: messages into a queue of SQS, or to a topic of SNS.
//!
//! Requests go to AWS, or to the endpoint that the operator names, never to what the URL of a queue says.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Mutex, PoisonError};

use aws_sdk_sns::types::MessageAttributeValue as SnsAttribute;
use aws_sdk_sqs::config::Region;
use aws_sdk_sqs::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::MessageAttributeValue as SqsAttribute;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;
use tollgate_aws::{Access, SdkConfig};

use crate::limits::{AWS_GROUP_CHARS_MAX, CONNECT_TIMEOUT, MESSAGE_TIMEOUT};
use crate::message::Message;
use crate::outlet::Outcome;
use crate::post::line;

/// What the messages of no org are ordered among.
const NO_ORG: &str = "tollgate";

/// Sends to AWS, under the identity of the server.
#[derive(Debug)]
pub(crate) struct Aws {
    access: Access,
    /// Found out when it is first needed: that asks the machine.
    config: OnceCell<SdkConfig>,
    sqs: Clients<aws_sdk_sqs::Client>,
    sns: Clients<aws_sdk_sns::Client>,
}

/// Clients by region; without one, that of the machine.
type Clients<C> = Mutex<HashMap<Option<String>, C>>;

impl Aws {
    /// Asks AWS, or another endpoint.
    pub(crate) fn new(endpoint: Option<String>) -> Self {
        let access = Access { region: None, endpoint, connect: CONNECT_TIMEOUT, answer: MESSAGE_TIMEOUT };
        Self { access, config: OnceCell::new(), sqs: Mutex::default(), sns: Mutex::default() }
    }

    /// Puts a message into a queue.
    pub(crate) async fn send(&self, queue_url: &str, message: &Message) -> Outcome {
        let client = self.client(&self.sqs, region_of_queue(queue_url), aws_sdk_sqs::Client::new).await;
        let Some(client) = client else { return no_region() };
        let mut request = client.send_message().queue_url(queue_url).message_body(body(message));
        for (name, value) in attributes(message) {
            let value = SqsAttribute::builder().data_type("String").string_value(value).build();
            match value {
                Ok(value) => request = request.message_attributes(name, value),
                Err(error) => return Outcome::failed(&error.to_string()),
            }
        }
        if is_ordered(queue_url) {
            request = request.message_group_id(group(message)).message_deduplication_id(&message.id);
        }
        outcome(request.send().await, aws_sdk_sqs::operation::send_message::SendMessageOutput::message_id)
    }

    /// Publishes a message to a topic.
    pub(crate) async fn publish(&self, topic_arn: &str, message: &Message) -> Outcome {
        let client = self.client(&self.sns, region_of_topic(topic_arn), aws_sdk_sns::Client::new).await;
        let Some(client) = client else { return no_region() };
        let mut request = client.publish().topic_arn(topic_arn).message(body(message));
        for (name, value) in attributes(message) {
            let value = SnsAttribute::builder().data_type("String").string_value(value).build();
            match value {
                Ok(value) => request = request.message_attributes(name, value),
                Err(error) => return Outcome::failed(&error.to_string()),
            }
        }
        if is_ordered(topic_arn) {
            request = request.message_group_id(group(message)).message_deduplication_id(&message.id);
        }
        outcome(request.send().await, aws_sdk_sns::operation::publish::PublishOutput::message_id)
    }

    /// The client of a service for a region, made once; without one, for that of the machine.
    async fn client<C: Clone>(
        &self,
        clients: &Clients<C>,
        region: Option<&str>,
        make: impl FnOnce(&SdkConfig) -> C,
    ) -> Option<C> {
        let config = self.config.get_or_init(|| self.access.load()).await;
        let region = region.map(str::to_owned);
        let mut clients = clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = clients.get(&region) {
            return Some(known.clone());
        }
        let place = region.clone().map(Region::new).or_else(|| config.region().cloned())?;
        let config = config.clone().into_builder().region(place).build();
        Some(clients.entry(region).or_insert(make(&config)).clone())
    }
}

fn no_region() -> Outcome {
    Outcome::failed("no region of AWS is known: set AWS_REGION for the server")
}

/// What came of a request.
fn outcome<O, E>(sent: Result<O, SdkError<E>>, id: impl FnOnce(&O) -> Option<&str>) -> Outcome
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match sent {
        Ok(output) => Outcome {
            status: Some(200),
            reply: line(&format!("message {}", id(&output).unwrap_or_default())),
            ..Outcome::taken()
        },
        Err(SdkError::ServiceError(answered)) => {
            let error = answered.err();
            let (code, text) = (error.code().unwrap_or("an error"), error.message().unwrap_or_default());
            let status = Some(answered.raw().status().as_u16());
            Outcome { status, ..Outcome::failed(&format!("{code}: {text}")) }
        }
        Err(SdkError::TimeoutError(_)) => {
            Outcome::failed(&format!("AWS did not answer within {} s", MESSAGE_TIMEOUT.as_secs()))
        }
        Err(error) => Outcome::failed(&format!("AWS cannot be asked: {}", DisplayErrorContext(&error))),
    }
}

/// What subscriptions filter by.
fn attributes(message: &Message) -> impl Iterator<Item = (&'static str, String)> {
    let org = message.org.as_ref().map(|org| ("org", allowed(org.as_str(), "\u{FFFD}", "\u{FFFD}")));
    [("id", message.id.clone()), ("kind", message.kind.clone())].into_iter().chain(org)
}

/// The document that a webhook gets.
fn body(message: &Message) -> String {
    allowed(&message.document().to_string(), "\\ufffe", "\\uffff")
}

/// A text without the two characters that AWS refuses and JSON lets pass.
fn allowed(text: &str, first: &str, second: &str) -> String {
    text.replace('\u{FFFE}', first).replace('\u{FFFF}', second)
}

/// Whether a queue or a topic keeps the order of its messages and drops those that it has.
fn is_ordered(name: &str) -> bool {
    name.ends_with(".fifo")
}

/// What a message is ordered among: its org, by its id or, where that is none of AWS's, by a hash of it.
fn group(message: &Message) -> String {
    let Some(org) = &message.org else { return NO_ORG.to_owned() };
    let id = org.as_str();
    if id.len() <= AWS_GROUP_CHARS_MAX && id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return id.to_owned();
    }
    let hash = Sha256::digest(id.as_bytes());
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `https://sqs.REGION.amazonaws.com/…`
fn region_of_queue(url: &str) -> Option<&str> {
    let host = url.split_once("://")?.1.split('/').next()?;
    let mut labels = host.split('.');
    let is_sqs = labels.next() == Some("sqs");
    let region = labels.next().filter(|_| is_sqs)?;
    (labels.next() == Some("amazonaws")).then_some(region)
}

/// `arn:aws:sns:REGION:ACCOUNT:NAME`
fn region_of_topic(arn: &str) -> Option<&str> {
    arn.split(':').nth(3).filter(|region| !region.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tollgate_domain::{OrgId, Timestamp};

    use super::*;

    fn message(org: Option<&str>) -> Message {
        Message {
            id: "msg_1".to_owned(),
            kind: "notice.limit_reached".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            org: org.map(|org| OrgId::new(org).expect("an id")),
            text: String::new(),
            data: json!({"a": "\u{FFFF}"}),
            notice: None,
            cause: None,
            home: None,
            lines: Vec::new(),
        }
    }

    #[test]
    fn regions_are_those_of_queues_and_topics() {
        for (url, region) in [
            ("https://sqs.eu-west-1.amazonaws.com/123456789012/q", Some("eu-west-1")),
            ("https://sqs.cn-north-1.amazonaws.com.cn/123456789012/q", Some("cn-north-1")),
            ("http://localhost:9324/000000000000/q", None),
            ("https://sqs.example.com/1/q", None),
            ("q", None),
        ] {
            assert_eq!(region_of_queue(url), region, "{url}");
        }
        assert_eq!(region_of_topic("arn:aws:sns:eu-west-1:123456789012:t"), Some("eu-west-1"));
        assert_eq!(region_of_topic("arn:aws:sns"), None);
    }

    #[test]
    fn messages_of_an_org_are_one_group_whatever_its_id() {
        for (org, grouped) in [(None, "tollgate"), (Some("acme"), "acme"), (Some("a/b:c"), "a/b:c")] {
            assert_eq!(group(&message(org)), grouped);
        }
        for odd in ["größe", "a b", "界"] {
            let grouped = group(&message(Some(odd)));
            assert!(grouped.len() == 64 && grouped.is_ascii(), "{odd}: {grouped}");
        }
        assert_ne!(group(&message(Some("ä"))), group(&message(Some("ö"))));
    }

    #[test]
    fn what_aws_refuses_is_not_sent() {
        let message = message(Some("a\u{FFFE}b"));
        let all: Vec<_> = attributes(&message).collect();
        let wanted = [("id", "msg_1"), ("kind", "notice.limit_reached"), ("org", "a\u{FFFD}b")];
        assert_eq!(all, wanted.map(|(name, value)| (name, value.to_owned())));
        assert!(body(&message).contains(r#"{"a":"\uffff"}"#), "{}", body(&message));
    }
}

//! A subject of NATS JetStream: each shipment is a message, taken when the stream has stored it.

use std::fmt;

use async_nats::jetstream::{self, context};
use async_nats::{ConnectOptions, HeaderMap};
use tollgate_domain::Shipment;

use super::url::HiddenUrl;
use super::{SinkError, within_attempt};
use crate::body;
use crate::limits::ATTEMPT_TIMEOUT;

/// A subject that a stream listens to. The name of the shipment is the id of the message, so that the stream drops a
/// repeat within its window for duplicates.
pub struct NatsSink {
    server: String,
    subject: String,
}

impl fmt::Debug for NatsSink {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "NatsSink({})", self.subject)
    }
}

impl NatsSink {
    pub(super) fn new(url: &HiddenUrl) -> Self {
        Self { server: url.server(), subject: url.subject().to_owned() }
    }

    /// Each attempt has a connection of its own: one that is kept would send, once it is back, what was given up long ago.
    pub(super) async fn send(&self, shipment: &Shipment) -> Result<(), SinkError> {
        let body = body::document(shipment).map_err(SinkError::caused_by)?;
        within_attempt(async {
            let client = ConnectOptions::new()
                .connection_timeout(ATTEMPT_TIMEOUT)
                .max_reconnects(1)
                .connect(self.server.as_str())
                .await
                .map_err(|error| SinkError::new(format_args!("NATS cannot be reached: {}", error.kind())))?;
            let mut headers = HeaderMap::new();
            headers.insert(async_nats::header::NATS_MESSAGE_ID, shipment.id.as_str());
            headers.insert("content-type", "application/json");
            let jetstream = jetstream::new(client);
            let refused = |error: context::PublishError| {
                SinkError::new(format_args!(
                    "the stream of '{}' did not take it: {}",
                    self.subject,
                    error.kind()
                ))
            };
            let published = jetstream.publish_with_headers(self.subject.clone(), headers, body.into());
            published.await.map_err(refused)?.await.map_err(refused)?;
            Ok(())
        })
        .await
    }
}

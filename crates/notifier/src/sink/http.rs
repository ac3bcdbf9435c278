//! An HTTP endpoint: each shipment is a POST, signed where there is a key.

use std::fmt;

use tollgate_domain::Shipment;
use ureq::Agent;

use super::url::HiddenUrl;
use super::{SinkError, beside};
use crate::limits::ATTEMPT_TIMEOUT;
use crate::{SigningKey, body};

/// An HTTP endpoint. Any 2xx answer says that it has the shipment; redirects are not followed.
pub struct HttpSink {
    url: String,
    key: Option<SigningKey>,
    agent: Agent,
}

impl fmt::Debug for HttpSink {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("HttpSink")
    }
}

impl HttpSink {
    pub(super) fn new(url: &HiddenUrl, key: Option<SigningKey>) -> Self {
        let mut config = Agent::config_builder()
            .timeout_global(Some(ATTEMPT_TIMEOUT))
            .max_redirects(0)
            .http_status_as_error(false)
            .user_agent(concat!("tollgate/", env!("CARGO_PKG_VERSION")));
        if url.is_loopback() {
            // No proxy reaches this machine's own loopback.
            config = config.proxy(None);
        }
        Self { url: url.text().to_owned(), key, agent: config.build().new_agent() }
    }

    pub(super) async fn send(&self, shipment: &Shipment) -> Result<(), SinkError> {
        let id = shipment.id.to_string();
        let body = body::document(shipment).map_err(SinkError::caused_by)?;
        let seconds = now_secs();
        let mut request = self
            .agent
            .post(&self.url)
            .header("content-type", "application/json")
            .header("webhook-id", &id)
            .header("webhook-timestamp", seconds.to_string());
        if let Some(key) = &self.key {
            request = request.header("webhook-signature", key.sign(&id, seconds, &body));
        }
        beside(move || {
            let response = request.send(body.as_slice()).map_err(told)?;
            let status = response.status();
            if status.is_success() {
                Ok(())
            } else {
                Err(SinkError::new(format_args!("the endpoint answered {status}")))
            }
        })
        .await
    }
}

/// What went wrong, without the URL.
fn told(error: ureq::Error) -> SinkError {
    match error {
        ureq::Error::Timeout(_) => {
            SinkError::new(format_args!("the endpoint did not answer within {} s", ATTEMPT_TIMEOUT.as_secs()))
        }
        ureq::Error::BadUri(_) => SinkError::new("the endpoint cannot be reached: its URL is not one"),
        other => SinkError::new(format_args!("the endpoint cannot be reached: {other}")),
    }
}

/// The time of the signature is that of the attempt: receivers compare it with their clocks.
#[expect(clippy::disallowed_methods, reason = "no decision goes by it")]
fn now_secs() -> i64 {
    tollgate_domain::Timestamp::now().as_second()
}

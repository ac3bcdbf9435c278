//! Sends what the exporters hand over: on their own threads, with a client that blocks.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use opentelemetry_http::{HttpClient, HttpError};

/// How long a collector has to answer, unless a standard variable says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// An HTTP client that keeps its connections.
#[derive(Clone, Debug)]
pub(super) struct Sender(ureq::Agent);

impl Sender {
    pub(super) fn new() -> Self {
        let millis = std::env::var("OTEL_EXPORTER_OTLP_TIMEOUT").ok().and_then(|text| text.parse().ok());
        let timeout = millis.map_or(TIMEOUT, Duration::from_millis);
        let config = ureq::Agent::config_builder().timeout_global(Some(timeout)).http_status_as_error(false);
        Self(config.build().into())
    }

    /// Sends a request and reads its answer.
    pub(super) fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, mut body) = self.0.run(request.map(|body| body.to_vec()))?.into_parts();
        Ok(Response::from_parts(parts, body.read_to_vec()?.into()))
    }
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        // The exporter of spans runs on a thread of its own, without a runtime.
        self.send(request)
    }
}

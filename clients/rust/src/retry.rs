//! One call over many attempts: what is sent again, and when.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
#[cfg(feature = "tls")]
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;

use crate::error::{ApiError, Error};

/// The first pause, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// An idle connection is closed after so long.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// No answer is longer: a month of the ledger comes in pages.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

#[cfg(feature = "tls")]
type Connector = HttpsConnector<HttpConnector>;
#[cfg(not(feature = "tls"))]
type Connector = HttpConnector;

/// Sends requests to one server.
#[derive(Debug)]
pub(crate) struct Transport {
    http: legacy::Client<Connector, Full<Bytes>>,
    /// Without a slash at its end.
    pub(crate) url: String,
    authorization: Option<HeaderValue>,
    timeout: Duration,
    patience: Duration,
}

/// An answer that stands.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) body: Bytes,
    pub(crate) is_denied: bool,
    pub(crate) retry_after: Option<Duration>,
}

/// What became of an attempt.
enum Attempt {
    Stands(Answer),
    Refused(Box<ApiError>),
    /// It is sent again, after a pause that the server may have asked for.
    Lost {
        why: String,
        asked: Duration,
    },
}

/// A problem, as far as it decides what is done.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Told {
    code: String,
    allowed: Option<bool>,
}

impl Transport {
    pub(crate) fn new(
        url: &str,
        api_key: Option<&str>,
        timeout: Duration,
        patience: Duration,
    ) -> Result<Self, Error> {
        let wrong = |what: &str| Error::Settings(format!("{url:?} is not the address of a server: {what}"));
        let parsed: http::Uri = url.parse().map_err(|error| wrong(&format!("{error}")))?;
        match parsed.scheme_str() {
            Some("http") => {}
            Some("https") if cfg!(feature = "tls") => {}
            Some("https") => return Err(wrong("https needs the feature `tls` of this crate")),
            _ => return Err(wrong("it begins with http:// or https://")),
        }
        let authorization = api_key.map(|key| {
            let mut value = HeaderValue::from_str(&format!("Bearer {key}"))
                .map_err(|_| Error::Settings("the API key cannot be sent in a header".to_owned()))?;
            value.set_sensitive(true);
            Ok::<_, Error>(value)
        });
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .build(connector()?);
        let url = url.trim_end_matches('/').to_owned();
        Ok(Self { http, url, authorization: authorization.transpose()?, timeout, patience })
    }

    /// Sends a request until there is an answer that stands, pausing longer each time.
    pub(crate) async fn persist(
        &self,
        method: &Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<Answer, Error> {
        let (mut waited, mut pause) = (Duration::ZERO, FIRST_PAUSE);
        loop {
            let request = self.request(method, path, body.clone())?;
            let attempt = match tokio::time::timeout(self.timeout, self.attempt(request)).await {
                Ok(attempt) => attempt,
                Err(_) => lost(format!("none within {} s", self.timeout.as_secs_f32())),
            };
            let (why, asked) = match attempt {
                Attempt::Stands(answer) => return Ok(answer),
                Attempt::Refused(problem) => return Err(Error::Api(problem)),
                Attempt::Lost { why, asked } => (why, asked),
            };
            let next = part(pause).max(asked.min(PAUSE_MAX));
            if waited + next > self.patience {
                return Err(Error::Unreachable { call: format!("{method} {path}"), waited, why });
            }
            tokio::time::sleep(next).await;
            waited += next;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn request(
        &self,
        method: &Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<Request<Full<Bytes>>, Error> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.body(Full::new(body.unwrap_or_default()));
        request.map_err(|error| Error::Settings(format!("{path:?} is not a path: {error}")))
    }

    async fn attempt(&self, request: Request<Full<Bytes>>) -> Attempt {
        let response = match self.http.request(request).await {
            Ok(response) => response,
            Err(error) => return lost(deepest(&error)),
        };
        let status = response.status();
        let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let retry_after = seconds.map(Duration::from_secs);
        let body = match Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return lost(error.to_string()),
        };
        if status.as_u16() < 400 {
            return Attempt::Stands(Answer { body, is_denied: false, retry_after });
        }
        // A proxy may answer with something else.
        let told: Told = serde_json::from_slice(&body).unwrap_or_default();
        let is_flood = status == StatusCode::TOO_MANY_REQUESTS && told.code == "rate_limited";
        if status == StatusCode::REQUEST_TIMEOUT || status.is_server_error() || is_flood {
            let asked = retry_after.unwrap_or_default();
            return Attempt::Lost { why: format!("{} {}", status.as_u16(), told.code), asked };
        }
        if told.allowed == Some(false) {
            return Attempt::Stands(Answer { body, is_denied: true, retry_after });
        }
        let mut problem: ApiError = serde_json::from_slice(&body).unwrap_or_default();
        problem.status = status.as_u16();
        Attempt::Refused(Box::new(problem))
    }
}

fn lost(why: String) -> Attempt {
    Attempt::Lost { why, asked: Duration::ZERO }
}

#[cfg(feature = "tls")]
fn connector() -> Result<Connector, Error> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let connector = HttpsConnectorBuilder::new()
        .with_provider_and_webpki_roots(provider)
        .map_err(|error| Error::Settings(format!("no TLS: {error}")))?;
    let mut http = HttpConnector::new();
    http.set_nodelay(true);
    http.enforce_http(false);
    Ok(connector.https_or_http().enable_http1().wrap_connector(http))
}

#[cfg(not(feature = "tls"))]
#[expect(clippy::unnecessary_wraps, reason = "with TLS it may fail")]
fn connector() -> Result<Connector, Error> {
    let mut http = HttpConnector::new();
    http.set_nodelay(true);
    Ok(http)
}

/// Half of a pause, and of the other half a part by chance: so many clients do not come back together.
fn part(pause: Duration) -> Duration {
    // Without randomness they do come back together, which is no reason to fail.
    let chance = getrandom::u32().unwrap_or(u32::MAX);
    pause / 2 + (pause / 2).mul_f64(f64::from(chance) / f64::from(u32::MAX))
}

/// What lies behind an error says more than the error.
fn deepest(error: &legacy::Error) -> String {
    let mut found: &dyn std::error::Error = error;
    while let Some(source) = found.source() {
        found = source;
    }
    found.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_half_to_whole() {
        for _ in 0..1_000 {
            let part = part(FIRST_PAUSE);
            assert!((FIRST_PAUSE / 2..=FIRST_PAUSE).contains(&part), "{part:?}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_before_the_first_call() {
        for url in ["", "127.0.0.1:8080", "ftp://x", "http://"] {
            let second = Duration::from_secs(1);
            let refused = Transport::new(url, None, second, second).unwrap_err();
            assert!(matches!(refused, Error::Settings(_)), "{url}: {refused}");
        }
        let second = Duration::from_secs(1);
        let refused = Transport::new("http://x", Some("a\nb"), second, second).unwrap_err();
        assert_eq!(refused.to_string(), "the API key cannot be sent in a header");
    }
}

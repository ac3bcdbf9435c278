//! Around every request: its id, its log line, its metrics; a panic becomes an answer.

use std::any::Any;
use std::fmt::Write;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use tollgate_api::{Code, Problem};
use tower::ServiceExt;

use crate::app::{App, GATE};
use crate::limits::REQUEST_ID_CHARS_MAX;
use crate::metrics::Metrics;
use crate::native;
use crate::reply::{Failure, write_problem};

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Makes request ids: a random beginning for each process, then a number.
#[derive(Debug)]
pub(crate) struct RequestIds {
    beginning: String,
    next: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> Self {
        let mut bytes = [0_u8; 4];
        if getrandom::fill(&mut bytes).is_err() {
            tracing::warn!("no randomness for request ids; they repeat after a restart");
        }
        let beginning = bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        Self { beginning, next: AtomicU64::new(1) }
    }

    /// The caller's own id if it is a short visible word, or a new one.
    fn id_of(&self, headers: &HeaderMap) -> HeaderValue {
        let own = headers.get(&REQUEST_ID).filter(|value| {
            (1..=REQUEST_ID_CHARS_MAX).contains(&value.len())
                && value.as_bytes().iter().all(u8::is_ascii_graphic)
        });
        own.cloned().unwrap_or_else(|| {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            HeaderValue::try_from(format!("{}-{number:x}", self.beginning))
                .unwrap_or(HeaderValue::from_static("0"))
        })
    }
}

/// Answers one request by the routes; the gate is reached without a look through all of them.
pub(crate) async fn route(app: &App, router: Router, request: Request<Body>) -> Response {
    if request.method() == Method::POST && request.uri().path() == GATE {
        return native::usage::use_(State(Arc::clone(app)), request).await.into_response();
    }
    match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// What is known of a request before it is answered.
pub(crate) struct Heard {
    started: Instant,
    method: Method,
    route: &'static str,
    id: HeaderValue,
}

impl Heard {
    pub(crate) fn new(ids: &RequestIds, route: &'static str, request: &Request<Body>) -> Self {
        Self {
            started: Instant::now(),
            method: request.method().clone(),
            route,
            id: ids.id_of(request.headers()),
        }
    }

    /// Waits for the answer, counts it, logs it, and gives it the id of the request.
    pub(crate) async fn observe(self, metrics: &Metrics, answer: impl Future<Output = Response>) -> Response {
        let mut response = match AssertUnwindSafe(answer).catch_unwind().await {
            Ok(response) => response,
            Err(panic) => self.panicked(panic.as_ref()),
        };
        let request_id = self.id.to_str().unwrap_or_default();
        let code = write_problem(&mut response, request_id).map_or("", Code::text);
        let status = response.status().as_u16();
        let elapsed = self.started.elapsed();
        metrics.observe(self.route, status, elapsed);
        log(&self.method, self.route, status, elapsed, request_id, code);
        response.headers_mut().insert(&REQUEST_ID, self.id);
        response
    }

    fn panicked(&self, panic: &(dyn Any + Send)) -> Response {
        let request_id = self.id.to_str().unwrap_or_default();
        let (method, route) = (&self.method, self.route);
        tracing::error!(%method, route, request_id, panic = panic_text(panic), "a handler panicked");
        let problem = Problem::new(Code::Internal, "the server failed; the request id finds it in the log");
        Failure::from(problem).into_response()
    }
}

/// What went well is logged for those who look closely: a gate answers too many requests to write a line for each.
fn log(method: &Method, route: &str, status: u16, elapsed: Duration, request_id: &str, code: &str) {
    // A number in JSON, too: the logger writes 128 bits as text.
    let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
    let code = (!code.is_empty()).then_some(code);
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(target: "tollgate::request", %method, route, status, micros, request_id, code)
        };
    }
    match status {
        ..=399 => line!(debug),
        400..=499 => line!(info),
        500.. => line!(warn),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without a text")
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use http_body_util::BodyExt;
    use tollgate_engine::EngineMetrics;

    use super::*;
    use crate::metrics::Format;

    #[tokio::test]
    async fn a_panic_becomes_an_answer_with_the_id_and_the_next_request_is_answered() {
        let metrics = Metrics::new(&EngineMetrics::default(), |_| {});
        let ids = RequestIds::new();
        let request = || {
            let request = Request::builder().uri("/v1/orgs/acme").header("x-request-id", "mine");
            request.body(Body::empty()).expect("a request")
        };
        let response = Heard::new(&ids, "/v1/orgs/{org}", &request())
            .observe(&metrics, async { panic!("on purpose") })
            .await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(
            response.headers().get("x-request-id").map(HeaderValue::as_bytes),
            Some(b"mine".as_slice())
        );
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        let problem: Problem = serde_json::from_slice(&body).expect("a problem");
        assert_eq!((problem.code, problem.request_id.as_deref()), (Code::Internal, Some("mine")));
        let next = Heard::new(&ids, "/v1/orgs/{org}", &request())
            .observe(&metrics, async { Response::default() })
            .await;
        assert_eq!(next.status(), StatusCode::OK);
        let text = metrics.encode(0, Format::OpenMetrics).expect("metrics");
        assert!(text.contains("route=\"/v1/orgs/{org}\",status=\"500\"} 1"), "{text}");
    }
}

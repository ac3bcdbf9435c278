//! Around every request: its id, its log line, its metrics; a panic becomes an answer.

use std::fmt::Write;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use tollgate_api::{Code, Problem};
use tower::ServiceExt;

use crate::app::{App, route_of};
use crate::limits::REQUEST_ID_CHARS_MAX;
use crate::reply::{Failure, ProblemCode};

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

/// Answers one request.
pub(crate) async fn answer(app: &App, router: Router, ids: &RequestIds, request: Request<Body>) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let route = route_of(request.uri().path());
    let id = ids.id_of(request.headers());
    let answered = AssertUnwindSafe(router.oneshot(request)).catch_unwind().await;
    let mut response = match answered {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(panic) => {
            let text = panic_text(panic.as_ref());
            tracing::error!(%method, route, request_id = id.to_str().unwrap_or_default(), panic = text, "a handler panicked");
            let detail = "the server failed; the request id finds it in the log";
            let mut problem = Problem::new(Code::Internal, detail);
            problem.request_id = id.to_str().ok().map(str::to_owned);
            Failure::from(problem).into_response()
        }
    };
    let code = response.extensions().get::<ProblemCode>().map_or("", |code| code.0.text());
    let status = response.status().as_u16();
    let elapsed = started.elapsed();
    app.metrics.observe(route, status, elapsed);
    log(&method, route, status, elapsed.as_micros(), &id, code);
    response.headers_mut().insert(&REQUEST_ID, id);
    response
}

fn log(method: &Method, route: &str, status: u16, micros: u128, id: &HeaderValue, code: &str) {
    let request_id = id.to_str().unwrap_or_default();
    if code.is_empty() {
        tracing::info!(target: "tollgate::request", %method, route, status, micros, request_id);
    } else {
        tracing::info!(target: "tollgate::request", %method, route, status, micros, request_id, code);
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without a text")
}

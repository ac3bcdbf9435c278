//! Around every request: its id, its log line, its metrics; a panic becomes an answer.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use futures_util::FutureExt;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use hyper::body::Body as _;
use tollgate_api::{Code, Problem};

use crate::limits::REQUEST_ID_CHARS_MAX;
use crate::metrics::RouteMetrics;
use crate::reply::write_problem;
use crate::routes::{Answering, Route, told};

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Makes request ids: a random beginning for each process, then a number.
#[derive(Debug)]
pub(crate) struct RequestIds {
    /// Eight hexadecimal digits and a dash.
    beginning: [u8; 9],
    next: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> Self {
        let mut bytes = [0_u8; 4];
        if getrandom::fill(&mut bytes).is_err() {
            tracing::warn!("no randomness for request ids; they repeat after a restart");
        }
        let mut beginning = [b'-'; 9];
        let (digits, _) = beginning.split_at_mut(8);
        write_hexadecimal(u32::from_be_bytes(bytes).into(), digits);
        Self { beginning, next: AtomicU64::new(1) }
    }

    /// The caller's own id if it is a short visible word, or a new one.
    fn id_of(&self, headers: &HeaderMap) -> HeaderValue {
        let own = headers.get(&REQUEST_ID).filter(|value| {
            (1..=REQUEST_ID_CHARS_MAX).contains(&value.len())
                && value.as_bytes().iter().all(u8::is_ascii_graphic)
        });
        own.cloned().unwrap_or_else(|| self.next_id())
    }

    fn next_id(&self) -> HeaderValue {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut text = [0_u8; 9 + 16];
        let (beginning, digits) = text.split_at_mut(self.beginning.len());
        beginning.copy_from_slice(&self.beginning);
        let count = usize::try_from(number.checked_ilog(16).unwrap_or(0)).unwrap_or(0) + 1;
        let (digits, unused) = digits.split_at_mut(count.min(16));
        write_hexadecimal(number, digits);
        let length = self.beginning.len() + 16 - unused.len();
        let text = text.get(..length).unwrap_or_default();
        HeaderValue::from_bytes(text).unwrap_or(HeaderValue::from_static("0"))
    }
}

/// Writes the last digits of a number.
fn write_hexadecimal(mut number: u64, digits: &mut [u8]) {
    for place in digits.iter_mut().rev() {
        let [.., last] = number.to_be_bytes();
        let digit = last & 15;
        *place = if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
        number >>= 4;
    }
}

/// What is known of a request before it is answered.
pub(crate) struct Heard {
    pub(crate) started: Instant,
    method: Method,
    id: HeaderValue,
    /// Its span, in a box: few servers send one.
    #[cfg(feature = "otlp")]
    span: Option<Box<crate::telemetry::RequestSpan>>,
}

impl Heard {
    pub(crate) fn new(ids: &RequestIds, request: &Request<Body>) -> Self {
        let id = ids.id_of(request.headers());
        Self {
            started: Instant::now(),
            method: request.method().clone(),
            id,
            #[cfg(feature = "otlp")]
            span: None,
        }
    }

    /// The same with a span, where spans are sent.
    #[cfg(feature = "otlp")]
    pub(crate) fn spanned(self, begin: impl FnOnce() -> Option<crate::telemetry::RequestSpan>) -> Self {
        Self { span: begin().map(Box::new), ..self }
    }

    /// Begins an answer; a panic becomes one.
    pub(crate) fn begun(&self, route: &Route, answer: impl FnOnce() -> Answering) -> Answering {
        let begun = catch_unwind(AssertUnwindSafe(answer));
        let answering = begun.unwrap_or_else(|panic| told(self.panicked(route, panic.as_ref())));
        #[cfg(feature = "otlp")]
        if let Some(span) = &self.span {
            return span.around(answering);
        }
        answering
    }

    /// Waits for an answer; a panic becomes one.
    pub(crate) async fn answered(&self, route: &Route, answer: Answering) -> Response {
        let ended = AssertUnwindSafe(answer).catch_unwind().await;
        ended.unwrap_or_else(|panic| self.panicked(route, panic.as_ref()))
    }

    /// Counts an answer, logs it, and gives it the id of the request.
    pub(crate) fn finish(self, route: &Route, metrics: &RouteMetrics, response: &mut Response) {
        let request_id = self.id.to_str().unwrap_or_default();
        let code = write_problem(response, request_id);
        let status = response.status().as_u16();
        let elapsed = self.started.elapsed();
        metrics.observe(status, elapsed);
        #[cfg(feature = "envoy")]
        let grpc_code = crate::compat::envoy::code_of(response);
        #[cfg(feature = "envoy")]
        if let Some(code) = grpc_code {
            metrics.handled(code);
        }
        log(&self.method, route.template, status, elapsed, request_id, code);
        #[cfg(feature = "otlp")]
        if let Some(mut span) = self.span {
            #[cfg(feature = "envoy")]
            if let Some(code) = grpc_code {
                span.handled(code);
            }
            span.end(status, code);
        }
        response.headers_mut().insert(&REQUEST_ID, self.id);
        if self.method == Method::HEAD {
            leave_out_body(response);
        }
    }

    fn panicked(&self, route: &Route, panic: &(dyn Any + Send)) -> Response {
        let request_id = self.id.to_str().unwrap_or_default();
        let (method, template) = (&self.method, route.template);
        tracing::error!(%method, route = template, request_id, panic = panic_text(panic), "a handler panicked");
        let problem = Problem::new(Code::Internal, "the server failed; the request id finds it in the log");
        route.refused(problem)
    }
}

/// What a `HEAD` is told: everything but the body.
fn leave_out_body(response: &mut Response) {
    if let Some(bytes) = response.body().size_hint().exact() {
        response.headers_mut().entry(CONTENT_LENGTH).or_insert(bytes.into());
    }
    *response.body_mut() = Body::empty();
}

/// What went well is logged for those who look closely: a gate answers too many requests to write a line for each.
fn log(method: &Method, route: &str, status: u16, elapsed: Duration, request_id: &str, code: Option<Code>) {
    // A number in JSON, too: the logger writes 128 bits as text.
    let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
    let code = code.map(Code::text);
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
    use crate::metrics::{Format, Metrics};
    use crate::routes::Routes;

    #[tokio::test]
    async fn a_panic_becomes_an_answer_with_the_id_and_the_next_request_is_answered() {
        let metrics = Metrics::new(&EngineMetrics::default(), |_| {});
        let (routes, ids) = (Routes::new(&metrics), RequestIds::new());
        let mut request = Request::builder()
            .uri("/v1/orgs/acme")
            .header("x-request-id", "mine")
            .body(Body::empty())
            .expect("a request");
        let (route, counted) = routes.find(&mut request);
        let at_once: fn() -> Answering = || panic!("on purpose");
        let later: fn() -> Answering = || Box::pin(async { panic!("on purpose") });
        for answer in [at_once, later] {
            let heard = Heard::new(&ids, &request);
            let answer = heard.begun(route, answer);
            let mut response = heard.answered(route, answer).await;
            heard.finish(route, counted, &mut response);
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
            assert_eq!(response.headers()["x-request-id"], "mine");
            let body = response.into_body().collect().await.expect("a body").to_bytes();
            let problem: Problem = serde_json::from_slice(&body).expect("a problem");
            assert_eq!((problem.code, problem.request_id.as_deref()), (Code::Internal, Some("mine")));
        }
        let heard = Heard::new(&ids, &request);
        let mut next = heard.answered(route, told(Response::default())).await;
        heard.finish(route, counted, &mut next);
        assert_eq!(next.status(), StatusCode::OK);
        let text = metrics.encode(0, Format::OpenMetrics).expect("metrics");
        for line in ["status=\"500\"} 2", "status=\"200\"} 1"] {
            assert!(text.contains(&format!("route=\"/v1/orgs/{{org}}\",{line}")), "{text}");
        }
        assert!(!text.contains("/v1/usage"), "a route that nobody asked is not told of: {text}");
    }

    #[test]
    fn request_ids_count_in_hexadecimal() {
        let ids = RequestIds { beginning: *b"59eb936a-", next: AtomicU64::new(0) };
        for (number, text) in [
            (0, "59eb936a-0"),
            (9, "59eb936a-9"),
            (15, "59eb936a-f"),
            (16, "59eb936a-10"),
            (0xabc, "59eb936a-abc"),
            (u64::MAX, "59eb936a-ffffffffffffffff"),
        ] {
            ids.next.store(number, Ordering::Relaxed);
            assert_eq!(ids.next_id(), text);
        }
        let beginning = RequestIds::new().beginning;
        assert!(beginning.is_ascii() && beginning.ends_with(b"-"), "{beginning:?}");
    }
}

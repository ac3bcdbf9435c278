//! What browsers are told of web pages of other origins (CORS): those on the list may send requests and read answers.
//!
//! Whether a request of a foreign page is answered at all is decided in `browser.rs`, by the same list. No answer allows
//! credentials: a page sends its API key itself, and cookies mean nothing here.

use axum::body::Body;
use axum::response::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderValue, Method, Request, StatusCode};

/// Headers that a page may send.
const REQUEST_HEADERS: &str =
    "Authorization, X-API-Key, Content-Type, Content-Encoding, Idempotency-Key, X-Request-Id";

/// Headers that a page may read.
const REPLY_HEADERS: &str =
    "RateLimit, RateLimit-Policy, Retry-After, X-Request-Id, X-Next-Cursor, X-Problem-Detail, Link, Allow";

/// The origin of a request, if it is on the list.
pub(crate) fn origin(request: &Request<Body>, allowed: &[String]) -> Option<HeaderValue> {
    let origin = request.headers().get(ORIGIN).filter(|_| !allowed.is_empty())?;
    allowed.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()).then(|| origin.clone())
}

/// The answer to a browser that asks whether a page of an origin on the list may send a request; `None` for any other
/// request.
pub(crate) fn preflight(request: &Request<Body>, allowed: &[String]) -> Option<Response> {
    let asks = request.method() == Method::OPTIONS
        && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
        && origin(request, allowed).is_some();
    asks.then(|| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        for (name, value) in [
            (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, DELETE"),
            (ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS),
            (ACCESS_CONTROL_MAX_AGE, "600"),
        ] {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    })
}

/// Lets the pages of an origin read an answer. Where there is a list, every answer goes by the origin.
pub(crate) fn mark(response: &mut Response, origin: Option<HeaderValue>, allowed: &[String]) {
    if allowed.is_empty() {
        return;
    }
    let headers = response.headers_mut();
    headers.append(VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(REPLY_HEADERS));
    }
}

//! `/openapi.json`, and `/docs` to browse it.

use axum::response::Response;
use http::HeaderValue;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};

use crate::openapi::openapi_json;

/// The OpenAPI document.
pub(crate) async fn openapi() -> Response {
    let mut response = Response::new(openapi_json().into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A page that shows it; everything is in the page, nothing is fetched from elsewhere.
pub(crate) async fn page() -> Response {
    let mut response = Response::new(include_str!("docs.html").into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    let policy =
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

//! `/openapi.json`, `/docs` to browse it, and `/`, which leads there.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::extract::NoQuery;
use crate::form::{Form, form_of, varying};
use crate::openapi::openapi_json;
use crate::reply::ok;

/// It runs, in the words of an older credits API.
#[derive(Serialize, ToSchema)]
pub(crate) struct Root {
    /// `success`.
    status: &'static str,
    /// Which service it is.
    message: &'static str,
}

/// Sends a browser to the page that serves it best; tells a program that the server runs.
#[utoipa::path(
    get, path = "/", tag = "System", operation_id = "root", security(()),
    responses(
        (status = 200, description = "It runs", body = Root),
        (status = 302, description = "To `/docs`, for who prefers `text/html`",
            headers(("Location" = String, description = "`/docs`"))),
    )
)]
pub(crate) async fn root(headers: HeaderMap, _: NoQuery) -> Response {
    if form_of(&headers, &[Form::Json, Form::Html]) == Form::Html {
        return varying((StatusCode::FOUND, [(LOCATION, "/docs")]).into_response());
    }
    varying(ok(&Root { status: "success", message: "This is Credit Service API." }))
}

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

//! `/openapi.json`, `/docs` to browse it, and `/`, which leads there.

use std::io::Read;

use axum::response::{IntoResponse, Response};
use flate2::read::GzDecoder;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use tollgate_api::{Code, Problem};
use utoipa::ToSchema;

use crate::edge::gzip;
use crate::extract::NoQuery;
use crate::form::{Form, form_of, varying};
use crate::openapi::openapi_json;
use crate::reply::{Failure, ok};

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

/// A page that shows it; nothing is fetched from elsewhere.
pub(crate) async fn page() -> Response {
    let mut response = Response::new(include_str!("docs.html").into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    // The renderer writes its styles into the page, and searches in a worker that it makes of a text.
    let policy = "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:; \
                  worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

/// The renderer of the page, Redoc, as it is published; its license lies beside it. Its version is in its path, so a copy is good
/// for ever.
const RENDERER: &[u8] = include_bytes!("../assets/redoc-2.5.4.js.gz");

/// The renderer: as it is kept for those who take gzip, unpacked for the others.
pub(crate) async fn renderer(request: HeaderMap) -> Result<Response, Failure> {
    let mut response = Response::new(RENDERER.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    if gzip::is_accepted(&request) {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        return Ok(response);
    }
    let mut text = Vec::new();
    GzDecoder::new(RENDERER).read_to_end(&mut text).map_err(|error| {
        Failure::from(Problem::new(Code::Internal, "the renderer cannot be unpacked"))
            .caused_by(error.to_string())
    })?;
    *response.body_mut() = text.into();
    Ok(response)
}

//! How the server is.

use axum::extract::State;
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use tollgate_api::{Code, Health, Problem, Ready};
use tollgate_domain::Role;

use crate::app::App;
use crate::auth::Caller;
use crate::form::varying;
use crate::metrics::Format;
use crate::reply::{Failure, json, ok};

/// The server runs.
#[utoipa::path(
    get, path = "/health", tag = "System", operation_id = "health",
    responses((status = 200, description = "It runs", body = Health))
)]
pub(crate) async fn health(State(app): State<App>) -> Response {
    ok(&Health {
        status: "healthy".to_owned(),
        time: app.engine.clock().now().to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        config: app.settings.environment.clone(),
    })
}

/// Whether the server can decide.
#[utoipa::path(
    get, path = "/ready", tag = "System", operation_id = "ready",
    responses(
        (status = 200, description = "It can decide", body = Ready),
        (status = 503, description = "It cannot, and why", body = Ready),
    )
)]
pub(crate) async fn ready(State(app): State<App>) -> Response {
    let reason = unready(&app).map(str::to_owned);
    let status = if reason.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let queue_depth = u64::try_from(app.engine.queue_depth()).unwrap_or(u64::MAX);
    json(status, &Ready { ready: reason.is_none(), reason, queue_depth })
}

/// Why the server cannot decide, if it cannot.
pub(crate) fn unready(app: &App) -> Option<&'static str> {
    let store = app.engine.store();
    if app.engine.stopped().is_some() || store.stopped().is_some() {
        return Some("a write to the store failed; the server must be restarted");
    }
    store.lacks_room().then_some("the disk of the store is full; no usage is taken until it has room")
}

/// What the server measures of itself, in a text format of Prometheus: OpenMetrics if `Accept` names it, else 0.0.4.
#[utoipa::path(
    get, path = "/metrics", tag = "System", operation_id = "metrics",
    responses(
        (status = 200, description = "The metrics", content(
            (String = "text/plain"), (String = "application/openmetrics-text")
        )),
    )
)]
pub(crate) async fn metrics(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    caller.require(Role::Read, None)?;
    let format = Format::asked(&headers);
    let text = app.metrics.encode(app.engine.queue_depth(), format).map_err(|error| {
        Failure::from(Problem::new(Code::Internal, "the metrics cannot be written"))
            .caused_by(error.to_string())
    })?;
    let mut response = Response::new(text.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    Ok(varying(response))
}

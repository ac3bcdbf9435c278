//! The routes and what their handlers share.

use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use http::Uri;
use tokio::sync::Semaphore;
use tollgate_api::{Code, Problem};
use tollgate_engine::Engine;
use tollgate_notifier::Shipper;

use crate::auth::ApiKeys;
use crate::compat::billing::Billing;
use crate::compat::failure::CompatFailure;
use crate::compat::reports::Reports;
use crate::metrics::Metrics;
use crate::reply::Failure;
use crate::stores::AnyStore;
use crate::{Settings, compat, docs, native};

/// What the handlers share.
pub(crate) type App = Arc<AppState>;

/// See [`App`].
#[derive(Debug)]
pub(crate) struct AppState {
    pub(crate) engine: Engine<AnyStore>,
    pub(crate) api_keys: ApiKeys,
    pub(crate) metrics: Metrics,
    pub(crate) settings: Settings,
    /// What commits aggregates of pulses, where there is a sink.
    pub(crate) shipper: Option<Shipper>,
    /// Batches that may be in hand at a time.
    pub(crate) batches: Semaphore,
}

/// Every route of the native API and the compatible APIs.
pub(crate) fn router(app: App) -> Router {
    Router::new()
        .route("/v1/usage", post(native::usage::use_))
        .route("/v1/usage/check", post(native::usage::check))
        .route("/v1/usage/batch", post(native::batch::record))
        .route("/v1/usage/reversals", post(native::usage::reverse))
        .route("/v1/orgs", get(native::orgs::list))
        .route("/v1/orgs/{org}", get(native::orgs::show).put(native::orgs::put))
        .route("/v1/orgs/{org}/plan", put(native::orgs::put_plan))
        .route("/v1/orgs/{org}/limits", put(native::orgs::put_limit).delete(native::orgs::delete_limit))
        .route("/v1/orgs/{org}/top-ups", post(native::orgs::top_up))
        .route("/v1/orgs/{org}/balance", get(native::balance::show))
        .route("/v1/orgs/{org}/users", get(native::balance::users))
        .route("/v1/orgs/{org}/usage", get(native::series::series))
        .route("/v1/orgs/{org}/bill", get(native::bills::show))
        .route("/v1/orgs/{org}/bill/close", post(native::bills::close))
        .route("/v1/whatif", post(native::bills::what_if))
        .route("/v1/orgs/{org}/ledger", get(native::ledger::list))
        .route("/v1/orgs/{org}/ledger/{entry}", get(native::ledger::show))
        .route("/v1/notices", get(native::ledger::notices))
        .route("/v1/catalog", get(native::catalog::show).put(native::catalog::put))
        .route("/v1/catalog/versions", get(native::catalog::versions))
        .route("/v1/catalog/versions/{version}", get(native::catalog::version))
        .route("/v1/api-keys", get(native::api_keys::list).post(native::api_keys::create))
        .route("/v1/api-keys/{id}", delete(native::api_keys::revoke))
        .route("/", get(docs::root))
        .route("/health", get(native::system::health))
        .route("/ready", get(native::system::ready))
        .route("/metrics", get(native::system::metrics))
        .route("/openapi.json", get(docs::openapi))
        .route("/docs", get(docs::page))
        .route("/api/v1/events", post(compat::events::take))
        .route("/api/v1/usage", post(compat::billing::record))
        .route("/api/v1/usage/{customer_id}", get(compat::billing::list))
        .route("/api/v1/billing/{customer_id}", get(compat::billing::bill))
        .route("/pulses", post(compat::pulses::take))
        .route("/aggregates", get(compat::pulses::list))
        .route("/aggregates/commit", post(compat::pulses::commit))
        .route("/agreggates/commit", post(compat::pulses::commit))
        .route("/plan", post(compat::reports::plan))
        .route("/limit", post(compat::reports::limit))
        .route("/use", post(compat::reports::use_))
        .route("/top-up", post(compat::reports::top_up))
        .fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(app)
}

async fn unknown_route() -> Failure {
    Problem::new(Code::UnknownRoute, "there is no such route; /docs lists them").into()
}

async fn method_not_allowed(uri: Uri) -> Response {
    let problem =
        Problem::new(Code::MethodNotAllowed, "the route does not take this method; /docs lists them");
    let failure = Failure::from(problem);
    match route_of(uri.path()) {
        "/plan" | "/limit" | "/use" | "/top-up" => CompatFailure::<Reports>::from(failure).into_response(),
        "/api/v1/usage" | "/api/v1/usage/{customer_id}" | "/api/v1/billing/{customer_id}" => {
            CompatFailure::<Billing>::from(failure).into_response()
        }
        _ => failure.into_response(),
    }
}

/// The template of a path, for logs and metrics: ids in a path must not become labels.
pub(crate) fn route_of(path: &str) -> &'static str {
    const FIXED: &[&str] = &[
        "/v1/usage",
        "/v1/usage/check",
        "/v1/usage/batch",
        "/v1/usage/reversals",
        "/v1/orgs",
        "/v1/notices",
        "/v1/whatif",
        "/v1/catalog",
        "/v1/catalog/versions",
        "/v1/api-keys",
        "/",
        "/health",
        "/ready",
        "/metrics",
        "/openapi.json",
        "/docs",
        "/api/v1/events",
        "/api/v1/usage",
        "/pulses",
        "/aggregates",
        "/aggregates/commit",
        "/agreggates/commit",
        "/plan",
        "/limit",
        "/use",
        "/top-up",
    ];
    if let Some(route) = FIXED.iter().find(|route| **route == path) {
        return route;
    }
    if let Some((list, id)) = path.strip_prefix("/api/v1/").and_then(|rest| rest.split_once('/'))
        && !id.contains('/')
    {
        return match list {
            "usage" => "/api/v1/usage/{customer_id}",
            "billing" => "/api/v1/billing/{customer_id}",
            _ => "unknown",
        };
    }
    let mut parts = path.strip_prefix("/v1/").unwrap_or_default().split('/');
    match (parts.next(), parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("orgs"), Some(_), None, ..) => "/v1/orgs/{org}",
        (Some("orgs"), Some(_), Some("plan"), None, _) => "/v1/orgs/{org}/plan",
        (Some("orgs"), Some(_), Some("limits"), None, _) => "/v1/orgs/{org}/limits",
        (Some("orgs"), Some(_), Some("top-ups"), None, _) => "/v1/orgs/{org}/top-ups",
        (Some("orgs"), Some(_), Some("balance"), None, _) => "/v1/orgs/{org}/balance",
        (Some("orgs"), Some(_), Some("users"), None, _) => "/v1/orgs/{org}/users",
        (Some("orgs"), Some(_), Some("usage"), None, _) => "/v1/orgs/{org}/usage",
        (Some("orgs"), Some(_), Some("bill"), None, _) => "/v1/orgs/{org}/bill",
        (Some("orgs"), Some(_), Some("bill"), Some("close"), None) => "/v1/orgs/{org}/bill/close",
        (Some("orgs"), Some(_), Some("ledger"), None, _) => "/v1/orgs/{org}/ledger",
        (Some("orgs"), Some(_), Some("ledger"), Some(_), None) => "/v1/orgs/{org}/ledger/{entry}",
        (Some("catalog"), Some("versions"), Some(_), None, _) => "/v1/catalog/versions/{version}",
        (Some("api-keys"), Some(_), None, ..) => "/v1/api-keys/{id}",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_path_is_a_route_of_the_logs_and_metrics() {
        let document: serde_json::Value =
            serde_json::from_str(&crate::openapi_json()).expect("the document is JSON");
        let paths = document["paths"].as_object().expect("paths");
        assert!(paths.len() >= 20, "{}", paths.len());
        for path in paths.keys() {
            assert_eq!(route_of(path), path);
        }
        for (path, route) in [
            ("/api/v1/usage", "/api/v1/usage"),
            ("/api/v1/usage/acme", "/api/v1/usage/{customer_id}"),
            ("/api/v1/billing/acme", "/api/v1/billing/{customer_id}"),
            ("/api/v1/billing/acme/2", "unknown"),
            ("/api/v1/other/acme", "unknown"),
        ] {
            assert_eq!(route_of(path), route, "{path}");
        }
        for path in ["/v1/orgs/a/b", "/v1/orgs/a/ledger/1/2", "/v1/usage/", "/v1", ""] {
            assert_eq!(route_of(path), "unknown", "{path}");
        }
    }
}

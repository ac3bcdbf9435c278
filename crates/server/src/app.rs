//! The routes and what their handlers share.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use http::Method;
use tokio::sync::Semaphore;
use tollgate_api::{Code, Problem};
use tollgate_engine::Engine;
use tollgate_notifier::Shipper;

use crate::auth::ApiKeys;
use crate::compat::billing::Billing;
use crate::compat::failure::CompatFailure;
use crate::compat::reports::Reports;
use crate::metrics::Metrics;
use crate::readers::Readers;
use crate::refusals::Refusals;
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
    pub(crate) refusals: Refusals,
    /// What commits aggregates of pulses, where there is a sink.
    pub(crate) shipper: Option<Shipper>,
    /// Where reads run.
    pub(crate) readers: Readers,
    /// Batches that may be in hand at a time.
    pub(crate) batches: Semaphore,
}

/// The path of the gate, which is answered without a walk through the router.
pub(crate) const GATE: &str = "/v1/usage";

/// Every route of the native API and the compatible APIs: its path, and what answers it. A `GET` changes nothing.
fn table() -> Vec<(&'static str, MethodRouter<App>)> {
    let reports = |methods: MethodRouter<App>| methods.fallback(method_not_allowed::<CompatFailure<Reports>>);
    let billing = |methods: MethodRouter<App>| methods.fallback(method_not_allowed::<CompatFailure<Billing>>);
    vec![
        (GATE, post(native::usage::use_)),
        ("/v1/usage/check", post(native::usage::check)),
        ("/v1/usage/batch", post(native::batch::record)),
        ("/v1/usage/reversals", post(native::usage::reverse)),
        ("/v1/orgs", get(native::orgs::list)),
        ("/v1/orgs/{org}", get(native::orgs::show).put(native::orgs::put)),
        (
            "/v1/orgs/{org}/plan",
            get(native::plans::show).put(native::plans::set).delete(native::plans::leave),
        ),
        ("/v1/orgs/{org}/plan/scheduled", delete(native::plans::call_off)),
        (
            "/v1/orgs/{org}/limits",
            get(native::orgs::show_limits).put(native::orgs::put_limit).delete(native::orgs::delete_limit),
        ),
        ("/v1/orgs/{org}/top-ups", get(native::top_ups::list).post(native::top_ups::top_up)),
        ("/v1/orgs/{org}/top-ups/void", post(native::top_ups::void_by_key)),
        ("/v1/orgs/{org}/top-ups/{entry}/void", post(native::top_ups::void)),
        ("/v1/orgs/{org}/balance", get(native::balance::show)),
        ("/v1/orgs/{org}/users", get(native::balance::users)),
        ("/v1/orgs/{org}/usage", get(native::series::series)),
        ("/v1/orgs/{org}/bills", get(native::bill_list::list)),
        ("/v1/orgs/{org}/bill", get(native::bills::show)),
        ("/v1/orgs/{org}/bill/close", post(native::bills::close)),
        ("/v1/whatif", post(native::bills::what_if)),
        ("/v1/orgs/{org}/ledger", get(native::ledger::list)),
        ("/v1/orgs/{org}/ledger/{entry}", get(native::ledger::show)),
        ("/v1/notices", get(native::ledger::notices)),
        ("/v1/catalog", get(native::catalog::show).put(native::catalog::put)),
        ("/v1/catalog/versions", get(native::catalog::versions)),
        ("/v1/catalog/versions/{version}", get(native::catalog::version)),
        ("/v1/api-keys", get(native::api_keys::list).post(native::api_keys::create)),
        ("/v1/api-keys/{id}", delete(native::api_keys::revoke)),
        ("/", get(docs::root)),
        ("/health", get(native::system::health)),
        ("/ready", get(native::system::ready)),
        ("/metrics", get(native::system::metrics)),
        ("/openapi.json", get(docs::openapi)),
        ("/docs", get(docs::page)),
        ("/docs/redoc-2.5.4.js", get(docs::renderer)),
        ("/api/v1/events", post(compat::events::take)),
        ("/api/v1/usage", billing(post(compat::billing::record))),
        ("/api/v1/usage/{customer_id}", billing(get(compat::billing::list))),
        ("/api/v1/billing/{customer_id}", billing(get(compat::billing::bill))),
        ("/pulses", post(compat::pulses::take)),
        ("/aggregates", get(compat::pulses::list)),
        ("/aggregates/commit", post(compat::pulses::commit)),
        ("/agreggates/commit", post(compat::pulses::commit)),
        ("/plan", reports(post(compat::reports::plan))),
        ("/limit", reports(post(compat::reports::limit))),
        ("/use", reports(post(compat::reports::use_))),
        ("/top-up", reports(post(compat::reports::top_up))),
    ]
}

/// What [`table`] says, as a router and as names for logs and metrics.
#[derive(Debug)]
pub(crate) struct Routes {
    /// Answers requests.
    pub(crate) router: Router,
    templates: matchit::Router<&'static str>,
}

impl Routes {
    pub(crate) fn new(app: App) -> Self {
        let (mut router, mut templates) = (Router::new(), matchit::Router::new());
        for (path, methods) in table() {
            router = router.route(path, methods);
            if let Err(error) = templates.insert(path, path) {
                // The router above would have refused it before.
                tracing::error!(%error, path, "a route cannot be named");
            }
        }
        let router = router
            .route_layer(from_fn_with_state(Arc::clone(&app), beside_the_gate))
            .fallback(unknown_route)
            .method_not_allowed_fallback(method_not_allowed::<Failure>)
            .with_state(app);
        Self { router, templates }
    }

    /// The template of a path, for logs and metrics: ids in a path must not become labels.
    pub(crate) fn template(&self, path: &str) -> &'static str {
        self.templates.at(path).map_or("unknown", |found| *found.value)
    }
}

/// Answers what reads on the readers' threads, so that none of it holds up the gate.
async fn beside_the_gate(State(app): State<App>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if !matches!(*request.method(), Method::GET | Method::HEAD) || is_at_hand(path) {
        return next.run(request).await;
    }
    let of_billing = path.starts_with("/api/v1/");
    match app.readers.read(next.run(request)).await {
        Ok(response) => response,
        Err(error) if of_billing => CompatFailure::<Billing>::from(Failure::from(error)).into_response(),
        Err(error) => Failure::from(error).into_response(),
    }
}

/// Whether a route reads nothing from the store: probes are answered while all readers are busy.
fn is_at_hand(path: &str) -> bool {
    matches!(path, "/" | "/health" | "/ready" | "/metrics" | "/openapi.json") || path.starts_with("/docs")
}

async fn unknown_route() -> Failure {
    Problem::new(Code::UnknownRoute, "there is no such route; /docs lists them").into()
}

/// In the form of the API that the route belongs to.
async fn method_not_allowed<F: From<Failure>>() -> F {
    let problem =
        Problem::new(Code::MethodNotAllowed, "the route does not take this method; /docs lists them");
    F::from(problem.into())
}

#[cfg(test)]
mod tests {
    use tollgate_engine::Clock;

    use super::*;

    #[tokio::test]
    async fn every_documented_path_is_a_route_of_the_logs_and_metrics() {
        let settings = Settings { store: crate::StoreUrl::Memory, ..Settings::default() };
        let app = crate::serve::assemble(settings, Clock::System).await.expect("a server");
        let routes = Routes::new(Arc::clone(&app));
        let document: serde_json::Value =
            serde_json::from_str(&crate::openapi_json()).expect("the document is JSON");
        let paths = document["paths"].as_object().expect("paths");
        assert!(paths.len() >= 20, "{}", paths.len());
        for path in paths.keys() {
            assert_eq!(routes.template(path), path);
        }
        for (path, route) in [
            ("/api/v1/usage", "/api/v1/usage"),
            ("/api/v1/usage/acme", "/api/v1/usage/{customer_id}"),
            ("/api/v1/billing/acme", "/api/v1/billing/{customer_id}"),
            ("/v1/orgs/acme", "/v1/orgs/{org}"),
            ("/api/v1/billing/acme/2", "unknown"),
            ("/api/v1/other/acme", "unknown"),
        ] {
            assert_eq!(routes.template(path), route, "{path}");
        }
        for path in ["/v1/orgs/a/b", "/v1/orgs/a/ledger/1/2", "/v1/usage/", "/v1", ""] {
            assert_eq!(routes.template(path), "unknown", "{path}");
        }
        app.engine.shutdown().await.expect("it stops");
    }
}

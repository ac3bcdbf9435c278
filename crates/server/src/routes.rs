//! The one table of routes: what answers a request, where it runs, in which words it is refused, and what counts it.

use std::pin::Pin;
use std::sync::Arc;

use axum::extract::Request;
use axum::handler::Handler;
use axum::response::{IntoResponse, Response};
use http::header::ALLOW;
use http::{HeaderValue, Method};
use tollgate_api::{Code, Problem};

use crate::app::App;
use crate::compat::billing::Billing;
use crate::compat::credits::CreditsFailure;
#[cfg(feature = "envoy")]
use crate::compat::envoy::EnvoyFailure;
use crate::compat::failure::CompatFailure;
use crate::compat::lago::LagoFailure;
use crate::compat::reports::Reports;
use crate::compat::stripe::StripeFailure;
use crate::console::{self, dressed};
use crate::extract::PathParams;
use crate::metrics::{Metrics, RouteMetrics};
use crate::reply::Failure;
use crate::{compat, docs, native};

/// An answer on its way.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;

/// Begins to answer a request of one method.
type Answer = Box<dyn Fn(&App, Request) -> Answering + Send + Sync>;

/// Every route of the native API and the compatible APIs. A `GET` changes nothing.
fn table() -> Vec<Route> {
    vec![
        native("/v1/usage").post(native::usage::use_),
        native("/v1/usage/check").post(native::usage::check),
        native("/v1/usage/batch").post(native::batch::record),
        native("/v1/usage/reversals").post(native::usage::reverse),
        native("/v1/holds").post(native::holds::hold),
        native("/v1/holds/{hold}").get(native::holds::show),
        native("/v1/holds/{hold}/capture").post(native::holds::capture),
        native("/v1/holds/{hold}/release").post(native::holds::release),
        native("/v1/orgs/{org}/holds").get(native::holds::list),
        native("/v1/orgs").get(native::orgs::list),
        native("/v1/orgs/{org}").get(native::orgs::show).put(native::orgs::put),
        native("/v1/orgs/{org}/plan")
            .get(native::plans::show)
            .put(native::plans::set)
            .delete(native::plans::leave),
        native("/v1/orgs/{org}/plan/scheduled").delete(native::plans::call_off),
        native("/v1/orgs/{org}/limits")
            .get(native::orgs::show_limits)
            .put(native::orgs::put_limit)
            .delete(native::orgs::delete_limit),
        native("/v1/orgs/{org}/notices").get(native::org_notices::show).put(native::org_notices::put),
        native("/v1/orgs/{org}/top-ups").get(native::top_ups::list).post(native::top_ups::top_up),
        native("/v1/orgs/{org}/top-ups/void").post(native::top_ups::void_by_key),
        native("/v1/orgs/{org}/top-ups/{entry}/void").post(native::top_ups::void),
        native("/v1/orgs/{org}/balance").get(native::balance::show),
        native("/v1/orgs/{org}/users").get(native::balance::users),
        native("/v1/orgs/{org}/paths").get(native::balance::paths),
        native("/v1/orgs/{org}/usage").get(native::series::series),
        native("/v1/orgs/{org}/bills").get(native::bill_list::list),
        native("/v1/orgs/{org}/bill").get(native::bills::show),
        native("/v1/orgs/{org}/bill/close").post(native::bills::close),
        native("/v1/whatif").post(native::bills::what_if),
        native("/v1/orgs/{org}/ledger").get(native::ledger::list),
        native("/v1/orgs/{org}/ledger/{entry}").get(native::ledger::show),
        native("/v1/notices").get(native::ledger::notices),
        native("/v1/stream").get(native::stream::stream),
        native("/v1/channels").get(native::channels::list).post(native::channels::create),
        native("/v1/channels/{id}")
            .get(native::channels::show)
            .put(native::channels::put)
            .delete(native::channels::remove),
        native("/v1/channels/{id}/test").post(native::channels::test),
        native("/v1/channels/{id}/secret").post(native::channels::rotate),
        native("/v1/channels/{id}/replay").post(native::channels::replay),
        native("/v1/channels/{id}/deliveries").get(native::channels::deliveries),
        native("/v1/catalog").get(native::catalog::show).put(native::catalog::put),
        native("/v1/catalog/versions").get(native::catalog::versions),
        native("/v1/catalog/versions/{version}").get(native::catalog::version),
        native("/v1/api-keys").get(native::api_keys::list).post(native::api_keys::create),
        native("/v1/api-keys/{id}").delete(native::api_keys::revoke),
        native("/").get_at_hand(docs::root),
        native("/health").get_at_hand(native::system::health),
        native("/ready").get_at_hand(native::system::ready),
        native("/metrics").get_at_hand(native::system::metrics),
        native("/openapi.json").get_at_hand(docs::openapi),
        native("/docs").get_at_hand(docs::page),
        native("/docs/redoc-2.5.4.js").get_at_hand(docs::renderer),
        native("/v1/orgs/{org}/portal-links").post(console::make_link),
        native("/api/v1/events").post(compat::events::take),
        native("/api/v1/subjects/{customer}/entitlements/{feature}/value")
            .get(compat::openmeter::subject_value),
        native("/api/v1/customers/{customer}/entitlements/{feature}/value").get(compat::openmeter::value),
        native("/api/v2/customers/{customer}/entitlements/{feature}/value").get(compat::openmeter::value_v2),
        native("/api/v1/customers/{customer}/access").get(compat::openmeter::access),
        native("/api/v1/meters/{meter}/query")
            .get(compat::openmeter::query)
            .post(compat::openmeter::query_by_body),
        credits("/api/v1/token_used").post(compat::credits::take),
        native("/litellm/calls").post(compat::litellm::take),
        native("/litellm/budgets").post(compat::litellm::budgets::take),
        native("/portkey/guardrail").post(compat::portkey::take),
        lago("/lago/api/v1/events").post(compat::lago::take),
        lago("/lago/api/v1/events/batch").post(compat::lago::take_many),
        lago("/lago/api/v1/events/{transaction_id}").get(compat::lago::show),
        stripe("/v1/billing/meter_events").post(compat::stripe::take),
        stripe("/v1/billing/meter_event_adjustments").post(compat::stripe::adjust),
        billing("/api/v1/usage").post(compat::billing::record),
        billing("/api/v1/usage/{customer_id}").get(compat::billing::list),
        billing("/api/v1/billing/{customer_id}").get(compat::billing::bill),
        #[cfg(feature = "envoy")]
        envoy("/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit").post(compat::envoy::take),
        native("/pulses").post(compat::pulses::take),
        native("/aggregates").get(compat::pulses::list),
        native("/aggregates/commit").post(compat::pulses::commit),
        native("/agreggates/commit").post(compat::pulses::commit),
        reports("/plan").post(compat::reports::plan),
        reports("/limit").post(compat::reports::limit),
        reports("/use").post(compat::reports::use_),
        reports("/top-up").post(compat::reports::top_up),
        pages("/console").page(console::overview),
        pages("/console/style.css").page(console::style),
        pages("/console/sign-in").page(console::sign_in_page).form(console::sign_in),
        #[cfg(feature = "oidc")]
        pages("/console/sign-in/oidc").page_at_hand(console::begin_sign_in),
        #[cfg(feature = "oidc")]
        pages("/console/sign-in/oidc/callback").page_at_hand(console::end_sign_in),
        pages("/console/sign-out").form(console::sign_out),
        pages("/console/orgs").page(console::orgs).form(console::add_org),
        pages("/console/orgs/{org}").page(console::org),
        pages("/console/orgs/{org}/top-ups").form(console::top_up),
        pages("/console/orgs/{org}/top-ups/{entry}/void").form(console::void),
        pages("/console/orgs/{org}/plan").form(console::plan),
        pages("/console/orgs/{org}/plan/call-off").form(console::call_off),
        pages("/console/orgs/{org}/notices").form(console::thresholds),
        pages("/console/orgs/{org}/limits").form(console::limit),
        pages("/console/orgs/{org}/name").form(console::name),
        pages("/console/orgs/{org}/portal-links").form(console::portal_link),
        pages("/console/orgs/{org}/users").page(console::users),
        pages("/console/orgs/{org}/paths").page(console::paths),
        pages("/console/orgs/{org}/holds").page(console::holds),
        pages("/console/orgs/{org}/holds/{hold}/release").form(console::release_hold),
        pages("/console/orgs/{org}/ledger").page(console::ledger),
        pages("/console/orgs/{org}/ledger/{entry}").page(console::entry),
        pages("/console/orgs/{org}/bills").page(console::org_bills),
        pages("/console/orgs/{org}/bills/close").form(console::close),
        pages("/console/orgs/{org}/bill").page(console::bill),
        pages("/console/usage").page(console::usage),
        pages("/console/usage.csv").page(console::usage_csv),
        pages("/console/plans").page(console::plans),
        pages("/console/plans/try").page(console::try_form).form(console::try_catalog),
        pages("/console/plans/apply").form(console::apply_catalog),
        pages("/console/bills").page(console::bills),
        pages("/console/notices").page(console::notices),
        pages("/console/channels").page(console::channels).form(console::make_channel),
        pages("/console/channels/{id}").page(console::channel).form(console::change_channel),
        pages("/console/channels/{id}/state").form(console::set_channel_enabled),
        pages("/console/channels/{id}/test").form(console::test_channel),
        pages("/console/channels/{id}/secret").form(console::rotate_channel),
        pages("/console/channels/{id}/replay").form(console::replay_channel),
        pages("/console/channels/{id}/remove").form(console::remove_channel),
        pages("/console/keys").page(console::keys).form(console::make_key),
        pages("/console/keys/revoke").form(console::revoke_key),
        pages("/console/health").page(console::health),
        pages("/portal/style.css").page(console::style),
        pages("/portal/{link}").page(console::portal),
        pages("/portal/{link}/bill").page(console::portal_bill),
        pages("/unsubscribe/{link}").page(console::unsubscribe_page).form(console::unsubscribe),
    ]
}

fn pages(path: &'static str) -> Route {
    Route::new(path, |failure| dressed(failure.into_response(), "", &[]))
}

fn credits(path: &'static str) -> Route {
    Route::new(path, refusal::<CreditsFailure>)
}

#[cfg(feature = "envoy")]
fn envoy(path: &'static str) -> Route {
    Route::new(path, refusal::<EnvoyFailure>)
}

fn native(path: &'static str) -> Route {
    Route::new(path, refusal::<Failure>)
}

fn billing(path: &'static str) -> Route {
    Route::new(path, refusal::<CompatFailure<Billing>>)
}

fn lago(path: &'static str) -> Route {
    Route::new(path, refusal::<LagoFailure>)
}

fn stripe(path: &'static str) -> Route {
    Route::new(path, refusal::<StripeFailure>)
}

fn reports(path: &'static str) -> Route {
    Route::new(path, refusal::<CompatFailure<Reports>>)
}

/// A failure in the form of the API that the route belongs to.
fn refusal<F: From<Failure> + IntoResponse>(failure: Failure) -> Response {
    F::from(failure).into_response()
}

/// A path, and what answers each of its methods.
pub(crate) struct Route {
    /// The path, with names for what differs. Logs and metrics say this: ids in a path must not become labels.
    pub(crate) template: &'static str,
    methods: Vec<(Method, Answer)>,
    refuse: fn(Failure) -> Response,
}

impl Route {
    fn new(template: &'static str, refuse: fn(Failure) -> Response) -> Self {
        Self { template, methods: Vec::new(), refuse }
    }

    /// A `GET` that reads: on the readers' threads, so that none of it holds up the gate.
    fn get<T: 'static>(self, handler: impl Handler<T, App>) -> Self {
        let refuse = self.refuse;
        let answer: Answer = Box::new(move |app, request| {
            let app = Arc::clone(app);
            let reading = handler.clone().call(request, Arc::clone(&app));
            Box::pin(
                async move { app.readers.read(reading).await.unwrap_or_else(|error| refuse(error.into())) },
            )
        });
        self.method(Method::GET, answer)
    }

    /// A `GET` that reads nothing from the store: it is answered while all readers are busy.
    fn get_at_hand<T: 'static>(self, handler: impl Handler<T, App, Future = Answering>) -> Self {
        self.method(Method::GET, here(handler))
    }

    /// A page for people, which reads.
    fn page<T: 'static>(self, handler: impl Handler<T, App>) -> Self {
        let (refuse, path) = (self.refuse, self.template);
        let answer: Answer = Box::new(move |app, request| {
            let app = Arc::clone(app);
            let reading = handler.clone().call(request, Arc::clone(&app));
            Box::pin(async move {
                match app.readers.read(reading).await {
                    Ok(response) => dressed(response, path, app.settings.portal_frames.as_slice()),
                    Err(error) => refuse(error.into()),
                }
            })
        });
        self.method(Method::GET, answer)
    }

    /// A form of such a page.
    fn form<T: 'static>(self, handler: impl Handler<T, App>) -> Self {
        self.dressed(Method::POST, handler)
    }

    /// A page that reads nothing from the store, and may wait for others.
    #[cfg(feature = "oidc")]
    fn page_at_hand<T: 'static>(self, handler: impl Handler<T, App>) -> Self {
        self.dressed(Method::GET, handler)
    }

    fn dressed<T: 'static>(self, method: Method, handler: impl Handler<T, App>) -> Self {
        let path = self.template;
        let answer: Answer = Box::new(move |app, request| {
            let answering = handler.clone().call(request, Arc::clone(app));
            Box::pin(async move { dressed(answering.await, path, &[]) })
        });
        self.method(method, answer)
    }

    fn post<T: 'static>(self, handler: impl Handler<T, App, Future = Answering>) -> Self {
        self.method(Method::POST, here(handler))
    }

    fn put<T: 'static>(self, handler: impl Handler<T, App, Future = Answering>) -> Self {
        self.method(Method::PUT, here(handler))
    }

    fn delete<T: 'static>(self, handler: impl Handler<T, App, Future = Answering>) -> Self {
        self.method(Method::DELETE, here(handler))
    }

    fn method(mut self, method: Method, answer: Answer) -> Self {
        self.methods.push((method, answer));
        self
    }

    /// Begins to answer a request. A `HEAD` is answered as a `GET`; the edge leaves the body out.
    pub(crate) fn answer(&self, app: &App, request: Request) -> Answering {
        let asked = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
        match self.methods.iter().find(|(method, _)| method == asked) {
            Some((_, answer)) => answer(app, request),
            None => told(self.not_allowed()),
        }
    }

    /// A failure in the form of the API that the route belongs to.
    pub(crate) fn refused(&self, failure: impl Into<Failure>) -> Response {
        (self.refuse)(failure.into())
    }

    fn not_allowed(&self) -> Response {
        if self.methods.is_empty() {
            let detail = "there is no such route; /docs lists them";
            return self.refused(Problem::new(Code::UnknownRoute, detail));
        }
        let detail = "the route does not take this method; /docs lists them";
        let mut response = self.refused(Problem::new(Code::MethodNotAllowed, detail));
        let names = self.methods.iter().map(|(method, _)| match *method {
            Method::GET => "GET,HEAD",
            ref other => other.as_str(),
        });
        if let Ok(names) = HeaderValue::try_from(names.collect::<Vec<_>>().join(",")) {
            response.headers_mut().insert(ALLOW, names);
        }
        response
    }
}

/// Answers on the thread that heard the request.
fn here<T: 'static>(handler: impl Handler<T, App, Future = Answering>) -> Answer {
    Box::new(move |app, request| handler.clone().call(request, Arc::clone(app)))
}

/// An answer that is there.
pub(crate) fn told(response: Response) -> Answering {
    Box::pin(std::future::ready(response))
}

/// What [`table`] says, to be found by path.
pub(crate) struct Routes {
    by_path: matchit::Router<(Route, RouteMetrics)>,
    unknown: (Route, RouteMetrics),
}

impl Routes {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let counted = |route: Route| {
            let metrics = metrics.of_route(route.template);
            (route, metrics)
        };
        let mut by_path = matchit::Router::new();
        for route in table() {
            let path = route.template;
            if let Err(error) = by_path.insert(path, counted(route)) {
                tracing::error!(%error, path, "a route cannot be reached");
            }
        }
        Self { by_path, unknown: counted(native("unknown")) }
    }

    /// The route of a request and what counts it; what its path names is kept with the request.
    pub(crate) fn find(&self, request: &mut Request) -> &(Route, RouteMetrics) {
        let (route, params) = self.at(request.uri().path());
        if let Some(params) = params {
            request.extensions_mut().insert(params);
        }
        route
    }

    fn at(&self, path: &str) -> (&(Route, RouteMetrics), Option<PathParams>) {
        match self.by_path.at(path) {
            Ok(found) if found.params.is_empty() => (found.value, None),
            Ok(found) => (found.value, Some(PathParams::new(found.params.iter()))),
            Err(_) => (&self.unknown, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use tollgate_engine::EngineMetrics;

    use super::*;

    #[cfg(feature = "envoy")]
    #[test]
    fn what_is_refused_before_a_call_by_grpc_begins_is_a_status_of_grpc() {
        let routes = Routes::new(&Metrics::new(&EngineMetrics::default(), |_| {}));
        let (route, _) = routes.at("/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit").0;
        for (code, grpc) in [
            (Code::RateLimited, tonic::Code::ResourceExhausted),
            (Code::UnknownHost, tonic::Code::PermissionDenied),
            (Code::ForeignOrigin, tonic::Code::PermissionDenied),
            (Code::Internal, tonic::Code::Internal),
        ] {
            let response = route.refused(Problem::new(code, "because"));
            assert_eq!(response.status(), http::StatusCode::OK);
            assert_eq!(compat::envoy::code_of(&response), Some(grpc), "{code:?}");
            assert_eq!(response.headers()["grpc-message"], format!("{}:%20because", code.text()));
        }
    }

    #[test]
    fn every_documented_path_is_a_route_of_the_logs_and_metrics() {
        let routes = Routes::new(&Metrics::new(&EngineMetrics::default(), |_| {}));
        let template = |path| routes.at(path).0.0.template;
        let document: serde_json::Value =
            serde_json::from_str(&crate::openapi_json()).expect("the document is JSON");
        let paths = document["paths"].as_object().expect("paths");
        assert!(paths.len() >= 20, "{}", paths.len());
        for (path, operations) in paths {
            let (route, _) = routes.at(path).0;
            assert_eq!(route.template, path);
            for method in operations.as_object().expect("operations").keys() {
                let answers = |(known, _): &(Method, Answer)| known.as_str().eq_ignore_ascii_case(method);
                assert!(route.methods.iter().any(answers), "{method} {path}");
            }
        }
        for (path, route) in [
            ("/api/v1/usage", "/api/v1/usage"),
            ("/api/v1/usage/acme", "/api/v1/usage/{customer_id}"),
            ("/api/v1/billing/acme", "/api/v1/billing/{customer_id}"),
            ("/v1/orgs/acme", "/v1/orgs/{org}"),
            ("/api/v1/billing/acme/2", "unknown"),
            ("/api/v1/other/acme", "unknown"),
        ] {
            assert_eq!(template(path), route, "{path}");
        }
        for path in ["/v1/orgs/a/b", "/v1/orgs/a/ledger/1/2", "/v1/usage/", "/v1", ""] {
            assert_eq!(template(path), "unknown", "{path}");
        }
        assert_eq!(routes.by_path.at("/v1/usage").map(|found| found.value.0.template), Ok("/v1/usage"));
        assert!(table().iter().all(|route| template(route.template) == route.template), "each is reached");
    }
}

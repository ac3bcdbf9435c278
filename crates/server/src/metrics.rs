//! What `/metrics` says, in either text format of Prometheus.

mod process;
mod text;

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tollgate_engine::EngineMetrics;

/// A text format of Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// The text format 0.0.4, which every tool reads.
    Classic,
}

impl Format {
    /// OpenMetrics for those who name it in `Accept`, as Prometheus does; the older format for all others.
    pub(crate) fn asked(headers: &HeaderMap) -> Self {
        let names = |value: &HeaderValue| value.to_str().is_ok_and(|text| text.contains("openmetrics-text"));
        if headers.get_all(ACCEPT).iter().any(names) { Self::OpenMetrics } else { Self::Classic }
    }

    /// Its `Content-Type`.
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The route and status of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RequestLabel {
    route: &'static str,
    status: u16,
}

/// The route of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RouteLabel {
    route: &'static str,
}

/// The method and code of a call by gRPC: the labels that servers of gRPC have for Prometheus, so that what is made for
/// these shows the calls of this one.
#[cfg(feature = "envoy")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct GrpcLabel {
    grpc_type: &'static str,
    grpc_service: &'static str,
    grpc_method: &'static str,
    grpc_code: &'static str,
}

/// The name of a code as the labels of Prometheus have it.
#[cfg(feature = "envoy")]
const fn grpc_code(code: tonic::Code) -> &'static str {
    use tonic::Code;
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

/// What the server measures of itself.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    #[cfg(feature = "envoy")]
    grpc_handled: Family<GrpcLabel, Counter>,
    requests: Family<RequestLabel, Counter>,
    seconds: Family<RouteLabel, Histogram, fn() -> Histogram>,
    queue_depth: Gauge<u64, AtomicU64>,
}

fn request_histogram() -> Histogram {
    Histogram::new(exponential_buckets(100e-6, 2.0, 16))
}

impl Metrics {
    pub(crate) fn new(engine: &EngineMetrics, register_others: impl FnOnce(&mut Registry)) -> Self {
        let mut everything = Registry::default();
        everything.register_collector(Box::new(process::ProcessCollector));
        #[cfg(feature = "envoy")]
        let grpc_handled = Family::default();
        #[cfg(feature = "envoy")]
        everything.register("grpc_server_handled", "Calls by gRPC, by method and code", grpc_handled.clone());
        let registry = everything.sub_registry_with_prefix("tollgate");
        let requests = Family::default();
        let make: fn() -> Histogram = request_histogram;
        let seconds = Family::new_with_constructor(make);
        let queue_depth = Gauge::default();
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version that runs", build);
        registry.register("requests", "Requests by route and status", requests.clone());
        registry.register_with_unit("request", "Time to answer by route", Unit::Seconds, seconds.clone());
        registry.register("queue_depth", "Requests that wait for the writer", queue_depth.clone());
        engine.register(registry);
        register_others(registry);
        Self {
            registry: everything,
            #[cfg(feature = "envoy")]
            grpc_handled,
            requests,
            seconds,
            queue_depth,
        }
    }

    /// What counts the requests of a route.
    pub(crate) fn of_route(&self, route: &'static str) -> RouteMetrics {
        RouteMetrics {
            route,
            #[cfg(feature = "envoy")]
            grpc_handled: self.grpc_handled.clone(),
            requests: self.requests.clone(),
            seconds: self.seconds.clone(),
            of_status: Default::default(),
            of_all: OnceLock::new(),
        }
    }

    /// The values of now.
    ///
    /// # Errors
    /// None in practice: writing into memory does not fail.
    pub(crate) fn encode(&self, queue_depth: usize, format: Format) -> Result<String, std::fmt::Error> {
        self.queue_depth.set(u64::try_from(queue_depth).unwrap_or(u64::MAX));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(match format {
            Format::OpenMetrics => text,
            Format::Classic => text::classic(&text),
        })
    }
}

/// Statuses whose counters are kept at hand; others are looked up each time.
const KNOWN_STATUSES: [u16; 16] =
    [200, 201, 204, 400, 401, 402, 403, 404, 405, 409, 413, 415, 422, 429, 500, 503];

/// What counts the requests of one route: each counter is looked up once, when the first request needs it, so that
/// `/metrics` tells of no route that nobody asked.
#[derive(Debug)]
pub(crate) struct RouteMetrics {
    route: &'static str,
    #[cfg(feature = "envoy")]
    grpc_handled: Family<GrpcLabel, Counter>,
    requests: Family<RequestLabel, Counter>,
    seconds: Family<RouteLabel, Histogram, fn() -> Histogram>,
    of_status: [OnceLock<Counter>; KNOWN_STATUSES.len()],
    of_all: OnceLock<Histogram>,
}

impl RouteMetrics {
    pub(crate) fn observe(&self, status: u16, duration: Duration) {
        let counter = || self.requests.get_or_create_owned(&RequestLabel { route: self.route, status });
        let known = KNOWN_STATUSES.iter().position(|known| *known == status);
        match known.and_then(|place| self.of_status.get(place)) {
            Some(at_hand) => at_hand.get_or_init(counter).inc(),
            None => counter().inc(),
        };
        let histogram = || self.seconds.get_or_create_owned(&RouteLabel { route: self.route });
        self.of_all.get_or_init(histogram).observe(duration.as_secs_f64());
    }

    /// Counts a call by gRPC.
    #[cfg(feature = "envoy")]
    pub(crate) fn handled(&self, code: tonic::Code) {
        let path = self.route.trim_start_matches('/');
        let (grpc_service, grpc_method) = path.split_once('/').unwrap_or((path, ""));
        let label = GrpcLabel { grpc_type: "unary", grpc_service, grpc_method, grpc_code: grpc_code(code) };
        self.grpc_handled.get_or_create_owned(&label).inc();
    }
}

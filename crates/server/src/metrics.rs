//! What `/metrics` tells, in the text format of Prometheus.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tollgate_engine::EngineMetrics;

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

/// What the server measures of itself.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabel, Counter>,
    seconds: Family<RouteLabel, Histogram, fn() -> Histogram>,
    queue_depth: Gauge<u64, AtomicU64>,
}

fn request_histogram() -> Histogram {
    Histogram::new(exponential_buckets(100e-6, 2.0, 16))
}

impl Metrics {
    pub(crate) fn new(engine: &EngineMetrics, register_others: impl FnOnce(&mut Registry)) -> Self {
        let mut registry = Registry::with_prefix("tollgate");
        let requests = Family::default();
        let make: fn() -> Histogram = request_histogram;
        let seconds = Family::new_with_constructor(make);
        let queue_depth = Gauge::default();
        registry.register("requests", "Requests by route and status", requests.clone());
        registry.register_with_unit("request", "Time to answer by route", Unit::Seconds, seconds.clone());
        registry.register("queue_depth", "Requests that wait for the writer", queue_depth.clone());
        engine.register(&mut registry);
        register_others(&mut registry);
        Self { registry, requests, seconds, queue_depth }
    }

    pub(crate) fn observe(&self, route: &'static str, status: u16, duration: Duration) {
        self.requests.get_or_create(&RequestLabel { route, status }).inc();
        self.seconds.get_or_create(&RouteLabel { route }).observe(duration.as_secs_f64());
    }

    pub(crate) fn encode(&self, queue_depth: usize) -> Result<String, std::fmt::Error> {
        self.queue_depth.set(u64::try_from(queue_depth).unwrap_or(u64::MAX));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

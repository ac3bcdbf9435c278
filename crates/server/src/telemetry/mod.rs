//! OpenTelemetry: a span for every request, and the metrics of `/metrics`, sent to a collector by OTLP over HTTP.
//!
//! Absent on purpose: logs, which go to standard error, and OTLP over gRPC, as every collector speaks HTTP too. Start reading at
//! [`Telemetry::start`].

mod client;
mod metrics;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{HeaderMap, Request};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{Span as _, SpanBuilder, SpanKind, Status, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span};
use tokio::sync::watch;
use tollgate_api::Code;
use tollgate_domain::{OrgId, TopUp, UsageKey, Use};
use tollgate_notifier::Cause;

use self::client::Sender;
use self::metrics::MetricsExport;
use crate::app::App;
use crate::extract::percent_decoded;
use crate::metrics::Format;
use crate::routes::Answering;
use crate::settings::OtlpUrl;

tokio::task_local! {
    /// The trace that the request in hand belongs to, as the header `traceparent` says it.
    static TRACEPARENT: Arc<str>;
}

/// What sends telemetry.
pub(crate) struct Telemetry {
    traces: SdkTracerProvider,
    tracer: SdkTracer,
    propagator: TraceContextPropagator,
    metrics: MetricsExport,
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Telemetry").finish_non_exhaustive()
    }
}

impl Telemetry {
    /// Begins to send to a collector. What the standard variables say besides (headers, time-outs, the sampler, names of the
    /// service) is read by the libraries.
    pub(crate) fn start(url: &OtlpUrl, environment: &str) -> Result<Self, String> {
        for name in [
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
        ] {
            let protocol = std::env::var(name).unwrap_or_default();
            if !matches!(protocol.as_str(), "" | "http/protobuf") {
                return Err(format!("{name} is '{protocol}': only http/protobuf is spoken here"));
            }
        }
        let sender = Sender::new();
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(sender.clone())
            .with_endpoint(url.of("traces"))
            .build()
            .map_err(|error| format!("traces cannot be sent to {url}: {error}"))?;
        let resource = resource(environment);
        let metrics = MetricsExport::new(sender, url.of("metrics"), &resource)?;
        let traces =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        let tracer = traces.tracer("tollgate");
        Ok(Self { traces, tracer, propagator: TraceContextPropagator::new(), metrics })
    }

    /// Begins the span of a request, within the trace that its caller names.
    pub(crate) fn begin(&self, request: &Request<Body>, route: &'static str) -> RequestSpan {
        let caller =
            self.propagator.extract_with_context(&Context::new(), &HeaderExtractor(request.headers()));
        let method = request.method();
        let builder = SpanBuilder::from_name(format!("{method} {route}"))
            .with_kind(SpanKind::Server)
            .with_attributes([
                KeyValue::new("http.request.method", method.as_str().to_owned()),
                KeyValue::new("http.route", route),
            ]);
        let span = builder.start_with_context(&self.tracer, &caller);
        let context = span.span_context();
        let (trace, id, flags) = (context.trace_id(), context.span_id(), context.trace_flags());
        let traceparent = format!("00-{trace}-{id}-{:02x}", flags.to_u8());
        RequestSpan { span, traceparent: traceparent.into() }
    }

    /// Sends metrics every interval until the server is on its way down, and then once more.
    pub(crate) async fn run(app: App, mut closing: watch::Receiver<bool>) {
        let Some(telemetry) = &app.telemetry else { return };
        let mut ticks = tokio::time::interval(telemetry.metrics.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The first is at once, when there is nothing to tell yet.
        ticks.tick().await;
        let mut is_failing = false;
        loop {
            let is_last = tokio::select! {
                _ = ticks.tick() => false,
                _ = closing.wait_for(|closing| *closing) => true,
            };
            let sent = telemetry.metrics.send(&app).await;
            match &sent {
                // Once for all failures in a row.
                Err(error) if !is_failing => tracing::warn!(error, "metrics cannot be sent for now"),
                _ => {}
            }
            is_failing = sent.is_err();
            if is_last {
                return;
            }
        }
    }

    /// Sends the spans that are not sent yet.
    pub(crate) async fn end(app: &App) {
        let Some(telemetry) = &app.telemetry else { return };
        let traces = telemetry.traces.clone();
        let ended =
            tokio::task::spawn_blocking(move || traces.shutdown_with_timeout(Duration::from_secs(5))).await;
        if let Ok(Err(error)) = ended {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// What everything that is sent is of.
fn resource(environment: &str) -> Resource {
    let names = |attribute: &str| {
        std::env::var("OTEL_RESOURCE_ATTRIBUTES").is_ok_and(|said| said.contains(attribute))
    };
    let mut builder =
        Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    if std::env::var_os("OTEL_SERVICE_NAME").is_none() && !names("service.name=") {
        builder = builder.with_service_name("tollgate");
    }
    if !names("deployment.environment.name=") {
        builder =
            builder.with_attribute(KeyValue::new("deployment.environment.name", environment.to_owned()));
    }
    builder.build()
}

/// The span of a request.
pub(crate) struct RequestSpan {
    span: Span,
    traceparent: Arc<str>,
}

impl RequestSpan {
    /// The same answer, which knows the trace that it belongs to.
    pub(crate) fn around(&self, answer: Answering) -> Answering {
        Box::pin(TRACEPARENT.scope(Arc::clone(&self.traceparent), answer))
    }

    /// It is a call by gRPC, and ended with a code. Those of the server's own failures make it an error.
    #[cfg(feature = "envoy")]
    pub(crate) fn handled(&mut self, code: tonic::Code) {
        use tonic::Code;
        self.span.set_attribute(KeyValue::new("rpc.system", "grpc"));
        self.span.set_attribute(KeyValue::new("rpc.grpc.status_code", i64::from(i32::from(code))));
        if matches!(
            code,
            Code::Unknown
                | Code::DeadlineExceeded
                | Code::Unimplemented
                | Code::Internal
                | Code::Unavailable
                | Code::DataLoss
        ) {
            self.span.set_status(Status::error(""));
        }
    }

    /// Ends it.
    pub(crate) fn end(mut self, status: u16, code: Option<Code>) {
        self.span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        if let Some(code) = code {
            self.span.set_attribute(KeyValue::new("error.type", code.text()));
        }
        if status >= 500 {
            self.span.set_status(Status::error(""));
        }
        self.span.end();
    }
}

/// Remembers which trace the record under a key belongs to: webhooks about it carry the trace on. Like the two below, it is
/// called before the engine is asked, for a webhook can be sent before the engine's answer is read.
pub(crate) fn note_record(app: &App, org: &OrgId, key: &UsageKey) {
    note(app, org, || Cause::Usage(key.clone()));
}

/// The same of a usage or hold, which may be refused.
pub(crate) fn note_usage(app: &App, org: &OrgId, usage: &Use) {
    note_record(app, org, &usage.key);
    note(app, org, || Cause::Refusal {
        user: usage.user.clone(),
        path: usage.path.clone(),
        meter: usage.meter.clone(),
        quantity: usage.quantity,
    });
}

/// The same of credit that is added.
pub(crate) fn note_top_up(app: &App, org: &OrgId, top_up: &TopUp) {
    note(app, org, || Cause::TopUp {
        meter: top_up.meter.clone(),
        amount: top_up.amount.amount(),
        key: top_up.key.clone(),
    });
}

fn note(app: &App, org: &OrgId, cause: impl FnOnce() -> Cause) {
    if app.telemetry.is_some() {
        let _ = TRACEPARENT.try_with(|traceparent| app.courier.traces().note(org, cause(), traceparent));
    }
}

/// What `/metrics` says now.
fn metrics_text(app: &App) -> Result<String, String> {
    app.metrics.encode(app.engine.queue_depth(), Format::OpenMetrics).map_err(|error| error.to_string())
}

/// Headers out of a variable: `name=value,name=value`, the values percent-encoded.
fn headers_of(text: &str) -> HeaderMap {
    let pairs = text.split(',').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value: http::HeaderValue = percent_decoded(value.trim())?.parse().ok()?;
        Some((name.trim().parse::<http::HeaderName>().ok()?, value))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_pairs_with_percent_encoded_values() {
        let headers = headers_of("authorization=Bearer%20abc, x-tenant = acme,no pair,=,bad name=1");
        let found: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("text"))).collect();
        assert_eq!(found, [("authorization", "Bearer abc"), ("x-tenant", "acme")]);
    }
}

//! OpenTelemetry: what a collector receives, decoded by OpenTelemetry's own messages.

use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::json;
use tollgate_server::Reach;

use crate::channels::channel;
use crate::client::{Ask, Client};
use crate::receiver::Receiver;
use crate::server::TestServer;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

fn server(collector: &Receiver) -> TestServer {
    TestServer::with(|settings| {
        settings.otlp = Some(collector.url("").parse().expect("an address"));
        settings.webhook_reach = Reach::Anywhere;
        settings.notice_interval = Duration::from_millis(100);
    })
}

/// Attributes as texts.
fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.clone()?.value? {
        Any::StringValue(text) => Some(text),
        Any::IntValue(number) => Some(number.to_string()),
        _ => None,
    };
    attributes.iter().filter_map(|each| Some((each.key.clone(), text(each)?))).collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn usage(client: &mut Client, key: &str, quantity: u32, trace: bool) -> u16 {
    let body = json!({"org": "acme", "meter": "reports", "key": key, "quantity": quantity});
    let ask = Ask::new("POST", "/v1/usage").json(body);
    if trace { traced(client, ask) } else { client.ask(&ask).status }
}

/// Asks within the trace of a caller.
fn traced(client: &mut Client, ask: Ask) -> u16 {
    client.ask(&ask.header("traceparent", &format!("00-{TRACE}-{CALLER}-01"))).status
}

/// The header `traceparent` that carries on the trace of a caller from a span with a name.
fn carried_on(spans: &[Span], name: &str) -> String {
    let span = spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name}"));
    format!("00-{TRACE}-{}-01", hexadecimal(&span.span_id))
}

/// All that a collector was sent once its server has ended.
fn received(collector: &Receiver) -> (Vec<Span>, Vec<Metric>) {
    let (mut spans, mut metrics) = (Vec::new(), Vec::new());
    while let Some(request) = collector.waiting() {
        assert_eq!(request.header("content-type"), "application/x-protobuf");
        let mut resources = Vec::new();
        match request.path.as_str() {
            "/v1/traces" => {
                let sent = ExportTraceServiceRequest::decode(request.body.as_slice()).expect("spans");
                for each in sent.resource_spans {
                    resources.extend(each.resource);
                    spans.extend(each.scope_spans.into_iter().flat_map(|scope| scope.spans));
                }
            }
            "/v1/metrics" => {
                let sent = ExportMetricsServiceRequest::decode(request.body.as_slice()).expect("metrics");
                for each in sent.resource_metrics {
                    resources.extend(each.resource);
                    metrics.extend(each.scope_metrics.into_iter().flat_map(|scope| scope.metrics));
                }
            }
            other => panic!("{other}"),
        }
        assert_eq!(resources.len(), 1);
        let of = texts(&resources[0].attributes);
        assert_eq!(
            (of["service.name"].as_str(), of["deployment.environment.name"].as_str()),
            ("tollgate", "test")
        );
    }
    (spans, metrics)
}

#[test]
fn a_collector_receives_a_span_of_each_request_and_the_metrics() {
    let collector = Receiver::start();
    let mut server = server(&collector);
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": "lite"})).ok();
    assert_eq!(usage(&mut client, "k-1", 1, true), 200);
    assert_eq!(usage(&mut client, "k-2", 1_000, false), 402);
    server.stop();
    let (spans, metrics) = received(&collector);
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["PUT /v1/orgs/{org}/plan", "POST /v1/usage", "POST /v1/usage"]);
    let (allowed, denied) = (&spans[1], &spans[2]);
    // Within the trace of the caller, where there is one.
    assert_eq!(
        (hexadecimal(&allowed.trace_id).as_str(), hexadecimal(&allowed.parent_span_id).as_str()),
        (TRACE, CALLER)
    );
    assert!(denied.parent_span_id.is_empty() && hexadecimal(&denied.trace_id) != TRACE, "{denied:?}");
    assert!(
        spans.iter().all(|span| span.kind == 2 && span.start_time_unix_nano <= span.end_time_unix_nano),
        "{spans:?}"
    );
    let attributes =
        [("http.request.method", "POST"), ("http.response.status_code", "200"), ("http.route", "/v1/usage")];
    assert_eq!(
        texts(&allowed.attributes),
        attributes.map(|(name, text)| (name.to_owned(), text.to_owned())).into()
    );
    assert_eq!(texts(&denied.attributes)["error.type"], "org_limit_reached");
    let requests = metrics.iter().find(|metric| metric.name == "tollgate_requests").expect("requests");
    let Some(Data::Sum(sum)) = &requests.data else { panic!("{requests:?}") };
    let of = |status: &str| {
        sum.data_points.iter().find(|point| {
            let labels = texts(&point.attributes);
            labels["route"] == "/v1/usage" && labels["status"] == status
        })
    };
    for status in ["200", "402"] {
        assert_eq!(of(status).and_then(|point| point.value), Some(Number::AsInt(1)), "{sum:?}");
    }
    let took = metrics.iter().find(|metric| metric.name == "tollgate_request_seconds").expect("times");
    let Some(Data::Histogram(histogram)) = &took.data else { panic!("{took:?}") };
    let point = histogram.data_points.iter().find(|point| texts(&point.attributes)["route"] == "/v1/usage");
    let point = point.expect("a point");
    assert_eq!((point.count, point.bucket_counts.iter().sum::<u64>()), (2, 2));
    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
}

#[test]
fn a_span_of_a_call_by_grpc_has_its_code() {
    let collector = Receiver::start();
    let mut server = server(&collector);
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": "lite"})).ok();
    // A message of no bytes: an argument that is invalid.
    let path = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
    let call = Ask::new("POST", path).header("content-type", "application/grpc").body([0; 5]);
    assert_eq!(client.ask(&call).status, 200);
    server.stop();
    let (spans, _) = received(&collector);
    let code = |span: &Span| texts(&span.attributes).get("rpc.grpc.status_code").cloned();
    let codes: Vec<_> = spans.iter().map(code).collect();
    assert_eq!(codes, [None, Some("3".to_owned())]);
}

#[test]
fn webhooks_carry_on_the_trace_of_the_usage_that_caused_them() {
    let (collector, hook) = (Receiver::start(), Receiver::start());
    let mut server = server(&collector);
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": "lite"})).ok();
    channel(&mut client, json!({"name": "hook", "kind": "webhook", "url": hook.url("/in")}));
    // Four fifths of 20 are used: a notice.
    assert_eq!(usage(&mut client, "k-1", 16, true), 200);
    let carried = hook.next().header("traceparent").to_owned();
    server.stop();
    let (spans, _) = received(&collector);
    assert_eq!(carried, carried_on(&spans, "POST /v1/usage"));
}

#[test]
fn webhooks_carry_on_the_traces_of_refusals_and_top_ups() {
    let (collector, hook) = (Receiver::start(), Receiver::start());
    let mut server = server(&collector);
    let mut client = server.client();
    for org in ["acme", "globex"] {
        client.put(&format!("/v1/orgs/{org}/plan"), json!({"plan": "lite"})).ok();
    }
    channel(&mut client, json!({"name": "hook", "kind": "webhook", "url": hook.url("/in")}));
    let mut heard = Vec::new();
    let mut hear = |status: u16, wanted: u16, kind: &str| {
        assert_eq!(status, wanted, "{kind}");
        let received = hook.next();
        assert_eq!(received.json()["type"], format!("notice.{kind}"));
        heard.push(received.header("traceparent").to_owned());
    };
    // The same key as that of the usage: what is topped up under it is something else.
    let top_up = json!({"meter": "reports", "amount": 5, "key": "k-1"});
    hear(traced(&mut client, Ask::new("POST", "/v1/orgs/acme/top-ups").json(top_up)), 200, "top_up_granted");
    hear(usage(&mut client, "k-1", 1_000, true), 402, "first_denial");
    let hold = json!({"org": "globex", "meter": "reports", "key": "h-1", "quantity": 1_000, "user": "ann", "path": "a/b"});
    hear(traced(&mut client, Ask::new("POST", "/v1/holds").json(hold)), 402, "first_denial");
    server.stop();
    let (spans, _) = received(&collector);
    let names = ["POST /v1/orgs/{org}/top-ups", "POST /v1/usage", "POST /v1/holds"];
    assert_eq!(heard, names.map(|name| carried_on(&spans, name)));
}

#[test]
fn webhooks_carry_on_the_traces_of_refusals_by_the_compatible_apis() {
    let (collector, hook) = (Receiver::start(), Receiver::start());
    let mut server = server(&collector);
    let mut client = server.client();
    let mut catalog = String::new();
    let meters = ["reports", "tokens", "usd"];
    for id in meters {
        catalog += &format!("[[meters]]\nid = \"{id}\"\nname = \"{id}\"\nunit = \"{id}\"\n");
    }
    let nothing = meters.map(|id| format!("{{ meter = \"{id}\", amount = 0 }}")).join(", ");
    catalog += &format!("[[plans]]\nid = \"none\"\nname = \"None\"\nallowances = [{nothing}]\n");
    client.ask(&Ask::new("PUT", "/v1/catalog").toml(catalog)).ok();
    client.put("/v1/orgs/acme/plan", json!({"plan": "none"})).ok();
    channel(&mut client, json!({"name": "hook", "kind": "webhook", "url": hook.url("/in")}));
    let call = json!({
        "eventType": "beforeRequestHook", "requestType": "complete", "provider": "openai",
        "metadata": {"org": "acme", "_user": "ada", "estimate": "1"}, "request": {"json": {"model": "m"}},
    });
    let asks = [
        ("/use", json!({"org_id": "acme", "user_id": "ada", "report_id": "r-1"}), 403),
        ("/api/v1/token_used", json!({"userId": "acme", "traceId": "t-1", "costUsd": 1}), 403),
        ("/portkey/guardrail", call, 200),
    ];
    let mut heard = Vec::new();
    for (path, body, status) in &asks {
        let ask = Ask::new("POST", path).json(body.clone());
        assert_eq!(traced(&mut client, ask), *status, "{path}");
        let notice = hook.next();
        assert_eq!(notice.json()["type"], "notice.first_denial", "{path}");
        heard.push(notice.header("traceparent").to_owned());
    }
    server.stop();
    let (spans, _) = received(&collector);
    assert_eq!(heard, asks.map(|(path, ..)| carried_on(&spans, &format!("POST {path}"))));
}

#[test]
fn a_collector_that_is_not_there_holds_nothing_up() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port");
    let mut server = TestServer::with(|settings| {
        settings.otlp = Some(format!("http://{nobody}").parse().expect("an address"));
    });
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": "lite"})).ok();
    assert_eq!(usage(&mut client, "k-1", 1, true), 200);
    server.stop();
}

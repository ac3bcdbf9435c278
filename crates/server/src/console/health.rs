//! The numbers of `/metrics` that an operator looks at first.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use tollgate_api::{Code, Problem};
use tollgate_console::{HealthRow, HealthView, Section};
use tollgate_domain::Role;

use super::page;
use super::session::Visitor;
use crate::app::App;
use crate::extract::NoQuery;
use crate::metrics::Format;
use crate::native::system::unready;
use crate::reply::Failure;

/// What is shown of the server itself: metric, name, unit, meaning.
const SHOWN: [(&str, &str, Unit, &str); 5] = [
    ("tollgate_queue_depth", "Waiting", Unit::Count, "requests that wait for the writer"),
    ("process_resident_memory_bytes", "Memory", Unit::Bytes, "resident"),
    ("process_open_fds", "Open files", Unit::Count, "connections and files of the store"),
    ("process_cpu_seconds_total", "CPU", Unit::Seconds, "since the start"),
    ("process_threads", "Threads", Unit::Count, "of the server"),
];

#[derive(Clone, Copy)]
enum Unit {
    Count,
    Bytes,
    Seconds,
}

/// How the server is.
pub(crate) async fn show(State(app): State<App>, visitor: Visitor, _: NoQuery) -> Result<Response, Failure> {
    visitor.caller.require(Role::Read, None)?;
    let reason = unready(&app);
    let text = app.metrics.encode(app.engine.queue_depth(), Format::Classic).map_err(|error| {
        Failure::from(Problem::new(Code::Internal, "the metrics cannot be read")).caused_by(error.to_string())
    })?;
    let samples = samples(&text);
    let rows = SHOWN.iter().filter_map(|(metric, name, unit, says)| {
        let value = samples.iter().find(|sample| sample.name == *metric)?.value;
        Some(HealthRow { name, value: shown(value, *unit), says })
    });
    let view = HealthView {
        frame: visitor.frame(Section::Health, "Health"),
        ready: reason.is_none(),
        reason: reason.map(|reason| format!("It is not ready: {reason}.")),
        rows: rows.collect(),
        routes: routes(&samples),
    };
    page(StatusCode::OK, &view)
}

fn shown(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Count => format!("{value:.0}"),
        Unit::Bytes => format!("{:.1} MiB", value / 1_048_576.0),
        Unit::Seconds => format!("{value:.1} s"),
    }
}

/// A line of the metrics.
struct Sample<'a> {
    name: &'a str,
    labels: &'a str,
    value: f64,
}

impl<'a> Sample<'a> {
    fn label(&self, name: &str) -> Option<&'a str> {
        let (_, rest) = self.labels.split_once(&format!("{name}=\""))?;
        rest.split_once('"').map(|(value, _)| value)
    }
}

fn samples(text: &str) -> Vec<Sample<'_>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let read = |line: &'_ str| -> Option<(usize, usize, f64)> {
        let (before, value) = line.rsplit_once(' ')?;
        Some((before.find('{').unwrap_or(before.len()), before.len(), value.parse().ok()?))
    };
    let sample = |line| {
        let (name, end, value) = read(line)?;
        Some(Sample { name: line.get(..name)?, labels: line.get(name..end)?, value })
    };
    lines.filter_map(sample).collect()
}

/// The requests by route: how many, of them failed, and the times of the middle and of all but a hundredth. The busiest
/// come first.
fn routes(samples: &[Sample<'_>]) -> Vec<(String, u64, u64, String, String)> {
    let mut counts: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for (route, all, failed) in samples.iter().filter_map(counted) {
        let sums = counts.entry(route).or_default();
        *sums = (sums.0 + all, sums.1 + failed);
    }
    let mut rows: Vec<_> = counts
        .into_iter()
        .map(|(route, (all, failed))| {
            let [half, most] = [0.5, 0.99].map(|share| quantile(samples, &route, share));
            (route, count(all), count(failed), half, most)
        })
        .collect();
    rows.sort_by_key(|(_, all, ..)| std::cmp::Reverse(*all));
    rows
}

/// The route of a sample, how many requests it tells of, and how many failures. A call by gRPC is a request that was answered
/// with status 200, whatever its code.
fn counted(sample: &Sample<'_>) -> Option<(String, f64, f64)> {
    let failures = |has_failed| if has_failed { sample.value } else { 0.0 };
    match sample.name {
        "tollgate_requests_total" => {
            let failed = failures(sample.label("status")?.starts_with('5'));
            Some((sample.label("route")?.to_owned(), sample.value, failed))
        }
        "grpc_server_handled_total" => {
            let route = format!("/{}/{}", sample.label("grpc_service")?, sample.label("grpc_method")?);
            Some((route, 0.0, failures(sample.label("grpc_code")? != "OK")))
        }
        _ => None,
    }
}

fn count(value: f64) -> u64 {
    format!("{value:.0}").parse().unwrap_or_default()
}

/// The edge of the histogram's bucket within which a share of a route's requests was answered.
fn quantile(samples: &[Sample<'_>], route: &str, share: f64) -> String {
    let buckets = samples.iter().filter(|sample| {
        sample.name == "tollgate_request_seconds_bucket" && sample.label("route") == Some(route)
    });
    let edges: Vec<(&str, f64)> =
        buckets.filter_map(|sample| Some((sample.label("le")?, sample.value))).collect();
    let all = edges.last().map_or(0.0, |(_, count)| *count);
    let edge = edges.iter().find(|(_, count)| *count >= share * all).map(|(edge, _)| *edge);
    match edge.and_then(|edge| edge.parse::<f64>().ok()).filter(|edge| edge.is_finite()) {
        Some(seconds) => format!("{:.1} ms", seconds * 1_000.0),
        None => "longer".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_metrics_are_read_by_route() {
        let text = "# HELP x y\nprocess_threads 7\n\
            tollgate_requests_total{route=\"/v1/usage\",status=\"200\"} 98\n\
            tollgate_requests_total{route=\"/v1/usage\",status=\"503\"} 2\n\
            tollgate_requests_total{route=\"/ready\",status=\"200\"} 1\n\
            tollgate_requests_total{route=\"/x.Y/Z\",status=\"200\"} 7\n\
            grpc_server_handled_total{grpc_type=\"unary\",grpc_service=\"x.Y\",grpc_method=\"Z\",grpc_code=\"OK\"} 4\n\
            grpc_server_handled_total{grpc_type=\"unary\",grpc_service=\"x.Y\",grpc_method=\"Z\",grpc_code=\"NotFound\"} 2\n\
            grpc_server_handled_total{grpc_type=\"unary\",grpc_service=\"x.Y\",grpc_method=\"Z\",grpc_code=\"Internal\"} 1\n\
            tollgate_request_seconds_bucket{le=\"0.0001\",route=\"/v1/usage\"} 60\n\
            tollgate_request_seconds_bucket{le=\"0.0002\",route=\"/v1/usage\"} 99\n\
            tollgate_request_seconds_bucket{le=\"+Inf\",route=\"/v1/usage\"} 100\n";
        let samples = samples(text);
        let rows = routes(&samples);
        let first = ("/v1/usage".to_owned(), 100, 2, "0.1 ms".to_owned(), "0.2 ms".to_owned());
        assert_eq!(rows[0], first);
        // A call by gRPC that failed was answered with status 200.
        assert_eq!((rows[1].0.as_str(), rows[1].1, rows[1].2), ("/x.Y/Z", 7, 3));
        assert_eq!((rows[2].1, rows[2].3.as_str()), (1, "longer"));
        assert_eq!(rows.len(), 3);
        assert_eq!(samples[0].value.to_string(), "7");
    }
}

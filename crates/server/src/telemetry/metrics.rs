//! The metrics of `/metrics` as OTLP: read from the text that Prometheus gets, so that both say the same.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum,
};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use prost::Message;

use super::client::Sender;
use super::{headers_of, metrics_text};
use crate::app::App;

/// How often metrics are sent, unless a variable says otherwise, in milliseconds.
const INTERVAL: Duration = Duration::from_mins(1);
const INTERVAL_VARIABLE: &str = "OTEL_METRIC_EXPORT_INTERVAL";

/// Sends metrics.
pub(super) struct MetricsExport {
    pub(super) interval: Duration,
    sender: Sender,
    url: String,
    headers: HeaderMap,
    resource: Vec<KeyValue>,
    /// When counting began.
    since: u64,
}

impl MetricsExport {
    pub(super) fn new(
        sender: Sender,
        url: String,
        resource: &opentelemetry_sdk::Resource,
    ) -> Result<Self, String> {
        let interval = match std::env::var(INTERVAL_VARIABLE) {
            Err(_) => INTERVAL,
            Ok(text) => {
                let millis = text.parse().ok().filter(|millis| *millis > 0).map(Duration::from_millis);
                millis.ok_or_else(|| {
                    format!("{INTERVAL_VARIABLE} is '{text}': expected milliseconds, at least 1")
                })?
            }
        };
        let said = std::env::var("OTEL_EXPORTER_OTLP_METRICS_HEADERS")
            .or_else(|_| std::env::var("OTEL_EXPORTER_OTLP_HEADERS"));
        let mut headers = headers_of(&said.unwrap_or_default());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let resource = ResourceAttributesWithSchema::from(resource).attributes.0;
        Ok(Self { interval, sender, url, headers, resource, since: nanos_now() })
    }

    /// Sends the values of now.
    pub(super) async fn send(&self, app: &App) -> Result<(), String> {
        let metrics = Reader { since: self.since, now: nanos_now() }.read(&metrics_text(app)?);
        let request = ExportMetricsServiceRequest { resource_metrics: vec![self.of_resource(metrics)] };
        let (mut parts, ()) =
            Request::post(&self.url).body(()).map_err(|error| error.to_string())?.into_parts();
        parts.headers.extend(self.headers.clone());
        let request = Request::from_parts(parts, Bytes::from(request.encode_to_vec()));
        let sender = self.sender.clone();
        let sent = tokio::task::spawn_blocking(move || sender.send(request)).await;
        let reply = sent.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        match reply.status().is_success() {
            true => Ok(()),
            false => Err(format!("the collector answered {}", reply.status())),
        }
    }

    fn of_resource(&self, metrics: Vec<Metric>) -> ResourceMetrics {
        let scope = InstrumentationScope {
            name: "tollgate".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let resource = opentelemetry_proto::tonic::resource::v1::Resource {
            attributes: self.resource.clone(),
            ..Default::default()
        };
        let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, schema_url: String::new() }];
        ResourceMetrics { resource: Some(resource), scope_metrics, schema_url: String::new() }
    }
}

/// The time of what is measured is the collector's business: no decision goes by it.
fn nanos_now() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "no decision goes by it")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Reads OpenMetrics text as the encoder of `prometheus-client` makes it: HELP, TYPE, perhaps UNIT, then the samples.
struct Reader {
    since: u64,
    now: u64,
}

/// A metric as its description says, and its samples.
#[derive(Default)]
struct Family {
    name: String,
    help: String,
    kind: String,
    unit: String,
    samples: Vec<Sample>,
}

/// A line with a value.
struct Sample {
    /// What its name has after that of the metric.
    suffix: String,
    labels: Vec<(String, String)>,
    value: String,
}

impl Reader {
    fn read(&self, text: &str) -> Vec<Metric> {
        let mut families: Vec<Family> = Vec::new();
        for line in text.lines() {
            if let Some((name, help)) = described(line, "# HELP ") {
                families.push(Family { name: name.to_owned(), help: help.to_owned(), ..Family::default() });
            }
            let Some(family) = families.last_mut() else { continue };
            if let Some((_, kind)) = described(line, "# TYPE ") {
                family.kind = kind.to_owned();
            } else if let Some((_, unit)) = described(line, "# UNIT ") {
                family.unit = unit.to_owned();
            } else if let Some(sample) = Sample::read(line, &family.name) {
                family.samples.push(sample);
            }
        }
        families
            .into_iter()
            .filter(|family| !family.samples.is_empty())
            .map(|family| self.metric(family))
            .collect()
    }

    fn metric(&self, family: Family) -> Metric {
        let cumulative = AggregationTemporality::Cumulative.into();
        let data = match family.kind.as_str() {
            "histogram" => Data::Histogram(Histogram {
                data_points: self.histograms(&family.samples),
                aggregation_temporality: cumulative,
            }),
            "counter" => Data::Sum(Sum {
                data_points: self.numbers(&family.samples),
                aggregation_temporality: cumulative,
                is_monotonic: true,
            }),
            _ => Data::Gauge(Gauge { data_points: self.numbers(&family.samples) }),
        };
        let unit = match family.unit.as_str() {
            "seconds" => "s".to_owned(),
            "bytes" => "By".to_owned(),
            _ => family.unit,
        };
        let Family { name, help: description, .. } = family;
        Metric { name, description, unit, data: Some(data), ..Metric::default() }
    }

    fn numbers(&self, samples: &[Sample]) -> Vec<NumberDataPoint> {
        let points = samples.iter().filter_map(|sample| {
            let value = match sample.value.parse() {
                Ok(whole) => Number::AsInt(whole),
                Err(_) => Number::AsDouble(sample.value.parse().ok()?),
            };
            Some(NumberDataPoint {
                attributes: attributes(&sample.labels),
                start_time_unix_nano: self.since,
                time_unix_nano: self.now,
                value: Some(value),
                ..NumberDataPoint::default()
            })
        });
        points.collect()
    }

    /// Puts together what the lines of each histogram say. Their buckets add up; those of OTLP do not.
    fn histograms(&self, samples: &[Sample]) -> Vec<HistogramDataPoint> {
        let mut points: BTreeMap<Vec<(String, String)>, HistogramDataPoint> = BTreeMap::new();
        for sample in samples {
            let (bounds, labels): (Vec<_>, Vec<_>) =
                sample.labels.iter().cloned().partition(|(name, _)| name == "le");
            let point = points.entry(labels).or_default();
            match sample.suffix.as_str() {
                "_sum" => point.sum = sample.value.parse().ok(),
                "_count" => point.count = sample.value.parse().unwrap_or(0),
                _ => {
                    let so_far: u64 = sample.value.parse().unwrap_or(0);
                    point.bucket_counts.push(so_far.saturating_sub(point.bucket_counts.iter().sum()));
                    let bound = bounds.first().and_then(|(_, bound)| bound.parse::<f64>().ok());
                    point.explicit_bounds.extend(bound.filter(|bound| bound.is_finite()));
                }
            }
        }
        let points = points.into_iter().map(|(labels, point)| HistogramDataPoint {
            attributes: attributes(&labels),
            start_time_unix_nano: self.since,
            time_unix_nano: self.now,
            ..point
        });
        points.collect()
    }
}

/// The name and the text of a line that describes a metric.
fn described<'a>(line: &'a str, word: &str) -> Option<(&'a str, &'a str)> {
    line.strip_prefix(word)?.split_once(' ')
}

impl Sample {
    /// Reads `name{label="value",…} 1`.
    fn read(line: &str, name: &str) -> Option<Self> {
        let rest = line.strip_prefix(name)?;
        let (suffix, rest) = rest.split_at(rest.find(['{', ' '])?);
        let mut labels = Vec::new();
        let mut rest = rest.strip_prefix('{').unwrap_or(rest);
        while let Some((label, after)) = rest.split_once("=\"") {
            let (value, after) = quoted(after)?;
            labels.push((label.trim_start_matches(',').to_owned(), value));
            rest = after;
        }
        let value = rest.trim_start_matches('}').trim().split(' ').next()?.to_owned();
        Some(Self { suffix: suffix.to_owned(), labels, value })
    }
}

/// A text up to its closing quote, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((place, character)) = characters.next() {
        match character {
            '"' => return Some((value, text.get(place + 1..)?)),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            other => value.push(other),
        }
    }
    None
}

fn attributes(labels: &[(String, String)]) -> Vec<KeyValue> {
    let attribute = |(name, value): &(String, String)| KeyValue {
        key: name.clone(),
        value: Some(AnyValue { value: Some(Value::StringValue(value.clone())) }),
        ..KeyValue::default()
    };
    labels.iter().map(attribute).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_what_their_text_says() {
        let text = r#"# HELP asked Requests.
# TYPE asked counter
asked_total{route="/a \"b\"\\",status="200"} 2
# HELP large How large.
# TYPE large gauge
# UNIT large bytes
large 7.5
# HELP took Time.
# TYPE took histogram
# UNIT took seconds
took_sum{route="/"} 0.75
took_count{route="/"} 6
took_bucket{le="0.1",route="/"} 1
took_bucket{le="0.5",route="/"} 4
took_bucket{le="+Inf",route="/"} 6
# HELP silent Nothing yet.
# TYPE silent counter
# EOF
"#;
        let metrics = Reader { since: 1, now: 2 }.read(text);
        let names: Vec<(&str, &str)> =
            metrics.iter().map(|metric| (metric.name.as_str(), metric.unit.as_str())).collect();
        assert_eq!(names, [("asked", ""), ("large", "By"), ("took", "s")]);
        let Some(Data::Sum(sum)) = &metrics[0].data else { panic!("{metrics:?}") };
        assert!(sum.is_monotonic && sum.aggregation_temporality == 2, "{sum:?}");
        let point = &sum.data_points[0];
        assert_eq!(
            (point.value, point.start_time_unix_nano, point.time_unix_nano),
            (Some(Number::AsInt(2)), 1, 2)
        );
        let labels = [("route", "/a \"b\"\\"), ("status", "200")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(point.attributes, attributes(&labels));
        let Some(Data::Gauge(gauge)) = &metrics[1].data else { panic!("{metrics:?}") };
        assert_eq!(gauge.data_points[0].value, Some(Number::AsDouble(7.5)));
        let Some(Data::Histogram(histogram)) = &metrics[2].data else { panic!("{metrics:?}") };
        let point = &histogram.data_points[0];
        assert_eq!((point.count, point.sum), (6, Some(0.75)));
        assert_eq!((&point.bucket_counts, &point.explicit_bounds), (&vec![1, 3, 2], &vec![0.1, 0.5]));
        assert_eq!(point.attributes, attributes(&[("route".to_owned(), "/".to_owned())]));
    }
}

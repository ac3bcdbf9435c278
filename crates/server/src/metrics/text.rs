//! The older text format of Prometheus (0.0.4), for programs that do not read OpenMetrics.
//!
//! Samples are the same in both. In the older format the description of a counter names it with its `_total`, an info is a
//! gauge, and there are neither units nor an end mark.

/// Rewrites OpenMetrics text as the encoder of `prometheus-client` makes it: HELP, then TYPE, then the samples.
pub(super) fn classic(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = "";
    for line in open_metrics.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        if let Some((_, said)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            help = said;
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                same => ("", same),
            };
            text.push_str(&format!("# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n"));
        } else {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_of_the_names_of_the_samples() {
        let open_metrics = "\
# HELP a_bytes How large.
# TYPE a_bytes gauge
# UNIT a_bytes bytes
a_bytes 7
# HELP asked Requests.
# TYPE asked counter
asked_total{route=\"/\"} 2
# HELP built What this is.
# TYPE built info
built_info{version=\"1\"} 1
# EOF
";
        let wanted = "\
# HELP a_bytes How large.
# TYPE a_bytes gauge
a_bytes 7
# HELP asked_total Requests.
# TYPE asked_total counter
asked_total{route=\"/\"} 2
# HELP built_info What this is.
# TYPE built_info gauge
built_info{version=\"1\"} 1
";
        assert_eq!(classic(open_metrics), wanted);
    }
}

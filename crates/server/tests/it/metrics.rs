//! `/metrics` as Prometheus reads it.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::client::{Ask, Client};
use crate::server::TestServer;
use crate::tools::tool;

/// What Prometheus sends.
const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

fn metrics(client: &mut Client, accept: Option<&str>) -> (String, String) {
    let ask = Ask::new("GET", "/metrics");
    let reply = client.ask(&accept.map_or(ask.clone(), |accept| ask.header("accept", accept)));
    assert_eq!((reply.status, reply.header("vary")), (200, Some("Accept")));
    (reply.header("content-type").unwrap_or_default().to_owned(), reply.text())
}

#[test]
fn promtool_finds_nothing_to_say() {
    let server = TestServer::start();
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": "lite"})).ok();
    client.post("/v1/usage", json!({"org": "acme", "meter": "reports", "quantity": 1, "key": "r-1"})).ok();
    client.get("/v1/orgs/nobody").is_problem(404, "unknown_org", Some("org"));
    let (_, text) = metrics(&mut client, None);
    let mut promtool = Command::new(tool("promtool").join("promtool"));
    let mut promtool = promtool
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs");
    promtool.stdin.take().expect("its input").write_all(text.as_bytes()).expect("it reads");
    let ended = promtool.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned();
    assert!(ended.status.success() && said.is_empty(), "{said}\n{text}");
}

#[test]
fn the_format_is_the_one_asked_for() {
    let server = TestServer::start();
    let mut client = server.client();
    client.get("/health").ok();
    for (accept, kind, described, ends) in [
        (None, "text/plain; version=0.0.4; charset=utf-8", "tollgate_requests_total", "\n"),
        (Some("*/*"), "text/plain; version=0.0.4; charset=utf-8", "tollgate_requests_total", "\n"),
        (
            Some(PROMETHEUS),
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            "tollgate_requests",
            "# EOF\n",
        ),
    ] {
        let (said, text) = metrics(&mut client, accept);
        assert_eq!(said, kind);
        assert!(text.contains(&format!("# TYPE {described} counter\n")) && text.ends_with(ends), "{text}");
        assert!(text.contains("tollgate_requests_total{route=\"/health\",status=\"200\"} 1"), "{text}");
        assert_eq!(text.contains("# EOF"), accept == Some(PROMETHEUS));
    }
}

#[test]
fn the_process_and_the_build_are_described() {
    let server = TestServer::start();
    let (_, text) = metrics(&mut server.client(), None);
    let value = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("there is no {name} in\n{text}"))
    };
    assert!(value("process_cpu_seconds_total") > 0.0);
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
    assert!(value("process_open_fds") > 3.0 && value("process_open_fds") <= value("process_max_fds"));
    let file = std::fs::metadata("/proc/self").and_then(|process| process.modified()).expect("this process");
    let started = file.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs_f64();
    assert!(
        (value("process_start_time_seconds") - started).abs() < 600.0,
        "not within ten minutes of {started}"
    );
    let build = format!("tollgate_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
    assert!(text.contains(&build), "{text}");
}

//! How the server is, and what it says of itself.

use std::process::Command;

use serde_json::json;

use crate::client::Ask;
use crate::server::TestServer;
use crate::tools::{program, run};

#[test]
fn health_and_ready() {
    let server = TestServer::start();
    let mut client = server.client();
    client.get("/health").is(
        200,
        json!({
            "status": "healthy", "time": "2026-11-02T10:00:00Z", "version": env!("CARGO_PKG_VERSION"), "config": "test"
        }),
    );
    let ready = client.get("/ready").ok();
    // What the server does unasked may be in the queue.
    assert!(ready["queue_depth"].as_u64().is_some_and(|depth| depth <= 4), "{ready}");
    assert_eq!(ready["ready"], json!(true), "{ready}");
}

/// The value of a metric with its labels.
fn metric(text: &str, name: &str) -> f64 {
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    let line = line.unwrap_or_else(|| panic!("there is no {name} in\n{text}"));
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
}

#[test]
fn metrics_count_what_happened() {
    let server = TestServer::start();
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": "lite"})).ok();
    let usage = |quantity: i64, key: &str| json!({"org": "acme", "meter": "reports", "quantity": quantity, "key": key});
    for _ in 0..3 {
        client.post("/v1/usage", usage(20, "r-1")).ok();
    }
    client.post("/v1/usage", usage(1, "r-2")).is_problem(402, "org_limit_reached", None);
    client.get("/v1/orgs/nobody").is_problem(404, "unknown_org", Some("org"));
    client.get("/v1/orgs/somebody/else/entirely").is_problem(404, "unknown_route", None);
    let reply = client.get("/metrics");
    assert_eq!(reply.status, 200);
    let text = reply.text();
    for (name, wanted) in [
        ("tollgate_requests_total{route=\"/v1/usage\",status=\"200\"}", 3.0),
        ("tollgate_requests_total{route=\"/v1/usage\",status=\"402\"}", 1.0),
        ("tollgate_requests_total{route=\"/v1/orgs/{org}\",status=\"404\"}", 1.0),
        ("tollgate_requests_total{route=\"unknown\",status=\"404\"}", 1.0),
        ("tollgate_decisions_total{outcome=\"allowed\"}", 1.0),
        ("tollgate_decisions_total{outcome=\"replayed\"}", 2.0),
        ("tollgate_decisions_total{outcome=\"org_limit_reached\"}", 1.0),
        ("tollgate_request_seconds_count{route=\"/v1/usage\"}", 4.0),
        ("tollgate_queue_depth", 0.0),
        ("tollgate_overloads_total", 0.0),
        ("tollgate_conflicts_total", 0.0),
        ("tollgate_store_checkpoint_failures_total", 0.0),
    ] {
        let found = metric(&text, name);
        assert!((found - wanted).abs() < f64::EPSILON, "{name}: {found} instead of {wanted}");
    }
    for name in
        ["tollgate_commit_seconds_count", "tollgate_store_commits_total", "tollgate_store_ledger_bytes"]
    {
        assert!(metric(&text, name) >= 1.0, "{name}");
    }
    assert!(!text.contains("nobody") && !text.contains("acme"), "no ids among the labels");
}

/// In a real browser: the policy of the page lets the renderer work, and nothing is asked of anybody else.
#[test]
fn the_document_is_browsed_in_chromium_without_fetching_anything_from_elsewhere() {
    let server = TestServer::start();
    let mut client = server.client();
    let reply = client.get("/docs");
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = reply.header("content-security-policy").unwrap_or_default();
    assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self';"), "{policy}");
    assert!(!reply.text().contains("src=\"http"), "{}", reply.text());

    let script = "/docs/redoc-2.5.4.js";
    let plain = client.get(script);
    let packed = client.ask(&Ask::new("GET", script).header("accept-encoding", "gzip"));
    assert_eq!((packed.header("content-encoding"), plain.header("content-encoding")), (Some("gzip"), None));
    assert!(packed.body.len() < 400_000 && plain.text().contains("ReDoc"), "{}", packed.body.len());

    let profile = tempfile::tempdir().expect("a temporary folder");
    let mut browser = Command::new(program("chromium"));
    browser
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--disable-dev-shm-usage", "--virtual-time-budget=20000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("http://{}/docs", server.address()));
    let page = run(browser);
    // Groups, an operation of each API, a sample, a nested type that can be opened.
    for text in [
        "Request samples",
        "Response samples",
        "/v1/usage",
        "/api/v1/events",
        "report-1",
        "additional property",
    ] {
        assert!(page.contains(text), "{text} is not shown: {page}");
    }
}

#[test]
fn the_root_leads_a_browser_to_the_document_and_tells_programs_that_all_is_well() {
    let server =
        TestServer::with(|settings| settings.api_key = Some(tollgate_server::Secret("admin".to_owned())));
    let mut client = server.client();
    let health = json!({"status": "success", "message": "This is Credit Service API."});
    client.get("/").is(200, health.clone());
    client.ask(&Ask::new("GET", "/").header("accept", "*/*")).is(200, health);
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let reply = client.ask(&Ask::new("GET", "/").header("accept", browser));
    assert_eq!(
        (reply.status, reply.header("location"), reply.header("vary")),
        (302, Some("/docs"), Some("Accept"))
    );
}

#[test]
fn answers_end_with_a_line_break() {
    let server = TestServer::start();
    let mut client = server.client();
    for (path, status) in
        [("/health", 200), ("/", 200), ("/v1/orgs", 200), ("/v1/orgs/nobody", 404), ("/openapi.json", 200)]
    {
        let reply = client.get(path);
        assert_eq!(reply.status, status, "{path}");
        assert!(
            reply.text().ends_with("}\n") && !reply.text().ends_with("\n\n"),
            "{path}: {:?}",
            reply.text()
        );
    }
    let words = client.post("/pulses", json!({})).text();
    assert_eq!(words, "\"Invalid input\"\n");
}

#[test]
fn times_are_told_in_microseconds() {
    let server = TestServer::start();
    server.at("2026-11-02T10:00:00.123456789Z");
    let mut client = server.client();
    assert_eq!(client.get("/health").ok()["time"], "2026-11-02T10:00:00.123456Z");
    let org = client.put("/v1/orgs/acme", json!({})).ok();
    assert_eq!(org["created_at"], "2026-11-02T10:00:00.123456Z");
    client.put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
    let top_up = json!({"meter": "reports", "amount": 1, "expires_at": "2026-12-01T00:00:00.987654321Z"});
    let reply = client.post("/v1/orgs/acme/top-ups", top_up).ok();
    assert_eq!(reply["expires_at"], "2026-12-01T00:00:00.987654Z");
    let usage =
        json!({"org": "acme", "meter": "reports", "key": "k", "time": "2026-11-02T09:59:59.999999999Z"});
    let entry = client.post("/v1/usage", usage).ok()["entry"].clone();
    let told = client.get(&format!("/v1/orgs/acme/ledger/{entry}")).ok();
    assert_eq!(told["time"], "2026-11-02T09:59:59.999999Z");
}

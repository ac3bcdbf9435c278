//! What web pages of other origins may make a browser send: nothing that counts, and nothing that tells.

use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tollgate_server::Secret;

use crate::attacker::Attacker;
use crate::client::{Ask, Client, Reply};
use crate::server::TestServer;
use crate::tools::program;

/// Every route that reads a body, with one that it would take.
fn with_bodies() -> Vec<(&'static str, &'static str, Value)> {
    let usage = json!({"org": "acme", "meter": "reports", "key": "k"});
    vec![
        ("POST", "/v1/usage", usage.clone()),
        ("POST", "/v1/usage/check", usage.clone()),
        ("POST", "/v1/usage/batch", json!([usage])),
        ("POST", "/v1/usage/reversals", json!({"org": "acme", "key": "k"})),
        ("PUT", "/v1/orgs/acme", json!({"name": "A name"})),
        ("PUT", "/v1/orgs/acme/plan", json!({"plan": "basic"})),
        ("PUT", "/v1/orgs/acme/limits", json!({"meter": "reports", "scope": "user", "amount": 5})),
        ("POST", "/v1/orgs/acme/top-ups", json!({"meter": "reports", "amount": 1})),
        ("POST", "/v1/orgs/acme/portal-links", json!({"expires_in": 60})),
        ("POST", "/v1/orgs/acme/bill/close", json!({"month": "2026-10"})),
        ("POST", "/v1/whatif", json!({"catalog": tollgate_domain::catalog::DEFAULT, "month": "2026-11"})),
        ("PUT", "/v1/catalog", json!({})),
        ("POST", "/v1/api-keys", json!({"name": "n", "role": "admin"})),
        ("POST", "/api/v1/events", json!({"id": "1", "source": "s", "type": "t", "subject": "acme"})),
        ("POST", "/api/v1/usage", json!({"customer_id": "acme", "resource_type": "gpu", "quantity": 1})),
        (
            "POST",
            "/pulses",
            json!({"tenant_id": "acme", "product_sku": "s", "use_unit": "u", "used_amount": 1}),
        ),
        ("POST", "/aggregates/commit", json!({})),
        ("POST", "/agreggates/commit", json!({})),
        ("POST", "/plan", json!({"org_id": "acme", "plan": "Basic"})),
        ("POST", "/limit", json!({"org_id": "acme", "limit": 5})),
        ("POST", "/use", json!({"org_id": "acme", "report_id": "r"})),
        ("POST", "/top-up", json!({"org_id": "acme", "count": 1})),
    ]
}

/// Whoever asks, in whatever words the API of the route has.
#[track_caller]
fn refused(reply: &Reply, status: u16, code: &str, place: &str) {
    assert_eq!(reply.status, status, "{place}: {}", reply.text());
    let found = reply.json();
    // The pulses API answers with a JSON string.
    let is_told = found["code"] == code || found == "Invalid input";
    assert!(is_told, "{place}: {found:#}");
}

#[track_caller]
fn nothing_happened(client: &mut Client) {
    assert_eq!(client.get("/v1/orgs").ok()["orgs"], json!([]));
    assert_eq!(client.get("/v1/api-keys").ok()["api_keys"], json!([]));
    assert_eq!(client.get("/v1/catalog").ok()["version"], 1);
}

#[test]
fn a_body_must_say_that_it_is_json() {
    let server = TestServer::start();
    let mut client = server.client();
    for (method, path, body) in with_bodies() {
        let body = body.to_string();
        let place = format!("{method} {path}");
        let untyped = Ask::new(method, path).untyped(body.clone());
        refused(&client.ask(&untyped), 415, "unsupported_media_type", &place);
        for kind in ["", "text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "*/*"]
        {
            let typed = Ask::new(method, path).header("content-type", kind).body(body.clone());
            refused(&client.ask(&typed), 415, "unsupported_media_type", &place);
        }
    }
    nothing_happened(&mut client);
}

#[test]
fn what_a_page_of_another_origin_sends_is_refused() {
    let key = "the-admin-key";
    for open in [true, false] {
        let server = TestServer::with(|settings| settings.api_key = (!open).then(|| Secret(key.to_owned())));
        let mut client = if open { server.client() } else { server.client().with_key(key) };
        for (method, path, body) in with_bodies() {
            for (name, value) in [
                ("origin", "https://evil.example"),
                ("origin", "null"),
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-site", "same-site"),
            ] {
                let reply = client.ask(&Ask::new(method, path).header(name, value).json(body.clone()));
                refused(&reply, 403, "foreign_origin", path);
            }
        }
        for path in ["/v1/orgs", "/v1/catalog", "/health", "/docs"] {
            let reply = client.ask(&Ask::new("GET", path).header("sec-fetch-site", "cross-site"));
            assert_eq!(reply.status, if open { 403 } else { 200 }, "{path}: {}", reply.text());
        }
        nothing_happened(&mut client);
    }
}

#[test]
fn a_server_without_keys_answers_to_the_names_of_loopback_only() {
    let server = TestServer::start();
    let mut client = server.client();
    for (host, status) in
        [("localhost", 200), ("127.0.0.1:80", 200), ("[::1]:80", 200), ("evil.example", 421)]
    {
        let reply = client.ask(&Ask::new("GET", "/v1/orgs").header("host", host));
        assert_eq!(reply.status, status, "{host}: {}", reply.text());
        let plan = Ask::new("PUT", "/v1/orgs/acme/plan").header("host", host).json(json!({"plan": "basic"}));
        assert_eq!(client.ask(&plan).status, status, "{host}");
    }
    client.ask(&Ask::new("GET", "/health").header("host", "evil.example")).is_problem(
        421,
        "unknown_host",
        Some("Host"),
    );
    // Once there is a key, the name by which a server is called is its operator's affair.
    let key = client.post("/v1/api-keys", json!({"name": "first", "role": "admin"})).json();
    let mut client = server.client().with_key(key["secret"].as_str().expect("a secret"));
    client.ask(&Ask::new("GET", "/v1/orgs").header("host", "gate.example")).ok();
}

/// A page in a real browser tries everything that pages may: it makes no key, counts nothing and reads nothing.
#[test]
fn a_page_in_chromium_changes_nothing_and_reads_nothing() {
    let server = TestServer::start();
    let attacker = Attacker::start(include_str!("attack.html"), server.address().port());
    let profile = tempfile::tempdir().expect("a temporary folder");
    let mut browser = Command::new(program("chromium"))
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--disable-dev-shm-usage", "--host-resolver-rules=MAP *.example 127.0.0.1"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("http://evil.example:{}/", attacker.port()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("chromium starts");
    let told = attacker.wait_for_report();
    let _ = browser.kill();
    browser.wait().expect("chromium ends");
    let attempts = told["attempts"].as_array().expect("what the page tried");
    assert!(attempts.len() >= 40, "{told:#}");
    for attempt in attempts {
        assert_eq!(attempt["read"], json!(null), "the page reads {attempt:#}");
    }
    let mut client = server.client();
    // What the page sent came, and was refused: without this, a page that sends nothing would pass.
    let metrics = client.get("/metrics").text();
    let answers = |status: &str| -> u64 {
        let lines = metrics.lines().filter(|line| line.contains("requests_total{"));
        let lines = lines.filter(|line| line.contains(&format!("status=\"{status}")));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    };
    assert_eq!(answers("2"), 0, "{metrics}");
    assert!(answers("403") >= 20 && answers("421") >= 10, "{metrics}");
    nothing_happened(&mut client);
}

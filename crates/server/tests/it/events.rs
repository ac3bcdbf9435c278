//! The events API: `POST /api/v1/events`.

use serde_json::{Value, json};

use crate::client::{Ask, Client};
use crate::server::TestServer;

pub(crate) const MAPPINGS: &str = r#"
[[meters]]
id = "tokens"
name = "Tokens"
unit = "token"
[[meters]]
id = "prompts"
name = "Prompts"
unit = "prompt"
[[events]]
type = "prompt"
meter = "tokens"
quantity = "$.usage.tokens"
user = "$.user"
properties = { model = "$.model" }
[[events]]
type = "prompt"
meter = "prompts"
[[events]]
type = "page"
meter = "prompts"
"#;

fn mapped(first: &str) -> (TestServer, Client) {
    let server = TestServer::start();
    let mut client = server.client();
    let catalog = format!("{first}\n{}\n{MAPPINGS}", tollgate_domain::catalog::DEFAULT);
    client.ask(&Ask::new("PUT", "/v1/catalog").toml(catalog)).ok();
    client.put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
    (server, client)
}

fn prompt(id: &str, tokens: Value) -> Value {
    json!({
        "id": id, "source": "gateway", "specversion": "1.0", "type": "prompt", "subject": "acme",
        "time": null, "datacontenttype": "application/json", "extension": "x",
        "data": {"usage": {"tokens": tokens}, "user": "ada", "model": "large"}
    })
}

fn events(kind: &str, body: impl Into<Vec<u8>>) -> Ask {
    Ask::new("POST", "/api/v1/events").header("content-type", kind).body(body)
}

pub(crate) fn counted(client: &mut Client, meter: &str) -> Value {
    let series = client.get(&format!("/v1/orgs/acme/usage?meter={meter}&window=month")).ok();
    series["points"].as_array().expect("points").last().map_or(json!(0), |point| point["quantity"].clone())
}

#[test]
fn events_of_every_form_count_once() {
    let (_server, mut client) = mapped("");
    let one = prompt("e-1", json!(120)).to_string();
    let many =
        json!([prompt("e-1", json!(120)), prompt("e-2", json!("0.5")), prompt("e-3", json!(0))]).to_string();
    for (kind, body) in [
        ("application/cloudevents+json", &one),
        ("application/cloudevents+json; charset=utf-8", &one),
        ("application/json", &one),
        ("application/cloudevents-batch+json", &many),
        ("application/json", &many),
        ("application/cloudevents-batch+json", &"[]".to_owned()),
    ] {
        let reply = client.ask(&events(kind, body.as_bytes()));
        assert_eq!((reply.status, reply.text().as_str()), (204, ""), "{kind}");
    }
    let binary = events("application/json", r#"{"usage": {"tokens": 7}}"#)
        .header("ce-specversion", "1.0")
        .header("ce-id", "e%204")
        .header("ce-source", "gateway")
        .header("ce-type", "prompt")
        .header("ce-subject", "acme")
        .header("ce-time", "2026-11-02T09:00:00Z");
    for _ in 0..2 {
        let reply = client.ask(&binary);
        assert_eq!(reply.status, 204, "{}", reply.text());
    }
    assert_eq!(counted(&mut client, "tokens"), json!(127.5));
    // An event that says nothing of tokens is a prompt all the same.
    assert_eq!(counted(&mut client, "prompts"), json!(4));
    let ledger = client.get("/v1/orgs/acme/ledger?order=oldest").ok();
    let first =
        ledger["entries"].as_array().expect("entries").iter().find(|entry| entry["meter"] == "tokens");
    let first = first.expect("tokens were counted");
    assert_eq!(
        (&first["user"], &first["properties"]["model"]),
        (&json!("ada"), &json!("large")),
        "{first:#}"
    );
    assert_eq!(first["key"], "gateway e-1 tokens");
    // What is known is taken, whatever is in it now: its sender has had its answer.
    let changed = prompt("e-1", json!(999)).to_string();
    assert_eq!(client.ask(&events("application/json", changed)).status, 204);
    assert_eq!(counted(&mut client, "tokens"), json!(127.5));
}

#[test]
fn events_that_are_wrong_are_refused_before_any_is_counted() {
    let (_server, mut client) = mapped("");
    let with = |field: &str, value: Value| {
        let mut event = prompt("e-1", json!(1));
        event[field] = value;
        event
    };
    for (event, code, field) in [
        (with("id", json!(null)), "missing_field", "id"),
        (with("source", json!("")), "missing_field", "source"),
        (with("subject", json!(null)), "missing_field", "subject"),
        (with("subject", json!(7)), "invalid_field", "subject"),
        (with("type", json!("unheard-of")), "invalid_field", "type"),
        (with("specversion", json!("0.3")), "invalid_field", "specversion"),
        (with("time", json!("2026-09-01T00:00:00Z")), "invalid_field", "time"),
        (with("data", json!({})), "missing_field", "data.usage.tokens"),
        (with("data", json!(null)), "missing_field", "data.usage.tokens"),
        (prompt("e-1", json!(-1)), "invalid_field", "data.usage.tokens"),
        (prompt("e-1", json!("many")), "invalid_field", "data.usage.tokens"),
        (with("data", json!({"usage": {"tokens": 1}, "model": []})), "invalid_field", "data.model"),
    ] {
        let body = json!([prompt("good", json!(1)), event]).to_string();
        let reply = client.ask(&events("application/cloudevents-batch+json", body));
        reply.is_problem(400, code, Some(&format!("[1].{field}")));
    }
    assert_eq!(counted(&mut client, "tokens"), json!(0));
    // Who it is about is known only when it is counted.
    let body = json!([prompt("good", json!(1)), with("subject", json!("nobody"))]).to_string();
    let reply = client.ask(&events("application/json", body));
    reply.is_problem(400, "unknown_org", Some("[1].subject"));
    assert_eq!(counted(&mut client, "tokens"), json!(1));
    let unreadable = client.ask(&events("application/json", "{\"id\":"));
    assert_eq!(unreadable.status, 400, "{}", unreadable.text());
    client.ask(&events("text/plain", "x")).is_problem(415, "unsupported_media_type", Some("Content-Type"));
}

#[test]
fn unknown_types_are_ignored_if_the_catalog_says_so() {
    let (_server, mut client) = mapped("unknown_events = \"ignore\"");
    let mut event = prompt("e-1", json!(1));
    event["type"] = json!("unheard-of");
    let reply = client.ask(&events("application/json", event.to_string()));
    assert_eq!(reply.status, 204, "{}", reply.text());
    let ledger = client.get("/v1/orgs/acme/ledger").ok();
    assert_eq!(ledger["entries"].as_array().map(Vec::len), Some(1), "{ledger:#}");
}

/// What the OpenMeter callback of LiteLLM sends after each call of a model: one event, whose subject is the user of the
/// call, and whose cost is a number as Python writes it.
#[test]
fn events_of_litellm_are_counted() {
    let server = TestServer::start();
    let mut client = server.client();
    let mappings = r#"
        [[meters]]
        id = "tokens"
        name = "Tokens"
        unit = "token"
        properties = ["model"]
        [[meters]]
        id = "cost"
        name = "Cost of models"
        unit = "USD"
        [[events]]
        type = "litellm_tokens"
        meter = "tokens"
        quantity = "$.total_tokens"
        properties = { model = "$.model" }
        [[events]]
        type = "litellm_tokens"
        meter = "cost"
        quantity = "$.cost"
    "#;
    let catalog = format!("{}\n{mappings}", tollgate_domain::catalog::DEFAULT);
    client.ask(&Ask::new("PUT", "/v1/catalog").toml(catalog)).ok();
    client.put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
    for (id, cost, total, tokens, costs) in [
        ("chatcmpl-1", "0.000135", 24, 24, 0.000_135),
        ("chatcmpl-2", "2.4e-05", 6, 30, 0.000_159),
        ("chatcmpl-2", "2.4e-05", 6, 30, 0.000_159),
        ("chatcmpl-3", "0", 0, 30, 0.000_159),
    ] {
        let body = format!(
            r#"{{"specversion": "1.0", "type": "litellm_tokens", "id": "{id}", "time": "2026-11-02 09:59:59.123456+00:00",
                "subject": "acme", "source": "litellm-proxy", "data": {{"model": "gpt-4o-mini", "cost": {cost},
                "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": {total}}}}}"#
        );
        let reply = client.ask(&events("application/cloudevents+json", body));
        assert_eq!(reply.status, 204, "{id}: {}", reply.text());
        assert_eq!(counted(&mut client, "tokens"), json!(tokens), "{id}");
        assert_eq!(counted(&mut client, "cost"), json!(costs), "{id}");
    }
}

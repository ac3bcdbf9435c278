//! What LiteLLM logs of calls, as its generic API callback posts it.

use serde_json::{Value, json};
use tollgate_server::Secret;

use crate::client::{Ask, Client, Reply};
use crate::server::TestServer;

const CATALOG: &str = r#"
[[meters]]
id = "usd"
name = "US dollars"
unit = "USD"

[[plans]]
id = "budget"
name = "Budget"
allowances = [{ meter = "usd", amount = 1 }]
"#;

const PATH: &str = "/litellm/calls";

fn server(more: &str) -> (TestServer, Client) {
    let server = TestServer::with(|settings| settings.api_key = Some(Secret("admin".to_owned())));
    let mut client = server.client().with_key("admin");
    client.ask(&Ask::new("PUT", "/v1/catalog").toml(format!("{more}{CATALOG}"))).ok();
    client.put("/v1/orgs/acme/plan", json!({"plan": "budget"})).ok();
    (server, client)
}

/// A call that ended a second before the clock of the test.
fn call(id: &str, cost: Value) -> Value {
    json!({
        "id": id, "trace_id": "t", "call_type": "acompletion", "stream": false, "status": "success",
        "response_cost": cost, "response_cost_failure_debug_info": null, "custom_llm_provider": "openai",
        "prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30, "cache_hit": null,
        "startTime": 1_793_613_598.25, "endTime": 1_793_613_599.123_456, "model": "gpt-4o", "end_user": "",
        "metadata": {"user_api_key_org_id": null, "user_api_key_team_id": "acme", "user_api_key_user_id": "ada"},
        "messages": [{"role": "user", "content": "a secret"}], "response": {"choices": []}, "error_str": null
    })
}

fn set(mut call: Value, member: &str, value: Value) -> Value {
    *call.pointer_mut(member).expect("a member") = value;
    call
}

fn post(client: &mut Client, body: &Value) -> Reply {
    client.post(PATH, body.clone())
}

fn used(client: &mut Client) -> Value {
    client.get("/v1/orgs/acme/balance").ok()["meters"]["usd"]["lifetime"].clone()
}

#[test]
fn calls_are_counted_once_by_their_ids_with_what_they_cost() {
    let (_server, mut client) = server("");
    // The noise of a float is not counted, and what is there is rounded up once.
    let batch = json!([
        call("c-1", json!(0.150_000_000_000_000_02)),
        call("c-2", json!(2.5e-10)),
        call("c-3", json!("0.25")),
        set(call("c-4", json!(0.5)), "/status", json!("failure")),
        set(call("c-5", json!(0.5)), "/cache_hit", json!(true)),
        call("c-6", json!(0)),
    ]);
    for _ in 0..2 {
        assert_eq!(post(&mut client, &batch).status, 204);
        assert_eq!(used(&mut client), json!(0.400_000_001));
    }
    // More than the credit is recorded, too: the calls were made.
    assert_eq!(post(&mut client, &json!([call("c-7", json!(3))])).status, 204);
    assert_eq!(used(&mut client), json!(3.400_000_001));
    let entry = client.get("/v1/orgs/acme/ledger/2").ok();
    let kept = json!({"model": "gpt-4o", "provider": "openai", "call_type": "acompletion", "prompt_tokens": "10",
        "completion_tokens": "20"});
    assert_eq!((&entry["properties"], &entry["user"]), (&kept, &json!("ada")), "{entry:#}");
    assert_eq!(entry["time"], "2026-11-02T09:59:59.123456Z", "{entry:#}");
    let all = client.get("/v1/orgs/acme/ledger").text();
    assert!(!all.contains("a secret"), "{all}");
    // Two lines are two calls, and one alone is one.
    let lines = format!("{}\n{}\n", call("c-8", json!(1)), call("c-9", json!(1)));
    assert_eq!(client.ask(&Ask::new("POST", PATH).body(lines)).status, 204);
    assert_eq!(post(&mut client, &call("c-10", json!(1))).status, 204);
    assert_eq!(used(&mut client), json!(6.400_000_001));
}

#[test]
fn a_call_without_a_cost_is_told_and_the_others_are_counted() {
    let (_server, mut client) = server("");
    let unknown = set(call("c-2", json!(0)), "/response_cost_failure_debug_info", json!({"model": "huge"}));
    let batch = json!([call("c-1", json!(0.5)), unknown, call("c-3", Value::Null), call("c-4", json!(0.25))]);
    let refused = post(&mut client, &batch);
    refused.is_problem(400, "no_cost", Some("[1].response_cost"));
    assert!(refused.text().contains("2 calls were refused, 2 were counted"), "{}", refused.text());
    assert_eq!(used(&mut client), json!(0.75));
    let other = call("c-1", json!(0.6));
    post(&mut client, &json!([other])).is_problem(400, "key_reused", Some("[0].id"));
    for (wrong, code, field) in [
        (set(call("x", json!(1)), "/id", Value::Null), "missing_field", "[0].id"),
        (call("x", json!(-1)), "invalid_field", "[0].response_cost"),
        (call("x", json!("a lot")), "invalid_field", "[0].response_cost"),
        (call("x", json!(1e20)), "invalid_field", "[0].response_cost"),
        (set(call("x", json!(1)), "/endTime", json!("noon")), "invalid_field", "[0].endTime"),
        (set(call("x", json!(1)), "/endTime", json!(0)), "invalid_field", "[0].endTime"),
        (
            set(call("x", json!(1)), "/metadata", Value::Null),
            "missing_field",
            "[0].metadata.user_api_key_team_id",
        ),
        (
            set(call("x", json!(1)), "/metadata/user_api_key_team_id", json!("nobody")),
            "unknown_org",
            "[0].metadata.user_api_key_team_id",
        ),
        (
            set(call("x", json!(1)), "/metadata/user_api_key_org_id", json!("nobody")),
            "unknown_org",
            "[0].metadata.user_api_key_org_id",
        ),
        (
            set(call("x", json!(1)), "/metadata/user_api_key_org_id", json!("x".repeat(200))),
            "invalid_field",
            "[0].metadata.user_api_key_org_id",
        ),
        (set(call("x", json!(1)), "/metadata", json!(["acme", null, null])), "invalid_field", "[0].metadata"),
        (set(call("x", json!(1)), "/metadata", json!(7)), "invalid_field", "[0].metadata"),
        (set(call("x", json!(1)), "/id", json!(7)), "invalid_field", "[0].id"),
    ] {
        post(&mut client, &json!([wrong])).is_problem(400, code, Some(field));
    }
    assert_eq!(used(&mut client), json!(0.75));
}

#[test]
fn whose_a_call_is_is_said_by_its_key_or_by_the_catalog() {
    let (server, mut client) = server("[compat.litellm]\norg = \"acme\"\nmeter = \"usd\"\n");
    client.put("/v1/orgs/globex/plan", json!({"plan": "budget"})).ok();
    let nobody =
        json!({"user_api_key_org_id": null, "user_api_key_team_id": "", "user_api_key_user_id": null});
    let batch = json!([
        set(call("c-1", json!(0.5)), "/metadata", nobody),
        set(call("c-2", json!(0.25)), "/metadata/user_api_key_org_id", json!("globex")),
    ]);
    assert_eq!(post(&mut client, &batch).status, 204);
    assert_eq!(used(&mut client), json!(0.5));
    let globex = client.get("/v1/orgs/globex/balance").ok();
    assert_eq!(globex["meters"]["usd"]["lifetime"], json!(0.25));
    // A key that is bound to one organization counts for no other.
    let made = client.post("/v1/api-keys", json!({"name": "proxy", "role": "ingest", "org": "acme"})).json();
    let mut bound = server.client().with_key(made["secret"].as_str().expect("a secret"));
    let other = set(call("c-3", json!(1)), "/metadata/user_api_key_team_id", json!("globex"));
    let refused = post(&mut bound, &json!([other, call("c-4", json!(0.25))]));
    assert_eq!((refused.status, &refused.json()["code"]), (403, &json!("forbidden")), "{}", refused.text());
    assert_eq!(used(&mut client), json!(0.75));
}

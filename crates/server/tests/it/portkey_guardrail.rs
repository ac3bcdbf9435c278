//! The route that Portkey's guardrail `default.webhook` asks, as the gateway asks it.

use serde_json::{Value, json};

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

[[models]]
id = "large"
rates = [{ input = 1000, output = 10000 }]

[[models]]
id = "embeds"
rates = [{ input = 1000 }]
"#;

const PATH: &str = "/portkey/guardrail";

fn server(more: &str) -> (TestServer, Client) {
    TestServer::selling(&format!("{more}{CATALOG}"), "budget")
}

/// What the gateway posts before a call that may cost 0.01 of prompt and 0.2 of answer.
fn before(metadata: Value) -> Value {
    let request = json!({"model": "large", "prompt": "a secret of 20 bytes", "max_tokens": 20});
    json!({
        "request": {"json": request, "text": "a secret of 20 bytes", "isStreamingRequest": false, "isTransformed": false},
        "response": {"json": {}, "text": "", "statusCode": null, "isTransformed": false},
        "provider": "openai", "requestType": "complete", "metadata": metadata, "eventType": "beforeRequestHook",
    })
}

/// What it posts after the call.
fn after(before: &Value, admitted: &Value, usage: Value) -> Value {
    let mut after = before.clone();
    after["request"]["json"] = admitted["transformedData"]["request"]["json"].clone();
    after["response"] =
        json!({"json": {"id": "c", "choices": [], "usage": usage}, "text": "", "statusCode": 200});
    after["eventType"] = json!("afterRequestHook");
    after
}

/// What an answer with so many tokens says.
fn took(prompt: u64, answer: u64) -> Value {
    json!({"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer})
}

fn ask(client: &mut Client, body: &Value) -> Value {
    client.post(PATH, body.clone()).ok()
}

/// Checks that a verdict says what is wrong; the status is 200 all the same.
#[track_caller]
fn is_refused(reply: &Reply, verdict: bool, code: &str, field: Option<&str>) {
    let told = reply.ok();
    let data = &told["data"];
    assert_eq!(
        (&told["verdict"], data["code"].as_str(), data["field"].as_str()),
        (&json!(verdict), Some(code), field),
        "{told:#}"
    );
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(data["request_id"].as_str(), reply.header("x-request-id"), "{told:#}");
    assert_eq!(told["transformedData"], Value::Null, "{told:#}");
}

/// What an org has used and holds.
fn standing(client: &mut Client, org: &str) -> (Value, Value) {
    let balance = client.get(&format!("/v1/orgs/{org}/balance")).ok();
    let usd = &balance["meters"]["usd"];
    (usd["used"].clone(), usd.get("held").cloned().unwrap_or(json!(0)))
}

#[test]
fn a_hold_is_taken_before_a_call_and_its_cost_captured_after_it_once() {
    let (_server, mut client) = server("");
    let call = before(json!({"org": "acme", "_user": "ada", "request_id": "r-1"}));
    let admitted = ask(&mut client, &call);
    let id = admitted["data"]["hold"].clone();
    let request =
        json!({"model": "large", "prompt": "a secret of 20 bytes", "max_tokens": 20, "tollgate_hold": id});
    assert_eq!(
        admitted,
        json!({
            "verdict": true, "data": {"hold": id, "state": "open", "quantity": 0.21, "remaining": 0.79},
            "transformedData": {"request": {"json": request}}
        })
    );
    assert_eq!(standing(&mut client, "acme"), (json!(0), json!(0.21)));
    // The same call again, by a retry or another target of the gateway, has the same hold.
    assert_eq!(ask(&mut client, &call)["data"]["hold"], id);
    assert_eq!(standing(&mut client, "acme"), (json!(0), json!(0.21)));
    let done = after(&call, &admitted, took(5, 10));
    for _ in 0..2 {
        let captured = ask(&mut client, &done);
        let data = json!({"hold": id, "state": "captured", "quantity": 0.105});
        assert_eq!(captured, json!({"verdict": true, "data": data}));
        assert_eq!(standing(&mut client, "acme"), (json!(0.105), json!(0)));
    }
    // Another call under that id would be free.
    is_refused(&client.post(PATH, call.clone()), false, "hold_ended", Some("metadata.request_id"));
    let mut other = call;
    other["request"]["json"]["max_tokens"] = json!(21);
    is_refused(&client.post(PATH, other), false, "key_reused", Some("metadata.request_id"));
    let ledger = client.get("/v1/orgs/acme/ledger").ok();
    let entry = &ledger["entries"][0];
    assert_eq!((&entry["key"], &entry["user"]), (&json!("r-1"), &json!("ada")), "{entry:#}");
    let kept = &entry["properties"];
    assert_eq!((&kept["model"], &kept["provider"]), (&json!("large"), &json!("openai")), "{entry:#}");
    assert!(!ledger.to_string().contains("a secret"), "{ledger:#}");
}

#[test]
fn calls_without_an_id_have_a_hold_each() {
    let (_server, mut client) = server("[compat.portkey]\norg = \"acme\"\n\n");
    for held in [json!(0.21), json!(0.42), json!(0.63), json!(0.84)] {
        assert_eq!(ask(&mut client, &before(json!({})))["verdict"], true);
        assert_eq!(standing(&mut client, "acme"), (json!(0), held));
    }
    let denied = client.post(PATH, before(json!({})));
    is_refused(&denied, false, "org_limit_reached", None);
    let data = &denied.json()["data"];
    assert_eq!((&data["quantity"], &data["status"]), (&json!(0.21), &json!(402)), "{data:#}");
    assert!(data["detail"].as_str().expect("a text").contains("0.16 left"), "{data:#}");
}

#[test]
fn what_cannot_be_decided_before_a_call_is_a_verdict_against_it() {
    let (server, mut client) = server("");
    let acme = || before(json!({"org": "acme"}));
    let with = |path: &str, value: Value| {
        let mut call = acme();
        *call.pointer_mut(path).expect("a member") = value;
        call
    };
    for (call, code, field) in [
        (before(json!({})), "missing_field", Some("metadata.org")),
        (before(json!({"org": 7})), "invalid_field", Some("metadata.org")),
        (before(json!({"org": "nobody"})), "unknown_org", Some("org")),
        (before(json!({"org": "acme", "estimate": "a lot"})), "invalid_field", Some("metadata.estimate")),
        (before(json!({"org": "acme", "estimate": "0"})), "invalid_field", Some("metadata.estimate")),
        (
            before(json!({"org": "acme", "request_id": "x".repeat(200)})),
            "invalid_field",
            Some("metadata.request_id"),
        ),
        (before(json!({"org": "acme", "_user": "x".repeat(200)})), "invalid_field", Some("metadata._user")),
        (with("/request/json/model", json!("huge")), "no_price", Some("request.json.model")),
        (with("/request/json/model", Value::Null), "missing_field", Some("request.json.model")),
        (with("/request/json", json!([])), "invalid_field", Some("request.json")),
        (with("/metadata", json!(["acme"])), "invalid_field", Some("metadata")),
        (with("/eventType", json!("duringRequestHook")), "invalid_field", Some("eventType")),
        (with("/request", Value::Null), "invalid_field", Some("request")),
    ] {
        let reply = client.post(PATH, call);
        let found = reply.json()["data"]["field"].as_str().map(str::to_owned);
        // Who is not known is told as in the native API.
        is_refused(&reply, false, code, if code == "unknown_org" { found.as_deref() } else { field });
    }
    is_refused(&client.ask(&Ask::new("POST", PATH).body("{")), false, "unreadable", None);
    is_refused(
        &client.ask(&Ask::new("POST", PATH).header("content-type", "text/plain").body("x")),
        false,
        "unsupported_media_type",
        Some("Content-Type"),
    );
    is_refused(&client.post(&format!("{PATH}?x=1"), acme()), false, "invalid_parameter", Some("x"));
    let large = Ask::new("POST", PATH).header("content-length", "100000000");
    is_refused(
        &server.client().with_key("admin").ask(&large),
        false,
        "unsupported_media_type",
        Some("Content-Type"),
    );
    is_refused(&server.client().post(PATH, acme()), false, "unauthorized", None);
    // The connection may have been closed meanwhile: nobody sent the large body.
    let mut client = server.client().with_key("admin");
    let made = client.post("/v1/api-keys", json!({"name": "g", "role": "ingest", "org": "globex"})).json();
    let mut globex = server.client().with_key(made["secret"].as_str().expect("a secret"));
    is_refused(&globex.post(PATH, acme()), false, "forbidden", Some("org"));
    let made = client.post("/v1/api-keys", json!({"name": "r", "role": "read"})).json();
    let mut reader = server.client().with_key(made["secret"].as_str().expect("a secret"));
    is_refused(&reader.post(PATH, acme()), false, "forbidden", None);
    assert_eq!(standing(&mut client, "acme"), (json!(0), json!(0)));
    // Another method is no verdict.
    client.get(PATH).is_problem(405, "method_not_allowed", None);
}

#[test]
fn a_model_without_a_price_is_as_the_catalog_says_or_as_is_stated() {
    let unknown = || {
        let mut call = before(json!({"org": "acme"}));
        call["request"]["json"]["model"] = json!("huge");
        call
    };
    let (_server, mut client) =
        server("[model_prices]\nunknown_models = \"estimate\"\nestimate_as = \"large\"\n\n");
    let admitted = ask(&mut client, &unknown());
    assert_eq!(admitted["data"]["quantity"], 0.21);
    let captured = ask(&mut client, &after(&unknown(), &admitted, took(1, 1)));
    assert_eq!(captured["data"]["quantity"], 0.011);
    let kept = client.get("/v1/orgs/acme/ledger").ok()["entries"][0]["properties"].clone();
    assert_eq!((&kept["model"], &kept["priced_as"]), (&json!("huge"), &json!("large")), "{kept:#}");

    // An estimate that is stated is held, whatever the prices; where there are none, it is what is charged.
    let (_server, mut client) = server("");
    let mut stated = unknown();
    stated["metadata"]["estimate"] = json!("0.3");
    let admitted = ask(&mut client, &stated);
    assert_eq!(admitted["data"]["quantity"], 0.3);
    let captured = ask(&mut client, &after(&stated, &admitted, took(1, 1)));
    assert_eq!((&captured["verdict"], &captured["data"]["quantity"]), (&json!(true), &json!(0.3)));
    let mut priced = before(json!({"org": "acme", "estimate": "0.3"}));
    let admitted = ask(&mut client, &priced);
    assert_eq!(admitted["data"]["quantity"], 0.3);
    priced = after(&priced, &admitted, took(1, 1));
    assert_eq!(ask(&mut client, &priced)["data"]["quantity"], 0.011);
}

#[test]
fn however_a_call_ends_it_has_one_outcome() {
    let (server, mut client) = server("[compat.portkey]\norg = \"acme\"\n\n");
    let call = before(json!({}));
    // It costs more than was thought: that is captured, too.
    let admitted = ask(&mut client, &call);
    assert_eq!(ask(&mut client, &after(&call, &admitted, took(100, 20)))["data"]["quantity"], 0.3);
    // A stream, of which nothing is told: the estimate.
    let admitted = ask(&mut client, &call);
    let mut streamed = after(&call, &admitted, Value::Null);
    streamed["response"]["json"] = Value::Null;
    assert_eq!(ask(&mut client, &streamed)["data"]["quantity"], 0.21);
    assert_eq!(standing(&mut client, "acme"), (json!(0.51), json!(0)));
    // A failure that is told: nothing.
    let admitted = ask(&mut client, &call);
    let mut failed = after(&call, &admitted, Value::Null);
    failed["response"] = json!({"json": {"error": {}}, "text": "", "statusCode": 500});
    let released = ask(&mut client, &failed);
    assert_eq!((&released["data"]["state"], &released["data"]["quantity"]), (&json!("released"), &json!(0)));
    // A call that nobody heard the end of: its estimate, when the hold expires; what is told later changes nothing.
    let admitted = ask(&mut client, &call);
    server.at("2026-11-02T11:00:00Z");
    assert_eq!(standing(&mut client, "acme"), (json!(0.72), json!(0)));
    let late = ask(&mut client, &after(&call, &admitted, took(1, 1)));
    let data = &late["data"];
    assert_eq!((&data["state"], &data["quantity"]), (&json!("expired"), &json!(0.21)), "{late:#}");
    assert_eq!(standing(&mut client, "acme"), (json!(0.72), json!(0)));
    // An embedding, which the gateway asks nothing after: charged at once.
    let mut embedding = before(json!({"request_id": "e-1"}));
    embedding["requestType"] = json!("embed");
    embedding["request"]["json"] = json!({"model": "embeds", "input": ["ten bytes!", "ten bytes?"]});
    let charged = ask(&mut client, &embedding);
    assert_eq!(charged, json!({"verdict": true, "data": {"quantity": 0.01, "remaining": 0.27}}));
    is_refused(&client.post(PATH, embedding), false, "hold_ended", Some("metadata.request_id"));
}

#[test]
fn a_cost_that_is_told_after_the_hold_was_given_back_is_recorded_once() {
    let (server, mut client) =
        server("[compat.portkey]\norg = \"acme\"\nexpires_in = 60\non_expiry = \"release\"\n\n");
    let call = before(json!({}));
    let admitted = ask(&mut client, &call);
    server.at("2026-11-02T10:01:00Z");
    assert_eq!(standing(&mut client, "acme"), (json!(0), json!(0)));
    let late = after(&call, &admitted, took(10, 10));
    for _ in 0..2 {
        let told = ask(&mut client, &late);
        assert_eq!((&told["data"]["state"], &told["data"]["quantity"]), (&json!("expired"), &json!(0.11)));
        assert_eq!(standing(&mut client, "acme"), (json!(0.11), json!(0)));
    }
}

#[test]
fn nobody_captures_what_is_not_theirs() {
    let (_server, mut client) = server("");
    let call = before(json!({"org": "acme"}));
    let admitted = ask(&mut client, &call);
    let mut foreign = after(&call, &admitted, took(1, 1));
    foreign["metadata"]["org"] = json!("globex");
    // The answer is not withheld for that.
    is_refused(&client.post(PATH, foreign), true, "missing_field", Some("request.json.tollgate_hold"));
    let mut without = after(&call, &admitted, took(1, 1));
    without["request"]["json"]["tollgate_hold"] = Value::Null;
    is_refused(&client.post(PATH, without), true, "missing_field", Some("request.json.tollgate_hold"));
    let mut unknown = after(&call, &admitted, took(1, 1));
    unknown["request"]["json"]["tollgate_hold"] = json!("99-acme");
    is_refused(&client.post(PATH, unknown), true, "unknown_hold", Some("hold"));
    assert_eq!(standing(&mut client, "acme"), (json!(0), json!(0.21)));
    assert_eq!(standing(&mut client, "globex"), (json!(0), json!(0)));
}

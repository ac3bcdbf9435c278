//! Lago's events, as Lago's published client sends them and as it would not.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::client::{Ask, Client};
use crate::server::TestServer;
use crate::tools::{run, tool};

const CATALOG: &str = r#"
[compat.lago.metrics]
completions = { meter = "tokens", field = "tokens", user = "seat" }
pages = { meter = "tokens" }

[[meters]]
id = "tokens"
name = "Tokens"
unit = "token"
properties = ["model"]
unknown_properties = "reject"

[[meters]]
id = "files"
name = "Files"
unit = "file"
aggregation = "count"

[[meters]]
id = "regions"
name = "Regions"
unit = "region"
aggregation = "unique"
unique_by = "region"

[[plans]]
id = "basic"
name = "Basic"
allowances = [{ meter = "tokens", amount = 10 }]
"#;

const EVENTS: &str = "/lago/api/v1/events";
const BATCH: &str = "/lago/api/v1/events/batch";

fn used(client: &mut Client, meter: &str) -> Value {
    client.get("/v1/orgs/acme/balance").ok()["meters"][meter]["lifetime"].clone()
}

fn event(id: &str, code: &str, properties: Value) -> Value {
    json!({"transaction_id": id, "external_subscription_id": "acme", "code": code, "properties": properties})
}

#[test]
fn the_client_of_lago_is_served() {
    let (server, mut client) = TestServer::selling(CATALOG, "basic");
    let key = json!({"name": "lago", "role": "ingest", "org": "acme"});
    let bound = client.post("/v1/api-keys", key).json()["secret"].as_str().expect("a secret").to_owned();
    let mut python = Command::new(tool("lago-client").join("bin/python"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/lago_client.py");
    python.arg(script).args([format!("http://{}", server.address()), "admin".to_owned(), bound]);
    let said = run(python);
    let told: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let ended = told.iter().map(|told| {
        let call = told["call"].as_str().unwrap_or_default();
        (call, told["status"].as_u64().unwrap_or(200), told["error"]["error_details"].clone())
    });
    let none = Value::Null;
    let wanted = [
        ("an event", 200, none.clone()),
        ("a retry", 200, none.clone()),
        ("other content", 422, json!({"transaction_id": ["value_already_exist"]})),
        ("texts", 200, none.clone()),
        ("a batch", 200, none.clone()),
        ("its retry", 200, none.clone()),
        ("a batch with a wrong event", 422, json!({"1": {"properties.tokens": ["value_is_invalid"]}})),
        (
            "a batch with a stranger",
            422,
            json!({"1": {"external_subscription_id": ["subscription_not_found"]},
                "2": {"transaction_id": ["value_already_exist"]}}),
        ),
        ("an unknown metric", 422, json!({"code": ["billable_metric_not_found"]})),
        ("an unknown subscription", 422, json!({"external_subscription_id": ["subscription_not_found"]})),
        ("too old", 422, json!({"timestamp": ["value_is_invalid"]})),
        ("another organization", 403, none.clone()),
        ("a stranger", 401, none.clone()),
        ("find", 200, none.clone()),
        ("find by an admin", 200, none.clone()),
        ("find nothing", 404, none.clone()),
        ("find of nobody", 422, json!({"external_subscription_id": ["value_is_mandatory"]})),
    ];
    assert_eq!(ended.collect::<Vec<_>>(), wanted, "{said}");
    let reply = &told[0]["reply"];
    let id = reply["lago_id"].as_str().unwrap_or_default();
    assert!(id.len() == 36 && id.split('-').count() == 5, "{reply:#}");
    let first = json!({"lago_id": id, "transaction_id": "t-1", "lago_customer_id": null, "lago_subscription_id": null,
        "external_subscription_id": "acme", "code": "completions", "timestamp": "2026-11-02T09:59:00Z",
        "precise_total_amount_cents": null, "properties": {"tokens": 120, "model": "large", "region": "eu"},
        "created_at": "2026-11-02T10:00:00Z"});
    assert_eq!(reply, &first);
    assert_eq!(told[1]["reply"], first);
    assert_eq!(told[3]["reply"]["timestamp"], "2026-11-02T09:59:00.123Z");
    // What is found is what was kept: the quantity, and the properties that the meter takes.
    let mut kept = first;
    kept["properties"] = json!({"tokens": 120, "model": "large"});
    assert_eq!((&told[13]["reply"], &told[14]["reply"]), (&kept, &kept));
    let error = &told[7]["error"];
    assert_eq!((&error["status"], &error["code"]), (&json!(422), &json!("validation_errors")), "{error:#}");
    assert_eq!(error["error"], "Unprocessable Entity");
    let detail = error["detail"].as_str().unwrap_or_default();
    assert!(detail.starts_with("event 1: ") && detail.ends_with("; 2 events were refused"), "{detail}");
    // 120 + 0.5 + 7 + 1, each once, and 2 of a batch whose others were refused. It is more than the credit: it was used.
    assert_eq!(used(&mut client, "tokens"), json!(130.5));
}

#[test]
fn the_catalog_says_which_property_is_the_quantity() {
    let (_server, mut client) = TestServer::selling(CATALOG, "basic");
    let seat = event(
        "t-1",
        "completions",
        json!({"tokens": "3", "seat": "ada", "model": "small", "more": {"a": 1}}),
    );
    client.post(EVENTS, json!({"event": seat, "other": true})).ok();
    let entry = client.get("/v1/orgs/acme/ledger/2").ok();
    assert_eq!(
        (&entry["user"], &entry["properties"]),
        (&json!("ada"), &json!({"model": "small"})),
        "{entry:#}"
    );
    // A metric without a field is one an event; so is a meter that counts, or that counts values, by its own id.
    let batch = json!({"events": [
        event("t-2", "pages", Value::Null), event("t-3", "files", json!({})),
        event("t-4", "regions", json!({"region": "eu"})), event("t-5", "regions", json!({"region": "eu"})),
    ]});
    client.post(BATCH, batch).ok();
    assert_eq!([used(&mut client, "tokens"), used(&mut client, "files")], [json!(4), json!(1)]);
    let regions = client.get("/v1/orgs/acme/usage?meter=regions&window=month").ok();
    assert_eq!(regions["points"][0]["quantity"], json!(1), "{regions:#}");
    client.post(BATCH, json!({"events": []})).ok();
}

#[test]
fn what_is_wrong_is_named_as_lago_names_it_and_counts_nothing() {
    let (_server, mut client) = TestServer::selling(CATALOG, "basic");
    let right = || event("x", "completions", json!({"tokens": 1}));
    let set = |member: &str, value: Value| {
        let mut event = right();
        *event.pointer_mut(member).expect("a member") = value;
        event
    };
    let before = used(&mut client, "tokens");
    for (event, field, code) in [
        (json!({}), "transaction_id", "value_is_mandatory"),
        (set("/transaction_id", json!("")), "transaction_id", "value_is_mandatory"),
        (set("/transaction_id", json!("x".repeat(200))), "transaction_id", "value_is_invalid"),
        (set("/external_subscription_id", Value::Null), "external_subscription_id", "value_is_mandatory"),
        (set("/external_subscription_id", json!("a\u{0}")), "external_subscription_id", "value_is_invalid"),
        (set("/code", Value::Null), "code", "value_is_mandatory"),
        (set("/code", json!("nothing")), "code", "billable_metric_not_found"),
        // What the quantity of a sum would be is nowhere said.
        (set("/code", json!("tokens")), "code", "value_is_invalid"),
        (set("/properties", json!({})), "properties.tokens", "value_is_mandatory"),
        (set("/properties/tokens", Value::Null), "properties.tokens", "value_is_mandatory"),
        (set("/properties/tokens", json!(-1)), "properties.tokens", "value_is_invalid"),
        (set("/properties/tokens", json!(1e30)), "properties.tokens", "value_is_invalid"),
        (set("/properties/tokens", json!([1])), "properties.tokens", "value_is_invalid"),
        (set("/properties", json!({"tokens": 1, "seat": "a\u{0}"})), "properties.seat", "value_is_invalid"),
        (
            set("/properties", json!({"tokens": 1, "model": "x".repeat(300)})),
            "properties.model",
            "value_is_invalid",
        ),
    ] {
        let refused = client.post(EVENTS, json!({"event": event}));
        let body = refused.json();
        assert_eq!((refused.status, &body["error_details"]), (422, &json!({field: [code]})), "{body:#}");
        if code == "billable_metric_not_found" {
            continue;
        }
        let refused = client.post(BATCH, json!({"events": [right(), event]}));
        let body = refused.json();
        assert_eq!((refused.status, &body["error_details"]["1"]), (422, &json!({field: [code]})), "{body:#}");
        assert_eq!(
            used(&mut client, "tokens"),
            before,
            "nothing of a batch with an event that cannot be read"
        );
    }
}

#[test]
fn what_is_no_event_is_refused() {
    let (_server, mut client) = TestServer::selling(CATALOG, "basic");
    let before = used(&mut client, "files");
    for (body, status, field) in [
        ("{", 400, None),
        ("", 400, None),
        ("[]", 422, Some("base")),
        (r#"{"events": []}"#, 422, Some("event")),
        (r#"{"event": 7}"#, 422, Some("event")),
        (r#"{"event": ["t-9", "acme", "seats"]}"#, 422, Some("event")),
        (r#"{"event": {"transaction_id": 7}}"#, 422, Some("event.transaction_id")),
    ] {
        let refused = client.ask(&Ask::new("POST", EVENTS).body(body));
        let told = refused.json();
        assert_eq!(
            (refused.status, told["status"].as_u64()),
            (status, Some(u64::from(status))),
            "{body}: {told:#}"
        );
        let details = told["error_details"].as_object();
        let named = details.and_then(|details| details.keys().next().map(String::as_str));
        assert_eq!(named, field, "{body}: {told:#}");
    }
    let many: Vec<_> = (0..10_001).map(|number| event(&number.to_string(), "files", json!({}))).collect();
    assert_eq!(client.post(BATCH, json!({"events": many})).status, 413);
    assert_eq!(used(&mut client, "files"), before);
}

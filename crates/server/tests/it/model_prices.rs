//! Calls of models that the catalog prices before they are decided.

use serde_json::{Value, json};

use crate::client::{Ask, Client};
use crate::server::TestServer;

const METERS: &str = r#"
[[meters]]
id = "usd"
name = "US dollars"
unit = "USD"
properties = ["model"]

[[plans]]
id = "budget"
name = "Budget"
allowances = [{ meter = "usd", amount = "1" }]
"#;

const MODELS: &str = r#"
[[models]]
id = "large"
rates = [
  { input = "2.5", output = 10, cached_input = "1.25" },
  { above = 200000, input = 5, output = 15 },
  { tier = "batch", input = "1.25", output = 5 },
]
"#;

fn server(more: &str) -> (TestServer, Client) {
    let server = TestServer::start();
    let mut client = server.client();
    apply(&mut client, &format!("{METERS}{MODELS}{more}"));
    client.put("/v1/orgs/acme/plan", json!({"plan": "budget"})).ok();
    (server, client)
}

fn apply(client: &mut Client, catalog: &str) {
    client.ask(&Ask::new("PUT", "/v1/catalog").toml(catalog.to_owned())).ok();
}

/// A body with a call in it.
fn with(key: &str, call: Value) -> Value {
    json!({"org": "acme", "meter": "usd", "key": key, "call": call})
}

fn large(input: u64, output: u64) -> Value {
    json!({"model": "large", "input_tokens": input, "output_tokens": output})
}

fn usd(client: &mut Client, member: &str) -> Value {
    client.get("/v1/orgs/acme/balance").ok()["meters"]["usd"][member].clone()
}

#[test]
fn a_call_is_priced_before_it_is_decided() {
    let (_server, mut client) = server("");
    let used = client.post("/v1/usage", with("c-1", large(1_000, 500))).ok();
    assert_eq!((&used["quantity"], &used["remaining"]), (&json!(0.0075), &json!(0.9925)));
    let entry = client.get("/v1/orgs/acme/ledger/2").ok();
    let kept =
        json!({"model": "large", "input_tokens": "1000", "output_tokens": "500", "priced_by": "catalog 2"});
    assert_eq!(entry["properties"], kept, "{entry:#}");
    // By tier, by the size of the prompt, from the cache, and one by one in a batch.
    let mut call = large(300_000, 0);
    assert_eq!(client.post("/v1/usage/check", with("x", call.clone())).ok()["quantity"], json!(1.5));
    let denied = client.post("/v1/usage", with("c-2", call.clone()));
    assert_eq!(denied.status, 402, "{}", denied.text());
    assert!(denied.text().contains("1.5 asked, 0.9925 left"), "{}", denied.text());
    call["tier"] = json!("batch");
    assert_eq!(client.post("/v1/usage", with("c-2", call)).ok()["quantity"], json!(0.375));
    let mut call = large(1_000, 0);
    call["cached_input_tokens"] = json!(1_000);
    let batch = json!([with("c-3", call), with("c-4", json!({"model": "huge", "input_tokens": 1}))]);
    let told = client.post("/v1/usage/batch", batch).ok();
    assert_eq!((&told["counted"], &told["rejected"]), (&json!(1), &json!(1)), "{told:#}");
    assert_eq!(told["results"][0]["code"], "no_price", "{told:#}");
    assert_eq!(usd(&mut client, "used"), json!(0.38375));
    let grouped = client.get("/v1/orgs/acme/usage?meter=usd&group_by=model").ok();
    assert!(grouped.to_string().contains("large"), "{grouped:#}");
}

#[test]
fn a_retry_is_compared_by_model_and_tokens_and_not_by_what_they_cost() {
    let (_server, mut client) = server("");
    client.post("/v1/usage", with("c-1", large(1_000, 500))).ok();
    let held = client.post("/v1/holds", with("h-1", large(1_000, 4_000))).ok();
    assert_eq!(held["hold"]["quantity"], json!(0.0425));
    let hold = held["hold"]["hold"].as_str().expect("an id").to_owned();
    let capture = format!("/v1/holds/{hold}/capture");
    apply(
        &mut client,
        &format!("{METERS}{}", MODELS.replace("2.5", "25").replace("output = 10", "output = 100")),
    );
    let again = client.post("/v1/usage", with("c-1", large(1_000, 500))).ok();
    assert_eq!(again["replayed"], true, "{again:#}");
    client.post("/v1/usage", with("c-1", large(1_000, 501))).is_problem(422, "key_reused", Some("key"));
    assert_eq!(client.post("/v1/holds", with("h-1", large(1_000, 4_000))).ok()["replayed"], true);
    // A capture is priced as its hold was.
    let captured = client.post(&capture, json!({"call": large(1_000, 2_000)})).ok();
    assert_eq!((&captured["captured"], &captured["replayed"]), (&json!(0.0225), &json!(false)));
    let captured = client.post(&capture, json!({"call": large(1_000, 2_000)})).ok();
    assert_eq!((&captured["captured"], &captured["replayed"]), (&json!(0.0225), &json!(true)));
    assert_eq!((usd(&mut client, "used"), usd(&mut client, "held")), (json!(0.03), json!(0)));
    // What is new is priced as it is now.
    assert_eq!(client.post("/v1/usage", with("c-2", large(1_000, 500))).ok()["quantity"], json!(0.075));
}

#[test]
fn a_model_without_a_price_is_never_silently_free() {
    let (_server, mut client) = server("");
    let huge = json!({"model": "huge", "input_tokens": 1_000, "output_tokens": 500});
    for path in ["/v1/usage", "/v1/usage/check", "/v1/holds"] {
        client.post(path, with("c-1", huge.clone())).is_problem(422, "no_price", Some("call.model"));
    }
    let mut urgent = large(1, 1);
    urgent["tier"] = json!("priority");
    client.post("/v1/usage", with("c-1", urgent)).is_problem(422, "no_price", Some("call.tier"));
    assert_eq!(usd(&mut client, "used"), json!(0));
    let policy = "[model_prices]\nunknown_models = \"estimate\"\nestimate_as = \"large\"\n";
    apply(&mut client, &format!("{METERS}{MODELS}{policy}"));
    assert_eq!(client.post("/v1/usage", with("c-1", huge.clone())).ok()["quantity"], json!(0.0075));
    let entry = client.get("/v1/orgs/acme/ledger/2").ok();
    assert_eq!(entry["properties"]["priced_as"], "large", "{entry:#}");
    apply(&mut client, &format!("{METERS}{MODELS}[model_prices]\nunknown_models = \"allow\"\n"));
    assert_eq!(client.post("/v1/usage", with("c-2", huge)).ok()["quantity"], json!(0.000000001));
    let entry = client.get("/v1/orgs/acme/ledger/3").ok();
    assert_eq!(entry["properties"]["priced_as"], "(nothing)", "{entry:#}");
}

#[test]
fn wrong_calls_are_refused_and_change_nothing() {
    let (_server, mut client) = server("");
    let mut parts = large(1, 0);
    parts["cached_input_tokens"] = json!(2);
    let mut many = large(1, 0);
    many["output_tokens"] = json!(1_000_000_000_001_u64);
    let mut both = with("c", large(1, 1));
    both["quantity"] = json!(1);
    let mut marked = with("c", large(1, 1));
    marked["properties"] = json!({"priced_by": "me"});
    for (body, code, field) in [
        (with("c", parts), "invalid_field", "call"),
        (with("c", many), "invalid_field", "call.output_tokens"),
        (with("c", large(0, 0)), "invalid_field", "call"),
        (both, "invalid_field", "quantity"),
        (marked, "invalid_field", "properties.priced_by"),
        (with("c", json!({"input_tokens": 1})), "missing_field", "call.model"),
        (with("c", json!({"model": "large", "tokens": 1})), "unknown_field", "tokens"),
        (with("c", json!({"model": "large", "input_tokens": -1})), "invalid_field", "call.input_tokens"),
        (with("c", json!({"model": "large", "tier": "soon"})), "invalid_field", "call.tier"),
    ] {
        for path in ["/v1/usage", "/v1/usage/check", "/v1/holds"] {
            client.post(path, body.clone()).is_problem(422, code, Some(field));
        }
    }
    let hold = client.post("/v1/holds", with("h", large(1_000, 0))).ok();
    let path = format!("/v1/holds/{}/capture", hold["hold"]["hold"].as_str().expect("an id"));
    client.post(&path, json!({"quantity": 1, "call": large(1, 0)})).is_problem(
        422,
        "invalid_field",
        Some("quantity"),
    );
    client.post(&path, json!({"call": {"model": "huge"}})).is_problem(422, "no_price", Some("call.model"));
    assert_eq!((usd(&mut client, "used"), usd(&mut client, "held")), (json!(0), json!(0.0025)));
}

//! Members of requests: what is left out, what is null and what is a value are three different things.

use serde_json::{Value, json};

use crate::client::{Ask, Client};
use crate::server::TestServer;

/// Every JSON body of the native API with all its members.
fn whole_bodies() -> Vec<(&'static str, &'static str, Value)> {
    let usage = json!({
        "org": "acme", "user": "ada", "path": "research/agent-7", "meter": "reports", "quantity": 1, "key": "k-1", "time": "2026-11-02T09:00:00Z",
        "properties": {"model": "large"}, "call": {"model": "large", "input_tokens": 1},
    });
    let channel = json!({
        "name": "team", "kind": "webhook", "url": "https://1.1.1.1/in", "to": "ann@example.com", "notices": ["limit_reached"], "orgs": ["acme"],
        "plans": ["basic"], "meters": ["reports"], "enabled": false, "topic": "arn:aws:sns:eu-west-1:123456789012:notices",
        "quiet_hours": {"from": "22:00", "to": "07:00"}, "digest_at": "09:00", "time_zone": "Europe/Berlin",
    });
    vec![
        ("POST", "/v1/usage", usage.clone()),
        ("POST", "/v1/usage/check", usage.clone()),
        ("POST", "/v1/usage/batch", usage),
        ("POST", "/v1/usage/reversals", json!({"org": "acme", "key": "k-1"})),
        (
            "POST",
            "/v1/holds",
            json!({
                "org": "acme", "user": "ada", "path": "research/agent-7", "meter": "reports", "quantity": 1, "key": "h-1",
                "expires_in": 60, "overrun": 1, "on_expiry": "release", "within": "1-acme", "properties": {"model": "large"},
                "call": {"model": "large", "input_tokens": 1},
            }),
        ),
        (
            "POST",
            "/v1/holds/{hold}/capture",
            json!({"quantity": 1, "final": false, "key": "p-1", "call": {"model": "large"}}),
        ),
        (
            "PUT",
            "/v1/orgs/{org}",
            json!({"name": "Acme", "time_zone": "Europe/Berlin", "metadata": {"crm": "0815"}}),
        ),
        ("PUT", "/v1/orgs/{org}/plan", json!({"plan": "basic", "at": "next_month"})),
        (
            "PUT",
            "/v1/orgs/{org}/limits",
            json!({"meter": "reports", "scope": "user", "user": "ada", "path": "research/*", "window": "month", "amount": 9}),
        ),
        (
            "POST",
            "/v1/orgs/{org}/top-ups",
            json!({
                "meter": "reports", "amount": 2, "key": "t-1", "expires_at": "never",
                "effective_at": "2026-11-02T09:00:00Z", "priority": 100, "reason": "goodwill", "metadata": {"ticket": "4711"},
            }),
        ),
        (
            "POST",
            "/v1/orgs/{org}/top-ups/void",
            json!({"key": "t-1", "amount": 1, "reason": "entered twice"}),
        ),
        ("POST", "/v1/orgs/{org}/top-ups/{entry}/void", json!({"amount": 1, "reason": "entered twice"})),
        ("PUT", "/v1/orgs/{org}/notices", json!({"thresholds": [50, 90]})),
        ("POST", "/v1/orgs/{org}/portal-links", json!({"expires_in": 60})),
        ("POST", "/v1/orgs/{org}/bill/close", json!({"month": "2026-10"})),
        ("POST", "/v1/whatif", json!({"catalog": tollgate_domain::catalog::DEFAULT, "month": "2026-11"})),
        ("POST", "/v1/channels", channel.clone()),
        ("PUT", "/v1/channels/{id}", channel),
        ("POST", "/v1/channels/{id}/secret", json!({"overlap_hours": 24})),
        ("POST", "/v1/channels/{id}/replay", json!({"notice": "acme/2/0", "since": "2026-11-02T09:00:00Z"})),
        ("POST", "/v1/api-keys", json!({"name": "first", "role": "ingest", "org": "acme"})),
    ]
}

/// A schema that the document refers to, itself.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let reference = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
    reference.map_or(schema, |place| document.pointer(place).expect("it is there"))
}

fn allows_null(schema: &Value) -> bool {
    let is_null = |kind: &Value| kind == "null";
    let kinds = schema["type"].as_array().is_some_and(|kinds| kinds.iter().any(is_null));
    let of = |name: &str| schema[name].as_array().is_some_and(|parts| parts.iter().any(allows_null));
    is_null(&schema["type"]) || kinds || of("oneOf") || of("anyOf")
}

/// What is wrong with a request: a code and a field, or nothing.
fn wrong(client: &mut Client, (method, path, body): (&str, &str, &Value)) -> (String, String) {
    let target = path
        .replace("{org}", "acme")
        .replace("{entry}", "1")
        .replace("{id}", "nobody")
        .replace("{hold}", "1-acme");
    let batch = path.ends_with("/batch");
    let body = if batch { json!([body]) } else { body.clone() };
    let reply = client.ask(&Ask::new(method, &target).json(body)).json();
    let told = if batch { &reply["results"][0] } else { &reply };
    let text = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
    (text("code"), text("field"))
}

#[test]
fn absent_null_and_a_value_are_told_apart_in_every_request() {
    let server =
        TestServer::with(|settings| settings.api_key = Some(tollgate_server::Secret("admin".to_owned())));
    let mut client = server.client().with_key("admin");
    let document = client.get("/openapi.json").ok();
    let mut covered = 0;
    for (method, path, body) in whole_bodies() {
        client.put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
        let operation = &document["paths"][path][method.to_lowercase()];
        let schema = resolved(&document, &operation["requestBody"]["content"]["application/json"]["schema"]);
        let schema = if path.ends_with("/batch") { resolved(&document, &schema["items"]) } else { schema };
        let members = schema["properties"].as_object().expect("an object");
        let names: Vec<&String> = body.as_object().expect("an object").keys().collect();
        assert_eq!(
            members.keys().collect::<Vec<_>>(),
            names,
            "{method} {path}: a member is not in this test"
        );
        for (name, member) in members {
            // A key may come in a header too, so no schema says that it is needed.
            let needed = schema["required"].as_array().is_some_and(|names| names.contains(&json!(name)))
                || (name == "key"
                    && matches!(
                        path,
                        "/v1/usage" | "/v1/usage/batch" | "/v1/holds" | "/v1/holds/{hold}/capture"
                    ));
            let refused = |code: &str| (code.to_owned(), name.clone());
            let mut without = body.clone();
            without.as_object_mut().expect("an object").remove(name);
            let told = wrong(&mut client, (method, path, &without));
            assert_eq!(told == refused("missing_field"), needed, "{method} {path} without {name}: {told:?}");
            let mut with_null = body.clone();
            with_null[name] = Value::Null;
            let told = wrong(&mut client, (method, path, &with_null));
            let allowed = allows_null(member);
            assert_eq!(told == refused("invalid_field"), !allowed, "{method} {path}, {name} null: {told:?}");
            covered += 1;
        }
    }
    assert!(covered > 40, "{covered}");
    // No request of the native API is left out.
    let bodies: Vec<_> =
        whole_bodies().iter().map(|(method, path, _)| (method.to_lowercase(), *path)).collect();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let has_body = !operation["requestBody"]["content"]["application/json"].is_null();
            let known = bodies.iter().any(|(known, place)| (known, *place) == (method, path.as_str()));
            // What a catalog may hold is said in TOML.
            let known = known || path == "/v1/catalog";
            assert!(!has_body || !path.starts_with("/v1/") || known, "{method} {path} is not in this test");
        }
    }
}

#[test]
fn only_an_explicit_null_removes() {
    let server = TestServer::start();
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
    let limit = json!({"meter": "reports", "scope": "org", "amount": 9});
    assert_eq!(client.put("/v1/orgs/acme/limits", limit).ok()["limits"][0]["amount"], 9);
    let without = json!({"meter": "reports", "scope": "org"});
    client.put("/v1/orgs/acme/limits", without).is_problem(422, "missing_field", Some("amount"));
    assert_eq!(client.get("/v1/orgs/acme/balance").ok()["meters"]["reports"]["limits"][0]["amount"], 9);
    let null = json!({"meter": "reports", "scope": "org", "amount": null});
    assert_eq!(client.put("/v1/orgs/acme/limits", null).ok()["limits"], json!([]));

    assert_eq!(client.put("/v1/orgs/acme", json!({"name": "Acme"})).ok()["name"], "Acme");
    assert_eq!(client.put("/v1/orgs/acme", json!({"time_zone": "Europe/Berlin"})).ok()["name"], "Acme");
    let cleared = client.put("/v1/orgs/acme", json!({"name": null})).ok();
    assert_eq!((&cleared["name"], &cleared["time_zone"]), (&Value::Null, &json!("Europe/Berlin")));
    assert_eq!(client.get("/v1/orgs/acme/ledger/6").ok()["summary"], "name none, time zone Europe/Berlin");
    let version = cleared["version"].clone();
    assert_eq!(
        client.put("/v1/orgs/acme", json!({"name": null})).ok()["version"],
        version,
        "nothing changed"
    );
}

#[test]
fn sums_of_many_quantities_are_told_in_full() {
    let server = TestServer::start();
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
    let most = json!({"meter": "reports", "amount": "999999999999999.999999999"});
    client.post("/v1/orgs/acme/top-ups", most.clone()).ok();
    let reply = client.post("/v1/orgs/acme/top-ups", most);
    assert!(reply.text().contains(r#""total":2000000000000099.999999998,"#), "{}", reply.text());
    let read: tollgate_api::TopUpReply = serde_json::from_slice(&reply.body).expect("it can be read");
    assert_eq!(read.total.0.to_string(), "2000000000000099.999999998");
}

//! The billing API: every row of its table, its customers and resource types, and the bill beside the native one.

use serde_json::{Value, json};
use tollgate_domain::catalog::DEFAULT;

use crate::client::{Ask, Client, Reply};
use crate::server::TestServer;

fn used(client: &mut Client, customer: &str, resource: &str, quantity: Value, id: &str) -> Reply {
    let body = json!({"customer_id": customer, "resource_type": resource, "quantity": quantity, "id": id});
    client.post("/api/v1/usage", body)
}

fn apply(client: &mut Client, text: &str) {
    client.ask(&Ask::new("PUT", "/v1/catalog").toml(text)).ok();
}

/// An error in this API's shape.
#[track_caller]
fn refused(reply: &Reply, status: u16, error: &str, code: &str, field: Option<&str>) {
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (status, Some("application/json")),
        "{}",
        reply.text()
    );
    assert_eq!(reply.json()["error"], error);
    reply.has_problem_members(status, code, field);
}

#[test]
fn health_has_the_shape_of_both_kinds_of_callers() {
    let server = TestServer::start();
    let health = server.client().get("/health").ok();
    let told = (&health["status"], &health["time"], &health["config"]);
    assert_eq!(told, (&json!("healthy"), &json!("2026-11-02T10:00:00Z"), &json!("test")));
    assert!(health["version"].is_string(), "{health}");
}

#[test]
fn usage_is_told_as_it_was_sent_and_counts_once() {
    let server = TestServer::start();
    let mut client = server.client();
    let metadata =
        json!({"region": "eu", "size": 3, "ratio": 0.25, "version": "3", "spot": true, "tags": ["a", null]});
    let body = json!({
        "customer_id": "acme", "resource_type": "api_call", "quantity": 100, "metadata": metadata, "id": "u-1",
        "color": "is ignored",
    });
    let wanted = json!({
        "id": "u-1", "customer_id": "acme", "resource_type": "api_call", "quantity": 100,
        "timestamp": "2026-11-02T10:00:00Z", "metadata": metadata,
    });
    client.post("/api/v1/usage", body.clone()).is(201, wanted.clone());
    server.at("2026-11-02T11:00:00Z");
    client.post("/api/v1/usage", body.clone()).is(201, wanted.clone());
    // Without a content type, too.
    client.ask(&Ask::new("POST", "/api/v1/usage").body(body.to_string())).is(201, wanted.clone());
    client.get("/api/v1/usage/acme").is(200, json!([wanted]));
    assert_eq!(client.get("/api/v1/billing/acme").ok()["lines"][0]["quantity"], 100);
    let other = json!({"customer_id": "acme", "resource_type": "api_call", "quantity": 101, "id": "u-1"});
    let error = "the id was used for another content";
    refused(&client.post("/api/v1/usage", other), 422, error, "key_reused", Some("id"));
    client.post("/v1/usage/reversals", json!({"org": "acme", "key": "u-1"})).ok();
    refused(&client.post("/api/v1/usage", body), 409, "the usage was taken back", "key_reversed", Some("id"));
    let list = client.get("/api/v1/usage/acme").ok();
    let quantities: Vec<&Value> =
        list.as_array().expect("a list").iter().map(|item| &item["quantity"]).collect();
    assert_eq!(quantities, [&json!(-100), &json!(100)], "what was taken back is below zero");
    assert_eq!(client.get("/api/v1/billing/acme").ok()["estimated_bill"], json!(0.0));
}

#[test]
fn an_id_is_made_where_none_is_sent() {
    let server = TestServer::start();
    let mut client = server.client();
    let body = json!({"customer_id": "acme", "resource_type": "api_call", "quantity": "0.5", "id": null});
    let [first, second] = [0, 1].map(|_| client.post("/api/v1/usage", body.clone()));
    assert_eq!((first.status, second.status), (201, 201));
    let (first, second) = (first.json(), second.json());
    assert_ne!(first["id"], second["id"]);
    assert_eq!(first["id"].as_str().map(str::len), Some(36), "{first}");
    assert!(first.get("metadata").is_none(), "{first}");
    client.get("/api/v1/usage/acme").is(200, json!([second, first]));
}

#[test]
fn what_is_refused() {
    let server = TestServer::start();
    let mut client = server.client();
    let with = |field: &str, value: Value| {
        let mut body = json!({"customer_id": "acme", "resource_type": "api_call", "quantity": 1});
        body[field] = value;
        body
    };
    let long = "x".repeat(129);
    for (body, code, field) in [
        (json!({"resource_type": "api_call", "quantity": 1}), "missing_field", "customer_id"),
        (json!({"customer_id": "acme", "quantity": 1}), "missing_field", "resource_type"),
        (json!({"customer_id": "acme", "resource_type": "api_call"}), "missing_field", "quantity"),
        (with("customer_id", json!("")), "invalid_field", "customer_id"),
        (with("customer_id", json!(long)), "invalid_field", "customer_id"),
        (with("customer_id", json!(7)), "invalid_field", "customer_id"),
        (with("resource_type", json!("")), "invalid_field", "resource_type"),
        (with("resource_type", json!("a\nb")), "invalid_field", "resource_type"),
        (with("quantity", json!(0)), "invalid_field", "quantity"),
        (with("quantity", json!(-1)), "invalid_field", "quantity"),
        (with("quantity", json!("many")), "invalid_field", "quantity"),
        (with("quantity", json!(null)), "invalid_field", "quantity"),
        (with("quantity", json!("0.0000000001")), "invalid_field", "quantity"),
        (with("quantity", json!("1000000000000000")), "invalid_field", "quantity"),
        (with("metadata", json!("text")), "invalid_field", "metadata"),
        (with("metadata", json!({"x": "y".repeat(257)})), "invalid_field", "metadata.x"),
        (with("metadata", json!({"priced_by": "me"})), "invalid_field", "metadata.priced_by"),
        (with("metadata", (0..17).map(|n| (n.to_string(), json!(n))).collect()), "invalid_field", "metadata"),
        (with("id", json!("")), "invalid_field", "id"),
        (with("id", json!(long)), "invalid_field", "id"),
    ] {
        let reply = client.post("/api/v1/usage", body.clone());
        assert_eq!(reply.status, 400, "{body}: {}", reply.text());
        let error = reply.json()["error"].clone();
        assert!(error.as_str().is_some_and(|error| error.contains(field)), "{body}: {error}");
        reply.has_problem_members(400, code, Some(field));
    }
    for body in ["", "{", "[]", "7"] {
        let reply = client.ask(&Ask::new("POST", "/api/v1/usage").body(body));
        assert_eq!(
            (reply.status, reply.json()["error"].is_string()),
            (400, true),
            "{body}: {}",
            reply.text()
        );
    }
    client.get("/v1/orgs/acme").is_problem(404, "unknown_org", Some("org"));
    refused(
        &client.get(&format!("/api/v1/usage/{long}")),
        400,
        "customer_id: must have at most 128 characters",
        "invalid_field",
        Some("customer_id"),
    );
    let wrong = Ask::new("DELETE", "/api/v1/usage/acme");
    assert!(client.ask(&wrong).json()["error"].is_string());
    assert_eq!(client.ask(&wrong).status, 405);
}

#[test]
fn a_customer_is_made_with_the_plan_of_the_catalog() {
    let server = TestServer::start();
    let mut client = server.client();
    client.put("/v1/orgs/known/plan", json!({"plan": "basic"})).ok();
    client.put("/v1/orgs/bare", json!({"name": "Without a plan"})).ok();
    for customer in ["known", "bare", "new"] {
        assert_eq!(used(&mut client, customer, "api_call", json!(250), "u-1").status, 201);
    }
    let plan = |client: &mut Client, org: &str| client.get(&format!("/v1/orgs/{org}")).ok()["plan"].clone();
    assert_eq!(plan(&mut client, "new"), "pro");
    assert_eq!(plan(&mut client, "known"), "basic", "who is known keeps what it has");
    assert_eq!(plan(&mut client, "bare"), Value::Null);
    let bill = client.get("/api/v1/billing/new").ok();
    assert_eq!(
        (&bill["customer_id"], &bill["currency"], &bill["plan"], &bill["month"]),
        (&json!("new"), &json!("USD"), &json!("pro"), &json!("2026-11"))
    );
    assert_eq!(bill["lines"][0]["arithmetic"], "250 calls × 0.01 USD = 2.50 USD");
    let text = client.get("/api/v1/billing/new").text();
    assert!(text.contains("\"estimated_bill\":2.50,"), "all digits, as a number: {text}");
    let bare = client.get("/api/v1/billing/bare").ok();
    assert_eq!((&bare["plan"], &bare["unpriced"][0]["quantity"]), (&Value::Null, &json!(250)), "{bare:#}");
    let error = "the organization 'nobody' is not known";
    refused(&client.get("/api/v1/billing/nobody"), 404, error, "unknown_org", Some("customer_id"));
    client.get("/api/v1/usage/nobody").is(200, json!([]));

    // A catalog that names no plan gives none; usage counts all the same, and stays without a price when there is one.
    apply(&mut client, &DEFAULT.replace("[compat.billing]\nplan = \"pro\"", "[compat.billing]\n#"));
    assert_eq!(used(&mut client, "later", "api_call", json!(3), "u-1").status, 201);
    assert_eq!(plan(&mut client, "later"), Value::Null);
    client.put("/v1/orgs/later/plan", json!({"plan": "pro"})).ok();
    assert_eq!(used(&mut client, "later", "api_call", json!(4), "u-2").status, 201);
    let later = client.get("/api/v1/billing/later").ok();
    assert_eq!((&later["estimated_bill"], &later["unpriced"][0]["quantity"]), (&json!(0.04), &json!(3)));
}

#[test]
fn prices_are_those_of_the_catalog_and_quantities_are_exact() {
    let server = TestServer::start();
    let mut client = server.client();
    let tiers = "\n[[plans.prices]]\nmeter = \"storage_gb\"\nmodel = \"graduated\"\n\
                 tiers = [{ up_to = 10, unit_price = \"0.5\" }, { unit_price = \"0.125\" }]\n";
    apply(&mut client, &format!("{DEFAULT}{tiers}"));
    for (place, quantity) in ["0.1", "0.2", "12.7", "0.000000001"].iter().enumerate() {
        let reply = used(&mut client, "acme", "storage_gb", json!(quantity), &format!("s-{place}"));
        assert_eq!(reply.status, 201, "{}", reply.text());
    }
    assert_eq!(used(&mut client, "acme", "compute_instance", json!(2.5), "c-1").status, 201);
    let bill = client.get("/api/v1/billing/acme").ok();
    let storage = bill["lines"].as_array().expect("lines").iter().find(|line| line["meter"] == "storage_gb");
    let storage = storage.expect("a line of storage");
    // 10 × 0.5 and 3.000000001 × 0.125.
    assert_eq!(
        (&storage["quantity"], &storage["amount"]),
        (&json!(13.000_000_001), &json!("5.38")),
        "{bill:#}"
    );
    let native = client.get("/v1/orgs/acme/bill").ok();
    assert_eq!((&bill["lines"], &native["total"]), (&native["lines"], &json!("5.38")));
    assert!(client.get("/api/v1/billing/acme").text().contains("\"estimated_bill\":5.38,"));
}

#[test]
fn a_list_comes_in_pages_newest_first() {
    let server = TestServer::start();
    let mut client = server.client();
    for number in 0..7 {
        assert_eq!(used(&mut client, "acme", "api_call", json!(1), &format!("u-{number}")).status, 201);
        // What is no usage is not in the list, and makes no page empty.
        client.put("/v1/orgs/acme", json!({"name": format!("Acme {number}")})).ok();
    }
    let ids = |reply: &Reply| -> Vec<String> {
        let list = reply.ok();
        let id = |item: &Value| item["id"].as_str().expect("an id").to_owned();
        list.as_array().expect("a list").iter().map(id).collect()
    };
    let all: Vec<String> = (0..7).rev().map(|number| format!("u-{number}")).collect();
    let whole = client.get("/api/v1/usage/acme?color=ignored");
    assert_eq!((ids(&whole), whole.header("x-next-cursor")), (all.clone(), None));
    for limit in [1, 2, 3, 1000] {
        let (mut found, mut path) = (Vec::new(), format!("/api/v1/usage/acme?limit={limit}"));
        loop {
            let reply = client.get(&path);
            let page = ids(&reply);
            assert!(page.len() <= limit, "{page:?}");
            found.extend(page);
            let Some(cursor) = reply.header("x-next-cursor") else { break };
            path = format!("/api/v1/usage/acme?limit={limit}&cursor={cursor}");
        }
        assert_eq!(found, all, "{limit} at a time");
    }
    for (query, code, field) in [
        ("limit=0", "invalid_parameter", "limit"),
        ("limit=1001", "invalid_parameter", "limit"),
        ("cursor=abc", "invalid_cursor", "cursor"),
    ] {
        client.get(&format!("/api/v1/usage/acme?{query}")).has_problem_members(400, code, Some(field));
    }
}

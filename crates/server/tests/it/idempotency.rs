//! The header `Idempotency-Key`, on every route that changes something.

use serde_json::{Value, json};

use crate::client::{Ask, Client, Reply};
use crate::server::TestServer;

fn post(client: &mut Client, path: &str, key: &str, body: Value) -> Reply {
    client.ask(&Ask::new("POST", path).header("idempotency-key", key).json(body))
}

/// How many entries the ledger of an organization has.
fn entries(client: &mut Client, org: &str) -> u64 {
    client.get(&format!("/v1/orgs/{org}")).ok()["version"].as_u64().expect("a number")
}

#[test]
fn what_is_sent_twice_with_one_key_is_done_once() {
    let server = TestServer::start();
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
    client.post("/v1/usage", json!({"org": "acme", "meter": "reports", "key": "taken-back"})).ok();
    client.put("/v1/orgs/old/plan", json!({"plan": "pro"})).ok();
    server.at("2026-12-02T00:00:00Z");
    for (path, org, body) in [
        ("/v1/usage", "acme", json!({"org": "acme", "meter": "reports"})),
        ("/v1/orgs/acme/top-ups", "acme", json!({"meter": "reports", "amount": 5})),
        ("/v1/usage/reversals", "acme", json!({"org": "acme", "key": "taken-back"})),
        ("/v1/orgs/old/bill/close", "old", json!({"month": "2026-11"})),
        ("/plan", "acme", json!({"org_id": "acme", "plan": "ultimate"})),
        ("/limit", "acme", json!({"org_id": "acme", "limit": 77})),
        ("/use", "acme", json!({"org_id": "acme", "user_id": "ada"})),
        ("/top-up", "acme", json!({"org_id": "acme", "count": 3})),
        ("/api/v1/usage", "acme", json!({"customer_id": "acme", "resource_type": "reports", "quantity": 2})),
        (
            "/pulses",
            "acme",
            json!({"tenant_id": "acme", "product_sku": "vm", "use_unit": "h", "used_amount": 1}),
        ),
    ] {
        let key = format!("key of {path}");
        let before = entries(&mut client, org);
        let first = post(&mut client, path, &key, body.clone());
        assert!(first.status < 300, "{path}: {}", first.text());
        assert_eq!(entries(&mut client, org), before + 1, "{path}");
        // Quoted it is the same key.
        let again = post(&mut client, path, &format!("\"{key}\""), body.clone());
        assert_eq!(again.status, first.status, "{path}: {}", again.text());
        assert_eq!(entries(&mut client, org), before + 1, "{path}, sent again");
        for wrong in ["", "a\"b", &"x".repeat(129)] {
            let refused = post(&mut client, path, wrong, body.clone());
            assert!(matches!(refused.status, 400 | 422), "{path} {wrong:?}: {}", refused.text());
        }
        assert_eq!(entries(&mut client, org), before + 1, "{path}, with wrong keys");
    }
}

#[test]
fn two_keys_that_differ_are_refused() {
    let server = TestServer::start();
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
    let before = entries(&mut client, "acme");
    for (path, status, mut body, key) in [
        ("/v1/usage", 422, json!({"org": "acme", "meter": "reports"}), "key"),
        ("/v1/orgs/acme/top-ups", 422, json!({"meter": "reports", "amount": 5}), "key"),
        ("/use", 400, json!({"org_id": "acme", "user_id": "ada"}), "report_id"),
        (
            "/api/v1/usage",
            400,
            json!({"customer_id": "acme", "resource_type": "reports", "quantity": 2}),
            "id",
        ),
        (
            "/pulses",
            400,
            json!({"tenant_id": "acme", "product_sku": "vm", "use_unit": "h", "used_amount": 1}),
            "id",
        ),
    ] {
        body[key] = json!("in-the-body");
        let refused = post(&mut client, path, "in-the-header", body.clone());
        assert_eq!(refused.status, status, "{path}: {}", refused.text());
        assert_eq!(entries(&mut client, "acme"), before, "{path}");
    }
    let same = json!({"org": "acme", "meter": "reports", "key": "k"});
    post(&mut client, "/v1/usage", "k", same).ok();
    let other = json!({"org_id": "acme", "count": 3});
    assert_eq!(post(&mut client, "/top-up", "t", other).status, 200);
    let reused = post(&mut client, "/top-up", "t", json!({"org_id": "acme", "count": 4}));
    assert_eq!(reused.status, 422, "{}", reused.text());
}

#[test]
fn an_api_key_is_made_once_under_a_key() {
    let mut server = TestServer::start();
    let mut client = server.client();
    let body = json!({"name": "first", "role": "admin"});
    let made = post(&mut client, "/v1/api-keys", "deploy-1", body.clone());
    assert_eq!(made.status, 201, "{}", made.text());
    let (secret, id) = (made.json()["secret"].clone(), made.json()["id"].clone());
    let secret = secret.as_str().expect("a secret");
    server.restart();
    let mut admin = server.client().with_key(secret);
    let again = post(&mut admin, "/v1/api-keys", "deploy-1", body.clone());
    again.is_problem(409, "api_key_exists", Some("Idempotency-Key"));
    assert!(again.text().contains(id.as_str().expect("an id")), "{}", again.text());
    assert_eq!(post(&mut admin, "/v1/api-keys", "deploy-2", body).status, 201);
    assert_eq!(admin.get("/v1/api-keys").ok()["api_keys"].as_array().map(Vec::len), Some(2));
}

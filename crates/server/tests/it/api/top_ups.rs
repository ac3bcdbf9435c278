//! `POST /v1/orgs/{org}/top-ups`: expiry, priority, keys.

use serde_json::{Value, json};

use crate::client::{Ask, Client};
use crate::server::TestServer;

const PATH: &str = "/v1/orgs/acme/top-ups";

fn on_lite() -> (TestServer, Client) {
    let server = TestServer::start();
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": "lite"})).ok();
    (server, client)
}

fn told(amount: Value, total: Value, expires_at: Value, entry: u64) -> Value {
    json!({
        "org": "acme", "meter": "reports", "amount": amount, "replayed": false, "remaining": total,
        "total": total, "expires_at": expires_at, "entry": entry
    })
}

fn reports(client: &mut Client) -> Value {
    client.get("/v1/orgs/acme/balance").ok()["meters"]["reports"].clone()
}

#[test]
fn they_expire_with_the_month_at_a_time_or_never() {
    let (server, mut client) = on_lite();
    client
        .post(PATH, json!({"meter": "reports", "amount": 5}))
        .is(200, told(json!(5), json!(25), json!("2026-12-01T00:00:00Z"), 2));
    client
        .post(PATH, json!({"meter": "reports", "amount": "2.5", "expires_at": "2026-12-15T12:00:00+01:00"}))
        .is(200, told(json!(2.5), json!(27.5), json!("2026-12-15T11:00:00Z"), 3));
    client
        .post(PATH, json!({"meter": "reports", "amount": 100, "expires_at": "never", "reason": "goodwill"}))
        .is(200, told(json!(100), json!(127.5), Value::Null, 4));
    assert_eq!(client.get("/v1/orgs/acme/ledger/4").ok()["reason"], "goodwill");
    for (at, topped_up, remaining) in [
        ("2026-11-30T23:59:59Z", json!(107.5), json!(127.5)),
        ("2026-12-01T00:00:00Z", json!(102.5), json!(122.5)),
        ("2026-12-15T10:59:59Z", json!(102.5), json!(122.5)),
        ("2026-12-15T11:00:00Z", json!(100), json!(120)),
        ("2030-01-01T00:00:00Z", json!(100), json!(120)),
    ] {
        server.at(at);
        let reports = reports(&mut client);
        assert_eq!((&reports["topped_up"], &reports["remaining"]), (&topped_up, &remaining), "{at}");
    }
}

#[test]
fn so_many_are_open_and_no_more() {
    let (server, mut client) = on_lite();
    let one = json!({"meter": "reports", "amount": 1, "expires_at": "2026-11-20T00:00:00Z"});
    for _ in 0..1_000 {
        client.post(PATH, one.clone()).ok();
    }
    let refused = client.post(PATH, json!({"meter": "reports", "amount": 1}));
    refused.is_problem(409, "too_many", None);
    assert_eq!(reports(&mut client)["remaining"], 1_020);
    // Those that expire make room.
    server.at("2026-11-20T00:00:00Z");
    client.post(PATH, json!({"meter": "reports", "amount": 1})).ok();
    assert_eq!(reports(&mut client)["remaining"], 21);
}

#[test]
fn they_burn_by_priority_then_nearest_expiry_then_oldest() {
    let (_server, mut client) = on_lite();
    for (amount, priority, expires_at) in [
        (1, 100, json!("never")),
        (2, 200, json!("2026-11-03T00:00:00Z")),
        (3, 100, json!("2026-11-10T00:00:00Z")),
        (4, 50, json!("never")),
        (5, 100, json!("2026-11-10T00:00:00Z")),
    ] {
        let body =
            json!({"meter": "reports", "amount": amount, "priority": priority, "expires_at": expires_at});
        client.post(PATH, body).ok();
    }
    let wanted = [
        ("top_up 5", 4),
        ("top_up 4", 3),
        ("top_up 6", 5),
        ("allowance 2026-11", 20),
        ("top_up 2", 1),
        ("top_up 3", 2),
    ];
    client.post("/v1/usage", json!({"org": "acme", "meter": "reports", "quantity": 35, "key": "k"})).ok();
    let entry = client.get("/v1/orgs/acme/ledger/7").ok();
    let burned: Vec<_> = wanted.map(|(source, amount)| json!({"source": source, "amount": amount})).to_vec();
    assert_eq!(entry["burns"], json!(burned));
    let reports = reports(&mut client);
    let order: Vec<_> =
        reports["credits"].as_array().expect("credits").iter().map(|credit| credit["used"].clone()).collect();
    assert_eq!(order, wanted.map(|(_, amount)| json!(amount)), "the balance lists them as they burn");
}

#[test]
fn one_that_starts_later_is_there_later() {
    let (server, mut client) = on_lite();
    let body = json!({"meter": "reports", "amount": 9, "effective_at": "2026-12-24T00:00:00Z"});
    client.post(PATH, body).is(200, told(json!(9), json!(20), json!("2027-01-01T00:00:00Z"), 2));
    for (at, remaining) in
        [("2026-12-23T23:59:59Z", 20), ("2026-12-24T00:00:00Z", 29), ("2027-01-01T00:00:00Z", 20)]
    {
        server.at(at);
        assert_eq!(reports(&mut client)["remaining"], remaining, "{at}");
    }
}

#[test]
fn a_key_tops_up_once() {
    let (server, mut client) = on_lite();
    let body = json!({"meter": "reports", "amount": 5, "key": "t-1"});
    let first = told(json!(5), json!(25), json!("2026-12-01T00:00:00Z"), 2);
    client.post(PATH, body.clone()).is(200, first.clone());
    // The key of a usage is another one.
    client.post("/v1/usage", json!({"org": "acme", "meter": "reports", "key": "t-1"})).ok();
    server.at("2026-11-03T00:00:00Z");
    let mut again = first;
    again["replayed"] = json!(true);
    again["expires_at"] = Value::Null;
    client.post(PATH, body).is(200, again.clone());
    let bare = json!({"meter": "reports", "amount": 5});
    client
        .ask(&Ask::new("POST", PATH).header("Idempotency-Key", "\"t-1\"").json(bare.clone()))
        .is(200, again);
    let other = json!({"meter": "reports", "amount": 5, "key": "t-1", "priority": 1});
    client.post(PATH, other).is_problem(422, "key_reused", Some("key"));
    assert_eq!(reports(&mut client)["topped_up"], 5);
    // Without a key each counts.
    client.post(PATH, bare.clone()).ok();
    client.post(PATH, bare).ok();
    assert_eq!(reports(&mut client)["topped_up"], 15);
}

#[test]
fn they_need_a_plan_or_a_trial_that_runs() {
    let server = TestServer::start();
    let mut client = server.client();
    let body = json!({"meter": "reports", "amount": 5});
    client.put("/v1/orgs/acme", json!({"name": "Acme"})).ok();
    client.post(PATH, body.clone()).is_problem(402, "no_plan", None);
    client.put("/v1/orgs/acme/plan", json!({"plan": "trial"})).ok();
    client.post(PATH, body.clone()).is(200, told(json!(5), json!(15), json!("2026-12-01T00:00:00Z"), 3));
    server.at("2026-11-16T10:00:00Z");
    client.post(PATH, body.clone()).is_problem(402, "trial_ended", None);
    client.put("/v1/orgs/acme/plan", json!({"plan": "lite"})).ok();
    client.post("/v1/usage", json!({"org": "acme", "meter": "reports", "quantity": 25, "key": "k"})).ok();
    assert_eq!(client.post(PATH, body).ok()["remaining"], 5, "allowed for an org that is out");
}

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

#[test]
fn they_are_listed_with_what_is_left_of_them() {
    let (server, mut client) = on_lite();
    client.post(PATH, json!({"meter": "reports", "amount": 5, "key": "t-1", "reason": "goodwill"})).ok();
    client.post(PATH, json!({"meter": "reports", "amount": 7, "effective_at": "2026-12-01"})).ok();
    let listed = client.get(&format!("{PATH}?limit=1")).ok();
    assert_eq!(listed["top_ups"][0]["state"], "scheduled", "{listed:#}");
    assert_eq!(listed["top_ups"][0]["expires_at"], "2027-01-01T00:00:00Z");
    let cursor = listed["next"].as_str().expect("there is more");
    let listed = client.get(&format!("{PATH}?limit=1&cursor={cursor}")).ok();
    let mut first = listed["top_ups"][0].clone();
    first.as_object_mut().expect("an object").remove("effective_at");
    assert_eq!(
        first,
        json!({
            "entry": 2, "key": "t-1", "meter": "reports", "state": "active", "amount": 5, "used": 0, "voided": 0,
            "remaining": 5, "priority": 100, "expires_at": "2026-12-01T00:00:00Z", "reason": "goodwill"
        })
    );
    assert_eq!(listed["next"], Value::Null);
    server.at("2026-12-05T00:00:00Z");
    let states = client.get(PATH).ok()["top_ups"].as_array().expect("a list").clone();
    let states: Vec<_> = states.iter().map(|top_up| top_up["state"].clone()).collect();
    assert_eq!(states, ["active", "expired"]);
    assert_eq!(client.get(&format!("{PATH}?meter=reports")).ok(), client.get(PATH).ok());
    client.get(&format!("{PATH}?meter=tokens")).is_problem(404, "unknown_meter", Some("meter"));
}

#[test]
fn what_is_unused_of_one_is_taken_back_once() {
    let (_server, mut client) = on_lite();
    client.post(PATH, json!({"meter": "reports", "amount": 5, "key": "t-1"})).ok();
    client.post(PATH, json!({"meter": "reports", "amount": 7})).ok();
    let reply = |amount: i32, left: i32, entry: Value| json!({"org": "acme", "amount": amount, "replayed": entry.is_null(), "remaining": left, "total": left, "entry": entry});
    // Without a body, with one, and by the key.
    client.ask(&Ask::new("POST", &format!("{PATH}/3/void"))).is(200, reply(7, 25, json!(4)));
    client.post(&format!("{PATH}/3/void"), json!({"reason": "again"})).is(200, reply(0, 25, Value::Null));
    client.post(&format!("{PATH}/void"), json!({"key": "t-1", "amount": 2})).is(200, reply(2, 23, json!(5)));
    let ledger = client.get("/v1/orgs/acme/ledger/4").ok();
    assert_eq!((&ledger["kind"], &ledger["quantity"]), (&json!("top_up_voided"), &json!(7)));
    for (path, body, status, code, field) in [
        (format!("{PATH}/1/void"), json!({}), 404, "unknown_top_up", None),
        (format!("{PATH}/99/void"), json!({}), 404, "unknown_top_up", None),
        (format!("{PATH}/void"), json!({"key": "t-9"}), 404, "unknown_top_up", None),
        (format!("{PATH}/void"), json!({"key": "t-1", "amount": 4}), 409, "more_than_unused", Some("amount")),
        (format!("{PATH}/x/void"), json!({}), 400, "invalid_parameter", Some("entry")),
    ] {
        client.post(&path, body).is_problem(status, code, field);
    }
}

#[test]
fn a_correction_needs_a_reason_and_takes_what_is_unused() {
    let (_server, mut client) = on_lite();
    client.post(PATH, json!({"meter": "reports", "amount": 5})).ok();
    let unexplained = json!({"meter": "reports", "amount": -2});
    client.post(PATH, unexplained).is_problem(422, "invalid_field", Some("reason"));
    let nothing = json!({"meter": "reports", "amount": 0, "reason": "r"});
    client.post(PATH, nothing).is_problem(422, "invalid_field", Some("amount"));
    let correct = json!({"meter": "reports", "amount": -2, "reason": "a typing error", "key": "c-1"});
    for replayed in [false, true] {
        let reply = client.post(PATH, correct.clone()).ok();
        let found = (&reply["amount"], &reply["remaining"], &reply["replayed"], &reply["entry"]);
        assert_eq!(found, (&json!(-2), &json!(23), &json!(replayed), &json!(3)));
    }
    let too_much = json!({"meter": "reports", "amount": -4, "reason": "r"});
    client.post(PATH, too_much).is_problem(409, "more_than_unused", Some("amount"));
}

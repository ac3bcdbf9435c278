//! `/v1/holds`: reserve, capture, release, expire.

use std::thread;

use serde_json::{Value, json};

use crate::client::Client;
use crate::server::TestServer;

fn on_plan(plan: &str) -> (TestServer, Client) {
    let server = TestServer::start();
    server.at("2026-11-21T10:00:00Z");
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": plan})).ok();
    (server, client)
}

fn asked(key: &str, quantity: f64) -> Value {
    json!({"org": "acme", "meter": "reports", "quantity": quantity, "key": key})
}

/// Takes a hold; its id.
fn hold(client: &mut Client, body: Value) -> String {
    let reply = client.post("/v1/holds", body).ok();
    reply["hold"]["hold"].as_str().expect("an id").to_owned()
}

/// Used, held and remaining.
fn balance(client: &mut Client) -> [Value; 3] {
    let line = client.get("/v1/orgs/acme/balance").ok()["meters"]["reports"].clone();
    ["used", "held", "remaining"].map(|name| line[name].clone())
}

#[test]
fn what_is_held_is_neither_used_nor_left_until_it_is_captured_or_given_back() {
    let (_server, mut client) = on_plan("basic");
    let reply = client.post("/v1/holds", asked("call-1", 40.0)).ok();
    assert_eq!(
        (&reply["allowed"], &reply["replayed"], &reply["remaining"]),
        (&json!(true), &json!(false), &json!(60))
    );
    assert_eq!(
        reply["hold"],
        json!({
            "hold": "2-acme", "state": "open", "org": "acme", "meter": "reports", "key": "call-1", "quantity": 40,
            "held": 40, "captured": 0, "overran": 0, "carved": 0, "overrun": 0, "on_expiry": "release",
            "made_at": "2026-11-21T10:00:00Z", "expires_at": "2026-11-21T10:10:00Z"
        })
    );
    assert_eq!(balance(&mut client), [json!(0), json!(40), json!(60)]);
    let denied = client.post("/v1/usage", asked("u-1", 61.0));
    denied.has_problem_members(402, "org_limit_reached", None);
    let limit = &denied.json()["limit"];
    assert_eq!((&limit["used"], &limit["held"], &limit["remaining"]), (&json!(0), &json!(40), &json!(60)));
    assert_eq!(client.post("/v1/usage", asked("u-2", 60.0)).ok()["held"], 40);

    let captured = client.post("/v1/holds/2-acme/capture", json!({"quantity": 25.5})).ok();
    assert_eq!((&captured["captured"], &captured["remaining"]), (&json!(25.5), &json!(14.5)));
    assert_eq!(captured["hold"]["state"], "captured");
    assert_eq!(balance(&mut client), [json!(85.5), json!(0), json!(14.5)]);
    // What was captured is a usage under the key of the hold, and is taken back as one.
    let entry = client.get(&format!("/v1/orgs/acme/ledger/{}", captured["entry"])).ok();
    assert_eq!(
        (&entry["kind"], &entry["key"], &entry["hold"]),
        (&json!("used"), &json!("call-1"), &json!(2))
    );
    client.post("/v1/usage/reversals", json!({"org": "acme", "key": "call-1"})).ok();
    assert_eq!(balance(&mut client), [json!(60), json!(0), json!(40)]);

    let id = hold(&mut client, asked("call-2", 40.0));
    let released = client.post(&format!("/v1/holds/{id}/release"), json!({})).ok();
    assert_eq!((&released["released"], &released["hold"]["state"]), (&json!(true), &json!("released")));
    assert_eq!(balance(&mut client), [json!(60), json!(0), json!(40)]);
}

#[test]
fn each_step_sent_again_changes_nothing() {
    let (_server, mut client) = on_plan("basic");
    let id = hold(&mut client, asked("call-1", 40.0));
    let again = client.post("/v1/holds", asked("call-1", 40.0)).ok();
    assert_eq!((&again["replayed"], &again["hold"]["hold"]), (&json!(true), &json!(id)));
    client.post("/v1/holds", asked("call-1", 41.0)).has_problem_members(422, "key_reused", Some("key"));
    client.post("/v1/usage", asked("call-1", 40.0)).has_problem_members(422, "key_reused", Some("key"));
    let path = format!("/v1/holds/{id}/capture");
    let part = json!({"quantity": 10, "final": false, "key": "part-1"});
    client.post(&path, json!({"quantity": 1, "final": false})).is_problem(422, "missing_field", Some("key"));
    for replayed in [false, true] {
        let reply = client.post(&path, part.clone()).ok();
        assert_eq!((&reply["replayed"], &reply["captured"]), (&json!(replayed), &json!(10)));
    }
    client.post(&path, json!({"quantity": 11, "final": false, "key": "part-1"})).is_problem(
        422,
        "key_reused",
        Some("key"),
    );
    for replayed in [false, true] {
        let reply = client.post(&path, json!({"quantity": 5})).ok();
        assert_eq!((&reply["replayed"], &reply["captured"]), (&json!(replayed), &json!(5)));
        assert_eq!(reply["hold"]["captured"], 15);
    }
    let ended = client.post(&path, json!({"quantity": 6}));
    ended.has_problem_members(409, "hold_ended", Some("hold"));
    assert_eq!(ended.json()["hold"]["captured"], 15);
    client.post(&format!("/v1/holds/{id}/release"), json!({})).has_problem_members(
        409,
        "hold_ended",
        Some("hold"),
    );
    // A part that was captured before the end is still known.
    assert_eq!(client.post(&path, part).ok()["replayed"], true);
    assert_eq!(balance(&mut client), [json!(15), json!(0), json!(85)]);
    let released = hold(&mut client, asked("call-2", 1.0));
    for replayed in [false, true] {
        let reply = client.post(&format!("/v1/holds/{released}/release"), json!({})).ok();
        assert_eq!(reply["replayed"], replayed);
    }
}

#[test]
fn more_than_is_held_is_captured_as_far_as_it_was_agreed() {
    let (_server, mut client) = on_plan("basic");
    let mut body = asked("call-1", 90.0);
    body["overrun"] = json!(20);
    let id = hold(&mut client, body);
    let path = format!("/v1/holds/{id}/capture");
    client.post(&path, json!({"quantity": 110.5})).is_problem(409, "more_than_held", Some("quantity"));
    client.post(&path, json!({"quantity": -1})).is_problem(422, "invalid_field", Some("quantity"));
    let reply = client.post(&path, json!({"quantity": 105})).ok();
    assert_eq!((&reply["hold"]["captured"], &reply["hold"]["overran"]), (&json!(105), &json!(15)));
    // What no credit covered was used all the same: it is billed, and no debt.
    assert_eq!(balance(&mut client), [json!(100), json!(0), json!(0)]);
    assert_eq!(client.get("/v1/orgs/acme/balance").ok()["meters"]["reports"]["overage"], 5);
}

#[test]
fn a_hold_that_nobody_ends_expires_as_it_was_agreed() {
    let (server, mut client) = on_plan("basic");
    let given_back = hold(&mut client, asked("call-1", 30.0));
    let mut body = asked("call-2", 20.0);
    body["on_expiry"] = json!("charge");
    let charged = hold(&mut client, body);
    let part = json!({"quantity": 4, "final": false, "key": "part-1"});
    client.post(&format!("/v1/holds/{given_back}/capture"), part).ok();
    server.at("2026-11-21T10:09:59.999999999Z");
    assert_eq!(balance(&mut client), [json!(4), json!(46), json!(50)]);
    // At its end, whoever looks, and whoever captures: it has expired.
    server.at("2026-11-21T10:10:00Z");
    assert_eq!(balance(&mut client), [json!(24), json!(0), json!(76)]);
    let state = |client: &mut Client, id: &str| {
        let hold = client.get(&format!("/v1/holds/{id}")).ok();
        (hold["state"].clone(), hold["captured"].clone())
    };
    assert_eq!(state(&mut client, &given_back), (json!("expired"), json!(4)));
    assert_eq!(state(&mut client, &charged), (json!("expired"), json!(20)));
    let late = client.post(&format!("/v1/holds/{given_back}/capture"), json!({"quantity": 30}));
    late.has_problem_members(409, "hold_ended", Some("hold"));
    assert_eq!(late.json()["hold"]["state"], "expired");
    // What was used beyond that is recorded; an estimate that was too high is taken back by the key of the hold.
    client.post("/v1/usage/batch", json!([asked("late-1", 26.0)])).ok();
    client.post("/v1/usage/reversals", json!({"org": "acme", "key": "call-2"})).ok();
    assert_eq!(balance(&mut client), [json!(30), json!(0), json!(70)]);
}

#[test]
fn a_hold_outlives_the_server_and_is_captured_in_the_month_it_was_made_in() {
    let (mut server, mut client) = on_plan("lite");
    server.at("2026-11-30T23:59:00Z");
    let id = hold(&mut client, asked("call-1", 15.0));
    server.restart();
    let mut client = server.client();
    server.at("2026-12-01T00:01:00Z");
    // The new month has all of its own credit.
    assert_eq!(balance(&mut client), [json!(0), json!(0), json!(20)]);
    let reply = client.post(&format!("/v1/holds/{id}/capture"), json!({"quantity": 15})).ok();
    let entry = client.get(&format!("/v1/orgs/acme/ledger/{}", reply["entry"])).ok();
    assert_eq!(entry["periods"], json!(["2026-11-30", "2026-11", "lifetime"]));
    assert_eq!(entry["burns"], json!([{"source": "allowance 2026-11", "amount": 15}]));
    assert_eq!(balance(&mut client), [json!(0), json!(0), json!(20)]);
}

#[test]
fn the_budget_of_a_run_is_carved_out_of_its_parent_and_shared_by_its_sub_runs() {
    let (_server, mut client) = on_plan("basic");
    let within = |key: &str, quantity: f64, within: &str| {
        let mut body = asked(key, quantity);
        body["within"] = json!(within);
        body
    };
    let run = hold(&mut client, asked("run", 50.0));
    let sub = hold(&mut client, within("sub", 30.0, &run));
    assert_eq!(balance(&mut client), [json!(0), json!(50), json!(50)]);
    let denied = client.post("/v1/holds", within("other", 20.5, &run));
    denied.has_problem_members(403, "hold_limit_reached", None);
    let limit = denied.json()["limit"].clone();
    assert_eq!(
        (&limit["scope"], &limit["amount"], &limit["remaining"]),
        (&json!("hold"), &json!(50), &json!(20))
    );
    let call = hold(&mut client, within("call", 12.0, &sub));
    client.post(&format!("/v1/holds/{call}/capture"), json!({"quantity": 7})).ok();
    // What the call did not use is the sub-run's again, and what that does not use the run's.
    assert_eq!(client.get(&format!("/v1/holds/{sub}")).ok()["held"], 23);
    client.post(&format!("/v1/holds/{sub}/release"), json!({})).ok();
    assert_eq!(client.get(&format!("/v1/holds/{run}")).ok()["held"], 43);
    assert_eq!(balance(&mut client), [json!(7), json!(43), json!(50)]);
    client.post("/v1/holds", within("late", 1.0, &sub)).has_problem_members(
        404,
        "unknown_hold",
        Some("within"),
    );
    let listed = client.get("/v1/orgs/acme/holds").ok();
    assert_eq!(listed["holds"].as_array().map(Vec::len), Some(1));
    assert_eq!(listed["holds"][0]["hold"], json!(run));
}

#[test]
fn what_cannot_be_held_is_refused_with_its_reason() {
    let (_server, mut client) = on_plan("basic");
    let with = |name: &str, value: Value| {
        let mut body = asked("call-1", 1.0);
        body[name] = value;
        body
    };
    for (body, status, code, field) in [
        (with("expires_in", json!(0)), 422, "invalid_field", Some("expires_in")),
        (with("expires_in", json!(86_401)), 422, "invalid_field", Some("expires_in")),
        (with("overrun", json!(0)), 422, "invalid_field", Some("overrun")),
        (with("on_expiry", json!("keep")), 422, "invalid_field", Some("on_expiry")),
        (with("within", json!("17")), 422, "invalid_field", Some("within")),
        (with("within", json!("1-beta")), 422, "invalid_field", Some("within")),
        (with("within", json!("9-acme")), 404, "unknown_hold", Some("within")),
        (with("meter", json!("pages")), 404, "unknown_meter", Some("meter")),
        (with("org", json!("beta")), 404, "unknown_org", Some("org")),
        (with("quantity", json!(100.5)), 402, "org_limit_reached", None),
    ] {
        client.post("/v1/holds", body).has_problem_members(status, code, field);
    }
    for path in ["/v1/holds/1-acme", "/v1/holds/99-acme", "/v1/holds/1-nobody"] {
        client.get(path).is_problem(404, "unknown_hold", Some("hold"));
    }
    client.get("/v1/holds/acme").is_problem(400, "invalid_parameter", Some("hold"));
    client.get("/v1/orgs/nobody/holds").is_problem(404, "unknown_org", Some("org"));
}

/// LiteLLM 40002: of five concurrent calls of 0.15 against a budget of 0.45 four were admitted, and 0.60 was spent.
#[test]
fn of_five_concurrent_calls_exactly_three_fit_their_budget_as_litellm_40002_asks() {
    let (server, mut client) = on_plan("basic");
    let limit = json!({"meter": "reports", "scope": "org", "window": "lifetime", "amount": 1});
    client.put("/v1/orgs/acme/limits", limit).ok();
    client.post("/v1/usage", asked("before", 0.55)).ok();
    let held: usize = thread::scope(|scope| {
        let calls = (0..5).map(|number| {
            let mut client = server.client();
            scope.spawn(move || {
                let reply = client.post("/v1/holds", asked(&format!("call-{number}"), 0.15));
                if reply.status != 200 {
                    reply.has_problem_members(403, "org_limit_reached", None);
                    return 0;
                }
                let id = reply.json()["hold"]["hold"].as_str().expect("an id").to_owned();
                client.post(&format!("/v1/holds/{id}/capture"), json!({"quantity": 0.15})).ok();
                1
            })
        });
        let calls: Vec<_> = calls.collect();
        calls.into_iter().map(|call| call.join().expect("a call")).sum()
    });
    assert_eq!(held, 3);
    assert_eq!(balance(&mut client), [json!(1), json!(0), json!(99)]);
}

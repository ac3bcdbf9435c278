//! What another catalog would change: money, and what would have been denied.

use serde_json::{Value, json};
use tollgate_domain::catalog::DEFAULT;

use crate::bills::{PRICED, bill, priced, team, used};
use crate::client::Client;
use crate::server::TestServer;

#[test]
fn another_catalog_changes_nothing_until_it_is_applied() {
    let server = TestServer::start();
    let mut client = priced(&server);
    team(&mut client, "acme");
    team(&mut client, "beta");
    client.put("/v1/orgs/gone/plan", json!({"plan": "trial"})).ok();
    used(&mut client, "acme", "tokens", 4, "t1", json!({"model": "large"}));
    let next = PRICED.replace("unit_price = \"0.5\"", "unit_price = \"0.9\"");
    let reply = client.post("/v1/whatif", json!({"catalog": next, "month": "2026-11"})).ok();
    let wanted = json!({
        "month": "2026-11", "orgs": 2, "changed": 1,
        "totals": [{"currency": "USD", "now": "100.00", "then": "101.60", "difference": "1.60"}],
        "denied_otherwise": 0, "would_be_denied": [],
        "items": [{"org": "acme", "now": "51.00 USD", "then": "52.60 USD", "difference": "1.60 USD"}],
    });
    assert_eq!(reply, wanted);
    assert_eq!(bill(&mut client, "acme", "2026-11")["total"], "51.00");
    let lacking = PRICED.replace("id = \"team\"", "id = \"other\"");
    let reply = client.post("/v1/whatif", json!({"catalog": lacking, "month": "2026-11"})).ok();
    assert_eq!((&reply["changed"], &reply["items"][0]["then"]), (&json!(2), &Value::Null), "{reply:#}");
    let wrong = client.post("/v1/whatif", json!({"catalog": "meters = 1", "month": "2026-11"}));
    wrong.is_problem(422, "invalid_catalog", None);
}

fn asked(client: &mut Client, catalog: &str) -> Value {
    client.post("/v1/whatif", json!({"catalog": catalog, "month": "2026-11"})).ok()
}

/// Uses reports; gives whether it was allowed.
fn reports(client: &mut Client, org: &str, user: &str, quantity: u32, key: &str) -> bool {
    let body = json!({"org": org, "user": user, "meter": "reports", "quantity": quantity, "key": key});
    client.post("/v1/usage", body).status == 200
}

fn denied(meter: &str, reason: &str, now: (u64, u64), then: (u64, u64)) -> Value {
    json!({
        "meter": meter, "reason": reason, "usages_now": now.0, "usages_then": then.0,
        "quantity_now": now.1, "quantity_then": then.1,
    })
}

#[test]
fn what_another_catalog_would_have_denied_is_counted_in_order() {
    let server = TestServer::start();
    let mut client = server.client();
    // The month before fills nothing of this one.
    server.at("2026-10-20T00:00:00Z");
    for org in ["acme", "beta"] {
        client.put(&format!("/v1/orgs/{org}/plan"), json!({"plan": "basic"})).ok();
        assert!(reports(&mut client, org, "ann", 90, "october"));
    }
    server.at("2026-11-02T10:00:00Z");
    assert!(reports(&mut client, "acme", "ann", 30, "a1"));
    assert!(reports(&mut client, "acme", "ann", 25, "a2"), "too much of 50 in the other catalog");
    assert!(reports(&mut client, "acme", "ann", 20, "a3"), "fits there, for a2 took nothing");
    client.post("/v1/usage/reversals", json!({"org": "acme", "key": "a2"})).ok();
    client.post("/v1/usage/reversals", json!({"org": "acme", "key": "a1"})).ok();
    assert!(reports(&mut client, "acme", "ann", 30, "a4"), "fits there, for a1 was taken back");
    assert!(reports(&mut client, "acme", "ann", 1, "a5"), "nothing is left there");
    client.post("/v1/orgs/acme/top-ups", json!({"meter": "reports", "amount": 5})).ok();
    assert!(reports(&mut client, "acme", "ann", 5, "a6"), "the top-up stands");
    // What was recorded is never denied, and burns.
    client
        .post("/v1/usage/batch", json!([{"org": "beta", "meter": "reports", "quantity": 45, "key": "b1"}]))
        .ok();
    assert!(reports(&mut client, "beta", "ann", 6, "b2"));
    assert!(!reports(&mut client, "beta", "ann", 60, "b3"), "denied at the time: known to no ledger");
    let next = DEFAULT.replace("amount = 100 ", "amount = 50 ");
    assert_ne!(next, DEFAULT);
    let reply = asked(&mut client, &next);
    let all = denied("reports", "org_limit_reached", (0, 0), (3, 32));
    assert_eq!(reply["would_be_denied"], json!([all]), "{reply:#}");
    assert_eq!(reply["denied_otherwise"], 2, "{reply:#}");
    let of = |index: usize| (&reply["items"][index]["org"], &reply["items"][index]["would_be_denied"][0]);
    assert_eq!(
        of(0),
        (&json!("acme"), &denied("reports", "org_limit_reached", (0, 0), (2, 26))),
        "{reply:#}"
    );
    assert_eq!(of(1), (&json!("beta"), &denied("reports", "org_limit_reached", (0, 0), (1, 6))), "{reply:#}");
    let same = asked(&mut client, DEFAULT);
    assert_eq!((&same["denied_otherwise"], &same["would_be_denied"]), (&json!(0), &json!([])), "{same:#}");
}

#[test]
fn a_catalog_that_lacks_a_plan_or_limits_users_denies_by_its_own_reasons() {
    let server = TestServer::start();
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
    for (user, key) in [("ann", "k1"), ("ann", "k2"), ("ben", "k3")] {
        assert!(reports(&mut client, "acme", user, 2, key));
    }
    let reasons = |reply: &Value| -> Vec<(String, u64)> {
        let rows = reply["would_be_denied"].as_array().expect("rows").iter();
        rows.map(|row| {
            (
                row["reason"].as_str().expect("a code").to_owned(),
                row["usages_then"].as_u64().expect("a number"),
            )
        })
        .collect()
    };
    let limit =
        "limits = [{ meter = \"reports\", scope = \"user\", window = \"day\", amount = 3 }]\nid = \"basic\"";
    let limited = asked(&mut client, &DEFAULT.replace("id = \"basic\"", limit));
    assert_eq!(reasons(&limited), [("user_limit_reached".to_owned(), 1)], "{limited:#}");
    let lacking = asked(&mut client, &DEFAULT.replace("id = \"basic\"", "id = \"other\""));
    assert_eq!(reasons(&lacking), [("no_plan".to_owned(), 3)], "{lacking:#}");
    let renamed = DEFAULT
        .replace("id = \"reports\"", "id = \"pages\"")
        .replace("meter = \"reports\"", "meter = \"pages\"");
    let renamed = asked(&mut client, &renamed);
    assert_eq!(reasons(&renamed), [("unknown_meter".to_owned(), 3)], "{renamed:#}");
}

/// A hold of yesterday takes its room of yesterday's limit, whenever it is captured: as it was, so it is gone through again.
#[test]
fn what_is_captured_counts_on_the_day_of_its_hold() {
    let server = TestServer::start();
    let mut client = server.client();
    server.at("2026-11-02T10:00:00Z");
    client.put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
    let limit = json!({"meter": "reports", "scope": "org", "window": "day", "amount": 30});
    client.put("/v1/orgs/acme/limits", limit).ok();
    let hold =
        json!({"org": "acme", "meter": "reports", "quantity": 25, "key": "held", "expires_in": 86_400});
    let hold = client.post("/v1/holds", hold).json();
    server.at("2026-11-03T09:00:00Z");
    let hold = hold["hold"]["hold"].as_str().expect("an id");
    client.post(&format!("/v1/holds/{hold}/capture"), json!({})).ok();
    assert!(reports(&mut client, "acme", "ann", 10, "next day"));
    let reply = asked(&mut client, DEFAULT);
    assert_eq!(reply["would_be_denied"], json!([]), "{reply:#}");
}

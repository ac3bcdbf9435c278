//! Plans that are scheduled, left and called off, and what their months are billed.

use serde_json::{Value, json};

use crate::bills::{apply, bill, close};
use crate::client::Client;
use crate::server::TestServer;

const CATALOG: &str = r#"
[[meters]]
id = "tokens"
name = "Tokens"
unit = "token"

[[plans]]
id = "small"
name = "Small"
allowances = [{ meter = "tokens", amount = 1000, enforcement = "soft" }]
prices = [
    { model = "flat", flat_fee = 30 },
    { meter = "tokens", model = "per_unit", unit_price = "0.002", quantity = "overage" },
]

[[plans]]
id = "large"
name = "Large"
allowances = [{ meter = "tokens", amount = 10000, enforcement = "soft" }]
prices = [
    { model = "flat", flat_fee = 300 },
    { meter = "tokens", model = "per_unit", unit_price = "0.01", quantity = "overage" },
]

[[plans]]
id = "yen"
name = "Yen"
currency = "JPY"
prices = [{ model = "flat", flat_fee = 1000 }]
"#;

const PLAN: &str = "/v1/orgs/acme/plan";

fn tokens(client: &mut Client, quantity: u32, key: &str) {
    let body = json!({"org": "acme", "meter": "tokens", "quantity": quantity, "key": key});
    client.post("/v1/usage", body).ok();
}

#[test]
fn a_change_is_scheduled_listed_replaced_and_called_off() {
    let server = TestServer::start();
    let mut client = server.client();
    apply(&mut client, CATALOG);
    client.get(PLAN).is_problem(404, "unknown_org", Some("org"));
    client.put("/v1/orgs/acme", json!({"time_zone": "Europe/Berlin"})).ok();
    client.put(PLAN, json!({"plan": "small"})).ok();
    let scheduled = |reply: Value| reply["scheduled"].clone();
    let december = json!({"plan": "large", "at": "2026-12-01T00:00:00+01:00"});
    for at in ["next_month", "2026-12-01", "2026-11-30T23:00:00Z"] {
        let body = json!({"plan": "large", "at": at});
        assert_eq!(scheduled(client.put(PLAN, body).ok()), december, "{at}");
    }
    assert_eq!(scheduled(client.get(PLAN).ok()), december);
    let leaving = client.delete(&format!("{PLAN}?at=2026-11-20")).ok();
    assert_eq!(scheduled(leaving), json!({"plan": null, "at": "2026-11-20T00:00:00+01:00"}));
    let called_off = client.delete(&format!("{PLAN}/scheduled")).ok();
    assert_eq!((&called_off["scheduled"], &called_off["plan"]), (&Value::Null, &json!("small")));
    assert_eq!(client.delete(&format!("{PLAN}/scheduled")).ok()["changed"], false);
    for at in ["2026-11-01", "2026-11-02T09:59:59Z", "soon", "2026-13-01", ""] {
        client.put(PLAN, json!({"plan": "large", "at": at})).is_problem(422, "invalid_field", Some("at"));
    }
    server.at("2026-11-02T10:00:01Z");
    client.put(PLAN, json!({"plan": "yen"})).is_problem(409, "currency_change", Some("plan"));
    assert_eq!(client.put(PLAN, json!({"plan": "yen", "at": "next_month"})).ok()["changed"], true);
    // Nothing runs when it comes due.
    server.at("2026-11-30T22:59:59Z");
    assert_eq!(client.get(PLAN).ok()["plan"], "small");
    server.at("2026-11-30T23:00:00Z");
    let due = client.get(PLAN).ok();
    assert_eq!((&due["plan"], &due["scheduled"]), (&json!("yen"), &Value::Null));
    assert_eq!(client.delete(PLAN).ok()["plan"], Value::Null);
    let usage = json!({"org": "acme", "meter": "tokens", "key": "gone"});
    client.post("/v1/usage", usage).is_problem(402, "no_plan", None);
}

#[test]
fn an_upgrade_does_not_reprice_and_a_late_downgrade_erases_nothing() {
    let server = TestServer::start();
    let mut client = server.client();
    apply(&mut client, CATALOG);
    server.at("2026-11-30T10:00:00Z");
    client.put(PLAN, json!({"plan": "small"})).ok();
    server.at("2026-12-02T10:00:00Z");
    tokens(&mut client, 1_500, "t1");
    server.at("2026-12-11T10:00:00Z");
    client.put(PLAN, json!({"plan": "large"})).ok();
    let balance = client.get("/v1/orgs/acme/balance").ok()["meters"]["tokens"].clone();
    let told = ["allowance", "used", "remaining", "overage", "month"].map(|name| balance[name].clone());
    assert_eq!(told, [10_000, 1_000, 9_000, 500, 1_500].map(|amount| json!(amount)), "{balance:#}");
    server.at("2026-12-31T23:59:00Z");
    client.delete(PLAN).ok();
    server.at("2027-02-03T10:00:00Z");
    client.post("/v1/orgs/acme/bill/close", json!({"month": "2026-12"})).is_problem(
        409,
        "earlier_month_open",
        Some("month"),
    );
    // Closed late, it is rated by the catalog of its time.
    apply(&mut client, &CATALOG.replace("0.002", "7").replace("flat_fee = 300", "flat_fee = 3"));
    close(&mut client, "acme", "2026-11");
    let december = close(&mut client, "acme", "2026-12");
    let how: Vec<&str> = december["lines"]
        .as_array()
        .expect("lines")
        .iter()
        .map(|line| line["arithmetic"].as_str().expect("a text"))
        .collect();
    assert_eq!(
        how,
        [
            "Small, 11 of 31 days: 30.00 USD × 11/31 days = 10.645161… USD; rounded 10.65 USD",
            "500 tokens beyond the credit × 0.002 USD = 1.00 USD",
            "Large, 20 of 31 days: 300.00 USD × 20/31 days = 193.548387… USD; rounded 193.55 USD",
        ],
        "{december:#}"
    );
    assert_eq!(december["total"], "205.20");
    assert_eq!(bill(&mut client, "acme", "2026-12"), december);
    client.get("/v1/orgs/acme/bill?month=2027-03").is_problem(404, "unknown_bill", Some("month"));
    client.get("/v1/orgs/acme/bill?month=2027-01").is_problem(404, "unknown_bill", Some("month"));
}

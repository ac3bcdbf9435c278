//! Months that close by themselves while the server runs; the rules are tested where they are, in the engine.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::Client;
use crate::server::TestServer;

/// How long a test waits for what happens in the background.
const PATIENCE: Duration = Duration::from_secs(60);

fn bill(client: &mut Client, org: &str, month: &str) -> Value {
    client.get(&format!("/v1/orgs/{org}/bill?month={month}")).ok()
}

/// Asks for a bill until it is closed.
fn closed(client: &mut Client, org: &str, month: &str) -> Value {
    let begun = Instant::now();
    loop {
        let bill = bill(client, org, month);
        if bill["status"] == "closed" {
            return bill;
        }
        assert!(begun.elapsed() < PATIENCE, "{month} of {org} does not close: {bill:#}");
    }
}

fn used(client: &mut Client, org: &str, quantity: u32) {
    let body = json!({"customer_id": org, "resource_type": "api_call", "quantity": quantity});
    assert_eq!(client.post("/api/v1/usage", body).status, 201);
}

fn months_closed(client: &mut Client) -> String {
    let metrics = client.get("/metrics").text();
    let line = metrics.lines().find(|line| line.starts_with("tollgate_months_closed_total "));
    line.expect("the metric").to_owned()
}

/// Asks for the metric until so many months are counted: a bill can be seen shortly before it is.
fn counted_closed(client: &mut Client, months: u32) {
    let expected = format!("tollgate_months_closed_total {months}");
    let begun = Instant::now();
    loop {
        let line = months_closed(client);
        if line == expected {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{months} are not counted: {line}");
    }
}

#[test]
fn months_close_after_their_grace_and_at_the_next_start() {
    let mut server = TestServer::with(|settings| {
        settings.close_after_days = Some(5);
        settings.close_interval = Duration::from_millis(1);
    });
    let mut client = server.client();
    for org in ["acme", "globex"] {
        used(&mut client, org, 1_250);
    }
    server.at("2026-12-05T23:59:59Z");
    assert_eq!(bill(&mut client, "acme", "2026-11")["status"], "estimate");
    server.at("2026-12-06T00:00:00Z");
    for org in ["acme", "globex"] {
        let bill = closed(&mut client, org, "2026-11");
        assert_eq!((&bill["total"], &bill["number"]), (&json!("12.50"), &json!(1)), "{bill:#}");
        let newest = client.get(&format!("/v1/orgs/{org}/ledger?limit=1")).ok();
        let entry = &newest["entries"][0];
        assert_eq!((&entry["kind"], &entry["actor"]), (&json!("bill_closed"), &json!("closing")));
    }
    counted_closed(&mut client, 2);
    // Late for a closed month.
    let late = json!([{"org": "acme", "meter": "api_call", "quantity": 100, "key": "late",
        "time": "2026-11-30T23:59:59Z"}]);
    assert_eq!(client.post("/v1/usage/batch", late).ok()["counted"], 1);
    server.stop();
    server.at("2027-01-20T00:00:00Z");
    server.restart();
    let december = closed(&mut server.client(), "acme", "2026-12");
    assert_eq!(december["adjustments"][0]["amount"], "1.00", "{december:#}");
    assert_eq!((&december["total"], &december["number"]), (&json!("1.00"), &json!(2)));
}

#[test]
fn months_wait_for_people_unless_they_are_told_to_close() {
    let server = TestServer::with(|settings| settings.close_interval = Duration::from_millis(1));
    let mut client = server.client();
    used(&mut client, "acme", 100);
    server.at("2027-06-01T00:00:00Z");
    for _ in 0..50 {
        assert_eq!(bill(&mut client, "acme", "2026-11")["status"], "estimate");
    }
    assert_eq!(months_closed(&mut client), "tollgate_months_closed_total 0");
}

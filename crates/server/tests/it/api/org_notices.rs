//! Which shares of its credit an org's notices tell of: its own, those of its plan, those of the catalog.

use serde_json::{Value, json};

use crate::client::{Ask, Client};
use crate::server::TestServer;

const CATALOG: &str = r#"
[notices]
thresholds = [80]
[[meters]]
id = "reports"
name = "Reports"
unit = "report"
[[plans]]
id = "plain"
name = "Plain"
allowances = [{ meter = "reports", amount = 100 }]
[[plans]]
id = "watched"
name = "Watched"
notices = { thresholds = [60, 30, 60] }
allowances = [{ meter = "reports", amount = 100 }]
[[plans]]
id = "silent"
name = "Silent"
notices = { thresholds = [] }
allowances = [{ meter = "reports", amount = 100 }]
"#;

fn in_force(org: &str, plan: Value, thresholds: &[u8], from: &str, changed: bool) -> Value {
    json!({"org": org, "plan": plan, "thresholds": thresholds, "from": from, "changed": changed})
}

/// Uses so many reports; the shares that an org was told of since the last time.
fn crossed(client: &mut Client, org: &str, quantity: u8) -> Vec<String> {
    let key = format!("{org} {}", client.get(&format!("/v1/orgs/{org}")).ok()["version"]);
    let used = json!({"org": org, "meter": "reports", "quantity": quantity, "key": key});
    let entry = client.post("/v1/usage", used).ok()["entry"].as_u64().expect("an entry");
    let entry = client.get(&format!("/v1/orgs/{org}/ledger/{entry}")).ok();
    let notices = entry["notices"].as_array().cloned().unwrap_or_default();
    let shares = notices.iter().filter_map(|notice| notice.as_str()?.split_once(" % of the reports"));
    shares.map(|(share, _)| share.to_owned()).collect()
}

#[test]
fn the_org_its_plan_and_the_catalog_give_thresholds_in_that_order() {
    let server = TestServer::start();
    let mut client = server.client();
    // The last day of the month: no forecast warns.
    server.at("2026-11-30T12:00:00Z");
    client.ask(&Ask::new("PUT", "/v1/catalog").toml(CATALOG)).ok();
    for plan in ["plain", "watched", "silent"] {
        client.put(&format!("/v1/orgs/{plan}/plan"), json!({"plan": plan})).ok();
    }
    client.put("/v1/orgs/planless", json!({})).ok();
    let own = "/v1/orgs/watched/notices";
    for (org, plan, shares, from) in [
        ("plain", json!("plain"), &[80][..], "catalog"),
        ("watched", json!("watched"), &[30, 60], "plan"),
        ("silent", json!("silent"), &[], "plan"),
        ("planless", Value::Null, &[80], "catalog"),
    ] {
        let told = client.get(&format!("/v1/orgs/{org}/notices")).ok();
        assert_eq!(told, in_force(org, plan, shares, from, false));
    }
    assert_eq!(crossed(&mut client, "plain", 80), ["80"]);
    assert_eq!(crossed(&mut client, "silent", 100), [""; 0]);
    assert_eq!(crossed(&mut client, "watched", 40), ["30"]);
    for changed in [true, false] {
        let set = client.put(own, json!({"thresholds": [100, 50, 45, 50]})).ok();
        assert_eq!(set, in_force("watched", json!("watched"), &[45, 50, 100], "org", changed));
    }
    assert_eq!(crossed(&mut client, "watched", 8), ["45"]);
    let entry = client.get("/v1/orgs/watched/ledger?kind=thresholds_set").ok()["entries"][0].clone();
    assert_eq!(entry["summary"], "notices at 45, 50, 100 % of the credit");
    // Another plan does not matter to it, until it goes by its plan again.
    client.put("/v1/orgs/watched/plan", json!({"plan": "silent"})).ok();
    assert_eq!(crossed(&mut client, "watched", 2), ["50"]);
    assert_eq!(
        client.put(own, json!({"thresholds": null})).ok(),
        in_force("watched", json!("silent"), &[], "plan", true)
    );
    assert_eq!(crossed(&mut client, "watched", 50), [""; 0]);
    assert_eq!(client.put(own, json!({"thresholds": []})).ok()["from"], "org");
}

#[test]
fn wrong_thresholds_are_refused_and_change_nothing() {
    let server = TestServer::start();
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
    let own = "/v1/orgs/acme/notices";
    let before = client.get("/v1/orgs/acme").ok()["version"].clone();
    for (body, code, field) in [
        (json!({}), "missing_field", "thresholds"),
        (json!({"thresholds": [50], "quiet": true}), "unknown_field", "quiet"),
        (json!({"thresholds": 50}), "invalid_field", "thresholds"),
        (json!({"thresholds": [50, 0]}), "invalid_field", "thresholds[1]"),
        (json!({"thresholds": [101]}), "invalid_field", "thresholds[0]"),
        (json!({"thresholds": [-1]}), "invalid_field", "thresholds[0]"),
        (json!({"thresholds": [99.5]}), "invalid_field", "thresholds[0]"),
        (json!({"thresholds": ["50"]}), "invalid_field", "thresholds[0]"),
        (json!({"thresholds": [300]}), "invalid_field", "thresholds[0]"),
    ] {
        let reply = client.put(own, body.clone());
        reply.is_problem(422, code, Some(field));
        if field.starts_with("thresholds[") {
            let says = "must be a whole number of percent from 1 to 100, not ";
            assert!(reply.text().contains(says), "{body}: {}", reply.text());
        }
    }
    client.put("/v1/orgs/nobody/notices", json!({"thresholds": [50]})).is_problem(
        404,
        "unknown_org",
        Some("org"),
    );
    client.get("/v1/orgs/nobody/notices").is_problem(404, "unknown_org", Some("org"));
    assert_eq!(client.get("/v1/orgs/acme").ok()["version"], before);
}

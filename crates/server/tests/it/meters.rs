//! Meters that the catalog lacks: where usage creates them, and what becomes of them.

use serde_json::{Value, json};
use tollgate_domain::catalog::DEFAULT;
use tollgate_server::Secret;

use crate::client::{Ask, Client};
use crate::races::race;
use crate::server::TestServer;

fn apply(client: &mut Client, text: &str) {
    client.ask(&Ask::new("PUT", "/v1/catalog").toml(text)).ok();
}

fn set(value: &str) -> String {
    format!("unknown_meters = \"{value}\"\n{DEFAULT}")
}

fn at_billing(client: &mut Client, meter: &str, id: &str) -> u16 {
    let body = json!({"customer_id": "acme", "resource_type": meter, "quantity": 2, "id": id});
    client.post("/api/v1/usage", body).status
}

fn batch(client: &mut Client, records: &[(&str, &str)]) -> Value {
    let records: Value =
        records.iter().map(|(meter, key)| json!({"org": "acme", "meter": meter, "key": key})).collect();
    client.post("/v1/usage/batch", records).ok()
}

fn created(client: &mut Client) -> Vec<String> {
    let catalog = client.get("/v1/catalog").ok();
    let items = catalog["created_meters"].as_array().cloned().unwrap_or_default();
    items.iter().map(|item| item["meter"].as_str().expect("a meter").to_owned()).collect()
}

#[test]
fn the_catalog_says_where_usage_creates_meters() {
    for (text, compat, recorded, wanted) in [
        (DEFAULT.to_owned(), 201, 0, vec!["gpu"]),
        (set("compat"), 201, 0, vec!["gpu"]),
        (set("create"), 201, 2, vec!["gpu", "disk"]),
        (set("reject"), 400, 0, vec![]),
    ] {
        let server = TestServer::start();
        let mut client = server.client();
        client.put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
        apply(&mut client, &text);
        assert_eq!(at_billing(&mut client, "gpu", "d-1"), compat, "{text}");
        let known = if wanted.is_empty() { "disk" } else { "gpu" };
        // The gate creates nothing: no plan could allow it.
        let gate = json!({"org": "acme", "meter": "disk", "key": "g-1"});
        client.post("/v1/usage", gate).is_problem(404, "unknown_meter", Some("meter"));
        let reply = batch(&mut client, &[("disk", "b-1"), ("disk", "b-2"), ("reports", "b-3")]);
        assert_eq!(reply["counted"], recorded + 1, "{reply:#}");
        assert_eq!(created(&mut client), wanted, "{text}");
        let reply = batch(&mut client, &[(known, "b-4")]);
        assert_eq!(
            reply["counted"],
            u64::from(compat == 201),
            "what is there is known everywhere: {reply:#}"
        );
    }
}

#[test]
fn a_created_meter_lasts_and_a_catalog_that_declares_it_takes_over() {
    let mut server = TestServer::start();
    let mut client = server.client();
    assert_eq!(at_billing(&mut client, "gpu", "d-1"), 201);
    let catalog = client.get("/v1/catalog").ok();
    let wanted = json!([{"meter": "gpu", "at": "2026-11-02T10:00:00Z"}]);
    assert_eq!((&catalog["version"], &catalog["created_meters"]), (&json!(1), &wanted));
    assert_eq!(client.get("/v1/catalog/versions/1").ok()["created_meters"], Value::Null);
    let used =
        |client: &mut Client| client.get("/v1/orgs/acme/balance").ok()["meters"]["gpu"]["month"].clone();
    assert_eq!(used(&mut client), 2);
    // Nor is it of any other org.
    client.put("/v1/orgs/other/plan", json!({"plan": "pro"})).ok();
    assert_eq!(client.get("/v1/orgs/other/balance").ok()["meters"]["gpu"], Value::Null);

    server.restart();
    let mut client = server.client();
    assert_eq!(client.get("/v1/catalog").ok()["created_meters"], wanted);
    assert_eq!((used(&mut client), at_billing(&mut client, "gpu", "d-2")), (json!(2), 201));

    // The same catalog again is no new version, and another one keeps the meter.
    apply(&mut client, DEFAULT);
    assert_eq!(client.get("/v1/catalog").ok()["version"], 1);
    apply(&mut client, &set("reject"));
    assert_eq!(at_billing(&mut client, "gpu", "d-3"), 201);

    let declared = "\n[[plans.prices]]\nmeter = \"gpu\"\nmodel = \"per_unit\"\nunit_price = 3\n\n\
                    [[meters]]\nid = \"gpu\"\nname = \"GPU hours\"\nunit = \"hour\"\n";
    apply(&mut client, &format!("{DEFAULT}{declared}"));
    let bill = client.get("/v1/orgs/acme/bill").ok();
    assert_eq!(bill["lines"][0]["arithmetic"], "6 hours × 3 USD = 18.00 USD", "{bill:#}");
    let usage = json!({"org": "acme", "meter": "gpu", "key": "d-4"});
    client.post("/v1/usage", usage).is_problem(402, "org_limit_reached", None);
    assert_eq!(created(&mut client), ["gpu"], "it is still known that usage created it");
}

#[test]
fn a_key_of_one_org_is_not_told_what_others_use() {
    let server = TestServer::with(|settings| settings.api_key = Some(Secret("admin-key".to_owned())));
    let mut admin = server.client().with_key("admin-key");
    assert_eq!(at_billing(&mut admin, "gpu", "d-1"), 201);
    let key = admin.post("/v1/api-keys", json!({"name": "r", "role": "read", "org": "other"})).json();
    let mut bound = server.client().with_key(key["secret"].as_str().expect("a secret"));
    bound.get("/v1/catalog").is_problem(403, "forbidden", Some("org"));
    assert_eq!(created(&mut admin), ["gpu"]);
}

#[test]
fn there_are_at_most_a_thousand() {
    let server = TestServer::start();
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
    apply(&mut client, &set("create"));
    let names: Vec<String> = (0..1_002).map(|number| format!("m-{number:04}")).collect();
    let records: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), name.as_str())).collect();
    let reply = batch(&mut client, &records);
    assert_eq!((&reply["counted"], &reply["rejected"]), (&json!(1_000), &json!(2)));
    let result = &reply["results"][0];
    assert_eq!(
        (&result["index"], &result["code"], &result["field"]),
        (&json!(1_000), &json!("too_many"), &json!("meter"))
    );
    let detail = result["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("declare 'm-1000' in the catalog"), "{detail}");
    let body = json!({"customer_id": "acme", "resource_type": "one-more", "quantity": 1});
    let reply = client.post("/api/v1/usage", body);
    reply.has_problem_members(400, "too_many", Some("resource_type"));
    assert_eq!(at_billing(&mut client, "m-0007", "d-1"), 201);
}

#[test]
fn clients_that_name_a_new_meter_at_once_are_all_counted() {
    const CLIENTS: usize = 16;
    let server = TestServer::start();
    let statuses = race(&server, CLIENTS, |number, client, gate| {
        (0..8)
            .map(|round| {
                gate.wait();
                at_billing(client, &format!("meter-{round}"), &format!("{number}-{round}"))
            })
            .collect::<Vec<u16>>()
    });
    assert!(statuses.iter().flatten().all(|status| *status == 201), "{statuses:?}");
    let mut client = server.client();
    let mut names = created(&mut client);
    names.sort();
    assert_eq!(names, (0..8).map(|round| format!("meter-{round}")).collect::<Vec<_>>());
    let balance = client.get("/v1/orgs/acme/balance").ok();
    for name in names {
        assert_eq!(balance["meters"][&name]["month"], 2 * CLIENTS, "{name}");
    }
}

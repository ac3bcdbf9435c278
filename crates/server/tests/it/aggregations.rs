//! Maxima, last values and unique values: at the gate, in balance, series and bill, taken back, and what is refused.

use serde_json::{Value, json};

use crate::client::{Ask, Client, Reply, given};
use crate::server::TestServer;

const CATALOG: &str = r#"
[[meters]]
id = "seats"
name = "Seats"
unit = "seat"
aggregation = "max"
properties = ["region"]

[[meters]]
id = "stored"
name = "Stored"
unit = "gigabyte"
aggregation = "last"

[[meters]]
id = "people"
name = "People"
unit = "user"
aggregation = "unique"
unique_by = "user"

[[meters]]
id = "devices"
name = "Devices"
unit = "device"
aggregation = "unique"
unique_by = "device"
properties = ["region"]
unknown_properties = "reject"

[[plans]]
id = "team"
name = "Team"
allowances = [
    { meter = "seats", amount = 0, enforcement = "none" },
    { meter = "stored", amount = 0, enforcement = "none" },
    { meter = "people", amount = 0, enforcement = "none" },
    { meter = "devices", amount = 0, enforcement = "none" },
]
limits = [{ meter = "people", scope = "org", window = "month", amount = 2 }]

[[plans.prices]]
meter = "seats"
where = { region = "eu" }
model = "per_unit"
unit_price = 10

[[plans.prices]]
meter = "stored"
model = "per_unit"
unit_price = "0.5"

[[plans.prices]]
meter = "people"
model = "per_unit"
unit_price = 3
"#;

fn team(server: &TestServer) -> Client {
    let mut client = server.client();
    apply(&mut client, CATALOG).ok();
    client.put("/v1/orgs/acme/plan", json!({"plan": "team"})).ok();
    client
}

fn apply(client: &mut Client, text: &str) -> Reply {
    client.ask(&Ask::new("PUT", "/v1/catalog").toml(text))
}

fn using(
    client: &mut Client,
    meter: &str,
    key: &str,
    user: Option<&str>,
    quantity: i64,
    about: Value,
) -> Reply {
    let usage = given(
        json!({"org": "acme", "meter": meter, "key": key, "user": user, "quantity": quantity, "properties": about}),
    );
    client.post("/v1/usage", usage)
}

fn take_back(client: &mut Client, key: &str) -> Reply {
    client.post("/v1/usage/reversals", json!({"org": "acme", "key": key}))
}

/// What the meter of the month comes to: in the balance, and in the series by day and month.
fn month(client: &mut Client, meter: &str) -> Value {
    let month = client.get("/v1/orgs/acme/balance").ok()["meters"][meter]["month"].clone();
    for window in ["day", "month"] {
        let series = client.get(&format!("/v1/orgs/acme/usage?meter={meter}&window={window}")).ok();
        let told =
            series["points"].as_array().and_then(|points| points.last()).map(|point| &point["quantity"]);
        assert_eq!(told.unwrap_or(&json!(0)), &month, "{meter} by {window}");
    }
    month
}

#[test]
fn a_maximum_is_the_largest_and_gives_the_next_back() {
    let server = TestServer::start();
    let mut client = team(&server);
    for (key, quantity) in [("a", 4), ("b", 9), ("c", 7)] {
        using(&mut client, "seats", key, None, quantity, json!({"region": "eu"})).ok();
    }
    using(&mut client, "seats", "d", None, 8, json!({"region": "us"})).ok();
    assert_eq!(month(&mut client, "seats"), 9);
    let line = client.get("/v1/orgs/acme/bill").ok()["lines"][0].clone();
    assert_eq!((&line["quantity"], &line["amount"]), (&json!(9), &json!("90.00")));
    take_back(&mut client, "b").ok();
    assert_eq!(month(&mut client, "seats"), 8);
    assert_eq!(client.get("/v1/orgs/acme/bill").ok()["lines"][0]["quantity"], 7);
    let path = "/v1/orgs/acme/usage?meter=seats";
    let by_region = client.get(&format!("{path}&group_by=region")).ok();
    let told: Vec<_> = by_region["points"]
        .as_array()
        .expect("points")
        .iter()
        .map(|point| (&point["properties"]["region"], &point["quantity"]))
        .collect();
    assert_eq!(told, [(&json!("eu"), &json!(7)), (&json!("us"), &json!(8))]);
    assert_eq!(client.get(&format!("{path}&property.region=eu")).ok()["points"][0]["quantity"], 7);
    for key in ["a", "c", "d"] {
        take_back(&mut client, key).ok();
    }
    assert_eq!(month(&mut client, "seats"), 0);
}

#[test]
fn a_last_value_goes_by_its_own_time() {
    let mut server = TestServer::start();
    let mut client = team(&server);
    let record = |client: &mut Client, key: &str, time: &str, quantity: i64| {
        let usage =
            json!([{"org": "acme", "meter": "stored", "key": key, "time": time, "quantity": quantity}]);
        assert_eq!(client.post("/v1/usage/batch", usage).ok()["counted"], 1);
    };
    record(&mut client, "noon", "2026-11-01T12:00:00Z", 5);
    record(&mut client, "morning", "2026-11-01T08:00:00Z", 50);
    assert_eq!(month(&mut client, "stored"), 5);
    using(&mut client, "stored", "gate", None, 3, json!({})).ok();
    record(&mut client, "evening", "2026-11-01T20:00:00Z", 8);
    assert_eq!(month(&mut client, "stored"), 3, "the gate's is of now");
    let day = client.get("/v1/orgs/acme/usage?meter=stored&to=2026-11-02").ok();
    assert_eq!(day["points"][0]["quantity"], 8);
    assert_eq!(client.get("/v1/orgs/acme/bill").ok()["total"], "1.50");
    take_back(&mut client, "gate").ok();
    server.restart();
    client = server.client();
    assert_eq!(month(&mut client, "stored"), 8);
    take_back(&mut client, "evening").ok();
    assert_eq!(month(&mut client, "stored"), 5);
}

#[test]
fn a_value_counts_once_and_is_gone_with_its_last_usage() {
    let server = TestServer::start();
    let mut client = team(&server);
    for (key, user) in [("a1", "ann"), ("a2", "ann"), ("b1", "bob")] {
        using(&mut client, "people", key, Some(user), 5, json!({})).ok();
    }
    assert_eq!(month(&mut client, "people"), 2);
    // The limit is of two: who is counted goes on, the third is refused.
    using(&mut client, "people", "a3", Some("ann"), 1, json!({})).ok();
    let refused = using(&mut client, "people", "c1", Some("cid"), 1, json!({}));
    refused.has_problem_members(403, "org_limit_reached", None);
    take_back(&mut client, "b1").ok();
    assert_eq!(month(&mut client, "people"), 1);
    using(&mut client, "people", "c2", Some("cid"), 1, json!({})).ok();
    assert_eq!(client.get("/v1/orgs/acme/bill").ok()["total"], "6.00");
    take_back(&mut client, "a1").ok();
    take_back(&mut client, "a2").ok();
    assert_eq!(month(&mut client, "people"), 2, "ann used it once more");
    take_back(&mut client, "a3").ok();
    assert_eq!(month(&mut client, "people"), 1);
    let users = client.get("/v1/orgs/acme/usage?meter=people&group_by=user").ok();
    assert_eq!((&users["points"][0]["user"], &users["points"][0]["quantity"]), (&json!("cid"), &json!(1)));
    // Nobody in particular is no value.
    using(&mut client, "people", "n1", None, 1, json!({})).ok();
    assert_eq!(month(&mut client, "people"), 1);
}

#[test]
fn values_of_a_property_count_for_the_org_each_user_and_each_group() {
    let server = TestServer::start();
    let mut client = team(&server);
    for (key, user, device, region) in
        [("1", "ann", "x", "eu"), ("2", "ann", "y", "eu"), ("3", "bob", "x", "eu"), ("4", "bob", "x", "us")]
    {
        using(&mut client, "devices", key, Some(user), 1, json!({"device": device, "region": region})).ok();
    }
    assert_eq!(month(&mut client, "devices"), 2);
    let told = |client: &mut Client, split: &str| -> Vec<Value> {
        let series = client.get(&format!("/v1/orgs/acme/usage?meter=devices&window=month&{split}")).ok();
        series["points"].as_array().expect("points").iter().map(|point| point["quantity"].clone()).collect()
    };
    assert_eq!(told(&mut client, "group_by=user"), [json!(2), json!(1)]);
    assert_eq!(told(&mut client, "group_by=region"), [json!(2), json!(1)]);
    take_back(&mut client, "1").ok();
    assert_eq!(told(&mut client, "group_by=user"), [json!(1), json!(1)]);
    assert_eq!(told(&mut client, "group_by=region"), [json!(2), json!(1)], "bob had x in eu too");
    let unknown = using(&mut client, "devices", "5", None, 1, json!({"device": "x", "model": "m"}));
    unknown.has_problem_members(422, "unknown_property", Some("properties.model"));
    let check = json!({"org": "acme", "meter": "devices", "properties": {"model": "m"}});
    assert_eq!(client.post("/v1/usage/check", check).ok()["code"], "unknown_property");
    let record = json!([{"org": "acme", "meter": "devices", "key": "6", "properties": {"Region": "eu"}},
        {"org": "acme", "meter": "devices", "key": "7", "properties": {"device": "z"}}]);
    let reply = client.post("/v1/usage/batch", record).ok();
    assert_eq!((&reply["counted"], &reply["results"][0]["code"]), (&json!(1), &json!("unknown_property")));
    using(&mut client, "seats", "8", None, 1, json!({"model": "m"})).ok();
}

#[test]
fn what_cannot_be_told_any_more_is_not_taken_back() {
    let server = TestServer::start();
    let mut client = team(&server);
    for number in 1..=17 {
        using(&mut client, "seats", &format!("k{number}"), None, number, json!({})).ok();
    }
    for number in (3..=17).rev() {
        assert_eq!(month(&mut client, "seats"), number);
        take_back(&mut client, &format!("k{number}")).ok();
    }
    take_back(&mut client, "k2").is_problem(409, "not_reversible", Some("key"));
    assert_eq!(month(&mut client, "seats"), 2);
    take_back(&mut client, "k1").ok();
    take_back(&mut client, "k2").ok();
    assert_eq!(month(&mut client, "seats"), 0);
}

#[test]
fn what_does_not_add_up_has_no_credit_and_counts_the_same_for_good() {
    let server = TestServer::start();
    let mut client = team(&server);
    let top_up = json!({"meter": "seats", "amount": 5});
    client.post("/v1/orgs/acme/top-ups", top_up).is_problem(422, "invalid_field", Some("meter"));
    let allowance = |was: &str, is: &str| CATALOG.replace(was, is);
    for wrong in [
        allowance("\"seats\", amount = 0", "\"seats\", amount = 5"),
        allowance(
            "{ meter = \"stored\", amount = 0, enforcement = \"none\" }",
            "{ meter = \"stored\", amount = 0 }",
        ),
        allowance("aggregation = \"max\"", "aggregation = \"last\""),
        allowance("unique_by = \"user\"", "unique_by = \"account\""),
        allowance(
            "aggregation = \"max\"\nproperties = [\"region\"]",
            "aggregation = \"max\"\nproperties = [\"area\"]",
        )
        .replace("region = \"eu\"", "area = \"eu\""),
        allowance("unknown_properties = \"reject\"", "windows = [\"day\"]"),
    ] {
        apply(&mut client, &wrong).is_problem(422, "invalid_catalog", None);
    }
    // Neither when it was gone in between.
    let plain =
        "[[meters]]\nid = \"seats\"\nname = \"S\"\nunit = \"s\"\n[[plans]]\nid = \"team\"\nname = \"T\"\n";
    apply(&mut client, plain).is_problem(422, "invalid_catalog", None);
    apply(&mut client, &plain.replace("seats", "others")).ok();
    apply(&mut client, plain).is_problem(422, "invalid_catalog", None);
    apply(&mut client, CATALOG).ok();
    let grouped = client.get("/v1/orgs/acme/usage?meter=devices&property.region=eu&group_by=device");
    grouped.is_problem(400, "invalid_parameter", Some("group_by"));
}

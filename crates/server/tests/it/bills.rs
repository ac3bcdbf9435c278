//! Bills: estimates from usage, prices of every model, properties, months of the org's zone, closing, adjustments.

use serde_json::{Value, json};

use crate::client::{Ask, Client};
use crate::server::TestServer;

pub(crate) const PRICED: &str = r#"
[[meters]]
id = "reports"
name = "Reports"
unit = "report"

[[meters]]
id = "tokens"
name = "Tokens"
unit = "token"
properties = ["model", "region"]

[[meters]]
id = "calls"
name = "Calls"
unit = "call"
aggregation = "count"

[[meters]]
id = "mails"
name = "Mails"
unit = "mail"

[[plans]]
id = "team"
name = "Team"
proration = "none"
allowances = [
    { meter = "reports", amount = 100, enforcement = "soft" },
    { meter = "tokens", amount = 0, enforcement = "none" },
    { meter = "calls", amount = 0, enforcement = "none" },
    { meter = "mails", amount = 0, enforcement = "none" },
]

[[plans.prices]]
model = "flat"
flat_fee = 49

[[plans.prices]]
meter = "reports"
quantity = "overage"
model = "package"
package_size = 10
package_price = 5

[[plans.prices]]
meter = "tokens"
where = { model = "large" }
model = "per_unit"
unit_price = "0.5"

[[plans.prices]]
meter = "tokens"
where = { model = "large", region = "eu" }
model = "per_unit"
unit_price = "0.75"

[[plans.prices]]
meter = "calls"
model = "volume"
tiers = [{ up_to = 2, unit_price = 1 }, { unit_price = "0.4" }]

[[plans.prices]]
meter = "mails"
model = "graduated"
tiers = [{ up_to = 10, unit_price = "0.1", flat_fee = 1 }, { unit_price = "0.05" }]

[[plans]]
id = "trial"
name = "Trial"
trial_days = 14
allowances = [{ meter = "reports", amount = 10 }]
"#;

pub(crate) fn priced(server: &TestServer) -> Client {
    let mut client = server.client();
    apply(&mut client, PRICED);
    client
}

pub(crate) fn apply(client: &mut Client, text: &str) {
    let ask = Ask::new("PUT", "/v1/catalog").header("content-type", "application/toml");
    client.ask(&ask.body(text)).ok();
}

pub(crate) fn team(client: &mut Client, org: &str) {
    client.put(&format!("/v1/orgs/{org}/plan"), json!({"plan": "team"})).ok();
}

/// Uses something under a key of its own.
pub(crate) fn used(client: &mut Client, org: &str, meter: &str, quantity: u32, key: &str, properties: Value) {
    let body =
        json!({"org": org, "meter": meter, "quantity": quantity, "key": key, "properties": properties});
    let reply = client.post("/v1/usage", body).ok();
    assert_eq!(reply["allowed"], true, "{reply:#}");
}

pub(crate) fn bill(client: &mut Client, org: &str, month: &str) -> Value {
    client.get(&format!("/v1/orgs/{org}/bill?month={month}")).ok()
}

pub(crate) fn close(client: &mut Client, org: &str, month: &str) -> Value {
    client.post(&format!("/v1/orgs/{org}/bill/close"), json!({"month": month})).ok()
}

/// Amount and calculation of each line.
fn lines(bill: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let lines = bill["lines"].as_array().expect("lines");
    lines.iter().map(|line| (text(&line["amount"]), text(&line["arithmetic"]))).collect()
}

fn amounts(bill: &Value) -> Vec<String> {
    lines(bill).into_iter().map(|(amount, _)| amount).collect()
}

#[test]
fn a_month_is_billed_by_every_model_and_property() {
    let server = TestServer::start();
    let mut client = priced(&server);
    team(&mut client, "acme");
    let empty = client.get("/v1/orgs/acme/bill").ok();
    assert_eq!((&empty["status"], &empty["total"]), (&json!("estimate"), &json!("49.00")), "{empty:#}");
    assert_eq!(empty["month"], "2026-11");
    used(&mut client, "acme", "reports", 112, "r1", json!({}));
    used(&mut client, "acme", "tokens", 7, "t1", json!({"model": "large", "session": "1"}));
    used(&mut client, "acme", "tokens", 3, "t2", json!({"model": "large", "region": "us"}));
    used(&mut client, "acme", "tokens", 4, "t3", json!({"model": "large", "region": "eu"}));
    used(&mut client, "acme", "tokens", 9, "t4", json!({"model": "small"}));
    used(&mut client, "acme", "tokens", 2, "t5", json!({"region": "eu"}));
    for number in 0..3 {
        used(&mut client, "acme", "calls", 50, &format!("c{number}"), json!({}));
    }
    used(&mut client, "acme", "mails", 14, "m1", json!({}));
    let bill = client.get("/v1/orgs/acme/bill").ok();
    // 12 of overage are 2 packages; 10 × 0.5; 4 × 0.75; 3 calls at 0.4; 10 × 0.1 + 1 + 4 × 0.05.
    assert_eq!(amounts(&bill), ["49.00", "10.00", "5.00", "3.00", "1.20", "2.20"], "{bill:#}");
    assert_eq!(bill["total"], "70.40");
    assert_eq!(
        (&bill["currency"], &bill["plan"], &bill["catalog"]),
        (&json!("USD"), &json!("team"), &json!(2))
    );
    let tokens = &bill["lines"][2];
    assert_eq!((&tokens["quantity"], &tokens["parts"][0]["unit_price"]), (&json!(10), &json!("0.5")));
    assert_eq!(tokens["properties"], json!({"model": "large"}));
    assert_eq!(tokens["arithmetic"], "10 tokens × 0.5 USD = 5.00 USD");
    let in_november = |mut usage: Value| {
        usage["from"] = json!("2026-11-02T10:00:00Z");
        usage["until"] = json!("2026-12-01T00:00:00Z");
        usage
    };
    let unpriced = [
        json!({"meter": "tokens", "properties": {"model": "small"}, "quantity": 9}),
        json!({"meter": "tokens", "properties": {"region": "eu"}, "quantity": 2}),
    ];
    assert_eq!(bill["unpriced"], json!(unpriced.map(in_november)));
    let included = json!({"meter": "reports", "properties": {}, "quantity": 100});
    assert_eq!(bill["included"], json!([in_november(included)]), "what the credit covered");
    client.post("/v1/usage/reversals", json!({"org": "acme", "key": "t3"})).ok();
    client.post("/v1/usage/reversals", json!({"org": "acme", "key": "c1"})).ok();
    let bill = client.get("/v1/orgs/acme/bill").ok();
    // Two calls fall in the first tier.
    assert_eq!(amounts(&bill), ["49.00", "10.00", "5.00", "2.00", "2.20"], "{bill:#}");
}

#[test]
fn usage_before_a_meter_declared_properties_is_billed_too() {
    let server = TestServer::start();
    let mut client = server.client();
    let plain = PRICED.replace("properties = [\"model\", \"region\"]\n", "");
    let plain = plain.replace("where = { model = \"large\" }\n", "");
    let (before, after) =
        plain.split_once("[[plans.prices]]\nmeter = \"tokens\"\nwhere").expect("two prices");
    let (_, after) = after.split_once("[[plans.prices]]").expect("more prices");
    apply(&mut client, &format!("{before}[[plans.prices]]{after}"));
    team(&mut client, "acme");
    used(&mut client, "acme", "tokens", 10, "t1", json!({"model": "large"}));
    apply(&mut client, PRICED);
    used(&mut client, "acme", "tokens", 4, "t2", json!({"model": "large"}));
    let bill = client.get("/v1/orgs/acme/bill").ok();
    assert_eq!(amounts(&bill), ["49.00", "2.00"], "{bill:#}");
    let unpriced = &bill["unpriced"][0];
    assert_eq!((&unpriced["meter"], &unpriced["properties"]), (&json!("tokens"), &json!({})));
    assert_eq!(unpriced["quantity"], 10);
}

#[test]
fn a_month_is_that_of_the_zone_of_the_org() {
    let server = TestServer::start();
    let mut client = priced(&server);
    client.put("/v1/orgs/acme", json!({"time_zone": "Pacific/Auckland"})).ok();
    team(&mut client, "acme");
    server.at("2026-11-30T10:59:59Z");
    used(&mut client, "acme", "mails", 1, "m1", json!({}));
    server.at("2026-11-30T11:00:00Z");
    used(&mut client, "acme", "mails", 2, "m2", json!({}));
    let november = bill(&mut client, "acme", "2026-11");
    assert_eq!(
        (&november["from"], &november["until"]),
        (&json!("2026-11-01T00:00:00+13:00"), &json!("2026-12-01T00:00:00+13:00"))
    );
    assert_eq!(november["lines"][1]["quantity"], 1, "{november:#}");
    let december = client.get("/v1/orgs/acme/bill").ok();
    assert_eq!((&december["month"], &december["lines"][1]["quantity"]), (&json!("2026-12"), &json!(2)));
}

#[test]
fn a_past_month_goes_by_the_plan_at_its_end() {
    let server = TestServer::start();
    let mut client = priced(&server);
    client.put("/v1/orgs/acme/plan", json!({"plan": "trial"})).ok();
    server.at("2026-12-03T00:00:00Z");
    team(&mut client, "acme");
    assert_eq!(bill(&mut client, "acme", "2026-11")["plan"], "trial");
    assert_eq!(bill(&mut client, "acme", "2026-12")["plan"], "team");
    client.get("/v1/orgs/acme/bill?month=2026-10").is_problem(404, "unknown_bill", Some("month"));
    client.get("/v1/orgs/nobody/bill").is_problem(404, "unknown_org", Some("org"));
    client.get("/v1/orgs/acme/bill?month=2026-13").is_problem(400, "invalid_parameter", Some("month"));
}

#[test]
fn a_closed_bill_never_changes() {
    let mut server = TestServer::start();
    let mut client = priced(&server);
    team(&mut client, "acme");
    used(&mut client, "acme", "mails", 14, "m1", json!({}));
    used(&mut client, "acme", "tokens", 4, "t1", json!({"model": "large"}));
    let body = json!({"month": "2026-11"});
    client.post("/v1/orgs/acme/bill/close", body.clone()).is_problem(409, "month_runs", Some("month"));
    client.post("/v1/orgs/acme/bill/close", json!({"month": "11"})).is_problem(
        422,
        "invalid_field",
        Some("month"),
    );
    server.at("2026-12-01T00:00:00Z");
    let closed = close(&mut client, "acme", "2026-11");
    let (status, number, total) = (&closed["status"], &closed["number"], &closed["total"]);
    assert_eq!((status, number, total), (&json!("closed"), &json!(1), &json!("53.20")), "{closed:#}");
    let written = client.get("/v1/orgs/acme/bill?month=2026-11").text();
    let again = client.post("/v1/orgs/acme/bill/close", body);
    assert_eq!((again.status, again.text()), (200, written.clone()));
    let notices = client.get("/v1/notices").ok();
    let told: Vec<&Value> = notices["notices"]
        .as_array()
        .expect("notices")
        .iter()
        .filter(|notice| notice["kind"] == "bill_closed")
        .map(|notice| &notice["summary"])
        .collect();
    assert_eq!(told, ["bill 1 of 2026-11 is closed: 53.20 USD"]);
    client.post("/v1/usage/reversals", json!({"org": "acme", "key": "t1"})).ok();
    apply(&mut client, &PRICED.replace("flat_fee = 49", "flat_fee = 99"));
    client.put("/v1/orgs/acme", json!({"time_zone": "Asia/Tokyo"})).ok();
    assert_eq!(client.get("/v1/orgs/acme/bill?month=2026-11").text(), written);
    server.restart();
    assert_eq!(server.client().get("/v1/orgs/acme/bill?month=2026-11").text(), written);
}

#[test]
fn what_is_taken_back_from_a_closed_month_is_on_the_next_bill_once() {
    let server = TestServer::start();
    let mut client = priced(&server);
    team(&mut client, "acme");
    used(&mut client, "acme", "tokens", 4, "t1", json!({"model": "large"}));
    used(&mut client, "acme", "tokens", 6, "t2", json!({"model": "large"}));
    server.at("2026-12-05T00:00:00Z");
    close(&mut client, "acme", "2026-11");
    assert_eq!(bill(&mut client, "acme", "2026-12")["adjustments"], json!([]));
    client.post("/v1/usage/reversals", json!({"org": "acme", "key": "t1"})).ok();
    // The closed month is put right by the prices it was billed by.
    apply(&mut client, &PRICED.replace("unit_price = \"0.5\"", "unit_price = \"0.9\""));
    let december = bill(&mut client, "acme", "2026-12");
    let adjustment = json!([{
        "description": "Adjustment for 2026-11", "month": "2026-11", "bill": 1,
        "billed": "54.00", "now": "52.00", "amount": "-2.00",
    }]);
    assert_eq!(
        (&december["adjustments"], &december["total"]),
        (&adjustment, &json!("47.00")),
        "{december:#}"
    );
    server.at("2027-01-02T00:00:00Z");
    assert_eq!(close(&mut client, "acme", "2026-12")["adjustments"], adjustment);
    assert_eq!(bill(&mut client, "acme", "2027-01")["adjustments"], json!([]), "once is enough");
    client.post("/v1/usage/reversals", json!({"org": "acme", "key": "t2"})).ok();
    let january = bill(&mut client, "acme", "2027-01");
    let item = &january["adjustments"][0];
    assert_eq!(
        (&item["billed"], &item["now"], &item["amount"]),
        (&json!("52.00"), &json!("49.00"), &json!("-3.00"))
    );
}

#[test]
fn a_bill_is_a_table_and_a_page_too() {
    let server = TestServer::start();
    let mut client = priced(&server);
    let org = "a%3Cb%3E%2Cc";
    team(&mut client, org);
    used(&mut client, "a<b>,c", "mails", 14, "m1", json!({}));
    let ask = |accept: &str| Ask::new("GET", &format!("/v1/orgs/{org}/bill")).header("accept", accept);
    let table = client.ask(&ask("text/csv"));
    assert_eq!(table.header("content-type"), Some("text/csv; charset=utf-8"));
    let text = table.text();
    let rows: Vec<&str> = text.split_terminator("\r\n").collect();
    assert_eq!(rows.len(), 3, "{text}");
    assert!(
        rows[0].starts_with("org,name,month,status,number,plan,catalog,currency,kind,from,until,description"),
        "{text}"
    );
    assert!(rows[2].starts_with("\"a<b>,c\",,2026-11,estimate,,team,2,USD,usage,"), "{text}");
    assert!(rows[2].contains(",mails,,14,0,14,,2.20,"), "{text}");
    let page = client.ask(&ask("text/html,*/*;q=0.8"));
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let text = page.text();
    assert!(text.contains("a&lt;b&gt;,c") && !text.contains("<b>") && !text.contains("<script"), "{text}");
    assert!(text.contains("<td class=\"n\">51.20</td>"), "{text}");
    assert_eq!(client.ask(&ask("application/json")).ok()["total"], "51.20");
}

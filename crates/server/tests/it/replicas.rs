//! Two servers on one PostgreSQL: what one does the other knows.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollgate_domain::catalog::DEFAULT;
use tollgate_peers::Postgres;

use crate::client::{Ask, Client, given};
use crate::server::TestServer;

/// How long a server may take to follow another: it looks every second.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(15);

fn replica(database: &Postgres) -> TestServer {
    TestServer::with(|settings| settings.store = database.url().parse().expect("a store"))
}

/// Asks again and again until it is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < FOLLOWED_WITHIN, "{what}");
    }
}

#[test]
fn servers_on_one_database_are_one() {
    let database = Postgres::start(&["fsync=off"]).expect("PostgreSQL starts");
    let servers = [replica(&database), replica(&database)];
    let [mut first, mut second] = [servers[0].client(), servers[1].client()];
    first.put("/v1/orgs/acme", json!({"name": "Acme"})).ok();
    second.put("/v1/orgs/acme/plan", json!({"plan": "lite"})).ok();
    // Of 20 reports each server gives ten away, in turn, and neither any more.
    let usage = |key: &str| given(json!({"org": "acme", "meter": "reports", "key": key}));
    for number in 0..20 {
        let client: &mut Client = if number % 2 == 0 { &mut first } else { &mut second };
        assert_eq!(client.post("/v1/usage", usage(&format!("use {number}"))).ok()["remaining"], 19 - number);
    }
    for client in [&mut first, &mut second] {
        assert_eq!(client.post("/v1/usage", usage("one more")).status, 402);
        let again = client.post("/v1/usage", usage("use 7"));
        assert_eq!(again.ok()["replayed"], true, "{}", again.text());
        let meters = client.get("/v1/orgs/acme/balance").ok()["meters"]["reports"].clone();
        assert_eq!(meters["remaining"], 0, "{meters}");
        assert_eq!(client.get("/v1/orgs").ok()["orgs"].as_array().map(Vec::len), Some(1));
    }

    // A catalog, and then keys: the second server learns of them by itself.
    let catalog = format!("{DEFAULT}\n[[meters]]\nid = \"gpu\"\nname = \"GPU\"\nunit = \"hour\"\n");
    first.ask(&Ask::new("PUT", "/v1/catalog").toml(catalog)).ok();
    let hour = given(json!({"org": "acme", "meter": "gpu", "key": "an hour"}));
    until("the catalog is followed", || second.post("/v1/usage", hour.clone()).status == 402);
    let made = first.post("/v1/api-keys", json!({"name": "admin", "role": "admin"})).json();
    let secret = made["secret"].as_str().expect("a secret").to_owned();
    until("a key is asked for", || second.get("/v1/orgs").status == 401);
    let [mut first, mut second] = [first.with_key(&secret), second.with_key(&secret)];
    second.get("/v1/orgs").ok();
    let read = second.post("/v1/api-keys", json!({"name": "reader", "role": "read"})).json();
    let (id, secret) = (read["id"].clone(), read["secret"].as_str().expect("a secret").to_owned());
    let mut reader = servers[0].client().with_key(&secret);
    until("the key is known", || reader.get("/v1/orgs").status == 200);
    second.delete(&format!("/v1/api-keys/{}", id.as_str().expect("an id"))).ok();
    until("the key is revoked", || reader.get("/v1/orgs").status == 401);
    first.get("/v1/orgs").ok();
}

#[test]
fn analysts_read_views_of_what_was_used_and_granted() {
    let database = Postgres::start(&["fsync=off"]).expect("PostgreSQL starts");
    let server = replica(&database);
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": "lite"})).ok();
    client.post("/v1/orgs/acme/top-ups", json!({"meter": "reports", "amount": "2.5", "key": "t-1"})).ok();
    let usage = |user: &str, quantity, key: &str| json!({"org": "acme", "user": user, "meter": "reports", "quantity": quantity, "key": key});
    client.post("/v1/usage", usage("ada", 3, "u-1")).ok();
    client.post("/v1/usage", usage("ben", 1, "u-2")).ok();
    let mut late = usage("ben", 4, "u-3");
    late["time"] = json!("2026-10-31T12:00:00Z");
    client.post("/v1/usage/batch", json!([late])).ok();
    client.post("/v1/usage/reversals", json!({"org": "acme", "key": "u-1"})).ok();
    let read = |statement: &str| database.query(statement).expect("rows");
    assert_eq!(read("SELECT org, entries FROM tollgate.orgs"), "acme|6");
    let records = "SELECT entry, kind, user_id, quantity, key, used_at AT TIME ZONE 'UTC' FROM tollgate.usage_records ORDER BY entry";
    let wanted = [
        "3|used|ada|3|u-1|2026-11-02 10:00:00",
        "4|used|ben|1|u-2|2026-11-02 10:00:00",
        "5|used|ben|4|u-3|2026-10-31 12:00:00",
        // What takes a usage back has no key of its own.
        "6|reversed|ada|-3||2026-11-02 10:00:00",
    ];
    assert_eq!(read(records), wanted.join("\n"));
    let counters = "SELECT user_id, month, quantity, usages FROM tollgate.counters ORDER BY user_id, month";
    assert_eq!(read(counters), "ada|2026-11-01|0|1\nben|2026-10-01|4|1\nben|2026-11-01|1|1");
    let grants = "SELECT entry, kind, meter, key, quantity FROM tollgate.grants";
    assert_eq!(read(grants), "2|topped_up|reports|t-1|2.5");
}

#[test]
fn analysts_read_bills_and_notices_as_the_api_tells_them() {
    let database = Postgres::start(&["fsync=off"]).expect("PostgreSQL starts");
    let server = replica(&database);
    let mut client = server.client();
    client.put("/v1/orgs/acme", json!({"name": "Acme", "time_zone": "Europe/Berlin"})).ok();
    client.put("/v1/orgs/acme/plan", json!({"plan": "pro"})).ok();
    let usage = |quantity, key: &str| {
        given(json!({"org": "acme", "meter": "api_call", "quantity": quantity, "key": key}))
    };
    client.post("/v1/usage", usage(250, "u-1")).ok();
    client.post("/v1/usage", usage(1200, "u-2")).ok();
    server.at("2026-12-02T10:00:00Z");
    client.post("/v1/orgs/acme/bill/close", json!({"month": "2026-11"})).ok();
    client.post("/v1/usage/reversals", json!({"org": "acme", "key": "u-1"})).ok();
    client.post("/v1/usage", usage(7, "u-3")).ok();
    server.at("2027-01-02T10:00:00Z");
    client.post("/v1/orgs/acme/bill/close", json!({"month": "2026-12"})).ok();
    let read = |statement: &str| database.query(statement).expect("rows");
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    for month in ["2026-11", "2026-12"] {
        let bill = client.get(&format!("/v1/orgs/acme/bill?month={month}")).ok();
        let (number, total) = (text(&bill["number"]), text(&bill["total"]));
        let catalog = text(&bill["catalog"]);
        let head = format!(
            "SELECT to_char(month, 'YYYY-MM'), name, time_zone, plan, catalog, currency, total, begins_at = '{}', ends_at = '{}', \
             closed_at = '{}' FROM tollgate.bills WHERE org = 'acme' AND number = {number}",
            text(&bill["from"]),
            text(&bill["until"]),
            text(&bill["closed_at"])
        );
        assert_eq!(
            read(&head),
            format!("{month}|Acme|Europe/Berlin|pro|{catalog}|USD|{total}|t|t|t"),
            "{bill}"
        );
        let told = |line: &Value| {
            ["description", "plan", "meter", "quantity", "included", "billable", "amount", "arithmetic"]
                .map(|field| text(&line[field]))
                .join("|")
        };
        let lines: Vec<String> = bill["lines"].as_array().expect("lines").iter().map(told).collect();
        assert_eq!(lines.len(), 1, "{bill}");
        let rows = format!(
            "SELECT description, plan, meter, quantity, included, billable, amount, arithmetic FROM tollgate.bill_lines \
             WHERE org = 'acme' AND bill = {number} AND kind = 'usage' ORDER BY line"
        );
        assert_eq!(read(&rows), lines.join("\n"));
        let adjusted = |item: &Value| format!("{}|{}", text(&item["month"]), text(&item["amount"]));
        let adjustments: Vec<String> =
            bill["adjustments"].as_array().expect("adjustments").iter().map(adjusted).collect();
        assert_eq!(adjustments.len(), usize::from(month == "2026-12"), "{bill}");
        let rows = format!(
            "SELECT to_char(adjusted_month, 'YYYY-MM'), amount FROM tollgate.bill_lines \
             WHERE org = 'acme' AND bill = {number} AND kind = 'adjustment' ORDER BY line"
        );
        assert_eq!(read(&rows), adjustments.join("\n"));
        let sum =
            format!("SELECT sum(amount) FROM tollgate.bill_lines WHERE org = 'acme' AND bill = {number}");
        assert_eq!(read(&sum), total);
    }

    client.put("/v1/orgs/beta/plan", json!({"plan": "lite"})).ok();
    client.post("/v1/usage", json!({"org": "beta", "meter": "reports", "quantity": 16, "key": "u-1"})).ok();
    let page = client.get("/v1/notices").ok();
    let notices = page["notices"].as_array().expect("notices");
    let told = |notice: &Value| {
        let period = notice["period"].as_str().unwrap_or_default();
        let meter = notice["meter"].as_str().unwrap_or_default();
        format!("{}|{}|{meter}|{period}", text(&notice["id"]), text(&notice["kind"]))
    };
    let told: Vec<String> = notices.iter().map(told).collect();
    let rows = "SELECT org || '/' || entry || '/' || index, kind, meter, period FROM tollgate.notices ORDER BY position";
    assert_eq!(read(rows), told.join("\n"));
    let details = "SELECT details ->> 'percent', (details ->> 'used')::numeric, (details ->> 'limit')::numeric \
                   FROM tollgate.notices WHERE kind = 'threshold_crossed'";
    assert_eq!(read(details), "80|16|20");
    let totals = "SELECT (details ->> 'total')::numeric, details ->> 'currency' FROM tollgate.notices WHERE kind = 'bill_closed' ORDER BY position";
    assert_eq!(read(totals), "14.50|USD\n-2.43|USD");
}

//! Lists of limits, bills and users; and how lists are read.

use serde_json::{Value, json};

use crate::client::Client;
use crate::server::TestServer;

/// The rows of a list, read in pages.
pub(crate) fn all(client: &mut Client, path: &str, rows: &str, limit: usize) -> Vec<Value> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    let path = if path.contains('?') { path.to_owned() } else { format!("{path}?") };
    loop {
        let page = client.get(&format!("{path}&limit={limit}{cursor}")).ok();
        let part = page[rows].as_array().expect("rows").clone();
        assert!(part.len() <= limit, "{} of {limit}", part.len());
        found.extend(part);
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

#[test]
fn limits_are_listed_with_who_gives_them_and_which_are_in_force() {
    let server = TestServer::start();
    let mut client = server.client();
    let catalog = format!(
        "{}\n[[plans]]\nid = \"capped\"\nname = \"Capped\"\nallowances = [{{ meter = \"reports\", amount = 10 }}]\n\
         limits = [{{ meter = \"reports\", scope = \"user\", window = \"month\", amount = 5 }}, \
         {{ meter = \"reports\", scope = \"org\", window = \"day\", amount = 8 }}]\n",
        tollgate_domain::catalog::DEFAULT
    );
    let apply = crate::client::Ask::new("PUT", "/v1/catalog").header("content-type", "application/toml");
    client.ask(&apply.body(catalog)).ok();
    client.get("/v1/orgs/acme/limits").is_problem(404, "unknown_org", Some("org"));
    client.put("/v1/orgs/acme", json!({})).ok();
    client.get("/v1/orgs/acme/limits").is(200, json!({"org": "acme", "plan": null, "limits": []}));
    client.put("/v1/orgs/acme/plan", json!({"plan": "capped"})).ok();
    for limit in [
        json!({"meter": "reports", "scope": "user", "amount": 3}),
        json!({"meter": "reports", "scope": "user", "user": "ada", "amount": 9}),
    ] {
        client.put("/v1/orgs/acme/limits", limit).ok();
    }
    let limit = |scope: &str, window: &str, amount: u32, from: &str, in_force: bool| json!({"meter": "reports", "scope": scope, "window": window, "amount": amount, "from": from, "in_force": in_force});
    let mut named = limit("user", "month", 9, "org", true);
    named["user"] = json!("ada");
    let limits = [
        limit("user", "month", 3, "org", true),
        named,
        limit("user", "month", 5, "plan", false),
        limit("org", "day", 8, "plan", true),
    ];
    client.get("/v1/orgs/acme/limits").is(200, json!({"org": "acme", "plan": "capped", "limits": limits}));
    client.get("/v1/orgs/acme/limits?meter=reports").is_problem(400, "invalid_parameter", Some("meter"));
}

#[test]
fn bills_are_listed_by_month_the_latest_first() {
    let server = TestServer::start();
    let mut client = server.client();
    client.get("/v1/orgs/acme/bills").is_problem(404, "unknown_org", Some("org"));
    let use_some = |at: &str, quantity: u32| {
        server.at(at);
        let body = json!({"customer_id": "acme", "resource_type": "api_call", "quantity": quantity});
        assert_eq!(server.client().post("/api/v1/usage", body).status, 201);
    };
    use_some("2026-11-02T10:00:00Z", 100);
    use_some("2026-12-02T10:00:00Z", 250);
    use_some("2027-01-02T10:00:00Z", 300);
    client.post("/v1/orgs/acme/bill/close", json!({"month": "2026-11"})).ok();
    let bill = |month: &str, status: &str, number: Value, total: &str| json!({"month": month, "status": status, "number": number, "currency": "USD", "total": total});
    let bills = [
        bill("2027-01", "estimate", Value::Null, "3.00"),
        bill("2026-12", "estimate", Value::Null, "2.50"),
        bill("2026-11", "closed", json!(1), "1.00"),
    ];
    client.get("/v1/orgs/acme/bills").is(200, json!({"org": "acme", "bills": bills, "next": null}));
    for limit in [1, 2, 3, 1_000] {
        assert_eq!(all(&mut client, "/v1/orgs/acme/bills", "bills", limit), bills, "{limit} a page");
    }
    let next = client.get("/v1/orgs/acme/bills?limit=1").ok()["next"].as_str().map(str::to_owned);
    client.put("/v1/orgs/globex", json!({})).ok();
    let path = format!("/v1/orgs/globex/bills?cursor={}", next.expect("more"));
    client.get(&path).is_problem(400, "invalid_cursor", Some("cursor"));
    assert_eq!(client.get("/v1/orgs/globex/bills").ok()["bills"], json!([]), "no plan, no bill");
}

#[test]
fn a_balance_says_where_its_users_go_on() {
    let server = TestServer::start();
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": "ultimate"})).ok();
    for number in 0..7 {
        let usage = json!({"org": "acme", "meter": "reports", "user": format!("user-{number}"),
            "quantity": number + 1, "key": format!("r-{number}")});
        client.post("/v1/usage", usage).ok();
    }
    let names = |users: &Value| {
        let users = users.as_array().expect("users").iter();
        users.map(|user| user["user"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    let wanted: Vec<String> = (0..7).map(|number| format!("user-{number}")).collect();
    for (query, first) in [("", 7), ("?users_limit=7", 7), ("?users_limit=3", 3), ("?users_limit=0", 0)] {
        let balance = client.get(&format!("/v1/orgs/acme/balance{query}")).ok();
        let reports = &balance["meters"]["reports"];
        let mut found = names(&reports["users"]);
        assert_eq!(found, wanted[..first], "{query}");
        if first == 3 {
            assert_eq!(reports["users"][2]["used"], 3);
            let next = reports["users_next"].as_str().expect("there are more");
            let path = format!("/v1/orgs/acme/users?meter=reports&cursor={next}");
            let rest = client.get(&path).ok();
            found.extend(names(&rest["users"]));
            assert_eq!((found, rest["next"].clone()), (wanted.clone(), Value::Null));
        } else {
            assert!(reports["users_next"].is_null(), "{query}: {reports}");
        }
    }
    for wrong in ["-1", "1001", "all", ""] {
        let path = format!("/v1/orgs/acme/balance?users_limit={wrong}");
        client.get(&path).is_problem(400, "invalid_parameter", Some("users_limit"));
    }
}

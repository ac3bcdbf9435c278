//! Orgs, plans, limits, balances, users, series.

use serde_json::{Value, json};

use crate::client::{Client, given};
use crate::server::TestServer;

#[test]
fn an_org_has_a_name_a_time_zone_and_a_plan() {
    let server = TestServer::start();
    let mut client = server.client();
    let mut told = json!({
        "org": "acme", "name": "Acme Research", "time_zone": "UTC", "plan": null, "trial": null, "version": 1,
        "created_at": "2026-11-02T10:00:00Z", "meters": {}
    });
    client.put("/v1/orgs/acme", json!({"name": "Acme Research"})).is(200, told.clone());
    client.put("/v1/orgs/acme", json!({"name": "Acme Research"})).is(200, told.clone());
    client.put("/v1/orgs/acme", json!({})).is(200, told.clone());
    server.at("2026-11-03T00:00:00Z");
    told["time_zone"] = json!("Asia/Tokyo");
    told["version"] = json!(2);
    client.put("/v1/orgs/acme", json!({"time_zone": "Asia/Tokyo"})).is(200, told.clone());
    client.get("/v1/orgs/acme").is(200, told.clone());

    let plan = |plan: &str, changed: bool, deprecated: bool| json!({"org": "acme", "plan": plan, "since": "2026-11-03T00:00:00Z", "scheduled": null, "changed": changed, "deprecated": deprecated});
    client.put("/v1/orgs/acme/plan", json!({"plan": "trial"})).is(200, plan("trial", true, false));
    client.put("/v1/orgs/acme/plan", json!({"plan": "trial"})).is(200, plan("trial", false, false));
    told["plan"] = json!("trial");
    told["version"] = json!(3);
    told["trial"] = json!({"started_at": "2026-11-03T00:00:00Z", "ends_at": "2026-11-17T00:00:00Z"});
    told["meters"] = json!({"reports": {"used": 0, "remaining": 10, "projected": null}});
    client.get("/v1/orgs/acme").is(200, told.clone());
    client.put("/v1/orgs/acme/plan", json!({"plan": "lite"})).is(200, plan("lite", true, true));
    client.put("/v1/orgs/acme/plan", json!({"plan": "trial"})).is_problem(409, "trial_used", Some("plan"));
    told["plan"] = json!("lite");
    told["version"] = json!(4);
    told["meters"] = json!({"reports": {"used": 0, "remaining": 20, "projected": 0}});
    client.get("/v1/orgs/acme").is(200, told);

    // A plan makes the org; ids are taken as they are.
    for id in ["caf%C3%A9", "a%2Fb", "a%20b", "%2E%2E", "%F0%9F%9A%A7"] {
        client.put(&format!("/v1/orgs/{id}/plan"), json!({"plan": "basic"})).ok();
        assert_eq!(client.get(&format!("/v1/orgs/{id}")).ok()["plan"], "basic", "{id}");
    }
    let listed = client.get("/v1/orgs").ok();
    let ids: Vec<_> = listed["orgs"].as_array().expect("orgs").iter().map(|org| org["org"].clone()).collect();
    assert_eq!(ids, ["..", "a b", "a/b", "acme", "café", "🚧"]);
}

#[test]
fn orgs_are_listed_by_id_in_pages() {
    let server = TestServer::start();
    let mut client = server.client();
    client.get("/v1/orgs").is(200, json!({"orgs": [], "next": null}));
    let mut ids: Vec<String> = (0..25).map(|number| format!("org-{number}")).collect();
    for id in &ids {
        client.put(&format!("/v1/orgs/{id}/plan"), json!({"plan": "basic"})).ok();
    }
    client.post("/v1/usage", json!({"org": "org-7", "meter": "reports", "key": "k", "quantity": 4})).ok();
    ids.sort();
    for limit in [1, 7, 25, 100] {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = client.get(&format!("/v1/orgs?limit={limit}{cursor}")).ok();
            let orgs = page["orgs"].as_array().expect("orgs").clone();
            assert!(orgs.len() <= limit, "{} of {limit}", orgs.len());
            found.extend(orgs);
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        let listed: Vec<_> = found.iter().map(|org| org["org"].as_str().expect("an id")).collect();
        assert_eq!(listed, ids, "{limit} a page");
        let seventh = found.iter().find(|org| org["org"] == "org-7").expect("org-7");
        assert_eq!(*seventh, client.get("/v1/orgs/org-7").ok());
        assert_eq!(
            (&seventh["meters"]["reports"]["remaining"], &seventh["version"]),
            (&json!(96), &json!(2))
        );
    }
}

#[test]
fn limits_are_set_replaced_and_removed() {
    let server = TestServer::start();
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
    let limit = |scope: &str, user: Option<&str>, window: &str, amount: Value| {
        let mut limit = json!({
            "meter": "reports", "scope": scope, "window": window, "amount": amount, "used": null, "resets_at": null
        });
        if let Some(user) = user {
            limit["user"] = json!(user);
        }
        limit
    };
    let set = |limit: &Value| {
        given(json!({
            "meter": limit["meter"], "scope": limit["scope"], "user": limit["user"], "window": limit["window"],
            "amount": limit["amount"]
        }))
    };
    let mut limits = Vec::new();
    for (scope, user) in [("org", None), ("user", None), ("user", Some("ada"))] {
        let of_calendar = [
            "minute",
            "hour",
            "day",
            "week",
            "month",
            "lifetime",
            "plan_month",
            "month_from_31",
            "week_from_sunday",
        ];
        let windows = of_calendar.into_iter().chain(["rolling_5h", "rolling_366d", "first_use_7d"]);
        for (place, window) in windows.enumerate() {
            let new = limit(scope, user, window, json!(10 + place));
            limits.push(new.clone());
            let told = json!({"org": "acme", "changed": true, "limits": limits});
            client.put("/v1/orgs/acme/limits", set(&new)).is(200, told);
        }
    }
    let again = json!({"org": "acme", "changed": false, "limits": limits});
    client.put("/v1/orgs/acme/limits", set(&limits[3])).is(200, again);
    // One that changes goes to the end.
    let mut raised = limits.remove(3);
    raised["amount"] = json!(7.5);
    limits.push(raised.clone());
    let told = json!({"org": "acme", "changed": true, "limits": limits});
    client.put("/v1/orgs/acme/limits", set(&raised)).is(200, told);

    // Removed by null and by DELETE; what is not there is removed without a change.
    let mut first = set(&limits.remove(0));
    first["amount"] = Value::Null;
    client
        .put("/v1/orgs/acme/limits", first.clone())
        .is(200, json!({"org": "acme", "changed": true, "limits": limits}));
    client
        .put("/v1/orgs/acme/limits", first)
        .is(200, json!({"org": "acme", "changed": false, "limits": limits}));
    for removed in limits.clone() {
        let user = removed["user"].as_str().map(|user| format!("&user={user}")).unwrap_or_default();
        let text = |name: &str| removed[name].as_str().unwrap_or_default().to_owned();
        let path = format!(
            "/v1/orgs/acme/limits?meter=reports&scope={}&window={}{user}",
            text("scope"),
            text("window")
        );
        limits.remove(0);
        client.delete(&path).is(200, json!({"org": "acme", "changed": true, "limits": limits}));
        client.delete(&path).is(200, json!({"org": "acme", "changed": false, "limits": limits}));
    }
    // The month is the window unless another is given.
    client
        .put("/v1/orgs/acme/limits", json!({"meter": "reports", "scope": "org", "amount": 3}))
        .is(200, json!({"org": "acme", "changed": true, "limits": [limit("org", None, "month", json!(3))]}));
    let none = json!({"org": "acme", "changed": true, "limits": []});
    client.delete("/v1/orgs/acme/limits?meter=reports&scope=org").is(200, none);
}

#[test]
fn an_org_has_so_many_limits_and_no_more() {
    let server = TestServer::start();
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
    let mut set = |user: usize, amount: Value| {
        let user = format!("user-{user}");
        let limit =
            json!({"meter": "reports", "scope": "user", "user": user, "window": "day", "amount": amount});
        client.put("/v1/orgs/acme/limits", limit)
    };
    for user in 0..1_000 {
        set(user, json!(5)).ok();
    }
    let refused = set(1_000, json!(5));
    refused.is_problem(409, "too_many", None);
    assert!(refused.text().contains("at most 1000 limits"), "{}", refused.text());
    // One that is there may change, and one that goes makes room.
    set(7, json!(6)).ok();
    set(8, Value::Null).ok();
    set(1_000, json!(5)).ok();
}

#[test]
fn a_user_whose_clock_is_ahead_keeps_what_was_used_before() {
    let server = TestServer::start();
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
    server.at("2026-11-30T23:58:00Z");
    let usage = |user: &str, key: &str, quantity: i64, time: &str| json!({"org": "acme", "meter": "reports", "user": user, "key": key, "quantity": quantity, "time": time});
    let sent = json!([
        usage("ada", "a-1", 2, "2026-11-30T23:57:00Z"),
        usage("ada", "a-2", 3, "2026-12-01T00:02:00Z"),
        usage("ben", "b-1", 4, "2026-12-01T00:02:00Z"),
    ]);
    client.post("/v1/usage/batch", sent).ok();
    let used = |client: &mut Client, month: &str| {
        let page = client.get(&format!("/v1/orgs/acme/users?meter=reports&month={month}")).ok();
        let users = page["users"].as_array().expect("users").clone();
        users.iter().map(|user| (user["user"].clone(), user["used"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(used(&mut client, "2026-11"), [(json!("ada"), json!(2))]);
    assert_eq!(used(&mut client, "2026-12"), [(json!("ada"), json!(3)), (json!("ben"), json!(4))]);
}

#[test]
fn a_balance_tells_everything() {
    let server = TestServer::start();
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
    for (scope, user, window, amount) in [
        ("org", Value::Null, "day", 90),
        ("user", Value::Null, "month", 50),
        ("user", json!("vip"), "month", 80),
    ] {
        let limit = given(
            json!({"meter": "reports", "scope": scope, "user": user, "window": window, "amount": amount}),
        );
        client.put("/v1/orgs/acme/limits", limit).ok();
    }
    server.at("2026-11-16T00:00:00Z");
    client.post("/v1/orgs/acme/top-ups", json!({"meter": "reports", "amount": 10})).ok();
    for (user, quantity) in [("ben", 20.0), ("ada", 5.5), ("vip", 34.5)] {
        let usage = given(
            json!({"org": "acme", "user": user, "meter": "reports", "quantity": quantity, "key": user}),
        );
        client.post("/v1/usage", usage).ok();
    }
    let month_end = "2026-12-01T00:00:00Z";
    let limit = |scope: &str, window: &str, amount: i64, used: Value, resets_at: &str| {
        json!({
            "meter": "reports", "scope": scope, "window": window, "amount": amount, "used": used,
            "resets_at": resets_at
        })
    };
    let mut vip = limit("user", "month", 80, json!(34.5), month_end);
    vip["user"] = json!("vip");
    client.get("/v1/orgs/acme/balance").is(
        200,
        json!({
            "org": "acme", "plan": "basic", "at": "2026-11-16T00:00:00Z",
            "meters": {"reports": {
                "allowance": 100, "topped_up": 10, "used": 60, "held": 0, "remaining": 50, "overage": 0, "month": 60,
                "lifetime": 60, "resets_at": month_end, "projected": 120, "runs_out_on": "2026-11-28",
                "credits": [
                    {"source": "allowance", "granted": 100, "used": 60, "priority": 100, "expires_at": month_end},
                    {"source": "top_up", "entry": 5, "granted": 10, "used": 0, "priority": 100,
                     "effective_at": "2026-11-16T00:00:00Z", "expires_at": month_end}
                ],
                "future_credits": [],
                "limits": [
                    limit("org", "day", 90, json!(60), "2026-11-17T00:00:00Z"),
                    limit("user", "month", 50, Value::Null, month_end),
                    vip
                ],
                "users_next": null,
                "users": [
                    {"user": "ada", "used": 5.5, "limit": 50, "remaining": 44.5},
                    {"user": "ben", "used": 20, "limit": 50, "remaining": 30},
                    {"user": "vip", "used": 34.5, "limit": 80, "remaining": 45.5}
                ]
            }}
        }),
    );

    // The users of a list of their own, in pages, and of another month.
    let page = client.get("/v1/orgs/acme/users?meter=reports&limit=2").ok();
    let next = page["next"].as_str().expect("there is more").to_owned();
    assert_eq!((&page["month"], &page["users"][1]["user"]), (&json!("2026-11"), &json!("ben")));
    client.get(&format!("/v1/orgs/acme/users?meter=reports&limit=2&cursor={next}")).is(
        200,
        json!({
            "meter": "reports", "month": "2026-11", "next": null,
            "users": [{"user": "vip", "used": 34.5, "limit": 80, "remaining": 45.5}]
        }),
    );
    server.at("2026-12-01T00:00:00Z");
    let none = json!({"meter": "reports", "month": "2026-12", "users": [], "next": null});
    client.get("/v1/orgs/acme/users?meter=reports").is(200, none);
    let last = client.get("/v1/orgs/acme/users?meter=reports&month=2026-11").ok();
    assert_eq!(last["users"].as_array().map(Vec::len), Some(3));
}

#[test]
fn a_trial_has_a_balance_of_its_own() {
    let server = TestServer::start();
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": "trial"})).ok();
    client.post("/v1/usage", json!({"org": "acme", "meter": "reports", "quantity": 4, "key": "k"})).ok();
    let reports = client.get("/v1/orgs/acme/balance").ok()["meters"]["reports"].clone();
    assert_eq!(
        reports,
        json!({
            "allowance": 10, "topped_up": 0, "used": 4, "held": 0, "remaining": 6, "overage": 0, "month": 4, "lifetime": 4,
            "resets_at": null, "projected": null, "runs_out_on": null,
            "credits": [{
                "source": "trial", "granted": 10, "used": 4, "priority": 100, "expires_at": "2026-11-16T10:00:00Z"
            }],
            "future_credits": [],
            "limits": [], "users": [], "users_next": null
        })
    );
    server.at("2026-11-16T10:00:00Z");
    let reports = client.get("/v1/orgs/acme/balance").ok()["meters"]["reports"].clone();
    assert_eq!(
        (&reports["remaining"], &reports["credits"]),
        (&json!(0), &json!([])),
        "nothing is left of it"
    );
}

#[test]
fn usage_over_time() {
    let server = TestServer::start();
    let mut client = server.client();
    client.put("/v1/orgs/acme", json!({"time_zone": "America/New_York"})).ok();
    client.put("/v1/orgs/acme/plan", json!({"plan": "ultimate"})).ok();
    // The day the clocks go back has 25 hours.
    for (number, at) in [
        "2026-11-01T03:59:59Z",
        "2026-11-01T04:00:00Z",
        "2026-11-02T04:59:59Z",
        "2026-11-02T05:00:00Z",
        "2026-11-05T12:00:00Z",
        "2026-12-01T04:59:59Z",
    ]
    .into_iter()
    .enumerate()
    {
        server.at(at);
        let usage =
            json!({"org": "acme", "meter": "reports", "quantity": number + 1, "key": format!("k-{number}")});
        client.post("/v1/usage", usage).ok();
    }
    let point = |period: &str, start: &str, end: &str, quantity: i64| json!({"period": period, "start": start, "end": end, "quantity": quantity});
    let days = [
        point("2026-10-31", "2026-10-31T04:00:00Z", "2026-11-01T04:00:00Z", 1),
        point("2026-11-01", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z", 5),
        point("2026-11-02", "2026-11-02T05:00:00Z", "2026-11-03T05:00:00Z", 4),
        point("2026-11-05", "2026-11-05T05:00:00Z", "2026-11-06T05:00:00Z", 5),
        point("2026-11-30", "2026-11-30T05:00:00Z", "2026-12-01T05:00:00Z", 6),
    ];
    let series = |window: &str, points: &[Value]| json!({"org": "acme", "meter": "reports", "window": window, "points": points, "next": null});
    let path = "/v1/orgs/acme/usage?meter=reports";
    client.get(path).is(200, series("day", &days));
    client.get(&format!("{path}&from=2026-11-01&to=2026-11-05")).is(200, series("day", &days[1..3]));
    client.get(&format!("{path}&window=day&from=2026-11-06")).is(200, series("day", &days[4..]));
    client.get(&format!("{path}&window=month")).is(
        200,
        series(
            "month",
            &[
                point("2026-10", "2026-10-01T04:00:00Z", "2026-11-01T04:00:00Z", 1),
                point("2026-11", "2026-11-01T04:00:00Z", "2026-12-01T05:00:00Z", 20),
            ],
        ),
    );
    client.get(&format!("{path}&window=month&from=2026-12")).is(200, series("month", &[]));
    let page = client.get(&format!("{path}&limit=3")).ok();
    assert_eq!(page["points"], json!(days[..3]));
    let next = page["next"].as_str().expect("there is more");
    client.get(&format!("{path}&limit=3&cursor={next}")).is(200, series("day", &days[3..]));
}

#[test]
fn metadata_is_kept_with_orgs_and_top_ups() {
    let mut server = TestServer::start();
    let mut client = server.client();
    let put = |client: &mut Client, metadata: Value| {
        client.put("/v1/orgs/acme", json!({"name": "Acme", "metadata": metadata})).ok()["metadata"].clone()
    };
    let first = json!({"crm": "0815", "a note": "two\nlines", "": "no name"});
    let refused = client.put("/v1/orgs/acme", json!({"metadata": first}));
    refused.is_problem(422, "invalid_field", Some("metadata"));
    let first = json!({"crm": "0815", "a note": "two\nlines", "empty": ""});
    assert_eq!(put(&mut client, first.clone()), first);
    // What is left out stays; what is given takes the place of all; null and nothing clear it.
    assert_eq!(client.put("/v1/orgs/acme", json!({"name": "Acme Inc."})).ok()["metadata"], first);
    assert_eq!(put(&mut client, json!({"tier": "gold"})), json!({"tier": "gold"}));
    let version = client.get("/v1/orgs/acme").ok()["version"].clone();
    assert_eq!(put(&mut client, json!({"tier": "gold"})), json!({"tier": "gold"}));
    assert_eq!(client.get("/v1/orgs/acme").ok()["version"], version, "nothing changed");
    assert_eq!(client.get("/v1/orgs").ok()["orgs"][0]["metadata"]["tier"], "gold");
    assert_eq!(client.get("/v1/orgs/acme/ledger").ok()["entries"][0]["metadata"]["tier"], "gold");
    server.restart();
    client = server.client();
    assert_eq!(client.get("/v1/orgs/acme").ok()["metadata"]["tier"], "gold");
    assert_eq!(put(&mut client, Value::Null), Value::Null);

    client.put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
    let top_up =
        |ticket: &str| json!({"meter": "reports", "amount": 5, "key": "t-1", "metadata": {"ticket": ticket}});
    let entry = client.post("/v1/orgs/acme/top-ups", top_up("4711")).ok()["entry"].clone();
    let told = client.get(&format!("/v1/orgs/acme/ledger/{entry}")).ok();
    assert_eq!(told["metadata"], json!({"ticket": "4711"}));
    assert_eq!(
        client.post("/v1/orgs/acme/top-ups", top_up("4712")).ok()["replayed"],
        true,
        "no part of the key"
    );

    let many: serde_json::Map<String, Value> =
        (0..17).map(|number| (format!("name-{number}"), json!("x"))).collect();
    for wrong in [
        json!({"x".repeat(65): "y"}),
        json!({"a\nb": "y"}),
        json!({"a": "y".repeat(257)}),
        json!({"a": "\u{0}"}),
        json!({"a": 7}),
        json!(["a"]),
        Value::Object(many),
    ] {
        let refused = client.put("/v1/orgs/acme", json!({"metadata": wrong}));
        assert_eq!((refused.status, &refused.json()["code"]), (422, &json!("invalid_field")), "{wrong}");
    }
    let twice = r#"{"metadata": {"a": "1", "a": "2"}}"#;
    let twice = crate::client::Ask::new("PUT", "/v1/orgs/acme")
        .header("content-type", "application/json")
        .body(twice);
    client.ask(&twice).is_problem(422, "invalid_field", Some("metadata"));
}

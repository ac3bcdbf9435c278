//! `POST /v1/usage`, `/v1/usage/check`, `/v1/usage/reversals`.

use serde_json::{Value, json};

use crate::client::{Ask, Client, given};
use crate::server::TestServer;

fn on_plan(plan: &str) -> (TestServer, Client) {
    let server = TestServer::start();
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": plan})).ok();
    (server, client)
}

fn used(client: &mut Client) -> Value {
    client.get("/v1/orgs/acme/balance").ok()["meters"]["reports"]["used"].clone()
}

#[test]
fn a_usage_is_counted_once_and_told_whole() {
    let (_server, mut client) = on_plan("basic");
    let usage = json!({"org": "acme", "user": "ada", "meter": "reports", "key": "r-1"});
    let mut told = json!({
        "allowed": true, "replayed": false, "key": "r-1", "org": "acme", "user": "ada", "meter": "reports",
        "quantity": 1, "remaining": 99, "used": 1, "total": 100, "user_used": 1, "entry": 2
    });
    client.post("/v1/usage", usage.clone()).is(200, told.clone());
    client.post("/v1/usage", json!({"org": "acme", "meter": "reports", "key": "r-2", "quantity": 4})).is(
        200,
        json!({
            "allowed": true, "replayed": false, "key": "r-2", "org": "acme", "meter": "reports",
            "quantity": 4, "remaining": 95, "used": 5, "total": 100, "entry": 3
        }),
    );
    told["replayed"] = json!(true);
    client.post("/v1/usage", usage).is(200, told);
    assert_eq!(used(&mut client), 5);
}

#[test]
fn a_replay_says_what_was_said_whatever_came_after() {
    let (server, mut client) = on_plan("lite");
    let usage = json!({"org": "acme", "meter": "reports", "quantity": 15, "key": "r-1"});
    let mut told = client.post("/v1/usage", usage.clone()).ok();
    client.put("/v1/orgs/acme/plan", json!({"plan": "ultimate"})).ok();
    client.put("/v1/orgs/acme/limits", json!({"meter": "reports", "scope": "user", "amount": 1})).ok();
    server.at("2026-12-05T10:00:00Z");
    told["replayed"] = json!(true);
    client.post("/v1/usage", usage.clone()).is(200, told.clone());
    // A retry may carry a later time.
    let mut later = usage;
    later["time"] = json!("2026-12-05T09:00:00Z");
    client.post("/v1/usage", later).is(200, told);
    // Properties in another order are the same content.
    client.put("/v1/orgs/acme/limits", json!({"meter": "reports", "scope": "user", "amount": null})).ok();
    let body = |properties: &str| {
        let text = format!(r#"{{"org":"acme","meter":"reports","key":"r-2","properties":{properties}}}"#);
        Ask::new("POST", "/v1/usage").body(text)
    };
    client.ask(&body(r#"{"a":"1","b":"2"}"#)).ok();
    assert_eq!(client.ask(&body(r#"{"b":"2","a":"1"}"#)).ok()["replayed"], true);
}

#[test]
fn quantities_are_exact() {
    let (_server, mut client) = on_plan("basic");
    let mut ask = |key: &str, quantity: &str| {
        let body = format!(r#"{{"org":"acme","meter":"reports","key":"{key}","quantity":{quantity}}}"#);
        let reply = client.ask(&Ask::new("POST", "/v1/usage").body(body));
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.text()
    };
    for (key, quantity, digits, remaining) in [
        ("a", "2.5", "2.5", "97.5"),
        ("b", "\"0.25\"", "0.25", "97.25"),
        ("c", "1.250e1", "12.5", "84.75"),
        ("d", "0.000000001", "0.000000001", "84.749999999"),
        ("e", "\"0.749999999\"", "0.749999999", "84"),
        ("f", "1.000", "1", "83"),
    ] {
        let text = ask(key, quantity);
        assert!(text.contains(&format!("\"quantity\":{digits},\"remaining\":{remaining},")), "{text}");
    }
    for number in 0..10 {
        ask(&format!("tenth-{number}"), "0.1");
    }
    assert!(ask("last", "1").contains("\"remaining\":81,\"used\":19,"), "ten tenths are one");
    // The same number in other digits is the same content.
    assert!(ask("a", "\"2.500\"").contains("\"replayed\":true"));
}

#[test]
fn the_key_may_come_in_a_header() {
    let (_server, mut client) = on_plan("basic");
    let usage = json!({"org": "acme", "meter": "reports"});
    let ask = |key: &str| Ask::new("POST", "/v1/usage").header("Idempotency-Key", key).json(usage.clone());
    let first = client.ask(&ask("r-1")).ok();
    assert_eq!((&first["key"], &first["replayed"]), (&json!("r-1"), &json!(false)));
    let quoted = client.ask(&ask("\"r-1\"")).ok();
    assert_eq!(
        (&quoted["key"], &quoted["replayed"]),
        (&json!("r-1"), &json!(true)),
        "bare and quoted are one"
    );
    let body = json!({"org": "acme", "meter": "reports", "key": "r-1"});
    assert_eq!(client.post("/v1/usage", body.clone()).ok()["replayed"], true, "and that of the body");
    let both = Ask::new("POST", "/v1/usage").header("idempotency-key", "other").json(body);
    client.ask(&both).is_problem(422, "invalid_field", Some("Idempotency-Key"));
    assert_eq!(used(&mut client), 1);
}

#[test]
fn properties_are_kept_as_text() {
    let (_server, mut client) = on_plan("basic");
    let usage = json!({
        "org": "acme", "meter": "reports", "key": "r-1", "time": "2026-11-01T12:30:00+02:00",
        "properties": {"model": "large", "vast": 5.5e269, "tokens": 12, "share": 0.5, "cached": true, "empty": "", "note": "a\tb\nc"}
    });
    client.post("/v1/usage", usage).ok();
    let entry = client.get("/v1/orgs/acme/ledger/2").ok();
    let kept = json!({"model": "large", "vast": "5.5e269", "tokens": "12", "share": "0.5", "cached": "true", "empty": "", "note": "a\tb\nc"});
    assert_eq!((&entry["properties"], &entry["time"]), (&kept, &json!("2026-11-01T10:30:00Z")));
    assert_eq!(
        entry["periods"],
        json!(["2026-11-02", "2026-11", "lifetime"]),
        "quotas go by the server's time"
    );
}

#[test]
fn what_a_denial_says() {
    let (_server, mut client) = on_plan("lite");
    client.post("/v1/usage", json!({"org": "acme", "meter": "reports", "quantity": 18, "key": "r-1"})).ok();
    let problem = |code: &str, title: &str, status: u16, detail: &str, remaining: i64, limit: Value| {
        let asked: i64 =
            detail.split(' ').next().and_then(|asked| asked.parse().ok()).expect("what was asked");
        json!({
            "type": format!("urn:tollgate:problem:{code}"), "title": title, "status": status, "detail": detail,
            "code": code, "allowed": false, "quantity": asked, "remaining": remaining, "limit": limit
        })
    };
    let usage = |user: Option<&str>, quantity: i64, key: &str| {
        given(json!({"org": "acme", "user": user, "meter": "reports", "quantity": quantity, "key": key}))
    };
    let org_reached = "The organization's limit is reached";
    client.post("/v1/usage", usage(None, 3, "r-2")).is(
        402,
        problem(
            "org_limit_reached",
            org_reached,
            402,
            "3 asked, 2 left: 18 of 20 reports are used; top up, or set a larger plan",
            2,
            json!({"scope": "org", "window": "month", "amount": 20, "used": 18, "remaining": 2, "resets_at": "2026-12-01T00:00:00Z"}),
        ),
    );
    // A denial binds nothing: the same key with another content passes.
    assert_eq!(client.post("/v1/usage", usage(None, 1, "r-2")).ok()["remaining"], 1);

    let limits = [
        ("org", Value::Null, "day", 19),
        ("user", Value::Null, "month", 5),
        ("user", json!("vip"), "hour", 3),
    ];
    for (scope, user, window, amount) in limits {
        let limit = given(
            json!({"meter": "reports", "scope": scope, "user": user, "window": window, "amount": amount}),
        );
        client.put("/v1/orgs/acme/limits", limit).ok();
    }
    client.post("/v1/usage", usage(Some("ada"), 1, "r-3")).is(
        429,
        problem(
            "org_limit_reached",
            org_reached,
            429,
            "1 asked, 0 left: 19 of 19 reports a day are used by the organization",
            1,
            json!({"scope": "org", "window": "day", "amount": 19, "used": 19, "remaining": 0, "resets_at": "2026-11-03T00:00:00Z"}),
        ),
    );
    client.delete("/v1/orgs/acme/limits?meter=reports&scope=org&window=day").ok();
    client.post("/v1/orgs/acme/top-ups", json!({"meter": "reports", "amount": 20})).ok();
    for (user, quantity, window, amount, resets_at) in
        [("ada", 6, "month", 5, "2026-12-01T00:00:00Z"), ("vip", 4, "hour", 3, "2026-11-02T11:00:00Z")]
    {
        client.post("/v1/usage", usage(Some(user), quantity, "r-4")).is(
            403,
            problem(
                "user_limit_reached",
                "The user's limit is reached",
                403,
                &format!("{quantity} asked, {amount} left: 0 of {amount} reports a {window} are used by user '{user}'"),
                21,
                json!({
                    "scope": "user", "user": user, "window": window, "amount": amount, "used": 0,
                    "remaining": amount, "resets_at": resets_at
                }),
            ),
        );
    }
    client.post("/v1/usage", usage(None, 1, "r-5")).is_problem(422, "user_required", Some("user"));
}

#[test]
fn a_refusal_says_whether_waiting_helps() {
    let (server, mut client) = on_plan("basic");
    server.at("2026-11-02T10:00:40.5Z");
    let usage = |org: &str, quantity: i64, key: &str| json!({"org": org, "user": "ada", "meter": "reports", "quantity": quantity, "key": key});
    for (scope, window, quantity, status, policy, state, retry_after) in [
        ("org", "minute", 1, 429, "\"org-minute\";q=3;w=60", "\"org-minute\";r=0;t=20", Some("20")),
        ("user", "hour", 1, 429, "\"user-hour\";q=3;w=3600", "\"user-hour\";r=0;t=3560", Some("3560")),
        ("user", "day", 1, 429, "\"user-day\";q=3;w=86400", "\"user-day\";r=0;t=50360", Some("50360")),
        ("org", "week", 1, 429, "\"org-week\";q=3;w=604800", "\"org-week\";r=0;t=568760", Some("568760")),
        // More than the limit never fits.
        ("user", "day", 4, 403, "\"user-day\";q=3;w=86400", "\"user-day\";r=0;t=50360", None),
        ("org", "month", 1, 403, "\"org-month\";q=3", "\"org-month\";r=0;t=2469560", None),
        ("org", "plan_month", 1, 403, "\"org-plan_month\";q=3", "\"org-plan_month\";r=0;t=2555960", None),
        (
            "org",
            "rolling_5h",
            1,
            429,
            "\"org-rolling_5h\";q=3;w=18000",
            "\"org-rolling_5h\";r=0;t=18260",
            Some("18260"),
        ),
        (
            "user",
            "first_use_7d",
            1,
            429,
            "\"user-first_use_7d\";q=3;w=604800",
            "\"user-first_use_7d\";r=0;t=604760",
            Some("604760"),
        ),
        (
            "user",
            "first_use_30d",
            1,
            403,
            "\"user-first_use_30d\";q=3;w=2592000",
            "\"user-first_use_30d\";r=0;t=2591960",
            None,
        ),
        ("user", "lifetime", 1, 403, "\"user-lifetime\";q=3", "\"user-lifetime\";r=0", None),
        ("none", "", 1_000, 402, "\"org\";q=100", "\"org\";r=97;t=2469560", None),
    ] {
        let limit = json!({"meter": "reports", "scope": scope, "window": window, "amount": 3});
        let org = format!("{scope}-{window}-{quantity}");
        client.put(&format!("/v1/orgs/{org}/plan"), json!({"plan": "basic"})).ok();
        if scope != "none" {
            client.put(&format!("/v1/orgs/{org}/limits"), limit).ok();
        }
        client.post("/v1/usage", usage(&org, 3, "r-1")).ok();
        let reply = client.post("/v1/usage", usage(&org, quantity, "r-2"));
        assert_eq!(reply.status, status, "{scope} {window}: {}", reply.text());
        for (name, value) in
            [("ratelimit-policy", Some(policy)), ("ratelimit", Some(state)), ("retry-after", retry_after)]
        {
            assert_eq!(reply.header(name), value, "{scope} {window}");
        }
        let check = client.post("/v1/usage/check", usage(&org, quantity, "r-2"));
        assert_eq!((check.header("ratelimit"), check.header("retry-after")), (Some(state), None));
        let (checked, refused) = (check.ok(), reply.json());
        assert_eq!((&checked["detail"], &checked["limit"]), (&refused["detail"], &refused["limit"]));
    }
    // The compatible API keeps its status.
    let limit = json!({"meter": "reports", "scope": "org", "window": "minute", "amount": 3});
    client.put("/v1/orgs/acme/limits", limit).ok();
    client.post("/v1/usage", usage("acme", 3, "r-4")).ok();
    client.post("/v1/usage", usage("acme", 1, "r-5")).is_problem(429, "org_limit_reached", None);
    let reply = client.post("/use", json!({"org_id": "acme", "user_id": "ada", "report_id": "r-6"}));
    assert_eq!((reply.status, reply.header("retry-after")), (403, None), "{}", reply.text());
}

#[test]
fn rate_limit_headers_tell_every_limit() {
    let (server, mut client) = on_plan("basic");
    let usage =
        |key: &str| json!({"org": "acme", "user": "ada", "meter": "reports", "quantity": 2.5, "key": key});
    let reply = client.post("/v1/usage", usage("r-1"));
    assert_eq!(reply.header("ratelimit-policy"), Some("\"org\";q=100"));
    assert_eq!(reply.header("ratelimit"), Some("\"org\";r=97;t=2469600"), "until the month ends");
    for (scope, window, amount) in [("org", "day", 30), ("user", "month", 50), ("org", "minute", 10)] {
        let limit = json!({"meter": "reports", "scope": scope, "window": window, "amount": amount});
        client.put("/v1/orgs/acme/limits", limit).ok();
    }
    server.at("2026-11-02T10:00:40Z");
    let reply = client.post("/v1/usage", usage("r-2"));
    let policy = "\"org\";q=100, \"org-day\";q=30;w=86400, \"org-minute\";q=10;w=60, \"user-month\";q=50";
    assert_eq!(reply.header("ratelimit-policy"), Some(policy));
    let state = "\"org\";r=95;t=2469560, \"org-day\";r=25;t=50360, \"org-minute\";r=7;t=20, \"user-month\";r=45;t=2469560";
    assert_eq!(reply.header("ratelimit"), Some(state));
    let reply = client.post("/v1/usage/check", usage("r-3"));
    assert!(reply.header("ratelimit").is_some_and(|state| state.starts_with("\"org\";r=92;")), "{reply:?}");
}

#[test]
fn limits_of_every_window() {
    let (server, mut client) = on_plan("ultimate");
    let mut number = 0;
    let mut usage = |at: &str, org: &str, user: &str| {
        server.at(at);
        number += 1;
        let body = given(json!({"org": org, "user": user, "meter": "reports", "key": format!("r-{number}")}));
        let reply = server.client().post("/v1/usage", body);
        (reply.status, reply.json()["limit"]["resets_at"].clone())
    };
    // Each window as the only limit of the org, then of each user: full, still full at its last moment, then open.
    for (window, last, first) in [
        ("minute", "2026-11-02T10:00:59.999Z", "2026-11-02T10:01:00Z"),
        ("hour", "2026-11-02T10:59:59.999Z", "2026-11-02T11:00:00Z"),
        ("day", "2026-11-02T23:59:59.999Z", "2026-11-03T00:00:00Z"),
        ("week", "2026-11-08T23:59:59.999Z", "2026-11-09T00:00:00Z"),
        ("week_from_sunday", "2026-11-07T23:59:59.999Z", "2026-11-08T00:00:00Z"),
        ("month", "2026-11-30T23:59:59.999Z", "2026-12-01T00:00:00Z"),
    ] {
        for scope in ["org", "user"] {
            let org = format!("{scope}-{window}");
            server.at("2026-11-02T10:00:00Z");
            client.put(&format!("/v1/orgs/{org}/plan"), json!({"plan": "ultimate"})).ok();
            let limit = json!({"meter": "reports", "scope": scope, "window": window, "amount": 2});
            client.put(&format!("/v1/orgs/{org}/limits"), limit).ok();
            let open = (200, Value::Null);
            assert_eq!(usage("2026-11-02T10:00:00Z", &org, "ada"), open, "{org}");
            assert_eq!(usage("2026-11-02T10:00:01Z", &org, "ada"), open, "{org}");
            let full = if window == "month" { 403 } else { 429 };
            assert_eq!(usage(last, &org, "ada"), (full, json!(first)), "{org}");
            let other = usage(last, &org, "ben");
            assert_eq!(other, if scope == "org" { (full, json!(first)) } else { open.clone() }, "{org}");
            assert_eq!(usage(first, &org, "ada"), open, "{org}");
        }
    }
    // For a lifetime it never opens by itself.
    let limit = json!({"meter": "reports", "scope": "org", "window": "lifetime", "amount": 1});
    client.put("/v1/orgs/acme/limits", limit).ok();
    assert_eq!(usage("2027-01-01T00:00:00Z", "acme", "ada"), (200, Value::Null));
    assert_eq!(usage("2036-01-01T00:00:00Z", "acme", "ben"), (403, Value::Null));
}

#[test]
fn a_check_explains_and_consumes_nothing() {
    let (_server, mut client) = on_plan("lite");
    client.put("/v1/orgs/acme/limits", json!({"meter": "reports", "scope": "user", "amount": 5})).ok();
    client
        .post(
            "/v1/usage",
            json!({"org": "acme", "user": "ada", "meter": "reports", "quantity": 3, "key": "r-1"}),
        )
        .ok();
    let before = (client.get("/v1/orgs/acme").ok(), client.get("/v1/orgs/acme/balance").ok());
    let mut check = |user: Value, quantity: i64| {
        // The body of a usage can be checked as it is.
        let body = given(json!({
            "org": "acme", "user": user, "meter": "reports", "quantity": quantity, "key": "r-1",
            "properties": {"a": "b"}, "time": "2026-11-02T10:00:00Z"
        }));
        client.post("/v1/usage/check", body).ok()
    };
    let allowed = check(json!("ada"), 2);
    assert_eq!(
        (&allowed["allowed"], &allowed["code"], &allowed["remaining"], &allowed["used"]),
        (&json!(true), &Value::Null, &json!(15), &json!(5)),
        "what would be left"
    );
    let steps = |reply: &Value| -> Vec<(String, bool)> {
        let steps = reply["steps"].as_array().expect("steps").iter();
        steps
            .map(|step| {
                assert!(step["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{step}");
                (step["check"].as_str().unwrap_or_default().to_owned(), step["passed"] == json!(true))
            })
            .collect()
    };
    let all = |failed: &str| {
        ["meter", "org", "plan", "user", "credit", "limit"]
            .map(|name| (name.to_owned(), name != failed))
            .to_vec()
    };
    assert_eq!(steps(&allowed), all("none"));
    let denied = check(json!("ada"), 3);
    assert_eq!(
        (&denied["allowed"], &denied["code"], &denied["remaining"], &denied["used"]),
        (&json!(false), &json!("user_limit_reached"), &json!(17), &json!(3)),
        "what is left"
    );
    assert_eq!(steps(&denied), all("limit"));
    let denied = check(json!("ben"), 18);
    assert_eq!(denied["code"], "org_limit_reached", "credit is asked before limits");
    assert!(steps(&denied).contains(&("credit".to_owned(), false)));
    assert_eq!(check(Value::Null, 1)["code"], "user_required");
    for (org, meter, code, last) in
        [("nobody", "reports", "unknown_org", "org"), ("acme", "tokens", "unknown_meter", "meter")]
    {
        let denied = client.post("/v1/usage/check", json!({"org": org, "meter": meter})).ok();
        assert_eq!((&denied["allowed"], &denied["code"]), (&json!(false), &json!(code)));
        assert_eq!(steps(&denied).last(), Some(&(last.to_owned(), false)));
    }
    assert_eq!((client.get("/v1/orgs/acme").ok(), client.get("/v1/orgs/acme/balance").ok()), before);
}

#[test]
fn a_usage_is_taken_back_once() {
    let (server, mut client) = on_plan("lite");
    let usage = json!({"org": "acme", "user": "ada", "meter": "reports", "quantity": 20, "key": "r-1"});
    client.post("/v1/usage", usage.clone()).ok();
    let reversal = json!({"org": "acme", "key": "r-1"});
    let mut told = json!({"reversed": true, "replayed": false, "org": "acme", "key": "r-1", "entry": 3, "reversed_entry": 2});
    client.post("/v1/usage/reversals", reversal.clone()).is(200, told.clone());
    told["replayed"] = json!(true);
    client.post("/v1/usage/reversals", reversal.clone()).is(200, told.clone());
    let balance = client.get("/v1/orgs/acme/balance").ok();
    let reports = &balance["meters"]["reports"];
    assert_eq!(
        (&reports["used"], &reports["remaining"], &reports["month"]),
        (&json!(0), &json!(20), &json!(0))
    );
    assert_eq!((&reports["users"][0]["user"], &reports["users"][0]["used"]), (&json!("ada"), &json!(0)));
    client.post("/v1/usage", usage).is_problem(409, "key_reversed", Some("key"));

    // Half a year later too; the month it was in is put right, not the one that runs.
    client.post("/v1/usage", json!({"org": "acme", "meter": "reports", "quantity": 7, "key": "r-2"})).ok();
    server.at("2026-12-05T00:00:00Z");
    client.post("/v1/usage", json!({"org": "acme", "meter": "reports", "quantity": 2, "key": "r-3"})).ok();
    client.post("/v1/usage/reversals", json!({"org": "acme", "key": "r-2"})).ok();
    assert_eq!(used(&mut client), 2);
    let series = client.get("/v1/orgs/acme/usage?meter=reports&window=month").ok();
    let points: Vec<_> = series["points"]
        .as_array()
        .expect("points")
        .iter()
        .map(|point| (&point["period"], &point["quantity"]))
        .collect();
    assert_eq!(points, [(&json!("2026-12"), &json!(2))], "what was taken back has no point");
}

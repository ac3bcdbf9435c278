//! Usage over time: windows, users, properties, pages, tables, and what is refused.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::client::{Ask, Client, given};
use crate::server::TestServer;

const CATALOG: &str = r#"
[[meters]]
id = "tokens"
name = "Tokens"
unit = "token"
properties = ["model", "region"]
windows = ["hour", "week"]

[[meters]]
id = "calls"
name = "Calls"
unit = "call"
windows = ["minute"]

[[meters]]
id = "mails"
name = "Mails"
unit = "mail"

[[plans]]
id = "team"
name = "Team"
allowances = [
    { meter = "tokens", amount = 0, enforcement = "none" },
    { meter = "calls", amount = 0, enforcement = "none" },
    { meter = "mails", amount = 0, enforcement = "none" },
]
"#;

/// An org in Berlin.
fn berlin(server: &TestServer) -> Client {
    let mut client = server.client();
    apply(&mut client, CATALOG);
    client.put("/v1/orgs/acme", json!({"time_zone": "Europe/Berlin"})).ok();
    client.put("/v1/orgs/acme/plan", json!({"plan": "team"})).ok();
    client
}

fn apply(client: &mut Client, text: &str) {
    let ask = Ask::new("PUT", "/v1/catalog").header("content-type", "application/toml");
    client.ask(&ask.body(text)).ok();
}

/// Records usage: time, user, quantity, properties.
fn record(client: &mut Client, meter: &str, usage: &[(&str, Option<&str>, i64, Value)]) {
    let records: Vec<Value> = (0..)
        .zip(usage)
        .map(|(number, (time, user, quantity, properties))| {
            let key = format!("{meter} {time} {number}");
            given(json!({"org": "acme", "meter": meter, "user": user, "quantity": quantity, "time": time, "key": key,
                "properties": properties}))
        })
        .collect();
    let reply = client.post("/v1/usage/batch", json!(records)).ok();
    assert_eq!(reply["counted"], json!(records.len()), "{reply:#}");
}

fn read(client: &mut Client, parameters: &str) -> Value {
    client.get(&format!("/v1/orgs/acme/usage?{parameters}")).ok()
}

/// Period, part and quantity of each point.
fn points(reply: &Value) -> Vec<String> {
    let point = |point: &Value| {
        let mut told = point["period"].as_str().expect("a period").to_owned();
        if let Some(user) = point["user"].as_str() {
            told.push_str(&format!(" {user}"));
        }
        for (name, value) in point["properties"].as_object().into_iter().flatten() {
            told.push_str(&format!(" {name}={}", value.as_str().unwrap_or("-")));
        }
        format!("{told}: {}", point["quantity"])
    };
    reply["points"].as_array().expect("points").iter().map(point).collect()
}

fn check(client: &mut Client, parameters: &str, wanted: &[&str]) {
    assert_eq!(points(&read(client, parameters)), wanted, "{parameters}");
}

#[test]
fn hours_days_weeks_and_months_are_those_of_the_org_over_a_change_of_the_clocks() {
    let server = TestServer::start();
    let mut client = berlin(&server);
    let none = || json!({});
    let usage = [
        ("2026-10-24T21:59:59Z", None, 1, none()),
        ("2026-10-24T22:00:00Z", None, 2, none()),
        // The hour from two to three is there twice.
        ("2026-10-25T00:30:00Z", None, 4, none()),
        ("2026-10-25T01:30:00Z", None, 8, none()),
        ("2026-10-25T22:59:59Z", None, 16, none()),
        ("2026-10-25T23:00:00Z", None, 32, none()),
        ("2026-10-31T23:00:00Z", None, 64, none()),
    ];
    record(&mut client, "tokens", &usage);
    check(
        &mut client,
        "meter=tokens&window=day",
        &["2026-10-24: 1", "2026-10-25: 30", "2026-10-26: 32", "2026-11-01: 64"],
    );
    check(&mut client, "meter=tokens&window=week", &["2026-W43: 31", "2026-W44: 96"]);
    let week = read(&mut client, "meter=tokens&window=week&from=2026-10-26");
    assert_eq!(week["points"][0]["start"], "2026-10-25T23:00:00Z", "a Monday in Berlin");
    assert_eq!(week["points"][0]["end"], "2026-11-01T23:00:00Z");
    check(&mut client, "meter=tokens&window=month", &["2026-10: 63", "2026-11: 64"]);
    let day = read(&mut client, "meter=tokens&from=2026-10-25&to=2026-10-26");
    assert_eq!(day["points"][0]["start"], "2026-10-24T22:00:00Z");
    assert_eq!(day["points"][0]["end"], "2026-10-25T23:00:00Z", "a day of 25 hours");
    check(
        &mut client,
        "meter=tokens&window=hour&from=2026-10-25&to=2026-10-26",
        &["2026-10-24T22:00Z: 2", "2026-10-25T00:00Z: 4", "2026-10-25T01:00Z: 8", "2026-10-25T22:00Z: 16"],
    );
    let time = "meter=tokens&window=hour&from=2026-10-25T01:00:00Z&to=2026-10-25T22:00:00Z";
    check(&mut client, time, &["2026-10-25T01:00Z: 8"]);
    check(&mut client, "meter=tokens&window=month&from=2026-11-15&to=2026-11-16", &["2026-11: 64"]);
    record(
        &mut client,
        "calls",
        &[("2026-11-02T09:59:00Z", None, 3, none()), ("2026-11-02T10:00:00Z", None, 4, none())],
    );
    check(&mut client, "meter=calls&window=minute", &["2026-11-02T09:59Z: 3", "2026-11-02T10:00Z: 4"]);
}

#[test]
fn what_is_taken_back_is_out_of_every_point() {
    let server = TestServer::start();
    let mut client = berlin(&server);
    for (key, quantity) in [("k1", 3), ("k2", 4)] {
        let usage = json!({"org": "acme", "user": "ann", "meter": "tokens", "quantity": quantity, "key": key,
            "properties": {"model": "large"}});
        client.post("/v1/usage", usage).ok();
    }
    client.post("/v1/usage/reversals", json!({"org": "acme", "key": "k1"})).ok();
    for (split, wanted) in [
        ("", "2026-11-02: 4"),
        ("&user=ann", "2026-11-02 ann: 4"),
        ("&group_by=user", "2026-11-02 ann: 4"),
        ("&group_by=model", "2026-11-02 model=large: 4"),
    ] {
        check(&mut client, &format!("meter=tokens{split}"), &[wanted]);
    }
    client.post("/v1/usage/reversals", json!({"org": "acme", "key": "k2"})).ok();
    for split in ["", "&user=ann", "&group_by=user", "&group_by=model"] {
        check(&mut client, &format!("meter=tokens{split}"), &[]);
    }
}

#[test]
fn users_are_told_one_by_one_or_all() {
    let server = TestServer::start();
    let mut client = berlin(&server);
    let usage = [
        ("2026-10-31T10:00:00Z", Some("ann"), 1, json!({})),
        ("2026-11-01T10:00:00Z", Some("bob"), 2, json!({})),
        ("2026-11-01T11:00:00Z", Some("ann"), 4, json!({})),
        ("2026-11-02T09:00:00Z", None, 8, json!({})),
        ("2026-11-02T09:00:00Z", Some("cid"), 16, json!({})),
    ];
    record(&mut client, "tokens", &usage);
    check(&mut client, "meter=tokens&user=ann", &["2026-10-31 ann: 1", "2026-11-01 ann: 4"]);
    check(&mut client, "meter=tokens&user=nobody", &[]);
    check(&mut client, "meter=tokens&user=ann&window=hour&from=2026-11", &["2026-11-01T11:00Z ann: 4"]);
    check(
        &mut client,
        "meter=tokens&group_by=user",
        &["2026-10-31 ann: 1", "2026-11-01 ann: 4", "2026-11-01 bob: 2", "2026-11-02 cid: 16"],
    );
    check(
        &mut client,
        "meter=tokens&group_by=user&window=month",
        &["2026-10 ann: 1", "2026-11 ann: 4", "2026-11 bob: 2", "2026-11 cid: 16"],
    );
    check(&mut client, "meter=tokens&group_by=user&to=2026-11", &["2026-10-31 ann: 1"]);
}

#[test]
fn properties_part_days_and_months() {
    let server = TestServer::start();
    let mut client = berlin(&server);
    let of = |model: &str, region: &str| json!({"model": model, "region": region, "session": "7"});
    let usage = [
        ("2026-10-31T10:00:00Z", None, 1, of("large", "eu")),
        ("2026-11-01T10:00:00Z", None, 2, of("large", "us")),
        ("2026-11-01T10:00:00Z", None, 4, of("small", "us")),
        ("2026-11-01T11:00:00Z", None, 8, of("large", "eu")),
        ("2026-11-02T09:00:00Z", None, 16, json!({"region": "eu"})),
    ];
    record(&mut client, "tokens", &usage);
    check(
        &mut client,
        "meter=tokens&group_by=model",
        &[
            "2026-10-31 model=large: 1",
            "2026-11-01 model=large: 10",
            "2026-11-01 model=small: 4",
            "2026-11-02 model=-: 16",
        ],
    );
    check(
        &mut client,
        "meter=tokens&group_by=property.model&group_by=region&window=month&from=2026-11",
        &[
            "2026-11 model=- region=eu: 16",
            "2026-11 model=large region=eu: 8",
            "2026-11 model=large region=us: 2",
            "2026-11 model=small region=us: 4",
        ],
    );
    check(&mut client, "meter=tokens&window=month&property.region=eu", &["2026-10: 1", "2026-11: 24"]);
    check(
        &mut client,
        "meter=tokens&window=month&property.region=us&group_by=model",
        &["2026-11 model=large: 2", "2026-11 model=small: 4"],
    );
    // What was counted before a meter declared properties has none.
    record(&mut client, "mails", &[("2026-11-02T09:00:00Z", None, 3, json!({"model": "large"}))]);
    apply(&mut client, &CATALOG.replace("unit = \"mail\"", "unit = \"mail\"\nproperties = [\"model\"]"));
    record(&mut client, "mails", &[("2026-11-02T09:00:01Z", None, 5, json!({"model": "large"}))]);
    check(&mut client, "meter=mails&group_by=model", &["2026-11-02 model=-: 3", "2026-11-02 model=large: 5"]);
}

#[test]
fn pages_hold_all_points_once() {
    let server = TestServer::start();
    let mut client = berlin(&server);
    let days: Vec<String> = (10..30).map(|day| format!("2026-10-{day}T12:00:00Z")).collect();
    let models = ["a", "b", "c"];
    let usage: Vec<(&str, Option<&str>, i64, Value)> = days
        .iter()
        .flat_map(|day| models.map(|model| (day.as_str(), Some(model), 1, json!({"model": model}))))
        .collect();
    record(&mut client, "tokens", &usage);
    for (split, limit, all) in [
        ("", 7, 20),
        ("", 20, 20),
        ("&user=b", 3, 20),
        ("&group_by=user", 25, 60),
        ("&group_by=user", 50, 60),
        ("&group_by=model", 2, 60),
        ("&group_by=model", 10, 60),
        ("&property.model=c", 6, 20),
    ] {
        let path = format!("meter=tokens{split}&limit={limit}");
        let whole = points(&read(&mut client, &format!("meter=tokens{split}&limit=1000")));
        assert_eq!(whole.len(), all, "{path}");
        let (mut found, mut pages) = (Vec::new(), 0);
        let mut cursor = String::new();
        loop {
            let page = read(&mut client, &format!("{path}{cursor}"));
            found.extend(points(&page));
            pages += 1;
            assert!(pages <= all, "{path} does not end");
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(found, whole, "{path}");
        assert_eq!(pages > 1, all > limit, "{path}: {pages} pages");
        let other = client.get(&format!("/v1/orgs/acme/usage?meter=calls{cursor}"));
        if !cursor.is_empty() {
            other.is_problem(400, "invalid_cursor", Some("cursor"));
        }
    }
}

#[test]
fn a_series_is_a_table_too() {
    let server = TestServer::start();
    let mut client = berlin(&server);
    let usage = [
        ("2026-11-01T10:00:00Z", Some("=ann"), 2, json!({"model": "large, \"v2\""})),
        ("2026-11-02T09:00:00Z", Some("bob"), 4, json!({})),
    ];
    record(&mut client, "tokens", &usage);
    let mut table = |parameters: &str| {
        let ask = Ask::new("GET", &format!("/v1/orgs/acme/usage?meter=tokens&{parameters}"));
        let reply = client.ask(&ask.header("accept", "text/csv"));
        assert_eq!(reply.header("content-type"), Some("text/csv; charset=utf-8"));
        (reply.header("link").map(str::to_owned), reply.text())
    };
    let head = "org,meter,window,period,start,end";
    let first = "acme,tokens,day,2026-11-01,2026-10-31T23:00:00Z,2026-11-01T23:00:00Z";
    let second = "acme,tokens,day,2026-11-02,2026-11-01T23:00:00Z,2026-11-02T23:00:00Z";
    let (link, text) = table("window=day");
    assert_eq!((link, text), (None, format!("{head},quantity\r\n{first},2\r\n{second},4\r\n")));
    let (_, text) = table("group_by=user");
    assert_eq!(text, format!("{head},user,quantity\r\n{first},'=ann,2\r\n{second},bob,4\r\n"));
    let (_, text) = table("group_by=model");
    assert_eq!(
        text,
        format!("{head},property.model,quantity\r\n{first},\"large, \"\"v2\"\"\",2\r\n{second},,4\r\n")
    );
    let (link, text) = table("limit=1");
    assert_eq!(text, format!("{head},quantity\r\n{first},2\r\n"));
    let link = link.expect("there is more");
    let next = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\"")).expect("a link");
    let page = client.get(next).ok();
    assert_eq!(points(&page), ["2026-11-02: 4"]);
}

#[test]
fn what_was_used_of_a_meter_that_is_gone_is_told_and_of_one_that_never_was_refused() {
    let server = TestServer::start();
    let mut client = berlin(&server);
    record(&mut client, "mails", &[("2026-11-02T09:00:00Z", Some("ann"), 3, json!({}))]);
    let without = CATALOG.replace("{ meter = \"mails\", amount = 0, enforcement = \"none\" },", "");
    let (before, after) = without.split_once("[[meters]]\nid = \"mails\"").expect("the meter");
    let (_, plans) = after.split_once("[[plans]]").expect("the plans");
    apply(&mut client, &format!("{before}[[plans]]{plans}"));
    assert_eq!(points(&read(&mut client, "meter=mails")), ["2026-11-02: 3"]);
    for list in ["usage", "users", "paths", "top-ups"] {
        let path = |meter: &str| format!("/v1/orgs/acme/{list}?meter={meter}");
        client.get(&path("mails")).ok();
        let refused = client.get(&path("token"));
        refused.is_problem(404, "unknown_meter", Some("meter"));
        assert!(refused.text().contains("did you mean 'tokens'?"), "{}", refused.text());
        client.get(&path("token").replace("acme", "nobody")).is_problem(404, "unknown_org", Some("org"));
    }
    client.get("/v1/orgs?plan=team").ok();
    let refused = client.get("/v1/orgs?plan=tem");
    refused.is_problem(404, "unknown_plan", Some("plan"));
    assert!(refused.text().contains("did you mean 'team'?"), "{}", refused.text());
}

#[test]
fn what_is_not_counted_is_refused_by_name() {
    let server = TestServer::start();
    let mut client = berlin(&server);
    for (parameters, status, code, field) in [
        ("meter=mails&window=hour", 400, "invalid_parameter", "window"),
        ("meter=tokens&window=minute", 400, "invalid_parameter", "window"),
        ("meter=tokens&window=lifetime", 400, "invalid_parameter", "window"),
        ("meter=nothing", 404, "unknown_meter", "meter"),
        ("meter=nothing&group_by=user", 404, "unknown_meter", "meter"),
        ("meter=nothing&window=hour", 404, "unknown_meter", "meter"),
        ("meter=nothing&group_by=model", 404, "unknown_meter", "meter"),
        ("meter=tokens&group_by=session", 400, "invalid_parameter", "group_by"),
        ("meter=tokens&group_by=model&group_by=model", 400, "invalid_parameter", "group_by"),
        ("meter=mails&group_by=model", 400, "invalid_parameter", "group_by"),
        ("meter=tokens&property.session=7", 400, "invalid_parameter", "property.session"),
        ("meter=tokens&window=hour&group_by=model", 400, "invalid_parameter", "window"),
        ("meter=tokens&group_by=model&group_by=user", 400, "invalid_parameter", "group_by"),
        ("meter=tokens&user=ann&group_by=model", 400, "invalid_parameter", "user"),
        ("meter=tokens&user=ann&group_by=user", 400, "invalid_parameter", "user"),
        ("meter=tokens&user=ann&property.model=a", 400, "invalid_parameter", "user"),
        ("meter=tokens&user=", 400, "invalid_parameter", "user"),
        ("meter=tokens&user=a&user=b", 400, "invalid_parameter", "user"),
        ("meter=tokens&from=yesterday", 400, "invalid_parameter", "from"),
        ("meter=tokens&to=2026-11-02T10:00", 400, "invalid_parameter", "to"),
        ("meter=tokens&from=2026-12&to=2026-11", 400, "invalid_parameter", "to"),
        ("meter=tokens&until=2026-11", 400, "invalid_parameter", "until"),
        ("meter=tokens&cursor=000000000000ff", 400, "invalid_cursor", "cursor"),
    ] {
        println!("{parameters}");
        client.get(&format!("/v1/orgs/acme/usage?{parameters}")).is_problem(status, code, Some(field));
    }
}

#[test]
fn a_page_is_of_one_moment_while_usage_goes_on() {
    let server = TestServer::start();
    let mut client = berlin(&server);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = server.client();
            for number in 0..150 {
                let usage = json!({"org": "acme", "user": format!("u{number}"), "meter": "tokens", "key": number.to_string(),
                    "properties": {"model": (number % 7).to_string(), "region": "eu"}});
                writer.post("/v1/usage", usage).ok();
            }
            done.store(true, Ordering::Release);
        });
        let mut last = 0;
        while !done.load(Ordering::Acquire) {
            let page = read(&mut client, "meter=tokens&group_by=model&window=month&limit=1000");
            // Were the groups older or newer than the org's own counter, what differs would be without a model.
            let points = page["points"].as_array().expect("points");
            assert!(points.iter().all(|point| point["properties"]["model"].is_string()), "{page:#}");
            let sum: i64 = points.iter().filter_map(|point| point["quantity"].as_i64()).sum();
            assert!(sum >= last, "{sum} after {last}");
            last = sum;
            let users = read(&mut client, "meter=tokens&group_by=user&limit=1000");
            let users = users["points"].as_array().expect("points").len();
            assert!(i64::try_from(users).expect("few") >= last, "{users} users after {last} usages");
        }
    });
    let page = read(&mut client, "meter=tokens&group_by=user&limit=1000");
    assert_eq!(page["points"].as_array().map(Vec::len), Some(150));
}

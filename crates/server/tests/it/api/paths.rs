//! Limits on paths below an organization, from the limit to the denial.

use serde_json::{Value, json};

use crate::client::Client;
use crate::server::TestServer;

fn on_plan(plan: &str) -> (TestServer, Client) {
    let server = TestServer::start();
    server.at("2026-11-02T10:00:00Z");
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": plan})).ok();
    (server, client)
}

fn usage(path: &str, quantity: i64, key: &str) -> Value {
    json!({"org": "acme", "path": path, "meter": "reports", "quantity": quantity, "key": key})
}

fn limit(path: &str, window: &str, amount: Value) -> Value {
    json!({"meter": "reports", "scope": "path", "path": path, "window": window, "amount": amount})
}

#[test]
fn a_denial_names_the_path_that_is_full_and_when_there_is_room() {
    let (_server, mut client) = on_plan("basic");
    let set = client.put("/v1/orgs/acme/limits", limit("research", "day", json!(10))).ok();
    let of_research = json!({
        "meter": "reports", "scope": "path", "path": "research", "window": "day", "amount": 10, "used": null,
        "resets_at": null
    });
    assert_eq!((&set["changed"], &set["limits"]), (&json!(true), &json!([of_research])));
    client.put("/v1/orgs/acme/limits", limit("research/*", "month", json!(4))).ok();
    client.post("/v1/usage", usage("research/a/1", 3, "r-1")).is(
        200,
        json!({
            "allowed": true, "replayed": false, "key": "r-1", "org": "acme", "path": "research/a/1", "meter": "reports",
            "quantity": 3, "remaining": 97, "used": 3, "total": 100, "entry": 4
        }),
    );
    let month = client.post("/v1/usage", usage("research/a/2", 2, "r-2"));
    month.has_problem_members(403, "path_limit_reached", None);
    let told = month.json();
    assert_eq!(
        told["limit"],
        json!({
            "scope": "path", "path": "research/a", "window": "month", "amount": 4, "used": 3, "remaining": 1,
            "resets_at": "2026-12-01T00:00:00Z"
        })
    );
    assert_eq!(told["detail"], "2 asked, 1 left: 3 of 4 reports a month are used at path 'research/a'");
    assert_eq!(month.header("ratelimit-policy"), Some("\"path-2-month\";q=4"));
    client.post("/v1/usage", usage("research/b", 4, "r-3")).ok();
    client.post("/v1/usage", usage("research", 3, "r-4")).ok();
    let day = client.post("/v1/usage", usage("research/c/1/2/3", 1, "r-5"));
    day.has_problem_members(429, "path_limit_reached", None);
    assert_eq!(day.json()["limit"]["path"], "research");
    assert_eq!(day.header("retry-after"), Some("50400"));
    // The rest of the organization has room, and the headers tell of each limit along the path.
    let other = client.post("/v1/usage", json!({"org": "acme", "meter": "reports", "key": "r-6"}));
    assert_eq!((other.status, other.header("ratelimit-policy")), (200, Some("\"org\";q=100")));
    client.delete("/v1/orgs/acme/limits?meter=reports&scope=path&path=research&window=day").ok();
    let open = client.post("/v1/usage", usage("research/c/1", 1, "r-5"));
    assert_eq!(open.header("ratelimit-policy"), Some("\"org\";q=100, \"path-2-month\";q=4"));
}

#[test]
fn the_ledger_the_balance_and_the_limits_name_paths() {
    let (_server, mut client) = on_plan("basic");
    client.put("/v1/orgs/acme/limits", limit("research", "day", json!(5))).ok();
    let set = client.get("/v1/orgs/acme/ledger/2").ok();
    assert_eq!(
        (&set["path"], &set["summary"]),
        (&json!("research"), &json!("5 reports a day for path research"))
    );
    client.put("/v1/orgs/acme/limits", limit("*", "day", json!(50))).ok();
    client.post("/v1/usage", usage("research/a", 5, "r-1")).ok();
    let used = client.get("/v1/orgs/acme/ledger/4").ok();
    assert_eq!((&used["path"], &used["user"]), (&json!("research/a"), &Value::Null));
    assert_eq!(used["notices"][0], "path 'research' has reached the limit of 5 reports (5 used)");
    client.post("/v1/usage", usage("research/a", 1, "r-2")).is_problem(429, "path_limit_reached", None);
    let refused = client.get("/v1/orgs/acme/ledger/5").ok();
    assert_eq!((&refused["kind"], &refused["path"]), (&json!("refused"), &json!("research/a")));
    let notices = client.get("/v1/notices").ok();
    let reached = notices["notices"]
        .as_array()
        .expect("notices")
        .iter()
        .find(|notice| notice["kind"] == "limit_reached");
    assert_eq!(reached.expect("it is told")["path"], "research");
    let balance = client.get("/v1/orgs/acme/balance").ok();
    let lines: Vec<_> = balance["meters"]["reports"]["limits"]
        .as_array()
        .expect("limits")
        .iter()
        .map(|line| (line["path"].clone(), line["used"].clone()))
        .collect();
    assert_eq!(lines, [(json!("research"), json!(5)), (json!("*"), Value::Null)]);
    let given = client.get("/v1/orgs/acme/limits").ok();
    assert_eq!(given["limits"][1]["path"], "*");
    let check = client.post("/v1/usage/check", usage("research/b", 1, "r-3")).ok();
    assert_eq!((&check["code"], &check["limit"]["path"]), (&json!("path_limit_reached"), &json!("research")));
}

#[test]
fn holds_and_batches_name_paths() {
    let (_server, mut client) = on_plan("basic");
    client.put("/v1/orgs/acme/limits", limit("run-1", "day", json!(10))).ok();
    client.put("/v1/orgs/acme/limits", limit("run-1/*", "day", json!(6))).ok();
    let held = client.post("/v1/holds", usage("run-1", 8, "run")).ok();
    assert_eq!(held["hold"]["path"], "run-1");
    let within = |path: &str, quantity, key: &str| {
        let mut body = usage(path, quantity, key);
        body["within"] = held["hold"]["hold"].clone();
        body
    };
    let inner = client.post("/v1/holds", within("run-1/search", 5, "search")).ok();
    assert_eq!(inner["hold"]["path"], "run-1/search");
    let full = client.post("/v1/holds", within("run-1/search", 2, "more"));
    full.has_problem_members(429, "path_limit_reached", None);
    let limit = full.json()["limit"].clone();
    assert_eq!(
        (&limit["path"], &limit["held"], &limit["remaining"]),
        (&json!("run-1/search"), &json!(5), &json!(1))
    );
    client.post("/v1/holds", within("run-2", 1, "other")).is_problem(404, "unknown_hold", Some("within"));
    client.post("/v1/usage", usage("run-1", 3, "r-1")).is_problem(429, "path_limit_reached", None);
    let capture = format!("/v1/holds/{}/capture", inner["hold"]["hold"].as_str().expect("an id"));
    client.post(&capture, json!({"quantity": 4})).ok();
    let entry = client.get("/v1/orgs/acme/ledger?kind=used").ok()["entries"][0].clone();
    assert_eq!((&entry["path"], &entry["quantity"]), (&json!("run-1/search"), &json!(4)));
    let batch = client
        .post("/v1/usage/batch", json!([usage("run-1/x", 50, "b-1"), usage("run-1//x", 1, "b-2")]))
        .ok();
    assert_eq!((&batch["counted"], &batch["rejected"]), (&json!(1), &json!(1)));
    assert_eq!(
        (&batch["results"][0]["code"], &batch["results"][0]["field"]),
        (&json!("invalid_field"), &json!("path"))
    );
    client.post("/v1/usage", usage("run-1", 1, "r-2")).is_problem(429, "path_limit_reached", None);
}

#[test]
fn paths_and_limits_on_them_are_checked() {
    let (_server, mut client) = on_plan("basic");
    let long = "x".repeat(129);
    for path in ["", "/", "a/", "a//b", "a/*", "*", "1/2/3/4/5/6/7/8/9", "a\nb", &long] {
        client.post("/v1/usage", usage(path, 1, "r-1")).is_problem(422, "invalid_field", Some("path"));
    }
    for path in ["", "**", "a/*/b", "1/2/3/4/5/6/7/8/*"] {
        client.put("/v1/orgs/acme/limits", limit(path, "day", json!(1))).is_problem(
            422,
            "invalid_field",
            Some("path"),
        );
    }
    let put = |scope: &str, with: (&str, &str)| {
        let mut body = json!({"meter": "reports", "scope": scope, "amount": 1});
        if !with.0.is_empty() {
            body[with.0] = json!(with.1);
        }
        body
    };
    for (scope, with, field) in [
        ("path", ("", ""), "path"),
        ("org", ("path", "a"), "path"),
        ("user", ("path", "a"), "path"),
        ("path", ("user", "ada"), "user"),
        ("org", ("user", "ada"), "user"),
    ] {
        client.put("/v1/orgs/acme/limits", put(scope, with)).is_problem(422, "invalid_field", Some(field));
    }
    client.delete("/v1/orgs/acme/limits?meter=reports&scope=path").is_problem(
        400,
        "invalid_parameter",
        Some("path"),
    );
}

#[test]
fn the_paths_of_limits_are_listed_in_pages() {
    let (server, mut client) = on_plan("basic");
    client.put("/v1/orgs/acme/limits", limit("*", "day", json!(20))).ok();
    client.put("/v1/orgs/acme/limits", limit("b/*", "month", json!(7))).ok();
    for (number, path) in ["b/2", "a", "b/1/x", "c/d", "b/10"].into_iter().enumerate() {
        client.post("/v1/usage", usage(path, 2, &format!("r-{number}"))).ok();
    }
    client.post("/v1/holds", usage("b/1", 1, "h-1")).ok();
    let day = |used: i64, held: i64| {
        let mut line = json!({
            "window": "day", "amount": 20, "used": used, "remaining": 20 - used - held, "resets_at": "2026-11-03T00:00:00Z"
        });
        if held > 0 {
            line["held"] = json!(held);
        }
        json!([line])
    };
    let names = |page: &Value| -> Vec<String> {
        let paths = page["paths"].as_array().expect("paths").iter();
        paths.map(|path| path["path"].as_str().expect("a path").to_owned()).collect()
    };
    let page = client.get("/v1/orgs/acme/paths?meter=reports").ok();
    assert_eq!(names(&page), ["a", "b", "b/1", "b/10", "b/2", "c"]);
    assert_eq!(page["paths"][1]["limits"], day(6, 1));
    assert_eq!(page["paths"][2]["limits"][0]["held"], 1);
    assert_eq!((&page["meter"], &page["next"]), (&json!("reports"), &Value::Null));
    let (mut listed, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("/v1/orgs/acme/paths?meter=reports&limit=2{cursor}")).ok();
        listed.extend(names(&page));
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(listed, names(&client.get("/v1/orgs/acme/paths?meter=reports").ok()));
    // What no limit is on any more is not told; what has not been used since is at zero.
    client.delete("/v1/orgs/acme/limits?meter=reports&scope=path&path=*&window=day").ok();
    assert_eq!(names(&client.get("/v1/orgs/acme/paths?meter=reports").ok()), ["b/1", "b/10", "b/2"]);
    server.at("2026-12-01T00:00:00Z");
    let page = client.get("/v1/orgs/acme/paths?meter=reports&limit=1").ok();
    assert_eq!(page["paths"][0]["limits"][0]["used"], 0);
    client.get("/v1/orgs/nobody/paths?meter=reports").is_problem(404, "unknown_org", Some("org"));
    client.get("/v1/orgs/acme/paths").is_problem(400, "invalid_parameter", Some("meter"));
}

/// A path at which something is held, and nothing was counted yet, is among the others by its name, whatever the size of a page.
#[test]
fn paths_with_open_holds_alone_are_listed_in_their_order() {
    let (_server, mut client) = on_plan("basic");
    client.put("/v1/orgs/acme/limits", limit("*", "day", json!(20))).ok();
    client.put("/v1/orgs/acme/limits", limit("b/*", "month", json!(7))).ok();
    for path in ["b/2", "d", "e/1"] {
        client.post("/v1/usage", usage(path, 2, &format!("r-{path}"))).ok();
    }
    let mut held = Vec::new();
    for path in ["a", "b/1", "b/3", "c/9", "f", "z"] {
        let hold = client.post("/v1/holds", usage(path, 3, &format!("h-{path}"))).ok();
        held.push(hold["hold"]["hold"].as_str().expect("an id").to_owned());
    }
    // Where no limit goes by it, a hold lists nothing.
    let mut tokens = usage("t", 1, "other");
    tokens["meter"] = json!("api_call");
    client.post("/v1/holds", tokens);
    let all = ["a", "b", "b/1", "b/2", "b/3", "c", "d", "e", "f", "z"];
    for limit in [1, 2, 3, 4, 10, 50] {
        let (mut listed, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = client.get(&format!("/v1/orgs/acme/paths?meter=reports&limit={limit}{cursor}")).ok();
            let paths = page["paths"].as_array().expect("paths");
            assert!(paths.len() <= limit && pages < 12, "{page:#}");
            listed.extend(paths.iter().map(|path| path["path"].as_str().expect("a path").to_owned()));
            pages += 1;
            let Some(next) = page["next"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(listed, all, "{limit} a page");
    }
    let page = client.get("/v1/orgs/acme/paths?meter=reports&limit=1").ok();
    let line = &page["paths"][0]["limits"][0];
    assert_eq!(
        (&line["used"], &line["held"], &line["remaining"]),
        (&json!(0), &json!(3), &json!(17)),
        "{page:#}"
    );
    let next = page["next"].as_str().expect("there is more");
    let wrong = format!("/v1/orgs/acme/paths?meter=reports&cursor={}00", &next[..12]);
    client.get(&wrong).is_problem(400, "invalid_cursor", Some("cursor"));
    // One that ended holds nothing any more.
    for hold in held {
        client.post(&format!("/v1/holds/{hold}/release"), json!({})).ok();
    }
    let page = client.get("/v1/orgs/acme/paths?meter=reports").ok();
    let names: Vec<_> =
        page["paths"].as_array().expect("paths").iter().map(|path| path["path"].clone()).collect();
    assert_eq!(names, ["b", "b/2", "d", "e"]);
}

//! Lists of which only some rows are asked for.

use serde_json::{Value, json};

use crate::api::lists::all;
use crate::client::Client;
use crate::server::TestServer;

/// The texts of a member of the rows of a list, whatever the size of its pages.
#[track_caller]
fn check(client: &mut Client, path: &str, rows: &str, member: &str, wanted: &[&str]) {
    for limit in [1, 2, 3, 50, 1_000] {
        let found = all(client, path, rows, limit);
        let found: Vec<String> = found
            .iter()
            .map(|row| match &row[member] {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            })
            .collect();
        assert_eq!(found, wanted, "{path}, {limit} a page");
    }
}

#[test]
fn entries_by_kind_user_meter_key_actor_and_time() {
    let server = TestServer::start();
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": "pro"})).ok(); // 1
    for (number, (user, meter)) in [("ada", "api_call"), ("bob", "api_call"), ("ada", "storage_gb")]
        .into_iter()
        .cycle()
        .take(12)
        .enumerate()
    {
        server.at(&format!("2026-11-02T11:{number:02}:00Z"));
        let usage = json!({"org": "acme", "user": user, "meter": meter, "key": format!("k-{number}")});
        client.post("/v1/usage", usage).ok(); // 2 to 13
    }
    client.post("/v1/usage/reversals", json!({"org": "acme", "key": "k-4"})).ok(); // 14
    let mut of = |query: &str, wanted: &[&str]| {
        check(&mut client, &format!("/v1/orgs/acme/ledger?{query}"), "entries", "entry", wanted);
    };
    of("kind=plan_set", &["1"]);
    of("kind=reversed", &["14"]);
    of("kind=topped_up", &[]);
    of("user=ada&meter=storage_gb", &["13", "10", "7", "4"]);
    of("user=bob&order=oldest", &["3", "6", "9", "12", "14"]);
    of("key=k-4", &["14", "6"]);
    of("key=k-4&kind=used", &["6"]);
    of("actor=closing", &[]);
    of("actor=local&kind=plan_set", &["1"]);
    of("from=2026-11-02T11:10:00Z&kind=used", &["13", "12"]);
    of("from=2026-11-02T11:02:00Z&to=2026-11-02T11:04:00Z&order=oldest", &["4", "5"]);
    for (query, field) in [
        ("kind=nonsense", "kind"),
        ("user=", "user"),
        ("meter=%00", "meter"),
        ("key=", "key"),
        ("actor=", "actor"),
        ("from=yesterday", "from"),
        ("to=2026-13-01T00:00:00Z", "to"),
        ("from=2026-11-02T00:00:00Z&to=2026-11-02T00:00:00Z", "to"),
    ] {
        let reply = client.get(&format!("/v1/orgs/acme/ledger?{query}"));
        reply.is_problem(400, "invalid_parameter", Some(field));
    }
    // A path is asked for with all that lies below it: limits on it, usage, denials and holds.
    let limit = json!({"meter": "api_call", "scope": "path", "path": "lab/*", "amount": 2});
    client.put("/v1/orgs/acme/limits", limit).ok(); // 15
    for (number, path) in ["lab", "lab/a", "lab/a/1", "laboratory"].into_iter().enumerate() {
        let at =
            |key| json!({"org": "acme", "path": path, "meter": "api_call", "key": format!("{key}-{number}")});
        client.post("/v1/usage", at("p")).ok(); // 16 to 19
    }
    let hold = json!({"org": "acme", "path": "lab/b", "meter": "api_call", "key": "hold"});
    client.post("/v1/holds", hold).ok(); // 20
    let mut of = |query: &str, wanted: &[&str]| {
        check(&mut client, &format!("/v1/orgs/acme/ledger?{query}"), "entries", "entry", wanted);
    };
    of("path=lab", &["20", "18", "17", "16", "15"]);
    of("path=lab/a", &["18", "17"]);
    of("path=lab/a/1&kind=used", &["18"]);
    of("path=laboratory", &["19"]);
    of("path=la", &[]);
    of("path=lab&kind=limit_set", &["15"]);
    for path in ["", "lab/", "lab/*", "%00"] {
        let reply = client.get(&format!("/v1/orgs/acme/ledger?path={path}"));
        reply.is_problem(400, "invalid_parameter", Some("path"));
    }
    // A cursor leads on in the list that gave it, and in no other.
    let page = client.get("/v1/orgs/acme/ledger?user=ada&limit=2").ok();
    let next = page["next"].as_str().expect("there is more");
    for other in ["", "user=bob&", "user=ada&kind=used&"] {
        let reply = client.get(&format!("/v1/orgs/acme/ledger?{other}limit=2&cursor={next}"));
        reply.is_problem(400, "invalid_cursor", Some("cursor"));
    }
}

#[test]
fn a_page_of_a_filtered_list_is_bounded_work() {
    let server = TestServer::start();
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": "pro"})).ok();
    client.put("/v1/orgs/acme", json!({"name": "Acme"})).ok();
    let records: Vec<Value> = (0..2_500)
        .map(|number| json!({"org": "acme", "meter": "api_call", "key": format!("k-{number}")}))
        .collect();
    assert_eq!(client.post("/v1/usage/batch", json!(records)).ok()["counted"], 2_500);
    let path = "/v1/orgs/acme/ledger?kind=org_set";
    let first = client.get(path).ok();
    assert_eq!(first["entries"], json!([]), "2,000 entries are read for a page");
    let next = first["next"].as_str().expect("it goes on").to_owned();
    // What comes meanwhile moves nothing.
    client.put("/v1/orgs/acme", json!({"name": "Acme Inc."})).ok();
    let rest = client.get(&format!("{path}&cursor={next}")).ok();
    assert_eq!((rest["entries"][0]["entry"].clone(), rest["next"].clone()), (json!(2), Value::Null));
    check(&mut client, path, "entries", "entry", &["2503", "2"]);
}

#[test]
fn notices_by_org_kind_and_time() {
    let server = TestServer::start();
    let mut client = server.client();
    for (place, org) in ["acme", "globex", "initech"].into_iter().enumerate() {
        server.at(&format!("2026-11-02T1{place}:00:00Z"));
        client.put(&format!("/v1/orgs/{org}/plan"), json!({"plan": "lite"})).ok();
        client.post(&format!("/v1/orgs/{org}/top-ups"), json!({"meter": "reports", "amount": 5})).ok();
        client.post("/v1/usage", json!({"org": org, "meter": "reports", "quantity": 25, "key": "k"})).ok();
    }
    let mut of = |query: &str, member: &str, wanted: &[&str]| {
        check(&mut client, &format!("/v1/notices?{query}"), "notices", member, wanted);
    };
    of("kind=top_up_granted", "org", &["acme", "globex", "initech"]);
    of("kind=limit_reached&org=globex", "org", &["globex"]);
    of("since=2026-11-02T11:00:00Z&kind=limit_reached", "org", &["globex", "initech"]);
    of("org=nobody", "org", &[]);
    for (query, field) in [("org=", "org"), ("kind=used", "kind"), ("since=now", "since")] {
        client.get(&format!("/v1/notices?{query}")).is_problem(400, "invalid_parameter", Some(field));
    }
    // Where to read on is told with a filter too.
    let (found, resume) = client.get("/v1/notices?kind=top_up_granted").last_page("notices");
    assert_eq!(found.len(), 3);
    server.at("2026-11-02T13:00:00Z");
    client.post("/v1/orgs/acme/top-ups", json!({"meter": "reports", "amount": 5})).ok();
    let path = format!("/v1/notices?kind=top_up_granted&cursor={resume}");
    assert_eq!(client.get(&path).last_page("notices").0.len(), 1);
}

#[test]
fn orgs_by_plan_name_use_and_refusal() {
    let server = TestServer::start();
    let mut client = server.client();
    for (org, name, plan, used) in [
        ("acme", Some("Acme Research"), "lite", 16),
        ("globex", Some("Globex"), "lite", 15),
        ("initech", None, "basic", 100),
        ("research-co", None, "basic", 0),
        ("umbrella", Some("Umbrella"), "pro", 0),
    ] {
        client.put(&format!("/v1/orgs/{org}"), json!({"name": name, "time_zone": "Asia/Tokyo"})).ok();
        client.put(&format!("/v1/orgs/{org}/plan"), json!({"plan": plan})).ok();
        if used > 0 {
            let usage = json!({"org": org, "meter": "reports", "quantity": used, "key": "k-1"});
            client.post("/v1/usage", usage).ok();
        }
    }
    // 19:00 in Tokyo.
    for (org, meter) in [("initech", "reports"), ("globex", "nothing"), ("nobody", "reports")] {
        let usage = json!({"org": org, "meter": meter, "quantity": 1, "key": "k-2"});
        assert!(client.post("/v1/usage", usage).status >= 400);
    }
    let mut of = |query: &str, wanted: &[&str]| {
        check(&mut client, &format!("/v1/orgs?{query}"), "orgs", "org", wanted);
    };
    of("plan=basic", &["initech", "research-co"]);
    of("plan=ultimate", &[]);
    of("name=ReSearch", &["acme", "research-co"]);
    of("used_at_least=80", &["acme", "initech"]);
    of("used_at_least=75", &["acme", "globex", "initech"]);
    of("used_at_least=101", &[]);
    of("used_at_least=80&plan=lite", &["acme"]);
    of("refused_today=true", &["initech"]);
    of("refused_today=false&plan=basic", &["research-co"]);
    server.at("2026-11-02T14:59:59Z");
    of("refused_today=true", &["initech"]);
    server.at("2026-11-02T15:00:00Z");
    of("refused_today=true", &[]);
    for (query, field) in [
        ("plan=", "plan"),
        ("name=", "name"),
        ("used_at_least=0", "used_at_least"),
        ("used_at_least=80%25", "used_at_least"),
        ("refused_today=yes", "refused_today"),
    ] {
        client.get(&format!("/v1/orgs?{query}")).is_problem(400, "invalid_parameter", Some(field));
    }
}

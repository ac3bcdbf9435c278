//! The ledger of an org, and the notices of all.

use serde_json::{Value, json};

use crate::api::lists::all;
use crate::client::Client;
use crate::server::TestServer;

/// All rows of a list, read in pages.
#[test]
fn every_kind_of_entry_is_told() {
    let server = TestServer::start();
    let mut client = server.client();
    let at = "2026-11-02T10:00:00Z";
    client.put("/v1/orgs/acme", json!({"name": "Acme", "time_zone": "Europe/Berlin"})).ok();
    client.put("/v1/orgs/acme/plan", json!({"plan": "lite"})).ok();
    client
        .put("/v1/orgs/acme/limits", json!({"meter": "reports", "scope": "user", "user": "ada", "amount": 3}))
        .ok();
    let top_up = json!({"meter": "reports", "amount": 2, "key": "t-1", "reason": "goodwill"});
    client.post("/v1/orgs/acme/top-ups", top_up).ok();
    let usage =
        |key: &str| json!({"org": "acme", "user": "ada", "meter": "reports", "quantity": 2, "key": key});
    client.post("/v1/usage", usage("r-1")).ok();
    client.post("/v1/usage", usage("r-2")).is_problem(403, "user_limit_reached", None);
    client.post("/v1/usage", usage("r-3")).is_problem(403, "user_limit_reached", None);
    client.post("/v1/usage/reversals", json!({"org": "acme", "key": "r-1"})).ok();
    let entries = [
        json!({"entry": 1, "at": at, "actor": "local", "kind": "org_set", "catalog": 1, "summary": "name Acme, time zone Europe/Berlin"}),
        json!({"entry": 2, "at": at, "actor": "local", "kind": "plan_set", "catalog": 1, "plan": "lite", "summary": "plan lite"}),
        json!({
            "entry": 3, "at": at, "actor": "local", "kind": "limit_set", "catalog": 1, "meter": "reports", "user": "ada", "quantity": 3,
            "summary": "3 reports a month for user ada"
        }),
        json!({
            "entry": 4, "at": at, "actor": "local", "kind": "topped_up", "catalog": 1, "meter": "reports", "quantity": 2, "key": "t-1",
            "remaining": 22, "reason": "goodwill", "summary": "topped up 2 reports until 2026-11-30T23:00:00Z",
            "notices": ["2 reports were added until 2026-11-30T23:00:00Z"]
        }),
        json!({
            "entry": 5, "at": at, "actor": "local", "kind": "used", "catalog": 1, "meter": "reports", "user": "ada", "quantity": 2,
            "key": "r-1", "burns": [{"source": "allowance 2026-11", "amount": 2}],
            "periods": ["2026-11-02", "2026-11", "lifetime"], "remaining": 20, "summary": "used 2 reports"
        }),
        json!({
            "entry": 6, "at": at, "actor": "local", "kind": "refused", "catalog": 1, "meter": "reports", "user": "ada", "quantity": 2,
            "reason": "user_limit_reached", "summary": "refused 2 reports: user_limit_reached",
            "notices": ["the first denial of reports this period: user limit reached"]
        }),
        json!({
            "entry": 7, "at": at, "actor": "local", "kind": "reversed", "catalog": 1, "meter": "reports", "user": "ada", "quantity": 2,
            "key": "r-1", "burns": [{"source": "allowance 2026-11", "amount": -2}],
            "periods": ["2026-11-02", "2026-11", "lifetime"], "reverses": 5, "summary": "took back 2 reports of entry 5"
        }),
    ];
    assert_eq!(client.get("/v1/orgs/acme/ledger?order=oldest").last_page("entries").0, entries);
    for (number, entry) in entries.into_iter().enumerate() {
        client.get(&format!("/v1/orgs/acme/ledger/{}", number + 1)).is(200, entry);
    }
    assert_eq!(client.get("/v1/orgs/acme").ok()["version"], 7);
}

#[test]
fn the_ledger_is_read_from_either_end_in_pages() {
    let server = TestServer::start();
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
    client.put("/v1/orgs/acme-2/plan", json!({"plan": "basic"})).ok();
    for number in 2..=60 {
        let usage = |org: &str| json!({"org": org, "meter": "reports", "key": format!("r-{number}")});
        client.post("/v1/usage", usage("acme")).ok();
        client.post("/v1/usage", usage("acme-2")).ok();
    }
    let numbers =
        |entries: &[Value]| entries.iter().filter_map(|entry| entry["entry"].as_u64()).collect::<Vec<_>>();
    let oldest: Vec<u64> = (1..=60).collect();
    let newest: Vec<u64> = (1..=60).rev().collect();
    for limit in [1, 7, 60, 1_000] {
        for (order, wanted) in [("", &newest), ("?order=newest", &newest), ("?order=oldest", &oldest)] {
            let found = all(&mut client, &format!("/v1/orgs/acme/ledger{order}"), "entries", limit);
            assert_eq!(numbers(&found), *wanted, "{order} {limit} a page");
        }
    }
    let default = client.get("/v1/orgs/acme/ledger").ok();
    assert_eq!(default["entries"].as_array().map(Vec::len), Some(50), "fifty unless asked otherwise");

    // What comes while one reads from the newest moves nothing.
    let page = client.get("/v1/orgs/acme/ledger?limit=10").ok();
    client.post("/v1/usage", json!({"org": "acme", "meter": "reports", "key": "meanwhile"})).ok();
    let next = page["next"].as_str().expect("there is more");
    let rest = client.get(&format!("/v1/orgs/acme/ledger?limit=1000&cursor={next}")).ok();
    assert_eq!(numbers(rest["entries"].as_array().expect("entries")), newest[10..]);
    // A cursor of one order is none of the other.
    let path = format!("/v1/orgs/acme/ledger?order=oldest&cursor={next}");
    client.get(&path).is_problem(400, "invalid_cursor", Some("cursor"));
    let path = format!("/v1/orgs/acme-2/ledger?cursor={next}");
    client.get(&path).is_problem(400, "invalid_cursor", Some("cursor"));
}

#[test]
fn each_notice_goes_out_once() {
    let server = TestServer::start();
    let mut client = server.client();
    assert_eq!(client.get("/v1/notices").last_page("notices").0, Vec::<Value>::new());
    let mut number = 0;
    let mut usage = |client: &mut Client, org: &str, quantity: i64| {
        number += 1;
        let body = json!({"org": org, "user": "ada", "meter": "reports", "quantity": quantity, "key": format!("r-{number}")});
        client.post("/v1/usage", body).status
    };
    // The last day of the month: no forecast warns, so that every notice here has another cause.
    server.at("2026-11-30T12:00:00Z");
    client.put("/v1/orgs/acme/plan", json!({"plan": "lite"})).ok();
    assert_eq!(usage(&mut client, "acme", 15), 200);
    assert_eq!(usage(&mut client, "acme", 1), 200);
    assert_eq!(usage(&mut client, "acme", 1), 200);
    assert_eq!(usage(&mut client, "acme", 3), 200);
    assert_eq!(usage(&mut client, "acme", 1), 402);
    assert_eq!(usage(&mut client, "acme", 1), 402);
    server.at("2026-11-30T13:00:00Z");
    client.post("/v1/orgs/acme/top-ups", json!({"meter": "reports", "amount": 30})).ok();
    assert_eq!(usage(&mut client, "acme", 30), 200);
    assert_eq!(usage(&mut client, "acme", 1), 402);
    let notice = |entry: u64, index: u64, kind: &str, at: &str, user: Value, summary: &str| {
        json!({
            "id": format!("acme/{entry}/{index}"), "org": "acme", "kind": kind, "at": at, "entry": entry,
            "meter": "reports", "user": user, "period": "2026-11", "summary": summary
        })
    };
    let (noon, one) = ("2026-11-30T12:00:00Z", "2026-11-30T13:00:00Z");
    let wanted = [
        notice(3, 0, "threshold_crossed", noon, Value::Null, "80 % of the reports are used: 16 of 20"),
        notice(5, 0, "threshold_crossed", noon, Value::Null, "100 % of the reports are used: 20 of 20"),
        notice(
            5,
            1,
            "limit_reached",
            noon,
            Value::Null,
            "the organization has reached the credit of 20 reports (20 used)",
        ),
        notice(
            6,
            0,
            "first_denial",
            noon,
            json!("ada"),
            "the first denial of reports this period: org limit reached",
        ),
        notice(7, 0, "top_up_granted", one, Value::Null, "30 reports were added until 2026-12-01T00:00:00Z"),
        // The raised limit re-arms them.
        notice(8, 0, "threshold_crossed", one, Value::Null, "80 % of the reports are used: 50 of 50"),
        notice(8, 1, "threshold_crossed", one, Value::Null, "100 % of the reports are used: 50 of 50"),
        notice(
            8,
            2,
            "limit_reached",
            one,
            Value::Null,
            "the organization has reached the credit of 50 reports (50 used)",
        ),
    ];
    assert_eq!(client.get("/v1/notices").last_page("notices").0, wanted);
    for limit in [1, 3, 8] {
        assert_eq!(all(&mut client, "/v1/notices", "notices", limit), wanted, "{limit} a page");
    }

    // Of a user's limit, of a forecast, and of a trial.
    server.at("2026-12-10T00:00:00Z");
    client.put("/v1/orgs/globex/plan", json!({"plan": "basic"})).ok();
    client.put("/v1/orgs/globex/limits", json!({"meter": "reports", "scope": "user", "amount": 40})).ok();
    assert_eq!(usage(&mut client, "globex", 40), 200);
    client.put("/v1/orgs/initech/plan", json!({"plan": "trial"})).ok();
    assert_eq!(usage(&mut client, "initech", 8), 200);
    assert_eq!(usage(&mut client, "initech", 2), 200);
    assert_eq!(usage(&mut client, "initech", 1), 402);
    let told: Vec<(Value, Value, Value)> = all(&mut client, "/v1/notices", "notices", 1_000)
        .into_iter()
        .skip(wanted.len())
        .map(|notice| (notice["org"].clone(), notice["kind"].clone(), notice["user"].clone()))
        .collect();
    let nobody = Value::Null;
    let mut expected = vec![
        ("globex", "on_track_to_run_out", nobody.clone()),
        ("globex", "limit_reached", json!("ada")),
        ("initech", "threshold_crossed", nobody.clone()),
        ("initech", "trial_ending", nobody.clone()),
        ("initech", "threshold_crossed", nobody.clone()),
        ("initech", "limit_reached", nobody.clone()),
        ("initech", "trial_ended", nobody),
        ("initech", "first_denial", json!("ada")),
    ];
    let expected: Vec<_> =
        expected.drain(..).map(|(org, kind, user)| (json!(org), json!(kind), user)).collect();
    assert_eq!(told, expected);
}

#[test]
fn a_follower_reads_what_comes_after_the_clock_was_set_back() {
    let server = TestServer::start();
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
    client.put("/v1/orgs/globex/plan", json!({"plan": "basic"})).ok();
    let (mut found, mut cursor) = (Vec::new(), String::new());
    let times = ["12:00", "11:00", "11:00", "10:30", "12:00", "11:59"];
    for (number, time) in times.iter().enumerate() {
        server.at(&format!("2026-11-02T{time}:00Z"));
        let org = ["globex", "acme"][number % 2];
        client.post(&format!("/v1/orgs/{org}/top-ups"), json!({"meter": "reports", "amount": 1})).ok();
        let page = client.get(&format!("/v1/notices?limit=5{cursor}")).ok();
        let at = |notice: &Value| notice["at"].as_str().expect("a time")[11..16].to_owned();
        found.extend(page["notices"].as_array().expect("notices").iter().map(at));
        cursor = format!("&cursor={}", page["resume"].as_str().expect("where to read on"));
    }
    assert_eq!(found, times);
}

#[test]
fn a_follower_reads_each_row_once() {
    let mut server = TestServer::start();
    let mut client = server.client();
    for (org, list, rows, had, other) in [
        ("acme", "/v1/notices?", "notices", 0, "/v1/orgs?limit=2"),
        (
            "globex",
            "/v1/orgs/globex/ledger?order=oldest&",
            "entries",
            1,
            "/v1/orgs/globex/ledger?order=newest",
        ),
    ] {
        client.put(&format!("/v1/orgs/{org}/plan"), json!({"plan": "basic"})).ok();
        let (mut found, mut made, mut cursor) = (Vec::new(), had, String::new());
        // New at a time: nothing, one row, a page to the brim, more than a page, two pages to the brim.
        for (round, more) in [0, 1, 2, 3, 0, 4, 1, 0].into_iter().enumerate() {
            for number in 0..more {
                server.at(&format!("2026-11-02T11:{round:02}:{number:02}Z"));
                let top_up = json!({"meter": "reports", "amount": 1});
                client.post(&format!("/v1/orgs/{org}/top-ups"), top_up).ok();
            }
            made += more;
            loop {
                let page = client.get(&format!("{list}limit=2{cursor}")).ok();
                found.extend(page[rows].as_array().expect("rows").clone());
                let resume = page["resume"].as_str().expect("where to read on");
                cursor = format!("&cursor={resume}");
                if page["next"].is_null() {
                    break;
                }
                assert_eq!(page["next"], resume);
            }
            assert_eq!(found.len(), made, "{list} after round {round}");
            if round == 3 {
                server.restart();
                client = server.client();
            }
        }
        assert_eq!(found, all(&mut client, list, rows, 1_000), "{list}");
        // It leads on in this list only.
        client.get(&format!("{other}{cursor}")).is_problem(400, "invalid_cursor", Some("cursor"));
    }
    let newest = client.get("/v1/orgs/acme/ledger").ok();
    assert!(newest["resume"].is_null(), "newest first has nothing to wait for");
}

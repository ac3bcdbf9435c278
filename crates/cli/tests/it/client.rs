//! Every client command in one story, for people and for programs.

use serde_json::{Value, json};

use crate::server::{Ran, Server, folder};

/// Checks one command: its exit code and what it says.
fn check(server: &Server, line: &str, code: i32, says: &[&str]) -> Ran {
    let args: Vec<&str> = line.split_whitespace().collect();
    let ran = server.run(&args);
    assert_eq!(ran.code, code, "{line}: {ran:?}");
    let all = format!("{}{}", ran.out, ran.err);
    let words = all.split_whitespace().collect::<Vec<_>>().join(" ");
    for wanted in says {
        assert!(words.contains(wanted), "{line}: '{wanted}' is not in\n{all}");
    }
    ran
}

#[test]
fn every_command_answers_people() {
    let folder = folder();
    let server = Server::start(folder.path(), &[], &[]);
    for (line, code, says) in [
        ("org list", 0, &["no organizations"][..]),
        (
            "org set acme --name Acme --time-zone Europe/Berlin",
            0,
            &["org acme", "name Acme", "time zone Europe/Berlin"],
        ),
        ("plan set acme basic", 0, &["plan basic", "changed yes", "deprecated no"]),
        ("plan set acme basic", 0, &["changed no"]),
        ("plan show acme", 0, &["org acme", "plan basic", "since 20"]),
        (
            "plan set acme enterprise --at next_month",
            0,
            &["plan basic", "scheduled enterprise", "changed yes"],
        ),
        ("plan show acme", 0, &["plan basic", "scheduled enterprise", "scheduled at 20"]),
        ("plan unschedule acme", 0, &["plan basic", "changed yes"]),
        ("plan leave acme --at next_month", 0, &["plan basic", "scheduled no plan"]),
        ("plan unschedule acme", 0, &["changed yes"]),
        ("plan set acme basic --at yesterday", 2, &["field: at"]),
        ("plan leave lite-org", 3, &["(unknown_org)"]),
        ("plan set lite-org lite", 0, &["deprecated yes"]),
        (
            "plan list",
            0,
            &[
                "PLAN NAME STATUS TRIAL ALLOWANCES PRICES",
                "lite Lite deprecated - 20 reports 0",
                "trial Trial offered 14 days",
            ],
        ),
        ("org list", 0, &["ORG NAME PLAN", "acme Acme basic", "lite-org - lite"]),
        (
            "use acme --key k1",
            0,
            &["allowed yes", "replayed no", "key k1", "used 1", "remaining 99", "total 100"],
        ),
        ("use acme --key k1", 0, &["replayed yes", "used 1"]),
        ("use acme --quantity 2.5 --key k2 --property model=large", 0, &["quantity 2.5", "remaining 96.5"]),
        ("use acme", 0, &["allowed yes", "key cli-"]),
        ("reverse acme k2", 0, &["reverses entry", "replayed no"]),
        ("reverse acme k2", 0, &["replayed yes"]),
        ("limit set acme 5", 0, &["changed yes", "reports each user month 5"]),
        ("limit set acme 7 --user ann --window day", 0, &["reports user ann day 7"]),
        (
            "limit list acme",
            0,
            &["METER LIMIT ON WINDOW AMOUNT FROM IN FORCE", "reports user ann day 7 org yes"],
        ),
        ("limit set acme 50 --scope org --window hour", 0, &["reports org hour 50"]),
        ("use acme", 2, &["(user_required)", "request id:"]),
        ("use acme --user ann --quantity 5 --key k3", 0, &["user ann", "used by the user 5"]),
        (
            "use acme --user ann --key k4",
            1,
            &["error:", "(user_limit_reached)", "limit: user ann, month: 5 of 5 used"],
        ),
        ("check acme --user ann", 1, &["answer denied (user_limit_reached)", "CHECK RESULT BY", "FAIL"]),
        ("check acme --user bob", 0, &["answer allowed", "pass"]),
        ("users acme", 0, &["USER USED LIMIT REMAINING", "ann 5 5 0"]),
        ("limit remove acme --scope org --window hour", 0, &["changed yes"]),
        ("limit remove acme --scope org --window hour", 0, &["changed no"]),
        (
            "top-up acme 20 --key t1 --reason gift --expires-at never",
            0,
            &["added 20", "total 120", "expires never"],
        ),
        ("top-up acme 20 --key t1 --reason gift --expires-at never", 0, &["replayed yes"]),
        ("top-up list acme", 0, &["gift", "active", "never"]),
        ("top-up void acme --key t1 --amount 1 --reason mistake", 0, &["taken back 1"]),
        ("top-up acme -1 --reason mistake", 0, &["added -1"]),
        ("top-up acme 2 --key t2", 0, &["added 2"]),
        (
            "balance acme",
            0,
            &["plan basic", "reports 100 20 7 113", "top_up (entry", "reports each user month 5", "ann 5"],
        ),
        ("usage acme", 0, &["DAY REPORTS", " 7"]),
        ("usage acme --window month", 0, &["MONTH REPORTS", " 7"]),
        ("usage acme --from 1999-01-01 --to 1999-02-01", 0, &["nothing used"]),
        ("usage acme --group-by user", 0, &["DAY USER REPORTS", " ann 5"]),
        ("usage acme --user ann", 0, &["DAY USER REPORTS", " ann 5"]),
        ("usage acme --group-by model", 2, &["(invalid_parameter)"]),
        ("usage acme --window hour", 2, &["(invalid_parameter)"]),
        ("bill acme", 0, &["org acme", "status estimate", "nothing is owed", "total 0.00 USD"]),
        ("bill close acme --month 2999-01", 3, &["(unknown_bill)"]),
        (
            "bill close --all --month 2020-01",
            0,
            &["2020-01: 0 bills are closed; 2 organizations had no plan"],
        ),
        ("ledger acme --limit 2", 0, &["ENTRY AT KIND SUMMARY", "topped_up", "there is more: --cursor"]),
        ("ledger acme --order oldest --all", 0, &["1 ", "used", "reversed", "limit_set", "plan_set"]),
        ("ledger acme --kind plan_set --limit 1", 0, &["plan_set"]),
        ("ledger acme --path research", 0, &["no entries"]),
        ("use acme --user bob --path research/run-1 --key path-1", 0, &["allowed yes"]),
        ("ledger acme --path research --kind used", 0, &["used 1 report"]),
        ("reverse acme path-1", 0, &["replayed no"]),
        ("ledger acme --path research/", 2, &["path: must be 1 to 8 names"]),
        (
            "ledger acme --entry 8",
            0,
            &["entry 8", "kind used", "quantity 2.5", "property model=large", "burned 2.5 of"],
        ),
        ("notices", 0, &["AT ORG KIND", "limit_reached"]),
        ("org notices acme", 0, &["notices at 80 %, 100 %", "from catalog", "changed no"]),
        ("org notices acme --thresholds 90,50", 0, &["notices at 50 %, 90 %", "from org", "changed yes"]),
        ("org notices acme --no-thresholds", 0, &["notices at no share", "from org"]),
        ("org notices acme --thresholds 0", 2, &["0 is not in 1..=100"]),
        ("org notices acme --as-plan", 0, &["notices at 80 %, 100 %", "from catalog", "changed yes"]),
        ("org show acme", 0, &["version", "METER USED REMAINING PROJECTED", "reports 7 113"]),
        (
            "hold take acme --quantity 2 --user bob --key h1",
            0,
            &["replayed no", "state open", "held 2", "remaining 111"],
        ),
        ("hold take acme --quantity 2 --user bob --key h1", 0, &["replayed yes"]),
        ("hold list acme", 0, &["HOLD METER USER QUANTITY HELD CAPTURED EXPIRES", "reports bob 2 2 0"]),
        ("hold show 999-acme", 3, &["(unknown_hold)"]),
        ("hold capture 999-acme --quantity 1 --part p1", 3, &["(unknown_hold)"]),
        ("hold release 999-acme", 3, &["(unknown_hold)"]),
        ("health", 0, &["status healthy", "ready yes", "environment production"]),
        ("metrics", 0, &["# TYPE tollgate_requests_total counter", "tollgate_build_info"]),
    ] {
        check(&server, line, code, says);
    }
}

#[test]
fn every_command_answers_programs() {
    let folder = folder();
    let server = Server::start(folder.path(), &[], &[]);
    for (line, pointer, wanted) in [
        ("org set acme --name Acme", "/name", json!("Acme")),
        ("plan set acme basic", "/plan", json!("basic")),
        ("limit set acme 5 --scope user", "/limits/0/amount", json!(5)),
        ("limit list acme", "/limits/0/from", json!("org")),
        ("plan list", "/plans/0/id", json!("ultimate")),
        ("plan show acme", "/scheduled", Value::Null),
        ("plan leave acme --at next_month", "/scheduled/plan", Value::Null),
        ("plan unschedule acme", "/scheduled", Value::Null),
        ("bill list acme", "/org", json!("acme")),
        ("top-up acme 0.000000001", "/total", json!(100.000_000_001)),
        ("use acme --user ann --key k1", "/remaining", json!(99.000_000_001)),
        ("check acme --user ann", "/allowed", json!(true)),
        ("balance acme", "/meters/reports/used", json!(1)),
        ("users acme --meter reports", "/users/0/user", json!("ann")),
        ("usage acme --window month", "/points/0/quantity", json!(1)),
        ("reverse acme k1", "/reversed", json!(true)),
        ("bill acme", "/status", json!("estimate")),
        ("bill close --all --month 2020-01", "/without_plan", json!(1)),
        ("ledger acme", "/entries/0/kind", json!("reversed")),
        ("ledger acme --entry 1", "/entry", json!(1)),
        ("notices", "/next", Value::Null),
        ("org list", "/orgs/0/org", json!("acme")),
        ("org show acme", "/plan", json!("basic")),
        ("limit remove acme", "/limits", json!([])),
        ("catalog show", "/version", json!(1)),
        ("catalog versions", "/versions/0/version", json!(1)),
        ("health", "/ready/ready", json!(true)),
        ("key list", "/api_keys", json!([])),
    ] {
        let ran = check(&server, &format!("{line} --json"), 0, &[]);
        assert_eq!(ran.json().pointer(pointer), Some(&wanted), "{line}: {ran:?}");
    }
}

#[test]
fn ids_of_any_kind_reach_the_server() {
    let folder = folder();
    let server = Server::start(folder.path(), &[], &[]);
    for org in ["a/b?c#d", "ä ö%", "..", ".", "a@b+c:d&e=f", "%2F"] {
        server.ok(&["plan", "set", org, "basic"]);
        server.ok(&["use", org, "--user", org, "--key", org]);
        let users = server.ok(&["users", org, "--json"]).json();
        assert_eq!(users["users"][0]["user"], org, "{users}");
        let shown = server.ok(&["org", "show", org, "--json"]).json();
        assert_eq!(shown["org"], org, "{shown}");
    }
}

#[test]
fn the_catalog_goes_round() {
    let folder = folder();
    let server = Server::start(folder.path(), &[], &[]);
    let shown = server.ok(&["catalog", "show"]).out;
    let file = folder.path().join("c.toml");
    std::fs::write(&file, &shown).expect("the file is written");
    check(&server, "catalog diff c.toml", 0, &["against version 1", "nothing changes"]);
    check(&server, "catalog check c.toml", 0, &["c.toml is valid; meters: 4, plans: 6"]);
    std::fs::write(&file, shown.replace("amount = 100 ", "amount = 150 ")).expect("the file is written");
    let change = "~ plan basic: allowance reports: amount: 100 → 150";
    check(&server, "catalog diff c.toml", 0, &["against version 1", change]);
    check(&server, "catalog apply c.toml", 0, &["version 2 is in force", change]);
    check(&server, "catalog versions", 0, &["VERSION IN FORCE SINCE", "1 ", "2 "]);
    let what_if = "whatif --catalog c.toml --month 2020-01";
    check(
        &server,
        what_if,
        0,
        &[
            "no organization would owe anything else",
            "no organization has a plan",
            "nothing that was allowed",
        ],
    );
    assert_eq!(server.ok(&["catalog", "show", "--version", "1"]).out, shown);
    check(&server, "plan set acme basic", 0, &[]);
    check(&server, "balance acme", 0, &["reports 150"]);
    std::fs::write(&file, shown.replace("id = \"basic\"", "id = \"other\"")).expect("the file is written");
    check(
        &server,
        "catalog apply c.toml",
        3,
        &["(plan_in_use)", "in the way: plan 'basic': organization 'acme'"],
    );
    std::fs::write(&file, "color = 1\nsize = 2\n").expect("the file is written");
    let faults = ["line 1: unknown field `color`", "line 2: unknown field `size`"];
    check(&server, "catalog check c.toml", 1, &[&["c.toml is not valid:"][..], &faults].concat());
    check(&server, "catalog apply c.toml", 3, &[&["(invalid_catalog)"][..], &faults].concat());
    check(&server, "catalog check none.toml", 3, &["none.toml cannot be read"]);
}

#[test]
fn keys_open_and_close_the_gate() {
    let folder = folder();
    let server = Server::start(folder.path(), &[], &[]);
    check(&server, "key create gate --role ingest", 2, &["the first API key must", "field: role"]);
    let made = check(&server, "key create ops --role admin --json", 0, &[]).json();
    let secret = made["secret"].as_str().expect("a secret").to_owned();
    check(&server, "org list", 3, &["(unauthorized)"]);
    let with_key = |line: &str| format!("{line} --api-key {secret}");
    check(&server, &with_key("plan set acme basic"), 0, &[]);
    let made = check(&server, &with_key("key create gate --role ingest --org acme"), 0, &["shown this once"]);
    let words: Vec<&str> = made.out.split_whitespace().collect();
    let (gate, id) = (words[1], words[3]);
    check(&server, &format!("use acme --api-key {gate}"), 0, &["remaining 99"]);
    check(&server, &format!("use other --api-key {gate}"), 3, &["(forbidden)"]);
    check(
        &server,
        &with_key("key list"),
        0,
        &["ID NAME ROLE ORG CREATED REVOKED", "gate ingest acme", "ops admin any"],
    );
    check(&server, &with_key(&format!("key revoke {id}")), 0, &["revoked 20"]);
    check(&server, &format!("use acme --api-key {gate}"), 3, &["(unauthorized)"]);
    check(&server, &with_key("key revoke nobody"), 3, &["(unknown_api_key)"]);
}

#[test]
fn bills_of_all_organizations_are_one_table() {
    let folder = folder();
    let server = Server::start(folder.path(), &[], &["--provider", "Acme Cloud"]);
    let catalog = server.ok(&["catalog", "show"]).out
        + "[[plans]]\nid = \"paid\"\nname = \"Paid\"\nproration = \"none\"\n[[plans.prices]]\nmodel = \"flat\"\nflat_fee = 7\n";
    std::fs::write(folder.path().join("c.toml"), catalog).expect("the file is written");
    check(&server, "catalog apply c.toml", 0, &[]);
    for org in ["acme", "beta"] {
        check(&server, &format!("plan set {org} paid"), 0, &[]);
    }
    check(&server, "org set without-a-plan", 0, &[]);
    let month = server.ok(&["bill", "acme", "--json"]).json()["month"].as_str().expect("a month").to_owned();
    let one =
        check(&server, "bill acme --format focus", 0, &["BilledCost,BillingAccountId", "Acme Cloud"]).out;
    assert_eq!(one.lines().count(), 2, "{one}");
    for (format, starts) in [("focus", "BilledCost,"), ("csv", "org,name,month,")] {
        let all =
            check(&server, &format!("bill --all --month {month} --format {format}"), 0, &["acme", "beta"])
                .out;
        assert!(all.starts_with(starts) && all.ends_with("\r\n"), "{all}");
        assert_eq!(all.lines().count(), 3, "names once, and a row of each: {all}");
    }
    let page = check(&server, "bill acme --format html", 0, &["<!doctype html>"]).out;
    assert!(page.contains("<td class=\"n\">7.00</td>"), "{page}");
    check(&server, &format!("bill --all --month {month} --format html"), 2, &["a page is of one bill"]);
    check(&server, "bill --all --format focus", 2, &["--month"]);
    let table =
        check(&server, &format!("bill --all --month {month}"), 0, &["ORG STATUS NUMBER TOTAL CURRENCY"]);
    let lines: Vec<&str> = table.out.lines().map(str::trim_end).collect();
    assert!(lines.len() == 3 && lines[1].starts_with("acme") && lines[2].starts_with("beta"), "{table:?}");
    let all = server.ok(&["bill", "--all", "--month", &month, "--json"]).json();
    assert_eq!(all["bills"].as_array().map(Vec::len), Some(2), "{all}");
    assert_eq!(all["bills"][1], server.ok(&["bill", "beta", "--json"]).json());
    check(
        &server,
        "bill list acme",
        0,
        &["MONTH STATUS NUMBER TOTAL CURRENCY", &format!("{month} estimate - 7.00 USD")],
    );
    check(&server, "bill", 2, &["<ORG>"]);
    // A month that runs is closed for nobody: each is told of, and none hides the others.
    let refused = server.run(&["bill", "close", "--all", "--month", &month]);
    let told = format!("{month}: 0 bills are closed; 0 organizations had no plan; 3 cannot be closed\n");
    assert_eq!((refused.code, refused.out.as_str()), (3, told.as_str()), "{refused:?}");
    let orgs: Vec<&str> = refused.err.lines().filter_map(|line| line.split(": ").nth(1)).collect();
    assert_eq!(orgs, ["acme", "beta", "without-a-plan"], "{refused:?}");
    assert!(refused.err.lines().all(|line| line.ends_with("(month_runs)")), "{refused:?}");
    check(&server, "bill close --all --month 2026-13", 2, &["month"]);
}

#[test]
fn channels_are_made_and_have_hours_that_stay_when_they_are_stopped() {
    let folder = folder();
    let server = Server::start(folder.path(), &[], &["--allow-private-webhooks"]);
    check(&server, "channel list", 0, &["no channels"]);
    let hours = "--quiet-hours 22:00-07:00 --digest-at 09:00 --time-zone Europe/Berlin";
    let made = check(
        &server,
        &format!("channel create desk --slack http://127.0.0.1:9/x --notice limit_reached {hours}"),
        0,
        &["kind slack", "quiet hours 22:00-07:00", "digest at 09:00", "time zone Europe/Berlin"],
    );
    let words: Vec<&str> = made.out.split_whitespace().collect();
    let id = words[1];
    for (command, says) in [
        (
            "disable",
            &["state paused", "quiet hours 22:00-07:00", "digest at 09:00", "notices limit_reached"][..],
        ),
        ("hours", &["state paused", "quiet hours -", "digest at -", "time zone -", "notices limit_reached"]),
        ("enable", &["state live", "quiet hours -"]),
    ] {
        check(&server, &format!("channel {command} {id}"), 0, says);
    }
    let hours = format!("channel hours {id} --digest-at 18:30");
    check(&server, &hours, 0, &["digest at 18:30", "time zone UTC", "quiet hours -"]);
    check(
        &server,
        &format!("{hours} --quiet-hours 18:00-19:00"),
        2,
        &["field: digest_at", "in the quiet hours"],
    );
    check(&server, &format!("channel hours {id} --quiet-hours late"), 2, &["expected FROM-TO"]);
    check(
        &server,
        "channel create w --webhook http://127.0.0.1:9/ --digest-at 09:00",
        2,
        &["for people only"],
    );
    check(&server, &format!("channel deliveries {id}"), 0, &["no attempts"]);
    check(&server, &format!("channel remove {id}"), 0, &[]);
}

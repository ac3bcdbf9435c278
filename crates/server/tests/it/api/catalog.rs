//! The catalog and its versions.

use serde_json::{Value, json};
use tollgate_domain::catalog::DEFAULT;

use crate::client::{Ask, Client, Reply};
use crate::server::TestServer;

const PRICED: &str = r#"
[[meters]]
id = "reports"
name = "Reports"
unit = "report"

[[meters]]
id = "tokens"
name = "Tokens"
unit = "token"

[[plans]]
id = "basic"
name = "Basic"
limits = [{ meter = "tokens", scope = "user", window = "day", amount = 300 }]
allowances = [
    { meter = "reports", amount = 50 },
    { meter = "tokens", amount = "1000.5", enforcement = "soft" },
]

[[plans]]
id = "lite"
name = "Lite"
retired = true
allowances = [{ meter = "reports", amount = 20, enforcement = "overdraft" }]

[[plans]]
id = "free"
name = "Free"
allowances = [{ meter = "reports", amount = 0, enforcement = "none" }]
"#;

/// Compares an answer with the catalog, but for its JSON.
#[track_caller]
fn is(reply: &Reply, wanted: Value) {
    let mut found = reply.ok();
    let catalog = found.as_object_mut().and_then(|members| members.remove("catalog"));
    assert!(catalog.is_some_and(|catalog| catalog["meters"].is_array()), "{found:#}");
    assert_eq!(found, wanted);
}

fn put(client: &mut Client, query: &str, text: &str) -> Reply {
    let ask = Ask::new("PUT", &format!("/v1/catalog{query}")).header("content-type", "application/toml");
    client.ask(&ask.body(text))
}

#[test]
fn it_comes_in_versions() {
    let mut server = TestServer::start();
    let mut client = server.client();
    is(&client.get("/v1/catalog"), json!({"version": 1, "toml": DEFAULT}));
    client.put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
    client.put("/v1/orgs/old/plan", json!({"plan": "lite"})).ok();
    let changes = [
        "- compat: billing: plan: pro",
        "- meter api_call",
        "- meter storage_gb",
        "- meter compute_instance",
        "+ meter tokens",
        "- notices: thresholds: [80, 100]",
        "- plan ultimate",
        "- plan enterprise",
        "- plan trial",
        "- plan pro",
        "~ plan basic: allowance reports: amount: 100 → 50",
        "+ plan basic: allowance tokens: { amount = \"1000.5\", enforcement = \"soft\", meter = \"tokens\" }",
        "+ plan basic: limit tokens user day: { amount = 300, meter = \"tokens\", scope = \"user\", window = \"day\" }",
        "+ plan lite: allowance reports: enforcement: overdraft",
        "- plan lite: deprecated: true",
        "+ plan lite: retired: true",
        "+ plan free",
    ];

    // A dry run says what would change, and changes nothing.
    is(&put(&mut client, "?dry_run=true", PRICED), json!({"version": 1, "changes": changes, "toml": PRICED}));
    is(&client.get("/v1/catalog"), json!({"version": 1, "toml": DEFAULT}));
    server.at("2026-11-03T00:00:00Z");
    is(
        &put(&mut client, "?dry_run=false", PRICED),
        json!({"version": 2, "changes": changes, "toml": PRICED}),
    );
    is(&client.get("/v1/catalog"), json!({"version": 2, "toml": PRICED}));

    // At once and for everybody.
    assert_eq!(client.get("/v1/orgs/acme/balance").ok()["meters"]["reports"]["allowance"], 50);
    let retired = client.put("/v1/orgs/acme/plan", json!({"plan": "lite"}));
    retired.is_problem(409, "plan_retired", Some("plan"));
    client.put("/v1/orgs/old/plan", json!({"plan": "lite"})).ok();
    client.put("/v1/orgs/acme/plan", json!({"plan": "ultimate"})).is_problem(
        404,
        "unknown_plan",
        Some("plan"),
    );

    for (version, text) in [(1, DEFAULT), (2, PRICED)] {
        let path = format!("/v1/catalog/versions/{version}");
        is(&client.get(&path), json!({"version": version, "toml": text}));
    }
    let versions = json!([
        {"version": 1, "at": "2026-11-02T10:00:00Z"}, {"version": 2, "at": "2026-11-03T00:00:00Z"}
    ]);
    client.get("/v1/catalog/versions").is(200, json!({"versions": versions, "next": null}));
    let page = client.get("/v1/catalog/versions?limit=1").ok();
    let next = page["next"].as_str().expect("there is more");
    let rest = client.get(&format!("/v1/catalog/versions?limit=1&cursor={next}")).ok();
    assert_eq!((&page["versions"][0], &rest["versions"][0]), (&versions[0], &versions[1]));

    server.restart();
    is(&server.client().get("/v1/catalog"), json!({"version": 2, "toml": PRICED}));
}

#[test]
fn a_plan_that_orgs_have_cannot_go() {
    let server = TestServer::start();
    let mut client = server.client();
    for (org, plan) in
        [("acme", "basic"), ("globex", "enterprise"), ("initech", "trial"), ("moved", "ultimate")]
    {
        client.put(&format!("/v1/orgs/{org}/plan"), json!({"plan": plan})).ok();
    }
    client.put("/v1/orgs/moved/plan", json!({"plan": "basic"})).ok();
    let refused = put(&mut client, "", PRICED);
    refused.is_problem(409, "plan_in_use", None);
    let in_the_way =
        json!(["plan 'enterprise': organization 'globex'", "plan 'trial': organization 'initech'"]);
    assert_eq!(refused.json()["conflicts"], in_the_way);
    put(&mut client, "?dry_run=true", PRICED).is_problem(409, "plan_in_use", None);
    is(&client.get("/v1/catalog"), json!({"version": 1, "toml": DEFAULT}));
    for org in ["globex", "initech"] {
        client.put(&format!("/v1/orgs/{org}/plan"), json!({"plan": "basic"})).ok();
    }
    assert_eq!(put(&mut client, "", PRICED).ok()["version"], 2);
}

#[test]
fn it_is_json_too() {
    let server = TestServer::start();
    let mut client = server.client();
    assert_eq!(put(&mut client, "", PRICED).ok()["version"], 2);
    let catalog = client.get("/v1/catalog").ok()["catalog"].clone();
    assert_eq!(catalog["plans"][0]["allowances"][1]["amount"], "1000.5");
    assert_eq!(catalog["plans"][0]["limits"][0]["amount"], 300);
    // What came out goes in again and changes nothing.
    assert_eq!(client.put("/v1/catalog", catalog.clone()).ok()["version"], 2);
    let toml = client.ask(&Ask::new("GET", "/v1/catalog").header("accept", "application/toml"));
    assert_eq!((toml.header("content-type"), toml.text()), (Some("application/toml"), PRICED.to_owned()));
    let mut next = catalog.clone();
    next["plans"][0]["allowances"][0]["amount"] = json!(51);
    let told = client.put("/v1/catalog", next.clone()).ok();
    assert_eq!(
        (&told["version"], &told["changes"]),
        (&json!(3), &json!(["~ plan basic: allowance reports: amount: 50 → 51"]))
    );
    assert_eq!(client.get("/v1/catalog").ok()["catalog"], next);
    // And as the TOML that is kept.
    let toml = client.get("/v1/catalog").ok()["toml"].as_str().expect("TOML").to_owned();
    assert_eq!(put(&mut client, "", &toml).ok()["version"], 3);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut changed = next.clone();
        change(&mut changed);
        changed.to_string()
    };
    for (body, field, says) in [
        (with(&|it| it["plans"][0]["color"] = json!(1)), "color", "there is no field"),
        (
            with(&|it| it["plans"][0]["allowances"][0]["amount"] = json!(0.5)),
            "plans[0].allowances[0].amount",
            "0.5",
        ),
        (with(&|it| it["meters"][1]["unit"] = Value::Null), "meters[1].unit", "must not be null"),
        (with(&|it| it["meters"][1]["unit"] = json!(7)), "meters[1]", "unit"),
        (next.to_string().replacen(r#""id":"#, r#""id":"x","id":"#, 1), "meters[0]", "'id' is given twice"),
    ] {
        let reply =
            client.ask(&Ask::new("PUT", "/v1/catalog").header("content-type", "application/json").body(body));
        let told = reply.json();
        assert_eq!((reply.status, &told["code"]), (422, &json!("invalid_catalog")), "{told:#}");
        let (found, detail) =
            (told["field"].as_str().unwrap_or_default(), told["detail"].as_str().unwrap_or_default());
        assert!(found.starts_with(field) && detail.contains(says), "{field}, {says}: {told:#}");
    }
    let negative = with(&|it| it["plans"][0]["allowances"][0]["amount"] = json!(-5));
    let reply =
        client.ask(&Ask::new("PUT", "/v1/catalog").header("content-type", "application/json").body(negative));
    assert!(reply.text().contains("plan 'basic': an allowance must not be negative"), "{}", reply.text());
    assert_eq!(client.get("/v1/catalog").ok()["version"], 3);
}

#[test]
fn a_wrong_one_says_where() {
    let server = TestServer::start();
    let mut client = server.client();
    for (text, says) in [
        (String::new(), "meters"),
        (PRICED.replace("unit = \"token\"", "unit = \"token\"\ncolor = \"red\""), "color"),
        (PRICED.replace("amount = 50", "amount = -50"), "plan 'basic': an allowance must not be negative"),
        (PRICED.replace("amount = 50", "amount = 0.5"), "line 17"),
        (
            PRICED.replace("id = \"tokens\"", "id = \"coins\""),
            "plan 'basic': meter 'tokens' is not in the catalog",
        ),
    ] {
        let reply = put(&mut client, "", &text);
        reply.is_problem(422, "invalid_catalog", None);
        let detail = reply.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(detail.contains(says), "{says}: {detail}");
    }
    let large = put(&mut client, "", &format!("# {}", "x".repeat(1024 * 1024)));
    large.is_problem(413, "body_too_large", None);
    is(&client.get("/v1/catalog"), json!({"version": 1, "toml": DEFAULT}));
}

#[test]
fn every_enforcement_over_the_wire() {
    let server = TestServer::start();
    let mut client = server.client();
    client.put("/v1/orgs/old/plan", json!({"plan": "lite"})).ok();
    assert_eq!(put(&mut client, "", PRICED).ok()["version"], 2);
    let mut number = 0;
    let mut usage = |org: &str, meter: &str, quantity: i64| {
        number += 1;
        let body = json!({"org": org, "user": "ada", "meter": meter, "quantity": quantity, "key": format!("r-{number}")});
        client.post("/v1/usage", body)
    };
    // Overdraft: below zero once.
    assert_eq!(usage("old", "reports", 19).ok()["remaining"], 1);
    assert_eq!(usage("old", "reports", 5).ok()["remaining"], -4);
    usage("old", "reports", 1).is_problem(402, "org_limit_reached", None);
    // A meter the plan gives nothing of.
    usage("old", "tokens", 1).is_problem(402, "org_limit_reached", None);

    let mut client = server.client();
    for (org, plan) in [("soft", "basic"), ("free", "free")] {
        client.put(&format!("/v1/orgs/{org}/plan"), json!({"plan": plan})).ok();
    }
    // Soft: what exceeds the credit is overage; the plan's own limit for each user holds all the same.
    usage("soft", "tokens", 301).is_problem(403, "user_limit_reached", None);
    for day in ["02", "03", "04", "05"] {
        server.at(&format!("2026-11-{day}T10:00:00Z"));
        usage("soft", "tokens", 300).ok();
    }
    let tokens = client.get("/v1/orgs/soft/balance").ok()["meters"]["tokens"].clone();
    let told = ["allowance", "used", "remaining", "overage"].map(|name| tokens[name].clone());
    assert_eq!(told, [json!(1000.5), json!(1000.5), json!(0), json!(199.5)]);
    // None: credit is not asked.
    let free = usage("free", "reports", 1_000).ok();
    assert_eq!((&free["remaining"], &free["used"]), (&json!(null), &json!(1_000)));
}

#[test]
fn a_file_comes_into_force_at_start_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("catalog.toml");
    std::fs::write(&file, PRICED).expect("written");
    let mut server = TestServer::with(|settings| settings.catalog = Some(file.clone()));
    let version = |server: &TestServer| server.client().get("/v1/catalog").ok()["version"].clone();
    assert_eq!(version(&server), 1);
    server.restart();
    assert_eq!(version(&server), 1, "the same file changes nothing");
    std::fs::write(&file, PRICED.replace("amount = 50", "amount = 60")).expect("written");
    server.restart();
    assert_eq!(version(&server), 2);
}

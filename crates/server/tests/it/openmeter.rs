//! The published client of OpenMeter against the events API.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::client::{Ask, Client};
use crate::events::{MAPPINGS, counted};
use crate::server::TestServer;
use crate::tools::{run, tool};
use tollgate_server::Secret;

const PLAN: &str = r#"
[[plans]]
id = "metered"
name = "Metered"
allowances = [{ meter = "tokens", amount = 1000 }]
"#;

#[test]
fn the_client_of_openmeter_is_served() {
    let key = "openmeter-admin";
    let server = TestServer::with(|settings| settings.api_key = Some(Secret(key.to_owned())));
    let mut client = server.client().with_key(key);
    let mappings = MAPPINGS.replacen("unit = \"token\"", "unit = \"token\"\nproperties = [\"model\"]", 1);
    let catalog = format!("{}\n{mappings}\n{PLAN}", tollgate_domain::catalog::DEFAULT);
    client.ask(&Ask::new("PUT", "/v1/catalog").toml(catalog)).ok();
    for org in ["acme", "globex"] {
        client.put(&format!("/v1/orgs/{org}/plan"), json!({"plan": "metered"})).ok();
    }
    // The client dates what has no time by its own clock, which is not the server's here.
    #[expect(clippy::disallowed_methods, reason = "the client's clock is the machine's")]
    let now = tollgate_domain::Timestamp::now();
    let now = now.to_string();
    server.at(&now);
    let mut node = Command::new("node");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join("it").join("openmeter.cjs");
    node.arg(script).args([format!("http://{}", server.address()), key.to_owned(), now.clone()]);
    node.current_dir(tool("openmeter"));
    let said = run(node);
    let told: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let ended: Vec<_> =
        told.iter().map(|told| (told["call"].as_str().expect("a name"), &told["ok"])).collect();
    let [yes, no] = [&json!(true), &json!(false)];
    let wanted = [
        ("single", yes),
        ("batch", yes),
        ("retry", yes),
        ("own id, source and time", yes),
        ("wrong", no),
        ("stranger", no),
        ("value of a subject", yes),
        ("value of a customer", yes),
        ("value by version 2", yes),
        ("access", yes),
        ("no entitlement", no),
        ("nobody", no),
        ("query", yes),
        ("query by body", yes),
        ("query of all", yes),
        ("query by a property", yes),
        ("query with a filter", yes),
        ("query of nobody", no),
    ];
    assert_eq!(ended, wanted, "{said}");
    assert!(told[4].to_string().contains("[1].data.usage.tokens"), "{said}");
    assert!(told[5].to_string().contains("401"), "{said}");
    // 120 + 0.5 + 7 + 1, each once, and nothing of the request that was wrong.
    assert_eq!(counted(&mut client, "tokens"), json!(128.5));
    assert_eq!(counted(&mut client, "prompts"), json!(5));
    let value = json!({"hasAccess": true, "balance": 871.5, "usage": 128.5, "overage": 0, "totalAvailableGrantAmount": 1000});
    for told in &told[6..9] {
        assert_eq!(told["reply"], value, "{said}");
    }
    assert_eq!(told[9]["reply"]["entitlements"]["tokens"], value);
    for (place, status) in [(10, "404"), (11, "404"), (17, "400")] {
        assert!(told[place].to_string().contains(status), "{said}");
    }
    let row = |start: &str, end: &str, groups: Value| json!({"value": 128.5, "windowStart": start, "windowEnd": end, "subject": "acme", "groupBy": groups});
    let (day, month) = (format!("{}T00:00:00.000Z", &now[..10]), format!("{}-01T00:00:00.000Z", &now[..7]));
    for told in &told[12..14] {
        let reply = &told["reply"];
        let end = reply["to"].as_str().unwrap_or_default();
        assert_eq!(reply["data"], json!([row(&day, end, json!({}))]), "{said}");
        assert_eq!((&reply["windowSize"], &reply["from"]), (&json!("DAY"), &json!(day)));
    }
    let whole = &told[14]["reply"]["data"];
    let end = whole[0]["windowEnd"].as_str().unwrap_or_default();
    assert_eq!(whole, &json!([row(&month, end, json!({}))]), "{said}");
    assert_eq!(told[15]["reply"]["data"], json!([row(&month, end, json!({"model": "large"}))]));
    assert_eq!(told[16]["reply"]["data"], json!([]), "{said}");
}

const QUERY: &str = "/api/v1/meters/tokens/query";

#[test]
fn what_a_query_of_openmeter_cannot_mean_is_refused() {
    let server = TestServer::start();
    let mut client = server.client();
    let meters = "[[meters]]\nid = \"seats\"\nname = \"S\"\nunit = \"s\"\naggregation = \"max\"\n";
    let catalog = format!("{}\n{MAPPINGS}\n{PLAN}\n{meters}", tollgate_domain::catalog::DEFAULT);
    client.ask(&Ask::new("PUT", "/v1/catalog").toml(catalog)).ok();
    client.put("/v1/orgs/acme/plan", json!({"plan": "metered"})).ok();
    client.put("/v1/orgs/acme", json!({"time_zone": "Europe/Berlin"})).ok();
    for (query, field) in [
        ("", "subject"),
        ("?subject=", "subject"),
        ("?filterCustomerId=a%00", "filterCustomerId"),
        ("?subject=acme&windowSize=day", "windowSize"),
        ("?subject=acme&windowSize=HOUR", "windowSize"),
        ("?subject=acme&windowTimeZone=UTC", "windowTimeZone"),
        ("?subject=acme&windowTimeZone=UTC&windowTimeZone=UTC", "windowTimeZone"),
        // In Berlin the day begins an hour earlier.
        ("?subject=acme&from=2026-11-02T00:00:00Z", "from"),
        ("?subject=acme&from=noon", "from"),
        ("?subject=acme&windowSize=DAY&from=2026-11-02T00:00:00Z&to=2026-11-01T00:00:00Z", "to"),
        ("?subject=acme&groupBy=model", "groupBy"),
        ("?subject=acme&filterGroupBy[model]=a", "filterGroupBy[model]"),
        ("?subject=acme&filterGroupBy[model]=a&filterGroupBy[model]=b", "filterGroupBy[model]"),
        ("?subject=acme&page=2", "page"),
    ] {
        client.get(&format!("{QUERY}{query}")).is_problem(400, "invalid_parameter", Some(field));
    }
    let many: Vec<_> = (0..101).map(|number| format!("o-{number}")).collect();
    client.post(QUERY, json!({"subject": many})).is_problem(400, "invalid_parameter", Some("subject"));
    client.post(QUERY, json!({"windowsize": "DAY"})).is_problem(400, "unknown_field", Some("windowsize"));
    let seats = "/api/v1/meters/seats/query?subject=acme";
    client.get(seats).is_problem(400, "invalid_parameter", Some("windowSize"));
    client.get(&format!("{seats}&windowSize=DAY")).ok();
    client.get(&format!("{QUERY}?subject=acme&windowTimeZone=Europe/Berlin&from=2026-11-01T23:00:00Z")).ok();
    client.get(&format!("{QUERY}?subject=nobody")).is_problem(404, "unknown_org", Some("org"));
    // Out of credit is out of access.
    let used = |amount: u64| json!([{"org": "acme", "meter": "tokens", "quantity": amount, "key": amount.to_string()}]);
    client.post("/v1/usage/batch", used(999)).ok();
    let value = |client: &mut Client| client.get("/api/v2/customers/acme/entitlements/tokens/value").ok();
    assert_eq!(value(&mut client)["hasAccess"], json!(true));
    client.post("/v1/usage/batch", used(2)).ok();
    let gone = json!({"hasAccess": false, "balance": 0, "usage": 1001, "overage": 1, "totalAvailableGrantAmount": 1000});
    assert_eq!(value(&mut client), gone);
}

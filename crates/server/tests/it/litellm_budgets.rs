//! What LiteLLM says of its own budgets, as its webhook posts it.

use serde_json::{Value, json};
use tollgate_server::{Reach, Secret};

use crate::channels::channel;
use crate::client::{Ask, Client, Reply};
use crate::receiver::Receiver;
use crate::server::TestServer;

const PATH: &str = "/litellm/budgets";

const CATALOG: &str = r#"
[[meters]]
id = "usd"
name = "US dollars"
unit = "USD"

[[plans]]
id = "budget"
name = "Budget"
allowances = [{ meter = "usd", amount = 1 }]
"#;

fn server(more: &str) -> (TestServer, Client) {
    let server = TestServer::with(|settings| {
        settings.api_key = Some(Secret("admin".to_owned()));
        settings.webhook_reach = Reach::Anywhere;
        settings.notice_interval = std::time::Duration::from_millis(20);
    });
    let mut client = server.client().with_key("admin");
    client.ask(&Ask::new("PUT", "/v1/catalog").toml(format!("{more}{CATALOG}"))).ok();
    client.put("/v1/orgs/acme/plan", json!({"plan": "budget"})).ok();
    (server, client)
}

/// An alert as LiteLLM 1.106 writes it: all members, most of them null.
fn alert(event: &str, group: &str) -> Value {
    json!({
        "spend": 10.25, "max_budget": 10.0, "soft_budget": null, "token": "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df77",
        "customer_id": null, "user_id": "ada", "team_id": "acme", "team_alias": "Research", "organization_id": null,
        "user_email": "ada@example.com", "key_alias": "bot", "projected_exceeded_date": null, "projected_spend": null,
        "event_group": group, "alert_emails": null, "max_budget_alert_emails": null, "event": event,
        "event_message": "Key Budget: Budget Crossed\n Total Budget:`10.0`",
    })
}

fn with(mut alert: Value, members: Value) -> Value {
    let members = members.as_object().expect("an object").clone();
    alert.as_object_mut().expect("an object").extend(members);
    alert
}

#[track_caller]
fn told(client: &mut Client, alert: &Value) -> bool {
    client.post(PATH, alert.clone()).ok()["told"].as_bool().expect("yes or no")
}

fn notices(client: &mut Client) -> Vec<Value> {
    client.get("/v1/notices?kind=gateway_budget").ok()["notices"].as_array().expect("notices").clone()
}

#[test]
fn an_alert_is_told_once_a_day_for_the_same_budget_in_the_same_state() {
    let (server, mut client) = server("");
    let crossed = alert("budget_crossed", "team");
    assert!(told(&mut client, &crossed));
    // Another process of the proxy says it, of another key's call, a little later.
    let again = with(crossed.clone(), json!({"spend": 11.5, "token": "ffff", "user_id": "bob"}));
    assert!(!told(&mut client, &again));
    // Another state, another budget and another size of the budget are others.
    for other in [
        alert("threshold_crossed", "team"),
        with(alert("soft_budget_crossed", "team"), json!({"soft_budget": 5})),
        alert("budget_crossed", "key"),
        alert("budget_crossed", "team_member"),
        with(crossed.clone(), json!({"max_budget": 20.0})),
        with(alert("projected_limit_exceeded", "key"), json!({"projected_spend": 31.000_000_000_4})),
    ] {
        assert!(told(&mut client, &other), "{other}");
        assert!(!told(&mut client, &other), "{other}");
    }
    server.at("2026-11-03T00:00:00Z");
    let mut client = server.client().with_key("admin");
    assert!(told(&mut client, &again), "it is another day");
    let summaries: Vec<String> = notices(&mut client)
        .iter()
        .map(|notice| {
            assert_eq!((&notice["org"], &notice["meter"]), (&json!("acme"), &Value::Null), "{notice:#}");
            let user = notice["user"].as_str().unwrap_or("nobody");
            let summary =
                notice["summary"].as_str().expect("text").trim_start_matches("LiteLLM says: the budget of ");
            format!("{} {user}: {summary}", notice["period"].as_str().expect("a day"))
        })
        .collect();
    assert_eq!(
        summaries,
        [
            "2026-11-02 nobody: team Research is used up: 10.25 of 10 USD spent",
            "2026-11-02 nobody: team Research is nearly used up: 10.25 of 10 USD spent",
            "2026-11-02 nobody: team Research has reached its soft limit: 10.25 of 5 USD spent",
            "2026-11-02 ada: key bot is used up: 10.25 of 10 USD spent",
            "2026-11-02 ada: user ada in team Research is used up: 10.25 of 10 USD spent",
            "2026-11-02 nobody: team Research is used up: 10.25 of 20 USD spent",
            "2026-11-02 ada: key bot will be used up at this pace: 10.25 of 10 USD spent, 31 expected",
            "2026-11-03 nobody: team Research is used up: 11.5 of 10 USD spent",
        ]
    );
    // It is in the ledger, and counts nothing.
    let entries = client.get("/v1/orgs/acme/ledger?kind=budget_told&limit=1").ok();
    assert_eq!(entries["entries"][0]["notices"][0], entries["entries"][0]["summary"], "{entries:#}");
    assert!(!entries.to_string().contains("88dc28d0f030c55ed4ab"), "{entries}");
    assert_eq!(client.get("/v1/orgs/acme/balance").ok()["meters"]["usd"]["used"], 0);
}

#[test]
fn an_alert_goes_out_by_channels_that_want_it() {
    let (_server, mut client) = server("");
    let receiver = Receiver::start();
    let wanted = json!({"name": "ops", "kind": "webhook", "url": receiver.url("/in"),
        "notices": ["gateway_budget"]});
    channel(&mut client, wanted);
    // Nothing in a name adds a line.
    assert!(told(&mut client, &with(alert("budget_crossed", "team"), json!({"team_alias": "Re\r\nsearch"}))));
    let message: Value = serde_json::from_slice(&receiver.next().body).expect("JSON");
    assert_eq!(message["type"], "notice.gateway_budget", "{message:#}");
    let summary = message["data"]["summary"].as_str().expect("text");
    assert_eq!(summary, "LiteLLM says: the budget of team Re  search is used up: 10.25 of 10 USD spent");
}

#[test]
fn whose_budget_it_is_says_who_is_told() {
    let (server, mut client) = server("[compat.litellm]\norg = \"acme\"\n");
    client.put("/v1/orgs/globex/plan", json!({"plan": "budget"})).ok();
    let nobody = json!({"team_id": null, "user_id": null});
    let of_org = json!({"organization_id": "globex"});
    for (alert, org, whose) in [
        (with(alert("budget_crossed", "key"), of_org.clone()), "globex", "key bot"),
        (with(alert("budget_crossed", "organization"), of_org), "globex", "organization globex"),
        (with(alert("budget_crossed", "user"), nobody.clone()), "acme", "a user"),
        (with(alert("budget_crossed", "key"), json!({"key_alias": null})), "acme", "key 88dc28d0"),
        // The proxy's own budget is no team's, whichever call it was noticed by.
        (with(alert("budget_crossed", "proxy"), json!({"team_id": "globex"})), "acme", "the whole proxy"),
        (with(alert("budget_crossed", "end_user"), json!({"customer_id": "c-1"})), "acme", "customer c-1"),
        (alert("budget_crossed", "model_access_group"), "acme", "a model access group"),
    ] {
        assert!(told(&mut client, &alert), "{alert}");
        let latest = notices(&mut client).pop().expect("one");
        let summary = latest["summary"].as_str().expect("text");
        assert_eq!(latest["org"], org, "{latest:#}");
        assert!(summary.contains(&format!("the budget of {whose} is used up")), "{summary}");
    }
    // What is no budget is let pass, and tells nobody.
    for event in ["key_created", "internal_user_created", "spend_tracked", "something_new"] {
        assert!(!told(&mut client, &alert(event, "key")));
    }
    // A key that is bound to one organization tells no other.
    let made = client.post("/v1/api-keys", json!({"name": "proxy", "role": "ingest", "org": "acme"})).json();
    let mut bound = server.client().with_key(made["secret"].as_str().expect("a secret"));
    let other = with(alert("budget_crossed", "team"), json!({"team_id": "globex"}));
    bound.post(PATH, other).is_problem(403, "forbidden", Some("org"));
    assert!(told(&mut bound, &alert("budget_crossed", "team")));
    assert_eq!(server.client().post(PATH, alert("budget_crossed", "team")).status, 401);
}

#[test]
fn what_cannot_be_told_is_refused_and_tells_nobody() {
    let (_server, mut client) = server("");
    let crossed = || alert("budget_crossed", "team");
    for (wrong, status, code, field) in [
        (with(crossed(), json!({"event": null})), 422, "missing_field", "event"),
        (with(crossed(), json!({"event": 7})), 422, "invalid_field", "event"),
        (with(crossed(), json!({"max_budget": null})), 422, "missing_field", "max_budget"),
        (with(crossed(), json!({"max_budget": -1})), 422, "invalid_field", "max_budget"),
        (with(crossed(), json!({"spend": "a lot"})), 422, "invalid_field", "spend"),
        (with(crossed(), json!({"spend": 1e30})), 422, "invalid_field", "spend"),
        (with(crossed(), json!({"team_id": null})), 422, "missing_field", "team_id"),
        (with(crossed(), json!({"team_id": "x".repeat(200)})), 422, "invalid_field", "team_id"),
        (
            with(crossed(), json!({"organization_id": "x".repeat(200)})),
            422,
            "invalid_field",
            "organization_id",
        ),
        (alert("budget_crossed", "proxy"), 422, "missing_field", "team_id"),
    ] {
        let refused: Reply = client.post(PATH, wrong);
        refused.is_problem(status, code, Some(field));
    }
    let unknown = client.post(PATH, with(crossed(), json!({"team_id": "nobody"})));
    assert_eq!((unknown.status, &unknown.json()["code"]), (404, &json!("unknown_org")), "{}", unknown.text());
    assert_eq!(client.ask(&Ask::new("POST", PATH).body("[]".to_owned())).status, 422);
    assert_eq!(notices(&mut client).len(), 0);
}

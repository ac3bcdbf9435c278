//! What dashboards and alerts ask for is what the server gives, and every alert has its runbook.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tollgate_e2e::{Result, Tollgate};

/// A file of the repository.
fn file(path: &str) -> Result<String> {
    Ok(fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path))?)
}

/// The names of metrics in an expression of Prometheus or in the text of `/metrics`.
fn metrics(text: &str) -> BTreeSet<String> {
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let words = text.split(|character: char| !is_part(character));
    let ours = words.filter(|word| {
        ["tollgate_", "process_", "grpc_server_"].iter().any(|prefix| word.starts_with(prefix))
    });
    ours.map(str::to_owned).collect()
}

/// Every `expr` of a dashboard, however deep.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("expr").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| expressions(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        _ => {}
    }
}

#[test]
fn dashboards_and_alerts_ask_for_metrics_that_exist() -> Result<()> {
    let _machine = super::beside_others();
    let folder = tempfile::tempdir()?;
    let server = Tollgate::serve_small(&folder.path().join("data"), 1 << 20).start()?;
    let mut client = server.client();
    // Some metrics have a value only once something happened.
    client.call("PUT", "/v1/orgs/acme/plan", Some(&json!({"plan": "lite"})))?;
    client.call("POST", "/v1/usage", Some(&json!({"org": "acme", "meter": "reports", "key": "k"})))?;
    client.call("POST", "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit", None)?;
    let reply = client.call("GET", "/metrics", None)?;
    let text = String::from_utf8(reply.body)?;
    let given = metrics(&text);
    let mut asked = Vec::new();
    expressions(&serde_json::from_str(&file("deploy/grafana/tollgate.json")?)?, &mut asked);
    assert!(asked.len() > 15, "the dashboard has {} expressions", asked.len());
    let alerts = file("deploy/prometheus/alerts.yaml")?;
    asked.extend(alerts.lines().filter(|line| !line.trim_start().starts_with('#')).map(str::to_owned));
    for name in asked.iter().flat_map(|expression| metrics(expression)) {
        assert!(given.contains(&name), "there is no metric {name} in\n{text}");
    }
    assert!(text.contains("route=\"/v1/usage\""), "the label that alerts and dashboards choose by");
    server.stop()
}

#[test]
fn every_alert_has_a_runbook_and_a_row_on_its_page() -> Result<()> {
    let (alerts, runbooks) = (file("deploy/prometheus/alerts.yaml")?, file("docs/operate/runbooks.md")?);
    let page = file("docs/operate/alerts.md")?;
    let names: Vec<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() >= 7, "only {} alerts were found", names.len());
    for name in names {
        let link = format!("runbook_url: docs/operate/runbooks.md#{}", name.to_lowercase());
        assert!(alerts.contains(&link), "{name} links to its runbook");
        assert!(runbooks.contains(&format!("## {name}\n")), "there is no runbook for {name}");
        assert!(page.contains(&format!("| `{name}` |")), "{name} is not on the page of alerts");
    }
    Ok(())
}

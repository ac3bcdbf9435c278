//! The samples of the OpenAPI document: a request and a reply of every operation, from calls that are made here.
//!
//! `TOLLGATE_WRITE_SAMPLES=1 cargo test -p tollgate-server --test it samples` writes them anew after a change; look at the
//! difference before it is committed. A new operation is a line in [`tour`].

use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tollgate_server::{Reach, Secret};

use crate::api::document::{differences, operations, resolved};
use crate::client::{Ask, Client, Reply};
use crate::server::TestServer;

const CATALOG: &str = r#"currency = "USD"

[compat.portkey]
meter = "tokens"

[compat.lago.metrics]
completions = { meter = "tokens", field = "tokens" }

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
allowances = [
  { meter = "reports", amount = 100 },
  { meter = "tokens", amount = 10000, enforcement = "soft" },
]
limits = [{ meter = "tokens", scope = "path", path = "*", window = "month", amount = 50000 }]
prices = [
  { model = "flat", flat_fee = 20 },
  { meter = "tokens", quantity = "overage", model = "per_unit", unit_price = "0.0005" },
]

[[events]]
type = "prompt"
meter = "tokens"
quantity = "$.usage.tokens"
user = "$.user"
"#;

/// A meter event of Stripe's, and what takes it back.
const METER_EVENT: &str = "event_name=tokens&payload[stripe_customer_id]=acme&payload[value]=25&identifier=me-1&timestamp=1793613540";
const ADJUSTMENT: &str =
    "event_name=tokens&type=cancel&cancel[identifier]=me-1&cancel[stripe_customer_id]=acme";

/// Operations whose answers are another every time, or do not end.
const WITHOUT: [&str; 2] = ["metrics", "stream"];

/// What an operation is asked, and the body, if it has one.
type Call = (&'static str, &'static str, &'static str, Option<Value>);

fn usage(key: &str, meter: &str, quantity: u64) -> Value {
    json!({"org": "acme", "user": "ada", "meter": meter, "quantity": quantity, "key": key})
}

/// The calls of October, in order: the operation, its method, path and body.
fn october() -> Vec<Call> {
    let limit = json!({"meter": "reports", "scope": "user", "window": "month", "amount": 50});
    let top_up = json!({"meter": "reports", "amount": 25, "key": "goodwill-1", "reason": "goodwill"});
    let mut late = usage("call-2", "tokens", 12_000);
    late["time"] = json!("2026-10-15T10:00:00Z");
    let mut call = usage("call-1", "tokens", 900);
    call["path"] = json!("research/agent-7");
    vec![
        ("put_catalog", "PUT", "/v1/catalog", Some(json!(CATALOG))),
        (
            "put_org",
            "PUT",
            "/v1/orgs/acme",
            Some(json!({"name": "Acme Research", "time_zone": "Europe/Berlin"})),
        ),
        ("put_plan", "PUT", "/v1/orgs/acme/plan", Some(json!({"plan": "basic"}))),
        ("put_limit", "PUT", "/v1/orgs/acme/limits", Some(limit)),
        ("check", "POST", "/v1/usage/check", Some(usage("report-1", "reports", 1))),
        ("use", "POST", "/v1/usage", Some(usage("report-1", "reports", 1))),
        ("record", "POST", "/v1/usage/batch?results=all", Some(json!([call, late]))),
        ("top_up", "POST", "/v1/orgs/acme/top-ups", Some(top_up)),
        ("balance", "GET", "/v1/orgs/acme/balance", None),
        ("list_users", "GET", "/v1/orgs/acme/users?meter=tokens", None),
        ("list_paths", "GET", "/v1/orgs/acme/paths?meter=tokens", None),
        ("usage_series", "GET", "/v1/orgs/acme/usage?meter=tokens&window=day", None),
        ("ledger", "GET", "/v1/orgs/acme/ledger?limit=2", None),
        ("ledger_entry", "GET", "/v1/orgs/acme/ledger/4", None),
        ("notices", "GET", "/v1/notices", None),
        ("get_org", "GET", "/v1/orgs/acme", None),
        ("list_orgs", "GET", "/v1/orgs", None),
        ("bill", "GET", "/v1/orgs/acme/bill", None),
        ("list_limits", "GET", "/v1/orgs/acme/limits", None),
        ("get_org_notices", "GET", "/v1/orgs/acme/notices", None),
        ("list_top_ups", "GET", "/v1/orgs/acme/top-ups", None),
        ("reverse", "POST", "/v1/usage/reversals", Some(json!({"org": "acme", "key": "report-1"}))),
        (
            "hold",
            "POST",
            "/v1/holds",
            Some(
                json!({"org": "acme", "user": "ada", "meter": "tokens", "quantity": 4000, "key": "call-3", "overrun": 500}),
            ),
        ),
        ("get_hold", "GET", "/v1/holds/9-acme", None),
        ("list_holds", "GET", "/v1/orgs/acme/holds", None),
        (
            "capture",
            "POST",
            "/v1/holds/9-acme/capture",
            Some(json!({"quantity": 3120, "final": false, "key": "call-3-a"})),
        ),
        ("release", "POST", "/v1/holds/9-acme/release", None),
        (
            "void_top_up_by_key",
            "POST",
            "/v1/orgs/acme/top-ups/void",
            Some(json!({"key": "goodwill-1", "amount": 5, "reason": "entered twice"})),
        ),
        ("create_portal_link", "POST", "/v1/orgs/acme/portal-links", Some(json!({"expires_in": 3600}))),
        ("void_top_up", "POST", "/v1/orgs/acme/top-ups/7/void", Some(json!({"reason": "entered twice"}))),
        ("delete_limit", "DELETE", "/v1/orgs/acme/limits?meter=reports&scope=user", None),
        ("put_org_notices", "PUT", "/v1/orgs/acme/notices", Some(json!({"thresholds": [50, 90, 100]}))),
    ]
}

/// The calls about a channel, which is made by the first of them.
fn channel() -> Vec<Call> {
    let hook = json!({"name": "billing team", "kind": "webhook", "url": "https://hooks.example/tollgate",
        "notices": ["limit_reached", "threshold_crossed"], "enabled": false});
    let log = json!({"name": "billing team", "kind": "log", "orgs": ["acme"], "enabled": false});
    vec![
        ("create_channel", "POST", "/v1/channels", Some(hook)),
        ("get_channel", "GET", "/v1/channels/{id}", None),
        ("rotate_channel_secret", "POST", "/v1/channels/{id}/secret", Some(json!({"overlap_hours": 48}))),
        ("put_channel", "PUT", "/v1/channels/{id}", Some(log)),
        ("test_channel", "POST", "/v1/channels/{id}/test", None),
        (
            "replay_channel",
            "POST",
            "/v1/channels/{id}/replay",
            Some(json!({"since": "2026-10-01T00:00:00Z"})),
        ),
        ("channel_deliveries", "GET", "/v1/channels/{id}/deliveries", None),
        ("list_channels", "GET", "/v1/channels", None),
        ("delete_channel", "DELETE", "/v1/channels/{id}", None),
    ]
}

/// The calls of November, when October is over.
fn november() -> Vec<Call> {
    let event = json!({
        "id": "evt-1", "source": "gateway", "specversion": "1.0", "type": "prompt", "subject": "acme",
        "time": "2026-11-02T09:59:00Z", "data": {"usage": {"tokens": 120}, "user": "ada"}
    });
    let billed = json!({"customer_id": "acme", "resource_type": "tokens", "quantity": 250, "id": "b-1",
        "metadata": {"region": "eu"}});
    let pulse = json!({"tenant_id": "acme", "product_sku": "storage", "use_unit": "gb", "used_amount": 1.5, "id": "p-1",
        "time": "2026-11-02T09:00:00Z"});
    let what_if = json!({"catalog": CATALOG.replace("0.0005", "0.0006"), "month": "2026-10"});
    let call = json!({"userId": "acme", "traceId": "t-1", "costUsd": "0.5", "model": "gpt-4o"});
    let litellm = json!({"id": "chatcmpl-1", "status": "success", "response_cost": 0.0125, "endTime": 1_793_613_540.5,
        "model": "gpt-4o", "custom_llm_provider": "openai", "call_type": "acompletion", "prompt_tokens": 1000,
        "completion_tokens": 1000, "cache_hit": false,
        "metadata": {"user_api_key_team_id": "acme", "user_api_key_user_id": "ada"}});
    let alert = json!({"event": "budget_crossed", "event_group": "team", "spend": 10.25, "max_budget": 10.0,
        "team_id": "acme", "team_alias": "research", "event_message": "Team Budget: Budget Crossed"});
    let lago = |id: &str, tokens: u64| {
        json!({"transaction_id": id, "external_subscription_id": "acme", "code": "completions",
            "timestamp": 1_793_613_540, "properties": {"tokens": tokens, "model": "large"}})
    };
    let reports_use = json!({"org_id": "beta", "user_id": "ben", "report_id": "r-1"});
    let guardrail = json!({"eventType": "beforeRequestHook", "provider": "openai", "requestType": "chatComplete",
        "request": {"json": {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 100}},
        "metadata": {"org": "beta", "_user": "ben", "request_id": "call-9", "estimate": "400"}});
    vec![
        ("close_bill", "POST", "/v1/orgs/acme/bill/close", Some(json!({"month": "2026-10"}))),
        ("delete_plan", "DELETE", "/v1/orgs/acme/plan?at=next_month", None),
        ("get_plan", "GET", "/v1/orgs/acme/plan", None),
        ("delete_scheduled_plan", "DELETE", "/v1/orgs/acme/plan/scheduled", None),
        ("list_bills", "GET", "/v1/orgs/acme/bills", None),
        ("what_if", "POST", "/v1/whatif", Some(what_if)),
        ("get_catalog", "GET", "/v1/catalog", None),
        ("list_catalogs", "GET", "/v1/catalog/versions", None),
        ("get_catalog_version", "GET", "/v1/catalog/versions/2", None),
        ("reports_plan", "POST", "/plan", Some(json!({"org_id": "beta", "plan": "Basic"}))),
        ("reports_limit", "POST", "/limit", Some(json!({"org_id": "beta", "limit": 50}))),
        ("reports_use", "POST", "/use", Some(reports_use)),
        ("reports_top_up", "POST", "/top-up", Some(json!({"org_id": "beta", "count": 10}))),
        ("events", "POST", "/api/v1/events", Some(event)),
        ("openmeter_subject_value", "GET", "/api/v1/subjects/acme/entitlements/tokens/value", None),
        ("openmeter_customer_value", "GET", "/api/v1/customers/acme/entitlements/tokens/value", None),
        ("openmeter_value", "GET", "/api/v2/customers/acme/entitlements/tokens/value", None),
        ("openmeter_access", "GET", "/api/v1/customers/acme/access", None),
        ("openmeter_query", "GET", "/api/v1/meters/tokens/query?subject=acme&windowSize=MONTH", None),
        (
            "openmeter_query_by_body",
            "POST",
            "/api/v1/meters/tokens/query",
            Some(json!({"subject": ["acme"], "from": "2026-10-31T23:00:00Z"})),
        ),
        ("token_used", "POST", "/api/v1/token_used", Some(call)),
        ("billing_usage", "POST", "/api/v1/usage", Some(billed)),
        ("billing_list", "GET", "/api/v1/usage/acme?limit=1", None),
        ("billing_bill", "GET", "/api/v1/billing/acme", None),
        ("pulse", "POST", "/pulses", Some(pulse)),
        ("aggregates", "GET", "/aggregates", None),
        ("commit", "POST", "/aggregates/commit", Some(json!({"date": "2026-11-02"}))),
        (
            "create_api_key",
            "POST",
            "/v1/api-keys",
            Some(json!({"name": "reporter", "role": "ingest", "org": "acme"})),
        ),
        ("list_api_keys", "GET", "/v1/api-keys", None),
        ("revoke_api_key", "DELETE", "/v1/api-keys/{id}", None),
        ("health", "GET", "/health", None),
        ("ready", "GET", "/ready", None),
        ("root", "GET", "/", None),
        ("litellm_calls", "POST", "/litellm/calls", Some(json!([litellm]))),
        ("litellm_budgets", "POST", "/litellm/budgets", Some(alert)),
        ("portkey_guardrail", "POST", "/portkey/guardrail", Some(guardrail)),
        ("lago_event", "POST", "/lago/api/v1/events", Some(json!({"event": lago("lago-1", 120)}))),
        (
            "lago_events",
            "POST",
            "/lago/api/v1/events/batch",
            Some(json!({"events": [lago("lago-2", 7), lago("lago-3", 5)]})),
        ),
        ("lago_show_event", "GET", "/lago/api/v1/events/lago-1?external_subscription_id=acme", None),
        ("stripe_meter_event", "POST", "/v1/billing/meter_events", Some(json!(METER_EVENT))),
        (
            "stripe_meter_event_adjustment",
            "POST",
            "/v1/billing/meter_event_adjustments",
            Some(json!(ADJUSTMENT)),
        ),
    ]
}

/// In what an answer of an operation differs from the document.
pub(super) fn undocumented(document: &Value, operation: &str, reply: &Reply) -> Vec<String> {
    let all = operations(document);
    let found = all.iter().find(|(_, _, found)| found["operationId"] == operation);
    let (_, _, found) = found.unwrap_or_else(|| panic!("the document has no operation {operation}"));
    let response = resolved(document, &found["responses"][reply.status.to_string()]);
    if response.is_null() {
        return vec![format!("the status {}", reply.status)];
    }
    if reply.body.is_empty() {
        return Vec::new();
    }
    let kind = reply.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default();
    let content = &response["content"][kind];
    let mut different = Vec::new();
    if content.is_null() {
        different.push(format!("{} as {kind}", reply.status));
    } else if kind.ends_with("json") {
        differences(document, &content["schema"], &reply.json(), operation, &mut different);
    }
    different
}

/// Makes calls and keeps what was sent and answered.
fn tour(
    document: &Value,
    client: &mut Client,
    calls: Vec<Call>,
    drawn: &mut Vec<(String, String)>,
    samples: &mut Map<String, Value>,
) {
    for (operation, method, path, body) in calls {
        let path = path.replace("{id}", drawn.last().map_or("", |(id, _)| id.as_str()));
        let ask = Ask::new(method, &path);
        let ask = match &body {
            Some(Value::String(form)) if operation.starts_with("stripe_") => {
                ask.header("content-type", "application/x-www-form-urlencoded").body(form.as_bytes())
            }
            Some(Value::String(text)) => ask.header("content-type", "application/toml").body(text.as_bytes()),
            Some(body) => ask.json(body.clone()),
            None => ask,
        };
        let reply = client.ask(&ask);
        assert!(reply.status < 300, "{operation}: {}", reply.text());
        assert_eq!(
            undocumented(document, operation, &reply),
            Vec::<String>::new(),
            "{operation}: {}",
            reply.text()
        );
        let mut told = reply.text();
        let made = || reply.json();
        let text = |name: &str| made()[name].as_str().expect("a text").to_owned();
        match operation {
            "create_api_key" | "create_channel" => {
                drawn.push((text("secret"), "the-secret".to_owned()));
                drawn.push((text("id"), "9b2f6a51c0d4e873".to_owned()));
            }
            "rotate_channel_secret" => drawn.insert(0, (text("secret"), "another-secret".to_owned())),
            _ => {}
        }
        // What is drawn at random is another every time.
        for (found, shown) in drawn.iter() {
            told = told.replace(found, shown);
        }
        let mut sample = Map::new();
        if let Some(body) = body {
            sample.insert("request".to_owned(), body);
        }
        if !told.is_empty() {
            sample.insert("reply".to_owned(), serde_json::from_str(&told).expect("JSON"));
        }
        assert!(samples.insert(operation.to_owned(), sample.into()).is_none(), "{operation} twice");
    }
}

#[test]
fn the_samples_of_the_document_are_what_a_server_answers() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = TestServer::with(|settings| {
        settings.api_key = Some(Secret("admin".to_owned()));
        settings.sink = Some(format!("folder:{}", folder.path().display()).parse().expect("a sink"));
        settings.commit_interval = Duration::from_hours(1);
        settings.webhook_reach = Reach::Anywhere;
    });
    let mut client = server.client().with_key("admin");
    let (mut drawn, mut samples) = (Vec::new(), Map::new());
    let document: Value = serde_json::from_str(&tollgate_server::openapi_json()).expect("JSON");
    server.at("2026-10-15T10:00:00Z");
    tour(&document, &mut client, october(), &mut drawn, &mut samples);
    tour(&document, &mut client, channel(), &mut drawn, &mut samples);
    server.at("2026-11-02T10:00:00Z");
    tour(&document, &mut client, november(), &mut drawn, &mut samples);

    for methods in document["paths"].as_object().expect("paths").values() {
        for operation in methods.as_object().expect("methods").values() {
            let id = operation["operationId"].as_str().expect("an id");
            assert!(samples.contains_key(id) || WITHOUT.contains(&id), "{id} has no line here");
        }
    }
    let made = serde_json::to_string_pretty(&samples).expect("JSON") + "\n";
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/openapi/samples.json");
    if std::env::var_os("TOLLGATE_WRITE_SAMPLES").is_some() {
        std::fs::write(&place, &made).expect("written");
    }
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(&place).expect("samples")).expect("JSON");
    for (operation, sample) in &samples {
        assert_eq!(&kept[operation], sample, "{operation}: TOLLGATE_WRITE_SAMPLES=1 writes it anew");
    }
    assert_eq!(kept.as_object().map(Map::len), Some(samples.len()), "a sample of no operation");
}

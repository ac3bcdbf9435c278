//! Stripe's meter events, as Stripe's published client sends them and as it would not.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::client::{Ask, Client, Reply};
use crate::server::TestServer;
use crate::tools::{run, tool};

const CATALOG: &str = r#"
[compat.stripe]
user = "seat"
meters = { ai_search = "tokens", opened = "files" }

[[meters]]
id = "tokens"
name = "Tokens"
unit = "token"
properties = ["model"]
unknown_properties = "reject"

[[meters]]
id = "files"
name = "Files"
unit = "file"
aggregation = "count"

[[plans]]
id = "basic"
name = "Basic"
allowances = [{ meter = "tokens", amount = 10 }]
"#;

const EVENTS: &str = "/v1/billing/meter_events";
const ADJUSTMENTS: &str = "/v1/billing/meter_event_adjustments";

/// An event that is recorded.
const RIGHT: &str = "event_name=tokens&payload[stripe_customer_id]=acme&payload[value]=1&identifier=x";

fn form(path: &str, body: &str) -> Ask {
    Ask::new("POST", path).header("content-type", "application/x-www-form-urlencoded").body(body)
}

fn used(client: &mut Client, meter: &str) -> Value {
    client.get("/v1/orgs/acme/balance").ok()["meters"][meter]["lifetime"].clone()
}

/// Status, type, code and param of an error, which is a problem of the native API too.
#[track_caller]
fn error(reply: &Reply) -> (u16, String, String, Option<String>) {
    let body = reply.json();
    let text = |name: &str| body["error"][name].as_str().map(str::to_owned);
    assert_eq!(body["error"]["message"], body["detail"], "{body:#}");
    assert_eq!(reply.header("content-type"), Some("application/json"), "{body:#}");
    (reply.status, text("type").unwrap_or_default(), text("code").unwrap_or_default(), text("param"))
}

#[test]
fn the_client_of_stripe_is_served() {
    let (server, mut client) = TestServer::selling(CATALOG, "basic");
    let key = json!({"name": "stripe", "role": "ingest", "org": "acme"});
    let bound = client.post("/v1/api-keys", key).json()["secret"].as_str().expect("a secret").to_owned();
    let mut python = Command::new(tool("stripe-client").join("bin/python"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/stripe_client.py");
    python.arg(script).args([format!("http://{}", server.address()), "admin".to_owned(), bound]);
    let said = run(python);
    let told: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let ended = told.iter().map(|told| {
        let text = |name: &str| told[name].as_str().unwrap_or_default();
        (text("call"), text("error"), text("code"), text("param"))
    });
    let wrong = "InvalidRequestError";
    let wanted = [
        ("an event", "", "", ""),
        ("a retry", "", "", ""),
        ("other content", wrong, "duplicate_meter_event", "identifier"),
        ("no identifier", "", "", ""),
        ("its retry", "", "", ""),
        ("its other content", "IdempotencyError", "", ""),
        ("a number", "", "", ""),
        ("the module", "", "", ""),
        ("too old", wrong, "invalid_field", "timestamp"),
        ("no number", wrong, "invalid_field", "payload[value]"),
        ("no customer", wrong, "parameter_missing", "payload[stripe_customer_id]"),
        ("an unknown customer", wrong, "resource_missing", "payload[stripe_customer_id]"),
        ("an unknown meter", wrong, "resource_missing", "event_name"),
        ("an unknown parameter", wrong, "parameter_unknown", "flavor"),
        ("a stranger", "AuthenticationError", "", ""),
        ("another organization", "PermissionError", "", ""),
        ("cancel", "", "", ""),
        ("cancel again", "", "", ""),
        ("cancel by an admin", "", "", ""),
        ("cancel of nobody", wrong, "parameter_missing", "cancel[stripe_customer_id]"),
        ("cancel of nothing", wrong, "resource_missing", "cancel[identifier]"),
        ("a retry of what was canceled", wrong, "key_reversed", "identifier"),
    ];
    assert_eq!(ended.collect::<Vec<_>>(), wanted, "{said}");
    let event = |created: i64, identifier: &str, value: &str, timestamp: i64| {
        json!({"object": "billing.meter_event", "created": created, "event_name": "ai_search",
            "identifier": identifier, "livemode": true, "timestamp": timestamp,
            "payload": {"stripe_customer_id": "acme", "value": value, "model": "large"}})
    };
    // The clock of the test.
    let now = 1_793_613_600;
    assert_eq!(told[0]["reply"], event(now, "me-1", "25", now));
    assert_eq!(told[1]["reply"], told[0]["reply"]);
    assert_eq!(told[2]["message"], "An event already exists with identifier me-1.");
    assert_eq!(told[3]["reply"], event(now, "ik-1", "0.5", now));
    assert_eq!(told[4]["reply"], told[3]["reply"]);
    assert_eq!(told[6]["reply"], event(now, "me-2", "4", 1_793_613_540));
    let canceled = json!({"object": "billing.meter_event_adjustment", "cancel": {"identifier": "me-2"},
        "event_name": "ai_search", "livemode": true, "status": "complete", "type": "cancel"});
    assert_eq!(told[16]["reply"], canceled);
    assert_eq!(told[17]["reply"], canceled);
    // 25 + 0.5, each once; 4 and 2 were taken back. It is more than the credit: it was used.
    assert_eq!(used(&mut client, "tokens"), json!(25.5));
    let ledger = client.get("/v1/orgs/acme/ledger?limit=100").text();
    assert!(ledger.contains(r#""model":"large""#) && !ledger.contains("stripe_customer_id"), "{ledger}");
}

#[test]
fn the_catalog_says_how_an_event_is_read() {
    let (_server, mut client) = TestServer::selling(CATALOG, "basic");
    let send = |client: &mut Client, body: &str| client.ask(&form(EVENTS, body)).ok();
    // Brackets may be encoded; what the meter does not take is left out; a meter's own id is a name too.
    let body = "event_name=tokens&payload%5Bvalue%5D=3&payload[stripe_customer_id]=acme&payload[seat]=ada\
                &payload[model]=small&payload[region]=eu&expand[]=payload&identifier=me-1";
    send(&mut client, body);
    let entry = client.get("/v1/orgs/acme/ledger/2").ok();
    assert_eq!(
        (&entry["user"], &entry["properties"]),
        (&json!("ada"), &json!({"model": "small"})),
        "{entry:#}"
    );
    assert_eq!((&entry["meter"], &entry["key"]), (&json!("tokens"), &json!("me-1")), "{entry:#}");
    // Of a meter that counts, events count and not their values.
    for value in ["", "&payload[value]=0", "&payload[value]=7"] {
        send(&mut client, &format!("event_name=opened&payload[stripe_customer_id]=acme{value}"));
    }
    assert_eq!(used(&mut client, "files"), json!(3));
    // Nothing is nothing, and is told.
    let none = send(
        &mut client,
        "event_name=tokens&payload[stripe_customer_id]=acme&payload[value]=0&identifier=me-2",
    );
    assert_eq!((&none["identifier"], &none["payload"]["value"]), (&json!("me-2"), &json!("0")));
    assert_eq!(used(&mut client, "tokens"), json!(3));
    // Two events without identifier and header are two.
    let unnamed = "event_name=tokens&payload[stripe_customer_id]=acme&payload[value]=1";
    let ids = [(); 2].map(|()| send(&mut client, unnamed)["identifier"].to_string());
    assert_ne!(ids[0], ids[1]);
    assert_eq!(used(&mut client, "tokens"), json!(5));
    // Other names in the payload.
    let catalog = CATALOG.replace("user = \"seat\"", "customer = \"org\"\nvalue = \"count\"");
    client.ask(&Ask::new("PUT", "/v1/catalog").toml(catalog)).ok();
    send(&mut client, "event_name=tokens&payload[org]=acme&payload[count]=2&identifier=me-3");
    assert_eq!(used(&mut client, "tokens"), json!(7));
    client
        .ask(&form(ADJUSTMENTS, "event_name=tokens&type=cancel&cancel[identifier]=me-3&cancel[org]=acme"))
        .ok();
    assert_eq!(used(&mut client, "tokens"), json!(5));
}

#[test]
fn what_is_wrong_is_named_as_stripe_names_it_and_counts_nothing() {
    let (_server, mut client) = TestServer::selling(CATALOG, "basic");
    let long = format!("{RIGHT}&payload[model]={}", "x".repeat(300));
    for (body, code, param) in [
        ("", "parameter_missing", "event_name"),
        ("event_name=tokens", "parameter_missing", "payload[stripe_customer_id]"),
        ("event_name=tokens&payload[stripe_customer_id]=acme", "parameter_missing", "payload[value]"),
        (
            "event_name=tokens&payload[stripe_customer_id]=&payload[value]=1",
            "invalid_field",
            "payload[stripe_customer_id]",
        ),
        (&*RIGHT.replace("=1", "=-1"), "invalid_field", "payload[value]"),
        (&*RIGHT.replace("=1", "=1e20"), "invalid_field", "payload[value]"),
        (&*RIGHT.replace("=1", "=1%20token"), "invalid_field", "payload[value]"),
        (&*RIGHT.replace("identifier=x", "identifier="), "invalid_field", "identifier"),
        (&*format!("{RIGHT}&timestamp=noon"), "parameter_invalid_integer", "timestamp"),
        (&*format!("{RIGHT}&timestamp=99999999999999999999"), "parameter_invalid_integer", "timestamp"),
        (&*format!("{RIGHT}&timestamp=1793613901"), "invalid_field", "timestamp"),
        (&*format!("{RIGHT}&payload=1"), "parameter_unknown", "payload"),
        (&*format!("{RIGHT}&payload[a][b]=1"), "parameter_unknown", "payload[a][b]"),
        (&*format!("{RIGHT}&payload[]=1"), "parameter_unknown", "payload[]"),
        (&*format!("{RIGHT}&identifier=y"), "invalid_parameter", "identifier"),
        (&*long, "invalid_field", "payload[model]"),
        (&*RIGHT.replace("acme", "nobody"), "resource_missing", "payload[stripe_customer_id]"),
        (&*RIGHT.replace("tokens", "nothing"), "resource_missing", "event_name"),
    ] {
        let refused = error(&client.ask(&form(EVENTS, body)));
        let wanted = (400, "invalid_request_error".to_owned(), code.to_owned(), Some(param.to_owned()));
        assert_eq!(refused, wanted, "{body}");
    }
    let right = "event_name=tokens&type=cancel&cancel[identifier]=x&cancel[stripe_customer_id]=acme";
    client.ask(&form(EVENTS, &RIGHT.replace("=x", "=y"))).ok();
    for (body, code, param) in [
        ("", "parameter_missing", "event_name"),
        ("event_name=tokens", "parameter_missing", "type"),
        ("event_name=tokens&type=cancel", "parameter_missing", "cancel[identifier]"),
        (&*right.replace("=cancel", "=undo"), "invalid_field", "type"),
        (&*right.replace("=acme", "=nobody"), "resource_missing", "cancel[stripe_customer_id]"),
        (&*format!("{right}&cancel[reason]=none"), "parameter_unknown", "cancel[reason]"),
        (right, "resource_missing", "cancel[identifier]"),
        (&*right.replace("=x", "=y").replace("tokens", "opened"), "resource_missing", "event_name"),
    ] {
        let refused = error(&client.ask(&form(ADJUSTMENTS, body)));
        let wanted = (400, "invalid_request_error".to_owned(), code.to_owned(), Some(param.to_owned()));
        assert_eq!(refused, wanted, "{body}");
    }
    assert_eq!(used(&mut client, "tokens"), json!(1));
    assert_eq!(error(&client.get(EVENTS)).2, "method_not_allowed");
    assert_eq!(error(&client.post(EVENTS, json!({}))).2, "unsupported_media_type");
}

/// A page of another origin may send a form to a server on its visitor's machine, but no API key.
#[test]
fn a_form_without_an_api_key_is_refused_where_nobody_needs_one() {
    let server = TestServer::start();
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
    let event = form(EVENTS, "event_name=reports&payload[stripe_customer_id]=acme&payload[value]=1");
    let refused = error(&client.ask(&event));
    assert_eq!((refused.0, refused.2.as_str()), (401, "unauthorized"));
    client.ask(&event.header("authorization", "Bearer sk_test_any")).ok();
    assert_eq!(used(&mut client, "reports"), json!(1));
}

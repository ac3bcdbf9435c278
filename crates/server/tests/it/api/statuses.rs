//! Every status that the document says an operation may refuse with is answered by it, in the form the document says.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tollgate_domain::limits::CHANNELS_MAX;
use tollgate_server::Secret;

use crate::api::document::operations;
use crate::api::samples::undocumented;
use crate::client::{Ask, Client};
use crate::server::TestServer;

/// What keeps an organization from having more than these.
const MOST: usize = 1_000;

/// A meter that is the largest of its values.
const SEATS: &str = "[[meters]]\nid = \"seats\"\nname = \"Seats\"\nunit = \"seat\"\naggregation = \"max\"\n";

/// What no request to this server leads to: one that cannot decide must have lost its disk first, and where the settings
/// have an admin key, none is the last.
const BEYOND_REQUESTS: [(&str, u16); 2] = [("ready", 503), ("revoke_api_key", 409)];

/// An operation as its sample asks for it, with a part of the path or the query put in place of another.
struct Operation<'a> {
    id: &'a str,
    method: String,
    path: &'a str,
    operation: &'a Value,
}

impl Operation<'_> {
    fn target(&self, of: &str) -> String {
        let path = self.path.replace("{org}", of).replace("{customer_id}", of).replace("{entry}", "99");
        let path = path.replace("{hold}", &format!("99-{of}")).replace("{transaction_id}", of);
        let path =
            path.replace("{customer}", of).replace("{feature}", "reports").replace("{meter}", "reports");
        let mut target = path.replace("{version}", "99").replace("{id}", of);
        for parameter in self.operation["parameters"].as_array().into_iter().flatten() {
            if parameter["in"] == "query" && parameter["required"] == true {
                let name = parameter["name"].as_str().expect("a name");
                let mark = if target.contains('?') { '&' } else { '?' };
                target = format!("{target}{mark}{name}={}", if name == "scope" { "org" } else { "reports" });
            }
        }
        target
    }

    fn kinds(&self) -> Vec<&String> {
        self.operation["requestBody"]["content"]
            .as_object()
            .into_iter()
            .flat_map(serde_json::Map::keys)
            .collect()
    }

    /// A request with a body, if it takes one: the sample, or another.
    fn ask(&self, target: &str, body: Option<&str>) -> Ask {
        let ask = Ask::new(&self.method, target);
        let Some(kind) = self.kinds().first().copied() else { return ask };
        let sample = &self.operation["requestBody"]["content"][kind]["example"];
        let text = sample.as_str().map_or_else(|| sample.to_string(), str::to_owned);
        ask.header("content-type", kind).body(body.unwrap_or(&text))
    }

    /// Requests that are refused with a status because of what the operation is.
    fn refused(&self, status: u16) -> Vec<Ask> {
        let (acme, whole) = (self.target("acme"), |body| self.ask(&self.target("acme"), body));
        match status {
            // A stream that begins does not end.
            400 | 404 if self.id == "stream" => vec![Ask::new("GET", "/v1/stream?limit=x")],
            400 => vec![
                whole(Some("{")),
                self.ask(&self.target("a%00b"), None),
                self.ask(
                    &format!("{acme}{}date=x&limit=x", if acme.contains('?') { '&' } else { '?' }),
                    None,
                ),
            ],
            403 if self.id == "lago_show_event" => {
                vec![self.ask(&format!("{acme}?external_subscription_id=acme"), None)]
            }
            401 | 403 => vec![whole(None)],
            // Setting a plan makes its organization, so no two operations name the same.
            404 => vec![self.ask(&self.target(&format!("nobody-{}", self.id)), None)],
            413 => {
                let kind = self.kinds()[0];
                let ask = Ask::new(&self.method, &acme).header("content-type", kind);
                vec![ask.header("content-length", "1000000000")]
            }
            415 => vec![Ask::new(&self.method, &acme).header("content-type", "text/xml").body("<a/>")],
            422 => vec![whole(Some(r#"{"nonsense": 1}"#)), whole(Some("nonsense = 1"))],
            _ => Vec::new(),
        }
    }
}

/// Requests that are refused because of what is there: the operation, the status, the request.
fn refused_by_what_is_there() -> Vec<(&'static str, u16, Ask)> {
    let post = |path: &str, body: Value| Ask::new("POST", path).json(body);
    let put = |path: &str, body: Value| Ask::new("PUT", path).json(body);
    let usage = |org: &str, key: &str| json!({"org": org, "meter": "reports", "key": key});
    let report = |org: &str, key: &str| json!({"org_id": org, "report_id": key});
    let billed = |amount: u8, id: &str| json!({"customer_id": "acme", "resource_type": "reports", "quantity": amount, "id": id});
    let pulse = |amount: u8, id: &str| json!({"tenant_id": "acme", "product_sku": "s", "use_unit": "u", "used_amount": amount, "id": id});
    let limit = json!({"meter": "reports", "scope": "user", "user": "one-more", "amount": 1});
    let top_up = |org: &str| json!({"meter": "reports", "amount": 1, "key": format!("more-{org}")});
    let catalog =
        "[[meters]]\nid = \"reports\"\nname = \"R\"\nunit = \"r\"\n[[plans]]\nid = \"other\"\nname = \"O\"\n";
    vec![
        ("use", 402, post("/v1/usage", usage("planless", "k"))),
        ("use", 404, post("/v1/usage", usage("nobody", "k"))),
        ("use", 409, post("/v1/usage", usage("acme", "back"))),
        ("use", 429, post("/v1/usage", usage("hasty", "k-2"))),
        ("hold", 402, post("/v1/holds", usage("planless", "k"))),
        ("hold", 404, post("/v1/holds", usage("nobody", "k"))),
        ("hold", 409, post("/v1/holds", usage("holder", "h-2"))),
        ("hold", 429, post("/v1/holds", usage("hasty", "k-2"))),
        ("capture", 409, post("/v1/holds/2-holder/capture", json!({}))),
        ("release", 409, post("/v1/holds/4-holder/release", json!({}))),
        ("reverse", 404, post("/v1/usage/reversals", json!({"org": "acme", "key": "unknown"}))),
        ("reverse", 409, post("/v1/usage/reversals", json!({"org": "acme", "key": "seat-2"}))),
        ("list_orgs", 404, Ask::new("GET", "/v1/orgs?plan=gold")),
        ("put_plan", 404, put("/v1/orgs/acme/plan", json!({"plan": "gold"}))),
        ("put_plan", 409, put("/v1/orgs/tried/plan", json!({"plan": "trial"}))),
        ("put_limit", 409, put("/v1/orgs/full/limits", limit)),
        ("top_up", 402, post("/v1/orgs/planless/top-ups", top_up("planless"))),
        ("top_up", 409, post("/v1/orgs/full/top-ups", top_up("full"))),
        ("delete_plan", 422, Ask::new("DELETE", "/v1/orgs/acme/plan?at=never")),
        ("void_top_up", 409, post("/v1/orgs/beyond/top-ups/2/void", json!({"amount": 9}))),
        ("void_top_up_by_key", 409, post("/v1/orgs/beyond/top-ups/void", json!({"key": "b-1", "amount": 9}))),
        ("close_bill", 409, post("/v1/orgs/acme/bill/close", json!({"month": "2026-11"}))),
        (
            "put_catalog",
            409,
            Ask::new("PUT", "/v1/catalog").header("content-type", "application/toml").body(catalog),
        ),
        ("stream", 404, Ask::new("GET", "/v1/stream?org=nobody")),
        ("create_channel", 409, post("/v1/channels", json!({"name": "one more", "kind": "log"}))),
        ("reports_limit", 404, post("/limit", json!({"org_id": "nobody", "limit": 5}))),
        ("reports_use", 404, post("/use", report("nobody", "k"))),
        ("reports_use", 409, post("/use", report("acme", "back"))),
        ("reports_use", 422, post("/use", report("acme", "large"))),
        ("reports_top_up", 404, post("/top-up", json!({"org_id": "nobody", "count": 5}))),
        ("lago_show_event", 404, Ask::new("GET", "/lago/api/v1/events/none?external_subscription_id=acme")),
        ("openmeter_query", 404, Ask::new("GET", "/api/v1/meters/nothing/query?subject=acme")),
        (
            "openmeter_query_by_body",
            404,
            post("/api/v1/meters/reports/query", json!({"subject": ["nobody"]})),
        ),
        ("billing_usage", 409, post("/api/v1/usage", billed(1, "back"))),
        ("billing_usage", 422, post("/api/v1/usage", billed(1, "large"))),
        ("token_used", 404, post("/api/v1/token_used", json!({"userId": "acme", "traceId": "t-1"}))),
        (
            "token_used",
            409,
            post("/api/v1/token_used", json!({"userId": "acme", "traceId": "call-back", "costUsd": 0.01})),
        ),
        ("pulse", 409, post("/pulses", pulse(1, "pulse-back"))),
        ("pulse", 422, post("/pulses", pulse(1, "pulse-large"))),
        ("commit", 502, post("/aggregates/commit", json!({}))),
    ]
}

/// A server where there is something in the way of everything.
fn crowded(admin: &mut Client) {
    let credits = "[compat.credits]\nmeter = \"reports\"\n";
    let catalog = format!("{}\n{SEATS}\n{credits}", tollgate_domain::catalog::DEFAULT);
    admin.ask(&Ask::new("PUT", "/v1/catalog").header("content-type", "application/toml").body(catalog)).ok();
    for (org, plan) in
        [("acme", "basic"), ("full", "basic"), ("tried", "trial"), ("tried", "basic"), ("hasty", "basic")]
    {
        admin.put(&format!("/v1/orgs/{org}/plan"), json!({"plan": plan})).ok();
    }
    let limit = json!({"meter": "reports", "scope": "org", "window": "day", "amount": 1});
    admin.put("/v1/orgs/hasty/limits", limit).ok();
    admin.post("/v1/usage", json!({"org": "hasty", "meter": "reports", "key": "k-1"})).ok();
    admin.put("/v1/orgs/beyond/plan", json!({"plan": "basic"})).ok();
    admin.post("/v1/orgs/beyond/top-ups", json!({"meter": "reports", "amount": 1, "key": "b-1"})).ok();
    admin.put("/v1/orgs/holder/plan", json!({"plan": "basic"})).ok();
    for key in ["h-1", "h-2"] {
        let hold = admin.post("/v1/holds", json!({"org": "holder", "meter": "reports", "key": key})).ok();
        let id = hold["hold"]["hold"].as_str().expect("an id");
        let step = if key == "h-1" { "release" } else { "capture" };
        admin.post(&format!("/v1/holds/{id}/{step}"), json!({})).ok();
    }
    admin.post("/v1/usage/reversals", json!({"org": "holder", "key": "h-2"})).ok();
    admin.put("/v1/orgs/planless", json!({"name": "Without a plan"})).ok();
    for (key, quantity) in [("back", 1), ("large", 2)] {
        let usage = json!({"org": "acme", "meter": "reports", "key": key, "quantity": quantity});
        admin.post("/v1/usage", usage).ok();
        let pulse = json!({"tenant_id": "acme", "product_sku": "s", "use_unit": "u", "used_amount": quantity,
            "id": format!("pulse-{key}")});
        admin.post("/pulses", pulse).ok();
    }
    let call = json!({"userId": "acme", "traceId": "call-back", "costUsd": 0.01});
    assert_eq!(admin.post("/api/v1/token_used", call).status, 201);
    for key in ["back", "call-back", "pulse-back"] {
        admin.post("/v1/usage/reversals", json!({"org": "acme", "key": key})).ok();
    }
    // Of a maximum only the largest values are known: below them one cannot be taken back.
    let seat = |number: u8| json!({"org": "acme", "meter": "seats", "key": format!("seat-{number}"), "quantity": number});
    admin.post("/v1/usage/batch", (1..=17).map(seat).collect()).ok();
    for number in 3..=17 {
        admin
            .post("/v1/usage/reversals", json!({"org": "acme", "key": format!("seat-{}", 20 - number)}))
            .ok();
    }
    for _ in 0..CHANNELS_MAX {
        let made = admin.post("/v1/channels", json!({"name": "n", "kind": "log", "enabled": false}));
        assert_eq!(made.status, 201, "{}", made.text());
    }
    for number in 0..MOST {
        let limit = json!({"meter": "reports", "scope": "user", "user": format!("u-{number}"), "amount": 1});
        admin.put("/v1/orgs/full/limits", limit).ok();
        admin
            .post("/v1/orgs/full/top-ups", json!({"meter": "reports", "amount": 1, "priority": number % 256}))
            .ok();
    }
}

/// A key with a role, bound to an organization that nothing is asked of.
fn bound(admin: &mut Client, role: &str) -> String {
    let made = admin.post("/v1/api-keys", json!({"name": role, "role": role, "org": "bound"})).json();
    made["secret"].as_str().expect("a secret").to_owned()
}

#[test]
fn every_refusal_of_the_document_is_answered() {
    let server = TestServer::with(|settings| {
        settings.api_key = Some(Secret("admin".to_owned()));
        settings.request_timeout = Duration::from_secs(1);
    });
    let mut admin = server.client().with_key("admin");
    let document = admin.get("/openapi.json").ok();
    crowded(&mut admin);
    let callers = [bound(&mut admin, "ingest"), bound(&mut admin, "read")];
    // The server soon lets go of a connection that nothing is asked over, so each request has its own.
    let as_admin = || server.client().with_key("admin");
    let mut answered: BTreeSet<(String, u16)> = BTreeSet::new();
    let mut wrong = Vec::new();
    let mut hear = |id: &str, status: u16, reply: crate::client::Reply| {
        println!("{id} {status}: {} {}", reply.status, reply.text());
        if reply.status == status {
            let different = undocumented(&document, id, &reply);
            if different.is_empty() {
                answered.insert((id.to_owned(), status));
            } else {
                wrong.push(format!("{id}: {different:?}"));
            }
        }
    };
    for (id, status, ask) in refused_by_what_is_there() {
        hear(id, status, as_admin().ask(&ask));
    }
    // A body that does not come, to each operation that waits for one, all at once.
    let mut waiting = Vec::new();
    let mut documented = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let id = operation["operationId"].as_str().expect("an id");
        let of = Operation { id, method, path, operation };
        let statuses = operation["responses"].as_object().expect("responses").keys();
        for status in statuses.filter_map(|status| status.parse::<u16>().ok()).filter(|status| *status >= 400)
        {
            documented.insert((id.to_owned(), status));
            if status == 408 {
                let mut client = server.client();
                let kind = of.kinds()[0];
                let head = format!(
                    "{} {} HTTP/1.1\r\nhost: tollgate\r\nauthorization: Bearer admin\r\ncontent-type: {kind}\r\n\
                     content-length: 100\r\n\r\n",
                    of.method,
                    of.target("acme")
                );
                client.send_raw(head.as_bytes()).expect("sent");
                waiting.push((of.id, client));
                continue;
            }
            for ask in of.refused(status) {
                match status {
                    401 => hear(id, status, server.client().ask(&ask)),
                    403 => callers
                        .iter()
                        .for_each(|key| hear(id, status, server.client().with_key(key).ask(&ask))),
                    _ => hear(id, status, as_admin().ask(&ask)),
                }
            }
        }
    }
    for (id, mut client) in waiting {
        hear(id, 408, client.read().expect("an answer"));
    }
    assert_eq!(wrong, Vec::<String>::new());
    answered.extend(BEYOND_REQUESTS.map(|(id, status)| (id.to_owned(), status)));
    let silent: Vec<_> = documented.difference(&answered).collect();
    assert!(silent.is_empty(), "{silent:?}: the document promises what no request here gets");
}

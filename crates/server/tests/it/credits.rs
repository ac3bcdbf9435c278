//! The credits API, and the gateway that prices its calls.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tollgate_domain::Timestamp;
use tollgate_server::Secret;

use crate::client::{Ask, Client, Reply};
use crate::server::TestServer;

const CATALOG: &str = r#"
[compat.credits]
exchange_rate = 35
conversion_ratios = { cheap = "0.01" }

[[meters]]
id = "tokens"
name = "Tokens"
unit = "token"

[[plans]]
id = "main"
name = "Main"
allowances = [{ meter = "tokens", amount = 300, enforcement = "overdraft", last_below = 100 }]

[[plans]]
id = "cheap"
name = "Cheap"
allowances = [{ meter = "tokens", amount = 100000 }]

[[plans]]
id = "other"
name = "Other"
"#;

/// What the gateway does when it is asked for a trace.
#[derive(Clone, Debug)]
enum Says {
    /// Answers with a status and a body.
    This(u16, String),
    /// The same, once others are there, too.
    Together(Arc<Barrier>, String),
    /// Ends the connection.
    Nothing,
    /// Keeps the connection and never answers.
    Never,
}

/// Stands in for the analytics of the hosted gateway, which nobody can run: a trace costs what it is told to cost.
struct Gateway {
    address: SocketAddr,
    says: Arc<Mutex<HashMap<String, Says>>>,
    asked: Arc<AtomicUsize>,
}

impl Gateway {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (says, asked) = (Arc::new(Mutex::new(HashMap::new())), Arc::new(AtomicUsize::new(0)));
        let (answers, count) = (Arc::clone(&says), Arc::clone(&asked));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answers, count) = (Arc::clone(&answers), Arc::clone(&count));
                thread::spawn(move || answer(&stream, &answers, &count));
            }
        });
        Self { address, says, asked }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn on(&self, trace: &str, says: Says) {
        self.says.lock().expect("not poisoned").insert(trace.to_owned(), says);
    }

    /// A call that costs so many cents.
    fn costs(&self, trace: &str, cents: Value) {
        self.on(trace, Says::This(200, cost(cents)));
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn cost(cents: Value) -> String {
    json!({"data": [{"ai_model": "gpt-4o", "cost": cents}], "object": "list"}).to_string()
}

fn answer(stream: &TcpStream, says: &Mutex<HashMap<String, Says>>, asked: &AtomicUsize) -> Option<()> {
    let mut lines = BufReader::new(stream).lines();
    loop {
        let first = lines.next()?.ok()?;
        let headers: Vec<String> =
            lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
        asked.fetch_add(1, Ordering::SeqCst);
        let query = first.split_whitespace().nth(1)?.strip_prefix("/v1/analytics/groups/ai-models?")?;
        let pairs: HashMap<_, _> = form_urlencoded::parse(query.as_bytes()).collect();
        assert!(headers.contains(&"x-portkey-api-key: pk-secret".to_owned()), "{headers:?}");
        assert_eq!(pairs["workspace_slug"], "space");
        let [from, to] = ["time_of_generation_min", "time_of_generation_max"]
            .map(|name| pairs[name].parse::<Timestamp>().expect("a time"));
        assert!(from < to, "{pairs:?}");
        let what = says.lock().expect("not poisoned").get(&*pairs["trace_id"]).cloned();
        let (status, body) = match what {
            None => (200, json!({"data": []}).to_string()),
            Some(Says::This(status, body)) => (status, body),
            Some(Says::Together(barrier, body)) => {
                barrier.wait();
                (200, body)
            }
            Some(Says::Nothing) => return None,
            Some(Says::Never) => {
                lines.next();
                return None;
            }
        };
        let length = body.len();
        write!(&mut &*stream, "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{body}").ok()?;
    }
}

fn server(gateway: Option<&Gateway>) -> TestServer {
    patient_server(gateway, Duration::from_secs(15))
}

/// A server that waits for the gateway for a while.
fn patient_server(gateway: Option<&Gateway>, patience: Duration) -> TestServer {
    let url = gateway.map(|gateway| gateway.url().parse().expect("a URL"));
    let server = TestServer::with(|settings| {
        settings.portkey = url;
        settings.portkey_api_key = Some(Secret("pk-secret".to_owned()));
        settings.portkey_workspace = Some("space".to_owned());
        settings.portkey_timeout = patience;
    });
    let catalog = Ask::new("PUT", "/v1/catalog").header("content-type", "application/toml").body(CATALOG);
    server.client().ask(&catalog).ok();
    server
}

fn subscribe(client: &mut Client, user: &str, plan: &str) {
    client.put(&format!("/v1/orgs/{user}/plan"), json!({"plan": plan})).ok();
}

fn use_(client: &mut Client, user: &str, trace: &str) -> Reply {
    client.post("/api/v1/token_used", json!({"userId": user, "traceId": trace}))
}

#[track_caller]
fn charged(reply: &Reply, trace: &str, usd: &str, tokens: i64) {
    reply.is(
        201,
        json!({"traceId": trace, "totalCostUsd": usd, "totalToken": -tokens, "transactionStatus": "Success"}),
    );
}

#[track_caller]
fn refused(reply: &Reply, status: u16, detail: &str) {
    assert_eq!(reply.status, status, "{}", reply.text());
    assert_eq!(reply.json()["detail"], detail, "{}", reply.text());
}

/// What is left, and what burned in an entry, by source.
fn burns(client: &mut Client, user: &str, trace: &str) -> Value {
    let ledger = client.get(&format!("/v1/orgs/{user}/ledger?limit=1000")).ok();
    let entries = ledger["entries"].as_array().expect("entries");
    let entry = entries.iter().find(|entry| entry["key"] == trace).expect("an entry of the trace");
    let burns = entry["burns"].as_array().expect("burns").iter();
    burns
        .map(|burn| json!([burn["source"].as_str().and_then(|text| text.split(' ').next()), burn["amount"]]))
        .collect()
}

#[test]
fn a_call_costs_what_the_gateway_says_and_once() {
    let gateway = Gateway::start();
    let server = server(Some(&gateway));
    let mut client = server.client();
    subscribe(&mut client, "ann", "main");
    gateway.costs("t-1", json!(0.1234));
    for _ in 0..3 {
        charged(&use_(&mut client, "ann", "t-1"), "t-1", "0.001234", 1);
    }
    // What the gateway says of it later changes nothing.
    gateway.costs("t-1", json!(900));
    charged(&use_(&mut client, "ann", "t-1"), "t-1", "0.001234", 1);
    assert_eq!(gateway.asked(), 1, "a trace that was charged is not priced again");
    gateway.costs("t-2", json!("150.5"));
    let body = json!({"userId": "ann", "traceId": "t-2", "agentId": "a", "websearchCost": 0.0000004, "unknown": [1]});
    charged(&client.post("/api/v1/token_used", body), "t-2", "1.505000", 53);
    let balance = client.get("/v1/orgs/ann/balance").ok();
    assert_eq!(balance["meters"]["tokens"]["remaining"], 300 - 1 - 53);
    let ledger = client.get("/v1/orgs/ann/ledger").ok();
    let told = ledger["entries"].as_array().expect("entries").iter().find(|entry| entry["key"] == "t-2");
    let properties = &told.expect("its entry")["properties"];
    assert_eq!(*properties, json!({"agent_id": "a", "cost_usd": "1.505000", "model": "gpt-4o"}));
    // A ratio of a hundredth makes a hundred times as many.
    subscribe(&mut client, "bob", "cheap");
    gateway.costs("t-3", json!(100));
    charged(&use_(&mut client, "bob", "t-3"), "t-3", "1.000000", 3_500);
}

#[test]
fn main_is_taken_first_until_little_is_left_and_the_last_pot_goes_below_zero_once() {
    let gateway = Gateway::start();
    let server = server(Some(&gateway));
    let mut client = server.client();
    subscribe(&mut client, "ann", "main");
    client.post("/v1/orgs/ann/top-ups", json!({"meter": "tokens", "amount": 50, "expires_at": "never"})).ok();
    for (trace, usd, tokens, wanted) in [
        ("t-1", 6, 210, json!([["allowance", 210]])),
        // 90 are left of main.
        ("t-2", 1, 35, json!([["top_up", 35]])),
        ("t-3", 1, 35, json!([["top_up", 15], ["allowance", 20]])),
        ("t-4", 10, 350, json!([["allowance", 70], ["overdraft", 280]])),
    ] {
        gateway.costs(trace, json!(100 * usd));
        charged(&use_(&mut client, "ann", trace), trace, &format!("{usd}.000000"), tokens);
        assert_eq!(burns(&mut client, "ann", trace), wanted, "{trace}");
    }
    gateway.costs("t-5", json!(1));
    refused(&use_(&mut client, "ann", "t-5"), 403, "No token balance remaining.");
    charged(&use_(&mut client, "ann", "t-4"), "t-4", "10.000000", 350);
    assert_eq!(client.get("/v1/orgs/ann/balance").ok()["meters"]["tokens"]["remaining"], -280);
}

#[test]
fn every_error_of_its_table() {
    let gateway = Gateway::start();
    let server = patient_server(Some(&gateway), Duration::from_secs(1));
    let mut client = server.client();
    subscribe(&mut client, "ann", "main");
    subscribe(&mut client, "eve", "other");
    let path = "/api/v1/token_used";
    for body in [
        "",
        "{",
        "[]",
        r#"{"userId": "ann"}"#,
        r#"{"traceId": "t"}"#,
        r#"{"userId": 7, "traceId": "t"}"#,
        r#"{"userId": "ann", "traceId": ""}"#,
        r#"{"userId": "ann", "traceId": "t", "websearchCost": -1}"#,
        r#"{"userId": "ann", "traceId": "t", "websearchCost": "much"}"#,
    ] {
        let reply = client.ask(&Ask::new("POST", path).header("content-type", "application/json").body(body));
        assert_eq!(reply.status, 400, "{body}: {}", reply.text());
        assert_eq!(reply.json()["error"], "Invalid request body", "{body}");
    }
    assert_eq!(gateway.asked(), 0);
    for user in ["nobody", "eve"] {
        refused(&use_(&mut client, user, "t-1"), 403, "User has no main package.");
    }
    refused(&use_(&mut client, "ann", "t-unknown"), 404, "No Portkey cost found for traceId.");
    gateway.costs("t-0", json!(0));
    refused(&use_(&mut client, "ann", "t-0"), 404, "No Portkey cost found for traceId.");
    gateway.on("t-429", Says::This(429, json!({"message": "slow down"}).to_string()));
    let reply = use_(&mut client, "ann", "t-429");
    refused(&reply, 429, "Portkey API error (status 429)");
    assert_eq!(reply.json()["error"], json!({"message": "slow down"}));
    gateway.on("t-500", Says::This(500, "oh no".to_owned()));
    let reply = use_(&mut client, "ann", "t-500");
    refused(&reply, 500, "Portkey API error (status 500)");
    assert_eq!(reply.json()["error"], "oh no");
    gateway.on("t-302", Says::This(302, String::new()));
    refused(&use_(&mut client, "ann", "t-302"), 502, "Portkey API error (status 302)");
    for (trace, says, why) in [
        ("t-late", Says::Never, "no answer in 1 s"),
        ("t-gone", Says::Nothing, "connection closed before message completed"),
        ("t-nan", Says::This(200, cost(json!("NaN"))), "its reply cannot be read"),
        ("t-neg", Says::This(200, cost(json!(-3))), "its reply cannot be read"),
        ("t-html", Says::This(200, "<html>".to_owned()), "its reply cannot be read"),
    ] {
        gateway.on(trace, says);
        refused(&use_(&mut client, "ann", trace), 502, &format!("Error connecting to Portkey: {why}"));
        // It is not lost: once the gateway is well, the same call is charged.
        gateway.costs(trace, json!(2));
        charged(&use_(&mut client, "ann", trace), trace, "0.020000", 1);
    }
    assert_eq!(client.get("/v1/orgs/ann/balance").ok()["meters"]["tokens"]["remaining"], 295);
}

#[test]
fn its_key_is_checked() {
    let server = TestServer::with(|settings| settings.api_key = Some(Secret("x-secret".to_owned())));
    let ask = |key: Option<&str>| {
        let ask = Ask::new("POST", "/api/v1/token_used").json(json!({"userId": "ann", "traceId": "t"}));
        key.map_or_else(|| ask.clone(), |key| ask.clone().header("X-API-Key", key))
    };
    for key in [None, Some("wrong")] {
        let reply = server.client().ask(&ask(key));
        assert_eq!(reply.status, 401, "{}", reply.text());
        assert!(reply.json()["detail"].is_string(), "{}", reply.text());
    }
    assert_eq!(server.client().ask(&ask(Some("x-secret"))).status, 403, "no main package");
}

#[test]
fn without_a_gateway_a_call_says_its_own_cost() {
    let server = server(None);
    let mut client = server.client();
    subscribe(&mut client, "ann", "main");
    let body = json!({"userId": "ann", "traceId": "t", "costUsd": "0.5", "model": "m", "promptTokens": 7});
    charged(&client.post("/api/v1/token_used", body), "t", "0.500000", 18);
    let ledger = client.get("/v1/orgs/ann/ledger").ok();
    let used = ledger["entries"].as_array().expect("entries").iter().find(|entry| entry["key"] == "t");
    let wanted = json!({"cost_usd": "0.500000", "model": "m", "prompt_tokens": "7"});
    assert_eq!(used.expect("its entry")["properties"], wanted);
    // Never charged without a cost, and never free.
    refused(&use_(&mut client, "ann", "t-2"), 404, "No Portkey cost found for traceId.");
}

/// The original charged a call again for every retry.
#[test]
fn a_thousand_retries_at_once_charge_once() {
    const CALLERS: usize = 50;
    const TIMES: usize = 20;
    let gateway = Gateway::start();
    let server = server(Some(&gateway));
    subscribe(&mut server.client(), "ann", "main");
    let all_sent = Arc::new(Barrier::new(CALLERS + 1));
    gateway.on("t", Says::Together(Arc::clone(&all_sent), cost(json!(300))));
    let ask = Ask::new("POST", "/api/v1/token_used").json(json!({"userId": "ann", "traceId": "t"}));
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                let mut client = server.client();
                client.send(&ask).expect("sent");
                all_sent.wait();
                charged(&client.read().expect("an answer"), "t", "3.000000", 105);
                for _ in 1..TIMES {
                    charged(&client.ask(&ask), "t", "3.000000", 105);
                }
            });
        }
    });
    assert_eq!(gateway.asked(), 1, "who retries meanwhile waits for the same answer");
    let balance = server.client().get("/v1/orgs/ann/balance").ok();
    assert_eq!(balance["meters"]["tokens"]["remaining"], 195);
}

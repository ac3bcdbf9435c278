//! The real gateway of Portkey with its guardrail `default.webhook` pointed at the server, before a model whose answers wait.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;
use tollgate_server::Secret;

use crate::channels::until;
use crate::client::{Ask, Reply, connect};
use crate::model::{Model, PATIENCE, TOKENS};
use crate::server::TestServer;
use crate::tools::{program, tool};

const CATALOG: &str = r#"
[[meters]]
id = "usd"
name = "US dollars"
unit = "USD"

[[plans]]
id = "budget"
name = "Budget"
allowances = [{ meter = "usd", amount = "0.45" }]

[[models]]
id = "waits"
rates = [{ input = 0, output = 7500 }]

[[models]]
id = "fails"
rates = [{ input = 0, output = 7500 }]

[[models]]
id = "is-silent"
rates = [{ input = 0, output = 1000 }]

[[models]]
id = "says"
rates = [{ input = 0, output = 1000 }]
"#;

const KEY: &str = "the-admin-key";

/// Tells which port the gateway got, and has it listen on this machine alone.
const TELL: &str = r#"
const { Server } = require("node:net");
const listen = Server.prototype.listen;
Server.prototype.listen = function (port, host, ...rest) {
  this.once("listening", () => process.stderr.write(`port ${this.address().port}\n`));
  return listen.call(this, port, "127.0.0.1", ...rest);
};
"#;

/// A running gateway; killed when dropped.
struct Gateway {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Gateway {
    fn start() -> Self {
        let script = tool("portkey").join("node_modules/@portkey-ai/gateway/build/start-server.js");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let tell = folder.path().join("tell.cjs");
        std::fs::write(&tell, TELL).expect("written");
        let mut gateway = Command::new(program("node"));
        gateway.arg("--require").arg(&tell).arg(script).args(["--port=0", "--headless"]);
        gateway.env_clear().env("HOME", folder.path()).current_dir(folder.path());
        let mut child =
            gateway.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the gateway runs");
        let mut lines = BufReader::new(child.stderr.take().expect("a log")).lines().map_while(Result::ok);
        let mut log = String::new();
        let port = lines.by_ref().find_map(|line| {
            log = format!("{log}{line}\n");
            line.strip_prefix("port ")?.parse::<u16>().ok()
        });
        let port = port.unwrap_or_else(|| panic!("the gateway ended:\n{log}"));
        // What it says later is read, so that it never waits.
        thread::spawn(move || lines.for_each(drop));
        Self { child, address: ([127, 0, 0, 1], port).into(), _folder: folder }
    }

    /// Makes a call. The gateway ends its answer with the connection, as HTTP/1.0 has it.
    fn call(&self, config: &Value, model: &str, more: Value) -> Reply {
        let mut stream = self.send(config, model, more);
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        let text = String::from_utf8(answer).expect("UTF-8");
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Reply { status, headers: Vec::new(), body: body.as_bytes().to_vec() }
    }

    fn send(&self, config: &Value, model: &str, more: Value) -> TcpStream {
        let mut body = json!({
            "model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": TOKENS, "tollgate_hold": "1-acme",
        });
        body.as_object_mut().expect("members").extend(more.as_object().expect("members").clone());
        let metadata = json!({"org": "acme", "_user": "ada"});
        let ask = Ask::new("POST", "/v1/chat/completions")
            .header("x-portkey-config", &config.to_string())
            .header("x-portkey-metadata", &metadata.to_string())
            .json(body);
        let ask = String::from_utf8(ask.bytes(None)).expect("text").replacen("HTTP/1.1", "HTTP/1.0", 1);
        let mut stream = connect(self.address).expect("the gateway takes connections");
        stream.set_read_timeout(Some(PATIENCE)).expect("a connection that is open");
        stream.write_all(ask.as_bytes()).expect("sent");
        stream
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a client of the gateway sends as its configuration, as in `examples/portkey/`.
fn config(model: &Model, tollgate: SocketAddr, key: &str) -> Value {
    let webhook = json!({
        "webhookURL": format!("http://{tollgate}/portkey/guardrail"), "headers": {"X-API-Key": key},
        "timeout": 60_000, "failOnError": true,
    });
    json!({
        "provider": "openai", "api_key": "none", "custom_host": format!("http://{}/v1", model.address),
        "input_guardrails": [{"default.webhook": webhook, "deny": true}],
        "output_guardrails": [{"default.webhook": webhook}],
    })
}

fn server() -> TestServer {
    let server = TestServer::with(|settings| settings.api_key = Some(Secret(KEY.to_owned())));
    let mut client = server.client().with_key(KEY);
    client.ask(&Ask::new("PUT", "/v1/catalog").toml(CATALOG)).ok();
    client.put("/v1/orgs/acme/plan", json!({"plan": "budget"})).ok();
    server
}

/// Waits until so much is used and held.
#[track_caller]
fn stands_at(server: &TestServer, used: f64, held: f64) {
    until(&mut server.client().with_key(KEY), "/v1/orgs/acme/balance", |balance| {
        let of = |member: &str| balance["meters"]["usd"][member].as_f64().unwrap_or(0.0);
        (of("used") - used).abs() < 1e-12 && (of("held") - held).abs() < 1e-12
    });
}

/// What the guardrail said of a call that the gateway denied.
#[track_caller]
fn denied(reply: &Reply) -> Value {
    assert_eq!(reply.status, 446, "{}", reply.text());
    reply.json()["hook_results"]["before_request_hooks"][0]["checks"][0]["data"].clone()
}

/// Portkey's users ask for budgets by metadata, checked before the call and charged after it (Portkey-AI/gateway #1169, #183).
/// A webhook that only looks at a balance would admit all five of these calls.
#[test]
fn a_budget_by_metadata_holds_for_calls_that_run_at_once() {
    let (server, model, gateway) = (server(), Model::start(), Gateway::start());
    let config = config(&model, server.address(), KEY);
    let (tell, answers) = mpsc::channel();
    let next = || answers.recv_timeout(PATIENCE).expect("an answer");
    thread::scope(|scope| {
        for _ in 0..5 {
            let (tell, gateway, config) = (tell.clone(), &gateway, &config);
            scope.spawn(move || {
                tell.send(gateway.call(config, "waits", json!({}))).expect("somebody listens");
            });
        }
        // Two are refused while the model works on the three that were admitted.
        for _ in 0..2 {
            let data = denied(&next());
            let problem = &data["responseData"];
            assert_eq!(problem["code"], "org_limit_reached", "{data:#}");
            assert!(
                problem["detail"].as_str().is_some_and(|text| text.starts_with("0.15 asked, 0 left")),
                "{data:#}"
            );
        }
        for _ in 0..3 {
            let asked = model.next();
            assert_eq!(
                (&asked["model"], &asked["max_tokens"]),
                (&json!("waits"), &json!(TOKENS)),
                "{asked:#}"
            );
            assert_eq!(
                asked["tollgate_hold"],
                Value::Null,
                "the provider sees nothing of the hold: {asked:#}"
            );
        }
        stands_at(&server, 0.0, 0.45);
        model.open();
        for _ in 0..3 {
            let answered = next();
            assert_eq!(answered.ok()["usage"]["completion_tokens"], TOKENS);
        }
    });
    stands_at(&server, 0.45, 0.0);
    assert!(model.is_left_alone(), "the model was asked three times");
    let entries = server.client().with_key(KEY).get("/v1/orgs/acme/ledger").ok();
    let captured = &entries["entries"][0];
    assert_eq!(
        (&captured["kind"], &captured["user"], &captured["properties"]["provider"]),
        (&json!("used"), &json!("ada"), &json!("openai")),
        "{entries:#}"
    );
}

#[test]
fn however_a_call_through_portkey_ends_it_has_one_outcome() {
    let (server, model, mut gateway) = (server(), Model::start(), Gateway::start());
    let config = config(&model, server.address(), KEY);
    model.open();
    // What was held beyond the cost is given back.
    let answered = gateway.call(&config, "waits", json!({"max_tokens": 2 * TOKENS}));
    assert_eq!((answered.status, model.is_asked().as_str()), (200, "waits"), "{}", answered.text());
    stands_at(&server, 0.15, 0.0);
    // A stream: the gateway tells nothing of what was streamed, and the estimate is charged when it begins.
    // On some versions of Node the gateway fails with streams of OpenAI, after the model was asked; not with Cohere's.
    let mut cohere = config.clone();
    cohere["provider"] = json!("cohere");
    let streamed = gateway.call(&cohere, "says", json!({"stream": true}));
    assert_eq!((streamed.status, model.is_asked().as_str()), (200, "says"), "{}", streamed.text());
    assert!(streamed.text().contains("chat.completion.chunk"), "{}", streamed.text());
    stands_at(&server, 0.17, 0.0);
    // A model that fails: the gateway tells nobody, and the hold waits for its end.
    let failed = gateway.call(&config, "fails", json!({}));
    assert_eq!((failed.status, model.is_asked().as_str()), (500, "fails"), "{}", failed.text());
    stands_at(&server, 0.17, 0.15);
    // A model without a price is refused before anybody is asked.
    let data = denied(&gateway.call(&config, "nobody-knows", json!({})));
    assert_eq!(data["responseData"]["code"], "no_price", "{data:#}");
    server.at("2026-11-02T11:00:00Z");
    stands_at(&server, 0.32, 0.0);
    // Of a gateway that dies in mid-call nobody hears again: the hold expires, and its estimate is charged.
    let mut caller = gateway.send(&config, "is-silent", json!({}));
    assert_eq!(model.is_asked(), "is-silent");
    stands_at(&server, 0.32, 0.02);
    gateway.child.kill().expect("killed");
    gateway.child.wait().expect("ended");
    assert_eq!(caller.read(&mut [0]).ok().filter(|bytes| *bytes > 0), None, "the gateway died");
    server.at("2026-11-02T12:00:00Z");
    stands_at(&server, 0.34, 0.0);
}

#[test]
fn a_call_is_refused_where_the_guardrail_cannot_decide() {
    let (server, model, gateway) = (server(), Model::start(), Gateway::start());
    model.open();
    // An API key that is not known is a verdict: it needs no `failOnError`.
    let mut unknown = config(&model, server.address(), "tg_unknown");
    let webhook = unknown["input_guardrails"][0]["default.webhook"].as_object_mut().expect("members");
    webhook.remove("failOnError");
    let data = denied(&gateway.call(&unknown, "waits", json!({})));
    assert_eq!(data["responseData"]["code"], "unauthorized", "{data:#}");
    // Nobody there: with `failOnError` the call is refused.
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = nobody.local_addr().expect("an address");
    drop(nobody);
    let data = denied(&gateway.call(&config(&model, address, KEY), "waits", json!({})));
    assert!(data["explanation"].as_str().is_some_and(|text| text.starts_with("Webhook error")), "{data:#}");
    // Somebody who does not answer in time.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut late = config(&model, silent.local_addr().expect("an address"), KEY);
    late["input_guardrails"][0]["default.webhook"]["timeout"] = json!(50);
    let data = denied(&gateway.call(&late, "waits", json!({})));
    assert!(data["explanation"].as_str().is_some_and(|text| text.contains("timed out")), "{data:#}");
    assert!(model.is_left_alone(), "the model was asked");
    stands_at(&server, 0.0, 0.0);
}

//! The real proxy of LiteLLM with the hook of `examples/litellm/`, before a model whose answers wait until they are let go.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;
use tollgate_server::Secret;

use crate::channels::until;
use crate::client::{Ask, Client, Reply, connect};
use crate::model::{Model, PATIENCE, TOKENS};
use crate::server::TestServer;
use crate::tools::tool;

/// Held while a proxy runs: one takes the machine for a while.
static ONE_PROXY: Mutex<()> = Mutex::new(());

const CATALOG: &str = r#"
[[meters]]
id = "usd"
name = "US dollars"
unit = "USD"

[[plans]]
id = "budget"
name = "Budget"
allowances = [{ meter = "usd", amount = "0.45" }]
"#;

const KEY: &str = "sk-proxy";

/// The API key that the proxy's alerts are sent with, to a server that asks for one.
const API_KEY: &str = "tg_alerts";

const MODELS: [(&str, &str); 4] =
    [("waits", "0.0075"), ("fails", "0.0075"), ("streams", "0.0001"), ("is-silent", "0.0001")];

/// A running proxy; killed when dropped.
struct Proxy {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
    _one: MutexGuard<'static, ()>,
}

impl Proxy {
    /// A proxy with the hook.
    fn start(server: &TestServer, model: &Model) -> Self {
        Self::with(server, model, json!({"callbacks": "tollgate_hook.hook", "num_retries": 0}), Value::Null)
    }

    fn with(server: &TestServer, model: &Model, settings: Value, callback: Value) -> Self {
        let one = ONE_PROXY.lock().unwrap_or_else(PoisonError::into_inner);
        let python = tool("litellm").join("bin");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let hook = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/litellm/tollgate_hook.py");
        std::fs::copy(hook, folder.path().join("tollgate_hook.py")).expect("copied");
        let config = folder.path().join("config.yaml");
        std::fs::write(&config, configuration(model, settings, callback)).expect("written");
        let mut proxy = Command::new(python.join("litellm"));
        proxy.args(["--host", "127.0.0.1", "--port", "0", "--config"]).arg(&config);
        proxy.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", folder.path()).current_dir(folder.path());
        proxy.env("LITELLM_LOCAL_MODEL_COST_MAP", "True").env("PYTHONUNBUFFERED", "1");
        // What it logs of a call while it sends that of others, it drops, unless each is sent alone (docs/compat-litellm.md).
        proxy.env("DEFAULT_BATCH_SIZE", "1");
        proxy.env("TOLLGATE_URL", format!("http://{}", server.address())).env("TOLLGATE_ORG", "acme");
        // Its alerts take the API key from a file: as the user of this machine, with an empty password.
        let netrc = folder.path().join("netrc");
        std::fs::write(&netrc, format!("machine 127.0.0.1 login {API_KEY} password \"\"\n"))
            .expect("written");
        proxy.env("WEBHOOK_URL", format!("http://{}/litellm/budgets", server.address()));
        proxy.env("AIOHTTP_TRUST_ENV", "True").env("NETRC", netrc);
        let mut child = proxy.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the proxy runs");
        let mut lines = BufReader::new(child.stderr.take().expect("a log")).lines().map_while(Result::ok);
        let mut log = String::new();
        let listening = lines.by_ref().find_map(|line| {
            log = format!("{log}{line}\n");
            line.split_once("running on http://")?.1.split_whitespace().next()?.parse().ok()
        });
        let address = listening.unwrap_or_else(|| panic!("the proxy ended:\n{log}"));
        // What it says later is read, so that it never waits.
        thread::spawn(move || lines.for_each(drop));
        Self { child, address, _folder: folder, _one: one }
    }

    fn client(&self) -> Client {
        let stream = connect(self.address).expect("the proxy takes connections");
        stream.set_read_timeout(Some(PATIENCE)).expect("a connection that is open");
        Client::over(stream).with_key(KEY)
    }

    fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }

    fn call(&self, model: &str) -> Reply {
        self.client().ask(&call(model, false))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn call(model: &str, stream: bool) -> Ask {
    let messages = json!([{"role": "user", "content": "hi"}]);
    let body = json!({"model": model, "messages": messages, "max_tokens": TOKENS, "stream": stream});
    Ask::new("POST", "/v1/chat/completions").json(body)
}

fn configuration(model: &Model, settings: Value, callback: Value) -> String {
    let entry = |name: &str, price: &str| {
        let url = format!("http://{}/v1", model.address);
        json!({"model_name": name, "litellm_params": {
            "model": format!("openai/{name}"), "api_key": "none", "api_base": url,
            "input_cost_per_token": 0, "output_cost_per_token": price.parse::<f64>().expect("a price"),
        }})
    };
    let mut models: Vec<Value> = MODELS.iter().map(|(name, price)| entry(name, price)).collect();
    models.push(json!({"model_name": "no-price", "litellm_params": {"model": "openai/nobody-knows", "api_key": "none"}}));
    let general = json!({"master_key": KEY, "alerting": ["webhook"]});
    let callbacks = json!({"tollgate_calls": callback});
    // JSON is YAML.
    json!({
        "model_list": models, "litellm_settings": settings, "callback_settings": callbacks, "general_settings": general,
    })
    .to_string()
}

fn server() -> (TestServer, Client) {
    let server = TestServer::start();
    let mut client = server.client();
    client.ask(&Ask::new("PUT", "/v1/catalog").toml(CATALOG)).ok();
    client.put("/v1/orgs/acme/plan", json!({"plan": "budget"})).ok();
    (server, client)
}

const BALANCE: &str = "/v1/orgs/acme/balance";

/// Waits until so much is used and held; the hook captures after the answer.
#[track_caller]
fn stands_at(server: &TestServer, used: f64, held: f64) {
    // A connection from before may have been closed while a proxy took its time.
    until(&mut server.client(), BALANCE, |balance| {
        let of = |member: &str| balance["meters"]["usd"][member].as_f64().unwrap_or(0.0);
        (of("used") - used).abs() < 1e-12 && (of("held") - held).abs() < 1e-12
    });
}

/// LiteLLM's own budgets admitted four of these five calls, and 0.60 were spent (BerriAI/litellm #40002, #34732).
#[test]
fn concurrent_requests_cannot_bypass_a_budget_before_spend_is_recorded() {
    let ((server, _), model) = (server(), Model::start());
    let proxy = Proxy::start(&server, &model);
    let (tell, answers) = mpsc::channel();
    let next = || answers.recv_timeout(PATIENCE).expect("an answer");
    thread::scope(|scope| {
        for _ in 0..5 {
            let (tell, proxy) = (tell.clone(), &proxy);
            scope.spawn(move || tell.send(proxy.call("waits")).expect("somebody listens"));
        }
        // Two are refused while the model works on the three that were admitted.
        for _ in 0..2 {
            let refused = next();
            assert_eq!(refused.status, 402, "{}", refused.text());
            assert!(refused.text().contains("0.15 asked, 0 left"), "{}", refused.text());
        }
        for _ in 0..3 {
            assert_eq!(model.is_asked(), "waits");
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
}

#[test]
fn however_a_call_ends_nothing_stays_held_and_what_it_cost_is_charged() {
    let ((server, _), model) = (server(), Model::start());
    let mut proxy = Proxy::start(&server, &model);
    // A model without a price is refused before anybody is asked.
    let refused = proxy.call("no-price");
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert!(refused.text().contains("the model no-price has no price"), "{}", refused.text());
    // A model that fails costs nothing.
    assert_eq!(proxy.call("fails").status, 500);
    assert_eq!(model.is_asked(), "fails");
    stands_at(&server, 0.0, 0.0);
    // Nor does one whose client left before it said anything.
    leave(&proxy, &model, "is-silent", None);
    stands_at(&server, 0.0, 0.0);
    // A client that leaves in mid-stream pays for what was streamed: 50 words, a token each and some more.
    leave(&proxy, &model, "streams", Some("word "));
    let mut client = server.client();
    let balance = until(&mut client, BALANCE, |balance| {
        balance["meters"]["usd"]["used"] != 0
            && balance["meters"]["usd"]["held"].as_f64().unwrap_or(0.0) == 0.0
    });
    let streamed = balance["meters"]["usd"]["used"].as_f64().expect("a number");
    assert!((0.005..0.006).contains(&streamed), "{streamed}");
    // Of a gateway that dies in mid-call nobody hears again: the hold expires, and its estimate is charged.
    let mut caller = proxy.client();
    caller.send(&call("waits", false)).expect("sent");
    assert_eq!(model.is_asked(), "waits");
    stands_at(&server, streamed, 0.15);
    proxy.kill();
    caller.read().expect_err("the gateway died");
    server.at("2026-11-02T11:00:00Z");
    stands_at(&server, streamed + 0.15, 0.0);
}

#[test]
fn what_the_proxy_logs_of_a_call_is_counted_once() {
    let ((server, mut client), model) = (server(), Model::start());
    let catalog = format!("[compat.litellm]\norg = \"acme\"\n{CATALOG}");
    client.ask(&Ask::new("PUT", "/v1/catalog").toml(catalog)).ok();
    let callback = json!({
        "callback_type": "generic_api", "endpoint": format!("http://{}/litellm/calls", server.address()),
        "headers": {"X-API-Key": "none is needed here"},
    });
    let proxy =
        Proxy::with(&server, &model, json!({"callbacks": ["tollgate_calls"], "num_retries": 0}), callback);
    // The proxy dates calls by the machine's clock, which is not the server's here.
    #[expect(clippy::disallowed_methods, reason = "the proxy's clock is the machine's")]
    let now = tollgate_domain::Timestamp::now();
    server.at(&now.to_string());
    model.open();
    assert_eq!(proxy.call("fails").status, 500);
    proxy.call("waits").ok();
    stands_at(&server, 0.15, 0.0);
    let entries = server.client().get("/v1/orgs/acme/ledger").ok();
    let entry = &entries["entries"][0];
    assert_eq!(
        (&entry["kind"], &entry["properties"]["model"]),
        (&json!("used"), &json!("openai/waits")),
        "{entries:#}"
    );
    assert_eq!(entry["properties"]["completion_tokens"], TOKENS.to_string(), "{entries:#}");
}

/// The alert that the proxy makes of a budget by its own code, when its administrator tries the webhook.
#[test]
fn an_alert_of_the_proxy_is_a_notice_and_needs_its_api_key() {
    let server = TestServer::with(|settings| settings.api_key = Some(Secret(API_KEY.to_owned())));
    let mut client = server.client().with_key(API_KEY);
    let catalog = format!("[compat.litellm]\norg = \"acme\"\n{CATALOG}");
    client.ask(&Ask::new("PUT", "/v1/catalog").toml(catalog)).ok();
    client.put("/v1/orgs/acme/plan", json!({"plan": "budget"})).ok();
    let model = Model::start();
    let proxy = Proxy::with(&server, &model, json!({"num_retries": 0}), Value::Null);
    let tried = proxy.client().ask(&Ask::new("GET", "/health/services?service=webhook"));
    assert_eq!(tried.status, 200, "{}", tried.text());
    let mut client = server.client().with_key(API_KEY);
    let page = until(&mut client, "/v1/notices?kind=gateway_budget", |page| {
        page["notices"].as_array().is_some_and(|notices| !notices.is_empty())
    });
    let notice = &page["notices"][0];
    assert_eq!((&notice["org"], &notice["meter"]), (&json!("acme"), &Value::Null), "{page:#}");
    let summary = notice["summary"].as_str().expect("a summary");
    assert!(
        summary.starts_with("LiteLLM says: the budget of ") && summary.ends_with("1 of 0 USD spent"),
        "{summary}"
    );
}

/// Makes a call of a stream, and hangs up once the model was asked and a text has come.
fn leave(proxy: &Proxy, model: &Model, name: &str, after: Option<&str>) {
    let mut stream = connect(proxy.address).expect("the proxy takes connections");
    stream.write_all(&call(name, true).bytes(Some(KEY))).expect("sent");
    assert_eq!(model.is_asked(), name);
    if let Some(after) = after {
        let mut lines = BufReader::new(&stream).lines();
        assert!(lines.any(|line| line.is_ok_and(|line| line.contains(after))), "the stream ended");
    }
}

//! Envoy's rate limit service: asked by gRPC with Envoy's messages, and by a real Envoy before a service.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::channels::until;
use crate::client::{Ask, Client, Reply, connect};
use crate::model::PATIENCE;
use crate::receiver::Receiver;
use crate::server::TestServer;
use crate::tools::{run, tool};

const CATALOG: &str = r#"
[[meters]]
id = "requests"
name = "Requests"
unit = "request"
properties = ["path"]
unknown_properties = "reject"

[[meters]]
id = "tokens"
name = "Tokens"
unit = "token"

[[plans]]
id = "basic"
name = "Basic"
allowances = [{ meter = "requests", amount = 10 }, { meter = "tokens", amount = 100 }]
"#;

/// A client that keeps its connection; it ends with its input.
struct Asker {
    child: Child,
    input: Option<ChildStdin>,
    said: mpsc::Receiver<Value>,
}

impl Asker {
    fn start(server: &TestServer) -> Self {
        Self::calling(server, &server.address().to_string())
    }

    /// One that calls the server by a name of its own.
    fn calling(server: &TestServer, name: &str) -> Self {
        let mut python = Command::new(tool("envoy-client").join("bin/python"));
        python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/envoy_client.py"));
        python.arg(server.address().to_string()).arg(name);
        let mut child = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the client runs");
        let lines = BufReader::new(child.stdout.take().expect("an output")).lines();
        let (tell, said) = mpsc::channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // Nobody listens any more when the test is over.
                let _ = tell.send(serde_json::from_str(&line).expect("JSON"));
            }
        });
        let input = child.stdin.take();
        Self { child, input, said }
    }

    fn ask(&mut self, call: Value) -> Value {
        let input = self.input.as_mut().expect("an input");
        writeln!(input, "{call}").expect("the client listens");
        self.said.recv_timeout(PATIENCE).expect("the client answers")
    }

    /// Asks with the admin key, of the meter `requests`.
    fn entries(&mut self, entries: Value) -> Value {
        self.ask(json!({"api_key": "admin", "domain": "requests", "descriptors": [{"entries": entries}]}))
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

/// Each user of an organization may make three requests a minute.
fn limit_users(client: &mut Client, org: &str) {
    let limit = json!({"meter": "requests", "scope": "user", "window": "minute", "amount": 3});
    client.put(&format!("/v1/orgs/{org}/limits"), limit).ok();
}

fn used(client: &mut Client, org: &str, meter: &str) -> Value {
    client.get(&format!("/v1/orgs/{org}/balance")).ok()["meters"][meter]["used"].clone()
}

#[test]
fn a_call_is_a_usage_decided_by_every_limit() {
    let (server, mut client) = TestServer::selling(CATALOG, "basic");
    limit_users(&mut client, "acme");
    let mut asker = Asker::start(&server);
    let ada = json!([["org", "acme"], ["user", "ada"], ["path", "/search"], ["remote_address", "10.0.0.1"]]);
    for left in [2, 1, 0] {
        let said = asker.entries(ada.clone());
        let status = json!({
            "code": "OK", "remaining": left, "limit": 3, "unit": "MINUTE", "name": "user-minute", "reset": 60.0,
        });
        assert_eq!((&said["code"], &said["statuses"]), (&json!("OK"), &json!([status])), "{said:#}");
        let header = format!("\"org\";r={};t=2469600, \"user-minute\";r={left};t=60", left + 7);
        assert_eq!(said["headers"]["ratelimit"], header, "{said:#}");
    }
    let said = asker.entries(ada);
    let status = json!({
        "code": "OVER_LIMIT", "remaining": 0, "limit": 3, "unit": "MINUTE", "name": "user-minute", "reset": 60.0,
    });
    let wanted = json!({
        "code": "OVER_LIMIT", "statuses": [status],
        "headers": {"ratelimit": "\"user-minute\";r=0;t=60", "ratelimit-policy": "\"user-minute\";q=3;w=60", "retry-after": "60"},
    });
    assert_eq!(said, wanted, "{said:#}");
    // It is in the ledger as any usage is, with the property that the meter takes and no other.
    let ledger = client.get("/v1/orgs/acme/ledger?kind=used").ok();
    let entry = &ledger["entries"][0];
    assert_eq!((&entry["user"], &entry["quantity"]), (&json!("ada"), &json!(1)), "{entry:#}");
    assert_eq!(entry["properties"], json!({"path": "/search"}), "{entry:#}");
    // Credit of the organization has no unit of time.
    let said = asker.ask(json!({
        "api_key": "admin", "domain": "requests", "hits": 8,
        "descriptors": [{"entries": [["org", "acme"], ["user", "ben"]]}],
    }));
    assert_eq!(
        (&said["code"], &said["statuses"][0]["unit"]),
        (&json!("OVER_LIMIT"), &json!("UNKNOWN")),
        "{said:#}"
    );
    assert_eq!(
        (&said["statuses"][0]["name"], &said["statuses"][0]["remaining"]),
        (&json!("org"), &json!(7)),
        "{said:#}"
    );
    assert_eq!(used(&mut client, "acme", "requests"), 3);
}

#[test]
fn a_call_of_several_descriptors_counts_all_of_them_or_none() {
    let (server, mut client) = TestServer::selling(CATALOG, "basic");
    let mut asker = Asker::start(&server);
    let mut both = |acme: u64, globex: u64| {
        let said = asker.ask(json!({"api_key": "admin", "domain": "requests", "descriptors": [
            {"entries": [["org", "acme"]], "hits": acme},
            {"entries": [["org", "globex"], ["meter", "tokens"]], "hits": globex},
        ]}));
        let codes: Vec<String> = said["statuses"]
            .as_array()
            .expect("statuses")
            .iter()
            .map(|status| status["code"].as_str().unwrap_or_default().to_owned())
            .collect();
        (said["code"].as_str().unwrap_or_default().to_owned(), codes.join(" "))
    };
    let said = |code: &str, codes: &str| (code.to_owned(), codes.to_owned());
    assert_eq!(both(2, 60), said("OK", "OK OK"));
    // What was counted before the no is taken back, and nothing is counted after it.
    assert_eq!(both(2, 60), said("OVER_LIMIT", "OK OVER_LIMIT"));
    assert_eq!(both(9, 40), said("OVER_LIMIT", "OVER_LIMIT OK"));
    assert_eq!(
        (used(&mut client, "acme", "requests"), used(&mut client, "globex", "tokens")),
        (2.into(), 60.into())
    );
    // Nothing asked is a look.
    assert_eq!(both(0, 0), said("OK", "OK OK"));
    assert_eq!(both(8, 40), said("OK", "OK OK"));
    assert_eq!(both(0, 0), said("OVER_LIMIT", "OVER_LIMIT OVER_LIMIT"));
    assert_eq!(
        (used(&mut client, "acme", "requests"), used(&mut client, "globex", "tokens")),
        (10.into(), 100.into())
    );
}

#[test]
fn usage_that_has_happened_is_counted_past_every_limit_and_a_key_counts_once() {
    let (server, mut client) = TestServer::selling(CATALOG, "basic");
    let mut asker = Asker::start(&server);
    let mut after = |mode: &str| {
        asker.ask(json!({"api_key": "admin", "domain": "tokens", "descriptors": [
            {"entries": [["org", "acme"], ["mode", mode], ["key", "call-1"]], "hits": 150},
        ]}))
    };
    assert_eq!(after("use")["code"], "OVER_LIMIT");
    for _ in 0..2 {
        assert_eq!(after("record")["code"], "OK");
    }
    // All of the credit is burned, and more was used.
    let balance = client.get("/v1/orgs/acme/balance").ok();
    let tokens = &balance["meters"]["tokens"];
    assert_eq!((&tokens["used"], &tokens["lifetime"]), (&json!(100), &json!(150)), "{balance:#}");
    let said = asker.entries(json!([["org", "acme"], ["meter", "tokens"]]));
    assert_eq!(said["code"], "OVER_LIMIT", "{said:#}");
}

#[test]
fn what_is_wrong_with_a_call_is_a_status_that_names_it() {
    let (server, mut client) = TestServer::selling(CATALOG, "basic");
    let key = |client: &mut Client, role: &str| {
        let key = json!({"name": role, "role": role, "org": "acme"});
        client.post("/v1/api-keys", key).json()["secret"].as_str().expect("a secret").to_owned()
    };
    let (ingest, read) = (key(&mut client, "ingest"), key(&mut client, "read"));
    let mut asker = Asker::start(&server);
    let org = json!([["org", "acme"]]);
    let of = |entries: Value| json!([{"entries": entries}]);
    let many: Vec<Value> = (0..17).map(|_| json!({"entries": [["org", "acme"]]})).collect();
    let huge = "x".repeat(70_000);
    for (call, status, message) in [
        (json!({"domain": "requests", "descriptors": of(org.clone())}), "UNAUTHENTICATED", "send an API key"),
        (
            json!({"api_key": "no", "domain": "requests", "descriptors": of(org.clone())}),
            "UNAUTHENTICATED",
            "not known",
        ),
        (
            json!({"api_key": read, "domain": "requests", "descriptors": of(org.clone())}),
            "PERMISSION_DENIED",
            "'ingest'",
        ),
        (
            json!({"api_key": ingest, "domain": "requests", "descriptors": of(json!([["org", "globex"]]))}),
            "PERMISSION_DENIED",
            "bound to the organization 'acme'",
        ),
        (json!({"domain": "requests"}), "INVALID_ARGUMENT", "'descriptors' is empty"),
        (
            json!({"domain": "requests", "descriptors": many}),
            "INVALID_ARGUMENT",
            "descriptors: there may be at most 16",
        ),
        (
            json!({"domain": "requests", "descriptors": of(json!([]))}),
            "INVALID_ARGUMENT",
            "'descriptors[0].org' is missing",
        ),
        (
            json!({"domain": "requests", "descriptors": of(json!([["foo", "bar"]]))}),
            "INVALID_ARGUMENT",
            "'descriptors[0].org' is missing",
        ),
        (
            json!({"domain": "requests", "descriptors": of(json!([["org", ""]]))}),
            "INVALID_ARGUMENT",
            "descriptors[0].org: ",
        ),
        (
            json!({"domain": "requests", "descriptors": of(json!([["org", "acme"], ["user", "a\u{1}b"]]))}),
            "INVALID_ARGUMENT",
            "descriptors[0].user: ",
        ),
        (
            json!({"domain": "requests", "descriptors": of(json!([["org", "acme"], ["org", "globex"]]))}),
            "INVALID_ARGUMENT",
            "descriptors[0].org: is given twice",
        ),
        (
            json!({"domain": "requests", "descriptors": of(json!([["org", "acme"], ["mode", "guess"]]))}),
            "INVALID_ARGUMENT",
            "descriptors[0].mode: must be 'use' or 'record'",
        ),
        (json!({"domain": "", "descriptors": of(org.clone())}), "INVALID_ARGUMENT", "domain: "),
        (json!({"domain": "rl", "descriptors": of(org.clone())}), "NOT_FOUND", "no meter 'rl'"),
        (
            json!({"domain": "request", "descriptors": of(org.clone())}),
            "NOT_FOUND",
            "did you mean 'requests'?",
        ),
        (
            json!({"domain": "requests", "descriptors": of(json!([["org", "nobody"]]))}),
            "NOT_FOUND",
            "'nobody' is not known",
        ),
        (
            json!({"domain": "requests", "descriptors": [{"entries": org, "limit": true}]}),
            "INVALID_ARGUMENT",
            "descriptors[0].limit: must not be set",
        ),
        (
            json!({"domain": "requests", "descriptors": [{"entries": org, "negative": true}]}),
            "INVALID_ARGUMENT",
            "descriptors[0].is_negative_hits: must not be set",
        ),
        (
            json!({"domain": "requests", "descriptors": [{"entries": org, "hits": u64::MAX}]}),
            "INVALID_ARGUMENT",
            "descriptors[0].hits_addend: ",
        ),
        (
            json!({"domain": "requests", "descriptors": of(json!([["org", "acme"], ["foo", huge]]))}),
            "RESOURCE_EXHAUSTED",
            "body_too_large",
        ),
        (json!({"raw": "0aff"}), "INTERNAL", "decode"),
    ] {
        let mut call = call;
        // Those that are about something else have a key.
        let members = call.as_object_mut().expect("members");
        if status != "UNAUTHENTICATED" {
            members.entry("api_key").or_insert("admin".into());
        }
        let said = asker.ask(call);
        let told = said["message"].as_str().unwrap_or_default();
        assert!(said["error"] == status && told.contains(message), "{status} {message}: {said:#}");
    }
    assert_eq!(used(&mut client, "acme", "requests"), 0);
    // A key that is bound to an organization names it, and an organization without a plan gets nothing.
    let said = asker
        .ask(json!({"api_key": ingest, "domain": "requests", "descriptors": of(json!([["foo", "bar"]]))}));
    assert_eq!((&said["code"], used(&mut client, "acme", "requests")), (&json!("OK"), 1.into()), "{said:#}");
    client.delete("/v1/orgs/globex/plan").ok();
    let said = asker.entries(json!([["org", "globex"]]));
    assert_eq!(
        (&said["code"], &said["statuses"]),
        (&json!("OVER_LIMIT"), &json!([{"code": "OVER_LIMIT", "remaining": 0}])),
        "{said:#}"
    );
    // What is no gRPC gets a status of gRPC.
    let ask = Ask::new("POST", "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit").body("{}");
    let reply = client.ask(&ask);
    assert_eq!(reply.header("grpc-status"), Some("3"), "{reply:?}");
}

#[test]
fn a_refusal_at_the_edge_is_a_status_of_grpc() {
    let server = TestServer::start();
    let ask = json!({"domain": "reports", "descriptors": [{"entries": [["org", "acme"]]}]});
    // Without API keys the server answers to the names of its own machine, and to no page of another origin.
    let said = Asker::calling(&server, "tollgate.example").ask(ask.clone());
    let told = said["message"].as_str().unwrap_or_default();
    assert!(said["error"] == "PERMISSION_DENIED" && told.starts_with("unknown_host: Host: "), "{said:#}");
    let mut page = ask.clone();
    page["metadata"] = json!({"origin": "https://evil.example"});
    let mut asker = Asker::start(&server);
    let said = asker.ask(page);
    let told = said["message"].as_str().unwrap_or_default();
    assert!(said["error"] == "PERMISSION_DENIED" && told.starts_with("foreign_origin: "), "{said:#}");
    let said = asker.ask(ask);
    assert_eq!(said["error"], "NOT_FOUND", "{said:#}");
}

#[test]
fn calls_are_counted_by_their_codes_of_grpc() {
    let (server, mut client) = TestServer::selling(CATALOG, "basic");
    let mut asker = Asker::start(&server);
    let of = |org: &str| json!([["org", org]]);
    for _ in 0..11 {
        asker.entries(of("acme"));
    }
    asker.entries(of("nobody"));
    asker.ask(json!({"domain": "requests", "descriptors": [{"entries": [["org", "acme"]]}]}));
    let text = client.get("/metrics").text();
    let method = "grpc_type=\"unary\",grpc_service=\"envoy.service.ratelimit.v3.RateLimitService\",\
                  grpc_method=\"ShouldRateLimit\"";
    // Over the limit is an answer, not a failure.
    for (code, count) in [("OK", 11), ("NotFound", 1), ("Unauthenticated", 1)] {
        let line = format!("grpc_server_handled_total{{{method},grpc_code=\"{code}\"}} {count}\n");
        assert!(text.contains(&line), "{line}{text}");
    }
    let calls = text.lines().filter(|line| line.starts_with("grpc_server_handled_total{"));
    assert_eq!(calls.count(), 3, "{text}");
}

/// A running Envoy; killed when dropped.
struct Envoy {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Envoy {
    /// One that asks a server before it passes requests on to a service.
    fn start(server: &TestServer, service: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (config, admin) = (folder.path().join("envoy.json"), folder.path().join("admin"));
        // JSON is YAML.
        fs::write(&config, configuration(server.address(), service).to_string()).expect("written");
        let mut envoy = Command::new(program());
        envoy.arg("--config-path").arg(&config).arg("--admin-address-path").arg(&admin);
        envoy.args(["--use-dynamic-base-id", "--concurrency", "2", "--log-level", "info"]);
        let mut child = envoy.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("Envoy runs");
        let mut lines = BufReader::new(child.stderr.take().expect("a log")).lines().map_while(Result::ok);
        let mut log = String::new();
        let listens = lines.by_ref().any(|line| {
            log = format!("{log}{line}\n");
            line.contains("starting workers")
        });
        assert!(listens, "Envoy ended:\n{log}");
        // What it says later is read, so that it never waits.
        thread::spawn(move || lines.for_each(drop));
        let admin = fs::read_to_string(admin).expect("where its own pages are");
        let mut pages = connect(admin.trim().parse().expect("an address")).expect("a connection");
        pages
            .write_all(b"GET /listeners HTTP/1.1\r\nhost: envoy\r\nconnection: close\r\n\r\n")
            .expect("sent");
        let mut listeners = String::new();
        pages.read_to_string(&mut listeners).expect("an answer");
        let address = listeners.lines().find_map(|line| line.strip_prefix("in::")?.trim().parse().ok());
        let address = address.unwrap_or_else(|| panic!("{listeners}"));
        Self { child, address, _folder: folder }
    }

    fn request(&self, org: &str, user: &str) -> Reply {
        self.request_of("/report", org, user)
    }

    fn request_of(&self, path: &str, org: &str, user: &str) -> Reply {
        let ask = Ask::new("POST", path).header("x-org", org).header("x-user", user).body("{}");
        Client::new(self.address).ask(&ask)
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Envoy itself, out of its package.
fn program() -> PathBuf {
    let mut python = Command::new(tool("envoy").join("bin/python"));
    python.args([
        "-c",
        "import envoy, os; print(os.path.join(os.path.dirname(envoy.__file__), '_bin', 'envoy'))",
    ]);
    PathBuf::from(run(python).trim())
}

/// What Envoy is told, as in `docs/compat-envoy.md`.
fn configuration(tollgate: SocketAddr, service: SocketAddr) -> Value {
    let cluster = |name: &str, address: SocketAddr, options: Value| {
        let at =
            json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}});
        json!({
            "name": name, "type": "STATIC", "connect_timeout": "5s",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": at}}]}]},
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        })
    };
    let options = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let http2 = json!({"@type": options, "explicit_http_config": {"http2_protocol_options": {}}});
    // The service of the test takes one request of a connection.
    let http1 = json!({
        "@type": options, "explicit_http_config": {"http_protocol_options": {}},
        "common_http_protocol_options": {"max_requests_per_connection": 1},
    });
    let header =
        |name: &str, key: &str| json!({"request_headers": {"header_name": name, "descriptor_key": key}});
    let anywhere = json!({"socket_address": {"address": "127.0.0.1", "port_value": 0}});
    let filter = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit",
        "domain": "requests", "failure_mode_deny": true, "timeout": "30s", "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
        "rate_limit_service": {"transport_api_version": "V3", "grpc_service": {
            "envoy_grpc": {"cluster_name": "tollgate"},
            "initial_metadata": [{"key": "authorization", "value": "Bearer admin"}],
        }},
    });
    let router = json!({"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"});
    let recorded = json!({"generic_key": {"descriptor_key": "mode", "descriptor_value": "record"}});
    // A look before the request, and four units when its response has ended.
    let after = json!([
        {"actions": [header("x-org", "org")], "hits_addend": {"number": 0}},
        {"actions": [header("x-org", "org"), recorded], "hits_addend": {"number": 4}, "apply_on_stream_done": true},
    ]);
    // Envoy takes these two members within the filter's own settings alone.
    let after = json!({"envoy.filters.http.ratelimit": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute",
        "rate_limits": after,
    }});
    let routes = json!([
        {"match": {"prefix": "/after"}, "route": {"cluster": "service"}, "typed_per_filter_config": after},
        {"match": {"prefix": "/"}, "route": {
            "cluster": "service", "rate_limits": [{"actions": [header("x-org", "org"), header("x-user", "user")]}],
        }},
    ]);
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ingress",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            {"name": "envoy.filters.http.ratelimit", "typed_config": filter},
            {"name": "envoy.filters.http.router", "typed_config": router},
        ],
    });
    let chain = json!({"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]});
    json!({
        "admin": {"address": anywhere},
        "static_resources": {
            "listeners": [{"name": "in", "address": anywhere, "filter_chains": [chain]}],
            "clusters": [cluster("tollgate", tollgate, http2), cluster("service", service, http1)],
        },
    })
}

/// As calls of language models are counted: nobody knows before what they use.
#[test]
fn a_real_envoy_looks_before_a_request_and_records_when_its_response_has_ended() {
    let (server, mut client) = TestServer::selling(CATALOG, "basic");
    let service = Receiver::start();
    let envoy = Envoy::start(&server, service.address());
    // The third finds two units left, and uses four all the same.
    for lifetime in [4, 8, 12] {
        assert_eq!(envoy.request_of("/after", "acme", "ada").status, 200);
        until(&mut client, "/v1/orgs/acme/balance", |shown| {
            shown["meters"]["requests"]["lifetime"] == json!(lifetime)
        });
    }
    assert_eq!(used(&mut client, "acme", "requests"), 10);
    let refused = envoy.request_of("/after", "acme", "ada");
    assert_eq!((refused.status, refused.header("x-envoy-ratelimited")), (429, Some("true")));
    assert_eq!(std::iter::from_fn(|| service.waiting()).count(), 3, "the service is not asked any more");
}

#[test]
fn behind_a_real_envoy_exactly_as_many_requests_pass_as_may() {
    let (server, mut client) = TestServer::selling(CATALOG, "basic");
    for org in ["acme", "globex"] {
        limit_users(&mut client, org);
    }
    let service = Receiver::start();
    let envoy = Envoy::start(&server, service.address());
    // Forty at once, of ten users: the organization may ten times.
    let statuses: Vec<u16> = thread::scope(|scope| {
        let asking: Vec<_> = (0..10)
            .map(|user| {
                let envoy = &envoy;
                scope.spawn(move || {
                    (0..4).map(|_| envoy.request("acme", &format!("u{user}")).status).collect::<Vec<_>>()
                })
            })
            .collect();
        asking.into_iter().flat_map(|asked| asked.join().expect("no panic")).collect()
    });
    let of = |status: u16| statuses.iter().filter(|known| **known == status).count();
    assert_eq!((of(200), of(429)), (10, 30), "{statuses:?}");
    assert_eq!(used(&mut client, "acme", "requests"), 10);
    let passed = std::iter::from_fn(|| service.waiting()).count();
    assert_eq!(passed, 10, "the service was asked as often as requests passed");
    // What is left and when to come back is in headers, Envoy's own among them.
    let reply = envoy.request("globex", "ada");
    assert_eq!(
        (reply.status, reply.header("x-ratelimit-remaining")),
        (200, Some("2")),
        "{:?}",
        reply.headers
    );
    assert_eq!(
        reply.header("x-ratelimit-limit"),
        Some("3, 3;w=60;name=\"user-minute\""),
        "{:?}",
        reply.headers
    );
    assert!(
        reply.header("ratelimit").is_some_and(|told| told.contains("\"user-minute\";r=2")),
        "{:?}",
        reply.headers
    );
    let reply = envoy.request("acme", "ada");
    assert_eq!(
        (reply.status, reply.header("x-envoy-ratelimited")),
        (429, Some("true")),
        "{:?}",
        reply.headers
    );
    // Who is not known does not get past it, as `failure_mode_deny` says.
    assert_eq!(envoy.request("nobody", "ada").status, 500);
}

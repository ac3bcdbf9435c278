//! Requests with bodies that are answered early: the answer arrives, whatever the client, over HTTP/2 and HTTP/1.1.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tollgate_server::Secret;

use crate::client::{Ask, Client, connect};
use crate::server::TestServer;
use crate::tools::{program, run, tool};

const KEY: &str = "the-admin-key";

/// How often each request is sent: a reset stream is lost by some clients, some of the time.
const TIMES: usize = 20;

/// Requests that are refused before their body is read: path, key, content type, bytes, and the status.
const CASES: [(&str, &str, &str, usize, u16); 5] = [
    ("/v1/usage", "wrong", "application/json", 60_000, 401),
    ("/nowhere", KEY, "application/json", 60_000, 404),
    ("/v1/orgs", KEY, "application/json", 60_000, 405),
    ("/v1/usage", KEY, "application/json", 1_000_000, 413),
    ("/v1/usage", KEY, "text/plain", 60_000, 415),
];

fn guarded() -> (TestServer, tempfile::TempDir) {
    TestServer::with_tls(|settings| settings.api_key = Some(Secret(KEY.to_owned())))
}

#[test]
fn curl_gets_early_answers() {
    let (server, files) = guarded();
    let body = files.path().join("body");
    for (protocol, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        for (path, key, kind, bytes, status) in CASES {
            std::fs::write(&body, vec![b' '; bytes]).expect("written");
            for time in 0..TIMES {
                let mut curl = Command::new(program("curl"));
                curl.args(["--silent", "--show-error", "--noproxy", "*", protocol, "--cacert"]);
                curl.arg(files.path().join("cert.pem"));
                curl.args(["--header", &format!("authorization: Bearer {key}")]);
                curl.args(["--header", &format!("content-type: {kind}"), "--data-binary"]);
                curl.arg(format!("@{}", body.display()));
                curl.args(["--output", "/dev/null", "--write-out", "%{http_version} %{http_code}"]);
                curl.arg(format!("https://localhost:{}{path}", server.address().port()));
                assert_eq!(run(curl), format!("{version} {status}"), "{path}, {bytes} bytes, time {time}");
            }
        }
    }
}

/// Runs a script that sends each request several times over one connection and says the statuses.
fn statuses(mut command: Command, server: &TestServer, files: &Path) {
    command.arg(format!("https://localhost:{}", server.address().port()));
    command.arg(files.join("cert.pem")).arg(TIMES.to_string());
    for (path, key, kind, bytes, _) in CASES {
        command.arg(serde_json::json!({"path": path, "key": key, "type": kind, "bytes": bytes}).to_string());
    }
    let told: Vec<Value> = serde_json::from_str(&run(command)).expect("statuses as JSON");
    let wanted: Vec<Value> =
        CASES.iter().flat_map(|(.., status)| vec![Value::from(*status); TIMES]).collect();
    assert_eq!(told, wanted);
}

fn script(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join("it").join(name)
}

#[test]
fn node_gets_early_answers() {
    let (server, files) = guarded();
    let mut node = Command::new(program("node"));
    node.arg(script("early.cjs"));
    statuses(node, &server, files.path());
}

#[test]
fn python_gets_early_answers() {
    let (server, files) = guarded();
    let mut python = Command::new(tool("http2-client").join("bin").join("python"));
    python.arg(script("early.py"));
    statuses(python, &server, files.path());
}

/// A body of unknown length that is larger than anybody reads to its end: the answer comes before the end of the
/// connection, also to a client that does not listen while it sends.
#[test]
fn an_answer_to_an_endless_body_is_not_lost() {
    const MIB: usize = 1024 * 1024;
    let server = TestServer::with(|settings| settings.api_key = Some(Secret(KEY.to_owned())));
    let mut client = Client::over(connect(server.address()).expect("it connects"));
    // Announced as more than is read in vain, so that the server closes at once.
    let head =
        format!("POST /v1/usage HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", 4_096 * MIB);
    client.send_raw(head.as_bytes()).expect("sent");
    for _ in 0..64 {
        client.send_raw(&vec![b' '; MIB]).expect("the server still reads");
    }
    let reply = client.read().expect("an answer");
    reply.is_problem(401, "unauthorized", None);
    assert_eq!(reply.header("connection"), Some("close"));
    assert!(client.is_closed());
}

#[test]
fn a_connection_lives_on_after_an_early_answer() {
    let server = TestServer::with(|settings| settings.api_key = Some(Secret(KEY.to_owned())));
    let mut client = server.client();
    for (path, key, kind, bytes, status) in CASES {
        let ask = Ask::new("POST", path).header("x-api-key", key).header("content-type", kind);
        assert_eq!(client.ask(&ask.body(vec![b' '; bytes])).status, status, "{path}");
    }
    assert_eq!(client.get("/health").ok()["status"], "healthy");
}

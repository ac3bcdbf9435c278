//! `tollgate mcp`, driven by the official SDK of another language.

#![expect(clippy::indexing_slicing, reason = "what is not in a reply fails the test")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::server::{Server, folder, tollgate};

/// The Python that has the SDK.
fn python() -> PathBuf {
    let test = std::env::current_exe().expect("this program has a path");
    let tools = test.ancestors().nth(3).expect("a target folder").join("tools").join("mcp-client");
    let python = tools.join("bin").join("python");
    assert!(
        tools.join("made-for").is_file(),
        "{} is not there: `cargo xtask tools` installs it, and `cargo xtask test` does so by itself",
        tools.display()
    );
    python
}

/// Has the SDK make some calls; `Err` is what it said when it could not.
fn drive(to: &Value, calls: &Value) -> Result<Value, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join("it").join("mcp_client.py");
    let mut client = Command::new(python());
    client.arg(script).arg(to.to_string()).arg(calls.to_string());
    let output = client.output().expect("the client runs");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        return Err(error);
    }
    serde_json::from_str(&said).map_err(|wrong| format!("{wrong}: {said}{error}"))
}

/// The program over its standard streams.
fn over_stdio(server: &Server, key: &str) -> Value {
    json!({
        "command": [env!("CARGO_BIN_EXE_tollgate"), "mcp"],
        "env": {"TOLLGATE_URL": server.url, "TOLLGATE_API_KEY": key},
    })
}

/// The program listening. Killed when dropped.
struct Listening {
    child: Child,
    url: String,
}

impl Listening {
    fn start(server: &Server, more: &[&str]) -> Self {
        let args = [&["mcp", "--listen", "127.0.0.1:0"], more].concat();
        // Its own key is an admin's: it must not be used for others.
        let environment = [("TOLLGATE_URL", server.url.as_str()), ("TOLLGATE_API_KEY", "admin")];
        let mut command = tollgate(&server.folder, &environment, &args);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("its output"));
        output.read_line(&mut line).expect("it says where it listens");
        let url = line.trim().strip_prefix("listening on ").expect("where").to_owned();
        Self { child, url }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server with an admin's key, an org with a plan, and keys of each role.
fn server(folder: &Path) -> (Server, impl Fn(&str) -> String) {
    let server = Server::start(folder, &[("TOLLGATE_API_KEY", "admin")], &[]);
    let as_admin = |args: &[&str]| {
        let environment = [("TOLLGATE_URL", server.url.as_str()), ("TOLLGATE_API_KEY", "admin")];
        let ran = crate::server::run(&server.folder, &environment, args);
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
        ran
    };
    as_admin(&["plan", "set", "acme", "basic"]);
    let keys: Vec<(String, String)> = ["read", "ingest", "manage"]
        .iter()
        .map(|role| {
            let made = as_admin(&["key", "create", role, "--role", role, "--json"]).json();
            ((*role).to_owned(), made["secret"].as_str().expect("a secret").to_owned())
        })
        .collect();
    let key = move |role: &str| {
        keys.iter().find(|(known, _)| known == role).map(|(_, key)| key.clone()).expect("a role")
    };
    (server, key)
}

/// Every tool, in the order in which an agent would use them: 100 reports are there.
fn calls() -> Value {
    json!([
        ["balance", {"org": "acme"}],
        ["hold", {"org": "acme", "meter": "reports", "quantity": 90, "key": "run-1", "expires_in": 60}],
        ["use", {"org": "acme", "meter": "reports", "quantity": 20, "key": "u-1"}],
        ["explain", {"org": "acme", "meter": "reports", "quantity": 20}],
        ["capture", {"hold": "2-acme", "quantity": "12.5", "final": false, "key": "part-1"}],
        ["capture", {"hold": "2-acme", "quantity": 7}],
        ["use", {"org": "acme", "meter": "reports", "quantity": 20, "key": "u-1"}],
        ["use", {"org": "acme", "meter": "reports", "quantity": 20, "key": "u-1"}],
        ["hold", {"org": "acme", "meter": "reports", "quantity": 60, "key": "run-2"}],
        ["release", {"hold": "7-acme"}],
        ["balance", {"org": "acme"}],
    ])
}

#[track_caller]
fn check_calls(driven: &Value) {
    let results = driven["results"].as_array().expect("results");
    let said = |place: usize| {
        let result = &results[place];
        assert_eq!(result["is_error"], false, "{place}: {result}");
        assert_eq!(
            serde_json::from_str::<Value>(result["text"].as_str().expect("a text")).ok().as_ref(),
            Some(&result["said"])
        );
        &result["said"]
    };
    assert_eq!(said(0)["meters"]["reports"]["remaining"], 100);
    assert_eq!((&said(1)["hold"]["hold"], &said(1)["remaining"]), (&json!("2-acme"), &json!(10)));
    // What is held is not there for others, and the denial says so.
    let denied = &results[2];
    assert_eq!((&denied["is_error"], &denied["said"]["allowed"]), (&json!(true), &json!(false)), "{denied}");
    assert_eq!(
        (&denied["said"]["code"], &denied["said"]["remaining"]),
        (&json!("org_limit_reached"), &json!(10))
    );
    assert_eq!(said(3)["allowed"], false, "{}", results[3]);
    assert_eq!((&said(4)["captured"], &said(4)["hold"]["state"]), (&json!(12.5), &json!("open")));
    assert_eq!((&said(5)["captured"], &said(5)["hold"]["state"]), (&json!(7), &json!("captured")));
    assert_eq!((&said(6)["replayed"], &said(6)["remaining"]), (&json!(false), &json!(60.5)));
    assert_eq!((&said(7)["replayed"], &said(7)["remaining"]), (&json!(true), &json!(60.5)));
    assert_eq!(said(8)["remaining"], 0.5);
    assert_eq!(said(9)["hold"]["state"], "released");
    assert_eq!(said(10)["meters"]["reports"]["remaining"], 60.5);
}

#[test]
fn the_sdk_of_another_language_lists_and_calls_every_tool_over_standard_streams() {
    let folder = folder();
    let (server, key) = server(folder.path());
    let driven = drive(&over_stdio(&server, &key("manage")), &calls()).expect("it is driven");
    assert_eq!(driven["about"]["server"], "tollgate");
    assert!(driven["about"]["instructions"].as_str().is_some_and(|text| text.contains("hold")), "{driven}");
    let tools = driven["tools"].as_object().expect("tools");
    let names: Vec<&str> = tools.keys().map(String::as_str).collect();
    assert_eq!(names, ["balance", "capture", "explain", "hold", "release", "use"]);
    for (name, tool) in tools {
        assert_eq!(tool["described"], true, "{name}");
        assert_eq!(tool["reads"], json!(["balance", "explain"].contains(&name.as_str())), "{name}");
    }
    assert_eq!(tools["hold"]["needed"], json!(["org", "meter", "key"]));
    check_calls(&driven);
}

#[test]
fn the_same_over_http_with_the_key_of_each_request() {
    let folder = folder();
    let (server, key) = server(folder.path());
    let listening = Listening::start(&server, &[]);
    let to = json!({"url": listening.url, "key": key("manage")});
    check_calls(&drive(&to, &calls()).expect("it is driven"));
    // A client of the time before sessions were given up.
    let old = json!({"url": listening.url, "key": key("manage"), "mode": "legacy"});
    let driven = drive(&old, &json!([["balance", {"org": "acme"}]])).expect("it is driven");
    assert_eq!(driven["results"][0]["said"]["meters"]["reports"]["remaining"], 60.5, "{driven}");
    // The key of the command is nobody else's.
    for (to, code) in [
        (json!({"url": listening.url}), "unauthorized"),
        (json!({"url": listening.url, "key": "tg_unknown"}), "unauthorized"),
        (json!({"url": listening.url, "key": key("read")}), "forbidden"),
    ] {
        let refused = drive(&to, &json!([["use", {"org": "acme", "meter": "reports", "key": "x"}]]))
            .expect("it is driven");
        let refused = &refused["results"][0];
        assert_eq!(
            (&refused["is_error"], &refused["said"]["code"]),
            (&json!(true), &json!(code)),
            "{refused}"
        );
    }
}

#[test]
fn a_key_may_do_what_it_may_do_at_the_api() {
    let folder = folder();
    let (server, key) = server(folder.path());
    let each = json!([
        ["balance", {"org": "acme"}],
        ["use", {"org": "acme", "meter": "reports", "key": "u"}],
        ["hold", {"org": "acme", "meter": "reports", "key": "h"}],
        ["capture", {"hold": "2-acme"}],
        ["release", {"hold": "2-acme"}],
    ]);
    let codes = |role: &str| {
        let driven = drive(&over_stdio(&server, &key(role)), &each).expect("it is driven");
        let results = driven["results"].as_array().expect("results").clone();
        results
            .iter()
            .map(|result| result["said"]["code"].as_str().unwrap_or("done").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(codes("read"), ["done", "forbidden", "forbidden", "forbidden", "forbidden"]);
    assert_eq!(codes("ingest"), ["forbidden", "done", "done", "unknown_hold", "unknown_hold"]);
}

#[test]
fn what_is_wrong_is_said_to_the_agent() {
    let folder = folder();
    let (server, key) = server(folder.path());
    let calls = json!([
        ["use", {"org": "acme", "meter": "reports"}],
        ["use", {"org": "acme", "meter": "reports", "key": "k", "colour": "red"}],
        ["hold", {"org": "acme", "meter": "nothing", "key": "k"}],
        ["balance", {}],
        ["capture", {"hold": "no-hold"}],
        ["balance", {"org": "../keys"}],
    ]);
    let driven = drive(&over_stdio(&server, &key("manage")), &calls).expect("it is driven");
    let results = driven["results"].as_array().expect("results");
    let told = |place: usize| {
        assert_eq!(results[place]["is_error"], true, "{place}: {}", results[place]);
        results[place]["text"].as_str().expect("a text").to_owned()
    };
    for (place, says) in [
        (0, "missing_field"),
        (1, "unknown_field"),
        (2, "unknown_meter"),
        (3, "org: must be given"),
        (4, "hold"),
        (5, "unknown_org"),
    ] {
        assert!(told(place).contains(says), "{place}: {}", told(place));
    }
    // A server that is not there is said to be, and the key is not.
    let nobody = json!({
        "command": [env!("CARGO_BIN_EXE_tollgate"), "mcp"],
        "env": {"TOLLGATE_URL": "http://127.0.0.1:1", "TOLLGATE_API_KEY": "hush"},
    });
    let driven = drive(&nobody, &json!([["balance", {"org": "acme"}]])).expect("it is driven");
    let text = driven["results"][0]["text"].as_str().expect("a text").to_owned();
    assert!(text.contains("the connection is refused") && !text.contains("hush"), "{text}");
    // A tool that is none is an error of the protocol.
    let wrong = drive(&over_stdio(&server, &key("manage")), &json!([["delete_everything", {}]]))
        .expect_err("no tool");
    assert!(wrong.contains("there is no tool 'delete_everything'"), "{wrong}");
}

#[test]
fn nobody_else_drives_it_by_a_browser_or_through_a_server_without_keys() {
    let folder = folder();
    let (server, key) = server(folder.path());
    let listening = Listening::start(&server, &["--host", "agents.example.com"]);
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string();
    let key = format!("Bearer {}", key("read"));
    for (path, headers, status) in [
        ("/mcp", &[][..], 200),
        ("/mcp", &[("host", "agents.example.com")], 200),
        ("/mcp", &[("host", "evil.example.com")], 403),
        ("/mcp", &[("origin", "https://evil.example.com")], 403),
        ("/other", &[], 404),
    ] {
        let url = listening.url.replace("/mcp", path);
        let mut request = ureq::post(&url).config().http_status_as_error(false).build();
        let sent = [
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("authorization", key.as_str()),
        ];
        for (name, value) in sent.iter().chain(headers) {
            request = request.header(*name, *value);
        }
        let answer = request.send(&body).expect("an answer");
        assert_eq!(answer.status(), status, "{path} {headers:?}");
    }
    let without_keys = tempfile::tempdir().expect("a folder");
    let open = Server::start(without_keys.path(), &[], &[]);
    let ran = open.run(&["mcp", "--listen", "0.0.0.0:0"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("asks for no API key"), "{ran:?}");
}

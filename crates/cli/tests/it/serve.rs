//! `serve` and `config`: settings, the line at start, logs, the way down.

use serde_json::Value;

use crate::server::{Server, folder, run};

#[test]
fn the_settings_in_force_are_shown_with_their_origin() {
    let folder = folder();
    let shown = run(folder.path(), &[], &["config"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    let line = |out: &str, name: &str| {
        let line =
            out.lines().find(|line| line.split_whitespace().next() == Some(name)).expect("the setting");
        line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line(&shown.out, "listen"), "127.0.0.1:8080 default");
    assert_eq!(line(&shown.out, "api-key"), "- default");

    // The file that lies there is read without being named.
    std::fs::write(folder.path().join("tollgate.toml"), "environment = 'staging'\nthreads = 2\n")
        .expect("written");
    let environment = [
        ("PORT", "9000"),
        ("TOLLGATE_API_KEY", "hush"),
        ("TOLLGATE_THREADS", "3"),
        ("DATABASE_URL", "postgres://u:p@h/d"),
    ];
    let shown = run(folder.path(), &environment, &["config", "--queue", "7"]);
    assert_eq!(line(&shown.out, "listen"), "127.0.0.1:9000 environment PORT");
    assert_eq!(line(&shown.out, "environment"), "staging file tollgate.toml");
    assert_eq!(line(&shown.out, "threads"), "3 environment TOLLGATE_THREADS");
    assert_eq!(line(&shown.out, "queue"), "7 flag --queue");
    assert_eq!(line(&shown.out, "api-key"), "*** environment TOLLGATE_API_KEY");
    assert!(shown.err.contains("warning: DATABASE_URL is set") && !shown.err.contains("u:p"), "{shown:?}");

    let json = run(folder.path(), &environment, &["config", "--json"]).json();
    let settings = json["settings"].as_array().expect("settings");
    let port = settings.iter().find(|setting| setting["name"] == "listen").expect("listen");
    assert_eq!((&port["value"], &port["origin"]["name"]), (&"127.0.0.1:9000".into(), &"PORT".into()));
    assert!(!json.to_string().contains("hush"), "{json}");

    std::fs::write(folder.path().join("tollgate.toml"), "color = 'red'\n").expect("written");
    let refused = run(folder.path(), &[], &["config"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(
        refused.err.contains("tollgate.toml: there is no setting 'color'; expected one of listen,"),
        "{refused:?}"
    );
}

#[test]
fn a_server_says_where_it_listens_and_stops_cleanly() {
    let folder = folder();
    let environment = [("REDIS_URL", "redis://h"), ("ENVIRONMENT", "test")];
    let server = Server::start(folder.path(), &environment, &["--threads", "1"]);
    assert!(server.url.starts_with("http://127.0.0.1:") && !server.url.ends_with(":0"), "{}", server.url);
    let health = server.ok(&["health", "--json"]).json();
    assert_eq!(health["health"]["config"], "test");
    let (ended, said) = server.stop();
    assert_eq!(ended.code(), Some(0), "{said:?}");
    let version = env!("CARGO_PKG_VERSION");
    let line = said.iter().find(|line| line.contains("listening on")).expect("the line at start");
    assert!(line.starts_with(&format!("tollgate {version} listening on http://127.0.0.1:")), "{line}");
    assert!(line.ends_with(", data in data, no API key: loopback only"), "{line}");
}

#[test]
fn a_key_of_the_environment_is_asked_for() {
    let folder = folder();
    let server = Server::start(folder.path(), &[("X_API_KEY", "letmein")], &[]);
    let refused = server.run(&["org", "list"]);
    assert!(refused.code == 3 && refused.err.contains("(unauthorized)"), "{refused:?}");
    let allowed =
        run(folder.path(), &[("TOLLGATE_API_KEY", "letmein")], &["org", "list", "--url", &server.url]);
    assert_eq!(allowed.code, 0, "{allowed:?}");
    let (_, said) = server.stop();
    assert!(said.iter().any(|line| line.ends_with("data in data")), "{said:?}");
    assert!(!said.concat().contains("letmein"), "{said:?}");
}

#[test]
fn json_logs_are_json_to_the_last_line() {
    let folder = folder();
    let server = Server::start(folder.path(), &[], &["--log-json", "--log-level", "debug"]);
    server.ok(&["plan", "set", "acme", "basic"]);
    let (ended, said) = server.stop();
    assert_eq!(ended.code(), Some(0), "{said:?}");
    let lines: Vec<Value> = said
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}")))
        .collect();
    let start =
        lines.iter().find(|line| line["message"].as_str().is_some_and(|text| text.contains("listening on")));
    let start = start.expect("the line at start");
    assert!(start["address"].as_str().is_some_and(|address| address.starts_with("127.0.0.1:")), "{start}");
}

#[test]
fn the_world_is_not_let_in_without_a_key() {
    let folder = folder();
    let refused = run(folder.path(), &[], &["serve", "--listen", "0.0.0.0:0", "--store", "memory:"]);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(
        refused.err.contains("error: refusing to listen on 0.0.0.0:0 without any API key"),
        "{refused:?}"
    );
}

#[test]
fn a_demo_shows_organizations_at_work() {
    let folder = folder();
    let server = Server::start(folder.path(), &[], &["--demo"]);
    let orgs = server.ok(&["org", "list", "--json"]).json();
    assert!(orgs["orgs"].as_array().is_some_and(|orgs| orgs.len() >= 3), "{orgs}");
    assert!(!folder.path().join("data").exists(), "the demo leaves the store alone");
    let (_, said) = server.stop();
    assert_eq!(
        said[..2],
        [
            "warning: the store of environment TOLLGATE_STORE is left alone: a demo has one of its own",
            "making a month of demo data in a temporary folder, which is deleted at the end"
        ],
        "before it is ready, what it does is said: {said:?}"
    );
    let refused = run(folder.path(), &[], &["serve", "--demo", "--store", "embedded:data"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.err.contains("a demo has a store of its own") && !folder.path().join("data").exists());
}

#[test]
fn shells_and_tools_get_their_descriptions() {
    let folder = folder();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ran = run(folder.path(), &[], &["completions", shell]);
        assert!(ran.code == 0 && ran.out.contains("top-up") && ran.out.contains("key-keep-days"), "{shell}");
    }
    let openapi = run(folder.path(), &[], &["openapi"]).json();
    assert!(openapi["paths"]["/v1/usage"].is_object(), "{openapi}");
    let version = run(folder.path(), &[], &["--version"]);
    assert_eq!(version.out, format!("tollgate {}\n", env!("CARGO_PKG_VERSION")));
    let help = run(folder.path(), &[], &["serve", "--help"]).out;
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for wanted in
        ["--listen <HOST:PORT>", "[env: TOLLGATE_LISTEN, PORT, SERVER_PORT]", "[default: 127.0.0.1:8080]"]
    {
        assert!(help.contains(wanted), "{wanted}: {help}");
    }
}

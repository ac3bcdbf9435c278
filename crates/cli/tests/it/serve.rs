//! `serve` and `config`: settings, the line at start, logs, the way down.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use rustix::process::Signal;
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
        ("REDIS_URL", "redis://u:p@h"),
    ];
    let shown = run(folder.path(), &environment, &["config", "--queue", "7"]);
    assert_eq!(line(&shown.out, "listen"), "0.0.0.0:9000 environment PORT");
    assert_eq!(line(&shown.out, "environment"), "staging file tollgate.toml");
    assert_eq!(line(&shown.out, "threads"), "3 environment TOLLGATE_THREADS");
    assert_eq!(line(&shown.out, "queue"), "7 flag --queue");
    assert_eq!(line(&shown.out, "api-key"), "*** environment TOLLGATE_API_KEY");
    assert!(shown.err.contains("warning: REDIS_URL is set") && !shown.err.contains("u:p"), "{shown:?}");

    let json = run(folder.path(), &environment, &["config", "--json"]).json();
    let settings = json["settings"].as_array().expect("settings");
    let port = settings.iter().find(|setting| setting["name"] == "listen").expect("listen");
    assert_eq!((&port["value"], &port["origin"]["name"]), (&"0.0.0.0:9000".into(), &"PORT".into()));
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
    let environment = [("TOLLGATE_LISTN", "127.0.0.1:1")];
    let server = Server::start(folder.path(), &environment, &["--log-json", "--log-level", "debug"]);
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
    let line = |says: &str| {
        let line = lines.iter().find(|line| line["message"].as_str().is_some_and(|text| text.contains(says)));
        line.unwrap_or_else(|| panic!("nothing says '{says}': {said:?}"))
    };
    assert_eq!(line("TOLLGATE_LISTN is set")["level"], "WARN");
    let request = lines.iter().find(|line| line["route"] == "/v1/orgs/{org}/plan").expect("the request");
    assert!(request["micros"].is_u64() && request["status"] == 200, "{request}");
    // What the shutdown waits for.
    assert_eq!(line("shutting down")["signal"], "SIGTERM");
    assert!(line("no connection is accepted any more")["connections"].is_u64());
    assert!(line("every connection has ended")["seconds"].is_f64());
    let images = line("the last images are in the tables");
    assert!(images["organizations"].is_u64() && images["seconds"].is_f64(), "{images}");
    let last = line("the queue is answered and the store closed");
    assert!(last["queue"] == 0 && last["seconds"].is_f64(), "{last}");
}

#[test]
fn requests_that_went_well_are_no_lines_unless_asked_for() {
    for (more, wanted) in
        [(&[][..], &[404][..]), (&["--log-level", "info,tollgate::request=debug"], &[200, 404])]
    {
        let folder = folder();
        let server = Server::start(folder.path(), &[], &[&["--log-json"], more].concat());
        server.ok(&["plan", "set", "acme", "basic"]);
        assert_ne!(server.run(&["org", "show", "nobody"]).code, 0);
        let (_, said) = server.stop();
        let lines = said.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let statuses: Vec<Value> = lines.filter_map(|line| line.get("status").cloned()).collect();
        assert_eq!(statuses, wanted, "{said:?}");
    }
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
    let trusted = Server::start_on("0.0.0.0:0", folder.path(), &[], &["--trusted-network"]);
    trusted.ok(&["org", "list"]);
    let (_, said) = trusted.stop();
    assert!(
        said.iter().any(|line| line.contains("WARN") && line.contains("the network is trusted")),
        "{said:?}"
    );
    let start = said.iter().find(|line| line.contains("listening on")).expect("the line at start");
    assert!(start.ends_with(", no API key: everybody who can reach it may do everything"), "{start}");
}

#[cfg(feature = "otlp")]
#[test]
fn a_collector_that_wants_another_protocol_is_refused() {
    let folder = folder();
    for name in ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] {
        let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317"), (name, "grpc")];
        let refused =
            run(folder.path(), &environment, &["serve", "--listen", "127.0.0.1:0", "--store", "memory:"]);
        assert_eq!(refused.code, 3, "{refused:?}");
        let wanted = format!("{name} is 'grpc': only http/protobuf is spoken here");
        assert!(refused.err.contains(&wanted), "{refused:?}");
    }
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
            "making two months of demo data in a temporary folder, which is deleted at the end"
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

#[test]
fn a_new_certificate_is_used_from_the_next_connection_on() {
    let folder = folder();
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).expect("written");
    let certify = |name: &str| {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        write(name, made.cert.pem());
        write("cert.pem", made.cert.pem());
        write("key.pem", made.signing_key.serialize_pem());
    };
    certify("first.pem");
    let mut server = Server::start(folder.path(), &[], &["--tls-cert", "cert.pem", "--tls-key", "key.pem"]);
    server.ok(&["health", "--ca-file", "first.pem"]);

    certify("second.pem");
    server.signal(Signal::HUP);
    server.wait_for(|line| line.contains("new connections use the certificate").then_some(()));
    server.ok(&["health", "--ca-file", "second.pem"]);
    assert_ne!(
        server.run(&["health", "--ca-file", "first.pem"]).code,
        0,
        "the first one is not used any more"
    );

    let first = std::fs::read_to_string(folder.path().join("first.pem")).expect("read");
    // Not a certificate, and one that the key does not belong to.
    for (certificate, says) in [("nonsense", "there is no certificate in it"), (&first, "cannot be used")] {
        write("cert.pem", certificate.to_owned());
        server.signal(Signal::HUP);
        let line = server.wait_for(|line| line.contains("ERROR").then(|| line.to_owned()));
        assert!(line.contains("stays in use") && line.contains(says), "{line}");
        server.ok(&["health", "--ca-file", "second.pem"]);
    }
    let (ended, said) = server.stop();
    assert_eq!(ended.code(), Some(0), "{said:?}");
}

#[test]
fn without_tls_a_hang_up_ends_nothing() {
    let folder = folder();
    let mut server = Server::start(folder.path(), &[], &[]);
    server.signal(Signal::HUP);
    server.wait_for(|line| line.contains("there is no certificate to read again").then_some(()));
    server.ok(&["health"]);
}

#[test]
fn connections_take_no_file_that_the_store_needs() {
    let folder = folder();
    let files = |server: &Server| {
        let metrics = server.ok(&["metrics"]).out;
        let files = metrics.lines().find_map(|line| line.strip_prefix("process_max_fds "));
        files.expect("the limit on open files").parse::<u64>().expect("a number")
    };
    // What the system lets it have, it takes.
    let server = Server::start_within("-S -n 64", folder.path(), &["--connections-max", "300"]);
    assert!(files(&server) > 300, "{}", files(&server));
    assert!(server.stop().0.success());

    let small = ["--segment-bytes", "65536", "--threads", "1"];
    let server = Server::start_within("-n 128", folder.path(), &small);
    assert_eq!(files(&server), 128);
    server.ok(&["plan", "set", "acme", "ultimate"]);
    let address = server.url.trim_start_matches("http://");
    let before = TcpStream::connect(address).expect("it connects");
    // Twice as many as there may be files: the first of them are accepted.
    let idle: Vec<TcpStream> = (0..256).map(|_| TcpStream::connect(address).expect("it connects")).collect();
    let record = |number| format!(r#"{{"org":"acme","meter":"reports","key":"k-{number}"}}"#);
    let records = (0..1_000).map(record).collect::<Vec<_>>().join(",");
    let mut wire = BufReader::new(before);
    for _ in 0..3 {
        // As many bytes as need new segments.
        let head = "POST /v1/usage/batch HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
        let request = format!("{head}content-length: {}\r\n\r\n[{records}]", records.len() + 2);
        wire.get_mut().write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        while !answer.contains("results") {
            assert!(wire.read_line(&mut answer).expect("an answer") > 0, "{answer}");
        }
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    drop(idle);
    let (ended, said) = server.stop();
    assert!(ended.success(), "{said:?}");
    assert!(said.iter().any(|line| line.contains("leaves no room for more")), "{said:?}");
}

//! Exit codes: 0 yes, 1 no, 2 wrong use, 3 unreachable, refused or failed; for each command.

use std::net::TcpListener;

use crate::server::{Server, folder, run};

/// A command line of each command that talks to a server, as it succeeds.
const COMMANDS: &[&str] = &[
    "org set acme",
    "plan set acme basic",
    "org list",
    "org show acme",
    "limit set acme 50",
    "limit list acme",
    "limit remove acme",
    "plan list",
    "plan show acme",
    "plan leave acme --at next_month",
    "plan unschedule acme",
    "top-up acme 5 --key t-1",
    "top-up list acme",
    "top-up void acme --key t-1",
    "balance acme",
    "users acme",
    "usage acme",
    "bill acme",
    "bill list acme",
    "bill --all --month 2020-01",
    "bill close --all --month 2020-01",
    "whatif --catalog catalog.toml --month 2020-01",
    "use acme --key k",
    "check acme",
    "reverse acme k",
    "import usage.ndjson",
    "export --org acme",
    "export --all",
    "ledger acme",
    "ledger acme --entry 1",
    "notices",
    "catalog show",
    "catalog versions",
    "catalog diff catalog.toml",
    "catalog apply catalog.toml",
    "key list",
    "health",
    "metrics",
];

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[test]
fn each_command_succeeds_with_0_and_fails_with_3_where_no_server_is() {
    let folder = folder();
    let server = Server::start(folder.path(), &[], &[]);
    let catalog = server.ok(&["catalog", "show"]).out;
    std::fs::write(folder.path().join("catalog.toml"), catalog).expect("written");
    let record = r#"{"org":"acme","meter":"reports","key":"i"}"#;
    std::fs::write(folder.path().join("usage.ndjson"), record).expect("written");
    // A port that was free a moment ago.
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let nowhere = format!("http://{closed}");
    for line in COMMANDS {
        server.ok(&words(line));
        let ran = run(folder.path(), &[("TOLLGATE_URL", &nowhere)], &words(line));
        assert_eq!(ran.code, 3, "{line}: {ran:?}");
        assert!(ran.err.contains("the connection is refused"), "{line}: {ran:?}");
        let ran = server.run(&[&words(line)[..], &["--nonsense"]].concat());
        assert_eq!(ran.code, 2, "{line}: {ran:?}");
    }
}

#[test]
fn a_no_a_wrong_value_and_a_refusal_differ() {
    let folder = folder();
    let server = Server::start(folder.path(), &[], &[]);
    server.ok(&["plan", "set", "acme", "lite"]);
    server.ok(&["org", "set", "planless"]);
    std::fs::write(folder.path().join("wrong.toml"), "color = 1").expect("written");
    std::fs::write(folder.path().join("some.ndjson"), "nonsense\n").expect("written");
    for (line, code) in [
        // No.
        ("use acme --quantity 21", 1),
        ("check acme --quantity 21", 1),
        ("use planless", 1),
        ("check planless", 1),
        ("catalog check wrong.toml", 1),
        // Wrong values.
        ("use acme --quantity -1", 2),
        ("use acme --quantity many", 2),
        ("check acme --quantity 0", 2),
        ("top-up acme 0", 2),
        ("org set acme --time-zone Mars/Base", 2),
        ("org list --cursor nonsense", 2),
        ("usage acme --group-by color", 2),
        ("bill acme --month 13", 2),
        ("limit set acme 0", 2),
        // Refused.
        ("balance nobody", 3),
        ("use nobody", 3),
        ("use acme --meter nothing", 3),
        ("plan set acme gold", 3),
        ("reverse acme never", 3),
        ("ledger acme --entry 99", 3),
        ("bill close acme --month 2999-01", 3),
        ("catalog apply wrong.toml", 3),
        ("catalog diff wrong.toml", 3),
        ("key revoke nobody", 3),
        ("import some.ndjson", 3),
        // Files.
        ("import none.ndjson", 3),
        ("catalog check none.toml", 3),
        ("balance acme --ca-file none.pem", 3),
    ] {
        let ran = server.run(&words(line));
        assert_eq!(ran.code, code, "{line}: {ran:?}");
    }
    // An unknown organization is no answer of the gate, and neither is a key that may not ask.
    server.ok(&["key", "create", "ops", "--role", "admin"]);
    assert_eq!(server.run(&["use", "acme"]).code, 3, "unauthorized");
}

//! Lists: pages, cursors, and all of it.

use crate::server::{Server, folder};

fn ids(page: &serde_json::Value) -> Vec<String> {
    let orgs = page["orgs"].as_array().expect("organizations");
    orgs.iter().map(|org| org["org"].as_str().expect("an id").to_owned()).collect()
}

#[test]
fn pages_follow_one_another() {
    let folder = folder();
    let server = Server::start(folder.path(), &[], &[]);
    let all: Vec<String> = (1..=7).map(|number| format!("org-{number}")).collect();
    for org in &all {
        server.ok(&["plan", "set", org, "basic"]);
    }
    let first = server.ok(&["org", "list", "--limit", "3", "--json"]).json();
    assert_eq!(ids(&first), all[..3]);
    let cursor = first["next"].as_str().expect("there is more");
    let second = server.ok(&["org", "list", "--limit", "3", "--cursor", cursor, "--json"]).json();
    assert_eq!(ids(&second), all[3..6]);
    let table = server.ok(&["org", "list", "--limit", "3"]).out;
    assert!(table.ends_with(&format!("there is more: --cursor {cursor}, or --all\n")), "{table}");

    let whole = server.ok(&["org", "list", "--limit", "3", "--all", "--json"]).json();
    assert_eq!(ids(&whole), all);
    assert!(whole["next"].is_null(), "{whole}");
    let rest = server.ok(&["org", "list", "--limit", "2", "--all", "--cursor", cursor, "--json"]).json();
    assert_eq!(ids(&rest), all[3..]);
    let table = server.ok(&["org", "list", "--limit", "3", "--all"]).out;
    assert_eq!(table.lines().count(), 8, "{table}");
    assert!(!table.contains("there is more"), "{table}");
}

#[test]
fn every_digit_survives_the_putting_together() {
    let folder = folder();
    let server = Server::start(folder.path(), &[], &[]);
    server.ok(&["plan", "set", "acme", "basic"]);
    let amounts = ["123456789012345.000000001", "0.1", "99999999999999.999999999"];
    for amount in amounts {
        server.ok(&["top-up", "acme", amount]);
    }
    let whole = server.ok(&["ledger", "acme", "--all", "--limit", "1", "--json"]).out;
    for amount in amounts {
        assert!(whole.contains(&format!(":{amount},")), "{amount} is not in {whole}");
    }
}

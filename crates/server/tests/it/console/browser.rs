//! The console and the portal in a real browser, with names that would break a page if they could.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::{ADMIN, furnish, hook, keyed, percent};
use crate::server::TestServer;
use crate::tools::{program, run, tool};

/// Makes an organization, users, a hold, a top-up and a channel with names that would break a page if they could; gives the
/// pages that show them.
fn hostile_pages(server: &TestServer) -> Vec<String> {
    let mut client = server.client().with_key(ADMIN);
    let names = [
        "\"><img src=x onerror=alert(1)></td></table><script>alert(1)</script>".to_owned(),
        "\u{202e}\u{2067}\u{5e9}\u{5dc}\u{5d5}\u{5dd} gnol yrev".to_owned(),
        "\u{5bec}".repeat(128),
        "W".repeat(128),
    ];
    let mut pages =
        vec!["/console/orgs".to_owned(), "/console/channels".to_owned(), "/console/notices".to_owned()];
    for (number, name) in names.iter().enumerate() {
        let mut orgs = vec![format!("hostile-{number}")];
        // What is no id is refused, and is a name only.
        if client.put(&format!("/v1/orgs/{}", percent(name)), json!({"name": name})).status == 200 {
            orgs.push(name.clone());
        }
        for org in orgs {
            furnish(&mut client, &org);
            let path = format!("/v1/orgs/{}", percent(&org));
            // A name, a reason, a user or a key may be refused as an id may.
            let _ = client.put(&path, json!({"name": name}));
            let top_up = json!({"meter": "reports", "amount": 3, "reason": name});
            let _ = client.post(&format!("{path}/top-ups"), top_up);
            let limit =
                json!({"meter": "reports", "scope": "path", "path": "*", "window": "day", "amount": 50});
            client.put(&format!("{path}/limits"), limit).ok();
            for (route, key) in [("/v1/usage", "u"), ("/v1/holds", "h")] {
                let body =
                    json!({"org": org, "user": name, "meter": "reports", "key": format!("{key}{name}")});
                let mut below = body.clone();
                below["path"] = json!(name);
                below["key"] = json!(format!("{key}p{name}"));
                let _ = client.post(route, body);
                let _ = client.post(route, below);
            }
            for page in ["", "/users", "/paths", "/holds", "/ledger", "/bills"] {
                pages.push(format!("/console/orgs/{}{page}", percent(&org)));
            }
        }
        let channel = json!({"name": name, "kind": "webhook", "url": "http://127.0.0.1:9/", "orgs": [format!("hostile-{number}")]});
        let made = client.post("/v1/channels", channel);
        if made.status == 201 {
            pages.push(format!("/console/channels/{}", made.json()["id"].as_str().expect("an id")));
        }
    }
    assert!(pages.len() > 30, "{pages:#?}");
    pages
}

/// Every page and every form in a real browser, with scripts and without: they work by the mouse, and what people do most by the
/// keyboard alone; axe finds nothing at the width of a desk and of a phone, light and dark; no page is wider than its window,
/// whatever is called how.
#[test]
fn chromium_drives_the_console_and_axe_finds_nothing() {
    let server = keyed();
    let mut client = server.client().with_key(ADMIN);
    furnish(&mut client, "acme");
    for key in ["run-2", "run-3"] {
        client.post("/v1/holds", json!({"org": "acme", "user": "ada", "meter": "reports", "key": key})).ok();
    }
    let people = json!({
        "name": "people", "kind": "slack", "url": "http://127.0.0.1:9/",
        "quiet_hours": {"from": "22:00", "to": "07:00"}, "digest_at": "09:00", "time_zone": "Europe/Berlin",
        "notices": ["limit_reached", "bill_closed"], "orgs": ["acme", "beta"], "plans": ["basic"], "meters": ["reports"],
    });
    let people = client.post("/v1/channels", people).json();
    let people = format!("/console/channels/{}", people["id"].as_str().expect("an id"));
    // Limits on paths are in the table of an organization.
    for path in ["research", "research/*", "\u{5bec}/\u{5bec}"] {
        let limit = json!({"meter": "reports", "scope": "path", "path": path, "window": "day", "amount": 5});
        client.put("/v1/orgs/acme/limits", limit).ok();
    }
    let limit = json!({"meter": "reports", "scope": "path", "path": "*", "window": "day", "amount": 50});
    client.put("/v1/orgs/acme/limits", limit).ok();
    for (path, key) in [("research/a", "p-1"), ("sales", "p-2")] {
        let usage = json!({"org": "acme", "path": path, "meter": "reports", "key": key});
        client.post("/v1/usage", usage).ok();
    }
    let mut node = Command::new(program("node"));
    node.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/console/drive.cjs"))
        .args([&format!("http://localhost:{}", server.address().port()), ADMIN, &people, &hook(&server)])
        .args(hostile_pages(&server))
        .env("NODE_PATH", tool("browser").join("node_modules"))
        .env("CHROMIUM", program("chromium"));
    let said = run(node);
    let wrong: Vec<String> = serde_json::from_str(said.trim()).expect("what is wrong");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

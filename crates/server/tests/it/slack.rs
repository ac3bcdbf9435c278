//! Slack: every kind of message, with the most hostile and longest names, by what Slack documents.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tollgate_domain::NoticeKind;
use tollgate_server::Reach;

use crate::channels::{channel, until};
use crate::client::{Ask, Client};
use crate::receiver::Receiver;
use crate::server::TestServer;
use crate::tools::tool;

/// Texts of all blocks of a message: undocumented, but Slack refuses more with `msg_blocks_too_long`.
const BLOCK_CHARS_MAX: usize = 12_000;

/// What Slack would read as markup, a mention or a link, words turned around, and wide characters, to some length.
fn hostile(length: usize) -> String {
    let beginning = "<!channel> *b* `c` <https://evil.example|click> @here &amp; \u{202E}txt ";
    beginning.chars().chain(std::iter::repeat('界')).take(length).collect()
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// What is wrong with each of some messages, by the schema of what Slack documents.
fn faults(messages: &[Value]) -> Vec<Vec<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    // The SDK of MCP comes with a validator.
    let mut python = Command::new(tool("mcp-client").join("bin/python"));
    python.arg(folder.join("slack_check.py")).arg(folder.join("slack.schema.json"));
    let mut python = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the validator runs");
    let mut input = python.stdin.take().expect("an input");
    let lines: String = messages.iter().map(|message| format!("{message}\n")).collect();
    let writing = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = python.wait_with_output().expect("it ends");
    writing.join().expect("no panic").expect("it reads");
    assert!(output.status.success(), "{}", output.status);
    let said = String::from_utf8_lossy(&output.stdout);
    said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn the_schema_of_slack_refuses_what_slack_refuses() {
    let text = |chars: usize| json!({"type": "plain_text", "text": "x".repeat(chars)});
    let section = |chars: usize| json!({"type": "section", "text": text(chars)});
    let header = |chars: usize| json!({"type": "header", "text": text(chars)});
    let blocks = |blocks: Vec<Value>| json!({"text": "x", "blocks": blocks});
    for (message, is_right) in [
        (json!({"text": "x"}), true),
        (json!({"text": ""}), false),
        (json!({}), false),
        (json!({"text": "x", "channel": "#other"}), false),
        (blocks(vec![section(3_000)]), true),
        (blocks(vec![section(3_001)]), false),
        (blocks(vec![section(0)]), false),
        (blocks(vec![json!({"type": "section"})]), false),
        (blocks(vec![json!({"type": "section", "text": "plain"})]), false),
        (blocks(vec![header(150)]), true),
        (blocks(vec![header(151)]), false),
        (blocks(vec![json!({"type": "context", "elements": [text(1)]})]), true),
        (blocks(vec![json!({"type": "context", "elements": vec![text(1); 11]})]), false),
        (blocks(vec![json!({"type": "section", "fields": [text(2_001)]})]), false),
        (blocks(vec![json!({"type": "pigeon"})]), false),
        (blocks(vec![section(1); 50]), true),
        (blocks(vec![section(1); 51]), false),
    ] {
        let found = faults(std::slice::from_ref(&message)).remove(0);
        assert_eq!(found.is_empty(), is_right, "{message}: {found:?}");
    }
}

/// Causes every kind of notice.
fn cause_all(server: &TestServer, client: &mut Client, names: [&str; 4]) {
    let [org, user, meter, path] = names;
    let of = |which: &str| format!("/v1/orgs/{}", encoded(&format!("{which}{org}")));
    let usage = |which: &str, key: &str, quantity: u32| {
        let org: String = format!("{which}{org}");
        Ask::new("POST", "/v1/usage").json(json!({
            "org": org, "user": user, "path": path, "meter": meter, "quantity": quantity, "key": key,
        }))
    };
    client.put(&format!("{}/plan", of("b")), json!({"plan": "basic"})).ok();
    server.at("2026-12-10T00:00:00Z");
    client.post(&format!("{}/bill/close", of("b")), json!({"month": "2026-11"})).ok();
    // Without a history, so that its pace is that of today.
    client.put(&format!("{}/plan", of("a")), json!({"plan": "basic"})).ok();
    let limit = |scope: &str, path: Option<&str>| {
        let mut limit = json!({"meter": meter, "scope": scope, "window": "month", "amount": 40});
        if let Some(path) = path {
            limit["path"] = path.into();
        }
        limit
    };
    for limit in [limit("user", None), limit("path", Some(path))] {
        client.put(&format!("{}/limits", of("a")), limit).ok();
    }
    client.ask(&usage("a", "k-1", 40)).ok();
    assert_eq!(client.ask(&usage("a", "k-2", 1)).status, 403);
    client.post(&format!("{}/top-ups", of("a")), json!({"meter": meter, "amount": 5})).ok();
    let alert = json!({
        "event": "budget_crossed", "event_group": "key", "spend": 10, "max_budget": 10,
        "team_id": format!("a{org}"), "user_id": user, "key_alias": user,
    });
    assert_eq!(client.post("/litellm/budgets", alert).ok()["told"], true);
    client.put(&format!("{}/plan", of("t")), json!({"plan": "trial"})).ok();
    for (key, quantity, status) in [("k-1", 8, 200), ("k-2", 2, 200), ("k-3", 1, 402)] {
        assert_eq!(client.ask(&usage("t", key, quantity)).status, status);
    }
}

#[test]
fn every_message_is_as_slack_documents_it_whatever_the_names() {
    let slack = Receiver::start();
    let server = TestServer::with(|settings| {
        settings.webhook_reach = Reach::Anywhere;
        settings.notice_interval = Duration::from_millis(20);
    });
    let mut client = server.client();
    let (org, user, meter) = (hostile(127), hostile(128), hostile(128));
    let path = format!("{}/{}", "<!here>*".repeat(12), "界".repeat(103)).replace('*', "_");
    let catalog = format!(
        "currency = \"EUR\"\n[[meters]]\nid = '{meter}'\nname = \"M\"\nunit = \"u\"\n\
         [[plans]]\nid = \"basic\"\nname = \"B\"\nallowances = [{{ meter = '{meter}', amount = 100 }}]\n\
         prices = [{{ model = \"flat\", flat_fee = 1 }}]\n\
         [[plans]]\nid = \"trial\"\nname = \"T\"\ntrial_days = 14\nallowances = [{{ meter = '{meter}', amount = 10 }}]\n"
    );
    client.ask(&Ask::new("PUT", "/v1/catalog").toml(catalog)).ok();
    let at_once = json!({"name": hostile(256), "kind": "slack", "url": slack.url("/now")});
    let (id, _) = channel(&mut client, at_once);
    let daily =
        json!({"name": hostile(256), "kind": "slack", "url": slack.url("/daily"), "digest_at": "12:00"});
    let (daily, _) = channel(&mut client, daily);
    let gone = Receiver::start();
    gone.answers(410);
    channel(&mut client, json!({"name": hostile(256), "kind": "webhook", "url": gone.url("/")}));
    client.post(&format!("/v1/channels/{id}/test"), json!({})).ok();
    cause_all(&server, &mut client, [&org, &user, &meter, &path]);
    // As many as no digest has room for.
    let top_ups = format!("/v1/orgs/{}/top-ups", encoded(&format!("a{org}")));
    for number in 0..60 {
        let top_up = json!({"meter": meter, "amount": 1, "key": format!("t-{number}")});
        client.post(&top_ups, top_up).ok();
    }
    until(&mut client, &format!("/v1/channels/{daily}"), |shown| shown["waiting"].as_u64() > Some(60));
    server.at("2026-12-11T12:00:00Z");
    let kind_of = |message: &Value| {
        let about = message["blocks"].as_array().and_then(|blocks| blocks.last()).expect("blocks");
        let about = about["elements"][0]["text"].as_str().expect("a text");
        about.split(' ').next().unwrap_or_default().to_owned()
    };
    let mut wanted: BTreeSet<String> =
        NoticeKind::NAMES.iter().map(|kind| format!("notice.{kind}")).collect();
    wanted.extend(["notice.digest", "channel.test", "channel.disabled"].map(str::to_owned));
    let mut messages = Vec::new();
    while !wanted.is_empty() {
        let message = slack.next().json();
        wanted.remove(&kind_of(&message));
        messages.push(message);
    }
    for (message, found) in messages.iter().zip(faults(&messages)) {
        assert_eq!(found, Vec::<String>::new(), "{message}");
        let blocks = message["blocks"].as_array().expect("blocks");
        let shown = blocks.iter().filter_map(|block| block["text"]["text"].as_str());
        let chars: usize = shown.map(|text| text.chars().count()).sum();
        assert!(chars <= BLOCK_CHARS_MAX, "{chars} characters: {message}");
        // No name is markup: not in the blocks, which are plain, and not in the text, which is escaped.
        let text = message["text"].as_str().expect("a text");
        assert!(!text.contains(['<', '>']), "{text}");
        assert!(!message["blocks"].to_string().contains("mrkdwn"), "{message}");
    }
    let digest = messages.iter().find(|message| kind_of(message) == "notice.digest").expect("a digest");
    let digest = digest["blocks"].to_string();
    assert!(digest.contains(" more, which the console lists"), "{digest}");
}

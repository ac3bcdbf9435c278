//! Shutting down under load: nothing answered is undone, nothing is counted without an answer.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{Ask, Client, connect};
use crate::server::TestServer;

const CLIENTS: usize = 64;

#[test]
fn what_was_answered_is_what_a_reopened_store_has() {
    let mut server = TestServer::start();
    let mut client = server.client();
    for org in 0..8 {
        client.put(&format!("/v1/orgs/org-{org}/plan"), json!({"plan": "trial"})).ok();
        client.put(&format!("/v1/orgs/org-{org}/plan"), json!({"plan": "ultimate"})).ok();
        let pot = json!({"meter": "reports", "amount": 1_000_000, "expires_at": "never"});
        client.post(&format!("/v1/orgs/org-{org}/top-ups"), pot).ok();
    }
    let answered = AtomicUsize::new(0);
    let address = server.address();
    let counted: BTreeSet<String> = thread::scope(|scope| {
        let threads: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let answered = &answered;
                scope.spawn(move || use_until_closed(&mut Client::new(address), number, answered))
            })
            .collect();
        wait_until("the clients are under way", || answered.load(Ordering::Relaxed) > 20 * CLIENTS);
        server.stop();
        threads.into_iter().flat_map(|thread| thread.join().expect("a client ends well")).collect()
    });
    assert!(connect(address).is_err(), "nobody listens any more");

    server.restart();
    let mut client = server.client();
    let mut found = BTreeSet::new();
    for org in 0..8 {
        let mut cursor = String::new();
        loop {
            let page = client.get(&format!("/v1/orgs/org-{org}/ledger?order=oldest&limit=1000{cursor}")).ok();
            for entry in page["entries"].as_array().expect("entries") {
                if entry["kind"] == "used" {
                    let key = entry["key"].as_str().expect("a key").to_owned();
                    assert!(found.insert(format!("org-{org}/{key}")), "{key} was counted twice");
                }
            }
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        let used =
            client.get(&format!("/v1/orgs/org-{org}/balance")).ok()["meters"]["reports"]["used"].clone();
        let own = found.iter().filter(|key| key.starts_with(&format!("org-{org}/"))).count();
        assert_eq!(used, own, "the balance of org-{org} is that of its ledger");
    }
    let lost: Vec<_> = counted.difference(&found).collect();
    let unasked: Vec<_> = found.difference(&counted).collect();
    assert!(lost.is_empty(), "answered and lost: {lost:?}");
    assert!(unasked.is_empty(), "counted and not answered: {unasked:?}");
}

/// Uses until the server ends the connection; gives what was answered with yes.
fn use_until_closed(client: &mut Client, number: usize, answered: &AtomicUsize) -> Vec<String> {
    let mut counted = Vec::new();
    for attempt in 0.. {
        let (org, key) = (format!("org-{}", (number + attempt) % 8), format!("{number}-{attempt}"));
        let usage = json!({"org": org, "meter": "reports", "key": key});
        match client.try_ask(&Ask::new("POST", "/v1/usage").json(usage)) {
            Ok(reply) if reply.status == 200 => {
                counted.push(format!("{org}/{key}"));
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Ok(reply) => reply.is_problem(503, "shutting_down", None),
            Err(error) => {
                let kinds = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
                assert!(kinds.contains(&error.kind()), "{error}");
                break;
            }
        }
    }
    counted
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "30 s are over before {what}");
        thread::yield_now();
    }
}

#[test]
fn a_request_that_has_begun_is_answered() {
    let mut server = TestServer::start();
    let mut begun = server.client();
    let mut idle = server.client();
    idle.put("/v1/orgs/acme/plan", json!({"plan": "lite"})).ok();
    begun.get("/health").ok();
    let usage = json!({"org": "acme", "meter": "reports", "key": "begun"}).to_string();
    let bytes = Ask::new("POST", "/v1/usage").body(usage).bytes(None);
    let (first, rest) = bytes.split_at(bytes.len() - 10);
    begun.send_raw(first).expect("sent");
    wait_until_begun(&mut idle);
    let address = server.address();
    thread::scope(|scope| {
        scope.spawn(|| server.stop());
        wait_until("the server stops listening", || connect(address).is_err());
        assert!(idle.is_closed(), "an idle connection is closed");
        begun.send_raw(rest).expect("sent");
        assert_eq!(begun.read().expect("an answer").ok()["remaining"], 19);
        assert!(begun.is_closed());
    });
    server.restart();
    assert_eq!(server.client().get("/v1/orgs/acme/balance").ok()["meters"]["reports"]["used"], 1);
}

/// The server has read the head of the other request when it has answered enough of these, sent later.
fn wait_until_begun(client: &mut Client) {
    for _ in 0..50 {
        client.get("/health").ok();
    }
}

#[test]
fn a_request_that_never_ends_does_not_hold_up_the_end() {
    let mut server = TestServer::with(|settings| settings.shutdown_grace = Duration::from_millis(300));
    let mut stuck = server.client();
    let usage = json!({"org": "acme", "meter": "reports", "key": "stuck"}).to_string();
    let bytes = Ask::new("POST", "/v1/usage").body(usage).bytes(None);
    stuck.send_raw(&bytes[..bytes.len() - 10]).expect("sent");
    wait_until_begun(&mut server.client());
    let began = Instant::now();
    server.stop();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "it took {took:?} with a grace of 0.3 s");
}

//! Who reads much holds up nobody at the gate.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::Client;
use crate::server::TestServer;

const CATALOG: &str = r#"
[[meters]]
id = "reports"
name = "Reports"
unit = "report"
[[plans]]
id = "basic"
name = "Basic"
allowances = [{ meter = "reports", amount = 7 }]
"#;

/// An org whose ledger takes a while to go through.
fn with_a_long_ledger(client: &mut Client, usages: usize) {
    client.put("/v1/orgs/acme/plan", json!({"plan": "ultimate"})).ok();
    let record =
        |number| json!({"org": "acme", "user": "ada", "meter": "reports", "key": format!("b{number}")});
    let records: Vec<Value> = (0..usages).map(record).collect();
    let counted = client.post("/v1/usage/batch", Value::Array(records)).ok();
    assert_eq!(counted["counted"], usages);
}

#[test]
fn the_gate_answers_while_every_reader_goes_through_all_there_is() {
    let server = TestServer::start();
    let mut client = server.client();
    with_a_long_ledger(&mut client, 1_500);
    client.put("/v1/orgs/globex/plan", json!({"plan": "ultimate"})).ok();
    // As many as the server has threads, and one more.
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let mut client = server.client();
            thread::spawn(move || {
                let began = Instant::now();
                // Where too many wait for the same, one is refused.
                while client.post("/v1/whatif", json!({"month": "2026-11", "catalog": CATALOG})).status == 503
                {
                }
                began.elapsed()
            })
        })
        .collect();
    let (mut asked, mut longest_wait) = (0, Duration::ZERO);
    while readers.iter().any(|reader| !reader.is_finished()) {
        let began = Instant::now();
        let usage = json!({"org": "globex", "meter": "reports", "key": format!("g{asked}")});
        let status = client.post("/v1/usage", usage).status;
        assert!(matches!(status, 200 | 402), "{status}");
        client.get("/ready").ok();
        longest_wait = longest_wait.max(began.elapsed());
        asked += 1;
    }
    let reads = readers.into_iter().map(|reader| reader.join().expect("it is answered"));
    let longest_read = reads.max().expect("three");
    // Before, none was answered until a read had come to its end.
    assert!(longest_wait < longest_read / 2, "{longest_wait:?} beside reads of {longest_read:?}");
    assert!(asked >= 10, "{asked} were answered beside reads of {longest_read:?}");
}

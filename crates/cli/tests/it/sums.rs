//! Sums may have more digits than a quantity, and a reply that this version cannot read hides nothing.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;

use crate::server::{Server, folder, run};

#[test]
fn the_largest_top_ups_twice_break_no_command() {
    let folder = folder();
    let server = Server::start(folder.path(), &[], &[]);
    for org in ["acme", "other"] {
        server.ok(&["plan", "set", org, "basic"]);
    }
    server.ok(&["top-up", "acme", "999999999999999"]);
    let out = server.ok(&["top-up", "acme", "999999999999999"]).out;
    assert!(out.contains("2000000000000098"), "{out}");
    let out = server.ok(&["use", "acme", "--key", "k-1"]).out;
    assert!(out.contains("remaining  2000000000000097"), "{out}");
    let list = server.ok(&["org", "list"]).out;
    assert!(list.contains("2000000000000097") && list.contains("other"), "{list}");
    for command in ["check", "balance", "ledger", "users"] {
        server.ok(&[command, "acme"]);
    }
    server.ok(&["reverse", "acme", "k-1"]);
}

/// Answers every request on a port of its own with a body; returns the address.
fn stranger(body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.expect("a connection"));
            let mut length = 0;
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).expect("a line");
                let line = line.trim().to_ascii_lowercase();
                if let Some(bytes) = line.strip_prefix("content-length: ") {
                    length = bytes.parse().expect("a number");
                }
                if line.is_empty() {
                    break;
                }
            }
            std::io::copy(&mut std::io::Read::take(&mut stream, length), &mut std::io::sink())
                .expect("a body");
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
            write!(stream.get_mut(), "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
                .expect("written");
        }
    });
    url
}

#[test]
fn a_row_that_cannot_be_read_hides_no_other() {
    let folder = folder();
    let row = |org: &str, used: &str| {
        format!(
            r#"{{"org":"{org}","name":null,"time_zone":"UTC","plan":"basic","trial":null,"version":1,"created_at":
            "2026-11-21T00:00:00Z","meters":{{"reports":{{"used":{used},"remaining":1,"projected":null}}}}}}"#
        )
    };
    let page =
        format!(r#"{{"orgs":[{},{},{}],"next":null}}"#, row("a", "7"), row("b", "\"many\""), row("c", "8"));
    let url = stranger(Box::leak(page.into_boxed_str()));
    let ran = run(folder.path(), &[], &["org", "list", "--url", &url]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines: Vec<&str> = ran.out.lines().collect();
    assert!(lines[1].starts_with("a ") && lines[2].starts_with("c "), "{ran:?}");
    assert!(lines[4].starts_with(r#"this version cannot show: {"org":"b""#), "{ran:?}");
}

#[test]
fn a_use_that_was_counted_is_no_failure_whatever_the_reply_looks_like() {
    let folder = folder();
    let reply = r#"{"allowed":true,"quantity":"of another version"}"#;
    let url = stranger(reply);
    let ran = run(folder.path(), &[], &["use", "acme", "--url", &url]);
    assert_eq!((ran.code, ran.out.trim()), (0, reply), "{ran:?}");
    let ran = run(folder.path(), &[], &["check", "acme", "--url", &url]);
    assert_eq!((ran.code, ran.out.trim()), (0, reply), "{ran:?}");
}

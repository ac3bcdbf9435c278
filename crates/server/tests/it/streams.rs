//! Streams of events: what happens is told as it happens, to whoever may hear it, and from where it was left off.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};
use tollgate_server::Secret;

use crate::client::{Client, connect};
use crate::server::TestServer;

/// A stream that is open.
struct Listener {
    reader: BufReader<TcpStream>,
    /// What has come in chunks and is not told yet.
    text: String,
}

/// An event.
#[derive(Debug)]
struct Event {
    id: Option<String>,
    name: String,
    data: Value,
}

impl Listener {
    /// Opens a stream; gives its status, too.
    fn open(server: &TestServer, path: &str, headers: &[(&str, &str)]) -> (u16, Self) {
        let mut stream = connect(server.address()).expect("it connects");
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let ask = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
        stream.write_all(ask.as_bytes()).expect("sent");
        let mut reader = BufReader::new(stream);
        let mut status = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).expect("a head");
            if line.starts_with("HTTP/1.1 ") {
                status = line[9..12].parse().expect("a status");
            }
            if line == "\r\n" {
                return (status, Self { reader, text: String::new() });
            }
        }
    }

    /// The next chunk; `false` at the end.
    fn chunk(&mut self) -> bool {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("a length");
        let length = usize::from_str_radix(line.trim(), 16).expect("a length");
        let mut bytes = vec![0; length + 2];
        self.reader.read_exact(&mut bytes).expect("a chunk");
        self.text.push_str(std::str::from_utf8(&bytes[..length]).expect("text"));
        length > 0
    }

    /// The next event; `None` at the end.
    fn next(&mut self) -> Option<Event> {
        while !self.text.contains("\n\n") {
            if !self.chunk() {
                return None;
            }
        }
        let (event, rest) = self.text.split_once("\n\n").expect("an event");
        let field = |name: &str| {
            event.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).map(str::to_owned)
        };
        let event = Event {
            id: field("id"),
            name: field("event").expect("a name"),
            data: serde_json::from_str(&field("data").expect("data")).expect("JSON"),
        };
        self.text = rest.to_owned();
        Some(event)
    }
}

fn use_(client: &mut Client, org: &str, key: &str) {
    client.post("/v1/usage", json!({"org": org, "meter": "reports", "key": key})).ok();
}

#[test]
fn a_stream_tells_the_entries_of_an_org_and_goes_on_where_it_was_left() {
    let server = TestServer::start();
    let mut client = server.client();
    for org in ["acme", "beta"] {
        client.put(&format!("/v1/orgs/{org}/plan"), json!({"plan": "basic"})).ok();
    }
    let (status, mut listener) = Listener::open(&server, "/v1/stream?org=acme", &[]);
    assert_eq!(status, 200);
    use_(&mut client, "beta", "not-told");
    use_(&mut client, "acme", "k-1");
    let top_up = json!({"meter": "reports", "amount": 5, "key": "k-2"});
    client.post("/v1/orgs/acme/top-ups", top_up).ok();
    let first = listener.next().expect("an event");
    assert_eq!((first.id.as_deref(), first.name.as_str()), (Some("2"), "entry"));
    assert_eq!(first.data, client.get("/v1/orgs/acme/ledger/2").ok());
    let notice = listener.next().expect("an event");
    assert_eq!(
        (notice.id, notice.name.as_str()),
        (None, "notice"),
        "it comes again unless its entry was heard"
    );
    assert_eq!(notice.data, client.get("/v1/notices").ok()["notices"][0]);
    assert_eq!(listener.next().expect("an event").id.as_deref(), Some("3"));
    drop(listener);
    use_(&mut client, "acme", "k-3");
    let (_, mut listener) = Listener::open(&server, "/v1/stream?org=acme", &[("last-event-id", "2")]);
    let ids: Vec<_> = (0..3).map(|_| listener.next().expect("an event").id).collect();
    assert_eq!(ids, [None, Some("3".to_owned()), Some("4".to_owned())]);
}

#[test]
fn a_stream_tells_the_notices_of_all_orgs_and_ends_with_the_server() {
    let mut server = TestServer::start();
    let mut client = server.client();
    let notice = |client: &mut Client, org: &str, key: &str| {
        client.put(&format!("/v1/orgs/{org}/plan"), json!({"plan": "basic"})).ok();
        let top_up = json!({"meter": "reports", "amount": 5, "key": key});
        client.post(&format!("/v1/orgs/{org}/top-ups"), top_up).ok();
    };
    notice(&mut client, "acme", "before");
    let (_, mut listener) = Listener::open(&server, "/v1/stream", &[]);
    notice(&mut client, "acme", "k");
    let first = listener.next().expect("an event");
    assert_eq!((first.name.as_str(), &first.data["id"]), ("notice", &json!("acme/3/0")));
    notice(&mut client, "beta", "k");
    assert_eq!(listener.next().expect("an event").data["id"], "beta/2/0");
    let id = first.id.expect("an id");
    let (_, mut resumed) = Listener::open(&server, "/v1/stream", &[("last-event-id", id.as_str())]);
    assert_eq!(resumed.next().expect("an event").data["id"], "beta/2/0");
    for (path, id) in [("/v1/stream", "5"), ("/v1/stream", "ffff.0"), ("/v1/stream?org=acme", id.as_str())] {
        assert_eq!(Listener::open(&server, path, &[("last-event-id", id)]).0, 400, "{path} {id}");
    }
    server.stop();
    assert!(listener.next().is_none() && resumed.next().is_none(), "it ends in order");
}

#[test]
fn a_stream_is_heard_by_those_who_may_for_as_long_as_they_may() {
    let server = TestServer::with(|settings| settings.api_key = Some(Secret("admin".to_owned())));
    let mut admin = server.client().with_key("admin");
    admin.put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
    let made = admin.post("/v1/api-keys", json!({"name": "r", "role": "read", "org": "acme"})).json();
    let [secret, id] = ["secret", "id"].map(|name| made[name].as_str().expect("a text").to_owned());
    let key = [("x-api-key", secret.as_str())];
    let (status, mut listener) = Listener::open(&server, "/v1/stream?org=acme", &key);
    assert_eq!(status, 200);
    assert_eq!(Listener::open(&server, "/v1/stream", &key).0, 403);
    assert_eq!(Listener::open(&server, "/v1/stream?org=beta", &key).0, 403);
    assert_eq!(Listener::open(&server, "/v1/stream?org=acme", &[]).0, 401);
    admin.delete(&format!("/v1/api-keys/{id}")).ok();
    assert!(listener.next().is_none(), "its key was revoked");
}

//! The wire below the routes: HTTP/2, TLS, pipelining, headers of every answer.

use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tollgate_server::{ServeError, Settings, TlsFiles};

use crate::client::{Ask, Client, connect};
use crate::server::TestServer;

#[test]
fn http_2_with_prior_knowledge_carries_many_requests_at_once() {
    let server = TestServer::start();
    server.client().put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
    let address = server.address();
    let replies: Vec<(u16, Value)> = server.runtime().block_on(async move {
        let stream = TcpStream::connect(address).await.expect("it connects");
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
        tokio::spawn(connection);
        let asked: Vec<_> = (0..120).map(|number| tokio::spawn(use_one(sender.clone(), number))).collect();
        let mut replies = Vec::new();
        for reply in asked {
            replies.push(reply.await.expect("an answer"));
        }
        replies
    });
    let count = |status: u16| replies.iter().filter(|(found, _)| *found == status).count();
    assert_eq!((count(200), count(402)), (100, 20), "{:?}", replies.last());
    let mut client = server.client();
    assert_eq!(client.get("/v1/orgs/acme/balance").ok()["meters"]["reports"]["remaining"], 0);
}

async fn use_one(mut sender: http2::SendRequest<Full<Bytes>>, number: usize) -> (u16, Value) {
    let body = json!({"org": "acme", "meter": "reports", "key": format!("k-{number}")}).to_string();
    let request = http::Request::post("http://localhost/v1/usage")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .expect("a request");
    let response = sender.send_request(request).await.expect("a response");
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    (status, serde_json::from_slice(&body).expect("JSON"))
}

/// A server with a certificate of its own, and what trusts it.
fn with_tls() -> (TestServer, ClientConfig) {
    let (server, files) = TestServer::with_tls(|_| {});
    let certificate = CertificateDer::from_pem_file(files.path().join("cert.pem")).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("a root");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (server, config)
}

fn secured(address: SocketAddr, config: ClientConfig) -> StreamOwned<ClientConnection, std::net::TcpStream> {
    let name = ServerName::try_from("localhost").expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a connection");
    StreamOwned::new(connection, connect(address).expect("it connects"))
}

#[test]
fn tls_with_a_certificate_from_files() {
    let (server, config) = with_tls();
    let mut client = Client::over(secured(server.address(), config.clone()));
    client.put("/v1/orgs/acme/plan", json!({"plan": "lite"})).ok();
    let usage = json!({"org": "acme", "meter": "reports", "key": "k-1"});
    assert_eq!(client.post("/v1/usage", usage).ok()["remaining"], 19);

    // HTTP/2 is offered to who asks for it.
    let mut config = config;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut stream = secured(server.address(), config);
    stream.conn.complete_io(&mut stream.sock).expect("a handshake");
    assert_eq!(stream.conn.alpn_protocol(), Some(b"h2".as_slice()));

    // Who speaks no TLS, or trusts nobody, gets no answer; the server lives on.
    let mut plain = server.client();
    assert!(plain.try_ask(&Ask::new("GET", "/health")).is_err());
    let trusts_nobody = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let mut stranger = Client::over(secured(server.address(), trusts_nobody));
    assert!(stranger.try_ask(&Ask::new("GET", "/health")).is_err());
    assert_eq!(client.get("/health").ok()["status"], "healthy");
}

#[test]
fn what_keeps_a_server_from_starting_is_said() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().map(|address| (taken, address)).expect("an address");
    let adjust_listen = |settings: &mut Settings| settings.listen = taken.1;
    let refusal = TestServer::refusal(adjust_listen);
    assert!(matches!(&refusal, ServeError::Listen(text) if text.contains(&taken.1.to_string())), "{refusal}");

    let refusal = TestServer::refusal(|settings| settings.listen = SocketAddr::from(([0, 0, 0, 0], 0)));
    assert!(matches!(refusal, ServeError::Unprotected(_)), "{refusal}");
    assert!(refusal.to_string().contains("TOLLGATE_API_KEY"), "{refusal}");

    let refusal = TestServer::refusal(|settings| {
        let absent = std::path::PathBuf::from("absent.pem");
        settings.tls = Some(TlsFiles { certificate: absent.clone(), key: absent });
    });
    assert!(matches!(&refusal, ServeError::Tls(text) if text.contains("absent.pem")), "{refusal}");

    let refusal = TestServer::refusal(|settings| settings.catalog = Some("absent.toml".into()));
    assert!(matches!(&refusal, ServeError::Catalog(text) if text.contains("absent.toml")), "{refusal}");
}

#[test]
fn requests_one_after_the_other_without_waiting_are_answered_in_order() {
    let server = TestServer::start();
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
    let asks: Vec<u8> = (1..=50)
        .flat_map(|number| {
            let usage = json!({"org": "acme", "meter": "reports", "key": format!("k-{number}")});
            Ask::new("POST", "/v1/usage").json(usage).bytes(None)
        })
        .collect();
    client.send_raw(&asks).expect("sent");
    for number in 1..=50 {
        let reply = client.read().expect("an answer").ok();
        assert_eq!((&reply["key"], &reply["used"]), (&json!(format!("k-{number}")), &json!(number)));
    }
}

#[test]
fn an_answer_does_not_wait_for_half_of_the_next_request() {
    let server = TestServer::start();
    let mut client = server.client();
    let bytes = Ask::new("GET", "/health").bytes(None);
    let (half, rest) = bytes.split_at(bytes.len() / 2);
    client.send_raw(&[&bytes, half].concat()).expect("sent");
    client.read().expect("an answer to the first").ok();
    client.send_raw(rest).expect("sent");
    client.read().expect("an answer to the second").ok();
}

#[test]
fn every_answer_has_the_id_of_its_request() {
    let server = TestServer::start();
    let mut client = server.client();
    let mut seen = std::collections::BTreeSet::new();
    for path in ["/health", "/v1/orgs/nobody", "/nowhere", "/docs"] {
        let reply = client.get(path);
        let id = reply.header("x-request-id").expect("an id").to_owned();
        assert!(seen.insert(id.clone()), "{id} was given twice");
    }
    let long = "x".repeat(64);
    for own in ["mine-1", long.as_str()] {
        let reply = client.ask(&Ask::new("GET", "/health").header("X-Request-Id", own));
        assert_eq!(reply.header("x-request-id"), Some(own));
    }
    for refused in ["", "two words", &"x".repeat(65)] {
        let reply = client.ask(&Ask::new("GET", "/health").header("X-Request-Id", refused));
        reply.has_request_id();
        assert_ne!(reply.header("x-request-id"), Some(refused));
    }
}

#[test]
fn a_body_in_pieces_is_read_as_one() {
    let server = TestServer::start();
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
    let usage = |key: &str| json!({"org": "acme", "meter": "reports", "key": key});
    let cuts: Vec<usize> = (0..usage("k").to_string().len()).collect();
    for cut in &cuts {
        let bytes = Ask::new("POST", "/v1/usage").json(usage(&format!("{cut:02}"))).bytes(None);
        // The head and a part of the body, then the rest: TCP keeps such writes apart more often than not.
        let (first, rest) = bytes.split_at(bytes.len() - cut);
        client.send_raw(first).expect("sent");
        client.send_raw(rest).expect("sent");
        assert_eq!(client.read().expect("an answer").ok()["used"], cut + 1);
    }
    let body = usage("chunked").to_string();
    let mut chunked = "POST /v1/usage HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                       transfer-encoding: chunked\r\n\r\n"
        .to_owned();
    for piece in body.as_bytes().chunks(7) {
        chunked.push_str(&format!("{:x}\r\n{}\r\n", piece.len(), String::from_utf8_lossy(piece)));
    }
    chunked.push_str("0\r\n\r\n");
    client.send_raw(chunked.as_bytes()).expect("sent");
    assert_eq!(client.read().expect("an answer").ok()["used"], cuts.len() + 1);
}

#[test]
fn a_head_is_told_what_a_get_is_but_for_the_body() {
    let server = TestServer::start();
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
    for path in ["/v1/orgs/acme", "/docs", "/v1/orgs/nobody", "/nowhere"] {
        let get = client.ask(&Ask::new("GET", path).header("x-request-id", "same"));
        client
            .send_raw(
                format!("HEAD {path} HTTP/1.1\r\nhost: localhost\r\nx-request-id: same\r\n\r\n").as_bytes(),
            )
            .expect("sent");
        let head = client.read_head().expect("a head");
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{path}");
        for name in ["content-type", "content-length", "x-request-id"] {
            assert!(get.header(name).is_some() && head.header(name) == get.header(name), "{name} of {path}");
        }
    }
    client.get("/health").ok();
}

//! Web pages of other origins that the operator allows; and answers in gzip.

use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::json;
use tollgate_server::Secret;

use crate::client::{Ask, Reply};
use crate::server::TestServer;

const APP: &str = "https://app.example.com";

fn with_app() -> TestServer {
    TestServer::with(|settings| {
        settings.api_key = Some(Secret("admin".to_owned()));
        settings.cors_origins = APP.parse().expect("an origin");
    })
}

fn vary(reply: &Reply) -> Vec<&str> {
    reply.headers.iter().filter(|(name, _)| name == "vary").map(|(_, value)| value.as_str()).collect()
}

#[test]
fn a_page_on_the_list_may_send_requests_and_read_answers() {
    let server = with_app();
    let mut client = server.client().with_key("admin");
    client.put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
    let ask = Ask::new("OPTIONS", "/v1/usage").header("access-control-request-method", "POST");
    let ask = ask.header("access-control-request-headers", "authorization,content-type");
    let told = server.client().ask(&ask.clone().header("origin", APP));
    assert_eq!(told.status, 204);
    assert_eq!(told.header("access-control-allow-origin"), Some(APP));
    assert_eq!(told.header("access-control-allow-methods"), Some("GET, POST, PUT, DELETE"));
    let headers = told.header("access-control-allow-headers").unwrap_or_default();
    for needed in ["Authorization", "X-API-Key", "Content-Type", "Idempotency-Key"] {
        assert!(headers.contains(needed), "{headers}");
    }
    assert_eq!(told.header("access-control-allow-credentials"), None);
    let usage = json!({"org": "acme", "meter": "reports", "key": "k"});
    let ask_to_use = Ask::new("POST", "/v1/usage").header("origin", APP).json(usage.clone());
    let used = client.ask(&ask_to_use.header("sec-fetch-site", "cross-site"));
    assert_eq!((used.status, used.header("access-control-allow-origin")), (200, Some(APP)));
    let exposed = used.header("access-control-expose-headers").unwrap_or_default();
    assert!(["RateLimit", "RateLimit-Policy", "Retry-After"].iter().all(|name| exposed.contains(name)));
    assert!(vary(&used).contains(&"Origin"));
    // Errors are for it too.
    let missing = client.ask(&Ask::new("GET", "/v1/orgs/nobody").header("origin", APP));
    assert_eq!((missing.status, missing.header("access-control-allow-origin")), (404, Some(APP)));
    // Nobody else's pages.
    for other in
        ["https://evil.example", "https://app.example.com.evil.example", "http://app.example.com", "null"]
    {
        let told = server.client().ask(&ask.clone().header("origin", other));
        assert_ne!(told.status, 204, "{other}");
        assert_eq!(told.header("access-control-allow-origin"), None, "{other}");
        assert!(vary(&told).contains(&"Origin"), "{other}");
        let refused = client.ask(&Ask::new("POST", "/v1/usage").header("origin", other).json(usage.clone()));
        assert_eq!(refused.status, 403, "{other}: {}", refused.text());
        let read = client.ask(&Ask::new("GET", "/v1/orgs").header("origin", other));
        assert_eq!(read.header("access-control-allow-origin"), None, "{other}");
    }
}

#[test]
fn without_a_list_there_is_no_cors() {
    let server = TestServer::start();
    let ask = Ask::new("OPTIONS", "/v1/usage").header("access-control-request-method", "POST");
    let told = server.client().ask(&ask.header("origin", APP));
    assert!(told.status >= 400 && told.header("access-control-allow-origin").is_none(), "{}", told.status);
    let read = server.client().get("/health");
    assert!(read.headers.iter().all(|(name, _)| !name.starts_with("access-control")), "{:?}", read.headers);
}

#[test]
fn large_answers_are_gzip_for_those_who_take_it() {
    let server = TestServer::start();
    let mut client = server.client();
    let plain = client.get("/v1/catalog");
    assert!(plain.body.len() > 1_024 && plain.header("content-encoding").is_none());
    assert!(vary(&plain).contains(&"Accept-Encoding"), "{:?}", plain.headers);
    let packed = client.ask(&Ask::new("GET", "/v1/catalog").header("accept-encoding", "br, gzip;q=0.5"));
    assert_eq!((packed.status, packed.header("content-encoding")), (200, Some("gzip")));
    assert!(vary(&packed).contains(&"Accept-Encoding") && packed.body.len() < plain.body.len());
    let mut unpacked = Vec::new();
    GzDecoder::new(packed.body.as_slice()).read_to_end(&mut unpacked).expect("gzip");
    assert_eq!(unpacked, plain.body);
    for (path, accepts) in [("/health", "gzip"), ("/v1/catalog", "gzip;q=0"), ("/v1/catalog", "br")] {
        let reply = client.ask(&Ask::new("GET", path).header("accept-encoding", accepts));
        assert_eq!(reply.header("content-encoding"), None, "{path} {accepts}");
        reply.ok();
    }
}

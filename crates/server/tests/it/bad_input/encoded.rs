//! Bodies that are compressed, and objects that give a name twice: on every route alike.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde_json::{Value, json};

use super::{Case, Scene, check, usage};
use crate::client::{Ask, Client};
use crate::server::TestServer;

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).and_then(|()| encoder.finish()).expect("it is compressed")
}

fn zstd(body: &[u8]) -> Vec<u8> {
    compress_to_vec(body, CompressionLevel::Fastest)
}

#[test]
fn bodies_of_every_route_may_be_compressed() {
    let server = TestServer::start();
    let mut client = server.client();
    let usage = json!({"org": "acme", "meter": "reports", "key": "k-1"});
    let send = |client: &mut Client, method: &str, path: &str, body: &[u8], coding: &str| {
        let ask = Ask::new(method, path).header("content-encoding", coding).body(body);
        let reply = client.ask(&ask);
        assert!((200..300).contains(&reply.status), "{path} {coding}: {}", reply.text());
        reply.json()
    };
    for (method, path, body) in [
        ("PUT", "/v1/orgs/acme/plan", json!({"plan": "basic"})),
        ("POST", "/v1/usage", usage.clone()),
        ("POST", "/v1/usage/check", usage),
        ("POST", "/use", json!({"org_id": "acme", "report_id": "r-1"})),
        (
            "POST",
            "/api/v1/usage",
            json!({"customer_id": "acme", "resource_type": "api_call", "quantity": 1, "id": "u-1"}),
        ),
        (
            "POST",
            "/pulses",
            json!({"tenant_id": "acme", "product_sku": "s", "use_unit": "u", "used_amount": 1, "id": "p-1"}),
        ),
    ] {
        let body = body.to_string();
        send(&mut client, method, path, &gzip(body.as_bytes()), "gzip");
        send(&mut client, method, path, &zstd(body.as_bytes()), "zstd");
    }
    let catalog = gzip(tollgate_domain::catalog::DEFAULT.as_bytes());
    let ask = Ask::new("PUT", "/v1/catalog").header("content-encoding", "gzip").toml(catalog);
    assert_eq!(client.ask(&ask).ok()["version"], 1);
    // One usage by the gate and one by the reports API: each was sent twice and counted once.
    let balance = client.get("/v1/orgs/acme/balance").ok();
    assert_eq!(balance["meters"]["reports"]["used"], 2);
}

#[test]
fn bodies_that_do_not_decompress() {
    let encoded = |coding: &str, body: Vec<u8>| {
        Ask::new("POST", "/v1/usage").header("content-encoding", coding).body(body)
    };
    let whole = br#"{"org":"acme","meter":"reports","key":"k"}"#;
    let field = Some("Content-Encoding");
    // Small as it comes and large as it is: some kilobytes become 10 MiB.
    let bomb = [whole.as_slice(), &vec![b' '; 10 * 1024 * 1024]].concat();
    check(vec![
        ("a coding nobody knows", encoded("br", whole.to_vec()), 415, "unsupported_media_type", field),
        ("two codings", encoded("gzip, gzip", gzip(&gzip(whole))), 415, "unsupported_media_type", field),
        ("no gzip", encoded("gzip", whole.to_vec()), 400, "unreadable", field),
        ("half of a gzip", encoded("gzip", gzip(whole)[..20].to_vec()), 400, "unreadable", field),
        ("no zstd", encoded("zstd", whole.to_vec()), 400, "unreadable", field),
        ("a bomb", encoded("gzip", gzip(&bomb)), 413, "body_too_large", None),
        ("another bomb", encoded("zstd", zstd(&bomb)), 413, "body_too_large", None),
    ]);
}

#[test]
fn a_name_that_an_object_gives_twice() {
    let cases: Vec<Case> = vec![
        (
            "in properties",
            usage(r#","properties":{"a":"1","a":"2"}"#),
            422,
            "invalid_field",
            Some("properties.a"),
        ),
        (
            "the same",
            usage(r#","properties":{"a":"1","b":"1","a":"1"}"#),
            422,
            "invalid_field",
            Some("properties.a"),
        ),
        (
            "escaped",
            usage(r#","properties":{"a":"1","\u0061":"2"}"#),
            422,
            "invalid_field",
            Some("properties.a"),
        ),
        ("at the top", usage(r#","quantity":1,"quantity":2"#), 422, "invalid_field", Some("quantity")),
    ];
    check(cases);

    let scene = Scene::new();
    let mut client = scene.server.client();
    let record = r#"[{"org":"acme","meter":"reports","key":"k","properties":{"a":"1","a":"2"}}]"#;
    let reply = client.ask(&Ask::new("POST", "/v1/usage/batch").body(record)).ok();
    assert_eq!((&reply["results"][0]["field"], &reply["counted"]), (&json!("properties.a"), &json!(0)));

    let mut refused = |path: &str, body: &str| -> Value {
        let reply = client.ask(&Ask::new("POST", path).body(body));
        assert_eq!(reply.status, 400, "{}", reply.text());
        reply.json()["field"].clone()
    };
    let metadata = |metadata: &str| {
        format!(r#"{{"customer_id":"acme","resource_type":"api_call","quantity":1,"metadata":{metadata}}}"#)
    };
    assert_eq!(refused("/api/v1/usage", &metadata(r#"{"a":1,"a":2}"#)), "metadata.a");
    assert_eq!(refused("/api/v1/usage", &metadata(r#"{"a":{"b":[{"c":1,"c":1}]}}"#)), "metadata.a.b[0].c");
    let event = r#"{"id":"1","source":"s","type":"t","subject":"acme","data":{"tokens":1,"tokens":2}}"#;
    assert_eq!(refused("/api/v1/events", event), "[0].data.tokens");
    scene.is_unchanged("names given twice");
}

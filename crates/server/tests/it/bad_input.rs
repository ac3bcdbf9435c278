//! Whatever is sent is answered with a problem that names it, changes nothing, and leaves the server well.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Ask, Client, connect, end};
use crate::server::TestServer;

/// How long headers and bodies may take in these tests.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// A server with an org that has used something, and what is told of it.
struct Scene {
    server: TestServer,
    before: (Value, Value),
}

impl Scene {
    fn new() -> Self {
        let server = TestServer::with(|settings| settings.request_timeout = REQUEST_TIMEOUT);
        let mut client = server.client();
        client.put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
        let usage = json!({"org": "acme", "user": "ada", "meter": "reports", "quantity": 3, "key": "taken"});
        client.post("/v1/usage", usage).ok();
        let top_up = json!({"meter": "reports", "amount": 5, "key": "taken"});
        client.post("/v1/orgs/acme/top-ups", top_up).ok();
        let before = Self::seen(&server);
        Self { server, before }
    }

    fn seen(server: &TestServer) -> (Value, Value) {
        let mut client = server.client();
        (client.get("/v1/orgs/acme").ok(), client.get("/v1/orgs/acme/balance").ok())
    }

    /// The server is alive and the org as it was.
    #[track_caller]
    fn is_unchanged(&self, after: &str) {
        assert_eq!(Self::seen(&self.server), self.before, "after {after}");
    }
}

type Case = (&'static str, Ask, u16, &'static str, Option<&'static str>);

fn check(cases: Vec<Case>) {
    let scene = Scene::new();
    for (name, ask, status, code, field) in cases {
        println!("{name}");
        let mut client = scene.server.client();
        client.ask(&ask).is_problem(status, code, field);
        scene.is_unchanged(name);
        // The connection is good for the next request too.
        assert_eq!(client.get("/health").ok()["status"], "healthy", "after {name}");
    }
}

fn usage(members: &str) -> Ask {
    Ask::new("POST", "/v1/usage")
        .header("content-type", "application/json")
        .body(format!(r#"{{"org":"acme","meter":"reports","key":"k"{members}}}"#))
}

fn body(method: &str, path: &str, body: &str) -> Ask {
    Ask::new(method, path).header("content-type", "application/json").body(body)
}

#[test]
fn bodies_of_usage() {
    let long = "x".repeat(129);
    let many: String = (0..17).map(|number| format!(r#""p{number}":"v","#)).collect();
    let deep = "[".repeat(10_000);
    let whole = |text: &str| body("POST", "/v1/usage", text);
    let quantity = |text: &str| usage(&format!(r#","quantity":{text}"#));
    check(vec![
        ("nothing", whole(""), 400, "unreadable", None),
        ("half of it", whole(r#"{"org":"acme""#), 400, "unreadable", None),
        ("not JSON", whole("org=acme&meter=reports"), 400, "unreadable", None),
        (
            "more than JSON",
            whole(r#"{"org":"acme","meter":"reports","key":"k"} {}"#),
            400,
            "unreadable",
            None,
        ),
        (
            "not UTF-8",
            Ask::new("POST", "/v1/usage").body(b"{\"org\":\"\xff\xfe\"}".to_vec()),
            400,
            "unreadable",
            None,
        ),
        (
            "half a surrogate",
            whole(r#"{"org":"\ud800","meter":"reports","key":"k"}"#),
            400,
            "unreadable",
            None,
        ),
        ("a deep hole", whole(&deep), 422, "invalid_field", None),
        ("a deep hole in a field", usage(&format!(r#","time":{deep}"#)), 422, "invalid_field", Some("time")),
        (
            "a deep hole in a property",
            usage(&format!(r#","properties":{{"p":{deep}"#)),
            422,
            "invalid_field",
            Some("properties.p"),
        ),
        ("an array", whole("[]"), 422, "invalid_field", None),
        ("null", whole("null"), 422, "invalid_field", None),
        ("no org", whole(r#"{"meter":"reports","key":"k"}"#), 422, "missing_field", Some("org")),
        ("no meter", whole(r#"{"org":"acme","key":"k"}"#), 422, "missing_field", Some("meter")),
        ("no key", whole(r#"{"org":"acme","meter":"reports"}"#), 422, "missing_field", Some("key")),
        ("an unknown field", usage(r#","colour":"red""#), 422, "unknown_field", Some("colour")),
        ("a field in other case", usage(r#","Quantity":1"#), 422, "unknown_field", Some("Quantity")),
        ("a field twice", usage(r#","key":"other""#), 422, "invalid_field", Some("key")),
        (
            "an org that is a number",
            whole(r#"{"org":7,"meter":"reports","key":"k"}"#),
            422,
            "invalid_field",
            Some("org"),
        ),
        (
            "an empty org",
            whole(r#"{"org":"","meter":"reports","key":"k"}"#),
            422,
            "invalid_field",
            Some("org"),
        ),
        (
            "an org of 129 characters",
            whole(&format!(r#"{{"org":"{long}","meter":"reports","key":"k"}}"#)),
            422,
            "invalid_field",
            Some("org"),
        ),
        (
            "a key of 129 characters",
            whole(&format!(r#"{{"org":"acme","meter":"reports","key":"{long}"}}"#)),
            422,
            "invalid_field",
            Some("key"),
        ),
        (
            "an empty key",
            whole(r#"{"org":"acme","meter":"reports","key":""}"#),
            422,
            "invalid_field",
            Some("key"),
        ),
        (
            "a user of 129 characters",
            usage(&format!(r#","user":"{long}""#)),
            422,
            "invalid_field",
            Some("user"),
        ),
        ("a line break in a user", usage(r#","user":"a\nb""#), 422, "invalid_field", Some("user")),
        (
            "a NUL in an org",
            whole(r#"{"org":"a\u0000b","meter":"reports","key":"k"}"#),
            422,
            "invalid_field",
            Some("org"),
        ),
        (
            "a bare control character",
            whole("{\"org\":\"a\u{1}b\",\"meter\":\"reports\",\"key\":\"k\"}"),
            400,
            "unreadable",
            None,
        ),
        ("a C1 control character", usage(r#","user":"a\u0085b""#), 422, "invalid_field", Some("user")),
        ("quantity 0", quantity("0"), 422, "invalid_field", Some("quantity")),
        ("quantity 0.0", quantity("\"0.000\""), 422, "invalid_field", Some("quantity")),
        ("quantity -1", quantity("-1"), 422, "invalid_field", Some("quantity")),
        ("quantity -0", quantity("-0"), 422, "invalid_field", Some("quantity")),
        ("quantity NaN", quantity("NaN"), 400, "unreadable", None),
        ("quantity 'NaN'", quantity("\"NaN\""), 422, "invalid_field", Some("quantity")),
        ("quantity 'Infinity'", quantity("\"Infinity\""), 422, "invalid_field", Some("quantity")),
        ("quantity 1e400", quantity("1e400"), 422, "invalid_field", Some("quantity")),
        ("quantity 1e-400", quantity("1e-400"), 422, "invalid_field", Some("quantity")),
        (
            "quantity with a huge exponent",
            quantity("1e99999999999999999999"),
            422,
            "invalid_field",
            Some("quantity"),
        ),
        ("quantity with 10 decimals", quantity("0.0000000001"), 422, "invalid_field", Some("quantity")),
        ("quantity with 16 digits", quantity("1000000000000000"), 422, "invalid_field", Some("quantity")),
        ("quantity true", quantity("true"), 422, "invalid_field", Some("quantity")),
        ("quantity in words", quantity("\"one\""), 422, "invalid_field", Some("quantity")),
        ("quantity with a comma", quantity("\"1,5\""), 422, "invalid_field", Some("quantity")),
        ("quantity with a space", quantity("\" 1\""), 422, "invalid_field", Some("quantity")),
        ("quantity escaped", quantity("\"\\u0031\""), 422, "invalid_field", Some("quantity")),
        ("quantity in an object", quantity("{\"value\":1}"), 422, "invalid_field", Some("quantity")),
        ("a time in words", usage(r#","time":"yesterday""#), 422, "invalid_field", Some("time")),
        (
            "a time without a zone",
            usage(r#","time":"2026-11-02T10:00:00""#),
            422,
            "invalid_field",
            Some("time"),
        ),
        (
            "a time 36 days back",
            usage(r#","time":"2026-09-27T09:00:00Z""#),
            422,
            "invalid_field",
            Some("time"),
        ),
        (
            "a time 6 minutes ahead",
            usage(r#","time":"2026-11-02T10:06:00Z""#),
            422,
            "invalid_field",
            Some("time"),
        ),
        (
            "a property that is an array",
            usage(r#","properties":{"a":[]}"#),
            422,
            "invalid_field",
            Some("properties.a"),
        ),
        (
            "a property that is null",
            usage(r#","properties":{"a":null}"#),
            422,
            "invalid_field",
            Some("properties.a"),
        ),
        (
            "a property without a name",
            usage(r#","properties":{"":"v"}"#),
            422,
            "invalid_field",
            Some("properties."),
        ),
        (
            "17 properties",
            usage(&format!(r#","properties":{{{}}}"#, many.trim_end_matches(','))),
            422,
            "invalid_field",
            Some("properties"),
        ),
        ("properties in a list", usage(r#","properties":["a"]"#), 422, "invalid_field", Some("properties")),
        (
            "the same key, other quantity",
            whole(r#"{"org":"acme","user":"ada","meter":"reports","quantity":4,"key":"taken"}"#),
            422,
            "key_reused",
            Some("key"),
        ),
        (
            "the same key, other user",
            whole(r#"{"org":"acme","user":"ben","meter":"reports","quantity":3,"key":"taken"}"#),
            422,
            "key_reused",
            Some("key"),
        ),
        (
            "the same key, another property",
            whole(
                r#"{"org":"acme","user":"ada","meter":"reports","quantity":3,"key":"taken","properties":{"a":"b"}}"#,
            ),
            422,
            "key_reused",
            Some("key"),
        ),
        (
            "an unknown org",
            whole(r#"{"org":"nobody","meter":"reports","key":"k"}"#),
            404,
            "unknown_org",
            Some("org"),
        ),
        (
            "an unknown meter",
            whole(r#"{"org":"acme","meter":"tokens","key":"k"}"#),
            404,
            "unknown_meter",
            Some("meter"),
        ),
        (
            "a long header key",
            whole(r#"{"org":"acme","meter":"reports"}"#).header("idempotency-key", &long),
            422,
            "invalid_field",
            Some("Idempotency-Key"),
        ),
        (
            "an empty header key",
            whole(r#"{"org":"acme","meter":"reports"}"#).header("idempotency-key", "\"\""),
            422,
            "invalid_field",
            Some("Idempotency-Key"),
        ),
    ]);
}

#[test]
fn bodies_of_the_other_routes() {
    let long = "x".repeat(257);
    let org = |text: &str| body("PUT", "/v1/orgs/acme", text);
    let plan = |text: &str| body("PUT", "/v1/orgs/acme/plan", text);
    let limit = |text: &str| body("PUT", "/v1/orgs/acme/limits", text);
    let top_up = |text: &str| body("POST", "/v1/orgs/acme/top-ups", text);
    let api_key = |text: &str| body("POST", "/v1/api-keys", text);
    let reversal = |text: &str| body("POST", "/v1/usage/reversals", text);
    let checked = |text: &str| body("POST", "/v1/usage/check", text);
    check(vec![
        ("an empty name", org(r#"{"name":""}"#), 422, "invalid_field", Some("name")),
        (
            "a name of 257 characters",
            org(&format!(r#"{{"name":"{long}"}}"#)),
            422,
            "invalid_field",
            Some("name"),
        ),
        ("a name of two lines", org(r#"{"name":"a\nb"}"#), 422, "invalid_field", Some("name")),
        (
            "no such time zone",
            org(r#"{"time_zone":"Mars/Olympus"}"#),
            422,
            "invalid_field",
            Some("time_zone"),
        ),
        ("an empty time zone", org(r#"{"time_zone":""}"#), 422, "invalid_field", Some("time_zone")),
        (
            "a path as time zone",
            org(r#"{"time_zone":"../../etc/passwd"}"#),
            422,
            "invalid_field",
            Some("time_zone"),
        ),
        ("a field of org that is not", org(r#"{"zone":"UTC"}"#), 422, "unknown_field", Some("zone")),
        ("no plan", plan("{}"), 422, "missing_field", Some("plan")),
        ("an unknown plan", plan(r#"{"plan":"gold"}"#), 404, "unknown_plan", Some("plan")),
        ("a plan in capitals", plan(r#"{"plan":"Basic"}"#), 404, "unknown_plan", Some("plan")),
        (
            "limit 0",
            limit(r#"{"meter":"reports","scope":"user","amount":0}"#),
            422,
            "invalid_field",
            Some("amount"),
        ),
        (
            "limit 0.5",
            limit(r#"{"meter":"reports","scope":"user","amount":0.5}"#),
            422,
            "invalid_field",
            Some("amount"),
        ),
        (
            "limit -1",
            limit(r#"{"meter":"reports","scope":"user","amount":-1}"#),
            422,
            "invalid_field",
            Some("amount"),
        ),
        (
            "a scope that is not",
            limit(r#"{"meter":"reports","scope":"team","amount":5}"#),
            422,
            "invalid_field",
            Some("scope"),
        ),
        (
            "a window that is not",
            limit(r#"{"meter":"reports","scope":"org","window":"week","amount":5}"#),
            422,
            "invalid_field",
            Some("window"),
        ),
        (
            "a user of scope org",
            limit(r#"{"meter":"reports","scope":"org","user":"ada","amount":5}"#),
            422,
            "invalid_field",
            Some("user"),
        ),
        (
            "a limit without scope",
            limit(r#"{"meter":"reports","amount":5}"#),
            422,
            "missing_field",
            Some("scope"),
        ),
        (
            "a limit on an unknown meter",
            limit(r#"{"meter":"tokens","scope":"org","amount":5}"#),
            404,
            "unknown_meter",
            Some("meter"),
        ),
        (
            "a limit of an unknown org",
            body("PUT", "/v1/orgs/nobody/limits", r#"{"meter":"reports","scope":"org","amount":5}"#),
            404,
            "unknown_org",
            Some("org"),
        ),
        ("top-up 0", top_up(r#"{"meter":"reports","amount":0}"#), 422, "invalid_field", Some("amount")),
        ("top-up -5", top_up(r#"{"meter":"reports","amount":-5}"#), 422, "invalid_field", Some("amount")),
        ("a top-up without amount", top_up(r#"{"meter":"reports"}"#), 422, "missing_field", Some("amount")),
        (
            "an expiry that is past",
            top_up(r#"{"meter":"reports","amount":5,"expires_at":"2026-11-02T10:00:00Z"}"#),
            422,
            "invalid_field",
            Some("expires_at"),
        ),
        (
            "an expiry in words",
            top_up(r#"{"meter":"reports","amount":5,"expires_at":"soon"}"#),
            422,
            "invalid_field",
            Some("expires_at"),
        ),
        (
            "an expiry in the year 9000",
            top_up(r#"{"meter":"reports","amount":5,"expires_at":"9000-01-01T00:00:00Z"}"#),
            422,
            "invalid_field",
            Some("expires_at"),
        ),
        (
            "an expiry before the start",
            top_up(
                r#"{"meter":"reports","amount":5,"effective_at":"2026-11-20T00:00:00Z","expires_at":"2026-11-10T00:00:00Z"}"#,
            ),
            422,
            "invalid_field",
            Some("expires_at"),
        ),
        (
            "priority 256",
            top_up(r#"{"meter":"reports","amount":5,"priority":256}"#),
            422,
            "invalid_field",
            Some("priority"),
        ),
        (
            "a reason of 257 characters",
            top_up(&format!(r#"{{"meter":"reports","amount":5,"reason":"{long}"}}"#)),
            422,
            "invalid_field",
            Some("reason"),
        ),
        (
            "a top-up of an unknown meter",
            top_up(r#"{"meter":"tokens","amount":5}"#),
            404,
            "unknown_meter",
            Some("meter"),
        ),
        (
            "a top-up of an unknown org",
            body("POST", "/v1/orgs/nobody/top-ups", r#"{"meter":"reports","amount":5}"#),
            404,
            "unknown_org",
            Some("org"),
        ),
        (
            "a top-up key with other content",
            top_up(r#"{"meter":"reports","amount":6,"key":"taken"}"#),
            422,
            "key_reused",
            Some("key"),
        ),
        ("a reversal without key", reversal(r#"{"org":"acme"}"#), 422, "missing_field", Some("key")),
        (
            "a reversal of an unknown key",
            reversal(r#"{"org":"acme","key":"never"}"#),
            404,
            "unknown_key",
            Some("key"),
        ),
        (
            "a reversal of an unknown org",
            reversal(r#"{"org":"nobody","key":"taken"}"#),
            404,
            "unknown_org",
            Some("org"),
        ),
        ("a check without meter", checked(r#"{"org":"acme"}"#), 422, "missing_field", Some("meter")),
        (
            "a check of quantity 0",
            checked(r#"{"org":"acme","meter":"reports","quantity":0}"#),
            422,
            "invalid_field",
            Some("quantity"),
        ),
        ("an API key without a name", api_key(r#"{"role":"admin"}"#), 422, "missing_field", Some("name")),
        (
            "an API key of an unknown role",
            api_key(r#"{"name":"n","role":"god"}"#),
            422,
            "invalid_field",
            Some("role"),
        ),
        (
            "a first API key that is no admin's",
            api_key(r#"{"name":"n","role":"read"}"#),
            422,
            "invalid_field",
            Some("role"),
        ),
        (
            "a first API key bound to an org",
            api_key(r#"{"name":"n","role":"admin","org":"acme"}"#),
            422,
            "invalid_field",
            Some("role"),
        ),
    ]);
}

#[test]
fn paths_queries_methods_and_types() {
    let get = |path: &str| Ask::new("GET", path);
    let long = format!("/v1/orgs/{}", "x".repeat(129));
    check(vec![
        ("no such route", get("/v1/nothing"), 404, "unknown_route", None),
        ("the root", get("/"), 404, "unknown_route", None),
        ("a route with a slash too many", get("/v1/orgs/acme/"), 404, "unknown_route", None),
        ("up and away", get("/v1/../../etc/passwd"), 404, "unknown_route", None),
        ("an unknown org", get("/v1/orgs/nobody"), 404, "unknown_org", Some("org")),
        ("the balance of an unknown org", get("/v1/orgs/nobody/balance"), 404, "unknown_org", Some("org")),
        ("the ledger of an unknown org", get("/v1/orgs/nobody/ledger"), 404, "unknown_org", Some("org")),
        (
            "the users of an unknown org",
            get("/v1/orgs/nobody/users?meter=reports"),
            404,
            "unknown_org",
            Some("org"),
        ),
        (
            "the series of an unknown org",
            get("/v1/orgs/nobody/usage?meter=reports"),
            404,
            "unknown_org",
            Some("org"),
        ),
        ("an org of 129 characters", get(&long), 400, "invalid_parameter", Some("org")),
        ("an org with a NUL", get("/v1/orgs/a%00b"), 400, "invalid_parameter", Some("org")),
        ("an org that is not UTF-8", get("/v1/orgs/%ff"), 400, "invalid_parameter", Some("org")),
        ("an entry that is not", get("/v1/orgs/acme/ledger/99"), 404, "unknown_entry", Some("entry")),
        ("an entry in words", get("/v1/orgs/acme/ledger/first"), 400, "invalid_parameter", Some("entry")),
        ("entry -1", get("/v1/orgs/acme/ledger/-1"), 400, "invalid_parameter", Some("entry")),
        ("a cursor in words", get("/v1/orgs?cursor=next"), 400, "invalid_parameter", Some("cursor")),
        ("an odd cursor", get("/v1/orgs?cursor=abc"), 400, "invalid_parameter", Some("cursor")),
        (
            "a cursor of another list",
            get("/v1/orgs/acme/ledger?cursor=00"),
            400,
            "invalid_cursor",
            Some("cursor"),
        ),
        (
            "a long cursor of nothing",
            get(&format!("/v1/orgs?cursor={}", "7f".repeat(2_000))),
            400,
            "invalid_cursor",
            Some("cursor"),
        ),
        ("limit 0", get("/v1/orgs?limit=0"), 400, "invalid_parameter", Some("limit")),
        ("limit 1001", get("/v1/orgs?limit=1001"), 400, "invalid_parameter", Some("limit")),
        ("limit in words", get("/v1/orgs?limit=ten"), 400, "invalid_parameter", Some("limit")),
        ("a parameter twice", get("/v1/orgs?limit=1&limit=2"), 400, "invalid_parameter", Some("limit")),
        ("a parameter that is not", get("/v1/orgs?page=2"), 400, "invalid_parameter", Some("page")),
        (
            "an order that is not",
            get("/v1/orgs/acme/ledger?order=random"),
            400,
            "invalid_parameter",
            Some("order"),
        ),
        ("a series of no meter", get("/v1/orgs/acme/usage"), 400, "invalid_parameter", Some("meter")),
        (
            "a series by week",
            get("/v1/orgs/acme/usage?meter=reports&window=week"),
            400,
            "invalid_parameter",
            Some("window"),
        ),
        (
            "a series from a day that is not",
            get("/v1/orgs/acme/usage?meter=reports&from=2026-02-30"),
            400,
            "invalid_parameter",
            Some("from"),
        ),
        (
            "a month of users that is not",
            get("/v1/orgs/acme/users?meter=reports&month=2026-13"),
            400,
            "invalid_parameter",
            Some("month"),
        ),
        ("users of no meter", get("/v1/orgs/acme/users"), 400, "invalid_parameter", Some("meter")),
        ("a version that is not", get("/v1/catalog/versions/99"), 404, "unknown_version", Some("version")),
        ("a version in words", get("/v1/catalog/versions/latest"), 400, "invalid_parameter", Some("version")),
        (
            "no scope to delete",
            Ask::new("DELETE", "/v1/orgs/acme/limits?meter=reports"),
            400,
            "invalid_parameter",
            Some("scope"),
        ),
        (
            "a dry run in words",
            Ask::new("PUT", "/v1/catalog?dry_run=yes").body("x"),
            400,
            "invalid_parameter",
            Some("dry_run"),
        ),
        (
            "a catalogue that is not TOML",
            Ask::new("PUT", "/v1/catalog").body("{}{"),
            422,
            "invalid_catalog",
            None,
        ),
        (
            "a catalogue that is not UTF-8",
            Ask::new("PUT", "/v1/catalog").body(vec![0xff]),
            400,
            "unreadable",
            None,
        ),
        (
            "a catalogue as JSON",
            Ask::new("PUT", "/v1/catalog").json(json!({})),
            415,
            "unsupported_media_type",
            Some("Content-Type"),
        ),
        ("an API key that is not", Ask::new("DELETE", "/v1/api-keys/0123"), 404, "unknown_api_key", None),
        (
            "a form",
            Ask::new("POST", "/v1/usage")
                .header("content-type", "application/x-www-form-urlencoded")
                .body("org=acme"),
            415,
            "unsupported_media_type",
            Some("Content-Type"),
        ),
        (
            "plain text",
            Ask::new("PUT", "/v1/orgs/acme/plan").header("content-type", "text/plain").body("{}"),
            415,
            "unsupported_media_type",
            Some("Content-Type"),
        ),
        ("PUT of usage", Ask::new("PUT", "/v1/usage").json(json!({})), 405, "method_not_allowed", None),
        ("GET of a check", get("/v1/usage/check"), 405, "method_not_allowed", None),
        ("DELETE of an org", Ask::new("DELETE", "/v1/orgs/acme"), 405, "method_not_allowed", None),
        (
            "POST of a balance",
            Ask::new("POST", "/v1/orgs/acme/balance").json(json!({})),
            405,
            "method_not_allowed",
            None,
        ),
        ("a method nobody knows", Ask::new("BREW", "/v1/orgs"), 405, "method_not_allowed", None),
    ]);
}

#[test]
fn a_wrong_method_is_told_the_right_ones() {
    let server = TestServer::start();
    let mut client = server.client();
    for (method, path, allowed) in [
        ("DELETE", "/v1/usage", "POST"),
        ("POST", "/v1/orgs/acme", "GET"),
        ("GET", "/v1/orgs/acme/limits", "PUT"),
    ] {
        let reply = client.ask(&Ask::new(method, path));
        let allow = reply.header("allow").unwrap_or_default();
        assert!(allow.split(',').any(|known| known.trim() == allowed), "{method} {path}: {allow:?}");
    }
}

#[test]
fn what_is_too_large() {
    const MIB: usize = 1024 * 1024;
    let scene = Scene::new();
    let address = scene.server.address();

    // 100 MiB, announced: all of it is taken before the answer, so that a caller that sends first hears it.
    let mut client = scene.server.client();
    let head = format!("POST /v1/usage HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n", 100 * MIB);
    client.send_raw(head.as_bytes()).expect("sent");
    let chunk = vec![b' '; MIB];
    for _ in 0..100 {
        client.send_raw(&chunk).expect("the server reads on");
    }
    client.read().expect("an answer").is_problem(413, "body_too_large", None);
    assert_eq!(client.get("/health").ok()["status"], "healthy");
    scene.is_unchanged("100 MiB");

    // 100 MiB in chunks, of a length nobody announced.
    let mut client = scene.server.client();
    let head = b"POST /v1/usage HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n";
    client.send_raw(head).expect("sent");
    for _ in 0..100 {
        client.send_raw(format!("{MIB:x}\r\n").as_bytes()).expect("sent");
        client.send_raw(&chunk).expect("the server reads on");
        client.send_raw(b"\r\n").expect("sent");
    }
    client.send_raw(b"0\r\n\r\n").expect("sent");
    client.read().expect("an answer").is_problem(413, "body_too_large", None);
    scene.is_unchanged("100 MiB in chunks");

    // Who asks first, or announces what nobody would read to its end, is told at once.
    for (name, length, expect) in
        [("asking first", MIB, "expect: 100-continue\r\n"), ("a terabyte", MIB * MIB, "")]
    {
        let mut client = Client::over(connect(address).expect("it connects"));
        let head = format!("POST /v1/usage HTTP/1.1\r\nhost: t\r\n{expect}content-length: {length}\r\n\r\n");
        client.send_raw(head.as_bytes()).expect("sent");
        client.read().expect("an answer").is_problem(413, "body_too_large", None);
        scene.is_unchanged(name);
    }

    // One byte more than is allowed, and as much as is allowed.
    let limit = 64 * 1024;
    let body = r#"{"org":"acme","meter":"reports","key":"k"}"#;
    let padded = |length: usize| format!("{body}{}", " ".repeat(length - body.len()));
    let check = |length| Ask::new("POST", "/v1/usage/check").body(padded(length));
    let mut client = scene.server.client();
    client.ask(&check(limit + 1)).is_problem(413, "body_too_large", None);
    assert_eq!(client.ask(&check(limit)).ok()["allowed"], true);
    scene.is_unchanged("64 KiB");
}

#[test]
fn headers_that_are_too_large() {
    let scene = Scene::new();
    for (name, headers) in [
        ("one header of 1 MiB", format!("x-large: {}\r\n", "x".repeat(1024 * 1024))),
        ("ten thousand headers", (0..10_000).map(|number| format!("x-{number}: {number}\r\n")).collect()),
        ("a path of 1 MiB", String::new()),
    ] {
        println!("{name}");
        let mut stream = connect(scene.server.address()).expect("it connects");
        let path = if headers.is_empty() { "x".repeat(1024 * 1024) } else { "health".to_owned() };
        // The server may answer and close before it has read all.
        let _ = stream.write_all(format!("GET /{path} HTTP/1.1\r\nhost: t\r\n{headers}\r\n").as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert!(["431", "414"].contains(&status), "{name}: {answer:?}");
        scene.is_unchanged(name);
    }
}

#[test]
fn what_is_not_http_is_refused_or_closed() {
    let scene = Scene::new();
    for (name, bytes) in [
        ("noise", b"\x00\x01\x02\x03\xff\xfe\r\n\r\n".as_slice()),
        ("a TLS greeting", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice()),
        ("a version nobody speaks", b"GET /health HTTP/9.9\r\n\r\n"),
        (
            "two lengths",
            b"POST /v1/usage HTTP/1.1\r\nhost: t\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        ),
        ("a length in words", b"POST /v1/usage HTTP/1.1\r\nhost: t\r\ncontent-length: two\r\n\r\n{}"),
        (
            "a chunk in words",
            b"POST /v1/usage HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\nlots\r\n",
        ),
        ("a header without a colon", b"GET /health HTTP/1.1\r\nhost t\r\n\r\n"),
        ("half a request", b"POST /v1/usage HTTP/1.1\r\nhost: t\r\ncontent-length: 50\r\n\r\n{\"org\":"),
        ("nothing", b""),
    ] {
        println!("{name}");
        let mut stream = connect(scene.server.address()).expect("it connects");
        stream.write_all(bytes).expect("sent");
        end(&stream);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{name}: {answer}");
        scene.is_unchanged(name);
    }
}

#[test]
fn a_slow_caller_is_not_waited_for() {
    let scene = Scene::new();
    let body = r#"{"org":"acme","meter":"reports","key":"slow"}"#;
    let head = format!("POST /v1/usage HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n", body.len());
    let address = scene.server.address();
    // Each sends a byte at a time until the server ends it: within the head, and within the body.
    let heard = std::thread::scope(|scope| {
        let trickle = |at_once: String, slowly: String| {
            scope.spawn(move || {
                let began = Instant::now();
                let mut stream = connect(address).expect("it connects");
                stream.set_read_timeout(Some(Duration::from_millis(50))).expect("set");
                stream.write_all(at_once.as_bytes()).expect("sent");
                let (mut answer, mut buffer) = (Vec::new(), [0; 1024]);
                for byte in slowly.bytes().chain(std::iter::repeat(b' ')) {
                    assert!(began.elapsed() < Duration::from_secs(10), "the server waits for ever");
                    let _ = stream.write_all(&[byte]);
                    match stream.read(&mut buffer) {
                        Ok(0) => break,
                        Ok(count) => answer.extend_from_slice(&buffer[..count]),
                        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                        Err(_) => break,
                    }
                }
                (began.elapsed(), String::from_utf8_lossy(&answer).into_owned())
            })
        };
        let in_head = trickle(String::new(), head.clone());
        let in_body = trickle(head.clone(), body.to_owned());
        let silent = trickle("POST /v1/usage HTTP/1.1\r\n".to_owned(), "x-slow: ".to_owned());
        [in_head, in_body, silent].map(|thread| thread.join().expect("it ends"))
    });
    for ((took, answer), name) in heard.iter().zip(["head", "body", "one header"]) {
        println!("{name}: {took:?} {answer}");
        let wanted = answer.is_empty() || answer.starts_with("HTTP/1.1 408");
        assert!(wanted && *took < Duration::from_secs(5), "{name}: {took:?} {answer}");
    }
    let (_, answer) = &heard[1];
    assert!(
        answer.contains("application/problem+json") && answer.contains("\"request_timeout\""),
        "{answer}"
    );
    scene.is_unchanged("slow callers");
}

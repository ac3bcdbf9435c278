//! Paths, queries, methods and content types.

use serde_json::json;

use super::check;
use crate::client::Ask;
use crate::server::TestServer;

#[test]
fn paths_queries_methods_and_types() {
    let get = |path: &str| Ask::new("GET", path);
    let long = format!("/v1/orgs/{}", "x".repeat(129));
    check(vec![
        ("no such route", get("/v1/nothing"), 404, "unknown_route", None),
        ("a query of the root", get("/?page=1"), 400, "invalid_parameter", Some("page")),
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
        ("entry +1", get("/v1/orgs/acme/ledger/+1"), 400, "invalid_parameter", Some("entry")),
        (
            "a balance of something",
            get("/v1/orgs/acme/balance?meter=reports"),
            400,
            "invalid_parameter",
            Some("meter"),
        ),
        (
            "a usage of something",
            Ask::new("POST", "/v1/usage?org=acme")
                .json(json!({"org": "acme", "meter": "reports", "key": "k"})),
            400,
            "invalid_parameter",
            Some("org"),
        ),
        (
            "a series that ends before it begins",
            get("/v1/orgs/acme/usage?meter=reports&from=2026-11-02&to=2026-11-02"),
            400,
            "invalid_parameter",
            Some("to"),
        ),
        ("entry -1", get("/v1/orgs/acme/ledger/-1"), 400, "invalid_parameter", Some("entry")),
        ("a cursor in words", get("/v1/orgs?cursor=next"), 400, "invalid_cursor", Some("cursor")),
        ("an odd cursor", get("/v1/orgs?cursor=abc"), 400, "invalid_cursor", Some("cursor")),
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
            "a series by year",
            get("/v1/orgs/acme/usage?meter=reports&window=year"),
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
        ("a version in words", get("/v1/catalog/versions/latest"), 400, "invalid_parameter", Some("version")),
        (
            "no scope to delete",
            Ask::new("DELETE", "/v1/orgs/acme/limits?meter=reports"),
            400,
            "invalid_parameter",
            Some("scope"),
        ),
        (
            "a user under the scope of all to delete",
            Ask::new("DELETE", "/v1/orgs/acme/limits?meter=reports&scope=org&user=ada"),
            400,
            "invalid_parameter",
            Some("user"),
        ),
        (
            "a dry run in words",
            Ask::new("PUT", "/v1/catalog?dry_run=yes").toml("x"),
            400,
            "invalid_parameter",
            Some("dry_run"),
        ),
        (
            "a catalog that is not TOML",
            Ask::new("PUT", "/v1/catalog").toml("{}{"),
            422,
            "invalid_catalog",
            None,
        ),
        (
            "a catalog that is not UTF-8",
            Ask::new("PUT", "/v1/catalog").toml(vec![0xff]),
            400,
            "unreadable",
            None,
        ),
        (
            "a catalog as JSON without meters",
            Ask::new("PUT", "/v1/catalog").json(json!({})),
            422,
            "invalid_catalog",
            Some("meters"),
        ),
        (
            "an API key that is not",
            Ask::new("DELETE", "/v1/api-keys/0123"),
            404,
            "unknown_api_key",
            Some("id"),
        ),
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
        ("POST", "/v1/orgs/acme/limits", "PUT"),
    ] {
        let reply = client.ask(&Ask::new(method, path));
        let allow = reply.header("allow").unwrap_or_default();
        assert!(allow.split(',').any(|known| known.trim() == allowed), "{method} {path}: {allow:?}");
    }
}

#[test]
fn a_version_of_the_catalog_that_is_not() {
    let ask = Ask::new("GET", "/v1/catalog/versions/99");
    check(vec![("version 99", ask, 404, "unknown_version", Some("version"))]);
}

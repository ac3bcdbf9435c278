//! Bodies of a usage.

use super::{body, check, usage};
use crate::client::Ask;

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
fn an_array_is_no_body() {
    let by_position = r#"["acme",null,"reports",1,"k",null,null]"#;
    let whole = |text: &str| body("POST", "/v1/usage", text);
    check(vec![
        ("the fields in an array", whole(by_position), 422, "invalid_field", None),
        ("a deep hole", whole(&"[".repeat(10_000)), 422, "invalid_field", None),
        ("a plan in an array", body("PUT", "/v1/orgs/acme/plan", r#"["lite"]"#), 422, "invalid_field", None),
    ]);
}

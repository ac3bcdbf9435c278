//! Bodies of the other routes.

use super::{body, check};

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
        ("no time zone", org(r#"{"time_zone":"Factory"}"#), 422, "invalid_field", Some("time_zone")),
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
            limit(r#"{"meter":"reports","scope":"org","window":"year","amount":5}"#),
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
        ("top-up -5", top_up(r#"{"meter":"reports","amount":-5}"#), 422, "invalid_field", Some("reason")),
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

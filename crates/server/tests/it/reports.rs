//! The reports API: every row of its table, with the exact bodies.

use serde_json::{Value, json};

use crate::client::{Ask, Reply};
use crate::server::TestServer;

/// The members of a native problem beside `error`.
#[track_caller]
fn refused(reply: &Reply, status: u16, error: &str, code: &str, field: Option<&str>) {
    assert_eq!(reply.status, status, "{}", reply.text());
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.json()["error"], error);
    // `fields_are_named_as_the_caller_named_them` is strict about the names.
    let told = reply.json()["field"].as_str().map(str::to_owned);
    let same = |native: &str, own: &str| told.as_deref() == Some(native) && field == Some(own);
    let field = if same("org", "org_id") || same("key", "report_id") { told.as_deref() } else { field };
    reply.has_problem_members(status, code, field);
    reply.has_request_id();
}

#[test]
fn fields_are_named_as_the_caller_named_them() {
    let server = TestServer::start();
    let mut client = server.client();
    for (path, body) in [
        ("/limit", json!({"org_id": "nobody", "limit": 5})),
        ("/use", json!({"org_id": "nobody", "report_id": "r-1"})),
        ("/top-up", json!({"org_id": "nobody", "count": 5})),
    ] {
        client.post(path, body).has_problem_members(404, "unknown_org", Some("org_id"));
    }
}

#[test]
fn plans_in_any_letter_case() {
    let server = TestServer::start();
    let mut client = server.client();
    for (place, plan) in
        ["Ultimate", "ENTERPRISE", "basic", "LiTe", "Trial", "ultimate", "Lite"].into_iter().enumerate()
    {
        let org = format!("org-{place}");
        let reply = client.post("/plan", json!({"org_id": org, "plan": plan, "color": "is ignored"}));
        reply.is(200, json!({"status": "plan set"}));
        assert_eq!(client.get(&format!("/v1/orgs/{org}")).ok()["plan"], plan.to_lowercase());
    }
}

#[test]
fn what_the_plan_route_refuses() {
    let server = TestServer::start();
    let mut client = server.client();
    let long = "x".repeat(129);
    for (body, error, code, field) in [
        (json!({"plan": "Basic"}), "the field 'org_id' is missing", "missing_field", Some("org_id")),
        (json!({"org_id": "acme"}), "the field 'plan' is missing", "missing_field", Some("plan")),
        (
            json!({"org_id": "acme", "plan": "Gold"}),
            "the catalog has no plan 'gold'",
            "unknown_plan",
            Some("plan"),
        ),
        (json!({"org_id": "acme", "plan": ""}), "plan: must not be empty", "invalid_field", Some("plan")),
        (json!({"org_id": "acme", "plan": 7}), "", "invalid_field", Some("plan")),
        (json!({"org_id": "acme", "plan": null}), "", "invalid_field", Some("plan")),
        (json!({"org_id": 7, "plan": "Basic"}), "", "invalid_field", Some("org_id")),
        (json!({"org_id": "", "plan": "Basic"}), "", "invalid_field", Some("org_id")),
        (json!({"org_id": long, "plan": "Basic"}), "", "invalid_field", Some("org_id")),
        (json!({"org_id": "a\u{7}b", "plan": "Basic"}), "", "invalid_field", Some("org_id")),
        (json!([]), "", "invalid_field", None),
    ] {
        let reply = client.post("/plan", body.clone());
        println!("{body}");
        let error = if error.is_empty() { told(&reply) } else { error.to_owned() };
        refused(&reply, 400, &error, code, field);
    }
    for body in ["", "{", "plan=Basic", "\u{0}"] {
        let reply = client.ask(&Ask::new("POST", "/plan").body(body));
        refused(&reply, 400, &told(&reply), "unreadable", None);
    }
    client.get("/v1/orgs/acme").is_problem(404, "unknown_org", Some("org"));
}

/// The words of an error that are not stated exactly; there are some.
fn told(reply: &Reply) -> String {
    let error = reply.json()["error"].as_str().unwrap_or_default().to_owned();
    assert!(!error.is_empty(), "{}", reply.text());
    error
}

#[test]
fn limits_of_at_least_one_or_null() {
    let server = TestServer::start();
    let mut client = server.client();
    let unknown = client.post("/limit", json!({"org_id": "nobody", "limit": 5}));
    refused(&unknown, 404, "org not found", "unknown_org", Some("org_id"));
    client.post("/plan", json!({"org_id": "acme", "plan": "Basic"})).ok();
    for limit in [json!(1), json!(50), json!(1_000_000), json!("25"), json!(null), json!(null)] {
        let reply = client.post("/limit", json!({"org_id": "acme", "limit": limit, "why": "is ignored"}));
        reply.is(200, json!({"status": "user limit set"}));
    }
    let before = client.get("/v1/orgs/acme").ok();
    for (body, code, field) in [
        (json!({"org_id": "acme", "limit": 0}), "invalid_field", Some("limit")),
        (json!({"org_id": "acme", "limit": -5}), "invalid_field", Some("limit")),
        (json!({"org_id": "acme", "limit": 2.5}), "invalid_field", Some("limit")),
        (json!({"org_id": "acme", "limit": "many"}), "invalid_field", Some("limit")),
        (json!({"org_id": "acme", "limit": true}), "invalid_field", Some("limit")),
        (json!({"org_id": "acme", "limit": [5]}), "invalid_field", Some("limit")),
        (json!({"org_id": "acme"}), "missing_field", Some("limit")),
        (json!({"limit": 5}), "missing_field", Some("org_id")),
    ] {
        let reply = client.post("/limit", body.clone());
        println!("{body}");
        refused(&reply, 400, &told(&reply), code, field);
    }
    assert_eq!(client.get("/v1/orgs/acme").ok(), before);
}

#[test]
fn a_report_and_its_refusals() {
    let server = TestServer::start();
    let mut client = server.client();
    let report = |body: Value| Ask::new("POST", "/use").body(body.to_string());
    let unknown = client.ask(&report(json!({"org_id": "acme", "report_id": "r-1"})));
    refused(&unknown, 404, "org not found", "unknown_org", Some("org_id"));
    client.post("/plan", json!({"org_id": "acme", "plan": "Lite"})).ok();

    // Whatever the content type says, and under both names of the id; the enquiry's goes first.
    let counted = |id: &str, remaining: i64, by_user: i64, replayed: bool| {
        json!({
            "status": "report counted", "enquiry_id": id, "remaining_credits": remaining,
            "total_credits": 20, "user_usage": by_user, "replayed": replayed
        })
    };
    for (body, id, remaining, by_user, replayed) in [
        (json!({"org_id": "acme", "report_id": "r-1"}), "r-1", 19, 0, false),
        (json!({"org_id": "acme", "report_id": "r-1"}), "r-1", 19, 0, true),
        (json!({"org_id": "acme", "enquiry_id": "r-1", "page": 3}), "r-1", 19, 0, true),
        (
            json!({"org_id": "acme", "user_id": "ada", "enquiry_id": "e-2", "report_id": "r-2"}),
            "e-2",
            18,
            1,
            false,
        ),
        (
            json!({"org_id": "acme", "user_id": null, "enquiry_id": null, "report_id": "r-2"}),
            "r-2",
            17,
            0,
            false,
        ),
        (json!({"org_id": "acme", "user_id": "ada", "report_id": "r-3"}), "r-3", 16, 2, false),
    ] {
        let ask = report(body);
        client
            .ask(&ask.clone().header("content-type", "Application/JSON; charset=utf-8"))
            .is(200, counted(id, remaining, by_user, replayed));
        client.ask(&ask).is(200, counted(id, remaining, by_user, true));
    }

    let before = client.get("/v1/orgs/acme").ok();
    for (body, status, error, code, field) in [
        (
            json!({"org_id": "acme"}),
            400,
            "the field 'report_id' is missing (or 'enquiry_id')",
            "missing_field",
            Some("report_id"),
        ),
        (json!({"report_id": "r-9"}), 400, "the field 'org_id' is missing", "missing_field", Some("org_id")),
        (json!({"org_id": "acme", "report_id": 9}), 400, "", "invalid_field", Some("report_id")),
        (json!({"org_id": "acme", "enquiry_id": ""}), 400, "", "invalid_field", Some("enquiry_id")),
        (
            json!({"org_id": "acme", "user_id": "", "report_id": "r-9"}),
            400,
            "",
            "invalid_field",
            Some("user_id"),
        ),
        (
            json!({"org_id": "acme", "user_id": "ben", "report_id": "r-3"}),
            422,
            "the report id was used for another content",
            "key_reused",
            Some("report_id"),
        ),
        (json!("report"), 400, "", "invalid_field", None),
    ] {
        println!("{body}");
        let reply = client.ask(&report(body));
        let error = if error.is_empty() { told(&reply) } else { error.to_owned() };
        refused(&reply, status, &error, code, field);
    }
    assert_eq!(client.get("/v1/orgs/acme").ok(), before);

    // The whole of two refusals.
    for number in 4..=19 {
        client.ask(&report(json!({"org_id": "acme", "report_id": format!("x-{number}")}))).ok();
    }
    client.post("/limit", json!({"org_id": "acme", "limit": 2})).ok();
    let limit = |scope: Value, amount: i64, used: i64| {
        let mut limit = json!({"window": "month", "amount": amount, "used": used, "remaining": amount - used, "resets_at": "2026-12-01T00:00:00Z"});
        if let (Some(limit), Some(scope)) = (limit.as_object_mut(), scope.as_object()) {
            limit.extend(scope.clone());
        }
        limit
    };
    let reply = client.ask(&report(json!({"org_id": "acme", "user_id": "ada", "report_id": "r-20"})));
    assert_eq!(reply.status, 403);
    assert_eq!(
        reply.json(),
        json!({
            "error": "limit reached", "type": "urn:tollgate:problem:org_limit_reached",
            "title": "The organization's limit is reached", "status": 403,
            "detail": "1 asked, 0 left: 20 of 20 reports are used; top up, or set a larger plan",
            "code": "org_limit_reached", "allowed": false, "quantity": 1, "remaining": 0,
            "limit": limit(json!({"scope": "org"}), 20, 20), "request_id": reply.header("x-request-id")
        })
    );
    client.post("/top-up", json!({"org_id": "acme", "count": 3})).ok();
    let reply = client.ask(&report(json!({"org_id": "acme", "user_id": "ada", "report_id": "r-20"})));
    assert_eq!(reply.status, 403);
    assert_eq!(
        reply.json(),
        json!({
            "error": "user limit reached", "type": "urn:tollgate:problem:user_limit_reached",
            "title": "The user's limit is reached", "status": 403,
            "detail": "1 asked, 0 left: 2 of 2 reports a month are used by user 'ada'",
            "code": "user_limit_reached", "allowed": false, "quantity": 1, "remaining": 3,
            "limit": limit(json!({"scope": "user", "user": "ada"}), 2, 2),
            "request_id": reply.header("x-request-id")
        })
    );
    let reply = client.ask(&report(json!({"org_id": "acme", "report_id": "r-20"})));
    let error = "user_id is required while a user limit is in force";
    refused(&reply, 400, error, "user_required", Some("user_id"));

    // A report that was taken back stays taken back.
    client.post("/v1/usage/reversals", json!({"org": "acme", "key": "r-1"})).ok();
    let reply = client.ask(&report(json!({"org_id": "acme", "report_id": "r-1"})));
    refused(&reply, 409, "the report was taken back", "key_reversed", Some("report_id"));
}

#[test]
fn no_plan_and_trial_ended() {
    let server = TestServer::start();
    let mut client = server.client();
    client.put("/v1/orgs/acme", json!({"name": "Acme"})).ok();
    let report = json!({"org_id": "acme", "report_id": "r-1"});
    refused(&client.post("/use", report.clone()), 403, "no plan", "no_plan", None);
    let top_up = json!({"org_id": "acme", "count": 5});
    refused(&client.post("/top-up", top_up.clone()), 403, "no plan", "no_plan", None);
    client.post("/plan", json!({"org_id": "acme", "plan": "Trial"})).ok();
    server.at("2026-11-16T10:00:00Z");
    refused(&client.post("/use", report), 403, "trial ended", "trial_ended", None);
    refused(&client.post("/top-up", top_up), 403, "trial ended", "trial_ended", None);
    client.post("/plan", json!({"org_id": "acme", "plan": "Basic"})).ok();
    let again = client.post("/plan", json!({"org_id": "acme", "plan": "Trial"}));
    refused(&again, 400, "the organization 'acme' has had its trial", "trial_used", Some("plan"));
}

#[test]
fn top_ups_of_at_least_one() {
    let server = TestServer::start();
    let mut client = server.client();
    let unknown = client.post("/top-up", json!({"org_id": "nobody", "count": 5}));
    refused(&unknown, 404, "org not found", "unknown_org", Some("org_id"));
    client.post("/plan", json!({"org_id": "acme", "plan": "Lite"})).ok();
    for (body, count, total) in [
        (json!({"org_id": "acme", "count": 5}), 5, 25),
        (json!({"org_id": "acme", "credits": 7, "note": "is ignored"}), 7, 32),
        (json!({"org_id": "acme", "count": 1, "credits": 900}), 1, 33),
        (json!({"org_id": "acme", "count": null, "credits": 2}), 2, 35),
    ] {
        client.post("/top-up", body).is(
            200,
            json!({
                "status": "credits topped up", "top_up_credits": count,
                "remaining_credits": total, "total_credits": total
            }),
        );
    }
    let before = client.get("/v1/orgs/acme").ok();
    for (body, code, field) in [
        (json!({"org_id": "acme", "count": 0}), "invalid_field", Some("count")),
        (json!({"org_id": "acme", "count": -10}), "invalid_field", Some("count")),
        (json!({"org_id": "acme", "credits": -10}), "invalid_field", Some("credits")),
        (json!({"org_id": "acme", "count": 0.5}), "invalid_field", Some("count")),
        (json!({"org_id": "acme", "count": "lots"}), "invalid_field", Some("count")),
        (json!({"org_id": "acme", "count": 1e15}), "invalid_field", Some("count")),
        (json!({"org_id": "acme"}), "missing_field", Some("count")),
        (json!({"count": 5}), "missing_field", Some("org_id")),
    ] {
        println!("{body}");
        let reply = client.post("/top-up", body);
        refused(&reply, 400, &told(&reply), code, field);
    }
    assert_eq!(client.get("/v1/orgs/acme").ok(), before);
}

#[test]
fn refusals_at_the_edge_speak_the_compatible_apis_dialect_too() {
    let server = TestServer::with(|settings| {
        settings.api_key = Some(tollgate_server::Secret("the-first-admin-key".to_owned()));
    });
    let mut client = server.client();
    for path in ["/plan", "/limit", "/use", "/top-up"] {
        println!("{path}");
        let reply = client.post(path, json!({"org_id": "acme"}));
        refused(&reply, 401, &told(&reply), "unauthorized", None);
        let reply = client.ask(&Ask::new("GET", path));
        refused(&reply, 405, &told(&reply), "method_not_allowed", None);
    }
    let mut client = server.client().with_key("the-first-admin-key");
    let reply = client.ask(&Ask::new("POST", "/use").body(vec![b' '; 65 * 1024]));
    refused(&reply, 413, &told(&reply), "body_too_large", None);
}

//! Who may call what: without a key, with a wrong or revoked one, with one of a lesser role or of another org.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tollgate_server::Secret;

use crate::client::{Ask, Client, given};
use crate::server::TestServer;

const ADMIN: &str = "the-first-admin-key";

fn guarded() -> TestServer {
    let server = TestServer::with(|settings| settings.api_key = Some(Secret(ADMIN.to_owned())));
    let mut admin = server.client().with_key(ADMIN);
    for org in ["acme", "globex"] {
        admin.put(&format!("/v1/orgs/{org}/plan"), json!({"plan": "basic"})).ok();
    }
    server
}

fn make(admin: &mut Client, role: &str, org: Option<&str>) -> (String, String) {
    let reply = admin.post("/v1/api-keys", given(json!({"name": role, "role": role, "org": org})));
    assert_eq!(reply.status, 201, "{}", reply.text());
    let key = reply.json();
    let text = |name: &str| key[name].as_str().expect("a text").to_owned();
    (text("secret"), text("id"))
}

/// A route, with a request that it takes, and the roles that may call it.
fn routes(org: &str, key: &str) -> Vec<(Ask, &'static [&'static str])> {
    const GATE: &[&str] = &["ingest", "manage", "admin"];
    const READ: &[&str] = &["read", "manage", "admin"];
    const ANY: &[&str] = &["ingest", "read", "manage", "admin"];
    const MANAGE: &[&str] = &["manage", "admin"];
    const ADMIN: &[&str] = &["admin"];
    let get = |path: &str| Ask::new("GET", path);
    let of = |rest: &str| format!("/v1/orgs/{org}{rest}");
    let put = |path: String, body: Value| Ask::new("PUT", &path).json(body);
    let post = |path: &str, body: Value| Ask::new("POST", path).json(body);
    let form = |path: &str, body: &str| {
        Ask::new("POST", path).header("content-type", "application/x-www-form-urlencoded").body(body)
    };
    let usage = json!({"org": org, "user": "ada", "meter": "reports", "key": key});
    let limit = json!({"meter": "reports", "scope": "user", "amount": 50});
    vec![
        (post("/v1/usage", usage.clone()), GATE),
        (post("/v1/usage/check", usage.clone()), ANY),
        (post("/v1/usage/batch", json!([usage])), GATE),
        (post("/v1/usage/reversals", json!({"org": org, "key": key})), GATE),
        (get("/v1/orgs"), READ),
        (get(&of("")), READ),
        (put(of(""), json!({"name": "A name"})), MANAGE),
        (put(of("/plan"), json!({"plan": "basic"})), MANAGE),
        (put(of("/limits"), limit), MANAGE),
        (Ask::new("DELETE", &of("/limits?meter=reports&scope=user")), MANAGE),
        (post(&of("/top-ups"), json!({"meter": "reports", "amount": 1})), MANAGE),
        (post(&of("/portal-links"), json!({})), MANAGE),
        (get(&of("/balance")), READ),
        (get(&of("/users?meter=reports")), READ),
        (get(&of("/paths?meter=reports")), READ),
        (get(&of("/usage?meter=reports")), READ),
        (get(&of("/ledger")), READ),
        (get(&of("/bill")), READ),
        (post(&of("/bill/close"), json!({"month": "2026-11"})), MANAGE),
        (post("/v1/whatif", json!({"catalog": tollgate_domain::catalog::DEFAULT, "month": "2026-11"})), READ),
        (get(&of("/ledger/1")), READ),
        (get("/v1/notices"), READ),
        (get("/v1/catalog"), READ),
        (get("/v1/catalog/versions"), READ),
        (get("/v1/catalog/versions/1"), READ),
        (Ask::new("PUT", "/v1/catalog?dry_run=true").toml(tollgate_domain::catalog::DEFAULT), ADMIN),
        (get("/v1/api-keys"), ADMIN),
        (post("/v1/api-keys", json!({"name": "n", "role": "read"})), ADMIN),
        (get("/metrics"), READ),
        (
            post(
                "/api/v1/usage",
                json!({"customer_id": org, "resource_type": "gpu", "quantity": 1, "id": format!("{key}-billing")}),
            ),
            GATE,
        ),
        (get(&format!("/api/v1/usage/{org}")), READ),
        (get(&format!("/api/v1/billing/{org}")), READ),
        (post("/plan", json!({"org_id": org, "plan": "Basic"})), MANAGE),
        (post("/limit", json!({"org_id": org, "limit": 50})), MANAGE),
        (post("/use", json!({"org_id": org, "user_id": "ada", "report_id": format!("{key}-compat")})), GATE),
        (post("/top-up", json!({"org_id": org, "count": 1})), MANAGE),
        (
            form(
                "/v1/billing/meter_events",
                &format!(
                    "event_name=reports&payload[value]=1&payload[stripe_customer_id]={org}&identifier={key}-stripe"
                ),
            ),
            GATE,
        ),
        (
            form(
                "/v1/billing/meter_event_adjustments",
                &format!(
                    "event_name=reports&type=cancel&cancel[stripe_customer_id]={org}&cancel[identifier]={key}-stripe"
                ),
            ),
            GATE,
        ),
    ]
}

#[test]
fn each_role_may_call_its_routes_and_no_others() {
    let server = guarded();
    let mut admin = server.client().with_key(ADMIN);
    server.at("2026-12-01T00:00:00Z");
    for role in ["ingest", "read", "manage", "admin"] {
        let (secret, _) = make(&mut admin, role, None);
        let mut client = server.client().with_key(&secret);
        for (ask, roles) in routes("acme", role) {
            let reply = client.ask(&ask);
            let place = format!("{role}: {} {}: {}", ask.method, ask.path, reply.text());
            if roles.contains(&role) {
                assert!(reply.status < 300, "{place}");
            } else {
                assert_eq!(reply.status, 403, "{place}");
                reply.has_problem_members(403, "forbidden", None);
            }
        }
    }
}

#[test]
fn without_a_valid_key_nothing_is_told() {
    let server = guarded();
    let mut admin = server.client().with_key(ADMIN);
    let before = admin.get("/v1/orgs").ok();
    let (revoked, id) = make(&mut admin, "admin", None);
    admin.delete(&format!("/v1/api-keys/{id}")).ok();
    let with_password = format!("Basic {}", BASE64.encode(format!("{ADMIN}:x")));
    let headers = [
        ("none", vec![]),
        ("unknown", vec![("authorization", "Bearer tg_unknown")]),
        ("empty", vec![("authorization", "Bearer ")]),
        ("revoked", vec![("x-api-key", revoked.as_str())]),
        ("another scheme", vec![("authorization", "Digest dXNlcjpwYXNz")]),
        ("a user with a password", vec![("authorization", with_password.as_str())]),
        ("a user that is no text", vec![("authorization", "Basic /zo=")]),
        ("no scheme", vec![("authorization", ADMIN)]),
        ("half of it", vec![("x-api-key", &ADMIN[..ADMIN.len() - 1])]),
        ("its hash", vec![("x-api-key", "0000000000000000000000000000000000000000000000000000000000000000")]),
    ];
    for (name, headers) in headers {
        let mut client = server.client();
        for (ask, _) in routes("acme", "k") {
            let ask = headers.iter().fold(ask, |ask, (name, value)| ask.header(name, value));
            let reply = client.ask(&ask);
            assert_eq!(reply.status, 401, "{name}: {} {}: {}", ask.method, ask.path, reply.text());
            reply.has_problem_members(401, "unauthorized", None);
            assert_eq!(reply.header("www-authenticate"), Some("Bearer"), "{name}: {}", ask.path);
        }
    }
    assert_eq!(admin.get("/v1/orgs").ok(), before);
    // What nobody needs a key for.
    for path in ["/health", "/ready", "/openapi.json", "/docs"] {
        assert_eq!(server.client().get(path).status, 200, "{path}");
    }
}

#[test]
fn both_headers_are_taken() {
    let server = guarded();
    let mut client = server.client();
    for (name, value) in [
        ("Authorization", format!("Bearer {ADMIN}")),
        // As curl sends `-u KEY:`.
        ("Authorization", format!("Basic {}", BASE64.encode(format!("{ADMIN}:")))),
        ("authorization", format!("bearer {ADMIN}")),
        ("X-API-Key", ADMIN.to_owned()),
    ] {
        client.ask(&Ask::new("GET", "/v1/orgs").header(name, &value)).ok();
    }
}

#[test]
fn a_key_of_one_org_names_no_other() {
    let server = guarded();
    let mut admin = server.client().with_key(ADMIN);
    let before = admin.get("/v1/orgs/globex").ok();
    for role in ["ingest", "read", "manage", "admin"] {
        let (secret, _) = make(&mut admin, role, Some("acme"));
        let mut client = server.client().with_key(&secret);
        for (ask, roles) in routes("globex", role) {
            let reply = client.ask(&ask);
            let place = format!("{role}: {} {}: {}", ask.method, ask.path, reply.text());
            if ask.path == "/v1/usage/batch" && roles.contains(&role) {
                // Each record is told by itself.
                let results = reply.ok()["results"].clone();
                assert_eq!(
                    (&results[0]["index"], &results[0]["code"]),
                    (&json!(0), &json!("forbidden")),
                    "{place}"
                );
                continue;
            }
            if ask.path == "/v1/orgs" && ask.method == "GET" && roles.contains(&role) {
                assert_eq!(reply.status, 200, "{place}");
            } else {
                assert_eq!((reply.status, &reply.json()["code"]), (403, &json!("forbidden")), "{place}");
                // The role would do; it is the organization that does not.
                let detail = reply.json()["detail"].clone();
                let is_bound =
                    detail.as_str().is_some_and(|detail| detail.contains("is bound to the organization"));
                assert_eq!(is_bound, roles.contains(&role), "{place}");
            }
        }
        if role != "ingest" {
            let listed = client.get("/v1/orgs").ok();
            assert_eq!(listed["orgs"].as_array().map(Vec::len), Some(1), "only its own: {listed}");
            assert_eq!(listed["orgs"][0]["org"], "acme");
        }
        let own = json!({"org": "acme", "meter": "reports", "key": role});
        let wanted = if role == "read" { 403 } else { 200 };
        assert_eq!(client.post("/v1/usage", own).status, wanted, "{role}");
    }
    assert_eq!(admin.get("/v1/orgs/globex").ok(), before);
}

#[test]
fn the_life_of_api_keys() {
    let mut server = TestServer::start();
    let mut anyone = server.client();
    // Nobody needs a key until there is one, and the first must be able to make others.
    assert_eq!(anyone.get("/v1/api-keys").ok(), json!({"api_keys": [], "next": null}));
    let made = anyone.post("/v1/api-keys", json!({"name": "first", "role": "admin"}));
    let first = made.json();
    let (secret, id) = (first["secret"].as_str().expect("a secret"), first["id"].as_str().expect("an id"));
    made.is(
        201,
        json!({
            "secret": secret, "id": id, "name": "first", "role": "admin", "org": null,
            "created_at": "2026-11-02T10:00:00Z", "revoked_at": null
        }),
    );
    assert!(secret.starts_with("tg_") && secret.len() >= 40 && id.len() == 16, "{secret} {id}");
    assert!(!secret.contains(id), "the id says nothing of the secret");
    anyone.get("/v1/api-keys").is_problem(401, "unauthorized", None);

    let mut admin = server.client().with_key(secret);
    server.at("2026-11-03T00:00:00Z");
    let (ingest, ingest_id) = make(&mut admin, "ingest", Some("acme"));
    let listed = admin.get("/v1/api-keys").ok();
    let text = listed.to_string();
    assert!(!text.contains(secret) && !text.contains(&ingest), "no list shows a secret: {text}");
    let mut ids: Vec<_> = [id, &ingest_id].map(str::to_owned).to_vec();
    ids.sort();
    let found: Vec<_> =
        listed["api_keys"].as_array().expect("keys").iter().map(|key| key["id"].clone()).collect();
    assert_eq!(found, ids);
    let page = admin.get("/v1/api-keys?limit=1").ok();
    let next = page["next"].as_str().expect("there is more");
    let rest = admin.get(&format!("/v1/api-keys?limit=1&cursor={next}")).ok();
    assert_eq!((&page["api_keys"][0]["id"], &rest["api_keys"][0]["id"]), (&json!(ids[0]), &json!(ids[1])));
    assert_eq!(rest["next"], Value::Null);

    admin.put("/v1/orgs/acme/plan", json!({"plan": "lite"})).ok();
    let usage = |key: &str| json!({"org": "acme", "meter": "reports", "key": key});
    let mut caller = server.client().with_key(&ingest);
    caller.post("/v1/usage", usage("k-1")).ok();
    server.at("2026-11-04T00:00:00Z");
    let revoked = json!({
        "id": ingest_id, "name": "ingest", "role": "ingest", "org": "acme",
        "created_at": "2026-11-03T00:00:00Z", "revoked_at": "2026-11-04T00:00:00Z"
    });
    admin.delete(&format!("/v1/api-keys/{ingest_id}")).is(200, revoked.clone());
    caller.post("/v1/usage", usage("k-2")).is_problem(401, "unauthorized", None);
    server.at("2026-11-05T00:00:00Z");
    admin.delete(&format!("/v1/api-keys/{ingest_id}")).is(200, revoked);

    // All of it outlives the process.
    server.restart();
    let (mut anyone, mut admin) = (server.client(), server.client().with_key(secret));
    let mut caller = server.client().with_key(&ingest);
    anyone.get("/v1/orgs").is_problem(401, "unauthorized", None);
    caller.post("/v1/usage", usage("k-2")).is_problem(401, "unauthorized", None);
    assert_eq!(admin.get("/v1/orgs/acme/balance").ok()["meters"]["reports"]["used"], 1);

    // With the last admin key gone, nobody could make another. One of lesser rights, or of one org, is no substitute.
    make(&mut admin, "admin", Some("acme"));
    admin.delete(&format!("/v1/api-keys/{id}")).is_problem(409, "last_admin_key", Some("id"));
    server.restart();
    let mut admin = server.client().with_key(secret);
    admin.delete(&format!("/v1/api-keys/{id}")).is_problem(409, "last_admin_key", Some("id"));
    make(&mut admin, "admin", None);
    admin.delete(&format!("/v1/api-keys/{id}")).ok();
    admin.get("/v1/orgs").is_problem(401, "unauthorized", None);
}

#[test]
fn two_admins_cannot_revoke_each_other_at_once() {
    for round in 0..20 {
        let server = TestServer::start();
        let first = server.client().post("/v1/api-keys", json!({"name": "first", "role": "admin"})).json();
        let text = |name: &str| first[name].as_str().expect("a text").to_owned();
        let (secret, id) = (text("secret"), text("id"));
        let second = make(&mut server.client().with_key(&secret), "admin", None);
        let revoke = |by: &str, id: &str| {
            let mut client = server.client().with_key(by);
            let path = format!("/v1/api-keys/{id}");
            move || client.delete(&path).status
        };
        let both = [revoke(&secret, &second.1), revoke(&second.0, &id)];
        let statuses = std::thread::scope(|scope| {
            both.map(|both| scope.spawn(both)).map(std::thread::ScopedJoinHandle::join)
        });
        let [one, other] = statuses.map(|status| status.expect("an answer"));
        // The other comes too late: its key is gone, or is the last.
        let fine = matches!((one, other), (200, 401 | 409) | (401 | 409, 200));
        assert!(fine, "round {round}: {one} and {other}");
    }
}

#[test]
fn with_an_admin_key_in_the_settings_no_stored_one_is_the_last() {
    let server = guarded();
    let mut admin = server.client().with_key(ADMIN);
    let (secret, id) = make(&mut admin, "admin", None);
    server.client().with_key(&secret).delete(&format!("/v1/api-keys/{id}")).ok();
    // The server does not stand open again.
    server.client().get("/v1/orgs").is_problem(401, "unauthorized", None);
}

#[test]
fn entries_say_who_caused_them() {
    let server = guarded();
    let mut admin = server.client().with_key(ADMIN);
    let (first, second) = (make(&mut admin, "ingest", None), make(&mut admin, "ingest", None));
    let mut with = [&first, &second].map(|(secret, _)| server.client().with_key(secret));
    let usage = json!({"org": "acme", "meter": "reports", "key": "r-1"});
    assert_eq!(with[0].post("/v1/usage", usage.clone()).ok()["replayed"], false);
    // Who asks is no part of what is asked.
    assert_eq!(with[1].post("/v1/usage", usage).ok()["replayed"], true);
    with[1].post("/v1/usage/batch", json!([{"org": "acme", "meter": "reports", "key": "r-2"}])).ok();
    with[1].post("/v1/usage/reversals", json!({"org": "acme", "key": "r-1"})).ok();
    let usage = json!({"customer_id": "acme", "resource_type": "reports", "quantity": 5});
    assert_eq!(with[0].post("/api/v1/usage", usage).status, 201);
    let ledger = admin.get("/v1/orgs/acme/ledger?order=oldest").ok();
    let entries = ledger["entries"].as_array().expect("entries").iter();
    let found: Vec<Option<&str>> = entries.map(|entry| entry["actor"].as_str()).collect();
    let (first, second) = (Some(first.1.as_str()), Some(second.1.as_str()));
    assert_eq!(found, [Some("configured"), first, second, second, first], "{ledger:#}");
}

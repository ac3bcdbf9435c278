//! The console and the portal over HTTP: who sees what, who may change what, and in whose name.

mod browser;
mod channels;
mod holds;
mod lists;
mod plans;

use serde_json::{Value, json};
use tollgate_server::{Origins, Reach, Secret};

use crate::client::{Ask, Client, Reply};
use crate::server::TestServer;

const ADMIN: &str = "the-admin-key";

/// A person with a browser: keeps the cookie, and brings back the token of the last page.
struct Person {
    client: Client,
    cookie: Option<String>,
    token: String,
}

impl Person {
    fn new(server: &TestServer) -> Self {
        Self { client: server.client(), cookie: None, token: String::new() }
    }

    fn ask(&mut self, ask: Ask) -> Reply {
        let ask = match &self.cookie {
            Some(cookie) => ask.header("cookie", &format!("tollgate_session={cookie}")),
            None => ask,
        };
        let reply = self.client.ask(&ask);
        if let Some(cookie) = reply.header("set-cookie") {
            for part in ["Path=/console", "HttpOnly", "SameSite=Strict"] {
                assert!(cookie.contains(part), "{cookie}");
            }
            let value = cookie.split(['=', ';']).nth(1).expect("a value");
            self.cookie = Some(value.to_owned()).filter(|value| !value.is_empty());
        }
        if let Some((_, rest)) = reply.text().split_once("name=\"token\" value=\"") {
            self.token = rest.split('"').next().expect("a token").to_owned();
        }
        reply
    }

    fn get(&mut self, path: &str) -> Reply {
        self.ask(Ask::new("GET", path))
    }

    /// Opens a page that must be there.
    #[track_caller]
    fn page(&mut self, path: &str) -> String {
        let reply = self.get(path);
        assert_eq!(reply.status, 200, "{path}: {} {:?}", reply.text(), reply.headers);
        reply.text()
    }

    /// Sends a form with the token that the last page had.
    fn send(&mut self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let token = self.token.clone();
        self.send_with(path, fields, &token)
    }

    fn send_with(&mut self, path: &str, fields: &[(&str, &str)], token: &str) -> Reply {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields).append_pair("token", token);
        let body = form.finish();
        self.ask(
            Ask::new("POST", path).header("content-type", "application/x-www-form-urlencoded").body(body),
        )
    }

    fn sign_in(&mut self, key: &str) -> Reply {
        self.page("/console/sign-in");
        self.send("/console/sign-in", &[("key", key), ("to", "")])
    }

    fn signed_in(server: &TestServer, key: &str) -> Self {
        let mut person = Self::new(server);
        let reply = person.sign_in(key);
        leads(&reply, "/console");
        person
    }
}

#[track_caller]
fn leads(reply: &Reply, to: &str) {
    assert_eq!((reply.status, reply.header("location")), (303, Some(to)), "{}", reply.text());
}

fn keyed() -> TestServer {
    TestServer::with(|settings| {
        settings.api_key = Some(Secret(ADMIN.to_owned()));
        settings.webhook_reach = Reach::Anywhere;
    })
}

/// The secret of a new key.
fn key(server: &TestServer, role: &str, org: Option<&str>) -> String {
    let mut body = json!({"name": format!("a {role}"), "role": role});
    if let Some(org) = org {
        body["org"] = json!(org);
    }
    let made = server.client().with_key(ADMIN).post("/v1/api-keys", body);
    made.json()["secret"].as_str().expect("a secret").to_owned()
}

/// An organization with a plan, a user, some usage, a top-up (entry 6) and a hold (entry 7).
fn furnish(client: &mut Client, org: &str) {
    let path = format!("/v1/orgs/{}", percent(org));
    client.put(&path, json!({"time_zone": "Europe/Berlin"})).ok();
    client.put(&format!("{path}/plan"), json!({"plan": "basic"})).ok();
    for number in 0..3 {
        let usage = json!({"org": org, "user": "ada", "meter": "reports", "key": format!("k{number}")});
        client.post("/v1/usage", usage).ok();
    }
    client
        .post(&format!("{path}/top-ups"), json!({"meter": "reports", "amount": 25, "reason": "goodwill"}))
        .ok();
    let hold = json!({"org": org, "user": "ada", "meter": "reports", "quantity": 2, "key": "run-1", "expires_in": 7_200});
    client.post("/v1/holds", hold).ok();
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// Every page that shows something of an organization, or of all.
fn pages(org: &str) -> Vec<String> {
    let mut pages: Vec<String> = [
        "",
        "/orgs",
        "/orgs?sort=used&used_at_least=1",
        "/usage",
        "/plans",
        "/plans/try",
        "/bills",
        "/notices",
        "/channels",
        "/keys",
        "/health",
    ]
    .map(|page| format!("/console{page}"))
    .into();
    let org = percent(org);
    for page in ["", "/users", "/paths", "/holds", "/ledger", "/ledger/3", "/bills"] {
        pages.push(format!("/console/orgs/{org}{page}"));
    }
    for query in ["", "&group_by=user", "&window=month"] {
        pages.push(format!("/console/usage?org={org}&meter=reports{query}"));
    }
    pages
}

/// What a page must be, whatever it shows.
#[track_caller]
fn is_sound(reply: &Reply, path: &str) {
    let text = reply.text();
    assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"), "{path}");
    let policy = reply.header("content-security-policy").expect("a policy");
    assert!(
        policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
        "{path}: {policy}"
    );
    assert!(!policy.contains("unsafe"), "{path}: {policy}");
    assert_eq!(reply.header("cache-control"), Some("no-store"), "{path}");
    for banned in ["<script", " style=", "javascript:", " onclick", " onerror=\"", "<style"] {
        assert!(!text.contains(banned), "{path} has {banned}: {text}");
    }
    for tag in [
        "div", "p", "table", "tbody", "tr", "section", "form", "details", "ul", "li", "bdi", "select",
        "main", "textarea", "fieldset", "span",
    ] {
        let opened =
            [">", " "].map(|end| text.matches(&format!("<{tag}{end}")).count()).iter().sum::<usize>();
        assert_eq!(opened, text.matches(&format!("</{tag}>")).count(), "{path}: <{tag}>\n{text}");
    }
    assert!(text.matches("<h1").count() == 1, "{path}: {text}");
}

#[test]
fn every_page_is_there_with_a_strict_policy_and_no_script() {
    let server = TestServer::start();
    let mut person = Person::new(&server);
    for path in ["/console", "/console/orgs", "/console/usage", "/console/bills", "/console/keys"] {
        is_sound(&person.get(path), path);
    }
    assert!(person.page("/console/orgs").contains("tollgate plan set"), "an empty list says what to do");
    furnish(&mut server.client(), "acme");
    for path in pages("acme") {
        let reply = person.get(&path);
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        is_sound(&reply, &path);
    }
    for path in ["/console/orgs/nobody", "/console/orgs/acme/ledger/99"] {
        let reply = person.get(path);
        assert_eq!(reply.status, 404, "{path}");
        is_sound(&reply, path);
    }
    let style = person.get("/console/style.css?v=1");
    let sheet = style.text();
    assert!(style.header("cache-control").is_some_and(|kept| kept.contains("immutable")));
    assert!(sheet.len() < 20_000 && !sheet.contains("url(") && !sheet.contains("@import"), "{}", sheet.len());
}

#[test]
fn names_that_would_be_markup_are_text() {
    let hostile =
        ["\"><img src=x onerror=alert(1)>'", "\u{202e}\u{2067}rtl\u{5d0}\u{5d1}", &"\u{5bec}".repeat(128)];
    let server = TestServer::start();
    let mut client = server.client();
    let mut person = Person::new(&server);
    for name in hostile {
        let shown: String = name.chars().filter(|character| character.is_alphanumeric()).collect();
        for org in ["acme", name] {
            // An id may be refused; what is taken must be shown as text.
            let made = client.put(&format!("/v1/orgs/{}", percent(org)), json!({"name": name}));
            if made.status != 200 {
                continue;
            }
            furnish(&mut client, org);
            let usage =
                json!({"org": org, "user": name, "meter": "reports", "key": format!("u{}", shown.len())});
            let _ = client.post("/v1/usage", usage);
            for path in pages(org) {
                let reply = person.get(&path);
                assert!(reply.status < 500, "{path}: {}", reply.text());
                is_sound(&reply, &path);
                assert!(!reply.text().contains("<img"), "{path}");
            }
            let name = person.send(
                &format!("/console/orgs/{}/name", percent(org)),
                &[("name", name), ("time_zone", name)],
            );
            is_sound(&name, "a form that is shown again");
        }
    }
}

#[test]
fn who_is_not_signed_in_is_asked_to_and_sees_nothing() {
    let server = keyed();
    furnish(&mut server.client().with_key(ADMIN), "acme");
    let mut person = Person::new(&server);
    for path in pages("acme") {
        let reply = person.get(&path);
        assert_eq!((reply.status, reply.text().as_str()), (303, ""), "{path}");
        assert!(reply.header("location").is_some_and(|to| to.starts_with("/console/sign-in")), "{path}");
    }
    is_sound(&person.get("/console/sign-in"), "/console/sign-in");
    let ingest = key(&server, "ingest", None);
    for (key, says) in [("wrong", "not known"), (ingest.as_str(), "sees nothing"), ("", "not known")] {
        let reply = person.sign_in(key);
        assert_eq!(reply.status, 401, "{}", reply.text());
        assert!(reply.text().contains(says), "{}", reply.text());
        assert_eq!(person.get("/console").status, 303);
    }
    // A link from elsewhere comes without a cookie: the page asks once more, and then with it.
    let linked = person.ask(Ask::new("GET", "/console/orgs/acme").header("sec-fetch-site", "cross-site"));
    assert_eq!(linked.header("refresh"), Some("0; url=/console/orgs/acme"));
}

#[test]
fn sessions_begin_afresh_and_end() {
    let server = keyed();
    let mut person = Person::new(&server);
    // A cookie that somebody else chose is nobody's session, and is not kept.
    person.page("/console/sign-in");
    let planted = person.cookie.clone().expect("a cookie");
    leads(&person.send("/console/sign-in", &[("key", ADMIN), ("to", "/console/orgs")]), "/console/orgs");
    assert_ne!(person.cookie.as_deref(), Some(planted.as_str()), "signing in gives another id");
    let mut attacker = Person::new(&server);
    attacker.cookie = Some(planted);
    assert_eq!(attacker.get("/console").status, 303);
    assert!(person.page("/console").contains("key of the settings"));

    // Signed out here: the cookie is of no use to whoever kept it.
    let kept = person.cookie.clone();
    leads(&person.send("/console/sign-out", &[("where", "here")]), "/console/sign-in");
    assert_eq!(person.cookie, None);
    person.cookie = kept;
    assert_eq!(person.get("/console").status, 303);

    // Signed out everywhere: on this machine and on the other.
    let mut one = Person::signed_in(&server, ADMIN);
    let mut other = Person::signed_in(&server, ADMIN);
    other.page("/console");
    one.page("/console");
    leads(&one.send("/console/sign-out", &[("where", "everywhere")]), "/console/sign-in");
    assert_eq!(other.get("/console").status, 303);

    // Its time is over.
    let mut person = Person::signed_in(&server, ADMIN);
    server.at("2026-11-02T21:59:59Z");
    person.page("/console");
    server.at("2026-11-02T22:00:00Z");
    assert_eq!(person.get("/console").status, 303);

    // Its key is revoked.
    let secret = key(&server, "read", None);
    let mut reader = Person::signed_in(&server, &secret);
    let keys = server.client().with_key(ADMIN).get("/v1/api-keys").ok();
    let id = keys["api_keys"][0]["id"].as_str().expect("an id");
    server.client().with_key(ADMIN).delete(&format!("/v1/api-keys/{id}")).ok();
    assert_eq!(reader.get("/console").status, 303);
}

/// A webhook to where nobody listens; gives the address of its page.
fn hook(server: &TestServer) -> String {
    let setup = json!({"name": "hook", "kind": "webhook", "url": "http://127.0.0.1:9/"});
    let made = server.client().with_key(ADMIN).post("/v1/channels", setup).json();
    format!("/console/channels/{}", made["id"].as_str().expect("an id"))
}

/// A catalog with the plans that the tests use, and a meter more than the one in force.
const ANOTHER: &str = concat!(
    include_str!("../../../../../catalog.toml"),
    "\n[[meters]]\nid = \"pages\"\nname = \"Pages\"\nunit = \"page\"\n"
);

type Fields = Vec<(&'static str, &'static str)>;

/// Every form, with fields that the API would take; one of them makes a channel, others change the one of a page.
fn forms(channel: &str) -> Vec<(String, Fields)> {
    let of_channel = [
        ("", vec![("name", "Desk"), ("notice-limit_reached", "on"), ("orgs", "acme\r\nbeta")]),
        ("/state", vec![("enabled", "false")]),
        ("/test", vec![]),
        ("/secret", vec![("overlap_hours", "1")]),
        ("/replay", vec![("since", "2026-11-01T00:00:00Z")]),
        ("/remove", vec![]),
    ];
    let of_channel = of_channel.map(|(path, fields)| (format!("{channel}{path}"), fields));
    let elsewhere: Vec<(&str, Fields)> = vec![
        ("/console/channels", vec![("name", "people"), ("kind", "log")]),
        ("/console/plans/apply", vec![("version", "1"), ("month", "2026-11"), ("catalog", ANOTHER)]),
        ("/console/orgs", vec![("org", "new"), ("name", "New"), ("time_zone", "UTC"), ("plan", "basic")]),
        ("/console/orgs/acme/top-ups", vec![("meter", "reports"), ("amount", "10")]),
        ("/console/orgs/acme/top-ups/6/void", vec![("reason", "twice")]),
        ("/console/orgs/acme/plan", vec![("plan", "enterprise"), ("at", "next_month")]),
        ("/console/orgs/acme/plan/call-off", vec![]),
        ("/console/orgs/acme/holds/7-acme/release", vec![]),
        (
            "/console/orgs/acme/limits",
            vec![("meter", "reports"), ("scope", "user"), ("window", "month"), ("amount", "50")],
        ),
        ("/console/orgs/acme/notices", vec![("thresholds", "50, 90 %")]),
        ("/console/orgs/acme/name", vec![("name", "Acme & Sons"), ("time_zone", "Europe/Paris")]),
        ("/console/orgs/acme/portal-links", vec![("expires_in", "3600")]),
        ("/console/keys", vec![("name", "one more"), ("role", "admin")]),
    ];
    let elsewhere = elsewhere.into_iter().map(|(path, fields)| (path.to_owned(), fields));
    elsewhere.chain(of_channel).collect()
}

/// All that a test may have changed.
fn everything(server: &TestServer) -> Value {
    let mut client = server.client().with_key(ADMIN);
    let all = ["/v1/orgs", "/v1/api-keys", "/v1/orgs/acme/ledger", "/v1/channels", "/v1/catalog"]
        .map(|path| client.get(path).ok());
    json!(all)
}

#[test]
fn forms_do_what_they_say_in_the_name_of_who_sent_them() {
    let server = keyed();
    furnish(&mut server.client().with_key(ADMIN), "acme");
    let secret = key(&server, "admin", None);
    let mut person = Person::signed_in(&server, &secret);
    person.page("/console");
    for (path, fields) in forms(&hook(&server)) {
        let reply = person.send(&path, &fields);
        assert!(matches!(reply.status, 200 | 303), "{path}: {}", reply.text());
        if let Some(to) = reply.header("location").map(str::to_owned) {
            assert!(person.page(&to).contains("class=\"done\""), "{to}");
        }
    }
    let mut client = server.client().with_key(ADMIN);
    let entries = client.get("/v1/orgs/acme/ledger?limit=8").ok();
    let id = person.page("/console").split_once("<bdi>key ").expect("who").1[..16].to_owned();
    let kinds: Vec<&str> = entries["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .map(|entry| {
            assert_eq!(entry["actor"], json!(id), "{entry:#}");
            entry["kind"].as_str().expect("a kind")
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "org_set",
            "thresholds_set",
            "limit_set",
            "hold_ended",
            "plan_called_off",
            "plan_set",
            "top_up_voided",
            "topped_up"
        ]
    );
    assert_eq!(client.get("/v1/orgs/new/plan").ok()["plan"], "basic");
    let ledger = person.page("/console/orgs/acme/ledger?kind=topped_up");
    assert!(ledger.contains("explain") && ledger.contains(&id), "{ledger}");
    // The same form sent again counts once.
    let page = person.page("/console/orgs/acme");
    let once = page
        .split_once("name=\"once\" value=\"")
        .expect("a key")
        .1
        .split('"')
        .next()
        .expect("a key")
        .to_owned();
    for _ in 0..2 {
        let fields = [("meter", "reports"), ("amount", "7"), ("once", once.as_str())];
        leads(&person.send("/console/orgs/acme/top-ups", &fields), "/console/orgs/acme?done=top_up");
    }
    assert_eq!(client.get("/v1/orgs/acme/top-ups").ok()["top_ups"].as_array().map(Vec::len), Some(3));
}

#[test]
fn a_month_is_closed_and_a_key_is_made_and_revoked() {
    let server = keyed();
    furnish(&mut server.client().with_key(ADMIN), "acme");
    server.at("2026-12-02T10:00:00Z");
    let mut person = Person::signed_in(&server, ADMIN);
    person.page("/console/orgs/acme/bills");
    let running = person.send("/console/orgs/acme/bills/close", &[("month", "2026-12")]);
    assert!(running.status == 409 && running.text().contains("is not over"), "{}", running.text());
    leads(
        &person.send("/console/orgs/acme/bills/close", &[("month", "2026-11")]),
        "/console/orgs/acme/bills?done=closed",
    );
    assert!(person.page("/console/orgs/acme/bills").contains("closed, bill 1"));
    assert!(person.page("/console/orgs/acme/bill?month=2026-11&format=html").contains("<h1>Bill 1</h1>"));
    person.page("/console/keys");
    let made = person.send("/console/keys", &[("name", "desk"), ("role", "read"), ("once", "once-1")]).text();
    let secret =
        made.split_once("<pre>").expect("a secret").1.split('<').next().expect("a secret").to_owned();
    server.client().with_key(&secret).get("/v1/orgs").ok();
    assert!(!person.page("/console/keys").contains(&secret), "a secret is shown once");
    let id = made
        .split_once("name=\"id\" value=\"")
        .expect("an id")
        .1
        .split('"')
        .next()
        .expect("an id")
        .to_owned();
    leads(&person.send("/console/keys/revoke", &[("id", &id)]), "/console/keys?done=revoked");
    assert_eq!(server.client().with_key(&secret).get("/v1/orgs").status, 401);
}

#[test]
fn a_read_key_sees_and_changes_nothing() {
    let server = keyed();
    furnish(&mut server.client().with_key(ADMIN), "acme");
    let secret = key(&server, "read", None);
    let mut reader = Person::signed_in(&server, &secret);
    let page = reader.page("/console/orgs/acme");
    assert!(page.contains("Credit and usage") && !page.contains("action=\"/console/orgs"), "{page}");
    let forms = forms(&hook(&server));
    let before = everything(&server);
    for (path, fields) in forms {
        let reply = reader.send(&path, &fields);
        assert_eq!(reply.status, 403, "{path}: {}", reply.text());
        is_sound(&reply, &path);
    }
    assert_eq!(everything(&server), before);
    assert_eq!(reader.get("/console/keys").status, 403);
}

#[test]
fn a_form_without_its_token_or_from_elsewhere_changes_nothing() {
    let server = keyed();
    furnish(&mut server.client().with_key(ADMIN), "acme");
    let mut person = Person::signed_in(&server, ADMIN);
    let mut stranger = Person::signed_in(&server, ADMIN);
    stranger.page("/console");
    let forms = forms(&hook(&server));
    let before = everything(&server);
    for (path, fields) in &forms {
        for token in ["", "0", &stranger.token] {
            let reply = person.send_with(path, fields, token);
            assert_eq!(reply.status, 403, "{path}: {}", reply.text());
        }
        person.page("/console");
        for (name, value) in [
            ("origin", "https://evil.example"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            let mut form = form_urlencoded::Serializer::new(String::new());
            form.extend_pairs(fields).append_pair("token", &person.token);
            let ask = Ask::new("POST", path).header("content-type", "application/x-www-form-urlencoded");
            let reply = person.ask(ask.header(name, value).body(form.finish()));
            assert_eq!(reply.status, 403, "{path} {name}: {}", reply.text());
        }
        let reply = person.ask(Ask::new("POST", path).json(json!({"token": person.token})));
        assert_eq!(reply.status, 415, "{path}: {}", reply.text());
    }
    assert_eq!(everything(&server), before);
}

#[test]
fn what_is_refused_stands_beside_its_field_with_what_was_typed() {
    let server = TestServer::start();
    furnish(&mut server.client(), "acme");
    let mut person = Person::new(&server);
    person.page("/console/orgs/acme");
    for (path, fields, says) in [
        (
            "/console/orgs/acme/top-ups",
            vec![("meter", "reports"), ("amount", "many")],
            "top_up-amount-hint\">amount:",
        ),
        (
            "/console/orgs/acme/top-ups",
            vec![("meter", "reports"), ("amount", "5"), ("expires_at", "soon")],
            "top_up-expires_at-hint\">expires_at:",
        ),
        ("/console/orgs/acme/plan", vec![("plan", "basic"), ("at", "yesterday")], "plan-at-hint\">at:"),
        (
            "/console/orgs/acme/limits",
            vec![
                ("meter", "reports"),
                ("scope", "org"),
                ("user", "ada"),
                ("window", "month"),
                ("amount", "5"),
            ],
            "limit-user-hint\">user:",
        ),
        (
            "/console/orgs/acme/limits",
            vec![
                ("meter", "reports"),
                ("scope", "path"),
                ("path", "research//a"),
                ("window", "day"),
                ("amount", "5"),
            ],
            "limit-path-hint\">path:",
        ),
        (
            "/console/orgs/acme/limits",
            vec![("meter", "reports"), ("scope", "path"), ("path", ""), ("window", "day"), ("amount", "5")],
            "limit-path-hint\">",
        ),
        (
            "/console/orgs/acme/name",
            vec![("name", "A"), ("time_zone", "Mars/Olympus")],
            "name-time_zone-hint\">time_zone:",
        ),
        (
            "/console/orgs/acme/notices",
            vec![("thresholds", "50, 900")],
            "notices-thresholds-hint\">thresholds[1]: must be a whole number of percent from 1 to 100, not 900",
        ),
        ("/console/orgs", vec![("org", ""), ("plan", "basic")], "org-org-hint\">org:"),
        ("/console/keys", vec![("name", "first"), ("role", "read")], "key-role-wrong\">role:"),
    ] {
        let reply = person.send(path, &fields);
        assert!((400..500).contains(&reply.status), "{path} {fields:?}: {}", reply.status);
        let text = reply.text();
        assert!(text.contains(says), "{path} {fields:?}: {text}");
        for (name, value) in fields.iter().filter(|(name, value)| !value.is_empty() && *name != "scope") {
            assert!(text.contains(&format!("value=\"{value}\"")), "{path}: {name} is lost");
        }
        is_sound(&reply, path);
    }
}

#[test]
fn a_key_that_is_bound_sees_its_organization_alone() {
    let server = keyed();
    for org in ["acme", "rival"] {
        furnish(&mut server.client().with_key(ADMIN), org);
    }
    let secret = key(&server, "manage", Some("acme"));
    let mut person = Person::signed_in(&server, &secret);
    leads(&person.get("/console"), "/console/orgs/acme");
    let page = person.page("/console/orgs/acme");
    assert!(page.contains("Credit and usage") && !page.contains("/console/health"), "{page}");
    assert!(!person.page("/console/orgs").contains("rival"));
    for path in pages("rival").iter().filter(|path| path.contains("%")) {
        assert_eq!(person.get(path).status, 403, "{path}");
    }
    for path in [
        "/console/plans",
        "/console/plans/try",
        "/console/notices",
        "/console/channels",
        "/console/keys",
        "/console/health",
    ] {
        assert_eq!(person.get(path).status, 403, "{path}");
    }
    let reply = person.send("/console/orgs/rival/plan", &[("plan", "lite")]);
    assert_eq!(reply.status, 403, "{}", reply.text());
}

/// A link that a key makes.
fn link(server: &TestServer, key: &str, org: &str, seconds: u32) -> String {
    let made = server
        .client()
        .with_key(key)
        .post(&format!("/v1/orgs/{org}/portal-links"), json!({"expires_in": seconds}));
    made.ok()["path"].as_str().expect("a path").to_owned()
}

#[test]
fn a_link_of_the_portal_shows_its_organization_alone_and_ends() {
    let frames: Origins = "https://app.example.com".parse().expect("an origin");
    let mut server = TestServer::with(|settings| {
        settings.api_key = Some(Secret(ADMIN.to_owned()));
        settings.portal_frames = frames;
    });
    for org in ["acme", "rival"] {
        furnish(&mut server.client().with_key(ADMIN), org);
    }
    let manage = key(&server, "manage", None);
    let acme = link(&server, &manage, "acme", 3_600);
    let mut guest = Person::new(&server);
    let page = guest.get(&acme);
    assert_eq!(page.status, 200, "{}", page.text());
    let text = page.text();
    assert!(text.contains("acme") && !text.contains("rival") && !text.contains("<form"), "{text}");
    let policy = page.header("content-security-policy").expect("a policy").to_owned();
    assert!(
        policy.contains("frame-ancestors https://app.example.com") && policy.contains("default-src 'none'")
    );
    assert!(guest.page(&format!("{acme}/bill?month=2026-11")).contains("Estimate"));
    assert_eq!(guest.get("/console").status, 303, "a link signs nobody in");

    // Of another: what the link says is signed.
    let rival = link(&server, &manage, "rival", 3_600);
    let (one, other) =
        (acme.split_once('.').expect("a signature"), rival.split_once('.').expect("a signature"));
    for forged in [
        format!("{}.{}", other.0, one.1),
        format!("{}.", one.0),
        one.0.to_owned(),
        format!("{acme}0"),
        "/portal/a.b".to_owned(),
    ] {
        let reply = guest.get(&forged);
        assert_eq!(reply.status, 401, "{forged}: {}", reply.text());
        is_problem_page(&reply);
    }
    // A server that starts again knows it; after its time nobody does.
    server.restart();
    let mut guest = Person::new(&server);
    guest.page(&acme);
    server.at("2026-11-02T11:00:00Z");
    assert_eq!(guest.get(&acme).status, 401);

    // It ends with the key that made it, and who may not manage makes none.
    let week = link(&server, &manage, "acme", 604_800);
    guest.page(&week);
    let keys = server.client().with_key(ADMIN).get("/v1/api-keys").ok();
    let id = keys["api_keys"][0]["id"].as_str().expect("an id").to_owned();
    server.client().with_key(ADMIN).delete(&format!("/v1/api-keys/{id}")).ok();
    assert_eq!(guest.get(&week).status, 401);
    let read = key(&server, "read", None);
    let mut reader = server.client().with_key(&read);
    reader.post("/v1/orgs/acme/portal-links", json!({})).is_problem(403, "forbidden", None);
    let mut admin = server.client().with_key(ADMIN);
    admin.post("/v1/orgs/nobody/portal-links", json!({})).is_problem(404, "unknown_org", Some("org"));
    admin.post("/v1/orgs/acme/portal-links", json!({"expires_in": 0})).is_problem(
        422,
        "invalid_field",
        Some("expires_in"),
    );
}

fn is_problem_page(reply: &Reply) {
    assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(reply.text().contains("request <code>"), "{}", reply.text());
}

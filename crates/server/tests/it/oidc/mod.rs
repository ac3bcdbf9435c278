//! People sign in to the console by a real provider of OpenID Connect, which forges tokens when it is told to.

mod browser;
mod forged;
mod provider;

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tollgate_domain::Timestamp;
use tollgate_server::{OidcSettings, Reach, RoleMap, Secret, Settings};

use self::browser::{Browser, HOME};
use self::provider::{Idp, SECRET};
use crate::client::Ask;
use crate::server::TestServer;

const ADMIN: &str = "the-admin-key";

/// Settings by which people sign in at a provider, as one of its clients.
fn settings(idp: &Idp, client: &str) -> OidcSettings {
    OidcSettings {
        issuer: idp.issuer.parse().expect("an issuer"),
        client_id: client.to_owned(),
        client_secret: Some(Secret(SECRET.to_owned())).filter(|_| client != "ed"),
        scopes: "email profile".parse().expect("scopes"),
        person_claim: None,
        role_claim: "roles".to_owned(),
        roles: RoleMap::default(),
        ca: None,
        public_url: HOME.parse().expect("a URL"),
    }
}

/// A server by whose console people sign in at a provider; its clock is right.
fn server_with(oidc: OidcSettings, adjust: impl FnOnce(&mut Settings)) -> TestServer {
    let server = TestServer::with(|settings| {
        settings.api_key = Some(Secret(ADMIN.to_owned()));
        settings.oidc = Some(oidc);
        adjust(settings);
    });
    server.at(&now().to_string());
    server
}

fn server(idp: &Idp) -> TestServer {
    server_with(settings(idp, "tollgate"), |_| {})
}

#[expect(clippy::disallowed_methods, reason = "the provider's clock is the machine's")]
fn now() -> Timestamp {
    Timestamp::now()
}

fn later(seconds: i64) -> String {
    let later = tollgate_domain::SignedDuration::from_secs(seconds);
    now().checked_add(later).expect("a time").to_string()
}

#[test]
fn people_sign_in_with_the_role_of_their_claim_and_are_in_the_ledger() {
    let idp = Idp::start("token");
    let server = server(&idp);
    let mut admin = server.client().with_key(ADMIN);
    admin.put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();

    let mut ann = Browser::new(&server);
    let asked = ann.get("/console/orgs/acme");
    assert_eq!(asked.header("location"), Some("/console/sign-in?to=%2fconsole%2forgs%2facme"));
    let page = ann.get("/console/sign-in?to=%2fconsole%2forgs%2facme").text();
    assert!(page.contains("href=\"/console/sign-in/oidc?to=%2fconsole%2forgs%2facme\""), "{page}");
    let page = ann.sign_in_at("/console/sign-in/oidc?to=%2fconsole%2forgs%2facme", "ann");
    assert!(page.contains("<bdi>ann@example.com, admin</bdi>") && page.contains("acme"), "{page}");

    // The cookie of the way to the provider and back is gone, that of the session as strict as for API keys.
    let set: Vec<&String> =
        ann.cookies_set.iter().filter(|cookie| cookie.contains("tollgate_sign_in")).collect();
    assert!(
        set.len() == 2 && set[1].contains("tollgate_sign_in=;") && set[1].contains("Max-Age=0"),
        "{set:?}"
    );
    for cookie in set {
        for part in ["Path=/console/sign-in;", "HttpOnly", "SameSite=Lax", "Max-Age="] {
            assert!(cookie.contains(part), "{cookie}");
        }
        assert!(!cookie.contains("Secure"), "this server has no TLS: {cookie}");
    }
    let strict = "Path=/console; HttpOnly; SameSite=Strict; Max-Age=43200";
    assert!(
        ann.cookies_set.iter().any(|cookie| cookie.contains("tollgate_session=") && cookie.contains(strict))
    );

    let topped_up = ann.send("/console/orgs/acme/top-ups", &[("meter", "reports"), ("amount", "5")]);
    assert_eq!(topped_up.status, 303, "{}", topped_up.text());
    let made = ann.send("/console/keys", &[("name", "one more"), ("role", "read")]);
    assert_eq!(made.status, 200, "{}", made.text());
    let entries = admin.get("/v1/orgs/acme/ledger?actor=person:ann@example.com").ok();
    assert_eq!(entries["entries"].as_array().map(Vec::len), Some(1), "{entries:#}");
    assert_eq!(entries["entries"][0]["kind"], "topped_up", "{entries:#}");
    assert!(ann.page("/console/orgs/acme/ledger").contains("<bdi>person:ann@example.com</bdi>"));

    // One who may only read, and one who may not make keys.
    let mut ray = Browser::new(&server);
    assert!(ray.sign_in("ray").contains("<bdi>ray@example.com, read</bdi>"));
    ray.page("/console/orgs/acme");
    let refused = ray.send("/console/orgs/acme/top-ups", &[("meter", "reports"), ("amount", "5")]);
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert!(refused.text().contains("you have the role"), "{}", refused.text());
    let mut zoe = Browser::new(&server);
    assert!(zoe.sign_in("zoe <b>&\"").contains("<bdi>zoe &#60;b&#62;&#38;&#34;, manage</bdi>"));
    zoe.page("/console/orgs/acme");
    assert_eq!(zoe.send("/console/keys", &[("name", "x"), ("role", "read")]).status, 403);
    assert_eq!(zoe.send("/console/orgs/acme/name", &[("name", "Acme"), ("time_zone", "UTC")]).status, 303);
    let entries = admin.get("/v1/orgs/acme/ledger").ok();
    assert_eq!(entries["entries"][0]["actor"], "person:zoe <b>&\"", "{entries:#}");

    // Signed out everywhere, a person is; others are not.
    let mut again = Browser::new(&server);
    again.sign_in("ann");
    again.page("/console");
    assert_eq!(again.send("/console/sign-out", &[("where", "everywhere")]).status, 303);
    assert_eq!((ann.get("/console").status, ray.get("/console").status), (303, 200));
    // A form without the token of its page changes nothing.
    assert_eq!(zoe.send_with("/console/orgs/acme/name", &[("name", "Hacked")], "wrong").status, 403);
    // A working day is over.
    server.at(&later(12 * 3_600 + 60));
    assert_eq!((ray.get("/console").status, zoe.get("/console").status), (303, 303));
}

#[test]
fn every_kind_of_signature_and_of_client_is_understood() {
    let idp = Idp::start("token");
    for client in ["es", "ed", "ps"] {
        let server = server_with(settings(&idp, client), |_| {});
        assert!(
            Browser::new(&server).sign_in("ann").contains("<bdi>ann@example.com, admin</bdi>"),
            "{client}"
        );
    }
    let idp = Idp::start("post");
    let server = server_with(settings(&idp, "es"), |_| {});
    assert!(Browser::new(&server).sign_in("ann").contains("<bdi>ann@example.com, admin</bdi>"));
}

#[test]
fn claims_are_asked_for_where_tokens_have_none_and_values_are_mapped() {
    let mut idp = Idp::start("info");
    let oidc = OidcSettings {
        role_claim: "team.role".to_owned(),
        roles: "desk=manage,admin=admin".parse().expect("roles"),
        ..settings(&idp, "tollgate")
    };
    let server = server_with(oidc, |_| {});
    assert!(Browser::new(&server).sign_in("ray").contains("<bdi>ray@example.com, manage</bdi>"));
    let page = Browser::new(&server).sign_in("ann");
    assert!(page.contains("“team.role” gives you none"), "{page}");

    let oidc = OidcSettings {
        role_claim: "email".to_owned(),
        roles: "ann@example.com=admin,ray@example.com=read".parse().expect("roles"),
        ..settings(&idp, "tollgate")
    };
    let server = server_with(oidc, |_| {});
    assert!(Browser::new(&server).sign_in("ann").contains("<bdi>ann@example.com, admin</bdi>"));
    // An address that the provider does not say is hers is none.
    let page = Browser::new(&server).sign_in("mallory");
    assert!(page.contains("“email” gives you none"), "{page}");
    // What is told of another person is not believed.
    idp.tell("another person");
    let page = Browser::new(&server).sign_in("mallory");
    assert!(page.contains("What the provider says of you is not valid"), "{page}");
}

#[test]
fn people_are_named_by_the_claim_that_is_set() {
    let (token, info) = (Idp::start("token"), Idp::start("info"));
    // Una's provider says nothing of whether an address is hers; Mallory's says that it is not.
    for (idp, claim, who, named) in [
        (&token, None, "una", Some("una")),
        (&token, Some("email"), "una", Some("una@example.com")),
        (&token, Some("email"), "ann", Some("ann@example.com")),
        (&token, Some("email"), "mallory", None),
        (&token, Some("sub"), "ann", Some("ann")),
        (&token, Some("preferred_username"), "una", Some("una.d")),
        (&token, Some("preferred_username"), "ann", None),
        (&token, Some("team.role"), "ray", Some("desk")),
        (&token, Some("roles"), "ann", None),
        (&info, None, "una", Some("una")),
        (&info, Some("email"), "una", Some("una@example.com")),
        (&info, Some("email"), "mallory", None),
        (&info, Some("preferred_username"), "una", Some("una.d")),
    ] {
        let oidc = OidcSettings { person_claim: claim.map(str::to_owned), ..settings(idp, "tollgate") };
        let server = server_with(oidc, |_| {});
        let mut browser = Browser::new(&server);
        let page = browser.sign_in(who);
        match named {
            Some(name) => assert!(page.contains(&format!("<bdi>{name}, ")), "{claim:?} {who}: {page}"),
            None => {
                let claim = claim.expect("a claim");
                assert!(page.contains(&format!("its claim “{claim}” names nobody")), "{claim} {who}: {page}");
                assert_eq!(browser.get("/console").status, 303);
            }
        }
    }
}

#[test]
fn whoever_has_no_role_is_told_so_and_sees_nothing() {
    let idp = Idp::start("token");
    let server = server(&idp);
    let mut nora = Browser::new(&server);
    let reply = nora.walk("/console/sign-in/oidc", "nora");
    assert_eq!(reply.status, 403, "{}", reply.text());
    let page = reply.text();
    assert!(page.contains("its claim “roles” gives you none") && page.contains("role=\"alert\""), "{page}");
    assert!(page.contains("name=\"key\""), "an API key is asked for: {page}");
    assert_eq!(nora.get("/console").status, 303);
    // Somebody whose address is not known to be theirs is not taken for its owner.
    let page = Browser::new(&server).sign_in("mallory");
    assert!(page.contains("<bdi>mallory, admin</bdi>"), "{page}");
}

#[test]
fn with_a_provider_and_no_api_key_the_server_is_open_to_nobody() {
    let idp = Idp::start("token");
    let server = server_with(settings(&idp, "tollgate"), |settings| settings.api_key = None);
    assert_eq!(server.client().get("/v1/orgs").status, 401);
    let mut ann = Browser::new(&server);
    assert_eq!(ann.get("/console").status, 303);
    assert!(ann.sign_in("ann").contains("<bdi>ann@example.com, admin</bdi>"));
    assert!(!ann.page("/console/keys").contains("everybody who reaches this server"));
    let made = ann.send("/console/keys", &[("name", "first"), ("role", "read")]).text();
    let secret = made.split_once("<pre>").expect("a secret").1.split('<').next().expect("an end");
    server.client().with_key(secret).get("/v1/orgs").ok();
}

#[test]
fn a_provider_that_is_down_is_told_of_and_api_keys_go_on() {
    let mut idp = Idp::start("token");
    let server = server(&idp);
    idp.kill();
    let mut person = Browser::new(&server);
    let reply = person.get("/console/sign-in/oidc");
    assert_eq!(reply.status, 502, "{}", reply.text());
    assert!(reply.text().contains("does not answer as it should"), "{}", reply.text());
    person.page("/console/sign-in");
    assert_eq!(person.send("/console/sign-in", &[("key", ADMIN), ("to", "")]).status, 303);
    assert!(person.page("/console").contains("key of the settings"));
    // It comes back, and goes away between the way there and the way back.
    idp.restart();
    let mut ann = Browser::new(&server);
    // One that did not answer is left alone for a second.
    let deadline = Instant::now() + Duration::from_secs(30);
    while ann.get("/console/sign-in/oidc").status == 502 {
        assert!(Instant::now() < deadline, "the provider is not asked again");
    }
    let back = ann.until_back("/console/sign-in/oidc", "ann");
    idp.kill();
    let reply = ann.visit(&back);
    assert_eq!(reply.status, 502, "{}", reply.text());
    assert_eq!(ann.get("/console").status, 303);
}

#[test]
fn a_provider_with_a_certificate_of_a_private_authority_is_trusted_by_a_setting() {
    let (idp, files) = Idp::over_tls();
    let refused = server(&idp);
    let reply = Browser::new(&refused).get("/console/sign-in/oidc");
    assert_eq!(reply.status, 502, "{}", reply.text());
    let oidc = OidcSettings { ca: Some(files.path().join("cert.pem")), ..settings(&idp, "tollgate") };
    let server = server_with(oidc, |_| {});
    let mut ann = Browser::new(&server);
    let to = ann.get("/console/sign-in/oidc").header("location").expect("where to").to_owned();
    assert!(to.starts_with(&format!("{}/auth?", idp.issuer)), "{to}");
    let mut broken = settings(&idp, "tollgate");
    broken.ca = Some(files.path().join("nothing.pem"));
    let refusal = TestServer::refusal(|settings| settings.oidc = Some(broken)).to_string();
    assert!(refusal.starts_with("oidc-ca: ") && refusal.contains("nothing.pem"), "{refusal}");
}

#[test]
fn a_link_of_the_portal_says_which_person_made_it_and_outlives_the_process() {
    let idp = Idp::start("token");
    let mut server = server(&idp);
    server.client().with_key(ADMIN).put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
    let mut ann = Browser::new(&server);
    ann.sign_in("ann");
    ann.page("/console/orgs/acme");
    let page = ann.send("/console/orgs/acme/portal-links", &[("expires_in", "3600")]).text();
    let link =
        page.split_once("/portal/").expect("a link").1.split(['"', '<']).next().expect("an end").to_owned();
    let text = base64_text(link.split('.').next().expect("a text"));
    let words: Vec<&str> = text.split(' ').collect();
    assert_eq!(words[2], "acme", "{text}");
    let person = words[1].strip_prefix("person:").expect("a person");
    assert_eq!(base64_text(person), "ann@example.com");
    let path = format!("/portal/{link}");
    assert_eq!(server.client().get(&path).status, 200);
    server.restart();
    assert_eq!(
        server.client().get(&path).status,
        200,
        "it is signed with what each server of the client knows"
    );
    let forged = link.replacen(link.split('.').next().expect("a text"), &forged(&text, "ray@example.com"), 1);
    assert_eq!(server.client().get(&format!("/portal/{forged}")).status, 401);
    let mut other = settings(&idp, "tollgate");
    other.client_secret = Some(Secret("another".to_owned()));
    assert_eq!(server_with(other, |_| {}).client().get(&path).status, 401);
    let none = TestServer::with(|settings| settings.api_key = Some(Secret(ADMIN.to_owned())));
    assert_eq!(none.client().get(&path).status, 401);
}

fn base64_text(text: &str) -> String {
    use base64::Engine as _;
    let bytes = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(text).expect("base64");
    String::from_utf8(bytes).expect("text")
}

/// The text of a link, as if somebody else had made it.
fn forged(text: &str, name: &str) -> String {
    use base64::Engine as _;
    let encode = |text: &str| base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(text);
    let words: Vec<&str> = text.split(' ').collect();
    encode(&format!("{} person:{} {}", words[0], encode(name), words[2]))
}

#[test]
fn a_server_without_a_provider_offers_none() {
    let server = TestServer::with(|settings| settings.api_key = Some(Secret(ADMIN.to_owned())));
    let mut person = Browser::new(&server);
    assert!(!person.page("/console/sign-in").contains("oidc"));
    for path in ["/console/sign-in/oidc", "/console/sign-in/oidc/callback?code=a&state=b"] {
        assert_eq!(person.get(path).status, 404, "{path}");
    }
}

/// Chromium keeps and sends cookies as its makers decided, and the provider is another site to it.
#[test]
fn chromium_comes_back_from_the_provider_signed_in() {
    let idp = Idp::start("token");
    let server = server(&idp);
    let said = browser::chromium(&server, "ann");
    assert_eq!(said.trim(), "ann@example.com, admin", "{said}");
}

/// All that the server logs while it runs in this program.
static LOG: Mutex<String> = Mutex::new(String::new());

struct Logged;

struct Line(String);

impl tracing::field::Visit for Line {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!(" {field}={value:?}"));
    }
}

impl tracing::Subscriber for Logged {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("tollgate")
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        let mut log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
        log.push_str(&line.0);
        log.push('\n');
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn no_code_token_secret_or_name_is_logged() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Logged).expect("nobody else listens"));
    let mut idp = Idp::start("token");
    let server = server(&idp);
    let mut codes = Vec::new();
    for told in ["", "key", "audience", "/token broken", "/token failing"] {
        idp.tell(told);
        let mut ann = Browser::new(&server);
        let back = ann.until_back("/console/sign-in/oidc", "ann");
        codes.extend(browser::query(&back).into_values());
        codes.extend(ann.cookies());
        let _ = ann.visit(&back);
        // A second time it is no more.
        let _ = ann.visit(&back);
    }
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert!(log.contains("somebody signed in by the provider of OpenID Connect"), "{log}");
    assert!(log.contains("Signature verification failed"), "{log}");
    assert!(codes.len() >= 15, "{codes:?}");
    let issuer = idp.issuer.clone();
    for secret in codes.iter().filter(|value| **value != issuer) {
        assert!(!log.contains(secret.as_str()), "{secret} is logged");
    }
    for secret in ["ann@example.com", SECRET, "eyJ"] {
        assert!(!log.contains(secret), "{secret} is logged: {log}");
    }
}

/// A service inside the network, which ends each connection that it is brought.
struct Inside(SocketAddr, Arc<AtomicUsize>);

impl Inside {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let inside = Self(listener.local_addr().expect("an address"), Arc::default());
        let count = Arc::clone(&inside.1);
        thread::spawn(move || {
            for _ in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        inside
    }

    fn count(&self) -> usize {
        self.1.load(Ordering::SeqCst)
    }
}

#[test]
fn a_provider_leads_requests_nowhere_but_to_itself_and_to_the_public_internet() {
    let (inside, mut idp) = (Inside::start(), Idp::start("token"));
    for name in ["jwks_uri", "token_endpoint"] {
        idp.tell(&format!("names {name}=http://{}/in", inside.0));
        let server = server(&idp);
        let reply = Browser::new(&server).walk("/console/sign-in/oidc", "ann");
        assert_eq!(reply.status, 502, "{name}: {}", reply.text());
        assert_eq!(inside.count(), 0, "{name}");
    }
    let open = server_with(settings(&idp, "tollgate"), |settings| settings.webhook_reach = Reach::Anywhere);
    let reply = Browser::new(&open).walk("/console/sign-in/oidc", "ann");
    assert_eq!(
        (reply.status, inside.count()),
        (502, 1),
        "it is asked where that is allowed: {}",
        reply.text()
    );
}

/// What a browser brings that began nothing is no sign-in; see [`forged`] for those that began one.
#[test]
fn answers_that_nobody_asked_for_are_refused() {
    let idp = Idp::start("token");
    let server = server(&idp);
    let mut person = Browser::new(&server);
    for query in ["", "?code=a", "?state=b", "?code=a&state=b&iss=x", "?error=access_denied&state="] {
        let reply = person.get(&format!("/console/sign-in/oidc/callback{query}"));
        assert_eq!(reply.status, 401, "{query}: {}", reply.text());
        assert!(reply.text().contains("was not begun in this browser"), "{}", reply.text());
    }
    let reply = server.client().ask(
        &Ask::new("GET", "/console/sign-in/oidc/callback?code=a&state=b")
            .header("cookie", "tollgate_sign_in=a.9999999999.; tollgate_session=x"),
    );
    assert_eq!(reply.status, 401, "{}", reply.text());
}

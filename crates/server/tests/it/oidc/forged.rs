//! What is not to be believed: forged tokens, answers that are none, and sign-ins that come back where they were not begun.

use super::browser::{Browser, HOME, query};
use super::provider::Idp;
use super::{later, now, server, server_with, settings};

/// Tokens of which one thing is wrong each; what the person sees; and whether the keys were asked for once more.
#[test]
fn a_forged_token_signs_nobody_in() {
    let mut idp = Idp::start("token");
    let server = server(&idp);
    for (forgery, keys) in [
        ("issuer", 0),
        ("audience", 0),
        ("audiences", 0),
        ("party", 0),
        ("nonce", 0),
        ("no nonce", 0),
        ("expiry", 0),
        ("none", 0),
        ("unsigned", 1),
        ("shared secret", 0),
        ("public key as secret", 0),
        ("nothing", 0),
        // The provider may have other keys by now.
        ("key", 1),
        ("kid", 1),
        ("changed", 1),
    ] {
        let mut ann = Browser::new(&server);
        // Once before it is forged, so that the keys are known.
        assert!(Browser::new(&server).sign_in("ann").contains("ann@example.com"));
        let back = ann.until_back("/console/sign-in/oidc", "ann");
        idp.tell(forgery);
        let reply = ann.visit(&back);
        assert_eq!(reply.status, 401, "{forgery}: {}", reply.text());
        assert!(
            reply.text().contains("What the provider says of you is not valid"),
            "{forgery}: {}",
            reply.text()
        );
        assert_eq!(ann.get("/console").status, 303, "{forgery}");
        let asked = idp.tell("");
        assert_eq!(asked.iter().filter(|path| *path == "/jwks").count(), keys, "{forgery}: {asked:?}");
    }
}

#[test]
fn a_new_key_of_the_provider_is_asked_for() {
    let mut idp = Idp::start("token");
    let server = server(&idp);
    assert!(Browser::new(&server).sign_in("ann").contains("ann@example.com"));
    idp.tell("rotated");
    for asked_for in [1, 0] {
        assert!(Browser::new(&server).sign_in("ann").contains("ann@example.com"));
        let asked = idp.tell("rotated");
        assert_eq!(asked.iter().filter(|path| *path == "/jwks").count(), asked_for, "{asked:?}");
    }
}

#[test]
fn an_answer_that_is_none_is_told_of() {
    let mut idp = Idp::start("token");
    for place in ["/.well-known/openid-configuration", "/jwks", "/token"] {
        for answer in ["broken", "large", "redirect", "failing"] {
            let server = server(&idp);
            idp.tell(&format!("{place} {answer}"));
            let reply = Browser::new(&server).walk("/console/sign-in/oidc", "ann");
            assert_eq!(reply.status, 502, "{place} {answer}: {}", reply.text());
            assert!(reply.text().contains("does not answer as it should"), "{}", reply.text());
            let asked = idp.tell("");
            assert!(!asked.iter().any(|path| path == "/elsewhere"), "a redirect is not followed: {asked:?}");
        }
    }
    // One that calls itself otherwise is another.
    idp.tell("names issuer=https://evil.example");
    let reply = Browser::new(&server(&idp)).walk("/console/sign-in/oidc", "ann");
    assert_eq!(reply.status, 502, "{}", reply.text());
    // Nobody is sent anywhere but to a web page.
    idp.tell("names authorization_endpoint=javascript:alert(1)");
    let reply = Browser::new(&server(&idp)).walk("/console/sign-in/oidc", "ann");
    assert_eq!((reply.status, reply.header("location")), (502, None), "{}", reply.text());
}

#[track_caller]
fn is_stale(browser: &mut Browser, url: &str) {
    let reply = browser.visit(url);
    assert_eq!(reply.status, 401, "{}", reply.text());
    assert!(reply.text().contains("was not begun in this browser"), "{}", reply.text());
}

#[test]
fn a_sign_in_comes_back_once_in_its_browser_and_in_its_time() {
    let idp = Idp::start("token");
    let server = server(&idp);
    let mut ann = Browser::new(&server);
    let back = ann.until_back("/console/sign-in/oidc", "ann");
    let kept = ann.cookie("tollgate_sign_in").expect("a cookie");

    // In the browser of somebody else, with no sign-in or another one under way.
    is_stale(&mut Browser::new(&server), &back);
    let mut victim = Browser::new(&server);
    victim.get("/console/sign-in/oidc");
    is_stale(&mut victim, &back);
    assert_eq!(victim.get("/console").status, 303);

    // It comes back, and does not a second time, though its cookie was kept.
    assert_eq!(ann.visit(&back).header("refresh"), Some("0; url=/console"));
    let mut thief = Browser::new(&server);
    thief.plant("tollgate_sign_in", &kept);
    is_stale(&mut thief, &back);
    assert_eq!((thief.get("/console").status, ann.get("/console").status), (303, 200));

    // Ten minutes are enough.
    let mut slow = Browser::new(&server);
    let back = slow.until_back("/console/sign-in/oidc", "ann");
    server.at(&later(601));
    is_stale(&mut slow, &back);
    server.at(&now().to_string());

    // What an answer says of its issuer, and a code of another sign-in.
    let mut mixed = Browser::new(&server);
    let back = mixed.until_back("/console/sign-in/oidc", "ann");
    let (issuer, wrong) = (query(&back)["iss"].clone(), "https://evil.example");
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    assert!(back.contains(&encoded(&issuer)), "{back}");
    assert_eq!(mixed.visit(&back.replace(&encoded(&issuer), &encoded(wrong))).status, 401);
    let mut one = Browser::new(&server);
    let code = query(&one.until_back("/console/sign-in/oidc", "ann"))["code"].clone();
    let mut other = Browser::new(&server);
    let back = other.until_back("/console/sign-in/oidc", "ray");
    let swapped = back.replace(&query(&back)["code"], &code);
    let reply = other.visit(&swapped);
    assert_eq!(reply.status, 401, "a code is good for its own verifier alone: {}", reply.text());
    assert_eq!(other.get("/console").status, 303);
}

#[test]
fn a_session_that_somebody_planted_is_not_taken_on() {
    let idp = Idp::start("token");
    let server = server(&idp);
    let mut attacker = Browser::new(&server);
    attacker.page("/console/sign-in");
    let planted = attacker.cookie("tollgate_session").expect("a cookie");
    let mut ann = Browser::new(&server);
    ann.plant("tollgate_session", &planted);
    assert!(ann.sign_in("ann").contains("ann@example.com"));
    assert_ne!(ann.cookie("tollgate_session"), Some(planted));
    assert_eq!(attacker.get("/console").status, 303);
    // Who signs in as somebody else is nobody else's any more.
    let before = ann.cookie("tollgate_session").expect("a session");
    assert!(ann.sign_in("ann").contains("ann@example.com"));
    let mut kept = Browser::new(&server);
    kept.plant("tollgate_session", &before);
    assert_eq!(kept.get("/console").status, 303, "the session before is over");
}

#[test]
fn what_the_provider_says_when_it_lets_nobody_in_is_text() {
    let idp = Idp::start("token");
    let server = server(&idp);
    let mut ann = Browser::new(&server);
    let to = ann.get("/console/sign-in/oidc?to=/console/orgs");
    let to = to.header("location").expect("where to").to_owned();
    for (part, wanted) in [
        ("response_type", "code"),
        ("client_id", "tollgate"),
        ("scope", "openid email profile"),
        ("code_challenge_method", "S256"),
        ("redirect_uri", &format!("{HOME}/console/sign-in/oidc/callback")),
    ] {
        assert_eq!(query(&to).get(part).map(String::as_str), Some(wanted), "{to}");
    }
    let state = &query(&to)["state"];
    let said = "error=access_denied&error_description=%3Cb%3Eno%3C/b%3E";
    let reply = ann.get(&format!("/console/sign-in/oidc/callback?{said}&state={state}"));
    assert_eq!(reply.status, 401);
    let page = reply.text();
    assert!(page.contains("It says: &#60;b&#62;no&#60;/b&#62;"), "{page}");
    // One signs in for the same page then.
    assert!(page.contains("value=\"/console/orgs\""), "{page}");
    // Nobody is sent elsewhere.
    let reply = Browser::new(&server).walk("/console/sign-in/oidc?to=https://evil.example", "ann");
    assert!(reply.status == 200 && reply.text().contains("ann@example.com"), "{}", reply.text());
}

#[test]
fn behind_tls_both_cookies_are_sent_over_it_alone() {
    let idp = Idp::start("token");
    let server = server_with(settings(&idp, "tollgate"), |_| {});
    let asked = crate::client::Ask::new("GET", "/console/sign-in/oidc").header("x-forwarded-proto", "https");
    let reply = server.client().ask(&asked);
    let cookie = reply.header("set-cookie").expect("a cookie");
    assert!(cookie.starts_with("tollgate_sign_in=") && cookie.ends_with("; Secure"), "{cookie}");
}

//! Channels in the console: made, tried, changed, stopped, replayed and removed by forms, and what of them the overview tells.

use std::time::{Duration, Instant};

use serde_json::json;
use tollgate_server::{Reach, Secret};

use super::{ADMIN, Person, furnish, is_sound, key, leads};
use crate::receiver::Receiver;
use crate::server::TestServer;

fn server() -> TestServer {
    TestServer::with(|settings| {
        settings.api_key = Some(Secret(ADMIN.to_owned()));
        settings.webhook_reach = Reach::Anywhere;
        settings.notice_interval = Duration::from_millis(20);
    })
}

/// What stands between two texts.
#[track_caller]
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let rest = text.split_once(before).unwrap_or_else(|| panic!("no {before}: {text}")).1;
    rest.split_once(after).unwrap_or_else(|| panic!("no {after}: {rest}")).0
}

/// Looks at a page until it says all of these. It is not of one moment: what failed may be listed before the state changes.
#[track_caller]
fn until(person: &mut Person, path: &str, says: &[&str]) -> String {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let reply = person.get(path);
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        is_sound(&reply, path);
        let text = reply.text();
        if says.iter().all(|says| text.contains(says)) {
            return text;
        }
        assert!(Instant::now() < deadline, "{path} does not say {says:?}: {text}");
    }
}

/// Makes a webhook by the form; gives the address of its page, and its secret.
fn made(person: &mut Person, receiver: &Receiver) -> (String, String) {
    person.page("/console/channels");
    let url = receiver.url("/in?token=s3cret");
    let fields = [("name", "billing <team>"), ("kind", "webhook"), ("url", url.as_str()), ("once", "once-1")];
    let reply = person.send("/console/channels", &fields);
    assert_eq!(reply.status, 200, "{}", reply.text());
    is_sound(&reply, "/console/channels");
    let page = reply.text();
    assert!(
        !page.contains("s3cret") && page.contains("/in?***"),
        "a URL is shown without its secret: {page}"
    );
    let secret = between(&page, "<pre>", "</pre>").to_owned();
    let path = format!("/console/channels/{}", between(&page, "href=\"/console/channels/", "\""));
    // Sent again it is the same channel, and its secret is not told a second time.
    let again = person.send("/console/channels", &fields).text();
    assert!(!again.contains("whsec_") && again.matches("<th scope=\"row\">").count() == 1, "{again}");
    (path, secret)
}

#[test]
fn a_channel_is_made_tried_changed_and_removed() {
    let (server, receiver) = (server(), Receiver::start());
    let admin = key(&server, "manage", None);
    let mut person = Person::signed_in(&server, &admin);
    let empty = person.page("/console/channels");
    assert!(empty.contains("Make a channel, and whoever should know"), "{empty}");
    let (path, secret) = made(&mut person, &receiver);
    assert!(secret.starts_with("whsec_"), "{secret}");
    assert!(!person.page(&path).contains("whsec_") && !person.page("/console/channels").contains("whsec_"));

    let tried = person.send(&format!("{path}/test"), &[]);
    assert!(tried.text().contains("The test message was taken, with status 200."), "{}", tried.text());
    is_sound(&tried, &path);
    assert_eq!(receiver.next().json()["type"], "channel.test");
    receiver.answers(503);
    let tried = person.send(&format!("{path}/test"), &[]);
    assert!(tried.text().contains("was not taken, with status 503."), "{}", tried.text());

    let filter = [
        ("name", "Desk"),
        ("url", ""),
        ("notice-limit_reached", "on"),
        ("notice-top_up_granted", "on"),
        ("orgs", "acme\r\n beta gamma \r\n\r\n"),
        ("plans", "basic"),
        ("meters", ""),
    ];
    leads(&person.send(&path, &filter), &format!("{path}?done=channel"));
    let mut client = server.client().with_key(ADMIN);
    let shown = client.get(&path.replace("console", "v1")).ok();
    for (member, value) in [
        ("name", json!("Desk")),
        ("notices", json!(["limit_reached", "top_up_granted"])),
        ("orgs", json!(["acme", "beta gamma"])),
        ("plans", json!(["basic"])),
        ("meters", json!([])),
    ] {
        assert_eq!(shown[member], value, "{shown:#}");
    }
    assert!(shown["url"].as_str().is_some_and(|url| url.ends_with("/in?***")), "it keeps its URL: {shown:#}");
    let page = person.page(&path);
    assert!(page.contains("limit reached, top up granted; of acme, beta gamma; on plan basic"), "{page}");
    assert_eq!(page.matches(" checked>").count(), 2, "{page}");

    for (enabled, state) in [("false", "paused"), ("true", "live")] {
        let reply = person.send(&format!("{path}/state"), &[("enabled", enabled)]);
        assert_eq!(reply.status, 303, "{}", reply.text());
        let shown = client.get(&path.replace("console", "v1")).ok();
        assert_eq!((&shown["state"], &shown["name"]), (&json!(state), &json!("Desk")), "{shown:#}");
        assert_eq!(shown["orgs"], json!(["acme", "beta gamma"]), "what it takes stays: {shown:#}");
    }

    let rotated = person.send(&format!("{path}/secret"), &[("overlap_hours", "2")]);
    is_sound(&rotated, &path);
    let (rotated, page) = (rotated.text(), person.page(&path));
    let new = between(&rotated, "<pre>", "</pre>");
    assert!(new.starts_with("whsec_") && new != secret && !page.contains("whsec_"), "{rotated}");
    assert!(rotated.contains("too, until 2026-11-02 12:00 UTC"), "{rotated}");

    leads(&person.send(&format!("{path}/remove"), &[]), "/console/channels?done=removed");
    assert_eq!(person.get(&path).status, 404);
    assert_eq!(client.get("/v1/channels").ok(), json!({"channels": []}));
}

#[test]
fn what_a_channel_tried_is_listed_and_what_failed_is_on_the_overview() {
    let (server, receiver) = (server(), Receiver::start());
    let mut client = server.client().with_key(ADMIN);
    let mut person = Person::signed_in(&server, ADMIN);
    let (path, _) = made(&mut person, &receiver);
    furnish(&mut client, "acme");
    let sent = receiver.next();
    let page = until(&mut person, &path, &[">delivered</span>"]);
    let notice = sent.notice();
    let entry = notice.split('/').nth(1).expect("an entry");
    assert!(
        page.contains(&format!("<a href=\"/console/orgs/acme/ledger/{entry}\"><bdi>{notice}</bdi></a>")),
        "{page}"
    );
    assert!(page.contains(sent.header("webhook-id")) && page.contains("notice.top_up_granted"), "{page}");
    assert!(!person.page("/console").contains("Notices that did not arrive"));

    // One again, and all since a time, under their ids.
    for fields in [[("notice", notice.as_str())], [("since", "2026-11-02T00:00:00Z")]] {
        leads(&person.send(&format!("{path}/replay"), &fields), &format!("{path}?done=replayed"));
        assert_eq!(receiver.next().header("webhook-id"), sent.header("webhook-id"));
    }
    until(&mut person, &path, &["<th scope=\"row\" class=\"n\">3</th>"]);

    receiver.answers(500);
    leads(&person.send(&format!("{path}/replay"), &[("notice", &notice)]), &format!("{path}?done=replayed"));
    receiver.next();
    until(&mut person, &path, &["failed, tried again", ">failing</span>"]);
    let overview = person.page("/console");
    let row = between(&overview, "Notices that did not arrive", "</table>");
    let link = format!("<a href=\"{path}#deliveries\"><bdi>billing &#60;team&#62;</bdi></a>");
    assert!(row.contains(&link) && row.contains("status 500"), "{row}");
}

#[test]
fn more_attempts_than_a_page_holds_are_on_the_next() {
    let (server, receiver) = (server(), Receiver::start());
    let mut client = server.client().with_key(ADMIN);
    let mut person = Person::signed_in(&server, ADMIN);
    let (path, _) = made(&mut person, &receiver);
    for number in 0..30 {
        client.put(&format!("/v1/orgs/org-{number}/plan"), json!({"plan": "basic"})).ok();
        let top_up = json!({"meter": "reports", "amount": 5, "key": "k"});
        client.post(&format!("/v1/orgs/org-{number}/top-ups"), top_up).ok();
    }
    let first = until(&mut person, &path, &["<th scope=\"row\" class=\"n\">30</th>"]);
    assert_eq!(first.matches("<th scope=\"row\" class=\"n\">").count(), 25);
    let next = between(&first, "<a rel=\"next\" href=\"", "\"");
    assert_eq!(next, format!("{path}?before=6#deliveries"));
    let second = person.page(next.split('#').next().expect("a path"));
    assert_eq!(second.matches("<th scope=\"row\" class=\"n\">").count(), 5);
    assert!(second.contains("Latest</a>") && !second.contains("rel=\"next\""), "{second}");
}

#[test]
fn what_is_wrong_with_a_channel_stands_beside_its_field_with_what_was_typed() {
    let (server, receiver) = (TestServer::start(), Receiver::start());
    let mut person = Person::new(&server);
    person.page("/console/channels");
    let long = "x".repeat(129);
    for (fields, says) in [
        (vec![("name", ""), ("kind", "log")], "channel-name-hint\">the field"),
        (
            vec![("name", "a"), ("kind", "log"), ("url", "http://a.example/")],
            "channel-url-hint\">url: the log",
        ),
        (vec![("name", "a"), ("kind", "webhook")], "channel-url-hint\">url: must be given"),
        (
            vec![("name", "a"), ("kind", "webhook"), ("url", "ftp://a.example/")],
            "channel-url-hint\">url: must be",
        ),
        (vec![("name", "a"), ("kind", "webhook"), ("url", &receiver.url("/"))], "channel-url-hint\">url: "),
        (
            vec![("name", "a"), ("kind", "log"), ("to", "ann@example.com")],
            "channel-to-hint\">to: is for e-mail only",
        ),
        (
            vec![("name", "a"), ("kind", "email"), ("to", "ann@example.com")],
            "channel-kind-wrong\">kind: &#39;email&#39; needs",
        ),
        (vec![("name", "a"), ("kind", "mail")], "channel-kind-wrong\">kind: must be"),
        (vec![("name", "a"), ("kind", "log"), ("orgs", &long)], "channel-orgs-hint\">orgs"),
        (vec![("name", "a"), ("kind", "log"), ("plans", &long)], "channel-plans-hint\">plans"),
    ] {
        let reply = person.send("/console/channels", &fields);
        assert!((400..500).contains(&reply.status), "{fields:?}: {}", reply.status);
        let text = reply.text();
        assert!(text.contains(says), "{fields:?}: {text}");
        for (_, value) in fields.iter().filter(|(name, value)| !value.is_empty() && *name != "kind") {
            assert!(text.contains(*value), "{value} is lost: {text}");
        }
        is_sound(&reply, "/console/channels");
    }
    assert_eq!(server.client().get("/v1/channels").ok(), json!({"channels": []}), "nothing was made");
    let page = person.send("/console/channels", &[("name", "people"), ("kind", "log")]).text();
    let path = format!("/console/channels/{}", between(&page, "href=\"/console/channels/", "\""));
    for (form, fields, says) in [
        ("/replay", vec![("since", "soon")], "replay-since-hint\">since:"),
        ("/replay", vec![("notice", "acme/99/0")], "replay-notice-hint\">there is no notice"),
        ("/replay", vec![("since", ""), ("notice", "")], "replay-notice-hint\">notice: give either"),
        ("/state", vec![("enabled", "maybe")], "enabled: must be"),
        ("", vec![("name", ""), ("url", "")], "change-name-hint\">the field"),
    ] {
        let reply = person.send(&format!("{path}{form}"), &fields);
        assert!((400..500).contains(&reply.status), "{form}: {}", reply.text());
        assert!(reply.text().contains(says), "{form} {fields:?}: {}", reply.text());
        is_sound(&reply, &path);
    }
    for form in ["", "/test", "/state", "/secret", "/replay", "/remove"] {
        let reply =
            person.send(&format!("/console/channels/nobody{form}"), &[("name", "a"), ("enabled", "true")]);
        assert_eq!(reply.status, 404, "{form}: {}", reply.text());
    }
}

#[test]
fn a_channel_for_people_has_quiet_hours_and_a_digest() {
    let (server, receiver) = (server(), Receiver::start());
    let mut client = server.client().with_key(ADMIN);
    let mut person = Person::signed_in(&server, ADMIN);
    person.page("/console/channels");
    let url = receiver.url("/x");
    let made = [
        ("name", "desk"),
        ("kind", "slack"),
        ("url", url.as_str()),
        ("digest_at", "12:30"),
        ("quiet_from", ""),
    ];
    let page = person.send("/console/channels", &made).text();
    let path = format!("/console/channels/{}", between(&page, "href=\"/console/channels/", "\""));
    let known = path.replace("console", "v1");
    let shown = client.get(&known).ok();
    assert_eq!((&shown["digest_at"], &shown["time_zone"]), (&json!("12:30"), &json!("UTC")), "{shown:#}");

    let hours = [
        ("name", "desk"),
        ("quiet_from", "18:00"),
        ("quiet_to", "07:00"),
        ("digest_at", "09:30"),
        ("time_zone", "Europe/Berlin"),
    ];
    leads(&person.send(&path, &hours), &format!("{path}?done=channel"));
    leads(&person.send(&format!("{path}/state"), &[("enabled", "true")]), &format!("{path}?done=enabled"));
    let shown = client.get(&known).ok();
    assert_eq!(
        (&shown["quiet_hours"], &shown["digest_at"], &shown["time_zone"]),
        (&json!({"from": "18:00", "to": "07:00"}), &json!("09:30"), &json!("Europe/Berlin")),
        "a button leaves them as they are: {shown:#}"
    );
    furnish(&mut client, "acme");
    let says = [
        "until 2026-11-03 09:30",
        "quiet from 18:00 to 07:00",
        "a digest at 09:30",
        "times of Europe/Berlin",
    ];
    let page = until(&mut person, &path, &says);
    assert!(page.contains("name=\"quiet_from\" type=\"time\" value=\"18:00\""), "{page}");
    server.at("2026-11-03T08:30:00Z");
    person = Person::signed_in(&server, ADMIN);
    until(&mut person, &path, &["a digest of ", ">delivered</span>", "notice.digest"]);
    assert!(receiver.next().json()["text"].as_str().is_some_and(|text| text.ends_with("of 1 organization")));

    for (fields, says) in [
        (vec![("quiet_from", "18:00")], "change-quiet_to-hint\">quiet_hours.to: must be a time"),
        (vec![("digest_at", "noon")], "change-digest_at-hint\">digest_at: must be a time"),
        (vec![("digest_at", "09:00"), ("time_zone", "Berlin")], "change-time_zone-hint\">time_zone: "),
    ] {
        let fields: Vec<_> = [("name", "desk")].into_iter().chain(fields).collect();
        let reply = person.send(&path, &fields);
        assert!(
            (400..500).contains(&reply.status) && reply.text().contains(says),
            "{fields:?}: {}",
            reply.text()
        );
        is_sound(&reply, &path);
    }
}

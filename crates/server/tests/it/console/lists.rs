//! Lists in the console: on which of their rows they open, and whose clock their times are told by.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Person, furnish, is_sound};
use crate::client::Ask;
use crate::server::TestServer;

/// The notices that a page shows, each by the entry that it links to.
fn entries_of(page: &str, org: &str) -> Vec<u64> {
    let link = format!("href=\"/console/orgs/{org}/ledger/");
    let entries = page.split(&link).skip(1).map(|rest| rest.split('"').next().expect("an end"));
    entries.map(|number| number.parse().expect("a number")).collect()
}

/// Where a page leads on to.
fn next_of(page: &str) -> Option<String> {
    let (_, rest) = page.split_once("<a rel=\"next\" href=\"")?;
    rest.split('"').next().map(|path| path.replace("&#38;", "&"))
}

/// A page that is as it should be: a look at all organizations or notices may take longer than a page waits.
fn settled(person: &mut Person, path: &str, is: impl Fn(&str) -> bool) -> String {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let page = person.get(path);
        assert_eq!(page.status, 200, "{path}: {}", page.text());
        is_sound(&page, path);
        if is(&page.text()) {
            return page.text();
        }
        assert!(Instant::now() < deadline, "{path} looks through them still: {}", page.text());
    }
}

/// A page of notices, with all there are looked through.
fn looked_through(person: &mut Person, path: &str) -> String {
    settled(person, path, |page| !page.contains("Look again"))
}

/// More notices than lie between two marks: the pages go from the latest to the first, with each of them once.
#[test]
fn notices_are_listed_from_the_latest_on() {
    let server = TestServer::start();
    let mut client = server.client();
    let mut person = Person::new(&server);
    assert!(looked_through(&mut person, "/console/notices").contains("There is no notice like that."));
    client.put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
    client.put("/v1/orgs/other/plan", json!({"plan": "basic"})).ok();
    let mut made = Vec::new();
    let mut top_up = |org: &str| {
        let topped_up = client.post(
            &format!("/v1/orgs/{org}/top-ups"),
            json!({"meter": "reports", "amount": 1, "expires_at": "never"}),
        );
        topped_up.ok()["entry"].as_u64().expect("an entry")
    };
    for _ in 0..620 {
        made.push(top_up("acme"));
    }
    let of_other = top_up("other");
    made.reverse();
    let (mut seen, mut path) = (Vec::new(), Some("/console/notices?org=acme".to_owned()));
    while let Some(next) = path {
        let page = looked_through(&mut person, &next);
        assert_eq!(page.contains(">Latest</a>"), !seen.is_empty(), "{next}");
        seen.extend(entries_of(&page, "acme"));
        path = next_of(&page);
    }
    assert_eq!(seen, made);
    // What comes later is on top of the next look, and a filter leaves the others out.
    let latest = top_up("acme");
    let page = looked_through(&mut person, "/console/notices");
    assert_eq!(entries_of(&page, "acme")[..2], [latest, made[0]]);
    assert_eq!(entries_of(&page, "other"), [of_other]);
    let few = looked_through(&mut person, "/console/notices?org=other");
    assert_eq!((entries_of(&few, "other"), entries_of(&few, "acme")), (vec![of_other], vec![]));
    let none = looked_through(&mut person, "/console/notices?kind=trial_ended");
    assert!(entries_of(&none, "acme").is_empty() && next_of(&none).is_none(), "{none}");
    for (query, says) in [("kind=unheard", "kind: must be one of"), ("since=today", "since: must be a time")]
    {
        let page = person.page(&format!("/console/notices?{query}"));
        assert!(page.contains(says), "{page}");
    }
    let wrong = person.get("/console/notices?cursor=latest");
    assert!(
        wrong.status == 400 && wrong.text().contains("cursor: must be a whole number"),
        "{}",
        wrong.text()
    );
}

#[test]
fn the_page_of_users_opens_on_a_meter_that_has_some() {
    let server = TestServer::start();
    let mut client = server.client();
    client.ask(&Ask::new("PUT", "/v1/catalog").toml(include_str!("../../../src/demo.toml"))).ok();
    let mut person = Person::new(&server);
    client.put("/v1/orgs/acme/plan", json!({"plan": "enterprise"})).ok();
    client.post("/v1/usage", json!({"org": "acme", "meter": "api_call", "key": "c1"})).ok();
    let page = person.page("/console/orgs/acme/users");
    assert!(page.contains("No user used <bdi>api_call</bdi> in 2026-11."), "{page}");
    client.post("/v1/usage", json!({"org": "acme", "meter": "reports", "user": "ada", "key": "r1"})).ok();
    let page = person.page("/console/orgs/acme/users");
    assert!(page.contains("<option selected>reports</option>") && page.contains("<bdi>ada</bdi>"), "{page}");
    let page = person.page("/console/orgs/acme/users?meter=api_call");
    assert!(page.contains("<option selected>api_call</option>") && !page.contains("ada"), "{page}");
}

#[test]
fn a_refusal_is_told_by_the_clock_of_its_organization() {
    let server = TestServer::start();
    let mut client = server.client();
    let mut person = Person::new(&server);
    furnish(&mut client, "acme");
    let refused = json!({"org": "acme", "user": "ada", "meter": "reports", "quantity": 500, "key": "r"});
    assert_eq!(client.post("/v1/usage", refused).status, 402);
    let page = settled(&mut person, "/console", |page| page.contains("as of "));
    let row = page.split_once("Refused today</h2>").expect("the refusals").1;
    assert!(row.contains("2026-11-02 11:00 <small>Europe/Berlin</small>"), "{page}");
}

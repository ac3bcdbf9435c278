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

/// A limit on a path is set and removed by the form, and the page of paths leads to it.
#[test]
fn limits_on_paths_are_set_by_the_form_and_listed_with_what_is_left() {
    let server = TestServer::start();
    let mut client = server.client();
    let mut person = Person::new(&server);
    furnish(&mut client, "acme");
    let page = person.page("/console/orgs/acme/paths");
    assert!(page.contains("No limit is on a path.") && page.contains("?path=%2A#limit"), "{page}");
    // The form with its token is on the page of the organization.
    person.page("/console/orgs/acme");
    let of_path = |path: &'static str, amount: &'static str| {
        [
            ("meter", "reports"),
            ("scope", "path"),
            ("user", ""),
            ("path", path),
            ("window", "day"),
            ("amount", amount),
        ]
    };
    let set = person.send("/console/orgs/acme/limits", &of_path("research/*", "10"));
    assert_eq!(
        (set.status, set.header("location")),
        (303, Some("/console/orgs/acme?done=limit")),
        "{}",
        set.text()
    );
    let entry = client.get("/v1/orgs/acme/ledger?limit=1").ok()["entries"][0].clone();
    let what = (&entry["kind"], &entry["path"], &entry["quantity"]);
    assert_eq!(what, (&json!("limit_set"), &json!("research/*"), &json!(10)), "{entry:#}");
    let usage =
        json!({"org": "acme", "path": "research/a<b", "meter": "reports", "quantity": 4, "key": "p-1"});
    client.post("/v1/usage", usage).ok();
    let hold = json!({"org": "acme", "path": "research/z", "meter": "reports", "quantity": 3, "key": "h-1"});
    client.post("/v1/holds", hold).ok();
    let page = person.page("/console/orgs/acme/paths");
    assert!(page.contains("<option selected>reports</option>"), "{page}");
    let row = |path: &str, numbers: [&str; 4]| {
        let [used, held, limit, left] = numbers;
        format!(
            "<bdi>{path}</bdi></th><td data-is=\"each\">day</td><td class=\"n\" data-is=\"used\">{used}</td>\n<td class=\"n\" \
             data-is=\"held\">{held}</td><td class=\"n\" data-is=\"limit\">{limit}</td><td class=\"n\" data-is=\"left\">{left}</td>"
        )
    };
    assert!(page.contains(&row("research/a&#60;b", ["4", "", "10", "6"])), "{page}");
    assert!(page.contains(&row("research/z", ["0", "3", "10", "7"])), "{page}");
    // The link opens the form with the path in it.
    let link = "/console/orgs/acme?path=research%2Fz#limit";
    assert!(page.contains(&format!("href=\"{link}\"")), "{page}");
    let form = person.page(link.trim_end_matches("#limit"));
    assert!(form.contains("<details class=\"act\" id=\"limit\" open>"), "{form}");
    assert!(form.contains("name=\"path\" type=\"text\" value=\"research/z\""), "{form}");
    assert!(form.contains("<option value=\"path\" selected>a path</option>"), "{form}");
    // It is in the ledger by its path, as the filter asks for it.
    let ledger = person.page("/console/orgs/acme/ledger?path=research");
    assert!(ledger.contains("research/z") && !ledger.contains("goodwill"), "{ledger}");
    let wrong = person.page("/console/orgs/acme/ledger?path=research/");
    assert!(wrong.contains("path: must be 1 to 8 names"), "{wrong}");
    let removed = person.send("/console/orgs/acme/limits", &of_path("research/*", ""));
    assert_eq!(removed.header("location"), Some("/console/orgs/acme?done=unlimited"), "{}", removed.text());
    assert!(person.page("/console/orgs/acme/paths").contains("No limit is on a path."));
}

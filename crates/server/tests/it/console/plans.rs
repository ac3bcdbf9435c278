//! Plans and prices in the console: another catalog is tried on a month before it is applied, and two versions are compared.

use serde_json::json;

use super::{ADMIN, Person, is_sound, key, keyed, leads};
use crate::bills::{PRICED, priced, team, used};
use crate::server::TestServer;

/// What stands between two texts.
#[track_caller]
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let rest = text.split_once(before).unwrap_or_else(|| panic!("no {before}: {text}")).1;
    rest.split_once(after).unwrap_or_else(|| panic!("no {after}: {rest}")).0
}

/// The text as a browser sends it.
fn typed(text: &str) -> String {
    text.replace('\n', "\r\n")
}

#[test]
fn another_catalog_is_tried_on_a_month_and_then_applied() {
    let server = TestServer::start();
    let mut client = priced(&server);
    for org in ["acme", "beta"] {
        team(&mut client, org);
    }
    used(&mut client, "acme", "tokens", 4, "t1", json!({"model": "large"}));
    used(&mut client, "beta", "tokens", 400, "t1", json!({"model": "large"}));
    let version = client.get("/v1/catalog").ok()["version"].to_string();
    let mut person = Person::new(&server);
    let form = person.page("/console/plans/try");
    assert!(
        form.contains("<option selected>2026-10</option>"),
        "the last month that is over is chosen: {form}"
    );
    assert!(form.contains("unit_price = &#34;0.5&#34;") && !form.contains("Apply it"), "{form}");

    let next = PRICED.replace("unit_price = \"0.5\"", "unit_price = \"0.9\"");
    let typed = typed(&next);
    let tried = person.send("/console/plans/try", &[("catalog", &typed), ("month", "2026-11")]);
    assert_eq!(tried.status, 200, "{}", tried.text());
    is_sound(&tried, "/console/plans/try");
    let page = tried.text();
    let rows = between(&page, "id=\"by-org\"", "</table>");
    let (acme, beta) = (rows.find("acme").expect("acme"), rows.find("beta").expect("beta"));
    assert!(beta < acme, "the largest difference comes first: {rows}");
    assert!(rows.contains("51.00 USD") && rows.contains("52.60 USD") && rows.contains("+1.60 USD"), "{rows}");
    assert!(page.contains("<option selected>2026-11</option>") && page.contains("unit_price"), "{page}");
    assert_eq!(client.get("/v1/catalog").ok()["version"].to_string(), version, "nothing is in force yet");

    let apply = |person: &mut Person, version: &str| {
        let fields = [("catalog", typed.as_str()), ("month", "2026-11"), ("version", version)];
        person.send("/console/plans/apply", &fields)
    };
    let moved = apply(&mut person, "1");
    assert!(
        moved.status == 422 && moved.text().contains("came into force since you looked"),
        "{}",
        moved.text()
    );
    assert!(moved.text().contains("0.9"), "the text is kept");
    leads(&apply(&mut person, &version), "/console/plans?done=applied");
    let applied = client.get("/v1/catalog").ok();
    assert_eq!(
        applied["toml"].as_str(),
        Some(next.as_str()),
        "to the byte, whatever a browser makes of line ends"
    );

    let plans = person.page("/console/plans?done=applied");
    assert!(plans.contains("The catalog is in force.") && plans.contains("0.9"), "{plans}");
    let compared = person.page(&format!("/console/plans?version=1&against={}", applied["version"]));
    assert!(compared.contains(&format!("in version 1 than in version {}", applied["version"])), "{compared}");
    assert!(person.page("/console/plans?version=1&against=1").contains("Nothing that counts."));
    assert_eq!(person.get("/console/plans?against=99").status, 404);
}

#[test]
fn what_would_be_denied_is_told_by_organization() {
    let server = TestServer::start();
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
    for number in 0..3 {
        used(&mut client, "acme", "reports", 20, &format!("k{number}"), json!({}));
    }
    let usage = json!({"org": "acme", "user": "ann", "meter": "reports", "quantity": 30, "key": "asked"});
    client.post("/v1/usage", usage).ok();
    let next = tollgate_domain::catalog::DEFAULT.replace("amount = 100 ", "amount = 50 ");
    let mut person = Person::new(&server);
    person.page("/console/plans/try");
    let page = person.send("/console/plans/try", &[("catalog", &next), ("month", "2026-11")]).text();
    let row = between(&page, "id=\"by-org\"", "</table>");
    assert!(row.contains("2 instead of 0 usages of <bdi>reports</bdi>, org limit reached"), "{row}");
}

#[test]
fn a_text_that_is_no_catalog_is_refused_beside_it_and_only_an_admin_applies_one() {
    let server = keyed();
    let mut person = Person::signed_in(&server, ADMIN);
    person.page("/console/plans/try");
    for path in ["/console/plans/try", "/console/plans/apply"] {
        let fields = [("catalog", "meters = 1 # <b>"), ("month", "2026-11"), ("version", "1")];
        let reply = person.send(path, &fields);
        assert_eq!(reply.status, 422, "{}", reply.text());
        is_sound(&reply, path);
        let text = reply.text();
        assert!(
            text.contains("class=\"wrong\" id=\"catalog-hint\">")
                && text.contains("meters = 1 # &#60;b&#62;"),
            "{text}"
        );
    }
    let wrong = person.send("/console/plans/try", &[("catalog", PRICED), ("month", "never")]);
    assert!(wrong.status == 422 && wrong.text().contains("id=\"month-wrong\">month: "), "{}", wrong.text());
    // A plan that somebody has cannot be left out.
    let mut client = server.client().with_key(ADMIN);
    client.put("/v1/orgs/acme/plan", json!({"plan": "lite"})).ok();
    let lacking = tollgate_domain::catalog::DEFAULT.replace("id = \"lite\"", "id = \"light\"");
    let fields = [("catalog", lacking.as_str()), ("month", "2026-11"), ("version", "1")];
    let reply = person.send("/console/plans/apply", &fields);
    assert!(reply.status == 409 && reply.text().contains("organization &#39;acme&#39;"), "{}", reply.text());
    assert_eq!(client.get("/v1/catalog").ok()["version"], 1, "nothing was applied");

    for (role, status) in [("manage", 403), ("read", 403)] {
        let secret = key(&server, role, None);
        let mut reader = Person::signed_in(&server, &secret);
        reader.page("/console/plans/try");
        let fields = [("catalog", super::ANOTHER), ("month", "2026-11"), ("version", "1")];
        let tried = reader.send("/console/plans/try", &fields);
        assert!(tried.status == 200 && !tried.text().contains("Apply it"), "{role}: {}", tried.text());
        assert_eq!(reader.send("/console/plans/apply", &fields).status, status, "{role}");
    }
    // As large as a catalog may be, though other forms are not.
    let large = format!("{}\n# {}", super::ANOTHER, "é".repeat(200_000));
    let tried = person.send("/console/plans/try", &[("catalog", &large), ("month", "2026-11")]);
    assert_eq!(tried.status, 200, "{}", tried.text().get(..2_000).unwrap_or_default());
}

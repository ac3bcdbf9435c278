//! Open holds in the console: listed on the page of their organization, and released.

use serde_json::json;

use super::{Person, furnish, is_sound, leads};
use crate::server::TestServer;

#[test]
fn open_holds_are_listed_and_released() {
    let server = TestServer::start();
    let mut client = server.client();
    let mut person = Person::new(&server);
    client.put("/v1/orgs/empty/plan", json!({"plan": "basic"})).ok();
    assert!(person.page("/console/orgs/empty/holds").contains("Nothing is held."));
    furnish(&mut client, "acme");
    for path in ["/console/orgs/acme", "/console/orgs/acme/holds"] {
        let page = person.page(path);
        for says in
            ["run-1", "data-is=\"held\">2</td>", "2026-11-02 11:00", "2026-11-02 13:00", "then given back"]
        {
            assert!(page.contains(says), "{path} lacks {says}: {page}");
        }
    }
    assert!(person.page("/console/orgs/acme").contains("<span>held 2</span>"));
    let other = person.send("/console/orgs/empty/holds/7-acme/release", &[]);
    assert_eq!(other.status, 400, "{}", other.text());
    let unknown = person.send("/console/orgs/acme/holds/99-acme/release", &[]);
    assert!(unknown.status == 404 && unknown.text().contains("there is no hold"), "{}", unknown.text());
    for _ in 0..2 {
        let reply = person.send("/console/orgs/acme/holds/7-acme/release", &[]);
        leads(&reply, "/console/orgs/acme/holds?done=released");
    }
    assert_eq!(client.get("/v1/holds/7-acme").ok()["state"], "released");
    // A capture that came first is not undone.
    let hold = json!({"org": "acme", "user": "ada", "meter": "reports", "key": "run-2"});
    let id = client.post("/v1/holds", hold).ok()["hold"]["hold"].as_str().expect("an id").to_owned();
    client.post(&format!("/v1/holds/{id}/capture"), json!({})).ok();
    let ended = person.send(&format!("/console/orgs/acme/holds/{id}/release"), &[]);
    assert!(ended.status == 409 && ended.text().contains("was captured"), "{}", ended.text());
    is_sound(&ended, "a refused release");
    for number in 0..12 {
        let hold = json!({"org": "acme", "user": "ada", "meter": "reports", "key": format!("many-{number}")});
        client.post("/v1/holds", hold).ok();
    }
    let page = person.page("/console/orgs/acme");
    assert!(page.matches(">Release<").count() == 20 && page.contains("All open holds"), "{page}");
    assert_eq!(person.page("/console/orgs/acme/holds").matches(">Release<").count(), 24);
}

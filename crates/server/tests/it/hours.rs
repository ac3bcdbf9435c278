//! Hours of channels for people: notices that wait through the quiet ones, and the digest of a day.

use std::time::Duration;

use serde_json::{Value, json};
use tollgate_server::Reach;

use crate::channels::{channel, notice, until};
use crate::receiver::Receiver;
use crate::server::TestServer;
use crate::smtpd::Smtpd;

fn server(smtpd: &Smtpd) -> TestServer {
    TestServer::with(|settings| {
        settings.mail = Some(smtpd.settings());
        settings.webhook_reach = Reach::Anywhere;
        settings.notice_interval = Duration::from_millis(20);
    })
}

fn is_waiting(count: u64) -> impl Fn(&Value) -> bool {
    move |shown| shown["waiting"] == count
}

fn is_delivered(count: u64) -> impl Fn(&Value) -> bool {
    move |shown| shown["delivered"] == count
}

#[test]
fn in_quiet_hours_notices_for_people_wait_and_come_in_order_afterwards_and_programs_are_told_at_once() {
    let (smtpd, slack, hook) = (Smtpd::plain(), Receiver::start(), Receiver::start());
    let mut server = server(&smtpd);
    let mut client = server.client();
    // It is 10:00 in London, and 11:00 in Berlin.
    let quiet = json!({"from": "10:30", "to": "12:00"});
    let hours = |mut body: Value| {
        body["quiet_hours"] = quiet.clone();
        body["time_zone"] = "Europe/Berlin".into();
        body
    };
    let (mail, _) =
        channel(&mut client, hours(json!({"name": "m", "kind": "email", "to": "ann@example.com"})));
    let url = slack.url("/x");
    let (chat, _) = channel(&mut client, hours(json!({"name": "s", "kind": "slack", "url": url})));
    channel(&mut client, json!({"name": "w", "kind": "webhook", "url": hook.url("/")}));
    for key in ["one", "two"] {
        notice(&mut client, "acme", key);
    }
    assert_eq!([hook.next().notice(), hook.next().notice()], ["acme/2/0", "acme/3/0"]);
    for id in [&mail, &chat] {
        let shown = until(&mut client, &format!("/v1/channels/{id}"), is_waiting(2));
        assert_eq!(
            (&shown["state"], &shown["waits_until"], &shown["quiet_hours"], &shown["time_zone"]),
            (&json!("live"), &json!("2026-11-02T11:00:00Z"), &quiet, &json!("Europe/Berlin")),
        );
    }
    // A test is for whoever presses the button.
    assert_eq!(client.post(&format!("/v1/channels/{chat}/test"), json!({})).ok()["delivered"], true);
    assert!(slack.next().json()["text"].as_str().is_some_and(|text| text.contains("a test of the channel")));
    server.restart();
    client = server.client();
    server.at("2026-11-02T10:59:59Z");
    notice(&mut client, "acme", "three");
    assert_eq!(hook.next().notice(), "acme/4/0");
    until(&mut client, &format!("/v1/channels/{chat}"), is_waiting(3));
    assert_eq!((slack.waiting(), smtpd.waiting()), (None, None), "they wait");
    server.at("2026-11-02T11:00:00Z");
    for id in [&mail, &chat] {
        let shown = until(&mut client, &format!("/v1/channels/{id}"), is_delivered(3));
        assert_eq!(shown["waits_until"], Value::Null);
        let log = client.get(&format!("/v1/channels/{id}/deliveries")).ok();
        let log = log["deliveries"].as_array().expect("attempts");
        let tried: Vec<(&Value, &Value)> = log.iter().map(|each| (&each["notice"], &each["at"])).collect();
        let at = json!("2026-11-02T11:00:00Z");
        let wanted = ["acme/4/0", "acme/3/0", "acme/2/0"].map(Value::from);
        assert_eq!(
            tried,
            wanted.iter().map(|notice| (notice, &at)).collect::<Vec<_>>(),
            "each once, in order"
        );
    }
    for _ in 0..3 {
        assert!(smtpd.next().header("Subject").starts_with("acme: 5 reports were added"));
    }
}

#[test]
fn a_failed_message_is_not_tried_again_in_quiet_hours() {
    let (smtpd, slack) = (Smtpd::plain(), Receiver::start());
    let server = server(&smtpd);
    let mut client = server.client();
    let quiet = json!({"from": "10:01", "to": "18:00"});
    let body = json!({"name": "s", "kind": "slack", "url": slack.url("/x"), "quiet_hours": quiet});
    let (id, _) = channel(&mut client, body);
    slack.answers(500);
    notice(&mut client, "acme", "k");
    let log = format!("/v1/channels/{id}/deliveries");
    until(&mut client, &log, |log| log["deliveries"][0]["result"] == "failed");
    slack.answers(200);
    // Its next attempt is due five seconds later, and by then everything is quiet.
    server.at("2026-11-02T10:05:00Z");
    let path = format!("/v1/channels/{id}");
    until(&mut client, &path, |shown| shown["waits_until"] == "2026-11-02T18:00:00Z");
    notice(&mut client, "beta", "k");
    until(&mut client, &path, is_waiting(2));
    assert_eq!(client.get(&log).ok()["deliveries"].as_array().map(Vec::len), Some(1));
    server.at("2026-11-02T18:00:00Z");
    until(&mut client, &path, is_delivered(2));
}

#[test]
fn a_digest_is_one_message_a_day_by_the_clocks_of_its_zone_also_when_they_change() {
    let (smtpd, hook) = (Smtpd::plain(), Receiver::start());
    let mut server = server(&smtpd);
    let mut client = server.client();
    // Clocks in Berlin go forward in the night before 2027-03-28: that day has 23 hours.
    server.at("2027-03-26T09:00:00Z");
    client.put("/v1/orgs/acme", json!({"name": "<b>Acme</b>"})).ok();
    let body = json!({
        "name": "m", "kind": "email", "to": "ann@example.com", "digest_at": "09:00", "time_zone": "Europe/Berlin",
    });
    let (id, _) = channel(&mut client, body);
    channel(&mut client, json!({"name": "w", "kind": "webhook", "url": hook.url("/")}));
    let path = format!("/v1/channels/{id}");
    for (org, key) in [("acme", "one"), ("beta", "one"), ("acme", "two")] {
        notice(&mut client, org, key);
    }
    until(&mut client, &path, |shown| {
        shown["waiting"] == 3 && shown["waits_until"] == "2027-03-27T08:00:00Z"
    });
    server.at("2027-03-27T07:59:59Z");
    server.restart();
    client = server.client();
    until(&mut client, &path, is_waiting(3));
    assert_eq!(smtpd.waiting(), None);
    server.at("2027-03-27T08:00:00Z");
    until(&mut client, &path, is_delivered(1));
    let mail = smtpd.next();
    assert_eq!(mail.header("Subject"), "3 notices of 2 organizations");
    let [(_, plain), (_, html)] = mail.parts.as_slice() else { panic!("two parts: {mail:?}") };
    let lines: Vec<&str> = plain.lines().filter(|line| line.contains("were added")).collect();
    let added = |org: &str| format!("2027-03-26 10:00 (Europe/Berlin): {org}: 5 reports were added");
    assert!(
        lines.len() == 3
            && lines.iter().zip(["acme", "beta", "acme"]).all(|(line, org)| line.starts_with(&added(org))),
        "{plain}"
    );
    assert!(
        plain.contains("https://tollgate.example.com/console/notices") && !html.contains("<b>"),
        "{html}"
    );
    let log = client.get(&format!("{path}/deliveries?requests=true")).ok();
    let attempt = &log["deliveries"][0];
    assert_eq!(
        (&attempt["notice"], &attempt["digest"], &attempt["result"]),
        (&Value::Null, &json!(["acme/3/0", "beta/2/0", "acme/4/0"]), &json!("delivered"))
    );
    assert_eq!(
        (
            &attempt["request"]["body"]["type"],
            attempt["request"]["body"]["data"]["notices"].as_array().map(Vec::len)
        ),
        (&json!("notice.digest"), Some(3))
    );
    assert!(hook.waiting().is_some(), "programs are told at once");
    // What comes now is of the next day's digest, 23 hours later.
    notice(&mut client, "beta", "two");
    until(&mut client, &path, |shown| {
        shown["waiting"] == 1 && shown["waits_until"] == "2027-03-28T07:00:00Z"
    });
    server.at("2027-03-28T07:00:00Z");
    assert_eq!(smtpd.next().header("Subject"), "1 notice of 1 organization");
}

#[test]
fn a_digest_that_fails_is_tried_again_as_it_was_and_the_next_one_waits_for_it() {
    let (smtpd, slack) = (Smtpd::plain(), Receiver::start());
    let mut server = server(&smtpd);
    let mut client = server.client();
    let body = json!({"name": "s", "kind": "slack", "url": slack.url("/x"), "digest_at": "12:00"});
    let (id, _) = channel(&mut client, body);
    let (path, log) = (format!("/v1/channels/{id}"), format!("/v1/channels/{id}/deliveries?requests=true"));
    slack.answers(503);
    notice(&mut client, "acme", "one");
    until(&mut client, &path, is_waiting(1));
    server.at("2026-11-02T12:00:00Z");
    until(&mut client, &log, |log| log["deliveries"][0]["digest"] == json!(["acme/2/0"]));
    let first = slack.next();
    server.at("2026-11-02T12:00:01Z");
    notice(&mut client, "acme", "two");
    until(&mut client, &path, is_waiting(2));
    server.restart();
    client = server.client();
    slack.answers(200);
    server.at("2026-11-02T12:00:06Z");
    until(&mut client, &path, is_delivered(1));
    let again = slack.next();
    assert_eq!(first.body, again.body, "it is the same");
    let tried = client.get(&log).ok();
    let ids = [0, 1].map(|place| tried["deliveries"][place]["request"]["id"].clone());
    assert_eq!(ids[0], ids[1], "under the same id");
    // Without a digest each comes by itself again, at once.
    client.put(&path, json!({"name": "s", "kind": "slack"})).ok();
    until(&mut client, &path, is_delivered(2));
    let text = slack.next().json()["text"].as_str().expect("a text").to_owned();
    assert!(text.starts_with("acme: 5 reports were added"), "{text}");
}

#[test]
fn hours_are_checked_and_no_program_has_any() {
    let (smtpd, slack) = (Smtpd::plain(), Receiver::start());
    let server = server(&smtpd);
    let mut client = server.client();
    let quiet = |from: &str, to: &str| json!({"from": from, "to": to});
    let night = quiet("22:00", "07:00");
    for (kind, hours, field, says) in [
        ("webhook", json!({"quiet_hours": night}), "quiet_hours", "for people only"),
        ("webhook", json!({"digest_at": "09:00"}), "digest_at", "for people only"),
        ("log", json!({"time_zone": "UTC"}), "time_zone", "for people only"),
        ("slack", json!({"time_zone": "UTC"}), "time_zone", "give one of them"),
        ("slack", json!({"digest_at": "9:00"}), "digest_at", "such as 22:00"),
        ("slack", json!({"digest_at": "25:00"}), "digest_at", "such as 22:00"),
        ("slack", json!({"quiet_hours": quiet("22:00", "late")}), "quiet_hours.to", "such as 22:00"),
        ("slack", json!({"quiet_hours": quiet("22:00", "22:00")}), "quiet_hours.to", "another time"),
        ("slack", json!({"quiet_hours": night, "digest_at": "23:00"}), "digest_at", "in the quiet hours"),
        ("slack", json!({"quiet_hours": night, "time_zone": "Berlin"}), "time_zone", "'Berlin'"),
    ] {
        let mut body = json!({"name": "n", "kind": kind});
        if kind != "log" {
            body["url"] = slack.url("/x").into();
        }
        body.as_object_mut().expect("an object").extend(hours.as_object().expect("an object").clone());
        let refused = client.post("/v1/channels", body.clone());
        refused.is_problem(422, "invalid_field", Some(field));
        assert!(refused.text().contains(says), "{body}: {}", refused.text());
    }
    assert_eq!(client.get("/v1/channels").ok(), json!({"channels": []}), "nothing was made");
}

//! Channels that send e-mail, by a real SMTP server.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::channels::{channel, notice, until};
use crate::client::{Ask, Client};
use crate::server::TestServer;
use crate::smtpd::{Mail, PASSWORD, Smtpd};

fn server(smtpd: &Smtpd) -> TestServer {
    TestServer::with(|settings| {
        settings.mail = Some(smtpd.settings());
        settings.notice_interval = Duration::from_millis(20);
    })
}

fn email(client: &mut Client, to: &str) -> String {
    let (id, secret) = channel(client, json!({"name": "billing team", "kind": "email", "to": to}));
    assert_eq!(secret, "", "what signs links is nobody's");
    id
}

/// The path that a mail's one-click header leads to.
fn unsubscribe_path(mail: &Mail) -> String {
    let link = mail.header("List-Unsubscribe");
    let path = link.strip_prefix("<https://tollgate.example.com").and_then(|rest| rest.strip_suffix('>'));
    path.unwrap_or_else(|| panic!("a link of ours is wanted: {link}")).to_owned()
}

/// What a mail program sends when its reader clicks.
fn one_click(path: &str) -> Ask {
    Ask::new("POST", path)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(b"List-Unsubscribe=One-Click")
}

#[test]
fn a_notice_is_a_mail_that_a_person_can_read_over_tls_with_a_password() {
    let smtpd = Smtpd::protected();
    let server = server(&smtpd);
    let mut client = server.client();
    let id = email(&mut client, "ann@example.com");
    let tested = client.post(&format!("/v1/channels/{id}/test"), json!({})).ok();
    assert_eq!((&tested["delivered"], &tested["status"]), (&json!(true), &json!(250)), "{tested}");
    assert!(smtpd.next().header("Subject").starts_with("a test of the channel 'billing team'"));

    client.put("/v1/orgs/acme", json!({"name": "Acme Inc.", "time_zone": "Europe/Berlin"})).ok();
    client.put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
    client.post("/v1/orgs/acme/top-ups", json!({"meter": "reports", "amount": 1_234_567, "key": "k"})).ok();
    let mail = smtpd.next();
    assert_eq!(
        (mail.from.as_str(), mail.to.as_slice()),
        ("billing@example.com", &["ann@example.com".to_owned()][..])
    );
    assert_eq!(
        (mail.hello.as_str(), mail.encrypted, mail.user.as_deref()),
        ("example.com", true, Some("ann"))
    );
    assert_eq!(mail.header("From"), "Example <billing@example.com>");
    assert!(
        mail.header("Subject").starts_with("acme: 1,234,567 reports were added"),
        "{}",
        mail.header("Subject")
    );
    assert_eq!(mail.header("Auto-Submitted"), "auto-generated");
    assert_eq!(mail.header("List-Unsubscribe-Post"), "List-Unsubscribe=One-Click");
    assert_eq!(mail.kind, "multipart/alternative");
    let [(plain_kind, plain), (html_kind, html)] = mail.parts.as_slice() else {
        panic!("two parts: {mail:?}")
    };
    assert_eq!((plain_kind.as_str(), html_kind.as_str()), ("text/plain", "text/html"));
    let link = "https://tollgate.example.com/console/orgs/acme";
    for (text, line) in [
        (plain, "Organization: Acme Inc. (acme)"),
        (plain, "Added: 1,234,567"),
        (plain, "When: 2026-11-02 11:00 (Europe/Berlin)"),
        (plain, &format!("Open it in the console: {link}")),
        (html, "<bdi>Acme Inc. (acme)</bdi>"),
        (html, "<bdi>1,234,567</bdi>"),
        (html, &format!("href=\"{link}\"")),
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    for text in [plain, html] {
        assert!(text.contains(&unsubscribe_path(&mail)), "{text}");
    }
    // The log says what the server said; nothing says the password.
    let log = until(&mut client, &format!("/v1/channels/{id}/deliveries"), |log| {
        log["deliveries"][0]["number"] == 1
    });
    let attempt = &log["deliveries"][0];
    assert_eq!((&attempt["result"], &attempt["status"]), (&json!("delivered"), &json!(250)));
    assert_eq!(attempt["reply"], "2.0.0 taken");
    let shown = client.get(&format!("/v1/channels/{id}")).ok();
    assert_eq!(
        (&shown["kind"], &shown["to"], &shown["url"]),
        (&json!("email"), &json!("ann@example.com"), &Value::Null)
    );
    assert!(!format!("{:?} {log} {shown} {}", smtpd.settings(), mail.head).contains(PASSWORD));
    // Once more under the same id.
    client.post(&format!("/v1/channels/{id}/replay"), json!({"notice": attempt["notice"]})).ok();
    assert_eq!(smtpd.next().header("Message-ID"), mail.header("Message-ID"));
}

#[test]
fn a_click_ends_the_mail_of_its_channel_alone_and_a_look_does_not() {
    let smtpd = Smtpd::plain();
    let server = server(&smtpd);
    let mut client = server.client();
    let (ann, bob) = (email(&mut client, "ann@example.com"), email(&mut client, "bob@example.com"));
    notice(&mut client, "acme", "k-1");
    let mut paths: BTreeMap<String, String> = BTreeMap::new();
    for mail in [smtpd.next(), smtpd.next()] {
        paths.insert(mail.to.concat(), unsubscribe_path(&mail));
    }
    let (anns, bobs) = (&paths["ann@example.com"], &paths["bob@example.com"]);
    let page = client.get(anns);
    assert_eq!(page.status, 200, "{}", page.text());
    assert!(
        page.text().contains("Send no more") && page.text().contains("ann@example.com"),
        "{}",
        page.text()
    );
    assert_eq!(page.header("referrer-policy"), Some("same-origin"));
    assert_eq!(client.get(&format!("/v1/channels/{ann}")).ok()["state"], "live", "a look changes nothing");
    // A signature of another channel, a forged one, and none.
    let signature = bobs.rsplit('.').next().expect("a signature");
    for wrong in [
        format!("/unsubscribe/{ann}.{signature}"),
        format!("/unsubscribe/{ann}."),
        "/unsubscribe/a".to_owned(),
    ] {
        assert_eq!((client.ask(&one_click(&wrong)).status, client.get(&wrong).status), (401, 401), "{wrong}");
    }
    for _ in 0..2 {
        let done = client.ask(&one_click(anns));
        assert_eq!(done.status, 200, "{}", done.text());
        assert!(done.text().contains("Nothing more is sent to"), "{}", done.text());
    }
    assert_eq!(client.get(&format!("/v1/channels/{ann}")).ok()["state"], "paused");
    notice(&mut client, "acme", "k-2");
    assert_eq!(smtpd.next().to, ["bob@example.com"]);
    until(&mut client, &format!("/v1/channels/{bob}"), |shown| shown["delivered"] == 2);
    assert!(smtpd.waiting().is_none(), "nothing more goes to Ann");
    // Whoever manages the channel has it send again; a link to a former address is none any more.
    client
        .put(&format!("/v1/channels/{ann}"), json!({"name": "n", "kind": "email", "to": "anna@example.com"}))
        .ok();
    assert_eq!(smtpd.next().to, ["anna@example.com"]);
    assert_eq!(client.ask(&one_click(anns)).status, 401);
    client.delete(&format!("/v1/channels/{bob}")).ok();
    assert_eq!(client.ask(&one_click(bobs)).status, 401);
}

#[test]
fn a_mail_server_that_was_down_gets_all_of_it_in_order_under_the_same_ids() {
    let mut smtpd = Smtpd::plain();
    let mut server = server(&smtpd);
    let mut client = server.client();
    let id = email(&mut client, "ann@example.com");
    smtpd.kill();
    for key in ["k-1", "k-2"] {
        for org in ["acme", "beta"] {
            notice(&mut client, org, key);
        }
    }
    let log = format!("/v1/channels/{id}/deliveries");
    let tried =
        until(&mut client, &log, |log| log["deliveries"].as_array().is_some_and(|all| all.len() == 2));
    let attempt = &tried["deliveries"][0];
    assert_eq!((&attempt["result"], &attempt["status"]), (&json!("failed"), &Value::Null));
    assert!(
        attempt["reply"].as_str().is_some_and(|reply| reply.starts_with("the SMTP server: ")),
        "{attempt}"
    );
    server.restart();
    client = server.client();
    smtpd.restart();
    server.at("2026-11-02T11:00:00Z");
    let mails: Vec<Mail> = (0..4).map(|_| smtpd.next()).collect();
    for org in ["acme", "beta"] {
        let subjects =
            mails.iter().map(|mail| mail.header("Subject")).filter(|subject| subject.starts_with(org));
        assert_eq!(subjects.count(), 2);
    }
    let shown = until(&mut client, &format!("/v1/channels/{id}"), |shown| shown["delivered"] == 4);
    assert_eq!((&shown["state"], &shown["waiting"]), (&json!("live"), &json!(0)));
    let ids: std::collections::BTreeSet<&str> = mails.iter().map(|mail| mail.header("Message-ID")).collect();
    assert_eq!(ids.len(), 4, "each is another message");
    // What came first of an org has the id of its first notice.
    for (org, delivered) in [("acme", 5), ("beta", 6)] {
        let first = mails.iter().find(|mail| mail.header("Subject").starts_with(org)).expect("a mail");
        client.post(&format!("/v1/channels/{id}/replay"), json!({"notice": format!("{org}/2/0")})).ok();
        assert_eq!(smtpd.next().header("Message-ID"), first.header("Message-ID"));
        until(&mut client, &format!("/v1/channels/{id}"), |shown| shown["delivered"] == delivered);
    }
}

#[test]
fn what_the_mail_server_refuses_is_in_the_log_and_tried_again() {
    let smtpd = Smtpd::protected();
    let server = TestServer::with(|settings| {
        let mut mail = smtpd.settings();
        mail.login.as_mut().expect("a login").password = "wrong-hush".to_owned();
        settings.mail = Some(mail);
    });
    let mut client = server.client();
    let id = email(&mut client, "ann@example.com");
    let tested = client.post(&format!("/v1/channels/{id}/test"), json!({})).ok();
    assert_eq!((&tested["delivered"], &tested["status"]), (&json!(false), &json!(535)), "{tested}");
    assert!(!tested.to_string().contains("hush"), "{tested}");

    let server = self::server(&smtpd);
    let mut client = server.client();
    let id = email(&mut client, "nobody@example.com");
    notice(&mut client, "acme", "k");
    let log = until(&mut client, &format!("/v1/channels/{id}/deliveries"), |log| {
        log["deliveries"][0]["number"] == 1
    });
    let attempt = &log["deliveries"][0];
    assert_eq!((&attempt["result"], &attempt["status"]), (&json!("failed"), &json!(550)));
    assert_eq!(attempt["reply"], "5.1.1 there is no such mailbox");

    // A server whose certificate is signed by nobody we trust learns no password.
    let server = TestServer::with(|settings| {
        settings.mail = Some(tollgate_server::MailSettings { ca: None, ..smtpd.settings() });
    });
    let mut client = server.client();
    let id = email(&mut client, "ann@example.com");
    let tested = client.post(&format!("/v1/channels/{id}/test"), json!({})).ok();
    assert_eq!((&tested["delivered"], &tested["status"]), (&json!(false), &Value::Null), "{tested}");
    assert!(tested["reply"].as_str().is_some_and(|reply| reply.contains("certificate")), "{tested}");
}

#[test]
fn hostile_names_are_text_in_headers_and_parts() {
    let smtpd = Smtpd::plain();
    let server = server(&smtpd);
    let mut client = server.client();
    let body = json!({"name": "<b>team</b>\u{202E}", "kind": "email", "to": "ann@example.com"});
    channel(&mut client, body);
    let lines = client.put("/v1/orgs/a%0D%0ABcc%3A%20evil%40example.com/plan", json!({"plan": "basic"}));
    lines.is_problem(400, "invalid_parameter", Some("org"));
    let wide = "界".repeat(128);
    for org in [
        "<script>alert(1)</script>",
        "=?utf-8?q?=0D=0ABcc=3A_evil@example.com?=",
        "Bcc: evil@example.com",
        "\u{202E}moc.elpmaxe\u{2066}",
        "a\u{2028}Bcc: evil@example.com",
        wide.as_str(),
    ] {
        let path: String = org.bytes().map(|byte| format!("%{byte:02X}")).collect();
        client.put(&format!("/v1/orgs/{path}"), json!({"name": format!("{org}\u{A0}Inc.")})).ok();
        notice(&mut client, &path, "k");
        let mail = smtpd.next();
        assert_eq!(mail.to, ["ann@example.com"], "{org}");
        let mut names: Vec<&str> = mail.headers.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        let known = [
            "Auto-Submitted",
            "Content-Type",
            "Date",
            "From",
            "List-Unsubscribe",
            "List-Unsubscribe-Post",
            "MIME-Version",
            "Message-ID",
            "Subject",
            "To",
        ];
        assert_eq!(names, known, "{org}: {}", mail.head);
        assert!(mail.head.is_ascii() && mail.longest_line <= 998, "{org}: {}", mail.head);
        let subject = mail.header("Subject");
        assert!(!subject.contains(['\r', '\n', '\u{202E}', '\u{2066}']), "{org}: {subject:?}");
        let [(_, plain), (_, html)] = mail.parts.as_slice() else { panic!("two parts: {mail:?}") };
        assert!(plain.contains(org), "{org}: {plain}");
        assert!(!html.contains("<script") && !html.contains("<b>"), "{org}: {html}");
    }
}

#[test]
fn what_is_said_of_a_mail_channel_is_checked() {
    let server = TestServer::start();
    let mut client = server.client();
    let ask = json!({"name": "n", "kind": "email", "to": "ann@example.com"});
    let refused = client.post("/v1/channels", ask.clone());
    refused.is_problem(422, "invalid_field", Some("kind"));
    assert!(refused.text().contains("smtp-host"), "{}", refused.text());
    let smtpd = Smtpd::plain();
    let server = self::server(&smtpd);
    let mut client = server.client();
    for (body, field) in [
        (json!({"name": "n", "kind": "email"}), "to"),
        (json!({"name": "n", "kind": "email", "to": "ann"}), "to"),
        (json!({"name": "n", "kind": "email", "to": "a@example.com, b@example.com"}), "to"),
        (json!({"name": "n", "kind": "email", "to": "a@example.com\r\nBcc: b@example.com"}), "to"),
        (json!({"name": "n", "kind": "email", "to": "a@example.com", "url": "https://a.example"}), "url"),
        (json!({"name": "n", "kind": "log", "to": "a@example.com"}), "to"),
        (json!({"name": "n", "kind": "webhook", "url": "https://1.1.1.1", "to": "a@example.com"}), "to"),
    ] {
        let refused = client.post("/v1/channels", body);
        assert_eq!((refused.status, &refused.json()["field"]), (422, &json!(field)), "{}", refused.text());
    }
    let id = email(&mut client, "ann@example.com");
    let path = format!("/v1/channels/{id}");
    let kept = client.put(&path, json!({"name": "other", "kind": "email"})).ok();
    assert_eq!((&kept["name"], &kept["to"]), (&json!("other"), &json!("ann@example.com")));
    client.put(&path, json!({"name": "n", "kind": "log"})).is_problem(422, "invalid_field", Some("kind"));
    client.post(&format!("{path}/secret"), json!({})).is_problem(422, "invalid_field", Some("id"));
    let (log, _) = channel(&mut client, json!({"name": "n", "kind": "log"}));
    client.put(&format!("/v1/channels/{log}"), ask).is_problem(422, "invalid_field", Some("kind"));
}

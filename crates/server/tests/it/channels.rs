//! Channels: notices on their way to whoever should know.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollgate_server::Reach;

use crate::client::Client;
use crate::receiver::{Received, Receiver};
use crate::server::TestServer;
use crate::tools::{program, run, tool};

fn server() -> TestServer {
    TestServer::with(|settings| {
        settings.webhook_reach = Reach::Anywhere;
        settings.notice_interval = Duration::from_millis(20);
    })
}

/// Makes a channel; gives its id and its secret.
pub(crate) fn channel(client: &mut Client, body: Value) -> (String, String) {
    let made = client.post("/v1/channels", body);
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    let text = |name: &str| made[name].as_str().unwrap_or_default().to_owned();
    (text("id"), text("secret"))
}

fn webhook(client: &mut Client, receiver: &Receiver) -> (String, String) {
    channel(client, json!({"name": "hook", "kind": "webhook", "url": receiver.url("/in?token=s3cret")}))
}

/// Causes a notice of an org: credit is added.
pub(crate) fn notice(client: &mut Client, org: &str, key: &str) {
    client.put(&format!("/v1/orgs/{org}/plan"), json!({"plan": "basic"})).ok();
    let top_up = json!({"meter": "reports", "amount": 5, "key": key});
    client.post(&format!("/v1/orgs/{org}/top-ups"), top_up).ok();
}

/// Asks until an answer is as it should be.
#[track_caller]
pub(crate) fn until(client: &mut Client, path: &str, is: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let told = client.get(path).ok();
        if is(&told) {
            return told;
        }
        assert!(Instant::now() < deadline, "{path} stays {told}");
    }
}

#[test]
fn a_notice_goes_out_signed_and_the_log_says_what_came_of_it() {
    let (server, receiver) = (server(), Receiver::start());
    let mut client = server.client();
    notice(&mut client, "acme", "before");
    let (id, secret) = webhook(&mut client, &receiver);
    assert!(secret.starts_with("whsec_"), "{secret}");
    notice(&mut client, "acme", "after");
    let request = receiver.next();
    assert_eq!(
        (request.path.as_str(), request.header("content-type")),
        ("/in?token=s3cret", "application/json")
    );
    let body = request.json();
    assert_eq!(body["type"], "notice.top_up_granted");
    assert_eq!(body["timestamp"], "2026-11-02T10:00:00Z");
    let listed = client.get("/v1/notices?kind=top_up_granted").ok();
    assert_eq!(body["data"], listed["notices"][1], "what came before the channel is not delivered");
    let shown = until(&mut client, &format!("/v1/channels/{id}"), |shown| shown["delivered"] == 1);
    assert_eq!((&shown["state"], &shown["waiting"], &shown["lost"]), (&json!("live"), &json!(0), &json!(0)));
    assert!(shown["url"].as_str().is_some_and(|url| url.ends_with("/in?***")), "{shown}");
    let log = client.get(&format!("/v1/channels/{id}/deliveries")).ok();
    let attempt = &log["deliveries"][0];
    assert_eq!(
        (&attempt["number"], &attempt["attempt"], &attempt["status"]),
        (&json!(1), &json!(1), &json!(200))
    );
    assert_eq!((&attempt["result"], &attempt["reply"]), (&json!("delivered"), &json!("answer")));
    let log = client.get(&format!("/v1/channels/{id}/deliveries?requests=true&before=2&limit=1")).ok();
    let sent = json!({"id": request.header("webhook-id"), "body": body});
    assert_eq!(log["deliveries"][0]["request"], sent);

    // Once more under the same id: one, and all since a time.
    client.post(&format!("/v1/channels/{id}/replay"), json!({"notice": request.notice()})).ok();
    let again = receiver.next();
    assert_eq!((again.header("webhook-id"), &again.body), (request.header("webhook-id"), &request.body));
    until(&mut client, &format!("/v1/channels/{id}"), |shown| shown["delivered"] == 2);
    client.post(&format!("/v1/channels/{id}/replay"), json!({"since": "2026-11-02T00:00:00Z"})).ok();
    assert_eq!([receiver.next().notice(), receiver.next().notice()], ["acme/2/0", "acme/3/0"]);
    until(&mut client, &format!("/v1/channels/{id}"), |shown| shown["delivered"] == 4);
    client.delete(&format!("/v1/channels/{id}")).ok();
    client.get(&format!("/v1/channels/{id}")).is_problem(404, "unknown_channel", Some("id"));
    notice(&mut client, "acme", "unheard");
    assert_eq!(client.get("/v1/channels").ok(), json!({"channels": []}));
    assert_eq!(receiver.waiting(), None);
}

#[test]
fn a_channel_takes_what_its_filter_lets_pass() {
    let (server, receiver) = (server(), Receiver::start());
    let mut client = server.client();
    for (path, filter) in [
        ("/kind", json!({"notices": ["threshold_crossed"]})),
        ("/org", json!({"orgs": ["beta"]})),
        ("/plan", json!({"plans": ["pro"]})),
        ("/meter", json!({"meters": ["nothing"]})),
        ("/all", json!({"orgs": ["acme", "beta"], "plans": ["basic", "pro"], "meters": ["reports"]})),
    ] {
        let mut body = json!({"name": path, "kind": "webhook", "url": receiver.url(path)});
        body.as_object_mut().expect("an object").extend(filter.as_object().expect("an object").clone());
        channel(&mut client, body);
    }
    notice(&mut client, "acme", "k");
    client.put("/v1/orgs/beta/plan", json!({"plan": "pro"})).ok();
    client.post("/v1/orgs/beta/top-ups", json!({"meter": "reports", "amount": 5, "key": "k"})).ok();
    let mut came: Vec<(String, String)> =
        (0..4).map(|_| receiver.next()).map(|request| (request.path.clone(), request.notice())).collect();
    came.sort();
    let wanted = [("/all", "acme/2/0"), ("/all", "beta/2/0"), ("/org", "beta/2/0"), ("/plan", "beta/2/0")];
    assert_eq!(came, wanted.map(|(path, notice)| (path.to_owned(), notice.to_owned())));
}

/// The requests of each org in the order in which they were first taken.
fn taken(requests: &[Received]) -> BTreeMap<String, Vec<String>> {
    let mut by_org: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for request in requests.iter().filter(|request| request.status == 200) {
        let org = request.json()["data"]["org"].as_str().expect("an org").to_owned();
        let known = by_org.entry(org).or_default();
        if !known.contains(&request.notice()) {
            known.push(request.notice());
        }
    }
    by_org
}

#[test]
fn an_endpoint_that_was_down_for_a_day_hears_all_of_it_in_order_under_the_same_ids() {
    let (mut server, receiver) = (server(), Receiver::start());
    let mut client = server.client();
    let (id, _) = webhook(&mut client, &receiver);
    receiver.answers(503);
    for number in 1..=3 {
        for org in ["acme", "beta"] {
            notice(&mut client, org, &format!("k-{number}"));
        }
    }
    let path = format!("/v1/channels/{id}");
    let log = format!("/v1/channels/{id}/deliveries");
    // Each time the next attempt of both orgs is due; in between the server is stopped and started.
    for attempt in 1..=7 {
        let tried = until(&mut client, &log, |log| {
            log["deliveries"].as_array().is_some_and(|all| all.len() == 2 * attempt)
        });
        let due = |place: usize| tried["deliveries"][place]["next_at"].as_str().expect("a time").to_owned();
        assert_eq!(tried["deliveries"][0]["attempt"], json!(attempt));
        if attempt == 7 {
            break;
        }
        server.at(&due(0).max(due(1)));
        if attempt % 3 == 0 {
            server.restart();
            client = server.client();
        }
    }
    let shown = client.get(&path).ok();
    assert_eq!((&shown["state"], &shown["waiting"]), (&json!("failing"), &json!(6)));
    server.at("2026-11-03T10:00:00Z");
    receiver.answers(200);
    // A day has passed. A new notice of another org finds the endpoint well, and all queued messages go out at once.
    notice(&mut client, "gamma", "k");
    until(&mut client, &path, |shown| shown["delivered"] == 7);
    let requests: Vec<Received> = std::iter::from_fn(|| receiver.waiting()).collect();
    let wanted = ["acme", "beta"].map(|org| {
        let notices = ["2/0", "3/0", "4/0"].map(|notice| format!("{org}/{notice}"));
        (org.to_owned(), notices.to_vec())
    });
    let mut all = BTreeMap::from(wanted);
    all.insert("gamma".to_owned(), vec!["gamma/2/0".to_owned()]);
    assert_eq!(taken(&requests), all);
    let mut ids: HashMap<String, String> = HashMap::new();
    for request in &requests {
        let known = ids.entry(request.notice()).or_insert_with(|| request.header("webhook-id").to_owned());
        assert_eq!(known, request.header("webhook-id"));
    }
}

#[test]
fn a_channel_that_fails_for_five_days_is_disabled_and_another_tells_it() {
    let (server, receiver, other) = (server(), Receiver::start(), Receiver::start());
    let mut client = server.client();
    let (id, _) = webhook(&mut client, &receiver);
    channel(&mut client, json!({"name": "other", "kind": "webhook", "url": other.url("/")}));
    receiver.answers(500);
    for (number, day) in (3..=7).enumerate() {
        notice(&mut client, &format!("org-{number}"), "k");
        receiver.next();
        assert_eq!(other.next().notice(), format!("org-{number}/2/0"));
        server.at(&format!("2026-11-0{day}T10:00:01Z"));
    }
    let path = format!("/v1/channels/{id}");
    let shown = until(&mut client, &path, |shown| shown["state"] == "disabled");
    assert_eq!(shown["failing_since"], "2026-11-02T10:00:00Z");
    let told = other.next().json();
    assert_eq!((&told["type"], &told["data"]["channel"]), (&json!("channel.disabled"), &json!(id)));
    // Whoever sets it anew has it deliver again.
    receiver.answers(200);
    client.put(&path, json!({"name": "hook", "kind": "webhook"})).ok();
    let live = until(&mut client, &path, |shown| shown["waiting"] == 0);
    assert_eq!((&live["state"], &live["disabled_at"]), (&json!("live"), &Value::Null));
    // One whose receiver says that it is gone is disabled at once.
    receiver.answers(410);
    notice(&mut client, "acme", "k");
    until(&mut client, &path, |shown| shown["state"] == "disabled");
}

#[test]
fn no_request_goes_to_this_machine_or_its_network_and_no_redirect_is_followed() {
    let server = TestServer::start();
    let mut client = server.client();
    for url in [
        "http://127.0.0.1:1/",
        "http://localhost/",
        "http://169.254.169.254/latest/meta-data",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://[::1]/",
        "http://[::ffff:169.254.169.254]/",
        "http://10.0.0.7/",
        "http://100.100.100.200/",
        "http://0/",
    ] {
        for kind in ["webhook", "slack"] {
            let refused = client.post("/v1/channels", json!({"name": "n", "kind": kind, "url": url}));
            refused.is_problem(422, "invalid_field", Some("url"));
            assert!(refused.text().contains("public internet"), "{}", refused.text());
        }
    }
    for url in ["ftp://example.com/", "http://ann:s3cret@example.com/", "/in", "http://", ""] {
        let refused = client.post("/v1/channels", json!({"name": "n", "kind": "webhook", "url": url}));
        refused.is_problem(422, "invalid_field", Some("url"));
        assert!(!refused.text().contains("s3cret"));
    }
    for (kind, url) in [
        ("webhook", "https://example.com:99999/"),
        ("slack", "http://example.com:0/"),
        ("sqs", "https://sqs.eu-west-1.amazonaws.com:65536/123456789012/notices"),
    ] {
        let refused = client.post("/v1/channels", json!({"name": "n", "kind": kind, "url": url}));
        refused.is_problem(422, "invalid_field", Some("url"));
        assert!(refused.text().contains("its port must be from 1 to 65535"), "{}", refused.text());
    }
    let (server, receiver) = (self::server(), Receiver::start());
    let mut client = server.client();
    let (id, _) = webhook(&mut client, &receiver);
    receiver.answers(302);
    let tested = client.post(&format!("/v1/channels/{id}/test"), json!({})).ok();
    assert_eq!((&tested["delivered"], &tested["status"]), (&json!(false), &json!(302)));
    assert_eq!(receiver.next().json()["type"], "channel.test");
}

/// Has a library of Standard Webhooks verify requests, each with a secret and whether it must fail.
fn verify(mut command: Command, cases: &[(&Received, &str, bool)]) {
    for (request, secret, forged) in cases {
        let headers = ["webhook-id", "webhook-timestamp", "webhook-signature"];
        let headers: BTreeMap<_, _> = headers.map(|name| (name, request.header(name))).into();
        let mut body = String::from_utf8(request.body.clone()).expect("text");
        if *forged {
            body = body.replace("acme", "evil");
        }
        command.arg(json!({"secret": secret, "headers": headers, "body": body}).to_string());
    }
    let told: Vec<bool> = serde_json::from_str(&run(command)).expect("JSON");
    let wanted: Vec<bool> = cases.iter().map(|(.., forged)| !forged).collect();
    assert_eq!(told, wanted);
}

#[test]
fn the_libraries_of_standard_webhooks_verify_requests_also_while_secrets_change() {
    let (server, receiver) = (server(), Receiver::start());
    let mut client = server.client();
    let (id, old) = webhook(&mut client, &receiver);
    notice(&mut client, "acme", "k-1");
    let first = receiver.next();
    let rotated = client.post(&format!("/v1/channels/{id}/secret"), json!({"overlap_hours": 2})).ok();
    assert_eq!(rotated["old_until"], "2026-11-02T12:00:00Z");
    let new = rotated["secret"].as_str().expect("a secret");
    notice(&mut client, "acme", "k-2");
    let both = receiver.next();
    assert_eq!(both.header("webhook-signature").split(' ').count(), 2);
    server.at("2026-11-02T12:00:00Z");
    notice(&mut client, "acme", "k-3");
    let last = receiver.next();
    assert_eq!(last.header("webhook-signature").split(' ').count(), 1);
    let cases = [
        (&first, old.as_str(), false),
        (&first, old.as_str(), true),
        (&both, old.as_str(), false),
        (&both, new, false),
        (&both, new, true),
        (&last, new, false),
    ];
    let script = |name| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join("it").join(name);
    let mut node = Command::new(program("node"));
    node.arg(script("webhooks.cjs")).current_dir(tool("webhooks-node"));
    verify(node, &cases);
    let mut python = Command::new(tool("webhooks-python").join("bin").join("python"));
    python.arg(script("webhooks.py"));
    verify(python, &cases);
}

#[test]
fn slack_is_told_in_blocks_and_hostile_names_stay_text() {
    let (server, receiver) = (server(), Receiver::start());
    let mut client = server.client();
    let (id, secret) = channel(&mut client, json!({"name": "s", "kind": "slack", "url": receiver.url("/x")}));
    assert_eq!(secret, "", "Slack asks for no signature");
    let shown = client.get(&format!("/v1/channels/{id}")).ok();
    assert!(shown["url"].as_str().is_some_and(|url| url.ends_with("/***")), "its URL is a secret: {shown}");
    notice(&mut client, "%3C!channel%3E%26co", "k");
    let body = receiver.next().json();
    let text = body["text"].as_str().expect("a text");
    assert!(text.starts_with("&lt;!channel&gt;&amp;co: 5 reports were added"), "{text}");
    assert_eq!(body["blocks"][0]["type"], "section");
    assert_eq!(body["blocks"][0]["text"]["type"], "plain_text");
    let shown = body["blocks"][0]["text"]["text"].as_str().expect("a text");
    assert!(shown.starts_with("<!channel>&co: 5 reports were added"), "{shown}");
    assert_eq!(body["blocks"][1]["type"], "context");
}

#[test]
fn a_channel_is_made_once_under_a_key_and_only_by_who_may() {
    let server = server();
    let mut client = server.client();
    let ask = crate::client::Ask::new("POST", "/v1/channels").header("idempotency-key", "one");
    let ask = ask.json(json!({"name": "n", "kind": "log"}));
    let (first, again) = (client.ask(&ask), client.ask(&ask));
    assert_eq!((first.status, again.status), (201, 200));
    assert_eq!(first.json(), again.json());
    let id = first.json()["id"].as_str().expect("an id").to_owned();
    let tested = client.post(&format!("/v1/channels/{id}/test"), json!({})).ok();
    assert_eq!(tested["delivered"], true);
    notice(&mut client, "acme", "k");
    until(&mut client, &format!("/v1/channels/{id}"), |shown| shown["delivered"] == 1);
    for (body, field) in [
        (json!({"name": "", "kind": "log"}), "name"),
        (json!({"name": "n", "kind": "webhook"}), "url"),
        (json!({"name": "n", "kind": "log", "url": "https://a.example"}), "url"),
        (json!({"name": "n", "kind": "log", "notices": ["nothing"]}), "notices"),
        (json!({"name": "n", "kind": "pigeon"}), "kind"),
    ] {
        let refused = client.post("/v1/channels", body);
        assert_eq!((refused.status, &refused.json()["field"]), (422, &json!(field)), "{}", refused.text());
    }
    let made = client.post("/v1/api-keys", json!({"name": "a", "role": "admin"})).json();
    let mut admin = server.client().with_key(made["secret"].as_str().expect("a secret"));
    for (role, org, may) in [("read", None, false), ("manage", Some("acme"), false), ("manage", None, true)] {
        let key = crate::client::given(json!({"name": role, "role": role, "org": org}));
        let made = admin.post("/v1/api-keys", key).json();
        let mut caller = server.client().with_key(made["secret"].as_str().expect("a secret"));
        let reply = caller.post("/v1/channels", json!({"name": "n", "kind": "log"}));
        assert_eq!(reply.status, if may { 201 } else { 403 }, "{role} {org:?}: {}", reply.text());
    }
}

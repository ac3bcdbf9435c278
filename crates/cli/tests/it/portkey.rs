//! `tollgate portkey`, against a stand-in for the hosted API of Portkey, which nobody can run: it has keys that count what they
//! spend, and analytics of the calls that were made.
#![expect(clippy::indexing_slicing, reason = "what is not in a reply fails the test")]

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use serde_json::{Value, json};
use tollgate_domain::{SignedDuration, Timestamp};

use crate::server::{Ran, Server, folder};

const CATALOG: &str = r#"
[[meters]]
id = "usd"
name = "US dollars"
unit = "USD"

[[plans]]
id = "team"
name = "Team"
allowances = [{ meter = "usd", amount = "45.9" }]
"#;

/// A call that went through Portkey.
struct Call {
    at: Timestamp,
    org: &'static str,
    user: Option<&'static str>,
    model: &'static str,
    /// In hundredths of a cent.
    cost: u64,
}

/// A key: its usage limit, what it has spent since that was set or reset, and when it expires.
#[derive(Default)]
struct Key {
    limits: Value,
    spent: u64,
    expires_at: Value,
}

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    keys: HashMap<String, Key>,
    /// Statuses that the next questions are answered with, in place of an answer.
    fails: Vec<u16>,
    changes: Vec<Value>,
    asked: usize,
}

#[derive(Clone)]
struct Portkey {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Portkey {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let portkey = Self { address, state: Arc::default() };
        let answering = portkey.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let portkey = answering.clone();
                thread::spawn(move || portkey.answer(&stream));
            }
        });
        portkey
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        loop {
            let mut lines = reader.by_ref().lines().map_while(Result::ok);
            let first = lines.next()?;
            let headers: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
            let length =
                headers.iter().find_map(|header| header.strip_prefix("content-length: ")?.parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            reader.read_exact(&mut body).ok()?;
            let key = headers.contains(&"x-portkey-api-key: pk-secret".to_owned());
            let mut words = first.split(' ');
            let (method, target) = (words.next()?, words.next()?);
            let (status, reply) =
                if key { self.reply(method, target, &body) } else { (401, json!({"success": false})) };
            let reply = reply.to_string();
            let head =
                format!("HTTP/1.1 {status} X\r\nretry-after: 0\r\ncontent-length: {}\r\n\r\n", reply.len());
            (&mut &*stream).write_all(format!("{head}{reply}").as_bytes()).ok()?;
        }
    }

    fn reply(&self, method: &str, target: &str, body: &[u8]) -> (u16, Value) {
        let mut state = self.state();
        state.asked += 1;
        if let Some(status) = state.fails.pop() {
            return (status, json!({"message": "AB04"}));
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query: HashMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        if let Some(group) = path.strip_prefix("/v1/analytics/groups/") {
            return (200, grouped(&state.calls, group, &query));
        }
        let id = path.strip_prefix("/v1/api-keys/").unwrap_or_default();
        let State { keys, changes, .. } = &mut *state;
        let Some(key) = keys.get_mut(id) else { return (404, json!({"message": "AB08"})) };
        if method == "GET" {
            let shown = json!({"id": id, "name": "acme's key", "object": "api-key", "usage_limits": key.limits,
                "expires_at": key.expires_at, "status": "active"});
            return (200, shown);
        }
        let change: Value = serde_json::from_slice(body).expect("JSON");
        if let Some(limits) = change.get("usage_limits") {
            key.limits = limits.clone();
        }
        if let Some(expires_at) = change.get("expires_at") {
            key.expires_at = expires_at.clone();
        }
        if change["reset_usage"] == true {
            key.spent = 0;
        }
        changes.push(change);
        (200, json!({}))
    }

    /// What the gateway answers to a call with a key that costs so many USD.
    fn spend(&self, key: &str, usd: u64) -> u16 {
        let mut state = self.state();
        let key = state.keys.get_mut(key).expect("a key");
        let expiry = key.expires_at.as_str().map(|at| at.parse::<Timestamp>().expect("a time"));
        let limit = key.limits["credit_limit"].as_u64();
        if expiry.is_some_and(|at| at <= now()) {
            return 401;
        }
        if limit.is_some_and(|limit| key.spent >= limit) {
            return 412;
        }
        key.spent += usd;
        200
    }

    /// Runs a command of it.
    fn run(&self, server: &Server, line: &str) -> Ran {
        let url = format!("http://{}", self.address);
        let words: Vec<&str> = line.split_whitespace().collect();
        let more = ["--portkey-url", &url, "--portkey-api-key", "pk-secret"];
        let ran = server.run(&[&["portkey"], &words[..], &more].concat());
        assert!(!format!("{ran:?}").contains("pk-secret"), "{ran:?}");
        ran
    }

    #[track_caller]
    fn ok(&self, server: &Server, line: &str) -> Value {
        let ran = self.run(server, &format!("{line} --json"));
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.json()
    }
}

/// A page of a group: of the calls in the range, from its first moment until before its last, whatever the times are written like.
fn grouped(calls: &[Call], group: &str, query: &HashMap<String, String>) -> Value {
    let time = |name: &str| query[name].parse::<Timestamp>().expect("a time");
    let (from, to) = (time("time_of_generation_min"), time("time_of_generation_max"));
    assert_eq!(query["workspace_slug"], "space");
    let metadata: HashMap<String, String> = serde_json::from_str(&query["metadata"]).expect("metadata");
    let is_asked = |call: &&Call| {
        (from..to).contains(&call.at)
            && metadata.get("org").is_none_or(|org| org == call.org)
            && metadata.get("_user").is_none_or(|user| call.user == Some(user))
    };
    let mut sums = BTreeMap::<Option<&str>, u64>::new();
    for call in calls.iter().filter(is_asked) {
        let of = if group == "users" { call.user } else { Some(call.model) };
        *sums.entry(of).or_default() += call.cost;
    }
    let number = |name: &str| query[name].parse::<usize>().expect("a number");
    let (size, page) = (number("page_size").min(2), number("current_page"));
    let rows = sums.iter().skip(page * size).take(size).map(|(of, cost)| {
        let cents = format!("{}.{:02}", cost / 100, cost % 100);
        match group {
            // Users' are texts, models' are numbers.
            "users" => json!({"user": of, "requests": "1", "cost": cents, "object": "analytics-group"}),
            _ => json!({"ai_model": of, "requests": 1, "cost": cents.parse::<f64>().expect("a number")}),
        }
    });
    json!({"object": "list", "total": sums.len(), "data": rows.collect::<Vec<_>>()})
}

#[expect(clippy::disallowed_methods, reason = "the server's clock is the machine's")]
fn now() -> Timestamp {
    Timestamp::now()
}

fn server(folder: &std::path::Path) -> Server {
    let server = Server::start(folder, &[], &[]);
    std::fs::write(folder.join("catalog.toml"), CATALOG).expect("written");
    server.ok(&["catalog", "apply", "catalog.toml"]);
    server.ok(&["plan", "set", "acme", "team"]);
    server
}

fn use_(server: &Server, usd: &str, key: &str) {
    server.ok(&["use", "acme", "--meter", "usd", "--quantity", usd, "--key", key]);
}

#[test]
fn what_remains_is_the_limit_of_a_key_and_a_key_of_nobody_with_credit_is_blocked() {
    let folder = folder();
    let (server, portkey) = (server(folder.path()), Portkey::start());
    portkey.state().keys.insert("key-1".to_owned(), Key::default());
    let dry = portkey.ok(&server, "push acme key-1 --dry-run");
    assert_eq!(
        (&dry["was"], &dry["limit"], &dry["pushed"]),
        (&json!("unlimited"), &json!("45"), &json!(false))
    );
    assert_eq!(portkey.state().changes.len(), 0, "it is a dry run");
    let pushed = portkey.ok(&server, "push acme key-1");
    assert_eq!(
        pushed,
        json!({"org": "acme", "meter": "usd", "remaining": 45.9, "key": "key-1", "name": "acme's key", "limit_by": "cost",
            "was": "unlimited", "limit": "45", "pushed": true})
    );
    let limits = json!({"type": "cost", "credit_limit": 45});
    assert_eq!(portkey.state().changes, [json!({"usage_limits": limits, "reset_usage": true})]);
    // What Portkey counted and nobody recorded yet stays counted.
    assert_eq!(portkey.spend("key-1", 40), 200);
    let again = portkey.run(&server, "push acme key-1");
    assert!(again.out.contains("no: it is right already"), "{again:?}");
    assert_eq!(portkey.spend("key-1", 5), 200);
    assert_eq!(portkey.spend("key-1", 1), 412, "45 are spent");
    assert_eq!(portkey.state().changes.len(), 1);
    // Once it is recorded, the key may spend what remains.
    use_(&server, "30", "u-1");
    assert_eq!(portkey.ok(&server, "push acme key-1 --step 31")["pushed"], false);
    assert_eq!(portkey.ok(&server, "push acme key-1")["limit"], "15");
    assert_eq!(portkey.spend("key-1", 15), 200);
    assert_eq!(portkey.spend("key-1", 1), 412);
    assert_eq!(portkey.ok(&server, "push acme key-1 --force")["pushed"], true);
    assert_eq!(portkey.spend("key-1", 1), 200, "what it spent is forgiven");
    // Less than a dollar is no limit of Portkey's.
    use_(&server, "15.5", "u-2");
    let blocked = portkey.ok(&server, "push acme key-1");
    assert_eq!((&blocked["remaining"], &blocked["limit"]), (&json!(0.4), &json!("blocked")));
    assert_eq!(portkey.spend("key-1", 1), 401);
    assert_eq!(portkey.ok(&server, "push acme key-1")["pushed"], false);
    // Portkey may write times in its own way.
    portkey.state().keys.get_mut("key-1").expect("a key").expires_at = json!("2000-01-01T00:00:00.000+00:00");
    server.ok(&["top-up", "acme", "10", "--meter", "usd", "--expires-at", "never"]);
    let free = portkey.ok(&server, "push acme key-1");
    assert_eq!((&free["was"], &free["limit"]), (&json!("blocked"), &json!("10")));
    assert_eq!(portkey.spend("key-1", 1), 200);
    // A limit on the whole organization may be nearer than the end of its credit.
    server.ok(&["limit", "set", "acme", "48", "--meter", "usd", "--scope", "org"]);
    assert_eq!(portkey.ok(&server, "push acme key-1")["remaining"], 2.5);
    // An alert stays as it was set, and so does an expiry of its own.
    let mut state = portkey.state();
    let key = state.keys.get_mut("key-1").expect("a key");
    key.limits =
        json!({"type": "cost", "credit_limit": 9.0, "alert_threshold": 2, "periodic_reset": "monthly"});
    key.expires_at = json!("2999-01-01T00:00:00Z");
    drop(state);
    assert_eq!(portkey.ok(&server, "push acme key-1")["was"], "9");
    let state = portkey.state();
    let limits = json!({"type": "cost", "credit_limit": 2, "alert_threshold": 2});
    assert_eq!(state.changes.last(), Some(&json!({"usage_limits": limits, "reset_usage": true})));
    assert_eq!(state.keys["key-1"].expires_at, "2999-01-01T00:00:00Z");
    drop(state);
    // One that is given again each month is none of ours, though it is as large.
    portkey.state().keys.get_mut("key-1").expect("a key").limits["periodic_reset"] = json!("monthly");
    assert_eq!(portkey.ok(&server, "push acme key-1")["pushed"], true);
    assert_eq!(portkey.ok(&server, "push acme key-1")["pushed"], false);
}

#[test]
fn units_may_be_worth_less_and_tokens_are_limited_as_such() {
    let folder = folder();
    let (server, portkey) = (server(folder.path()), Portkey::start());
    portkey.state().keys.insert("key-1".to_owned(), Key::default());
    for (more, limit) in [
        ("--unit-worth 0.1", "4"),
        ("--unit-worth 0.02", "blocked"),
        ("--unit-worth 100", "4590"),
        ("--limit-by tokens", "blocked"),
    ] {
        assert_eq!(
            portkey.ok(&server, &format!("push acme key-1 --dry-run {more}"))["limit"],
            limit,
            "{more}"
        );
    }
    server.ok(&["top-up", "acme", "100.5", "--meter", "usd"]);
    assert_eq!(portkey.ok(&server, "push acme key-1 --limit-by tokens")["limit"], "146");
    assert_eq!(portkey.state().keys["key-1"].limits, json!({"type": "tokens", "credit_limit": 146}));
}

#[test]
fn what_portkey_refuses_is_told_and_asked_again_where_that_is_safe() {
    let folder = folder();
    let (server, portkey) = (server(folder.path()), Portkey::start());
    portkey.state().keys.insert("key-1".to_owned(), Key::default());
    // A question is asked again; a change is not.
    portkey.state().fails = vec![503, 429];
    assert_eq!(portkey.ok(&server, "push acme key-1")["pushed"], true);
    for (line, fails, code, says) in [
        ("push acme key-1", vec![500, 500, 500], 3, "answered 500"),
        ("push acme key-1", vec![403], 3, "lacks a scope"),
        ("push acme unknown", vec![], 3, "there is no such key"),
        ("push nobody key-1", vec![], 3, "unknown_org"),
        ("push acme key-1 --meter tokens", vec![], 2, "neither credit nor usage of 'tokens'"),
        ("push acme key-1 --unit-worth 0", vec![], 2, "must be a number above zero"),
        ("reconcile acme --from 2026-11-02 --to 2026-11-01", vec![], 2, "must be after --from"),
        ("reconcile acme --from yesterday --to 2026-11-01", vec![], 2, "must be a day such as"),
    ] {
        portkey.state().fails = fails;
        let ran = portkey.run(&server, line);
        assert_eq!(ran.code, code, "{line}: {ran:?}");
        assert!(ran.err.contains(says), "{line}: {ran:?}");
    }
    let asked = portkey.state().asked;
    use_(&server, "10", "u-1");
    let changes = portkey.state().changes.len();
    assert_eq!(portkey.ok(&server, "push acme key-1")["limit"], "35");
    let state = portkey.state();
    assert_eq!((state.asked, state.changes.len()), (asked + 2, changes + 1));
    drop(state);
    for (args, code, says) in [
        (
            &["portkey", "push", "acme", "key-1", "--portkey-url", "ftp://x", "--portkey-api-key", "k"][..],
            2,
            "portkey-url:",
        ),
        (&["portkey", "push", "acme", "key-1"], 2, "portkey-api-key: is needed"),
        (
            &[
                "portkey",
                "push",
                "acme",
                "key-1",
                "--portkey-api-key",
                "k",
                "--portkey-url",
                "http://127.0.0.1:1",
            ],
            3,
            "PORTKEY_URL names another",
        ),
    ] {
        let ran = server.run(args);
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(ran.err.contains(says), "{ran:?}");
    }
    let url = format!("http://{}/v1", portkey.address);
    let wrong =
        server.run(&["portkey", "push", "acme", "key-1", "--portkey-url", &url, "--portkey-api-key", "k"]);
    assert!(wrong.code == 3 && wrong.err.contains("it does not know the API key"), "{wrong:?}");
}

/// What was recorded, and what Portkey knows of: the two agree on some calls, and each lacks some of the other's.
fn diverge(server: &Server, portkey: &Portkey, from: Timestamp, to: Timestamp) {
    let second = |at: Timestamp, secs: i64| at.checked_add(SignedDuration::from_secs(secs)).expect("a time");
    let line = |user: &str, model: &str, usd: &str, key: &str, at: Timestamp| {
        json!({"org": "acme", "user": user, "meter": "usd", "quantity": usd, "key": key, "time": at.to_string(),
            "properties": {"model": model}})
        .to_string()
    };
    let mid = second(from, 600);
    let lines = [
        line("ada", "openai/gpt-4o", "1.5", "r-1", mid),
        line("ada", "gpt-4o", "0.500000001", "r-2", from),
        line("bob", "gpt-4o-mini", "0.25", "r-3", mid),
        line("carol", "gpt-4o", "3", "r-4", mid),
        line("ada", "gpt-4o", "5", "r-5", mid),
        line("ada", "gpt-4o", "9", "r-6", second(from, -1)),
        line("ada", "gpt-4o", "9", "r-7", to),
    ];
    std::fs::write(server.folder.join("usage.ndjson"), lines.join("\n")).expect("written");
    server.ok(&["import", "usage.ndjson"]);
    server.ok(&["reverse", "acme", "r-5"]);
    let call = |at, org, user, model, cost| Call { at, org, user, model, cost };
    portkey.state().calls = vec![
        call(mid, "acme", Some("ada"), "gpt-4o", 10_000),
        // Half a second into the range, and half a second before its end: as texts these are outside of it.
        call(
            from.checked_add(SignedDuration::from_millis(500)).expect("a time"),
            "acme",
            Some("ada"),
            "gpt-4o",
            10_000,
        ),
        call(
            to.checked_sub(SignedDuration::from_millis(500)).expect("a time"),
            "acme",
            Some("ada"),
            "claude",
            7_512,
        ),
        call(mid, "acme", Some("bob"), "gpt-4o-mini", 2_500),
        call(mid, "acme", Some("dora"), "gpt-4o", 1_000),
        call(mid, "acme", None, "gpt-4o", 400),
        // Of others, and of another time.
        call(mid, "globex", Some("ada"), "gpt-4o", 90_000),
        call(second(from, -1), "acme", Some("ada"), "gpt-4o", 90_000),
        call(to, "acme", Some("ada"), "gpt-4o", 90_000),
    ];
}

#[test]
fn differences_are_listed_and_what_is_missing_is_recorded_once_when_told() {
    let folder = folder();
    let (server, portkey) = (server(folder.path()), Portkey::start());
    // Whole seconds, so that a text of the range has no fraction.
    let to = Timestamp::from_second(now().as_second() - 3_600).expect("a time");
    let from = Timestamp::from_second(to.as_second() - 7_200).expect("a time");
    diverge(&server, &portkey, from, to);
    let line = format!("reconcile acme --from {from} --to {to} --portkey-workspace space");
    let used = || server.ok(&["balance", "acme", "--json"]).json()["meters"]["usd"]["lifetime"].clone();
    let before = used();
    let told = portkey.ok(&server, &line);
    let differences = json!([
        {"user": null, "model": null, "portkey": 0.04, "recorded": 0, "difference": 0.04},
        {"user": "ada", "model": "claude", "portkey": 0.7512, "recorded": 0, "difference": 0.7512},
        {"user": "carol", "model": "gpt-4o", "portkey": 0, "recorded": 3, "difference": -3},
        {"user": "dora", "model": "gpt-4o", "portkey": 0.1, "recorded": 0, "difference": 0.1},
    ]);
    assert_eq!((&told["differences"], &told["applied"]), (&differences, &Value::Null), "{told:#}");
    assert_eq!((&told["portkey"], &told["recorded"]), (&json!(3.1412), &json!(5.250_000_001)), "{told:#}");
    let table = portkey.run(&server, &line).out;
    assert!(table.contains("nothing was changed: --apply records what is missing"), "{table}");
    assert!(table.contains("not known to Portkey"), "{table}");
    assert_eq!(used(), before, "nothing is applied unless told");
    // By user only, ada's models are one.
    let by_user = portkey.ok(&server, &format!("{line} --by-user"));
    assert_eq!(
        by_user["differences"][1],
        json!({"user": "ada", "model": null, "portkey": 2.7512, "recorded": 2.000_000_001,
        "difference": 0.751_199_999}),
        "{by_user:#}"
    );
    // A range in another zone is the same range.
    let zoned = from.to_string().replace('Z', "+00:00");
    assert_eq!(portkey.ok(&server, &line.replace(&from.to_string(), &zoned))["differences"], differences);
    let applied = portkey.ok(&server, &format!("{line} --apply"));
    assert_eq!(applied["applied"], json!({"counted": 3, "duplicates": 0, "rejected": 0}), "{applied:#}");
    let after = before.as_f64().expect("a number") + 0.8912;
    assert!((used().as_f64().expect("a number") - after).abs() < 1e-9, "{} {before}", used());
    let again = portkey.ok(&server, &format!("{line} --apply"));
    assert_eq!(again["applied"], json!({"counted": 0, "duplicates": 0, "rejected": 0}), "{again:#}");
    let left = again["differences"].as_array().expect("differences");
    assert_eq!(left.len(), 1, "what Portkey does not know is for a person to look at: {again:#}");
    // What Portkey hears of later is recorded, too.
    portkey.state().calls.push(Call {
        at: from,
        org: "acme",
        user: Some("dora"),
        model: "gpt-4o",
        cost: 5_000,
    });
    let later = portkey.ok(&server, &format!("{line} --apply"));
    assert_eq!(later["applied"]["counted"], 1, "{later:#}");
    let entry = server.ok(&["ledger", "acme", "--user", "dora", "--limit", "1", "--json"]).json();
    let entry = &entry["entries"][0];
    let shown = (&entry["quantity"], &entry["properties"]["model"], &entry["recorded"]);
    assert_eq!(shown, (&json!(0.5), &json!("gpt-4o"), &json!(true)), "{entry:#}");
}

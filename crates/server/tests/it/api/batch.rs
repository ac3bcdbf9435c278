//! `POST /v1/usage/batch`.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde_json::{Value, json};

use crate::client::{Ask, Client, Reply, given};
use crate::server::TestServer;

const BYTES_MAX: usize = 8 * 1024 * 1024;

fn on_plan(plan: &str) -> (TestServer, Client) {
    let server = TestServer::start();
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": plan})).ok();
    (server, client)
}

fn record(key: &str) -> Value {
    json!({"org": "acme", "meter": "reports", "key": key})
}

fn records(count: usize) -> Value {
    (0..count).map(|number| record(&format!("r-{number}"))).collect()
}

fn batch(body: impl Into<Vec<u8>>) -> Ask {
    Ask::new("POST", "/v1/usage/batch").body(body)
}

fn lines(records: &Value) -> String {
    records.as_array().expect("records").iter().map(|record| format!("{record}\n")).collect()
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).and_then(|()| encoder.finish()).expect("it is compressed")
}

fn zstd(body: &[u8]) -> Vec<u8> {
    compress_to_vec(body, CompressionLevel::Fastest)
}

/// A frame whose decoder must keep the last so many MiB, with a body that is not packed.
fn zstd_frame(window_mib: u8, body: &[u8]) -> Vec<u8> {
    // 2^(10 + exponent), and eighths of that.
    let exponent = 10 + window_mib.ilog2();
    let eighths = 8 * u32::from(window_mib) / (1 << (exponent - 10)) - 8;
    let window = u8::try_from(exponent << 3 | eighths).expect("a byte");
    let last_block = u32::try_from(body.len()).expect("a small body") << 3 | 1;
    let head = [0x28, 0xB5, 0x2F, 0xFD, 0, window];
    [&head, &last_block.to_le_bytes()[..3], body].concat()
}

fn used(client: &mut Client, org: &str) -> Value {
    client.get(&format!("/v1/orgs/{org}/balance")).ok()["meters"]["reports"]["used"].clone()
}

#[track_caller]
fn counts(reply: &Reply, counted: u64, duplicates: u64, rejected: u64) {
    let body = reply.ok();
    let found = (&body["counted"], &body["duplicates"], &body["rejected"]);
    assert_eq!(found, (&json!(counted), &json!(duplicates), &json!(rejected)), "{body:#}");
}

#[test]
fn each_record_is_counted_a_duplicate_or_rejected() {
    let (_server, mut client) = on_plan("basic");
    client.post("/v1/usage", record("at-the-gate")).ok();
    client.post("/v1/usage", record("taken-back")).ok();
    client.post("/v1/usage/reversals", json!({"org": "acme", "key": "taken-back"})).ok();
    let with = |key: &str, field: &str, value: Value| {
        let mut record = record(key);
        record[field] = value;
        record
    };
    let mut without_key = record("");
    without_key.as_object_mut().expect("an object").remove("key");
    let many: Value =
        (0..17).map(|number| (format!("p{number}"), json!(1))).collect::<serde_json::Map<_, _>>().into();
    let cases = [
        (record("a"), "counted", None),
        (with("b", "quantity", json!("2.5")), "counted", None),
        (record("a"), "duplicate", None),
        (record("at-the-gate"), "duplicate", None),
        (with("a", "quantity", json!(7)), "rejected", Some(("key_reused", "key"))),
        (record("taken-back"), "rejected", Some(("key_reversed", "key"))),
        (with("c", "meter", json!("unheard")), "rejected", Some(("unknown_meter", "meter"))),
        (with("c", "org", json!("nobody")), "rejected", Some(("unknown_org", "org"))),
        (with("c", "time", json!("2026-09-28T09:59:59Z")), "rejected", Some(("invalid_field", "time"))),
        (with("c", "time", json!("2026-11-02T10:05:01Z")), "rejected", Some(("invalid_field", "time"))),
        (with("c", "quantity", json!(0)), "rejected", Some(("invalid_field", "quantity"))),
        (with("c", "color", json!(1)), "rejected", Some(("unknown_field", "color"))),
        (with("c", "properties", many), "rejected", Some(("invalid_field", "properties"))),
        (without_key, "rejected", Some(("missing_field", "key"))),
        (json!({"meter": "reports", "key": "c"}), "rejected", Some(("missing_field", "org"))),
        (with("d", "time", json!("2026-11-02T10:05:00Z")), "counted", None),
        (with("e", "time", json!("2026-09-28T10:00:00Z")), "counted", None),
    ];
    let body: Value = cases.iter().map(|(record, ..)| record.clone()).collect();
    let told = client.post("/v1/usage/batch?results=all", body.clone()).ok();
    for (index, (sent, status, problem)) in cases.iter().enumerate() {
        let found = &told["results"][index];
        assert_eq!((&found["index"], &found["status"]), (&json!(index), &json!(status)), "{sent}: {found}");
        match problem {
            None => assert!(found["entry"].is_u64() && found["code"].is_null(), "{found}"),
            Some((code, field)) => {
                assert_eq!((&found["code"], &found["field"]), (&json!(code), &json!(field)), "{found}");
                assert!(found["detail"].is_string() && found["entry"].is_null(), "{found}");
            }
        }
    }
    assert_eq!(
        (&told["counted"], &told["duplicates"], &told["rejected"]),
        (&json!(4), &json!(2), &json!(11))
    );
    assert_eq!(
        told["results"][2]["entry"], told["results"][0]["entry"],
        "a duplicate names the entry that counted it"
    );
    // November has all but what was used in September.
    assert_eq!(used(&mut client, "acme"), json!(5.5));
    // Sent again, nothing is counted again; unless asked, only the rejected are told one by one.
    let again = client.post("/v1/usage/batch", body);
    counts(&again, 0, 6, 11);
    assert_eq!(again.ok()["results"].as_array().expect("results").len(), 11);
    assert_eq!(used(&mut client, "acme"), json!(5.5));
    // A key that came by a batch is a replay at the gate.
    assert_eq!(client.post("/v1/usage", record("a")).ok()["replayed"], true);
}

#[test]
fn what_happened_is_counted_whatever_credit_and_limits_say() {
    let (server, mut client) = on_plan("lite");
    client.put("/v1/orgs/acme/limits", json!({"meter": "reports", "scope": "user", "amount": 1})).ok();
    counts(&client.post("/v1/usage/batch", records(25)), 25, 0, 0);
    let balance = client.get("/v1/orgs/acme/balance").ok()["meters"]["reports"].clone();
    assert_eq!((&balance["used"], &balance["remaining"]), (&json!(20), &json!(0)), "{balance:#}");
    assert_eq!((&balance["overage"], &balance["month"]), (&json!(5), &json!(25)), "{balance:#}");
    let usage = json!({"org": "acme", "user": "ada", "meter": "reports", "key": "more"});
    client.post("/v1/usage", usage).is_problem(402, "org_limit_reached", None);
    let ledger = client.get("/v1/orgs/acme/ledger").ok();
    // The newest is the refusal, the first of the month.
    let last = &ledger["entries"][1];
    assert_eq!(
        (&last["recorded"], &last["burns"][0]["source"]),
        (&json!(true), &json!("overage")),
        "{last:#}"
    );
    // People are told that the credit is used up, though nobody was denied.
    let kinds = client.get("/v1/notices").ok()["notices"].to_string();
    assert!(kinds.contains("limit_reached") && kinds.contains("threshold"), "{kinds}");
    // An organization without a plan has used what it has used.
    client.put("/v1/orgs/bare", json!({"name": "Bare"})).ok();
    let bare = json!([{"org": "bare", "meter": "reports", "key": "b-1", "quantity": 3}]);
    counts(&client.post("/v1/usage/batch", bare.clone()), 1, 0, 0);
    counts(&client.post("/v1/usage/batch", bare), 0, 1, 0);
    // Late usage burns the allowance of the month it happened in.
    client.put("/v1/orgs/late/plan", json!({"plan": "lite"})).ok();
    server.at("2026-12-03T10:00:00Z");
    let late = json!([
        {"org": "late", "meter": "reports", "key": "l-1", "quantity": 5, "time": "2026-11-30T23:59:59Z"},
        {"org": "late", "meter": "reports", "key": "l-2", "quantity": 7, "time": "2026-12-01T00:00:00Z"},
    ]);
    counts(&client.post("/v1/usage/batch", late), 2, 0, 0);
    assert_eq!(used(&mut client, "late"), json!(7));
    let months = client.get("/v1/orgs/late/usage?meter=reports&window=month&from=2026-11&to=2027-01").ok();
    let values: Vec<&Value> =
        months["points"].as_array().expect("points").iter().map(|point| &point["quantity"]).collect();
    assert_eq!(values, [&json!(5), &json!(7)], "{months:#}");
    client.post("/v1/usage/reversals", json!({"org": "late", "key": "l-1"})).ok();
    assert_eq!(used(&mut client, "late"), json!(7));
}

#[test]
fn how_far_back_and_ahead_a_time_may_lie_is_set() {
    let server = TestServer::with(|settings| {
        settings.late_days = 400;
        settings.ahead_secs = 0;
    });
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": "ultimate"})).ok();
    let at = |key: &str, time: &str| json!({"org": "acme", "meter": "reports", "key": key, "time": time});
    // It is 2026-11-02, 10:00.
    let sent = json!([
        at("now", "2026-11-02T10:00:00Z"),
        at("last-year", "2025-10-31T23:59:59Z"),
        at("too-late", "2025-09-27T10:00:00Z"),
        at("ahead", "2026-11-02T10:00:01Z"),
        at("a-moment-ahead", "2026-11-02T10:00:00.000001Z"),
    ]);
    let told = client.post("/v1/usage/batch", sent);
    counts(&told, 2, 0, 3);
    for place in [0, 1, 2] {
        let result = &told.ok()["results"][place];
        assert_eq!(result["code"], "invalid_field", "{result}");
        let detail = result["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("time: must be at most 400 days back and 0 seconds ahead"), "{detail}");
    }
    let year = client.get("/v1/orgs/acme/usage?meter=reports&window=month&from=2025-10&to=2025-11").ok();
    assert_eq!(year["points"][0]["quantity"], 1, "{year:#}");
    assert_eq!(used(&mut client, "acme"), json!(1));
}

#[test]
fn lines_and_compressed_bodies_are_read() {
    let (_server, mut client) = on_plan("ultimate");
    let broken = "{\"org\":\"acme\",\"meter\":\"reports\",\"key\":\"n-1\"}\n\n  \r\n{\"org\":\"acme\",\n\
                  {\"org\":\"acme\",\"meter\":\"reports\",\"key\":\"n-2\"}\r\n[1]\n\"text\"";
    for kind in ["application/x-ndjson", "application/jsonl; charset=utf-8"] {
        let told = client.ask(&batch(broken).header("content-type", kind)).ok();
        let wrong: Vec<_> = told["results"].as_array().expect("results").iter().collect();
        let wrong: Vec<_> = wrong
            .iter()
            .filter(|result| result["status"] == "rejected")
            .map(|result| (&result["index"], &result["code"]))
            .collect();
        assert_eq!(
            wrong,
            [
                (&json!(1), &json!("unreadable")),
                (&json!(3), &json!("invalid_field")),
                (&json!(4), &json!("invalid_field"))
            ],
            "{told:#}"
        );
    }
    assert_eq!(used(&mut client, "acme"), json!(2));
    let array = records(300).to_string();
    let text = lines(&records(300));
    let compressed = |name: &str, body: Vec<u8>| batch(body).header("content-encoding", name);
    counts(&client.ask(&compressed("gzip", gzip(array.as_bytes()))), 300, 0, 0);
    counts(&client.ask(&compressed("zstd", zstd(array.as_bytes()))), 0, 300, 0);
    counts(&client.ask(&compressed("identity", array.clone().into())), 0, 300, 0);
    let ndjson = "application/x-ndjson";
    counts(&client.ask(&compressed("zstd", zstd(text.as_bytes())).header("content-type", ndjson)), 0, 300, 0);
    // What is compressed in several members or frames is one body.
    let (first, second) = text.split_at(text.len() / 2);
    let in_two = |pack: fn(&[u8]) -> Vec<u8>| [pack(first.as_bytes()), pack(second.as_bytes())].concat();
    counts(&client.ask(&compressed("gzip", in_two(gzip)).header("content-type", ndjson)), 0, 300, 0);
    counts(&client.ask(&compressed("zstd", in_two(zstd)).header("content-type", ndjson)), 0, 300, 0);
    // An empty batch is one.
    counts(&client.post("/v1/usage/batch", json!([])), 0, 0, 0);
    counts(&client.ask(&batch("\n").header("content-type", ndjson)), 0, 0, 0);
}

#[test]
fn bodies_that_are_no_batch_are_refused_whole() {
    let good = records(1).to_string();
    let mut cut = gzip(good.as_bytes());
    cut.truncate(cut.len() - 9);
    let mut cut_frame = zstd(good.as_bytes());
    cut_frame.truncate(cut_frame.len() - 3);
    let encoded = |name: &str, body: Vec<u8>| batch(body).header("content-encoding", name);
    let coding = Some("Content-Encoding");
    let asks = [
        ("nothing", batch(""), 400, "unreadable", None),
        ("one record", batch(record("x").to_string()), 422, "invalid_field", None),
        ("a broken array", batch(format!("[{},", record("x"))), 400, "unreadable", None),
        ("more than an array", batch(format!("{good} 1")), 400, "unreadable", None),
        ("not UTF-8", batch(b"[{\"org\":\"\xff\"}]".to_vec()), 400, "unreadable", None),
        (
            "text",
            batch(good.clone()).header("content-type", "text/csv"),
            415,
            "unsupported_media_type",
            Some("Content-Type"),
        ),
        ("brotli", encoded("br", good.clone().into()), 415, "unsupported_media_type", coding),
        ("two codings", encoded("gzip, zstd", good.clone().into()), 415, "unsupported_media_type", coding),
        ("no gzip", encoded("gzip", good.clone().into()), 400, "unreadable", coding),
        ("half a gzip", encoded("gzip", cut), 400, "unreadable", coding),
        ("no zstd", encoded("zstd", good.clone().into()), 400, "unreadable", coding),
        ("half a zstd", encoded("zstd", cut_frame), 400, "unreadable", coding),
        ("a window of 9 MiB", encoded("zstd", zstd_frame(9, good.as_bytes())), 400, "unreadable", coding),
        ("a window of 128 MiB", encoded("zstd", zstd_frame(128, good.as_bytes())), 400, "unreadable", coding),
        ("10,001 records", batch(records(10_001).to_string()), 413, "body_too_large", None),
        (
            "10,001 lines",
            batch(lines(&records(10_001))).header("content-type", "application/x-ndjson"),
            413,
            "body_too_large",
            None,
        ),
        ("a byte too many", batch(padded(BYTES_MAX + 1)), 413, "body_too_large", None),
        (
            "a bomb of gzip",
            encoded("gzip", gzip(&vec![b' '; 100 * 1024 * 1024])),
            413,
            "body_too_large",
            None,
        ),
        (
            "a bomb of zstd",
            encoded("zstd", zstd(&vec![b' '; 100 * 1024 * 1024])),
            413,
            "body_too_large",
            None,
        ),
    ];
    // Only now: making the bombs takes longer than a connection may be idle.
    let (_server, mut client) = on_plan("basic");
    for (what, ask, status, code, field) in asks {
        println!("{what}");
        client.ask(&ask).is_problem(status, code, field);
    }
    let cut_object = client.ask(&batch(r#"{"org": "acme""#));
    cut_object.is_problem(400, "unreadable", None);
    assert!(cut_object.text().contains("the body is not JSON: EOF while parsing"), "{}", cut_object.text());
    let unknown = Ask::new("POST", "/v1/usage/batch?results=some").body("[]");
    client.ask(&unknown).is_problem(400, "invalid_parameter", Some("results"));
    assert_eq!(used(&mut client, "acme"), json!(0));
    counts(&client.ask(&batch(padded(BYTES_MAX))), 1, 0, 0);
}

/// A batch of one record with so many bytes.
fn padded(bytes: usize) -> String {
    let record = record("padded").to_string();
    format!("[{record}{}]", " ".repeat(bytes - record.len() - 2))
}

#[test]
fn ten_thousand_records_of_many_orgs_are_counted_once() {
    let server = TestServer::start();
    let mut client = server.client();
    for org in 0..40 {
        client.put(&format!("/v1/orgs/org-{org}/plan"), json!({"plan": "ultimate"})).ok();
    }
    let all: Value = (0..10_000)
        .map(|number| json!({"org": format!("org-{}", number % 40), "user": format!("u-{}", number % 7), "meter": "reports", "key": format!("k-{number}")}))
        .collect();
    counts(&client.post("/v1/usage/batch", all.clone()), 10_000, 0, 0);
    counts(&client.post("/v1/usage/batch", all), 0, 10_000, 0);
    for org in 0..40 {
        assert_eq!(used(&mut client, &format!("org-{org}")), json!(250));
    }
}

#[test]
fn racing_batches_with_the_same_keys_count_each_once() {
    let (server, mut client) = on_plan("ultimate");
    let threads: Vec<_> = (0..8)
        .map(|first: usize| {
            let mut client = server.client();
            std::thread::spawn(move || {
                let mine: Value =
                    (0..1_500).map(|n| record(&format!("r-{}", (first * 200 + n) % 2_000))).collect();
                let told = client.post("/v1/usage/batch", mine).ok();
                let count = |name: &str| told[name].as_u64().expect("a count");
                assert_eq!(
                    (count("counted") + count("duplicates"), count("rejected")),
                    (1_500, 0),
                    "{told:#}"
                );
                count("counted")
            })
        })
        .collect();
    let counted: u64 = threads.into_iter().map(|thread| thread.join().expect("a batch")).sum();
    assert_eq!(counted, 2_000);
    let reports = client.get("/v1/orgs/acme/balance").ok()["meters"]["reports"].clone();
    assert_eq!(reports["month"], json!(2_000), "{reports:#}");
}

#[test]
fn who_may_record_what() {
    let server = TestServer::with(|settings| {
        settings.api_key = Some(tollgate_server::Secret("admin".to_owned()));
    });
    let mut admin = server.client().with_key("admin");
    for org in ["acme", "other"] {
        admin.put(&format!("/v1/orgs/{org}/plan"), json!({"plan": "basic"})).ok();
    }
    let mut key = |role: &str, org: Option<&str>| {
        let made = admin.post("/v1/api-keys", given(json!({"name": role, "role": role, "org": org})));
        assert!(made.status < 300, "{}", made.text());
        made.json()["secret"].as_str().expect("a secret").to_owned()
    };
    let (bound, reader) = (key("ingest", Some("acme")), key("read", None));
    server.client().post("/v1/usage/batch", json!([])).is_problem(401, "unauthorized", None);
    server.client().with_key(&reader).post("/v1/usage/batch", json!([])).is_problem(403, "forbidden", None);
    let both = json!([record("mine"), {"org": "other", "meter": "reports", "key": "theirs"}]);
    let told = server.client().with_key(&bound).post("/v1/usage/batch", both).ok();
    assert_eq!((&told["counted"], &told["rejected"]), (&json!(1), &json!(1)), "{told:#}");
    let wrong = &told["results"][0];
    assert_eq!(
        (&wrong["index"], &wrong["code"], &wrong["field"]),
        (&json!(1), &json!("forbidden"), &json!("org"))
    );
    assert_eq!(used(&mut admin, "other"), json!(0));
}

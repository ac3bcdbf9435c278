//! The pulses API: every row of its table, with the exact bodies; and what a commit brings to a folder.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Ask, Client, Reply, given};
use crate::server::TestServer;

const COMMITTED: &str = "Aggregated data committed and cleared successfully";

fn pulse(tenant: &str, sku: &str, unit: &str, amount: Value) -> Value {
    json!({"tenant_id": tenant, "product_sku": sku, "use_unit": unit, "used_amount": amount})
}

#[track_caller]
fn pour(client: &mut Client, pulse: Value) {
    client.post("/pulses", pulse).is(200, json!("Pulse processed successfully"));
}

#[track_caller]
fn told(reply: &Reply, status: u16, words: &str) -> String {
    assert_eq!((reply.status, reply.json()), (status, json!(words)), "{}", reply.text());
    assert_eq!(reply.header("content-type"), Some("application/json"));
    reply.has_request_id();
    reply.header("x-problem-detail").unwrap_or_default().to_owned()
}

fn aggregate(tenant: &str, sku: &str, unit: &str, amount: Value, date: &str) -> Value {
    json!({
        "TenantId": tenant, "ProductSKU": sku, "UseUnit": unit, "TotalUsedAmount": amount,
        "AggregationDate": date, "PulseKey": format!("{tenant}:{sku}:{unit}:{date}"),
    })
}

/// A server with a folder as its sink, which commits only when it is told to.
fn with_folder(folder: &Path) -> TestServer {
    let sink = format!("folder:{}", folder.display()).parse().expect("a sink");
    TestServer::with(|settings| {
        settings.sink = Some(sink);
        settings.commit_interval = Duration::from_hours(1);
    })
}

/// What the folder was brought: per file its lines, in the order of the names.
fn brought(folder: &Path) -> Vec<(String, Vec<Value>)> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<(String, Vec<Value>)> = entries
        .map(|entry| {
            let path = entry.expect("a file").path();
            let text = std::fs::read_to_string(&path).expect("a text");
            let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
            (path.file_name().expect("a name").to_string_lossy().into_owned(), lines.collect())
        })
        .collect();
    files.sort_by(|(left, _), (right, _)| left.cmp(right));
    files
}

#[test]
fn pulses_are_added_up_by_tenant_product_unit_and_day() {
    let server = TestServer::start();
    let mut client = server.client();
    client.get("/aggregates").is(200, json!([]));
    pour(&mut client, pulse("acme", "vm", "hour", json!(100)));
    pour(&mut client, pulse("acme", "vm", "hour", json!("0.5")));
    pour(&mut client, pulse("acme", "vm:x", "h", json!(2)));
    pour(&mut client, pulse("acme", "vm", "x:h", json!(3)));
    let mut again = pulse("beta", "vm", "hour", json!(7));
    again["id"] = json!("p-1");
    again["more"] = json!("fields are welcome");
    for _ in 0..2 {
        pour(&mut client, again.clone());
    }
    let mut late = pulse("beta", "vm", "hour", json!(9));
    late["time"] = json!("2026-10-31T23:59:59Z");
    pour(&mut client, late);
    let (today, before) = ("2026-11-02", "2026-10-31");
    let acme = [
        aggregate("acme", "vm", "x:h", json!(3), today),
        aggregate("acme", "vm", "hour", json!(100.5), today),
        aggregate("acme", "vm:x", "h", json!(2), today),
    ];
    let beta =
        [aggregate("beta", "vm", "hour", json!(9), before), aggregate("beta", "vm", "hour", json!(7), today)];
    let mut found = client.get("/aggregates").ok();
    let mut all: Vec<Value> = acme.iter().chain(&beta).cloned().collect();
    found.as_array_mut().expect("an array").sort_by_key(Value::to_string);
    all.sort_by_key(Value::to_string);
    assert_eq!(found, json!(all));
    for (query, wanted) in [
        ("?tenant_id=beta", json!(beta)),
        ("?date=2026-10-31", json!([beta[0]])),
        ("?tenant_id=beta&date=2026-11-02", json!([beta[1]])),
        ("?tenant_id=acme&date=2026-10-31", json!([])),
        ("?tenant_id=nobody", json!([])),
        ("?date=1999-01-01&more=1", json!([])),
    ] {
        client.get(&format!("/aggregates{query}")).is(200, wanted);
    }
    // They are usage like any other.
    let series =
        client.get("/v1/orgs/beta/usage?meter=vm:hour&window=day&from=2026-10-30&to=2026-11-04").ok();
    let quantities: Vec<&Value> =
        series["points"].as_array().expect("points").iter().map(|point| &point["quantity"]).collect();
    assert_eq!(quantities, [9, 7]);
}

#[test]
fn what_is_no_pulse_is_invalid_input() {
    let server = TestServer::start();
    let mut client = server.client();
    let long = "x".repeat(129);
    for (body, says) in [
        (String::new(), "the body is empty"),
        ("{".to_owned(), "not JSON"),
        ("[]".to_owned(), ""),
        ("{}".to_owned(), "tenant_id"),
        (json!({"tenant_id": "a", "product_sku": "s", "use_unit": "u"}).to_string(), "used_amount"),
        (json!({"tenant_id": "a", "product_sku": "s", "used_amount": 1}).to_string(), "use_unit"),
        (json!({"tenant_id": "a", "use_unit": "u", "used_amount": 1}).to_string(), "product_sku"),
        (json!({"product_sku": "s", "use_unit": "u", "used_amount": 1}).to_string(), "tenant_id"),
        (pulse("", "s", "u", json!(1)).to_string(), "tenant_id"),
        (pulse("a", "", "u", json!(1)).to_string(), "product_sku: must not be empty"),
        (pulse("a", "s", "", json!(1)).to_string(), "use_unit: must not be empty"),
        (pulse("a", "s\n", "u", json!(1)).to_string(), "product_sku: must not hold control characters"),
        (pulse("a", &long, "u", json!(1)).to_string(), "product_sku: must have at most 128 characters"),
        (pulse("a", "s", "u", json!(0)).to_string(), "used_amount"),
        (pulse("a", "s", "u", json!(-1)).to_string(), "used_amount"),
        (pulse("a", "s", "u", json!("many")).to_string(), "used_amount"),
        (pulse("a", "s", "u", json!(null)).to_string(), "used_amount"),
        (pulse("a", "s", "u", json!("0.0000000001")).to_string(), "used_amount"),
    ] {
        let reply = client.ask(&Ask::new("POST", "/pulses").body(body.clone()));
        let detail = told(&reply, 400, "Invalid input");
        assert!(detail.contains(says) && !detail.is_empty(), "{body}: {detail}");
    }
    let field = |name: &str, value: Value| {
        let mut body = pulse("a", "s", "u", json!(1));
        body[name] = value;
        body
    };
    for (body, says) in [
        (field("id", json!("")), "id"),
        (field("id", json!(5)), "id"),
        (field("time", json!("yesterday")), "time"),
        (field("time", json!("2026-09-01T00:00:00Z")), "time: must be at most 35 days back"),
        (field("time", json!("2026-11-02T11:00:00Z")), "time: must be at most 35 days back"),
    ] {
        let detail = told(&client.post("/pulses", body.clone()), 400, "Invalid input");
        assert!(detail.contains(says), "{body}: {detail}");
    }
    for (method, path) in [
        ("GET", "/aggregates?date=today"),
        ("GET", "/aggregates?date=2026-02-30"),
        ("GET", "/aggregates?tenant_id="),
        ("GET", "/aggregates?date=2026-11-01&date=2026-11-02"),
        ("POST", "/aggregates/commit?date=2026-13-01"),
        ("POST", "/agreggates/commit?date=x"),
    ] {
        let detail = told(&client.ask(&Ask::new(method, path)), 400, "Invalid input");
        assert!(detail.contains("date") || detail.contains("tenant_id"), "{path}: {detail}");
    }
    for body in ["{", r#"{"date": 5}"#, r#"{"date": "2026-1-1"}"#, "[]x"] {
        let reply = client.ask(&Ask::new("POST", "/aggregates/commit").body(body));
        assert!(!told(&reply, 400, "Invalid input").is_empty(), "{body}");
    }
    client.get("/aggregates").is(200, json!([]));
    assert_eq!(client.get("/v1/orgs").ok()["orgs"], json!([]), "nobody was made");
}

#[test]
fn a_key_stands_for_one_pulse() {
    let server = TestServer::start();
    let mut client = server.client();
    let mut first = pulse("acme", "vm", "hour", json!(1));
    first["id"] = json!("p-1");
    pour(&mut client, first.clone());
    let mut other = first.clone();
    other["used_amount"] = json!(2);
    client.post("/pulses", other).is_problem(422, "key_reused", Some("id"));
    client.post("/v1/usage/reversals", json!({"org": "acme", "key": "p-1"})).ok();
    client.post("/pulses", first).is_problem(409, "key_reversed", Some("id"));
    client.get("/aggregates").is(200, json!([]));
}

#[test]
fn a_commit_brings_each_amount_once_and_clears_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let mut server = with_folder(&out);
    let mut client = server.client();
    let commit = |client: &mut Client, path: &str| client.post(path, json!({})).is(200, json!(COMMITTED));
    commit(&mut client, "/aggregates/commit");
    assert!(brought(&out).is_empty(), "there was nothing to bring");
    pour(&mut client, pulse("acme", "vm", "hour", json!(5)));
    pour(&mut client, pulse("beta", "disk", "GB", json!(6)));
    let mut late = pulse("acme", "vm", "hour", json!(9));
    late["time"] = json!("2026-11-01T12:00:00Z");
    late["id"] = json!("late");
    pour(&mut client, late);

    client.post("/agreggates/commit", json!({"date": "2026-11-02"})).is(200, json!(COMMITTED));
    let today = "2026-11-02";
    let acme = |amount, date| aggregate("acme", "vm", "hour", json!(amount), date);
    let files = brought(&out);
    assert_eq!(files.len(), 1, "a day is one batch: {files:?}");
    assert_eq!(files[0].1, [acme(5, today), aggregate("beta", "disk", "GB", json!(6), today)]);
    client.get("/aggregates").is(200, json!([acme(9, "2026-11-01")]));

    // What comes after a commit is all that the next brings; a day that was sent is not sent again.
    pour(&mut client, pulse("acme", "vm", "hour", json!(2)));
    for _ in 0..3 {
        commit(&mut client, "/aggregates/commit");
        let mut lines: Vec<Value> = brought(&out).into_iter().flat_map(|(_, lines)| lines).collect();
        lines.sort_by_key(ToString::to_string);
        let mut wanted = vec![
            acme(5, today),
            acme(2, today),
            acme(9, "2026-11-01"),
            aggregate("beta", "disk", "GB", json!(6), today),
        ];
        wanted.sort_by_key(ToString::to_string);
        assert_eq!(lines, wanted);
        client.get("/aggregates").is(200, json!([]));
    }

    // What is taken back after it was sent is put right by the next.
    client.post("/v1/usage/reversals", json!({"org": "acme", "key": "late"})).ok();
    client.get("/aggregates?date=2026-11-01").is(200, json!([acme(-9, "2026-11-01")]));
    drop(client);
    server.restart();
    let mut client = server.client();
    commit(&mut client, "/aggregates/commit");
    let sum: i64 = brought(&out)
        .iter()
        .flat_map(|(_, lines)| lines)
        .filter(|line| line["AggregationDate"] == "2026-11-01")
        .map(|line| line["TotalUsedAmount"].as_i64().expect("a whole number"))
        .sum();
    assert_eq!(sum, 0);
    let kinds: Vec<Value> = client.get("/v1/orgs/beta/ledger?order=oldest").ok()["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .map(|entry| entry["kind"].clone())
        .collect();
    assert_eq!(kinds, ["org_set", "used", "shipped"]);
}

#[test]
fn more_lines_than_one_batch_holds_are_several() {
    const LINES: usize = 2_100;
    let folder = tempfile::tempdir().expect("a folder");
    let server = with_folder(folder.path());
    let mut client = server.client();
    pour(&mut client, pulse("first", "vm", "hour", json!(1)));
    let orgs: Vec<String> = (0..LINES / 2).map(|number| format!("org-{number:04}")).collect();
    for org in &orgs {
        client.put(&format!("/v1/orgs/{org}"), json!({"name": org})).ok();
    }
    let catalog = format!(
        "{}\n[[meters]]\nid = \"disk:GB\"\nname = \"Disk\"\nunit = \"GB\"\n\
         sink = {{ product = \"disk\", unit = \"GB\" }}\n",
        tollgate_domain::catalog::DEFAULT
    );
    client.ask(&Ask::new("PUT", "/v1/catalog").toml(catalog)).ok();
    let records: Vec<Value> = orgs
        .iter()
        .flat_map(|org| ["vm:hour", "disk:GB"].map(|meter| json!({"org": org, "meter": meter, "key": meter})))
        .collect();
    let reply = client.post("/v1/usage/batch", json!(records)).ok();
    assert_eq!(reply["counted"], LINES, "{reply}");
    client.post("/aggregates/commit", json!({})).is(200, json!(COMMITTED));
    let files = brought(folder.path());
    assert!(files.len() >= 3 && files.iter().all(|(_, lines)| lines.len() <= 1_000), "{}", files.len());
    let mut keys: Vec<String> = files
        .iter()
        .flat_map(|(_, lines)| lines)
        .map(|line| line["PulseKey"].as_str().expect("a key").to_owned())
        .collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), LINES + 1);
    client.get("/aggregates").is(200, json!([]));
}

#[test]
fn a_meter_is_sent_if_the_catalog_says_so_whatever_its_name() {
    let server = TestServer::start();
    let mut client = server.client();
    client.put("/v1/orgs/acme", json!({"name": "Acme"})).ok();
    let meter =
        |id: &str, sink: &str| format!("\n[[meters]]\nid = \"{id}\"\nname = \"M\"\nunit = \"u\"\n{sink}\n");
    let sent = |product: &str| format!("sink = {{ product = \"{product}\", unit = \"hour\" }}");
    let catalog = |meters: &[String]| format!("{}{}", tollgate_domain::catalog::DEFAULT, meters.concat());
    let mut put = |text: String| client.ask(&Ask::new("PUT", "/v1/catalog").toml(text));
    put(catalog(&[meter("seat:day", ""), meter("machines", &sent("vm"))])).ok();
    let record = |meter: &str, key: &str| json!({"org": "acme", "meter": meter, "key": key});
    let mut client = server.client();
    // A colon says nothing.
    client.post("/v1/usage/batch", json!([record("seat:day", "a")])).ok();
    client.get("/aggregates").is(200, json!([]));
    let refused = client.post("/pulses", pulse("acme", "seat", "day", json!(1)));
    assert_eq!(refused.status, 400);
    let detail = refused.header("x-problem-detail").unwrap_or_default();
    assert!(detail.contains("sink = { product = \"seat\", unit = \"day\" }"), "{detail}");
    // The property does, and pulses of its product and unit count on it.
    client.post("/v1/usage/batch", json!([record("machines", "b")])).ok();
    pour(&mut client, pulse("acme", "vm", "hour", json!(2)));
    client.get("/aggregates").is(200, json!([aggregate("acme", "vm", "hour", json!(3), "2026-11-02")]));
    // One that was created is sent as what it was created for, and so it must be declared.
    pour(&mut client, pulse("acme", "disk", "hour", json!(1)));
    let mut put = |text: String| client.ask(&Ask::new("PUT", "/v1/catalog").toml(text));
    for (meters, says) in [
        (vec![meter("machines", &sent("vm")), meter("disk:hour", "")], "must say sink"),
        (vec![meter("machines", &sent("other"))], "must say sink"),
        (vec![meter("machines", &sent("vm")), meter("more", &sent("vm"))], "sink"),
        (vec![meter("machines", "sink = { product = \"\", unit = \"hour\" }")], "sink"),
    ] {
        let reply = put(catalog(&meters));
        reply.is_problem(422, "invalid_catalog", None);
        let detail = reply.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(detail.contains(says), "{says}: {detail}");
    }
    put(catalog(&[meter("machines", &sent("vm")), meter("disk:hour", &sent("disk"))])).ok();
}

#[test]
fn without_a_sink_aggregates_of_days_long_over_are_discarded() {
    let server = TestServer::with(|settings| settings.commit_interval = Duration::from_millis(20));
    let mut client = server.client();
    pour(&mut client, pulse("acme", "vm", "hour", json!(1)));
    server.at("2026-12-01T10:00:00Z");
    pour(&mut client, pulse("acme", "vm", "hour", json!(2)));
    let [old, new] = [(1, "2026-11-02"), (2, "2026-12-01")]
        .map(|(amount, day)| aggregate("acme", "vm", "hour", json!(amount), day));
    client.get("/aggregates").is(200, json!([old, new]));
    server.at("2027-01-03T10:00:00Z");
    while client.get("/aggregates").ok() != json!([new]) {
        std::thread::yield_now();
    }
    let ledger = client.get("/v1/orgs/acme/ledger?order=newest&limit=1").ok();
    assert_eq!(ledger["entries"][0]["kind"], "shipped");
}

#[test]
fn what_is_not_sent_says_so_and_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let nowhere = TestServer::start();
    let blocked = TestServer::with(|settings| {
        settings.sink = Some(format!("folder:{}", out.display()).parse().expect("a sink"));
        settings.commit_interval = Duration::from_hours(1);
        settings.commit_patience = Duration::from_millis(300);
    });
    std::fs::write(&out, "a file in the way").expect("a file");
    for (server, says) in [(&nowhere, "--sink"), (&blocked, "sent again")] {
        let mut client = server.client();
        pour(&mut client, pulse("acme", "vm", "hour", json!(5)));
        for path in ["/aggregates/commit", "/agreggates/commit?date=2026-11-02"] {
            let reply = client.ask(&Ask::new("POST", path));
            let detail = told(&reply, 502, "Failed to send aggregated data");
            assert!(detail.contains(says), "{detail}");
        }
        let stays = client.get("/aggregates").ok();
        assert_eq!(stays, json!([aggregate("acme", "vm", "hour", json!(5), "2026-11-02")]));
    }
    let mut client = blocked.client();
    pour(&mut client, pulse("acme", "vm", "hour", json!(1)));
    std::fs::remove_file(&out).expect("the way is free");
    client.post("/aggregates/commit", json!({})).is(200, json!(COMMITTED));
    let amounts: Vec<Value> = brought(&out)
        .iter()
        .flat_map(|(_, lines)| lines)
        .map(|line| line["TotalUsedAmount"].clone())
        .collect();
    // The batch that could not be sent is sent as it was made, whatever came since.
    assert!(amounts.contains(&json!(5)) && amounts.contains(&json!(1)) && amounts.len() == 2, "{amounts:?}");
    let metrics = client.get("/metrics").text();
    for line in ["tollgate_shipments_sent_total 2", "tollgate_shipment_lines_sent_total 2"] {
        assert!(metrics.contains(line), "{metrics}");
    }
    assert!(!metrics.contains("tollgate_shipments_failed_total 0"), "{metrics}");
}

#[test]
fn aggregates_are_committed_by_themselves() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().to_owned();
    let mut server = TestServer::with(|settings| {
        settings.sink = Some(format!("folder:{}", out.display()).parse().expect("a sink"));
        settings.commit_interval = Duration::from_millis(50);
    });
    let mut client = server.client();
    pour(&mut client, pulse("acme", "vm", "hour", json!(5)));
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while client.get("/aggregates").ok() != json!([]) {
        assert!(std::time::Instant::now() < deadline, "nothing is committed by itself");
        std::thread::yield_now();
    }
    assert_eq!(brought(&out).len(), 1);
    drop(client);
    server.stop();
}

#[test]
fn each_route_needs_its_role() {
    let server = TestServer::with(|settings| {
        settings.api_key = Some(tollgate_server::Secret("root".to_owned()));
    });
    let mut root = server.client().with_key("root");
    let mut key = |role: &str, org: Option<&str>| {
        let made = root.post("/v1/api-keys", given(json!({"name": role, "role": role, "org": org})));
        assert!(made.status < 300, "{}", made.text());
        made.json()["secret"].as_str().expect("a secret").to_owned()
    };
    let (read, ingest, manage) = (key("read", None), key("ingest", None), key("manage", None));
    let (own, own_read) = (key("ingest", Some("acme")), key("read", Some("acme")));
    let status = |secret: &str, ask: Ask| server.client().with_key(secret).ask(&ask).status;
    let take = |tenant: &str| Ask::new("POST", "/pulses").json(pulse(tenant, "vm", "hour", json!(1)));
    let commit = || Ask::new("POST", "/aggregates/commit");
    for (secret, ask, wanted) in [
        (&read, take("acme"), 403),
        (&ingest, take("acme"), 200),
        (&own, take("acme"), 200),
        (&own, take("beta"), 403),
        (&ingest, take("beta"), 200),
        (&ingest, commit(), 403),
        (&own_read, commit(), 403),
        (&manage, commit(), 502),
        (&own_read, Ask::new("GET", "/aggregates?tenant_id=beta"), 403),
    ] {
        assert_eq!(status(secret, ask.clone()), wanted, "{ask:?}");
    }
    let seen = server.client().with_key(&own_read).get("/aggregates").ok();
    assert_eq!(seen, json!([aggregate("acme", "vm", "hour", json!(2), "2026-11-02")]), "its own alone");
    assert_eq!(server.client().get("/aggregates").status, 401);
}

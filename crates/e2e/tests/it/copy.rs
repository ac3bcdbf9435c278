//! `tollgate copy` of the real binary: killed again and again it goes on, and what is served from the copy is what was served
//! before.

use std::ffi::OsString;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::{Value, json};
use tollgate_e2e::http::Client;
use tollgate_e2e::load::{METER, make_wide_org};
use tollgate_e2e::{Result, Tollgate, pause};
use tollgate_peers::Postgres;

/// Organizations that are copied.
const ORGS: usize = 60;

/// Usages of each.
const USAGES: usize = 150;

/// How often a copy is killed; `TOLLGATE_KILLS` sets another number.
const KILLS: usize = 8;

fn url(store: &Path) -> OsString {
    let mut url = OsString::from("embedded:");
    url.push(store);
    url
}

fn copy(from: &OsString, to: &OsString) -> Tollgate {
    Tollgate::command(&["copy", "--from"]).arg(from).arg("--to").arg(to)
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[track_caller]
fn ended(output: &Output, code: i32, with: &str) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(with), "no '{with}' in {said}");
}

/// Organizations with usage, top-ups, limits and closed months.
fn fill(client: &mut Client) -> Result<()> {
    for number in 0..ORGS {
        let org = format!("org-{number}");
        make_wide_org(client, &org)?;
        let records: Vec<Value> = (0..USAGES)
            .map(|usage| {
                let user = format!("u{}", usage % 5);
                json!({"org": org, "user": user, "meter": METER, "quantity": usage % 7 + 1, "key": format!("k{usage}")})
            })
            .collect();
        client.expect_ok("POST", "/v1/usage/batch", Some(&json!(records)))?;
        let top_up = json!({"meter": METER, "amount": number + 1, "key": "t"});
        client.expect_ok("POST", &format!("/v1/orgs/{org}/top-ups"), Some(&top_up))?;
    }
    Ok(())
}

/// A balance without what goes by the moment at which it is asked for.
fn timeless(mut balance: Value) -> Value {
    if let Some(members) = balance.as_object_mut() {
        members.remove("at");
    }
    for meter in balance["meters"].as_object_mut().into_iter().flat_map(|meters| meters.values_mut()) {
        if let Some(members) = meter.as_object_mut() {
            members.remove("projected");
            members.remove("runs_out_on");
        }
    }
    balance
}

/// What callers see of all organizations: balances, bills, ledgers and what a key that was used answers.
fn seen(client: &mut Client) -> Result<Vec<Value>> {
    let mut all = vec![client.get("/v1/notices?limit=1000")?["notices"].clone(), client.get("/v1/catalog")?];
    for number in 0..ORGS {
        let org = format!("org-{number}");
        let again = json!({"org": org, "user": "u3", "meter": METER, "quantity": 4, "key": "k3"});
        let again = client.expect_ok("POST", "/v1/usage", Some(&again))?;
        assert_eq!(again["replayed"], json!(true), "a key counts once: {again}");
        all.push(again);
        for what in ["balance", "bill", "ledger?limit=1000"] {
            all.push(client.get(&format!("/v1/orgs/{org}/{what}")).map(timeless)?);
        }
    }
    Ok(all)
}

#[test]
fn a_copy_that_is_killed_again_and_again_goes_on_and_serves_the_same() -> Result<()> {
    let _machine = super::beside_others();
    let (seed, kills) = (super::seed(), super::given("TOLLGATE_KILLS").unwrap_or(KILLS));
    let mut rng = Rng::with_seed(seed);
    let folder = tempfile::tempdir()?;
    let database = Postgres::start(&["max_connections=100"])?;
    let (here, back) = (url(&folder.path().join("data")), url(&folder.path().join("back")));
    let there = OsString::from(database.url());

    let server = Tollgate::serve_on(&here).start()?;
    let mut client = server.client();
    fill(&mut client)?;
    let wanted = seen(&mut client)?;
    ended(&copy(&here, &there).run()?, 3, "stop the server first");
    server.stop()?;

    let began = Instant::now();
    ended(&copy(&here, &there).run()?, 0, "is the same in both");
    let whole = began.elapsed();
    ended(&copy(&here, &there).run()?, 0, "0 entries are copied");
    // The way back is killed at any moment of it.
    for _ in 0..kills {
        let mut process = copy(&there, &back).spawn()?;
        pause(Duration::from_micros(rng.u64(..u64::try_from(whole.as_micros())?)));
        process.kill()?;
        process.wait()?;
    }
    ended(&copy(&there, &back).run()?, 0, "is the same in both");

    let server = Tollgate::serve_on(&there).start()?;
    assert_eq!(seen(&mut server.client())?, wanted, "from PostgreSQL");
    ended(&copy(&there, &back).run()?, 3, "a server is using the store");
    // What is used meanwhile is said, and copied when nobody uses it any more.
    let put = json!({"name": "later"});
    server.client().expect_ok("PUT", "/v1/orgs/org-1", Some(&put))?;
    server.stop()?;
    ended(&copy(&there, &back).run()?, 0, "is the same in both");
    super::assert_verified(&folder.path().join("back"));
    let server = Tollgate::serve_on(&back).start()?;
    let mut client = server.client();
    assert_eq!(client.get("/v1/orgs/org-1")?["name"], json!("later"));
    for number in (0..ORGS).filter(|number| *number != 1) {
        let balance = client.get(&format!("/v1/orgs/org-{number}/balance")).map(timeless)?;
        assert!(wanted.contains(&balance), "org-{number} is another: {balance}");
    }
    server.stop()?;
    println!(
        "{ORGS} organizations of {USAGES} usages, a copy took {} ms, {kills} of them were killed",
        whole.as_millis()
    );
    Ok(())
}

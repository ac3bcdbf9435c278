//! Notices on their way to a receiver: from a server that is killed between commit and delivery, and beside a busy gate.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::{Value, json};
use tollgate_e2e::flood::{Fleet, Pace, Shot, need_open_files, percentile};
use tollgate_e2e::http::{self, Client};
use tollgate_e2e::load::METER;
use tollgate_e2e::processor::Processor;
use tollgate_e2e::{Result, Tollgate, is_release_build, pause, until};

const KILLS: usize = 8;

/// How long a server lives after the last notice, at most, in milliseconds: deliveries are in every state.
const LIFE_MILLIS: std::ops::Range<u64> = 0..400;

/// Notices that are due at once, unless `TOLLGATE_NOTICES` says otherwise.
const DUE_DEFAULT: u64 = 300;

/// From so many on, the stated bound is to hold.
const DUE_STATED: u64 = 10_000;

/// Orgs that these are of.
const ORGS: u64 = 100;

const CONNECTIONS: usize = 64;

/// The gate's p99 while notices are delivered is at most so many times what it is without.
const TIMES_MAX: f64 = 1.2;

/// How often it is measured; the median counts, for another process on the machine may have had the cores.
const ROUNDS: u64 = 3;

/// The ids of notices by org, in the order in which they are told.
fn by_org<'a>(notices: impl Iterator<Item = &'a Value>) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for notice in notices {
        let text = |name: &str| notice[name].as_str().expect("a text").to_owned();
        found.entry(text("org")).or_default().push(text("id"));
    }
    found
}

#[test]
fn notices_are_heard_over_kills() {
    let _machine = crate::beside_others();
    let mut rng = Rng::with_seed(crate::seed());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let serve = Tollgate::serve(folder.path()).arg("--allow-private-webhooks");
    let receiver = Processor::start(rng.u64(..)).expect("a receiver");
    receiver.be_reliable();
    let call = |client: &mut Client, method: &str, path: &str, body: Value| {
        client.expect_ok(method, path, Some(&body)).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    };
    // Notices that were made, one at least by each top-up; and kills that some of them had not left before.
    let (mut made, mut in_time) = (0, 0);
    for round in 0..=KILLS {
        let server = serve.start().expect("the server starts");
        let mut client = server.client();
        if round == 0 {
            let channel = json!({"name": "all", "kind": "webhook", "url": receiver.url()});
            let made = client.call("POST", "/v1/channels", Some(&channel)).expect("an answer");
            assert_eq!(made.status, 201, "{made:?}");
        }
        if round == KILLS {
            let listed = client.get("/v1/notices?limit=1000").expect("notices");
            let listed = listed["notices"].as_array().expect("notices").clone();
            let all_came = || Ok((receiver.batches().count() >= listed.len()).then_some(()));
            until("all notices", Duration::from_secs(60), all_came).expect("they come");
            let batches = receiver.batches();
            let heard = batches.bodies().expect("each came again as it was");
            let heard = by_org(heard.iter().map(|body| &body["data"]));
            assert_eq!(heard, by_org(listed.iter()), "all of them, in order per org, and nothing else");
            assert!(in_time > 0, "a kill fell between commit and delivery");
            println!("{} notices over {KILLS} kills, {} came twice", listed.len(), batches.repeats);
            server.stop().expect("it stops in order");
            crate::assert_verified(folder.path());
            return;
        }
        for number in 0..rng.u32(5..40) {
            let org = format!("org-{}", rng.u8(..5));
            call(&mut client, "PUT", &format!("/v1/orgs/{org}/plan"), json!({"plan": "basic"}));
            let top_up = json!({"meter": "reports", "amount": 1, "key": format!("{round}-{number}")});
            call(&mut client, "POST", &format!("/v1/orgs/{org}/top-ups"), top_up);
            made += 1;
        }
        pause(Duration::from_millis(rng.u64(LIFE_MILLIS)));
        server.kill().expect("killed");
        in_time += u32::from(receiver.batches().count() < made);
    }
}

/// The gate's p99 under a steady load.
fn gate_p99(fleet: &mut Fleet, rate: f64, lasts: Duration, first: u64) -> Result<Duration> {
    let call = |number: u64| {
        let org = format!("o{}", number % ORGS);
        let body = json!({"org": org, "meter": METER, "quantity": 1, "key": format!("n{number}")});
        http::request("POST", "/v1/usage", Some(&body))
    };
    let flood = fleet.run(Pace::Open(rate), lasts, first, call)?;
    let shots: Vec<&Shot> = flood.shots.iter().collect();
    assert!(shots.iter().all(|shot| shot.reply.as_ref().is_some_and(|reply| reply.status == 200)));
    Ok(percentile(&shots, 0.99))
}

#[test]
fn many_due_notices_drain_beside_the_gate() -> Result<()> {
    let _machine = crate::alone();
    need_open_files(4_096)?;
    let due = crate::given("TOLLGATE_NOTICES").unwrap_or(DUE_DEFAULT);
    let folder = tempfile::tempdir()?;
    let server = Tollgate::serve(&folder.path().join("data")).arg("--allow-private-webhooks").start()?;
    let receiver = Processor::start(0)?;
    receiver.be_reliable();
    let mut client = server.client();
    let mut fleet = Fleet::connect(server.address(), CONNECTIONS)?;
    let hour = Duration::from_secs(3_600);
    fleet.run(Pace::Times(ORGS), hour, 0, |org| {
        http::request("PUT", &format!("/v1/orgs/o{org}/plan"), Some(&json!({"plan": "ultimate"})))
    })?;
    fleet.run(Pace::Times(due), hour, 0, |number| {
        let top_up = json!({"meter": METER, "amount": 100_000, "key": format!("t{number}")});
        http::request("POST", &format!("/v1/orgs/o{}/top-ups", number % ORGS), Some(&top_up))
    })?;
    let channel =
        json!({"name": "all", "kind": "webhook", "url": receiver.url(), "notices": ["top_up_granted"]});
    let made = client.call("POST", "/v1/channels", Some(&channel))?;
    let path = format!("/v1/channels/{}", made.text("id").ok_or("an id")?);
    let is_stated = is_release_build()? && due >= DUE_STATED;
    let (rate, lasts) =
        if is_stated { (2_000.0, Duration::from_secs(10)) } else { (100.0, Duration::from_secs(2)) };
    let delivered = |client: &mut Client| -> Result<u64> {
        client.get(&path)?["delivered"].as_u64().ok_or_else(|| "a number".into())
    };
    let mut times = Vec::new();
    for round in 1..=ROUNDS {
        let first = round * 100_000_000;
        let calm = gate_p99(&mut fleet, rate, lasts, first)?;
        let (before, began) = (delivered(&mut client)?, Instant::now());
        // All that there are are due at once.
        let all = json!({"since": "2000-01-01T00:00:00Z"});
        client.expect_ok("POST", &format!("{path}/replay"), Some(&all))?;
        let busy = gate_p99(&mut fleet, rate, lasts, first + 50_000_000)?;
        let meanwhile = delivered(&mut client)? - before;
        let all_came = || Ok((delivered(&mut client)? >= before + due).then_some(()));
        until("all notices", Duration::from_secs(120), all_came)?;
        let ratio = busy.as_secs_f64() / calm.as_secs_f64();
        println!(
            "{due} due notices: the gate's p99 is {calm:?} without and {busy:?} while {meanwhile} of them are delivered, \
             {ratio:.2} times; all were within {:.1} s",
            began.elapsed().as_secs_f64()
        );
        assert!(meanwhile > 0, "some were delivered meanwhile");
        times.push(ratio);
    }
    assert_eq!(u64::try_from(receiver.batches().count())?, due, "each of them, under its id");
    times.sort_by(f64::total_cmp);
    assert!(!is_stated || times[times.len() / 2] <= TIMES_MAX, "notices hold up the gate: {times:?}");
    server.stop()
}

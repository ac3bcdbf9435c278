//! Notices on their way to a receiver: from a server that is killed between commit and delivery, and beside a busy gate.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};
use tollgate_e2e::flood::{Fleet, Pace, Shot, need_open_files, percentile};
use tollgate_e2e::http::{self, Client};
use tollgate_e2e::load::METER;
use tollgate_e2e::processor::Processor;
use tollgate_e2e::{Result, Server, Tollgate, clock, is_release_build, pause, until};

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

/// How often it is looked how many were delivered, and of such looks in the stated run, the share of those that must find more: none does while all are made due again.
const LOOK: Duration = Duration::from_millis(500);
const BUSY_SHARE_MIN: f64 = 0.75;

/// How often both are measured, in turn; their medians count, for the machine has pauses of its own.
const ROUNDS: u64 = 3;
const ROUNDS_STATED: u64 = 9;

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

#[test]
fn what_waits_for_a_digest_survives_kills_and_comes_in_one_message() -> Result<()> {
    let _machine = crate::beside_others();
    let mut rng = Rng::with_seed(crate::seed());
    let (folder, data) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let receiver = Processor::start(0)?;
    receiver.be_reliable();
    // Seconds of 2027-03-26.
    let at = |hour: i64, minute: i64, second: i64| 1_806_019_200 + 3_600 * hour + 60 * minute + second;
    let serve = |now| -> Result<Server> {
        let wrapper = clock::set_to(now, folder.path())?;
        let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
        Tollgate::serve(data.path()).arg("--allow-private-webhooks").under(&wrapper).start()
    };
    let mut server = serve(at(12, 0, 0))?;
    let mut client = server.client();
    let channel = json!({"name": "desk", "kind": "slack", "url": receiver.url(), "digest_at": "13:00"});
    let made = client.call("POST", "/v1/channels", Some(&channel))?;
    let path = format!("/v1/channels/{}", made.text("id").ok_or("an id")?);
    for (org, key) in [("a", "one"), ("b", "one"), ("a", "two")] {
        client.expect_ok("PUT", &format!("/v1/orgs/{org}/plan"), Some(&json!({"plan": "basic"})))?;
        let top_up = json!({"meter": "reports", "amount": 5, "key": key});
        client.expect_ok("POST", &format!("/v1/orgs/{org}/top-ups"), Some(&top_up))?;
    }
    let waits = |client: &mut Client| {
        until("the notices", Duration::from_secs(30), || {
            Ok((client.get(&path)?["waiting"] == 3).then_some(()))
        })
    };
    waits(&mut client)?;
    server.kill()?;
    server = serve(at(12, 59, 0))?;
    waits(&mut server.client())?;
    assert_eq!(receiver.batches().count(), 0, "it is not time yet");
    server.kill()?;
    // It is time: the server is killed while it makes one message of them, sends it, and writes down that it did.
    for _ in 0..KILLS {
        server = serve(at(13, 0, 1))?;
        pause(Duration::from_millis(rng.u64(0..150)));
        server.kill()?;
    }
    server = serve(at(13, 1, 0))?;
    let mut client = server.client();
    let shown = || Ok((client.get(&path)?["delivered"] == 1).then_some(()));
    until("the digest", Duration::from_secs(30), shown)?;
    let batches = receiver.batches();
    let bodies = batches.bodies()?;
    let [body] = bodies.as_slice() else { return Err(format!("one message, not {bodies:?}").into()) };
    let text = body["blocks"][1]["text"]["text"].as_str().unwrap_or_default();
    let orgs: Vec<&str> = text.lines().filter_map(|line| line.split(':').next()).collect();
    assert_eq!(
        (&body["text"], orgs),
        (&json!("3 notices of 2 organizations"), vec!["a", "b", "a"]),
        "{body}"
    );
    let log = client.get(&format!("{path}/deliveries"))?;
    assert_eq!(log["deliveries"][0]["digest"], json!(["a/2/0", "b/2/0", "a/3/0"]), "{log}");
    println!("a digest over {KILLS} kills, it came {} times", batches.repeats + 1);
    server.stop()?;
    crate::assert_verified(data.path());
    Ok(())
}

/// The gate's p99 under a steady load, over connections of its own: the server ends those that are idle for long.
fn gate_p99(address: SocketAddr, rate: f64, lasts: Duration, first: u64) -> Result<Duration> {
    let call = |number: u64| {
        let org = format!("o{}", number % ORGS);
        let body = json!({"org": org, "meter": METER, "quantity": 1, "key": format!("n{number}")});
        http::request("POST", "/v1/usage", Some(&body))
    };
    let flood = Fleet::connect(address, CONNECTIONS)?.run(Pace::Open(rate), lasts, first, call)?;
    let shots: Vec<&Shot> = flood.shots.iter().collect();
    assert!(shots.iter().all(|shot| shot.reply.as_ref().is_some_and(|reply| reply.status == 200)));
    Ok(percentile(&shots, 0.99))
}

/// Has all notices be due, and again whenever all were delivered, until it is told to stop; says when the first are delivered.
/// Gives how often all were due, and how many were delivered between two looks from the first ones on.
fn keep_due(
    client: &mut Client,
    path: &str,
    due: u64,
    going: &AtomicBool,
    stop: &AtomicBool,
) -> Result<(u64, Vec<u64>)> {
    let all = json!({"since": "2000-01-01T00:00:00Z"});
    let delivered = |client: &mut Client| -> Result<u64> {
        client.get(path)?["delivered"].as_u64().ok_or_else(|| "a number".into())
    };
    let first = delivered(client)?;
    let (mut times, mut seen, mut looks) = (0, first, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        if seen >= first + times * due {
            client.expect_ok("POST", &format!("{path}/replay"), Some(&all))?;
            times += 1;
        }
        pause(LOOK);
        let now = delivered(client)?;
        if now > seen || !looks.is_empty() {
            looks.push(now - seen);
            going.store(true, Ordering::Relaxed);
        }
        seen = now;
    }
    let all_came = || Ok((delivered(client)? >= first + times * due).then_some(()));
    until("all notices", Duration::from_secs(120), all_came)?;
    Ok((times, looks))
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
    let (rate, lasts, rounds) = match is_stated {
        true => (2_000.0, Duration::from_secs(10), ROUNDS_STATED),
        false => (100.0, Duration::from_secs(2), ROUNDS),
    };
    let (mut all_calm, mut all_busy) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let first = round * 100_000_000;
        let calm = gate_p99(server.address(), rate, lasts, first)?;
        let (going, stop) = (AtomicBool::new(false), AtomicBool::new(false));
        let (busy, kept) = thread::scope(|scope| {
            let keeper = scope.spawn(|| keep_due(&mut client, &path, due, &going, &stop));
            let begun = || Ok((going.load(Ordering::Relaxed) || keeper.is_finished()).then_some(()));
            let busy = until("deliveries", Duration::from_secs(60), begun)
                .and_then(|()| gate_p99(server.address(), rate, lasts, first + 50_000_000));
            stop.store(true, Ordering::Relaxed);
            (busy, keeper.join())
        });
        let (busy, (times, looks)) = (busy?, kept.map_err(|_| "the notices are not kept due")??);
        let meanwhile: u64 = looks.iter().sum();
        let busy_looks = looks.iter().filter(|delivered| **delivered > 0).count();
        println!(
            "{due} due notices, {times} times: the gate's p99 is {calm:?} without and {busy:?} while {meanwhile} are delivered; \
             {busy_looks} of {} looks found more of them delivered",
            looks.len()
        );
        assert!(meanwhile > 0, "some were delivered meanwhile");
        let share = f64::from(u32::try_from(busy_looks)?) / f64::from(u32::try_from(looks.len())?);
        assert!(!is_stated || share >= BUSY_SHARE_MIN, "notices were delivered all the time: {looks:?}");
        all_calm.push(calm);
        all_busy.push(busy);
    }
    assert_eq!(u64::try_from(receiver.batches().count())?, due, "each of them, under its id");
    let [calm, busy] = [all_calm, all_busy].map(|mut all| {
        all.sort_unstable();
        all[all.len() / 2].as_secs_f64()
    });
    let times = busy / calm;
    println!("of {rounds} rounds, the median is {times:.2} times the one without");
    assert!(!is_stated || times <= TIMES_MAX, "notices hold up the gate: {times:.2} times");
    server.stop()
}

//! Pulses on their way to a processor that cannot be relied on, from a server that is killed: each counts there once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::json;
use tollgate_e2e::http::{Client, Sent};
use tollgate_e2e::nats::Nats;
use tollgate_e2e::processor::{Batches, Processor, Sums, add};
use tollgate_e2e::{Result, Server, Tollgate, pause, until};

const KILLS: usize = 12;

/// How long a server lives at most, in milliseconds: commits are in every state of completion.
const LIFE_MILLIS: std::ops::RangeInclusive<u64> = 100..=1_200;

const POURERS: u64 = 4;

/// Days back that pulses are of, today among them.
const DAYS: u64 = 3;

const DAY_SECS: u64 = 86_400;

/// What pours, and what it poured.
struct Stream {
    address: Mutex<std::net::SocketAddr>,
    poured: Mutex<Sums>,
    pulses: AtomicU64,
    commits: [AtomicU64; 2],
    over: AtomicBool,
}

impl Stream {
    fn over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn client(&self) -> Client {
        Client::new(*self.address.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn move_to(&self, address: std::net::SocketAddr) {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner) = address;
    }

    /// Sends pulses, each again and again until it is taken.
    fn pour(&self, number: u64, mut rng: Rng) {
        let mut client = self.client();
        let mut count = 0_u64;
        while !self.over() {
            count += 1;
            let (tenant, sku) = (format!("tenant-{}", rng.u8(..5)), format!("sku-{}", rng.u8(..3)));
            let (unit, amount) = (["hour", "GB:h"][rng.usize(..2)], rng.u32(1..100));
            let (date, time) = time_of(now_secs() - rng.u64(..DAYS) * DAY_SECS);
            let pulse = json!({
                "tenant_id": tenant, "product_sku": sku, "use_unit": unit, "used_amount": amount,
                "id": format!("{number}-{count}"), "time": time,
            });
            loop {
                match client.send("POST", "/pulses", Some(&pulse)) {
                    Sent::Answered(reply) if reply.status == 200 => break,
                    Sent::Answered(reply) if reply.status == 503 => {}
                    Sent::Answered(reply) => panic!("a pulse is answered {reply:?}"),
                    Sent::NotSent(_) | Sent::Unknown(_) => {
                        pause(Duration::from_millis(20));
                        client = self.client();
                    }
                }
            }
            let place = [tenant, sku, unit.to_owned(), date];
            let mut poured = self.poured.lock().unwrap_or_else(PoisonError::into_inner);
            *poured.entry(place).or_default() += i64::from(amount);
            self.pulses.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Commits by hand, all days or one, beside the commits that the server makes by itself.
    fn commit(&self, mut rng: Rng) {
        while !self.over() {
            pause(Duration::from_millis(rng.u64(10..200)));
            let date = rng.bool().then(|| time_of(now_secs() - rng.u64(..DAYS) * DAY_SECS).0);
            let path = match rng.u8(..3) {
                0 => "/agreggates/commit".to_owned(),
                _ => date.map_or("/aggregates/commit".to_owned(), |date| {
                    format!("/aggregates/commit?date={date}")
                }),
            };
            let count = match self.client().send("POST", &path, None) {
                Sent::Answered(reply) if reply.status == 200 => &self.commits[0],
                Sent::Answered(reply) if matches!(reply.status, 502 | 503) => &self.commits[1],
                Sent::Answered(reply) => panic!("a commit is answered {reply:?}"),
                Sent::NotSent(_) | Sent::Unknown(_) => continue,
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the server has the machine's clock")]
fn now_secs() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("it is after 1970").as_secs()
}

/// The date and the time of so many seconds after 1970.
fn time_of(secs: u64) -> (String, String) {
    let at = jiff::Timestamp::from_second(i64::try_from(secs).expect("a time")).expect("a time");
    (at.strftime("%F").to_string(), at.to_string())
}

/// Lets pulses pour and commits run while the server is killed again and again, and something happens between.
fn under_kills(
    serve: &Tollgate,
    seed: u64,
    mut between: impl FnMut(usize, &mut Rng) -> Result<()>,
) -> Result<(Server, Arc<Stream>)> {
    let mut rng = Rng::with_seed(seed);
    let mut server = serve.start()?;
    let stream = Arc::new(Stream {
        address: Mutex::new(server.address()),
        poured: Mutex::default(),
        pulses: AtomicU64::new(0),
        commits: Default::default(),
        over: AtomicBool::new(false),
    });
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    for number in 0..POURERS {
        let (stream, rng) = (Arc::clone(&stream), rng.fork());
        threads.push(thread::spawn(move || stream.pour(number, rng)));
    }
    for _ in 0..2 {
        let (stream, rng) = (Arc::clone(&stream), rng.fork());
        threads.push(thread::spawn(move || stream.commit(rng)));
    }
    for round in 0..KILLS {
        pause(Duration::from_millis(rng.u64(LIFE_MILLIS)));
        between(round, &mut rng)?;
        server.kill()?;
        server = serve.start()?;
        stream.move_to(server.address());
    }
    pause(Duration::from_secs(1));
    stream.over.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().map_err(|_| "a thread of the test panicked")?;
    }
    Ok((server, stream))
}

/// Commits until there is nothing left, and compares what was poured with what arrived.
fn settle(server: Server, stream: &Stream, batches: impl Fn() -> Result<Batches>) -> Result<()> {
    let mut client = server.client();
    until("everything to be committed", Duration::from_secs(60), || {
        let reply = client.call("POST", "/aggregates/commit", None)?;
        Ok((reply.status == 200).then_some(()))
    })?;
    assert_eq!(client.get("/aggregates")?, json!([]), "nothing is left");
    let sent = batches()?;
    client.expect_ok("POST", "/aggregates/commit", None)?;
    assert_eq!(batches()?.count(), sent.count(), "what was sent is not sent again");
    let poured = stream.poured.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert_eq!(sent.sums()?, poured, "what was poured is not what arrived");
    let metrics = client.call("GET", "/metrics", None)?;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(metrics.contains("tollgate_shipments_sent_total"), "{metrics}");
    server.stop()?;
    let [done, failed] = stream.commits.each_ref().map(|count| count.load(Ordering::Relaxed));
    println!(
        "{} pulses, {KILLS} kills, {done} commits done, {failed} failed: {} batches arrived, {} of them again",
        stream.pulses.load(Ordering::Relaxed),
        sent.count(),
        sent.repeats
    );
    assert!(done > 0 && sent.count() > KILLS / 2, "too little happened to show anything");
    Ok(())
}

fn serve(store: &std::path::Path, sink: &str) -> Tollgate {
    let serve = Tollgate::serve(store).arg("--sink").arg(sink);
    serve.arg("--commit-interval").arg("1").arg("--commit-patience").arg("2")
}

#[test]
fn an_unreliable_processor_gets_every_pulse_once_over_kills() -> Result<()> {
    let _machine = super::beside_others();
    let seed = super::seed();
    let folder = tempfile::tempdir()?;
    let processor = Processor::start(seed)?;
    let store = folder.path().join("data");
    let (server, stream) = under_kills(&serve(&store, &processor.url()), seed, |_, _| Ok(()))?;
    processor.be_reliable();
    settle(server, &stream, || Ok(processor.batches()))?;
    assert!(processor.batches().repeats > 0, "no batch was sent twice: nothing was shown");
    super::assert_verified(&store);
    Ok(())
}

#[test]
fn a_stream_of_nats_gets_every_pulse_once_over_kills_of_both() -> Result<()> {
    let _machine = super::beside_others();
    let seed = super::seed();
    let folder = tempfile::tempdir()?;
    let mut nats = Nats::start(folder.path())?;
    let store = folder.path().join("data");
    let mut down = false;
    let (server, stream) = under_kills(&serve(&store, &nats.url()), seed, |round, rng| {
        if down {
            nats.start_again()?;
        } else if round % 2 == 0 {
            nats.kill()?;
            down = true;
            pause(Duration::from_millis(rng.u64(LIFE_MILLIS)));
            return Ok(());
        }
        down = false;
        Ok(())
    })?;
    if down {
        nats.start_again()?;
    }
    settle(server, &stream, || nats.batches())?;
    super::assert_verified(&store);
    Ok(())
}

#[test]
fn a_folder_gets_every_pulse_once_over_kills() -> Result<()> {
    let _machine = super::beside_others();
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out");
    let store = folder.path().join("data");
    let sink = format!("folder:{}", out.display());
    let (server, stream) = under_kills(&serve(&store, &sink), super::seed(), |_, _| Ok(()))?;
    let started = Instant::now();
    until("everything to be committed by itself", Duration::from_secs(60), || {
        Ok((server.client().get("/aggregates")? == json!([])).then_some(()))
    })?;
    let lasted = started.elapsed();
    let mut sums = Sums::new();
    let mut files = 0;
    for entry in std::fs::read_dir(&out)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "ndjson") {
            files += 1;
            let text = std::fs::read_to_string(&path)?;
            let lines: Vec<_> =
                text.lines().map(serde_json::from_str).collect::<std::result::Result<_, _>>()?;
            add(&mut sums, &lines)?;
        }
    }
    let poured = stream.poured.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert_eq!(sums, poured, "what was poured is not in the files");
    println!("{files} files; the last of it was committed by itself after {} ms", lasted.as_millis());
    server.stop()?;
    Ok(())
}

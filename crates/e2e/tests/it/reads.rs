//! Two clients that read as much as they can, of every kind that reads much: the gate's latency stays what it was, and
//! `/ready` answers at once throughout.
//!
//! [`ORGS_DEFAULT`] organizations unless `TOLLGATE_READ_ORGS` says otherwise; `cargo xtask proof reads` makes a million.
//! The stated bounds are those of a release build with so many. A debug build shows that nobody at the gate waits for a
//! whole read: without that, the longest wait is as long as the longest read.

use std::collections::BTreeMap;
use std::io;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tollgate_e2e::flood::{Fleet, Flood, Pace, Shot, need_open_files, percentile};
use tollgate_e2e::http::{self, Client, Sent};
use tollgate_e2e::load::METER;
use tollgate_e2e::{Result, Server, Tollgate, is_release_build, pause};

const ORGS_DEFAULT: u64 = 3_000;

/// From so many on, the stated bounds are to hold.
const ORGS_STATED: u64 = 1_000_000;

const CONNECTIONS: usize = 64;

const READERS: usize = 2;

/// The gate's p99 beside the readers is at most so many times what it is without them.
const TIMES_MAX: f64 = 1.2;

/// The readers yield the cores to the server.
const CLIENT_NICENESS: i32 = 10;

/// `/ready` answers within this, also the slowest time in a second.
const READY_MAX: Duration = Duration::from_millis(5);

/// Measured times of each kind, with readers and without in turns. Medians count, those of all seconds and of all rounds:
/// another process on the machine may have had the cores, and a disk has seconds in which one sync takes a hundred
/// milliseconds, whoever reads.
const ROUNDS_STATED: usize = 9;

/// How often each kind is tried where no bound is stated.
const TRIES: usize = 3;

/// Before anything is measured the server is left with the gate alone, for times as long as this one, until two in turn
/// come out alike: images of so many new organizations are still being written.
const SETTLING: Duration = Duration::from_secs(10);

/// At most so many of these.
const SETTLINGS_MAX: usize = 6;

/// What the readers ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Lists,
    WhatIf,
    DryRuns,
    Aggregates,
    Views,
    Notices,
}

const KINDS: [Kind; 6] =
    [Kind::Lists, Kind::WhatIf, Kind::DryRuns, Kind::Aggregates, Kind::Views, Kind::Notices];

fn id(org: u64) -> String {
    format!("o{org:07}")
}

/// An org far from the one before.
fn org_of(number: u64, orgs: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % orgs
}

fn gate_call(number: u64, orgs: u64) -> Vec<u8> {
    let org = id(org_of(number, orgs));
    let body = json!({"org": org, "user": "ada", "meter": METER, "quantity": 1, "key": format!("n{number}")});
    http::request("POST", "/v1/usage", Some(&body))
}

/// Orgs with a plan; an aggregate for one in a thousand, and a notice for one in a hundred.
fn fill(server: &Server, orgs: u64) -> Result<()> {
    let mut fleet = Fleet::connect(server.address(), CONNECTIONS)?;
    let hour = Duration::from_secs(3_600);
    let plan = |org: u64| {
        http::request("PUT", &format!("/v1/orgs/{}/plan", id(org)), Some(&json!({"plan": "ultimate"})))
    };
    let pulse = |number: u64| {
        let tenant = id(number * 1_000);
        let body = json!({"tenant_id": tenant, "product_sku": "vm", "use_unit": "hour", "used_amount": 1});
        http::request("POST", "/pulses", Some(&body))
    };
    let top_up = |number: u64| {
        let path = format!("/v1/orgs/{}/top-ups", id(number * 100));
        http::request("POST", &path, Some(&json!({"meter": METER, "amount": 1_000})))
    };
    let floods = [
        fleet.run(Pace::Times(orgs), hour, 0, plan)?,
        fleet.run(Pace::Times(orgs / 1_000), hour, 0, pulse)?,
        fleet.run(Pace::Times(orgs / 100), hour, 0, top_up)?,
    ];
    floods.iter().for_each(|flood| assert_all_ok(&flood.shots.iter().collect::<Vec<_>>()));
    Ok(())
}

fn assert_all_ok(shots: &[&Shot]) {
    let wrong = shots.iter().find(|shot| shot.reply.as_ref().is_none_or(|reply| reply.status != 200));
    assert!(wrong.is_none(), "{wrong:?}");
}

/// One reader, that asks again as soon as it is answered.
struct Reader {
    kind: Kind,
    client: Client,
    orgs: u64,
    asked: u64,
    cursor: Option<String>,
    month: String,
    catalog: String,
}

impl Reader {
    fn request(&self) -> Vec<u8> {
        let page = |path: &str| {
            let cursor = self.cursor.as_ref().map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
            http::request("GET", &format!("{path}?limit=1000{cursor}"), None)
        };
        match self.kind {
            Kind::Lists => page("/v1/orgs"),
            Kind::Notices => page("/v1/notices"),
            Kind::Aggregates => http::request("GET", "/aggregates", None),
            Kind::WhatIf => {
                let body = json!({"month": self.month, "catalog": self.catalog});
                http::request("POST", "/v1/whatif", Some(&body))
            }
            Kind::DryRuns => {
                let (text, length) = (&self.catalog, self.catalog.len());
                let head = "host: localhost\r\ncontent-type: application/toml\r\ncontent-length";
                format!("PUT /v1/catalog?dry_run=true HTTP/1.1\r\n{head}: {length}\r\n\r\n{text}")
                    .into_bytes()
            }
            Kind::Views => {
                let org = id(org_of(self.asked / 4, self.orgs));
                let meter = format!("meter={METER}");
                let view = match self.asked % 4 {
                    0 => "balance".to_owned(),
                    1 => format!("users?{meter}"),
                    2 => format!("usage?{meter}"),
                    _ => "ledger".to_owned(),
                };
                http::request("GET", &format!("/v1/orgs/{org}/{view}"), None)
            }
        }
    }

    /// Asks again and again; how many answers it got, and the longest it took.
    fn read_until(mut self, stop: &AtomicBool) -> Result<(u64, Duration)> {
        // What a client does with its answers would be done on another machine.
        tollgate_threads::yield_to_callers(CLIENT_NICENESS);
        let (mut reads, mut longest) = (0, Duration::ZERO);
        while !stop.load(Ordering::Relaxed) {
            if let Some(took) = self.ask()? {
                reads += 1;
                longest = longest.max(took);
            }
        }
        Ok((reads, longest))
    }

    /// Asks once; how long it took, if it was answered and not refused.
    fn ask(&mut self) -> Result<Option<Duration>> {
        let (began, request) = (Instant::now(), self.request());
        self.asked += 1;
        let Sent::Answered(reply) = self.client.send_bytes(&request) else { return Ok(None) };
        if reply.status == 503 {
            // Others go through all organizations.
            pause(Duration::from_millis(20));
            return Ok(None);
        }
        // A dry run that removes a plan is refused for the orgs that have it.
        let wanted = if self.kind == Kind::DryRuns { 409 } else { 200 };
        if reply.status != wanted {
            let text = String::from_utf8_lossy(&reply.body).into_owned();
            return Err(format!("{:?} was answered {}: {text}", self.kind, reply.status).into());
        }
        if matches!(self.kind, Kind::Lists | Kind::Notices) {
            // Parsing all of it would take the cores from the server.
            let text = String::from_utf8(reply.body)?;
            let next = text.rsplit_once("\"next\":\"").and_then(|(_, next)| next.split_once('"'));
            self.cursor = next.map(|(cursor, _)| cursor.to_owned());
        }
        Ok(Some(began.elapsed()))
    }
}

/// What a measured time came to.
struct Measured {
    /// The gate's p99 of each second.
    p99s: Vec<Duration>,
    /// The longest that `/ready` took in each second.
    readies: Vec<Duration>,
    reads: u64,
    longest_read: Duration,
}

/// The p99 of what was due in each second; all of it was answered well.
fn p99s(flood: &Flood, first: u64, rate: u64) -> Vec<Duration> {
    assert_all_ok(&flood.shots.iter().collect::<Vec<_>>());
    let mut seconds: BTreeMap<u64, Vec<&Shot>> = BTreeMap::new();
    for shot in &flood.shots {
        seconds.entry((shot.number - first) / rate).or_default().push(shot);
    }
    seconds.values().map(|shots| percentile(shots, 0.99)).collect()
}

fn median<T: Copy + PartialOrd>(values: impl IntoIterator<Item = T>) -> T {
    let mut values: Vec<T> = values.into_iter().collect();
    values.sort_by(|one, other| one.partial_cmp(other).expect("numbers"));
    values[values.len() / 2]
}

/// Measured without readers and beside them.
struct Round {
    calm: Measured,
    busy: Measured,
}

impl Round {
    fn waits_for_no_read(&self) -> bool {
        let ready_max = self.busy.readies.iter().max().copied().unwrap_or_default();
        ready_max < (self.busy.longest_read / 2).max(Duration::from_millis(250))
    }
}

impl std::fmt::Display for Round {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { calm, busy } = self;
        write!(
            formatter,
            "the gate's p99 in the median second is {:.2} ms without and {:.2} ms beside {READERS} readers; /ready within \
             {:.2} and {:.2} ms in it; {} reads, the longest {:.0} ms",
            millis(median(calm.p99s.iter().copied())),
            millis(median(busy.p99s.iter().copied())),
            millis(median(calm.readies.iter().copied())),
            millis(median(busy.readies.iter().copied())),
            busy.reads,
            millis(busy.longest_read),
        )
    }
}

/// Whether the medians of the rounds are within the stated bounds.
fn holds(kind: Kind, rounds: &[Round]) -> bool {
    let p99 = |of: fn(&Round) -> &Measured| {
        median(rounds.iter().flat_map(|round| &of(round).p99s).map(Duration::as_secs_f64))
    };
    let times = p99(|round| &round.busy) / p99(|round| &round.calm);
    let ready = median(rounds.iter().flat_map(|round| round.busy.readies.iter().copied().map(millis)));
    println!("{kind:?}: medians {times:.2} times, /ready within {ready:.2} ms");
    times <= TIMES_MAX && ready <= millis(READY_MAX)
}

struct Bench<'a> {
    server: &'a Server,
    orgs: u64,
    /// Usages a second.
    rate: u32,
    lasts: Duration,
    sent: u64,
    month: String,
    catalog: String,
}

impl Bench<'_> {
    /// New connections, and the first of numbers that were not sent yet.
    fn fleet(&mut self) -> Result<(Fleet, u64)> {
        let first = self.sent;
        self.sent += 100_000_000;
        Ok((Fleet::connect(self.server.address(), CONNECTIONS)?, first))
    }

    /// Leaves the server with the gate alone until its latency is steady.
    fn settle(&mut self) -> Result<()> {
        let mut last = f64::INFINITY;
        for _ in 0..SETTLINGS_MAX {
            let (mut fleet, first) = self.fleet()?;
            let call = |number| gate_call(number, self.orgs);
            let flood = fleet.run(Pace::Open(self.rate.into()), SETTLING, first, call)?;
            let p99 = millis(median(p99s(&flood, first, self.rate.into())));
            if (last / TIMES_MAX..last * TIMES_MAX).contains(&p99) {
                break;
            }
            last = p99;
        }
        Ok(())
    }

    /// The gate's latency, with or without readers.
    fn measure(&mut self, kind: Option<Kind>) -> Result<Measured> {
        let stop = &AtomicBool::new(false);
        let readers: Vec<_> = kind.into_iter().flat_map(|kind| (0..READERS).map(move |_| kind)).collect();
        let mut readers: Vec<_> =
            (0_u64..).zip(readers).map(|(number, kind)| self.reader(kind, number)).collect();
        let lines: Vec<_> =
            readers.iter_mut().map(|reader| reader.client.line()).collect::<io::Result<_>>()?;
        let (mut fleet, first) = self.fleet()?;
        let (orgs, probe) = (self.orgs, self.server.client());
        let (rate, lasts) = (self.rate, self.lasts);
        thread::scope(|scope| {
            let readers = readers.into_iter().map(|reader| scope.spawn(move || reader.read_until(stop)));
            let readers: Vec<_> = readers.collect();
            let prober = scope.spawn(move || {
                go_first();
                probe_until(probe, stop)
            });
            let caller = scope.spawn(move || {
                go_first();
                fleet.run(Pace::Open(rate.into()), lasts, first, |number| gate_call(number, orgs))
            });
            let flood = caller.join().map_err(|_| "the caller panicked")?;
            stop.store(true, Ordering::Relaxed);
            // Some reads last longer than this.
            for line in &lines {
                line.shutdown(Shutdown::Both)?;
            }
            let (mut reads, mut longest_read) = (0, Duration::ZERO);
            for reader in readers {
                let (count, longest) = reader.join().map_err(|_| "a reader panicked")??;
                reads += count;
                longest_read = longest_read.max(longest);
            }
            let readies = prober.join().map_err(|_| "the prober panicked")??;
            Ok(Measured { p99s: p99s(&flood?, first, rate.into()), readies, reads, longest_read })
        })
    }

    fn reader(&self, kind: Kind, number: u64) -> Reader {
        Reader {
            kind,
            client: self.server.client(),
            orgs: self.orgs,
            asked: number * 1_000_003,
            cursor: None,
            month: self.month.clone(),
            catalog: self.catalog.clone(),
        }
    }
}

/// The calling thread measures how late the server is, and not how late it gets a core itself, if it has the right to that.
fn go_first() {
    let _ = rustix::process::nice(-CLIENT_NICENESS);
    tollgate_threads::answer_first();
}

/// Asks whether the server is ready again and again; the longest it took in each second.
fn probe_until(mut client: Client, stop: &AtomicBool) -> Result<Vec<Duration>> {
    let (started, mut longest) = (Instant::now(), BTreeMap::new());
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        client.get("/ready")?;
        let longest: &mut Duration = longest.entry((began - started).as_secs()).or_default();
        *longest = (*longest).max(began.elapsed());
        pause(Duration::from_millis(2));
    }
    Ok(longest.into_values().collect())
}

/// The catalog without the plan that the orgs have.
fn other_catalog(client: &mut Client) -> Result<String> {
    let text = client.get("/v1/catalog")?["toml"].as_str().ok_or("a catalog")?.to_owned();
    Ok(text.replace("\"ultimate\"", "\"another\""))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

#[test]
fn the_gate_does_not_wait_for_readers() -> Result<()> {
    let _machine = super::alone();
    need_open_files(4_096)?;
    let orgs = super::given("TOLLGATE_READ_ORGS").unwrap_or(ORGS_DEFAULT);
    let folder = tempfile::tempdir()?;
    let server = Tollgate::serve(&folder.path().join("data")).start()?;
    let began = Instant::now();
    fill(&server, orgs)?;
    println!("{orgs} organizations in {:.0} s", began.elapsed().as_secs_f64());
    let is_stated = is_release_build()? && orgs >= ORGS_STATED;
    let (rate, lasts) =
        if is_stated { (2_000, Duration::from_secs(5)) } else { (100, Duration::from_secs(2)) };
    let mut client = server.client();
    let time = client.get("/health")?["time"].as_str().ok_or("a time")?.to_owned();
    let mut bench = Bench {
        server: &server,
        orgs,
        rate,
        lasts,
        sent: 0,
        month: time.get(..7).ok_or("a month")?.to_owned(),
        catalog: other_catalog(&mut client)?,
    };
    if is_stated {
        bench.settle()?;
    }
    let mut held_up = Vec::new();
    for kind in KINDS {
        let mut rounds = Vec::new();
        let held = loop {
            let round = Round { calm: bench.measure(None)?, busy: bench.measure(Some(kind))? };
            println!("{kind:?}: {round}");
            rounds.push(round);
            match is_stated {
                // Reads that are as short as the gate's own latency show nothing.
                false if rounds.iter().any(Round::waits_for_no_read) => break true,
                false if rounds.len() == TRIES => break false,
                true if rounds.len() == ROUNDS_STATED => break holds(kind, &rounds),
                _ => {}
            }
        };
        if !held {
            held_up.push(kind);
        }
    }
    assert!(held_up.is_empty(), "{held_up:?} hold up the gate");
    server.stop()
}

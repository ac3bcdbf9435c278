//! What a usage costs from the queue to its answer, on the embedded store and without HTTP:
//! `cargo bench -p tollgate-engine --bench turns -- [USAGES [ORGS [BATCH]]]`.
//!
//! Orgs of ten users each, with a limit for users and credit; usages after the fact, in batches, each under a key never sent
//! before. Told are the processor time of the thread that decides, that of the store's threads, and the memory.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a measurement: it prints, and stops where it cannot go on"
)]

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tollgate_backends::embedded::{EmbeddedOptions, EmbeddedStore};
use tollgate_domain::{
    Actor, Amount, ApplyCatalog, LimitScope, MeterId, OrgCommand, OrgDecision, OrgId, PlanId, Quantity,
    SetLimit, SetPlan, SystemCommand, Timestamp, TopUp, TopUpExpiry, TopUpStart, UsageKey, Use, UserId,
    Window,
};
use tollgate_engine::{Engine, EngineOptions};

/// As in the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CATALOG: &str = r#"
currency = "USD"

[[meters]]
id = "reports"
name = "Reports"
unit = "report"

[[plans]]
id = "team"
name = "Team"

[[plans.allowances]]
meter = "reports"
amount = 1000
"#;

const USERS: usize = 10;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// An engine whose writer runs on the thread that asks.
struct Driven {
    engine: Engine<EmbeddedStore>,
    writer: Pin<Box<dyn Future<Output = ()>>>,
}

impl Driven {
    fn open(path: &std::path::Path) -> Self {
        let store = Arc::new(EmbeddedStore::open(path, EmbeddedOptions::default()).expect("opens"));
        let mut prepared = pin!(Engine::prepare(store, EngineOptions::default()));
        let (engine, writer) = loop {
            // The embedded store answers at once.
            if let Poll::Ready(prepared) = prepared.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                break prepared.expect("starts");
            }
        };
        Self { engine, writer: Box::pin(writer.run()) }
    }

    fn run<T>(&mut self, ask: impl AsyncFnOnce(&Engine<EmbeddedStore>) -> T) -> T {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        let mut ask = pin!(ask(&self.engine));
        loop {
            if let Poll::Ready(answer) = ask.as_mut().poll(&mut context) {
                return answer;
            }
            if self.writer.as_mut().poll(&mut context).is_pending() {
                thread::park_timeout(Duration::from_millis(1));
            }
        }
    }

    fn decide(&mut self, commands: Vec<(OrgId, OrgCommand)>) -> Vec<OrgDecision> {
        self.run(async |engine| engine.submit_batch(&Actor::Local, commands).await).expect("decides")
    }
}

/// What is measured: a profiler collects it by this name, without what comes before and between.
#[inline(never)]
fn measured(driven: &mut Driven, commands: Vec<(OrgId, OrgCommand)>) -> (Vec<OrgDecision>, Duration) {
    let started = Instant::now();
    (driven.decide(commands), started.elapsed())
}

struct Load {
    rng: Rng,
    orgs: usize,
    users: Vec<UserId>,
    meter: MeterId,
    at: Timestamp,
}

impl Load {
    fn new(orgs: usize) -> Self {
        let user = |user| UserId::new(&format!("u{user}")).expect("an id");
        Self {
            rng: Rng::with_seed(1),
            orgs,
            users: (0..USERS).map(user).collect(),
            meter: MeterId::new("reports").expect("an id"),
            at: tollgate_engine::Clock::System.now(),
        }
    }

    /// What an org begins with.
    fn opening(&self, org: usize) -> Vec<(OrgId, OrgCommand)> {
        let limit = SetLimit {
            meter: self.meter.clone(),
            scope: LimitScope::EachUser,
            window: Window::Month,
            amount: Some(Amount::from_whole(1_000_000_000)),
        };
        let credit = TopUp {
            meter: self.meter.clone(),
            amount: Quantity::new(Amount::from_whole(1_000_000_000)).expect("a quantity"),
            key: None,
            expiry: TopUpExpiry::Never,
            start: TopUpStart::Now,
            priority: 100,
            reason: None,
            metadata: BTreeMap::new(),
        };
        let plan = SetPlan::now(PlanId::new("team").expect("an id"));
        let commands = [OrgCommand::SetPlan(plan), OrgCommand::SetLimit(limit), OrgCommand::TopUp(credit)];
        commands.into_iter().map(|command| (org_id(org), command)).collect()
    }

    fn usage(&mut self, org: usize, user: usize) -> (OrgId, OrgCommand) {
        let ago = Timestamp::from_second(self.at.as_second() - self.rng.i64(0..600)).expect("a time");
        let usage = Use {
            user: Some(self.users[user].clone()),
            path: None,
            meter: self.meter.clone(),
            quantity: Quantity::ONE,
            key: UsageKey::new(&format!("{:016x}", self.rng.u64(..))).expect("an id"),
            occurred_at: Some(ago),
            properties: BTreeMap::new(),
        };
        (org_id(org), OrgCommand::Record(usage))
    }

    fn batch(&mut self, size: usize) -> Vec<(OrgId, OrgCommand)> {
        let orgs = self.orgs;
        (0..size)
            .map(|_| {
                let (org, user) = (self.rng.usize(..orgs), self.rng.usize(..USERS));
                self.usage(org, user)
            })
            .collect()
    }
}

fn org_id(org: usize) -> OrgId {
    OrgId::new(&format!("o{org:07}")).expect("an id")
}

/// What threads have had of a processor.
fn processor_time(threads: impl Iterator<Item = std::path::PathBuf>) -> Duration {
    let of_one = |thread: std::path::PathBuf| {
        let text = std::fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
        text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
    };
    Duration::from_nanos(threads.map(of_one).sum())
}

fn own_time() -> Duration {
    processor_time(std::iter::once("/proc/thread-self".into()))
}

fn time_of_others() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").expect("the threads of this process");
    processor_time(threads.flatten().map(|thread| thread.path())).saturating_sub(own_time())
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<usize>().ok()).unwrap_or(0) * 1024
}

fn number(count: usize) -> f64 {
    u32::try_from(count.max(1)).map_or(f64::NAN, f64::from)
}

/// Decides batches of random usages; says what one took.
fn measure(driven: &mut Driven, load: &mut Load, usages: usize, batch: usize, what: &str) {
    let (mut deciding, mut wall, mut done) = (Duration::ZERO, Duration::ZERO, 0);
    let before = time_of_others();
    while done < usages {
        let commands = load.batch(batch);
        let own = own_time();
        let (decisions, took) = measured(driven, commands);
        wall += took;
        deciding += own_time().saturating_sub(own);
        done += decisions.len();
        let counted = decisions
            .iter()
            .all(|decision| matches!(decision, OrgDecision::Record(Ok(recorded)) if !recorded.duplicate));
        assert!(counted, "each usage counts");
    }
    let background = time_of_others().saturating_sub(before);
    let each = |took: Duration| took.as_secs_f64() * 1e9 / number(done);
    println!(
        "{what}: {:.0} ns of processor a usage ({:.0} deciding and appending, {:.0} of the store's threads), {:.0} usages/s, {} MiB resident",
        each(deciding + background),
        each(deciding),
        each(background),
        number(done) / wall.as_secs_f64(),
        resident_bytes() / (1024 * 1024),
    );
}

fn main() {
    let mut arguments = std::env::args().filter_map(|text| text.parse::<usize>().ok());
    let usages = arguments.next().unwrap_or(1_000_000);
    let orgs = arguments.next().unwrap_or(10_000);
    let batch = arguments.next().unwrap_or(1_000);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder");
    let mut driven = Driven::open(folder.path());
    let catalog = ApplyCatalog::new(CATALOG.to_owned());
    let applied = driven
        .run(async |engine| engine.submit_system(&Actor::Local, SystemCommand::ApplyCatalog(catalog)).await);
    assert!(matches!(applied, Ok(Ok(_))), "the catalog is taken: {applied:?}");
    let mut load = Load::new(orgs);
    let before = resident_bytes();
    for first in (0..orgs).step_by(100) {
        driven.decide((first..orgs.min(first + 100)).flat_map(|org| load.opening(org)).collect());
    }
    for first in (0..orgs).step_by(100) {
        let orgs = first..orgs.min(first + 100);
        let commands = orgs.flat_map(|org| (0..USERS).map(move |user| (org, user)));
        let commands: Vec<_> = commands.map(|(org, user)| load.usage(org, user)).collect();
        driven.decide(commands);
    }
    let grown = resident_bytes().saturating_sub(before);
    println!("{orgs} orgs of {USERS} users: {} bytes of memory each, with their keys", grown / orgs);
    for part in 1..=4 {
        measure(&mut driven, &mut load, usages / 4, batch, &format!("part {part} of 4"));
    }
}

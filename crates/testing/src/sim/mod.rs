//! The simulator: clients, engines, their stores and clocks in one thread, under one seed, in virtual time, with faults.
//!
//! ```text
//! clients.rs    ask, give up, ask again          executor.rs  one thread, virtual time, drawn order, trace
//! engines.rs    start, crash, start again        faults.rs    what goes wrong, how often it did
//! store.rs      slow, refusing, failing stores   log.rs       who asked what when, and what came back
//! check.rs      every reply against the oracle   state.rs     the final state against ledger and oracle
//! expiring.rs   holds whose time is over
//! shipping.rs   the processor of shipments       work.rs      what one of several engines does, by leases
//! ```
//! The production code under it is the real one: domain, engine, memory store and embedded store.
//!
//! Start reading at [`run`].
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a mistake of the simulator stops the run")]

mod check;
mod clients;
mod engines;
mod executor;
mod expiring;
mod faults;
mod log;
mod report;
mod shipping;
mod state;
mod store;
mod work;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use jiff::SignedDuration;
use jiff::tz::Offset;
use tollgate_backends::embedded::EmbeddedStore;
use tollgate_domain::{ApplyCatalog, Catalog, OrgId, SystemCommand, Timestamp};
use tollgate_engine::{Clock, EngineOptions, Pace};
use tollgate_storage::Store;

pub use executor::{Executor, Sim};
pub use faults::{Counts, Fault, Faults, Place};
pub use report::{Totals, smallest_failing};

use crate::generate::Generator;
use engines::{Host, Medium, Slot};
use log::{Ask, Happened, Log};
use shipping::Processor;
use work::Work;

/// Requests of the clients in one run, unless said otherwise.
pub const COMMANDS: u32 = 100;

/// How long, without faults, until everything must be answered and shut down.
const LIVELY_SECS: u64 = 60;

/// Which store a run is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// A store in memory that one to three engines share.
    Shared,
    /// A store in memory that one engine at a time has for itself.
    Alone,
    /// The embedded store on a disk at its worst, with one engine at a time.
    Embedded,
}

impl StoreKind {
    /// The store of a seed: every eighth is the embedded one, every second a shared one.
    #[must_use]
    pub const fn of(seed: u64) -> Self {
        match seed % 8 {
            0 => Self::Embedded,
            1 | 3 | 5 | 7 => Self::Shared,
            _ => Self::Alone,
        }
    }
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Run {
    /// The hash of everything that happened.
    pub trace: u64,
    /// Requests that reached an engine.
    pub commands: u64,
    /// Virtual time from the start to the end.
    pub length: Duration,
    /// How often each fault happened.
    pub counts: Counts,
    /// What was found wrong, or nothing.
    pub verdict: Result<(), String>,
}

/// Everything the tasks of a run share.
struct World {
    sim: Sim,
    faults: Faults,
    log: Log,
    slots: Vec<Arc<Slot>>,
    orgs: Vec<OrgId>,
    generator: Mutex<Generator>,
    budget: AtomicU32,
    tags: AtomicU64,
    in_flight: AtomicU64,
    processor: Processor,
    /// What one engine does at a time, beside answering.
    works: Vec<Work>,
    /// How long a month is over when it is closed by itself.
    grace_days: i64,
    /// Whether such work is over.
    rests: AtomicBool,
    /// How long a client thinks between two requests at most, in milliseconds.
    think_millis: u64,
    begun: AtomicBool,
    ended: AtomicBool,
}

/// Runs one seed with so many requests of clients.
#[must_use]
pub fn run(seed: u64, kind: StoreKind, commands: u32) -> Run {
    let mut executor = Executor::new(seed);
    let sim = executor.sim();
    let faults = Faults::draw(&sim);
    let (log, verdict) = {
        let folder = tempfile::tempdir_in(fast_folder()).expect("a temporary folder");
        let prepared = Prepared::new(&sim, &faults, seed, kind, commands, folder.path().to_owned());
        let log = prepared.world.log.clone();
        let verdict = catch_unwind(AssertUnwindSafe(|| prepared.run(&mut executor)));
        // Tasks hold stores; they end before the folder does.
        drop(executor);
        (log, verdict.unwrap_or_else(|panic| Err(panic_text(panic.as_ref()))))
    };
    let commands = log.happened().attempts.len() + log.happened().system.len();
    Run {
        trace: sim.trace_hash(),
        commands: u64::try_from(commands).unwrap_or(u64::MAX),
        length: sim.now(),
        counts: faults.counts(),
        verdict,
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    format!("panicked: {}", text.unwrap_or_default())
}

/// A folder in memory where there is one: the tables are real files.
fn fast_folder() -> std::path::PathBuf {
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

/// The value of a future that does not wait.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("a store outside the simulation does not wait"),
    }
}

/// A run before its first step.
struct Prepared {
    world: Arc<World>,
    host: Host,
    clients: usize,
    catalog: String,
    all_hard: bool,
}

impl Prepared {
    fn new(
        sim: &Sim,
        faults: &Faults,
        seed: u64,
        kind: StoreKind,
        commands: u32,
        folder: std::path::PathBuf,
    ) -> Self {
        let mut generator = Generator::new(seed);
        let catalog = generator.catalog();
        let (engines, medium) = match kind {
            StoreKind::Shared => (1 + sim.place(3), Medium::Memory { store: Arc::default(), shared: true }),
            StoreKind::Alone => (1, Medium::Memory { store: Arc::default(), shared: false }),
            StoreKind::Embedded => (1, Medium::embedded(sim, folder)),
        };
        let log = Log::new(sim, engines);
        let slots = (0..engines).map(|number| {
            let slot = Arc::new(Slot::new(generator.at()));
            log.clock_set(number, slot.clock.now());
            slot
        });
        let slots: Vec<_> = slots.collect();
        let orgs = (0..=sim.place(3)).map(|number| OrgId::new(&format!("org-{number}")).expect("an id"));
        let few = sim.chance(2_500);
        let options = EngineOptions {
            clock: Clock::manual(generator.at()),
            key_keep_secs: 86_400 * i64::try_from(1 + sim.below(40)).expect("days"),
            queue_requests_max: if few { 1 + sim.place(2) } else { 64 },
            pace: draw_pace(sim, kind),
            holder: 0,
        };
        let world = World {
            sim: sim.clone(),
            faults: faults.clone(),
            log: log.clone(),
            slots,
            orgs: orgs.collect(),
            generator: Mutex::new(generator),
            budget: AtomicU32::new(commands),
            tags: AtomicU64::new(1),
            in_flight: AtomicU64::new(0),
            processor: Processor::default(),
            works: if kind == StoreKind::Embedded { Vec::new() } else { Work::draw(sim) },
            grace_days: [0, 0, 3][sim.place(3)],
            rests: AtomicBool::new(false),
            think_millis: [10, 100, 400][sim.place(3)],
            begun: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        };
        let all_hard = world.generator().all_hard();
        let host = Host { sim: sim.clone(), faults: faults.clone(), log, medium, options };
        Self { world: Arc::new(world), host, clients: 1 + sim.place(6), catalog, all_hard }
    }

    fn run(self, executor: &mut Executor) -> Result<(), String> {
        let (world, host) = (&self.world, &self.host);
        executor.spawn(Arc::clone(world).direct(host.clone(), self.clients, self.catalog.clone()));
        for (number, slot) in world.slots.iter().enumerate() {
            let (world, host, slot) = (Arc::clone(world), host.clone(), Arc::clone(slot));
            executor.spawn(async move {
                // An engine reads the catalog when it starts: all but the first start when there is one.
                while number > 0 && !world.begun.load(Ordering::Relaxed) {
                    world.sim.sleep(Duration::from_millis(20)).await;
                }
                host.keep(slot, world).await;
            });
        }
        executor.spawn(host.clone().trouble_the_disk());
        executor.run()?;
        let happened = world.log.happened();
        if let Some(wrong) = happened.wrong.first() {
            return Err(wrong.clone());
        }
        match &host.medium {
            Medium::Memory { store, .. } => self.judge(store.as_ref(), &happened),
            Medium::Embedded { folder, options, .. } => {
                let store = EmbeddedStore::open(folder, (**options).clone())
                    .map_err(|error| format!("the store does not open in the end: {error}"))?;
                self.judge(&store, &happened)?;
                drop(store);
                let report = EmbeddedStore::verify(folder, options)
                    .map_err(|error| format!("the store cannot be verified: {error}"))?;
                if report.is_clean() { Ok(()) } else { Err(format!("verified: {:#?}", report.differences)) }
            }
        }
    }

    /// Whether what a store holds in the end, and every reply on the way, is right.
    fn judge<S: Store>(&self, store: &S, happened: &Happened) -> Result<(), String> {
        let key_keep_secs = self.host.options.key_keep_secs;
        let found = state::read(store, happened)?;
        check::check(&found, happened, key_keep_secs)?;
        state::check(&found, store, happened, key_keep_secs, self.all_hard)?;
        work::check(&found, happened)?;
        self.world.processor.check(&found)
    }
}

/// Little memory, and images that are soon due: orgs are saved, let go of and opened again all the time; or never. Turns are
/// decided beside the one before.
fn draw_pace(sim: &Sim, kind: StoreKind) -> Pace {
    Pace {
        due_entries: [0, 2, 10, 1_000][sim.place(4)],
        saved_at_once: [1, 1, 2, 5][sim.place(4)],
        unsaved_orgs_max: [0, 1, 2, 100][sim.place(4)],
        resident_parts_max: [0, 8, 40, 1_000][sim.place(4)],
        flight_entries_min: [1, 1, 3, 1_000][sim.place(4)],
        look_ups_after_conflict: if kind == StoreKind::Shared { [0, 0, 1, 64][sim.place(4)] } else { 0 },
    }
}

impl World {
    fn generator(&self) -> MutexGuard<'_, Generator> {
        self.generator.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What happens in a run, from the first catalog to the shutdown.
    async fn direct(self: Arc<Self>, host: Host, clients: usize, catalog: String) {
        self.begin(catalog).await;
        self.faults.set_active(true);
        self.sim.spawn(Arc::clone(&self).move_clocks());
        for _ in 0..clients {
            let world = Arc::clone(&self);
            self.in_flight.fetch_add(1, Ordering::Relaxed);
            self.sim.spawn(async move {
                Arc::clone(&world).client().await;
                world.in_flight.fetch_sub(1, Ordering::Relaxed);
            });
        }
        if !self.settled(Duration::from_secs(3_600)).await {
            self.log.wrong("the clients do not come to an end".to_owned());
            return;
        }
        self.faults.set_active(false);
        host.heal();
        // What was under way when the faults stopped may still come.
        self.sim.sleep(Duration::from_secs(10)).await;
        self.sim.trace("no more faults");
        self.sim.spawn(Arc::clone(&self).let_time_pass());
        self.end(clients).await;
        self.ended.store(true, Ordering::Relaxed);
    }

    /// The first engine brings the catalog into force, and the orgs are there.
    async fn begin(self: &Arc<Self>, text: String) {
        while self.slots[0].engine().is_none() && !self.log.is_wrong() {
            self.sim.sleep(Duration::from_millis(20)).await;
        }
        let command = SystemCommand::ApplyCatalog(ApplyCatalog::new(text));
        let answer = self.attempt_system(0, command, None).await;
        if answer != Some(Ok(1)) {
            self.log.wrong(format!("the first catalog is answered {answer:?}"));
        }
        self.begun.store(true, Ordering::Relaxed);
        for org in &self.orgs {
            if self.sim.chance(2_500) {
                continue;
            }
            let put = self.generator().put();
            let set_plan = self.generator().set_plan();
            let commands = [put, set_plan];
            for command in commands {
                self.attempt(0, org.clone(), Ask::Command(Arc::new(command)), None, true).await;
            }
        }
    }

    async fn wait_for_engines(&self) {
        while self.slots.iter().any(|slot| slot.engine().is_none()) && !self.log.is_wrong() {
            self.sim.sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until nothing is in flight; says whether that came in time.
    async fn settled(&self, most: Duration) -> bool {
        let until = self.sim.now() + most;
        while self.in_flight.load(Ordering::Relaxed) > 0 && !self.log.is_wrong() {
            if self.sim.now() > until {
                return false;
            }
            self.sim.sleep(Duration::from_millis(100)).await;
        }
        true
    }

    /// The clocks go their own way: on, to edges of the calendar, back.
    async fn move_clocks(self: Arc<Self>) {
        loop {
            let pause = self.sim.millis(20, 1_200);
            self.sim.sleep(pause).await;
            if !self.faults.active() {
                return;
            }
            let before = self.generator().at();
            self.generator().move_clock();
            let at = self.generator().at();
            self.faults.count(Fault::ClockBack, u64::from(at < before));
            let day = SignedDuration::from_hours(24);
            self.faults.count(Fault::ClockAhead, u64::from(at.duration_since(before) > day));
            self.faults.count(Fault::MonthEnd, u64::from(month_ended(before, at)));
            for (number, slot) in self.slots.iter().enumerate() {
                let skewed = number > 0 && self.faults.fires(Fault::ClockSkew);
                // By so little that the time of an org stands still, or by more.
                let most = if self.sim.chance(5_000) { 8_000 } else { 7_200_000 };
                let ahead = if skewed { self.sim.below(most) } else { 0 };
                let ahead = SignedDuration::from_millis(i64::try_from(ahead).unwrap_or(0));
                slot.clock.set(at + ahead);
                self.log.clock_set(number, slot.clock.now());
            }
        }
    }

    /// In the end clocks go as time does: what is tried again after a while is.
    async fn let_time_pass(self: Arc<Self>) {
        let second = SignedDuration::from_secs(1);
        while !self.ended.load(Ordering::Relaxed) && !self.log.is_wrong() {
            self.sim.sleep(Duration::from_secs(1)).await;
            for (number, slot) in self.slots.iter().enumerate() {
                slot.clock.set(slot.clock.now() + second);
                self.log.clock_set(number, slot.clock.now());
            }
        }
    }

    /// Every engine runs, answers fresh requests and shuts down, in bounded time.
    async fn end(self: &Arc<Self>, clients: usize) {
        let most = Duration::from_secs(LIVELY_SECS);
        if self.sim.within(most, self.wait_for_engines()).await.is_none() {
            self.log.wrong(format!("without faults an engine does not run after {most:?}"));
            return;
        }
        for client in 0..clients.max(self.slots.len()) {
            self.in_flight.fetch_add(1, Ordering::Relaxed);
            self.sim.spawn(Arc::clone(self).last_wishes(client));
        }
        if !self.settled(most).await {
            self.log.wrong(format!("without faults some request is not decided after {most:?}"));
        }
        self.end_all_holds(most).await;
        self.claim_the_rest().await;
        self.ship_the_rest(most).await;
        for slot in &self.slots {
            let Some(engine) = slot.engine() else { continue };
            match self.sim.within(most, engine.shutdown()).await {
                Some(Ok(())) => {}
                Some(Err(error)) => self.log.wrong(format!("an engine does not shut down: {error}")),
                None => self.log.wrong(format!("an engine is not shut down after {most:?}")),
            }
        }
        // The last one out lets go of the store.
        while self.slots.iter().any(|slot| slot.engine().is_some()) {
            self.sim.sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Whether a month ended between two moments: in UTC, or in the zones farthest east or west of it.
fn month_ended(before: Timestamp, at: Timestamp) -> bool {
    let month = |hours: i8, at: Timestamp| {
        let date = Offset::constant(hours).to_datetime(at).date();
        (date.year(), date.month())
    };
    at > before && [-11, 0, 14].into_iter().any(|hours| month(hours, before) != month(hours, at))
}

/// The catalogs in a store, the first is version 1.
type Catalogs = Vec<Arc<Catalog>>;

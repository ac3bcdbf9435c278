//! How fast the embedded store appends: `cargo run --release -p tollgate-backends --example commit_rate -- [USAGES [ORGS]]`.
//!
//! For batches of 1, 64 and 1,000 usages over 10,000 orgs: appends, the part that is not the disk, what it costs to look for
//! a key that is absent and to open its org, and what images cost. With USAGES given, one store is filled with that many in
//! batches of 1,000, then closed, opened, and opened after a crash.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a measurement: it prints, and stops where it cannot go on"
)]

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tollgate_backends::embedded::{EmbeddedOptions, EmbeddedStore};
use tollgate_domain::{
    Actor, Amount, Burn, Counting, Entry, EntryKind, KeyId, MeterId, OrgId, OrgState, Partition, Period,
    Quantity, Source, Standing, Timestamp, UsageKey, UsedEntry, UserId, load_and_apply,
};
use tollgate_storage::{Append, EntryChange, Image, Store};

/// Usages between images.
const IMAGES_STEP: usize = 100_000;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn run<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Decides usages as the engine does, with all orgs in memory.
struct Load {
    rng: Rng,
    orgs: u64,
    states: HashMap<OrgId, OrgState>,
    made: i64,
}

impl Load {
    fn new(orgs: u64) -> Self {
        Self { rng: Rng::with_seed(1), orgs, states: HashMap::new(), made: 0 }
    }

    /// Usages to append, and their keys.
    fn batch(&mut self, size: usize) -> (Vec<Append>, Vec<KeyId>) {
        let mut entries: BTreeMap<OrgId, Vec<EntryChange>> = BTreeMap::new();
        let mut keys = Vec::with_capacity(size);
        for _ in 0..size {
            let org = OrgId::new(&format!("org-{:07}", self.rng.u64(..self.orgs))).expect("an id");
            self.made += 1;
            let kind = self.usage();
            let state = self.states.entry(org.clone()).or_insert_with(|| OrgState::complete(org.clone()));
            let entry = Entry {
                number: state.version() + 1,
                at: Timestamp::from_millisecond(1_793_491_200_000 + self.made / 10).expect("a time"),
                actor: Actor::Local,
                catalog: 1,
                kind,
                settled: Vec::new(),
                notices: Vec::new(),
            };
            let Ok(()) = load_and_apply(state, &entry, |_| Ok::<_, Infallible>(None));
            state.forget_facts();
            if let Some((space, key)) = entry.named_key() {
                keys.push(KeyId { org: org.clone(), space, key: key.clone() });
            }
            entries.entry(org).or_default().push(EntryChange::Org(entry));
        }
        let appends = entries.into_iter().map(|(org, entries)| Append {
            partition: Partition::Org(org),
            expected_version: entries.first().map_or(0, |entry| entry.number() - 1),
            entries,
        });
        (appends.collect(), keys)
    }

    /// The images of all orgs that changed.
    fn images(&mut self) -> Arc<[Image]> {
        let changed = self.states.iter_mut().filter(|(_, state)| state.is_changed());
        let image = |(org, state): (&OrgId, &mut OrgState)| Image {
            partition: Partition::Org(org.clone()),
            version: state.version(),
            records: state.take_changed(),
        };
        changed.map(image).collect()
    }

    fn usage(&mut self) -> EntryKind {
        let whole = Amount::from_whole;
        EntryKind::Used(Box::new(UsedEntry {
            user: Some(UserId::new(&format!("user-{}", self.rng.u8(..5))).expect("an id")),
            meter: MeterId::new("reports").expect("an id"),
            quantity: Quantity::ONE,
            key: UsageKey::new(&format!("{:032x}", self.rng.u128(..))).expect("an id"),
            fingerprint: self.rng.u64(..),
            occurred_at: None,
            recorded: false,
            properties: BTreeMap::new(),
            burns: [Burn { source: Source::Allowance(24_322), amount: whole(1) }].into(),
            periods: [Period::day(20_758), Period::month(24_322)].into_iter().collect(),
            group: None,
            sink: None,
            counting: Counting::Sum,
            standing: Standing {
                granted: whole(1_000),
                used: whole(1),
                remaining: Some(whole(999)),
                user_used: None,
            },
        }))
    }
}

fn memory(what: &str) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    println!("  {what}: {} {}", line("VmRSS"), line("RssAnon"));
}

fn micros(took: Duration, count: usize) -> f64 {
    took.as_secs_f64() * 1e6 / number(count)
}

fn number(count: usize) -> f64 {
    u32::try_from(count.max(1)).map_or(f64::NAN, f64::from)
}

/// What this thread has had of a processor: on a busy machine the only fair measure.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

fn open(path: &Path) -> EmbeddedStore {
    EmbeddedStore::open(path, EmbeddedOptions::default()).expect("opens")
}

/// Appends batches for some usages, with images now and then; says what it took.
fn measure(store: &EmbeddedStore, load: &mut Load, size: usize, usages: usize) {
    let metrics = store.metrics();
    let synced = metrics.sync_seconds.total();
    let (mut appending, mut worst, mut keeping) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let (mut append_time, mut look_time) = (Duration::ZERO, Duration::ZERO);
    let (mut done, mut imaged) = (0, 0);
    while done < usages {
        let (appends, keys) = load.batch(size);
        let partitions: Vec<_> = appends.iter().map(|append| append.partition.clone()).collect();
        let before = processor_time();
        assert!(run(store.find(&keys)).expect("finds").iter().all(Option::is_none));
        run(store.open(&partitions)).expect("opens");
        let (looked, started) = (processor_time(), Instant::now());
        let appended = run(store.append(appends)).expect("appends");
        let took = started.elapsed();
        look_time += looked.saturating_sub(before);
        append_time += processor_time().saturating_sub(looked);
        appending += took;
        worst = worst.max(took);
        done += size;
        if done - imaged >= IMAGES_STEP.min(usages) {
            let (images, started) = (load.images(), Instant::now());
            run(store.checkpoint(images, appended.position)).expect("keeps images");
            keeping += started.elapsed();
            imaged = done;
        }
    }
    let synced = metrics.sync_seconds.total() - synced;
    println!(
        "batches of {size:>5}: {:>9.0} usages/s in appends; processor per usage {:.2} us appending, {:.2} us looking; per batch {:.0} us of disk; worst {:.1} ms; images {:.2} us per usage",
        number(done) / appending.as_secs_f64(),
        micros(append_time, done),
        micros(look_time, done),
        micros(synced, done / size),
        worst.as_secs_f64() * 1e3,
        micros(keeping, done),
    );
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("a number"));
    let usages = arguments.next();
    let orgs = arguments.next().unwrap_or(10_000);
    let folder = tempfile::tempdir_in(".").expect("a temporary folder");
    let Some(usages) = usages else {
        for (size, usages) in [(1, 20_000), (64, 300_000), (1_000, 1_000_000)] {
            let path = folder.path().join(size.to_string());
            let store = open(&path);
            measure(&store, &mut Load::new(orgs), size, usages);
            run(store.close()).expect("closes");
        }
        return;
    };
    memory("before");
    let mut load = Load::new(orgs);
    let store = open(folder.path());
    memory("open");
    let started = Instant::now();
    for _ in 0..usages.div_ceil(1_000_000) {
        measure(&store, &mut load, 1_000, 1_000_000);
        memory("filled");
    }
    println!("filled in {:?}", started.elapsed());
    let started = Instant::now();
    drop(store);
    println!("dropped (as a crash) in {:?}", started.elapsed());
    let started = Instant::now();
    let store = open(folder.path());
    println!("opened after a crash in {:?}", started.elapsed());
    run(store.close()).expect("closes");
    drop(store);
    let started = Instant::now();
    let store = open(folder.path());
    println!("opened after a close in {:?}", started.elapsed());
    measure(&store, &mut load, 1_000, 100_000);
    memory("end");
}

//! How fast the embedded store commits: `cargo run --release -p tollgate-backends --example commit_rate -- [USAGES [ORGS]]`.
//!
//! For batches of 1, 64 and 1,000 usages over 10,000 orgs: commits, the part that is not the disk, and what a load of
//! the records of a usage costs with its key absent. With USAGES given, one store is filled with that many in batches of
//! 1,000, then closed, opened, and opened after a crash.

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
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tollgate_backends::embedded::{EmbeddedOptions, EmbeddedStore};
use tollgate_domain::{
    Actor, Amount, Burn, Counting, Entry, EntryKind, MeterId, OrgId, OrgState, Partition, Period, Quantity,
    Record, RecordKey, Source, Standing, Timestamp, UsageKey, UsedEntry, UserId, load_and_apply,
};
use tollgate_storage::{Batch, Change, EntryChange, Store};

fn run<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("the embedded store's futures are ready at once"),
    }
}

/// Makes changes as the engine does, and remembers the records that come again.
struct Load {
    rng: Rng,
    orgs: u64,
    known: HashMap<RecordKey, Record>,
    made: i64,
}

impl Load {
    fn batch(&mut self, size: usize) -> (Batch, Vec<RecordKey>) {
        let mut states: BTreeMap<OrgId, OrgState> = BTreeMap::new();
        let mut entries: BTreeMap<OrgId, Vec<EntryChange>> = BTreeMap::new();
        let mut asked = Vec::new();
        for _ in 0..size {
            let org = OrgId::new(&format!("org-{:07}", self.rng.u64(..self.orgs))).expect("an id");
            self.made += 1;
            let mut entry = Entry {
                number: 0,
                at: Timestamp::from_millisecond(1_793_491_200_000 + self.made / 10).expect("a time"),
                actor: Actor::Local,
                catalog: 1,
                kind: self.usage(),
                settled: Vec::new(),
                notices: Vec::new(),
            };
            let known = &self.known;
            let mut find = |key: &RecordKey| {
                asked.push(key.clone());
                Ok::<_, Infallible>(known.get(key).cloned())
            };
            let key = RecordKey::Org(org.clone());
            let Ok(found) = find(&key);
            let state = states.entry(org.clone()).or_insert_with(|| OrgState::of(org.clone(), found));
            entry.number = state.version() + 1;
            let Ok(()) = load_and_apply(state, &entry, find);
            entries.entry(org).or_default().push(EntryChange::Org(entry));
        }
        let mut changed: HashMap<Partition, Vec<(RecordKey, Record)>> = HashMap::new();
        for (key, record) in states.values_mut().flat_map(OrgState::take_changed) {
            if !matches!(key, RecordKey::Key(_)) {
                self.known.insert(key.clone(), record.clone());
            }
            changed.entry(key.partition()).or_default().push((key, record));
        }
        let changes = entries.into_iter().map(|(org, entries)| {
            let first = match entries.first() {
                Some(EntryChange::Org(entry)) => entry.number,
                _ => unreachable!("an org's entry"),
            };
            let partition = Partition::Org(org);
            let records = changed.remove(&partition).expect("records");
            Change { partition, expected_version: first - 1, entries, records }
        });
        (Batch { changes: changes.collect() }, asked)
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
            burns: vec![Burn { source: Source::Allowance(24_322), amount: whole(1) }],
            periods: vec![Period::day(20_758), Period::month(24_322)],
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

/// Commits batches for some usages; says what it took.
fn measure(store: &EmbeddedStore, load: &mut Load, size: usize, usages: usize) {
    let metrics = store.metrics();
    let synced = metrics.sync_seconds.total();
    let (mut committing, mut worst) = (Duration::ZERO, Duration::ZERO);
    let (mut commit_time, mut load_time) = (Duration::ZERO, Duration::ZERO);
    let mut done = 0;
    while done < usages {
        let (batch, asked) = load.batch(size);
        let before = processor_time();
        run(store.load(&asked)).expect("loads");
        let (loaded, started) = (processor_time(), Instant::now());
        run(store.commit(batch)).expect("commits");
        let took = started.elapsed();
        load_time += loaded.saturating_sub(before);
        commit_time += processor_time().saturating_sub(loaded);
        committing += took;
        worst = worst.max(took);
        done += size;
    }
    let synced = metrics.sync_seconds.total() - synced;
    println!(
        "batches of {size:>5}: {:>9.0} usages/s in commits; processor per usage {:.2} us committing, {:.2} us loading; per batch {:.0} us of disk; worst {:.1} ms; fold lag {}",
        number(done) / committing.as_secs_f64(),
        micros(commit_time, done),
        micros(load_time, done),
        micros(synced, done / size),
        worst.as_secs_f64() * 1e3,
        metrics.fold_lag_entries.get(),
    );
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("a number"));
    let usages = arguments.next();
    let orgs = arguments.next().unwrap_or(10_000);
    let folder = tempfile::tempdir_in(".").expect("a temporary folder");
    let load = || Load { rng: Rng::with_seed(1), orgs, known: HashMap::new(), made: 0 };
    let Some(usages) = usages else {
        for (size, usages) in [(1, 20_000), (64, 300_000), (1_000, 1_000_000)] {
            let path = folder.path().join(size.to_string());
            let store = open(&path);
            measure(&store, &mut load(), size, usages);
            run(store.close()).expect("closes");
        }
        return;
    };
    memory("before");
    let mut load = load();
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

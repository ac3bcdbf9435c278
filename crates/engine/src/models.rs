//! Models of the hand-off between callers and the writer: each is run under many schedules by a model checker.
//!
//! The store is the memory store, which lets other threads go on before and after each of its calls.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use tollgate_domain::{
    Actor, Amount, Entry, KeyId, KeyRecord, MeterId, OrgCommand, OrgDecision, OrgId, Partition, PlanId,
    Quantity, Record, RecordKey, SetPlan, SystemCommand, Timestamp, UsageKey, Use,
};
use tollgate_schedules::check;
use tollgate_schedules::shuttle::future::{self, block_on};
use tollgate_schedules::shuttle::rand::{Rng, thread_rng};
use tollgate_schedules::shuttle::sync::atomic::AtomicUsize as Step;
use tollgate_schedules::shuttle::thread;
use tollgate_storage::{
    Append, Appends, Capabilities, Cursor, Image, Loaded, MemoryStore, Opened, Order, Page, Parts, Row, Scan,
    Store, StoreError, StoreErrorKind,
};

use crate::flight::Terms;
use crate::queue::Asked;
use crate::shard::Shard;
use crate::{CatalogInForce, Clock, Engine, EngineError, EngineOptions, Pace};

/// Schedules of each model in the ordinary tests.
const SCHEDULES: usize = 2_000;

/// Room in the queue: less than the callers want.
const QUEUE: usize = 2;

/// The memory store with a step of the checker before and after each call, and what must never happen to a store.
#[derive(Default)]
struct Watched {
    inner: Arc<MemoryStore>,
    step: Step,
    appends: AtomicUsize,
    closed: AtomicUsize,
    /// The append that fails, if one does, and whether it is made all the same.
    fails: Option<(usize, bool)>,
    /// Checkpoints that are still to fail.
    checkpoints_fail: AtomicUsize,
}

impl Watched {
    fn step(&self) {
        self.step.fetch_add(1, Ordering::SeqCst);
    }

    fn entries(&self) -> Vec<Entry> {
        let scan = Scan::Entries { org: org(), order: Order::Oldest };
        let page = block_on(self.inner.scan(&scan, None, 1_000)).expect("it is read");
        let entries = page.rows.into_iter().map(|row| match row {
            Row::Entry(entry) => entry,
            other => panic!("not an entry: {other:?}"),
        });
        entries.collect()
    }

    /// The entry of each key that was counted, by key.
    fn counted(&self) -> BTreeMap<String, u64> {
        let mut counted = BTreeMap::new();
        // The first entry sets the plan.
        for entry in self.entries().iter().skip(1) {
            let key = key_of(entry).to_owned();
            assert_eq!(counted.insert(key.clone(), entry.number), None, "{key} counts once");
        }
        counted
    }
}

impl Store for Watched {
    async fn append(&self, appends: Vec<Append>) -> Result<Appends, StoreError> {
        self.step();
        assert_eq!(self.closed.load(Ordering::SeqCst), 0, "no append after the store was closed");
        let number = self.appends.fetch_add(1, Ordering::SeqCst) + 1;
        match self.fails {
            Some((fails, _)) if number > fails => panic!("an append after a failed one"),
            Some((fails, made)) if number == fails => {
                if made {
                    self.inner.append(appends).await?;
                }
                Err(failed())
            }
            _ => {
                // The next turn may be decided before it is made.
                future::yield_now().await;
                let appended = self.inner.append(appends).await;
                self.step();
                appended
            }
        }
    }

    async fn open(&self, partitions: &[Partition]) -> Result<Vec<Opened>, StoreError> {
        self.step();
        let opened = self.inner.open(partitions).await;
        self.step();
        opened
    }

    async fn versions(&self, partitions: &[Partition]) -> Result<Vec<u64>, StoreError> {
        self.step();
        self.inner.versions(partitions).await
    }

    async fn load(&self, asked: &[Parts]) -> Result<Vec<Loaded>, StoreError> {
        self.step();
        let loaded = self.inner.load(asked).await;
        self.step();
        loaded
    }

    async fn find(&self, keys: &[KeyId]) -> Result<Vec<Option<KeyRecord>>, StoreError> {
        self.step();
        self.inner.find(keys).await
    }

    async fn checkpoint(&self, images: Arc<[Image]>, whole_until: u64) -> Result<(), StoreError> {
        self.step();
        assert_eq!(self.closed.load(Ordering::SeqCst), 0, "no image after the store was closed");
        let take = |left: usize| left.checked_sub(1);
        if self.checkpoints_fail.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok() {
            return Err(failed());
        }
        let kept = self.inner.checkpoint(images, whole_until).await;
        // Others may go on before the writer hears of it.
        let mut waited = false;
        std::future::poll_fn(|context| {
            if std::mem::replace(&mut waited, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        self.step();
        kept
    }

    async fn behind(&self) -> Result<Vec<Partition>, StoreError> {
        self.inner.behind().await
    }

    async fn scan(&self, scan: &Scan, from: Option<&Cursor>, limit: usize) -> Result<Page, StoreError> {
        self.step();
        self.inner.scan(scan, from, limit).await
    }

    async fn claim(&self, lease: &str, holder: u64, time: Duration) -> Result<Option<u64>, StoreError> {
        self.inner.claim(lease, holder, time).await
    }

    fn position(&self) -> u64 {
        self.inner.position()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.step();
        self.closed.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

fn failed() -> StoreError {
    StoreError::new(StoreErrorKind::Io, "as the model wants it")
}

fn org() -> OrgId {
    OrgId::new("acme").expect("an id")
}

fn meter() -> MeterId {
    MeterId::new("reports").expect("an id")
}

fn usage(key: &str) -> OrgCommand {
    OrgCommand::Use(Use {
        user: None,
        path: None,
        meter: meter(),
        quantity: Quantity::ONE,
        key: UsageKey::new(key).expect("an id"),
        occurred_at: None,
        properties: BTreeMap::new(),
    })
}

fn key_of(entry: &Entry) -> &str {
    match &entry.kind {
        tollgate_domain::EntryKind::Used(used) => used.key.as_str(),
        other => panic!("not a usage: {other:?}"),
    }
}

/// A running engine on a store that holds an org with a plan.
fn started(fails: Option<(usize, bool)>) -> Arc<Engine<Watched>> {
    start(Watched { fails, ..Watched::default() })
}

fn start(store: Watched) -> Arc<Engine<Watched>> {
    let store = Arc::new(store);
    let at = Timestamp::from_second(1_793_491_200).expect("a time");
    block_on(async {
        let catalog = CatalogInForce::load(store.inner.as_ref()).await.expect("the default catalog");
        let terms = Terms { catalog: &catalog, key_keep_secs: 86_400, at, new_keys: false };
        let plan = OrgCommand::SetPlan(SetPlan::now(PlanId::new("basic").expect("an id")));
        let asked = Asked { actor: &Actor::Local, org: &org(), command: &plan };
        let mut shard = Shard::new(Arc::clone(&store.inner), Pace::default());
        let turn = shard.decide(terms, &[asked]).await.expect("it is decided");
        shard.send(turn).await;
        shard.arrive().await;
        assert!(shard.arrived().expect("it was sent").is_ok_and(|settled| settled.len() == 1));
        // Saved and let go of after every turn, or not before the end.
        let pace = match thread_rng().gen_bool(0.5) {
            true => Pace {
                due_entries: 0,
                saved_at_once: 1,
                unsaved_orgs_max: 0,
                resident_parts_max: 0,
                flight_entries_min: 1,
                ..Pace::default()
            },
            false => Pace { flight_entries_min: thread_rng().gen_range(1..=2), ..Pace::default() },
        };
        let clock = Clock::manual(at);
        let options = EngineOptions { clock, queue_requests_max: QUEUE, pace, ..EngineOptions::default() };
        Arc::new(Engine::start(store, options).await.expect("it starts"))
    })
}

/// What became of the usages of the callers, by key: the entry that counted it, or why there is none.
type Answers = BTreeMap<String, Result<u64, EngineError>>;

/// Checks an answer against the ledger as it is when the answer arrives.
fn see(engine: &Engine<Watched>, key: &str, decision: &OrgDecision) -> u64 {
    let OrgDecision::Use(Ok(allowed)) = decision else { panic!("{key} is allowed, not {decision:?}") };
    assert!(!allowed.replayed, "{key} was sent once");
    let entries = engine.store().entries();
    let entry = entries.iter().find(|entry| entry.number == allowed.entry);
    let entry = entry.expect("an answer leaves after its append");
    assert_eq!(key_of(entry), key, "an answer reaches its caller");
    allowed.entry
}

/// Sends usages one after the other.
fn call(engine: &Engine<Watched>, keys: &[&str]) -> Answers {
    let answer = |key: &&str| {
        let answer = block_on(engine.submit(&Actor::System, org(), usage(key)));
        ((*key).to_owned(), answer.map(|decision| see(engine, key, &decision)))
    };
    keys.iter().map(answer).collect()
}

/// Sends usages as one batch.
fn call_together(engine: &Engine<Watched>, keys: &[&str]) -> Answers {
    let commands = keys.iter().map(|key| (org(), usage(key))).collect();
    let answered = match block_on(engine.submit_batch(&Actor::System, commands)) {
        Ok(decisions) => {
            assert_eq!(decisions.len(), keys.len(), "an answer each");
            keys.iter().zip(&decisions).map(|(key, decision)| Ok(see(engine, key, decision))).collect()
        }
        Err(error) => vec![Err(error); keys.len()],
    };
    keys.iter().map(|key| (*key).to_owned()).zip(answered).collect()
}

/// Asks the system, which is decided alone, between usages.
fn call_system(engine: &Engine<Watched>) {
    let command = SystemCommand::CreateMeters(Vec::new());
    match block_on(engine.submit_system(&Actor::System, command)) {
        Ok(decision) => assert!(decision.is_ok(), "{decision:?}"),
        Err(error) => assert!(matches!(error, EngineError::Overloaded), "{error}"),
    }
}

/// Runs callers in threads of their own, and gives what they were answered.
fn callers(
    engine: &Arc<Engine<Watched>>,
    single: &'static [&'static [&'static str]],
    together: &'static [&'static str],
) -> impl FnOnce() -> Answers + use<> {
    let mut threads: Vec<_> = single
        .iter()
        .map(|keys| {
            let engine = Arc::clone(engine);
            thread::spawn(move || call(&engine, keys))
        })
        .collect();
    if !together.is_empty() {
        let engine = Arc::clone(engine);
        threads.push(thread::spawn(move || call_together(&engine, together)));
    }
    move || threads.into_iter().flat_map(|thread| thread.join().expect("every call is answered")).collect()
}

/// Counts what the schedules of a model came through: a model that never gets there shows nothing.
#[derive(Clone, Default)]
struct Seen(Arc<AtomicUsize>);

impl Seen {
    fn when(&self, happened: bool) {
        self.0.fetch_add(usize::from(happened), Ordering::Relaxed);
    }

    fn assert_seen(&self, what: &str) {
        assert_ne!(self.0.load(Ordering::Relaxed), 0, "no schedule came to {what}");
    }
}

#[test]
fn every_caller_gets_its_own_answer_after_its_append_and_none_is_lost() {
    let (refused, batched) = (Seen::default(), Seen::default());
    let (see_refused, see_batched) = (refused.clone(), batched.clone());
    check("hand-off", SCHEDULES, move || {
        let engine = started(None);
        let system = {
            let engine = Arc::clone(&engine);
            thread::spawn(move || call_system(&engine))
        };
        let answers = callers(&engine, &[&["a1", "a2"], &["b1", "b2"]], &["c1", "c2", "c3"])();
        system.join().expect("the system is answered");
        block_on(engine.shutdown()).expect("it shuts down");
        let counted = engine.store().counted();
        for (key, answer) in &answers {
            match answer {
                Ok(entry) => assert_eq!(counted.get(key), Some(entry), "{key} is counted as answered"),
                Err(EngineError::Overloaded) => {
                    assert_eq!(counted.get(key), None, "{key} was refused and is not counted");
                }
                Err(other) => panic!("{key}: {other}"),
            }
        }
        assert_eq!(answers.len(), 7, "an answer for each usage");
        see_refused.when(answers.values().any(Result::is_err));
        see_batched.when(engine.store().appends.load(Ordering::SeqCst) < counted.len());
    });
    refused.assert_seen("a full queue");
    batched.assert_seen("an append of several usages");
}

#[test]
fn what_was_accepted_is_answered_at_shutdown_and_then_the_store_is_closed_once() {
    let (accepted, refused) = (Seen::default(), Seen::default());
    let (see_accepted, see_refused) = (accepted.clone(), refused.clone());
    check("shutdown", SCHEDULES, move || {
        let engine = started(None);
        let answered = callers(&engine, &[&["a1", "a2"]], &["c1", "c2", "c3"]);
        let closers = [(); 2].map(|()| {
            let engine = Arc::clone(&engine);
            thread::spawn(move || {
                block_on(engine.shutdown()).expect("it shuts down");
                assert_eq!(engine.store().closed.load(Ordering::SeqCst), 1, "closed when shutdown returns");
            })
        });
        closers.into_iter().for_each(|closer| closer.join().expect("shutdown returns"));
        let answers = answered();
        let late = block_on(engine.submit(&Actor::System, org(), usage("late")));
        assert!(matches!(late, Err(EngineError::ShuttingDown)), "{late:?}");
        let counted = engine.store().counted();
        assert_eq!(counted.get("late"), None);
        for (key, answer) in &answers {
            match answer {
                Ok(entry) => assert_eq!(counted.get(key), Some(entry), "{key} is counted as answered"),
                // Of a batch that is refused in the middle, what came before is counted.
                Err(EngineError::ShuttingDown) if key.starts_with('c') => {}
                Err(EngineError::ShuttingDown | EngineError::Overloaded) => {
                    assert_eq!(counted.get(key), None, "{key} was refused and is not counted");
                }
                Err(other) => panic!("{key}: {other}"),
            }
        }
        see_accepted.when(answers.values().any(Result::is_ok));
        see_refused.when(answers.values().any(Result::is_err));
    });
    accepted.assert_seen("an answer");
    refused.assert_seen("a refusal");
}

#[test]
fn after_a_failed_write_nothing_more_is_written_and_every_caller_is_told() {
    let counted_first = Seen::default();
    let see_counted_first = counted_first.clone();
    check("failed write", SCHEDULES, move || {
        let fails = thread_rng().gen_range(1..=3);
        let engine = started(Some((fails, thread_rng().gen_bool(0.5))));
        // There is a first commit in any case.
        let watcher = (fails == 1).then(|| {
            let engine = Arc::clone(&engine);
            thread::spawn(move || block_on(engine.wait_stopped()))
        });
        let answers = callers(&engine, &[&["a1", "a2"], &["b1", "b2"]], &["c1", "c2", "c3"])();
        let failed = answers.values().any(|answer| matches!(answer, Err(EngineError::Stopped(_))));
        if let Some(watcher) = watcher {
            watcher.join().expect("who waits for the end is told");
        }
        if failed {
            let late = block_on(engine.submit(&Actor::System, org(), usage("late")));
            assert!(matches!(late, Err(EngineError::Stopped(_))), "{late:?}");
        }
        block_on(engine.shutdown()).expect("it shuts down");
        let counted = engine.store().counted();
        for (key, answer) in &answers {
            match answer {
                Ok(entry) => assert_eq!(counted.get(key), Some(entry), "{key} is counted as answered"),
                // The write that failed may have been made.
                Err(EngineError::Stopped(_)) => {}
                Err(EngineError::Overloaded) => assert_eq!(counted.get(key), None, "{key} is not counted"),
                Err(other) => panic!("{key}: {other}"),
            }
        }
        see_counted_first.when(failed && answers.values().any(Result::is_ok));
    });
    counted_first.assert_seen("an answer before the failure");
}

#[test]
fn a_balance_is_that_of_one_version_of_the_org() {
    let told = Seen::default();
    let see_told = told.clone();
    check("balance", SCHEDULES, move || {
        let engine = started(None);
        let answered = callers(&engine, &[&["a1"], &["b1"]], &["c1", "c2"]);
        for _ in 0..2 {
            let (org, balance) = match block_on(engine.balance(&org())) {
                Ok(balance) => balance.expect("there is one"),
                Err(EngineError::Overloaded) => continue,
                Err(other) => panic!("{other}"),
            };
            see_told.when(org.version > 1);
            let (_, reports) = balance.meters.first().expect("a meter");
            let used = i64::try_from(org.version - 1).expect("a count");
            assert_eq!(reports.used, Amount::from_whole(used), "used at version {}", org.version);
        }
        answered();
        block_on(engine.shutdown()).expect("it shuts down");
    });
    told.assert_seen("a balance after a usage");
}

#[test]
fn images_follow_while_usage_goes_on_and_lack_nothing_in_the_end() {
    let (lagged, listed) = (Seen::default(), Seen::default());
    let (see_lagged, see_listed) = (lagged.clone(), listed.clone());
    check("images", SCHEDULES, move || {
        let checkpoints_fail = AtomicUsize::new(thread_rng().gen_range(0..=1));
        let engine = start(Watched { checkpoints_fail, ..Watched::default() });
        let answered = callers(&engine, &[&["a1"], &["b1"]], &["c1", "c2"]);
        let unsent = Scan::Unsent { org: Some(org()) };
        match block_on(engine.scan(&unsent, None, 10)) {
            Ok(_) => see_listed.when(true),
            Err(EngineError::Overloaded | EngineError::Store(_)) => {}
            Err(other) => panic!("{other}"),
        }
        let counted = answered().values().filter(|answer| answer.is_ok()).count();
        see_lagged.when(!block_on(engine.store().inner.behind()).expect("it is read").is_empty());
        block_on(engine.shutdown()).expect("it shuts down");
        let store = &engine.store().inner;
        assert_eq!(block_on(store.behind()).expect("it is read"), [], "no image lacks an entry");
        let opened = block_on(store.open(&[Partition::Org(org())])).expect("it opens");
        let key = RecordKey::Account(org(), meter());
        let image = opened.iter().map(Opened::image).sum();
        let asked = Parts { partition: Partition::Org(org()), image, keys: vec![key] };
        let loaded = block_on(store.load_one(&asked)).expect("it loads");
        let used = match loaded.as_deref() {
            Some([Some(Record::Account(account))]) => {
                let lifetime = account.tally.open().iter().map(|open| open.counter.value).max();
                lifetime.unwrap_or_default()
            }
            _ => Amount::ZERO,
        };
        let counted = i64::try_from(counted).expect("a count");
        assert_eq!(used, Amount::from_whole(counted), "the image holds what was counted");
    });
    lagged.assert_seen("an image that lags behind");
    listed.assert_seen("a list");
}

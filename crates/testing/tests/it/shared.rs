//! Engines on one shared store: they race for the last credits while answers are lost, and work on while servers are killed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tollgate_domain::{
    Actor, Denial, EntryKind, MeterId, OrgCommand, OrgDecision, OrgId, PlanId, PutOrg, Quantity, SetPlan,
    UsageKey, Use,
};
use tollgate_engine::{Clock, Engine, EngineError, EngineOptions};
use tollgate_peers::Proxy;
use tollgate_storage::{Order, Row, Scan, Store};

/// Reports that the plan of the raced orgs includes.
const CREDITS: usize = 20;

/// Clients of a race: most of them must be refused.
const CLIENTS: usize = 64;

/// Environment variables that ask for more than a test run has time for.
const ROUNDS_VARIABLE: &str = "TOLLGATE_ROUNDS";

/// Rounds of a race, and kills, unless more are asked for.
const ROUNDS: u64 = 4;

pub(crate) fn rounds() -> u64 {
    std::env::var(ROUNDS_VARIABLE).map_or(ROUNDS, |text| text.parse().expect("a whole number"))
}

/// Some engines, each on a store object of its own, by way of proxies of its own.
pub(crate) struct Replicas<S> {
    runtime: Runtime,
    engines: Vec<Arc<Engine<S>>>,
    proxies: Vec<Proxy>,
}

impl<S: Store> Replicas<S> {
    /// Starts one on each of some store objects.
    pub(crate) fn start(opened: impl IntoIterator<Item = (S, Vec<Proxy>)>) -> Self {
        Self::start_by(opened, std::slice::from_ref(&Clock::System))
    }

    /// The same by clocks, that of each engine or one for all.
    pub(crate) fn start_by(opened: impl IntoIterator<Item = (S, Vec<Proxy>)>, clocks: &[Clock]) -> Self {
        let options = |clock: &Clock| EngineOptions { clock: clock.clone(), ..EngineOptions::default() };
        Self::start_with(opened, &clocks.iter().map(options).collect::<Vec<_>>())
    }

    /// The same with options, those of each engine or one for all.
    pub(crate) fn start_with(
        opened: impl IntoIterator<Item = (S, Vec<Proxy>)>,
        options: &[EngineOptions],
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (mut engines, mut proxies) = (Vec::new(), Vec::new());
        for ((store, before), options) in opened.into_iter().zip(options.iter().cycle()) {
            let engine = runtime.block_on(Engine::start(Arc::new(store), options.clone()));
            engines.push(Arc::new(engine.expect("an engine starts")));
            proxies.extend(before);
        }
        Self { runtime, engines, proxies }
    }

    /// Has proxies lose some of the answers and requests, each proxy others; zero is none.
    pub(crate) fn lose(&self, answers: u64, requests: u64) {
        for (place, proxy) in (0_u64..).zip(&self.proxies) {
            let one_in = |count: u64| if count == 0 { 0 } else { count + place };
            proxy.lose_answers(one_in(answers));
            proxy.lose_requests(one_in(requests));
        }
    }

    pub(crate) fn engines(&self) -> &[Arc<Engine<S>>] {
        &self.engines
    }

    pub(crate) fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.runtime.spawn(future)
    }

    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// An org with a plan of [`CREDITS`] reports.
    pub(crate) fn customer(&self, name: &str) -> OrgId {
        let org = OrgId::new(name).expect("an id");
        let put = OrgCommand::Put(PutOrg { name: None, zone: None, metadata: None });
        let plan = OrgCommand::SetPlan(SetPlan::now(PlanId::new("lite").expect("an id")));
        for command in [put, plan] {
            let decided = self.engines[0].submit(&Actor::Local, org.clone(), command);
            let decided = self.runtime.block_on(decided).expect("a decision");
            assert!(matches!(decided, OrgDecision::Change(Ok(_))), "{decided:?}");
        }
        org
    }

    /// The keys of the usages in an org's ledger, each with how often it is there, and the number of its latest entry.
    pub(crate) fn ledger(&self, org: &OrgId) -> (BTreeMap<String, usize>, u64) {
        let (mut keys, mut cursor, mut latest) = (BTreeMap::new(), None, 0);
        let scan = Scan::Entries { org: org.clone(), order: Order::Oldest };
        loop {
            let page = self.engines[0].scan(&scan, cursor.as_ref(), 1_000);
            let page = self.runtime.block_on(page).expect("entries");
            for row in page.rows {
                let Row::Entry(entry) = row else { continue };
                assert_eq!(entry.number, latest + 1, "the ledger has no gap and no double");
                latest = entry.number;
                if let EntryKind::Used(used) = &entry.kind {
                    *keys.entry(used.key.as_str().to_owned()).or_insert(0) += 1;
                }
            }
            cursor = page.next;
            if cursor.is_none() {
                return (keys, latest);
            }
        }
    }

    pub(crate) fn shut_down(self) {
        for engine in &self.engines {
            self.runtime.block_on(engine.shutdown()).expect("shuts down");
        }
    }
}

fn usage(key: &str) -> Use {
    Use {
        user: None,
        path: None,
        meter: MeterId::new("reports").expect("an id"),
        quantity: Quantity::ONE,
        key: UsageKey::new(key).expect("a key"),
        occurred_at: None,
        properties: BTreeMap::new(),
    }
}

/// Sends a command under the same key to one engine after the other until it is decided, as a client would; counts what was
/// lost on the way.
pub(crate) async fn pursue<S: Store>(
    engines: &[Arc<Engine<S>>],
    first: usize,
    org: &OrgId,
    command: OrgCommand,
    lost: &AtomicU64,
) -> OrgDecision {
    for engine in engines.iter().cycle().skip(first) {
        match engine.submit(&Actor::Local, org.clone(), command.clone()).await {
            Ok(decision) => return decision,
            Err(EngineError::Unknown(_)) => drop(lost.fetch_add(1, Ordering::Relaxed)),
            Err(EngineError::Contended | EngineError::Store(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("there is an engine")
}

/// Of the last credits exactly those that are there are used.
pub(crate) fn race<S: Store>(replicas: Replicas<S>) {
    let lost = Arc::new(AtomicU64::new(0));
    for round in 0..rounds() {
        let org = replicas.customer(&format!("raced {round}"));
        replicas.lose(5, 9);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (engines, org) = (replicas.engines.clone(), org.clone());
                let lost = Arc::clone(&lost);
                replicas.runtime.spawn(async move {
                    let key = format!("client {client}");
                    let used = OrgCommand::Use(usage(&key));
                    (key, pursue(&engines, client % engines.len(), &org, used, &lost).await)
                })
            })
            .collect();
        let mut allowed = BTreeSet::new();
        for client in clients {
            let (key, decision) = replicas.runtime.block_on(client).expect("no client failed");
            match decision {
                OrgDecision::Use(Ok(_)) => drop(allowed.insert(key)),
                OrgDecision::Use(Err(denied)) => {
                    assert!(matches!(denied.denial, Denial::OutOfCredit(_)), "{denied:?}");
                }
                other => panic!("{other:?}"),
            }
        }
        replicas.lose(0, 0);
        let (ledger, _) = replicas.ledger(&org);
        assert_eq!(allowed.len(), CREDITS, "round {round}: as many as there were");
        assert!(ledger.values().all(|count| *count == 1), "round {round}: each once: {ledger:?}");
        assert_eq!(
            ledger.into_keys().collect::<BTreeSet<_>>(),
            allowed,
            "round {round}: those that were told"
        );
    }
    let cuts: u64 = replicas.proxies.iter().map(Proxy::cuts).sum();
    println!(
        "{} rounds, {cuts} connections cut, {} outcomes left unknown",
        rounds(),
        lost.load(Ordering::Relaxed)
    );
    assert!(cuts > 3 * rounds(), "connections were cut: {cuts}");
    replicas.shut_down();
}

/// Nothing is lost or counted twice while servers are killed and started again.
pub(crate) fn count_while_killed<S: Store>(replicas: Replicas<S>, mut kill: impl FnMut(u64)) {
    let orgs: Vec<OrgId> = (0..4).map(|number| replicas.customer(&format!("org {number}"))).collect();
    let (done, lost) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let told = Arc::new(Mutex::new(BTreeSet::new()));
    let counted = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..16_usize)
        .map(|client| {
            let (engines, org) = (replicas.engines.clone(), orgs[client % orgs.len()].clone());
            let (done, lost, told) = (Arc::clone(&done), Arc::clone(&lost), Arc::clone(&told));
            let counted = Arc::clone(&counted);
            replicas.runtime.spawn(async move {
                for number in 0_u64.. {
                    if done.load(Ordering::Acquire) {
                        break;
                    }
                    let key = format!("{client} {number}");
                    let record = OrgCommand::Record(usage(&key));
                    let decision = pursue(&engines, client % 2, &org, record, &lost).await;
                    assert!(matches!(decision, OrgDecision::Record(Ok(_))), "{decision:?}");
                    told.lock().unwrap_or_else(PoisonError::into_inner).insert((org.clone(), key));
                    counted.fetch_add(1, Ordering::AcqRel);
                }
            })
        })
        .collect();
    for round in 0..rounds() {
        // Under way again, then in the middle of it.
        let before = counted.load(Ordering::Acquire);
        replicas.runtime.block_on(async {
            while counted.load(Ordering::Acquire) < before + 200 {
                tokio::task::yield_now().await;
            }
        });
        kill(round);
    }
    done.store(true, Ordering::Release);
    for client in clients {
        replicas.runtime.block_on(client).expect("no client failed");
    }
    let told = std::mem::take(&mut *told.lock().unwrap_or_else(PoisonError::into_inner));
    for org in &orgs {
        let (ledger, latest) = replicas.ledger(org);
        let wanted: BTreeSet<&str> =
            told.iter().filter(|(of, _)| of == org).map(|(_, key)| key.as_str()).collect();
        assert!(ledger.values().all(|count| *count == 1), "{org}: each once");
        assert_eq!(
            ledger.keys().map(String::as_str).collect::<BTreeSet<_>>(),
            wanted,
            "{org}: all, and no others"
        );
        let balance = replicas.runtime.block_on(replicas.engines[1].balance(org)).expect("a balance");
        assert_eq!(balance.expect("the org").0.version, latest);
    }
    println!(
        "{} kills, {} usages, {} outcomes left unknown",
        rounds(),
        told.len(),
        lost.load(Ordering::Relaxed)
    );
    replicas.shut_down();
}

//! Lists on a store of several processes, beside the gate.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tollgate_domain::{
    Actor, KeyId, KeyRecord, MeterId, OrgCommand, OrgDecision, OrgId, Partition, PlanId, Quantity, SetPlan,
    UsageKey, Use,
};
use tollgate_engine::{Engine, EngineOptions};
use tollgate_storage::{
    Append, Appends, Capabilities, Cursor, Image, Loaded, MemoryStore, Opened, Page, Parts, Row, Scan, Store,
    StoreError,
};

/// More than are saved together.
const ORGS: usize = 100;

/// A shared store that keeps images once it may, or answers what is behind.
struct Held {
    store: Arc<MemoryStore>,
    images: Arc<Semaphore>,
    behind: Arc<Semaphore>,
}

async fn wait(gate: &Semaphore) {
    drop(gate.acquire().await.expect("nobody closes it"));
}

impl Store for Held {
    async fn append(&self, appends: Vec<Append>) -> Result<Appends, StoreError> {
        self.store.append(appends).await
    }

    async fn open(&self, partitions: &[Partition]) -> Result<Vec<Opened>, StoreError> {
        self.store.open(partitions).await
    }

    async fn versions(&self, partitions: &[Partition]) -> Result<Vec<u64>, StoreError> {
        self.store.versions(partitions).await
    }

    async fn load(&self, asked: &[Parts]) -> Result<Vec<Loaded>, StoreError> {
        self.store.load(asked).await
    }

    async fn find(&self, keys: &[KeyId]) -> Result<Vec<Option<KeyRecord>>, StoreError> {
        self.store.find(keys).await
    }

    async fn checkpoint(&self, images: Arc<[Image]>, whole_until: u64) -> Result<(), StoreError> {
        wait(&self.images).await;
        self.store.checkpoint(images, whole_until).await
    }

    async fn behind(&self) -> Result<Vec<Partition>, StoreError> {
        wait(&self.behind).await;
        self.store.behind().await
    }

    async fn scan(&self, scan: &Scan, from: Option<&Cursor>, limit: usize) -> Result<Page, StoreError> {
        self.store.scan(scan, from, limit).await
    }

    async fn claim(&self, lease: &str, holder: u64, time: Duration) -> Result<Option<u64>, StoreError> {
        self.store.claim(lease, holder, time).await
    }

    fn position(&self) -> u64 {
        self.store.position()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { shared: true, ..self.store.capabilities() }
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.store.close().await
    }
}

fn org(number: usize) -> OrgId {
    OrgId::new(&format!("org-{number:03}")).expect("an id")
}

fn plan() -> OrgCommand {
    OrgCommand::SetPlan(SetPlan::now(PlanId::new("basic").expect("an id")))
}

fn usage(key: &str) -> OrgCommand {
    OrgCommand::Use(Use {
        user: None,
        path: None,
        meter: MeterId::new("reports").expect("an id"),
        quantity: Quantity::ONE,
        key: UsageKey::new(key).expect("an id"),
        occurred_at: None,
        properties: std::collections::BTreeMap::new(),
    })
}

async fn used<S: Store>(engine: &Engine<S>, number: usize, key: &str) {
    let decided = engine.submit(&Actor::Local, org(number), usage(key)).await;
    assert!(matches!(decided, Ok(OrgDecision::Use(Ok(_)))), "{decided:?}");
}

#[tokio::test]
async fn a_list_on_a_shared_store_holds_up_no_decision_and_shows_what_all_servers_did() {
    let memory = Arc::new(MemoryStore::new());
    let gate = |permits| Arc::new(Semaphore::new(permits));
    let (images, behind) = (gate(1), gate(1));
    let start = async |images: &Arc<Semaphore>, behind: &Arc<Semaphore>| {
        let (images, behind) = (Arc::clone(images), Arc::clone(behind));
        let store = Held { store: Arc::clone(&memory), images, behind };
        Arc::new(Engine::start(Arc::new(store), EngineOptions::default()).await.expect("starts"))
    };
    let (engine, other) = (start(&images, &behind).await, start(&gate(0), &gate(1)).await);
    // The images of another server are on their way for as long as this lasts. Of its orgs this one has half in memory, as they were.
    for number in 0..ORGS {
        other.submit(&Actor::Local, org(number), plan()).await.expect("a plan");
        if number % 2 == 0 {
            used(&engine, number, "first").await;
            used(&other, number, "second").await;
        }
    }
    let keep = images.acquire().await.expect("nobody closes it");
    let look = behind.acquire().await.expect("nobody closes it");
    let list = tokio::spawn({
        let engine = Arc::clone(&engine);
        async move { engine.list(&Scan::Orgs, None, 2 * ORGS).await }
    });
    for round in 0..20 {
        used(&engine, round % 2, &format!("while it is looked for what is behind, {round}")).await;
    }
    drop(look);
    for round in 0..20 {
        used(&engine, round % 2, &format!("while images are written, {round}")).await;
    }
    assert!(!list.is_finished(), "it waits for the images");
    drop(keep);
    let rows = list.await.expect("no panic").expect("a list").rows;
    // A plan, and two usages of every other org.
    let shown = |(number, row): (usize, &Row)| match row {
        Row::Org(row) if row.id == org(number) => row.version >= if number % 2 == 0 { 3 } else { 1 },
        _ => false,
    };
    assert!(rows.len() == ORGS && rows.iter().enumerate().all(shown), "{rows:?}");
}

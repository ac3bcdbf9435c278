//! The PostgreSQL store on a real server: the contract's own suite.

mod faults;
mod schema;

use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tollgate_backends::postgres::{PostgresOptions, PostgresStore};
use tollgate_domain::{KeyId, KeyRecord, Partition, Record, RecordKey};
use tollgate_peers::{Bouncer, Postgres};
use tollgate_storage::conformance::Subject;
use tollgate_storage::{Append, Appends, Capabilities, Cursor, Image, Opened, Page, Scan, Store, StoreError};

use crate::support;

/// The server of all tests of this program; each store in it has a schema of its own.
fn server() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    // What outlives a crash of the server is tested elsewhere.
    SERVER.get_or_init(|| Postgres::start(&["fsync=off", "max_connections=300"]).expect("PostgreSQL starts"))
}

fn next_schema() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("store_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn open(schema: &str) -> Result<PostgresStore, StoreError> {
    open_by(&server().url(), schema)
}

fn open_by(url: &str, schema: &str) -> Result<PostgresStore, StoreError> {
    PostgresStore::open(PostgresOptions::from_url(&format!("{url}?schema={schema}")).expect("a URL"))
}

/// A store, and where it keeps what it keeps.
struct InSchema {
    store: PostgresStore,
    schema: String,
}

/// Stores in PostgreSQL, by this way.
struct InPostgres {
    url: String,
}

impl Subject for InPostgres {
    type Store = InSchema;

    fn fresh(&self) -> InSchema {
        let schema = next_schema();
        InSchema { store: open_by(&self.url, &schema).expect("opens"), schema }
    }

    fn reopen(&self, store: InSchema) -> Result<InSchema, StoreError> {
        let InSchema { store, schema } = store;
        drop(store);
        Ok(InSchema { store: open_by(&self.url, &schema)?, schema })
    }

    fn beside(&self, store: &InSchema) -> Result<InSchema, StoreError> {
        Ok(InSchema { store: open_by(&self.url, &store.schema)?, schema: store.schema.clone() })
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        support::run(future)
    }
}

impl Store for InSchema {
    async fn append(&self, appends: Vec<Append>) -> Result<Appends, StoreError> {
        self.store.append(appends).await
    }
    async fn open(&self, partitions: &[Partition]) -> Result<Vec<Opened>, StoreError> {
        Store::open(&self.store, partitions).await
    }
    async fn versions(&self, partitions: &[Partition]) -> Result<Vec<u64>, StoreError> {
        self.store.versions(partitions).await
    }
    async fn load(
        &self,
        partition: &Partition,
        image: u64,
        keys: &[RecordKey],
    ) -> Result<Option<Vec<Option<Record>>>, StoreError> {
        self.store.load(partition, image, keys).await
    }
    async fn find(&self, keys: &[KeyId]) -> Result<Vec<Option<KeyRecord>>, StoreError> {
        self.store.find(keys).await
    }
    async fn checkpoint(&self, images: std::sync::Arc<[Image]>, whole_until: u64) -> Result<(), StoreError> {
        self.store.checkpoint(images, whole_until).await
    }
    async fn behind(&self) -> Result<Vec<Partition>, StoreError> {
        self.store.behind().await
    }
    async fn scan(&self, scan: &Scan, from: Option<&Cursor>, limit: usize) -> Result<Page, StoreError> {
        self.store.scan(scan, from, limit).await
    }
    fn position(&self) -> u64 {
        self.store.position()
    }
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
    async fn close(&self) -> Result<(), StoreError> {
        self.store.close().await
    }
}

#[test]
fn the_contract_is_kept_by_postgres() {
    tollgate_storage::conformance::run(&InPostgres { url: server().url() });
}

/// Statements of one process go to any of three sessions, and those of many to the same.
#[test]
fn the_contract_is_kept_behind_pgbouncer_in_transaction_mode() {
    let bouncer = Bouncer::start(server()).expect("pgbouncer starts");
    let subject = InPostgres { url: bouncer.url(server()) };
    tollgate_storage::conformance::run_where(&subject, |case| !case.starts_with("random"));
}

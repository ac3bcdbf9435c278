//! The PostgreSQL store on a real server: the contract's own suite.

mod faults;
mod schema;

use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tollgate_backends::postgres::{PostgresOptions, PostgresStore};
use tollgate_peers::{Bouncer, Postgres};
use tollgate_storage::StoreError;
use tollgate_storage::conformance::Subject;

use crate::support::{self, With};

/// The server of all tests of this program; each store in it has a schema of its own.
pub(crate) fn server() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    // What outlives a crash of the server is tested elsewhere.
    SERVER.get_or_init(|| Postgres::start(&["fsync=off", "max_connections=300"]).expect("PostgreSQL starts"))
}

pub(crate) fn next_schema() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("store_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn open(schema: &str) -> Result<PostgresStore, StoreError> {
    open_by(&server().url(), schema)
}

fn open_by(url: &str, schema: &str) -> Result<PostgresStore, StoreError> {
    PostgresStore::open(PostgresOptions::from_url(&format!("{url}?schema={schema}")).expect("a URL"))
}

/// A store and the schema that it is in.
type InSchema = With<PostgresStore, String>;

/// Stores in PostgreSQL, by this way.
struct InPostgres {
    url: String,
}

impl Subject for InPostgres {
    type Store = InSchema;

    fn fresh(&self) -> InSchema {
        let schema = next_schema();
        With { store: open_by(&self.url, &schema).expect("opens"), what: schema }
    }

    fn reopen(&self, store: InSchema) -> Result<InSchema, StoreError> {
        let With { store, what: schema } = store;
        drop(store);
        Ok(With { store: open_by(&self.url, &schema)?, what: schema })
    }

    fn beside(&self, store: &InSchema) -> Result<InSchema, StoreError> {
        Ok(With { store: open_by(&self.url, &store.what)?, what: store.what.clone() })
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        support::run(future)
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

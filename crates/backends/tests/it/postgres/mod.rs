//! The PostgreSQL store on a real server: the contract's own suite.

mod faults;
mod schema;
mod versions;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tollgate_backends::postgres::{PostgresOptions, PostgresStore};
use tollgate_peers::{Bouncer, Postgres};
use tollgate_storage::StoreError;

use crate::shared;
use crate::support::{Named, is_quick};

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

/// Stores in PostgreSQL, by this way.
fn by(url: String) -> Named<impl Fn(&str) -> Result<PostgresStore, StoreError> + Sync> {
    Named { next: next_schema, open: move |schema: &str| open_by(&url, schema) }
}

#[test]
fn the_contract_is_kept_by_postgres() {
    // The newest version runs the random history.
    tollgate_storage::conformance::run_where(&by(server().url()), is_quick);
}

/// Statements of one process go to any of three sessions, and those of many to the same.
#[test]
fn the_contract_is_kept_behind_pgbouncer_in_transaction_mode() {
    let bouncer = Bouncer::start(server()).expect("pgbouncer starts");
    let stores = by(bouncer.url(server()));
    tollgate_storage::conformance::run_where(&stores, is_quick);
}

#[test]
fn a_call_of_many_orgs_is_made_for_each_by_itself_and_a_larger_one_is_refused() {
    let store = open(&next_schema()).expect("opens");
    shared::a_call_of_many_orgs_is_made_for_each_by_itself_and_a_larger_one_is_refused(&store);
}

//! The MongoDB store on a real replica set: the contract's own suite, and what it makes of faults.

mod faults;

use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tollgate_backends::mongo::{MongoOptions, MongoStore};
use tollgate_peers::Mongo;
use tollgate_storage::StoreError;
use tollgate_storage::conformance::Subject;

use crate::support::{self, With};

/// The server of all tests of this program; each store in it has a database of its own.
fn server() -> &'static Mongo {
    static SERVER: OnceLock<Mongo> = OnceLock::new();
    SERVER.get_or_init(|| Mongo::start(1).expect("MongoDB starts"))
}

fn next_database() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("store_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn open(database: &str) -> Result<MongoStore, StoreError> {
    open_by(&server().url(database))
}

fn open_by(url: &str) -> Result<MongoStore, StoreError> {
    MongoStore::open(MongoOptions::from_url(url).expect("a URL"))
}

/// A store and the database that it is in.
type InDatabase = With<MongoStore, String>;

/// Stores in MongoDB.
struct InMongo;

impl Subject for InMongo {
    type Store = InDatabase;

    fn fresh(&self) -> InDatabase {
        let database = next_database();
        With { store: open(&database).expect("opens"), what: database }
    }

    fn reopen(&self, store: InDatabase) -> Result<InDatabase, StoreError> {
        let With { store, what: database } = store;
        drop(store);
        Ok(With { store: open(&database)?, what: database })
    }

    fn beside(&self, store: &InDatabase) -> Result<InDatabase, StoreError> {
        Ok(With { store: open(&store.what)?, what: store.what.clone() })
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        support::run(future)
    }
}

/// Asks for what a test run has no time for.
const ROUNDS_VARIABLE: &str = "TOLLGATE_ROUNDS";

/// The random history of thousands of steps runs where rounds are asked for.
#[test]
fn the_contract_is_kept_by_mongodb() {
    let is_long = std::env::var_os(ROUNDS_VARIABLE).is_some();
    tollgate_storage::conformance::run_where(&InMongo, |case| is_long || !case.starts_with("random"));
}

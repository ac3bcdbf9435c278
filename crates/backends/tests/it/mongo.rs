//! The MongoDB store on a real replica set: the contract's own suite, and what it makes of faults.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tollgate_backends::mongo::{MongoOptions, MongoStore};
use tollgate_peers::Mongo;
use tollgate_storage::StoreError;

use crate::packs::{Packs, faults};
use crate::support::{Named, is_quick};

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

/// Stores in it, and what they make of faults.
fn packs() -> Packs<MongoStore> {
    Packs {
        port: server().port(),
        next: next_database,
        url: |port, database| {
            port.map_or_else(|| server().url(database), |port| server().url_by(port, database))
        },
        open: open_by,
        nobody: "mongodb://ann:hush@127.0.0.1:1/d?patience=1",
    }
}

faults!(packs());

#[test]
fn a_turn_over_an_org_in_memory_reads_nothing() {
    packs().a_turn_over_an_org_in_memory_reads_nothing(|_, database| {
        server().reads(&format!("{database}.tollgate")).expect("it counts")
    });
}

/// Asks for what a test run has no time for.
const ROUNDS_VARIABLE: &str = "TOLLGATE_ROUNDS";

/// The random history of thousands of steps runs where rounds are asked for.
#[test]
fn the_contract_is_kept_by_mongodb() {
    let stores = Named { next: next_database, open };
    let is_long = std::env::var_os(ROUNDS_VARIABLE).is_some();
    tollgate_storage::conformance::run_where(&stores, |case| is_long || is_quick(case));
}

//! The DynamoDB store on a real server: the contract's own suite, what it costs, and what it makes of faults.

mod units;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tollgate_backends::dynamo::{DynamoOptions, DynamoStore};
use tollgate_peers::Dynamo;
use tollgate_storage::StoreError;

use crate::packs::{Packs, faults};
use crate::support::{Named, is_quick};

/// The server of all tests of this program; each store in it has a table of its own.
fn server() -> &'static Dynamo {
    static SERVER: OnceLock<Dynamo> = OnceLock::new();
    SERVER.get_or_init(|| Dynamo::start().expect("DynamoDB Local starts"))
}

fn next_table() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("store_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn open(table: &str) -> Result<DynamoStore, StoreError> {
    open_by(&server().url(table))
}

fn open_by(url: &str) -> Result<DynamoStore, StoreError> {
    DynamoStore::open(DynamoOptions::from_url(url).expect("a URL"))
}

/// Stores in it, and what they make of faults.
fn packs() -> Packs<DynamoStore> {
    Packs {
        port: server().port(),
        next: next_table,
        url: |port, table| port.map_or_else(|| server().url(table), |port| server().url_by(port, table)),
        open: open_by,
        nobody: "dynamodb://key:hush@table?region=us-east-1&endpoint=http://127.0.0.1:1&patience=1",
    }
}

faults!(packs());

#[test]
fn a_turn_over_an_org_in_memory_reads_nothing() {
    packs().a_turn_over_an_org_in_memory_reads_nothing(|store, _| store.consumed().read_units);
}

/// Asks for what a test run has no time for.
const ROUNDS_VARIABLE: &str = "TOLLGATE_ROUNDS";

/// Cases that take this server minutes run where rounds are asked for: a full call, which is one of 10,000 orgs, and has a smaller
/// one in `faults.rs`; and the random history of thousands of steps.
#[test]
fn the_contract_is_kept_by_dynamodb() {
    let stores = Named { next: next_table, open };
    let is_long = std::env::var_os(ROUNDS_VARIABLE).is_some();
    let takes_minutes = |case: &str| case.contains("full_calls") || !is_quick(case);
    tollgate_storage::conformance::run_where(&stores, |case| is_long || !takes_minutes(case));
}

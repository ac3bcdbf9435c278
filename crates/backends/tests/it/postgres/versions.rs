//! The store on the other major versions of PostgreSQL than the system's.

use tollgate_peers::Postgres;

use super::{by, faults};
use crate::support::is_quick;

/// The contract's suite, all of it or without its random histories, and what becomes of calls that are cut in the middle.
fn keeps_the_contract(version: u32, is_whole: bool) {
    let server = Postgres::start_version(version, &["fsync=off", "max_connections=100"]);
    let server = server.expect("PostgreSQL starts");
    let number = server.query("SHOW server_version_num").expect("a number");
    assert_eq!(number.parse::<u32>().expect("a number") / 10_000, version);
    tollgate_storage::conformance::run_where(&by(server.url()), |case| is_whole || is_quick(case));
    faults::append_is_made_once(&server);
    faults::late_changes_nothing(&server);
    faults::unknown_is_said(&server);
    faults::no_circle(&server);
    faults::key_is_made_once(&server);
}

#[test]
fn the_contract_is_kept_by_postgres_14() {
    keeps_the_contract(14, false);
}

#[test]
fn the_contract_is_kept_by_postgres_16() {
    keeps_the_contract(16, false);
}

#[test]
fn the_contract_is_kept_by_postgres_17() {
    keeps_the_contract(17, false);
}

#[test]
fn the_contract_is_kept_by_postgres_18() {
    keeps_the_contract(18, true);
}

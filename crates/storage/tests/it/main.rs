//! The reference store keeps the contract, and the suite notices those that do not; the codec keeps its format.
#![expect(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

mod damage;
mod golden;
mod kept;
mod samples;

use std::future::Future;
use std::panic::catch_unwind;

use kept::{Fault, Kept};
use tollgate_storage::conformance::{self, Subject};
use tollgate_storage::{MemoryStore, StoreError};

struct Memory;

impl Subject for Memory {
    type Store = MemoryStore;

    fn fresh(&self) -> MemoryStore {
        MemoryStore::new()
    }

    fn reopen(&self, _: MemoryStore) -> Result<MemoryStore, StoreError> {
        panic!("the memory store is not durable")
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        pollster::block_on(future)
    }
}

#[test]
fn the_memory_store_keeps_the_contract() {
    conformance::run(&Memory);
}

#[test]
fn a_durable_store_keeps_the_contract() {
    let durable = ["durability::", "random::"];
    conformance::run_where(&Kept(Fault::Sound), |name| durable.iter().any(|module| name.starts_with(module)));
}

#[test]
fn a_fault_is_noticed() {
    for (fault, case) in [
        (Fault::SortsAnswers, "basics::answers_come_in_the_order_asked"),
        (Fault::SharesKeySpaces, "basics::every_kind_of_record_comes_back"),
        (Fault::TrimsIds, "basics::ids_are_never_taken_for_one_another"),
        (Fault::CutsTime, "scans::notices_come_as_they_were_committed"),
        (Fault::OrdersNoticesByClock, "scans::notices_come_as_they_were_committed"),
        (Fault::TearsLoads, "concurrency::loads_never_see_half_a_change"),
        (Fault::OverfillsPages, "scans::entries_come_from_either_end"),
        (Fault::GoesOnAtTheEnd, "scans::orgs_come_by_id"),
        (Fault::TakesAnyCursor, "scans::foreign_cursors_are_refused"),
        (Fault::ForgetsCursors, "durability::cursors_outlive_the_process"),
        (Fault::ReadsPastRanges, "scans::org_counters_come_by_period"),
        (Fault::SortsByUtf16, "scans::orgs_come_by_id"),
        (Fault::SortsByUtf16, "scans::tallies_come_by_user"),
        (Fault::StopsAtConflicts, "guards::conflicts_do_not_hold_up_the_others"),
        (Fault::HidesConflicts, "guards::a_wrong_version_leaves_nothing"),
        (Fault::HidesConflicts, "concurrency::one_of_many_writers_wins_each_version"),
        (Fault::TakesTooMuch, "guards::full_batches_fit_and_larger_ones_are_refused_whole"),
        (Fault::LosesLastCommit, "durability::a_crash_keeps_everything"),
        (Fault::LosesTheSystem, "durability::closing_and_reopening_keeps_everything"),
    ] {
        conformance::run_where(&Kept(Fault::Sound), |name| name == case);
        let outcome = catch_unwind(|| conformance::run_where(&Kept(fault), |name| name == case));
        assert!(outcome.is_err(), "{case} does not notice a store that {fault:?}");
    }
}

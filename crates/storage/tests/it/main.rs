//! The reference store keeps the contract, and the suite notices those that do not; the codec keeps its format.
#![expect(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

mod damage;
mod fault;
mod golden;
mod kept;
mod samples;
mod spoil;

use std::collections::BTreeSet;
use std::future::Future;
use std::panic::catch_unwind;

use fault::Fault;
use kept::Kept;
use tollgate_domain::{OrgId, Partition, Record};
use tollgate_storage::conformance::{self, Subject, append_using, image_after};
use tollgate_storage::{MemoryStore, StoreError, check};

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
    let wanted = |name: &str| durable.iter().any(|module| name.starts_with(module));
    conformance::run_where(&Kept::durable(Fault::Sound), wanted);
}

#[test]
fn a_shared_store_keeps_the_contract() {
    conformance::run(&Kept::shared(Fault::Sound));
}

/// What the suite asks of a store is no more than the contract promises.
#[test]
fn a_store_that_finds_keys_as_of_what_it_saw_keeps_the_contract() {
    conformance::run(&Kept::shared(Fault::FindsAsOfWhatWasSeen));
}

/// How often a race is run until its threads meet.
const RACES_MAX: u32 = 50;

#[test]
fn a_fault_is_noticed() {
    let mut passed = BTreeSet::new();
    for (fault, case) in fault::NOTICED {
        if passed.insert((case, fault.is_of_shared())) {
            conformance::run_where(&Kept::of(Fault::Sound, fault), |name| name == case);
        }
        let notices =
            || catch_unwind(|| conformance::run_where(&Kept::of(fault, fault), |name| name == case)).is_err();
        // Whether threads meet is up to the machine: on a busy one each may run to its end alone.
        let tries = if case.starts_with("concurrency::") { RACES_MAX } else { 1 };
        assert!((0..tries).any(|_| notices()), "{case} does not notice a store that {fault:?}");
    }
}

#[test]
fn appends_and_images_can_be_made_for_other_tests() {
    let acme = OrgId::new("acme").expect("an id");
    let appends = [append_using(&acme, 1, 0, ["a", "b"]), append_using(&acme, 2, 2, ["c"])];
    check::check_appends(&appends[1..], 1, 1).expect("a sound append");
    let image = image_after(&appends);
    check::check_image(&image);
    assert_eq!((&image.partition, image.version), (&Partition::Org(acme), 3));
    let kinds: Vec<bool> = image.records.iter().map(|(_, record)| matches!(record, Record::Org(_))).collect();
    assert_eq!(kinds, [true, false, false], "the org, its account, the tally of its user");
}

//! The reference store keeps the contract.

use std::future::Future;

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

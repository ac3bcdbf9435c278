//! The store of many processes in one DynamoDB table: a [store of packs](crate::packs), whose table is one of DynamoDB.
//!
//! A commit is one `PutItem` with the condition that nothing is in its place, of as many write units as the packed entries have
//! kilobytes. Reads are consistent. What expires does so by the table's time to live. There are no transactions, streams or
//! secondary indexes, and no item for each key.
//!
//! Requests go out once: the SDK's own retries are off, for they would hide what an attempt may have done.
//!
//! Start reading at [`DynamoStore`].

mod error;
mod options;
mod table;

use std::sync::Arc;

use tollgate_domain::{KeyId, KeyRecord, Partition, Record, RecordKey};
use tollgate_storage::{Append, Appends, Capabilities, Cursor, Image, Opened, Page, Scan, Store, StoreError};

pub use options::DynamoOptions;

use crate::packs::{Keeping, Opening, PackStore};

/// The store in a DynamoDB table. Dropping it is like a crash: nothing appended is lost.
#[derive(Debug)]
pub struct DynamoStore {
    packs: PackStore<table::DynamoTable>,
}

/// Units that requests consumed, as their answers say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Consumed {
    /// Each of a consistent read of up to 4 KB.
    pub read_units: f64,
    /// Each of a write of up to 1 KB.
    pub write_units: f64,
}

impl DynamoStore {
    /// Opens the store in a table, making that if need be.
    ///
    /// # Errors
    /// Unavailable when DynamoDB cannot be reached or does not let us in; Format when the table is not as it must be, or is not there and is
    /// not to be made.
    pub fn open(options: DynamoOptions) -> Result<Self, StoreError> {
        let keeping = Keeping { key_secs: options.key_keep_secs, counter_secs: options.counter_keep_secs };
        let opening = Opening { keeping, patience: options.patience, migrate: options.migrate };
        let packs = PackStore::open(opening, table::DynamoTable::connect(options))?;
        Ok(Self { packs })
    }

    /// What was consumed so far.
    #[must_use]
    pub fn consumed(&self) -> Consumed {
        self.packs.table().consumed()
    }
}

impl Store for DynamoStore {
    async fn append(&self, appends: Vec<Append>) -> Result<Appends, StoreError> {
        self.packs.append(appends).await
    }
    async fn open(&self, partitions: &[Partition]) -> Result<Vec<Opened>, StoreError> {
        Store::open(&self.packs, partitions).await
    }
    async fn versions(&self, partitions: &[Partition]) -> Result<Vec<u64>, StoreError> {
        self.packs.versions(partitions).await
    }
    async fn load(
        &self,
        partition: &Partition,
        image: u64,
        keys: &[RecordKey],
    ) -> Result<Option<Vec<Option<Record>>>, StoreError> {
        self.packs.load(partition, image, keys).await
    }
    async fn find(&self, keys: &[KeyId]) -> Result<Vec<Option<KeyRecord>>, StoreError> {
        self.packs.find(keys).await
    }
    async fn checkpoint(&self, images: Arc<[Image]>, whole_until: u64) -> Result<(), StoreError> {
        self.packs.checkpoint(images, whole_until).await
    }
    async fn behind(&self) -> Result<Vec<Partition>, StoreError> {
        self.packs.behind().await
    }
    async fn scan(&self, scan: &Scan, from: Option<&Cursor>, limit: usize) -> Result<Page, StoreError> {
        self.packs.scan(scan, from, limit).await
    }
    fn position(&self) -> u64 {
        self.packs.position()
    }
    fn capabilities(&self) -> Capabilities {
        self.packs.capabilities()
    }
    async fn close(&self) -> Result<(), StoreError> {
        self.packs.close().await
    }
}

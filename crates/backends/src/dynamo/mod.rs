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

use tollgate_storage::StoreError;

pub use options::DynamoOptions;
pub use table::DynamoTable;

use crate::packs::PackStore;

/// The store in a DynamoDB table. Dropping it is like a crash: nothing appended is lost.
pub type DynamoStore = PackStore<DynamoTable>;

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
        Self::start(options.opening, DynamoTable::connect(options))
    }

    /// What was consumed so far.
    #[must_use]
    pub fn consumed(&self) -> Consumed {
        self.table().consumed()
    }
}

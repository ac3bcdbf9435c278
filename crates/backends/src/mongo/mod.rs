//! The store of many processes in one MongoDB: a [store of packs](crate::packs), whose table is a collection.
//!
//! A commit is one document, whose `_id` is the place that the version which it was decided on names: the index of ids lets one
//! process make it. Writes are acknowledged by a majority, in its journals. Ranges, and what is asked for by its place alone, are read
//! linearizably: a primary that the others have given up without its knowing does not answer. Only parts of an image that are got together are
//! read as a majority has them; the version that each carries says whether they belong together. What expires does so by an index. There
//! are no transactions.
//!
//! Commands go out once: the driver's own retries are off, for they would hide what an attempt may have done.
//!
//! Start reading at [`MongoStore`].

mod error;
mod options;
mod table;

use tollgate_storage::StoreError;

pub use options::MongoOptions;
pub use table::MongoTable;

use crate::packs::PackStore;

/// The store in a MongoDB. Dropping it is like a crash: nothing appended is lost.
pub type MongoStore = PackStore<MongoTable>;

impl MongoStore {
    /// Opens the store in a collection, making that if need be.
    ///
    /// # Errors
    /// Unavailable when MongoDB cannot be reached or does not let us in; Format when it is not in a replica set, or the collection is not there
    /// and is not to be made.
    pub fn open(options: MongoOptions) -> Result<Self, StoreError> {
        Self::start(options.opening, MongoTable::connect(options))
    }
}

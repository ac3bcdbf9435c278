//! What holds after any history, whatever was asked: the invariants of ledgers, records and notices.

mod holds;
pub mod ledger;
pub mod notices;
pub mod whatif;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tollgate_domain::{Catalog, Entry, OrgId, Record, RecordKey, SystemEntry};

/// Records by key.
pub type Stored = HashMap<RecordKey, Record, foldhash::fast::RandomState>;

/// Everything that is known after a run.
#[derive(Debug)]
pub struct Books<'a> {
    /// The ledgers of the orgs.
    pub ledgers: &'a BTreeMap<OrgId, Vec<Entry>>,
    /// The ledger of the system.
    pub system: &'a [SystemEntry],
    /// The catalogs by version, the first is version 1.
    pub catalogs: &'a [Arc<Catalog>],
    /// All records but the entries.
    pub records: &'a Stored,
    /// How long keys answer replays.
    pub key_keep_secs: i64,
    /// Whether every allowance is hard.
    pub all_hard: bool,
}

/// Fails with a sentence unless something holds.
#[macro_export]
macro_rules! hold {
    ($condition:expr, $($says:tt)+) => {
        if !$condition {
            return Err(format!($($says)+));
        }
    };
}
pub use crate::hold;

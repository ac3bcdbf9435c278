//! What may be set when the store is opened.

use super::io::Disk;
use super::limits::{COUNTER_KEEP_SECS, KEY_KEEP_SECS, SEGMENT_BYTES_DEFAULT, TABLE_CACHE_BYTES_DEFAULT};

/// Who does the work that is not an append: writing images and facts, preparing segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Work {
    /// Threads of the store.
    #[default]
    Background,
    /// The calls themselves, when it is due: the same calls give the same reads and writes in the same order.
    Inline,
}

/// What may be set when the store is opened.
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// Size of the segments made from now on, in bytes; 4 KiB to 2 GiB, a multiple of 8.
    pub segment_bytes: u64,
    /// Most blocks of the tables kept in memory, in bytes.
    pub table_cache_bytes: u64,
    /// How long keys are kept after their time, in seconds.
    pub key_keep_secs: i64,
    /// How long counters are kept after their period, in seconds.
    pub counter_keep_secs: i64,
    /// Who does the work that is not an append.
    pub work: Work,
    /// Where the segments are. The tables and the lock are always files of the operating system.
    pub disk: Disk,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            table_cache_bytes: TABLE_CACHE_BYTES_DEFAULT,
            key_keep_secs: KEY_KEEP_SECS,
            counter_keep_secs: COUNTER_KEEP_SECS,
            work: Work::Background,
            disk: Disk::Real,
        }
    }
}

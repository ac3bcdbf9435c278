//! Every stated limit of the embedded store, each with its reason.

/// Largest frame in bytes: what one commit may write. Ten thousand usages of a batch need about 2 MiB; a larger one
/// would hold up everybody behind it.
pub(crate) const FRAME_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Default size of a segment file in bytes: half a million usages, zeroed in the background in well under a second.
pub(crate) const SEGMENT_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;

/// Smallest segment in bytes; only tests want segments this small.
pub(crate) const SEGMENT_BYTES_MIN: u64 = 4 * 1024;

/// Largest segment in bytes: offsets inside a segment fit 32 bits.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// Bytes read ahead when a segment is walked.
pub(crate) const WALK_BUFFER_BYTES: usize = 1024 * 1024;

/// How long a commit waits for the next segment or for a fold before it is refused, in seconds.
pub(crate) const WAIT_SECS: u64 = 10;

/// How long until preparing a segment, or a fold, is tried again after it failed, in milliseconds.
pub(crate) const RETRY_MILLIS: u64 = 500;

/// Most segment files kept open: 16 GiB of ledger at the default size, well below what a process may open.
pub(crate) const SEGMENTS_OPEN_MAX: usize = 256;

/// Default bytes of clean records in memory: some 400 thousand orgs, accounts and tallies.
pub(crate) const CACHE_BYTES_DEFAULT: u64 = 256 * 1024 * 1024;

/// Default bytes of table blocks in memory; filters and indexes are held besides.
pub(crate) const TABLE_CACHE_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;

/// Records in memory at which a fold starts: some 50 thousand usages, replayed in well under five seconds.
pub(crate) const OVERLAY_RECORDS_MAX: usize = 256 * 1024;

/// How often a fold starts at least while there is something to fold, in milliseconds. The longer, the more usages of
/// an org share its rows; what is not folded is replayed after a crash, and is in memory until then.
pub(crate) const FOLD_MILLIS: u64 = 2_000;

/// By how much folding and compaction yield to answering, as `nice` counts.
pub(crate) const BACKGROUND_NICENESS: i32 = 5;

/// Bits of the filters in memory for each row: fewer than one in a hundred absent rows is looked for in the tables.
pub(crate) const FILTER_BITS_PER_ROW: u64 = 12;

/// How many times larger than its table a filter is made.
pub(crate) const FILTER_GROWTH: u64 = 2;

/// Rows a filter has room for at least.
pub(crate) const FILTER_ROWS_MIN: u64 = 16 * 1024;

/// Rows read into a filter at a time, between folds: some 20 milliseconds.
pub(crate) const FILTER_STEP_ROWS: usize = 20_000;

/// How long a key is kept after its time, in seconds (35 days): as long as late usage is taken.
pub(crate) const KEY_KEEP_SECS: i64 = 35 * 86_400;

/// How long a counter is kept after its period, in seconds (24 months).
pub(crate) const COUNTER_KEEP_SECS: i64 = 731 * 86_400;

/// Most locations in one row of the index of entries: a row is read whole to find one entry.
pub(crate) const INDEX_ROW_ENTRIES_MAX: usize = 256;

/// Most changes in one batch, as the other stores take.
pub(crate) const CHANGES_MAX: usize = 10_000;

/// Most entries in one batch: at some 300 bytes each they fit a frame.
pub(crate) const ENTRIES_MAX: usize = 20_000;

/// Entries replayed at once: bounds the memory of a replay.
pub(crate) const REPLAY_ENTRIES_MAX: usize = 10_000;

/// How often expired rows are swept from the tables, in seconds of the ledger's own time (7 days).
pub(crate) const SWEEP_SECS: i64 = 7 * 86_400;

/// Bits of filter per row of a table: one absent key in a thousand costs a read; 10 million keys take 18 MiB.
pub(crate) const BLOOM_BITS_PER_KEY: f32 = 14.0;

/// Bytes of the keys' newest rows in memory before they are written out in order.
pub(crate) const KEYS_MEMTABLE_BYTES: u64 = 16 * 1024 * 1024;

/// The same of each other table.
pub(crate) const MEMTABLE_BYTES: u64 = 8 * 1024 * 1024;

/// Bytes of the tables' journal at which the oldest tables are written out.
pub(crate) const JOURNAL_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Most files of the tables kept open.
pub(crate) const TABLES_FILES_OPEN_MAX: usize = 128;

/// Threads that write out and compact tables: one leaves the other cores to the answers.
pub(crate) const TABLES_THREADS: usize = 1;

/// Free bytes below which nothing is folded: what the tables need to write out what they hold in memory. They do not
/// survive a full disk without being reopened, the ledger does.
pub(crate) const FOLD_FREE_BYTES_MIN: u64 = 16 * 1024 * 1024;

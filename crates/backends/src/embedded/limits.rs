//! Every stated limit of the embedded store, each with its reason.

use std::time::Duration;

/// Largest frame in bytes: what one append may write. Ten thousand usages of a batch need about 2 MiB; a larger one
/// would hold up everybody behind it.
pub(crate) const FRAME_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// From how many microseconds an append on, on average, a thread of the store waits for the disk: two switches between
/// threads are a tenth of that.
pub(crate) const SLOW_APPEND_MICROS: u64 = 1_000;

/// From how many entries on a thread of the store appends them: to encode them and note their facts takes as long as the disk.
pub(crate) const MANY_ENTRIES: usize = 256;

/// Default size of a segment file in bytes: half a million usages, zeroed in the background in well under a second.
pub(crate) const SEGMENT_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;

/// Smallest segment in bytes; only tests want segments this small.
pub(crate) const SEGMENT_BYTES_MIN: u64 = 4 * 1024;

/// Largest segment in bytes: offsets inside a segment fit 32 bits.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// Bytes read ahead when a segment is walked.
pub(crate) const WALK_BUFFER_BYTES: usize = 1024 * 1024;

/// Bytes of a large file that are written, and made durable, at once: half a millisecond of a disk.
pub(crate) const PIECE_BYTES: usize = 256 * 1024;

/// How long the disk is left to others between two pieces: a segment of the default size takes half a second.
pub(crate) const PIECE_REST: Duration = Duration::from_millis(2);

/// How long an append waits for the next segment before it is refused, in seconds.
pub(crate) const WAIT_SECS: u64 = 10;

/// How long until preparing a segment, or writing facts, is tried again after it failed, in milliseconds.
pub(crate) const RETRY_MILLIS: u64 = 500;

/// Most segment files kept open: 16 GiB of ledger at the default size, well below what a process may open.
pub(crate) const SEGMENTS_OPEN_MAX: usize = 256;

/// Default bytes of table blocks in memory; filters and indexes are held besides.
pub(crate) const TABLE_CACHE_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;

/// By how much writing tables and facts yields to answering, as `nice` counts.
pub(crate) const BACKGROUND_NICENESS: i32 = 5;

/// How long a key is kept after its time, in seconds (35 days): as long as late usage is taken.
pub(crate) const KEY_KEEP_SECS: i64 = 35 * 86_400;

/// How long a counter is kept after its period, in seconds (24 months).
pub(crate) const COUNTER_KEEP_SECS: i64 = 731 * 86_400;

/// Most appends in one call, as the other stores take.
pub(crate) const APPENDS_MAX: usize = 10_000;

/// Most entries in one call: at some 300 bytes each they fit a frame.
pub(crate) const ENTRIES_MAX: usize = 20_000;

/// Entries replayed at once: bounds the memory of a replay.
pub(crate) const REPLAY_ENTRIES_MAX: usize = 10_000;

/// How often expired rows are swept from the tables, in seconds of the ledger's own time (7 days).
pub(crate) const SWEEP_SECS: i64 = 7 * 86_400;

/// Bits of filter per row of a table: one absent key in a thousand costs a read; 10 million keys take 18 MiB.
pub(crate) const BLOOM_BITS_PER_KEY: f32 = 14.0;

/// Bytes of a table in memory at which it is written out.
pub(crate) const MEMTABLE_BYTES: u64 = 8 * 1024 * 1024;

/// Bytes of the tables' journal at which the oldest tables are written out.
pub(crate) const JOURNAL_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Most files of the tables kept open.
pub(crate) const TABLES_FILES_OPEN_MAX: usize = 128;

/// Threads that write out and compact tables: one leaves the other cores to the answers.
pub(crate) const TABLES_THREADS: usize = 1;

/// How often is looked whether the tables have written out what they held in memory.
pub(crate) const TABLES_FLUSH_LOOK: Duration = Duration::from_millis(10);

/// Free bytes below which no image is kept: what the tables need to write out what they hold in memory. They do not
/// survive a full disk without being reopened, the ledger does.
pub(crate) const CHECKPOINT_FREE_BYTES_MIN: u64 = 16 * 1024 * 1024;

/// Most files of facts kept open: some 128 million keys at the default size of segments.
pub(crate) const FACTS_FILES_OPEN_MAX: usize = 256;

/// Most segments whose facts share filters: each file of a group that may hold a key is looked into.
pub(crate) const FACTS_GROUP_FILES_MAX: usize = 64;

/// Keys that the filter of a group has room for at least.
pub(crate) const FACTS_GROUP_KEYS_MIN: u64 = 4 * 1024;

/// Keys that the filter of a group has room for at most, unless one file has more: 20 MiB.
pub(crate) const FACTS_GROUP_KEYS_MAX: u64 = 8 * 1024 * 1024;

/// Orgs that the filter of a group has room for at least.
pub(crate) const FACTS_GROUP_ORGS_MIN: u64 = 1024;

/// Orgs that the filter of a group has room for at most, unless one file has more: 5 MiB.
pub(crate) const FACTS_GROUP_ORGS_MAX: u64 = 2 * 1024 * 1024;

/// Blocks read into the filters of a group at a time.
pub(crate) const FACTS_FILTER_STEP_BLOCKS: usize = 256;

/// Partitions of late whose versions are remembered, and as many from before: what an append checks; some 16 MiB each.
pub(crate) const VERSIONS_MAX: usize = 250_000;

/// Every how many frames one is remembered as a place up to which images may be whole.
pub(crate) const FRAMES_KNOWN_STEP: u64 = 8;

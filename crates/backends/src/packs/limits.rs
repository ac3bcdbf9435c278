//! Every stated limit of the stores of packs, each with its reason.

use std::time::Duration;

/// Most appends in one call, as the other stores take.
pub(crate) const APPENDS_MAX: usize = 10_000;

/// Most entries in one call, as the other stores take.
pub(crate) const ENTRIES_MAX: usize = 20_000;

/// Most rows of a page of a scan, whatever is asked for: a page is held in memory.
pub(crate) const PAGE_ROWS_MAX: usize = 10_000;

/// Most bytes of a value in one item; longer ones lie in pieces. DynamoDB takes items of 400 KB with all that is in them, and
/// a part of an image has two values while the next image is kept, and one more for each attempt at that which failed.
pub(crate) const PIECE_BYTES: usize = 96 * 1024;

/// Bytes from which on a value is tried to be made smaller.
pub(crate) const DEFLATE_BYTES_MIN: usize = 256;

/// Most bytes that a value may inflate to: far beyond what is ever written.
pub(crate) const INFLATED_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Most items asked for at once; DynamoDB takes no more.
pub(crate) const GET_MAX: usize = 100;

/// Calls to the database that a call of the store has under way at once.
pub(crate) const AT_ONCE: usize = 32;

/// Default for how long a call asks again after failures that pass, or that leave open what became of it: callers of the server wait for 15
/// seconds.
pub(crate) const PATIENCE_DEFAULT: Duration = Duration::from_secs(12);

/// Longest patience in seconds: nobody waits for longer.
pub(crate) const PATIENCE_SECS_MAX: u64 = 300;

/// How long connecting may take.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long an answer may take; what is asked takes milliseconds.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Partitions whose ends are remembered: some megabytes. All are forgotten at once beyond that, and found again by reading.
pub(crate) const ENDS_KEPT: usize = 100_000;

/// How often a partition that is appended to is marked as one whose image lacks entries, and how old a mark must be to be removed
/// when the image lacks none. The time between allows for clocks that differ, and for appends that take long.
pub(crate) const MARK_EVERY: Duration = Duration::from_mins(2);
pub(crate) const MARK_KEPT_SECS: u64 = 600;

/// Entries whose keys lie in one run: with six bytes each it fits into one item, and what is in no run yet is soon read.
pub(crate) const RUN_ENTRIES: u64 = 8_192;

/// Bytes of callers' keys that are kept in memory, of all orgs together. All are forgotten at once beyond that, and read again
/// when they are asked for.
pub(crate) const KEYS_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Most packs with notices that are put in order at once.
pub(crate) const NOTED_MAX: usize = 100;

/// How often a lease is read again because others changed it meanwhile; then they have it.
pub(crate) const CLAIM_ROUNDS_MAX: u32 = 20;

/// How often a page is read again because an image changed meanwhile; then its rows are of both.
pub(crate) const PAGE_AGAIN_MAX: u32 = 20;

//! Every stated limit of the PostgreSQL store, each with its reason.

use std::time::Duration;

/// Most appends in one call, as the other stores take.
pub(crate) const APPENDS_MAX: usize = 10_000;

/// Most entries in one call: some megabytes in one statement.
pub(crate) const ENTRIES_MAX: usize = 20_000;

/// How many appends a statement has at least where a call becomes several beside each other, and how many it may become. A statement
/// keeps one processor of the database busy, some 50 µs for each append.
pub(crate) const STATEMENT_APPENDS_MIN: usize = 24;
pub(crate) const STATEMENTS_MAX: usize = 3;

/// Most rows of a page of a scan, whatever is asked for: a page is held in memory on both sides.
pub(crate) const PAGE_ROWS_MAX: usize = 10_000;

/// Default for the most connections of a process: three for appends, one for images, the rest for readers.
pub(crate) const CONNECTIONS_MAX_DEFAULT: usize = 8;

/// How long connecting may take.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long an answer of the server may take; what it is asked takes milliseconds.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long images, pages of scans and sweeps may take: they may be large.
pub(crate) const LONG_ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Default for how long a call asks again after failures that pass, or that leave open what became of it: a failover takes seconds,
/// and callers of the server wait for 15.
pub(crate) const PATIENCE_DEFAULT: Duration = Duration::from_secs(12);

/// How long after a call was made it may still be sent: what a process that was stopped had decided is decided again.
pub(crate) const SENT_AFTER_MAX: Duration = Duration::from_secs(20);

/// How often expired keys and counters are looked for.
pub(crate) const SWEEP_EVERY: Duration = Duration::from_mins(10);

/// Rows deleted at once: some milliseconds of work, and locks that nobody waits for.
pub(crate) const SWEEP_ROWS: i32 = 5_000;

/// The oldest PostgreSQL that is tried, as it numbers its versions.
pub(crate) const SERVER_VERSION_MIN: i32 = 140_000;

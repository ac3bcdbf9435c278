//! Every stated limit of the engine, each with its reason.

use tollgate_domain::limits::ADJUSTED_MONTHS;

/// Most requests that wait for the writer; what comes beyond is refused at once. It has room for ten thousand
/// connections that each wait for one answer; at 20,000 a second a full queue is a wait of less than a second.
pub const QUEUE_REQUESTS_MAX: usize = 16_384;

/// Most requests in one commit: beyond about a thousand a larger batch buys latency, not rate. What
/// comes in pieces may exceed it by one piece. A model checker gets through few, and is to see how they are cut.
pub const BATCH_REQUESTS_MAX: usize = if cfg!(feature = "shuttle") { 2 } else { 1_024 };

/// Most bytes of text in one commit, so that a frame of the ledger stays far below its own limit.
pub const BATCH_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Most parts of organizations kept in memory between turns; what is beyond is dropped, and loaded again where it is
/// needed.
pub const RESIDENT_PARTS_MAX: usize = 400_000;

/// How often requests are decided again after another writer was faster, before the caller is asked to retry.
pub const CONFLICT_ROUNDS_MAX: usize = 16;

/// How often a read is repeated when the org changed in the middle of it.
pub const READ_ROUNDS_MAX: usize = 64;

/// Most windows of a series that is told user by user: the counters of each user are loaded at once.
pub const SERIES_PERIODS_MAX: usize = 1_000;

/// Most windows of one page of a series by properties: each is a record of up to a thousand groups.
pub const SERIES_GROUPED_PERIODS_MAX: usize = 62;

/// Orgs read at a time when all are looked through.
pub const ORG_PAGE: usize = 1_000;

/// Days of orgs whose unsent amounts are read at a time.
pub const UNSENT_PAGE: usize = 1_000;

/// Orgs looked at in one go for months to close.
pub const CLOSING_ORGS_MAX: usize = 500;

/// Months back that close by themselves though they have nothing to bill: as many as a bill puts right.
pub const CLOSING_MONTHS_MAX: i32 = ADJUSTED_MONTHS;
/// Catalogs read at a time when all are looked through for a meter: each may have a megabyte.
pub const CATALOG_PAGE: usize = 16;

/// Most orgs named when a catalog is refused for the plans they have.
pub const PLANS_IN_USE_NAMED_MAX: usize = 100;

/// Entries of a ledger that are read at a time where all are gone through: some hundred kilobytes.
pub const LEDGER_ROWS_READ: usize = 1_000;

//! Every stated limit of the engine, each with its reason.

/// Most requests that wait for the writer; what comes beyond is refused at once. It has room for ten thousand
/// connections that each wait for one answer; at 20,000 a second a full queue is a wait of less than a second.
pub const QUEUE_REQUESTS_MAX: usize = 16_384;

/// Most requests in one commit: beyond about a thousand a larger batch buys latency, not rate. What
/// comes in pieces may exceed it by one piece. A model checker gets through few, and is to see how they are cut.
pub const BATCH_REQUESTS_MAX: usize = if cfg!(feature = "shuttle") { 2 } else { 1_024 };

/// Most bytes of text in one commit, so that a frame of the ledger stays far below its own limit.
pub const BATCH_BYTES_MAX: usize = 2 * 1024 * 1024;

/// How often requests are decided again after another writer was faster, before the caller is asked to retry.
pub const CONFLICT_ROUNDS_MAX: usize = 16;

/// How often a read is repeated when the org changed in the middle of it.
pub const READ_ROUNDS_MAX: usize = 64;

/// Orgs read at a time when all are looked through for a plan.
pub const ORG_PAGE: usize = 1_000;

/// Most orgs named when a catalogue is refused for the plans they have.
pub const PLANS_IN_USE_NAMED_MAX: usize = 100;

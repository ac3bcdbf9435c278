//! Every stated limit of the engine, each with its reason.

use std::time::Duration;

use tollgate_domain::limits::ADJUSTED_MONTHS;

/// Most requests that wait for the writer; what comes beyond is refused at once. It has room for ten thousand
/// connections that each wait for one answer; at 20,000 a second a full queue is a wait of less than a second.
pub const QUEUE_REQUESTS_MAX: usize = 16_384;

/// Most requests in one commit: beyond about a thousand a larger batch buys latency, not rate. What
/// comes in pieces may exceed it by one piece. A model checker gets through few, and is to see how they are cut.
pub const BATCH_REQUESTS_MAX: usize = if cfg!(feature = "shuttle") { 2 } else { 1_024 };

/// Entries from which on a turn is on its way to the store while the next is decided: to append them takes a good part of a
/// millisecond, and to decide as many more.
pub const FLIGHT_ENTRIES_MIN: usize = 256;

/// Turns one after the other of which each is decided while the one before is on its way. Callers' keys of all of them stay in
/// memory; after so many everything arrives, and they are forgotten.
pub const FLIGHTS_MAX: u32 = 16;

/// Where other processes changed at least this part of the orgs of a turn, versions are looked up before decisions for so many turns:
/// one call more, and a call less, with all that was decided for it, where they did.
pub(crate) const CONTENDED_PART: usize = 4;
pub(crate) const CONTENDED_TURNS: u32 = 16;

/// For how many turns after a conflict callers' keys are looked up before they are decided on: a caller that repeats one request
/// usually repeats more of them, and servers that race for the same organizations decide many requests twice as it is.
pub const LOOK_UPS_AFTER_CONFLICT: u32 = 64;

/// Most bytes of text in one commit, so that a frame of the ledger stays far below its own limit.
pub const BATCH_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Most parts of organizations kept in memory, large ones counted as several; some 410 MiB: 56,000 organizations of ten
/// users, at 7.7 KB each. Beyond it those go first that were not used for a while, and more are saved so that they can go.
pub const RESIDENT_PARTS_MAX: usize = 900_000;

/// What an org weighs in memory beside its parts, in parts: some two kilobytes with its places in maps and queues.
pub const ORG_WEIGHT_PARTS: usize = 5;

/// Orgs looked at after a turn to make room: a fraction of a millisecond, and more than a turn brings in.
pub const TRIM_LOOKS_MAX: usize = 2 * BATCH_REQUESTS_MAX;

/// Entries after which the image of an org that changed is due. The more, the more usages share one write of a row; a
/// restart after a crash reads that many entries again, in well under a second.
pub const DUE_ENTRIES: u64 = 500_000;

/// How many entries the image of an org may lack on a store of several processes, as a multiple of those of its latest turn.
/// Whoever loses a race for the org reads them all again; but to write an image costs the store a commit.
pub(crate) const SHARED_LAG_TURNS: usize = 8;

/// So many it may always lack: to read them takes a few hundred microseconds.
pub(crate) const SHARED_LAG_ENTRIES_MIN: usize = 64;

/// More it may never lack: whoever opens a thousand organizations reads so many of each.
pub(crate) const SHARED_LAG_ENTRIES_MAX: usize = 1_024;

/// Orgs whose images may lag behind before saving keeps pace with what comes in; at twice as many the disk sets the pace.
/// They stay in memory until they are saved.
pub const UNSAVED_ORGS_MAX: usize = 50_000;

/// Images written together: what one write holds up is a millisecond or two of another thread.
pub const SAVED_AT_ONCE_MAX: usize = 64;

/// The same while too many lag behind: fewer writes, and half a millisecond to gather the records of one.
pub const SAVED_IN_NEED_MAX: usize = 256;

/// How long until images that could not be written are written again: soon after there is room, and no line in the log a
/// turn.
pub const SAVE_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The same in turns, which pass where the clock stands still.
pub const SAVE_AGAIN_TURNS: u32 = 64;

/// How often the parts that a turn lacks are loaded for all of its orgs together: an account and the counters of users, what
/// they lead to, and what that leads to.
pub(crate) const LOADS_AHEAD_MAX: usize = 3;

/// How often a partition is opened again because its image moved while its parts were loaded.
pub const OPEN_ROUNDS_MAX: usize = 16;

/// How often requests are decided again after another writer was faster, before the caller is asked to retry.
pub const CONFLICT_ROUNDS_MAX: usize = 16;

/// How often a read is repeated when the org changed in the middle of it.
pub const READ_ROUNDS_MAX: usize = 64;

/// Most windows of a series that is told user by user: the counters of each user are loaded at once.
pub const SERIES_PERIODS_MAX: usize = 1_000;

/// Most windows of one page of a series by properties: each is a record of up to a thousand groups.
pub const SERIES_GROUPED_PERIODS_MAX: usize = 62;

/// How long ago what other processes brought into force may have been read where a decision goes by it. Servers look every
/// second; a process that was stopped, or cut off, looks before it decides again.
pub const FOLLOWED_AGE_MAX: Duration = Duration::from_secs(5);

/// How long a plan must have been retired before a catalog may lack it, on a store that other processes use, too: longer than
/// any of them decides by an older catalog, and than what it decided may be on its way to the store.
pub const RETIRED_MIN: Duration = Duration::from_mins(1);

/// Requests whose orgs are read at once before they are decided one by one: they fit the caches of a core.
pub(crate) const WARMED_AT_ONCE: usize = 64;

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

/// The lease that a server of several on one store holds while it runs: others learn by it that the store is in use.
pub const SERVING: &str = "serving";

/// Orgs that are copied, or compared, in one go.
pub const COPY_ORGS_AT_ONCE: usize = 256;

/// Entries that are copied in one call: about a megabyte, far below what any store takes.
pub const COPY_ENTRIES_AT_ONCE: u64 = 2_000;

/// Rows read at a time where all are gone through.
pub const COPY_ROWS_READ: usize = 1_000;

/// Orgs with notices that are copied in one go.
pub const COPY_NOTICES_AT_ONCE: usize = 256;

/// Calls to a store that a copy has under way at once.
pub const COPY_CALLS_AT_ONCE: usize = 16;

/// Entries that an image may lack while its org is copied: whoever opens it reads them all.
pub const COPY_LAG_ENTRIES_MAX: u64 = 20_000;

/// Most differences that are named at the end of a copy.
pub const COPY_DIFFERENCES_NAMED_MAX: usize = 20;

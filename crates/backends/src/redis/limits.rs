//! Every stated limit of the Redis store, each with its reason. Those of the database behind it are its own.

use std::time::Duration;

/// Most appends in one call, as the other stores take.
pub(crate) const APPENDS_MAX: usize = 10_000;

/// Most entries in one call: some megabytes to one server.
pub(crate) const ENTRIES_MAX: usize = 20_000;

/// Default for how often entries are moved to the database.
pub(crate) const FLUSH_INTERVAL_DEFAULT: Duration = Duration::from_secs(60);

/// Organizations looked at together when entries are moved, and most entries of each at a time.
pub(crate) const FLUSH_ORGS: usize = 64;
pub(crate) const FLUSH_ORG_ENTRIES: usize = 1_000;

/// Most entries moved in one transaction: some tens of milliseconds.
pub(crate) const FLUSH_ENTRIES: usize = 5_000;

/// How long connecting may take.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long an answer may take; what is asked takes microseconds, and waiting for the disk up to a second.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// For how long the server waits for its disk before it says that it did not get there; below [`ANSWER_TIMEOUT`].
pub(crate) const DISK_TIMEOUT: Duration = Duration::from_secs(4);

/// How long one who found an incarnation ended waits before it begins the next: another may be about to.
pub(crate) const RENEW_PAUSE: Duration = Duration::from_millis(5);

/// How often a call starts over because what it found was of another incarnation, or changed while it was read.
pub(crate) const ROUNDS_MAX: usize = 32;

/// How often organizations of a Cluster are read again to have them all of one moment.
pub(crate) const MOMENT_ROUNDS_MAX: usize = 8;

/// The oldest server that is taken: functions came with it. And the first that waits for its disk when it is asked to.
pub(crate) const SERVER_VERSION_MIN: (u32, u32) = (7, 0);
pub(crate) const WAITS_FOR_DISK_SINCE: (u32, u32) = (7, 2);

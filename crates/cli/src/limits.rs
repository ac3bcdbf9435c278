//! Every stated limit of the command line, each with its reason.

use std::time::Duration;

/// Largest reply read from a server, in bytes: well above the largest page, small enough for any machine.
pub(crate) const REPLY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How long a connection may take: a server further away than this is not reachable for a person.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a whole call may take: longer than the server's own time-outs, so that its answer is seen.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Characters shown of a reply that is not Tollgate's, such as a proxy's page: a line or two.
pub(crate) const FOREIGN_REPLY_CHARS_SHOWN: usize = 200;

/// Most log lines that wait while standard error takes none: about a second at full load. Lines beyond are dropped and
/// counted, for a stuck terminal must not stop the server.
pub(crate) const LOG_LINES_MAX: usize = 65_536;

/// Bytes of log lines that are written at once while more are waiting: one large write.
pub(crate) const LOG_WRITE_BYTES: usize = 64 * 1024;

/// Bytes of randomness in a key that is made for a usage: as many as a UUID has.
pub(crate) const MADE_KEY_BYTES: usize = 16;

/// Bytes after which a batch of an import is sent, however few records it has: far below what the server takes.
pub(crate) const IMPORT_BATCH_BYTES: usize = 1024 * 1024;

/// How often a batch is sent to a server that is too busy for it …
pub(crate) const IMPORT_TRIES_MAX: u32 = 30;

/// … and how long is waited before it is sent again.
pub(crate) const IMPORT_PAUSE: Duration = Duration::from_secs(1);

/// Connections of agents at a time; further ones wait in the operating system's queue.
#[cfg(feature = "mcp")]
pub(crate) const MCP_CONNECTIONS_MAX: usize = 256;

/// Bytes of a request of an agent: more than any tool's arguments may have.
#[cfg(feature = "mcp")]
pub(crate) const MCP_BODY_BYTES_MAX: usize = 256 * 1024;

/// How long the headers of a request of an agent may take to arrive.
#[cfg(feature = "mcp")]
pub(crate) const MCP_HEADER_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a request of an agent may take: longer than the call that it becomes.
#[cfg(feature = "mcp")]
pub(crate) const MCP_REQUEST_TIMEOUT: Duration = Duration::from_secs(90);

/// How often a copy says how far it has come.
pub(crate) const COPY_TOLD_EVERY: Duration = Duration::from_secs(2);

/// Organizations whose month cannot be closed that are told of one by one: of a month that runs all are.
pub(crate) const REFUSALS_TOLD: u64 = 20;

/// Rows that Portkey is asked for at a time.
pub(crate) const PORTKEY_PAGE_ROWS: usize = 100;

/// Most pages of a list of Portkey's: far more users than a workspace has. A list that is longer does not end.
pub(crate) const PORTKEY_PAGES_MAX: u32 = 10_000;

/// How often Portkey is asked for the same while it is too busy or fails …
pub(crate) const PORTKEY_TRIES_MAX: u32 = 3;

/// … how long is waited in between, where it does not say …
pub(crate) const PORTKEY_PAUSE: Duration = Duration::from_secs(1);

/// … and how long at most: who is told to wait longer runs the command again.
pub(crate) const PORTKEY_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Differences that are recorded at a time: far below what a batch may have.
pub(crate) const RECONCILE_BATCH_RECORDS: usize = 1_000;

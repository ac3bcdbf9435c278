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

/// How long a log line waits in memory: short for a person who watches, long enough to write many lines at once.
pub(crate) const LOG_FLUSH_INTERVAL: Duration = Duration::from_millis(100);

/// Bytes of log lines that are written without waiting for the interval: one large write.
pub(crate) const LOG_FLUSH_BYTES: usize = 64 * 1024;

/// Most bytes of log lines in memory while standard error takes none: about a second of lines at full load. What comes
/// beyond is dropped and counted, for a stuck terminal must not stop the server.
pub(crate) const LOG_BUFFER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How long the thread that logs an error waits for the line to be written.
pub(crate) const LOG_ERROR_WAIT_MAX: Duration = Duration::from_millis(200);

/// How long the last lines may take at the end.
pub(crate) const LOG_CLOSE_WAIT_MAX: Duration = Duration::from_secs(2);

/// Bytes of randomness in a key that is made for a usage: as many as a UUID has.
pub(crate) const MADE_KEY_BYTES: usize = 16;

/// Bytes after which a batch of an import is sent, however few records it has: far below what the server takes.
pub(crate) const IMPORT_BATCH_BYTES: usize = 1024 * 1024;

/// How often a batch is sent to a server that is too busy for it …
pub(crate) const IMPORT_TRIES_MAX: u32 = 30;

/// … and how long is waited before it is sent again.
pub(crate) const IMPORT_PAUSE: Duration = Duration::from_secs(1);

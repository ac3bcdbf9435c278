//! Every stated limit of the server that is not a setting, each with its reason.

use std::time::Duration;

/// Rows of a list unless asked otherwise.
pub const PAGE_ROWS_DEFAULT: usize = 50;

/// Most rows of a list in one answer: about half a megabyte of JSON.
pub const PAGE_ROWS_MAX: usize = 1_000;

/// Most rows that a query of a meter in the words of OpenMeter is answered with: it has no pages.
pub const METER_QUERY_ROWS_MAX: usize = 10_000;

/// Most organizations that such a query names, as in OpenMeter.
pub const METER_QUERY_SUBJECTS_MAX: usize = 100;

/// Most descriptors of a call of Envoy's rate limit service: each is a decision, and Envoy waits some milliseconds.
#[cfg(feature = "envoy")]
pub const ENVOY_DESCRIPTORS_MAX: usize = 16;

/// Rows of a filtered list that are read at a time.
pub const FILTER_ROWS_READ: usize = 200;

/// Most rows that are read for one page of a filtered list: some tens of milliseconds of work.
pub const FILTER_ROWS_MAX: usize = 2_000;

/// Organizations whose balances are looked at for one page, where the balance decides and no more rows are asked for.
pub const FILTER_BALANCES_MAX: usize = 250;

/// Most organizations whose latest refusal is remembered.
pub const REFUSED_ORGS_MAX: usize = 100_000;

/// Most bytes of a cursor of the store within one of ours: two ids of 128 characters and some numbers, in UTF-8.
pub const CURSOR_BYTES_MAX: usize = 2_048;

/// Users listed within a balance; all are in a list of their own.
pub const BALANCE_USERS_MAX: usize = 100;

/// Organizations listed in the answer to what another catalog would change; the sums are over all.
pub const WHAT_IF_ORGS_MAX: usize = 1_000;

/// Most bytes of a question what another catalog would change: the largest catalog as a text of JSON.
pub const WHAT_IF_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Characters of a request id that a caller may choose.
pub const REQUEST_ID_CHARS_MAX: usize = 64;

/// Bytes of an unwanted body that are read and thrown away, so that a caller that sends before it listens still gets
/// its answer.
pub const DISCARDED_BODY_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// How long a connection that is closed early stays half open for its client to read the answer.
pub const LINGER_TIME: Duration = Duration::from_secs(2);

/// Bytes from which on an answer is worth packing.
pub const GZIP_BYTES_MIN: u64 = 1_024;

/// Open files that are no connections: those of tables and facts that are kept open, some hundreds at most, segments, and
/// connections to others.
pub const OTHER_FILES_MAX: usize = 512;

/// Connections that wait to be accepted; the system may allow fewer (`net.core.somaxconn`, 4,096 mostly).
pub(crate) const QUEUED_CONNECTIONS_MAX: u32 = 16_384;

/// Seconds after which a refused caller should try again.
pub const RETRY_AFTER_SECS: u32 = 1;

/// Most requests of one HTTP/2 connection at a time.
pub const HTTP2_STREAMS_MAX: u32 = 256;

/// Most addresses whose request rate is remembered; beyond it the table starts afresh.
pub const RATE_ADDRESSES_MAX: usize = 100_000;

/// Most stored API keys that are read at start.
pub const API_KEYS_MAX: usize = 100_000;

/// How often a server looks what another one on the same store brought into force: a revoked key is good for that long.
pub const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);

/// For how long a server says that the store is in use, and how often it says so again; at its end it takes it back.
pub(crate) const SERVING_LEASE: Duration = Duration::from_mins(1);
pub(crate) const SERVING_RENEWED: Duration = Duration::from_secs(20);

/// How often holds that have expired are looked for, of organizations of which nobody asks anything.
pub const EXPIRE_INTERVAL: Duration = Duration::from_secs(1);

/// How often all organizations are looked through for holds, on a store that other servers use: one of them may have ended.
pub const FIND_HOLDS_INTERVAL: Duration = Duration::from_hours(1);

/// Bytes of randomness in the secret of an API key.
pub const API_KEY_SECRET_BYTES: usize = 24;

/// How long the store is left to others between two looks at some organizations for months to close.
pub const CLOSING_PAUSE: Duration = Duration::from_millis(20);

/// For how long a server is to look for months to close before another one may: longer than some orgs take.
pub(crate) const CLOSING_LEASE: Duration = Duration::from_mins(2);

/// Most records of one batch.
pub const BATCH_RECORDS_MAX: usize = 10_000;

/// Most bytes of one batch, before and after it is decompressed.
pub const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Most bytes that a body in Zstandard may look back on, as RFC 9659 has it: a decoder holds as many before it gives any.
pub const ZSTD_WINDOW_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// How long somebody stays signed in to the console: a long working day.
pub const SESSION_SECS: i64 = 12 * 3_600;

/// How long somebody may take to sign in at a provider of OpenID Connect.
#[cfg(feature = "oidc")]
pub const OIDC_VISIT_SECS: i64 = 600;

/// Most sign-ins that are remembered to have come back; the oldest makes room. A code is good once at its provider, too.
#[cfg(feature = "oidc")]
pub const OIDC_ENDED_MAX: usize = 1_000;

/// Bytes of the address of the page that one signs in for: it travels in a cookie.
#[cfg(feature = "oidc")]
pub const OIDC_PAGE_BYTES_MAX: usize = 1_000;

/// How long what a provider says of itself, its keys among it, is believed before it is asked again.
#[cfg(feature = "oidc")]
pub const OIDC_BELIEVED_FOR: Duration = Duration::from_mins(10);

/// How long a provider that could not be asked is left alone.
#[cfg(feature = "oidc")]
pub const OIDC_LEFT_ALONE_FOR: Duration = Duration::from_secs(1);

/// How long a provider may take for one answer.
#[cfg(feature = "oidc")]
pub const OIDC_PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of a provider's answer; none has so many.
#[cfg(feature = "oidc")]
pub const OIDC_ANSWER_BYTES_MAX: usize = 512 * 1024;

/// Characters of why a provider cannot be asked or believed, in the log.
#[cfg(feature = "oidc")]
pub const OIDC_ERROR_CHARS_MAX: usize = 500;

/// Most people who come back from a provider at a time, for each of whom it is asked.
#[cfg(feature = "oidc")]
pub const OIDC_AT_ONCE_MAX: usize = 64;

/// Most that are signed in at a time; the one who did so first makes room.
pub const SESSIONS_MAX: usize = 1_000;

/// How long a link to the portal is good unless its maker says so: a day.
pub const PORTAL_LINK_SECS_DEFAULT: u32 = 86_400;

/// How long one may be good: a year.
pub const PORTAL_LINK_SECS_MAX: u32 = 366 * 86_400;

/// Most meters of an organization whose usage is drawn on its page; the page of usage draws any.
pub const CHARTS_MAX: usize = 8;

/// Open holds on the page of an organization; all are on a page of their own.
pub const HOLDS_LISTED: &str = "10";

/// Months on whose usage the console tries another catalog: this one and a year.
pub const MONTHS_TRIED: i32 = 13;

/// Most bytes of a form of the console with a catalog in it: each byte of the text may be written as three.
pub const CATALOG_FORM_BYTES_MAX: usize = 3 * tollgate_domain::limits::CATALOG_BYTES_MAX + 4_096;

/// How often all organizations are looked through for the overview, at most, while somebody looks at it.
pub const SURVEY_EVERY: Duration = Duration::from_secs(15);

/// How long the overview waits for the look that it began: enough for some dozens of organizations.
pub const SURVEY_PATIENCE: Duration = Duration::from_millis(40);

/// Organizations that are looked at between two rests.
pub const SURVEY_ROWS: usize = 100;

/// How long the gate is left alone between them.
pub const SURVEY_PAUSE: Duration = Duration::from_millis(20);

/// Rows of a list of the overview.
pub const SURVEY_LISTED_MAX: usize = 10;

/// Notices between two marks from which the console reads them backwards: what is read for a page beside its own.
pub const NOTICES_MARKED: usize = 500;

/// Days for which aggregates are kept where there is no sink to commit them to: longer than usage may come late.
pub const AGGREGATES_KEPT_DAYS: i32 = 62;

/// Most aggregates of one answer: some tens of megabytes of JSON.
pub const AGGREGATES_MAX: usize = 100_000;

/// Most bytes of what the gateway says of a call, 1 MiB.
pub const PORTKEY_REPLY_BYTES_MAX: usize = 1024 * 1024;

/// How far back a call that is priced may be, in days.
pub const PORTKEY_TRACE_DAYS: i64 = 35;

/// Threads that read: the gate has the other cores, and one long read holds up only half of the others.
pub const READER_THREADS: usize = 2;

/// How much of their share of a core these threads leave to others, as `nice` counts.
pub const READER_NICENESS: i32 = 19;

/// Most reads that wait for one of them: a second of balances. What comes beyond is refused at once.
pub const READS_WAITING_MAX: usize = 256;

/// Threads that go through all organizations, for one caller at a time.
pub const REPORT_THREADS: usize = 1;

/// Most callers that wait for that: it may take minutes.
pub const REPORTS_WAITING_MAX: usize = 2;

/// Threads for what the server does unasked: closing months, committing aggregates, following other servers, delivering notices
/// and expiring holds, which never end; looking through all organizations for the overview, and through all notices.
pub const BACKGROUND_THREADS: usize = 7;

/// Most event streams that are open at a time.
pub const STREAMS_MAX: usize = 256;

/// How often an event stream looks whether something was appended.
pub const STREAM_INTERVAL: Duration = Duration::from_millis(200);

/// After how long an event stream says that it is still there: proxies close what is silent for a minute.
pub const STREAM_SILENCE_MAX: Duration = Duration::from_secs(15);

/// Most entries or notices that an event stream reads at a time: it reads on when its client has taken them.
pub const STREAM_ROWS: usize = 50;

/// Attempts of a channel in one answer unless asked otherwise.
pub const DELIVERIES_DEFAULT: usize = 50;

/// Attempts of a channel on a page of the console, each with what was sent.
pub const DELIVERIES_LISTED: &str = "25";

/// For how long the overview tells of a message that was given up, on a channel that is well again: a week.
pub const UNDELIVERED_SECS: i64 = 7 * 86_400;

/// Hours for which a webhook is signed with the old secret, too, unless asked otherwise.
pub const OVERLAP_HOURS_DEFAULT: u32 = 24;

/// Most such hours: thirty days.
pub const OVERLAP_HOURS_MAX: u32 = 720;

/// Most characters of the URL of a channel.
pub const URL_CHARS_MAX: usize = 2_000;

/// Most names in a list of a channel's filter.
pub const FILTER_NAMES_MAX: usize = 100;

/// Most batches in hand at a time, so that they hold some hundred megabytes at most; further ones wait unread.
pub const BATCHES_AT_ONCE_MAX: usize = 16;

//! Every stated limit of the notifier, each with its reason.

use std::time::Duration;

/// How long a sink may take for a shipment: what is not taken by then is sent again.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// The first pause between two attempts, at most.
pub const PAUSE_MIN: Duration = Duration::from_millis(200);

/// The longest pause between two attempts.
pub const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Characters of a sink's own words in an error.
pub const ERROR_CHARS_MAX: usize = 200;

/// How long the receiver of a message may take: what is not taken by then is tried again.
pub const MESSAGE_TIMEOUT: Duration = Duration::from_secs(15);

/// How long sending a mail may take: an SMTP server may look closely before it takes one.
pub const MAIL_TIMEOUT: Duration = Duration::from_secs(30);

/// Characters of a text in a message for Slack, as Slack has it.
pub const SLACK_TEXT_CHARS_MAX: usize = 3_000;

/// Texts of a digest for Slack: it takes 50 parts of a message, but refuses those that have some 12,000 characters in all.
pub const SLACK_TEXTS_MAX: usize = 3;

/// Characters of what SQS and SNS order messages among, as they have it.
#[cfg(feature = "aws")]
pub const AWS_GROUP_CHARS_MAX: usize = 128;

/// Characters of a mail's subject: programs show no more.
pub const SUBJECT_CHARS_MAX: usize = 120;

/// Characters of an address of mail, as SMTP has it.
pub const MAIL_ADDRESS_CHARS_MAX: usize = 254;

/// How long connecting to one of its addresses may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Usages, refusals and other causes of notices whose traces are remembered: some seconds of a busy server, and notices are delivered within one.
pub const TRACES_MAX: usize = 20_000;

/// Addresses of a name that are tried.
pub const ADDRESSES_TRIED: usize = 3;

/// Bytes of a reply that are read; what follows tells nobody anything.
pub const REPLY_BYTES_MAX: usize = 1_024;

/// How long the beginning of a reply's body is waited for once its status is there.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(1);

/// Characters of a reply that the log of a channel keeps.
pub const REPLY_CHARS_MAX: usize = 256;

/// The longest pause that a receiver may ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// Most messages that wait at a channel: with so many undelivered it reads no more. They are in one record.
pub const WAITING_MAX: usize = 1_000;

/// Notices that a channel reads at a time.
pub const NOTICES_READ: usize = 250;

/// Most notices that a channel looks at in one round.
pub const NOTICES_LOOKED_AT: usize = 4 * NOTICES_READ;

/// Notices that a channel may pass over before it writes down that it did: fewer are read again after a restart.
pub const NOTICES_PASSED_OVER: usize = NOTICES_READ;

/// Most messages of a channel that are tried in one round: as many may come twice after a crash, and one commit notes what
/// came of all of them on the thread that decides.
pub const ROUND_MESSAGES_MAX: usize = 64;

/// Messages of a channel on their way at a time, each of another org.
pub const ROUND_LANES_AT_ONCE: usize = 8;

/// After how long a round begins no further attempt, so that what it did is written down.
pub const ROUND_TIME: Duration = Duration::from_secs(10);

/// How long one of several servers delivers before it must say so again. Another takes over after that.
pub const CLAIM_SECS: i64 = 90;

/// How long before the end of that it says so.
pub const CLAIM_RENEWED_SECS: i64 = 45;

/// Bytes of randomness in the name of a shipment: two of anybody are the same in no lifetime.
pub const NAME_BYTES: usize = 16;

/// Bytes of a signing key that is drawn.
pub const SIGNING_KEY_BYTES: usize = 32;

/// Fewest bytes of a signing key, as Standard Webhooks asks for.
pub const SIGNING_KEY_BYTES_MIN: usize = 24;

/// Most bytes of a signing key, as Standard Webhooks asks for.
pub const SIGNING_KEY_BYTES_MAX: usize = 64;

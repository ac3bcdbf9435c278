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

/// Bytes of randomness in the name of a shipment: two of anybody are the same in no lifetime.
pub const NAME_BYTES: usize = 16;

/// Fewest bytes of a signing key, as Standard Webhooks asks for.
pub const SIGNING_KEY_BYTES_MIN: usize = 24;

/// Most bytes of a signing key, as Standard Webhooks asks for.
pub const SIGNING_KEY_BYTES_MAX: usize = 64;

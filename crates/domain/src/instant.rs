//! Moments as they are stored: seconds since 1970 and the nanoseconds beyond, both towards the same side of 1970.
//!
//! A third of the bytes of the text form, and no parsing when a ledger is replayed.

use jiff::Timestamp;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Writes a moment.
pub(crate) fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    (at.as_second(), at.subsec_nanosecond()).serialize(serializer)
}

/// Reads a moment.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let (second, nanosecond) = Deserialize::deserialize(deserializer)?;
    Timestamp::new(second, nanosecond).map_err(D::Error::custom)
}

/// The same of a moment that may be absent.
pub(crate) mod option {
    use super::{Deserialize, Deserializer, Error, Serialize, Serializer, Timestamp};

    #[expect(clippy::ref_option, reason = "serde calls it so")]
    pub(crate) fn serialize<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        at.map(|at| (at.as_second(), at.subsec_nanosecond())).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        let stored: Option<(i64, i32)> = Deserialize::deserialize(deserializer)?;
        let read = |(second, nanosecond)| Timestamp::new(second, nanosecond).map_err(D::Error::custom);
        stored.map(read).transpose()
    }
}

//! Top-ups: credit added and taken back.

use std::fmt;

use serde::de::{Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use tollgate_domain::{MeterId, UsageKey};
use utoipa::ToSchema;

use crate::body::given;
use crate::{Decimal, Id, Line, Metadata, NonZeroDecimal, PositiveDecimal, TimeOrNever};

/// Adds credit, or, with an amount below zero, takes credit back that is not used.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TopUpRequest {
    /// On what.
    #[schema(value_type = Id)]
    pub meter: MeterId,
    /// How much, not zero. Below zero it is a correction: it needs a `reason`, takes the credit that would burn last, and is
    /// refused where more is to be taken back than is unused.
    pub amount: NonZeroDecimal,
    /// The caller's id of the top-up: it counts once however often it is sent. The header `Idempotency-Key` is taken
    /// where this is not given.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Id, required = false)]
    pub key: Option<UsageKey>,
    /// When it expires: a time (RFC 3339), a day such as `2026-12-31`, whose last moment in the organization's zone is
    /// meant, or `never`. Unless given, with the month that it begins in, in the organization's zone.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = TimeOrNever, required = false)]
    pub expires_at: Option<String>,
    /// From when it can be burned: a time (RFC 3339), or a day such as `2026-12-01`, whose first moment in the organization's
    /// zone is meant; at once unless given.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false)]
    pub effective_at: Option<String>,
    /// Lower burns first; 100 unless given.
    #[serde(default, deserialize_with = "priority")]
    #[schema(value_type = u8, required = false, maximum = 255)]
    pub priority: Option<u8>,
    /// Why, for people.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Line, required = false)]
    pub reason: Option<String>,
    /// What the caller keeps with it for itself; shown in the ledger. It is no part of what the key stands for.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Metadata, required = false)]
    pub metadata: Option<Metadata>,
}

/// Reads a priority. To JSON 7 and 7.0 are the same whole number.
fn priority<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u8>, D::Error> {
    struct PriorityVisitor;
    impl Visitor<'_> for PriorityVisitor {
        type Value = u8;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a whole number from 0 to 255")
        }

        fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<u8, E> {
            u8::try_from(number).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
        }

        fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<u8, E> {
            number.to_string().parse().map_err(|_| E::invalid_value(Unexpected::Float(number), &self))
        }
    }
    deserializer.deserialize_u8(PriorityVisitor).map(Some)
}

/// Credit was added.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TopUpReply {
    /// The organization.
    pub org: String,
    /// The meter.
    pub meter: String,
    /// How much was added; below zero, taken back.
    pub amount: Decimal,
    /// Whether the key had been seen before and this is that answer again.
    pub replayed: bool,
    /// What the organization may now use; null where credit is not asked.
    pub remaining: Option<Decimal>,
    /// All credit in force: allowance and top-ups.
    pub total: Decimal,
    /// When it expires; null is never, or that it was a correction.
    pub expires_at: Option<String>,
    /// The number of the ledger entry.
    pub entry: u64,
}

/// Takes back what is unused of a top-up.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VoidRequest {
    /// How much; all that is unused unless given.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = PositiveDecimal, required = false)]
    pub amount: Option<PositiveDecimal>,
    /// Why, for people.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Line, required = false)]
    pub reason: Option<String>,
}

/// Takes back what is unused of the top-up with a key.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VoidByKeyRequest {
    /// The key of the top-up.
    #[schema(value_type = Id)]
    pub key: UsageKey,
    /// How much; all that is unused unless given.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = PositiveDecimal, required = false)]
    pub amount: Option<PositiveDecimal>,
    /// Why, for people.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Line, required = false)]
    pub reason: Option<String>,
}

/// Credit was taken back.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct VoidReply {
    /// The organization.
    pub org: String,
    /// How much was taken back by the entry; zero where nothing was unused.
    pub amount: Decimal,
    /// Whether this request took nothing back: its key had been seen before, or nothing was unused.
    pub replayed: bool,
    /// What the organization may now use; null where credit is not asked.
    pub remaining: Option<Decimal>,
    /// All credit in force: allowance and top-ups.
    pub total: Decimal,
    /// The number of the ledger entry; null where nothing was unused.
    pub entry: Option<u64>,
}

/// The top-ups of an organization, the latest first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TopUpPage {
    /// The organization.
    pub org: String,
    /// The top-ups. One that expired more than 100 days ago is in the ledger alone.
    pub top_ups: Vec<TopUpItem>,
    /// From where the next page is read; null when there is nothing more.
    pub next: Option<String>,
}

/// A top-up.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TopUpItem {
    /// The number of its ledger entry: what it is voided by.
    pub entry: u64,
    /// The caller's id of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The meter.
    pub meter: String,
    /// Whether it can be used.
    pub state: TopUpState,
    /// How much was granted.
    pub amount: Decimal,
    /// How much of it is used.
    pub used: Decimal,
    /// How much of it was taken back.
    pub voided: Decimal,
    /// How much of it can still be used, now or later.
    pub remaining: Decimal,
    /// Lower burns first.
    pub priority: u8,
    /// From when it can be used.
    pub effective_at: String,
    /// When it expires; null is never.
    pub expires_at: Option<String>,
    /// Why it was granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Whether a top-up can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TopUpState {
    /// Something of it can be used.
    Active,
    /// It begins later.
    Scheduled,
    /// All of it is used or taken back.
    Exhausted,
    /// It has expired.
    Expired,
}

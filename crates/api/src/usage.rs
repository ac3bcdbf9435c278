//! Check and consume.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize};
use tollgate_domain::{MeterId, OrgId, Quantity, Timestamp, UsageKey, UserId};
use utoipa::openapi::schema::{Schema, Type};
use utoipa::openapi::{ObjectBuilder, OneOfBuilder, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::Decimal;

/// Asks to use something, once.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UsageRequest {
    /// The paying organisation.
    #[schema(value_type = String, min_length = 1, max_length = 128)]
    pub org: OrgId,
    /// A person or key inside it; needed while a limit per user is in force.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    pub user: Option<UserId>,
    /// What is used.
    #[schema(value_type = String, min_length = 1, max_length = 128)]
    pub meter: MeterId,
    /// How much; 1 unless given.
    #[schema(value_type = Option<Decimal>)]
    pub quantity: Option<PositiveDecimal>,
    /// The caller's id of this usage: it counts once however often it is sent. The header `Idempotency-Key` is taken
    /// where this is not given.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    pub key: Option<UsageKey>,
    /// When it happened; kept with the entry. Quotas go by the server's time.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub time: Option<Timestamp>,
    /// What should be known of it, such as model or region; at most 16.
    #[schema(value_type = Option<BTreeMap<String, PropertyValue>>)]
    pub properties: Option<BTreeMap<String, PropertyValue>>,
}

/// A [`Decimal`] greater than zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PositiveDecimal(pub Quantity);

impl<'de> Deserialize<'de> for PositiveDecimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Decimal(amount) = Decimal::deserialize(deserializer)?;
        Quantity::new(amount)
            .map(Self)
            .map_err(|error| serde::de::Error::custom(format_args!("{amount} {error}")))
    }
}

/// The value of a property: text, a number or a truth value, kept as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PropertyValue(pub String);

impl<'de> Deserialize<'de> for PropertyValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValueVisitor;
        impl Visitor<'_> for ValueVisitor {
            type Value = PropertyValue;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string, a number or a boolean")
            }

            fn visit_str<E>(self, text: &str) -> Result<PropertyValue, E> {
                Ok(PropertyValue(text.to_owned()))
            }

            fn visit_bool<E>(self, truth: bool) -> Result<PropertyValue, E> {
                Ok(PropertyValue(truth.to_string()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<PropertyValue, E> {
                Ok(PropertyValue(number.to_string()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<PropertyValue, E> {
                Ok(PropertyValue(number.to_string()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<PropertyValue, E> {
                Ok(PropertyValue(number.to_string()))
            }
        }
        deserializer.deserialize_any(ValueVisitor)
    }
}

impl PartialSchema for PropertyValue {
    fn schema() -> RefOr<Schema> {
        let of = |kind| ObjectBuilder::new().schema_type(kind);
        OneOfBuilder::new().item(of(Type::String)).item(of(Type::Number)).item(of(Type::Boolean)).into()
    }
}

impl ToSchema for PropertyValue {}

/// It was allowed and counted.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct UsageReply {
    /// Always true; a denial is a problem with `"allowed": false`.
    pub allowed: bool,
    /// Whether the key had been counted before and this is that answer again.
    pub replayed: bool,
    /// The caller's id of the usage.
    pub key: String,
    /// The organisation.
    pub org: String,
    /// The user, if one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What was used.
    pub meter: String,
    /// How much.
    pub quantity: Decimal,
    /// What the org may still use; null where credit is not asked.
    pub remaining: Option<Decimal>,
    /// What the org has used of its credit.
    pub used: Decimal,
    /// All credit in force: allowance and top-ups.
    pub total: Decimal,
    /// What the user has used this month, if a user was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_used: Option<Decimal>,
    /// The number of the ledger entry that counted it.
    pub entry: u64,
}

/// Asks what a usage would be answered; nothing is consumed.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckRequest {
    /// The paying organisation.
    #[schema(value_type = String, min_length = 1, max_length = 128)]
    pub org: OrgId,
    /// A person or key inside it.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    pub user: Option<UserId>,
    /// What would be used.
    #[schema(value_type = String, min_length = 1, max_length = 128)]
    pub meter: MeterId,
    /// How much; 1 unless given.
    #[schema(value_type = Option<Decimal>)]
    pub quantity: Option<PositiveDecimal>,
    /// Taken so that the body of a usage can be checked as it is; a check says nothing about keys.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    pub key: Option<UsageKey>,
    /// As in a usage; not looked at.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub time: Option<Timestamp>,
    /// As in a usage; not looked at.
    #[schema(value_type = Option<BTreeMap<String, PropertyValue>>)]
    pub properties: Option<BTreeMap<String, PropertyValue>>,
}

/// What a usage would be answered, and why.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CheckReply {
    /// Whether it would be allowed.
    pub allowed: bool,
    /// The code of the denial, if it would be denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The organisation.
    pub org: String,
    /// The meter.
    pub meter: String,
    /// How much.
    pub quantity: Decimal,
    /// What would be left (when denied: what is left); null where it is not known or not asked.
    pub remaining: Option<Decimal>,
    /// What would be used (when denied: what is used).
    pub used: Option<Decimal>,
    /// Every check that was made, in order.
    pub steps: Vec<CheckStep>,
}

/// One check of a usage.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CheckStep {
    /// Which check.
    pub check: String,
    /// Whether it lets the usage pass.
    pub passed: bool,
    /// The numbers it went by, for people.
    pub detail: String,
}

/// Takes a usage back by its key.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReversalRequest {
    /// The paying organisation.
    #[schema(value_type = String, min_length = 1, max_length = 128)]
    pub org: OrgId,
    /// The key the usage was counted with.
    #[schema(value_type = String, min_length = 1, max_length = 128)]
    pub key: UsageKey,
}

/// It was taken back.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReversalReply {
    /// Always true.
    pub reversed: bool,
    /// Whether it had been taken back before.
    pub replayed: bool,
    /// The organisation.
    pub org: String,
    /// The key of the usage.
    pub key: String,
    /// The number of the ledger entry that took it back.
    pub entry: u64,
    /// The number of the ledger entry that had counted it.
    pub reversed_entry: u64,
}

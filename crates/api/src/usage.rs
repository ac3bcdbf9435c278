//! Check and consume.

use std::fmt;
use std::str::FromStr;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize};
use tollgate_domain::limits::{PROPERTIES_MAX, TEXT_CHARS_MAX};
use tollgate_domain::{MeterId, OrgId, ScopePath, Timestamp, UsageKey, UserId};
use utoipa::openapi::schema::{Schema, Type};
use utoipa::openapi::{ObjectBuilder, OneOfBuilder, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::body::given;
use crate::text::NO_CONTROL_CHARACTERS;
use crate::{CallRequest, Decimal, Id, LimitDetail, Members, PathName, PositiveDecimal};

/// Asks to use something, once.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UsageRequest {
    /// The paying organization.
    #[schema(value_type = Id)]
    pub org: OrgId,
    /// A person or key inside it; needed while a limit per user is in force.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Id, required = false)]
    pub user: Option<UserId>,
    /// Where below the organization it is used, such as `research/agent-7/run-42`: limits on each of these paths go by it.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = PathName, required = false)]
    pub path: Option<ScopePath>,
    /// What is used.
    #[schema(value_type = Id)]
    pub meter: MeterId,
    /// How much; 1 unless given.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = PositiveDecimal, required = false)]
    pub quantity: Option<PositiveDecimal>,
    /// A call of a language model, in place of a quantity: it is priced by the catalog.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = CallRequest, required = false)]
    pub call: Option<Box<CallRequest>>,
    /// The caller's id of this usage: it counts once however often it is sent. The header `Idempotency-Key` is taken
    /// where this is not given.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Id, required = false)]
    pub key: Option<UsageKey>,
    /// When it happened; kept with the entry. At the gate quotas go by the server's time; a record of a batch is counted
    /// by this one.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false, format = DateTime)]
    pub time: Option<Time>,
    /// What should be known of it, such as model or region; at most 16.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Properties, required = false)]
    pub properties: Option<Members<PropertyValue>>,
}

/// A moment, in whole microseconds; what is finer is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Timestamp);

impl FromStr for Time {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        const WRONG: &str =
            "must be a time such as 2026-11-21T00:00:00Z, or with an offset from -23:59 to +23:59";
        let time: Timestamp = text.parse().map_err(|_| WRONG)?;
        // The parser has checked the form, and takes offsets of up to 25 hours.
        let clock = text.split_once(['T', 't', ' ']).map_or(text, |(_, clock)| clock);
        let hours = clock.split_once(['+', '-']).and_then(|(_, offset)| offset.get(..2));
        if hours.is_some_and(|hours| hours > "23") {
            return Err(WRONG);
        }
        Timestamp::from_microsecond(time.as_microsecond()).map(Self).map_err(|_| WRONG)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TimeVisitor;
        impl Visitor<'_> for TimeVisitor {
            type Value = Time;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a time such as 2026-11-21T00:00:00Z")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Time, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(TimeVisitor)
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
                // In full, a number may have 300 digits.
                let plain = number.to_string();
                Ok(PropertyValue(if plain.len() > 32 { format!("{number:e}") } else { plain }))
            }
        }
        deserializer.deserialize_any(ValueVisitor)
    }
}

impl PartialSchema for PropertyValue {
    fn schema() -> RefOr<Schema> {
        let of = |kind| ObjectBuilder::new().schema_type(kind);
        let text = of(Type::String).max_length(Some(TEXT_CHARS_MAX)).pattern(Some(PROPERTY_CHARACTERS));
        OneOfBuilder::new().item(text).item(of(Type::Number)).item(of(Type::Boolean)).into()
    }
}

impl ToSchema for PropertyValue {}

/// Any text but control characters; tab and line feed are none here.
const PROPERTY_CHARACTERS: &str = "^[^\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f]*$";

/// The schema of the properties of a usage.
#[derive(Clone, Copy, Debug)]
pub enum Properties {}

impl PartialSchema for Properties {
    fn schema() -> RefOr<Schema> {
        let name = ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(TEXT_CHARS_MAX))
            .pattern(Some(NO_CONTROL_CHARACTERS));
        ObjectBuilder::new()
            .property_names(Some(name))
            .additional_properties(Some(PropertyValue::schema()))
            .max_properties(Some(PROPERTIES_MAX))
            .into()
    }
}

impl ToSchema for Properties {}

/// It was allowed and counted.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct UsageReply {
    /// Always true; a denial is a problem with `"allowed": false`.
    pub allowed: bool,
    /// Whether the key had been counted before and this is that answer again.
    pub replayed: bool,
    /// The caller's id of the usage.
    #[schema(value_type = String)]
    pub key: UsageKey,
    /// The organization.
    #[schema(value_type = String)]
    pub org: OrgId,
    /// The user, if one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub user: Option<UserId>,
    /// Where below the organization, if a path was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub path: Option<ScopePath>,
    /// What was used.
    #[schema(value_type = String)]
    pub meter: MeterId,
    /// How much.
    pub quantity: Decimal,
    /// What the org may still use; null where credit is not asked.
    pub remaining: Option<Decimal>,
    /// What holds reserve of its credit, if anything: neither used nor remaining.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Decimal>,
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

/// What a usage would be answered, and why.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CheckReply {
    /// Whether it would be allowed.
    pub allowed: bool,
    /// The code of the denial, if it would be denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What was asked, what is left, and what decided, if it would be denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The limit, or the credit, that decided, if it would be denied by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<LimitDetail>,
    /// The organization.
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
    /// The paying organization.
    #[schema(value_type = Id)]
    pub org: OrgId,
    /// The key the usage was counted with.
    #[schema(value_type = Id)]
    pub key: UsageKey,
}

/// It was taken back.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReversalReply {
    /// Always true.
    pub reversed: bool,
    /// Whether it had been taken back before.
    pub replayed: bool,
    /// The organization.
    pub org: String,
    /// The key of the usage.
    pub key: String,
    /// The number of the ledger entry that took it back.
    pub entry: u64,
    /// The number of the ledger entry that had counted it.
    pub reversed_entry: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_offsets_of_rfc_3339() {
        for (text, taken) in [
            ("2026-11-21T00:00:00Z", true),
            ("2026-11-21t00:00:00.123456789z", true),
            ("2026-11-21 00:00:00+05:30", true),
            ("2026-11-21T00:00:00+23:59", true),
            ("2026-11-21T00:00:00-23:59", true),
            ("2026-11-21T00:00:00+24:00", false),
            ("2026-11-21T00:00:00+25:00", false),
            ("2026-11-21T00:00:00.5-25:59", false),
            ("2026-11-21T00:00:00", false),
            ("2026-11-21", false),
        ] {
            assert_eq!(text.parse::<Time>().is_ok(), taken, "{text}");
        }
    }
}

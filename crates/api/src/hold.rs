//! Holds: reserve, capture, release.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tollgate_domain::limits::HOLD_SECS_MAX;
use tollgate_domain::{MeterId, OrgId, ScopePath, UsageKey, UserId};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::body::given;
use crate::text::given_word;
use crate::{
    CallRequest, Decimal, Id, Members, PathName, PositiveDecimal, Properties, PropertyValue, RequestDecimal,
};

/// The id of a hold: its number in the ledger of its org, and the org. It needs no encoding in a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldId {
    /// The number of the entry that made it.
    pub number: u64,
    /// Whose it is.
    pub org: OrgId,
}

/// Why a text is no id of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldIdError;

impl fmt::Display for HoldIdError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("is not the id of a hold, such as 17-acme")
    }
}

impl std::error::Error for HoldIdError {}

impl fmt::Display for HoldId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-", self.number)?;
        // Whole runs of plain characters: most ids are one.
        let mut rest = self.org.as_str();
        while let Some(at) = rest.find(|char: char| !is_plain(char)) {
            let (plain, others) = rest.split_at(at);
            formatter.write_str(plain)?;
            let after = others.trim_start_matches(|char| !is_plain(char));
            for byte in others.bytes().take(others.len() - after.len()) {
                write!(formatter, "~{byte:02x}")?;
            }
            rest = after;
        }
        formatter.write_str(rest)
    }
}

/// Whether a character of an org's id stands for itself in the id of a hold.
const fn is_plain(char: char) -> bool {
    matches!(char, 'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '.' | '_')
}

impl FromStr for HoldId {
    type Err = HoldIdError;

    fn from_str(text: &str) -> Result<Self, HoldIdError> {
        let (number, org) = text.split_once('-').ok_or(HoldIdError)?;
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(HoldIdError);
        }
        let (mut bytes, mut rest) = (Vec::with_capacity(org.len()), org.as_bytes());
        while let Some((byte, after)) = rest.split_first() {
            if *byte != b'~' {
                bytes.push(*byte);
                rest = after;
                continue;
            }
            let (digits, after) = after.split_first_chunk::<2>().ok_or(HoldIdError)?;
            let digits = std::str::from_utf8(digits).map_err(|_| HoldIdError)?;
            bytes.push(u8::from_str_radix(digits, 16).map_err(|_| HoldIdError)?);
            rest = after;
        }
        let org = String::from_utf8(bytes).map_err(|_| HoldIdError)?;
        let org = OrgId::new(&org).map_err(|_| HoldIdError)?;
        Ok(Self { number: number.parse().map_err(|_| HoldIdError)?, org })
    }
}

impl Serialize for HoldId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HoldId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl PartialSchema for HoldId {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("The id of a hold."))
            .pattern(Some("^[0-9]+-[A-Za-z0-9._~-]+$"))
            .examples(["17-acme"])
            .into()
    }
}

impl ToSchema for HoldId {}

/// What becomes of what is still held when a hold expires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnExpiryName {
    /// It is given back: what was captured before is all that is charged.
    #[default]
    Release,
    /// It is captured: the estimate is charged.
    Charge,
}

/// Asks to reserve something.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldRequest {
    /// The paying organization.
    #[schema(value_type = Id)]
    pub org: OrgId,
    /// A person or key inside it; needed while a limit per user is in force.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Id, required = false)]
    pub user: Option<UserId>,
    /// Where below the organization it is to be used; of a hold `within` another at or below the path of that.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = PathName, required = false)]
    pub path: Option<ScopePath>,
    /// What is to be used.
    #[schema(value_type = Id)]
    pub meter: MeterId,
    /// How much is held: what may be used at most, or is expected to be; 1 unless given.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = PositiveDecimal, required = false)]
    pub quantity: Option<PositiveDecimal>,
    /// A call of a language model, in place of a quantity: it is priced by the catalog.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = CallRequest, required = false)]
    pub call: Option<CallRequest>,
    /// The caller's id of the hold, and of the usage that ends it: it holds once however often it is sent. The header
    /// `Idempotency-Key` is taken where this is not given.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Id, required = false)]
    pub key: Option<UsageKey>,
    /// How long it lasts, in seconds; 600 unless given.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = u32, required = false, minimum = 1, maximum = 86_400)]
    pub expires_in: Option<u32>,
    /// How much more than is held may be captured: it is counted whatever credit and limits say then. None unless given.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = PositiveDecimal, required = false)]
    pub overrun: Option<PositiveDecimal>,
    /// What becomes of what is still held when it expires; `release` unless given.
    #[serde(default, deserialize_with = "given_word")]
    #[schema(value_type = OnExpiryName, required = false)]
    pub on_expiry: Option<OnExpiryName>,
    /// The hold that it is to be carved out of: its amount moves from that one, and what is not used moves back.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = HoldId, required = false)]
    pub within: Option<HoldId>,
    /// What should be known of what is captured, such as model or region; at most 16.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Properties, required = false)]
    pub properties: Option<Members<PropertyValue>>,
}

/// The longest that a hold may last is in the schema.
const _: () = assert!(HOLD_SECS_MAX == 86_400, "the schema says how long a hold may last");

/// A hold.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct HoldItem {
    /// Its id.
    pub hold: HoldId,
    /// `open`, `captured`, `released` or `expired`.
    pub state: String,
    /// The organization.
    pub org: String,
    /// The user, if one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Where below the organization, if a path was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The meter.
    pub meter: String,
    /// The caller's id of it.
    pub key: String,
    /// How much was held at first.
    pub quantity: Decimal,
    /// How much is still held.
    pub held: Decimal,
    /// How much was captured.
    pub captured: Decimal,
    /// How much of that is beyond what was held.
    pub overran: Decimal,
    /// How much moved to holds within it, and did not come back.
    pub carved: Decimal,
    /// How much more than was held may be captured.
    pub overrun: Decimal,
    /// What becomes of what is still held when it expires.
    pub on_expiry: OnExpiryName,
    /// The hold that it was carved out of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<HoldId>,
    /// When it was made.
    pub made_at: String,
    /// First moment at which it has expired.
    pub expires_at: String,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// The number of the ledger entry that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<u64>,
    /// What the caller told about it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
}

/// It is held.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct HoldReply {
    /// Always true; a denial is a problem with `"allowed": false`.
    pub allowed: bool,
    /// Whether the key had been held before: nothing was held now, and the hold is shown as it is by now.
    pub replayed: bool,
    /// What the org could still use after it was taken; null where credit is not asked.
    pub remaining: Option<Decimal>,
    /// The hold.
    pub hold: HoldItem,
}

/// Captures what was used of a hold.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CaptureRequest {
    /// How much was used: as much as is still held unless given. Zero captures nothing and ends the hold.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Decimal, required = false, minimum = 0)]
    pub quantity: Option<RequestDecimal>,
    /// The call of a language model that was made, in place of a quantity: priced by the catalog that priced the hold.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = CallRequest, required = false)]
    pub call: Option<CallRequest>,
    /// Whether it is the last, so that the hold ends and gives back what is left; true unless given.
    #[serde(default, rename = "final", deserialize_with = "given")]
    #[schema(value_type = bool, required = false)]
    pub is_final: Option<bool>,
    /// The caller's id of a part: it is captured once however often it is sent. The header `Idempotency-Key` is taken where
    /// this is not given. The last capture has the key of the hold.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Id, required = false)]
    pub key: Option<UsageKey>,
}

/// It was captured.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CaptureReply {
    /// How much was captured.
    pub captured: Decimal,
    /// Whether it had been captured before: nothing was captured now.
    pub replayed: bool,
    /// What the org could still use after it; null where credit is not asked.
    pub remaining: Option<Decimal>,
    /// The number of the ledger entry that counted it, or ended the hold.
    pub entry: u64,
    /// The hold as it is now.
    pub hold: HoldItem,
}

/// It was given back.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReleaseReply {
    /// Always true.
    pub released: bool,
    /// Whether it had been released before.
    pub replayed: bool,
    /// The hold.
    pub hold: HoldItem,
}

/// Some of the open holds of an organization.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct HoldPage {
    /// The organization.
    pub org: String,
    /// The holds, the oldest first.
    pub holds: Vec<HoldItem>,
    /// The cursor of the next page; null when there is nothing more.
    pub next: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_go_through_paths_as_they_are() {
        for (org, text) in [
            ("acme", "17-acme"),
            ("a-b", "17-a-b"),
            ("github/acme~1", "17-github~2facme~7e1"),
            ("zürich %2F", "17-z~c3~bcrich~20~252F"),
        ] {
            let id = HoldId { number: 17, org: OrgId::new(org).expect("an id") };
            assert_eq!(id.to_string(), text);
            assert_eq!(text.parse(), Ok(id));
        }
        for text in [
            "",
            "17",
            "17-",
            "-acme",
            "+1-acme",
            "a-acme",
            "1-~",
            "1-~zz",
            "1-~00",
            "1-~ff",
            "99999999999999999999-a",
        ] {
            assert_eq!(text.parse::<HoldId>(), Err(HoldIdError), "{text}");
        }
    }
}

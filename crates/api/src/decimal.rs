//! Exact decimals on the wire.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use tollgate_domain::{Amount, AmountError, Quantity};
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::{OneOfBuilder, RefOr};
use utoipa::{PartialSchema, ToSchema};

/// An exact decimal of a reply: a JSON number with all its digits. Sums may have more digits than a quantity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Decimal(pub Amount);

impl From<Amount> for Decimal {
    fn from(amount: Amount) -> Self {
        Self(amount)
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_whole() {
            Some(whole) => serializer.serialize_i64(whole),
            None => RawValue::from_string(self.0.to_string())
                .map_err(serde::ser::Error::custom)?
                .serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <Box<RawValue>>::deserialize(deserializer)?;
        read(&raw, Amount::parse_sum).map(Self)
    }
}

/// An exact decimal of a request: a JSON number or a text, with no more digits than a quantity may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestDecimal(pub Amount);

impl<'de> Deserialize<'de> for RequestDecimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Requests are read from memory, where the digits stay.
        let raw = <&'de RawValue>::deserialize(deserializer)?;
        read(raw, Amount::parse).map(Self)
    }
}

/// A [`RequestDecimal`] greater than zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PositiveDecimal(pub Quantity);

impl<'de> Deserialize<'de> for PositiveDecimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let RequestDecimal(amount) = RequestDecimal::deserialize(deserializer)?;
        Quantity::new(amount)
            .map(Self)
            .map_err(|error| serde::de::Error::custom(format_args!("{amount} {error}")))
    }
}

/// A [`RequestDecimal`] other than zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NonZeroDecimal {
    /// How much, without its sign.
    pub magnitude: Quantity,
    /// Whether it is below zero.
    pub negative: bool,
}

impl<'de> Deserialize<'de> for NonZeroDecimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let RequestDecimal(amount) = RequestDecimal::deserialize(deserializer)?;
        let negative = amount < Amount::ZERO;
        let magnitude = Quantity::new(if negative { -amount } else { amount });
        let magnitude =
            magnitude.map_err(|_| serde::de::Error::custom(format_args!("{amount} must not be zero")))?;
        Ok(Self { magnitude, negative })
    }
}

/// Reads a number or a text, digit by digit.
fn read<E: serde::de::Error>(
    raw: &RawValue,
    parse: fn(&str) -> Result<Amount, AmountError>,
) -> Result<Amount, E> {
    let text = raw.get();
    let digits = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    parse(digits).map_err(|error| E::custom(format_args!("{} {error}", shown(text))))
}

/// The beginning of a text that is not a number, so that an error stays a line.
fn shown(text: &str) -> String {
    const SHOWN_CHARS: usize = 40;
    let mut shown: String =
        text.chars().filter(|character| !character.is_control()).take(SHOWN_CHARS).collect();
    if text.chars().count() > SHOWN_CHARS {
        shown.push('…');
    }
    shown
}

impl PartialSchema for Decimal {
    fn schema() -> RefOr<Schema> {
        let description =
            "An exact decimal: a plain JSON number with all its digits, at most 9 of them after the point.";
        ObjectBuilder::new().schema_type(Type::Number).description(Some(description)).into()
    }
}

impl ToSchema for Decimal {}

impl PartialSchema for PositiveDecimal {
    fn schema() -> RefOr<Schema> {
        let description = "An exact decimal above zero, as a number or a text: at most 15 digits before the point and 9 after.";
        let number = ObjectBuilder::new()
            .schema_type(Type::Number)
            .exclusive_minimum(Some(0))
            .exclusive_maximum(Some(1_000_000_000_000_000_i64));
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(r"^[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$"));
        OneOfBuilder::new().item(number).item(text).description(Some(description)).into()
    }
}

impl ToSchema for PositiveDecimal {}

impl PartialSchema for NonZeroDecimal {
    fn schema() -> RefOr<Schema> {
        let description = "An exact decimal other than zero, as a number or a text: at most 15 digits before the point and 9 after.";
        let number = ObjectBuilder::new()
            .schema_type(Type::Number)
            .exclusive_minimum(Some(-1_000_000_000_000_000_i64))
            .exclusive_maximum(Some(1_000_000_000_000_000_i64));
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(r"^-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$"));
        OneOfBuilder::new().item(number).item(text).description(Some(description)).into()
    }
}

impl ToSchema for NonZeroDecimal {}

//! Exact decimals on the wire.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use tollgate_domain::limits::QUANTITY_INTEGER_DIGITS_MAX;
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
        match whole(self.0) {
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
        match few_digits(raw.get()) {
            Some(whole) => Ok(Self(Amount::from_whole(whole))),
            None => read(raw, Amount::parse).map(Self),
        }
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

/// The whole number that an amount is, if it is one. Most are small, and divided faster as such.
fn whole(amount: Amount) -> Option<i64> {
    const UNIT: i64 = 1_000_000_000;
    match i64::try_from(amount.billionths()) {
        Ok(billionths) => (billionths % UNIT == 0).then_some(billionths / UNIT),
        Err(_) => amount.as_whole(),
    }
}

/// A JSON number of a few digits and nothing else, as most quantities are.
fn few_digits(text: &str) -> Option<i64> {
    let are_few = (1..=QUANTITY_INTEGER_DIGITS_MAX).contains(&text.len());
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if are_few && digits { text.parse().ok() } else { None }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_ways_come_to_the_same() {
        for text in [
            "0",
            "1",
            "42",
            "999999999999999",
            "1000000000000000",
            "-1",
            "-0",
            "1.0",
            "2.5",
            "1e3",
            "1e15",
            "0.000000001",
            "9223372036.854775807",
            "9223372036.854775808",
            "-9223372036.854775809",
            "9223372037",
        ] {
            let read = serde_json::from_str::<RequestDecimal>(text).map(|RequestDecimal(amount)| amount);
            assert_eq!(read.ok(), Amount::parse(text).ok(), "{text}");
            let amount = Amount::parse_sum(text).expect("an amount");
            let written = serde_json::to_string(&Decimal(amount)).expect("JSON");
            assert_eq!(Amount::parse_sum(&written).ok(), Some(amount), "{text} as {written}");
            assert_eq!(written.contains('.'), amount.as_whole().is_none(), "{text} as {written}");
        }
    }
}

//! Numbers that stay exact: what is sent is text, and what comes keeps its digits.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// A quantity to send: a whole number, or a decimal as text such as `"2.5"`. There is none of a float, which is not exact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quantity(String);

impl From<&str> for Quantity {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for Quantity {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&Amount> for Quantity {
    fn from(amount: &Amount) -> Self {
        Self(amount.0.clone())
    }
}

macro_rules! whole {
    ($($number:ty)*) => {
        $(impl From<$number> for Quantity {
            fn from(number: $number) -> Self {
                Self(number.to_string())
            }
        })*
    };
}

whole!(u8 u16 u32 u64 usize i8 i16 i32 i64 isize);

/// A decimal of an answer, with the digits the server wrote. Compare it with a number or a text, or [parse](Self::parse) it into the
/// decimal type of your choice.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Amount(String);

impl Amount {
    /// Its digits, such as `12.5`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same as a number of some type.
    ///
    /// # Errors
    /// When that type has no such number.
    pub fn parse<N: FromStr>(&self) -> Result<N, N::Err> {
        self.0.parse()
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl PartialEq<str> for Amount {
    fn eq(&self, text: &str) -> bool {
        self.0 == text
    }
}

impl PartialEq<&str> for Amount {
    fn eq(&self, text: &&str) -> bool {
        self.0 == *text
    }
}

impl PartialEq<u64> for Amount {
    fn eq(&self, number: &u64) -> bool {
        self.0.parse() == Ok(*number)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self(raw.get().trim_matches('"').to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stay_as_they_are() {
        let amount: Amount = serde_json::from_str("12345678901234567890.123456789").unwrap();
        assert_eq!(amount, "12345678901234567890.123456789");
        let whole: Amount = serde_json::from_str("19").unwrap();
        assert_eq!(whole, 19);
        assert_eq!(whole.parse::<f64>(), Ok(19.0));
        let sent = serde_json::to_string(&[Quantity::from(3_u8), "2.5".into(), (-4_i64).into()]).unwrap();
        assert_eq!(sent, r#"["3","2.5","-4"]"#);
    }
}

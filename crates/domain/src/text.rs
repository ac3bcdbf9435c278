//! Reading checked values from text, whether the format lends the text or gives it away.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserializer;
use serde::de::{Error, Visitor};

/// Deserializes a string and checks it with `check`.
pub(crate) fn parse<'de, D, T, E>(
    deserializer: D,
    expected: &'static str,
    check: fn(&str) -> Result<T, E>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    E: fmt::Display,
{
    deserializer.deserialize_str(Checked { expected, check, marker: PhantomData })
}

struct Checked<T, E> {
    expected: &'static str,
    check: fn(&str) -> Result<T, E>,
    marker: PhantomData<(T, E)>,
}

impl<T, E: fmt::Display> Visitor<'_> for Checked<T, E> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.expected)
    }

    fn visit_str<Failure: Error>(self, text: &str) -> Result<T, Failure> {
        (self.check)(text).map_err(|error| Failure::custom(format_args!("'{text}' {error}")))
    }
}

//! Ids: strings of 1 to 128 characters without control characters, one type each so that none is taken for another.

use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smol_str::SmolStr;

use crate::limits::ID_CHARS_MAX;

/// Why a text is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing in it.
    #[error("must not be empty")]
    Empty,
    /// Longer than [`ID_CHARS_MAX`] characters.
    #[error("must have at most {ID_CHARS_MAX} characters")]
    TooLong,
    /// Holds a control character.
    #[error("must not hold control characters")]
    ControlCharacter,
}

fn checked(text: &str) -> Result<SmolStr, IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > ID_CHARS_MAX && text.chars().count() > ID_CHARS_MAX {
        return Err(IdError::TooLong);
    }
    if text.chars().any(char::is_control) {
        return Err(IdError::ControlCharacter);
    }
    Ok(SmolStr::new(text))
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(SmolStr);

        impl $name {
            /// Checks and takes a text.
            ///
            /// # Errors
            /// [`IdError`] when it is empty, longer than 128 characters, or holds a control character.
            pub fn new(text: &str) -> Result<Self, IdError> {
                checked(text).map(Self)
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<&str> for $name {
            type Error = IdError;
            fn try_from(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::text::parse(deserializer, "an id of 1 to 128 characters", Self::new)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

id!(
    /// The paying organization.
    OrgId
);
id!(
    /// A person or key inside an org.
    UserId
);
id!(
    /// What is counted.
    MeterId
);
id!(
    /// What an org bought.
    PlanId
);
id!(
    /// The name of a shipment to the processor.
    ShipmentId
);
id!(
    /// The caller's id of a usage or a top-up; counts once however often it is sent.
    UsageKey
);

impl MeterId {
    /// What language models are paid for by.
    pub const TOKENS: Self = Self(SmolStr::new_inline("tokens"));

    /// What calls of language models cost.
    pub const USD: Self = Self(SmolStr::new_inline("usd"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_checked() {
        for (text, wanted) in [
            ("acme", None),
            ("", Some(IdError::Empty)),
            ("a\u{0}", Some(IdError::ControlCharacter)),
            ("a\nb", Some(IdError::ControlCharacter)),
            ("a\u{85}b", Some(IdError::ControlCharacter)),
        ] {
            assert_eq!(OrgId::new(text).err(), wanted, "{text:?}");
        }
        assert!(OrgId::new(&"ü".repeat(128)).is_ok());
        assert_eq!(OrgId::new(&"x".repeat(129)), Err(IdError::TooLong));
    }
}

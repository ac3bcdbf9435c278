//! Names that a JSON object gives once.
//!
//! Serde's maps keep the last of two members with one name. What is counted and billed must not depend on that.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// An object whose members all have the same type; each name is given once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members<T>(pub BTreeMap<String, T>);

impl<T> Default for Members<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Members<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for MembersVisitor<T> {
            type Value = Members<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Members<T>, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = access.next_entry::<String, T>()? {
                    if members.contains_key(&name) {
                        return Err(given_twice(&name));
                    }
                    members.insert(name, value);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor(PhantomData))
    }
}

/// How serde begins to say that a field is given twice.
const GIVEN_TWICE: &str = "duplicate field `";

fn given_twice<E: Error>(name: &str) -> E {
    E::custom(format_args!("{GIVEN_TWICE}{name}`"))
}

/// The path of the first member that an object within a JSON text, however deep, gives twice.
#[must_use]
pub fn repeated_member(json: &str) -> Option<String> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let error = serde_path_to_error::deserialize::<_, Unambiguous>(&mut deserializer).err()?;
    let text = error.inner().to_string();
    let name = text.strip_prefix(GIVEN_TWICE)?.split('`').next()?;
    let path = error.path().to_string();
    Some(if path == "." { name.to_owned() } else { format!("{path}.{name}") })
}

/// Any JSON in which no object, however deep, gives a name twice.
struct Unambiguous;

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyVisitor;
        impl<'de> Visitor<'de> for AnyVisitor {
            type Value = Unambiguous;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("any JSON")
            }

            fn visit_bool<E>(self, _: bool) -> Result<Unambiguous, E> {
                Ok(Unambiguous)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Unambiguous, E> {
                Ok(Unambiguous)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Unambiguous, E> {
                Ok(Unambiguous)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Unambiguous, E> {
                Ok(Unambiguous)
            }

            fn visit_str<E>(self, _: &str) -> Result<Unambiguous, E> {
                Ok(Unambiguous)
            }

            fn visit_unit<E>(self) -> Result<Unambiguous, E> {
                Ok(Unambiguous)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Unambiguous, A::Error> {
                while access.next_element::<Unambiguous>()?.is_some() {}
                Ok(Unambiguous)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Unambiguous, A::Error> {
                let mut names = HashSet::new();
                while let Some(name) = access.next_key::<String>()? {
                    if names.contains(&name) {
                        return Err(given_twice(&name));
                    }
                    access.next_value::<Unambiguous>()?;
                    names.insert(name);
                }
                Ok(Unambiguous)
            }
        }
        deserializer.deserialize_any(AnyVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_given_twice_are_found_however_deep() {
        for (json, path) in [
            (r#"{"a":1,"b":{"a":1},"c":[{"a":1},{"a":1}]}"#, None),
            (r#"{"a":1,"a":1}"#, Some("a")),
            (r#"{"a":{"b":[1,{"c":null,"c":true}]}}"#, Some("a.b[1].c")),
            (r#"[{"a":1.5},{"b":"x","b":-1}]"#, Some("[1].b")),
            (r#"{"a":1,"\u0061":2}"#, Some("a")),
            ("7", None),
        ] {
            assert_eq!(repeated_member(json).as_deref(), path, "{json}");
        }
    }
}

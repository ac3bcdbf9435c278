//! The catalog as JSON: the same names and values as in TOML, which is what is kept.

use std::fmt;

use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tollgate_api::{BodyError, Code, Problem, read_body, shortened};
use tollgate_domain::{Catalog, SystemDenial};

use crate::native::catalog::system_failure;
use crate::reply::Failure;

/// A catalog's TOML as JSON. Comments are left out.
pub(crate) fn as_json(text: &str) -> Result<serde_json::Value, Failure> {
    let failed = |error: String| {
        Failure::from(Problem::new(Code::Internal, "the catalog cannot be written as JSON")).caused_by(error)
    };
    let table: toml::Table = toml::from_str(text).map_err(|error| failed(error.to_string()))?;
    serde_json::to_value(table).map_err(|error| failed(error.to_string()))
}

/// The TOML of a catalog that is written as JSON; an error names the field.
pub(crate) fn as_toml(body: &[u8]) -> Result<String, Failure> {
    let Tree(value) = read_body(body).map_err(wrong)?;
    let text = toml::to_string(&value).map_err(|_| {
        Failure::from(Problem::new(Code::InvalidCatalog, "the catalog must be a JSON object"))
    })?;
    if let Err(error) = Catalog::from_toml(&text) {
        // What is wrong with a single field is told by its place in the JSON; the TOML is none of the caller's.
        read_body::<Catalog>(body).map_err(wrong)?;
        return Err(system_failure(SystemDenial::Catalog(error)));
    }
    Ok(text)
}

fn wrong(error: BodyError) -> Failure {
    let code = if error.code == Code::Unreadable { Code::Unreadable } else { Code::InvalidCatalog };
    let mut problem = Problem::new(code, error.detail);
    problem.field = error.field;
    problem.into()
}

/// A value of JSON that TOML has too.
struct Tree(toml::Value);

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor).map(Self)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = toml::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .write_str("a text, a whole number, a decimal written as text, a boolean, an array or an object")
    }

    fn visit_bool<E>(self, value: bool) -> Result<toml::Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<toml::Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<toml::Value, E> {
        let whole = i64::try_from(number).map_err(|_| E::custom("the number is too large"))?;
        Ok(whole.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<toml::Value, E> {
        Ok(text.into())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<toml::Value, E> {
        Err(E::custom("must not be null; leave the field out"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<toml::Value, A::Error> {
        let mut found = Vec::new();
        while let Some(Tree(item)) = items.next_element()? {
            found.push(item);
        }
        Ok(toml::Value::Array(found))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<toml::Value, A::Error> {
        let mut found = toml::Table::new();
        while let Some(name) = members.next_key::<String>()? {
            if found.contains_key(&name) {
                return Err(A::Error::custom(format_args!("'{}' is given twice", shortened(&name))));
            }
            let Tree(value) = members.next_value()?;
            found.insert(name, value);
        }
        Ok(toml::Value::Table(found))
    }
}

//! What a caller keeps with an organization or a top-up for itself.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tollgate_domain::limits::{METADATA_MAX, METADATA_NAME_CHARS_MAX, TEXT_CHARS_MAX};
use utoipa::openapi::schema::{Schema, Type};
use utoipa::openapi::{ObjectBuilder, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::shortened;
use crate::text::NO_CONTROL_CHARACTERS;

/// Texts by name, each name once: at most 16, names of 1 to 64 characters, texts of at most 256.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata(pub BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MetadataVisitor;
        impl<'de> Visitor<'de> for MetadataVisitor {
            type Value = Metadata;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Metadata, A::Error> {
                let mut found = BTreeMap::new();
                while let Some((name, text)) = members.next_entry::<String, String>()? {
                    check(&name, &text).map_err(A::Error::custom)?;
                    let shown = shortened(&name);
                    if found.insert(name, text).is_some() {
                        return Err(A::Error::custom(format_args!("'{shown}' is given twice")));
                    }
                    if found.len() > METADATA_MAX {
                        return Err(A::Error::custom(format_args!("there may be at most {METADATA_MAX}")));
                    }
                }
                Ok(Metadata(found))
            }
        }
        deserializer.deserialize_map(MetadataVisitor)
    }
}

fn check(name: &str, text: &str) -> Result<(), String> {
    let in_text = |character: char| character.is_control() && !['\t', '\n'].contains(&character);
    if !(1..=METADATA_NAME_CHARS_MAX).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        return Err(format!(
            "names must have 1 to {METADATA_NAME_CHARS_MAX} characters, none of them a control character"
        ));
    }
    if text.chars().count() > TEXT_CHARS_MAX || text.chars().any(in_text) {
        return Err(format!(
            "'{name}' must have at most {TEXT_CHARS_MAX} characters, of the control characters only tab and line feed"
        ));
    }
    Ok(())
}

impl PartialSchema for Metadata {
    fn schema() -> RefOr<Schema> {
        let name = ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(METADATA_NAME_CHARS_MAX))
            .pattern(Some(NO_CONTROL_CHARACTERS));
        let text = ObjectBuilder::new().schema_type(Type::String).max_length(Some(TEXT_CHARS_MAX));
        ObjectBuilder::new()
            .property_names(Some(name))
            .additional_properties(Some(text))
            .max_properties(Some(METADATA_MAX))
            .into()
    }
}

impl ToSchema for Metadata {}

//! Meters: what is counted, how, by which properties, and what becomes of usage of one that nobody declared.

use serde::{Deserialize, Serialize};

use super::CatalogError;
use super::read::{text_line, unique};
use crate::limits::METER_PROPERTIES_MAX;
use crate::{MeterId, Quantity};

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Meter {
    /// Its id.
    pub id: MeterId,
    /// A name for people.
    pub name: String,
    /// The unit it is counted in, singular.
    pub unit: String,
    /// What becomes of the quantities of a month.
    pub aggregation: Aggregation,
    /// Properties of usage that it is counted by: each combination of their values by itself.
    pub properties: Vec<String>,
}

/// Where usage of a meter that the catalogue lacks creates it, once it has happened; the gate never does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownMeters {
    /// At the doors whose callers name what they please; elsewhere it is refused.
    #[default]
    Doors,
    /// Wherever usage is recorded.
    Create,
    /// Nowhere: it is refused.
    Reject,
}

/// What becomes of the quantities of a month.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Aggregation {
    /// They are added up.
    Sum,
    /// Their number counts, not what they are.
    Count,
    /// The largest counts.
    Max,
    /// The one of the latest time counts.
    Last,
    /// How many different values of something there are.
    Unique(UniqueBy),
}

/// What is counted once, however often it occurs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UniqueBy {
    /// The user of the usage.
    User,
    /// The value of a property of the usage.
    Property(String),
}

/// A meter as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    id: MeterId,
    name: String,
    unit: String,
    #[serde(default)]
    aggregation: Name,
    unique_by: Option<String>,
    #[serde(default)]
    properties: Vec<String>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Name {
    #[default]
    Sum,
    Count,
    Max,
    Last,
    Unique,
}

impl TryFrom<Written> for Meter {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let place = format!("meter '{}'", written.id);
        let aggregation = match (written.aggregation, written.unique_by) {
            (Name::Sum, None) => Aggregation::Sum,
            (Name::Count, None) => Aggregation::Count,
            (Name::Max, None) => Aggregation::Max,
            (Name::Last, None) => Aggregation::Last,
            (Name::Unique, Some(by)) if by == "user" => Aggregation::Unique(UniqueBy::User),
            (Name::Unique, Some(by)) => Aggregation::Unique(UniqueBy::Property(by)),
            (Name::Unique, None) => {
                return Err(format!("{place}: unique_by must say what is counted: \"user\" or a property"));
            }
            (_, Some(_)) => return Err(format!("{place}: unique_by needs aggregation = \"unique\"")),
        };
        let Written { id, name, unit, properties, .. } = written;
        Ok(Self { id, name, unit, aggregation, properties })
    }
}

impl Meter {
    /// A meter as usage creates it: quantities are added up, and no properties are looked at.
    #[must_use]
    pub fn created(id: MeterId) -> Self {
        let name = id.to_string();
        Self { id, name, unit: "unit".to_owned(), aggregation: Aggregation::Sum, properties: Vec::new() }
    }

    /// How much a usage of a quantity counts.
    #[must_use]
    pub const fn counts(&self, quantity: Quantity) -> Quantity {
        match self.aggregation {
            Aggregation::Count => Quantity::ONE,
            _ => quantity,
        }
    }

    pub(super) fn check(&self) -> Result<(), CatalogError> {
        let place = format!("meter '{}'", self.id);
        text_line(&place, "name", &self.name)?;
        text_line(&place, "unit", &self.unit)?;
        if self.properties.len() > METER_PROPERTIES_MAX {
            return Err(CatalogError(format!("{place}: properties: at most {METER_PROPERTIES_MAX}")));
        }
        self.properties.iter().try_for_each(|property| text_line(&place, "a property", property))?;
        unique(&format!("{place}: properties"), self.properties.iter().map(String::as_str))?;
        if let Aggregation::Unique(UniqueBy::Property(property)) = &self.aggregation {
            text_line(&place, "unique_by", property)?;
            if self.properties.contains(property) {
                return Err(CatalogError(format!(
                    "{place}: unique_by '{property}' is one of its properties, so each count would be 1"
                )));
            }
        }
        let not_counted = match &self.aggregation {
            Aggregation::Sum | Aggregation::Count => return Ok(()),
            Aggregation::Max => "max",
            Aggregation::Last => "last",
            Aggregation::Unique(_) => "unique",
        };
        Err(CatalogError(format!(
            "{place}: aggregation = \"{not_counted}\" is not counted by this version; use sum or count"
        )))
    }
}

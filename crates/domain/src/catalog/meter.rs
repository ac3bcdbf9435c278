//! Meters: what is counted, how, by which properties, and what becomes of usage of one that nobody declared.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::read::{text_line, unique};
use super::{CatalogError, HasId};
use crate::limits::METER_PROPERTIES_MAX;
use crate::{Amount, Counting, MeterId, Quantity, Sku, Timestamp, UserId, Window};

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
    /// Minutes, hours or weeks, where it is counted in them besides days and months.
    pub windows: Vec<Window>,
    /// What becomes of usage with a property that it does not declare.
    pub unknown_properties: UnknownProperties,
    /// As what its usage is sent to the sink; `None`: it is not.
    pub sink: Option<Sku>,
}

/// What becomes of usage with a property that its meter does not declare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownProperties {
    /// It is counted, and the property is kept with it.
    #[default]
    Keep,
    /// It is refused.
    Reject,
}

/// Where usage of a meter that the catalog lacks creates it, once it has happened; the gate never does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownMeters {
    /// In compatible APIs whose callers choose meter names; elsewhere it is refused.
    #[default]
    Compat,
    /// Wherever usage is recorded.
    Create,
    /// Nowhere: it is refused.
    Reject,
}

/// What becomes of the quantities of a month.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
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

impl Aggregation {
    /// Whether a whole is the sum of its parts: of days, users, groups.
    #[must_use]
    pub const fn adds_up(&self) -> bool {
        matches!(self, Self::Sum | Self::Count)
    }

    /// The name in the catalog.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Count => "count",
            Self::Max => "max",
            Self::Last => "last",
            Self::Unique(_) => "unique",
        }
    }
}

/// What is counted once, however often it occurs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
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
    #[serde(default)]
    windows: Vec<Window>,
    #[serde(default)]
    unknown_properties: UnknownProperties,
    sink: Option<Sku>,
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
        let Written { id, name, unit, properties, windows, unknown_properties, sink, .. } = written;
        Ok(Self { id, name, unit, aggregation, properties, windows, unknown_properties, sink })
    }
}

impl HasId for Meter {
    type Id = MeterId;

    fn id(&self) -> &MeterId {
        &self.id
    }
}

impl Meter {
    /// A meter as usage creates it: quantities are added up, and no properties are looked at.
    #[must_use]
    pub fn created(id: MeterId, sink: Option<Sku>) -> Self {
        let name = id.to_string();
        Self {
            id,
            name,
            unit: "unit".to_owned(),
            aggregation: Aggregation::Sum,
            properties: Vec::new(),
            windows: Vec::new(),
            unknown_properties: UnknownProperties::default(),
            sink,
        }
    }

    /// How much a usage of a quantity counts.
    #[must_use]
    pub const fn counts(&self, quantity: Quantity) -> Quantity {
        match self.aggregation {
            Aggregation::Count | Aggregation::Unique(_) => Quantity::ONE,
            Aggregation::Sum | Aggregation::Max | Aggregation::Last => quantity,
        }
    }

    /// How a usage at a time counts.
    pub(crate) fn counting(
        &self,
        user: Option<&UserId>,
        properties: &BTreeMap<String, String>,
        at: Timestamp,
    ) -> Counting {
        let value = |by: &UniqueBy| match by {
            UniqueBy::User => user.map(UserId::as_str).map(Arc::from),
            UniqueBy::Property(name) => properties.get(name).map(String::as_str).map(Arc::from),
        };
        match &self.aggregation {
            Aggregation::Sum | Aggregation::Count => Counting::Sum,
            Aggregation::Max => Counting::Max,
            Aggregation::Last => Counting::Last { at },
            Aggregation::Unique(by) => Counting::Unique { value: value(by) },
        }
    }

    /// Whether usage may have a property.
    #[must_use]
    pub fn takes_property(&self, name: &str) -> bool {
        let counts_by =
            |counted: &UniqueBy| matches!(counted, UniqueBy::Property(counted) if counted == name);
        self.unknown_properties == UnknownProperties::Keep
            || self.properties.iter().any(|known| known == name)
            || matches!(&self.aggregation, Aggregation::Unique(by) if counts_by(by))
    }

    /// The property of a usage for which it is refused.
    pub(crate) fn refused_property<'a>(
        &self,
        properties: &'a BTreeMap<String, String>,
    ) -> Option<&'a String> {
        properties.keys().find(|name| !self.takes_property(name))
    }

    /// Refuses to count anew what the same meter of an earlier catalog has counted.
    pub(crate) fn check_follows(&self, former: &Self) -> Result<(), CatalogError> {
        if let Some(Sku { product, unit }) = &former.sink
            && self.sink != former.sink
        {
            return Err(CatalogError(format!(
                "meter '{}': its usage is sent to the sink, so it must say sink = {{ product = {product:?}, unit = {unit:?} }}; \
                 a meter that is sent otherwise or not at all needs another id",
                self.id
            )));
        }
        let same = self.aggregation == former.aggregation && self.properties == former.properties;
        let add_up = self.aggregation.adds_up() && former.aggregation.adds_up();
        if same || add_up {
            return Ok(());
        }
        let told = |meter: &Self| {
            let by = match &meter.aggregation {
                Aggregation::Unique(UniqueBy::User) => " by user".to_owned(),
                Aggregation::Unique(UniqueBy::Property(name)) => format!(" by '{name}'"),
                _ => String::new(),
            };
            format!("{}{by} with the properties {:?}", meter.aggregation.name(), meter.properties)
        };
        Err(CatalogError(format!(
            "meter '{}': {} cannot become {}: what it counted cannot be counted anew; give the new one another id",
            self.id,
            told(former),
            told(self)
        )))
    }

    pub(super) fn check(&self) -> Result<(), CatalogError> {
        let place = format!("meter '{}'", self.id);
        text_line(&place, "name", &self.name)?;
        text_line(&place, "unit", &self.unit)?;
        if let Some(Err(error)) = self.sink.as_ref().map(Sku::meter) {
            return Err(CatalogError(format!("{place}: sink: product and unit together {error}")));
        }
        if self.properties.len() > METER_PROPERTIES_MAX {
            return Err(CatalogError(format!("{place}: properties: at most {METER_PROPERTIES_MAX}")));
        }
        self.properties.iter().try_for_each(|property| text_line(&place, "a property", property))?;
        unique(&format!("{place}: properties"), self.properties.iter().map(String::as_str))?;
        if self.windows.iter().any(|window| !Window::ON_REQUEST.contains(window)) {
            return Err(CatalogError(format!(
                "{place}: windows: \"minute\", \"hour\" and \"week\" may stand there; days and months are always counted"
            )));
        }
        let names: Vec<_> = self.windows.iter().map(|window| window.name()).collect();
        unique(&format!("{place}: windows"), names.iter().map(AsRef::as_ref))?;
        if let Aggregation::Unique(UniqueBy::Property(property)) = &self.aggregation {
            text_line(&place, "unique_by", property)?;
            if self.properties.contains(property) {
                return Err(CatalogError(format!(
                    "{place}: unique_by '{property}' is one of its properties, so each count would be 1"
                )));
            }
        }
        Ok(())
    }
}

/// A unit as it stands after a quantity: `1 call`, `200 calls`. What looks like a symbol, as `GB` or `ms`, stays.
#[must_use]
pub fn units(unit: &str, quantity: Amount) -> Cow<'_, str> {
    let last = unit.rsplit(' ').next().unwrap_or(unit);
    let symbol = last.len() <= 2 || !last.chars().all(|letter| letter.is_lowercase() || letter == '-');
    let is_plural = last.ends_with('s') && !last.ends_with("ss");
    if quantity == Amount::from_whole(1) || symbol || is_plural {
        return unit.into();
    }
    if let Some(stem) = unit.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u'])) {
        return format!("{stem}ies").into();
    }
    let hisses = ["s", "x", "z", "ch", "sh"].iter().any(|end| last.ends_with(end));
    format!("{unit}{}", if hisses { "es" } else { "s" }).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_follow_their_quantities() {
        let amount = |text| Amount::parse(text).expect("an amount");
        for (unit, quantity, wanted) in [
            ("call", "1", "call"),
            ("call", "0", "calls"),
            ("call", "0.5", "calls"),
            ("call", "200", "calls"),
            ("query", "2", "queries"),
            ("day", "2", "days"),
            ("box", "2", "boxes"),
            ("batch", "3", "batches"),
            ("address", "3", "addresses"),
            ("GB", "3", "GB"),
            ("kWh", "3", "kWh"),
            ("ms", "3", "ms"),
            ("GB hour", "3", "GB hours"),
            ("tokens", "3", "tokens"),
            ("active user", "3", "active users"),
        ] {
            assert_eq!(units(unit, amount(quantity)), wanted, "{quantity} {unit}");
        }
    }
}

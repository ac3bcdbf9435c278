//! Prices: what is owed for a plan and for usage under it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::read::{amount, some_amount, some_month};
use crate::limits::{PRICE_TIERS_MAX, TEXT_CHARS_MAX};
use crate::{Amount, MeterId, Period};

/// What is owed for a plan, or for usage of a meter under it. Amounts of money are in the plan's currency.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Price {
    /// A name for people, in place of one made from the meter's.
    pub name: Option<String>,
    /// Usage of what; `None`: a fee of the plan itself.
    pub meter: Option<MeterId>,
    /// Values that properties of the usage must have; several prices may take usage of one meter, and the one that
    /// names the most properties wins.
    pub matches: BTreeMap<String, String>,
    /// How money is made of a quantity.
    pub model: Model,
    /// Which part of the usage is billed.
    pub portion: Portion,
    /// Quantity that is free each month, taken off before the model sees it.
    pub included: Amount,
    /// Percent taken off what the model makes: 0 to 100.
    pub discount_percent: Amount,
    /// The least that is owed each month, also without usage.
    pub minimum: Option<Amount>,
    /// The most that is owed each month.
    pub maximum: Option<Amount>,
    /// The months it is in force.
    pub months: Months,
}

/// How money is made of a quantity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Model {
    /// A fee: of a plan each month, of a meter each month in which something of it is billed.
    Flat {
        /// How much.
        fee: Amount,
    },
    /// So much for each unit.
    PerUnit {
        /// How much.
        unit_price: Amount,
    },
    /// So much for each package begun.
    Package {
        /// How much of the meter is in one; above zero.
        size: Amount,
        /// The price of one.
        price: Amount,
    },
    /// Each part of the quantity at the price of the tier it falls in.
    Graduated {
        /// Ascending; only the last has no end.
        tiers: Vec<Tier>,
    },
    /// All of the quantity at the price of the tier the whole falls in.
    Volume {
        /// Ascending; only the last has no end.
        tiers: Vec<Tier>,
    },
}

/// A step of a graduated or volume price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// The last quantity that falls in it; `None`: no end.
    pub up_to: Option<Amount>,
    /// The price of each unit.
    pub unit_price: Amount,
    /// What is owed once if any quantity falls in it.
    pub flat_fee: Amount,
}

/// Which part of the usage is billed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Portion {
    /// All of it.
    #[default]
    All,
    /// What no credit covered.
    Overage,
}

/// A range of months; an end that is `None` is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Months {
    /// The first month in it.
    pub from: Option<Period>,
    /// The first month no longer in it.
    pub until: Option<Period>,
}

/// A price as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: Option<String>,
    meter: Option<MeterId>,
    model: Name,
    #[serde(default, deserialize_with = "some_amount")]
    unit_price: Option<Amount>,
    #[serde(default, deserialize_with = "some_amount")]
    package_size: Option<Amount>,
    #[serde(default, deserialize_with = "some_amount")]
    package_price: Option<Amount>,
    #[serde(default, deserialize_with = "some_amount")]
    flat_fee: Option<Amount>,
    tiers: Option<Vec<WrittenTier>>,
    #[serde(default, deserialize_with = "amount")]
    included: Amount,
    #[serde(default, deserialize_with = "amount")]
    discount_percent: Amount,
    #[serde(default, deserialize_with = "some_amount")]
    minimum: Option<Amount>,
    #[serde(default, deserialize_with = "some_amount")]
    maximum: Option<Amount>,
    #[serde(default, rename = "where")]
    matches: BTreeMap<String, String>,
    #[serde(default, rename = "quantity")]
    portion: Portion,
    #[serde(default, deserialize_with = "some_month")]
    from: Option<Period>,
    #[serde(default, deserialize_with = "some_month")]
    until: Option<Period>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenTier {
    #[serde(default, deserialize_with = "some_amount")]
    up_to: Option<Amount>,
    #[serde(default, deserialize_with = "some_amount")]
    unit_price: Option<Amount>,
    #[serde(default, deserialize_with = "some_amount")]
    flat_fee: Option<Amount>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Name {
    Flat,
    PerUnit,
    Package,
    Graduated,
    Volume,
}

impl Name {
    const fn text(self) -> &'static str {
        match self {
            Self::Flat => "flat",
            Self::PerUnit => "per_unit",
            Self::Package => "package",
            Self::Graduated => "graduated",
            Self::Volume => "volume",
        }
    }

    /// The fields that say its prices; it has none of the others'.
    const fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Flat => &["flat_fee"],
            Self::PerUnit => &["unit_price"],
            Self::Package => &["package_size", "package_price"],
            Self::Graduated | Self::Volume => &["tiers"],
        }
    }
}

impl Model {
    /// The name in the catalog: `per_unit`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Flat { .. } => Name::Flat.text(),
            Self::PerUnit { .. } => Name::PerUnit.text(),
            Self::Package { .. } => Name::Package.text(),
            Self::Graduated { .. } => Name::Graduated.text(),
            Self::Volume { .. } => Name::Volume.text(),
        }
    }
}

impl Price {
    /// Whether usage with these properties is among what it may take.
    #[must_use]
    pub fn takes(&self, properties: &BTreeMap<String, String>) -> bool {
        self.matches.iter().all(|(name, value)| properties.get(name) == Some(value))
    }
}

impl Months {
    /// Whether a month lies in it.
    #[must_use]
    pub fn contains(&self, month: Period) -> bool {
        self.from.is_none_or(|from| from.number <= month.number)
            && self.until.is_none_or(|until| month.number < until.number)
    }

    /// The months in both; `None` if there are none.
    #[must_use]
    pub fn common(&self, other: &Self) -> Option<Self> {
        let from = self.from.max(other.from);
        let until = [self.until, other.until].into_iter().flatten().min();
        let common = Self { from, until };
        common.has_any().then_some(common)
    }

    /// Whether all months of another range lie in it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.common(other) == Some(*other)
    }

    fn has_any(&self) -> bool {
        self.from.zip(self.until).is_none_or(|(from, until)| from.number < until.number)
    }
}

impl TryFrom<Written> for Price {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        check_fields(&written)?;
        check_values(&written)?;
        let Written { name, meter, matches, portion, included, discount_percent, minimum, maximum, .. } =
            written;
        let tiers = written.tiers.unwrap_or_default();
        let model = match written.model {
            Name::Flat => Model::Flat { fee: written.flat_fee.unwrap_or_default() },
            Name::PerUnit => Model::PerUnit { unit_price: written.unit_price.unwrap_or_default() },
            Name::Package => Model::Package {
                size: written.package_size.unwrap_or_default(),
                price: written.package_price.unwrap_or_default(),
            },
            Name::Graduated => Model::Graduated { tiers: read_tiers(tiers)? },
            Name::Volume => Model::Volume { tiers: read_tiers(tiers)? },
        };
        let months = Months { from: written.from, until: written.until };
        if !months.has_any() {
            return Err("from must be before until".to_owned());
        }
        Ok(Self {
            name,
            meter,
            matches,
            model,
            portion,
            included,
            discount_percent,
            minimum,
            maximum,
            months,
        })
    }
}

/// Each model has its own fields, and a fee of the plan none that speak of usage.
fn check_fields(written: &Written) -> Result<(), String> {
    let model = written.model;
    let name = model.text();
    for (field, is_given) in [
        ("unit_price", written.unit_price.is_some()),
        ("package_size", written.package_size.is_some()),
        ("package_price", written.package_price.is_some()),
        ("flat_fee", written.flat_fee.is_some()),
        ("tiers", written.tiers.is_some()),
    ] {
        match (model.fields().contains(&field), is_given) {
            (true, false) => return Err(format!("a price of the model '{name}' needs {field}")),
            (false, true) => return Err(format!("a price of the model '{name}' has no {field}")),
            _ => {}
        }
    }
    if written.meter.is_some() {
        return Ok(());
    }
    if model != Name::Flat {
        return Err(format!("a price of the model '{name}' needs a meter"));
    }
    let of_usage = [
        ("included", !written.included.is_zero()),
        ("minimum", written.minimum.is_some()),
        ("maximum", written.maximum.is_some()),
        ("where", !written.matches.is_empty()),
        ("quantity", written.portion != Portion::All),
    ];
    match of_usage.iter().find(|(_, is_given)| *is_given) {
        Some((field, _)) => {
            Err(format!("a price without a meter has no {field}: it is a fee of the plan itself"))
        }
        None => Ok(()),
    }
}

fn check_values(written: &Written) -> Result<(), String> {
    for (field, amount) in [
        ("unit_price", written.unit_price),
        ("package_price", written.package_price),
        ("flat_fee", written.flat_fee),
        ("included", Some(written.included)),
        ("discount_percent", Some(written.discount_percent)),
        ("minimum", written.minimum),
        ("maximum", written.maximum),
    ] {
        not_negative(field, amount)?;
    }
    if written.package_size.is_some_and(|size| !size.is_positive()) {
        return Err("package_size must be greater than zero".to_owned());
    }
    if written.discount_percent > Amount::from_whole(100) {
        return Err("discount_percent must be between 0 and 100".to_owned());
    }
    if written.minimum.zip(written.maximum).is_some_and(|(minimum, maximum)| minimum > maximum) {
        return Err("minimum must not be greater than maximum".to_owned());
    }
    if written.matches.values().any(|value| value.chars().count() > TEXT_CHARS_MAX) {
        return Err(format!("where: a value has at most {TEXT_CHARS_MAX} characters"));
    }
    Ok(())
}

fn not_negative(field: &str, amount: Option<Amount>) -> Result<(), String> {
    match amount {
        Some(amount) if amount < Amount::ZERO => Err(format!("{field} must not be negative")),
        _ => Ok(()),
    }
}

fn read_tiers(written: Vec<WrittenTier>) -> Result<Vec<Tier>, String> {
    if written.is_empty() || written.len() > PRICE_TIERS_MAX {
        return Err(format!("tiers: between 1 and {PRICE_TIERS_MAX} are needed"));
    }
    let last = written.len();
    let mut below = Amount::ZERO;
    let mut tiers = Vec::with_capacity(last);
    for (number, tier) in (1..).zip(written) {
        let place = format!("tier {number}");
        match tier.up_to {
            None if number < last => return Err(format!("{place}: only the last tier has no up_to")),
            Some(_) if number == last => return Err(format!("{place}: the last tier must have no up_to")),
            Some(up_to) if up_to <= below => {
                return Err(format!("{place}: up_to must be greater than {below}"));
            }
            Some(up_to) => below = up_to,
            None => {}
        }
        if tier.unit_price.is_none() && tier.flat_fee.is_none() {
            return Err(format!("{place}: unit_price or flat_fee is needed"));
        }
        not_negative(&format!("{place}: unit_price"), tier.unit_price)?;
        not_negative(&format!("{place}: flat_fee"), tier.flat_fee)?;
        tiers.push(Tier {
            up_to: tier.up_to,
            unit_price: tier.unit_price.unwrap_or_default(),
            flat_fee: tier.flat_fee.unwrap_or_default(),
        });
    }
    Ok(tiers)
}

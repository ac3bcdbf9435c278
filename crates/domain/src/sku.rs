//! SKUs: products, and the units their use is counted in.

use serde::Deserialize;

use crate::{IdError, MeterId};

/// Between product and unit in the id of a meter that a pulse creates.
const SEPARATOR: char = ':';

/// A product with the unit its use is counted in: what a pulse is of, and what usage is sent to the processor as.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sku {
    /// The product.
    pub product: String,
    /// The unit.
    pub unit: String,
}

impl Sku {
    /// The meter that a pulse of it creates: `product:unit`, where `:` and `%` inside either are `%3A` and `%25`. No two SKUs share one.
    ///
    /// # Errors
    /// [`IdError`] when product or unit is empty, holds a control character, or both together are too long.
    pub fn meter(&self) -> Result<MeterId, IdError> {
        if self.product.is_empty() || self.unit.is_empty() {
            return Err(IdError::Empty);
        }
        MeterId::new(&format!("{}{SEPARATOR}{}", escaped(&self.product), escaped(&self.unit)))
    }
}

fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace(SEPARATOR, "%3A")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_skus_share_a_meter() {
        for (product, unit, wanted) in [
            ("vm", "hour", "vm:hour"),
            ("a:b", "c", "a%3Ab:c"),
            ("a", "b:c", "a:b%3Ac"),
            ("100%", "%3A", "100%25:%253A"),
            ("größe.xl", "Stück / h", "größe.xl:Stück / h"),
        ] {
            let sku = Sku { product: product.to_owned(), unit: unit.to_owned() };
            assert_eq!(sku.meter().expect(wanted).as_str(), wanted);
        }
    }

    #[test]
    fn what_is_no_sku_is_said_so() {
        for (product, unit, wanted) in [
            ("", "hour", IdError::Empty),
            ("vm", "", IdError::Empty),
            ("v\nm", "hour", IdError::ControlCharacter),
            (&"x".repeat(100), &"y".repeat(28), IdError::TooLong),
        ] {
            let sku = Sku { product: product.to_owned(), unit: unit.to_owned() };
            assert_eq!(sku.meter(), Err(wanted), "{product:?} {unit:?}");
        }
    }
}

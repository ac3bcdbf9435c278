//! SKUs: products, and the units their use is counted in. Each pair is a meter.

use crate::{IdError, MeterId};

/// Between product and unit in the id of a meter.
const SEPARATOR: char = ':';

/// A product with the unit its use is counted in: what a pulse is of.
///
/// Usage of its meter goes out to the processor, whichever way it came in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sku {
    /// The product.
    pub product: String,
    /// The unit.
    pub unit: String,
}

impl Sku {
    /// Its meter: `product:unit`, where `:` and `%` inside either are `%3A` and `%25`. No two SKUs share one.
    ///
    /// # Errors
    /// [`IdError`] when product or unit is empty, holds a control character, or both together are too long.
    pub fn meter(&self) -> Result<MeterId, IdError> {
        if self.product.is_empty() || self.unit.is_empty() {
            return Err(IdError::Empty);
        }
        MeterId::new(&format!("{}{SEPARATOR}{}", escaped(&self.product), escaped(&self.unit)))
    }

    /// The SKU whose meter this is; `None` for any other meter.
    #[must_use]
    pub fn of(meter: &MeterId) -> Option<Self> {
        let (product, unit) = meter.as_str().split_once(SEPARATOR)?;
        let sku = Self { product: plain(product)?, unit: plain(unit)? };
        (!sku.product.is_empty() && !sku.unit.is_empty()).then_some(sku)
    }
}

fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace(SEPARATOR, "%3A")
}

/// The text that [`escaped`] made this of; `None` if it made it of none.
fn plain(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut plain = parts.next()?.to_owned();
    for part in parts {
        if let Some(rest) = part.strip_prefix("25") {
            plain.push('%');
            plain.push_str(rest);
        } else {
            plain.push(SEPARATOR);
            plain.push_str(part.strip_prefix("3A")?);
        }
    }
    (!text.contains(SEPARATOR)).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sku_is_a_meter_and_back() {
        for (product, unit, wanted) in [
            ("vm", "hour", "vm:hour"),
            ("a:b", "c", "a%3Ab:c"),
            ("a", "b:c", "a:b%3Ac"),
            ("100%", "%3A", "100%25:%253A"),
            ("größe.xl", "Stück / h", "größe.xl:Stück / h"),
        ] {
            let sku = Sku { product: product.to_owned(), unit: unit.to_owned() };
            let meter = sku.meter().expect(wanted);
            assert_eq!(meter.as_str(), wanted);
            assert_eq!(Sku::of(&meter), Some(sku), "{wanted}");
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
        for meter in ["reports", ":", "a:", ":b", "a:b:c", "a%:b", "a%3a:b", "a%20:b", "llm.tokens"] {
            assert_eq!(Sku::of(&MeterId::new(meter).expect("an id")), None, "{meter}");
        }
    }
}

//! Shipments: what SKUs were used on a day, on its way to the processor.
//!
//! Usage of a meter with a sink is added to what is unsent of its org and day. A shipment is made of unsent amounts of a day, by the
//! system, and written down before it is sent; once the processor has it, each org takes its lines off what is unsent.
//! The next shipment is made only after that, so no amount is in two of them.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{Amount, OrgId, ShipmentId, Sku, UsedEntry};

/// What was counted of an org's SKUs on a day and is in no shipment that was sent.
///
/// Negative where usage was taken back after it was sent: the next shipment puts it right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unsent {
    amounts: BTreeMap<Sku, Amount>,
}

impl Unsent {
    /// The amounts; none of them is zero.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Sku, Amount)> {
        self.amounts.iter().map(|(sku, amount)| (sku, *amount))
    }

    /// Whether nothing is unsent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.amounts.is_empty()
    }

    /// Adds an amount (negated: takes it off).
    pub(crate) fn add(&mut self, sku: &Sku, amount: Amount) {
        let sum = self.amounts.get(sku).copied().unwrap_or_default() + amount;
        if sum.is_zero() {
            self.amounts.remove(sku);
        } else {
            self.amounts.insert(sku.clone(), sum);
        }
    }
}

/// Builds it from amounts, none of which is zero.
impl FromIterator<(Sku, Amount)> for Unsent {
    fn from_iter<I: IntoIterator<Item = (Sku, Amount)>>(amounts: I) -> Self {
        Self { amounts: amounts.into_iter().collect() }
    }
}

/// Amounts of one day that go to the processor together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shipment {
    /// Its number: 1, 2, 3 …
    pub number: u64,
    /// Its name to the processor: no shipment of anybody else has it, and it stays the same however often it is sent.
    pub id: ShipmentId,
    /// The number of the day, of the calendar of each org.
    pub day: i32,
    /// When it was made.
    pub at: Timestamp,
    /// What was used, by org and SKU; at most [`crate::limits::SHIPMENT_LINES_MAX`].
    pub lines: Vec<ShipmentLine>,
}

/// What an org used of a SKU.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShipmentLine {
    /// The org.
    pub org: OrgId,
    /// The SKU.
    pub sku: Sku,
    /// How much; never zero, negative where more was taken back than used since the last shipment.
    pub amount: Amount,
}

/// The day in whose unsent amounts a usage is; `None` if it is not sent.
pub(crate) fn unsent_day(used: &UsedEntry) -> Option<i32> {
    used.sink.as_ref().and_then(|_| used.day())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_to_nothing_is_left_out() {
        let sku = |unit: &str| Sku { product: "a".to_owned(), unit: unit.to_owned() };
        let mut unsent = Unsent::default();
        for (of, amount) in [("b", 3), ("c", 5), ("b", -3), ("c", -7)] {
            unsent.add(&sku(of), Amount::from_whole(amount));
        }
        assert_eq!(unsent.iter().collect::<Vec<_>>(), [(&sku("c"), Amount::from_whole(-2))]);
        unsent.add(&sku("c"), Amount::from_whole(2));
        assert!(unsent.is_empty());
    }
}

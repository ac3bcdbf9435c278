//! Shipments: what SKUs were used on a day, on its way to the processor.
//!
//! Usage of a SKU is added to what is unsent of its org and day. A shipment is made of unsent amounts of a day, by the
//! system, and written down before it is sent; once the processor has it, each org takes its lines off what is unsent.
//! The next shipment is made only after that, so no amount is in two of them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Amount, MeterId, OrgId, ShipmentId, Sku, UsedEntry};

/// What was counted of an org's SKUs on a day and is in no shipment that was sent.
///
/// Negative where usage was taken back after it was sent: the next shipment puts it right.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsent {
    amounts: BTreeMap<MeterId, Amount>,
}

impl Unsent {
    /// The amounts by meter; none of them is zero.
    pub fn iter(&self) -> impl Iterator<Item = (&MeterId, Amount)> {
        self.amounts.iter().map(|(meter, amount)| (meter, *amount))
    }

    /// Whether nothing is unsent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.amounts.is_empty()
    }

    /// Adds an amount (negated: takes it off).
    pub(crate) fn add(&mut self, meter: &MeterId, amount: Amount) {
        let sum = self.amounts.get(meter).copied().unwrap_or_default() + amount;
        if sum.is_zero() {
            self.amounts.remove(meter);
        } else {
            self.amounts.insert(meter.clone(), sum);
        }
    }
}

/// Days from the first to the last, both among them, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Days {
    /// The first.
    pub first: i32,
    /// The last.
    pub last: i32,
}

impl Days {
    /// These days and another, and those between.
    pub(crate) fn with(days: Option<Self>, day: i32) -> Self {
        days.map_or(Self { first: day, last: day }, |days| Self {
            first: days.first.min(day),
            last: days.last.max(day),
        })
    }

    /// These days without one, if it is at an end of them.
    pub(crate) fn without(self, day: i32) -> Option<Self> {
        match self {
            Self { first, last } if first == day && last == day => None,
            Self { first, last } if first == day => Some(Self { first: day + 1, last }),
            Self { first, last } if last == day => Some(Self { first, last: day - 1 }),
            days => Some(days),
        }
    }
}

/// Amounts of one day that go to the processor together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shipment {
    /// Its number: 1, 2, 3 …
    pub number: u64,
    /// Its name to the processor: no shipment of anybody else has it, and it stays the same however often it is sent.
    pub id: ShipmentId,
    /// The number of the day, of the calendar of each org.
    pub day: i32,
    /// When it was made.
    #[serde(with = "crate::instant")]
    pub at: Timestamp,
    /// What was used, by org and meter; at most [`crate::limits::SHIPMENT_LINES_MAX`].
    pub lines: Vec<ShipmentLine>,
}

/// What an org used of a SKU.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ShipmentLine {
    /// The org.
    pub org: OrgId,
    /// The meter of the SKU.
    pub meter: MeterId,
    /// How much; never zero, negative where more was taken back than used since the last shipment.
    pub amount: Amount,
}

/// The day in whose unsent amounts a usage is; `None` if its meter is that of no SKU.
pub(crate) fn unsent_day(used: &UsedEntry) -> Option<i32> {
    Sku::of(&used.meter).and_then(|_| used.day())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_to_nothing_is_left_out() {
        let meter = |text: &str| MeterId::new(text).expect("an id");
        let mut unsent = Unsent::default();
        for (of, amount) in [("a:b", 3), ("a:c", 5), ("a:b", -3), ("a:c", -7)] {
            unsent.add(&meter(of), Amount::from_whole(amount));
        }
        assert_eq!(unsent.iter().collect::<Vec<_>>(), [(&meter("a:c"), Amount::from_whole(-2))]);
        unsent.add(&meter("a:c"), Amount::from_whole(2));
        assert!(unsent.is_empty());
    }

    #[test]
    fn days_grow_to_hold_a_day_and_shrink_at_their_ends() {
        let days = |first, last| Days { first, last };
        for (before, day, wanted) in
            [(None, 5, days(5, 5)), (Some(days(3, 5)), 4, days(3, 5)), (Some(days(3, 5)), 9, days(3, 9))]
        {
            assert_eq!(Days::with(before, day), wanted, "{before:?} and {day}");
        }
        for (before, day, wanted) in [
            (days(5, 5), 5, None),
            (days(3, 5), 3, Some(days(4, 5))),
            (days(3, 5), 5, Some(days(3, 4))),
            (days(3, 5), 4, Some(days(3, 5))),
            (days(3, 5), 6, Some(days(3, 5))),
        ] {
            assert_eq!(before.without(day), wanted, "{before:?} without {day}");
        }
    }
}

//! How a usage counts: what it does to each counter that it moves, and what taking it back does.
//!
//! A sum needs nothing but itself. A maximum and a last value are found by the [`Ranks`](crate::Ranks) in their counter.
//! Unique values are counted by counters of their own ([`Seen`]) that say how many usages had each: the first usage with a
//! value raises the counter by one, and taking back the last one lowers it. So each is the same in whichever order usage
//! came, and what was taken back might never have been.

use std::sync::Arc;

use jiff::Timestamp;

use crate::ranks::Rank;
use crate::{Amount, Counter, Group, ScopePath, UserId};

/// How a usage counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Counting {
    /// Its quantity is added.
    Sum,
    /// The largest quantity counts.
    Max,
    /// The quantity of the latest time counts, of one time that of the latest entry.
    Last {
        /// Its time: that which it is counted by.
        at: Timestamp,
    },
    /// The number of different values counts.
    Unique {
        /// Its value; `None` is no value and counts for nothing.
        value: Option<Arc<str>>,
    },
}

/// A value that a meter counts once, among some usage: its counters hold how many usages had it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seen {
    /// Among which usage.
    pub among: Among,
    /// The value.
    pub value: Arc<str>,
}

/// Some usage of a meter that is counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Among {
    /// The whole org's.
    Org,
    /// One user's.
    User(UserId),
    /// That at a path and below it.
    Path(ScopePath),
    /// That of one group of values of properties.
    Group(Group),
}

/// Whether a usage comes or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Motion {
    Count,
    TakeBack,
}

impl Counting {
    /// Whether a whole is the sum of its parts.
    #[must_use]
    pub const fn adds_up(&self) -> bool {
        matches!(self, Self::Sum)
    }

    /// The value that is counted once.
    #[must_use]
    pub const fn value(&self) -> Option<&Arc<str>> {
        match self {
            Self::Unique { value } => value.as_ref(),
            Self::Sum | Self::Max | Self::Last { .. } => None,
        }
    }
}

impl Motion {
    /// An amount, below zero where it is taken back.
    pub(crate) fn signed(self, amount: Amount) -> Amount {
        match self {
            Self::Count => amount,
            Self::TakeBack => -amount,
        }
    }
}

/// What a usage does to one counter.
enum Effect {
    Adds(Amount),
    RankedBy(i128),
}

/// One usage as it moves counters.
#[derive(Clone, Debug)]
pub(crate) struct Move<'a> {
    pub(crate) counting: &'a Counting,
    pub(crate) quantity: Amount,
    /// The number of the entry that counts it.
    pub(crate) entry: u64,
    pub(crate) motion: Motion,
}

impl Move<'_> {
    /// What it adds to a counter, or by what it is ranked in it; `seen` is how many usages counted there have its value,
    /// before the counter is moved.
    fn effect(&self, seen: Amount) -> Effect {
        let Self { quantity, motion, .. } = *self;
        match self.counting {
            Counting::Sum => Effect::Adds(motion.signed(quantity)),
            Counting::Unique { value } => {
                let lone = if motion == Motion::Count { Amount::ZERO } else { ONE };
                let counts = value.is_some() && seen == lone;
                Effect::Adds(if counts { motion.signed(ONE) } else { Amount::ZERO })
            }
            Counting::Max => Effect::RankedBy(quantity.billionths()),
            Counting::Last { at } => Effect::RankedBy(at.as_nanosecond()),
        }
    }

    /// Moves a counter; for `seen` see [`Self::effect`].
    pub(crate) fn make(&self, counter: &mut Counter, seen: Amount) {
        let Self { quantity, entry, motion, .. } = *self;
        let by = match self.effect(seen) {
            Effect::Adds(amount) => {
                counter.value += amount;
                return;
            }
            Effect::RankedBy(by) => by,
        };
        counter.value = counter.change_extras(|extras| {
            let ranks = Arc::make_mut(extras.ranks.get_or_insert_default());
            match motion {
                Motion::Count => ranks.enter(Rank { by, entry, value: quantity }),
                Motion::TakeBack => ranks.leave(entry),
            }
            ranks.value()
        });
    }
}

impl Move<'_> {
    /// What a usage would make of a counter; `seen` tells how many usages counted there have a value.
    pub(crate) fn after(&self, counter: &Counter, seen: impl FnOnce(&Arc<str>) -> Amount) -> Amount {
        let seen = self.counting.value().map_or(Amount::ZERO, seen);
        if let Effect::Adds(amount) = self.effect(seen) {
            return counter.value + amount;
        }
        let mut after = counter.clone();
        self.make(&mut after, seen);
        after.value
    }
}

/// One usage.
pub(crate) const ONE: Amount = Amount::from_billionths(1_000_000_000);

impl Seen {
    /// Whose counters hold how often a value was seen.
    pub(crate) fn new(among: Among, value: &Arc<str>) -> Arc<Self> {
        Arc::new(Self { among, value: Arc::clone(value) })
    }
}

//! Ranks: what the counter of a maximum, or of a last value, is found by.

use crate::Amount;
use crate::limits::RANKS_KEPT;

/// The highest-ranked usages of a counter, by value or by time, so that taking one back gives the next. How they stand is
/// the same in whichever order usage came.
///
/// Only some are kept. Those below are known by their number: they rank below each that is kept. So the highest is known
/// until all that are kept have been taken back; [`Ranks::can_leave`] says when one may not be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranks {
    /// The highest first, at most [`RANKS_KEPT`].
    kept: Vec<Rank>,
    /// How many rank below all of them.
    below: u64,
}

/// One usage, ordered by its rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// What it ranks by: its value, or its time in nanoseconds since 1970.
    pub by: i128,
    /// The number of its entry, where that is the same.
    pub entry: u64,
    /// Its value.
    pub value: Amount,
}

impl Ranks {
    /// Builds ranks from the kept usages, highest first and at most [`RANKS_KEPT`], and the number that rank below them.
    #[must_use]
    pub const fn from_parts(kept: Vec<Rank>, below: u64) -> Self {
        Self { kept, below }
    }

    /// The kept usages, highest first.
    #[must_use]
    pub fn kept(&self) -> &[Rank] {
        &self.kept
    }

    /// How many usages rank below the kept ones.
    #[must_use]
    pub const fn below(&self) -> u64 {
        self.below
    }

    /// The value of the highest; zero if there is none.
    #[must_use]
    pub fn value(&self) -> Amount {
        self.kept.first().map_or(Amount::ZERO, |rank| rank.value)
    }

    /// Adds a usage.
    pub(crate) fn enter(&mut self, rank: Rank) {
        if self.below > 0 && self.kept.last().is_none_or(|lowest| rank < *lowest) {
            self.below += 1;
            return;
        }
        let place = self.kept.partition_point(|kept| *kept > rank);
        self.kept.insert(place, rank);
        if self.kept.len() > RANKS_KEPT {
            self.kept.pop();
            self.below += 1;
        }
    }

    /// Whether the highest is known still once the usage of an entry is taken back.
    #[must_use]
    pub fn can_leave(&self, entry: u64) -> bool {
        self.below == 0 || self.kept.iter().any(|kept| kept.entry != entry)
    }

    /// Takes the usage of an entry back; see [`Ranks::can_leave`].
    pub(crate) fn leave(&mut self, entry: u64) {
        match self.kept.iter().position(|kept| kept.entry == entry) {
            Some(place) => {
                self.kept.remove(place);
            }
            None => self.below = self.below.saturating_sub(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(by: i64, entry: u64) -> Rank {
        Rank { by: by.into(), entry, value: Amount::from_whole(by) }
    }

    /// Any order of coming and going against all usages in a list.
    #[test]
    fn the_highest_is_that_of_all_that_are_left() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..300 {
            let mut ranks = Ranks::default();
            let mut all: Vec<Rank> = Vec::new();
            let mut refused = 0;
            for entry in 1..200 {
                if !all.is_empty() && random.u8(..5) < 2 {
                    let gone = all[random.usize(..all.len())];
                    if ranks.can_leave(gone.entry) {
                        ranks.leave(gone.entry);
                        all.retain(|known| known.entry != gone.entry);
                    } else {
                        refused += 1;
                    }
                } else {
                    let next = rank(random.i64(1..40), entry);
                    ranks.enter(next);
                    all.push(next);
                }
                let highest = all.iter().max().map_or(Amount::ZERO, |rank| rank.value);
                assert_eq!(ranks.value(), highest, "{ranks:?}");
            }
            assert!(refused < 20, "taking back at random is hardly ever refused: {refused}");
        }
    }

    #[test]
    fn the_last_of_those_kept_stays_while_others_are_only_counted() {
        let mut ranks = Ranks::default();
        let many = i64::try_from(RANKS_KEPT).expect("small") + 1;
        for number in 1..=many {
            ranks.enter(rank(number, number.unsigned_abs()));
        }
        for number in (3..=many).rev() {
            assert_eq!(ranks.value(), Amount::from_whole(number));
            assert!(ranks.can_leave(number.unsigned_abs()));
            ranks.leave(number.unsigned_abs());
        }
        assert_eq!(ranks.value(), Amount::from_whole(2));
        assert!(!ranks.can_leave(2), "what comes next is not known");
        assert!(ranks.can_leave(1), "it ranks below");
        ranks.leave(1);
        assert!(ranks.can_leave(2), "none is below any more");
        ranks.leave(2);
        assert_eq!(ranks, Ranks::default());
    }
}

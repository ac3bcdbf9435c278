//! Versions of partitions that were opened, appended to or saved lately: of their ledgers, which an append checks, or of their
//! images.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use foldhash::fast::RandomState;

use super::limits::VERSIONS_MAX;

/// Versions by fingerprint: those of late, and those from before. What is asked for again stays.
#[derive(Debug, Default)]
pub(crate) struct Versions {
    late: HashMap<u128, u64, RandomState>,
    before: HashMap<u128, u64, RandomState>,
}

impl Versions {
    /// Makes room for more: forgets those that were not asked for since this last forgot some.
    pub(crate) fn make_room(&mut self) {
        if self.late.len() >= VERSIONS_MAX {
            self.before = std::mem::take(&mut self.late);
        }
    }

    /// The version of a partition; it is looked up if it is not remembered.
    pub(crate) fn of<E>(
        &mut self,
        partition: u128,
        look_up: impl FnOnce() -> Result<u64, E>,
    ) -> Result<&mut u64, E> {
        match self.late.entry(partition) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(unknown) => {
                let known = self.before.remove(&partition);
                let version = known.map_or_else(look_up, Ok)?;
                Ok(unknown.insert(version))
            }
        }
    }

    /// Notes the version of a partition, unless a later one is known.
    pub(crate) fn raise(&mut self, partition: u128, version: u64) {
        let before = self.before.remove(&partition).unwrap_or(0);
        let known = self.late.entry(partition).or_insert(before);
        *known = version.max(*known);
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.late.clear();
        self.before.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_the_rest_is_looked_up_again() {
        let mut versions = Versions::default();
        let at_most = u128::try_from(VERSIONS_MAX).expect("a number");
        let look_up = |version| move || Ok::<u64, ()>(version);
        for partition in 0..at_most {
            versions.of(partition, look_up(1)).expect("looked up");
        }
        *versions.of(7, || Err(())).expect("remembered") = 2;
        for round in 1..=3 {
            versions.make_room();
            assert_eq!(versions.of(7, || Err(())), Ok(&mut 2), "round {round}");
            for partition in at_most * round..at_most * (round + 1) {
                versions.of(partition, look_up(1)).expect("looked up");
            }
        }
        versions.raise(7, 1);
        assert_eq!(versions.of(7, || Err(())), Ok(&mut 2), "versions only grow");
        versions.raise(7, 3);
        assert_eq!(versions.of(7, || Err(())), Ok(&mut 3));
        assert!(versions.late.len() + versions.before.len() <= 2 * (VERSIONS_MAX + 1));
        assert_eq!(versions.of(8, look_up(5)), Ok(&mut 5), "it was forgotten");
        versions.clear();
        assert_eq!(versions.of(7, || Err(())), Err(()));
    }
}

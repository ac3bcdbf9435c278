//! What one store object has appended, until images hold it.

use tollgate_domain::Partition;

use super::world::World;
use crate::{Append, EntryChange};

/// The appends of a store object that images may lack.
#[derive(Debug, Default)]
pub(super) struct Own {
    appends: Vec<OwnAppend>,
    /// What the object found behind, and the versions: until the images are of these, nothing is said to be whole.
    found_behind: Vec<(Partition, u64)>,
    /// The position of the latest append.
    pub(super) latest: u64,
}

#[derive(Debug)]
struct OwnAppend {
    partition: Partition,
    /// The numbers before its first entry, and of its last.
    after: u64,
    until: u64,
    position: u64,
}

impl Own {
    /// Of an object that was just opened.
    pub(super) fn of_opened(world: &World) -> Self {
        let found_behind = world.lacking().into_iter().map(|partition| {
            let version = world.version(&partition);
            (partition, version)
        });
        Self { found_behind: found_behind.collect(), ..Self::default() }
    }

    pub(super) fn note(&mut self, append: &Append, position: u64) {
        let after = append.expected_version;
        let until = append.entries.last().map_or(after, EntryChange::number);
        self.appends.push(OwnAppend { partition: append.partition.clone(), after, until, position });
        self.latest = self.latest.max(position);
    }

    /// Up to which position images hold every entry.
    pub(super) fn whole_until(&mut self, world: &World) -> u64 {
        self.found_behind.retain(|(partition, version)| world.image_version(partition) < *version);
        self.appends.retain(|append| world.image_version(&append.partition) < append.until);
        if !self.found_behind.is_empty() {
            return 0;
        }
        let first = self.appends.iter().map(|append| append.position).min();
        first.map_or(self.latest, |position| position.saturating_sub(1))
    }

    /// Whether the object appended every entry that the image of a partition lacks.
    pub(super) fn made_all_since(&self, world: &World, partition: &Partition) -> bool {
        let image = world.image_version(partition);
        let appends = self.appends.iter().filter(|append| append.partition == *partition);
        let own: u64 = appends.map(|append| append.until.saturating_sub(append.after.max(image))).sum();
        own == world.version(partition).saturating_sub(image)
    }
}

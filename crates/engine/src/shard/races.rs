//! Races with other processes for the orgs of a shared store.

use std::collections::BTreeMap;

use tollgate_domain::{OrgId, Partition};
use tollgate_storage::{EntryChange, Store, StoreError, StoreErrorKind};

use super::Shard;
use crate::limits::{
    CONTENDED_PART, CONTENDED_TURNS, SHARED_LAG_ENTRIES_MAX, SHARED_LAG_ENTRIES_MIN, SHARED_LAG_TURNS,
};
use crate::loading::{Replaying, replayed};
use crate::resident::Place;

impl<S: Store> Shard<S> {
    /// Brings those of some orgs in memory up to date that another process changed, or forgets them; says how many these are. Nothing
    /// may be decided on them that the store does not have.
    pub(crate) async fn catch_up<'a>(
        &mut self,
        orgs: impl Iterator<Item = &'a OrgId>,
    ) -> Result<usize, StoreError> {
        if !self.is_shared() {
            return Ok(0);
        }
        let mut held = BTreeMap::new();
        for org in orgs {
            if let Some(place) = self.residents.place(org)
                && let Some(resident) = self.residents.at(place)
            {
                held.insert(place, (Partition::Org(org.clone()), resident.state.version()));
            }
        }
        if held.is_empty() {
            return Ok(0);
        }
        let (places, asked): (Vec<Place>, Vec<_>) = held.into_iter().unzip();
        let since = self.store.since(&asked).await?;
        assert_eq!(since.len(), asked.len(), "a store answers of every partition");
        let stale = places.into_iter().zip(since).filter(|(_, since)| since.as_ref() != Some(&Vec::new()));
        let stale: Vec<(Place, Option<Vec<EntryChange>>)> = stale.collect();
        let count = stale.len();
        let behind = stale.into_iter().filter_map(|(place, since)| {
            let (state, image) = self.residents.take(place)?;
            Some(Replaying::from(state, image, since?))
        });
        let behind: Vec<Replaying> = behind.collect();
        match replayed(self.store.as_ref(), behind.into_iter()).await {
            Ok(all) => {
                for (state, image) in all {
                    self.residents.insert(state, image);
                }
            }
            // They are opened again.
            Err(error) if error.kind() == StoreErrorKind::Moved => {}
            Err(error) => return Err(error),
        }
        Ok(count)
    }

    /// Notes that other processes changed so many of the orgs of a turn.
    pub(super) const fn note_races(&mut self, lost: usize, orgs: usize) {
        if lost > 0 && lost >= orgs / CONTENDED_PART {
            self.contended = CONTENDED_TURNS;
        }
    }

    /// Which of some orgs are not in memory as they are in the store.
    async fn stale(&mut self, orgs: &[(OrgId, Place)]) -> Result<Vec<Place>, StoreError> {
        if orgs.is_empty() {
            return Ok(Vec::new());
        }
        let partitions: Vec<Partition> = orgs.iter().map(|(org, _)| Partition::Org(org.clone())).collect();
        let versions = self.store.versions(&partitions).await?;
        assert_eq!(versions.len(), orgs.len(), "a store knows the version of every partition");
        let stale = orgs.iter().zip(versions).filter(|((_, place), version)| {
            self.residents.at(*place).is_none_or(|known| known.state.version() != *version)
        });
        Ok(stale.map(|((_, place), _)| *place).collect())
    }

    /// The orgs of which a turn appends nothing.
    pub(super) fn unguarded(&mut self, places: &[Place]) -> Vec<(OrgId, Place)> {
        let unguarded = |place: &Place| {
            let resident = self.residents.at(*place).filter(|resident| resident.append.is_none())?;
            Some((resident.state.id().clone(), *place))
        };
        places.iter().filter_map(unguarded).collect()
    }

    /// A denial counts only if it was decided on the current version.
    pub(super) async fn check_unguarded(&mut self, orgs: &[(OrgId, Place)], stale: &mut Vec<Place>) {
        match self.stale(orgs).await {
            Ok(found) => stale.extend(found),
            // What was appended is to be answered, whatever becomes of the others: those are decided again.
            Err(_) => stale.extend(orgs.iter().map(|(_, place)| *place)),
        }
    }
}

/// How many entries the image of an org may lack on a shared store after a turn that made some of them.
pub(super) fn shared_lag_max(entries: usize) -> usize {
    (SHARED_LAG_TURNS * entries).clamp(SHARED_LAG_ENTRIES_MIN, SHARED_LAG_ENTRIES_MAX)
}

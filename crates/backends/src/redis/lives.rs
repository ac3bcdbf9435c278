//! Which incarnation lives in each shard, and what was learned in it.
//!
//! When a Redis may have lost something of a shard, its next incarnation begins. What this object was told before may be of
//! entries that are lost, and of versions that come again with other entries; so from then on every org of the shard counts as
//! changed until it is opened again.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tollgate_domain::OrgId;
use tollgate_storage::StoreError;
use xxhash_rust::xxh3::xxh3_64;

use super::Core;
use super::calls::{Settled, shard_of};
use super::error::unfit;
use super::limits::RENEW_PAUSE;
use super::servers::{Lane, Request};
use crate::postgres::append::new_call;
use crate::postgres::incarnations::{self, Incarnation};

/// What is known of all shards.
#[derive(Debug)]
pub(crate) struct Shards(Vec<Mutex<Shard>>);

#[derive(Debug)]
struct Shard {
    number: u64,
    /// Hashes of the orgs that were opened since this incarnation is known; `None`: it was there when this object began.
    opened: Option<HashSet<u64>>,
}

fn hash(org: &OrgId) -> u64 {
    xxh3_64(org.as_str().as_bytes())
}

impl Shards {
    pub(crate) fn new(numbers: Vec<u64>) -> Self {
        Self(numbers.into_iter().map(|number| Mutex::new(Shard { number, opened: None })).collect())
    }

    fn shard(&self, shard: u16) -> Option<MutexGuard<'_, Shard>> {
        Some(self.0.get(usize::from(shard))?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn all(&self) -> impl Iterator<Item = Incarnation> {
        (0..).zip(&self.0).map(|(shard, known)| {
            let number = known.lock().unwrap_or_else(PoisonError::into_inner).number;
            Incarnation { shard, number }
        })
    }

    /// The incarnation of the shard of an org.
    pub(crate) fn of(&self, org: &OrgId) -> Incarnation {
        let shard = shard_of(org);
        Incarnation { shard, number: self.shard(shard).map_or(0, |known| known.number) }
    }

    /// Whether what this object was told of an org is of this incarnation.
    pub(crate) fn is_current(&self, org: &OrgId, of: Incarnation) -> bool {
        self.shard(of.shard).is_some_and(|known| {
            known.number == of.number && known.opened.as_ref().is_none_or(|orgs| orgs.contains(&hash(org)))
        })
    }

    /// Notes that an org was opened in an incarnation.
    pub(crate) fn note_opened(&self, org: &OrgId, of: Incarnation) {
        if let Some(mut known) = self.shard(of.shard)
            && known.number == of.number
            && let Some(opened) = &mut known.opened
        {
            opened.insert(hash(org));
        }
    }

    fn begin(&self, of: Incarnation) {
        if let Some(mut known) = self.shard(of.shard)
            && known.number < of.number
        {
            *known = Shard { number: of.number, opened: Some(HashSet::new()) };
        }
    }
}

impl Core {
    /// Makes sure that an incarnation lives in every shard. What lives then was there before anything is asked.
    pub(crate) async fn begin_lives(&mut self) -> Result<(), StoreError> {
        self.renew(self.shards.all().collect()).await?;
        self.shards = Shards::new(self.shards.all().map(|of| of.number).collect());
        Ok(())
    }

    /// Begins the next incarnations of those that ended, unless others did: then it learns of theirs.
    ///
    /// The next one is noted in the database first, by one of all who find the former one ended, and it alone begins it in the
    /// Redis. Who is too late with that begins nothing that anybody goes by.
    pub(crate) async fn renew(&self, mut former: Vec<Incarnation>) -> Result<(), StoreError> {
        former.sort_unstable();
        former.dedup();
        tokio::time::sleep(RENEW_PAUSE).await;
        let current = incarnations::current(&self.cold.database).await?;
        let known = |of: &Incarnation| Incarnation {
            number: current.get(usize::from(of.shard)).copied().unwrap_or_default(),
            ..*of
        };
        former.iter().for_each(|of| self.shards.begin(known(of)));
        former.retain(|of| known(of).number <= of.number);
        let ended = self.ended(former).await?;
        if ended.is_empty() {
            return Ok(());
        }
        let renewed = incarnations::renew(&self.cold.database, &ended, new_call()?).await?;
        let mine = renewed.iter().filter(|(_, is_mine)| *is_mine);
        let begun: Vec<Request> = mine.map(|(of, _)| self.servers.begin(*of)).collect();
        if !begun.is_empty() && ended.iter().any(|of| of.number > 0) {
            let shards = begun.len();
            tracing::warn!(
                shards,
                "Redis was started anew, replaced or emptied; it goes on from what PostgreSQL has"
            );
        }
        self.servers.ask(Lane::Write, &begun, false).await?;
        renewed.into_iter().for_each(|(of, _)| self.shards.begin(of));
        Ok(())
    }

    /// Those of some incarnations that live nowhere any more.
    async fn ended(&self, mut some: Vec<Incarnation>) -> Result<Vec<Incarnation>, StoreError> {
        let checks: Vec<Request> = some.iter().map(|of| self.servers.check(*of)).collect();
        let answers = self.servers.ask(Lane::Read, &checks, false).await?;
        let lives = answers.iter().map(super::servers::Answer::lives).collect::<Result<Vec<_>, _>>()?;
        let mut lives = lives.into_iter();
        some.retain(|_| lives.next() == Some(false));
        Ok(some)
    }

    /// Takes orgs into the incarnations of their shards, with what the database has of them.
    pub(crate) async fn settle(&self, orgs: &[&OrgId]) -> Result<(), StoreError> {
        let lives: Vec<Incarnation> = orgs.iter().map(|org| self.shards.of(org)).collect();
        let names: Vec<&str> = orgs.iter().map(|org| org.as_str()).collect();
        let cold = incarnations::versions_held(&self.cold.database, &names, &lives).await?;
        let (mut requests, mut of, mut ended) = (Vec::new(), Vec::new(), Vec::new());
        for ((org, life), cold) in orgs.iter().zip(lives).zip(cold) {
            match cold {
                Some(cold) => {
                    requests.push(self.servers.settle(org, life.number, &cold));
                    of.push((*org, life));
                }
                None => ended.push(life),
            }
        }
        let answers = self.servers.ask(Lane::Write, &requests, false).await?;
        for (answer, (org, life)) in answers.iter().zip(of) {
            match answer.settled()? {
                Settled::Known => {}
                Settled::Lost => ended.push(life),
                Settled::Behind => return Err(behind(org)),
            }
        }
        if ended.is_empty() { Ok(()) } else { self.renew(ended).await }
    }
}

/// The database was set back to an earlier state.
pub(crate) fn behind(org: &OrgId) -> StoreError {
    unfit(format!(
        "PostgreSQL lacks entries of {org} that it had, as after a backup was restored; empty the Redis to go on from what it has"
    ))
}

//! Moving entries to the database, each once.
//!
//! How far the database is, is the version of its own ledger: it moves in the transaction that appends the entries, and only
//! from where they go on. So whoever moves the same entries again, after a crash or beside another server, finds that they are
//! there. After that the Redis forgets them.

use std::sync::Weak;

use tollgate_domain::{OrgId, Partition};
use tollgate_storage::{Append, Appended, EntryChange, StoreError};
use uuid::Uuid;

use super::Core;
use super::calls::{Found, Kept, Span, Tail};
use super::limits::{FLUSH_ENTRIES, FLUSH_ORG_ENTRIES, FLUSH_ORGS};
use super::lives::behind;
use super::servers::{Lane, Request};
use crate::postgres::SHARDS;
use crate::postgres::append::{Origin, append_held, key_notes};
use crate::postgres::incarnations::{Held, Incarnation, versions_held};

/// Some entries of an org on their way.
struct Moving<'a> {
    org: &'a OrgId,
    life: Incarnation,
    base: u64,
    version: u64,
    append: Append,
    origins: Vec<Origin>,
    /// Hashes of the keys that the entries made or took back.
    keys: Vec<Uuid>,
}

impl<'a> Moving<'a> {
    fn of(org: &'a OrgId, life: Incarnation, tail: &Tail) -> Result<Self, StoreError> {
        let entries = tail.entries.iter().map(Kept::entry).collect::<Result<Vec<_>, _>>()?;
        let keys = key_notes(org, &entries)?.into_iter().map(|note| note.hash).collect();
        let origins = tail.entries.iter().map(|kept| kept.origin).collect();
        let append = Append {
            partition: Partition::Org(org.clone()),
            expected_version: tail.base,
            entries: entries.into_iter().map(EntryChange::Org).collect(),
        };
        Ok(Self { org, life, base: tail.base, version: tail.version, append, origins, keys })
    }

    fn until(&self) -> u64 {
        self.append.entries.last().map_or(self.base, EntryChange::number)
    }
}

/// Moves entries every interval, for as long as the store is there.
pub(crate) async fn flush_now_and_then(core: Weak<Core>) {
    while let Some(interval) = core.upgrade().map(|core| core.flush) {
        tokio::time::sleep(interval).await;
        let Some(core) = core.upgrade() else { return };
        if let Err(error) = core.flush_all(false).await {
            tracing::warn!(%error, "entries cannot be moved to PostgreSQL; it will be tried again");
        }
    }
}

impl Core {
    /// Moves all entries of all orgs, or of those with notices.
    pub(crate) async fn flush_all(&self, only_noticed: bool) -> Result<(), StoreError> {
        let mut scans: Vec<(u16, u64)> = (0..SHARDS).map(|shard| (shard, 0)).collect();
        while !scans.is_empty() {
            let requests: Vec<Request> = scans
                .iter()
                .map(|(shard, cursor)| self.servers.moving(*shard, only_noticed, *cursor))
                .collect();
            let answers = self.servers.ask(Lane::Read, &requests, false).await?;
            let mut found = Vec::new();
            for (answer, (_, cursor)) in answers.into_iter().zip(&mut scans) {
                let (next, orgs) = answer.orgs()?;
                found.extend(orgs);
                *cursor = next;
            }
            scans.retain(|(_, cursor)| *cursor != 0);
            // A scan may give one twice.
            found.sort_unstable();
            found.dedup();
            self.flush(&found.iter().collect::<Vec<_>>()).await?;
        }
        Ok(())
    }

    /// Moves what is there of some orgs.
    pub(crate) async fn flush(&self, orgs: &[&OrgId]) -> Result<(), StoreError> {
        for orgs in orgs.chunks(FLUSH_ORGS) {
            let mut left = orgs.to_vec();
            while !left.is_empty() {
                left = self.flush_some(&left).await?;
            }
        }
        Ok(())
    }

    /// Moves some entries of some orgs; gives those that have more.
    async fn flush_some<'a>(&self, orgs: &[&'a OrgId]) -> Result<Vec<&'a OrgId>, StoreError> {
        let tails = self.tails(orgs, |_| Span::oldest(0, FLUSH_ORG_ENTRIES)).await?;
        let mut moving = Vec::new();
        for (org, (tail, life)) in orgs.iter().zip(tails) {
            if let Some(tail) = tail.filter(|tail| !tail.entries.is_empty()) {
                moving.push(Moving::of(org, life, &tail)?);
            }
        }
        let mut left = Vec::new();
        while !moving.is_empty() {
            let mut entries = 0;
            let fit = moving.iter().take_while(|moving| {
                entries += moving.append.entries.len();
                entries <= FLUSH_ENTRIES
            });
            let fit = fit.count().max(1);
            let rest = moving.split_off(fit.min(moving.len()));
            left.extend(self.move_some(std::mem::replace(&mut moving, rest)).await?);
        }
        Ok(left)
    }

    /// Moves entries in one transaction, then forgets them; gives the orgs that have more.
    async fn move_some<'a>(&self, moving: Vec<Moving<'a>>) -> Result<Vec<&'a OrgId>, StoreError> {
        let held = Held::of(moving.iter().map(|moving| moving.life))?;
        let appends: Vec<Append> = moving.iter().map(|moving| moving.append.clone()).collect();
        let origins: Vec<Vec<Origin>> = moving.iter().map(|moving| moving.origins.clone()).collect();
        let Some(answers) = append_held(&self.cold.database, &appends, &origins, &held).await? else {
            // Another incarnation began; what is there then is looked at anew.
            self.renew(moving.iter().map(|moving| moving.life).collect()).await?;
            return Ok(moving.into_iter().map(|moving| moving.org).collect());
        };
        let mut moved = Vec::with_capacity(moving.len());
        let conflicts: Vec<&Moving<'_>> = moving
            .iter()
            .zip(&answers)
            .filter(|(_, answer)| **answer == Appended::Conflict)
            .map(|(one, _)| one)
            .collect();
        let mut cold = self.versions_of(&conflicts).await?.into_iter();
        for (one, answer) in moving.iter().zip(answers) {
            let until = match answer {
                Appended::Done => one.until(),
                // Others moved some of them.
                Appended::Conflict => cold.next().unwrap_or(one.base),
            };
            if until < one.base {
                return Err(behind(one.org));
            }
            moved.push(until);
        }
        self.trim(&moving, &moved).await?;
        let has_more = |(one, until): (Moving<'a>, u64)| (until < one.version).then_some(one.org);
        Ok(moving.into_iter().zip(moved).filter_map(has_more).collect())
    }

    /// How far the database is with orgs; what is not of the current incarnation any more is as it was.
    async fn versions_of(&self, some: &[&Moving<'_>]) -> Result<Vec<u64>, StoreError> {
        if some.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<&str> = some.iter().map(|moving| moving.org.as_str()).collect();
        let lives: Vec<Incarnation> = some.iter().map(|moving| moving.life).collect();
        let cold = versions_held(&self.cold.database, &names, &lives).await?;
        Ok(cold.into_iter().zip(some).map(|(cold, one)| cold.map_or(one.base, |cold| cold.version)).collect())
    }

    async fn trim(&self, moving: &[Moving<'_>], moved: &[u64]) -> Result<(), StoreError> {
        let requests = moving.iter().zip(moved).filter(|(one, until)| **until > one.base);
        let requests: Vec<Request> = requests
            .map(|(one, until)| self.servers.trim(one.org, one.life.number, *until, &one.keys))
            .collect();
        let answers = self.servers.ask(Lane::Write, &requests, false).await?;
        // What another incarnation holds is settled when it is looked at.
        answers.iter().try_for_each(|answer| answer.found().map(|_: Found| ()))
    }
}

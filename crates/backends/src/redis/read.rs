//! Reading: what the Redis has, and what the database has.
//!
//! The Redis is always asked first. It forgets an entry only after the database has it, so what is not found there any more is
//! found in the database then.

use std::collections::BTreeMap;

use tollgate_domain::{KeyId, KeyRecord, OrgId, Partition, Record, RecordKey};
use tollgate_storage::codec::decode;
use tollgate_storage::{
    Cursor, EntryChange, Loaded, Opened, Order, Page, Parts, Row, Scan, StoreError, StoreErrorKind,
};

use super::Core;
use super::calls::{Found, KeyFound, Span, Tail};
use super::error::{bad_answer, unavailable};
use super::limits::{MOMENT_ROUNDS_MAX, ROUNDS_MAX};
use super::servers::{Answer, Lane, Request};
use crate::postgres::append::hash_of;
use crate::postgres::incarnations::Incarnation;
use crate::postgres::read;
use crate::postgres::read::Entries;

/// A version that no ledger has: who is told it has something else in memory.
const CHANGED: u64 = u64::MAX;

impl Core {
    /// Asks about orgs until each is known or absent, in the incarnations that are given with the answers.
    async fn ask_of(
        &self,
        orgs: &[&OrgId],
        request: impl Fn(usize, &OrgId, u64) -> Request,
    ) -> Result<Vec<(Answer, Incarnation)>, StoreError> {
        for _ in 0..ROUNDS_MAX {
            let lives: Vec<Incarnation> = orgs.iter().map(|org| self.shards.of(org)).collect();
            let requests = orgs.iter().zip(&lives).enumerate();
            let requests: Vec<Request> =
                requests.map(|(place, (org, life))| request(place, org, life.number)).collect();
            let answers = self.servers.ask(Lane::Read, &requests, orgs.len() > 1).await?;
            let (mut ended, mut unsettled) = (Vec::new(), Vec::new());
            for ((answer, org), life) in answers.iter().zip(orgs).zip(&lives) {
                match answer.found()? {
                    Found::Lost => ended.push(*life),
                    Found::Former => unsettled.push(*org),
                    Found::Known | Found::Absent => {}
                }
            }
            if ended.is_empty() && unsettled.is_empty() {
                return Ok(answers.into_iter().zip(lives).collect());
            }
            if !ended.is_empty() {
                self.renew(ended).await?;
            }
            if !unsettled.is_empty() {
                self.settle(&unsettled).await?;
            }
        }
        Err(unavailable("Redis keeps losing what it holds"))
    }

    /// Some entries of each of some orgs; `None` of those that are absent.
    pub(crate) async fn tails(
        &self,
        orgs: &[&OrgId],
        span: impl Fn(usize) -> Span,
    ) -> Result<Vec<(Option<Tail>, Incarnation)>, StoreError> {
        let answers = self.ask_of(orgs, |place, org, life| self.servers.read(org, life, span(place))).await?;
        answers.into_iter().map(|(answer, life)| Ok((answer.tail()?, life))).collect()
    }

    async fn tail(&self, org: &OrgId, span: Span) -> Result<Option<Tail>, StoreError> {
        Ok(self.tails(&[org], |_| span).await?.pop().and_then(|(tail, _)| tail))
    }

    /// Opens partitions; see [`tollgate_storage::Store::open`].
    pub(crate) async fn open_all(&self, partitions: &[Partition]) -> Result<Vec<Opened>, StoreError> {
        let orgs = orgs_of(partitions);
        for round in 0..ROUNDS_MAX {
            let tails = self.tails(&orgs, |_| Span::ALL).await?;
            let cold = read::open(&self.cold.database, partitions).await?;
            let is_quiet = partitions.len() == 1 && tails.iter().all(|(tail, _)| tail.is_some());
            let has_moved = cold.iter().zip(partitions).any(|(cold, partition)| {
                let place = orgs.iter().position(|org| matches!(partition, Partition::Org(of) if of == *org));
                let tail = place.and_then(|place| tails.get(place)?.0.as_ref());
                tail.is_some_and(|tail| cold.version() > tail.base)
            });
            if (has_moved || !is_quiet) && !self.is_as_before(&orgs, &tails, round).await? {
                continue;
            }
            let mut of_orgs = tails.iter();
            let joined = cold.into_iter().zip(partitions).map(|(cold, partition)| match partition {
                Partition::Org(_) => joined(of_orgs.next().and_then(|(tail, _)| tail.as_ref()), cold),
                Partition::System => Ok(Some(cold)),
            });
            let opened: Option<Vec<Opened>> =
                joined.collect::<Result<Vec<_>, StoreError>>()?.into_iter().collect();
            let Some(opened) = opened else { continue };
            orgs.iter().zip(&tails).for_each(|(org, (_, life))| self.shards.note_opened(org, *life));
            return Ok(opened);
        }
        Err(StoreError::new(StoreErrorKind::Moved, "the organizations change faster than they are read"))
    }

    /// Whether orgs are as they were when their tails were read, so that what was read meanwhile goes with them. In a Cluster,
    /// which has no moment for all its servers, they are all to be as they were, unless that takes too long.
    async fn is_as_before(
        &self,
        orgs: &[&OrgId],
        tails: &[(Option<Tail>, Incarnation)],
        round: usize,
    ) -> Result<bool, StoreError> {
        if orgs.is_empty() {
            return Ok(true);
        }
        let now = self.tails(orgs, |_| Span::NOTHING).await?;
        let has_all = !self.servers.is_cluster() || round >= MOMENT_ROUNDS_MAX;
        Ok(tails.iter().zip(now).all(|((before, life), (now, life_now))| {
            *life == life_now
                && match (before, now) {
                    (None, None) => true,
                    (Some(before), Some(now)) => has_all || before.version == now.version,
                    _ => false,
                }
        }))
    }

    /// The versions of partitions; see [`tollgate_storage::Store::versions`].
    pub(crate) async fn versions(&self, partitions: &[Partition]) -> Result<Vec<u64>, StoreError> {
        let orgs = orgs_of(partitions);
        let mut tails = self.tails(&orgs, |_| Span::NOTHING).await?.into_iter();
        // What the Redis has of each; `None`: the database has it.
        let hot: Vec<Option<u64>> = partitions
            .iter()
            .map(|partition| {
                let Partition::Org(org) = partition else { return None };
                let (tail, life) = tails.next()?;
                match self.shards.is_current(org, life) {
                    true => tail.map(|tail| tail.version),
                    false => Some(CHANGED),
                }
            })
            .collect();
        if hot.iter().all(Option::is_some) {
            return Ok(hot.into_iter().flatten().collect());
        }
        let cold = read::versions(&self.cold.database, partitions).await?;
        Ok(hot.into_iter().zip(cold).map(|(hot, cold)| hot.unwrap_or(cold)).collect())
    }

    /// Loads records; see [`tollgate_storage::Store::load`].
    pub(crate) async fn load(&self, asked: &[Parts]) -> Result<Vec<Loaded>, StoreError> {
        let keys = asked.iter().flat_map(|parts| &parts.keys);
        let wanted = keys.filter_map(|key| match key {
            RecordKey::Entry(org, number) => Some((org, Span::one(*number))),
            _ => None,
        });
        let (orgs, spans): (Vec<&OrgId>, Vec<Span>) = wanted.unzip();
        let mut entries = BTreeMap::new();
        let tails = self.tails(&orgs, |place| spans.get(place).copied().unwrap_or(Span::NOTHING)).await?;
        for (org, (tail, _)) in orgs.into_iter().zip(tails) {
            for kept in tail.map(|tail| tail.entries).unwrap_or_default() {
                entries.insert((org, kept.number), Record::Entry(kept.entry()?.into()));
            }
        }
        let mut loaded = read::load(&self.cold.database, asked).await?;
        for (parts, records) in asked.iter().zip(&mut loaded) {
            for (key, record) in parts.keys.iter().zip(records.iter_mut().flatten()) {
                if let (RecordKey::Entry(org, number), None) = (key, &record) {
                    *record = entries.get(&(org, *number)).cloned();
                }
            }
        }
        Ok(loaded)
    }

    /// Finds callers' keys; see [`tollgate_storage::Store::find`].
    pub(crate) async fn find(&self, keys: &[KeyId]) -> Result<Vec<Option<KeyRecord>>, StoreError> {
        let mut places: BTreeMap<&OrgId, Vec<usize>> = BTreeMap::new();
        keys.iter().enumerate().for_each(|(place, key)| places.entry(&key.org).or_default().push(place));
        let (orgs, places): (Vec<&OrgId>, Vec<Vec<usize>>) = places.into_iter().unzip();
        let hashes: Vec<Vec<_>> = places
            .iter()
            .map(|places| places.iter().filter_map(|place| keys.get(*place)).map(hash_of).collect())
            .collect();
        let hashes_of = |of: usize| hashes.get(of).map(Vec::as_slice).unwrap_or_default();
        let answers =
            self.ask_of(&orgs, |of, org, life| self.servers.find_keys(org, life, hashes_of(of))).await?;
        let mut hot = vec![KeyFound::default(); keys.len()];
        for ((answer, _), places) in answers.into_iter().zip(&places) {
            for (found, place) in answer.keys()?.into_iter().zip(places) {
                hot.get_mut(*place).into_iter().for_each(|hot| *hot = found.clone());
            }
        }
        self.find_cold(keys, hot).await
    }

    /// Finds in the database what was not found before.
    async fn find_cold(
        &self,
        keys: &[KeyId],
        hot: Vec<KeyFound>,
    ) -> Result<Vec<Option<KeyRecord>>, StoreError> {
        let lacking: Vec<KeyId> =
            keys.iter().zip(&hot).filter(|(_, hot)| hot.made.is_none()).map(|(key, _)| key.clone()).collect();
        let cold = match lacking.is_empty() {
            true => Vec::new(),
            false => read::find(&self.cold.database, &lacking).await?,
        };
        let mut cold = cold.into_iter();
        let record = |(id, hot): (&KeyId, KeyFound)| {
            let mut record = match &hot.made {
                Some(body) => made_by(id, body)?,
                None => cold.next().flatten(),
            };
            if let (Some(record), Some(number)) = (&mut record, hot.reversed_by) {
                record.reversed_by = Some(number);
            }
            Ok(record)
        };
        keys.iter().zip(hot).map(record).collect()
    }

    /// Finds what is behind; see [`tollgate_storage::Store::behind`].
    pub(crate) async fn behind(&self) -> Result<Vec<Partition>, StoreError> {
        self.flush_all(false).await?;
        read::behind(&self.cold.database).await
    }

    /// Reads a page of a scan; see [`tollgate_storage::Store::scan`]. Notices are in order where all are, which is the database.
    pub(crate) async fn scan(
        &self,
        scan: &Scan,
        from: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        match scan {
            Scan::Entries { org, order } => self.scan_entries(scan, org, *order, from, limit).await,
            Scan::Notices => {
                self.flush_all(true).await?;
                read::scan(&self.cold.database, scan, from, limit).await
            }
            _ => read::scan(&self.cold.database, scan, from, limit).await,
        }
    }

    async fn scan_entries(
        &self,
        scan: &Scan,
        org: &OrgId,
        order: Order,
        from: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let entries = Entries::of(scan, org, order, from, limit)?;
        let span = match (order, entries.after()) {
            (Order::Oldest, after) => Span::oldest(after.unwrap_or(0) + 1, entries.most()),
            (Order::Newest, Some(after)) => Span::newest(after.saturating_sub(1), entries.most()),
            (Order::Newest, None) => Span::newest(u64::MAX, entries.most()),
        };
        let hot = self.tail(org, span).await?.map(|tail| tail.entries).unwrap_or_default();
        let mut rows: BTreeMap<u64, Row> = BTreeMap::new();
        for kept in &hot {
            rows.insert(kept.number, Row::Entry(kept.entry()?));
        }
        for row in entries.read(&self.cold.database).await? {
            if let Row::Entry(entry) = &row {
                rows.insert(entry.number, row);
            }
        }
        let rows = rows.into_values();
        Ok(match order {
            Order::Oldest => entries.page(rows),
            Order::Newest => entries.page(rows.rev()),
        })
    }
}

fn orgs_of(partitions: &[Partition]) -> Vec<&OrgId> {
    fn org(partition: &Partition) -> Option<&OrgId> {
        if let Partition::Org(org) = partition { Some(org) } else { None }
    }
    partitions.iter().filter_map(org).collect()
}

/// What the database has of an org, up to the version that the Redis had, with what only the Redis had; `None`: an image came
/// meanwhile that is of a later version, or it does not go on where the database ends.
fn joined(tail: Option<&Tail>, mut cold: Opened) -> Result<Option<Opened>, StoreError> {
    let Some(tail) = tail else { return Ok(Some(cold)) };
    if cold.image() > tail.version {
        return Ok(None);
    }
    cold.entries.retain(|entry| entry.number() <= tail.version);
    let version = cold.version();
    for kept in tail.entries.iter().filter(|kept| kept.number > version) {
        if kept.number != cold.version() + 1 {
            return Ok(None);
        }
        cold.entries.push(EntryChange::Org(kept.entry()?));
    }
    Ok((cold.version() == tail.version).then_some(cold))
}

/// The record of a key in the entry that made it.
fn made_by(id: &KeyId, body: &[u8]) -> Result<Option<KeyRecord>, StoreError> {
    let entry: tollgate_domain::Entry = decode(body).map_err(|_| bad_answer())?;
    let made = entry.made_key().filter(|(space, key, _)| *space == id.space && **key == id.key);
    Ok(made.map(|(_, _, record)| record))
}

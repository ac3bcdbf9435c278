//! The open table: the facts of one segment in memory, from its first entry until they are in its file.
//!
//! Sub-tables by the first byte of a fingerprint grow one at a time, so that no entry waits for all of them, and are
//! sorted one at a time when the segment is sealed.

use std::path::Path;

use hashbrown::HashTable;
use tollgate_storage::StoreError;

use super::super::error::corrupt;
use super::super::io::to_u64;
use super::super::sync::{RwLock, RwLockReadGuard};
use super::super::walk::Position;
use super::file::Run;
use super::{EntryFacts, Fingerprint, Notices, Place, hash_of, unpoisoned};

/// Sub-tables of keys, and of orgs: one for each first byte of a fingerprint.
pub(super) const SHARDS: usize = 256;

/// Where a key's entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyFact {
    pub(super) fingerprint: Fingerprint,
    pub(super) offset: u32,
}

/// Entries of one org with consecutive numbers.
#[derive(Clone, Debug)]
pub(super) struct OrgFact {
    pub(super) org: Fingerprint,
    pub(super) first: u64,
    pub(super) offsets: Offsets,
}

/// Offsets in a segment, ascending. Most orgs have few entries in one, and those lie in place.
#[derive(Clone, Debug)]
pub(super) enum Offsets {
    /// Those that are not zero; no entry lies at zero.
    Few([u32; 4]),
    Many(Vec<u32>),
}

impl Offsets {
    pub(super) fn as_slice(&self) -> &[u32] {
        match self {
            Self::Few(few) => {
                let len = few.iter().position(|offset| *offset == 0).unwrap_or(few.len());
                few.get(..len).unwrap_or_default()
            }
            Self::Many(many) => many,
        }
    }

    fn push(&mut self, offset: u32) {
        match self {
            Self::Few(few) => match few.iter_mut().find(|place| **place == 0) {
                Some(place) => *place = offset,
                None => {
                    let mut many = Vec::with_capacity(4 * few.len());
                    many.extend_from_slice(few);
                    many.push(offset);
                    *self = Self::Many(many);
                }
            },
            Self::Many(many) => many.push(offset),
        }
    }
}

/// How much a table holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) keys: u64,
    pub(super) orgs: u64,
    pub(super) entries: u64,
    pub(super) notices: u64,
}

/// The facts of one segment.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) ordinal: u32,
    inner: RwLock<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    keys: Vec<HashTable<KeyFact>>,
    orgs: Vec<HashTable<OrgFact>>,
    pub(super) notices: Vec<(u32, u32)>,
    pub(super) counts: Counts,
    /// The last frame whose facts are here.
    pub(super) last: Position,
    /// Time of the latest entry, in seconds.
    pub(super) latest_secs: i64,
}

fn shard<T>(shards: &[HashTable<T>], fingerprint: Fingerprint) -> Option<&HashTable<T>> {
    shards.get(usize::from(*fingerprint.first()?))
}

fn shard_mut<T>(shards: &mut [HashTable<T>], fingerprint: Fingerprint) -> Option<&mut HashTable<T>> {
    shards.get_mut(usize::from(*fingerprint.first()?))
}

impl Table {
    pub(super) fn new(ordinal: u32) -> Self {
        let inner = Inner {
            keys: std::iter::repeat_with(HashTable::new).take(SHARDS).collect(),
            orgs: std::iter::repeat_with(HashTable::new).take(SHARDS).collect(),
            notices: Vec::new(),
            counts: Counts::default(),
            last: Position::default(),
            latest_secs: i64::MIN,
        };
        Self { ordinal, inner: RwLock::new(inner) }
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Inner> {
        unpoisoned(self.inner.read())
    }

    /// Takes the facts of a frame; `path` is that of the segment.
    pub(super) fn add(
        &self,
        path: &Path,
        frame: &Position,
        facts: impl IntoIterator<Item = EntryFacts>,
    ) -> Result<(), StoreError> {
        let mut inner = unpoisoned(self.inner.write());
        for fact in facts {
            inner.add(path, &fact)?;
        }
        inner.last = *frame;
        Ok(())
    }

    /// Adds the places of a key's entries, oldest first.
    pub(super) fn find_key(&self, fingerprint: Fingerprint, found: &mut Vec<Place>) {
        let inner = self.read();
        let Some(shard) = shard(&inner.keys, fingerprint) else { return };
        let from = found.len();
        let same = shard.iter_hash(hash_of(fingerprint)).filter(|key| key.fingerprint == fingerprint);
        found.extend(same.map(|key| Place { segment: self.ordinal, offset: key.offset }));
        found.get_mut(from..).unwrap_or_default().sort_unstable();
    }

    /// Whether a key made an entry here.
    pub(super) fn holds_key(&self, fingerprint: Fingerprint) -> bool {
        let inner = self.read();
        let found = shard(&inner.keys, fingerprint)
            .and_then(|shard| shard.find(hash_of(fingerprint), |key| key.fingerprint == fingerprint));
        found.is_some()
    }

    /// Which entries of an org are here.
    pub(super) fn run(&self, org: Fingerprint) -> Option<Run> {
        let inner = self.read();
        let run = inner.org(org)?;
        Some(Run { first: run.first, count: to_u64(run.offsets.as_slice().len()), start: 0 })
    }

    /// Offsets of an org's entries: `count` of them, from the `skip`-th on.
    pub(super) fn offsets(&self, org: Fingerprint, skip: u64, count: u64) -> Vec<u32> {
        let inner = self.read();
        let all = inner.org(org).map(|run| run.offsets.as_slice()).unwrap_or_default();
        let [skip, count] = [skip, count].map(|number| usize::try_from(number).unwrap_or(usize::MAX));
        all.iter().skip(skip).take(count).copied().collect()
    }

    /// Adds the entries with notices at or behind an offset, up to a limit for all.
    pub(super) fn notices_from(&self, offset: u32, limit: usize, found: &mut Vec<Notices>) {
        let inner = self.read();
        let from = inner.notices.partition_point(|(at, _)| *at < offset);
        let rest = inner.notices.get(from..).unwrap_or_default();
        let room = limit.saturating_sub(found.len());
        found.extend(rest.iter().take(room).map(|(offset, count)| Notices {
            place: Place { segment: self.ordinal, offset: *offset },
            count: *count,
        }));
    }

    /// The keys of one sub-table. Those of a later one are all greater.
    pub(super) fn keys(&self, shard: usize) -> Vec<KeyFact> {
        self.read().keys.get(shard).into_iter().flatten().copied().collect()
    }

    /// The orgs of one sub-table. Those of a later one are all greater.
    pub(super) fn orgs(&self, shard: usize) -> Vec<OrgFact> {
        self.read().orgs.get(shard).into_iter().flatten().cloned().collect()
    }
}

impl Inner {
    fn org(&self, org: Fingerprint) -> Option<&OrgFact> {
        shard(&self.orgs, org)?.find(hash_of(org), |run| run.org == org)
    }

    fn add(&mut self, path: &Path, fact: &EntryFacts) -> Result<(), StoreError> {
        let (org, offset) = (fact.org.to_be_bytes(), fact.place.offset);
        let Some(runs) = shard_mut(&mut self.orgs, org) else { return Ok(()) };
        match runs.find_mut(hash_of(org), |run| run.org == org) {
            Some(run) => {
                let wanted = run.first + to_u64(run.offsets.as_slice().len());
                if fact.number != wanted {
                    let what =
                        format!("entry {} of an org stands where its entry {wanted} should", fact.number);
                    return Err(corrupt(path, u64::from(offset), what));
                }
                run.offsets.push(offset);
            }
            None => {
                let run = OrgFact { org, first: fact.number, offsets: Offsets::Few([offset, 0, 0, 0]) };
                runs.insert_unique(hash_of(org), run, |run| hash_of(run.org));
                self.counts.orgs += 1;
            }
        }
        for key in fact.key.into_iter().chain(fact.reverses) {
            let fingerprint = key.to_be_bytes();
            let Some(keys) = shard_mut(&mut self.keys, fingerprint) else { continue };
            let key = KeyFact { fingerprint, offset };
            keys.insert_unique(hash_of(fingerprint), key, |key| hash_of(key.fingerprint));
            self.counts.keys += 1;
        }
        if fact.notices > 0 {
            self.notices.push((offset, fact.notices));
            self.counts.notices += 1;
        }
        self.counts.entries += 1;
        self.latest_secs = self.latest_secs.max(fact.at_secs);
        Ok(())
    }
}

//! The ledgers of orgs, on their way from one store into another.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::RandomState;
use futures_util::{StreamExt, TryStreamExt, stream};
use tollgate_domain::{Entry, OrgId, OrgState, Partition};
use tollgate_storage::{
    Append, Appended, Cursor, EntryChange, Image, Order, Row, Scan, Store, StoreError, StoreErrorKind,
};

use super::{CopyError, CopyStep, Told, orgs_of};
use crate::limits::{
    COPY_CALLS_AT_ONCE, COPY_ENTRIES_AT_ONCE, COPY_LAG_ENTRIES_MAX, COPY_ORGS_AT_ONCE, COPY_ROWS_READ,
    SAVED_AT_ONCE_MAX,
};
use crate::loading::{Replaying, replayed, save_system};

type ByOrg<V> = HashMap<OrgId, V, RandomState>;

/// The ledgers of two stores, one of which gets what the other has.
pub(super) struct Ledgers<'a, A, B> {
    pub(super) from: &'a A,
    to: &'a B,
    /// The number of each org's latest entry in the target.
    versions: ByOrg<u64>,
    /// Where reading the source's ledger of an org goes on.
    places: ByOrg<Place>,
    /// How many entries of an org the target's image lacks.
    lags: ByOrg<u64>,
    /// Entries that were copied.
    pub(super) copied: u64,
}

/// A place in a ledger.
#[derive(Default)]
struct Place {
    /// The number of the latest entry before it.
    number: u64,
    /// What the store calls it; `None`: the beginning.
    cursor: Option<Cursor>,
}

impl<'a, A: Store, B: Store> Ledgers<'a, A, B> {
    pub(super) fn new(from: &'a A, to: &'a B) -> Self {
        Self {
            from,
            to,
            versions: HashMap::default(),
            places: HashMap::default(),
            lags: HashMap::default(),
            copied: 0,
        }
    }

    /// Looks whether each ledger in the target is the beginning of one in the source, as far as its latest entry says it.
    pub(super) async fn look(
        &mut self,
        orgs: &BTreeSet<OrgId>,
        told: &mut Told<'_>,
    ) -> Result<(), CopyError> {
        let there = orgs_of(self.to).await.map_err(CopyError::Target)?;
        if let Some(org) = there.difference(orgs).next() {
            return Err(CopyError::SomethingElse(format!("the source has no organization {org}")));
        }
        let all: Vec<OrgId> = there.into_iter().collect();
        for (part, some) in all.chunks(COPY_ORGS_AT_ONCE).enumerate() {
            let same = some.iter().map(|org| is_beginning(self.from, self.to, org));
            let same: Vec<bool> = stream::iter(same).buffered(COPY_CALLS_AT_ONCE).try_collect().await?;
            if let Some((org, _)) = some.iter().zip(same).find(|(_, same)| !same) {
                let text = format!("its ledger of the organization {org} is another");
                return Err(CopyError::SomethingElse(text));
            }
            told.tell(CopyStep::Looking, part * COPY_ORGS_AT_ONCE + some.len(), 0);
        }
        // A copy that was killed left them behind.
        for partition in self.to.behind().await.map_err(CopyError::Target)? {
            if let Partition::Org(org) = partition {
                self.lags.insert(org, 0);
            }
        }
        Ok(())
    }

    /// Copies all of some orgs, and brings their images up to date.
    pub(super) async fn bring_all(&mut self, orgs: &[&OrgId]) -> Result<(), CopyError> {
        let partitions: Vec<Partition> = orgs.iter().map(|org| Partition::Org((*org).clone())).collect();
        let versions = self.from.versions(&partitions).await.map_err(CopyError::Source)?;
        let wanted = orgs.iter().map(|org| (*org).clone()).zip(versions);
        self.bring(wanted.collect()).await?;
        let lagging = orgs.iter().filter(|org| self.lags.contains_key(**org));
        self.save(lagging.map(|org| (*org).clone()).collect()).await
    }

    /// Copies the entries of orgs up to these numbers; the orgs are different ones.
    pub(super) async fn bring(&mut self, wanted: Vec<(OrgId, u64)>) -> Result<(), CopyError> {
        self.learn_versions(wanted.iter().map(|(org, _)| org)).await?;
        let mut waiting: VecDeque<(OrgId, u64)> = wanted.into();
        while !waiting.is_empty() {
            let appends = self.read_some(&mut waiting).await?;
            if appends.is_empty() {
                continue;
            }
            let made: Vec<(OrgId, u64)> = appends.iter().filter_map(made_by).collect();
            append(self.to, appends).await?;
            let mut lagging = Vec::new();
            for (org, entries) in made {
                self.copied += entries;
                *self.versions.entry(org.clone()).or_default() += entries;
                let lag = self.lags.entry(org.clone()).or_default();
                *lag += entries;
                if *lag > COPY_LAG_ENTRIES_MAX {
                    lagging.push(org);
                }
            }
            self.save(lagging).await?;
        }
        Ok(())
    }

    /// The version of an org in the target that is known already.
    pub(super) fn known_version(&self, org: &OrgId) -> Option<u64> {
        self.versions.get(org).copied()
    }

    async fn learn_versions(&mut self, orgs: impl Iterator<Item = &OrgId>) -> Result<(), CopyError> {
        let unknown: Vec<OrgId> = orgs.filter(|org| !self.versions.contains_key(*org)).cloned().collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let partitions: Vec<Partition> = unknown.iter().cloned().map(Partition::Org).collect();
        let versions = self.to.versions(&partitions).await.map_err(CopyError::Target)?;
        self.versions.extend(unknown.into_iter().zip(versions));
        Ok(())
    }

    /// Reads the next entries of the orgs that come first, as many as go over at once. What is left of an org waits in front.
    async fn read_some(&mut self, waiting: &mut VecDeque<(OrgId, u64)>) -> Result<Vec<Append>, CopyError> {
        let (mut taken, mut entries, mut rest) = (Vec::new(), 0, None);
        while entries < COPY_ENTRIES_AT_ONCE
            && taken.len() < COPY_ORGS_AT_ONCE
            && let Some((org, until)) = waiting.pop_front()
        {
            let version = self.known_version(&org).unwrap_or(0);
            let count = until.saturating_sub(version).min(COPY_ENTRIES_AT_ONCE - entries);
            if count == 0 {
                continue;
            }
            entries += count;
            if version + count < until {
                rest = Some((org.clone(), until));
            }
            let place = self.places.remove(&org).filter(|place| place.number <= version);
            taken.push((org, place.unwrap_or_default(), version, count));
        }
        if let Some(rest) = rest {
            waiting.push_front(rest);
        }
        let from = self.from;
        let read = taken.into_iter().map(|(org, place, version, count)| async move {
            let (entries, place) = read_on(from, &org, place, version, count).await?;
            Ok((org, version, entries, place))
        });
        let read: Vec<_> =
            stream::iter(read).buffered(COPY_CALLS_AT_ONCE).try_collect().await.map_err(CopyError::Source)?;
        let mut appends = Vec::with_capacity(read.len());
        for (org, expected_version, entries, place) in read {
            if let Some(place) = place {
                self.places.insert(org.clone(), place);
            }
            let entries = entries.into_iter().map(EntryChange::Org).collect();
            appends.push(Append { partition: Partition::Org(org), expected_version, entries });
        }
        Ok(appends)
    }

    /// Brings the target's images of some orgs up to date.
    async fn save(&mut self, orgs: Vec<OrgId>) -> Result<(), CopyError> {
        for some in orgs.chunks(SAVED_AT_ONCE_MAX) {
            save(self.to, some).await.map_err(CopyError::Target)?;
            for org in some {
                self.lags.remove(org);
            }
        }
        Ok(())
    }

    /// Brings all images of the target up to date that are not.
    pub(super) async fn finish(&mut self) -> Result<(), CopyError> {
        let lagging = std::mem::take(&mut self.lags).into_keys().collect();
        self.save(lagging).await?;
        let finish = async {
            save_system(self.to).await?;
            // The next start reads from here.
            match self.to.capabilities().shared {
                true => Ok(()),
                false => self.to.checkpoint(Arc::new([]), self.to.position()).await,
            }
        };
        finish.await.map_err(CopyError::Target)
    }
}

/// Of which org an append is, and how many entries it has.
fn made_by(append: &Append) -> Option<(OrgId, u64)> {
    let Partition::Org(org) = &append.partition else { return None };
    Some((org.clone(), u64::try_from(append.entries.len()).unwrap_or(u64::MAX)))
}

/// Whether the target's latest entry of an org is also the source's.
async fn is_beginning<A: Store, B: Store>(from: &A, to: &B, org: &OrgId) -> Result<bool, CopyError> {
    let newest = Scan::Entries { org: org.clone(), order: Order::Newest };
    let page = to.scan(&newest, None, 1).await.map_err(CopyError::Target)?;
    let Some(Row::Entry(there)) = page.rows.into_iter().next() else { return Ok(true) };
    let page = from.scan(&newest, None, 1).await.map_err(CopyError::Source)?;
    let Some(Row::Entry(here)) = page.rows.into_iter().next() else { return Ok(false) };
    if here.number <= there.number {
        return Ok(here == there);
    }
    let behind = there.number - 1;
    let read = read_on(from, org, Place::default(), behind, 1).await.map_err(CopyError::Source)?;
    Ok(read.0.first() == Some(&there))
}

/// Reads so many entries of an org behind one, from a place before it or at it; gives the place behind them, unless the ledger ends
/// there.
async fn read_on<S: Store>(
    store: &S,
    org: &OrgId,
    mut place: Place,
    behind: u64,
    count: u64,
) -> Result<(Vec<Entry>, Option<Place>), StoreError> {
    let scan = Scan::Entries { org: org.clone(), order: Order::Oldest };
    let until = behind + count;
    let mut entries = Vec::new();
    while place.number < until {
        let limit = usize::try_from(until - place.number).unwrap_or(usize::MAX).min(COPY_ROWS_READ);
        let page = store.scan(&scan, place.cursor.as_ref(), limit).await?;
        for row in page.rows {
            let Row::Entry(entry) = row else { continue };
            place.number = entry.number;
            if entry.number > behind {
                entries.push(entry);
            }
        }
        place.cursor = page.next;
        if place.cursor.is_none() {
            break;
        }
    }
    if place.number < until {
        let text = format!("the ledger of {org} ends with entry {}, not {until}", place.number);
        return Err(StoreError::new(StoreErrorKind::Corrupt, text));
    }
    let place = Some(place).filter(|place| place.cursor.is_some());
    Ok((entries, place))
}

/// Appends, in parts where a store takes no more at once.
pub(super) async fn append<S: Store>(store: &S, appends: Vec<Append>) -> Result<(), CopyError> {
    let mut waiting = vec![appends];
    while let Some(appends) = waiting.pop() {
        match store.append(appends.clone()).await {
            Ok(made) => {
                let lost = appends.iter().zip(&made.answers).find(|(_, answer)| **answer != Appended::Done);
                if let Some((append, _)) = lost {
                    return Err(CopyError::Overtaken(name_of(&append.partition)));
                }
            }
            Err(error) if error.kind() == StoreErrorKind::TooLarge => match halves(appends) {
                Some((first, second)) => waiting.extend([second, first]),
                None => return Err(CopyError::Target(error)),
            },
            Err(error) => return Err(CopyError::Target(error)),
        }
    }
    Ok(())
}

/// The name of a ledger, for people.
pub(super) fn name_of(partition: &Partition) -> String {
    match partition {
        Partition::Org(org) => format!("the ledger of the organization {org}"),
        Partition::System => "the ledger of the system".to_owned(),
    }
}

/// Appends in two parts; `None`: it is a single entry.
fn halves(mut appends: Vec<Append>) -> Option<(Vec<Append>, Vec<Append>)> {
    if appends.len() > 1 {
        let second = appends.split_off(appends.len() / 2);
        return Some((appends, second));
    }
    let mut first = appends.pop()?;
    let entries = first.entries.split_off(first.entries.len() / 2);
    let expected_version = first.entries.last()?.number();
    let second = Append { partition: first.partition.clone(), expected_version, entries };
    Some((vec![first], vec![second]))
}

/// Brings the images of some orgs up to date.
async fn save<S: Store>(store: &S, orgs: &[OrgId]) -> Result<(), StoreError> {
    let partitions: Vec<Partition> = orgs.iter().cloned().map(Partition::Org).collect();
    let opened = orgs.iter().cloned().zip(store.open(&partitions).await?);
    let behind = opened.filter(|(_, opened)| !opened.entries.is_empty());
    let image = |(mut state, _): (OrgState, u64)| {
        let (version, records) = (state.version(), state.take_changed());
        Image { partition: Partition::Org(state.id().clone()), version, records }
    };
    let images: Vec<Image> = replayed(store, behind.map(|(org, opened)| Replaying::of(org, opened)))
        .await?
        .into_iter()
        .map(image)
        .collect();
    match images.is_empty() {
        true => Ok(()),
        false => store.checkpoint(images.into(), 0).await,
    }
}

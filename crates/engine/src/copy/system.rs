//! The ledger of the system: catalogs, API keys, channels, shipments.
//!
//! It is the same in both stores but for the places up to which channels have read notices, which each store names in its own
//! way. Of each channel the last place that its ledger tells is told as the target has it; those before it are left empty.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use tollgate_domain::{ChannelChange, ChannelId, Partition, ReadTo, Replay, SystemEntry, SystemEntryKind};
use tollgate_storage::{Append, EntryChange, Row, Scan, Store, StoreError};

use super::orgs::append;
use super::{CopyError, Pages, version_of};

/// What is to be copied of it.
#[derive(Debug)]
pub(super) struct SystemLedger {
    /// The version of the target.
    version: u64,
}

/// Looks whether the target's ledger is the beginning of the source's.
pub(super) async fn look<A: Store, B: Store>(from: &A, to: &B) -> Result<SystemLedger, CopyError> {
    let (mut here, mut there) = (Pages::all(from, Scan::SystemEntries), Pages::all(to, Scan::SystemEntries));
    let mut version = 0;
    let mut rows = Vec::new().into_iter();
    while let Some(found) = there.next().await.map_err(CopyError::Target)? {
        for row in found {
            let Row::SystemEntry(entry) = row else { continue };
            let wanted = loop {
                match rows.next() {
                    Some(row) => break Some(row),
                    None => match here.next().await.map_err(CopyError::Source)? {
                        Some(more) => rows = more.into_iter(),
                        None => break None,
                    },
                }
            };
            let Some(Row::SystemEntry(wanted)) = wanted else {
                let text = format!("the source's ledger of the system ends before entry {}", entry.number);
                return Err(CopyError::SomethingElse(text));
            };
            version = entry.number;
            if without_places(wanted) != without_places(entry) {
                let text = format!("entry {version} of its ledger of the system is another");
                return Err(CopyError::SomethingElse(text));
            }
        }
    }
    Ok(SystemLedger { version })
}

impl SystemLedger {
    /// Copies what the target lacks; channels go on at these places. Gives how many entries that were.
    pub(super) async fn copy<A: Store, B: Store>(
        self,
        from: &A,
        to: &B,
        places: &HashMap<ChannelId, ReadTo, RandomState>,
    ) -> Result<u64, CopyError> {
        let until = version_of(from, &Partition::System).await.map_err(CopyError::Source)?;
        let last = last_places(from, until).await.map_err(CopyError::Source)?;
        let mut pages = Pages::all(from, Scan::SystemEntries);
        let mut version = self.version;
        while let Some(rows) = pages.next().await.map_err(CopyError::Source)? {
            let mut entries = Vec::new();
            for row in rows {
                let Row::SystemEntry(mut entry) = row else { continue };
                if !(version + 1..=until).contains(&entry.number) {
                    continue;
                }
                if let Some((channel, read)) = place_in(&mut entry.kind) {
                    let is_last = last.get(&channel) == Some(&entry.number);
                    let place = places.get(&channel).filter(|_| is_last).cloned().unwrap_or_default();
                    *read = ReadTo { since: read.since, ..place };
                }
                entries.push(EntryChange::System(entry));
            }
            let Some(latest) = entries.last().map(EntryChange::number) else { continue };
            let made = Append { partition: Partition::System, expected_version: version, entries };
            append(to, vec![made]).await?;
            version = latest;
        }
        Ok(version - self.version)
    }
}

/// The number of the entry that tells the place of each channel, of those up to one.
async fn last_places<S: Store>(
    store: &S,
    until: u64,
) -> Result<HashMap<ChannelId, u64, RandomState>, StoreError> {
    let mut last = HashMap::default();
    let mut pages = Pages::all(store, Scan::SystemEntries);
    while let Some(rows) = pages.next().await? {
        for row in rows {
            let Row::SystemEntry(mut entry) = row else { continue };
            if entry.number > until {
                break;
            }
            if let SystemEntryKind::ChannelChanged(change) = &entry.kind
                && matches!(change.change, ChannelChange::Replay(Replay::Since(_)))
            {
                last.remove(&change.id);
            } else if let Some((channel, _)) = place_in(&mut entry.kind) {
                last.insert(channel, entry.number);
            }
        }
    }
    Ok(last)
}

/// The channel whose place an entry tells, and that place.
fn place_in(kind: &mut SystemEntryKind) -> Option<(ChannelId, &mut ReadTo)> {
    match kind {
        SystemEntryKind::ChannelChanged(change) => match &mut change.change {
            ChannelChange::Make { read, .. } => Some((change.id.clone(), read)),
            _ => None,
        },
        SystemEntryKind::Delivered { round, .. } => {
            let (read, _) = round.read.as_mut()?;
            Some((round.channel.clone(), read))
        }
        _ => None,
    }
}

/// An entry with what is the same in every store.
pub(super) fn without_places(mut entry: SystemEntry) -> SystemEntry {
    if let Some((_, read)) = place_in(&mut entry.kind) {
        *read = ReadTo { since: read.since, ..ReadTo::default() };
    }
    entry
}

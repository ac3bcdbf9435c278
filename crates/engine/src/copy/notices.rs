//! Notices: what has some goes over in their order, and channels go on behind those that they have read.
//!
//! Stores name places in the order of notices each in their own way, and need only keep the order within an org. So a
//! channel's place is told by what was read: it goes on behind the longest beginning of the target's order of which it has read everything.
//! Everything before the place of a channel goes over before anything behind it. So that beginning is all that was read; where a
//! source that was in use went on between two copies, some of it may come again, under the same ids, and none is left out.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use tollgate_domain::{ChannelId, NoticeRef, OrgId, ReadTo, RecordKey};
use tollgate_storage::{Cursor, NoticeRow, Row, Scan, Store, StoreError};

use super::orgs::Ledgers;
use super::{CopyError, CopyStep, Pages, Told};
use crate::limits::{COPY_NOTICES_AT_ONCE, COPY_ROWS_READ};
use crate::loading::system_records;

/// Of each org that has some, the latest notice up to which all were read: the number of its entry and its place there.
type Latest = HashMap<OrgId, (u64, u32), RandomState>;

/// How far a channel has read in the source.
#[derive(Debug)]
pub(super) struct Mark {
    channel: ChannelId,
    /// The first notice that it has not read; `None`: it has read all.
    unread: Option<NoticeRef>,
}

/// What a channel has read.
#[derive(Debug)]
pub(super) struct Read {
    channel: ChannelId,
    latest: Arc<Latest>,
}

impl Read {
    fn holds(&self, row: &NoticeRow) -> bool {
        self.latest.get(&row.org).is_some_and(|latest| (row.entry, row.index) <= *latest)
    }
}

/// How far each channel of a store has read.
pub(super) async fn marks<S: Store>(store: &S) -> Result<Vec<Mark>, StoreError> {
    let channels = system_records(store, &[]).await?.system().channels;
    let keys: Vec<RecordKey> = channels.iter().cloned().map(RecordKey::Channel).collect();
    let records = system_records(store, &keys).await?;
    let mut marks = Vec::new();
    for channel in channels.iter().filter_map(|id| records.channel(id)) {
        let unread = first_behind(store, &channel.progress.read).await?;
        marks.push(Mark { channel: channel.id.clone(), unread });
    }
    Ok(marks)
}

/// The first notice behind a place.
async fn first_behind<S: Store>(store: &S, place: &ReadTo) -> Result<Option<NoticeRef>, StoreError> {
    let mut from = place.cursor.clone().map(Cursor);
    let mut passed = usize::try_from(place.seen).unwrap_or(usize::MAX);
    loop {
        let page = store.scan(&Scan::Notices, from.as_ref(), passed.saturating_add(1)).await?;
        if let Some(Row::Notice(row)) = page.rows.get(passed) {
            return Ok(Some(ref_of(row)));
        }
        passed = passed.saturating_sub(page.rows.len());
        from = page.next;
        if from.is_none() {
            return Ok(None);
        }
    }
}

fn ref_of(row: &NoticeRow) -> NoticeRef {
    NoticeRef { org: row.org.clone(), entry: row.entry, index: row.index }
}

/// Copies every entry with notices and all that is before it in its ledger, in the order of the notices; says what each channel has read.
pub(super) async fn copy<A: Store, B: Store>(
    ledgers: &mut Ledgers<'_, A, B>,
    mut marks: Vec<Mark>,
    told: &mut Told<'_>,
) -> Result<Vec<Read>, CopyError> {
    let (mut latest, mut reads, mut group) = (Latest::default(), Vec::new(), Group::default());
    let mut pages = Pages::all(ledgers.from, Scan::Notices);
    while let Some(rows) = pages.next().await.map_err(CopyError::Source)? {
        for row in rows {
            let Row::Notice(row) = row else { continue };
            let here = ref_of(&row);
            let reached: Vec<Mark> =
                marks.extract_if(.., |mark| mark.unread.as_ref() == Some(&here)).collect();
            if !reached.is_empty() {
                ledgers.bring(group.take()).await?;
                reads.extend(all_read(reached, &latest));
            }
            latest.insert(row.org.clone(), (row.entry, row.index));
            if ledgers.known_version(&row.org).is_none_or(|version| version < row.entry) {
                group.add(row.org, row.entry);
            }
            if group.wanted.len() >= COPY_NOTICES_AT_ONCE {
                ledgers.bring(group.take()).await?;
                told.tell(CopyStep::Notices, 0, ledgers.copied);
            }
        }
    }
    ledgers.bring(group.take()).await?;
    reads.extend(all_read(marks, &latest));
    Ok(reads)
}

/// That channels have read all there was so far.
fn all_read(marks: Vec<Mark>, latest: &Latest) -> impl Iterator<Item = Read> {
    let latest = Arc::new(if marks.is_empty() { Latest::default() } else { latest.clone() });
    marks.into_iter().map(move |mark| Read { channel: mark.channel, latest: Arc::clone(&latest) })
}

/// Orgs that go over together, in the order of their first notices, each up to an entry.
#[derive(Default)]
struct Group {
    wanted: Vec<(OrgId, u64)>,
    places: HashMap<OrgId, usize, RandomState>,
}

impl Group {
    fn add(&mut self, org: OrgId, entry: u64) {
        if let Some((_, until)) = self.places.get(&org).and_then(|place| self.wanted.get_mut(*place)) {
            *until = entry;
            return;
        }
        self.places.insert(org.clone(), self.wanted.len());
        self.wanted.push((org, entry));
    }

    fn take(&mut self) -> Vec<(OrgId, u64)> {
        self.places.clear();
        std::mem::take(&mut self.wanted)
    }
}

/// Where each channel goes on in the target.
pub(super) async fn places<S: Store>(
    store: &S,
    reads: &[Read],
) -> Result<HashMap<ChannelId, ReadTo, RandomState>, StoreError> {
    let mut places = HashMap::default();
    let mut open: Vec<&Read> = reads.iter().collect();
    let mut place = ReadTo::default();
    while !open.is_empty() {
        let from = place.cursor.clone().map(Cursor);
        let page = store.scan(&Scan::Notices, from.as_ref(), COPY_ROWS_READ).await?;
        place.seen = 0;
        for row in page.rows {
            let Row::Notice(row) = row else { continue };
            for read in open.extract_if(.., |read| !read.holds(&row)) {
                places.insert(read.channel.clone(), place.clone());
            }
            place.seen += 1;
        }
        let Some(Cursor(next)) = page.next else { break };
        place = ReadTo { cursor: Some(next), ..ReadTo::default() };
    }
    places.extend(open.into_iter().map(|read| (read.channel.clone(), place.clone())));
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_org_goes_over_once_in_a_group_up_to_its_latest_entry() {
        let org = |id: &str| OrgId::new(id).expect("an id");
        let mut group = Group::default();
        for (id, entry) in [("b", 1), ("a", 4), ("b", 7)] {
            group.add(org(id), entry);
        }
        assert_eq!(group.take(), [(org("b"), 7), (org("a"), 4)]);
        group.add(org("a"), 9);
        assert_eq!(group.take(), [(org("a"), 9)]);
    }
}

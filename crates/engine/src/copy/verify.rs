//! Whether two stores hold the same: hashes of ledgers and of what they come to.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use sha2::{Digest as _, Sha256};
use tollgate_domain::{EntryKind, MeterId, Org, OrgId, OrgState, PartKey, Partition, Period, Record, Window};
use tollgate_storage::codec::{LineRef, Stored, encode, encode_line};
use tollgate_storage::{Order, Row, Scan, Store, StoreError};

use super::orgs::name_of;
use super::system::without_places;
use super::{Copied, CopyError, CopyStep, Pages, Told, orgs_of, version_of};
use crate::limits::{COPY_CALLS_AT_ONCE, COPY_DIFFERENCES_NAMED_MAX, COPY_ORGS_AT_ONCE};
use crate::loading::{Lacking, Replaying, load, moved, replayed};

/// A hash.
type Hash = [u8; 32];

/// What an org is, as one store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The number of the latest entry.
    pub version: u64,
    /// Of the entries, up to the one that was asked for.
    pub ledger: Hash,
    /// Of the org, its accounts and its bills, as of the latest entry.
    pub state: Hash,
    /// Of its users' counters, its months and what is unsent, which its image has; `None`: the image lacks entries.
    pub rows: Option<Hash>,
}

/// The hashes of an org in a store, of its ledger up to an entry.
///
/// # Errors
/// When the store cannot read.
pub async fn digest<S: Store>(store: &S, org: &OrgId, until: u64) -> Result<Digest, StoreError> {
    let (ledger, months) = ledger(store, org, until).await?;
    let partition = Partition::Org(org.clone());
    let opened = store.open(&[partition]).await?.pop().unwrap_or_default();
    let is_whole = opened.entries.is_empty();
    let (mut state, image) = replayed(store, std::iter::once(Replaying::of(org.clone(), opened)))
        .await?
        .pop()
        .ok_or_else(moved)?;
    let meters: Vec<MeterId> =
        state.org().map(|org| org.meters.iter().map(|used| used.id.clone()).collect()).unwrap_or_default();
    let mut parts: Vec<PartKey> = meters.iter().cloned().map(PartKey::Account).collect();
    parts.extend(months.into_iter().map(PartKey::Bill));
    let of_state = of_state(store, &mut state, image, &parts).await?;
    let rows = if is_whole { Some(rows(store, &mut state, image, &meters).await?) } else { None };
    Ok(Digest { version: state.version(), ledger, state: of_state, rows })
}

/// The hash of the entries of an org up to one, and the months whose bills they close.
async fn ledger<S: Store>(store: &S, org: &OrgId, until: u64) -> Result<(Hash, Vec<i32>), StoreError> {
    let (mut hash, mut months) = (Sha256::new(), Vec::new());
    let mut pages = Pages::all(store, Scan::Entries { org: org.clone(), order: Order::Oldest });
    while let Some(rows) = pages.next().await? {
        for row in rows {
            let Row::Entry(entry) = row else { continue };
            if entry.number > until {
                return Ok((hash.finalize().into(), months));
            }
            if let EntryKind::BillClosed(bill) = &entry.kind {
                months.push(bill.rated.month.number);
            }
            add(&mut hash, &entry);
        }
    }
    Ok((hash.finalize().into(), months))
}

/// Adds a value, with its length before it.
fn add<T: Stored>(hash: &mut Sha256, value: &T) {
    let mut bytes = Vec::new();
    encode(value, &mut bytes);
    add_bytes(hash, &bytes);
}

fn add_bytes(hash: &mut Sha256, bytes: &[u8]) {
    hash.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
    hash.update(bytes);
}

fn add_record(hash: &mut Sha256, record: Option<&Record>) {
    match record {
        Some(Record::Org(org)) => add(hash, org.as_ref()),
        Some(Record::Account(account)) => add(hash, account.as_ref()),
        Some(Record::Bill(bill)) => add(hash, bill.as_ref()),
        Some(Record::Groups(groups)) => add(hash, groups.as_ref()),
        _ => add_bytes(hash, &[]),
    }
}

/// The hash of an org and some of its parts.
async fn of_state<S: Store>(
    store: &S,
    state: &mut OrgState,
    image: u64,
    parts: &[PartKey],
) -> Result<Hash, StoreError> {
    let mut hash = Sha256::new();
    // When the latest entry was decided is in the ledger; an image that an older version kept does not say it.
    let org = state.org().map(|org| Org { latest_at: org.created_at, ..org.clone() });
    add_record(&mut hash, org.map(|org| Record::Org(Arc::new(org))).as_ref());
    let keys = parts.iter().filter(|part| !state.holds(part)).cloned().collect();
    let org = state.id().clone();
    load(store, state, Lacking { org, image, whole: false, keys }).await?;
    parts.iter().for_each(|part| add_record(&mut hash, state.record(part).as_ref()));
    Ok(hash.finalize().into())
}

/// The hash of rows of an org's image.
async fn rows<S: Store>(
    store: &S,
    state: &mut OrgState,
    image: u64,
    meters: &[MeterId],
) -> Result<Hash, StoreError> {
    let (org, mut hash) = (state.id().clone(), Sha256::new());
    for meter in meters {
        let mut tallies = Pages::all(store, Scan::Tallies { org: org.clone(), meter: meter.clone() });
        while let Some(rows) = tallies.next().await? {
            for row in rows {
                let Row::Tally(row) = row else { continue };
                add_bytes(&mut hash, row.user.as_str().as_bytes());
                add(&mut hash, row.tally.as_ref());
            }
        }
        // Months stay for good; shorter periods are forgotten by and by, in each store in its own time.
        let (meter, window) = (meter.clone(), Window::Month);
        let of_months = Scan::OrgCounters {
            org: org.clone(),
            meter: meter.clone(),
            window,
            from: i32::MIN,
            until: i32::MAX,
        };
        let mut months = Pages::all(store, of_months);
        while let Some(rows) = months.next().await? {
            let mut groups = Vec::new();
            for row in rows {
                let Row::Counter(row) = row else { continue };
                add_bytes(&mut hash, &row.id.period.number.to_be_bytes());
                add(&mut hash, &row.counter);
                groups.push(PartKey::Groups(meter.clone(), Period::month(row.id.period.number)));
            }
            let keys = groups.iter().filter(|part| !state.holds(part)).cloned().collect();
            let org = state.id().clone();
            load(store, state, Lacking { org, image, whole: false, keys }).await?;
            groups.iter().for_each(|part| add_record(&mut hash, state.record(part).as_ref()));
        }
    }
    let mut unsent = Pages::all(store, Scan::Unsent { org: Some(org) });
    while let Some(rows) = unsent.next().await? {
        for row in rows {
            let Row::Unsent(row) = row else { continue };
            add_bytes(&mut hash, &row.day.to_be_bytes());
            add(&mut hash, row.unsent.as_ref());
        }
    }
    Ok(hash.finalize().into())
}

/// The hash of the system's ledger up to an entry, without what each store names in its own way.
async fn system<S: Store>(store: &S, until: u64) -> Result<Hash, StoreError> {
    let mut hash = Sha256::new();
    let mut pages = Pages::all(store, Scan::SystemEntries);
    while let Some(rows) = pages.next().await? {
        for row in rows {
            let Row::SystemEntry(entry) = row else { continue };
            if entry.number > until {
                break;
            }
            let mut bytes = Vec::new();
            encode_line(LineRef::System(&without_places(entry)), &mut bytes);
            add_bytes(&mut hash, &bytes);
        }
    }
    Ok(hash.finalize().into())
}

/// Compares two stores.
pub(super) async fn compare<A: Store, B: Store>(
    from: &A,
    to: &B,
    entries: u64,
    told: &mut Told<'_>,
) -> Result<Copied, CopyError> {
    let there = orgs_of(to).await.map_err(CopyError::Target)?;
    let here = orgs_of(from).await.map_err(CopyError::Source)?;
    let mut copied = Copied { orgs: there.len(), ..Copied::default() };
    copied.moved += here.difference(&there).count();
    let extra: Vec<String> = there.difference(&here).map(|org| format!("the source has no {org}")).collect();
    extra.into_iter().for_each(|text| copied.differ(text));
    let both: Vec<&OrgId> = there.intersection(&here).collect();
    for (part, some) in both.chunks(COPY_ORGS_AT_ONCE).enumerate() {
        let compared = some.iter().map(|org| compare_org(from, to, org));
        let compared: Vec<_> = stream::iter(compared).buffered(COPY_CALLS_AT_ONCE).try_collect().await?;
        for (difference, moved) in compared {
            copied.moved += usize::from(moved);
            difference.into_iter().for_each(|text| copied.differ(text));
        }
        told.tell(CopyStep::Comparing, part * COPY_ORGS_AT_ONCE + some.len(), entries);
    }
    compare_system(from, to, &mut copied).await?;
    Ok(copied)
}

impl Copied {
    fn differ(&mut self, text: String) {
        self.differences_count += 1;
        if self.differences.len() < COPY_DIFFERENCES_NAMED_MAX {
            self.differences.push(text);
        }
    }
}

/// What is different of an org, if anything, and whether the source has more of it by now.
async fn compare_org<A: Store, B: Store>(
    from: &A,
    to: &B,
    org: &OrgId,
) -> Result<(Option<String>, bool), CopyError> {
    let partition = Partition::Org(org.clone());
    let until = version_of(to, &partition).await.map_err(CopyError::Target)?;
    let there = digest(to, org, until).await.map_err(CopyError::Target)?;
    let here = digest(from, org, until).await.map_err(CopyError::Source)?;
    let moved = here.version > there.version;
    let what = if here.ledger != there.ledger || here.version < there.version {
        Some(name_of(&partition))
    } else if !moved && here.state != there.state {
        Some(format!("the state of the organization {org}"))
    } else if !moved && here.rows.is_some() && there.rows.is_some() && here.rows != there.rows {
        Some(format!("counters of the organization {org}"))
    } else {
        None
    };
    Ok((what, moved))
}

async fn compare_system<A: Store, B: Store>(from: &A, to: &B, copied: &mut Copied) -> Result<(), CopyError> {
    let until = version_of(to, &Partition::System).await.map_err(CopyError::Target)?;
    let there = system(to, until).await.map_err(CopyError::Target)?;
    let here = system(from, until).await.map_err(CopyError::Source)?;
    let latest = version_of(from, &Partition::System).await.map_err(CopyError::Source)?;
    copied.moved += usize::from(latest > until);
    if here != there || latest < until {
        copied.differ(name_of(&Partition::System));
    }
    Ok(())
}

//! Copying a store into another one, of whatever kinds the two are.
//!
//! An org is its image and the entries since. So what goes over are the ledgers, entry by entry, each appended behind the one before it
//! as a server would append it, and the target's images are made of them anew. The target itself says how far a copy has come: one that was
//! killed goes on, and one that is made again brings what came meanwhile.
//!
//! What has notices goes over in the order of the source's notices, so that channels go on where they were (`notices.rs`). The
//! system's ledger goes last, with the places of the channels as the target names them (`system.rs`). In the end both are read
//! again and compared by hash (`verify.rs`).
//!
//! Start reading at [`copy`].

mod notices;
mod orgs;
mod system;
mod verify;

use std::collections::BTreeSet;
use std::time::Duration;

use tollgate_domain::{OrgId, Partition};
use tollgate_storage::{Cursor, Row, Scan, Store, StoreError};

use crate::limits::{COPY_ORGS_AT_ONCE, COPY_ROWS_READ, ORG_PAGE, SERVING};

use self::orgs::Ledgers;
pub use self::verify::{Digest, digest};

/// How a store is copied.
#[derive(Clone, Copy, Debug)]
pub struct CopyOptions {
    /// Whether servers may go on using the source.
    pub live: bool,
    /// A number that no server on either store has.
    pub holder: u64,
}

/// How far a copy has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is done at the moment.
    pub step: CopyStep,
    /// Orgs that are through.
    pub orgs: usize,
    /// Of how many.
    pub of: usize,
    /// Entries that were copied.
    pub entries: u64,
}

/// What a copy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyStep {
    /// Looks whether the target holds nothing but a beginning of the source.
    Looking,
    /// Copies what has notices, in their order.
    Notices,
    /// Copies the rest, org by org.
    Orgs,
    /// Compares both.
    Comparing,
}

/// What became of a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Orgs in the target.
    pub orgs: usize,
    /// Entries that this run copied.
    pub entries: u64,
    /// What is not the same in both, the first of it.
    pub differences: Vec<String>,
    /// How much is not the same.
    pub differences_count: usize,
    /// Orgs, and the system, of which the source has more by now.
    pub moved: usize,
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that is copied.
    Source,
    /// The one that it is copied to.
    Target,
}

/// Why a store is not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The source cannot be read.
    #[error("from: {0}")]
    Source(#[source] StoreError),
    /// The target cannot be read or written.
    #[error("to: {0}")]
    Target(#[source] StoreError),
    /// A server uses one of them.
    #[error("{}: a server is using the store, or was less than a minute ago", .0.name())]
    InUse(Side),
    /// There is nothing to copy.
    #[error("from: there is nothing in the store")]
    Empty,
    /// The target has something that the source has not.
    #[error("to: the store has something else in it: {0}")]
    SomethingElse(String),
    /// Another process writes to the target.
    #[error("to: another process writes to the store: {0}")]
    Overtaken(String),
}

impl Side {
    const fn name(self) -> &'static str {
        match self {
            Self::Source => "from",
            Self::Target => "to",
        }
    }
}

/// Copies everything that a store has into another one, and compares the two. `tell` hears of it now and then.
///
/// # Errors
/// [`CopyError`]. Whatever was copied by then is whole, and the next copy goes on with it.
pub async fn copy<A: Store, B: Store>(
    from: &A,
    to: &B,
    options: CopyOptions,
    tell: &mut dyn FnMut(Progress),
) -> Result<Copied, CopyError> {
    if !options.live && is_in_use(from, options.holder).await.map_err(CopyError::Source)? {
        return Err(CopyError::InUse(Side::Source));
    }
    if is_in_use(to, options.holder).await.map_err(CopyError::Target)? {
        return Err(CopyError::InUse(Side::Target));
    }
    let orgs = orgs_of(from).await.map_err(CopyError::Source)?;
    let system = version_of(from, &Partition::System).await.map_err(CopyError::Source)?;
    if orgs.is_empty() && system == 0 {
        return Err(CopyError::Empty);
    }
    let (mut told, mut ledgers) = (Told { tell, of: orgs.len() }, Ledgers::new(from, to));
    ledgers.look(&orgs, &mut told).await?;
    let system = system::look(from, to).await?;
    let marks = notices::marks(from).await.map_err(CopyError::Source)?;
    let reads = notices::copy(&mut ledgers, marks, &mut told).await?;
    let all: Vec<&OrgId> = orgs.iter().collect();
    for (part, some) in all.chunks(COPY_ORGS_AT_ONCE).enumerate() {
        ledgers.bring_all(some).await?;
        told.tell(CopyStep::Orgs, part * COPY_ORGS_AT_ONCE + some.len(), ledgers.copied);
    }
    let places = notices::places(to, &reads).await.map_err(CopyError::Target)?;
    let entries = ledgers.copied + system.copy(from, to, &places).await?;
    ledgers.finish().await?;
    let compared = verify::compare(from, to, entries, &mut told).await?;
    Ok(Copied { entries, ..compared })
}

/// Says how far it has come.
struct Told<'a> {
    tell: &'a mut dyn FnMut(Progress),
    of: usize,
}

impl Told<'_> {
    fn tell(&mut self, step: CopyStep, orgs: usize, entries: u64) {
        (self.tell)(Progress { step, orgs, of: self.of, entries });
    }
}

/// Whether a server uses a store that several may use; one of a single process is locked by it.
async fn is_in_use<S: Store>(store: &S, holder: u64) -> Result<bool, StoreError> {
    if !store.capabilities().shared {
        return Ok(false);
    }
    // Nothing is held: what is claimed for no time is given back.
    Ok(store.claim(SERVING, holder, Duration::ZERO).await?.is_none())
}

/// The orgs that have entries.
async fn orgs_of<S: Store>(store: &S) -> Result<BTreeSet<OrgId>, StoreError> {
    let of_org = |partition| if let Partition::Org(org) = partition { Some(org) } else { None };
    // Those that have no image yet are in no list.
    let mut orgs: BTreeSet<OrgId> = store.behind().await?.into_iter().filter_map(of_org).collect();
    let mut pages = Pages::of(store, Scan::Orgs, ORG_PAGE);
    while let Some(rows) = pages.next().await? {
        orgs.extend(
            rows.into_iter().filter_map(|row| if let Row::Org(org) = row { Some(org.id) } else { None }),
        );
    }
    Ok(orgs)
}

async fn version_of<S: Store>(store: &S, partition: &Partition) -> Result<u64, StoreError> {
    Ok(store.versions(std::slice::from_ref(partition)).await?.first().copied().unwrap_or(0))
}

/// The pages of a scan, one after the other.
struct Pages<'a, S> {
    store: &'a S,
    scan: Scan,
    limit: usize,
    /// From where the next one is read; `None`: from the beginning.
    from: Option<Cursor>,
    ended: bool,
}

impl<'a, S: Store> Pages<'a, S> {
    const fn of(store: &'a S, scan: Scan, limit: usize) -> Self {
        Self { store, scan, limit, from: None, ended: false }
    }

    /// The same with pages of the usual size.
    const fn all(store: &'a S, scan: Scan) -> Self {
        Self::of(store, scan, COPY_ROWS_READ)
    }

    async fn next(&mut self) -> Result<Option<Vec<Row>>, StoreError> {
        if self.ended {
            return Ok(None);
        }
        let page = self.store.scan(&self.scan, self.from.as_ref(), self.limit).await?;
        self.ended = page.next.is_none();
        self.from = page.next;
        Ok(Some(page.rows))
    }
}

//! The store contract.

use std::future::Future;
use std::sync::Arc;

use tollgate_domain::{
    ApiKey, CatalogVersion, Counter, CounterId, Entry, MeterId, Notice, Org, OrgId, Partition, Record,
    RecordKey, SystemEntry, Tally, Timestamp, Unsent, UserId, Window,
};

use crate::StoreError;

/// Keeps records and ledgers.
///
/// All methods may be called from any thread at any time; commits to one partition are ordered by its version.
pub trait Store: Send + Sync + 'static {
    /// Loads records by key: one answer per key, in the order asked; `None` where there is no such record.
    ///
    /// A record that [is nothing](Record::is_nothing) is absent.
    ///
    /// All answers of one call come from one moment: no commit lies half inside it.
    ///
    /// # Errors
    /// When the store cannot read, or finds what it reads to be damaged.
    fn load(
        &self,
        keys: &[RecordKey],
    ) -> impl Future<Output = Result<Vec<Option<Record>>, StoreError>> + Send;

    /// Reads rows in order, at most `limit`, from the beginning or from where a former page of the same scan ended.
    ///
    /// Everything committed before the call is seen.
    ///
    /// # Errors
    /// As for [`Store::load`]; [`crate::StoreErrorKind::BadCursor`] for a cursor this scan did not give.
    fn scan(
        &self,
        scan: &Scan,
        from: Option<&Cursor>,
        limit: usize,
    ) -> impl Future<Output = Result<Page, StoreError>> + Send;

    /// Commits changes; on return they are durable and visible.
    ///
    /// Each change is all-or-nothing. A change whose partition is not at the expected version is not made and answers
    /// [`Committed::Conflict`]; the others of the batch are made all the same.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Full`] and [`crate::StoreErrorKind::TooLarge`]: nothing was made. Any other error:
    /// it is not known what was made; the caller must not decide on its view any more and must reopen the store.
    fn commit(&self, batch: Batch) -> impl Future<Output = Result<Vec<Committed>, StoreError>> + Send;

    /// What this store can do.
    fn capabilities(&self) -> Capabilities;

    /// Finishes background work and lets go of everything held. Nothing may be called after it.
    ///
    /// # Errors
    /// When background work fails; what was committed is durable all the same.
    fn close(&self) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Changes to commit together; at most one per partition.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The changes.
    pub changes: Vec<Change>,
}

/// All that changes in one partition.
#[derive(Clone, Debug)]
pub struct Change {
    /// Whose.
    pub partition: Partition,
    /// The version the change was decided on: the number of the partition's latest entry, zero before the first.
    pub expected_version: u64,
    /// The new entries, numbered from `expected_version + 1` on without gaps; never empty.
    pub entries: Vec<EntryChange>,
    /// The records as they are after the last of the entries: those that [`tollgate_domain::apply`] changed.
    pub records: Vec<(RecordKey, Record)>,
}

/// A new entry of either kind of ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryChange {
    /// Of an org's.
    Org(Entry),
    /// Of the system's.
    System(SystemEntry),
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// It is durable.
    Done,
    /// Its partition had moved on; nothing of it was made.
    Conflict,
}

/// What to read in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scan {
    /// All orgs, by id.
    Orgs,
    /// The entries of an org's ledger, by number.
    Entries {
        /// Whose.
        org: OrgId,
        /// Which end first.
        order: Order,
    },
    /// An org's own closed counters of a meter and window, by period; the open one is in its account.
    OrgCounters {
        /// Whose.
        org: OrgId,
        /// Of what.
        meter: MeterId,
        /// In which windows.
        window: Window,
        /// The first period number.
        from: i32,
        /// The first period number that is not read any more.
        until: i32,
    },
    /// The open counters of an org's users of a meter, by user: every user that ever used it has a row.
    Tallies {
        /// Whose.
        org: OrgId,
        /// Of what.
        meter: MeterId,
    },
    /// The notices of all orgs in the order in which their entries were committed: one that is committed later is behind
    /// all that could be read before, whatever the clocks say.
    Notices,
    /// What is unsent, of all orgs or of one, by org and day; days on which nothing is unsent have no row.
    Unsent {
        /// Of which org; `None`: of all.
        org: Option<OrgId>,
    },
    /// All API keys, by id.
    ApiKeys,
    /// All versions of the catalog, oldest first.
    Catalogs,
}

/// Which end comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    Oldest,
    /// Newest first.
    Newest,
}

/// Where a page ended; opaque outside the store that gave it, valid for the same scan only, also after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub Vec<u8>);

/// Some rows, and where to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The rows.
    pub rows: Vec<Row>,
    /// From where the next page is read; `None` when there is nothing more.
    pub next: Option<Cursor>,
}

/// One row of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// Of [`Scan::Orgs`].
    Org(Org),
    /// Of [`Scan::Entries`].
    Entry(Entry),
    /// Of [`Scan::OrgCounters`].
    Counter(CounterRow),
    /// Of [`Scan::Tallies`].
    Tally(TallyRow),
    /// Of [`Scan::Notices`].
    Notice(NoticeRow),
    /// Of [`Scan::Unsent`].
    Unsent(UnsentRow),
    /// Of [`Scan::ApiKeys`].
    ApiKey(ApiKey),
    /// Of [`Scan::Catalogs`].
    Catalog(CatalogVersion),
}

/// A counter with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterRow {
    /// Which.
    pub id: CounterId,
    /// What it holds.
    pub counter: Counter,
}

/// The open counters of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TallyRow {
    /// Whose.
    pub user: UserId,
    /// What they hold.
    pub tally: Arc<Tally>,
}

/// What is unsent of an org's day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsentRow {
    /// The org.
    pub org: OrgId,
    /// The number of the day, of the org's calendar.
    pub day: i32,
    /// The amounts; never empty.
    pub unsent: Arc<Unsent>,
}

/// A notice with the entry that caused it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoticeRow {
    /// Whose.
    pub org: OrgId,
    /// The number of the entry.
    pub entry: u64,
    /// Which of the entry's notices: 0, 1 …
    pub index: u32,
    /// When the entry was decided.
    pub at: Timestamp,
    /// The notice.
    pub notice: Notice,
}

/// What a store can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// A commit survives the end of the process and of the machine's power.
    pub durable: bool,
    /// Several processes may commit to the same store.
    pub shared: bool,
    /// Most changes in one batch.
    pub changes_max: usize,
    /// Most entries in one batch.
    pub entries_max: usize,
}

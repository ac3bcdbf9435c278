//! The store contract.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tollgate_domain::{
    ApiKey, CatalogVersion, Counter, CounterId, Entry, KeyId, KeyRecord, MeterId, Notice, Org, OrgId,
    Partition, Record, RecordKey, ScopePath, SystemEntry, Tally, Timestamp, Unsent, UserId, Window,
};

use crate::StoreError;

/// Keeps ledgers, and images of what they add up to.
///
/// The entries of a partition are the truth. Its *image* holds its records as of one of its versions, so that not all
/// entries must be gone through: a partition is its image, and the entries since. Images follow entries at leisure, by
/// [`Store::checkpoint`]. What [`Store::find`] finds and the scans of entries and notices show follow from the entries
/// alone; the scans are always as new as the latest append.
///
/// All methods may be called from any thread at any time; appends to one partition are ordered by its version.
pub trait Store: Send + Sync + 'static {
    /// Appends entries; on return they are durable.
    ///
    /// Each append is all-or-nothing. One whose partition is not at the expected version is not made and answers
    /// [`Appended::Conflict`]; the others are made all the same.
    ///
    /// # Errors
    /// [`crate::StoreErrorKind::Full`], [`crate::StoreErrorKind::TooLarge`] and [`crate::StoreErrorKind::Unavailable`]: nothing
    /// was made. Any other error:
    /// it is not known what was made; the caller must not decide on its view any more and must reopen the store, or, where
    /// [`Capabilities::shared`] says that others append, too, open the partitions again. What was being made may be made yet.
    fn append(&self, appends: Vec<Append>) -> impl Future<Output = Result<Appends, StoreError>> + Send;

    /// The same for entries that were decided on the assumption that some callers' keys are new. Where one of these keys is
    /// remembered, nothing is made of its org, and the append of that org answers [`Appended::Conflict`]: look the keys up, and
    /// decide again.
    ///
    /// # Errors
    /// As for [`Store::append`].
    fn append_new(
        &self,
        appends: Vec<Append>,
        new: &[KeyId],
    ) -> impl Future<Output = Result<Appends, StoreError>> + Send {
        find_then_append(self, appends, new)
    }

    /// Opens partitions: of each the head of its image and the entries since, in the order asked; each of one moment. They need not
    /// be of the same one: nothing is decided on two orgs at once, and what is decided is guarded by the version of its own.
    ///
    /// # Errors
    /// When the store cannot read, or finds what it reads to be damaged.
    fn open(&self, partitions: &[Partition]) -> impl Future<Output = Result<Vec<Opened>, StoreError>> + Send;

    /// The versions of partitions, in the order asked: the numbers of their latest entries, zero before the first. Who has a
    /// partition in memory learns by this whether it is still what the store has.
    ///
    /// # Errors
    /// As for [`Store::open`].
    fn versions(&self, partitions: &[Partition])
    -> impl Future<Output = Result<Vec<u64>, StoreError>> + Send;

    /// The entries of partitions behind versions that they had, in the order asked: who has one in memory as of such a version brings it
    /// up to date with them. `None` where the store has no such entries at hand: the partition must be opened again.
    ///
    /// # Errors
    /// As for [`Store::open`].
    fn since(
        &self,
        asked: &[(Partition, u64)],
    ) -> impl Future<Output = Result<Vec<Option<Vec<EntryChange>>>, StoreError>> + Send {
        open_since(self, asked)
    }

    /// Loads records of partitions as their images have them, in the order asked; each partition of one moment. An entry of an
    /// org, which no image holds, is answered as the ledger has it; callers' keys are not asked for here but
    /// [found](Store::find).
    ///
    /// # Errors
    /// As for [`Store::open`].
    fn load(&self, asked: &[Parts]) -> impl Future<Output = Result<Vec<Loaded>, StoreError>> + Send;

    /// The same of one partition.
    ///
    /// # Errors
    /// As for [`Store::open`].
    fn load_one(&self, asked: &Parts) -> impl Future<Output = Result<Loaded, StoreError>> + Send {
        async { Ok(self.load(std::slice::from_ref(asked)).await?.pop().flatten()) }
    }

    /// What is remembered of callers' keys: one answer per key, in the order asked. A key that was seen long ago may be
    /// forgotten; of one that was used again after that, the latest use is answered.
    ///
    /// An answer is as of the version of the key's org that this store object last opened, said or appended, or of a later one:
    /// what others appended since may not be in it. Whoever decides on it appends behind that version, which is refused then, or sees that
    /// the version has moved.
    ///
    /// # Errors
    /// As for [`Store::open`].
    fn find(&self, keys: &[KeyId])
    -> impl Future<Output = Result<Vec<Option<KeyRecord>>, StoreError>> + Send;

    /// Keeps newer images. One that is not newer than the image there is changes nothing.
    ///
    /// `whole_until` is the [position](Appends::position) up to which, with these, every image holds every entry that this
    /// store object appended.
    ///
    /// # Errors
    /// When not all can be kept; they may be given again.
    fn checkpoint(
        &self,
        images: Arc<[Image]>,
        whole_until: u64,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Partitions whose images lack entries: those that another process appended, and on a store of one process those
    /// that one before this appended, until images hold them. One whose image lacks only what this store object appended may
    /// be among them or not.
    ///
    /// # Errors
    /// As for [`Store::open`].
    fn behind(&self) -> impl Future<Output = Result<Vec<Partition>, StoreError>> + Send;

    /// Reads rows in order, at most `limit`, from the beginning or from where a former page of the same scan ended.
    ///
    /// # Errors
    /// As for [`Store::open`]; [`crate::StoreErrorKind::BadCursor`] for a cursor this scan did not give.
    fn scan(
        &self,
        scan: &Scan,
        from: Option<&Cursor>,
        limit: usize,
    ) -> impl Future<Output = Result<Page, StoreError>> + Send;

    /// Claims a lease of work that one holder should do at a time, or keeps it: for this time from now on, by the store's own
    /// clock, nobody else gets it. A database that tells no time goes by the clocks of the machines. A time of zero gives it back. `None`: another holder has it.
    ///
    /// The number that is given is higher for each new holder. A lease saves doing work twice, and nothing is right because of
    /// it: who lost one and does not know it finds the versions moved, and changes nothing.
    ///
    /// # Errors
    /// When the store cannot be asked; the lease may be claimed.
    fn claim(
        &self,
        lease: &str,
        holder: u64,
        time: Duration,
    ) -> impl Future<Output = Result<Option<u64>, StoreError>> + Send;

    /// The [position](Appends::position) of the latest append; before the first of this store object, of what it found.
    fn position(&self) -> u64;

    /// What this store can do.
    fn capabilities(&self) -> Capabilities;

    /// Finishes background work and lets go of everything held. Nothing may be called after it.
    ///
    /// # Errors
    /// When background work fails; what was appended is durable all the same.
    fn close(&self) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Records of one partition to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Whose.
    pub partition: Partition,
    /// The version of the image that has them.
    pub image: u64,
    /// Which.
    pub keys: Vec<RecordKey>,
}

/// What was loaded of one partition: one answer per key, in the order asked; `None` where there is no such record, or it [is
/// nothing](Record::is_nothing).
///
/// `None` for all when the image is not of the version that was asked for: the partition must be opened again.
pub type Loaded = Option<Vec<Option<Record>>>;

/// Entries to append to one partition. One call has at most one for each partition.
#[derive(Clone, Debug)]
pub struct Append {
    /// Whose.
    pub partition: Partition,
    /// The version the entries were decided on: the number of the partition's latest entry, zero before the first.
    pub expected_version: u64,
    /// The entries, numbered from `expected_version + 1` on without gaps; never empty.
    pub entries: Vec<EntryChange>,
}

/// What became of appends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appends {
    /// Of each, in the order they were given.
    pub answers: Vec<Appended>,
    /// Where in the order of all appends of this store object they lie: later ones have higher positions.
    pub position: u64,
}

/// A new entry of either kind of ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryChange {
    /// Of an org's.
    Org(Entry),
    /// Of the system's.
    System(SystemEntry),
}

impl EntryChange {
    /// Its number.
    #[must_use]
    pub const fn number(&self) -> u64 {
        match self {
            Self::Org(entry) => entry.number,
            Self::System(entry) => entry.number,
        }
    }
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is durable.
    Done,
    /// Its partition had moved on, or one of the keys was not [new](Store::append_new); nothing of it was made.
    Conflict,
}

/// A partition as it is found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// The org or the system as the image has it: [`Record::Org`] or [`Record::System`]; `None`: there is no image.
    pub head: Option<Record>,
    /// The entries since, in order.
    pub entries: Vec<EntryChange>,
}

impl Opened {
    /// The version of the image; zero: there is none.
    #[must_use]
    pub fn image(&self) -> u64 {
        self.head.as_ref().map_or(0, Record::version)
    }

    /// The number of the latest entry; zero before the first.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.entries.last().map_or_else(|| self.image(), EntryChange::number)
    }
}

/// What changed in a partition since its former image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Whose.
    pub partition: Partition,
    /// The version it is of.
    pub version: u64,
    /// The head, and every other record that any entry since the former image changed, as they are at that version.
    pub records: Vec<(RecordKey, Record)>,
}

/// What to read in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scan {
    /// All orgs, by id, as of their images; so are counters, tallies, what is unsent, API keys and catalogs.
    Orgs,
    /// The entries of an org's ledger, by number.
    Entries {
        /// Whose.
        org: OrgId,
        /// Which end first.
        order: Order,
    },
    /// The entries of the system's ledger, oldest first.
    SystemEntries,
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
    /// The open counters of the paths of an org on a meter, by path: every path that a limit ever went by has a row.
    PathTallies {
        /// Whose.
        org: OrgId,
        /// Of what.
        meter: MeterId,
    },
    /// The notices of all orgs, in one order that stays: those of an org in the order of its ledger, and one that is committed
    /// later behind all that were read before. That is what a reader with a cursor needs, to miss none and get none twice. Those that nobody
    /// read before more came may be in any order among orgs: of commits to two orgs on two machines nobody can say, or need
    /// know, which was first.
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
    /// Of [`Scan::SystemEntries`].
    SystemEntry(SystemEntry),
    /// Of [`Scan::OrgCounters`].
    Counter(CounterRow),
    /// Of [`Scan::Tallies`].
    Tally(TallyRow),
    /// Of [`Scan::PathTallies`].
    PathTally(PathTallyRow),
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

/// The open counters of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTallyRow {
    /// Which.
    pub path: ScopePath,
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
    /// An append survives the end of the process and of the machine's power.
    pub durable: bool,
    /// Several processes may append to the same store.
    pub shared: bool,
    /// [`Store::append_new`] is one call, as cheap as [`Store::append`]: callers' keys need not be looked up before a decision.
    pub knows_new: bool,
    /// Most appends in one call.
    pub appends_max: usize,
    /// Most entries in one call.
    pub entries_max: usize,
}

/// [`Store::append_new`] by two calls, for stores that cannot do it in one. An append that another process makes between the two
/// moves the version of its org, so the second call makes nothing of that org.
///
/// # Errors
/// As for [`Store::find`] and [`Store::append`].
pub async fn find_then_append<S: Store + ?Sized>(
    store: &S,
    appends: Vec<Append>,
    new: &[KeyId],
) -> Result<Appends, StoreError> {
    let found = store.find(new).await?;
    let known = new.iter().zip(found).filter(|(_, found)| found.is_some()).map(|(id, _)| &id.org);
    let known: HashSet<&OrgId> = known.collect();
    let is_new = |append: &Append| match &append.partition {
        Partition::Org(org) => !known.contains(org),
        Partition::System => true,
    };
    let are_new: Vec<bool> = appends.iter().map(is_new).collect();
    let appends = appends.into_iter().filter(is_new).collect();
    let Appends { answers, position } = store.append(appends).await?;
    let mut answers = answers.into_iter();
    let answer = |is_new: bool| match is_new {
        true => answers.next().unwrap_or(Appended::Conflict),
        false => Appended::Conflict,
    };
    Ok(Appends { answers: are_new.into_iter().map(answer).collect(), position })
}

/// [`Store::since`] for stores that only open partitions whole: those that moved on.
async fn open_since<S: Store + ?Sized>(
    store: &S,
    asked: &[(Partition, u64)],
) -> Result<Vec<Option<Vec<EntryChange>>>, StoreError> {
    let partitions: Vec<Partition> = asked.iter().map(|(partition, _)| partition.clone()).collect();
    let versions = store.versions(&partitions).await?;
    let has_moved = |((_, known), version): &(&(Partition, u64), u64)| known != version;
    let moved = asked.iter().zip(versions.iter().copied()).filter(has_moved);
    let moved: Vec<Partition> = moved.map(|((partition, _), _)| partition.clone()).collect();
    let mut opened = match moved.is_empty() {
        true => Vec::new(),
        false => store.open(&moved).await?,
    }
    .into_iter();
    let since = asked.iter().zip(versions).map(|asked| {
        if !has_moved(&asked) {
            return Some(Vec::new());
        }
        let ((_, known), opened) = (asked.0, opened.next()?);
        let behind = |change: &EntryChange| change.number() > *known;
        (opened.image() <= *known).then(|| opened.entries.into_iter().filter(behind).collect())
    });
    Ok(since.collect())
}

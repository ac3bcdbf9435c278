//! A store in a database of items that are changed one by one: what the stores in DynamoDB and MongoDB have in common.
//!
//! Everything lies in one table of items, sorted in partitions; `places.rs` says where. A database has to be able to make an item if none is in its place,
//! to change one if a number in it is lower, to read some and to read a range in order ([`table::Table`]). It needs no
//! transactions, no second index, and promises nothing about two items.
//!
//! **A commit is one item.** The entries of an append are packed into one item, in the place that the version which they were decided on
//! names. The database makes it if nobody made one there before: that is all that guards an org (`append.rs`).
//!
//! **Lost answers.** A pack carries the number of its call. An append that is not answered is asked for again; if a pack lies in its place by then, its number
//! says whose it is. What arrives late finds the place taken. Only what does not answer for long is answered with an error.
//!
//! **Keys** are in the packs and nowhere else, until thousands of them are written down at once. Those of orgs that are worked on are in
//! memory, and nothing is read to look for one that nobody used (`keys.rs`).
//!
//! **Images** are written part by part, each with the version that it is of; the head says at last which is the image (`images.rs`).
//!
//! **Notices** are noted before they are appended, and put in order by those who read them (`notices.rs`).
//!
//! Start reading at [`PackStore`].

mod append;
mod images;
mod keys;
mod leases;
pub(crate) mod limits;
mod notices;
pub(crate) mod options;
mod pack;
mod places;
mod read;
pub(crate) mod table;
mod value;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{StreamExt, TryStreamExt, stream};
use tollgate_domain::{KeyId, KeyRecord, Partition};
use tollgate_storage::check::check_appends;
use tollgate_storage::{
    Append, Appends, Capabilities, Cursor, EntryChange, Image, Loaded, Opened, Page, Parts, Scan, Store,
    StoreError,
};

pub(crate) use self::options::Opening;
use self::table::{Asked, Table};
use crate::Keeping;
use crate::driven::Driven;

/// A store of packs in a table. Dropping it is like a crash: nothing appended is lost.
#[derive(Debug)]
pub struct PackStore<T> {
    driven: Driven<Core<T>>,
    /// Calls that appended.
    position: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct Core<T> {
    table: Asked<T>,
    ends: append::Ends,
    keys: keys::Keys,
    keeping: Keeping,
}

#[expect(private_bounds, reason = "which tables there are is known here alone")]
impl<T: Table> PackStore<T> {
    /// Opens the store in a table, which is made where the connections will be.
    pub(crate) fn start<F>(opening: Opening, connect: F) -> Result<Self, StoreError>
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let driven = Driven::start(T::THREAD, Core::open(opening, connect))?;
        Ok(Self { driven, position: AtomicU64::new(0) })
    }

    /// The table.
    pub(crate) fn table(&self) -> &T {
        &self.driven.core().table.table
    }
}

impl<T: Table> Core<T> {
    async fn open(
        opening: Opening,
        connect: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<Self, StoreError> {
        let table = Asked::new(connect.await?, opening.patience);
        table.ask(|| table.table.prepare(opening.migrate)).await?;
        let (ends, keys) = (append::Ends::default(), keys::Keys::default());
        Ok(Self { table, ends, keys, keeping: opening.keeping })
    }

    /// Notes the number of a latest entry that was seen.
    fn see(&self, partition: &Partition, end: u64) {
        self.ends.see(partition, end);
        if let Partition::Org(org) = partition {
            self.keys.see(org, end);
        }
    }
}

/// Waits for all of some futures, of which a few are under way at once; the answers are in the order of the futures.
async fn each<R, F>(futures: impl IntoIterator<Item = F>) -> Result<Vec<R>, StoreError>
where
    F: Future<Output = Result<R, StoreError>>,
{
    let futures: Vec<F> = futures.into_iter().collect();
    stream::iter(futures).buffered(limits::AT_ONCE).try_collect().await
}

/// The time since 1970 by the clock of this machine.
#[expect(clippy::disallowed_methods, reason = "when a mark is old, not when anything happened")]
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn now_secs() -> u64 {
    now().as_secs()
}

fn now_nanos() -> u64 {
    u64::try_from(now().as_nanos()).unwrap_or(u64::MAX)
}

impl<T: Table> Store for PackStore<T> {
    async fn append(&self, appends: Vec<Append>) -> Result<Appends, StoreError> {
        check_appends(&appends, limits::APPENDS_MAX, limits::ENTRIES_MAX)?;
        let answers = match appends.is_empty() {
            true => Vec::new(),
            false => self.driven.run(|core| async move { append::append(&core, &appends).await }).await?,
        };
        let position = self.position.fetch_add(1, Ordering::SeqCst) + 1;
        Ok(Appends { answers, position })
    }

    async fn open(&self, partitions: &[Partition]) -> Result<Vec<Opened>, StoreError> {
        let partitions = partitions.to_vec();
        self.driven.run(|core| async move { read::open(&core, &partitions).await }).await
    }

    async fn versions(&self, partitions: &[Partition]) -> Result<Vec<u64>, StoreError> {
        let partitions = partitions.to_vec();
        self.driven.run(|core| async move { read::versions(&core, &partitions).await }).await
    }

    async fn since(&self, asked: &[(Partition, u64)]) -> Result<Vec<Option<Vec<EntryChange>>>, StoreError> {
        let asked = asked.to_vec();
        self.driven.run(|core| async move { read::since(&core, &asked).await }).await
    }

    async fn load(&self, asked: &[Parts]) -> Result<Vec<Loaded>, StoreError> {
        let asked = asked.to_vec();
        self.driven.run(|core| async move { read::load(&core, &asked).await }).await
    }

    async fn find(&self, keys: &[KeyId]) -> Result<Vec<Option<KeyRecord>>, StoreError> {
        let keys = keys.to_vec();
        self.driven.run(|core| async move { keys::find(&core, &keys).await }).await
    }

    async fn checkpoint(&self, images: Arc<[Image]>, _whole_until: u64) -> Result<(), StoreError> {
        self.driven.run(|core| async move { images::checkpoint(&core, &images).await }).await
    }

    async fn behind(&self) -> Result<Vec<Partition>, StoreError> {
        self.driven.run(|core| async move { images::behind(&core).await }).await
    }

    async fn scan(&self, scan: &Scan, from: Option<&Cursor>, limit: usize) -> Result<Page, StoreError> {
        let (scan, from) = (scan.clone(), from.cloned());
        self.driven.run(|core| async move { read::scan(&core, &scan, from.as_ref(), limit).await }).await
    }

    async fn claim(&self, lease: &str, holder: u64, time: Duration) -> Result<Option<u64>, StoreError> {
        let lease = lease.to_owned();
        self.driven.run(move |core| async move { leases::claim(&core, &lease, holder, time).await }).await
    }

    fn position(&self) -> u64 {
        self.position.load(Ordering::SeqCst)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            shared: true,
            knows_new: false,
            appends_max: limits::APPENDS_MAX,
            entries_max: limits::ENTRIES_MAX,
        }
    }

    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

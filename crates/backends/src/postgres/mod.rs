//! The store of many processes: everything is in one PostgreSQL, and its own conditional writes are the only judge.
//!
//! ```text
//! ledgers   how far each ledger and its image are      the row that an append moves, if the version is the expected one
//! entries   the truth, with columns for people         never changed
//! keys      callers' keys, by a hash                   for as long as they are remembered
//! parts     images, keyed as in every store            upserted by checkpoints
//! notices   in the order in which readers number them
//! leases    who does what one process should do
//! bills     and their lines, for people alone
//! ```
//!
//! **One round trip.** Every call is one statement that runs one function of the schema, in a transaction of its own: no
//! transaction waits for a client, so a process that is paused or cut off holds no lock. Statements are unnamed and carry the
//! types of their values, so nothing is kept in a session: every statement may go to another server process, as behind
//! pgbouncer in transaction mode. Plans are kept all the same, by the functions. Sessions are used for nothing else: no
//! `LISTEN`, no temporary tables, and no advisory lock but one of a transaction, while migrations run.
//!
//! **Guarded, in order.** An append locks the rows of its ledgers in the order of their ids and moves those that are at the
//! expected version; the rest of the statement writes what belongs to these. Two calls never wait for one another in a circle,
//! and readers wait for nobody: what they read is of one snapshot.
//!
//! **New keys.** An append says which callers' keys it takes for new. Where the index knows one of them, nothing is made of that
//! org. So a key need not be looked up before a decision, unless the answer is something else than a new entry.
//!
//! **Lost answers.** A connection that breaks, or an answer that does not come, leaves open what was done. The call is asked
//! again on another connection, with the number it had: the first entry of each append carries it, so the database says what
//! became of the first attempt, or makes it now. The first attempt may arrive even later: then it finds the versions moved
//! and changes nothing. Only what does not answer for long is answered with an error, and whoever gets one of unknown outcome
//! opens the ledgers again.
//!
//! **The order of notices.** What commits later may have drawn a lower number from a sequence, so no order that is made when
//! notices are written can be read safely while others write. Here the readers make it: whoever reads first numbers all
//! notices that are committed and have no position, behind those that have one, one reader at a time, in a transaction that
//! commits before it reads. What is not committed by then gets a higher position, so a cursor never passes it. Appends never
//! wait for this.
//!
//! **Positions** of appends, which tell how far images are whole, are those of this object; what is behind is read from the
//! ledgers.
//!
//! Start reading at [`PostgresStore`], then `migrations/`.

pub(crate) mod append;
mod database;
mod error;
pub(crate) mod images;
#[cfg(feature = "redis")]
pub(crate) mod incarnations;
pub(crate) mod leases;
mod limits;
mod options;
pub(crate) mod read;
mod reports;
mod schema;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tollgate_domain::{KeyId, KeyRecord, Partition};
use tollgate_storage::check::check_appends;
use tollgate_storage::{
    Append, Appends, Capabilities, Cursor, EntryChange, Image, Loaded, Opened, Page, Parts, Scan, Store,
    StoreError,
};

#[cfg(feature = "redis")]
pub(crate) use self::{database::tls_config, incarnations::SHARDS, options::Trust};
pub use options::PostgresOptions;

use self::database::Database;
use self::error::unavailable;
use crate::driven::Driven;

/// The store in a PostgreSQL. Dropping it is like a crash: nothing appended is lost.
#[derive(Debug)]
pub struct PostgresStore {
    driven: Driven<Core>,
    /// Calls that appended.
    position: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) database: Database,
    options: PostgresOptions,
    /// Whose leases are those of the store itself.
    holder: u64,
}

impl PostgresStore {
    /// Opens the store in a database, making its schema or bringing it up to date if need be.
    ///
    /// # Errors
    /// Unavailable when the database cannot be reached; Format when it is of a kind that cannot be used, or a newer version
    /// made the schema, or it is not up to date and is not to be.
    pub fn open(options: PostgresOptions) -> Result<Self, StoreError> {
        let driven = Driven::start("tollgate-postgres", async {
            let core = Core::open(options).await?;
            schema::end_incarnations(&core.database).await?;
            Ok(core)
        })?;
        driven.spawn(sweep_now_and_then(Arc::downgrade(driven.core())));
        Ok(Self { driven, position: AtomicU64::new(0) })
    }

    /// Forgets what is past its time now; it happens by itself every few minutes, a piece at a time.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        self.driven.run(|core| async move { core.sweep().await }).await
    }
}

impl Core {
    pub(crate) async fn open(options: PostgresOptions) -> Result<Self, StoreError> {
        let database = Database::new(&options)?;
        schema::check_server(&database).await?;
        schema::bring_up(&database, options.migrate).await?;
        let mut holder = [0; 8];
        getrandom::fill(&mut holder).map_err(|error| unavailable("no random number").caused_by(error))?;
        Ok(Self { database, options, holder: u64::from_ne_bytes(holder) })
    }

    /// Forgets what is past its time, unless another process does.
    async fn sweep_by_turns(&self) -> Result<(), StoreError> {
        match leases::claim(&self.database, SWEEPING, self.holder, 2 * limits::SWEEP_EVERY).await? {
            Some(_) => self.sweep().await,
            None => Ok(()),
        }
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        while images::sweep(&self.database, self.options.keeping).await? {}
        Ok(())
    }
}

/// The lease of forgetting what is past its time.
const SWEEPING: &str = "sweeping";

/// Forgets what is past its time, for as long as the store is there.
pub(crate) async fn sweep_now_and_then(core: Weak<Core>) {
    loop {
        tokio::time::sleep(limits::SWEEP_EVERY).await;
        let Some(core) = core.upgrade() else { return };
        if let Err(error) = core.sweep_by_turns().await {
            tracing::warn!(%error, "expired keys and counters cannot be forgotten; it will be tried again");
        }
    }
}

impl Store for PostgresStore {
    async fn append(&self, appends: Vec<Append>) -> Result<Appends, StoreError> {
        self.append_new(appends, &[]).await
    }

    async fn append_new(&self, appends: Vec<Append>, new: &[KeyId]) -> Result<Appends, StoreError> {
        check_appends(&appends, limits::APPENDS_MAX, limits::ENTRIES_MAX)?;
        let answers = match appends.is_empty() {
            true => Vec::new(),
            false => {
                let new = new.to_vec();
                let append =
                    |core: Arc<Core>| async move { append::append(&core.database, &appends, &new).await };
                self.driven.run(append).await?
            }
        };
        let position = self.position.fetch_add(1, Ordering::SeqCst) + 1;
        Ok(Appends { answers, position })
    }

    async fn open(&self, partitions: &[Partition]) -> Result<Vec<Opened>, StoreError> {
        let partitions = partitions.to_vec();
        self.driven.run(|core| async move { read::open(&core.database, &partitions).await }).await
    }

    async fn versions(&self, partitions: &[Partition]) -> Result<Vec<u64>, StoreError> {
        let partitions = partitions.to_vec();
        self.driven.run(|core| async move { read::versions(&core.database, &partitions).await }).await
    }

    async fn since(&self, asked: &[(Partition, u64)]) -> Result<Vec<Option<Vec<EntryChange>>>, StoreError> {
        let asked = asked.to_vec();
        self.driven.run(|core| async move { read::since(&core.database, &asked).await }).await
    }

    async fn load(&self, asked: &[Parts]) -> Result<Vec<Loaded>, StoreError> {
        let asked = asked.to_vec();
        self.driven.run(|core| async move { read::load(&core.database, &asked).await }).await
    }

    async fn find(&self, keys: &[KeyId]) -> Result<Vec<Option<KeyRecord>>, StoreError> {
        let keys = keys.to_vec();
        self.driven.run(|core| async move { read::find(&core.database, &keys).await }).await
    }

    async fn checkpoint(&self, images: Arc<[Image]>, _whole_until: u64) -> Result<(), StoreError> {
        self.driven.run(|core| async move { images::checkpoint(&core.database, &images).await }).await
    }

    async fn behind(&self) -> Result<Vec<Partition>, StoreError> {
        self.driven.run(|core| async move { read::behind(&core.database).await }).await
    }

    async fn scan(&self, scan: &Scan, from: Option<&Cursor>, limit: usize) -> Result<Page, StoreError> {
        let (scan, from) = (scan.clone(), from.cloned());
        self.driven
            .run(|core| async move { read::scan(&core.database, &scan, from.as_ref(), limit).await })
            .await
    }

    async fn claim(&self, lease: &str, holder: u64, time: Duration) -> Result<Option<u64>, StoreError> {
        let lease = lease.to_owned();
        self.driven
            .run(move |core| async move { leases::claim(&core.database, &lease, holder, time).await })
            .await
    }

    fn position(&self) -> u64 {
        self.position.load(Ordering::SeqCst)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            shared: true,
            knows_new: true,
            appends_max: limits::APPENDS_MAX,
            entries_max: limits::ENTRIES_MAX,
        }
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.driven.core().database.pool.close();
        Ok(())
    }
}

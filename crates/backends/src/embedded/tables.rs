//! The tables: images of what the ledger adds up to, as rows that are found by key and read in order.
//!
//! They are never the only copy. After a power cut the tables may be at an older position, and the ledger is replayed
//! from there; what makes this right is that each write carries its position with it, in each table:
//! tables are written out one by one, so that a journal that is lost or damaged leaves some of them ahead of others.

use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError};
use std::thread::park_timeout;

use fjall::compaction::filter::{
    CompactionFilter, CompactionFilterResult, Context, Factory, ItemAccessor, Verdict,
};
use fjall::config::{
    BloomConstructionPolicy, CompressionPolicy, FilterPolicy, FilterPolicyEntry, PartitioningPolicy,
    PinningPolicy,
};
use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot, UserValue,
};
use serde::{Deserialize, Serialize};
use tollgate_storage::codec::DecodeError;
use tollgate_storage::{StoreError, StoreErrorKind};

use super::error::{bad_row, tables_error};
use super::io::create_folder;
use super::limits::{
    BLOOM_BITS_PER_KEY, JOURNAL_BYTES_MAX, MEMTABLE_BYTES, TABLES_FILES_OPEN_MAX, TABLES_FLUSH_LOOK,
    TABLES_THREADS,
};
use super::options::EmbeddedOptions;
use super::sync::{RwLock, RwLockReadGuard, yield_to_callers};
use super::walk::Position;
use crate::rows::{Table, counter_end_secs};

/// Version of the row that says how far the tables are.
const STAMP_VERSION: u8 = 1;

const META: &str = "meta";
const FOLDED_KEY: &[u8] = b"folded";

/// In each table, behind all its rows: how far that table is. Row keys are 16 bytes of a hash, or start with text or a
/// number below this.
pub(crate) const POSITION_KEY: &[u8] = &[0xFF; 17];

/// How far the tables are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Folded {
    /// How many checkpoints were written.
    pub(crate) count: u64,
    /// The last frame up to which every image holds every entry.
    pub(crate) position: Position,
    /// The last frame there was: no image holds an entry behind it, and it is durable.
    pub(crate) seen: Position,
    /// The latest time of an entry in the tables, in seconds since 1970.
    pub(crate) latest_secs: i64,
    /// That time when expired rows were last swept.
    pub(crate) swept_secs: i64,
}

/// What is written with each batch of rows, as a row of its own.
#[derive(Serialize, Deserialize)]
pub(crate) struct Stamp {
    folded: Folded,
    /// What the table engine's next number was when the batch was written; see [`super::table_files`].
    pub(crate) next_number: u64,
}

impl Stamp {
    fn encode(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_extend(self, vec![STAMP_VERSION])
    }

    pub(crate) fn decode(row: &[u8]) -> Option<Self> {
        match row.split_first() {
            Some((&STAMP_VERSION, value)) => match postcard::take_from_bytes(value) {
                Ok((value, [])) => Some(value),
                _ => None,
            },
            _ => None,
        }
    }
}

/// The ledger's own time, and how long rows are kept. No clock is read: time is that of the latest entry.
#[derive(Debug)]
pub(crate) struct Keep {
    latest_secs: AtomicI64,
    counter_keep_secs: i64,
}

impl Keep {
    pub(crate) const fn new(options: &EmbeddedOptions) -> Self {
        Self { latest_secs: AtomicI64::new(i64::MIN), counter_keep_secs: options.counter_keep_secs }
    }

    /// The latest time of an entry, in seconds since 1970.
    pub(crate) fn latest(&self) -> i64 {
        self.latest_secs.load(Ordering::Relaxed)
    }

    pub(crate) fn see(&self, latest_secs: i64) {
        self.latest_secs.fetch_max(latest_secs, Ordering::Relaxed);
    }

    /// Whether a row is past its keep time. Such rows go when the tables are next rewritten, or never; no answer
    /// depends on it.
    pub(crate) fn is_expired(&self, table: Table, key: &[u8]) -> bool {
        let end = if table == Table::Counters { counter_end_secs(key) } else { None };
        end.is_some_and(|end| end.saturating_add(self.counter_keep_secs) < self.latest())
    }
}

struct ExpiryFactory {
    table: Table,
    keep: Arc<Keep>,
}

struct ExpiryFilter {
    table: Table,
    keep: Arc<Keep>,
}

impl Factory for ExpiryFactory {
    fn name(&self) -> &'static str {
        "expiry"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        Box::new(ExpiryFilter { table: self.table, keep: Arc::clone(&self.keep) })
    }
}

impl CompactionFilter for ExpiryFilter {
    fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> CompactionFilterResult {
        // Older versions of a row expire no later than the newest, so none of them can come back.
        let expired = **item.key() != *POSITION_KEY && self.keep.is_expired(self.table, item.key());
        Ok(if expired { Verdict::Destroy } else { Verdict::Keep })
    }
}

/// The open tables.
#[derive(Clone)]
pub(crate) struct Tables {
    db: Database,
    orgs: Keyspace,
    accounts: Keyspace,
    tallies: Keyspace,
    counters: Keyspace,
    bills: Keyspace,
    unsent: Keyspace,
    system: Keyspace,
    meta: Keyspace,
}

/// The tables of an open store; they are reopened when they fail.
pub(crate) struct TablesSlot(RwLock<Option<Tables>>);

/// Tables that stay open while this lives.
pub(crate) struct TablesGuard<'a>(RwLockReadGuard<'a, Option<Tables>>);

impl TablesSlot {
    pub(crate) const fn new(tables: Tables) -> Self {
        Self(RwLock::new(Some(tables)))
    }

    pub(crate) fn read(&self) -> TablesGuard<'_> {
        TablesGuard(self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Closes the tables and opens them again.
    pub(crate) fn reopen(&self, open: impl FnOnce() -> Result<Tables, StoreError>) -> Result<(), StoreError> {
        let mut slot = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // The files are locked until the last handle is gone.
        drop(slot.take());
        *slot = Some(open()?);
        Ok(())
    }
}

impl TablesGuard<'_> {
    pub(crate) fn get(&self) -> Result<&Tables, StoreError> {
        self.0.as_ref().ok_or_else(|| super::error::stopped("the tables could not be reopened"))
    }
}

/// A moment of the tables.
pub(crate) struct TablesView<'a> {
    snapshot: Snapshot,
    tables: &'a Tables,
}

/// Rows written together.
pub(crate) struct TablesBatch<'a> {
    batch: fjall::OwnedWriteBatch,
    tables: &'a Tables,
}

/// A row of a table: its key and its content.
pub(crate) type RawRow = (Vec<u8>, Vec<u8>);

impl Tables {
    /// Opens the tables in `path`, making them if there are none.
    ///
    /// # Errors
    /// When they do not open: they can be made anew from the segments.
    pub(crate) fn open(path: &Path, options: &EmbeddedOptions, keep: &Arc<Keep>) -> Result<Self, StoreError> {
        let rebuild = |reason: &dyn std::fmt::Display| {
            StoreError::new(
                StoreErrorKind::Corrupt,
                format!(
                    "the tables in {} do not open ({reason}); the ledger is whole: make them anew with `tollgate rebuild`",
                    path.display()
                ),
            )
        };
        super::table_files::check(path).map_err(|damage| rebuild(&damage))?;
        // On a thread of its own: the workers of the table engine inherit its priority and slice, and where damaged files make
        // it panic, that is a refusal like any other here.
        let opened = std::thread::scope(|scope| {
            let open = || {
                yield_to_callers();
                Self::open_unguarded(path, options, keep)
            };
            let spawned =
                std::thread::Builder::new().name("tollgate-tables".into()).spawn_scoped(scope, open);
            spawned.map(std::thread::ScopedJoinHandle::join)
        });
        let opened = opened.map_err(|source| super::error::io_error("start a thread for", path, source))?;
        match opened {
            Ok(Ok(tables)) => Ok(tables),
            Ok(Err(error)) if is_full(&error) => Err(super::error::full(path, error)),
            Ok(Err(error)) => Err(rebuild(&error)),
            Err(_) => Err(rebuild(&"the table engine panicked")),
        }
    }

    fn open_unguarded(
        path: &Path,
        options: &EmbeddedOptions,
        keep: &Arc<Keep>,
    ) -> Result<Self, fjall::Error> {
        let keep = Arc::clone(keep);
        // What is in it is the table engine's; nobody else gets in.
        create_folder(path)?;
        let db = Database::builder(path)
            .cache_size(options.table_cache_bytes)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .max_cached_files(Some(TABLES_FILES_OPEN_MAX))
            .worker_threads(TABLES_THREADS)
            .with_compaction_filter_factories(Arc::new(move |name| {
                let table = Some(Table::Counters).filter(|table| table.name() == name)?;
                Some(Arc::new(ExpiryFactory { table, keep: Arc::clone(&keep) }))
            }))
            .open()?;
        let open = |table: Table| db.keyspace(table.name(), keyspace_options);
        Ok(Self {
            orgs: open(Table::Orgs)?,
            accounts: open(Table::Accounts)?,
            tallies: open(Table::Tallies)?,
            counters: open(Table::Counters)?,
            bills: open(Table::Bills)?,
            unsent: open(Table::Unsent)?,
            system: open(Table::System)?,
            meta: db.keyspace(META, keyspace_options)?,
            db,
        })
    }

    const fn keyspace(&self, table: Table) -> &Keyspace {
        match table {
            Table::Orgs => &self.orgs,
            Table::Accounts => &self.accounts,
            Table::Tallies => &self.tallies,
            Table::Counters => &self.counters,
            Table::Bills => &self.bills,
            Table::Unsent => &self.unsent,
            Table::System => &self.system,
        }
    }

    /// How far the tables are.
    ///
    /// # Errors
    /// Corrupt when some are ahead of others: a replay would count twice what they hold already.
    pub(crate) fn folded(&self) -> Result<Folded, StoreError> {
        let failed = |error| tables_error("read", error);
        let row = self.meta.get(FOLDED_KEY).map_err(failed)?;
        let folded = folded_of(row.as_deref())?;
        for table in Table::ALL {
            if self.keyspace(table).get(POSITION_KEY).map_err(failed)? != row {
                return Err(bad_row(table.name(), b"position", DecodeError::Damaged));
            }
        }
        Ok(folded)
    }

    /// The tables as they are now.
    pub(crate) fn view(&self) -> TablesView<'_> {
        TablesView { snapshot: self.db.snapshot(), tables: self }
    }

    /// Starts rows to be written together.
    pub(crate) fn batch(&self, rows: usize) -> TablesBatch<'_> {
        TablesBatch { batch: fjall::OwnedWriteBatch::with_capacity(self.db.clone(), rows), tables: self }
    }

    /// Bytes on disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.db.disk_space().unwrap_or(0)
    }

    /// Rewrites the tables that hold expired rows, without them.
    pub(crate) fn sweep(&self) -> Result<(), StoreError> {
        let swept = self.write_out(&self.counters).and_then(|()| self.counters.major_compact());
        swept.map_err(|error| tables_error("sweep", error))
    }

    /// Writes out what is in memory, so that the next start reads no journal, and makes it durable.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        let keyspaces = Table::ALL.map(|table| self.keyspace(table));
        let flushed =
            keyspaces.into_iter().chain([&self.meta]).try_for_each(|keyspace| self.write_out(keyspace));
        flushed
            .and_then(|()| self.db.persist(PersistMode::SyncAll))
            .map_err(|error| tables_error("flush", error))
    }

    /// Writes out what is in memory of a table.
    ///
    /// It is not waited for as the engine does, which has no end once the engine's thread has ended over an error, such as that of a
    /// full disk. From then on the engine refuses everything.
    fn write_out(&self, keyspace: &Keyspace) -> Result<(), fjall::Error> {
        keyspace.rotate_memtable()?;
        while keyspace.sealed_memtable_count() > 0 {
            self.db.persist(PersistMode::Buffer)?;
            park_timeout(TABLES_FLUSH_LOOK);
        }
        Ok(())
    }
}

/// How far the tables are by what their row says.
fn folded_of(row: Option<&[u8]>) -> Result<Folded, StoreError> {
    let Some(row) = row else { return Ok(Folded::default()) };
    let stamp = Stamp::decode(row).ok_or_else(|| bad_row(META, FOLDED_KEY, DecodeError::Damaged))?;
    Ok(stamp.folded)
}

/// Whether there was no room.
pub(crate) fn is_full(error: &fjall::Error) -> bool {
    matches!(error, fjall::Error::Io(source) if source.kind() == std::io::ErrorKind::StorageFull)
}

/// Bytes free for this process where `path` is.
pub(crate) fn free_bytes(path: &Path) -> u64 {
    rustix::fs::statvfs(path).map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn keyspace_options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .max_memtable_size(MEMTABLE_BYTES)
        // Most keys asked for are absent: every level has a filter, and filters and indexes stay in memory.
        .filter_policy(FilterPolicy::all(FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(
            BLOOM_BITS_PER_KEY,
        ))))
        .filter_block_pinning_policy(PinningPolicy::all(true))
        .index_block_pinning_policy(PinningPolicy::all(true))
        .filter_block_partitioning_policy(PartitioningPolicy::all(false))
        .index_block_partitioning_policy(PartitioningPolicy::all(false))
        .data_block_compression_policy(CompressionPolicy::all(CompressionType::Lz4))
}

impl TablesView<'_> {
    /// How far the tables are.
    pub(crate) fn folded(&self) -> Result<Folded, StoreError> {
        let row = self.snapshot.get(&self.tables.meta, FOLDED_KEY);
        folded_of(row.map_err(|error| tables_error("read", error))?.as_deref())
    }

    /// A row.
    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<UserValue>, StoreError> {
        self.snapshot.get(self.tables.keyspace(table), key).map_err(|error| tables_error("read", error))
    }

    /// Rows from `from` up to but not including `until`, in order.
    pub(crate) fn range(
        &self,
        table: Table,
        from: Bound<Vec<u8>>,
        until: Bound<Vec<u8>>,
    ) -> impl DoubleEndedIterator<Item = Result<RawRow, StoreError>> + use<> {
        let until = if until == Bound::Unbounded { Bound::Excluded(POSITION_KEY.to_vec()) } else { until };
        self.snapshot.range::<Vec<u8>, _>(self.tables.keyspace(table), (from, until)).map(|guard| {
            let (key, value) = guard.into_inner().map_err(|error| tables_error("read", error))?;
            Ok((key.to_vec(), value.to_vec()))
        })
    }
}

impl TablesBatch<'_> {
    /// Adds a row.
    pub(crate) fn put(&mut self, table: Table, key: &[u8], row: &[u8]) {
        self.batch.insert(self.tables.keyspace(table), key, row);
    }

    /// Removes a row, if there is one.
    pub(crate) fn remove(&mut self, table: Table, key: Vec<u8>) {
        self.batch.remove(self.tables.keyspace(table), key);
    }

    /// Writes all rows and how far the tables are with them, or nothing.
    pub(crate) fn commit(mut self, folded: &Folded) -> Result<(), fjall::Error> {
        let stamp = Stamp { folded: *folded, next_number: self.tables.db.seqno() };
        let row = stamp.encode().map_err(|error| fjall::Error::Io(std::io::Error::other(error)))?;
        for table in Table::ALL {
            self.batch.insert(self.tables.keyspace(table), POSITION_KEY, row.clone());
        }
        self.batch.insert(&self.tables.meta, FOLDED_KEY, row);
        // A table may be written out at any time from now on: its rows must not outlive the journal's.
        self.batch.durability(Some(PersistMode::SyncData)).commit()
    }
}

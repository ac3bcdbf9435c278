//! The store of many processes with the newest entries in memory: a Redis in front of a PostgreSQL.
//!
//! ```text
//! append ──► Redis: the entries behind a base, an org's all in one slot ──► answer
//!              │  every interval, at the end, and before an image
//!              ▼
//!            PostgreSQL: the same tables as the store `postgres`: entries up to the base, images, keys, notices, the system
//! ```
//!
//! **One ledger in two places.** PostgreSQL has the entries of an org up to some number, and the Redis those behind it. What is
//! read is what both have. PostgreSQL by itself is a whole store at any moment, of a moment ago: images are kept there, and only
//! of versions that it has.
//!
//! **Appending** is one call of a function an org (`functions.lua`), all calls of a batch in one pipeline: it compares the version and appends,
//! and nothing comes between. With `durable=always` the pipeline ends with waiting for the disk. A lost answer is settled as in
//! `postgres`: each append has the number of its call with it, so who asks again is told what became of it, or has it made now.
//!
//! **Moving** (`flush.rs`) is an append to PostgreSQL as any other, guarded by the version of its ledger, which moves in the
//! same transaction. So each entry comes once, whoever moves it, how often, and whatever dies in between; no lease is
//! needed. Then the Redis forgets what was moved.
//!
//! **Losing a Redis.** Its primary may start anew, without what its disk lacks; a replica may take over, without what it had not
//! been told; somebody may empty it. Orgs are in [shards](crate::postgres::SHARDS), and in each lives an *incarnation*, by its
//! number and by the reign of the server in which it began. A function refuses to do anything where another one lives. Who is
//! refused begins the next one (`lives.rs`), in PostgreSQL first, where from then on nothing of the former one comes in any more. Then each
//! org is settled when it is first asked for: what the Redis still has of it is kept where it goes on from what PostgreSQL has, and all else is gone.
//! Versions may come again then, with other entries. So every store object takes what it was told before as changed, and whoever decided
//! on it loses the race.
//!
//! **Reading** asks the Redis first (`read.rs`). Only a Cluster has no moment that is the same for all orgs: those that are opened together are read until
//! none of them changed meanwhile, or it has tried often.
//!
//! Start reading at [`RedisStore`], then `functions.lua`.

mod append;
mod calls;
mod error;
mod flush;
mod limits;
mod link;
mod lives;
mod options;
mod read;
mod servers;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tollgate_domain::{KeyId, KeyRecord, Partition};
use tollgate_storage::check::{check_appends, check_image};
use tollgate_storage::{
    Append, Appends, Capabilities, Cursor, Image, Loaded, Opened, Page, Parts, Scan, Store, StoreError,
};

pub use options::RedisOptions;

use self::error::unavailable;
use self::limits::ROUNDS_MAX;
use self::link::Facts;
use self::lives::Shards;
use self::servers::Servers;
use crate::driven::Driven;
use crate::postgres::images::checkpoint_held;
use crate::postgres::incarnations::{self, Held};
use crate::postgres::{self, leases, sweep_now_and_then};

/// The store in a Redis and a PostgreSQL. Dropping it is like a crash: what was appended is in one of them.
#[derive(Debug)]
pub struct RedisStore {
    driven: Driven<Core>,
    /// Calls that appended.
    position: AtomicU64,
}

#[derive(Debug)]
struct Core {
    servers: Servers,
    shards: Shards,
    cold: Arc<postgres::Core>,
    flush: Duration,
}

impl RedisStore {
    /// Opens the store, making the schema of the database or bringing it up to date if need be.
    ///
    /// # Errors
    /// As for [`postgres::PostgresStore::open`], and the same of the Redis.
    pub fn open(options: RedisOptions) -> Result<Self, StoreError> {
        let driven = Driven::start("tollgate-redis", Core::open(options))?;
        driven.spawn(sweep_now_and_then(Arc::downgrade(&driven.core().cold)));
        driven.spawn(flush::flush_now_and_then(Arc::downgrade(driven.core())));
        Ok(Self { driven, position: AtomicU64::new(0) })
    }

    /// Makes the schema of the database, or brings it up to date.
    ///
    /// # Errors
    /// As for [`postgres::PostgresStore::open`].
    pub fn migrate(options: RedisOptions) -> Result<(), StoreError> {
        Driven::start("tollgate-migrate", postgres::Core::open(options.postgres.migrating())).map(drop)
    }

    /// Moves everything to the database now; it happens by itself every interval and when the store is closed.
    ///
    /// # Errors
    /// When one of the two does not answer.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.driven.run(|core| async move { core.flush_all(false).await }).await
    }
}

impl Core {
    async fn open(options: RedisOptions) -> Result<Self, StoreError> {
        let (durable, flush) = (options.durable, options.flush);
        let (servers, facts) = Servers::find(&options).await?;
        let cold = Arc::new(postgres::Core::open(options.postgres).await?);
        let shards = Shards::new(incarnations::current(&cold.database).await?);
        let mut core = Self { servers, shards, cold, flush };
        core.begin_lives().await?;
        say_what_may_be_lost(durable, &facts, flush);
        Ok(core)
    }

    /// Keeps images of what the database has, after it got what they are of.
    async fn checkpoint(&self, images: Arc<[Image]>) -> Result<(), StoreError> {
        images.iter().for_each(check_image);
        for _ in 0..ROUNDS_MAX {
            let orgs = images.iter().filter_map(|image| match &image.partition {
                Partition::Org(org) => Some(org),
                Partition::System => None,
            });
            let lives: Vec<_> = orgs.map(|org| (org, self.shards.of(org))).collect();
            let current = |image: &&Image| match &image.partition {
                // What is of entries that are lost is no image of what is there.
                Partition::Org(org) => self.shards.is_current(org, self.shards.of(org)),
                Partition::System => true,
            };
            let kept: Vec<Image> = images.iter().filter(current).cloned().collect();
            let orgs: Vec<_> = lives.iter().map(|(org, _)| *org).collect();
            self.flush(&orgs).await?;
            let held = Held::of(lives.iter().map(|(_, life)| *life))?;
            if checkpoint_held(&self.cold.database, &kept, &held).await? {
                return Ok(());
            }
            self.renew(lives.into_iter().map(|(_, life)| life).collect()).await?;
        }
        Err(unavailable("Redis keeps losing what it holds"))
    }
}

/// Says at the start what is lost with a Redis that fails.
fn say_what_may_be_lost(durable: bool, facts: &Facts, flush: Duration) {
    let seconds = flush.as_secs();
    match (durable, facts.writes) {
        (true, _) => tracing::info!(seconds, "an append is on the disk of Redis before it is answered"),
        (false, true) => tracing::warn!(
            seconds,
            "a Redis that fails loses what it did not write to its disk: up to a second, unless it runs with \
             `appendfsync always`; with durable=always it loses nothing"
        ),
        (false, false) => tracing::warn!(
            seconds,
            "a Redis that fails loses everything since it was last moved to PostgreSQL, up to the interval and what \
             moving takes; with `appendonly yes` and durable=always it loses nothing"
        ),
    }
}

impl Store for RedisStore {
    async fn append(&self, appends: Vec<Append>) -> Result<Appends, StoreError> {
        check_appends(&appends, limits::APPENDS_MAX, limits::ENTRIES_MAX)?;
        let answers = match appends.is_empty() {
            true => Vec::new(),
            false => self.driven.run(|core| async move { core.append(appends).await }).await?,
        };
        let position = self.position.fetch_add(1, Ordering::SeqCst) + 1;
        Ok(Appends { answers, position })
    }

    async fn open(&self, partitions: &[Partition]) -> Result<Vec<Opened>, StoreError> {
        let partitions = partitions.to_vec();
        self.driven.run(|core| async move { core.open_all(&partitions).await }).await
    }

    async fn versions(&self, partitions: &[Partition]) -> Result<Vec<u64>, StoreError> {
        let partitions = partitions.to_vec();
        self.driven.run(|core| async move { core.versions(&partitions).await }).await
    }

    async fn load(&self, asked: &[Parts]) -> Result<Vec<Loaded>, StoreError> {
        let asked = asked.to_vec();
        self.driven.run(|core| async move { core.load(&asked).await }).await
    }

    async fn find(&self, keys: &[KeyId]) -> Result<Vec<Option<KeyRecord>>, StoreError> {
        let keys = keys.to_vec();
        self.driven.run(|core| async move { core.find(&keys).await }).await
    }

    async fn checkpoint(&self, images: Arc<[Image]>, _whole_until: u64) -> Result<(), StoreError> {
        self.driven.run(|core| async move { core.checkpoint(images).await }).await
    }

    async fn behind(&self) -> Result<Vec<Partition>, StoreError> {
        self.driven.run(|core| async move { core.behind().await }).await
    }

    async fn scan(&self, scan: &Scan, from: Option<&Cursor>, limit: usize) -> Result<Page, StoreError> {
        let (scan, from) = (scan.clone(), from.cloned());
        self.driven.run(|core| async move { core.scan(&scan, from.as_ref(), limit).await }).await
    }

    async fn claim(&self, lease: &str, holder: u64, time: Duration) -> Result<Option<u64>, StoreError> {
        let lease = lease.to_owned();
        self.driven
            .run(move |core| async move { leases::claim(&core.cold.database, &lease, holder, time).await })
            .await
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
        let flushed = self.flush().await;
        self.driven.core().cold.database.pool.close();
        flushed
    }
}

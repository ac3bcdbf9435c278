//! The only place that names backends.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
#[cfg(any(feature = "aws", feature = "mongodb", feature = "postgres"))]
use tollgate_backends::Keeping;
#[cfg(feature = "aws")]
use tollgate_backends::dynamo::{DynamoOptions, DynamoStore};
use tollgate_backends::embedded::{EmbeddedOptions, EmbeddedStore, Metrics, TIMING_BOUNDS_MICROS, Timing};
#[cfg(feature = "mongodb")]
use tollgate_backends::mongo::{MongoOptions, MongoStore};
#[cfg(feature = "postgres")]
use tollgate_backends::postgres::{PostgresOptions, PostgresStore};
#[cfg(feature = "redis")]
use tollgate_backends::redis::{RedisOptions, RedisStore};
use tollgate_domain::{KeyId, KeyRecord, Partition};
use tollgate_storage::{
    Append, Appends, Capabilities, Cursor, EntryChange, Image, Loaded, MemoryStore, Opened, Page, Parts,
    Scan, Store, StoreError, StoreErrorKind,
};

#[cfg(any(feature = "aws", feature = "mongodb", feature = "postgres"))]
use crate::DatabaseUrl;
use crate::{Settings, StoreUrl};

/// A store of any kind this build knows.
#[derive(Debug)]
pub(crate) enum AnyStore {
    Embedded(Box<EmbeddedStore>),
    #[cfg(feature = "postgres")]
    Postgres(PostgresStore),
    #[cfg(feature = "aws")]
    Dynamo(DynamoStore),
    #[cfg(feature = "mongodb")]
    Mongo(MongoStore),
    #[cfg(feature = "redis")]
    Redis(RedisStore),
    Memory(MemoryStore),
}

/// Calls the store of whatever kind.
macro_rules! of_any {
    ($of:expr, $store:ident => $call:expr) => {
        match $of {
            AnyStore::Embedded($store) => {
                let $store: &EmbeddedStore = $store;
                $call
            }
            #[cfg(feature = "postgres")]
            AnyStore::Postgres($store) => $call,
            #[cfg(feature = "aws")]
            AnyStore::Dynamo($store) => $call,
            #[cfg(feature = "mongodb")]
            AnyStore::Mongo($store) => $call,
            #[cfg(feature = "redis")]
            AnyStore::Redis($store) => $call,
            AnyStore::Memory($store) => $call,
        }
    };
}

impl AnyStore {
    /// Why nothing is appended any more, if so.
    pub(crate) fn stopped(&self) -> Option<String> {
        match self {
            Self::Embedded(store) => store.stopped(),
            _ => None,
        }
    }

    /// Whether it refuses what is appended until its disk has room.
    pub(crate) fn lacks_room(&self) -> bool {
        match self {
            Self::Embedded(store) => store.lacks_room(),
            _ => false,
        }
    }

    /// Makes what the store measures of itself visible.
    pub(crate) fn register(&self, registry: &mut Registry) {
        if let Self::Embedded(store) = self {
            registry.register_collector(Box::new(EmbeddedCollector(store.metrics())));
        }
    }

    pub(crate) fn open(settings: &Settings) -> Result<Arc<Self>, StoreError> {
        let store = match &settings.store {
            StoreUrl::Embedded(path) => {
                Self::Embedded(Box::new(EmbeddedStore::open(path, embedded_options(settings))?))
            }
            #[cfg(feature = "postgres")]
            StoreUrl::Postgres(url) => Self::Postgres(PostgresStore::open(postgres_options(url, settings)?)?),
            #[cfg(not(feature = "postgres"))]
            StoreUrl::Postgres(_) => return Err(StoreError::new(StoreErrorKind::Format, NO_POSTGRES)),
            #[cfg(feature = "aws")]
            StoreUrl::Dynamo(url) => Self::Dynamo(DynamoStore::open(dynamo_options(url, settings)?)?),
            #[cfg(not(feature = "aws"))]
            StoreUrl::Dynamo(_) => return Err(StoreError::new(StoreErrorKind::Format, NO_DYNAMO)),
            #[cfg(feature = "mongodb")]
            StoreUrl::Mongo(url) => Self::Mongo(MongoStore::open(mongo_options(url, settings)?)?),
            #[cfg(not(feature = "mongodb"))]
            StoreUrl::Mongo(_) => return Err(StoreError::new(StoreErrorKind::Format, NO_MONGO)),
            #[cfg(feature = "redis")]
            StoreUrl::Redis(url) => Self::Redis(RedisStore::open(redis_options(url, settings)?)?),
            #[cfg(not(feature = "redis"))]
            StoreUrl::Redis(_) => return Err(StoreError::new(StoreErrorKind::Format, NO_REDIS)),
            StoreUrl::Memory => Self::Memory(MemoryStore::new()),
        };
        Ok(Arc::new(store))
    }
}

/// How a store in a folder is opened, by the server and by the commands that work on a folder.
#[must_use]
pub fn embedded_options(settings: &Settings) -> EmbeddedOptions {
    const DAY_SECS: i64 = 86_400;
    const MONTH_DAYS_MAX: i64 = 31;
    EmbeddedOptions {
        segment_bytes: settings.segment_bytes,
        key_keep_secs: i64::from(settings.key_keep_days) * DAY_SECS,
        counter_keep_secs: i64::from(settings.counter_keep_months) * MONTH_DAYS_MAX * DAY_SECS,
        ..EmbeddedOptions::default()
    }
}

/// What a build without the PostgreSQL store says.
#[cfg(not(feature = "postgres"))]
const NO_POSTGRES: &str = "this build has no PostgreSQL store; get one with it by `cargo build --release -p tollgate --features postgres`";

/// What a build without the DynamoDB store says.
#[cfg(not(feature = "aws"))]
const NO_DYNAMO: &str =
    "this build has no DynamoDB store; get one with it by `cargo build --release -p tollgate --features aws`";

/// What a build without the MongoDB store says.
#[cfg(not(feature = "mongodb"))]
const NO_MONGO: &str = "this build has no MongoDB store; get one with it by `cargo build --release -p tollgate --features mongodb`";

/// What a build without the Redis store says.
#[cfg(not(feature = "redis"))]
const NO_REDIS: &str = "this build has no store in Redis and PostgreSQL; get one with it by `cargo build --release --features redis`";

/// Refuses what names no database, and every one whose store this build has not, without saying any secret.
pub(crate) fn check_database(url: &str) -> Result<(), String> {
    match url.split_once(':') {
        Some(("dynamodb", _)) => check_dynamo(url),
        Some(("mongodb" | "mongodb+srv", _)) => check_mongo(url),
        Some((scheme, _)) if scheme.starts_with("redis+") => check_redis(url),
        _ => check_postgres(url),
    }
}

#[cfg(feature = "postgres")]
fn check_postgres(url: &str) -> Result<(), String> {
    PostgresOptions::from_url(url).map(drop).map_err(|error| format!("not a database: {error}"))
}

#[cfg(not(feature = "postgres"))]
fn check_postgres(_url: &str) -> Result<(), String> {
    Err(NO_POSTGRES.to_owned())
}

#[cfg(feature = "aws")]
fn check_dynamo(url: &str) -> Result<(), String> {
    DynamoOptions::from_url(url).map(drop).map_err(|error| format!("not a table: {error}"))
}

#[cfg(not(feature = "aws"))]
fn check_dynamo(_url: &str) -> Result<(), String> {
    Err(NO_DYNAMO.to_owned())
}

#[cfg(feature = "aws")]
fn dynamo_options(url: &DatabaseUrl, settings: &Settings) -> Result<DynamoOptions, StoreError> {
    let options = DynamoOptions::from_url(url.reveal());
    let mut options = options.map_err(|error| StoreError::new(StoreErrorKind::Format, error))?;
    options.opening.keeping = keeping(settings);
    Ok(options)
}

#[cfg(feature = "mongodb")]
fn check_mongo(url: &str) -> Result<(), String> {
    MongoOptions::from_url(url).map(drop).map_err(|error| format!("not a database: {error}"))
}

#[cfg(not(feature = "mongodb"))]
fn check_mongo(_url: &str) -> Result<(), String> {
    Err(NO_MONGO.to_owned())
}

#[cfg(feature = "mongodb")]
fn mongo_options(url: &DatabaseUrl, settings: &Settings) -> Result<MongoOptions, StoreError> {
    let options = MongoOptions::from_url(url.reveal());
    let mut options = options.map_err(|error| StoreError::new(StoreErrorKind::Format, error))?;
    options.opening.keeping = keeping(settings);
    Ok(options)
}

#[cfg(feature = "redis")]
fn check_redis(url: &str) -> Result<(), String> {
    RedisOptions::from_url(url).map(drop).map_err(|error| format!("not a database: {error}"))
}

#[cfg(not(feature = "redis"))]
fn check_redis(_url: &str) -> Result<(), String> {
    Err(NO_REDIS.to_owned())
}

#[cfg(feature = "postgres")]
fn postgres_options(url: &DatabaseUrl, settings: &Settings) -> Result<PostgresOptions, StoreError> {
    let options = PostgresOptions::from_url(url.reveal());
    let mut options = options.map_err(|error| StoreError::new(StoreErrorKind::Format, error))?;
    options.keeping = keeping(settings);
    Ok(options)
}

/// How long keys and counters are kept.
#[cfg(any(feature = "aws", feature = "mongodb", feature = "postgres"))]
fn keeping(settings: &Settings) -> Keeping {
    let EmbeddedOptions { key_keep_secs, counter_keep_secs, .. } = embedded_options(settings);
    Keeping { key_secs: Some(key_keep_secs), counter_secs: Some(counter_keep_secs) }
}

#[cfg(feature = "redis")]
fn redis_options(url: &DatabaseUrl, settings: &Settings) -> Result<RedisOptions, StoreError> {
    let options = RedisOptions::from_url(url.reveal());
    let mut options = options.map_err(|error| StoreError::new(StoreErrorKind::Format, error))?;
    options.postgres.keeping = keeping(settings);
    options.flush = settings.flush_interval;
    Ok(options)
}

/// Makes the schema or the table of a store in a database, or brings it up to date; `None` for a store that has none.
///
/// # Errors
/// When the database cannot be reached or used, or a newer version made the schema.
pub fn migrate(settings: &Settings) -> Result<Option<()>, StoreError> {
    match &settings.store {
        #[cfg(feature = "postgres")]
        StoreUrl::Postgres(url) => {
            let options = postgres_options(url, settings)?.migrating();
            PostgresStore::open(options).map(|_| Some(()))
        }
        #[cfg(feature = "aws")]
        StoreUrl::Dynamo(url) => {
            let mut options = dynamo_options(url, settings)?;
            options.opening = options.opening.migrating();
            DynamoStore::open(options).map(|_| Some(()))
        }
        #[cfg(feature = "mongodb")]
        StoreUrl::Mongo(url) => {
            let mut options = mongo_options(url, settings)?;
            options.opening = options.opening.migrating();
            MongoStore::open(options).map(|_| Some(()))
        }
        #[cfg(feature = "redis")]
        StoreUrl::Redis(url) => RedisStore::migrate(redis_options(url, settings)?).map(Some),
        _ => Ok(None),
    }
}

impl Store for AnyStore {
    async fn append(&self, appends: Vec<Append>) -> Result<Appends, StoreError> {
        of_any!(self, store => store.append(appends).await)
    }

    async fn append_new(&self, appends: Vec<Append>, new: &[KeyId]) -> Result<Appends, StoreError> {
        of_any!(self, store => store.append_new(appends, new).await)
    }

    async fn open(&self, partitions: &[Partition]) -> Result<Vec<Opened>, StoreError> {
        of_any!(self, store => Store::open(store, partitions).await)
    }

    async fn versions(&self, partitions: &[Partition]) -> Result<Vec<u64>, StoreError> {
        of_any!(self, store => store.versions(partitions).await)
    }

    async fn since(&self, asked: &[(Partition, u64)]) -> Result<Vec<Option<Vec<EntryChange>>>, StoreError> {
        of_any!(self, store => store.since(asked).await)
    }

    async fn load(&self, asked: &[Parts]) -> Result<Vec<Loaded>, StoreError> {
        of_any!(self, store => store.load(asked).await)
    }

    async fn find(&self, keys: &[KeyId]) -> Result<Vec<Option<KeyRecord>>, StoreError> {
        of_any!(self, store => store.find(keys).await)
    }

    async fn checkpoint(&self, images: Arc<[Image]>, whole_until: u64) -> Result<(), StoreError> {
        of_any!(self, store => store.checkpoint(images, whole_until).await)
    }

    async fn behind(&self) -> Result<Vec<Partition>, StoreError> {
        of_any!(self, store => store.behind().await)
    }

    async fn scan(&self, scan: &Scan, from: Option<&Cursor>, limit: usize) -> Result<Page, StoreError> {
        of_any!(self, store => store.scan(scan, from, limit).await)
    }

    async fn claim(&self, lease: &str, holder: u64, time: Duration) -> Result<Option<u64>, StoreError> {
        of_any!(self, store => store.claim(lease, holder, time).await)
    }

    fn position(&self) -> u64 {
        of_any!(self, store => store.position())
    }

    fn capabilities(&self) -> Capabilities {
        of_any!(self, store => store.capabilities())
    }

    async fn close(&self) -> Result<(), StoreError> {
        of_any!(self, store => store.close().await)
    }
}

/// What the embedded store measures of itself, read when it is asked for.
#[derive(Debug)]
struct EmbeddedCollector(Arc<Metrics>);

impl Collector for EmbeddedCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let metrics = &self.0;
        for (name, help, timing) in [
            ("store_commit", "Time of an append to the ledger, sync included", &metrics.commit_seconds),
            ("store_sync", "Time to write and sync a frame of the ledger", &metrics.sync_seconds),
            ("store_checkpoint", "Time to write some images into the tables", &metrics.checkpoint_seconds),
        ] {
            let histogram =
                encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
            encode_timing(histogram, timing)?;
        }
        for (name, help, counter) in [
            ("store_entries", "Entries appended since the start", &metrics.entries),
            ("store_commits", "Appends since the start", &metrics.commits),
            (
                "store_checkpoint_failures",
                "Checkpoints that failed and are tried again",
                &metrics.checkpoint_failures,
            ),
        ] {
            let encoder = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(counter.get()).encode(encoder)?;
        }
        for (name, help, gauge) in [
            ("store_ledger_bytes", "Bytes of the ledger", &metrics.ledger_bytes),
            ("store_tables_bytes", "Bytes of the tables at the last checkpoint", &metrics.tables_bytes),
        ] {
            let encoder = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(gauge.get()).encode(encoder)?;
        }
        Ok(())
    }
}

fn encode_timing(
    mut encoder: prometheus_client::encoding::MetricEncoder<'_>,
    timing: &Timing,
) -> Result<(), std::fmt::Error> {
    let counts = timing.buckets();
    let bounds = TIMING_BOUNDS_MICROS.iter().map(|micros| Duration::from_micros(*micros).as_secs_f64());
    let buckets: Vec<(f64, u64)> = bounds.chain([f64::MAX]).zip(counts).collect();
    let count = counts.iter().sum();
    encoder.encode_histogram::<NoLabelSet>(timing.total().as_secs_f64(), count, &buckets, None)
}

//! The only place that names backends.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use tollgate_backends::embedded::{EmbeddedOptions, EmbeddedStore, Metrics, TIMING_BOUNDS_MICROS, Timing};
use tollgate_domain::{Record, RecordKey};
use tollgate_storage::{Batch, Capabilities, Committed, Cursor, MemoryStore, Page, Scan, Store, StoreError};

use crate::{Settings, StoreUrl};

/// A store of any kind this build knows.
#[derive(Debug)]
pub(crate) enum AnyStore {
    Embedded(Box<EmbeddedStore>),
    Memory(MemoryStore),
}

impl AnyStore {
    /// Why no commit is taken any more, if so.
    pub(crate) fn stopped(&self) -> Option<String> {
        match self {
            Self::Embedded(store) => store.stopped(),
            Self::Memory(_) => None,
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

impl Store for AnyStore {
    async fn load(&self, keys: &[RecordKey]) -> Result<Vec<Option<Record>>, StoreError> {
        match self {
            Self::Embedded(store) => store.load(keys).await,
            Self::Memory(store) => store.load(keys).await,
        }
    }

    async fn scan(&self, scan: &Scan, from: Option<&Cursor>, limit: usize) -> Result<Page, StoreError> {
        match self {
            Self::Embedded(store) => store.scan(scan, from, limit).await,
            Self::Memory(store) => store.scan(scan, from, limit).await,
        }
    }

    async fn commit(&self, batch: Batch) -> Result<Vec<Committed>, StoreError> {
        match self {
            Self::Embedded(store) => store.commit(batch).await,
            Self::Memory(store) => store.commit(batch).await,
        }
    }

    fn capabilities(&self) -> Capabilities {
        match self {
            Self::Embedded(store) => store.capabilities(),
            Self::Memory(store) => store.capabilities(),
        }
    }

    async fn close(&self) -> Result<(), StoreError> {
        match self {
            Self::Embedded(store) => store.close().await,
            Self::Memory(store) => store.close().await,
        }
    }
}

/// What the embedded store measures of itself, read when it is asked for.
#[derive(Debug)]
struct EmbeddedCollector(Arc<Metrics>);

impl Collector for EmbeddedCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let metrics = &self.0;
        for (name, help, timing) in [
            ("store_commit", "Time of a commit of the store, sync included", &metrics.commit_seconds),
            ("store_sync", "Time to write and sync a frame of the ledger", &metrics.sync_seconds),
            ("store_fold", "Time to fold what was committed into the tables", &metrics.fold_seconds),
        ] {
            let histogram =
                encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
            encode_timing(histogram, timing)?;
        }
        for (name, help, counter) in [
            ("store_entries", "Entries committed since the start", &metrics.entries),
            ("store_commits", "Commits since the start", &metrics.commits),
            ("store_fold_failures", "Folds that failed and are tried again", &metrics.fold_failures),
        ] {
            let encoder = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(counter.get()).encode(encoder)?;
        }
        for (name, help, gauge) in [
            ("store_fold_lag_entries", "Entries committed and not yet folded", &metrics.fold_lag_entries),
            ("store_overlay_records", "Records in memory until they are folded", &metrics.overlay_records),
            ("store_ledger_bytes", "Bytes of the ledger", &metrics.ledger_bytes),
            ("store_tables_bytes", "Bytes of the tables at the last fold", &metrics.tables_bytes),
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

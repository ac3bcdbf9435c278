//! What the store knows of itself, for the server to show.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets of a [`Timing`], in microseconds; one more bucket takes what is above.
pub const TIMING_BOUNDS_MICROS: [u64; 14] =
    [50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 102_400, 409_600, 1_638_400];

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// The number.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }
}

/// How long something took, counted in buckets.
#[derive(Debug, Default)]
pub struct Timing {
    buckets: [AtomicU64; TIMING_BOUNDS_MICROS.len() + 1],
    nanos: AtomicU64,
}

impl Timing {
    /// How often it took up to each of [`TIMING_BOUNDS_MICROS`] (not summed up), and, last, longer.
    #[must_use]
    pub fn buckets(&self) -> [u64; TIMING_BOUNDS_MICROS.len() + 1] {
        std::array::from_fn(|index| {
            self.buckets.get(index).map_or(0, |bucket| bucket.load(Ordering::Relaxed))
        })
    }

    /// All the time it took.
    #[must_use]
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }

    pub(crate) fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let index = TIMING_BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        if let Some(bucket) = self.buckets.get(index) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// What the store knows of itself. Reading it costs nothing.
#[derive(Debug, Default)]
pub struct Metrics {
    /// How long appends took, sync included.
    pub commit_seconds: Timing,
    /// How long writing and syncing a frame took.
    pub sync_seconds: Timing,
    /// How long writing images into the tables took.
    pub checkpoint_seconds: Timing,
    /// Entries appended since the store was opened.
    pub entries: Gauge,
    /// Appends since the store was opened; entries divided by appends is the mean batch.
    pub commits: Gauge,
    /// Frames that were read to open the store.
    pub opening_frames: Gauge,
    /// Bytes of the ledger up to its last frame.
    pub ledger_bytes: Gauge,
    /// Bytes of the tables at the last checkpoint.
    pub tables_bytes: Gauge,
    /// Checkpoints that failed and are tried again.
    pub checkpoint_failures: Gauge,
}

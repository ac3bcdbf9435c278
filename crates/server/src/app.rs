//! What the handlers share.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tollgate_engine::Engine;
use tollgate_notifier::Shipper;

use crate::Settings;
use crate::auth::ApiKeys;
use crate::metrics::Metrics;
use crate::readers::Readers;
use crate::refusals::Refusals;
use crate::stores::AnyStore;

/// What the handlers share.
pub(crate) type App = Arc<AppState>;

/// See [`App`].
#[derive(Debug)]
pub(crate) struct AppState {
    pub(crate) engine: Engine<AnyStore>,
    pub(crate) api_keys: ApiKeys,
    pub(crate) metrics: Metrics,
    pub(crate) settings: Settings,
    pub(crate) refusals: Refusals,
    /// What commits aggregates of pulses, where there is a sink.
    pub(crate) shipper: Option<Shipper>,
    /// Where reads run.
    pub(crate) readers: Readers,
    /// Batches that may be in hand at a time.
    pub(crate) batches: Semaphore,
}

//! What the handlers share.

use std::sync::Arc;

use tokio::sync::{Mutex, Semaphore, watch};
use tollgate_domain::ReadTo;
use tollgate_engine::Engine;
use tollgate_notifier::{Courier, Shipper};

use crate::Settings;
use crate::auth::ApiKeys;
use crate::console::{NoticeMarks, Sessions, Survey};
use crate::metrics::Metrics;
use crate::portkey::Portkey;
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
    /// Who is signed in to the console.
    pub(crate) sessions: Sessions,
    /// Who says who people are, if anybody does.
    #[cfg(feature = "oidc")]
    pub(crate) oidc: Option<crate::oidc::Provider>,
    /// What the overview shows of all organizations.
    pub(crate) survey: Survey,
    /// How the console reads notices backwards.
    pub(crate) notice_marks: NoticeMarks,
    /// What commits aggregates of pulses, where there is a sink.
    pub(crate) shipper: Option<Shipper>,
    /// What prices the calls of the credits API, where there is a gateway.
    pub(crate) portkey: Option<Portkey>,
    /// What delivers notices.
    pub(crate) courier: Courier,
    /// A place in the notices that was found to be their end, at some time.
    pub(crate) notices_end: Mutex<ReadTo>,
    /// What sends spans and metrics, where there is a collector.
    #[cfg(feature = "otlp")]
    pub(crate) telemetry: Option<crate::telemetry::Telemetry>,
    /// Where reads run.
    pub(crate) readers: Readers,
    /// Event streams that may be open at a time.
    pub(crate) streams: Arc<Semaphore>,
    /// Whether the server is on its way down.
    pub(crate) closing: watch::Sender<bool>,
    /// Batches that may be in hand at a time.
    pub(crate) batches: Semaphore,
}

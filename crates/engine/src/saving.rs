//! Images on their way to the store, and who waits for them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tollgate_domain::Timestamp;
use tollgate_storage::StoreError;

use crate::queue::{Reply, Which};
use crate::resident::Checkpoint;

/// Somebody who waits for images.
pub(crate) struct Waiting {
    pub(crate) which: Which,
    /// What comes later is not waited for.
    pub(crate) until: u64,
    pub(crate) answer: Reply<()>,
}

/// Images on their way to the store.
#[derive(Default)]
pub(crate) enum Saving {
    /// None.
    #[default]
    Idle,
    /// They hold what is still on its way to the store, and are written when it has arrived.
    Gathered(Checkpoint),
    /// They are being written.
    Running(Checkpoint, Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>),
    /// They could not be written; it is tried again after a while, and where a scan reads them.
    Failed(Failed),
}

/// Images that could not be written.
pub(crate) struct Failed {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) error: Arc<StoreError>,
    pub(crate) at: Timestamp,
    /// Turns since.
    pub(crate) turns: u32,
}

impl Saving {
    /// Waits for those that are being written; never ends when there are none.
    pub(crate) async fn wait(&mut self) -> Result<(), StoreError> {
        match self {
            Self::Running(_, writing) => writing.await,
            Self::Idle | Self::Gathered(_) | Self::Failed(..) => std::future::pending().await,
        }
    }
}

//! Why a request got no decision.

use std::sync::Arc;

use tollgate_storage::StoreError;

/// Why a request got no decision. Nothing was counted, except where [`EngineError::Unknown`] and [`EngineError::Stopped`] say
/// so, and what came before it in a batch.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// Too many requests wait already.
    #[error("too many requests are waiting")]
    Overloaded,
    /// The server is shutting down.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// Other writers of the same org were faster again and again.
    #[error("other writers changed the organization at the same time; try again")]
    Contended,
    /// The store has no room; nothing was changed.
    #[error("the store has no room: {0}")]
    Full(Arc<StoreError>),
    /// The store cannot read, or refuses what it is asked.
    #[error("the store failed: {0}")]
    Store(Arc<StoreError>),
    /// A write to a store that others write to as well failed, and it is not known what was written. The engine goes on from
    /// what it finds there. The request may or may not have been counted; sent again with the same key it counts once.
    #[error("the store was lost in a write: {0}")]
    Unknown(Arc<StoreError>),
    /// A write failed and it is not known what was written: the engine answers nothing more until it is restarted.
    /// The request may or may not have been counted; sent again with the same key it counts once.
    #[error("the store stopped after a failed write: {0}")]
    Stopped(Arc<StoreError>),
}

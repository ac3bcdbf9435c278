//! The only place that names backends.

use std::sync::Arc;

use tollgate_domain::{Record, RecordKey};
use tollgate_storage::{Batch, Capabilities, Committed, Cursor, MemoryStore, Page, Scan, Store, StoreError};

use crate::{Settings, StoreUrl};

/// A store of any kind this build knows.
#[derive(Debug)]
pub(crate) enum AnyStore {
    Memory(MemoryStore),
}

impl AnyStore {
    pub(crate) fn open(settings: &Settings) -> Result<Arc<Self>, StoreError> {
        let store = match &settings.store {
            StoreUrl::Embedded(_) => Self::Memory(MemoryStore::new()),
            StoreUrl::Memory => Self::Memory(MemoryStore::new()),
        };
        Ok(Arc::new(store))
    }
}

impl Store for AnyStore {
    async fn load(&self, keys: &[RecordKey]) -> Result<Vec<Option<Record>>, StoreError> {
        match self {
            Self::Memory(store) => store.load(keys).await,
        }
    }

    async fn scan(&self, scan: &Scan, from: Option<&Cursor>, limit: usize) -> Result<Page, StoreError> {
        match self {
            Self::Memory(store) => store.scan(scan, from, limit).await,
        }
    }

    async fn commit(&self, batch: Batch) -> Result<Vec<Committed>, StoreError> {
        match self {
            Self::Memory(store) => store.commit(batch).await,
        }
    }

    fn capabilities(&self) -> Capabilities {
        match self {
            Self::Memory(store) => store.capabilities(),
        }
    }

    async fn close(&self) -> Result<(), StoreError> {
        match self {
            Self::Memory(store) => store.close().await,
        }
    }
}

//! The contract's own suite, with and without threads of the store.

use std::future::Future;
use std::sync::Arc;

use tempfile::TempDir;
use tollgate_backends::embedded::{EmbeddedOptions, EmbeddedStore, Work};
use tollgate_domain::{KeyId, KeyRecord, Partition, Record, RecordKey};
use tollgate_storage::conformance::Subject;
use tollgate_storage::{Append, Appends, Capabilities, Cursor, Image, Opened, Page, Scan, Store, StoreError};

use crate::support;

/// A store and the folder that goes with it.
struct InFolder {
    store: EmbeddedStore,
    folder: TempDir,
}

struct Embedded {
    options: EmbeddedOptions,
}

impl Store for InFolder {
    async fn append(&self, appends: Vec<Append>) -> Result<Appends, StoreError> {
        self.store.append(appends).await
    }
    async fn open(&self, partitions: &[Partition]) -> Result<Vec<Opened>, StoreError> {
        self.store.open(partitions).await
    }
    async fn versions(&self, partitions: &[Partition]) -> Result<Vec<u64>, StoreError> {
        self.store.versions(partitions).await
    }
    async fn load(
        &self,
        partition: &Partition,
        image: u64,
        keys: &[RecordKey],
    ) -> Result<Option<Vec<Option<Record>>>, StoreError> {
        self.store.load(partition, image, keys).await
    }
    async fn find(&self, keys: &[KeyId]) -> Result<Vec<Option<KeyRecord>>, StoreError> {
        self.store.find(keys).await
    }
    async fn checkpoint(&self, images: Arc<[Image]>, whole_until: u64) -> Result<(), StoreError> {
        self.store.checkpoint(images, whole_until).await
    }
    async fn behind(&self) -> Result<Vec<Partition>, StoreError> {
        self.store.behind().await
    }
    async fn scan(&self, scan: &Scan, from: Option<&Cursor>, limit: usize) -> Result<Page, StoreError> {
        self.store.scan(scan, from, limit).await
    }
    fn position(&self) -> u64 {
        self.store.position()
    }

    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
    async fn close(&self) -> Result<(), StoreError> {
        self.store.close().await
    }
}

impl Subject for Embedded {
    type Store = InFolder;

    fn fresh(&self) -> InFolder {
        let folder = support::quick_folder();
        let store = EmbeddedStore::open(folder.path(), self.options.clone()).expect("opens");
        InFolder { store, folder }
    }

    fn reopen(&self, store: InFolder) -> Result<InFolder, StoreError> {
        let InFolder { store, folder } = store;
        drop(store);
        let store = EmbeddedStore::open(folder.path(), self.options.clone())?;
        Ok(InFolder { store, folder })
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        support::run(future)
    }
}

/// Keeps everything: the periods of the cases have nothing to do with their times.
fn for_ever() -> EmbeddedOptions {
    EmbeddedOptions {
        segment_bytes: 16 * 1024 * 1024,
        key_keep_secs: i64::MAX,
        counter_keep_secs: i64::MAX,
        ..EmbeddedOptions::default()
    }
}

#[test]
fn the_contract_is_kept_by_threads_of_the_store() {
    tollgate_storage::conformance::run(&Embedded { options: for_ever() });
}

/// A full call needs a frame of some megabytes, and a frame does not leave its segment.
#[test]
fn the_contract_is_kept_by_the_calls_themselves_over_many_segments() {
    let options = EmbeddedOptions { work: Work::Inline, ..for_ever() };
    tollgate_storage::conformance::run_where(&Embedded { options: options.clone() }, is_large);
    let options = EmbeddedOptions { segment_bytes: 256 * 1024, ..options };
    tollgate_storage::conformance::run_where(&Embedded { options }, |case| !is_large(case));
}

fn is_large(case: &str) -> bool {
    case.contains("full_calls") || case.contains("large_appends")
}

//! The contract's own suite, with and without threads of the store.

use std::future::Future;

use tempfile::TempDir;
use tollgate_backends::embedded::{EmbeddedOptions, EmbeddedStore, Work};
use tollgate_domain::{Record, RecordKey};
use tollgate_storage::conformance::Subject;
use tollgate_storage::{Batch, Capabilities, Committed, Cursor, Page, Scan, Store, StoreError};

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
    async fn load(&self, keys: &[RecordKey]) -> Result<Vec<Option<Record>>, StoreError> {
        self.store.load(keys).await
    }
    async fn scan(&self, scan: &Scan, from: Option<&Cursor>, limit: usize) -> Result<Page, StoreError> {
        self.store.scan(scan, from, limit).await
    }
    async fn commit(&self, batch: Batch) -> Result<Vec<Committed>, StoreError> {
        self.store.commit(batch).await
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
        let folder = tempfile::tempdir().expect("a temporary folder");
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
fn the_contract_is_kept_with_folds_in_the_background() {
    tollgate_storage::conformance::run(&Embedded { options: for_ever() });
}

#[test]
fn the_contract_is_kept_with_a_fold_after_every_few_records() {
    let options = EmbeddedOptions { overlay_records_max: 8, work: Work::Inline, ..for_ever() };
    tollgate_storage::conformance::run(&Embedded { options });
}

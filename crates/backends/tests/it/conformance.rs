//! The contract's own suite, with and without threads of the store.

use std::future::Future;

use tempfile::TempDir;
use tollgate_backends::embedded::{EmbeddedOptions, EmbeddedStore, Work};
use tollgate_storage::StoreError;
use tollgate_storage::conformance::Subject;

use crate::support::{self, With};

/// A store and the folder that it is in.
type InFolder = With<EmbeddedStore, TempDir>;

struct Embedded {
    options: EmbeddedOptions,
}

impl Subject for Embedded {
    type Store = InFolder;

    fn fresh(&self) -> InFolder {
        let folder = support::quick_folder();
        let store = EmbeddedStore::open(folder.path(), self.options.clone()).expect("opens");
        With { store, what: folder }
    }

    fn reopen(&self, store: InFolder) -> Result<InFolder, StoreError> {
        let With { store, what: folder } = store;
        drop(store);
        let store = EmbeddedStore::open(folder.path(), self.options.clone())?;
        Ok(With { store, what: folder })
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

//! What drives the connections of a store, whatever the caller's own runtime is or whether it has one.

use std::future::Future;
use std::sync::{Arc, mpsc};

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tollgate_storage::{StoreError, StoreErrorKind};

/// The core of a store, and the thread on which it works. Dropping it is like a crash: what is under way ends where it is.
#[derive(Debug)]
pub(crate) struct Driven<C> {
    core: Arc<C>,
    runtime: Option<Runtime>,
}

impl<C: Send + Sync + 'static> Driven<C> {
    /// Opens a core on a thread of this name.
    pub(crate) fn start<F>(thread: &str, open: F) -> Result<Self, StoreError>
    where
        F: Future<Output = Result<C, StoreError>> + Send + 'static,
    {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1).thread_name(thread).enable_all();
        let runtime = builder
            .build()
            .map_err(|error| unavailable("there is no thread for the connections").caused_by(error))?;
        let (done, opened) = mpsc::sync_channel(1);
        runtime.spawn(async move { drop(done.send(open.await)) });
        match opened.recv().unwrap_or_else(|_| Err(unavailable("the connections ended"))) {
            Ok(core) => Ok(Self { core: Arc::new(core), runtime: Some(runtime) }),
            Err(error) => {
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    pub(crate) fn core(&self) -> &Arc<C> {
        &self.core
    }

    /// Does something in the background until it ends or this is dropped.
    #[cfg(feature = "postgres")]
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(work);
        }
    }

    /// Runs something where the connections are; it begins at once, and goes on when the caller does not wait for it any more.
    /// What is waited for is small.
    pub(crate) fn run<T, W, F>(
        &self,
        work: W,
    ) -> impl Future<Output = Result<T, StoreError>> + Send + use<T, W, F, C>
    where
        T: Send + 'static,
        W: FnOnce(Arc<C>) -> F,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let work = self.runtime.as_ref().map(|runtime| runtime.spawn(work(Arc::clone(&self.core))));
        wait_for(work)
    }
}

async fn wait_for<T>(work: Option<JoinHandle<Result<T, StoreError>>>) -> Result<T, StoreError> {
    let Some(work) = work else { return Err(unavailable("the store was closed")) };
    work.await.unwrap_or_else(|error| Err(lost(error)))
}

/// A call of which nobody knows what it did.
fn lost(error: tokio::task::JoinError) -> StoreError {
    StoreError::new(StoreErrorKind::Io, "a call to the database ended early").caused_by(error)
}

fn unavailable(text: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, text)
}

impl<C> Drop for Driven<C> {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

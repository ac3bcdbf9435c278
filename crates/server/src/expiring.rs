//! Ends holds that have expired, in the background: those of orgs of which nobody asks anything.

use tokio::sync::watch;
use tollgate_engine::EngineError;
use tollgate_storage::Store as _;

use crate::app::App;
use crate::limits::{CLOSING_PAUSE, EXPIRE_INTERVAL, FIND_HOLDS_INTERVAL};

/// Runs until it is told to stop.
pub(crate) async fn run(app: App, mut stopping: watch::Receiver<bool>) {
    let work = async {
        tokio::join!(expire(&app), find(&app));
    };
    // What was being ended may or may not be: whatever is asked of its org next ends it.
    tokio::select! {
        _ = stopping.wait_for(|stop| *stop) => {}
        () = work => {}
    }
}

/// Ends what has expired, again and again.
async fn expire(app: &App) {
    let mut failing = false;
    loop {
        match app.engine.expire_holds().await {
            Ok(true) => continue,
            Ok(false) => failing = false,
            Err(EngineError::ShuttingDown | EngineError::Stopped(_)) => return,
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "holds that have expired are ended later");
                }
                failing = true;
            }
        }
        tokio::time::sleep(EXPIRE_INTERVAL).await;
    }
}

/// Looks for orgs that hold something: after a start, and on a store that other servers use now and then, for one of them may
/// have ended.
async fn find(app: &App) {
    let shared = app.engine.store().capabilities().shared;
    loop {
        let mut from = None;
        let whole = loop {
            match app.engine.find_holds(from.as_ref()).await {
                Ok(None) => break true,
                Ok(next) => from = next,
                Err(EngineError::ShuttingDown | EngineError::Stopped(_)) => return,
                Err(error) => {
                    tracing::warn!(%error, "organizations that hold something are looked for later");
                    break false;
                }
            }
            tokio::time::sleep(CLOSING_PAUSE).await;
        };
        if whole && !shared {
            return;
        }
        tokio::time::sleep(FIND_HOLDS_INTERVAL).await;
    }
}

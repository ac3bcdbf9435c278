//! Several servers on one store: what another one brought into force, the catalog and API keys, is followed within a second.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tollgate_domain::ApiKey;
use tollgate_engine::EngineError;
use tollgate_engine::limits::SERVING;
use tollgate_storage::{Row, Scan};

use crate::app::App;
use crate::limits::{API_KEYS_MAX, FOLLOW_INTERVAL, PAGE_ROWS_MAX, SERVING_LEASE, SERVING_RENEWED};

/// Runs until it is told to stop.
pub(crate) async fn run(app: App, mut stopping: watch::Receiver<bool>) {
    let work = async {
        let mut followed = None;
        let mut failing = false;
        let mut renewed = None;
        loop {
            if renewed.is_none_or(|at: Instant| at.elapsed() >= SERVING_RENEWED) {
                // Whichever server has it: one of them is enough to say that the store is in use.
                app.engine.is_to_do(SERVING, SERVING_LEASE).await;
                renewed = Some(Instant::now());
            }
            tokio::time::sleep(FOLLOW_INTERVAL).await;
            match follow(&app, followed).await {
                Ok(version) => (followed, failing) = (Some(version), false),
                Err(EngineError::ShuttingDown | EngineError::Stopped(_)) => return,
                Err(error) => {
                    if !failing {
                        tracing::warn!(%error, "what other servers brought into force is not known for now");
                    }
                    failing = true;
                }
            }
        }
    };
    tokio::select! {
        _ = stopping.wait_for(|stop| *stop) => {}
        () = work => {}
    }
    app.engine.is_to_do(SERVING, Duration::ZERO).await;
}

/// Follows, unless the system is at the version that was followed; gives its version.
async fn follow(app: &App, followed: Option<u64>) -> Result<u64, EngineError> {
    let version = app.engine.follow().await?;
    if followed != Some(version) {
        api_keys(app).await?.iter().for_each(|api_key| app.api_keys.learn(api_key));
    }
    Ok(version)
}

async fn api_keys(app: &App) -> Result<Vec<ApiKey>, EngineError> {
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = app.engine.scan(&Scan::ApiKeys, cursor.as_ref(), PAGE_ROWS_MAX).await?;
        found.extend(page.rows.into_iter().filter_map(|row| match row {
            Row::ApiKey(api_key) => Some(api_key),
            _ => None,
        }));
        cursor = page.next;
        if cursor.is_none() || found.len() >= API_KEYS_MAX {
            return Ok(found);
        }
    }
}

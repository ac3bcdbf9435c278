//! Closes months that are over, in the background: all orgs again and again, some at a time.

use tokio::sync::watch;
use tollgate_domain::SignedDuration;
use tollgate_engine::EngineError;

use crate::app::App;
use crate::limits::CLOSING_PAUSE;

/// Runs until it is told to stop.
pub(crate) async fn run(app: App, days: u16, mut stopping: watch::Receiver<bool>) {
    let grace = SignedDuration::from_hours(24 * i64::from(days));
    let stopped = async {
        // Nobody to say it is as good as said.
        let _ = stopping.wait_for(|stop| *stop).await;
    };
    let work = async {
        loop {
            pass(&app, grace).await;
            tokio::time::sleep(app.settings.close_interval).await;
        }
    };
    // What was being closed may or may not be: the next start looks again.
    tokio::select! {
        () = stopped => {}
        () = work => {}
    }
}

/// Looks at all orgs once. What cannot be done now is done by the next pass.
async fn pass(app: &App, grace: SignedDuration) {
    let mut cursor = None;
    loop {
        let closing = match app.engine.close_due(grace, cursor.as_ref()).await {
            Ok(closing) => closing,
            Err(EngineError::ShuttingDown | EngineError::Stopped(_)) => return,
            Err(error) => {
                tracing::warn!(%error, "months are closed later");
                return;
            }
        };
        for (month, bills) in &closing.closed {
            tracing::info!(month, bills, "months closed by themselves");
        }
        cursor = closing.next;
        if cursor.is_none() {
            return;
        }
        tokio::time::sleep(CLOSING_PAUSE).await;
    }
}

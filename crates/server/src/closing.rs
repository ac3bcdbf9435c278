//! Closes months that are over, in the background: all orgs, some at a time, whenever a month may have ended somewhere.

use tokio::sync::watch;
use tollgate_domain::{SignedDuration, Timestamp, Window, Zone};
use tollgate_engine::EngineError;

use crate::app::App;
use crate::limits::{CLOSING_LEASE, CLOSING_PAUSE};

/// Runs until it is told to stop.
pub(crate) async fn run(app: App, days: u16, mut stopping: watch::Receiver<bool>) {
    let grace = SignedDuration::from_hours(24 * i64::from(days));
    let stopped = async {
        // Nobody to say it is as good as said.
        let _ = stopping.wait_for(|stop| *stop).await;
    };
    let work = async {
        let mut done = None;
        loop {
            let (now, catalog) = (app.engine.clock().now(), app.engine.catalog().version);
            if done.is_none_or(|done: Done| done.catalog != catalog || now >= done.until || now < done.at) {
                let whole = pass(&app, grace).await;
                let until = nothing_is_due_until(now, grace);
                done = whole.then_some(Done { at: now, until, catalog });
            }
            tokio::time::sleep(app.settings.close_interval).await;
        }
    };
    // What was being closed may or may not be: the next start looks again.
    tokio::select! {
        () = stopped => {}
        () = work => {}
    }
}

/// All orgs were looked at, and no month was left that should have closed.
#[derive(Clone, Copy)]
struct Done {
    /// When that began.
    at: Timestamp,
    /// Until when no further month can have ended.
    until: Timestamp,
    /// By which catalog: another may have prices where this one has none.
    catalog: u32,
}

/// When a month may next have ended, at least the grace ago, in some zone: now, while its end goes round the world.
fn nothing_is_due_until(now: Timestamp, grace: SignedDuration) -> Timestamp {
    // Where a day begins first, and where it ends last.
    let (Ok(first), Ok(last)) = (Zone::new("Etc/GMT-14"), Zone::new("Etc/GMT+12")) else { return now };
    let Ok(at) = now.checked_sub(grace) else { return now };
    let month = first.period_at(Window::Month, at);
    if month != last.period_at(Window::Month, at) {
        return now;
    }
    first.bounds(month).1.and_then(|end| end.checked_add(grace).ok()).unwrap_or(now)
}

/// Looks at all orgs once; whether all that is due is done. What cannot be done now is done by the next pass.
async fn pass(app: &App, grace: SignedDuration) -> bool {
    let (mut cursor, mut unrated) = (None, 0);
    loop {
        if !app.engine.is_to_do("closing", CLOSING_LEASE).await {
            return false;
        }
        let closing = match app.engine.close_due(grace, cursor.as_ref()).await {
            Ok(closing) => closing,
            Err(EngineError::ShuttingDown | EngineError::Stopped(_)) => return false,
            Err(error) => {
                tracing::warn!(%error, "months are closed later");
                return false;
            }
        };
        for (month, bills) in &closing.closed {
            tracing::info!(month, bills, "months closed by themselves");
        }
        unrated += closing.unrated;
        cursor = closing.next;
        if cursor.is_none() {
            return unrated == 0;
        }
        tokio::time::sleep(CLOSING_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orgs_are_looked_at_only_when_a_month_may_have_ended_somewhere() {
        let time = |text: &str| text.parse::<Timestamp>().expect("a time");
        for (now, days, wanted) in [
            ("2026-11-15T00:00:00Z", 0, "2026-11-30T10:00:00Z"),
            ("2026-11-30T09:59:59Z", 0, "2026-11-30T10:00:00Z"),
            // The month ends around the world: each look may find one.
            ("2026-11-30T10:00:00Z", 0, "2026-11-30T10:00:00Z"),
            ("2026-12-01T11:59:59Z", 0, "2026-12-01T11:59:59Z"),
            ("2026-12-01T12:00:00Z", 0, "2026-12-31T10:00:00Z"),
            ("2026-12-01T12:00:00Z", 5, "2026-12-05T10:00:00Z"),
            ("2026-12-06T12:00:00Z", 5, "2027-01-05T10:00:00Z"),
        ] {
            let grace = SignedDuration::from_hours(24 * days);
            assert_eq!(nothing_is_due_until(time(now), grace), time(wanted), "{now} with {days} days");
        }
    }
}

//! Server health and metrics.

use clap::Args;
use serde::Deserialize;
use tollgate_api::{Health, Ready};
use ureq::http::Method;

use super::Session;
use crate::client::{Route, Sent};
use crate::failure::{Exit, Failure};
use crate::output::read_reply;
use crate::table::{Field, pairs};

/// `tollgate health`
#[derive(Debug, Args)]
pub(crate) struct HealthArgs {}

/// `tollgate metrics`
#[derive(Debug, Args)]
pub(crate) struct MetricsArgs {}

#[derive(Deserialize)]
struct Both {
    health: Health,
    ready: Ready,
}

/// Runs `tollgate health`: exit code 1 when the server is not ready.
pub(crate) fn health(session: &mut Session, _: &HealthArgs) -> Result<(), Failure> {
    let health = session.ask(Method::GET, &Route::plain("/health"), &Sent::Nothing)?;
    // "Not ready" comes with status 503 and says why.
    let ready = session.client.exchange(Method::GET, &Route::plain("/ready"), &Sent::Nothing)?;
    let Ok(state) = read_reply::<Ready>(&ready.text) else {
        return Err(session.client.problem(&ready));
    };
    let both = format!(r#"{{"health":{health},"ready":{}}}"#, ready.text);
    session.output.reply(&both, both_text)?;
    if state.ready { Ok(()) } else { Err(Failure::Said(Exit::No)) }
}

fn both_text(both: &Both) -> String {
    let mut lines = vec![
        ("status", Field::from(&both.health.status)),
        ("ready", both.ready.ready.into()),
        ("requests that wait", both.ready.queue_depth.into()),
        ("version", (&both.health.version).into()),
        ("environment", (&both.health.config).into()),
        ("time", (&both.health.time).into()),
    ];
    if let Some(reason) = &both.ready.reason {
        lines.push(("not ready because", reason.into()));
    }
    pairs(lines)
}

/// Runs `tollgate metrics`.
pub(crate) fn metrics(session: &mut Session, _: &MetricsArgs) -> Result<(), Failure> {
    let text = session.ask(Method::GET, &Route::plain("/metrics"), &Sent::Nothing)?;
    session.output.text(&text)
}

//! Aggregates that nothing will ever commit: where there is no sink, those of days long over are discarded, so that they
//! do not pile up.
//!
//! They are settled like a shipment that was sent, so an org's ledger tells of it: the name of such a shipment begins with
//! `discarded-`.

use tokio::sync::watch;
use tollgate_domain::{Actor, Shipment, ShipmentId, Window, Zone};
use tollgate_engine::{Carrier, EngineError, ShipError};

use crate::app::App;
use crate::limits::AGGREGATES_KEPT_DAYS;

/// Runs until it is told to stop.
pub(crate) async fn run(app: App, mut stopping: watch::Receiver<bool>) {
    let work = async {
        loop {
            tokio::time::sleep(app.settings.commit_interval).await;
            if !app.engine.is_to_do("discarding", 2 * app.settings.commit_interval).await {
                continue;
            }
            match discard(&app).await {
                Ok(0) => {}
                Ok(batches) => tracing::info!(batches, "aggregates without a sink were discarded"),
                Err(EngineError::ShuttingDown | EngineError::Stopped(_)) => return,
                Err(error) => tracing::warn!(%error, "aggregates without a sink are discarded later"),
            }
        }
    };
    tokio::select! {
        _ = stopping.wait_for(|stop| *stop) => {}
        () = work => {}
    }
}

async fn discard(app: &App) -> Result<u64, EngineError> {
    let today = Zone::UTC.period_at(Window::Day, app.engine.clock().now()).number;
    let days = i32::MIN..=today.saturating_sub(AGGREGATES_KEPT_DAYS);
    match app.engine.ship(&Actor::Shipper, &days, &Nowhere(today)).await {
        Ok(batches) => Ok(batches),
        Err(ShipError::Engine(error)) => Err(error),
        Err(ShipError::Carrier(ForASink)) => {
            tracing::warn!("a batch of aggregates was made for a sink, and waits until there is one again");
            Ok(0)
        }
    }
}

/// How the names of what is discarded begin.
const DISCARDED: &str = "discarded-";

/// Brings shipments nowhere, on a day.
struct Nowhere(i32);

/// A shipment was made while there was a sink; it may have been sent.
struct ForASink;

impl Carrier for Nowhere {
    type Error = ForASink;

    fn name(&self) -> Result<ShipmentId, ForASink> {
        ShipmentId::new(&format!("{DISCARDED}{}", self.0)).map_err(|_| ForASink)
    }

    async fn bring(&self, shipment: &Shipment) -> Result<(), ForASink> {
        if shipment.id.as_str().starts_with(DISCARDED) { Ok(()) } else { Err(ForASink) }
    }
}

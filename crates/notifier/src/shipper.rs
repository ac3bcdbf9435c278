//! The shipper: ships what is unsent when it is told to, and every interval.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tollgate_domain::{Actor, Shipment, ShipmentId};
use tollgate_engine::{Carrier, Engine, ShipError};
use tollgate_storage::Store;

use crate::limits::NAME_BYTES;
use crate::retry::pause;
use crate::{ShipperMetrics, Sink, SinkError};

/// The lease of shipping what is unsent every so often.
const SHIPPING: &str = "shipping";

/// Days of all numbers.
const ALL_DAYS: RangeInclusive<i32> = i32::MIN..=i32::MAX;

/// Ships what is unsent to a sink.
#[derive(Debug)]
pub struct Shipper {
    way: Arc<Way>,
    /// How long a shipment is tried while somebody waits for it.
    patience: Duration,
    /// Held while something is shipped: two at a time would send the same shipment twice. That does no harm, and no good.
    turn: Mutex<()>,
}

/// The way to the sink.
#[derive(Debug)]
struct Way {
    sink: Sink,
    metrics: ShipperMetrics,
    /// Whether the server is on its way down: nothing is tried again.
    closing: watch::Sender<bool>,
}

/// Brings shipments to the sink, for as long as somebody has the patience.
struct Trip {
    way: Arc<Way>,
    until: Instant,
}

impl Shipper {
    /// Ships to a sink. While somebody waits for a shipment it is tried for so long.
    #[must_use]
    pub fn new(sink: Sink, patience: Duration) -> Self {
        let way = Way { sink, metrics: ShipperMetrics::default(), closing: watch::Sender::default() };
        Self { way: Arc::new(way), patience, turn: Mutex::default() }
    }

    /// What it measures of itself.
    #[must_use]
    pub fn metrics(&self) -> &ShipperMetrics {
        &self.way.metrics
    }

    /// Ships for an actor what is unsent, of the day with a number or of all days, as long as there is patience; gives how many shipments
    /// it took. Whoever stops waiting stops it; what was begun goes on with the next.
    ///
    /// # Errors
    /// [`ShipError`].
    pub async fn commit<S: Store>(
        &self,
        engine: &Engine<S>,
        actor: &Actor,
        day: Option<i32>,
    ) -> Result<u64, ShipError<SinkError>> {
        let until = Instant::now() + self.patience;
        let days = day.map_or(ALL_DAYS, |day| day..=day);
        self.ship(engine, actor, &days, until).await
    }

    async fn ship<S: Store>(
        &self,
        engine: &Engine<S>,
        actor: &Actor,
        days: &RangeInclusive<i32>,
        until: Instant,
    ) -> Result<u64, ShipError<SinkError>> {
        let _turn = self.turn.lock().await;
        engine.ship(actor, days, &Trip { way: Arc::clone(&self.way), until }).await
    }

    /// Begins no more shipments, and tries none again; the one that is being sent may come to its end.
    pub fn close(&self) {
        self.way.closing.send_replace(true);
    }

    /// Ships what is unsent every interval, until it is closed. A shipment that fails is tried again with the next.
    pub async fn run<S: Store>(&self, engine: &Engine<S>, interval: Duration) {
        let mut closing = self.way.closing.subscribe();
        let mut ticks = tokio::time::interval_at(Instant::now() + interval, interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = closing.wait_for(|closing| *closing) => return,
            }
            // Where there are several servers, one of them.
            if !engine.is_to_do(SHIPPING, 2 * interval).await {
                continue;
            }
            match self.ship(engine, &Actor::Shipper, &ALL_DAYS, Instant::now()).await {
                Ok(0) => {}
                Ok(shipments) => tracing::info!(shipments, "aggregates were committed"),
                // What the sink said is in the log already.
                Err(ShipError::Carrier(_)) => {}
                Err(ShipError::Engine(error)) => tracing::warn!(%error, "aggregates were not committed"),
            }
        }
    }
}

impl Carrier for Trip {
    type Error = SinkError;

    fn name(&self) -> Result<ShipmentId, SinkError> {
        let mut bytes = [0_u8; NAME_BYTES];
        getrandom::fill(&mut bytes).map_err(SinkError::caused_by)?;
        let name: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        ShipmentId::new(&name).map_err(SinkError::caused_by)
    }

    async fn bring(&self, shipment: &Shipment) -> Result<(), SinkError> {
        let Way { sink, metrics, closing } = self.way.as_ref();
        if *closing.borrow() {
            return Err(SinkError::new("the server is shutting down"));
        }
        for failed in 1.. {
            let Err(error) = sink.send(shipment).await else { break };
            metrics.failed.inc();
            let (id, lines) = (shipment.id.as_str(), shipment.lines.len());
            tracing::warn!(%error, id, lines, attempt = failed, "a batch of aggregates was not taken");
            let mut draw = [0; 2];
            getrandom::fill(&mut draw).map_err(SinkError::caused_by)?;
            let next = Instant::now() + pause(failed, u16::from_ne_bytes(draw));
            if next > self.until {
                return Err(error);
            }
            let mut closing = closing.subscribe();
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                _ = closing.wait_for(|closing| *closing) => return Err(error),
            }
        }
        metrics.sent.inc();
        metrics.lines.inc_by(u64::try_from(shipment.lines.len()).unwrap_or(u64::MAX));
        Ok(())
    }
}

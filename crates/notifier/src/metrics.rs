//! What the notifier measures of itself.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// What the shipper measures of itself.
#[derive(Clone, Debug, Default)]
pub struct ShipperMetrics {
    /// Shipments that the sink took.
    pub sent: Counter,
    /// Attempts to send a shipment that failed.
    pub failed: Counter,
    /// Lines of the shipments that the sink took.
    pub lines: Counter,
}

impl ShipperMetrics {
    /// Makes the metrics visible under their names.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("shipments_sent", "Batches of aggregates that the sink took", self.sent.clone());
        registry.register(
            "shipments_failed",
            "Attempts to send a batch of aggregates that failed",
            self.failed.clone(),
        );
        registry.register("shipment_lines_sent", "Aggregates that the sink took", self.lines.clone());
    }
}

/// What the courier measures of itself.
#[derive(Clone, Debug, Default)]
pub struct CourierMetrics {
    /// Messages that were delivered.
    pub delivered: Counter,
    /// Attempts to deliver a message that failed.
    pub failed: Counter,
    /// Messages that were given up.
    pub lost: Counter,
}

impl CourierMetrics {
    /// Makes the metrics visible under their names.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("messages_delivered", "Messages that channels delivered", self.delivered.clone());
        registry.register(
            "messages_failed",
            "Attempts to deliver a message of a channel that failed",
            self.failed.clone(),
        );
        registry.register("messages_lost", "Messages that channels gave up", self.lost.clone());
    }
}

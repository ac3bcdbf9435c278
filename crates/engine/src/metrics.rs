//! What the engine measures of itself.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tollgate_domain::OrgDecision;

/// The outcome of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    /// `allowed`, `replayed`, `recorded`, `duplicate`, or the code of a denial.
    pub outcome: &'static str,
}

/// What the engine measures of itself.
#[derive(Clone, Debug)]
pub struct EngineMetrics {
    /// Decisions on usage by outcome.
    pub decisions: Family<OutcomeLabel, Counter>,
    /// Requests in a batch.
    pub batch_requests: Histogram,
    /// Seconds from the start of a commit until it is durable.
    pub commit_seconds: Histogram,
    /// Requests refused because too many waited.
    pub overloads: Counter,
    /// Requests decided again because another writer was faster, or because a key was known that was taken for new.
    pub conflicts: Counter,
    /// Months that closed by themselves.
    pub months_closed: Counter,
}

impl Default for EngineMetrics {
    fn default() -> Self {
        Self {
            decisions: Family::default(),
            batch_requests: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            commit_seconds: Histogram::new(exponential_buckets(50e-6, 2.0, 16)),
            overloads: Counter::default(),
            conflicts: Counter::default(),
            months_closed: Counter::default(),
        }
    }
}

impl EngineMetrics {
    /// Makes the metrics visible under their names.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("decisions", "Decisions on usage by outcome", self.decisions.clone());
        registry.register("batch_requests", "Requests in one commit", self.batch_requests.clone());
        registry.register_with_unit(
            "commit",
            "Time from the start of a commit until it is durable",
            Unit::Seconds,
            self.commit_seconds.clone(),
        );
        registry.register("overloads", "Requests refused because too many waited", self.overloads.clone());
        registry.register("months_closed", "Months that closed by themselves", self.months_closed.clone());
        registry.register("conflicts", "Requests decided again after a conflict", self.conflicts.clone());
    }
}

/// The label that a decision on usage is counted under.
pub(crate) fn outcome(decision: &OrgDecision) -> Option<&'static str> {
    Some(match decision {
        OrgDecision::Use(Ok(allowed)) if allowed.replayed => "replayed",
        OrgDecision::Use(Ok(_)) => "allowed",
        OrgDecision::Use(Err(denied)) => denied.denial.code(),
        OrgDecision::Hold(Ok(taken)) if taken.replayed => "replayed",
        OrgDecision::Hold(Ok(_)) => "held",
        OrgDecision::Hold(Err(refused)) => refused.code(),
        OrgDecision::Capture(Ok(captured)) if captured.replayed => "replayed",
        OrgDecision::Capture(Ok(_)) => "captured",
        OrgDecision::Capture(Err(denial)) => denial.code(),
        OrgDecision::Record(Ok(recorded)) if recorded.duplicate => "duplicate",
        OrgDecision::Record(Ok(_)) => "recorded",
        OrgDecision::Record(Err(denial)) => denial.code(),
        _ => return None,
    })
}

//! Aggregates of pulses: as the pulses API tells them, and as they go to the processor.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Decimal;

/// What a tenant used of a product on a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct Aggregate {
    /// The tenant: an org.
    pub tenant_id: String,
    /// The product.
    #[serde(rename = "ProductSKU")]
    pub product_sku: String,
    /// The unit its use is counted in.
    pub use_unit: String,
    /// How much; negative when more was taken back than used since the last commit.
    pub total_used_amount: Decimal,
    /// The day, of the tenant's calendar: `2026-11-21`.
    pub aggregation_date: String,
    /// All four of them in one: `tenant:sku:unit:2026-11-21`.
    pub pulse_key: String,
}

/// A batch of aggregates, as the processor gets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AggregatesCommitted {
    /// `aggregates.committed`.
    pub r#type: String,
    /// When the batch was made, RFC 3339.
    pub timestamp: String,
    /// The batch.
    pub data: AggregateBatch,
}

/// See [`AggregatesCommitted::data`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AggregateBatch {
    /// The batch's id: the same however often it is sent.
    pub id: String,
    /// The day of all of it.
    pub date: String,
    /// What was used.
    pub aggregates: Vec<Aggregate>,
}

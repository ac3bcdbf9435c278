//! Usage that has happened, many at once.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Code;

/// What became of the records of a batch.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct BatchReply {
    /// How many were counted now.
    pub counted: u64,
    /// How many had been counted before: their keys were known, in this batch or an earlier one.
    pub duplicates: u64,
    /// How many were not counted and will not be if they are sent again as they are.
    pub rejected: u64,
    /// The rejected records; all of them with `results=all`.
    pub results: Vec<RecordResult>,
}

/// What became of one record.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RecordResult {
    /// Its place in the batch, from 0; blank lines are no records.
    pub index: u64,
    /// What became of it.
    pub status: RecordStatus,
    /// The number of the ledger entry that counted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<u64>,
    /// Why it was rejected, for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// The field that is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Why it was rejected, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecordStatus {
    /// It was counted.
    Counted,
    /// It had been counted before.
    Duplicate,
    /// It was not counted.
    Rejected,
}

/// Which records of a batch are told one by one.
#[derive(Clone, Copy, Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum ResultsName {
    /// Those that were rejected.
    Rejected,
    /// All of them.
    All,
}

//! Counters: the sum of a meter for a scope in a period.

use serde::{Deserialize, Serialize};

use crate::{Amount, MeterId, OrgId, Period, UserId};

/// Which counter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CounterId {
    /// Whose org.
    pub org: OrgId,
    /// What is counted.
    pub meter: MeterId,
    /// Whose usage.
    pub scope: Scope,
    /// In which period.
    pub period: Period,
}

/// Whose usage a counter sums.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// The whole org's.
    Org,
    /// One user's.
    User(UserId),
}

/// What a counter holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// The sum of the quantities.
    pub value: Amount,
    /// The part of it that no credit covered (soft enforcement; kept on the org's months).
    pub overage: Amount,
    /// Which notices on limits of this counter have gone out.
    pub marks: CounterMarks,
}

/// Which notices on limits of a counter have gone out; a raised limit re-arms them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterMarks {
    /// The limit that was reported as reached.
    pub reached_of: Amount,
}

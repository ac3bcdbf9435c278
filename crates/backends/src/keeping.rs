//! How long things are kept.

/// How long a store keeps things after their time, in seconds; `None`: for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keeping {
    /// Keys.
    pub key_secs: Option<i64>,
    /// Counters, after their period.
    pub counter_secs: Option<i64>,
}

//! The domain through its public interface.
#![expect(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod bills;
mod credit;
mod debt;
mod forecast;
mod keys;
mod limits;
mod notices;
mod numbers;
mod outcomes;
mod paths;
mod periods;
mod plans;
mod rate;
mod reversals;
mod system;
mod top_ups;
mod windows;
mod world;

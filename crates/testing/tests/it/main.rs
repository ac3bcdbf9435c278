//! The domain against the oracle and against the calendar.
#![expect(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

mod clocks;
mod months;
mod random;
#[cfg(feature = "simulator")]
mod sim;
mod trials;
mod world;
mod zones;

//! The domain against the oracle and against the calendar; engines side by side.
#![expect(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

#[cfg(feature = "postgres")]
mod apart;
mod clocks;
#[cfg(all(feature = "aws", feature = "mongodb", feature = "redis"))]
mod copy;
#[cfg(feature = "aws")]
mod dynamo;
#[cfg(feature = "simulator")]
mod engines;
mod holds;
#[cfg(feature = "simulator")]
mod images;
#[cfg(feature = "postgres")]
mod keys;
#[cfg(feature = "postgres")]
mod late;
mod lists;
#[cfg(feature = "mongodb")]
mod mongo;
mod months;
#[cfg(feature = "postgres")]
mod postgres;
mod random;
#[cfg(feature = "redis")]
mod redis;
mod series;
#[cfg(any(feature = "aws", feature = "mongodb", feature = "postgres"))]
mod shared;
#[cfg(feature = "simulator")]
mod sim;
mod trials;
mod world;
mod zones;

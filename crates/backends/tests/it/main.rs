//! The stores against the contract, faults, damage and time.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "this is a test: a panic is its answer, and it says how much it tried"
)]

mod conformance;
mod corruption;
mod damage;
#[cfg(feature = "aws")]
mod dynamo;
mod faults;
mod images;
mod life;
#[cfg(feature = "mongodb")]
mod mongo;
#[cfg(any(feature = "aws", feature = "mongodb"))]
mod packs;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
#[cfg(any(feature = "aws", feature = "mongodb", feature = "postgres"))]
mod shared;
mod support;

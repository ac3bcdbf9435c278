//! The stores Tollgate keeps its ledgers in: a module and a cargo feature each, all behind one contract,
//! [`tollgate_storage::Store`].
//!
//! - [`embedded`] (default): one machine, one process; a ledger of its own with tables made from it by checkpoints.
//! - `dynamo` (feature `aws`): many processes on one DynamoDB table.
//! - `mongo` (feature `mongodb`): many processes on one MongoDB.
//! - `postgres`: many processes on one PostgreSQL.
//! - `redis`: the same with the newest entries in a Redis before it.
//!
//! Deliberately absent: rules of metering (they are the domain's), choosing a store (the server's wiring does),
//! HTTP, clocks.
//!
//! Start reading at [`embedded::EmbeddedStore`].

#[cfg(any(feature = "packs", feature = "postgres"))]
mod asking;
#[cfg(any(feature = "packs", feature = "postgres"))]
mod driven;
#[cfg(feature = "aws")]
pub mod dynamo;
#[cfg(feature = "embedded")]
pub mod embedded;
#[cfg(any(feature = "packs", feature = "postgres"))]
mod keeping;
#[cfg(feature = "mongodb")]
pub mod mongo;
#[cfg(feature = "packs")]
mod packs;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(any(feature = "embedded", feature = "packs", feature = "postgres"))]
mod rows;

#[cfg(any(feature = "packs", feature = "postgres"))]
pub use keeping::Keeping;

//! One writer between many callers and one store: queue → prefetch → decide in order → one commit → answer.
//!
//! [`Engine::start`] starts the writer; callers hold the [`Engine`] and [`Engine::submit`] commands to it. A batch is
//! all queued requests when the last commit is done, so batching comes by itself with load. An answer leaves only after the
//! commit is durable. [`Engine::balance`] and the like read beside the writer; [`Engine::ship`] sends what was counted
//! to the processor.
//!
//! Deliberately absent: JSON, HTTP, the name of any backend, rules (they are in the domain), retries of a failed write.
//!
//! Start reading at [`Engine`], then the `shard` module: one turn of the loop, without threads or queues.

mod catalog;
mod channels;
mod clock;
mod closing;
mod copy;
mod engine;
mod error;
mod expiring;
mod flight;
pub mod limits;
mod loading;
mod metrics;
#[cfg(test)]
#[cfg(feature = "shuttle")]
mod models;
mod noted;
mod paths;
mod plans;
mod queue;
mod read;
mod resident;
mod saving;
mod series;
mod shard;
mod shipping;
mod sync;
mod writer;

pub use catalog::CatalogInForce;
pub use clock::Clock;
pub use closing::Closing;
pub use copy::{Copied, CopyError, CopyOptions, CopyStep, Digest, Progress, Side, copy, digest};
pub use engine::{Engine, EngineOptions, Pace};
pub use error::EngineError;
pub use metrics::{EngineMetrics, OutcomeLabel};
pub use paths::PathsPage;
pub use read::UserPart;
pub use series::{SeriesAsk, SeriesError, SeriesPage, SeriesPoint, Split};
pub use shipping::{Carrier, ShipError};
pub use writer::Writer;

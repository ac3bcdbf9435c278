//! The way out: what was counted, on its way to whoever processes it.
//!
//! The [`Shipper`] ships what is unsent when it is told to, and every interval. A [`Sink`] brings one shipment: to an HTTP
//! endpoint, to a NATS stream, or into a folder. What is shipped, and that nothing is lost or shipped twice, is the
//! engine's business ([`tollgate_engine::Engine::ship`]); here are bytes, signatures, time-outs and retries.
//!
//! Deliberately absent: rules, records, what an HTTP caller is told.
//!
//! Start reading at [`Shipper`], then the `sink` module.

mod body;
pub mod limits;
mod metrics;
mod retry;
mod shipper;
mod sign;
mod sink;

pub use body::aggregate;
pub use metrics::ShipperMetrics;
pub use shipper::Shipper;
pub use sign::{SigningKey, SigningKeyError};
pub use sink::{Sink, SinkError, SinkUrl, SinkUrlError};

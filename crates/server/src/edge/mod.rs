//! The edge: connections in, requests to the routes, every answer logged and counted.

mod alarm;
mod browser;
mod cors;
mod drain;
pub(crate) mod gzip;
mod linger;
pub(crate) mod listener;
mod patience;
mod pieces;
mod probes;
pub(crate) mod rate;
pub(crate) mod service;
pub(crate) mod tls;

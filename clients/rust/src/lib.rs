//! Client of Tollgate: ask before you work, count once, retry safely.
//!
//! Every call that changes something carries an idempotency key, made once per call and kept over all its attempts. So a call is
//! sent again after a lost answer, a restart of the server or a 503, and still counts once.
//!
//! Start at [`Client`]. [`Batcher`] sends a stream of records, [`Held`] is a reservation that gives itself back, and
//! `TollgateLayer` (feature `tower`) asks before a service works. Deliberately absent: any types of ours with the server, so that
//! this crate needs none of it; and a blocking client.

mod amount;
mod batcher;
mod client;
mod error;
mod hold;
pub mod operations;
mod retry;
#[cfg(feature = "tower")]
mod tower;
mod wire;

pub use http::Method;

pub use self::amount::{Amount, Quantity};
pub use self::batcher::{Batcher, BatcherOptions, Closed, Recorded, Rejection};
pub use self::client::{Client, ClientBuilder, Operation};
pub use self::error::{ApiError, Error};
pub use self::hold::{Captured, Held, Hold, HoldDecision, HoldItem};
#[cfg(feature = "tower")]
pub use self::tower::{Caller, Tollgate, TollgateLayer};
pub use self::wire::{
    Allowed, Batch, Decision, Denied, Limit, ModelCall, Reason, RecordResult, TopUp, Usage,
};

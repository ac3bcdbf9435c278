//! The dialects of other systems, each a thin translation to the same commands.

pub(crate) mod billing;
pub(crate) mod credits;
mod elements;
#[cfg(feature = "envoy")]
pub(crate) mod envoy;
pub(crate) mod events;
pub(crate) mod failure;
mod keys;
pub(crate) mod lago;
pub(crate) mod litellm;
pub(crate) mod openmeter;
pub(crate) mod portkey;
pub(crate) mod pulses;
pub(crate) mod reports;
pub(crate) mod stripe;

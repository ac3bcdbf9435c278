//! The embedded store against the contract, faults, damage and time.

mod conformance;
mod damage;
mod faults;
mod life;
mod support;

//! The embedded store against the contract, faults, damage and time.

#![expect(clippy::print_stdout, reason = "tests say how much they tried")]

mod conformance;
mod damage;
mod faults;
mod life;
mod support;

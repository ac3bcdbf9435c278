//! The domain against the oracle and against the calendar.

mod generate;
mod ledger;
mod months;
mod notices;
mod random;
mod trials;
mod world;
mod zones;

//! Tests of the real binary as a process, and what they share: a server that is started, killed and restarted, callers
//! that remember what they were told, and the comparison of that with the server's ledger.
//!
//! Deliberately absent: any crate of ours but the one that starts real databases. Everything here is seen from outside, through HTTP, signals, exit codes, files
//! and `/proc`, as an operator sees it.
//!
//! Start reading at [`Server`], then [`books`] for what is compared; the tests themselves are in `tests/it/`.

pub mod books;
pub mod clock;
pub mod disk;
pub mod flood;
pub mod http;
pub mod load;
pub mod nats;
mod pause;
pub mod processor;
mod server;
pub mod trace;

use std::error::Error;

pub use pause::{pause, until};
pub use server::{Server, Tollgate, is_release_build, tollgate};

/// A step of a test either works or ends with a sentence.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

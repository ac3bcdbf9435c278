//! The built binary against itself: a server on a free port, and every command that talks to it.
//!
//! Start reading at `server.rs` (how one is run), then `client.rs` (every command, for people and for programs).

#![expect(clippy::expect_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[cfg(feature = "aws")]
mod aws;
mod client;
mod exits;
mod import;
#[cfg(feature = "mcp")]
mod mcp;
mod offline;
mod paging;
mod portkey;
mod problems;
mod serve;
mod server;
mod sums;
mod tls;

//! `tollgate`: the server, and the commands to work with it, in one binary.
//!
//! `serve` finds its settings ([`config`]), sets up the log ([`logging`]) and runs the server. The client commands
//! ([`commands`]) speak the native API to a running server; the offline ones ([`offline`]) open a store's folder.
//!
//! Deliberately absent: rules, HTTP handlers, stores. No commands but `serve` and `mcp` start an async runtime.
//!
//! Start reading at [`args`], then [`config::resolve`].

mod args;
mod client;
mod commands;
mod config;
mod copy;
mod decimal;
mod failure;
mod limits;
mod logging;
#[cfg(feature = "mcp")]
mod mcp;
mod offline;
mod output;
mod serve;
mod table;
mod tls;

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    match args::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}

//! `tollgate-bench`: measures Tollgate beside Redis and PostgreSQL, and beside itself as it fills.
//!
//! It writes no file that stays: its answer is Markdown on standard output, its progress goes to standard error, and all
//! it needs lives in a temporary folder beside the build's output, on the same disk for every system.
//! What is deliberately absent: any code that knows which system it is loading. `client.rs` is one event loop that writes
//! prebuilt bytes and reads whole answers, as fast as they come or at times fixed beforehand (`pace.rs`); only `wire.rs`
//! knows where an answer ends and whether it is a yes.
//! Why each decision is fair to the peers is said beside the decision: see `servers/` and `peers/`.
//! Start reading at `gate.rs`, `ingest.rs` and `stores.rs` (the comparisons), `holds.rs` (holds beside usages), `replicas.rs` (servers on one store), `scale.rs` (a month of ten million
//! usages), `keys.rs` (a hundred million keys) or `pages.rs` (the console on many orgs), then `client.rs`.

mod args;
mod client;
mod gate;
mod holds;
mod ingest;
mod keys;
mod load;
mod machine;
mod pace;
mod pages;
mod replicas;
mod report;
mod rounds;
mod scale;
mod servers;
mod share;
mod stats;
mod stores;
mod targets;
mod timeline;
mod wire;

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

/// A benchmark either ends with its tables or with one sentence saying why not.
type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tollgate-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let options = args::Options::parse(std::env::args().skip(1))?;
    machine::raise_open_files()?;
    let tables = match options.mode {
        args::Mode::Gate => gate::run(&options)?,
        args::Mode::Ingest => ingest::run(&options)?,
        args::Mode::Holds => holds::run(&options)?,
        args::Mode::Stores => stores::run(&options)?,
        args::Mode::Replicas => replicas::run(&options)?,
        args::Mode::Scale => scale::run(&options)?,
        args::Mode::Keys => keys::run(&options)?,
        args::Mode::Pages => pages::run(&options)?,
    };
    let mut out = std::io::stdout().lock();
    out.write_all(tables.as_bytes())?;
    out.flush()?;
    Ok(())
}

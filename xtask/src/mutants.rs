//! `mutants`: changes the rules in small ways, one at a time, and sees whether a test notices.
//!
//! The tests are the domain's own and those that compare it with the oracle. Each mutant builds the domain and the oracle
//! anew, so a full run takes hours; `--shard K/N` does one of N parts.

use std::process::Command;

use crate::Result;
use crate::process::{cargo, root, run as run_command, say, target_folder};
use crate::tools::find;

/// The version of cargo-mutants.
const VERSION: &str = "27.1.0";

/// What is changed unless files are named: the rules and what they reckon with.
const FILES: [&str; 7] = [
    "crates/domain/src/decide/*.rs",
    "crates/domain/src/rate/*.rs",
    "crates/domain/src/money.rs",
    "crates/domain/src/amount.rs",
    "crates/domain/src/calendar.rs",
    "crates/domain/src/bill.rs",
    "crates/domain/src/groups.rs",
];

/// Random scenarios that each mutant goes through: what so few do not notice is looked at by hand.
const SEEDS: &str = "60";
const SCHEDULES: &str = "100";

/// Seconds after which a mutant that runs on counts as noticed.
const TIMEOUT_SECS: &str = "240";

/// Runs the mutants of the named files, or of all: `[--shard K/N] [FILE …]`.
pub(crate) fn run(args: &[&str]) -> Result<()> {
    let (shard, files) = match args {
        ["--shard", shard, files @ ..] => (Some(*shard), files),
        files => (None, files),
    };
    let tools = target_folder()?.join("tools");
    let program = match find("cargo-mutants") {
        Some(found) => found,
        None => {
            let program = tools.join("bin").join("cargo-mutants");
            if !program.is_file() {
                let mut install = cargo(&["install", "--locked", "cargo-mutants", "--version", VERSION])?;
                install.arg("--root").arg(&tools).arg("--target-dir").arg(tools.join("build"));
                run_command(install)
                    .map_err(|error| format!("mutation tests need cargo-mutants ({error})"))?;
            }
            program
        }
    };
    let mut command = Command::new(program);
    command.args(["mutants", "--jobs", "1", "--profile", "mutants", "--caught", "--no-shuffle"]);
    command.args(["-p", "tollgate-domain", "--test-package", "tollgate-domain"]);
    command.args(["--test-package", "tollgate-testing", "--no-default-features", "--cargo-test-arg=--tests"]);
    command.args(["--timeout", TIMEOUT_SECS]).arg("--output").arg(target_folder()?.join("mutants"));
    command.args(shard.iter().flat_map(|shard| ["--sharding", "round-robin", "--shard", shard]));
    let files = if files.is_empty() { &FILES } else { files };
    command.args(files.iter().flat_map(|file| ["--file", file]));
    command.envs([("TOLLGATE_SEEDS", SEEDS), ("TOLLGATE_SCHEDULES", SCHEDULES)]).current_dir(root()?);
    run_command(command)?;
    say("every mutant was noticed")
}

//! `mutants`: changes the rules in small ways, one at a time, and sees whether a test notices.
//!
//! The tests are the domain's own and those that compare it with the oracle. Most mutants are noticed by few scenarios;
//! what these do not notice goes once more through all tests, at their ordinary length. Each mutant builds the domain
//! anew, so a full run takes hours: `--shard K/N` does one of N parts, `--go-on` what the last run left.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use crate::Result;
use crate::process::{cargo, root, run as run_command, say, target_folder};
use crate::tools::find;

/// The version of cargo-mutants.
const VERSION: &str = "27.1.0";

/// What is changed unless files are named: the rules and what they reckon with.
const FILES: [&str; 8] = [
    "crates/domain/src/decide/*.rs",
    "crates/domain/src/apply.rs",
    "crates/domain/src/rate/*.rs",
    "crates/domain/src/money.rs",
    "crates/domain/src/amount.rs",
    "crates/domain/src/calendar.rs",
    "crates/domain/src/bill.rs",
    "crates/domain/src/groups.rs",
];

/// Tests of a pass, and what they are told.
struct Pass {
    tests: &'static str,
    told: &'static [(&'static str, &'static str)],
}

const FEW: Pass =
    Pass { tests: "--test=it", told: &[("TOLLGATE_SEEDS", "60"), ("TOLLGATE_SCHEDULES", "100")] };
const ALL: Pass = Pass { tests: "--tests", told: &[] };

/// What cargo-mutants returns when some mutants were not noticed, or some only by running on.
const NOT_ALL_NOTICED: [i32; 2] = [2, 3];

/// Seconds after which a mutant that runs on is ended; it is to be looked at.
const TIMEOUT_SECS: &str = "240";

/// Runs the mutants of the named files, or of all: `[--go-on] [--shard K/N] [FILE …]`.
pub(crate) fn run(args: &[&str]) -> Result<()> {
    let (goes_on, args) = match args {
        ["--go-on", rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let (shard, files) = match args {
        ["--shard", shard, files @ ..] => (Some(*shard), files),
        files => (None, files),
    };
    let files = if files.is_empty() { &FILES } else { files };
    let program = program()?;
    let few = pass(&program, &FEW, goes_on, shard, files)?;
    let again = few.code().is_some_and(|code| NOT_ALL_NOTICED.contains(&code));
    let rest = if again { pass(&program, &ALL, true, shard, files)? } else { few };
    if !rest.success() {
        return Err(format!("not every mutant was noticed ({rest})").into());
    }
    say("every mutant was noticed")
}

/// Runs the tests of a pass against each mutant; `goes_on` leaves out those that the last run noticed.
fn pass(
    program: &Path,
    pass: &Pass,
    goes_on: bool,
    shard: Option<&str>,
    files: &[&str],
) -> Result<ExitStatus> {
    let mut command = Command::new(program);
    command.args(["mutants", "--jobs", "2", "--profile", "mutants", "--caught", "--no-shuffle"]);
    command.args(["-p", "tollgate-domain", "--test-package", "tollgate-domain"]);
    command.args(["--test-package", "tollgate-testing", "--no-default-features"]);
    command.arg(format!("--cargo-arg={}", pass.tests));
    command.args(["--timeout", TIMEOUT_SECS]).arg("--output").arg(target_folder()?.join("mutants"));
    command.args(goes_on.then_some("--iterate"));
    command.args(shard.iter().flat_map(|shard| ["--sharding", "round-robin", "--shard", shard]));
    command.args(files.iter().flat_map(|file| ["--file", file]));
    Ok(command.envs(pass.told.iter().copied()).current_dir(root()?).status()?)
}

/// cargo-mutants: that of the system, or one built here.
fn program() -> Result<PathBuf> {
    if let Some(found) = find("cargo-mutants") {
        return Ok(found);
    }
    let tools = target_folder()?.join("tools");
    let program = tools.join("bin").join("cargo-mutants");
    if !program.is_file() {
        let mut install = cargo(&["install", "--locked", "cargo-mutants", "--version", VERSION])?;
        install.arg("--root").arg(&tools).arg("--target-dir").arg(tools.join("build"));
        run_command(install).map_err(|error| format!("mutation tests need cargo-mutants ({error})"))?;
    }
    Ok(program)
}

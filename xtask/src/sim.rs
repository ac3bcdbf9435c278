//! `sim`: runs the simulator, and shows what it sees: for each deliberate bug, how many seeds it takes to find it.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::Result;
use crate::bugs::{Found, Hunt};
use crate::process::{cargo, run as run_command};

/// Seeds after which a bug counts as not found.
const SEEDS_MAX: &str = "1000";

/// Runs the simulator with arguments, or with `--bugs` the proof that it sees.
pub(crate) fn run(args: &[&str]) -> Result<()> {
    match args {
        ["--bugs", names @ ..] => {
            Hunt { folder: "sim-bugs", bugs: "crates/testing/bugs", hunt: seeds_until_found }.run(names)
        }
        _ => {
            let mut command = cargo(&["run", "--release", "--locked", "--quiet"])?;
            command.args(["-p", "tollgate-testing", "--bin", "tollgate-sim", "--"]).args(args);
            run_command(command)
        }
    }
}

/// Builds and runs the patched simulator; how many seeds it took and what it says.
fn seeds_until_found(folder: &Path, sources: &Path) -> Result<Option<Found>> {
    let mut build = cargo(&["build", "--locked", "-p", "tollgate-testing", "--bin", "tollgate-sim"])?;
    build.current_dir(sources).env("CARGO_TARGET_DIR", folder.join("target"));
    run_command(build)?;
    let mut sim = Command::new(folder.join("target").join("debug").join("tollgate-sim"));
    sim.args(["--seeds", SEEDS_MAX]).stderr(Stdio::null());
    let output = String::from_utf8_lossy(&sim.output()?.stdout).into_owned();
    Ok(output.lines().find_map(|line| {
        let (seeds, rest) = line.strip_prefix("after ")?.split_once(" seeds, ")?;
        let (_, says) = rest.split_once(" is wrong: ")?;
        Some(Found { after: format!("{seeds} seeds"), says: says.to_owned() })
    }))
}

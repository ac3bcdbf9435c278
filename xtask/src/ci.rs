//! `ci`: all that must pass before a change lands.

use std::process::Command;
use std::time::Instant;

use crate::Result;
use crate::process::{cargo, run as run_command, say};
use crate::test::FEATURES;
use crate::{fuzz, openapi, test, tidy};

/// Runs every step even if one fails, so that one run shows all there is to mend; the sum of the tests comes last.
pub(crate) fn run() -> Result<()> {
    let mut failures = Vec::new();
    let mut step = |name: &str, step: &mut dyn FnMut() -> Result<()>| -> Result<()> {
        let began = Instant::now();
        let verdict = match step() {
            Ok(()) => "ok",
            Err(error) => {
                eprintln!("{error}");
                failures.push(name.to_owned());
                "FAILED"
            }
        };
        say(&format!("{name}: {verdict} in {:.1} s", began.elapsed().as_secs_f64()))
    };
    step("fmt", &mut || run_command(cargo(&["fmt", "--all", "--check"])?))?;
    step("clippy", &mut || {
        let of = ["--workspace", "--all-targets", "--features", FEATURES, "--locked"];
        run_command(cargo(&[&["clippy"], of.as_slice(), &["--", "-D", "warnings"]].concat())?)
    })?;
    step("clippy of the fuzz targets", &mut fuzz::check)?;
    step("tidy", &mut tidy::run)?;
    let mut sum = None;
    step("test", &mut || {
        sum = Some(test::sum(&[])?);
        Ok(())
    })?;
    // The binary was built with the tests.
    step("openapi", &mut || openapi::check(Command::new(test::binary()?)))?;
    let sum = sum.ok_or("the tests could not be run")?;
    if !failures.is_empty() {
        say(&format!("failed: {}", failures.join(", ")))?;
    }
    sum.report()?;
    if failures.is_empty() { Ok(()) } else { Err(format!("failed: {}", failures.join(", ")).into()) }
}

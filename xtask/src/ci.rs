//! `ci`: all that must pass before a change lands.

use std::time::Instant;

use crate::Result;
use crate::process::{cargo, run as run_command, say};
use crate::{fuzz, openapi, test, tidy};

/// Runs every step even if one fails, so that one run shows all there is to mend; the sum of the tests comes last.
pub(crate) fn run() -> Result<()> {
    let mut failures = Vec::new();
    let mut step = |name: &str, step: &dyn Fn() -> Result<()>| -> Result<()> {
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
    step("fmt", &|| run_command(cargo(&["fmt", "--all", "--check"])?))?;
    step("clippy", &|| {
        let of = ["--workspace", "--all-targets", "--features", "tollgate/nats", "--locked"];
        run_command(cargo(&[&["clippy"], of.as_slice(), &["--", "-D", "warnings"]].concat())?)
    })?;
    step("clippy of the fuzz targets", &fuzz::check)?;
    step("tidy", &tidy::run)?;
    step("openapi", &openapi::check)?;
    let began = Instant::now();
    let sum = test::sum(&[])?;
    say(&format!("test: {:.1} s", began.elapsed().as_secs_f64()))?;
    if !failures.is_empty() {
        say(&format!("failed: {}", failures.join(", ")))?;
    }
    sum.report()?;
    if failures.is_empty() { Ok(()) } else { Err(format!("failed: {}", failures.join(", ")).into()) }
}

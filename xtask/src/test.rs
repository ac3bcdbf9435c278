//! `test`: every test of the workspace, and their sum in the last line.

use std::env;
use std::num::NonZero;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use crate::Result;
use crate::models;
use crate::process::{cargo, say, stream, target_folder};
use crate::tools::{ensure, ensure_for_tests};

/// What is built and tested beside what is always there.
pub(crate) const FEATURES: &str =
    "tollgate/full,tollgate-testing/aws,tollgate-testing/mongodb,tollgate-testing/redis";

/// How many tests of a program run at a time.
const THREADS_VARIABLE: &str = "RUST_TEST_THREADS";

/// Lines that the report repeats of what one failed test wrote.
const SAID_LINES_MAX: usize = 60;

/// Tests that ran, over all test programs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// What the failed tests wrote, each under a line with its name: in a long output they are hard to find.
    said: Vec<String>,
    /// How many more lines of what is being written belong to a failed test.
    saying: usize,
}

impl Sum {
    /// Adds what a line says, if it is the last line of a test program:
    /// `test result: ok. 12 passed; 0 failed; 0 ignored; …`.
    fn see(&mut self, line: &str) {
        if let Some((_, result)) = line.split_once("test result: ") {
            self.passed += before(result, " passed");
            self.failed += before(result, " failed");
        }
        let line = line.trim_end();
        if line.starts_with("---- ") && line.ends_with(" stdout ----") {
            self.saying = SAID_LINES_MAX;
        } else if line == "failures:" {
            self.saying = 0;
        }
        if self.saying > 0 {
            self.saying -= 1;
            self.said.push(line.to_owned());
        }
    }

    /// Runs test programs and adds what they say.
    fn run(&mut self, command: Command) -> Result<()> {
        let failed_before = self.failed;
        let succeeded = stream(command, |line| self.see(line))?;
        if !succeeded && self.failed == failed_before {
            // A test program that does not compile or that dies prints no result: it has failed all the same.
            self.failed += 1;
        }
        Ok(())
    }

    /// What failed, the last line of the test command, then its verdict.
    pub(crate) fn report(self) -> Result<()> {
        self.said.iter().try_for_each(|line| say(line))?;
        say(&format!("{} passed, {} failed", self.passed, self.failed))?;
        self.verdict()
    }

    fn verdict(&self) -> Result<()> {
        match self {
            Self { failed: 0, passed: 1.., .. } => Ok(()),
            Self { failed: 0, .. } => Err("no test ran".into()),
            Self { .. } => Err("tests failed".into()),
        }
    }
}

/// The number that stands right before `word`.
fn before(text: &str, word: &str) -> u64 {
    let number = text.split_once(word).and_then(|(head, _)| head.split([' ', ';']).next_back()?.parse().ok());
    number.unwrap_or(0)
}

/// Runs every test; `args` go to `cargo test`, and with them only what they choose runs, of the workspace as it is built.
pub(crate) fn run(args: &[&str]) -> Result<()> {
    sum(args)?.report()
}

/// The binary that was built with the tests.
pub(crate) fn binary() -> Result<PathBuf> {
    Ok(target_folder()?.join("debug").join("tollgate"))
}

/// Runs every test and counts.
pub(crate) fn sum(args: &[&str]) -> Result<Sum> {
    // Every server that a test talks to is started by the test itself from this workspace; the compiler of the C parts
    // of the dependencies comes from outside.
    ensure("cc", &["gcc", "libc6-dev"])?;
    // The README is pasted into a shell.
    ensure("curl", &["curl"])?;
    // What others made to check what we write, and to write to us.
    ensure_for_tests()?;
    // Web pages of others are opened in a real browser.
    ensure("chromium", &["chromium"])?;
    // Aggregates go to a stream of a real server.
    ensure("nats-server", &["nats-server"])?;
    // Many engines work on one database.
    ensure("initdb", &["postgresql-15"])?;
    ensure("pgbouncer", &["pgbouncer"])?;
    ensure("redis-server", &["redis-server"])?;
    let mut command = cargo(&["test", "--workspace", "--features", FEATURES, "--locked", "--no-fail-fast"])?;
    // The crash tests start and kill the real server. Building the tests of its package builds it, too; a build of its own
    // would be one of other features of the dependencies, and take as long again.
    command.env("TOLLGATE_BIN", binary()?);
    // Tests wait for servers, disks and clocks for a good part of their time.
    if env::var_os(THREADS_VARIABLE).is_none() {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        command.env(THREADS_VARIABLE, (cores + 1).to_string());
    }
    command.args(args);
    let mut sum = Sum::default();
    sum.run(command)?;
    if args.is_empty() {
        sum.run(models::command()?)?;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_summed_and_other_lines_are_not() {
        let mut sum = Sum::default();
        for line in [
            "running 3 tests\n",
            "test decide::says_no ... ok\n",
            "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.01s\n",
            "test result: \u{1b}[31mFAILED\u{1b}[m. 5 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out\n",
            "the plan has 40 passed; 40 failed\n",
            "   Doc-tests tollgate_domain\n",
            "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n",
        ] {
            sum.see(line);
        }
        assert_eq!(sum, Sum { passed: 17, failed: 2, ..Sum::default() });
    }

    #[test]
    fn what_failed_tests_wrote_is_kept_for_the_report() {
        let mut sum = Sum::default();
        for line in [
            "test decide::says_no ... FAILED\n",
            "failures:\n",
            "---- decide::says_no stdout ----\n",
            "left: 1\n",
            "failures:\n",
            "    decide::says_no\n",
            "running 3 tests\n",
        ] {
            sum.see(line);
        }
        assert_eq!(sum.said, ["---- decide::says_no stdout ----", "left: 1"]);
        sum.see("---- decide::says_much stdout ----\n");
        (0..1000).for_each(|_| sum.see("another\n"));
        assert_eq!(sum.said.len(), 2 + SAID_LINES_MAX);
    }

    #[test]
    fn no_test_is_no_success() {
        assert!(Sum { passed: 3, ..Sum::default() }.verdict().is_ok());
        assert!(Sum::default().verdict().is_err());
        assert!(Sum { passed: 3, failed: 1, ..Sum::default() }.verdict().is_err());
    }
}

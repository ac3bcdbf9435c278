//! `cargo xtask`: everything a developer or CI does with this repository, as plain Rust.
//!
//! Each command is one module: `test` runs every test and sums them up, `ci` is all that must pass before a change lands,
//! `tidy` holds the rules that no compiler lint can, `docs` makes a site of the pages, `screenshots` makes pictures of the
//! console, `deploy` checks the files for containers and clouds, `package` makes a Debian package and what Homebrew needs,
//! `image` tries what the Dockerfile makes, `openapi` keeps `openapi.json`, `proof` runs tests in their long form, `sim` runs
//! the simulator, `models` holds the model checks, `bugs` builds both with deliberate bugs, `coverage` and `mutants` say what the
//! tests miss, `fuzz` fuzzes, `fuzz_http` calls every route with made-up requests, `bench` measures. `started` is a server that
//! some of them run.
//! What is deliberately absent: shell scripts with logic, and steps that pass because a tool was missing (`tools`
//! installs what it can and says how to get the rest).

mod bench;
mod bugs;
mod ci;
mod coverage;
mod deploy;
mod docs;
mod fuzz;
mod fuzz_http;
mod image;
mod models;
mod mutants;
mod openapi;
mod package;
mod process;
mod proof;
mod screenshots;
mod sim;
mod started;
mod test;
mod tidy;
mod tools;
mod unit;

use std::error::Error;
use std::process::ExitCode;

/// A step either works or ends with a sentence.
type Result<T> = std::result::Result<T, Box<dyn Error>>;

const HELP: &str = "\
usage: cargo xtask COMMAND

  test [ARGS]            every test of the workspace; ARGS go to `cargo test`
  tools                  what tests run besides our own programs, into target/tools; `test` does it by itself
  ci                     format, lints, tidy, openapi, then the tests
  tidy                   the rules of this repository that no lint knows
  docs                   the pages as a site in target/docs/site, by mdBook; its links are checked
  screenshots            every page of the console and the portal, of a demo, into target/screenshots
  deploy                 Dockerfile, compose file, chart, Terraform, alert rules and workflows, checked by the linters of each
  package [BINARY]       a Debian package of a release build, or of a binary, in target/packages: linted, installed into a
                         folder, upgraded and removed
  image                  what the Dockerfile makes, without a Docker engine: a static program, run in a root folder that
                         nothing can write to
  formula FOLDER         tollgate.rb for Homebrew, of the sums of a release in FOLDER
  openapi [--check]      write openapi.json from the code, or compare it
  fuzz-http [--examples N] [--seed N]
                         schemathesis against the server's own OpenAPI document
  proof [NAME …]         the long forms of the tests: calendar, clocks, rules, damage, kills,
                         overload, keys, histories, month, months,
                         replicas, reads, notices, models
  models --bugs [NAME …] how many schedules it takes to find each deliberate bug of crates/schedules/bugs
  coverage [PACKAGE …]   lines and branches that the tests reach of domain, storage, engine and backends
  mutants [--go-on] [--shard K/N] [FILE …]
                         small changes to the rules, each of which a test should notice
  fuzz [--minutes M] [TARGET …]
                         the fuzz targets, 10 minutes each unless said
  bench gate|ingest|holds|stores|scale|keys|pages [--write] [--rounds N] [--seconds S] [--orgs N] [--usages N] …
                         measure; --write puts the tables into docs/benchmarks.md, --help lists all options
  sim [--seed S] [--seeds N] [--minutes M] [--store shared|embedded] [--commands C]
                         the simulator; a seed alone is run twice and its traces compared
  sim --bugs [NAME …]    how many seeds it takes to find each deliberate bug of crates/testing/bugs";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["test", rest @ ..] => test::run(rest),
        ["ci"] => ci::run(),
        ["tools"] => tools::ensure_for_tests(),
        ["tidy"] => tidy::run(),
        ["docs"] => docs::run(),
        ["screenshots"] => screenshots::run(),
        ["deploy"] => deploy::run(),
        ["package"] => package::run(None),
        ["package", binary] => package::run(Some(binary)),
        ["image"] => image::run(),
        ["formula", folder] => package::formula(folder),
        ["openapi"] => openapi::write(),
        ["openapi", "--check"] => openapi::from_source().and_then(openapi::check),
        ["fuzz-http", rest @ ..] => fuzz_http::run(rest),
        ["proof", rest @ ..] => proof::run(rest),
        ["coverage", rest @ ..] => coverage::run(rest),
        ["mutants", rest @ ..] => mutants::run(rest),
        ["models", "--bugs", rest @ ..] => models::bugs(rest),
        ["fuzz", rest @ ..] => fuzz::run(rest),
        ["bench", rest @ ..] => bench::run(rest),
        ["sim", rest @ ..] => sim::run(rest),
        _ => Err(HELP.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

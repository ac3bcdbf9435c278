//! `fuzz-http`: schemathesis against the real server and its own OpenAPI document.
//!
//! Every operation is called with requests that are valid by the document and with ones that are not, then in sequences
//! along the links between operations. Every answer must be declared and as declared, and none a 5xx.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::Result;
use crate::process::{cargo, root, run as run_command, say, target_folder};
use crate::started::Started;
use crate::test::binary;
use crate::tools::python_environment;

/// The version that the hooks are written for.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";

/// Examples of an operation unless asked otherwise.
const EXAMPLES: u32 = 1_000;

/// The admin key of the server under test, which lives as long as the run.
const API_KEY: &str = "fuzz-http-admin";

/// Builds the server, starts it on a store of its own, and calls it; `args` are `--examples N` and `--seed N`.
pub(crate) fn run(args: &[&str]) -> Result<()> {
    let options = Options::read(args)?;
    run_command(cargo(&["build", "--locked", "-p", "tollgate"])?)?;
    let folder = target_folder()?.join("fuzz-http");
    fs::create_dir_all(&folder)?;
    let python = python_environment(Path::new("python3"), &folder.join("python"), &[SCHEMATHESIS])?;
    let began = Instant::now();
    let server = start(&folder)?;
    let found = call(&python, &folder, &server.url, options);
    let ended = stop(server);
    found?;
    ended?;
    say(&format!(
        "fuzz-http: no finding with {} examples an operation in {:.0} s",
        options.examples,
        began.elapsed().as_secs_f64()
    ))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Options {
    examples: u32,
    seed: Option<u64>,
}

impl Options {
    fn read(args: &[&str]) -> Result<Self> {
        let mut options = Self { examples: EXAMPLES, seed: None };
        let mut rest = args;
        while let [name, value, further @ ..] = rest {
            match *name {
                "--examples" => options.examples = value.parse()?,
                "--seed" => options.seed = Some(value.parse()?),
                _ => return Err(format!("fuzz-http knows --examples N and --seed N, not '{name}'").into()),
            }
            rest = further;
        }
        match rest {
            [] if options.examples > 0 => Ok(options),
            _ => Err("fuzz-http takes --examples N (at least 1) and --seed N".into()),
        }
    }
}

/// Lets schemathesis loose on the server.
fn call(python: &Path, folder: &Path, url: &str, options: Options) -> Result<()> {
    let mut command = Command::new(python);
    command.args(["-m", "schemathesis.cli", "run"]).arg(format!("{url}/openapi.json"));
    command.args(["--header", &format!("Authorization: Bearer {API_KEY}")]);
    command.args(["--max-examples", &options.examples.to_string(), "--continue-on-failure"]);
    // Their places are taken by checks of the hooks that know more.
    command.args(["--checks", "all"]);
    command.args(["--exclude-checks", "positive_data_acceptance,negative_data_rejection"]);
    // Examples of an earlier run would make this one another than its seed says.
    command.args(["--generation-database", "none", "--no-color", "--warnings", "off"]);
    if let Some(seed) = options.seed {
        command.args(["--seed", &seed.to_string()]);
    }
    let hooks = root()?.join("xtask").join("src").join("fuzz_http").join("hooks.py");
    command.current_dir(folder).env("SCHEMATHESIS_HOOKS", hooks);
    run_command(command)
}

/// Starts the server under test, on a new store.
fn start(folder: &Path) -> Result<Started> {
    let store = folder.join("store");
    if store.exists() {
        fs::remove_dir_all(&store)?;
    }
    let mut command = Command::new(binary()?);
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--store"])
        .arg(format!("embedded:{}", store.display()));
    command.env("TOLLGATE_API_KEY", API_KEY).current_dir(folder);
    Started::start(command, File::create(folder.join("server.log"))?)
}

/// Ends the server; one that has ended before is a finding.
fn stop(mut server: Started) -> Result<()> {
    if let Some(status) = server.process.try_wait()? {
        return Err(
            format!("the server ended by itself ({status}); its log is server.log beside its store").into()
        );
    }
    server.process.kill()?;
    server.process.wait()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let read = |args: &[&str]| Options::read(args).ok().map(|options| (options.examples, options.seed));
        assert_eq!(read(&[]), Some((EXAMPLES, None)));
        assert_eq!(read(&["--seed", "7", "--examples", "30"]), Some((30, Some(7))));
        for wrong in
            [vec!["--examples"], vec!["--examples", "0"], vec!["--examples", "x"], vec!["--fast", "1"]]
        {
            assert_eq!(read(&wrong), None, "{wrong:?}");
        }
    }
}

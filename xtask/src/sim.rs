//! `sim`: runs the simulator, and shows what it sees: for each deliberate bug, how many seeds it takes to find it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::Result;
use crate::process::{cargo, root, run as run_command, say, target_folder};

/// Where the deliberate bugs are.
const BUGS: &str = "crates/testing/bugs";

/// Seeds after which a bug counts as not found.
const SEEDS_MAX: &str = "1000";

/// What of the repository is needed to build the simulator.
const SOURCES: [&str; 6] = ["Cargo.toml", "Cargo.lock", "catalog.toml", "crates", "bench", "xtask"];

/// Runs the simulator with arguments, or with `--bugs` the proof that it sees.
pub(crate) fn run(args: &[&str]) -> Result<()> {
    match args {
        ["--bugs", names @ ..] => bugs(names),
        _ => {
            let mut command = cargo(&["run", "--release", "--locked", "--quiet"])?;
            command.args(["-p", "tollgate-testing", "--bin", "tollgate-sim", "--"]).args(args);
            run_command(command)
        }
    }
}

/// Builds the simulator with each bug in turn and counts seeds until it is found.
fn bugs(names: &[&str]) -> Result<()> {
    let folder = target_folder()?.join("sim-bugs");
    let sources = folder.join("sources");
    let mut patches: Vec<PathBuf> = fs::read_dir(root()?.join(BUGS))?
        .map(|found| found.map(|found| found.path()))
        .collect::<std::io::Result<_>>()?;
    patches.retain(|path| path.extension().is_some_and(|extension| extension == "patch"));
    patches.retain(|path| names.is_empty() || names.iter().any(|name| name_of(path).contains(name)));
    patches.sort();
    let mut table = String::from("| bug | found after | what the simulator says |\n| --- | --- | --- |\n");
    let mut missed = Vec::new();
    for patch in &patches {
        let began = Instant::now();
        let name = name_of(patch);
        for source in SOURCES {
            copy(&root()?.join(source), &sources.join(source))?;
        }
        let (seeds, says) = if applies(&sources, patch)? {
            seeds_until_found(&folder, &sources)?
        } else {
            ("the patch no longer applies".to_owned(), String::new())
        };
        if says.is_empty() {
            missed.push(name.clone());
        }
        table.push_str(&format!("| {name} | {seeds} | {says} |\n"));
        say(&format!("{name}: {seeds} ({:.0} s)", began.elapsed().as_secs_f64()))?;
    }
    say(&format!("\n{table}"))?;
    if missed.is_empty() { Ok(()) } else { Err(format!("not found: {}", missed.join(", ")).into()) }
}

fn name_of(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Makes `to` what `from` is, leaving files alone that are the same: what is not touched is not built again.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if from.is_file() {
        let content = fs::read(from)?;
        if fs::read(to).ok().as_deref() != Some(&content) {
            fs::create_dir_all(to.parent().ok_or("a file lies in a folder")?)?;
            fs::write(to, content)?;
        }
        return Ok(());
    }
    let mut names = Vec::new();
    for found in fs::read_dir(from)? {
        let name = found?.file_name();
        copy(&from.join(&name), &to.join(&name))?;
        names.push(name);
    }
    for found in fs::read_dir(to)? {
        let found = found?;
        if names.contains(&found.file_name()) {
            continue;
        }
        let path = found.path();
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }?;
    }
    Ok(())
}

/// Applies a patch to the copied sources; false when it does not fit them any more.
fn applies(sources: &Path, patch: &Path) -> Result<bool> {
    let mut git = Command::new("git");
    // The copy lies inside the repository and is not part of it: git is not to look for one above.
    git.env("GIT_CEILING_DIRECTORIES", sources.parent().ok_or("the sources lie in a folder")?);
    git.args(["apply", "--whitespace=nowarn"]).arg(patch).current_dir(sources);
    Ok(git.status()?.success())
}

/// Builds and runs the patched simulator; how many seeds it took and what it says, which is empty when nothing was found.
fn seeds_until_found(folder: &Path, sources: &Path) -> Result<(String, String)> {
    let mut build = cargo(&["build", "--locked", "-p", "tollgate-testing", "--bin", "tollgate-sim"])?;
    build.current_dir(sources).env("CARGO_TARGET_DIR", folder.join("target"));
    run_command(build)?;
    let mut sim = Command::new(folder.join("target").join("debug").join("tollgate-sim"));
    sim.args(["--seeds", SEEDS_MAX]).stderr(Stdio::null());
    let output = String::from_utf8_lossy(&sim.output()?.stdout).into_owned();
    let found = output.lines().find_map(|line| {
        let (seeds, rest) = line.strip_prefix("after ")?.split_once(" seeds, ")?;
        let (_, says) = rest.split_once(" is wrong: ")?;
        Some((seeds.to_owned(), says.chars().take(110).collect::<String>().replace('|', "/")))
    });
    Ok(match found {
        Some((seeds, says)) => (format!("{seeds} seeds"), says),
        None => (format!("not in {SEEDS_MAX} seeds"), String::new()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_becomes_what_the_original_is() {
        let folder = std::env::temp_dir().join(format!("tollgate-xtask-copy-{}", std::process::id()));
        let (from, to) = (folder.join("from"), folder.join("to"));
        fs::create_dir_all(from.join("inner")).unwrap();
        fs::create_dir_all(to.join("old")).unwrap();
        fs::write(from.join("inner").join("a"), "1").unwrap();
        fs::write(to.join("gone"), "2").unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("inner").join("a")).unwrap(), "1");
        assert!(!to.join("gone").exists() && !to.join("old").exists());
        fs::remove_dir_all(&folder).unwrap();
    }
}

//! Programs that a step needs: found, installed, or asked for in a sentence.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Result;
use crate::process;

/// Programs live here too, but not always on the path.
const ELSEWHERE: [&str; 2] = ["/usr/lib/postgresql/15/bin", "/usr/sbin"];

/// Makes sure that `program` exists, by installing Debian's `packages` if it does not.
pub(crate) fn ensure(program: &str, packages: &[&str]) -> Result<()> {
    if find(program).is_some() {
        return Ok(());
    }
    let advice =
        format!("`{program}` is needed: install it, on Debian `apt-get install {}`", packages.join(" "));
    let Some(apt) = find("apt-get") else { return Err(advice.into()) };
    eprintln!("{program} is missing: installing {}", packages.join(" "));
    let apt_get = |args: &[&str]| -> Result<()> {
        let mut command = match find("sudo") {
            Some(sudo) if !is_root()? => {
                let mut command = Command::new(sudo);
                // Never ask for a password: a step that waits for a person hangs CI.
                command.args(["-n", "env", "DEBIAN_FRONTEND=noninteractive"]).arg(&apt);
                command
            }
            _ => Command::new(&apt),
        };
        command.env("DEBIAN_FRONTEND", "noninteractive").args(args).stdout(Stdio::null());
        process::run(command)
    };
    let install: Vec<&str> =
        ["install", "-y", "-qq", "--no-install-recommends"].iter().chain(packages).copied().collect();
    apt_get(&["update", "-qq"])
        .and_then(|()| apt_get(&install))
        .map_err(|error| format!("{advice} ({error}; this needs root or sudo)"))?;
    if find(program).is_none() { Err(advice.into()) } else { Ok(()) }
}

/// A Python environment in `folder` with what `requirement` names, made where there is none or another version's; gives
/// the folder of its programs. `step` is what needs it.
pub(crate) fn python_tool(folder: &Path, requirement: &str, step: &str) -> Result<PathBuf> {
    let programs = folder.join("bin");
    let made_for = folder.join("made-for");
    if fs::read_to_string(&made_for).is_ok_and(|version| version == requirement) {
        return Ok(programs);
    }
    ensure("python3", &["python3", "python3-venv"])?;
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv", "--clear"]).arg(folder);
    process::run(venv).map_err(|error| {
        format!(
            "{step} needs Python 3.10 or newer with its venv module, on Debian `apt-get install python3-venv` ({error})"
        )
    })?;
    let mut pip = Command::new(programs.join("python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement]);
    process::run(pip)
        .map_err(|error| format!("{requirement} cannot be had from Python's index ({error})"))?;
    fs::write(made_for, requirement)?;
    Ok(programs)
}

fn is_root() -> Result<bool> {
    use std::os::unix::fs::MetadataExt;
    Ok(std::fs::metadata("/proc/self")?.uid() == 0)
}

/// Where a program is, if it is there.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(ELSEWHERE.iter().map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|file| Path::is_file(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_exists_is_found_and_nothing_is_installed() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program-anywhere").is_none());
        ensure("sh", &["no-such-package"]).unwrap();
    }
}

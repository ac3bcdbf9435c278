//! Running other programs from the root of the repository.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::Result;

/// The root of the repository.
pub(crate) fn root() -> Result<PathBuf> {
    // `cargo run` says where this package is; its parent is the root.
    let package = env::var_os("CARGO_MANIFEST_DIR").ok_or("run this as `cargo xtask`")?;
    Ok(PathBuf::from(package).parent().ok_or("xtask lies in the repository")?.to_owned())
}

/// Where cargo puts what it builds.
pub(crate) fn target_folder() -> Result<PathBuf> {
    let root = root()?;
    Ok(env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder)))
}

/// A cargo command in the root.
pub(crate) fn cargo(args: &[&str]) -> Result<Command> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root()?);
    // What cargo tells the program that it runs is of this package. Some build scripts would run again for it.
    for (name, _) in env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            command.env_remove(name);
        }
    }
    Ok(command)
}

/// Builds what is published, with everything in it, for a target or for this machine; where the program is.
pub(crate) fn build_published(target: Option<&str>) -> Result<PathBuf> {
    let mut build =
        cargo(&["build", "--profile", "dist", "--locked", "--package", "tollgate", "--features", "full"])?;
    let mut folder = target_folder()?;
    if let Some(target) = target {
        build.args(["--target", target]);
        folder.push(target);
    }
    run(build)?;
    Ok(folder.join("dist/tollgate"))
}

/// Runs a command whose output goes where this program's goes.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let status = command.status().map_err(|error| format!("{}: {error}", shown(&command)))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` failed ({status})", shown(&command)).into()) }
}

/// Runs a command and gives what it wrote on standard output.
pub(crate) fn output(mut command: Command) -> Result<String> {
    let output =
        command.stderr(Stdio::inherit()).output().map_err(|error| format!("{}: {error}", shown(&command)))?;
    if !output.status.success() {
        return Err(format!("`{}` failed ({})", shown(&command), output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs a command, passes its standard output on line by line as it comes, and shows each line to `see`. Gives whether
/// the command succeeded.
pub(crate) fn stream(mut command: Command, mut see: impl FnMut(&str)) -> Result<bool> {
    let mut child =
        command.stdout(Stdio::piped()).spawn().map_err(|error| format!("{}: {error}", shown(&command)))?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("no standard output")?);
    let mut line = Vec::new();
    // Bytes, not text: a test may print anything.
    while lines.read_until(b'\n', &mut line)? > 0 {
        let mut out = std::io::stdout().lock();
        out.write_all(&line)?;
        out.flush()?;
        see(&String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(child.wait()?.success())
}

/// Writes a line to standard output.
pub(crate) fn say(line: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

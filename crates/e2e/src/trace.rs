//! `strace`: what the server asks of the system, in order; and a disk made slow.

use std::path::Path;
use std::process::Command;

use crate::Result;

/// Makes sure that there is an `strace`; as root it is installed.
///
/// # Errors
/// How to get it.
pub fn need_strace() -> Result<()> {
    let works = || Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success());
    if works() {
        return Ok(());
    }
    let apt = |args: &[&str]| {
        let done = Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(args).output();
        done.map_or_else(
            |error| error.to_string(),
            |output| String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    apt(&["update"]);
    let said = apt(&["install", "--yes", "--no-install-recommends", "strace"]);
    if works() {
        return Ok(());
    }
    Err(format!("this test needs strace; get it with `apt-get install strace` ({})", said.trim()).into())
}

/// The words that run a program with each fdatasync taking so many microseconds longer, as on a slow disk. All other
/// calls run at full speed, and the program is our child as if there were no strace.
///
/// # Errors
/// When there is no strace.
pub fn slow_disk(fdatasync_micros: u32) -> Result<Vec<String>> {
    need_strace()?;
    let inject = format!("inject=fdatasync:delay_enter={fdatasync_micros}");
    let words = [
        "strace",
        "-D",
        "-f",
        "-q",
        "--seccomp-bpf",
        "-e",
        "trace=fdatasync",
        "-e",
        &inject,
        "-o",
        "/dev/null",
    ];
    Ok(words.map(str::to_owned).to_vec())
}

/// The words that run a program with its writes and syncs written to a file, with as much of what is written as a commit of a few usages has.
///
/// # Errors
/// When there is no strace.
pub fn writes_and_syncs(into: &Path) -> Result<Vec<String>> {
    need_strace()?;
    let calls = "trace=fdatasync,fsync,write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg";
    let into = into.to_str().ok_or("a path that is not text")?;
    let words = ["strace", "-D", "-f", "-q", "-y", "--seccomp-bpf", "-s", "20000", "-e", calls, "-o", into];
    Ok(words.map(str::to_owned).to_vec())
}

/// One traced call that has ended: where in the trace it began and ended, and its text without what it returned.
#[derive(Clone, Debug)]
pub struct Call {
    /// Which call.
    pub name: String,
    /// The number of the line on which it began.
    pub began: usize,
    /// The number of the line on which it returned.
    pub ended: usize,
    /// Its arguments; file descriptors with their paths.
    pub args: String,
    /// What it returned.
    pub returned: i64,
}

/// Reads a trace of several threads: calls that were interrupted by others are put together again.
pub fn read(trace: &str) -> Vec<Call> {
    let mut open: Vec<(&str, Call)> = Vec::new();
    let mut calls = Vec::new();
    for (number, line) in trace.lines().enumerate() {
        let Some((thread, text)) = line.split_once(' ') else { continue };
        let text = text.trim_start();
        if let Some(resumed) = text.strip_prefix("<... ") {
            let place = open.iter().position(|(of, _)| *of == thread);
            if let (Some(place), Some(returned)) = (place, returned(resumed)) {
                let (_, call) = open.swap_remove(place);
                calls.push(Call { ended: number, returned, ..call });
            }
            continue;
        }
        let Some((name, args)) = text.split_once('(') else { continue };
        let call = |args: &str, returned| Call {
            name: name.to_owned(),
            began: number,
            ended: number,
            args: args.to_owned(),
            returned,
        };
        if let Some(args) = args.strip_suffix(" <unfinished ...>") {
            open.push((thread, call(args, 0)));
        } else if let Some(returned) = returned(args) {
            calls.push(call(args, returned));
        }
    }
    calls
}

/// The number behind the last ") = " of a line.
fn returned(text: &str) -> Option<i64> {
    let (_, result) = text.rsplit_once('=')?;
    result.trim().split(' ').next()?.parse().ok()
}

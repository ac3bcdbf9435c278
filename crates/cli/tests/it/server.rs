//! Runs the binary: as a server in a folder of its own, and as a client of it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take before the test says what it waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What a finished command said.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// The output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("not JSON: {error}\n{self:?}"))
    }
}

/// The binary, with nothing of this process's environment that could set anything, and with small files: tests have
/// little to keep.
pub(crate) fn tollgate(folder: &Path, environment: &[(&str, &str)], args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command
        .args(args)
        .current_dir(folder)
        .env_clear()
        .env("TOLLGATE_SEGMENT_BYTES", "1048576")
        .envs(environment.iter().copied())
        .stdin(Stdio::null());
    command
}

/// Runs the binary to its end.
pub(crate) fn run(folder: &Path, environment: &[(&str, &str)], args: &[&str]) -> Ran {
    let output = tollgate(folder, environment, args).output().expect("the binary runs");
    Ran {
        code: output.status.code().expect("an exit code"),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

/// A server that runs. Killed when dropped.
pub(crate) struct Server {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
    pub(crate) url: String,
    pub(crate) folder: PathBuf,
}

impl Server {
    /// Starts on a free port with its data in the folder, and waits for the line that says where it listens.
    pub(crate) fn start(folder: &Path, environment: &[(&str, &str)], more: &[&str]) -> Self {
        Self::start_on("127.0.0.1:0", folder, environment, more)
    }

    /// The same on another address.
    pub(crate) fn start_on(listen: &str, folder: &Path, environment: &[(&str, &str)], more: &[&str]) -> Self {
        let args = [&["serve", "--listen", listen], more].concat();
        Self::spawned(folder, tollgate(folder, environment, &args))
    }

    /// Starts on a free port with a limit of the shell's `ulimit` on its process.
    pub(crate) fn start_within(limit: &str, folder: &Path, more: &[&str]) -> Self {
        let plain = tollgate(folder, &[], &[]);
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", &format!("ulimit {limit} && exec \"$0\" \"$@\"")])
            .arg(plain.get_program())
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(more)
            .current_dir(folder)
            .env_clear()
            .stdin(Stdio::null());
        Self::spawned(folder, command)
    }

    fn spawned(folder: &Path, mut command: Command) -> Self {
        let mut child = command
            .env("TOLLGATE_STORE", "embedded:data")
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let stderr = BufReader::new(child.stderr.take().expect("its standard error"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let mut server =
            Self { child, lines, said: Vec::new(), url: String::new(), folder: folder.to_owned() };
        server.url = server.wait_for(|line| {
            let (_, rest) = line.split_once("listening on ")?;
            Some(rest.split(',').next()?.to_owned())
        });
        server
    }

    /// Waits for a line on standard error.
    pub(crate) fn wait_for<T>(&mut self, found: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if let Some(found) = found(&line) {
                        return found;
                    }
                }
                Err(error) => panic!("{error}; the server said:\n{}", self.said.join("\n")),
            }
        }
    }

    /// Runs a client command against it.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        run(&self.folder, &[("TOLLGATE_URL", &self.url)], args)
    }

    /// Runs a client command that must succeed.
    pub(crate) fn ok(&self, args: &[&str]) -> Ran {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
        ran
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("a process id");
        let id = rustix::process::Pid::from_raw(id).expect("a process id");
        rustix::process::kill_process(id, signal).expect("the signal is sent");
    }

    /// Asks it to stop as an operator would; returns how it ended and all it said.
    pub(crate) fn stop(mut self) -> (ExitStatus, Vec<String>) {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        while let Ok(line) = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.said.push(line);
        }
        let ended = self.child.wait().expect("the server ends");
        (ended, std::mem::take(&mut self.said))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder for one test.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

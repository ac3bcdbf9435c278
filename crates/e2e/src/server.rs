//! The server as a process.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::http::Client;
use crate::{Result, until};

/// A server that does not answer for so long has not started: debug builds on busy machines replay a tail first.
const START_MAX: Duration = Duration::from_secs(60);

/// Lines of the server's log that are kept to show them when a test fails.
const LOG_LINES_KEPT: usize = 200;

/// Finds the binary: `TOLLGATE_BIN`, or else the one beside the test program.
///
/// # Errors
/// How to build it.
pub fn tollgate() -> Result<PathBuf> {
    let path = match std::env::var_os("TOLLGATE_BIN") {
        Some(path) => PathBuf::from(path),
        None => {
            let test = std::env::current_exe()?;
            // The test program is target/PROFILE/deps/it-HASH.
            let profile = test.parent().and_then(Path::parent).ok_or("the test program is in no folder")?;
            profile.join("tollgate")
        }
    };
    if path.is_file() {
        return Ok(path.canonicalize()?);
    }
    let path = path.display();
    Err(format!("there is no {path}; build it with `cargo build -p tollgate`, or name it in TOLLGATE_BIN")
        .into())
}

/// Whether the binary is a release build, by the folder it lies in.
///
/// # Errors
/// When there is no binary.
pub fn is_release_build() -> Result<bool> {
    Ok(tollgate()?.components().any(|part| part.as_os_str() == "release"))
}

/// A command line of the binary, without the environment of the test.
#[derive(Debug)]
pub struct Tollgate {
    wrapper: Vec<OsString>,
    args: Vec<OsString>,
}

impl Tollgate {
    /// A command with its arguments.
    pub fn command(args: &[&str]) -> Self {
        Self { wrapper: Vec::new(), args: args.iter().map(OsString::from).collect() }
    }

    /// `serve` on a free port with the store in a folder; only warnings are logged.
    #[must_use]
    pub fn serve(store: &Path) -> Self {
        Self::serve_on(url(store))
    }

    /// The same with a store of any kind, by its URL.
    #[must_use]
    pub fn serve_on(store: impl Into<OsString>) -> Self {
        Self::command(&["serve", "--listen", "127.0.0.1:0", "--log-level", "warn", "--store"]).arg(store)
    }

    /// The same with ledger files of so many bytes, so that a short test fills several.
    #[must_use]
    pub fn serve_small(store: &Path, segment_bytes: u64) -> Self {
        Self::serve(store).arg("--segment-bytes").arg(segment_bytes.to_string())
    }

    /// `verify` of the store in a folder.
    #[must_use]
    pub fn verify(store: &Path) -> Self {
        Self::command(&["verify", "--store"]).arg(url(store))
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Run by another program that becomes it, such as `strace -D …`.
    #[must_use]
    pub fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(OsString::from).collect();
        self
    }

    fn build(&self) -> Result<Command> {
        let binary = tollgate()?;
        let mut words =
            self.wrapper.iter().cloned().chain([binary.into_os_string()]).chain(self.args.iter().cloned());
        let mut command = Command::new(words.next().ok_or("an empty command line")?);
        // No setting of the machine or of the folder may slip in.
        command.args(words).env_clear().current_dir("/").stdin(Stdio::null());
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        Ok(command)
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn run(&self) -> Result<Output> {
        Ok(self.build()?.output()?)
    }

    /// Starts it and goes on; what it says goes nowhere.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn spawn(&self) -> Result<Child> {
        Ok(self.build()?.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
    }

    /// Starts it as a server and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or does not get ready; with its log.
    pub fn start(&self) -> Result<Server> {
        Server::start(self.build()?)
    }
}

fn url(store: &Path) -> OsString {
    let mut url = OsString::from("embedded:");
    url.push(store);
    url
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<VecDeque<String>>>,
    /// Disconnected when the server has closed its standard error: it is gone.
    gone: Receiver<SocketAddr>,
    /// From its start to its first ready answer.
    pub ready_after: Duration,
}

impl Server {
    fn start(mut command: Command) -> Result<Self> {
        let started = Instant::now();
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let stderr = child.stderr.take().ok_or("the server has no standard error")?;
        let log = Arc::<Mutex<VecDeque<String>>>::default();
        let kept = Arc::clone(&log);
        let (tell, told) = mpsc::channel();
        thread::spawn(move || read_log(stderr, &kept, &tell));
        let listening = told.recv_timeout(START_MAX);
        let placeholder = SocketAddr::from(([127, 0, 0, 1], 0));
        let address = *listening.as_ref().unwrap_or(&placeholder);
        let mut server = Self { child, address, log, gone: told, ready_after: Duration::ZERO };
        if listening.is_err() {
            return Err(format!("the server did not start; its log:\n{}", server.log()).into());
        }
        until("the server to be ready", START_MAX, || {
            let ready = Client::new(server.address).call("GET", "/ready", None);
            Ok(ready.ok().filter(|reply| reply.status == 200))
        })?;
        server.ready_after = started.elapsed();
        Ok(server)
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// A new connection to it, made with the first call.
    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// The last lines it logged.
    pub fn log(&self) -> String {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().fold(String::new(), |text, line| text + line + "\n")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it as a power switch would, as far as a process can be: no handler runs.
    ///
    /// # Errors
    /// When it had ended before by itself; with its log.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        let status = self.child.wait()?;
        if status.signal() == Some(Signal::KILL.as_raw()) {
            return Ok(());
        }
        Err(format!("the server had ended by itself with {status}; its log:\n{}", self.log()).into())
    }

    /// Asks it to end.
    ///
    /// # Errors
    /// When it is gone already.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Stops it in the middle of anything, as a machine that is suspended.
    ///
    /// # Errors
    /// When it is gone.
    pub fn suspend(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on where it was stopped.
    ///
    /// # Errors
    /// When it is gone.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).ok_or("not a process id")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not end in time; with its log.
    pub fn wait(mut self, at_most: Duration) -> Result<ExitStatus> {
        match self.gone.recv_timeout(at_most) {
            Err(RecvTimeoutError::Disconnected) => Ok(self.child.wait()?),
            Ok(_) | Err(RecvTimeoutError::Timeout) => {
                let secs = at_most.as_secs();
                Err(format!("the server did not end within {secs} s; its log:\n{}", self.log()).into())
            }
        }
    }

    /// Asks it to end and waits; it must end with status 0.
    ///
    /// # Errors
    /// When it does not; with its log.
    pub fn stop(self) -> Result<()> {
        self.terminate()?;
        let log = Arc::clone(&self.log);
        let status = self.wait(Duration::from_secs(60))?;
        if status.success() {
            return Ok(());
        }
        let log = log.lock().unwrap_or_else(PoisonError::into_inner);
        Err(format!(
            "the server ended with {status}; its log:\n{}",
            log.iter().cloned().collect::<Vec<_>>().join("\n")
        )
        .into())
    }

    /// Memory resident in it, in KiB.
    ///
    /// # Errors
    /// When `/proc` does not say.
    pub fn resident_kib(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS in /proc")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps the last lines; tells the address once it is printed.
fn read_log(stderr: ChildStderr, kept: &Mutex<VecDeque<String>>, tell: &mpsc::Sender<SocketAddr>) {
    let mut told = false;
    for line in BufReader::new(stderr).lines().map_while(std::result::Result::ok) {
        if !told && let Some(address) = address_in(&line) {
            told = true;
            let _ = tell.send(address);
        }
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= LOG_LINES_KEPT {
            kept.pop_front();
        }
        kept.push_back(line);
    }
}

/// The address in "… listening on http://127.0.0.1:34567, …".
fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("listening on http://")?;
    rest.split(|character: char| character == ',' || character.is_whitespace()).next()?.parse().ok()
}

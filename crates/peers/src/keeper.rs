//! Shells that keep servers: they end with the process that started them, however that ends, and so do their servers.

use std::env;
use std::io::{BufRead, BufReader, Error, Lines, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// What the keeper of a server runs: the server, until it is told to end; when nobody is there to tell it any more, it removes the
/// folder.
const SERVER: &str = r#"
folder=$1; shift
"$@" </dev/null & server=$!
echo "server $server"
if read -r word; then kill -9 $server; else kill -9 $server; cd /; rm -rf "$folder"; fi
"#;

/// A folder in memory, where there is such a thing.
pub(crate) fn folder(prefix: &str) -> Result<TempDir, Error> {
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_owned() } else { env::temp_dir() };
    tempfile::Builder::new().prefix(prefix).tempdir_in(base)
}

/// A shell that waits for words; its end is the end of what it keeps.
#[derive(Debug)]
pub(crate) struct Keeper {
    shell: Child,
    orders: Option<ChildStdin>,
}

impl Keeper {
    /// Starts a shell that hears words.
    pub(crate) fn start(mut shell: Command) -> Result<Self, Error> {
        // A server outlives a signal that a terminal sends to all.
        let mut shell = shell.stdin(Stdio::piped()).process_group(0).spawn()?;
        let orders = shell.stdin.take();
        Ok(Self { shell, orders })
    }

    /// What it says.
    pub(crate) fn news(&mut self) -> Result<BufReader<ChildStdout>, Error> {
        let news = self.shell.stdout.take().ok_or_else(|| Error::other("no news of it"))?;
        Ok(BufReader::new(news))
    }

    /// Says a word to it.
    pub(crate) fn tell(&mut self, word: &str) -> Result<(), Error> {
        let orders = self.orders.as_mut().ok_or_else(|| Error::other("it was stopped"))?;
        writeln!(orders, "{word}")
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.orders.take());
        drop(self.shell.wait());
    }
}

/// A server of one process, with its keeper.
#[derive(Debug)]
pub(crate) struct Running {
    keeper: Keeper,
    server: Pid,
}

impl Running {
    /// Starts a server with these arguments in a folder; gives also what it says.
    pub(crate) fn start<'a>(
        folder: &Path,
        program: &Path,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Result<(Self, Lines<BufReader<ChildStdout>>), Error> {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", SERVER, "keeper"]).arg(folder).arg(program).args(arguments);
        shell.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut keeper = Keeper::start(shell)?;
        let mut lines = keeper.news()?.lines();
        let line = lines.next().transpose()?.unwrap_or_default();
        let server =
            line.strip_prefix("server ").and_then(|number| number.parse().ok()).and_then(Pid::from_raw);
        let server = server.ok_or_else(|| Error::other("the keeper does not say which process it is"))?;
        Ok((Self { keeper, server }, lines))
    }

    /// Kills the server in the middle of anything; its folder stays.
    pub(crate) fn kill(mut self) -> Result<(), Error> {
        kill_process(self.server, Signal::KILL)?;
        self.keeper.tell("end")
    }
}

//! A DynamoDB of a test's own: the one that AWS gives out for such ends.

use std::env;
use std::io::Error;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::keeper::{self, Keeper};
use crate::postgres::free_port;

/// Names the folder with the program.
const PROGRAM_VARIABLE: &str = "TOLLGATE_DYNAMODB";

/// Where `cargo xtask test` puts it, behind the folder that cargo builds in.
const PROGRAM: &str = "tools/dynamodb-local/package/emulator";

const ADVICE: &str = "DynamoDB Local is needed: `cargo xtask test` fetches it into target/tools";

/// How long it may take to listen, on a machine that is busy.
const READY: Duration = Duration::from_mins(1);

/// What the keeper runs: the server, until nobody is there any more, however that came about.
const KEEPER: &str = r#"
java -Xmx512m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Djava.library.path=DynamoDBLocal_lib -jar DynamoDBLocal.jar "$@" -sharedDb \
  </dev/null >/dev/null 2>&1 &
read -r word
kill -9 $!
wait
"#;

/// A running DynamoDB.
#[derive(Debug)]
pub struct Dynamo {
    port: u16,
    /// Its end is the end of the server, before its folder does.
    keeper: Option<Keeper>,
    /// Where it keeps what it is told; `None`: in memory.
    data: Option<TempDir>,
}

impl Dynamo {
    /// Starts a server without tables, which keeps what it is told in memory.
    ///
    /// # Errors
    /// When its program is not there, or does not listen.
    pub fn start() -> Result<Self, Error> {
        Self::start_with(None)
    }

    /// The same with what it is told in a folder, so that it can be killed and started again.
    ///
    /// # Errors
    /// As [`Dynamo::start`].
    pub fn start_in_folder() -> Result<Self, Error> {
        Self::start_with(Some(keeper::folder("tollgate-dynamo-")?))
    }

    fn start_with(data: Option<TempDir>) -> Result<Self, Error> {
        let mut server = Self { port: free_port()?, keeper: None, data };
        server.run()?;
        Ok(server)
    }

    /// Starts it again after it was killed, with what its folder has.
    ///
    /// # Errors
    /// As [`Dynamo::start`].
    pub fn run(&mut self) -> Result<(), Error> {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", KEEPER, "keeper", "-port", &self.port.to_string()]).current_dir(folder()?);
        match &self.data {
            Some(data) => shell.arg("-dbPath").arg(data.path()),
            None => shell.arg("-inMemory"),
        };
        shell.stdout(Stdio::null()).stderr(Stdio::null());
        self.keeper = Some(Keeper::start(shell)?);
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            if began.elapsed() > READY {
                return Err(Error::other("DynamoDB Local does not listen; is there a Java?"));
            }
            thread::yield_now();
        }
        Ok(())
    }

    /// Kills the server in the middle of anything; it is gone when this returns.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> Result<(), Error> {
        self.keeper.take().map(drop).ok_or_else(|| Error::other("it does not run"))
    }

    /// The port on which it listens.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// A table of it, by way of a port of this machine: its own, or one of a proxy before it.
    #[must_use]
    pub fn url_by(&self, port: u16, table: &str) -> String {
        format!("dynamodb://key:secret@{table}?region=us-east-1&endpoint=http://127.0.0.1:{port}")
    }

    /// A table of it.
    #[must_use]
    pub fn url(&self, table: &str) -> String {
        self.url_by(self.port, table)
    }
}

/// The folder with the program: named, or beside the program that runs, in the folder that cargo builds in.
fn folder() -> Result<PathBuf, Error> {
    let is_there = |folder: &PathBuf| folder.join("DynamoDBLocal.jar").exists();
    if let Some(named) = env::var_os(PROGRAM_VARIABLE) {
        return Some(PathBuf::from(named)).filter(is_there).ok_or_else(|| Error::other(ADVICE));
    }
    let program = env::current_exe()?;
    let found = program.ancestors().map(|folder: &Path| folder.join(PROGRAM)).find(is_there);
    found.ok_or_else(|| Error::other(ADVICE))
}

//! A DynamoDB of a test's own: the one that AWS gives out for such ends.

use std::env;
use std::io::Error;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::keeper::Keeper;
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
java -Xmx512m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Djava.library.path=DynamoDBLocal_lib -jar DynamoDBLocal.jar -inMemory -sharedDb -port "$1" \
  </dev/null >/dev/null 2>&1 &
read -r word
kill -9 $!
"#;

/// A running DynamoDB, which keeps what it is told in memory.
#[derive(Debug)]
pub struct Dynamo {
    port: u16,
    /// Held: its end is the end of the server.
    _keeper: Keeper,
}

impl Dynamo {
    /// Starts a server without tables.
    ///
    /// # Errors
    /// When its program is not there, or does not listen.
    pub fn start() -> Result<Self, Error> {
        let folder = folder()?;
        let port = free_port()?;
        let mut keeper = Command::new("/bin/sh");
        keeper.args(["-c", KEEPER, "keeper", &port.to_string()]).current_dir(folder);
        keeper.stdout(Stdio::null()).stderr(Stdio::null());
        let server = Self { port, _keeper: Keeper::start(keeper)? };
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if began.elapsed() > READY {
                return Err(Error::other("DynamoDB Local does not listen; is there a Java?"));
            }
            thread::yield_now();
        }
        Ok(server)
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

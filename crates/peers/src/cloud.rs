//! Servers of SQS and SNS of a test's own: two that others wrote, which speak as AWS does.

use std::env;
use std::io::Error;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::keeper::Keeper;
use crate::postgres::free_port;

const ADVICE: &str = "a server of SQS and SNS is needed: `cargo xtask test` fetches it into target/tools";

/// How long it may take to listen, on a machine that is busy.
const READY: Duration = Duration::from_mins(1);

/// What the keeper runs: the server, until nobody is there any more, however that came about.
const KEEPER: &str = r#"
"$@" </dev/null >/dev/null 2>&1 &
read -r word
kill -9 $!
"#;

/// A running server, which keeps what it is told in memory.
#[derive(Debug)]
pub struct Cloud {
    port: u16,
    /// Held: its end is the end of the server.
    _keeper: Keeper,
}

impl Cloud {
    /// Ministack, in Python.
    ///
    /// # Errors
    /// When its program is not there, or does not listen.
    pub fn ministack() -> Result<Self, Error> {
        let port = free_port()?;
        let mut keeper = shell(&tool("ministack/bin/ministack")?);
        keeper.env("GATEWAY_PORT", port.to_string());
        Self::start(port, keeper)
    }

    /// Fauxqs, in TypeScript.
    ///
    /// # Errors
    /// When its program is not there, or does not listen.
    pub fn fauxqs() -> Result<Self, Error> {
        let port = free_port()?;
        let mut keeper = shell(&tool("fauxqs/node_modules/.bin/fauxqs")?);
        keeper.env("FAUXQS_PORT", port.to_string()).env("FAUXQS_HOST", "127.0.0.1");
        Self::start(port, keeper)
    }

    fn start(port: u16, mut keeper: Command) -> Result<Self, Error> {
        keeper.stdout(Stdio::null()).stderr(Stdio::null());
        let server = Self { port, _keeper: Keeper::start(keeper)? };
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if began.elapsed() > READY {
                return Err(Error::other("the server of SQS and SNS does not listen"));
            }
            thread::yield_now();
        }
        Ok(server)
    }

    /// Where it is asked.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

fn shell(program: &Path) -> Command {
    let mut keeper = Command::new("/bin/sh");
    keeper.args(["-c", KEEPER, "keeper"]).arg(program);
    keeper
}

/// What `cargo xtask test` put into the folder that cargo builds in.
fn tool(path: &str) -> Result<PathBuf, Error> {
    let program = env::current_exe()?;
    let mut found = program.ancestors().map(|folder| folder.join("tools").join(path));
    found.find(|program| program.exists()).ok_or_else(|| Error::other(ADVICE))
}

//! A Redis, or what speaks like it, of a test's own: one server, or a Cluster.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Error, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;

use tempfile::TempDir;

use crate::keeper::{self, Running};
use crate::postgres::free_port;

/// Names the program of the server to use, for tests on one version and another.
const PROGRAM_VARIABLE: &str = "TOLLGATE_REDIS_PROGRAM";

/// Where the program is.
const PROGRAMS: [&str; 2] = ["/usr/bin/redis-server", "/usr/local/bin/redis-server"];

const ADVICE: &str =
    "Redis is needed: `cargo xtask test` installs it, or on Debian `apt-get install redis-server`";

/// Slots of a Cluster.
const SLOTS: u16 = 16_384;

/// A running server.
#[derive(Debug)]
pub struct Redis {
    program: PathBuf,
    settings: Vec<String>,
    port: u16,
    /// Ends before its folder does.
    running: Option<Running>,
    folder: TempDir,
}

impl Redis {
    /// Starts a server with these settings, such as `--appendonly yes`.
    ///
    /// # Errors
    /// When its program is not there, or it does not start.
    pub fn start(settings: &[&str]) -> Result<Self, Error> {
        let named = env::var_os(PROGRAM_VARIABLE).map(PathBuf::from);
        let known = PROGRAMS.map(PathBuf::from).into_iter().find(|program| program.exists());
        let program = named.or(known).ok_or_else(|| Error::other(ADVICE))?;
        Self::start_program(&program, settings)
    }

    /// Starts a server of this program.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_program(program: &Path, settings: &[&str]) -> Result<Self, Error> {
        let folder = keeper::folder("tollgate-redis-")?;
        let settings = settings.iter().flat_map(|setting| setting.split(' ')).map(str::to_owned).collect();
        let mut server =
            Self { program: program.to_owned(), settings, port: free_port()?, running: None, folder };
        server.run()?;
        Ok(server)
    }

    /// Starts it again after it was killed, with what its disk has.
    ///
    /// # Errors
    /// When it does not start.
    pub fn run(&mut self) -> Result<(), Error> {
        let (port, folder) = (self.port.to_string(), self.folder.path().to_string_lossy());
        let own =
            ["--port", &port, "--bind", "127.0.0.1", "--daemonize", "no", "--save", "", "--dir", &folder];
        let arguments = own.into_iter().chain(self.settings.iter().map(String::as_str));
        let (running, mut lines) = Running::start(self.folder.path(), &self.program, arguments)?;
        let mut said = Vec::new();
        for line in lines.by_ref() {
            let line = line?;
            if line.contains("Ready to accept connections") {
                // It goes on telling; nobody listens, and it must not wait for that.
                thread::spawn(move || lines.for_each(drop));
                self.running = Some(running);
                return Ok(());
            }
            said.push(line);
        }
        Err(Error::other(format!("Redis does not start: {}", said.join("; "))))
    }

    /// Kills the server in the middle of anything.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> Result<(), Error> {
        self.running.take().ok_or_else(|| Error::other("it does not run"))?.kill()
    }

    /// Kills the server and takes away what its disk has.
    ///
    /// # Errors
    /// When it does not run.
    pub fn lose(&mut self) -> Result<(), Error> {
        self.kill()?;
        for found in fs::read_dir(self.folder.path())? {
            let path = found?.path();
            if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
        }
        Ok(())
    }

    /// The port on which it listens.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Where it is, by way of a port of this machine: its own, or one of a proxy before it.
    #[must_use]
    pub fn url_by(&self, port: u16) -> String {
        format!("redis://127.0.0.1:{port}")
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_by(self.port)
    }

    /// What a command answers: of several parts each on a line.
    ///
    /// # Errors
    /// When it fails.
    pub fn ask(&self, command: &[&str]) -> Result<String, Error> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        write!(stream, "*{}\r\n", command.len())?;
        for part in command {
            write!(stream, "${}\r\n{part}\r\n", part.len())?;
        }
        let mut lines = Vec::new();
        answer(&mut BufReader::new(stream), &mut lines)?;
        Ok(lines.join("\n"))
    }
}

/// Reads an answer, and those in it.
fn answer(from: &mut impl BufRead, lines: &mut Vec<String>) -> Result<(), Error> {
    let mut head = String::new();
    from.read_line(&mut head)?;
    let head = head.trim_end();
    let (kind, rest) = head.split_at_checked(1).ok_or_else(|| Error::other("no answer"))?;
    let count = rest.parse::<usize>().unwrap_or_default();
    match kind {
        "-" => return Err(Error::other(rest.to_owned())),
        "$" if rest != "-1" => {
            let mut text = vec![0; count + 2];
            from.read_exact(&mut text)?;
            text.truncate(count);
            lines.push(String::from_utf8_lossy(&text).into_owned());
        }
        "*" => (0..count).try_for_each(|_| answer(from, lines))?,
        _ => lines.push(rest.to_owned()),
    }
    Ok(())
}

/// A Cluster of three primaries.
#[derive(Debug)]
pub struct RedisCluster {
    servers: Vec<Redis>,
}

impl RedisCluster {
    /// Starts one with these settings.
    ///
    /// # Errors
    /// When a server does not start, or they do not come together.
    pub fn start(settings: &[&str]) -> Result<Self, Error> {
        let mut servers = Vec::new();
        for _ in 0..3 {
            let bus = format!("--cluster-port {}", free_port()?);
            let own = ["--cluster-enabled yes", "--cluster-node-timeout 2000", bus.as_str()];
            servers.push((Redis::start(&[&own, settings].concat())?, bus));
        }
        let ports: Vec<(String, String)> = servers
            .iter()
            .map(|(server, bus)| (server.port.to_string(), bus.replace("--cluster-port ", "")))
            .collect();
        let mut from = 0;
        for (place, (server, _)) in (1_u16..).zip(&servers) {
            let until = SLOTS / 3 * place + if place == 3 { SLOTS % 3 } else { 0 };
            server.ask(&["CLUSTER", "ADDSLOTSRANGE", &from.to_string(), &(until - 1).to_string()])?;
            server.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &place.to_string()])?;
            from = until;
        }
        for (server, _) in &servers {
            for (port, bus) in &ports {
                server.ask(&["CLUSTER", "MEET", "127.0.0.1", port, bus])?;
            }
        }
        let servers: Vec<Redis> = servers.into_iter().map(|(server, _)| server).collect();
        for server in &servers {
            while !server.ask(&["CLUSTER", "INFO"])?.contains("cluster_state:ok") {
                // For a while: nobody answers this.
                server.ask(&["WAIT", "1", "50"])?;
            }
        }
        Ok(Self { servers })
    }

    /// Where one of its servers is.
    #[must_use]
    pub fn url(&self) -> String {
        self.servers.first().map(Redis::url).unwrap_or_default()
    }
}

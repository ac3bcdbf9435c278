//! A PostgreSQL of a test's own.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Error};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::keeper::{self, Keeper};

/// Names a folder with the programs of the PostgreSQL to use, for tests on one version and another.
const PROGRAMS_VARIABLE: &str = "TOLLGATE_POSTGRES_PROGRAMS";

/// Where Debian keeps the programs of each version.
const VERSIONS: &str = "/usr/lib/postgresql";

/// Where `cargo xtask test` puts what Debian has not, behind the folder that cargo builds in.
const TOOLS: &str = "tools/postgres-";
const TOOLS_FOLDER: &str = "package/native";

const ADVICE: &str =
    "PostgreSQL is needed: `cargo xtask test` installs it, or on Debian `apt-get install postgresql`";

/// What the keeper runs: it starts the server whenever it is told to, and when nobody is there to tell it any more it stops
/// the server and removes its folder: a server of all tests of a program is dropped by nobody. After a kill the processes of the server before may be on their way out.
const KEEPER: &str = r#"
while read -r word; do
  tries=0
  until "$1/pg_ctl" -D "$2" -l "$2/../log" -o "$3" -w -t 60 start >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ $tries -ge 200 ]; then echo failed; tail -n 20 "$2/../log"; exit 1; fi
  done
  echo ready
done
"$1/pg_ctl" -D "$2" -m immediate stop >/dev/null 2>&1
cd /
rm -rf "${2%/data}"
"#;

/// A running PostgreSQL.
#[derive(Debug)]
pub struct Postgres {
    port: u16,
    /// Its end is the end of the server, before that of the folder.
    keeper: Keeper,
    news: BufReader<ChildStdout>,
    folder: TempDir,
}

impl Postgres {
    /// Starts a server with an empty database and these settings, such as `fsync=off`.
    ///
    /// # Errors
    /// When its programs are not there, or do not do what they should.
    pub fn start(settings: &[&str]) -> Result<Self, Error> {
        let folder = keeper::folder("tollgate-postgres-")?;
        Self::start_in(folder, &programs()?, settings)
    }

    /// The same of another version: 14, 16, 17 or 18.
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub fn start_version(version: u32, settings: &[&str]) -> Result<Self, Error> {
        let folder = keeper::folder("tollgate-postgres-")?;
        // Who may run them may not get to where they are.
        let programs = folder.path().join("programs");
        done(Command::new("cp").arg("-r").arg(tools(version)?).arg(&programs))?;
        if let Some((user, group)) = user()? {
            // Whoever runs them removes them.
            done(Command::new("chown").arg("-R").arg(format!("{user}:{group}")).arg(&programs))?;
        }
        Self::start_in(folder, &programs.join("bin"), settings)
    }

    fn start_in(folder: TempDir, programs: &Path, settings: &[&str]) -> Result<Self, Error> {
        let data = folder.path().join("data");
        let mut initdb = command(&programs.join("initdb"), folder.path())?;
        initdb.args([
            "--auth=trust",
            "--username=postgres",
            "--no-sync",
            "--locale=C",
            "--encoding=UTF8",
            "-D",
        ]);
        done(initdb.arg(&data))?;
        let port = free_port()?;
        let mut options = format!("-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=");
        settings.iter().for_each(|setting| options.push_str(&format!(" -c {setting}")));
        let mut keeper = command(Path::new("/bin/sh"), folder.path())?;
        keeper.args(["-c", KEEPER, "keeper"]).arg(programs).arg(&data).arg(options);
        keeper.stdout(Stdio::piped());
        let mut keeper = Keeper::start(keeper)?;
        let news = keeper.news()?;
        let mut server = Self { port, keeper, news, folder };
        server.run()?;
        Ok(server)
    }

    /// Starts it again after it was killed; it recovers first.
    ///
    /// # Errors
    /// When it does not start.
    pub fn run(&mut self) -> Result<(), Error> {
        self.keeper.tell("start")?;
        let mut line = String::new();
        self.news.read_line(&mut line)?;
        if line.trim() == "ready" {
            return Ok(());
        }
        while self.news.read_line(&mut line)? > 0 {}
        Err(Error::other(format!("the server does not start: {line}")))
    }

    /// Kills the server in the middle of anything.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&self) -> Result<(), Error> {
        let text = fs::read_to_string(self.folder.path().join("data/postmaster.pid"))?;
        let number = text.lines().next().and_then(|line| line.trim().parse().ok());
        let pid = number.and_then(Pid::from_raw).ok_or_else(|| Error::other("it does not run"))?;
        Ok(kill_process(pid, Signal::KILL)?)
    }

    /// What a statement answers, as `psql` prints it: columns by bars, a row a line.
    ///
    /// # Errors
    /// When it fails.
    pub fn query(&self, statement: &str) -> Result<String, Error> {
        let mut psql = Command::new(programs()?.join("psql"));
        psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-c", statement, &self.url()]);
        let ran = psql.output()?;
        if !ran.status.success() {
            return Err(Error::other(String::from_utf8_lossy(&ran.stderr).into_owned()));
        }
        Ok(String::from_utf8_lossy(&ran.stdout).trim_end().to_owned())
    }

    /// The port on which it listens.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Where it is, to whoever may do everything, by way of a port of this machine: its own, or one of a proxy before it.
    #[must_use]
    pub fn url_by(&self, port: u16) -> String {
        format!("postgres://postgres@127.0.0.1:{port}/postgres")
    }

    /// Where it is, to whoever may do everything.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_by(self.port)
    }
}

/// A port that nobody uses.
pub(crate) fn free_port() -> Result<u16, Error> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// The folder with all of a version that Debian has not.
fn tools(version: u32) -> Result<PathBuf, Error> {
    let program = env::current_exe()?;
    let mut found =
        program.ancestors().map(|folder| folder.join(format!("{TOOLS}{version}")).join(TOOLS_FOLDER));
    let missing = || {
        Error::other(format!(
            "PostgreSQL {version} is needed: `cargo xtask test` fetches it into target/tools"
        ))
    };
    found.find(|folder| folder.join("bin/initdb").exists()).ok_or_else(missing)
}

/// The folder with the programs of the newest version that the system has.
fn programs() -> Result<PathBuf, Error> {
    if let Some(named) = env::var_os(PROGRAMS_VARIABLE) {
        return Ok(PathBuf::from(named));
    }
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(VERSIONS)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|found| Some((found.file_name().to_str()?.parse().ok()?, found.path().join("bin"))))
        .collect();
    versions.sort();
    let path = env::var_os("PATH").unwrap_or_default();
    let known = versions.into_iter().rev().map(|(_, path)| path).chain(env::split_paths(&path));
    known.into_iter().find(|folder| folder.join("initdb").exists()).ok_or_else(|| Error::other(ADVICE))
}

/// A command that runs as a user PostgreSQL accepts, which is not root, in a folder which that user can use.
pub(crate) fn command(program: &Path, folder: &Path) -> Result<Command, Error> {
    let mut command = Command::new(program);
    command.current_dir(folder);
    if let Some((user, group)) = user()? {
        chown(folder, Some(user), Some(group))?;
        command.uid(user).gid(group);
    }
    Ok(command)
}

/// Runs a command to its end; what it complained of is the error.
fn done(command: &mut Command) -> Result<(), Error> {
    let ran = command.output()?;
    if ran.status.success() {
        return Ok(());
    }
    let program = command.get_program().to_string_lossy();
    Err(Error::other(format!("{program}: {}", String::from_utf8_lossy(&ran.stderr))))
}

/// The user and group to run PostgreSQL as, for root; anybody else runs it as what they are.
fn user() -> Result<Option<(u32, u32)>, Error> {
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    let line = users.lines().find(|line| line.starts_with("postgres:"));
    let missing = || Error::other("root needs a user `postgres` to run PostgreSQL");
    let mut fields = line.ok_or_else(missing)?.split(':').skip(2);
    let mut number = || fields.next().and_then(|field| field.parse().ok()).ok_or_else(missing);
    Ok(Some((number()?, number()?)))
}

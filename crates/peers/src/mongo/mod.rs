//! A MongoDB of a test's own: a replica set of one member or three, which can be killed.

mod message;

use std::env;
use std::fs;
use std::io::Error;
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub use self::message::{Bson, ask, message};
use self::message::{behind, holds};
use crate::keeper::{self, Running};
use crate::postgres::free_port;

/// Names the program of the server to use.
const PROGRAM_VARIABLE: &str = "TOLLGATE_MONGOD";

/// Where `cargo xtask test` puts it, behind the folder that cargo builds in; the name of Python's version lies between.
const TOOLS: &str = "tools/mongod/lib";
const PROGRAM: &str = "site-packages/fiftyone/db/bin/mongod";

const ADVICE: &str = "MongoDB is needed: `cargo xtask test` fetches it into target/tools";

/// The name of the replica set.
pub const SET: &str = "rs0";

/// How long it may take to have a primary, on a machine that is busy.
const READY: Duration = Duration::from_mins(1);

/// How long the members wait for a primary that is gone.
const ELECTION_MILLIS: i32 = 2_000;

/// A running replica set.
#[derive(Debug)]
pub struct Mongo {
    program: PathBuf,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    port: u16,
    /// Ends before its folder does.
    running: Option<Running>,
    folder: TempDir,
}

impl Mongo {
    /// Starts a replica set of so many members; it has a primary when this returns.
    ///
    /// # Errors
    /// When its program is not there, or has no primary in time.
    pub fn start(members: usize) -> Result<Self, Error> {
        let program = program()?;
        let member = |_| {
            let folder = keeper::folder("tollgate-mongo-")?;
            Ok(Member { port: free_port()?, running: None, folder })
        };
        let members = (0..members).map(member).collect::<Result<Vec<_>, Error>>()?;
        let mut set = Self { program, members };
        for place in 0..set.members.len() {
            set.run(place)?;
        }
        set.initiate()?;
        set.primary()?;
        Ok(set)
    }

    /// Starts a member, also one that was killed, with what its disk has.
    ///
    /// # Errors
    /// When it does not start.
    pub fn run(&mut self, place: usize) -> Result<(), Error> {
        let member = self.members.get_mut(place).ok_or_else(|| Error::other("no such member"))?;
        let (port, folder) = (member.port.to_string(), member.folder.path());
        let (data, log) = (folder.to_string_lossy(), folder.join("log").to_string_lossy().into_owned());
        let own = [
            ["--replSet", SET],
            ["--bind_ip", "127.0.0.1"],
            ["--port", &port],
            ["--dbpath", &data],
            ["--logpath", &log],
            ["--oplogSize", "64"],
            ["--wiredTigerCacheSizeGB", "0.25"],
            // Who reads linearizably waits for the next sync of the journal.
            ["--journalCommitInterval", "1"],
        ];
        let arguments = own.into_iter().flatten().chain(["--nounixsocket", "--logappend"]);
        let (running, _) = Running::start(folder, &self.program, arguments)?;
        member.running = Some(running);
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, member.port)).is_err() {
            if began.elapsed() > READY {
                return Err(Error::other(
                    "mongod does not listen; is libcurl there (`apt-get install libcurl4`)?",
                ));
            }
            thread::yield_now();
        }
        Ok(())
    }

    /// Kills a member in the middle of anything.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self, place: usize) -> Result<(), Error> {
        let running = self.members.get_mut(place).and_then(|member| member.running.take());
        running.ok_or_else(|| Error::other("it does not run"))?.kill()
    }

    /// Which member is the primary, waited for.
    ///
    /// # Errors
    /// When there is none in time.
    pub fn primary(&self) -> Result<usize, Error> {
        let began = Instant::now();
        while began.elapsed() < READY {
            for (place, member) in
                self.members.iter().enumerate().filter(|(_, member)| member.running.is_some())
            {
                if is_primary(member.port) {
                    return Ok(place);
                }
            }
            thread::yield_now();
        }
        Err(Error::other("the replica set has no primary"))
    }

    /// The port on which the first member listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.members.first().map_or(0, |member| member.port)
    }

    /// A database of it, by way of a port of this machine that leads to one member: its own, or one of a proxy before it.
    #[must_use]
    pub fn url_by(&self, port: u16, database: &str) -> String {
        format!(
            "mongodb://127.0.0.1:{port}/{database}?directConnection=true&serverMonitoringMode=poll&heartbeatFrequencyMS=60000"
        )
    }

    /// A database of it.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let hosts: Vec<String> =
            self.members.iter().map(|member| format!("127.0.0.1:{}", member.port)).collect();
        format!("mongodb://{}/{database}?replicaSet={SET}", hosts.join(","))
    }

    /// How often a collection, named with its database before a dot, was read so far, as the first member counts it.
    ///
    /// # Errors
    /// When it does not say.
    pub fn reads(&self, collection: &str) -> Result<u64, Error> {
        let answer = ask(self.port(), "admin", Bson::default().int("top", 1))?;
        let of_it = behind(&answer, &[b"\x03", collection.as_bytes(), b"\0"].concat());
        let queries = of_it.and_then(|of_it| behind(of_it, b"\x03queries\0"));
        let count = queries.and_then(|queries| number(queries, "count"));
        let uncounted = || Error::other(format!("reads of {collection} are not counted"));
        count.ok_or_else(uncounted)
    }

    /// Tells the members of each other.
    fn initiate(&self) -> Result<(), Error> {
        let ports: Vec<u16> = self.members.iter().map(|member| member.port).collect();
        initiate(&ports)
    }
}

/// Tells the members of a replica set, each by its port of this machine, of each other.
///
/// # Errors
/// When the first does not take it.
pub fn initiate(ports: &[u16]) -> Result<(), Error> {
    let members = (0..).zip(ports).fold(Bson::default(), |members, (number, port)| {
        let host = format!("127.0.0.1:{port}");
        members.document(&number.to_string(), Bson::default().int("_id", number).text("host", &host))
    });
    let settings = Bson::default().int("electionTimeoutMillis", ELECTION_MILLIS);
    let set = Bson::default().text("_id", SET).array("members", members).document("settings", settings);
    let first = ports.first().copied().unwrap_or_default();
    ask(first, "admin", Bson::default().document("replSetInitiate", set)).map(drop)
}

/// Whether a member is the primary; one that is not ready answers nothing.
#[must_use]
pub fn is_primary(port: u16) -> bool {
    let hello = Bson::default().int("hello", 1);
    ask(port, "admin", hello).is_ok_and(|answer| holds(&answer, b"\x08isWritablePrimary\0\x01"))
}

/// The program: named, or beside the program that runs, in the folder that cargo builds in.
///
/// # Errors
/// When it is in neither place.
pub fn program() -> Result<PathBuf, Error> {
    let is_there = |program: &PathBuf| program.is_file();
    if let Some(named) = env::var_os(PROGRAM_VARIABLE) {
        return Some(PathBuf::from(named)).filter(is_there).ok_or_else(|| Error::other(ADVICE));
    }
    let program = env::current_exe()?;
    let pythons = program.ancestors().filter_map(|folder| fs::read_dir(folder.join(TOOLS)).ok());
    let found = pythons.flatten().flatten().map(|python| python.path().join(PROGRAM)).find(is_there);
    found.ok_or_else(|| Error::other(ADVICE))
}

/// The next number with a name, which small ones have in fewer bytes.
fn number(document: &[u8], name: &str) -> Option<u64> {
    let place = behind(document, &[name.as_bytes(), b"\0"].concat())?;
    let kind = document.get(document.len() - place.len() - name.len() - 2)?;
    match kind {
        0x10 => place.first_chunk().map(|bytes| u64::from(u32::from_le_bytes(*bytes))),
        0x12 => place.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)),
        _ => None,
    }
}

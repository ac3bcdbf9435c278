//! The systems under load, each its own fresh process with its own folder on the same disk.
//!
//! Fairness, for every system alike: one instance at a time runs, started fresh for each round on an empty folder, so that
//! no one's background work falls into another's time; loopback TCP, no TLS, no credentials; durable before the answer;
//! the same orgs with the same allowance, top-up and per-user limit, all too large to run out, so that every rule is
//! evaluated and every answer is a yes.

mod dynamo;
mod mongo;
mod postgres;
mod redis;
mod store;
mod tollgate;

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use jiff::{Timestamp, Unit};
use rustix::process::{Pid, Signal};

use crate::Result;
use crate::args::Options;
use crate::client::{Crew, Next};
use crate::load::{Keys, Spread, Template};
use crate::machine;
use crate::pace::Pace;
use crate::stats::{Cpu, Tally};
use crate::wire::Wire;

/// How long a server may take until it answers.
const START_MAX: Duration = Duration::from_secs(60);
/// How long a server may take to end after it was asked to.
const STOP_MAX: Duration = Duration::from_secs(60);

/// A system that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Tollgate,
    Redis,
    Postgres,
    Dynamo,
    Mongo,
}

impl Kind {
    pub(crate) fn parse(name: &str) -> Result<Self> {
        match name {
            "tollgate" => Ok(Self::Tollgate),
            "redis" => Ok(Self::Redis),
            "postgres" => Ok(Self::Postgres),
            _ => Err(format!("no such system: {name}").into()),
        }
    }

    /// What is started, and its version.
    pub(crate) fn version(self, options: &Options) -> Result<String> {
        Ok(machine::version(&match self {
            Self::Tollgate => options.server.clone(),
            Self::Redis => PathBuf::from("redis-server"),
            Self::Postgres => postgres::program("postgres")?,
            Self::Dynamo => return Ok("DynamoDB Local, in memory".to_owned()),
            Self::Mongo => tollgate_peers::mongo::program()?,
        }))
    }
}

/// What is asked of a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ask {
    /// May this be used? One usage a request.
    Gate,
    /// Keep these usages, so many a request, each key once.
    Keep(usize),
    /// The same, and count them for org and user; Tollgate does so in any case.
    Count(usize),
    /// The same, and by a property besides.
    CountGroups(usize),
}

impl Ask {
    /// How the tables call a system that does this.
    pub(crate) const fn name_of(self, kind: Kind) -> &'static str {
        match (kind, self) {
            (Kind::Tollgate, _) => "Tollgate",
            (Kind::Redis, _) => "Redis, Lua, `appendfsync always`",
            (Kind::Postgres, Self::Gate) => "PostgreSQL, function, `synchronous_commit on`",
            (Kind::Dynamo, _) => "DynamoDB Local, conditional update",
            (Kind::Mongo, _) => "MongoDB, conditional update, majority and journaled",
            (Kind::Postgres, Self::Keep(_)) => "PostgreSQL, rows",
            (Kind::Postgres, Self::Count(_) | Self::CountGroups(_)) => "PostgreSQL, rows and counters",
        }
    }

    const fn wire(self, kind: Kind) -> Wire {
        match (kind, self) {
            (Kind::Tollgate, Self::Gate) => Wire::HttpGate,
            (Kind::Tollgate, Self::Keep(usages) | Self::Count(usages) | Self::CountGroups(usages)) => {
                Wire::HttpBatch(usages)
            }
            (Kind::Redis, _) => Wire::RedisGate,
            (Kind::Dynamo, _) => Wire::HttpSetup,
            (Kind::Mongo, _) => Wire::MongoUpdate,
            (Kind::Postgres, Self::Gate | Self::Count(_) | Self::CountGroups(_)) => Wire::PostgresGate,
            (Kind::Postgres, Self::Keep(usages)) => Wire::PostgresInsert(usages),
        }
    }
}

/// A running system with the orgs of the benchmark in it.
#[derive(Debug)]
pub(crate) struct System {
    kind: Kind,
    ask: Ask,
    daemon: Daemon,
    /// The databases that it keeps its data in.
    beneath: Vec<Daemon>,
    template: Template,
    folder: PathBuf,
}

impl System {
    /// Starts the system on an empty folder under `folder`, and makes orgs `0..orgs`.
    pub(crate) fn start(kind: Kind, ask: Ask, options: &Options, folder: &Path, orgs: u32) -> Result<Self> {
        fs::create_dir(folder)?;
        let (daemon, template) = match kind {
            Kind::Tollgate => {
                let catalog = matches!(ask, Ask::CountGroups(_)).then_some(tollgate::CATALOG_OF_GROUPS);
                let daemon = tollgate::start(&options.server, folder, catalog)?;
                tollgate::make_orgs(daemon.address, orgs, true)?;
                (daemon, tollgate::template(ask)?)
            }
            Kind::Postgres if matches!(ask, Ask::CountGroups(_)) => {
                return Err("PostgreSQL keeps no properties here".into());
            }
            Kind::Redis if ask == Ask::Gate => {
                let daemon = redis::start(folder)?;
                let template = redis::prepare(daemon.address, orgs)?;
                (daemon, template)
            }
            Kind::Redis => return Err("Redis is asked at the gate only".into()),
            Kind::Dynamo | Kind::Mongo if ask != Ask::Gate => {
                return Err(format!("{kind:?} is asked at the gate only").into());
            }
            Kind::Dynamo => {
                let daemon = dynamo::start(options, folder)?;
                let template = dynamo::prepare(daemon.address, orgs)?;
                (daemon, template)
            }
            Kind::Mongo => {
                let daemon = mongo::start(folder)?;
                let template = mongo::prepare(daemon.address, orgs)?;
                (daemon, template)
            }
            Kind::Postgres => {
                let mut daemon = postgres::start(folder)?;
                // An immediate shutdown: its children end with it and its shared memory is given back.
                daemon.last_word = Signal::QUIT;
                postgres::prepare(daemon.address, orgs)?;
                (daemon, postgres::template(ask)?)
            }
        };
        Ok(Self { kind, ask, daemon, beneath: Vec::new(), template, folder: folder.to_owned() })
    }

    /// Starts Tollgate on a store, whose servers are started before it, and makes orgs `0..orgs`.
    pub(crate) fn start_on(store: StoreKind, options: &Options, folder: &Path, orgs: u32) -> Result<Self> {
        fs::create_dir(folder)?;
        let (beneath, url) = store.start(options, folder)?;
        let own = folder.join("tollgate");
        fs::create_dir(&own)?;
        let daemon = tollgate::start_on(&options.server, &own, &url, None)?;
        tollgate::make_orgs(daemon.address, orgs, true)?;
        let (kind, ask) = (Kind::Tollgate, Ask::Gate);
        Ok(Self { kind, ask, daemon, beneath, template: tollgate::template(ask)?, folder: own })
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Opens connections that a run can use.
    pub(crate) fn connect(&self, connections: usize) -> Result<Crew> {
        let wire = self.ask.wire(self.kind);
        Crew::connect(self.daemon.address, wire, connections, |stream| match self.kind {
            Kind::Postgres => postgres::greet(stream, self.ask),
            Kind::Tollgate | Kind::Redis | Kind::Dynamo | Kind::Mongo => Ok(()),
        })
    }

    /// One run of so many requests, or until the pace ends it, with the CPU it took on both sides.
    pub(crate) fn run(
        &self,
        crew: &mut Crew,
        keys: &mut Keys,
        spread: Spread,
        requests: Option<u64>,
        pace: Pace,
    ) -> Result<(Tally, Cpu)> {
        let streams = crew.usages(keys, &self.template, spread, requests)?;
        measured(&self.daemon, &self.beneath.iter().collect::<Vec<_>>(), crew, streams, pace)
    }

    /// Resident memory of the system's own process now and at its highest, in MiB.
    pub(crate) fn resident_mib(&self) -> Result<(f64, f64)> {
        machine::resident_mib(self.daemon.pid())
    }

    /// What Tollgate has done in the background so far; nothing is known of the others.
    pub(crate) fn background(&self) -> Result<Background> {
        match self.kind {
            Kind::Tollgate => tollgate::background(self.daemon.address, &self.folder),
            Kind::Redis | Kind::Postgres | Kind::Dynamo | Kind::Mongo => Ok(Background::default()),
        }
    }

    /// What the system itself says an org has used.
    pub(crate) fn used(&self, org: u32) -> Result<u64> {
        match self.kind {
            Kind::Tollgate => tollgate::used(self.daemon.address, org),
            Kind::Redis => redis::used(self.daemon.address, org),
            Kind::Postgres => postgres::used(self.daemon.address, org, self.ask),
            Kind::Dynamo => dynamo::used(self.daemon.address, org),
            Kind::Mongo => mongo::used(self.daemon.address, org),
        }
    }
}

/// Runs the streams and measures the CPU of both sides meanwhile; that of the other servers, such as databases, counts as the server's.
pub(crate) fn measured(
    daemon: &Daemon,
    besides: &[&Daemon],
    crew: &mut Crew,
    streams: Vec<Next<'_>>,
    pace: Pace,
) -> Result<(Tally, Cpu)> {
    let now = || -> Result<[Duration; 3]> {
        let mut server = daemon.cpu()?;
        for daemon in besides {
            server += daemon.cpu()?;
        }
        Ok([server, machine::own_cpu()?, machine::cpu_of_all()?])
    };
    let before = now()?;
    let tally = crew.run(streams, pace).map_err(|error| daemon.blame(&error.to_string()))?;
    let after = now()?;
    let [server, client, all] = std::array::from_fn(|at| {
        let of = |cpu: &[Duration; 3]| cpu.get(at).copied().unwrap_or_default();
        of(&after).saturating_sub(of(&before))
    });
    let others = all.saturating_sub(server + client);
    Ok((tally, Cpu { server, client, others }))
}

pub(crate) use store::StoreKind;
pub(crate) use tollgate::{
    Background, METER, Work, call as tollgate_asked, last_entry, make_orgs, start as start_tollgate,
    start_on as start_tollgate_on, template as tollgate_template, used as tollgate_used,
};

/// A server process that ends with this value, whatever happens.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
    /// What ends it when nobody waits for an orderly stop.
    last_word: Signal,
    pub(crate) address: SocketAddr,
}

impl Daemon {
    /// Starts `command`, which listens on `address`, with its output in a file; `is_ready` is asked until it says yes.
    pub(crate) fn start(
        mut command: Command,
        log: PathBuf,
        address: SocketAddr,
        is_ready: impl Fn(SocketAddr) -> bool,
    ) -> Result<Self> {
        let output = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command
            .spawn()
            .map_err(|error| format!("{} does not start: {error}", command.get_program().display()))?;
        let mut daemon = Self { child, log, last_word: Signal::KILL, address };
        let deadline = Instant::now() + START_MAX;
        while !is_ready(address) {
            if let Some(status) = daemon.child.try_wait()? {
                return Err(daemon.blame(&format!("the server ended at once: {status}")).into());
            }
            if Instant::now() > deadline {
                return Err(daemon.blame("the server does not become ready").into());
            }
            breathe();
        }
        Ok(daemon)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// CPU time used so far by the server and its children.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        machine::cpu_of_tree(self.pid())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid =
            i32::try_from(self.pid()).ok().and_then(Pid::from_raw).ok_or("the server has no process id")?;
        rustix::process::kill_process(pid, signal)?;
        Ok(())
    }

    /// Asks the server to end, and waits until it has.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        let deadline = Instant::now() + STOP_MAX;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                return Err(self.blame("the server does not end on SIGTERM").into());
            }
            breathe();
        }
        Ok(())
    }

    /// Kills the server without warning.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// The message, with the end of what the server wrote.
    fn blame(&self, message: &str) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(12)..).unwrap_or_default();
        format!("{message}\n{}", tail.join("\n"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A child that was waited for has no process id to send a signal to: its number may be another's by now.
        let ended = matches!(self.child.try_wait(), Ok(Some(_)));
        if !ended && (self.signal(self.last_word).is_err() || self.child.wait().is_err()) {
            eprintln!("process {} may be left over", self.pid());
        }
    }
}

/// Waits a millisecond before a condition is asked again.
fn breathe() {
    std::thread::park_timeout(Duration::from_millis(1));
}

/// Times of usage: so many, of the second that begins now. They are after all that was set up, so that each usage has its
/// org's plan and top-up in force.
fn times_from_now(usages: usize) -> Result<Vec<Timestamp>> {
    #[expect(clippy::disallowed_methods, reason = "the server's clock is the system's here")]
    let now = Timestamp::now();
    let step = Duration::from_secs(1) / u32::try_from(usages)?.max(1);
    let times = (1..=usages).map(|index| Ok((now + step * u32::try_from(index)?).round(Unit::Millisecond)?));
    times.collect()
}

/// An address nobody listens on at the moment.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// A connection for one question and its answer.
fn open(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

//! One closed loop for every system: a few connections, prebuilt bytes out, whole answers in, latencies recorded.
//!
//! It shares the cores with the server it measures, so it is lean: one event loop a thread, no runtime, one `read` and one
//! `write` for each request and answer. It is the same code for HTTP, Redis and PostgreSQL, so what it costs is the same
//! for all of them, and its cost is printed beside the server's.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use crate::Result;
use crate::load::{Keys, Spread, Template};
use crate::stats::Tally;
use crate::wire::{Parsed, Verdict, Wire};

/// A server that answers nothing for so long has failed the run.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Requests of a paced run leave in steps of this length.
const TICK: Duration = Duration::from_micros(100);
/// Read buffer of a connection; it grows if one answer is longer.
const INBOX_BYTES: usize = 4096;
const TIMER: Token = Token(usize::MAX - 1);

/// Appends the next request; false when there is none.
pub(crate) type Next<'a> = Box<dyn FnMut(&mut Vec<u8>) -> bool + Send + 'a>;

/// How long and how fast a run goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// No request starts later; without it the run ends with its requests.
    pub(crate) lasts: Option<Duration>,
    /// Requests a second over all connections; without it each connection sends as soon as it has its answer.
    pub(crate) rate: Option<u64>,
    /// Requests in flight on each connection.
    pub(crate) depth: usize,
}

impl Pace {
    /// As fast as the answers come, for a time.
    pub(crate) fn closed(lasts: Duration) -> Self {
        Self { lasts: Some(lasts), rate: None, depth: 1 }
    }

    /// As fast as the answers come, until the requests run out.
    pub(crate) fn all(depth: usize) -> Self {
        Self { lasts: None, rate: None, depth }
    }
}

/// Connections spread over as many threads as the machine can spare for load.
#[derive(Debug)]
pub(crate) struct Crew(Vec<Fleet>);

impl Crew {
    /// Connects. `greet` speaks what a dialect needs first.
    pub(crate) fn connect(
        address: SocketAddr,
        wire: Wire,
        connections: usize,
        greet: impl Fn(&mut TcpStream) -> Result<()>,
    ) -> Result<Self> {
        // A quarter of the cores: on two cores one thread, which is enough to saturate any of the servers beside it.
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads = (cores / 4).clamp(1, connections);
        let fleets = (0..threads).map(|thread| {
            let share = connections / threads + usize::from(thread < connections % threads);
            Fleet::connect(address, wire, share, &greet)
        });
        Ok(Self(fleets.collect::<Result<_>>()?))
    }

    /// How many streams of requests a run takes.
    pub(crate) fn threads(&self) -> usize {
        self.0.len()
    }

    /// A stream of usages for each thread; `requests` in all, or without end.
    pub(crate) fn usages(
        &self,
        keys: &mut Keys,
        template: &Template,
        spread: Spread,
        requests: Option<u64>,
    ) -> Result<Vec<Next<'static>>> {
        let threads = u64::try_from(self.0.len())?;
        let streams = (0..threads).map(|thread| {
            let share = requests.map(|all| all / threads + u64::from(thread < all % threads));
            let mut stream = keys.stream(template, spread, share);
            let next: Next<'static> = Box::new(move |out| stream.next_into(out));
            next
        });
        Ok(streams.collect())
    }

    /// Runs one stream of requests on each thread.
    pub(crate) fn run<'a>(&mut self, streams: Vec<Next<'a>>, pace: Pace) -> Result<Tally> {
        let threads = u64::try_from(self.0.len())?.max(1);
        let pace = Pace { rate: pace.rate.map(|rate| rate / threads), ..pace };
        let tallies: Vec<Result<Tally>> = thread::scope(|scope| {
            let running: Vec<_> = (self.0.iter_mut().zip(streams))
                .map(|(fleet, stream)| scope.spawn(move || fleet.run(stream, pace)))
                .collect();
            let joined = running.into_iter().map(|thread| {
                thread.join().unwrap_or_else(|_| Err("a thread of the load generator panicked".into()))
            });
            joined.collect()
        });
        let mut sum = Tally::new()?;
        for tally in tallies {
            sum.merge(&tally?)?;
        }
        Ok(sum)
    }
}

#[derive(Debug)]
struct Connection {
    stream: mio::net::TcpStream,
    inbox: Vec<u8>,
    filled: usize,
    outbox: Vec<u8>,
    written: usize,
    /// When each unanswered request began, oldest first.
    started: VecDeque<Instant>,
    open: bool,
}

/// The connections of one thread.
#[derive(Debug)]
struct Fleet {
    poll: Poll,
    connections: Vec<Connection>,
    wire: Wire,
}

impl Fleet {
    fn connect(
        address: SocketAddr,
        wire: Wire,
        connections: usize,
        greet: &impl Fn(&mut TcpStream) -> Result<()>,
    ) -> Result<Self> {
        let poll = Poll::new()?;
        let mut fleet = Self { poll, connections: Vec::with_capacity(connections), wire };
        for index in 0..connections {
            let mut stream = TcpStream::connect(address)
                .map_err(|error| format!("connection {index} to {address}: {error}"))?;
            stream.set_nodelay(true)?;
            greet(&mut stream)?;
            stream.set_nonblocking(true)?;
            let mut stream = mio::net::TcpStream::from_std(stream);
            fleet.poll.registry().register(
                &mut stream,
                Token(index),
                Interest::READABLE | Interest::WRITABLE,
            )?;
            fleet.connections.push(Connection {
                stream,
                inbox: vec![0; INBOX_BYTES],
                filled: 0,
                outbox: Vec::new(),
                written: 0,
                started: VecDeque::new(),
                open: true,
            });
        }
        Ok(fleet)
    }

    fn run(&mut self, next: Next<'_>, pace: Pace) -> Result<Tally> {
        let mut run = Run::start(next, pace, self.wire)?;
        let timer = pace.rate.map(|_| ticking(&self.poll)).transpose()?;
        for index in 0..self.connections.len() {
            for _ in 0..pace.depth {
                self.offer(index, &mut run);
            }
            self.flush(index, &mut run);
        }
        let mut events = Events::with_capacity(1024);
        while run.in_flight > 0 || run.paced_on() {
            if let Err(error) = self.poll.poll(&mut events, Some(SILENCE_MAX)) {
                if error.kind() == ErrorKind::Interrupted {
                    continue;
                }
                return Err(error.into());
            }
            if events.is_empty() {
                return Err(format!("no answer within {} s", SILENCE_MAX.as_secs()).into());
            }
            for event in &events {
                if event.token() == TIMER {
                    self.tick(timer.as_ref(), &mut run)?;
                } else if event.is_readable() || event.is_read_closed() {
                    self.receive(event.token().0, &mut run);
                } else if event.is_writable() {
                    self.flush(event.token().0, &mut run);
                }
            }
        }
        run.tally.elapsed = run.last_answer.duration_since(run.began);
        if let Some(timer) = &timer {
            self.poll.registry().deregister(&mut SourceFd(&timer.as_raw_fd()))?;
        }
        Ok(run.tally)
    }

    /// Lets a connection that has room take a request, or wait for one.
    fn offer(&mut self, index: usize, run: &mut Run<'_>) {
        let Some(connection) = self.connections.get_mut(index).filter(|connection| connection.open) else {
            return;
        };
        match run.grant() {
            Grant::Send(started) => {
                if (run.next)(&mut connection.outbox) {
                    connection.started.push_back(started);
                    run.in_flight += 1;
                } else {
                    run.exhausted = true;
                }
            }
            Grant::Wait => run.idle.push_back(index),
            Grant::Stop => {}
        }
    }

    /// Sends what fell due since the last tick of a paced run.
    fn tick(&mut self, timer: Option<&OwnedFd>, run: &mut Run<'_>) -> Result<()> {
        if let Some(timer) = timer {
            // Reading starts the next tick; that there is nothing to read yet is no fault.
            match rustix::io::read(timer, &mut [0_u8; 8]) {
                Ok(_) | Err(rustix::io::Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
        run.fall_due();
        while !run.due.is_empty() {
            let Some(index) = run.idle.pop_front() else { break };
            self.offer(index, run);
            self.flush(index, run);
        }
        Ok(())
    }

    fn flush(&mut self, index: usize, run: &mut Run<'_>) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        while let Some(rest) = connection.outbox.get(connection.written..).filter(|rest| !rest.is_empty()) {
            match connection.stream.write(rest) {
                Ok(sent) => connection.written += sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return run.lose(connection, &error.to_string()),
            }
        }
        connection.outbox.clear();
        connection.written = 0;
    }

    /// Reads until the socket is empty, takes every whole answer, sends what may follow.
    fn receive(&mut self, index: usize, run: &mut Run<'_>) {
        loop {
            let Some(connection) = self.connections.get_mut(index).filter(|connection| connection.open)
            else {
                return;
            };
            if connection.filled == connection.inbox.len() {
                connection.inbox.resize(connection.filled * 2, 0);
            }
            let room = connection.inbox.get_mut(connection.filled..).unwrap_or_default();
            let wanted = room.len();
            let read = match connection.stream.read(room) {
                Ok(0) => return run.lose(connection, "the server closed the connection"),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return run.lose(connection, &error.to_string()),
            };
            connection.filled += read;
            let answers = run.take_answers(connection);
            for _ in 0..answers {
                self.offer(index, run);
            }
            self.flush(index, run);
            // A read that came back short emptied the socket: what comes later raises a new event. This saves the
            // second `read` of every answer.
            if read < wanted {
                return;
            }
        }
    }
}

/// A timer that raises an event each [`TICK`]; unlike the poll's own time-out it is finer than a millisecond.
fn ticking(poll: &Poll) -> Result<OwnedFd> {
    let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
    let tick = Timespec { tv_sec: 0, tv_nsec: i64::from(TICK.subsec_nanos()) };
    let spec = Itimerspec { it_interval: tick, it_value: tick };
    rustix::time::timerfd_settime(&timer, TimerfdTimerFlags::empty(), &spec)?;
    poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
    Ok(timer)
}

/// What a connection with room may do.
enum Grant {
    /// Send a request whose latency counts from then.
    Send(Instant),
    /// Wait for a request to fall due.
    Wait,
    Stop,
}

/// The state of one run on one thread.
struct Run<'a> {
    next: Next<'a>,
    pace: Pace,
    wire: Wire,
    tally: Tally,
    began: Instant,
    last_answer: Instant,
    in_flight: u64,
    exhausted: bool,
    /// Paced runs: requests fallen due that no connection has taken yet, and connections with nothing to do.
    due: VecDeque<Instant>,
    fallen_due: u64,
    idle: VecDeque<usize>,
}

impl<'a> Run<'a> {
    fn start(next: Next<'a>, pace: Pace, wire: Wire) -> Result<Self> {
        let now = Instant::now();
        Ok(Self {
            next,
            pace,
            wire,
            tally: Tally::new()?,
            began: now,
            last_answer: now,
            in_flight: 0,
            exhausted: false,
            due: VecDeque::new(),
            fallen_due: 0,
            idle: VecDeque::new(),
        })
    }

    fn over(&self, now: Instant) -> bool {
        self.exhausted || self.pace.lasts.is_some_and(|lasts| now.duration_since(self.began) >= lasts)
    }

    fn paced_on(&self) -> bool {
        self.pace.rate.is_some() && !self.over(Instant::now())
    }

    fn grant(&mut self) -> Grant {
        let now = Instant::now();
        if self.over(now) {
            return Grant::Stop;
        }
        if self.pace.rate.is_none() {
            return Grant::Send(now);
        }
        // A request that fell due in this tick counts from its sending; one that found every connection busy counts
        // from when it fell due: a slow server may not hide its queue behind a patient client.
        match self.due.pop_front() {
            Some(due) if now.duration_since(due) > TICK => Grant::Send(due),
            Some(_) => Grant::Send(now),
            None => Grant::Wait,
        }
    }

    fn fall_due(&mut self) {
        let now = Instant::now();
        if self.over(now) {
            return;
        }
        let nanos = now.duration_since(self.began).as_nanos();
        let by_now = nanos * u128::from(self.pace.rate.unwrap_or(0)) / 1_000_000_000;
        while u128::from(self.fallen_due) < by_now {
            self.fallen_due += 1;
            self.due.push_back(now);
        }
    }

    /// Takes every whole answer out of the inbox; says how many there were.
    fn take_answers(&mut self, connection: &mut Connection) -> u64 {
        let (mut answers, mut taken) = (0, 0);
        while taken < connection.filled {
            let bytes = connection.inbox.get(taken..connection.filled).unwrap_or_default();
            let (len, verdict) = match self.wire.parse(bytes) {
                Parsed::Answer { len, verdict } => (len, verdict),
                Parsed::Incomplete => break,
                Parsed::Broken(reason) => {
                    self.lose(connection, &reason);
                    return answers;
                }
            };
            let Some(started) = connection.started.pop_front() else {
                self.lose(connection, "an answer that nothing asked for");
                return answers;
            };
            self.last_answer = Instant::now();
            self.in_flight -= 1;
            match verdict {
                Verdict::Yes => {
                    self.tally.yes += 1;
                    self.tally.latencies.record(self.last_answer.duration_since(started));
                }
                Verdict::No(text) => self.tally.error(&text),
            }
            answers += 1;
            taken += len;
        }
        connection.inbox.copy_within(taken..connection.filled, 0);
        connection.filled -= taken;
        answers
    }

    /// Gives a connection up: each request on it is an error, and so is the loss itself.
    fn lose(&mut self, connection: &mut Connection, reason: &str) {
        connection.open = false;
        connection.outbox.clear();
        connection.written = 0;
        self.tally.error(reason);
        for _ in connection.started.drain(..) {
            self.in_flight -= 1;
            self.tally.error("a request was lost with its connection");
        }
    }
}

//! One event loop for every system: a few connections, prebuilt bytes out, whole answers in, latencies recorded.
//!
//! It shares the cores with the server it measures, so it is lean: one event loop a thread, no runtime, one `read` and one
//! `write` for each request and answer. It is the same code for HTTP, Redis and PostgreSQL, so what it costs is the same
//! for all of them, and its cost is printed beside the server's.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use crate::Result;
use crate::load::{Keys, Spread, Template};
use crate::pace::{Pace, Schedule};
use crate::stats::Tally;
use crate::timeline::Timeline;
use crate::wire::{Parsed, Verdict, Wire};

/// A server that answers nothing for so long has failed the run.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Read buffer of a connection; it grows if one answer is longer.
const INBOX_BYTES: usize = 4096;
/// Events taken from the kernel at once.
const EVENTS: usize = 1024;

/// Appends the next request; false when there is none.
pub(crate) type Next<'a> = Box<dyn FnMut(&mut Vec<u8>) -> bool + Send + 'a>;

/// Connections spread over as many threads as the machine can spare for load.
#[derive(Debug, Default)]
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

    /// This crew and another as one: a run takes the streams of both, in this order.
    pub(crate) fn join(&mut self, other: Self) {
        self.0.extend(other.0);
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
        let pace = pace.share(threads);
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
    stream: TcpStream,
    inbox: Vec<u8>,
    filled: usize,
    outbox: Vec<u8>,
    written: usize,
    /// When each unanswered request began, since the run did; oldest first.
    started: VecDeque<Duration>,
    open: bool,
}

/// The connections of one thread.
#[derive(Debug)]
struct Fleet {
    epoll: OwnedFd,
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
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut fleet = Self { epoll, connections: Vec::with_capacity(connections), wire };
        for index in 0..connections {
            let mut stream = TcpStream::connect(address)
                .map_err(|error| format!("connection {index} to {address}: {error}"))?;
            stream.set_nodelay(true)?;
            greet(&mut stream)?;
            stream.set_nonblocking(true)?;
            let data = epoll::EventData::new_u64(u64::try_from(index)?);
            let edges = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
            epoll::add(&fleet.epoll, &stream, data, edges | epoll::EventFlags::RDHUP)?;
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
        // What falls due in a moment is not to wait for the 50 µs by which the kernel lets a sleeper oversleep.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
        let mut run = Run::start(next, pace, self)?;
        for index in 0..self.connections.len() {
            for _ in 0..pace.depth() {
                self.offer(index, &mut run);
            }
            self.flush(index, &mut run);
        }
        let mut events = Vec::with_capacity(EVENTS);
        while run.goes_on() {
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&run.patience()?)) {
                Ok(0) if run.is_silent() => {
                    return Err(format!("no answer within {} s", SILENCE_MAX.as_secs()).into());
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                self.react(event, &mut run);
            }
            self.send_due(&mut run);
        }
        run.tally.elapsed = run.last_answer;
        Ok(run.tally)
    }

    fn react(&mut self, event: epoll::Event, run: &mut Run<'_>) {
        let readable = epoll::EventFlags::IN
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::HUP
            | epoll::EventFlags::ERR;
        let (flags, data) = (event.flags, event.data);
        let Ok(index) = usize::try_from(data.u64()) else { return };
        if flags.intersects(readable) {
            self.receive(index, run);
        }
        if flags.contains(epoll::EventFlags::OUT) {
            self.flush(index, run);
        }
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

    /// Sends what has fallen due in an open loop, as far as there are connections with nothing to do.
    fn send_due(&mut self, run: &mut Run<'_>) {
        while run.has_due() {
            let Some(index) = run.idle.pop_front() else { return };
            self.offer(index, run);
            self.flush(index, run);
        }
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

/// What a connection with room may do.
enum Grant {
    /// Send a request whose latency counts from then.
    Send(Duration),
    /// Wait for a request to fall due.
    Wait,
    Stop,
}

/// The state of one run on one thread. Times are those since it began.
struct Run<'a> {
    next: Next<'a>,
    pace: Pace,
    wire: Wire,
    tally: Tally,
    began: Instant,
    last_answer: Duration,
    in_flight: u64,
    exhausted: bool,
    /// Connections that are not lost.
    open: usize,
    /// Of an open loop, with the connections that have nothing to do.
    schedule: Option<Schedule>,
    idle: VecDeque<usize>,
}

impl<'a> Run<'a> {
    fn start(next: Next<'a>, pace: Pace, fleet: &Fleet) -> Result<Self> {
        let mut tally = Tally::new()?;
        let mut schedule = None;
        if let Pace::Open { rate, lasts } = pace {
            schedule = Some(Schedule::new(rate, lasts));
            tally.timeline = Timeline::new(lasts)?;
        }
        Ok(Self {
            next,
            pace,
            wire: fleet.wire,
            tally,
            began: Instant::now(),
            last_answer: Duration::ZERO,
            in_flight: 0,
            exhausted: false,
            open: fleet.connections.iter().filter(|connection| connection.open).count(),
            schedule,
            idle: VecDeque::new(),
        })
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn goes_on(&self) -> bool {
        let more = self.schedule.as_ref().is_some_and(|schedule| !schedule.is_over());
        self.in_flight > 0 || (more && !self.exhausted && self.open > 0)
    }

    /// How long to wait for an event: in an open loop until something falls due.
    fn patience(&self) -> Result<Timespec> {
        let next = self.schedule.as_ref().and_then(Schedule::next);
        let wait = next.map_or(SILENCE_MAX, |next| next.saturating_sub(self.now()));
        Ok(Timespec::try_from(wait)?)
    }

    fn is_silent(&self) -> bool {
        self.in_flight > 0 && self.now().saturating_sub(self.last_answer) >= SILENCE_MAX
    }

    fn grant(&mut self) -> Grant {
        if self.exhausted {
            return Grant::Stop;
        }
        let now = self.now();
        self.fall_due(now);
        match (&mut self.schedule, self.pace) {
            (Some(schedule), _) => match schedule.take() {
                Some(due) => Grant::Send(due),
                None if schedule.is_over() => Grant::Stop,
                None => Grant::Wait,
            },
            (None, Pace::For(lasts)) if now >= lasts => Grant::Stop,
            (None, _) => Grant::Send(now),
        }
    }

    /// Whether a request of an open loop waits for a connection.
    fn has_due(&mut self) -> bool {
        if self.schedule.is_none() {
            return false;
        }
        self.fall_due(self.now());
        self.schedule.as_ref().is_some_and(Schedule::has_waiting)
    }

    /// Lets fall due what is, and keeps how late this looked: so much of a latency is the load generator's own.
    fn fall_due(&mut self, now: Duration) {
        let Some(schedule) = &mut self.schedule else { return };
        let tally = &mut self.tally;
        schedule.fall_due(now, |due| {
            let late = now.saturating_sub(due);
            tally.late.record(late);
            tally.timeline.late(due, late);
        });
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
            self.last_answer = self.now();
            self.in_flight -= 1;
            match verdict {
                Verdict::Yes => {
                    let latency = self.last_answer.saturating_sub(started);
                    self.tally.yes += 1;
                    self.tally.latencies.record(latency);
                    self.tally.timeline.answer(self.last_answer, latency);
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
        self.open -= usize::from(connection.open);
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

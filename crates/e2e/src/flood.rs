//! Load that does not wait for the server: requests leave when they are due, over many connections, from one thread.
//! Latency is counted from when a request was due, so that a server that stalls is not excused.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::http::Reply;
use crate::{Result, pause};

/// Events taken at once.
const EVENTS: usize = 1_024;

/// Bytes read at once.
const CHUNK_BYTES: usize = 8 * 1024;

/// How often what is due leaves, where requests leave at a rate.
const PACE_STEP: Duration = Duration::from_micros(200);

/// How long answers are waited for after the last request.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// When requests leave.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// So many a second, whatever the server does.
    Open(f64),
    /// Each connection sends as soon as it has its answer.
    Closed,
    /// The same, so many times in all.
    Times(u64),
}

/// One request and what became of it.
#[derive(Clone, Debug)]
pub struct Shot {
    /// Its number: what `make` was asked for.
    pub number: u64,
    /// The answer; `None` when the connection was closed without one.
    pub reply: Option<Reply>,
    /// From when it was due to when it was answered or cut off.
    pub latency: Duration,
}

/// What came of a flood.
#[derive(Debug, Default)]
pub struct Flood {
    /// Every request that left.
    pub shots: Vec<Shot>,
    /// Requests that were due when every connection was gone.
    pub unsent: u64,
    /// How long it took.
    pub lasted: Duration,
}

struct Line {
    stream: TcpStream,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    /// The request under way and when it was due.
    busy: Option<(u64, Instant)>,
    open: bool,
}

/// Many connections to one server.
pub struct Fleet {
    poll: Poll,
    lines: Vec<Line>,
    idle: VecDeque<usize>,
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Fleet").field("connections", &self.lines.len()).finish_non_exhaustive()
    }
}

/// Lets this process and those it starts open as many files as the system allows.
///
/// # Errors
/// When that is fewer than `needed`.
pub fn need_open_files(needed: u64) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum;
    if most.is_some_and(|most| most < needed) {
        return Err(
            format!("this test needs {needed} open files; allow them with `ulimit -Hn {needed}`").into()
        );
    }
    Ok(setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most })?)
}

impl Fleet {
    /// Connects.
    ///
    /// # Errors
    /// When the server does not take so many connections.
    pub fn connect(address: SocketAddr, connections: usize) -> Result<Self> {
        let poll = Poll::new()?;
        let mut lines = Vec::with_capacity(connections);
        for place in 0..connections {
            let stream = std::net::TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(place), Interest::READABLE | Interest::WRITABLE)?;
            lines.push(Line { stream, inbox: Vec::new(), outbox: Vec::new(), busy: None, open: true });
        }
        Ok(Self { poll, lines, idle: (0..connections).collect() })
    }

    /// Sends for a time what `make` gives for the numbers from `first` on; ends early when all connections are gone.
    ///
    /// # Errors
    /// When answers stay out.
    pub fn run(
        &mut self,
        pace: Pace,
        lasts: Duration,
        first: u64,
        mut make: impl FnMut(u64) -> Vec<u8>,
    ) -> Result<Flood> {
        let started = Instant::now();
        let end = started + lasts;
        let mut events = Events::with_capacity(EVENTS);
        let mut flood = Flood::default();
        let mut left = 0_u64;
        loop {
            let now = Instant::now();
            // What is due leaves while there are idle connections; what finds none stays due.
            while let Some(due) = due(pace, started, left, now, end) {
                let Some(place) = self.idle.pop_front() else { break };
                let number = first + left;
                self.start(place, number, due, make(number), &mut flood);
                left += 1;
            }
            let busy = self.lines.iter().any(|line| line.busy.is_some());
            let gone = !self.lines.iter().any(|line| line.open);
            let over = now >= end || matches!(pace, Pace::Times(count) if left >= count);
            if gone || (over && !busy) {
                break;
            }
            if now > end + DRAIN_MAX {
                return Err("answers stay out".into());
            }
            // A poll cannot wait for less than a millisecond, and what is due would leave late.
            let paced = matches!(pace, Pace::Open(_)) && now < end;
            if paced {
                pause(PACE_STEP);
            }
            let wait = if paced { Duration::ZERO } else { Duration::from_millis(20) };
            self.poll.poll(&mut events, Some(wait)).or_else(|error| match error.kind() {
                ErrorKind::Interrupted => Ok(()),
                _ => Err(error),
            })?;
            for event in &events {
                self.hear(event.token().0, &mut flood);
            }
        }
        flood.lasted = started.elapsed();
        if let Pace::Open(rate) = pace {
            let wanted = started.elapsed().min(lasts).as_secs_f64() * rate;
            flood.unsent = rounded(wanted).saturating_sub(left);
        }
        Ok(flood)
    }

    fn start(&mut self, place: usize, number: u64, due: Instant, request: Vec<u8>, flood: &mut Flood) {
        let Some(line) = self.lines.get_mut(place) else { return };
        line.busy = Some((number, due));
        line.outbox = request;
        self.push(place, flood);
    }

    /// Writes the queued bytes.
    fn push(&mut self, place: usize, flood: &mut Flood) {
        let Some(line) = self.lines.get_mut(place) else { return };
        while !line.outbox.is_empty() {
            match line.stream.write(&line.outbox) {
                Ok(written) => drop(line.outbox.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.lose(place, flood),
            }
        }
    }

    /// Reads what there is.
    fn hear(&mut self, place: usize, flood: &mut Flood) {
        self.push(place, flood);
        let mut chunk = [0; CHUNK_BYTES];
        loop {
            let Some(line) = self.lines.get_mut(place).filter(|line| line.open) else { return };
            match line.stream.read(&mut chunk) {
                Ok(0) => return self.lose(place, flood),
                Ok(read) => {
                    line.inbox.extend_from_slice(chunk.get(..read).unwrap_or_default());
                    if !self.take(place, flood) {
                        return self.lose(place, flood);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.lose(place, flood),
            }
        }
    }

    /// Takes a whole answer; false when the connection says what is not one, or will be closed.
    fn take(&mut self, place: usize, flood: &mut Flood) -> bool {
        let Some(line) = self.lines.get_mut(place) else { return true };
        let Ok(parsed) = Reply::parse(&line.inbox) else { return false };
        let Some((reply, length)) = parsed else { return true };
        line.inbox.drain(..length);
        let closes = reply.header("connection") == Some("close");
        let Some((number, due)) = line.busy.take() else { return false };
        flood.shots.push(Shot { number, reply: Some(reply), latency: due.elapsed() });
        if !closes {
            self.idle.push_back(place);
        }
        !closes
    }

    /// The connection is gone; a request under way stays without an answer.
    fn lose(&mut self, place: usize, flood: &mut Flood) {
        let Some(line) = self.lines.get_mut(place).filter(|line| line.open) else { return };
        line.open = false;
        if let Some((number, due)) = line.busy.take() {
            flood.shots.push(Shot { number, reply: None, latency: due.elapsed() });
        }
        let _ = self.poll.registry().deregister(&mut line.stream);
        let _ = line.stream.shutdown(std::net::Shutdown::Both);
        self.idle.retain(|idle| *idle != place);
    }
}

/// When request `left` is due, if it is by now and the time is not over.
fn due(pace: Pace, started: Instant, left: u64, now: Instant, end: Instant) -> Option<Instant> {
    let due = match pace {
        Pace::Times(count) if left >= count => return None,
        Pace::Closed | Pace::Times(_) => now,
        Pace::Open(rate) => {
            started + Duration::from_secs_f64(1.0 / rate) * u32::try_from(left).unwrap_or(u32::MAX)
        }
    };
    (due <= now && due < end).then_some(due)
}

fn rounded(number: f64) -> u64 {
    Duration::from_secs_f64(number.max(0.0)).as_secs()
}

/// The latency that a share (such as 0.99) of the shots do not exceed; zero of none.
pub fn percentile(shots: &[&Shot], share: f64) -> Duration {
    let mut latencies: Vec<Duration> = shots.iter().map(|shot| shot.latency).collect();
    latencies.sort_unstable();
    let count = u32::try_from(latencies.len()).unwrap_or(u32::MAX);
    let place = usize::try_from(rounded((f64::from(count) * share).ceil())).unwrap_or(usize::MAX);
    latencies.get(place.saturating_sub(1)).copied().unwrap_or_default()
}

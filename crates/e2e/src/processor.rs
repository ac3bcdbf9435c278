//! The processor of aggregates, as an unreliable neighbor: it fails, is late, takes a batch and says it did not.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use serde_json::Value;

use crate::{Result, pause};

/// What was used, by tenant, product, unit and day, in whole numbers.
pub type Sums = BTreeMap<[String; 4], i64>;

/// Batches by their ids, each as it came first.
#[derive(Clone, Debug, Default)]
pub struct Batches {
    batches: BTreeMap<String, Vec<u8>>,
    /// Their ids in the order in which they came first.
    order: Vec<String>,
    /// How often one came that was there already.
    pub repeats: u64,
    wrong: Vec<String>,
}

impl Batches {
    /// Takes a batch; one that is there already must be the same to the byte.
    pub fn take(&mut self, id: &str, body: &[u8]) {
        match self.batches.get(id) {
            None => {
                self.order.push(id.to_owned());
                self.batches.insert(id.to_owned(), body.to_vec());
            }
            Some(before) => {
                self.repeats += 1;
                if before != body {
                    self.wrong.push(format!("batch {id} came again with other bytes"));
                }
            }
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.batches.len()
    }

    /// What they say, in the order in which they came first.
    ///
    /// # Errors
    /// When one is not JSON, or came again with other bytes.
    pub fn bodies(&self) -> Result<Vec<Value>> {
        self.all_the_same()?;
        let bodies = self.order.iter().filter_map(|id| self.batches.get(id));
        bodies.map(|body| Ok(serde_json::from_slice(body)?)).collect()
    }

    fn all_the_same(&self) -> Result<()> {
        self.wrong.first().map_or(Ok(()), |wrong| Err(wrong.as_str().into()))
    }

    /// The sums over all of them, each taken once.
    ///
    /// # Errors
    /// When one is not a batch, or came again with other bytes.
    pub fn sums(&self) -> Result<Sums> {
        self.all_the_same()?;
        let mut sums = Sums::new();
        for (id, body) in &self.batches {
            let batch: Value = serde_json::from_slice(body)?;
            let aggregates = batch.pointer("/data/aggregates").and_then(Value::as_array);
            let aggregates = aggregates.ok_or("a batch has aggregates")?;
            if batch.pointer("/data/id").and_then(Value::as_str) != Some(id) {
                return Err(format!("batch {id} names itself otherwise: {batch}").into());
            }
            add(&mut sums, aggregates)?;
        }
        Ok(sums)
    }
}

/// Adds aggregates up.
///
/// # Errors
/// When one is not an aggregate.
pub fn add(sums: &mut Sums, aggregates: &[Value]) -> Result<()> {
    for aggregate in aggregates {
        let text = |name: &str| {
            let text = aggregate.get(name).and_then(Value::as_str).map(str::to_owned);
            text.ok_or_else(|| format!("no {name} in {aggregate}"))
        };
        let place = [text("TenantId")?, text("ProductSKU")?, text("UseUnit")?, text("AggregationDate")?];
        let amount = aggregate.get("TotalUsedAmount").and_then(Value::as_i64);
        let amount = amount.ok_or("an amount is a whole number here")?;
        *sums.entry(place).or_default() += amount;
    }
    Ok(())
}

/// What becomes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    /// It is taken.
    Good,
    /// It is taken, and the answer comes late.
    Late,
    /// It is taken, and the answer is that it failed.
    Denies,
    /// It is taken, and there is no answer.
    Mute,
    /// It is not taken.
    Refuses,
    /// It is not looked at.
    HangsUp,
}

/// A processor that listens on HTTP.
#[derive(Debug)]
pub struct Processor {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    batches: Mutex<Batches>,
    reliable: AtomicBool,
    rng: Mutex<Rng>,
}

impl Shared {
    fn batches(&self) -> MutexGuard<'_, Batches> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mood(&self) -> Mood {
        if self.reliable.load(Ordering::Relaxed) {
            return Mood::Good;
        }
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        match rng.u8(..8) {
            0..3 => Mood::Good,
            3 => Mood::Late,
            4 => Mood::Denies,
            5 => Mood::Mute,
            6 => Mood::Refuses,
            _ => Mood::HangsUp,
        }
    }
}

impl Processor {
    /// Starts one; it ends with the test.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn start(seed: u64) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let rng = Mutex::new(Rng::with_seed(seed));
        let shared = Arc::new(Shared { batches: Mutex::default(), reliable: AtomicBool::new(false), rng });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(io::Result::ok) {
                let shared = Arc::clone(&serving);
                // A caller that is killed breaks the connection: that is what it is here for.
                thread::spawn(move || drop(serve(stream, &shared)));
            }
        });
        Ok(Self { address, shared })
    }

    /// Where batches are sent to.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/batches", self.address)
    }

    /// From now on it takes what comes.
    pub fn be_reliable(&self) {
        self.shared.reliable.store(true, Ordering::Relaxed);
    }

    /// What it has taken.
    #[must_use]
    pub fn batches(&self) -> Batches {
        self.shared.batches().clone()
    }
}

/// Serves requests of one connection.
fn serve(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut bytes = Vec::new();
    loop {
        let (id, body) = read_request(&mut stream, &mut bytes)?;
        let mood = shared.mood();
        if mood == Mood::HangsUp {
            return Ok(());
        }
        if mood != Mood::Refuses {
            shared.batches().take(&id, &body);
        }
        let status = match mood {
            Mood::Mute => return Ok(()),
            Mood::Late => {
                pause(Duration::from_millis(700));
                "200 OK"
            }
            Mood::Denies => "500 Internal Server Error",
            Mood::Refuses => "503 Service Unavailable",
            Mood::Good | Mood::HangsUp => "200 OK",
        };
        stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes())?;
    }
}

/// The id and the body of the next request; what comes behind it stays in `bytes`.
fn read_request(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<(String, Vec<u8>)> {
    let mut chunk = vec![0; 16 * 1024];
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned();
            let header = |name: &str| {
                let lines = head.lines().filter_map(|line| line.split_once(':'));
                let mut found = lines.filter(|(known, _)| known.eq_ignore_ascii_case(name));
                found.next().map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
            };
            let length: usize = header("content-length").parse().map_err(io::Error::other)?;
            if bytes.len() >= end + 4 + length {
                let rest = bytes.split_off(end + 4 + length);
                let body = bytes.split_off(end + 4);
                *bytes = rest;
                return Ok((header("webhook-id"), body));
            }
        }
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(chunk.get(..read).unwrap_or_default());
    }
}

//! Callers as they should be: each request has a key, one that was cut off is sent again with the same key, and every
//! answer is remembered.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use serde_json::{Value, json};

use crate::books::{Attempt, Kind, Verdict};
use crate::http::{Client, Reply, Sent};
use crate::{Result, pause};

/// The meter of the default catalog.
pub const METER: &str = "reports";

/// How long a caller waits before it looks again whether the server has room.
const RETRY_AFTER: Duration = Duration::from_millis(2);

/// How long a caller that was cut off waits for another server before it tries the same one again. Callers that try all
/// the time take the cores that the next server needs to start.
const RECONNECT_AFTER: Duration = Duration::from_millis(100);

/// Of so many callers that were cut off one never asks again.
const GIVES_UP_ONE_IN: u32 = 8;

/// What to ask.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Which organization.
    pub org: String,
    /// Which of its users.
    pub user: Option<String>,
    /// A usage or a top-up.
    pub kind: Kind,
    /// How much.
    pub quantity: u64,
    /// Properties of the usage, if any.
    pub properties: Value,
}

/// Draws what to ask next.
pub type Draw = dyn Fn(&mut Rng) -> Ask + Send + Sync;

#[derive(Debug, Default)]
struct Shared {
    /// Where each server is.
    ports: Mutex<Vec<u16>>,
    /// Told when a port is another one, or the load ends.
    moved: Condvar,
    stop: AtomicBool,
    answers: AtomicU64,
    full: AtomicU64,
    last_full: RwLock<Option<Reply>>,
}

impl Shared {
    fn ports(&self) -> MutexGuard<'_, Vec<u16>> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The port of a server.
    fn port(&self, server: usize) -> u16 {
        self.ports().get(server).copied().unwrap_or_default()
    }

    /// Waits until a server is on another port than this one.
    fn wait_for_another(&self, server: usize, port: u16) {
        let stays =
            |ports: &mut Vec<u16>| ports.get(server) == Some(&port) && !self.stop.load(Ordering::Acquire);
        drop(self.moved.wait_timeout_while(self.ports(), RECONNECT_AFTER, stays));
    }
}

/// Threads with a connection each that ask one thing after the other.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Vec<Attempt>>>,
}

impl Load {
    /// Starts the threads, each of which asks any of the servers. `draw` says what each asks next; `seed` makes the draws
    /// repeatable.
    pub fn start(servers: &[SocketAddr], threads: u64, seed: u64, draw: &Arc<Draw>) -> Self {
        let ports = servers.iter().map(SocketAddr::port).collect();
        let shared = Arc::new(Shared { ports: Mutex::new(ports), ..Shared::default() });
        let threads = (0..threads).map(|number| {
            let shared = Arc::clone(&shared);
            let draw = Arc::clone(draw);
            let rng = Rng::with_seed(seed.wrapping_mul(1_000_003).wrapping_add(number));
            thread::spawn(move || Caller::new(number, shared, rng).run(draw.as_ref()))
        });
        Self { threads: threads.collect(), shared }
    }

    /// Tells the callers where a server is now.
    pub fn move_to(&self, server: usize, address: SocketAddr) {
        if let Some(port) = self.shared.ports().get_mut(server) {
            *port = address.port();
        }
        self.shared.moved.notify_all();
    }

    /// Answers so far, yes or no.
    pub fn answers(&self) -> u64 {
        self.shared.answers.load(Ordering::Relaxed)
    }

    /// Answers so far that the store is full.
    pub fn full_answers(&self) -> u64 {
        self.shared.full.load(Ordering::Relaxed)
    }

    /// The latest of them.
    pub fn last_full(&self) -> Option<Reply> {
        self.shared.last_full.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets every caller finish what it has begun, and gives back what they were told.
    ///
    /// # Errors
    /// When a caller panicked.
    pub fn finish(self) -> Result<Vec<Attempt>> {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.moved.notify_all();
        let mut attempts = Vec::new();
        for thread in self.threads {
            attempts.extend(thread.join().map_err(|_| "a caller panicked")?);
        }
        Ok(attempts)
    }
}

struct Caller {
    number: u64,
    shared: Arc<Shared>,
    rng: Rng,
    client: Client,
    servers: usize,
    /// Which of them it asks.
    server: usize,
}

impl Caller {
    fn new(number: u64, shared: Arc<Shared>, rng: Rng) -> Self {
        let (client, servers) = (Client::new(local(shared.port(0))), shared.ports().len());
        Self { number, shared, rng, client, servers, server: 0 }
    }

    fn run(mut self, draw: &Draw) -> Vec<Attempt> {
        let mut attempts = Vec::new();
        while !self.shared.stop.load(Ordering::Acquire) {
            if self.servers > 1 {
                self.server = self.rng.usize(..self.servers);
            }
            let ask = draw(&mut self.rng);
            // No request id looks like it: those have no letter beyond f.
            let key = format!("k{}-{}", self.number, attempts.len());
            let (path, body) = request_of(&ask, &key);
            let (verdict, sends) = self.ask(&path, &body);
            let Ask { org, user, kind, quantity, .. } = ask;
            attempts.push(Attempt { org, user, key, kind, quantity, verdict, sends });
        }
        attempts
    }

    /// Asks one server after the other until there is an answer; or gives up after being cut off.
    fn ask(&mut self, path: &str, body: &Value) -> (Verdict, u32) {
        let (mut sends, mut seen) = (0, false);
        loop {
            let port = self.shared.port(self.server);
            self.client.move_to(local(port));
            let mut next = (self.server + 1) % self.servers;
            match self.client.send("POST", path, Some(body)) {
                Sent::Answered(reply) => {
                    sends += 1;
                    match self.verdict(&reply) {
                        Verdict::Unknown => (seen, next) = (true, self.server),
                        // Nothing was counted by this sending, and it is to be sent again.
                        Verdict::No(code) if code == "contended" => next = self.server,
                        // What a server was asked that was killed may be done yet, after another one refused the same.
                        Verdict::No(_) if seen && self.servers > 1 => return (Verdict::Unknown, sends),
                        verdict => return (verdict, sends),
                    }
                }
                Sent::NotSent(_) => {}
                Sent::Unknown(_) => {
                    sends += 1;
                    seen = true;
                    if self.rng.u32(..GIVES_UP_ONE_IN) == 0 {
                        return (Verdict::Unknown, sends);
                    }
                }
            }
            if self.shared.stop.load(Ordering::Acquire) {
                let verdict = if seen { Verdict::Unknown } else { Verdict::No("not_sent".to_owned()) };
                return (verdict, sends);
            }
            if next == self.server {
                self.shared.wait_for_another(self.server, port);
            }
            self.server = next;
        }
    }

    fn verdict(&self, reply: &Reply) -> Verdict {
        let verdict = Verdict::of(reply);
        match &verdict {
            Verdict::No(code) if code == "store_full" => {
                self.shared.full.fetch_add(1, Ordering::Relaxed);
                *self.shared.last_full.write().unwrap_or_else(PoisonError::into_inner) = Some(reply.clone());
                pause(RETRY_AFTER);
            }
            Verdict::Unknown => {}
            _ => {
                self.shared.answers.fetch_add(1, Ordering::Relaxed);
            }
        }
        verdict
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn request_of(ask: &Ask, key: &str) -> (String, Value) {
    match ask.kind {
        Kind::Usage => ("/v1/usage".to_owned(), usage(ask, key)),
        Kind::TopUp => {
            let body = json!({"meter": METER, "amount": ask.quantity, "key": key});
            (format!("/v1/orgs/{}/top-ups", ask.org), body)
        }
    }
}

/// The body of a usage.
pub fn usage(ask: &Ask, key: &str) -> Value {
    let mut body = json!({"org": ask.org, "meter": METER, "quantity": ask.quantity, "key": key});
    if let (Some(user), Some(members)) = (&ask.user, body.as_object_mut()) {
        members.insert("user".to_owned(), json!(user));
    }
    if let (Value::Object(_), Some(members)) = (&ask.properties, body.as_object_mut()) {
        members.insert("properties".to_owned(), ask.properties.clone());
    }
    body
}

/// Makes an organization with a plan, in a time zone where it is about noon: no month ends while a test runs.
///
/// # Errors
/// When the server does not do it.
pub fn make_org(client: &mut Client, org: &str, plan: &str) -> Result<()> {
    client.expect_ok("PUT", &format!("/v1/orgs/{org}"), Some(&json!({"time_zone": noon_zone()?})))?;
    client.expect_ok("PUT", &format!("/v1/orgs/{org}/plan"), Some(&json!({"plan": plan})))?;
    Ok(())
}

/// Makes an organization that will not run out.
///
/// # Errors
/// When the server does not do it.
pub fn make_wide_org(client: &mut Client, org: &str) -> Result<()> {
    make_org(client, org, "ultimate")?;
    let body = json!({"meter": METER, "amount": 1_000_000_000, "key": "wide"});
    client.expect_ok("POST", &format!("/v1/orgs/{org}/top-ups"), Some(&body))?;
    Ok(())
}

/// Sets a limit a month for each user, or for one.
///
/// # Errors
/// When the server does not do it.
pub fn limit_users(client: &mut Client, org: &str, user: Option<&str>, amount: u64) -> Result<()> {
    let mut body = json!({"meter": METER, "scope": "user", "window": "month", "amount": amount});
    if let (Some(user), Some(members)) = (user, body.as_object_mut()) {
        members.insert("user".to_owned(), json!(user));
    }
    client.expect_ok("PUT", &format!("/v1/orgs/{org}/limits"), Some(&body))?;
    Ok(())
}

/// A time zone where it is about noon now; its name counts hours to the west.
#[expect(
    clippy::disallowed_methods,
    reason = "the server under test is another process, on the machine's clock"
)]
fn noon_zone() -> Result<String> {
    let hour = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / 3_600 % 24;
    Ok(match i64::try_from(hour)? - 12 {
        0 => "UTC".to_owned(),
        west => format!("Etc/GMT{west:+}"),
    })
}

//! Linearizability: recorded histories of concurrent clients, with kills, retries, time-outs and clients that hang up.
//!
//! Sixteen clients send usages, retries of their own and of others' keys, other contents under used keys, reversals,
//! top-ups, checks and balances to a few organizations, while the server is killed and started again. Each
//! organization's history is then checked by itself against the sequential rules; see [`model`] for how, and why that
//! finds an order whenever there is one.
//!
//! [`HISTORIES`] of [`OPERATIONS`] operations are checked; `TOLLGATE_HISTORIES` sets another number.

mod model;
mod self_test;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::{Value, json};
use tollgate_e2e::books::read_list;
use tollgate_e2e::http::{Client, Reply, Sent, request};
use tollgate_e2e::load::{METER, limit_users, make_org};
use tollgate_e2e::{Result, Server, Tollgate, pause, until};

use self::model::{Answer, Ask, Model, Operation, Rules, user_name};

const HISTORIES: usize = 16;

const OPERATIONS: usize = 1_000;

const CLIENTS: u64 = 16;

/// Organizations under way at once: few, so that clients meet at each.
const AT_ONCE: usize = 4;

/// Small enough that organization and users run out within a history, and come back by reversals and top-ups.
const RULES: Rules = Rules { allowance: 100, each_user: 40, users: 5 };

/// How many requests a server lives for.
const LIFE_OPERATIONS: std::ops::RangeInclusive<usize> = 100..=3_000;

/// A server that does not answer so many requests in this time has failed the test.
const LIFE_MAX: Duration = Duration::from_secs(120);

/// Small enough that the ledger goes from file to file within a run.
const SEGMENT_BYTES: u64 = 512 * 1024;

/// One organization's history while it is made.
struct History {
    org: String,
    begun: AtomicUsize,
    operations: Mutex<Vec<Operation>>,
}

/// What the clients of a round share.
struct Round {
    port: AtomicU16,
    started: Instant,
    histories: Vec<History>,
    stop: AtomicBool,
}

impl Round {
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port.load(Ordering::Acquire)))
    }

    fn begun(&self) -> usize {
        self.histories.iter().map(|history| history.begun.load(Ordering::Acquire)).sum()
    }

    fn done(&self) -> bool {
        self.histories.iter().all(|history| history.begun.load(Ordering::Acquire) >= OPERATIONS)
    }
}

fn draw(rng: &mut Rng, history: usize) -> Ask {
    // Few keys, so that clients meet at the same ones; their content is mostly the same, too.
    let hot = rng.usize(..OPERATIONS / 3);
    let mut content = Rng::with_seed(u64::try_from(history * OPERATIONS + hot).unwrap_or(0));
    if rng.u8(..12) == 0 {
        content = Rng::with_seed(rng.u64(..));
    }
    let (user, quantity) = (content.usize(..RULES.users), content.u64(1..=4));
    match rng.u8(..100) {
        0..55 => Ask::Use { user, quantity, key: format!("k{hot}") },
        55..67 => Ask::Reverse { key: format!("k{hot}") },
        67..72 => Ask::TopUp { quantity, key: format!("t{}", hot % 40) },
        72..86 => Ask::Check { user: rng.usize(..RULES.users), quantity: rng.u64(1..=4) },
        _ => Ask::Balance,
    }
}

fn request_of(org: &str, ask: &Ask) -> (&'static str, String, Option<Value>) {
    match ask {
        Ask::Use { user, quantity, key } => {
            let user = user_name(*user);
            let body = json!({"org": org, "user": user, "meter": METER, "quantity": quantity, "key": key});
            ("POST", "/v1/usage".to_owned(), Some(body))
        }
        Ask::TopUp { quantity, key } => {
            let body = json!({"meter": METER, "amount": quantity, "key": key});
            ("POST", format!("/v1/orgs/{org}/top-ups"), Some(body))
        }
        Ask::Reverse { key } => {
            ("POST", "/v1/usage/reversals".to_owned(), Some(json!({"org": org, "key": key})))
        }
        Ask::Check { user, quantity } => {
            let body = json!({"org": org, "user": user_name(*user), "meter": METER, "quantity": quantity});
            ("POST", "/v1/usage/check".to_owned(), Some(body))
        }
        Ask::Balance => ("GET", format!("/v1/orgs/{org}/balance"), None),
    }
}

/// What an answer says; `None` when nothing was decided, `Some(None)` when it is not known what was.
fn read_answer(ask: &Ask, reply: &Reply) -> Option<Option<Answer>> {
    let body = reply.json().unwrap_or_default();
    let number = |pointer: &str| body.pointer(pointer).and_then(Value::as_u64);
    let truth = |member: &str| body.get(member).and_then(Value::as_bool).unwrap_or_default();
    let code = body.get("code").and_then(Value::as_str);
    let answer = match (reply.status, ask) {
        (200, Ask::Use { .. } | Ask::TopUp { .. }) => Answer::Done {
            entry: number("/entry")?,
            replayed: truth("replayed"),
            used: number("/used"),
            remaining: number("/remaining"),
            user_used: number("/user_used"),
        },
        (200, Ask::Reverse { .. }) => Answer::Reversed {
            entry: number("/entry")?,
            reversed: number("/reversed_entry")?,
            replayed: truth("replayed"),
        },
        (200, Ask::Check { .. }) if truth("allowed") => {
            Answer::Seen { used: number("/used")?, remaining: number("/remaining")? }
        }
        (200, Ask::Check { .. }) => {
            Answer::No { code: code?.to_owned(), remaining: number("/remaining"), counted: number("/used") }
        }
        (200, Ask::Balance) => {
            let of = |member: &str| number(&format!("/meters/{METER}/{member}"));
            Answer::Seen { used: of("used")?, remaining: of("remaining")? }
        }
        (503, _) if code == Some("store_failed") => return Some(None),
        (503 | 429, _) => return None,
        _ => {
            let code = code.unwrap_or("no code").to_owned();
            Answer::No { code, remaining: number("/remaining"), counted: number("/limit/used") }
        }
    };
    Some(Some(answer))
}

/// One client: one request after the other, until every history is long enough.
fn client(round: &Round, mut rng: Rng) {
    let mut client = Client::new(round.address());
    let mut again: Option<(usize, Ask)> = None;
    while !round.stop.load(Ordering::Acquire) && !round.done() {
        // Who was cut off mostly asks the same again.
        let (index, ask) = match again.take().filter(|_| rng.u8(..4) > 0) {
            Some(again) => again,
            None => {
                let index = rng.usize(..round.histories.len());
                (index, draw(&mut rng, index))
            }
        };
        let history = &round.histories[index];
        let (method, path, body) = request_of(&history.org, &ask);
        client.move_to(round.address());
        let asked = round.now();
        let answer = if rng.u8(..40) == 0 {
            hang_up(round.address(), &request(method, &path, body.as_ref()))
        } else {
            match client.send(method, &path, body.as_ref()) {
                Sent::Answered(reply) => {
                    read_answer(&ask, &reply).map(|answer| answer.map(|answer| (round.now(), answer)))
                }
                Sent::Unknown(_) => Some(None),
                Sent::NotSent(_) => None,
            }
        };
        match answer {
            Some(answer) => {
                if answer.is_none() {
                    again = Some((index, ask.clone()));
                }
                history.begun.fetch_add(1, Ordering::AcqRel);
                history.operations.lock().expect("no client panics").push(Operation { ask, asked, answer });
            }
            // The server is not there, or has no room.
            None => pause(Duration::from_millis(5)),
        }
    }
}

/// Sends and does not wait: what became of it is not known.
fn hang_up(address: SocketAddr, request: &[u8]) -> Option<Option<(u64, Answer)>> {
    use std::io::Write;
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    drop(stream.write_all(request));
    Some(None)
}

/// Makes some histories at once, killing the server meanwhile.
fn make(
    serve: &Tollgate,
    mut server: Server,
    orgs: Vec<String>,
    rng: &mut Rng,
) -> Result<(Server, Vec<History>, usize)> {
    let mut setup = server.client();
    for org in &orgs {
        make_org(&mut setup, org, "basic")?;
        limit_users(&mut setup, org, None, RULES.each_user)?;
    }
    let begin = |org| History { org, begun: AtomicUsize::new(0), operations: Mutex::default() };
    let round = Arc::new(Round {
        port: AtomicU16::new(server.address().port()),
        started: Instant::now(),
        histories: orgs.into_iter().map(begin).collect(),
        stop: AtomicBool::new(false),
    });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (round, rng) = (Arc::clone(&round), rng.fork());
            thread::spawn(move || client(&round, rng))
        })
        .collect();
    let mut kills = 0;
    while !round.done() && !clients.iter().any(thread::JoinHandle::is_finished) {
        let end = round.begun() + rng.usize(LIFE_OPERATIONS);
        until("clients to ask", LIFE_MAX, || Ok((round.begun() >= end || round.done()).then_some(())))?;
        server.kill()?;
        kills += 1;
        server = serve.start()?;
        round.port.store(server.address().port(), Ordering::Release);
    }
    round.stop.store(true, Ordering::Release);
    for client in clients {
        client.join().map_err(|_| "a client panicked")?;
    }
    let round = Arc::into_inner(round).ok_or("a client still runs")?;
    Ok((server, round.histories, kills))
}

#[derive(Default)]
struct Sum {
    histories: usize,
    operations: usize,
    unknown: usize,
    changes: usize,
    replays: usize,
    denials: usize,
    looks: usize,
}

impl Sum {
    fn add(&mut self, operations: &[Operation]) {
        self.histories += 1;
        self.operations += operations.len();
        for operation in operations {
            match operation.answer.as_ref().map(|(_, answer)| answer) {
                None => self.unknown += 1,
                Some(Answer::Done { replayed: true, .. } | Answer::Reversed { replayed: true, .. }) => {
                    self.replays += 1;
                }
                Some(Answer::Done { .. } | Answer::Reversed { .. }) => self.changes += 1,
                Some(Answer::No { .. }) => self.denials += 1,
                Some(Answer::Seen { .. }) => self.looks += 1,
            }
        }
    }
}

fn check(server: &Server, history: History, sum: &mut Sum) -> Result<()> {
    let History { org, operations, .. } = history;
    let operations = operations.into_inner().map_err(|_| "a client panicked")?;
    let ledger = read_list(&mut server.client(), &format!("/v1/orgs/{org}/ledger?order=oldest"), "entries")?;
    let checked = Model::of(RULES, &ledger).and_then(|model| model.check(&operations));
    checked.map_err(|error| format!("{org} is not linearizable: {error}"))?;
    sum.add(&operations);
    Ok(())
}

fn place() -> Result<tempfile::TempDir> {
    // In memory where there is such a place: kills lose nothing there, and syncs do not slow the clients down.
    let memory = Path::new("/dev/shm");
    Ok(if memory.is_dir() { tempfile::tempdir_in(memory)? } else { tempfile::tempdir()? })
}

#[test]
fn histories_under_kills_and_retries_are_linearizable() -> Result<()> {
    let _machine = super::beside_others();
    let mut rng = Rng::with_seed(super::seed());
    let wanted = super::given("TOLLGATE_HISTORIES").unwrap_or(HISTORIES);
    let (folder, started) = (place()?, Instant::now());
    let store = folder.path().join("data");
    let serve = Tollgate::serve_small(&store, SEGMENT_BYTES);
    let mut server = serve.start()?;
    let (mut sum, mut kills) = (Sum::default(), 0);
    while sum.histories < wanted {
        let orgs = (0..AT_ONCE).map(|number| format!("org-{}", sum.histories + number)).collect();
        let (back, histories, killed) = make(&serve, server, orgs, &mut rng)?;
        server = back;
        kills += killed;
        for history in histories {
            check(&server, history, &mut sum)?;
        }
    }
    server.stop()?;
    super::assert_verified(&store);
    println!(
        "{} histories of {CLIENTS} clients with {} operations and {kills} kills in {:.0} s, all linearizable: {} changes, \
         {} replays, {} denials, {} looks, {} without an answer",
        sum.histories,
        sum.operations,
        started.elapsed().as_secs_f64(),
        sum.changes,
        sum.replays,
        sum.denials,
        sum.looks,
        sum.unknown,
    );
    for (what, count) in
        [("replays", sum.replays), ("denials", sum.denials), ("looks", sum.looks), ("changes", sum.changes)]
    {
        assert!(count * 50 > sum.operations, "only {count} {what}");
    }
    assert!(
        kills * 16 >= sum.histories && sum.unknown > sum.histories,
        "{kills} kills, {} unknown",
        sum.unknown
    );
    Ok(())
}

//! Hot counters and cold records add up to one bill at every moment: a customer's bill is read through the billing API
//! while many write to it and the server is killed again and again.
//!
//! Each writer sends its usages one after the other, all of one quantity: 1, a thousand, a million … So three digits of a
//! billed quantity say how many usages of a writer are in it.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};
use tollgate_e2e::http::{Client, Sent};
use tollgate_e2e::{Result, Server, Tollgate, pause};

const KILLS: usize = 15;

const WRITERS: usize = 4;

const READERS: usize = 3;

/// Usages of one writer, so that three digits hold them.
const USAGES_MAX: u64 = 999;

/// How long a server lives, in milliseconds.
const LIFE_MILLIS: std::ops::RangeInclusive<u64> = 20..=250;

/// How long a caller waits before it looks again whether the server is back.
const RETRY_AFTER: Duration = Duration::from_millis(2);

const SEGMENT_BYTES: u64 = 512 * 1024;

const BILL: &str = "/api/v1/billing/acme";

/// Usages of each writer.
type Counts = [u64; WRITERS];

/// What callers share.
#[derive(Default)]
struct Desk {
    port: AtomicU16,
    stop: AtomicBool,
    /// Of each writer: the usages it began to send.
    sent: [AtomicU64; WRITERS],
    /// Of each writer: the usages it was told are counted.
    told: [AtomicU64; WRITERS],
    reads: AtomicU64,
}

impl Desk {
    fn move_to(&self, server: &Server) {
        self.port.store(server.address().port(), Ordering::SeqCst);
    }

    fn client(&self) -> Client {
        Client::new(([127, 0, 0, 1], self.port.load(Ordering::SeqCst)).into())
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Sends usages until it is told to stop; each until it is counted.
    fn write(&self, writer: usize) -> Result<()> {
        let mut client = self.client();
        let quantity = 1_000_u64.pow(u32::try_from(writer)?);
        for number in 0..USAGES_MAX {
            if self.stopped() {
                break;
            }
            let id = format!("w{writer}-{number}");
            let body =
                json!({"customer_id": "acme", "resource_type": "api_call", "quantity": quantity, "id": id});
            self.sent[writer].store(number + 1, Ordering::SeqCst);
            loop {
                client.move_to(([127, 0, 0, 1], self.port.load(Ordering::SeqCst)).into());
                match client.send("POST", "/api/v1/usage", Some(&body)) {
                    Sent::Answered(reply) if reply.status == 201 => break,
                    Sent::Answered(reply) if reply.status != 503 => {
                        let text = String::from_utf8_lossy(&reply.body).into_owned();
                        return Err(format!("{id} was answered {}: {text}", reply.status).into());
                    }
                    Sent::Answered(_) | Sent::NotSent(_) | Sent::Unknown(_) => pause(RETRY_AFTER),
                }
            }
            self.told[writer].store(number + 1, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Reads the bill until it is told to stop: each shows of each writer what it was told before, nothing that it had
    /// not sent, and no less than the bill before.
    fn read(&self) -> Result<()> {
        let mut client = self.client();
        let mut last = Counts::default();
        while !self.stopped() {
            client.move_to(([127, 0, 0, 1], self.port.load(Ordering::SeqCst)).into());
            let told = self.told.each_ref().map(|told| told.load(Ordering::SeqCst));
            let Sent::Answered(reply) = client.send("GET", BILL, None) else {
                pause(RETRY_AFTER);
                continue;
            };
            let sent = self.sent.each_ref().map(|sent| sent.load(Ordering::SeqCst));
            if reply.status == 503 || (reply.status == 404 && told == Counts::default()) {
                continue;
            }
            let found = billed(reply.status, &reply.body)?;
            for writer in 0..WRITERS {
                let floor = told[writer].max(last[writer]);
                if !(floor..=sent[writer]).contains(&found[writer]) {
                    let (told, sent, last) = (told[writer], sent[writer], last[writer]);
                    let found = found[writer];
                    let text = format!(
                        "writer {writer}: {found} in the bill, {told} told, {sent} sent, {last} before"
                    );
                    return Err(text.into());
                }
            }
            last = found;
            self.reads.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }
}

/// How many usages of each writer are in a bill, whose sum must be what they cost.
fn billed(status: u16, body: &[u8]) -> Result<Counts> {
    let text = std::str::from_utf8(body)?;
    if status != 200 {
        return Err(format!("the bill was answered {status}: {text}").into());
    }
    let bill: Value = serde_json::from_str(text)?;
    let lines = bill["lines"].as_array().ok_or("a bill without lines")?;
    let quantity =
        lines.first().map_or(Some(0), |line| line["quantity"].as_u64()).ok_or("no whole quantity")?;
    let total = format!("\"estimated_bill\":{}.{:02},", quantity / 100, quantity % 100);
    if lines.len() > 1 || !text.contains(&total) {
        return Err(format!("{quantity} calls at 0.01 are not {text}").into());
    }
    let mut left = quantity;
    Ok([(); WRITERS].map(|()| {
        let digits = left % 1_000;
        left /= 1_000;
        digits
    }))
}

/// How many usages of each writer are in the customer's list.
fn listed(client: &mut Client) -> Result<Counts> {
    let mut counts = Counts::default();
    let mut path = "/api/v1/usage/acme".to_owned();
    loop {
        let reply = client.call("GET", &path, None)?;
        for item in reply.json()?.as_array().ok_or("no list")? {
            let id = item["id"].as_str().and_then(|id| id.strip_prefix('w')?.split_once('-'));
            let writer: usize = id.ok_or("not an id of this test")?.0.parse()?;
            counts[writer] += 1;
        }
        match reply.header("x-next-cursor") {
            Some(cursor) => path = format!("/api/v1/usage/acme?cursor={cursor}"),
            None => return Ok(counts),
        }
    }
}

/// Kills servers on one store, one after the other; gives the last.
fn outlive(mut server: Server, serve: &Tollgate, desk: &Desk, rng: &mut Rng) -> Result<Server> {
    for _ in 0..KILLS {
        pause(Duration::from_millis(rng.u64(LIFE_MILLIS)));
        server.kill()?;
        server = serve.start()?;
        desk.move_to(&server);
    }
    Ok(server)
}

#[test]
fn a_bill_is_what_was_counted_at_every_moment_over_kills() -> Result<()> {
    let _machine = super::beside_others();
    let mut rng = Rng::with_seed(super::seed());
    let folder = tempfile::tempdir()?;
    let store = folder.path().join("data");
    let serve = Tollgate::serve_small(&store, SEGMENT_BYTES);
    let server = serve.start()?;
    let desk = Desk::default();
    desk.move_to(&server);
    let server = thread::scope(|scope| -> Result<Server> {
        let desk = &desk;
        let writers = (0..WRITERS).map(|writer| scope.spawn(move || desk.write(writer)));
        let readers = (0..READERS).map(|_| scope.spawn(move || desk.read()));
        let callers: Vec<_> = writers.chain(readers).collect();
        let outlived = outlive(server, &serve, desk, &mut rng);
        desk.stop.store(true, Ordering::SeqCst);
        for caller in callers {
            caller.join().map_err(|_| "a caller panicked")??;
        }
        outlived
    })?;
    let told = desk.told.each_ref().map(|told| told.load(Ordering::SeqCst));
    let mut client = server.client();
    let reply = client.call("GET", BILL, None)?;
    assert_eq!(billed(reply.status, &reply.body)?, told, "the bill at rest");
    assert_eq!(listed(&mut client)?, told, "the list at rest");
    server.stop()?;
    super::assert_verified(&store);
    let reads = desk.reads.load(Ordering::SeqCst);
    println!(
        "{KILLS} kills: {} usages counted, {reads} bills read, each of them right",
        told.iter().sum::<u64>()
    );
    assert!(told.iter().all(|told| *told > 0) && reads > 0, "{told:?}, {reads} bills");
    Ok(())
}

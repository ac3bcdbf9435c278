//! Three replicas of the real server on one PostgreSQL, over HTTP: they race for last credits while connections to the database
//! are cut in the middle of commits, they are killed, the database is killed, and they are stopped and go on later. Nothing is
//! lost, nothing counts twice, and no more is allowed than was granted.
//!
//! In the end all images are removed, and what the ledgers alone come to is compared with what was told, too.

use std::sync::{Arc, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::{Value, json};
use tollgate_e2e::books::{
    Attempt, Kind, Rules, Tally, Verdict, compare, overshoot, read_books, read_ledger, unbalanced,
};
use tollgate_e2e::http::{Client, Sent};
use tollgate_e2e::load::{Ask, Draw, Load, METER, make_org, make_wide_org};
use tollgate_e2e::{Result, Server, Tollgate, pause, until};
use tollgate_peers::{Postgres, Proxy};

const REPLICAS: usize = 3;

/// Clients of a race: most of them must be refused.
const CLIENTS: usize = 64;

/// What the plan of an organization that runs out includes.
const CREDITS: u64 = 20;

/// Races; `TOLLGATE_RACES` sets another number.
const RACES: usize = 4;

/// How often a replica is killed, and how often the database; `TOLLGATE_KILLS` sets another number.
const KILLS: usize = 3;

/// For how long each replica is stopped; `TOLLGATE_PAUSE_SECS` sets another time.
const PAUSE_SECS: u64 = 3;

/// Organizations that do not run out.
const WIDE_ORGS: usize = 12;

/// Organizations made for each round, so small that they run out in it.
const TIGHT_ORGS: usize = 4;

/// Requests after which replicas and database are under way again.
const UNDER_WAY: u64 = 100;

/// Replicas that do not answer so many requests in this time have failed the test.
const UNDER_WAY_MAX: Duration = Duration::from_secs(120);

const WIDE: Rules = Rules { allowance: 1_000, each_user: None, one_clock: false };
const TIGHT: Rules = Rules { allowance: CREDITS, each_user: None, one_clock: false };

/// A replica, and its way to the database.
struct Replica {
    proxy: Proxy,
    serve: Tollgate,
    server: Server,
}

impl Replica {
    fn start(database: &Postgres) -> Result<Self> {
        let proxy = Proxy::start(database.port())?;
        let serve = Tollgate::serve_on(database.url_by(proxy.port()));
        let server = serve.start()?;
        Ok(Self { proxy, serve, server })
    }

    /// Kills it; one that was started before takes its place.
    fn kill(&mut self) -> Result<()> {
        let next = self.serve.start()?;
        std::mem::replace(&mut self.server, next).kill()
    }
}

/// A database and its replicas.
struct Site {
    database: Postgres,
    replicas: Vec<Replica>,
}

impl Site {
    fn start() -> Result<Self> {
        let database = Postgres::start(&["max_connections=100"])?;
        let replicas = (0..REPLICAS).map(|_| Replica::start(&database)).collect::<Result<_>>()?;
        Ok(Self { database, replicas })
    }

    fn addresses(&self) -> Vec<std::net::SocketAddr> {
        self.replicas.iter().map(|replica| replica.server.address()).collect()
    }

    /// Loses every so many answers and requests of each replica, another number of each; or none.
    fn lose(&self, loses: bool) {
        for (replica, place) in self.replicas.iter().zip(0..) {
            replica.proxy.lose_answers(if loses { 5 + place } else { 0 });
            replica.proxy.lose_requests(if loses { 9 + place } else { 0 });
        }
    }

    fn cuts(&self) -> u64 {
        self.replicas.iter().map(|replica| replica.proxy.cuts()).sum()
    }

    /// What every replica says is compared with what callers were told; then what one says that has nothing but ledgers.
    fn check(self, attempts: &[Attempt]) -> Result<()> {
        for replica in &self.replicas {
            check_books(&mut replica.server.client(), attempts)?;
        }
        for replica in self.replicas {
            replica.server.stop()?;
        }
        self.database
            .query("DELETE FROM tollgate.parts; UPDATE tollgate.ledgers SET image = 0, behind = true")?;
        let last = Tollgate::serve_on(self.database.url()).start()?;
        check_books(&mut last.client(), attempts)?;
        last.stop()
    }
}

fn check_books(client: &mut Client, attempts: &[Attempt]) -> Result<()> {
    let books = read_books(client)?;
    super::assert_none(&compare(attempts, &books), "what callers were told is not what the ledger says");
    for (org, ledger) in &books {
        let rules = if org.starts_with("wide") { WIDE } else { TIGHT };
        super::assert_none(&overshoot(org, ledger, rules), "more was allowed than was granted");
        let unbalanced = unbalanced(client, org, ledger, rules.allowance)?;
        super::assert_none(&unbalanced, "a balance is not its ledger's sum");
    }
    Ok(())
}

/// Callers of all replicas; half of what they ask for is of organizations that run out.
struct Callers {
    tight: Arc<RwLock<Vec<String>>>,
    load: Load,
}

impl Callers {
    fn start(site: &Site, seed: u64) -> Result<Self> {
        let mut client = site.replicas[0].server.client();
        for number in 0..WIDE_ORGS {
            make_wide_org(&mut client, &format!("wide-{number}"))?;
        }
        let tight = Arc::<RwLock<Vec<String>>>::default();
        let drawn = Arc::clone(&tight);
        let draw: Arc<Draw> = Arc::new(move |rng: &mut Rng| draw(&drawn, rng));
        let load = Load::start(&site.addresses(), 32, seed, &draw);
        Ok(Self { tight, load })
    }

    /// Waits until they are at work again, on fresh organizations.
    fn go_on(&self, site: &Site, round: usize) -> Result<()> {
        let mut client = site.replicas[round % REPLICAS].server.client();
        let mut orgs = Vec::new();
        for number in 0..TIGHT_ORGS {
            let org = format!("tight-{round}-{number}");
            make_org(&mut client, &org, "lite")?;
            orgs.push(org);
        }
        *self.tight.write().expect("no reader panics") = orgs;
        self.wait("callers to be under way")
    }

    fn wait(&self, what: &str) -> Result<()> {
        let wanted = self.load.answers() + UNDER_WAY;
        until(what, UNDER_WAY_MAX, || Ok((self.load.answers() >= wanted).then_some(())))
    }
}

fn draw(tight: &RwLock<Vec<String>>, rng: &mut Rng) -> Ask {
    let tight = tight.read().expect("no writer panics");
    let org = match tight.is_empty() || rng.bool() {
        true => format!("wide-{}", rng.usize(..WIDE_ORGS)),
        false => tight[rng.usize(..tight.len())].clone(),
    };
    let kind = if rng.u32(..50) == 0 { Kind::TopUp } else { Kind::Usage };
    let user = Some(format!("u{}", rng.usize(..6)));
    Ask { org, user, kind, quantity: rng.u64(1..=3), properties: Value::Null }
}

/// One client of a race: asks one replica after the other the same until it is told yes or no.
fn race(addresses: &[std::net::SocketAddr], client: usize, org: &str) -> Result<Attempt> {
    let key = format!("client {client}");
    let body = json!({"org": org, "meter": METER, "quantity": 1, "key": key});
    let mut sends = 0;
    let mut verdict = Verdict::Unknown;
    for place in client.. {
        let Sent::Answered(reply) =
            Client::new(addresses[place % addresses.len()]).send("POST", "/v1/usage", Some(&body))
        else {
            return Err("a replica hung up".into());
        };
        sends += 1;
        if reply.status != 503 {
            verdict = Verdict::of(&reply);
            break;
        }
    }
    Ok(Attempt { org: org.to_owned(), user: None, key, kind: Kind::Usage, quantity: 1, verdict, sends })
}

#[test]
fn of_the_last_credits_replicas_give_away_exactly_those_that_are_there() -> Result<()> {
    let _machine = super::beside_others();
    let (races, began) = (super::given("TOLLGATE_RACES").unwrap_or(RACES), Instant::now());
    let site = Site::start()?;
    let (addresses, mut attempts) = (site.addresses(), Vec::new());
    for number in 0..races {
        let org = format!("raced-{number}");
        make_org(&mut site.replicas[number % REPLICAS].server.client(), &org, "lite")?;
        site.lose(true);
        let raced: Vec<Result<Attempt>> = thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let (addresses, org) = (&addresses, &org);
                    scope.spawn(move || race(addresses, client, org))
                })
                .collect();
            clients.into_iter().map(|client| client.join().expect("no client panics")).collect()
        });
        site.lose(false);
        let raced = raced.into_iter().collect::<Result<Vec<_>>>()?;
        let tally = Tally::of(&raced);
        let wanted = usize::try_from(CREDITS)?;
        assert_eq!(
            (tally.yes, tally.refused("org_limit_reached")),
            (wanted, CLIENTS - wanted),
            "race {number}"
        );
        let ledger = read_ledger(&mut site.replicas[(number + 1) % REPLICAS].server.client(), &org)?;
        assert_eq!(ledger.iter().filter(|entry| entry.kind == "used").count(), wanted, "race {number}");
        attempts.extend(raced);
    }
    let cuts = site.cuts();
    println!(
        "{races} races of {CLIENTS} clients for {CREDITS} credits in {:.0} s, {cuts} connections cut, {} replayed, {} sent \
         more than once",
        began.elapsed().as_secs_f64(),
        Tally::of(&attempts).replayed,
        attempts.iter().filter(|attempt| attempt.sends > 1).count(),
    );
    assert!(cuts > u64::try_from(3 * races)?, "only {cuts} connections were cut");
    site.check(&attempts)
}

#[test]
fn nothing_is_lost_or_counted_twice_while_replicas_and_database_are_killed() -> Result<()> {
    let _machine = super::beside_others();
    let (seed, kills) = (super::seed(), super::given("TOLLGATE_KILLS").unwrap_or(KILLS));
    let (mut site, mut rng, began) = (Site::start()?, Rng::with_seed(seed), Instant::now());
    let callers = Callers::start(&site, seed)?;
    for round in 0..kills {
        callers.go_on(&site, round)?;
        let place = rng.usize(..REPLICAS);
        pause(Duration::from_millis(rng.u64(..50)));
        site.replicas[place].kill()?;
        callers.load.move_to(place, site.replicas[place].server.address());
        callers.wait("callers to go on after a replica was killed")?;
        site.database.kill()?;
        site.database.run()?;
    }
    callers.wait("callers to go on after the database was killed")?;
    let attempts = callers.load.finish()?;
    let tally = Tally::of(&attempts);
    println!(
        "{kills} kills of replicas and as many of the database in {:.0} s: {} usages and top-ups, {} allowed, {} of them \
         replayed, {} denied, {} never answered",
        began.elapsed().as_secs_f64(),
        attempts.len(),
        tally.yes,
        tally.replayed,
        tally.no.values().sum::<usize>(),
        tally.unknown,
    );
    assert!(tally.refused("org_limit_reached") > 0 && tally.replayed + tally.unknown > 0, "{tally:?}");
    site.check(&attempts)
}

#[test]
fn a_replica_that_was_stopped_for_a_while_does_no_harm() -> Result<()> {
    let _machine = super::beside_others();
    let seed = super::seed();
    let length = Duration::from_secs(super::given("TOLLGATE_PAUSE_SECS").unwrap_or(PAUSE_SECS));
    let site = Site::start()?;
    let callers = Callers::start(&site, seed)?;
    for (replica, round) in site.replicas.iter().zip(0..) {
        callers.go_on(&site, round)?;
        replica.server.suspend()?;
        let began = Instant::now();
        // As who shares out the calls does with a server that is not well; those under way wait for their answers.
        let other = site.replicas[(round + 1) % REPLICAS].server.address();
        callers.load.move_to(round, other);
        callers.wait("callers to go on beside a replica that is stopped")?;
        pause(length.saturating_sub(began.elapsed()));
        replica.server.resume()?;
        let mut client = replica.server.client();
        until("the replica to answer again", UNDER_WAY_MAX, || {
            let ready = client.call("GET", "/ready", None);
            Ok(ready.ok().filter(|reply| reply.status == 200))
        })?;
        callers.load.move_to(round, replica.server.address());
    }
    callers.wait("callers to go on")?;
    let attempts = callers.load.finish()?;
    let tally = Tally::of(&attempts);
    println!("each replica stopped for {} s: {tally:?}", length.as_secs());
    assert!(tally.refused("org_limit_reached") > 0, "{tally:?}");
    site.check(&attempts)
}

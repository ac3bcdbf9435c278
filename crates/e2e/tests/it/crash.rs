//! `kill -9` of the real server under load, again and again on the same folder: nothing that was answered yes is lost,
//! nothing counts twice, and no more is allowed than was granted.

use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::Value;
use tollgate_e2e::books::{Kind, Rules, Tally, compare, overshoot, read_books, unbalanced};
use tollgate_e2e::http::Client;
use tollgate_e2e::load::{Ask, Load, limit_users, make_org, make_wide_org};
use tollgate_e2e::{Result, Tollgate, pause};

/// How often the server is killed; `TOLLGATE_KILLS` sets another number.
const KILLS: usize = 40;

/// Organizations that do not run out.
const WIDE_ORGS: usize = 32;

/// Organizations made for each round, so small that they run out in it.
const TIGHT_ORGS: usize = 6;

const TIGHT_PLANS: [(&str, u64); 2] = [("lite", 20), ("basic", 100)];

/// What each user of a tight organization may use a month.
const EACH_USER: u64 = 12;

const USERS: usize = 6;

/// How long a server lives at most, in milliseconds.
const LIFE_MILLIS: std::ops::RangeInclusive<u64> = 5..=300;

/// Small enough that the ledger goes from file to file within a run.
const SEGMENT_BYTES: u64 = 512 * 1024;

fn tight(round: usize, number: usize) -> String {
    format!("tight-{round}-{number}")
}

fn rules_of(org: &str) -> Option<Rules> {
    let number: usize = org.strip_prefix("tight-")?.rsplit('-').next()?.parse().ok()?;
    let (_, allowance) = TIGHT_PLANS[number % 2];
    Some(Rules { allowance, each_user: (number % 3 != 2).then_some(EACH_USER), one_clock: true })
}

fn make_tight_orgs(client: &mut Client, round: usize) -> Result<Vec<String>> {
    let mut orgs = Vec::new();
    for number in 0..TIGHT_ORGS {
        let org = tight(round, number);
        make_org(client, &org, TIGHT_PLANS[number % 2].0)?;
        if rules_of(&org).is_some_and(|rules| rules.each_user.is_some()) {
            limit_users(client, &org, None, EACH_USER)?;
        }
        orgs.push(org);
    }
    Ok(orgs)
}

/// Half of it goes to the organizations that run out, some of that tops them up.
fn draw(tight: &RwLock<Vec<String>>, rng: &mut Rng) -> Ask {
    let tight = tight.read().expect("no writer panics");
    let user = Some(format!("u{}", rng.usize(..USERS)));
    let (kind, quantity) = (Kind::Usage, rng.u64(1..=3));
    let ask = |org: String, kind, quantity| Ask { org, user, kind, quantity, properties: Value::Null };
    if tight.is_empty() || rng.bool() {
        return ask(format!("wide-{}", rng.usize(..WIDE_ORGS)), kind, quantity);
    }
    let org = tight[rng.usize(..tight.len())].clone();
    if rng.u32(..100) == 0 { ask(org, Kind::TopUp, rng.u64(1..=9)) } else { ask(org, kind, quantity) }
}

#[test]
fn nothing_answered_is_lost_and_nothing_counts_twice_over_many_kills() -> Result<()> {
    let _machine = super::beside_others();
    let (seed, kills) = (super::seed(), super::given("TOLLGATE_KILLS").unwrap_or(KILLS));
    let mut rng = Rng::with_seed(seed);
    let folder = tempfile::tempdir()?;
    let store = folder.path().join("data");
    let serve = Tollgate::serve_small(&store, SEGMENT_BYTES);
    let mut server = serve.start()?;
    let mut client = server.client();
    for number in 0..WIDE_ORGS {
        make_wide_org(&mut client, &format!("wide-{number}"))?;
    }
    let started = Instant::now();
    let tight_orgs = Arc::new(RwLock::new(Vec::new()));
    let connections = rng.u64(16..=64);
    let drawn = Arc::clone(&tight_orgs);
    let draw: Arc<tollgate_e2e::load::Draw> = Arc::new(move |rng: &mut Rng| draw(&drawn, rng));
    let load = Load::start(&[server.address()], connections, seed, &draw);
    let mut starts = Vec::new();
    for round in 0..kills {
        let orgs = make_tight_orgs(&mut server.client(), round)?;
        *tight_orgs.write().expect("no reader panics") = orgs;
        pause(Duration::from_millis(rng.u64(LIFE_MILLIS)));
        server.kill()?;
        server = serve.start()?;
        starts.push(server.ready_after);
        load.move_to(0, server.address());
    }
    let attempts = load.finish()?;
    let lasted = started.elapsed();

    let mut client = server.client();
    let books = read_books(&mut client)?;
    super::assert_none(&compare(&attempts, &books), "what callers were told is not what the ledger says");
    for (org, ledger) in &books {
        let (plan, rules) = match rules_of(org) {
            Some(rules) => (rules.allowance, rules),
            None => (1_000, Rules { allowance: 1_000, each_user: None, one_clock: true }),
        };
        super::assert_none(&overshoot(org, ledger, rules), "more was allowed than was granted");
        super::assert_none(&unbalanced(&mut client, org, ledger, plan)?, "a balance is not its ledger's sum");
    }
    server.stop()?;
    super::assert_verified(&store);

    let tally = Tally::of(&attempts);
    starts.sort_unstable();
    println!(
        "{kills} kills under {connections} connections in {:.1} s: {} usages and top-ups, {} allowed ({} of them counted \
         before a crash took the answer and told again), {} denied, {} never answered; 0 lost, 0 double, 0 too many; \
         ready after a kill within {} ms at the median, {} ms at most",
        lasted.as_secs_f64(),
        attempts.len(),
        tally.yes,
        tally.replayed,
        tally.no.values().sum::<usize>(),
        tally.unknown,
        starts[kills / 2].as_millis(),
        starts[kills - 1].as_millis(),
    );
    // A run in which nothing raced with a crash shows nothing.
    assert!(tally.replayed > 0 && tally.unknown > 0, "no answer was lost in {kills} kills: {tally:?}");
    assert!(tally.refused("org_limit_reached") > 0 && tally.refused("user_limit_reached") > 0, "{tally:?}");
    Ok(())
}

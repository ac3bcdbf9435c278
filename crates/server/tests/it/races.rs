//! Many clients at once: no interleaving lets more pass than credit and limits cover, and a key counts once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Barrier;
use std::thread;

use serde_json::{Value, json};

use crate::client::{Ask, Client, Reply, given};
use crate::server::TestServer;

const CLIENTS: usize = 64;

/// Runs a client in each of many threads, all let go at once; gives what each brought home.
pub(crate) fn race<T: Send>(
    server: &TestServer,
    clients: usize,
    run: impl Fn(usize, &mut Client, &Barrier) -> T + Sync,
) -> Vec<T> {
    let gate = Barrier::new(clients);
    let (gate, run) = (&gate, &run);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..clients)
            .map(|number| {
                let mut client = server.client();
                scope.spawn(move || run(number, &mut client, gate))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a client ends well")).collect()
    })
}

fn usage(org: &str, user: Option<&str>, key: &str) -> Ask {
    Ask::new("POST", "/v1/usage")
        .json(given(json!({"org": org, "user": user, "meter": "reports", "key": key})))
}

/// The keys of the usages in an org's ledger, each of which must stand there once.
fn keys_counted(client: &mut Client, org: &str) -> BTreeSet<String> {
    let entries = client.get(&format!("/v1/orgs/{org}/ledger?order=oldest&limit=1000")).ok();
    assert!(entries["next"].is_null(), "the ledger of {org} has more than a page");
    let mut keys = BTreeSet::new();
    for entry in entries["entries"].as_array().expect("entries") {
        if entry["kind"] == "used" {
            let key = entry["key"].as_str().expect("a key").to_owned();
            assert!(keys.insert(key.clone()), "{key} was counted twice");
        }
    }
    keys
}

fn reports(client: &mut Client, org: &str) -> Value {
    client.get(&format!("/v1/orgs/{org}/balance")).ok()["meters"]["reports"].clone()
}

#[test]
fn of_sixty_four_clients_as_many_win_as_there_are_credits() {
    const ROUNDS: usize = 100;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let server = TestServer::start();
    let mut client = server.client();
    let left: Vec<usize> = (0..ROUNDS).map(|_| random.usize(1..=20)).collect();
    for (round, left) in left.iter().enumerate() {
        client.put(&format!("/v1/orgs/race-{round}/plan"), json!({"plan": "lite"})).ok();
        if *left < 20 {
            let used = json!({"org": format!("race-{round}"), "meter": "reports", "quantity": 20 - left, "key": "before"});
            client.post("/v1/usage", used).ok();
        }
    }
    let heard = race(&server, CLIENTS, |number, client, gate| {
        let rounds = (0..ROUNDS).map(|round| {
            let ask = usage(&format!("race-{round}"), None, &format!("client-{number}"));
            gate.wait();
            client.ask(&ask)
        });
        rounds.collect::<Vec<_>>()
    });
    for (round, left) in left.into_iter().enumerate() {
        let org = format!("race-{round}");
        let mut won = BTreeMap::new();
        for (number, replies) in heard.iter().enumerate() {
            let reply = &replies[round];
            match reply.status {
                200 => {
                    let remaining = reply.json()["remaining"].as_u64().expect("a whole number");
                    assert!(won.insert(remaining, format!("client-{number}")).is_none(), "{org} {remaining}");
                }
                _ => reply.is_problem(402, "org_limit_reached", None),
            }
        }
        let remaining: Vec<usize> = won.keys().map(|left| usize::try_from(*left).expect("small")).collect();
        assert_eq!(remaining, (0..left).collect::<Vec<_>>(), "{org}: {left} credits");
        let mut counted = keys_counted(&mut client, &org);
        counted.remove("before");
        assert_eq!(counted, won.into_values().collect(), "{org}: the ledger has who was told yes");
        let reports = reports(&mut client, &org);
        assert_eq!((&reports["used"], &reports["remaining"]), (&json!(20), &json!(0)), "{org}");
    }
}

#[test]
fn a_key_sent_a_thousand_times_at_once_counts_once() {
    const TIMES: usize = 1_000;
    let server = TestServer::start();
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": "basic"})).ok();
    let ask = usage("acme", Some("ada"), "the-one");
    let replies: Vec<Reply> = race(&server, CLIENTS, |number, client, gate| {
        // All of a connection's share is on its way before the first answer is read.
        let share = TIMES / CLIENTS + usize::from(number < TIMES % CLIENTS);
        let bytes = ask.bytes(None).repeat(share);
        gate.wait();
        client.send_raw(&bytes).expect("it is sent");
        (0..share).map(|_| client.read().expect("an answer to each")).collect::<Vec<_>>()
    })
    .concat();
    assert_eq!(replies.len(), TIMES);
    let mut first = 0;
    for reply in &replies {
        let mut body = reply.ok();
        first += usize::from(body["replayed"] == json!(false));
        body["replayed"] = json!(null);
        assert_eq!(
            body,
            json!({
                "allowed": true, "replayed": null, "key": "the-one", "org": "acme", "user": "ada",
                "meter": "reports", "quantity": 1, "remaining": 99, "used": 1, "total": 100,
                "user_used": 1, "entry": 2
            })
        );
    }
    assert_eq!(first, 1, "one was counted, all others are replays");
    assert_eq!(keys_counted(&mut client, "acme").len(), 1);
    let reports = reports(&mut client, "acme");
    assert_eq!((&reports["used"], &reports["lifetime"]), (&json!(1), &json!(1)));
}

#[test]
fn a_key_raced_for_by_two_contents_goes_to_one_of_them() {
    let server = TestServer::start();
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": "ultimate"})).ok();
    for round in 0..10 {
        let replies = race(&server, 16, |number, client, gate| {
            let quantity = 1 + number % 2;
            let body =
                json!({"org": "acme", "meter": "reports", "quantity": quantity, "key": format!("k-{round}")});
            gate.wait();
            (quantity, client.post("/v1/usage", body))
        });
        let winner = replies.iter().find(|(_, reply)| reply.status == 200).expect("somebody wins").0;
        for (quantity, reply) in replies {
            if quantity == winner {
                assert_eq!(reply.ok()["quantity"], quantity);
            } else {
                reply.is_problem(422, "key_reused", Some("key"));
            }
        }
    }
}

#[test]
fn no_limit_lets_another_be_passed() {
    const EACH: usize = 10;
    const USERS: usize = 5;
    let server = TestServer::start();
    let mut client = server.client();
    // The smallest of credit, day and the users' months together decides; the second day takes what the first left.
    for (org, plan, by_day) in [("day-first", "basic", [30, 20]), ("credit-first", "lite", [20, 0])] {
        server.at("2026-11-02T10:00:00Z");
        client.put(&format!("/v1/orgs/{org}/plan"), json!({"plan": plan})).ok();
        for limit in [
            json!({"meter": "reports", "scope": "org", "window": "day", "amount": 30}),
            json!({"meter": "reports", "scope": "user", "window": "month", "amount": EACH}),
        ] {
            client.put(&format!("/v1/orgs/{org}/limits"), limit).ok();
        }
        let mut used = BTreeMap::<usize, usize>::new();
        for (day, wanted) in by_day.into_iter().enumerate() {
            server.at(["2026-11-02T23:00:00Z", "2026-11-03T00:00:00Z"][day]);
            let replies = race(&server, CLIENTS, |number, client, gate| {
                let user = number % USERS;
                gate.wait();
                let tries = (0..4).map(|attempt| {
                    let key = format!("{day}-{number}-{attempt}");
                    client.ask(&usage(org, Some(&format!("user-{user}")), &key))
                });
                (user, tries.collect::<Vec<_>>())
            });
            let mut allowed = 0;
            for (user, replies) in replies {
                for reply in replies {
                    match (reply.status, reply.json()["code"].as_str()) {
                        (200, None) => {
                            allowed += 1;
                            *used.entry(user).or_default() += 1;
                        }
                        (403 | 429, Some("org_limit_reached" | "user_limit_reached"))
                        | (402, Some("org_limit_reached")) => {}
                        _ => panic!("{} {}", reply.status, reply.text()),
                    }
                }
            }
            assert_eq!(allowed, wanted, "{org}, day {day}");
        }
        assert!(used.values().all(|used| *used <= EACH), "{org}: {used:?}");
        let told = client.get(&format!("/v1/orgs/{org}/balance")).ok();
        let reports = &told["meters"]["reports"];
        assert_eq!(reports["used"], by_day.iter().sum::<i32>(), "{org}: refusals consume nothing");
        for user in reports["users"].as_array().expect("users") {
            let number: usize = user["user"]
                .as_str()
                .and_then(|id| id.strip_prefix("user-"))
                .expect("ours")
                .parse()
                .expect("a number");
            assert_eq!(user["used"], used[&number], "{org}: {user}");
        }
    }
}

#[test]
fn top_ups_and_reversals_under_way_are_neither_lost_nor_counted_twice() {
    let server = TestServer::start();
    let mut client = server.client();
    client.put("/v1/orgs/acme/plan", json!({"plan": "lite"})).ok();
    let heard = race(&server, CLIENTS, |number, client, gate| {
        gate.wait();
        let mut kept = 0_i64;
        for attempt in 0..6 {
            let key = format!("{number}-{attempt}");
            if number % 8 == 0 {
                let top_up = json!({"meter": "reports", "amount": 1, "key": key});
                client.post("/v1/orgs/acme/top-ups", top_up.clone()).ok();
                assert_eq!(client.post("/v1/orgs/acme/top-ups", top_up).ok()["replayed"], true);
                continue;
            }
            let reply = client.ask(&usage("acme", None, &key));
            if reply.status != 200 {
                reply.is_problem(402, "org_limit_reached", None);
                continue;
            }
            assert!(reply.json()["remaining"].as_i64().expect("whole") >= 0);
            if number % 8 == 1 {
                let reversal = json!({"org": "acme", "key": key});
                assert_eq!(client.post("/v1/usage/reversals", reversal).ok()["replayed"], false);
            } else {
                kept += 1;
            }
        }
        kept
    });
    let granted = 20 + i64::try_from(CLIENTS / 8 * 6).expect("small");
    let kept: i64 = heard.into_iter().sum();
    let reports = reports(&mut client, "acme");
    assert_eq!(reports["used"], kept);
    assert_eq!(reports["remaining"], granted - kept, "balance = granted - burned");
    assert!(kept <= granted, "{kept} of {granted}");
    let credits = reports["credits"].as_array().expect("credits");
    let sum = |name: &str| credits.iter().filter_map(|credit| credit[name].as_i64()).sum::<i64>();
    assert_eq!((sum("granted"), sum("used")), (granted, kept), "per source and in sum");
}

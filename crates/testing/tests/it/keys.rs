//! Callers' keys on one shared store: what was counted by one engine is known to all, though none of them looks a key up before
//! it decides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tollgate_domain::{
    Amount, Capture, ConfigDenial, HoldDenial, MeterId, OnExpiry, OrgCommand, OrgDecision, OrgId, Quantity,
    RecordDenial, ReversalDenial, Reverse, SignedDuration, TakeHold, Timestamp, TopUp, TopUpExpiry,
    TopUpStart, UsageKey, Use,
};
use tollgate_engine::{Clock, EngineOptions, Pace};
use tollgate_storage::Store;

use crate::shared::{Replicas, pursue, rounds};

/// How long keys are remembered here.
const KEEP_SECS: i64 = 3_600;

/// Keys that are sent by several clients at once, in one round.
const KEYS: usize = 40;

/// How often each is sent.
const TIMES: usize = 6;

/// Engines that take every key for new that they do not have in memory, at every turn; or until the first one is not.
pub(crate) fn options(clock: &Clock, look_ups_after_conflict: u32) -> EngineOptions {
    let pace = Pace { look_ups_after_conflict, ..Pace::default() };
    EngineOptions { clock: clock.clone(), key_keep_secs: KEEP_SECS, pace, ..EngineOptions::default() }
}

fn key(text: &str) -> UsageKey {
    UsageKey::new(text).expect("a key")
}

fn reports() -> MeterId {
    MeterId::new("reports").expect("an id")
}

fn usage(of: &str, quantity: i64) -> Use {
    Use {
        user: None,
        path: None,
        meter: reports(),
        quantity: Quantity::parse(&quantity.to_string()).expect("a quantity"),
        key: key(of),
        occurred_at: None,
        properties: BTreeMap::new(),
    }
}

fn uses(of: &str, quantity: i64) -> OrgCommand {
    OrgCommand::Use(usage(of, quantity))
}

fn records(of: &str, quantity: i64) -> OrgCommand {
    OrgCommand::Record(usage(of, quantity))
}

fn reverses(of: &str) -> OrgCommand {
    OrgCommand::Reverse(Reverse { key: key(of) })
}

fn tops_up(of: &str, amount: i64) -> OrgCommand {
    OrgCommand::TopUp(TopUp {
        meter: reports(),
        amount: Quantity::parse(&amount.to_string()).expect("a quantity"),
        key: Some(key(of)),
        expiry: TopUpExpiry::Never,
        start: TopUpStart::Now,
        priority: 0,
        reason: None,
        metadata: BTreeMap::new(),
    })
}

fn holds(of: &str, quantity: i64) -> OrgCommand {
    let (overrun, on_expiry) = (Amount::ZERO, OnExpiry::Release);
    OrgCommand::Hold(TakeHold { usage: usage(of, quantity), within: None, secs: 600, overrun, on_expiry })
}

fn captures(hold: u64, part: &str) -> OrgCommand {
    OrgCommand::Capture(Capture { hold, quantity: Some(Amount::from_whole(1)), part: Some(key(part)) })
}

/// What a caller is told.
fn said(decision: &OrgDecision) -> &'static str {
    let made = |replayed| if replayed { "replayed" } else { "made" };
    match decision {
        OrgDecision::Use(Ok(allowed)) => made(allowed.replayed),
        OrgDecision::Use(Err(denied)) => denied.denial.code(),
        OrgDecision::Record(Ok(recorded)) => made(recorded.duplicate),
        OrgDecision::Record(Err(denial)) => RecordDenial::code(denial),
        OrgDecision::Hold(Ok(taken)) => made(taken.replayed),
        OrgDecision::Hold(Err(refused)) => refused.code(),
        OrgDecision::Capture(Ok(captured)) => made(captured.replayed),
        OrgDecision::Capture(Err(denial)) => HoldDenial::code(denial),
        OrgDecision::Reverse(Ok(reversed)) => made(reversed.replayed),
        OrgDecision::Reverse(Err(ReversalDenial::UnknownKey)) => "unknown_key",
        OrgDecision::TopUp(Ok(topped_up)) => made(topped_up.replayed),
        OrgDecision::TopUp(Err(ConfigDenial::KeyReused)) => "key_reused",
        other => panic!("{other:?}"),
    }
}

/// Two engines, each with [options] by this clock.
pub(crate) fn keys_are_known_to_all<S: Store>(replicas: Replicas<S>, clock: &Clock, noon: Timestamp) {
    let (acme, other) = (replicas.customer("acme"), replicas.customer("other"));
    let ask = |engine: usize, org: &OrgId, command: &OrgCommand| {
        let asked =
            replicas.engines()[engine].submit(&tollgate_domain::Actor::Local, org.clone(), command.clone());
        replicas.block_on(asked).expect("a decision")
    };
    let check = |cases: &[(usize, &OrgId, OrgCommand, &str)]| {
        for (engine, org, command, wanted) in cases {
            assert_eq!(said(&ask(*engine, org, command)), *wanted, "engine {engine}, {org}: {command:?}");
        }
    };
    // Of 20 reports.
    check(&[
        (0, &acme, uses("k1", 5), "made"),
        (1, &acme, uses("k1", 5), "replayed"),
        (1, &acme, uses("k1", 6), "key_reused"),
        (1, &other, uses("k1", 5), "made"),
        (0, &other, uses("k1", 5), "replayed"),
        (0, &acme, records("r1", 1), "made"),
        (1, &acme, records("r1", 1), "replayed"),
        (1, &acme, reverses("k1"), "made"),
        (0, &acme, reverses("k1"), "replayed"),
        (0, &acme, uses("k1", 5), "key_reversed"),
        (1, &acme, reverses("nobody's"), "unknown_key"),
        (0, &acme, uses("the rest", 19), "made"),
        // A refusal is not remembered, and what was counted before is not refused.
        (1, &acme, uses("k2", 1), "org_limit_reached"),
        (1, &acme, uses("the rest", 19), "replayed"),
        (0, &acme, uses("the rest", 18), "key_reused"),
        (0, &acme, tops_up("t1", 5), "made"),
        (1, &acme, tops_up("t1", 5), "replayed"),
        (0, &acme, tops_up("t1", 6), "key_reused"),
        (1, &acme, uses("t1", 1), "made"),
        (0, &acme, uses("k2", 1), "made"),
        (1, &acme, uses("k2", 1), "replayed"),
    ]);
    let OrgDecision::Hold(Ok(taken)) = ask(0, &acme, &holds("h1", 2)) else { panic!("no hold") };
    let hold = taken.hold.number;
    check(&[
        (1, &acme, holds("h1", 2), "replayed"),
        (0, &acme, uses("h1", 2), "key_reused"),
        (1, &acme, captures(hold, "p1"), "made"),
        (0, &acme, captures(hold, "p1"), "replayed"),
        (1, &acme, uses("p1", 2), "key_reused"),
    ]);
    // In one batch.
    let batch = [
        (&acme, uses("b1", 1), "made"),
        (&acme, uses("b1", 1), "replayed"),
        (&other, uses("b1", 1), "made"),
        (&acme, uses("b1", 2), "key_reused"),
        (&acme, uses("k2", 1), "replayed"),
        (&acme, uses("too much", 99), "org_limit_reached"),
        (&acme, reverses("b1"), "made"),
        (&acme, uses("b1", 1), "key_reversed"),
        (&other, uses("b1", 1), "replayed"),
    ];
    let commands = batch.iter().map(|(org, command, _)| (OrgId::clone(org), command.clone())).collect();
    let decided = replicas.engines()[1].submit_batch(&tollgate_domain::Actor::Local, commands);
    let decided = replicas.block_on(decided).expect("decisions");
    assert_eq!(
        decided.iter().map(said).collect::<Vec<_>>(),
        batch.iter().map(|(.., wanted)| *wanted).collect::<Vec<_>>()
    );
    // The store may know a key for longer than it is answered for.
    clock.set(noon + SignedDuration::from_secs(KEEP_SECS));
    check(&[
        (0, &acme, uses("k2", 1), "made"),
        (1, &acme, uses("k2", 1), "replayed"),
        (1, &acme, records("r1", 1), "made"),
        (0, &acme, records("r1", 1), "replayed"),
    ]);
    let counted = |org: &OrgId| replicas.ledger(org).0.into_iter().collect::<Vec<_>>();
    let named = |keys: &[(&str, usize)]| {
        keys.iter().map(|(key, count)| ((*key).to_owned(), *count)).collect::<Vec<_>>()
    };
    let wanted = [("b1", 1), ("k1", 1), ("k2", 2), ("p1", 1), ("r1", 2), ("t1", 1), ("the rest", 1)];
    assert_eq!(counted(&acme), named(&wanted));
    assert_eq!(counted(&other), named(&[("b1", 1), ("k1", 1)]));
    if replicas.engines()[0].store().capabilities().knows_new {
        let again: u64 = replicas.engines().iter().map(|engine| engine.metrics().conflicts.get()).sum();
        assert!(again > 0, "keys were taken for new that are not");
    }
    replicas.shut_down();
}

/// The same key is sent to all engines at once, whose answers are lost now and then: it counts once, and every answer is the same.
pub(crate) fn race_for_keys<S: Store>(replicas: Replicas<S>) {
    let lost = Arc::new(AtomicU64::new(0));
    for round in 0..rounds() {
        let org = replicas.customer(&format!("raced for {round}"));
        replicas.lose(7, 11);
        let clients: Vec<_> = (0..KEYS * TIMES)
            .map(|client| {
                let (engines, org) = (replicas.engines().to_vec(), org.clone());
                let lost = Arc::clone(&lost);
                replicas.spawn(async move {
                    let key = format!("key {}", client % KEYS);
                    let recorded = records(&key, 1);
                    (key, pursue(&engines, client % engines.len(), &org, recorded, &lost).await)
                })
            })
            .collect();
        let mut told: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        for client in clients {
            match replicas.block_on(client).expect("no client failed") {
                (key, OrgDecision::Record(Ok(recorded))) => {
                    told.entry(key).or_default().insert(recorded.entry);
                }
                (_, other) => panic!("{other:?}"),
            }
        }
        replicas.lose(0, 0);
        assert!(told.values().all(|entries| entries.len() == 1), "round {round}: one answer each: {told:?}");
        let (ledger, _) = replicas.ledger(&org);
        assert!(ledger.values().all(|count| *count == 1), "round {round}: each once: {ledger:?}");
        assert_eq!(ledger.keys().collect::<Vec<_>>(), told.keys().collect::<Vec<_>>(), "round {round}");
        assert_eq!(ledger.len(), KEYS);
    }
    println!("{} rounds, {} outcomes left unknown", rounds(), lost.load(Ordering::Relaxed));
    replicas.shut_down();
}

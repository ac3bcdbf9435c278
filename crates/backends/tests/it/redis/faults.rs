//! What the store makes of lost answers, late requests, servers that are gone, and aggregators that die.

use tollgate_backends::redis::{RedisOptions, RedisStore};
use tollgate_domain::Partition;
use tollgate_peers::{Proxy, Redis};
use tollgate_storage::conformance::{append_using, image_after};
use tollgate_storage::{Appended, Scan, Store, StoreErrorKind};

use super::{NEVER, moved, open, redis};
use crate::postgres::{next_schema, server};
use crate::shared::{self, answers, entry, numbers, version};
use crate::support::{org, run};

/// A store of this schema by way of proxies to either server.
fn open_by(redis: &Proxy, postgres: &Proxy, schema: &str, settings: &str) -> RedisStore {
    let url = format!(
        "redis+{}?schema={schema}&redis={}{settings}",
        server().url_by(postgres.port()),
        super::redis().url_by(redis.port())
    );
    let mut options = RedisOptions::from_url(&url).expect("a URL");
    options.flush = NEVER;
    RedisStore::open(options).expect("opens")
}

fn proxies() -> (Proxy, Proxy) {
    let redis = Proxy::start(redis().port()).expect("a proxy");
    (redis, Proxy::start(server().port()).expect("a proxy"))
}

#[test]
fn an_append_whose_answer_is_lost_is_made_once() {
    let (schema, acme) = (next_schema(), org("acme"));
    let (proxy, other) = proxies();
    let store = open_by(&proxy, &other, &schema, "");
    assert_eq!(answers(&store, &append_using(&acme, 1, 0, ["a"])), [Appended::Done]);
    let before = proxy.cuts();
    proxy.lose_next_answer();
    assert_eq!(answers(&store, &append_using(&acme, 2, 1, ["b", "c"])), [Appended::Done]);
    assert_eq!(proxy.cuts(), before + 1, "the answer was lost");
    assert_eq!(version(&store, &acme), 3);
    // A conflict stays one.
    proxy.lose_next_answer();
    assert_eq!(answers(&store, &append_using(&acme, 3, 1, ["d"])), [Appended::Conflict]);
    assert_eq!((entry(&store, &acme, "c"), entry(&store, &acme, "d")), (Some(3), None));
    run(store.flush()).expect("moves");
    assert_eq!(moved(&schema, &acme), "3|3");
}

#[test]
fn what_became_of_an_append_is_known_after_its_entries_moved() {
    let (schema, acme) = (next_schema(), org("acme"));
    let (proxy, other) = proxies();
    let store = open_by(&proxy, &other, &schema, "");
    let beside = open(&redis().url(), &schema);
    assert_eq!(answers(&store, &append_using(&acme, 1, 0, ["a"])), [Appended::Done]);
    std::thread::scope(|scope| {
        // It is made, the answer is lost, and nobody is let through until its entry is in the database and others came.
        proxy.refuse(true);
        proxy.lose_next_answer();
        let lost = scope.spawn(|| answers(&store, &append_using(&acme, 2, 1, ["b"])));
        while version(&beside, &acme) < 2 {}
        run(beside.flush()).expect("moves");
        assert_eq!(answers(&beside, &append_using(&acme, 3, 2, ["c"])), [Appended::Done]);
        proxy.refuse(false);
        assert_eq!(lost.join().expect("it was answered"), [Appended::Done]);
    });
    assert_eq!(numbers(&store, &acme), [1, 2, 3]);
}

#[test]
fn what_arrives_late_changes_nothing_any_more() {
    let (proxy, other) = proxies();
    let store = open_by(&proxy, &other, &next_schema(), "");
    shared::what_arrives_late_changes_nothing(&store, &proxy);
}

#[test]
fn what_is_not_known_is_not_said_to_be_nothing() {
    let (schema, acme) = (next_schema(), org("acme"));
    let (proxy, other) = proxies();
    let store = open_by(&proxy, &other, &schema, "&patience=1");
    let beside = open(&redis().url(), &schema);
    assert_eq!(answers(&store, &append_using(&acme, 1, 0, ["a"])), [Appended::Done]);
    // It is made, the answer is lost, and then nobody answers any more.
    proxy.lose_next_answer();
    proxy.refuse(true);
    let lost = run(store.append(vec![append_using(&acme, 2, 1, ["b"])])).expect_err("no answer");
    assert_eq!(lost.kind(), StoreErrorKind::Io, "{lost}");
    // What is never sent is known not to be made.
    let refused = run(store.append(vec![append_using(&acme, 3, 2, ["c"])])).expect_err("no connection");
    assert_eq!(refused.kind(), StoreErrorKind::Unavailable, "{refused}");
    assert_eq!(version(&beside, &acme), 2);
    proxy.refuse(false);
    assert_eq!(version(&store, &acme), 2, "it goes on");
    assert_eq!(answers(&store, &append_using(&acme, 3, 2, ["c"])), [Appended::Done]);
}

/// Each answer that moving and its forgetting wait for is lost in turn, then each request on its way, and the mover dies there.
#[test]
fn entries_move_once_wherever_the_mover_dies() {
    let schema = next_schema();
    let (proxy, other) = proxies();
    let orgs = ["a", "b", "c"].map(org);
    let beside = open(&redis().url(), &schema);
    let mut next = 0_u64;
    let mut append = |count: usize| {
        for id in &orgs {
            let keys: Vec<String> = (0..count).map(|of| format!("{next} {of}")).collect();
            let append = append_using(id, 1, next, keys.iter().map(String::as_str));
            assert_eq!(answers(&beside, &append), [Appended::Done]);
        }
        next += u64::try_from(count).expect("few");
        next
    };
    for step in 0..8_u64 {
        let wanted = append(3);
        let mover = open_by(&proxy, &other, &schema, "&patience=1");
        let (cut, at) = if step % 2 == 0 { (&proxy, step / 2) } else { (&other, step / 2) };
        // After so many answers it is cut off for good.
        cut.lose_after(at);
        drop(run(mover.flush()));
        drop(mover);
        cut.lose_after(u64::MAX);
        cut.refuse(false);
        for id in &orgs {
            let all: Vec<u64> = (1..=wanted).collect();
            assert_eq!(numbers(&beside, id), all, "step {step}");
            assert_eq!(version(&beside, id), wanted, "step {step}");
        }
    }
    run(beside.flush()).expect("moves");
    for id in &orgs {
        assert_eq!(moved(&schema, id), "24|24", "{id}: each entry once");
    }
    let left = redis().ask(&["KEYS", &format!("{schema}:*:tail:*")]).expect("keys");
    assert_eq!(left, "", "the Redis forgot what was moved");
    let left = redis().ask(&["KEYS", &format!("{schema}:*:keys:*")]).expect("keys");
    assert_eq!(left, "", "and its keys");
}

#[test]
fn two_move_the_same_entries_beside_each_other_and_each_comes_once() {
    let (schema, acme) = (next_schema(), org("acme"));
    let stores = [0, 1].map(|_| open(&redis().url(), &schema));
    let mut expected = 0;
    for round in 0..20 {
        let keys: Vec<String> = (0..40).map(|key| format!("{round} {key}")).collect();
        let append = append_using(&acme, round, expected, keys.iter().map(String::as_str));
        assert_eq!(answers(&stores[0], &append), [Appended::Done]);
        expected += 40;
        std::thread::scope(|scope| {
            for store in &stores {
                scope.spawn(|| run(store.flush()).expect("moves"));
            }
        });
        assert_eq!(moved(&schema, &acme), format!("{expected}|{expected}"));
    }
}

#[test]
fn an_image_is_of_what_the_database_has() {
    let (schema, acme) = (next_schema(), org("acme"));
    let store = open(&redis().url(), &schema);
    let append = append_using(&acme, 1, 0, ["a", "b"]);
    assert_eq!(answers(&store, &append), [Appended::Done]);
    assert_eq!(moved(&schema, &acme), "0|0");
    run(store.checkpoint(vec![image_after([&append])].into(), 0)).expect("an image");
    assert_eq!(moved(&schema, &acme), "2|2");
    let opened = run(Store::open(&store, &[Partition::Org(acme.clone())])).expect("opens").remove(0);
    assert_eq!((opened.image(), opened.entries.len()), (2, 0));
    assert!(run(store.scan(&Scan::Orgs, None, 10)).expect("orgs").next.is_none());
}

#[test]
fn a_redis_that_would_not_keep_the_promises_is_refused() {
    let refused = |redis: &Redis, settings: &str| {
        let url =
            format!("redis+{}?schema={}&redis={}{settings}", server().url(), next_schema(), redis.url());
        let opened = RedisStore::open(RedisOptions::from_url(&url).expect("a URL"));
        let error = opened.expect_err("refused");
        (error.kind(), error.to_string())
    };
    let (kind, text) = refused(redis(), "&durable=always");
    assert_eq!(kind, StoreErrorKind::Format);
    assert!(text.contains("appendonly yes"), "{text}");
    let forgets =
        Redis::start(&["--maxmemory 100mb", "--maxmemory-policy allkeys-lru"]).expect("Redis starts");
    let (kind, text) = refused(&forgets, "");
    assert_eq!(kind, StoreErrorKind::Format);
    assert!(text.contains("maxmemory-policy is allkeys-lru"), "{text}");
}

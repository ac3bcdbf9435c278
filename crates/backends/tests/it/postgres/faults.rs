//! What the store makes of lost answers, late requests, a database that is gone, and others in the same rows.

use std::thread;

use fastrand::Rng;
use tollgate_backends::postgres::{PostgresOptions, PostgresStore};
use tollgate_domain::{KeyId, OrgId, Partition};
use tollgate_peers::{Postgres, Proxy};
use tollgate_storage::conformance::{append_using, image_after};
use tollgate_storage::{Append, Appended, Store, StoreErrorKind};

use super::{next_schema, server};
use crate::shared::{self, answers, entry, numbers, version};
use crate::support::{key_id, org, run};

/// A store of this schema by way of a proxy.
fn open_by(server: &Postgres, proxy: &Proxy, schema: &str, settings: &str) -> PostgresStore {
    let url = format!("{}?schema={schema}{settings}", server.url_by(proxy.port()));
    PostgresStore::open(PostgresOptions::from_url(&url).expect("a URL")).expect("opens")
}

#[test]
fn an_append_whose_answer_is_lost_is_made_once() {
    append_is_made_once(server());
}

pub(super) fn append_is_made_once(server: &Postgres) {
    let (schema, acme) = (next_schema(), org("acme"));
    let proxy = Proxy::start(server.port()).expect("a proxy");
    let store = open_by(server, &proxy, &schema, "");
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
    // By the time it asks again, the keys that it took for new are known, by its own first attempt.
    proxy.lose_next_answer();
    assert_eq!(answers_new(&store, &append_using(&acme, 4, 3, ["e", "f"]), &["e", "f"]), [Appended::Done]);
    // A known key stays known.
    proxy.lose_next_answer();
    assert_eq!(
        answers_new(&store, &append_using(&acme, 5, 5, ["g", "e"]), &["g", "e"]),
        [Appended::Conflict]
    );
    assert_eq!(proxy.cuts(), before + 4, "each answer was lost");
    assert_eq!((version(&store, &acme), entry(&store, &acme, "g")), (5, None));
}

/// Appends what was decided as if some keys were new.
fn answers_new(store: &PostgresStore, append: &Append, keys: &[&str]) -> Vec<Appended> {
    let Partition::Org(id) = &append.partition else { panic!("an org") };
    let new: Vec<KeyId> = keys.iter().map(|key| key_id(id, key)).collect();
    run(store.append_new(vec![append.clone()], &new)).expect("appends").answers
}

#[test]
fn what_arrives_late_changes_nothing_any_more() {
    late_changes_nothing(server());
}

pub(super) fn late_changes_nothing(server: &Postgres) {
    let proxy = Proxy::start(server.port()).expect("a proxy");
    let store = open_by(server, &proxy, &next_schema(), "");
    shared::what_arrives_late_changes_nothing(&store, &proxy);
    // Also what was refused for a key, which moved no version.
    let acme = org("acme");
    proxy.hold_next_request();
    assert_eq!(
        answers_new(&store, &append_using(&acme, 5, 4, ["e", "a"]), &["e", "a"]),
        [Appended::Conflict]
    );
    proxy.release();
    assert_eq!(answers_new(&store, &append_using(&acme, 5, 4, ["f"]), &["f"]), [Appended::Done]);
    assert_eq!(numbers(&store, &acme), [1, 2, 3, 4, 5]);
    assert_eq!((entry(&store, &acme, "e"), entry(&store, &acme, "f")), (None, Some(5)));
}

#[test]
fn of_many_that_take_a_key_for_new_one_makes_it() {
    key_is_made_once(server());
}

pub(super) fn key_is_made_once(server: &Postgres) {
    const KEYS: usize = 60;
    let (schema, acme) = (next_schema(), org("acme"));
    let made: usize = thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|_| {
                let (schema, acme) = (&schema, &acme);
                scope.spawn(move || {
                    let store = super::open_by(&server.url(), schema).expect("opens");
                    (0..KEYS).filter(|key| makes_key(&store, acme, &format!("key {key}"))).count()
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().expect("no writer failed")).sum()
    });
    let store = super::open_by(&server.url(), &schema).expect("opens");
    assert_eq!(made, KEYS, "each once");
    assert_eq!(usize::try_from(version(&store, &acme)).expect("few"), made);
}

/// Appends an entry under a key, unless the key is known; whether it was this call that did.
fn makes_key(store: &PostgresStore, id: &OrgId, key: &str) -> bool {
    loop {
        let append = append_using(id, 1, version(store, id), [key]);
        match answers_new(store, &append, &[key])[..] {
            [Appended::Done] => return true,
            _ if entry(store, id, key).is_some() => return false,
            _ => {}
        }
    }
}

#[test]
fn what_is_not_known_is_not_said_to_be_nothing() {
    unknown_is_said(server());
}

pub(super) fn unknown_is_said(server: &Postgres) {
    let (schema, acme) = (next_schema(), org("acme"));
    let proxy = Proxy::start(server.port()).expect("a proxy");
    let store = open_by(server, &proxy, &schema, "&patience=1");
    let beside = super::open_by(&server.url(), &schema).expect("opens");
    assert_eq!(answers(&store, &append_using(&acme, 1, 0, ["a"])), [Appended::Done]);
    // It is made, the answer is lost, and then nobody answers any more.
    proxy.lose_next_answer();
    proxy.refuse(true);
    let lost = run(store.append(vec![append_using(&acme, 2, 1, ["b"])])).expect_err("no answer");
    assert!(!lost.kind().is_refusal(), "{lost}");
    assert_eq!(lost.kind(), StoreErrorKind::Io, "{lost}");
    // What is never sent is known not to be made.
    let refused = run(store.append(vec![append_using(&acme, 3, 2, ["c"])])).expect_err("no connection");
    assert_eq!(refused.kind(), StoreErrorKind::Unavailable, "{refused}");
    let unread = run(Store::open(&store, &[Partition::Org(acme.clone())])).expect_err("no connection");
    assert_eq!(unread.kind(), StoreErrorKind::Unavailable, "{unread}");
    assert_eq!(version(&beside, &acme), 2);
    proxy.refuse(false);
    assert_eq!(version(&store, &acme), 2, "it goes on");
    assert_eq!(answers(&store, &append_using(&acme, 3, 2, ["c"])), [Appended::Done]);
}

#[test]
fn calls_on_the_same_ledgers_in_any_order_never_wait_in_a_circle() {
    no_circle(server());
}

pub(super) fn no_circle(server: &Postgres) {
    const ORGS: usize = 12;
    const CALLS: u32 = 60;
    let schema = next_schema();
    let orgs: Vec<OrgId> = (0..ORGS).map(|number| org(&format!("org {number}"))).collect();
    let made: usize = thread::scope(|scope| {
        let writers: Vec<_> = (0..4_u64)
            .map(|writer| {
                let (schema, orgs) = (&schema, &orgs);
                scope.spawn(move || write_in_any_order(server, schema, orgs, writer, CALLS))
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().expect("no writer failed")).sum()
    });
    let store = super::open_by(&server.url(), &schema).expect("opens");
    let total: u64 = orgs.iter().map(|id| version(&store, id)).sum();
    assert_eq!(usize::try_from(total).expect("few"), made, "every append that was made, once");
    assert!(made > ORGS, "somebody came through");
}

/// Appends to some orgs at a time, new ones among them, and keeps images in between; gives how many appends were made.
fn write_in_any_order(server: &Postgres, schema: &str, orgs: &[OrgId], writer: u64, calls: u32) -> usize {
    let store = super::open_by(&server.url(), schema).expect("opens");
    let mut rng = Rng::with_seed(writer);
    let mut made = 0;
    for call in 0..calls {
        let mut some: Vec<&OrgId> = orgs.iter().filter(|_| rng.bool()).collect();
        rng.shuffle(&mut some);
        let partitions: Vec<Partition> = some.iter().map(|id| Partition::Org((*id).clone())).collect();
        let opened = run(Store::open(&store, &partitions)).expect("opens");
        let appends = some.iter().zip(opened).map(|(id, opened)| {
            let key = format!("{writer} {call} {id}");
            append_using(id, call, opened.version(), [key.as_str()])
        });
        let appended = run(store.append(appends.collect())).expect("appends");
        made += appended.answers.iter().filter(|answer| **answer == Appended::Done).count();
    }
    made
}

#[test]
fn keys_are_forgotten_after_their_time_in_pieces() {
    let (schema, acme) = (next_schema(), org("acme"));
    let url = format!("{}?schema={schema}", server().url());
    let mut options = PostgresOptions::from_url(&url).expect("a URL");
    options.keeping.key_secs = Some(100 * 365 * 86_400);
    options.keeping.counter_secs = Some(100 * 365 * 86_400);
    let store = PostgresStore::open(options.clone()).expect("opens");
    let keys: Vec<String> = (0..6_000).map(|number| format!("key {number}")).collect();
    let append = append_using(&acme, 1, 0, keys.iter().map(String::as_str));
    assert_eq!(answers(&store, &append), [Appended::Done]);
    run(store.checkpoint(vec![image_after([&append])].into(), 0)).expect("an image");
    run(store.sweep()).expect("sweeps");
    assert_eq!(entry(&store, &acme, "key 1"), Some(2), "it is kept");
    // The entries are of 2026, and so is the clock, or later: less than nothing is kept.
    options.keeping.key_secs = Some(-100 * 365 * 86_400);
    let store = PostgresStore::open(options).expect("opens");
    run(store.sweep()).expect("sweeps");
    let count = server().query(&format!("SELECT count(*) FROM {schema}.keys")).expect("a count");
    assert_eq!(count, "0", "more than one piece of them");
    assert_eq!(entry(&store, &acme, "key 1"), None);
    assert_eq!(version(&store, &acme), 6_000, "the ledger stays");
}

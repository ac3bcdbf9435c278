//! What the store makes of lost answers, late requests and a table that is not as it should be.

use std::thread;

use tollgate_backends::dynamo::{DynamoOptions, DynamoStore};
use tollgate_domain::Partition;
use tollgate_peers::Proxy;
use tollgate_storage::conformance::append_using;
use tollgate_storage::{Appended, Store, StoreErrorKind};

use super::{next_table, open, open_by, server};
use crate::shared::{self, answers, entry, version};
use crate::support::{org, run};

/// A store in this table by way of a proxy.
fn open_behind(proxy: &Proxy, table: &str, settings: &str) -> DynamoStore {
    open_by(&format!("{}{settings}", server().url_by(proxy.port(), table))).expect("opens")
}

#[test]
fn an_append_whose_answer_is_lost_is_made_once() {
    let (table, acme) = (next_table(), org("acme"));
    let proxy = Proxy::start(server().port()).expect("a proxy");
    let store = open_behind(&proxy, &table, "");
    assert_eq!(answers(&store, &append_using(&acme, 1, 0, ["a"])), [Appended::Done]);
    let before = proxy.cuts();
    proxy.lose_next_answer();
    assert_eq!(answers(&store, &append_using(&acme, 2, 1, ["b", "c"])), [Appended::Done]);
    assert_eq!(proxy.cuts(), before + 1, "the answer was lost");
    assert_eq!(version(&store, &acme), 3);
    // What another process made in its place is not taken for it.
    let beside = open(&table).expect("opens");
    assert_eq!(answers(&beside, &append_using(&acme, 3, 3, ["d"])), [Appended::Done]);
    proxy.lose_next_answer();
    assert_eq!(answers(&store, &append_using(&acme, 3, 3, ["e"])), [Appended::Conflict]);
    assert_eq!(proxy.cuts(), before + 2, "the answer was lost");
    assert_eq!((entry(&store, &acme, "d"), entry(&store, &acme, "e")), (Some(4), None));
}

#[test]
fn what_arrives_late_changes_nothing_any_more() {
    let proxy = Proxy::start(server().port()).expect("a proxy");
    shared::what_arrives_late_changes_nothing(&open_behind(&proxy, &next_table(), ""), &proxy);
}

#[test]
fn what_is_not_known_is_not_said_to_be_nothing() {
    let (table, acme) = (next_table(), org("acme"));
    let proxy = Proxy::start(server().port()).expect("a proxy");
    let store = open_behind(&proxy, &table, "&patience=1");
    let beside = open(&table).expect("opens");
    assert_eq!(answers(&store, &append_using(&acme, 1, 0, ["a"])), [Appended::Done]);
    // It is made, the answer is lost, and then nobody answers any more.
    proxy.lose_next_answer();
    proxy.refuse(true);
    let lost = run(store.append(vec![append_using(&acme, 2, 1, ["b"])])).expect_err("no answer");
    assert_eq!(lost.kind(), StoreErrorKind::Io, "{lost}");
    assert_eq!(version(&beside, &acme), 2);
    proxy.refuse(false);
    assert_eq!(version(&store, &acme), 2, "it goes on");
    assert_eq!(answers(&store, &append_using(&acme, 3, 2, ["c"])), [Appended::Done]);
}

#[test]
fn a_call_of_many_orgs_is_made_for_each_by_itself_and_a_larger_one_is_refused() {
    let store = open(&next_table()).expect("opens");
    let of = |place: usize| org(&format!("org {place:05}"));
    let taken = append_using(&of(7), 1, 0, ["first"]);
    assert_eq!(answers(&store, &taken), [Appended::Done]);
    let calls = |count: usize| (0..count).map(|place| append_using(&of(place), 2, 0, ["a"])).collect();
    let appended = run(store.append(calls(300))).expect("appends").answers;
    let conflicts: Vec<usize> = (0..300).filter(|place| appended[*place] == Appended::Conflict).collect();
    assert_eq!(conflicts, [7], "only where another append was first");
    let partitions: Vec<Partition> = (0..300).map(|place| Partition::Org(of(place))).collect();
    assert_eq!(run(store.versions(&partitions)).expect("versions"), vec![1; 300]);
    let limits = store.capabilities();
    let refused = run(store.append(calls(limits.appends_max + 1))).expect_err("too many");
    assert_eq!(refused.kind(), StoreErrorKind::TooLarge);
}

#[test]
fn many_open_a_new_store_at_once_and_one_makes_its_table() {
    let table = next_table();
    thread::scope(|scope| {
        let openers: Vec<_> = (0..6).map(|_| scope.spawn(|| drop(open(&table).expect("opens")))).collect();
        openers.into_iter().for_each(|opener| opener.join().expect("no opener failed"));
    });
    drop(open_by(&format!("{}&migrate=off", server().url(&table))).expect("it is there"));
}

#[test]
fn what_cannot_be_used_is_refused() {
    let refused = |url: &str| {
        let error = DynamoStore::open(DynamoOptions::from_url(url).expect("a URL")).expect_err("refused");
        (error.kind(), error.to_string())
    };
    let (kind, text) = refused(&format!("{}&migrate=off", server().url(&next_table())));
    assert_eq!(kind, StoreErrorKind::Format);
    assert!(text.contains("tollgate migrate"), "{text}");
    let (kind, text) =
        refused("dynamodb://key:hush@table?region=us-east-1&endpoint=http://127.0.0.1:1&patience=1");
    assert_eq!(kind, StoreErrorKind::Unavailable, "{text}");
    assert!(!text.contains("hush"), "{text}");
}

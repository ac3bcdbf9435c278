//! What the store makes of lost answers, late requests and a table that is not as it should be.

use std::thread;

use tollgate_backends::dynamo::{DynamoOptions, DynamoStore};
use tollgate_peers::Proxy;
use tollgate_storage::StoreErrorKind;

use super::{next_table, open, open_by, server};
use crate::shared;

/// A proxy, a store in a new table by way of it, and another on the same data.
fn behind_a_proxy(settings: &str) -> (Proxy, DynamoStore, DynamoStore) {
    let table = next_table();
    let proxy = Proxy::start(server().port()).expect("a proxy");
    let url = format!("{}{settings}", server().url_by(proxy.port(), &table));
    (proxy, open_by(&url).expect("opens"), open(&table).expect("opens"))
}

#[test]
fn an_append_whose_answer_is_lost_is_made_once() {
    let (proxy, store, beside) = behind_a_proxy("");
    shared::an_append_whose_answer_is_lost_is_made_once(&store, &beside, &proxy);
}

#[test]
fn what_arrives_late_changes_nothing_any_more() {
    let (proxy, store, _beside) = behind_a_proxy("");
    shared::what_arrives_late_changes_nothing(&store, &proxy);
}

#[test]
fn what_is_not_known_is_not_said_to_be_nothing() {
    let (proxy, store, beside) = behind_a_proxy("&patience=1");
    shared::what_is_not_known_is_not_said_to_be_nothing(&store, &beside, &proxy);
}

#[test]
fn a_call_of_many_orgs_is_made_for_each_by_itself_and_a_larger_one_is_refused() {
    let store = open(&next_table()).expect("opens");
    shared::a_call_of_many_orgs_is_made_for_each_by_itself_and_a_larger_one_is_refused(&store);
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

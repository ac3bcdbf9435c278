//! What the store makes of lost answers, late requests and a collection that is not as it should be.

use std::thread;

use tollgate_backends::mongo::{MongoOptions, MongoStore};
use tollgate_peers::Proxy;
use tollgate_storage::StoreErrorKind;

use super::{next_database, open, open_by, server};
use crate::shared;

/// A proxy, a store in a new database by way of it, and another on the same data.
fn behind_a_proxy(settings: &str) -> (Proxy, MongoStore, MongoStore) {
    let database = next_database();
    let proxy = Proxy::start(server().port()).expect("a proxy");
    let url = format!("{}{settings}", server().url_by(proxy.port(), &database));
    (proxy, open_by(&url).expect("opens"), open(&database).expect("opens"))
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
    let store = open(&next_database()).expect("opens");
    shared::a_call_of_many_orgs_is_made_for_each_by_itself_and_a_larger_one_is_refused(&store);
}

#[test]
fn many_open_a_new_store_at_once_and_one_makes_its_collection() {
    let database = next_database();
    thread::scope(|scope| {
        let openers: Vec<_> = (0..6).map(|_| scope.spawn(|| drop(open(&database).expect("opens")))).collect();
        openers.into_iter().for_each(|opener| opener.join().expect("no opener failed"));
    });
    drop(open_by(&format!("{}&migrate=off", server().url(&database))).expect("it is there"));
}

#[test]
fn what_cannot_be_used_is_refused() {
    let refused = |url: &str| {
        let error = MongoStore::open(MongoOptions::from_url(url).expect("a URL")).expect_err("refused");
        (error.kind(), error.to_string())
    };
    let (kind, text) = refused(&format!("{}&migrate=off", server().url(&next_database())));
    assert_eq!(kind, StoreErrorKind::Format);
    assert!(text.contains("tollgate migrate"), "{text}");
    let (kind, text) = refused("mongodb://ann:hush@127.0.0.1:1/d?patience=1");
    assert_eq!(kind, StoreErrorKind::Unavailable, "{text}");
    assert!(!text.contains("hush"), "{text}");
}

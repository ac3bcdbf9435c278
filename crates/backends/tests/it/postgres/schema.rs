//! The schema: made once, whoever comes first; and what people find in it.

use std::thread;

use tollgate_backends::postgres::{PostgresOptions, PostgresStore};
use tollgate_storage::conformance::append_using;
use tollgate_storage::{Store, StoreErrorKind};

use super::{next_schema, open, server};
use crate::support::{org, run};

fn refused(url: &str) -> (StoreErrorKind, String) {
    let error = PostgresStore::open(PostgresOptions::from_url(url).expect("a URL")).expect_err("refused");
    (error.kind(), error.to_string())
}

#[test]
fn many_open_a_new_store_at_once_and_one_makes_it() {
    let schema = next_schema();
    thread::scope(|scope| {
        let openers: Vec<_> = (0..6).map(|_| scope.spawn(|| drop(open(&schema).expect("opens")))).collect();
        openers.into_iter().for_each(|opener| opener.join().expect("no opener failed"));
    });
    let made = server().query(&format!("SELECT number, name FROM {schema}.migrations")).expect("migrations");
    assert_eq!(made, "1|ledgers\n2|views");
}

#[test]
fn what_would_not_keep_the_promises_is_refused() {
    let (schema, url) = (next_schema(), server().url());
    let (kind, text) = refused(&format!("{url}?schema={schema}&migrate=off"));
    assert_eq!(kind, StoreErrorKind::Format);
    assert!(text.contains("tollgate migrate"), "{text}");
    let (kind, text) =
        refused(&format!("{url}?options=-c%20default_transaction_isolation%3Dserializable&schema={schema}"));
    assert_eq!(kind, StoreErrorKind::Format);
    assert!(text.contains("read committed"), "{text}");
    drop(open(&schema).expect("opens"));
    let as_it_is = PostgresOptions::from_url(&format!("{url}?schema={schema}&migrate=off")).expect("a URL");
    drop(PostgresStore::open(as_it_is).expect("it is up to date"));
    let newer = format!("INSERT INTO {schema}.migrations (number, name) VALUES (3, 'to come')");
    server().query(&newer).expect("a migration");
    let (kind, text) = refused(&format!("{url}?schema={schema}"));
    assert_eq!(kind, StoreErrorKind::Format);
    assert!(text.contains("a newer one made it"), "{text}");
    let (kind, text) = refused("postgres://nobody:hush@127.0.0.1:1/none?patience=1");
    assert_eq!(kind, StoreErrorKind::Unavailable);
    assert!(!text.contains("hush"), "{text}");
}

#[test]
fn entries_are_readable_for_people() {
    let schema = next_schema();
    let store = open(&schema).expect("opens");
    run(store.append(vec![append_using(&org("acme"), 1, 0, ["first", "second"])])).expect("appends");
    let statement = format!(
        "SELECT org, number, kind, meter, user_id, quantity, key FROM {schema}.entries ORDER BY number"
    );
    let rows = server().query(&statement).expect("rows");
    assert_eq!(rows, "acme|1|used|reports|ann|1|first\nacme|2|used|reports|ann|1|second");
}

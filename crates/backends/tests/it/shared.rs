//! What the tests of all stores of many processes ask, and what each such store makes of a request that comes late.

use tollgate_domain::{OrgId, Partition};
use tollgate_peers::Proxy;
use tollgate_storage::conformance::append_using;
use tollgate_storage::{Append, Appended, Order, Row, Scan, Store};

use crate::support::{key_id, org, run};

pub(crate) fn answers(store: &impl Store, append: &Append) -> Vec<Appended> {
    run(store.append(vec![append.clone()])).expect("appends").answers
}

pub(crate) fn version(store: &impl Store, id: &OrgId) -> u64 {
    run(store.open(&[Partition::Org(id.clone())])).expect("opens").remove(0).version()
}

/// The entry that a key made.
pub(crate) fn entry(store: &impl Store, id: &OrgId, key: &str) -> Option<u64> {
    run(store.find(&[key_id(id, key)])).expect("finds").remove(0).map(|record| record.entry)
}

/// The numbers of all entries of an org.
pub(crate) fn numbers(store: &impl Store, id: &OrgId) -> Vec<u64> {
    let scan = Scan::Entries { org: id.clone(), order: Order::Oldest };
    let page = run(store.scan(&scan, None, 10_000)).expect("entries");
    let number = |row: &Row| if let Row::Entry(entry) = row { Some(entry.number) } else { None };
    page.rows.iter().filter_map(number).collect()
}

/// A store behind a proxy that holds a request back until others have been made.
pub(crate) fn what_arrives_late_changes_nothing(store: &impl Store, proxy: &Proxy) {
    let acme = org("acme");
    assert_eq!(answers(store, &append_using(&acme, 1, 0, ["a"])), [Appended::Done]);
    proxy.hold_next_request();
    assert_eq!(answers(store, &append_using(&acme, 2, 1, ["b"])), [Appended::Done]);
    assert_eq!(answers(store, &append_using(&acme, 3, 2, ["c"])), [Appended::Done]);
    proxy.release();
    // Whether it has arrived by now or not: its place is taken.
    assert_eq!(answers(store, &append_using(&acme, 4, 3, ["d"])), [Appended::Done]);
    assert_eq!(numbers(store, &acme), [1, 2, 3, 4]);
    assert_eq!(["a", "b", "c", "d"].map(|key| entry(store, &acme, key)), [1, 2, 3, 4].map(Some));
}

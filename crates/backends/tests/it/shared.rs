//! What the tests of all stores of many processes ask, and what each such store makes of a request that comes late.

use tollgate_domain::{OrgId, Partition};
use tollgate_peers::Proxy;
use tollgate_storage::conformance::append_using;
use tollgate_storage::{Append, Appended, Order, Row, Scan, Store, StoreErrorKind};

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

/// A store behind a proxy that loses answers, and another on the same data.
pub(crate) fn an_append_whose_answer_is_lost_is_made_once(
    store: &impl Store,
    beside: &impl Store,
    proxy: &Proxy,
) {
    let acme = org("acme");
    assert_eq!(answers(store, &append_using(&acme, 1, 0, ["a"])), [Appended::Done]);
    let before = proxy.cuts();
    proxy.lose_next_answer();
    assert_eq!(answers(store, &append_using(&acme, 2, 1, ["b", "c"])), [Appended::Done]);
    assert_eq!(proxy.cuts(), before + 1, "the answer was lost");
    assert_eq!(version(store, &acme), 3);
    // What another process made in its place is not taken for it.
    assert_eq!(answers(beside, &append_using(&acme, 3, 3, ["d"])), [Appended::Done]);
    proxy.lose_next_answer();
    assert_eq!(answers(store, &append_using(&acme, 3, 3, ["e"])), [Appended::Conflict]);
    assert_eq!(proxy.cuts(), before + 2, "the answer was lost");
    // Keys are found as of what was opened.
    assert_eq!(version(store, &acme), 4);
    assert_eq!((entry(store, &acme, "d"), entry(store, &acme, "e")), (Some(4), None));
}

/// A store that is patient for a second, behind a proxy that lets nobody through, and another on the same data.
pub(crate) fn what_is_not_known_is_not_said_to_be_nothing(
    store: &impl Store,
    beside: &impl Store,
    proxy: &Proxy,
) {
    let acme = org("acme");
    assert_eq!(answers(store, &append_using(&acme, 1, 0, ["a"])), [Appended::Done]);
    // It is made, the answer is lost, and then nobody answers any more.
    proxy.lose_next_answer();
    proxy.refuse(true);
    let lost = run(store.append(vec![append_using(&acme, 2, 1, ["b"])])).expect_err("no answer");
    assert_eq!(lost.kind(), StoreErrorKind::Io, "{lost}");
    assert_eq!(version(beside, &acme), 2);
    proxy.refuse(false);
    assert_eq!(version(store, &acme), 2, "it goes on");
    assert_eq!(answers(store, &append_using(&acme, 3, 2, ["c"])), [Appended::Done]);
}

pub(crate) fn a_call_of_many_orgs_is_made_for_each_by_itself_and_a_larger_one_is_refused(store: &impl Store) {
    let of = |place: usize| org(&format!("org {place:05}"));
    let taken = append_using(&of(7), 1, 0, ["first"]);
    assert_eq!(answers(store, &taken), [Appended::Done]);
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

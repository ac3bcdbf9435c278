//! Cursors, ids, amounts, periods and zones: taken, or refused; what is taken is written as it is read.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use tollgate_backends::embedded::{EmbeddedOptions, EmbeddedStore, Work};
use tollgate_domain::{
    Actor, Amount, Entry, EntryKind, MeterId, OrgId, Partition, Period, PlanId, Quantity, Timestamp, UsageKey, UserId, Window, Zone,
};
use tollgate_storage::{Append, Cursor, EntryChange, Order, Scan, Store, StoreErrorKind};

/// Runs a future of the embedded store: its calls never wait.
fn run<F: Future>(future: F) -> F::Output {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => unreachable!("the embedded store's futures are ready at once"),
    }
}

fn acme() -> OrgId {
    OrgId::new("acme").expect("an id")
}

/// A store with a few entries, made once.
fn store() -> &'static EmbeddedStore {
    static STORE: OnceLock<(tempfile::TempDir, EmbeddedStore)> = OnceLock::new();
    let (_, store) = STORE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options =
            EmbeddedOptions { work: Work::Inline, segment_bytes: 64 * 1024, ..EmbeddedOptions::default() };
        let store = EmbeddedStore::open(folder.path(), options).expect("opens");
        for number in 1..=5 {
            let kind = EntryKind::Put { name: Some(format!("name {number}")), zone: Zone::UTC, metadata: std::collections::BTreeMap::new() };
            let entry = Entry { number, at: Timestamp::UNIX_EPOCH, actor: Actor::Local, catalog: 1, kind, settled: Vec::new(), notices: Vec::new() };
            let append = Append {
                partition: Partition::Org(acme()),
                expected_version: number - 1,
                entries: vec![EntryChange::Org(entry)],
            };
            run(store.append(vec![append])).expect("appends");
        }
        store.catch_up().expect("saves the images");
        (folder, store)
    });
    store
}

fn cursors(bytes: &[u8]) {
    let meter = || MeterId::new("reports").expect("an id");
    let window = Window::Month;
    for scan in [
        Scan::Orgs,
        Scan::Entries { org: acme(), order: Order::Oldest },
        Scan::Entries { org: acme(), order: Order::Newest },
        Scan::OrgCounters { org: acme(), meter: meter(), window, from: 0, until: 50_000 },
        Scan::Tallies { org: acme(), meter: meter() },
        Scan::Notices,
        Scan::ApiKeys,
        Scan::Catalogs,
    ] {
        match run(store().scan(&scan, Some(&Cursor(bytes.to_vec())), 10)) {
            Ok(page) => assert!(page.rows.len() <= 10),
            Err(error) => assert_eq!(error.kind(), StoreErrorKind::BadCursor, "{error}"),
        }
    }
}

fn texts(text: &str) {
    macro_rules! ids {
        ($($id:ident),*) => {
            $(if let Ok(id) = $id::new(text) {
                assert_eq!(id.as_str(), text);
            })*
        };
    }
    ids!(MeterId, OrgId, PlanId, UsageKey, UserId);
    if let Ok(amount) = Amount::parse(text) {
        assert_eq!(Amount::parse(&amount.to_string()), Ok(amount));
    }
    if let Ok(quantity) = Quantity::parse(text) {
        assert!(quantity.amount() > Amount::ZERO);
    }
    for period in [Period::parse_month(text), Period::parse_day(text)].into_iter().flatten() {
        assert_eq!(period.label(), text);
    }
    if let Ok(zone) = Zone::new(text) {
        assert!(zone.name().eq_ignore_ascii_case(text), "{} for {text}", zone.name());
        assert!(zone.bounds(zone.period_at(Window::Month, Timestamp::UNIX_EPOCH)).0.is_some());
    }
}

fuzz_target!(|bytes: &[u8]| {
    cursors(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        texts(text);
    }
});

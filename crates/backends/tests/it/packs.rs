//! What every store of packs makes of lost answers, late requests and a place that is not as it should be: written once, for each
//! database of them.

use std::fmt::Debug;
use std::thread;

use tollgate_peers::Proxy;
use tollgate_storage::conformance::append_using;
use tollgate_storage::{Appended, Store, StoreError, StoreErrorKind};

use crate::shared;
use crate::support::{key_id, org, run};

/// A server of such a database, and how stores in it are opened.
pub(crate) struct Packs<S> {
    pub(crate) port: u16,
    /// The name of a place where nothing is.
    pub(crate) next: fn() -> String,
    /// The URL of a place, by way of this port where one is given; more settings may be added.
    pub(crate) url: fn(Option<u16>, &str) -> String,
    pub(crate) open: fn(&str) -> Result<S, StoreError>,
    /// A URL of a server that is not there, with a secret in it: `hush`.
    pub(crate) nobody: &'static str,
}

impl<S: Store + Debug> Packs<S> {
    fn opened(&self, url: &str) -> S {
        (self.open)(url).expect("opens")
    }

    /// A proxy, a store in a new place by way of it, and another on the same data.
    fn behind_a_proxy(&self, settings: &str) -> (Proxy, S, S) {
        let place = (self.next)();
        let proxy = Proxy::start(self.port).expect("a proxy");
        let store = self.opened(&format!("{}{settings}", (self.url)(Some(proxy.port()), &place)));
        (proxy, store, self.opened(&(self.url)(None, &place)))
    }

    pub(crate) fn an_append_whose_answer_is_lost_is_made_once(&self) {
        let (proxy, store, beside) = self.behind_a_proxy("");
        shared::an_append_whose_answer_is_lost_is_made_once(&store, &beside, &proxy);
    }

    pub(crate) fn what_arrives_late_changes_nothing_any_more(&self) {
        let (proxy, store, _beside) = self.behind_a_proxy("");
        shared::what_arrives_late_changes_nothing(&store, &proxy);
    }

    pub(crate) fn what_is_not_known_is_not_said_to_be_nothing(&self) {
        let (proxy, store, beside) = self.behind_a_proxy("&patience=1");
        shared::what_is_not_known_is_not_said_to_be_nothing(&store, &beside, &proxy);
    }

    pub(crate) fn a_call_of_many_orgs_is_made_for_each_by_itself_and_a_larger_one_is_refused(&self) {
        let store = self.opened(&(self.url)(None, &(self.next)()));
        shared::a_call_of_many_orgs_is_made_for_each_by_itself_and_a_larger_one_is_refused(&store);
    }

    /// Given how much was read so far by a store or in its place.
    pub(crate) fn a_turn_over_an_org_in_memory_reads_nothing<R: PartialEq + Debug>(
        &self,
        reads: impl Fn(&S, &str) -> R,
    ) {
        let place = (self.next)();
        let [store, beside] = [(); 2].map(|()| self.opened(&(self.url)(None, &place)));
        let acme = org("acme");
        // What a turn asks of a store: which of the keys were used, and then to append.
        let turn = |store: &S, version: u64, key: &str| {
            assert_eq!(run(store.find(&[key_id(&acme, key)])).expect("finds"), [None], "{key} is new");
            let append = append_using(&acme, 1, version, [key]);
            run(store.append(vec![append])).expect("appends").answers
        };
        assert_eq!(shared::version(&store, &acme), 0);
        assert_eq!(turn(&store, 0, "first"), [Appended::Done]);
        let before = reads(&store, &place);
        for version in 1..20 {
            assert_eq!(turn(&store, version, &format!("key {version}")), [Appended::Done]);
        }
        assert_eq!(reads(&store, &place), before, "nothing was read");
        // One that was used before is looked up in the ledger.
        assert_eq!(shared::entry(&store, &acme, "key 7"), Some(8));
        assert_ne!(reads(&store, &place), before, "reads are counted");
        // Another process uses a key meanwhile: it is not known here, and what is decided without it is refused.
        assert_eq!(shared::version(&beside, &acme), 20);
        assert_eq!(turn(&beside, 20, "raced"), [Appended::Done]);
        assert_eq!(turn(&store, 20, "raced"), [Appended::Conflict]);
        assert_eq!(shared::version(&store, &acme), 21);
        assert_eq!(shared::entry(&store, &acme, "raced"), Some(21));
    }

    pub(crate) fn many_open_a_new_store_at_once_and_one_makes_its_place(&self) {
        let url = (self.url)(None, &(self.next)());
        thread::scope(|scope| {
            let openers: Vec<_> = (0..6).map(|_| scope.spawn(|| drop(self.opened(&url)))).collect();
            openers.into_iter().for_each(|opener| opener.join().expect("no opener failed"));
        });
        drop(self.opened(&format!("{url}&migrate=off")));
    }

    pub(crate) fn what_cannot_be_used_is_refused(&self) {
        let refused = |url: &str| {
            let error = (self.open)(url).expect_err("refused");
            (error.kind(), error.to_string())
        };
        let (kind, text) = refused(&format!("{}&migrate=off", (self.url)(None, &(self.next)())));
        assert_eq!(kind, StoreErrorKind::Format);
        assert!(text.contains("tollgate migrate"), "{text}");
        let (kind, text) = refused(self.nobody);
        assert_eq!(kind, StoreErrorKind::Unavailable, "{text}");
        assert!(!text.contains("hush"), "{text}");
    }
}

/// A test of each of them, for one database.
macro_rules! faults {
    ($packs:expr; $($name:ident),* $(,)?) => {
        $(#[test] fn $name() { $packs.$name(); })*
    };
    ($packs:expr) => {
        $crate::packs::faults! { $packs;
            an_append_whose_answer_is_lost_is_made_once,
            what_arrives_late_changes_nothing_any_more,
            what_is_not_known_is_not_said_to_be_nothing,
            a_call_of_many_orgs_is_made_for_each_by_itself_and_a_larger_one_is_refused,
            many_open_a_new_store_at_once_and_one_makes_its_place,
            what_cannot_be_used_is_refused,
        }
    };
}

pub(crate) use faults;

//! A store under test, with the calls the cases make.

use std::collections::BTreeSet;
use std::fmt::Debug;

use tollgate_domain::{Record, RecordKey};

use super::Subject;
use super::world::World;
use crate::{Batch, Change, Committed, Cursor, Page, Row, Scan, Store, StoreError};

/// One store and how to drive it.
pub(super) struct Harness<'a, S: Subject> {
    subject: &'a S,
    store: S::Store,
    seed: u64,
}

/// How a store comes to its end.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// It is closed.
    Close,
    /// Its process is gone.
    Crash,
}

impl<'a, S: Subject> Harness<'a, S> {
    pub(super) fn new(subject: &'a S, seed: u64) -> Self {
        Self { subject, store: subject.fresh(), seed }
    }

    pub(super) fn store(&self) -> &S::Store {
        &self.store
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    pub(super) fn load(&self, keys: &[RecordKey]) -> Vec<Option<Record>> {
        let records = self.subject.block_on(self.store.load(keys)).expect("loads");
        assert_eq!(records.len(), keys.len(), "one answer for each key");
        records
    }

    pub(super) fn load_one(&self, key: &RecordKey) -> Option<Record> {
        self.load(std::slice::from_ref(key)).pop().flatten()
    }

    pub(super) fn try_page(
        &self,
        scan: &Scan,
        from: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.subject.block_on(self.store.scan(scan, from, limit))
    }

    /// One page, checked against what is promised of all pages.
    pub(super) fn page(&self, scan: &Scan, from: Option<&Cursor>, limit: usize) -> Page {
        let page = self.try_page(scan, from, limit).unwrap_or_else(|error| panic!("{scan:?}: {error}"));
        assert!(page.rows.len() <= limit, "{scan:?}: a page of {limit} has {} rows", page.rows.len());
        assert!(page.next.is_none() || !page.rows.is_empty(), "{scan:?}: an empty page goes on");
        page
    }

    /// All rows, page by page.
    pub(super) fn rows(&self, scan: &Scan, limit: usize) -> Vec<Row> {
        self.rows_after(scan, None, limit)
    }

    /// All rows from where a page ended, page by page.
    pub(super) fn rows_after(&self, scan: &Scan, mut from: Option<Cursor>, limit: usize) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut taken = BTreeSet::new();
        loop {
            let page = self.page(scan, from.as_ref(), limit);
            assert!(
                from.is_none() || !page.rows.is_empty(),
                "{scan:?}: a cursor was given and nothing is after it"
            );
            rows.extend(page.rows);
            let Some(next) = page.next else { return rows };
            assert!(
                taken.insert(next.0.clone()),
                "{scan:?}: {next:?} was given twice, the pages go in a circle"
            );
            from = Some(next);
        }
    }

    pub(super) fn try_commit(&self, changes: Vec<Change>) -> Result<Vec<Committed>, StoreError> {
        self.subject.block_on(self.store.commit(Batch { changes }))
    }

    pub(super) fn commit(&self, changes: Vec<Change>) -> Vec<Committed> {
        let count = changes.len();
        let answers = self.try_commit(changes).unwrap_or_else(|error| panic!("commits: {error}"));
        assert_eq!(answers.len(), count, "one answer for each change");
        answers
    }

    /// Commits what must be made, and tells the model.
    pub(super) fn make(&self, world: &mut World, changes: Vec<Change>) {
        changes.iter().for_each(|change| world.take(change));
        let answers = self.commit(changes);
        assert!(answers.iter().all(|answer| *answer == Committed::Done), "all is made: {answers:?}");
    }

    /// Compares everything the store holds with the model.
    pub(super) fn check(&self, world: &World) {
        let keys = world.keys();
        for some in keys.chunks(1_000) {
            for (key, found) in some.iter().zip(self.load(some)) {
                assert_eq!(
                    found,
                    world.record(key),
                    "the record of {key:?} (left: the store's, right: expected)"
                );
            }
        }
        for scan in world.scans() {
            self.check_scan(world, &scan, 100);
        }
    }

    /// Compares all rows of a scan with the model's.
    pub(super) fn check_scan(&self, world: &World, scan: &Scan, limit: usize) {
        same(&format!("{scan:?} by {limit}"), &self.rows(scan, limit), &world.rows(scan));
    }

    /// Ends the store and opens what it kept.
    pub(super) fn reopen(self, end: End) -> Self {
        if let End::Close = end {
            self.subject.block_on(self.store.close()).expect("closes");
        }
        let store =
            self.subject.reopen(self.store).unwrap_or_else(|error| panic!("opens after {end:?}: {error}"));
        Self { subject: self.subject, store, seed: self.seed }
    }

    /// The end of a case.
    pub(super) fn finish(self) {
        self.subject.block_on(self.store.close()).expect("closes");
    }
}

/// Fails with the first difference of two lists.
pub(super) fn same<T: PartialEq + Debug>(what: &str, found: &[T], wanted: &[T]) {
    if found == wanted {
        return;
    }
    let place = found.iter().zip(wanted).take_while(|(found, wanted)| found == wanted).count();
    panic!(
        "{what}: {} rows, expected {}; they differ from row {place} on\n   found: {:?}\nexpected: {:?}",
        found.len(),
        wanted.len(),
        found.get(place),
        wanted.get(place)
    );
}

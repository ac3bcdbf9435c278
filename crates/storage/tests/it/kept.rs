//! A store that outlives its process only in play, sound or with one fault: so that the durable cases run here too, and
//! every case is seen to catch what it is there for.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::thread;

use tollgate_domain::{KeySpace, OrgId, Partition, Record, RecordKey, Timestamp};
use tollgate_storage::conformance::Subject;
use tollgate_storage::{
    Batch, Capabilities, Committed, Cursor, MemoryStore, Page, Row, Scan, Store, StoreError, StoreErrorKind,
};

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    Sound,
    /// Answers in the order of the keys.
    SortsAnswers,
    /// Takes the keys of top-ups for those of usages.
    SharesKeySpaces,
    /// Takes ids that end in a space for those that do not.
    TrimsIds,
    /// Keeps microseconds.
    CutsTime,
    /// Loads key by key.
    TearsLoads,
    /// Gives a row more than asked.
    OverfillsPages,
    /// Gives a cursor at the end too.
    GoesOnAtTheEnd,
    /// Takes the cursor of any scan.
    TakesAnyCursor,
    /// Forgets its cursors with its process.
    ForgetsCursors,
    /// Reads ranges to their last number, too.
    ReadsPastRanges,
    /// Sorts by UTF-16.
    SortsByUtf16,
    /// Orders the notices of a page by their time.
    OrdersNoticesByClock,
    /// Makes nothing of what comes after a conflict.
    StopsAtConflicts,
    /// Answers a conflict as made.
    HidesConflicts,
    /// Takes more than it declares.
    TakesTooMuch,
    /// Loses its last commit in a crash.
    LosesLastCommit,
    /// Loses what was not of an org when it is closed.
    LosesTheSystem,
}

/// Stores with a fault.
pub(crate) struct Kept(pub(crate) Fault);

/// A store that remembers its commits: opening it commits them again.
pub(crate) struct KeptStore {
    inner: MemoryStore,
    fault: Fault,
    opened: u8,
    closed: Mutex<bool>,
    log: Arc<Mutex<Vec<Batch>>>,
}

impl Subject for Kept {
    type Store = KeptStore;

    fn fresh(&self) -> KeptStore {
        open(self.0, 0, Vec::new())
    }

    fn reopen(&self, store: KeptStore) -> Result<KeptStore, StoreError> {
        let closed = *store.closed.lock().expect("no panic");
        let mut log = store.log.lock().expect("no panic").clone();
        if self.0 == Fault::LosesLastCommit && !closed {
            log.pop();
        }
        if self.0 == Fault::LosesTheSystem && closed {
            let is_of_org = |partition: &Partition| matches!(partition, Partition::Org(_));
            log.iter_mut().for_each(|batch| batch.changes.retain(|change| is_of_org(&change.partition)));
        }
        Ok(open(self.0, store.opened + 1, log))
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        pollster::block_on(future)
    }
}

fn open(fault: Fault, opened: u8, log: Vec<Batch>) -> KeptStore {
    let inner = MemoryStore::new();
    for batch in &log {
        pollster::block_on(inner.commit(batch.clone())).expect("was committed before");
    }
    KeptStore { inner, fault, opened, closed: Mutex::new(false), log: Arc::new(Mutex::new(log)) }
}

impl KeptStore {
    fn key(&self, key: &RecordKey) -> RecordKey {
        match (self.fault, key.clone()) {
            (Fault::SharesKeySpaces, RecordKey::Key(mut id)) => {
                id.space = KeySpace::Use;
                RecordKey::Key(id)
            }
            (Fault::TrimsIds, RecordKey::Org(id)) => {
                RecordKey::Org(OrgId::new(id.as_str().trim_end()).unwrap_or(id))
            }
            (_, key) => key,
        }
    }

    fn given(&self, scan: &Scan, cursor: Cursor) -> Cursor {
        match self.fault {
            Fault::TakesAnyCursor => Cursor(cursor.0[format!("{scan:?}").len()..].to_vec()),
            Fault::ForgetsCursors => Cursor([&[self.opened], &cursor.0[..]].concat()),
            _ => cursor,
        }
    }

    fn taken(&self, scan: &Scan, cursor: &Cursor) -> Result<Cursor, StoreError> {
        match self.fault {
            Fault::TakesAnyCursor => Ok(Cursor([format!("{scan:?}").as_bytes(), &cursor.0[..]].concat())),
            Fault::ForgetsCursors => match cursor.0.split_first() {
                Some((opened, rest)) if *opened == self.opened => Ok(Cursor(rest.to_vec())),
                _ => Err(StoreError::new(StoreErrorKind::BadCursor, "a cursor of another process")),
            },
            _ => Ok(cursor.clone()),
        }
    }

    /// Cuts the time of a notice to microseconds.
    fn cut(mut row: Row) -> Row {
        if let Row::Notice(notice) = &mut row {
            notice.at = Timestamp::from_microsecond(notice.at.as_microsecond()).expect("a time");
        }
        row
    }

    fn notice_time(row: &Row) -> Option<Timestamp> {
        if let Row::Notice(notice) = row { Some(notice.at) } else { None }
    }

    fn utf16(row: &Row) -> Vec<u16> {
        match row {
            Row::Org(org) => org.id.as_str().encode_utf16().collect(),
            Row::Tally(tally) => tally.user.as_str().encode_utf16().collect(),
            _ => Vec::new(),
        }
    }
}

impl Store for KeptStore {
    async fn load(&self, keys: &[RecordKey]) -> Result<Vec<Option<Record>>, StoreError> {
        let mut keys: Vec<RecordKey> = keys.iter().map(|key| self.key(key)).collect();
        if self.fault == Fault::TearsLoads {
            let mut answers = Vec::new();
            for key in keys {
                answers.extend(self.inner.load(&[key]).await?);
                thread::yield_now();
            }
            return Ok(answers);
        }
        if self.fault == Fault::SortsAnswers {
            keys.sort();
        }
        self.inner.load(&keys).await
    }

    async fn scan(&self, scan: &Scan, from: Option<&Cursor>, limit: usize) -> Result<Page, StoreError> {
        let from = from.map(|cursor| self.taken(scan, cursor)).transpose()?;
        let limit = if self.fault == Fault::OverfillsPages { limit.saturating_add(1) } else { limit };
        let mut asked = scan.clone();
        if let (Fault::ReadsPastRanges, Scan::OrgCounters { until, .. }) = (self.fault, &mut asked) {
            *until = until.saturating_add(1);
        }
        let mut page = self.inner.scan(&asked, from.as_ref(), limit).await?;
        if self.fault == Fault::GoesOnAtTheEnd && page.next.is_none() && !page.rows.is_empty() {
            let more = self.inner.scan(&asked, None, 1).await?;
            page.next = more.next;
        }
        match self.fault {
            Fault::CutsTime => page.rows = page.rows.into_iter().map(Self::cut).collect(),
            Fault::SortsByUtf16 => page.rows.sort_by_key(Self::utf16),
            Fault::OrdersNoticesByClock => page.rows.sort_by_key(Self::notice_time),
            _ => {}
        }
        page.next = page.next.map(|cursor| self.given(scan, cursor));
        Ok(page)
    }

    async fn commit(&self, batch: Batch) -> Result<Vec<Committed>, StoreError> {
        // The log is in the order of the commits.
        let mut log = self.log.lock().expect("no panic");
        let mut answers = Vec::new();
        if self.fault == Fault::StopsAtConflicts {
            for change in &batch.changes {
                let stopped = answers.contains(&Committed::Conflict);
                let one = Batch { changes: vec![change.clone()] };
                let answer = if stopped {
                    Committed::Conflict
                } else {
                    pollster::block_on(self.inner.commit(one))?[0]
                };
                answers.push(answer);
            }
        } else {
            answers = pollster::block_on(self.inner.commit(batch.clone()))?;
        }
        log.push(batch);
        if self.fault == Fault::HidesConflicts {
            answers.fill(Committed::Done);
        }
        Ok(answers)
    }

    fn capabilities(&self) -> Capabilities {
        let inner = self.inner.capabilities();
        let changes_max = if self.fault == Fault::TakesTooMuch { 100 } else { inner.changes_max };
        Capabilities { durable: true, changes_max, ..inner }
    }

    async fn close(&self) -> Result<(), StoreError> {
        *self.closed.lock().expect("no panic") = true;
        Ok(())
    }
}

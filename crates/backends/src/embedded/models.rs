//! Models of the store: commits, folds, readers and closing at once, each run under many schedules by a model checker.
//!
//! All of it is real but the disk of the ledger, which is in memory. The tables are opened once for many schedules, each
//! of which has an org of its own in them, and they are not written out at the end of each.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::TempDir;
use tollgate_domain::{
    Amount, KeyId, KeySpace, MeterId, OrgId, Place, Record, RecordKey, Tally, UsageKey, UserId,
};
use tollgate_schedules::check;
use tollgate_schedules::shuttle::future::block_on;
use tollgate_schedules::shuttle::thread;
use tollgate_storage::conformance::change_using;
use tollgate_storage::{Batch, Committed, Order, Row, Scan, Store, StoreErrorKind};

use super::core::{Core, Opened};
use super::io::Disk;
use super::io::fault::FaultDisk;
use super::ledger::{Ledger, LedgerFiles};
use super::metrics::Metrics;
use super::overlay::Overlay;
use super::read::stored_record;
use super::tables::{Folded, Keep, Tables};
use super::walk::Position;
use super::{EmbeddedOptions, EmbeddedStore};

/// Schedules of each model in the ordinary tests.
const SCHEDULES: usize = 1_000;

/// Schedules after which the tables are made anew: the filters read through all that is in them.
const SCHEDULES_A_FOLDER: u64 = 500;

/// Small enough that a few commits fill it.
const SEGMENT_BYTES: u64 = 4 * 1024;

/// Fewer than one commit shows: each wants a fold, and waits for one when two are not folded yet.
const OVERLAY_RECORDS: usize = 3;

/// The usages that the writer commits, commit by commit.
static COMMITS: [&[&str]; 4] = [&["1"], &["2", "3"], &["4"], &["5", "6"]];

/// All usages.
const USAGES: u64 = 6;

/// The tables that schedules share.
struct Shelf {
    folder: TempDir,
    tables: Tables,
    keep: Arc<Keep>,
}

impl Shelf {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let options = EmbeddedOptions::default();
        let keep = Arc::new(Keep::new(&options));
        let tables = Tables::open(&folder.path().join("tables"), &options, &keep).expect("tables");
        Self { folder, tables, keep }
    }
}

/// Gives each schedule its place in the tables.
struct Shelves {
    shelf: Mutex<(u64, Arc<Shelf>)>,
}

/// What a schedule runs on.
struct Stage {
    store: EmbeddedStore,
    disk: FaultDisk,
    org: OrgId,
    /// What the writer knows of the org.
    records: Mutex<BTreeMap<RecordKey, Record>>,
    /// The number of the latest usage whose commit was acknowledged.
    acknowledged: AtomicU64,
    _shelf: Arc<Shelf>,
}

impl Shelves {
    fn new() -> Self {
        Self { shelf: Mutex::new((0, Arc::new(Shelf::new()))) }
    }

    fn stage(&self) -> Arc<Stage> {
        let (number, shelf) = {
            let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
            shelf.0 += 1;
            if shelf.0.is_multiple_of(SCHEDULES_A_FOLDER) {
                shelf.1 = Arc::new(Shelf::new());
            }
            (shelf.0, Arc::clone(&shelf.1))
        };
        let disk = FaultDisk::new(number);
        let options = EmbeddedOptions {
            segment_bytes: SEGMENT_BYTES,
            overlay_records_max: OVERLAY_RECORDS,
            disk: Disk::Fault(disk.clone()),
            ..EmbeddedOptions::default()
        };
        let metrics = Arc::new(Metrics::default());
        let (files, _) = ledger_of(&disk);
        let end = files.recover(&Position::default(), |_, _| Ok(())).expect("an empty ledger");
        let ledger = Ledger::new(files, end, SEGMENT_BYTES, options.work, Arc::clone(&metrics));
        let opened = Opened {
            path: shelf.folder.path().to_owned(),
            options,
            ledger: ledger.expect("a ledger"),
            tables: shelf.tables.clone(),
            keep: Arc::clone(&shelf.keep),
            active: Overlay::default(),
            folded: Folded::default(),
            metrics,
            lock: File::open(shelf.folder.path()).expect("a folder"),
        };
        Arc::new(Stage {
            store: EmbeddedStore::start(Core::new(opened)).expect("it starts"),
            disk,
            org: OrgId::new(&format!("org {number}")).expect("an id"),
            records: Mutex::default(),
            acknowledged: AtomicU64::new(0),
            _shelf: shelf,
        })
    }
}

/// The ledger on a disk, and how many entries it has.
fn ledger_of(disk: &FaultDisk) -> (LedgerFiles, usize) {
    let dir = Path::new("/ledger").to_owned();
    let files = LedgerFiles::open(Disk::Fault(disk.clone()), dir, SEGMENT_BYTES).expect("segments");
    let mut entries = 0;
    let walked = files.recover(&Position::default(), |_, frame| {
        entries += frame.entries().count();
        Ok(())
    });
    walked.expect("a sound ledger");
    (files, entries)
}

impl Stage {
    fn key(&self, number: u64) -> RecordKey {
        let key = UsageKey::new(&number.to_string()).expect("an id");
        RecordKey::Key(KeyId { org: self.org.clone(), space: KeySpace::Use, key })
    }

    /// Commits usages until one is refused; gives the kind of the refusal.
    fn write(&self, commits: &[&[&str]]) -> Option<StoreErrorKind> {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for keys in commits {
            let latest: u32 = keys.last().and_then(|key| key.parse().ok()).expect("a number");
            let change =
                change_using(&self.org, latest, keys.iter().copied(), |key| records.get(key).cloned());
            records.extend(change.records.iter().cloned());
            match block_on(self.store.commit(Batch { changes: vec![change] })) {
                Ok(committed) => assert_eq!(committed, [Committed::Done]),
                Err(error) => return Some(error.kind()),
            }
            self.acknowledged.store(latest.into(), Ordering::SeqCst);
        }
        *self.records.lock().unwrap_or_else(PoisonError::into_inner) = records;
        None
    }

    /// Commits the first usages as if before the store was opened: the tables have them, the cache does not.
    fn write_before(&self, commits: &[&[&str]]) {
        assert_eq!(self.write(commits), None);
        self.store.fold().expect("it folds");
        self.store.core.cache.clear();
    }

    /// One load of everything there is of the org: all as of one version, none older than what was acknowledged.
    fn look(&self) {
        let acknowledged = self.acknowledged.load(Ordering::SeqCst);
        let ann = UserId::new("ann").expect("an id");
        let mut keys = vec![
            RecordKey::Org(self.org.clone()),
            RecordKey::Account(self.org.clone(), meter()),
            RecordKey::Tally(self.org.clone(), meter(), ann),
        ];
        keys.extend((1..=USAGES).map(|number| self.key(number)));
        keys.extend((1..=USAGES).map(|number| RecordKey::Entry(self.org.clone(), number)));
        let found = block_on(self.store.load(&keys)).expect("it loads");
        let version = match &found[0] {
            None => 0,
            Some(Record::Org(org)) => org.version,
            Some(other) => panic!("not an org: {other:?}"),
        };
        assert!(version >= acknowledged, "version {version} after {acknowledged} was acknowledged");
        let counted = Amount::from_whole(i64::try_from(version).expect("a count"));
        assert_eq!(found[1].as_ref().map_or(Amount::ZERO, month_of), counted, "the account at {version}");
        assert_eq!(found[2].as_ref().map_or(Amount::ZERO, month_of), counted, "the tally at {version}");
        let there: Vec<bool> = found[3..].iter().map(Option::is_some).collect();
        let expected: Vec<bool> = (1..=USAGES).chain(1..=USAGES).map(|number| number <= version).collect();
        assert_eq!(there, expected, "keys and entries at {version}");
    }

    /// The entries, newest first: without a gap, none missing that was acknowledged.
    fn scan(&self) {
        let acknowledged = self.acknowledged.load(Ordering::SeqCst);
        let scan = Scan::Entries { org: self.org.clone(), order: Order::Newest };
        let page = block_on(self.store.scan(&scan, None, 10)).expect("it scans");
        let numbers: Vec<u64> = page
            .rows
            .iter()
            .map(|row| if let Row::Entry(entry) = row { entry.number } else { panic!("not an entry") })
            .collect();
        let newest = numbers.first().copied().unwrap_or(0);
        assert!(newest >= acknowledged, "entry {newest} is the newest after {acknowledged} was acknowledged");
        assert!(numbers.iter().copied().eq((1..=newest).rev()), "entries {numbers:?}");
        let scan = Scan::Tallies { org: self.org.clone(), meter: meter() };
        let page = block_on(self.store.scan(&scan, None, 10)).expect("it scans");
        let tallied = match page.rows.as_slice() {
            [] => Amount::ZERO,
            [Row::Tally(row)] => value(&row.tally),
            rows => panic!("one tally, not {rows:?}"),
        };
        let least = Amount::from_whole(i64::try_from(newest).expect("a count"));
        assert!(tallied >= least, "a tally of {tallied} after entry {newest} was seen");
    }

    /// Nothing waits any more, and the tables have what was acknowledged.
    fn check_folded(&self) {
        let core = &self.store.core;
        let state = core.state();
        assert!(state.active.is_empty() && state.frozen.is_none(), "everything is folded");
        drop(state);
        let tables = core.tables.read();
        let view = tables.get().expect("tables").view();
        for number in 1..=self.acknowledged.load(Ordering::SeqCst) {
            let stored = stored_record(&view, &core.segments, &self.key(number)).expect("a whole row");
            assert!(stored.is_some(), "usage {number} is in the tables");
        }
    }
}

fn meter() -> MeterId {
    MeterId::new("reports").expect("an id")
}

/// What is counted in the month of the usages.
fn month_of(record: &Record) -> Amount {
    match record {
        Record::Account(account) => value(&account.tally),
        Record::Tally(tally) => value(tally),
        other => panic!("counts nothing: {other:?}"),
    }
}

fn value(tally: &Tally) -> Amount {
    let month = tally.open().first().expect("an open month").period;
    match tally.place(month) {
        Place::Open(counter) => counter.value,
        other => panic!("not open: {other:?}"),
    }
}

/// Runs something of a stage in a thread of its own.
fn spawn<T: Send + 'static>(
    stage: &Arc<Stage>,
    run: impl FnOnce(&Stage) -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let stage = Arc::clone(stage);
    thread::spawn(move || run(&stage))
}

#[test]
fn a_reader_never_sees_less_than_was_acknowledged_nor_half_a_commit() {
    let shelves = Shelves::new();
    check("overlay and fold", SCHEDULES, move || {
        let stage = shelves.stage();
        let (before, commits) = COMMITS.split_at(1);
        stage.write_before(before);
        let writer = spawn(&stage, |stage| stage.write(commits));
        let readers = [
            spawn(&stage, |stage| (0..3).for_each(|_| stage.look())),
            spawn(&stage, |stage| {
                stage.scan();
                stage.look();
                stage.scan();
            }),
        ];
        assert_eq!(writer.join().expect("it writes"), None);
        readers.into_iter().for_each(|reader| reader.join().expect("it reads"));
        stage.look();
        stage.store.finish().expect("it closes");
        stage.check_folded();
    });
}

#[test]
fn closing_refuses_what_comes_after_and_keeps_what_was_acknowledged() {
    let shelves = Shelves::new();
    let refused = Arc::new(AtomicU64::new(0));
    let see_refused = Arc::clone(&refused);
    check("closing", SCHEDULES, move || {
        let stage = shelves.stage();
        let writer = spawn(&stage, |stage| stage.write(&COMMITS));
        let reader = spawn(&stage, |stage| (0..2).for_each(|_| stage.look()));
        let closers = [(); 2].map(|()| spawn(&stage, |stage| stage.store.finish().expect("it closes")));
        closers.into_iter().for_each(|closer| closer.join().expect("close returns"));
        let late = change_using(&stage.org, 99, ["late"], |_| None);
        let late = block_on(stage.store.commit(Batch { changes: vec![late] }));
        assert_eq!(late.map_err(|error| error.kind()), Err(StoreErrorKind::Stopped), "after the close");
        let refusal = writer.join().expect("it ends");
        assert!(matches!(refusal, None | Some(StoreErrorKind::Stopped)), "{refusal:?}");
        reader.join().expect("it reads");
        let acknowledged = stage.acknowledged.load(Ordering::SeqCst);
        let (_, entries) = ledger_of(&stage.disk);
        assert_eq!(u64::try_from(entries).expect("a count"), acknowledged, "as many entries as acknowledged");
        see_refused.fetch_add(u64::from(refusal.is_some()), Ordering::Relaxed);
    });
    assert_ne!(refused.load(Ordering::Relaxed), 0, "no schedule came to a refusal");
}

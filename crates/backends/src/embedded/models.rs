//! Models of the store: appends, images, readers and closing at once, each run under many schedules by a model checker.
//!
//! All of it is real but the disk of the ledger and of the facts, which is in memory. The tables are opened once for many
//! schedules, each of which has an org of its own in them, and they are not written out at the end of each.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::TempDir;
use tollgate_domain::{
    Amount, KeyId, KeySpace, MeterId, OrgId, Partition, Place, Record, RecordKey, Tally, UsageKey, UserId,
};
use tollgate_schedules::check;
use tollgate_schedules::shuttle::future::block_on;
use tollgate_schedules::shuttle::thread;
use tollgate_storage::conformance::{append_using, image_after};
use tollgate_storage::{Append, Appended, Image, Opened, Order, Parts, Row, Scan, Store, StoreErrorKind};

use super::facts::{Facts, FactsOptions};
use super::io::Disk;
use super::io::fault::FaultDisk;
use super::ledger::{Ledger, LedgerFiles};
use super::metrics::Metrics;
use super::store::{Behind, Core, Found};
use super::tables::{Folded, Keep, Tables, TablesSlot};
use super::walk::Position;
use super::{EmbeddedOptions, EmbeddedStore};

/// Schedules of each model in the ordinary tests.
const SCHEDULES: usize = 1_000;

/// Schedules after which the tables are made anew: they only grow.
const SCHEDULES_A_FOLDER: u64 = 500;

/// Small enough that the appends leave the first.
const SEGMENT_BYTES: u64 = 4 * 1024;

/// How many usages each append counts: after the first the segment is nearly full.
const APPENDS: [u64; 5] = [26, 1, 2, 8, 1];

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
    /// The appends to make, and the image after each.
    appends: Vec<Append>,
    images: Vec<Image>,
    /// How many of them were acknowledged, and the position of the latest.
    acknowledged: AtomicUsize,
    position: AtomicU64,
    /// The version of the latest image that was kept.
    kept: AtomicU64,
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
        // How far the tables are is said of the ledger of the schedule before.
        shelf.tables.batch(0).commit(&Folded::default()).expect("the tables begin anew");
        let disk = FaultDisk::new(number);
        let options = EmbeddedOptions {
            segment_bytes: SEGMENT_BYTES,
            disk: Disk::Fault(disk.clone()),
            ..EmbeddedOptions::default()
        };
        let metrics = Arc::new(Metrics::default());
        let (files, _) = ledger_of(&disk);
        let facts_options = FactsOptions::new(options.key_keep_secs, options.work);
        let (facts, _) =
            Facts::open(Arc::clone(&files.segments), files.last, facts_options).expect("no facts yet");
        let end = files.recover(&Position::default(), |_, _| Ok(())).expect("an empty ledger");
        let ledger = Ledger::new(files, end, SEGMENT_BYTES, options.work, Arc::clone(&metrics));
        let found = Found {
            path: shelf.folder.path().to_owned(),
            options,
            ledger: ledger.expect("a ledger"),
            facts,
            tables: TablesSlot::new(shelf.tables.clone()),
            keep: Arc::clone(&shelf.keep),
            folded: Folded::default(),
            behind: Behind::default(),
            metrics,
            lock: File::open(shelf.folder.path()).expect("a folder"),
        };
        let org = OrgId::new(&format!("org {number}")).expect("an id");
        let appends = appends_to(&org);
        let images = (1..=appends.len()).map(|count| image_after(&appends[..count])).collect();
        Arc::new(Stage {
            store: EmbeddedStore::start(Core::new(found)).expect("it starts"),
            disk,
            org,
            appends,
            images,
            acknowledged: AtomicUsize::new(0),
            position: AtomicU64::new(0),
            kept: AtomicU64::new(0),
            _shelf: shelf,
        })
    }
}

/// Each counts usages with the keys that are the numbers of its entries.
fn appends_to(org: &OrgId) -> Vec<Append> {
    let mut version = 0;
    let append = |(ticks, count): (u32, u64)| {
        let keys: Vec<_> = (version + 1..=version + count).map(|number| number.to_string()).collect();
        let append = append_using(org, ticks, version, keys.iter().map(String::as_str));
        version += count;
        append
    };
    (1..).zip(APPENDS).map(append).collect()
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
    fn partition(&self) -> Partition {
        Partition::Org(self.org.clone())
    }

    fn key(&self, number: u64) -> KeyId {
        let key = UsageKey::new(&number.to_string()).expect("an id");
        KeyId { org: self.org.clone(), space: KeySpace::Use, key }
    }

    /// The version after so many appends.
    fn version_after(&self, count: usize) -> u64 {
        count.checked_sub(1).map_or(0, |last| self.images[last].version)
    }

    /// The version that was acknowledged.
    fn acknowledged(&self) -> u64 {
        self.version_after(self.acknowledged.load(Ordering::SeqCst))
    }

    /// Appends up to so many, until one is refused; gives the kind of the refusal.
    fn write(&self, until: usize) -> Option<StoreErrorKind> {
        let mut place = self.acknowledged.load(Ordering::SeqCst);
        while place < until {
            match block_on(self.store.append(vec![self.appends[place].clone()])) {
                Ok(appends) => {
                    assert_eq!(appends.answers, [Appended::Done]);
                    self.position.store(appends.position, Ordering::SeqCst);
                }
                // The time to wait for the next segment was over.
                Err(error) if error.kind() == StoreErrorKind::Full => continue,
                Err(error) => return Some(error.kind()),
            }
            place += 1;
            self.acknowledged.store(place, Ordering::SeqCst);
        }
        None
    }

    /// Keeps the image of what was acknowledged, and an older one after it; gives the kind of a refusal.
    fn keep(&self) -> Option<StoreErrorKind> {
        let position = self.position.load(Ordering::SeqCst);
        let count = self.acknowledged.load(Ordering::SeqCst);
        let places = [count.checked_sub(1), count.checked_sub(2)];
        for (place, whole_until) in places.into_iter().flatten().zip([position, 0]) {
            let images = Arc::new([self.images[place].clone()]);
            if let Err(error) = block_on(self.store.checkpoint(images, whole_until)) {
                return Some(error.kind());
            }
            self.kept.fetch_max(self.images[place].version, Ordering::SeqCst);
        }
        None
    }

    /// Opens the org: its image and entries go together, whole appends, none missing that was acknowledged.
    fn open(&self) -> Opened {
        let (acknowledged, kept) = (self.acknowledged(), self.kept.load(Ordering::SeqCst));
        let opened = block_on(self.store.open(&[self.partition()])).expect("it opens").remove(0);
        let version = opened.version();
        assert!(version >= acknowledged, "version {version} after {acknowledged} was acknowledged");
        let whole = (0..=APPENDS.len()).any(|count| self.version_after(count) == version);
        assert!(whole, "half an append at {version}");
        let image = opened.image();
        assert!(image >= kept, "the image of {image} after that of {kept} was kept");
        let numbers = opened.entries.iter().map(tollgate_storage::EntryChange::number);
        assert!(numbers.eq(image + 1..=version), "the entries go on where the image of {image} ends");
        opened
    }

    /// Everything there is of the org, each as of one version, none older than what was acknowledged.
    fn look(&self) {
        let opened = self.open();
        self.look_into(opened.image());
        let keys: Vec<_> = (1..=self.version_after(APPENDS.len())).map(|number| self.key(number)).collect();
        let found = block_on(self.store.find(&keys)).expect("it finds");
        let later = self.open();
        for (number, found) in (1..).zip(&found) {
            assert!(found.is_some() || number > opened.version(), "key {number} at {}", opened.version());
            assert!(found.is_none() || number <= later.version(), "key {number} before its entry");
            assert!(found.as_ref().is_none_or(|found| found.entry == number), "{number}: {found:?}");
        }
    }

    /// The records of an image are all of one version.
    fn look_into(&self, image: u64) {
        let ann = UserId::new("ann").expect("an id");
        let keys = vec![
            RecordKey::Org(self.org.clone()),
            RecordKey::Account(self.org.clone(), meter()),
            RecordKey::Tally(self.org.clone(), meter(), ann),
        ];
        let asked = Parts { partition: self.partition(), image, keys };
        let Some(found) = block_on(self.store.load_one(&asked)).expect("it loads") else {
            let later = self.open().image();
            assert!(later > image, "the image of {image} is not there any more, and no newer one is");
            return;
        };
        let version = found[0].as_ref().map_or(0, Record::version);
        assert_eq!(version, image, "another image");
        let counted = Amount::from_whole(i64::try_from(image).expect("a count"));
        assert_eq!(found[1].as_ref().map_or(Amount::ZERO, month_of), counted, "the account at {image}");
        assert_eq!(found[2].as_ref().map_or(Amount::ZERO, month_of), counted, "the tally at {image}");
    }

    /// The entries, newest first: without a gap, none missing that was acknowledged.
    fn scan(&self) {
        let acknowledged = self.acknowledged();
        let scan = Scan::Entries { org: self.org.clone(), order: Order::Newest };
        let page = block_on(self.store.scan(&scan, None, 100)).expect("it scans");
        let number = |row: &Row| if let Row::Entry(entry) = row { entry.number } else { panic!("{row:?}") };
        let numbers: Vec<u64> = page.rows.iter().map(number).collect();
        let newest = numbers.first().copied().unwrap_or(0);
        assert!(newest >= acknowledged, "entry {newest} is the newest after {acknowledged} was acknowledged");
        assert!(numbers.iter().copied().eq((1..=newest).rev()), "entries {numbers:?}");
    }

    /// The facts of the segment that was left are in a file, and all is found by them.
    fn check_sealed(&self) {
        let sealed = Path::new("/ledger/0000000000000001.facts");
        assert!(self.disk.content(sealed).is_some(), "{:?}", self.disk.paths());
        self.look();
        self.scan();
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
fn a_reader_never_sees_less_than_was_acknowledged_nor_half_of_anything() {
    let shelves = Shelves::new();
    check("appends and images", SCHEDULES, move || {
        let stage = shelves.stage();
        assert_eq!(stage.write(1), None);
        let writer = spawn(&stage, |stage| stage.write(APPENDS.len()));
        let keepers = [(); 2].map(|()| spawn(&stage, |stage| (0..2).find_map(|_| stage.keep())));
        let readers = [
            spawn(&stage, |stage| (0..2).for_each(|_| stage.look())),
            spawn(&stage, |stage| {
                stage.scan();
                stage.look();
                stage.scan();
            }),
        ];
        assert_eq!(writer.join().expect("it writes"), None);
        keepers.into_iter().for_each(|keeper| assert_eq!(keeper.join().expect("it keeps images"), None));
        readers.into_iter().for_each(|reader| reader.join().expect("it reads"));
        stage.look();
        assert_eq!(stage.keep(), None);
        let folded = stage.store.core.folded();
        assert_eq!(folded.position.sequence, stage.position.load(Ordering::SeqCst), "all images are whole");
        stage.store.finish().expect("it closes");
        assert_eq!(stage.open().image(), stage.acknowledged());
        stage.check_sealed();
    });
}

#[test]
fn closing_refuses_what_comes_after_and_keeps_what_was_acknowledged() {
    let shelves = Shelves::new();
    let refused = Arc::new(AtomicU64::new(0));
    let see_refused = Arc::clone(&refused);
    check("closing", SCHEDULES, move || {
        let stage = shelves.stage();
        let writer = spawn(&stage, |stage| stage.write(APPENDS.len()));
        let keeper = spawn(&stage, |stage| (0..2).find_map(|_| stage.keep()));
        let reader = spawn(&stage, Stage::look);
        let closers = [(); 2].map(|()| spawn(&stage, |stage| stage.store.finish().expect("it closes")));
        closers.into_iter().for_each(|closer| closer.join().expect("close returns"));
        let late = append_using(&stage.org, 99, 99, ["late"]);
        let late = block_on(stage.store.append(vec![late]));
        assert_eq!(late.map_err(|error| error.kind()), Err(StoreErrorKind::Stopped), "after the close");
        let refusals = [writer.join().expect("it ends"), keeper.join().expect("it ends")];
        let stops =
            |refusal: &Option<StoreErrorKind>| matches!(refusal, None | Some(StoreErrorKind::Stopped));
        assert!(refusals.iter().all(stops), "{refusals:?}");
        reader.join().expect("it reads");
        // The images that were kept are there, and only of what is.
        stage.look();
        let (_, entries) = ledger_of(&stage.disk);
        assert_eq!(u64::try_from(entries).expect("a count"), stage.acknowledged(), "as many as acknowledged");
        see_refused.fetch_add(u64::from(refusals.iter().any(Option::is_some)), Ordering::Relaxed);
    });
    assert_ne!(refused.load(Ordering::Relaxed), 0, "no schedule came to a refusal");
}

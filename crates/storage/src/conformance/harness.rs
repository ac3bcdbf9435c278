//! A store under test, with the calls the cases make.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tollgate_domain::{KeyId, KeyRecord, Partition, Record, RecordKey};

use super::Subject;
use super::own::Own;
use super::world::World;
use crate::{
    Append, Appended, Appends, Cursor, EntryChange, Image, Loaded, Opened, Page, Parts, Row, Scan, Store,
    StoreError,
};

/// Most keys in one call to load or find, and most partitions or images in one call to open or checkpoint.
const CALL_MAX: usize = 1_000;

/// Calls of [`Harness::make`] that images lag behind when they are kept late.
const LATE_CALLS: usize = 3;

/// One store and how to drive it.
pub(super) struct Harness<'a, S: Subject> {
    subject: &'a S,
    object: Object<S::Store>,
    /// A second one, where several processes may have the store.
    other: Option<Object<S::Store>>,
    saving: Saving,
    made: AtomicUsize,
    seed: u64,
}

/// A store object, and what was appended through it.
struct Object<T> {
    store: T,
    own: Mutex<Own>,
}

/// When images are kept of what is made.
#[derive(Clone, Copy, Debug)]
pub(super) enum Saving {
    /// After each call.
    AtOnce,
    /// After some calls, of all that they made.
    Late,
    /// When the case says so.
    OnDemand,
}

impl Saving {
    pub(super) const ALL: [Self; 3] = [Self::AtOnce, Self::Late, Self::OnDemand];
}

/// How a store comes to its end.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// It is closed.
    Close,
    /// Its process is gone.
    Crash,
}

impl End {
    pub(super) const ALL: [Self; 2] = [Self::Close, Self::Crash];
}

impl<T> Object<T> {
    fn new(store: T, own: Own) -> Self {
        Self { store, own: Mutex::new(own) }
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().expect("no case goes on after a panic")
    }
}

impl<'a, S: Subject> Harness<'a, S> {
    pub(super) fn new(subject: &'a S, seed: u64) -> Self {
        let harness = Self {
            subject,
            object: Object::new(subject.fresh(), Own::default()),
            other: None,
            saving: Saving::OnDemand,
            made: AtomicUsize::new(0),
            seed,
        };
        harness.beside(&World::default())
    }

    /// The same with another new store.
    pub(super) fn anew(&self, saving: Saving) -> Self {
        Self { saving, ..Self::new(self.subject, self.seed) }
    }

    fn beside(mut self, world: &World) -> Self {
        if self.store().capabilities().shared {
            let other = self.subject.beside(self.store());
            let other = other.unwrap_or_else(|error| panic!("opens beside itself: {error}"));
            self.other = Some(Object::new(other, Own::of_opened(world)));
        }
        self
    }

    /// Goes on with the other store object, where several processes may have the store.
    pub(super) fn turn(&mut self) {
        if let Some(other) = &mut self.other {
            std::mem::swap(&mut self.object, other);
        }
    }

    pub(super) fn store(&self) -> &S::Store {
        &self.object.store
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// Opens partitions, checked against what is promised of all that are opened.
    pub(super) fn open(&self, partitions: &[Partition]) -> Vec<Opened> {
        let opened = self.subject.block_on(self.store().open(partitions)).expect("opens partitions");
        assert_eq!(opened.len(), partitions.len(), "one answer for each partition");
        for (partition, opened) in partitions.iter().zip(&opened) {
            check_opened(partition, opened);
        }
        opened
    }

    /// The versions of partitions, few at a time.
    pub(super) fn versions(&self, partitions: &[Partition]) -> Vec<u64> {
        let mut versions = Vec::with_capacity(partitions.len());
        for some in partitions.chunks(CALL_MAX) {
            let found = self.subject.block_on(self.store().versions(some)).expect("says versions");
            assert_eq!(found.len(), some.len(), "one answer for each partition");
            versions.extend(found);
        }
        versions
    }

    /// The entries of a partition behind a version, if the store has them at hand.
    pub(super) fn since(&self, partition: &Partition, version: u64) -> Option<Vec<EntryChange>> {
        let asked = [(partition.clone(), version)];
        let since = self.store().since(&asked);
        let since = self.subject.block_on(since).expect("reads on");
        assert_eq!(since.len(), 1, "an answer of each partition");
        since.into_iter().next().flatten()
    }

    pub(super) fn open_one(&self, partition: &Partition) -> Opened {
        self.open(std::slice::from_ref(partition)).remove(0)
    }

    /// Opens partitions, few at a time.
    pub(super) fn open_all(&self, partitions: &[Partition]) -> Vec<Opened> {
        partitions.chunks(CALL_MAX).flat_map(|some| self.open(some)).collect()
    }

    /// Loads records as the image has them; `None`: it is not of this version any more.
    pub(super) fn load(
        &self,
        partition: &Partition,
        image: u64,
        keys: &[RecordKey],
    ) -> Option<Vec<Option<Record>>> {
        let mut records = Vec::with_capacity(keys.len());
        for some in keys.chunks(CALL_MAX) {
            let asked = Parts { partition: partition.clone(), image, keys: some.to_vec() };
            let loaded = self.subject.block_on(self.store().load_one(&asked)).expect("loads")?;
            assert_eq!(loaded.len(), some.len(), "one answer for each key");
            records.extend(loaded);
        }
        Some(records)
    }

    /// Loads records of several partitions in one call.
    pub(super) fn load_all(&self, asked: &[Parts]) -> Vec<Loaded> {
        let loaded = self.subject.block_on(self.store().load(asked)).expect("loads");
        assert_eq!(loaded.len(), asked.len(), "one answer for each partition");
        loaded
    }

    /// What is remembered of keys, as of what was last seen of their orgs through this object, or later.
    pub(super) fn find(&self, keys: &[KeyId]) -> Vec<Option<KeyRecord>> {
        let mut records = Vec::with_capacity(keys.len());
        for some in keys.chunks(CALL_MAX) {
            let found = self.subject.block_on(self.store().find(some)).expect("finds");
            assert_eq!(found.len(), some.len(), "one answer for each key");
            records.extend(found);
        }
        records
    }

    /// What is remembered of keys now, whoever appended last.
    pub(super) fn find_now(&self, keys: &[KeyId]) -> Vec<Option<KeyRecord>> {
        let orgs: BTreeSet<Partition> = keys.iter().map(|key| Partition::Org(key.org.clone())).collect();
        self.versions(&orgs.into_iter().collect::<Vec<_>>());
        self.find(keys)
    }

    pub(super) fn claim(&self, lease: &str, holder: u64, time: Duration) -> Option<u64> {
        self.subject.block_on(self.store().claim(lease, holder, time)).expect("claims")
    }

    pub(super) fn behind(&self) -> BTreeSet<Partition> {
        let behind = self.subject.block_on(self.store().behind()).expect("says what is behind");
        let count = behind.len();
        let behind: BTreeSet<Partition> = behind.into_iter().collect();
        assert_eq!(behind.len(), count, "what is behind is named once: {behind:?}");
        behind
    }

    pub(super) fn try_page(
        &self,
        scan: &Scan,
        from: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.subject.block_on(self.store().scan(scan, from, limit))
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

    pub(super) fn try_append(&self, appends: Vec<Append>) -> Result<Appends, StoreError> {
        self.subject.block_on(self.store().append(appends))
    }

    /// Appends, remembers where what was made lies, and gives the answers.
    pub(super) fn append(&self, appends: &[Append]) -> Vec<Appended> {
        let done = self.try_append(appends.to_vec()).unwrap_or_else(|error| panic!("appends: {error}"));
        self.note(appends, done)
    }

    /// The same, of what takes some keys for new.
    pub(super) fn append_new(&self, appends: &[Append], new: &[KeyId]) -> Vec<Appended> {
        let appended = self.subject.block_on(self.store().append_new(appends.to_vec(), new));
        self.note(appends, appended.unwrap_or_else(|error| panic!("appends: {error}")))
    }

    /// Remembers where what was made lies.
    fn note(&self, appends: &[Append], done: Appends) -> Vec<Appended> {
        assert_eq!(done.answers.len(), appends.len(), "one answer for each append");
        assert!(self.store().position() >= done.position, "an append is not behind the latest");
        let mut own = self.object.own();
        for (append, _) in appends.iter().zip(&done.answers).filter(|(_, answer)| **answer == Appended::Done)
        {
            own.note(append, done.position);
        }
        done.answers
    }

    /// Appends what must be made, tells the model, and keeps images when it is time.
    pub(super) fn make(&self, world: &mut World, appends: &[Append]) {
        appends.iter().for_each(|append| world.take(append));
        let former = self.object.own().latest;
        let answers = self.append(appends);
        assert!(answers.iter().all(|answer| *answer == Appended::Done), "all is made: {answers:?}");
        let latest = self.object.own().latest;
        assert!(appends.is_empty() || latest > former, "{latest} is not after {former}, where others lie");
        let made = self.made.fetch_add(1, Ordering::Relaxed) + 1;
        match self.saving {
            Saving::AtOnce => self.save(world),
            Saving::Late if made.is_multiple_of(LATE_CALLS) => self.save(world),
            Saving::Late | Saving::OnDemand => {}
        }
    }

    /// Brings all images up to date.
    pub(super) fn save(&self, world: &mut World) {
        let lacking = world.lacking();
        self.save_some(world, lacking);
    }

    /// Brings the images of partitions up to date.
    pub(super) fn save_some(&self, world: &mut World, partitions: impl IntoIterator<Item = Partition>) {
        let images = world.images_of(partitions);
        self.keep(world, &images);
    }

    /// Gives images to keep, and tells the model.
    pub(super) fn keep(&self, world: &mut World, images: &[Image]) {
        for some in images.chunks(CALL_MAX) {
            world.keep(some);
            self.keep_until(some.to_vec(), self.whole_until(world));
        }
    }

    /// Up to which position the images that the model knows hold every entry.
    pub(super) fn whole_until(&self, world: &World) -> u64 {
        self.object.own().whole_until(world)
    }

    /// Gives images to keep that with those before hold every entry up to a position.
    pub(super) fn keep_until(&self, images: Vec<Image>, whole_until: u64) {
        let kept = self.subject.block_on(self.store().checkpoint(Arc::from(images), whole_until));
        kept.unwrap_or_else(|error| panic!("keeps images: {error}"));
    }

    /// The position of the latest append.
    pub(super) fn latest(&self) -> u64 {
        self.object.own().latest
    }

    /// Compares everything the store holds with the model.
    pub(super) fn check(&self, world: &World) {
        let partitions = world.partitions();
        for (partition, opened) in partitions.iter().zip(self.open_all(&partitions)) {
            assert_eq!(opened, world.opened(partition), "{partition:?} (left: the store's, right: expected)");
        }
        for (partition, found) in partitions.iter().zip(self.versions(&partitions)) {
            assert_eq!(found, world.version(partition), "the version of {partition:?} (left: the store's)");
        }
        let keys = world.keys();
        for (key, found) in keys.iter().zip(self.records(&keys)) {
            assert_eq!(
                found,
                world.record(key),
                "the record of {key:?} (left: the store's, right: expected)"
            );
        }
        self.check_images(world, &keys);
        let keys = world.key_ids();
        for (key, found) in keys.iter().zip(self.find(&keys)) {
            assert_eq!(found, world.find(key), "{key:?} (left: the store's, right: expected)");
        }
        self.check_behind(world);
        for scan in world.scans() {
            self.check_scan(world, &scan, 100);
        }
    }

    /// Compares records as the images have them with the model's.
    fn check_images(&self, world: &World, keys: &[RecordKey]) {
        for (partition, keys) in by_partition(keys) {
            let loaded = self.load(&partition, world.image_version(&partition), &keys);
            let loaded = loaded.unwrap_or_else(|| panic!("the image of {partition:?} has moved"));
            for (key, found) in keys.iter().zip(loaded) {
                assert_eq!(found, world.in_image(key), "{key:?} in the image (left: the store's)");
            }
        }
    }

    /// What is behind is all that others appended and images lack, and nothing that no image lacks.
    pub(super) fn check_behind(&self, world: &World) {
        let (behind, lacking) = (self.behind(), world.lacking());
        let whole: Vec<_> = behind.difference(&lacking).collect();
        assert!(whole.is_empty(), "{whole:?} are not behind");
        let own = self.object.own();
        for partition in lacking.difference(&behind) {
            assert!(own.made_all_since(world, partition), "{partition:?} is behind, and is not named");
        }
    }

    /// Compares all rows of a scan with the model's.
    pub(super) fn check_scan(&self, world: &World, scan: &Scan, limit: usize) {
        same(&format!("{scan:?} by {limit}"), &self.rows(scan, limit), &world.rows(scan));
    }

    /// Ends the store and opens what it kept.
    pub(super) fn reopen(self, world: &World, end: End) -> Self {
        let Self { subject, object, other, .. } = self;
        drop(other);
        if let End::Close = end {
            subject.block_on(object.store.close()).expect("closes");
        }
        let store =
            subject.reopen(object.store).unwrap_or_else(|error| panic!("opens after {end:?}: {error}"));
        let reopened = Self { object: Object::new(store, Own::of_opened(world)), other: None, ..self };
        reopened.beside(world)
    }

    /// The end of a case.
    pub(super) fn finish(self) {
        for object in std::iter::once(&self.object).chain(&self.other) {
            self.subject.block_on(object.store.close()).expect("closes");
        }
    }
}

fn check_opened(partition: &Partition, opened: &Opened) {
    match (partition, &opened.head) {
        (_, None) | (Partition::System, Some(Record::System(_))) => {}
        (Partition::Org(id), Some(Record::Org(org))) if org.id == *id => {}
        (_, Some(head)) => panic!("the head of {partition:?} is {head:?}"),
    }
    for (number, entry) in (opened.image() + 1..).zip(&opened.entries) {
        let fits = matches!(
            (partition, entry),
            (Partition::Org(_), EntryChange::Org(_)) | (Partition::System, EntryChange::System(_))
        );
        assert!(fits, "an entry of {partition:?} is {entry:?}");
        assert_eq!(entry.number(), number, "{partition:?}: the entries go on where its image ends");
    }
}

/// Keys, each with those of the same partition.
pub(super) fn by_partition(keys: &[RecordKey]) -> BTreeMap<Partition, Vec<RecordKey>> {
    let mut grouped = BTreeMap::<_, Vec<RecordKey>>::new();
    for key in keys {
        grouped.entry(key.partition()).or_default().push(key.clone());
    }
    grouped
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

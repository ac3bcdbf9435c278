//! What the tests share: running futures, and a made-up world of orgs whose entries the domain applies.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use fastrand::Rng;
use tollgate_backends::embedded::EmbeddedStore;
use tollgate_domain::{
    Actor, Amount, Burn, Counting, Entry, EntryKind, Grant, KeyId, KeyRecord, KeySpace, MeterId, Notice,
    NoticeKind, OrgId, OrgState, Partition, Period, Quantity, Record, RecordKey, Source, Standing, Timestamp,
    ToppedUpEntry, UsageKey, UsedEntry, UserId, Zone, load_and_apply,
};
#[cfg(any(feature = "aws", feature = "mongodb", feature = "postgres"))]
use tollgate_storage::conformance::Subject;
use tollgate_storage::{
    Append, Appended, Appends, Capabilities, Cursor, EntryChange, Image, Loaded, NoticeRow, Opened, Order,
    Page, Parts, Row, Scan, Store, StoreError,
};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future to its end.
pub(crate) fn run<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Stores of a server, each in a place of its own that has a name, such as a schema or a table.
#[cfg(any(feature = "aws", feature = "mongodb", feature = "postgres"))]
pub(crate) struct Named<O> {
    /// The name of a place where nothing is.
    pub(crate) next: fn() -> String,
    /// Opens the store in a place.
    pub(crate) open: O,
}

#[cfg(any(feature = "aws", feature = "mongodb", feature = "postgres"))]
impl<S: Store, O: Fn(&str) -> Result<S, StoreError> + Sync> Subject for Named<O> {
    type Store = With<S, String>;

    fn fresh(&self) -> With<S, String> {
        let name = (self.next)();
        With { store: (self.open)(&name).expect("opens"), what: name }
    }

    fn reopen(&self, store: With<S, String>) -> Result<With<S, String>, StoreError> {
        let With { store, what: name } = store;
        drop(store);
        Ok(With { store: (self.open)(&name)?, what: name })
    }

    fn beside(&self, store: &With<S, String>) -> Result<With<S, String>, StoreError> {
        Ok(With { store: (self.open)(&store.what)?, what: store.what.clone() })
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        run(future)
    }
}

/// Whether a case of the conformance suite is quick on a server: the random histories take a minute there.
#[cfg(any(feature = "aws", feature = "mongodb", feature = "postgres"))]
pub(crate) fn is_quick(case: &str) -> bool {
    !case.starts_with("random")
}

/// A store, and what must live as long as it or is needed to open it again.
pub(crate) struct With<S, T> {
    pub(crate) store: S,
    pub(crate) what: T,
}

impl<S: Store, T: Send + Sync + 'static> Store for With<S, T> {
    async fn append(&self, appends: Vec<Append>) -> Result<Appends, StoreError> {
        self.store.append(appends).await
    }
    async fn append_new(&self, appends: Vec<Append>, new: &[KeyId]) -> Result<Appends, StoreError> {
        self.store.append_new(appends, new).await
    }
    async fn open(&self, partitions: &[Partition]) -> Result<Vec<Opened>, StoreError> {
        self.store.open(partitions).await
    }
    async fn versions(&self, partitions: &[Partition]) -> Result<Vec<u64>, StoreError> {
        self.store.versions(partitions).await
    }
    async fn load(&self, asked: &[Parts]) -> Result<Vec<Loaded>, StoreError> {
        self.store.load(asked).await
    }
    async fn find(&self, keys: &[KeyId]) -> Result<Vec<Option<KeyRecord>>, StoreError> {
        self.store.find(keys).await
    }
    async fn checkpoint(&self, images: Arc<[Image]>, whole_until: u64) -> Result<(), StoreError> {
        self.store.checkpoint(images, whole_until).await
    }
    async fn behind(&self) -> Result<Vec<Partition>, StoreError> {
        self.store.behind().await
    }
    async fn scan(&self, scan: &Scan, from: Option<&Cursor>, limit: usize) -> Result<Page, StoreError> {
        self.store.scan(scan, from, limit).await
    }
    async fn claim(&self, lease: &str, holder: u64, time: Duration) -> Result<Option<u64>, StoreError> {
        self.store.claim(lease, holder, time).await
    }
    fn position(&self) -> u64 {
        self.store.position()
    }
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
    async fn close(&self) -> Result<(), StoreError> {
        self.store.close().await
    }
}

/// A folder, in memory where the system has such a place: for tests that open thousands of stores.
pub(crate) fn quick_folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a temporary folder")
}

pub(crate) fn org(text: &str) -> OrgId {
    OrgId::new(text).expect("an id")
}

pub(crate) fn key_id(org: &OrgId, key: &str) -> KeyId {
    KeyId { org: org.clone(), space: KeySpace::Use, key: UsageKey::new(key).expect("an id") }
}

/// 2026-11-01, and some seconds.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_793_491_200 + seconds).expect("a time")
}

/// Everything as it should be.
#[derive(Clone, Default)]
pub(crate) struct World {
    /// What the entries add up to.
    pub(crate) records: BTreeMap<RecordKey, Record>,
    pub(crate) entries: BTreeMap<OrgId, Vec<Entry>>,
    pub(crate) keys: BTreeMap<KeyId, KeyRecord>,
    /// As their entries were appended.
    pub(crate) notices: Vec<NoticeRow>,
    /// What images lack.
    lacking: BTreeMap<OrgId, Lacking>,
    /// Of the latest append.
    position: u64,
}

/// What an image lacks.
#[derive(Clone)]
struct Lacking {
    /// The first position whose entries the store object appended and the image lacks.
    since: u64,
    records: BTreeSet<RecordKey>,
}

impl World {
    pub(crate) fn version(&self, of: &OrgId) -> u64 {
        self.entries.get(of).and_then(|entries| entries.last()).map_or(0, |entry| entry.number)
    }

    pub(crate) fn orgs(&self) -> Vec<OrgId> {
        self.entries.keys().cloned().collect()
    }

    /// Entries of all orgs.
    pub(crate) fn count(&self) -> usize {
        self.entries.values().map(Vec::len).sum()
    }

    /// Entries of an org, decided at a time.
    pub(crate) fn plan(&self, org: &OrgId, at: Timestamp, kinds: Vec<EntryKind>) -> Append {
        let expected_version = self.version(org);
        let entry = |(number, kind)| {
            let entry = Entry {
                number,
                at,
                actor: Actor::Local,
                catalog: 1,
                kind,
                settled: Vec::new(),
                notices: some_notices(number),
            };
            EntryChange::Org(entry)
        };
        let entries = (expected_version + 1..).zip(kinds).map(entry).collect();
        Append { partition: Partition::Org(org.clone()), expected_version, entries }
    }

    /// Takes appends as made, in one call.
    pub(crate) fn take(&mut self, appends: &[Append], position: u64) {
        self.position = position;
        for append in appends {
            let Partition::Org(org) = &append.partition else { panic!("not an org: {append:?}") };
            let entries = append.entries.iter().map(|entry| match entry {
                EntryChange::Org(entry) => entry.clone(),
                EntryChange::System(entry) => panic!("not of an org: {entry:?}"),
            });
            entries.for_each(|entry| self.take_entry(org, entry));
        }
    }

    fn take_entry(&mut self, org: &OrgId, entry: Entry) {
        let mut state = OrgState::of(org.clone(), self.records.get(&RecordKey::Org(org.clone())).cloned());
        let find = |key: &RecordKey| Ok::<_, Infallible>(self.records.get(key).cloned());
        let Ok(()) = load_and_apply(&mut state, &entry, find);
        let changed = state.take_changed();
        let new = || Lacking { since: self.position, records: BTreeSet::new() };
        let lacking = self.lacking.entry(org.clone()).or_insert_with(new);
        lacking.since = lacking.since.min(self.position);
        lacking.records.extend(changed.iter().map(|(key, _)| key.clone()));
        self.records.extend(changed);
        let id = |space, key: &UsageKey| KeyId { org: org.clone(), space, key: key.clone() };
        if let Some((space, key, record)) = entry.made_key() {
            self.keys.insert(id(space, key), record);
        }
        if let Some(key) = entry.took_back_key() {
            self.keys.get_mut(&id(KeySpace::Use, key)).expect("a key").reversed_by = Some(entry.number);
        }
        for (index, notice) in (0..).zip(&entry.notices) {
            let (org, notice) = (org.clone(), notice.clone());
            self.notices.push(NoticeRow { org, entry: entry.number, index, at: entry.at, notice });
        }
        self.entries.entry(org.clone()).or_default().push(entry);
    }

    /// The store was opened again: what images lack now is no more what its object appended.
    pub(crate) fn reopened(&mut self) {
        self.lacking.values_mut().for_each(|lacking| lacking.since = u64::MAX);
    }

    /// All images are as new as the entries.
    pub(crate) fn caught_up(&mut self) {
        self.lacking.clear();
    }

    /// The images as they are now of those orgs that are wanted and whose images lack entries, and up to which position all
    /// images are whole with them.
    pub(crate) fn images(&self, wanted: impl Fn(&OrgId) -> bool) -> (Arc<[Image]>, u64) {
        let (wanted, others): (Vec<_>, Vec<_>) = self.lacking.iter().partition(|(org, _)| wanted(org));
        let images = wanted.into_iter().map(|(org, lacking)| {
            let record = |key: &RecordKey| (key.clone(), self.records[key].clone());
            Image {
                partition: Partition::Org(org.clone()),
                version: self.version(org),
                records: lacking.records.iter().map(record).collect(),
            }
        });
        let since = others.iter().map(|(_, lacking)| lacking.since).min().unwrap_or(u64::MAX);
        (images.collect(), self.position.min(since - 1))
    }

    /// Some appends of some orgs to be made in one call, as a generator has them.
    pub(crate) fn some_appends(&self, rng: &mut Rng, orgs: usize, step: i64) -> Vec<Append> {
        let first = rng.usize(..orgs);
        let count = if rng.u8(..4) == 0 { 2.min(orgs) } else { 1 };
        let append = |place: usize| {
            let id = org(&format!("org-{}", (first + place) % orgs));
            let count = rng.usize(1..4);
            let kinds = (0..count).map(|index| self.some_kind(rng, &id, step, index)).collect();
            self.plan(&id, at(step), kinds)
        };
        (0..count).map(append).collect()
    }

    fn some_kind(&self, rng: &mut Rng, of: &OrgId, step: i64, index: usize) -> EntryKind {
        match rng.u8(..12) {
            0 => put(&format!("name {step}")),
            1 => topped_up(&format!("top-up {step} {index}"), step),
            // Two of one call would be the same.
            2 if index == 0 => self.some_used(rng, of).map_or_else(
                || put("none"),
                |(entry, used)| EntryKind::Reversed { entry, used: Box::new(used) },
            ),
            _ => used(rng.bool().then_some("ann"), &format!("key {step} {index}")),
        }
    }

    /// A usage made before whose key still stands.
    fn some_used(&self, rng: &mut Rng, of: &OrgId) -> Option<(u64, UsedEntry)> {
        let standing = |(id, seen): &(&KeyId, &KeyRecord)| {
            id.org == *of && id.space == KeySpace::Use && seen.reversed_by.is_none()
        };
        let keys: Vec<_> = self.keys.iter().filter(standing).collect();
        let (id, seen) = keys.get(rng.usize(..keys.len().max(1)))?;
        let EntryKind::Used(used) = used(None, id.key.as_str()) else { return None };
        Some((seen.entry, *used))
    }

    /// Compares everything with what a store answers; `all` names what there may be.
    pub(crate) fn differs_from(&self, store: &EmbeddedStore, all: &Self) -> Option<String> {
        self.compare(store, all).unwrap_or_else(|error| Some(error.to_string()))
    }

    fn compare(&self, store: &EmbeddedStore, all: &Self) -> Result<Option<String>, StoreError> {
        let orgs = all.orgs();
        for org in &orgs {
            let (version, found) = records_in(store, org, all)?;
            if version != self.version(org) {
                return Ok(Some(format!("{org} is at {version} instead of {}", self.version(org))));
            }
            for (key, found) in &found {
                let wanted = self.records.get(key).filter(|record| !record.is_nothing());
                if found.as_ref() != wanted {
                    return Ok(Some(format!("{key:?}: found {found:?}, expected {wanted:?}")));
                }
            }
            let rows = read_to_end(store, &Scan::Entries { org: org.clone(), order: Order::Oldest })?;
            let wanted = self.entries.get(org).into_iter().flatten().cloned().map(Row::Entry);
            if !rows.iter().cloned().eq(wanted) {
                return Ok(Some(format!("the entries of {org} are {rows:?}")));
            }
        }
        let ids: Vec<KeyId> = all.keys.keys().cloned().collect();
        for (id, found) in ids.iter().zip(run(store.find(&ids))?) {
            let wanted = self.keys.get(id);
            if found.as_ref() != wanted {
                return Ok(Some(format!("{id:?}: found {found:?}, expected {wanted:?}")));
            }
        }
        let rows = read_to_end(store, &Scan::Notices)?;
        let wanted = self.notices.iter().cloned().map(Row::Notice);
        Ok((!rows.iter().cloned().eq(wanted)).then(|| format!("the notices are {rows:?}")))
    }
}

/// The version of an org, and what its image and the entries since come to: of all the records that there may be, and those
/// that there should not.
pub(crate) fn records_in(
    store: &EmbeddedStore,
    org: &OrgId,
    all: &World,
) -> Result<(u64, BTreeMap<RecordKey, Option<Record>>), StoreError> {
    let partition = Partition::Org(org.clone());
    let opened = run(store.open(std::slice::from_ref(&partition)))?.remove(0);
    let keys: Vec<_> = all.records.keys().filter(|key| key.partition() == partition).cloned().collect();
    let asked = Parts { partition, image: opened.image(), keys: keys.clone() };
    let loaded = run(store.load_one(&asked))?.expect("the image that was opened");
    let mut records: BTreeMap<_, _> = keys.into_iter().zip(loaded).collect();
    let mut state = OrgState::of(org.clone(), opened.head.clone());
    for entry in &opened.entries {
        let EntryChange::Org(entry) = entry else { panic!("not of an org: {entry:?}") };
        let find = |key: &RecordKey| Ok::<_, Infallible>(records.get(key).cloned().flatten());
        let Ok(()) = load_and_apply(&mut state, entry, find);
    }
    records.extend(state.take_changed().into_iter().map(|(key, record)| {
        let record = Some(record).filter(|record| !record.is_nothing());
        (key, record)
    }));
    Ok((opened.version(), records))
}

pub(crate) fn read_to_end(store: &EmbeddedStore, scan: &Scan) -> Result<Vec<Row>, StoreError> {
    let (mut rows, mut cursor) = (Vec::new(), None);
    loop {
        let page = run(store.scan(scan, cursor.as_ref(), 100))?;
        rows.extend(page.rows);
        cursor = page.next;
        if cursor.is_none() {
            return Ok(rows);
        }
    }
}

/// Appends, and takes what was appended; gives the position.
pub(crate) fn commit(
    store: &EmbeddedStore,
    world: &mut World,
    appends: &[Append],
) -> Result<u64, StoreError> {
    let appended = run(store.append(appends.to_vec()))?;
    assert!(appended.answers.iter().all(|answer| *answer == Appended::Done), "{appended:?}");
    world.take(appends, appended.position);
    Ok(appended.position)
}

/// Keeps the images of those orgs that are wanted.
pub(crate) fn checkpoint_of(
    store: &EmbeddedStore,
    world: &mut World,
    wanted: impl Fn(&OrgId) -> bool,
) -> Result<(), StoreError> {
    let (images, whole_until) = world.images(&wanted);
    run(store.checkpoint(images, whole_until))?;
    world.lacking.retain(|org, _| !wanted(org));
    Ok(())
}

/// Keeps all images.
pub(crate) fn checkpoint(store: &EmbeddedStore, world: &mut World) {
    checkpoint_of(store, world, |_| true).expect("keeps images");
}

/// Keeps all images and closes.
pub(crate) fn close(store: EmbeddedStore, world: &mut World) {
    checkpoint(&store, world);
    run(store.close()).expect("closes");
    drop(store);
    world.reopened();
}

/// Checks that those partitions are said to lag that do, of a store that has not appended anything.
pub(crate) fn check_behind(store: &EmbeddedStore, all: &World, case: &str) {
    let partitions: Vec<_> = all.orgs().into_iter().map(Partition::Org).collect();
    let opened = run(store.open(&partitions)).unwrap_or_else(|error| panic!("{case}: {error}"));
    let lag = partitions.into_iter().zip(opened).filter(|(_, opened)| !opened.entries.is_empty());
    let lag: Vec<_> = lag.map(|(partition, _)| partition).collect();
    assert_eq!(run(store.behind()).expect("says what lags"), lag, "{case}: what lags");
}

/// Some entries have notices.
fn some_notices(number: u64) -> Vec<Notice> {
    let notice = |index| Notice {
        path: None,
        meter: None,
        user: None,
        period: None,
        kind: NoticeKind::FirstDenial { reason: format!("{number} {index}") },
    };
    if number.is_multiple_of(5) { (0..number % 3 + 1).map(notice).collect() } else { Vec::new() }
}

pub(crate) fn put(name: &str) -> EntryKind {
    EntryKind::Put { name: Some(name.into()), zone: Zone::UTC, metadata: BTreeMap::new() }
}

pub(crate) fn used(user: Option<&str>, key: &str) -> EntryKind {
    used_on(20_758, user, key)
}

/// A usage on a day, in the month of the others.
pub(crate) fn used_on(day: i32, user: Option<&str>, key: &str) -> EntryKind {
    EntryKind::Used(Box::new(UsedEntry {
        user: user.map(|user| UserId::new(user).expect("an id")),
        path: None,
        meter: MeterId::new("reports").expect("an id"),
        quantity: Quantity::ONE,
        key: UsageKey::new(key).expect("an id"),
        fingerprint: 7,
        occurred_at: None,
        recorded: false,
        properties: BTreeMap::new(),
        burns: [Burn { source: Source::Allowance(24_322), amount: Amount::from_whole(1) }].into(),
        periods: [Period::day(day), Period::month(24_322)].into_iter().collect(),
        group: None,
        sink: None,
        captured: None,
        counting: Counting::Sum,
        standing: standing(),
    }))
}

fn standing() -> Standing {
    Standing {
        granted: Amount::from_whole(1_000),
        used: Amount::from_whole(1),
        held: Amount::ZERO,
        remaining: Some(Amount::from_whole(999)),
        user_used: None,
    }
}

fn topped_up(key: &str, step: i64) -> EntryKind {
    let grant = Grant {
        entry: u64::try_from(step).expect("a step"),
        key: Some(UsageKey::new(key).expect("an id")),
        amount: Amount::from_whole(10),
        burned: Amount::ZERO,
        corrected: Amount::ZERO,
        closed: false,
        priority: 1,
        effective_at: at(0),
        expires_at: None,
        reason: None,
    };
    EntryKind::ToppedUp(Box::new(ToppedUpEntry {
        meter: MeterId::new("reports").expect("an id"),
        fingerprint: 8,
        grant,
        metadata: BTreeMap::new(),
        standing: standing(),
    }))
}

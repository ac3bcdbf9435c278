//! A store that outlives its process only in play, and that several processes have only in play, sound or with one fault: so
//! that the durable and shared cases run here too, and every case is seen to catch what it is there for.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use tollgate_domain::{Entry, KeyId, KeyRecord, KeySpace, OrgId, Partition, RecordKey};
use tollgate_storage::conformance::Subject;
use tollgate_storage::{
    Append, Appended, Appends, Capabilities, Cursor, EntryChange, Image, Loaded, MemoryStore, Opened, Page,
    Parts, Scan, Store, StoreError, find_then_append,
};

use crate::fault::Fault;

/// Stores with a fault.
pub(crate) struct Kept {
    fault: Fault,
    shared: bool,
}

impl Kept {
    /// Stores that one process has.
    pub(crate) fn durable(fault: Fault) -> Self {
        Self { fault, shared: false }
    }

    /// Stores that several processes have.
    pub(crate) fn shared(fault: Fault) -> Self {
        Self { fault, shared: true }
    }

    /// Stores with a fault, such as may have another one.
    pub(crate) fn of(fault: Fault, like: Fault) -> Self {
        Self { fault, shared: like.is_of_shared() }
    }
}

/// What was asked of a store that it must keep.
#[derive(Clone)]
pub(crate) enum Call {
    Append(Vec<Append>),
    Checkpoint(Vec<Image>, u64),
    /// A process opened it.
    Open,
}

/// What is kept: opening it makes the same calls again.
pub(crate) struct Shelf {
    inner: Arc<MemoryStore>,
    pub(crate) log: Vec<Call>,
    /// The appends that conflicted.
    pub(crate) conflicts: Vec<Append>,
}

impl Shelf {
    /// With these calls, and no others, made.
    fn of(log: Vec<Call>, conflicts: Vec<Append>) -> Self {
        let inner = Arc::new(MemoryStore::new());
        log.iter().for_each(|call| make(&inner, call));
        Self { inner, log, conflicts }
    }

    /// Makes all calls again, those that some function leaves of them.
    pub(crate) fn redo(&mut self, spoil: impl FnMut(&mut Call)) {
        let Self { mut log, conflicts, .. } = std::mem::replace(self, Self::of(Vec::new(), Vec::new()));
        log.iter_mut().for_each(spoil);
        *self = Self::of(log, conflicts);
    }
}

/// A store that remembers its calls.
pub(crate) struct KeptStore {
    shelf: Arc<Mutex<Shelf>>,
    /// Held while something is changed: what is read may come in between.
    order: Arc<Mutex<()>>,
    pub(crate) fault: Fault,
    shared: bool,
    pub(crate) opened: u8,
    closed: Mutex<bool>,
    /// What this object has opened since it last changed something.
    pub(crate) cache: Mutex<BTreeMap<Partition, Opened>>,
    /// To which partitions this object has appended.
    pub(crate) own: Mutex<BTreeSet<Partition>>,
    /// The latest versions of partitions that this object has seen.
    seen: Mutex<BTreeMap<Partition, u64>>,
}

impl Subject for Kept {
    type Store = KeptStore;

    fn fresh(&self) -> KeptStore {
        self.open(0, Vec::new())
    }

    fn reopen(&self, store: KeptStore) -> Result<KeptStore, StoreError> {
        let closed = *store.closed.lock().expect("no panic");
        let mut log = store.shelf().log.clone();
        match self.fault {
            Fault::LosesTheLastAppend if !closed => {
                let last = log.iter().rposition(|call| matches!(call, Call::Append(_)));
                last.map(|last| log.remove(last));
            }
            Fault::LosesWhatImagesLack if !closed => {
                let inner = store.inner();
                log.iter_mut().for_each(|call| {
                    if let Call::Append(appends) = call {
                        appends
                            .retain(|append| append.expected_version < image_in(&inner, &append.partition));
                    }
                });
            }
            Fault::LosesImages if !closed => log.retain(|call| !matches!(call, Call::Checkpoint(..))),
            Fault::LosesTheSystem if closed => log.iter_mut().for_each(|call| match call {
                Call::Append(appends) => appends.retain(|append| append.partition != Partition::System),
                Call::Checkpoint(images, _) => images.retain(|image| image.partition != Partition::System),
                Call::Open => {}
            }),
            _ => {}
        }
        log.push(Call::Open);
        Ok(self.open(store.opened + 1, log))
    }

    fn beside(&self, store: &KeptStore) -> Result<KeptStore, StoreError> {
        let (shelf, order) = (Arc::clone(&store.shelf), Arc::clone(&store.order));
        Ok(KeptStore { shelf, order, ..self.open(store.opened, Vec::new()) })
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        pollster::block_on(future)
    }
}

impl Kept {
    fn open(&self, opened: u8, log: Vec<Call>) -> KeptStore {
        KeptStore {
            shelf: Arc::new(Mutex::new(Shelf::of(log, Vec::new()))),
            order: Arc::default(),
            fault: self.fault,
            shared: self.shared,
            opened,
            closed: Mutex::new(false),
            cache: Mutex::default(),
            own: Mutex::default(),
            seen: Mutex::default(),
        }
    }
}

fn make(inner: &MemoryStore, call: &Call) {
    match call {
        Call::Append(appends) => {
            pollster::block_on(inner.append(appends.clone())).expect("was appended before");
        }
        Call::Checkpoint(images, _) => {
            pollster::block_on(inner.checkpoint(images.clone().into(), 0)).expect("was kept before");
        }
        Call::Open => {}
    }
}

pub(crate) fn open_in(inner: &MemoryStore, partitions: &[Partition]) -> Vec<Opened> {
    pollster::block_on(inner.open(partitions)).expect("it opens")
}

/// The version of the image of a partition.
pub(crate) fn image_in(inner: &MemoryStore, partition: &Partition) -> u64 {
    open_in(inner, std::slice::from_ref(partition))[0].image()
}

pub(crate) fn org_entries(append: &Append) -> impl Iterator<Item = (&OrgId, &Entry)> {
    append.entries.iter().filter_map(|entry| match (entry, &append.partition) {
        (EntryChange::Org(entry), Partition::Org(org)) => Some((org, entry)),
        _ => None,
    })
}

impl KeptStore {
    pub(crate) fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().expect("no panic")
    }

    fn inner(&self) -> Arc<MemoryStore> {
        Arc::clone(&self.shelf().inner)
    }

    fn see(&self, partition: &Partition, version: u64) {
        let mut seen = self.seen.lock().expect("no panic");
        let known = seen.entry(partition.clone()).or_default();
        *known = version.max(*known);
    }

    /// The latest version of an org that this object has seen.
    pub(crate) fn seen_of(&self, org: &OrgId) -> u64 {
        let seen = self.seen.lock().expect("no panic");
        seen.get(&Partition::Org(org.clone())).copied().unwrap_or_default()
    }

    /// Appends one after another, or entry by entry, where a fault says so.
    fn append_to(&self, inner: &MemoryStore, appends: &[Append]) -> Result<Appends, StoreError> {
        let append_all = |appends: Vec<Append>| pollster::block_on(inner.append(appends));
        if !matches!(self.fault, Fault::StopsAtConflicts | Fault::TearsAppends) {
            return append_all(appends.to_vec());
        }
        let mut answers: Vec<Appended> = Vec::new();
        let mut position = 0;
        for append in appends {
            let mut answer = Appended::Conflict;
            if self.fault == Fault::TearsAppends {
                for (expected_version, entry) in (append.expected_version..).zip(&append.entries) {
                    let (partition, entries) = (append.partition.clone(), vec![entry.clone()]);
                    let done = append_all(vec![Append { partition, expected_version, entries }])?;
                    (answer, position) = (done.answers[0], done.position);
                    thread::yield_now();
                }
            } else if !answers.contains(&Appended::Conflict) {
                let done = append_all(vec![append.clone()])?;
                (answer, position) = (done.answers[0], done.position);
            }
            answers.push(answer);
        }
        Ok(Appends { answers, position })
    }
}

impl Store for KeptStore {
    async fn append(&self, appends: Vec<Append>) -> Result<Appends, StoreError> {
        // The log is in the order of the calls.
        let order = self.order.lock().expect("no panic");
        let mut done = self.append_to(&self.inner(), &appends)?;
        let (made, lost): (Vec<_>, Vec<_>) =
            appends.iter().zip(&done.answers).partition(|(_, answer)| **answer == Appended::Done);
        for (append, _) in made {
            self.see(&append.partition, append.entries.last().map_or(0, EntryChange::number));
        }
        let mut shelf = self.shelf();
        shelf.conflicts.extend(lost.into_iter().map(|(append, _)| append.clone()));
        self.own.lock().expect("no panic").extend(appends.iter().map(|append| append.partition.clone()));
        shelf.log.push(Call::Append(appends));
        drop((shelf, order));
        if done.answers.contains(&Appended::Done) {
            self.cache.lock().expect("no panic").clear();
        }
        match self.fault {
            Fault::HidesConflicts => done.answers.fill(Appended::Done),
            Fault::StandsStill => done.position = 1,
            _ => {}
        }
        Ok(done)
    }

    async fn append_new(&self, appends: Vec<Append>, new: &[KeyId]) -> Result<Appends, StoreError> {
        match self.fault {
            Fault::TakesKnownKeysForNew => self.append(appends).await,
            Fault::StopsAtKnownKeys if self.find(new).await?.iter().any(Option::is_some) => {
                Ok(Appends { answers: vec![Appended::Conflict; appends.len()], position: self.position() })
            }
            _ => find_then_append(self, appends, new).await,
        }
    }

    async fn open(&self, partitions: &[Partition]) -> Result<Vec<Opened>, StoreError> {
        let inner = self.inner();
        let mut partitions: Vec<Partition> = partitions.iter().map(|of| self.trimmed(of)).collect();
        if self.fault == Fault::SortsAnswers {
            partitions.sort();
        }
        let mut all = self.open_torn(&inner, &partitions);
        for (partition, opened) in partitions.iter().zip(&mut all) {
            self.spoil(&inner, partition, opened);
            self.see(partition, opened.version());
        }
        Ok(all)
    }

    async fn versions(&self, partitions: &[Partition]) -> Result<Vec<u64>, StoreError> {
        let mut versions = self.inner().versions(partitions).await?;
        if self.fault == Fault::GivesVersionsOfImages {
            let inner = self.inner();
            versions = partitions.iter().map(|partition| image_in(&inner, partition)).collect();
        }
        partitions.iter().zip(&versions).for_each(|(partition, version)| self.see(partition, *version));
        Ok(versions)
    }

    async fn load(&self, asked: &[Parts]) -> Result<Vec<Loaded>, StoreError> {
        let inner = self.inner();
        let mut asked = asked.to_vec();
        for Parts { partition, image, keys } in &mut asked {
            let there = image_in(&inner, partition);
            match self.fault {
                Fault::LoadsFromAnyImage => *image = there,
                Fault::SortsAnswers => keys.sort(),
                Fault::LoadsEntriesOfImages => keys.iter_mut().for_each(|key| {
                    if let RecordKey::Entry(_, number) = key
                        && *number > there
                    {
                        *number = u64::MAX;
                    }
                }),
                _ => {}
            }
        }
        let mut loaded = inner.load(&asked).await?;
        match self.fault {
            // One that moved is left out, and those behind it are taken for others.
            Fault::LoadsWithGaps => {
                loaded.sort_by_key(Option::is_none);
            }
            Fault::LoadsAllOrNothing if loaded.contains(&None) => loaded.fill(None),
            _ => {}
        }
        Ok(loaded)
    }

    async fn find(&self, keys: &[KeyId]) -> Result<Vec<Option<KeyRecord>>, StoreError> {
        let inner = self.inner();
        let mut keys = keys.to_vec();
        match self.fault {
            Fault::SortsAnswers => keys.sort(),
            Fault::SharesKeySpaces => keys.iter_mut().for_each(|key| key.space = KeySpace::Use),
            _ => {}
        }
        let mut found = inner.find(&keys).await?;
        for (key, known) in keys.iter().zip(&mut found) {
            self.spoil_key(&inner, key, known);
        }
        Ok(found)
    }

    async fn checkpoint(&self, images: Arc<[Image]>, whole_until: u64) -> Result<(), StoreError> {
        let order = self.order.lock().expect("no panic");
        let mut images = images.to_vec();
        self.spoil_images(&mut self.shelf(), &mut images);
        let call = Call::Checkpoint(images, whole_until);
        make(&self.inner(), &call);
        self.shelf().log.push(call);
        drop(order);
        self.cache.lock().expect("no panic").clear();
        Ok(())
    }

    async fn behind(&self) -> Result<Vec<Partition>, StoreError> {
        let mut behind = self.inner().behind().await?;
        self.spoil_behind(&mut behind);
        Ok(behind)
    }

    async fn scan(&self, scan: &Scan, from: Option<&Cursor>, limit: usize) -> Result<Page, StoreError> {
        let inner = self.inner();
        let from = from.map(|cursor| self.taken(scan, cursor)).transpose()?;
        let limit = if self.fault == Fault::OverfillsPages { limit.saturating_add(1) } else { limit };
        let mut asked = scan.clone();
        if let (Fault::ReadsPastRanges, Scan::OrgCounters { until, .. }) = (self.fault, &mut asked) {
            *until = until.saturating_add(1);
        }
        let mut page = inner.scan(&asked, from.as_ref(), limit).await?;
        if self.fault == Fault::GoesOnAtTheEnd && page.next.is_none() && !page.rows.is_empty() {
            let more = inner.scan(&asked, None, 1).await?;
            page.next = more.next;
        }
        self.spoil_rows(&inner, scan, &mut page.rows);
        page.next = page.next.map(|cursor| self.given(scan, cursor));
        Ok(page)
    }

    async fn claim(&self, lease: &str, holder: u64, time: Duration) -> Result<Option<u64>, StoreError> {
        let time = match self.fault {
            Fault::GivesLeasesToAll => return Ok(Some(1)),
            Fault::NeverEndsLeases => time.max(Duration::from_mins(60)),
            _ => time,
        };
        let claimed = self.inner().claim(lease, holder, time).await?;
        Ok(claimed.map(|number| if self.fault == Fault::NumbersLeasesAlike { 1 } else { number }))
    }

    fn position(&self) -> u64 {
        self.inner().position()
    }

    fn capabilities(&self) -> Capabilities {
        let inner = MemoryStore::new().capabilities();
        let appends_max = if self.fault == Fault::TakesTooMuch { 100 } else { inner.appends_max };
        Capabilities { durable: true, shared: self.shared, appends_max, ..inner }
    }

    async fn close(&self) -> Result<(), StoreError> {
        *self.closed.lock().expect("no panic") = true;
        Ok(())
    }
}

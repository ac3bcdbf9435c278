//! A commit's way: check the versions, write one frame, make it durable, show it; later, fold it into the tables.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use quick_cache::Weighter;
use tollgate_domain::{Account, Org, Partition, Record, RecordKey};
use tollgate_storage::codec::{LineRef, encode_line};
use tollgate_storage::{Batch, Change, Committed, EntryChange, StoreError, StoreErrorKind};

use super::codec::Table;
use super::error::{full, stopped, tables_error};
use super::filter::{FilterKeeper, Filters};
use super::fold::{FoldError, fold};
use super::frame::EntrySpot;
use super::ledger::Ledger;
use super::limits::{
    CHANGES_MAX, ENTRIES_MAX, FOLD_FREE_BYTES_MIN, FOLD_MILLIS, RETRY_MILLIS, SWEEP_SECS, WAIT_SECS,
};
use super::metrics::Metrics;
use super::open::TABLES_DIR;
use super::options::{EmbeddedOptions, Work};
use super::overlay::Overlay;
use super::segment::{Location, Segments};
use super::sync::{Cache, Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, thread};
use super::tables::{Folded, Keep, RawRow, Tables, TablesSlot, free_bytes, yield_to_answers};
use super::walk::Position;

/// Everything of an open store but its thread.
pub(crate) struct Core {
    pub(crate) path: PathBuf,
    pub(crate) options: EmbeddedOptions,
    pub(crate) ledger: Mutex<Ledger>,
    /// Why the ledger takes no more commits; a commit holds the ledger itself through its sync.
    stopped: Arc<OnceLock<String>>,
    pub(crate) segments: Arc<Segments>,
    pub(crate) state: RwLock<State>,
    pub(crate) tables: TablesSlot,
    pub(crate) keep: Arc<Keep>,
    pub(crate) cache: Cache<RecordKey, Record, ByBytes>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) filters: Filters,
    /// Held while folding.
    folding: Mutex<Folding>,
    control: Mutex<Control>,
    wanted: Condvar,
    done: Condvar,
    /// Held as long as the store is open; another process cannot lock the file meanwhile.
    pub(crate) _lock: std::fs::File,
}

/// What whoever folds goes by.
#[derive(Debug)]
struct Folding {
    /// How far the tables are.
    folded: Folded,
    filters: FilterKeeper,
}

/// What is not in the tables yet.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Taking commits.
    pub(crate) active: Overlay,
    /// Being folded.
    pub(crate) frozen: Option<Arc<Overlay>>,
    /// Counts the overlays frozen so far: a clean record read before may be older than the tables by now.
    pub(crate) generation: u64,
}

/// What the folding thread is told and tells.
#[derive(Debug, Default)]
struct Control {
    wanted: bool,
    closing: bool,
    /// Why the last fold failed.
    failure: Option<Failure>,
    /// Whether the tables take no more writes until they are reopened.
    tables_broken: bool,
}

#[derive(Clone, Debug)]
struct Failure {
    kind: StoreErrorKind,
    text: String,
}

/// What a clean record takes besides itself: its key, its place in the cache, what allocators round up.
const CACHED_BYTES: usize = 2 * size_of::<RecordKey>() + 2 * size_of::<Record>() + 64;

/// Weighs a clean record by the bytes it takes, roughly.
#[derive(Clone, Debug)]
pub(crate) struct ByBytes;

impl Weighter<RecordKey, Record> for ByBytes {
    fn weight(&self, _: &RecordKey, record: &Record) -> u64 {
        let bytes = match record {
            Record::Org(org) => size_of::<Org>() + size_of_val(org.limits.as_slice()),
            Record::Account(account) => {
                size_of::<Account>()
                    + size_of_val(account.days.as_slice())
                    + size_of_val(account.grants.as_slice())
                    + size_of_val(account.allowances.as_slice())
                    + size_of_val(account.marks.as_slice())
                    + size_of_val(account.tally.open())
            }
            Record::Tally(tally) => size_of_val(tally.open()),
            _ => 0,
        };
        count(CACHED_BYTES + bytes)
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Core").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What opening found, from which a [`Core`] is made.
pub(crate) struct Opened {
    pub(crate) path: PathBuf,
    pub(crate) options: EmbeddedOptions,
    pub(crate) ledger: Ledger,
    pub(crate) tables: Tables,
    pub(crate) keep: Arc<Keep>,
    pub(crate) active: Overlay,
    pub(crate) folded: Folded,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lock: std::fs::File,
}

impl Core {
    pub(crate) fn new(opened: Opened) -> Self {
        let segments = Arc::clone(opened.ledger.segments());
        let state = State { active: opened.active, ..State::default() };
        let filters = FilterKeeper::new(&opened.tables);
        Self {
            path: opened.path,
            cache: Cache::with_weighter(CACHE_ITEMS_ESTIMATED, opened.options.cache_bytes, ByBytes),
            options: opened.options,
            stopped: opened.ledger.stopped(),
            ledger: Mutex::new(opened.ledger),
            segments,
            state: RwLock::new(state),
            tables: TablesSlot::new(opened.tables),
            keep: opened.keep,
            metrics: opened.metrics,
            filters: Filters::default(),
            folding: Mutex::new(Folding { folded: opened.folded, filters }),
            control: Mutex::default(),
            wanted: Condvar::new(),
            done: Condvar::new(),
            _lock: opened.lock,
        }
    }

    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits changes; see [`tollgate_storage::Store::commit`].
    pub(crate) fn commit(&self, batch: Batch) -> Result<Vec<Committed>, StoreError> {
        let started = Instant::now();
        check_batch(&batch)?;
        if let Some(why) = self.stopped.get() {
            return Err(stopped(why));
        }
        // Before the ledger is taken: whoever needs it meanwhile, such as a backup, does not wait for a fold.
        self.wait_for_room()?;
        let mut ledger = self.ledger();
        let mut answers = Vec::with_capacity(batch.changes.len());
        let mut made = Vec::with_capacity(batch.changes.len());
        for change in batch.changes {
            let current = self.version(&change.partition)? == change.expected_version;
            answers.push(if current { Committed::Done } else { Committed::Conflict });
            made.extend(current.then_some(change));
        }
        if made.is_empty() {
            return Ok(answers);
        }
        let spots = encode(&mut ledger, &made)?;
        let position = ledger.append()?;
        let records = self.show(made, &spots, position);
        drop(ledger);
        self.metrics.commits.add(1);
        self.metrics.entries.add(count(spots.len()));
        self.metrics.commit_seconds.record(started.elapsed());
        if records >= self.options.overlay_records_max {
            self.want_fold();
        }
        Ok(answers)
    }

    fn version(&self, partition: &Partition) -> Result<u64, StoreError> {
        let key = match partition {
            Partition::Org(org) => RecordKey::Org(org.clone()),
            Partition::System => RecordKey::System,
        };
        let at_hand = self.state().record(&key).map(version_of);
        if let Some(version) = at_hand {
            return Ok(version);
        }
        let found = self.load(std::slice::from_ref(&key))?.pop().flatten();
        Ok(found.as_ref().map_or(0, version_of))
    }

    /// Shows what is durable to readers; says how many records wait to be folded.
    fn show(&self, made: Vec<Change>, spots: &[EntrySpot], position: Position) -> usize {
        let mut locations = spots.iter().map(|spot| Location {
            segment: position.segment,
            offset: position.offset + spot.offset,
            len: spot.len,
        });
        let mut state = self.state_mut();
        let active = &mut state.active;
        for change in made {
            active.put(&change.partition, change.records);
            let part = active.part_mut(&change.partition);
            let mut latest = i64::MIN;
            for (entry, location) in change.entries.iter().zip(locations.by_ref()) {
                latest = latest.max(match entry {
                    EntryChange::Org(entry) => {
                        if let Partition::Org(org) = &change.partition {
                            part.add_entry(org, entry, location);
                        }
                        entry.at.as_second()
                    }
                    EntryChange::System(entry) => entry.at.as_second(),
                });
            }
            active.count(count(change.entries.len()), latest);
        }
        active.position = position;
        let waiting = active.records;
        self.show_lag(&state);
        waiting
    }

    fn show_lag(&self, state: &State) {
        let (records, entries) =
            state.frozen.as_ref().map_or((0, 0), |frozen| (frozen.records, frozen.entries));
        self.metrics.overlay_records.set(count(state.active.records + records));
        self.metrics.fold_lag_entries.set(state.active.entries + entries);
    }

    /// Holds a commit up while memory is full of what is not folded; refuses it when folding fails or takes too long.
    fn wait_for_room(&self) -> Result<(), StoreError> {
        let most = self.options.overlay_records_max.saturating_mul(2);
        let deadline = Instant::now() + Duration::from_secs(WAIT_SECS);
        loop {
            if self.state().active.records < most {
                return Ok(());
            }
            if self.options.work == Work::Inline {
                return self.fold_all();
            }
            let mut control = self.control();
            if control.closing {
                return Err(stopped(self.stopped.get().map_or("it was closed", String::as_str)));
            }
            control.wanted = true;
            self.wanted.notify_all();
            if let Some(failure) = &control.failure {
                return Err(StoreError::new(failure.kind, failure.text.clone()));
            }
            let now = Instant::now();
            if now >= deadline {
                return Err(full(&self.path, "folding into the tables does not keep up"));
            }
            let pause = (deadline - now).min(Duration::from_millis(RETRY_MILLIS));
            drop(self.done.wait_timeout(control, pause));
        }
    }

    fn want_fold(&self) {
        if self.options.work == Work::Inline {
            // A failure is kept, and refuses commits when memory is full.
            drop(self.fold_all());
            return;
        }
        self.control().wanted = true;
        self.wanted.notify_all();
    }

    /// The folding thread: woken when there is much, and every [`FOLD_MILLIS`].
    pub(crate) fn fold_until_closed(&self) {
        yield_to_answers();
        loop {
            let building = self.build_filters();
            let control = self.control();
            let pause = Duration::from_millis(if building { 0 } else { FOLD_MILLIS });
            let waited =
                self.wanted.wait_timeout_while(control, pause, |control| !control.wanted && !control.closing);
            let (mut control, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if control.closing {
                return;
            }
            if building && !control.wanted {
                continue;
            }
            control.wanted = false;
            let failed_before = control.failure.is_some();
            drop(control);
            let folded = self.fold_all();
            // Even if nothing was to be folded: who waits for room may have looked just before there was some.
            self.done.notify_all();
            if folded.is_err() && failed_before {
                // Commits wake this thread; it pauses all the same, so that a full disk is not tried in a tight loop.
                let control = self.control();
                let pause = Duration::from_millis(RETRY_MILLIS);
                drop(self.wanted.wait_timeout_while(control, pause, |control| !control.closing));
            }
        }
    }

    /// Folds everything committed before the call.
    pub(crate) fn fold_all(&self) -> Result<(), StoreError> {
        let mut folding = self.folding();
        // An overlay left by a failed fold goes first.
        if self.state().frozen.is_some() {
            self.fold_one(&mut folding)?;
        }
        // Once: what is committed meanwhile waits for the next fold, and shares its rows with more of its kind.
        self.fold_one(&mut folding)?;
        drop(folding);
        if self.options.work == Work::Inline {
            while self.build_filters() {}
        }
        Ok(())
    }

    fn folding(&self) -> MutexGuard<'_, Folding> {
        self.folding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on with the filters; false when they are whole, or cannot be made now.
    fn build_filters(&self) -> bool {
        let mut folding = self.folding();
        let step = self.tables.read().get().and_then(|tables| folding.filters.step(&self.filters, tables));
        step.unwrap_or_else(|error| {
            tracing::warn!(%error, "a filter cannot be made; look-ups go to the tables");
            false
        })
    }

    /// Folds the frozen overlay, or freezes and folds the active one, if there is one.
    fn fold_one(&self, folding: &mut Folding) -> Result<(), StoreError> {
        let folded = folding.folded;
        let Some(frozen) = self.freeze() else { return Ok(()) };
        let started = Instant::now();
        let mut next = Folded { position: frozen.position, ..folded };
        next.latest_secs = next.latest_secs.max(frozen.latest_secs);
        let sweep = next.latest_secs.saturating_sub(next.swept_secs) > SWEEP_SECS;
        if sweep {
            next.swept_secs = next.latest_secs;
        }
        self.write_rows(&frozen, folding, &next).map_err(|error| self.fold_failed(error))?;
        self.keep.see(next.latest_secs);
        self.warm(&frozen);
        let mut state = self.state_mut();
        state.frozen = None;
        self.show_lag(&state);
        drop(state);
        let swept_before = folded.swept_secs;
        folding.folded = next;
        self.metrics.fold_seconds.record(started.elapsed());
        self.metrics.tables_bytes.set(self.tables.read().get()?.bytes());
        self.control().failure = None;
        self.done.notify_all();
        if sweep && swept_before != 0 {
            self.sweep_aside();
        }
        Ok(())
    }

    /// Writes an overlay into the tables, reopening them first if they failed before.
    fn write_rows(&self, frozen: &Overlay, folding: &Folding, next: &Folded) -> Result<(), StoreError> {
        if free_bytes(&self.path) < FOLD_FREE_BYTES_MIN {
            return Err(full(&self.path, "too little is free to fold into the tables"));
        }
        if self.control().tables_broken {
            let path = self.path.join(TABLES_DIR);
            self.tables.reopen(|| Tables::open(&path, &self.options, &self.keep))?;
            let now = self.tables.read().get()?.folded()?;
            if now == *next {
                self.control().tables_broken = false;
                return Ok(());
            }
            if now.position != folding.folded.position {
                return Err(stopped(
                    "the tables lost what was folded; a restart brings them up from the ledger",
                ));
            }
            self.control().tables_broken = false;
            tracing::info!("the tables were reopened after they had failed");
        }
        let filters = |rows: &[(Table, RawRow)]| folding.filters.put(&self.filters, rows.iter());
        fold(self.tables.read().get()?, frozen, next, filters).map_err(|error| match error {
            FoldError::Encode(error) => error,
            FoldError::Tables(error) => {
                self.control().tables_broken = true;
                tables_error("fold into", error)
            }
        })
    }

    fn freeze(&self) -> Option<Arc<Overlay>> {
        let mut state = self.state_mut();
        if let Some(frozen) = &state.frozen {
            return Some(Arc::clone(frozen));
        }
        if state.active.is_empty() {
            return None;
        }
        let frozen = Arc::new(std::mem::take(&mut state.active));
        state.frozen = Some(Arc::clone(&frozen));
        state.generation += 1;
        Some(frozen)
    }

    /// Keeps hot records at hand; the frozen overlay still hides them, so no reader sees one too early.
    fn warm(&self, frozen: &Overlay) {
        for (key, record) in frozen.orgs.values().flat_map(|part| &part.records) {
            if is_cached(key) {
                self.cache.insert(key.clone(), record.clone());
            }
        }
    }

    fn fold_failed(&self, error: StoreError) -> StoreError {
        self.metrics.fold_failures.add(1);
        tracing::error!(%error, "cannot fold into the tables; it will be tried again");
        let kind = if error.kind() == StoreErrorKind::Full || free_bytes(&self.path) < FOLD_FREE_BYTES_MIN {
            StoreErrorKind::Full
        } else {
            StoreErrorKind::Stopped
        };
        self.control().failure = Some(Failure { kind, text: error.to_string() });
        self.done.notify_all();
        error
    }

    /// Sweeps without holding up folds: expired rows hurt nobody meanwhile.
    fn sweep_aside(&self) {
        let Ok(tables) = self.tables.read().get().cloned() else { return };
        let sweep = move || {
            if let Err(error) = tables.sweep() {
                tracing::warn!(%error, "expired rows stay for another week");
            }
        };
        if self.options.work == Work::Inline {
            sweep();
        } else {
            drop(thread::Builder::new().name("tollgate-sweep".into()).spawn(sweep));
        }
    }

    /// Takes no commits any more and lets the folding thread end.
    pub(crate) fn stop(&self, why: &str) {
        self.ledger().stop(why);
        self.control().closing = true;
        self.wanted.notify_all();
        // A commit that waits for room gets none from a fold any more.
        self.done.notify_all();
    }

    /// Why commits are refused for good, if they are. Never waits for a commit.
    pub(crate) fn stopped(&self) -> Option<String> {
        if let Some(why) = self.stopped.get() {
            return Some(why.clone());
        }
        let control = self.control();
        let failure = control.failure.as_ref().filter(|failure| failure.kind == StoreErrorKind::Stopped);
        failure.map(|failure| failure.text.clone())
    }
}

/// Records expected in the cache at first; it grows as need be.
const CACHE_ITEMS_ESTIMATED: usize = 1_000;

/// Whether a clean record is worth keeping at hand: those that every usage of an org asks for.
pub(crate) const fn is_cached(key: &RecordKey) -> bool {
    matches!(key, RecordKey::Org(_) | RecordKey::Account(..) | RecordKey::Tally(..))
}

pub(crate) fn version_of(record: &Record) -> u64 {
    match record {
        Record::Org(org) => org.version,
        Record::System(system) => system.version,
        _ => 0,
    }
}

fn count(number: usize) -> u64 {
    super::io::to_u64(number)
}

fn encode(ledger: &mut Ledger, made: &[Change]) -> Result<Vec<EntrySpot>, StoreError> {
    let builder = ledger.begin()?;
    let mut spots = Vec::with_capacity(made.len());
    for change in made {
        for entry in &change.entries {
            let line = match (entry, &change.partition) {
                (EntryChange::Org(entry), Partition::Org(org)) => LineRef::Org(org, entry),
                (EntryChange::System(entry), Partition::System) => LineRef::System(entry),
                _ => {
                    return Err(StoreError::new(
                        StoreErrorKind::Format,
                        "an entry of another kind of ledger",
                    ));
                }
            };
            spots.push(builder.push(|buffer| encode_line(line, buffer)));
        }
    }
    Ok(spots)
}

/// What is larger than declared is refused; what must be true of a batch, whoever commits it, is asserted.
fn check_batch(batch: &Batch) -> Result<(), StoreError> {
    let entries: usize = batch.changes.iter().map(|change| change.entries.len()).sum();
    if batch.changes.len() > CHANGES_MAX || entries > ENTRIES_MAX {
        let text = format!(
            "{} changes with {entries} entries are more than the {CHANGES_MAX} and {ENTRIES_MAX} of one batch",
            batch.changes.len()
        );
        return Err(StoreError::new(StoreErrorKind::TooLarge, text));
    }
    if batch.changes.len() > 1 {
        let partitions: HashSet<&Partition> = batch.changes.iter().map(|change| &change.partition).collect();
        assert_eq!(partitions.len(), batch.changes.len(), "a batch has at most one change of a partition");
    }
    for change in &batch.changes {
        let mut version = change.expected_version;
        for entry in &change.entries {
            version += 1;
            let number = match entry {
                EntryChange::Org(entry) => entry.number,
                EntryChange::System(entry) => entry.number,
            };
            assert_eq!(
                number, version,
                "the entries of a change are numbered from its version on without gaps"
            );
        }
        assert!(version > change.expected_version, "a change has an entry");
        let versioned = change.records.iter().any(|(_, record)| {
            matches!(record, Record::Org(_) | Record::System(_)) && version_of(record) == version
        });
        assert!(versioned, "a change holds the record with its version, the number of its latest entry");
    }
    Ok(())
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::super::EmbeddedStore;
    use super::*;

    #[test]
    fn whether_it_stopped_is_answered_while_a_commit_holds_the_ledger() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = EmbeddedStore::open(folder.path(), EmbeddedOptions::default()).expect("opens");
        let (answer, answered) = mpsc::channel();
        std::thread::scope(|scope| {
            let ledger = store.core.ledger();
            scope.spawn(|| answer.send(store.core.stopped()));
            let early = answered.recv_timeout(Duration::from_secs(10));
            drop(ledger);
            assert_eq!(early, Ok(None), "the answer waits for the commit");
        });
        store.core.stop("for the test");
        assert_eq!(store.core.stopped().as_deref(), Some("for the test"));
    }
}

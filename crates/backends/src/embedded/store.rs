//! An append's way: check the versions, write one frame, make it durable, note its facts. And how what was appended is found:
//! the image of a partition in the tables, and its entries since by the facts.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Instant;

use tollgate_domain::{Entry, KeyId, KeyRecord, OrgId, Partition, Record, RecordKey};
use tollgate_storage::check::check_appends;
use tollgate_storage::codec::{DecodeError, Line, LineRef, decode_line, encode_line};
use tollgate_storage::{Append, Appended, Appends, EntryChange, Loaded, Opened, StoreError, StoreErrorKind};

use super::checkpoint::Checkpoints;
use super::error::{bad_entry, bad_row, corrupt, stopped};
use super::facts::{Facts, KeyPlaces, Place};
use super::fingerprints::{facts_of, of_key, of_partition, of_reversal};
use super::frame::EntrySpot;
use super::io::to_u64;
use super::ledger::Ledger;
use super::limits::{APPENDS_MAX, ENTRIES_MAX, FRAMES_KNOWN_STEP, MANY_ENTRIES, SLOW_APPEND_MICROS};
use super::metrics::Metrics;
use super::options::{EmbeddedOptions, Work};
use super::orders::Orders;
use super::prepare::Room;
use super::segment::Segments;
use super::sync::{Mutex, MutexGuard};
use super::tables::{Folded, Keep, TablesSlot, TablesView};
use super::versions::Versions;
use super::walk::Position;
use crate::rows::{decode_record, row_key};

/// Everything of an open store but its threads.
pub(crate) struct Core {
    pub(crate) path: PathBuf,
    pub(crate) options: EmbeddedOptions,
    ledger: Mutex<Ledger>,
    /// Why the ledger takes no more appends; an append holds the ledger itself through its sync.
    stopped: Arc<OnceLock<String>>,
    room: Room,
    pub(crate) segments: Arc<Segments>,
    pub(crate) facts: Facts,
    /// Locked by an append, with the ledger, until it is durable and its facts are known.
    versions: Mutex<Versions>,
    /// Of the images in the tables, or about to be written there: a moment of the tables may have an older one, never a later.
    images: Mutex<Versions>,
    pub(crate) tables: TablesSlot,
    pub(crate) keep: Arc<Keep>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) checkpoints: Checkpoints,
    /// Appends on their way to a disk that is slow.
    appends: Orders<Vec<Append>, Result<Appends, StoreError>>,
    /// How long appends take, in microseconds: each counts as much as all before it.
    append_micros: AtomicU64,
    /// How far the tables are.
    folded: Mutex<Folded>,
    /// Some of the frames behind that, in order: up to one of them images become whole.
    frames: Mutex<VecDeque<Position>>,
    behind: Mutex<Behind>,
    /// Held as long as the store is open; another process cannot lock the file meanwhile.
    _lock: std::fs::File,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Core").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The partitions whose images lack entries that were there when the store was opened, and the latest of these.
pub(crate) type Behind = BTreeMap<Partition, u64>;

/// What opening found, from which a [`Core`] is made.
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) options: EmbeddedOptions,
    pub(crate) ledger: Ledger,
    pub(crate) facts: Facts,
    pub(crate) tables: TablesSlot,
    pub(crate) keep: Arc<Keep>,
    pub(crate) folded: Folded,
    pub(crate) behind: Behind,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lock: std::fs::File,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    pub(crate) fn new(found: Found) -> Self {
        Self {
            path: found.path,
            options: found.options,
            stopped: found.ledger.stopped(),
            room: found.ledger.room(),
            segments: Arc::clone(found.ledger.segments()),
            ledger: Mutex::new(found.ledger),
            facts: found.facts,
            versions: Mutex::default(),
            images: Mutex::default(),
            tables: found.tables,
            keep: found.keep,
            metrics: found.metrics,
            checkpoints: Checkpoints::default(),
            appends: Orders::default(),
            append_micros: AtomicU64::default(),
            folded: Mutex::new(found.folded),
            frames: Mutex::default(),
            behind: Mutex::new(found.behind),
            _lock: found.lock,
        }
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        locked(&self.ledger)
    }

    /// Appends entries; see [`tollgate_storage::Store::append`]. While the disk is fast, the caller waits for it: that takes
    /// less than to wake another thread and be woken by it. While it is slow, or where there is much to append, a thread of the
    /// store does it.
    pub(crate) async fn append_in_time(&self, appends: Vec<Append>) -> Result<Appends, StoreError> {
        let entries: usize = appends.iter().map(|append| append.entries.len()).sum();
        let slow = entries >= MANY_ENTRIES || self.append_micros.load(Ordering::Relaxed) > SLOW_APPEND_MICROS;
        if !slow || self.options.work == Work::Inline {
            return self.append(&appends);
        }
        self.appends.place(appends).await.unwrap_or_else(|| Err(stopped("it was closed")))
    }

    /// The thread that waits for a slow disk; ends when the store is closed and nothing waits.
    pub(crate) fn append_until_closed(&self) {
        tollgate_threads::answer_first();
        self.appends.serve(|appends| self.append(&appends));
    }

    /// Lets the thread end once nothing waits.
    pub(crate) fn stop_appending(&self) {
        self.appends.close();
    }

    /// Appends entries on the thread of the caller.
    pub(crate) fn append(&self, appends: &[Append]) -> Result<Appends, StoreError> {
        let started = Instant::now();
        check_appends(appends, APPENDS_MAX, ENTRIES_MAX)?;
        let mut ledger = self.ledger();
        if let Some(why) = ledger.stopped().get() {
            return Err(stopped(why));
        }
        let mut versions = locked(&self.versions);
        let appended = self.append_to(&mut ledger, &mut versions, appends);
        if let Err(error) = &appended {
            // They may have been counted on.
            versions.clear();
            if !error.kind().is_refusal() {
                ledger.stop(&error.to_string());
            }
        }
        drop(versions);
        let (appended, entries) = appended?;
        drop(ledger);
        if entries > 0 {
            self.metrics.commits.add(1);
            self.metrics.entries.add(entries);
            let took = started.elapsed();
            self.metrics.commit_seconds.record(took);
            let before = self.append_micros.load(Ordering::Relaxed);
            let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            self.append_micros.store(before / 2 + micros / 2, Ordering::Relaxed);
        }
        Ok(appended)
    }

    /// Appends to a ledger that takes appends; says how many entries that were.
    fn append_to(
        &self,
        ledger: &mut Ledger,
        versions: &mut Versions,
        appends: &[Append],
    ) -> Result<(Appends, u64), StoreError> {
        versions.make_room();
        let mut answers = Vec::with_capacity(appends.len());
        for append in appends {
            let look_up = || self.version(&append.partition);
            let version = versions.of(of_partition(&append.partition), look_up)?;
            let is_current = *version == append.expected_version;
            if is_current {
                *version += to_u64(append.entries.len());
            }
            answers.push(if is_current { Appended::Done } else { Appended::Conflict });
        }
        let made = appends.iter().zip(&answers).filter(|(_, answer)| **answer == Appended::Done);
        let lines = made.flat_map(|(append, _)| lines(append));
        let builder = ledger.begin()?;
        let spots: Vec<EntrySpot> =
            lines.clone().map(|line| builder.push(|buffer| encode_line(line, buffer))).collect();
        if spots.is_empty() {
            return Ok((Appends { answers, position: ledger.last().sequence }, 0));
        }
        let position = ledger.append()?;
        let mut latest = i64::MIN;
        let facts = lines.zip(&spots).map(|(line, spot)| {
            let place = Place { segment: position.segment, offset: position.offset + spot.offset };
            let facts = facts_of(line, place);
            latest = latest.max(facts.at_secs);
            facts
        });
        self.facts.add(&position, facts)?;
        self.keep.see(latest);
        self.note_frame(position);
        Ok((Appends { answers, position: position.sequence }, to_u64(spots.len())))
    }

    /// The position of the latest append.
    pub(crate) fn position(&self) -> u64 {
        self.ledger().last().sequence
    }

    /// The number of a partition's latest entry.
    pub(crate) fn version(&self, partition: &Partition) -> Result<u64, StoreError> {
        Ok(self.facts.newest(of_partition(partition), 1)?.unwrap_or(0))
    }

    fn note_frame(&self, position: Position) {
        if position.sequence.is_multiple_of(FRAMES_KNOWN_STEP) {
            locked(&self.frames).push_back(position);
        }
    }

    /// The latest known frame up to a sequence.
    pub(crate) fn frame_up_to(&self, sequence: u64) -> Option<Position> {
        let frames = locked(&self.frames);
        let known = frames.partition_point(|frame| frame.sequence <= sequence);
        known.checked_sub(1).and_then(|place| frames.get(place)).copied()
    }

    /// How far the tables are.
    pub(crate) fn folded(&self) -> Folded {
        *locked(&self.folded)
    }

    pub(crate) fn set_folded(&self, folded: Folded) {
        *locked(&self.folded) = folded;
        let mut frames = locked(&self.frames);
        let whole = frames.partition_point(|frame| frame.sequence <= folded.position.sequence);
        frames.drain(..whole);
    }

    /// Opens partitions; see [`tollgate_storage::Store::open`].
    pub(crate) fn open(&self, partitions: &[Partition]) -> Result<Vec<Opened>, StoreError> {
        let tables = self.tables.read();
        let view = tables.get()?.view();
        let heads = partitions.iter().map(|partition| Ok((partition, self.head_in(&view, partition)?)));
        let heads = heads.collect::<Result<Vec<_>, StoreError>>()?;
        // What an image lacks was appended later than that up to which all are whole.
        let since = view.folded()?.position.segment;
        let newest = self.newest_of(&heads, since)?;
        let mut images = self.images();
        images.make_room();
        heads
            .iter()
            .for_each(|(partition, head)| images.raise(of_partition(partition), version_of(head.as_ref())));
        drop(images);
        let opened = heads.into_iter().zip(newest);
        opened.map(|((partition, head), newest)| self.with_entries(partition, head, newest, since)).collect()
    }

    /// The numbers of the latest entries of partitions, all of one moment. Those that no segment has from `since` on are in
    /// the images.
    fn newest_of(&self, heads: &[(&Partition, Option<Record>)], since: u32) -> Result<Vec<u64>, StoreError> {
        let look_up = |(partition, head): &(&Partition, Option<Record>)| {
            let image = version_of(head.as_ref());
            Ok(self.facts.newest(of_partition(partition), since)?.unwrap_or(image))
        };
        if let Ok(mut versions) = self.versions.try_lock() {
            // Nothing is appended meanwhile; and the append that follows knows them.
            versions.make_room();
            let known = |of: &(&Partition, _)| versions.of(of_partition(of.0), || look_up(of)).copied();
            return heads.iter().map(known).collect();
        }
        // An append goes on. Numbers only grow, so what was read twice was so in between. Where appends go on too fast for
        // that, they wait.
        let read = || heads.iter().map(look_up).collect::<Result<Vec<_>, _>>();
        let newest = read()?;
        if heads.len() <= 1 || read()? == newest {
            return Ok(newest);
        }
        let _between_appends = self.ledger();
        read()
    }

    /// A partition with its entries up to one; none of those that its image lacks is in a segment before `since`.
    fn with_entries(
        &self,
        partition: &Partition,
        head: Option<Record>,
        newest: u64,
        since: u32,
    ) -> Result<Opened, StoreError> {
        let image = version_of(head.as_ref());
        if newest < image {
            let text =
                format!("the image of {partition:?} is of entry {image}, its ledger ends with {newest}");
            return Err(StoreError::new(StoreErrorKind::Corrupt, text));
        }
        let mut entries = Vec::new();
        if newest > image {
            for (number, place) in self.facts.locate(of_partition(partition), image + 1..=newest, since)? {
                entries.push(self.entry_at(partition, number, place)?);
            }
        }
        Ok(Opened { head, entries })
    }

    fn head_in(&self, view: &TablesView<'_>, partition: &Partition) -> Result<Option<Record>, StoreError> {
        match partition {
            Partition::Org(org) => stored_record(view, &RecordKey::Org(org.clone())),
            Partition::System => stored_record(view, &RecordKey::System),
        }
    }

    /// The version of the image of a partition in a moment of the tables.
    pub(crate) fn image_in(&self, view: &TablesView<'_>, partition: &Partition) -> Result<u64, StoreError> {
        Ok(version_of(self.head_in(view, partition)?.as_ref()))
    }

    /// The versions of images that are known.
    pub(crate) fn images(&self) -> MutexGuard<'_, Versions> {
        locked(&self.images)
    }

    /// Loads records of an image; see [`tollgate_storage::Store::load`].
    pub(crate) fn load(
        &self,
        partition: &Partition,
        image: u64,
        keys: &[RecordKey],
    ) -> Result<Loaded, StoreError> {
        let tables = self.tables.read();
        let view = tables.get()?.view();
        // What is known is of the moment or of later.
        let known = self.images().of(of_partition(partition), || self.image_in(&view, partition)).copied()?;
        if known != image && self.image_in(&view, partition)? != image {
            return Ok(None);
        }
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            found.push(match key {
                RecordKey::Entry(org, number) => {
                    self.entry(org, *number)?.map(|entry| Record::Entry(Arc::new(entry)))
                }
                key => stored_record(&view, key)?.filter(|record| !record.is_nothing()),
            });
        }
        Ok(Some(found))
    }

    /// An entry of an org.
    fn entry(&self, org: &OrgId, number: u64) -> Result<Option<Entry>, StoreError> {
        let partition = Partition::Org(org.clone());
        let newest = self.version(&partition)?;
        if !(1..=newest).contains(&number) {
            return Ok(None);
        }
        let located = self.facts.locate(of_partition(&partition), number..=number, 1)?;
        let Some((number, place)) = located.into_iter().next() else { return Ok(None) };
        match self.entry_at(&partition, number, place)? {
            EntryChange::Org(entry) => Ok(Some(entry)),
            EntryChange::System(_) => Ok(None),
        }
    }

    /// Reads the entry of a partition that should be at a place.
    pub(crate) fn entry_at(
        &self,
        partition: &Partition,
        number: u64,
        place: Place,
    ) -> Result<EntryChange, StoreError> {
        let found = match (self.line_at(place)?, partition) {
            (Line::Org(org, entry), Partition::Org(of)) if org == *of => Some(EntryChange::Org(*entry)),
            (Line::System(entry), Partition::System) => Some(EntryChange::System(entry)),
            _ => None,
        };
        found.filter(|entry| entry.number() == number).ok_or_else(|| {
            let what = format!("entry {number} of {partition:?} should be here, and another is");
            corrupt(&self.segments.path(place.segment), u64::from(place.offset), what)
        })
    }

    /// Reads the line at a place.
    pub(crate) fn line_at(&self, place: Place) -> Result<Line, StoreError> {
        let bytes = self.facts.read_entry(place)?;
        let failed = |error| bad_entry(&self.segments.path(place.segment), u64::from(place.offset), error);
        decode_line(&bytes).map_err(failed)
    }

    /// What is remembered of callers' keys; see [`tollgate_storage::Store::find`].
    pub(crate) fn find(&self, keys: &[KeyId]) -> Result<Vec<Option<KeyRecord>>, StoreError> {
        let places_of = self.facts.find_keys();
        keys.iter().map(|id| self.find_at(id, places_of(of_key(id)))).collect()
    }

    fn find_at(&self, id: &KeyId, places: KeyPlaces<'_>) -> Result<Option<KeyRecord>, StoreError> {
        for place in places {
            let Line::Org(org, entry) = self.line_at(place?)? else { continue };
            // Another key with the same fingerprint is another key.
            let made = entry
                .made_key()
                .filter(|(space, key, _)| org == id.org && *space == id.space && **key == id.key);
            if let Some((_, _, record)) = made {
                let reversed_by = self.reversal_of(id, record.entry)?;
                return Ok(Some(KeyRecord { reversed_by, ..record }));
            }
        }
        Ok(None)
    }

    /// The number of the entry that took back the usage of a key, which an entry counted.
    fn reversal_of(&self, id: &KeyId, counted_by: u64) -> Result<Option<u64>, StoreError> {
        for place in self.facts.find_key(of_reversal(&id.org, &id.key)) {
            if let Line::Org(org, entry) = self.line_at(place?)?
                && org == id.org
                && entry.took_back() == Some(counted_by)
            {
                return Ok(Some(entry.number));
            }
        }
        Ok(None)
    }

    /// The partitions whose images lack entries from before the store was opened.
    pub(crate) fn behind(&self) -> MutexGuard<'_, Behind> {
        locked(&self.behind)
    }

    /// Takes no appends any more.
    pub(crate) fn stop(&self, why: &str) {
        self.ledger().stop(why);
    }

    /// Why appends are refused for good, if they are. Never waits for an append.
    pub(crate) fn stopped(&self) -> Option<String> {
        self.stopped.get().cloned()
    }

    /// Whether commits are refused until there is room.
    pub(crate) fn lacks_room(&self) -> bool {
        self.room.is_lacking()
    }
}

/// The version of an image by its head.
fn version_of(head: Option<&Record>) -> u64 {
    head.map_or(0, Record::version)
}

/// A record that is not a fact, from the tables.
pub(crate) fn stored_record(view: &TablesView<'_>, key: &RecordKey) -> Result<Option<Record>, StoreError> {
    let Some((table, row_key)) = row_key(key) else { return Ok(None) };
    let Some(row) = view.get(table, &row_key)? else { return Ok(None) };
    let damaged = |error: DecodeError| bad_row(table.name(), &row_key, error);
    decode_record(key, &row).map(Some).map_err(damaged)
}

/// The lines of an append.
fn lines(append: &Append) -> impl Iterator<Item = LineRef<'_>> + Clone {
    append.entries.iter().filter_map(|entry| match (entry, &append.partition) {
        (EntryChange::Org(entry), Partition::Org(org)) => Some(LineRef::Org(org, entry)),
        (EntryChange::System(entry), Partition::System) => Some(LineRef::System(entry)),
        _ => None,
    })
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))]
mod tests {
    use std::pin::{Pin, pin};
    use std::sync::mpsc;
    use std::task::{Context, Waker};
    use std::time::Duration;

    use tollgate_storage::conformance::append_using;

    use super::super::EmbeddedStore;
    use super::*;

    #[test]
    fn whether_it_stopped_is_answered_while_an_append_holds_the_ledger() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = EmbeddedStore::open(folder.path(), EmbeddedOptions::default()).expect("opens");
        let (answer, answered) = mpsc::channel();
        std::thread::scope(|scope| {
            let ledger = store.core.ledger();
            scope.spawn(|| answer.send(store.core.stopped()));
            let early = answered.recv_timeout(Duration::from_secs(10));
            drop(ledger);
            assert_eq!(early, Ok(None), "the answer waits for the append");
        });
        store.core.stop("for the test");
        assert_eq!(store.core.stopped().as_deref(), Some("for the test"));
    }

    #[test]
    fn while_the_disk_is_slow_a_thread_of_the_store_waits_for_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = EmbeddedStore::open(folder.path(), EmbeddedOptions::default()).expect("opens");
        let org = OrgId::new("acme").expect("an id");
        let append = |version| vec![append_using(&org, 1, version, [version.to_string().as_str()])];
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let poll =
            |future: Pin<&mut dyn Future<Output = _>>| future.poll(&mut Context::from_waker(Waker::noop()));
        assert!(poll(pin!(store.core.append_in_time(append(0)))).is_ready(), "the call itself does it");
        store.core.append_micros.store(100 * SLOW_APPEND_MICROS, Ordering::Relaxed);
        let ledger = store.core.ledger();
        let mut slow = Box::pin(store.core.append_in_time(append(1)));
        assert!(poll(slow.as_mut()).is_pending(), "the call does not wait for the ledger");
        drop(ledger);
        let appended = runtime.block_on(slow).expect("appends");
        assert_eq!(appended.answers, [Appended::Done]);
        // It is measured on the way: with the disk fast again, calls do it themselves again.
        for version in 2..12 {
            runtime.block_on(store.core.append_in_time(append(version))).expect("appends");
        }
        assert!(store.core.append_micros.load(Ordering::Relaxed) < 100 * SLOW_APPEND_MICROS);
        store.core.stop_appending();
        store.core.append_micros.store(100 * SLOW_APPEND_MICROS, Ordering::Relaxed);
        let closed = runtime.block_on(store.core.append_in_time(append(12)));
        assert_eq!(closed.expect_err("nobody does it").kind(), StoreErrorKind::Stopped);
    }
}

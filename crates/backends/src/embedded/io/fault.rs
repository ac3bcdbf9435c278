//! Files in memory that behave like a disk at its worst, reproducibly.
//!
//! What was written and not synced is known to readers and lost, torn or kept at a power cut, as a seed says: all of it,
//! up to some byte, or sector by sector. Names given and taken away are durable up to some point after a cut, unless
//! their folder was synced. A sync that fails may have written anything, and forgets what it has not. The n-th operation
//! can be made to fail, once or for ever, or to be the last before the power goes.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fastrand::Rng;

/// Files in memory; clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct FaultDisk {
    inner: Arc<Mutex<Inner>>,
}

/// An open file of a [`FaultDisk`]; of no use any more once the power was cut.
#[derive(Debug)]
pub struct FaultFile {
    disk: FaultDisk,
    file: u64,
    epoch: u64,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power goes before the operation.
    CutBefore,
    /// The power goes after the operation, before its caller hears of it.
    CutAfter,
    /// The operation fails.
    Once(ErrorKind),
    /// The operation fails, and every later one.
    ForEver(ErrorKind),
    /// The operation, if it writes or reads, does only half of it.
    Short,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named after the call")]
pub enum Operation {
    Create,
    Open,
    Write,
    Read,
    SyncData,
    Rename,
    Remove,
    SyncDir,
    List,
    Len,
}

/// What a power cut made of files that had writes not synced yet, in numbers of files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Nothing of the writes is left.
    pub lost: u64,
    /// The writes are there up to some byte.
    pub torn: u64,
    /// Something written later is there, and something written before is not.
    pub reordered: u64,
    /// All is there.
    pub kept: u64,
}

#[derive(Clone, Debug, Default)]
struct Inner {
    files: BTreeMap<u64, FileState>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    renamings: Vec<Naming>,
    operations: Vec<Operation>,
    plan: Option<(usize, Fault)>,
    /// What went wrong as planned.
    hits: Vec<(Operation, Fault)>,
    power_off: bool,
    epoch: u64,
    capacity: Option<u64>,
    rng: Option<Rng>,
    /// The disk as it was before each operation, if that is recorded.
    history: Option<Vec<FaultDisk>>,
}

#[derive(Clone, Debug)]
enum Naming {
    Given(PathBuf, u64),
    Taken(PathBuf),
}

#[derive(Clone, Debug, Default)]
struct FileState {
    durable: Vec<u8>,
    live: Vec<u8>,
    pending: Vec<(usize, Vec<u8>)>,
}

/// What is to be done with an operation.
enum Verdict {
    Do,
    DoHalf,
    DoThenCut,
}

impl FaultDisk {
    /// An empty disk whose failing syncs follow a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let disk = Self::default();
        disk.lock().rng = Some(Rng::with_seed(seed));
        disk
    }

    /// Another disk with the same content, on which nothing is planned and no operation was counted.
    #[must_use]
    pub fn copy(&self) -> Self {
        self.lock().copy()
    }

    /// Remembers the disk as it is before each operation from now on.
    pub fn record(&self) {
        self.lock().history = Some(Vec::new());
    }

    /// The disk as it was before each operation since [`Self::record`].
    #[must_use]
    pub fn history(&self) -> Vec<Self> {
        self.lock().history.clone().unwrap_or_default()
    }

    /// Makes the operation after the next `skip` ones go wrong.
    pub fn plan(&self, skip: usize, fault: Fault) {
        let mut inner = self.lock();
        let at = inner.operations.len() + skip;
        inner.plan = Some((at, fault));
    }

    /// Lets everything go well from now on.
    pub fn heal(&self) {
        self.lock().plan = None;
    }

    /// What went wrong as planned since this was asked last.
    #[must_use]
    pub fn take_hits(&self) -> Vec<(Operation, Fault)> {
        std::mem::take(&mut self.lock().hits)
    }

    /// The operations so far.
    #[must_use]
    pub fn operations(&self) -> Vec<Operation> {
        self.lock().operations.clone()
    }

    /// Whether a planned power cut has happened.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.lock().power_off
    }

    /// Bytes that fit, or no end of room.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// Cuts the power, if it is not yet, and turns it on again: what was not synced is what the seed makes of it.
    /// Says what became of those files.
    pub fn power_cycle(&self, seed: u64) -> Damage {
        let mut inner = self.lock();
        let mut rng = Rng::with_seed(seed);
        inner.power_off = false;
        inner.plan = None;
        inner.epoch += 1;
        let kept = rng.usize(..=inner.renamings.len());
        let renamings: Vec<Naming> = inner.renamings.drain(..).take(kept).collect();
        for naming in renamings {
            naming.apply(&mut inner.durable_names);
        }
        inner.names = inner.durable_names.clone();
        let mut damage = Damage::default();
        for file in inner.files.values_mut() {
            file.cut(&mut rng, &mut damage);
        }
        damage
    }

    /// Everything a file holds, as readers see it.
    #[must_use]
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let inner = self.lock();
        inner.files.get(inner.names.get(path)?).map(|file| file.live.clone())
    }

    /// Puts content into a file behind everybody's back, as damage does.
    pub fn damage(&self, path: &Path, content: Vec<u8>) {
        let mut inner = self.lock();
        let Some(file) = inner.names.get(path).copied() else { return };
        let file = inner.files.entry(file).or_default();
        file.pending.clear();
        file.live.clone_from(&content);
        file.durable = content;
    }

    /// The paths of all files.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        self.lock().names.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn create(&self, path: &Path) -> Result<FaultFile> {
        self.run(Operation::Create, |inner, _| {
            let file = inner.files.last_key_value().map_or(1, |(last, _)| last + 1);
            inner.files.insert(file, FileState::default());
            inner.name(Naming::Given(path.to_owned(), file));
            Ok(FaultFile { disk: self.clone(), file, epoch: inner.epoch })
        })
    }

    pub(super) fn open(&self, path: &Path) -> Result<FaultFile> {
        self.run(Operation::Open, |inner, _| {
            let file = *inner.names.get(path).ok_or(ErrorKind::NotFound)?;
            Ok(FaultFile { disk: self.clone(), file, epoch: inner.epoch })
        })
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.run(Operation::Rename, |inner, _| {
            let file = *inner.names.get(from).ok_or(ErrorKind::NotFound)?;
            inner.name(Naming::Given(to.to_owned(), file));
            inner.name(Naming::Taken(from.to_owned()));
            Ok(())
        })
    }

    pub(super) fn remove(&self, path: &Path) -> Result<()> {
        self.run(Operation::Remove, |inner, _| {
            inner.names.get(path).ok_or(ErrorKind::NotFound)?;
            inner.name(Naming::Taken(path.to_owned()));
            Ok(())
        })
    }

    pub(super) fn sync_dir(&self, _dir: &Path) -> Result<()> {
        self.run(Operation::SyncDir, |inner, _| {
            inner.renamings.clear();
            inner.durable_names = inner.names.clone();
            Ok(())
        })
    }

    pub(super) fn list(&self, dir: &Path) -> Result<Vec<String>> {
        self.run(Operation::List, |inner, _| {
            let inside = inner.names.keys().filter(|path| path.parent() == Some(dir));
            Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
        })
    }

    /// Counts an operation, and does it, half of it, or not, as planned.
    fn run<T>(&self, operation: Operation, act: impl FnOnce(&mut Inner, bool) -> Result<T>) -> Result<T> {
        let mut inner = self.lock();
        match inner.begin(operation)? {
            Verdict::Do => act(&mut inner, false),
            Verdict::DoHalf => act(&mut inner, true),
            Verdict::DoThenCut => {
                drop(act(&mut inner, false));
                inner.power_off = true;
                Err(no_power())
            }
        }
    }
}

fn no_power() -> Error {
    Error::other("the power is off")
}

impl Inner {
    fn copy(&self) -> FaultDisk {
        let copy = Self {
            files: self.files.clone(),
            names: self.names.clone(),
            durable_names: self.durable_names.clone(),
            renamings: self.renamings.clone(),
            epoch: self.epoch + 1,
            capacity: self.capacity,
            rng: self.rng.clone(),
            ..Self::default()
        };
        FaultDisk { inner: Arc::new(Mutex::new(copy)) }
    }

    fn begin(&mut self, operation: Operation) -> Result<Verdict> {
        if self.power_off {
            return Err(no_power());
        }
        if self.history.is_some() {
            let copy = self.copy();
            self.history.get_or_insert_default().push(copy);
        }
        let number = self.operations.len();
        self.operations.push(operation);
        let Some((at, fault)) = self.plan else { return Ok(Verdict::Do) };
        if number == at || (number > at && matches!(fault, Fault::ForEver(_))) {
            self.hits.push((operation, fault));
        }
        match fault {
            Fault::ForEver(kind) if number >= at => Err(self.fail(operation, kind)),
            _ if number != at => Ok(Verdict::Do),
            Fault::Once(kind) | Fault::ForEver(kind) => Err(self.fail(operation, kind)),
            Fault::Short => Ok(Verdict::DoHalf),
            Fault::CutAfter => Ok(Verdict::DoThenCut),
            Fault::CutBefore => {
                self.power_off = true;
                Err(no_power())
            }
        }
    }

    /// A sync that fails has written some of what was pending, and forgets the rest.
    fn fail(&mut self, operation: Operation, kind: ErrorKind) -> Error {
        if operation == Operation::SyncData {
            let mut rng = self.rng.take().unwrap_or_default();
            for file in self.files.values_mut() {
                let live = file.live.clone();
                file.cut(&mut rng, &mut Damage::default());
                file.live = live;
            }
            self.rng = Some(rng);
        }
        kind.into()
    }

    fn name(&mut self, naming: Naming) {
        naming.clone().apply(&mut self.names);
        self.renamings.push(naming);
    }

    fn used(&self) -> u64 {
        let bytes = |file: &u64| self.files.get(file).map_or(0, |file| file.live.len());
        self.names.values().map(|file| super::to_u64(bytes(file))).sum()
    }
}

impl Naming {
    fn apply(self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Given(path, file) => {
                names.insert(path, file);
            }
            Self::Taken(path) => {
                names.remove(&path);
            }
        }
    }
}

impl FileState {
    /// Loses what was pending, or some of it.
    fn cut(&mut self, rng: &mut Rng, damage: &mut Damage) {
        let pending = std::mem::take(&mut self.pending);
        if !pending.is_empty() {
            let done = match rng.u8(..5) {
                0 => &mut damage.lost,
                1 => {
                    pending.iter().for_each(|(offset, bytes)| write(&mut self.durable, *offset, bytes));
                    &mut damage.kept
                }
                2 => self.keep_prefix(&pending, rng, damage),
                3 => self.keep_sectors(&pending, 512, rng, damage),
                _ => self.keep_sectors(&pending, 4096, rng, damage),
            };
            *done += 1;
        }
        self.live.clone_from(&self.durable);
    }

    fn keep_prefix<'a>(
        &mut self,
        pending: &[(usize, Vec<u8>)],
        rng: &mut Rng,
        damage: &'a mut Damage,
    ) -> &'a mut u64 {
        let all: usize = pending.iter().map(|(_, bytes)| bytes.len()).sum();
        let kept_in_all = rng.usize(..=all);
        let mut left = kept_in_all;
        for (offset, bytes) in pending {
            let kept = left.min(bytes.len());
            write(&mut self.durable, *offset, bytes.get(..kept).unwrap_or_default());
            left -= kept;
        }
        match kept_in_all {
            0 => &mut damage.lost,
            kept if kept == all => &mut damage.kept,
            _ => &mut damage.torn,
        }
    }

    /// Each sector written since the last sync is as before or as after, by chance.
    fn keep_sectors<'a>(
        &mut self,
        pending: &[(usize, Vec<u8>)],
        sector: usize,
        rng: &mut Rng,
        damage: &'a mut Damage,
    ) -> &'a mut u64 {
        let (mut kept, mut lost, mut kept_after_lost) = (false, false, false);
        for (offset, bytes) in pending {
            let (mut from, end) = (*offset, offset + bytes.len());
            while from < end {
                let until = ((from / sector + 1) * sector).min(end);
                if rng.bool() {
                    let part = bytes.get(from - offset..until - offset).unwrap_or_default();
                    write(&mut self.durable, from, part);
                    kept = true;
                    kept_after_lost |= lost;
                } else {
                    lost = true;
                }
                from = until;
            }
        }
        match (kept, lost) {
            (_, false) => &mut damage.kept,
            (false, true) => &mut damage.lost,
            (true, true) if kept_after_lost => &mut damage.reordered,
            (true, true) => &mut damage.torn,
        }
    }
}

fn write(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if content.len() < offset + bytes.len() {
        content.resize(offset + bytes.len(), 0);
    }
    if let Some(place) = content.get_mut(offset..offset + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

impl FaultFile {
    fn run<T>(&self, operation: Operation, act: impl FnOnce(&mut Inner, bool) -> Result<T>) -> Result<T> {
        self.disk.run(
            operation,
            |inner, half| if inner.epoch == self.epoch { act(inner, half) } else { Err(no_power()) },
        )
    }

    pub(super) fn write_at(&self, bytes: &[u8], offset: u64) -> Result<usize> {
        self.run(Operation::Write, |inner, half| {
            let bytes = if half { bytes.get(..bytes.len().div_ceil(2)).unwrap_or(bytes) } else { bytes };
            let used = inner.used();
            let capacity = inner.capacity;
            let file = inner.files.entry(self.file).or_default();
            let grown = (index(offset) + bytes.len()).saturating_sub(file.live.len());
            if capacity.is_some_and(|capacity| used + super::to_u64(grown) > capacity) && grown > 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            write(&mut file.live, index(offset), bytes);
            file.pending.push((index(offset), bytes.to_vec()));
            Ok(bytes.len())
        })
    }

    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.run(Operation::Read, |inner, half| {
            let content = inner.files.get(&self.file).map_or(&[][..], |file| &file.live);
            let found = content.get(index(offset)..).unwrap_or_default();
            let most = if half { buffer.len().div_ceil(2) } else { buffer.len() };
            let len = found.len().min(most);
            if let (Some(place), Some(found)) = (buffer.get_mut(..len), found.get(..len)) {
                place.copy_from_slice(found);
            }
            Ok(len)
        })
    }

    pub(super) fn sync_data(&self) -> Result<()> {
        self.run(Operation::SyncData, |inner, _| {
            let file = inner.files.entry(self.file).or_default();
            for (offset, bytes) in std::mem::take(&mut file.pending) {
                write(&mut file.durable, offset, &bytes);
            }
            Ok(())
        })
    }

    pub(super) fn len(&self) -> Result<u64> {
        self.run(Operation::Len, |inner, _| {
            Ok(super::to_u64(inner.files.get(&self.file).map_or(0, |file| file.live.len())))
        })
    }
}

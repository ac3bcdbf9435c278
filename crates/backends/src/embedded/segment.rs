//! Segment files: the ledger's history, in files of one size, filled with zeros before their first frame.
//!
//! `NNNNNNNNNNNNNNNN.seg` is named by its place in the row of segments (1, 2, 3 … in hexadecimal). It starts with a
//! header of [`SEGMENT_HEADER_BYTES`]: magic 8 · version u32 · 0 u32 · ordinal u64 · size u64 · zeros · checksum u64.
//! A file has this name only after its zeros and its header are durable, so any other length or header is damage.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use tollgate_storage::StoreError;
use xxhash_rust::xxh3::xxh3_64;

use super::error::{corrupt, io_error, newer};
use super::frame::FORMAT_VERSION;
use super::io::{Disk, DiskFile};
use super::limits::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SEGMENTS_OPEN_MAX};
use super::options::Work;
use super::sync::RwLock;

/// Bytes before the first frame.
pub(crate) const SEGMENT_HEADER_BYTES: u64 = 64;

const HEADER_LEN: usize = 64;
const CHECKED_LEN: usize = 56;
const MAGIC: [u8; 8] = *b"TollgSeg";
pub(crate) const SEGMENT_SUFFIX: &str = ".seg";
const TEMPORARY_SUFFIX: &str = ".tmp";

/// One open segment file.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) ordinal: u32,
    pub(crate) path: PathBuf,
    pub(crate) file: DiskFile,
    pub(crate) bytes: u64,
}

fn file_name(ordinal: u32, suffix: &str) -> String {
    format!("{ordinal:016x}{suffix}")
}

fn encode_header(ordinal: u32, bytes: u64) -> [u8; HEADER_LEN] {
    let mut fields = Vec::with_capacity(HEADER_LEN);
    fields.extend_from_slice(&MAGIC);
    fields.extend_from_slice(&u64::from(FORMAT_VERSION).to_le_bytes());
    fields.extend_from_slice(&u64::from(ordinal).to_le_bytes());
    fields.extend_from_slice(&bytes.to_le_bytes());
    fields.resize(CHECKED_LEN, 0);
    let checksum = xxh3_64(&fields);
    fields.extend_from_slice(&checksum.to_le_bytes());
    fields.try_into().unwrap_or([0; HEADER_LEN])
}

fn field(header: &[u8], at: usize) -> u64 {
    header.get(at..).and_then(|rest| rest.first_chunk::<8>()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

impl Segment {
    /// Makes the segment `ordinal` of `bytes` bytes: durable, all zeros behind its header. In the background it is made
    /// piece by piece, so that commits go on beside it.
    pub(crate) fn create(
        disk: &Disk,
        dir: &Path,
        ordinal: u32,
        bytes: u64,
        work: Work,
    ) -> Result<Self, CreateError> {
        let temporary = dir.join(file_name(ordinal, TEMPORARY_SUFFIX));
        let made = (|| {
            let file = disk.create(&temporary)?;
            match work {
                Work::Background => {
                    file.zero_by_pieces(SEGMENT_HEADER_BYTES, bytes, DiskFile::sync_piece)?;
                }
                Work::Inline => file.zero(SEGMENT_HEADER_BYTES, bytes)?,
            }
            file.write_all_at(&encode_header(ordinal, bytes), 0)?;
            file.sync_data()?;
            Ok(file)
        })();
        let file = match made {
            Ok(file) => file,
            Err(source) => {
                // What is left of it holds room that others may need; if it cannot be removed it is overwritten later.
                drop(disk.remove(&temporary));
                return Err(CreateError::Retry(temporary, source));
            }
        };
        let path = dir.join(file_name(ordinal, SEGMENT_SUFFIX));
        disk.rename(&temporary, &path).map_err(|source| CreateError::Retry(path.clone(), source))?;
        disk.sync_dir(dir).map_err(|source| CreateError::Stop(dir.to_owned(), source))?;
        Ok(Self { ordinal, path, file, bytes })
    }

    fn open(disk: &Disk, dir: &Path, ordinal: u32) -> Result<Self, StoreError> {
        let path = dir.join(file_name(ordinal, SEGMENT_SUFFIX));
        let file = disk.open(&path).map_err(|source| io_error("open", &path, source))?;
        let mut header = [0; HEADER_LEN];
        let read = file.read_full_at(&mut header, 0).map_err(|source| io_error("read", &path, source))?;
        let (checked, checksum) = header.split_at(CHECKED_LEN);
        if read < HEADER_LEN || xxh3_64(checked) != field(checksum, 0) || !checked.starts_with(&MAGIC) {
            return Err(corrupt(&path, 0, "not the header of a segment"));
        }
        let version = field(checked, 8);
        if version != u64::from(FORMAT_VERSION) {
            return Err(newer(&path, version));
        }
        let bytes = field(checked, 24);
        if field(checked, 16) != u64::from(ordinal) {
            return Err(corrupt(&path, 16, "the header is that of another segment"));
        }
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&bytes) {
            return Err(corrupt(&path, 24, "the header names an impossible size"));
        }
        let len = file.len().map_err(|source| io_error("measure", &path, source))?;
        if len != bytes {
            return Err(corrupt(
                &path,
                len.min(bytes),
                format!("the file has {len} bytes and should have {bytes}"),
            ));
        }
        Ok(Self { ordinal, path, file, bytes })
    }
}

/// Why a segment could not be made.
#[derive(Debug)]
pub(crate) enum CreateError {
    /// No harm was done; it may be tried again.
    Retry(PathBuf, std::io::Error),
    /// What is durable is not known any more.
    Stop(PathBuf, std::io::Error),
}

/// The segments of one folder.
#[derive(Debug)]
pub(crate) struct Segments {
    pub(crate) disk: Disk,
    pub(crate) dir: PathBuf,
    open: RwLock<BTreeMap<u32, Arc<Segment>>>,
}

impl Segments {
    pub(crate) const fn new(disk: Disk, dir: PathBuf) -> Self {
        Self { disk, dir, open: RwLock::new(BTreeMap::new()) }
    }

    /// Removes what an interrupted preparation left.
    pub(crate) fn remove_temporary(&self) -> Result<(), StoreError> {
        let names = self.disk.list(&self.dir).map_err(|source| io_error("list", &self.dir, source))?;
        for name in names.into_iter().filter(|name| name.ends_with(TEMPORARY_SUFFIX)) {
            let path = self.dir.join(name);
            self.disk.remove(&path).map_err(|source| io_error("remove", &path, source))?;
        }
        Ok(())
    }

    /// Ordinals of the segments there are: 1, 2, 3 … without gaps.
    pub(crate) fn ordinals(&self) -> Result<Vec<u32>, StoreError> {
        let names = self.disk.list(&self.dir).map_err(|source| io_error("list", &self.dir, source))?;
        let mut ordinals = Vec::new();
        for name in names {
            let Some(ordinal) = name
                .strip_suffix(SEGMENT_SUFFIX)
                .filter(|stem| stem.len() == 16)
                .and_then(|stem| u32::from_str_radix(stem, 16).ok())
            else {
                continue;
            };
            let wanted = u32::try_from(ordinals.len()).unwrap_or(u32::MAX).saturating_add(1);
            if ordinal != wanted {
                let path = self.dir.join(file_name(wanted, SEGMENT_SUFFIX));
                return Err(corrupt(&path, 0, "the file is missing, and later segments are there"));
            }
            ordinals.push(ordinal);
        }
        Ok(ordinals)
    }

    /// A segment, opened if need be.
    pub(crate) fn get(&self, ordinal: u32) -> Result<Arc<Segment>, StoreError> {
        let known = self.open.read().unwrap_or_else(PoisonError::into_inner).get(&ordinal).cloned();
        if let Some(segment) = known {
            return Ok(segment);
        }
        let segment = Arc::new(Segment::open(&self.disk, &self.dir, ordinal)?);
        self.add(Arc::clone(&segment));
        Ok(segment)
    }

    /// Keeps a segment open; lets go of the oldest when there are too many.
    pub(crate) fn add(&self, segment: Arc<Segment>) {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        open.insert(segment.ordinal, segment);
        while open.len() > SEGMENTS_OPEN_MAX {
            open.pop_first();
        }
    }

    /// Path of a segment, there or not.
    pub(crate) fn path(&self, ordinal: u32) -> PathBuf {
        self.dir.join(file_name(ordinal, SEGMENT_SUFFIX))
    }
}

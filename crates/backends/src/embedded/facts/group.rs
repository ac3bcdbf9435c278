//! Groups: filters over the facts of consecutive segments, so that what is nowhere is looked for in a few places.
//!
//! The filters of a group that takes no further file are kept in `NNNNNNNNNNNNNNNN.filter`, named by its first segment:
//! header of 96 bytes (magic 8 · version u64 · first, last ordinal u64 · checksum of the last segment's last frame u64 ·
//! of orgs, then of keys: capacity, held, checksum u64 · checksum u64), blocks of orgs, blocks of keys. Facts never
//! change, so neither does what a filter says of them; a file that is not whole is made again from those of the facts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tollgate_storage::StoreError;
use xxhash_rust::xxh3::xxh3_64;

use super::super::error::{corrupt, io_error};
use super::super::io::{Disk, to_u64};
use super::super::limits::PIECE_BYTES;
use super::super::limits::{
    FACTS_GROUP_KEYS_MAX, FACTS_GROUP_KEYS_MIN, FACTS_GROUP_ORGS_MAX, FACTS_GROUP_ORGS_MIN,
};
use super::file::FactsFile;
use super::filter::Filter;
use super::layout::take_u64;
use super::table::Counts;
use super::{FactsOptions, Fingerprint};

const MAGIC: [u8; 8] = *b"TollgFlt";
const VERSION: u64 = 1;
const HEADER_BYTES: usize = 96;
const CHECKED_BYTES: usize = HEADER_BYTES - 8;
const SUFFIX: &str = ".filter";

/// How many times what its first file has a group has room for.
const GROWTH: u64 = 4;

/// Consecutive segments whose facts are in files.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) first: u32,
    pub(super) last: u32,
    /// Those of its files that are there; one that was damaged comes back once it has been made again.
    pub(super) files: BTreeMap<u32, Arc<FactsFile>>,
    /// `None` until it has seen all files.
    pub(super) filters: Option<Filters>,
    /// Whether the filters are in a file.
    pub(super) stored: bool,
}

/// What a group's files may hold.
#[derive(Clone, Debug)]
pub(super) struct Filters {
    pub(super) orgs: Arc<Filter>,
    pub(super) keys: Arc<Filter>,
}

impl Filters {
    /// Empty ones for so many keys, and for the orgs of files of which one has so many.
    pub(super) fn new(keys: u64, orgs: u64) -> Self {
        let orgs = orgs.max((orgs * GROWTH).clamp(FACTS_GROUP_ORGS_MIN, FACTS_GROUP_ORGS_MAX));
        Self { orgs: Arc::new(Filter::new(orgs)), keys: Arc::new(Filter::new(keys)) }
    }

    /// The same, holding no key.
    pub(super) fn without_keys(&self) -> Self {
        Self { orgs: Arc::clone(&self.orgs), keys: Arc::new(Filter::new(0)) }
    }
}

impl Group {
    /// One of a segment whose file is still to be put in.
    pub(super) const fn starting_at(first: u32) -> Self {
        Self { first, last: first, files: BTreeMap::new(), filters: None, stored: false }
    }

    /// Those of some groups, oldest first, that may hold a key. All are glanced at before any is looked into.
    pub(super) fn that_may_hold_key(groups: &[Arc<Self>], key: Fingerprint) -> impl Iterator<Item = &Self> {
        groups.chunks(64).flat_map(move |groups| {
            let glance = |group: &Self| group.filters.as_ref().is_none_or(|filters| filters.keys.glance(key));
            let seen = groups.iter().rev().fold(0_u64, |seen, group| (seen << 1) | u64::from(glance(group)));
            let glanced = groups.iter().enumerate().filter(move |(place, _)| (seen >> place) & 1 == 1);
            glanced.map(|(_, group)| group.as_ref()).filter(move |group| group.may_hold_key(key))
        })
    }

    fn may_hold_key(&self, key: Fingerprint) -> bool {
        self.filters.as_ref().is_none_or(|filters| filters.keys.may_hold(key))
    }

    pub(super) fn may_hold_org(&self, org: Fingerprint) -> bool {
        self.filters.as_ref().is_none_or(|filters| filters.orgs.may_hold(org))
    }

    /// Whether every file is there.
    pub(super) fn is_whole(&self) -> bool {
        (self.first..=self.last).all(|ordinal| self.files.contains_key(&ordinal))
    }

    pub(super) fn has_live_keys(&self) -> bool {
        self.files.values().any(|file| file.has_live_keys())
    }

    pub(super) fn keys(&self) -> u64 {
        self.files.values().map(|file| file.header.counts.keys).sum()
    }

    /// The most orgs that one of its files has.
    pub(super) fn orgs_of_one(&self) -> u64 {
        self.files.values().map(|file| file.header.counts.orgs).max().unwrap_or(0)
    }

    /// Keys that a group of its first file is made for: the more, the more the one before it is.
    pub(super) fn keys_capacity(&self, before: Option<&Self>) -> u64 {
        let before =
            before.and_then(|group| group.filters.as_ref()).map_or(0, |filters| filters.keys.capacity());
        let first = self.files.first_key_value().map_or(0, |(_, file)| file.header.counts.keys);
        let wanted = (first * GROWTH).max(before * 2).clamp(FACTS_GROUP_KEYS_MIN, FACTS_GROUP_KEYS_MAX);
        first.max(wanted)
    }

    /// Whether a file with so much fits too, where there is to be room for `capacity` keys.
    pub(super) fn has_room(&self, capacity: u64, counts: Option<&Counts>, options: FactsOptions) -> bool {
        let few = to_u64(self.files.len()) < to_u64(options.group_files_max);
        let orgs_fit = self.filters.as_ref().is_none_or(|filters| !filters.orgs.is_full());
        few && orgs_fit && self.keys() + counts.map_or(0, |counts| counts.keys) <= capacity
    }

    /// Checksum of the last frame of its last segment.
    fn identity(&self) -> Option<u64> {
        self.files.get(&self.last).map(|file| file.header.last.checksum)
    }
}

pub(super) fn filter_path(dir: &Path, first: u32) -> PathBuf {
    dir.join(format!("{first:016x}{SUFFIX}"))
}

/// First segments of the groups that have a file.
pub(super) fn stored_firsts(names: &[String]) -> Vec<u32> {
    let stems = names.iter().filter_map(|name| name.strip_suffix(SUFFIX));
    stems.filter(|stem| stem.len() == 16).filter_map(|stem| u32::from_str_radix(stem, 16).ok()).collect()
}

/// Writes the filters of a group; on return they are durable.
pub(super) fn store(disk: &Disk, dir: &Path, group: &Group) -> Result<(), StoreError> {
    let (Some(filters), Some(identity)) = (&group.filters, group.identity()) else { return Ok(()) };
    let path = filter_path(dir, group.first);
    let temporary = path.with_extension("filter.tmp");
    let written = (|| {
        let file = disk.create(&temporary)?;
        let mut at = to_u64(HEADER_BYTES);
        let mut write = |piece: &[u8]| {
            file.write_all_at(piece, at)?;
            at += to_u64(piece.len());
            if piece.len() < PIECE_BYTES { Ok(()) } else { file.sync_piece() }
        };
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(&MAGIC);
        for number in [VERSION, group.first.into(), group.last.into(), identity] {
            header.extend_from_slice(&number.to_le_bytes());
        }
        for filter in [&filters.orgs, &filters.keys] {
            let checksum = filter.write(&mut write)?;
            for number in [filter.capacity(), filter.held(), checksum] {
                header.extend_from_slice(&number.to_le_bytes());
            }
        }
        header.resize(CHECKED_BYTES, 0);
        let checksum = xxh3_64(&header);
        header.extend_from_slice(&checksum.to_le_bytes());
        file.write_all_at(&header, 0)?;
        file.sync_data()?;
        disk.rename(&temporary, &path)?;
        disk.sync_dir(dir)
    })();
    written.map_err(|source| {
        drop(disk.remove(&temporary));
        io_error("write", &path, source)
    })
}

/// Reads the file of the group that starts with segment `first`, whose facts are among `files`.
///
/// # Errors
/// Corrupt when it is not whole or not that of these files; Io when it cannot be read.
pub(super) fn load(
    disk: &Disk,
    dir: &Path,
    first: u32,
    files: &BTreeMap<u32, Arc<FactsFile>>,
) -> Result<Group, StoreError> {
    let path = filter_path(dir, first);
    let io = |source| io_error("read", &path, source);
    let file = disk.open(&path).map_err(io)?;
    let mut header = [0; HEADER_BYTES];
    file.read_full_at(&mut header, 0).map_err(io)?;
    let damaged = |offset: u64, what: &str| corrupt(&path, offset, what);
    let header =
        Header::decode(&header).ok_or_else(|| damaged(0, "not the header of filters of this version"))?;
    let last = u32::try_from(header.last).unwrap_or(0);
    let same = files.get(&last).is_some_and(|file| file.header.last.checksum == header.identity);
    if header.first != u64::from(first) || !same {
        return Err(damaged(16, "the filters are not those of these segments"));
    }
    let len = file.len().map_err(io)?;
    let mut at = to_u64(HEADER_BYTES);
    let mut load = |[capacity, held, checksum]: [u64; 3]| {
        // The header is whole; a capacity beyond what the file has would still be asked of the memory.
        if capacity / 8 > len {
            return Err(damaged(at, "the file is too short for its filters"));
        }
        let (filter, start) = (Filter::new(capacity), at);
        let whole = filter.read(checksum, held, |piece: &mut [u8]| {
            let read = file.read_full_at(piece, at).map_err(io)?;
            at += to_u64(read);
            Ok(())
        })?;
        if at == start + filter.bytes() && whole {
            Ok(Arc::new(filter))
        } else {
            Err(damaged(start, "the checksum of a filter does not match its content"))
        }
    };
    let filters = Filters { orgs: load(header.orgs)?, keys: load(header.keys)? };
    let files = files.range(first..=last).map(|(ordinal, file)| (*ordinal, Arc::clone(file))).collect();
    Ok(Group { first, last, files, filters: Some(filters), stored: true })
}

struct Header {
    first: u64,
    last: u64,
    identity: u64,
    orgs: [u64; 3],
    keys: [u64; 3],
}

impl Header {
    fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let (checked, checksum) = bytes.split_last_chunk::<8>()?;
        let mut rest = checked.strip_prefix(&MAGIC)?;
        if xxh3_64(checked) != u64::from_le_bytes(*checksum) || take_u64(&mut rest)? != VERSION {
            return None;
        }
        let mut number = || take_u64(&mut rest);
        let (first, last, identity) = (number()?, number()?, number()?);
        let mut three = || Some([number()?, number()?, number()?]);
        let (orgs, keys) = (three()?, three()?);
        Some(Self { first, last, identity, orgs, keys })
    }
}

//! Opening: which segments have whole files, and which of these share filters.

use std::collections::BTreeMap;
use std::sync::Arc;

use tollgate_storage::{StoreError, StoreErrorKind};

use super::super::error::{corrupt, io_error};
use super::super::frame::{FrameHeader, HEADER_BYTES};
use super::super::segment::Segments;
use super::file::{FactsFile, Files, remove_stale};
use super::group::{self, Group};
use super::keep::Keeping;
use super::{FACTS_SUFFIX, FactsOptions, View, facts_name};

/// What opening found.
pub(super) struct Opened {
    pub(super) keeping: Keeping,
    /// The segments that lack a file.
    pub(super) missing: Vec<u32>,
    /// Why files of facts were removed: they are damaged.
    pub(super) damaged: Vec<StoreError>,
}

/// Opens the files of the segments up to `last`.
pub(super) fn open(segments: Arc<Segments>, last: u32, options: FactsOptions) -> Result<Opened, StoreError> {
    let (disk, dir) = (segments.disk.clone(), segments.dir.clone());
    let names = disk.list(&dir).map_err(|source| io_error("list", &dir, source))?;
    let files = Files::new(disk, dir);
    let (mut found, mut damaged) = (BTreeMap::new(), Vec::new());
    for ordinal in names.iter().filter_map(|name| ordinal_of(name)) {
        let opened = if ordinal <= last {
            FactsFile::open(&files, ordinal)
                .and_then(|file| check_belongs(&segments, &files, &file).map(|()| file))
        } else {
            Err(corrupt(&files.path(ordinal), 0, "there is no segment of its ordinal"))
        };
        match opened {
            Ok(file) => drop(found.insert(ordinal, Arc::new(file))),
            Err(error) if error.kind() == StoreErrorKind::Corrupt => {
                files.forget(ordinal);
                remove_stale(&segments.disk, &files.path(ordinal), &error)?;
                damaged.push(error);
            }
            Err(error) => return Err(error),
        }
    }
    let missing = (1..=last).filter(|ordinal| !found.contains_key(ordinal)).collect();
    let groups = groups(&segments, &names, &found, options)?;
    let view = View { tables: Vec::new(), groups: groups.into_iter().map(Arc::new).collect() };
    let keeping = Keeping::new(segments, files, options, view);
    keeping.expire();
    Ok(Opened { keeping, missing, damaged })
}

fn ordinal_of(name: &str) -> Option<u32> {
    let ordinal = u32::from_str_radix(name.strip_suffix(FACTS_SUFFIX)?, 16).ok()?;
    (facts_name(ordinal) == name).then_some(ordinal)
}

/// Checks that the frame is in the segment which the file says was its last.
fn check_belongs(segments: &Segments, files: &Files, file: &FactsFile) -> Result<(), StoreError> {
    let last = &file.header.last;
    let segment = segments.get(file.ordinal())?;
    let mut bytes = [0; HEADER_BYTES];
    let io = |source| io_error("read", &segment.path, source);
    segment.file.read_full_at(&mut bytes, u64::from(last.offset)).map_err(io)?;
    let header = FrameHeader::decode(&bytes)
        .ok()
        .filter(|header| header.sequence == last.sequence && header.frame_len() == u64::from(last.len));
    let mut checksum = [0; 8];
    if let Some(header) = header {
        let (mark, _) = header.end_mark();
        let at = u64::from(last.offset) + mark - 8;
        segment.file.read_full_at(&mut checksum, at).map_err(io)?;
    }
    if header.is_some() && u64::from_le_bytes(checksum) == last.checksum {
        Ok(())
    } else {
        Err(corrupt(&files.path(file.ordinal()), 0, "the facts are not those of its segment"))
    }
}

/// The groups that have filters in files, and between them those that are to be made again.
fn groups(
    segments: &Segments,
    names: &[String],
    found: &BTreeMap<u32, Arc<FactsFile>>,
    options: FactsOptions,
) -> Result<Vec<Group>, StoreError> {
    let mut groups: Vec<Group> = Vec::new();
    let mut next = 1;
    for first in group::stored_firsts(names) {
        let loaded = if first < next {
            Err(corrupt(&group::filter_path(&segments.dir, first), 16, "the filters overlap others"))
        } else {
            group::load(&segments.disk, &segments.dir, first, found)
        };
        match loaded {
            Ok(group) => {
                gather(&mut groups, next, first, found, options);
                next = group.last + 1;
                groups.push(group);
            }
            Err(error) if error.kind() == StoreErrorKind::Corrupt => {
                remove_stale(&segments.disk, &group::filter_path(&segments.dir, first), &error)?;
            }
            Err(error) => return Err(error),
        }
    }
    let behind = found.last_key_value().map_or(next, |(last, _)| last + 1);
    gather(&mut groups, next, behind, found, options);
    Ok(groups)
}

/// Makes groups of the segments from `next` to before `behind`.
fn gather(
    groups: &mut Vec<Group>,
    mut next: u32,
    behind: u32,
    found: &BTreeMap<u32, Arc<FactsFile>>,
    options: FactsOptions,
) {
    while next < behind {
        let mut group = Group::starting_at(next);
        if let Some(file) = found.get(&next) {
            group.files.insert(next, Arc::clone(file));
        }
        next += 1;
        let capacity = group.keys_capacity(groups.last());
        while next < behind
            && group.has_room(capacity, found.get(&next).map(|file| &file.header.counts), options)
        {
            group.last = next;
            if let Some(file) = found.get(&next) {
                group.files.insert(next, Arc::clone(file));
            }
            next += 1;
        }
        groups.push(group);
    }
}

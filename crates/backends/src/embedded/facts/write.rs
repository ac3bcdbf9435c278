//! Sealing: the facts of a segment, sorted sub-table by sub-table, into its file.

use std::io;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

use super::super::io::{Disk, DiskFile, to_u64};
use super::super::limits::PIECE_BYTES;
use super::file::FactsFile;
use super::layout::{HEADER_BYTES, Header, Layout, Section};
use super::table::{SHARDS, Table};
use super::{facts_name, half_of};

/// Writes the file of a table to which nothing is added any more; on return it is durable under its name.
pub(super) fn write_facts(
    disk: &Disk,
    dir: &Path,
    table: &Table,
) -> Result<FactsFile, (&'static str, io::Error)> {
    let path = dir.join(facts_name(table.ordinal));
    let temporary = path.with_extension("facts.tmp");
    let written = disk.create(&temporary).and_then(|file| {
        let made = write_content(&file, table)?;
        file.sync_data()?;
        Ok(made)
    });
    let (header, index) = written.map_err(|source| {
        // What is left of it holds room that others may need; if it cannot be removed it is overwritten later.
        drop(disk.remove(&temporary));
        ("write", source)
    })?;
    disk.rename(&temporary, &path).map_err(|source| ("rename", source))?;
    disk.sync_dir(dir).map_err(|source| ("sync the folder of", source))?;
    Ok(FactsFile::written(header, index))
}

fn write_content(file: &DiskFile, table: &Table) -> io::Result<(Header, Vec<u64>)> {
    let (counts, last, latest_secs) = {
        let inner = table.read();
        (inner.counts, inner.last, inner.latest_secs)
    };
    let layout = Layout::of(&counts);
    let index = write_keys(file, table, layout.keys)?;
    write_orgs(file, table, &layout)?;
    let mut notices = SectionWriter::new(file, table.ordinal, layout.notices);
    let all = table.read().notices.clone();
    for (offset, count) in all {
        notices.push(&[offset.to_le_bytes(), count.to_le_bytes()].concat())?;
    }
    notices.finish()?;
    let index_bytes: Vec<u8> = index.iter().flat_map(|half| half.to_be_bytes()).collect();
    let header = Header { last, latest_secs, counts, index_checksum: xxh3_64(&index_bytes) };
    let mut start = header.encode().to_vec();
    start.extend_from_slice(&index_bytes);
    file.write_all_at(&start, 0)?;
    debug_assert_eq!(start.len(), HEADER_BYTES + index_bytes.len(), "the index follows the header");
    Ok((header, index))
}

/// Writes the keys; gives the first half of each block's first fingerprint.
fn write_keys(file: &DiskFile, table: &Table, section: Section) -> io::Result<Vec<u64>> {
    let mut keys = SectionWriter::new(file, table.ordinal, section);
    let mut index = Vec::with_capacity(usize::try_from(section.blocks()).unwrap_or(0));
    for shard in 0..SHARDS {
        let mut sorted = table.keys(shard);
        sorted.sort_unstable();
        for key in sorted {
            if keys.at_block_start() {
                index.push(half_of(key.fingerprint));
            }
            let mut record = [0; 20];
            if let Some((fingerprint, offset)) = record.split_first_chunk_mut::<16>() {
                *fingerprint = key.fingerprint;
                offset.copy_from_slice(&key.offset.to_le_bytes());
            }
            keys.push(&record)?;
        }
    }
    keys.finish()?;
    Ok(index)
}

fn write_orgs(file: &DiskFile, table: &Table, layout: &Layout) -> io::Result<()> {
    let mut orgs = SectionWriter::new(file, table.ordinal, layout.orgs);
    let mut offsets = SectionWriter::new(file, table.ordinal, layout.offsets);
    let mut start: u32 = 0;
    let mut record = Vec::new();
    for shard in 0..SHARDS {
        let mut sorted = table.orgs(shard);
        sorted.sort_unstable_by_key(|fact| fact.org);
        for fact in sorted {
            let own = fact.offsets.as_slice();
            let count = u32::try_from(own.len()).unwrap_or(u32::MAX);
            record.clear();
            record.extend_from_slice(&fact.org);
            record.extend_from_slice(&fact.first.to_le_bytes());
            record.extend_from_slice(&count.to_le_bytes());
            record.extend_from_slice(&start.to_le_bytes());
            orgs.push(&record)?;
            for offset in own {
                offsets.push(&offset.to_le_bytes())?;
            }
            start += count;
        }
    }
    orgs.finish()?;
    offsets.finish()
}

/// Writes the blocks of one section.
struct SectionWriter<'a> {
    file: &'a DiskFile,
    ordinal: u32,
    section: Section,
    /// Where what is gathered goes.
    at: u64,
    gathered: Vec<u8>,
    /// Where the unfinished block starts in what is gathered, its number, and the records in it.
    block_start: usize,
    block: u64,
    block_records: u64,
}

impl<'a> SectionWriter<'a> {
    fn new(file: &'a DiskFile, ordinal: u32, section: Section) -> Self {
        let (at, gathered) = (section.start, Vec::new());
        Self { file, ordinal, section, at, gathered, block_start: 0, block: 0, block_records: 0 }
    }

    const fn at_block_start(&self) -> bool {
        self.block_records == 0
    }

    fn push(&mut self, record: &[u8]) -> io::Result<()> {
        self.gathered.extend_from_slice(record);
        self.block_records += 1;
        if self.block_records == self.section.part.block_records() {
            self.finish_block()?;
        }
        Ok(())
    }

    fn finish_block(&mut self) -> io::Result<()> {
        let records = self.gathered.get(self.block_start..).unwrap_or_default();
        let checksum = self.section.part.checksum(self.ordinal, self.block, records);
        self.gathered.extend_from_slice(&checksum.to_le_bytes());
        self.block_start = self.gathered.len();
        self.block += 1;
        self.block_records = 0;
        if self.gathered.len() < PIECE_BYTES {
            return Ok(());
        }
        self.flush()?;
        self.file.sync_piece()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.gathered, self.at)?;
        self.at += to_u64(self.gathered.len());
        self.gathered.clear();
        self.block_start = 0;
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        if self.block_records > 0 {
            self.finish_block()?;
        }
        self.flush()
    }
}

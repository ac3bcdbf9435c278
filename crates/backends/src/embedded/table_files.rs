//! What the table engine writes and does not check when it opens: the list of the files of each table, and the order of
//! its journal. Damage there would let older rows answer, so both are checked before it opens them.

use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_128;

use super::tables::{POSITION_KEY, Stamp};

/// Beside each list, its number and checksum: eight bytes, sixteen, and one that says which checksum.
const CURRENT: &str = "current";
const CURRENT_BYTES: usize = 25;

/// How many numbers the engine may give to work of its own between two batches.
const NUMBERS_BETWEEN: u64 = 1 << 20;

/// Checks the files of the tables in `path`; what is not there is not checked.
///
/// # Errors
/// Which file is damaged, or could not be read.
pub(crate) fn check(path: &Path) -> Result<(), String> {
    let failed = |path: &Path, error: io::Error| format!("cannot read {}: {error}", path.display());
    let tables = path.join("keyspaces");
    for table in files_of(&tables).map_err(|error| failed(&tables, error))? {
        check_list(&table)?;
    }
    let mut journals = files_of(path).map_err(|error| failed(path, error))?;
    journals.retain(|file| file.extension().is_some_and(|extension| extension == "jnl"));
    journals.iter().try_for_each(|journal| check_journal(journal))
}

fn files_of(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        files => files?.map(|file| Ok(file?.path())).collect(),
    }
}

/// Compares the list of a table's files with the checksum that was written beside it.
fn check_list(table: &Path) -> Result<(), String> {
    let current = table.join(CURRENT);
    let known = match fs::read(&current) {
        // A table that was never written out has no list yet.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        read => read.map_err(|error| format!("cannot read {}: {error}", current.display()))?,
    };
    let mut rest = known.as_slice();
    let (Some(number), Some(checksum), CURRENT_BYTES) = (take(&mut rest), take(&mut rest), known.len())
    else {
        return Err(format!("{} is damaged", current.display()));
    };
    let list = table.join(format!("v{}", u64::from_le_bytes(number)));
    let content = fs::read(&list).map_err(|error| format!("cannot read {}: {error}", list.display()))?;
    if xxh3_128(&content) == u128::from_le_bytes(checksum) {
        Ok(())
    } else {
        Err(format!("{} is not what {} says", list.display(), current.display()))
    }
}

fn take<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(*taken)
}

/// Checks that the batches of a journal have the numbers they were given: each above the one before it, and near the
/// number that was the engine's next when it was written, which is in the batch itself. The engine checks the content of
/// batches, and takes what is unfinished or unreadable for the journal's end; so does this.
fn check_journal(journal: &Path) -> Result<(), String> {
    let failed = |error: io::Error| format!("cannot read {}: {error}", journal.display());
    let mut reader = BufReader::new(File::open(journal).map_err(failed)?);
    let mut last = None;
    loop {
        let batch = match read_batch(&mut reader) {
            Ok(Some(batch)) => batch,
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        let follows = last.is_none_or(|last| last < batch.number);
        let near = batch
            .next_number
            .is_none_or(|next| next <= batch.number && batch.number - next < NUMBERS_BETWEEN);
        // What was next when this batch was written is above all batches before it.
        let after = batch.next_number.zip(last).is_none_or(|(next, last)| last < next);
        if !(follows && near && after) {
            return Err(format!("{} is damaged: a batch is out of order", journal.display()));
        }
        last = Some(batch.number);
    }
}

/// A batch of a journal.
struct JournalBatch {
    /// The engine's number for it: of two rows with one key the one with the higher number counts.
    number: u64,
    /// What the number would be at least, as [`Stamp`] says; only batches of rows have it.
    next_number: Option<u64>,
}

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
/// Behind each batch.
const TRAILER: [u8; 4] = *b"FJL\x03";

/// Reads a batch; `None` is the end, or something that is no batch.
fn read_batch(reader: &mut BufReader<File>) -> io::Result<Option<JournalBatch>> {
    if read::<1>(reader)? != [START] {
        return Ok(None);
    }
    let items = u32::from_le_bytes(read(reader)?);
    let mut batch = JournalBatch { number: u64::from_le_bytes(read(reader)?), next_number: None };
    for _ in 0..items {
        match read::<1>(reader)? {
            [ITEM] => batch.next_number = read_item(reader)?.or(batch.next_number),
            [CLEAR] => reader.seek_relative(8)?,
            _ => return Ok(None),
        }
    }
    let [end] = read(reader)?;
    let _checksum: [u8; 8] = read(reader)?;
    Ok((end == END && read(reader)? == TRAILER).then_some(batch))
}

/// Reads an item; gives the number in it if it is a [`Stamp`].
fn read_item(reader: &mut BufReader<File>) -> io::Result<Option<u64>> {
    let [_kind, _compression] = read(reader)?;
    let _table: [u8; 8] = read(reader)?;
    let key_len = u16::from_le_bytes(read(reader)?);
    let _len: [u8; 4] = read(reader)?;
    let len = u32::from_le_bytes(read(reader)?);
    let mut key = vec![0; usize::from(key_len)];
    reader.read_exact(&mut key)?;
    if key != POSITION_KEY {
        reader.seek_relative(i64::from(len))?;
        return Ok(None);
    }
    let mut row = Vec::new();
    reader.take(u64::from(len)).read_to_end(&mut row)?;
    Ok(Stamp::decode(&row).map(|stamp| stamp.next_number))
}

fn read<const N: usize>(reader: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

//! Verification: every checksum of the ledger, and that the tables are what a replay from empty makes.

use std::iter::Peekable;
use std::ops::Bound::Unbounded;
use std::path::Path;

use tollgate_domain::Org;
use tollgate_storage::codec::decode;
use tollgate_storage::{StoreError, StoreErrorKind};

use super::maintain::{Replayed, replay_into};
use super::open::{VERIFY_TABLES_DIR, check_options, lock, open_locked, remove_dir, remove_leftovers};
use super::options::{EmbeddedOptions, Work};
use super::tables::{Keep, RawRow, Tables};
use crate::rows::Table;

/// Differences kept with their text; all are counted.
const DIFFERENCES_KEPT_MAX: usize = 1_000;

/// What a verification counted and found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Segment files.
    pub segments: u64,
    /// Frames, each checked.
    pub frames: u64,
    /// Entries, each checked and replayed.
    pub entries: u64,
    /// Orgs in the tables.
    pub orgs: u64,
    /// Callers' keys in the ledger.
    pub keys: u64,
    /// Users with open counters of a meter, in the tables.
    pub tallies: u64,
    /// Closed counters in the tables.
    pub counters: u64,
    /// How many differences there are.
    pub differences_count: u64,
    /// The first thousand differences, each with its place.
    pub differences: Vec<String>,
}

impl VerifyReport {
    /// Whether all is well.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.differences_count == 0
    }

    fn add(&mut self, difference: String) {
        self.differences_count += 1;
        if self.differences.len() < DIFFERENCES_KEPT_MAX {
            self.differences.push(difference);
        }
    }

    /// Takes a failure as a finding if it is one.
    fn note<T>(&mut self, result: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if matches!(error.kind(), StoreErrorKind::Corrupt | StoreErrorKind::Format) => {
                self.add(error.to_string());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Verifies a closed store; see [`super::EmbeddedStore::verify`].
pub(crate) fn verify(path: &Path, options: &EmbeddedOptions) -> Result<VerifyReport, StoreError> {
    check_options(options)?;
    let held = lock(path)?;
    remove_leftovers(path)?;
    let mut report = VerifyReport::default();
    let spare =
        held.try_clone().map_err(|source| super::error::io_error("hold the lock of", path, source))?;
    // Without threads: one that prepares a segment would be in the way of the replay, which reads the same folder.
    let quiet = EmbeddedOptions { work: Work::Inline, ..options.clone() };
    let opened = report.note(open_locked(path, quiet, spare))?;
    if let Some(core) = &opened {
        let damaged = core.facts.damaged_at_opening().iter();
        damaged.for_each(|error| report.add(format!("{error}; it was made again from its segment")));
        report.note(core.catch_up())?;
        report.note(core.facts.check())?;
    }
    let into = path.join(VERIFY_TABLES_DIR);
    let replayed = replay_into(path, &into, options);
    if let Some(replayed) = report.note(replayed)? {
        report.segments = replayed.segments;
        report.frames = replayed.frames;
        report.entries = replayed.entries;
        report.keys = replayed.keys;
        if let Some(core) = &opened {
            compare(&mut report, core.tables.read().get()?, &replayed)?;
        }
    }
    drop(opened);
    remove_dir(&into)?;
    drop(held);
    Ok(report)
}

fn compare(report: &mut VerifyReport, found: &Tables, replayed: &Replayed) -> Result<(), StoreError> {
    for table in Table::ALL {
        let keep = &replayed.keep;
        let compared =
            compare_rows(report, table, rows(found, table, keep), rows(&replayed.tables, table, keep));
        let count = match compared {
            Ok(count) => count,
            Err(error) => {
                report.add(format!("table {}: {error}", table.name()));
                continue;
            }
        };
        match table {
            Table::Orgs => report.orgs = count,
            Table::Tallies => report.tallies = count,
            Table::Counters => report.counters = count,
            _ => {}
        }
    }
    let (stored, wanted) = (found.folded()?.position, replayed.tables.folded()?.position);
    if stored != wanted {
        report.add(format!("the tables are at frame {}, the ledger at {}", stored.sequence, wanted.sequence));
    }
    Ok(())
}

/// Rows of a table that are not past their keep time.
fn rows<'a>(
    tables: &Tables,
    table: Table,
    keep: &'a Keep,
) -> impl Iterator<Item = Result<RawRow, StoreError>> + use<'a> {
    let rows = tables.view().range(table, Unbounded, Unbounded);
    rows.filter(move |row| !row.as_ref().is_ok_and(|(key, _)| keep.is_expired(table, key)))
}

/// Whether a row is what the ledger makes. One of an org that an older version kept lacks when its latest entry was decided.
fn is_made(table: Table, stored: Option<&RawRow>, made: Option<&RawRow>) -> bool {
    if stored == made {
        return true;
    }
    let org = |row: Option<&RawRow>| decode::<Org>(&row?.1).ok();
    match (table, org(stored), org(made)) {
        (Table::Orgs, Some(stored), Some(made)) if stored.latest_at == stored.created_at => {
            stored == Org { latest_at: stored.latest_at, ..made }
        }
        _ => false,
    }
}

/// Compares two tables row by row; says how many rows the first has.
fn compare_rows(
    report: &mut VerifyReport,
    table: Table,
    found: impl Iterator<Item = Result<RawRow, StoreError>>,
    wanted: impl Iterator<Item = Result<RawRow, StoreError>>,
) -> Result<u64, StoreError> {
    let (mut found, mut wanted) = (found.peekable(), wanted.peekable());
    let mut count = 0;
    let say = |key: &[u8], what: &str| format!("table {}, row {}: {what}", table.name(), key.escape_ascii());
    loop {
        match (peek_key(&mut found)?, peek_key(&mut wanted)?) {
            (None, None) => return Ok(count),
            (Some(key), other) if other.as_ref().is_none_or(|other| key < *other) => {
                report.add(say(&key, "the ledger does not make it"));
                found.next();
                count += 1;
            }
            (key, Some(other)) if key.as_ref().is_none_or(|key| other < *key) => {
                report.add(say(&other, "it is missing"));
                wanted.next();
            }
            (key, _) => {
                let (stored, made) = (found.next().transpose()?, wanted.next().transpose()?);
                if !is_made(table, stored.as_ref(), made.as_ref()) {
                    report.add(say(&key.unwrap_or_default(), "it is not what the ledger makes"));
                }
                count += 1;
            }
        }
    }
}

fn peek_key(
    rows: &mut Peekable<impl Iterator<Item = Result<RawRow, StoreError>>>,
) -> Result<Option<Vec<u8>>, StoreError> {
    match rows.peek() {
        None => Ok(None),
        Some(Ok((key, _))) => Ok(Some(key.clone())),
        Some(Err(_)) => rows.next().transpose().map(|_| None),
    }
}

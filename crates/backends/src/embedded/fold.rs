//! Folding: one overlay becomes rows of the tables, sorted, in one write with its position.

use tollgate_domain::{OrgId, Record, RecordKey};
use tollgate_storage::StoreError;

use super::codec::{
    Table, encode_key_row, encode_locations, encode_record, entries_key, notice_key, row, row_key,
};
use super::error::stopped;
use super::limits::INDEX_ROW_ENTRIES_MAX;
use super::overlay::{Overlay, PartOverlay};
use super::segment::Location;
use super::tables::{Folded, RawRow, Tables};

/// Why a fold did not happen.
#[derive(Debug)]
pub(crate) enum FoldError {
    /// A record has no row form; this is a defect.
    Encode(StoreError),
    /// The tables refused the write.
    Tables(fjall::Error),
}

/// The rows of an overlay to write, and those to remove.
struct Rows {
    written: Vec<(Table, RawRow)>,
    removed: Vec<(Table, Vec<u8>)>,
}

/// Writes an overlay into the tables; `before` sees the rows first.
pub(crate) fn fold(
    tables: &Tables,
    overlay: &Overlay,
    folded: &Folded,
    before: impl FnOnce(&[(Table, RawRow)]),
) -> Result<(), FoldError> {
    let Rows { written, removed } = rows_of(overlay)
        .map_err(|error| FoldError::Encode(stopped(&format!("cannot encode a row: {error}"))))?;
    before(&written);
    let mut batch = tables.batch(written.len() + removed.len() + 1);
    for (table, (key, row)) in &written {
        batch.put(*table, key, row);
    }
    for (table, key) in removed {
        batch.remove(table, key);
    }
    batch.commit(folded).map_err(FoldError::Tables)
}

/// The rows of an overlay, sorted by table and key: the tables take sorted rows faster.
fn rows_of(overlay: &Overlay) -> Result<Rows, postcard::Error> {
    let mut rows = Vec::with_capacity(overlay.records + overlay.orgs.len());
    let mut removed = Vec::new();
    for (org, part) in &overlay.orgs {
        add_records(&mut rows, &mut removed, part);
        add_entries(&mut rows, org, part)?;
        for (location, index, notice) in &part.notices {
            rows.push((Table::Notices, (notice_key(*location, *index), row(notice))));
        }
    }
    add_records(&mut rows, &mut removed, &overlay.system);
    rows.sort_unstable_by(|(table, (key, _)), (other, (other_key, _))| {
        table.cmp(other).then_with(|| key.cmp(other_key))
    });
    Ok(Rows { written: rows, removed })
}

fn add_records(rows: &mut Vec<(Table, RawRow)>, removed: &mut Vec<(Table, Vec<u8>)>, part: &PartOverlay) {
    for (key, record) in &part.records {
        let Some((table, row_key)) = row_key(key) else { continue };
        let row = match record {
            // Nothing unsent is no row: what is looked through is what there is to send.
            nothing if nothing.is_nothing() => {
                removed.push((table, row_key));
                continue;
            }
            Record::Key(seen) => encode_key_row(seen, location_of_key(key, part, seen.entry)),
            other => encode_record(other),
        };
        rows.push((table, (row_key, row)));
    }
}

fn location_of_key(key: &RecordKey, part: &PartOverlay, entry: u64) -> Option<Location> {
    matches!(key, RecordKey::Key(_)).then(|| part.location(entry)).flatten()
}

fn add_entries(
    rows: &mut Vec<(Table, RawRow)>,
    org: &OrgId,
    part: &PartOverlay,
) -> Result<(), postcard::Error> {
    let mut first = part.first_entry;
    for locations in part.entries.chunks(INDEX_ROW_ENTRIES_MAX) {
        rows.push((Table::Entries, (entries_key(org, first), encode_locations(locations)?)));
        first += u64::try_from(locations.len()).unwrap_or(0);
    }
    Ok(())
}

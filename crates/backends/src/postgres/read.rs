//! Reading: ledgers and images, callers' keys, and scans.

use std::ops::Bound;

use tokio_postgres::Row as DbRow;
use tokio_postgres::types::Type;
use tollgate_domain::{Entry, KeyId, KeyRecord, OrgId, Partition, RecordKey};
use tollgate_storage::codec::{DecodeError, Line, StoredNotice, decode, decode_line};
use tollgate_storage::{
    Cursor, EntryChange, Loaded, NoticeRow, Opened, Order, Page, Parts, Row, Scan, StoreError, StoreErrorKind,
};

use super::append::{hash_of, ledger_of, number};
use super::database::Database;
use super::error::{bad_column, bad_row};
use super::limits::{ANSWER_TIMEOUT, LONG_ANSWER_TIMEOUT, PAGE_ROWS_MAX};
use crate::rows::scan::{bad_cursor, cursor_at, key_in, span_of, stored_row};
use crate::rows::{Table, decode_record, row_key};

/// The number of a table in the database.
pub(crate) const fn kind_of(table: Table) -> i16 {
    match table {
        Table::Orgs => 1,
        Table::Accounts => 2,
        Table::Tallies => 3,
        Table::Counters => 4,
        Table::Bills => 5,
        Table::Unsent => 6,
        Table::System => 7,
    }
}

/// The key of a partition's head.
fn head_of(partition: &Partition) -> RecordKey {
    match partition {
        Partition::Org(org) => RecordKey::Org(org.clone()),
        Partition::System => RecordKey::System,
    }
}

/// The place that a row answers, counted from one.
fn place_of(row: &DbRow) -> Result<Option<usize>, StoreError> {
    let place: i64 = row.try_get(0).map_err(bad_column)?;
    Ok(usize::try_from(place).ok().and_then(|place| place.checked_sub(1)))
}

/// Opens partitions; see [`tollgate_storage::Store::open`].
pub(crate) async fn open(database: &Database, partitions: &[Partition]) -> Result<Vec<Opened>, StoreError> {
    let heads: Vec<RecordKey> = partitions.iter().map(head_of).collect();
    let ledgers: Vec<&str> = partitions.iter().map(ledger_of).collect();
    let (kinds, keys): (Vec<i16>, Vec<Vec<u8>>) =
        heads.iter().filter_map(row_key).map(|(table, key)| (kind_of(table), key)).unzip();
    let values: &super::database::Values<'_> =
        &[(&ledgers, Type::TEXT_ARRAY), (&kinds, Type::INT2_ARRAY), (&keys, Type::BYTEA_ARRAY)];
    let statement = database.call("open", values.len());
    let rows = database.ask(&statement, values, ANSWER_TIMEOUT).await?;
    let mut opened = vec![Opened::default(); partitions.len()];
    for row in rows {
        let Some(place) = place_of(&row)? else { continue };
        let (Some(partition), Some(head), Some(opened)) =
            (partitions.get(place), heads.get(place), opened.get_mut(place))
        else {
            continue;
        };
        let body: &[u8] = row.try_get(3).map_err(bad_column)?;
        let damaged = |error| bad_row(format!("{partition:?}"), error);
        if row.try_get(1).map_err(bad_column)? {
            opened.head = Some(decode_record(head, body).map_err(damaged)?);
        } else {
            opened.entries.push(decode_entry(partition, body).map_err(damaged)?);
        }
    }
    for opened in &mut opened {
        opened.entries.sort_unstable_by_key(EntryChange::number);
    }
    Ok(opened)
}

/// The versions of partitions; see [`tollgate_storage::Store::versions`].
pub(crate) async fn versions(database: &Database, partitions: &[Partition]) -> Result<Vec<u64>, StoreError> {
    let ledgers: Vec<&str> = partitions.iter().map(ledger_of).collect();
    let values: &super::database::Values<'_> = &[(&ledgers, Type::TEXT_ARRAY)];
    let statement = database.call("versions", values.len());
    let rows = database.ask(&statement, values, ANSWER_TIMEOUT).await?;
    let mut versions = vec![0; partitions.len()];
    for row in rows {
        let Some(version) = place_of(&row)?.and_then(|place| versions.get_mut(place)) else { continue };
        let found: i64 = row.try_get(1).map_err(bad_column)?;
        *version = u64::try_from(found).unwrap_or_default();
    }
    Ok(versions)
}

/// Entries behind versions; see [`tollgate_storage::Store::since`].
pub(crate) async fn since(
    database: &Database,
    asked: &[(Partition, u64)],
) -> Result<Vec<Option<Vec<EntryChange>>>, StoreError> {
    let ledgers: Vec<&str> = asked.iter().map(|(partition, _)| ledger_of(partition)).collect();
    let after = asked.iter().map(|(_, version)| number(*version)).collect::<Result<Vec<i64>, _>>()?;
    let values: &super::database::Values<'_> = &[(&ledgers, Type::TEXT_ARRAY), (&after, Type::INT8_ARRAY)];
    let statement = database.call("since", values.len());
    let rows = database.ask(&statement, values, ANSWER_TIMEOUT).await?;
    let mut since: Vec<Vec<EntryChange>> = asked.iter().map(|_| Vec::new()).collect();
    for row in rows {
        let Some(place) = place_of(&row)? else { continue };
        let (Some((partition, _)), Some(since)) = (asked.get(place), since.get_mut(place)) else { continue };
        let body: &[u8] = row.try_get(1).map_err(bad_column)?;
        let damaged = |error| bad_row(format!("{partition:?}"), error);
        since.push(decode_entry(partition, body).map_err(damaged)?);
    }
    for since in &mut since {
        since.sort_unstable_by_key(EntryChange::number);
    }
    Ok(since.into_iter().map(Some).collect())
}

fn decode_entry(partition: &Partition, body: &[u8]) -> Result<EntryChange, DecodeError> {
    match partition {
        Partition::Org(_) => decode(body).map(EntryChange::Org),
        Partition::System => match decode_line(body)? {
            Line::System(entry) => Ok(EntryChange::System(entry)),
            Line::Org(..) => Err(DecodeError::Damaged),
        },
    }
}

/// Loads records; see [`tollgate_storage::Store::load`].
pub(crate) async fn load(database: &Database, asked: &[Parts]) -> Result<Vec<Loaded>, StoreError> {
    let ledgers: Vec<&str> = asked.iter().map(|parts| ledger_of(&parts.partition)).collect();
    // No image is of a version that the database cannot count to.
    let images: Vec<i64> = asked.iter().map(|parts| i64::try_from(parts.image).unwrap_or(-1)).collect();
    let (mut parts, mut entries) = (Asked::<(i16, Vec<u8>)>::default(), Asked::<i64>::default());
    for (of, Parts { keys, .. }) in asked.iter().enumerate() {
        for (place, key) in keys.iter().enumerate() {
            if let Some((table, row_key)) = row_key(key) {
                parts.add((of, place), (kind_of(table), row_key));
            } else if let RecordKey::Entry(_, number) = key
                && let Ok(number) = i64::try_from(*number)
            {
                entries.add((of, place), number);
            }
        }
    }
    let (kinds, row_keys): (Vec<i16>, Vec<Vec<u8>>) = parts.what.into_iter().unzip();
    let values: &super::database::Values<'_> = &[
        (&ledgers, Type::TEXT_ARRAY),
        (&images, Type::INT8_ARRAY),
        (&parts.of, Type::INT4_ARRAY),
        (&kinds, Type::INT2_ARRAY),
        (&row_keys, Type::BYTEA_ARRAY),
        (&entries.of, Type::INT4_ARRAY),
        (&entries.what, Type::INT8_ARRAY),
    ];
    let statement = database.call("load", values.len());
    let rows = database.ask(&statement, values, ANSWER_TIMEOUT).await?;
    let mut loaded: Vec<Loaded> = vec![None; asked.len()];
    for row in rows {
        let Some(place) = place_of(&row)? else { continue };
        let is_entry: Option<bool> = row.try_get(1).map_err(bad_column)?;
        let Some(is_entry) = is_entry else {
            // Its image is of the version asked for; these rows come first.
            if let (Some(loaded), Some(parts)) = (loaded.get_mut(place), asked.get(place)) {
                *loaded = Some(vec![None; parts.keys.len()]);
            }
            continue;
        };
        let places = if is_entry { &entries.places } else { &parts.places };
        let Some((of, place)) = places.get(place).copied() else { continue };
        let key = asked.get(of).and_then(|parts| parts.keys.get(place));
        let record = loaded.get_mut(of).and_then(|loaded| loaded.as_mut()?.get_mut(place));
        if let (Some(key), Some(record)) = (key, record) {
            let body: &[u8] = row.try_get(2).map_err(bad_column)?;
            let damaged = |error| bad_row(format!("{key:?}"), error);
            *record = Some(decode_record(key, body).map_err(damaged)?);
        }
    }
    Ok(loaded)
}

/// Rows that are asked for of some partitions.
#[derive(Default)]
struct Asked<T> {
    /// Of which partition each is, counted from one.
    of: Vec<i32>,
    what: Vec<T>,
    /// Of which partition, and which of its keys, each answers.
    places: Vec<(usize, usize)>,
}

impl<T> Asked<T> {
    fn add(&mut self, place: (usize, usize), what: T) {
        self.of.push(i32::try_from(place.0 + 1).unwrap_or(i32::MAX));
        self.what.push(what);
        self.places.push(place);
    }
}

/// Finds callers' keys; see [`tollgate_storage::Store::find`].
pub(crate) async fn find(database: &Database, keys: &[KeyId]) -> Result<Vec<Option<KeyRecord>>, StoreError> {
    let orgs: Vec<&str> = keys.iter().map(|id| id.org.as_str()).collect();
    let hashes: Vec<uuid::Uuid> = keys.iter().map(hash_of).collect();
    let values: &super::database::Values<'_> = &[(&orgs, Type::TEXT_ARRAY), (&hashes, Type::UUID_ARRAY)];
    let statement = database.call("find", values.len());
    let rows = database.ask(&statement, values, ANSWER_TIMEOUT).await?;
    let mut found = vec![None; keys.len()];
    for row in rows {
        let Some(place) = place_of(&row)? else { continue };
        let (Some(id), Some(found)) = (keys.get(place), found.get_mut(place)) else { continue };
        let reversed_by: Option<i64> = row.try_get(1).map_err(bad_column)?;
        let body: &[u8] = row.try_get(2).map_err(bad_column)?;
        let damaged = |error| bad_row(format!("the entry of {id:?}"), error);
        let entry: Entry = decode(body).map_err(damaged)?;
        if let Some((space, key, mut record)) = entry.made_key()
            && space == id.space
            && *key == id.key
        {
            record.reversed_by = reversed_by.and_then(|number| u64::try_from(number).ok());
            *found = Some(record);
        }
    }
    Ok(found)
}

/// Finds what is behind; see [`tollgate_storage::Store::behind`].
pub(crate) async fn behind(database: &Database) -> Result<Vec<Partition>, StoreError> {
    let statement = format!("SELECT org FROM {}.ledgers WHERE behind", database.schema);
    let rows = database.ask(&statement, &[], LONG_ANSWER_TIMEOUT).await?;
    let partition = |row: &DbRow| {
        let ledger: &str = row.try_get(0).map_err(bad_column)?;
        if ledger.is_empty() {
            return Ok(Partition::System);
        }
        let org = OrgId::new(ledger).map_err(|error| {
            StoreError::new(StoreErrorKind::Corrupt, "a ledger of no org").caused_by(error)
        })?;
        Ok(Partition::Org(org))
    };
    rows.iter().map(partition).collect()
}

/// Reads a page of a scan; see [`tollgate_storage::Store::scan`].
pub(crate) async fn scan(
    database: &Database,
    scan: &Scan,
    from: Option<&Cursor>,
    limit: usize,
) -> Result<Page, StoreError> {
    assert!(limit > 0, "a page has room for a row");
    if let Scan::Entries { org, order } = scan {
        let entries = Entries::of(scan, org, *order, from, limit)?;
        let rows = entries.read(database).await?;
        return Ok(entries.page(rows));
    }
    let after = from.map(|cursor| key_in(scan, cursor)).transpose()?;
    let limit = limit.min(PAGE_ROWS_MAX);
    let rows = match scan {
        Scan::Notices => {
            let after = after.map(|key| number_in(scan, key)).transpose()?;
            scan_notices(database, after.unwrap_or(0), limit).await?
        }
        Scan::SystemEntries => {
            let after = after.map(|key| number_in(scan, key)).transpose()?;
            scan_system_entries(database, after.unwrap_or(0), limit).await?
        }
        _ => scan_parts(database, scan, after, limit).await?,
    };
    Ok(page_of(scan, limit, rows))
}

/// The page that rows make, of which there is one more than fits if there are more.
fn page_of(scan: &Scan, limit: usize, rows: impl IntoIterator<Item = (Vec<u8>, Row)>) -> Page {
    let mut rows = rows.into_iter();
    let (keys, page): (Vec<Vec<u8>>, Vec<Row>) = rows.by_ref().take(limit).unzip();
    let more = rows.next().is_some();
    let next = keys.last().filter(|_| more).map(|key| cursor_at(scan, key));
    Page { rows: page, next }
}

/// A page of the entries of an org, by their numbers.
pub(crate) struct Entries<'a> {
    scan: &'a Scan,
    org: &'a OrgId,
    order: Order,
    after: Option<i64>,
    limit: usize,
}

impl<'a> Entries<'a> {
    pub(crate) fn of(
        scan: &'a Scan,
        org: &'a OrgId,
        order: Order,
        from: Option<&Cursor>,
        limit: usize,
    ) -> Result<Self, StoreError> {
        let after = from.map(|cursor| number_in(scan, key_in(scan, cursor)?)).transpose()?;
        Ok(Self { scan, org, order, after, limit: limit.min(PAGE_ROWS_MAX) })
    }

    /// Reads its rows, and one more if there are more.
    pub(crate) async fn read(&self, database: &Database) -> Result<Vec<Row>, StoreError> {
        let (condition, after) = match self.order {
            Order::Oldest => ("number > $2 ORDER BY number", self.after.unwrap_or(0)),
            Order::Newest => ("number < $2 ORDER BY number DESC", self.after.unwrap_or(i64::MAX)),
        };
        let statement = format!(
            "SELECT number, body FROM {}.entries WHERE org = $1 AND {condition} LIMIT $3",
            database.schema
        );
        let (org, limit) = (self.org.as_str(), and_one(self.limit));
        let values: &super::database::Values<'_> =
            &[(&org, Type::TEXT), (&after, Type::INT8), (&limit, Type::INT8)];
        let rows = database.ask(&statement, values, LONG_ANSWER_TIMEOUT).await?;
        let entry = |row: &DbRow| {
            let number: i64 = row.try_get(0).map_err(bad_column)?;
            let body: &[u8] = row.try_get(1).map_err(bad_column)?;
            decode(body).map(Row::Entry).map_err(|error| bad_row(format!("entry {number} of {org}"), error))
        };
        rows.iter().map(entry).collect()
    }

    /// The page that rows make.
    pub(crate) fn page(&self, rows: impl IntoIterator<Item = Row>) -> Page {
        let keyed = |row: Row| {
            let number = if let Row::Entry(entry) = &row { entry.number } else { 0 };
            (number.to_be_bytes().to_vec(), row)
        };
        page_of(self.scan, self.limit, rows.into_iter().map(keyed))
    }
}

#[cfg(feature = "redis")]
impl Entries<'_> {
    /// Behind which number it begins, in its order.
    pub(crate) fn after(&self) -> Option<u64> {
        self.after.map(i64::unsigned_abs)
    }

    /// Rows of it, and one more.
    pub(crate) const fn most(&self) -> usize {
        self.limit + 1
    }
}

/// The number in a cursor of entries or notices.
fn number_in(scan: &Scan, key: &[u8]) -> Result<i64, StoreError> {
    key.try_into().map(i64::from_be_bytes).map_err(|_| bad_cursor(scan))
}

/// One row more than fits says that there are more.
fn and_one(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)
}

/// Rows with what their cursors name them by.
type Keyed = Vec<(Vec<u8>, Row)>;

async fn scan_system_entries(database: &Database, after: i64, limit: usize) -> Result<Keyed, StoreError> {
    let statement = format!(
        "SELECT number, body FROM {}.entries WHERE org = $1 AND number > $2 ORDER BY number LIMIT $3",
        database.schema
    );
    let (ledger, limit) = (ledger_of(&Partition::System), and_one(limit));
    let values: &super::database::Values<'_> =
        &[(&ledger, Type::TEXT), (&after, Type::INT8), (&limit, Type::INT8)];
    let rows = database.ask(&statement, values, LONG_ANSWER_TIMEOUT).await?;
    let entry = |row: &DbRow| {
        let number: i64 = row.try_get(0).map_err(bad_column)?;
        let body: &[u8] = row.try_get(1).map_err(bad_column)?;
        let damaged = |error| bad_row(format!("entry {number} of the system"), error);
        match decode_entry(&Partition::System, body).map_err(damaged)? {
            EntryChange::System(entry) => Ok((number.to_be_bytes().to_vec(), Row::SystemEntry(entry))),
            EntryChange::Org(_) => Err(damaged(DecodeError::Damaged)),
        }
    };
    rows.iter().map(entry).collect()
}

async fn scan_notices(database: &Database, after: i64, limit: usize) -> Result<Keyed, StoreError> {
    let limit = and_one(limit);
    let values: &super::database::Values<'_> = &[(&after, Type::INT8), (&limit, Type::INT8)];
    let statement = database.call("notices_after", values.len());
    let rows = database.ask(&statement, values, LONG_ANSWER_TIMEOUT).await?;
    let notice = |row: &DbRow| {
        let position: i64 = row.try_get(0).map_err(bad_column)?;
        let index: i32 = row.try_get(1).map_err(bad_column)?;
        let body: &[u8] = row.try_get(2).map_err(bad_column)?;
        let StoredNotice { org, entry, at, notice } =
            decode(body).map_err(|error| bad_row(format!("notice {position}"), error))?;
        let index = u32::try_from(index).unwrap_or_default();
        Ok((position.to_be_bytes().to_vec(), Row::Notice(NoticeRow { org, entry, index, at, notice })))
    };
    rows.iter().map(notice).collect()
}

async fn scan_parts(
    database: &Database,
    scan: &Scan,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Keyed, StoreError> {
    let Some(span) = span_of(scan, after)? else { return Ok(Vec::new()) };
    let (kind, limit) = (kind_of(span.table), and_one(limit));
    let (from, above) = match span.from {
        Bound::Included(key) => (key, ">="),
        Bound::Excluded(key) => (key, ">"),
        Bound::Unbounded => (Vec::new(), ">="),
    };
    let (until, below) = match span.until {
        Bound::Included(key) => (key, "AND key <= $4"),
        Bound::Excluded(key) => (key, "AND key < $4"),
        Bound::Unbounded => (Vec::new(), "AND $4::bytea IS NOT NULL"),
    };
    let statement = format!(
        "SELECT key, body FROM {}.parts WHERE kind = $1 AND key {above} $2 {below} ORDER BY key LIMIT $3",
        database.schema
    );
    let values: &super::database::Values<'_> =
        &[(&kind, Type::INT2), (&from, Type::BYTEA), (&limit, Type::INT8), (&until, Type::BYTEA)];
    let rows = database.ask(&statement, values, LONG_ANSWER_TIMEOUT).await?;
    let part = |row: &DbRow| {
        let (key, body): (&[u8], &[u8]) =
            (row.try_get(0).map_err(bad_column)?, row.try_get(1).map_err(bad_column)?);
        let damaged = |error| {
            bad_row(format!("the row {:?} of {}", String::from_utf8_lossy(key), span.table.name()), error)
        };
        Ok((key.to_vec(), stored_row(scan, key, body).map_err(damaged)?))
    };
    rows.iter().map(part).collect()
}

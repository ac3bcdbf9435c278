//! Reading: partitions, records, and rows in order.

use std::collections::HashMap;
use std::ops::Bound;

use tollgate_domain::{OrgId, Partition, Record, RecordKey};
use tollgate_storage::{
    Cursor, EntryChange, Loaded, Opened, Order, Page, Parts, Row, Scan, StoreError, StoreErrorKind,
};

use super::images::{image_of, part_in, place_of};
use super::limits::{PAGE_AGAIN_MAX, PAGE_ROWS_MAX};
use super::places::{ORGS, UNSENT, head, list, name_of, of_org, packs, part_sort};
use super::table::{Item, Place, Range, Sorted, Table, behind};
use super::value::{BODY, bytes_of, damaged};
use super::{Core, each, notices, pack};
use crate::rows::scan::{Span, bad_cursor, cursor_at, key_in, span_of, stored_row};
use crate::rows::{decode_record, meter_prefix, org_day_of, org_prefix};

/// Whether something is to be read again, for an image changed meanwhile.
fn has_moved<R>(result: &Result<R, StoreError>) -> bool {
    matches!(result, Err(error) if error.kind() == StoreErrorKind::Moved)
}

/// Opens partitions; see [`tollgate_storage::Store::open`].
pub(crate) async fn open<T: Table>(
    core: &Core<T>,
    partitions: &[Partition],
) -> Result<Vec<Opened>, StoreError> {
    let places: Vec<Place> = partitions.iter().map(|partition| head(&name_of(partition))).collect();
    let heads = core.table.get(&places).await?;
    let heads: Vec<Option<&Item>> = places.iter().map(|place| heads.get(place)).collect();
    let since =
        places.iter().zip(&heads).map(|(place, head)| packs(&place.partition, image_of(*head), u64::MAX));
    let since = core.table.read_each(since.collect()).await?;
    let found = partitions.iter().zip(heads).zip(since);
    each(found.map(|((partition, head), since)| open_one(core, partition, head, since))).await
}

async fn open_one<T: Table>(
    core: &Core<T>,
    partition: &Partition,
    found: Option<&Item>,
    mut since: Sorted,
) -> Result<Opened, StoreError> {
    let name = name_of(partition);
    let place = head(&name);
    let mut head = match found {
        Some(item) => Some(head_in(core, partition, &place, item).await),
        None => None,
    };
    for _ in 0..PAGE_AGAIN_MAX {
        if !head.as_ref().is_some_and(has_moved) {
            break;
        }
        // There is a newer image meanwhile.
        let found = core.table.get_one(&place).await?.ok_or_else(|| damaged("a head"))?;
        since = core.table.read_all(packs(&name, image_of(Some(&found)), u64::MAX)).await?;
        head = Some(head_in(core, partition, &place, &found).await);
    }
    let head = head.transpose()?;
    let image = head.as_ref().map_or(0, Record::version);
    // An image is of a version that was the end of a pack.
    let entries = pack::entries_of_all(&core.table, partition, since).await?;
    let opened = Opened { head, entries };
    if let Partition::Org(org) = partition
        && image == 0
    {
        core.keys.begin(org, &opened.entries).await;
    }
    core.see(partition, opened.version());
    Ok(opened)
}

/// The head of an image, if there is one.
async fn head_of<T: Table>(
    core: &Core<T>,
    partition: &Partition,
    name: &str,
) -> Result<Option<Record>, StoreError> {
    let place = head(name);
    match core.table.get_one(&place).await? {
        Some(item) => head_in(core, partition, &place, &item).await.map(Some),
        None => Ok(None),
    }
}

async fn head_in<T: Table>(
    core: &Core<T>,
    partition: &Partition,
    place: &Place,
    item: &Item,
) -> Result<Record, StoreError> {
    let key = match partition {
        Partition::Org(org) => RecordKey::Org(org.clone()),
        Partition::System => RecordKey::System,
    };
    let kept = item.bytes(BODY).ok_or_else(|| damaged(&format!("the head of {partition:?}")))?;
    let bytes = bytes_of(&core.table, place, &image_of(Some(item)).to_be_bytes(), kept).await?;
    decoded(&key, &bytes)
}

fn decoded(key: &RecordKey, bytes: &[u8]) -> Result<Record, StoreError> {
    decode_record(key, bytes)
        .map_err(|error| StoreError::new(error.kind(), format!("{key:?} in the database: {error}")))
}

/// The versions of partitions; see [`tollgate_storage::Store::versions`].
pub(crate) async fn versions<T: Table>(
    core: &Core<T>,
    partitions: &[Partition],
) -> Result<Vec<u64>, StoreError> {
    // Behind the last pack that was seen lies the next one, if there is one.
    let seen: Vec<u64> =
        partitions.iter().map(|partition| core.ends.seen(partition).unwrap_or_default()).collect();
    let next: Vec<Place> =
        partitions.iter().zip(&seen).map(|(partition, seen)| pack::place_behind(partition, *seen)).collect();
    let moved = core.table.get(&next).await?;
    let version = |(seen, place): (u64, &Place)| {
        let name = moved.contains_key(place).then(|| place.partition.clone());
        async move {
            match name {
                Some(name) => pack::version(&core.table, &name).await,
                None => Ok(seen),
            }
        }
    };
    let versions = each(seen.into_iter().zip(&next).map(version)).await?;
    partitions.iter().zip(&versions).for_each(|(partition, version)| core.see(partition, *version));
    Ok(versions)
}

/// Entries behind versions; see [`tollgate_storage::Store::since`].
pub(crate) async fn since<T: Table>(
    core: &Core<T>,
    asked: &[(Partition, u64)],
) -> Result<Vec<Option<Vec<EntryChange>>>, StoreError> {
    let ranges = asked.iter().map(|(partition, version)| packs(&name_of(partition), *version, u64::MAX));
    let found = core.table.read_each(ranges.collect()).await?;
    let since = asked.iter().zip(found).map(|((partition, version), found)| async move {
        let entries = pack::entries_of_all(&core.table, partition, found).await?;
        // Where a version lies within a pack, nothing was read of that.
        let is_whole = match entries.first() {
            Some(first) => first.number() == version + 1,
            None => core.ends.seen(partition) == Some(*version),
        };
        if let (true, Some(latest)) = (is_whole, entries.last()) {
            core.see(partition, latest.number());
        }
        Ok(is_whole.then_some(entries))
    });
    each(since).await
}

/// Loads records; see [`tollgate_storage::Store::load`].
pub(crate) async fn load<T: Table>(core: &Core<T>, asked: &[Parts]) -> Result<Vec<Loaded>, StoreError> {
    let heads: Vec<Place> = asked.iter().map(|parts| head(&name_of(&parts.partition))).collect();
    let places = asked
        .iter()
        .zip(&heads)
        .flat_map(|(parts, head)| parts.keys.iter().filter_map(|key| place_of(&head.partition, key)));
    let items = core.table.get(&places.collect::<Vec<_>>()).await?;
    let items = &items;
    let mut loaded = each(asked.iter().map(|parts| async move {
        let loaded = load_in(core, parts, items).await;
        if has_moved(&loaded) { Ok(None) } else { loaded.map(Some) }
    }))
    .await?;
    // What was read is of the image if the image is still there.
    let now = core.table.get(&heads).await?;
    for ((parts, head), loaded) in asked.iter().zip(&heads).zip(&mut loaded) {
        if image_of(now.get(head)) != parts.image {
            *loaded = None;
        }
    }
    Ok(loaded)
}

/// Records of a partition, those of its image by the items that were read.
async fn load_in<T: Table>(
    core: &Core<T>,
    Parts { partition, image, keys }: &Parts,
    items: &HashMap<Place, Item>,
) -> Result<Vec<Option<Record>>, StoreError> {
    let entries = match partition {
        Partition::Org(org) => {
            let number =
                |key: &RecordKey| if let RecordKey::Entry(_, number) = key { Some(*number) } else { None };
            pack::entries(&core.table, org, keys.iter().filter_map(number).collect()).await?
        }
        Partition::System => HashMap::new(),
    };
    let mut records = each(keys.iter().map(|key| load_one(core, partition, *image, items, key))).await?;
    for (key, record) in keys.iter().zip(&mut records) {
        if let RecordKey::Entry(_, number) = key {
            *record = entries.get(number).map(|entry| Record::Entry(entry.clone().into()));
        }
    }
    Ok(records)
}

async fn load_one<T: Table>(
    core: &Core<T>,
    partition: &Partition,
    image: u64,
    items: &HashMap<Place, Item>,
    key: &RecordKey,
) -> Result<Option<Record>, StoreError> {
    let name = name_of(partition);
    match key {
        RecordKey::Org(_) | RecordKey::System => head_of(core, partition, &name).await,
        key => {
            let Some(place) = place_of(&name, key) else { return Ok(None) };
            let Some(item) = items.get(&place) else { return Ok(None) };
            let bytes = part_in(&core.table, image, &place, item).await?;
            bytes.map(|bytes| decoded(key, &bytes)).transpose()
        }
    }
}

/// Rows with what their cursors name them by; as many as were asked for, and then one more if there is one.
pub(crate) type Keyed = Vec<(Vec<u8>, Row)>;

/// Reads a page of a scan; see [`tollgate_storage::Store::scan`].
pub(crate) async fn scan<T: Table>(
    core: &Core<T>,
    scan: &Scan,
    from: Option<&Cursor>,
    limit: usize,
) -> Result<Page, StoreError> {
    assert!(limit > 0, "a page has room for a row");
    let after = from.map(|cursor| key_in(scan, cursor)).transpose()?;
    let limit = limit.min(PAGE_ROWS_MAX);
    // One row more than fits says that there are more.
    let wanted = limit + 1;
    let mut rows = match scan {
        Scan::Entries { org, order } => {
            let after = after.map(|key| number_in(scan, key)).transpose()?;
            scan_entries(core, &Partition::Org(org.clone()), *order, after, wanted).await?
        }
        Scan::SystemEntries => {
            let after = after.map(|key| number_in(scan, key)).transpose()?;
            scan_entries(core, &Partition::System, Order::Oldest, after, wanted).await?
        }
        Scan::Notices => {
            let after =
                after.map(|key| notices::place_in(key).ok_or_else(|| bad_cursor(scan))).transpose()?;
            notices::scan(core, after, wanted).await?
        }
        Scan::Orgs => {
            let after = after.map(|key| id_in(scan, key)).transpose()?;
            scan_orgs(core, after, wanted).await?
        }
        Scan::Unsent { org: None } => scan_unsent(core, scan, after, wanted).await?,
        Scan::Unsent { org: Some(org) }
        | Scan::OrgCounters { org, .. }
        | Scan::Tallies { org, .. }
        | Scan::PathTallies { org, .. } => scan_parts(core, scan, &of_org(org), after, wanted).await?,
        Scan::ApiKeys | Scan::Catalogs => {
            scan_parts(core, scan, &name_of(&Partition::System), after, wanted).await?
        }
    };
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|(key, _)| cursor_at(scan, key));
    Ok(Page { rows: rows.into_iter().map(|(_, row)| row).collect(), next })
}

/// The number in a cursor of entries.
fn number_in(scan: &Scan, key: &[u8]) -> Result<u64, StoreError> {
    key.try_into().map(u64::from_be_bytes).map_err(|_| bad_cursor(scan))
}

/// The org in a cursor of orgs.
fn id_in<'a>(scan: &Scan, key: &'a [u8]) -> Result<&'a [u8], StoreError> {
    let id = str::from_utf8(key).ok().filter(|text| OrgId::new(text).is_ok());
    id.map(str::as_bytes).ok_or_else(|| bad_cursor(scan))
}

async fn scan_entries<T: Table>(
    core: &Core<T>,
    partition: &Partition,
    order: Order,
    after: Option<u64>,
    wanted: usize,
) -> Result<Keyed, StoreError> {
    let name = name_of(partition);
    let newest_first = order == Order::Newest;
    let mut range = Range { newest_first, limit: wanted, ..packs(&name, 0, u64::MAX) };
    let mut rows = Keyed::new();
    let is_behind =
        |number: u64| after.is_none_or(|after| if newest_first { number < after } else { number > after });
    if let Some(after) = after {
        match order {
            // The pack that holds the first entry behind may begin before it.
            Order::Oldest => {
                let Some((place, _)) = pack::holding(&core.table, &name, after + 1).await? else {
                    return Ok(rows);
                };
                range.from = place.sort;
            }
            Order::Newest if after <= 1 => return Ok(rows),
            Order::Newest => range.until = packs(&name, 0, after - 2).until,
        }
    }
    loop {
        let read = core.table.read(&range).await?;
        let last = read.rows.last().map(|(sort, _)| sort.clone());
        for (sort, item) in read.rows {
            let place = Place { partition: name.clone(), sort };
            let mut entries = pack::entries_of(&core.table, partition, &place, &item).await?;
            if newest_first {
                entries.reverse();
            }
            rows.extend(entries.into_iter().filter(|entry| is_behind(entry.number())).map(keyed));
            if rows.len() >= wanted {
                return Ok(rows);
            }
        }
        let (Some(last), true) = (last, read.more) else { return Ok(rows) };
        match order {
            Order::Oldest => range.from = behind(&last),
            Order::Newest => match super::places::after_of(&last) {
                Some(first @ 1..) => range.until = packs(&name, 0, first - 1).until,
                _ => return Ok(rows),
            },
        }
    }
}

fn keyed(change: EntryChange) -> (Vec<u8>, Row) {
    let key = change.number().to_be_bytes().to_vec();
    match change {
        EntryChange::Org(entry) => (key, Row::Entry(entry)),
        EntryChange::System(entry) => (key, Row::SystemEntry(entry)),
    }
}

async fn scan_orgs<T: Table>(
    core: &Core<T>,
    after: Option<&[u8]>,
    wanted: usize,
) -> Result<Keyed, StoreError> {
    let mut range = list(ORGS, after.map(behind).unwrap_or_default(), wanted);
    let mut rows = Keyed::new();
    loop {
        let read = core.table.read(&range).await?;
        let Some((last, _)) = read.rows.last() else { return Ok(rows) };
        range.from = behind(last);
        let orgs = read.rows.iter().map(|(sort, _)| org_in(sort)).collect::<Result<Vec<OrgId>, _>>()?;
        let places: Vec<Place> = orgs.iter().map(|org| head(&of_org(org))).collect();
        let heads = core.table.get(&places).await?;
        let listed =
            orgs.iter().zip(&places).filter_map(|(org, place)| Some((org, place, heads.get(place)?)));
        rows.extend(each(listed.map(|(org, place, head)| org_row(core, org, place, head))).await?);
        if rows.len() >= wanted || !read.more {
            return Ok(rows);
        }
    }
}

/// The org in a list.
fn org_in(sort: &[u8]) -> Result<OrgId, StoreError> {
    let org = str::from_utf8(sort).ok().and_then(|text| OrgId::new(text).ok());
    org.ok_or_else(|| damaged("a list of orgs"))
}

/// The row of an org that has an image.
async fn org_row<T: Table>(
    core: &Core<T>,
    org: &OrgId,
    place: &Place,
    head: &Item,
) -> Result<(Vec<u8>, Row), StoreError> {
    let partition = Partition::Org(org.clone());
    let mut record = head_in(core, &partition, place, head).await;
    if has_moved(&record) {
        record = head_of(core, &partition, &of_org(org))
            .await
            .and_then(|head| head.ok_or_else(|| damaged("a head")));
    }
    match record? {
        Record::Org(found) => Ok((org.as_str().as_bytes().to_vec(), Row::Org(found.as_ref().clone()))),
        _ => Err(damaged("the head of an org")),
    }
}

async fn scan_unsent<T: Table>(
    core: &Core<T>,
    scan: &Scan,
    after: Option<&[u8]>,
    wanted: usize,
) -> Result<Keyed, StoreError> {
    let at = after.map(|key| org_day_of(key).ok_or_else(|| bad_cursor(scan))).transpose()?;
    // The org at which the page before ended may have more.
    let from = at.as_ref().map_or_else(Vec::new, |(org, _)| org.as_str().as_bytes().to_vec());
    let mut rows = Keyed::new();
    for (sort, _) in core.table.read_all(list(UNSENT, from, usize::MAX)).await? {
        let org = org_in(&sort)?;
        let after = at.as_ref().filter(|(of, _)| *of == org).and(after);
        let name = of_org(&org);
        let of_one = Scan::Unsent { org: Some(org) };
        rows.extend(scan_parts(core, &of_one, &name, after, wanted - rows.len()).await?);
        if rows.len() >= wanted {
            break;
        }
    }
    Ok(rows)
}

/// Reads parts of the image of one partition, all of the same image.
async fn scan_parts<T: Table>(
    core: &Core<T>,
    scan: &Scan,
    name: &str,
    after: Option<&[u8]>,
    wanted: usize,
) -> Result<Keyed, StoreError> {
    let Some(span) = span_of(scan, after)? else { return Ok(Vec::new()) };
    let mut again = 0;
    loop {
        let image = image_of(core.table.get_one(&head(name)).await?.as_ref());
        let rows = parts_in(core, scan, name, &span, image, wanted).await;
        let is_still = image_of(core.table.get_one(&head(name)).await?.as_ref()) == image;
        again += 1;
        if (is_still && !has_moved(&rows)) || again > PAGE_AGAIN_MAX {
            return rows;
        }
    }
}

async fn parts_in<T: Table>(
    core: &Core<T>,
    scan: &Scan,
    name: &str,
    span: &Span,
    image: u64,
    wanted: usize,
) -> Result<Keyed, StoreError> {
    let prefix = row_prefix(scan);
    let sort = |key: &[u8]| part_sort(span.table, key);
    let from = match &span.from {
        Bound::Included(key) => sort(key),
        Bound::Excluded(key) => behind(&sort(key)),
        Bound::Unbounded => sort(&prefix),
    };
    // All bounds above are excluded, and no row is at one.
    let until = match &span.until {
        Bound::Included(key) | Bound::Excluded(key) => sort(key),
        Bound::Unbounded => [sort(&prefix), vec![0xFF; 8]].concat(),
    };
    let start = sort(&prefix).len();
    let mut range = Range { partition: name.to_owned(), from, until, newest_first: false, limit: wanted };
    let mut rows = Keyed::new();
    loop {
        let read = core.table.read(&range).await?;
        let Some((last, _)) = read.rows.last() else { return Ok(rows) };
        range.from = behind(last);
        for (sort, item) in read.rows {
            let row_key = [prefix.as_slice(), sort.get(start..).unwrap_or_default()].concat();
            let place = Place { partition: name.to_owned(), sort };
            let Some(bytes) = part_in(&core.table, image, &place, &item).await? else { continue };
            if let Bound::Excluded(until) = &span.until
                && row_key >= *until
            {
                return Ok(rows);
            }
            let row = stored_row(scan, &row_key, &bytes);
            let damaged = |error: tollgate_storage::codec::DecodeError| {
                StoreError::new(error.kind(), format!("a row of {} in {name}: {error}", span.table.name()))
            };
            rows.push((row_key, row.map_err(damaged)?));
        }
        if rows.len() >= wanted || !read.more {
            return Ok(rows);
        }
    }
}

/// What the row keys of a scan begin with and sort keys do not say.
fn row_prefix(scan: &Scan) -> Vec<u8> {
    match scan {
        Scan::OrgCounters { org, meter, .. }
        | Scan::Tallies { org, meter }
        | Scan::PathTallies { org, meter } => meter_prefix(org, meter),
        Scan::Unsent { org: Some(org) } => org_prefix(org),
        _ => Vec::new(),
    }
}

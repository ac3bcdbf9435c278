//! Images: the head of a partition, and its parts.
//!
//! An image may have more parts than a database changes at once, so each part says of which version it is, and keeps what it was in
//! the image before. First the parts are written, each as it is at the new version, then the head, which says that this is the image now. Who reads
//! takes of each part the latest that is not newer than the head: as long as the head stays, so does what is read, however far another one has come.
//! What a part is at a version follows from the ledger alone, so it makes no difference who wrote it, nor whether that one came to the head: there is
//! nothing to lock.

use std::collections::HashMap;

use tollgate_domain::{Partition, Record, RecordKey};
use tollgate_storage::check::check_image;
use tollgate_storage::{Image, StoreError, StoreErrorKind};

use super::append::MARKED_AT;
use super::limits::MARK_KEPT_SECS;
use super::places::{BEHIND, ORGS, UNSENT, head, in_list, list, name_of, part_sort, partition_of};
use super::table::{Asked, Change, ENDS, Item, Place, Table, Value};
use super::value::{BODY, bytes_of, keep, pieces};
use super::{Core, each, now_secs, pack};
use crate::rows::{Table as RowTable, counter_end_secs, encode_record, row_key};

/// The version that a head is of.
pub(crate) const IMAGE: &str = "i";

/// How long what is nothing any more is remembered, in seconds: longer than anybody takes to write down what it was before.
const NOTHING_KEPT_SECS: u64 = 7 * 86_400;

/// The start of the names of what a part is at versions.
const AT: char = 'v';

fn name_at(version: u64) -> String {
    format!("{AT}{version}")
}

/// What a part is at the versions that are kept, oldest first: its bytes as they are kept, empty where it is nothing.
fn versions_of(item: &Item) -> Vec<(u64, &[u8])> {
    let mut versions: Vec<(u64, &[u8])> = item
        .0
        .iter()
        .filter_map(|(name, value)| match (name.strip_prefix(AT)?.parse().ok()?, value) {
            (version, Value::Bytes(bytes)) => Some((version, bytes.as_slice())),
            (_, Value::Number(_)) => None,
        })
        .collect();
    versions.sort_unstable_by_key(|(version, _)| *version);
    versions
}

/// The bytes of a part as an image has it; `None`: it has no such part.
pub(crate) async fn part_in<T: Table>(
    table: &Asked<T>,
    image: u64,
    place: &Place,
    item: &Item,
) -> Result<Option<Vec<u8>>, StoreError> {
    let in_image = versions_of(item).into_iter().rev().find(|(version, _)| *version <= image);
    match in_image {
        Some((version, kept)) if !kept.is_empty() => {
            bytes_of(table, place, &version.to_be_bytes(), kept).await.map(Some)
        }
        _ => Ok(None),
    }
}

/// The version of an image, by its head.
pub(crate) fn image_of(head: Option<&Item>) -> u64 {
    head.and_then(|head| head.number(IMAGE)).unwrap_or(0)
}

/// Where a record of an image is; `None`: in the head, or nowhere.
pub(crate) fn place_of(name: &str, key: &RecordKey) -> Option<Place> {
    if matches!(key, RecordKey::Org(_) | RecordKey::System) {
        return None;
    }
    let (table, row_key) = row_key(key)?;
    Some(Place { partition: name.to_owned(), sort: part_sort(table, &row_key) })
}

/// Keeps images; see [`tollgate_storage::Store::checkpoint`].
pub(crate) async fn checkpoint<T: Table>(core: &Core<T>, images: &[Image]) -> Result<(), StoreError> {
    images.iter().for_each(check_image);
    let places: Vec<Place> = images.iter().map(|image| head(&name_of(&image.partition))).collect();
    let heads = core.table.get(&places).await?;
    each(images.iter().map(|image| keep_image(core, image, &heads))).await.map(drop)
}

async fn keep_image<T: Table>(
    core: &Core<T>,
    image: &Image,
    heads: &HashMap<Place, Item>,
) -> Result<(), StoreError> {
    let name = name_of(&image.partition);
    let former = heads.get(&head(&name));
    let former_version = image_of(former);
    if image.version <= former_version {
        return Ok(());
    }
    let places: Vec<Place> = image.records.iter().filter_map(|(key, _)| place_of(&name, key)).collect();
    let known = if former.is_some() { core.table.get(&places).await? } else { HashMap::new() };
    let kept = image
        .records
        .iter()
        .map(|(key, record)| keep_part(core, image, former_version, &known, (key, record)));
    each(kept).await?;
    if let Partition::Org(org) = &image.partition {
        // What is listed is looked for, and what is not listed is never found.
        if former.is_none() {
            core.table.change(&in_list(ORGS, org.as_str()), &Change::default()).await?;
        }
        let unsent = |(_, record): &(RecordKey, Record)| matches!(record, Record::Unsent(unsent) if !unsent.is_empty());
        if image.records.iter().any(unsent) {
            core.table.change(&in_list(UNSENT, org.as_str()), &Change::default()).await?;
        }
    }
    keep_head(core, image, former).await
}

async fn keep_head<T: Table>(core: &Core<T>, image: &Image, former: Option<&Item>) -> Result<(), StoreError> {
    let is_head = |(_, record): &&(RecordKey, Record)| matches!(record, Record::Org(_) | Record::System(_));
    let Some((_, record)) = image.records.iter().find(is_head) else { return Ok(()) };
    let place = head(&name_of(&image.partition));
    let body = keep(&core.table, &place, &image.version.to_be_bytes(), &encode_record(record)).await?;
    let set = [(IMAGE.to_owned(), Value::Number(image.version)), (BODY.to_owned(), Value::Bytes(body))];
    let change = Change { set: set.into(), remove: Vec::new(), below: Some((IMAGE, image.version)) };
    core.table.change(&place, &change).await?;
    let former = former.and_then(|item| Some((item.number(IMAGE)?, item.bytes(BODY)?)));
    if let Some((version, kept)) = former {
        remove_pieces(core, &place, version, kept).await?;
    }
    Ok(())
}

/// Writes down what a part is at the version of an image, beside what it is in the one before, and removes what is older.
async fn keep_part<T: Table>(
    core: &Core<T>,
    image: &Image,
    former: u64,
    known: &HashMap<Place, Item>,
    (key, record): (&RecordKey, &Record),
) -> Result<(), StoreError> {
    let Some(place) = place_of(&name_of(&image.partition), key) else { return Ok(()) };
    let mut change = Change::default();
    let versions = known.get(&place).map(versions_of).unwrap_or_default();
    let in_former = versions.iter().rposition(|(version, _)| *version <= former).unwrap_or(0);
    let old = versions.get(..in_former).unwrap_or_default();
    change.remove.extend(old.iter().map(|(version, _)| name_at(*version)));
    let (body, ends) = match record.is_nothing() {
        true => (Vec::new(), Some(now_secs() + NOTHING_KEPT_SECS)),
        false => {
            let token = image.version.to_be_bytes();
            (keep(&core.table, &place, &token, &encode_record(record)).await?, end_of(core, key))
        }
    };
    change.set.insert(name_at(image.version), Value::Bytes(body));
    match ends {
        Some(ends) => drop(change.set.insert(ENDS.to_owned(), Value::Number(ends))),
        None => change.remove.push(ENDS.to_owned()),
    }
    core.table.change(&place, &change).await?;
    for (version, kept) in old {
        remove_pieces(core, &place, *version, kept).await?;
    }
    Ok(())
}

/// When a part may be forgotten.
fn end_of<T>(core: &Core<T>, key: &RecordKey) -> Option<u64> {
    let keep_secs = core.keeping.counter_secs?;
    let (RowTable::Counters, row_key) = row_key(key)? else { return None };
    u64::try_from(counter_end_secs(&row_key)?.saturating_add(keep_secs)).ok()
}

async fn remove_pieces<T: Table>(
    core: &Core<T>,
    place: &Place,
    version: u64,
    kept: &[u8],
) -> Result<(), StoreError> {
    for piece in pieces(place, &version.to_be_bytes(), kept) {
        core.table.remove(&piece, None).await?;
    }
    Ok(())
}

/// Finds what is behind; see [`tollgate_storage::Store::behind`].
pub(crate) async fn behind<T: Table>(core: &Core<T>) -> Result<Vec<Partition>, StoreError> {
    let marks = core.table.read_all(list(BEHIND, Vec::new(), usize::MAX)).await?;
    let bad = || StoreError::new(StoreErrorKind::Corrupt, "a mark of no partition");
    let marked = marks.iter().map(|(sort, mark)| Ok((partition_of(sort).ok_or_else(bad)?, mark)));
    let marked = marked.collect::<Result<Vec<(Partition, &Item)>, StoreError>>()?;
    let places: Vec<Place> = marked.iter().map(|(partition, _)| head(&name_of(partition))).collect();
    let heads = core.table.get(&places).await?;
    let looked_at = marked.into_iter().zip(&places);
    let looked_at =
        looked_at.map(|((partition, mark), place)| look_at(core, partition, mark, heads.get(place)));
    Ok(each(looked_at).await?.into_iter().flatten().collect())
}

/// A partition that was marked, if its image lacks entries; otherwise an old mark is removed.
async fn look_at<T: Table>(
    core: &Core<T>,
    partition: Partition,
    mark: &Item,
    head: Option<&Item>,
) -> Result<Option<Partition>, StoreError> {
    let name = name_of(&partition);
    if pack::version(&core.table, &name).await? > image_of(head) {
        return Ok(Some(partition));
    }
    let marked = mark.number(MARKED_AT).unwrap_or_default();
    if marked + MARK_KEPT_SECS < now_secs() {
        core.table.remove(&in_list(BEHIND, name), Some((MARKED_AT, marked))).await?;
    }
    Ok(None)
}

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

/// An image that is to be kept.
struct Keeping<'a> {
    image: &'a Image,
    name: String,
    /// The head that it replaces.
    former: Option<&'a Item>,
}

/// What replaces items, and the pieces that nobody needs once it has.
#[derive(Default)]
struct Replaced {
    changes: Vec<(Place, Change)>,
    pieces: Vec<Place>,
}

impl Replaced {
    /// Makes the changes, all of them together.
    async fn make<T: Table>(self, core: &Core<T>) -> Result<(), StoreError> {
        core.table.change(&self.changes).await?;
        each(self.pieces.iter().map(|piece| core.table.remove(piece, None))).await.map(drop)
    }
}

impl FromIterator<((Place, Change), Vec<Place>)> for Replaced {
    fn from_iter<I: IntoIterator<Item = ((Place, Change), Vec<Place>)>>(all: I) -> Self {
        let (changes, pieces): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        Self { changes, pieces: pieces.concat() }
    }
}

/// Keeps images; see [`tollgate_storage::Store::checkpoint`]. Each step is made of all of them together.
pub(crate) async fn checkpoint<T: Table>(core: &Core<T>, images: &[Image]) -> Result<(), StoreError> {
    images.iter().for_each(check_image);
    let places: Vec<Place> = images.iter().map(|image| head(&name_of(&image.partition))).collect();
    let heads = core.table.get(&places).await?;
    let newer = images.iter().zip(&places).filter_map(|(image, place)| {
        let former = heads.get(place);
        (image.version > image_of(former)).then(|| Keeping { image, name: place.partition.clone(), former })
    });
    let newer: Vec<Keeping<'_>> = newer.collect();
    let parts = newer.iter().flat_map(|keeping| {
        let parts = keeping.image.records.iter();
        parts.filter_map(move |part| Some((keeping, place_of(&keeping.name, &part.0)?, part)))
    });
    let parts: Vec<(&Keeping<'_>, Place, &(RecordKey, Record))> = parts.collect();
    let to_replace = parts.iter().filter(|(keeping, ..)| keeping.former.is_some());
    let to_replace: Vec<Place> = to_replace.map(|(_, place, _)| place.clone()).collect();
    let known = core.table.get(&to_replace).await?;
    let replaced =
        parts.into_iter().map(|(keeping, place, part)| replace_part(core, keeping, place, &known, part));
    let replaced: Replaced = each(replaced).await?.into_iter().collect();
    replaced.make(core).await?;
    // What is listed is looked for, and what is not listed is never found.
    core.table.put(&newer.iter().flat_map(listed).collect::<Vec<_>>()).await?;
    let heads = each(newer.iter().map(|keeping| replace_head(core, keeping))).await?;
    let heads: Replaced = heads.into_iter().flatten().collect();
    heads.make(core).await
}

/// The lists that an image is to be found in and may not be yet.
fn listed(Keeping { image, former, .. }: &Keeping<'_>) -> Vec<(Place, Item)> {
    let Partition::Org(org) = &image.partition else { return Vec::new() };
    let is_unsent =
        |(_, record): &(RecordKey, Record)| matches!(record, Record::Unsent(unsent) if !unsent.is_empty());
    let lists = [(ORGS, former.is_none()), (UNSENT, image.records.iter().any(is_unsent))];
    let lists = lists.into_iter().filter(|(_, is_in)| *is_in);
    lists.map(|(list, _)| (in_list(list, org.as_str()), Item::default())).collect()
}

/// What makes an image the one that is read.
async fn replace_head<T: Table>(
    core: &Core<T>,
    Keeping { image, name, former }: &Keeping<'_>,
) -> Result<Option<((Place, Change), Vec<Place>)>, StoreError> {
    let is_head = |(_, record): &&(RecordKey, Record)| matches!(record, Record::Org(_) | Record::System(_));
    let Some((_, record)) = image.records.iter().find(is_head) else { return Ok(None) };
    let place = head(name);
    let body = keep(&core.table, &place, &image.version.to_be_bytes(), &encode_record(record)).await?;
    let set = [(IMAGE.to_owned(), Value::Number(image.version)), (BODY.to_owned(), Value::Bytes(body))];
    let change = Change { set: set.into(), remove: Vec::new(), below: Some((IMAGE, image.version)) };
    let former = former.and_then(|item| Some((item.number(IMAGE)?, item.bytes(BODY)?)));
    let old = former.map(|(version, kept)| pieces(&place, &version.to_be_bytes(), kept)).unwrap_or_default();
    Ok(Some(((place, change), old)))
}

/// What writes down a part as it is at the version of an image, beside what it is in the one before, and removes what is older.
async fn replace_part<T: Table>(
    core: &Core<T>,
    Keeping { image, former, .. }: &Keeping<'_>,
    place: Place,
    known: &HashMap<Place, Item>,
    (key, record): &(RecordKey, Record),
) -> Result<((Place, Change), Vec<Place>), StoreError> {
    let mut change = Change::default();
    let versions = known.get(&place).map(versions_of).unwrap_or_default();
    let in_former = versions.iter().rposition(|(version, _)| *version <= image_of(*former)).unwrap_or(0);
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
    let old = old.iter().flat_map(|(version, kept)| pieces(&place, &version.to_be_bytes(), kept)).collect();
    Ok(((place, change), old))
}

/// When a part may be forgotten.
fn end_of<T>(core: &Core<T>, key: &RecordKey) -> Option<u64> {
    let keep_secs = core.keeping.counter_secs?;
    let (RowTable::Counters, row_key) = row_key(key)? else { return None };
    u64::try_from(counter_end_secs(&row_key)?.saturating_add(keep_secs)).ok()
}

/// Finds what is behind; see [`tollgate_storage::Store::behind`].
pub(crate) async fn behind<T: Table>(core: &Core<T>) -> Result<Vec<Partition>, StoreError> {
    let marks = core.table.read_all(list(BEHIND, Vec::new(), usize::MAX)).await?;
    let bad = || StoreError::new(StoreErrorKind::Corrupt, "a mark of no partition");
    let marked = marks.iter().map(|(sort, mark)| Ok((partition_of(sort).ok_or_else(bad)?, mark)));
    let marked = marked.collect::<Result<Vec<(Partition, &Item)>, StoreError>>()?;
    let places: Vec<Place> = marked.iter().map(|(partition, _)| head(&name_of(partition))).collect();
    let heads = core.table.get(&places).await?;
    // Behind the last entry that an image has lies the pack of the next, if there is one.
    let next = marked
        .iter()
        .zip(&places)
        .map(|((partition, _), place)| pack::place_behind(partition, image_of(heads.get(place))));
    let next: Vec<Place> = next.collect();
    let packs = core.table.get(&next).await?;
    let (behind, whole): (Vec<_>, Vec<_>) =
        marked.into_iter().zip(next).partition(|(_, next)| packs.contains_key(next));
    let removed = whole.iter().map(|((_, mark), next)| remove_old_mark(core, &next.partition, mark));
    each(removed).await?;
    Ok(behind.into_iter().map(|((partition, _), _)| partition).collect())
}

/// Removes the mark of a partition whose image lacks nothing, if it is old.
async fn remove_old_mark<T: Table>(core: &Core<T>, name: &str, mark: &Item) -> Result<(), StoreError> {
    let marked = mark.number(MARKED_AT).unwrap_or_default();
    if marked + MARK_KEPT_SECS < now_secs() {
        core.table.remove(&in_list(BEHIND, name), Some((MARKED_AT, marked))).await?;
    }
    Ok(())
}

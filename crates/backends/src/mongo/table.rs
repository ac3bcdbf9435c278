//! A collection of MongoDB.

use std::collections::HashMap;
use std::future::IntoFuture;

use futures_util::TryStreamExt;
use mongodb::action::Find;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Document, deserialize_from_document, doc, serialize_to_bson};
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{
    Acknowledgment, ClientOptions, IndexOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern,
};
use mongodb::{Client, Collection, Database, IndexModel};
use serde::Deserialize;
use tokio::time::timeout;
use tollgate_storage::{StoreError, StoreErrorKind};

use super::error::{failure, is_duplicate, not_written};
use super::options::{DATABASE_DEFAULT, MongoOptions};
use crate::asking::Outcome;
use crate::packs::limits::{ANSWER_TIMEOUT, CONNECT_TIMEOUT};
use crate::packs::table::{Change, ENDS, Failure, Item, Place, Range, Rows, Sorted, Table, Value};

/// Most documents of one read.
const READ_MAX: usize = 300;

/// Most ranges of one read.
const RANGES_AT_ONCE: usize = 64;

/// Most documents of one command that makes them.
const INSERTS_AT_ONCE: usize = 500;

/// Most documents of one command that changes them: small enough that what is appended meanwhile does not wait for long.
const UPDATES_AT_ONCE: usize = 100;

/// A collection, as a table of packs.
#[derive(Debug)]
pub struct MongoTable {
    client: Client,
    database: Database,
    documents: Collection<Document>,
}

impl MongoTable {
    /// Reads who asks, and where; asks nothing of the servers yet.
    pub(crate) async fn connect(options: MongoOptions) -> Result<Self, StoreError> {
        let bad = |error: Error| {
            StoreError::new(StoreErrorKind::Format, "the URL of MongoDB cannot be used").caused_by(error)
        };
        let mut client = ClientOptions::parse(&options.url).await.map_err(bad)?;
        client.app_name.get_or_insert_with(|| "tollgate".to_owned());
        client.connect_timeout.get_or_insert(CONNECT_TIMEOUT);
        client.server_selection_timeout = Some(ANSWER_TIMEOUT);
        // Asking again is up to the store, which knows what an attempt may have done.
        client.retry_writes = Some(false);
        client.retry_reads = Some(false);
        client.write_concern = Some(
            WriteConcern::builder()
                .w(Acknowledgment::Majority)
                .journal(true)
                .w_timeout(ANSWER_TIMEOUT)
                .build(),
        );
        client.read_concern = Some(ReadConcern::majority());
        client.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        let database = client.default_database.clone().unwrap_or_else(|| DATABASE_DEFAULT.to_owned());
        let client = Client::with_options(client).map_err(bad)?;
        let database = client.database(&database);
        let documents = database.collection(&options.collection);
        Ok(Self { client, database, documents })
    }

    /// Makes documents by one command.
    async fn insert_some(&self, items: &[(Place, Item)]) -> Vec<Result<bool, Failure>> {
        let documents: Vec<Document> = items.iter().map(|(place, item)| document_of(place, item)).collect();
        let inserted = answer(self.documents.insert_many(&documents).ordered(false));
        let error = match inserted.await {
            Ok(Ok(_)) => return items.iter().map(|_| Ok(true)).collect(),
            Ok(Err(error)) => error,
            Err(_) => return items.iter().map(|_| Err(late())).collect(),
        };
        let ErrorKind::InsertMany(of_each) = error.kind.as_ref() else {
            return items.iter().map(|_| Err(failure(error.clone()))).collect();
        };
        let refused: HashMap<usize, i32> =
            of_each.write_errors.iter().flatten().map(|error| (error.index, error.code)).collect();
        // Without that also what is in the place of a document is not yet so for good.
        let is_durable = of_each.write_concern_error.is_none();
        let said = |index: usize| match refused.get(&index) {
            Some(code) if !is_duplicate(*code) => Err(not_written(*code)),
            _ if !is_durable => Err(failure(error.clone())),
            said => Ok(said.is_none()),
        };
        (0..items.len()).map(said).collect()
    }

    /// Makes updates by one command, each by itself; the codes of those that were refused, by their places.
    async fn update(&self, updates: Vec<Document>) -> Result<HashMap<usize, i32>, Failure> {
        let concern = serialize_to_bson(&self.documents.write_concern());
        let command = doc! {
            "update": self.documents.name(),
            "updates": updates,
            "ordered": false,
            "writeConcern": concern.map_err(|error| failure(error.into()))?,
        };
        let said = in_time(self.database.run_command(command)).await?;
        let said: Said = deserialize_from_document(said).map_err(|error| failure(error.into()))?;
        match said.concern {
            Some(error) => Err(not_written(error.code)),
            None => Ok(said.errors.into_iter().map(|error| (error.index, error.code)).collect()),
        }
    }

    /// Finds what is there now: a primary that lost the others without knowing it yet does not answer.
    fn now(&self, filter: Document) -> Find<'_, Document> {
        self.documents.find(filter).read_concern(ReadConcern::linearizable()).max_time(ANSWER_TIMEOUT)
    }
}

/// What a command of writes answers.
#[derive(Deserialize)]
struct Said {
    #[serde(rename = "writeErrors", default)]
    errors: Vec<OfOne>,
    /// Without it also what is there is not yet so for good.
    #[serde(rename = "writeConcernError")]
    concern: Option<OfAll>,
}

#[derive(Deserialize)]
struct OfOne {
    index: usize,
    code: i32,
}

#[derive(Deserialize)]
struct OfAll {
    code: i32,
}

/// What a command gives; one that takes too long may have been done. The driver itself waits for as long as there is a connection.
async fn answer<T>(command: impl IntoFuture<Output = Result<T, Error>>) -> Result<Result<T, Error>, Failure> {
    timeout(ANSWER_TIMEOUT, command).await.map_err(|_| late())
}

fn late() -> Failure {
    Failure::new(Outcome::Unknown, StoreErrorKind::Io, "MongoDB does not answer")
}

/// The same, where every error is a failure.
async fn in_time<T>(command: impl IntoFuture<Output = Result<T, Error>>) -> Result<T, Failure> {
    answer(command).await?.map_err(failure)
}

/// The id of a document: the partition and the sort key, each byte of which is a character, for texts sort as their characters do, and
/// binary values by their length first.
fn id_of(partition: &str, sort: &[u8]) -> String {
    let mut id = format!("{partition}\0");
    id.extend(sort.iter().map(|byte| char::from(*byte)));
    id
}

/// The partition and the sort key of an id.
fn place_in(id: &str) -> Option<Place> {
    let (partition, sort) = id.split_once('\0')?;
    let sort: Option<Vec<u8>> = sort.chars().map(|letter| u8::try_from(letter).ok()).collect();
    Some(Place { partition: partition.to_owned(), sort: sort? })
}

fn bson_of(name: &str, value: &Value) -> Bson {
    match value {
        Value::Number(number) if name == ENDS => {
            let millis = i64::try_from(*number).unwrap_or(i64::MAX).saturating_mul(1_000);
            Bson::DateTime(DateTime::from_millis(millis))
        }
        Value::Number(number) => Bson::Int64(i64::try_from(*number).unwrap_or(i64::MAX)),
        Value::Bytes(bytes) => Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: bytes.clone() }),
    }
}

/// The place and the values in a document; what is not ours is passed over.
fn item_in(document: Document) -> Option<(Place, Item)> {
    let place = place_in(document.get_str("_id").ok()?)?;
    let mut item = Item::default();
    for (name, value) in document {
        let value = match value {
            Bson::Int64(number) => u64::try_from(number).ok().map(Value::Number),
            Bson::DateTime(time) => u64::try_from(time.timestamp_millis() / 1_000).ok().map(Value::Number),
            Bson::Binary(binary) => Some(Value::Bytes(binary.bytes)),
            _ => None,
        };
        item.0.extend(value.map(|value| (name, value)));
    }
    Some((place, item))
}

fn document_of(place: &Place, item: &Item) -> Document {
    let mut document = doc! { "_id": id_of(&place.partition, &place.sort) };
    document.extend(item.0.iter().map(|(name, value)| (name.clone(), bson_of(name, value))));
    document
}

fn filter_of(place: &Place) -> Document {
    doc! { "_id": id_of(&place.partition, &place.sort) }
}

fn filter_of_range(range: &Range) -> Document {
    let bound = |sort: &[u8]| id_of(&range.partition, sort);
    doc! { "_id": { "$gte": bound(&range.from), "$lte": bound(&range.until) } }
}

/// The item of a change, if it is as expected.
fn filter_of_change(place: &Place, change: &Change) -> Document {
    let mut filter = filter_of(place);
    if let Some((name, number)) = change.below {
        let number = bson_of(name, &Value::Number(number));
        filter.insert("$or", vec![doc! { name: { "$exists": false } }, doc! { name: { "$lt": number } }]);
    }
    filter
}

fn update_of(change: &Change) -> Document {
    let set: Document = change.set.iter().map(|(name, value)| (name.clone(), bson_of(name, value))).collect();
    let unset: Document = change.remove.iter().map(|name| (name.clone(), Bson::Null)).collect();
    let mut update = doc! { "$set": set };
    if !unset.is_empty() {
        update.insert("$unset", unset);
    }
    update
}

impl Table for MongoTable {
    const THREAD: &'static str = "tollgate-mongo";
    const PUTS_MAX: usize = UPDATES_AT_ONCE;
    const CHANGES_MAX: usize = UPDATES_AT_ONCE;
    const RANGES_MAX: usize = RANGES_AT_ONCE;

    async fn prepare(&self, migrate: bool) -> Result<(), Failure> {
        let hello = in_time(self.client.database("admin").run_command(doc! { "hello": 1 })).await?;
        if !hello.contains_key("setName") && hello.get_str("msg").ok() != Some("isdbgrid") {
            let text = "the server is no member of a replica set: it cannot say what a majority has";
            return Err(Failure::new(Outcome::Refused, StoreErrorKind::Format, text));
        }
        if migrate {
            let options =
                IndexOptions::builder().name(ENDS.to_owned()).expire_after(std::time::Duration::ZERO);
            let index = IndexModel::builder().keys(doc! { ENDS: 1 }).options(options.build()).build();
            return in_time(self.documents.create_index(index)).await.map(drop);
        }
        let names = match answer(self.documents.list_index_names()).await? {
            Err(error) if is_no_collection(&error) => Vec::new(),
            names => names.map_err(failure)?,
        };
        if names.iter().any(|name| name == ENDS) {
            return Ok(());
        }
        let text = "the collection lacks its index and `migrate=off` was given; run `tollgate migrate`";
        Err(Failure::new(Outcome::Refused, StoreErrorKind::Format, text))
    }

    async fn insert(&self, items: &[(Place, Item)]) -> Vec<Result<bool, Failure>> {
        let mut made = Vec::with_capacity(items.len());
        for some in items.chunks(INSERTS_AT_ONCE) {
            made.extend(self.insert_some(some).await);
        }
        made
    }

    async fn put(&self, items: &[(Place, Item)]) -> Result<(), Failure> {
        let updates = items.iter().map(
            |(place, item)| doc! { "q": filter_of(place), "u": document_of(place, item), "upsert": true },
        );
        let refused = self.update(updates.collect()).await?;
        refused.into_values().next().map_or(Ok(()), |code| Err(not_written(code)))
    }

    async fn change(&self, changes: &[(Place, Change)]) -> Result<Vec<bool>, Failure> {
        let updates = changes.iter().map(|(place, change)| {
            doc! { "q": filter_of_change(place, change), "u": update_of(change), "upsert": true }
        });
        let refused = self.update(updates.collect()).await?;
        let mut made = vec![true; changes.len()];
        for (index, code) in refused {
            if !is_duplicate(code) {
                return Err(not_written(code));
            }
            // There is one, which another process just made, or whose number is higher.
            let (Some((place, change)), Some(made)) = (changes.get(index), made.get_mut(index)) else {
                continue;
            };
            let changed = self.documents.update_one(filter_of_change(place, change), update_of(change));
            *made = in_time(changed).await?.matched_count == 1;
        }
        Ok(made)
    }

    async fn remove(&self, place: &Place, only: Option<(&'static str, u64)>) -> Result<(), Failure> {
        let mut filter = filter_of(place);
        if let Some((name, number)) = only {
            filter.insert(name, bson_of(name, &Value::Number(number)));
        }
        in_time(self.documents.delete_one(filter)).await.map(drop)
    }

    async fn get(&self, places: &[Place]) -> Result<HashMap<Place, Item>, Failure> {
        let ids: Vec<String> = places.iter().map(|place| id_of(&place.partition, &place.sort)).collect();
        let find = self.now(doc! { "_id": { "$in": ids } });
        let found: Vec<Document> = in_time(async { find.await?.try_collect().await }).await?;
        Ok(found.into_iter().filter_map(item_in).collect())
    }

    async fn read(&self, range: &Range) -> Result<Rows, Failure> {
        let limit = range.limit.min(READ_MAX);
        let find = self
            .now(filter_of_range(range))
            .sort(doc! { "_id": if range.newest_first { -1 } else { 1 } })
            .limit(i64::try_from(limit).unwrap_or(i64::MAX));
        let found: Vec<Document> = in_time(async { find.await?.try_collect().await }).await?;
        let more = found.len() == limit;
        let rows = found.into_iter().filter_map(item_in).map(|(place, item)| (place.sort, item));
        Ok(Rows { rows: rows.collect(), more })
    }

    async fn read_each(&self, ranges: &[Range]) -> Result<Vec<Rows>, Failure> {
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        let of_any = doc! { "$or": ranges.iter().map(filter_of_range).collect::<Vec<_>>() };
        let limit = READ_MAX.max(2 * ranges.len());
        let find = self.now(of_any).sort(doc! { "_id": 1 }).limit(i64::try_from(limit).unwrap_or(i64::MAX));
        let found: Vec<Document> = in_time(async { find.await?.try_collect().await }).await?;
        // Whatever would come behind the last was not read.
        let last =
            (found.len() == limit).then(|| found.last()?.get_str("_id").ok().map(str::to_owned)).flatten();
        let mut rows = HashMap::<String, Sorted>::new();
        for (place, item) in found.into_iter().filter_map(item_in) {
            rows.entry(place.partition).or_default().push((place.sort, item));
        }
        let of_range = |range: &Range| {
            let more = last.as_ref().is_some_and(|last| id_of(&range.partition, &range.until) > *last);
            Rows { rows: rows.remove(&range.partition).unwrap_or_default(), more }
        };
        Ok(ranges.iter().map(of_range).collect())
    }
}

/// Whether there is no such collection.
fn is_no_collection(error: &Error) -> bool {
    const NAMESPACE_NOT_FOUND: i32 = 26;
    matches!(error.kind.as_ref(), ErrorKind::Command(said) if said.code == NAMESPACE_NOT_FOUND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_as_places_do_and_say_them() {
        let sorts: [&[u8]; 6] = [&[], &[0], &[0, 255], &[1], &[127, 0], &[128]];
        let ids = sorts.map(|sort| id_of("o:acme", sort));
        assert!(ids.is_sorted(), "{ids:?}");
        let places = ids.map(|id| place_in(&id).expect("a place"));
        assert_eq!(places.map(|place| place.sort), sorts.map(<[u8]>::to_vec));
        assert!(id_of("o:acme", &[255; 9]) < id_of("o:acme ", &[]));
    }
}

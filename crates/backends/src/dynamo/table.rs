//! A table of DynamoDB.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::Config;
use aws_sdk_dynamodb::config::Credentials;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::update_time_to_live::UpdateTimeToLiveError;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, ConsumedCapacity, KeySchemaElement, KeyType,
    KeysAndAttributes, ProvisionedThroughput, PutRequest, ReturnConsumedCapacity, ScalarAttributeType,
    TableDescription, TableStatus, TimeToLiveSpecification, TimeToLiveStatus, WriteRequest,
};
use futures_util::future::join_all;
use tollgate_aws::Access;
use tollgate_storage::{StoreError, StoreErrorKind};

use super::error::{failure, says};
use super::{Consumed, DynamoOptions};
use crate::asking::Outcome;
use crate::packs::limits::{ANSWER_TIMEOUT, CONNECT_TIMEOUT};
use crate::packs::table::{Change, ENDS, Failure, Item, Place, Range, Rows, Table, Value};

/// The attributes of a place.
const PARTITION: &str = "pk";
const SORT: &str = "sk";

/// How often it is looked whether a table that is being made is there, and how many times.
const MADE_EVERY: Duration = Duration::from_millis(100);
const MADE_LOOKS: u32 = 1_200;

/// Most items that DynamoDB takes in one request that puts them.
const BATCH_PUTS_MAX: usize = 25;

/// Requests of one call that are under way at once.
const PUTS_AT_ONCE: usize = 32;

type Attributes = HashMap<String, AttributeValue>;

/// A table of DynamoDB, as a table of packs.
#[derive(Debug)]
pub struct DynamoTable {
    client: Client,
    options: DynamoOptions,
    consumed: Mutex<Consumed>,
}

impl DynamoTable {
    /// Finds out who asks, and where; asks nothing of DynamoDB yet.
    pub(crate) async fn connect(options: DynamoOptions) -> Result<Self, StoreError> {
        let (region, endpoint) = (options.region.clone(), options.endpoint.clone());
        let access = Access { region, endpoint, connect: CONNECT_TIMEOUT, answer: ANSWER_TIMEOUT };
        let config = access.load().await;
        if config.region().is_none() {
            let text = "no region: name one with `region` in the URL, or with AWS_REGION";
            return Err(StoreError::new(StoreErrorKind::Format, text));
        }
        let mut config = Config::from(&config);
        if let Some((key, secret)) = &options.credentials {
            let credentials = Credentials::new(key, secret, None, None, "url");
            config = config.to_builder().credentials_provider(credentials).build();
        }
        Ok(Self { client: Client::from_conf(config), options, consumed: Mutex::default() })
    }

    pub(crate) fn consumed(&self) -> Consumed {
        *self.consumed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_read(&self, units: Option<&ConsumedCapacity>) {
        self.count(|consumed| {
            consumed.read_units += units.and_then(ConsumedCapacity::capacity_units).unwrap_or(0.0);
        });
    }

    fn count_write(&self, units: Option<&ConsumedCapacity>) {
        self.count(|consumed| {
            consumed.write_units += units.and_then(ConsumedCapacity::capacity_units).unwrap_or(0.0);
        });
    }

    fn count(&self, count: impl FnOnce(&mut Consumed)) {
        count(&mut self.consumed.lock().unwrap_or_else(PoisonError::into_inner));
    }

    async fn insert_one(&self, (place, item): &(Place, Item)) -> Result<bool, Failure> {
        let put = self
            .client
            .put_item()
            .table_name(&self.options.table)
            .set_item(Some(attributes_of(place, item)))
            .condition_expression("attribute_not_exists(#pk)")
            .expression_attribute_names("#pk", PARTITION)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        match put.send().await {
            Ok(output) => {
                self.count_write(output.consumed_capacity());
                Ok(true)
            }
            Err(error) if says(&error, "ConditionalCheckFailedException") => Ok(false),
            Err(error) => Err(failure(error)),
        }
    }

    async fn change_one(&self, place: &Place, change: &Change) -> Result<bool, Failure> {
        let mut terms = Terms::default();
        let update = terms.update(change);
        let condition = change.below.map(|(name, number)| {
            let (name, value) = (terms.name(name), terms.value(AttributeValue::N(number.to_string())));
            format!("attribute_not_exists({name}) OR {name} < {value}")
        });
        let request = self
            .client
            .update_item()
            .table_name(&self.options.table)
            .set_key(Some(key_of(place)))
            .set_update_expression(update)
            .set_condition_expression(condition)
            .set_expression_attribute_names((!terms.names.is_empty()).then_some(terms.names))
            .set_expression_attribute_values((!terms.values.is_empty()).then_some(terms.values))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        match request.send().await {
            Ok(output) => {
                self.count_write(output.consumed_capacity());
                Ok(true)
            }
            Err(error) if says(&error, "ConditionalCheckFailedException") => Ok(false),
            Err(error) => Err(failure(error)),
        }
    }

    async fn describe(&self) -> Result<Option<TableDescription>, Failure> {
        match self.client.describe_table().table_name(&self.options.table).send().await {
            Ok(output) => Ok(output.table),
            Err(error) if says(&error, "ResourceNotFoundException") => Ok(None),
            Err(error) => Err(failure(error)),
        }
    }

    async fn make(&self) -> Result<(), Failure> {
        let mut create = self.client.create_table().table_name(&self.options.table);
        for (name, role, kind) in [
            (PARTITION, KeyType::Hash, ScalarAttributeType::S),
            (SORT, KeyType::Range, ScalarAttributeType::B),
        ] {
            let definition = AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build();
            let element = KeySchemaElement::builder().attribute_name(name).key_type(role).build();
            create = create
                .attribute_definitions(definition.map_err(unbuilt)?)
                .key_schema(element.map_err(unbuilt)?);
        }
        create = match self.options.capacity {
            None => create.billing_mode(BillingMode::PayPerRequest),
            Some((read, write)) => {
                let units = ProvisionedThroughput::builder()
                    .read_capacity_units(i64::from(read))
                    .write_capacity_units(i64::from(write));
                create
                    .billing_mode(BillingMode::Provisioned)
                    .provisioned_throughput(units.build().map_err(unbuilt)?)
            }
        };
        match create.send().await {
            Ok(_) => {
                tracing::info!(table = self.options.table, "the table was made");
                Ok(())
            }
            // Another process makes it.
            Err(error) if says(&error, "ResourceInUseException") => Ok(()),
            Err(error) => Err(failure(error)),
        }
    }

    /// Has what ends forgotten.
    async fn forget_what_ends(&self, migrate: bool) -> Result<(), Failure> {
        let table = &self.options.table;
        let described =
            self.client.describe_time_to_live().table_name(table).send().await.map_err(failure)?;
        let described = described.time_to_live_description();
        let status = described.and_then(|described| described.time_to_live_status());
        if matches!(status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)) {
            return Ok(());
        }
        if !migrate {
            tracing::warn!(
                table,
                "the table has no time to live: expired keys and counters stay; run `tollgate migrate`"
            );
            return Ok(());
        }
        let wanted = TimeToLiveSpecification::builder().enabled(true).attribute_name(ENDS).build();
        let wanted = self
            .client
            .update_time_to_live()
            .table_name(table)
            .time_to_live_specification(wanted.map_err(unbuilt)?);
        match wanted.send().await {
            Ok(_) => Ok(()),
            // Another process does so at the same time, or just did.
            Err(error) if error.as_service_error().is_some_and(is_done_by_another) => Ok(()),
            Err(error) => Err(failure(error)),
        }
    }
}

fn is_done_by_another(error: &UpdateTimeToLiveError) -> bool {
    error.is_resource_in_use_exception()
        || error.message().is_some_and(|text| text.contains("already enabled"))
}

/// A request lacks what it must have.
fn unbuilt(error: aws_sdk_dynamodb::error::BuildError) -> Failure {
    Failure::new(Outcome::Refused, StoreErrorKind::Format, "a request cannot be built").caused_by(error)
}

fn attribute(value: &Value) -> AttributeValue {
    match value {
        Value::Number(number) => AttributeValue::N(number.to_string()),
        Value::Bytes(bytes) => AttributeValue::B(Blob::new(bytes.clone())),
    }
}

fn key_of(place: &Place) -> Attributes {
    HashMap::from([
        (PARTITION.to_owned(), AttributeValue::S(place.partition.clone())),
        (SORT.to_owned(), AttributeValue::B(Blob::new(place.sort.clone()))),
    ])
}

fn attributes_of(place: &Place, item: &Item) -> Attributes {
    let mut attributes = key_of(place);
    attributes.extend(item.0.iter().map(|(name, value)| (name.clone(), attribute(value))));
    attributes
}

/// The place and the values in attributes; what is not ours is passed over.
fn item_in(attributes: Attributes) -> (Place, Item) {
    let (mut place, mut item) = (Place { partition: String::new(), sort: Vec::new() }, Item::default());
    for (name, value) in attributes {
        match (name.as_str(), value) {
            (PARTITION, AttributeValue::S(partition)) => place.partition = partition,
            (SORT, AttributeValue::B(sort)) => place.sort = sort.into_inner(),
            (_, AttributeValue::N(number)) => {
                if let Ok(number) = number.parse() {
                    item.0.insert(name, Value::Number(number));
                }
            }
            (_, AttributeValue::B(bytes)) => drop(item.0.insert(name, Value::Bytes(bytes.into_inner()))),
            _ => {}
        }
    }
    (place, item)
}

/// Names and values of an expression, which has numbers for them.
#[derive(Default)]
struct Terms {
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Terms {
    fn name(&mut self, name: &str) -> String {
        let term = format!("#n{}", self.names.len());
        self.names.insert(term.clone(), name.to_owned());
        term
    }

    fn value(&mut self, value: AttributeValue) -> String {
        let term = format!(":v{}", self.values.len());
        self.values.insert(term.clone(), value);
        term
    }

    fn update(&mut self, change: &Change) -> Option<String> {
        let set: Vec<String> = change
            .set
            .iter()
            .map(|(name, value)| format!("{} = {}", self.name(name), self.value(attribute(value))))
            .collect();
        let remove: Vec<String> = change.remove.iter().map(|name| self.name(name)).collect();
        let parts: Vec<String> = [("SET", set), ("REMOVE", remove)]
            .into_iter()
            .filter(|(_, terms)| !terms.is_empty())
            .map(|(verb, terms)| format!("{verb} {}", terms.join(", ")))
            .collect();
        (!parts.is_empty()).then(|| parts.join(" "))
    }
}

impl Table for DynamoTable {
    const THREAD: &'static str = "tollgate-dynamo";
    const PUTS_MAX: usize = BATCH_PUTS_MAX;
    const CHANGES_MAX: usize = 1;
    const RANGES_MAX: usize = 1;

    async fn prepare(&self, migrate: bool) -> Result<(), Failure> {
        let wrong = |text: String| Err(Failure::new(Outcome::Refused, StoreErrorKind::Format, text));
        let name = &self.options.table;
        for look in 0..MADE_LOOKS {
            match self.describe().await? {
                None if !migrate => {
                    return wrong(format!(
                        "there is no table {name} and `migrate=off` was given; run `tollgate migrate`"
                    ));
                }
                None if look == 0 => {
                    self.make().await?;
                    continue;
                }
                None => {}
                Some(table) => {
                    check_keys(name, &table)?;
                    if matches!(table.table_status(), Some(TableStatus::Active | TableStatus::Updating)) {
                        return self.forget_what_ends(migrate).await;
                    }
                }
            }
            tokio::time::sleep(MADE_EVERY).await;
        }
        wrong(format!("the table {name} is not ready"))
    }

    async fn insert(&self, items: &[(Place, Item)]) -> Vec<Result<bool, Failure>> {
        let mut made = Vec::with_capacity(items.len());
        for some in items.chunks(PUTS_AT_ONCE) {
            made.extend(join_all(some.iter().map(|item| self.insert_one(item))).await);
        }
        made
    }

    async fn put(&self, items: &[(Place, Item)]) -> Result<(), Failure> {
        let put = |(place, item): &(Place, Item)| {
            let put = PutRequest::builder().set_item(Some(attributes_of(place, item))).build();
            Ok(WriteRequest::builder().put_request(put.map_err(unbuilt)?).build())
        };
        let puts: Vec<WriteRequest> = items.iter().map(put).collect::<Result<_, Failure>>()?;
        let request = self
            .client
            .batch_write_item()
            .request_items(&self.options.table, puts)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let output = request.send().await.map_err(failure)?;
        output.consumed_capacity().iter().for_each(|units| self.count_write(Some(units)));
        let left = output.unprocessed_items().is_some_and(|left| left.values().any(|of| !of.is_empty()));
        if left {
            let text = "DynamoDB does not take more now";
            return Err(Failure::new(Outcome::Passing, StoreErrorKind::Unavailable, text));
        }
        Ok(())
    }

    async fn change(&self, changes: &[(Place, Change)]) -> Result<Vec<bool>, Failure> {
        join_all(changes.iter().map(|(place, change)| self.change_one(place, change)))
            .await
            .into_iter()
            .collect()
    }

    async fn remove(&self, place: &Place, only: Option<(&'static str, u64)>) -> Result<(), Failure> {
        let mut request = self
            .client
            .delete_item()
            .table_name(&self.options.table)
            .set_key(Some(key_of(place)))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        if let Some((name, number)) = only {
            request = request
                .condition_expression("#n = :v")
                .expression_attribute_names("#n", name)
                .expression_attribute_values(":v", AttributeValue::N(number.to_string()));
        }
        match request.send().await {
            Ok(output) => {
                self.count_write(output.consumed_capacity());
                Ok(())
            }
            Err(error) if says(&error, "ConditionalCheckFailedException") => Ok(()),
            Err(error) => Err(failure(error)),
        }
    }

    async fn get(&self, places: &[Place]) -> Result<HashMap<Place, Item>, Failure> {
        let mut found = HashMap::new();
        if let [place] = places {
            let request = self
                .client
                .get_item()
                .table_name(&self.options.table)
                .set_key(Some(key_of(place)))
                .consistent_read(true)
                .return_consumed_capacity(ReturnConsumedCapacity::Total);
            let output = request.send().await.map_err(failure)?;
            self.count_read(output.consumed_capacity());
            found.extend(output.item.map(item_in));
            return Ok(found);
        }
        let mut left: Vec<Attributes> = places.iter().map(key_of).collect();
        while !left.is_empty() {
            let keys = KeysAndAttributes::builder().set_keys(Some(left)).consistent_read(true).build();
            let request = self
                .client
                .batch_get_item()
                .request_items(&self.options.table, keys.map_err(unbuilt)?)
                .return_consumed_capacity(ReturnConsumedCapacity::Total);
            let output = request.send().await.map_err(failure)?;
            output.consumed_capacity().iter().for_each(|units| self.count_read(Some(units)));
            found.extend(output.responses.into_iter().flatten().flat_map(|(_, items)| items).map(item_in));
            // What does not fit into one answer is asked for again.
            left = output.unprocessed_keys.into_iter().flatten().flat_map(|(_, keys)| keys.keys).collect();
        }
        Ok(found)
    }

    async fn read(&self, range: &Range) -> Result<Rows, Failure> {
        if range.from > range.until {
            return Ok(Rows::default());
        }
        let bound = |sort: &[u8]| AttributeValue::B(Blob::new(sort));
        let request = self
            .client
            .query()
            .table_name(&self.options.table)
            .key_condition_expression("#pk = :pk AND #sk BETWEEN :from AND :until")
            .expression_attribute_names("#pk", PARTITION)
            .expression_attribute_names("#sk", SORT)
            .expression_attribute_values(":pk", AttributeValue::S(range.partition.clone()))
            .expression_attribute_values(":from", bound(&range.from))
            .expression_attribute_values(":until", bound(&range.until))
            .scan_index_forward(!range.newest_first)
            .consistent_read(true)
            .set_limit(i32::try_from(range.limit).ok())
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let output = request.send().await.map_err(failure)?;
        self.count_read(output.consumed_capacity());
        let more = output.last_evaluated_key.is_some();
        let rows = output.items.into_iter().flatten().map(item_in);
        Ok(Rows { rows: rows.map(|(place, item)| (place.sort, item)).collect(), more })
    }

    async fn read_each(&self, ranges: &[Range]) -> Result<Vec<Rows>, Failure> {
        join_all(ranges.iter().map(|range| self.read(range))).await.into_iter().collect()
    }
}

/// Refuses a table with other keys.
fn check_keys(name: &str, table: &TableDescription) -> Result<(), Failure> {
    let has = |name: &str, role: KeyType, kind: ScalarAttributeType| {
        table.key_schema().iter().any(|key| key.attribute_name() == name && *key.key_type() == role)
            && table
                .attribute_definitions()
                .iter()
                .any(|found| found.attribute_name() == name && *found.attribute_type() == kind)
    };
    if has(PARTITION, KeyType::Hash, ScalarAttributeType::S)
        && has(SORT, KeyType::Range, ScalarAttributeType::B)
    {
        return Ok(());
    }
    let text = format!(
        "the table {name} has other keys; it must have the partition key `{PARTITION}`, a string, and the sort key `{SORT}`, binary"
    );
    Err(Failure::new(Outcome::Refused, StoreErrorKind::Format, text))
}

//! Appending: one statement a call, or a few beside each other, whatever the number of ledgers. Each has a number by which the server
//! knows it again: asked a second time, because an answer was lost, it says what became of the first.

use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use futures_util::future::join_all;
use sha2::{Digest, Sha256};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};
use tollgate_domain::{
    Entry, EntryKind, KeyId, KeySpace, OrgId, Partition, Period, SystemEntryKind, Timestamp, UsageKey,
};
use tollgate_storage::codec::{LineRef, StoredNotice, encode, encode_line};
use tollgate_storage::{Append, Appended, EntryChange, StoreError, StoreErrorKind};
use uuid::Uuid;

use super::database::Database;
use super::error::{bad_column, unavailable};
#[cfg(feature = "redis")]
use super::incarnations::Held;
#[cfg(feature = "redis")]
use super::limits::LONG_ANSWER_TIMEOUT;
use super::limits::{ANSWER_TIMEOUT, STATEMENT_APPENDS_MIN, STATEMENTS_MAX};
use super::reports::{bill_of, details_of};
use crate::asking::together;

/// The system's ledger is that of the org without a name: no org has this id.
const SYSTEM: &str = "";

/// The name of a ledger in the database.
pub(crate) fn ledger_of(partition: &Partition) -> &str {
    match partition {
        Partition::Org(org) => org.as_str(),
        Partition::System => SYSTEM,
    }
}

/// A number as the database has it. A ledger's end is never near the largest.
pub(crate) fn number(number: u64) -> Result<i64, StoreError> {
    let too_large =
        |error| StoreError::new(StoreErrorKind::TooLarge, format!("{number} is no number")).caused_by(error);
    i64::try_from(number).map_err(too_large)
}

/// The hash that a caller's key is found by.
pub(crate) fn hash_of(id: &KeyId) -> Uuid {
    hash_in(id.space, &id.org, &id.key)
}

fn hash_in(space: KeySpace, org: &OrgId, key: &UsageKey) -> Uuid {
    let space: u8 = match space {
        KeySpace::Use => 1,
        KeySpace::TopUp => 2,
        KeySpace::Told => 3,
    };
    let hash = Sha256::new().chain_update([space]).chain_update(org.as_str()).chain_update([0]);
    let hash = hash.chain_update(key.as_str()).finalize();
    Uuid::from_bytes(*hash.first_chunk().unwrap_or(&[0; 16]))
}

/// Where an entry comes from that was appended elsewhere before: the call that made it, of the first entry of an append only,
/// and a number that is in the order in which all were appended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) call: Option<Uuid>,
    pub(crate) order: i64,
}

/// Columns of rows, a vector each.
#[derive(Default)]
struct Ledgers<'a> {
    orgs: Vec<&'a str>,
    expected: Vec<i64>,
    versions: Vec<i64>,
}

#[derive(Default)]
struct Entries<'a> {
    places: Vec<i32>,
    orgs: Vec<&'a str>,
    numbers: Vec<i64>,
    calls: Vec<Option<Uuid>>,
    ats: Vec<SystemTime>,
    kinds: Vec<&'static str>,
    meters: Vec<Option<&'a str>>,
    users: Vec<Option<&'a str>>,
    quantities: Vec<Option<String>>,
    keys: Vec<Option<&'a str>>,
    occurred: Vec<Option<SystemTime>>,
    bodies: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Keys {
    places: Vec<i32>,
    hashes: Vec<Uuid>,
    numbers: Vec<i64>,
    reversals: Vec<Option<i64>>,
    ats: Vec<SystemTime>,
}

#[derive(Default)]
struct Reversals {
    places: Vec<i32>,
    hashes: Vec<Uuid>,
    numbers: Vec<i64>,
}

#[derive(Default)]
struct Notices<'a> {
    places: Vec<i32>,
    orders: Vec<Option<i64>>,
    orgs: Vec<&'a str>,
    entries: Vec<i64>,
    indexes: Vec<i32>,
    ats: Vec<SystemTime>,
    kinds: Vec<&'static str>,
    meters: Vec<Option<&'a str>>,
    users: Vec<Option<&'a str>>,
    periods: Vec<Option<String>>,
    details: Vec<String>,
    bodies: Vec<Vec<u8>>,
}

/// Keys that the appends take for new.
#[derive(Default)]
struct New {
    places: Vec<i32>,
    hashes: Vec<Uuid>,
}

/// Bills that are closed, each as JSON.
#[derive(Default)]
struct Bills {
    places: Vec<i32>,
    bills: Vec<String>,
}

/// What an append does to a key, all its entries together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyNote {
    pub(crate) hash: Uuid,
    /// The entry that makes it be remembered anew, and when; `None`: an earlier append made it.
    pub(crate) made: Option<(i64, Timestamp)>,
    /// The entry that took it back.
    pub(crate) reversed_by: Option<i64>,
}

/// What entries of an org do to keys.
pub(crate) fn key_notes<'a>(
    org: &OrgId,
    entries: impl IntoIterator<Item = &'a Entry>,
) -> Result<Vec<KeyNote>, StoreError> {
    let mut notes = BTreeMap::new();
    for entry in entries {
        let number = number(entry.number)?;
        if let Some((space, key)) = entry.named_key() {
            let hash = hash_in(space, org, key);
            notes.insert(hash, KeyNote { hash, made: Some((number, entry.at)), reversed_by: None });
        }
        if let Some(key) = entry.took_back_key() {
            let hash = hash_in(KeySpace::Use, org, key);
            let note = notes.entry(hash).or_insert(KeyNote { hash, made: None, reversed_by: None });
            note.reversed_by = Some(number);
        }
    }
    Ok(notes.into_values().collect())
}

/// Everything that a call appends, as the statement takes it.
#[derive(Default)]
struct Call<'a> {
    ledgers: Ledgers<'a>,
    entries: Entries<'a>,
    keys: Keys,
    reversals: Reversals,
    notices: Notices<'a>,
    bills: Bills,
    new: New,
}

impl<'a> Call<'a> {
    /// Puts appends that a call makes into columns; gives the place of each in the order of ledgers, counted from one. Those
    /// that were made elsewhere before say where each of their entries comes from.
    fn of(
        appends: &'a [Append],
        id: Uuid,
        origins: Option<&[Vec<Origin>]>,
    ) -> Result<(Self, Vec<i32>), StoreError> {
        let mut sorted: Vec<(&str, usize)> =
            appends.iter().enumerate().map(|(index, append)| (ledger_of(&append.partition), index)).collect();
        sorted.sort_unstable();
        let mut call = Self::default();
        let mut places = vec![0; appends.len()];
        for (place, (org, index)) in (1..).zip(sorted) {
            let Some(append) = appends.get(index) else { continue };
            if let Some(its) = places.get_mut(index) {
                *its = place;
            }
            call.ledgers.orgs.push(org);
            call.ledgers.expected.push(number(append.expected_version)?);
            let version = append.entries.last().map_or(append.expected_version, EntryChange::number);
            call.ledgers.versions.push(number(version)?);
            match origins.and_then(|origins| origins.get(index)) {
                Some(origins) => call.entries.calls.extend(origins.iter().map(|origin| origin.call)),
                None => {
                    call.entries.calls.extend((0..append.entries.len()).map(|at| (at == 0).then_some(id)));
                }
            }
            call.add_entries(place, org, &append.entries)?;
        }
        // In the order in which they were given: that is theirs.
        for (index, (append, place)) in appends.iter().zip(&places).enumerate() {
            let origins = origins.and_then(|origins| origins.get(index));
            for (at, change) in append.entries.iter().enumerate() {
                let order = origins.and_then(|origins| origins.get(at)).map(|origin| origin.order);
                if let (Partition::Org(org), EntryChange::Org(entry)) = (&append.partition, change) {
                    call.notices.add(*place, order, org, entry)?;
                    if let Some(bill) = bill_of(org.as_str(), entry) {
                        call.bills.places.push(*place);
                        call.bills.bills.push(bill);
                    }
                }
            }
        }
        Ok((call, places))
    }

    /// Notes which keys the appends take for new.
    fn add_new(&mut self, appends: &[Append], places: &[i32], new: &[KeyId]) {
        if new.is_empty() {
            return;
        }
        let of_orgs = appends.iter().zip(places).filter_map(|(append, place)| match &append.partition {
            Partition::Org(org) => Some((org, *place)),
            Partition::System => None,
        });
        let of_orgs: HashMap<&OrgId, i32> = of_orgs.collect();
        for id in new {
            if let Some(place) = of_orgs.get(&id.org) {
                self.new.places.push(*place);
                self.new.hashes.push(hash_of(id));
            }
        }
    }

    fn add_entries(
        &mut self,
        place: i32,
        org: &'a str,
        entries: &'a [EntryChange],
    ) -> Result<(), StoreError> {
        entries.iter().try_for_each(|change| self.entries.add(place, org, change))?;
        let Ok(id) = OrgId::new(org) else { return Ok(()) };
        let of_org = entries.iter().filter_map(|change| match change {
            EntryChange::Org(entry) => Some(entry),
            EntryChange::System(_) => None,
        });
        for KeyNote { hash, made, reversed_by } in key_notes(&id, of_org)? {
            match (made, reversed_by) {
                (Some((number, at)), _) => {
                    self.keys.places.push(place);
                    self.keys.hashes.push(hash);
                    self.keys.numbers.push(number);
                    self.keys.reversals.push(reversed_by);
                    self.keys.ats.push(at.into());
                }
                (None, Some(number)) => {
                    self.reversals.places.push(place);
                    self.reversals.hashes.push(hash);
                    self.reversals.numbers.push(number);
                }
                (None, None) => {}
            }
        }
        Ok(())
    }
}

impl<'a> Entries<'a> {
    fn add(&mut self, place: i32, org: &'a str, change: &'a EntryChange) -> Result<(), StoreError> {
        self.places.push(place);
        self.orgs.push(org);
        self.numbers.push(number(change.number())?);
        let mut body = Vec::new();
        match change {
            EntryChange::Org(entry) => {
                self.ats.push(entry.at.into());
                self.kinds.push(entry.kind.name());
                self.meters.push(entry.kind.meter().map(tollgate_domain::MeterId::as_str));
                self.add_usage(&entry.kind);
                self.keys.push(entry.named_key().map(|(_, key)| key.as_str()));
                encode(entry, &mut body);
            }
            EntryChange::System(entry) => {
                self.ats.push(entry.at.into());
                self.kinds.push(name_of(&entry.kind));
                self.meters.push(None);
                self.users.push(None);
                self.quantities.push(None);
                self.occurred.push(None);
                self.keys.push(None);
                encode_line(LineRef::System(entry), &mut body);
            }
        }
        self.bodies.push(body);
        Ok(())
    }

    fn add_usage(&mut self, kind: &'a EntryKind) {
        let (user, quantity, occurred_at) = match kind {
            EntryKind::Used(used) | EntryKind::Reversed { used, .. } => {
                (used.user.as_ref(), Some(used.quantity.amount()), used.occurred_at)
            }
            EntryKind::Refused { user, quantity, .. } => (user.as_ref(), Some(quantity.amount()), None),
            EntryKind::ToppedUp(topped_up) => (None, Some(topped_up.grant.amount), None),
            EntryKind::Voided(voided) => (None, Some(voided.amount()), None),
            _ => (None, None, None),
        };
        self.users.push(user.map(tollgate_domain::UserId::as_str));
        self.quantities.push(quantity.map(|quantity| quantity.to_string()));
        self.occurred.push(occurred_at.map(SystemTime::from));
    }
}

/// The stable name of a kind of entry of the system.
const fn name_of(kind: &SystemEntryKind) -> &'static str {
    match kind {
        SystemEntryKind::CatalogApplied { .. } => "catalog_applied",
        SystemEntryKind::MetersCreated(_) => "meters_created",
        SystemEntryKind::ApiKeyMade(_) => "api_key_made",
        SystemEntryKind::ApiKeyRevoked(_) => "api_key_revoked",
        SystemEntryKind::ShipmentMade(_) => "shipment_made",
        SystemEntryKind::ShipmentSent(_) => "shipment_sent",
        SystemEntryKind::ChannelChanged(_) => "channel_changed",
        SystemEntryKind::Delivered { .. } => "delivered",
        SystemEntryKind::DeliveryClaimed(_) => "delivery_claimed",
    }
}

impl<'a> Notices<'a> {
    fn add(
        &mut self,
        place: i32,
        order: Option<i64>,
        org: &'a OrgId,
        entry: &'a Entry,
    ) -> Result<(), StoreError> {
        for (index, notice) in (0..).zip(&entry.notices) {
            self.places.push(place);
            self.orders.push(order);
            self.orgs.push(org.as_str());
            self.entries.push(number(entry.number)?);
            self.indexes.push(index);
            self.ats.push(entry.at.into());
            self.kinds.push(notice.kind.name());
            self.meters.push(notice.meter.as_ref().map(tollgate_domain::MeterId::as_str));
            self.users.push(notice.user.as_ref().map(tollgate_domain::UserId::as_str));
            self.periods.push(notice.period.map(Period::label));
            self.details.push(details_of(notice));
            let mut body = Vec::new();
            let stored =
                StoredNotice { org: org.clone(), entry: entry.number, at: entry.at, notice: notice.clone() };
            encode(&stored, &mut body);
            self.bodies.push(body);
        }
        Ok(())
    }
}

/// A number that no other call has.
pub(crate) fn new_call() -> Result<Uuid, StoreError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| unavailable("the system gives no randomness").caused_by(error))?;
    Ok(Uuid::from_bytes(bytes))
}

/// Appends, and says of each what became of it. Where a key that is taken for new is known, nothing is made of its org.
///
/// Appends to many ledgers are made by a few statements beside each other: the database works on one by one process.
pub(crate) async fn append(
    database: &Database,
    appends: &[Append],
    new: &[KeyId],
) -> Result<Vec<Appended>, StoreError> {
    let statements = (appends.len() / STATEMENT_APPENDS_MIN).clamp(1, STATEMENTS_MAX);
    let parts = appends.chunks(appends.len().div_ceil(statements).max(1));
    let made = join_all(parts.map(|part| append_part(database, part, new))).await;
    let made = together(made, |answers| answers.contains(&Appended::Done))?;
    Ok(made.into_iter().flatten().collect())
}

async fn append_part(
    database: &Database,
    appends: &[Append],
    new: &[KeyId],
) -> Result<Vec<Appended>, StoreError> {
    let id = new_call()?;
    let (mut call, places) = Call::of(appends, id, None)?;
    call.add_new(appends, &places, new);
    let values = call.values(&id);
    let statement = database.call("append", values.len());
    let rows = database.ask(&statement, &values, ANSWER_TIMEOUT).await?;
    answers(rows.first(), &places)
}

/// Appends what was appended elsewhere before, while some [incarnations](super::incarnations) hold; `None`: they do not any
/// more, and nothing was done.
#[cfg(feature = "redis")]
pub(crate) async fn append_held(
    database: &Database,
    appends: &[Append],
    origins: &[Vec<Origin>],
    held: &Held,
) -> Result<Option<Vec<Appended>>, StoreError> {
    let id = new_call()?;
    let (call, places) = Call::of(appends, id, Some(origins))?;
    let mut values = call.values(&id);
    let statement = held.call(database, "append", &mut values);
    let rows = database.ask(&statement, &values, LONG_ANSWER_TIMEOUT).await?;
    rows.first().map(|row| answers(Some(row), &places)).transpose()
}

fn answers(row: Option<&Row>, places: &[i32]) -> Result<Vec<Appended>, StoreError> {
    let done: Vec<bool> = row.map_or(Ok(Vec::new()), |row| row.try_get(0)).map_err(bad_column)?;
    let answer = |place: &i32| {
        let index = usize::try_from(*place - 1).ok();
        let done = index.and_then(|index| done.get(index)).copied().unwrap_or(false);
        if done { Appended::Done } else { Appended::Conflict }
    };
    assert_eq!(done.len(), places.len(), "the database answers every append");
    Ok(places.iter().map(answer).collect())
}

/// Whether the entry of a number is the first of those that a call appended to a ledger.
#[cfg(feature = "redis")]
pub(crate) async fn made(
    database: &Database,
    org: &OrgId,
    first: u64,
    call: Uuid,
) -> Result<bool, StoreError> {
    let statement =
        format!("SELECT 1 FROM {}.entries WHERE org = $1 AND number = $2 AND call = $3", database.schema);
    let (org, first) = (org.as_str(), number(first)?);
    let values: &super::database::Values<'_> =
        &[(&org, Type::TEXT), (&first, Type::INT8), (&call, Type::UUID)];
    Ok(!database.ask(&statement, values, ANSWER_TIMEOUT).await?.is_empty())
}

impl Call<'_> {
    /// The values of the statement.
    fn values<'v>(&'v self, id: &'v Uuid) -> Vec<(&'v (dyn ToSql + Sync), Type)> {
        let Self { ledgers, entries, keys, reversals, notices, bills, new } = self;
        vec![
            (id, Type::UUID),
            (&ledgers.orgs, Type::TEXT_ARRAY),
            (&ledgers.expected, Type::INT8_ARRAY),
            (&ledgers.versions, Type::INT8_ARRAY),
            (&entries.places, Type::INT4_ARRAY),
            (&entries.orgs, Type::TEXT_ARRAY),
            (&entries.numbers, Type::INT8_ARRAY),
            (&entries.calls, Type::UUID_ARRAY),
            (&entries.ats, Type::TIMESTAMPTZ_ARRAY),
            (&entries.kinds, Type::TEXT_ARRAY),
            (&entries.meters, Type::TEXT_ARRAY),
            (&entries.users, Type::TEXT_ARRAY),
            (&entries.quantities, Type::TEXT_ARRAY),
            (&entries.keys, Type::TEXT_ARRAY),
            (&entries.occurred, Type::TIMESTAMPTZ_ARRAY),
            (&entries.bodies, Type::BYTEA_ARRAY),
            (&keys.places, Type::INT4_ARRAY),
            (&keys.hashes, Type::UUID_ARRAY),
            (&keys.numbers, Type::INT8_ARRAY),
            (&keys.reversals, Type::INT8_ARRAY),
            (&keys.ats, Type::TIMESTAMPTZ_ARRAY),
            (&reversals.places, Type::INT4_ARRAY),
            (&reversals.hashes, Type::UUID_ARRAY),
            (&reversals.numbers, Type::INT8_ARRAY),
            (&notices.places, Type::INT4_ARRAY),
            (&notices.orders, Type::INT8_ARRAY),
            (&notices.orgs, Type::TEXT_ARRAY),
            (&notices.entries, Type::INT8_ARRAY),
            (&notices.indexes, Type::INT4_ARRAY),
            (&notices.ats, Type::TIMESTAMPTZ_ARRAY),
            (&notices.kinds, Type::TEXT_ARRAY),
            (&notices.meters, Type::TEXT_ARRAY),
            (&notices.users, Type::TEXT_ARRAY),
            (&notices.periods, Type::TEXT_ARRAY),
            (&notices.details, Type::TEXT_ARRAY),
            (&notices.bodies, Type::BYTEA_ARRAY),
            (&bills.places, Type::INT4_ARRAY),
            (&bills.bills, Type::TEXT_ARRAY),
            (&new.places, Type::INT4_ARRAY),
            (&new.hashes, Type::UUID_ARRAY),
        ]
    }
}

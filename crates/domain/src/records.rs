//! Records: what a store keeps, by key; and those of the system, which its decisions read and its entries change.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;

use crate::{
    Account, Amount, ApiKey, ApiKeyId, Bill, Catalog, Channel, ChannelId, Counter, CounterId, Delivery,
    Entry, Groups, MeterId, Org, OrgId, Period, Scope, ScopePath, Seen, Shipment, Sku, Tally, Unsent,
    UsageKey, UserId,
};

/// Whose ledger a change belongs to; changes of one partition are all-or-nothing and guarded by its version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Partition {
    /// One org's.
    Org(OrgId),
    /// The system's: catalog and API keys.
    System,
}

/// Names one record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKey {
    /// An org.
    Org(OrgId),
    /// An org's account on a meter.
    Account(OrgId, MeterId),
    /// The open counters of a user of an org on a meter.
    Tally(OrgId, MeterId, UserId),
    /// The open counters of a path of an org on a meter.
    PathTally(OrgId, MeterId, ScopePath),
    /// The open counters of a value that a meter of an org counts once.
    Seen(OrgId, MeterId, Arc<Seen>),
    /// A closed counter.
    Counter(CounterId),
    /// What an org used of a meter in a day or month, by the properties the meter is counted by.
    Groups(OrgId, MeterId, Period),
    /// The closed bill of an org for the month with this number; never changes.
    Bill(OrgId, i32),
    /// What is unsent of an org's day with this number.
    Unsent(OrgId, i32),
    /// A key that was seen.
    Key(KeyId),
    /// An entry of an org's ledger; never changes.
    Entry(OrgId, u64),
    /// The system.
    System,
    /// One version of the catalog; never changes.
    Catalog(u32),
    /// An API key.
    ApiKey(ApiKeyId),
    /// The latest shipment.
    Shipment,
    /// A channel.
    Channel(ChannelId),
    /// The latest line in a [slot](Delivery::slot) of a channel's log.
    Delivery(ChannelId, u64),
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// See [`RecordKey::Org`].
    Org(Arc<Org>),
    /// See [`RecordKey::Account`].
    Account(Arc<Account>),
    /// See [`RecordKey::Tally`], [`RecordKey::PathTally`] and [`RecordKey::Seen`].
    Tally(Arc<Tally>),
    /// See [`RecordKey::Counter`].
    Counter(Arc<Counter>),
    /// See [`RecordKey::Groups`].
    Groups(Arc<Groups>),
    /// See [`RecordKey::Bill`].
    Bill(Arc<Bill>),
    /// See [`RecordKey::Unsent`].
    Unsent(Arc<Unsent>),
    /// See [`RecordKey::Key`].
    Key(Arc<KeyRecord>),
    /// See [`RecordKey::Entry`].
    Entry(Arc<Entry>),
    /// See [`RecordKey::System`].
    System(Arc<System>),
    /// See [`RecordKey::Catalog`].
    Catalog(Arc<CatalogVersion>),
    /// See [`RecordKey::ApiKey`].
    ApiKey(Arc<ApiKey>),
    /// See [`RecordKey::Shipment`].
    Shipment(Arc<Shipment>),
    /// See [`RecordKey::Channel`].
    Channel(Arc<Channel>),
    /// See [`RecordKey::Delivery`].
    Delivery(Arc<Delivery>),
}

/// A caller's key within an org; usages and top-ups do not share keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId {
    /// Whose org.
    pub org: OrgId,
    /// What the key names.
    pub space: KeySpace,
    /// The key.
    pub key: UsageKey,
}

/// What a key names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeySpace {
    /// A usage, or a hold: what ends a hold has the key of it.
    Use,
    /// A top-up.
    TopUp,
    /// What a gateway told of a budget.
    Told,
}

/// What is remembered of a key: enough to give the original answer again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// The number of the entry it made.
    pub entry: u64,
    /// Which content it stands for.
    pub fingerprint: u64,
    /// When it was seen.
    pub at: Timestamp,
    /// How the org stood after it.
    pub standing: Standing,
    /// The number of the entry that took it back, if one did.
    pub reversed_by: Option<u64>,
}

/// An org's balance on a meter at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// All credit in force: allowance, trial, top-ups.
    pub granted: Amount,
    /// Used of it, and of an overdraft beyond it: with what is held and what remains it is all that is granted. Where credit is not asked,
    /// what was counted this month.
    pub used: Amount,
    /// What holds reserve of it: with what is used and what remains it is all that is granted. Where credit is not asked,
    /// what is held this month.
    pub held: Amount,
    /// What may still be used; `None` where credit is not asked. Negative only after an overdraft.
    pub remaining: Option<Amount>,
    /// What the user used this month, if a user was given.
    pub user_used: Option<Amount>,
}

/// The system itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct System {
    /// The number of its latest entry.
    pub version: u64,
    /// The version of the catalog in force, zero before the first.
    pub catalog: u32,
    /// When it came into force.
    pub catalog_since: Timestamp,
    /// The number of the latest shipment that was made, zero before the first.
    pub shipments: u64,
    /// The number of the latest shipment that was sent: the one before that, or the same.
    pub shipped: u64,
    /// API keys that are valid and may make others.
    pub admin_keys: u32,
    /// The meters that usage created beside the catalog, in that order.
    pub created_meters: Vec<CreatedMeter>,
    /// The channels, in the order they were made.
    pub channels: Vec<ChannelId>,
    /// Which of several servers delivers.
    pub delivery: Option<DeliveryClaim>,
}

/// That one of several servers delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryClaim {
    /// Which.
    pub holder: String,
    /// Until when.
    pub until: Timestamp,
}

/// A meter that usage created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedMeter {
    /// Its id.
    pub id: MeterId,
    /// When it was created.
    pub at: Timestamp,
    /// As what its usage is sent to the sink; `None`: it is not.
    pub sink: Option<Sku>,
}

/// One version of the catalog.
#[derive(Clone, Debug)]
pub struct CatalogVersion {
    /// Which one.
    pub version: u32,
    /// When it came into force: never before the version before it.
    pub at: Timestamp,
    /// Its TOML text.
    pub text: String,
    /// What the text says, once somebody has asked.
    parsed: OnceLock<Option<Box<Catalog>>>,
}

impl CatalogVersion {
    /// A version that came into force at a moment.
    #[must_use]
    pub const fn new(version: u32, at: Timestamp, text: String) -> Self {
        Self { version, at, text, parsed: OnceLock::new() }
    }

    /// What its text says: read once, however often it is asked. `None`: it cannot be read.
    #[must_use]
    pub fn catalog(&self) -> Option<&Catalog> {
        self.parsed.get_or_init(|| Catalog::from_toml(&self.text).ok().map(Box::new)).as_deref()
    }
}

impl PartialEq for CatalogVersion {
    fn eq(&self, other: &Self) -> bool {
        (self.version, self.at, &self.text) == (other.version, other.at, &other.text)
    }
}

impl Eq for CatalogVersion {}

impl System {
    /// The number of the shipment that was made and is not known to have been sent.
    #[must_use]
    pub fn open_shipment(&self) -> Option<u64> {
        (self.shipped != self.shipments).then_some(self.shipments)
    }
}

impl Record {
    /// How much of memory it takes, in parts of an org of the usual size.
    pub(crate) fn weight(&self) -> usize {
        if let Self::Groups(groups) = self { groups.weight() } else { 1 }
    }

    /// The version of the ledger that it is of, if it is a head: an org or the system. Zero otherwise.
    #[must_use]
    pub fn version(&self) -> u64 {
        match self {
            Self::Org(org) => org.version,
            Self::System(system) => system.version,
            _ => 0,
        }
    }

    /// Whether it says no more than its absence does: stores keep no such record.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        match self {
            Self::Unsent(unsent) => unsent.is_empty(),
            Self::Channel(channel) => channel.removed_at.is_some(),
            Self::Delivery(delivery) => delivery.number == 0,
            _ => false,
        }
    }
}

impl RecordKey {
    /// The org whose ledger changes this record; `None` is the system's.
    #[must_use]
    pub const fn org(&self) -> Option<&OrgId> {
        match self {
            Self::Org(org)
            | Self::Account(org, _)
            | Self::Tally(org, ..)
            | Self::PathTally(org, ..)
            | Self::Seen(org, ..)
            | Self::Groups(org, ..)
            | Self::Bill(org, _)
            | Self::Unsent(org, _)
            | Self::Entry(org, _) => Some(org),
            Self::Counter(counter) => Some(&counter.org),
            Self::Key(key) => Some(&key.org),
            Self::System
            | Self::Catalog(_)
            | Self::ApiKey(_)
            | Self::Shipment
            | Self::Channel(_)
            | Self::Delivery(..) => None,
        }
    }

    /// The record with the open counters of a scope.
    #[must_use]
    pub fn tally(org: &OrgId, meter: &MeterId, scope: &Scope) -> Self {
        let (org, meter) = (org.clone(), meter.clone());
        match scope {
            Scope::Org => Self::Account(org, meter),
            Scope::User(user) => Self::Tally(org, meter, user.clone()),
            Scope::Path(path) => Self::PathTally(org, meter, path.clone()),
            Scope::Seen(seen) => Self::Seen(org, meter, Arc::clone(seen)),
        }
    }

    /// Whose ledger changes this record.
    #[must_use]
    pub fn partition(&self) -> Partition {
        self.org().cloned().map_or(Partition::System, Partition::Org)
    }
}

/// The records of the system that are loaded, with the changes made to them.
#[derive(Clone, Debug, Default)]
pub struct SystemRecords {
    slots: HashMap<RecordKey, Slot, foldhash::fast::RandomState>,
}

#[derive(Clone, Debug)]
struct Slot {
    record: Option<Record>,
    changed: bool,
}

impl SystemRecords {
    /// Takes a loaded record, or its absence. What was taken before stays.
    pub fn put(&mut self, key: RecordKey, record: Option<Record>) {
        self.slots.entry(key).or_insert(Slot { record, changed: false });
    }

    /// Whether a record, or its absence, is loaded.
    #[must_use]
    pub fn holds(&self, key: &RecordKey) -> bool {
        self.slots.contains_key(key)
    }

    /// A record.
    #[must_use]
    pub fn get(&self, key: &RecordKey) -> Option<&Record> {
        self.slots.get(key)?.record.as_ref()
    }

    /// Everything that was changed since it was loaded.
    pub fn changed(&self) -> impl Iterator<Item = (&RecordKey, &Record)> {
        self.slots
            .iter()
            .filter(|(_, slot)| slot.changed)
            .filter_map(|(key, slot)| slot.record.as_ref().map(|record| (key, record)))
    }

    /// The system.
    #[must_use]
    pub fn system(&self) -> System {
        match self.get(&RecordKey::System) {
            Some(Record::System(system)) => System::clone(system),
            _ => System::default(),
        }
    }

    /// A version of the catalog.
    #[must_use]
    pub fn catalog(&self, version: u32) -> Option<&CatalogVersion> {
        match self.get(&RecordKey::Catalog(version)) {
            Some(Record::Catalog(catalog)) => Some(catalog),
            _ => None,
        }
    }

    /// An API key.
    #[must_use]
    pub fn api_key(&self, id: &ApiKeyId) -> Option<&ApiKey> {
        match self.get(&RecordKey::ApiKey(id.clone())) {
            Some(Record::ApiKey(api_key)) => Some(api_key),
            _ => None,
        }
    }

    /// A channel; `None`: there is none, or none any more.
    #[must_use]
    pub fn channel(&self, id: &ChannelId) -> Option<&Channel> {
        match self.get(&RecordKey::Channel(id.clone())) {
            Some(Record::Channel(channel)) => {
                Some(channel).filter(|channel| channel.removed_at.is_none()).map(AsRef::as_ref)
            }
            _ => None,
        }
    }

    /// Sets a record and marks it changed.
    pub(crate) fn set(&mut self, key: RecordKey, record: Record) {
        self.slots.insert(key, Slot { record: Some(record), changed: true });
    }
}

//! Records: what is known, by key. A decision reads them, an entry changes them, a store keeps them.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;

use crate::{
    Account, Amount, ApiKey, ApiKeyId, Bill, Catalog, Counter, CounterId, Entry, Groups, MeterId, Org, OrgId,
    Period, Place, Scope, Seen, Shipment, Sku, Tally, Unsent, UsageKey, UserId,
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
    /// How an org stands on a meter.
    Account(OrgId, MeterId),
    /// The open counters of a user of an org on a meter.
    Tally(OrgId, MeterId, UserId),
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
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// See [`RecordKey::Org`].
    Org(Arc<Org>),
    /// See [`RecordKey::Account`].
    Account(Arc<Account>),
    /// See [`RecordKey::Tally`] and [`RecordKey::Seen`].
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
    /// A usage.
    Use,
    /// A top-up.
    TopUp,
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

/// How an org stands on a meter at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// All credit in force: allowance, trial, top-ups.
    pub granted: Amount,
    /// Used of it, and of an overdraft beyond it: with what remains it is all that is granted. Where credit is not asked,
    /// what was counted this month.
    pub used: Amount,
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
    /// Whether it says no more than its absence does: stores keep no such record.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        matches!(self, Self::Unsent(unsent) if unsent.is_empty())
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
            | Self::Seen(org, ..)
            | Self::Groups(org, ..)
            | Self::Bill(org, _)
            | Self::Unsent(org, _)
            | Self::Entry(org, _) => Some(org),
            Self::Counter(counter) => Some(&counter.org),
            Self::Key(key) => Some(&key.org),
            Self::System | Self::Catalog(_) | Self::ApiKey(_) | Self::Shipment => None,
        }
    }

    /// The record with the open counters of a scope.
    #[must_use]
    pub fn tally(org: &OrgId, meter: &MeterId, scope: &Scope) -> Self {
        let (org, meter) = (org.clone(), meter.clone());
        match scope {
            Scope::Org => Self::Account(org, meter),
            Scope::User(user) => Self::Tally(org, meter, user.clone()),
            Scope::Seen(seen) => Self::Seen(org, meter, Arc::clone(seen)),
        }
    }

    /// Whose ledger changes this record.
    #[must_use]
    pub fn partition(&self) -> Partition {
        self.org().cloned().map_or(Partition::System, Partition::Org)
    }
}

/// A set of records at hand: loaded ones, known absences, and changes made to them.
///
/// What was neither loaded nor is known to be absent must not be taken for absent: a change would write a counter of its
/// own over one that is stored. That is asserted, except where all there is is at hand: see [`Records::complete`].
#[derive(Clone, Debug, Default)]
pub struct Records {
    complete: bool,
    slots: HashMap<RecordKey, Slot, foldhash::fast::RandomState>,
}

#[derive(Clone, Debug)]
struct Slot {
    record: Option<Record>,
    changed: bool,
}

/// What is wrong where a record is looked at that nobody loaded.
const NOT_AT_HAND: &str = "is neither loaded nor known to be absent";

impl Records {
    /// Nothing at hand, with room for so many records.
    #[must_use]
    pub fn with_capacity(records: usize) -> Self {
        let slots = HashMap::with_capacity_and_hasher(records, foldhash::fast::RandomState::default());
        Self { slots, complete: false }
    }

    /// Nothing at hand, and nothing else there is: what is not put here does not exist.
    #[must_use]
    pub fn complete() -> Self {
        Self { complete: true, ..Self::default() }
    }

    /// Puts a loaded record, or its absence, at hand. What is already at hand stays.
    pub fn put(&mut self, key: RecordKey, record: Option<Record>) {
        self.slots.entry(key).or_insert(Slot { record, changed: false });
    }

    /// Whether a record, or its absence, is at hand.
    #[must_use]
    pub fn holds(&self, key: &RecordKey) -> bool {
        self.slots.contains_key(key)
    }

    /// A record.
    #[must_use]
    pub fn get(&self, key: &RecordKey) -> Option<&Record> {
        self.slots.get(key)?.record.as_ref()
    }

    /// Everything that was changed since it was put.
    pub fn changed(&self) -> impl Iterator<Item = (&RecordKey, &Record)> {
        self.slots
            .iter()
            .filter(|(_, slot)| slot.changed)
            .filter_map(|(key, slot)| slot.record.as_ref().map(|record| (key, record)))
    }

    /// Takes out everything that was changed since it was put.
    pub fn take_changed(&mut self) -> impl Iterator<Item = (RecordKey, Record)> {
        let changed = self.slots.extract_if(|_, slot| slot.changed);
        changed.filter_map(|(key, slot)| slot.record.map(|record| (key, record)))
    }

    /// Forgets a record: it is at hand no more.
    pub(crate) fn forget(&mut self, key: &RecordKey) {
        self.slots.remove(key);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.slots.clear();
    }

    /// An org.
    #[must_use]
    pub fn org(&self, org: &OrgId) -> Option<&Org> {
        match self.get(&RecordKey::Org(org.clone())) {
            Some(Record::Org(org)) => Some(org),
            _ => None,
        }
    }

    /// How an org stands on a meter.
    #[must_use]
    pub fn account(&self, org: &OrgId, meter: &MeterId) -> Option<&Account> {
        match self.get(&RecordKey::Account(org.clone(), meter.clone())) {
            Some(Record::Account(account)) => Some(account),
            _ => None,
        }
    }

    /// The open counters of a scope of an org.
    #[must_use]
    pub fn tally(&self, org: &OrgId, meter: &MeterId, scope: &Scope) -> Option<&Tally> {
        match scope {
            Scope::Org => self.account(org, meter).map(|account| &account.tally),
            Scope::User(_) | Scope::Seen(_) => match self.get(&RecordKey::tally(org, meter, scope)) {
                Some(Record::Tally(tally)) => Some(tally),
                _ => None,
            },
        }
    }

    /// Where a counter is.
    #[must_use]
    pub fn place(&self, org: &OrgId, meter: &MeterId, scope: &Scope, period: Period) -> Place<'_> {
        self.tally(org, meter, scope).map_or(Place::NotYet, |tally| tally.place(period))
    }

    /// A counter, open or closed; zero where nothing was counted.
    #[must_use]
    pub fn counter(&self, org: &OrgId, meter: &MeterId, scope: &Scope, period: Period) -> Counter {
        match self.place(org, meter, scope, period) {
            Place::Open(counter) => counter.clone(),
            Place::NotYet => Counter::default(),
            Place::Closed => {
                let id = CounterId { org: org.clone(), meter: meter.clone(), scope: scope.clone(), period };
                let key = RecordKey::Counter(id);
                assert!(self.moved(org, meter, scope) || self.is_at_hand(&key), "{key:?} {NOT_AT_HAND}");
                match self.get(&key) {
                    Some(Record::Counter(counter)) => Counter::clone(counter),
                    _ => Counter::default(),
                }
            }
        }
    }

    /// What an org used of a meter in a day or month, by properties.
    #[must_use]
    pub fn groups(&self, org: &OrgId, meter: &MeterId, period: Period) -> Option<&Groups> {
        match self.get(&RecordKey::Groups(org.clone(), meter.clone(), period)) {
            Some(Record::Groups(groups)) => Some(groups),
            _ => None,
        }
    }

    /// What is unsent of an org's day.
    #[must_use]
    pub fn unsent(&self, org: &OrgId, day: i32) -> Option<&Unsent> {
        match self.get(&RecordKey::Unsent(org.clone(), day)) {
            Some(Record::Unsent(unsent)) => Some(unsent),
            _ => None,
        }
    }

    /// The closed bill of a month.
    #[must_use]
    pub fn bill(&self, org: &OrgId, month: i32) -> Option<&Arc<Bill>> {
        match self.get(&RecordKey::Bill(org.clone(), month)) {
            Some(Record::Bill(bill)) => Some(bill),
            _ => None,
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

    /// A key that was seen.
    #[must_use]
    pub fn key(&self, id: KeyId) -> Option<&KeyRecord> {
        match self.get(&RecordKey::Key(id)) {
            Some(Record::Key(key)) => Some(key),
            _ => None,
        }
    }

    /// An entry.
    #[must_use]
    pub fn entry(&self, org: &OrgId, number: u64) -> Option<&Entry> {
        match self.get(&RecordKey::Entry(org.clone(), number)) {
            Some(Record::Entry(entry)) => Some(entry),
            _ => None,
        }
    }

    /// The system.
    #[must_use]
    pub fn system(&self) -> System {
        match self.get(&RecordKey::System) {
            Some(Record::System(system)) => System::clone(system),
            _ => System::default(),
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

    /// Sets a record and marks it changed.
    pub(crate) fn set(&mut self, key: RecordKey, record: Record) {
        self.slots.insert(key, Slot { record: Some(record), changed: true });
    }

    fn is_at_hand(&self, key: &RecordKey) -> bool {
        self.complete || self.holds(key)
    }

    /// Whether the open counters of a scope were changed since they were loaded. A counter that this closed is at hand. Of
    /// one before it that is not, nothing was counted: as they were loaded its period had not come, or the counter would have
    /// been loaded with them.
    fn moved(&self, org: &OrgId, meter: &MeterId, scope: &Scope) -> bool {
        self.slots.get(&RecordKey::tally(org, meter, scope)).is_some_and(|slot| slot.changed)
    }

    /// A record to be changed.
    fn slot(&mut self, key: RecordKey) -> &mut Slot {
        assert!(self.is_at_hand(&key), "{key:?} {NOT_AT_HAND}");
        self.slot_at_hand(key)
    }

    fn slot_at_hand(&mut self, key: RecordKey) -> &mut Slot {
        let slot = self.slots.entry(key).or_insert(Slot { record: None, changed: false });
        slot.changed = true;
        slot
    }

    /// Changes an org, making it if need be.
    pub(crate) fn change_org(&mut self, id: &OrgId, created_at: Timestamp, change: impl FnOnce(&mut Org)) {
        let slot = self.slot(RecordKey::Org(id.clone()));
        if !matches!(slot.record, Some(Record::Org(_))) {
            slot.record = Some(Record::Org(Arc::new(Org::new(id.clone(), created_at))));
        }
        if let Some(Record::Org(org)) = &mut slot.record {
            change(Arc::make_mut(org));
        }
    }

    /// Changes an account, making it if need be.
    pub(crate) fn change_account<T>(
        &mut self,
        org: &OrgId,
        meter: &MeterId,
        change: impl FnOnce(&mut Account) -> T,
    ) -> T {
        let slot = self.slot(RecordKey::Account(org.clone(), meter.clone()));
        let mut account = match slot.record.take() {
            Some(Record::Account(account)) => account,
            _ => Arc::default(),
        };
        let made = change(Arc::make_mut(&mut account));
        slot.record = Some(Record::Account(account));
        made
    }

    /// Changes the open counters of a scope of an org, making them if need be.
    fn change_tally<T>(
        &mut self,
        org: &OrgId,
        meter: &MeterId,
        scope: &Scope,
        change: impl FnOnce(&mut Tally) -> T,
    ) -> T {
        if *scope == Scope::Org {
            return self.change_account(org, meter, |account| change(&mut account.tally));
        }
        let slot = self.slot(RecordKey::tally(org, meter, scope));
        let mut tally = match slot.record.take() {
            Some(Record::Tally(tally)) => tally,
            _ => Arc::default(),
        };
        let made = change(Arc::make_mut(&mut tally));
        slot.record = Some(Record::Tally(tally));
        made
    }

    /// Changes counters of one scope, those of periods: opening, and closing what came before, as need be.
    pub(crate) fn change_counters(
        &mut self,
        org: &OrgId,
        meter: &MeterId,
        scope: &Scope,
        periods: &[Period],
        mut change: impl FnMut(Period, &mut Counter),
    ) {
        let mut late = Vec::new();
        let mut closed = Vec::new();
        let moved = self.moved(org, meter, scope);
        self.change_tally(org, meter, scope, |tally| {
            for period in periods {
                if tally.place(*period) == Place::Closed {
                    late.push(*period);
                } else {
                    let (counter, before) = tally.open_mut(*period);
                    change(*period, counter);
                    closed.extend(before);
                }
            }
        });
        let id = |period| {
            let (org, meter, scope) = (org.clone(), meter.clone(), scope.clone());
            RecordKey::Counter(CounterId { org, meter, scope, period })
        };
        for open in closed {
            self.set(id(open.period), Record::Counter(Arc::new(open.counter)));
        }
        for period in late {
            let key = id(period);
            assert!(moved || self.is_at_hand(&key), "{key:?} {NOT_AT_HAND}");
            let slot = self.slot_at_hand(key);
            let mut counter = match slot.record.take() {
                Some(Record::Counter(counter)) => counter,
                _ => Arc::default(),
            };
            change(period, Arc::make_mut(&mut counter));
            slot.record = Some(Record::Counter(counter));
        }
    }

    /// Changes what an org used of a meter in a day or month by properties, making it if need be.
    pub(crate) fn change_groups(
        &mut self,
        org: &OrgId,
        meter: &MeterId,
        period: Period,
        change: impl FnOnce(&mut Groups),
    ) {
        let slot = self.slot(RecordKey::Groups(org.clone(), meter.clone(), period));
        let mut groups = match slot.record.take() {
            Some(Record::Groups(groups)) => groups,
            _ => Arc::default(),
        };
        change(Arc::make_mut(&mut groups));
        slot.record = Some(Record::Groups(groups));
    }

    /// Changes what is unsent of an org's day, making it if need be.
    pub(crate) fn change_unsent(&mut self, org: &OrgId, day: i32, change: impl FnOnce(&mut Unsent)) {
        let slot = self.slot(RecordKey::Unsent(org.clone(), day));
        let mut unsent = match slot.record.take() {
            Some(Record::Unsent(unsent)) => unsent,
            _ => Arc::default(),
        };
        change(Arc::make_mut(&mut unsent));
        slot.record = Some(Record::Unsent(unsent));
    }

    /// Changes a key that was seen.
    pub(crate) fn change_key(&mut self, id: KeyId, change: impl FnOnce(&mut KeyRecord)) {
        if let Some(Record::Key(key)) = &mut self.slot(RecordKey::Key(id)).record {
            change(Arc::make_mut(key));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::Window;

    #[test]
    fn what_is_not_at_hand_is_neither_changed_nor_taken_for_zero() {
        let org = OrgId::new("acme").expect("an id");
        let meter = MeterId::new("reports").expect("an id");
        let periods = |number| [Period { window: Window::Day, number }];
        let count = |records: &mut Records, number| {
            records.change_counters(&org, &meter, &Scope::Org, &periods(number), |_, counter| {
                counter.value += Amount::from_whole(1);
            });
        };
        let account = RecordKey::Account(org.clone(), meter.clone());
        let closed = RecordKey::Counter(CounterId {
            org: org.clone(),
            meter: meter.clone(),
            scope: Scope::Org,
            period: Period { window: Window::Day, number: 1 },
        });
        let panics = |work: &mut dyn FnMut()| catch_unwind(AssertUnwindSafe(work)).is_err();

        let mut stored = Records::complete();
        count(&mut stored, 2);
        let mut records = Records::default();
        assert!(panics(&mut || count(&mut records, 2)), "the account is not loaded");
        // Day 2 is open, so day 1 is closed: its counter is a record of its own.
        records.put(account.clone(), stored.get(&account).cloned());
        let [first] = periods(1);
        assert!(
            panics(&mut || drop(records.counter(&org, &meter, &Scope::Org, first))),
            "the counter is not loaded"
        );
        assert!(panics(&mut || count(&mut records, 1)), "nor can it be changed");
        records.put(closed, None);
        count(&mut records, 1);
        assert_eq!(records.counter(&org, &meter, &Scope::Org, first).value, Amount::from_whole(1));

        // Nothing was counted on any day as the account was loaded, so nothing on day 1.
        let mut first_of_all = Records::default();
        first_of_all.put(account, None);
        count(&mut first_of_all, 2);
        assert_eq!(first_of_all.counter(&org, &meter, &Scope::Org, first).value, Amount::ZERO);
        count(&mut first_of_all, 1);
        assert_eq!(first_of_all.counter(&org, &meter, &Scope::Org, first).value, Amount::from_whole(1));

        let mut all = Records::complete();
        count(&mut all, 2);
        count(&mut all, 1);
        assert_eq!(all.counter(&org, &meter, &Scope::Org, first).value, Amount::from_whole(1));
    }
}

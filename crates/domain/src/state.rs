//! The state of one org: what decisions read, and entries change.
//!
//! It holds the org itself and those of its *parts* that were loaded. A question is put to it as if it held everything
//! ([`OrgState::ask`]): what was looked for and is neither loaded nor known to be absent is noted, and the answer is given
//! only if nothing was. So no list of what a question needs is kept beside the question, and where all is resident,
//! asking costs nothing.

mod counters;
mod warm;

pub use warm::Distance;

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use jiff::Timestamp;
use smallvec::SmallVec;

use crate::counter::{Place, ScopeRef};
use crate::keys::Keys;
use crate::users::Users;
use crate::{
    Account, Bill, CatalogVersion, Counter, Entry, Groups, KeyRecord, KeySpace, MeterId, Org, OrgId, PartKey,
    Period, Record, RecordKey, Scope, ScopePath, Tally, Unsent, UsageKey, Wants,
};
pub(crate) use counters::{Counters, OnMeter};

/// A loaded part; `None`: it is known to be absent.
#[derive(Clone, Debug)]
struct Slot<T> {
    value: Option<T>,
    changed: bool,
}

impl<T> Slot<T> {
    const fn loaded(value: Option<T>) -> Self {
        Self { value, changed: false }
    }
}

/// What is loaded of a meter.
#[derive(Clone, Debug)]
struct MeterState {
    id: MeterId,
    account: Option<Slot<Account>>,
    users: Users<Slot<Tally>>,
    /// Few orgs have limits on paths.
    paths: Option<Box<Paths>>,
}

/// The open counters of paths, as far as they were looked up.
type Paths = HashMap<ScopePath, Slot<Tally>, RandomState>;

impl MeterState {
    fn path(&self, path: &str) -> Option<&Slot<Tally>> {
        self.paths.as_ref()?.get(path)
    }

    fn path_mut(&mut self, path: &str) -> Option<&mut Slot<Tally>> {
        self.paths.as_mut()?.get_mut(path)
    }

    /// Takes the counters of a path that was not looked up; of one that was, what is here stays.
    fn put_path(&mut self, path: ScopePath, tally: Option<Tally>) -> &mut Slot<Tally> {
        self.paths.get_or_insert_default().entry(path).or_insert(Slot::loaded(tally))
    }
}

/// An org, and the parts of it that are loaded.
#[derive(Clone, Debug)]
pub struct OrgState {
    id: OrgId,
    org: Slot<Org>,
    /// A few: an org uses one to some dozens. One lies in place; a vector would make room for four.
    meters: SmallVec<[MeterState; 1]>,
    /// All other parts of its image.
    parts: HashMap<PartKey, Slot<Record>, RandomState>,
    /// Facts that were looked up, or came about since they were last forgotten: callers' keys, and others.
    keys: Keys,
    facts: HashMap<PartKey, Option<Record>, RandomState>,
    /// The parts that were changed, each once.
    changed: Vec<PartKey>,
    /// Whether what is not here does not exist.
    complete: bool,
    /// What was looked for in vain.
    wants: RefCell<Vec<PartKey>>,
}

impl OrgState {
    /// An org as it was loaded, without parts; `None`: there is no such org.
    #[must_use]
    pub fn new(id: OrgId, org: Option<Org>) -> Self {
        Self {
            id,
            org: Slot::loaded(org),
            meters: SmallVec::new(),
            parts: HashMap::default(),
            keys: Keys::default(),
            facts: HashMap::default(),
            changed: Vec::new(),
            complete: false,
            wants: RefCell::default(),
        }
    }

    /// An org as its record in a store says; `None`: there is no such org.
    #[must_use]
    pub fn of(id: OrgId, record: Option<Record>) -> Self {
        let org = match record {
            Some(Record::Org(org)) => Some(Arc::unwrap_or_clone(org)),
            _ => None,
        };
        Self::new(id, org)
    }

    /// An org that does not exist yet, with all its parts: what is not put here is absent.
    #[must_use]
    pub fn complete(id: OrgId) -> Self {
        Self { complete: true, ..Self::new(id, None) }
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> &OrgId {
        &self.id
    }

    /// The org; `None`: it does not exist.
    #[must_use]
    pub const fn org(&self) -> Option<&Org> {
        self.org.value.as_ref()
    }

    /// The number of its latest entry; zero before the first.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.org().map_or(0, |org| org.version)
    }

    /// Puts a question that changes nothing.
    ///
    /// # Errors
    /// The parts it lacked; its answer is worth nothing then, and is not given.
    pub fn ask<T>(&self, question: impl FnOnce(&Self) -> T) -> Result<T, Wants> {
        self.wants.borrow_mut().clear();
        let answer = question(self);
        let wants = std::mem::take(&mut *self.wants.borrow_mut());
        if wants.is_empty() { Ok(answer) } else { Err(Wants(wants)) }
    }

    /// Notes that a part is asked for; whether it is here, or known to be absent.
    pub(crate) fn want(&self, key: PartKey) -> bool {
        if self.complete || self.holds(&key) {
            return true;
        }
        self.lacks(key);
        false
    }

    fn lacks(&self, key: PartKey) {
        if self.complete {
            return;
        }
        let mut wants = self.wants.borrow_mut();
        if !wants.contains(&key) {
            wants.push(key);
        }
    }

    /// Whether a part is loaded, or known to be absent.
    #[must_use]
    pub fn holds(&self, key: &PartKey) -> bool {
        match key {
            PartKey::Account(meter) => self.meter(meter).is_some_and(|known| known.account.is_some()),
            PartKey::Tally(meter, user) => {
                self.meter(meter).is_some_and(|known| known.users.get(user).is_some())
            }
            PartKey::PathTally(meter, path) => {
                self.meter(meter).is_some_and(|known| known.path(path.as_str()).is_some())
            }
            PartKey::Key(space, key) => self.keys.get(*space, key).is_some(),
            key if key.is_fact() => self.facts.contains_key(key),
            key => self.parts.contains_key(key),
        }
    }

    /// Takes a part that was loaded, or its absence. What is here already stays.
    pub fn put(&mut self, key: PartKey, record: Option<Record>) {
        match (key, record) {
            (PartKey::Account(meter), record) => {
                let account = match record {
                    Some(Record::Account(account)) => Some(Arc::unwrap_or_clone(account)),
                    _ => None,
                };
                self.meter_mut(&meter).account.get_or_insert(Slot::loaded(account));
            }
            (PartKey::Tally(meter, user), record) => {
                self.meter_mut(&meter).users.put(user, Slot::loaded(tally_in(record)));
            }
            (PartKey::PathTally(meter, path), record) => {
                self.meter_mut(&meter).put_path(path, tally_in(record));
            }
            (PartKey::Key(space, key), record) => {
                let record = match record {
                    Some(Record::Key(key)) => Some(Arc::unwrap_or_clone(key)),
                    _ => None,
                };
                self.put_key(space, key, record);
            }
            (key, record) if key.is_fact() => {
                self.facts.entry(key).or_insert(record);
            }
            (key, record) => {
                self.parts.entry(key).or_insert(Slot::loaded(record));
            }
        }
    }

    fn meter(&self, id: &MeterId) -> Option<&MeterState> {
        self.meters.iter().find(|meter| meter.id == *id)
    }

    fn meter_mut(&mut self, id: &MeterId) -> &mut MeterState {
        let known = self.meters.iter().position(|meter| meter.id == *id);
        let place = known.unwrap_or_else(|| {
            self.meters.push(MeterState {
                id: id.clone(),
                account: None,
                users: Users::default(),
                paths: None,
            });
            self.meters.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "the place was found or made a line above")]
        &mut self.meters[place]
    }

    fn fact(&self, key: PartKey) -> Option<&Record> {
        match self.facts.get(&key) {
            Some(fact) => fact.as_ref(),
            None => {
                self.lacks(key);
                None
            }
        }
    }

    fn part(&self, key: PartKey) -> Option<&Record> {
        match self.parts.get(&key) {
            Some(slot) => slot.value.as_ref(),
            None => {
                self.lacks(key);
                None
            }
        }
    }

    /// How the org stands on a meter.
    #[must_use]
    pub fn account(&self, meter: &MeterId) -> Option<&Account> {
        self.on(meter).account()
    }

    /// What is known of a meter: found once, for all that is asked of it.
    pub(crate) fn on<'a>(&self, meter: &'a MeterId) -> OnMeter<'_, 'a> {
        OnMeter { state: self, meter, known: self.meter(meter) }
    }

    /// The counters of a scope on a meter.
    pub(crate) fn counters<'a>(&self, meter: &'a MeterId, scope: ScopeRef<'a>) -> Counters<'_, 'a> {
        self.on(meter).counters(scope)
    }

    /// Where a counter is.
    #[must_use]
    pub fn place(&self, meter: &MeterId, scope: &Scope, period: Period) -> Place<'_> {
        self.on(meter).tally(scope.into()).map_or(Place::NotYet, |tally| tally.place(period))
    }

    /// A counter, open or closed; zero where nothing was counted.
    #[must_use]
    pub fn counter(&self, meter: &MeterId, scope: &Scope, period: Period) -> &Counter {
        self.counters(meter, scope.into()).of(period)
    }

    /// What was used of a meter in a period, by properties.
    #[must_use]
    pub fn groups(&self, meter: &MeterId, period: Period) -> Option<&Groups> {
        match self.part(PartKey::Groups(meter.clone(), period)) {
            Some(Record::Groups(groups)) => Some(groups),
            _ => None,
        }
    }

    /// What is unsent of a day.
    #[must_use]
    pub fn unsent(&self, day: i32) -> Option<&Unsent> {
        match self.part(PartKey::Unsent(day)) {
            Some(Record::Unsent(unsent)) => Some(unsent),
            _ => None,
        }
    }

    /// The closed bill of a month.
    #[must_use]
    pub fn bill(&self, month: i32) -> Option<&Arc<Bill>> {
        match self.part(PartKey::Bill(month)) {
            Some(Record::Bill(bill)) => Some(bill),
            _ => None,
        }
    }

    /// A version of the catalog.
    #[must_use]
    pub fn catalog(&self, version: u32) -> Option<&CatalogVersion> {
        match self.fact(PartKey::Catalog(version)) {
            Some(Record::Catalog(catalog)) => Some(catalog),
            _ => None,
        }
    }

    /// A key that was seen.
    #[must_use]
    pub fn key(&self, space: KeySpace, key: &UsageKey) -> Option<&KeyRecord> {
        match self.keys.get(space, key) {
            Some(known) => known.as_ref(),
            None => {
                self.lacks(PartKey::Key(space, key.clone()));
                None
            }
        }
    }

    /// Takes what a store remembers of a key. What is here already stays, unless the key was taken for new.
    pub fn put_key(&mut self, space: KeySpace, key: UsageKey, record: Option<KeyRecord>) {
        match self.keys.get_mut(space, &key) {
            Some(known) if known.is_none() => *known = record,
            Some(_) => {}
            None => self.keys.insert(space, key, record),
        }
    }

    /// Whether a key is known to be new, or taken for new.
    #[must_use]
    pub fn is_new_key(&self, space: KeySpace, key: &UsageKey) -> bool {
        self.keys.get(space, key).is_some_and(Option::is_none)
    }

    /// An entry.
    #[must_use]
    pub fn entry(&self, number: u64) -> Option<&Entry> {
        // One that is not written yet is not looked for: what is known to be absent would stay so.
        if !self.complete && !(1..=self.version()).contains(&number) {
            return None;
        }
        match self.fact(PartKey::Entry(number)) {
            Some(Record::Entry(entry)) => Some(entry),
            _ => None,
        }
    }

    /// The org as its record in a store says.
    #[must_use]
    pub fn head(&self) -> Option<Record> {
        self.org().map(|org| Record::Org(Arc::new(org.clone())))
    }

    /// A part as a store keeps it, if it is loaded.
    #[must_use]
    pub fn record(&self, key: &PartKey) -> Option<Record> {
        match key {
            PartKey::Account(meter) => {
                let account = self.meter(meter)?.account.as_ref()?.value.clone()?;
                Some(Record::Account(Arc::new(account)))
            }
            PartKey::Tally(meter, user) => {
                let tally = self.meter(meter)?.users.get(user)?.value.clone()?;
                Some(Record::Tally(Arc::new(tally)))
            }
            PartKey::PathTally(meter, path) => {
                let tally = self.meter(meter)?.path(path.as_str())?.value.clone()?;
                Some(Record::Tally(Arc::new(tally)))
            }
            PartKey::Key(space, key) => {
                let record = self.keys.get(*space, key)?.clone()?;
                Some(Record::Key(Arc::new(record)))
            }
            key if key.is_fact() => self.facts.get(key)?.clone(),
            key => self.parts.get(key)?.value.clone(),
        }
    }

    /// A copy with some of the parts, those that are loaded.
    #[must_use]
    pub fn copy(&self, parts: &[PartKey]) -> Self {
        let mut copy = Self::new(self.id.clone(), self.org().cloned());
        for key in parts.iter().filter(|key| self.holds(key)) {
            copy.put(key.clone(), self.record(key));
        }
        copy
    }

    /// Takes out what was changed since this was last called: the org and its parts as they are now.
    pub fn take_changed(&mut self) -> Vec<(RecordKey, Record)> {
        let mut records = Vec::with_capacity(self.changed.len() + 1);
        if std::mem::take(&mut self.org.changed) {
            records.extend(self.head().map(|head| (RecordKey::Org(self.id.clone()), head)));
        }
        for key in std::mem::take(&mut self.changed) {
            records.extend(self.record(&key).map(|record| (key.clone().of(&self.id), record)));
            match &key {
                PartKey::Account(meter) => {
                    if let Some(slot) = &mut self.meter_mut(meter).account {
                        slot.changed = false;
                    }
                }
                PartKey::Tally(meter, user) => {
                    if let Some(slot) = self.meter_mut(meter).users.get_mut(user) {
                        slot.changed = false;
                    }
                }
                PartKey::PathTally(meter, path) => {
                    if let Some(slot) = self.meter_mut(meter).path_mut(path.as_str()) {
                        slot.changed = false;
                    }
                }
                key => {
                    if let Some(slot) = self.parts.get_mut(key) {
                        slot.changed = false;
                    }
                }
            }
        }
        records
    }

    /// Notes that a store has what was taken out: of it what hardly ever changes any more is forgotten.
    pub fn saved(&mut self, records: &[(RecordKey, Record)]) {
        let parts = records.iter().filter_map(|(key, _)| PartKey::in_org(key)).map(|(_, part)| part);
        for part in parts.filter(PartKey::is_closed) {
            if self.parts.get(&part).is_some_and(|slot| !slot.changed) {
                self.parts.remove(&part);
            }
        }
    }

    /// Whether anything was changed since [`OrgState::take_changed`].
    #[must_use]
    pub const fn is_changed(&self) -> bool {
        self.org.changed
    }

    /// Forgets the facts: a store knows them.
    pub fn forget_facts(&mut self) {
        // Their room, too: it would be held for each org that is in memory.
        if self.facts.capacity() > 0 {
            self.facts = HashMap::default();
        }
        self.keys.clear();
    }

    /// How much of memory the parts that are loaded take, in parts of the usual size.
    #[must_use]
    pub fn weight(&self) -> usize {
        let paths = |meter: &MeterState| meter.paths.as_ref().map_or(0, |paths| paths.len());
        let meters = self.meters.iter().map(|meter| 1 + meter.users.len() + paths(meter));
        let parts = self.parts.values().map(|slot| slot.value.as_ref().map_or(1, Record::weight));
        meters.chain(parts).sum()
    }

    /// Forgets what is held.
    pub(crate) fn forget_holds(&mut self) {
        if let Some(org) = &mut self.org.value {
            org.holds = None;
        }
    }

    /// Forgets a part: it is looked up again when it is asked for.
    pub(crate) fn forget(&mut self, key: &PartKey) {
        if let PartKey::Key(space, key) = key {
            self.keys.remove(*space, key);
        }
        self.parts.remove(key);
        self.facts.remove(key);
    }

    /// Notes what is remembered of a key.
    pub(crate) fn remember_key(&mut self, space: KeySpace, key: &UsageKey, record: KeyRecord) {
        match self.keys.get_mut(space, key) {
            Some(known) => *known = Some(record),
            None => self.keys.insert(space, key.clone(), Some(record)),
        }
    }

    /// Notes that the usage of a key was taken back, if the key is loaded.
    pub(crate) fn take_back_key(&mut self, key: &UsageKey, entry: u64) {
        if let Some(Some(known)) = self.keys.get_mut(KeySpace::Use, key) {
            known.reversed_by = Some(entry);
        }
    }

    /// Sets a part, and marks it changed.
    pub(crate) fn set(&mut self, key: PartKey, record: Record) {
        let slot = self.parts.entry(key.clone()).or_insert(Slot::loaded(None));
        slot.value = Some(record);
        if !std::mem::replace(&mut slot.changed, true) {
            self.changed.push(key);
        }
    }

    /// Changes the org, making it if need be.
    pub(crate) fn change_org(&mut self, created_at: Timestamp, change: impl FnOnce(&mut Org)) {
        let Self { id, org, .. } = self;
        org.changed = true;
        change(org.value.get_or_insert_with(|| Org::new(id.clone(), created_at)));
    }

    /// Changes an account, making it if need be.
    pub(crate) fn change_account<T>(&mut self, meter: &MeterId, change: impl FnOnce(&mut Account) -> T) -> T {
        let complete = self.complete;
        let known = self.meter_mut(meter);
        assert!(complete || known.account.is_some(), "the account of {meter} {NOT_LOADED}");
        let slot = known.account.get_or_insert(Slot::loaded(None));
        let made = change(slot.value.get_or_insert_default());
        if !std::mem::replace(&mut slot.changed, true) {
            self.changed.push(PartKey::Account(meter.clone()));
        }
        made
    }

    /// Changes the open counters of a scope, making them if need be.
    fn change_tally<T>(
        &mut self,
        meter: &MeterId,
        scope: ScopeRef<'_>,
        change: impl FnOnce(&mut Tally) -> T,
    ) -> T {
        match scope {
            ScopeRef::Org => self.change_account(meter, |account| change(&mut account.tally)),
            ScopeRef::User(user) => {
                let complete = self.complete;
                let users = &mut self.meter_mut(meter).users;
                let slot = match users.get_mut(user) {
                    Some(slot) => slot,
                    None => {
                        assert!(complete, "the counters of {user} of {meter} {NOT_LOADED}");
                        users.put(user.clone(), Slot::loaded(None))
                    }
                };
                let made = change(slot.value.get_or_insert_default());
                if !std::mem::replace(&mut slot.changed, true) {
                    self.changed.push(PartKey::Tally(meter.clone(), user.clone()));
                }
                made
            }
            ScopeRef::Path(path) => {
                let complete = self.complete;
                let known = self.meter_mut(meter);
                if known.path(path).is_none() {
                    assert!(complete, "the counters of {path} of {meter} {NOT_LOADED}");
                    known.put_path(ScopePath::of_prefix(path), None);
                }
                let Some(slot) = known.path_mut(path) else { return change(&mut Tally::default()) };
                let made = change(slot.value.get_or_insert_default());
                if !std::mem::replace(&mut slot.changed, true) {
                    self.changed.push(PartKey::PathTally(meter.clone(), ScopePath::of_prefix(path)));
                }
                made
            }
            ScopeRef::Seen(seen) => {
                let key = PartKey::Seen(meter.clone(), Arc::clone(seen));
                self.change_part(key, |record| match record {
                    Some(Record::Tally(tally)) => change(Arc::make_mut(tally)),
                    record => {
                        let mut tally = Tally::default();
                        let made = change(&mut tally);
                        *record = Some(Record::Tally(Arc::new(tally)));
                        made
                    }
                })
            }
        }
    }

    fn change_part<T>(&mut self, key: PartKey, change: impl FnOnce(&mut Option<Record>) -> T) -> T {
        assert!(self.complete || self.parts.contains_key(&key), "{key:?} {NOT_LOADED}");
        let slot = self.parts.entry(key.clone()).or_insert(Slot::loaded(None));
        let made = change(&mut slot.value);
        if !std::mem::replace(&mut slot.changed, true) {
            self.changed.push(key);
        }
        made
    }

    /// Changes counters of one scope, those of periods: opening, and closing what came before, as need be.
    pub(crate) fn change_counters(
        &mut self,
        meter: &MeterId,
        scope: ScopeRef<'_>,
        periods: impl Iterator<Item = Period>,
        mut change: impl FnMut(Period, &mut Counter),
    ) {
        let mut late = Vec::new();
        let mut closed = Vec::new();
        self.change_tally(meter, scope, |tally| {
            for period in periods {
                if !tally.change(period, &mut closed, |counter| change(period, counter)) {
                    late.push(period);
                }
            }
        });
        for open in closed {
            let key = PartKey::Counter(meter.clone(), scope.to_scope(), open.period);
            self.set(key, Record::Counter(Arc::new(open.counter)));
        }
        for period in late {
            let key = PartKey::Counter(meter.clone(), scope.to_scope(), period);
            self.change_part(key, |record| {
                let mut counter = match record.take() {
                    Some(Record::Counter(counter)) => counter,
                    _ => Arc::default(),
                };
                change(period, Arc::make_mut(&mut counter));
                *record = Some(Record::Counter(counter));
            });
        }
    }

    /// Changes what was used of a meter in a period by properties, making it if need be.
    pub(crate) fn change_groups(
        &mut self,
        meter: &MeterId,
        period: Period,
        change: impl FnOnce(&mut Groups),
    ) {
        self.change_part(PartKey::Groups(meter.clone(), period), |record| {
            let mut groups = match record.take() {
                Some(Record::Groups(groups)) => groups,
                _ => Arc::default(),
            };
            change(Arc::make_mut(&mut groups));
            *record = Some(Record::Groups(groups));
        });
    }

    /// Changes what is unsent of a day, making it if need be.
    pub(crate) fn change_unsent(&mut self, day: i32, change: impl FnOnce(&mut Unsent)) {
        self.change_part(PartKey::Unsent(day), |record| {
            let mut unsent = match record.take() {
                Some(Record::Unsent(unsent)) => unsent,
                _ => Arc::default(),
            };
            change(Arc::make_mut(&mut unsent));
            *record = Some(Record::Unsent(unsent));
        });
    }
}

/// The open counters in a record.
fn tally_in(record: Option<Record>) -> Option<Tally> {
    match record {
        Some(Record::Tally(tally)) => Some(Arc::unwrap_or_clone(tally)),
        _ => None,
    }
}

/// What is wrong where a part is changed that nobody loaded: the change would be written over what is stored.
const NOT_LOADED: &str = "is neither loaded nor known to be absent";

//! The owner of the orgs: decides on their states, appends what was decided, and saves the states at leisure.
//!
//! To have an org is always the same: its image, and the entries since. One that is not in memory, one that is found after a
//! crash, and one that another process changed are opened alike.
//!
//! No threads, no queues, no clock.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use tollgate_domain::{
    Actor, Context, Entry, KeyId, Moments, OrgDecision, OrgId, OrgState, PartKey, Partition, Record,
    RecordKey, SystemCommand, SystemDenial, SystemOutcome, SystemRecords, Timestamp, apply, apply_system,
    decide, decide_system, read_by_system, touched, touched_by_system,
};
use tollgate_storage::{Append, Appended, EntryChange, Image, Opened, Store, StoreError, StoreErrorKind};

use crate::Pace;
use crate::catalog::CatalogInForce;
use crate::limits::{OPEN_ROUNDS_MAX, SAVED_AT_ONCE_MAX, URGENT_AT_ONCE_MAX};
use crate::queue::Asked;
use crate::resident::{Checkpoint, Residents};

/// What one turn goes by.
#[derive(Clone, Copy)]
pub(crate) struct Terms<'a> {
    pub(crate) catalog: &'a CatalogInForce,
    pub(crate) key_keep_secs: i64,
    pub(crate) at: Timestamp,
}

impl<'a> Terms<'a> {
    fn context(self, moments: &'a Moments, actor: &'a Actor) -> Context<'a> {
        Context {
            catalog: &self.catalog.catalog,
            catalog_version: self.catalog.version,
            catalog_since: self.catalog.since,
            moments,
            key_keep_secs: self.key_keep_secs,
            actor,
        }
    }
}

/// What became of one request of a turn.
pub(crate) enum Settled<T> {
    /// Durable and true: to be answered.
    Answered(T),
    /// Another process was faster: to be decided again.
    Again,
}

/// Where a turn failed.
pub(crate) enum TurnError {
    /// Nothing was written.
    Load(StoreError),
    /// A refusal wrote nothing; of any other error it is not known.
    Append(StoreError),
}

/// The owner of the orgs of a store.
#[derive(Debug)]
pub(crate) struct Shard<S> {
    pub(crate) store: Arc<S>,
    residents: Residents,
    /// The position of the latest append.
    latest: u64,
    /// The position of the first append that the system's image lacks.
    system_unsaved: Option<u64>,
}

/// The entries of a turn: one append per org.
#[derive(Default)]
struct Staged {
    appends: Vec<Append>,
    places: HashMap<OrgId, usize, RandomState>,
}

impl Staged {
    fn add(&mut self, org: &OrgId, entry: Entry) {
        let appends = &mut self.appends;
        let place = *self.places.entry(org.clone()).or_insert_with(|| {
            appends.push(Append {
                partition: Partition::Org(org.clone()),
                expected_version: entry.number - 1,
                entries: Vec::with_capacity(1),
            });
            appends.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "the place was found or made a line above")]
        appends[place].entries.push(EntryChange::Org(entry));
    }

    /// An entry of the turn: no store has it yet.
    fn entry(&self, org: &OrgId, number: u64) -> Option<Record> {
        let append = self.appends.get(*self.places.get(org)?)?;
        let place = usize::try_from(number.checked_sub(append.expected_version + 1)?).ok()?;
        match append.entries.get(place)? {
            EntryChange::Org(entry) => Some(Record::Entry(Arc::new(entry.clone()))),
            EntryChange::System(_) => None,
        }
    }

    /// Gives an org those of the parts it wants that are of the turn; the others are left.
    fn give(&self, state: &mut OrgState, wants: &mut Vec<PartKey>) {
        wants.retain(|key| {
            let PartKey::Entry(number) = key else { return true };
            let entry = self.entry(state.id(), *number);
            let is_left = entry.is_none();
            if !is_left {
                state.put(key.clone(), entry);
            }
            is_left
        });
    }
}

impl<S: Store> Shard<S> {
    pub(crate) fn new(store: Arc<S>, pace: Pace) -> Self {
        Self { store, residents: Residents::new(pace), latest: 0, system_unsaved: None }
    }

    /// Whether other processes may change the store.
    pub(crate) fn is_shared(&self) -> bool {
        self.store.capabilities().shared
    }

    /// Notes the orgs whose images lack entries that others appended.
    pub(crate) async fn note_behind(&mut self) -> Result<(), StoreError> {
        for partition in self.store.behind().await? {
            match partition {
                Partition::Org(org) => self.residents.note_behind(&org),
                Partition::System => save_system(self.store.as_ref()).await?,
            }
        }
        Ok(())
    }

    /// Decides requests of orgs in order, appends once, and says what became of each.
    pub(crate) async fn run_orgs(
        &mut self,
        terms: Terms<'_>,
        requests: &[Asked<'_>],
    ) -> Result<Vec<Settled<OrgDecision>>, TurnError> {
        let run = self.run_staged(terms, requests).await;
        if run.is_err() {
            // What was decided is not in the store: it is opened again as it is there.
            requests.iter().for_each(|asked| self.residents.forget(asked.org));
        }
        run
    }

    async fn run_staged(
        &mut self,
        terms: Terms<'_>,
        requests: &[Asked<'_>],
    ) -> Result<Vec<Settled<OrgDecision>>, TurnError> {
        let (decisions, staged) = self.decide_all(terms, requests).await?;
        let stale = self.append(staged, requests).await?;
        // Also those that a denial asked for: each of its keys may be new.
        for asked in requests {
            if let Some(resident) = self.residents.get(asked.org) {
                resident.state.forget_facts();
            }
        }
        let settled = requests.iter().zip(decisions).map(|(asked, decision)| {
            if stale.contains(asked.org) { Settled::Again } else { Settled::Answered(decision) }
        });
        Ok(settled.collect())
    }

    /// Decides requests in order, each on what the one before made of its org.
    async fn decide_all(
        &mut self,
        terms: Terms<'_>,
        requests: &[Asked<'_>],
    ) -> Result<(Vec<OrgDecision>, Staged), TurnError> {
        let moments = Moments::new(terms.at);
        let mut decisions = Vec::with_capacity(requests.len());
        let mut staged = Staged::default();
        self.open_all(requests.iter().map(|asked| asked.org)).await.map_err(TurnError::Load)?;
        self.find_keys(requests).await.map_err(TurnError::Load)?;
        for Asked { actor, org, command } in requests {
            let outcome = loop {
                let Some(resident) = self.residents.get(org) else { return Err(TurnError::Load(moved())) };
                let decided = decide(&resident.state, &terms.context(&moments, actor), command);
                match decided {
                    Ok(outcome) => break outcome,
                    Err(mut wants) => {
                        staged.give(&mut resident.state, &mut wants.0);
                        self.load_parts(org, wants.0).await.map_err(TurnError::Load)?;
                    }
                }
            };
            if let Some(entry) = outcome.entry {
                if let Some(resident) = self.residents.get(org) {
                    apply(&mut resident.state, &entry);
                }
                self.residents.note(org, &entry.kind);
                staged.add(org, entry);
            }
            decisions.push(outcome.decision);
        }
        Ok((decisions, staged))
    }

    /// Opens the orgs that are not in memory.
    async fn open_all<'a>(&mut self, orgs: impl Iterator<Item = &'a OrgId>) -> Result<(), StoreError> {
        let mut lacking: Vec<&OrgId> = orgs.filter(|org| !self.residents.holds(org)).collect();
        if lacking.is_empty() {
            return Ok(());
        }
        lacking.sort_unstable();
        lacking.dedup();
        let partitions: Vec<Partition> = lacking.into_iter().cloned().map(Partition::Org).collect();
        let opened = self.store.open(&partitions).await?;
        assert_eq!(opened.len(), partitions.len(), "a store opens every partition");
        for (partition, opened) in partitions.into_iter().zip(opened) {
            let Partition::Org(org) = partition else { continue };
            let (state, image) = replayed(self.store.as_ref(), org, opened).await?;
            self.residents.insert(state, image);
        }
        Ok(())
    }

    /// Looks up the keys that commands name.
    async fn find_keys(&mut self, requests: &[Asked<'_>]) -> Result<(), StoreError> {
        let mut keys: Vec<KeyId> = Vec::with_capacity(requests.len());
        for Asked { org, command, .. } in requests {
            if let (Some(name), Some(resident)) = (command.named_key(), self.residents.get(org))
                && !resident.state.holds(&name)
                && let PartKey::Key(space, key) = name
            {
                keys.push(KeyId { org: (*org).clone(), space, key });
            }
        }
        if keys.is_empty() {
            return Ok(());
        }
        let found = self.store.find(&keys).await?;
        assert_eq!(found.len(), keys.len(), "a store answers every key");
        for (KeyId { org, space, key }, found) in keys.into_iter().zip(found) {
            if let Some(resident) = self.residents.get(&org) {
                resident.state.put_key(space, key, found);
            }
        }
        Ok(())
    }

    /// Loads parts of an org that is in memory.
    async fn load_parts(&mut self, org: &OrgId, keys: Vec<PartKey>) -> Result<(), StoreError> {
        let saving = self.residents.saving(org);
        let Some(resident) = self.residents.get(org) else { return Err(moved()) };
        let store = self.store.as_ref();
        let mut loaded = load(store, &mut resident.state, resident.image, keys.clone()).await;
        if let (Err(error), Some(saving)) = (&loaded, saving)
            && error.kind() == StoreErrorKind::Moved
        {
            // The image that was on its way is there by now. What it changed is in memory.
            loaded = load(store, &mut resident.state, saving, keys).await;
        }
        self.residents.count(org);
        loaded
    }

    /// Appends what was decided, and says of which orgs another process was faster.
    async fn append(&mut self, staged: Staged, requests: &[Asked<'_>]) -> Result<Vec<OrgId>, TurnError> {
        let Staged { appends, places } = staged;
        let mut stale = Vec::new();
        if !appends.is_empty() {
            let orgs: Vec<(Partition, usize)> =
                appends.iter().map(|append| (append.partition.clone(), append.entries.len())).collect();
            let appended = self.store.append(appends).await.map_err(TurnError::Append)?;
            assert_eq!(appended.answers.len(), orgs.len(), "a store answers every append");
            self.latest = appended.position;
            for ((partition, entries), answer) in orgs.into_iter().zip(appended.answers) {
                let Partition::Org(org) = partition else { continue };
                match answer {
                    Appended::Done => self.residents.appended(&org, entries, appended.position),
                    Appended::Conflict => stale.push(org),
                }
            }
        }
        if self.is_shared() {
            let unguarded = requests.iter().map(|asked| asked.org).filter(|org| !places.contains_key(*org));
            let unguarded: Vec<OrgId> = unguarded.cloned().collect();
            self.check_unguarded(unguarded, &mut stale).await;
        }
        stale.iter().for_each(|org| self.residents.forget(org));
        Ok(stale)
    }

    /// A denial counts only if it was decided on the current version.
    async fn check_unguarded(&mut self, orgs: Vec<OrgId>, stale: &mut Vec<OrgId>) {
        let partitions: Vec<Partition> = orgs.iter().cloned().map(Partition::Org).collect();
        if partitions.is_empty() {
            return;
        }
        // What was appended is to be answered, whatever becomes of the others: those are decided again.
        let Ok(opened) = self.store.open(&partitions).await else {
            stale.extend(orgs);
            return;
        };
        for (org, opened) in orgs.into_iter().zip(opened) {
            let decided_on = self.residents.get(&org).map_or(0, |resident| resident.state.version());
            if decided_on != opened.version() {
                stale.push(org);
            }
        }
    }

    /// Decides and appends one command of the system; gives its records as they are after it.
    pub(crate) async fn run_system(
        &mut self,
        at: Timestamp,
        actor: &Actor,
        command: &SystemCommand,
    ) -> Result<(Settled<Result<u32, SystemDenial>>, SystemRecords), TurnError> {
        let store = self.store.as_ref();
        let keys = read_by_system(command);
        let mut records = system_records(store, &keys).await.map_err(TurnError::Load)?;
        let SystemOutcome { decision, entry } = decide_system(&records, at, actor, command);
        let Some(entry) = entry else { return Ok((Settled::Answered(decision), records)) };
        apply_system(&mut records, &entry);
        let append = Append {
            partition: Partition::System,
            expected_version: entry.number - 1,
            entries: vec![EntryChange::System(entry)],
        };
        let appended = store.append(vec![append]).await.map_err(TurnError::Append)?;
        self.latest = appended.position;
        if appended.answers.first() != Some(&Appended::Done) {
            return Ok((Settled::Again, records));
        }
        // The system changes rarely, and lists of what is in it are read from its image.
        self.system_unsaved.get_or_insert(self.latest);
        if let Err(error) = self.save_system().await {
            tracing::warn!(%error, "the system's image lags behind its ledger");
        }
        Ok((Settled::Answered(decision), records))
    }

    /// Brings the image of the system up to date, if it lacks something.
    async fn save_system(&mut self) -> Result<(), StoreError> {
        if self.system_unsaved.is_some() {
            save_system(self.store.as_ref()).await?;
            self.system_unsaved = None;
        }
        Ok(())
    }

    /// Forgets an org: its image is not the one that it was opened with any more.
    pub(crate) fn forget(&mut self, org: &OrgId) {
        self.residents.forget(org);
    }

    /// A copy of the state of an org with some of its parts, all of one version.
    pub(crate) async fn view(&mut self, org: &OrgId, parts: &[PartKey]) -> Result<OrgState, StoreError> {
        self.open_all(std::iter::once(org)).await?;
        let Some(resident) = self.residents.get(org) else { return Err(moved()) };
        let lacking: Vec<PartKey> =
            parts.iter().filter(|part| !resident.state.holds(part)).cloned().collect();
        if !lacking.is_empty() {
            self.load_parts(org, lacking).await?;
        }
        let Some(resident) = self.residents.get(org) else { return Err(moved()) };
        let copy = resident.state.copy(parts);
        resident.state.forget_facts();
        Ok(copy)
    }

    /// Images that are due after a turn of some entries.
    pub(crate) async fn due(&mut self, entries: usize) -> Result<Option<Checkpoint>, StoreError> {
        if self.is_shared() {
            return self.save_some(|residents| residents.next_unsaved(u64::MAX), usize::MAX).await;
        }
        self.residents.trim();
        // Soon, so that lists show it also when no image can be written any more.
        let urgent = self.save_some(|residents| residents.next_urgent(u64::MAX), URGENT_AT_ONCE_MAX).await?;
        if urgent.is_some() {
            return Ok(urgent);
        }
        let orgs = self.residents.due(entries);
        if orgs == 0 {
            return Ok(None);
        }
        self.save_some(|residents| residents.next_unsaved(u64::MAX), orgs).await
    }

    /// Up to where images are wanted that are to hold all there is by now.
    pub(crate) const fn up_to_now(&self, which: &Which) -> u64 {
        match which {
            Which::Heads => self.residents.notes(),
            _ => self.latest,
        }
    }

    /// Images of orgs: of all, of those of which more changed than usage, or of one; some at a time.
    pub(crate) async fn unsaved(
        &mut self,
        which: &Which,
        until: u64,
    ) -> Result<Option<Checkpoint>, StoreError> {
        let most = SAVED_AT_ONCE_MAX;
        match which {
            Which::System => self.save_system().await.map(|()| None),
            Which::All => self.save_some(|residents| residents.next_unsaved(until), most).await,
            Which::Heads => self.save_some(|residents| residents.next_urgent(until), most).await,
            Which::Org(org) => {
                let mut once = self.residents.is_unsaved(org).then(|| org.clone());
                self.save_some(|_| once.take(), 1).await
            }
        }
    }

    async fn save_some(
        &mut self,
        mut next: impl FnMut(&mut Residents) -> Option<OrgId>,
        most: usize,
    ) -> Result<Option<Checkpoint>, StoreError> {
        let mut images = Vec::new();
        while images.is_empty() {
            let orgs = std::iter::from_fn(|| next(&mut self.residents));
            let orgs: Vec<OrgId> = orgs.take(most.min(SAVED_AT_ONCE_MAX)).collect();
            if orgs.is_empty() {
                break;
            }
            // Before anything is taken out of any: what is taken and not kept would be lost.
            if let Err(error) = self.open_all(orgs.iter()).await {
                orgs.iter().rev().for_each(|org| self.residents.put_back(org));
                return Err(error);
            }
            // Another process may have saved some meanwhile.
            images.extend(orgs.iter().filter_map(|org| self.residents.image_of(org)));
        }
        let mut whole_until = self.residents.whole_until(self.latest);
        if let Err(error) = self.save_system().await {
            tracing::warn!(%error, "the system's image still lags behind its ledger");
        }
        if let Some(unsaved) = self.system_unsaved {
            whole_until = whole_until.min(unsaved.saturating_sub(1));
        }
        Ok((!images.is_empty()).then(|| Checkpoint { images: images.into(), whole_until }))
    }

    /// Notes that images were kept.
    pub(crate) fn saved(&mut self, images: &[Image]) {
        self.residents.saved(images);
    }

    /// After a turn on a shared store: another process may change any org.
    pub(crate) fn forget_shared(&mut self) {
        if self.is_shared() {
            self.residents.clear();
        }
    }

    /// How many orgs have images that lack entries.
    pub(crate) fn unsaved_orgs(&self) -> usize {
        self.residents.unsaved()
    }
}

/// Which images are to be brought up to date.
#[derive(Clone, Debug)]
pub(crate) enum Which {
    /// All.
    All,
    /// Those of orgs of which more changed than usage.
    Heads,
    /// One org's.
    Org(OrgId),
    /// The system's.
    System,
}

/// The state of an org: its image with the entries since; and the version of the image.
pub(crate) async fn replayed<S: Store>(
    store: &S,
    org: OrgId,
    opened: Opened,
) -> Result<(OrgState, u64), StoreError> {
    let image = opened.image();
    let mut state = OrgState::of(org, opened.head);
    for change in opened.entries {
        let EntryChange::Org(entry) = change else { continue };
        while let Err(wants) = touched(&state, &entry) {
            load(store, &mut state, image, wants.0).await?;
        }
        apply(&mut state, &entry);
    }
    state.forget_facts();
    Ok((state, image))
}

/// Loads parts of an org.
pub(crate) async fn load<S: Store>(
    store: &S,
    state: &mut OrgState,
    image: u64,
    keys: Vec<PartKey>,
) -> Result<(), StoreError> {
    let (of_org, others): (Vec<PartKey>, Vec<PartKey>) =
        keys.into_iter().partition(|key| !matches!(key, PartKey::Key(..) | PartKey::Catalog(_)));
    let names: Vec<RecordKey> = of_org.iter().map(|key| key.clone().of(state.id())).collect();
    if !names.is_empty() {
        let partition = Partition::Org(state.id().clone());
        let Some(loaded) = store.load(&partition, image, &names).await? else { return Err(moved()) };
        assert_eq!(loaded.len(), names.len(), "a store answers every key");
        of_org.into_iter().zip(loaded).for_each(|(key, record)| state.put(key, record));
    }
    for key in others {
        let record = match &key {
            PartKey::Key(space, name) => {
                let id = KeyId { org: state.id().clone(), space: *space, key: name.clone() };
                let found = store.find(std::slice::from_ref(&id)).await?.pop().flatten();
                found.map(|record| Record::Key(Arc::new(record)))
            }
            key => {
                let name = key.clone().of(state.id());
                system_records(store, std::slice::from_ref(&name)).await?.get(&name).cloned()
            }
        };
        state.put(key, record);
    }
    Ok(())
}

/// Records of the system: its image with the entries since. The system itself is always among them.
pub(crate) async fn system_records<S: Store>(
    store: &S,
    keys: &[RecordKey],
) -> Result<SystemRecords, StoreError> {
    for _ in 0..OPEN_ROUNDS_MAX {
        let Some(opened) = store.open(&[Partition::System]).await?.pop() else { break };
        let image = opened.image();
        let entries = opened.entries.iter().filter_map(|change| match change {
            EntryChange::System(entry) => Some(entry),
            EntryChange::Org(_) => None,
        });
        let mut names: Vec<RecordKey> = keys.to_vec();
        names.extend(entries.clone().flat_map(touched_by_system));
        names.retain(|name| *name != RecordKey::System);
        let loaded = if names.is_empty() {
            Some(Vec::new())
        } else {
            store.load(&Partition::System, image, &names).await?
        };
        let Some(loaded) = loaded else { continue };
        let mut records = SystemRecords::default();
        records.put(RecordKey::System, opened.head.clone());
        names.into_iter().zip(loaded).for_each(|(name, record)| records.put(name, record));
        entries.for_each(|entry| apply_system(&mut records, entry));
        return Ok(records);
    }
    Err(moved())
}

/// Brings the image of the system up to date.
async fn save_system<S: Store>(store: &S) -> Result<(), StoreError> {
    let records = system_records(store, &[]).await?;
    let records: Vec<_> = records.changed().map(|(key, record)| (key.clone(), record.clone())).collect();
    let Some(version) = records.iter().map(|(_, record)| record.version()).find(|version| *version > 0)
    else {
        return Ok(());
    };
    let image = Image { partition: Partition::System, version, records };
    store.checkpoint(Arc::new([image]), 0).await
}

/// An image changed while its parts were loaded: what needs them begins again.
fn moved() -> StoreError {
    StoreError::new(StoreErrorKind::Moved, "the organization changed while it was loaded")
}

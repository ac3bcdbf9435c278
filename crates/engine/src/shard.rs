//! The owner of the orgs: decides on their states, appends what was decided, and saves the states at leisure.
//!
//! To have an org is always the same: its image, and the entries since. One that is not in memory, one that is found after a
//! crash, and one that another process changed are opened alike.
//!
//! No threads, no queues, no clock.

use std::sync::Arc;

use tollgate_domain::{
    Actor, Context, Entry, EntryKind, Moments, OrgCommand, OrgDecision, OrgId, OrgState, PartKey, Partition,
    Record, SystemCommand, SystemDenial, SystemOutcome, SystemRecords, Timestamp, apply, apply_system,
    decide, decide_system, read_by_system,
};
use tollgate_storage::{Append, Appended, EntryChange, Image, Store, StoreError, StoreErrorKind};

use crate::Pace;
use crate::catalog::CatalogInForce;
use crate::expiring::Expiries;
use crate::limits::{SAVED_AT_ONCE_MAX, SHARED_LAG_ENTRIES_MAX, WARMED_AT_ONCE};
use crate::loading::{FoundKey, find_keys, load, moved, replayed, save_system, system_records};
use crate::queue::Asked;
use crate::resident::{Checkpoint, Place, Resident, Residents};

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
#[derive(Debug)]
pub(crate) enum Settled<T> {
    /// Durable and true: to be answered.
    Answered(T),
    /// Another process was faster: to be decided again.
    Again,
}

impl<T> Settled<T> {
    /// The answer, if there is one.
    pub(crate) fn answered(self) -> Option<T> {
        match self {
            Self::Answered(answer) => Some(answer),
            Self::Again => None,
        }
    }
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
    expiries: Expiries,
    /// The position of the latest append.
    latest: u64,
    /// The position of the first append that the system's image lacks.
    system_unsaved: Option<u64>,
}

/// The entries of a turn: one append per org, and where each org is.
#[derive(Default)]
struct Staged {
    appends: Vec<Append>,
    places: Vec<Place>,
    entries: usize,
}

impl Staged {
    /// Adds an entry of an org that is at a place.
    fn add(&mut self, resident: &mut Resident, place: Place, entry: Entry) {
        self.entries += 1;
        match resident.append.and_then(|append| self.appends.get_mut(append)) {
            Some(append) => append.entries.push(EntryChange::Org(entry)),
            None => {
                resident.append = Some(self.appends.len());
                self.places.push(place);
                self.appends.push(Append {
                    partition: Partition::Org(resident.state.id().clone()),
                    expected_version: entry.number - 1,
                    entries: vec![EntryChange::Org(entry)],
                });
            }
        }
    }

    /// An entry of the turn: no store has it yet.
    fn entry(&self, append: Option<usize>, number: u64) -> Option<Record> {
        let append = self.appends.get(append?)?;
        let place = usize::try_from(number.checked_sub(append.expected_version + 1)?).ok()?;
        match append.entries.get(place)? {
            EntryChange::Org(entry) => Some(Record::Entry(Arc::new(entry.clone()))),
            EntryChange::System(_) => None,
        }
    }

    /// Gives an org those of the parts it wants that are of the turn; the others are left.
    fn give(&self, resident: &mut Resident, wants: &mut Vec<PartKey>) {
        wants.retain(|key| {
            let PartKey::Entry(number) = key else { return true };
            let entry = self.entry(resident.append, *number);
            let is_left = entry.is_none();
            if !is_left {
                resident.state.put(key.clone(), entry);
            }
            is_left
        });
    }
}

impl<S: Store> Shard<S> {
    pub(crate) fn new(store: Arc<S>, pace: Pace) -> Self {
        let latest = store.position();
        let (residents, expiries) = (Residents::new(pace), Expiries::default());
        Self { store, residents, expiries, latest, system_unsaved: None }
    }

    /// Whether other processes may change the store.
    pub(crate) fn is_shared(&self) -> bool {
        self.store.capabilities().shared
    }

    /// Notes the orgs whose images lack entries that others appended.
    pub(crate) async fn note_behind(&mut self) -> Result<(), StoreError> {
        let mut orgs = Vec::new();
        for partition in self.store.behind().await? {
            match partition {
                Partition::Org(org) => orgs.push(org),
                Partition::System => save_system(self.store.as_ref()).await?,
            }
        }
        self.forget_stale(&orgs).await?;
        orgs.iter().for_each(|org| self.residents.note_behind(org));
        Ok(())
    }

    /// Forgets those of some orgs that another process changed.
    async fn forget_stale(&mut self, orgs: &[OrgId]) -> Result<(), StoreError> {
        if !self.is_shared() {
            return Ok(());
        }
        let place = |org: &OrgId| Some((org.clone(), self.residents.place(org)?));
        let held: Vec<(OrgId, Place)> = orgs.iter().filter_map(place).collect();
        for place in self.stale(&held).await? {
            self.residents.forget_at(place);
        }
        Ok(())
    }

    /// Which of some orgs are not in memory as they are in the store.
    async fn stale(&mut self, orgs: &[(OrgId, Place)]) -> Result<Vec<Place>, StoreError> {
        if orgs.is_empty() {
            return Ok(Vec::new());
        }
        let partitions: Vec<Partition> = orgs.iter().map(|(org, _)| Partition::Org(org.clone())).collect();
        let versions = self.store.versions(&partitions).await?;
        assert_eq!(versions.len(), orgs.len(), "a store knows the version of every partition");
        let stale = orgs.iter().zip(versions).filter(|((_, place), version)| {
            self.residents.at(*place).is_none_or(|known| known.state.version() != *version)
        });
        Ok(stale.map(|((_, place), _)| *place).collect())
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
        let places = self.open_all(requests.iter().map(|asked| asked.org)).await.map_err(TurnError::Load)?;
        let keys = find_keys(self.store.as_ref(), requests).await.map_err(TurnError::Load)?;
        let (mut settled, staged) = self.decide_all(terms, requests, &places, keys).await?;
        let stale = self.append(staged, requests, &places).await?;
        for (place, settled) in places.into_iter().zip(&mut settled) {
            if stale.contains(&place) {
                *settled = Settled::Again;
            }
            if let Some(resident) = self.residents.at(place) {
                // Also those that a denial asked for: each of its keys may be new.
                resident.state.forget_facts();
                resident.append = None;
            }
        }
        for place in stale {
            self.residents.forget_at(place);
        }
        Ok(settled)
    }

    /// Decides requests in order, each on what the one before made of its org.
    async fn decide_all(
        &mut self,
        terms: Terms<'_>,
        requests: &[Asked<'_>],
        places: &[Place],
        mut keys: impl Iterator<Item = Option<FoundKey>>,
    ) -> Result<(Vec<Settled<OrgDecision>>, Staged), TurnError> {
        let moments = Moments::new(terms.at);
        let mut decisions = Vec::with_capacity(requests.len());
        let mut staged = Staged::default();
        for (requests, places) in requests.chunks(WARMED_AT_ONCE).zip(places.chunks(WARMED_AT_ONCE)) {
            self.residents.warm(requests.iter().map(|asked| asked.command).zip(places));
            for (asked, place) in requests.iter().zip(places) {
                if let Some((space, key, found)) = keys.next().flatten()
                    && let Some(resident) = self.residents.at(*place)
                {
                    resident.state.put_key(space, key, found);
                }
                let expire = Asked { actor: &Actor::System, command: &OrgCommand::Expire, ..*asked };
                let decision = loop {
                    // What has expired by now has ended before anything else is decided.
                    let is_due =
                        self.residents.at(*place).is_some_and(|org| org.state.has_due_hold(terms.at));
                    let next = if is_due { &expire } else { asked };
                    match self.decide_one(terms, &moments, next, *place, &mut staged)? {
                        Ok(_) if is_due => {}
                        Ok(decision) => break decision,
                        Err(wants) => self.load_parts(*place, wants).await.map_err(TurnError::Load)?,
                    }
                };
                if matches!(asked.command, OrgCommand::Hold(_) | OrgCommand::Expire) {
                    self.note_expiry(asked, *place);
                }
                decisions.push(Settled::Answered(decision));
            }
        }
        Ok((decisions, staged))
    }

    /// Decides a request on what the ones before made of its org, or says which parts that lacks.
    fn decide_one(
        &mut self,
        terms: Terms<'_>,
        moments: &Moments,
        Asked { actor, org, command }: &Asked<'_>,
        place: Place,
        staged: &mut Staged,
    ) -> Result<Result<OrgDecision, Vec<PartKey>>, TurnError> {
        let Some(resident) = self.residents.at(place) else { return Err(TurnError::Load(moved())) };
        let outcome = match decide(&resident.state, &terms.context(moments, actor), command) {
            Ok(outcome) => outcome,
            Err(mut wants) => {
                staged.give(resident, &mut wants.0);
                return Ok(Err(wants.0));
            }
        };
        if let Some(entry) = outcome.entry {
            apply(&mut resident.state, &entry);
            let urgent = is_more_than_usage(&entry.kind);
            staged.add(resident, place, entry);
            if urgent {
                self.residents.note_urgent(org);
            }
        }
        Ok(Ok(outcome.decision))
    }

    /// Notes when the next hold of an org expires, once it holds something more, or what had expired is ended.
    fn note_expiry(&mut self, Asked { org, command, .. }: &Asked<'_>, place: Place) {
        let holds = self.residents.at(place).and_then(|resident| resident.state.org()?.holds.as_ref());
        let next = holds.and_then(|holds| holds.next_expiry());
        if matches!(command, OrgCommand::Expire) {
            self.expiries.set(org, next);
        } else {
            self.expiries.note(org, next);
        }
    }

    /// Some of the orgs with holds that may have expired.
    pub(crate) fn due_holds(&self, at: Timestamp) -> Vec<OrgId> {
        self.expiries.due(at)
    }

    /// Opens the orgs that are not in memory; says where each is, in the order asked.
    async fn open_all<'a>(
        &mut self,
        orgs: impl ExactSizeIterator<Item = &'a OrgId> + Clone,
    ) -> Result<Vec<Place>, StoreError> {
        let mut places = Vec::with_capacity(orgs.len());
        places.extend(orgs.clone().map_while(|org| self.residents.place(org)));
        if places.len() == orgs.len() {
            return Ok(places);
        }
        let mut lacking: Vec<&OrgId> =
            orgs.clone().filter(|org| self.residents.place(org).is_none()).collect();
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
        orgs.map(|org| self.residents.place(org).ok_or_else(moved)).collect()
    }

    /// Loads parts of an org that is in memory.
    async fn load_parts(&mut self, place: Place, keys: Vec<PartKey>) -> Result<(), StoreError> {
        let store = self.store.as_ref();
        let Some(resident) = self.residents.at(place) else { return Err(moved()) };
        let mut loaded = load(store, &mut resident.state, resident.image, keys.clone()).await;
        if loaded.as_ref().is_err_and(|error| error.kind() == StoreErrorKind::Moved) {
            let org = resident.state.id().clone();
            if let Some(saving) = self.residents.saving(&org)
                && let Some(resident) = self.residents.at(place)
            {
                // The image that was on its way is there by now. What it changed is in memory.
                loaded = load(store, &mut resident.state, saving, keys).await;
            }
        }
        self.residents.count(place);
        loaded
    }

    /// Appends what was decided, and says of which orgs another process was faster.
    async fn append(
        &mut self,
        staged: Staged,
        requests: &[Asked<'_>],
        places: &[Place],
    ) -> Result<Vec<Place>, TurnError> {
        let mut stale = Vec::new();
        if !staged.appends.is_empty() {
            let appended = self.store.append(staged.appends).await.map_err(TurnError::Append)?;
            assert_eq!(appended.answers.len(), staged.places.len(), "a store answers every append");
            self.latest = appended.position;
            for (place, answer) in staged.places.into_iter().zip(appended.answers) {
                match answer {
                    Appended::Done => self.residents.appended(place, appended.position),
                    Appended::Conflict => stale.push(place),
                }
                if self.is_shared() {
                    self.residents.note_lag(place, SHARED_LAG_ENTRIES_MAX);
                }
            }
            self.residents.count_entries(staged.entries);
        }
        if self.is_shared() {
            let asked = requests.iter().zip(places);
            let unguarded = asked.filter(|(_, place)| {
                self.residents.at(**place).is_some_and(|resident| resident.append.is_none())
            });
            let unguarded: Vec<(OrgId, Place)> =
                unguarded.map(|(asked, place)| (asked.org.clone(), *place)).collect();
            self.check_unguarded(&unguarded, &mut stale).await;
        }
        Ok(stale)
    }

    /// A denial counts only if it was decided on the current version.
    async fn check_unguarded(&mut self, orgs: &[(OrgId, Place)], stale: &mut Vec<Place>) {
        match self.stale(orgs).await {
            Ok(found) => stale.extend(found),
            // What was appended is to be answered, whatever becomes of the others: those are decided again.
            Err(_) => stale.extend(orgs.iter().map(|(_, place)| *place)),
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
        self.forget_stale(std::slice::from_ref(org)).await?;
        let Some(place) = self.open_all(std::iter::once(org)).await?.pop() else { return Err(moved()) };
        let Some(resident) = self.residents.at(place) else { return Err(moved()) };
        let lacking: Vec<PartKey> =
            parts.iter().filter(|part| !resident.state.holds(part)).cloned().collect();
        if !lacking.is_empty() {
            self.load_parts(place, lacking).await?;
        }
        let Some(resident) = self.residents.at(place) else { return Err(moved()) };
        let copy = resident.state.copy(parts);
        resident.state.forget_facts();
        Ok(copy)
    }

    /// Images that are due after a turn of some entries.
    pub(crate) async fn due(&mut self, entries: usize) -> Result<Option<Checkpoint>, StoreError> {
        self.residents.trim();
        // Soon, so that lists show it also when no image can be written any more.
        let urgent = self.save_some(|residents| residents.next_urgent(u64::MAX), SAVED_AT_ONCE_MAX).await?;
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
            let orgs: Vec<OrgId> = orgs.take(most).collect();
            if orgs.is_empty() {
                break;
            }
            // Before anything is taken out of any: what is taken and not kept would be lost.
            let failed = self.open_each(&orgs).await;
            // Another process may have saved some meanwhile.
            images.extend(orgs.iter().filter_map(|org| self.residents.image_of(org)));
            if let (Some(error), true) = (failed, images.is_empty()) {
                return Err(error);
            }
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

    /// Opens orgs that are to be saved. Those that cannot be opened are put aside and hold up no other; says why the last
    /// of them could not.
    async fn open_each(&mut self, orgs: &[OrgId]) -> Option<StoreError> {
        if self.open_all(orgs.iter()).await.is_ok() {
            return None;
        }
        let mut failed = None;
        for org in orgs {
            if let Err(error) = self.open_all(std::iter::once(org)).await {
                tracing::warn!(%error, org = org.as_str(), "an organization cannot be opened to be saved");
                self.residents.put_aside(org.clone());
                failed = Some(error);
            }
        }
        failed
    }

    /// Notes that images were kept.
    pub(crate) fn saved(&mut self, images: &[Image]) {
        self.residents.saved(images);
    }

    /// Whether far too many orgs wait to be saved.
    pub(crate) fn is_overfull(&self) -> bool {
        self.residents.is_overfull()
    }

    /// How many orgs have images that lack entries.
    pub(crate) fn unsaved_orgs(&self) -> usize {
        self.residents.unsaved()
    }
}

/// Whether lists of orgs show what an entry changed.
const fn is_more_than_usage(kind: &EntryKind) -> bool {
    !matches!(
        kind,
        EntryKind::Used(_)
            | EntryKind::Refused { .. }
            | EntryKind::Reversed { .. }
            | EntryKind::Held(_)
            | EntryKind::HoldEnded(_)
    )
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

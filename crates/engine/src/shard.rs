//! The owner of the orgs: decides on their states, appends what was decided, and saves the states at leisure.
//!
//! To have an org is always the same: its image, and the entries since. One that is not in memory, one that is found after a
//! crash, and one that another process changed are opened alike.
//!
//! No threads, no queues, no clock.

mod races;

use std::collections::BTreeMap;
use std::sync::Arc;

use tollgate_domain::{
    Actor, Entry, KeyId, Moments, OrgCommand, OrgDecision, OrgId, OrgState, PartKey, Partition,
    SystemCommand, SystemDenial, SystemOutcome, SystemRecords, Timestamp, apply, apply_system, decide,
    decide_system, read_by_system,
};
use tollgate_storage::{Append, Appended, Appends, EntryChange, Image, Store, StoreError, StoreErrorKind};

use self::races::shared_lag_max;
use crate::Pace;
use crate::expiring::Expiries;
use crate::flight::{Appending, Flight, Settled, Staged, Terms, Turn};
use crate::limits::{LOADS_AHEAD_MAX, OPEN_ROUNDS_MAX, WARMED_AT_ONCE};
use crate::loading::{
    FoundKey, Lacking, Replaying, find_keys, load, load_all, moved, replayed, save_system, system_records,
};
use crate::noted::{changes_unsent, is_more_than_usage};
use crate::queue::{Asked, Which};
use crate::resident::{Checkpoint, Place, Residents};
use crate::sync::poll_once;

/// Where a command of the system failed.
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
    /// The turn that is on its way to the store.
    flight: Option<Flight>,
    /// What became of the one before, until that is told.
    arrived: Option<Result<Vec<Settled<OrgDecision>>, StoreError>>,
    /// For how many more turns it is looked up beforehand which orgs another process changed.
    contended: u32,
    /// The position of the latest append.
    latest: u64,
    /// The position of the first append that the system's image lacks.
    system_unsaved: Option<u64>,
}

impl<S: Store> Shard<S> {
    pub(crate) fn new(store: Arc<S>, pace: Pace) -> Self {
        let latest = store.position();
        let (residents, expiries) = (Residents::new(pace), Expiries::default());
        Self {
            store,
            residents,
            expiries,
            flight: None,
            arrived: None,
            contended: 0,
            latest,
            system_unsaved: None,
        }
    }

    /// Whether other processes may change the store.
    pub(crate) fn is_shared(&self) -> bool {
        self.store.capabilities().shared
    }

    /// Notes partitions whose images lack entries, also of others, up to a version each.
    pub(crate) async fn note_behind(
        &mut self,
        behind: impl IntoIterator<Item = (Partition, u64)>,
    ) -> Result<(), StoreError> {
        for (partition, version) in behind {
            match partition {
                Partition::Org(org) => self.residents.note_lagging(&org, version),
                Partition::System => save_system(self.store.as_ref()).await?,
            }
        }
        Ok(())
    }

    /// Decides requests of orgs, in order. Nothing of it is in the store until it is appended.
    pub(crate) async fn decide(
        &mut self,
        terms: Terms<'_>,
        requests: &[Asked<'_>],
    ) -> Result<Turn, StoreError> {
        let decided = self.decide_all(terms, requests).await;
        if decided.is_err() {
            // What was decided is not in the store: it is opened again as it is there. What is on its way comes first, for
            // it is noted of the orgs that it is of.
            self.arrive().await;
            requests.iter().for_each(|asked| self.residents.forget(asked.org));
        }
        decided
    }

    /// Decides requests in order, each on what the one before made of its org.
    async fn decide_all(&mut self, mut terms: Terms<'_>, all: &[Asked<'_>]) -> Result<Turn, StoreError> {
        if self.contended > 0 {
            // What would lose its race is decided once, not twice.
            self.contended -= 1;
            let lost = self.catch_up(all.iter().map(|asked| asked.org)).await?;
            self.note_races(lost, all.len());
        }
        let places = self.open_all(all.iter().map(|asked| asked.org)).await?;
        terms.new_keys &= self.store.capabilities().knows_new;
        let mut keys = match terms.new_keys {
            true => None,
            false => Some(find_keys(self.store.as_ref(), all).await?),
        };
        let moments = Moments::new(terms.at);
        if self.is_shared() {
            // Elsewhere each key is put right before its decision, when what its org points to has been read ahead.
            keys.iter_mut().flatten().zip(&places).for_each(|(found, place)| self.put_key(found, *place));
            self.load_ahead(terms, all, &places).await?;
        }
        // Of an org whose latest entry is of another engine, by a clock that is ahead of this one's.
        let mut ahead = Moments::new(terms.at);
        let mut decisions = Vec::with_capacity(all.len());
        let mut staged = Staged::default();
        for (requests, their_places) in all.chunks(WARMED_AT_ONCE).zip(places.chunks(WARMED_AT_ONCE)) {
            self.residents.warm(requests, their_places);
            for (asked, place) in requests.iter().zip(their_places) {
                self.residents.touch(*place);
                self.put_key(keys.as_mut().and_then(Iterator::next).flatten(), *place);
                let at = self.residents.at(*place).map_or(terms.at, |resident| resident.state.now(terms.at));
                if at != terms.at && at != ahead.at() {
                    ahead = Moments::new(at);
                }
                let expire = Asked { actor: &Actor::System, command: &OrgCommand::Expire, ..*asked };
                let decision = loop {
                    // What has expired by now has ended before anything else is decided.
                    let is_due = self.residents.at(*place).is_some_and(|org| org.state.has_due_hold(at));
                    let next = if is_due { &expire } else { asked };
                    let moments = if at == terms.at { &moments } else { &ahead };
                    if terms.new_keys && !is_due {
                        // Not before: requests before it that ask for this key must learn what the store knows of it.
                        self.put_key(asked.key().map(|(space, key)| (space, key, None)), *place);
                    }
                    match self.decide_one(terms, moments, next, *place, &mut staged)? {
                        Ok(_) if is_due => {}
                        Ok(decision) => break decision,
                        Err(wants) if terms.new_keys && wants.iter().any(|part| asked.names(part)) => {
                            // The keys of the requests behind it are looked up together with it.
                            terms.new_keys = false;
                            self.put_keys(all, &places, decisions.len()).await?;
                        }
                        Err(wants) => self.load_wanted(*place, wants).await?,
                    }
                };
                if matches!(asked.command, OrgCommand::Hold(_) | OrgCommand::Expire) {
                    self.note_expiry(asked, *place);
                }
                decisions.push(decision);
            }
        }
        Ok(Turn { decisions, places, staged })
    }

    /// Decides a request on what the ones before made of its org, or says which parts that lacks.
    fn decide_one(
        &mut self,
        terms: Terms<'_>,
        moments: &Moments,
        asked: &Asked<'_>,
        place: Place,
        staged: &mut Staged,
    ) -> Result<Result<OrgDecision, Vec<PartKey>>, StoreError> {
        let Asked { actor, org, command } = asked;
        let Some(resident) = self.residents.at(place) else { return Err(moved()) };
        let new_key = if terms.new_keys { asked.key() } else { None };
        let outcome = match decide(&resident.state, &terms.context(moments, actor), command) {
            Ok(outcome) => outcome,
            Err(mut wants) => {
                staged.give(resident, &mut wants.0);
                return Ok(Err(wants.0));
            }
        };
        if let Some((space, key)) = new_key
            && resident.state.is_new_key(space, &key)
        {
            if outcome.entry.as_ref().and_then(Entry::named_key) != Some((space, &key)) {
                // If the key is known, the answer is another one; and the store checks only keys of entries.
                return Ok(Err(vec![PartKey::Key(space, key)]));
            }
            staged.new.push(KeyId { org: (*org).clone(), space, key });
        }
        if let Some(entry) = outcome.entry {
            apply(&mut resident.state, &entry);
            let (urgent, unsent) = (is_more_than_usage(&entry.kind), changes_unsent(&entry.kind));
            staged.add(resident, place, entry);
            if urgent {
                self.residents.note_urgent(org);
            }
            if unsent {
                self.residents.note_unsent(org);
            }
        }
        Ok(Ok(outcome.decision))
    }

    /// Forgets what the store knows by now of the orgs that were decided on. Nothing may be on its way, nor be decided and not
    /// sent.
    pub(crate) fn forget_facts(&mut self) {
        self.residents.forget_facts();
    }

    /// Has images gathered anew that hold what the store did not take.
    pub(crate) fn discard(&mut self, images: &[Image]) {
        for image in images {
            if let Partition::Org(org) = &image.partition {
                self.residents.forget(org);
                self.residents.note_behind(org);
            }
        }
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
        let of_orgs = partitions.into_iter().zip(opened).filter_map(|(partition, opened)| match partition {
            Partition::Org(org) => Some(Replaying::of(org, opened)),
            Partition::System => None,
        });
        for (state, image) in replayed(self.store.as_ref(), of_orgs).await? {
            self.residents.insert(state, image);
        }
        orgs.map(|org| self.residents.place(org).ok_or_else(moved)).collect()
    }

    /// Tells an org what is known of a key, if one was looked up.
    fn put_key(&mut self, found: Option<FoundKey>, place: Place) {
        if let (Some((space, key, found)), Some(resident)) = (found, self.residents.at(place)) {
            resident.state.put_key(space, key, found);
        }
    }

    /// Looks up the keys that requests name, from one of them on.
    async fn put_keys(&mut self, all: &[Asked<'_>], places: &[Place], from: usize) -> Result<(), StoreError> {
        let requests = all.get(from..).unwrap_or_default();
        let found = find_keys(self.store.as_ref(), requests).await?;
        found.zip(places.iter().skip(from)).for_each(|(found, place)| self.put_key(found, *place));
        Ok(())
    }

    /// Loads what decisions on orgs as they are now lack, of all together: one by one, each would take a round trip to a shared
    /// store. What it leaves out is loaded when its turn comes.
    async fn load_ahead(
        &mut self,
        terms: Terms<'_>,
        requests: &[Asked<'_>],
        places: &[Place],
    ) -> Result<(), StoreError> {
        for _ in 0..LOADS_AHEAD_MAX {
            let (places, lacking) = self.lacking(terms, requests, places);
            if lacking.is_empty() {
                break;
            }
            for (place, loaded) in places.into_iter().zip(load_all(self.store.as_ref(), lacking).await?) {
                if let (Some(resident), Some(loaded)) = (self.residents.at(place), loaded) {
                    loaded.into_iter().for_each(|(key, record)| resident.state.put(key, record));
                    self.residents.count(place);
                }
            }
        }
        Ok(())
    }

    /// What decisions on orgs as they are now lack, each org once.
    fn lacking(
        &mut self,
        terms: Terms<'_>,
        requests: &[Asked<'_>],
        places: &[Place],
    ) -> (Vec<Place>, Vec<Lacking>) {
        let moments = Moments::new(terms.at);
        let mut lacking: BTreeMap<Place, Lacking> = BTreeMap::new();
        for (asked, place) in requests.iter().zip(places) {
            let Some(resident) = self.residents.at(*place) else { continue };
            let context = terms.context(&moments, asked.actor);
            let wants = decide(&resident.state, &context, asked.command).err().unwrap_or_default();
            for part in wants.0.into_iter().filter(|part| !terms.new_keys || !asked.names(part)) {
                let none = || resident.lacking(resident.image, Vec::new());
                let Lacking { keys, .. } = lacking.entry(*place).or_insert_with(none);
                if !keys.contains(&part) {
                    keys.push(part);
                }
            }
        }
        lacking.into_iter().unzip()
    }

    /// Loads parts of an org that a decision lacks. An entry may be one of those that are on their way.
    async fn load_wanted(&mut self, place: Place, wants: Vec<PartKey>) -> Result<(), StoreError> {
        if wants.iter().any(|part| matches!(part, PartKey::Entry(_))) {
            self.arrive().await;
        }
        self.load_parts(place, wants).await
    }

    /// Loads parts of an org that is in memory.
    async fn load_parts(&mut self, place: Place, keys: Vec<PartKey>) -> Result<(), StoreError> {
        let store = self.store.as_ref();
        let Some(resident) = self.residents.at(place) else { return Err(moved()) };
        let lacking = resident.lacking(resident.image, keys.clone());
        let mut loaded = load(store, &mut resident.state, lacking).await;
        if loaded.as_ref().is_err_and(|error| error.kind() == StoreErrorKind::Moved) {
            let org = resident.state.id().clone();
            if let Some(saving) = self.residents.saving(&org)
                && let Some(resident) = self.residents.at(place)
            {
                // The image that was on its way is there by now. What it changed is in memory.
                let lacking = resident.lacking(saving, keys);
                loaded = load(store, &mut resident.state, lacking).await;
            }
        }
        self.residents.count(place);
        loaded
    }

    /// Sends a turn to the store, after the one before has arrived.
    pub(crate) async fn send(&mut self, turn: Turn) {
        let Turn { decisions, places, staged } = turn;
        let unguarded = if self.is_shared() { self.unguarded(&places) } else { Vec::new() };
        let Staged { appends, places: appended, entries, new } = staged;
        let lengths = appends.iter().map(|append| append.entries.len());
        let appended: Vec<(Place, usize)> = appended.into_iter().zip(lengths).collect();
        let next = self.latest + 1;
        for (place, _) in &appended {
            if let Some(resident) = self.residents.at(*place) {
                resident.append = None;
            }
            if !self.is_shared() {
                // Images that are gathered from now on hold what was decided, and are written when it has arrived.
                self.residents.changed(*place, next);
            }
        }
        let store = Arc::clone(&self.store);
        let mut appending: Appending = Box::pin(async move {
            match (appends.is_empty(), new.is_empty()) {
                (true, _) => Ok(None),
                (false, true) => store.append(appends).await.map(Some),
                (false, false) => store.append_new(appends, &new).await.map(Some),
            }
        });
        // Nothing begins before it is asked for.
        let result = poll_once(appending.as_mut()).await;
        self.flight = Some(Flight { decisions, places, appended, entries, unguarded, appending, result });
    }

    /// Whether a turn is on its way.
    pub(crate) fn is_flying(&self) -> bool {
        self.flight.as_ref().is_some_and(|flight| flight.result.is_none())
    }

    /// Waits until the turn that is on its way has arrived, if there is one, and notes it. Whoever stops waiting may wait again.
    pub(crate) async fn arrive(&mut self) {
        let Some(flight) = &mut self.flight else { return };
        if flight.result.is_none() {
            flight.result = Some(flight.appending.as_mut().await);
        }
        let unguarded = std::mem::take(&mut flight.unguarded);
        let is_refused = matches!(flight.result, Some(Err(_)));
        let mut stale = Vec::new();
        if !is_refused {
            self.check_unguarded(&unguarded, &mut stale).await;
        }
        if let Some(flight) = self.flight.take() {
            self.arrived = Some(self.note(flight, stale));
        }
    }

    /// What became of each request of the turn that arrived last; told once. An error is that of the append: a refusal wrote
    /// nothing, of any other it is not known.
    pub(crate) const fn arrived(&mut self) -> Option<Result<Vec<Settled<OrgDecision>>, StoreError>> {
        self.arrived.take()
    }

    /// Notes that a turn was appended, or was not.
    fn note(
        &mut self,
        flight: Flight,
        mut stale: Vec<Place>,
    ) -> Result<Vec<Settled<OrgDecision>>, StoreError> {
        let Flight { decisions, places, appended, entries, result, .. } = flight;
        let orgs = appended.len();
        let appends = match result {
            Some(Ok(appends)) => appends,
            Some(Err(error)) => {
                // What was decided since is not in the store either.
                self.residents.forget_touched();
                return Err(error);
            }
            None => None,
        };
        if let Some(Appends { answers, position }) = appends {
            assert_eq!(answers.len(), appended.len(), "a store answers every append");
            self.latest = position;
            for ((place, entries), answer) in appended.into_iter().zip(answers) {
                match answer {
                    Appended::Done if self.is_shared() => {
                        self.residents.changed(place, position);
                        self.residents.note_lag(place, shared_lag_max(entries));
                    }
                    Appended::Done => {}
                    Appended::Conflict => stale.push(place),
                }
            }
            self.residents.count_entries(entries);
        }
        let settled = |(decision, place)| match stale.contains(&place) {
            true => Settled::Again,
            false => Settled::Answered(decision),
        };
        let settled = decisions.into_iter().zip(places).map(settled).collect();
        self.note_races(stale.len(), orgs);
        stale.into_iter().for_each(|place| self.residents.forget_at(place));
        Ok(settled)
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

    /// A copy of the state of an org with some of its parts, all of one version: that which is in memory, if there is one.
    pub(crate) async fn view(&mut self, org: &OrgId, parts: &[PartKey]) -> Result<OrgState, StoreError> {
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
        let most = self.residents.saved_at_once();
        let urgent = self.save_some(|residents| residents.next_urgent(u64::MAX), most).await?;
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
            Which::Heads => self.residents.urgent_notes(),
            Which::Unsent => self.residents.unsent_notes(),
            _ => self.latest,
        }
    }

    /// Images of orgs: of all, of those of which something changed that lists show, or of one; some at a time.
    pub(crate) async fn unsaved(
        &mut self,
        which: &Which,
        until: u64,
    ) -> Result<Option<Checkpoint>, StoreError> {
        let most = self.residents.saved_at_once();
        match which {
            Which::System => self.save_system().await.map(|()| None),
            Which::All => self.save_some(|residents| residents.next_unsaved(until), most).await,
            Which::Heads => self.save_some(|residents| residents.next_urgent(until), most).await,
            Which::Unsent => self.save_some(|residents| residents.next_unsent(until), most).await,
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
            let mut opened = self.open_all(std::iter::once(org)).await;
            for _ in 1..OPEN_ROUNDS_MAX {
                if !opened.as_ref().is_err_and(|error| error.kind() == StoreErrorKind::Moved) {
                    break;
                }
                // Another process saved it meanwhile.
                opened = self.open_all(std::iter::once(org)).await;
            }
            if let Err(error) = opened {
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

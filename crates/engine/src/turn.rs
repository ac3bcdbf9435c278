//! One turn of the engine: requests in, one commit, answers out. No threads, no queues, no clock.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use tollgate_domain::{
    Actor, Context, Entry, Moments, OrgDecision, OrgId, OrgState, PartKey, Partition, Record, RecordKey,
    SystemCommand, SystemOutcome, SystemRecords, Timestamp, apply, apply_system, decide, decide_system,
    missing_of_system,
};
use tollgate_storage::{Batch, Change, Committed, EntryChange, Store, StoreError};

use crate::catalog::CatalogInForce;
use crate::limits::RESIDENT_PARTS_MAX;
use crate::queue::{Answer, Asked};

/// What one turn goes by.
pub(crate) struct Turn<'a, S> {
    pub(crate) store: &'a S,
    pub(crate) catalog: &'a CatalogInForce,
    pub(crate) key_keep_secs: i64,
    pub(crate) at: Timestamp,
}

/// What became of one request of a turn.
pub(crate) enum Settled {
    /// Durable and true: to be answered.
    Answered(Answer),
    /// Another writer was faster: to be decided again.
    Again,
}

/// Where a turn failed.
pub(crate) enum TurnError {
    /// Nothing was written.
    Load(StoreError),
    /// A refusal wrote nothing; of any other error it is not known.
    Commit(StoreError),
}

/// The orgs that are in memory, with what was loaded of them. Between turns nothing here is unsaved.
#[derive(Debug, Default)]
pub(crate) struct Residents {
    states: HashMap<OrgId, OrgState, RandomState>,
    /// How much was loaded since they were last dropped.
    loaded: usize,
}

impl Residents {
    /// The states of orgs before a turn: of a shared store none, for another process may have changed them.
    fn begin(&mut self, shared: bool) {
        if shared || self.loaded > RESIDENT_PARTS_MAX {
            self.states.clear();
            self.loaded = 0;
        }
    }
}

/// What the entries of a turn make of each org.
#[derive(Default)]
struct OrgChanges {
    /// One change per org.
    batch: Batch,
    /// Where in the batch the change of an org is.
    places: HashMap<OrgId, usize, RandomState>,
}

impl OrgChanges {
    /// Adds an entry to the change of an org.
    fn add(&mut self, org: &OrgId, entry: Entry) {
        let changes = &mut self.batch.changes;
        let place = *self.places.entry(org.clone()).or_insert_with(|| {
            changes.push(Change {
                partition: Partition::Org(org.clone()),
                expected_version: entry.number - 1,
                entries: Vec::with_capacity(1),
                records: Vec::new(),
            });
            changes.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "the place was found or made a line above")]
        changes[place].entries.push(EntryChange::Org(entry));
    }
}

impl<S: Store> Turn<'_, S> {
    /// Decides requests of orgs in order, commits once, and says what became of each.
    pub(crate) async fn run_orgs(
        &self,
        requests: &[Asked<'_>],
        residents: &mut Residents,
    ) -> Result<Vec<Settled>, TurnError> {
        residents.begin(self.store.capabilities().shared);
        let decided = self.decide_all(requests, residents).await;
        let committed = match decided {
            Ok((decisions, changes)) => {
                let stale = self.commit_orgs(residents, changes, requests).await;
                stale.map(|stale| settle(requests, decisions, &stale))
            }
            Err(error) => Err(error),
        };
        if committed.is_err() {
            // What was decided is not in the store: it is loaded again as it is there.
            requests.iter().for_each(|asked| drop(residents.states.remove(asked.org)));
        }
        committed
    }

    /// Decides requests in order, each on what the one before made of its org.
    async fn decide_all(
        &self,
        requests: &[Asked<'_>],
        residents: &mut Residents,
    ) -> Result<(Vec<OrgDecision>, OrgChanges), TurnError> {
        let moments = Moments::new(self.at);
        let mut decisions = Vec::with_capacity(requests.len());
        let mut changes = OrgChanges::default();
        self.prefetch(requests, residents).await?;
        for Asked { actor, org, command } in requests {
            let context = Context {
                catalog: &self.catalog.catalog,
                catalog_version: self.catalog.version,
                catalog_since: self.catalog.since,
                moments: &moments,
                key_keep_secs: self.key_keep_secs,
                actor,
            };
            let Some(state) = residents.states.get_mut(*org) else { continue };
            let outcome = loop {
                match decide(state, &context, command) {
                    Ok(outcome) => break outcome,
                    Err(wants) => {
                        residents.loaded += wants.0.len();
                        self.load_parts(state, wants.0).await?;
                    }
                }
            };
            if let Some(entry) = outcome.entry {
                apply(state, &entry);
                changes.add(org, entry);
            }
            decisions.push(outcome.decision);
        }
        Ok((decisions, changes))
    }

    /// Loads the orgs that are not in memory, and the keys that commands name, at once.
    async fn prefetch(&self, requests: &[Asked<'_>], residents: &mut Residents) -> Result<(), TurnError> {
        let mut orgs: Vec<&OrgId> = requests.iter().map(|asked| asked.org).collect();
        orgs.retain(|org| !residents.states.contains_key(*org));
        orgs.sort_unstable();
        orgs.dedup();
        let named = |asked: &Asked<'_>| {
            let key = asked.command.named_key()?;
            let known = residents.states.get(asked.org).is_some_and(|state| state.holds(&key));
            (!known).then(|| (asked.org.clone(), key))
        };
        let keys: Vec<(OrgId, PartKey)> = requests.iter().filter_map(named).collect();
        let mut names: Vec<RecordKey> = orgs.iter().map(|org| RecordKey::Org((*org).clone())).collect();
        names.extend(keys.iter().map(|(org, key)| key.clone().of(org)));
        if names.is_empty() {
            return Ok(());
        }
        let loaded = self.store.load(&names).await.map_err(TurnError::Load)?;
        assert_eq!(loaded.len(), names.len(), "a store answers every key");
        residents.loaded += orgs.len();
        let mut loaded = loaded.into_iter();
        for (org, record) in orgs.into_iter().zip(loaded.by_ref()) {
            let known = match record {
                Some(Record::Org(org)) => Some(Arc::unwrap_or_clone(org)),
                _ => None,
            };
            residents.states.insert(org.clone(), OrgState::new(org.clone(), known));
        }
        for ((org, key), record) in keys.into_iter().zip(loaded) {
            if let Some(state) = residents.states.get_mut(&org) {
                state.put(key, record);
            }
        }
        Ok(())
    }

    async fn load_parts(&self, state: &mut OrgState, keys: Vec<PartKey>) -> Result<(), TurnError> {
        let names: Vec<RecordKey> = keys.iter().map(|key| key.clone().of(state.id())).collect();
        let loaded = self.store.load(&names).await.map_err(TurnError::Load)?;
        assert_eq!(loaded.len(), names.len(), "a store answers every key");
        keys.into_iter().zip(loaded).for_each(|(key, record)| state.put(key, record));
        Ok(())
    }

    /// Commits, and says on which orgs another writer was faster.
    async fn commit_orgs(
        &self,
        residents: &mut Residents,
        changes: OrgChanges,
        requests: &[Asked<'_>],
    ) -> Result<Vec<OrgId>, TurnError> {
        let mut stale = Vec::new();
        let unguarded: Vec<OrgId> = if self.store.capabilities().shared {
            requests
                .iter()
                .map(|asked| asked.org.clone())
                .filter(|org| !changes.places.contains_key(org))
                .collect()
        } else {
            Vec::new()
        };
        let mut batch = changes.batch;
        if !batch.changes.is_empty() {
            let mut orgs = Vec::with_capacity(batch.changes.len());
            for change in &mut batch.changes {
                let Partition::Org(org) = &change.partition else { continue };
                if let Some(state) = residents.states.get_mut(org) {
                    change.records = state.take_changed();
                    state.forget_looked_up();
                }
                orgs.push(org.clone());
            }
            let committed = self.store.commit(batch).await.map_err(TurnError::Commit)?;
            assert_eq!(committed.len(), orgs.len(), "a store answers every change");
            let lost = orgs.into_iter().zip(committed).filter(|(_, done)| *done == Committed::Conflict);
            stale.extend(lost.map(|(org, _)| org));
        }
        // A denial counts only if it was decided on the current version.
        let keys: Vec<RecordKey> = unguarded.iter().cloned().map(RecordKey::Org).collect();
        if !keys.is_empty() {
            // What was committed is to be answered, whatever becomes of the others: those are decided again.
            let Ok(current) = self.store.load(&keys).await else {
                stale.extend(unguarded);
                return Ok(stale);
            };
            for (org, record) in unguarded.into_iter().zip(current) {
                let version = match record {
                    Some(Record::Org(org)) => org.version,
                    _ => 0,
                };
                if residents.states.get(&org).map_or(0, OrgState::version) != version {
                    stale.push(org);
                }
            }
        }
        stale.iter().for_each(|org| drop(residents.states.remove(org)));
        Ok(stale)
    }

    /// Decides and commits one command of the system; gives its records as they are after it.
    pub(crate) async fn run_system(
        &self,
        actor: &Actor,
        command: &SystemCommand,
    ) -> Result<(Settled, SystemRecords), TurnError> {
        let (mut records, mut keys) = (SystemRecords::default(), Vec::new());
        missing_of_system(&records, command, &mut keys);
        let loaded = self.store.load(&keys).await.map_err(TurnError::Load)?;
        assert_eq!(loaded.len(), keys.len(), "a store answers every key");
        keys.into_iter().zip(loaded).for_each(|(key, record)| records.put(key, record));
        let SystemOutcome { decision, entry } = decide_system(&records, self.at, actor, command);
        if let Some(entry) = entry {
            let expected_version = entry.number - 1;
            apply_system(&mut records, &entry);
            let change = Change {
                partition: Partition::System,
                expected_version,
                entries: vec![EntryChange::System(entry)],
                records: records.changed().map(|(key, record)| (key.clone(), record.clone())).collect(),
            };
            let committed =
                self.store.commit(Batch { changes: vec![change] }).await.map_err(TurnError::Commit)?;
            if committed.first() != Some(&Committed::Done) {
                return Ok((Settled::Again, records));
            }
        }
        Ok((Settled::Answered(Answer::System(decision)), records))
    }
}

fn settle(requests: &[Asked<'_>], decisions: Vec<OrgDecision>, stale: &[OrgId]) -> Vec<Settled> {
    let settled = requests.iter().zip(decisions).map(|(asked, decision)| {
        if stale.contains(asked.org) {
            Settled::Again
        } else {
            Settled::Answered(Answer::Org(Box::new(decision)))
        }
    });
    settled.collect()
}

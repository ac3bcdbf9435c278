//! One turn of the engine: requests in, one commit, answers out. No threads, no queues, no clock.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tollgate_domain::{
    Actor, Context, EntryKind, Moments, OrgCommand, OrgDecision, OrgId, Partition, Record, RecordKey,
    Records, SystemCommand, SystemOutcome, Timestamp, apply, apply_system, decide, decide_system, missing,
    missing_of_system,
};
use tollgate_storage::{Batch, Change, Committed, EntryChange, Store, StoreError};

use crate::catalog::CatalogInForce;
use crate::queue::{Answer, Asked};

/// Room for the records of a usage: org, account, tally, key.
const RECORDS_A_CHANGE: usize = 4;

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

/// What the entries of a turn make of each org.
#[derive(Default)]
struct OrgChanges {
    /// One change per org.
    batch: Batch,
    /// Where in the batch the change of an org is.
    places: HashMap<OrgId, usize, foldhash::fast::RandomState>,
}

impl OrgChanges {
    /// The change of an org, begun at a version if this is its first entry.
    fn of(&mut self, org: &OrgId, version: u64) -> &mut Change {
        let changes = &mut self.batch.changes;
        let place = *self.places.entry(org.clone()).or_insert_with(|| {
            changes.push(Change {
                partition: Partition::Org(org.clone()),
                expected_version: version,
                entries: Vec::with_capacity(1),
                records: Vec::with_capacity(RECORDS_A_CHANGE),
            });
            changes.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "the place was found or made a line above")]
        &mut changes[place]
    }

    /// The batch, with every record that the entries changed.
    fn with(mut self, records: &mut Records) -> Batch {
        for (key, record) in records.take_changed() {
            let place = key.org().and_then(|org| self.places.get(org));
            if let Some(change) = place.and_then(|place| self.batch.changes.get_mut(*place)) {
                change.records.push((key, record));
            }
        }
        self.batch
    }
}

impl<S: Store> Turn<'_, S> {
    /// Decides requests of orgs in order, commits once, and says what became of each. `records` is room to work in.
    pub(crate) async fn run_orgs(
        &self,
        requests: &[Asked<'_>],
        records: &mut Records,
    ) -> Result<Vec<Settled>, TurnError> {
        records.clear();
        let moments = Moments::new(self.at);
        let context = Context {
            catalog: &self.catalog.catalog,
            catalog_version: self.catalog.version,
            catalog_since: self.catalog.since,
            moments: &moments,
            key_keep_secs: self.key_keep_secs,
            // Each command is decided for who asks it.
            actor: &Actor::System,
        };
        load_all(self.store, records, |records, keys| {
            requests.iter().fold(true, |complete, Asked { org, command, .. }| {
                missing(records, &context, org, command, keys) && complete
            })
        })
        .await?;

        let mut decisions = Vec::with_capacity(requests.len());
        let mut changes = OrgChanges::default();
        let keeps_entries = requests
            .iter()
            .any(|asked| matches!(asked.command, OrgCommand::Reverse(_) | OrgCommand::Void(_)));
        let mut needs_moved = false;
        for Asked { actor, org, command } in requests {
            let context = Context { actor, ..context };
            if needs_moved {
                load_all(self.store, records, |records, keys| missing(records, &context, org, command, keys))
                    .await?;
            }
            let outcome = decide(records, &context, org, command);
            if let Some(entry) = outcome.entry {
                // What later requests need may depend on what this one changes.
                needs_moved |=
                    !matches!(entry.kind, EntryKind::Used(_) | EntryKind::Refused { .. }) || keeps_entries;
                let change = changes.of(org, entry.number - 1);
                apply(records, org, &entry);
                if keeps_entries {
                    let key = RecordKey::Entry((*org).clone(), entry.number);
                    records.put(key, Some(Record::Entry(Arc::new(entry.clone()))));
                }
                change.entries.push(EntryChange::Org(entry));
            }
            decisions.push(outcome.decision);
        }
        let stale = self.commit_orgs(records, changes, requests).await?;
        Ok(settle(requests, decisions, &stale))
    }

    /// Commits, and says on which orgs another writer was faster.
    async fn commit_orgs(
        &self,
        records: &mut Records,
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
        if !changes.batch.changes.is_empty() {
            let batch = changes.with(records);
            let orgs: Vec<Partition> = batch.changes.iter().map(|change| change.partition.clone()).collect();
            let committed = self.store.commit(batch).await.map_err(TurnError::Commit)?;
            assert_eq!(committed.len(), orgs.len(), "a store answers every change");
            for (partition, committed) in orgs.into_iter().zip(committed) {
                if let (Partition::Org(org), Committed::Conflict) = (partition, committed) {
                    stale.push(org);
                }
            }
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
                if records.org(&org).map_or(0, |org| org.version) != version {
                    stale.push(org);
                }
            }
        }
        Ok(stale)
    }

    /// Decides and commits one command of the system; gives its records as they are after it.
    pub(crate) async fn run_system(
        &self,
        actor: &Actor,
        command: &SystemCommand,
    ) -> Result<(Settled, Records), TurnError> {
        let mut records = Records::default();
        load_all(self.store, &mut records, |records, keys| {
            missing_of_system(records, command, keys);
            true
        })
        .await?;
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

/// Loads what is missing until nothing is.
async fn load_all<S: Store>(
    store: &S,
    records: &mut Records,
    missing: impl Fn(&Records, &mut Vec<RecordKey>) -> bool,
) -> Result<(), TurnError> {
    loop {
        let mut keys = Vec::new();
        let complete = missing(records, &mut keys);
        if keys.is_empty() {
            return Ok(());
        }
        forget_repeats(&mut keys);
        let loaded = store.load(&keys).await.map_err(TurnError::Load)?;
        assert_eq!(loaded.len(), keys.len(), "a store answers every key");
        for (key, record) in keys.into_iter().zip(loaded) {
            records.put(key, record);
        }
        if complete {
            return Ok(());
        }
    }
}

/// Drops keys that were named before.
fn forget_repeats(keys: &mut Vec<RecordKey>) {
    let mut seen = HashSet::with_capacity_and_hasher(keys.len(), foldhash::fast::RandomState::default());
    let first: Vec<bool> = keys.iter().map(|key| seen.insert(key)).collect();
    let mut first = first.into_iter();
    keys.retain(|_| first.next().unwrap_or(true));
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

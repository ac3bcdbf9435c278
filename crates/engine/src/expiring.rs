//! Holds that expire by themselves: which orgs have some, and when the next of them expires.
//!
//! An org's holds expire with whatever is decided on it next. This sees to those of orgs of which nobody asks anything.

use std::collections::{BTreeSet, HashMap};

use tollgate_domain::{Actor, OrgCommand, OrgId, Timestamp};
use tollgate_storage::{Cursor, Row, Scan, Store};

use crate::limits::{BATCH_REQUESTS_MAX, ORG_PAGE};
use crate::queue::{Alone, Job, Which};
use crate::{Engine, EngineError};

/// When the next hold of each org that holds something expires.
#[derive(Debug, Default)]
pub(crate) struct Expiries {
    by_time: BTreeSet<(Timestamp, OrgId)>,
    by_org: HashMap<OrgId, Timestamp, foldhash::fast::RandomState>,
}

impl Expiries {
    /// Notes when the next hold of an org expires, where an earlier one is not known; that may have ended since.
    pub(crate) fn note(&mut self, org: &OrgId, next: Option<Timestamp>) {
        let Some(next) = next else { return };
        match self.by_org.get(org) {
            Some(known) if *known <= next => {}
            _ => self.set(org, Some(next)),
        }
    }

    /// Sets when the next hold of an org expires; `None`: it holds nothing.
    pub(crate) fn set(&mut self, org: &OrgId, next: Option<Timestamp>) {
        let before = match next {
            Some(next) => self.by_org.insert(org.clone(), next),
            None => self.by_org.remove(org),
        };
        if let Some(before) = before {
            self.by_time.remove(&(before, org.clone()));
        }
        if let Some(next) = next {
            self.by_time.insert((next, org.clone()));
        }
    }

    /// Some of the orgs with a hold that may have expired at a moment, the first to do so first.
    pub(crate) fn due(&self, at: Timestamp) -> Vec<OrgId> {
        let due = self.by_time.iter().take_while(|(next, _)| *next <= at);
        due.take(BATCH_REQUESTS_MAX).map(|(_, org)| org.clone()).collect()
    }
}

impl<S: Store> Engine<S> {
    /// Ends holds that have expired: those of orgs that this engine knows to hold something. Whether there may be more of
    /// them already.
    ///
    /// It may be cut off anywhere, asked again, and run by several engines on one store: a hold ends once.
    ///
    /// # Errors
    /// [`EngineError`]: what was not ended is ended by the next one, or by whatever is asked of its org.
    pub async fn expire_holds(&self) -> Result<bool, EngineError> {
        let orgs = self.ask(|answer| Job::Alone(Alone::DueHolds { answer })).await?;
        let more = orgs.len() >= BATCH_REQUESTS_MAX;
        self.submit_batch(&Actor::System, orgs.into_iter().map(expire).collect()).await?;
        Ok(more)
    }

    /// Looks through some orgs for those that hold something, which this engine does not know after a start, or of
    /// another engine that ended; ends what has expired. Where to go on, if there are more orgs.
    ///
    /// # Errors
    /// [`EngineError`]: not all that hold something are known.
    pub async fn find_holds(&self, from: Option<&Cursor>) -> Result<Option<Cursor>, EngineError> {
        if from.is_none() {
            // Images of orgs that hold something may lag behind.
            self.save(Which::All).await?;
        }
        let page = self.store.scan(&Scan::Orgs, from, ORG_PAGE).await.map_err(crate::read::store_error)?;
        let holding = page.rows.into_iter().filter_map(|row| match row {
            Row::Org(org) if org.holds.is_some() => Some(org.id.clone()),
            _ => None,
        });
        self.submit_batch(&Actor::System, holding.map(expire).collect()).await?;
        Ok(page.next)
    }
}

fn expire(org: OrgId) -> (OrgId, OrgCommand) {
    (org, OrgCommand::Expire)
}

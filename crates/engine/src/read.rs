//! Reading beside the writer: views that come from one version of an org.

use std::borrow::Cow;
use std::sync::Arc;

use tollgate_domain::{
    Actor, Amount, Balance, Bill, BillError, Context, Counter, Denials, Entry, EntryKind, Hold, KeySpace,
    MeterId, Moments, Org, OrgCommand, OrgId, OrgState, PartKey, Partition, Period, Place, Rated, Record,
    RecordKey, Rerun, Scope, SystemRecords, TakenBack, Timestamp, TopUpLine, UsageKey, UsedEntry, UserId,
    Wants, Window, apply, balance, bill, decide, rate_month, top_ups,
};
use tollgate_storage::{Cursor, Order, Page, Row, Scan, Store, StoreError};

use crate::limits::{LEDGER_ROWS_READ, READ_ROUNDS_MAX};
use crate::loading::system_records;
use crate::queue::{Alone, Job, Which};
use crate::{CatalogInForce, Engine, EngineError};

/// Some users of a meter, and what they used of it.
#[derive(Clone, Debug, Default)]
pub struct UserPart {
    /// The users, by id.
    pub users: Vec<(UserId, Counter)>,
    /// From where [`Engine::user_counters`] goes on; `None` when there is nothing more.
    pub next: Option<Cursor>,
}

impl<S: Store> Engine<S> {
    /// An org.
    ///
    /// # Errors
    /// When the store cannot read.
    pub async fn org(&self, id: &OrgId) -> Result<Option<Org>, EngineError> {
        Ok(self.state_of(id, Vec::new()).await?.org().cloned())
    }

    /// An org as it is when those of its holds that have expired are ended.
    ///
    /// # Errors
    /// As [`Engine::balance`].
    pub async fn holds(&self, id: &OrgId) -> Result<Option<Org>, EngineError> {
        self.view(id, |state, _| state.org().cloned()).await
    }

    /// A hold of an org: open, or ended as long as its key is remembered.
    ///
    /// # Errors
    /// As [`Engine::balance`].
    pub async fn hold(&self, id: &OrgId, number: u64) -> Result<Option<Hold>, EngineError> {
        self.view(id, |state, _| state.hold(number).map(Cow::into_owned)).await
    }

    /// An entry of an org.
    ///
    /// # Errors
    /// When the store cannot read.
    pub async fn entry(&self, id: &OrgId, number: u64) -> Result<Option<Entry>, EngineError> {
        self.view(id, |state, _| state.entry(number).cloned()).await
    }

    /// The usage that has a key, as long as the key is remembered and it was not taken back.
    ///
    /// # Errors
    /// As [`Engine::balance`].
    pub async fn usage_of_key(
        &self,
        id: &OrgId,
        key: &UsageKey,
    ) -> Result<Option<(Timestamp, UsedEntry)>, EngineError> {
        self.view(id, |state, _| {
            let known = state.key(KeySpace::Use, key).filter(|known| known.reversed_by.is_none())?;
            let entry = state.entry(known.entry)?;
            match &entry.kind {
                EntryKind::Used(used) => Some((entry.at, (**used).clone())),
                _ => None,
            }
        })
        .await
    }

    /// The system, and those of its records that are asked for.
    ///
    /// # Errors
    /// When the store cannot read.
    pub async fn system(&self, keys: &[RecordKey]) -> Result<SystemRecords, EngineError> {
        system_records(self.store.as_ref(), keys).await.map_err(store_error)
    }

    /// Rows of a scan, as of a moment after everything that was answered before.
    ///
    /// # Errors
    /// When the store cannot read, or cannot write the images that the scan reads.
    pub async fn scan(&self, scan: &Scan, from: Option<&Cursor>, limit: usize) -> Result<Page, EngineError> {
        self.save_for(scan).await?;
        self.store.scan(scan, from, limit).await.map_err(store_error)
    }

    /// The same, for somebody to look at: while no images can be written, as of those that there are.
    ///
    /// # Errors
    /// When the store cannot read.
    pub async fn list(&self, scan: &Scan, from: Option<&Cursor>, limit: usize) -> Result<Page, EngineError> {
        match self.save_for(scan).await {
            // The writer has logged it.
            Ok(()) | Err(EngineError::Full(_) | EngineError::Store(_)) => {}
            Err(error) => return Err(error),
        }
        self.store.scan(scan, from, limit).await.map_err(store_error)
    }

    /// Brings the images that a scan reads up to date.
    async fn save_for(&self, scan: &Scan) -> Result<(), EngineError> {
        let which = match scan {
            Scan::Entries { .. } | Scan::SystemEntries | Scan::Notices => None,
            Scan::ApiKeys | Scan::Catalogs => Some(Which::System),
            Scan::Orgs => Some(Which::Heads),
            Scan::Unsent { org: None } => Some(Which::Unsent),
            Scan::OrgCounters { org, .. }
            | Scan::Tallies { org, .. }
            | Scan::PathTallies { org, .. }
            | Scan::Unsent { org: Some(org) } => Some(Which::Org(org.clone())),
        };
        match which {
            Some(which) => self.save(which).await,
            None => Ok(()),
        }
    }

    /// Brings images up to date. What others appended is asked for here: no decision waits for that.
    pub(crate) async fn save(&self, which: Which) -> Result<(), EngineError> {
        let behind = match &which {
            _ if !self.store.capabilities().shared => Vec::new(),
            Which::Org(org) => vec![Partition::Org(org.clone())],
            Which::System => vec![Partition::System],
            Which::All | Which::Heads | Which::Unsent => self.store.behind().await.map_err(store_error)?,
        };
        let versions = match behind.is_empty() {
            true => Vec::new(),
            false => self.store.versions(&behind).await.map_err(store_error)?,
        };
        let behind = behind.into_iter().zip(versions).collect();
        self.ask(|answer| Job::Alone(Alone::Save { which, behind, answer })).await
    }

    /// The balance of an org as of one of its versions.
    ///
    /// # Errors
    /// When the store cannot read; [`EngineError::Contended`] when the org never held still.
    pub async fn balance(&self, id: &OrgId) -> Result<Option<(Org, Balance)>, EngineError> {
        let in_force = self.catalog();
        let view = |state: &OrgState, at| {
            self.in_context(&in_force, at, |context| balance(state, context).zip(state.org().cloned()))
        };
        Ok(self.view(id, view).await?.map(|(balance, org)| (org, balance)))
    }

    /// The balance of an org, and what it counted of each meter of it in the month before, all as of one of its versions.
    ///
    /// # Errors
    /// As [`Engine::balance`].
    pub async fn balance_and_last_month(
        &self,
        id: &OrgId,
    ) -> Result<Option<(Org, Balance, Vec<Amount>)>, EngineError> {
        let in_force = self.catalog();
        let view = |state: &OrgState, at| {
            let org = state.org()?;
            let balance = self.in_context(&in_force, at, |context| balance(state, context))?;
            let before = Period::month(org.zone.period_at(Window::Month, at).number - 1);
            let counted = |(meter, _): &(MeterId, _)| state.counter(meter, &Scope::Org, before).value;
            let counted = balance.meters.iter().map(counted).collect();
            Some((org.clone(), balance, counted))
        };
        self.view(id, view).await
    }

    /// The top-ups of an org as of one of its versions, the latest first, and the moment.
    ///
    /// # Errors
    /// As [`Engine::balance`].
    pub async fn top_ups(&self, id: &OrgId) -> Result<Option<(Vec<TopUpLine>, Timestamp)>, EngineError> {
        let in_force = self.catalog();
        self.view(id, |state, at| {
            let lines = self.in_context(&in_force, at, |context| top_ups(state, context));
            state.org().map(|_| (lines, at))
        })
        .await
    }

    /// The same, and for each meter of it the first users of the month, at most so many, all as of that version. A user
    /// who came meanwhile may be missing.
    ///
    /// # Errors
    /// As [`Engine::balance`].
    pub async fn balance_with_users(
        &self,
        id: &OrgId,
        users_max: usize,
    ) -> Result<Option<(Org, Balance, Vec<UserPart>)>, EngineError> {
        let Some((_, first)) = self.balance(id).await? else { return Ok(None) };
        let mut listed = Vec::with_capacity(first.meters.len());
        for (meter, _) in first.meters {
            let users = self.users_of_month(id, &meter, first.at, users_max).await?;
            listed.push((meter, users));
        }
        let in_force = self.catalog();
        let view = |state: &OrgState, at| {
            let org = state.org()?;
            let balance = self.in_context(&in_force, at, |context| balance(state, context))?;
            let month = org.zone.period_at(Window::Month, at);
            let parts = balance.meters.iter().map(|(meter, _)| {
                let Some((_, (users, next))) = listed.iter().find(|(known, _)| known == meter) else {
                    return UserPart::default();
                };
                let counted = |user: &UserId| {
                    let scope = Scope::User(user.clone());
                    (user.clone(), state.counter(meter, &scope, month).clone())
                };
                UserPart { users: users.iter().map(counted).collect(), next: next.clone() }
            });
            let parts = parts.collect();
            Some((org.clone(), balance, parts))
        };
        self.view(id, view).await
    }

    /// The first users of a meter in the month of a moment.
    async fn users_of_month(
        &self,
        id: &OrgId,
        meter: &MeterId,
        at: Timestamp,
        most: usize,
    ) -> Result<(Vec<UserId>, Option<Cursor>), EngineError> {
        let Some(org) = self.org(id).await?.filter(|_| most > 0) else { return Ok((Vec::new(), None)) };
        let month = org.zone.period_at(Window::Month, at);
        let (users, next) = self.user_counters(id, meter, month, None, most).await?;
        Ok((users.into_iter().map(|(user, _)| user).collect(), next))
    }

    /// The bill of an org for the month with a number, or for the one that runs: closed, or an estimate as of one of the
    /// org's versions. `None`: nobody has heard of the org.
    ///
    /// # Errors
    /// When the store cannot read; [`EngineError::Contended`] when the org never held still.
    pub async fn bill(
        &self,
        id: &OrgId,
        month: Option<i32>,
    ) -> Result<Option<(Period, Result<Arc<Bill>, BillError>)>, EngineError> {
        let (in_force, clock) = (self.catalog(), self.clock().now());
        let Some(org) = self.org(id).await? else { return Ok(None) };
        let month = month.unwrap_or_else(|| org.zone.period_at(Window::Month, org.now(clock)).number);
        let view = |state: &OrgState, at| {
            state.org()?;
            Some(self.in_context(&in_force, at, |context| bill(state, context, month)))
        };
        Ok(self.view(id, view).await?.map(|bill| (Period::month(month), bill)))
    }

    /// What the usage of an org in the month with a number is worth by the catalog in force and by another.
    ///
    /// # Errors
    /// When the store cannot read; [`EngineError::Contended`] when the org never held still.
    pub async fn rated_by_both(
        &self,
        id: &OrgId,
        month: i32,
        other: &CatalogInForce,
    ) -> Result<[Result<Rated, BillError>; 2], EngineError> {
        let in_force = self.catalog();
        let catalogs = [&in_force, other];
        let view = |state: &OrgState, at| {
            state.org()?;
            let rated = |catalog| self.in_context(catalog, at, |context| rate_month(state, context, month));
            Some(catalogs.map(rated))
        };
        let rated = self.view(id, view).await?;
        Ok(rated.unwrap_or([Err(BillError::UnknownOrg), Err(BillError::UnknownOrg)]))
    }

    /// What the catalog in force and another would have denied of the usage of an org in the month with a number that
    /// was asked for and allowed. Its whole ledger is read up to the month's end, twice.
    ///
    /// # Errors
    /// When the store cannot read.
    pub async fn denied_by_both(
        &self,
        id: &OrgId,
        month: i32,
        other: &CatalogInForce,
    ) -> Result<[Denials; 2], EngineError> {
        let in_force = self.catalog();
        let mut taken_back = TakenBack::default();
        self.each_entry(id, |entry| {
            taken_back.see(entry);
            true
        })
        .await?;
        let mut rerun = Rerun::new(id.clone(), month, [&in_force.catalog, &other.catalog], taken_back);
        self.each_entry(id, |entry| rerun.see(entry)).await?;
        Ok(rerun.denials())
    }

    /// Shows the entries of an org's ledger, oldest first, until there are no more or one is answered with false.
    async fn each_entry(&self, org: &OrgId, mut see: impl FnMut(&Entry) -> bool) -> Result<(), EngineError> {
        let scan = Scan::Entries { org: org.clone(), order: Order::Oldest };
        let mut from = None;
        loop {
            let page = self.scan(&scan, from.as_ref(), LEDGER_ROWS_READ).await?;
            for row in &page.rows {
                if let Row::Entry(entry) = row
                    && !see(entry)
                {
                    return Ok(());
                }
            }
            from = page.next;
            if from.is_none() {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
    }

    /// Looks at an org as of one of its versions, at a time after all that is in it: a view of an earlier time would leave
    /// out what it holds already. `None`: there is no such org.
    pub(crate) async fn view<T>(
        &self,
        id: &OrgId,
        view: impl Fn(&OrgState, Timestamp) -> Option<T>,
    ) -> Result<Option<T>, EngineError> {
        let mut wanted: Vec<PartKey> = Vec::new();
        for _ in 0..READ_ROUNDS_MAX {
            let mut state = self.state_of(id, wanted.clone()).await?;
            // Later than all that is in the state.
            let at = state.now(self.clock().now());
            let seen = self.expire(&mut state, at).and_then(|()| state.ask(|state| view(state, at)));
            match seen {
                Ok(answer) => return Ok(answer),
                Err(wants) => wanted.extend(wants.0),
            }
        }
        Err(EngineError::Contended)
    }

    /// Ends, in a copy, the holds that have expired: as whatever is decided next will.
    fn expire(&self, state: &mut OrgState, at: Timestamp) -> Result<(), Wants> {
        while state.has_due_hold(at) {
            let in_force = self.catalog();
            let expired =
                self.in_context(&in_force, at, |context| decide(state, context, &OrgCommand::Expire))?;
            if let Some(entry) = expired.entry {
                apply(state, &entry);
                state.put(PartKey::Entry(entry.number), Some(Record::Entry(Arc::new(entry))));
            }
        }
        Ok(())
    }

    /// The state of an org with some of its parts, all of one version.
    async fn state_of(&self, org: &OrgId, parts: Vec<PartKey>) -> Result<OrgState, EngineError> {
        let org = org.clone();
        Ok(*self.ask(|answer| Job::Alone(Alone::View { org, parts, answer })).await?)
    }

    pub(crate) fn in_context<T>(
        &self,
        in_force: &CatalogInForce,
        at: Timestamp,
        view: impl FnOnce(&Context<'_>) -> T,
    ) -> T {
        let moments = Moments::new(at);
        view(&Context {
            catalog: &in_force.catalog,
            catalog_version: in_force.version,
            catalog_since: in_force.since,
            moments: &moments,
            key_keep_secs: self.options.key_keep_secs,
            // A view decides nothing.
            actor: &Actor::System,
        })
    }

    /// What the users of an org used of a meter in a period, by user: those that did, at most `limit`, from the
    /// beginning or from where a former page ended.
    ///
    /// # Errors
    /// When the store cannot read.
    pub async fn user_counters(
        &self,
        org: &OrgId,
        meter: &MeterId,
        period: Period,
        from: Option<&Cursor>,
        limit: usize,
    ) -> Result<(Vec<(UserId, Counter)>, Option<Cursor>), EngineError> {
        let scan = Scan::Tallies { org: org.clone(), meter: meter.clone() };
        let mut from = from.cloned();
        loop {
            let page = self.list(&scan, from.as_ref(), limit).await?;
            let users = self.counters_in(org, meter, period, page.rows).await?;
            if !users.is_empty() || page.next.is_none() {
                return Ok((users, page.next));
            }
            from = page.next;
        }
    }

    /// The counters of a period: those that are open in the tallies, and those that are closed.
    async fn counters_in(
        &self,
        org: &OrgId,
        meter: &MeterId,
        period: Period,
        tallies: Vec<Row>,
    ) -> Result<Vec<(UserId, Counter)>, EngineError> {
        let users: Vec<UserId> = tallies
            .into_iter()
            .filter_map(|row| match row {
                Row::Tally(row) if row.tally.place(period) != Place::NotYet => Some(row.user),
                _ => None,
            })
            .collect();
        let counters = |state: &OrgState, _| {
            let counters = users.iter().filter_map(|user| {
                let scope = Scope::User(user.clone());
                let counter = state.counter(meter, &scope, period);
                let counted = match state.place(meter, &scope, period) {
                    Place::NotYet => false,
                    // What was taken back is used no more, but its user did use the meter.
                    Place::Open(_) => true,
                    // A later one is open: the user may have used nothing in this one.
                    Place::Closed => counter != Counter::NOTHING,
                };
                counted.then(|| (user.clone(), counter.clone()))
            });
            Some(counters.collect::<Vec<_>>())
        };
        Ok(self.view(org, counters).await?.unwrap_or_default())
    }
}

pub(crate) fn store_error(error: StoreError) -> EngineError {
    EngineError::Store(Arc::new(error))
}

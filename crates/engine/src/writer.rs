//! The one writer of an engine: takes the queued requests, has them decided and appended, answers, and saves in between.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use tollgate_domain::{
    Actor, Catalog, OrgDecision, OrgId, OrgState, PartKey, System, SystemCommand, SystemDenial,
    SystemRecords, Timestamp,
};
use tollgate_storage::{Store, StoreError, StoreErrorKind};

use crate::catalog::{CatalogInForce, declared};
use crate::flight::{Settled, Terms, Turn};
use crate::limits::{
    BATCH_BYTES_MAX, BATCH_REQUESTS_MAX, CONFLICT_ROUNDS_MAX, FLIGHTS_MAX, FOLLOWED_AGE_MAX, OPEN_ROUNDS_MAX,
    SAVE_AGAIN_AFTER, SAVE_AGAIN_TURNS,
};
use crate::loading::system_records;
use crate::metrics::outcome;
use crate::plans::{PlansGiven, PlansGuard};
use crate::queue::{Alone, Job, Which};
use crate::resident::Checkpoint;
use crate::saving::{Failed, Saving, Waiting};
use crate::shard::{Shard, TurnError};
use crate::sync::{RwLock, mpsc, poll_once, watch};
use crate::{EngineError, EngineMetrics, EngineOptions, OutcomeLabel};

/// The one writer of an [`Engine`](crate::Engine).
pub struct Writer<S> {
    pub(crate) shard: Shard<S>,
    pub(crate) options: EngineOptions,
    pub(crate) catalog: Arc<RwLock<CatalogInForce>>,
    pub(crate) plans_given: Arc<PlansGiven>,
    pub(crate) metrics: EngineMetrics,
    pub(crate) jobs: mpsc::Receiver<Job>,
    pub(crate) shutdown: watch::Receiver<bool>,
    pub(crate) stop: watch::Sender<Option<Arc<StoreError>>>,
    /// The requests of the turn that is on its way to the store.
    pub(crate) flying: Option<Flying>,
    /// Turns that went on their way since none was.
    pub(crate) flown: u32,
    /// For how many more turns keys are looked up before they are decided on.
    pub(crate) look_ups: u32,
    pub(crate) saving: Saving,
    /// Who waits for images.
    pub(crate) waiting: VecDeque<Waiting>,
    /// Whether callers run on the same thread.
    pub(crate) beside_callers: bool,
    /// When what other processes brought into force was last read.
    pub(crate) followed: Timestamp,
}

/// Requests that are decided, and answered once what was decided is durable.
pub(crate) struct Flying {
    jobs: Vec<Job>,
    began: Instant,
}

/// What became of the turn that was on its way.
enum Arrival {
    /// The store has it, or there was none. These requests are to be decided again.
    Kept(Vec<Job>),
    /// The store has nothing of it, and its callers know.
    Refused,
}

impl<S> std::fmt::Debug for Writer<S> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl<S: Store> Writer<S> {
    /// Takes the queued requests, decides, appends and answers, until [`Engine::shutdown`](crate::Engine::shutdown) or a failed
    /// write; needs no runtime beyond what the store needs.
    ///
    /// Dropping the future is like the end of the process: pending callers get
    /// [`EngineError::ShuttingDown`], and what was being written may or may not be.
    pub async fn run(mut self) {
        let settled = self.settle_all().await;
        if let Err(reason) = settled {
            self.fail_stop(reason).await;
            return;
        }
        let (organizations, began) = (self.shard.unsaved_orgs(), Instant::now());
        let saved = self.save_all().await;
        self.answer_waiting(saved.as_ref().err());
        match saved {
            Ok(()) => tracing::info!(
                organizations,
                seconds = began.elapsed().as_secs_f64(),
                "the last images are in the tables"
            ),
            Err(error) => {
                tracing::warn!(%error, "images lag behind the ledger; the next start reads more of it");
            }
        }
    }

    /// Settles the queued requests until no more are taken. An error is a reason to stop.
    async fn settle_all(&mut self) -> Result<(), Arc<StoreError>> {
        while let Some((of_orgs, others)) = self.next_batch().await? {
            let requests: usize = of_orgs.iter().map(Job::requests).sum();
            if requests > 0 {
                self.metrics.batch_requests.observe(f64::from(u32::try_from(requests).unwrap_or(u32::MAX)));
            }
            let mut settled = self.settle(of_orgs).await;
            if !others.is_empty() && settled.is_ok() {
                settled = self.rest().await.map(drop);
            }
            let others = self.check_viewed(others).await;
            for other in others {
                match &settled {
                    Ok(()) => settled = self.settle_other(other).await,
                    Err(reason) => other.fail(EngineError::Stopped(Arc::clone(reason))),
                }
            }
            settled?;
            self.save_due(requests).await;
        }
        self.rest().await.map(drop)
    }

    /// Takes the queued requests: commands of orgs, which are decided together, and what comes after them. `None` at the end.
    /// An error is a reason to stop.
    async fn next_batch(&mut self) -> Result<Option<(Vec<Job>, Vec<Alone>)>, Arc<StoreError>> {
        let (mut of_orgs, mut others) = (Vec::new(), Vec::new());
        let mut next = self.next_job().await?;
        if next.is_none() {
            return Ok(None);
        }
        if self.beside_callers {
            // Those that can go on put their requests first: one append for all of them.
            tokio::task::yield_now().await;
        }
        let (mut requests, mut bytes) = (0, 0);
        while let Some(job) = next {
            requests += job.requests();
            bytes += job.weight();
            match job {
                Job::Alone(other) => others.push(other),
                job => of_orgs.push(job),
            }
            let room = requests < BATCH_REQUESTS_MAX && bytes < BATCH_BYTES_MAX;
            next = if room { self.jobs.try_recv().ok() } else { None };
        }
        Ok(Some((of_orgs, others)))
    }

    async fn next_job(&mut self) -> Result<Option<Job>, Arc<StoreError>> {
        loop {
            tokio::select! {
                biased;
                () = stopping(&mut self.shutdown), if !self.jobs.is_closed() => {
                    self.jobs.close();
                    continue;
                }
                () = self.shard.arrive(), if self.flying.is_some() => drop(self.rest().await?),
                job = self.jobs.recv() => return Ok(job),
                written = self.saving.wait() => self.saved(written),
            }
            self.save_due(0).await;
        }
    }

    /// Waits until nothing is on its way any more, and answers what was. An error is a reason to stop.
    async fn rest(&mut self) -> Result<Arrival, Arc<StoreError>> {
        let arrival = self.arrive().await;
        self.shard.forget_facts();
        self.flown = 0;
        arrival
    }

    /// Waits for the turn that is on its way, if there is one, and answers it. An error is a reason to stop.
    async fn arrive(&mut self) -> Result<Arrival, Arc<StoreError>> {
        self.shard.arrive().await;
        let (Some(Flying { jobs, began }), Some(arrived)) = (self.flying.take(), self.shard.arrived()) else {
            return Ok(Arrival::Kept(Vec::new()));
        };
        match arrived {
            Ok(settled) => {
                self.metrics.commit_seconds.observe(began.elapsed().as_secs_f64());
                self.write_gathered();
                let jobs = self.answer(jobs, settled);
                let again = jobs.iter().map(Job::requests).sum::<usize>();
                self.metrics.conflicts.inc_by(u64::try_from(again).unwrap_or_default());
                Ok(Arrival::Kept(jobs))
            }
            Err(error) => {
                self.discard_gathered();
                if error.kind().is_refusal() {
                    self.refuse(jobs, error).await?;
                } else {
                    self.lose(jobs, error)?;
                }
                Ok(Arrival::Refused)
            }
        }
    }

    /// Decides, appends and answers; again for those that lost a race. An error is a reason to stop.
    async fn settle(&mut self, mut jobs: Vec<Job>) -> Result<(), Arc<StoreError>> {
        if let Some(error) = self.is_behind() {
            jobs.into_iter().for_each(|job| job.fail(EngineError::Full(Arc::clone(&error))));
            return Ok(());
        }
        if let Err(error) = self.keep_up().await {
            jobs.into_iter().for_each(|job| job.fail(refused(&error)));
            return Ok(());
        }
        for round in 0..CONFLICT_ROUNDS_MAX {
            if jobs.is_empty() {
                return Ok(());
            }
            let began = Instant::now();
            let new_keys = round == 0 && self.look_ups == 0;
            self.look_ups = self.look_ups.saturating_sub(1);
            let decided = self.decide(&jobs, new_keys).await;
            // What was decided beside a turn that is on its way counts only if that arrives.
            match self.arrive().await {
                Ok(Arrival::Kept(_)) => {}
                Ok(Arrival::Refused) => continue,
                Err(reason) => {
                    jobs.into_iter().for_each(|job| job.fail(EngineError::Stopped(Arc::clone(&reason))));
                    return Err(reason);
                }
            }
            match decided {
                Ok(turn) => {
                    let goes_on = self.goes_on_beside(&turn);
                    self.flying = Some(Flying { jobs, began });
                    self.shard.send(turn).await;
                    if goes_on && self.shard.is_flying() {
                        self.flown += 1;
                        return Ok(());
                    }
                    match self.rest().await? {
                        Arrival::Kept(again) => {
                            jobs = again;
                            if !jobs.is_empty() {
                                // Others were faster, or a key was not new.
                                self.look_ups = self.options.pace.look_ups_after_conflict;
                            }
                        }
                        Arrival::Refused => return Ok(()),
                    }
                }
                Err(error) if error.kind() == StoreErrorKind::Moved => {}
                Err(error) => return self.settle_alone(jobs, error).await,
            }
        }
        for job in jobs {
            job.fail(EngineError::Contended);
        }
        Ok(())
    }

    /// Follows other processes, unless that was done a moment ago: this one may have been stopped, or cut off, meanwhile.
    async fn keep_up(&mut self) -> Result<(), Arc<StoreError>> {
        if !self.shard.is_shared() {
            return Ok(());
        }
        let age = self.options.clock.now().duration_since(self.followed).unsigned_abs();
        if age > FOLLOWED_AGE_MAX { self.follow_others().await.map(drop) } else { Ok(()) }
    }

    /// It is not known what was appended. On a shared store the orgs are opened again, as it is, so deciding goes on; a store
    /// of one process must be opened again itself.
    fn lose(&self, jobs: Vec<Job>, error: StoreError) -> Result<(), Arc<StoreError>> {
        let reason = Arc::new(error);
        let shared = self.shard.is_shared();
        let failure = if shared { EngineError::Unknown } else { EngineError::Stopped };
        for job in jobs {
            job.fail(failure(Arc::clone(&reason)));
        }
        if shared {
            tracing::error!(error = %reason, "the store was lost in a write; what it did is read again");
            return Ok(());
        }
        Err(reason)
    }

    async fn decide(&mut self, jobs: &[Job], new_keys: bool) -> Result<Turn, StoreError> {
        let catalog = self.catalog_in_force();
        let key_keep_secs = self.options.key_keep_secs;
        let terms = Terms { catalog: &catalog, key_keep_secs, at: self.options.clock.now(), new_keys };
        let mut asked = Vec::with_capacity(jobs.len());
        jobs.iter().for_each(|job| job.ask(&mut asked));
        let decided = self.shard.decide(terms, &asked).await;
        self.plans_given.add(asked.iter().filter_map(|asked| asked.command.plan_given()));
        decided
    }

    /// Whether the next turn is decided while this one is on its way: where that takes as long as to append this one. Of few
    /// requests more come in meanwhile, which are better decided together.
    fn goes_on_beside(&self, turn: &Turn) -> bool {
        !self.shard.is_shared()
            && turn.entries() >= self.options.pace.flight_entries_min
            && self.flown < FLIGHTS_MAX
            // No image is written while a turn is on its way.
            && !self.shard.is_overfull()
    }

    /// One damaged record must not refuse the requests that only happened to share its batch.
    async fn settle_alone(&mut self, jobs: Vec<Job>, error: StoreError) -> Result<(), Arc<StoreError>> {
        if jobs.len() > 1 {
            for job in jobs {
                Box::pin(self.settle(vec![job])).await?;
                // Whoever waited for the turn that this is instead of finds nothing on its way.
                Box::pin(self.rest()).await?;
            }
            return Ok(());
        }
        tracing::error!(%error, "a record cannot be loaded");
        let error = Arc::new(error);
        for job in jobs {
            job.fail(EngineError::Store(Arc::clone(&error)));
        }
        Ok(())
    }

    /// The store took nothing: no room, or one request too large for it.
    async fn refuse(&mut self, jobs: Vec<Job>, error: StoreError) -> Result<(), Arc<StoreError>> {
        if error.kind() == StoreErrorKind::TooLarge && jobs.len() > 1 {
            return self.settle_alone(jobs, error).await;
        }
        tracing::warn!(%error, requests = jobs.len(), "a commit was refused");
        let error = Arc::new(error);
        for job in jobs {
            job.fail(refused(&error));
        }
        Ok(())
    }

    /// Has the orgs that are to be viewed opened again where another process changed them: of all views of a turn together. If it is not
    /// known which those are, the views are answered so; gives back the others.
    async fn check_viewed(&mut self, others: Vec<Alone>) -> Vec<Alone> {
        let viewed = others.iter().filter_map(|other| match other {
            Alone::View { org, .. } => Some(org),
            _ => None,
        });
        let Err(error) = self.shard.catch_up(viewed).await else { return others };
        let error = Arc::new(error);
        let (views, others): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|other| matches!(other, Alone::View { .. }));
        views.into_iter().for_each(|view| view.fail(refused(&error)));
        others
    }

    /// Does what is not a command of an org. An error is a reason to stop.
    async fn settle_other(&mut self, alone: Alone) -> Result<(), Arc<StoreError>> {
        match alone {
            Alone::System { actor, command, guard, answer } => {
                match self.system(&actor, &command, guard.as_ref()).await {
                    Ok(decision) => drop(answer.send(decision)),
                    Err(reason) => {
                        drop(answer.send(Err(EngineError::Stopped(Arc::clone(&reason)))));
                        return Err(reason);
                    }
                }
            }
            Alone::View { org, parts, answer } => {
                let viewed = self.view(&org, &parts).await;
                drop(answer.send(viewed.map(Box::new).map_err(|error| refused(&Arc::new(error)))));
            }
            Alone::Follow { answer } => {
                let followed = self.follow_others().await;
                drop(answer.send(followed.map_err(|error| refused(&error))));
            }
            Alone::DueHolds { answer } => {
                drop(answer.send(Ok(self.shard.due_holds(self.options.clock.now()))));
            }
            Alone::Save { which, behind, answer } => {
                if let Err(error) = self.shard.note_behind(behind).await {
                    drop(answer.send(Err(refused(&Arc::new(error)))));
                    return Ok(());
                }
                // Some at a time, between turns: nobody else waits for it.
                let until = self.shard.up_to_now(&which);
                self.waiting.push_back(Waiting { which, until, answer });
            }
        }
        Ok(())
    }

    /// A copy of an org with some of its parts; of an org that is opened again when its image moved meanwhile.
    async fn view(&mut self, org: &OrgId, parts: &[PartKey]) -> Result<OrgState, StoreError> {
        let mut viewed = self.shard.view(org, parts).await;
        for _ in 1..OPEN_ROUNDS_MAX {
            if !viewed.as_ref().is_err_and(|error| error.kind() == StoreErrorKind::Moved) {
                break;
            }
            self.shard.forget(org);
            viewed = self.shard.view(org, parts).await;
        }
        viewed
    }

    /// Decides a command of the system; again if a race was lost. An error is a reason to stop.
    async fn system(
        &mut self,
        actor: &Actor,
        command: &SystemCommand,
        guard: Option<&PlansGuard>,
    ) -> Result<Result<Result<u32, SystemDenial>, EngineError>, Arc<StoreError>> {
        if guard.is_some_and(|guard| self.plans_given.any_since(guard)) {
            return Ok(Ok(Err(SystemDenial::CatalogMoved)));
        }
        for _ in 0..CONFLICT_ROUNDS_MAX {
            let (before, at) = (self.catalog_in_force(), self.options.clock.now());
            match self.shard.run_system(at, actor, command).await {
                Ok((Settled::Answered(decision), records)) => {
                    self.follow(&before, &records).await;
                    return Ok(Ok(decision));
                }
                Ok((Settled::Again, _)) => drop(self.metrics.conflicts.inc()),
                Err(TurnError::Load(error)) if error.kind() == StoreErrorKind::Moved => {}
                Err(TurnError::Load(error)) => return Ok(Err(EngineError::Store(Arc::new(error)))),
                Err(TurnError::Append(error)) if error.kind().is_refusal() => {
                    return Ok(Err(refused(&Arc::new(error))));
                }
                Err(TurnError::Append(error)) if self.shard.is_shared() => {
                    return Ok(Err(EngineError::Unknown(Arc::new(error))));
                }
                Err(TurnError::Append(error)) => return Err(Arc::new(error)),
            }
        }
        Ok(Err(EngineError::Contended))
    }

    /// Brings into force what others made the system say; gives its version.
    async fn follow_others(&mut self) -> Result<u64, Arc<StoreError>> {
        let (before, at) = (self.catalog_in_force(), self.options.clock.now());
        let records = system_records(self.shard.store.as_ref(), &[]).await.map_err(Arc::new)?;
        self.follow(&before, &records).await;
        self.followed = at;
        Ok(records.system().version)
    }

    /// Brings into force what the system says, also what another process on the same store made it say.
    async fn follow(&mut self, before: &CatalogInForce, records: &SystemRecords) {
        let system = records.system();
        let is_known = system.catalog == before.version;
        if is_known && system.created_meters.len() == before.created_meters.len() {
            return;
        }
        let declared = match records.catalog(system.catalog) {
            _ if is_known => Ok(Arc::clone(&before.declared)),
            Some(version) => {
                Catalog::from_toml(&version.text).map(Arc::new).map_err(|error| error.to_string())
            }
            None => declared(self.shard.store.as_ref(), system.catalog)
                .await
                .map(Arc::new)
                .map_err(|error| error.to_string()),
        };
        match declared {
            Ok(declared) => {
                let System { catalog, catalog_since, created_meters, .. } = system;
                let in_force = CatalogInForce::new(catalog, catalog_since, declared, created_meters.into());
                *self.catalog.write().unwrap_or_else(PoisonError::into_inner) = in_force;
            }
            Err(error) => {
                tracing::warn!(%error, version = system.catalog, "the catalog in force cannot be followed");
            }
        }
    }

    fn catalog_in_force(&self) -> CatalogInForce {
        self.catalog.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers what is settled and gives back what must be decided again.
    fn answer(&self, jobs: Vec<Job>, settled: Vec<Settled<OrgDecision>>) -> Vec<Job> {
        let outcomes = settled.iter().filter_map(|settled| match settled {
            Settled::Answered(decision) => outcome(decision),
            Settled::Again => None,
        });
        // Counted in runs: of a batch nearly all come out the same.
        let (mut last, mut count) = ("", 0);
        for outcome in outcomes.chain([""]) {
            if outcome != last && count > 0 {
                self.metrics.decisions.get_or_create(&OutcomeLabel { outcome: last }).inc_by(count);
                count = 0;
            }
            (last, count) = (outcome, count + 1);
        }
        let mut settled = settled.into_iter();
        jobs.into_iter().filter_map(|job| job.settle(&mut settled)).collect()
    }

    /// Why nothing is decided for now: too many images lag behind, and cannot be written.
    fn is_behind(&self) -> Option<Arc<StoreError>> {
        match &self.saving {
            Saving::Failed(failed) if self.shard.unsaved_orgs() > self.options.pace.unsaved_orgs_max => {
                Some(Arc::clone(&failed.error))
            }
            _ => None,
        }
    }

    /// Goes on with saving after a turn of some entries, so that it keeps up and nobody notices.
    async fn save_due(&mut self, entries: usize) {
        loop {
            if let Some(written) = self.poll_saving().await {
                self.saved(written);
            }
            if !self.save_next(entries).await {
                break;
            }
        }
    }

    /// Begins to write what is to be written next, unless something is being written; whether it did.
    async fn save_next(&mut self, entries: usize) -> bool {
        match std::mem::take(&mut self.saving) {
            Saving::Failed(mut failed) => {
                failed.turns += 1;
                let age = self.options.clock.now().duration_since(failed.at).unsigned_abs();
                let is_long_ago = age >= SAVE_AGAIN_AFTER || failed.turns >= SAVE_AGAIN_TURNS;
                let again = is_long_ago || !self.waiting.is_empty();
                if again {
                    self.write(failed.checkpoint);
                } else {
                    self.saving = Saving::Failed(failed);
                }
                again
            }
            gathered @ Saving::Gathered(_) => {
                self.saving = gathered;
                false
            }
            saving @ Saving::Running(..) => {
                self.saving = saving;
                if !self.shard.is_overfull() {
                    return false;
                }
                // Far too many: the disk sets the pace. What a turn adds is saved before the next, so that they stay as many.
                self.wait_saved().await;
                matches!(self.saving, Saving::Idle)
            }
            Saving::Idle => self.save_wanted().await || self.save_old(entries).await,
        }
    }

    /// Begins to write what nobody waits for and should not wait longer; whether there is any.
    async fn save_old(&mut self, entries: usize) -> bool {
        match self.shard.due(entries).await {
            Ok(Some(checkpoint)) => {
                self.write(checkpoint);
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::warn!(%error, "an organization cannot be opened to be saved");
                false
            }
        }
    }

    /// Begins to write what somebody waits for, and answers those who need not wait any more; whether there is any.
    async fn save_wanted(&mut self) -> bool {
        while let Some(Waiting { which, until, answer }) = self.waiting.pop_front() {
            match self.shard.unsaved(&which, until).await {
                Ok(Some(checkpoint)) => {
                    self.waiting.push_front(Waiting { which, until, answer });
                    self.write(checkpoint);
                    return true;
                }
                // A caller that went away does not care.
                Ok(None) => drop(answer.send(Ok(()))),
                Err(error) => drop(answer.send(Err(refused(&Arc::new(error))))),
            }
        }
        false
    }

    /// Answers those who wait for images: they are there, or cannot be written.
    fn answer_waiting(&mut self, error: Option<&Arc<StoreError>>) {
        for waiting in self.waiting.drain(..) {
            // A caller that went away does not care.
            drop(waiting.answer.send(error.map_or(Ok(()), |error| Err(refused(error)))));
        }
    }

    /// Brings all images up to date.
    async fn save_all(&mut self) -> Result<(), Arc<StoreError>> {
        loop {
            self.wait_saved().await;
            if let Saving::Failed(failed) = std::mem::take(&mut self.saving) {
                self.write(failed.checkpoint);
                self.wait_saved().await;
                if let Saving::Failed(failed) = &self.saving {
                    return Err(Arc::clone(&failed.error));
                }
            }
            match self.shard.unsaved(&Which::All, u64::MAX).await {
                Ok(Some(checkpoint)) => self.write(checkpoint),
                Ok(None) => return Ok(()),
                Err(error) => return Err(Arc::new(error)),
            }
        }
    }

    /// Begins to write images; those gathered while a turn is on its way hold what it changed, and wait for it.
    fn write(&mut self, checkpoint: Checkpoint) {
        if self.shard.is_flying() {
            self.saving = Saving::Gathered(checkpoint);
            return;
        }
        let store = Arc::clone(&self.shard.store);
        let Checkpoint { images, whole_until } = checkpoint.clone();
        let writing = Box::pin(async move { store.checkpoint(images, whole_until).await });
        self.saving = Saving::Running(checkpoint, writing);
    }

    /// Begins to write what was gathered while a turn was on its way, which has arrived.
    fn write_gathered(&mut self) {
        match std::mem::take(&mut self.saving) {
            Saving::Gathered(checkpoint) => self.write(checkpoint),
            saving => self.saving = saving,
        }
    }

    /// Discards what was gathered while a turn was on its way of which the store has nothing.
    fn discard_gathered(&mut self) {
        match std::mem::take(&mut self.saving) {
            Saving::Gathered(checkpoint) => self.shard.discard(&checkpoint.images),
            saving => self.saving = saving,
        }
    }

    /// What became of the images that are being written, if that is known by now.
    async fn poll_saving(&mut self) -> Option<Result<(), StoreError>> {
        let Saving::Running(_, writing) = &mut self.saving else { return None };
        poll_once(writing.as_mut()).await
    }

    async fn wait_saved(&mut self) {
        if let Saving::Running(..) = self.saving {
            let written = self.saving.wait().await;
            self.saved(written);
        }
    }

    fn saved(&mut self, written: Result<(), StoreError>) {
        let Saving::Running(checkpoint, _) = std::mem::take(&mut self.saving) else { return };
        match written {
            Ok(()) => self.shard.saved(&checkpoint.images),
            Err(error) => {
                tracing::error!(%error, "images cannot be written; it will be tried again");
                let error = Arc::new(error);
                self.answer_waiting(Some(&error));
                let at = self.options.clock.now();
                self.saving = Saving::Failed(Failed { checkpoint, error, at, turns: 0 });
            }
        }
    }

    /// After a write of unknown outcome nothing is decided any more: every pending caller is answered so.
    async fn fail_stop(mut self, reason: Arc<StoreError>) {
        tracing::error!(%reason, "the engine stopped after a failed write");
        self.stop.send_replace(Some(Arc::clone(&reason)));
        self.jobs.close();
        for waiting in self.waiting.drain(..) {
            drop(waiting.answer.send(Err(EngineError::Stopped(Arc::clone(&reason)))));
        }
        while let Some(job) = self.jobs.recv().await {
            job.fail(EngineError::Stopped(Arc::clone(&reason)));
        }
    }
}

/// Waits for a shutdown. What a watch shows is locked as long as it is held, so it is let go of here: a second caller of
/// the shutdown would block its thread.
async fn stopping(shutdown: &mut watch::Receiver<bool>) {
    drop(shutdown.wait_for(|shutdown| *shutdown).await);
}

fn refused(error: &Arc<StoreError>) -> EngineError {
    match error.kind() {
        StoreErrorKind::Full => EngineError::Full(Arc::clone(error)),
        _ => EngineError::Store(Arc::clone(error)),
    }
}

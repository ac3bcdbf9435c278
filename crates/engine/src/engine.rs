//! The writer and what callers hold of it.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use tokio::sync::Mutex;
use tollgate_domain::limits::CREATED_METERS_MAX;
use tollgate_domain::{
    Actor, Catalog, Command, MeterId, NewMeter, OrgCommand, OrgDecision, OrgId, System, SystemCommand,
    SystemDenial, SystemRecords,
};
use tollgate_storage::{Store, StoreError, StoreErrorKind};

use crate::catalog::{CatalogInForce, declared};
use crate::limits::{BATCH_BYTES_MAX, BATCH_REQUESTS_MAX, CONFLICT_ROUNDS_MAX, QUEUE_REQUESTS_MAX};
use crate::plans::{PlansGiven, PlansGuard};
use crate::queue::{Job, Many, weight};
use crate::sync::{JoinHandle, RwLock, join, mpsc, oneshot, spawn, watch};
use crate::turn::{Residents, Settled, Turn, TurnError};
use crate::{Answer, Clock, EngineError, EngineMetrics, OutcomeLabel, Request};

/// How the engine works.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Where the time comes from.
    pub clock: Clock,
    /// How long a key is remembered, in seconds.
    pub key_keep_secs: i64,
    /// Most requests that wait.
    pub queue_requests_max: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { clock: Clock::System, key_keep_secs: 35 * 86_400, queue_requests_max: QUEUE_REQUESTS_MAX }
    }
}

/// A running engine. Share it in an `Arc`.
#[derive(Debug)]
pub struct Engine<S> {
    pub(crate) store: Arc<S>,
    pub(crate) options: EngineOptions,
    catalog: Arc<RwLock<CatalogInForce>>,
    pub(crate) plans_given: Arc<PlansGiven>,
    queue: mpsc::Sender<Job>,
    shutdown: watch::Sender<bool>,
    stopped: watch::Receiver<Option<Arc<StoreError>>>,
    writer: Mutex<Option<Driver>>,
    metrics: EngineMetrics,
}

/// Who drives the writer.
#[derive(Debug)]
enum Driver {
    /// A thread of the engine.
    Thread(JoinHandle<()>),
    /// Whoever prepared it.
    Caller,
}

impl<S: Store> Engine<S> {
    /// Reads the catalog in force and starts the writer on a thread of its own.
    ///
    /// # Errors
    /// When the store cannot read it, or it no longer parses; when the system gives no thread.
    pub async fn start(store: Arc<S>, options: EngineOptions) -> Result<Self, StoreError> {
        let (mut engine, writer) = Self::prepare(store, options).await?;
        let thread = spawn("tollgate-writer", move || writer.run()).map_err(|error| {
            StoreError::new(StoreErrorKind::Io, "the writer cannot start").caused_by(error)
        })?;
        engine.writer = Mutex::new(Some(Driver::Thread(thread)));
        Ok(engine)
    }

    /// Reads the catalog in force, and gives the engine and its writer: who drives [`Writer::run`] decides on the
    /// thread. Nothing is answered unless it is driven.
    ///
    /// # Errors
    /// When the store cannot read the catalog, or it no longer parses.
    pub async fn prepare(store: Arc<S>, options: EngineOptions) -> Result<(Self, Writer<S>), StoreError> {
        let catalog = Arc::new(RwLock::new(CatalogInForce::load(store.as_ref()).await?));
        let plans_given = Arc::<PlansGiven>::default();
        let (queue, jobs) = mpsc::channel(options.queue_requests_max);
        let (shutdown, shutdown_seen) = watch::channel(false);
        let (stop, stopped) = watch::channel(None);
        let metrics = EngineMetrics::default();
        let writer = Writer {
            store: Arc::clone(&store),
            options: options.clone(),
            catalog: Arc::clone(&catalog),
            plans_given: Arc::clone(&plans_given),
            metrics: metrics.clone(),
            jobs,
            shutdown: shutdown_seen,
            stop,
            residents: Residents::default(),
        };
        let driver = Mutex::new(Some(Driver::Caller));
        let engine =
            Self { store, options, catalog, plans_given, queue, shutdown, stopped, writer: driver, metrics };
        Ok((engine, writer))
    }

    /// Asks for a decision on an org, for an actor; answered when it is durable.
    ///
    /// # Errors
    /// [`EngineError`]: no decision was made.
    pub async fn submit(
        &self,
        actor: &Actor,
        org: OrgId,
        command: OrgCommand,
    ) -> Result<OrgDecision, EngineError> {
        match self.ask(actor, Command::Org(org, command), None).await? {
            Answer::Org(decision) => Ok(*decision),
            Answer::System(_) => unreachable_answer(),
        }
    }

    /// Asks for a decision of the system; answered with the version of the catalog in force when it is durable.
    ///
    /// # Errors
    /// [`EngineError`]: no decision was made.
    pub async fn submit_system(
        &self,
        actor: &Actor,
        command: SystemCommand,
    ) -> Result<Result<u32, SystemDenial>, EngineError> {
        match &command {
            SystemCommand::ApplyCatalog(apply) => self.apply_catalog(actor, apply).await,
            SystemCommand::CheckCatalog(check) => self.check_catalog(actor, check).await,
            _ => self.ask_system(actor, command, None).await,
        }
    }

    pub(crate) async fn ask_system(
        &self,
        actor: &Actor,
        command: SystemCommand,
        guard: Option<PlansGuard>,
    ) -> Result<Result<u32, SystemDenial>, EngineError> {
        match self.ask(actor, Command::System(command), guard).await? {
            Answer::System(decision) => Ok(decision),
            Answer::Org(_) => unreachable_answer(),
        }
    }

    /// Asks for decisions on many commands in order, whatever orgs they are of; answered when all are durable.
    ///
    /// They are cut into pieces of at most [`BATCH_REQUESTS_MAX`] commands that are committed one after the other, and
    /// take one place in the queue at a time: other callers are heard between them. Only the first piece is refused
    /// when too many requests wait. How many batches are in hand at a time is the caller's to bound.
    ///
    /// # Errors
    /// [`EngineError`]: not all decisions were made; what came before is counted. Sent again with the same keys, all
    /// of it counts once.
    pub async fn submit_batch(
        &self,
        actor: &Actor,
        commands: Vec<(OrgId, OrgCommand)>,
    ) -> Result<Vec<OrgDecision>, EngineError> {
        let mut decisions = Vec::with_capacity(commands.len());
        let mut commands = commands.into_iter().peekable();
        let mut first = true;
        while commands.peek().is_some() {
            let (mut piece, mut bytes) = (Vec::new(), 0);
            while piece.len() < BATCH_REQUESTS_MAX
                && bytes < BATCH_BYTES_MAX
                && let Some((org, command)) = commands.next()
            {
                bytes += weight(&command);
                piece.push((org, command));
            }
            let (answer, answered) = oneshot::channel();
            let job = Job::Many(Many::new(actor.clone(), piece, answer));
            if first {
                self.queue_up(job)?;
            } else if self.queue.send(job).await.is_err() {
                return Err(self.closed());
            }
            first = false;
            decisions.extend(answered.await.unwrap_or_else(|_| Err(self.closed()))?);
        }
        Ok(decisions)
    }

    /// Creates those of some meters that the catalog in force lacks, as many as there may be; durable when it answers.
    /// Gives back those that it still lacks.
    ///
    /// # Errors
    /// [`EngineError`]: none was created.
    pub async fn create_meters(
        &self,
        actor: &Actor,
        meters: impl IntoIterator<Item = impl Into<NewMeter>>,
    ) -> Result<Vec<MeterId>, EngineError> {
        let in_force = self.catalog();
        let lacking = in_force.lacking(meters);
        if lacking.is_empty() || in_force.created_meters.len() >= CREATED_METERS_MAX {
            return Ok(lacking.into_keys().collect());
        }
        // Another caller may create the same ones meanwhile: whoever comes second finds them there.
        let create = SystemCommand::CreateMeters(lacking.values().cloned().collect());
        if self.submit_system(actor, create).await?.is_err() {
            return unreachable_answer();
        }
        Ok(self.catalog().lacking(lacking.into_values()).into_keys().collect())
    }

    async fn ask(
        &self,
        actor: &Actor,
        request: Request,
        guard: Option<PlansGuard>,
    ) -> Result<Answer, EngineError> {
        let (answer, answered) = oneshot::channel();
        self.queue_up(Job::One { actor: actor.clone(), request, guard, answer })?;
        answered.await.unwrap_or_else(|_| Err(self.closed()))
    }

    fn queue_up(&self, job: Job) -> Result<(), EngineError> {
        self.queue.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                self.metrics.overloads.inc();
                EngineError::Overloaded
            }
            mpsc::error::TrySendError::Closed(_) => self.closed(),
        })
    }

    fn closed(&self) -> EngineError {
        self.stopped.borrow().clone().map_or(EngineError::ShuttingDown, EngineError::Stopped)
    }

    /// The catalog in force.
    #[must_use]
    pub fn catalog(&self) -> CatalogInForce {
        self.catalog.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The store, for reading.
    #[must_use]
    pub const fn store(&self) -> &Arc<S> {
        &self.store
    }

    /// The clock.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.options.clock
    }

    /// What the engine measures of itself.
    #[must_use]
    pub const fn metrics(&self) -> &EngineMetrics {
        &self.metrics
    }

    /// Requests that wait.
    #[must_use]
    pub fn queue_depth(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Why the engine stopped by itself, if it did.
    #[must_use]
    pub fn stopped(&self) -> Option<Arc<StoreError>> {
        self.stopped.borrow().clone()
    }

    /// Waits until the engine stops by itself.
    pub async fn wait_stopped(&self) -> Arc<StoreError> {
        let mut stopped = self.stopped.clone();
        loop {
            if let Some(reason) = stopped.borrow_and_update().clone() {
                return reason;
            }
            if stopped.changed().await.is_err() {
                // The writer ended at shutdown: it will never stop by itself.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Takes no more requests, answers those that wait, and closes the store.
    ///
    /// # Errors
    /// When the store cannot finish its background work; what was answered is durable all the same.
    pub async fn shutdown(&self) -> Result<(), StoreError> {
        self.shutdown.send_replace(true);
        // Held to the end: whoever else asks for it waits until the store is closed.
        let mut driver = self.writer.lock().await;
        match driver.take() {
            None => return Ok(()),
            Some(Driver::Thread(writer)) => {
                if !join(writer).await {
                    return Err(StoreError::new(StoreErrorKind::Stopped, "the writer ended by a panic"));
                }
            }
            Some(Driver::Caller) => {
                // The writer has ended when nobody holds the other end any more.
                let mut stopped = self.stopped.clone();
                while stopped.changed().await.is_ok() {}
            }
        }
        self.store.close().await
    }
}

/// Waits for [`Engine::shutdown`]. What a watch shows is locked as long as it is held, so it is let go of here: who asks
/// for the shutdown once more would wait with its whole thread.
async fn stopping(shutdown: &mut watch::Receiver<bool>) {
    drop(shutdown.wait_for(|shutdown| *shutdown).await);
}

/// Orgs are answered by org decisions and the system by its own; a mix-up is a defect of this module.
pub(crate) fn unreachable_answer<T>() -> Result<T, EngineError> {
    let text = "an answer of the wrong kind";
    Err(EngineError::Store(Arc::new(StoreError::new(StoreErrorKind::Stopped, text))))
}

/// The one writer of an [`Engine`].
#[derive(Debug)]
pub struct Writer<S> {
    store: Arc<S>,
    options: EngineOptions,
    catalog: Arc<RwLock<CatalogInForce>>,
    plans_given: Arc<PlansGiven>,
    metrics: EngineMetrics,
    jobs: mpsc::Receiver<Job>,
    shutdown: watch::Receiver<bool>,
    stop: watch::Sender<Option<Arc<StoreError>>>,
    residents: Residents,
}

impl<S: Store> Writer<S> {
    /// Takes what waits, decides, commits and answers, until [`Engine::shutdown`] or a failed write; needs no runtime
    /// beyond what the store needs.
    ///
    /// Dropping the future is like the end of the process: who waits is told that the engine is shutting down, and
    /// what was being written may or may not be.
    pub async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH_REQUESTS_MAX);
        let mut held_back = None;
        while self.next_batch(&mut batch, &mut held_back).await {
            let requests: usize = batch.iter().map(Job::requests).sum();
            self.metrics.batch_requests.observe(f64::from(u32::try_from(requests).unwrap_or(u32::MAX)));
            if let Err(reason) = self.settle(std::mem::take(&mut batch)).await {
                self.fail_stop(reason, held_back).await;
                return;
            }
        }
    }

    /// Takes what waits: commands of orgs together, a command of the system alone. False at the end.
    async fn next_batch(&mut self, batch: &mut Vec<Job>, held_back: &mut Option<Job>) -> bool {
        let first = match held_back.take() {
            Some(job) => Some(job),
            None => tokio::select! {
                biased;
                () = stopping(&mut self.shutdown), if !self.jobs.is_closed() => {
                    self.jobs.close();
                    self.jobs.recv().await
                }
                job = self.jobs.recv() => job,
            },
        };
        let Some(first) = first else { return false };
        let mut alone = first.of_system().is_some();
        let (mut requests, mut bytes) = (first.requests(), first.weight());
        batch.push(first);
        while !alone && requests < BATCH_REQUESTS_MAX && bytes < BATCH_BYTES_MAX {
            let Ok(job) = self.jobs.try_recv() else { break };
            alone = job.of_system().is_some();
            if alone {
                *held_back = Some(job);
            } else {
                requests += job.requests();
                bytes += job.weight();
                batch.push(job);
            }
        }
        true
    }

    /// Decides, commits and answers; again for those that lost a race. An error is a reason to stop.
    async fn settle(&mut self, mut jobs: Vec<Job>) -> Result<(), Arc<StoreError>> {
        for _ in 0..CONFLICT_ROUNDS_MAX {
            if jobs.is_empty() {
                return Ok(());
            }
            let started = Instant::now();
            match self.turn(&jobs).await {
                Ok(settled) => {
                    self.metrics.commit_seconds.observe(started.elapsed().as_secs_f64());
                    jobs = self.answer(jobs, settled);
                    let again = jobs.iter().map(Job::requests).sum::<usize>();
                    self.metrics.conflicts.inc_by(u64::try_from(again).unwrap_or_default());
                }
                Err(TurnError::Load(error)) => return self.settle_alone(jobs, error).await,
                Err(TurnError::Commit(error)) if error.kind().is_refusal() => {
                    return self.refuse(jobs, error).await;
                }
                Err(TurnError::Commit(error)) => {
                    let reason = Arc::new(error);
                    for job in jobs {
                        job.fail(EngineError::Stopped(Arc::clone(&reason)));
                    }
                    return Err(reason);
                }
            }
        }
        for job in jobs {
            job.fail(EngineError::Contended);
        }
        Ok(())
    }

    /// One damaged record must not refuse the requests that only happened to share its batch.
    async fn settle_alone(&mut self, jobs: Vec<Job>, error: StoreError) -> Result<(), Arc<StoreError>> {
        if jobs.len() > 1 {
            for job in jobs {
                Box::pin(self.settle(vec![job])).await?;
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
            job.fail(match error.kind() {
                StoreErrorKind::Full => EngineError::Full(Arc::clone(&error)),
                _ => EngineError::Store(Arc::clone(&error)),
            });
        }
        Ok(())
    }

    async fn turn(&mut self, jobs: &[Job]) -> Result<Vec<Settled>, TurnError> {
        let (catalog, store) = (self.catalog_in_force(), Arc::clone(&self.store));
        let turn = Turn {
            store: store.as_ref(),
            catalog: &catalog,
            key_keep_secs: self.options.key_keep_secs,
            at: self.options.clock.now(),
        };
        let mut orgs = Vec::with_capacity(jobs.len());
        for job in jobs {
            if let Some((actor, command)) = job.of_system() {
                assert_eq!(jobs.len(), 1, "a command of the system is settled alone");
                if job.guard().is_some_and(|guard| self.plans_given.any_since(guard)) {
                    let moved = Answer::System(Err(SystemDenial::CatalogMoved));
                    return Ok(vec![Settled::Answered(moved)]);
                }
                return self.system_turn(&turn, actor, command).await.map(|settled| vec![settled]);
            }
            job.ask(&mut orgs);
        }
        let settled = turn.run_orgs(&orgs, &mut self.residents).await;
        self.plans_given.add(orgs.iter().filter_map(|asked| asked.command.plan_given()));
        settled
    }

    async fn system_turn(
        &self,
        turn: &Turn<'_, S>,
        actor: &Actor,
        command: &SystemCommand,
    ) -> Result<Settled, TurnError> {
        let (settled, records) = turn.run_system(actor, command).await?;
        if matches!(settled, Settled::Answered(_)) {
            self.follow(turn.catalog, &records).await;
        }
        Ok(settled)
    }

    /// Brings into force what the system says, also what another writer on the same store made it say.
    async fn follow(&self, before: &CatalogInForce, records: &SystemRecords) {
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
            None => declared(self.store.as_ref(), system.catalog)
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
    fn answer(&self, jobs: Vec<Job>, settled: Vec<Settled>) -> Vec<Job> {
        let mut settled = settled.into_iter().inspect(|settled| {
            if let Settled::Answered(answer) = settled {
                self.count(answer);
            }
        });
        jobs.into_iter().filter_map(|job| job.settle(&mut settled)).collect()
    }

    fn count(&self, answer: &Answer) {
        let Answer::Org(decision) = answer else { return };
        let outcome = match decision.as_ref() {
            OrgDecision::Use(Ok(allowed)) if allowed.replayed => "replayed",
            OrgDecision::Use(Ok(_)) => "allowed",
            OrgDecision::Use(Err(denied)) => denied.denial.code(),
            OrgDecision::Record(Ok(recorded)) if recorded.duplicate => "duplicate",
            OrgDecision::Record(Ok(_)) => "recorded",
            OrgDecision::Record(Err(denial)) => denial.code(),
            _ => return,
        };
        self.metrics.decisions.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// After a write of unknown outcome nothing is decided any more: whoever waits is told so.
    async fn fail_stop(mut self, reason: Arc<StoreError>, held_back: Option<Job>) {
        tracing::error!(%reason, "the engine stopped after a failed write");
        self.stop.send_replace(Some(Arc::clone(&reason)));
        self.jobs.close();
        let stopped = || EngineError::Stopped(Arc::clone(&reason));
        if let Some(job) = held_back {
            job.fail(stopped());
        }
        while let Some(job) = self.jobs.recv().await {
            job.fail(stopped());
        }
    }
}

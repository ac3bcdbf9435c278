//! The writer and what callers hold of it.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex;
use tollgate_domain::limits::CREATED_METERS_MAX;
use tollgate_domain::{
    Actor, MeterId, NewMeter, OrgCommand, OrgDecision, OrgId, SystemCommand, SystemDenial,
};
use tollgate_storage::{Store, StoreError, StoreErrorKind};

use crate::catalog::CatalogInForce;
use crate::limits::{
    BATCH_BYTES_MAX, BATCH_REQUESTS_MAX, DUE_ENTRIES, FLIGHT_ENTRIES_MIN, LOOK_UPS_AFTER_CONFLICT,
    QUEUE_REQUESTS_MAX, RESIDENT_PARTS_MAX, SAVED_AT_ONCE_MAX, UNSAVED_ORGS_MAX,
};
use crate::plans::{PlansGiven, PlansGuard};
use crate::queue::{Alone, Job, Many, Reply, weight};
use crate::saving::Saving;
use crate::shard::Shard;
#[cfg(not(feature = "shuttle"))]
use crate::sync::spawn_here;
use crate::sync::{Running, RwLock, join, mpsc, oneshot, spawn, watch};
use crate::writer::Writer;
use crate::{Clock, EngineError, EngineMetrics};

/// How the engine works.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Where the time comes from.
    pub clock: Clock,
    /// How long a key is remembered, in seconds.
    pub key_keep_secs: i64,
    /// Most requests that wait.
    pub queue_requests_max: usize,
    /// How much is kept in memory, and how far images lag behind.
    pub pace: Pace,
    /// Whose the leases are that it claims; no two engines on a store have the same.
    pub holder: u64,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            clock: Clock::System,
            key_keep_secs: 35 * 86_400,
            queue_requests_max: QUEUE_REQUESTS_MAX,
            pace: Pace::default(),
            holder: 0,
        }
    }
}

/// How much of the organizations is kept in memory, how far their images lag behind, and when turns overlap.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Entries after which the image of an org that changed is due.
    pub due_entries: u64,
    /// Orgs whose images are due that are saved together: each write is a sync, behind which a commit may wait.
    pub saved_at_once: usize,
    /// Orgs whose images may lag behind before saving keeps pace with what comes in.
    pub unsaved_orgs_max: usize,
    /// Parts of orgs in memory beyond which orgs are let go of.
    pub resident_parts_max: usize,
    /// Entries from which on a turn is on its way to the store while the next is decided.
    pub flight_entries_min: usize,
    /// For how many turns after a conflict callers' keys are looked up before they are taken for new again.
    pub look_ups_after_conflict: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            due_entries: DUE_ENTRIES,
            saved_at_once: SAVED_AT_ONCE_MAX,
            unsaved_orgs_max: UNSAVED_ORGS_MAX,
            resident_parts_max: RESIDENT_PARTS_MAX,
            flight_entries_min: FLIGHT_ENTRIES_MIN,
            look_ups_after_conflict: LOOK_UPS_AFTER_CONFLICT,
        }
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
    /// The engine itself.
    Engine(Running),
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
        let running = spawn("tollgate-writer", move || {
            tollgate_threads::answer_first();
            writer.run()
        });
        let running = running.map_err(|error| {
            StoreError::new(StoreErrorKind::Io, "the writer cannot start").caused_by(error)
        })?;
        engine.writer = Mutex::new(Some(Driver::Engine(running)));
        Ok(engine)
    }

    /// Reads the catalog in force and starts the writer as a task of the caller's runtime.
    ///
    /// Meant for a runtime of one thread that also hears the callers: no request changes threads, and those that were
    /// heard at once are committed at once. An append holds up the thread until it is durable.
    ///
    /// # Errors
    /// When the store cannot read the catalog, or it no longer parses.
    #[cfg(not(feature = "shuttle"))]
    pub async fn start_here(store: Arc<S>, options: EngineOptions) -> Result<Self, StoreError> {
        let (mut engine, mut writer) = Self::prepare(store, options).await?;
        writer.beside_callers = true;
        engine.writer = Mutex::new(Some(Driver::Engine(spawn_here(writer.run()))));
        Ok(engine)
    }

    /// Reads the catalog in force, and gives the engine and its writer: who drives [`Writer::run`] decides on the
    /// thread. Nothing is answered unless it is driven.
    ///
    /// # Errors
    /// When the store cannot read the catalog, or it no longer parses.
    pub async fn prepare(store: Arc<S>, options: EngineOptions) -> Result<(Self, Writer<S>), StoreError> {
        let followed = options.clock.now();
        let catalog = Arc::new(RwLock::new(CatalogInForce::load(store.as_ref()).await?));
        let plans_given = Arc::<PlansGiven>::default();
        let (queue, jobs) = mpsc::channel(options.queue_requests_max);
        let (shutdown, shutdown_seen) = watch::channel(false);
        let (stop, stopped) = watch::channel(None);
        let metrics = EngineMetrics::default();
        let mut shard = Shard::new(Arc::clone(&store), options.pace);
        if !shard.is_shared() {
            let behind = shard.store.behind().await?;
            // Nothing is in memory yet, of whatever version.
            shard.note_behind(behind.into_iter().map(|partition| (partition, 0))).await?;
        }
        let writer = Writer {
            shard,
            options: options.clone(),
            catalog: Arc::clone(&catalog),
            plans_given: Arc::clone(&plans_given),
            metrics: metrics.clone(),
            jobs,
            shutdown: shutdown_seen,
            stop,
            flying: None,
            flown: 0,
            look_ups: 0,
            saving: Saving::default(),
            waiting: VecDeque::new(),
            beside_callers: false,
            followed,
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
        let actor = actor.clone();
        self.ask(|answer| Job::Org { actor, org, command, answer }).await
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

    /// Brings into force what another process on the same store brought into force; gives the version of the system, which
    /// every change of it moves. Without it, that is noticed by commands of the system alone.
    ///
    /// # Errors
    /// [`EngineError`]: what was in force stays so.
    pub async fn follow(&self) -> Result<u64, EngineError> {
        self.ask(|answer| Job::Alone(Alone::Follow { answer })).await
    }

    pub(crate) async fn ask_system(
        &self,
        actor: &Actor,
        command: SystemCommand,
        guard: Option<PlansGuard>,
    ) -> Result<Result<u32, SystemDenial>, EngineError> {
        let actor = actor.clone();
        self.ask(|answer| Job::Alone(Alone::System { actor, command, guard, answer })).await
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
        let mut decisions = Vec::new();
        let mut commands = commands.into_iter().peekable();
        let mut first = true;
        while commands.peek().is_some() {
            let mut piece = Vec::with_capacity(commands.len().min(BATCH_REQUESTS_MAX));
            let mut bytes = 0;
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
            let answered = answered.await.unwrap_or_else(|_| Err(self.closed()))?;
            if decisions.is_empty() {
                decisions = answered;
            } else {
                decisions.extend(answered);
            }
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
        // It is never refused. Few usages come this far: the others need not move what it takes.
        drop(Box::pin(self.submit_system(actor, create)).await?);
        Ok(self.catalog().lacking(lacking.into_values()).into_keys().collect())
    }

    pub(crate) async fn ask<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, EngineError> {
        let (answer, answered) = oneshot::channel();
        self.queue_up(job(answer))?;
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

    /// Whether this engine is to do some work that one of those on the store should do, for this time from now on; asked again
    /// it goes on. When that cannot be known it is not.
    pub async fn is_to_do(&self, work: &str, time: Duration) -> bool {
        match self.store.claim(work, self.options.holder, time).await {
            Ok(claimed) => claimed.is_some(),
            Err(error) => {
                tracing::debug!(%error, work, "it is not known who is to do it");
                false
            }
        }
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
            Some(Driver::Engine(writer)) => {
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

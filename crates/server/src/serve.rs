//! Wiring: store, engine, catalog, keys, listener; and the way down.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Handle, Runtime, RuntimeFlavor};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::task::JoinHandle;
use tollgate_domain::catalog::DEFAULT;
use tollgate_domain::{Actor, ApplyCatalog, SystemCommand};
use tollgate_engine::{Clock, Engine, EngineOptions};
use tollgate_notifier::{Courier, Mailer, Shipper, Sink};
use tollgate_storage::{Row, Scan, Store, StoreError};

use crate::app::{App, AppState};
use crate::auth::ApiKeys;
use crate::console::{NoticeMarks, Sessions, Survey};
use crate::edge::listener::Edge;
use crate::edge::tls::Tls;
use crate::limits::{API_KEYS_MAX, BATCHES_AT_ONCE_MAX, PAGE_ROWS_MAX, QUEUED_CONNECTIONS_MAX, STREAMS_MAX};
use crate::metrics::Metrics;
#[cfg(feature = "oidc")]
use crate::oidc::Provider;
use crate::portkey::Portkey;
use crate::readers::Readers;
use crate::refusals::Refusals;
use crate::routes::Routes;
use crate::stores::AnyStore;
use crate::{Settings, closing, demo, discard, expiring, files, following};

/// Why the server does not run, or runs no more.
#[derive(Debug)]
pub enum ServeError {
    /// The store cannot be opened or read, or a write to it failed.
    Store(String),
    /// The catalog cannot be brought into force.
    Catalog(String),
    /// The address cannot be listened on.
    Listen(String),
    /// Aggregates cannot be committed to this sink.
    Sink(String),
    /// Nobody can sign in by this provider.
    SignIn(String),
    /// Calls cannot be priced.
    Gateway(String),
    /// Notices cannot be delivered.
    Channels(String),
    /// Spans and metrics cannot be sent.
    Telemetry(String),
    /// Certificate or key cannot be used.
    Tls(String),
    /// Anything but loopback needs an API key, or a network that is said to be trusted.
    Unprotected(SocketAddr),
}

impl std::fmt::Display for ServeError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Store(text)
            | Self::Catalog(text)
            | Self::Listen(text)
            | Self::Sink(text)
            | Self::SignIn(text)
            | Self::Gateway(text)
            | Self::Channels(text)
            | Self::Telemetry(text)
            | Self::Tls(text) => formatter.write_str(text),
            Self::Unprotected(address) => write!(
                formatter,
                "refusing to listen on {address} without any API key: everybody could do everything. Set TOLLGATE_API_KEY, \
                 or make a key while listening on 127.0.0.1 (tollgate key create NAME --role admin); --trusted-network \
                 says that everybody who can reach it may do everything"
            ),
        }
    }
}

impl std::error::Error for ServeError {}

impl From<StoreError> for ServeError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}

/// A server that runs within this process.
#[derive(Debug)]
pub struct RunningServer {
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether nobody needs an API key.
    pub open: bool,
    app: App,
    tls: Option<Arc<Tls>>,
    edge: JoinHandle<()>,
    /// Where the listener runs.
    listening: Listening,
    /// What the server does unasked, and what each is called.
    background: Vec<(&'static str, JoinHandle<()>)>,
}

impl RunningServer {
    /// Takes no more connections, answers what has begun, closes the store.
    ///
    /// # Errors
    /// When the store cannot finish its background work; what was answered is durable all the same.
    pub async fn shutdown(self) -> Result<(), ServeError> {
        let began = Instant::now();
        self.app.closing.send_replace(true);
        if let Some(shipper) = &self.app.shipper {
            shipper.close();
        }
        self.app.courier.close();
        if let Err(error) = self.edge.await {
            tracing::error!(%error, "the listener ended by a panic");
        }
        drop(self.listening);
        for (name, work) in self.background {
            if let Err(error) = work.await {
                tracing::error!(%error, "{name} ended by a panic");
            }
        }
        #[cfg(feature = "otlp")]
        crate::telemetry::Telemetry::end(&self.app).await;
        self.app.readers.close().await;
        let queue = self.app.engine.queue_depth();
        self.app.engine.shutdown().await?;
        tracing::info!(
            queue,
            seconds = began.elapsed().as_secs_f64(),
            "the queue is answered and the store closed"
        );
        Ok(())
    }

    /// Reads certificate and key again; new connections use them.
    pub fn reload_tls(&self) {
        match &self.tls {
            Some(tls) => tls.reload(),
            None => tracing::info!("there is no certificate to read again"),
        }
    }

    /// Waits until a failed write stops the engine; says why.
    pub async fn wait_stopped(&self) -> String {
        self.app.engine.wait_stopped().await.to_string()
    }
}

/// Starts a server and returns once it answers.
///
/// # Errors
/// [`ServeError`].
pub async fn start(mut settings: Settings, clock: Clock) -> Result<RunningServer, ServeError> {
    settings.connections_max = files::connections_beside(settings.connections_max);
    let tls = settings.tls.clone().map(Tls::new).transpose()?.map(Arc::new);
    let app = assemble(settings, clock).await?;
    if answers_on_one_thread() {
        // Not before: the threads of the store do not answer callers.
        tollgate_threads::answer_first();
    }
    let address = app.settings.listen;
    let open = app.api_keys.is_empty();
    if open && !address.ip().is_loopback() {
        if !app.settings.trusted_network {
            app.engine.shutdown().await?;
            return Err(ServeError::Unprotected(address));
        }
        tracing::warn!(%address, "no API key is set and the network is trusted: everybody who reaches it may do everything");
    }
    let (listening, listener, address) = match Listening::start(address).await {
        Ok(listening) => listening,
        Err(error) => {
            app.engine.shutdown().await?;
            return Err(ServeError::Listen(format!("cannot listen on {address}: {error}")));
        }
    };
    let stopping = app.closing.subscribe();
    let edge = Edge::new(Arc::clone(&app), Routes::new(&app.metrics), tls.clone());
    let edge = listening.handle.spawn(edge.run(listener, stopping.clone()));
    let shipping = match app.shipper.is_some() {
        true => work(&app, ship(Arc::clone(&app))),
        false => work(&app, discard::run(Arc::clone(&app), stopping.clone())),
    };
    let mut background = vec![
        ("committing of aggregates", shipping),
        ("delivering of notices", work(&app, deliver(Arc::clone(&app)))),
        ("expiring of holds", work(&app, expiring::run(Arc::clone(&app), stopping.clone()))),
    ];
    #[cfg(feature = "otlp")]
    background.push((
        "sending of metrics",
        tokio::spawn(crate::telemetry::Telemetry::run(Arc::clone(&app), stopping.clone())),
    ));
    if let Some(days) = app.settings.close_after_days {
        background
            .push(("closing of months", work(&app, closing::run(Arc::clone(&app), days, stopping.clone()))));
    }
    if app.engine.store().capabilities().shared {
        background
            .push(("following of other servers", work(&app, following::run(Arc::clone(&app), stopping))));
    }
    Ok(RunningServer { address, open, app, tls, edge, listening, background })
}

/// A thread to listen on.
#[derive(Debug)]
struct Listening {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Listening {
    /// Starts the thread, and a listener on it; where it listens.
    async fn start(address: SocketAddr) -> io::Result<(Self, TcpListener, SocketAddr)> {
        let mut thread = tokio::runtime::Builder::new_multi_thread();
        let thread = thread.worker_threads(1).thread_name("tollgate-listen").enable_all();
        let thread = thread.on_thread_start(tollgate_threads::answer_first).build()?;
        let thread = Self { handle: thread.handle().clone(), runtime: Some(thread) };
        let bound = thread.handle.spawn(async move { listen(address) });
        let listener = bound.await.unwrap_or_else(|error| Err(io::Error::other(error)))?;
        let address = listener.local_addr()?;
        Ok((thread, listener, address))
    }
}

/// Listens, with room for connections that come faster than they are accepted: where the system's queue is full, a
/// client hears nothing for a second or more.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A server that starts again may take the address of the one before at once.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(QUEUED_CONNECTIONS_MAX)
}

impl Drop for Listening {
    fn drop(&mut self) {
        // A runtime must not be dropped on a thread of another.
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

/// Does something in the background, beside the gate.
fn work(app: &App, work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    let app = Arc::clone(app);
    tokio::spawn(async move { app.readers.work(work).await })
}

/// Commits aggregates every interval, until the shipper is closed.
async fn ship(app: App) {
    if let Some(shipper) = &app.shipper {
        shipper.run(&app.engine, app.settings.commit_interval).await;
    }
}

/// Delivers notices, until the courier is closed.
async fn deliver(app: App) {
    app.courier.run(&app.engine, app.settings.notice_interval).await;
}

/// Where aggregates are committed to, if anywhere.
fn shipper(settings: &Settings) -> Result<Option<Shipper>, ServeError> {
    let sink = settings.sink.as_ref().map(|url| Sink::open(url, settings.sink_secret.clone())).transpose();
    Ok(sink
        .map_err(|error| ServeError::Sink(error.to_string()))?
        .map(|sink| Shipper::new(sink, settings.commit_patience)))
}

/// What delivers notices.
fn courier(settings: &Settings) -> Result<Courier, ServeError> {
    let mailer = settings.mail.as_ref().map(Mailer::new).transpose();
    let mailer = mailer.map_err(|error| ServeError::Channels(error.to_string()))?;
    Courier::new(settings.webhook_reach, mailer, settings.aws_endpoint.as_deref())
        .map_err(|error| ServeError::Channels(error.to_string()))
}

/// Whether the thread that runs this answers every caller.
fn answers_on_one_thread() -> bool {
    Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread
}

/// Everything but the listener.
pub(crate) async fn assemble(settings: Settings, clock: Clock) -> Result<App, ServeError> {
    let shipper = shipper(&settings)?;
    let portkey = Portkey::new(&settings).map_err(ServeError::Gateway)?;
    let courier = courier(&settings)?;
    #[cfg(feature = "oidc")]
    let oidc = settings.oidc.clone().map(|oidc| Provider::new(oidc, settings.webhook_reach));
    #[cfg(feature = "oidc")]
    let oidc = oidc.transpose().map_err(ServeError::SignIn)?;
    #[cfg(not(feature = "oidc"))]
    if settings.oidc.is_some() {
        let text = "oidc-issuer is set and this build lacks the feature oidc (cargo build --features oidc)";
        return Err(ServeError::SignIn(text.to_owned()));
    }
    #[cfg(feature = "otlp")]
    let telemetry =
        settings.otlp.as_ref().map(|url| crate::telemetry::Telemetry::start(url, &settings.environment));
    #[cfg(feature = "otlp")]
    let telemetry = telemetry.transpose().map_err(ServeError::Telemetry)?;
    #[cfg(not(feature = "otlp"))]
    if settings.otlp.is_some() {
        tracing::warn!(
            "no spans and metrics are sent: this build lacks the feature otlp (cargo build --features otlp)"
        );
    }
    let readers =
        Readers::start().map_err(|error| ServeError::Store(format!("no threads to read on: {error}")))?;
    let store = AnyStore::open(&settings)?;
    let options = EngineOptions {
        clock,
        key_keep_secs: i64::from(settings.key_keep_days) * 86_400,
        queue_requests_max: settings.queue_requests_max,
        holder: holder()?,
        ..EngineOptions::default()
    };
    // Where one thread does everything, a decision is made where its request is heard.
    let engine = if answers_on_one_thread() {
        Engine::start_here(Arc::clone(&store), options).await?
    } else {
        Engine::start(Arc::clone(&store), options).await?
    };
    let catalog = match &settings.catalog {
        Some(path) => Some(std::fs::read_to_string(path).map_err(|error| {
            ServeError::Catalog(format!("the catalog {} cannot be read: {error}", path.display()))
        })?),
        None => None,
    };
    if let Err(error) = bring_into_force(&engine, catalog).await {
        engine.shutdown().await?;
        return Err(error);
    }
    let api_keys = ApiKeys::new(settings.api_key.as_ref(), settings.oidc.is_some());
    learn_api_keys(store.as_ref(), &api_keys).await?;
    let sessions =
        Sessions::new().map_err(|error| ServeError::Store(format!("no randomness for sessions: {error}")))?;
    let metrics = Metrics::new(engine.metrics(), |registry| {
        store.register(registry);
        if let Some(shipper) = &shipper {
            shipper.metrics().register(registry);
        }
        courier.metrics().register(registry);
    });
    Ok(Arc::new(AppState {
        engine,
        api_keys,
        metrics,
        settings,
        shipper,
        portkey,
        courier,
        notices_end: Mutex::default(),
        #[cfg(feature = "otlp")]
        telemetry,
        readers,
        refusals: Refusals::default(),
        streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        closing: watch::Sender::default(),
        sessions,
        #[cfg(feature = "oidc")]
        oidc,
        survey: Survey::default(),
        notice_marks: NoticeMarks::default(),
        batches: Semaphore::new(BATCHES_AT_ONCE_MAX),
    }))
}

/// A number that no other server on the store has.
fn holder() -> Result<u64, ServeError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| ServeError::Store(format!("no random number: {error}")))?;
    Ok(u64::from_ne_bytes(bytes))
}

/// A store without a catalog gets the default one; a given file comes into force unless it is already.
async fn bring_into_force(engine: &Engine<AnyStore>, given: Option<String>) -> Result<(), ServeError> {
    let in_force = engine.catalog();
    let text = match given {
        Some(text) if in_force.version > 0 => {
            let next = tollgate_domain::Catalog::from_toml(&text)
                .map_err(|error| ServeError::Catalog(error.to_string()))?;
            if next == *in_force.declared {
                return Ok(());
            }
            text
        }
        Some(text) => text,
        None if in_force.version > 0 => return Ok(()),
        None => DEFAULT.to_owned(),
    };
    let apply = SystemCommand::ApplyCatalog(ApplyCatalog::new(text));
    let applied = engine
        .submit_system(&Actor::System, apply)
        .await
        .map_err(|error| ServeError::Store(error.to_string()))?;
    applied.map(|_| ()).map_err(|denial| {
        let failure = crate::native::catalog::system_failure(denial);
        ServeError::Catalog(format!("{}\n{}", failure.problem.detail, failure.problem.conflicts.join("\n")))
    })
}

async fn learn_api_keys(store: &AnyStore, api_keys: &ApiKeys) -> Result<(), ServeError> {
    let (mut cursor, mut known) = (None, 0);
    loop {
        let page = store.scan(&Scan::ApiKeys, cursor.as_ref(), PAGE_ROWS_MAX).await?;
        known += page.rows.len();
        for row in page.rows {
            if let Row::ApiKey(api_key) = row {
                api_keys.learn(&api_key);
            }
        }
        cursor = page.next;
        if cursor.is_none() || known >= API_KEYS_MAX {
            return Ok(());
        }
    }
}

/// Runs a server until SIGTERM or SIGINT; SIGHUP has it read certificate and key again.
///
/// `on_ready` hears of the server once it answers.
///
/// # Errors
/// [`ServeError`]: it did not start, or a failed write stopped it.
pub async fn serve(settings: Settings, on_ready: impl FnOnce(&RunningServer)) -> Result<(), ServeError> {
    // From here on a signal ends the server in order, also in the moment after it says that it listens.
    let mut signals = Signals::listen()?;
    let server = start(settings, Clock::System).await?;
    on_ready(&server);
    let failed = loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Wanted::Reload => server.reload_tls(),
                Wanted::End(signal) => {
                    tracing::info!(signal, "shutting down");
                    break None;
                }
            },
            reason = server.wait_stopped() => break Some(reason),
        }
    };
    let closed = server.shutdown().await;
    match failed {
        Some(reason) => Err(ServeError::Store(reason)),
        None => closed,
    }
}

/// Runs a server on a temporary store that holds two months of some dozens of made-up organizations.
///
/// # Errors
/// As for [`serve`].
pub async fn serve_demo(
    mut settings: Settings,
    on_ready: impl FnOnce(&RunningServer),
) -> Result<(), ServeError> {
    let folder = tempfile::Builder::new()
        .prefix("tollgate-demo-")
        .tempdir()
        .map_err(|error| ServeError::Store(format!("no temporary folder: {error}")))?;
    settings.store = crate::StoreUrl::Embedded(folder.path().join("data"));
    if settings.catalog.is_none() {
        let catalog = folder.path().join("catalog.toml");
        std::fs::write(&catalog, demo::CATALOG)
            .map_err(|error| ServeError::Catalog(format!("the demo's catalog cannot be written: {error}")))?;
        settings.catalog = Some(catalog);
    }
    demo::fill(&settings).await?;
    serve(settings, on_ready).await
}

/// What a signal asks for.
enum Wanted {
    /// To read certificate and key again.
    Reload,
    /// To end in order; with the name of the signal.
    End(&'static str),
}

/// The signals that the server hears instead of being ended by them.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Hears them from now on.
    fn listen() -> Result<Self, ServeError> {
        let listen = |kind| {
            signal(kind).map_err(|error| ServeError::Listen(format!("signals cannot be heard: {error}")))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one; none is lost when the wait is given up.
    async fn next(&mut self) -> Wanted {
        tokio::select! {
            _ = self.terminate.recv() => Wanted::End("SIGTERM"),
            _ = self.interrupt.recv() => Wanted::End("SIGINT"),
            _ = self.hang_up.recv() => Wanted::Reload,
        }
    }
}

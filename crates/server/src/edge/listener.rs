//! Accepts connections, each within its limits, until told to stop.
//!
//! This has a thread of its own. It keeps the connections of probes ([`probes`]) and gives all others to the threads that
//! answer the gate: these may wait for the disk, and whoever asks whether the server is alive must not.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use http::header::CONNECTION;
use http::{HeaderValue, Request};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tollgate_api::{Code, Problem};

use crate::app::App;
use crate::edge::alarm::Alarm;
use crate::edge::browser::Access;
use crate::edge::drain::Rest;
use crate::edge::linger::Lingering;
use crate::edge::patience::Patient;
use crate::edge::rate::RateLimiter;
use crate::edge::service::{Heard, RequestIds};
use crate::edge::tls::Tls;
use crate::edge::{browser, cors, drain, gzip, pieces, probes};
use crate::limits::HTTP2_STREAMS_MAX;
use crate::metrics::RouteMetrics;
use crate::routes::{Answering, Route, Routes, told};

/// How long to wait after the system refused a connection (no file descriptors left).
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// What every connection needs.
pub(crate) struct Edge {
    app: App,
    routes: Routes,
    ids: RequestIds,
    rate: Option<RateLimiter>,
    tls: Option<Arc<Tls>>,
    http: auto::Builder<TokioExecutor>,
    /// The threads that answer the gate.
    gate: Handle,
}

impl Edge {
    /// An edge whose connections are served by the runtime of the caller.
    pub(crate) fn new(app: App, routes: Routes, tls: Option<Arc<Tls>>) -> Self {
        let settings = &app.settings;
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1()
            .header_read_timeout(settings.request_timeout)
            .max_buf_size(settings.header_bytes_max.max(8_192));
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(HTTP2_STREAMS_MAX)
            .max_header_list_size(u32::try_from(settings.header_bytes_max).unwrap_or(u32::MAX))
            .keep_alive_interval(Some(settings.request_timeout));
        let rate = settings.rate_per_address.map(RateLimiter::new);
        Self { app, routes, ids: RequestIds::new(), rate, tls, http, gate: Handle::current() }
    }

    /// Serves until `stop` turns true, then finishes the requests that have begun.
    pub(crate) async fn run(self, listener: TcpListener, mut stop: watch::Receiver<bool>) {
        let connections_max = self.app.settings.connections_max;
        let grace = self.app.settings.shutdown_grace;
        let permits = Arc::new(Semaphore::new(connections_max));
        let graceful = GracefulShutdown::new();
        let edge = Arc::new(self);
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                accepted = accept(&listener, &permits) => accepted,
            };
            if let Some(accepted) = accepted {
                let (edge, watcher, stop) = (Arc::clone(&edge), graceful.watcher(), stop.clone());
                tokio::spawn(edge.welcome(accepted, watcher, stop));
            }
        }
        drop(listener);
        let began = Instant::now();
        let connections = || connections_max.saturating_sub(permits.available_permits());
        tracing::info!(
            connections = connections(),
            "no connection is accepted any more; open ones may finish"
        );
        let is_done = tokio::time::timeout(grace, graceful.shutdown()).await.is_ok();
        let seconds = began.elapsed().as_secs_f64();
        if is_done {
            tracing::info!(seconds, "every connection has ended");
        } else {
            tracing::warn!(connections = connections(), seconds, "some connections did not end in time");
        }
    }

    /// Serves a probe here; leaves all others to the gate.
    async fn welcome(self: Arc<Self>, accepted: Accepted, watcher: Watcher, mut stop: watch::Receiver<bool>) {
        let Accepted { stream, address, permit } = accepted;
        // Answers are small and must leave at once.
        let _ = stream.set_nodelay(true);
        if self.tls.is_none() {
            let is_probe = tokio::select! {
                is_probe = tokio::time::timeout(self.app.settings.request_timeout, probes::is_probe(&stream)) => is_probe,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            match is_probe {
                Ok(Ok(false)) => {}
                Ok(Ok(true)) => {
                    self.http(stream, address, watcher).await;
                    return drop(permit);
                }
                Ok(Err(error)) => return tracing::debug!(%error, "a connection broke off"),
                Err(_) => return tracing::debug!("a connection sent nothing in time"),
            }
        }
        let stream = match stream.into_std() {
            Ok(stream) => stream,
            Err(error) => return tracing::warn!(%error, "a connection cannot be served"),
        };
        let gate = self.gate.clone();
        gate.spawn(async move {
            match TcpStream::from_std(stream) {
                Ok(stream) => self.connection(stream, address, watcher).await,
                Err(error) => tracing::warn!(%error, "a connection cannot be served"),
            }
            drop(permit);
        });
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, address: SocketAddr, watcher: Watcher) {
        match &self.tls {
            None => self.http(stream, address, watcher).await,
            Some(tls) => {
                let handshake =
                    tokio::time::timeout(self.app.settings.request_timeout, tls.acceptor().accept(stream))
                        .await;
                match handshake {
                    Ok(Ok(stream)) => self.http(stream, address, watcher).await,
                    Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                    Err(_) => tracing::debug!("a TLS handshake did not end in time"),
                }
            }
        }
    }

    async fn http<IO>(self: &Arc<Self>, stream: IO, address: SocketAddr, watcher: Watcher)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = Patient::new(stream, self.app.settings.request_timeout);
        let (stream, unread) = Lingering::new(stream);
        let connection = Arc::new(Connection { edge: Arc::clone(self), address, unread });
        let service = service_fn(move |request| Arc::clone(&connection).request(request));
        let mut http = self.http.clone();
        http.http1().timer(Alarm::default());
        let connection = http.serve_connection(TokioIo::new(stream), service).into_owned();
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(error, "a connection broke off");
        }
    }

    fn access(&self) -> Access {
        match (self.app.api_keys.is_empty(), self.app.settings.trusted_network) {
            (false, _) => Access::Keys,
            (true, false) => Access::Loopback,
            (true, true) => Access::TrustedNetwork,
        }
    }

    /// Begins to answer a request, or refuses it.
    fn answer(&self, route: &Route, address: SocketAddr, request: Request<Body>, now: Instant) -> Answering {
        if self.rate.as_ref().is_some_and(|rate| !rate.admits(address.ip(), now)) {
            let detail = "too many requests a second from this address";
            return told(route.refused(Problem::new(Code::RateLimited, detail)));
        }
        let allowed = self.app.settings.cors_origins.as_slice();
        if let Err(refused) = browser::admit(&request, self.access(), allowed) {
            return told(route.refused(refused));
        }
        match cors::preflight(&request, allowed) {
            Some(response) => told(response),
            None => route.answer(&self.app, request),
        }
    }
}

/// What the requests of a connection share.
struct Connection {
    edge: Arc<Edge>,
    address: SocketAddr,
    /// Whether its client still sends something that nobody reads.
    unread: Arc<AtomicBool>,
}

/// A request whose answer has begun.
struct Begun<'a> {
    heard: Heard,
    route: &'a Route,
    metrics: &'a RouteMetrics,
    answer: Answering,
    /// What the answer may leave of the body.
    rest: Option<Rest>,
    keeps_alive: bool,
    accepts_gzip: bool,
    /// Whence a page sent it that may read the answer.
    origin: Option<HeaderValue>,
}

impl Connection {
    /// Answers a request.
    ///
    /// Every request moves this future, so it is kept small: what answers is in a box, and so is what few requests need.
    async fn request(self: Arc<Self>, request: Request<Incoming>) -> Result<Response, Infallible> {
        let Begun { heard, route, metrics, answer, rest, keeps_alive, accepts_gzip, origin } =
            self.begin(request);
        let mut response = heard.answered(route, answer).await;
        let settings = &self.edge.app.settings;
        cors::mark(&mut response, origin, settings.cors_origins.as_slice());
        if let Some(rest) = rest {
            let until = heard.started + settings.request_timeout;
            let is_read = Box::pin(rest.discard(until.into())).await;
            if !is_read && keeps_alive {
                self.unread.store(true, Ordering::Relaxed);
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
        }
        heard.finish(route, metrics, &mut response);
        if gzip::is_worth(&response) {
            response = Box::pin(gzip::compressed(response, accepts_gzip)).await;
        }
        if pieces::is_large(&response) {
            response = pieces::cut(response);
        }
        Ok(response)
    }

    /// All that is done before there is something to wait for.
    fn begin(&self, request: Request<Incoming>) -> Begun<'_> {
        let Self { edge, address, .. } = self;
        let keeps_alive = request.version() < http::Version::HTTP_2;
        let (mut request, rest) = drain::lend(request);
        let heard = Heard::new(&edge.ids, &request);
        let accepts_gzip = gzip::is_accepted(request.headers());
        let origin = cors::origin(&request, edge.app.settings.cors_origins.as_slice());
        let (route, metrics) = edge.routes.find(&mut request);
        #[cfg(feature = "otlp")]
        let heard = heard.spanned(|| Some(edge.app.telemetry.as_ref()?.begin(&request, route.template)));
        let answer = heard.begun(route, || edge.answer(route, *address, request, heard.started));
        Begun { heard, route, metrics, answer, rest, keeps_alive, accepts_gzip, origin }
    }
}

/// A connection, one of as many as there may be.
struct Accepted {
    stream: TcpStream,
    address: SocketAddr,
    permit: OwnedSemaphorePermit,
}

/// The next connection, once there is room for one more.
async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> Option<Accepted> {
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, address)) => Some(Accepted { stream, address, permit }),
        Err(error) => {
            tracing::warn!(%error, "a connection cannot be accepted");
            tokio::time::sleep(ACCEPT_RETRY).await;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compat::{billing, pulses, reports};
    use crate::native;

    /// What the future of a function is large.
    fn bytes_of<A, B, F: Future>(_: impl FnOnce(A, B) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn what_every_request_moves_is_small() {
        for (name, bytes, most) in [
            ("edge", bytes_of(Connection::request), 720),
            ("POST /v1/usage", bytes_of(native::usage::use_), 1_600),
            (
                "POST /use",
                bytes_of(|(app, caller), (key, body)| reports::use_(app, caller, key, body)),
                1_600,
            ),
            (
                "POST /pulses",
                bytes_of(|(app, caller), (key, body)| pulses::take(app, caller, key, body)),
                2_704,
            ),
            (
                "POST /api/v1/usage",
                bytes_of(|(app, caller), (key, body)| billing::record(app, caller, key, body)),
                2_576,
            ),
        ] {
            assert!(bytes <= most, "{name}: {bytes}");
        }
    }
}

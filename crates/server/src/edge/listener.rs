//! Accepts connections, each within its limits, until told to stop.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::CONNECTION;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tollgate_api::{Code, Problem};

use crate::app::{App, Routes};
use crate::edge::browser::Access;
use crate::edge::linger::Lingering;
use crate::edge::rate::RateLimiter;
use crate::edge::service::{Heard, RequestIds, route};
use crate::edge::tls::Tls;
use crate::edge::{browser, cors, drain, gzip};
use crate::limits::HTTP2_STREAMS_MAX;
use crate::reply::Failure;

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
}

impl Edge {
    pub(crate) fn new(app: App, routes: Routes, tls: Option<Arc<Tls>>) -> Self {
        let settings = &app.settings;
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(settings.request_timeout)
            .max_buf_size(settings.header_bytes_max.max(8_192));
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(HTTP2_STREAMS_MAX)
            .max_header_list_size(u32::try_from(settings.header_bytes_max).unwrap_or(u32::MAX))
            .keep_alive_interval(Some(settings.request_timeout));
        let rate = settings.rate_per_address.map(RateLimiter::new);
        Self { app, routes, ids: RequestIds::new(), rate, tls, http }
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
            if let Some((stream, address, permit)) = accepted {
                let watcher = graceful.watcher();
                let edge = Arc::clone(&edge);
                tokio::spawn(async move {
                    edge.connection(stream, address, watcher).await;
                    drop(permit);
                });
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

    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        address: SocketAddr,
        watcher: hyper_util::server::graceful::Watcher,
    ) {
        // Answers are small and must leave at once.
        let _ = stream.set_nodelay(true);
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

    async fn http<IO>(
        self: &Arc<Self>,
        stream: IO,
        address: SocketAddr,
        watcher: hyper_util::server::graceful::Watcher,
    ) where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let edge = Arc::clone(self);
        let (stream, unread) = Lingering::new(stream);
        let service = service_fn(move |request: http::Request<Incoming>| {
            let (edge, unread) = (Arc::clone(&edge), Arc::clone(&unread));
            async move { Ok::<_, Infallible>(edge.request(address, request, &unread).await) }
        });
        let connection = self.http.serve_connection(TokioIo::new(stream), service).into_owned();
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(error, "a connection broke off");
        }
    }

    /// Answers a request; marks the connection if its client still sends a body that nobody reads.
    async fn request(
        &self,
        address: SocketAddr,
        request: http::Request<Incoming>,
        unread: &AtomicBool,
    ) -> Response {
        let until = tokio::time::Instant::now() + self.app.settings.request_timeout;
        let keeps_alive = request.version() < http::Version::HTTP_2;
        let (request, rest) = drain::lend(request);
        let heard = Heard::new(&self.ids, self.routes.template(request.uri().path()), &request);
        let accepts_gzip = gzip::is_accepted(request.headers());
        let allowed = self.app.settings.cors_origins.as_slice();
        let origin = cors::origin(&request, allowed);
        let answer = async {
            let mut response = self.answer(address, request).await;
            cors::mark(&mut response, origin, allowed);
            if let Some(rest) = rest
                && !rest.discard(until).await
                && keeps_alive
            {
                unread.store(true, Ordering::Relaxed);
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        };
        let response = heard.observe(&self.app.metrics, answer).await;
        gzip::compressed(response, accepts_gzip).await
    }

    fn access(&self) -> Access {
        match (self.app.api_keys.is_empty(), self.app.settings.trusted_network) {
            (false, _) => Access::Keys,
            (true, false) => Access::Loopback,
            (true, true) => Access::TrustedNetwork,
        }
    }

    async fn answer(&self, address: SocketAddr, request: http::Request<Body>) -> Response {
        if self.rate.as_ref().is_some_and(|rate| !rate.admits(address.ip(), Instant::now())) {
            let detail = "too many requests a second from this address";
            return Failure::from(Problem::new(Code::RateLimited, detail)).into_response();
        }
        let allowed = self.app.settings.cors_origins.as_slice();
        if let Err(refused) = browser::admit(&request, self.access(), allowed) {
            return refused.into_response();
        }
        if let Some(told) = cors::preflight(&request, allowed) {
            return told;
        }
        route(&self.app, self.routes.router.clone(), request).await
    }
}

/// The next connection, once there is room for one more.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, address)) => Some((stream, address, permit)),
        Err(error) => {
            tracing::warn!(%error, "a connection cannot be accepted");
            tokio::time::sleep(ACCEPT_RETRY).await;
            None
        }
    }
}

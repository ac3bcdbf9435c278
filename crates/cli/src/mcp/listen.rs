//! The Model Context Protocol over HTTP: every request is answered by itself, under the API key that it brings.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rmcp::RoleServer;
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use ureq::http::request::Parts;
use ureq::http::{HeaderMap, Method, Request, Response, StatusCode};

use super::{Bridge, Keys};
use crate::client::{Client, Route, Sent};
use crate::failure::Failure;
use crate::limits::{MCP_BODY_BYTES_MAX, MCP_CONNECTIONS_MAX, MCP_HEADER_TIMEOUT, MCP_REQUEST_TIMEOUT};
use crate::output::Output;

/// The one path.
const PATH: &str = "/mcp";

/// The names that this machine has for itself.
const OWN_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

type Service = StreamableHttpService<Bridge, NeverSessionManager>;
type Body = http_body_util::combinators::BoxBody<bytes::Bytes, Infallible>;

/// Serves until a signal.
pub(super) async fn serve(client: Arc<Client>, address: SocketAddr, hosts: &[String]) -> Result<(), Failure> {
    if !address.ip().is_loopback() {
        refuse_an_open_server(Arc::clone(&client)).await?;
    }
    let failed = |error: std::io::Error| Failure::Other(format!("cannot listen on {address}: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Output::stdout(false).text(&format!("listening on http://{bound}{PATH}"))?;
    let service = service(client, hosts);
    let room = Arc::new(Semaphore::new(MCP_CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return Ok(()) };
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let service = service.clone();
                tokio::spawn(async move {
                    answer(stream, service).await;
                    drop(place);
                });
            }
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        }
    }
}

/// A server without API keys lets everybody do everything, and protects itself by listening to its own machine only.
async fn refuse_an_open_server(client: Arc<Client>) -> Result<(), Failure> {
    let route = Route::v1(&["orgs"]).with("limit", Some("1"));
    let asked =
        tokio::task::spawn_blocking(move || client.exchange_as(None, Method::GET, &route, &Sent::Nothing));
    let reply =
        asked.await.map_err(|error| Failure::Other(format!("the request ended by a panic: {error}")))??;
    if reply.status == StatusCode::UNAUTHORIZED {
        return Ok(());
    }
    let text = "the server asks for no API key: whoever reaches --listen could do everything. Make an API key first \
                (tollgate key create NAME --role admin), or listen on 127.0.0.1";
    Err(Failure::Usage(text.to_owned()))
}

fn service(client: Arc<Client>, hosts: &[String]) -> Service {
    let names = OWN_NAMES.iter().map(|name| (*name).to_owned()).chain(hosts.iter().cloned());
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_allowed_hosts(names)
        .enforce_origin_validation()
        .with_max_request_body_bytes(MCP_BODY_BYTES_MAX);
    let bridge = Bridge { client, keys: Keys::OfTheCaller };
    StreamableHttpService::new(move || Ok(bridge.clone()), Arc::new(NeverSessionManager::default()), config)
}

/// Answers what comes over a connection until it ends.
async fn answer(stream: TcpStream, service: Service) {
    let answering = service_fn(move |request: Request<Incoming>| {
        let service = service.clone();
        async move {
            if request.uri().path() != PATH {
                return Ok::<_, Infallible>(empty(StatusCode::NOT_FOUND));
            }
            let answered = timeout(MCP_REQUEST_TIMEOUT, service.handle(request)).await;
            Ok(answered.unwrap_or_else(|_| empty(StatusCode::REQUEST_TIMEOUT)))
        }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(MCP_HEADER_TIMEOUT);
    // How a connection ends is its client's business.
    drop(builder.serve_connection(TokioIo::new(stream), answering).await);
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = status;
    response
}

/// The API key that the HTTP request of a call has.
pub(super) fn key_of(context: &RequestContext<RoleServer>) -> Option<String> {
    sent_key(&context.extensions.get::<Parts>()?.headers)
}

/// As the server itself reads it.
fn sent_key(headers: &HeaderMap) -> Option<String> {
    if let Some(value) = headers.get("authorization").and_then(|value| value.to_str().ok()) {
        let (scheme, key) = value.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| key.trim().to_owned());
    }
    headers.get("x-api-key")?.to_str().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_that_of_the_request() {
        for (name, value, key) in [
            ("authorization", "Bearer tg_1", Some("tg_1")),
            ("authorization", "bearer  tg_1 ", Some("tg_1")),
            ("authorization", "Basic tg_1", None),
            ("x-api-key", "tg_1", Some("tg_1")),
            ("x-other", "tg_1", None),
        ] {
            let headers =
                HeaderMap::from_iter([(name.parse().expect("a name"), value.parse().expect("a value"))]);
            assert_eq!(sent_key(&headers).as_deref(), key, "{name}: {value}");
        }
    }
}

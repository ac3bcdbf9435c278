//! One request to a service: to an address that was checked, following no redirect, with bounded patience and memory.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::{HeaderValue, Request, Response, Uri, response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use crate::address::{AddressError, Reach};
use crate::limits::CONNECT_TIMEOUT;

/// Asks services over HTTP, each time over a connection of its own.
#[derive(Clone)]
pub struct Asker {
    reach: Reach,
    tls: TlsConnector,
}

impl std::fmt::Debug for Asker {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Asker").field("reach", &self.reach).finish_non_exhaustive()
    }
}

/// Why there is no answer. Tells no URL: there may be a secret in it.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It is no URL of a service.
    #[error("its URL is not one")]
    Url,
    /// Its name leads to no address that may be connected to.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// None of its addresses takes a connection.
    #[error("it takes no connection: {0}")]
    Connect(std::io::Error),
    /// Its certificate is not trusted, or it speaks no TLS.
    #[error("no TLS with it: {0}")]
    Tls(std::io::Error),
    /// It does not speak HTTP, or ended the connection.
    #[error("it did not answer: {0}")]
    Http(#[from] hyper::Error),
    /// It took too long.
    #[error("it did not answer within {} s", .0.as_secs())]
    Late(Duration),
    /// Its answer has no end, or one that is too far off.
    #[error("its answer broke off, or has more than {0} bytes")]
    Cut(usize),
}

/// An answer, as far as it was read.
pub(crate) struct Heard {
    pub(crate) head: response::Parts,
    pub(crate) bytes: Vec<u8>,
    /// Whether these are all bytes of its body.
    is_whole: bool,
}

/// How long an answer is waited for, and how much of it is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    patience: Duration,
    until: Instant,
    reading: Duration,
    bytes_max: usize,
}

impl Bounds {
    /// From now on: `patience` for all of it, and for its body, once its status is there, no more than `reading`.
    pub(crate) fn new(patience: Duration, reading: Duration, bytes_max: usize) -> Self {
        Self { patience, until: Instant::now() + patience, reading, bytes_max }
    }

    async fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<T, AskError> {
        timeout_at(self.until, work).await.map_err(|_| AskError::Late(self.patience))
    }
}

impl Asker {
    /// Trusts the authorities that browsers trust.
    ///
    /// # Errors
    /// When there is no TLS.
    pub fn new(reach: Reach) -> Result<Self, rustls::Error> {
        Self::trusting(reach, webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect())
    }

    /// Trusts the authorities in a PEM, and no others.
    ///
    /// # Errors
    /// What is wrong with the PEM.
    pub fn trusting_pem(reach: Reach, pem: &[u8]) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| error.to_string())?;
            roots.add(certificate).map_err(|error| error.to_string())?;
        }
        if roots.is_empty() {
            return Err("there is no certificate in it".to_owned());
        }
        Self::trusting(reach, roots).map_err(|error| error.to_string())
    }

    pub(crate) fn trusting(reach: Reach, roots: RootCertStore) -> Result<Self, rustls::Error> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { reach, tls: TlsConnector::from(Arc::new(config)) })
    }

    /// The same, which asks elsewhere.
    #[must_use]
    pub fn reaching(&self, reach: Reach) -> Self {
        Self { reach, tls: self.tls.clone() }
    }

    /// Asks, and reads the whole answer. A redirect is an answer.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ask(
        &self,
        request: Request<Vec<u8>>,
        patience: Duration,
        bytes_max: usize,
    ) -> Result<Response<Vec<u8>>, AskError> {
        let bounds = Bounds::new(patience, patience, bytes_max);
        let Heard { head, bytes, is_whole } = self.hear(request, &bounds).await?;
        if is_whole { Ok(Response::from_parts(head, bytes)) } else { Err(AskError::Cut(bytes_max)) }
    }

    /// Asks, and reads the beginning of the answer. What bounds the reading of its body ends that, and is no failure.
    pub(crate) async fn hear(&self, request: Request<Vec<u8>>, bounds: &Bounds) -> Result<Heard, AskError> {
        let url = request.uri().clone();
        let host = url.host().filter(|_| check_port(&url).is_ok()).ok_or(AskError::Url)?;
        let secure = url.scheme_str() == Some("https");
        let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let request = addressed(request, &url).ok_or(AskError::Url)?;
        let stream = bounds.in_time(self.connect(host, port)).await??;
        if !secure {
            return talk(stream, request, bounds).await;
        }
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| AskError::Url)?;
        let stream = bounds.in_time(self.tls.connect(name, stream)).await?.map_err(AskError::Tls)?;
        talk(stream, request, bounds).await
    }

    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, AskError> {
        let mut failed = std::io::ErrorKind::NotFound.into();
        for address in self.reach.resolve(host, port).await? {
            match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failed = error,
                Err(_) => failed = std::io::ErrorKind::TimedOut.into(),
            }
        }
        Err(AskError::Connect(failed))
    }
}

/// Checks the port of a URL, if it has one. A [`Uri`] takes any text for one, and then says that it has none.
///
/// # Errors
/// What is allowed.
pub fn check_port(url: &Uri) -> Result<(), &'static str> {
    let Some(authority) = url.authority() else { return Ok(()) };
    let text = authority.as_str();
    let place = text.rsplit_once('@').map_or(text, |(_, place)| place);
    if place == authority.host() || authority.port_u16().is_some_and(|port| port > 0) {
        return Ok(());
    }
    Err("its port must be from 1 to 65535")
}

/// A request as it goes over a connection to its server.
fn addressed(request: Request<Vec<u8>>, url: &Uri) -> Option<Request<Full<Bytes>>> {
    let host = HeaderValue::from_str(url.authority()?.as_str()).ok()?;
    let mut request = request.map(Full::from);
    *request.uri_mut() = url.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).parse().ok()?;
    let headers = request.headers_mut();
    headers.insert(HOST, host);
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("tollgate/", env!("CARGO_PKG_VERSION"))));
    Some(request)
}

/// One request over a connection of its own, all on the thread that waits for it.
async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    bounds: &Bounds,
) -> Result<Heard, AskError> {
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let mut exchange = pin!(async {
        let response = bounds.in_time(sender.send_request(request)).await??;
        Ok(read(response, bounds).await)
    });
    let mut connection = pin!(connection);
    let mut open = true;
    poll_fn(|context| {
        // What ends the connection, the exchange hears of.
        open = open && connection.as_mut().poll(context).is_pending();
        match exchange.as_mut().poll(context) {
            Poll::Pending if !open => exchange.as_mut().poll(context),
            polled => polled,
        }
    })
    .await
}

async fn read(response: Response<Incoming>, bounds: &Bounds) -> Heard {
    let (head, mut body) = response.into_parts();
    let until = bounds.until.min(Instant::now() + bounds.reading);
    let mut bytes = Vec::new();
    let is_whole = loop {
        let room = bounds.bytes_max.saturating_sub(bytes.len());
        if room == 0 {
            break body.is_end_stream();
        }
        match timeout_at(until, body.frame()).await {
            Ok(None) => break true,
            Err(_) | Ok(Some(Err(_))) => break false,
            Ok(Some(Ok(frame))) => {
                let data = frame.data_ref().map_or(&[][..], |data| data);
                bytes.extend(data.iter().take(room));
                if data.len() > room {
                    break false;
                }
            }
        }
    };
    Heard { head, bytes, is_whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_numbers_of_ports() {
        for (url, usable) in [
            ("http://host/", true),
            ("http://host:1/", true),
            ("https://me:99999@host:65535/", true),
            ("http://[::1]:80", true),
            ("http://[::1]/", true),
            ("/path", true),
            ("http://host:0/", false),
            ("http://host:/", false),
            ("http://host:65536/", false),
            ("http://host:99999/", false),
            ("http://me:80@host:99999/", false),
            ("http://[::1]:99999/", false),
        ] {
            assert_eq!(check_port(&url.parse().expect(url)).is_ok(), usable, "{url}");
        }
    }
}

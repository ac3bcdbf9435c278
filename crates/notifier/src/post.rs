//! One POST to an endpoint: to an address that was checked, following no redirect, with bounded patience and memory.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::address::{AddressError, Reach};
use crate::limits::{CONNECT_TIMEOUT, MESSAGE_TIMEOUT, REPLY_BYTES_MAX, REPLY_CHARS_MAX, RETRY_AFTER_MAX};

/// Sends requests to endpoints.
pub(crate) struct Poster {
    reach: Reach,
    tls: TlsConnector,
}

impl std::fmt::Debug for Poster {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Poster").field("reach", &self.reach).finish_non_exhaustive()
    }
}

/// What an endpoint replied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// The status.
    pub(crate) status: u16,
    /// The beginning of its body, in one line.
    pub(crate) text: String,
    /// For how long it wants to be left alone.
    pub(crate) retry_after: Option<Duration>,
}

/// Why there is no reply. Tells no URL: there may be a secret in it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PostError {
    /// It is no URL of an endpoint.
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
    #[error("it did not answer within {} s", MESSAGE_TIMEOUT.as_secs())]
    Late,
}

impl Poster {
    /// Trusts the authorities that browsers trust.
    pub(crate) fn new(reach: Reach) -> Result<Self, rustls::Error> {
        Self::trusting(reach, webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect())
    }

    fn trusting(reach: Reach, roots: RootCertStore) -> Result<Self, rustls::Error> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { reach, tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Why no request may go to a URL, as far as its name leads anywhere now.
    pub(crate) async fn refusal(&self, url: &Uri) -> Option<AddressError> {
        if self.reach == Reach::Anywhere {
            return None;
        }
        let refused = self.reach.resolve(url.host()?, 443).await.err();
        refused.filter(|error| matches!(error, AddressError::Private { .. }))
    }

    /// Posts JSON with some headers. Any reply is one, also a redirect.
    pub(crate) async fn post(
        &self,
        url: &str,
        headers: &[(HeaderName, String)],
        body: Vec<u8>,
    ) -> Result<Reply, PostError> {
        let trip = self.exchange(url, headers, body);
        timeout(MESSAGE_TIMEOUT, trip).await.unwrap_or(Err(PostError::Late))
    }

    async fn exchange(
        &self,
        url: &str,
        headers: &[(HeaderName, String)],
        body: Vec<u8>,
    ) -> Result<Reply, PostError> {
        let url: Uri = url.parse().map_err(|_| PostError::Url)?;
        let host = url.host().ok_or(PostError::Url)?;
        let secure = url.scheme_str() == Some("https");
        let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let request = request(&url, headers, body).ok_or(PostError::Url)?;
        let stream = self.connect(host, port).await?;
        if !secure {
            return ask(stream, request).await;
        }
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| PostError::Url)?;
        ask(self.tls.connect(name, stream).await.map_err(PostError::Tls)?, request).await
    }

    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, PostError> {
        let mut failed = std::io::ErrorKind::NotFound.into();
        for address in self.reach.resolve(host, port).await? {
            match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failed = error,
                Err(_) => failed = std::io::ErrorKind::TimedOut.into(),
            }
        }
        Err(PostError::Connect(failed))
    }
}

fn request(url: &Uri, headers: &[(HeaderName, String)], body: Vec<u8>) -> Option<Request<Full<Bytes>>> {
    let path = url.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let mut request = Request::post(path)
        .header(HOST, url.authority()?.as_str())
        .header(CONTENT_TYPE, "application/json")
        .header(CONTENT_LENGTH, body.len())
        .header(USER_AGENT, concat!("tollgate/", env!("CARGO_PKG_VERSION")));
    for (name, value) in headers {
        request = request.header(name, HeaderValue::from_str(value).ok()?);
    }
    request.body(Full::from(body)).ok()
}

/// One request over a connection of its own, all on the thread that waits for it.
async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Reply, PostError> {
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let mut exchange = pin!(async { read(sender.send_request(request).await?).await });
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

async fn read(response: Response<Incoming>) -> Result<Reply, PostError> {
    let status = response.status().as_u16();
    let retry_after = retry_after(response.headers());
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while bytes.len() < REPLY_BYTES_MAX
        && let Some(frame) = body.frame().await
    {
        // What is cut off is as good as a whole one: the status has come.
        let Ok(frame) = frame else { break };
        if let Some(data) = frame.data_ref() {
            bytes.extend(data.iter().take(REPLY_BYTES_MAX - bytes.len()));
        }
    }
    Ok(Reply { status, text: line(&String::from_utf8_lossy(&bytes)), retry_after })
}

/// A text in one line, shortened.
pub(crate) fn line(text: &str) -> String {
    let visible = text.trim().chars().map(|each| if each.is_control() { ' ' } else { each });
    visible.take(REPLY_CHARS_MAX).collect()
}

/// Seconds; dates are not understood, and the plan of retries goes on as it is.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::thread::{self, JoinHandle};

    use rustls::{ServerConfig, ServerConnection, StreamOwned};

    use super::*;

    /// Answers one connection with some bytes; gives what was asked.
    fn answering(answer: &'static [u8]) -> (SocketAddr, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            serve(&mut stream, answer)
        });
        (address, asked)
    }

    fn serve(stream: &mut (impl Read + Write), answer: &[u8]) -> String {
        let mut asked = Vec::new();
        while !asked.ends_with(b"{}") {
            let mut piece = [0; 1_024];
            let read = stream.read(&mut piece).expect("a request");
            asked.extend_from_slice(&piece[..read]);
        }
        stream.write_all(answer).expect("written");
        stream.flush().expect("written");
        String::from_utf8(asked).expect("text")
    }

    fn anywhere() -> Poster {
        Poster::new(Reach::Anywhere).expect("a poster")
    }

    #[tokio::test]
    async fn a_reply_is_its_status_and_the_beginning_of_its_text() {
        let header = (HeaderName::from_static("webhook-id"), "ntc_1".to_owned());
        let long = b"HTTP/1.1 503 Busy\r\nretry-after: 120\r\ncontent-length: 9\r\n\r\nbusy\nnow!";
        let (address, asked) = answering(long);
        let url = format!("http://{address}/in?a=b");
        let reply = anywhere().post(&url, &[header], b"{}".to_vec()).await.expect("a reply");
        let retry_after = Some(Duration::from_mins(2));
        assert_eq!(reply, Reply { status: 503, text: "busy now!".to_owned(), retry_after });
        let asked = asked.join().expect("it ends");
        assert!(asked.starts_with("POST /in?a=b HTTP/1.1\r\n"), "{asked}");
        assert!(
            asked.contains("webhook-id: ntc_1\r\n") && asked.contains(&format!("host: {address}")),
            "{asked}"
        );
    }

    #[tokio::test]
    async fn a_redirect_is_a_reply_and_is_not_followed() {
        let (address, asked) = answering(
            b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n",
        );
        let reply =
            anywhere().post(&format!("http://{address}"), &[], b"{}".to_vec()).await.expect("a reply");
        assert_eq!((reply.status, asked.join().is_ok()), (302, true));
    }

    #[tokio::test]
    async fn what_cannot_be_reached_is_said_without_the_url() {
        let (address, asked) = answering(b"what?\r\n\r\n");
        let url = format!("http://{address}/s3cret");
        let (poster, public) = (anywhere(), Poster::new(Reach::Public).expect("a poster"));
        let post = async |poster: &Poster, url: &str, said: &str| {
            let error = poster.post(url, &[], b"{}".to_vec()).await.expect_err(said).to_string();
            assert!(error.contains(said) && !error.contains("s3cret"), "{error}");
        };
        post(&poster, &url, "did not answer").await;
        assert!(asked.join().is_ok(), "nobody listens any more");
        post(&poster, &url, "takes no connection").await;
        post(&public, &url, "no address of the public internet").await;
        post(&public, "http://169.254.169.254/s3cret", "no address of the public internet").await;
        post(&poster, "/s3cret", "not one").await;
    }

    #[tokio::test]
    async fn over_tls_the_certificate_must_be_trusted() {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        let key = rustls_pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key)
            })
            .expect("a certificate that serves");
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let served = thread::spawn(move || {
            for trusted in [false, true] {
                let (stream, _) = listener.accept().expect("a connection");
                let connection = ServerConnection::new(Arc::clone(&config)).expect("a connection");
                let mut stream = StreamOwned::new(connection, stream);
                if trusted {
                    serve(&mut stream, b"HTTP/1.1 204 Taken\r\n\r\n");
                } else {
                    assert!(stream.read(&mut [0; 16]).is_err(), "the client goes away");
                }
            }
        });
        let url = format!("https://localhost:{port}/");
        let refused = anywhere().post(&url, &[], b"{}".to_vec()).await;
        assert!(matches!(refused, Err(PostError::Tls(_))), "{refused:?}");
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).expect("an authority");
        let poster = Poster::trusting(Reach::Anywhere, roots).expect("a poster");
        let reply = poster.post(&url, &[], b"{}".to_vec()).await.expect("a reply");
        assert_eq!((reply.status, served.join().is_ok()), (204, true));
    }
}

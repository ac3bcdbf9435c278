//! One POST to an endpoint.

use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};

use crate::address::{AddressError, Reach};
use crate::ask::{AskError, Asker, Bounds, Heard};
use crate::limits::{MESSAGE_TIMEOUT, REPLY_BYTES_MAX, REPLY_CHARS_MAX, REPLY_TIMEOUT, RETRY_AFTER_MAX};

/// Sends requests to endpoints.
#[derive(Debug)]
pub(crate) struct Poster {
    reach: Reach,
    asker: Asker,
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

impl Poster {
    /// Trusts the authorities that browsers trust.
    pub(crate) fn new(reach: Reach) -> Result<Self, rustls::Error> {
        Ok(Self { reach, asker: Asker::new(reach)? })
    }

    /// Why no request may go to a URL, as far as its name leads anywhere now.
    pub(crate) async fn refusal(&self, url: &Uri) -> Option<AddressError> {
        if self.reach == Reach::Anywhere {
            return None;
        }
        let refused = self.reach.resolve(url.host()?, 443).await.err();
        refused.filter(|error| matches!(error, AddressError::Private { .. }))
    }

    /// Posts JSON with some headers. Any reply is one, also a redirect, and also one that is cut off or does not end: its
    /// status has come.
    pub(crate) async fn post(
        &self,
        url: &str,
        headers: &[(HeaderName, String)],
        body: Vec<u8>,
    ) -> Result<Reply, AskError> {
        let url: Uri = url.parse().map_err(|_| AskError::Url)?;
        let request = request(url, headers, body).ok_or(AskError::Url)?;
        let bounds = Bounds::new(MESSAGE_TIMEOUT, REPLY_TIMEOUT, REPLY_BYTES_MAX);
        let Heard { head, bytes, .. } = self.asker.hear(request, &bounds).await?;
        Ok(Reply {
            status: head.status.as_u16(),
            text: line(&String::from_utf8_lossy(&bytes)),
            retry_after: retry_after(&head.headers),
        })
    }
}

fn request(url: Uri, headers: &[(HeaderName, String)], body: Vec<u8>) -> Option<Request<Vec<u8>>> {
    let mut request = Request::post(url).header(CONTENT_TYPE, "application/json");
    for (name, value) in headers {
        request = request.header(name, HeaderValue::from_str(value).ok()?);
    }
    request.body(body).ok()
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
    use std::sync::Arc;
    use std::thread::{self, JoinHandle};

    use rustls::crypto::ring;
    use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

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
    async fn a_reply_without_an_end_is_its_status_and_what_came_of_its_text() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let dripping = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n";
            serve(&mut stream, head);
            // Until the other side has enough of it.
            stream.read(&mut [0; 16]).is_ok()
        });
        let reply = anywhere().post(&format!("http://{address}"), &[], b"{}".to_vec()).await;
        let wanted = Reply { status: 200, text: "ok".to_owned(), retry_after: None };
        assert_eq!(reply.expect("a reply"), wanted);
        assert!(dripping.join().is_ok());
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
        assert!(matches!(refused, Err(AskError::Tls(_))), "{refused:?}");
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).expect("an authority");
        let asker = Asker::trusting(Reach::Anywhere, roots).expect("an asker");
        let poster = Poster { reach: Reach::Anywhere, asker };
        let reply = poster.post(&url, &[], b"{}".to_vec()).await.expect("a reply");
        assert_eq!((reply.status, served.join().is_ok()), (204, true));
    }
}

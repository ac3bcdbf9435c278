//! A small blocking HTTP/1.1 client that knows whether a request may have been read.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::Result;

/// A server that is silent for so long has failed the test.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Bytes read at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// An answer.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What became of a request.
#[derive(Debug)]
pub enum Sent {
    /// It was answered.
    Answered(Reply),
    /// There was no connection: the server has not seen it.
    NotSent(io::Error),
    /// The connection broke: the server may have seen it.
    Unknown(io::Error),
}

impl Reply {
    /// The body as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&self.body)?)
    }

    /// A header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A member of the body that is a text, such as `code`.
    pub fn text(&self, member: &str) -> Option<String> {
        self.json().ok()?.get(member)?.as_str().map(str::to_owned)
    }

    /// Reads an answer from the beginning of `bytes`: the answer and how many bytes it took; `None` when there must come
    /// more.
    ///
    /// # Errors
    /// When it is not an answer of known length.
    pub fn parse(bytes: &[u8]) -> io::Result<Option<(Self, usize)>> {
        let bad = |what: &str| io::Error::new(ErrorKind::InvalidData, what.to_owned());
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
        let (head, rest) = bytes.split_at(end + 4);
        let head = std::str::from_utf8(head).map_err(|_| bad("a head that is not text"))?;
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| bad("not an HTTP/1.1 answer"))?;
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers: Vec<(String, String)> =
            headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length: usize = length
            .and_then(|(_, value)| value.parse().ok())
            .ok_or_else(|| bad("an answer without content-length"))?;
        let Some(body) = rest.get(..length) else { return Ok(None) };
        Ok(Some((Self { status, headers, body: body.to_vec() }, end + 4 + length)))
    }
}

/// The bytes of a request.
pub fn request(method: &str, path: &str, body: Option<&Value>) -> Vec<u8> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let length = body.len();
    let head = "host: localhost\r\ncontent-type: application/json\r\ncontent-length";
    format!("{method} {path} HTTP/1.1\r\n{head}: {length}\r\n\r\n{body}").into_bytes()
}

/// A client with one connection that is kept, and made anew when it broke.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

impl Client {
    /// A client of the server at an address; it connects with its first request.
    pub const fn new(address: SocketAddr) -> Self {
        Self { address, stream: None }
    }

    /// Talks to another address from now on.
    pub fn move_to(&mut self, address: SocketAddr) {
        if self.address != address {
            *self = Self::new(address);
        }
    }

    /// The connection, made if need be, so that another thread can break it off.
    ///
    /// # Errors
    /// When the server takes none.
    pub fn line(&mut self) -> io::Result<TcpStream> {
        let stream = self.stream.take().map_or_else(|| self.connect(), Ok)?;
        self.stream.insert(stream).try_clone()
    }

    /// Sends a request once and says what became of it.
    pub fn send(&mut self, method: &str, path: &str, body: Option<&Value>) -> Sent {
        self.send_bytes(&request(method, path, body))
    }

    /// Sends the bytes of a request once and says what became of it.
    pub fn send_bytes(&mut self, request: &[u8]) -> Sent {
        let mut stream = match self.stream.take().map_or_else(|| self.connect(), Ok) {
            Ok(stream) => stream,
            Err(error) => return Sent::NotSent(error),
        };
        match exchange(&mut stream, request) {
            Ok(reply) => {
                if reply.header("connection") != Some("close") {
                    self.stream = Some(stream);
                }
                Sent::Answered(reply)
            }
            Err(error) => Sent::Unknown(error),
        }
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        stream.set_write_timeout(Some(SILENCE_MAX))?;
        Ok(stream)
    }

    /// Sends a request that may be repeated: once more when the kept connection turns out to be closed.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn call(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<Reply> {
        let kept = self.stream.is_some();
        match (self.send(method, path, body), kept) {
            (Sent::Answered(reply), _) => Ok(reply),
            (Sent::Unknown(_), true) => match self.send(method, path, body) {
                Sent::Answered(reply) => Ok(reply),
                Sent::NotSent(error) | Sent::Unknown(error) => {
                    Err(format!("{method} {path}: {error}").into())
                }
            },
            (Sent::NotSent(error) | Sent::Unknown(error), _) => {
                Err(format!("{method} {path}: {error}").into())
            }
        }
    }

    /// Sends a request that must be answered with 200.
    ///
    /// # Errors
    /// With the answer when it is not.
    pub fn expect_ok(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let reply = self.call(method, path, body)?;
        if reply.status == 200 {
            return reply.json();
        }
        let (status, text) = (reply.status, String::from_utf8_lossy(&reply.body).into_owned());
        Err(format!("{method} {path} was answered {status}: {text}").into())
    }

    /// Reads something that must be there.
    ///
    /// # Errors
    /// With the answer when it is not.
    pub fn get(&mut self, path: &str) -> Result<Value> {
        self.expect_ok("GET", path, None)
    }
}

fn exchange(stream: &mut TcpStream, request: &[u8]) -> io::Result<Reply> {
    stream.write_all(request)?;
    let (mut bytes, mut chunk) = (Vec::new(), vec![0; CHUNK_BYTES]);
    loop {
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(chunk.get(..read).unwrap_or_default());
        if let Some((reply, _)) = Reply::parse(&bytes)? {
            return Ok(reply);
        }
    }
}

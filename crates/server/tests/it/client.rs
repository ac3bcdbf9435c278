//! A small blocking HTTP/1.1 client that keeps its connection, and what it heard.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// How long an answer may take before a test fails instead of hanging.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// What a client speaks over: a TCP connection, or TLS on top of one.
pub(crate) trait Wire: Read + Write + Send {}

impl<T: Read + Write + Send> Wire for T {}

/// One connection.
pub(crate) struct Client {
    wire: BufReader<Box<dyn Wire>>,
    secret: Option<String>,
}

fn broken(text: &str) -> Error {
    Error::new(ErrorKind::InvalidData, text.to_owned())
}

/// Opens a TCP connection to a server.
pub(crate) fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    Ok(stream)
}

impl Client {
    /// A client of a server's address.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self::over(connect(address).expect("the server takes connections"))
    }

    /// A client over a connection that is open.
    pub(crate) fn over(wire: impl Wire + 'static) -> Self {
        Self { wire: BufReader::new(Box::new(wire)), secret: None }
    }

    /// The same, sending an API key.
    pub(crate) fn with_key(mut self, secret: &str) -> Self {
        self.secret = Some(secret.to_owned());
        self
    }

    /// Sends bytes as they are.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) -> Result<()> {
        let wire = self.wire.get_mut();
        wire.write_all(bytes)?;
        wire.flush()
    }

    /// Sends a request without waiting for its answer.
    pub(crate) fn send(&mut self, ask: &Ask) -> Result<()> {
        let bytes = ask.bytes(self.secret.as_deref());
        self.send_raw(&bytes)
    }

    /// Reads one answer; an interim `100 Continue` is skipped.
    pub(crate) fn read(&mut self) -> Result<Reply> {
        loop {
            let reply = self.read_one()?;
            if reply.status != 100 {
                return Ok(reply);
            }
        }
    }

    fn read_one(&mut self) -> Result<Reply> {
        let mut reply = self.read_head()?;
        // Neither an interim answer nor one of no content has a body.
        if !matches!(reply.status, 100 | 204) {
            let length = reply.header("content-length").and_then(|length| length.parse().ok());
            reply.body = vec![0; length.ok_or_else(|| broken("an answer without a length"))?];
            self.wire.read_exact(&mut reply.body)?;
        }
        Ok(reply)
    }

    /// Reads one answer up to its body.
    pub(crate) fn read_head(&mut self) -> Result<Reply> {
        let first = self.line()?;
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| broken(&format!("not a status line: {first:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| broken("a header without a colon"))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Ok(Reply { status, headers, body: Vec::new() })
    }

    /// Whether the server has closed the connection, waited for.
    pub(crate) fn is_closed(&mut self) -> bool {
        match self.wire.fill_buf() {
            Ok(bytes) => bytes.is_empty(),
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.wire.read_line(&mut line)? == 0 {
            return Err(Error::new(ErrorKind::UnexpectedEof, "the server closed the connection"));
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// Sends a request and reads its answer, or says how the connection failed.
    pub(crate) fn try_ask(&mut self, ask: &Ask) -> Result<Reply> {
        self.send(ask)?;
        self.read()
    }

    /// Sends a request and reads its answer.
    pub(crate) fn ask(&mut self, ask: &Ask) -> Reply {
        self.try_ask(ask).unwrap_or_else(|error| panic!("{} {}: {error}", ask.method, ask.path))
    }

    pub(crate) fn get(&mut self, path: &str) -> Reply {
        self.ask(&Ask::new("GET", path))
    }

    pub(crate) fn delete(&mut self, path: &str) -> Reply {
        self.ask(&Ask::new("DELETE", path))
    }

    pub(crate) fn put(&mut self, path: &str, body: Value) -> Reply {
        self.ask(&Ask::new("PUT", path).json(body))
    }

    pub(crate) fn post(&mut self, path: &str, body: Value) -> Reply {
        self.ask(&Ask::new("POST", path).json(body))
    }
}

/// Closes one's own side of a connection, so that the other sees its end.
pub(crate) fn end(stream: &TcpStream) {
    let _ = stream.shutdown(Shutdown::Write);
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) method: String,
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    is_untyped: bool,
}

impl Ask {
    pub(crate) fn new(method: &str, path: &str) -> Self {
        let (method, path) = (method.to_owned(), path.to_owned());
        Self { method, path, headers: Vec::new(), body: None, is_untyped: false }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A body as it is, as JSON unless a header says otherwise.
    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// A body that does not say what it is.
    pub(crate) fn untyped(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.is_untyped = true;
        self.body(body)
    }

    pub(crate) fn json(self, body: Value) -> Self {
        self.body(body.to_string())
    }

    /// A catalog.
    pub(crate) fn toml(self, text: impl Into<Vec<u8>>) -> Self {
        self.header("content-type", "application/toml").body(text)
    }

    /// As it goes over the wire.
    pub(crate) fn bytes(&self, secret: Option<&str>) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        let mut line = |name: &str, value: &str| {
            let _ = write!(head, "{name}: {value}\r\n");
        };
        let names = |wanted: &str| self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
        if !names("host") {
            line("host", "localhost");
        }
        if self.body.is_some() && !self.is_untyped && !names("content-type") {
            line("content-type", "application/json");
        }
        if let Some(secret) = secret {
            line("authorization", &format!("Bearer {secret}"));
        }
        for (name, value) in &self.headers {
            line(name, value);
        }
        if let Some(body) = &self.body {
            line("content-length", &body.len().to_string());
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }
}

/// A body without the members that are null: they are not sent.
pub(crate) fn given(mut body: Value) -> Value {
    if let Some(members) = body.as_object_mut() {
        members.retain(|_, member| !member.is_null());
    }
    body
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// A header by its name in small letters.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{} is not JSON ({error}): {}", self.status, self.text()))
    }

    /// The body of an answer that says yes.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()
    }

    /// Compares status and the whole body.
    #[track_caller]
    pub(crate) fn is(&self, status: u16, body: Value) {
        let found = serde_json::from_slice::<Value>(&self.body).unwrap_or(Value::Null);
        let mut differences = String::new();
        let mut body = body;
        if status >= 400 {
            body["request_id"] = self.header("x-request-id").into();
        }
        compare(&body, &found, "", &mut differences);
        assert!(
            self.status == status && differences.is_empty(),
            "expected {status}, found {}\n{differences}all of it: {}",
            self.status,
            self.text()
        );
        assert_eq!(self.header("content-type"), Some(kind_of(status)));
        self.has_request_id();
    }

    /// Checks that this is a problem with these, as every problem is told.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, code: &str, field: Option<&str>) {
        let found = (self.status, self.header("content-type").unwrap_or_default());
        assert_eq!(found, (status, "application/problem+json"), "{}", self.text());
        self.has_problem_members(status, code, field);
        self.has_request_id();
    }

    /// Checks the members of a problem, in whatever body.
    #[track_caller]
    pub(crate) fn has_problem_members(&self, status: u16, code: &str, field: Option<&str>) {
        let body = self.json();
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        assert_eq!((text("code").as_str(), body["field"].as_str()), (code, field), "{body:#}");
        assert_eq!(text("type"), format!("urn:tollgate:problem:{code}"), "{body:#}");
        assert_eq!(body["status"], status, "{body:#}");
        assert!(!text("title").is_empty() && !text("detail").is_empty(), "{body:#}");
        assert_eq!(body["request_id"].as_str(), self.header("x-request-id"), "{body:#}");
    }

    /// The rows of a list that is at its end, and where to read on later.
    #[track_caller]
    pub(crate) fn last_page(&self, rows: &str) -> (Vec<Value>, String) {
        let page = self.ok();
        assert!(page["next"].is_null(), "{page:#}");
        let resume = page["resume"].as_str().expect("where to read on later");
        (page[rows].as_array().expect("rows").clone(), resume.to_owned())
    }

    #[track_caller]
    pub(crate) fn has_request_id(&self) {
        assert!(self.header("x-request-id").is_some_and(|id| !id.is_empty()), "{:?}", self.headers);
    }
}

/// The places in which two bodies differ, a line each.
fn compare(wanted: &Value, found: &Value, place: &str, differences: &mut String) {
    match (wanted, found) {
        (Value::Object(left), Value::Object(right)) => {
            let mut names: Vec<&String> = left.keys().chain(right.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                let of = |members: &serde_json::Map<String, Value>| {
                    members.get(name).cloned().unwrap_or_else(|| Value::from("(absent)"))
                };
                compare(&of(left), &of(right), &format!("{place}.{name}"), differences);
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (index, (left, right)) in left.iter().zip(right).enumerate() {
                compare(left, right, &format!("{place}[{index}]"), differences);
            }
        }
        _ if wanted == found => {}
        _ => {
            let _ = writeln!(differences, "{place}: expected {wanted}, found {found}");
        }
    }
}

const fn kind_of(status: u16) -> &'static str {
    if status < 400 { "application/json" } else { "application/problem+json" }
}

//! An HTTP endpoint of somebody else: it says what it was sent, and answers what it is told to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// How long a request may take to come before a test fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) path: String,
    /// By their names in small letters.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// What was answered.
    pub(crate) status: u16,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_else(|| panic!("no {name}: {:?}", self.headers))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// The id of the notice that it tells of.
    pub(crate) fn notice(&self) -> String {
        self.json()["data"]["id"].as_str().expect("an id").to_owned()
    }
}

/// A running endpoint.
pub(crate) struct Receiver {
    address: SocketAddr,
    status: Arc<AtomicU16>,
    received: mpsc::Receiver<Received>,
}

impl Receiver {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let status = Arc::new(AtomicU16::new(200));
        let (tell, received) = mpsc::channel();
        let answers = Arc::clone(&status);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (tell, status) = (tell.clone(), answers.load(Ordering::SeqCst));
                thread::spawn(move || {
                    stream.ok().and_then(|stream| serve(stream, status, &tell));
                });
            }
        });
        Self { address, status, received }
    }

    /// Where it listens.
    #[cfg(feature = "envoy")]
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What it answers from now on.
    pub(crate) fn answers(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// The next request.
    pub(crate) fn next(&self) -> Received {
        self.received.recv_timeout(PATIENCE).expect("a request comes")
    }

    /// A request that has come already.
    pub(crate) fn waiting(&self) -> Option<Received> {
        self.received.try_recv().ok()
    }
}

/// Tells of a request, and answers it.
fn serve(mut stream: TcpStream, status: u16, tell: &mpsc::Sender<Received>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let path = lines.first()?.split(' ').nth(1)?.to_owned();
    let headers: Vec<(String, String)> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length")?.1.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let location = if status == 302 { "location: http://169.254.169.254/latest\r\n" } else { "" };
    let answer = format!("HTTP/1.1 {status} Said\r\n{location}content-length: 7\r\n\r\nanswer\n");
    // Nobody listens any more when the test is over.
    tell.send(Received { path, headers, body, status }).ok()?;
    stream.write_all(answer.as_bytes()).ok()
}

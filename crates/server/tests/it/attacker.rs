//! A web server of somebody else: it serves one page, and takes the page's report.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use serde_json::Value;

/// How long a browser may take to start and to run the page.
const REPORT_TIMEOUT: Duration = Duration::from_secs(120);

/// Serves until the test ends.
pub(crate) struct Attacker {
    port: u16,
    reports: Receiver<Value>,
}

impl Attacker {
    /// Serves a page that attacks a port of this machine.
    pub(crate) fn start(page: &'static str, target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let page = page.replace("TARGET_PORT", &target.to_string());
        let (report, reports) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (page, report) = (page.clone(), report.clone());
                std::thread::spawn(move || serve(stream, &page, &report));
            }
        });
        Self { port, reports }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What the page says once it has tried everything.
    pub(crate) fn wait_for_report(&self) -> Value {
        self.reports.recv_timeout(REPORT_TIMEOUT).expect("the page ran in the browser and reported")
    }
}

/// One request a connection.
fn serve(stream: TcpStream, page: &str, report: &Sender<Value>) {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        // A connection that the browser opened ahead and does not use.
        if !matches!(reader.read_line(&mut head), Ok(1..)) {
            return;
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    if head.starts_with("POST /report ") {
        // The test may have ended meanwhile.
        let _ = report.send(serde_json::from_slice(&body).expect("a report is JSON"));
    }
    let (status, text) = if head.starts_with("GET / ") { ("200 OK", page) } else { ("404 Not Found", "") };
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: text/html\r\ncontent-length: {}", text.len());
    let _ = reader.get_mut().write_all(format!("{head}\r\nconnection: close\r\n\r\n{text}").as_bytes());
}

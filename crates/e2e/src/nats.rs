//! A real NATS server with a stream, and as much of its protocol as it takes to read the stream.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::processor::Batches;
use crate::{Result, until};

const START_MAX: Duration = Duration::from_secs(30);

/// The stream, and the one subject it listens to.
const STREAM: &str = "AGGREGATES";
const SUBJECT: &str = "aggregates.committed";

/// Programs live here too, but not always on the path.
const ELSEWHERE: [&str; 2] = ["/usr/sbin", "/usr/local/bin"];

/// A NATS server; killed when dropped.
#[derive(Debug)]
pub struct Nats {
    child: Child,
    folder: PathBuf,
    port: u16,
}

fn program() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(ELSEWHERE.iter().map(PathBuf::from));
    let mut programs = folders.map(|folder| folder.join("nats-server")).filter(|file| file.is_file());
    programs.next().ok_or_else(|| {
        "`nats-server` is needed: install it, on Debian `apt-get install nats-server`; `cargo xtask test` does".into()
    })
}

fn spawn(folder: &Path, port: i32) -> Result<Child> {
    let mut command = Command::new(program()?);
    command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js"]).arg("-sd").arg(folder.join("streams"));
    command.arg("--ports_file_dir").arg(folder);
    Ok(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
}

/// The port in `nats-server_PID.ports`: `{"nats": ["nats://127.0.0.1:34567"], …}`.
fn port_of(folder: &Path, pid: u32) -> Option<u16> {
    let text = std::fs::read_to_string(folder.join(format!("nats-server_{pid}.ports"))).ok()?;
    let ports: Value = serde_json::from_str(&text).ok()?;
    ports.pointer("/nats/0")?.as_str()?.rsplit(':').next()?.parse().ok()
}

impl Nats {
    /// Starts one on a free port, with its stream in a folder.
    ///
    /// # Errors
    /// When there is none, or it does not start.
    pub fn start(folder: &Path) -> Result<Self> {
        let mut nats = Self { child: spawn(folder, -1)?, folder: folder.to_owned(), port: 0 };
        let pid = nats.child.id();
        nats.port = until("NATS to listen", START_MAX, || Ok(port_of(folder, pid)))?;
        let config = json!({
            "name": STREAM, "subjects": [SUBJECT], "storage": "file", "allow_direct": true, "num_replicas": 1
        });
        let reply = nats.ask(&format!("$JS.API.STREAM.CREATE.{STREAM}"), &config)?;
        let reply: Value = serde_json::from_slice(&reply.body)?;
        if reply.get("error").is_none() { Ok(nats) } else { Err(format!("no stream: {reply}").into()) }
    }

    /// The sink of its stream.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}/{SUBJECT}", self.port)
    }

    /// Kills it.
    ///
    /// # Errors
    /// When it is gone already.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again, on the same port and stream.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_again(&mut self) -> Result<()> {
        self.child = spawn(&self.folder, i32::from(self.port))?;
        until("the stream to be back", START_MAX, || {
            let info = self.ask(&format!("$JS.API.STREAM.INFO.{STREAM}"), &json!({}));
            Ok(info.ok().filter(|info| info.head.is_empty() && !info.body.is_empty()))
        })
        .map(drop)
    }

    /// What is in the stream.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn batches(&self) -> Result<Batches> {
        let mut batches = Batches::default();
        for sequence in 1_u64.. {
            let message = self.ask(&format!("$JS.API.DIRECT.GET.{STREAM}"), &json!({ "seq": sequence }))?;
            if message.head.starts_with("NATS/1.0 404") {
                break;
            }
            let lines = message.head.lines().filter_map(|line| line.split_once(':'));
            let id = lines.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("nats-msg-id"));
            let (_, id) = id.ok_or_else(|| format!("message {sequence} has no id: {}", message.head))?;
            batches.take(id.trim(), &message.body);
        }
        Ok(batches)
    }

    /// Asks something of the server, over a connection of its own.
    fn ask(&self, subject: &str, body: &Value) -> Result<Message> {
        let stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut reader = BufReader::new(stream);
        let body = body.to_string();
        let says = format!(
            "CONNECT {{\"verbose\":false,\"headers\":true,\"no_responders\":true}}\r\nSUB inbox 1\r\n\
             PUB {subject} inbox {}\r\n{body}\r\n",
            body.len()
        );
        reader.get_mut().write_all(says.as_bytes())?;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Err("NATS closed the connection".into());
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            match *words.as_slice() {
                ["PING"] => reader.get_mut().write_all(b"PONG\r\n")?,
                ["MSG", .., length] => return Message::read(&mut reader, 0, length.parse()?),
                ["HMSG", .., head, length] => {
                    return Message::read(&mut reader, head.parse()?, length.parse()?);
                }
                ["-ERR", ..] => return Err(line.into()),
                _ => {}
            }
        }
    }
}

/// What NATS answered.
struct Message {
    head: String,
    body: Vec<u8>,
}

impl Message {
    fn read(reader: &mut impl Read, head: usize, length: usize) -> Result<Self> {
        let mut bytes = vec![0; length];
        reader.read_exact(&mut bytes)?;
        let body = bytes.split_off(head);
        Ok(Self { head: String::from_utf8(bytes)?, body })
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

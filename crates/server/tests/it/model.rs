//! Stands in for a provider of models, in tests of gateways: some of its answers wait until they are let go.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// How long a call may take before a test fails instead of hanging: the first of a gateway loads half of it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// A call of twenty tokens at 0.0075 USD: it costs 0.15.
pub(crate) const TOKENS: u32 = 20;

/// A provider of models: `waits` answers when it is let, `fails` fails, `says` streams a word, `streams` goes on streaming, and every
/// other model says nothing.
pub(crate) struct Model {
    pub(crate) address: SocketAddr,
    is_open: Arc<(Mutex<bool>, Condvar)>,
    asked: mpsc::Receiver<Value>,
}

impl Model {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let is_open = Arc::new((Mutex::new(false), Condvar::new()));
        let (tell, asked) = mpsc::channel();
        let gate = Arc::clone(&is_open);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (tell, gate) = (tell.clone(), Arc::clone(&gate));
                thread::spawn(move || answer(&stream, &gate, &tell));
            }
        });
        Self { address, is_open, asked }
    }

    /// Waits for a call; gives what it asks.
    pub(crate) fn next(&self) -> Value {
        self.asked.recv_timeout(PATIENCE).expect("the model is asked")
    }

    /// Waits for a call; gives which model it asks.
    pub(crate) fn is_asked(&self) -> String {
        self.next()["model"].as_str().expect("a model").to_owned()
    }

    /// Whether nobody asks it anything more.
    pub(crate) fn is_left_alone(&self) -> bool {
        self.asked.try_recv().is_err()
    }

    /// Lets the answers go, those to come too.
    pub(crate) fn open(&self) {
        *self.is_open.0.lock().expect("not poisoned") = true;
        self.is_open.1.notify_all();
    }
}

fn answer(
    mut stream: &TcpStream,
    (is_open, opened): &(Mutex<bool>, Condvar),
    tell: &mpsc::Sender<Value>,
) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let lines = reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty());
        let length = lines.filter_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok()
        });
        let mut body = vec![0; length.last()?];
        reader.read_exact(&mut body).ok()?;
        let asks = serde_json::from_slice::<Value>(&body).ok()?;
        let model = asks["model"].as_str()?.to_owned();
        tell.send(asks).ok()?;
        let (status, body) = match model.as_str() {
            "waits" => {
                let guard = opened.wait_while(is_open.lock().ok()?, |is_open| !*is_open);
                drop(guard);
                (200, completion())
            }
            "fails" => (500, json!({"error": {"message": "broken"}})),
            model => {
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
                )
                .ok()?;
                let words = if model == "streams" { 50 } else { 0 };
                for _ in 0..words {
                    write!(stream, "data: {}\n\n", word()).ok()?;
                }
                if model == "says" {
                    write!(stream, "data: {}\n\ndata: [DONE]\n\n", word()).ok()?;
                    return None;
                }
                // The stream never ends by itself.
                reader.read_exact(&mut [0]).ok()?;
                return None;
            }
        };
        let body = body.to_string();
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .ok()?;
    }
}

fn completion() -> Value {
    let message = json!({"role": "assistant", "content": "yes"});
    json!({
        "id": "c", "object": "chat.completion", "created": 1, "model": "waits",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": TOKENS, "total_tokens": 10 + TOKENS},
    })
}

fn word() -> Value {
    let delta = json!({"role": "assistant", "content": "word "});
    json!({
        "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "streams",
        "choices": [{"index": 0, "delta": delta, "finish_reason": null}],
    })
}

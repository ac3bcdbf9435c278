//! A proxy between a client and a server that cuts connections: also so that an answer is lost after what was asked was done.

use std::io::Error;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

/// Bytes passed on at a time.
const PIECE_BYTES: usize = 16 * 1024;

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    cuts: Arc<Cuts>,
    runtime: Option<Runtime>,
}

/// When connections are cut.
#[derive(Debug, Default)]
struct Cuts {
    /// Every how many answers one is lost, after the server gave it; zero: none.
    answers_every: AtomicU64,
    answers: AtomicU64,
    /// Every how many requests one is lost on its way to the server; zero: none.
    requests_every: AtomicU64,
    requests: AtomicU64,
    made: AtomicU64,
    /// What becomes of the next piece that is answered, and of the next that is asked.
    loses_answer: AtomicBool,
    holds_request: AtomicBool,
    /// After how many more answers nobody is let through any more; the largest number: never.
    answers_left: AtomicU64,
    /// Whether nobody is let through.
    refuses: AtomicBool,
    /// Lets go of what is held.
    release: Notify,
}

impl Cuts {
    fn loses_answer(&self) -> bool {
        let one_less = |left: u64| (left < u64::MAX).then(|| left.saturating_sub(1));
        if self.answers_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less) == Ok(0) {
            self.refuses.store(true, Ordering::SeqCst);
            return true;
        }
        self.loses_answer.swap(false, Ordering::SeqCst) || Self::is_due(&self.answers_every, &self.answers)
    }

    fn loses_request(&self) -> bool {
        Self::is_due(&self.requests_every, &self.requests)
    }

    fn is_due(every: &AtomicU64, count: &AtomicU64) -> bool {
        let every = every.load(Ordering::Relaxed);
        every > 0 && (count.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(every)
    }
}

impl Proxy {
    /// Starts a proxy to a port of this machine.
    ///
    /// # Errors
    /// When there is no port or no thread for it.
    pub fn start(to: u16) -> Result<Self, Error> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_io().build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let port = listener.local_addr()?.port();
        let cuts = Arc::new(Cuts { answers_left: AtomicU64::new(u64::MAX), ..Cuts::default() });
        let shared = Arc::clone(&cuts);
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if !shared.refuses.load(Ordering::SeqCst) {
                    tokio::spawn(pass(client, to, Arc::clone(&shared)));
                }
            }
        });
        Ok(Self { port, cuts, runtime: Some(runtime) })
    }

    /// The port on which it listens.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Loses every so many answers after the server gave them, with their connections; zero: none.
    pub fn lose_answers(&self, every: u64) {
        self.cuts.answers_every.store(every, Ordering::Relaxed);
    }

    /// Loses every so many requests on their way, with their connections; zero: none.
    pub fn lose_requests(&self, every: u64) {
        self.cuts.requests_every.store(every, Ordering::Relaxed);
    }

    /// Loses every answer behind so many more, after the server gave it, and then [refuses](Self::refuse); the largest number: none.
    pub fn lose_after(&self, answers: u64) {
        self.cuts.answers_left.store(answers, Ordering::SeqCst);
    }

    /// Loses the next answer after the server gave it, with its connection.
    pub fn lose_next_answer(&self) {
        self.cuts.loses_answer.store(true, Ordering::SeqCst);
    }

    /// Cuts the connection of the next request, which reaches the server when it is [released](Self::release), as one may
    /// that a network held up.
    pub fn hold_next_request(&self) {
        self.cuts.holds_request.store(true, Ordering::SeqCst);
    }

    /// Lets what is held reach the server.
    pub fn release(&self) {
        self.cuts.release.notify_one();
    }

    /// Lets nobody new through, or again.
    pub fn refuse(&self, refuses: bool) {
        self.cuts.refuses.store(refuses, Ordering::SeqCst);
    }

    /// How many connections were cut.
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.cuts.made.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A runtime that is dropped where another one runs would panic.
            drop(thread::spawn(move || runtime.shutdown_background()).join());
        }
    }
}

/// Passes on what comes from either side, until one of them ends or the connection is cut.
async fn pass(mut client: TcpStream, to: u16, cuts: Arc<Cuts>) {
    let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await else { return };
    drop((client.set_nodelay(true), server.set_nodelay(true)));
    let (mut asked, mut answered) = (vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]);
    loop {
        let passed = tokio::select! {
            read = client.read(&mut asked) => {
                let piece = read.ok().and_then(|read| asked.get(..read)).unwrap_or_default();
                if !piece.is_empty() && cuts.holds_request.swap(false, Ordering::SeqCst) {
                    cuts.made.fetch_add(1, Ordering::SeqCst);
                    drop(client);
                    cuts.release.notified().await;
                    drop(server.write_all(piece).await);
                    // Until the server has answered: nobody listens.
                    drop(server.read(&mut answered).await);
                    return;
                }
                if !piece.is_empty() && cuts.loses_request() {
                    cuts.made.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                !piece.is_empty() && server.write_all(piece).await.is_ok()
            }
            read = server.read(&mut answered) => {
                let piece = read.ok().and_then(|read| answered.get(..read)).unwrap_or_default();
                if !piece.is_empty() && cuts.loses_answer() {
                    cuts.made.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                !piece.is_empty() && client.write_all(piece).await.is_ok()
            }
        };
        if !passed {
            return;
        }
    }
}

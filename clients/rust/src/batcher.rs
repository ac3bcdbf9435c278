//! A stream of usage records, sent in batches by a task of its own.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::client::{Client, new_key};
use crate::error::Error;
use crate::wire::{Batch, Usage};

/// Settings of a batcher.
#[derive(Clone, Copy, Debug)]
pub struct BatcherOptions {
    /// Records in one request; the server takes 10,000.
    pub batch_max: usize,
    /// How long a record waits for others.
    pub wait: Duration,
    /// Records that are not sent yet before [`Batcher::add`] waits.
    pub waiting_max: usize,
}

impl Default for BatcherOptions {
    fn default() -> Self {
        Self { batch_max: 1_000, wait: Duration::from_millis(500), waiting_max: 100_000 }
    }
}

/// A record that the server refused for good, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejection {
    /// As it was sent, with its key.
    pub record: Usage,
    /// A stable code such as `unknown_meter`.
    pub code: String,
    /// The same in a sentence.
    pub detail: String,
}

/// What became of all records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recorded {
    /// Counted now.
    pub counted: u64,
    /// Counted before.
    pub duplicates: u64,
    /// Refused for good.
    pub rejected: Vec<Rejection>,
}

/// The task that sends has ended: the runtime is shutting down, or it panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the batcher's task has ended")]
pub struct Closed;

/// Takes records and sends them, each until it is counted.
///
/// A record gets its key when it is added, so a batch that is sent twice counts once. [`add`](Self::add) waits when too many are not
/// sent yet: nothing is dropped. [`flush`](Self::flush) returns when all that was added before is on the server's disk. Records that
/// were added and not flushed are lost if your own process dies; where that matters, add them again from their source with keys of
/// your own.
#[derive(Debug)]
pub struct Batcher {
    orders: mpsc::Sender<Order>,
    task: JoinHandle<Recorded>,
}

/// What the task is given.
enum Order {
    Record(Box<Usage>),
    Flush(oneshot::Sender<()>),
}

impl Batcher {
    /// A batcher on the Tokio runtime of the caller.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    #[must_use]
    pub fn new(client: Client, options: BatcherOptions) -> Self {
        let (orders, given) = mpsc::channel(options.waiting_max.max(1));
        let sender = Sender { client, given, options, recorded: Recorded::default() };
        Self { orders, task: tokio::spawn(sender.run()) }
    }

    /// Adds a record; gives its key.
    ///
    /// # Errors
    /// [`Closed`]; then it was not added.
    pub async fn add(&self, mut record: Usage) -> Result<String, Closed> {
        let key = record.key.get_or_insert_with(new_key).clone();
        self.orders.send(Order::Record(Box::new(record))).await.map_err(|_| Closed)?;
        Ok(key)
    }

    /// Waits until all that was added before is counted or rejected.
    ///
    /// # Errors
    /// [`Closed`]; then it is not known what was sent.
    pub async fn flush(&self) -> Result<(), Closed> {
        let (done, told) = oneshot::channel();
        self.orders.send(Order::Flush(done)).await.map_err(|_| Closed)?;
        told.await.map_err(|_| Closed)
    }

    /// Waits until all that was added is counted or rejected, and says what became of it.
    ///
    /// # Errors
    /// [`Closed`]; then it is not known what was sent.
    pub async fn close(self) -> Result<Recorded, Closed> {
        drop(self.orders);
        self.task.await.map_err(|_| Closed)
    }
}

struct Sender {
    client: Client,
    given: mpsc::Receiver<Order>,
    options: BatcherOptions,
    recorded: Recorded,
}

impl Sender {
    /// Sends until nobody adds any more and all is sent.
    async fn run(mut self) -> Recorded {
        while let Some(order) = self.given.recv().await {
            let (mut batch, mut flushed) = (Vec::new(), None);
            let until = Instant::now() + self.options.wait;
            let mut next = Some(order);
            while let Some(order) = next {
                match order {
                    Order::Record(record) => batch.push(*record),
                    Order::Flush(done) => {
                        flushed = Some(done);
                        break;
                    }
                }
                if batch.len() >= self.options.batch_max {
                    break;
                }
                // Nothing more in time, or nobody adds any more: what there is, is sent.
                next = timeout_at(until, self.given.recv()).await.unwrap_or_default();
            }
            self.send(batch).await;
            if let Some(done) = flushed {
                // Who asked may have gone.
                let _ = done.send(());
            }
        }
        self.recorded
    }

    async fn send(&mut self, mut batch: Vec<Usage>) {
        if batch.is_empty() {
            return;
        }
        let sent = loop {
            match self.client.record(&mut batch).await {
                // The client has waited for its patience; what was added is sent for as long as this runs.
                Err(Error::Unreachable { .. }) => {}
                sent => break sent,
            }
        };
        match sent {
            Ok(Batch { counted, duplicates, results, .. }) => {
                self.recorded.counted += counted;
                self.recorded.duplicates += duplicates;
                for result in results.into_iter().filter(|result| result.status == "rejected") {
                    let (code, detail) = (result.code.unwrap_or_default(), result.detail.unwrap_or_default());
                    let record = batch.get(result.index).cloned();
                    self.recorded.rejected.extend(record.map(|record| Rejection { record, code, detail }));
                }
            }
            Err(error) => {
                let code =
                    if let Error::Api(problem) = &error { problem.code.clone() } else { String::new() };
                let refused = |record| Rejection { record, code: code.clone(), detail: error.to_string() };
                self.recorded.rejected.extend(batch.into_iter().map(refused));
            }
        }
    }
}

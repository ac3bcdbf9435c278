//! Many concurrent calls and a stream of records while the server is killed: arguments are its address and how many.

#![expect(clippy::print_stdout, reason = "a program says what it did")]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tollgate_client::{Batcher, BatcherOptions, Client, Usage};

type Failure = Box<dyn Error + Send + Sync>;

const WORKERS: usize = 64;

#[derive(Default)]
struct Storm {
    calls: u64,
    next: AtomicU64,
    done: AtomicU64,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let (url, calls) = args.next().zip(args.next()).ok_or("usage: storm URL CALLS")?;
    let calls: u64 = calls.parse()?;
    let gate = Client::builder().url(url).patience(Duration::from_secs(120)).build()?;
    gate.set_plan("acme", "pro").await?;
    gate.set_plan("globex", "pro").await?;

    let storm = Arc::new(Storm { calls, ..Storm::default() });
    let workers: Vec<_> = (0..WORKERS).map(|_| tokio::spawn(Arc::clone(&storm).work(gate.clone()))).collect();
    let options =
        BatcherOptions { batch_max: 50, wait: Duration::from_millis(10), ..BatcherOptions::default() };
    let batcher = Batcher::new(gate, options);
    for _ in 0..calls {
        batcher.add(Usage::new("globex", "api_call")).await?;
    }
    let recorded = batcher.close().await?;
    if !recorded.rejected.is_empty() || recorded.counted + recorded.duplicates != calls {
        return Err(format!("{recorded:?}").into());
    }
    for worker in workers {
        worker.await??;
    }
    println!("done");
    Ok(())
}

impl Storm {
    async fn work(self: Arc<Self>, gate: Client) -> Result<(), Failure> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.calls {
                return Ok(());
            }
            gate.require(&Usage::new("acme", "api_call").key(format!("call-{number}"))).await?;
            let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
            if done.is_multiple_of((self.calls / 10).max(1)) {
                println!("progress");
            }
        }
    }
}

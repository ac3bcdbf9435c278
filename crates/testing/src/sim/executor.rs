//! One thread, virtual time, and every choice from one seed.
//!
//! Tasks run when they are woken; which of them runs next is drawn. Time stands still while any task can run, and then
//! jumps to the next timer. Every step goes into the trace, so that two runs can be compared by one number.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use fastrand::Rng;

/// Steps after which a run is taken for one that never ends.
const STEPS_MAX: u64 = 2_000_000;

type Task = Pin<Box<dyn Future<Output = ()>>>;
type SendTask = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a task sees of the simulation: the time, the dice and the trace. Clones are the same.
#[derive(Clone)]
pub struct Sim {
    shared: Arc<Shared>,
}

impl fmt::Debug for Sim {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Sim").finish_non_exhaustive()
    }
}

struct Shared {
    state: Mutex<State>,
    woken: Mutex<Vec<usize>>,
}

struct State {
    now: Duration,
    steps: u64,
    rng: Rng,
    trace: u64,
    timers: BTreeMap<(Duration, u64), Waker>,
    timers_made: u64,
    spawned: Vec<SendTask>,
}

struct TaskWaker {
    task: usize,
    queued: AtomicBool,
    shared: Arc<Shared>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.shared.woken.lock().unwrap_or_else(PoisonError::into_inner).push(self.task);
        }
    }
}

impl Sim {
    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The virtual time since the start.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.state().now
    }

    /// A number for this moment, larger than that of every moment before it.
    #[must_use]
    pub fn stamp(&self) -> u64 {
        let mut state = self.state();
        state.steps += 1;
        state.steps
    }

    /// The hash of everything that happened so far.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        self.state().trace
    }

    /// Adds to the trace.
    pub fn trace(&self, text: &str) {
        let mut state = self.state();
        for chunk in text.as_bytes().chunks(8) {
            let word = chunk.iter().fold(0, |word, byte| (word << 8) | u64::from(*byte));
            state.mix(word);
        }
    }

    /// A number in `0..below`.
    #[must_use]
    pub fn below(&self, below: u64) -> u64 {
        self.state().rng.u64(..below.max(1))
    }

    /// A place in something of `len` items.
    #[must_use]
    pub fn place(&self, len: usize) -> usize {
        self.state().rng.usize(..len.max(1))
    }

    /// True so many times in ten thousand.
    #[must_use]
    pub fn chance(&self, in_ten_thousand: u32) -> bool {
        in_ten_thousand > 0 && self.state().rng.u32(..10_000) < in_ten_thousand
    }

    /// A duration of so many milliseconds at most.
    #[must_use]
    pub fn millis(&self, from: u64, until: u64) -> Duration {
        let micros = self.state().rng.u64(from * 1_000..=until * 1_000);
        Duration::from_micros(micros)
    }

    /// Waits for some virtual time.
    pub fn sleep(&self, length: Duration) -> Sleep {
        let until = self.now() + length;
        Sleep { sim: self.clone(), until, timer: None }
    }

    /// Waits for a future, but not longer than some virtual time; `None` when that was not enough.
    pub async fn within<T>(&self, length: Duration, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        let mut sleep = self.sleep(length);
        std::future::poll_fn(|context| {
            if let Poll::Ready(value) = future.as_mut().poll(context) {
                return Poll::Ready(Some(value));
            }
            Pin::new(&mut sleep).poll(context).map(|()| None)
        })
        .await
    }

    /// Starts a task.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.state().spawned.push(Box::pin(task));
    }
}

impl State {
    fn mix(&mut self, word: u64) {
        self.trace = (self.trace.rotate_left(23) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

/// See [`Sim::sleep`].
#[derive(Debug)]
pub struct Sleep {
    sim: Sim,
    until: Duration,
    timer: Option<(Duration, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.sim.state();
        if let Some(timer) = self.timer {
            state.timers.remove(&timer);
        }
        if state.now >= self.until {
            drop(state);
            self.timer = None;
            return Poll::Ready(());
        }
        state.timers_made += 1;
        let timer = (self.until, state.timers_made);
        state.timers.insert(timer, context.waker().clone());
        drop(state);
        self.timer = Some(timer);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            self.sim.state().timers.remove(&timer);
        }
    }
}

/// Runs the tasks of one simulation.
pub struct Executor {
    sim: Sim,
    tasks: Vec<Option<(Task, Arc<TaskWaker>)>>,
    ready: Vec<usize>,
}

impl fmt::Debug for Executor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Executor").field("tasks", &self.tasks.len()).finish_non_exhaustive()
    }
}

impl Executor {
    /// Nothing to run yet.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let state = State {
            now: Duration::ZERO,
            steps: 0,
            rng: Rng::with_seed(seed),
            trace: seed,
            timers: BTreeMap::new(),
            timers_made: 0,
            spawned: Vec::new(),
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), woken: Mutex::default() });
        Self { sim: Sim { shared }, tasks: Vec::new(), ready: Vec::new() }
    }

    /// What the tasks see.
    #[must_use]
    pub fn sim(&self) -> Sim {
        self.sim.clone()
    }

    /// Adds a task.
    pub fn spawn(&mut self, task: impl Future<Output = ()> + 'static) {
        self.add(Box::pin(task));
    }

    fn add(&mut self, task: Task) {
        let number = self.tasks.len();
        let waker =
            TaskWaker { task: number, queued: AtomicBool::new(true), shared: self.sim.shared.clone() };
        self.tasks.push(Some((task, Arc::new(waker))));
        self.ready.push(number);
    }

    /// Runs until the task that was spawned first ends.
    ///
    /// # Errors
    /// When all tasks wait for each other, or there is no end.
    pub fn run(&mut self) -> Result<(), String> {
        while self.tasks.first().is_some_and(Option::is_some) {
            self.ready.append(&mut self.sim.shared.woken.lock().unwrap_or_else(PoisonError::into_inner));
            if self.ready.is_empty() {
                self.advance()?;
                continue;
            }
            let next = self.draw()?;
            self.step(next);
            let spawned = std::mem::take(&mut self.sim.state().spawned);
            for task in spawned {
                self.add(task);
            }
        }
        Ok(())
    }

    fn draw(&mut self) -> Result<usize, String> {
        let mut state = self.sim.state();
        state.steps += 1;
        if state.steps > STEPS_MAX {
            return Err(format!("no end after {STEPS_MAX} steps, at {:?}", state.now));
        }
        let place = if self.ready.len() == 1 { 0 } else { state.rng.usize(..self.ready.len()) };
        let next = self.ready.swap_remove(place);
        let now = u64::try_from(state.now.as_nanos()).unwrap_or(u64::MAX);
        state.mix(now);
        state.mix(u64::try_from(next).unwrap_or(u64::MAX));
        Ok(next)
    }

    fn step(&mut self, number: usize) {
        let Some(place) = self.tasks.get_mut(number) else { return };
        let Some((task, waker)) = place else { return };
        waker.queued.store(false, Ordering::Relaxed);
        let std_waker = Waker::from(waker.clone());
        if task.as_mut().poll(&mut Context::from_waker(&std_waker)).is_ready() {
            *place = None;
        }
    }

    /// Lets time jump to the next timer.
    fn advance(&self) -> Result<(), String> {
        let mut state = self.sim.state();
        let Some(((at, _), waker)) = state.timers.pop_first() else {
            return Err(format!("every task waits for another, at {:?}", state.now));
        };
        state.now = state.now.max(at);
        drop(state);
        waker.wake();
        Ok(())
    }
}

impl Drop for Executor {
    /// Tasks, timers and the shared state hold each other.
    fn drop(&mut self) {
        self.tasks.clear();
        let mut state = self.sim.state();
        let (spawned, timers) = (std::mem::take(&mut state.spawned), std::mem::take(&mut state.timers));
        drop(state);
        drop((spawned, timers));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(seed: u64) -> (Vec<u64>, u64, Duration) {
        let mut executor = Executor::new(seed);
        let sim = executor.sim();
        let order = Arc::new(Mutex::new(Vec::new()));
        let main = sim.clone();
        executor.spawn(async move { main.sleep(Duration::from_secs(3_600)).await });
        for number in 0..8 {
            let (sim, order) = (sim.clone(), Arc::clone(&order));
            executor.spawn(async move {
                let length = sim.millis(1, 1_000);
                let waited = sim.within(length, std::future::pending::<()>()).await;
                assert_eq!(waited, None);
                order.lock().expect("one thread").push(number);
            });
        }
        executor.run().expect("it ends");
        let order = order.lock().expect("one thread").clone();
        (order, sim.trace_hash(), sim.now())
    }

    #[test]
    fn a_seed_gives_the_same_run_again_and_another_seed_another() {
        assert_eq!(run(1), run(1));
        assert_ne!(run(1).1, run(2).1);
        assert_eq!(run(1).2, Duration::from_secs(3_600), "an hour passes in no time");
    }

    #[test]
    fn tasks_that_wait_for_each_other_are_found() {
        let mut executor = Executor::new(1);
        executor.spawn(std::future::pending());
        assert!(executor.run().expect_err("nothing can run").contains("waits"));
    }
}

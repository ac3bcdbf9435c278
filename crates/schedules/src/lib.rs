//! Runs concurrent code under the model checker [shuttle](https://docs.rs/shuttle): many schedules, each of which says at
//! every step which thread goes on.
//!
//! A crate whose concurrency is checked has a feature `shuttle`, under which its `sync` module gives the checker's locks,
//! threads and conditions in place of the real ones; the code that uses them is the same. Its models call [`check`].
//! A deadlock is a failure, as is a panic of any thread.
//!
//! Deliberately absent: what the code under test should do (that is in the models), and memory orders weaker than
//! sequential consistency, which the checker does not know.
#![expect(
    clippy::panic,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "what tests use, though a library so that several crates can"
)]

pub mod timed;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

pub use shuttle;

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};

/// The environment variable that sets how many schedules each model runs.
pub const SCHEDULES_VARIABLE: &str = "TOLLGATE_MODEL_SCHEDULES";

/// The environment variable that sets the seed; without it each run takes a new one.
pub const SEED_VARIABLE: &str = "TOLLGATE_SEED";

/// Preemptions that the second half of the schedules places: most races need no more.
const PREEMPTIONS: usize = 3;

/// Bytes of each thread's stack: the code under test opens files and encodes rows.
const STACK_BYTES: usize = 512 * 1024;

/// Steps after which a schedule counts as one that never ends.
const STEPS_MAX: usize = 100_000;

/// Runs a model under `schedules` schedules, or as many as [`SCHEDULES_VARIABLE`] says: the first half takes the next
/// thread by lot at every step, the second gives threads priorities and changes them at few places.
///
/// # Panics
/// When a schedule fails: after saying which, by its number and the seed.
pub fn check(name: &str, schedules: usize, model: impl Fn() + Send + Sync + 'static) {
    let schedules = number(SCHEDULES_VARIABLE).unwrap_or(schedules).max(2);
    let seed = number(SEED_VARIABLE).unwrap_or_else(fresh_seed);
    let began = Instant::now();
    let run = Run { name: name.to_owned(), seed, begun: Arc::default(), model: Arc::new(model) };
    run.half(RandomScheduler::new_from_seed(seed, schedules / 2), "by lot");
    run.half(PctScheduler::new_from_seed(seed, PREEMPTIONS, schedules - schedules / 2), "by priority");
    let begun = run.begun.load(Ordering::Relaxed);
    assert_eq!(begun, schedules, "{name}: every schedule was run");
    println!("{name}: {begun} schedules from seed {seed} in {:.1} s", began.elapsed().as_secs_f64());
}

struct Run<M> {
    name: String,
    seed: u64,
    begun: Arc<AtomicUsize>,
    model: Arc<M>,
}

impl<M: Fn() + Send + Sync + 'static> Run<M> {
    fn half(&self, scheduler: impl Scheduler + 'static, how: &str) {
        let mut config = Config::new();
        config.stack_size = STACK_BYTES;
        config.max_steps = shuttle::MaxSteps::FailAfter(STEPS_MAX);
        config.silence_warnings = true;
        let (begun, model) = (Arc::clone(&self.begun), Arc::clone(&self.model));
        let every = move || {
            begun.fetch_add(1, Ordering::Relaxed);
            model();
        };
        let ran = catch_unwind(AssertUnwindSafe(|| Runner::new(scheduler, config).run(every)));
        if let Err(panic) = ran {
            let (name, seed, begun) = (&self.name, self.seed, self.begun.load(Ordering::Relaxed));
            println!("{name}: found in schedule {begun}, {how}; {SEED_VARIABLE}={seed} repeats it");
            resume_unwind(panic);
        }
    }
}

fn number<N: std::str::FromStr>(variable: &str) -> Option<N> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse().map_err(|_| panic!("{variable} is a number, not '{text}'"));
    number.ok()
}

#[expect(clippy::disallowed_methods, reason = "a seed that differs from run to run")]
fn fresh_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    since.as_secs() ^ u64::from(since.subsec_nanos()) << 20
}

#[cfg(test)]
mod tests {
    use shuttle::sync::{Arc, Condvar, Mutex};
    use shuttle::thread;

    use super::*;

    /// Two threads add one each; `whole` says whether reading and writing is one step.
    fn adding(whole: bool) {
        let sum = Arc::new(Mutex::new(0));
        let other = Arc::clone(&sum);
        let add = move |sum: &Mutex<i32>| {
            if whole {
                *sum.lock().expect("a sum") += 1;
            } else {
                let before = *sum.lock().expect("a sum");
                *sum.lock().expect("a sum") = before + 1;
            }
        };
        let thread = thread::spawn(move || add(&other));
        add(&sum);
        thread.join().expect("it adds");
        assert_eq!(*sum.lock().expect("a sum"), 2);
    }

    #[test]
    fn what_is_right_under_every_schedule_passes() {
        check("adding", 200, || adding(true));
    }

    #[test]
    fn a_lost_update_is_found() {
        let found = catch_unwind(|| check("losing", 200, || adding(false)));
        assert!(found.is_err());
    }

    #[test]
    fn a_wake_up_that_comes_before_the_wait_is_found() {
        let missing = || {
            let pair = Arc::new((Mutex::new(()), Condvar::new()));
            let other = Arc::clone(&pair);
            let thread = thread::spawn(move || other.1.notify_one());
            drop(pair.1.wait(pair.0.lock().expect("a lock")));
            thread.join().expect("it notifies");
        };
        assert!(catch_unwind(|| check("waiting", 200, missing)).is_err());
    }
}

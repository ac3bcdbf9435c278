//! Waiting: for a condition, with a deadline; or for a moment that was drawn at random.

use std::thread;
use std::time::{Duration, Instant};

use crate::Result;

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Lets time pass. For moments that are drawn at random or that pace a load; who waits for something uses [`until`].
pub fn pause(time: Duration) {
    let deadline = Instant::now() + time;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::park_timeout(left);
    }
}

/// Waits until `look` finds something.
///
/// # Errors
/// When it found nothing in time, or failed.
pub fn until<T>(what: &str, at_most: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + at_most;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            return Err(format!("waited {} s in vain for {what}", at_most.as_secs_f64()).into());
        }
        pause(LOOK_EVERY);
    }
}

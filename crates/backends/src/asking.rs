//! Asking a server until it answers, for as long as there is patience.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tollgate_storage::{StoreError, StoreErrorKind};

/// Pauses between attempts: the first, and the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// What became of what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// Nothing was changed; another attempt may succeed.
    Passing,
    /// It may have been done, or may be done yet.
    Unknown,
    /// Nothing was changed, and the same would be answered again.
    Refused,
}

/// One call, however often it is asked.
///
/// What is asked may be done more than once without doing more than once: the answer to an attempt may be lost, and the
/// attempt itself may be made late. An error of a kind that says that nothing was changed is given only when that is known
/// of every attempt.
#[derive(Debug)]
pub(crate) struct Asking<'a> {
    began: Instant,
    patience: Duration,
    /// Whether the server answered when it was last asked: while it does not, nobody waits for long.
    answers: &'a AtomicBool,
    pause: Duration,
    unknown: bool,
    attempts: u32,
}

impl<'a> Asking<'a> {
    pub(crate) fn new(patience: Duration, answers: &'a AtomicBool) -> Self {
        Self { began: Instant::now(), patience, answers, pause: PAUSE_FIRST, unknown: false, attempts: 0 }
    }

    /// It was answered.
    pub(crate) fn answered(&self) {
        self.answers.store(true, Ordering::Relaxed);
    }

    /// Something of it was done, or may have been, whatever becomes of the rest.
    #[cfg(feature = "redis")]
    pub(crate) const fn done_in_part(&mut self) {
        self.unknown = true;
    }

    /// An attempt failed: waits for the next one.
    ///
    /// # Errors
    /// What the caller is told, when there is none.
    pub(crate) async fn failed(&mut self, outcome: Outcome, error: StoreError) -> Result<(), StoreError> {
        let again = self.goes_on(outcome, self.unknown).await;
        self.unknown |= outcome == Outcome::Unknown;
        if !again {
            return Err(if self.unknown { not_known(error) } else { error });
        }
        tracing::debug!(%error, "the store is asked again");
        Ok(())
    }

    /// Waits for the next attempt, if there is to be one after this outcome; `unknown` says whether a former one may have been
    /// made.
    pub(crate) async fn goes_on(&mut self, outcome: Outcome, unknown: bool) -> bool {
        self.attempts += 1;
        let again = match outcome {
            Outcome::Refused => false,
            Outcome::Passing => unknown || self.answers.load(Ordering::Relaxed),
            Outcome::Unknown => true,
        };
        // A process that was paused finds its patience at an end though it asked but once.
        if !again || (self.attempts > 1 && self.began.elapsed() + self.pause >= self.patience) {
            if outcome != Outcome::Refused {
                self.answers.store(false, Ordering::Relaxed);
            }
            return false;
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (2 * self.pause).min(PAUSE_MAX);
        true
    }
}

/// The answers of the parts of a call, each of which is made by itself. If one failed, the call did; where another one was made, it
/// is not known what was done. Of several failures one that leaves things open is told.
#[cfg(any(feature = "packs", feature = "postgres"))]
pub(crate) fn together<T>(
    parts: Vec<Result<T, StoreError>>,
    is_made: impl Fn(&T) -> bool,
) -> Result<Vec<T>, StoreError> {
    let any_made = parts.iter().flatten().any(is_made);
    let (mut answers, mut failed) = (Vec::with_capacity(parts.len()), None);
    for part in parts {
        match part {
            Ok(answer) => answers.push(answer),
            Err(error) if failed.as_ref().is_none_or(|failed: &StoreError| failed.kind().is_refusal()) => {
                failed = Some(error);
            }
            Err(_) => {}
        }
    }
    match failed {
        Some(error) if any_made => Err(not_known(error)),
        Some(error) => Err(error),
        None => Ok(answers),
    }
}

/// The error of a call of which an attempt may have been made.
pub(crate) fn not_known(error: StoreError) -> StoreError {
    if error.kind() == StoreErrorKind::Io {
        return error;
    }
    let text = "the store was lost while it was asked; it is not known what was done";
    StoreError::new(StoreErrorKind::Io, text).caused_by(error)
}

#[cfg(all(test, any(feature = "packs", feature = "postgres")))]
mod tests {
    use StoreErrorKind::{Full, Io, TooLarge, Unavailable};

    use super::*;

    #[test]
    fn a_call_of_several_parts_says_that_nothing_was_made_only_if_nothing_was() {
        let said = |parts: &[Result<bool, StoreErrorKind>]| {
            let parts = parts.iter().map(|part| part.map_err(|kind| StoreError::new(kind, "it failed")));
            together(parts.collect(), |made| *made).map_err(|error| error.kind())
        };
        assert_eq!(said(&[Ok(true), Ok(false)]), Ok(vec![true, false]));
        assert_eq!(said(&[Ok(false), Err(Full)]), Err(Full));
        assert_eq!(said(&[Err(TooLarge), Err(Io), Err(Unavailable)]), Err(Io), "one leaves things open");
        assert_eq!(said(&[Err(Unavailable), Ok(true)]), Err(Io), "a part was made");
    }
}

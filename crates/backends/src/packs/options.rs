//! What all stores of packs can be told.

use std::time::Duration;

use super::limits::{PATIENCE_DEFAULT, PATIENCE_SECS_MAX};
use crate::Keeping;

/// How a store is opened.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// How long keys and counters are kept.
    pub keeping: Keeping,
    /// How long a call asks again before it gives up.
    pub(crate) patience: Duration,
    /// Whether the table is made when the store is opened and there is none.
    pub(crate) migrate: bool,
}

impl Default for Opening {
    fn default() -> Self {
        Self { keeping: Keeping::default(), patience: PATIENCE_DEFAULT, migrate: true }
    }
}

impl Opening {
    /// Takes a setting of a URL; says whether it is one of these.
    pub(crate) fn take(&mut self, name: &str, value: &str) -> Result<bool, String> {
        match name {
            "patience" => self.patience = seconds(value)?,
            "migrate" => self.migrate = switch(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The same with the table made: for the command that makes it.
    #[must_use]
    pub fn migrating(self) -> Self {
        Self { migrate: true, ..self }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (1..=PATIENCE_SECS_MAX).contains(seconds));
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| format!("patience is 1 to {PATIENCE_SECS_MAX} seconds, and not {text}"))
}

fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("migrate is `on` or `off`, and not {text}")),
    }
}

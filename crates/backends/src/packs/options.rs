//! Settings that the URLs of all stores of packs know.

use std::time::Duration;

use super::limits::PATIENCE_SECS_MAX;

pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (1..=PATIENCE_SECS_MAX).contains(seconds));
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| format!("patience is 1 to {PATIENCE_SECS_MAX} seconds, and not {text}"))
}

pub(crate) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("migrate is `on` or `off`, and not {text}")),
    }
}

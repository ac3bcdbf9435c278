//! The server's clock, set by hand.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::Result;

const SOURCE: &str = include_str!("clock.c");

/// The words that run a program for which it is now so many seconds after 1970; from then on its time goes on as usual.
/// What that takes is made in `folder`.
///
/// # Errors
/// When there is no C compiler, as the workspace needs anyway, or it does not do it.
pub fn set_to(secs: i64, folder: &Path) -> Result<Vec<String>> {
    let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
    if !library.exists() {
        fs::write(&source, SOURCE)?;
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).arg("-ldl");
        let made =
            compiler.output().map_err(|error| format!("this test needs a C compiler, `cc`: {error}"))?;
        if !made.status.success() {
            return Err(format!("cc: {}", String::from_utf8_lossy(&made.stderr)).into());
        }
    }
    #[expect(clippy::disallowed_methods, reason = "what the server's clock is set by")]
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let preload = format!("LD_PRELOAD={}", library.display());
    Ok(vec!["env".to_owned(), preload, format!("CLOCK_SHIFT_SECS={}", secs - now)])
}

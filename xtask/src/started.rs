//! A server that a command starts for itself.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::{env, thread};

use crate::Result;

/// A server that listens.
pub(crate) struct Started {
    pub(crate) process: Child,
    /// Where it listens.
    pub(crate) url: String,
}

impl Started {
    /// Starts a server without the settings of this environment, and waits until it listens; what it says later goes to `log`.
    pub(crate) fn start(mut command: Command, mut log: impl Write + Send + 'static) -> Result<Self> {
        let given: Vec<_> = command.get_envs().map(|(name, _)| name.to_owned()).collect();
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("TOLLGATE_") && !given.contains(&name) {
                command.env_remove(name);
            }
        }
        let mut process = command.stderr(Stdio::piped()).spawn()?;
        let mut told = BufReader::new(process.stderr.take().ok_or("no standard error")?);
        let mut line = String::new();
        loop {
            line.clear();
            if told.read_line(&mut line)? == 0 {
                return Err(format!("the server did not start ({})", process.wait()?).into());
            }
            if let Some(url) = url_in(&line).map(str::to_owned) {
                // Read to its end, or the server would wait for room to log.
                thread::spawn(move || io::copy(&mut told, &mut log));
                return Ok(Self { process, url });
            }
        }
    }
}

/// The address in "… listening on http://127.0.0.1:34567, …".
fn url_in(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("listening on ")?;
    rest.split(',').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found() {
        let line = "tollgate 0.1.0 listening on http://127.0.0.1:34567, data in ./x, API key needed\n";
        assert_eq!(url_in(line), Some("http://127.0.0.1:34567"));
        assert_eq!(url_in("something else"), None);
    }
}

//! Where a command's answer goes: a table for people, the server's JSON for programs.

use std::io::{self, Write};

use serde::de::DeserializeOwned;

use crate::failure::Failure;

/// Where a command's answer goes.
pub(crate) struct Output {
    json: bool,
    sink: Box<dyn Write>,
}

impl Output {
    /// Standard output.
    pub(crate) fn stdout(json: bool) -> Self {
        Self { json, sink: Box::new(io::stdout().lock()) }
    }

    /// Whether JSON is asked for.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Writes a text, with a line end if it has none.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.sink.write_all(text.as_bytes())?;
        if !text.ends_with('\n') {
            self.sink.write_all(b"\n")?;
        }
        Ok(self.sink.flush()?)
    }

    /// Writes a part of a text, as it is.
    pub(crate) fn part(&mut self, text: &str) -> Result<(), Failure> {
        self.sink.write_all(text.as_bytes())?;
        Ok(self.sink.flush()?)
    }

    /// Writes a reply: as it is for programs, or as `render` says for people. What was done is done, so a reply of another
    /// version is shown as it is; it is no failure.
    pub(crate) fn reply<T: DeserializeOwned>(
        &mut self,
        reply: &str,
        render: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        if self.json {
            return self.text(reply);
        }
        match read_reply(reply) {
            Ok(value) => self.text(&render(&value)),
            Err(_) => self.text(reply),
        }
    }
}

/// Reads a reply of the server.
pub(crate) fn read_reply<T: DeserializeOwned>(reply: &str) -> Result<T, Failure> {
    serde_json::from_str(reply).map_err(|error| {
        Failure::Other(format!(
            "the server's reply is not what this version expects: {error}; --json shows it as it is"
        ))
    })
}

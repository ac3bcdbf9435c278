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

    /// Writes a reply: as it is for programs, or as `render` says for people. A reply that this version cannot read
    /// is written as it is: the command did what it was told all the same.
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
            Err(failure) => {
                warn(&format!("{failure}; here it is as it came"));
                self.text(reply)
            }
        }
    }
}

/// Reads a reply of the server.
pub(crate) fn read_reply<T: DeserializeOwned>(reply: &str) -> Result<T, Failure> {
    serde_json::from_str(reply).map_err(|error| {
        Failure::Other(format!("the server's reply is not what this version expects: {error}"))
    })
}

/// Says on standard error what should be known besides the answer.
pub(crate) fn warn(warning: &str) {
    // When standard error is gone there is nobody to tell.
    let _ = io::stderr().write_all(format!("warning: {warning}\n").as_bytes());
}

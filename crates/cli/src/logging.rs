//! The log: one line per event on standard error, compact for people or JSON for programs.
//!
//! A line costs its thread the formatting and a place in a queue. A background thread writes the lines out, the last of
//! them when the [`Log`] is dropped. No thread waits for standard error: lines that find no room are dropped, and their
//! number is written as soon as there is room again.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::limits::{LOG_LINES_MAX, LOG_WRITE_BYTES};

/// Which events are logged: a level, or levels by part of the program.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LogLevel {
    text: String,
    targets: Targets,
}

impl LogLevel {
    /// The level as it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

impl Default for LogLevel {
    fn default() -> Self {
        Self { text: "info".to_owned(), targets: Targets::new().with_default(LevelFilter::INFO) }
    }
}

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut targets = Targets::new();
        for part in text.split(',').map(str::trim) {
            let level = |level: &str| {
                let known =
                    level.parse::<LevelFilter>().ok().filter(|_| level.chars().any(char::is_alphabetic));
                known.ok_or_else(|| {
                    format!(
                        "'{text}' is not a log level; expected error, warn, info, debug, trace or off, or levels by \
                         part such as info,tollgate_engine=debug"
                    )
                })
            };
            targets = match part.split_once('=') {
                Some((target, part)) => targets.with_target(target, level(part)?),
                None => targets.with_default(level(part)?),
            };
        }
        Ok(Self { text: text.to_owned(), targets })
    }
}

/// The log of this process; queued lines are written when it is dropped.
#[must_use = "the last lines are written when the log is dropped"]
pub(crate) struct Log(#[expect(dead_code, reason = "it is there to be dropped")] WorkerGuard);

/// Starts logging on standard error.
///
/// # Errors
/// Logging is set up already.
pub(crate) fn start(level: &LogLevel, json: bool) -> io::Result<Log> {
    let (lines, guard) = in_background(io::stderr(), json);
    let targets = level.targets.clone();
    let ansi =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = fmt::layer().with_writer(lines);
    let layer = if json {
        lines.json().flatten_event(true).with_ansi(false).with_filter(targets).boxed()
    } else {
        lines.compact().with_ansi(ansi).with_filter(targets).boxed()
    };
    tracing_subscriber::registry().with(layer).try_init().map_err(io::Error::other)?;
    Ok(Log(guard))
}

/// Starts the thread that writes lines.
fn in_background(sink: impl Write + Send + 'static, json: bool) -> (NonBlocking, WorkerGuard) {
    let counter = Arc::new(OnceLock::new());
    let sink = BufWriter::with_capacity(LOG_WRITE_BYTES, sink);
    let sink = Counted { sink, json, counter: Arc::clone(&counter), told: 0 };
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LOG_LINES_MAX);
    let (lines, guard) = builder.thread_name("log").finish(sink);
    // It is set once, here.
    let _ = counter.set(lines.error_counter());
    (lines, guard)
}

/// Writes lines together, and says how many were dropped whenever none is left to write.
struct Counted<W: Write> {
    sink: BufWriter<W>,
    json: bool,
    counter: Arc<OnceLock<ErrorCounter>>,
    told: usize,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.sink.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        let dropped = self.counter.get().map_or(0, ErrorCounter::dropped_lines);
        let fresh = dropped.saturating_sub(self.told);
        if fresh > 0 {
            self.told = dropped;
            let message = "log lines were dropped: standard error is not read fast enough";
            if self.json {
                let line = serde_json::json!({ "level": "WARN", "message": message, "dropped": fresh });
                writeln!(self.sink, "{line}")?;
            } else {
                writeln!(self.sink, "{fresh} {message}")?;
            }
        }
        self.sink.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};
    use std::time::Duration;

    use tracing::subscriber::with_default;

    use super::*;

    /// Hands every write to the test, once it is allowed to.
    struct Watched(Receiver<()>, Sender<Vec<u8>>);

    impl Write for Watched {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Without a sender it is allowed at once.
            let _ = self.0.recv();
            self.1.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn watched(json: bool) -> (NonBlocking, WorkerGuard, Sender<()>, Receiver<Vec<u8>>) {
        let (allow, allowed) = mpsc::channel();
        let (sender, written) = mpsc::channel();
        let (lines, guard) = in_background(Watched(allowed, sender), json);
        (lines, guard, allow, written)
    }

    fn text(written: &Receiver<Vec<u8>>) -> String {
        String::from_utf8(written.try_iter().flatten().collect()).expect("text")
    }

    #[test]
    fn no_line_is_lost_or_torn_at_a_clean_end() {
        let (lines, guard, allow, written) = watched(true);
        drop(allow);
        let logger = Arc::new(tracing_subscriber::registry().with(fmt::layer().json().with_writer(lines)));
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let logger = Arc::clone(&logger);
                std::thread::spawn(move || {
                    with_default(logger, || (0..5_000).for_each(|line| tracing::info!(thread, line, "said")));
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("a thread that logs"));
        drop(guard);
        let text = text(&written);
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect(line));
        assert_eq!(lines.filter(|line| line["fields"]["message"] == "said").count(), 20_000);
    }

    #[test]
    fn lines_are_written_without_a_nudge() {
        let (mut lines, guard, allow, written) = watched(false);
        drop(allow);
        lines.write_all(b"one\n").expect("it never fails");
        let line = written.recv_timeout(Duration::from_secs(10)).expect("the line");
        assert_eq!(line, b"one\n");
        drop(guard);
    }

    #[test]
    fn a_stuck_output_holds_nobody_up_and_dropped_lines_are_counted() {
        for json in [false, true] {
            let (mut lines, guard, allow, written) = watched(json);
            let sent = LOG_LINES_MAX * 2;
            // Nothing is read, and every write returns.
            (0..sent).for_each(|_| lines.write_all(b"x\n").expect("it never fails"));
            drop(allow);
            drop(guard);
            let text = text(&written);
            let kept = text.lines().filter(|line| *line == "x").count();
            let told: usize = text
                .lines()
                .filter(|line| line.contains("log lines were dropped"))
                .map(|line| match serde_json::from_str::<serde_json::Value>(line) {
                    Ok(line) => line["dropped"].to_string(),
                    Err(_) => line.split(' ').next().expect("a word").to_owned(),
                })
                .map(|dropped| dropped.parse::<usize>().expect("a number"))
                .sum();
            assert!(told > 0 && kept >= LOG_LINES_MAX, "{kept} kept, {told} dropped");
            assert_eq!(kept + told, sent);
        }
    }

    #[test]
    fn levels_are_checked() {
        for text in ["info", "WARN", "off", "info,tollgate_engine=debug", "tollgate=trace"] {
            assert_eq!(text.parse::<LogLevel>().expect(text).text(), text);
        }
        for text in ["", "loud", "info,", "tollgate=loud"] {
            let error = text.parse::<LogLevel>().expect_err(text);
            assert!(error.contains("expected error, warn, info"), "{error}");
        }
    }
}

//! The log: one line an event on standard error, compact for people or JSON for programs.
//!
//! A line costs its thread the formatting and a copy into memory. One background thread writes the lines out: at the
//! latest after [`LOG_FLUSH_INTERVAL`], sooner when there are many, at once after an error, and to the last one when the
//! [`Log`] is dropped.

use std::io::{self, IsTerminal, Write};
use std::mem;
use std::str::FromStr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::limits::{
    LOG_BUFFER_BYTES_MAX, LOG_CLOSE_WAIT_MAX, LOG_ERROR_WAIT_MAX, LOG_FLUSH_BYTES, LOG_FLUSH_INTERVAL,
};

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

/// The log of this process; what is in memory is written when it is dropped.
#[must_use = "the last lines are written when the log is dropped"]
pub(crate) struct Log {
    lines: Lines,
    writer: Option<JoinHandle<()>>,
}

/// Starts logging on standard error.
///
/// # Errors
/// The system's, when the background thread does not start; or that logging is set up already.
pub(crate) fn start(level: &LogLevel, json: bool) -> io::Result<Log> {
    let log = Log::to(io::stderr())?;
    let targets = level.targets.clone();
    let ansi =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = fmt::layer().with_writer(log.lines.clone());
    let layer = if json {
        lines.json().flatten_event(true).with_ansi(false).with_filter(targets).boxed()
    } else {
        lines.compact().with_ansi(ansi).with_filter(targets).boxed()
    };
    tracing_subscriber::registry().with(layer).try_init().map_err(io::Error::other)?;
    Ok(log)
}

impl Log {
    fn to(sink: impl Write + Send + 'static) -> io::Result<Self> {
        let lines = Lines::default();
        let shared = Arc::clone(&lines.0);
        let writer =
            std::thread::Builder::new().name("log".to_owned()).spawn(move || shared.write_to(sink))?;
        Ok(Self { lines, writer: Some(writer) })
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.lines.0.state().closed = true;
        self.lines.0.wake.notify_all();
        let finished = self.lines.0.wait_until(LOG_CLOSE_WAIT_MAX, |state| state.finished);
        // A writer that hangs in a stuck standard error is left behind: the process is about to end.
        if let (true, Some(writer)) = (finished, self.writer.take()) {
            let _ = writer.join();
        }
    }
}

/// The lines on their way out; given to the formatter, which asks for a [`LineWriter`] per event.
#[derive(Clone, Default)]
struct Lines(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Wakes the background thread.
    wake: Condvar,
    /// Wakes those who wait for it.
    written: Condvar,
}

#[derive(Default)]
struct State {
    /// Lines that wait.
    waiting: Vec<u8>,
    /// Lines that found no room.
    dropped: u64,
    /// Bytes ever taken in.
    taken: u64,
    /// Bytes of them written.
    written: u64,
    /// Whether an error waits.
    urgent: bool,
    /// No more lines come.
    closed: bool,
    /// The background thread has written all it could.
    finished: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves nothing half-done here: every change is complete before the lock is given back.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a line. Wakes the background thread when it sleeps, or when it should not wait any longer.
    fn take(&self, line: &[u8], urgent: bool) {
        let mut state = self.state();
        if state.waiting.len().saturating_add(line.len()) > LOG_BUFFER_BYTES_MAX {
            state.dropped = state.dropped.saturating_add(1);
            return;
        }
        let was_empty = state.waiting.is_empty();
        let was_small = state.waiting.len() < LOG_FLUSH_BYTES;
        state.waiting.extend_from_slice(line);
        state.taken = state.taken.saturating_add(u64::try_from(line.len()).unwrap_or(u64::MAX));
        state.urgent |= urgent;
        let now = urgent || (was_small && state.waiting.len() >= LOG_FLUSH_BYTES);
        let mark = state.taken;
        drop(state);
        if was_empty || now {
            self.wake.notify_one();
        }
        if urgent {
            self.wait_until(LOG_ERROR_WAIT_MAX, |state| state.written >= mark);
        }
    }

    /// Waits until something holds, at most so long; returns whether it does.
    fn wait_until(&self, timeout: Duration, holds: impl Fn(&State) -> bool) -> bool {
        let deadline = Instant::now() + timeout;
        let mut state = self.state();
        while !holds(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.written.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// The background thread.
    fn write_to(&self, mut sink: impl Write) {
        let mut batch = Vec::new();
        while let Some(dropped) = self.next_batch(&mut batch) {
            let bytes = u64::try_from(batch.len()).unwrap_or(u64::MAX);
            if dropped > 0 {
                let line =
                    format!("{dropped} log lines were dropped: nobody reads standard error fast enough\n");
                batch.extend_from_slice(line.as_bytes());
            }
            // When standard error is gone there is nobody to tell; the server goes on.
            let _ = sink.write_all(&batch).and_then(|()| sink.flush());
            batch.clear();
            batch.shrink_to(LOG_FLUSH_BYTES * 2);
            let mut state = self.state();
            state.written = state.written.saturating_add(bytes);
            drop(state);
            self.written.notify_all();
        }
        self.state().finished = true;
        self.written.notify_all();
    }

    /// Sleeps until there are lines, waits for more, and takes them; `None` when no more come.
    fn next_batch(&self, batch: &mut Vec<u8>) -> Option<u64> {
        let wait =
            |state, timeout| self.wake.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner).0;
        let mut state = self.state();
        while state.waiting.is_empty() && !state.closed {
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let deadline = Instant::now() + LOG_FLUSH_INTERVAL;
        while !state.closed && !state.urgent && state.waiting.len() < LOG_FLUSH_BYTES {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = wait(state, left);
        }
        if state.waiting.is_empty() && state.dropped == 0 {
            return None;
        }
        mem::swap(&mut state.waiting, batch);
        state.urgent = false;
        Some(mem::take(&mut state.dropped))
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter { shared: &self.0, urgent: false }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> LineWriter<'a> {
        LineWriter { shared: &self.0, urgent: *event.level() == Level::ERROR }
    }
}

/// Takes the line of one event.
struct LineWriter<'a> {
    shared: &'a Shared,
    urgent: bool,
}

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.shared.take(line, self.urgent);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};

    use tracing::subscriber::with_default;

    use super::*;

    /// Hands every write to the test.
    struct Watched(Sender<Vec<u8>>);

    impl Write for Watched {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn watched() -> (Log, Receiver<Vec<u8>>) {
        let (sender, receiver) = mpsc::channel();
        (Log::to(Watched(sender)).expect("a thread"), receiver)
    }

    #[test]
    fn no_line_is_lost_or_torn_at_a_clean_end() {
        let (log, written) = watched();
        let logger =
            Arc::new(tracing_subscriber::registry().with(fmt::layer().json().with_writer(log.lines.clone())));
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let logger = Arc::clone(&logger);
                std::thread::spawn(move || {
                    with_default(logger, || (0..5_000).for_each(|line| tracing::info!(thread, line, "said")));
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("a thread that logs"));
        drop(log);
        let text = String::from_utf8(written.try_iter().flatten().collect()).expect("text");
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect(line));
        assert_eq!(lines.filter(|line| line["fields"]["message"] == "said").count(), 20_000);
    }

    #[test]
    fn lines_are_written_without_a_nudge() {
        let (log, written) = watched();
        log.lines.0.take(b"one\n", false);
        let line = written.recv_timeout(Duration::from_secs(10)).expect("the line within the interval");
        assert_eq!(line, b"one\n");
        drop(log);
    }

    #[test]
    fn an_error_is_written_before_its_thread_goes_on() {
        let (log, written) = watched();
        let logger = tracing_subscriber::registry().with(fmt::layer().with_writer(log.lines.clone()));
        with_default(logger, || {
            tracing::info!("before");
            tracing::error!("bad");
        });
        let text: Vec<u8> = written.try_iter().flatten().collect();
        let text = String::from_utf8_lossy(&text);
        assert!(text.contains("before") && text.contains("bad"), "{text}");
        drop(log);
    }

    #[test]
    fn a_stuck_output_drops_lines_and_counts_them() {
        struct Stuck(Receiver<()>, Sender<Vec<u8>>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _ = self.0.recv();
                self.1.send(bytes.to_vec()).map_err(io::Error::other)?;
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (release, stuck) = mpsc::channel();
        let (sender, written) = mpsc::channel();
        let log = Log::to(Stuck(stuck, sender)).expect("a thread");
        let line = vec![b'x'; LOG_BUFFER_BYTES_MAX / 4];
        (0..20).for_each(|_| log.lines.0.take(&line, false));
        drop(release);
        drop(log);
        let text: Vec<u8> = written.try_iter().flatten().collect();
        let kept = text.iter().filter(|&&byte| byte == b'x').count() / line.len();
        let told = String::from_utf8_lossy(&text[kept * line.len()..]).into_owned();
        let dropped = 20 - kept;
        assert!((4..=8).contains(&kept), "{kept}");
        assert!(
            String::from_utf8_lossy(&text).contains(&format!("{dropped} log lines were dropped")),
            "{told}"
        );
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

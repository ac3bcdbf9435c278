//! `tollgate import`: past usage, from a file to the server, in batches.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::thread::park_timeout;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use tollgate_api::{BatchReply, RecordStatus};
use ureq::http::Method;

use super::Session;
use crate::client::{Route, Sent};
use crate::failure::{Exit, Failure};
use crate::limits::{IMPORT_BATCH_BYTES, IMPORT_PAUSE, IMPORT_TRIES_MAX};
use crate::output::read_reply;

/// What some programs write at the beginning of a text in UTF-8.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// `tollgate import`
///
/// Safe to run again: usage that was counted before is recognized by its key.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The file, a record per line; - reads standard input.
    file: PathBuf,
    /// Input format [default: by the file's extension]. CSV needs a header with org, meter and key; user, path,
    /// quantity, time, properties (a JSON object) and property.NAME are optional.
    #[arg(long)]
    format: Option<Format>,
    /// Start at this line; the first is 1, and a CSV header is always read.
    #[arg(long, value_name = "N", default_value_t = 1)]
    from_line: u64,
    /// Records per request.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    batch: u16,
}

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// CSV with a header.
    Csv,
    /// One JSON object per line.
    Ndjson,
}

/// Records on their way, with their lines.
#[derive(Default)]
struct Batch {
    text: String,
    lines: Vec<u64>,
}

/// What was sent so far.
struct Import<'a> {
    session: &'a mut Session,
    told: BatchReply,
    /// The first line that is not sent yet.
    next_line: u64,
    /// Drawn where standard error is a terminal, and nowhere else.
    bar: ProgressBar,
}

/// Runs `tollgate import`.
pub(crate) fn import(session: &mut Session, args: &ImportArgs) -> Result<(), Failure> {
    let wrong = |error: io::Error| Failure::Other(format!("{} cannot be read: {error}", args.file.display()));
    let (reader, bytes): (Box<dyn Read>, _) = if args.file == Path::new("-") {
        (Box::new(io::stdin()), None)
    } else {
        let file = File::open(&args.file).map_err(wrong)?;
        let bytes = file.metadata().map_err(wrong)?.len();
        (Box::new(file), Some(bytes))
    };
    let bar = progress_bar(bytes);
    let reader = bar.wrap_read(reader);
    let is_csv = args.file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv"));
    let format = args.format.unwrap_or(if is_csv { Format::Csv } else { Format::Ndjson });
    let mut import = Import { session, told: BatchReply::default(), next_line: args.from_line, bar };
    let read = match format {
        Format::Ndjson => import.lines(BufReader::new(reader), args),
        Format::Csv => import.csv(reader, args),
    };
    import.bar.finish();
    if let Err(failure) = read {
        let next = import.next_line;
        if next > args.from_line {
            // Where standard error is gone, the failure says what it says all the same.
            let _ =
                writeln!(io::stderr(), "all lines before {next} are sent: --from-line {next} goes on there");
        }
        return Err(failure);
    }
    let BatchReply { counted, duplicates, rejected, .. } = import.told;
    if session.output.is_json() {
        let told = json!({"counted": counted, "duplicates": duplicates, "rejected": rejected});
        session.output.text(&told.to_string())?;
    } else {
        let text = format!("{counted} counted, {duplicates} duplicates, {rejected} rejected");
        session.output.text(&text)?;
    }
    if rejected > 0 { Err(Failure::Said(Exit::Failed)) } else { Ok(()) }
}

/// By bytes where the whole is known, else the rate alone. It is made from constants, so no template can be wrong.
fn progress_bar(bytes: Option<u64>) -> ProgressBar {
    let (bar, template) = match bytes {
        Some(bytes) => (ProgressBar::new(bytes), "{wide_bar} {percent}% · {eta} left · {msg}"),
        None => (ProgressBar::new_spinner(), "{spinner} {elapsed} · {msg}"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

impl Import<'_> {
    fn lines(&mut self, reader: impl BufRead, args: &ImportArgs) -> Result<(), Failure> {
        let mut batch = Batch::default();
        for (number, line) in (1_u64..).zip(reader.lines()) {
            let line = line.map_err(|error| Failure::Other(format!("line {number}: {error}")))?;
            let line = line.trim_start_matches(BYTE_ORDER_MARK).trim();
            if number >= args.from_line && !line.is_empty() {
                self.add(&mut batch, number, line, args)?;
            }
        }
        self.send(&mut batch)
    }

    fn csv(&mut self, reader: impl Read, args: &ImportArgs) -> Result<(), Failure> {
        // Spaces belong to a value: a key that begins with one is another key.
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::Headers).from_reader(reader);
        let broken = |error: &csv::Error| Failure::Other(error.to_string());
        let header = reader.headers().map_err(|error| broken(&error))?.clone();
        for name in &header {
            let known =
                ["org", "user", "path", "meter", "quantity", "key", "time", "properties"].contains(&name);
            if !known && name.strip_prefix("property.").is_none_or(str::is_empty) {
                return Err(Failure::Usage(format!(
                    "the header names '{name}'; expected org, user, path, meter, quantity, key, time, properties or property.NAME"
                )));
            }
        }
        let again = |(place, name): &(usize, &str)| header.iter().take(*place).any(|before| before == *name);
        if let Some((_, name)) = header.iter().enumerate().find(again) {
            return Err(Failure::Usage(format!("the header names '{name}' twice")));
        }
        let mut batch = Batch::default();
        let mut row = csv::StringRecord::new();
        while reader.read_record(&mut row).map_err(|error| broken(&error))? {
            let number = row.position().map_or(0, csv::Position::line);
            if number >= args.from_line {
                let record = csv_record(&header, &row);
                self.add(&mut batch, number, &record.to_string(), args)?;
            }
        }
        self.send(&mut batch)
    }

    fn add(&mut self, batch: &mut Batch, line: u64, record: &str, args: &ImportArgs) -> Result<(), Failure> {
        batch.text.push_str(record);
        batch.text.push('\n');
        batch.lines.push(line);
        if batch.lines.len() >= usize::from(args.batch) || batch.text.len() >= IMPORT_BATCH_BYTES {
            self.send(batch)?;
        }
        Ok(())
    }

    /// Sends what there is; a server that is busy is asked again.
    fn send(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        let Some(last) = batch.lines.last().copied() else { return Ok(()) };
        let route = Route::v1(&["usage", "batch"]);
        let mut tries = 0;
        let reply = loop {
            let reply = self.session.client.exchange(Method::POST, &route, &Sent::Lines(&batch.text))?;
            tries += 1;
            if !matches!(reply.status, 429 | 503) || tries == IMPORT_TRIES_MAX {
                break reply;
            }
            // Nobody wakes it: the server is given a moment.
            park_timeout(IMPORT_PAUSE);
        };
        if reply.status != 200 {
            return Err(self.session.client.problem(&reply));
        }
        let told: BatchReply = read_reply(&reply.text)?;
        for result in told.results.iter().filter(|result| result.status == RecordStatus::Rejected) {
            let place = usize::try_from(result.index).ok().and_then(|index| batch.lines.get(index));
            let line = place.copied().unwrap_or_default();
            let detail = crate::table::printable(result.detail.as_deref().unwrap_or_default());
            let code = result.code.map_or("rejected", |code| code.text());
            self.bar.suspend(|| {
                let _ = writeln!(io::stderr(), "line {line}: {code}: {detail}");
            });
        }
        self.told.counted += told.counted;
        self.told.duplicates += told.duplicates;
        self.told.rejected += told.rejected;
        self.next_line = last + 1;
        let BatchReply { counted, duplicates, rejected, .. } = &self.told;
        self.bar.set_message(format!(
            "line {last}: {counted} counted, {duplicates} duplicates, {rejected} rejected"
        ));
        *batch = Batch::default();
        Ok(())
    }
}

/// A row as a record; what is empty is not given.
fn csv_record(header: &csv::StringRecord, row: &csv::StringRecord) -> Value {
    let mut record = Map::new();
    let mut properties = Map::new();
    for (name, value) in header.iter().zip(row).filter(|(_, value)| !value.trim().is_empty()) {
        let value = if ["quantity", "time"].contains(&name) { value.trim() } else { value };
        match name.strip_prefix("property.") {
            Some(property) => {
                properties.insert(property.to_owned(), json!(value));
            }
            // What is no object is left as it is: the server says so.
            None if name == "properties" => match serde_json::from_str(value) {
                Ok(Value::Object(members)) => properties.extend(members),
                _ => {
                    record.insert(name.to_owned(), json!(value));
                }
            },
            None => {
                record.insert(name.to_owned(), json!(value));
            }
        }
    }
    if !properties.is_empty() {
        record.insert("properties".to_owned(), Value::Object(properties));
    }
    Value::Object(record)
}

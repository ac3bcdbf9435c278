//! `scale`: Tollgate alone, with many orgs known, as a month fills; then restarts on that data, one after a kill in the
//! middle of ingest.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::args::Options;
use crate::client::{Crew, Next};
use crate::load::{Keys, Spread, Template};
use crate::machine::{self, MIB};
use crate::pace::Pace;
use crate::report::{self, at_most, thousands};
use crate::servers::{Ask, Daemon, make_orgs, measured, start_tollgate, tollgate_template, tollgate_used};
use crate::stats::{Figures, float, ratio, spread};
use crate::wire::Wire;

/// How long ingest goes on until the server is killed: several checkpoints, and what came since the last.
const KILL_AFTER: Duration = Duration::from_secs(15);
/// Connections that ingest comes over then, and how many records each request has.
const INGEST: (usize, usize) = (8, 1_000);

/// Fills a server and gives the tables.
pub(crate) fn run(options: &Options) -> Result<String> {
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(&options.folder)?;
    machine::require_disk(folder.path())?;
    let path = folder.path().canonicalize()?;
    eprintln!("seed {}", options.seed);
    let text = measure(options, &path)?.tables(options)?;
    folder.close()?;
    Ok(text)
}

/// All that was measured; sizes are in MiB.
struct Measured {
    idle: f64,
    set_up: Duration,
    known: f64,
    windows: Vec<(String, Figures)>,
    full: f64,
    highest: f64,
    folder: f64,
    clean: Restart,
    last_words: LastWords,
    killed: Restart,
    found: u64,
}

/// What one restart took.
pub(crate) struct Restart {
    what: &'static str,
    ready: Duration,
    resident_mib: f64,
}

fn measure(options: &Options, path: &Path) -> Result<Measured> {
    let server = start_tollgate(&options.server, path, None)?;
    let (idle, _) = machine::resident_mib(server.pid())?;

    // One org more than the load draws from: it is used just before the kill.
    let began = Instant::now();
    let plenty = options.usages / u64::from(options.orgs) > 200; // else a plan's allowance of 1,000 covers a month
    make_orgs(server.address, options.orgs + 1, plenty)?;
    let set_up = began.elapsed();
    let (known, _) = machine::resident_mib(server.pid())?;
    eprintln!("{} orgs in {:.1} s, {known:.0} MiB resident", options.orgs, set_up.as_secs_f64());

    let mut keys = Keys::new(options.seed);
    let windows = fill(&server, options, &mut keys)?;
    let (full, highest) = machine::resident_mib(server.pid())?;
    let folder = machine::folder_mib(&path.join("data"))?;

    server.stop()?;
    let (server, clean) = restart("after a clean stop", options, path)?;
    let last_words = kill_under_ingest(server, options, &mut keys)?;
    let (server, killed) = restart("after kill -9 under ingest", options, path)?;
    let found = tollgate_used(server.address, options.orgs)?;
    Ok(Measured { idle, set_up, known, windows, full, highest, folder, clean, last_words, killed, found })
}

impl Measured {
    fn tables(&self, options: &Options) -> Result<String> {
        let mut text = format!("Machine: {}.\n", machine::describe());
        text.push_str(&format!(
            "{} orgs known ({:.0} s to make them, {:.0} MiB resident then), {} usages of the month over {} \
             connections.\n",
            thousands(f64::from(options.orgs)),
            self.set_up.as_secs_f64(),
            self.known,
            thousands(float(options.usages)),
            options.connections * options.depth
        ));
        text.push_str(&report::others(self.windows.iter().map(|(_, figures)| figures)));
        text.push('\n');
        text.push_str(&report::figures_table("request", &self.windows));
        let binary = float(fs::metadata(&options.server)?.len()) / MIB;
        text.push_str(&format!(
            "\nResident {:.0} MiB when full, {:.0} MiB at the highest; data folder {:.0} MiB, {:.0} bytes a usage. \
             The binary has {binary:.1} MiB and takes {:.0} MiB when idle on an empty folder.\n",
            self.full,
            self.highest,
            self.folder,
            self.folder * MIB / float(options.usages),
            self.idle
        ));
        text.push_str(&self.clean.line());
        let LastWords { usages, took, highest, .. } = &self.last_words;
        text.push_str(&format!(
            "Then {} usages in batches, {}/s, {highest:.0} MiB resident at the highest, and in the middle of them kill \
             -9.\n",
            thousands(float(*usages)),
            thousands(ratio(float(*usages), took.as_secs_f64()))
        ));
        text.push_str(&self.killed.line());
        text.push('\n');
        text.push_str(&report::targets(&self.targets()));
        Ok(text)
    }

    fn targets(&self) -> Vec<report::Target> {
        let errors = self.windows.iter().map(|(_, figures)| figures.errors).sum();
        let cpu = spread(self.windows.iter().map(|(_, figures)| figures.server_cpu_us));
        let restart = |restart: &Restart, what: &str, most, errors| {
            let what = format!("ready {}{what}", restart.what);
            at_most(&what, most, restart.ready.as_secs_f64(), " s", errors)
        };
        let wrong = self.last_words.wrong(self.found);
        vec![
            at_most("resident with this data, at the highest", 1024.0, self.highest, " MiB", errors),
            restart(&self.clean, "", 1.0, 0),
            restart(&self.killed, ", nothing acknowledged lost", 3.0, wrong),
            at_most("server CPU a usage, dearest window by cheapest", 1.3, cpu, "×", errors),
        ]
    }
}

/// Starts the server on the data it has, and measures until it is ready.
pub(crate) fn restart(what: &'static str, options: &Options, folder: &Path) -> Result<(Daemon, Restart)> {
    let began = Instant::now();
    let server = start_tollgate(&options.server, folder, None)?;
    let ready = began.elapsed();
    eprintln!("ready {what} in {:.2} s", ready.as_secs_f64());
    let (resident_mib, _) = machine::resident_mib(server.pid())?;
    Ok((server, Restart { what, ready, resident_mib }))
}

impl Restart {
    pub(crate) fn line(&self) -> String {
        let Self { what, ready, resident_mib } = self;
        format!("Ready {what} in {:.2} s, {resident_mib:.0} MiB resident.\n", ready.as_secs_f64())
    }
}

/// Sends all usages of the month, and measures a window of them at each power of ten and at the end.
fn fill(server: &Daemon, options: &Options, keys: &mut Keys) -> Result<Vec<(String, Figures)>> {
    let template = tollgate_template(Ask::Gate)?;
    let mut crew = Crew::connect(server.address, Wire::HttpGate, options.connections, |_| Ok(()))?;
    let mut sent = 0;
    let mut windows = Vec::new();
    let mut send = |requests: u64| -> Result<Figures> {
        let streams = crew.usages(keys, &template, Spread::even(options.orgs), Some(requests))?;
        let (tally, cpu) = measured(server, &[], &mut crew, streams, Pace::All { depth: options.depth })?;
        for (text, count) in &tally.errors {
            eprintln!("  {count} × {text}");
        }
        Ok(Figures::new(&tally, cpu))
    };
    for (from, until) in window_bounds(options.usages) {
        if from > sent {
            send(from - sent)?;
        }
        let figures = send(until - from)?;
        sent = until;
        let what = format!("usages {} to {}", thousands(float(from)), thousands(float(until)));
        eprintln!(
            "{what}: {}/s, {:.1} µs of CPU each, {:.0} MiB resident",
            thousands(figures.rate),
            figures.server_cpu_us,
            machine::resident_mib(server.pid())?.0
        );
        windows.push((what, figures));
    }
    Ok(windows)
}

/// Windows that start at 10 thousand, 100 thousand, … below `usages`, and one that ends there. The shortest are long
/// enough for the hundredths of a second in which CPU time is counted.
fn window_bounds(usages: u64) -> Vec<(u64, u64)> {
    let mut bounds = Vec::new();
    let mut from = 10_000;
    while from * 10 <= usages {
        bounds.push((from, from + (from / 5).clamp(40_000, 200_000)));
        from *= 10;
    }
    let last = (usages / 10).clamp(1, 200_000);
    bounds.push((usages.saturating_sub(last), usages));
    bounds
}

/// What was answered until the server was killed.
struct LastWords {
    /// By how many usages of the marker org it had said yes to; they came one by one.
    marked: u64,
    /// All usages.
    usages: u64,
    took: Duration,
    /// MiB resident at the highest.
    highest: f64,
}

impl LastWords {
    /// How far what is found afterwards is from what may be: all that was answered, and the one that perhaps was not.
    fn wrong(&self, found: u64) -> u64 {
        let (least, most) = (self.marked, self.marked + 1);
        let wrong = least.saturating_sub(found) + found.saturating_sub(most);
        if wrong > 0 {
            eprintln!("{least} were answered as counted before the kill, {found} are counted after it");
        }
        wrong
    }
}

/// Kills the server in the middle of ingest as fast as it goes, with one client more that counts the answers of one org.
fn kill_under_ingest(server: Daemon, options: &Options, keys: &mut Keys) -> Result<LastWords> {
    let (connections, records) = INGEST;
    let began = Instant::now();
    let (address, marker) = (server.address, Spread::hot(options.orgs));
    let mut ingest = Ingest::new(address, connections, records)?;
    let mut mark = Ingest::new(address, 1, 1)?;
    let (ingest_streams, mark_streams) =
        (ingest.streams(keys, Spread::even(options.orgs))?, mark.streams(keys, marker)?);
    let (many, marked, highest) = thread::scope(|scope| {
        let many = scope.spawn(move || ingest.crew.run(ingest_streams, Pace::All { depth: 1 }));
        let marked = scope.spawn(move || mark.crew.run(mark_streams, Pace::All { depth: 1 }));
        // A thread that ended has a server that failed: there is nothing to wait for.
        while began.elapsed() < KILL_AFTER && !many.is_finished() && !marked.is_finished() {
            thread::park_timeout(Duration::from_millis(10));
        }
        let highest = machine::resident_mib(server.pid()).map(|(_, highest)| highest);
        server.kill()?;
        let panicked = |_| "a thread of the load generator panicked";
        let (many, marked) = (many.join().map_err(panicked)??, marked.join().map_err(panicked)??);
        Result::Ok((many, marked, highest?))
    })?;
    let usages = many.yes * u64::try_from(records)? + marked.yes;
    Ok(LastWords { marked: marked.yes, usages, took: KILL_AFTER, highest })
}

/// Connections over which records come in batches until the server is gone.
struct Ingest {
    crew: Crew,
    template: Template,
}

impl Ingest {
    fn new(address: SocketAddr, connections: usize, records: usize) -> Result<Self> {
        let crew = Crew::connect(address, Wire::HttpBatch(records), connections, |_| Ok(()))?;
        Ok(Self { crew, template: tollgate_template(Ask::Count(records))? })
    }

    fn streams(&self, keys: &mut Keys, spread: Spread) -> Result<Vec<Next<'static>>> {
        self.crew.usages(keys, &self.template, spread, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_do_not_overlap_and_end_with_the_last_usage() {
        for usages in [20_000, 100_000, 1_000_000, 10_000_000] {
            let bounds = window_bounds(usages);
            assert!(bounds.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{usages}: {bounds:?}");
            assert!(bounds.iter().all(|(from, until)| from < until), "{usages}: {bounds:?}");
            assert_eq!(bounds.last().unwrap().1, usages);
        }
        assert_eq!(window_bounds(10_000_000).len(), 4);
    }
    #[test]
    fn one_usage_may_have_been_counted_without_an_answer() {
        let last = LastWords { marked: 100, usages: 100, took: KILL_AFTER, highest: 1.0 };
        for (found, wrong) in [(99, 1), (100, 0), (101, 0), (102, 1)] {
            assert_eq!(last.wrong(found), wrong, "{found} found");
        }
    }
}

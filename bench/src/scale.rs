//! `scale`: Tollgate alone, with many orgs known, as a month fills; then restarts on that data.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Result;
use crate::args::Options;
use crate::client::{Crew, Pace};
use crate::load::{Keys, Spread, Template};
use crate::machine;
use crate::report::{self, at_most};
use crate::servers::{Daemon, METER, make_orgs, measured, start_tollgate, tollgate_template, tollgate_used};
use crate::stats::{Figures, float, spread};
use crate::wire::Wire;

const MIB: f64 = 1_048_576.0;

/// Fills a server and gives the tables.
pub(crate) fn run(options: &Options) -> Result<String> {
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(&options.folder)?;
    machine::require_disk(folder.path())?;
    let path = folder.path().canonicalize()?;
    eprintln!("seed {}", options.seed);
    let text = measure(options, &path)?;
    folder.close()?;
    Ok(text)
}

/// What one restart took.
struct Restart {
    what: &'static str,
    ready: Duration,
    resident_mib: f64,
}

fn measure(options: &Options, folder: &Path) -> Result<String> {
    let server = start_tollgate(&options.server, folder)?;
    let (idle_mib, _) = machine::resident_mib(server.pid())?;

    // One org more than the load draws from: it is used just before the kill.
    let began = Instant::now();
    let plenty = options.usages / u64::from(options.orgs) > 200; // else a plan's allowance of 1,000 covers a month
    make_orgs(server.address, options.orgs + 1, plenty)?;
    let set_up = began.elapsed();
    let (known_mib, _) = machine::resident_mib(server.pid())?;
    eprintln!("{} orgs in {:.1} s, {known_mib:.0} MiB resident", options.orgs, set_up.as_secs_f64());

    let mut keys = Keys::new(options.seed);
    let template = tollgate_template(METER)?;
    let windows = fill(&server, options, &template, &mut keys)?;
    let (full_mib, high_mib) = machine::resident_mib(server.pid())?;
    let folder_mib = float(machine::folder_bytes(&folder.join("data"))?) / MIB;

    server.stop()?;
    let began = Instant::now();
    let server = start_tollgate(&options.server, folder)?;
    let clean = restarted("after a clean stop", began, &server)?;

    let marker = options.orgs;
    let marked = before_the_kill(&server, options, &template, &mut keys)?;
    server.kill()?;
    let began = Instant::now();
    let server = start_tollgate(&options.server, folder)?;
    let killed = restarted("after kill -9", began, &server)?;
    let found = tollgate_used(server.address, marker)?;
    let lost = found.abs_diff(marked);
    if lost > 0 {
        eprintln!("{marked} were answered yes before the kill, {found} are counted after it");
    }
    drop(server);

    let binary_mib = float(fs::metadata(&options.server)?.len()) / MIB;
    let mut text = format!("Machine: {}.\n", machine::describe());
    text.push_str(&format!(
        "{} orgs known ({:.0} s to make them, {known_mib:.0} MiB resident then), {} usages of the month over {} \
         connections.\n",
        report::thousands(f64::from(options.orgs)),
        set_up.as_secs_f64(),
        report::thousands(float(options.usages)),
        options.connections * options.depth
    ));
    text.push_str(&report::others(windows.iter().map(|(_, figures)| figures)));
    text.push('\n');
    let rows: Vec<_> = windows.iter().map(|(what, figures)| report::figures(what, figures)).collect();
    text.push_str(&report::figures_table("request", &rows));
    text.push_str(&format!(
        "\nResident {full_mib:.0} MiB when full, {high_mib:.0} MiB at the highest; data folder {folder_mib:.0} MiB, \
         {:.0} bytes a usage.\n",
        folder_mib * MIB / float(options.usages)
    ));
    for restart in [&clean, &killed] {
        let Restart { what, ready, resident_mib } = restart;
        text.push_str(&format!(
            "Ready {what} in {:.2} s, {resident_mib:.0} MiB resident.\n",
            ready.as_secs_f64()
        ));
    }
    text.push('\n');
    let errors = windows.iter().map(|(_, figures)| figures.errors).sum();
    let cpu = spread(windows.iter().map(|(_, figures)| figures.server_cpu_us));
    let rate = spread(windows.iter().map(|(_, figures)| figures.rate));
    text.push_str(&report::targets(&[
        at_most("resident with this data, at the highest", 1024.0, high_mib, " MiB", errors),
        at_most("ready after a clean stop", 2.0, clean.ready.as_secs_f64(), " s", 0),
        at_most(
            "ready after kill -9, nothing acknowledged lost",
            5.0,
            killed.ready.as_secs_f64(),
            " s",
            lost,
        ),
        at_most("server CPU per usage, dearest window by cheapest", 1.5, cpu, "×", errors),
        at_most("rate, fastest window by slowest", 1.5, rate, "×", errors),
        at_most("binary", 25.0, binary_mib, " MiB", 0),
        at_most("resident when idle on an empty folder", 30.0, idle_mib, " MiB", 0),
    ]));
    Ok(text)
}

fn restarted(what: &'static str, began: Instant, server: &Daemon) -> Result<Restart> {
    let ready = began.elapsed();
    eprintln!("ready {what} in {:.2} s", ready.as_secs_f64());
    Ok(Restart { what, ready, resident_mib: machine::resident_mib(server.pid())?.0 })
}

/// Sends all usages of the month, and measures a window of them at each power of ten and at the end.
fn fill(
    server: &Daemon,
    options: &Options,
    template: &Template,
    keys: &mut Keys,
) -> Result<Vec<(String, Figures)>> {
    let mut crew = Crew::connect(server.address, Wire::HttpGate, options.connections, |_| Ok(()))?;
    let mut sent = 0;
    let mut windows = Vec::new();
    let mut send = |requests: u64| -> Result<Figures> {
        let streams = crew.usages(keys, template, Spread::Even(options.orgs), Some(requests))?;
        let (tally, cpu) = measured(server, &mut crew, streams, Pace::all(options.depth))?;
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
        let what =
            format!("usages {} to {}", report::thousands(float(from)), report::thousands(float(until)));
        eprintln!(
            "{what}: {}/s, {:.1} µs of CPU each, {:.0} MiB resident",
            report::thousands(figures.rate),
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

/// Uses the marker org among others, so that the kill finds work that the tables lack; says how many yeses it got.
fn before_the_kill(server: &Daemon, options: &Options, template: &Template, keys: &mut Keys) -> Result<u64> {
    let mut crew = Crew::connect(server.address, Wire::HttpGate, options.connections, |_| Ok(()))?;
    let mut yes = 0;
    for (spread, requests) in [(Spread::Even(options.orgs), 50_000), (Spread::Hot(options.orgs), 900)] {
        let streams = crew.usages(keys, template, spread, Some(requests))?;
        yes = crew.run(streams, Pace::all(1))?.yes;
    }
    Ok(yes)
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
}

//! `gate`: the durable check-and-consume beside Redis and PostgreSQL.

use std::path::Path;

use crate::Result;
use crate::args::Options;
use crate::client::Pace;
use crate::load::{Keys, Spread};
use crate::machine;
use crate::report;
use crate::rounds::Rounds;
use crate::servers::{Ask, Kind, System};
use crate::stats::Figures;
use crate::targets;

/// What is asked of a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Load {
    /// All orgs, evenly, as fast as the answers come.
    Even,
    /// One org.
    Hot,
    /// One connection.
    Single,
    /// All orgs at half of the rate of [`Load::Even`].
    Half,
    /// As [`Load::Even`], over more connections.
    Many(usize),
}

/// Beyond the usual number of connections.
pub(crate) const MANY: [usize; 2] = [1_000, 10_000];

/// What was measured.
pub(crate) type Cell = (Kind, Load);

/// Measures and gives the tables.
pub(crate) fn run(options: &Options) -> Result<String> {
    let mut keys = Keys::new(options.seed);
    let rounds = Rounds::run(options, &options.systems, |kind, round, folder, rounds| {
        measure(kind, round, options, folder, &mut keys, rounds)
    })?;
    tables(options, &rounds)
}

/// One system in one round.
fn measure(
    kind: Kind,
    round: u32,
    options: &Options,
    folder: &Path,
    keys: &mut Keys,
    rounds: &mut Rounds<Cell>,
) -> Result<()> {
    let hot = options.orgs;
    let system = System::start(kind, Ask::Gate, options, folder, options.orgs + 1)?;
    let mut hot_yes = 0;
    let mut one = |load: Load, connections: usize, rate: Option<u64>| -> Result<Figures> {
        let spread = if load == Load::Hot { Spread::Hot(hot) } else { Spread::Even(options.orgs) };
        let mut crew = system.connect(connections)?;
        let (warm, _) = system.run(&mut crew, keys, spread, None, Pace::closed(options.warmup))?;
        let pace = Pace { rate, ..Pace::closed(options.measure) };
        let (tally, cpu) = system.run(&mut crew, keys, spread, None, pace)?;
        let mut figures = Figures::new(&tally, cpu);
        figures.errors += warm.error_count();
        for (text, count) in warm.errors.iter().chain(&tally.errors) {
            eprintln!("  {count} × {text}");
        }
        if load == Load::Hot {
            // Not only did every answer say yes: the system's own books must say so too.
            hot_yes += warm.yes + tally.yes;
            let used = system.used(hot)?;
            if used != hot_yes {
                eprintln!("  {hot_yes} were answered yes, {used} are counted");
                figures.errors += used.abs_diff(hot_yes);
            }
        }
        eprintln!(
            "round {} {kind:?} {load:?}: {}/s, p50 {:.2} p99 {:.2} ms, {} errors",
            round + 1,
            report::thousands(figures.rate),
            figures.p50_ms,
            figures.p99_ms,
            figures.errors
        );
        rounds.add((kind, load), figures);
        Ok(figures)
    };
    let usual = options.connections;
    // Which of the two comes first changes, for the second finds a fuller store.
    let even = if round.is_multiple_of(2) {
        let even = one(Load::Even, usual, None)?;
        one(Load::Hot, usual, None)?;
        even
    } else {
        one(Load::Hot, usual, None)?;
        one(Load::Even, usual, None)?
    };
    one(Load::Single, 1, None)?;
    one(Load::Half, usual, Some(half(even.rate)))?;
    if kind == Kind::Tollgate {
        for connections in MANY {
            if u64::try_from(connections)? + 500 > machine::open_files_max() {
                return Err(format!("{connections} connections need a higher limit of open files").into());
            }
            one(Load::Many(connections), connections, None)?;
        }
    }
    Ok(())
}

/// Half of a rate, as a whole number.
fn half(rate: f64) -> u64 {
    format!("{:.0}", rate / 2.0).parse().unwrap_or(1)
}

fn tables(options: &Options, rounds: &Rounds<Cell>) -> Result<String> {
    let mut text = rounds.machine();
    for kind in &options.systems {
        text.push_str(&format!("{:?}: {}. ", kind, kind.version(options)?));
    }
    text.push_str(&format!(
        "\n{} rounds of {} s after {} s of warm-up, {} connections, {} orgs of 10 users; load and server share the \
         cores; medians.\n",
        options.rounds,
        options.measure.as_secs_f64(),
        options.warmup.as_secs_f64(),
        options.connections,
        options.orgs
    ));
    text.push_str(&report::others(rounds.figures.values().flatten()));
    text.push('\n');
    let rows: Vec<_> = (rounds.figures.iter())
        .map(|((kind, load), figures)| {
            let what = format!("{}: {}", Ask::Gate.name_of(*kind), describe(*load, options));
            report::figures(&what, &Figures::median(figures))
        })
        .collect();
    text.push_str(&report::figures_table("request", &rows));
    text.push('\n');
    text.push_str(&report::targets(&targets::gate(rounds, options.orgs)));
    Ok(text)
}

fn describe(load: Load, options: &Options) -> String {
    let orgs = report::thousands(f64::from(options.orgs));
    match load {
        Load::Even => format!("{orgs} orgs"),
        Load::Hot => "one hot org".to_owned(),
        Load::Single => "one connection".to_owned(),
        Load::Half => "at half of that rate".to_owned(),
        Load::Many(connections) => format!("{connections} connections"),
    }
}

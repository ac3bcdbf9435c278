//! `gate`: the durable check-and-consume beside Redis and PostgreSQL.
//!
//! In each round every system is started afresh and measured in turn, the order moving on from round to round, so that a
//! drift of the machine meets all of them. Ratios are taken within a round and their median over the rounds is reported.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use crate::Result;
use crate::args::Options;
use crate::client::Pace;
use crate::load::{Keys, Spread};
use crate::machine::{self, Disk};
use crate::report;
use crate::servers::{Kind, System};
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

/// The figures of every round.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    pub(crate) figures: BTreeMap<(Kind, Load), Vec<Figures>>,
    pub(crate) disks: Vec<Disk>,
}

/// Measures and gives the tables.
pub(crate) fn run(options: &Options) -> Result<String> {
    // Others than root may pass through: PostgreSQL does not run as root.
    let folder = tempfile::Builder::new()
        .prefix("bench-")
        .permissions(std::fs::Permissions::from_mode(0o711))
        .tempdir_in(&options.folder)?;
    machine::require_disk(folder.path())?;
    let path = folder.path().canonicalize()?;
    eprintln!("gate: seed {}", options.seed);
    let mut keys = Keys::new(options.seed);
    let mut rounds = Rounds::default();
    for round in 0..options.rounds {
        rounds.disks.push(machine::measure_fdatasync(&path, Duration::from_secs(2))?);
        let mut order = options.systems.clone();
        let turn = usize::try_from(round)? % order.len().max(1);
        order.rotate_left(turn);
        for kind in order {
            let place = path.join(format!("{round}-{kind:?}"));
            measure(kind, round, options, &place, &mut keys, &mut rounds)?;
            std::fs::remove_dir_all(&place)?;
        }
    }
    let text = tables(options, &rounds)?;
    folder.close()?;
    Ok(text)
}

/// One system in one round.
fn measure(
    kind: Kind,
    round: u32,
    options: &Options,
    folder: &Path,
    keys: &mut Keys,
    rounds: &mut Rounds,
) -> Result<()> {
    let hot = options.orgs;
    let system = System::start(kind, options, folder, options.orgs + 1)?;
    let mut hot_yes = 0;
    let mut one = |load: Load, connections: usize, rate: Option<u64>| -> Result<Figures> {
        let spread = if load == Load::Hot { Spread::Hot(hot) } else { Spread::Even(options.orgs) };
        let mut crew = system.connect(connections)?;
        let (warm, _) = system.run(&mut crew, keys, spread, Pace::closed(options.warmup))?;
        let pace = Pace { rate, ..Pace::closed(options.measure) };
        let (tally, mut figures) = system.run(&mut crew, keys, spread, pace)?;
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
        rounds.figures.entry((kind, load)).or_default().push(figures);
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

fn tables(options: &Options, rounds: &Rounds) -> Result<String> {
    let mut text = format!("Machine: {}; ", machine::describe());
    let of = |figure: fn(&Disk) -> f64| crate::stats::median(rounds.disks.iter().map(figure));
    text.push_str(&format!(
        "fdatasync of 4 KiB in place: p50 {:.3} ms, p99 {:.3} ms.\n",
        of(|disk| disk.p50_ms),
        of(|disk| disk.p99_ms)
    ));
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
            let what = format!("{}: {}", kind.name(), describe(*load, options));
            report::figures(&what, &Figures::median(figures))
        })
        .collect();
    text.push_str(&report::table(&report::FIGURES_HEAD, &rows));
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

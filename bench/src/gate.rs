//! `gate`: the durable check-and-consume beside Redis and PostgreSQL.

use crate::Result;
use crate::args::Options;
use crate::load::{Keys, Spread};
use crate::machine;
use crate::pace::Pace;
use crate::report;
use crate::rounds::Rounds;
use crate::servers::{Ask, Kind, System, Work};
use crate::stats::{Figures, Tally};
use crate::targets;
use crate::timeline::Timeline;

/// What is asked of a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Load {
    /// All orgs, evenly, as fast as the answers come.
    Even,
    /// One org.
    Hot,
    /// One connection.
    Single,
    /// All orgs at half of the rate of [`Load::Even`], in an open loop.
    Half,
    /// As [`Load::Even`], over more connections.
    Many(usize),
}

/// Beyond the usual number of connections.
pub(crate) const MANY: [usize; 2] = [1_000, 10_000];

/// What was measured.
pub(crate) type Cell = (Kind, Load);

/// Tollgate's open loop in one round.
#[derive(Debug)]
pub(crate) struct OpenLoop {
    pub(crate) round: u32,
    pub(crate) timeline: Timeline,
    /// What the server did meanwhile.
    pub(crate) work: Work,
}

/// Measures and gives the tables.
pub(crate) fn run(options: &Options) -> Result<String> {
    let mut keys = Keys::new(options.seed);
    let mut loops = Vec::new();
    let rounds = Rounds::run(options, &options.systems, |kind, round, folder, rounds| {
        let system = System::start(kind, Ask::Gate, options, folder, options.orgs + 1)?;
        let mut turn = Turn { system, round, options, keys: &mut keys, rounds, hot_yes: 0 };
        loops.extend(turn.measure()?);
        Ok(())
    })?;
    tables(options, &rounds, &loops)
}

/// One system in one round.
struct Turn<'a> {
    system: System,
    round: u32,
    options: &'a Options,
    keys: &'a mut Keys,
    rounds: &'a mut Rounds<Cell>,
    /// What was answered yes to the hot org so far.
    hot_yes: u64,
}

impl Turn<'_> {
    fn measure(&mut self) -> Result<Option<OpenLoop>> {
        let (kind, usual) = (self.system.kind(), self.options.connections);
        let closed = Pace::For(self.options.measure);
        // Which of the two comes first changes, for the second finds a fuller store.
        let mut two = [Load::Even, Load::Hot];
        two.rotate_left(usize::from(!self.round.is_multiple_of(2)));
        for load in two {
            self.load(load, usual, closed)?;
        }
        self.load(Load::Single, 1, closed)?;
        let even = self.rounds.of(&(kind, Load::Even)).last().map_or(0.0, |figures| figures.rate);
        let ours = kind == Kind::Tollgate;
        let lasts = if ours { self.options.open } else { self.options.measure };
        let before = self.system.background()?;
        let half = self.load(Load::Half, usual, Pace::Open { rate: half(even), lasts })?;
        let work = self.system.background()?.since(&before);
        if !ours {
            return Ok(None);
        }
        for connections in MANY {
            if u64::try_from(connections)? + 500 > machine::open_files_max() {
                return Err(format!("{connections} connections need a higher limit of open files").into());
            }
            self.load(Load::Many(connections), connections, closed)?;
        }
        Ok(Some(OpenLoop { round: self.round, timeline: half.timeline, work }))
    }

    fn load(&mut self, load: Load, connections: usize, pace: Pace) -> Result<Tally> {
        let hot = self.options.orgs;
        let spread = if load == Load::Hot { Spread::hot(hot) } else { Spread::even(self.options.orgs) };
        let mut crew = self.system.connect(connections)?;
        let warm_up = Pace::For(self.options.warmup);
        let (warm, _) = self.system.run(&mut crew, self.keys, spread, None, warm_up)?;
        let (tally, cpu) = self.system.run(&mut crew, self.keys, spread, None, pace)?;
        let mut figures = Figures::new(&tally, cpu);
        figures.errors += warm.error_count();
        for (text, count) in warm.errors.iter().chain(&tally.errors) {
            eprintln!("  {count} × {text}");
        }
        if load == Load::Hot {
            // Not only did every answer say yes: the system's own books must say so too.
            self.hot_yes += warm.yes + tally.yes;
            let used = self.system.used(hot)?;
            if used != self.hot_yes {
                eprintln!("  {} were answered yes, {used} are counted", self.hot_yes);
                figures.errors += used.abs_diff(self.hot_yes);
            }
        }
        let kind = self.system.kind();
        eprintln!(
            "round {} {kind:?} {load:?}: {}/s, p50 {:.2} p99 {:.2} ms, {:.1} µs of CPU each, {} errors",
            self.round + 1,
            report::thousands(figures.rate),
            figures.p50_ms,
            figures.p99_ms,
            figures.server_cpu_us,
            figures.errors
        );
        self.rounds.add((kind, load), figures);
        Ok(tally)
    }
}

/// Half of a rate, as a whole number.
fn half(rate: f64) -> u64 {
    format!("{:.0}", rate / 2.0).parse().unwrap_or(1)
}

fn tables(options: &Options, rounds: &Rounds<Cell>, loops: &[OpenLoop]) -> Result<String> {
    let mut text = rounds.machine();
    for kind in &options.systems {
        text.push_str(&format!("{:?}: {}. ", kind, kind.version(options)?));
    }
    text.push_str(&format!(
        "\n{} rounds of {} s after {} s of warm-up, Tollgate at half of its rate for {} s; {} connections, {} orgs of 10 \
         users; load and server share the cores; medians.\n",
        options.rounds,
        options.measure.as_secs_f64(),
        options.warmup.as_secs_f64(),
        options.open.as_secs_f64(),
        options.connections,
        options.orgs
    ));
    text.push_str(&report::others(rounds.figures.values().flatten()));
    text.push('\n');
    let rows: Vec<_> = (rounds.figures.iter())
        .map(|((kind, load), figures)| {
            let what = format!("{}: {}", Ask::Gate.name_of(*kind), describe(*load, options));
            (what, Figures::median(figures))
        })
        .collect();
    text.push_str(&report::figures_table("request", &rows));
    text.push('\n');
    text.push_str(&open_loops(loops));
    text.push_str(&report::targets(&targets::gate(rounds, options.orgs, loops)));
    Ok(text)
}

/// What went on during Tollgate's open loops, and the seconds of the one with the longest pause.
fn open_loops(loops: &[OpenLoop]) -> String {
    let mut text = String::new();
    let worst =
        loops.iter().max_by(|one, other| one.timeline.pause_ms().total_cmp(&other.timeline.pause_ms()));
    let Some(worst) = worst else { return text };
    for OpenLoop { round, timeline, work } in loops {
        text.push_str(&format!(
            "Tollgate at half of its rate, round {}: longest latency {:.2} ms; meanwhile {work}.\n",
            round + 1,
            timeline.pause_ms()
        ));
    }
    let summary = format!("Second by second, round {}, which had the longest", worst.round + 1);
    text.push_str(&format!("\n{}\n", worst.timeline.details(&summary)));
    text
}

fn describe(load: Load, options: &Options) -> String {
    let orgs = report::thousands(f64::from(options.orgs));
    match load {
        Load::Even => format!("{orgs} orgs"),
        Load::Hot => "one hot org".to_owned(),
        Load::Single => "one connection".to_owned(),
        Load::Half => "at half of that rate, open loop".to_owned(),
        Load::Many(connections) => format!("{connections} connections"),
    }
}

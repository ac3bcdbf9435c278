//! `ingest`: usage after the fact, in batches: durable, each key once, and counted. Beside PostgreSQL as a table with a
//! unique key, without and with counters.

use std::path::Path;

use crate::Result;
use crate::args::Options;
use crate::client::Pace;
use crate::load::{Keys, Spread};
use crate::report::{self, at_most, thousands};
use crate::rounds::{Rounds, errors};
use crate::servers::{Ask, Kind, System};
use crate::stats::{Cpu, Figures, Tally, float, median, ratio};

/// All usages are sent in so many parts; memory is looked at after each.
pub(crate) const PARTS: u16 = 10;
/// Batches that are all of one org, whose books are compared with what was answered.
const MARKER_BATCHES: u64 = 10;

/// Which of the usages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Span {
    /// The first part.
    First,
    /// The last part.
    Last,
    /// All of them.
    Whole,
}

/// What was measured.
type Cell = (Kind, Ask, Span);

/// Resident memory of Tollgate in one round, in MiB: after each part, and at its highest.
#[derive(Debug, Default)]
struct Memory {
    after: Vec<f64>,
    highest: f64,
}

/// Measures and gives the tables.
pub(crate) fn run(options: &Options) -> Result<String> {
    let mut keys = Keys::new(options.seed);
    let mut memories = Vec::new();
    let takers: Vec<_> = options.systems.iter().flat_map(|kind| takers(*kind, options.batch)).collect();
    let rounds = Rounds::run(options, &takers, |(kind, ask), round, folder, rounds| {
        let memory = measure(kind, ask, round, options, folder, &mut keys, rounds)?;
        if kind == Kind::Tollgate {
            memories.push(memory);
        }
        Ok(())
    })?;
    tables(options, &rounds, &memories)
}

/// What is asked of a system: a table with counters is the same work, one without is less.
fn takers(kind: Kind, batch: usize) -> Vec<(Kind, Ask)> {
    let with_counters = (kind, Ask::Count(batch));
    if kind == Kind::Postgres { vec![(kind, Ask::Keep(batch)), with_counters] } else { vec![with_counters] }
}

/// One system in one round.
fn measure(
    kind: Kind,
    ask: Ask,
    round: u32,
    options: &Options,
    folder: &Path,
    keys: &mut Keys,
    rounds: &mut Rounds<Cell>,
) -> Result<Memory> {
    let marker = options.orgs;
    let system = System::start(kind, ask, options, folder, options.orgs + 1)?;
    let mut crew = system.connect(options.connections)?;
    let batch = u64::try_from(options.batch)?;
    let mut send = |spread, requests| -> Result<(Tally, Cpu)> {
        let (tally, cpu) = system.run(&mut crew, keys, spread, Some(requests), Pace::all(1))?;
        for (text, count) in &tally.errors {
            eprintln!("  {count} × {text}");
        }
        Ok((tally, cpu))
    };
    let each = |tally: &Tally, cpu| Figures::new(tally, cpu).by_usage(float(batch));
    let (mut whole, mut whole_cpu) = (Tally::new()?, Cpu::default());
    let mut memory = Memory::default();
    for part in 0..PARTS {
        let (tally, cpu) = send(Spread::Even(options.orgs), options.usages / batch / u64::from(PARTS))?;
        let figures = each(&tally, cpu);
        whole.follow(&tally)?;
        whole_cpu += cpu;
        let (resident_mib, highest_mib) = system.resident_mib()?;
        memory.after.push(resident_mib);
        memory.highest = highest_mib;
        eprintln!(
            "round {} {kind:?} {ask:?} part {}: {}/s, {:.2} µs of CPU each, {resident_mib:.0} MiB resident, {} errors",
            round + 1,
            part + 1,
            thousands(figures.rate),
            figures.server_cpu_us,
            figures.errors
        );
        if part == 0 {
            rounds.add((kind, ask, Span::First), figures);
        } else if part == PARTS - 1 {
            rounds.add((kind, ask, Span::Last), figures);
        }
    }
    // Not only did every answer say that all was counted: the system's own books must say so too.
    let (marked, _) = send(Spread::Hot(marker), MARKER_BATCHES)?;
    let used = system.used(marker)?;
    let mut figures = each(&whole, whole_cpu);
    figures.errors += marked.error_count() + used.abs_diff(marked.yes * batch);
    if used != marked.yes * batch {
        eprintln!("  {} were answered as counted, {used} are", marked.yes * batch);
    }
    rounds.add((kind, ask, Span::Whole), figures);
    Ok(memory)
}

fn tables(options: &Options, rounds: &Rounds<Cell>, memories: &[Memory]) -> Result<String> {
    let part = thousands(float(options.usages / u64::from(PARTS)));
    let all = thousands(float(options.usages));
    let mut text = rounds.machine();
    for kind in &options.systems {
        text.push_str(&format!("{kind:?}: {}. ", kind.version(options)?));
    }
    text.push_str(&format!(
        "\n{} rounds of {all} usages, {} a request, over {} connections; {} orgs of 10 users; load and server share the \
         cores; medians. Latencies are those of requests.\n",
        options.rounds,
        thousands(float(u64::try_from(options.batch)?)),
        options.connections,
        thousands(f64::from(options.orgs))
    ));
    text.push_str(&report::others(rounds.figures.values().flatten()));
    text.push('\n');
    let rows: Vec<_> = (rounds.figures.iter())
        .map(|((kind, ask, span), figures)| {
            let which = match span {
                Span::First => format!("first {part}"),
                Span::Last => format!("last {part}"),
                Span::Whole => format!("all {all}"),
            };
            let what = format!("{}: {which}", ask.name_of(*kind));
            report::figures(&what, &Figures::median(figures))
        })
        .collect();
    text.push_str(&report::figures_table("usage", &rows));
    text.push('\n');
    text.push_str(&memory_line(memories));
    text.push('\n');
    text.push_str(&report::targets(&targets(options, rounds, memories)));
    Ok(text)
}

fn memory_line(memories: &[Memory]) -> String {
    let median_of = |of: &dyn Fn(&Memory) -> Option<f64>| median(memories.iter().filter_map(of));
    let after: Vec<String> = (0..usize::from(PARTS))
        .map(|part| format!("{:.0}", median_of(&|memory| memory.after.get(part).copied())))
        .collect();
    format!(
        "Tollgate resident after each tenth: {} MiB; {:.0} MiB at the highest.\n",
        after.join(", "),
        median_of(&|memory| Some(memory.highest))
    )
}

fn targets(options: &Options, rounds: &Rounds<Cell>, memories: &[Memory]) -> Vec<report::Target> {
    let (first, sustained) = (
        format!("first {}", thousands(float(options.usages / u64::from(PARTS)))),
        format!("sustained over {}", thousands(float(options.usages))),
    );
    let (keep, count) = (Ask::Keep(options.batch), Ask::Count(options.batch));
    let of = |kind, ask, span| (kind, ask, span);
    let against = |what: &str, span, peer, least| {
        let (ours, theirs) = (of(Kind::Tollgate, count, span), of(Kind::Postgres, peer, span));
        rounds.at_least(&format!("{what}, against {}", peer.name_of(Kind::Postgres)), &ours, &theirs, least)
    };
    let ours = |span| rounds.of(&of(Kind::Tollgate, count, span));
    let growth = ours(Span::Last).iter().zip(ours(Span::First));
    let growth = growth.map(|(last, first)| ratio(last.server_cpu_us, first.server_cpu_us));
    let highest = memories.iter().map(|memory| memory.highest);
    let whole = errors(ours(Span::Whole));
    vec![
        against(&first, Span::First, keep, 5.0),
        against(&sustained, Span::Whole, keep, 3.0),
        against(&first, Span::First, count, 5.0),
        against(&sustained, Span::Whole, count, 3.0),
        at_most("server CPU per usage, last tenth by first", 1.5, median(growth), "×", whole),
        at_most("resident at the highest", 1024.0, median(highest), " MiB", whole),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_target_is_of_its_own_span_and_peer() {
        let options = Options::parse(["ingest"].map(str::to_owned).into_iter()).unwrap();
        let mut rounds = Rounds::default();
        let (keep, count) = (Ask::Keep(1_000), Ask::Count(1_000));
        for (kind, ask, span, rate) in [
            (Kind::Tollgate, count, Span::First, 600.0),
            (Kind::Tollgate, count, Span::Last, 500.0),
            (Kind::Tollgate, count, Span::Whole, 400.0),
            (Kind::Postgres, keep, Span::First, 100.0),
            (Kind::Postgres, keep, Span::Whole, 200.0),
            (Kind::Postgres, count, Span::First, 50.0),
            (Kind::Postgres, count, Span::Whole, 40.0),
        ] {
            rounds.add((kind, ask, span), Figures { rate, server_cpu_us: 1e6 / rate, ..Figures::default() });
        }
        let memory = Memory { after: vec![200.0, 500.0, 250.0], highest: 510.0 };
        let measured: Vec<f64> =
            targets(&options, &rounds, &[memory]).iter().map(|target| target.measured).collect();
        assert_eq!(measured[..4], [6.0, 2.0, 12.0, 10.0]);
        assert!((measured[4] - 1.2).abs() < 1e-9, "{measured:?}");
        assert_eq!(measured[5], 510.0);
    }
}

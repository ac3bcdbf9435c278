//! `ingest`: usage after the fact, in batches: durable, each key once, and counted. Beside PostgreSQL as a table with a
//! unique key, without and with counters; and Tollgate beside itself, by a property and with many users.

use std::path::Path;

use crate::Result;
use crate::args::Options;
use crate::load::{GROUPS, Keys, PARTS, Spread};
use crate::pace::Pace;
use crate::report::{self, at_most, thousands};
use crate::rounds::{Rounds, errors};
use crate::servers::{Ask, Kind, System};
use crate::stats::{Cpu, Figures, Tally, float, median};

/// Batches that are all of one org, whose books are compared with what was answered.
const MARKER_BATCHES: u64 = 10;
/// Users of the one org that has many.
const MANY_USERS: u32 = 100_000;

/// Who takes what. A table with counters is the same work as Tollgate's, one without is less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Taker {
    Tollgate,
    /// Counted by a property with [`GROUPS`] values besides.
    TollgateGroups,
    /// All of one org with [`MANY_USERS`] users.
    TollgateUsers,
    Rows,
    RowsAndCounters,
}

use Taker::{Rows, RowsAndCounters, Tollgate, TollgateGroups, TollgateUsers};

impl Taker {
    const ALL: [Self; 5] = [Tollgate, TollgateGroups, TollgateUsers, Rows, RowsAndCounters];

    const fn kind(self) -> Kind {
        match self {
            Tollgate | TollgateGroups | TollgateUsers => Kind::Tollgate,
            Rows | RowsAndCounters => Kind::Postgres,
        }
    }

    const fn ask(self, batch: usize) -> Ask {
        match self {
            Tollgate | TollgateUsers | RowsAndCounters => Ask::Count(batch),
            TollgateGroups => Ask::CountGroups(batch),
            Rows => Ask::Keep(batch),
        }
    }

    const fn spread(self, options: &Options) -> Spread {
        match self {
            TollgateUsers => Spread::users(0, MANY_USERS),
            _ => Spread::even(options.orgs),
        }
    }

    const fn usages(self, options: &Options) -> u64 {
        match self {
            TollgateGroups | TollgateUsers => options.variant_usages,
            _ => options.usages,
        }
    }

    fn name(self, options: &Options) -> String {
        let name = self.ask(options.batch).name_of(self.kind());
        match self {
            TollgateGroups => format!("{name}, a property of {GROUPS} values"),
            TollgateUsers => format!("{name}, {} users in one org", thousands(f64::from(MANY_USERS))),
            _ => name.to_owned(),
        }
    }
}

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
type Cell = (Taker, Span);

/// Resident memory of a taker in one round, in MiB: after each part, and at its highest.
#[derive(Debug)]
struct Memory {
    taker: Taker,
    after: Vec<f64>,
    highest: f64,
}

/// Measures and gives the tables.
pub(crate) fn run(options: &Options) -> Result<String> {
    let mut keys = Keys::new(options.seed);
    let mut memories = Vec::new();
    let takers: Vec<_> =
        Taker::ALL.into_iter().filter(|taker| options.systems.contains(&taker.kind())).collect();
    let rounds = Rounds::run(options, &takers, |taker, round, folder, rounds| {
        memories.push(measure(taker, round, options, folder, &mut keys, rounds)?);
        Ok(())
    })?;
    tables(options, &rounds, &memories)
}

/// One taker in one round.
fn measure(
    taker: Taker,
    round: u32,
    options: &Options,
    folder: &Path,
    keys: &mut Keys,
    rounds: &mut Rounds<Cell>,
) -> Result<Memory> {
    let marker = options.orgs;
    let system = System::start(taker.kind(), taker.ask(options.batch), options, folder, options.orgs + 1)?;
    let mut crew = system.connect(options.connections)?;
    let batch = u64::try_from(options.batch)?;
    let mut send = |spread, requests| -> Result<(Tally, Cpu)> {
        let (tally, cpu) = system.run(&mut crew, keys, spread, Some(requests), Pace::All { depth: 1 })?;
        for (text, count) in &tally.errors {
            eprintln!("  {count} × {text}");
        }
        Ok((tally, cpu))
    };
    let each = |tally: &Tally, cpu| Figures::new(tally, cpu).by_usage(float(batch));
    let (mut whole, mut whole_cpu) = (Tally::new()?, Cpu::default());
    let mut memory = Memory { taker, after: Vec::new(), highest: 0.0 };
    for part in 0..PARTS {
        let requests = taker.usages(options) / batch / u64::from(PARTS);
        let (tally, cpu) = send(taker.spread(options), requests)?;
        let figures = each(&tally, cpu);
        whole.follow(&tally)?;
        whole_cpu += cpu;
        let (resident_mib, highest_mib) = system.resident_mib()?;
        memory.after.push(resident_mib);
        memory.highest = highest_mib;
        eprintln!(
            "round {} {taker:?} part {}: {}/s, {:.2} µs of CPU each, {resident_mib:.0} MiB resident, {} errors",
            round + 1,
            part + 1,
            thousands(figures.rate),
            figures.server_cpu_us,
            figures.errors
        );
        if part == 0 {
            rounds.add((taker, Span::First), figures);
        } else if part == PARTS - 1 {
            rounds.add((taker, Span::Last), figures);
        }
    }
    // Not only did every answer say that all was counted: the system's own books must say so too.
    let (marked, _) = send(Spread::hot(marker), MARKER_BATCHES)?;
    let used = system.used(marker)?;
    let mut figures = each(&whole, whole_cpu);
    figures.errors += marked.error_count() + used.abs_diff(marked.yes * batch);
    if used != marked.yes * batch {
        eprintln!("  {} were answered as counted, {used} are", marked.yes * batch);
    }
    rounds.add((taker, Span::Whole), figures);
    Ok(memory)
}

fn tables(options: &Options, rounds: &Rounds<Cell>, memories: &[Memory]) -> Result<String> {
    let mut text = rounds.machine();
    for kind in &options.systems {
        text.push_str(&format!("{kind:?}: {}. ", kind.version(options)?));
    }
    text.push_str(&format!(
        "\n{} rounds of {} usages, {} a request, over {} connections; {} orgs of 10 users; load and server share the \
         cores; medians. Latencies are those of requests.\n",
        options.rounds,
        thousands(float(options.usages)),
        thousands(float(u64::try_from(options.batch)?)),
        options.connections,
        thousands(f64::from(options.orgs))
    ));
    text.push_str(&report::others(rounds.figures.values().flatten()));
    text.push('\n');
    let rows: Vec<_> = (rounds.figures.iter())
        .map(|((taker, span), figures)| {
            let all = taker.usages(options);
            let part = thousands(float(all / u64::from(PARTS)));
            let which = match span {
                Span::First => format!("first {part}"),
                Span::Last => format!("last {part}"),
                Span::Whole => format!("all {}", thousands(float(all))),
            };
            (format!("{}: {which}", taker.name(options)), Figures::median(figures))
        })
        .collect();
    text.push_str(&report::figures_table("usage", &rows));
    text.push('\n');
    let ours: Vec<_> = Taker::ALL.into_iter().filter(|taker| taker.kind() == Kind::Tollgate).collect();
    for taker in ours.into_iter().filter(|taker| memories.iter().any(|memory| memory.taker == *taker)) {
        text.push_str(&memory_line(taker, options, memories));
    }
    text.push('\n');
    text.push_str(&report::targets(&targets(options, rounds, memories)));
    Ok(text)
}

fn memory_line(taker: Taker, options: &Options, memories: &[Memory]) -> String {
    let mine = || memories.iter().filter(|memory| memory.taker == taker);
    let after: Vec<String> = (0..usize::from(PARTS))
        .map(|part| format!("{:.0}", median(mine().filter_map(|memory| memory.after.get(part).copied()))))
        .collect();
    format!(
        "{}: resident after each tenth: {} MiB; {:.0} MiB at the highest.\n",
        taker.name(options),
        after.join(", "),
        median(mine().map(|memory| memory.highest))
    )
}

fn targets(options: &Options, rounds: &Rounds<Cell>, memories: &[Memory]) -> Vec<report::Target> {
    let all = format!("{} usages", thousands(float(options.usages)));
    let (ours, rows) = ((Tollgate, Span::Whole), (Rows, Span::Whole));
    let rate = |peer: Taker, least| {
        let what = format!("{all}, against {}", peer.name(options));
        rounds.at_least(&what, &ours, &(peer, Span::Whole), least)
    };
    let cpu = |what: &str, one: Cell, other: Cell, most| {
        let what = format!("server CPU a usage{what}");
        rounds.at_most(&what, &one, &other, most, |figures| figures.server_cpu_us)
    };
    let variant = |taker: Taker| {
        let what = format!(": {}, against Tollgate's {all}", taker.name(options));
        cpu(&what, (taker, Span::Whole), ours, 2.0)
    };
    let highest = memories.iter().filter(|memory| memory.taker == Tollgate).map(|memory| memory.highest);
    vec![
        rate(Rows, 2.0),
        rate(RowsAndCounters, 6.0),
        cpu(&format!(", against {}", Rows.name(options)), ours, rows, 0.25),
        at_most("resident at the highest", 600.0, median(highest), " MiB", errors(rounds.of(&ours))),
        variant(TollgateGroups),
        variant(TollgateUsers),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_target_is_of_its_own_taker_and_span() {
        let options = Options::parse(["ingest"].map(str::to_owned).into_iter()).unwrap();
        let mut rounds = Rounds::default();
        for (taker, span, rate) in [
            (Tollgate, Span::First, 600.0),
            (Tollgate, Span::Whole, 400.0),
            (TollgateGroups, Span::Whole, 250.0),
            (TollgateUsers, Span::First, 1.0),
            (TollgateUsers, Span::Whole, 500.0),
            (Rows, Span::First, 1.0),
            (Rows, Span::Whole, 100.0),
            (RowsAndCounters, Span::Whole, 40.0),
        ] {
            rounds.add((taker, span), Figures { rate, server_cpu_us: 1e6 / rate, ..Figures::default() });
        }
        let memory = |taker, highest| Memory { taker, after: vec![200.0, highest], highest };
        let memories = [memory(Tollgate, 510.0), memory(TollgateGroups, 900.0)];
        let measured: Vec<f64> =
            targets(&options, &rounds, &memories).iter().map(|target| target.measured).collect();
        assert_eq!(measured, [4.0, 10.0, 0.25, 510.0, 1.6, 0.8]);
    }
}

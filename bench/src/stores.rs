//! `stores`: the gate on each store, beside what is written by hand on the same server.
//!
//! By hand is, on PostgreSQL, the function in `peers/usage.sql`; on Redis the script in `peers/usage.lua`, with the same setting
//! for its disk; on DynamoDB and MongoDB one conditional update of an item. Each runs alone, on servers that are started for it with
//! the same settings. Tollgate's CPU is that of its process and of the database's together.

use crate::Result;
use crate::args::Options;
use crate::load::{Keys, Spread};
use crate::pace::Pace;
use crate::report;
use crate::report::Target;
use crate::rounds::Rounds;
use crate::servers::{Ask, StoreKind, System};
use crate::stats::Figures;

/// How many connections ask.
const CONNECTIONS: [usize; 2] = [64, 256];

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Tollgate,
    ByHand,
}

/// Which orgs are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Load {
    /// All, evenly.
    Even,
    /// One.
    Hot,
}

/// What was measured.
type Cell = (StoreKind, Side, Load, usize);

/// Measures and gives the tables.
pub(crate) fn run(options: &Options) -> Result<String> {
    let mut keys = Keys::new(options.seed);
    let mut systems = Vec::new();
    for store in &options.stores {
        systems.push((*store, Side::Tollgate));
        systems.extend(store.by_hand().map(|_| (*store, Side::ByHand)));
    }
    let rounds = Rounds::run(options, &systems, |(store, side), round, folder, rounds| {
        let orgs = options.orgs + 1;
        let system = match store.by_hand().filter(|_| side == Side::ByHand) {
            Some(kind) => System::start(kind, Ask::Gate, options, folder, orgs)?,
            None => System::start_on(store, options, folder, orgs)?,
        };
        let mut hot_yes = 0;
        // Which of the two comes first changes, for the second finds a fuller store.
        let mut two = [Load::Even, Load::Hot];
        two.rotate_left(usize::from(!round.is_multiple_of(2)));
        for (load, connections) in two.into_iter().flat_map(|load| CONNECTIONS.map(|many| (load, many))) {
            let spread =
                if load == Load::Hot { Spread::hot(options.orgs) } else { Spread::even(options.orgs) };
            let mut figures = measure(&system, options, &mut keys, spread, connections)?;
            if load == Load::Hot {
                // Not only did every answer say yes: the system's own books must say so too.
                hot_yes += figures.1;
                let used = system.used(options.orgs)?;
                if used != hot_yes {
                    eprintln!("  {hot_yes} were answered yes, {used} are counted");
                    figures.0.errors += used.abs_diff(hot_yes);
                }
            }
            let cell = (store, side, load, connections);
            eprintln!(
                "round {} {cell:?}: {}/s, p50 {:.2} p99 {:.2} ms, {} errors",
                round + 1,
                report::thousands(figures.0.rate),
                figures.0.p50_ms,
                figures.0.p99_ms,
                figures.0.errors
            );
            rounds.add(cell, figures.0);
        }
        Ok(())
    })?;
    tables(options, &rounds)
}

/// The figures of one run, and how often yes was answered, warm-up included.
fn measure(
    system: &System,
    options: &Options,
    keys: &mut Keys,
    spread: Spread,
    connections: usize,
) -> Result<(Figures, u64)> {
    let mut crew = system.connect(connections)?;
    let (warm, _) = system.run(&mut crew, keys, spread, None, Pace::For(options.warmup))?;
    let (tally, cpu) = system.run(&mut crew, keys, spread, None, Pace::For(options.measure))?;
    let mut figures = Figures::new(&tally, cpu);
    figures.errors += warm.error_count();
    for (text, count) in warm.errors.iter().chain(&tally.errors) {
        eprintln!("  {count} × {text}");
    }
    Ok((figures, warm.yes + tally.yes))
}

fn tables(options: &Options, rounds: &Rounds<Cell>) -> Result<String> {
    let mut text = rounds.machine();
    for kind in options.stores.iter().filter_map(|store| store.by_hand()) {
        text.push_str(&format!("{kind:?}: {}. ", kind.version(options)?));
    }
    text.push_str(&format!(
        "\n{} rounds of {} s after {} s of warm-up; {} orgs of 10 users; load and servers share the cores; medians.\n",
        options.rounds,
        options.measure.as_secs_f64(),
        options.warmup.as_secs_f64(),
        report::thousands(f64::from(options.orgs))
    ));
    text.push_str(&report::others(rounds.figures.values().flatten()));
    text.push('\n');
    let rows: Vec<_> = (rounds.figures.iter())
        .map(|((store, side, load, connections), figures)| {
            let who = match store.by_hand().filter(|_| *side == Side::ByHand) {
                Some(kind) => Ask::Gate.name_of(kind),
                None => store.title(),
            };
            let orgs = match load {
                Load::Even => format!("{} orgs", report::thousands(f64::from(options.orgs))),
                Load::Hot => "one hot org".to_owned(),
            };
            (format!("{who}: {orgs}, {connections} connections"), Figures::median(figures))
        })
        .collect();
    text.push_str(&report::figures_table("request", &rows));
    text.push('\n');
    text.push_str(&report::targets(&targets(options, rounds)));
    Ok(text)
}

/// What Tollgate is to reach of what is written by hand.
fn targets(options: &Options, rounds: &Rounds<Cell>) -> Vec<Target> {
    let goals = [
        (StoreKind::Postgres, Load::Even, 3.0),
        (StoreKind::Postgres, Load::Hot, 15.0),
        (StoreKind::Redis, Load::Even, 0.6),
        (StoreKind::Redis, Load::Hot, 2.0),
        (StoreKind::Dynamo, Load::Hot, 5.0),
        (StoreKind::Mongo, Load::Hot, 5.0),
    ];
    let asked = goals.into_iter().filter(|(store, ..)| options.stores.contains(store));
    let target = |(store, load, least): (StoreKind, Load, f64)| {
        let [usual, _] = CONNECTIONS;
        let orgs = if load == Load::Hot { "one hot org" } else { "all orgs" };
        let what = format!("{}, {orgs}, against what is written by hand", store.title());
        let cell = |side| (store, side, load, usual);
        rounds.at_least(&what, &cell(Side::Tollgate), &cell(Side::ByHand), least)
    };
    asked.map(target).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compared_is_of_one_store_and_load() {
        let mut rounds = Rounds::default();
        for (side, rate) in [(Side::Tollgate, 50.0), (Side::ByHand, 5.0)] {
            for (load, factor) in [(Load::Even, 1.0), (Load::Hot, 2.0)] {
                let figures = Figures { rate: rate * factor, ..Figures::default() };
                rounds.add((StoreKind::Mongo, side, load, 64), figures);
                rounds.add((StoreKind::Mongo, side, load, 256), Figures { rate: 1.0, ..figures });
            }
        }
        let options =
            Options::parse(["stores", "--stores", "mongodb,embedded"].map(str::to_owned).into_iter());
        let targets = targets(&options.unwrap(), &rounds);
        assert_eq!(targets.iter().map(|target| target.measured).collect::<Vec<_>>(), [10.0]);
        assert!(targets[0].what.starts_with("Tollgate on MongoDB, one hot org"), "{targets:?}");
    }
}

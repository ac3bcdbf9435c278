//! `tollgate-sim`: runs seeds of the simulator and says what happened.
#![expect(clippy::print_stdout, reason = "this is its purpose")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use tollgate_testing::sim::{COMMANDS, StoreKind, Totals, run, smallest_failing};

const HELP: &str = "\
usage: tollgate-sim [--seed S] [--seeds N] [--minutes M] [--store shared|alone|embedded] [--commands C]

  --seed S      the first seed; alone, this one seed twice, with its trace
  --seeds N     how many seeds (1000)
  --minutes M   as many seeds as fit into this time
  --store S     only this store; otherwise the seed decides, every eighth is embedded
  --commands C  requests of the clients in a run (100)";

struct Options {
    first: Option<u64>,
    seeds: Option<u64>,
    minutes: Option<u64>,
    store: Option<StoreKind>,
    commands: u32,
}

fn options() -> Option<Options> {
    let mut options = Options { first: None, seeds: None, minutes: None, store: None, commands: COMMANDS };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next()?;
        match word.as_str() {
            "--seed" => options.first = Some(value.parse().ok()?),
            "--seeds" => options.seeds = Some(value.parse().ok()?),
            "--minutes" => options.minutes = Some(value.parse().ok()?),
            "--commands" => options.commands = value.parse().ok()?,
            "--store" if value == "shared" => options.store = Some(StoreKind::Shared),
            "--store" if value == "alone" => options.store = Some(StoreKind::Alone),
            "--store" if value == "embedded" => options.store = Some(StoreKind::Embedded),
            _ => return None,
        }
    }
    Some(options)
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!("{HELP}");
        return ExitCode::FAILURE;
    };
    match options {
        Options { first: Some(seed), seeds: None, minutes: None, .. } => once_and_again(seed, &options),
        _ => many(&options),
    }
}

fn kind_of(seed: u64, options: &Options) -> StoreKind {
    options.store.unwrap_or_else(|| StoreKind::of(seed))
}

/// One seed, twice: the same trace, or the simulator is at fault.
fn once_and_again(seed: u64, options: &Options) -> ExitCode {
    let kind = kind_of(seed, options);
    let (first, second) = (run(seed, kind, options.commands), run(seed, kind, options.commands));
    println!(
        "seed {seed} on the {kind:?} store: trace {:016x}, then {:016x}; {} commands in {:?}",
        first.trace, second.trace, first.commands, first.length
    );
    if first.trace != second.trace {
        println!("the same seed gave two traces");
        return ExitCode::FAILURE;
    }
    match first.verdict {
        Ok(()) => ExitCode::SUCCESS,
        Err(wrong) => {
            println!("{wrong}");
            ExitCode::FAILURE
        }
    }
}

fn many(options: &Options) -> ExitCode {
    let first = options.first.unwrap_or(1);
    let seeds = options.seeds.unwrap_or(if options.minutes.is_some() { u64::MAX } else { 1_000 });
    let most = options.minutes.map(|minutes| Duration::from_secs(60 * minutes));
    let (began, mut totals) = (Instant::now(), Totals::default());
    for seed in first..first.saturating_add(seeds) {
        if most.is_some_and(|most| began.elapsed() >= most) {
            break;
        }
        let (kind, started) = (kind_of(seed, options), Instant::now());
        let run = run(seed, kind, options.commands);
        totals.add(kind, &run, started.elapsed());
        if let Err(wrong) = run.verdict {
            println!("after {} seeds, seed {seed} on the {kind:?} store is wrong: {wrong}", totals.seeds());
            let (commands, wrong) = smallest_failing(seed, kind, options.commands, wrong);
            println!(
                "again with `--seed {seed} --commands {commands} --store {}`: {wrong}",
                match kind {
                    StoreKind::Shared => "shared",
                    StoreKind::Alone => "alone",
                    StoreKind::Embedded => "embedded",
                }
            );
            return ExitCode::FAILURE;
        }
    }
    println!("{}", totals.table());
    let never = totals.never();
    for fault in &never {
        println!("never happened: {}", fault.name());
    }
    if never.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

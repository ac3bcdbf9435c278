//! What many runs came to, as a table, and the smallest run that fails.

use std::fmt::Write as _;
use std::time::Duration;

use super::faults::{Counts, Fault, Place};
use super::{Run, StoreKind, run};

/// Seeds of a store from which on each fault must have happened.
const SEEDS_FOR_EVERY_FAULT: u64 = 1_000;

/// The sum of many runs.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    shared: Sum,
    alone: Sum,
    embedded: Sum,
}

#[derive(Clone, Debug, Default)]
struct Sum {
    seeds: u64,
    commands: u64,
    length: Duration,
    took: Duration,
    counts: Counts,
}

impl Totals {
    /// Adds a run that took some real time.
    pub fn add(&mut self, kind: StoreKind, run: &Run, took: Duration) {
        let sum = match kind {
            StoreKind::Shared => &mut self.shared,
            StoreKind::Alone => &mut self.alone,
            StoreKind::Embedded => &mut self.embedded,
        };
        sum.seeds += 1;
        sum.commands += run.commands;
        sum.length += run.length;
        sum.took += took;
        sum.counts += &run.counts;
    }

    const fn all(&self) -> [&Sum; 3] {
        [&self.shared, &self.alone, &self.embedded]
    }

    /// Runs so far.
    #[must_use]
    pub fn seeds(&self) -> u64 {
        self.all().iter().map(|sum| sum.seeds).sum()
    }

    /// How often a fault happened.
    #[must_use]
    pub fn count(&self, fault: Fault) -> u64 {
        self.all().iter().map(|sum| sum.counts.of(fault)).sum()
    }

    /// Faults that never happened although enough seeds were run.
    #[must_use]
    pub fn never(&self) -> Vec<Fault> {
        let enough = |sum: &Sum| sum.seeds >= SEEDS_FOR_EVERY_FAULT;
        let due = |fault: &Fault| match fault.place() {
            Place::Shared => enough(&self.shared),
            Place::Embedded => enough(&self.embedded),
            Place::Memory => enough(&self.shared) || enough(&self.alone),
            Place::All => self.all().into_iter().any(enough),
        };
        Fault::ALL.iter().copied().filter(|fault| due(fault) && self.count(*fault) == 0).collect()
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::from(
            "| | shared store | store of one process | embedded store |\n| --- | ---: | ---: | ---: |\n",
        );
        let mut line = |name: &str, cell: &dyn Fn(&Sum) -> String| {
            let [shared, alone, embedded] = self.all().map(cell);
            let _ = writeln!(text, "| {name} | {shared} | {alone} | {embedded} |");
        };
        line("seeds", &|sum| sum.seeds.to_string());
        line("commands", &|sum| sum.commands.to_string());
        line("seeds a second", &|sum| per_second(sum.seeds, sum.took));
        line("virtual hours", &|sum| format!("{:.1}", sum.length.as_secs_f64() / 3_600.0));
        line("times real time", &|sum| {
            format!("{:.0}", sum.length.as_secs_f64() / sum.took.as_secs_f64().max(1e-9))
        });
        for fault in Fault::ALL {
            line(fault.name(), &|sum| sum.counts.of(*fault).to_string());
        }
        text
    }
}

fn per_second(count: u64, took: Duration) -> String {
    let count = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    format!("{:.1}", count / took.as_secs_f64().max(1e-9))
}

/// The fewest requests of a seed's clients that still fail, as far as halving finds them, and what is wrong then.
#[must_use]
pub fn smallest_failing(seed: u64, kind: StoreKind, commands: u32, wrong: String) -> (u32, String) {
    let (mut fails, mut says, mut passes) = (commands, wrong, 0);
    while fails - passes > 1 {
        let middle = passes + (fails - passes) / 2;
        match run(seed, kind, middle).verdict {
            Err(wrong) => (fails, says) = (middle, wrong),
            Ok(()) => passes = middle,
        }
    }
    (fails, says)
}

//! `replicas`: several servers on one store, each held to a part of a core.
//!
//! The servers of the store and the load are held to nothing. *With affinity* each organization is asked for at one server, as a load
//! balancer that goes by the organization has it; without, every server is asked for all of them, and they race.

use std::fmt::{self, Display, Formatter};
use std::fs;
use std::path::Path;

use crate::Result;
use crate::args::Options;
use crate::client::{Crew, Next};
use crate::load::{Keys, Spread};
use crate::pace::Pace;
use crate::report;
use crate::rounds::Rounds;
use crate::servers::{Ask, Daemon, StoreKind, make_orgs, measured, start_tollgate_on, tollgate_template};
use crate::share::Share;
use crate::stats::Figures;
use crate::wire::Wire;

/// How many servers are asked.
const REPLICAS: [usize; 3] = [1, 2, 4];

/// Who is asked for an organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Affinity {
    With,
    Without,
}

impl Display for Affinity {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::With { "with affinity" } else { "without affinity" })
    }
}

/// What was measured.
type Cell = (StoreKind, Affinity, usize);

/// Measures and gives the tables.
pub(crate) fn run(options: &Options) -> Result<String> {
    let mut keys = Keys::new(options.seed);
    let stores: Vec<StoreKind> =
        options.stores.iter().copied().filter(|store| *store != StoreKind::Embedded).collect();
    let rounds = Rounds::run(options, &stores, |store, round, folder, rounds| {
        let servers = Servers::start(store, options, folder)?;
        // One needs no affinity, and has all organizations in memory. What others changed is opened again by those who warm up.
        for affinity in [Affinity::With, Affinity::Without] {
            let more = REPLICAS.into_iter().filter(|replicas| affinity == Affinity::With || *replicas > 1);
            for replicas in more {
                let figures = servers.measure(options, &mut keys, affinity, replicas)?;
                eprintln!(
                    "round {}, {}, {replicas} {affinity}: {}/s, p50 {:.2} p99 {:.2} ms, {} errors",
                    round + 1,
                    store.title(),
                    report::thousands(figures.rate),
                    figures.p50_ms,
                    figures.p99_ms,
                    figures.errors
                );
                rounds.add((store, affinity, replicas), figures);
            }
        }
        Ok(())
    })?;
    tables(options, &stores, &rounds)
}

/// Tollgate on a store, several times.
struct Servers {
    // Dropped in this order: a group must be empty when it ends, and the store's servers end last.
    replicas: Vec<Daemon>,
    _shares: Vec<Share>,
    beneath: Vec<Daemon>,
}

impl Servers {
    fn start(store: StoreKind, options: &Options, folder: &Path) -> Result<Self> {
        fs::create_dir(folder)?;
        let (beneath, url) = store.start(options, folder)?;
        let most = REPLICAS.into_iter().max().unwrap_or(1);
        let (mut replicas, mut shares) = (Vec::new(), Vec::new());
        for number in 0..most {
            let own = folder.join(format!("tollgate-{number}"));
            fs::create_dir(&own)?;
            let replica = start_tollgate_on(&options.server, &own, &url, None)?;
            if number == 0 {
                make_orgs(replica.address, options.orgs, true)?;
            }
            replicas.push(replica);
        }
        for (number, replica) in replicas.iter().enumerate() {
            let share = Share::new(&format!("tollgate-bench-{number}"), options.share)?;
            share.hold(replica.pid())?;
            shares.push(share);
        }
        Ok(Self { replicas, _shares: shares, beneath })
    }

    /// The figures of some of them together.
    fn measure(
        &self,
        options: &Options,
        keys: &mut Keys,
        affinity: Affinity,
        replicas: usize,
    ) -> Result<Figures> {
        let template = tollgate_template(Ask::Gate)?;
        let asked = self.replicas.get(..replicas).unwrap_or_default();
        let mut crews = Vec::new();
        for (part, replica) in asked.iter().enumerate() {
            let spread = match affinity {
                Affinity::With => Spread::part(options.orgs, part, replicas)?,
                Affinity::Without => Spread::even(options.orgs),
            };
            let crew = Crew::connect(replica.address, Wire::HttpGate, options.connections, |_| Ok(()))?;
            crews.push((crew, spread));
        }
        let mut streams = || -> Result<Vec<Next<'static>>> {
            let of_each = crews.iter().map(|(crew, spread)| crew.usages(keys, &template, *spread, None));
            Ok(of_each.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
        };
        let (warm_up, measuring) = (streams()?, streams()?);
        let mut all = Crew::default();
        crews.into_iter().for_each(|(crew, _)| all.join(crew));
        let (first, others) = asked.split_first().ok_or("no server is asked")?;
        let others: Vec<&Daemon> = others.iter().chain(&self.beneath).collect();
        let (warm, _) = measured(first, &others, &mut all, warm_up, Pace::For(options.warmup))?;
        let (tally, cpu) = measured(first, &others, &mut all, measuring, Pace::For(options.measure))?;
        let mut figures = Figures::new(&tally, cpu);
        figures.errors += warm.error_count();
        for (text, count) in warm.errors.iter().chain(&tally.errors) {
            eprintln!("  {count} × {text}");
        }
        Ok(figures)
    }
}

fn tables(options: &Options, stores: &[StoreKind], rounds: &Rounds<Cell>) -> Result<String> {
    let mut text = rounds.machine();
    text.push_str(&format!(
        "{} rounds of {} s after {} s of warm-up; {} orgs of 10 users; {} connections to each server, each of which has {} of a core; medians.\n",
        options.rounds,
        options.measure.as_secs_f64(),
        options.warmup.as_secs_f64(),
        report::thousands(f64::from(options.orgs)),
        options.connections,
        options.share
    ));
    text.push_str(&report::others(rounds.figures.values().flatten()));
    text.push('\n');
    let rows: Vec<_> = (rounds.figures.iter())
        .map(|((store, affinity, replicas), figures)| {
            let servers = if *replicas == 1 {
                "one server".to_owned()
            } else {
                format!("{replicas} servers {affinity}")
            };
            (format!("{}: {servers}", store.title()), Figures::median(figures))
        })
        .collect();
    text.push_str(&report::figures_table("request", &rows));
    text.push('\n');
    let goals = [
        (Affinity::With, 2, 1.6),
        (Affinity::With, 4, 2.8),
        (Affinity::Without, 2, 1.3),
        (Affinity::Without, 4, 2.0),
    ];
    let targets = stores.iter().flat_map(|store| {
        goals.map(|(affinity, replicas, least)| {
            let what = format!("{}, {replicas} servers {affinity}, against one", store.title());
            rounds.at_least(&what, &(*store, affinity, replicas), &(*store, Affinity::With, 1), least)
        })
    });
    text.push_str(&report::targets(&targets.collect::<Vec<_>>()));
    Ok(text)
}

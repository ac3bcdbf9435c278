//! `holds`: what it takes to hold and capture in place of a plain usage, and five levels deep in place of flat.
//!
//! A capture names the hold that the answer to its hold named, and the load generator looks at no answer. So a cycle goes over
//! all orgs twice: it holds once in each, and then captures in each. The number of a hold is that of its entry, which is known
//! where each org has one request in flight. Plain usages go over the orgs likewise, so that the ends of cycles cost all the same.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Result;
use crate::args::Options;
use crate::client::{Crew, Next};
use crate::load::org_id;
use crate::machine;
use crate::pace::Pace;
use crate::report::{self, thousands};
use crate::rounds::Rounds;
use crate::servers::{Daemon, last_entry, make_orgs, measured, start_tollgate, tollgate_used};
use crate::stats::{Cpu, Figures, Tally};
use crate::wire::Wire;

/// Levels of the tree: a hold that is captured, within so many less one.
const LEVELS: u64 = 5;

/// What is measured beside one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Shape {
    /// A plain usage.
    Usage,
    /// A hold, and its capture.
    Flat,
    /// The same within four holds.
    Tree,
}

const SHAPES: [Shape; 3] = [Shape::Usage, Shape::Flat, Shape::Tree];

/// Measures all of it and gives the tables.
pub(crate) fn run(options: &Options) -> Result<String> {
    let rounds = Rounds::run(options, &SHAPES, |shape, round, folder, rounds| {
        let figures = Turn::start(shape, options, folder)?.measure(options)?;
        eprintln!(
            "round {} {shape:?}: {}/s, p50 {:.2} p99 {:.2} ms, {:.1} µs of CPU each, {} errors",
            round + 1,
            thousands(figures.rate),
            figures.p50_ms,
            figures.p99_ms,
            figures.server_cpu_us,
            figures.errors
        );
        rounds.add(shape, figures);
        Ok(())
    })?;
    Ok(tables(options, &rounds))
}

/// One shape in one round: a server of its own, and what was asked of it.
struct Turn {
    shape: Shape,
    server: Daemon,
    orgs: Vec<u32>,
    /// The number of the latest entry of each org, before the first cycle.
    entry: u64,
    cycles: u64,
}

impl Turn {
    fn start(shape: Shape, options: &Options, folder: &Path) -> Result<Self> {
        fs::create_dir(folder)?;
        let server = start_tollgate(&options.server, folder, None)?;
        make_orgs(server.address, options.orgs, true)?;
        let mut orgs: Vec<u32> = (0..options.orgs).collect();
        fastrand::Rng::with_seed(options.seed).shuffle(&mut orgs);
        let entry = last_entry(server.address, 0)?;
        let mut turn = Self { shape, server, orgs, entry, cycles: 0 };
        if shape == Shape::Tree {
            turn.hold_levels()?;
        }
        let last = options.orgs - 1;
        if last_entry(turn.server.address, last)? != turn.entry {
            return Err("the orgs do not have the same number of entries".into());
        }
        Ok(turn)
    }

    /// Takes the holds that are captured from: each within the one before, and smaller than it.
    fn hold_levels(&mut self) -> Result<()> {
        let mut crew = Crew::connect(self.server.address, Wire::HttpGate, 64, |_| Ok(()))?;
        for level in 1..LEVELS {
            let (within, quantity) = (self.entry, (LEVELS - level) * 1_000_000_000);
            let request = move |org: u32, out: &mut Vec<u8>| {
                let org = org_id(org);
                let within =
                    if level == 1 { String::new() } else { format!(r#","within":"{within}-{org}""#) };
                let body = format!(
                    r#"{{"org":"{org}","user":"u","meter":"reports","quantity":{quantity},"key":"level-{level}","expires_in":86400{within}}}"#
                );
                post(out, "/v1/holds", &body);
            };
            let streams = streams(&crew, &self.orgs, &request);
            crew.run(streams, Pace::All { depth: 1 })?.all_yes("the levels of the tree")?;
            self.entry += 1;
        }
        Ok(())
    }

    fn measure(mut self, options: &Options) -> Result<Figures> {
        let connect = |wire| Crew::connect(self.server.address, wire, options.connections, |_| Ok(()));
        let mut crews = [connect(Wire::HttpGate)?, connect(Wire::HttpSetup)?];
        let (warm, _) = self.cycles_for(&mut crews, options.warmup)?;
        let (tally, cpu) = self.cycles_for(&mut crews, options.measure)?;
        for (text, count) in warm.errors.iter().chain(&tally.errors) {
            eprintln!("  {count} × {text}");
        }
        let mut figures = Figures::new(&tally, cpu);
        if self.shape != Shape::Usage {
            // Two requests are one.
            figures = figures.by_usage(0.5);
        }
        figures.errors += warm.error_count();
        // Not only did every answer say yes: what was captured is what was used.
        let used = tollgate_used(self.server.address, 0)?;
        if used != self.cycles {
            eprintln!("  {} cycles, and {used} are counted", self.cycles);
            figures.errors += used.abs_diff(self.cycles);
        }
        self.server.stop()?;
        Ok(figures)
    }

    /// Goes over all orgs, again and again, for at least so long.
    fn cycles_for(&mut self, crews: &mut [Crew; 2], lasts: Duration) -> Result<(Tally, Cpu)> {
        let (mut sum, mut cpu) = (Tally::new()?, Cpu::default());
        let start = Instant::now();
        while start.elapsed() < lasts {
            let [first, second] = crews;
            self.pass(first, &mut sum, &mut cpu, &|turn, org, out| turn.begin(org, out))?;
            if self.shape != Shape::Usage {
                self.pass(second, &mut sum, &mut cpu, &|turn, org, out| turn.capture(org, out))?;
            }
            self.cycles += 1;
        }
        Ok((sum, cpu))
    }

    fn pass(
        &self,
        crew: &mut Crew,
        sum: &mut Tally,
        cpu: &mut Cpu,
        request: &(dyn Fn(&Self, u32, &mut Vec<u8>) + Sync),
    ) -> Result<()> {
        let of_org = |org: u32, out: &mut Vec<u8>| request(self, org, out);
        let streams = streams(crew, &self.orgs, &of_org);
        let (tally, spent) = measured(&self.server, &[], crew, streams, Pace::All { depth: 1 })?;
        sum.follow(&tally)?;
        *cpu += spent;
        Ok(())
    }

    /// A usage, or a hold.
    fn begin(&self, org: u32, out: &mut Vec<u8>) {
        let (org, cycle) = (org_id(org), self.cycles);
        let ask =
            format!(r#""org":"{org}","user":"u","meter":"reports","quantity":1,"key":"cycle-{cycle:012}""#);
        match self.shape {
            Shape::Usage => post(out, "/v1/usage", &format!("{{{ask}}}")),
            Shape::Flat => post(out, "/v1/holds", &format!("{{{ask}}}")),
            Shape::Tree => {
                let within = self.entry;
                post(out, "/v1/holds", &format!(r#"{{{ask},"within":"{within}-{org}"}}"#));
            }
        }
    }

    fn capture(&self, org: u32, out: &mut Vec<u8>) {
        // Each cycle before wrote two entries, and this one the hold.
        let hold = self.entry + 2 * self.cycles + 1;
        post(out, &format!("/v1/holds/{hold}-{}/capture", org_id(org)), r#"{"quantity":1}"#);
    }
}

/// A request for each org, spread over the threads of a crew.
fn streams<'a>(
    crew: &Crew,
    orgs: &'a [u32],
    request: &'a (dyn Fn(u32, &mut Vec<u8>) + Sync),
) -> Vec<Next<'a>> {
    let threads = crew.threads();
    let stream = |thread| {
        let mut mine = orgs.iter().skip(thread).step_by(threads);
        let next: Next<'a> = Box::new(move |out| match mine.next() {
            Some(org) => {
                request(*org, out);
                true
            }
            None => false,
        });
        next
    };
    (0..threads).map(stream).collect()
}

fn post(out: &mut Vec<u8>, path: &str, body: &str) {
    let length = body.len();
    let written = write!(
        out,
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    debug_assert!(written.is_ok(), "memory takes all");
}

fn tables(options: &Options, rounds: &Rounds<Shape>) -> String {
    let mut text = rounds.machine();
    text.push_str(&format!("Tollgate: {}.\n", machine::version(&options.server)));
    text.push_str(&format!(
        "{} rounds of {} s after {} s of warm-up; {} connections, {} orgs with one request at a time each; load and server share \
         the cores; medians. A hold and its capture are one of \"holds\"; latencies are those of requests.\n",
        options.rounds,
        options.measure.as_secs_f64(),
        options.warmup.as_secs_f64(),
        options.connections,
        thousands(f64::from(options.orgs))
    ));
    text.push_str(&report::others(rounds.figures.values().flatten()));
    text.push('\n');
    let rows = SHAPES.map(|shape| {
        let what = match shape {
            Shape::Usage => "plain usage",
            Shape::Flat => "hold and capture",
            Shape::Tree => "hold and capture within four holds",
        };
        (what.to_owned(), Figures::median(rounds.of(&shape)))
    });
    text.push_str(&report::figures_table("use", &rows));
    text.push('\n');
    text.push_str(&report::targets(&[
        rounds.at_least("hold and capture, against plain usage", &Shape::Flat, &Shape::Usage, 0.45),
        rounds.at_least("a tree of five levels, against a flat one", &Shape::Tree, &Shape::Flat, 0.7),
    ]));
    text
}

//! Random commands through the domain and the oracle.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::world::{Tally, run};
use tollgate_testing::generate::{Scenario, Step, months, scenario};

const SEEDS: u64 = 505;
const COMMANDS_PER_SEED: usize = 200;

const MONTHS: u64 = 300;
const COMMANDS_OF_MONTHS: usize = 50;

/// Runs steps; a panic is a failure as well.
fn attempt(scenario: &Scenario, steps: &[Step]) -> Result<Tally, String> {
    catch_unwind(AssertUnwindSafe(|| run(scenario, steps))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panicked: {}", text.unwrap_or_default()))
    })
}

/// Leaves out steps, many at a time and then one by one, as long as it still fails.
fn shrink(scenario: &Scenario) -> Vec<Step> {
    let mut steps = scenario.steps.clone();
    let mut size = steps.len() / 2;
    while size > 0 {
        let mut from = 0;
        while from < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(from..steps.len().min(from + size));
            if attempt(scenario, &fewer).is_err() {
                steps = fewer;
            } else {
                from += size;
            }
        }
        size /= 2;
    }
    steps
}

fn report(seed: u64, scenario: &Scenario) -> String {
    let steps = shrink(scenario);
    let error = attempt(scenario, &steps).expect_err("it still fails");
    let lines: Vec<_> = steps.iter().map(|step| format!("  {} {:?}", step.at, step.action)).collect();
    format!(
        "seed {seed}: {error}\n{} steps are enough, keys kept {} s, records at hand: {:?}\n{}\n{}",
        steps.len(),
        scenario.key_keep_secs,
        scenario.at_hand,
        lines.join("\n"),
        scenario.catalog
    )
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a whole number"))
}

/// Runs scenarios of so many seeds, beginning with `TOLLGATE_SEED`; the first that fails is shortened and shown.
fn explore(seeds: u64, scenario: impl Fn(u64) -> Scenario + Sync) -> Tally {
    let first = number("TOLLGATE_SEED", 1);
    let next = AtomicU64::new(first);
    let results = Mutex::new((Tally::default(), Vec::new()));
    let started = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        break;
                    }
                    let scenario = scenario(seed);
                    let result = attempt(&scenario, &scenario.steps);
                    let mut results = results.lock().expect("no thread panics while it holds the lock");
                    match result {
                        Ok(tally) => results.0 += tally,
                        Err(_) => results.1.push(seed),
                    }
                }
            });
        }
    });
    let (tally, mut failed) = results.into_inner().expect("all threads ended");
    failed.sort_unstable();
    let elapsed = started.elapsed();
    println!(
        "seeds {first} to {}: {tally:?} in {elapsed:?}, {:.0} commands/s",
        first + seeds - 1,
        f64::from(u32::try_from(tally.commands).expect("a count")) / elapsed.as_secs_f64()
    );
    if let Some(seed) = failed.first() {
        let report = report(*seed, &scenario(*seed));
        panic!("{} of {seeds} seeds fail: {failed:?}\n{report}", failed.len());
    }
    tally
}

/// `TOLLGATE_SEED` sets the first seed and `TOLLGATE_SEEDS` how many are run, to look further or at one again.
#[test]
fn the_domain_answers_as_the_oracle_does() {
    let seeds = number("TOLLGATE_SEEDS", SEEDS);
    let tally = explore(seeds, |seed| scenario(seed, COMMANDS_PER_SEED));
    let commands = usize::try_from(seeds).expect("a count") * COMMANDS_PER_SEED;
    assert_eq!(tally.commands, commands, "every command was run");
    // A run that hits nothing proves nothing.
    for (what, count) in [
        ("allowed", tally.allowed),
        ("denied", tally.denied),
        ("replayed", tally.replayed),
        ("reversed", tally.reversed),
        ("recorded", tally.recorded),
        ("topped up", tally.topped_up),
        ("held", tally.held),
        ("captured", tally.captured),
        ("expired", tally.expired),
        ("notices", tally.notices),
    ] {
        assert!(count * 200 > commands, "only {count} {what} of {commands} commands");
    }
    assert!(tally.closed * 1_000 > commands && tally.adjusted > 0, "too few bills: {tally:?}");
}

/// Estimates, closed bills and what is put right later. `TOLLGATE_MONTHS` sets how many months are closed at least.
#[test]
fn months_of_changing_plans_are_billed_as_the_oracle_reckons() {
    let wanted = number("TOLLGATE_MONTHS", MONTHS);
    let tally = explore(wanted.div_ceil(4), |seed| months(seed, COMMANDS_OF_MONTHS));
    let wanted = usize::try_from(wanted).expect("a count");
    assert!(tally.closed >= wanted, "{tally:?}");
    assert!(tally.changed_within * 2 > wanted && tally.adjusted * 20 > wanted, "{tally:?}");
    assert!(tally.late * 10 > wanted && tally.unbilled * 10 > wanted, "{tally:?}");
}

#[test]
fn a_seed_gives_the_same_scenario_again() {
    let text = |seed| format!("{:?}", scenario(seed, 100));
    assert_eq!(text(7), text(7));
    assert_ne!(text(7), text(8));
}
